//! The JSON in which rpki-client, Routinator and StayRTR give VRPs to each other:
//! `{"roas": [{"prefix": "192.0.2.0/24", "maxLength": 24, "asn": "AS64500", "ta": "ripe"}]}`.
//!
//! `asn` is a number or text, with or without `AS`; without `maxLength` it is the prefix's own.
//! What else stands there (`metadata`, `ta`, `expires`, router keys, ASPAs) is passed over. One
//! bad entry makes the whole file bad: half of a set of VRPs calls routes invalid.

use std::fmt;

use ipnet::IpNet;
use serde::Deserialize;
use serde::de::{Deserializer, SeqAccess, Visitor};

use super::{Vrp, VrpTable};
use crate::Asn;

/// Why a text is no VRP file.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct NotAVrpFile(String);

/// Reads the octets of a VRP file.
///
/// # Errors
/// The first thing that is wrong, with its line and column.
pub fn parse(octets: &[u8]) -> Result<VrpTable, NotAVrpFile> {
    let file: File =
        serde_json::from_slice(octets).map_err(|error| NotAVrpFile(error.to_string()))?;
    Ok(file.roas.0)
}

#[derive(Deserialize)]
struct File {
    roas: Roas,
}

struct Roas(VrpTable);

#[derive(Deserialize)]
#[serde(try_from = "RawRoa")]
struct Roa(Vrp);

#[derive(Deserialize)]
struct RawRoa {
    prefix: IpNet,
    #[serde(rename = "maxLength")]
    max_length: Option<u8>,
    asn: RawAsn,
}

struct RawAsn(Asn);

impl TryFrom<RawRoa> for Roa {
    type Error = super::NotAVrp;

    fn try_from(raw: RawRoa) -> Result<Self, Self::Error> {
        let max_length = raw.max_length.unwrap_or(raw.prefix.prefix_len());
        Vrp::new(raw.prefix, max_length, raw.asn.0).map(Self)
    }
}

impl<'de> Deserialize<'de> for RawAsn {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Either;
        impl Visitor<'_> for Either {
            type Value = RawAsn;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an AS number such as 64500 or \"AS64500\"")
            }

            fn visit_u64<E: serde::de::Error>(self, number: u64) -> Result<RawAsn, E> {
                let number = u32::try_from(number);
                number
                    .map(|number| RawAsn(Asn(number)))
                    .map_err(|_| E::custom("an AS number has 32 bits"))
            }

            fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<RawAsn, E> {
                text.parse()
                    .map(RawAsn)
                    .map_err(|_| E::custom(format_args!("{text:?} is no AS number")))
            }
        }
        deserializer.deserialize_any(Either)
    }
}

impl<'de> Deserialize<'de> for Roas {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct List;
        impl<'de> Visitor<'de> for List {
            type Value = Roas;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a list of ROAs")
            }

            fn visit_seq<S: SeqAccess<'de>>(self, mut list: S) -> Result<Roas, S::Error> {
                let mut vrps = Vec::new();
                while let Some(Roa(vrp)) = list.next_element()? {
                    vrps.push(vrp);
                }
                Ok(Roas(vrps.into_iter().collect()))
            }
        }
        deserializer.deserialize_seq(List)
    }
}

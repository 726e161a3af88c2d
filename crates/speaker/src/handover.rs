//! What a speaker hands to the one that goes on in its place, in this process after another
//! program was executed in it: sessions with their sockets, of which the neighbors notice nothing.
//!
//! How these words travel is up to the caller; the sockets travel beside them. Decision 0021 says
//! why it is done so.

use std::net::IpAddr;
use std::num::{NonZeroU8, NonZeroU32};
use std::os::fd::OwnedFd;

use anycast_bgp::IpNet;
use anycast_bgp::message::{Nlri, PathId};
use anycast_bgp::session::{self, Connection, Opens};
use serde::{Deserialize, Serialize};

/// All that a speaker hands over.
#[derive(Debug, Default, Deserialize, Serialize)]
pub struct HandedOver {
    /// Sessions that go on.
    pub sessions: Vec<HandedSession>,
    /// BFD sessions that go on, by the neighbor's name.
    pub bfd: Vec<HandedBfd>,
    /// Neighbors whose session was ended instead, and why.
    pub ended: Vec<(String, String)>,
    /// Neighbors that an operator has disabled, and what they were told.
    pub disabled: Vec<(String, String)>,
}

/// A session that was Established.
#[derive(Debug, Deserialize, Serialize)]
pub struct HandedSession {
    /// The neighbor, as the operator calls it.
    pub name: String,
    /// The connection's socket; whoever reads these words puts it here.
    #[serde(skip)]
    pub socket: Option<OwnedFd>,
    /// Whether the neighbor has opened the connection.
    accepted: bool,
    /// Our OPEN as it went over the wire.
    #[serde(with = "hex")]
    open_sent: Vec<u8>,
    #[serde(with = "hex")]
    open_received: Vec<u8>,
    /// UPDATEs with all that the neighbor has sent and that still holds, then the beginning of a
    /// message that has not come in whole.
    #[serde(with = "hex")]
    inbox: Vec<u8>,
    /// What the neighbor was told, by prefix and path identifier.
    told: Vec<(IpNet, u32)>,
}

/// A BFD session that was Up.
#[derive(Debug, Deserialize, Serialize)]
pub struct HandedBfd {
    /// The neighbor, as the operator calls it.
    pub name: String,
    pub(crate) address: IpAddr,
    /// From which our packets came.
    pub(crate) source_port: u16,
    local_discriminator: NonZeroU32,
    remote_discriminator: NonZeroU32,
    multiplier: NonZeroU8,
    desired_min_tx: u32,
    required_min_rx: u32,
    demand: bool,
}

impl HandedSession {
    pub(crate) fn new(
        name: String,
        socket: OwnedFd,
        carried: session::Carried,
        (replay, told): (Vec<u8>, Vec<Nlri>),
    ) -> Self {
        let mut inbox = replay;
        inbox.extend(carried.inbox);
        Self {
            name,
            socket: Some(socket),
            accepted: carried.connection == Connection::Accepted,
            open_sent: carried.opens.sent,
            open_received: carried.opens.received,
            inbox,
            told: told.into_iter().map(|nlri| (nlri.prefix, nlri.path_id.0)).collect(),
        }
    }

    /// What the session goes on with, and what the neighbor was told.
    pub(crate) fn into_parts(self) -> (session::Carried, Vec<Nlri>) {
        let connection = if self.accepted { Connection::Accepted } else { Connection::Dialled };
        let opens = Opens { sent: self.open_sent, received: self.open_received };
        let told = self.told.into_iter();
        let told = told.map(|(prefix, path)| Nlri::new(prefix, PathId(path))).collect();
        (session::Carried { connection, opens, inbox: self.inbox }, told)
    }
}

impl HandedBfd {
    pub(crate) const fn new(
        name: String,
        address: IpAddr,
        source_port: u16,
        carried: &anycast_bfd::Carried,
    ) -> Self {
        Self {
            name,
            address,
            source_port,
            local_discriminator: carried.local_discriminator,
            remote_discriminator: carried.remote_discriminator,
            multiplier: carried.multiplier,
            desired_min_tx: carried.desired_min_tx,
            required_min_rx: carried.required_min_rx,
            demand: carried.demand,
        }
    }

    pub(crate) const fn carried(&self) -> anycast_bfd::Carried {
        anycast_bfd::Carried {
            local_discriminator: self.local_discriminator,
            remote_discriminator: self.remote_discriminator,
            multiplier: self.multiplier,
            desired_min_tx: self.desired_min_tx,
            required_min_rx: self.required_min_rx,
            demand: self.demand,
        }
    }
}

/// Octets as text of two digits each.
mod hex {
    use serde::{Deserialize, Deserializer, Serializer};

    pub(super) fn serialize<S: Serializer>(octets: &[u8], to: S) -> Result<S::Ok, S::Error> {
        const DIGITS: [u8; 16] = *b"0123456789abcdef";
        let digit = |number: u8| char::from(DIGITS[usize::from(number)]);
        let digits = octets.iter().flat_map(|octet| [digit(octet >> 4), digit(octet & 15)]);
        to.serialize_str(&digits.collect::<String>())
    }

    pub(super) fn deserialize<'a, D: Deserializer<'a>>(from: D) -> Result<Vec<u8>, D::Error> {
        let text = String::deserialize(from)?;
        let octets = text.as_bytes().chunks(2).map(|pair| {
            let pair = std::str::from_utf8(pair).ok().filter(|pair| pair.len() == 2)?;
            u8::from_str_radix(pair, 16).ok()
        });
        octets.collect::<Option<_>>().ok_or_else(|| {
            serde::de::Error::custom("octets are written as two hexadecimal digits each")
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, Deserialize, PartialEq, Serialize)]
    struct Octets(#[serde(with = "hex")] Vec<u8>);

    #[test]
    fn octets_come_back_as_they_were_and_other_text_does_not() {
        for octets in [vec![], vec![0], vec![0x0a, 0xff, 0x10], (0..=u8::MAX).collect()] {
            let text = serde_json::to_string(&Octets(octets.clone())).unwrap();
            assert_eq!(serde_json::from_str::<Octets>(&text).unwrap(), Octets(octets));
        }
        for wrong in ["\"0\"", "\"0g\"", "\"0ä1\"", "\" 1\"", "7"] {
            assert!(serde_json::from_str::<Octets>(wrong).is_err(), "{wrong}");
        }
    }
}

//! Over what a session runs: words of `[site.NAME.neighbor.NAME]`.

use std::path::PathBuf;

use toml::de::DeValue;

use crate::section::{Fault, Section};
use crate::{AoAlgorithm, TcpAo, value};

/// IFNAMSIZ of linux/if.h, less its final zero.
const LONGEST_INTERFACE: usize = 15;

const ALGORITHMS: &[(&str, AoAlgorithm)] = &[
    ("hmac-sha-1-96", AoAlgorithm::HmacSha1),
    ("aes-128-cmac-96", AoAlgorithm::AesCmac),
    ("hmac-sha-256", AoAlgorithm::HmacSha256),
];

pub(super) fn read_ao(section: &mut Section<'_>) -> Option<TcpAo> {
    let mut table = section.table("tcp-ao")?;
    let key_file = table.require("key-file", "\"secrets/fra-transit\"", value::text);
    let id = value::number(0..=u8::MAX);
    let send_id = table.require("send-id", "1", &id);
    let recv_id = table.require("recv-id", "1", &id);
    let algorithm = table.get("algorithm", value::word(ALGORITHMS));
    table.finish();
    let (key_file, send_id, recv_id) = (PathBuf::from(key_file?), send_id?, recv_id?);
    // RFC 5926 §2: the one that all must have that is not of SHA-1.
    let algorithm = algorithm.unwrap_or(AoAlgorithm::AesCmac);
    Some(TcpAo { key_file, send_id, recv_id, algorithm })
}

/// The name of a network interface, as the kernel takes them.
pub(super) fn interface(value: &DeValue<'_>) -> Result<String, Fault> {
    let name = value::text(value)?;
    let odd = |c: char| c == '/' || c == ':' || c.is_whitespace();
    if name.len() > LONGEST_INTERFACE || name.contains(odd) || name == "." || name == ".." {
        return Err(Fault::value(
            format!("cannot be {name:?}"),
            "Write the name of an interface or VRF, such as \"eth0\": at most 15 characters.",
        ));
    }
    Ok(name)
}

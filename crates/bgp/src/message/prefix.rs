//! Lists of prefixes: Withdrawn Routes, NLRI, and those inside MP_REACH_NLRI and MP_UNREACH_NLRI
//! (RFC 4271 §4.3, RFC 4760 §5). Where both sides agreed on it, each prefix stands behind a path
//! identifier of four octets (RFC 7911 §3).

use std::fmt;
use std::iter::Peekable;
use std::net::{Ipv4Addr, Ipv6Addr};

use ipnet::{IpNet, Ipv4Net, Ipv6Net};

use crate::Family;

/// Octets of a path identifier.
pub(super) const PATH_ID_LEN: usize = 4;

/// Tells apart the paths to one prefix that one speaker sends (RFC 7911 §3). It means nothing to
/// others; where ADD-PATH was not agreed on, it is always [`PathId::NONE`].
#[derive(Clone, Copy, Debug, Default, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct PathId(pub u32);

/// A prefix in an UPDATE, and which of the paths to it is meant.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct Nlri {
    /// The prefix.
    pub prefix: IpNet,
    /// The path, as the sender numbers it.
    pub path_id: PathId,
}

impl PathId {
    /// The only path of a sender that has no identifiers for them.
    pub const NONE: Self = Self(0);
}

impl fmt::Display for PathId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl Nlri {
    /// One of several paths to `prefix`.
    #[must_use]
    pub const fn new(prefix: IpNet, path_id: PathId) -> Self {
        Self { prefix, path_id }
    }

    /// The family of the prefix.
    #[must_use]
    pub const fn family(&self) -> Family {
        Family::of(&self.prefix)
    }
}

impl From<IpNet> for Nlri {
    /// The only path to `prefix`.
    fn from(prefix: IpNet) -> Self {
        Self { prefix, path_id: PathId::NONE }
    }
}

impl fmt::Display for Nlri {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.prefix.fmt(f)?;
        if self.path_id == PathId::NONE { Ok(()) } else { write!(f, " path {}", self.path_id) }
    }
}

/// Octets that a prefix of `len` bits takes after its length octet.
fn octets_of(len: u8) -> usize {
    usize::from(len).div_ceil(8)
}

/// The path identifier and what follows; without path identifiers, all follows.
fn split_path_id(path_ids: bool, octets: &[u8]) -> Option<(PathId, &[u8])> {
    if !path_ids {
        return Some((PathId::NONE, octets));
    }
    let (id, rest) = octets.split_first_chunk::<PATH_ID_LEN>()?;
    Some((PathId(u32::from_be_bytes(*id)), rest))
}

/// Whether the octets are whole prefixes of the family, and how many (RFC 7606 §5.3).
pub(super) fn count(family: Family, path_ids: bool, mut octets: &[u8]) -> Option<usize> {
    let mut count = 0;
    while !octets.is_empty() {
        let (_, rest) = split_path_id(path_ids, octets)?;
        let (len, rest) = rest.split_first()?;
        if *len > family.max_prefix_len() {
            return None;
        }
        octets = rest.get(octets_of(*len)..)?;
        count += 1;
    }
    Some(count)
}

/// Appends the prefixes; `None`, and nothing appended, if the octets are not whole prefixes of the
/// family. Bits beyond a prefix's length do not matter (RFC 4271 §4.3) and are cleared.
pub(super) fn parse(
    family: Family,
    path_ids: bool,
    mut octets: &[u8],
    out: &mut Vec<Nlri>,
) -> Option<()> {
    out.reserve_exact(count(family, path_ids, octets)?);
    while !octets.is_empty() {
        let (path_id, rest) = split_path_id(path_ids, octets)?;
        let (len, rest) = rest.split_first()?;
        let (bits, rest) = rest.split_at_checked(octets_of(*len))?;
        let prefix = match family {
            Family::Ipv4Unicast => {
                let mut address = [0; 4];
                address[..bits.len()].copy_from_slice(bits);
                Ipv4Net::new(Ipv4Addr::from(address), *len).ok()?.trunc().into()
            }
            Family::Ipv6Unicast => {
                let mut address = [0; 16];
                address[..bits.len()].copy_from_slice(bits);
                Ipv6Net::new(Ipv6Addr::from(address), *len).ok()?.trunc().into()
            }
        };
        out.push(Nlri { prefix, path_id });
        octets = rest;
    }
    Some(())
}

/// Writes prefixes as long as they fit into `room` octets; whether any was written.
pub(super) fn emit<'a>(
    prefixes: &mut Peekable<impl Iterator<Item = &'a Nlri>>,
    path_ids: bool,
    room: usize,
    out: &mut Vec<u8>,
) -> bool {
    let end = out.len() + room;
    let head = if path_ids { PATH_ID_LEN + 1 } else { 1 };
    let mut any = false;
    while let Some(Nlri { prefix, path_id }) =
        prefixes.next_if(|nlri| out.len() + head + octets_of(nlri.prefix.prefix_len()) <= end)
    {
        if path_ids {
            out.extend_from_slice(&path_id.0.to_be_bytes());
        }
        let len = prefix.prefix_len();
        out.push(len);
        match prefix.trunc() {
            IpNet::V4(net) => out.extend_from_slice(&net.addr().octets()[..octets_of(len)]),
            IpNet::V6(net) => out.extend_from_slice(&net.addr().octets()[..octets_of(len)]),
        }
        any = true;
    }
    any
}

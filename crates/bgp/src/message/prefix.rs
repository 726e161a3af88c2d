//! Lists of prefixes: Withdrawn Routes, NLRI, and those inside MP_REACH_NLRI and MP_UNREACH_NLRI
//! (RFC 4271 §4.3, RFC 4760 §5).

use std::iter::Peekable;
use std::net::{Ipv4Addr, Ipv6Addr};

use ipnet::{IpNet, Ipv4Net, Ipv6Net};

use crate::Family;

/// Octets that a prefix of `len` bits takes after its length octet.
fn octets_of(len: u8) -> usize {
    usize::from(len).div_ceil(8)
}

/// Whether the octets are whole prefixes of the family, and how many (RFC 7606 §5.3).
pub(super) fn count(family: Family, mut octets: &[u8]) -> Option<usize> {
    let mut count = 0;
    while let Some((len, rest)) = octets.split_first() {
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
pub(super) fn parse(family: Family, mut octets: &[u8], out: &mut Vec<IpNet>) -> Option<()> {
    out.reserve_exact(count(family, octets)?);
    while let Some((len, rest)) = octets.split_first() {
        let (bits, rest) = rest.split_at_checked(octets_of(*len))?;
        out.push(match family {
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
        });
        octets = rest;
    }
    Some(())
}

/// Writes prefixes as long as they fit into `room` octets; whether any was written.
pub(super) fn emit<'a>(
    prefixes: &mut Peekable<impl Iterator<Item = &'a IpNet>>,
    room: usize,
    out: &mut Vec<u8>,
) -> bool {
    let end = out.len() + room;
    let mut any = false;
    while let Some(prefix) =
        prefixes.next_if(|prefix| out.len() + 1 + octets_of(prefix.prefix_len()) <= end)
    {
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

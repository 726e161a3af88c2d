//! Reading and summing octets.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// One octet.
pub(super) fn octet(packet: &[u8], at: usize) -> Option<u8> {
    packet.get(at).copied()
}

/// Two octets, the first the higher.
pub(super) fn be16(packet: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_be_bytes(packet.get(at..at + 2)?.try_into().ok()?))
}

/// Four octets.
pub(super) fn be32(packet: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_be_bytes(packet.get(at..at + 4)?.try_into().ok()?))
}

/// An address of either family.
pub(super) fn address(packet: &[u8], at: usize, v6: bool) -> Option<IpAddr> {
    if v6 {
        let octets: [u8; 16] = packet.get(at..at + 16)?.try_into().ok()?;
        return Some(Ipv6Addr::from(octets).into());
    }
    let octets: [u8; 4] = packet.get(at..at + 4)?.try_into().ok()?;
    Some(Ipv4Addr::from(octets).into())
}

/// The sum of RFC 1071, folded, not complemented. An odd octet at the end is a word's higher half.
pub(super) fn sum(parts: &[&[u8]]) -> u16 {
    let mut sum = 0_u64;
    for part in parts {
        for pair in part.chunks(2) {
            sum += u64::from(pair[0]) << 8 | u64::from(pair.get(1).copied().unwrap_or(0));
        }
    }
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    u16::try_from(sum).expect("folded")
}

/// A timestamp option's two words (RFC 7323), wherever it lies. Options that end in the middle of one
/// end the walk.
pub(super) fn timestamp(options: &[u8]) -> Option<[u32; 2]> {
    let mut rest = options;
    loop {
        match *rest {
            [1, ..] => rest = &rest[1..],
            [] | [_] | [0, ..] => return None,
            [kind, length, ..] => {
                let option = rest.get(..usize::from(length)).filter(|option| option.len() >= 2)?;
                if kind == 8 && option.len() == 10 {
                    return Some([be32(option, 2)?, be32(option, 6)?]);
                }
                rest = &rest[option.len()..];
            }
        }
    }
}

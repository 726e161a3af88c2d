//! What leaves a service address: the owner's id goes into TSval, and a SYN-ACK's MSS leaves room for
//! the headers of a frame.

use std::net::IpAddr;

use super::octets::{address, be16, be32, octet};
use super::{Purpose, World, stamp};
use crate::counters::Reason;
use crate::tables::overhead;

/// A packet that a server sends, as it leaves, and what was counted.
pub fn leave(packet: &[u8], world: &World<'_>) -> (Vec<u8>, Vec<Reason>) {
    let mut octets = packet.to_vec();
    let reasons = change(&mut octets, world).into_iter().collect();
    (octets, reasons)
}

fn change(packet: &mut [u8], world: &World<'_>) -> Option<Reason> {
    let config = world.config;
    packet.get(..54)?;
    let mut l3 = 14;
    while l3 < 22 && matches!(be16(packet, l3 - 2)?, 0x8100 | 0x88a8) {
        l3 += 4;
    }
    let v6 = match be16(packet, l3 - 2)? {
        0x0800 => false,
        0x86dd => true,
        _ => return None,
    };
    let (from, l4) = if v6 {
        if octet(packet, l3)? >> 4 != 6 || octet(packet, l3 + 6)? != 6 {
            return None;
        }
        (address(packet, l3 + 8, true)?, l3 + 40)
    } else {
        if octet(packet, l3)? != 0x45
            || octet(packet, l3 + 9)? != 6
            || be16(packet, l3 + 6)? & 0x3fff != 0
        {
            return None;
        }
        (address(packet, l3 + 12, false)?, l3 + 20)
    };
    packet.get(l3..l4 + 20)?;
    if !serves_tcp(world, from) {
        return None;
    }
    let (flags, length) =
        (octet(packet, l4 + 13)?, (usize::from(octet(packet, l4 + 12)? >> 4) * 4).checked_sub(20));
    let options = l4 + 20;
    if flags & 0x02 == 0 {
        let usual = length.is_some_and(|length| length >= 12)
            && packet
                .get(options..options + 12)
                .is_some_and(|usual| usual.starts_with(&[1, 1, 8, 10]));
        let at = if usual { 2 } else { find(packet.get(options..options + length?)?, 8, 10)? }
            + options
            + 2;
        let was = be32(packet, at)?;
        replace(packet, l4 + 16, at, &stamp(was, config.me, config.id_bits).to_be_bytes());
        return Some(Reason::Stamped);
    }
    if flags & 0x10 == 0 || config.peers.is_empty() {
        return None;
    }
    let at = options + 2 + find(packet.get(options..options + length?)?, 2, 4)?;
    let outer6 = config.peers.iter().any(|peer| config.outer_is_v6(peer) == Some(true));
    let most = config.mtu - overhead(outer6) - if v6 { 60 } else { 40 };
    if be16(packet, at)? <= most {
        return None;
    }
    replace(packet, l4 + 16, at, &most.to_be_bytes());
    Some(Reason::Clamped)
}

fn serves_tcp(world: &World<'_>, from: IpAddr) -> bool {
    matches!(world.purpose(from), Some(Purpose::Service { tcp: true, .. }))
}

/// Where an option of one kind and length begins.
fn find(options: &[u8], kind: u8, length: usize) -> Option<usize> {
    let mut at = 0;
    loop {
        match *options.get(at..)? {
            [1, ..] => at += 1,
            [] | [_] | [0, ..] => return None,
            [found, said, ..] => {
                let said = usize::from(said);
                if said < 2 || at + said > options.len() {
                    return None;
                }
                if found == kind && said == length {
                    return Some(at);
                }
                at += said;
            }
        }
    }
}

/// Puts octets into a TCP segment and mends its checksum (RFC 1624, equation 3, a word at a time).
fn replace(packet: &mut [u8], check_at: usize, at: usize, with: &[u8]) {
    for (offset, pair) in with.chunks(2).enumerate() {
        let at = at + 2 * offset;
        let mut was = [packet[at], packet[at + 1]];
        let mut is = [pair[0], pair[1]];
        packet[at..at + 2].copy_from_slice(pair);
        // In a segment that begins at an even place, options at an odd one straddle the sum's words.
        if (at - check_at) % 2 == 1 {
            was.reverse();
            is.reverse();
        }
        let check = u16::from_be_bytes([packet[check_at], packet[check_at + 1]]);
        let sum = u32::from(!check)
            + u32::from(!u16::from_be_bytes(was))
            + u32::from(u16::from_be_bytes(is));
        let sum = (sum & 0xffff) + (sum >> 16);
        let sum = (sum & 0xffff) + (sum >> 16);
        let check = !u16::try_from(sum).expect("folded twice");
        packet[check_at..check_at + 2].copy_from_slice(&check.to_be_bytes());
    }
}

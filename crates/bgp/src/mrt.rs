//! MRT records (RFC 6396, RFC 8050), written: a table as TABLE_DUMP_V2, and what happens on
//! sessions as BGP4MP_ET. They are read by others.
//!
//! ```text
//! | timestamp: 4 octets | type: 2 | subtype: 2 | length: 4 | microseconds: 4, only _ET | body |
//! ```

pub mod iana;
#[cfg(test)]
mod tests;

use std::net::{IpAddr, Ipv4Addr};

use iana::{bgp4mp, peer_type, record_type, table_dump_v2};
use ipnet::IpNet;

use crate::bmp::Timestamp;
use crate::iana::attribute_flag::OPTIONAL;
use crate::iana::attribute_type::MP_REACH_NLRI;
use crate::message::{Context, emit_attribute, emit_attributes};
use crate::session::StateName;
use crate::{Asn, Attributes};

/// A row of PEER_INDEX_TABLE (RFC 6396 §4.3.1); entries name it by its place.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Peer {
    /// Its BGP Identifier; zero if it is not known.
    pub router_id: Ipv4Addr,
    /// Its address; zero for routes of our own.
    pub address: IpAddr,
    /// Its AS.
    pub asn: Asn,
}

/// A route to a prefix (RFC 6396 §4.3.4).
#[derive(Clone, Copy, Debug)]
pub struct Entry<'a> {
    /// Who sent it: a place in PEER_INDEX_TABLE.
    pub peer: u16,
    /// When it was heard, in seconds since the beginning of 1970.
    pub originated: u32,
    /// Which of the peer's paths to the prefix it is, in a record with such (RFC 8050 §4).
    pub path_id: u32,
    /// What it carries.
    pub attributes: &'a Attributes,
}

/// The ends of a session, for BGP4MP records (RFC 6396 §4.4).
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Ends {
    /// The peer's AS.
    pub peer_asn: Asn,
    /// Ours.
    pub local_asn: Asn,
    /// The peer's address.
    pub peer: IpAddr,
    /// Ours, of the same family; zero if it is not known.
    pub local: IpAddr,
}

/// How the AS numbers and prefixes within a message are written: that makes its subtype.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Encoding {
    /// AS numbers take four octets.
    pub four_octet_asn: bool,
    /// Prefixes carry path identifiers.
    pub path_ids: bool,
}

/// Writes the record that precedes all others of a table.
///
/// `peers` beyond the 65535th cannot be named and are left out, as RFC 6396 counts them in two
/// octets.
pub fn emit_peer_index_table(
    seconds: u32,
    collector: Ipv4Addr,
    view: &str,
    peers: &[Peer],
    out: &mut Vec<u8>,
) {
    let subtype = table_dump_v2::PEER_INDEX_TABLE;
    record(seconds, record_type::TABLE_DUMP_V2, subtype, out, |out| {
        out.extend_from_slice(&collector.octets());
        let view = &view.as_bytes()[..view.len().min(usize::from(u16::MAX))];
        out.extend_from_slice(&count(view.len()).to_be_bytes());
        out.extend_from_slice(view);
        let peers = &peers[..peers.len().min(usize::from(u16::MAX))];
        out.extend_from_slice(&count(peers.len()).to_be_bytes());
        for peer in peers {
            let family = if peer.address.is_ipv6() { peer_type::IPV6 } else { 0 };
            out.push(family | peer_type::AS4);
            out.extend_from_slice(&peer.router_id.octets());
            emit_address(peer.address, out);
            out.extend_from_slice(&peer.asn.0.to_be_bytes());
        }
    });
}

/// Writes all routes to one prefix. With `path_ids` each tells which of its peer's paths it is.
pub fn emit_rib(
    seconds: u32,
    sequence: u32,
    prefix: &IpNet,
    entries: &[Entry<'_>],
    path_ids: bool,
    out: &mut Vec<u8>,
) {
    let subtype = match (prefix, path_ids) {
        (IpNet::V4(_), false) => table_dump_v2::RIB_IPV4_UNICAST,
        (IpNet::V6(_), false) => table_dump_v2::RIB_IPV6_UNICAST,
        (IpNet::V4(_), true) => table_dump_v2::RIB_IPV4_UNICAST_ADDPATH,
        (IpNet::V6(_), true) => table_dump_v2::RIB_IPV6_UNICAST_ADDPATH,
    };
    record(seconds, record_type::TABLE_DUMP_V2, subtype, out, |out| {
        out.extend_from_slice(&sequence.to_be_bytes());
        let octets = usize::from(prefix.prefix_len()).div_ceil(8);
        out.push(prefix.prefix_len());
        match prefix.trunc().addr() {
            IpAddr::V4(address) => out.extend_from_slice(&address.octets()[..octets]),
            IpAddr::V6(address) => out.extend_from_slice(&address.octets()[..octets]),
        }
        out.extend_from_slice(&count(entries.len()).to_be_bytes());
        for entry in entries {
            out.extend_from_slice(&entry.peer.to_be_bytes());
            out.extend_from_slice(&entry.originated.to_be_bytes());
            if path_ids {
                out.extend_from_slice(&entry.path_id.to_be_bytes());
            }
            let at = out.len();
            out.extend_from_slice(&[0; 2]);
            emit_entry_attributes(prefix, entry.attributes, out);
            let length = count(out.len() - at - 2);
            out[at..at + 2].copy_from_slice(&length.to_be_bytes());
        }
    });
}

/// AS numbers take four octets, whatever the session has; of MP_REACH_NLRI there is only the next
/// hop (RFC 6396 §4.3.4).
fn emit_entry_attributes(prefix: &IpNet, attributes: &Attributes, out: &mut Vec<u8>) {
    let next_hop = attributes.next_hop;
    let IpAddr::V4(_) = next_hop.address else {
        emit_attributes(attributes, false, &Context::new(false), out);
        return emit_next_hop(attributes, out);
    };
    // A local IPv6 route has no next hop at all, which is written as an IPv4 one of zeros.
    emit_attributes(attributes, matches!(prefix, IpNet::V4(_)), &Context::new(false), out);
    if matches!(prefix, IpNet::V6(_)) {
        emit_next_hop(attributes, out);
    }
}

fn emit_next_hop(attributes: &Attributes, out: &mut Vec<u8>) {
    let next_hop = attributes.next_hop;
    let address = match next_hop.address {
        IpAddr::V4(address) if address.is_unspecified() => std::net::Ipv6Addr::UNSPECIFIED,
        IpAddr::V4(address) => address.to_ipv6_mapped(),
        IpAddr::V6(address) => address,
    };
    emit_attribute(OPTIONAL, MP_REACH_NLRI, out, |out| {
        out.push(if next_hop.link_local.is_some() { 32 } else { 16 });
        out.extend_from_slice(&address.octets());
        out.extend(next_hop.link_local.into_iter().flat_map(|address| address.octets()));
        true
    });
}

/// Writes a BGP message that came in, header included.
pub fn emit_message(
    time: Timestamp,
    ends: &Ends,
    encoding: Encoding,
    message: &[u8],
    out: &mut Vec<u8>,
) {
    let subtype = match (encoding.four_octet_asn, encoding.path_ids) {
        (true, false) => bgp4mp::MESSAGE_AS4,
        (true, true) => bgp4mp::MESSAGE_AS4_ADDPATH,
        (false, false) => bgp4mp::MESSAGE,
        (false, true) => bgp4mp::MESSAGE_ADDPATH,
    };
    extended(time, subtype, out, |out| {
        emit_ends(ends, encoding.four_octet_asn, out);
        out.extend_from_slice(message);
    });
}

/// Writes that the session went from one state of RFC 4271 §8.2.2 to another.
pub fn emit_state_change(
    time: Timestamp,
    ends: &Ends,
    old: StateName,
    new: StateName,
    out: &mut Vec<u8>,
) {
    extended(time, bgp4mp::STATE_CHANGE_AS4, out, |out| {
        emit_ends(ends, true, out);
        for state in [old, new] {
            // RFC 6396 §4.4.1 counts them from 1, in the order of their declaration.
            out.extend_from_slice(&(state as u16 + 1).to_be_bytes());
        }
    });
}

fn emit_ends(ends: &Ends, four_octet_asn: bool, out: &mut Vec<u8>) {
    for asn in [ends.peer_asn, ends.local_asn] {
        if four_octet_asn {
            out.extend_from_slice(&asn.0.to_be_bytes());
        } else {
            let asn = u16::try_from(asn.0).unwrap_or(Asn::TRANS_TWO_OCTET);
            out.extend_from_slice(&asn.to_be_bytes());
        }
    }
    // The interface is not known here; zero says so.
    out.extend_from_slice(&[0; 2]);
    let afi: u16 = if ends.peer.is_ipv6() { 2 } else { 1 };
    out.extend_from_slice(&afi.to_be_bytes());
    emit_address(ends.peer, out);
    emit_address(ends.local, out);
}

fn emit_address(address: IpAddr, out: &mut Vec<u8>) {
    match address {
        IpAddr::V4(address) => out.extend_from_slice(&address.octets()),
        IpAddr::V6(address) => out.extend_from_slice(&address.octets()),
    }
}

fn count(length: usize) -> u16 {
    u16::try_from(length).unwrap_or(u16::MAX)
}

fn extended(time: Timestamp, subtype: u16, out: &mut Vec<u8>, body: impl FnOnce(&mut Vec<u8>)) {
    record(time.seconds, record_type::BGP4MP_ET, subtype, out, |out| {
        out.extend_from_slice(&time.micros.to_be_bytes());
        body(out);
    });
}

/// Writes the common header (RFC 6396 §2), then what `body` writes.
fn record(
    seconds: u32,
    kind: u16,
    subtype: u16,
    out: &mut Vec<u8>,
    body: impl FnOnce(&mut Vec<u8>),
) {
    out.extend_from_slice(&seconds.to_be_bytes());
    out.extend_from_slice(&kind.to_be_bytes());
    out.extend_from_slice(&subtype.to_be_bytes());
    let at = out.len();
    out.extend_from_slice(&[0; 4]);
    body(out);
    let length = u32::try_from(out.len() - at - 4).unwrap_or(u32::MAX);
    out[at..at + 4].copy_from_slice(&length.to_be_bytes());
}

//! The octets of sock_diag(7).

use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr};

use netlink_sys::protocols::NETLINK_SOCK_DIAG;
use socket2::SockFilter;

use super::{Error, LONGEST_DATAGRAM, Protocol, Socket};

/// SKNLGRP_INET_TCP_DESTROY, _INET_UDP_DESTROY, _INET6_TCP_DESTROY and _INET6_UDP_DESTROY,
/// numbers 1 to 4, as a mask.
pub(super) const GROUPS: u32 = 0b1111;

const SOCK_DIAG_BY_FAMILY: u16 = 20;
const NLMSG_ERROR: u16 = 2;
const NLM_F_REQUEST: u16 = 0x001;
const NLM_F_DUMP: u16 = 0x300;
const AF_INET: u8 = 2;
const AF_INET6: u8 = 10;
const IPPROTO_TCP: u8 = 6;
const IPPROTO_UDP: u8 = 17;
const INET_DIAG_PROTOCOL: u16 = 10;

const HEADER: usize = 16;
const SOURCE_PORT: u8 = 20;
const DESTINATION_PORT: u8 = 22;
/// `struct inet_diag_msg`, without attributes.
const BODY: usize = 72;
/// A header and `struct inet_diag_req_v2`.
const REQUEST: u8 = 72;

/// A program for the kernel that lets pass what has no remote port and one of these local
/// ports (bpf(4)); with more ports than a program can hold, what has no remote port.
pub(super) fn filter(ports: &BTreeSet<u16>) -> Vec<SockFilter> {
    const LOAD_HALF: u16 = 0x28;
    const JUMP_IF_EQUAL: u16 = 0x15;
    const RETURN: u16 = 0x06;
    const LONGEST: usize = 4096;
    const DROP: SockFilter = SockFilter::new(RETURN, 0, 0, 0);
    const PASS: SockFilter = SockFilter::new(RETURN, 0, 0, u32::MAX);

    let load = |offset: u8| SockFilter::new(LOAD_HALF, 0, 0, u32::from(offset));
    let mut program = vec![load(DESTINATION_PORT), SockFilter::new(JUMP_IF_EQUAL, 1, 0, 0), DROP];
    if program.len() + 2 * ports.len() + 2 > LONGEST {
        program.push(PASS);
        return program;
    }
    program.push(load(SOURCE_PORT));
    for &port in ports {
        program.extend([SockFilter::new(JUMP_IF_EQUAL, 0, 1, u32::from(port)), PASS]);
    }
    program.push(DROP);
    program
}

/// Asks for the sockets in no state at all, which a kernel that cannot tell of this
/// protocol's sockets refuses with ENOENT. The asking loads the modules, too.
pub(super) fn probe(protocol: Protocol) -> Result<(), Error> {
    let mut request = Vec::with_capacity(usize::from(REQUEST));
    request.extend(u32::from(REQUEST).to_ne_bytes());
    request.extend(SOCK_DIAG_BY_FAMILY.to_ne_bytes());
    request.extend((NLM_F_REQUEST | NLM_F_DUMP).to_ne_bytes());
    request.resize(HEADER, 0);
    let protocol_number = match protocol {
        Protocol::Tcp => IPPROTO_TCP,
        Protocol::Udp => IPPROTO_UDP,
    };
    request.extend([AF_INET, protocol_number, 0, 0]);
    request.resize(usize::from(REQUEST), 0);

    let netlink = netlink_sys::Socket::new(NETLINK_SOCK_DIAG)?;
    netlink.send(&request, 0)?;
    // The kernel answers before `send` returns.
    let mut answer = Vec::with_capacity(LONGEST_DATAGRAM);
    netlink.recv(&mut answer, 0)?;
    match half(&answer, 4) {
        Some(NLMSG_ERROR) => Err(Error::Unsupported(protocol)),
        _ => Ok(()),
    }
}

/// The closed listeners that one datagram tells of; whatever it holds, this does not panic.
pub(super) fn parse(mut octets: &[u8]) -> impl Iterator<Item = Socket> {
    let mut dead = Vec::new();
    while let Some(len) = octets.get(..4).and_then(|len| len.try_into().ok()) {
        let len = u32::from_ne_bytes(len) as usize;
        let Some(message) = octets.get(..len).filter(|_| len >= HEADER) else { break };
        if half(message, 4) == Some(SOCK_DIAG_BY_FAMILY) {
            dead.extend(parse_body(&message[HEADER..]));
        }
        octets = octets.get(len.next_multiple_of(4)..).unwrap_or_default();
    }
    dead.into_iter()
}

fn parse_body(body: &[u8]) -> Option<Socket> {
    let (fixed, mut attributes) = body.split_at_checked(BODY)?;
    let port = |at: u8| {
        let at = usize::from(at) - HEADER;
        u16::from_be_bytes([fixed[at], fixed[at + 1]])
    };
    let (source, destination) = (&fixed[8..24], &fixed[24..40]);
    let (family, is_listener) =
        (fixed[0], port(DESTINATION_PORT) == 0 && destination.iter().all(|&octet| octet == 0));
    let address = match family {
        AF_INET => IpAddr::from(<[u8; 4]>::try_from(&source[..4]).ok()?),
        AF_INET6 => IpAddr::from(<[u8; 16]>::try_from(source).ok()?).to_canonical(),
        _ => return None,
    };
    let local = SocketAddr::new(address, port(SOURCE_PORT));

    // The protocol is an attribute: length, type, data.
    let protocol = loop {
        let len = usize::from(half(attributes, 0)?);
        if half(attributes, 2)? == INET_DIAG_PROTOCOL {
            break *attributes.get(4)?;
        }
        attributes = attributes.get(len.max(4).next_multiple_of(4)..)?;
    };
    let protocol = match protocol {
        IPPROTO_TCP => Protocol::Tcp,
        IPPROTO_UDP => Protocol::Udp,
        _ => return None,
    };
    is_listener.then_some(Socket { protocol, local })
}

fn half(octets: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_ne_bytes(octets.get(at..at + 2)?.try_into().ok()?))
}

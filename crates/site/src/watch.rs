//! The death of a local service as an event: the kernel tells when a listening socket closes.
//!
//! Linux multicasts an `inet_diag_msg` on NETLINK_SOCK_DIAG for every internet socket that it
//! destroys in our network namespace (sock_diag(7); no privilege is needed). A process that is
//! killed, however, closes its sockets, so this is known within a millisecond instead of at the
//! next check. It is a hint to check, no verdict: another process may serve on.
//!
//! What this kernel interface reports, found by experiment on Linux 6.18: a listener arrives in
//! state CLOSE with no remote port and address; a connection that nobody accepted before the
//! listener closed has no remote port either, but a remote address; every other connection has
//! both. The kernel runs a filter of ours before it queues a message, so a site with a million
//! connections costs this process nothing.
//!
//! ```text
//! | nlmsghdr: 16 octets | family, state, timer, retrans | sport | dport | src: 16 | dst: 16 | …
//! ```

use std::collections::{BTreeSet, VecDeque};
use std::io;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};

use netlink_sys::protocols::NETLINK_SOCK_DIAG;
use netlink_sys::{AsyncSocket, AsyncSocketExt, TokioSocket};
use socket2::{SockFilter, SockRef};

/// More than the kernel puts into one message.
const LONGEST_DATAGRAM: usize = 8192;

/// What carries a service.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub enum Protocol {
    /// Connections.
    Tcp,
    /// Datagrams.
    Udp,
}

/// A socket on which a service is served, or was.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct Socket {
    /// What carries the service.
    pub protocol: Protocol,
    /// The address and port; one that died may have been bound to the wildcard.
    pub local: SocketAddr,
}

impl Socket {
    /// Whether a socket bound like this one would have served `wanted`. The wildcard of IPv6
    /// counts for IPv4 too, as it does unless IPV6_V6ONLY is set.
    pub fn serves(&self, wanted: &Self) -> bool {
        let (bound, address) = (self.local.ip(), wanted.local.ip());
        self.protocol == wanted.protocol
            && self.local.port() == wanted.local.port()
            && (bound == address
                || bound == IpAddr::V6(Ipv6Addr::UNSPECIFIED)
                || bound.is_unspecified() && address.is_ipv4())
    }
}

/// What is heard of the sockets watched.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Event {
    /// A socket that served one of those watched is closed.
    Death(Socket),
    /// The kernel had more to tell than fits: any of them may be closed.
    Overrun,
}

/// Why deaths cannot be seen.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The kernel was built without the interface, or its module cannot be loaded.
    #[error(
        "this kernel cannot tell when {0:?} sockets close \
         (it lacks CONFIG_INET_DIAG, CONFIG_INET_TCP_DIAG or CONFIG_INET_UDP_DIAG)"
    )]
    Unsupported(Protocol),
    /// Anything else that the kernel said.
    #[error("cannot watch for sockets that close: {0}")]
    Socket(#[from] io::Error),
}

/// Hears of sockets that close.
pub struct Deaths {
    netlink: TokioSocket,
    watched: Vec<Socket>,
    heard: VecDeque<Event>,
}

impl Deaths {
    /// Watches in the network namespace of the calling thread, on which a runtime must be
    /// entered.
    ///
    /// # Errors
    /// Why that is impossible; the caller is left with polling.
    pub fn open(watched: Vec<Socket>) -> Result<Self, Error> {
        for protocol in [Protocol::Tcp, Protocol::Udp] {
            wire::probe(protocol)?;
        }
        let mut netlink = TokioSocket::new(NETLINK_SOCK_DIAG)?;
        netlink.socket_mut().bind(&netlink_sys::SocketAddr::new(0, wire::GROUPS))?;
        let mut deaths = Self { netlink, watched: Vec::new(), heard: VecDeque::new() };
        deaths.watch(watched)?;
        Ok(deaths)
    }

    /// Watches these from now on, and no others.
    ///
    /// # Errors
    /// What the kernel said; then all stays as it was.
    pub fn watch(&mut self, watched: Vec<Socket>) -> Result<(), Error> {
        let ports = watched.iter().map(|socket| socket.local.port()).collect();
        let netlink = SockRef::from(self.netlink.socket_ref());
        netlink.attach_filter(&wire::filter(&ports))?;
        self.watched = watched;
        Ok(())
    }

    /// The next event. Nothing is lost when the future is dropped.
    pub async fn next(&mut self) -> Event {
        let mut octets = Vec::with_capacity(LONGEST_DATAGRAM);
        loop {
            if let Some(event) = self.heard.pop_front() {
                return event;
            }
            octets.clear();
            match self.netlink.recv(&mut octets).await {
                Ok(_) => {
                    let dead = wire::parse(&octets)
                        .filter(|dead| self.watched.iter().any(|wanted| dead.serves(wanted)));
                    self.heard.extend(dead.map(Event::Death));
                }
                // ENOBUFS, mostly; whatever else went wrong, something may have been missed.
                Err(_) => return Event::Overrun,
            }
        }
    }
}

/// The octets of sock_diag(7).
mod wire {
    use super::*;

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
    const SOURCE_PORT: usize = 20;
    const DESTINATION_PORT: usize = 22;
    /// `struct inet_diag_msg`, without attributes.
    const BODY: usize = 72;

    /// A program for the kernel that lets pass what has no remote port and one of these local
    /// ports (bpf(4)); with more ports than a program can hold, what has no remote port.
    pub(super) fn filter(ports: &BTreeSet<u16>) -> Vec<SockFilter> {
        const LOAD_HALF: u16 = 0x28;
        const JUMP_IF_EQUAL: u16 = 0x15;
        const RETURN: u16 = 0x06;
        const LONGEST: usize = 4096;
        const DROP: SockFilter = SockFilter::new(RETURN, 0, 0, 0);
        const PASS: SockFilter = SockFilter::new(RETURN, 0, 0, u32::MAX);

        let load = |offset: usize| SockFilter::new(LOAD_HALF, 0, 0, offset as u32);
        let mut program =
            vec![load(DESTINATION_PORT), SockFilter::new(JUMP_IF_EQUAL, 1, 0, 0), DROP];
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
        let mut request = Vec::with_capacity(BODY);
        request.extend((BODY as u32).to_ne_bytes());
        request.extend(SOCK_DIAG_BY_FAMILY.to_ne_bytes());
        request.extend((NLM_F_REQUEST | NLM_F_DUMP).to_ne_bytes());
        request.resize(HEADER, 0);
        let protocol_number = match protocol {
            Protocol::Tcp => IPPROTO_TCP,
            Protocol::Udp => IPPROTO_UDP,
        };
        request.extend([AF_INET, protocol_number, 0, 0]);
        request.resize(BODY, 0);

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
        let port = |at: usize| u16::from_be_bytes([fixed[at - HEADER], fixed[at - HEADER + 1]]);
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
}

#[cfg(test)]
mod tests;

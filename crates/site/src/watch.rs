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

use std::collections::VecDeque;
use std::io;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};

use netlink_sys::protocols::NETLINK_SOCK_DIAG;
use netlink_sys::{AsyncSocket, AsyncSocketExt, TokioSocket};
use socket2::SockRef;

mod wire;

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

impl std::fmt::Display for Protocol {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Tcp => "TCP",
            Self::Udp => "UDP",
        })
    }
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
        "this kernel cannot tell when {0} sockets close \
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
                Ok(()) => {
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

#[cfg(test)]
mod tests;

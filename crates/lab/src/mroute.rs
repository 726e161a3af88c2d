//! Multicast forwarding in a router of the lab (IPv4), by the kernel's own multicast routing.
//!
//! The kernel forwards by a table of (source, group) that one socket per namespace may write, as
//! mrouted and pimd do. The same socket hears what hosts subscribe to (IGMP) and from which
//! sources packets come that no route is known for. Which routes follow from that is the caller's
//! business; this speaks no multicast routing protocol.

use std::collections::BTreeSet;
use std::io::{self, IoSliceMut};
use std::net::Ipv4Addr;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};

use nix::errno::Errno;
use nix::sys::socket::{ControlMessageOwned, MsgFlags, SockaddrIn, recvmsg, setsockopt, sockopt};
use socket2::{Domain, InterfaceIndexOrAddress, Protocol, Socket, Type};

use crate::netns::NetNs;
use crate::sys::{mroute as sys, watch};

/// The multicast routing of one namespace; ends when dropped.
#[derive(Debug)]
pub struct MulticastRouter {
    socket: Socket,
    interfaces: Vec<Interface>,
}

#[derive(Debug)]
struct Interface {
    name: String,
    index: u32,
}

/// What the router has heard.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Event {
    /// A host behind the interface wants the group's packets.
    Joined {
        /// The interface's name.
        ifname: String,
        /// The group.
        group: Ipv4Addr,
    },
    /// A host behind the interface wants them no more; others there may.
    Left {
        /// The interface's name.
        ifname: String,
        /// The group.
        group: Ipv4Addr,
    },
    /// A packet came in for which there is no route. The kernel keeps it for some seconds and
    /// sends it on if a route is set.
    Unrouted {
        /// The interface that it came in by.
        ifname: String,
        /// Who sent it.
        source: Ipv4Addr,
        /// To which group.
        group: Ipv4Addr,
    },
}

/// What a host says about its membership of a group.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Membership {
    Joined,
    Left,
}

/// Where reports go (RFC 9776 §4.2.14) and where leaves go (RFC 2236 §3).
const REPORTS: [Ipv4Addr; 2] = [Ipv4Addr::new(224, 0, 0, 22), Ipv4Addr::new(224, 0, 0, 2)];

impl MulticastRouter {
    /// Makes the kernel of a namespace a multicast router on the interfaces named.
    ///
    /// # Errors
    /// Of kind `Unsupported` if the kernel has no multicast routing; if an interface does not
    /// exist, or there are more than 32.
    pub fn open(ns: &NetNs, ifnames: &[&str]) -> io::Result<Self> {
        if ifnames.len() > sys::MAX_INTERFACES {
            let limit = sys::MAX_INTERFACES;
            return Err(io::Error::other(format!("a multicast router has {limit} interfaces")));
        }
        ns.run(|| {
            let socket = Socket::new(Domain::IPV4, Type::RAW, Some(Protocol::from(IGMP)))?;
            socket.set_nonblocking(true)?;
            setsockopt(&socket, sockopt::Ipv4PacketInfo, &true)?;
            sys::init(socket.as_fd()).map_err(|error| match error.raw_os_error() {
                Some(libc::ENOPROTOOPT) => io::Error::new(io::ErrorKind::Unsupported, error),
                _ => error,
            })?;
            let mut interfaces = Vec::with_capacity(ifnames.len());
            for (vif, name) in (0..).zip(ifnames) {
                let index = nix::net::if_::if_nametoindex(*name)?;
                sys::add_interface(socket.as_fd(), vif, index)?;
                for group in REPORTS {
                    socket.join_multicast_v4_n(&group, &InterfaceIndexOrAddress::Index(index))?;
                }
                interfaces.push(Interface { name: (*name).to_owned(), index });
            }
            Ok(Self { socket, interfaces })
        })
    }

    /// What was heard and not yet told, without waiting. A report may tell several things.
    ///
    /// # Errors
    /// Of the socket.
    pub fn poll_events(&self) -> io::Result<Vec<Event>> {
        let mut events = Vec::new();
        let mut packet = [0; 2048];
        loop {
            let mut parts = [IoSliceMut::new(&mut packet)];
            let mut control = nix::cmsg_space!(libc::in_pktinfo);
            let flags = MsgFlags::MSG_DONTWAIT;
            let fd = self.socket.as_raw_fd();
            let message = match recvmsg::<SockaddrIn>(fd, &mut parts, Some(&mut control), flags) {
                Ok(message) => message,
                Err(Errno::EAGAIN) => return Ok(events),
                Err(Errno::EINTR) => continue,
                Err(errno) => return Err(errno.into()),
            };
            let ifindex = message.cmsgs()?.find_map(|control| match control {
                ControlMessageOwned::Ipv4PacketInfo(info) => u32::try_from(info.ipi_ifindex).ok(),
                _ => None,
            });
            let len = message.bytes;
            events.extend(self.read(&packet[..len], ifindex));
        }
    }

    /// Waits for the next things heard; at least one. To be called on a tokio runtime; may be
    /// dropped and called again without loss.
    ///
    /// # Errors
    /// Of the socket.
    pub async fn next_events(&self) -> io::Result<Vec<Event>> {
        let ready = watch(self.socket.as_fd())?;
        loop {
            let mut guard = ready.readable().await?;
            let events = self.poll_events()?;
            if !events.is_empty() {
                return Ok(events);
            }
            guard.clear_ready();
        }
    }

    /// Forwards the group's packets from `source` that come in by `iif` out of `oifs`; in place of
    /// the route before. Without `oifs` they are dropped in silence.
    ///
    /// # Errors
    /// If an interface is none of the router's.
    pub fn set_route(
        &self,
        source: Ipv4Addr,
        group: Ipv4Addr,
        iif: &str,
        oifs: &[&str],
    ) -> io::Result<()> {
        let oifs = oifs.iter().map(|oif| self.vif(oif)).collect::<io::Result<BTreeSet<_>>>()?;
        sys::add_route(self.socket.as_fd(), source, group, self.vif(iif)?, &oifs)
    }

    /// Takes a route out again.
    ///
    /// # Errors
    /// If there is none.
    pub fn delete_route(&self, source: Ipv4Addr, group: Ipv4Addr) -> io::Result<()> {
        sys::delete_route(self.socket.as_fd(), source, group)
    }

    /// Takes all routes out.
    ///
    /// # Errors
    /// Of the socket.
    pub fn clear(&self) -> io::Result<()> {
        sys::flush(self.socket.as_fd())
    }

    fn vif(&self, ifname: &str) -> io::Result<u16> {
        let known = (0..).zip(&self.interfaces).find(|(_, interface)| interface.name == ifname);
        known.map(|(vif, _)| vif).ok_or_else(|| {
            let text = format!("{ifname} is no interface of the multicast router");
            io::Error::new(io::ErrorKind::NotFound, text)
        })
    }

    /// Reads what the socket gave: an IPv4 packet with IGMP, or the kernel's own message, which
    /// has zero where a packet has its protocol (struct igmpmsg).
    fn read(&self, packet: &[u8], ifindex: Option<u32>) -> Vec<Event> {
        let Some(header) = packet.first_chunk::<20>() else { return Vec::new() };
        if header[9] == 0 {
            let known = self.interfaces.get(usize::from(header[10]));
            return match (header[8], known) {
                (sys::NO_CACHE, Some(interface)) => vec![Event::Unrouted {
                    ifname: interface.name.clone(),
                    source: address(&header[12..16]),
                    group: address(&header[16..20]),
                }],
                _ => Vec::new(),
            };
        }
        let known = self.interfaces.iter().find(|interface| Some(interface.index) == ifindex);
        let Some(interface) = known else { return Vec::new() };
        let body = packet.get(usize::from(header[0] & 0xf) * 4..).unwrap_or(&[]);
        memberships(body)
            .into_iter()
            // Groups of the link itself are not routed (RFC 5771 §4).
            .filter(|(group, _)| group.is_multicast() && group.octets()[..3] != [224, 0, 0])
            .map(|(group, membership)| {
                let ifname = interface.name.clone();
                match membership {
                    Membership::Joined => Event::Joined { ifname, group },
                    Membership::Left => Event::Left { ifname, group },
                }
            })
            .collect()
    }
}

impl AsFd for MulticastRouter {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

/// The protocol's number in the IPv4 header.
const IGMP: i32 = 2;

fn address(octets: &[u8]) -> Ipv4Addr {
    octets.first_chunk::<4>().map_or(Ipv4Addr::UNSPECIFIED, |octets| Ipv4Addr::from(*octets))
}

/// The memberships that an IGMP message reports: version 1 (RFC 1112), 2 (RFC 2236 §2) or 3
/// (RFC 9776 §4.2). Queries, and what is cut short, report none.
fn memberships(igmp: &[u8]) -> Vec<(Ipv4Addr, Membership)> {
    match igmp {
        [0x12 | 0x16, _, _, _, group @ ..] if group.len() >= 4 => {
            vec![(address(group), Membership::Joined)]
        }
        [0x17, _, _, _, group @ ..] if group.len() >= 4 => vec![(address(group), Membership::Left)],
        [0x22, _, _, _, _, _, high, low, records @ ..] => {
            let count = u16::from_be_bytes([*high, *low]);
            let mut rest = records;
            let mut found = Vec::new();
            for _ in 0..count {
                let [kind, extra, high, low, record @ ..] = rest else { break };
                let sources = u16::from_be_bytes([*high, *low]);
                let after = 4 + 4 * usize::from(sources) + 4 * usize::from(*extra);
                let Some(next) = record.get(after..) else { break };
                let membership = match (kind, sources) {
                    // EXCLUDE mode, or INCLUDE mode with sources: something is wanted.
                    (2 | 4, _) | (1 | 3 | 5, 1..) => Some(Membership::Joined),
                    (1 | 3, 0) => Some(Membership::Left),
                    // Changes of single sources leave the membership of the group as it is.
                    _ => None,
                };
                found.extend(membership.map(|membership| (address(record), membership)));
                rest = next;
            }
            found
        }
        _ => Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::Membership::{Joined, Left};
    use super::*;

    #[test]
    fn reports_of_all_versions() {
        let a = Ipv4Addr::new(239, 1, 1, 1);
        let b = Ipv4Addr::new(232, 1, 1, 2);
        let v3 = |records: &[&[u8]]| {
            let count = u8::try_from(records.len()).expect("few");
            [&[0x22, 0, 0, 0, 0, 0, 0, count][..], &records.concat()].concat()
        };
        let exclude_none: &[u8] = &[4, 0, 0, 0, 239, 1, 1, 1];
        let include_one: &[u8] = &[3, 0, 0, 1, 232, 1, 1, 2, 192, 0, 2, 1];
        let include_none: &[u8] = &[3, 0, 0, 0, 239, 1, 1, 1];
        let block: &[u8] = &[6, 1, 0, 1, 239, 1, 1, 1, 192, 0, 2, 1, 9, 9, 9, 9];
        for (name, message, want) in [
            ("version 1", vec![0x12, 0, 0, 0, 239, 1, 1, 1], vec![(a, Joined)]),
            ("version 2", vec![0x16, 0, 0, 0, 239, 1, 1, 1], vec![(a, Joined)]),
            ("leave", vec![0x17, 0, 0, 0, 239, 1, 1, 1], vec![(a, Left)]),
            ("a query", vec![0x11, 0, 0, 0, 239, 1, 1, 1], vec![]),
            ("cut short", vec![0x16, 0, 0, 0, 239, 1, 1], vec![]),
            ("empty", vec![], vec![]),
            ("version 3", v3(&[exclude_none, include_one]), vec![(a, Joined), (b, Joined)]),
            ("version 3 leave", v3(&[include_none]), vec![(a, Left)]),
            ("a source is skipped over", v3(&[block, include_one]), vec![(b, Joined)]),
            ("the second is cut short", v3(&[exclude_none, &include_one[..9]]), vec![(a, Joined)]),
        ] {
            assert_eq!(memberships(&message), want, "{name}");
        }
    }
}

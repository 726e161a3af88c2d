//! The sockets, with ports and TTLs as [`anycast_bfd::udp`] wants them.

use std::collections::BTreeSet;
use std::io::{self, IoSliceMut};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};

use anycast_bfd::udp::{GTSM_TTL, MULTIHOP_PORT, SINGLE_HOP_PORT, SOURCE_PORTS};
use nix::sys::socket::sockopt::{Ipv4RecvTtl, Ipv6RecvHopLimit};
use nix::sys::socket::{ControlMessageOwned, MsgFlags, SockaddrStorage, recvmsg, setsockopt};
use socket2::{Domain, Protocol, Socket, Type};

use super::{OpenError, Served};
use crate::config::Place;
use crate::scope;

/// More than any packet that is taken; a longer one shows by its length.
const ROOM: usize = 64;
/// Precedence of internetwork control (RFC 2474 §4.2.2.2): BFD must get through when data does not.
const CS6: u32 = 0xc0;

/// Where packets arrive.
pub(super) struct Receiver {
    socket: Socket,
    address: SocketAddr,
}

/// A datagram as it arrived.
pub(super) struct Arrived {
    octets: [u8; ROOM],
    length: usize,
    pub(super) from: IpAddr,
    /// The index of the interface that a link-local `from` is of, else 0.
    pub(super) interface: u32,
    /// TTL or hop limit.
    pub(super) ttl: Option<u8>,
}

impl Arrived {
    pub(super) fn octets(&self) -> &[u8] {
        &self.octets[..self.length]
    }
}

/// The addresses to listen at, each once. Where a session says which address of ours it is about,
/// only there, so that speakers with other addresses can live beside this one.
fn listening_addresses(sessions: &[Served]) -> BTreeSet<SocketAddr> {
    let port = |served: &Served| if served.multihop { MULTIHOP_PORT } else { SINGLE_HOP_PORT };
    let all: BTreeSet<SocketAddr> = sessions
        .iter()
        .map(|served| {
            let local = served.local_address.unwrap_or(any_address(served.address));
            scope::end(local, port(served), served.interface)
        })
        .collect();
    // A socket for every address hears what others would, and cannot be opened beside them.
    let covered = |address: &SocketAddr| {
        let any = SocketAddr::new(any_address(address.ip()), address.port());
        *address != any && all.contains(&any)
    };
    all.iter().filter(|address| !covered(address)).copied().collect()
}

/// Opens what the sessions need and is not among `receivers`, and closes what they do not.
pub(super) fn listen(
    receivers: &mut Vec<Receiver>,
    sessions: &[Served],
    place: &dyn Place,
) -> Result<(), OpenError> {
    let wanted = listening_addresses(sessions);
    receivers.retain(|it| wanted.contains(&it.address));
    for address in wanted {
        if receivers.iter().all(|it| it.address != address) {
            let opened = Receiver::open(address, place);
            receivers.push(opened.map_err(|source| OpenError { address, source })?);
        }
    }
    Ok(())
}

fn any_address(like: IpAddr) -> IpAddr {
    match like {
        IpAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
        IpAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
    }
}

fn open(address: IpAddr, place: &dyn Place) -> io::Result<Socket> {
    let domain = if address.is_ipv4() { Domain::IPV4 } else { Domain::IPV6 };
    let socket = place.run(|| Socket::new(domain, Type::DGRAM, Some(Protocol::UDP)))?;
    socket.set_nonblocking(true)?;
    // The interface may get the address later than we start.
    match address {
        IpAddr::V4(_) => socket.set_freebind_v4(true)?,
        IpAddr::V6(_) => {
            socket.set_only_v6(true)?;
            socket.set_freebind_v6(true)?;
        }
    }
    Ok(socket)
}

impl Receiver {
    pub(super) fn open(address: SocketAddr, place: &dyn Place) -> io::Result<Self> {
        let socket = open(address.ip(), place)?;
        match address {
            SocketAddr::V4(_) => setsockopt(&socket, Ipv4RecvTtl, &true)?,
            SocketAddr::V6(_) => setsockopt(&socket, Ipv6RecvHopLimit, &true)?,
        }
        socket.bind(&address.into())?;
        Ok(Self { socket, address })
    }

    pub(super) fn multihop(&self) -> bool {
        self.address.port() == MULTIHOP_PORT
    }

    /// Whether packets to this address of ours arrive here.
    pub(super) fn hears(&self, local: Option<IpAddr>, interface: Option<u32>) -> bool {
        let here = |local| scope::end(local, self.address.port(), interface) == self.address;
        self.address.ip().is_unspecified() || local.is_some_and(here)
    }

    /// The next datagram that waits, if there is one.
    pub(super) fn receive(&self) -> Option<Arrived> {
        let mut octets = [0; ROOM];
        let mut room = [IoSliceMut::new(&mut octets)];
        let mut control = nix::cmsg_space!(libc::c_int);
        let message = loop {
            let flags = MsgFlags::empty();
            match recvmsg::<SockaddrStorage>(
                self.socket.as_raw_fd(),
                &mut room,
                Some(&mut control),
                flags,
            ) {
                Ok(message) => break message,
                Err(nix::errno::Errno::EINTR) => {}
                Err(_) => return None,
            }
        };
        let ttl = message.cmsgs().ok()?.find_map(|message| match message {
            ControlMessageOwned::Ipv4Ttl(ttl) | ControlMessageOwned::Ipv6HopLimit(ttl) => {
                u8::try_from(ttl).ok()
            }
            _ => None,
        });
        let (from, interface) = message.address.and_then(|address| {
            let v4 = address.as_sockaddr_in().map(|from| (IpAddr::V4(from.ip()), 0));
            let v6 = address.as_sockaddr_in6();
            v4.or_else(|| v6.map(|from| (IpAddr::V6(from.ip()), from.scope_id())))
        })?;
        let length = message.bytes;
        Some(Arrived { octets, length, from, interface, ttl })
    }
}

impl AsFd for Receiver {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

/// Where one session's packets leave from.
pub(super) struct Sender {
    socket: Socket,
    to: socket2::SockAddr,
}

impl Sender {
    /// Opens a socket with a source port that no other session of the machine has at this address;
    /// `seed` says where to look first, or `wanted` which would be best.
    pub(super) fn open(
        to: SocketAddr,
        local: Option<IpAddr>,
        (wanted, seed): (Option<u16>, u64),
        place: &dyn Place,
    ) -> io::Result<Self> {
        let socket = open(to.ip(), place)?;
        match to {
            SocketAddr::V4(_) => {
                socket.set_ttl_v4(u32::from(GTSM_TTL))?;
                socket.set_tos_v4(CS6)?;
            }
            SocketAddr::V6(_) => {
                socket.set_unicast_hops_v6(u32::from(GTSM_TTL))?;
                socket.set_tclass_v6(CS6)?;
            }
        }
        let local = local.unwrap_or(any_address(to.ip()));
        let interface = match to {
            SocketAddr::V6(to) if to.scope_id() != 0 => Some(to.scope_id()),
            _ => None,
        };
        let mut result = Err(io::ErrorKind::AddrInUse.into());
        let ports = SOURCE_PORTS.len();
        let first = usize::try_from(seed >> 48).unwrap_or_default() % ports;
        let others = SOURCE_PORTS.cycle().skip(first).take(ports);
        for port in wanted.into_iter().chain(others) {
            result = socket.bind(&scope::end(local, port, interface).into());
            match &result {
                Err(error) if error.kind() == io::ErrorKind::AddrInUse => {}
                _ => break,
            }
        }
        result?;
        Ok(Self { socket, to: to.into() })
    }

    /// The source port, if the kernel tells.
    pub(super) fn port(&self) -> Option<u16> {
        self.socket.local_addr().ok()?.as_socket().map(|address| address.port())
    }

    pub(super) fn send(&self, octets: &[u8]) -> io::Result<()> {
        self.socket.send_to(octets, &self.to).map(drop)
    }
}

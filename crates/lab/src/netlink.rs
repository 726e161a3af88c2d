//! Links, addresses, neighbors and routes of a namespace, set by rtnetlink(7) in batches.
//!
//! A batch is written to the kernel in few calls and answered only where it was refused, so that
//! a lab of hundreds of links stands in a fraction of a second. Nothing is asked: the lab chooses
//! interface indexes itself.

use std::fmt;
use std::io;
use std::net::{IpAddr, Ipv6Addr};
use std::os::fd::{AsRawFd, RawFd};

use ipnet::IpNet;
use netlink_packet_route::address::{AddressAttribute, AddressHeaderFlags, AddressMessage};
use netlink_packet_route::link::{
    InfoData, InfoKind, InfoVeth, LinkAttribute, LinkExtentMask, LinkFlags, LinkInfo, LinkMessage,
};
use netlink_packet_route::neighbour::{
    NeighbourAddress, NeighbourAttribute, NeighbourMessage, NeighbourState,
};
use netlink_packet_route::route::{
    RouteAddress, RouteAttribute, RouteHeader, RouteMessage, RouteNextHop, RouteProtocol,
    RouteScope, RouteType, RouteVia,
};
use netlink_packet_route::{AddressFamily, RouteNetlinkMessage};
use rtnetlink::packet_core::{
    NLM_F_ACK, NLM_F_CREATE, NLM_F_EXCL, NLM_F_REPLACE, NLM_F_REQUEST, NLMSG_ERROR, NetlinkBuffer,
    NetlinkMessage, NetlinkPayload,
};
use rtnetlink::sys::{Socket, SocketAddr, protocols::NETLINK_ROUTE};

use crate::netns::NetNs;

/// Why a batch failed.
#[derive(Debug, thiserror::Error)]
pub enum NetlinkError {
    /// The netlink socket itself failed.
    #[error("netlink: {0}")]
    Socket(#[from] io::Error),
    /// The kernel refused a request; those before it were carried out.
    #[error("cannot {request}: {source}")]
    Refused {
        /// What was asked for, in words.
        request: String,
        /// What the kernel said.
        source: io::Error,
    },
}

/// An Ethernet address.
#[derive(Clone, Copy, Eq, Hash, PartialEq)]
pub struct Mac(pub [u8; 6]);

/// Where a route leads: one next hop; several of them share the load (ECMP).
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct NextHop {
    /// The router; none for a destination that is on the link itself.
    pub via: Option<IpAddr>,
    /// The interface; none if the router's address tells it.
    pub ifindex: Option<u32>,
}

/// One end of a veth pair.
#[derive(Clone, Debug)]
pub struct VethEnd<'a> {
    /// Where it lies.
    pub ns: &'a NetNs,
    /// Its name there.
    pub ifname: &'a str,
    /// Its index there, which must be free.
    pub ifindex: u32,
    /// Its Ethernet address; the kernel makes one up if there is none.
    pub mac: Option<Mac>,
}

/// One thing to ask of the kernel.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Request<'a> {
    /// Makes a pair of interfaces, each at once in its namespace. The first is raised.
    AddVeth {
        /// The two ends.
        ends: [VethEnd<'a>; 2],
        /// The largest IP packet, in octets.
        mtu: u32,
    },
    /// Raises an interface.
    SetUp(u32),
    /// Takes an interface down.
    SetDown(u32),
    /// Lets the kernel act on a carrier that an interface has just got or lost, which it would
    /// otherwise do a little later: until then it sends nothing, or knows not that it cannot.
    Settle(u32),
    /// Gives an interface an address; usable at once, without duplicate address detection.
    AddAddress(u32, IpNet),
    /// Takes an address from an interface.
    DeleteAddress(u32, IpNet),
    /// Says for good which Ethernet address an IP address on a link has.
    AddNeighbor(u32, IpAddr, Mac),
    /// Adds a route to the main table; one to the same prefix is an error.
    AddRoute(IpNet, Vec<NextHop>),
    /// Adds a route to the main table, in place of what leads to the same prefix.
    ReplaceRoute(IpNet, Vec<NextHop>),
    /// Takes all next hops of a prefix out of the main table.
    DeleteRoute(IpNet),
}

/// Carries out `requests` in order, in the namespace `ns`.
///
/// # Errors
/// The first request that the kernel refused. Those after it may have been carried out as well.
pub fn apply(ns: &NetNs, requests: &[Request<'_>]) -> Result<(), NetlinkError> {
    if requests.is_empty() {
        return Ok(());
    }
    ns.run(|| apply_here(requests))
}

/// [`apply`] in the namespace of the calling thread.
pub(crate) fn apply_here(requests: &[Request<'_>]) -> Result<(), NetlinkError> {
    let mut socket = Socket::new(NETLINK_ROUTE)?;
    socket.bind_auto()?;
    socket.connect(&SocketAddr::new(0, 0))?;
    // The kernel may send the text of an error, and leaves out the request that it is about.
    socket.set_ext_ack(true).ok();
    socket.set_cap_ack(true).ok();
    for chunk in requests.chunks(CHUNK) {
        transact(&socket, chunk)?;
    }
    Ok(())
}

/// Requests in one write: all answers to them must fit the socket's receive buffer.
const CHUNK: usize = 32;

fn transact(socket: &Socket, requests: &[Request<'_>]) -> Result<(), NetlinkError> {
    let mut wire = Vec::with_capacity(requests.len() * 128);
    for (number, request) in requests.iter().enumerate() {
        let mut message = NetlinkMessage::from(request.message());
        message.header.sequence_number = u32::try_from(number).expect("a chunk is short");
        message.header.flags = NLM_F_REQUEST | request.flags();
        if number + 1 == requests.len() {
            // Refusals always come; the one acknowledgement says that all of them have.
            message.header.flags |= NLM_F_ACK;
        }
        message.finalize();
        let at = wire.len();
        wire.resize(at + message.buffer_len(), 0);
        message.serialize(&mut wire[at..]);
    }
    socket.send(&wire, 0)?;

    let mut refused: Option<(usize, io::Error)> = None;
    loop {
        let (datagram, _) = socket.recv_from_full()?;
        let mut rest = &datagram[..];
        while !rest.is_empty() {
            let frame = NetlinkBuffer::new_checked(rest).map_err(io::Error::other)?;
            let (length, kind) = (frame.length() as usize, frame.message_type());
            let this = rest;
            rest = rest.get(length.next_multiple_of(4)..).unwrap_or(&[]);
            if kind != NLMSG_ERROR {
                continue;
            }
            let reply = NetlinkMessage::<RouteNetlinkMessage>::deserialize(this)
                .map_err(io::Error::other)?;
            let NetlinkPayload::Error(error) = reply.payload else { continue };
            let number = reply.header.sequence_number as usize;
            if error.code.is_some() && refused.is_none() {
                refused = Some((number, error.to_io()));
            }
            if number + 1 == requests.len() {
                return match refused {
                    None => Ok(()),
                    Some((number, source)) => {
                        Err(NetlinkError::Refused { request: requests[number].to_string(), source })
                    }
                };
            }
        }
    }
}

impl Request<'_> {
    fn flags(&self) -> u16 {
        match self {
            Self::AddVeth { .. } | Self::AddAddress(..) | Self::AddRoute(..) => {
                NLM_F_CREATE | NLM_F_EXCL
            }
            Self::AddNeighbor(..) | Self::ReplaceRoute(..) => NLM_F_CREATE | NLM_F_REPLACE,
            Self::SetUp(_)
            | Self::SetDown(_)
            | Self::Settle(_)
            | Self::DeleteAddress(..)
            | Self::DeleteRoute(_) => 0,
        }
    }

    fn message(&self) -> RouteNetlinkMessage {
        match self {
            Self::AddVeth { ends: [near, far], mtu } => {
                let peer = InfoData::Veth(InfoVeth::Peer(far.message(*mtu)));
                let mut link = near.message(*mtu);
                link.header.flags = LinkFlags::Up;
                link.header.change_mask = LinkFlags::Up;
                link.attributes.push(LinkAttribute::LinkInfo(vec![
                    LinkInfo::Kind(InfoKind::Veth),
                    LinkInfo::Data(peer),
                ]));
                RouteNetlinkMessage::NewLink(link)
            }
            Self::SetUp(ifindex) => RouteNetlinkMessage::SetLink(raised(*ifindex, true)),
            Self::SetDown(ifindex) => RouteNetlinkMessage::SetLink(raised(*ifindex, false)),
            Self::Settle(ifindex) => {
                // To be asked about a link, the kernel first does what is to be done on it
                // (rtnl_getlink, since Linux 6.9); that is all that the question is for.
                let mut link = LinkMessage::default();
                link.header.index = *ifindex;
                link.attributes = vec![LinkAttribute::ExtMask(vec![LinkExtentMask::SkipStats])];
                RouteNetlinkMessage::GetLink(link)
            }
            Self::AddAddress(ifindex, address) => {
                RouteNetlinkMessage::NewAddress(address_message(*ifindex, *address))
            }
            Self::DeleteAddress(ifindex, address) => {
                RouteNetlinkMessage::DelAddress(address_message(*ifindex, *address))
            }
            Self::AddNeighbor(ifindex, address, mac) => {
                let mut neighbor = NeighbourMessage::default();
                neighbor.header.family = family(*address);
                neighbor.header.ifindex = *ifindex;
                neighbor.header.state = NeighbourState::Permanent;
                neighbor.attributes = vec![
                    NeighbourAttribute::Destination(match *address {
                        IpAddr::V4(v4) => NeighbourAddress::Inet(v4),
                        IpAddr::V6(v6) => NeighbourAddress::Inet6(v6),
                    }),
                    NeighbourAttribute::LinkLayerAddress(mac.0.to_vec()),
                ];
                RouteNetlinkMessage::NewNeighbour(neighbor)
            }
            Self::AddRoute(prefix, next_hops) | Self::ReplaceRoute(prefix, next_hops) => {
                RouteNetlinkMessage::NewRoute(route_message(*prefix, next_hops))
            }
            Self::DeleteRoute(prefix) => {
                let mut route = route_message(*prefix, &[]);
                // Whatever its scope, protocol and next hops are.
                route.header.scope = RouteScope::NoWhere;
                route.header.protocol = RouteProtocol::Unspec;
                route.header.kind = RouteType::Unspec;
                RouteNetlinkMessage::DelRoute(route)
            }
        }
    }
}

impl VethEnd<'_> {
    fn message(&self, mtu: u32) -> LinkMessage {
        let namespace: RawFd = self.ns.file().as_raw_fd();
        let mut link = LinkMessage::default();
        link.header.index = self.ifindex;
        link.attributes = vec![
            LinkAttribute::IfName(self.ifname.to_owned()),
            LinkAttribute::NetNsFd(namespace),
            LinkAttribute::Mtu(mtu),
        ];
        if let Some(mac) = self.mac {
            link.attributes.push(LinkAttribute::Address(mac.0.to_vec()));
        }
        link
    }
}

fn raised(ifindex: u32, up: bool) -> LinkMessage {
    let mut link = LinkMessage::default();
    link.header.index = ifindex;
    link.header.flags = if up { LinkFlags::Up } else { LinkFlags::empty() };
    link.header.change_mask = LinkFlags::Up;
    link
}

fn address_message(ifindex: u32, address: IpNet) -> AddressMessage {
    let mut message = AddressMessage::default();
    message.header.family = family(address.addr());
    message.header.prefix_len = address.prefix_len();
    message.header.index = ifindex;
    message.header.flags = AddressHeaderFlags::Nodad;
    message.attributes =
        vec![AddressAttribute::Local(address.addr()), AddressAttribute::Address(address.addr())];
    if let IpNet::V4(v4) = address
        && v4.prefix_len() < 31
    {
        message.attributes.push(AddressAttribute::Broadcast(v4.broadcast()));
    }
    message
}

fn route_message(prefix: IpNet, next_hops: &[NextHop]) -> RouteMessage {
    let prefix = prefix.trunc();
    let mut route = RouteMessage::default();
    route.header.address_family = family(prefix.addr());
    route.header.destination_prefix_length = prefix.prefix_len();
    route.header.table = RouteHeader::RT_TABLE_MAIN;
    route.header.protocol = RouteProtocol::Static;
    route.header.kind = RouteType::Unicast;
    route.header.scope = match next_hops {
        // IPv4 wants a narrower scope for a destination on the link itself (ip-route(8)).
        [NextHop { via: None, .. }, ..] if prefix.addr().is_ipv4() => RouteScope::Link,
        _ => RouteScope::Universe,
    };
    if prefix.prefix_len() > 0 {
        route.attributes.push(RouteAttribute::Destination(RouteAddress::from(prefix.addr())));
    }
    let via = |hop: &NextHop| match (hop.via, prefix.addr()) {
        // An IPv4 prefix behind an IPv6 router (RFC 8950).
        (Some(IpAddr::V6(v6)), IpAddr::V4(_)) => Some(RouteAttribute::Via(RouteVia::Inet6(v6))),
        (Some(via), _) => Some(RouteAttribute::Gateway(RouteAddress::from(via))),
        (None, _) => None,
    };
    match next_hops {
        [] => {}
        [hop] => {
            route.attributes.extend(via(hop));
            route.attributes.extend(hop.ifindex.map(RouteAttribute::Oif));
        }
        several => {
            let paths = several.iter().map(|hop| {
                let mut path = RouteNextHop::default();
                path.interface_index = hop.ifindex.unwrap_or(0);
                path.attributes = via(hop).into_iter().collect();
                path
            });
            route.attributes.push(RouteAttribute::MultiPath(paths.collect()));
        }
    }
    route
}

fn family(address: IpAddr) -> AddressFamily {
    match address {
        IpAddr::V4(_) => AddressFamily::Inet,
        IpAddr::V6(_) => AddressFamily::Inet6,
    }
}

impl Mac {
    /// The link-local address that the kernel gives an interface with this address (RFC 4291,
    /// appendix A).
    pub fn link_local(self) -> Ipv6Addr {
        let mut octets = [0xfe, 0x80, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xfe, 0, 0, 0];
        octets[8..11].copy_from_slice(&self.0[..3]);
        octets[13..].copy_from_slice(&self.0[3..]);
        octets[8] ^= 2;
        octets.into()
    }
}

impl fmt::Display for Mac {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.map(|octet| format!("{octet:02x}")).join(":"))
    }
}

impl fmt::Debug for Mac {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl fmt::Display for NextHop {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(via) = self.via {
            write!(f, " via {via}")?;
        }
        self.ifindex.map_or(Ok(()), |ifindex| write!(f, " dev #{ifindex}"))
    }
}

impl fmt::Display for Request<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::AddVeth { ends: [near, far], .. } => {
                let at = |end: &VethEnd<'_>| format!("{} in {}", end.ifname, end.ns.name());
                write!(f, "make the link {} to {}", at(near), at(far))
            }
            Self::SetUp(ifindex) => write!(f, "raise interface #{ifindex}"),
            Self::Settle(ifindex) => write!(f, "ask about interface #{ifindex}"),
            Self::SetDown(ifindex) => write!(f, "take down interface #{ifindex}"),
            Self::AddAddress(ifindex, address) => {
                write!(f, "add address {address} to interface #{ifindex}")
            }
            Self::DeleteAddress(ifindex, address) => {
                write!(f, "take address {address} from interface #{ifindex}")
            }
            Self::AddNeighbor(ifindex, address, mac) => {
                write!(f, "add neighbor {address} at {mac} on interface #{ifindex}")
            }
            Self::AddRoute(prefix, next_hops) | Self::ReplaceRoute(prefix, next_hops) => {
                write!(f, "add route {prefix}")?;
                next_hops.iter().try_for_each(|hop| write!(f, "{hop}"))
            }
            Self::DeleteRoute(prefix) => write!(f, "delete route {prefix}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_link_local_address_is_the_modified_eui_64() {
        let mac = Mac([0x02, 0, 0, 0x12, 0x34, 0x56]);
        let want: Ipv6Addr = "fe80::ff:fe12:3456".parse().expect("an address");
        assert_eq!(mac.link_local(), want);
    }

    #[test]
    fn requests_speak_for_themselves() {
        let net = |text: &str| text.parse::<IpNet>().expect("a prefix");
        let hop = |via: &str, ifindex| NextHop { via: via.parse().ok(), ifindex };
        for (request, want) in [
            (Request::SetDown(7), "take down interface #7"),
            (
                Request::AddAddress(7, net("192.0.2.1/31")),
                "add address 192.0.2.1/31 to interface #7",
            ),
            (
                Request::AddRoute(
                    net("2001:db8::/32"),
                    vec![hop("fe80::1", Some(7)), hop("", Some(8))],
                ),
                "add route 2001:db8::/32 via fe80::1 dev #7 dev #8",
            ),
        ] {
            assert_eq!(request.to_string(), want);
        }
    }
}

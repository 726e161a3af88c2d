//! What must be built: a world and a fleet, turned into nodes, links, addresses and sessions.
//!
//! Everything here is plain data and pure functions: the same world and fleet always give the
//! same plan, number for number. The part of the lab that owns namespaces and speakers only
//! carries it out.

mod addresses;
mod attach;
mod build;
mod error;
mod names;
mod paths;
mod tenant;
#[cfg(test)]
mod tests;

use std::net::{IpAddr, Ipv4Addr};
use std::num::NonZeroU8;
use std::path::PathBuf;
use std::time::Duration;

use anycast_bgp::policy::relation::Relation;
use anycast_bgp::{Asn, Family};
use ipnet::IpNet;
use serde::{Serialize, Serializer};

use crate::world::System;

pub use build::build;
#[cfg(test)]
pub(crate) use build::build_for;
pub use error::PlanError;
pub use paths::{IgpRoute, MulticastHop, igp, multicast_tree};
pub use tenant::{Tenant, TenantNeighbor};

/// The whole Internet of one lab.
#[derive(Clone, Debug, Serialize)]
pub struct Plan {
    /// The world's name, for headings.
    pub name: String,
    /// Routers first, then sites, then clients; other parts point here by index.
    pub nodes: Vec<Node>,
    /// Every wire and segment; other parts point here by index.
    pub links: Vec<Link>,
    /// What the user should know: ASes that were made up.
    pub notes: Vec<String>,
}

/// One namespace.
#[derive(Clone, Debug, Serialize)]
pub struct Node {
    /// Unique among all nodes; what the user types.
    pub name: String,
    /// What runs in it.
    pub kind: NodeKind,
    /// Where it stands.
    pub place: Place,
}

/// A point on the globe.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Place {
    /// The city as the file writes it.
    pub city: String,
    /// Degrees, north positive.
    pub latitude: f64,
    /// Degrees, east positive.
    pub longitude: f64,
}

/// What a node is.
#[derive(Clone, Debug, Serialize)]
#[serde(tag = "kind", rename_all = "kebab-case")]
pub enum NodeKind {
    /// A router of one AS.
    Router(RouterPlan),
    /// A site of the fleet: a real `anycast run` process.
    Site(SitePlan),
    /// A user's machine.
    Client(ClientPlan),
}

/// A wire between two nodes or a segment (LAN) of two and more.
#[derive(Clone, Debug, Serialize)]
pub struct Link {
    /// `nodeA--nodeB` in the order of the ends, or `router--lan`; unique, stable, shown to users.
    pub name: String,
    /// How many there may be at it.
    pub kind: LinkKind,
    /// One way. Zero on a segment, and between two nodes in one city.
    pub latency: Duration,
    /// What is plugged in; a segment's first end is its router.
    pub ends: Vec<LinkEnd>,
}

/// The two kinds of link.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum LinkKind {
    /// Exactly two ends.
    Wire,
    /// A bridged LAN: one router and its clients.
    Segment,
}

/// One interface.
#[derive(Clone, Debug, Serialize)]
pub struct LinkEnd {
    /// Index into [`Plan::nodes`].
    pub node: usize,
    /// At most 15 octets, unique in its node.
    pub ifname: String,
    /// With the prefix length of the link.
    pub addresses: Vec<IpNet>,
}

/// Which program a router is.
#[derive(Clone, Copy, Debug, Default, Eq, Hash, PartialEq, Serialize)]
#[serde(rename_all = "lowercase")]
#[expect(missing_docs, reason = "the names say all")]
pub enum Implementation {
    /// Our speaker, in the lab's own process.
    #[default]
    Anycast,
    Bird,
    Frr,
    Gobgp,
    Exabgp,
    Openbgpd,
}

impl Implementation {
    /// Every one, by the name that the world file gives it.
    pub const NAMES: [(&'static str, Self); 6] = [
        ("anycast", Self::Anycast),
        ("bird", Self::Bird),
        ("frr", Self::Frr),
        ("gobgp", Self::Gobgp),
        ("exabgp", Self::Exabgp),
        ("openbgpd", Self::Openbgpd),
    ];

    /// The name in the world file.
    pub fn name(self) -> &'static str {
        let (name, _) = Self::NAMES
            .iter()
            .find(|(_, implementation)| *implementation == self)
            .expect("every implementation has a name");
        name
    }

    /// Whether it puts what it learns into the kernel, so that it can carry others' packets. One
    /// that does not serves only as a leaf: it announces its network and has a default route.
    pub fn forwards(self) -> bool {
        matches!(self, Self::Anycast | Self::Bird | Self::Frr)
    }
}

/// A router.
#[derive(Clone, Debug, Serialize)]
pub struct RouterPlan {
    /// Its AS.
    pub asn: Asn,
    /// Its AS, by name.
    pub as_name: String,
    /// The program.
    pub implementation: Implementation,
    /// The BGP Identifier: its IPv4 loopback.
    pub router_id: Ipv4Addr,
    /// On `lo`, as host routes; known in its AS by [`igp`].
    pub loopbacks: Vec<IpAddr>,
    /// On `lo` too, but known only to the site at the other end: where a multihop neighbor of the
    /// fleet file is spoken to.
    pub extra_addresses: Vec<IpAddr>,
    /// The networks it announces; they are not routes in its kernel, what lies in them is.
    pub originates: Vec<IpNet>,
    /// The TCP ports at which sites look for it: 179, unless the fleet file says otherwise.
    pub listen_ports: Vec<u16>,
    /// Routes that hold from the start: towards multihop sites, and the default of a leaf whose
    /// program does not forward.
    pub static_routes: Vec<StaticRoute>,
    /// One per family and link end, one per family and other router of its AS.
    pub neighbors: Vec<NeighborPlan>,
}

/// One BGP session, from one router's view.
#[derive(Clone, Debug, Serialize)]
pub struct NeighborPlan {
    /// `node-v4` or `node-v6`; unique in its router.
    pub name: String,
    /// The node at the other end: index into [`Plan::nodes`].
    pub node: usize,
    /// Where it is spoken to.
    pub address: IpAddr,
    /// Our end.
    pub local_address: IpAddr,
    /// Our next hop for the family that the session's own addresses are not of, if it carries it.
    pub next_hop_other: Option<IpAddr>,
    /// The port at which it listens.
    pub port: u16,
    /// Its AS.
    pub asn: Asn,
    /// What the neighbor is to us; `None` is iBGP.
    #[serde(serialize_with = "relation")]
    pub relation: Option<Relation>,
    /// What the session carries.
    #[serde(serialize_with = "families")]
    pub families: Vec<Family>,
    /// To propose in OPEN.
    pub hold_time: Duration,
    /// MD5 (RFC 2385): the file that holds the secret, as the fleet file names it.
    pub password_file: Option<PathBuf>,
    /// Hops allowed, where the neighbor is not on the link.
    pub multihop: Option<u8>,
    /// Send and demand TTL 255 (RFC 5082).
    pub gtsm: bool,
    /// Put our own address into what we pass on: always on iBGP.
    pub next_hop_self: bool,
    /// Watch it by BFD (RFC 5880).
    pub bfd: Option<BfdPlan>,
    /// The link it goes over: index into [`Plan::links`]; `None` is iBGP, which the IGP carries.
    pub link: Option<usize>,
}

/// How BFD watches a neighbor, as the fleet file says it for the other end.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize)]
pub struct BfdPlan {
    /// Between packets, in either direction.
    pub interval: Duration,
    /// Packets in a row that must be missing.
    pub multiplier: NonZeroU8,
}

/// A route that the lab itself puts into a node.
#[derive(Clone, Debug, Eq, PartialEq, Serialize)]
pub struct StaticRoute {
    /// The destination.
    pub prefix: IpNet,
    /// Through whom; `None`: the destination itself is on the link.
    pub gateway: Option<IpAddr>,
    /// Out of which interface.
    pub ifname: String,
    /// The lower is preferred.
    pub metric: u32,
}

/// A site of the fleet.
#[derive(Clone, Debug, Serialize)]
pub struct SitePlan {
    /// Its name in the fleet file.
    pub site: String,
    /// Towards multihop neighbors; and if the fleet imports nothing, a default route per family
    /// and neighbor, the first neighbor's with the lowest metric.
    pub routes: Vec<StaticRoute>,
    /// On `lo`: where other sites reach it, if that is no address of a link.
    pub extra_addresses: Vec<IpAddr>,
}

/// A client.
#[derive(Clone, Debug, Serialize)]
pub struct ClientPlan {
    /// Its own, one per family.
    pub addresses: Vec<IpAddr>,
    /// Where its IPv4 default route goes.
    pub gateway_v4: Option<Ipv4Addr>,
    /// Where its IPv6 default route goes.
    pub gateway_v6: Option<std::net::Ipv6Addr>,
    /// Its AS, by name.
    pub as_name: String,
    /// Its segment: index into [`Plan::links`].
    pub segment: usize,
}

impl Plan {
    /// The node of this name.
    pub fn node(&self, name: &str) -> Option<usize> {
        self.nodes.iter().position(|node| node.name == name)
    }

    /// The link of this name, whichever end is written first.
    pub fn link(&self, name: &str) -> Option<usize> {
        self.links.iter().position(|link| link.name == name).or_else(|| {
            let (a, b) = name.split_once("--")?;
            let turned = format!("{b}--{a}");
            self.links.iter().position(|link| link.name == turned)
        })
    }

    /// Every router with its index.
    pub fn routers(&self) -> impl Iterator<Item = (usize, &Node, &RouterPlan)> {
        self.nodes.iter().enumerate().filter_map(|(i, node)| match &node.kind {
            NodeKind::Router(router) => Some((i, node, router)),
            NodeKind::Site(_) | NodeKind::Client(_) => None,
        })
    }

    /// Every site with its index.
    pub fn sites(&self) -> impl Iterator<Item = (usize, &Node, &SitePlan)> {
        self.nodes.iter().enumerate().filter_map(|(i, node)| match &node.kind {
            NodeKind::Site(site) => Some((i, node, site)),
            NodeKind::Router(_) | NodeKind::Client(_) => None,
        })
    }

    /// Every client with its index.
    pub fn clients(&self) -> impl Iterator<Item = (usize, &Node, &ClientPlan)> {
        self.nodes.iter().enumerate().filter_map(|(i, node)| match &node.kind {
            NodeKind::Client(client) => Some((i, node, client)),
            NodeKind::Router(_) | NodeKind::Site(_) => None,
        })
    }
}

/// What the router of an AS in one of its cities is called.
pub(crate) fn router_name(system: &System, city: &Place) -> String {
    if system.cities.len() == 1 {
        system.name.clone()
    } else {
        format!("{}-{}", system.name, names::host_label(&city.city))
    }
}

impl Place {
    /// The great circle to `other`, in kilometres.
    pub fn distance_km(&self, other: &Self) -> f64 {
        const EARTH_RADIUS_KM: f64 = 6371.0;
        let (lat_a, lat_b) = (self.latitude.to_radians(), other.latitude.to_radians());
        let half_lat = (lat_b - lat_a) / 2.0;
        let half_lon = (other.longitude - self.longitude).to_radians() / 2.0;
        let haversine = half_lat.sin().powi(2) + lat_a.cos() * lat_b.cos() * half_lon.sin().powi(2);
        2.0 * EARTH_RADIUS_KM * haversine.sqrt().min(1.0).asin()
    }

    /// One way through fibre: light makes 200 km in a millisecond there, and the fibre is
    /// `stretch` times as long as the great circle.
    pub fn latency(&self, other: &Self, stretch: f64) -> Duration {
        const FIBRE_KM_PER_SECOND: f64 = 200_000.0;
        let seconds = self.distance_km(other) * stretch / FIBRE_KM_PER_SECOND;
        let exact = Duration::from_secs_f64(seconds);
        // Whole microseconds: what the kernel's delay takes and a table shows.
        Duration::new(exact.as_secs(), exact.subsec_micros() * 1000)
    }
}

fn families<S: Serializer>(families: &[Family], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_seq(families.iter().map(ToString::to_string))
}

#[expect(clippy::ref_option, clippy::trivially_copy_pass_by_ref, reason = "serde's signature")]
fn relation<S: Serializer>(relation: &Option<Relation>, serializer: S) -> Result<S::Ok, S::Error> {
    match relation {
        Some(relation) => serializer.serialize_some(match relation {
            Relation::Customer => "customer",
            Relation::Peer => "peer",
            Relation::Provider => "provider",
        }),
        None => serializer.serialize_none(),
    }
}

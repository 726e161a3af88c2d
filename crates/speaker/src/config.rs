//! What a speaker is told at its start.

use std::collections::HashMap;
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::num::NonZeroU8;
use std::sync::Arc;
use std::time::Duration;

use anycast_bgp::policy::Policy;
pub use anycast_bgp::rib::Limits;
pub use anycast_bgp::session::Offer;
use anycast_bgp::{Asn, Family, IpNet, Role};

use crate::scope;

/// One speaker.
#[derive(Clone)]
pub struct Config {
    /// Our autonomous system number.
    pub local_asn: Asn,
    /// Our BGP Identifier.
    pub router_id: Ipv4Addr,
    /// Where to accept connections; none: only dial.
    pub listen: Vec<SocketAddr>,
    /// Whether best routes are put in the kernel's main table.
    pub install_routes: bool,
    /// Where sockets are opened.
    pub place: Arc<dyn Place>,
    /// Our cluster in route reflection, if it is not called by our BGP Identifier (RFC 4456 §7).
    pub cluster_id: Option<Ipv4Addr>,
    /// The neighbors.
    pub neighbors: Vec<Neighbor>,
}

impl Config {
    /// A speaker that only dials, keeps its routes to itself and has no neighbors yet.
    #[must_use]
    pub fn new(local_asn: Asn, router_id: Ipv4Addr) -> Self {
        Self {
            local_asn,
            router_id,
            listen: Vec::new(),
            install_routes: false,
            place: Arc::new(Here),
            cluster_id: None,
            neighbors: Vec::new(),
        }
    }
}

/// One BGP neighbor.
#[derive(Clone, Debug)]
#[expect(clippy::struct_excessive_bools, reason = "each is a setting of its own")]
pub struct Neighbor {
    /// What the operator calls it; unique within the speaker.
    pub name: String,
    /// Its address; with a link-local one it needs an `interface` too.
    pub address: IpAddr,
    /// The port to dial.
    pub port: u16,
    /// Our address towards it, if it must be a certain one.
    pub local_address: Option<IpAddr>,
    /// Its ASN; ours means iBGP.
    pub asn: Asn,
    /// The hold time that we propose; zero for none.
    pub hold_time: Duration,
    /// How long to wait before the first new attempt to connect.
    pub connect_retry: Duration,
    /// The families to negotiate.
    pub families: Vec<Family>,
    /// The next hop to announce for the family that the session's own addresses are not of.
    pub next_hop_other: Option<IpAddr>,
    /// Never dial, only accept.
    pub passive: bool,
    /// What is offered besides families, Route Refresh and four-octet AS numbers.
    pub offer: Offer,
    /// Hops to the neighbor if it is not directly connected; an iBGP neighbor may be anywhere.
    pub multihop: Option<u8>,
    /// Refuse packets that came from further than the neighbor can be (GTSM, RFC 5082).
    pub ttl_security: bool,
    /// TCP MD5 password (RFC 2385).
    pub password: Option<Password>,
    /// What is taken from it.
    pub import: Policy,
    /// What it is told.
    pub export: Policy,
    /// iBGP: announce ourselves as next hop of what others told us.
    pub next_hop_self: bool,
    /// Notice by BFD when it has died: over a single hop (RFC 5881), with `multihop` over several
    /// (RFC 5883).
    pub bfd: Option<Bfd>,
    /// iBGP: our client in route reflection (RFC 4456).
    pub reflector_client: bool,
    /// The only interface over which it is dialled and heard; a VRF is one too.
    pub interface: Option<String>,
    /// The key of TCP-AO (RFC 5925), in place of a password.
    pub tcp_ao: Option<TcpAo>,
    /// How long a new connection waits for its OPEN before we send ours (RFC 4271 §8.1.1).
    pub delay_open: Duration,
    /// How much is taken from it.
    pub limits: Limits,
    /// What follows when it sends more prefixes than that.
    pub at_limit: AtLimit,
}

/// What follows when a neighbor sends more prefixes than its limit.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum AtLimit {
    /// A warning.
    Warn,
    /// The session ends (RFC 4486: Cease, Maximum Number of Prefixes Reached) and starts again
    /// after so long; `None`: when an operator clears it.
    End {
        /// How long it rests.
        restart_after: Option<Duration>,
    },
}

impl Neighbor {
    /// A directly connected neighbor with RFC 4271's port and timers, of which nothing is taken
    /// and which is told nothing (RFC 8212).
    #[must_use]
    pub fn new(name: impl Into<String>, address: IpAddr, asn: Asn) -> Self {
        Self {
            name: name.into(),
            address,
            port: 179,
            local_address: None,
            asn,
            hold_time: Duration::from_secs(90),
            connect_retry: Duration::from_secs(1),
            families: vec![Family::of(&address.into())],
            next_hop_other: None,
            passive: false,
            offer: Offer::default(),
            multihop: None,
            ttl_security: false,
            password: None,
            import: Policy::reject_all(),
            export: Policy::reject_all(),
            next_hop_self: false,
            bfd: None,
            reflector_client: false,
            interface: None,
            tcp_ao: None,
            delay_open: Duration::ZERO,
            limits: Limits::default(),
            at_limit: AtLimit::End { restart_after: None },
        }
    }
}

impl Neighbor {
    /// What follows from the other settings: an iBGP neighbor may be anywhere, but one with a
    /// link-local address.
    pub(crate) fn fill_in(&mut self, local_asn: Asn) {
        if self.asn == local_asn && !scope::is_link_local(self.address) {
            self.multihop.get_or_insert(u8::MAX);
        }
    }

    /// A route server leaves its own AS out of paths (RFC 7947 §2.2.2.1).
    pub(crate) fn is_route_server(&self) -> bool {
        self.offer.role == Some(Role::RouteServerClient)
    }
}

/// How soon BFD notices that a neighbor has died: after `interval` × `multiplier`, if the neighbor
/// has the same numbers.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Bfd {
    /// Between packets, in either direction.
    pub interval: Duration,
    /// Packets in a row that must be missing.
    pub multiplier: NonZeroU8,
}

/// A secret that no log or table can show.
#[derive(Clone, Eq, PartialEq)]
pub struct Password(Vec<u8>);

impl Password {
    /// Takes a password of 1 to 80 octets, what TCP_MD5SIG can hold.
    #[must_use]
    pub fn new(octets: Vec<u8>) -> Option<Self> {
        (1..=80).contains(&octets.len()).then_some(Self(octets))
    }

    pub(crate) fn octets(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Debug for Password {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Password(hidden)")
    }
}

/// The Master Key Tuple of a neighbor (RFC 5925 §3.1): one key for both directions.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct TcpAo {
    /// The secret, which both ends share.
    pub key: Password,
    /// KeyID of what we send; the neighbor's `recv_id`.
    pub send_id: u8,
    /// KeyID of what the neighbor sends; its `send_id`.
    pub recv_id: u8,
    /// How traffic keys and codes are made.
    pub algorithm: AoAlgorithm,
}

/// Cryptographic algorithms for TCP-AO; codes of 96 bits.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum AoAlgorithm {
    /// HMAC-SHA-1-96 (RFC 5926 §3.1.1, §3.2.1).
    HmacSha1,
    /// AES-128-CMAC-96 (RFC 5926 §3.1.2, §3.2.2).
    AesCmac,
    /// HMAC-SHA-256, cut to 96 bits: of no RFC, but many routers have it.
    HmacSha256,
}

/// Where sockets are opened: a network namespace.
///
/// A socket belongs for ever to the namespace of the thread that opened it, so a speaker can be
/// driven from any thread once its sockets exist.
pub trait Place: Send + Sync {
    /// Runs `open` on a thread that is in the namespace and returns when it has run.
    fn enter(&self, open: Box<dyn FnOnce() + Send + '_>);
}

impl dyn Place + '_ {
    /// [`enter`](Place::enter) with a result.
    pub fn run<T: Send>(&self, open: impl FnOnce() -> T + Send) -> T {
        let mut result = None;
        let slot = &mut result;
        self.enter(Box::new(move || *slot = Some(open())));
        result.expect("enter runs what it is given")
    }
}

/// The namespace that the process is in.
#[derive(Clone, Copy, Debug)]
pub struct Here;

impl Place for Here {
    fn enter(&self, open: Box<dyn FnOnce() + Send + '_>) {
        open();
    }
}

/// Routes inside the AS, given from outside: prefix → how to get there. The host route to a next
/// hop says what it costs.
///
/// A site has none; the lab computes it for the routers of one AS, as their IGP would.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Igp {
    /// By prefix: the other routers' addresses and what lies behind them.
    pub routes: HashMap<IpNet, IgpRoute>,
}

/// The way to one prefix inside the AS.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct IgpRoute {
    /// The metric that the decision process compares.
    pub cost: u32,
    /// The directly connected router to send to.
    pub gateway: IpAddr,
}

impl Igp {
    /// The directly connected router through which another router of the AS is reached.
    #[must_use]
    pub fn gateway(&self, router: IpAddr) -> Option<IpAddr> {
        self.routes.get(&IpNet::from(router)).map(|route| route.gateway)
    }
}

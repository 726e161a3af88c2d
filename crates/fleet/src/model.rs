//! The checked types of a fleet: what a file that was found sound says, names resolved and
//! defaults filled in. The site daemon, the lab and the planner start from these.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::num::NonZeroU8;
use std::path::PathBuf;
use std::time::Duration;

use anycast_bgp::policy::relation::Relation;
use anycast_bgp::policy::{Policy, Rule};
use anycast_bgp::retention::Limits as StaleLimits;
use anycast_bgp::{Asn, Community, Family, LargeCommunity, Role};
use anycast_steer::{Damping, FloorSpec, Leaving, Require, Response, ShedSpec};
use ipnet::IpNet;

use crate::{Affinity, Check, FleetState, Kept, SiteAffinity};

/// All that one operator runs. Every list is in the order of the file.
#[derive(Clone, Debug, PartialEq)]
pub struct Fleet {
    /// What the operator calls it.
    pub name: String,
    /// The number that sites announce from, unless a site has its own.
    pub asn: Asn,
    /// At least one; none overlap.
    pub prefixes: Vec<Prefix>,
    /// What the prefixes stand for.
    pub services: Vec<Service>,
    /// When what falls too often is kept down.
    pub damping: Damping,
    /// The named policies.
    pub policies: Vec<NamedPolicy>,
    /// At least one.
    pub sites: Vec<Site>,
    /// How what is drained is announced before it is withdrawn, and for how long.
    pub leaving: Leaving,
    /// How long connections that are kept at what was drained are waited for after the withdrawal.
    pub finishing: Duration,
    /// Where sites get the RPKI's word from, unless a site has its own sources.
    pub rpki: Option<Rpki>,
    /// Monitoring stations that each site tells what it sees.
    pub bmp: Vec<BmpStation>,
    /// Files of what comes in at each site.
    pub mrt: Option<Mrt>,
    /// Whether routes whose origin the RPKI calls invalid are refused, from every neighbor.
    pub reject_invalid: bool,
    /// Where the sites share who announces what; `None`: each stands alone.
    pub fleet_state: Option<FleetState>,
    /// How connections are kept at the site that they began at; `None`: they are not.
    pub affinity: Option<Affinity>,
}

/// Where VRPs come from (RFC 6811 §2).
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Rpki {
    /// Caches that speak the RPKI to Router protocol, the preferred first.
    pub caches: Vec<SocketAddr>,
    /// A file of VRPs, for when no cache has data; resolved against the fleet file's folder.
    pub vrp_file: Option<PathBuf>,
    /// How long a site that starts waits for the first VRPs before it announces anything, and
    /// before it uses routes of neighbors whose policy asks for the RPKI.
    pub wait: Duration,
}

/// What is announced, and for which services.
#[derive(Clone, Debug, PartialEq)]
pub struct Prefix {
    /// No host bits are set.
    pub prefix: IpNet,
    /// Names of services; at least one.
    pub services: Vec<String>,
    /// What each of them counts, in the same order.
    pub weights: Vec<u32>,
    /// How many of them must be up.
    pub require: Require,
    /// What is done while some of them are down, but not too many.
    pub degraded: Vec<Response>,
    /// What is done under load.
    pub shed: Option<ShedSpec>,
    /// Whether it is kept withdrawn if it is withdrawn too often.
    pub damping: bool,
    /// Below what the fleet must not fall: its own words, else the fleet's; `None`: it may.
    pub floor: Option<FloorSpec>,
}

/// What clients reach at anycast addresses.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Service {
    /// Unique in the fleet.
    pub name: String,
    /// Put on the loopback interface of each site; at least one.
    pub addresses: Vec<IpAddr>,
    /// What the site runs itself for it; `None`: something else serves the addresses.
    pub builtin: Option<Builtin>,
    /// One for each probe and address, so each has a verdict of its own.
    pub checks: Vec<Check>,
    /// Whether it is kept down if it falls too often.
    pub damping: bool,
    /// Which of its connections are kept at the site that they began at.
    pub affinity: Kept,
}

/// A service that the site's daemon brings along.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Builtin {
    /// Tells who answers. At least one of the ports is there.
    Whoami {
        /// DNS over UDP and TCP; `None`: off.
        dns_port: Option<u16>,
        /// HTTP; `None`: off.
        http_port: Option<u16>,
        /// HTTP/3 over QUIC, beside the others; `None`: off.
        quic: Option<Quic>,
    },
}

/// How a built-in service speaks QUIC.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Quic {
    /// The UDP port.
    pub port: u16,
    /// Its certificate and those up to the root, in PEM; resolved against the fleet file's folder.
    pub certificate: PathBuf,
    /// The certificate's private key, in PEM; resolved likewise.
    pub key: PathBuf,
    /// Whether clients are told the site's own addresses, those of its affinity, to go on at
    /// (RFC 9000 §9.6).
    pub preferred_address: bool,
}

/// A policy that neighbors refer to.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct NamedPolicy {
    /// Unique in the fleet.
    pub name: String,
    /// Its rules, in order.
    pub rules: Vec<PolicyRule>,
}

/// A rule of a named policy.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct PolicyRule {
    /// The neighbors that the rule is for, whichever way their routes go; `None`: all.
    pub neighbors: Option<Vec<NeighborRef>>,
    /// What it does.
    pub rule: Rule,
}

/// A neighbor as a rule names it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum NeighborRef {
    /// By its name, at whatever site.
    Name(String),
    /// By its address.
    Address(IpAddr),
}

impl NeighborRef {
    /// Whether it is that neighbor.
    pub fn is(&self, neighbor: &Neighbor) -> bool {
        match self {
            Self::Name(name) => *name == neighbor.name,
            Self::Address(address) => *address == neighbor.address,
        }
    }
}

impl NamedPolicy {
    /// The policy for the session with a neighbor: the rules that are for it.
    pub fn towards(&self, neighbor: &Neighbor) -> Policy {
        let is_for = |rule: &&PolicyRule| {
            rule.neighbors.as_ref().is_none_or(|some| some.iter().any(|it| it.is(neighbor)))
        };
        Policy { rules: self.rules.iter().filter(is_for).map(|it| it.rule.clone()).collect() }
    }
}

/// One location that announces (RFC 4786 calls it an Anycast Node).
#[derive(Clone, Debug, PartialEq)]
#[expect(clippy::struct_excessive_bools, reason = "each is a key of its own")]
pub struct Site {
    /// Unique in the fleet; what users are told when they ask who answers.
    pub name: String,
    /// The city's name as the table of cities has it, or as the file has it if coordinates are
    /// given too.
    pub city: Option<String>,
    /// From the file, else from the city.
    pub location: Option<Coordinates>,
    /// What floors of regions call the part of the world that it is in.
    pub region: Option<String>,
    /// How much traffic it can take, in bits per second; `None`: not said.
    pub capacity: Option<u64>,
    /// Its own number, else the fleet's.
    pub asn: Asn,
    /// From the file, else the first IPv4 local address of a neighbor.
    pub router_id: Ipv4Addr,
    /// Where it listens for BGP.
    pub bgp_port: u16,
    /// Whether it listens for BGP at all.
    pub listen: bool,
    /// Whether the best routes go into the kernel's routing table.
    pub kernel_routes: bool,
    /// How many routes may share the packets of one prefix; at least 1.
    pub multipath: u8,
    /// Whether routes through different neighbor ASes may.
    pub multipath_across_as: bool,
    /// Between withdrawing and the end of serving.
    pub stop_wait: Duration,
    /// Whether its daemon starts drained: announces nothing until an operator says so.
    pub start_drained: bool,
    /// Where it keeps what outlives its daemon; `None`: where the system keeps such.
    pub state_dir: Option<PathBuf>,
    /// Where its looking glass listens; `None`: it has none.
    pub looking_glass: Option<SocketAddr>,
    /// Where its metrics are served; `None`: on the control socket alone.
    pub metrics: Option<SocketAddr>,
    /// Its API over TCP; `None`: it has none.
    pub api: Option<crate::api::Api>,
    /// Whether it is a router without services of its own: it passes on what the machines behind
    /// it announce by iBGP.
    pub router: bool,
    /// Its cluster in route reflection, if it is not called by its router id (RFC 4456 §7).
    pub cluster_id: Option<Ipv4Addr>,
    /// At least one; no two with the same address.
    pub neighbors: Vec<Neighbor>,
    /// Its own sources of VRPs, in place of the fleet's.
    pub rpki: Option<Rpki>,
    /// What the other sites know it by when they pass on connections that it owns; always there
    /// if the fleet keeps connections and the site serves.
    pub affinity: Option<SiteAffinity>,
}

/// A monitoring station, which is told by BMP (RFC 7854) what a site sees.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct BmpStation {
    /// Unique in the fleet.
    pub name: String,
    /// Where it listens.
    pub address: IpAddr,
    /// Its port.
    pub port: u16,
    /// What it is told of; at least one.
    pub tables: Vec<BmpTable>,
    /// Between reports of counts; `None`: none.
    pub stats_interval: Option<Duration>,
    /// How many MiB of changes may wait for it before it is cut off.
    pub buffer_mib: u16,
}

/// A table that a monitoring station is told of.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum BmpTable {
    /// What neighbors send, before import policy.
    AdjRibInPre,
    /// What import policy makes of it.
    AdjRibInPost,
    /// The best routes (RFC 9069).
    LocRib,
    /// What neighbors are told (RFC 8671).
    AdjRibOut,
}

/// Files in MRT's format (RFC 6396).
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Mrt {
    /// Where messages that come in are written, with places for the time; resolved against the
    /// fleet file's folder.
    pub updates: String,
    /// After so long another file begins: whole seconds, at least one.
    pub rotate: Duration,
}

impl std::fmt::Display for BmpTable {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::AdjRibInPre => "adj-rib-in-pre",
            Self::AdjRibInPost => "adj-rib-in-post",
            Self::LocRib => "loc-rib",
            Self::AdjRibOut => "adj-rib-out",
        })
    }
}

/// A place on Earth, in degrees.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Coordinates {
    /// North is positive; −90 to 90.
    pub lat: f64,
    /// East is positive; −180 to 180.
    pub lon: f64,
}

/// A BGP peer of a site.
#[derive(Clone, Debug, Eq, PartialEq)]
#[expect(clippy::struct_excessive_bools, reason = "each is a key of its own")]
pub struct Neighbor {
    /// Unique at its site.
    pub name: String,
    /// Its address.
    pub address: IpAddr,
    /// The port to dial.
    pub port: u16,
    /// Its number; the site's own for iBGP.
    pub asn: Asn,
    /// Where sessions to it start from; `None`: the kernel chooses.
    pub local_address: Option<IpAddr>,
    /// What it is to us.
    pub relation: Option<Relation>,
    /// What is taken from it.
    pub import: ImportPolicy,
    /// What it is told.
    pub export: ExportPolicy,
    /// So many times our number is prepended beyond the usual once.
    pub prepend: u8,
    /// MULTI_EXIT_DISC of what it is told.
    pub med: Option<u32>,
    /// Added to what it is told.
    pub communities: Vec<Community>,
    /// Added to what it is told.
    pub large_communities: Vec<LargeCommunity>,
    /// What we offer; zero or at least three seconds (RFC 4271 §4.2).
    pub hold_time: Duration,
    /// Between attempts to dial.
    pub connect_retry: Duration,
    /// What is spoken of; at least one.
    pub families: Vec<Family>,
    /// Next hop of IPv4 prefixes; `None`: the session's own address.
    pub next_hop_v4: Option<Ipv4Addr>,
    /// Next hop of IPv6 prefixes; `None`: the session's own address.
    pub next_hop_v6: Option<Ipv6Addr>,
    /// The links to it: 1 if directly connected, 2 with one router between.
    pub hops: u8,
    /// Whether the Generalized TTL Security Mechanism guards the session (RFC 5082).
    pub ttl_security: bool,
    /// The file that holds the TCP MD5 secret (RFC 2385), resolved against the fleet file's
    /// folder. The secret itself is never kept here.
    pub password_file: Option<PathBuf>,
    /// Never dial, only listen.
    pub passive: bool,
    /// How BFD watches it (RFC 5880); `None`: not at all.
    pub bfd: Option<Bfd>,
    /// How long a new connection waits for its OPEN before we send ours (RFC 4271 §8.1.1).
    pub delay_open: Duration,
    /// The only interface over which it is dialled and heard.
    pub interface: Option<String>,
    /// The key of TCP-AO (RFC 5925).
    pub tcp_ao: Option<TcpAo>,
    /// How much is taken from it.
    pub limits: Limits,
    /// Whether an iBGP neighbor is told our own address as the next hop of what others told us;
    /// an eBGP neighbor always is.
    pub next_hop_self: bool,
    /// Whether it is our client in route reflection (RFC 4456).
    pub reflector_client: bool,
    /// What it is offered in our OPEN.
    pub offers: Offers,
}

/// How much is taken from a neighbor.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Limits {
    /// Prefixes; `None`: any number.
    pub prefixes: Option<MaxPrefixes>,
    /// A route with a longer AS path is not used.
    pub as_path_length: Option<u32>,
}

/// How many prefixes a neighbor may send, and what follows when it sends more.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct MaxPrefixes {
    /// The most that is in order.
    pub limit: u32,
    /// From so many on there is a warning.
    pub warn_at: u32,
    /// What follows beyond the limit.
    pub action: AtLimit,
}

/// What follows when a neighbor sends more prefixes than its limit.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum AtLimit {
    /// Another warning.
    Warn,
    /// Its session ends (RFC 4486 §4) and starts again after so long; `None`: when an operator
    /// clears it.
    Restart(Option<Duration>),
}

/// A key of TCP-AO (RFC 5925 §3.1). The secret itself is never kept here.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct TcpAo {
    /// The file that holds the secret, resolved against the fleet file's folder.
    pub key_file: PathBuf,
    /// KeyID of what we send.
    pub send_id: u8,
    /// KeyID of what the neighbor sends.
    pub recv_id: u8,
    /// How codes are made.
    pub algorithm: AoAlgorithm,
}

/// Algorithms of TCP-AO.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum AoAlgorithm {
    /// HMAC-SHA-1-96 (RFC 5926 §3.2.1).
    HmacSha1,
    /// AES-128-CMAC-96 (RFC 5926 §3.2.2).
    AesCmac,
    /// HMAC-SHA-256, cut to 96 bits.
    HmacSha256,
}

/// What a neighbor is offered in our OPEN besides families.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Offers {
    /// What we are to it (RFC 9234).
    pub role: Option<Role>,
    /// Whether it must tell its own role (RFC 9234 §4.2).
    pub strict_role: bool,
    /// IPv4 prefixes may have IPv6 next hops (RFC 8950).
    pub extended_next_hop: bool,
    /// How long its routes are kept while it restarts; `None`: not at all. Nobody is ever asked to
    /// keep ours.
    pub graceful_restart: Option<StaleLimits>,
    /// Whether it may send several paths to one prefix (RFC 7911).
    pub receive_paths: bool,
    /// How many paths to one prefix it is sent; 0: the best alone, without a number.
    pub send_paths: u8,
}

/// How BFD watches a neighbor.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Bfd {
    /// Between packets, in either direction; at least 10 ms.
    pub interval: Duration,
    /// Packets in a row that must be missing.
    pub multiplier: NonZeroU8,
}

impl Bfd {
    /// The silence after which a neighbor of the same numbers counts as dead.
    pub fn detection_time(&self) -> Duration {
        self.interval * u32::from(self.multiplier.get())
    }
}

/// What is taken from a neighbor.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub enum ImportPolicy {
    /// No route (RFC 8212 §3).
    #[default]
    Nothing,
    /// `0.0.0.0/0` and `::/0`.
    DefaultRoute,
    /// The fleet's prefixes, as other machines of ours announce them.
    Fleet,
    /// Every route.
    Everything,
    /// As the named policy says.
    Named(String),
}

/// What a neighbor is told. Whatever it is, only prefixes of the fleet are ever told, which the
/// site originates itself or, if it is a router, has from an iBGP neighbor: a site is no transit.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub enum ExportPolicy {
    /// No route (RFC 8212 §3).
    #[default]
    Nothing,
    /// The fleet's prefixes while they are healthy.
    Fleet,
    /// As the named policy says.
    Named(String),
}

impl Fleet {
    /// The site of that name.
    pub fn site(&self, name: &str) -> Option<&Site> {
        self.sites.iter().find(|site| site.name == name)
    }

    /// The service of that name.
    pub fn service(&self, name: &str) -> Option<&Service> {
        self.services.iter().find(|service| service.name == name)
    }

    /// The policy of that name.
    pub fn policy(&self, name: &str) -> Option<&NamedPolicy> {
        self.policies.iter().find(|named| named.name == name)
    }
}

impl Site {
    /// Where it gets VRPs from.
    pub fn rpki<'a>(&'a self, fleet: &'a Fleet) -> Option<&'a Rpki> {
        self.rpki.as_ref().or(fleet.rpki.as_ref())
    }

    /// The origins that networks behind its neighbors see of a prefix, each once.
    pub fn seen_origins(&self, prefix: &IpNet) -> Vec<Asn> {
        let mut origins: Vec<Asn> = self
            .neighbors
            .iter()
            .filter(|neighbor| neighbor.is_told_of(prefix))
            .map(|neighbor| neighbor.seen_origin(self.asn))
            .collect();
        origins.sort_unstable();
        origins.dedup();
        origins
    }

    /// The neighbor of that name.
    pub fn neighbor(&self, name: &str) -> Option<&Neighbor> {
        self.neighbors.iter().find(|neighbor| neighbor.name == name)
    }
}

impl Service {
    /// TCP ports of each address that the site's own service takes.
    pub fn builtin_ports(&self) -> Vec<u16> {
        match self.builtin {
            Some(Builtin::Whoami { dns_port, http_port, .. }) => {
                dns_port.into_iter().chain(http_port).collect()
            }
            None => Vec::new(),
        }
    }

    /// How the site's own service speaks QUIC, if it does.
    pub const fn quic(&self) -> Option<&Quic> {
        match &self.builtin {
            Some(Builtin::Whoami { quic, .. }) => quic.as_ref(),
            None => None,
        }
    }
}

impl Neighbor {
    /// Whether it is told of a prefix of the fleet, as far as policies do not say otherwise.
    pub fn is_told_of(&self, prefix: &IpNet) -> bool {
        self.export != ExportPolicy::Nothing && self.families.contains(&Family::of(prefix))
    }

    /// The origin that networks behind it see of what a site in the AS `own` announces: a private
    /// number is replaced by that of a neighbor who has a public one.
    pub const fn seen_origin(&self, own: Asn) -> Asn {
        if own.is_private() && !self.asn.is_private() { self.asn } else { own }
    }

    /// The TTL or hop limit of what is sent to it (RFC 5082 §3).
    pub const fn ttl(&self) -> u8 {
        if self.ttl_security { 255 } else { self.hops }
    }

    /// The least TTL or hop limit of what is heard from it, if that is guarded (RFC 5082 §3):
    /// 255 if directly connected.
    pub const fn min_ttl(&self) -> Option<u8> {
        if self.ttl_security { Some(255 - (self.hops - 1)) } else { None }
    }
}

/// As the file has it.
impl fmt::Display for ImportPolicy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Nothing => "nothing",
            Self::DefaultRoute => "default-route",
            Self::Fleet => "fleet",
            Self::Everything => "everything",
            Self::Named(name) => name,
        })
    }
}

/// As the file has it.
impl fmt::Display for ExportPolicy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Nothing => "nothing",
            Self::Fleet => "fleet",
            Self::Named(name) => name,
        })
    }
}

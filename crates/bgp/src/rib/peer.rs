//! A peer by configuration, and what a session says of it.

use std::net::{IpAddr, Ipv4Addr};

use ipnet::IpNet;

use super::group::Groups;
use super::import::Ineligible;
use super::paths::SendPaths;
use super::semantics;
use super::session::Session;
use super::table::Route;
use crate::policy::Policy;
use crate::{Asn, Family, NextHop, Role};

/// A peer's name within the tables; the caller chooses it.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct PeerId(pub u32);

/// What a peer is by configuration. It is an iBGP peer if its ASN is ours.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct PeerConfig {
    /// The operator's name for it.
    pub name: String,
    /// Its AS.
    pub asn: Asn,
    /// Its address.
    pub address: IpAddr,
    /// What is taken from it; the default policy takes nothing (RFC 8212).
    pub import: Policy,
    /// What it is sent; the default policy sends nothing (RFC 8212).
    pub export: Policy,
    /// Towards an iBGP peer: put our own address in place of a learnt next hop. An eBGP peer is
    /// always told our own.
    pub next_hop_self: bool,
    /// From an eBGP peer: refuse routes whose path does not start with its AS. Off for route
    /// servers (RFC 7947 §2.2.2.1).
    pub enforce_first_as: bool,
    /// Our role towards a peer in another AS: route leaks are found and kept in (RFC 9234 §5).
    pub role: Option<Role>,
}

/// What a session that is Established says of the peer and of our end.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct PeerUp {
    /// The peer's BGP Identifier.
    pub router_id: Ipv4Addr,
    /// Our end of the session: the next hop that we announce for its own family.
    pub local_address: IpAddr,
    /// The next hop that we announce for the other family; without it, routes that need it are
    /// not announced.
    pub next_hop_other: Option<IpAddr>,
    /// The families that both ends negotiated.
    pub families: Vec<Family>,
    /// Of which families, and how many, paths the peer is told.
    pub send_paths: SendPaths,
    /// What else both ends agreed on.
    pub agreed: Agreed,
}

/// What the two ends of a session agreed on besides families; by default nothing.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Agreed {
    /// The peer understands routes that are a last resort (RFC 9494 §4.3): only then it is told of
    /// them.
    pub long_lived: bool,
    /// Refreshes have a beginning and an end (RFC 7313).
    pub enhanced_route_refresh: bool,
    /// IPv4 prefixes may have an IPv6 next hop (RFC 8950).
    pub extended_next_hop: bool,
}

/// How much is taken from a peer; by default everything.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Limits {
    /// From this many received prefixes on there is a warning, once until they are fewer again.
    pub warn_at: Option<usize>,
    /// More received prefixes than these ask for the end of the session (RFC 4486 §4: Cease,
    /// Maximum Number of Prefixes Reached).
    pub prefixes: Option<usize>,
    /// A longer path, as the decision process counts it, makes a route ineligible.
    pub as_path_length: Option<usize>,
}

/// What the tables report; the caller decides what becomes of the session.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Event {
    /// The peer sent as many prefixes as [`Limits::warn_at`] says.
    PrefixWarning {
        /// Who.
        peer: PeerId,
        /// How many it has sent.
        received: usize,
    },
    /// The peer sent more than [`Limits::prefixes`]: its session is to be ended, once.
    PrefixLimit {
        /// Who.
        peer: PeerId,
        /// The limit.
        limit: usize,
    },
}

impl Event {
    /// The peer that it is about.
    #[must_use]
    pub const fn peer(&self) -> PeerId {
        match self {
            Self::PrefixWarning { peer, .. } | Self::PrefixLimit { peer, .. } => *peer,
        }
    }
}

/// Which of a peer's events have been reported.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Reported {
    warning: bool,
    limit: bool,
}

/// How many routes a peer sent and was told.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Counts {
    /// Routes that it sent; each of several paths to one prefix counts.
    pub received: usize,
    /// Those of them that passed the checks and the import policy.
    pub accepted: usize,
    /// Routes that it was told.
    pub advertised: usize,
    /// Of those that it sent, those by which it does not stand at the moment.
    pub stale: usize,
}

impl Counts {
    /// A route is no more in the table, or replaced.
    pub(super) fn forget(&mut self, old: Route) {
        self.accepted -= usize::from(old.verdict.get().is_ok());
        self.stale -= usize::from(old.is_stale());
    }
}

#[derive(Clone, Debug)]
pub(super) struct Peer {
    pub(super) config: PeerConfig,
    pub(super) ebgp: bool,
    /// `None` while the peer is down.
    pub(super) session: Option<Session>,
    /// While it is down and some of its routes are kept: what it was.
    pub(super) kept: Option<PeerUp>,
    /// Of what it sent; what it was told is counted in the session.
    pub(super) counts: Counts,
    pub(super) limits: Limits,
    pub(super) reported: Reported,
    /// Our addresses with their subnets, if the next hops of this peer have to be on one of them.
    pub(super) on_link: Vec<IpNet>,
    /// An iBGP peer whose routes are reflected to all iBGP peers, and who is told all of theirs
    /// (RFC 4456 §6).
    pub(super) client: bool,
    /// Its export policy may let pass what other peers sent. A site tells its neighbors of its
    /// own prefixes only: then a full table is nothing that they have to look at.
    pub(super) exports_learnt: bool,
    /// Whether the import and the export policy ask what the RPKI says of a route.
    pub(super) asks_rpki: (bool, bool),
}

impl PeerConfig {
    /// Our role, which counts towards other ASes only (RFC 9234 §4).
    pub(super) fn role_of(&self, local_asn: Asn) -> Option<Role> {
        self.role.filter(|_| self.asn != local_asn)
    }
}

impl Peer {
    pub(super) fn new(config: PeerConfig, local_asn: Asn) -> Self {
        let ebgp = config.asn != local_asn;
        Self {
            exports_learnt: !config.export.is_for_local_routes(),
            asks_rpki: (config.import.asks_rpki(), config.export.asks_rpki()),
            config,
            ebgp,
            session: None,
            kept: None,
            counts: Counts::default(),
            limits: Limits::default(),
            reported: Reported::default(),
            on_link: Vec::new(),
            client: false,
        }
    }

    /// What the peer is, or was as long as its routes are kept.
    pub(super) fn up(&self) -> Option<&PeerUp> {
        self.session.as_ref().map(|session| &*session.up).or(self.kept.as_ref())
    }

    /// What is to be reported of the number of prefixes received, if it was not yet.
    pub(super) fn check_limits(&mut self, peer: PeerId) -> Option<Event> {
        let received = self.counts.received;
        let warned = self.limits.warn_at.is_some_and(|at| received >= at);
        let exceeded = self.limits.prefixes.filter(|limit| received > *limit);
        let before = self.reported;
        // What was exceeded stays reported until the session has ended.
        self.reported = Reported { warning: warned, limit: before.limit || exceeded.is_some() };
        if let Some(limit) = exceeded.filter(|_| !before.limit) {
            return Some(Event::PrefixLimit { peer, limit });
        }
        (warned && !before.warning).then_some(Event::PrefixWarning { peer, received })
    }

    /// What is wrong with a next hop that the peer names, by our addresses.
    pub(super) fn next_hop_fault(&self, next_hop: &NextHop) -> Option<Ineligible> {
        if !self.ebgp || self.on_link.is_empty() || next_hop.address == self.config.address {
            None
        } else if self.on_link.iter().any(|ours| ours.addr() == next_hop.address) {
            Some(Ineligible::NextHopIsOurs)
        } else {
            (!semantics::is_on_link(next_hop, &self.on_link)).then_some(Ineligible::NextHopOffLink)
        }
    }

    pub(super) fn counts(&self, id: PeerId, groups: &Groups) -> Counts {
        let advertised = self.session.as_ref().map_or(0, |session| session.advertised(id, groups));
        Counts { advertised, ..self.counts }
    }
}

impl PeerUp {
    /// Whether `address` is one that we announce as next hop ourselves, or any host's own.
    pub(super) fn is_ours(&self, address: IpAddr) -> bool {
        address == self.local_address
            || Some(address) == self.next_hop_other
            || (address.to_canonical().is_loopback() && !self.local_address.is_loopback())
    }

    /// The next hop that we announce for a family: an address of the family if there is one, else
    /// an IPv6 address for IPv4 where that was agreed on (RFC 8950).
    pub(super) fn next_hop_self(&self, family: Family) -> Option<NextHop> {
        let of_family = |address: &IpAddr| address.is_ipv4() == (family == Family::Ipv4Unicast);
        Some(self.local_address)
            .filter(of_family)
            .or(self.next_hop_other.filter(of_family))
            .or(Some(self.local_address).filter(|address| self.takes(family, *address)))
            .map(NextHop::from)
    }

    /// Whether the peer takes this next hop for a prefix of the family.
    pub(super) fn takes(&self, family: Family, next_hop: IpAddr) -> bool {
        next_hop.is_ipv4() == (family == Family::Ipv4Unicast)
            || (next_hop.is_ipv6() && self.agreed.extended_next_hop)
    }
}

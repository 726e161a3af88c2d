//! A peer by configuration, and what a session says of it.

use std::net::{IpAddr, Ipv4Addr};

use super::session::Session;
use crate::policy::Policy;
use crate::{Asn, Family, NextHop};

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
}

/// How many routes a peer sent and was told.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Counts {
    /// Routes that it sent.
    pub received: usize,
    /// Those of them that passed the checks and the import policy.
    pub accepted: usize,
    /// Routes that it was told.
    pub advertised: usize,
}

#[derive(Clone, Debug)]
pub(super) struct Peer {
    pub(super) config: PeerConfig,
    pub(super) ebgp: bool,
    /// `None` while the peer is down.
    pub(super) session: Option<Session>,
    /// Of what it sent; what it was told is counted in the session.
    pub(super) counts: Counts,
}

impl Peer {
    pub(super) fn new(config: PeerConfig, local_asn: Asn) -> Self {
        let ebgp = config.asn != local_asn;
        Self { config, ebgp, session: None, counts: Counts::default() }
    }

    pub(super) fn counts(&self) -> Counts {
        let advertised = self.session.as_ref().map_or(0, Session::advertised);
        Counts { advertised, ..self.counts }
    }
}

impl PeerUp {
    /// Whether `address` is one that we announce as next hop ourselves.
    pub(super) fn is_ours(&self, address: IpAddr) -> bool {
        address == self.local_address || Some(address) == self.next_hop_other
    }

    /// The next hop that we announce for a family.
    pub(super) fn next_hop_self(&self, family: Family) -> Option<NextHop> {
        let of_family = |address: &IpAddr| address.is_ipv4() == (family == Family::Ipv4Unicast);
        Some(self.local_address)
            .filter(of_family)
            .or(self.next_hop_other.filter(of_family))
            .map(NextHop::from)
    }
}

//! What a received route is before it may become best.

use std::fmt;
use std::net::Ipv4Addr;
use std::sync::Arc;

use ipnet::IpNet;

use super::peer::{Peer, PeerConfig};
use super::semantics;
use crate::otc::{self, Ingress};
use crate::policy::RouteFacts;
use crate::rov::Validity;
use crate::{Asn, Attributes, Community};

/// Why a route that was received cannot become best.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum Ineligible {
    /// Our own AS is in its path (RFC 4271 §9.1.2).
    AsLoop,
    /// Its ORIGINATOR_ID is ours (RFC 4456 §8).
    OriginatorLoop,
    /// Its path does not start with the peer's AS (RFC 4271 §6.3).
    FirstAs,
    /// Its next hop is our own address (RFC 4271 §6.3).
    NextHopIsOurs,
    /// Its CLUSTER_LIST has our cluster (RFC 4456 §8).
    ClusterLoop,
    /// Its path is longer than the limit for the peer.
    AsPathTooLong,
    /// It is for customers only, and the peer should not have sent it to us (RFC 9234 §5).
    RouteLeak,
    /// Its prefix is multicast, loopback or the like (RFC 4271 §6.3).
    NotUnicast,
    /// Its next hop is on no subnet that we share with the peer (RFC 4271 §5.1.3, §6.3).
    NextHopOffLink,
    /// Its path has an AS_SET or AS_CONFED_SET, which nobody may announce any more (RFC 9774 §3).
    AsSet,
    /// The import policy asks what the RPKI says of it, and that is not known yet.
    AwaitsVrps,
    /// The import policy rejects it.
    Policy,
    /// The interior has no way to its next hop (RFC 4271 §9.1.2).
    Unreachable,
}

/// Who we are, as far as import asks.
pub(super) struct Ours {
    pub(super) asn: Asn,
    pub(super) router_id: Ipv4Addr,
    pub(super) cluster_id: Ipv4Addr,
}

impl Ours {
    /// The checks in order, then the import policy: the route's attributes in the Loc-RIB, or
    /// why it stays out. `rpki` is `None` while the first VRPs are awaited.
    pub(super) fn import(
        &self,
        prefix: &IpNet,
        received: &Arc<Attributes>,
        peer: &Peer,
        rpki: Option<Validity>,
    ) -> Result<Arc<Attributes>, Ineligible> {
        let config = &peer.config;
        if !semantics::is_unicast(prefix) {
            return Err(Ineligible::NotUnicast);
        }
        if received.as_path.contains(self.asn) {
            return Err(Ineligible::AsLoop);
        }
        if received.as_path.has_set() {
            return Err(Ineligible::AsSet);
        }
        if received.originator_id == Some(self.router_id) {
            return Err(Ineligible::OriginatorLoop);
        }
        if received.cluster_list.contains(&self.cluster_id) {
            return Err(Ineligible::ClusterLoop);
        }
        let must_be_first = peer.ebgp && config.enforce_first_as;
        if must_be_first && received.as_path.first() != Some(config.asn) {
            return Err(Ineligible::FirstAs);
        }
        if peer.up().is_some_and(|up| up.is_ours(received.next_hop.address)) {
            return Err(Ineligible::NextHopIsOurs);
        }
        if let Some(why) = peer.next_hop_fault(&received.next_hop) {
            return Err(why);
        }
        if peer.limits.as_path_length.is_some_and(|limit| received.as_path.length() > limit) {
            return Err(Ineligible::AsPathTooLong);
        }
        let received = &self.with_otc(received, config)?;
        let rpki = rpki.ok_or(Ineligible::AwaitsVrps)?;
        let facts =
            RouteFacts { local: false, internal: !peer.ebgp, neighbor: Some(config.address), rpki };
        let taken = config.import.evaluate(prefix, &facts, received, config.asn);
        let mut taken = taken.ok_or(Ineligible::Policy)?;
        // A last resort stays one, whatever policy makes of its communities (RFC 9494 §4.3).
        if received.has_community(Community::LLGR_STALE)
            && !taken.has_community(Community::LLGR_STALE)
        {
            Arc::make_mut(&mut taken).add_community(Community::LLGR_STALE);
        }
        Ok(taken)
    }

    /// What Only to Customer makes of a route: it keeps a leak out, and marks what a provider, a
    /// peer or a route server sent (RFC 9234 §5).
    fn with_otc(
        &self,
        received: &Arc<Attributes>,
        config: &PeerConfig,
    ) -> Result<Arc<Attributes>, Ineligible> {
        let mut attributes = Arc::clone(received);
        let Some(role) = config.role_of(self.asn) else { return Ok(attributes) };
        match otc::ingress(role, config.asn, received) {
            Ingress::Leak(_) => return Err(Ineligible::RouteLeak),
            Ingress::Take(otc) if otc != received.otc => Arc::make_mut(&mut attributes).otc = otc,
            Ingress::Take(_) => {}
        }
        Ok(attributes)
    }
}

/// The attributes without those that only speakers of our own AS may set: LOCAL_PREF (RFC 4271
/// §5.1.5), ORIGINATOR_ID and CLUSTER_LIST (RFC 7606 §§7.9, 7.10).
pub(super) fn without_internal(mut attributes: Arc<Attributes>) -> Arc<Attributes> {
    let internal = attributes.local_pref.is_some()
        || attributes.originator_id.is_some()
        || !attributes.cluster_list.is_empty();
    if internal {
        let attributes = Arc::make_mut(&mut attributes);
        attributes.local_pref = None;
        attributes.originator_id = None;
        attributes.cluster_list.clear();
    }
    attributes
}

impl Ineligible {
    /// Every reason, in the order of their declaration.
    pub(super) const ALL: [Self; 13] = [
        Self::AsLoop,
        Self::OriginatorLoop,
        Self::FirstAs,
        Self::NextHopIsOurs,
        Self::ClusterLoop,
        Self::AsPathTooLong,
        Self::RouteLeak,
        Self::NotUnicast,
        Self::NextHopOffLink,
        Self::AsSet,
        Self::AwaitsVrps,
        Self::Policy,
        Self::Unreachable,
    ];
}

impl fmt::Display for Ineligible {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::AsLoop => "our AS is in the path",
            Self::OriginatorLoop => "we originated it ourselves",
            Self::FirstAs => "the path does not start with the peer's AS",
            Self::NextHopIsOurs => "the next hop is our own address",
            Self::ClusterLoop => "it went through our cluster already",
            Self::AsPathTooLong => "the path is longer than the limit",
            Self::RouteLeak => "a route leak: it is for customers only",
            Self::NotUnicast => "the prefix is not unicast",
            Self::AsSet => "the path has an AS_SET (RFC 9774)",
            Self::NextHopOffLink => "the next hop is on no subnet that we share with the peer",
            Self::AwaitsVrps => "the first RPKI data are not there yet",
            Self::Policy => "rejected by import policy",
            Self::Unreachable => "the next hop is unreachable",
        })
    }
}

//! What a best route becomes for a peer.

use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

use ipnet::IpNet;

use super::peer::{PeerConfig, PeerUp};
use super::table::{Best, From};
use crate::decision::DEFAULT_LOCAL_PREF;
use crate::otc::{self, Egress};
use crate::policy::RouteFacts;
use crate::rov::Validity;
use crate::{Asn, Attributes, Community, Family};

/// The Partial bit of the attribute flags (RFC 4271 §4.3).
const PARTIAL: u8 = 0x20;

/// Whether a route of this kind goes to peers of a kind at all: not from one iBGP peer to another
/// (RFC 4271 §9.2), unless one of the two is our client (RFC 4456 §6). That it does not go back to
/// the peer that sent it is seen to elsewhere.
pub(super) fn may_tell(best: Best, ebgp: bool, client: bool) -> bool {
    ebgp || client || best.from != From::Ibgp
}

/// Who sent a route.
#[derive(Clone, Copy, Debug)]
pub(super) struct Sender {
    pub(super) address: IpAddr,
    /// Its BGP Identifier, while it is up.
    pub(super) router_id: Option<Ipv4Addr>,
}

/// Who we are, as far as export asks.
#[derive(Clone, Copy, Debug)]
pub(super) struct Ours {
    pub(super) asn: Asn,
    pub(super) cluster_id: Ipv4Addr,
}

/// What a peer is told of a best route that [`may_tell`] lets through; `None`: nothing. In order:
///
/// 1. Nothing where a well-known community forbids it (RFC 1997); a learnt BLACKHOLE is for this AS
///    alone (RFC 7999 §3.2); a last resort is for those who know what that is (RFC 9494 §4.3). A
///    community that the export policy adds is for the peer and forbids
///    nothing here.
/// 2. Nothing to a provider, a peer or a route server of what is for customers only; what goes to
///    a customer, a peer or a client is marked so (RFC 9234 §5).
/// 3. A learnt MED stays in the AS (RFC 4271 §5.1.4); the policy may set one.
/// 4. The export policy.
/// 5. Towards another AS, our own AS once in front and no LOCAL_PREF, ORIGINATOR_ID or
///    CLUSTER_LIST; within ours, LOCAL_PREF always (RFC 4271 §§5.1.2, 5.1.5).
/// 6. Next hop: what the policy set; else our own address, except for a learnt route to an iBGP
///    peer that is not to have it (RFC 4271 §5.1.3).
/// 7. A reflected route says who brought it into the AS and that it went through our cluster; its
///    next hop stays (RFC 4456 §§8, 10).
/// 8. Attributes that we do not know are marked Partial (RFC 4271 §9).
pub(super) fn export(
    ours: Ours,
    prefix: &IpNet,
    (from, sender, rpki): (From, Option<Sender>, Validity),
    attributes: &Arc<Attributes>,
    config: &PeerConfig,
    up: &PeerUp,
) -> Option<Arc<Attributes>> {
    let ebgp = config.asn != ours.asn;
    let reflected = !ebgp && matches!(from, From::Ibgp | From::Client);
    let local = from == From::Local;
    let kept_within = |community| attributes.has_community(community);
    if kept_within(Community::NO_ADVERTISE) {
        return None;
    }
    if kept_within(Community::LLGR_STALE) && !up.agreed.long_lived {
        return None;
    }
    if ebgp && !local && kept_within(Community::BLACKHOLE) {
        return None;
    }
    if ebgp && (kept_within(Community::NO_EXPORT) || kept_within(Community::NO_EXPORT_SUBCONFED)) {
        return None;
    }
    let mut attributes = Arc::clone(attributes);
    if let Some(role) = config.role_of(ours.asn) {
        match otc::egress(role, ours.asn, &attributes) {
            Egress::Keep => return None,
            Egress::Send(otc) if otc != attributes.otc => Arc::make_mut(&mut attributes).otc = otc,
            Egress::Send(_) => {}
        }
    }
    if ebgp && !local && attributes.med.is_some() {
        Arc::make_mut(&mut attributes).med = None;
    }
    let facts = RouteFacts {
        local,
        internal: from != From::Ebgp,
        neighbor: sender.map(|sender| sender.address),
        rpki,
    };
    let learnt_next_hop = attributes.next_hop;
    let mut attributes = config.export.evaluate(prefix, &facts, &attributes, ours.asn)?;
    let told = Arc::make_mut(&mut attributes);
    if ebgp {
        told.as_path.prepend(ours.asn, 1);
        told.local_pref = None;
        told.originator_id = None;
        told.cluster_list.clear();
    } else {
        told.local_pref.get_or_insert(DEFAULT_LOCAL_PREF);
    }
    let family = Family::of(prefix);
    if told.next_hop != learnt_next_hop {
        if !up.takes(family, told.next_hop.address) {
            return None;
        }
    } else if ebgp || local || (config.next_hop_self && !reflected) {
        told.next_hop = up.next_hop_self(family)?;
    } else {
        // The link of the one who announced it is not the peer's (RFC 2545 §3).
        told.next_hop.link_local = None;
        if family == Family::Ipv4Unicast && !up.takes(family, told.next_hop.address) {
            return None;
        }
    }
    if reflected {
        if told.originator_id.is_none() {
            told.originator_id = sender.and_then(|sender| sender.router_id);
        }
        told.cluster_list.edit(|clusters| clusters.insert(0, ours.cluster_id));
    }
    if !local {
        told.unknown.iter_mut().for_each(|unknown| unknown.flags |= PARTIAL);
    }
    Some(attributes)
}

//! What an operator sees of the neighbors and does with them.

use std::net::{IpAddr, Ipv4Addr};

use anycast_bgp::Asn;
use serde::{Deserialize, Serialize};

use super::{ADMINISTRATIVE_RESET, Handle};
use crate::peer::peer_id;

/// One row of `show neighbors`.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct NeighborStatus {
    /// The operator's name for it.
    pub name: String,
    /// Its address.
    pub address: IpAddr,
    /// Our address on the session.
    pub local_address: Option<IpAddr>,
    /// Its ASN.
    pub asn: Asn,
    /// Its BGP Identifier, once known.
    pub router_id: Option<Ipv4Addr>,
    /// The session's state by RFC 4271's name.
    pub state: String,
    /// Seconds since the session last went up or down.
    pub since_seconds: f64,
    /// The hold time in force, in seconds.
    pub hold_time_seconds: Option<f64>,
    /// The families in force.
    pub families: Vec<String>,
    /// The capabilities that it offered: their names, or their codes.
    #[serde(default)]
    pub capabilities: Vec<String>,
    /// Its role, if it told one (RFC 9234).
    #[serde(default)]
    pub role: Option<String>,
    /// Prefixes that it told us.
    pub received: usize,
    /// Of these, how many import policy took.
    pub accepted: usize,
    /// Prefixes that we told it.
    pub advertised: usize,
    /// Whether the operator wants the session.
    pub enabled: bool,
    /// Why the session last ended.
    pub last_down: Option<String>,
    /// The state of its BFD session by RFC 5880's name, if it has one.
    #[serde(default)]
    pub bfd: Option<String>,
}

impl Handle {
    /// Resets the session with a neighbor; whether there is such a neighbor.
    pub async fn clear(&self, neighbor: &str) -> bool {
        let name = neighbor.to_owned();
        self.ask(move |driver| {
            let now = driver.now();
            let Some(peer) = driver.peers.iter_mut().find(|p| p.neighbor.name == name) else {
                return false;
            };
            peer.session.handle_stop(now, ADMINISTRATIVE_RESET, "");
            peer.session.handle_start(now);
            true
        })
        .await
        .unwrap_or(false)
    }

    /// Every neighbor, in the order of the configuration.
    pub async fn neighbors(&self) -> Vec<NeighborStatus> {
        let bfd = self.bfd_by_neighbor().await;
        self.ask(move |driver| {
            let now = driver.now();
            let rib = &driver.rib;
            let rows = driver.peers.iter().enumerate().map(|(index, peer)| {
                let negotiated = peer.session.negotiated();
                let counts = rib.counts(peer_id(index));
                NeighborStatus {
                    name: peer.neighbor.name.clone(),
                    address: peer.neighbor.address,
                    local_address: peer.local_address(),
                    asn: peer.neighbor.asn,
                    router_id: negotiated.map(|n| n.peer_router_id),
                    state: peer.session.state().to_string(),
                    since_seconds: (now - peer.since).as_secs_f64(),
                    hold_time_seconds: negotiated.map(|n| n.hold_time.as_secs_f64()),
                    families: negotiated
                        .map(|n| n.families.iter().map(ToString::to_string).collect())
                        .unwrap_or_default(),
                    capabilities: negotiated
                        .map(|n| n.peer_capabilities.names())
                        .unwrap_or_default(),
                    role: negotiated.and_then(|n| n.peer_role).map(|role| role.to_string()),
                    received: counts.received,
                    accepted: counts.accepted,
                    advertised: counts.advertised,
                    enabled: peer.enabled,
                    last_down: match (&peer.last_down, &peer.unreachable) {
                        (Some(down), Some(since)) => Some(format!("{down}; since then: {since}")),
                        (one, other) => one.clone().or_else(|| other.clone()),
                    },
                    bfd: bfd.get(&index).map(|status| status.state.clone()),
                }
            });
            rows.collect()
        })
        .await
        .unwrap_or_default()
    }
}

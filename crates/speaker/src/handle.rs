//! Telling and asking a running speaker.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};

use anycast_bgp::policy::Policy;
use anycast_bgp::rib::{ExplainedRoute, Ineligible, Outcome, PeerId, RouteView};
use anycast_bgp::session::StateName;
use anycast_bgp::{Asn, Attributes, IpNet};
use serde::{Deserialize, Serialize};
use tokio::sync::{mpsc, oneshot};

use crate::bfd::BfdStatus;
use crate::config::Igp;
use crate::driver::Driver;
use crate::peer::{Peer, peer_id};

/// Cease: Administrative Shutdown (RFC 4486 §3).
const ADMINISTRATIVE_SHUTDOWN: u8 = 2;
/// Cease: Administrative Reset (RFC 4486 §3).
pub(crate) const ADMINISTRATIVE_RESET: u8 = 4;

pub(crate) type Command = Box<dyn FnOnce(&mut Driver) + Send>;

/// A running speaker, to be told and asked; cheap to clone. A speaker that has ended takes every
/// instruction silently and answers with nothing.
#[derive(Clone)]
pub struct Handle {
    commands: mpsc::UnboundedSender<Command>,
}

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

/// One row of `show routes`.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct RouteRow {
    /// The prefix.
    pub prefix: IpNet,
    /// Whether the decision process chose it.
    pub best: bool,
    /// The neighbor's name; `None` for our own.
    pub neighbor: Option<String>,
    /// The next hop; of our own routes there is none.
    pub next_hop: Option<IpAddr>,
    /// The AS path as text.
    pub as_path: String,
    /// ORIGIN in words.
    pub origin: String,
    /// LOCAL_PREF.
    pub local_pref: Option<u32>,
    /// MULTI_EXIT_DISC.
    pub med: Option<u32>,
    /// Communities of all kinds as text.
    pub communities: Vec<String>,
    /// Why it cannot become best: import policy, a loop, an unreachable next hop.
    pub ineligible: Option<String>,
}

/// Every candidate for a prefix: `show routes --explain`.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct ExplainReport {
    /// The prefix.
    pub prefix: IpNet,
    /// The routes, the best first, and what became of each.
    pub routes: Vec<ExplainRow>,
    /// The same for people.
    pub text: String,
}

/// One candidate.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct ExplainRow {
    /// The route.
    #[serde(flatten)]
    pub route: RouteRow,
    /// Best, at which step it lost to which other, or why it was no candidate.
    pub outcome: String,
}

impl Handle {
    pub(crate) fn new(commands: mpsc::UnboundedSender<Command>) -> Self {
        Self { commands }
    }

    fn tell(&self, command: impl FnOnce(&mut Driver) + Send + 'static) {
        let _ = self.commands.send(Box::new(command));
    }

    async fn ask<T: Send + 'static>(
        &self,
        question: impl FnOnce(&mut Driver) -> T + Send + 'static,
    ) -> Option<T> {
        let (sender, answer) = oneshot::channel();
        self.tell(move |driver| {
            let _ = sender.send(question(driver));
        });
        answer.await.ok()
    }

    /// Announces a prefix of our own; the next hop in `attributes` is not used.
    pub fn originate(&self, prefix: IpNet, attributes: Attributes) {
        self.tell(move |driver| driver.rib.originate(prefix, attributes));
    }

    /// Withdraws a prefix of our own.
    pub fn withdraw(&self, prefix: IpNet) {
        self.tell(move |driver| driver.rib.withdraw_local(&prefix));
    }

    /// Replaces what a neighbor is told; only differences are sent.
    pub fn set_export(&self, neighbor: &str, policy: Policy) {
        let name = neighbor.to_owned();
        self.tell(move |driver| {
            if let Some(index) = driver.peers.iter().position(|p| p.neighbor.name == name) {
                driver.rib.set_export(peer_id(index), policy);
            }
        });
    }

    /// Replaces the routes inside the AS.
    pub fn set_igp(&self, igp: Igp) {
        self.tell(move |driver| driver.set_igp(igp));
    }

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

    /// Every BFD session, in the order of the neighbors.
    pub async fn bfd(&self) -> Vec<BfdStatus> {
        self.bfd_by_neighbor().await.into_values().collect()
    }

    /// The BFD sessions by the index of their neighbor.
    async fn bfd_by_neighbor(&self) -> BTreeMap<usize, BfdStatus> {
        match self.ask(|driver| driver.bfd_status()).await.flatten() {
            Some(answer) => answer.await.unwrap_or_default().into_iter().collect(),
            None => BTreeMap::new(),
        }
    }

    /// How many sessions are Established, of how many.
    pub async fn established(&self) -> (usize, usize) {
        self.ask(|driver| {
            let up = |p: &&Peer| p.session.state() == StateName::Established;
            (driver.peers.iter().filter(up).count(), driver.peers.len())
        })
        .await
        .unwrap_or((0, 0))
    }

    /// A number that grows with each session that comes or goes and each UPDATE from a neighbor:
    /// while it stands still, nothing changes.
    pub async fn activity(&self) -> u64 {
        self.ask(|driver| driver.activity).await.unwrap_or_default()
    }

    /// The routes to `prefix`, or all.
    pub async fn routes(&self, prefix: Option<IpNet>) -> Vec<RouteRow> {
        self.ask(move |driver| {
            driver
                .rib
                .routes()
                .filter(|route| prefix.is_none_or(|wanted| route.prefix == wanted))
                .map(|route| view(driver, &route))
                .collect()
        })
        .await
        .unwrap_or_default()
    }

    /// Every candidate for a prefix and why the best is best.
    pub async fn explain(&self, prefix: IpNet) -> Option<ExplainReport> {
        self.ask(move |driver| {
            let explanation = driver.rib.explain(&prefix)?;
            let row = |route: &ExplainedRoute| ExplainRow {
                route: row(
                    driver,
                    prefix,
                    &route.attributes,
                    route.peer,
                    route.outcome == Outcome::Best,
                    match route.outcome {
                        Outcome::Ineligible(why) => Some(why),
                        Outcome::Best | Outcome::Lost { .. } => None,
                    },
                ),
                outcome: route.outcome.to_string(),
            };
            Some(ExplainReport {
                prefix,
                routes: explanation.routes.iter().map(row).collect(),
                text: explanation.to_string(),
            })
        })
        .await
        .flatten()
    }

    /// The best route for the prefix, as a row.
    pub async fn best(&self, prefix: IpNet) -> Option<RouteRow> {
        self.ask(move |driver| driver.rib.best(&prefix).map(|route| view(driver, &route)))
            .await
            .flatten()
    }

    /// Waits until everything told so far has reached the kernel's tables.
    pub async fn settled(&self) {
        if let Some(settled) = self.ask(|driver| driver.kernel_settled()).await {
            settled.await;
        }
    }

    /// Ends every session with a Cease that carries `message` (RFC 9003), then the speaker. The
    /// kernel's routes that it put in are removed.
    pub fn shutdown(&self, message: &str) {
        let message = message.to_owned();
        self.tell(move |driver| driver.stop(ADMINISTRATIVE_SHUTDOWN, &message));
    }
}

fn view(driver: &Driver, route: &RouteView<'_>) -> RouteRow {
    let RouteView { prefix, attributes, peer, best, ineligible } = *route;
    row(driver, prefix, attributes, peer, best, ineligible)
}

fn row(
    driver: &Driver,
    prefix: IpNet,
    attributes: &Attributes,
    peer: Option<PeerId>,
    best: bool,
    ineligible: Option<Ineligible>,
) -> RouteRow {
    let communities = attributes.communities.iter().map(ToString::to_string);
    let extended = attributes.extended_communities.iter().map(ToString::to_string);
    let large = attributes.large_communities.iter().map(ToString::to_string);
    RouteRow {
        prefix,
        best,
        neighbor: peer.map(|id| driver.peers[id.0 as usize].neighbor.name.clone()),
        next_hop: peer.is_some().then_some(attributes.next_hop.address),
        as_path: attributes.as_path.to_string(),
        origin: attributes.origin.to_string(),
        local_pref: attributes.local_pref,
        med: attributes.med,
        communities: communities.chain(extended).chain(large).collect(),
        ineligible: ineligible.map(|why| why.to_string()),
    }
}

//! What an operator sees of the neighbors and does with them.

use std::net::{IpAddr, Ipv4Addr};

use anycast_bgp::message::Notification;
use anycast_bgp::session::{Counters, Established};
use anycast_bgp::time::Instant;
use anycast_bgp::{Asn, Family};
use serde::{Deserialize, Serialize};

use super::{ADMINISTRATIVE_RESET, ADMINISTRATIVE_SHUTDOWN, Handle};
use crate::driver::Driver;
use crate::peer::{Notified, Peer, peer_id};

/// One neighbor: a row of `show neighbors`, and all of `show neighbors NAME`.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[expect(clippy::struct_excessive_bools, reason = "each is a setting of its own")]
pub struct NeighborStatus {
    /// The operator's name for it.
    pub name: String,
    /// Its address.
    pub address: IpAddr,
    /// The port that we dial.
    #[serde(default)]
    pub port: u16,
    /// Our address on the session.
    pub local_address: Option<IpAddr>,
    /// Our port on the session.
    #[serde(default)]
    pub local_port: Option<u16>,
    /// Its port on the session.
    #[serde(default)]
    pub remote_port: Option<u16>,
    /// Its ASN.
    pub asn: Asn,
    /// Our ASN.
    #[serde(default)]
    pub local_asn: Asn,
    /// Its BGP Identifier, once known.
    pub router_id: Option<Ipv4Addr>,
    /// Our BGP Identifier.
    #[serde(default)]
    pub local_router_id: Option<Ipv4Addr>,
    /// The session's state by RFC 4271's name.
    pub state: String,
    /// Seconds since the session last went up or down.
    pub since_seconds: f64,
    /// The hold time in force, in seconds.
    pub hold_time_seconds: Option<f64>,
    /// The hold time that we offer, in seconds.
    #[serde(default)]
    pub hold_time_offered_seconds: f64,
    /// In how many seconds the HoldTimer fires, unless it speaks before.
    #[serde(default)]
    pub hold_due_seconds: Option<f64>,
    /// In how many seconds our next KEEPALIVE is due, unless we speak before.
    #[serde(default)]
    pub keepalive_due_seconds: Option<f64>,
    /// In how many seconds we try to connect again.
    #[serde(default)]
    pub connect_retry_due_seconds: Option<f64>,
    /// The families in force.
    pub families: Vec<String>,
    /// The families that we offer.
    #[serde(default)]
    pub families_offered: Vec<String>,
    /// The capabilities that it offered: their names, or their codes.
    #[serde(default)]
    pub capabilities: Vec<String>,
    /// What we offer, what it offered and what is in force, in words.
    #[serde(default)]
    pub capabilities_in_words: CapabilityWords,
    /// Its role, if it told one (RFC 9234).
    #[serde(default)]
    pub role: Option<String>,
    /// Our role towards it, if we tell one.
    #[serde(default)]
    pub local_role: Option<String>,
    /// Prefixes that it told us.
    pub received: usize,
    /// Of these, how many import policy took.
    pub accepted: usize,
    /// Prefixes that we told it.
    pub advertised: usize,
    /// Of those that it told us, those by which it does not stand at the moment: it restarts, or
    /// sends its routes anew.
    #[serde(default)]
    pub stale: usize,
    /// What becomes of these, by family.
    #[serde(default)]
    pub stale_families: Vec<StaleRow>,
    /// How much is taken from it.
    #[serde(default)]
    pub limits: LimitsRow,
    /// Whether the operator wants the session.
    pub enabled: bool,
    /// What it was told when the operator disabled it; may be empty.
    #[serde(default)]
    pub disabled_message: Option<String>,
    /// Why the session last ended.
    pub last_down: Option<String>,
    /// Why the session rests although nobody disabled it, and for how long yet, in words.
    #[serde(default)]
    pub held: Option<String>,
    /// In how many seconds a session that rests starts again; `None`: when it is cleared.
    #[serde(default)]
    pub held_seconds: Option<f64>,
    /// The last NOTIFICATION that it was sent.
    #[serde(default)]
    pub last_sent: Option<NotificationRow>,
    /// The last NOTIFICATION that it sent.
    #[serde(default)]
    pub last_received: Option<NotificationRow>,
    /// What was counted since the start.
    #[serde(default)]
    pub counters: CounterRow,
    /// The state of its BFD session by RFC 5880's name, if it has one.
    #[serde(default)]
    pub bfd: Option<String>,
    /// Whether the session is signed with TCP MD5 (RFC 2385).
    #[serde(default)]
    pub md5: bool,
    /// Whether the session is signed with TCP-AO (RFC 5925).
    #[serde(default)]
    pub tcp_ao: bool,
    /// The interface that it must come over, if it must.
    #[serde(default)]
    pub interface: Option<String>,
    /// Whether it is our client in route reflection (RFC 4456).
    #[serde(default)]
    pub reflector_client: bool,
    /// Whether it must be as near as we think (GTSM, RFC 5082).
    #[serde(default)]
    pub ttl_security: bool,
    /// The hops to it, if it is not directly connected.
    #[serde(default)]
    pub multihop: Option<u8>,
    /// Whether we only wait for it to connect.
    #[serde(default)]
    pub passive: bool,
}

/// What becomes of the stale routes of a family.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct StaleRow {
    /// The family.
    pub family: String,
    /// Why they are there, in words.
    pub state: String,
    /// In how many seconds that ends.
    pub ends_in_seconds: f64,
}

/// Capabilities in words.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
pub struct CapabilityWords {
    /// What we offer.
    pub ours: Vec<String>,
    /// What it offered, while the session is Established.
    pub theirs: Vec<String>,
    /// What both agreed on, while the session is Established.
    pub in_force: Vec<String>,
}

/// How much is taken from a neighbor; `None`: any number.
#[derive(Clone, Copy, Debug, Default, Deserialize, Serialize)]
pub struct LimitsRow {
    /// Prefixes from which on there is a warning.
    pub warn_at: Option<usize>,
    /// Prefixes beyond which the session ends.
    pub prefixes: Option<usize>,
    /// The longest AS path that is taken.
    pub as_path_length: Option<usize>,
}

/// One NOTIFICATION.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct NotificationRow {
    /// How many seconds ago.
    pub seconds_ago: f64,
    /// The error code.
    pub code: u8,
    /// The error subcode.
    pub subcode: u8,
    /// All of it in words.
    pub text: String,
    /// What an operator wrote (RFC 9003). It may hold anything: escape it before it goes to a
    /// terminal.
    pub message: Option<String>,
}

/// What a session has counted.
#[derive(Clone, Copy, Debug, Default, Deserialize, Serialize)]
pub struct CounterRow {
    /// Messages received.
    pub messages_in: u64,
    /// Messages sent.
    pub messages_out: u64,
    /// UPDATEs received.
    pub updates_in: u64,
    /// UPDATEs sent.
    pub updates_out: u64,
    /// NOTIFICATIONs received.
    pub notifications_in: u64,
    /// NOTIFICATIONs sent.
    pub notifications_out: u64,
    /// How often the session became Established.
    pub established: u64,
    /// How often it then went down.
    pub dropped: u64,
}

/// What an operator does with a neighbor.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case", tag = "order")]
pub enum NeighborOrder {
    /// Resets the session: Cease, Administrative Reset.
    Clear,
    /// Asks it for its routes again and tells it all of ours again (RFC 2918); the session stays.
    ClearSoft,
    /// Ends the session, and none is made until it is enabled: Cease, Administrative Shutdown.
    Disable {
        /// What its operator reads (RFC 9003); may be empty.
        message: String,
    },
    /// Takes a `Disable` back.
    Enable,
}

/// An order was carried out.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Done {
    /// What was done.
    pub words: String,
    /// Whether anything is otherwise than before.
    pub changed: bool,
}

/// An order could not be carried out.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum OrderError {
    /// There is no such neighbor.
    #[error(transparent)]
    Unknown(#[from] UnknownNeighbor),
    /// There is no session.
    #[error("the session with {name} is not Established ({state}): there is nothing to refresh")]
    NotEstablished {
        /// The neighbor.
        name: String,
        /// Its state.
        state: String,
    },
    /// The operator ended the session before.
    #[error("{0} is disabled; `anycast neighbor {0} enable` starts it")]
    Disabled(String),
    /// The speaker has ended.
    #[error("the daemon is stopping")]
    Ended,
}

/// There is no neighbor of this name.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error("no neighbor is called {name}; there are {}", .known.join(", "))]
pub struct UnknownNeighbor {
    /// The name.
    pub name: String,
    /// Those that there are.
    pub known: Vec<String>,
}

impl Handle {
    /// Every neighbor, in the order of the configuration.
    pub async fn neighbors(&self) -> Vec<NeighborStatus> {
        self.statuses(None).await
    }

    /// One neighbor.
    ///
    /// # Errors
    /// There is none of this name.
    pub async fn neighbor(&self, name: &str) -> Result<NeighborStatus, OrderError> {
        if let Some(status) = self.statuses(Some(name.to_owned())).await.pop() {
            return Ok(status);
        }
        let name = name.to_owned();
        let found = self.ask(move |driver| driver.peer_named(&name).map(|_| ())).await;
        Err(found.and_then(Result::err).map_or(OrderError::Ended, OrderError::Unknown))
    }

    async fn statuses(&self, only: Option<String>) -> Vec<NeighborStatus> {
        let bfd = self.bfd_by_neighbor().await;
        self.ask(move |driver| {
            let wanted = |peer: &Peer| only.as_ref().is_none_or(|name| peer.neighbor.name == *name);
            let peers = driver.peers.numbered().filter(|(_, peer)| wanted(peer));
            let rows = peers.map(|(index, peer)| {
                let bfd = bfd.get(&index).map(|status| status.state.clone());
                status(driver, index, peer, bfd)
            });
            rows.collect()
        })
        .await
        .unwrap_or_default()
    }

    /// Carries out an order.
    ///
    /// # Errors
    /// There is no such neighbor, or it is not in a state for it.
    pub async fn order(&self, neighbor: &str, order: NeighborOrder) -> Result<Done, OrderError> {
        let name = neighbor.to_owned();
        self.ask(move |driver| driver.carry_out(&name, order))
            .await
            .unwrap_or(Err(OrderError::Ended))
    }
}

impl Driver {
    /// The index of the neighbor of this name.
    pub(crate) fn peer_named(&self, name: &str) -> Result<usize, UnknownNeighbor> {
        self.peers.named(name).ok_or_else(|| {
            let known = self.peers.iter().map(|peer| peer.neighbor.name.clone()).collect();
            UnknownNeighbor { name: name.to_owned(), known }
        })
    }

    fn carry_out(&mut self, name: &str, order: NeighborOrder) -> Result<Done, OrderError> {
        let now = self.now();
        let index = self.peer_named(name)?;
        let peer = &mut self.peers[index];
        let disabled = !peer.enabled;
        match order {
            NeighborOrder::Clear if disabled => Err(OrderError::Disabled(name.to_owned())),
            NeighborOrder::Clear => {
                peer.held = None;
                peer.session.handle_stop(now, ADMINISTRATIVE_RESET, "");
                peer.session.handle_start(now);
                self.give_up(index);
                Ok(Done { words: format!("the session with {name} is reset"), changed: true })
            }
            NeighborOrder::ClearSoft => {
                self.refresh(now, index).map(|words| Done { words, changed: true })
            }
            NeighborOrder::Disable { message } => {
                peer.enabled = false;
                peer.session.handle_stop(now, ADMINISTRATIVE_SHUTDOWN, &message);
                let changed = !disabled || peer.disabled_message.as_ref() != Some(&message);
                peer.disabled_message = Some(message);
                self.give_up(index);
                let how = if disabled { "was disabled already" } else { "is disabled" };
                Ok(Done { words: format!("{name} {how}"), changed })
            }
            NeighborOrder::Enable => {
                peer.enabled = true;
                let rested = peer.held.take().is_some();
                peer.disabled_message = None;
                peer.session.handle_start(now);
                let how = match (disabled, rested) {
                    (true, _) => "is enabled",
                    (false, true) => "starts again",
                    (false, false) => "was enabled already",
                };
                Ok(Done { words: format!("{name} {how}"), changed: disabled || rested })
            }
        }
    }

    /// Asks for all routes and tells all again.
    fn refresh(&mut self, now: Instant, index: usize) -> Result<String, OrderError> {
        let peer = &mut self.peers[index];
        let name = peer.neighbor.name.clone();
        let Some(link) = peer.session.negotiated() else {
            let state = match (peer.enabled, peer.session.state()) {
                (true, state) => state.to_string(),
                (false, _) => "disabled".to_owned(),
            };
            return Err(OrderError::NotEstablished { name, state });
        };
        let (families, can) = (link.families.clone(), link.route_refresh);
        for &family in &families {
            peer.session.send_route_refresh(now, family);
            self.rib.handle_refresh(peer_id(index), family);
        }
        let families: Vec<String> = families.iter().map(Family::to_string).collect();
        let families = families.join(", ");
        Ok(if can {
            format!("asked {name} for its routes ({families}) and tell it all of ours again")
        } else {
            format!(
                "tell {name} all of our routes ({families}) again; it cannot be asked for its own, \
                 as it does not know ROUTE-REFRESH"
            )
        })
    }
}

fn status(driver: &Driver, index: usize, peer: &Peer, bfd: Option<String>) -> NeighborStatus {
    let now = driver.now();
    let (neighbor, session) = (&peer.neighbor, &peer.session);
    let negotiated = session.negotiated();
    let counts = driver.rib.counts(peer_id(index));
    let limits = driver.rib.limits(peer_id(index));
    let due = session.due();
    let left = |at: Option<Instant>| at.map(|at| (at - now).as_secs_f64());
    let names = |families: &[Family]| families.iter().map(ToString::to_string).collect();
    let ends = peer.ends();
    NeighborStatus {
        name: neighbor.name.clone(),
        address: neighbor.address,
        port: neighbor.port,
        local_address: ends.map(|(local, _)| local.ip().to_canonical()),
        local_port: ends.map(|(local, _)| local.port()),
        remote_port: ends.and_then(|(_, remote)| Some(remote?.port())),
        asn: neighbor.asn,
        local_asn: driver.config().local_asn,
        router_id: negotiated.map(|link| link.peer_router_id),
        local_router_id: Some(driver.config().router_id),
        state: session.state().to_string(),
        since_seconds: (now - peer.since).as_secs_f64(),
        hold_time_seconds: negotiated.map(|link| link.hold_time.as_secs_f64()),
        hold_time_offered_seconds: neighbor.hold_time.as_secs_f64(),
        hold_due_seconds: left(due.hold),
        keepalive_due_seconds: left(due.keepalive),
        connect_retry_due_seconds: left(due.connect_retry),
        families: negotiated.map(|link| names(&link.families)).unwrap_or_default(),
        families_offered: names(&neighbor.families),
        capabilities: negotiated.map(|link| link.peer_capabilities.names()).unwrap_or_default(),
        capabilities_in_words: CapabilityWords {
            ours: session.offered().words(),
            theirs: negotiated.map(|link| link.peer_capabilities.words()).unwrap_or_default(),
            in_force: negotiated.map(Established::words).unwrap_or_default(),
        },
        role: negotiated.and_then(|link| link.peer_role).map(|role| role.to_string()),
        local_role: neighbor.offer.role.map(|role| role.to_string()),
        received: counts.received,
        accepted: counts.accepted,
        advertised: counts.advertised,
        stale: counts.stale,
        stale_families: stale_families(peer, now),
        limits: LimitsRow {
            warn_at: limits.warn_at,
            prefixes: limits.prefixes,
            as_path_length: limits.as_path_length,
        },
        enabled: peer.enabled,
        disabled_message: peer.disabled_message.clone(),
        last_down: match (&peer.last_down, &peer.unreachable) {
            // That says all of it, and for how long yet.
            _ if peer.held.is_some() => peer.held_in_words(now),
            (Some(down), Some(since)) => Some(format!("{down}; since then: {since}")),
            (one, other) => one.clone().or_else(|| other.clone()),
        },
        held: peer.held_in_words(now),
        held_seconds: left(peer.held.as_ref().and_then(|held| held.until)),
        last_sent: row(session.last_sent(), peer.sent, now),
        last_received: row(session.last_received(), peer.received, now),
        counters: (*session.counters()).into(),
        bfd,
        md5: neighbor.password.is_some(),
        tcp_ao: neighbor.tcp_ao.is_some(),
        interface: neighbor.interface.clone(),
        reflector_client: neighbor.reflector_client,
        ttl_security: neighbor.ttl_security,
        multihop: neighbor.multihop,
        passive: neighbor.passive,
    }
}

fn row(notification: Option<&Notification>, at: Notified, now: Instant) -> Option<NotificationRow> {
    notification.map(|notification| NotificationRow {
        seconds_ago: (now - at.last).as_secs_f64(),
        code: notification.code,
        subcode: notification.subcode,
        text: notification.to_string(),
        message: notification.shutdown_message(),
    })
}

impl From<Counters> for CounterRow {
    fn from(counters: Counters) -> Self {
        let Counters {
            messages_in,
            messages_out,
            updates_in,
            updates_out,
            notifications_in,
            notifications_out,
            established,
            dropped,
        } = counters;
        Self {
            messages_in,
            messages_out,
            updates_in,
            updates_out,
            notifications_in,
            notifications_out,
            established,
            dropped,
        }
    }
}

fn stale_families(peer: &Peer, now: Instant) -> Vec<StaleRow> {
    let row = |family: Family| {
        let (state, until) = peer.retention.state(family)?;
        let ends_in_seconds = (until - now).as_secs_f64();
        Some(StaleRow { family: family.to_string(), state: state.to_owned(), ends_in_seconds })
    };
    Family::ALL.into_iter().filter_map(row).collect()
}

//! One neighbor as the driver sees it: its session and its connections.

use std::io;
use std::net::SocketAddr;

use anycast_bgp::IpNet;
use anycast_bgp::iana::{cease_subcode, error_code, open_subcode};
use anycast_bgp::message::{AttributeFault, Nlri};
use anycast_bgp::retention::Retention;
use anycast_bgp::rib::{PeerConfig, PeerId};
use anycast_bgp::session::{self, Action, Connection, DownReason, Session};
use anycast_bgp::time::Instant;
use tokio::task::AbortHandle;

use crate::config::{Config, Neighbor};
use crate::connection::{ConnectionHandle, FIRST_WORD};
use crate::faults::Faults;
use crate::limits::Held;

/// One neighbor as the driver sees it.
pub(crate) struct Peer {
    pub(crate) neighbor: Neighbor,
    pub(crate) session: Session,
    /// How long its routes stay when it does not stand by them.
    pub(crate) retention: Retention,
    pub(crate) enabled: bool,
    /// What it was told when it was disabled.
    pub(crate) disabled_message: Option<String>,
    /// NOTIFICATIONs that it was sent.
    pub(crate) sent: Notified,
    /// NOTIFICATIONs that it sent.
    pub(crate) received: Notified,
    /// Why and until when the session rests, though nobody disabled it.
    pub(crate) held: Option<Held>,
    pub(crate) since: Instant,
    pub(crate) last_down: Option<String>,
    /// Why it cannot be reached, as far as attempts since then tell.
    pub(crate) unreachable: Option<String>,
    /// The session's last error, if it has been taken note of.
    pub(crate) last_error: Option<DownReason>,
    /// Why the session is about to go down, if we know better than the session.
    pub(crate) cause: Option<String>,
    pub(crate) dial: Option<(u64, AbortHandle)>,
    pub(crate) dialled: Option<ConnectionHandle>,
    pub(crate) accepted: Option<ConnectionHandle>,
    pub(crate) established: bool,
    /// What was wrong with attributes that it sent, for the log.
    pub(crate) faults: Faults,
    /// When it was last asked for a sign of life.
    pub(crate) doubted: Option<Instant>,
    /// The interface over which a directly connected neighbor was last reached.
    pub(crate) interface: Option<u32>,
    /// Prefixes whose routes wait for it to be known.
    pub(crate) unplaced: Vec<IpNet>,
    /// What the speaker before this one has told it, until all is told anew.
    pub(crate) inherited: Vec<Nlri>,
}

/// How many NOTIFICATIONs there were, and when the last of them was.
#[derive(Clone, Copy)]
pub(crate) struct Notified {
    count: u64,
    pub(crate) last: Instant,
}

impl Notified {
    pub(crate) const NEVER: Self = Self { count: 0, last: Instant::START };

    fn note(&mut self, count: u64, now: Instant) {
        if count != self.count {
            *self = Self { count, last: now };
        }
    }
}

impl Peer {
    /// A neighbor that has no session yet.
    pub(crate) fn new(neighbor: Neighbor, config: &Config, number: usize, now: Instant) -> Self {
        Self {
            session: Session::new(session_config(config, &neighbor, number)),
            retention: Retention::new(neighbor.offer.graceful_restart),
            neighbor,
            enabled: true,
            disabled_message: None,
            sent: Notified::NEVER,
            received: Notified::NEVER,
            held: None,
            since: now,
            last_down: None,
            unreachable: None,
            last_error: None,
            cause: None,
            dial: None,
            dialled: None,
            accepted: None,
            established: false,
            faults: Faults::default(),
            doubted: None,
            interface: None,
            unplaced: Vec::new(),
            inherited: Vec::new(),
        }
    }

    /// What the tables know of it.
    pub(crate) fn in_tables(&self) -> PeerConfig {
        let neighbor = &self.neighbor;
        PeerConfig {
            name: neighbor.name.clone(),
            asn: neighbor.asn,
            address: neighbor.address,
            import: neighbor.import.clone(),
            export: neighbor.export.clone(),
            next_hop_self: neighbor.next_hop_self,
            enforce_first_as: !neighbor.is_route_server(),
            role: neighbor.offer.role,
        }
    }

    /// Whether there was a NOTIFICATION that was not noted yet.
    pub(crate) const fn has_notified(&self) -> bool {
        let counters = self.session.counters();
        counters.notifications_out != self.sent.count
            || counters.notifications_in != self.received.count
    }

    /// Notes when NOTIFICATIONs were sent and received.
    pub(crate) fn note_notifications(&mut self, now: Instant) {
        let counters = self.session.counters();
        self.sent.note(counters.notifications_out, now);
        self.received.note(counters.notifications_in, now);
    }

    /// Says, or counts, what is wrong with attributes that it sent.
    pub(crate) fn note_faults(&mut self, now: Instant, faults: &[AttributeFault]) {
        for line in faults.iter().filter_map(|fault| self.faults.note(now, fault)) {
            line.log(&self.neighbor.name);
        }
    }

    /// Says how many were counted, once that is due.
    pub(crate) fn tell_faults(&mut self, now: Instant) {
        for line in self.faults.handle_timeout(now) {
            line.log(&self.neighbor.name);
        }
    }

    pub(crate) fn slot(&mut self, connection: Connection) -> &mut Option<ConnectionHandle> {
        match connection {
            Connection::Dialled => &mut self.dialled,
            Connection::Accepted => &mut self.accepted,
        }
    }

    pub(crate) fn connection_of(&self, id: u64) -> Option<Connection> {
        let is = |slot: &Option<ConnectionHandle>| slot.as_ref().is_some_and(|h| h.id == id);
        if is(&self.dialled) {
            Some(Connection::Dialled)
        } else {
            is(&self.accepted).then_some(Connection::Accepted)
        }
    }

    pub(crate) fn send(&mut self, connection: Connection, octets: Vec<u8>) {
        if let Some(handle) = self.slot(connection) {
            handle.send(octets);
        }
    }

    /// Gives what the session sends to its connection.
    pub(crate) fn flush(&mut self) {
        self.flush_past(|_, _| ());
    }

    /// The same, and `see` sees it.
    pub(crate) fn flush_past(&mut self, mut see: impl FnMut(&Self, &[u8])) {
        while let Some(action) = self.session.poll_action() {
            if let Action::Send(connection, octets) = action {
                see(self, &octets);
                self.send(connection, octets);
            } else {
                debug_assert!(false, "sending routes only sends");
            }
        }
    }

    pub(crate) fn has_room(&self) -> bool {
        [&self.dialled, &self.accepted].into_iter().flatten().all(|handle| !handle.is_full())
    }

    /// Tells the session whether the neighbor takes what it is sent.
    pub(crate) fn note_writes(&mut self, now: Instant) {
        for handle in [&mut self.dialled, &mut self.accepted].into_iter().flatten() {
            if handle.is_stuck() {
                self.session.handle_write_blocked(now);
            } else {
                self.session.handle_write_progress();
            }
        }
    }

    /// Whether anything but an operator may start the session.
    pub(crate) const fn may_start(&self) -> bool {
        self.enabled && self.held.is_none()
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.dialled.is_none() && self.accepted.is_none()
    }

    /// Our end and its end of the connection, while there is one.
    pub(crate) fn ends(&self) -> Option<(SocketAddr, Option<SocketAddr>)> {
        let of = |connection| match connection {
            Connection::Dialled => self.dialled.as_ref(),
            Connection::Accepted => self.accepted.as_ref(),
        };
        let session = self.session.negotiated().and_then(|link| of(link.connection));
        let handle = session.or(self.dialled.as_ref()).or(self.accepted.as_ref())?;
        Some((handle.local, handle.remote))
    }
}

/// What may be wrong where nothing that a neighbor with GTSM sends is heard.
const TOO_FAR: &str = " (with ttl-security: is it without, or farther away than we think?)";

/// That a neighbor to which there is a connection says nothing, in words.
pub(crate) fn silence(neighbor: &Neighbor) -> String {
    let hint = if neighbor.ttl_security { TOO_FAR } else { "" };
    format!("connected, but it has said nothing for {} s{hint}", FIRST_WORD.as_secs())
}

/// Why a neighbor cannot be reached, in words.
pub(crate) fn dial_error(neighbor: &Neighbor, error: &io::Error) -> String {
    let hint = match (error.kind(), neighbor.password.is_some()) {
        (io::ErrorKind::TimedOut, _) if neighbor.ttl_security => TOO_FAR,
        (io::ErrorKind::TimedOut, true) => " (a wrong address or MD5 password?)",
        (io::ErrorKind::TimedOut, false) => " (a wrong address, a filter, or MD5 asked for?)",
        (io::ErrorKind::ConnectionRefused, _) => " (no BGP daemon listens there)",
        (io::ErrorKind::AddrNotAvailable, _) => " (no interface has the local address)",
        _ => "",
    };
    let error = error.to_string();
    // The number says nothing that the words do not.
    let error = error.split(" (os error").next().unwrap_or_default();
    format!("cannot connect: {error}{hint}")
}

/// That the neighbor ends connections without a NOTIFICATION.
pub(crate) const CLOSED: &str = "the neighbor closed the connection before there was a session (does \
                                 it have us as a neighbor, at our address?)";

/// Why a session that was on its way did not come about, in words, if one of both ends said so.
pub(crate) fn refusal(neighbor: &Neighbor, reason: &DownReason) -> Option<String> {
    let (DownReason::Sent(said) | DownReason::Received(said)) = reason else { return None };
    let is_cease = said.code == error_code::CEASE;
    let is_bad_as =
        said.code == error_code::OPEN_MESSAGE && said.subcode == open_subcode::BAD_PEER_AS;
    let hint = match reason {
        // What we end without a fault of the neighbor's was ordered.
        DownReason::Sent(_) if is_cease => return None,
        _ if is_cease && said.subcode == cease_subcode::CONNECTION_COLLISION_RESOLUTION => {
            return None;
        }
        DownReason::Sent(_) if is_bad_as => format!(" (it is not in AS {})", neighbor.asn),
        _ if is_bad_as => " (it expects us in another AS)".to_owned(),
        _ => String::new(),
    };
    Some(format!("{reason}{hint}"))
}

/// The table's name for the neighbor of the number `index`.
pub(crate) fn peer_id(index: usize) -> PeerId {
    PeerId(u32::try_from(index).expect("fewer than 2^32 neighbors"))
}

fn session_config(config: &Config, neighbor: &Neighbor, index: usize) -> session::Config {
    session::Config {
        local_asn: config.local_asn,
        peer_asn: neighbor.asn,
        router_id: config.router_id,
        hold_time: neighbor.hold_time,
        families: neighbor.families.clone(),
        connect_retry: neighbor.connect_retry,
        delay_open: neighbor.delay_open,
        passive: neighbor.passive,
        offer: neighbor.offer,
        // Different on every speaker and neighbor, so that retries do not fall together.
        seed: u64::from(u32::from(config.router_id)) << 32 | index as u64,
    }
}

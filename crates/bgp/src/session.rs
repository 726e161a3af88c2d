//! The session with one neighbor: the state machine of RFC 4271 §8.2.2, without sockets, tasks,
//! clocks or randomness.
//!
//! The driver feeds the `handle_*` functions, then drains [`Session::poll_action`] and sleeps
//! until [`Session::poll_timeout`]. Up to two TCP connections to the neighbor can exist for a
//! while, the one that we opened and the one that we accepted; each goes through OpenSent and
//! OpenConfirm by itself and at most one becomes Established (§6.8).
//!
//! What the driver owes the session:
//! - A second accepted connection while the first is not closed is refused by the driver.
//! - After [`Action::Close`] or [`Action::CancelDial`] nothing more is told of that connection or
//!   attempt; the name is free for a new one.
//!
//! What differs from the letter of RFC 4271, and why:
//! - After an error the session restarts by itself after a back-off that doubles (the
//!   AutomaticStart and IdleHoldTimer of §8.1.1). A connection that the neighbor opens in that
//!   time is not refused but answered at the restart, which comes early for it: two speakers that
//!   both refuse each other while they rest could go on so for minutes.
//! - A TCP close or a Cease before OpenConfirm or Established leads to Active, not to Idle: the
//!   neighbor did not want this connection, but may open one of its own at any moment.
//! - An OPEN on the connection that would lose a collision is answered only once the other
//!   connection has ended, or after five seconds: else one side can be Established on the loser
//!   when the other side, as §6.8 has it, closes it. §6.8 lets a speaker look at connections in
//!   OpenSent; the wait costs a round trip at most with a neighbor that sends its OPEN at once.
//! - When one connection reaches OpenConfirm, an attempt to open the other is given up, and so is
//!   another on which our OPEN is delayed. We have sent no OPEN on it, so the neighbor cannot have
//!   chosen it.

mod ending;
mod look;
mod messages;
mod negotiation;
mod opening;
mod reason;
mod resume;
#[cfg(test)]
mod tests;
mod timers;
mod words;

use std::collections::VecDeque;
use std::fmt;
use std::net::Ipv4Addr;
use std::time::Duration;

use crate::iana::{cease_subcode, error_code, message_type};
use crate::message::{Capabilities, Context, MAX_LEN, Message, Notification, Packed, Update};
use crate::retention::Limits;
use crate::time::Instant;
use crate::{Asn, Family, Role};

pub use reason::DownReason;
pub use resume::{Carried, ResumeError};

use messages::next_message;
use opening::{Dial, Opening, Phase};
use timers::{BackOff, Timers};

/// What the operator wants of a session.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Config {
    /// Our ASN.
    pub local_asn: Asn,
    /// The ASN that the neighbor must have.
    pub peer_asn: Asn,
    /// Our BGP Identifier.
    pub router_id: Ipv4Addr,
    /// The hold time that we offer, in whole seconds: zero (no timers), or at least three.
    pub hold_time: Duration,
    /// The address families that we offer.
    pub families: Vec<Family>,
    /// The first wait before we try again, with jitter of 75 to 100 %; it doubles up to 120 s and
    /// starts anew once a session was Established.
    pub connect_retry: Duration,
    /// How long we wait for the neighbor's OPEN on a new connection before we send ours
    /// (DelayOpenTime, RFC 4271 §8.1.1); zero: not at all.
    pub delay_open: Duration,
    /// Never dial; wait for the neighbor to do so.
    pub passive: bool,
    /// What we offer besides.
    pub offer: Offer,
    /// The seed of the jitter, the only randomness.
    pub seed: u64,
}

/// What a session offers besides families, Route Refresh and four-octet AS numbers, which it
/// always does.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[expect(clippy::struct_excessive_bools, reason = "each is one capability, offered or not")]
pub struct Offer {
    /// Our role towards a neighbor of another AS (RFC 9234).
    pub role: Option<Role>,
    /// Refuse a neighbor that does not tell its role (RFC 9234 §4.2); nothing without our role.
    pub strict_role: bool,
    /// Messages of up to 65535 octets (RFC 8654).
    pub extended_message: bool,
    /// IPv4 routes with an IPv6 next hop (RFC 8950), if IPv4 is among the families.
    pub extended_next_hop: bool,
    /// Enhanced Route Refresh (RFC 7313): who offers it must heed
    /// [`Action::BeginningOfRouteRefresh`] and its end, and send them itself.
    pub enhanced_route_refresh: bool,
    /// Take several paths to one prefix (RFC 7911), of every family.
    pub receive_paths: bool,
    /// Send so many of the best paths to one prefix (RFC 7911), of every family; 0: the best
    /// alone, without a path identifier.
    pub send_paths: u8,
    /// Graceful Restart (RFC 4724, RFC 8538) and its long-lived kind (RFC 9494) without a family of
    /// our own: nobody is to keep what we announced, but we keep what a neighbor that restarts has
    /// sent, so long at most. Who offers it must do as a
    /// [`Retention`](crate::retention::Retention) says.
    pub graceful_restart: Option<Limits>,
}

impl Default for Offer {
    /// All but roles and [`extended_next_hop`](Self::extended_next_hop).
    fn default() -> Self {
        Self {
            role: None,
            strict_role: false,
            extended_message: true,
            extended_next_hop: false,
            enhanced_route_refresh: true,
            receive_paths: false,
            send_paths: 0,
            graceful_restart: Some(Limits::default()),
        }
    }
}

/// The TCP connections to a neighbor, at most one of each.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum Connection {
    /// We opened it.
    Dialled,
    /// The neighbor opened it.
    Accepted,
}

/// What the driver must now do, in the order given.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Action {
    /// Open a TCP connection to the neighbor. There is never more than one attempt at a time.
    Dial,
    /// Give the attempt up.
    CancelDial,
    /// Send these octets: whole messages.
    Send(Connection, Vec<u8>),
    /// Close, after what was sent is flushed.
    Close(Connection),
    /// Routes may flow, on the connection named.
    Established(Established),
    /// The session was Established and no longer is: forget the neighbor's routes.
    Down(DownReason),
    /// A message came in that could be read, as it came; what it means follows. Only if it was
    /// asked for: [`Session::set_tap`].
    Received(Vec<u8>),
    /// The neighbor's routes.
    Update(Update),
    /// The neighbor asks for our routes of a family once more (RFC 2918).
    RouteRefresh(Family),
    /// The neighbor sends its routes of the family anew: what it does not name until the end is
    /// no longer its (RFC 7313 §4).
    BeginningOfRouteRefresh(Family),
    /// It has sent them all.
    EndOfRouteRefresh(Family),
}

/// What the two sides agreed on.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Established {
    /// The connection that carries the session.
    pub connection: Connection,
    /// The neighbor's BGP Identifier.
    pub peer_router_id: Ipv4Addr,
    /// The lower of the two offers; zero: no timers.
    pub hold_time: Duration,
    /// Those that both offered, in our order; never empty.
    pub families: Vec<Family>,
    /// The neighbor understands ROUTE-REFRESH.
    pub route_refresh: bool,
    /// The neighbor's role, if it told one that is assigned (RFC 9234).
    pub peer_role: Option<Role>,
    /// All that the neighbor offered, agreed on or not.
    pub peer_capabilities: Capabilities,
    /// How messages are encoded.
    pub context: Context,
}

/// The OPENs of a connection as they went over the wire.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Opens {
    /// Ours.
    pub sent: Vec<u8>,
    /// The neighbor's.
    pub received: Vec<u8>,
}

/// The states of RFC 4271 §8.2.2; with two connections, that of the one which is further.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
#[expect(missing_docs, reason = "the names are the RFC's own")]
pub enum StateName {
    Idle,
    Connect,
    Active,
    OpenSent,
    OpenConfirm,
    Established,
}

/// What the session has counted since it was made.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Counters {
    /// Messages received that could be read.
    pub messages_in: u64,
    /// Messages sent.
    pub messages_out: u64,
    /// UPDATEs among those received.
    pub updates_in: u64,
    /// UPDATEs among those sent.
    pub updates_out: u64,
    /// NOTIFICATIONs among those received.
    pub notifications_in: u64,
    /// NOTIFICATIONs among those sent.
    pub notifications_out: u64,
    /// How often the session became Established.
    pub established: u64,
    /// How often it then went down.
    pub dropped: u64,
}

/// The session with one neighbor.
#[derive(Debug)]
pub struct Session {
    config: Config,
    state: State,
    back_off: BackOff,
    /// The neighbor refused an OPEN for its optional parameter: the next one has none.
    bare: bool,
    last_error: Option<DownReason>,
    last_sent: Option<Notification>,
    last_received: Option<Notification>,
    counters: Counters,
    /// Whether what comes in is told as it came.
    tap: bool,
    actions: VecDeque<Action>,
}

/// When the timers fire, those that run.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Due {
    /// The HoldTimer: the neighbor has been silent for too long.
    pub hold: Option<Instant>,
    /// The KeepaliveTimer: we have been silent for long enough.
    pub keepalive: Option<Instant>,
    /// The ConnectRetryTimer, or the rest after an error: the next attempt.
    pub connect_retry: Option<Instant>,
}

/// Where the session stands. A timer exists only where it can fire.
#[derive(Debug)]
#[expect(clippy::large_enum_variant, reason = "one for each neighbor, and nearly all are Running")]
enum State {
    /// Idle until the operator starts it.
    Stopped,
    /// Idle after an error, until `restart_at`. What a neighbor that connects in the meantime has
    /// said is kept until then.
    Resting { restart_at: Instant, visitor: Option<Vec<u8>> },
    /// Connect, Active, OpenSent or OpenConfirm.
    Opening(Opening),
    /// Routes flow.
    Running {
        link: Established,
        since: Instant,
        timers: Timers,
        /// When the neighbor will have taken nothing for too long: the SendHoldTimer (RFC 9687).
        send_hold_at: Option<Instant>,
        opens: Opens,
        inbox: Vec<u8>,
    },
}

/// How long the neighbor may take nothing of what we send, or twice the hold time if that is
/// longer (RFC 9687 §4).
const SEND_HOLD_TIME: Duration = Duration::from_secs(480);

impl Session {
    /// A session that is stopped.
    #[must_use]
    pub fn new(mut config: Config) -> Self {
        // The wire carries whole seconds in 16 bits; both sides must count the same.
        config.hold_time = Duration::from_secs(config.hold_time.as_secs().min(u64::from(u16::MAX)));
        Self {
            back_off: BackOff::new(config.connect_retry, config.seed),
            config,
            state: State::Stopped,
            bare: false,
            last_error: None,
            last_sent: None,
            last_received: None,
            counters: Counters::default(),
            tap: false,
            actions: VecDeque::new(),
        }
    }

    /// The operator starts the session (ManualStart). One that rests after an error starts at
    /// once; for one that runs this means nothing.
    pub fn handle_start(&mut self, now: Instant) {
        if let State::Stopped | State::Resting { .. } = self.state {
            self.start(now);
        }
    }

    /// The operator stops the session (ManualStop): the neighbor is told by a Cease of `subcode`
    /// (RFC 4486), an Administrative Shutdown or Reset with `message` (RFC 9003), and nothing more
    /// happens until a start.
    pub fn handle_stop(&mut self, _now: Instant, subcode: u8, message: &str) {
        // Only these two carry a message.
        let cease = match subcode {
            cease_subcode::ADMINISTRATIVE_SHUTDOWN | cease_subcode::ADMINISTRATIVE_RESET => {
                Notification::cease_with_message(subcode, message)
            }
            _ => cease(subcode),
        };
        match std::mem::replace(&mut self.state, State::Stopped) {
            State::Stopped | State::Resting { visitor: None, .. } => {}
            State::Resting { visitor: Some(_), .. } => {
                self.bid_farewell(Connection::Accepted, &cease);
            }
            State::Opening(opening) => {
                if let Dial::OnUntil(_) = opening.dial {
                    self.actions.push_back(Action::CancelDial);
                }
                for connection in opening.connections() {
                    self.bid_farewell(connection, &cease);
                    self.last_error = Some(DownReason::Sent(cease.clone()));
                }
            }
            State::Running { link, .. } => {
                // RFC 8538 §3: else a neighbor that asks us to keep its routes takes it for something
                // short.
                let restart = link.peer_capabilities.graceful_restart.as_ref();
                let keeps = restart.is_some_and(|it| it.notification && !it.families.is_empty())
                    && self.config.offer.graceful_restart.is_some();
                let cease = if keeps { Notification::hard_reset(&cease) } else { cease };
                self.go_down(link.connection, &DownReason::Sent(cease));
            }
        }
        self.back_off.reset();
        self.bare = false;
    }

    /// A TCP connection is up. An accepted one that cannot be used is told so and closed.
    pub fn handle_connected(&mut self, now: Instant, connection: Connection) {
        match (&mut self.state, connection) {
            (State::Opening(opening), Connection::Dialled) if opening.dialled.is_none() => {
                if let Dial::OnUntil(_) = opening.dial {
                    opening.dial = Dial::No;
                    self.begin_handshake(now, connection);
                } else {
                    // An attempt that was given up came through all the same.
                    self.actions.push_back(Action::Close(connection));
                }
            }
            (State::Opening(opening), Connection::Accepted) if opening.accepted.is_none() => {
                if let Dial::RetryAt(_) = opening.dial {
                    opening.dial = Dial::No;
                }
                self.begin_handshake(now, connection);
            }
            (State::Opening(_), _) => {}
            (State::Running { link, .. }, _) if link.connection == connection => {}
            (State::Resting { restart_at, visitor }, Connection::Accepted) => {
                if visitor.is_none() {
                    *visitor = Some(Vec::new());
                    *restart_at = (*restart_at).min(now + self.back_off.base());
                }
            }
            (State::Running { .. }, Connection::Accepted) => {
                self.bid_farewell(
                    connection,
                    &cease(cease_subcode::CONNECTION_COLLISION_RESOLUTION),
                );
            }
            (State::Stopped, Connection::Accepted) => {
                self.bid_farewell(connection, &cease(cease_subcode::CONNECTION_REJECTED));
            }
            (_, Connection::Dialled) => self.actions.push_back(Action::Close(connection)),
        }
    }

    /// The attempt to open a TCP connection failed.
    pub fn handle_dial_failed(&mut self, now: Instant) {
        if let State::Opening(opening) = &mut self.state
            && let Dial::OnUntil(_) = opening.dial
        {
            opening.dial = Dial::No;
            if opening.connections().next().is_none() {
                self.last_error = Some(DownReason::DialFailed);
            }
            self.seek(now);
        }
    }

    /// The neighbor closed a connection, or it broke.
    pub fn handle_closed(&mut self, now: Instant, connection: Connection) {
        if let State::Resting { visitor, .. } = &mut self.state {
            if connection == Connection::Accepted {
                *visitor = None;
            }
        } else if self.has(connection) {
            self.end(now, connection, DownReason::ConnectionClosed);
        }
    }

    /// Octets came in on a connection; cut wherever TCP cut them. Whatever they are, this does
    /// not panic.
    pub fn handle_octets(&mut self, now: Instant, connection: Connection, octets: &[u8]) {
        if let State::Resting { visitor: Some(inbox), .. } = &mut self.state {
            if connection == Connection::Accepted {
                inbox.extend_from_slice(octets);
                // There is nothing but one OPEN to be said before our own.
                if inbox.len() > MAX_LEN {
                    self.bid_farewell(connection, &cease(cease_subcode::CONNECTION_REJECTED));
                    self.forget_visitor();
                }
            }
            return;
        }
        let Some(inbox) = self.inbox(connection) else { return };
        let mut inbox = std::mem::take(inbox);
        inbox.extend_from_slice(octets);
        let mut read = 0;
        while let Some(context) = self.context(connection) {
            match next_message(&inbox[read..], &context) {
                Ok(None) => break,
                Ok(Some((len, message))) => {
                    self.note(connection, &message, &inbox[read..read + len]);
                    read += len;
                    self.handle_message(now, connection, message);
                }
                // An OPEN that comes too late is unexpected, sound or not.
                Err(error) if error.is_of_open() && !self.awaits_open(connection) => {
                    self.refuse_unexpected(now, connection, message_type::OPEN);
                }
                Err(error) => self.refuse(now, connection, error.to_notification()),
            }
        }
        if let Some(rest) = self.inbox(connection) {
            inbox.drain(..read);
            *rest = inbox;
        }
    }

    /// Sends what `update` says, in as many UPDATEs as it needs; does nothing unless the session
    /// is Established.
    pub fn send_update(&mut self, now: Instant, update: &Update) {
        if let State::Running { link, .. } = &self.state {
            let messages = update.emit(&link.context);
            self.send_updates(now, messages);
        }
    }

    /// The same for an UPDATE that other neighbors are told too: what is encoded is encoded once.
    pub fn send_packed(&mut self, now: Instant, packed: &Packed) {
        if let State::Running { link, .. } = &self.state {
            let messages = packed.emit(&link.context);
            self.send_updates(now, messages.iter().cloned());
        }
    }

    fn send_updates(&mut self, now: Instant, messages: impl IntoIterator<Item = Vec<u8>>) {
        let State::Running { link, timers, .. } = &mut self.state else { return };
        let connection = link.connection;
        for octets in messages {
            timers.spoke(now);
            self.counters.updates_out += 1;
            self.counters.messages_out += 1;
            self.actions.push_back(Action::Send(connection, octets));
        }
    }

    /// Asks for the neighbor's routes of `family` once more; does nothing unless the session is
    /// Established and the neighbor understands ROUTE-REFRESH (RFC 2918 §4).
    pub fn send_route_refresh(&mut self, _now: Instant, family: Family) {
        if let State::Running { link, .. } = &self.state
            && link.route_refresh
            && link.families.contains(&family)
        {
            let octets = Message::RouteRefresh(family).emit(&link.context);
            let connection = link.connection;
            self.send_octets(connection, octets);
        }
    }

    /// Tells that all routes of `family` follow (RFC 7313 §4); does nothing unless the session is
    /// Established and both sides offered Enhanced Route Refresh.
    pub fn send_beginning_of_route_refresh(&mut self, _now: Instant, family: Family) {
        self.send_demarcation(family, &Message::BeginningOfRouteRefresh(family));
    }

    /// Tells that all routes of `family` have been sent, as
    /// [`send_beginning_of_route_refresh`](Self::send_beginning_of_route_refresh) began it.
    pub fn send_end_of_route_refresh(&mut self, _now: Instant, family: Family) {
        self.send_demarcation(family, &Message::EndOfRouteRefresh(family));
    }

    fn send_demarcation(&mut self, family: Family, message: &Message) {
        if let State::Running { link, .. } = &self.state
            && link.context.enhanced_route_refresh
            && link.families.contains(&family)
        {
            let octets = message.emit(&link.context);
            let connection = link.connection;
            self.send_octets(connection, octets);
        }
    }

    /// TCP holds octets that the neighbor does not take: the SendHoldTimer runs from the first
    /// time that this is said (RFC 9687 §3.2). A driver that never says so has no such timer.
    pub fn handle_write_blocked(&mut self, now: Instant) {
        if let State::Running { link, send_hold_at, .. } = &mut self.state {
            send_hold_at.get_or_insert(now + SEND_HOLD_TIME.max(link.hold_time * 2));
        }
    }

    /// The neighbor took octets, or none are left: the SendHoldTimer stops.
    pub fn handle_write_progress(&mut self) {
        if let State::Running { send_hold_at, .. } = &mut self.state {
            *send_hold_at = None;
        }
    }

    /// Fires every timer that is due.
    pub fn handle_timeout(&mut self, now: Instant) {
        match &mut self.state {
            State::Stopped => {}
            State::Resting { restart_at, .. } => {
                if *restart_at <= now {
                    self.start(now);
                }
            }
            State::Opening(opening) => {
                let dial = opening.dial;
                for connection in [Connection::Dialled, Connection::Accepted] {
                    self.handle_handshake_timeout(now, connection);
                }
                self.handle_dial_timeout(now, dial);
            }
            State::Running { link, timers, send_hold_at, .. } => {
                let connection = link.connection;
                if send_hold_at.is_some_and(|at| at <= now) {
                    let expired = Notification::new(error_code::SEND_HOLD_TIMER_EXPIRED, 0);
                    self.refuse(now, connection, expired);
                } else if timers.hold_is_over(now) {
                    self.refuse(
                        now,
                        connection,
                        Notification::new(error_code::HOLD_TIMER_EXPIRED, 0),
                    );
                } else if timers.is_keepalive_due(now) {
                    timers.spoke(now);
                    self.send(connection, &Message::Keepalive);
                }
            }
        }
    }

    /// When [`handle_timeout`](Self::handle_timeout) must next be called, if ever.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Instant> {
        match &self.state {
            State::Stopped => None,
            State::Resting { restart_at, .. } => Some(*restart_at),
            State::Opening(opening) => {
                let dial = match opening.dial {
                    Dial::No => None,
                    Dial::RetryAt(at) | Dial::OnUntil(at) => Some(at),
                };
                let links = [&opening.dialled, &opening.accepted];
                let links = links.into_iter().flatten().filter_map(|link| match &link.phase {
                    Phase::Delayed { open_at: at } | Phase::OpenSent { hold_at: at } => Some(*at),
                    Phase::Deferred { until, .. } => Some(*until),
                    Phase::OpenConfirm { timers, .. } => timers.next(),
                });
                dial.into_iter().chain(links).min()
            }
            State::Running { timers, send_hold_at, .. } => {
                timers.next().into_iter().chain(*send_hold_at).min()
            }
        }
    }

    /// The next thing to do, oldest first.
    pub fn poll_action(&mut self) -> Option<Action> {
        self.actions.pop_front()
    }

    /// Whether each message that comes in is also given out as it came, by
    /// [`Action::Received`].
    pub const fn set_tap(&mut self, tap: bool) {
        self.tap = tap;
    }
}

fn cease(subcode: u8) -> Notification {
    Notification::new(error_code::CEASE, subcode)
}

impl Connection {
    const fn other(self) -> Self {
        match self {
            Self::Dialled => Self::Accepted,
            Self::Accepted => Self::Dialled,
        }
    }
}

impl fmt::Display for StateName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Idle => "Idle",
            Self::Connect => "Connect",
            Self::Active => "Active",
            Self::OpenSent => "OpenSent",
            Self::OpenConfirm => "OpenConfirm",
            Self::Established => "Established",
        })
    }
}

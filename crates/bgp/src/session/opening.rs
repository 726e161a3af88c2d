//! The way up: Connect, Active, OpenSent and OpenConfirm, with two connections at most.

use std::time::Duration;

use crate::iana::error_code;
use crate::message::{Message, Notification, Open};
use crate::time::Instant;

use super::timers::Timers;
use super::{Action, Connection, DownReason, Established, Opens, Session, State, StateName};

/// Hold time while waiting for an OPEN; RFC 4271 §8.2.2 suggests four minutes.
const OPEN_SENT_HOLD_TIME: Duration = Duration::from_secs(240);
/// The least time for which an attempt to connect goes on: TCP repeats a lost SYN after 1 s and
/// after 3 s.
const DIAL_TIME: Duration = Duration::from_secs(5);
/// How long the OPEN on a connection that would lose a collision waits for the one on the
/// connection that would win it, or a third of a shorter hold time: the neighbor may be in
/// OpenConfirm already. A neighbor sends its OPEN as soon as it sees a connection.
const DEFERRAL: Duration = Duration::from_secs(5);

/// The way to an Established session.
#[derive(Debug)]
pub(super) struct Opening {
    pub(super) dial: Dial,
    pub(super) dialled: Option<Handshake>,
    pub(super) accepted: Option<Handshake>,
}

/// Our own attempts to connect.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Dial {
    /// None: the session is passive, or there is a connection already.
    No,
    /// The ConnectRetryTimer runs.
    RetryAt(Instant),
    /// The attempt is on until then.
    OnUntil(Instant),
}

/// A connection on the way to Established.
#[derive(Debug)]
pub(super) struct Handshake {
    pub(super) phase: Phase,
    pub(super) opens: Opens,
    pub(super) inbox: Vec<u8>,
}

#[derive(Debug)]
pub(super) enum Phase {
    /// The connection is up, and our OPEN waits for the neighbor's, until then at most: the
    /// DelayOpenTimer. The state is still Connect or Active.
    Delayed {
        open_at: Instant,
    },
    OpenSent {
        hold_at: Instant,
    },
    /// Still OpenSent for all that the neighbor can see: its OPEN suits us, but the other
    /// connection is up and would win the collision. Our KEEPALIVE waits for the OPEN there or
    /// for its end, until then at most. `heard`: the neighbor's KEEPALIVE came meanwhile.
    Deferred {
        link: Established,
        heard: bool,
        until: Instant,
    },
    OpenConfirm {
        link: Established,
        timers: Timers,
    },
}

impl Opening {
    pub(super) const fn slot(&mut self, connection: Connection) -> &mut Option<Handshake> {
        match connection {
            Connection::Dialled => &mut self.dialled,
            Connection::Accepted => &mut self.accepted,
        }
    }

    /// The connections that are up.
    pub(super) fn connections(&self) -> impl Iterator<Item = Connection> + use<> {
        let dialled = self.dialled.is_some().then_some(Connection::Dialled);
        let accepted = self.accepted.is_some().then_some(Connection::Accepted);
        dialled.into_iter().chain(accepted)
    }

    pub(super) fn name(&self) -> StateName {
        let links = [&self.dialled, &self.accepted];
        let waiting = [StateName::Connect, StateName::Active];
        let furthest = links.into_iter().zip(waiting).filter_map(|(handshake, waiting)| {
            Some(match handshake.as_ref()?.phase {
                Phase::Delayed { .. } => waiting,
                Phase::OpenSent { .. } | Phase::Deferred { .. } => StateName::OpenSent,
                Phase::OpenConfirm { .. } => StateName::OpenConfirm,
            })
        });
        furthest.max().unwrap_or(match self.dial {
            Dial::OnUntil(_) => StateName::Connect,
            Dial::No | Dial::RetryAt(_) => StateName::Active,
        })
    }
}

impl Session {
    /// From Idle to Connect or Active, or to OpenSent with the neighbor that waits.
    pub(super) fn start(&mut self, now: Instant) {
        let visitor = match &mut self.state {
            State::Resting { visitor, .. } => visitor.take(),
            _ => None,
        };
        self.state = State::Opening(Opening { dial: Dial::No, dialled: None, accepted: None });
        if let Some(said) = visitor {
            self.begin_handshake(now, Connection::Accepted);
            self.handle_octets(now, Connection::Accepted, &said);
        } else if !self.config.passive {
            self.dial(now);
        }
    }

    /// Opens a connection, in Connect.
    pub(super) fn dial(&mut self, now: Instant) {
        let until = now + self.back_off.step().max(DIAL_TIME);
        if let State::Opening(opening) = &mut self.state {
            opening.dial = Dial::OnUntil(until);
            self.actions.push_back(Action::Dial);
        }
    }

    /// With no connection and no attempt: waits for the next attempt, in Active.
    pub(super) fn seek(&mut self, now: Instant) {
        let passive = self.config.passive;
        if let State::Opening(opening) = &mut self.state
            && opening.connections().next().is_none()
            && opening.dial == Dial::No
            && !passive
        {
            opening.dial = Dial::RetryAt(now + self.back_off.next());
        }
    }

    pub(super) fn begin_handshake(&mut self, now: Instant, connection: Connection) {
        if let State::Opening(opening) = &mut self.state {
            let phase = Phase::Delayed { open_at: now + self.config.delay_open };
            let opens = Opens { sent: Vec::new(), received: Vec::new() };
            *opening.slot(connection) = Some(Handshake { phase, opens, inbox: Vec::new() });
            if self.config.delay_open.is_zero() {
                self.send_open(now, connection);
            }
        }
    }

    /// To OpenSent.
    pub(super) fn send_open(&mut self, now: Instant, connection: Connection) {
        if let State::Opening(opening) = &mut self.state
            && let Some(handshake) = opening.slot(connection)
        {
            handshake.phase = Phase::OpenSent { hold_at: now + OPEN_SENT_HOLD_TIME };
            let open = Message::Open(self.config.open(self.bare));
            handshake.opens.sent = open.emit(&self.config.first_context());
            self.send(connection, &open);
        }
    }

    /// From OpenSent to OpenConfirm, if the OPEN suits us and no better connection exists. If one
    /// may yet come to be, the answer waits for it.
    ///
    /// Without that wait the two sides can end up with none: we answer on the connection that
    /// would lose, the neighbor's KEEPALIVE is there already and we are Established on it and
    /// close the other; but the neighbor reads our OPEN on the other before our KEEPALIVE, and
    /// closes the one on which we are Established, as RFC 4271 §6.8 says.
    pub(super) fn handle_open(&mut self, now: Instant, connection: Connection, open: &Open) {
        let link = match self.config.negotiate(connection, self.bare, open) {
            Ok(link) => link,
            Err(notification) => return self.refuse(now, connection, notification),
        };
        let other = connection.other();
        let wins = self.config.survivor(open) == connection;
        let State::Opening(opening) = &mut self.state else { return };
        match opening.slot(other).as_ref().map(|handshake| &handshake.phase) {
            Some(Phase::OpenConfirm { .. }) if !wins => return self.leave(connection),
            Some(Phase::OpenConfirm { .. } | Phase::Deferred { .. }) => self.leave(other),
            Some(Phase::OpenSent { .. }) if !wins => {
                if let Some(handshake) = opening.slot(connection) {
                    let third = Some(link.hold_time / 3).filter(|third| !third.is_zero());
                    let until = now + third.map_or(DEFERRAL, |third| third.min(DEFERRAL));
                    handshake.phase = Phase::Deferred { link, heard: false, until };
                }
                return;
            }
            Some(Phase::OpenSent { .. } | Phase::Delayed { .. }) | None => {}
        }
        self.confirm(now, connection, link);
    }

    /// To OpenConfirm: the answer to the neighbor's OPEN.
    fn confirm(&mut self, now: Instant, connection: Connection, link: Established) {
        let State::Opening(opening) = &mut self.state else { return };
        if let Dial::OnUntil(_) = opening.dial {
            opening.dial = Dial::No;
            self.actions.push_back(Action::CancelDial);
        }
        let other = opening.slot(connection.other());
        if let Some(Handshake { phase: Phase::Delayed { .. }, .. }) = other {
            *other = None;
            self.actions.push_back(Action::Close(connection.other()));
        }
        if let Some(handshake) = opening.slot(connection) {
            let timers = Timers::start(now, link.hold_time);
            handshake.phase = Phase::OpenConfirm { link, timers };
            self.send(connection, &Message::Keepalive);
        }
    }

    /// A deferred answer waits no longer, as the other connection has ended or takes too long.
    pub(super) fn answer_deferred(&mut self, now: Instant, connection: Connection) {
        let State::Opening(opening) = &mut self.state else { return };
        let Some(handshake) = opening.slot(connection) else { return };
        let Phase::Deferred { link, heard, .. } = &handshake.phase else { return };
        let (link, heard) = (link.clone(), *heard);
        self.leave(connection.other());
        self.confirm(now, connection, link);
        if heard {
            self.establish(now, connection);
        }
    }

    /// From OpenConfirm to Established; the other connection, if any, has lost.
    pub(super) fn establish(&mut self, now: Instant, connection: Connection) {
        self.leave(connection.other());
        let State::Opening(opening) = &mut self.state else { return };
        let Some(Handshake { phase: Phase::OpenConfirm { link, mut timers }, opens, inbox }) =
            opening.slot(connection).take()
        else {
            return;
        };
        timers.heard(now);
        self.counters.established += 1;
        self.back_off.reset();
        self.actions.push_back(Action::Established(link.clone()));
        let send_hold_at = None;
        self.state = State::Running { link, since: now, timers, send_hold_at, opens, inbox };
    }
}

/// The timers.
impl Session {
    pub(super) fn handle_handshake_timeout(&mut self, now: Instant, connection: Connection) {
        let State::Opening(opening) = &mut self.state else { return };
        let Some(handshake) = opening.slot(connection) else { return };
        let expired = match &mut handshake.phase {
            Phase::Delayed { open_at } => {
                if *open_at <= now {
                    self.send_open(now, connection);
                }
                false
            }
            Phase::OpenSent { hold_at } => *hold_at <= now,
            Phase::Deferred { until, .. } => {
                if *until <= now {
                    self.answer_deferred(now, connection);
                }
                false
            }
            Phase::OpenConfirm { timers, .. } if timers.hold_is_over(now) => true,
            Phase::OpenConfirm { timers, .. } => {
                if timers.is_keepalive_due(now) {
                    timers.spoke(now);
                    self.send(connection, &Message::Keepalive);
                }
                false
            }
        };
        if expired {
            self.refuse(now, connection, Notification::new(error_code::HOLD_TIMER_EXPIRED, 0));
        }
    }

    /// The ConnectRetryTimer; `before` is how it stood before other timers fired.
    pub(super) fn handle_dial_timeout(&mut self, now: Instant, before: Dial) {
        let State::Opening(opening) = &mut self.state else { return };
        if opening.dial != before {
            return;
        }
        match before {
            Dial::RetryAt(at) if at <= now => self.dial(now),
            Dial::OnUntil(at) if at <= now => {
                opening.dial = Dial::No;
                let alone = opening.connections().next().is_none();
                self.actions.push_back(Action::CancelDial);
                if alone {
                    self.last_error = Some(DownReason::DialFailed);
                    self.back_off.next();
                    self.dial(now);
                }
            }
            _ => {}
        }
    }
}

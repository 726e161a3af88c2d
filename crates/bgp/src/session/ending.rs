//! The way down: who is told what, what is closed, and whether the session rests or seeks.

use crate::Family;
use crate::iana::{cease_subcode, error_code, fsm_subcode, open_subcode};
use crate::message::{Message, Notification};
use crate::time::Instant;

use super::opening::{Dial, Handshake, Phase};
use super::{Action, Connection, DownReason, Session, State, cease};

/// Whether the neighbor does not know the Capabilities parameter.
const fn refuses_parameters(notification: &Notification) -> bool {
    notification.code == error_code::OPEN_MESSAGE
        && notification.subcode == open_subcode::UNSUPPORTED_OPTIONAL_PARAMETER
}

impl Session {
    /// Ends a connection because of an error that the neighbor is told.
    pub(super) fn refuse(
        &mut self,
        now: Instant,
        connection: Connection,
        notification: Notification,
    ) {
        self.end(now, connection, DownReason::Sent(notification));
    }

    /// Ends a connection on which a message of type `kind` came that its state has no use for; the
    /// neighbor is told that type (RFC 6608 §4).
    pub(super) fn refuse_unexpected(&mut self, now: Instant, connection: Connection, kind: u8) {
        let subcode = match &mut self.state {
            State::Running { .. } => fsm_subcode::UNEXPECTED_MESSAGE_IN_ESTABLISHED,
            State::Opening(opening) => match opening.slot(connection) {
                Some(Handshake {
                    phase: Phase::OpenConfirm { .. } | Phase::Deferred { .. },
                    ..
                }) => fsm_subcode::UNEXPECTED_MESSAGE_IN_OPEN_CONFIRM,
                // RFC 6608 has no word for Connect and Active.
                Some(Handshake { phase: Phase::Delayed { .. }, .. }) => fsm_subcode::UNSPECIFIC,
                _ => fsm_subcode::UNEXPECTED_MESSAGE_IN_OPEN_SENT,
            },
            State::Stopped | State::Resting { .. } => return,
        };
        let mut notification = Notification::new(error_code::FINITE_STATE_MACHINE, subcode);
        notification.data = vec![kind];
        self.refuse(now, connection, notification);
    }

    /// Ends a connection, and with the last of them the session; then rests, or seeks another.
    pub(super) fn end(&mut self, now: Instant, connection: Connection, reason: DownReason) {
        match &mut self.state {
            State::Stopped | State::Resting { .. } => {}
            State::Opening(opening) => {
                // RFC 5492 §3: the neighbor may know no capabilities; without them IPv4 is left.
                self.bare = !self.bare
                    && matches!(&reason, DownReason::Received(n) if refuses_parameters(n))
                    && self.config.families.contains(&Family::Ipv4Unicast);
                let slot = opening.slot(connection);
                let confirmed =
                    matches!(slot, Some(Handshake { phase: Phase::OpenConfirm { .. }, .. }));
                *slot = None;
                let alone = opening.connections().next().is_none();
                let dialling = matches!(opening.dial, Dial::OnUntil(_));
                match &reason {
                    DownReason::Sent(notification) => self.bid_farewell(connection, notification),
                    DownReason::Received(_) => self.actions.push_back(Action::Close(connection)),
                    DownReason::ConnectionClosed | DownReason::DialFailed => {}
                }
                let unwanted = match &reason {
                    DownReason::ConnectionClosed => !confirmed,
                    DownReason::Received(notification) => notification.code == error_code::CEASE,
                    DownReason::Sent(_) | DownReason::DialFailed => false,
                };
                if !alone {
                    // The other connection goes on: nothing to report.
                    return self.answer_deferred(now, connection.other());
                }
                self.last_error = Some(reason);
                if unwanted {
                    self.seek(now);
                } else {
                    if dialling {
                        self.actions.push_back(Action::CancelDial);
                    }
                    self.rest(now);
                }
            }
            State::Running { link, .. } => {
                debug_assert_eq!(link.connection, connection, "events of others are ignored");
                self.go_down(connection, &reason);
                self.rest(now);
            }
        }
    }

    /// Leaves Established; the caller says where to.
    pub(super) fn go_down(&mut self, connection: Connection, reason: &DownReason) {
        self.counters.dropped += 1;
        self.bare = false;
        self.last_error = Some(reason.clone());
        if let DownReason::Sent(notification) = reason {
            self.send(connection, &Message::Notification(notification.clone()));
        }
        self.actions.push_back(Action::Down(reason.clone()));
        if *reason != DownReason::ConnectionClosed {
            self.actions.push_back(Action::Close(connection));
        }
    }

    pub(super) fn rest(&mut self, now: Instant) {
        let restart_at = now + self.back_off.next();
        self.state = State::Resting { restart_at, visitor: None };
    }

    /// Ends the connection that lost a collision, if there is one.
    pub(super) fn leave(&mut self, loser: Connection) {
        if let State::Opening(opening) = &mut self.state
            && opening.slot(loser).take().is_some()
        {
            self.bid_farewell(loser, &cease(cease_subcode::CONNECTION_COLLISION_RESOLUTION));
        }
    }

    pub(super) fn forget_visitor(&mut self) {
        if let State::Resting { visitor, .. } = &mut self.state {
            *visitor = None;
        }
    }

    pub(super) fn bid_farewell(&mut self, connection: Connection, notification: &Notification) {
        self.send(connection, &Message::Notification(notification.clone()));
        self.actions.push_back(Action::Close(connection));
    }
}

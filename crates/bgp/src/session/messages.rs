//! Messages as they come and go, and the connections that they are of.

use crate::message::{self, Context, Message, MessageError};
use crate::time::Instant;

use super::opening::{Handshake, Phase};
use super::{Action, Connection, DownReason, Session, State};

/// The first message in `octets` and its length, once it is whole.
pub(super) fn next_message(
    octets: &[u8],
    context: &Context,
) -> Result<Option<(usize, Message)>, MessageError> {
    match message::frame_len_in(octets, context)?.and_then(|len| octets.get(..len)) {
        None => Ok(None),
        Some(frame) => Message::parse(frame, context).map(|message| Some((frame.len(), message))),
    }
}

impl Session {
    /// Keeps what is asked for as it came.
    pub(super) fn note(&mut self, connection: Connection, message: &Message, octets: &[u8]) {
        if let (Message::Open(_), State::Opening(opening)) = (message, &mut self.state)
            && let Some(handshake) = opening.slot(connection)
        {
            handshake.opens.received = octets.to_vec();
        }
        if self.tap {
            self.actions.push_back(Action::Received(octets.to_vec()));
        }
    }

    pub(super) fn handle_message(
        &mut self,
        now: Instant,
        connection: Connection,
        message: Message,
    ) {
        self.counters.messages_in += 1;
        match &message {
            Message::Update(_) => self.counters.updates_in += 1,
            Message::Notification(_) => self.counters.notifications_in += 1,
            _ => {}
        }
        if let Message::Notification(notification) = message {
            self.last_received = Some(notification.clone());
            return self.end(now, connection, DownReason::Received(notification));
        }
        let kind = message.type_code();
        match &mut self.state {
            State::Stopped | State::Resting { .. } => {}
            State::Running { link, timers, .. } => match message {
                Message::Keepalive => timers.heard(now),
                Message::Update(mut update) => {
                    timers.heard(now);
                    link.keep_negotiated(&mut update);
                    self.actions.push_back(Action::Update(update));
                }
                // A family that was not agreed on is read over (RFC 2918 §4).
                Message::RouteRefresh(family)
                | Message::BeginningOfRouteRefresh(family)
                | Message::EndOfRouteRefresh(family)
                    if !link.families.contains(&family) => {}
                Message::UnknownRouteRefresh { .. } => {}
                Message::BeginningOfRouteRefresh(family) => {
                    self.actions.push_back(Action::BeginningOfRouteRefresh(family));
                }
                Message::EndOfRouteRefresh(family) => {
                    self.actions.push_back(Action::EndOfRouteRefresh(family));
                }
                Message::RouteRefresh(family) => {
                    self.actions.push_back(Action::RouteRefresh(family));
                }
                Message::Open(_) | Message::Notification(_) => {
                    self.refuse_unexpected(now, connection, kind);
                }
            },
            State::Opening(opening) => match (opening.slot(connection), message) {
                (Some(Handshake { phase: Phase::OpenSent { .. }, .. }), Message::Open(open)) => {
                    self.handle_open(now, connection, &open);
                }
                (Some(Handshake { phase: Phase::Delayed { .. }, .. }), Message::Open(open)) => {
                    self.send_open(now, connection);
                    self.handle_open(now, connection, &open);
                }
                (
                    Some(Handshake { phase: Phase::Deferred { heard, .. }, .. }),
                    Message::Keepalive,
                ) => *heard = true,
                (Some(Handshake { phase: Phase::OpenConfirm { .. }, .. }), Message::Keepalive) => {
                    self.establish(now, connection);
                }
                _ => self.refuse_unexpected(now, connection, kind),
            },
        }
    }

    pub(super) fn send(&mut self, connection: Connection, message: &Message) {
        // Nothing that is sent here is encoded differently before and after the OPENs.
        let octets = message.emit(&self.config.first_context());
        if let Message::Notification(notification) = message {
            self.last_sent = Some(notification.clone());
            self.counters.notifications_out += 1;
        }
        self.send_octets(connection, octets);
    }

    pub(super) fn send_octets(&mut self, connection: Connection, octets: Vec<u8>) {
        self.counters.messages_out += 1;
        self.actions.push_back(Action::Send(connection, octets));
    }

    pub(super) fn awaits_open(&mut self, connection: Connection) -> bool {
        let State::Opening(opening) = &mut self.state else { return false };
        let handshake = opening.slot(connection).as_ref();
        let awaits =
            |it: &Handshake| matches!(it.phase, Phase::Delayed { .. } | Phase::OpenSent { .. });
        handshake.is_some_and(awaits)
    }

    pub(super) fn has(&mut self, connection: Connection) -> bool {
        self.inbox(connection).is_some()
    }

    pub(super) fn inbox(&mut self, connection: Connection) -> Option<&mut Vec<u8>> {
        match &mut self.state {
            State::Opening(opening) => {
                opening.slot(connection).as_mut().map(|handshake| &mut handshake.inbox)
            }
            State::Running { link, inbox, .. } if link.connection == connection => Some(inbox),
            _ => None,
        }
    }

    /// How messages from `connection` are encoded, if it is ours.
    pub(super) fn context(&mut self, connection: Connection) -> Option<Context> {
        match &mut self.state {
            State::Opening(opening) => {
                opening.slot(connection).as_ref().map(|handshake| match &handshake.phase {
                    Phase::Delayed { .. } | Phase::OpenSent { .. } => self.config.first_context(),
                    Phase::Deferred { link, .. } | Phase::OpenConfirm { link, .. } => link.context,
                })
            }
            State::Running { link, .. } if link.connection == connection => Some(link.context),
            _ => None,
        }
    }
}

//! A session that goes on in another process, on the same connection: the neighbor notices
//! nothing.
//!
//! The two OPENs say all that was agreed on, so they are all that has to be carried over, with the
//! octets of a message that has not come in whole yet. This is no restart in the sense of RFC 4724:
//! nobody is asked to keep anything.

use crate::message::Message;
use crate::time::Instant;

use super::messages::next_message;
use super::timers::Timers;
use super::{Action, Connection, Opens, Session, State};

/// What another process needs to go on with an Established session.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Carried {
    /// The connection that carries the session.
    pub connection: Connection,
    /// As they went over the wire.
    pub opens: Opens,
    /// Octets that came in and are not a whole message yet.
    pub inbox: Vec<u8>,
}

/// Why a session cannot go on; it has to begin anew.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum ResumeError {
    /// We would now send another OPEN: the settings have changed, or this version offers more.
    #[error("our OPEN would now be another one")]
    OpenDiffers,
    /// The neighbor's OPEN cannot be read, or does not suit us.
    #[error("the neighbor's OPEN does not suit us any more")]
    OpenUnsuitable,
    /// The session has begun by itself already.
    #[error("the session runs already")]
    Running,
}

impl Session {
    /// What the session needs to go on elsewhere, while it is Established.
    #[must_use]
    pub fn carry(&self) -> Option<Carried> {
        let State::Running { link, opens, inbox, .. } = &self.state else { return None };
        let (opens, inbox) = (opens.clone(), inbox.clone());
        Some(Carried { connection: link.connection, opens, inbox })
    }

    /// Goes on with a session that was Established elsewhere; a stopped session is Established by
    /// it. The neighbor is sent a KEEPALIVE at once, as nobody knows how long it has waited for one.
    ///
    /// # Errors
    /// Why that cannot be; nothing has changed then.
    pub fn resume(&mut self, now: Instant, carried: Carried) -> Result<(), ResumeError> {
        let Carried { connection, opens, inbox } = carried;
        if !matches!(self.state, State::Stopped) {
            return Err(ResumeError::Running);
        }
        let first = self.config.first_context();
        let sent = |bare: bool| Message::Open(self.config.open(bare)).emit(&first) == opens.sent;
        let bare = match (sent(false), sent(true)) {
            (true, _) => false,
            (false, true) => true,
            (false, false) => return Err(ResumeError::OpenDiffers),
        };
        let Ok(Some((_, Message::Open(open)))) = next_message(&opens.received, &first) else {
            return Err(ResumeError::OpenUnsuitable);
        };
        let link = self.config.negotiate(connection, bare, &open);
        let link = link.map_err(|_| ResumeError::OpenUnsuitable)?;
        self.bare = bare;
        self.counters.established += 1;
        self.actions.push_back(Action::Established(link.clone()));
        let timers = Timers::start(now, link.hold_time);
        let speaks = !link.hold_time.is_zero();
        self.state = State::Running {
            link,
            since: now,
            timers,
            send_hold_at: None,
            opens,
            inbox: Vec::new(),
        };
        if speaks {
            self.send(connection, &Message::Keepalive);
        }
        self.handle_octets(now, connection, &inbox);
        Ok(())
    }
}

//! What can be seen of a session.

use crate::message::{Capabilities, Notification};
use crate::time::Instant;

use super::opening::Dial;
use super::{Counters, DownReason, Due, Established, Opens, Session, State, StateName};

impl Session {
    /// Where the session stands.
    #[must_use]
    pub fn state(&self) -> StateName {
        match &self.state {
            State::Stopped | State::Resting { .. } => StateName::Idle,
            State::Opening(opening) => opening.name(),
            State::Running { .. } => StateName::Established,
        }
    }

    /// Why the last connection or attempt ended, if one has.
    #[must_use]
    pub const fn last_error(&self) -> Option<&DownReason> {
        self.last_error.as_ref()
    }

    /// The last NOTIFICATION that the neighbor was sent, on whatever connection.
    #[must_use]
    pub const fn last_sent(&self) -> Option<&Notification> {
        self.last_sent.as_ref()
    }

    /// The last NOTIFICATION that the neighbor sent, on whatever connection.
    #[must_use]
    pub const fn last_received(&self) -> Option<&Notification> {
        self.last_received.as_ref()
    }

    /// What our next OPEN offers.
    #[must_use]
    pub fn offered(&self) -> Capabilities {
        self.config.capabilities(self.bare)
    }

    /// When the timers fire.
    #[must_use]
    pub fn due(&self) -> Due {
        match &self.state {
            State::Stopped => Due::default(),
            State::Resting { restart_at, .. } => {
                Due { connect_retry: Some(*restart_at), ..Due::default() }
            }
            State::Opening(opening) => Due {
                connect_retry: match opening.dial {
                    Dial::No | Dial::OnUntil(_) => None,
                    Dial::RetryAt(at) => Some(at),
                },
                ..Due::default()
            },
            State::Running { timers, .. } => {
                let (hold, keepalive) = timers.due().unzip();
                Due { hold, keepalive, connect_retry: None }
            }
        }
    }

    /// What the session has counted.
    #[must_use]
    pub const fn counters(&self) -> &Counters {
        &self.counters
    }

    /// What was agreed with the neighbor, while the session is Established.
    #[must_use]
    pub const fn negotiated(&self) -> Option<&Established> {
        match &self.state {
            State::Running { link, .. } => Some(link),
            _ => None,
        }
    }

    /// The OPENs that were exchanged, while the session is Established.
    #[must_use]
    pub const fn opens(&self) -> Option<&Opens> {
        match &self.state {
            State::Running { opens, .. } => Some(opens),
            _ => None,
        }
    }

    /// Since when the session is Established, while it is.
    #[must_use]
    pub const fn established_since(&self) -> Option<Instant> {
        match &self.state {
            State::Running { since, .. } => Some(*since),
            _ => None,
        }
    }
}

//! How long routes stay that a neighbor does not stand by at the moment: because it restarts
//! (RFC 4724, RFC 8538, RFC 9494, all as the helper) or because it sends them anew (RFC 7313).
//!
//! One [`Retention`] per neighbor, a state for each family. Time is an argument; what it returns is
//! to be done to the tables, in the order given. Such routes are called stale; the tables mark them
//! ([`Rib::peer_lost`](crate::rib::Rib::peer_lost) and what follows there).
//!
//! What differs from the letter, all of it towards keeping less:
//! - A neighbor whose operator ended the session, or whose forwarding is known to be gone, is not
//!   waited for, whatever the N bit says (RFC 8538 §4 would).
//! - Whatever the neighbor asks for, our [`Limits`] bound it.

use std::time::Duration;

use crate::Family;
use crate::iana::{cease_subcode, error_code};
use crate::message::Notification;
use crate::session::{DownReason, Established};
use crate::time::Instant;

/// A neighbor that announces a refresh must have ended it after so long (RFC 7313 §4 leaves the
/// time to us).
const REFRESH_TIME: Duration = Duration::from_secs(360);

/// How long we keep what a neighbor that restarts has sent, at most.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub struct Limits {
    /// Until it is back; then again as long until it has sent all (RFC 4724 §4.2). It bounds the
    /// time that the neighbor asks for.
    pub stale: Duration,
    /// After that, as a last resort (RFC 9494); zero: not at all.
    pub long_lived: Duration,
}

impl Default for Limits {
    /// Two minutes, as long as other implementations ask for by default; nothing long-lived.
    fn default() -> Self {
        Self { stale: Duration::from_secs(120), long_lived: Duration::ZERO }
    }
}

/// What is to be done to a neighbor's routes of a family.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Step {
    /// All of them are stale from now on.
    Mark(Family),
    /// Those that are stale are gone.
    Drop(Family),
    /// Those that are stale are a last resort from now on (RFC 9494 §4.2).
    LongLived(Family),
}

/// What is to be done when a session has ended.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Loss {
    /// To be done first.
    pub first: Vec<Step>,
    /// The families whose routes stay, stale; those of all others are gone.
    pub keep: Vec<Family>,
}

/// The state of one neighbor's routes.
#[derive(Clone, Debug)]
pub struct Retention {
    /// `None`: nothing is kept.
    limits: Option<Limits>,
    /// What the neighbor offered when it was last Established.
    terms: Terms,
    holds: [Hold; Family::ALL.len()],
}

/// What a neighbor asks us to keep.
#[derive(Clone, Copy, Debug, Default)]
struct Terms {
    /// Both ends have set the N bit (RFC 8538 §2).
    notification: bool,
    /// By family, those that it preserves.
    families: [Option<Times>; Family::ALL.len()],
}

/// For how long, within our limits.
#[derive(Clone, Copy, Debug)]
struct Times {
    restart: Duration,
    long_lived: Duration,
}

/// The state of one family. A time exists only where something ends.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
enum Hold {
    /// No route is stale.
    #[default]
    Nothing,
    /// The session is down; then a last resort for some time or until some time.
    Restarting { until: Instant, then: Then },
    /// The session is up again: stale is what was not sent again.
    Syncing { until: Instant },
    /// The routes are a last resort, whether the session is down or the neighbor sends anew.
    LongLived { until: Instant },
    /// Between the beginning and the end of a refresh.
    Refreshing { until: Instant },
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Then {
    Gone,
    LongLivedFor(Duration),
    /// RFC 9494 §4.2: a further loss before all was sent does not begin the time anew.
    LongLivedUntil(Instant),
}

impl Retention {
    /// For a neighbor of which nothing is known yet; without limits nothing is ever kept when its
    /// session ends.
    #[must_use]
    pub fn new(limits: Option<Limits>) -> Self {
        Self { limits, terms: Terms::default(), holds: [Hold::Nothing; Family::ALL.len()] }
    }

    /// The session is Established. Stale routes stay only in families whose forwarding the neighbor
    /// says to have preserved (RFC 4724 §4.2, RFC 9494 §4.2).
    pub fn handle_established(&mut self, now: Instant, link: &Established) -> Vec<Step> {
        let Some(limits) = self.limits else { return Vec::new() };
        let restart = link.peer_capabilities.graceful_restart.as_ref();
        let long_lived = link.peer_capabilities.long_lived_graceful_restart.as_deref();
        let preserved = |family| {
            let families = restart.map(|restart| restart.families.as_slice()).unwrap_or_default();
            families.iter().find(|one| one.family == family)
        };
        let long = |family| {
            // Without Graceful Restart the other capability says nothing (RFC 9494 §3.1).
            let families = long_lived.filter(|_| restart.is_some()).unwrap_or_default();
            families.iter().find(|one| one.family == family)
        };
        self.terms.notification = restart.is_some_and(|restart| restart.notification);
        let mut steps = Vec::new();
        for family in Family::ALL {
            let spoken = link.families.contains(&family);
            let preserved = preserved(family).filter(|_| spoken);
            let long = long(family).filter(|_| spoken);
            let hold = &mut self.holds[family as usize];
            let (stays, next) = match *hold {
                Hold::Restarting { .. } => (
                    preserved.is_some_and(|one| one.forwarding),
                    Hold::Syncing { until: now + limits.stale },
                ),
                Hold::LongLived { .. } => (long.is_some_and(|one| one.forwarding), *hold),
                Hold::Nothing | Hold::Syncing { .. } | Hold::Refreshing { .. } => {
                    (true, Hold::Nothing)
                }
            };
            if stays {
                *hold = next;
            } else {
                *hold = Hold::Nothing;
                steps.push(Step::Drop(family));
            }
            let restart_time = restart.map(|restart| restart.restart_time).unwrap_or_default();
            let offered = preserved.is_some() || long.is_some();
            self.terms.families[family as usize] = offered.then(|| Times {
                restart: if preserved.is_some() {
                    restart_time.min(limits.stale)
                } else {
                    Duration::ZERO
                },
                long_lived: long
                    .map(|one| one.stale_time.min(limits.long_lived))
                    .unwrap_or_default(),
            });
        }
        steps
    }

    /// The session is no longer Established; `dead`: the neighbor's forwarding is known to be gone,
    /// as its interface or BFD is down.
    pub fn handle_down(&mut self, now: Instant, reason: &DownReason, dead: bool) -> Loss {
        let waits = self.limits.is_some() && !dead && self.is_worth_waiting(reason);
        let mut loss = Loss::default();
        for family in Family::ALL {
            let hold = &mut self.holds[family as usize];
            let times = self.terms.families[family as usize]
                .filter(|times| waits && !(times.restart.is_zero() && times.long_lived.is_zero()));
            let Some(times) = times else {
                *hold = Hold::Nothing;
                continue;
            };
            let then = match *hold {
                // A second loss before the End-of-RIB: what was stale is gone (RFC 4724 §4.2).
                Hold::Syncing { .. } => {
                    loss.first.push(Step::Drop(family));
                    Then::after(times)
                }
                Hold::LongLived { until } => Then::LongLivedUntil(until),
                Hold::Nothing | Hold::Refreshing { .. } | Hold::Restarting { .. } => {
                    Then::after(times)
                }
            };
            let until = match then {
                Then::LongLivedUntil(until) => until.min(now + times.restart),
                Then::Gone | Then::LongLivedFor(_) => now + times.restart,
            };
            *hold = Hold::Restarting { until, then };
            loss.keep.push(family);
        }
        loss
    }

    /// Whether a neighbor whose session ended so may come back soon, its forwarding intact.
    fn is_worth_waiting(&self, reason: &DownReason) -> bool {
        match reason {
            DownReason::ConnectionClosed | DownReason::DialFailed => true,
            // RFC 4724 §4: with a NOTIFICATION all is over; RFC 8538 §4: with the N bit only if it
            // is a Hard Reset. We send a Cease only where we want no more of the neighbor.
            DownReason::Sent(notification) => {
                self.terms.notification && notification.code != error_code::CEASE
            }
            DownReason::Received(notification) => {
                self.terms.notification && !is_final(notification)
            }
        }
    }

    /// The neighbor has sent all that it has of a family.
    pub fn handle_end_of_rib(&mut self, family: Family) -> Option<Step> {
        let hold = &mut self.holds[family as usize];
        let ends = matches!(hold, Hold::Syncing { .. } | Hold::LongLived { .. });
        ends.then(|| {
            *hold = Hold::Nothing;
            Step::Drop(family)
        })
    }

    /// The neighbor begins to send all that it has of a family (RFC 7313 §4). Before its
    /// End-of-RIB that changes nothing.
    pub fn handle_beginning_of_refresh(&mut self, now: Instant, family: Family) -> Option<Step> {
        let hold = &mut self.holds[family as usize];
        let begins = matches!(hold, Hold::Nothing | Hold::Refreshing { .. });
        begins.then(|| {
            *hold = Hold::Refreshing { until: now + REFRESH_TIME };
            Step::Mark(family)
        })
    }

    /// It has sent it all; an end without a beginning means nothing.
    pub fn handle_end_of_refresh(&mut self, family: Family) -> Option<Step> {
        let hold = &mut self.holds[family as usize];
        matches!(hold, Hold::Refreshing { .. }).then(|| {
            *hold = Hold::Nothing;
            Step::Drop(family)
        })
    }

    /// Nobody waits for the neighbor any more.
    pub fn give_up(&mut self) {
        self.holds = [Hold::Nothing; Family::ALL.len()];
    }

    /// Does all that is due.
    pub fn handle_timeout(&mut self, now: Instant) -> Vec<Step> {
        let mut steps = Vec::new();
        for family in Family::ALL {
            let hold = &mut self.holds[family as usize];
            if hold.until().is_none_or(|until| until > now) {
                continue;
            }
            let long_lived_until = match *hold {
                Hold::Restarting { then: Then::LongLivedFor(time), .. } => Some(now + time),
                Hold::Restarting { then: Then::LongLivedUntil(until), .. } => Some(until),
                _ => None,
            };
            if let Some(until) = long_lived_until.filter(|until| *until > now) {
                *hold = Hold::LongLived { until };
                steps.push(Step::LongLived(family));
            } else {
                *hold = Hold::Nothing;
                steps.push(Step::Drop(family));
            }
        }
        steps
    }

    /// When [`handle_timeout`](Self::handle_timeout) must next be called, if ever.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Instant> {
        self.holds.iter().filter_map(Hold::until).min()
    }

    /// What becomes of a family's stale routes, in words, and when; `None`: none are stale.
    #[must_use]
    pub fn state(&self, family: Family) -> Option<(&'static str, Instant)> {
        let hold = &self.holds[family as usize];
        let words = match hold {
            Hold::Nothing => return None,
            Hold::Restarting { .. } => "kept while it restarts",
            Hold::Syncing { .. } => "kept until it has sent all again",
            Hold::LongLived { .. } => "kept as a last resort",
            Hold::Refreshing { .. } => "being refreshed",
        };
        Some((words, hold.until()?))
    }
}

/// Whether the neighbor will not come back as it was, or not soon.
fn is_final(notification: &Notification) -> bool {
    notification.code == error_code::CEASE
        && matches!(
            notification.subcode,
            cease_subcode::HARD_RESET
                | cease_subcode::MAXIMUM_NUMBER_OF_PREFIXES_REACHED
                | cease_subcode::ADMINISTRATIVE_SHUTDOWN
                | cease_subcode::PEER_DE_CONFIGURED
                | cease_subcode::BFD_DOWN
        )
}

impl Then {
    fn after(times: Times) -> Self {
        if times.long_lived.is_zero() { Self::Gone } else { Self::LongLivedFor(times.long_lived) }
    }
}

impl Hold {
    const fn until(&self) -> Option<Instant> {
        match self {
            Self::Nothing => None,
            Self::Restarting { until, .. }
            | Self::Syncing { until }
            | Self::LongLived { until }
            | Self::Refreshing { until } => Some(*until),
        }
    }
}

#[cfg(test)]
mod tests;

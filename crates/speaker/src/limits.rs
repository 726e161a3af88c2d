//! What follows when a neighbor sends more than its limit: a warning, or the end of its session
//! for a while.

use anycast_bgp::iana::cease_subcode;
use anycast_bgp::rib::{Event, PeerId};
use anycast_bgp::time::Instant;
use tracing::warn;

use crate::config::AtLimit;
use crate::driver::Driver;
use crate::peer::Peer;
use crate::speaker::SpeakerEvent;

/// Why a session rests, and until when.
#[derive(Clone, Debug)]
pub(crate) struct Held {
    /// In words.
    pub(crate) why: String,
    /// `None`: until an operator clears it.
    pub(crate) until: Option<Instant>,
}

impl Driver {
    /// Carries out what the tables found of limits. At once after each UPDATE: a neighbor that
    /// sends too much is not to send all of it.
    pub(crate) fn heed_limits(&mut self) {
        while let Some(event) = self.rib.poll_event() {
            match event {
                Event::PrefixWarning { peer, received } => {
                    let limit = self.rib.limits(peer).prefixes;
                    let of = limit.map_or_else(String::new, |limit| format!(" of {limit} allowed"));
                    self.warn_of_limit(peer, format!("{received} prefixes{of}"));
                }
                Event::PrefixLimit { peer, limit } => self.over_limit(peer, limit),
            }
        }
    }

    fn warn_of_limit(&self, peer: PeerId, why: String) {
        let name = self.peers[peer.0 as usize].neighbor.name.clone();
        warn!(neighbor = name, "prefix limit: {why}");
        self.report(SpeakerEvent::NeighborLimit { name, why });
    }

    fn over_limit(&mut self, id: PeerId, limit: usize) {
        let now = self.now();
        let peer = &mut self.peers[id.0 as usize];
        let why = format!("more than {limit} prefixes");
        let AtLimit::End { restart_after } = peer.neighbor.at_limit else {
            return self.warn_of_limit(id, why);
        };
        peer.cause = Some(match restart_after {
            Some(after) => format!("{why}; the session rests for {after:?}"),
            None => format!("{why}; the session rests until it is cleared"),
        });
        let until = restart_after.map(|after| now + after);
        peer.held = Some(Held { why: why.clone(), until });
        peer.session.handle_stop(now, cease_subcode::MAXIMUM_NUMBER_OF_PREFIXES_REACHED, "");
        self.warn_of_limit(id, why);
    }
}

impl Peer {
    /// When the driver must look at it again, if ever.
    pub(crate) fn wake(&self) -> Option<Instant> {
        let held = self.held.as_ref().and_then(|held| held.until);
        let faults = self.faults.poll_timeout();
        self.session.poll_timeout().into_iter().chain(held).chain(faults).min()
    }

    /// Starts a session that has rested for long enough.
    pub(crate) fn end_hold(&mut self, now: Instant) {
        if self.held.as_ref().and_then(|held| held.until).is_some_and(|until| until <= now) {
            self.held = None;
            if self.enabled {
                self.session.handle_start(now);
            }
        }
    }

    /// Why the session rests and for how long yet, in words, if it does.
    pub(crate) fn held_in_words(&self, now: Instant) -> Option<String> {
        let held = self.held.as_ref()?;
        let name = &self.neighbor.name;
        let rest = held.until.map(|until| (until - now).as_secs_f64().ceil());
        Some(match rest {
            Some(seconds) => format!(
                "{}: rests for {seconds} s more; `anycast neighbor {name} clear` starts it now",
                held.why
            ),
            None => format!("{}: rests until `anycast neighbor {name} clear`", held.why),
        })
    }
}

//! A session that goes on in another process: the neighbor notices nothing but slower packets.
//!
//! Before it is carried over, [`Session::slow_down`] has the neighbor agree to a longer Detection
//! Time by a Poll Sequence (RFC 5880 §6.8.3); once it has confirmed that, there is time to change
//! the process. The session that goes on returns to its own intervals in the same way.

use std::num::{NonZeroU8, NonZeroU32};
use std::time::Duration;

use crate::iana::{Diagnostic, State};
use crate::packet::Interval;
use crate::time::Instant;

use super::{Config, Phase, Remote, SLOW_INTERVAL, Session, Timing, slow};

/// How long the neighbor bears our silence once it has confirmed that we are slower.
const PATIENCE: Duration = Duration::from_secs(3);

/// What another process needs to go on with a session that is Up. Intervals are in microseconds.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Carried {
    /// bfd.LocalDiscr.
    pub local_discriminator: NonZeroU32,
    /// bfd.RemoteDiscr.
    pub remote_discriminator: NonZeroU32,
    /// The neighbor's Detect Mult.
    pub multiplier: NonZeroU8,
    /// Its Desired Min TX Interval.
    pub desired_min_tx: u32,
    /// bfd.RemoteMinRxInterval.
    pub required_min_rx: u32,
    /// Whether it has demand mode on.
    pub demand: bool,
}

impl Session {
    /// Asks the neighbor to bear three seconds of silence; until it has agreed we go on as before.
    pub fn slow_down(&mut self, now: Instant) {
        let multiplier = self.config.multiplier;
        let interval = SLOW_INTERVAL.max(PATIENCE / u32::from(multiplier.get()));
        let interval = interval.max(self.config.desired_min_tx);
        self.set_timing(now, interval, self.config.required_min_rx, multiplier);
    }

    /// Whether the neighbor knows our intervals, as far as there is one.
    #[must_use]
    pub fn is_confirmed(&self) -> bool {
        self.state() != State::Up
            || (self.timing.tx_in_use, self.timing.rx_in_use)
                == (self.timing.desired_min_tx, self.timing.required_min_rx)
    }

    /// What the session needs to go on elsewhere, while it is Up.
    #[must_use]
    pub fn carry(&self) -> Option<Carried> {
        let (State::Up, Some(remote)) = (self.state(), self.remote) else { return None };
        Some(Carried {
            local_discriminator: self.config.local_discriminator,
            remote_discriminator: remote.discriminator,
            multiplier: remote.multiplier,
            desired_min_tx: remote.desired_min_tx.0,
            required_min_rx: remote.required_min_rx.0,
            demand: remote.demand,
        })
    }

    /// A session that was Up elsewhere and is from the start. The discriminator of `config` gives
    /// way to the one that the neighbor knows; that it was heard is taken to be now.
    #[must_use]
    pub fn resume(now: Instant, mut config: Config, carried: &Carried) -> Self {
        config.local_discriminator = carried.local_discriminator;
        let mut session = Self::new(config);
        session.seen = now;
        session.phase = Phase::Up { since: now };
        session.counters.ups = 1;
        session.remote = Some(Remote {
            discriminator: carried.remote_discriminator,
            state: State::Up,
            diagnostic: Diagnostic::NONE,
            demand: carried.demand,
            multiplier: carried.multiplier,
            desired_min_tx: Interval(carried.desired_min_tx),
            required_min_rx: Interval(carried.required_min_rx),
            heard_at: now,
        });
        // As they were told last: slow, until the neighbor hears better.
        let told = slow(session.timing.desired_min_tx);
        session.timing = Timing { desired_min_tx: told, tx_in_use: told, ..session.timing };
        session.adopt();
        session
    }
}

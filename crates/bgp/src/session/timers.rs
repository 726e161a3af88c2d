//! The timers of an agreed session, and the back-off between attempts.

use std::time::Duration;

use crate::time::Instant;

/// HoldTimer and KeepaliveTimer; a hold time of zero stops both (RFC 4271 §4.2).
#[derive(Clone, Copy, Debug)]
pub(super) enum Timers {
    Off,
    On { hold_time: Duration, hold_at: Instant, keepalive_at: Instant },
}

impl Timers {
    /// The timers after we sent a KEEPALIVE in answer to an OPEN.
    pub(super) fn start(now: Instant, hold_time: Duration) -> Self {
        if hold_time.is_zero() {
            return Self::Off;
        }
        Self::On { hold_time, hold_at: now + hold_time, keepalive_at: now + hold_time / 3 }
    }

    /// A KEEPALIVE or an UPDATE came in.
    pub(super) fn heard(&mut self, now: Instant) {
        if let Self::On { hold_time, hold_at, .. } = self {
            *hold_at = now + *hold_time;
        }
    }

    /// A KEEPALIVE or an UPDATE went out.
    pub(super) fn spoke(&mut self, now: Instant) {
        if let Self::On { hold_time, keepalive_at, .. } = self {
            *keepalive_at = now + *hold_time / 3;
        }
    }

    pub(super) fn hold_is_over(&self, now: Instant) -> bool {
        matches!(self, Self::On { hold_at, .. } if *hold_at <= now)
    }

    pub(super) fn is_keepalive_due(&self, now: Instant) -> bool {
        matches!(self, Self::On { keepalive_at, .. } if *keepalive_at <= now)
    }

    pub(super) fn next(&self) -> Option<Instant> {
        self.due().map(|(hold_at, keepalive_at)| hold_at.min(keepalive_at))
    }

    /// When the HoldTimer and the KeepaliveTimer fire.
    pub(super) const fn due(&self) -> Option<(Instant, Instant)> {
        match self {
            Self::Off => None,
            Self::On { hold_at, keepalive_at, .. } => Some((*hold_at, *keepalive_at)),
        }
    }
}

/// How long to wait before the next attempt: doubling, with the jitter of RFC 4271 §10.
#[derive(Debug)]
pub(super) struct BackOff {
    base: Duration,
    step: Duration,
    random: u64,
}

impl BackOff {
    /// No wait is shorter, whatever the configuration: a session must not spin.
    const LEAST: Duration = Duration::from_millis(10);
    /// No wait is longer, unless the first one is.
    const MOST: Duration = Duration::from_secs(120);

    pub(super) fn new(base: Duration, seed: u64) -> Self {
        let base = base.max(Self::LEAST);
        Self { base, step: base, random: seed }
    }

    /// The first wait, without jitter.
    pub(super) const fn base(&self) -> Duration {
        self.base
    }

    /// The next wait, without jitter.
    pub(super) const fn step(&self) -> Duration {
        self.step
    }

    pub(super) const fn reset(&mut self) {
        self.step = self.base;
    }

    /// The next wait: 75 to 100 % of a step that then doubles.
    pub(super) fn next(&mut self) -> Duration {
        // Steele, Lea, Flood, "Fast Splittable Pseudorandom Number Generators": SplitMix64.
        self.random = self.random.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.random ^ (self.random >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        let mixed = mixed ^ (mixed >> 31);
        let thousandths = 750 + u32::try_from(mixed % 251).unwrap_or_default();
        let wait = self.step.saturating_mul(thousandths) / 1000;
        self.step = self.step.saturating_mul(2).min(Self::MOST.max(self.base));
        wait
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_up_to_two_minutes_with_a_quarter_of_jitter_at_most() {
        for seed in 0..1000 {
            let mut back_off = BackOff::new(Duration::from_secs(1), seed);
            for round in 0..2 {
                for step in [1, 2, 4, 8, 16, 32, 64, 120, 120, 120] {
                    let step = Duration::from_secs(step);
                    let wait = back_off.next();
                    assert!((step * 3 / 4..=step).contains(&wait), "{round} {step:?} {wait:?}");
                }
                back_off.reset();
            }
        }
    }

    #[test]
    fn seeds_differ_and_repeat() {
        let first = |seed| BackOff::new(Duration::from_secs(1), seed).next();
        assert_eq!(first(1), first(1));
        assert!((0..20).any(|seed| first(seed) != first(20)));
    }

    #[test]
    fn no_configuration_makes_it_spin_or_overflow() {
        for base in [Duration::ZERO, Duration::MAX / 4000, Duration::from_secs(3600)] {
            let mut back_off = BackOff::new(base, 7);
            for _ in 0..200 {
                assert!(back_off.next() >= BackOff::LEAST * 3 / 4);
            }
        }
    }
}

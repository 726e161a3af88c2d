//! Damping: what falls too often stays down for a while.
//!
//! Each fall adds [`FALL`] to a penalty that halves with time; beyond one threshold the thing is
//! suppressed, and below another it is free again (RFC 2439 §4.2 for routes; here for services
//! and prefixes at their source).

use std::time::Duration;

use serde::Serialize;

use crate::Instant;

/// What one fall adds.
pub const FALL: f64 = 1000.0;

/// When flapping is damped. Penalties are in [`FALL`]s of 1000.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize)]
pub struct Damping {
    /// The time in which a penalty halves; not zero.
    pub half_life: Duration,
    /// Suppressed from this penalty on.
    pub suppress: u32,
    /// Free again below this one; less than `suppress`, not zero.
    pub reuse: u32,
    /// The longest that anything is suppressed after its last fall.
    pub max: Duration,
}

impl Default for Damping {
    /// Five falls within about a minute suppress; ten minutes at most.
    fn default() -> Self {
        Self {
            half_life: Duration::from_secs(60),
            suppress: 4500,
            reuse: 1500,
            max: Duration::from_secs(600),
        }
    }
}

/// The penalty of one service or prefix.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Penalty {
    value: f64,
    at: Option<Instant>,
    pub(crate) suppressed: bool,
}

impl Penalty {
    /// The penalty at `now`.
    pub(crate) fn value(&self, damping: &Damping, now: Instant) -> f64 {
        let Some(at) = self.at else { return 0.0 };
        let halves = (now - at).as_secs_f64() / damping.half_life.as_secs_f64();
        self.value * (-halves).exp2()
    }

    /// A fall; returns whether it newly suppresses.
    pub(crate) fn add(&mut self, damping: &Damping, now: Instant) -> bool {
        let halves = damping.max.as_secs_f64() / damping.half_life.as_secs_f64();
        let ceiling = f64::from(damping.reuse) * halves.exp2();
        self.value = (self.value(damping, now) + FALL).min(ceiling.max(FALL));
        self.at = Some(now);
        let newly = !self.suppressed && self.value >= f64::from(damping.suppress);
        self.suppressed |= newly;
        newly
    }

    /// When it is free again; `None`: it is.
    pub(crate) fn free_at(&self, damping: &Damping) -> Option<Instant> {
        let at = self.at.filter(|_| self.suppressed)?;
        let halves = (self.value / f64::from(damping.reuse)).log2().max(0.0);
        Some(at + damping.half_life.mul_f64(halves))
    }

    /// Frees it if its time has come; returns whether it did.
    pub(crate) fn free(&mut self, damping: &Damping, now: Instant) -> bool {
        let due = self.free_at(damping).is_some_and(|at| at <= now);
        self.suppressed &= !due;
        due
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64) -> Instant {
        Instant::START + Duration::from_secs(seconds)
    }

    #[test]
    fn the_fifth_fall_in_a_row_suppresses_and_time_frees() {
        let damping = Damping::default();
        let mut penalty = Penalty::default();
        let newly: Vec<bool> = (0..6).map(|_| penalty.add(&damping, at(0))).collect();
        assert_eq!(newly, [false, false, false, false, true, false]);
        // Six falls: 6000 to 1500 is two half-lives.
        assert_eq!(penalty.free_at(&damping), Some(at(120)));
        assert!(!penalty.free(&damping, at(119)));
        assert!(penalty.free(&damping, at(120)));
        assert_eq!(penalty.free_at(&damping), None);
    }

    #[test]
    fn falls_far_apart_are_borne_for_ever() {
        let damping = Damping::default();
        let mut penalty = Penalty::default();
        assert!((0..100).all(|n| !penalty.add(&damping, at(n * 24))));
    }

    #[test]
    fn nothing_is_suppressed_for_longer_than_the_most() {
        let damping = Damping { max: Duration::from_secs(180), ..Damping::default() };
        let mut penalty = Penalty::default();
        for _ in 0..10_000 {
            penalty.add(&damping, at(0));
        }
        assert_eq!(penalty.free_at(&damping), Some(at(180)));
    }
}

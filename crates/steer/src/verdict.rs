//! The verdict of one check: a run of equal results against its thresholds.

use serde::Serialize;

use crate::{Instant, Thresholds};

/// What is held of a check or a service.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Verdict {
    /// Not yet proven healthy; counts as down.
    Unproven,
    /// Healthy.
    Up,
    /// Was tried and failed, or was up once.
    Down,
}

/// One check's memory.
#[derive(Clone, Debug)]
pub(crate) struct Tally {
    thresholds: Thresholds,
    pub(crate) verdict: Verdict,
    pub(crate) since: Instant,
    pub(crate) passes: u32,
    pub(crate) fails: u32,
    pub(crate) last_failure: Option<String>,
}

impl Tally {
    /// Healthy only once proven.
    pub(crate) fn new(thresholds: Thresholds) -> Self {
        Self {
            thresholds,
            verdict: Verdict::Unproven,
            since: Instant::START,
            passes: 0,
            fails: 0,
            last_failure: None,
        }
    }

    /// Counts a pass; it turns the verdict up at the `rise`th in a row.
    pub(crate) fn pass(&mut self, now: Instant) {
        self.passes = self.passes.saturating_add(1);
        self.fails = 0;
        if self.passes >= self.thresholds.rise {
            self.turn(now, Verdict::Up);
        }
    }

    /// Counts a failure; it turns the verdict down at the `fall`th in a row.
    pub(crate) fn fail(&mut self, now: Instant, why: String) {
        self.fails = self.fails.saturating_add(1);
        self.passes = 0;
        self.last_failure = Some(why);
        if self.fails >= self.thresholds.fall {
            self.turn(now, Verdict::Down);
        }
    }

    /// Down at once and to be proven from zero.
    pub(crate) fn drop_to_zero(&mut self, now: Instant, why: &str) {
        self.passes = 0;
        self.fails = 0;
        self.last_failure = Some(why.to_owned());
        self.turn(now, Verdict::Down);
    }

    fn turn(&mut self, now: Instant, verdict: Verdict) {
        if self.verdict != verdict {
            self.verdict = verdict;
            self.since = now;
        }
    }
}

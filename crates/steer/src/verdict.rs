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
    /// When the passes in a row began.
    rising_since: Option<Instant>,
    /// Not held against a service that was up before the check came to it, until it has failed
    /// `fall` times.
    pub(crate) excused: bool,
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
            rising_since: None,
            excused: false,
        }
    }

    /// From now on by these thresholds.
    pub(crate) fn set_thresholds(&mut self, thresholds: Thresholds) {
        self.thresholds = thresholds;
    }

    /// Whether it keeps its service up.
    pub(crate) fn counts_as_up(&self) -> bool {
        self.verdict == Verdict::Up || self.excused
    }

    /// Counts a pass. The verdict turns up at the `rise`th in a row; if it was down before, not
    /// before they have gone on for `rise_for`.
    pub(crate) fn pass(&mut self, now: Instant) {
        self.passes = self.passes.saturating_add(1);
        self.fails = 0;
        let began = *self.rising_since.get_or_insert(now);
        let long_enough = self.verdict != Verdict::Down || now - began >= self.thresholds.rise_for;
        if self.passes >= self.thresholds.rise && long_enough {
            self.turn(now, Verdict::Up);
        }
    }

    /// Counts a failure; it turns the verdict down at the `fall`th in a row.
    pub(crate) fn fail(&mut self, now: Instant, why: String) {
        self.fails = self.fails.saturating_add(1);
        self.passes = 0;
        self.rising_since = None;
        self.last_failure = Some(why);
        if self.fails >= self.thresholds.fall {
            self.turn(now, Verdict::Down);
        }
    }

    /// Down at once and to be proven from zero.
    pub(crate) fn drop_to_zero(&mut self, now: Instant, why: &str) {
        self.passes = 0;
        self.fails = 0;
        self.rising_since = None;
        self.last_failure = Some(why.to_owned());
        self.turn(now, Verdict::Down);
    }

    fn turn(&mut self, now: Instant, verdict: Verdict) {
        self.excused = false;
        if self.verdict != verdict {
            self.verdict = verdict;
            self.since = now;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn at(seconds: u64) -> Instant {
        Instant::START + Duration::from_secs(seconds)
    }

    #[test]
    fn a_fresh_check_rises_by_count_and_one_that_fell_also_by_time() {
        let rise_for = Duration::from_secs(10);
        let mut tally = Tally::new(Thresholds { rise: 2, fall: 1, rise_for });
        tally.pass(at(0));
        tally.pass(at(0));
        assert_eq!(tally.verdict, Verdict::Up);
        tally.fail(at(1), "refused".to_owned());
        for second in 2..12 {
            tally.pass(at(second));
            assert_eq!(tally.verdict, Verdict::Down, "second {second}");
        }
        tally.pass(at(12));
        assert_eq!(tally.verdict, Verdict::Up);
        tally.fail(at(13), "refused".to_owned());
        tally.pass(at(14));
        tally.fail(at(15), "refused".to_owned());
        tally.pass(at(16));
        tally.pass(at(25));
        assert_eq!(tally.verdict, Verdict::Down, "a failure between starts the time anew");
        tally.pass(at(26));
        assert_eq!(tally.verdict, Verdict::Up);
    }
}

//! One service: its checks' verdicts, its process, its penalty.

use crate::penalty::Penalty;
use crate::status::{CheckStatus, ServiceStatus};
use crate::verdict::Tally;
use crate::{Instant, ServiceSpec, Verdict};

#[derive(Clone, Debug)]
pub(crate) struct Service {
    pub(crate) spec: ServiceSpec,
    /// In the order of the specification's checks.
    pub(crate) tallies: Vec<Tally>,
    pub(crate) verdict: Verdict,
    pub(crate) since: Instant,
    /// How its process died, until a check passes again.
    pub(crate) gone: Option<String>,
    pub(crate) penalty: Penalty,
}

/// How a service's verdict turned.
pub(crate) enum Turn {
    Up,
    Down(String),
}

impl Service {
    pub(crate) fn new(spec: ServiceSpec) -> Self {
        Self {
            tallies: spec.checks.iter().map(|check| Tally::new(check.thresholds)).collect(),
            spec,
            verdict: Verdict::Unproven,
            since: Instant::START,
            gone: None,
            penalty: Penalty::default(),
        }
    }

    /// Takes over what the same service had shown before its specification changed. A check that
    /// is new to a service that is up is not held against it before it has failed.
    pub(crate) fn continue_from(&mut self, old: &Self) {
        self.verdict = old.verdict;
        self.since = old.since;
        self.gone.clone_from(&old.gone);
        self.penalty = old.penalty;
        self.penalty.suppressed &= self.spec.damping.is_some();
        for (check, tally) in self.spec.checks.iter().zip(&mut self.tallies) {
            let before = old.spec.checks.iter().position(|it| it.name == check.name);
            match before {
                Some(index) => {
                    *tally = old.tallies[index].clone();
                    tally.set_thresholds(check.thresholds);
                }
                None => tally.excused = old.verdict == Verdict::Up,
            }
        }
    }

    /// Why the service is not up, or nothing.
    pub(crate) fn why(&self) -> Option<String> {
        if let Some(why) = &self.gone {
            return Some(why.clone());
        }
        let checks = self.spec.checks.iter().zip(&self.tallies);
        let down = checks.into_iter().find(|(_, tally)| !tally.counts_as_up());
        if let Some((check, tally)) = down {
            let name = &check.name;
            return Some(match &tally.last_failure {
                Some(why) => format!("check {name}: {why}"),
                None => format!("check {name} has not passed often enough yet"),
            });
        }
        self.penalty.suppressed.then(|| "damped: it fell too often".to_owned())
    }

    /// The same with the service's name.
    pub(crate) fn obstacle(&self) -> Option<String> {
        self.why().map(|why| format!("service {}: {why}", self.spec.name))
    }

    /// Draws the verdict from the checks; returns how it turned, if it did.
    pub(crate) fn judge(&mut self, now: Instant) -> Option<Turn> {
        match (self.why(), self.verdict) {
            (None, Verdict::Unproven | Verdict::Down) => {
                self.verdict = Verdict::Up;
                self.since = now;
                Some(Turn::Up)
            }
            (Some(why), Verdict::Up) => {
                self.verdict = Verdict::Down;
                self.since = now;
                Some(Turn::Down(why))
            }
            (Some(_), Verdict::Unproven) => {
                // Never was up, so nothing hangs on it; but tried and failed is worth showing.
                let failed = self.tallies.iter().any(|tally| tally.verdict == Verdict::Down);
                if self.gone.is_some() || failed {
                    self.verdict = Verdict::Down;
                    self.since = now;
                }
                None
            }
            (None, Verdict::Up) | (Some(_), Verdict::Down) => None,
        }
    }

    pub(crate) fn status(&self, now: Instant) -> ServiceStatus {
        let damping = self.spec.damping.as_ref();
        let checks = self.spec.checks.iter().zip(&self.tallies);
        ServiceStatus {
            name: self.spec.name.clone(),
            verdict: self.verdict,
            since: self.since,
            why: self.why(),
            penalty: damping.map_or(0.0, |damping| self.penalty.value(damping, now)),
            damped_until: damping.and_then(|damping| self.penalty.free_at(damping)),
            checks: checks
                .map(|(check, tally)| CheckStatus {
                    name: check.name.clone(),
                    verdict: tally.verdict,
                    since: tally.since,
                    passes: tally.passes,
                    fails: tally.fails,
                    last_failure: tally.last_failure.clone(),
                })
                .collect(),
        }
    }
}

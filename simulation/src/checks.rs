//! Services and their checks, as `site::check::runner` runs them: without a pause until the
//! service was first up, then at the interval, a tenth of it more or less; at once and each
//! millisecond when a listening socket has died.
//!
//! A check whose result has been the same for so long that one more changes nothing sleeps until
//! something happens to its service.

use std::time::Duration;

use anycast_steer::Outcome;

use crate::plan::{CheckPlan, Health, Sabotage};
use crate::world::{Event, World};

/// One service at one site.
#[derive(Debug)]
pub(crate) struct Service {
    pub(crate) health: Health,
    /// Since when it cannot pass a check.
    pub(crate) unable_since: Option<Duration>,
    checks: Vec<Check>,
}

#[derive(Debug, Default)]
struct Check {
    /// Which start is valid; one that is not has been abandoned.
    run: u64,
    started: Duration,
    flying: bool,
    asleep: bool,
    /// How many results in a row were the same, since when, and which.
    same: u32,
    since: Duration,
    passed: Option<bool>,
    /// Failures to be confirmed without a pause.
    confirm: u32,
    proven: bool,
}

impl Service {
    pub(crate) fn new(checks: usize) -> Self {
        Self {
            health: Health::Well,
            unable_since: None,
            checks: (0..checks).map(|_| Check::default()).collect(),
        }
    }

    pub(crate) fn stop_checks(&mut self) {
        for check in &mut self.checks {
            *check = Check { run: check.run + 1, ..Check::default() };
        }
    }
}

impl World<'_> {
    pub(crate) fn start_checks(&mut self, site: usize) {
        for service in 0..self.sites[site].spec.services.len() {
            for check in 0..self.sites[site].spec.services[service].checks.len() {
                self.start_check(site, service, check, self.now);
            }
        }
    }

    /// After a reload each check runs anew, with nothing known of it.
    pub(crate) fn restart_checks(&mut self, site: usize) {
        for service in 0..self.sites[site].services.len() {
            for check in &mut self.sites[site].services[service].checks {
                let proven = check.proven;
                *check = Check { run: check.run + 1, proven, ..Check::default() };
            }
        }
        self.start_checks(site);
    }

    fn start_check(&mut self, site: usize, service: usize, check: usize, at: Duration) {
        let state = &mut self.sites[site].services[service].checks[check];
        state.run += 1;
        state.flying = false;
        state.asleep = false;
        let run = state.run;
        self.schedule(at, site, Event::CheckStarts { service, check, run });
    }

    pub(crate) fn set_health(&mut self, site: usize, service: usize, health: Health) {
        let before = self.sites[site].services[service].health;
        if before == health {
            return;
        }
        let state = &mut self.sites[site].services[service];
        state.health = health;
        state.unable_since = match health {
            Health::Well => None,
            _ => Some(state.unable_since.unwrap_or(self.now)),
        };
        if self.sites[site].steer.is_none() {
            return;
        }
        let latest = self.latest_fall(site, service);
        self.lasting(self.now + latest + crate::wire::CONVERGED, site, Event::Judge);
        let poked = self.plan.watched[service] && health == Health::Dead;
        for check in 0..self.sites[site].spec.services[service].checks.len() {
            let interval = self.plan.checks[service][check].interval;
            let fall = self.sites[site].spec.services[service].checks[check].thresholds.fall;
            let state = &mut self.sites[site].services[service].checks[check];
            state.same = 0;
            if poked {
                state.confirm = fall.max(1);
                self.start_check(site, service, check, self.now);
            } else if state.asleep {
                // Where in its interval it is when this happens is chance.
                let per_mille = u32::try_from(self.dice.below(1101)).unwrap_or_default();
                let at = self.now + self.sites[site].lasts(interval * per_mille / 1000);
                self.start_check(site, service, check, at);
            }
        }
    }

    pub(crate) fn check_starts(&mut self, site: usize, service: usize, check: usize, run: u64) {
        let plan = self.plan.checks[service][check];
        let state = &mut self.sites[site].services[service].checks[check];
        if state.run != run {
            return;
        }
        state.started = self.now;
        state.flying = true;
        let takes = match self.sites[site].services[service].health {
            // Refused at once.
            Health::Dead => plan.latency / 2,
            Health::Well => plan.latency,
            Health::Frozen | Health::TooSlow => plan.timeout,
        };
        let takes = self.sites[site].lasts(takes);
        self.schedule(self.now + takes, site, Event::CheckEnds { service, check, run });
    }

    pub(crate) fn check_ends(&mut self, site: usize, service: usize, check: usize, run: u64) {
        let plan = self.plan.checks[service][check];
        let health = self.sites[site].services[service].health;
        let timeout = self.sites[site].lasts(plan.timeout);
        let state = &mut self.sites[site].services[service].checks[check];
        if state.run != run || !state.flying {
            return;
        }
        let ends = state.started + timeout;
        if matches!(health, Health::Frozen | Health::TooSlow) && ends > self.now {
            // It turned so while the check was under way.
            self.schedule(ends, site, Event::CheckEnds { service, check, run });
            return;
        }
        state.flying = false;
        let passed = health == Health::Well;
        if state.passed != Some(passed) || state.same == 0 {
            state.passed = Some(passed);
            state.same = 0;
            state.since = self.now;
        }
        state.same += 1;
        let words = match health {
            Health::Well => "",
            Health::Dead => "connection refused",
            Health::Frozen | Health::TooSlow => "no answer in time",
        };
        let clock = self.sites[site].clock(self.now);
        let hides = self.plan.sabotage == Some(Sabotage::HidesFailures) && !passed;
        if let Some(steer) = &mut self.sites[site].steer
            && !hides
        {
            let outcome = if passed { Outcome::Pass } else { Outcome::Fail(words.to_owned()) };
            steer.handle_result(clock, service, check, outcome);
        }
        self.pace(site, service, check, plan, passed);
    }

    /// When it runs next, if anything can come of it.
    fn pace(&mut self, site: usize, service: usize, check: usize, plan: CheckPlan, passed: bool) {
        let thresholds = self.sites[site].spec.services[service].checks[check].thresholds;
        let per_mille = 900 + u32::try_from(self.dice.below(201)).unwrap_or_default();
        let interval = self.sites[site].lasts(plan.interval * per_mille / 1000);
        let long = self.sites[site].lasts(thresholds.rise_for) + Duration::from_secs(1);
        let now = self.now;
        let state = &mut self.sites[site].services[service].checks[check];
        state.confirm = if passed { 0 } else { state.confirm.saturating_sub(1) };
        state.proven |= passed && state.same >= thresholds.rise;
        let enough = state.same > thresholds.rise.max(thresholds.fall);
        if enough && now > state.since + long && now + AWAKE < self.plan.end_at {
            state.asleep = true;
            return;
        }
        let at = if state.confirm > 0 || (passed && !state.proven) {
            now + Duration::from_millis(1)
        } else {
            (state.started + interval).max(now)
        };
        self.start_check(site, service, check, at);
    }

    /// How long after it can pass no more a service may count as up at most.
    pub(crate) fn latest_fall(&self, site: usize, service: usize) -> Duration {
        let checks = self.sites[site].spec.services[service].checks.iter().enumerate();
        let latest = checks.map(|(index, check)| {
            let plan = self.plan.checks[service][index];
            let interval = plan.interval * 11 / 10;
            let more = check.thresholds.fall.max(1) - 1;
            interval + interval.max(plan.timeout) * more + plan.timeout
        });
        let latest = latest.min().unwrap_or_default();
        self.sites[site].lasts(latest) + Duration::from_millis(5)
    }
}

/// Towards the end no check sleeps, so that what comes then comes from the checks as they are.
const AWAKE: Duration = Duration::from_secs(60);

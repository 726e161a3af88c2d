//! The state machine: outcomes of checks in, announcements and withdrawals out.

use std::collections::VecDeque;

use ipnet::IpNet;

use crate::verdict::Tally;
use crate::{
    CheckStatus, Instant, PrefixSpec, PrefixStatus, Require, ServiceSpec, ServiceStatus, SpecError,
    Status, Verdict,
};

/// What one run of a check found.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Outcome {
    /// As it should be.
    Pass,
    /// Not, and why, in words for an operator.
    Fail(String),
}

/// What the driver must now do or record, in the order given: a cause stands before its effect.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Action {
    /// The service became healthy.
    ServiceUp {
        /// Its index in the specification.
        service: usize,
    },
    /// The service stopped being healthy.
    ServiceDown {
        /// Its index in the specification.
        service: usize,
        /// The first of its checks that is down, or how it went.
        why: String,
    },
    /// Tell the neighbors of the prefix.
    Announce {
        /// The prefix.
        prefix: IpNet,
    },
    /// Withdraw the prefix from all neighbors.
    Withdraw {
        /// The prefix.
        prefix: IpNet,
        /// Which services are missing, and why.
        why: String,
    },
}

/// Steering of one site.
#[derive(Clone, Debug)]
pub struct Steer {
    services: Vec<Service>,
    prefixes: Vec<Prefix>,
    actions: VecDeque<Action>,
}

#[derive(Clone, Debug)]
struct Service {
    name: String,
    checks: Vec<(String, Tally)>,
    verdict: Verdict,
    since: Instant,
    /// How its process died, until a check passes again.
    gone: Option<String>,
}

#[derive(Clone, Debug)]
struct Prefix {
    net: IpNet,
    services: Vec<usize>,
    require: Require,
    announced: bool,
    since: Instant,
}

impl Steer {
    /// Starts with everything down and withdrawn: healthy only once proven. Only services
    /// without checks are up from the start, so there may be actions to poll at once.
    ///
    /// # Errors
    /// If two services share a name or a prefix stands for one that does not exist.
    pub fn new(services: Vec<ServiceSpec>, prefixes: Vec<PrefixSpec>) -> Result<Self, SpecError> {
        for (index, service) in services.iter().enumerate() {
            if services[..index].iter().any(|other| other.name == service.name) {
                return Err(SpecError::DuplicateService(service.name.clone()));
            }
        }
        let index_of = |prefix: IpNet, name: String| {
            services
                .iter()
                .position(|service| service.name == name)
                .ok_or(SpecError::UnknownService { prefix, service: name })
        };
        let prefixes = prefixes
            .into_iter()
            .map(|PrefixSpec { prefix, services, require }| {
                let services = services.into_iter().map(|name| index_of(prefix, name));
                let services = services.collect::<Result<_, _>>()?;
                Ok(Prefix {
                    net: prefix,
                    services,
                    require,
                    announced: false,
                    since: Instant::START,
                })
            })
            .collect::<Result<_, _>>()?;
        let services = services.into_iter().map(Service::new).collect::<Vec<_>>();
        let mut steer = Self { services, prefixes, actions: VecDeque::new() };
        for service in 0..steer.services.len() {
            steer.judge(Instant::START, service);
        }
        Ok(steer)
    }

    /// Takes in what a run of `check` of `service` found.
    ///
    /// # Panics
    /// If there is no such service or check.
    pub fn handle_result(&mut self, now: Instant, service: usize, check: usize, outcome: Outcome) {
        let (_, tally) = &mut self.services[service].checks[check];
        match outcome {
            Outcome::Pass => {
                tally.pass(now);
                self.services[service].gone = None;
            }
            Outcome::Fail(why) => tally.fail(now, why),
        }
        self.judge(now, service);
    }

    /// The service's own process died: it is down at once, whatever its thresholds, and every
    /// check must rise again from zero.
    ///
    /// # Panics
    /// If there is no such service.
    pub fn handle_gone(&mut self, now: Instant, service: usize, why: String) {
        let state = &mut self.services[service];
        for (_, tally) in &mut state.checks {
            tally.drop_to_zero(now, &why);
        }
        state.gone = Some(why);
        self.judge(now, service);
    }

    /// The service's own process runs again: one without checks is up at once, one with checks
    /// still has to prove it.
    ///
    /// # Panics
    /// If there is no such service.
    pub fn handle_back(&mut self, now: Instant, service: usize) {
        self.services[service].gone = None;
        self.judge(now, service);
    }

    /// The next thing to do, oldest first.
    pub fn poll_action(&mut self) -> Option<Action> {
        self.actions.pop_front()
    }

    /// How everything stands.
    pub fn status(&self) -> Status {
        Status {
            services: self.services.iter().map(Service::status).collect(),
            prefixes: self.prefixes.iter().map(|prefix| self.prefix_status(prefix)).collect(),
        }
    }

    /// Draws the service's verdict from its checks and, if it turned, steers every prefix that
    /// stands for it.
    fn judge(&mut self, now: Instant, service: usize) {
        let state = &mut self.services[service];
        let why = state.why();
        let turned = match (&why, state.verdict) {
            (None, Verdict::Unproven | Verdict::Down) => {
                state.verdict = Verdict::Up;
                self.actions.push_back(Action::ServiceUp { service });
                true
            }
            (Some(why), Verdict::Up) => {
                state.verdict = Verdict::Down;
                self.actions.push_back(Action::ServiceDown { service, why: why.clone() });
                true
            }
            (Some(_), Verdict::Unproven) => {
                // Never was up, so nothing hangs on it; but tried and failed is worth showing.
                if state.gone.is_some() || state.has_failed_check() {
                    state.verdict = Verdict::Down;
                    state.since = now;
                }
                false
            }
            (None, Verdict::Up) | (Some(_), Verdict::Down) => false,
        };
        if turned {
            state.since = now;
            for prefix in 0..self.prefixes.len() {
                if self.prefixes[prefix].services.contains(&service) {
                    self.steer(now, prefix);
                }
            }
        }
    }

    /// Moves one prefix to what is now wanted, if that differs from what is.
    fn steer(&mut self, now: Instant, index: usize) {
        let obstacle = self.obstacle(&self.prefixes[index]);
        let state = &mut self.prefixes[index];
        let prefix = state.net;
        let action = match (obstacle, state.announced) {
            (None, false) => Action::Announce { prefix },
            (Some(why), true) => Action::Withdraw { prefix, why },
            (None, true) | (Some(_), false) => return,
        };
        state.announced = !state.announced;
        state.since = now;
        self.actions.push_back(action);
    }

    /// Why `prefix` should not be announced, or nothing. The steps, in order:
    ///
    /// 1. enough of the services that it stands for are up.
    ///
    /// An operator's drain, damping and the fleet's floor are further steps of this function.
    fn obstacle(&self, prefix: &Prefix) -> Option<String> {
        let needed = prefix.require.needed(prefix.services.len());
        let missing: Vec<String> =
            prefix.services.iter().filter_map(|&index| self.services[index].obstacle()).collect();
        let up = prefix.services.len() - missing.len();
        if up >= needed {
            return None;
        }
        let missing = missing.join("; ");
        Some(match (prefix.services.len(), needed) {
            (0, _) => "it stands for no service".to_owned(),
            (total, needed) if total == needed => missing,
            (total, needed) => format!("{up} of {total} services up, {needed} needed: {missing}"),
        })
    }

    fn prefix_status(&self, prefix: &Prefix) -> PrefixStatus {
        PrefixStatus {
            prefix: prefix.net,
            services: prefix.services.iter().map(|&i| self.services[i].name.clone()).collect(),
            require: prefix.require,
            announced: prefix.announced,
            since: prefix.since,
            why: self.obstacle(prefix),
        }
    }
}

impl Service {
    fn new(spec: ServiceSpec) -> Self {
        Self {
            name: spec.name,
            checks: spec
                .checks
                .into_iter()
                .map(|check| (check.name, Tally::new(check.thresholds)))
                .collect(),
            verdict: Verdict::Unproven,
            since: Instant::START,
            gone: None,
        }
    }

    /// Why the service is not up, or nothing.
    fn why(&self) -> Option<String> {
        if let Some(why) = &self.gone {
            return Some(why.clone());
        }
        let (name, tally) = self.checks.iter().find(|(_, tally)| tally.verdict != Verdict::Up)?;
        Some(match &tally.last_failure {
            Some(why) => format!("check {name}: {why}"),
            None => format!("check {name} has not passed often enough yet"),
        })
    }

    /// The same with the service's name.
    fn obstacle(&self) -> Option<String> {
        self.why().map(|why| format!("service {}: {why}", self.name))
    }

    fn has_failed_check(&self) -> bool {
        self.checks.iter().any(|(_, tally)| tally.verdict == Verdict::Down)
    }

    fn status(&self) -> ServiceStatus {
        ServiceStatus {
            name: self.name.clone(),
            verdict: self.verdict,
            since: self.since,
            why: self.why(),
            checks: self
                .checks
                .iter()
                .map(|(name, tally)| CheckStatus {
                    name: name.clone(),
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

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::{CheckSpec, Thresholds};

    const V4: &str = "192.0.2.0/24";
    const V6: &str = "2001:db8:ac::/48";

    fn net(text: &str) -> IpNet {
        text.parse().unwrap()
    }

    fn at(seconds: u64) -> Instant {
        Instant::START + Duration::from_secs(seconds)
    }

    fn service(name: &str, checks: &[&str]) -> ServiceSpec {
        let thresholds = Thresholds { rise: 2, fall: 3 };
        let checks = checks.iter().map(|&name| CheckSpec { name: name.to_owned(), thresholds });
        ServiceSpec { name: name.to_owned(), checks: checks.collect() }
    }

    fn prefix(prefix: &str, services: &[&str], require: Require) -> PrefixSpec {
        let services = services.iter().map(|&name| name.to_owned()).collect();
        PrefixSpec { prefix: net(prefix), services, require }
    }

    /// One input, written short.
    #[derive(Clone, Copy)]
    enum Step {
        Pass(usize, usize),
        Fail(usize, usize),
        Gone(usize),
        Back(usize),
    }
    use Step::{Back, Fail, Gone, Pass};

    /// Feeds the steps a second apart and returns all actions in words.
    fn replay(steer: &mut Steer, steps: &[Step]) -> Vec<String> {
        let mut said = Vec::new();
        for (second, step) in (1..).zip(steps) {
            match *step {
                Pass(s, c) => steer.handle_result(at(second), s, c, Outcome::Pass),
                Fail(s, c) => {
                    steer.handle_result(at(second), s, c, Outcome::Fail("refused".to_owned()));
                }
                Gone(s) => steer.handle_gone(at(second), s, "exited with 1".to_owned()),
                Back(s) => steer.handle_back(at(second), s),
            }
            said.extend(drain(steer));
        }
        said
    }

    fn drain(steer: &mut Steer) -> Vec<String> {
        std::iter::from_fn(|| steer.poll_action())
            .map(|action| match action {
                Action::ServiceUp { service } => format!("up {service}"),
                Action::ServiceDown { service, why } => format!("down {service}: {why}"),
                Action::Announce { prefix } => format!("announce {prefix}"),
                Action::Withdraw { prefix, why } => format!("withdraw {prefix}: {why}"),
            })
            .collect()
    }

    /// What it shows, steps before, steps, all that they cause.
    type Row<'a> = (&'a str, &'a [Step], &'a [Step], Vec<String>);

    #[test]
    fn one_service_with_two_checks_carries_two_prefixes() {
        let announced = ["up 0", "announce 192.0.2.0/24", "announce 2001:db8:ac::/48"];
        let fell = |why: &str| {
            vec![
                format!("down 0: {why}"),
                format!("withdraw {V4}: service dns: {why}"),
                format!("withdraw {V6}: service dns: {why}"),
            ]
        };
        let rise = [Pass(0, 0), Pass(0, 1), Pass(0, 0), Pass(0, 1)];
        let table: &[Row] = &[
            ("one pass proves nothing", &[], &rise[..1], vec![]),
            ("one proven check is not the service", &[], &rise[..3], vec![]),
            ("the last check raises it", &[], &rise, announced.map(str::to_owned).to_vec()),
            (
                "a failure between starts the rise anew",
                &[],
                &[Pass(0, 0), Pass(0, 1), Pass(0, 1), Fail(0, 0), Pass(0, 0)],
                vec![],
            ),
            ("fewer than `fall` failures are borne", &rise, &[Fail(0, 1), Fail(0, 1)], vec![]),
            (
                "a pass between starts the fall anew",
                &rise,
                &[Fail(0, 1), Fail(0, 1), Pass(0, 1), Fail(0, 1), Fail(0, 1)],
                vec![],
            ),
            (
                "failures of different checks do not add up",
                &rise,
                &[Fail(0, 1), Fail(0, 1), Fail(0, 0), Fail(0, 0)],
                vec![],
            ),
            (
                "the `fall`th failure withdraws once",
                &rise,
                &[Fail(0, 1), Fail(0, 1), Fail(0, 1), Fail(0, 1)],
                fell("check 1: refused"),
            ),
            (
                "a second check's fall changes nothing",
                &[&rise[..], &[Fail(0, 1), Fail(0, 1), Fail(0, 1)]].concat(),
                &[Fail(0, 0), Fail(0, 0), Fail(0, 0)],
                vec![],
            ),
            ("a death is not counted to three", &rise, &[Gone(0)], fell("exited with 1")),
            (
                "a second death says nothing new",
                &[&rise[..], &[Gone(0)]].concat(),
                &[Gone(0)],
                vec![],
            ),
            (
                "back alone does not raise a service that has checks",
                &[&rise[..], &[Gone(0)]].concat(),
                &[Back(0), Pass(0, 0), Pass(0, 0), Pass(0, 1)],
                vec![],
            ),
            (
                "after a death every check rises from zero",
                &[&rise[..], &[Gone(0)]].concat(),
                &rise,
                announced.map(str::to_owned).to_vec(),
            ),
            ("a death before the first rise withdraws nothing", &[], &[Gone(0)], vec![]),
        ];
        for (name, before, steps, expected) in table {
            let mut steer = Steer::new(
                vec![service("dns", &["0", "1"])],
                vec![prefix(V4, &["dns"], Require::All), prefix(V6, &["dns"], Require::Any)],
            )
            .unwrap();
            replay(&mut steer, before);
            assert_eq!(replay(&mut steer, steps), *expected, "{name}");
        }
    }

    #[test]
    fn a_prefix_needs_as_many_services_as_its_rule_says() {
        // (rule, announced with 0, 1, 2, 3 services up)
        let table = [
            (Require::All, [false, false, false, true]),
            (Require::Any, [false, true, true, true]),
            (Require::AtLeast(2), [false, false, true, true]),
            (Require::AtLeast(0), [false, true, true, true]),
            (Require::AtLeast(4), [false, false, false, false]),
        ];
        for (require, expected) in table {
            let services = ["a", "b", "c"];
            let mut steer = Steer::new(
                services.map(|name| service(name, &["tcp"])).to_vec(),
                vec![prefix(V4, &services, require)],
            )
            .unwrap();
            for (up, expected) in expected.into_iter().enumerate() {
                if let Some(next) = up.checked_sub(1) {
                    replay(&mut steer, &[Pass(next, 0), Pass(next, 0)]);
                }
                let status = &steer.status().prefixes[0];
                assert_eq!(status.announced, expected, "{require} with {up} up");
                assert_eq!(status.why.is_none(), expected, "{require} with {up} up");
            }
        }
    }

    #[test]
    fn the_cause_of_a_shortfall_names_every_missing_service() {
        let services = ["a", "b", "c"];
        let mut steer = Steer::new(
            services.map(|name| service(name, &["tcp"])).to_vec(),
            vec![prefix(V4, &services, Require::AtLeast(2))],
        )
        .unwrap();
        for s in 0..3 {
            replay(&mut steer, &[Pass(s, 0), Pass(s, 0)]);
        }
        assert_eq!(replay(&mut steer, &[Gone(0)]), ["down 0: exited with 1"]);
        assert_eq!(
            replay(&mut steer, &[Fail(2, 0), Fail(2, 0), Fail(2, 0)]),
            [
                "down 2: check tcp: refused",
                "withdraw 192.0.2.0/24: 1 of 3 services up, 2 needed: \
                 service a: exited with 1; service c: check tcp: refused",
            ]
        );
    }

    #[test]
    fn a_service_without_checks_is_up_until_its_process_is_gone() {
        let mut steer =
            Steer::new(vec![service("web", &[])], vec![prefix(V4, &["web"], Require::All)])
                .unwrap();
        assert_eq!(drain(&mut steer), ["up 0", "announce 192.0.2.0/24"]);
        assert_eq!(
            replay(&mut steer, &[Gone(0), Back(0), Back(0)]),
            [
                "down 0: exited with 1",
                "withdraw 192.0.2.0/24: service web: exited with 1",
                "up 0",
                "announce 192.0.2.0/24",
            ]
        );
    }

    #[test]
    fn a_prefix_that_stands_for_nothing_is_never_announced() {
        for require in [Require::All, Require::Any, Require::AtLeast(0)] {
            let mut steer = Steer::new(vec![], vec![prefix(V4, &[], require)]).unwrap();
            assert_eq!(steer.poll_action(), None);
            assert_eq!(steer.status().prefixes[0].why.as_deref(), Some("it stands for no service"));
        }
    }

    #[test]
    fn thresholds_of_zero_count_as_one() {
        let checks =
            vec![CheckSpec { name: "tcp".to_owned(), thresholds: Thresholds { rise: 0, fall: 0 } }];
        let spec = ServiceSpec { name: "web".to_owned(), checks };
        let mut steer = Steer::new(vec![spec], vec![]).unwrap();
        assert_eq!(steer.status().services[0].verdict, Verdict::Unproven);
        assert_eq!(
            replay(&mut steer, &[Pass(0, 0), Fail(0, 0)]),
            ["up 0", "down 0: check tcp: refused"]
        );
    }

    #[test]
    fn the_status_tells_since_when_and_why() {
        let mut steer =
            Steer::new(vec![service("dns", &["udp"])], vec![prefix(V4, &["dns"], Require::All)])
                .unwrap();
        let fresh = steer.status();
        assert_eq!(fresh.services[0].verdict, Verdict::Unproven);
        assert_eq!(
            fresh.services[0].why.as_deref(),
            Some("check udp has not passed often enough yet")
        );
        replay(&mut steer, &[Pass(0, 0), Pass(0, 0), Pass(0, 0), Fail(0, 0)]);
        let status = steer.status();
        assert_eq!(
            status.services[0],
            ServiceStatus {
                name: "dns".to_owned(),
                verdict: Verdict::Up,
                since: at(2),
                why: None,
                checks: vec![CheckStatus {
                    name: "udp".to_owned(),
                    verdict: Verdict::Up,
                    since: at(2),
                    passes: 0,
                    fails: 1,
                    last_failure: Some("refused".to_owned()),
                }],
            }
        );
        assert_eq!(
            status.prefixes[0],
            PrefixStatus {
                prefix: net(V4),
                services: vec!["dns".to_owned()],
                require: Require::All,
                announced: true,
                since: at(2),
                why: None,
            }
        );
    }

    #[test]
    fn a_wrong_specification_is_refused() {
        let twice = Steer::new(vec![service("a", &[]), service("a", &[])], vec![]);
        assert_eq!(twice.unwrap_err(), SpecError::DuplicateService("a".to_owned()));
        let unknown = Steer::new(vec![], vec![prefix(V4, &["a"], Require::All)]);
        let service = "a".to_owned();
        assert_eq!(unknown.unwrap_err(), SpecError::UnknownService { prefix: net(V4), service });
    }
}

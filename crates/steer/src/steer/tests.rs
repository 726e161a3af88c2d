use std::time::Duration;

use super::*;
use crate::{
    Bound, CheckSpec, Damping, Effect, FloorSpec, Ledger, Member, PrefixSpec, Require, Response,
    ServiceSpec, ShedSpec, ShedStep, Thresholds, Verdict, WhenAlone,
};

mod drains;
mod floors;
mod rules;

const V4: &str = "192.0.2.0/24";
const V6: &str = "2001:db8:ac::/48";

fn net(text: &str) -> IpNet {
    text.parse().unwrap()
}

fn at(seconds: u64) -> Instant {
    Instant::START + Duration::from_secs(seconds)
}

fn service(name: &str, checks: &[&str]) -> ServiceSpec {
    let thresholds = Thresholds { rise: 2, fall: 3, rise_for: Duration::ZERO };
    let checks = checks.iter().map(|&name| CheckSpec { name: name.to_owned(), thresholds });
    ServiceSpec { name: name.to_owned(), checks: checks.collect(), damping: None }
}

fn prefix(prefix: &str, services: &[&str], require: Require) -> PrefixSpec {
    let services = services.iter().map(|&name| name.to_owned()).collect();
    PrefixSpec { services, require, ..PrefixSpec::new(net(prefix)) }
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

/// All that is to be done now, in words.
fn drain(steer: &mut Steer) -> Vec<String> {
    std::iter::from_fn(|| steer.poll_action()).map(words).collect()
}

fn words(action: Action) -> String {
    match action {
        Action::ServiceUp { service } => format!("up {service}"),
        Action::ServiceDown { service, why } => format!("down {service}: {why}"),
        Action::Tell { prefix, told, change, why } => {
            let verb = match change {
                Change::Announce => "announce",
                Change::Withdraw => "withdraw",
                Change::Adjust => "adjust",
            };
            let plain = told.iter().flatten().all(Manner::is_plain);
            let all = told.windows(2).all(|two| two[0] == two[1]);
            let mut said = format!("{verb} {prefix}");
            if !all || !plain {
                let told = told.iter().map(|it| match it {
                    Some(manner) => manner.to_string(),
                    None => "not".to_owned(),
                });
                said = format!("{said} [{}]", told.collect::<Vec<_>>().join(" | "));
            }
            if !why.is_empty() {
                said = format!("{said}: {why}");
            }
            said
        }
        Action::Ask { prefix } => format!("ask {prefix}"),
        Action::Release { prefix } => format!("release {prefix}"),
        Action::Held { prefix, why } => format!("held {prefix}: {why}"),
        Action::Freed { prefix } => format!("freed {prefix}"),
        Action::Damped { what, rest } => format!("damped {what} for {} s", rest.as_secs()),
        Action::Undamped { what } => format!("undamped {what}"),
        Action::ShedRefused { prefix, why } => format!("no shedding of {prefix}: {why}"),
        Action::Shed { prefix, level, why } => format!("shed {prefix} to {level}: {why}"),
        Action::Drain { target, stage, why } => format!("{target} {}: {why}", stage.word()),
        Action::Undrain { target, why } => format!("undrain {target}: {why}"),
    }
}

/// A site with two neighbors.
fn spec(services: Vec<ServiceSpec>, prefixes: Vec<PrefixSpec>) -> Spec {
    let neighbors = ["one", "two"].map(str::to_owned).to_vec();
    Spec { services, prefixes, neighbors, ..Spec::default() }
}

/// A site whose one service with one check carries one prefix, which is announced.
fn announced(change: impl FnOnce(&mut Spec)) -> Steer {
    let mut spec = spec(vec![service("dns", &["udp"])], vec![prefix(V4, &["dns"], Require::All)]);
    change(&mut spec);
    let mut steer = Steer::new(spec).unwrap();
    replay(&mut steer, &[Pass(0, 0), Pass(0, 0)]);
    assert!(steer.status(at(2)).prefixes[0].announced);
    steer
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
        ("a second death says nothing new", &[&rise[..], &[Gone(0)]].concat(), &[Gone(0)], vec![]),
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
        let mut steer = Steer::new(spec(
            vec![service("dns", &["0", "1"])],
            vec![prefix(V4, &["dns"], Require::All), prefix(V6, &["dns"], Require::Any)],
        ))
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
        let mut steer = Steer::new(spec(
            services.map(|name| service(name, &["tcp"])).to_vec(),
            vec![prefix(V4, &services, require)],
        ))
        .unwrap();
        for (up, expected) in expected.into_iter().enumerate() {
            if let Some(next) = up.checked_sub(1) {
                replay(&mut steer, &[Pass(next, 0), Pass(next, 0)]);
            }
            let status = &steer.status(at(99)).prefixes[0];
            assert_eq!(status.announced, expected, "{require} with {up} up");
            assert_eq!(status.why.is_none(), expected, "{require} with {up} up");
        }
    }
}

#[test]
fn the_cause_of_a_shortfall_names_every_missing_service() {
    let services = ["a", "b", "c"];
    let mut steer = Steer::new(spec(
        services.map(|name| service(name, &["tcp"])).to_vec(),
        vec![prefix(V4, &services, Require::AtLeast(2))],
    ))
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
        Steer::new(spec(vec![service("web", &[])], vec![prefix(V4, &["web"], Require::All)]))
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
        let mut steer = Steer::new(spec(vec![], vec![prefix(V4, &[], require)])).unwrap();
        assert_eq!(steer.poll_action(), None);
        assert_eq!(
            steer.status(at(99)).prefixes[0].why.as_deref(),
            Some("it stands for no service")
        );
    }
}

#[test]
fn thresholds_of_zero_count_as_one() {
    let checks = vec![CheckSpec { name: "tcp".to_owned(), thresholds: Thresholds::default() }];
    let web = ServiceSpec { name: "web".to_owned(), checks, damping: None };
    let mut steer = Steer::new(spec(vec![web], vec![])).unwrap();
    assert_eq!(steer.status(at(99)).services[0].verdict, Verdict::Unproven);
    assert_eq!(
        replay(&mut steer, &[Pass(0, 0), Fail(0, 0)]),
        ["up 0", "down 0: check tcp: refused"]
    );
}

#[test]
fn the_status_tells_since_when_and_why() {
    let mut steer =
        Steer::new(spec(vec![service("dns", &["udp"])], vec![prefix(V4, &["dns"], Require::All)]))
            .unwrap();
    let fresh = steer.status(at(99));
    assert_eq!(fresh.services[0].verdict, Verdict::Unproven);
    assert_eq!(fresh.services[0].why.as_deref(), Some("check udp has not passed often enough yet"));
    replay(&mut steer, &[Pass(0, 0), Pass(0, 0), Pass(0, 0), Fail(0, 0)]);
    let status = steer.status(at(99));
    assert_eq!(
        status.services[0],
        crate::ServiceStatus {
            name: "dns".to_owned(),
            verdict: Verdict::Up,
            since: at(2),
            why: None,
            penalty: 0.0,
            damped_until: None,
            checks: vec![crate::CheckStatus {
                name: "udp".to_owned(),
                verdict: Verdict::Up,
                since: at(2),
                passes: 0,
                fails: 1,
                last_failure: Some("refused".to_owned()),
            }],
        }
    );
    let prefix = &status.prefixes[0];
    assert_eq!((prefix.announced, prefix.since, prefix.why.as_deref()), (true, at(2), None));
    let told = ["one", "two"].map(|name| (name.to_owned(), Some(Manner::default())));
    assert_eq!(prefix.told, told);
}

#[test]
fn a_wrong_specification_is_refused() {
    let twice = Steer::new(spec(vec![service("a", &[]), service("a", &[])], vec![]));
    assert_eq!(twice.unwrap_err(), SpecError::DuplicateService("a".to_owned()));
    let unknown = Steer::new(spec(vec![], vec![prefix(V4, &["a"], Require::All)]));
    let service = "a".to_owned();
    assert_eq!(unknown.unwrap_err(), SpecError::UnknownService { prefix: net(V4), service });
}

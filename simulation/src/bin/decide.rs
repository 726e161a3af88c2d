//! Measures the steering's decision for 1,000 prefixes and 50 neighbors: from the result of a check
//! to the last action polled. Run it in release: a figure that misses its goal is printed, not failed.

#![allow(clippy::disallowed_methods, reason = "measuring is reading a clock")]

use std::time::{Duration, Instant as Clock};

use anycast_steer::{
    Action, Answer, Bound, CheckSpec, Drain, Effect, FloorSpec, Instant, Manner, Member, Outcome,
    PrefixSpec, Require, Response, ServiceSpec, Spec, Steer, Target, Thresholds, WhenAlone,
};
use ipnet::{IpNet, Ipv6Net};

const PREFIXES: u16 = 1_000;
const NEIGHBORS: usize = 50;
const RUNS: usize = 51;
const GOAL: Duration = Duration::from_millis(10);

fn main() {
    println!(
        "{PREFIXES} prefixes, {NEIGHBORS} neighbors, {RUNS} runs; median and worst in milliseconds"
    );
    let fall = |steer: &mut Steer| {
        steer.handle_result(at(10), 0, 0, Outcome::Fail("refused".to_owned()));
    };
    let plain = |_: &mut PrefixSpec| ();
    measure("the one service of all prefixes falls", plain, |_| (), fall);
    measure("it rises", plain, fall, |steer| steer.handle_result(at(20), 0, 0, Outcome::Pass));
    measure("one of two falls, half of the neighbors hear prepends", degraded, |_| (), fall);
    measure("it falls, and the fleet is asked", floor, |_| (), fall);
    measure("the fleet's 1,000 answers", floor, fall, |steer| {
        for index in 0..PREFIXES {
            steer.handle_permit(at(11), &net(index), Answer::Granted);
        }
    });
    let drain = |steer: &mut Steer| {
        let reason = String::new();
        let drain = Drain { target: Target::Site, until: None, now: false, force: false, reason };
        steer.handle_drain(at(10), drain).expect("there is a site");
    };
    measure("the site is drained", plain, |_| (), drain);
    measure("the drain's wait is over", plain, drain, |steer| steer.handle_timeout(at(100)));
    measure(
        "the fleet's 1,000 answers to a drain",
        floor,
        |steer| {
            drain(steer);
            steer.handle_timeout(at(100));
        },
        |steer| {
            for index in 0..PREFIXES {
                steer.handle_permit(at(101), &net(index), Answer::Granted);
            }
        },
    );
}

/// Prints the median and the worst time that `what` takes after `before`.
fn measure(
    name: &str,
    rules: impl Fn(&mut PrefixSpec),
    before: impl Fn(&mut Steer),
    what: impl Fn(&mut Steer),
) {
    let mut ready = Steer::new(spec(rules)).expect("a sound specification");
    for service in 0..2 {
        ready.handle_result(at(1), service, 0, Outcome::Pass);
    }
    before(&mut ready);
    poll(&mut ready);
    let mut times = Vec::new();
    let mut actions = 0;
    for _ in 0..RUNS {
        let mut steer = ready.clone();
        let start = Clock::now();
        what(&mut steer);
        actions = poll(&mut steer);
        times.push(start.elapsed());
    }
    times.sort();
    let (median, worst) = (times[RUNS / 2], times[RUNS - 1]);
    let goal = if median <= GOAL { "" } else { "  over 10 ms" };
    let millis = |time: Duration| time.as_secs_f64() * 1000.0;
    println!("{:>8.2} {:>8.2}  {actions:>5} actions  {name}{goal}", millis(median), millis(worst));
}

fn poll(steer: &mut Steer) -> usize {
    let tells = |action: &Action| usize::from(!matches!(action, Action::Release { .. }));
    std::iter::from_fn(|| steer.poll_action()).map(|action| tells(&action)).sum()
}

fn at(seconds: u64) -> Instant {
    Instant(Duration::from_secs(seconds))
}

fn net(index: u16) -> IpNet {
    let net = Ipv6Net::new([0x2001, 0xdb8, index, 0, 0, 0, 0, 0].into(), 48);
    net.expect("a length of IPv6").into()
}

fn degraded(prefix: &mut PrefixSpec) {
    let manner = Manner { prepend: 2, ..Manner::default() };
    let neighbors = Some((0..NEIGHBORS / 2).map(neighbor).collect());
    prefix.services.push("b".to_owned());
    prefix.require = Require::Any;
    prefix.degraded = vec![Response { neighbors, effect: Effect::Tell(manner) }];
}

fn floor(prefix: &mut PrefixSpec) {
    let fleet = Bound { min_sites: 1, max_withdrawn: None };
    prefix.floor = Some(FloorSpec { fleet, region: None, when_alone: WhenAlone::Hold });
}

fn neighbor(index: usize) -> String {
    format!("neighbor-{index}")
}

fn spec(rules: impl Fn(&mut PrefixSpec)) -> Spec {
    let thresholds = Thresholds { rise: 1, fall: 1, rise_for: Duration::ZERO };
    let check = CheckSpec { name: "tcp".to_owned(), thresholds };
    let service = |name: &str| ServiceSpec {
        name: name.to_owned(),
        checks: vec![check.clone()],
        damping: None,
    };
    let prefixes = (0..PREFIXES).map(|index| {
        let mut prefix =
            PrefixSpec { services: vec!["a".to_owned()], ..PrefixSpec::new(net(index)) };
        rules(&mut prefix);
        prefix
    });
    Spec {
        services: vec![service("a"), service("b")],
        prefixes: prefixes.collect(),
        neighbors: (0..NEIGHBORS).map(neighbor).collect(),
        members: vec![Member { name: "fra".to_owned(), region: None }],
        site: "fra".to_owned(),
        lease: Some(Duration::from_secs(10)),
        ..Spec::default()
    }
}

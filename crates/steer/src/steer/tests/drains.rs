//! Drains: each stage, what ends them, and what they leave alone.

use super::*;

const LAST: &str = "with 3 prepends and community 65535:0";

fn order(target: Target) -> Drain {
    Drain { target, until: None, now: false, force: false, reason: "disks".to_owned() }
}

#[test]
fn a_site_is_left_then_withdrawn_and_comes_back_when_told_to() {
    let mut steer = announced(|_| ());
    steer.handle_drain(at(10), order(Target::Site)).unwrap();
    assert_eq!(
        drain(&mut steer),
        [
            "site leaving: an operator drains the site: disks".to_owned(),
            format!("adjust {V4} [{LAST} | {LAST}]: an operator drains the site: disks"),
        ]
    );
    assert_eq!(steer.poll_timeout(), Some(at(70)));
    for second in [11, 12] {
        steer.handle_traffic(at(second), &Target::Site, 500.0);
    }
    assert_eq!(drain(&mut steer), [""; 0]);
    for second in [13, 14] {
        steer.handle_traffic(at(second), &Target::Site, 25.0);
    }
    assert_eq!(
        drain(&mut steer),
        [
            "site withdrawing: the traffic has gone".to_owned(),
            format!("withdraw {V4}: an operator drains the site: disks"),
            "site drained: nothing is announced any more".to_owned(),
        ]
    );
    assert_eq!(replay(&mut steer, &[Fail(0, 0), Pass(0, 0)]), [""; 0]);
    assert!(steer.record().drained);
    assert!(steer.handle_undrain(at(100), &Target::Site));
    assert_eq!(
        drain(&mut steer),
        ["undrain site: an operator has ended it".to_owned(), format!("announce {V4}")]
    );
    assert!(!steer.handle_undrain(at(101), &Target::Site));
}

#[test]
fn traffic_that_stays_is_not_waited_for_beyond_the_longest_wait() {
    let mut steer = announced(|_| ());
    steer.handle_drain(at(10), order(Target::Site)).unwrap();
    drain(&mut steer);
    steer.handle_timeout(at(69));
    assert_eq!(drain(&mut steer), [""; 0]);
    steer.handle_timeout(at(70));
    assert_eq!(drain(&mut steer)[0], "site withdrawing: the longest wait for traffic is over");
}

#[test]
fn a_drain_ends_by_itself_at_its_time_and_not_before() {
    let mut steer = announced(|_| ());
    let drain_now = Drain { until: Some(at(1000)), now: true, ..order(Target::Site) };
    steer.handle_drain(at(10), drain_now).unwrap();
    let withdrawn = drain(&mut steer);
    assert_eq!(withdrawn[1], format!("withdraw {V4}: an operator drains the site: disks"));
    steer.handle_timeout(at(999));
    assert_eq!(drain(&mut steer), [""; 0]);
    assert_eq!(steer.poll_timeout(), Some(at(1000)));
    steer.handle_timeout(at(1000));
    assert_eq!(
        drain(&mut steer),
        ["undrain site: its time is over".to_owned(), format!("announce {V4}")]
    );
}

#[test]
fn a_drain_before_anything_is_announced_keeps_it_so() {
    let spec = spec(vec![service("dns", &["udp"])], vec![prefix(V4, &["dns"], Require::All)]);
    let mut steer = Steer::new(spec).unwrap();
    steer.handle_drain(at(0), order(Target::Site)).unwrap();
    assert_eq!(
        drain(&mut steer),
        ["site withdrawing: nothing is announced", "site drained: nothing is announced any more"]
    );
    assert_eq!(replay(&mut steer, &[Pass(0, 0), Pass(0, 0)]), ["up 0"]);
}

#[test]
fn what_was_drained_before_the_start_is_not_announced_for_a_moment() {
    // Without checks it is up at once.
    let spec = spec(vec![service("dns", &[])], vec![prefix(V4, &["dns"], Require::All)]);
    let until = Drain { until: Some(at(100)), ..order(Target::Site) };
    let gone = order(Target::Service("no-more".to_owned()));
    let mut steer = Steer::drained(spec, vec![until, gone]).unwrap();
    assert_eq!(
        drain(&mut steer),
        [
            "undrain service no-more: it is not in the fleet file",
            "up 0",
            "site drained: nothing is announced any more",
        ]
    );
    assert_eq!(steer.poll_timeout(), Some(at(100)));
    steer.handle_timeout(at(100));
    assert_eq!(
        drain(&mut steer),
        ["undrain site: its time is over".to_owned(), format!("announce {V4}")]
    );
}

#[test]
fn a_neighbor_is_drained_alone() {
    let mut steer = announced(|_| ());
    steer.handle_drain(at(10), order(Target::Neighbor("two".to_owned()))).unwrap();
    assert_eq!(
        drain(&mut steer)[1],
        format!("adjust {V4} [plainly | {LAST}]: an operator drains neighbor two: disks")
    );
    steer.handle_timeout(at(70));
    assert_eq!(
        drain(&mut steer),
        [
            "neighbor two withdrawing: the longest wait for traffic is over".to_owned(),
            format!("adjust {V4} [plainly | not]: an operator drains neighbor two: disks"),
            "neighbor two drained: nothing is announced any more".to_owned(),
        ]
    );
}

#[test]
fn a_service_is_drained_from_prefixes_that_cannot_do_without_it() {
    let services = vec![service("a", &[]), service("b", &[])];
    let prefixes = vec![prefix(V4, &["a", "b"], Require::Any), prefix(V6, &["a"], Require::All)];
    let mut steer = Steer::new(spec(services, prefixes)).unwrap();
    drain(&mut steer);
    let service = |name: &str| Target::Service(name.to_owned());
    steer.handle_drain(at(10), order(service("a"))).unwrap();
    assert_eq!(
        drain(&mut steer),
        [
            "service a leaving: an operator drains service a: disks".to_owned(),
            format!("adjust {V6} [{LAST} | {LAST}]: an operator drains service a: disks"),
        ]
    );
    steer.handle_timeout(at(70));
    assert_eq!(drain(&mut steer).len(), 3);
    // Now the first prefix hangs on `b` alone.
    steer.handle_drain(at(100), order(service("b"))).unwrap();
    let said = drain(&mut steer);
    assert_eq!(said.len(), 2, "{said:?}");
    assert!(said[1].starts_with(&format!("adjust {V4} [{LAST} | {LAST}]")), "{said:?}");
    steer.handle_timeout(at(160));
    let said = drain(&mut steer);
    assert!(said[1].starts_with(&format!("withdraw {V4}")), "{said:?}");
}

/// Whoever reads that a service is drained will stop it.
#[test]
fn a_drained_service_that_its_prefix_comes_to_need_again_is_drained_no_longer() {
    let services = vec![service("a", &[]), service("b", &[])];
    let mut prefix = prefix(V4, &["a", "b"], Require::Any);
    prefix.floor = Some(FloorSpec {
        fleet: Bound { min_sites: 1, max_withdrawn: None },
        region: None,
        when_alone: WhenAlone::Hold,
    });
    let mut steer = Steer::new(spec(services, vec![prefix])).unwrap();
    drain(&mut steer);
    steer.handle_drain(at(10), order(Target::Service("a".to_owned()))).unwrap();
    assert_eq!(
        drain(&mut steer).last().unwrap(),
        "service a drained: nothing is announced any more"
    );
    steer.handle_gone(at(20), 1, "exited with 1".to_owned());
    assert_eq!(drain(&mut steer).last().unwrap(), "service a withdrawing: it is still needed");
    assert_eq!(steer.status(at(20)).drains[0].stage, Stage::Withdrawing);
    steer.handle_back(at(30), 1);
    assert_eq!(
        drain(&mut steer).last().unwrap(),
        "service a drained: nothing is announced any more"
    );
}

#[test]
fn what_does_not_exist_is_not_drained() {
    let mut steer = announced(|_| ());
    for target in [Target::Service("x".to_owned()), Target::Neighbor("x".to_owned())] {
        let words = steer.handle_drain(at(10), order(target.clone())).unwrap_err();
        assert_eq!(words, format!("there is no {target}"));
    }
    assert_eq!(drain(&mut steer), [""; 0]);
}

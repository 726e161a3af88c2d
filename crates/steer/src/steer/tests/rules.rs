//! Degraded prefixes, weights, shedding, damping, and another specification in mid-run.

use super::*;

fn response(neighbors: Option<&[&str]>, effect: Effect) -> Response {
    let neighbors = neighbors.map(|names| names.iter().map(|&it| it.to_owned()).collect());
    Response { neighbors, effect }
}

fn prepends(prepend: u8) -> Effect {
    Effect::Tell(Manner { prepend, ..Manner::default() })
}

#[test]
fn a_degraded_prefix_is_told_otherwise_until_all_is_well_again() {
    let degraded = PrefixSpec {
        degraded: vec![response(None, prepends(2)), response(Some(&["two"]), Effect::Withdraw)],
        ..prefix(V4, &["a", "b"], Require::Any)
    };
    let services = vec![service("a", &[]), service("b", &[])];
    let mut steer = Steer::new(spec(services, vec![degraded])).unwrap();
    drain(&mut steer);
    assert_eq!(
        replay(&mut steer, &[Gone(0), Gone(1), Back(0), Back(1)]),
        [
            "down 0: exited with 1".to_owned(),
            format!("adjust {V4} [with 2 prepends | not]: service a: exited with 1"),
            "down 1: exited with 1".to_owned(),
            format!(
                "withdraw {V4}: 0 of 2 services up, 1 needed: \
                 service a: exited with 1; service b: exited with 1"
            ),
            "up 0".to_owned(),
            format!("announce {V4} [with 2 prepends | not]: service b: exited with 1"),
            "up 1".to_owned(),
            format!("adjust {V4}"),
        ]
    );
}

#[test]
fn services_count_by_their_weight() {
    // (rule, announced with only `big` up, only `small` up)
    let table = [
        (Require::All, false, false),
        (Require::Any, true, true),
        (Require::AtLeast(3), true, false),
        (Require::AtLeast(2), true, false),
        (Require::Percent(75), true, false),
        (Require::Percent(76), false, false),
        (Require::Percent(25), true, true),
        (Require::Percent(26), true, false),
    ];
    for (require, big, small) in table {
        for (gone, expected) in [(1, big), (0, small)] {
            let prefix =
                PrefixSpec { weights: vec![3, 1], ..prefix(V4, &["big", "small"], require) };
            let services = vec![service("big", &[]), service("small", &[])];
            let mut steer = Steer::new(spec(services, vec![prefix])).unwrap();
            replay(&mut steer, &[Gone(gone)]);
            assert_eq!(steer.status(at(2)).prefixes[0].announced, expected, "{require} {gone}");
        }
    }
}

#[test]
fn who_knows_nothing_of_the_others_sheds_only_where_nothing_is_shared() {
    let floor = |when_alone| {
        let fleet = Bound { min_sites: 1, max_withdrawn: None };
        Some(FloorSpec { fleet, region: None, when_alone })
    };
    let lease = Some(Duration::from_secs(10));
    for (name, lease, floor, sheds) in [
        ("no shared state, no floor", None, None, true),
        ("a shared state that was never reached", lease, None, false),
        ("the same, and a floor", lease, floor(WhenAlone::Hold), false),
        ("who would withdraw alone", lease, floor(WhenAlone::Withdraw), true),
        ("no shared state, a floor", None, floor(WhenAlone::Hold), false),
    ] {
        let mut steer = announced(|spec| {
            spec.lease = lease;
            spec.loads = vec!["cpu".to_owned()];
            spec.prefixes[0].floor = floor.clone();
            let response = response(None, prepends(1));
            spec.prefixes[0].shed = Some(ShedSpec {
                load: "cpu".to_owned(),
                steps: vec![ShedStep { above: 80.0, below: 60.0, response }],
                pause: Duration::from_secs(10),
            });
        });
        steer.handle_load(at(10), 0, 95.0);
        assert_eq!(steer.status(at(10)).prefixes[0].shed_level, usize::from(sheds), "{name}");
    }
}

#[test]
fn load_is_shed_by_steps_while_another_site_can_take_it() {
    let mut steer = announced(|spec| {
        let step = |above, below, response| ShedStep { above, below, response };
        spec.loads = vec!["packets".to_owned(), "cpu".to_owned()];
        spec.prefixes[0].shed = Some(ShedSpec {
            load: "cpu".to_owned(),
            steps: vec![
                step(80.0, 60.0, response(None, prepends(1))),
                step(90.0, 70.0, response(Some(&["one"]), Effect::Withdraw)),
            ],
            pause: Duration::from_secs(10),
        });
    });
    steer.handle_load(at(10), 0, 1e9);
    steer.handle_load(at(10), 1, 80.0);
    assert_eq!(drain(&mut steer), [""; 0]);
    steer.handle_load(at(11), 1, 95.0);
    assert_eq!(
        drain(&mut steer),
        [
            format!("shed {V4} to 1: load cpu is 95; step 1 of 2"),
            format!(
                "adjust {V4} [with 1 prepend | with 1 prepend]: \
                 load cpu went above 80, step 1 of 2 (now 95)"
            ),
        ]
    );
    assert_eq!(steer.record().sheds, [net(V4)].into());
    // Nobody else is there.
    steer.handle_fleet(at(15), FleetView::default());
    let refused = || {
        let why = "no other site announces it and sheds no load itself";
        format!("no shedding of {V4}: load cpu is 95; step 2 of 2 is not taken: {why}")
    };
    steer.handle_load(at(30), 1, 95.0);
    assert_eq!(drain(&mut steer), [refused()]);
    // Said once, and again if it has been asked for no more meanwhile.
    steer.handle_load(at(30), 1, 96.0);
    assert_eq!(drain(&mut steer), [""; 0]);
    steer.handle_load(at(31), 1, 85.0);
    steer.handle_load(at(31), 1, 95.0);
    assert_eq!(drain(&mut steer), [refused()]);
    let record = Record { announces: [net(V4)].into(), ..Record::default() };
    let sites = [("ams".to_owned(), record)].into();
    steer.handle_fleet(at(31), FleetView { sites, ..FleetView::default() });
    steer.handle_load(at(32), 1, 95.0);
    let said = drain(&mut steer);
    assert!(said[1].starts_with(&format!("adjust {V4} [not | with 1 prepend]")), "{said:?}");
    steer.handle_load(at(42), 1, 10.0);
    steer.handle_load(at(52), 1, 10.0);
    let said = drain(&mut steer);
    assert_eq!(said.last().unwrap(), &format!("adjust {V4}"), "{said:?}");
}

#[test]
fn what_falls_too_often_stays_down_until_its_penalty_has_faded() {
    let mut steer = announced(|spec| spec.services[0].damping = Some(Damping::default()));
    for fall in 1..=5 {
        let said = replay(&mut steer, &[Gone(0)]);
        let damped = said.iter().any(|it| it.starts_with("damped dns"));
        assert_eq!(damped, fall == 5, "{said:?}");
        let said = replay(&mut steer, &[Pass(0, 0), Pass(0, 0)]);
        assert_eq!(said.len(), if fall == 5 { 0 } else { 2 }, "{said:?}");
    }
    let status = &steer.status(at(2)).services[0];
    assert_eq!(status.why.as_deref(), Some("damped: it fell too often"));
    let until = status.damped_until.unwrap();
    assert_eq!(steer.poll_timeout(), Some(until));
    steer.handle_timeout(until);
    assert_eq!(
        drain(&mut steer),
        ["undamped dns".to_owned(), "up 0".to_owned(), format!("announce {V4}")]
    );
    for _ in 0..5 {
        replay(&mut steer, &[Gone(0), Pass(0, 0), Pass(0, 0)]);
    }
    assert_eq!(steer.clear_damping(at(300), Some("web")), 0);
    assert_eq!(steer.clear_damping(at(300), Some("dns")), 1);
    assert_eq!(drain(&mut steer).len(), 3);
}

#[test]
fn a_prefix_that_is_withdrawn_too_often_stays_so() {
    let mut steer = announced(|spec| spec.prefixes[0].damping = Some(Damping::default()));
    for _ in 0..4 {
        replay(&mut steer, &[Gone(0), Pass(0, 0), Pass(0, 0)]);
    }
    let said = replay(&mut steer, &[Gone(0), Pass(0, 0), Pass(0, 0)]);
    assert_eq!(said[2], format!("damped {V4} for 104 s"));
    assert_eq!(said.last().unwrap(), "up 0");
    let status = &steer.status(at(2)).prefixes[0];
    assert_eq!(status.why.as_deref(), Some("damped: it was withdrawn too often"));
    steer.handle_timeout(status.damped_until.unwrap());
    assert_eq!(drain(&mut steer), [format!("undamped {V4}"), format!("announce {V4}")]);
}

#[test]
fn another_specification_touches_only_what_differs() {
    let mut steer = announced(|_| ());
    let same = || spec(vec![service("dns", &["udp"])], vec![prefix(V4, &["dns"], Require::All)]);
    steer.replace(at(10), same()).unwrap();
    assert_eq!(drain(&mut steer), [""; 0]);

    // A check more, other neighbors, a prefix more.
    let mut more = same();
    more.services = vec![service("web", &[]), service("dns", &["tcp", "udp"])];
    more.prefixes.push(prefix(V6, &["web"], Require::All));
    more.neighbors = ["three", "two"].map(str::to_owned).to_vec();
    steer.replace(at(20), more).unwrap();
    assert_eq!(
        drain(&mut steer),
        ["up 0".to_owned(), format!("announce {V6}"), format!("adjust {V4}"),]
    );
    assert_eq!(steer.status(at(20)).prefixes[0].since, at(2));
    // The new check counts once it has failed often enough.
    assert_eq!(replay(&mut steer, &[Fail(1, 0), Fail(1, 0)]), [""; 0]);
    assert_eq!(replay(&mut steer, &[Fail(1, 0)]).len(), 2);

    steer
        .handle_drain(
            at(30),
            Drain {
                target: Target::Neighbor("three".to_owned()),
                until: None,
                now: true,
                force: false,
                reason: String::new(),
            },
        )
        .unwrap();
    drain(&mut steer);
    let mut less = same();
    less.services = vec![service("web", &[])];
    less.prefixes = vec![prefix(V4, &["web"], Require::All)];
    steer.replace(at(40), less).unwrap();
    assert_eq!(
        drain(&mut steer),
        [
            format!("withdraw {V6}: it is no longer in the fleet file"),
            "undrain neighbor three: it is no longer in the fleet file".to_owned(),
            format!("announce {V4}"),
        ]
    );
    let wrong = spec(vec![], vec![prefix(V4, &["dns"], Require::All)]);
    assert!(steer.replace(at(50), wrong).is_err());
    assert!(steer.status(at(50)).prefixes[0].announced);
}

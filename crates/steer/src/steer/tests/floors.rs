//! The fleet's floor: who asks, who is held, and what happens when nobody answers.

use super::*;

const LAST: &str = "with 3 prepends and community 65535:0";
const LEASE: Duration = Duration::from_secs(10);

fn floor(min_sites: u32, when_alone: WhenAlone) -> FloorSpec {
    FloorSpec { fleet: Bound { min_sites, max_withdrawn: None }, region: None, when_alone }
}

fn fleet(spec: &mut Spec, min_sites: u32) {
    spec.prefixes[0].floor = Some(floor(min_sites, WhenAlone::Hold));
    let member = |name: &str| Member { name: name.to_owned(), region: None };
    spec.members = ["fra", "ams", "nyc"].map(member).to_vec();
    spec.site = "fra".to_owned();
    spec.lease = Some(LEASE);
}

fn view(announce: &[&str], permits: &[&str]) -> FleetView {
    let record = Record { announces: [net(V4)].into(), ..Record::default() };
    let withdrawn = permits.iter().map(|&it| it.to_owned()).collect();
    FleetView {
        sites: announce.iter().map(|&it| (it.to_owned(), record.clone())).collect(),
        ledgers: [(net(V4), Ledger { withdrawn })].into(),
    }
}

#[test]
fn a_withdrawal_waits_for_its_permit_as_the_last_choice_of_all() {
    let mut steer = announced(|spec| fleet(spec, 1));
    assert_eq!(
        replay(&mut steer, &[Gone(0)]),
        [
            "down 0: exited with 1".to_owned(),
            format!("ask {V4}"),
            format!(
                "adjust {V4} [{LAST} | {LAST}]: service dns: exited with 1; \
                 the fleet is asked whether it may be withdrawn"
            ),
        ]
    );
    steer.handle_permit(at(3), &net(V4), Answer::Granted);
    assert_eq!(drain(&mut steer), [format!("withdraw {V4}: service dns: exited with 1")]);
    assert_eq!(
        replay(&mut steer, &[Pass(0, 0), Pass(0, 0)]),
        ["up 0".to_owned(), format!("announce {V4}"), format!("release {V4}")]
    );
}

#[test]
fn a_refused_site_holds_says_so_once_and_goes_when_another_is_back() {
    let mut steer = announced(|spec| fleet(spec, 1));
    replay(&mut steer, &[Gone(0)]);
    steer.handle_permit(at(3), &net(V4), Answer::Refused("no other site".to_owned()));
    let held = "service dns: exited with 1; held by the floor: no other site";
    assert_eq!(drain(&mut steer), [format!("held {V4}: {held}")]);
    assert_eq!(
        steer.status(at(3)).prefixes[0].held.as_deref(),
        Some("held by the floor: no other site")
    );
    assert_eq!(steer.record().held, [net(V4)].into());
    // Asked again after a second, and at once when the fleet looks better.
    assert_eq!(steer.poll_timeout(), Some(at(4)));
    steer.handle_timeout(at(4));
    assert_eq!(drain(&mut steer), [format!("ask {V4}")]);
    steer.handle_permit(at(5), &net(V4), Answer::Refused("no other site".to_owned()));
    assert_eq!(drain(&mut steer), [""; 0]);
    steer.handle_fleet(at(5), view(&["fra"], &[]));
    assert_eq!(drain(&mut steer), [""; 0]);
    steer.handle_fleet(at(5), view(&["fra", "ams"], &[]));
    assert_eq!(drain(&mut steer), [format!("ask {V4}")]);
    steer.handle_permit(at(5), &net(V4), Answer::Granted);
    assert_eq!(
        drain(&mut steer),
        [format!("freed {V4}"), format!("withdraw {V4}: service dns: exited with 1")]
    );
}

#[test]
fn a_service_that_recovers_meanwhile_gives_the_permit_back() {
    let mut steer = announced(|spec| fleet(spec, 1));
    replay(&mut steer, &[Gone(0)]);
    assert_eq!(
        replay(&mut steer, &[Pass(0, 0), Pass(0, 0)]),
        ["up 0".to_owned(), format!("adjust {V4}")]
    );
    steer.handle_permit(at(3), &net(V4), Answer::Granted);
    assert_eq!(drain(&mut steer), [format!("release {V4}")]);
    replay(&mut steer, &[Gone(0)]);
    steer.handle_permit(at(3), &net(V4), Answer::Refused("no".to_owned()));
    drain(&mut steer);
    assert_eq!(
        replay(&mut steer, &[Pass(0, 0), Pass(0, 0)]),
        ["up 0".to_owned(), format!("freed {V4}"), format!("adjust {V4}")]
    );
    assert_eq!(steer.poll_timeout(), None);
}

#[test]
fn who_cannot_ask_holds_for_its_lease_and_then_by_what_it_last_knew() {
    // (what it last knew, withdraws in the end?)
    let table: [(Option<FleetView>, bool); 4] = [
        (None, false),
        (Some(view(&["fra", "ams", "nyc"], &[])), false),
        (Some(view(&["fra"], &[])), false),
        // It is not among those who stand, so it is not counted on.
        (Some(view(&["ams", "nyc"], &[])), true),
    ];
    for (last, withdraws) in table {
        let mut steer = announced(|spec| fleet(spec, 1));
        if let Some(view) = &last {
            steer.handle_fleet(at(2), view.clone());
        }
        replay(&mut steer, &[Gone(0)]);
        steer.handle_permit(at(11), &net(V4), Answer::Unreachable);
        if last.is_some() {
            let said = drain(&mut steer);
            assert!(said[0].ends_with("others count on us yet"), "{said:?}");
        }
        steer.handle_permit(at(12), &net(V4), Answer::Unreachable);
        let announced = steer.status(at(12)).prefixes[0].announced;
        assert_eq!(announced, !withdraws, "{last:?}");
    }
}

#[test]
fn where_nothing_is_shared_the_file_says_what_a_lonely_site_does() {
    let alone = |spec: &mut Spec, when_alone| {
        fleet(spec, 1);
        spec.lease = None;
        spec.prefixes[0].floor = Some(floor(1, when_alone));
    };
    let mut holds = announced(|spec| alone(spec, WhenAlone::Hold));
    let said = replay(&mut holds, &[Gone(0)]);
    assert_eq!(said.len(), 3, "{said:?}");
    assert!(said[1].starts_with("held"), "{said:?}");
    assert!(said[2].starts_with(&format!("adjust {V4} [{LAST} | {LAST}]")), "{said:?}");
    holds.handle_timeout(at(60));
    assert_eq!(drain(&mut holds), [""; 0]);
    let mut goes = announced(|spec| alone(spec, WhenAlone::Withdraw));
    assert_eq!(
        replay(&mut goes, &[Gone(0), Back(0), Pass(0, 0), Pass(0, 0)]),
        [
            "down 0: exited with 1".to_owned(),
            format!("withdraw {V4}: service dns: exited with 1"),
            "up 0".to_owned(),
            format!("announce {V4}"),
        ]
    );
}

#[test]
fn a_drain_is_held_too_unless_it_is_forced_and_stopping_asks_nobody() {
    let order = |force| Drain {
        target: Target::Site,
        until: None,
        now: true,
        force,
        reason: String::new(),
    };
    let mut steer = announced(|spec| fleet(spec, 1));
    steer.handle_drain(at(3), order(false)).unwrap();
    assert_eq!(
        drain(&mut steer)[..2],
        ["site withdrawing: at once".to_owned(), format!("ask {V4}")]
    );
    steer.handle_permit(at(3), &net(V4), Answer::Refused("no".to_owned()));
    drain(&mut steer);
    assert_eq!(steer.status(at(3)).drains[0].stage, Stage::Withdrawing);
    steer.handle_drain(at(4), order(true)).unwrap();
    assert_eq!(
        drain(&mut steer),
        [
            format!("freed {V4}"),
            format!("withdraw {V4}: an operator drains the site"),
            "site drained: nothing is announced any more".to_owned(),
        ]
    );
    let mut steer = announced(|spec| fleet(spec, 1));
    steer.handle_stop(at(3));
    assert_eq!(drain(&mut steer), [format!("withdraw {V4}: the site is stopping")]);
    assert_eq!(replay(&mut steer, &[Gone(0), Back(0), Pass(0, 0), Pass(0, 0)]).len(), 2);
}

#[test]
fn a_permit_taken_before_a_reload_is_given_back_though_the_floor_is_gone_from_the_file() {
    for removed_between in [false, true] {
        let mut steer = announced(|spec| fleet(spec, 1));
        replay(&mut steer, &[Gone(0)]);
        steer.handle_permit(at(3), &net(V4), Answer::Granted);
        let mut without = steer.spec.clone();
        without.prefixes = vec![prefix(V4, &["dns"], Require::All)];
        if removed_between {
            steer.replace(at(4), Spec { prefixes: Vec::new(), ..without.clone() }).unwrap();
        }
        steer.replace(at(4), without).unwrap();
        drain(&mut steer);
        assert_eq!(
            replay(&mut steer, &[Pass(0, 0), Pass(0, 0)]),
            ["up 0".to_owned(), format!("announce {V4}"), format!("release {V4}")]
        );
    }
}

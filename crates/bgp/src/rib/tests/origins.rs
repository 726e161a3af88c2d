//! VRPs come and go: what policies make of it.

use super::*;
use crate::rov::{Validity, Vrp, VrpTable};

fn vrps(list: &[(&str, u8, u32)]) -> Arc<VrpTable> {
    let vrp = |&(prefix, max, asn): &(&str, u8, u32)| Vrp::new(net(prefix), max, Asn(asn)).unwrap();
    Arc::new(list.iter().map(vrp).collect())
}

fn reject_invalid() -> Policy {
    let reject = Rule::new(Action::Reject).when(Match::Rpki(Validity::Invalid));
    Policy { rules: vec![reject, Rule::new(Action::Accept)] }
}

/// Polls until there is no more to judge; how many polls that took.
fn judged(rib: &mut Rib) -> usize {
    (1..1000).find(|_| !rib.poll_origins()).expect("it comes to an end")
}

fn ineligible(rib: &Rib) -> Vec<String> {
    let routes = rib.routes().filter(|route| route.ineligible.is_some());
    routes.map(|route| format!("{} {}", route.prefix, route.peer.unwrap().0)).collect()
}

#[test]
fn invalid_routes_go_and_come_with_the_vrps_and_peers_are_told_the_difference() {
    let mut rib = rib(&[ALPHA, BETA]);
    rib.set_import(ALPHA, reject_invalid());
    let paths = [("10.0.0.0/8", 64510), ("10.1.0.0/16", 64511), ("11.0.0.0/8", 64512)];
    for (prefix, origin) in paths {
        rib.handle_update(ALPHA, announce(prefix, route(&[64501, origin])));
    }
    assert_eq!(told(&mut rib, BETA).len(), 3);
    assert_eq!(ineligible(&rib), [""; 0]);

    rib.set_vrps(Some(vrps(&[("10.0.0.0/8", 8, 64510)])));
    judged(&mut rib);
    assert_eq!(ineligible(&rib), ["10.1.0.0/16 1"]);
    assert_eq!(told(&mut rib, BETA), ["withdraw 10.1.0.0/16"]);
    // What comes now is judged as it comes.
    rib.handle_update(ALPHA, announce("10.2.0.0/16", route(&[64501, 64510])));
    assert_eq!(told(&mut rib, BETA), [""; 0]);

    rib.set_vrps(Some(vrps(&[("10.0.0.0/8", 16, 64510), ("10.1.0.0/16", 16, 64511)])));
    judged(&mut rib);
    assert_eq!(ineligible(&rib), [""; 0]);
    assert_eq!(
        told(&mut rib, BETA),
        [
            "10.1.0.0/16: [64500 64501 64511] via 192.0.2.254",
            "10.2.0.0/16: [64500 64501 64510] via 192.0.2.254",
        ]
    );
    rib.set_vrps(None);
    judged(&mut rib);
    assert_eq!((ineligible(&rib).len(), told(&mut rib, BETA).len()), (0, 0));
}

#[test]
fn who_asks_the_rpki_waits_for_the_first_vrps_and_others_do_not() {
    let invalid = ("10.0.0.0/8", route(&[64501, 64510]));
    let unknown = ("11.0.0.0/8", route(&[64501, 64510]));
    let list = vrps(&[("10.0.0.0/8", 8, 64511)]);
    let waiting = || {
        let mut rib = rib(&[ALPHA, BETA]);
        rib.set_import(ALPHA, reject_invalid());
        rib.await_vrps();
        for (prefix, route) in [&invalid, &unknown] {
            rib.handle_update(ALPHA, announce(prefix, route.clone()));
        }
        rib.handle_update(BETA, announce("12.0.0.0/8", route(&[64502])));
        assert_eq!(ineligible(&rib), ["10.0.0.0/8 1", "11.0.0.0/8 1"]);
        let shown = rib.explain(&net("11.0.0.0/8")).unwrap().to_string();
        assert!(shown.contains("the first RPKI data are not there yet"), "{shown}");
        assert_eq!(told(&mut rib, BETA), [""; 0]);
        assert_eq!(told(&mut rib, ALPHA).len(), 1, "BETA's policy does not ask");
        rib
    };
    let taken = "11.0.0.0/8: [64500 64501 64510] via 192.0.2.254";
    let both = "10.0.0.0/8 11.0.0.0/8: [64500 64501 64510] via 192.0.2.254";

    // They come: what is invalid was never told to anyone.
    let mut rib = waiting();
    rib.set_vrps(Some(Arc::clone(&list)));
    judged(&mut rib);
    assert_eq!(
        (ineligible(&rib), told(&mut rib, BETA)),
        (vec!["10.0.0.0/8 1".into()], vec![taken.into()])
    );

    // They come without a word about any route.
    let mut rib = waiting();
    rib.set_vrps(Some(vrps(&[])));
    judged(&mut rib);
    assert_eq!(told(&mut rib, BETA), [both]);

    // They are given up, and come after all.
    let mut rib = waiting();
    rib.give_up_vrps();
    judged(&mut rib);
    assert_eq!(told(&mut rib, BETA), [both]);
    rib.set_vrps(Some(list));
    judged(&mut rib);
    assert_eq!(told(&mut rib, BETA), ["withdraw 10.0.0.0/8"]);
    // Once there were some, nothing is awaited.
    rib.await_vrps();
    rib.handle_update(ALPHA, announce("13.0.0.0/8", route(&[64501])));
    assert_eq!(told(&mut rib, BETA).len(), 1);
}

#[test]
fn without_a_policy_that_asks_nothing_is_looked_at_and_the_state_is_shown_all_the_same() {
    let mut rib = rib(&[ALPHA, BETA]);
    rib.handle_update(ALPHA, announce("10.0.0.0/8", route(&[64501, 64510])));
    told(&mut rib, BETA);
    let state = |rib: &Rib| rib.validity(&net("10.0.0.0/8"), &AsPath::sequence(&[64501, 64510]));
    assert_eq!(state(&rib), None);
    rib.set_vrps(Some(vrps(&[("10.0.0.0/8", 8, 64511)])));
    assert!(!rib.poll_origins(), "nobody asks");
    assert_eq!((state(&rib), told(&mut rib, BETA).len()), (Some(Validity::Invalid), 0));
    let shown = rib.explain(&net("10.0.0.0/8")).unwrap().to_string();
    assert!(
        shown.contains(", RPKI invalid (AS64510 may not announce it, only AS64511)\n"),
        "{shown}"
    );
    // A policy that asks from now on judges all that is there.
    rib.set_import(ALPHA, reject_invalid());
    assert_eq!(told(&mut rib, BETA), ["withdraw 10.0.0.0/8"]);
}

#[test]
fn routes_of_one_update_and_one_path_are_told_apart_by_their_state() {
    let mut rib = rib(&[ALPHA]);
    rib.set_import(ALPHA, reject_invalid());
    rib.set_vrps(Some(vrps(&[("10.0.0.0/8", 16, 64510)])));
    let prefixes = ["10.0.0.0/8", "10.1.0.0/16", "10.1.0.0/17", "10.2.0.0/16"]
        .map(|it| net(it).into())
        .to_vec();
    let attributes = Arc::new(route(&[64501, 64510]));
    let announced = vec![Announcement { attributes, prefixes }];
    rib.handle_update(ALPHA, Update { announced, ..Update::default() });
    assert_eq!(ineligible(&rib), ["10.1.0.0/17 1"]);
    assert_eq!(rib.count_origins(0, 100), (vec![(ALPHA, [3, 0, 1])], None));
}

#[test]
fn export_policy_sees_the_origin_that_the_peer_will_see() {
    let mut rib = rib(&[ALPHA, BETA]);
    rib.set_export(BETA, reject_invalid());
    rib.originate(net("192.0.2.0/24"), Attributes::new(ip("0.0.0.0")));
    rib.handle_update(ALPHA, announce("10.0.0.0/8", route(&[64501, 64510])));
    assert_eq!(told(&mut rib, BETA).len(), 2);
    rib.set_vrps(Some(vrps(&[("192.0.2.0/24", 24, 64999), ("10.0.0.0/8", 8, 64510)])));
    judged(&mut rib);
    assert_eq!(told(&mut rib, BETA), ["withdraw 192.0.2.0/24"]);
    rib.set_vrps(Some(vrps(&[("192.0.2.0/24", 24, US.0)])));
    judged(&mut rib);
    assert_eq!(told(&mut rib, BETA), ["192.0.2.0/24: [64500] via 192.0.2.254"]);
}

#[test]
fn a_long_walk_is_made_in_steps_and_a_new_set_on_the_way_loses_nothing() {
    let mut rib = rib(&[ALPHA]);
    rib.set_import(ALPHA, reject_invalid());
    for index in 0..10_000_u32 {
        let address = Ipv4Addr::from_bits(10 << 24 | index << 8);
        let update = announce(&format!("{address}/24"), route(&[64501, 64510]));
        rib.handle_update(ALPHA, update);
    }
    rib.set_vrps(Some(vrps(&[("10.0.0.0/8", 8, 64510)])));
    assert!(rib.poll_origins(), "there is more");
    let first = rib.counts(ALPHA).accepted;
    assert!(first > 0 && first < 10_000, "{first}");
    // Other VRPs, which say nothing of the routes that are still to be looked at.
    rib.set_vrps(Some(vrps(&[("10.0.0.0/8", 8, 64510), ("10.0.0.0/24", 24, 64510)])));
    assert!(judged(&mut rib) > 1);
    assert_eq!(rib.counts(ALPHA).accepted, 1);
    let (mut seen, mut next) = (0, Some(0));
    while let Some(from) = next {
        let (counts, more) = rib.count_origins(from, 999);
        (seen, next) = (seen + counts[0].1[2], more);
    }
    assert_eq!(seen, 9_999);
}

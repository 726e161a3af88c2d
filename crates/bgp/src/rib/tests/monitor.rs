//! Onlookers: what a walk meets, and which changes are gathered.

use super::*;
use crate::rib::{Changes, Cursor, Watch, Watched};

/// Alpha's routes get a local preference and lose those longer than /24.
fn picky() -> Policy {
    let long = Match::Prefix(vec!["0.0.0.0/0 ge 25".parse().unwrap()]);
    let refuse = Rule::new(Action::Reject).when(long);
    let prefer = Rule::new(Action::Accept).set(Set::LocalPref(200));
    Policy { rules: vec![refuse, prefer] }
}

fn tables() -> Rib {
    let mut rib = rib(&[ALPHA, BETA]);
    rib.set_import(ALPHA, picky());
    for prefix in ["10.1.0.0/16", "10.2.0.0/16", "10.3.0.128/25", "2001:db8::/32"] {
        rib.handle_update(ALPHA, announce(prefix, route(&[64501])));
    }
    rib.handle_update(BETA, announce("10.1.0.0/16", route(&[64502])));
    rib.originate(net("192.0.2.0/24"), Attributes::new(ip("0.0.0.0")));
    told(&mut rib, BETA);
    rib
}

fn walked(rib: &Rib, watched: Watched) -> Vec<String> {
    let (found, next) = rib.walk(watched, Cursor::default());
    assert_eq!(next, None, "so few are one step");
    let mut lines: Vec<String> = found
        .into_iter()
        .map(|it| line(&Update { announced: vec![it], ..Update::default() }))
        .collect();
    lines.sort();
    lines
}

#[test]
fn each_table_is_walked_with_its_own_attributes_those_that_are_equal_together() {
    let rib = tables();
    for (watched, want) in [
        (
            Watched::Received(ALPHA),
            &[
                "10.1.0.0/16 10.2.0.0/16 10.3.0.128/25: [64501] via 192.0.2.1",
                "2001:db8::/32: [64501] via 192.0.2.1",
            ][..],
        ),
        (
            Watched::Accepted(ALPHA),
            &[
                "10.1.0.0/16 10.2.0.0/16: [64501] via 192.0.2.1 pref 200",
                "2001:db8::/32: [64501] via 192.0.2.1 pref 200",
            ],
        ),
        (
            Watched::Best,
            &[
                "10.1.0.0/16 10.2.0.0/16: [64501] via 192.0.2.1 pref 200",
                "192.0.2.0/24: [] via 0.0.0.0",
                "2001:db8::/32: [64501] via 192.0.2.1 pref 200",
            ],
        ),
        (
            Watched::Advertised(BETA),
            &[
                "10.1.0.0/16 10.2.0.0/16: [64500 64501] via 192.0.2.254",
                "192.0.2.0/24: [64500] via 192.0.2.254",
                "2001:db8::/32: [64500 64501] via 2001:db8::254",
            ],
        ),
        (Watched::Received(CORE), &[]),
        (Watched::Advertised(CORE), &[]),
    ] {
        assert_eq!(walked(&rib, watched), want, "{watched:?}");
    }
    assert_eq!(rib.count_best(), 4);
}

#[test]
fn a_walk_through_a_large_table_takes_steps_and_meets_each_route_once() {
    let mut rib = rib(&[ALPHA]);
    let prefix = |it: u32| IpNet::new(((10 << 24) + (it << 8)).to_be_bytes().into(), 24).unwrap();
    let prefixes: Vec<IpNet> = (0..10_000).map(prefix).collect();
    let shared = Arc::new(route(&[64501]));
    for prefixes in prefixes.chunks(500) {
        let update = Update::announce(Arc::clone(&shared), prefixes.to_vec());
        rib.handle_update(ALPHA, update);
    }
    let mut met = Vec::new();
    let (mut cursor, mut steps) = (Some(Cursor::default()), 0);
    while let Some(from) = cursor {
        let (found, next) = rib.walk(Watched::Best, from);
        let step: Vec<IpNet> =
            found.into_iter().flat_map(|it| it.prefixes).map(|nlri| nlri.prefix).collect();
        assert!(step.len() <= 4096);
        met.extend(step);
        (cursor, steps) = (next, steps + 1);
    }
    met.sort_unstable();
    assert_eq!((met, steps), (prefixes, 3));
}

#[test]
fn all_routes_to_a_prefix_are_met_together() {
    let rib = tables();
    let walked = |received| {
        let (found, next) = rib.walk_routes(received, Cursor::default());
        assert_eq!(next, None);
        let mut lines: Vec<String> = found
            .iter()
            .map(|(prefix, routes)| {
                let from = |peer: &Option<PeerId>| peer.map_or(0, |peer| peer.0);
                let routes: Vec<String> = routes
                    .iter()
                    .map(|(peer, _, it)| format!("{} {}", from(peer), words(it)))
                    .collect();
                format!("{prefix}: {}", routes.join("; "))
            })
            .collect();
        lines.sort();
        lines
    };
    assert_eq!(
        walked(false),
        [
            "10.1.0.0/16: 1 [64501] via 192.0.2.1 pref 200; 2 [64502] via 192.0.2.2",
            "10.2.0.0/16: 1 [64501] via 192.0.2.1 pref 200",
            "192.0.2.0/24: 0 [] via 0.0.0.0",
            "2001:db8::/32: 1 [64501] via 192.0.2.1 pref 200",
        ]
    );
    assert_eq!(
        walked(true),
        [
            "10.1.0.0/16: 1 [64501] via 192.0.2.1; 2 [64502] via 192.0.2.2",
            "10.2.0.0/16: 1 [64501] via 192.0.2.1",
            "10.3.0.128/25: 1 [64501] via 192.0.2.1",
            "2001:db8::/32: 1 [64501] via 192.0.2.1",
        ]
    );
}

#[test]
fn changes_are_gathered_while_they_are_wanted() {
    let mut rib = rib(&[ALPHA, BETA]);
    let nlri = |text| Nlri::from(net(text));
    rib.handle_update(ALPHA, announce("10.1.0.0/16", route(&[64501])));
    assert_eq!(rib.take_changes(), Changes::default(), "nobody wanted them");

    rib.set_watch(Watch { accepted: true, best: true });
    rib.handle_update(BETA, announce("10.1.0.0/16", route(&[64502, 64510])));
    let changes = rib.take_changes();
    assert_eq!(changes.accepted, [(BETA, nlri("10.1.0.0/16"))]);
    assert_eq!(changes.best, [], "the best is as it was");
    assert!(rib.accepted(BETA, &nlri("10.1.0.0/16")).is_some());

    rib.set_import(BETA, Policy::default());
    rib.handle_update(ALPHA, withdraw("10.1.0.0/16"));
    let changes = rib.take_changes();
    assert_eq!(
        changes.accepted,
        [(BETA, nlri("10.1.0.0/16")), (ALPHA, nlri("10.1.0.0/16"))],
        "a new policy counts too"
    );
    assert_eq!(changes.best, [net("10.1.0.0/16")]);
    assert_eq!(rib.accepted(BETA, &nlri("10.1.0.0/16")), None);
    assert_eq!(rib.accepted(ALPHA, &nlri("10.1.0.0/16")), None);
    assert_eq!(rib.accepted(ALPHA, &nlri("10.9.0.0/16")), None);

    rib.originate(net("192.0.2.0/24"), Attributes::new(ip("0.0.0.0")));
    rib.set_watch(Watch { accepted: true, best: false });
    rib.withdraw_local(&net("192.0.2.0/24"));
    assert_eq!(rib.take_changes(), Changes::default(), "what is no longer wanted is forgotten");
}

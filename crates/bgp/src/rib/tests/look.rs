//! What is there to look at, against what was put in.

use super::*;

/// Alpha's routes get a local preference and lose those longer than /24; beta is told all of them.
fn tables() -> Rib {
    let mut rib = rib(&[ALPHA, BETA]);
    let refuse = Rule {
        matches: vec![Match::Prefix(vec!["0.0.0.0/0 ge 25".parse().unwrap()])],
        sets: vec![],
        action: Action::Reject,
    };
    let prefer = Rule { matches: vec![], sets: vec![Set::LocalPref(200)], action: Action::Accept };
    rib.set_import(ALPHA, Policy { rules: vec![refuse, prefer] });
    for (prefix, path) in [
        ("10.0.0.0/8", &[64501, 64510][..]),
        ("10.1.0.0/16", &[64501]),
        ("10.1.2.128/25", &[64501]),
        ("2001:db8::/32", &[64501]),
    ] {
        rib.handle_update(ALPHA, announce(prefix, route(path)));
    }
    rib.handle_update(BETA, announce("10.1.0.0/16", route(&[64502])));
    rib.originate(net("192.0.2.0/24"), Attributes::new(ip("0.0.0.0")));
    told(&mut rib, ALPHA);
    told(&mut rib, BETA);
    rib
}

/// All prefixes of a view, walked in steps of `most`.
fn walked(rib: &Rib, view: View, most: u32) -> Vec<String> {
    let mut found = Vec::new();
    let mut next = Some(0);
    let mut steps = 0;
    while let Some(from) = next {
        let page = rib.prefixes(view, from, most);
        assert!(page.prefixes.len() <= most.max(1) as usize, "{page:?}");
        found.extend(page.prefixes);
        next = page.next;
        steps += 1;
        assert!(steps < 100, "it comes to an end");
    }
    found.sort_unstable();
    found.iter().map(ToString::to_string).collect()
}

fn seen(rib: &Rib, view: View, prefix: &str) -> Vec<String> {
    let routes = rib.look(view, &net(prefix));
    let line = |route: &RouteView<'_>| {
        let from = route.peer.map_or("us".to_owned(), |peer| peer.0.to_string());
        let mark = if route.best { "*" } else { "" };
        let why = route.ineligible.map(|why| format!(" ({why})")).unwrap_or_default();
        format!("{mark}{from} {}{why}", words(route.attributes))
    };
    routes.iter().map(line).collect()
}

#[test]
fn each_view_has_its_prefixes_whatever_the_step() {
    let rib = tables();
    let v4 = ["10.0.0.0/8", "10.1.0.0/16"];
    for most in [0, 1, 2, 3, 100, u32::MAX] {
        for (view, want) in [
            (View::Table, &["10.0.0.0/8", "10.1.0.0/16", "10.1.2.128/25", "192.0.2.0/24"][..]),
            (View::Received(ALPHA), &["10.0.0.0/8", "10.1.0.0/16", "10.1.2.128/25"]),
            (View::Accepted(ALPHA), &v4),
            (View::Received(BETA), &["10.1.0.0/16"]),
            // Its own best route is not told to the one who sent it.
            (View::Advertised(ALPHA), &["192.0.2.0/24"]),
            (View::Advertised(BETA), &["10.0.0.0/8", "10.1.0.0/16", "192.0.2.0/24"]),
            // What no one may hear for some reason, but not what came from it.
            (View::Withheld(BETA), &[]),
            (View::Received(CORE), &[]),
            (View::Withheld(CORE), &[]),
            (View::Advertised(CORE), &[]),
        ] {
            let found = walked(&rib, view, most);
            let found: Vec<&str> =
                found.iter().map(String::as_str).filter(|it| *it != "2001:db8::/32").collect();
            assert_eq!(found, want, "{view:?} in steps of {most}");
        }
    }
    assert!(walked(&rib, View::Table, 3).contains(&"2001:db8::/32".to_owned()));
}

#[test]
fn a_route_is_seen_as_it_came_as_it_was_taken_and_as_it_was_told() {
    let rib = tables();
    for (view, prefix, want) in [
        (
            View::Table,
            "10.1.0.0/16",
            &["*1 [64501] via 192.0.2.1 pref 200", "2 [64502] via 192.0.2.2"][..],
        ),
        (View::Received(ALPHA), "10.1.0.0/16", &["*1 [64501] via 192.0.2.1"]),
        (View::Accepted(ALPHA), "10.1.0.0/16", &["*1 [64501] via 192.0.2.1 pref 200"]),
        (View::Accepted(BETA), "10.1.0.0/16", &["2 [64502] via 192.0.2.2"]),
        (View::Advertised(BETA), "10.1.0.0/16", &["*1 [64500 64501] via 192.0.2.254"]),
        (
            View::Received(ALPHA),
            "10.1.2.128/25",
            &["1 [64501] via 192.0.2.1 (rejected by import policy)"],
        ),
        (View::Accepted(ALPHA), "10.1.2.128/25", &[]),
        (View::Advertised(BETA), "10.1.2.128/25", &[]),
        (View::Table, "192.0.2.0/24", &["*us [] via 0.0.0.0"]),
        (View::Advertised(BETA), "192.0.2.0/24", &["*us [64500] via 192.0.2.254"]),
        (View::Table, "10.2.0.0/16", &[]),
    ] {
        assert_eq!(seen(&rib, view, prefix), want, "{view:?} {prefix}");
    }
}

#[test]
fn an_address_is_looked_up_by_the_longest_prefix_of_the_view() {
    let rib = tables();
    for (view, address, want) in [
        (View::Table, "10.1.2.129", Some("10.1.2.128/25")),
        (View::Table, "10.1.2.1", Some("10.1.0.0/16")),
        (View::Accepted(ALPHA), "10.1.2.129", Some("10.1.0.0/16")),
        (View::Received(BETA), "10.2.0.0", None),
        (View::Table, "10.2.0.0", Some("10.0.0.0/8")),
        (View::Table, "11.0.0.0", None),
        (View::Table, "2001:db8::1", Some("2001:db8::/32")),
        (View::Table, "2001:db9::", None),
    ] {
        let found = rib.longest_match(view, ip(address)).map(|prefix| prefix.to_string());
        assert_eq!(found.as_deref(), want, "{view:?} {address}");
    }
}

#[test]
fn what_has_gone_is_not_seen() {
    let mut rib = tables();
    rib.peer_down(ALPHA);
    assert_eq!(walked(&rib, View::Table, 2), ["10.1.0.0/16", "192.0.2.0/24"]);
    assert_eq!(walked(&rib, View::Received(ALPHA), 2), [""; 0]);
    assert_eq!(walked(&rib, View::Advertised(ALPHA), 2), [""; 0]);
    assert_eq!(rib.longest_match(View::Table, ip("10.1.2.129")), Some(net("10.1.0.0/16")));
}

#[test]
fn what_a_peer_is_not_told_although_it_is_best_is_seen() {
    let mut rib = tables();
    rib.set_export(BETA, Policy::reject_all());
    told(&mut rib, BETA);
    let all = ["10.0.0.0/8", "10.1.0.0/16", "192.0.2.0/24", "2001:db8::/32"];
    assert_eq!(walked(&rib, View::Withheld(BETA), 1), all);
    let best = ["*1 [64501] via 192.0.2.1 pref 200"];
    assert_eq!(seen(&rib, View::Withheld(BETA), "10.1.0.0/16"), best);
    // Alpha is not told its own routes, which is no decision of ours.
    assert_eq!(walked(&rib, View::Withheld(ALPHA), 1), [""; 0]);
}

#[test]
fn best_routes_are_counted_by_peer_whatever_the_step() {
    let rib = tables();
    for most in [0, 1, 3, 100] {
        let mut counts = BTreeMap::new();
        let mut next = Some(0);
        while let Some(from) = next {
            next = rib.count_best_by_peer(from, most, &mut counts);
        }
        assert_eq!(counts, BTreeMap::from([(None, 1), (Some(ALPHA), 3)]), "in steps of {most}");
    }
}

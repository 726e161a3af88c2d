//! What the rules of the file mean as policies of the tables.
#![expect(clippy::unwrap_used, reason = "a test may fail so")]

use std::sync::Arc;

use anycast_bgp::policy::{Action, Policy, RouteFacts, Set};
use anycast_bgp::{AsPath, Asn, Attributes, Community, IpNet};
use anycast_fleet::Fleet;

/// Two sites with one policy each way; the rules are left out.
fn fleet(before: &str, rules: &str) -> Fleet {
    let source = format!(
        "[fleet]\nname = 'x'\nasn = 64500\n\
         [prefix.'192.0.2.0/24']\nservices = ['s']\n\
         [service.s]\naddresses = ['192.0.2.1']\nbuiltin = 'whoami'\n\
         {before}\n[policy.p]\nrules = [{rules}]\n\
         [site.one]\ncity = 'Frankfurt'\n\
         [site.one.neighbor.a]\naddress = '198.51.100.0'\nlocal-address = '198.51.100.1'\n\
         asn = 64501\nimport = 'p'\nexport = 'p'\n\
         [site.two]\ncity = 'Tokyo'\n\
         [site.two.neighbor.b]\naddress = '198.51.100.2'\nlocal-address = '198.51.100.3'\n\
         asn = 64502\nimport = 'p'\nexport = 'p'\n"
    );
    let report = anycast_fleet::parse("x.toml", &source);
    report.fleet.clone().unwrap_or_else(|| panic!("{}", report.render(false)))
}

/// What becomes of a route to `prefix` from the neighbor of site `site`.
fn import(fleet: &Fleet, site: &str, prefix: &str, path: &[u32]) -> Option<Arc<Attributes>> {
    let neighbor = &fleet.site(site).unwrap().neighbors[0];
    let facts = RouteFacts { neighbor: Some(neighbor.address), ..RouteFacts::default() };
    let route = Attributes {
        as_path: AsPath::sequence(path),
        communities: vec!["64500:1".parse().unwrap(), "64509:1".parse().unwrap()],
        ..Attributes::new(neighbor.address)
    };
    let policy = neighbor.import_policy(fleet);
    policy.evaluate(&prefix.parse().unwrap(), &facts, &Arc::new(route), neighbor.asn)
}

#[test]
fn a_rule_for_a_neighbor_is_for_its_session_alone() {
    for name in ["'a'", "'198.51.100.0'"] {
        let fleet = fleet(
            "",
            &format!(
                "{{ neighbor = [{name}], local-pref = 7, action = 'accept' }}, \
                 {{ local-pref = 8, action = 'accept' }}"
            ),
        );
        let pref = |site| import(&fleet, site, "10.0.0.0/8", &[1]).unwrap().local_pref;
        assert_eq!((pref("one"), pref("two")), (Some(7), Some(8)), "{name}");
        // And of what is told to it.
        let sets = |site: &str| {
            let site = fleet.site(site).unwrap();
            let policy = site.neighbors[0].export_policy(&fleet, site, 0);
            policy.rules.into_iter().map(|rule| rule.sets).collect::<Vec<_>>()
        };
        assert_eq!(sets("one"), [[Set::LocalPref(7)], [Set::LocalPref(8)]]);
        assert_eq!(sets("two"), [[Set::LocalPref(8)]]);
    }
}

#[test]
fn a_prefix_list_covers_what_any_of_its_patterns_covers() {
    let lists = "[prefix-list.small]\nprefixes = ['0.0.0.0/0 ge 25', '10.0.0.0/8+']\n\
                 [prefix-list.other]\nprefixes = ['172.16.0.0/12']";
    let fleet = fleet(
        lists,
        "{ prefix-list = ['small', 'other'], action = 'reject' }, { action = 'accept' }",
    );
    for (prefix, taken) in [
        ("192.0.2.0/24", true),
        ("192.0.2.0/25", false),
        ("10.1.0.0/16", false),
        ("172.16.0.0/12", false),
        ("172.16.0.0/13", true),
        ("2001:db8::/64", true),
    ] {
        assert_eq!(import(&fleet, "one", prefix, &[1]).is_some(), taken, "{prefix}");
    }
}

#[test]
fn changes_are_made_in_one_order_whatever_the_file_says() {
    let fleet = fleet(
        "",
        "{ add-community = ['64500:2'], delete-community = ['64500:*'], replace-communities = \
         ['64500:1', '64509:9'], prepend = 1, med = 3, action = 'accept' }",
    );
    let route = import(&fleet, "one", "10.0.0.0/8", &[64501]).unwrap();
    let communities: Vec<Community> =
        ["64500:2", "64509:9"].map(|text| text.parse().unwrap()).to_vec();
    assert_eq!(route.communities, communities);
    assert_eq!((route.med, route.as_path.to_string().as_str()), (Some(3), "64501 64501"));
}

#[test]
fn bounds_and_paths_hold_on_both_sides() {
    for (condition, path, taken) in [
        ("as-path-length = 'ge 3 le 4'", &[1, 2][..], false),
        ("as-path-length = 'ge 3 le 4'", &[1, 2, 3], true),
        ("as-path-length = 'ge 3 le 4'", &[1, 2, 3, 4], true),
        ("as-path-length = 'ge 3 le 4'", &[1, 2, 3, 4, 5], false),
        ("as-path-length = 2", &[1, 2], true),
        ("as-path-length = 2", &[1], false),
        ("as-path = ['^64501$', '7 8$']", &[64501], true),
        ("as-path = ['^64501$', '7 8$']", &[64501, 7, 8], true),
        ("as-path = ['^64501$', '7 8$']", &[64501, 7], false),
        ("if-local-pref = 100", &[1], true),
        ("if-local-pref = 'le 99'", &[1], false),
        ("if-med = 'ge 1'", &[1], false),
        ("if-next-hop = ['198.51.100.0/31']", &[1], true),
        ("if-next-hop = ['198.51.100.1']", &[1], false),
        ("if-origin = 'igp'", &[1], true),
        ("if-origin = 'incomplete'", &[1], false),
        ("community = ['64509:*']", &[1], true),
        ("community = ['*:2']", &[1], false),
    ] {
        let fleet = fleet("", &format!("{{ {condition}, action = 'accept' }}"));
        let got = import(&fleet, "one", "10.0.0.0/8", path).is_some();
        assert_eq!(got, taken, "{condition}: {path:?}");
    }
}

#[test]
fn whatever_a_policy_says_only_the_fleets_prefixes_are_told() {
    let fleet = fleet("", "{ action = 'accept' }");
    let site = fleet.site("one").unwrap();
    let neighbor = &site.neighbors[0];
    let policy = neighbor.export_policy(&fleet, site, 0);
    assert!(policy.rules.iter().all(|rule| rule.action == Action::Accept));
    let route = Arc::new(Attributes::new(neighbor.address));
    let told = |prefix: &str, local| {
        let facts = RouteFacts { local, ..RouteFacts::default() };
        policy.evaluate(&prefix.parse().unwrap(), &facts, &route, Asn(64500)).is_some()
    };
    assert!(told("192.0.2.0/24", true));
    assert!(!told("192.0.2.0/24", false));
    assert!(!told("192.0.2.0/25", true));
}

#[test]
fn what_is_steered_is_told_in_its_manner_and_the_rest_plainly() {
    use anycast_steer::Manner;

    let text = "
[fleet]
name = 'x'
asn = 64500
[prefix.'192.0.2.0/24']
services = ['a']
[prefix.'198.51.100.0/24']
services = ['b']
[prefix.'203.0.113.0/24']
services = ['c']
[service.a]
addresses = ['192.0.2.1']
builtin = 'whoami'
[service.b]
addresses = ['198.51.100.1']
builtin = 'whoami'
[service.c]
addresses = ['203.0.113.1']
builtin = 'whoami'
[policy.out]
rules = [
    { add-community = ['64500:7'], action = 'next' },
    { prefix = ['203.0.113.0/24'], action = 'reject' },
    { action = 'accept' },
]
[site.one.neighbor.t]
address = '10.0.0.0'
local-address = '10.0.0.1'
asn = 64501
export = 'out'
med = 5
prepend = 1
";
    let report = anycast_fleet::parse("fleet.toml", text);
    let fleet = report.fleet.expect("sound");
    let site = &fleet.sites[0];
    let net = |text: &str| -> IpNet { text.parse().unwrap() };
    let lame = Manner {
        prepend: 3,
        med: Some(9),
        communities: vec![anycast_steer::manner::GRACEFUL_SHUTDOWN],
    };
    let told = [
        (net("192.0.2.0/24"), Some(lame.clone())),
        (net("198.51.100.0/24"), None),
        (net("203.0.113.0/24"), Some(lame)),
    ];
    let evaluate = |policy: &Policy, prefix: &str| {
        let facts = RouteFacts { local: true, internal: true, ..RouteFacts::default() };
        let route = Arc::new(Attributes::new(std::net::IpAddr::from([0, 0, 0, 0])));
        policy
            .evaluate(&net(prefix), &facts, &route, Asn(64500))
            .map(|route| (route.as_path.length(), route.med, route.communities.len()))
    };
    let plain =
        site.neighbors[0].steered_export_policy(&fleet, site, 0, &anycast_fleet::Told::new());
    assert_eq!(plain, site.neighbors[0].export_policy(&fleet, site, 0));
    let steered = site.neighbors[0].steered_export_policy(&fleet, site, 0, &told.into());
    // (prefix, plainly, steered): path length before our own number, MED, communities.
    let table = [
        ("192.0.2.0/24", Some((1, Some(5), 1)), Some((4, Some(9), 2))),
        ("198.51.100.0/24", Some((1, Some(5), 1)), None),
        ("203.0.113.0/24", None, None),
        ("10.0.0.0/8", None, None),
    ];
    for (prefix, plainly, then) in table {
        assert_eq!(evaluate(&plain, prefix), plainly, "{prefix} plainly");
        assert_eq!(evaluate(&steered, prefix), then, "{prefix} steered");
    }
}

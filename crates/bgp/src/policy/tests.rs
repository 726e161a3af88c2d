use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

use super::relation::{Relation, export_policy, import_policy};
use super::*;
use crate::rov::Validity;
use crate::{AsPath, Attributes, List};

const US: Asn = Asn(64500);
const NEIGHBOR: Asn = Asn(64501);

fn large(text: &str) -> LargeCommunity {
    text.parse().unwrap()
}

fn route() -> Attributes {
    Attributes {
        as_path: AsPath::sequence(&[64501, 64502, 64503]),
        med: Some(7),
        communities: vec![Community(64501 << 16 | 1), Community::BLACKHOLE],
        large_communities: vec![large("64500:1:1"), large("64500:2:1"), large("64501:1:1")].into(),
        ..Attributes::new(IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1)))
    }
}

const LEARNT: RouteFacts =
    RouteFacts { local: false, internal: false, neighbor: None, rpki: Validity::NotFound };

fn evaluate(policy: &Policy, facts: RouteFacts, attributes: Attributes) -> Option<Attributes> {
    let prefix = "10.2.0.0/16".parse().unwrap();
    let attributes = Arc::new(attributes);
    policy.evaluate(&prefix, &facts, &attributes, NEIGHBOR).map(Arc::unwrap_or_clone)
}

#[test]
fn a_route_that_no_rule_accepts_is_rejected() {
    let reject = Rule::new(Action::Reject);
    let accept = Rule::new(Action::Accept);
    let next = Rule::new(Action::Next);
    let never = Match::Prefix(vec![]);
    for (name, rules, accepted) in [
        ("no rule", vec![], false),
        ("accept", vec![accept.clone()], true),
        ("reject", vec![reject.clone()], false),
        ("next and nothing behind", vec![next.clone()], false),
        ("next goes on", vec![next, accept.clone()], true),
        ("the first decision wins", vec![accept.clone(), reject.clone()], true),
        ("also against", vec![reject.clone(), accept.clone()], false),
        ("a rule that does not match", vec![accept.clone().when(never.clone())], false),
        ("is passed over", vec![reject.clone().when(never.clone()), accept.clone()], true),
        (
            "all matches of a rule must hold",
            vec![accept.when(Match::Family(Family::Ipv4Unicast)).when(never)],
            false,
        ),
    ] {
        assert_eq!(evaluate(&Policy { rules }, LEARNT, route()).is_some(), accepted, "{name}");
    }
    assert_eq!(evaluate(&Policy::accept_all(), LEARNT, route()), Some(route()));
    assert_eq!(evaluate(&Policy::reject_all(), LEARNT, route()), None);
}

#[test]
fn matches() {
    let reflected = RouteFacts { internal: true, ..LEARNT };
    let local = RouteFacts { local: true, ..reflected };
    let prefixes =
        |texts: &[&str]| Match::Prefix(texts.iter().map(|text| text.parse().unwrap()).collect());
    let other = Community(64501 << 16 | 2);
    for (condition, facts, holds) in [
        (prefixes(&[]), LEARNT, false),
        (prefixes(&["10.0.0.0/8"]), LEARNT, false),
        (prefixes(&["10.0.0.0/8+"]), LEARNT, true),
        (prefixes(&["192.0.2.0/24", "10.2.0.0/16"]), LEARNT, true),
        (Match::Family(Family::Ipv4Unicast), LEARNT, true),
        (Match::Family(Family::Ipv6Unicast), LEARNT, false),
        (Match::Community(vec![]), LEARNT, false),
        (Match::Community(vec![other.into()]), LEARNT, false),
        (Match::Community(vec![other.into(), Community::BLACKHOLE.into()]), LEARNT, true),
        (Match::LargeCommunity(vec![large("64500:1:2").into()]), LEARNT, false),
        (
            Match::LargeCommunity(vec![large("64500:1:2").into(), large("64501:1:1").into()]),
            LEARNT,
            true,
        ),
        (Match::AsPathContains(Asn(64502)), LEARNT, true),
        (Match::AsPathContains(Asn(64504)), LEARNT, false),
        (Match::OriginAs(Asn(64503)), LEARNT, true),
        (Match::OriginAs(Asn(64502)), LEARNT, false),
        (Match::Internal, local, true),
        (Match::Internal, reflected, true),
        (Match::Internal, LEARNT, false),
        (Match::Local, reflected, false),
        (Match::Local, LEARNT, false),
        (Match::Local, local, true),
    ] {
        let policy = Policy { rules: vec![Rule::new(Action::Accept).when(condition.clone())] };
        assert_eq!(evaluate(&policy, facts, route()).is_some(), holds, "{condition:?}");
    }
}

/// What a row of [`sets`] expects of the route.
type Change = fn(&mut Attributes);

#[test]
fn sets() {
    let low = Community(1);
    let table: &[(Set, Change)] = &[
        (Set::LocalPref(200), |it| it.local_pref = Some(200)),
        (Set::Med(Some(9)), |it| it.med = Some(9)),
        (Set::Med(None), |it| it.med = None),
        (Set::Prepend(0), |_| ()),
        (Set::Prepend(2), |it| {
            it.as_path = AsPath::sequence(&[64501, 64501, 64501, 64502, 64503]);
        }),
        (Set::AddCommunity(low), |it| it.communities.insert(0, Community(1))),
        (Set::AddCommunity(Community::BLACKHOLE), |_| ()),
        (Set::DeleteCommunity(Community::BLACKHOLE.into()), |it| it.communities.truncate(1)),
        (Set::DeleteCommunity(low.into()), |_| ()),
        (Set::AddLargeCommunity(large("64500:1:5")), |it| {
            it.large_communities.edit(|all| all.insert(1, large("64500:1:5")));
        }),
        (Set::AddLargeCommunity(large("64500:1:1")), |_| ()),
        (Set::DeleteLargeCommunity("64500:1:*".parse().unwrap()), |it| {
            it.large_communities = vec![large("64500:2:1"), large("64501:1:1")].into();
        }),
        (Set::DeleteLargeCommunity("64500:*:*".parse().unwrap()), |it| {
            it.large_communities = vec![large("64501:1:1")].into();
        }),
        (Set::DeleteLargeCommunity("64500:3:*".parse().unwrap()), |_| ()),
        (Set::DeleteLargeCommunity("64502:*:*".parse().unwrap()), |_| ()),
    ];
    for (set, change) in table {
        let policy = Policy { rules: vec![Rule::new(Action::Accept).set(set.clone())] };
        let mut expected = route();
        change(&mut expected);
        assert_eq!(evaluate(&policy, LEARNT, route()), Some(expected), "{set:?}");
    }
}

#[test]
fn attributes_are_copied_only_if_something_changes() {
    let prefix = "10.2.0.0/16".parse().unwrap();
    let attributes = Arc::new(route());
    let idle = [Set::Med(Some(7)), Set::Prepend(0), Set::AddCommunity(Community::BLACKHOLE)];
    let rule = idle.into_iter().fold(Rule::new(Action::Accept), Rule::set);
    for (rule, same) in [(rule.clone(), true), (rule.set(Set::Med(Some(8))), false)] {
        let policy = Policy { rules: vec![rule] };
        let result = policy.evaluate(&prefix, &LEARNT, &attributes, US).unwrap();
        assert_eq!(Arc::ptr_eq(&result, &attributes), same);
    }
}

#[test]
fn a_rule_sees_what_the_rules_before_it_changed() {
    let tagged = Match::Community(vec![Community::GRACEFUL_SHUTDOWN.into()]);
    let rules = vec![
        Rule::new(Action::Next).set(Set::AddCommunity(Community::GRACEFUL_SHUTDOWN)),
        Rule::new(Action::Accept).when(tagged).set(Set::LocalPref(0)),
    ];
    let result = evaluate(&Policy { rules }, LEARNT, route()).unwrap();
    assert_eq!(result.local_pref, Some(0));
}

#[test]
fn import_by_relation_prefers_and_tags_and_believes_no_foreign_tag() {
    for (relation, local_pref, tag) in [
        (Relation::Customer, 200, "64500:1:1"),
        (Relation::Peer, 150, "64500:1:2"),
        (Relation::Provider, 100, "64500:1:3"),
    ] {
        let policy = import_policy(relation, US);
        let expected = Attributes {
            local_pref: Some(local_pref),
            large_communities: vec![large(tag), large("64500:2:1"), large("64501:1:1")].into(),
            ..route()
        };
        assert_eq!(evaluate(&policy, LEARNT, route()), Some(expected.clone()), "{relation:?}");
        let leaving = |attributes: Attributes| {
            let mut communities = attributes.communities;
            communities.push(Community::GRACEFUL_SHUTDOWN);
            communities.sort_unstable();
            Attributes { communities, ..attributes }
        };
        assert_eq!(
            evaluate(&policy, LEARNT, leaving(route())),
            Some(Attributes { local_pref: Some(0), ..leaving(expected) }),
            "{relation:?}, graceful shutdown"
        );
    }
}

#[test]
fn export_by_relation_sends_customers_all_and_others_what_earns() {
    use Relation::{Customer, Peer, Provider};
    for (to, from, sent) in [
        (Customer, None, true),
        (Customer, Some(Customer), true),
        (Customer, Some(Peer), true),
        (Customer, Some(Provider), true),
        (Peer, None, true),
        (Peer, Some(Customer), true),
        (Peer, Some(Peer), false),
        (Peer, Some(Provider), false),
        (Provider, None, true),
        (Provider, Some(Customer), true),
        (Provider, Some(Peer), false),
        (Provider, Some(Provider), false),
    ] {
        let tags = from.map(|relation| relation.tag(US));
        let foreign = large("64501:1:1");
        let large_communities = tags.into_iter().chain([foreign]).collect();
        let tagged = Attributes { large_communities, ..route() };
        let facts = RouteFacts { local: from.is_none(), ..LEARNT };
        let untagged = Attributes { large_communities: vec![foreign].into(), ..route() };
        let expected = sent.then_some(untagged);
        assert_eq!(evaluate(&export_policy(to, US), facts, tagged), expected, "{from:?} → {to:?}");
    }
    let untagged = Attributes { large_communities: List::new(), ..route() };
    assert_eq!(evaluate(&export_policy(Provider, US), LEARNT, untagged), None);
}

#[test]
fn every_condition_on_a_route_holds_for_what_it_names_and_for_nothing_else() {
    let extended = |last: u8| ExtendedCommunity([0, 2, 0, 1, 0, 0, 0, last]);
    let attributes = Attributes {
        origin: Origin::Egp,
        local_pref: Some(150),
        extended_communities: vec![extended(1)].into(),
        ..route()
    };
    let plain = Attributes { med: None, ..route() };
    let neighbor: IpAddr = "192.0.2.1".parse().unwrap();
    let facts = RouteFacts { neighbor: Some(neighbor), ..LEARNT };
    let path = |text: &str| Match::AsPath(vec!["^9$".parse().unwrap(), text.parse().unwrap()]);
    let net = |text: &str| text.parse::<IpNet>().unwrap();
    for (condition, route, holds) in [
        (path("^64501 .* [64503-64510]$"), &attributes, true),
        (path("^64502"), &attributes, false),
        (Match::AsPathLength(0..=3), &attributes, true),
        (Match::AsPathLength(0..=2), &attributes, false),
        (Match::ExtendedCommunity(vec![extended(0), extended(1)]), &attributes, true),
        (Match::ExtendedCommunity(vec![extended(0)]), &attributes, false),
        (Match::Origin(Origin::Egp), &attributes, true),
        (Match::Origin(Origin::Igp), &attributes, false),
        (Match::LocalPref(150..=150), &attributes, true),
        (Match::LocalPref(0..=149), &attributes, false),
        (Match::LocalPref(100..=100), &plain, true),
        (Match::Med(7..=7), &attributes, true),
        (Match::Med(8..=u32::MAX), &attributes, false),
        (Match::Med(0..=0), &plain, true),
        (Match::NextHop(vec![net("10.0.0.0/8"), net("192.0.2.0/24")]), &attributes, true),
        (Match::NextHop(vec![net("10.0.0.0/8")]), &attributes, false),
        (Match::Neighbor(vec![neighbor]), &attributes, true),
        (Match::Neighbor(vec!["192.0.2.2".parse().unwrap()]), &attributes, false),
    ] {
        let policy = Policy { rules: vec![Rule::new(Action::Accept).when(condition.clone())] };
        assert_eq!(evaluate(&policy, facts, route.clone()).is_some(), holds, "{condition:?}");
    }
}

#[test]
fn communities_of_each_kind_are_added_deleted_and_replaced() {
    let extended = |last: u8| ExtendedCommunity([0, 2, 0, 1, 0, 0, 0, last]);
    let next_hop = NextHop::from("192.0.2.9".parse::<IpAddr>().unwrap());
    let before =
        Attributes { extended_communities: vec![extended(1), extended(3)].into(), ..route() };
    for (set, after) in [
        (
            Set::Origin(Origin::Incomplete),
            Attributes { origin: Origin::Incomplete, ..before.clone() },
        ),
        (Set::NextHop(next_hop), Attributes { next_hop, ..before.clone() }),
        (
            Set::ReplaceCommunities(vec![Community(2), Community(1), Community(2)]),
            Attributes { communities: vec![Community(1), Community(2)], ..before.clone() },
        ),
        (
            Set::ReplaceExtendedCommunities(vec![]),
            Attributes { extended_communities: List::new(), ..before.clone() },
        ),
        (
            Set::ReplaceLargeCommunities(vec![large("2:1:1"), large("1:1:1")]),
            Attributes {
                large_communities: vec![large("1:1:1"), large("2:1:1")].into(),
                ..before.clone()
            },
        ),
        (
            Set::AddExtendedCommunity(extended(2)),
            Attributes {
                extended_communities: vec![extended(1), extended(2), extended(3)].into(),
                ..before.clone()
            },
        ),
        (Set::AddExtendedCommunity(extended(1)), before.clone()),
        (
            Set::DeleteExtendedCommunity(extended(1)),
            Attributes { extended_communities: vec![extended(3)].into(), ..before.clone() },
        ),
        (Set::DeleteExtendedCommunity(extended(2)), before.clone()),
    ] {
        let policy = Policy { rules: vec![Rule::new(Action::Accept).set(set.clone())] };
        assert_eq!(evaluate(&policy, LEARNT, before.clone()), Some(after), "{set:?}");
    }
}

#[test]
fn prefixes_of_one_class_hold_the_same_conditions() {
    let pattern = |text: &str| Match::Prefix(vec![text.parse().unwrap()]);
    let rule = || Rule::new(Action::Accept);
    let policy = Policy {
        rules: vec![
            rule().when(pattern("10.0.0.0/8+")).when(Match::Local),
            rule().when(Match::Family(Family::Ipv6Unicast)),
            rule().when(pattern("10.1.0.0/16+")),
        ],
    };
    for (prefix, bits) in
        [("10.0.0.0/8", 0b001), ("10.1.2.0/24", 0b101), ("11.0.0.0/8", 0), ("2001:db8::/32", 0b010)]
    {
        assert_eq!(policy.class(&prefix.parse().unwrap()), PrefixClass::Conditions(bits));
    }
    let many = |count| Policy { rules: vec![rule().when(pattern("10.0.0.0/8")); count] };
    let prefix: IpNet = "10.0.0.0/8".parse().unwrap();
    assert_eq!(many(64).class(&prefix), PrefixClass::Conditions(u64::MAX));
    assert_eq!(many(65).class(&prefix), PrefixClass::Alone(prefix));
}

#[test]
fn a_rule_on_the_rpki_sees_the_state_of_the_route() {
    let reject = Rule::new(Action::Reject).when(Match::Rpki(Validity::Invalid));
    let prefer =
        Rule::new(Action::Next).when(Match::Rpki(Validity::Valid)).set(Set::LocalPref(200));
    let policy = Policy { rules: vec![reject, prefer, Rule::new(Action::Accept)] };
    assert!(policy.asks_rpki() && !Policy::accept_all().asks_rpki());
    for (rpki, want) in [
        (Validity::Valid, Some(Some(200))),
        (Validity::NotFound, Some(None)),
        (Validity::Invalid, None),
    ] {
        let attributes = Attributes::new(std::net::IpAddr::from([192, 0, 2, 1]));
        let got = evaluate(&policy, RouteFacts { rpki, ..LEARNT }, attributes);
        assert_eq!(got.map(|route| route.local_pref), want, "{rpki}");
    }
}

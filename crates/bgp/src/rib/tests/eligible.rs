//! What is kept and may not be used, and how much is kept.

use super::*;
use crate::as_path::{Segment, SegmentKind};

#[test]
fn what_may_not_become_best_is_kept_and_named() {
    let four = |path: &[u32]| route(path);
    let own_next_hop = Attributes { next_hop: ip("192.0.2.254").into(), ..route(&[64501]) };
    let reflected =
        Attributes { originator_id: Some(Ipv4Addr::new(10, 0, 0, 254)), ..route(&[64510]) };
    // (what came, from whom, why not)
    for (attributes, from, name, why) in [
        (four(&[64501, 64500]), ALPHA, "alpha", "our AS is in the path"),
        (four(&[64509]), ALPHA, "alpha", "the path does not start with the peer's AS"),
        (four(&[]), ALPHA, "alpha", "the path does not start with the peer's AS"),
        (own_next_hop, ALPHA, "alpha", "the next hop is our own address"),
        (four(&[64501, 64666]), ALPHA, "alpha", "rejected by import policy"),
        (four(&[64500]), CORE, "core", "our AS is in the path"),
        (reflected, CORE, "core", "we originated it ourselves"),
    ] {
        let mut rib = rib(&[ALPHA, BETA, CORE]);
        let rejected = Rule::new(Action::Reject).when(Match::OriginAs(Asn(64666)));
        rib.set_import(ALPHA, Policy { rules: vec![rejected, Rule::new(Action::Accept)] });
        rib.handle_update(from, announce("10.1.0.0/16", attributes));
        assert_eq!(told(&mut rib, BETA), NOTHING, "{why}");
        assert_eq!(fib(&mut rib), NOTHING, "{why}");
        assert_eq!(rib.best(&net("10.1.0.0/16")), None, "{why}");
        assert_eq!(
            explanation(&rib, "10.1.0.0/16"),
            format!("10.1.0.0/16\n  {name}: not eligible: {why}")
        );
        let counts = Counts { received: 1, accepted: 0, ..Counts::default() };
        assert_eq!(rib.counts(from), counts, "{why}");
        assert_eq!(rib.received(from).count(), 1, "{why}");
    }
}

#[test]
fn a_path_with_a_set_is_kept_and_not_eligible() {
    let mut rib = rib(&[ALPHA, BETA, CORE]);
    rib.handle_update(ALPHA, announce("10.1.0.0/16", route(&[64501])));
    told(&mut rib, BETA);
    let path = AsPath::of([
        Segment { kind: SegmentKind::AsSequence, asns: &[Asn(64501)] },
        Segment { kind: SegmentKind::AsSet, asns: &[Asn(64510), Asn(64511)] },
    ]);
    rib.handle_update(
        ALPHA,
        announce("10.1.0.0/16", Attributes { as_path: path, ..route(&[64501]) }),
    );
    assert_eq!(told(&mut rib, BETA), ["withdraw 10.1.0.0/16"], "as if it were withdrawn");
    assert_eq!(
        explanation(&rib, "10.1.0.0/16"),
        "10.1.0.0/16\n  alpha: not eligible: the path has an AS_SET (RFC 9774)"
    );
}

#[test]
fn what_is_no_unicast_is_ignored_beside_what_is() {
    let mut rib = rib(&[ALPHA, BETA]);
    let prefixes = ["224.0.0.0/4", "10.1.0.0/16", "127.0.0.0/8"].map(net);
    rib.handle_update(ALPHA, Update::announce(Arc::new(route(&[64501])), prefixes));
    assert_eq!(told(&mut rib, BETA), ["10.1.0.0/16: [64500 64501] via 192.0.2.254"]);
    assert_eq!(rib.counts(ALPHA), Counts { received: 3, accepted: 1, ..Counts::default() });
}

#[test]
fn a_route_server_need_not_be_first_in_the_path() {
    let mut rib = rib(&[BETA]);
    rib.add_peer(ALPHA, PeerConfig { enforce_first_as: false, ..config(ALPHA) });
    rib.peer_up(ALPHA, up(ALPHA));
    rib.handle_update(ALPHA, announce("10.1.0.0/16", route(&[64509])));
    assert_eq!(told(&mut rib, BETA), ["10.1.0.0/16: [64500 64509] via 192.0.2.254"]);
}

#[test]
fn a_path_longer_than_the_limit_is_not_eligible() {
    let mut rib = rib(&[ALPHA]);
    let limit = |length| Limits { as_path_length: Some(length), ..Limits::default() };
    rib.set_limits(ALPHA, limit(2));
    rib.handle_update(ALPHA, announce("10.1.0.0/16", route(&[64501, 64510])));
    rib.handle_update(ALPHA, announce("10.2.0.0/16", route(&[64501, 64510, 64511])));
    assert_eq!(fib(&mut rib), ["10.1.0.0/16 via 192.0.2.1 eBGP 1"]);
    assert_eq!(
        explanation(&rib, "10.2.0.0/16"),
        "10.2.0.0/16\n  alpha: not eligible: the path is longer than the limit"
    );
    rib.set_limits(ALPHA, limit(3));
    assert_eq!(fib(&mut rib), ["10.2.0.0/16 via 192.0.2.1 eBGP 1"]);
    rib.set_limits(ALPHA, limit(1));
    assert_eq!(fib(&mut rib), ["10.1.0.0/16 gone", "10.2.0.0/16 gone"]);
}

#[test]
fn limits_on_prefixes_are_reported_once_on_each_side_of_the_threshold() {
    let mut rib = rib(&[ALPHA]);
    let limits = Limits { warn_at: Some(3), prefixes: Some(4), as_path_length: None };
    rib.set_limits(ALPHA, limits);
    let events = |rib: &mut Rib| std::iter::from_fn(|| rib.poll_event()).collect::<Vec<_>>();
    let warning = |received| Event::PrefixWarning { peer: ALPHA, received };
    let limit = |limit| Event::PrefixLimit { peer: ALPHA, limit };
    let withdrawn = Update::withdraw(vec![net("10.0.2.0/24")]);
    // (what came, what is reported)
    for (update, reported) in [
        (many(2), vec![]),
        (many(3), vec![warning(3)]),
        (many(3), vec![]),
        (withdrawn.clone(), vec![]),
        (many(4), vec![warning(4)]),
        (many(5), vec![limit(4)]),
        (many(6), vec![]),
    ] {
        rib.handle_update(ALPHA, update);
        assert_eq!(events(&mut rib), reported, "{:?}", rib.counts(ALPHA));
    }
    rib.peer_down(ALPHA);
    rib.peer_up(ALPHA, up(ALPHA));
    rib.handle_update(ALPHA, many(5));
    assert_eq!(events(&mut rib), [limit(4)], "a new session is a new start");
    rib.set_limits(ALPHA, Limits { prefixes: Some(2), ..limits });
    assert_eq!(events(&mut rib), [limit(2)]);
}

#[test]
fn without_a_policy_nothing_comes_in_and_nothing_goes_out() {
    let mut rib = rib(&[ALPHA, BETA]);
    rib.originate(net("10.9.0.0/16"), route(&[]));
    told(&mut rib, BETA);
    rib.set_export(BETA, Policy::default());
    assert_eq!(told(&mut rib, BETA), ["withdraw 10.9.0.0/16"]);
    rib.set_import(ALPHA, Policy::default());
    rib.handle_update(ALPHA, announce("10.1.0.0/16", route(&[64501])));
    assert_eq!(rib.best(&net("10.1.0.0/16")), None);
}

#[test]
fn one_update_may_withdraw_and_announce_a_prefix_with_others_between() {
    for [first, second, third] in [
        ["10.1.0.0/16", "10.2.0.0/16", "10.3.0.0/16"],
        ["2001:db8:1::/48", "2001:db8:2::/48", "2001:db8:3::/48"],
    ] {
        // With a route that nothing else holds on to, and with one that is best.
        for import in [Policy::reject_all(), Policy::accept_all()] {
            let mut rib = rib(&[BETA]);
            rib.set_import(BETA, import);
            rib.handle_update(BETA, announce(first, route(&[64502])));
            let mut both = announce(second, route(&[64502]));
            both.announced[0].prefixes.push(net(first).into());
            rib.handle_update(BETA, Update { withdrawn: vec![net(first).into()], ..both });
            rib.handle_update(BETA, announce(third, route(&[64502])));
            let received: Vec<String> =
                rib.received(BETA).map(|it| it.prefix.to_string()).collect();
            assert_eq!(received, [first, second, third]);
            assert_eq!(rib.counts(BETA).received, 3);
            for prefix in [first, second, third] {
                rib.handle_update(BETA, withdraw(prefix));
            }
            assert_eq!((rib.counts(BETA).received, rib.received(BETA).count()), (0, 0));
        }
    }
}

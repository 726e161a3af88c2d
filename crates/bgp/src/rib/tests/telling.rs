//! When and in which order peers are told.

use super::*;

#[test]
fn a_flap_between_two_polls_says_nothing() {
    let mut rib = rib(&[ALPHA, BETA]);
    rib.handle_update(ALPHA, announce("10.1.0.0/16", route(&[64501])));
    told(&mut rib, BETA);
    fib(&mut rib);
    for _ in 0..3 {
        rib.handle_update(ALPHA, withdraw("10.1.0.0/16"));
        rib.handle_update(ALPHA, announce("10.2.0.0/16", route(&[64501])));
        rib.handle_update(ALPHA, announce("10.1.0.0/16", route(&[64501, 64510])));
        rib.handle_update(ALPHA, announce("10.1.0.0/16", route(&[64501])));
        rib.handle_update(ALPHA, withdraw("10.2.0.0/16"));
    }
    assert_eq!(told(&mut rib, BETA), NOTHING);
    assert_eq!(fib(&mut rib), NOTHING);
}

#[test]
fn withdrawals_go_before_announcements() {
    let mut rib = rib(&[ALPHA, BETA]);
    rib.handle_update(ALPHA, announce("10.1.0.0/16", route(&[64501])));
    told(&mut rib, BETA);
    rib.handle_update(ALPHA, announce("10.2.0.0/16", route(&[64501])));
    rib.handle_update(ALPHA, withdraw("10.1.0.0/16"));
    assert_eq!(
        told(&mut rib, BETA),
        ["withdraw 10.1.0.0/16", "10.2.0.0/16: [64500 64501] via 192.0.2.254"]
    );
}

#[test]
fn a_prefix_both_withdrawn_and_announced_in_one_update_is_announced() {
    let mut rib = rib(&[ALPHA, BETA]);
    let mut update = announce("10.1.0.0/16", route(&[64501]));
    update.withdrawn = vec![net("10.1.0.0/16").into()];
    rib.handle_update(ALPHA, update);
    assert_eq!(told(&mut rib, BETA), ["10.1.0.0/16: [64500 64501] via 192.0.2.254"]);
}

#[test]
fn prefixes_with_equal_attributes_share_updates_of_at_most_a_thousand() {
    let mut rib = rib(&[ALPHA, BETA]);
    let prefixes: Vec<IpNet> = (0..2500_u32)
        .map(|it| IpNet::new(Ipv4Addr::from_bits((10 << 24) + (it << 8)).into(), 24).unwrap())
        .collect();
    let odd = |at: usize| at % 2 == 1;
    for parity in [false, true] {
        let chosen = prefixes.iter().enumerate().filter(|(at, _)| odd(*at) == parity);
        let prefixes = chosen.map(|(_, prefix)| (*prefix).into()).collect();
        // The MED differs, but it is not told to another AS: the attributes told are equal.
        let attributes = Attributes { med: Some(parity.into()), ..route(&[64501]) };
        let announcement = Announcement { attributes: Arc::new(attributes), prefixes };
        rib.handle_update(ALPHA, Update { announced: vec![announcement], ..Update::default() });
    }
    let sizes = |rib: &mut Rib, size: fn(&Update) -> usize| -> Vec<usize> {
        std::iter::from_fn(|| rib.poll_update(BETA)).map(|update| size(&update)).collect()
    };
    assert_eq!(sizes(&mut rib, |it| it.announced[0].prefixes.len()), [1000, 1000, 500]);
    assert_eq!(rib.counts(BETA), Counts { advertised: 2500, ..Counts::default() });
    rib.peer_down(ALPHA);
    assert_eq!(sizes(&mut rib, |it| it.withdrawn.len()), [1000, 1000, 500]);
}

#[test]
fn a_refresh_tells_all_of_the_family_again_and_no_other() {
    let mut rib = rib(&[ALPHA, BETA]);
    rib.originate(net("10.9.0.0/16"), route(&[]));
    rib.originate(net("2001:db8:9::/48"), route(&[]));
    rib.handle_update(ALPHA, announce("10.1.0.0/16", route(&[64501])));
    rib.handle_update(ALPHA, announce("10.2.0.0/16", route(&[64501])));
    told(&mut rib, BETA);
    rib.handle_update(ALPHA, withdraw("10.1.0.0/16"));
    rib.handle_update(ALPHA, withdraw("10.2.0.0/16"));
    rib.handle_update(ALPHA, announce("10.1.0.0/16", route(&[64501])));
    rib.handle_refresh(BETA, Family::Ipv4Unicast);
    assert_eq!(rib.advertised(BETA).count(), 4, "it has not read that one is withdrawn");
    assert_eq!(
        told(&mut rib, BETA),
        [
            "withdraw 10.2.0.0/16",
            "10.1.0.0/16: [64500 64501] via 192.0.2.254",
            "10.9.0.0/16: [64500] via 192.0.2.254",
        ]
    );
}

#[test]
fn a_changed_policy_tells_only_what_differs() {
    let mut rib = rib(&[ALPHA, BETA]);
    rib.handle_update(ALPHA, announce("10.1.0.0/16", route(&[64501])));
    rib.handle_update(ALPHA, announce("10.2.0.0/16", route(&[64501])));
    told(&mut rib, BETA);
    let only = |text: &str, set: Set| {
        let patterns = Match::Prefix(vec![text.parse().unwrap()]);
        let rules =
            vec![Rule::new(Action::Next).when(patterns).set(set), Rule::new(Action::Accept)];
        Policy { rules }
    };
    rib.set_export(BETA, only("10.2.0.0/16", Set::Prepend(1)));
    assert_eq!(told(&mut rib, BETA), ["10.2.0.0/16: [64500 64500 64501] via 192.0.2.254"]);
    rib.set_import(ALPHA, only("10.1.0.0/16", Set::Prepend(1)));
    assert_eq!(told(&mut rib, BETA), ["10.1.0.0/16: [64500 64501 64501] via 192.0.2.254"]);
    rib.set_import(ALPHA, only("10.1.0.0/16", Set::LocalPref(70)));
    assert_eq!(told(&mut rib, BETA), ["10.1.0.0/16: [64500 64501] via 192.0.2.254"]);
    rib.set_import(ALPHA, Policy::reject_all());
    assert_eq!(told(&mut rib, BETA), ["withdraw 10.1.0.0/16 10.2.0.0/16"]);
    assert_eq!(rib.counts(ALPHA), Counts { received: 2, accepted: 0, ..Counts::default() });
    rib.set_import(ALPHA, Policy::accept_all());
    assert_eq!(
        told(&mut rib, BETA),
        [
            "10.1.0.0/16: [64500 64501] via 192.0.2.254",
            "10.2.0.0/16: [64500 64500 64501] via 192.0.2.254",
        ]
    );
    assert_eq!(rib.counts(ALPHA), Counts { received: 2, accepted: 2, ..Counts::default() });
}

#[test]
fn who_is_told_of_our_own_routes_only_has_nothing_to_do_with_those_of_others() {
    let mut rib = rib(&[ALPHA, BETA]);
    let local = || Rule::new(Action::Accept).when(Match::Local);
    for rules in [
        vec![],
        vec![Rule::new(Action::Reject)],
        vec![Rule::new(Action::Next).set(Set::Prepend(1)), local()],
    ] {
        rib.set_export(BETA, Policy { rules: rules.clone() });
        told(&mut rib, BETA);
        rib.originate("192.0.2.0/24".parse().unwrap(), route(&[]));
        rib.handle_update(ALPHA, announce("10.1.0.0/16", route(&[64501])));
        let own = if rules.len() > 1 {
            vec!["192.0.2.0/24: [64500 64500] via 192.0.2.254"]
        } else {
            vec![]
        };
        assert_eq!(told(&mut rib, BETA), own, "{rules:?}");
        rib.set_export(BETA, Policy::accept_all());
        let all =
            ["10.1.0.0/16: [64500 64501] via 192.0.2.254", "192.0.2.0/24: [64500] via 192.0.2.254"];
        assert_eq!(told(&mut rib, BETA), all, "{rules:?}");
        rib.set_export(BETA, Policy { rules: vec![local()] });
        assert_eq!(told(&mut rib, BETA), ["withdraw 10.1.0.0/16"], "{rules:?}");
        rib.handle_update(ALPHA, withdraw("10.1.0.0/16"));
        rib.withdraw_local(&"192.0.2.0/24".parse().unwrap());
        assert_eq!(told(&mut rib, BETA), ["withdraw 192.0.2.0/24"], "{rules:?}");
    }
}

#[test]
fn a_withdrawal_overtakes_a_table_on_its_way() {
    let mut rib = rib(&[ALPHA]);
    rib.handle_update(ALPHA, many(20_000));
    rib.add_peer(BETA, config(BETA));
    rib.peer_up(BETA, up(BETA));
    let first = rib.poll_update(BETA).unwrap().announced[0].prefixes.clone();
    rib.handle_update(ALPHA, Update::withdraw(vec![first[0]]));
    let mut announced = first.len();
    let withdrawn = loop {
        let update = rib.poll_update(BETA).unwrap();
        announced += update.announced.iter().map(|it| it.prefixes.len()).sum::<usize>();
        if !update.withdrawn.is_empty() {
            break update.withdrawn;
        }
    };
    assert_eq!((withdrawn, announced), (vec![first[0]], 4096), "what was ready goes first");
    let rest = std::iter::from_fn(|| rib.poll_update(BETA));
    let rest: usize = rest.flat_map(|it| it.announced).map(|it| it.prefixes.len()).sum();
    assert_eq!(announced + rest, 20_000);
}

#[test]
fn a_poll_comes_back_even_if_there_is_nothing_to_tell() {
    let mut rib = rib(&[ALPHA]);
    rib.handle_update(ALPHA, many(40_000));
    rib.add_peer(BETA, PeerConfig { export: Policy::reject_all(), ..config(BETA) });
    rib.peer_up(BETA, up(BETA));
    assert_eq!(rib.poll_update(BETA), Some(Update::default()));
    assert_eq!(told(&mut rib, BETA), ["end of ipv4", "withdraw ", "end of ipv6"]);
    assert_eq!(rib.poll_update(BETA), None);
}

#[test]
fn what_is_said_to_or_by_a_peer_that_is_down_or_unknown_is_nothing() {
    let mut rib = rib(&[ALPHA]);
    rib.add_peer(BETA, config(BETA));
    rib.originate(net("10.9.0.0/16"), route(&[]));
    for id in [BETA, PeerId(99)] {
        rib.handle_update(id, announce("10.1.0.0/16", route(&[64502])));
        rib.handle_refresh(id, Family::Ipv4Unicast);
        rib.set_import(id, Policy::reject_all());
        rib.set_export(id, Policy::reject_all());
        assert_eq!(told(&mut rib, id), NOTHING);
        assert_eq!(rib.counts(id), Counts::default());
        rib.remove_peer(id);
    }
    assert_eq!(rib.best(&net("10.1.0.0/16")), None);
}

#[test]
fn nothing_is_kept_of_what_is_gone() {
    let mut rib = rib(&[ALPHA, BETA, CORE]);
    rib.originate(net("2001:db8:9::/48"), route(&[]));
    rib.handle_update(ALPHA, many(3000));
    rib.handle_update(BETA, many(10));
    for id in [ALPHA, BETA, CORE] {
        told(&mut rib, id);
    }
    fib(&mut rib);
    rib.withdraw_local(&net("2001:db8:9::/48"));
    rib.peer_down(ALPHA);
    rib.remove_peer(CORE);
    rib.peer_down(BETA);
    fib(&mut rib);
    assert_eq!((rib.sets.len(), rib.table.len()), (0, 0));
}

//! Which next hop a peer is told, and which of its own are taken.

use super::*;

#[test]
fn next_hops_within_the_as() {
    let link_local = Some("fe80::1".parse().unwrap());
    for (next_hop_self, v4, v6) in
        [(false, "192.0.2.1", "2001:db8::1"), (true, "10.0.0.254", "2001:db8::254")]
    {
        let mut rib = rib(&[ALPHA]);
        rib.add_peer(CORE, PeerConfig { next_hop_self, ..config(CORE) });
        let next_hop = NextHop { address: ip("2001:db8::1"), link_local };
        let six = Attributes { next_hop, ..route(&[64501]) };
        rib.handle_update(ALPHA, announce("10.1.0.0/16", route(&[64501])));
        rib.handle_update(ALPHA, announce("2001:db8:1::/48", six));
        rib.peer_up(CORE, up(CORE));
        assert_eq!(
            told(&mut rib, CORE),
            [
                &format!("10.1.0.0/16: [64501] via {v4} pref 100"),
                "end of ipv4",
                &format!("2001:db8:1::/48: [64501] via {v6} pref 100"),
                "end of ipv6",
            ]
        );
    }
}

#[test]
fn a_family_without_a_next_hop_of_ours_or_not_negotiated_is_not_announced() {
    let both = vec![Family::Ipv4Unicast, Family::Ipv6Unicast];
    let four = "10.9.0.0/16: [64500] via 192.0.2.254";
    let table: &[(PeerUp, &[&str])] = &[
        (
            PeerUp { next_hop_other: None, families: both, ..up(ALPHA) },
            &[four, "end of ipv4", "end of ipv6"],
        ),
        (PeerUp { families: vec![Family::Ipv4Unicast], ..up(ALPHA) }, &[four, "end of ipv4"]),
        (
            PeerUp { families: vec![Family::Ipv6Unicast], ..up(ALPHA) },
            &["2001:db8:9::/48: [64500] via 2001:db8::254", "end of ipv6"],
        ),
    ];
    for (up, lines) in table {
        let mut rib = rib(&[]);
        rib.add_peer(ALPHA, config(ALPHA));
        rib.originate(net("10.9.0.0/16"), route(&[]));
        rib.originate(net("2001:db8:9::/48"), route(&[]));
        rib.peer_up(ALPHA, up.clone());
        assert_eq!(told(&mut rib, ALPHA), *lines);
        rib.handle_update(ALPHA, announce("10.1.0.0/16", route(&[64501])));
        let negotiated = up.families.contains(&Family::Ipv4Unicast);
        assert_eq!(rib.counts(ALPHA).received, usize::from(negotiated));
    }
}

#[test]
fn a_neighbor_on_the_link_names_next_hops_on_the_link_and_not_ours() {
    let ours = "the next hop is our own address";
    let elsewhere = "the next hop is on no subnet that we share with the peer";
    // (next hop, from whom, why not)
    for (next_hop, from, why) in [
        ("192.0.2.77", ALPHA, None),
        ("192.0.2.3", ALPHA, Some(ours)),
        ("127.0.0.1", ALPHA, Some(ours)),
        ("203.0.113.1", ALPHA, Some(elsewhere)),
        ("203.0.113.1", CORE, None),
    ] {
        let mut rib = rib(&[ALPHA, CORE]);
        for peer in [ALPHA, CORE] {
            rib.set_on_link(peer, vec![net("192.0.2.3/24")]);
        }
        let path: &[u32] = if from == ALPHA { &[64501] } else { &[] };
        let attributes = Attributes { next_hop: ip(next_hop).into(), ..route(path) };
        rib.handle_update(from, announce("10.1.0.0/16", attributes));
        let found = rib.received(from).next().and_then(|route| route.ineligible);
        assert_eq!(found.map(|why| why.to_string()).as_deref(), why, "{next_hop}");
    }
}

/// RFC 8950: where it was agreed on, an IPv6 next hop will do for IPv4, if there is no other.
#[test]
fn an_ipv4_prefix_has_an_ipv6_next_hop_where_there_is_no_other_and_the_peer_takes_it() {
    let agreed = Agreed { extended_next_hop: true, ..Agreed::default() };
    let (ours, theirs) = (ip("2001:db8::254"), ip("2001:db8::1"));
    // (what was agreed on, our IPv4 address, the next hop that is told)
    for (agreed, next_hop_other, told_of) in [
        (agreed, None, Some("2001:db8::254")),
        (agreed, Some(ip("192.0.2.254")), Some("192.0.2.254")),
        (Agreed::default(), None, None),
        (Agreed::default(), Some(ip("192.0.2.254")), Some("192.0.2.254")),
    ] {
        let mut rib = rib(&[BETA]);
        rib.add_peer(ALPHA, PeerConfig { address: theirs, ..config(ALPHA) });
        rib.peer_up(ALPHA, PeerUp { local_address: ours, next_hop_other, agreed, ..up(ALPHA) });
        told(&mut rib, ALPHA);
        rib.originate(net("10.9.0.0/16"), route(&[]));
        let line = |next_hop| format!("10.9.0.0/16: [64500] via {next_hop}");
        assert_eq!(told(&mut rib, ALPHA), Vec::from_iter(told_of.map(line)));
    }
    // What comes so goes on as ever, and into the forwarding table as it is; within the AS to
    // those only who take it.
    for (agreed, goes) in [(agreed, true), (Agreed::default(), false)] {
        let mut rib = rib(&[ALPHA, BETA]);
        rib.add_peer(CORE, config(CORE));
        rib.peer_up(CORE, PeerUp { agreed, ..up(CORE) });
        told(&mut rib, CORE);
        let attributes = Attributes { next_hop: theirs.into(), ..route(&[64501]) };
        rib.handle_update(ALPHA, announce("10.1.0.0/16", attributes));
        assert_eq!(fib(&mut rib), ["10.1.0.0/16 via 2001:db8::1 eBGP 1"]);
        assert_eq!(told(&mut rib, BETA), ["10.1.0.0/16: [64500 64501] via 192.0.2.254"]);
        let within = "10.1.0.0/16: [64501] via 2001:db8::1 pref 100".to_owned();
        assert_eq!(told(&mut rib, CORE), Vec::from_iter(goes.then_some(within)));
    }
}

#[test]
fn an_export_policy_may_ask_for_the_neighbor_and_set_the_next_hop() {
    let mut rib = rib(&[ALPHA, BETA, CORE]);
    let from_alpha = || Match::Neighbor(vec![config(ALPHA).address]);
    let elsewhere = NextHop::from(ip("192.0.2.77"));
    let rules = vec![
        Rule::new(Action::Accept).when(from_alpha()).set(Set::NextHop(elsewhere)),
        Rule::new(Action::Reject).when(Match::Neighbor(vec![config(CORE).address])),
        Rule::new(Action::Accept),
    ];
    rib.set_export(BETA, Policy { rules });
    rib.originate(net("10.9.0.0/16"), route(&[]));
    rib.handle_update(CORE, announce("10.8.0.0/16", route(&[64510])));
    rib.handle_update(ALPHA, announce("10.1.0.0/16", route(&[64501])));
    rib.handle_update(ALPHA, announce("2001:db8::/32", route(&[64501])));
    assert_eq!(
        told(&mut rib, BETA),
        ["10.9.0.0/16: [64500] via 192.0.2.254", "10.1.0.0/16: [64500 64501] via 192.0.2.77",]
    );
}

//! One speaker, AS 64500, with some peers; whole outputs, as lines of text, are compared.

mod look;
mod model;
mod monitor;
mod origins;
mod paths;
mod roles;
mod stale;
mod topology;

use std::fmt::Write;

use super::*;
use crate::attribute::UnknownAttribute;
use crate::message::{Announcement, Nlri};
use crate::policy::{Action, Match, Rule, Set};
use crate::{AsPath, Community, NextHop};

const US: Asn = Asn(64500);
/// Two eBGP peers and two iBGP peers.
const ALPHA: PeerId = PeerId(1);
const BETA: PeerId = PeerId(2);
const CORE: PeerId = PeerId(3);
const EDGE: PeerId = PeerId(4);

fn net(text: &str) -> IpNet {
    text.parse().unwrap()
}

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

fn config(id: PeerId) -> PeerConfig {
    let (name, asn, address) = match id {
        ALPHA => ("alpha", Asn(64501), "192.0.2.1"),
        BETA => ("beta", Asn(64502), "192.0.2.2"),
        CORE => ("core", US, "10.0.0.3"),
        _ => ("edge", US, "10.0.0.4"),
    };
    PeerConfig {
        name: name.to_owned(),
        asn,
        address: ip(address),
        import: Policy::accept_all(),
        export: Policy::accept_all(),
        next_hop_self: false,
        enforce_first_as: true,
        role: None,
    }
}

fn up(id: PeerId) -> PeerUp {
    PeerUp {
        router_id: Ipv4Addr::from_bits(id.0),
        local_address: if id.0 <= BETA.0 { ip("192.0.2.254") } else { ip("10.0.0.254") },
        next_hop_other: Some(ip("2001:db8::254")),
        families: vec![Family::Ipv4Unicast, Family::Ipv6Unicast],
        send_paths: SendPaths::default(),
        agreed: Agreed::default(),
    }
}

/// A speaker with these peers, all up, that have read their empty tables.
fn rib(peers: &[PeerId]) -> Rib {
    let mut rib = Rib::new(US, Ipv4Addr::new(10, 0, 0, 254));
    for &id in peers {
        rib.add_peer(id, config(id));
        rib.peer_up(id, up(id));
        assert_eq!(told(&mut rib, id), ["end of ipv4", "end of ipv6"]);
    }
    rib
}

/// A route with this path; the next hop is the address of alpha, beta or the iBGP peer.
fn route(path: &[u32]) -> Attributes {
    let next_hop = match path.first() {
        Some(64501) => "192.0.2.1",
        Some(64502) => "192.0.2.2",
        _ => "10.0.0.3",
    };
    Attributes { as_path: AsPath::sequence(path), ..Attributes::new(ip(next_hop)) }
}

fn announce(prefix: &str, attributes: Attributes) -> Update {
    let announcement =
        Announcement { attributes: Arc::new(attributes), prefixes: vec![net(prefix).into()] };
    Update { announced: vec![announcement], ..Update::default() }
}

fn withdraw(prefix: &str) -> Update {
    Update { withdrawn: vec![net(prefix).into()], ..Update::default() }
}

/// All that the peer is now told, a line for each piece.
fn told(rib: &mut Rib, id: PeerId) -> Vec<String> {
    std::iter::from_fn(|| rib.poll_update(id)).map(|update| line(&update)).collect()
}

fn line(update: &Update) -> String {
    let list =
        |prefixes: &[Nlri]| prefixes.iter().map(ToString::to_string).collect::<Vec<_>>().join(" ");
    match update {
        Update { withdrawn, announced, end_of_rib: None, faults }
            if announced.is_empty() && faults.is_empty() =>
        {
            format!("withdraw {}", list(withdrawn))
        }
        Update { withdrawn, announced, end_of_rib: None, faults }
            if withdrawn.is_empty() && announced.len() == 1 && faults.is_empty() =>
        {
            let Announcement { attributes, prefixes } = &announced[0];
            format!("{}: {}", list(prefixes), words(attributes))
        }
        Update { withdrawn, announced, end_of_rib: Some(family), .. }
            if withdrawn.is_empty() && announced.is_empty() =>
        {
            format!("end of {family}")
        }
        other => panic!("more than one piece: {other:?}"),
    }
}

/// Everything in the attributes that is not the least.
fn words(attributes: &Attributes) -> String {
    let mut words = vec![format!("[{}] via {}", attributes.as_path, attributes.next_hop)];
    words.extend(attributes.next_hop.link_local.map(|it| format!("and {it}")));
    words.extend(attributes.otc.map(|it| format!("otc {it}")));
    words.extend(attributes.local_pref.map(|it| format!("pref {it}")));
    words.extend(attributes.med.map(|it| format!("med {it}")));
    words.extend(attributes.communities.iter().map(ToString::to_string));
    words.extend(attributes.large_communities.iter().map(ToString::to_string));
    words.extend(attributes.originator_id.map(|it| format!("originator {it}")));
    words.extend(attributes.cluster_list.iter().map(|it| format!("cluster {it}")));
    words.extend(attributes.unknown.iter().map(|it| format!("{:#x}/{}", it.flags, it.code)));
    words.join(" ")
}

/// All that the forwarding table is now told.
fn fib(rib: &mut Rib) -> Vec<String> {
    std::iter::from_fn(|| rib.poll_fib())
        .map(|change| match change.route {
            None => format!("{} gone", change.prefix),
            Some(FibRoute { best, others }) => {
                let hop = |FibHop { next_hop, ebgp, peer }| {
                    let kind = if ebgp { "eBGP" } else { "iBGP" };
                    format!("via {next_hop} {kind} {}", peer.0)
                };
                let hops: Vec<_> = std::iter::once(best).chain(others).map(hop).collect();
                format!("{} {}", change.prefix, hops.join(" and "))
            }
        })
        .collect()
}

/// The prefix, then a line for each route: who, and what became of it.
fn explanation(rib: &Rib, prefix: &str) -> String {
    let Some(explanation) = rib.explain(&net(prefix)) else { return String::new() };
    let mut text = explanation.prefix.to_string();
    for ExplainedRoute { name, outcome, .. } in &explanation.routes {
        let mark = if *outcome == Outcome::Best { '*' } else { ' ' };
        write!(text, "\n{mark} {name}: {outcome}").unwrap();
    }
    text
}

const NOTHING: [&str; 0] = [];

#[test]
fn a_route_goes_to_everyone_but_whence_it_came() {
    let mut rib = rib(&[ALPHA, BETA, CORE, EDGE]);
    let received = Attributes {
        med: Some(5),
        local_pref: Some(999),
        originator_id: Some(Ipv4Addr::new(1, 1, 1, 1)),
        cluster_list: vec![Ipv4Addr::new(2, 2, 2, 2)],
        ..route(&[64501, 64510])
    };
    rib.handle_update(ALPHA, announce("10.1.0.0/16", received));
    assert_eq!(told(&mut rib, ALPHA), NOTHING);
    assert_eq!(told(&mut rib, BETA), ["10.1.0.0/16: [64500 64501 64510] via 192.0.2.254"]);
    let inside = ["10.1.0.0/16: [64501 64510] via 192.0.2.1 pref 100 med 5"];
    assert_eq!(told(&mut rib, CORE), inside);
    assert_eq!(told(&mut rib, EDGE), inside);
    assert_eq!(fib(&mut rib), ["10.1.0.0/16 via 192.0.2.1 eBGP 1"]);

    rib.handle_update(ALPHA, withdraw("10.1.0.0/16"));
    assert_eq!(told(&mut rib, ALPHA), NOTHING);
    for id in [BETA, CORE, EDGE] {
        assert_eq!(told(&mut rib, id), ["withdraw 10.1.0.0/16"]);
    }
    assert_eq!(fib(&mut rib), ["10.1.0.0/16 gone"]);
    assert_eq!(rib.routes().count(), 0);
}

#[test]
fn a_route_from_ibgp_goes_to_ebgp_only() {
    let mut rib = rib(&[ALPHA, CORE, EDGE]);
    let received = Attributes {
        local_pref: Some(300),
        med: Some(5),
        originator_id: Some(Ipv4Addr::new(1, 1, 1, 1)),
        cluster_list: vec![Ipv4Addr::new(2, 2, 2, 2)],
        ..route(&[64510])
    };
    rib.handle_update(CORE, announce("10.1.0.0/16", received));
    assert_eq!(told(&mut rib, ALPHA), ["10.1.0.0/16: [64500 64510] via 192.0.2.254"]);
    assert_eq!(told(&mut rib, CORE), NOTHING);
    assert_eq!(told(&mut rib, EDGE), NOTHING);
    assert_eq!(fib(&mut rib), ["10.1.0.0/16 via 10.0.0.3 iBGP 3"]);
}

#[test]
fn a_local_route_goes_to_all_with_our_own_next_hop() {
    let mut rib = rib(&[ALPHA, CORE]);
    let attributes = Attributes { med: Some(5), ..Attributes::new(ip("203.0.113.9")) };
    rib.originate(net("10.9.9.9/16"), attributes.clone());
    rib.originate(net("2001:db8:9::/48"), attributes.clone());
    assert_eq!(
        told(&mut rib, ALPHA),
        [
            "10.9.0.0/16: [64500] via 192.0.2.254 med 5",
            "2001:db8:9::/48: [64500] via 2001:db8::254 med 5",
        ]
    );
    assert_eq!(
        told(&mut rib, CORE),
        [
            "10.9.0.0/16: [] via 10.0.0.254 pref 100 med 5",
            "2001:db8:9::/48: [] via 2001:db8::254 pref 100 med 5",
        ]
    );
    rib.originate(net("10.9.0.0/16"), attributes);
    rib.withdraw_local(&net("10.8.0.0/16"));
    assert_eq!(told(&mut rib, ALPHA), NOTHING, "nothing changed");
    rib.withdraw_local(&net("10.9.0.0/16"));
    assert_eq!(told(&mut rib, ALPHA), ["withdraw 10.9.0.0/16"]);
    assert_eq!(fib(&mut rib), NOTHING, "we deliver our own prefixes ourselves");
}

#[test]
fn a_local_route_takes_over_from_a_learnt_one_and_gives_back() {
    let mut rib = rib(&[ALPHA, BETA]);
    let prefix = net("10.1.0.0/16");
    rib.handle_update(ALPHA, announce("10.1.0.0/16", route(&[64501])));
    assert_eq!(told(&mut rib, BETA), ["10.1.0.0/16: [64500 64501] via 192.0.2.254"]);
    assert_eq!(fib(&mut rib), ["10.1.0.0/16 via 192.0.2.1 eBGP 1"]);
    rib.originate(prefix, route(&[]));
    assert_eq!(told(&mut rib, ALPHA), ["10.1.0.0/16: [64500] via 192.0.2.254"]);
    assert_eq!(told(&mut rib, BETA), ["10.1.0.0/16: [64500] via 192.0.2.254"]);
    assert_eq!(fib(&mut rib), ["10.1.0.0/16 gone"]);
    assert_eq!(
        explanation(&rib, "10.1.0.0/16"),
        "10.1.0.0/16\n* local: best\n  alpha: lost to local by locally originated: learnt \
         against local"
    );
    rib.withdraw_local(&prefix);
    assert_eq!(told(&mut rib, ALPHA), ["withdraw 10.1.0.0/16"]);
    assert_eq!(told(&mut rib, BETA), ["10.1.0.0/16: [64500 64501] via 192.0.2.254"]);
    assert_eq!(fib(&mut rib), ["10.1.0.0/16 via 192.0.2.1 eBGP 1"]);
}

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
fn well_known_communities_keep_a_route_in() {
    // (community, does it go to eBGP, does it go to iBGP)
    for (community, ebgp, ibgp) in [
        (Community(64501 << 16), true, true),
        (Community::NO_EXPORT, false, true),
        (Community::NO_EXPORT_SUBCONFED, false, true),
        (Community::NO_ADVERTISE, false, false),
        (Community::BLACKHOLE, false, true),
        (Community::GRACEFUL_SHUTDOWN, true, true),
    ] {
        let mut rib = rib(&[ALPHA, BETA, CORE]);
        let attributes = Attributes { communities: vec![community], ..route(&[64501]) };
        rib.handle_update(ALPHA, announce("10.1.0.0/16", attributes));
        assert_eq!(told(&mut rib, BETA).len(), usize::from(ebgp), "{community} to eBGP");
        assert_eq!(told(&mut rib, CORE).len(), usize::from(ibgp), "{community} to iBGP");
    }
}

/// RFC 7999 §3.2: a learnt one stays in, whatever policy makes of its communities; our own goes to
/// those who are to drop for us.
#[test]
fn a_blackhole_is_for_the_neighbor_it_was_sent_to() {
    let mut rib = rib(&[ALPHA, BETA]);
    let communities = vec![Community::BLACKHOLE];
    let attributes = Attributes { communities: communities.clone(), ..route(&[64501]) };
    rib.handle_update(ALPHA, announce("10.1.0.1/32", attributes));
    rib.originate(net("10.9.0.1/32"), Attributes { communities, ..route(&[]) });
    assert_eq!(told(&mut rib, BETA), ["10.9.0.1/32: [64500] via 192.0.2.254 blackhole"]);
    assert_eq!(fib(&mut rib), ["10.1.0.1/32 via 192.0.2.1 eBGP 1"]);
}

#[test]
fn a_community_that_export_policy_adds_is_for_the_peer() {
    let mut rib = rib(&[ALPHA]);
    let rule = Rule::new(Action::Accept).set(Set::AddCommunity(Community::NO_EXPORT));
    rib.set_export(ALPHA, Policy { rules: vec![rule.set(Set::Med(Some(3))).set(Set::Prepend(2))] });
    rib.originate(net("10.9.0.0/16"), route(&[]));
    assert_eq!(
        told(&mut rib, ALPHA),
        ["10.9.0.0/16: [64500 64500 64500] via 192.0.2.254 med 3 no-export"]
    );
}

#[test]
fn unknown_attributes_pass_with_the_partial_bit() {
    let mut rib = rib(&[ALPHA, BETA]);
    let unknown = vec![UnknownAttribute { flags: 0xc0, code: 99, value: vec![1, 2] }];
    let attributes = Attributes { unknown, ..route(&[64501]) };
    rib.handle_update(ALPHA, announce("10.1.0.0/16", attributes));
    assert_eq!(told(&mut rib, BETA), ["10.1.0.0/16: [64500 64501] via 192.0.2.254 0xe0/99"]);
}

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
fn the_better_route_wins_and_the_other_takes_over_when_it_goes() {
    let mut rib = rib(&[ALPHA, BETA, CORE]);
    rib.handle_update(ALPHA, announce("10.1.0.0/16", route(&[64501, 64510, 64511])));
    assert_eq!(told(&mut rib, BETA).len(), 1);
    rib.handle_update(BETA, announce("10.1.0.0/16", route(&[64502, 64511])));
    assert_eq!(told(&mut rib, ALPHA), ["10.1.0.0/16: [64500 64502 64511] via 192.0.2.254"]);
    assert_eq!(told(&mut rib, BETA), ["withdraw 10.1.0.0/16"]);
    assert_eq!(told(&mut rib, CORE), ["10.1.0.0/16: [64502 64511] via 192.0.2.2 pref 100"]);
    assert_eq!(fib(&mut rib), ["10.1.0.0/16 via 192.0.2.2 eBGP 2"]);
    assert_eq!(
        explanation(&rib, "10.1.0.0/16"),
        "10.1.0.0/16\n* beta: best\n  alpha: lost to beta by AS path length: 3 against 2"
    );
    let views: Vec<_> =
        rib.routes().map(|it| (it.peer.unwrap(), it.best, words(it.attributes))).collect();
    assert_eq!(
        views,
        [
            (ALPHA, false, "[64501 64510 64511] via 192.0.2.1".to_owned()),
            (BETA, true, "[64502 64511] via 192.0.2.2".to_owned()),
        ]
    );

    rib.peer_down(BETA);
    assert_eq!(told(&mut rib, ALPHA), ["withdraw 10.1.0.0/16"]);
    assert_eq!(told(&mut rib, BETA), NOTHING, "it is down");
    assert_eq!(told(&mut rib, CORE), ["10.1.0.0/16: [64501 64510 64511] via 192.0.2.1 pref 100"]);
    assert_eq!(fib(&mut rib), ["10.1.0.0/16 via 192.0.2.1 eBGP 1"]);
    assert_eq!(rib.counts(BETA), Counts::default());

    rib.peer_up(BETA, up(BETA));
    assert_eq!(
        told(&mut rib, BETA),
        ["10.1.0.0/16: [64500 64501 64510 64511] via 192.0.2.254", "end of ipv4", "end of ipv6"]
    );
    rib.remove_peer(ALPHA);
    assert_eq!(told(&mut rib, BETA), ["withdraw 10.1.0.0/16"]);
    assert_eq!(rib.poll_update(ALPHA), None);
}

#[test]
fn an_explanation_names_every_candidate_and_the_step() {
    let mut rib = rib(&[ALPHA, BETA, CORE, EDGE]);
    let preferred = |local_pref| Attributes { local_pref, ..route(&[64510, 64511]) };
    rib.handle_update(ALPHA, announce("10.1.0.0/16", route(&[64501, 64500])));
    rib.handle_update(BETA, announce("10.1.0.0/16", route(&[64502, 64511])));
    rib.handle_update(CORE, announce("10.1.0.0/16", preferred(None)));
    rib.handle_update(EDGE, announce("10.1.0.0/16", preferred(Some(50))));
    assert_eq!(
        explanation(&rib, "10.1.0.0/16"),
        "10.1.0.0/16\n\
         * beta: best\n  \
           core: lost to beta by eBGP over iBGP: iBGP against eBGP\n  \
           edge: lost to beta by local preference: 50 against 100\n  \
           alpha: not eligible: our AS is in the path"
    );
    assert_eq!(rib.explain(&net("10.2.0.0/16")), None);
    let whole = rib.explain(&net("10.1.0.0/16")).unwrap().to_string();
    assert_eq!(
        whole.lines().take(5).collect::<Vec<_>>(),
        [
            "10.1.0.0/16: 4 routes",
            "* beta: path 64502 64511, origin IGP, next hop 192.0.2.2",
            "      best",
            "  core: path 64510 64511, origin IGP, next hop 10.0.0.3",
            "      lost to beta by eBGP over iBGP: iBGP against eBGP",
        ]
    );
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
fn the_interior_decides_between_exits_and_hides_what_it_cannot_reach() {
    let mut rib = rib(&[ALPHA, CORE, EDGE]);
    let exit = |next_hop: &str| Attributes { next_hop: ip(next_hop).into(), ..route(&[64510]) };
    rib.handle_update(CORE, announce("10.1.0.0/16", exit("10.0.0.3")));
    rib.handle_update(EDGE, announce("10.1.0.0/16", exit("10.0.0.4")));
    rib.handle_update(ALPHA, announce("10.2.0.0/16", route(&[64501])));
    let costs = |core: u32, edge: u32| {
        Some(HashMap::from([(ip("10.0.0.3"), core), (ip("10.0.0.4"), edge)]))
    };
    let via_core = "10.1.0.0/16 via 10.0.0.3 iBGP 3";
    let via_edge = "10.1.0.0/16 via 10.0.0.4 iBGP 4";
    assert_eq!(fib(&mut rib), [via_core, "10.2.0.0/16 via 192.0.2.1 eBGP 1"]);
    rib.set_igp(costs(20, 10));
    assert_eq!(fib(&mut rib), [via_edge]);
    assert_eq!(
        explanation(&rib, "10.1.0.0/16"),
        "10.1.0.0/16\n* edge: best\n  core: lost to edge by IGP cost: 20 against 10"
    );
    rib.set_igp(costs(10, 11));
    assert_eq!(fib(&mut rib), [via_core]);
    rib.set_igp(Some(HashMap::from([(ip("10.0.0.4"), 11)])));
    assert_eq!(fib(&mut rib), [via_edge]);
    assert_eq!(
        explanation(&rib, "10.1.0.0/16"),
        "10.1.0.0/16\n* edge: best\n  core: not eligible: the next hop is unreachable"
    );
    told(&mut rib, ALPHA);
    rib.set_igp(Some(HashMap::new()));
    assert_eq!(fib(&mut rib), ["10.1.0.0/16 gone"], "an eBGP next hop is on a link of ours");
    assert_eq!(told(&mut rib, ALPHA), ["withdraw 10.1.0.0/16"]);
    rib.set_igp(None);
    assert_eq!(fib(&mut rib), [via_core]);
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

/// `count` prefixes of length 24 from alpha.
fn many(count: u32) -> Update {
    let prefix =
        |it: u32| IpNet::new(Ipv4Addr::from_bits((10 << 24) + (it << 8)).into(), 24).unwrap();
    Update::announce(Arc::new(route(&[64501])), (0..count).map(prefix))
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
fn a_reflector_passes_on_what_clients_and_for_clients() {
    let other = PeerId(5);
    let mut rib = rib(&[ALPHA, CORE, EDGE, other]);
    rib.set_client(CORE, true);
    rib.set_client(ALPHA, true);
    assert_eq!(told(&mut rib, ALPHA), NOTHING, "an eBGP peer is no client");
    // From the client to the others, from another to the client.
    rib.handle_update(CORE, announce("10.1.0.0/16", route(&[64510])));
    rib.handle_update(EDGE, announce("10.2.0.0/16", route(&[64510])));
    let reflected = |prefix: &str, from: &str| {
        vec![format!(
            "{prefix}: [64510] via 10.0.0.3 pref 100 originator {from} cluster 10.0.0.254"
        )]
    };
    assert_eq!(told(&mut rib, CORE), reflected("10.2.0.0/16", "0.0.0.4"));
    assert_eq!(told(&mut rib, EDGE), reflected("10.1.0.0/16", "0.0.0.3"));
    assert_eq!(told(&mut rib, other), reflected("10.1.0.0/16", "0.0.0.3"));
    assert_eq!(
        told(&mut rib, ALPHA),
        ["10.1.0.0/16 10.2.0.0/16: [64500 64510] via 192.0.2.254"],
        "neither attribute leaves the AS"
    );

    rib.set_client(CORE, false);
    assert_eq!(told(&mut rib, CORE), ["withdraw 10.2.0.0/16"]);
    assert_eq!(told(&mut rib, EDGE), ["withdraw 10.1.0.0/16"]);
    assert_eq!(told(&mut rib, ALPHA), NOTHING);
    rib.set_client(EDGE, true);
    assert_eq!(told(&mut rib, CORE), reflected("10.2.0.0/16", "0.0.0.4"));
    let withdrawn = vec!["withdraw 10.1.0.0/16".to_owned()];
    assert_eq!(told(&mut rib, other), [withdrawn, reflected("10.2.0.0/16", "0.0.0.4")].concat());
}

#[test]
fn a_reflected_route_keeps_its_originator_next_hop_and_way() {
    let mut rib = rib(&[CORE]);
    rib.add_peer(EDGE, PeerConfig { next_hop_self: true, ..config(EDGE) });
    rib.set_client(EDGE, true);
    rib.set_cluster_id(Ipv4Addr::new(9, 9, 9, 9));
    rib.peer_up(EDGE, up(EDGE));
    told(&mut rib, EDGE);
    let attributes = |cluster| Attributes {
        originator_id: Some(Ipv4Addr::new(1, 1, 1, 1)),
        cluster_list: vec![cluster],
        ..route(&[64510])
    };
    rib.handle_update(CORE, announce("10.1.0.0/16", attributes(Ipv4Addr::new(2, 2, 2, 2))));
    rib.handle_update(CORE, announce("10.2.0.0/16", attributes(Ipv4Addr::new(9, 9, 9, 9))));
    assert_eq!(
        told(&mut rib, EDGE),
        ["10.1.0.0/16: [64510] via 10.0.0.3 pref 100 originator 1.1.1.1 cluster 9.9.9.9 \
          cluster 2.2.2.2"]
    );
    assert_eq!(
        explanation(&rib, "10.2.0.0/16"),
        "10.2.0.0/16\n  core: not eligible: it went through our cluster already"
    );
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

//! One speaker, AS 64500, with some peers; whole outputs, as lines of text, are compared.

mod communities;
mod eligible;
mod groups;
mod inside;
mod look;
mod model;
mod monitor;
mod next_hops;
mod origins;
mod paths;
mod roles;
mod stale;
mod telling;
mod topology;

use std::fmt::Write;

use super::*;
use crate::attribute::UnknownAttribute;
use crate::message::{Announcement, Nlri};
use crate::policy::{Action, Match, Policy, Rule, Set};
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

/// `count` prefixes of length 24 from alpha.
fn many(count: u32) -> Update {
    let prefix =
        |it: u32| IpNet::new(Ipv4Addr::from_bits((10 << 24) + (it << 8)).into(), 24).unwrap();
    Update::announce(Arc::new(route(&[64501])), (0..count).map(prefix))
}

#[test]
fn a_route_goes_to_everyone_but_whence_it_came() {
    let mut rib = rib(&[ALPHA, BETA, CORE, EDGE]);
    let received = Attributes {
        med: Some(5),
        local_pref: Some(999),
        originator_id: Some(Ipv4Addr::new(1, 1, 1, 1)),
        cluster_list: vec![Ipv4Addr::new(2, 2, 2, 2)].into(),
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
fn without_a_forwarding_table_nothing_is_said_to_it_and_nothing_is_left_behind() {
    let mut rib = rib(&[ALPHA, BETA]);
    rib.without_fib();
    rib.handle_update(ALPHA, announce("10.1.0.0/16", route(&[64501])));
    assert_eq!(fib(&mut rib), NOTHING);
    assert_eq!(told(&mut rib, BETA).len(), 1);
    rib.handle_update(ALPHA, withdraw("10.1.0.0/16"));
    assert_eq!((fib(&mut rib).len(), told(&mut rib, BETA).len()), (0, 1));
    rib.handle_update(ALPHA, announce("10.2.0.0/16", route(&[64501])));
    rib.peer_down(ALPHA);
    rib.peer_down(BETA);
    assert_eq!(fib(&mut rib), NOTHING);
    assert_eq!((rib.sets.len(), rib.table.len()), (0, 0));
}

#[test]
fn the_forwarding_table_hears_of_each_prefix_whatever_the_one_before_had() {
    let mut rib = rib(&[ALPHA, BETA]);
    let by = |peer: PeerId, prefix: &str| announce(prefix, route(&[64500 + peer.0]));
    rib.handle_update(ALPHA, by(ALPHA, "10.1.0.0/16"));
    rib.handle_update(ALPHA, by(ALPHA, "10.2.0.0/16"));
    rib.handle_update(BETA, by(BETA, "10.3.0.0/16"));
    let one = "via 192.0.2.1 eBGP 1";
    let two = "via 192.0.2.2 eBGP 2";
    assert_eq!(
        fib(&mut rib),
        [format!("10.1.0.0/16 {one}"), format!("10.2.0.0/16 {one}"), format!("10.3.0.0/16 {two}"),]
    );
    // The number of the last route is free, then another's.
    rib.handle_update(BETA, withdraw("10.3.0.0/16"));
    assert_eq!(fib(&mut rib), ["10.3.0.0/16 gone"]);
    rib.peer_down(ALPHA);
    assert_eq!(fib(&mut rib), ["10.1.0.0/16 gone", "10.2.0.0/16 gone"]);
    rib.handle_update(BETA, by(BETA, "10.4.0.0/16"));
    assert_eq!(fib(&mut rib), [format!("10.4.0.0/16 {two}")]);
}

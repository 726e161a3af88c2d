//! Routes within the AS: what iBGP peers are told, the interior, reflection.

use super::*;

#[test]
fn a_route_from_ibgp_goes_to_ebgp_only() {
    let mut rib = rib(&[ALPHA, CORE, EDGE]);
    let received = Attributes {
        local_pref: Some(300),
        med: Some(5),
        originator_id: Some(Ipv4Addr::new(1, 1, 1, 1)),
        cluster_list: vec![Ipv4Addr::new(2, 2, 2, 2)].into(),
        ..route(&[64510])
    };
    rib.handle_update(CORE, announce("10.1.0.0/16", received));
    assert_eq!(told(&mut rib, ALPHA), ["10.1.0.0/16: [64500 64510] via 192.0.2.254"]);
    assert_eq!(told(&mut rib, CORE), NOTHING);
    assert_eq!(told(&mut rib, EDGE), NOTHING);
    assert_eq!(fib(&mut rib), ["10.1.0.0/16 via 10.0.0.3 iBGP 3"]);
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
        cluster_list: vec![cluster].into(),
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

use proptest::prelude::*;

use super::*;
use crate::as_path::{Segment, SegmentKind};
use crate::{AsPath, Origin};

/// A candidate that owns its attributes.
#[derive(Clone, Debug)]
struct Owned {
    attributes: Attributes,
    source: Source,
}

impl Owned {
    fn candidate(&self) -> Candidate<'_> {
        Candidate { attributes: &self.attributes, source: self.source }
    }

    /// The candidate with its facts as a peer changed.
    fn peer(mut self, change: impl FnOnce(PeerFacts<'_>)) -> Self {
        if let Source::Peer { ebgp, asn, router_id, address, igp_cost, path_id } = &mut self.source
        {
            change(PeerFacts { ebgp, asn, router_id, address, igp_cost, path_id });
        }
        self
    }

    fn attributes(mut self, change: impl FnOnce(&mut Attributes)) -> Self {
        change(&mut self.attributes);
        self
    }
}

struct PeerFacts<'a> {
    ebgp: &'a mut bool,
    asn: &'a mut Asn,
    router_id: &'a mut Ipv4Addr,
    address: &'a mut IpAddr,
    igp_cost: &'a mut u32,
    path_id: &'a mut PathId,
}

/// What every row starts from.
fn route() -> Owned {
    let mut attributes = Attributes::new(IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1)));
    attributes.as_path = AsPath::sequence(&[64501, 64502]);
    let source = Source::Peer {
        ebgp: true,
        asn: Asn(64501),
        router_id: Ipv4Addr::new(10, 0, 0, 1),
        address: IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1)),
        igp_cost: 10,
        path_id: PathId(1),
    };
    Owned { attributes, source }
}

fn choose(routes: &[Owned]) -> Selection {
    let candidates: Vec<_> = routes.iter().map(Owned::candidate).collect();
    select(&candidates).unwrap()
}

/// A route that is worse than `route` at `step` and equal at every other.
fn worsen(route: Owned, step: Step) -> Owned {
    match step {
        Step::Local => unreachable!("a peer's route is not made local"),
        Step::LastResort => route.attributes(|it| it.add_community(crate::Community::LLGR_STALE)),
        Step::LocalPref => route.attributes(|it| it.local_pref = Some(99)),
        Step::AsPathLength => {
            route.attributes(|it| it.as_path = AsPath::sequence(&[64501, 64501, 64502]))
        }
        Step::Origin => route.attributes(|it| it.origin = Origin::Egp),
        Step::Med => route.attributes(|it| it.med = Some(1)),
        Step::EbgpOverIbgp => route.peer(|it| *it.ebgp = false),
        Step::IgpCost => route.peer(|it| *it.igp_cost = 11),
        Step::RouterId => route.peer(|it| *it.router_id = Ipv4Addr::new(10, 0, 0, 2)),
        Step::ClusterListLength => {
            route.attributes(|it| it.cluster_list = vec![Ipv4Addr::new(10, 9, 9, 9)].into())
        }
        Step::PeerAddress => route.peer(|it| *it.address = [192, 0, 2, 2].into()),
        Step::PathId => route.peer(|it| *it.path_id = PathId(2)),
    }
}

#[test]
fn each_step_outweighs_all_the_later_ones_together() {
    for (at, step) in Step::ALL.into_iter().enumerate().skip(1) {
        let worse_here = worsen(route(), step);
        let worse_later = Step::ALL[at + 1..].iter().fold(route(), |it, step| worsen(it, *step));
        for (routes, best) in [
            ([worse_here.clone(), worse_later.clone()], 1),
            ([worse_later.clone(), worse_here.clone()], 0),
        ] {
            let eliminated = vec![Elimination { candidate: 1 - best, step, by: best }];
            assert_eq!(choose(&routes), Selection { best, eliminated }, "{step}");
        }
    }
}

#[test]
fn a_local_route_beats_what_is_better_at_every_step() {
    let local = Owned {
        source: Source::Local,
        ..Step::ALL[1..].iter().fold(route(), |it, step| worsen(it, *step))
    };
    let eliminated = vec![Elimination { candidate: 0, step: Step::Local, by: 1 }];
    assert_eq!(choose(&[route(), local]), Selection { best: 1, eliminated });
}

#[test]
fn both_sides_of_every_value() {
    use Step::*;
    let set = |asns| Segment { kind: SegmentKind::AsSet, asns };
    let confederation =
        Segment { kind: SegmentKind::AsConfedSequence, asns: &[Asn(65001), Asn(65002)] };
    let later = |route: Owned| worsen(route, PeerAddress);
    let local_pref = |value| route().attributes(|it| it.local_pref = value);
    let path = |segments: &[Segment<'_>]| {
        later(route()).attributes(|it| it.as_path = AsPath::of(segments.iter().copied()))
    };
    let plain = Segment { kind: SegmentKind::AsSequence, asns: &[Asn(64501), Asn(64502)] };
    let one = Segment { kind: SegmentKind::AsSequence, asns: &[Asn(64501)] };
    let med = |value| route().attributes(|it| it.med = value);
    let originator = |last| {
        later(route()).attributes(|it| it.originator_id = Some(Ipv4Addr::new(10, 0, 0, last)))
    };
    let address = |address: &str| route().peer(|it| *it.address = address.parse().unwrap());
    // (what it shows, winner, loser, where the loser fell, the winner's value, the loser's)
    for (name, winner, loser, step, better, worse) in [
        ("more than the default", local_pref(Some(101)), local_pref(None), LocalPref, "101", "100"),
        ("less than the default", local_pref(None), local_pref(Some(99)), LocalPref, "100", "99"),
        (
            "the default is 100",
            local_pref(Some(100)),
            later(local_pref(None)),
            PeerAddress,
            "192.0.2.1",
            "192.0.2.2",
        ),
        (
            "a set counts one",
            route(),
            path(&[one, set(&[Asn(1), Asn(2), Asn(3)])]),
            PeerAddress,
            "192.0.2.1",
            "192.0.2.2",
        ),
        (
            "but no less",
            route(),
            path(&[plain, set(&[Asn(1), Asn(2), Asn(3)])]),
            AsPathLength,
            "2",
            "3",
        ),
        (
            "a confederation counts nothing",
            route(),
            path(&[confederation, plain]),
            PeerAddress,
            "192.0.2.1",
            "192.0.2.2",
        ),
        (
            "EGP before incomplete",
            worsen(route(), Origin),
            route().attributes(|it| it.origin = crate::Origin::Incomplete),
            Origin,
            "EGP",
            "incomplete",
        ),
        ("no MED is zero", med(None), later(med(Some(0))), PeerAddress, "192.0.2.1", "192.0.2.2"),
        ("no MED is less than one", later(med(None)), med(Some(1)), Med, "0", "1"),
        ("MED", later(med(Some(9))), med(Some(10)), Med, "9", "10"),
        ("eBGP", later(route()), route().peer(|it| *it.ebgp = false), EbgpOverIbgp, "eBGP", "iBGP"),
        (
            "the originator stands for the sender",
            originator(0),
            route(),
            RouterId,
            "10.0.0.0",
            "10.0.0.1",
        ),
        ("also when it is worse", route(), originator(2), RouterId, "10.0.0.1", "10.0.0.2"),
        (
            "addresses are compared as numbers",
            address("192.0.2.9"),
            address("192.0.2.10"),
            PeerAddress,
            "192.0.2.9",
            "192.0.2.10",
        ),
        (
            "IPv4 before IPv6",
            address("203.0.113.1"),
            address("2001:db8::1"),
            PeerAddress,
            "203.0.113.1",
            "2001:db8::1",
        ),
    ] {
        let eliminated = vec![Elimination { candidate: 1, step, by: 0 }];
        let routes = [winner.clone(), loser.clone()];
        assert_eq!(choose(&routes), Selection { best: 0, eliminated }, "{name}");
        let eliminated = vec![Elimination { candidate: 0, step, by: 1 }];
        let swapped = [loser.clone(), winner.clone()];
        assert_eq!(choose(&swapped), Selection { best: 1, eliminated }, "{name}, swapped");
        assert_eq!(winner.candidate().value(step), better, "{name}");
        assert_eq!(loser.candidate().value(step), worse, "{name}");
    }
}

/// A route of a neighbor AS with a MED and, as tie-breaker, a router id.
fn med_route(asn: u32, med: u32, router_id: u8) -> Owned {
    route()
        .attributes(|it| {
            it.as_path = AsPath::sequence(&[asn, 64999]);
            it.med = Some(med);
        })
        .peer(|it| {
            *it.asn = Asn(asn);
            *it.router_id = Ipv4Addr::new(10, 0, 0, router_id);
            *it.address = [192, 0, 2, router_id].into();
        })
}

/// Who falls, where, and by whom.
type Fall = (usize, Step, usize);

#[test]
fn med_is_compared_within_a_neighbor_as_only() {
    use Step::{Med, RouterId};
    let (a, b) = (64501, 64502);
    let ibgp = |route: Owned| route.peer(|it| (*it.ebgp, *it.asn) = (false, Asn(64500)));
    // (what it shows, routes, best, (fallen, at, by) in order)
    let table: &[(&str, &[Owned], usize, &[Fall])] = &[
        (
            "two ASes: MED says nothing",
            &[med_route(a, 500, 1), med_route(b, 5, 2)],
            0,
            &[(1, RouterId, 0)],
        ),
        (
            "one AS: MED decides before the router id",
            &[med_route(a, 500, 1), med_route(a, 5, 2)],
            1,
            &[(0, Med, 1)],
        ),
        (
            "pairwise these go round in a circle; by groups they do not",
            &[med_route(a, 10, 1), med_route(b, 0, 2), med_route(a, 5, 3)],
            1,
            &[(0, Med, 2), (2, RouterId, 1)],
        ),
        (
            "the best of each group goes on",
            &[med_route(a, 10, 1), med_route(a, 20, 2), med_route(b, 70, 3), med_route(b, 60, 4)],
            0,
            &[(1, Med, 0), (2, Med, 3), (3, RouterId, 0)],
        ),
        (
            "across eBGP and iBGP, before either is preferred",
            &[med_route(a, 10, 1), ibgp(med_route(a, 5, 2))],
            1,
            &[(0, Med, 1)],
        ),
        (
            "a shorter path leaves no group to compare",
            &[
                med_route(a, 10, 1),
                med_route(a, 5, 2).attributes(|it| it.as_path = AsPath::sequence(&[a, a, 64999])),
            ],
            0,
            &[(1, Step::AsPathLength, 0)],
        ),
        (
            "the neighbor AS is the path's first, not the iBGP peer's",
            &[ibgp(med_route(a, 500, 1)), ibgp(med_route(b, 5, 2))],
            0,
            &[(1, RouterId, 0)],
        ),
        (
            "routes that iBGP peers originate are one group: our own AS",
            &[
                ibgp(med_route(a, 500, 1)).attributes(|it| it.as_path = AsPath::default()),
                ibgp(med_route(b, 5, 2)).attributes(|it| it.as_path = AsPath::default()),
            ],
            1,
            &[(0, Med, 1)],
        ),
    ];
    for (name, routes, best, fallen) in table {
        let eliminated = fallen
            .iter()
            .map(|&(candidate, step, by)| Elimination { candidate, step, by })
            .collect();
        assert_eq!(choose(routes), Selection { best: *best, eliminated }, "{name}");
    }
}

#[test]
fn nothing_is_best_of_nothing_and_one_falls_nowhere() {
    assert_eq!(select(&[]), None);
    assert_eq!(choose(&[route()]), Selection { best: 0, eliminated: vec![] });
}

fn any_route() -> impl Strategy<Value = Owned> {
    let path = proptest::collection::vec(64501_u32..64504, 0..3);
    let attributes = (path, 0..3_u8, proptest::option::of(0..3_u32), 99..101_u32);
    let source = (any::<bool>(), 1..4_u8, 0..3_u32, 0..3_usize, any::<u8>());
    (attributes, source).prop_map(|((path, origin, med, local_pref), source)| {
        let (ebgp, router_id, igp_cost, clusters, local) = source;
        let mut route = route()
            .attributes(|it| {
                it.as_path = AsPath::sequence(&path);
                it.origin = [Origin::Igp, Origin::Egp, Origin::Incomplete][usize::from(origin)];
                it.med = med;
                it.local_pref = Some(local_pref);
                it.cluster_list = vec![Ipv4Addr::LOCALHOST; clusters].into();
            })
            .peer(|it| {
                *it.ebgp = ebgp;
                *it.router_id = Ipv4Addr::new(10, 0, 0, router_id);
                *it.igp_cost = igp_cost;
            });
        if local == 0 {
            route.source = Source::Local;
        }
        route
    })
}

/// Routes of distinct peers, at most one of them local.
fn any_routes() -> impl Strategy<Value = Vec<Owned>> {
    proptest::collection::vec(any_route(), 1..8).prop_map(|mut routes| {
        let mut locals = 0;
        routes.retain(|route| {
            locals += usize::from(route.source == Source::Local);
            route.source != Source::Local || locals == 1
        });
        for (last, route) in (1..).zip(&mut routes) {
            *route = route.clone().peer(|it| *it.address = [192, 0, 2, last].into());
        }
        routes
    })
}

proptest! {
    #[test]
    fn selection_is_independent_of_the_order_of_candidates(
        (routes, order) in any_routes().prop_flat_map(|routes| {
            let order: Vec<usize> = (0..routes.len()).collect();
            (Just(routes), Just(order).prop_shuffle())
        })
    ) {
        let shuffled: Vec<_> = order.iter().map(|&index| routes[index].clone()).collect();
        let (straight, shuffled) = (choose(&routes), choose(&shuffled));
        prop_assert_eq!(order[shuffled.best], straight.best);
        let mut falls: Vec<_> =
            shuffled.eliminated.iter().map(|it| (order[it.candidate], it.step)).collect();
        let mut expected: Vec<_> =
            straight.eliminated.iter().map(|it| (it.candidate, it.step)).collect();
        falls.sort_unstable();
        expected.sort_unstable();
        prop_assert_eq!(falls, expected);
    }

    #[test]
    fn who_falls_was_worse_where_it_fell_and_equal_before(routes in any_routes()) {
        let selection = choose(&routes);
        prop_assert_eq!(selection.eliminated.len(), routes.len() - 1);
        for fall in &selection.eliminated {
            let (loser, by) = (routes[fall.candidate].candidate(), routes[fall.by].candidate());
            prop_assert!(loser.rank(fall.step) > by.rank(fall.step));
            for step in Step::ALL.into_iter().take_while(|step| *step < fall.step) {
                let comparable = step != Step::Med || loser.neighbor_as() == by.neighbor_as();
                prop_assert!(!comparable || loser.rank(step) == by.rank(step), "{}", step);
            }
            if fall.step == Step::Med {
                prop_assert_eq!(loser.neighbor_as(), by.neighbor_as());
            } else {
                prop_assert_eq!(fall.by, selection.best);
            }
        }
    }
}

//! Several paths to one prefix (RFC 7911): taken in, sent, and sharing packets.

use super::*;
use crate::FamilySet;

const PREFIX: &str = "10.1.0.0/16";

fn path(id: u32) -> Nlri {
    Nlri::new(net(PREFIX), PathId(id))
}

/// From beta's AS, through as many more ASes, towards one of beta's addresses.
fn beta(hops: u32, last: u8) -> Attributes {
    let path: Vec<u32> = (64502..=64502 + hops).collect();
    let next_hop = IpAddr::from([192, 0, 2, last]);
    Attributes { next_hop: next_hop.into(), ..route(&path) }
}

fn learn(rib: &mut Rib, id: PeerId, path_id: u32, attributes: Attributes) {
    rib.handle_update(id, Update::announce(Arc::new(attributes), [path(path_id)]));
}

fn lose(rib: &mut Rib, id: PeerId, path_id: u32) {
    rib.handle_update(id, Update::withdraw([path(path_id)]));
}

/// Who is best and which of its paths.
fn best(rib: &Rib) -> Option<(u32, u32)> {
    rib.best(&net(PREFIX)).map(|it| (it.peer.unwrap().0, it.path_id.0))
}

/// Up, and told the best `most` paths.
fn up_for(rib: &mut Rib, id: PeerId, most: usize) {
    rib.add_peer(id, config(id));
    let send_paths = SendPaths { families: FamilySet::ALL, most };
    rib.peer_up(id, PeerUp { send_paths, ..up(id) });
    told(rib, id);
}

/// What an end of a session knows, by the path identifiers that it was told.
#[derive(Default)]
struct Known(BTreeMap<Nlri, String>);

impl Known {
    /// Reads all that there is to tell; the paths then, and how many pieces of news there were.
    fn read(&mut self, rib: &mut Rib, id: PeerId) -> (Vec<String>, usize) {
        let mut news = 0;
        while let Some(update) = rib.poll_update(id) {
            for nlri in &update.withdrawn {
                assert!(self.0.remove(nlri).is_some(), "{nlri} was never announced");
                news += 1;
            }
            for Announcement { attributes, prefixes } in &update.announced {
                for nlri in prefixes {
                    assert_ne!(nlri.path_id, PathId::NONE, "each path has a number");
                    self.0.insert(*nlri, attributes.as_path.to_string());
                    news += 1;
                }
            }
        }
        let mut paths: Vec<String> = self.0.values().cloned().collect();
        paths.sort();
        (paths, news)
    }
}

#[test]
fn a_peers_paths_come_change_and_go_one_by_one() {
    let mut rib = rib(&[ALPHA, BETA]);
    learn(&mut rib, BETA, 7, beta(2, 2));
    learn(&mut rib, BETA, 8, beta(1, 3));
    learn(&mut rib, BETA, 9, beta(3, 4));
    assert_eq!((rib.counts(BETA).received, best(&rib)), (3, Some((2, 8))));
    // Another of the same name takes its place.
    learn(&mut rib, BETA, 8, beta(4, 3));
    assert_eq!((rib.counts(BETA).received, best(&rib)), (3, Some((2, 7))));
    // One that was never there is nobody's.
    lose(&mut rib, BETA, 1);
    lose(&mut rib, BETA, 0);
    lose(&mut rib, ALPHA, 7);
    assert_eq!((rib.counts(BETA).received, best(&rib)), (3, Some((2, 7))));
    lose(&mut rib, BETA, 7);
    assert_eq!((rib.counts(BETA).received, best(&rib)), (2, Some((2, 9))));
    let seen: Vec<_> = rib.received(BETA).map(|it| it.path_id.0).collect();
    assert_eq!(seen, [8, 9]);
    rib.set_import(BETA, Policy::reject_all());
    assert_eq!((rib.counts(BETA).accepted, best(&rib)), (0, None));
    rib.set_import(BETA, Policy::accept_all());
    assert_eq!((rib.counts(BETA).accepted, best(&rib)), (2, Some((2, 9))));
    rib.peer_down(BETA);
    assert_eq!((rib.counts(BETA).received, best(&rib)), (0, None));
    assert_eq!(rib.table.sources.len(), 0, "nobody holds the numbers any more");
}

#[test]
fn equal_paths_of_one_peer_are_told_apart_by_their_numbers() {
    let mut rib = rib(&[BETA]);
    for id in [9, 4, 7] {
        learn(&mut rib, BETA, id, beta(1, 2));
    }
    assert_eq!(best(&rib), Some((2, 4)));
    let text = rib.explain(&net(PREFIX)).unwrap().to_string();
    assert!(text.contains("beta path 7"), "{text}");
    assert!(text.contains("lost to beta path 4 by path id: 9 against 4"), "{text}");
}

#[test]
fn paths_count_towards_the_limit() {
    let mut rib = rib(&[BETA]);
    rib.set_limits(BETA, Limits { prefixes: Some(2), ..Limits::default() });
    for id in 1..=3 {
        assert_eq!(rib.poll_event(), None, "before path {id}");
        learn(&mut rib, BETA, id, beta(1, 2));
    }
    assert_eq!(rib.poll_event(), Some(Event::PrefixLimit { peer: BETA, limit: 2 }));
}

#[test]
fn the_best_paths_are_sent_each_under_a_number_that_stays() {
    let mut rib = rib(&[ALPHA, BETA]);
    up_for(&mut rib, CORE, 2);
    let mut core = Known::default();
    learn(&mut rib, BETA, 1, beta(1, 2));
    learn(&mut rib, BETA, 2, beta(3, 3));
    rib.handle_update(ALPHA, announce(PREFIX, route(&[64501, 64510, 64511])));
    let (first, second) = ("64502 64503".to_owned(), "64501 64510 64511".to_owned());
    assert_eq!(core.read(&mut rib, CORE), (vec![second.clone(), first], 2));
    assert_eq!(rib.counts(CORE).advertised, 2);
    let number = *core.0.iter().find(|(_, path)| **path == second).unwrap().0;
    // The best goes: the third takes its place, the second keeps its number and is not news.
    lose(&mut rib, BETA, 1);
    let third = "64502 64503 64504 64505".to_owned();
    assert_eq!(core.read(&mut rib, CORE), (vec![second.clone(), third.clone()], 2));
    assert_eq!(core.0[&number], second);
    // What changes behind the best of all is news too.
    learn(&mut rib, BETA, 2, beta(2, 3));
    let third = "64502 64503 64504".to_owned();
    assert_eq!(core.read(&mut rib, CORE), (vec![second.clone(), third.clone()], 1));
    // A refresh tells them all again; what nobody sends any more is withdrawn by its number.
    rib.handle_refresh(CORE, Family::Ipv4Unicast);
    assert_eq!(core.read(&mut rib, CORE), (vec![second.clone(), third], 2));
    let senders: Vec<_> = rib.advertised(CORE).map(|it| it.peer.unwrap()).collect();
    assert_eq!(senders, [ALPHA, BETA]);
    lose(&mut rib, BETA, 2);
    assert_eq!(core.read(&mut rib, CORE), (vec![second], 1));
    rib.peer_down(ALPHA);
    assert_eq!(core.read(&mut rib, CORE), (vec![], 1));
    assert_eq!(rib.counts(CORE).advertised, 0);
}

#[test]
fn a_peer_is_never_told_its_own_paths_and_they_take_no_place() {
    let mut rib = rib(&[ALPHA]);
    up_for(&mut rib, BETA, 2);
    let mut known = Known::default();
    learn(&mut rib, BETA, 1, beta(0, 2));
    learn(&mut rib, BETA, 2, beta(0, 3));
    assert_eq!(known.read(&mut rib, BETA), (vec![], 0));
    learn(&mut rib, ALPHA, 1, route(&[64501, 64510, 64511]));
    learn(&mut rib, ALPHA, 2, route(&[64501, 64510, 64512]));
    learn(&mut rib, ALPHA, 3, route(&[64501, 64510, 64511, 64512]));
    let paths = ["64500 64501 64510 64511", "64500 64501 64510 64512"].map(str::to_owned).to_vec();
    assert_eq!(known.read(&mut rib, BETA), (paths, 2));
    // Our own route is one of the paths.
    rib.originate(net(PREFIX), Attributes::new(ip("192.0.2.254")));
    let paths = ["64500", "64500 64501 64510 64511"].map(str::to_owned).to_vec();
    assert_eq!(known.read(&mut rib, BETA), (paths, 2));
}

#[test]
fn who_comes_later_is_told_all_paths_and_then_the_end() {
    let mut rib = rib(&[BETA]);
    learn(&mut rib, BETA, 1, beta(1, 2));
    learn(&mut rib, BETA, 2, beta(1, 3));
    rib.add_peer(CORE, config(CORE));
    let families = FamilySet::NONE.with(Family::Ipv4Unicast);
    let send_paths = SendPaths { families, most: 8 };
    rib.peer_up(CORE, PeerUp { send_paths, ..up(CORE) });
    let updates: Vec<Update> = std::iter::from_fn(|| rib.poll_update(CORE)).collect();
    let paths: usize =
        updates.iter().flat_map(|it| &it.announced).map(|it| it.prefixes.len()).sum();
    assert_eq!(paths, 2);
    let ends: Vec<_> = updates.iter().filter_map(|it| it.end_of_rib).collect();
    assert_eq!(ends, [Family::Ipv4Unicast, Family::Ipv6Unicast]);
    assert!(updates.last().unwrap().end_of_rib.is_some());
}

#[test]
fn equally_good_routes_share_the_packets() {
    // Of alpha one route, of beta three paths: (multipath, next hops of the routes that share).
    let good = |last| beta(1, last);
    for (paths, across_as, hops) in [
        (1, false, "192.0.2.1"),
        (2, false, "192.0.2.1"),
        (2, true, "192.0.2.1 192.0.2.2"),
        (3, true, "192.0.2.1 192.0.2.2 192.0.2.3"),
        (8, true, "192.0.2.1 192.0.2.2 192.0.2.3"),
    ] {
        let mut rib = rib(&[ALPHA, BETA]);
        rib.set_multipath(Multipath { paths, across_as });
        rib.handle_update(ALPHA, announce(PREFIX, route(&[64501, 64510])));
        learn(&mut rib, BETA, 1, good(2));
        learn(&mut rib, BETA, 2, good(3));
        // One leads where another leads already; one is further away; one has a worse MED.
        learn(&mut rib, BETA, 3, good(3));
        learn(&mut rib, BETA, 4, beta(2, 4));
        learn(&mut rib, BETA, 5, Attributes { med: Some(5), ..good(5) });
        while rib.poll_fib().is_some() {}
        let route = rib.fib_route(&net(PREFIX)).unwrap();
        let all = std::iter::once(&route.best).chain(&route.others);
        let all: Vec<_> = all.map(|it| it.next_hop.to_string()).collect();
        assert_eq!(all.join(" "), hops, "{paths} {across_as}");
        let text = rib.explain(&net(PREFIX)).unwrap().to_string();
        assert_eq!(text.matches("shares the packets").count(), route.others.len(), "{text}");
    }
}

#[test]
fn the_forwarding_table_follows_those_that_share() {
    let mut rib = rib(&[BETA]);
    rib.set_multipath(Multipath { paths: 2, across_as: false });
    learn(&mut rib, BETA, 1, beta(1, 2));
    assert_eq!(fib(&mut rib), ["10.1.0.0/16 via 192.0.2.2 eBGP 2"]);
    learn(&mut rib, BETA, 2, beta(1, 3));
    let both = ["10.1.0.0/16 via 192.0.2.2 eBGP 2 and via 192.0.2.3 eBGP 2"];
    assert_eq!(fib(&mut rib), both);
    // A third is one too many.
    learn(&mut rib, BETA, 3, beta(1, 4));
    assert_eq!(fib(&mut rib), NOTHING);
    // The second goes, the third comes in; the best goes.
    lose(&mut rib, BETA, 2);
    assert_eq!(fib(&mut rib), ["10.1.0.0/16 via 192.0.2.2 eBGP 2 and via 192.0.2.4 eBGP 2"]);
    lose(&mut rib, BETA, 1);
    assert_eq!(fib(&mut rib), ["10.1.0.0/16 via 192.0.2.4 eBGP 2"]);
    learn(&mut rib, BETA, 2, beta(1, 3));
    assert_eq!(fib(&mut rib), ["10.1.0.0/16 via 192.0.2.3 eBGP 2 and via 192.0.2.4 eBGP 2"]);
    rib.set_multipath(Multipath::default());
    assert_eq!(fib(&mut rib), ["10.1.0.0/16 via 192.0.2.3 eBGP 2"]);
    rib.set_multipath(Multipath { paths: 2, across_as: false });
    let marks: Vec<_> = rib.look(View::Table, &net(PREFIX)).iter().map(|it| it.shares).collect();
    assert_eq!(marks, [true, true]);
    rib.peer_down(BETA);
    assert_eq!(fib(&mut rib), ["10.1.0.0/16 gone"]);
}

/// RFC 7911 §3: the number means something between two speakers only.
#[test]
fn numbers_above_all_peers_and_paths_are_no_matter() {
    let mut rib = rib(&[]);
    let far = PeerId(u32::MAX);
    rib.add_peer(far, PeerConfig { address: ip("192.0.2.2"), ..config(BETA) });
    rib.peer_up(far, up(BETA));
    for id in [0, 1, u32::MAX] {
        learn(&mut rib, far, id, beta(1, 2));
    }
    assert_eq!((rib.counts(far).received, best(&rib)), (3, Some((u32::MAX, 0))));
    rib.remove_peer(far);
    while rib.poll_fib().is_some() {}
    assert_eq!((rib.table.len(), rib.table.sources.len()), (0, 0));
}

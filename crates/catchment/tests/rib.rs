//! The propagation against the real routing tables of `bgp`: each AS is a speaker with a session
//! to each neighbor and the policies of `bgp::policy::relation`, each site a speaker too. Messages
//! are carried, in random order, until nobody has anything to say.
//!
//! What the decision process of a table takes must be among what we say is tied, with the same
//! side, length and preference; and where a table has a candidate that it gave up only at a step
//! that we do not compare, that candidate must be among the tied as well.

mod worlds;

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};

use anycast_bgp::decision::Step;
use anycast_bgp::policy::relation::{Relation, export_policy, import_policy};
use anycast_bgp::policy::{Action, Policy, Rule, Set};
use anycast_bgp::rib::{Agreed, Outcome, PeerConfig, PeerId, PeerUp, Rib, SendPaths};
use anycast_bgp::{AsPath, Asn, Attributes, Community, Family, IpNet};
use anycast_catchment::explain::Verdict;
use anycast_catchment::{LearntFrom, NeighborKind, Overrides, Relationship, explain, propagate};
use worlds::{Dice, Spice, World, world};

/// The table of each speaker: ASes by their place in the graph, then announcements of sites.
struct Internet {
    speakers: Vec<Rib>,
    /// Of each speaker.
    identity: Vec<(Asn, Ipv4Addr)>,
    /// (a speaker, its name for the session, the other one, its name for it).
    sessions: Vec<(usize, PeerId, usize, PeerId)>,
    /// By speaker and its name for the session: who is there.
    neighbors: BTreeMap<(usize, PeerId), usize>,
    /// The site of each speaker behind the ASes.
    sites: Vec<usize>,
}

fn prefix() -> IpNet {
    IpNet::new(Ipv4Addr::new(192, 0, 2, 0).into(), 24).unwrap()
}

/// The address of a speaker's end of a session.
fn address(speaker: usize, session: u32) -> Ipv4Addr {
    Ipv4Addr::from_bits(0x0a00_0000 | u32::try_from(speaker).unwrap() << 12 | session)
}

impl Internet {
    fn new(world: &World, dice: &mut Dice) -> Self {
        let graph = &world.graph;
        let mut internet = Self {
            speakers: Vec::new(),
            identity: Vec::new(),
            sessions: Vec::new(),
            neighbors: BTreeMap::new(),
            sites: Vec::new(),
        };
        let mut ids: Vec<u32> = (1..=200).collect();
        for i in (1..ids.len()).rev() {
            ids.swap(i, dice.roll(i + 1));
        }
        let mut id = move || Ipv4Addr::from_bits(0x0b00_0000 | ids.pop().unwrap());
        for at in graph.ids() {
            internet.speaker(graph.asn(at), id());
        }
        let place = |asn| graph.index_of(asn).unwrap().index();
        for link in world.relationships.links() {
            let (of_b, of_a) = match link.relationship {
                Relationship::ProviderOf => (Relation::Customer, Relation::Provider),
                _ => (Relation::Peer, Relation::Peer),
            };
            internet.link((place(link.a), of_b), (place(link.b), of_a));
        }
        for server in world.relationships.route_servers() {
            for (nth, a) in server.members.iter().enumerate() {
                for b in &server.members[..nth] {
                    internet.link((place(*a), Relation::Peer), (place(*b), Relation::Peer));
                }
            }
        }
        for (nth, site) in world.configuration.sites.iter().enumerate().filter(|(_, it)| it.up) {
            for told in site.announcements.iter().filter(|told| told.announced) {
                let relation = match told.kind {
                    NeighborKind::Transit => Relation::Customer,
                    NeighborKind::Peer | NeighborKind::RouteServer => Relation::Peer,
                    NeighborKind::Customer => Relation::Provider,
                };
                let servers = world.relationships.route_servers();
                let server = servers.iter().find(|server| server.asn == told.neighbor);
                let hears = server.map_or(vec![told.neighbor], |server| server.members.clone());
                for asn in hears {
                    let speaker = internet.speaker(site.origin, id());
                    let mut attributes = Attributes::new(IpAddr::V4(address(speaker, 0)));
                    if !told.poison.is_empty() {
                        let path = told.poison.iter().chain([&site.origin]).map(|asn| asn.0);
                        attributes.as_path = AsPath::sequence(&path.collect::<Vec<_>>());
                    }
                    internet.speakers[speaker].originate(prefix(), attributes);
                    internet.sites.push(nth);
                    let session = internet.link((place(asn), relation), (speaker, Relation::Peer));
                    let mut rule = Rule::new(Action::Accept).set(Set::Prepend(told.prepend));
                    if told.no_export {
                        rule = rule.set(Set::AddCommunity(Community::NO_EXPORT));
                    }
                    if told.graceful_shutdown {
                        rule = rule.set(Set::AddCommunity(Community::GRACEFUL_SHUTDOWN));
                    }
                    let speaker = &mut internet.speakers[speaker];
                    speaker.set_import(session, Policy::default());
                    speaker.set_export(session, Policy { rules: vec![rule] });
                }
            }
        }
        internet
    }

    fn speaker(&mut self, asn: Asn, router_id: Ipv4Addr) -> usize {
        self.speakers.push(Rib::new(asn, router_id));
        self.identity.push((asn, router_id));
        self.speakers.len() - 1
    }

    /// A session; each end with what the other one is to it.
    fn link(&mut self, a: (usize, Relation), b: (usize, Relation)) -> PeerId {
        let number = u32::try_from(self.sessions.len()).unwrap() + 1;
        let id = PeerId(number);
        self.sessions.push((a.0, id, b.0, id));
        for ((own, relation), other) in [(a, b.0), (b, a.0)] {
            let local = self.identity[own].0;
            let config = PeerConfig {
                name: number.to_string(),
                asn: self.identity[other].0,
                address: address(other, number).into(),
                import: import_policy(relation, local),
                export: export_policy(relation, local),
                next_hop_self: false,
                enforce_first_as: true,
                role: None,
            };
            let up = PeerUp {
                router_id: self.identity[other].1,
                local_address: address(own, number).into(),
                next_hop_other: None,
                families: vec![Family::Ipv4Unicast],
                send_paths: SendPaths::default(),
                agreed: Agreed::default(),
            };
            self.speakers[own].add_peer(id, config);
            self.speakers[own].peer_up(id, up);
            self.neighbors.insert((own, id), other);
        }
        id
    }

    /// Carries messages, one session at a time in random order, until all are silent.
    fn converge(&mut self, dice: &mut Dice) {
        let mut ways: Vec<(usize, usize, PeerId)> = Vec::new();
        for &(a, id, b, _) in &self.sessions {
            ways.extend([(a, b, id), (b, a, id)]);
        }
        for _ in 0..400 {
            for i in (1..ways.len()).rev() {
                ways.swap(i, dice.roll(i + 1));
            }
            let mut quiet = true;
            for &(from, to, id) in &ways {
                while let Some(update) = self.speakers[from].poll_update(id) {
                    quiet = false;
                    self.speakers[to].handle_update(id, update);
                }
            }
            if quiet {
                return;
            }
        }
        panic!("they talk for ever");
    }

    /// The site to which packets go from a speaker.
    fn site(&self, mut at: usize, ases: usize) -> usize {
        while at < ases {
            let peer = self.speakers[at].best(&prefix()).expect("the next hop has it").peer;
            at = self.neighbors[&(at, peer.expect("no AS originates it"))];
        }
        self.sites[at - ases]
    }
}

/// Compares one world; whether every AS had a single best route.
fn compare(seed: u64, spice: Spice, only_if_untied: bool) -> bool {
    let world = world(seed, spice);
    let graph = &world.graph;
    let announced = world.configuration.resolve(graph).unwrap();
    let none = Overrides::default().resolve(graph, &world.configuration);
    let routes = propagate(graph, &announced);
    let explanations: Vec<_> =
        graph.ids().map(|id| explain(graph, &announced, &none, &routes, id)).collect();
    let untied = explanations.iter().all(|explanation| {
        explanation.offers.iter().filter(|offer| offer.verdict == Verdict::Best).count() <= 1
    });
    if only_if_untied && !untied {
        return false;
    }
    let mut dice = Dice(seed ^ 0xabcd);
    let mut internet = Internet::new(&world, &mut dice);
    internet.converge(&mut dice);
    for id in graph.ids() {
        let explained = internet.speakers[id.index()].explain(&prefix());
        let mut contenders = Vec::new();
        for route in explained.iter().flat_map(|it| &it.routes) {
            match route.outcome {
                Outcome::Best => contenders.insert(0, route),
                // Equal in all that we compare.
                Outcome::Lost { step, .. } if step > Step::AsPathLength => contenders.push(route),
                _ => {}
            }
        }
        let at = format!("seed {seed}, AS{}\n{world}", graph.asn(id));
        let Some(route) = routes.of(id) else {
            assert!(contenders.is_empty(), "{at}");
            continue;
        };
        assert!(!contenders.is_empty(), "{at}");
        for contender in &contenders {
            let attributes = &contender.attributes;
            assert_eq!(attributes.as_path.length(), usize::from(route.length), "{at}");
            let side = match attributes.large_communities[0].local2 {
                1 => LearntFrom::Customer,
                2 => LearntFrom::Peer,
                _ => LearntFrom::Provider,
            };
            assert!(side == route.learnt_from || route.last_resort, "{at}");
            assert_eq!(attributes.local_pref == Some(0), route.last_resort, "{at}");
            let by = internet.neighbors[&(id.index(), contender.peer.unwrap())];
            let site = internet.site(by, graph.len());
            assert!(route.sites.contains(site), "{site} of {:?}, {at}", route.sites);
        }
        if untied {
            let best = &explanations[id.index()].offers[0];
            let path: Vec<Asn> = contenders[0].attributes.as_path.asns().collect();
            assert_eq!(best.paths[0].1, path, "{at}");
            assert_eq!(contenders.len(), 1, "{at}");
            // Every other offer was lost at the step that the table names.
            let fell = |verdict| {
                move |offer: &&anycast_catchment::explain::Offer| offer.verdict == verdict
            };
            for step in [Step::LocalPref, Step::AsPathLength] {
                let ours = explanations[id.index()].offers.iter().filter(fell(Verdict::Fell(step)));
                let theirs = explained.iter().flat_map(|it| &it.routes).filter(
                    |route| matches!(route.outcome, Outcome::Lost { step: at, .. } if at == step),
                );
                assert_eq!(ours.count(), theirs.count(), "{step}, {at}");
            }
        }
    }
    untied
}

#[test]
fn every_choice_of_the_tables_is_among_the_tied_and_all_the_tied_are_equal() {
    let spice = Spice { route_servers: true, customers: true, ..Spice::default() };
    let untied = (0..2000).filter(|seed| compare(*seed, spice, false)).count();
    assert!(untied > 200, "{untied}");
}

#[test]
fn where_nothing_is_tied_poisoning_no_export_and_graceful_shutdown_are_as_in_the_tables() {
    let spice = Spice {
        route_servers: true,
        customers: true,
        poison: true,
        no_export: true,
        graceful_shutdown: true,
        ..Spice::default()
    };
    let untied = (0..3000).filter(|seed| compare(*seed, spice, true)).count();
    assert!(untied > 500, "{untied}");
}

//! The quick propagation against a slow and obvious one, on thousands of random small worlds.
//!
//! The reference keeps whole AS paths and lets every AS decide again and again, all at once, until
//! nothing changes. It knows no stages, no numbering and no bit sets.

#![allow(clippy::unwrap_used, reason = "tests")]
#![allow(clippy::range_plus_one, reason = "a count and one more")]
#![allow(clippy::cast_precision_loss, reason = "a few sites")]

mod worlds;

use std::collections::{BTreeMap, BTreeSet};

use anycast_bgp::Asn;
use anycast_catchment::{
    Batch, LANES, LaneRoutes, LearntFrom, NeighborKind, Overrides, Propagator, Relationship, Route,
    Routes, Shares, SiteSet,
};
use worlds::{Dice, Spice, World, wide_world, world};

/// One path as an AS has it.
#[derive(Clone, Debug, Eq, Ord, PartialEq, PartialOrd)]
struct Path {
    pref: u32,
    side: LearntFrom,
    /// The sender first.
    asns: Vec<Asn>,
    site: usize,
    keep: bool,
    not_to: Vec<Asn>,
    last_resort: bool,
    /// By whom it was offered; nobody if by the site.
    from: Option<Asn>,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Tie {
    Down,
    Up,
    Across,
    Sibling,
}

struct Reference<'a> {
    world: &'a World,
    overrides: &'a Overrides,
    /// (from, to, what `to` is to `from`).
    ties: Vec<(Asn, Asn, Tie)>,
    asns: Vec<Asn>,
}

type State = BTreeMap<Asn, BTreeSet<Path>>;

impl<'a> Reference<'a> {
    fn new(world: &'a World, overrides: &'a Overrides) -> Self {
        let mut ties = Vec::new();
        for link in world.relationships.links() {
            let (there, back) = match link.relationship {
                Relationship::ProviderOf => (Tie::Down, Tie::Up),
                Relationship::Peer => (Tie::Across, Tie::Across),
                Relationship::Sibling => (Tie::Sibling, Tie::Sibling),
            };
            ties.push((link.a, link.b, there));
            ties.push((link.b, link.a, back));
        }
        for server in world.relationships.route_servers() {
            for &a in &server.members {
                for &b in server.members.iter().filter(|b| **b != a) {
                    ties.push((a, b, Tie::Across));
                }
            }
        }
        let asns = world.graph.ids().map(|id| world.graph.asn(id)).collect();
        Self { world, overrides, ties, asns }
    }

    fn origins(&self, at: Asn) -> SiteSet {
        let sites = self.world.configuration.sites.iter().enumerate();
        sites.filter(|(_, site)| site.up && site.origin == at).map(|(nth, _)| nth).collect()
    }

    /// What the sites tell an AS.
    fn told_by_sites(&self, at: Asn) -> Vec<Path> {
        let mut paths = Vec::new();
        for (nth, site) in self.world.configuration.sites.iter().enumerate() {
            for told in site.announcements.iter().filter(|told| site.up && told.announced) {
                let servers = self.world.relationships.route_servers();
                let server = servers.iter().find(|server| server.asn == told.neighbor);
                let hears = match (told.kind, server) {
                    (NeighborKind::RouteServer, Some(server)) => {
                        server.members.contains(&at) && !told.not_to.contains(&at)
                    }
                    _ => told.neighbor == at,
                };
                if !hears {
                    continue;
                }
                let side = match told.kind {
                    NeighborKind::Transit => LearntFrom::Customer,
                    NeighborKind::Peer | NeighborKind::RouteServer => LearntFrom::Peer,
                    NeighborKind::Customer => LearntFrom::Provider,
                };
                let mut asns = vec![site.origin; usize::from(told.prepend) + 1];
                if !told.poison.is_empty() {
                    asns.extend(&told.poison);
                    asns.push(site.origin);
                }
                let by_server = told.kind == NeighborKind::RouteServer;
                paths.push(Path {
                    pref: 0,
                    side,
                    asns,
                    site: nth,
                    keep: told.no_export,
                    not_to: if by_server { Vec::new() } else { told.not_to.clone() },
                    last_resort: told.graceful_shutdown,
                    from: None,
                });
            }
        }
        paths
    }

    /// What an AS is offered in a state.
    fn offers(&self, at: Asn, state: &State) -> Vec<Path> {
        let mut offers = self.told_by_sites(at);
        for &(from, _, tie) in self.ties.iter().filter(|(_, to, _)| *to == at) {
            for path in &state[&from] {
                let first_hop = path.from.is_none();
                if path.keep || (first_hop && path.not_to.contains(&at)) {
                    continue;
                }
                let all = path.side == LearntFrom::Customer;
                if !all && matches!(tie, Tie::Up | Tie::Across) {
                    continue;
                }
                let side = match tie {
                    Tie::Down => LearntFrom::Provider,
                    Tie::Up => LearntFrom::Customer,
                    Tie::Across => LearntFrom::Peer,
                    Tie::Sibling => path.side,
                };
                let times = self.overrides.prepend.get(&(from, at)).copied().unwrap_or(0);
                let mut asns = vec![from; usize::from(times) + 1];
                asns.extend(&path.asns);
                offers.push(Path {
                    side,
                    asns,
                    from: Some(from),
                    not_to: Vec::new(),
                    ..path.clone()
                });
            }
        }
        offers.retain(|path| !path.asns.contains(&at));
        for path in &mut offers {
            let default = match path.side {
                LearntFrom::Customer => 200,
                LearntFrom::Peer => 150,
                _ => 100,
            };
            let set = path.from.and_then(|from| self.overrides.local_pref.get(&(at, from)));
            path.pref = if path.last_resort { 0 } else { set.copied().unwrap_or(default) };
        }
        self.observed(at, &mut offers);
        offers
    }

    fn observed(&self, at: Asn, offers: &mut Vec<Path>) {
        let name = |path: &Path| self.world.configuration.sites[path.site].name.clone();
        let all = offers.clone();
        offers.retain(|path| {
            let Some(from) = path.from else { return true };
            let Some(only) = self.overrides.via.get(&(at, name(path))) else { return true };
            let offered =
                all.iter().any(|other| other.site == path.site && other.from == Some(*only));
            from == *only || !offered
        });
        if let Some(pin) = self.overrides.site.get(&at)
            && offers.iter().any(|path| name(path) == *pin)
        {
            offers.retain(|path| name(path) == *pin);
        }
    }

    fn decide(&self, at: Asn, state: &State) -> BTreeSet<Path> {
        if !self.origins(at).is_empty() {
            return BTreeSet::new();
        }
        let offers = self.offers(at, state);
        let rank = |path: &Path| (path.pref, std::cmp::Reverse(path.asns.len()));
        let best = offers.iter().map(rank).max();
        offers.into_iter().filter(|path| Some(rank(path)) == best).collect()
    }

    /// All at once (0), in the order of numbers (1) or against it (2), until nothing changes.
    fn run(&self, manner: usize) -> Option<State> {
        self.run_from(self.asns.iter().map(|asn| (*asn, BTreeSet::new())).collect(), manner)
    }

    fn run_from(&self, mut state: State, manner: usize) -> Option<State> {
        for _ in 0..300 {
            let before = state.clone();
            let mut order = self.asns.clone();
            order.sort_unstable();
            if manner == 2 {
                order.reverse();
            }
            for at in order {
                let new = self.decide(at, if manner == 0 { &before } else { &state });
                state.insert(at, new);
            }
            if state == before {
                return Some(state);
            }
        }
        None
    }

    fn route(&self, at: Asn, state: &State) -> Option<Route> {
        let sites = self.origins(at);
        if !sites.is_empty() {
            return Some(Route {
                learnt_from: LearntFrom::Origin,
                length: 0,
                sites,
                last_resort: false,
            });
        }
        let paths = &state[&at];
        let first = paths.first()?;
        Some(Route {
            learnt_from: paths.iter().map(|path| path.side).min()?,
            length: u8::try_from(first.asns.len()).unwrap(),
            sites: paths.iter().map(|path| path.site).collect(),
            last_resort: first.last_resort,
        })
    }

    /// The share of each site at an AS, by the definition.
    fn shares(&self, at: Asn, state: &State) -> Vec<f64> {
        let count = self.world.configuration.sites.len();
        let mut shares = vec![0.0; count];
        let own = self.origins(at);
        if !own.is_empty() {
            own.iter().for_each(|site| shares[site] = 1.0 / own.len() as f64);
            return shares;
        }
        // By whom, through which kind of session, to which sites. Two sessions with one neighbor
        // are two ways.
        let mut total = 0.0;
        for offer in self.ways(at, state) {
            let theirs = match offer.0 {
                None => vec![1.0; count],
                Some(from) => self.shares(from, state),
            };
            let told: f64 = offer.1.iter().map(|site| theirs[*site]).sum();
            let weight =
                offer.0.map_or(1.0, |from| *self.overrides.weight.get(&(at, from)).unwrap_or(&1.0));
            total += weight;
            for site in &offer.1 {
                shares[*site] += weight * theirs[*site] / told;
            }
        }
        if total > 0.0 {
            for share in &mut shares {
                *share /= total;
            }
        }
        shares
    }

    fn ways(&self, at: Asn, state: &State) -> Vec<(Option<Asn>, BTreeSet<usize>)> {
        let best = &state[&at];
        let mut ways: Vec<(Option<Asn>, BTreeSet<usize>)> = Vec::new();
        ways.extend(
            self.told_by_sites(at)
                .into_iter()
                .filter(|path| {
                    best.iter().any(|other| {
                        other.from.is_none()
                            && (other.site, other.side, &other.asns, other.last_resort)
                                == (path.site, path.side, &path.asns, path.last_resort)
                    })
                })
                .map(|path| (None, BTreeSet::from([path.site]))),
        );
        for &(from, _, tie) in self.ties.iter().filter(|(_, to, _)| *to == at) {
            let fits = |path: &&Path| match tie {
                Tie::Down => path.side == LearntFrom::Provider,
                Tie::Up => path.side == LearntFrom::Customer,
                Tie::Across => path.side == LearntFrom::Peer,
                Tie::Sibling => true,
            };
            let sites: BTreeSet<usize> = best
                .iter()
                .filter(|path| path.from == Some(from))
                .filter(fits)
                .map(|path| path.site)
                .collect();
            if !sites.is_empty() {
                ways.push((Some(from), sites));
            }
        }
        ways
    }
}

/// Ours of a world.
fn ours(world: &World, overrides: &Overrides) -> (Routes, Shares) {
    let announced = world.configuration.resolve(&world.graph).unwrap();
    let resolved = overrides.resolve(&world.graph, &world.configuration);
    let mut propagator = Propagator::new(&world.graph, resolved);
    let mut routes = Routes::new(world.graph.len());
    propagator.run(&announced, &mut routes);
    let again = routes.clone();
    propagator.run(&announced, &mut routes);
    for id in world.graph.ids() {
        assert_eq!(routes.of(id), again.of(id), "a propagator keeps nothing of the last run");
    }
    let mut shares = Shares::new();
    shares.run(&world.graph, &announced, propagator.overrides(), &routes);
    (routes, shares)
}

fn compare(seed: u64, world: &World, overrides: &Overrides, state: &State, with_shares: bool) {
    let reference = Reference::new(world, overrides);
    let (routes, shares) = ours(world, overrides);
    assert!(routes.unsettled().is_empty(), "seed {seed}");
    for id in world.graph.ids() {
        let asn = world.graph.asn(id);
        let (mut got, mut want) = (routes.of(id), reference.route(asn, state));
        if let (Some(got), Some(want)) = (&mut got, &mut want)
            && got.last_resort
        {
            // Of routes of last resort that a sibling has from several sides, the first side is
            // named even where only those of another one may be told.
            got.learnt_from = want.learnt_from;
        }
        assert_eq!(got, want, "seed {seed}, AS{asn}\n{world}{overrides:?}");
        let sum: f32 = shares.of(id).iter().sum();
        let reached = routes.of(id).is_some();
        assert!((sum - f32::from(u8::from(reached))).abs() < 1e-5, "seed {seed}, AS{asn}: {sum}");
        if with_shares {
            for (site, want) in reference.shares(asn, state).into_iter().enumerate() {
                let got = f64::from(shares.of(id)[site]);
                assert!((got - want).abs() < 1e-4, "seed {seed}, AS{asn}, {site}: {got} {want}");
            }
        }
    }
}

fn all_worlds(seeds: std::ops::Range<u64>, spice: Spice) {
    let overrides = Overrides::default();
    for seed in seeds {
        let world = world(seed, spice);
        let reference = Reference::new(&world, &overrides);
        let state = reference.run(0).unwrap_or_else(|| panic!("seed {seed} does not settle"));
        compare(seed, &world, &overrides, &state, true);
    }
}

#[test]
fn plain_worlds_are_as_the_reference_says() {
    all_worlds(0..1500, Spice::default());
}

#[test]
fn worlds_with_route_servers_and_siblings_are_as_the_reference_says() {
    all_worlds(0..1000, Spice { route_servers: true, ..Spice::default() });
    all_worlds(0..1000, Spice { siblings: true, ..Spice::default() });
}

/// Large enough for runs of the quiet, and for peers as rows of bits beside peers as lists.
#[test]
fn wide_worlds_are_as_the_reference_says() {
    let overrides = Overrides::default();
    let plain = Spice { route_servers: true, ..Spice::default() };
    let spiced = Spice { siblings: false, graceful_shutdown: false, ..Spice::ALL };
    for seed in 0..12 {
        let world = wide_world(seed, if seed % 2 == 0 { plain } else { spiced }, 4);
        let reference = Reference::new(&world, &overrides);
        let state = reference.run(0).unwrap_or_else(|| panic!("seed {seed} does not settle"));
        compare(seed, &world, &overrides, &state, true);
    }
}

#[test]
fn poisoned_and_selective_announcements_are_as_the_reference_says() {
    let spice = Spice { poison: true, inside: true, ..Spice::default() };
    all_worlds(0..1000, spice);
    all_worlds(
        0..1000,
        Spice { no_export: true, not_to: true, customers: true, ..Spice::default() },
    );
}

#[test]
fn graceful_shutdown_is_the_last_resort_as_the_reference_says() {
    all_worlds(0..1500, Spice { graceful_shutdown: true, ..Spice::default() });
}

#[test]
fn everything_at_once_is_as_the_reference_says() {
    all_worlds(0..3000, Spice::ALL);
}

fn links_of(world: &World) -> Vec<(Asn, Asn)> {
    let links = world.relationships.links().iter();
    links.flat_map(|link| [(link.a, link.b), (link.b, link.a)]).collect()
}

#[test]
fn third_party_prepends_and_preferences_within_a_side_are_as_the_reference_says() {
    for seed in 0..2000 {
        let world = world(seed, Spice { siblings: false, ..Spice::ALL });
        let mut dice = Dice(seed);
        let mut overrides = Overrides::default();
        for pair in links_of(&world) {
            if dice.one_in(4) {
                overrides.prepend.insert(pair, u8::try_from(1 + dice.roll(3)).unwrap());
            }
            if dice.one_in(4) {
                overrides.weight.insert(pair, 0.5 + dice.roll(6) as f64);
            }
        }
        for link in world.relationships.links() {
            let (of_a, of_b) = match link.relationship {
                Relationship::ProviderOf => (200, 100),
                _ => (150, 150),
            };
            for (pair, base) in [((link.a, link.b), of_a), ((link.b, link.a), of_b)] {
                if dice.one_in(4) {
                    overrides
                        .local_pref
                        .insert(pair, base - 10 + 10 * u32::try_from(dice.roll(3)).unwrap());
                }
            }
        }
        let reference = Reference::new(&world, &overrides);
        let state = reference.run(1).unwrap_or_else(|| panic!("seed {seed} does not settle"));
        compare(seed, &world, &overrides, &state, false);
    }
}

#[test]
fn preferences_across_the_sides_and_pins_are_as_the_reference_says_where_it_is_of_one_mind() {
    let (mut compared, mut other, mut unsettled) = (0, 0, 0);
    for seed in 0..3000 {
        let world = world(seed, Spice { siblings: false, graceful_shutdown: false, ..Spice::ALL });
        let mut dice = Dice(seed);
        let mut overrides = Overrides::default();
        let links = links_of(&world);
        for _ in 0..1 + dice.roll(2) {
            let pair = links[dice.roll(links.len())];
            let site = format!("s{}", dice.roll(3));
            match dice.roll(3) {
                0 => drop(overrides.local_pref.insert(pair, [50, 120, 170, 300][dice.roll(4)])),
                1 => drop(overrides.via.insert((pair.0, site), pair.1)),
                _ => drop(overrides.site.insert(pair.0, site)),
            }
        }
        let reference = Reference::new(&world, &overrides);
        let none = Overrides::default();
        let without = Reference::new(&world, &none).run(0).unwrap();
        let fourth = reference.run_from(without, 1);
        let states = [reference.run(0), reference.run(1), reference.run(2), fourth];
        let [Some(first), Some(second), Some(third), Some(fourth)] = states else {
            unsettled += 1;
            continue;
        };
        if first != second || second != third || third != fourth {
            other += 1;
            continue;
        }
        compare(seed, &world, &overrides, &first, false);
        compared += 1;
    }
    assert!(compared > 2500, "{compared} of one mind, {other} not, {unsettled} unsettled");
}

#[test]
fn sixteen_configurations_at_once_are_as_each_of_them_alone() {
    for seed in 0..600 {
        let spice = match seed % 3 {
            0 => Spice::ALL,
            1 => Spice { route_servers: true, ..Spice::default() },
            _ => Spice::default(),
        };
        lanes_are_as_alone(seed, &world(seed, spice));
    }
}

/// So many sites that sets of them are narrow, wide, and too wide for lanes.
#[test]
fn wide_worlds_with_many_sites_are_in_lanes_as_alone() {
    for seed in 0..30 {
        let spice = Spice { route_servers: seed % 2 == 0, ..Spice::default() };
        for sites in [16, 17, 32, 33] {
            lanes_are_as_alone(seed, &wide_world(seed, spice, sites));
        }
    }
}

fn lanes_are_as_alone(seed: u64, world: &World) {
    let mut dice = Dice(seed);
    let overrides = Overrides::default().resolve(&world.graph, &world.configuration);
    let mut single = Propagator::new(&world.graph, overrides.clone());
    let mut batch = Batch::new(&world.graph, overrides);
    let mut lanes = LaneRoutes::new();
    let mut routes = Routes::new(world.graph.len());
    for count in [LANES, 3] {
        let configurations: Vec<_> = (0..count)
            .map(|_| {
                let mut configuration = world.configuration.clone();
                for site in &mut configuration.sites {
                    site.up = dice.one_in(2);
                    for told in &mut site.announcements {
                        told.prepend = u8::try_from(dice.roll(4)).unwrap();
                    }
                }
                configuration.resolve(&world.graph).unwrap()
            })
            .collect();
        batch.run(&configurations, &mut lanes);
        for (lane, announced) in configurations.iter().enumerate() {
            single.run(announced, &mut routes);
            for id in world.graph.ids() {
                let got = (lanes.sites(lane, id), lanes.length(lane, id));
                let want = (routes.sites(id), routes.of(id).map(|route| route.length));
                assert_eq!(got, want, "seed {seed}, lane {lane}, {id:?}");
                assert_eq!(lanes.row(id)[lane], want.0.iter().map(|site| 1 << site).sum::<u64>());
            }
        }
    }
}

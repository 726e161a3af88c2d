//! Random small Internets and configurations, the same for each seed.

#![allow(dead_code, reason = "each test uses what it needs")]
#![allow(clippy::unwrap_used, reason = "only tests use this")]
#![allow(clippy::struct_excessive_bools, reason = "each is one thing that a world may have")]
#![allow(clippy::range_plus_one, reason = "a count and one more")]

use anycast_bgp::Asn;
use anycast_catchment::{
    Announcement, Configuration, Graph, Link, NeighborKind, Relationship, Relationships,
    RouteServer, Site,
};

/// A sequence of numbers that a seed decides (SplitMix64).
pub(crate) struct Dice(pub u64);

impl Dice {
    pub(crate) fn roll(&mut self, sides: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        usize::try_from((mixed ^ (mixed >> 31)) >> 33).unwrap() % sides
    }

    pub(crate) fn one_in(&mut self, sides: usize) -> bool {
        self.roll(sides) == 0
    }
}

/// What a world may have beyond providers, customers and peers.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Spice {
    pub(crate) siblings: bool,
    pub(crate) route_servers: bool,
    pub(crate) no_export: bool,
    pub(crate) not_to: bool,
    pub(crate) graceful_shutdown: bool,
    pub(crate) poison: bool,
    pub(crate) customers: bool,
    /// Origins that are ASes of the graph.
    pub(crate) inside: bool,
}

impl Spice {
    pub(crate) const ALL: Self = Self {
        siblings: true,
        route_servers: true,
        no_export: true,
        not_to: true,
        graceful_shutdown: true,
        poison: true,
        customers: true,
        inside: true,
    };
}

pub(crate) struct World {
    pub(crate) relationships: Relationships,
    pub(crate) configuration: Configuration,
    pub(crate) graph: Graph,
}

pub(crate) const FIRST: u32 = 64512;

/// The number of the `nth` AS of a world.
pub(crate) fn asn(nth: usize) -> Asn {
    Asn(FIRST + u32::try_from(nth).unwrap())
}

pub(crate) fn world(seed: u64, spice: Spice) -> World {
    let mut dice = Dice(seed.wrapping_mul(0x1234_5678_9abc_def1));
    let n = 3 + dice.roll(12);
    // Who stands above whom, so that numbers say nothing of it.
    let mut order: Vec<usize> = (0..n).collect();
    for i in (1..n).rev() {
        order.swap(i, dice.roll(i + 1));
    }
    let density = 2 + dice.roll(4);
    let mut links = Vec::new();
    for low in 1..n {
        for high in 0..low {
            let (a, b) = (asn(order[high]), asn(order[low]));
            let relationship = match dice.roll(3 * density) {
                0..=3 => Relationship::ProviderOf,
                4 | 5 => Relationship::Peer,
                6 if spice.siblings && low == high + 1 => Relationship::Sibling,
                _ => continue,
            };
            links.push(Link { a, b, relationship });
        }
    }
    if links.is_empty() {
        let relationship = Relationship::ProviderOf;
        links.push(Link { a: asn(order[0]), b: asn(order[1]), relationship });
    }
    let mut relationships = Relationships::from_links(links).unwrap();
    if spice.route_servers {
        for nth in 0..dice.roll(3) {
            let members = (0..n).filter(|_| dice.one_in(3)).map(asn).collect();
            relationships.add_route_server(RouteServer { asn: asn(900 + nth), members });
        }
    }
    let Ok(graph) = Graph::new(&relationships) else {
        // Siblings have closed a circle; without them there is none.
        return world(seed, Spice { siblings: false, ..spice });
    };
    let sites = 1 + dice.roll(4);
    let configuration = configuration(&mut dice, &graph, n, spice, sites);
    World { relationships, configuration, graph }
}

/// A larger world: a few ASes with many peers, some with few, and many that have only providers.
pub(crate) fn wide_world(seed: u64, spice: Spice, sites: usize) -> World {
    const ALL: usize = 260;
    const TOP: usize = 4;
    const MIDDLE: usize = 40;
    const MEETING: usize = 150;
    let mut dice = Dice(seed.wrapping_mul(0x1234_5678_9abc_def1));
    let mut links: Vec<Link> = Vec::new();
    let mut add = |a: usize, b: usize, relationship| {
        let (a, b) = (asn(a), asn(b));
        if a != b && links.iter().all(|it| (it.a, it.b) != (a, b) && (it.a, it.b) != (b, a)) {
            links.push(Link { a, b, relationship });
        }
    };
    for nth in 0..ALL {
        let above = if nth < TOP { 0 } else { nth.min(MIDDLE) };
        for _ in 0..if above > 0 { 1 + dice.roll(2) } else { 0 } {
            add(dice.roll(above), nth, Relationship::ProviderOf);
        }
        if nth < MEETING && dice.one_in(3) {
            add(nth, dice.roll(MEETING), Relationship::Peer);
        }
    }
    for many in [1, 10, 20, 100] {
        for nth in (0..MEETING).filter(|nth| nth % 3 == many % 3) {
            add(many, nth, Relationship::Peer);
        }
    }
    let mut relationships = Relationships::from_links(links).unwrap();
    if spice.route_servers {
        let members = (0..MEETING).filter(|_| dice.one_in(5)).map(asn).collect();
        relationships.add_route_server(RouteServer { asn: asn(900), members });
    }
    let graph = Graph::new(&relationships).unwrap();
    let configuration = configuration(&mut dice, &graph, ALL, spice, sites);
    World { relationships, configuration, graph }
}

fn configuration(
    dice: &mut Dice,
    graph: &Graph,
    n: usize,
    spice: Spice,
    sites: usize,
) -> Configuration {
    let known: Vec<Asn> = (0..n).map(asn).filter(|asn| graph.index_of(*asn).is_some()).collect();
    let common = dice.one_in(2).then(|| asn(990));
    let sites = (0..sites)
        .map(|nth| {
            let mut origin = common.unwrap_or(asn(991 + nth));
            if spice.inside && dice.one_in(8) {
                origin = known[dice.roll(known.len())];
            }
            let mut announcements: Vec<Announcement> = Vec::new();
            for _ in 0..1 + dice.roll(3) {
                let neighbor = known[dice.roll(known.len())];
                let once = announcements.iter().all(|told| told.neighbor != neighbor);
                if neighbor != origin && once {
                    announcements.push(announcement(dice, neighbor, &known, spice));
                }
            }
            let servers: Vec<Asn> = graph.route_servers().map(|(asn, _)| asn).collect();
            if !servers.is_empty() && dice.one_in(2) {
                let mut told = announcement(dice, servers[0], &known, spice);
                told.kind = NeighborKind::RouteServer;
                announcements.push(told);
            }
            Site { name: format!("s{nth}"), origin, up: !dice.one_in(10), announcements }
        })
        .collect();
    Configuration { sites }
}

fn announcement(dice: &mut Dice, neighbor: Asn, known: &[Asn], spice: Spice) -> Announcement {
    let kind = match dice.roll(8) {
        0..=4 => NeighborKind::Transit,
        5 if spice.customers => NeighborKind::Customer,
        _ => NeighborKind::Peer,
    };
    let mut told = Announcement::new(neighbor, kind);
    told.announced = !dice.one_in(12);
    if dice.one_in(3) {
        told.prepend = u8::try_from(dice.roll(4)).unwrap();
    }
    told.no_export = spice.no_export && dice.one_in(6);
    told.graceful_shutdown = spice.graceful_shutdown && dice.one_in(4);
    if spice.not_to && dice.one_in(4) {
        told.not_to = vec![known[dice.roll(known.len())]];
    }
    if spice.poison && dice.one_in(4) {
        told.poison = (0..1 + dice.roll(2)).map(|_| known[dice.roll(known.len())]).collect();
    }
    told
}

impl std::fmt::Display for World {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        for link in self.relationships.links() {
            let sign = match link.relationship {
                Relationship::ProviderOf => '>',
                Relationship::Peer => '=',
                Relationship::Sibling => '~',
            };
            writeln!(f, "{} {sign} {}", link.a, link.b)?;
        }
        for server in self.relationships.route_servers() {
            writeln!(f, "{} * {:?}", server.asn, server.members)?;
        }
        for site in &self.configuration.sites {
            let up = if site.up { "" } else { " down" };
            writeln!(f, "{} origin {}{up}", site.name, site.origin)?;
            for told in &site.announcements {
                writeln!(f, "    {told:?}")?;
            }
        }
        Ok(())
    }
}

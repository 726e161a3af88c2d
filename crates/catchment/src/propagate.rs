//! One propagation: who has which best routes once nothing changes any more.
//!
//! Three stages, each of which looks at what it must and no more (Gao and Rexford, "Stable
//! Internet Routing Without Global Coordination"; the stages as in Gill, Schapira, Goldberg,
//! "Modeling on Quicksand"):
//!
//! 1. **Up.** Routes from customers rise from the sites' neighbors along their providers. Only
//!    ASes above a site ever have one. They are visited customers first, so each is final when
//!    it is looked at.
//! 2. **Across.** Those ASes, and only they, tell their peers and route servers.
//! 3. **Down.** Everyone else hears from its providers, which are final when it is looked at, as
//!    the graph's numbers put providers before customers: one pass over the links.
//!
//! An AS about which something special is known (it is named in a poisoned path, it must not
//! tell everyone, it has siblings or overrides) is decided at its turn by the rules of
//! `candidates`, all others by the quick ways here. Preferences that reach across the sides
//! (a provider liked better than customers) are settled afterwards by `settle`, and routes with
//! GRACEFUL_SHUTDOWN fill in where nothing else arrives in `last_resort`: wherever they arrive,
//! they are worse than every other route, so they cannot change who has another.

mod last_resort;
mod settle;

use crate::candidates::{Decision, Sides, View};
use crate::configuration::{Announced, NeighborKind};
use crate::graph::{AsId, Graph};
use crate::overrides::Resolved;
use crate::routes::{Deviation, LearntFrom, NONE, Routes, from};
use crate::sites::SiteSet;

/// Propagates configurations over one graph, one at a time; all its memory is reused.
#[derive(Clone, Debug)]
pub struct Propagator<'g> {
    graph: &'g Graph,
    overrides: Resolved,
    /// ASes above a site that wait to be looked at, a bit each.
    pending: Vec<u64>,
    /// ASes with routes from customers, as they were found.
    cone: Vec<AsId>,
    /// Side and length of what each AS has, for quick comparison: lower is better. 0 for those
    /// that are not to be decided by comparing: special ones, origins.
    rank: Vec<u16>,
    /// ASes that are decided by `candidates`.
    special: Vec<bool>,
    specials: Vec<AsId>,
    /// Special ASes that a peer has told something.
    pulls: Vec<AsId>,
    /// What each route server passes on: the shortest length, and to which sites.
    servers: Vec<(u8, u64)>,
    servers_touched: Vec<usize>,
    /// What ASes take that tell on less.
    held: Vec<(AsId, Decision)>,
    last_resort: last_resort::Scratch,
    settle: settle::Scratch,
}

/// The routes of one configuration without overrides.
#[must_use]
pub fn propagate(graph: &Graph, announced: &Announced) -> Routes {
    let mut routes = Routes::new(graph.len());
    Propagator::new(graph, Resolved::default()).run(announced, &mut routes);
    routes
}

impl<'g> Propagator<'g> {
    /// A propagator for this graph and these overrides.
    #[must_use]
    pub fn new(graph: &'g Graph, overrides: Resolved) -> Self {
        Self {
            graph,
            overrides,
            pending: vec![0; graph.len().div_ceil(64)],
            cone: Vec::new(),
            rank: vec![u16::MAX; graph.len()],
            special: vec![false; graph.len()],
            specials: Vec::new(),
            pulls: Vec::new(),
            servers: vec![(NONE, 0); graph.route_servers.len()],
            servers_touched: Vec::new(),
            held: Vec::new(),
            last_resort: last_resort::Scratch::default(),
            settle: settle::Scratch::default(),
        }
    }

    /// The graph.
    #[must_use]
    pub const fn graph(&self) -> &'g Graph {
        self.graph
    }

    /// The overrides.
    #[must_use]
    pub const fn overrides(&self) -> &Resolved {
        &self.overrides
    }

    /// Puts the routes of a configuration into `routes`, whatever was there before. Nothing is
    /// allocated once the buffers have grown to what the graph needs.
    ///
    /// # Panics
    /// If `announced` or `routes` is for another graph.
    pub fn run(&mut self, announced: &Announced, routes: &mut Routes) {
        assert_eq!(routes.len(), self.graph.len(), "routes are made for this graph");
        routes.length.fill(NONE);
        routes.from.fill(from::NOTHING);
        routes.deviations.clear();
        routes.unsettled.clear();
        routes.chosen.clear();
        self.rank.fill(u16::MAX);
        self.mark_specials(announced);
        routes.strands.clear();
        if announced.strands.len() > announced.sites {
            routes.strands.extend(&announced.strands);
        }
        for (origin, _) in &announced.origins {
            routes.from[origin.index()] = from::ORIGIN;
            self.rank[origin.index()] = 0;
        }
        self.up(announced, routes);
        self.across(announced, routes);
        self.down(announced, routes);
        self.finish(announced, routes);
        if announced.seeds.iter().any(|seed| seed.last_resort) {
            self.last_resort.run(self.graph, announced, &self.overrides, routes);
        }
        if !self.overrides.choosers().is_empty() {
            self.settle.run(self.graph, announced, &self.overrides, routes);
        }
        for id in self.specials.drain(..) {
            self.special[id.index()] = false;
        }
    }

    fn mark_specials(&mut self, announced: &Announced) {
        debug_assert!(self.specials.is_empty(), "cleared at the end of each run");
        let (special, rank) = (&mut self.special, &mut self.rank);
        let specials = &mut self.specials;
        let mut mark = |id: AsId| {
            if !std::mem::replace(&mut special[id.index()], true) {
                specials.push(id);
                rank[id.index()] = 0;
            }
        };
        announced.refusals.iter().for_each(|(id, _)| mark(*id));
        announced.silences.iter().for_each(|(_, to, _)| mark(*to));
        for seed in &announced.seeds {
            if seed.no_export || seed.kind == NeighborKind::Customer {
                mark(seed.at);
            }
        }
        self.overrides.special().iter().for_each(|id| mark(*id));
        for &(first, last) in &self.graph.sibling_groups {
            (first.0..=last.0).map(AsId).for_each(&mut mark);
        }
    }

    /// Stage 1: routes from customers, from the lowest AS to the highest.
    fn up(&mut self, announced: &Announced, routes: &mut Routes) {
        self.cone.clear();
        for seed in &announced.seeds {
            if seed.kind == NeighborKind::Transit && !seed.last_resort {
                let (length, sites) = (seed.length, 1 << seed.strand);
                offer(&mut self.rank, routes, seed.at, from::CUSTOMER, length, sites);
                wait(&mut self.pending, seed.at);
            }
        }
        for word in (0..self.pending.len()).rev() {
            while self.pending[word] != 0 {
                let bit = 63 - self.pending[word].leading_zeros();
                self.pending[word] &= !(1 << bit);
                let at = AsId(u32::try_from(word).expect("ids are 32 bits") * 64 + bit);
                if self.special[at.index()] {
                    // All of a group's customers outside it are below it.
                    self.decide_customers(at, announced, routes);
                } else if routes.from[at.index()] == from::CUSTOMER {
                    self.rise(at, routes);
                }
            }
        }
    }

    /// A special AS, or all siblings of one, at its turn in stage 1.
    fn decide_customers(&mut self, at: AsId, announced: &Announced, routes: &mut Routes) {
        let (first, last) = self.graph.sibling_group(at);
        self.decide_group(first, last, LearntFrom::Customer, announced, routes);
        for id in (first.0..=last.0).map(AsId) {
            if routes.from[id.index()] == from::CUSTOMER {
                self.rise(id, routes);
            }
        }
        // A sibling may be a provider as well: it has decided already.
        for id in (first.0..=last.0).map(AsId) {
            self.pending[id.index() / 64] &= !(1 << (id.index() % 64));
        }
    }

    /// Tells the providers of `at`.
    fn rise(&mut self, at: AsId, routes: &mut Routes) {
        self.cone.push(at);
        let length = routes.length[at.index()].saturating_add(1);
        if length == NONE {
            return;
        }
        let sites = routes.sites[at.index()];
        for &provider in self.graph.providers(at) {
            offer(&mut self.rank, routes, provider, from::CUSTOMER, length, sites);
            wait(&mut self.pending, provider);
        }
    }

    /// Stage 2: routes from peers.
    fn across(&mut self, announced: &Announced, routes: &mut Routes) {
        self.pulls.clear();
        for seed in &announced.seeds {
            let peer = matches!(seed.kind, NeighborKind::Peer | NeighborKind::RouteServer);
            if peer && !seed.last_resort {
                self.cross(seed.at, seed.length, 1 << seed.strand, routes);
            }
        }
        for at in 0..self.cone.len() {
            let id = self.cone[at];
            let length = routes.length[id.index()].saturating_add(1);
            if length == NONE {
                continue;
            }
            let sites = routes.sites[id.index()];
            let graph = self.graph;
            for &peer in graph.peers(id) {
                self.cross(peer, length, sites, routes);
            }
            for &server in graph.memberships.of(id) {
                let (shortest, to) = &mut self.servers[server.index()];
                if *shortest == NONE {
                    self.servers_touched.push(server.index());
                }
                match length.cmp(shortest) {
                    std::cmp::Ordering::Less => (*shortest, *to) = (length, sites),
                    std::cmp::Ordering::Equal => *to |= sites,
                    std::cmp::Ordering::Greater => {}
                }
            }
        }
        while let Some(server) = self.servers_touched.pop() {
            let (length, sites) = std::mem::replace(&mut self.servers[server], (NONE, 0));
            let graph = self.graph;
            for &member in &graph.route_servers[server].members {
                self.cross(member, length, sites, routes);
            }
        }
        for at in 0..self.pulls.len() {
            let (first, last) = self.graph.sibling_group(self.pulls[at]);
            self.decide_group(first, last, LearntFrom::Peer, announced, routes);
        }
    }

    /// A peer tells `to`.
    fn cross(&mut self, to: AsId, length: u8, sites: u64, routes: &mut Routes) {
        if !offer(&mut self.rank, routes, to, from::PEER, length, sites) {
            return;
        }
        let code = routes.from[to.index()];
        if self.special[to.index()] && (code == from::NOTHING || code == from::PEER) {
            self.pulls.push(to);
        }
    }

    /// Stage 3: routes from providers.
    fn down(&mut self, announced: &Announced, routes: &mut Routes) {
        let mut next = 0;
        // Many networks have the same providers; they stand beside each other.
        let (mut best, mut sites, mut known) = (NONE, 0, false);
        for id in self.graph.ids() {
            known &= self.graph.alike[id.index()];
            if id.0 < next || routes.from[id.index()] != from::NOTHING {
                continue;
            }
            if self.special[id.index()] {
                let (first, last) = self.graph.sibling_group(id);
                self.decide_group(first, last, LearntFrom::Provider, announced, routes);
                next = last.0 + 1;
                continue;
            }
            if !known {
                (best, sites, known) = (NONE, 0, true);
                for provider in self.graph.providers(id) {
                    let length = routes.length[provider.index()];
                    if length < best {
                        (best, sites) = (length, routes.sites[provider.index()]);
                    } else if length == best {
                        sites |= routes.sites[provider.index()];
                    }
                }
            }
            if best < NONE - 1 {
                routes.length[id.index()] = best + 1;
                routes.from[id.index()] = from::PROVIDER;
                routes.sites[id.index()] = sites;
            }
        }
    }

    /// Decides the ASes of one sibling group (mostly one AS) that have nothing better, until no
    /// decision changes another.
    fn decide_group(
        &mut self,
        first: AsId,
        last: AsId,
        side: LearntFrom,
        announced: &Announced,
        routes: &mut Routes,
    ) {
        // Each round settles at least the next shortest routes; the rest cannot be reached.
        for _ in 0..=(last.0 - first.0) + 1 {
            let mut changed = false;
            for id in (first.0..=last.0).map(AsId) {
                let code = routes.from[id.index()];
                if code != from::NOTHING && code != side.code() {
                    continue;
                }
                let view =
                    View { graph: self.graph, announced, overrides: &self.overrides, routes };
                let decision = view.decide(id, Sides::One(side));
                changed |= self.take(id, side, decision, routes);
            }
            if !changed || first == last {
                return;
            }
        }
    }

    /// Notes what a special AS decided, as it is told to others; whether that is new.
    fn take(
        &mut self,
        id: AsId,
        side: LearntFrom,
        decision: Option<Decision>,
        routes: &mut Routes,
    ) -> bool {
        let at = id.index();
        let before = (routes.from[at], routes.length[at], routes.sites[at]);
        self.held.retain(|(other, _)| *other != id);
        match decision {
            None => (routes.from[at], routes.length[at]) = (from::NOTHING, NONE),
            Some(decision) => {
                routes.from[at] = side.code();
                routes.sites[at] = decision.down.0;
                routes.length[at] = if decision.down.is_empty() { NONE } else { decision.length };
                if decision.down != decision.sites {
                    self.held.push((id, decision));
                }
            }
        }
        before != (routes.from[at], routes.length[at], routes.sites[at])
    }

    /// From what is told to what is taken.
    fn finish(&mut self, announced: &Announced, routes: &mut Routes) {
        for (origin, sites) in &announced.origins {
            routes.length[origin.index()] = 0;
            routes.sites[origin.index()] = sites.0;
        }
        self.held.sort_by_key(|(id, _)| *id);
        for (id, decision) in self.held.drain(..) {
            let at = id.index();
            routes.length[at] = decision.length;
            routes.sites[at] = decision.sites.0;
            routes.from[at] |= from::DEVIATES;
            let up =
                if decision.side == LearntFrom::Customer { decision.down } else { SiteSet::EMPTY };
            routes.deviations.push(Deviation { at: id, down: decision.down, up });
        }
    }
}

/// Whether `to` is not to be decided by comparing.
#[inline]
fn offer(
    rank: &mut [u16],
    routes: &mut Routes,
    to: AsId,
    side: u8,
    length: u8,
    sites: u64,
) -> bool {
    let at = to.index();
    let new = u16::from(side) << 8 | u16::from(length);
    let rank = &mut rank[at];
    if new > *rank {
        return *rank == 0;
    }
    if new < *rank {
        *rank = new;
        routes.length[at] = length;
        routes.sites[at] = sites;
        routes.from[at] = side;
    } else {
        routes.sites[at] |= sites;
    }
    false
}

#[inline]
fn wait(pending: &mut [u64], id: AsId) {
    pending[id.index() / 64] |= 1 << (id.index() % 64);
}

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

mod across;
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
    /// ASes that are decided by `candidates`.
    special: Vec<bool>,
    specials: Vec<AsId>,
    /// What ASes take that tell on less.
    held: Vec<(AsId, Decision)>,
    /// What the quiet had before they were told in runs.
    kept: Vec<(AsId, u8, u8, u64)>,
    across: across::Scratch,
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
            special: vec![false; graph.len()],
            specials: Vec::new(),
            held: Vec::new(),
            kept: Vec::new(),
            across: across::Scratch::default(),
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
        self.mark_specials(announced);
        routes.strands.clear();
        if announced.strands.len() > announced.sites {
            routes.strands.extend(&announced.strands);
        }
        for (origin, _) in &announced.origins {
            routes.from[origin.index()] = from::ORIGIN;
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
        let (special, specials) = (&mut self.special, &mut self.specials);
        let mut mark = |id: AsId| {
            if !std::mem::replace(&mut special[id.index()], true) {
                specials.push(id);
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
                self.tell_provider(seed.at, length, sites, routes);
            }
        }
        for word in (0..self.pending.len()).rev() {
            while self.pending[word] != 0 {
                let bit = self.pending[word].ilog2();
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
            self.tell_provider(provider, length, sites, routes);
        }
    }

    fn tell_provider(&mut self, to: AsId, length: u8, sites: u64, routes: &mut Routes) {
        let at = to.index();
        if !self.special[at] && routes.from[at] != from::ORIGIN {
            offer(routes, to, from::CUSTOMER, length, sites);
        }
        self.pending[at / 64] |= 1 << (at % 64);
    }

    /// Stage 3: routes from providers.
    fn down(&mut self, announced: &Announced, routes: &mut Routes) {
        let graph = self.graph;
        let mut next = AsId(0);
        while next < graph.quiet.first() {
            let id = next;
            next.0 += 1;
            if routes.from[id.index()] != from::NOTHING {
                continue;
            }
            if self.special[id.index()] {
                let (first, last) = graph.sibling_group(id);
                self.decide_group(first, last, LearntFrom::Provider, announced, routes);
                next = AsId(last.0 + 1);
                continue;
            }
            let (length, sites) = heard(graph.providers(id), routes);
            if length < NONE {
                routes.length[id.index()] = length;
                routes.from[id.index()] = from::PROVIDER;
                routes.sites[id.index()] = sites;
            }
        }
        self.down_to_the_quiet(announced, routes);
    }

    /// The last part of stage 3: nobody hears anything from those who have only providers, so a
    /// run is told at once, and the few that are not like the rest of their run get back what they
    /// had, or decide.
    fn down_to_the_quiet(&mut self, announced: &Announced, routes: &mut Routes) {
        let graph = self.graph;
        self.kept.clear();
        let seeds = announced.seeds.iter().map(|seed| &seed.at);
        let origins = announced.origins.iter().map(|(id, _)| id);
        for id in
            seeds.chain(origins).chain(&self.specials).filter(|id| **id >= graph.quiet.first())
        {
            let at = id.index();
            if self.special[at] || routes.from[at] != from::NOTHING {
                self.kept.push((*id, routes.length[at], routes.from[at], routes.sites[at]));
            }
        }
        for (run, providers) in graph.quiet.iter() {
            let (length, sites) = heard(providers, routes);
            let side = if length < NONE { from::PROVIDER } else { from::NOTHING };
            routes.length[run.clone()].fill(length);
            routes.from[run.clone()].fill(side);
            routes.sites[run].fill(sites);
        }
        for &(id, length, side, sites) in &self.kept {
            let at = id.index();
            (routes.length[at], routes.from[at], routes.sites[at]) = (length, side, sites);
        }
        for at in 0..self.kept.len() {
            let id = self.kept[at].0;
            if self.special[id.index()] && routes.from[id.index()] == from::NOTHING {
                self.decide_group(id, id, LearntFrom::Provider, announced, routes);
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

/// What providers tell, as it arrives: the length, which is `NONE` if there is nothing, and the
/// sites.
#[inline]
fn heard(providers: &[AsId], routes: &Routes) -> (u8, u64) {
    let (mut best, mut sites) = (NONE, 0);
    for provider in providers {
        let length = routes.length[provider.index()];
        // Without branches: which provider is nearer, no processor foresees.
        let stays = u64::from(best <= length).wrapping_neg();
        let comes = u64::from(length <= best).wrapping_neg();
        sites = (sites & stays) | (routes.sites[provider.index()] & comes);
        best = best.min(length);
    }
    (best.saturating_add(1), sites)
}

/// Tells an AS that is decided by comparing, and has nothing from another side.
#[inline]
fn offer(routes: &mut Routes, to: AsId, side: u8, length: u8, sites: u64) {
    let at = to.index();
    if length < routes.length[at] {
        routes.length[at] = length;
        routes.sites[at] = sites;
        routes.from[at] = side;
    } else if length == routes.length[at] {
        routes.sites[at] |= sites;
    }
}

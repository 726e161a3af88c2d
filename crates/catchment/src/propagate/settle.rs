//! Preferences that reach across the sides: an AS that likes a provider better than its customers,
//! or that was seen to land at one site whatever the relations say. The stages have not asked for
//! these, so what they found is the start, and ASes decide anew until nothing changes.
//!
//! Such preferences may chase each other or have several outcomes (RFC 4264, "BGP Wedgies"): what
//! is found is the one that is reached from the stages' by asking the ASes in turn, customers
//! first, then providers first, and so on. What does not settle is said to be so.

use crate::candidates::{Candidate, Decision, Sides, Via, View};
use crate::configuration::Announced;
use crate::graph::{AsId, Graph};
use crate::overrides::Resolved;
use crate::routes::{Deviation, LearntFrom, NONE, Routes, from};
use crate::sites::SiteSet;

/// After so many rounds up and down, what still changes is said to be unsettled. Honest
/// preferences need two or three.
const ROUNDS: usize = 32;

/// ASes whose offers have changed.
#[derive(Clone, Debug, Default)]
pub(super) struct Scratch {
    dirty: Vec<u64>,
    /// By what the AS that was asked last has its routes, if its choice is its own.
    chosen: Vec<(AsId, Via, SiteSet)>,
    /// ASes that left out a route as its path led through themselves: asked again at the end,
    /// when the paths of all others are certain.
    wary: Vec<AsId>,
    /// Whether any decision was new since the wary were asked.
    changed: bool,
}

impl Scratch {
    pub(super) fn run(
        &mut self,
        graph: &Graph,
        announced: &Announced,
        overrides: &Resolved,
        routes: &mut Routes,
    ) {
        self.dirty.clear();
        self.dirty.resize(graph.len().div_ceil(64), 0);
        for id in overrides.choosers() {
            self.mark(*id);
        }
        self.wary.clear();
        let mut sure = false;
        for _ in 0..ROUNDS {
            for word in (0..self.dirty.len()).rev() {
                let mut below = u64::MAX;
                while self.dirty[word] & below != 0 {
                    let bit = (self.dirty[word] & below).ilog2();
                    below = (1 << bit) - 1;
                    self.again(word, bit, graph, announced, overrides, routes);
                }
            }
            for word in 0..self.dirty.len() {
                let mut above = u64::MAX;
                while self.dirty[word] & above != 0 {
                    let bit = (self.dirty[word] & above).trailing_zeros();
                    above = u64::MAX.checked_shl(bit + 1).unwrap_or(0);
                    self.again(word, bit, graph, announced, overrides, routes);
                }
            }
            if self.dirty.iter().all(|word| *word == 0) {
                if (sure && !self.changed) || self.wary.is_empty() {
                    return;
                }
                self.changed = false;
                for id in std::mem::take(&mut self.wary) {
                    self.mark(id);
                }
                sure = true;
            }
        }
        let left =
            graph.ids().filter(|id| self.dirty[id.index() / 64] >> (id.index() % 64) & 1 == 1);
        routes.unsettled.extend(left);
    }

    fn mark(&mut self, id: AsId) {
        self.dirty[id.index() / 64] |= 1 << (id.index() % 64);
    }

    fn again(
        &mut self,
        word: usize,
        bit: u32,
        graph: &Graph,
        announced: &Announced,
        overrides: &Resolved,
        routes: &mut Routes,
    ) {
        self.dirty[word] &= !(1 << bit);
        let id = AsId(u32::try_from(word).expect("ids are 32 bits") * 64 + bit);
        if routes.from[id.index()] & from::SIDE == from::ORIGIN {
            return;
        }
        let view = View { graph, announced, overrides, routes };
        let decision = self.decide(&view, id);
        let before = (routes.of(id), routes.sites[id.index()], routes.told(id));
        put(routes, id, decision);
        if overrides.overrides_choice(id) {
            routes.chosen.retain(|(at, _, _)| *at != id);
            let place = routes.chosen.partition_point(|(at, _, _)| *at < id);
            routes.chosen.splice(place..place, self.chosen.drain(..));
        }
        let after = (routes.of(id), routes.sites[id.index()], routes.told(id));
        if before == after || (before.0.is_none() && after.0.is_none()) {
            return;
        }
        self.changed = true;
        for to in graph.customers(id).iter().chain(graph.siblings(id)) {
            self.mark(*to);
        }
        let (up_before, up_after) = (before.2.1, after.2.1);
        let length = |of: &Option<crate::Route>| of.as_ref().map(|route| route.length);
        if up_before != up_after || length(&before.0) != length(&after.0) {
            for to in graph.providers(id).iter().chain(graph.peers(id)) {
                self.mark(*to);
            }
            for server in graph.memberships.of(id) {
                for member in &graph.route_servers[server.index()].members {
                    if *member != id {
                        self.mark(*member);
                    }
                }
            }
        }
    }

    /// What `id` decides among candidates whose paths do not lead through itself.
    fn decide(&mut self, view: &View<'_>, id: AsId) -> Option<Decision> {
        let wary = &mut self.wary;
        let mut cut = |candidate: &mut Candidate| {
            if view.cut_loops(id, candidate) {
                wary.push(id);
            }
        };
        let decision = view.decide_among(id, Sides::All, &mut cut);
        self.chosen.clear();
        if let Some(decision) = decision.filter(|_| view.overrides.overrides_choice(id)) {
            let filter = view.filter_among(id, Sides::All, &mut cut);
            view.candidates(id, Sides::All, &mut |mut candidate| {
                let rank = (candidate.local_pref, candidate.length);
                if rank == (decision.local_pref, decision.length) {
                    cut(&mut candidate);
                    filter.apply(&mut candidate);
                    if !candidate.sites.is_empty() {
                        self.chosen.push((id, candidate.via, candidate.sites));
                    }
                }
            });
        }
        decision
    }
}

fn put(routes: &mut Routes, id: AsId, decision: Option<Decision>) {
    let at = id.index();
    if let Ok(place) = routes.deviations.binary_search_by_key(&id, |deviation| deviation.at) {
        routes.deviations.remove(place);
    }
    let Some(decision) = decision else {
        (routes.from[at], routes.length[at]) = (from::NOTHING, NONE);
        return;
    };
    routes.from[at] = decision.side.code();
    routes.length[at] = decision.length;
    routes.sites[at] = decision.sites.0;
    if decision.last_resort {
        routes.from[at] |= from::LAST_RESORT;
    }
    let up = if decision.side == LearntFrom::Customer { decision.sites } else { SiteSet::EMPTY };
    if (decision.down, decision.up) != (decision.sites, up) || decision.last_resort {
        routes.from[at] |= from::DEVIATES;
        let place = routes.deviations.partition_point(|deviation| deviation.at < id);
        let told = Deviation { at: id, down: decision.down, up: decision.up };
        routes.deviations.insert(place, told);
    }
}

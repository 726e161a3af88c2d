//! What one AS is offered, by each neighbor and by each site directly, and what it makes of that:
//! the one place where all rules of the model meet. The quick ways of `propagate` agree with it.

use std::cmp::Ordering;

use crate::configuration::{Announced, NeighborKind};
use crate::graph::{AsId, Graph};
use crate::overrides::Resolved;
use crate::routes::{LearntFrom, NONE, Routes, from};
use crate::sites::SiteSet;

/// Sides that are asked for candidates.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Sides {
    /// One side alone; siblings whose routes are from there too.
    One(LearntFrom),
    All,
}

/// By whom a route is offered.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Via {
    /// A site, directly or through a route server: the place in [`Announced::seeds`].
    Seed(usize),
    Neighbor(AsId),
    /// Another member of a route server, which is a place in the graph's list.
    Member(usize, AsId),
}

/// A route, or several equal ones, that a neighbor offers.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Candidate {
    pub(crate) via: Via,
    pub(crate) side: LearntFrom,
    pub(crate) local_pref: u32,
    pub(crate) length: u8,
    /// The strands that it is made of: see [`Announced::strands`].
    pub(crate) sites: SiteSet,
    /// Those that may be told to providers and peers.
    pub(crate) up: SiteSet,
    /// Those that may be told to customers.
    pub(crate) down: SiteSet,
    pub(crate) last_resort: bool,
}

/// What an AS takes.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Decision {
    pub(crate) side: LearntFrom,
    pub(crate) local_pref: u32,
    pub(crate) length: u8,
    pub(crate) sites: SiteSet,
    pub(crate) up: SiteSet,
    pub(crate) down: SiteSet,
    pub(crate) last_resort: bool,
}

/// All that a decision depends on.
#[derive(Clone, Copy)]
pub(crate) struct View<'a> {
    pub(crate) graph: &'a Graph,
    pub(crate) announced: &'a Announced,
    pub(crate) overrides: &'a Resolved,
    pub(crate) routes: &'a Routes,
}

/// The local preference of routes from each side, as `bgp::policy::relation` sets it.
pub(crate) const fn local_pref(side: LearntFrom) -> u32 {
    match side {
        LearntFrom::Origin => u32::MAX,
        LearntFrom::Customer => 200,
        LearntFrom::Peer => 150,
        LearntFrom::Provider => 100,
    }
}

impl View<'_> {
    /// What `at` decides among the candidates of `sides`.
    pub(crate) fn decide(&self, at: AsId, sides: Sides) -> Option<Decision> {
        self.decide_among(at, sides, &mut |_| {})
    }

    /// The same where `narrow` may take sites from a candidate that is about to win.
    pub(crate) fn decide_among(
        &self,
        at: AsId,
        sides: Sides,
        narrow: &mut impl FnMut(&mut Candidate),
    ) -> Option<Decision> {
        let filter = self.filter_among(at, sides, narrow);
        let mut best: Option<Decision> = None;
        self.candidates(at, sides, &mut |mut candidate| {
            filter.apply(&mut candidate);
            if candidate.sites.is_empty() {
                return;
            }
            let rank = best.as_ref().map_or(Ordering::Greater, |best| {
                let by_pref = candidate.local_pref.cmp(&best.local_pref);
                by_pref.then(best.length.cmp(&candidate.length))
            });
            if rank != Ordering::Less {
                narrow(&mut candidate);
                if candidate.sites.is_empty() {
                    return;
                }
            }
            match (rank, &mut best) {
                (Ordering::Equal, Some(best)) => {
                    best.sites |= candidate.sites;
                    best.up |= candidate.up;
                    best.down |= candidate.down;
                    best.side = best.side.min(candidate.side);
                }
                (Ordering::Less, _) => {}
                _ => best = Some(candidate.into()),
            }
        });
        best
    }

    /// Whether nothing but the relations decides at `at`, and all that its providers have they
    /// tell it.
    pub(crate) fn plain(&self, at: AsId) -> bool {
        !self.overrides.touches(at)
            && self.announced.refused(at).is_empty()
            && self.announced.silences.is_empty()
            && self.routes.deviations.is_empty()
            && self.announced.seeds_at(at).is_empty()
            && self.graph.siblings(at).is_empty()
    }

    /// Each candidate among the winners, after all rules; nothing if `at` has no route from
    /// outside.
    pub(crate) fn winners(&self, at: AsId, each: &mut impl FnMut(Candidate)) {
        let code = self.routes.from[at.index()];
        let last_resort = code & from::LAST_RESORT != 0;
        let side = match LearntFrom::from_code(code) {
            None | Some(LearntFrom::Origin) => return,
            Some(side) => side,
        };
        let length = self.routes.length[at.index()];
        if !self.overrides.overrides_choice(at) {
            let sides = if last_resort { Sides::All } else { Sides::One(side) };
            let pref = if last_resort { 0 } else { local_pref(side) };
            self.candidates(at, sides, &mut |candidate| {
                if candidate.length == length && candidate.local_pref == pref {
                    each(candidate);
                }
            });
            return;
        }
        if let Some(chosen) = self.routes.chosen(at) {
            self.candidates(at, Sides::All, &mut |mut candidate| {
                for (_, via, strands) in chosen {
                    if *via == candidate.via && candidate.length == length {
                        candidate.narrow(*strands);
                        each(candidate);
                        return;
                    }
                }
            });
            return;
        }
        // In the midst of the stages.
        let filter = self.filter(at, Sides::One(side));
        let pref = self.decide(at, Sides::One(side)).map_or(0, |decision| decision.local_pref);
        self.candidates(at, Sides::One(side), &mut |mut candidate| {
            if candidate.length == length && candidate.local_pref == pref {
                filter.apply(&mut candidate);
                if !candidate.sites.is_empty() {
                    each(candidate);
                }
            }
        });
    }

    /// Takes from a candidate of `at` what leads through `at` itself. Whether it took anything.
    pub(crate) fn cut_loops(&self, at: AsId, candidate: &mut Candidate) -> bool {
        let (Via::Neighbor(neighbor) | Via::Member(_, neighbor)) = candidate.via else {
            return false;
        };
        // A path through `at` is longer than that of `at`.
        let own = self.routes.of(at).map(|route| route.length);
        if own.is_none_or(|own| self.routes.length[neighbor.index()] <= own) {
            return false;
        }
        let before = candidate.sites;
        candidate.narrow(self.sites_without(neighbor, at, &mut Vec::new()));
        before != candidate.sites
    }

    /// The strands that `at` reaches on ways that do not lead through `avoided`.
    fn sites_without(&self, at: AsId, avoided: AsId, met: &mut Vec<AsId>) -> SiteSet {
        if at == avoided || met.contains(&at) {
            return SiteSet::EMPTY;
        }
        met.push(at);
        let mut sites = SiteSet::EMPTY;
        let mut behind: Vec<AsId> = Vec::new();
        self.winners(at, &mut |candidate| match candidate.via {
            Via::Seed(_) => sites |= candidate.sites,
            Via::Neighbor(next) | Via::Member(_, next) => behind.push(next),
        });
        for next in behind {
            sites |= self.sites_without(next, avoided, met);
        }
        sites
    }

    /// Each candidate of `at`, before what was observed of its choice is applied.
    pub(crate) fn candidates(&self, at: AsId, sides: Sides, each: &mut impl FnMut(Candidate)) {
        let wanted = |side| sides == Sides::All || sides == Sides::One(side);
        let refused = self.announced.refused(at);
        let seeds = self.announced.seeds_at(at);
        for place in seeds {
            let seed = &self.announced.seeds[place];
            let side = match seed.kind {
                NeighborKind::Transit => LearntFrom::Customer,
                NeighborKind::Peer | NeighborKind::RouteServer => LearntFrom::Peer,
                NeighborKind::Customer => LearntFrom::Provider,
            };
            let last_resort = seed.last_resort;
            let sites = SiteSet::one(usize::from(seed.strand)).without(refused);
            if !wanted(side) || sites.is_empty() || (last_resort && sides != Sides::All) {
                continue;
            }
            let down = if seed.no_export { SiteSet::EMPTY } else { sites };
            each(Candidate {
                via: Via::Seed(place),
                side,
                local_pref: if last_resort { 0 } else { local_pref(side) },
                length: seed.length,
                sites,
                up: if side == LearntFrom::Customer { down } else { SiteSet::EMPTY },
                down,
                last_resort,
            });
        }
        if wanted(LearntFrom::Customer) {
            for &neighbor in self.graph.customers(at) {
                self.offer(at, neighbor, None, LearntFrom::Customer, sides, refused, each);
            }
        }
        if wanted(LearntFrom::Peer) {
            for &neighbor in self.graph.peers(at) {
                self.offer(at, neighbor, None, LearntFrom::Peer, sides, refused, each);
            }
            for &server in self.graph.memberships.of(at) {
                for &member in &self.graph.route_servers[server.index()].members {
                    if member != at {
                        let server = Some(server.index());
                        self.offer(at, member, server, LearntFrom::Peer, sides, refused, each);
                    }
                }
            }
        }
        if wanted(LearntFrom::Provider) {
            for &neighbor in self.graph.providers(at) {
                self.offer(at, neighbor, None, LearntFrom::Provider, sides, refused, each);
            }
        }
        for &neighbor in self.graph.siblings(at) {
            let side = LearntFrom::from_code(self.routes.from[neighbor.index()]);
            if let Some(side) = side.filter(|side| *side != LearntFrom::Origin && wanted(*side)) {
                self.offer(at, neighbor, None, side, sides, refused, each);
            }
        }
    }

    #[expect(clippy::too_many_arguments, reason = "the inner step of one loop")]
    fn offer(
        &self,
        at: AsId,
        neighbor: AsId,
        server: Option<usize>,
        side: LearntFrom,
        sides: Sides,
        refused: SiteSet,
        each: &mut impl FnMut(Candidate),
    ) {
        let (down, up) = self.routes.told(neighbor);
        let sibling = !self.graph.siblings(at).is_empty()
            && self.graph.siblings(at).binary_search(&neighbor).is_ok();
        let sites = match side {
            _ if sibling => down,
            LearntFrom::Provider => down,
            _ => up,
        };
        let sites = sites.without(refused).without(self.announced.silenced(neighbor, at));
        let last_resort = self.routes.from[neighbor.index()] & from::LAST_RESORT != 0;
        if sites.is_empty() || (last_resort && sides != Sides::All) {
            return;
        }
        let length = self.routes.length[neighbor.index()]
            .saturating_add(1)
            .saturating_add(self.overrides.prepend(neighbor, at));
        if length == NONE {
            return;
        }
        let local_pref = if last_resort {
            0
        } else {
            self.overrides.local_pref(at, neighbor).unwrap_or(local_pref(side))
        };
        each(Candidate {
            via: server.map_or(Via::Neighbor(neighbor), |server| Via::Member(server, neighbor)),
            side,
            local_pref,
            length,
            sites,
            up: match side {
                _ if sibling => up & sites,
                LearntFrom::Customer => sites,
                _ => SiteSet::EMPTY,
            },
            down: sites,
            last_resort,
        });
    }

    /// What observations of the choice of `at` leave of candidates.
    pub(crate) fn filter(&self, at: AsId, sides: Sides) -> Filter {
        self.filter_among(at, sides, &mut |_| {})
    }

    /// The same where `narrow` may take sites from candidates first.
    pub(crate) fn filter_among(
        &self,
        at: AsId,
        sides: Sides,
        narrow: &mut impl FnMut(&mut Candidate),
    ) -> Filter {
        let mut filter = Filter { only: None, via: Vec::new() };
        let rules = self.overrides.via_of(at);
        let pin = self.overrides.site_of(at);
        if rules.is_empty() && pin.is_none() {
            return filter;
        }
        let mut offered = Vec::new();
        self.candidates(at, sides, &mut |mut candidate| {
            narrow(&mut candidate);
            let by = match candidate.via {
                Via::Seed(_) => None,
                Via::Neighbor(neighbor) | Via::Member(_, neighbor) => Some(neighbor),
            };
            for (site, neighbor) in rules.iter().filter(|(_, neighbor)| Some(*neighbor) == by) {
                let strands = self.announced.strands_of(SiteSet::one(usize::from(*site)));
                if !(candidate.sites & strands).is_empty() {
                    offered.push((strands, *neighbor));
                }
            }
        });
        filter.via = offered;
        if let Some(pin) = pin.map(|pin| self.announced.strands_of(pin)) {
            let mut seen = false;
            self.candidates(at, sides, &mut |mut candidate| {
                narrow(&mut candidate);
                filter.apply(&mut candidate);
                seen |= !(candidate.sites & pin).is_empty();
            });
            filter.only = seen.then_some(pin);
        }
        filter
    }
}

/// See [`View::filter`].
pub(crate) struct Filter {
    only: Option<SiteSet>,
    via: Vec<(SiteSet, AsId)>,
}

impl Filter {
    pub(crate) fn apply(&self, candidate: &mut Candidate) {
        let mut keep = SiteSet(u64::MAX);
        if let Via::Neighbor(neighbor) | Via::Member(_, neighbor) = candidate.via {
            for (strands, only) in &self.via {
                if *only != neighbor {
                    keep = keep.without(*strands);
                }
            }
        }
        if let Some(only) = self.only {
            keep = keep & only;
        }
        candidate.narrow(keep);
    }
}

impl Candidate {
    /// Leaves only what is in `keep`.
    pub(crate) fn narrow(&mut self, keep: SiteSet) {
        self.sites = self.sites & keep;
        self.up = self.up & keep;
        self.down = self.down & keep;
    }
}

impl From<Candidate> for Decision {
    fn from(candidate: Candidate) -> Self {
        Self {
            side: candidate.side,
            local_pref: candidate.local_pref,
            length: candidate.length,
            sites: candidate.sites,
            up: candidate.up,
            down: candidate.down,
            last_resort: candidate.last_resort,
        }
    }
}

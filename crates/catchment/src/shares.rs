//! How likely it is that an AS lands at each site.
//!
//! An AS with several best routes uses one of them; which, the relations do not say. Each tied
//! neighbor counts with its weight (1 unless an override says otherwise), and brings the shares
//! that it has itself: the share of a site at an AS is the weighted mean of its share at the
//! neighbors with which the best routes are tied. A site heard directly brings itself.

use crate::candidates::{Via, View};
use crate::configuration::Announced;
use crate::graph::{AsId, Graph};
use crate::overrides::Resolved;
use crate::routes::{NONE, Routes, from};
use crate::sites::{MAX_SITES, SiteSet};

/// For each AS the share of each site.
#[derive(Clone, Debug, Default)]
pub struct Shares {
    sites: usize,
    rows: Vec<f32>,
    /// ASes by length of their best routes; reused.
    order: Vec<AsId>,
}

impl Shares {
    /// Room for shares; it grows with the first use.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// The shares of an AS, one for each site of the configuration: they add up to 1, or are all
    /// 0 if the prefix does not reach it.
    ///
    /// # Panics
    /// If nothing was worked out for such an AS yet.
    #[must_use]
    pub fn of(&self, id: AsId) -> &[f32] {
        &self.rows[id.index() * self.sites..(id.index() + 1) * self.sites]
    }

    /// The most likely site of an AS and its share; the first of equals. `None` if the prefix
    /// does not reach it.
    #[must_use]
    pub fn most_likely(&self, id: AsId) -> Option<(usize, f32)> {
        let best = |best: Option<(usize, f32)>, (site, &share): (usize, &f32)| match best {
            Some((_, most)) if most >= share => best,
            _ if share > 0.0 => Some((site, share)),
            _ => best,
        };
        self.of(id).iter().enumerate().fold(None, best)
    }

    /// Works out the shares that belong to `routes`, which came of `announced` and `overrides`.
    pub fn run(
        &mut self,
        graph: &Graph,
        announced: &Announced,
        overrides: &Resolved,
        routes: &Routes,
    ) {
        // By strand first.
        self.sites = announced.strands.len();
        self.rows.clear();
        self.rows.resize(graph.len() * self.sites, 0.0);
        self.by_length(graph, routes);
        let view = View { graph, announced, overrides, routes };
        // A next hop's path is always shorter, so its row is complete.
        for at in 0..self.order.len() {
            let id = self.order[at];
            let sites = SiteSet(routes.sites[id.index()]);
            if let Some(site) = sites.single() {
                self.rows[id.index() * self.sites + site] = 1.0;
            } else if routes.from[id.index()] & from::SIDE == from::ORIGIN {
                self.even(id, sites);
            } else {
                self.mean(&view, id, sites);
            }
        }
        self.fold(graph, announced);
    }

    /// From strands to sites.
    fn fold(&mut self, graph: &Graph, announced: &Announced) {
        let (strands, sites) = (self.sites, announced.sites());
        self.sites = sites;
        if strands == sites {
            return;
        }
        // A row of sites is shorter and is written where rows of strands were read already.
        for id in graph.ids() {
            let mut row = [0.0; MAX_SITES];
            for (strand, site) in announced.strands.iter().enumerate() {
                row[usize::from(*site)] += self.rows[id.index() * strands + strand];
            }
            self.rows[id.index() * sites..(id.index() + 1) * sites].copy_from_slice(&row[..sites]);
        }
        self.rows.truncate(graph.len() * sites);
    }

    /// Fills `order`: one counting sort.
    fn by_length(&mut self, graph: &Graph, routes: &Routes) {
        let mut starts = [0_usize; NONE as usize + 1];
        let reached = |id: &AsId| routes.from[id.index()] != from::NOTHING;
        for id in graph.ids().filter(reached) {
            starts[usize::from(routes.length[id.index()]) + 1] += 1;
        }
        for i in 1..starts.len() {
            starts[i] += starts[i - 1];
        }
        self.order.clear();
        self.order.resize(starts[usize::from(NONE)], AsId(0));
        for id in graph.ids().filter(reached) {
            let at = &mut starts[usize::from(routes.length[id.index()])];
            self.order[*at] = id;
            *at += 1;
        }
    }

    fn even(&mut self, id: AsId, sites: SiteSet) {
        #[expect(clippy::cast_precision_loss, reason = "at most 64 sites")]
        let share = 1.0 / sites.len() as f32;
        for site in sites.iter() {
            self.rows[id.index() * self.sites + site] = share;
        }
    }

    fn mean(&mut self, view: &View<'_>, id: AsId, sites: SiteSet) {
        let mut total = 0.0;
        let width = self.sites;
        let rows = &mut self.rows;
        let own = id.index() * width;
        let side = view.routes.from[id.index()] & from::SIDE;
        let quick = view.plain(id) && view.graph.memberships.of(id).is_empty();
        if quick {
            let (neighbors, tells) = match side {
                from::CUSTOMER => (view.graph.customers(id), from::CUSTOMER),
                from::PEER => (view.graph.peers(id), from::CUSTOMER),
                _ => (view.graph.providers(id), from::SIDE),
            };
            let length = view.routes.length[id.index()];
            for neighbor in neighbors {
                let theirs = view.routes.from[neighbor.index()];
                if view.routes.length[neighbor.index()] == length - 1
                    && theirs & tells == theirs
                    && theirs != from::NOTHING
                {
                    total += 1.0;
                    for site in 0..width {
                        rows[own + site] += rows[neighbor.index() * width + site];
                    }
                }
            }
        } else {
            view.winners(id, &mut |candidate| {
                let weight = match candidate.via {
                    Via::Seed(_) => 1.0,
                    Via::Neighbor(neighbor) | Via::Member(_, neighbor) => {
                        view.overrides.weight(id, neighbor)
                    }
                };
                #[expect(clippy::cast_possible_truncation, reason = "a weight")]
                let weight = weight as f32;
                match candidate.via {
                    Via::Seed(_) => {
                        total += weight;
                        candidate.sites.iter().for_each(|site| rows[own + site] += weight);
                    }
                    Via::Neighbor(neighbor) | Via::Member(_, neighbor) => {
                        // Of what the neighbor has, only a part may have been told here.
                        let theirs = |site: usize| rows[neighbor.index() * width + site];
                        let told: f32 = candidate.sites.iter().map(theirs).sum();
                        if told > 0.0 {
                            total += weight;
                            for site in candidate.sites.iter() {
                                let share = rows[neighbor.index() * width + site] / told;
                                rows[own + site] += weight * share;
                            }
                        }
                    }
                }
            });
        }
        if total > 0.0 {
            self.rows[own..own + width].iter_mut().for_each(|share| *share /= total);
        } else {
            // All weights are zero: they say nothing.
            self.even(id, sites);
        }
    }
}

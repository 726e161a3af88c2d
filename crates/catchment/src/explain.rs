//! Why an AS lands where it does: every route it is offered, and where each one fell.

use anycast_bgp::Asn;
use anycast_bgp::decision::Step;

use crate::candidates::{Candidate, Sides, Via, View};
use crate::configuration::Announced;
use crate::graph::{AsId, Graph};
use crate::overrides::Resolved;
use crate::routes::{LearntFrom, Route, Routes};
use crate::sites::SiteSet;

/// What an AS is offered and what it makes of it.
#[derive(Clone, Debug, PartialEq)]
pub struct Explanation {
    /// The AS.
    pub asn: Asn,
    /// Its best routes; `None` if the prefix does not reach it.
    pub route: Option<Route>,
    /// Every route that it is offered, best first; equal ones by the neighbor's number.
    pub offers: Vec<Offer>,
}

/// One route that an AS is offered, or several equal ones of one neighbor.
#[derive(Clone, Debug, PartialEq)]
pub struct Offer {
    /// Who offers it.
    pub from: From,
    /// What the sender is to the AS.
    pub learnt_from: LearntFrom,
    /// The local preference that the AS gives it.
    pub local_pref: u32,
    /// The length of its AS path.
    pub length: u8,
    /// The sites to which it leads.
    pub sites: SiteSet,
    /// For each of these sites one AS path, the sender first, the origin last, as in an UPDATE
    /// that the AS gets.
    pub paths: Vec<(usize, Vec<Asn>)>,
    /// Its weight among the tied, 1 unless overridden.
    pub weight: f64,
    /// It carries GRACEFUL_SHUTDOWN.
    pub last_resort: bool,
    /// What became of it.
    pub verdict: Verdict,
}

/// Who offers a route.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum From {
    /// A site, directly.
    Site {
        /// Its place in the configuration.
        site: usize,
        /// The route server between, if there is one.
        route_server: Option<Asn>,
    },
    /// A neighbor.
    Neighbor(Asn),
    /// Another member of a route server.
    Member {
        /// The route server.
        route_server: Asn,
        /// The member.
        neighbor: Asn,
    },
}

/// What became of an offer.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum Verdict {
    /// It is the best; alone, or with others that are as good.
    Best,
    /// It was worse than the best one at this step of the decision process.
    Fell(Step),
    /// An override leaves it out: the AS was seen to choose otherwise.
    Overridden,
    /// Its path leads through the AS itself, which refuses it.
    Loop,
}

/// Explains the routes of one AS. `routes` came of `announced` and `overrides` on this graph.
#[must_use]
pub fn explain(
    graph: &Graph,
    announced: &Announced,
    overrides: &Resolved,
    routes: &Routes,
    id: AsId,
) -> Explanation {
    let view = View { graph, announced, overrides, routes };
    let route = routes.of(id);
    let mut offers = Vec::new();
    if route.is_none_or(|route| route.learnt_from != LearntFrom::Origin) {
        let mut cut = |candidate: &mut Candidate| {
            view.cut_loops(id, candidate);
        };
        let filter = view.filter_among(id, Sides::All, &mut cut);
        let best = view
            .decide_among(id, Sides::All, &mut cut)
            .map(|best| (best.last_resort, best.local_pref, best.length));
        view.candidates(id, Sides::All, &mut |candidate| {
            let mut left = candidate;
            filter.apply(&mut left);
            offers.push(offer(&view, id, &candidate, !left.sites.is_empty(), best));
        });
    }
    offers.sort_by(|a, b| {
        let rank = |offer: &Offer| {
            (offer.verdict != Verdict::Best, u32::MAX - offer.local_pref, offer.length)
        };
        rank(a).cmp(&rank(b)).then(a.from.number().cmp(&b.from.number()))
    });
    Explanation { asn: graph.asn(id), route, offers }
}

impl From {
    fn number(&self) -> (Asn, usize) {
        match self {
            Self::Site { site, .. } => (Asn(0), *site),
            Self::Neighbor(asn) | Self::Member { neighbor: asn, .. } => (*asn, 0),
        }
    }
}

fn offer(
    view: &View<'_>,
    id: AsId,
    candidate: &Candidate,
    left: bool,
    best: Option<(bool, u32, u8)>,
) -> Offer {
    let (from, weight) = match candidate.via {
        Via::Seed(place) => {
            let seed = &view.announced.seeds[place];
            let site = usize::from(seed.site);
            (From::Site { site, route_server: seed.route_server }, 1.0)
        }
        Via::Neighbor(neighbor) => {
            (From::Neighbor(view.graph.asn(neighbor)), view.overrides.weight(id, neighbor))
        }
        Via::Member(server, neighbor) => (
            From::Member {
                route_server: view.graph.route_servers[server].asn,
                neighbor: view.graph.asn(neighbor),
            },
            view.overrides.weight(id, neighbor),
        ),
    };
    let mut paths = Vec::new();
    for strand in candidate.sites.iter() {
        let site = usize::from(view.announced.strands[strand]);
        if paths.iter().all(|(other, _)| *other != site) {
            paths.extend(path(view, id, candidate, strand).map(|path| (site, path)));
        }
    }
    let through_itself =
        !paths.is_empty() && paths.iter().all(|(_, path)| path.contains(&view.graph.asn(id)));
    let verdict = match best {
        _ if through_itself => Verdict::Loop,
        _ if !left => Verdict::Overridden,
        Some((false, _, _)) if candidate.last_resort => Verdict::Fell(Step::LocalPref),
        Some((_, pref, _)) if candidate.local_pref < pref => Verdict::Fell(Step::LocalPref),
        Some((_, _, length)) if candidate.length > length => Verdict::Fell(Step::AsPathLength),
        _ => Verdict::Best,
    };
    Offer {
        from,
        learnt_from: candidate.side,
        local_pref: candidate.local_pref,
        length: candidate.length,
        sites: view.announced.sites_of(candidate.sites),
        paths,
        weight,
        last_resort: candidate.last_resort,
        verdict,
    }
}

/// One AS path by which `candidate` of `at` leads along `strand`: among equals by the lowest numbers.
fn path(view: &View<'_>, at: AsId, candidate: &Candidate, strand: usize) -> Option<Vec<Asn>> {
    let mut path = Vec::new();
    let (mut at, mut step) = (at, *candidate);
    loop {
        match step.via {
            Via::Seed(place) => {
                path.extend(&view.announced.seeds[place].path);
                return Some(path);
            }
            Via::Neighbor(next) | Via::Member(_, next) => {
                let asn = view.graph.asn(next);
                let times = usize::from(view.overrides.prepend(next, at)) + 1;
                path.extend(std::iter::repeat_n(asn, times));
                let mut best: Option<(Asn, Candidate)> = None;
                view.winners(next, &mut |candidate| {
                    if !candidate.sites.contains(strand) {
                        return;
                    }
                    let number = match candidate.via {
                        Via::Seed(_) => Asn(0),
                        Via::Neighbor(id) | Via::Member(_, id) => view.graph.asn(id),
                    };
                    if best.is_none_or(|(lowest, _)| number < lowest) {
                        best = Some((number, candidate));
                    }
                });
                (at, step) = (next, best?.1);
                if path.len() > usize::from(u8::MAX) {
                    return None;
                }
            }
        }
    }
}

#[cfg(test)]
mod tests;

//! Calibration: what announcements of single sites reveal of the Internet beyond business
//! relations, by stated rules; nothing is picked by hand. docs/plan-learning.md has the reasons.
//!
//! [`learn`] makes a [`Model`] of the paths that were seen while each site announced alone; it is
//! never shown an outcome of several sites. What was measured in other announcements of several
//! sites, [`orders`] turns into orders of pairs. [`Model::expect`] says where each AS would land:
//!
//! 0. **Of two sites in a known order** the worse one is out of the question.
//! 1. **Seen on paths to several sites.** The AS compares them as BGP does: the side from which
//!    it took each (customer, peer, provider), then the length of the path. Equal ones share.
//! 2. **A monitor that saw some sites only** lands at one of those.
//! 3. **The mix** is the mean over all monitors, with one more that is evenly divided.
//! 4. **Every other AS** has the mean of its providers and of one more voice, the mix; if it has
//!    orders of other sites, of what these say of it instead, with as many more voices.
//!
//! [`Model::land`] says the same under a configuration: sites that are down, other prepends,
//! neighbors that are told nothing any more. For propagation, [`Model::overrides`] gives the pins
//! and prepends, and [`Model::site`] a site with its neighbors' roles.

mod elsewhere;
mod land;
mod model;
mod orders;
mod paths;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};

use anycast_bgp::Asn;

use crate::graph::Graph;
use crate::observed::SeenSite;
pub use model::{
    LearntNeighbor, LearntOrder, LearntPrepend, MODEL_VERSION, Model, ModelError, Role, SeenRoute,
    Side,
};
pub use orders::orders;
use paths::{Hops, hops, most};

/// Learns from the paths that were seen while each of `sites` announced alone. `origins` are the
/// numbers at which a path ends.
#[must_use]
pub fn learn(sites: &[&SeenSite], origins: &[Asn], graph: &Graph) -> Model {
    let mut model = Model { version: MODEL_VERSION, ..Model::default() };
    let mut prepends: BTreeMap<(Asn, Asn), BTreeMap<u32, usize>> = BTreeMap::new();
    for site in sites {
        let paths: Vec<Hops> =
            site.alone.iter().filter_map(|path| hops(&path.path, origins)).collect();
        for path in &paths {
            for pair in path.ases.windows(2) {
                let counts = prepends.entry((pair[0].0, pair[1].0)).or_default();
                *counts.entry(pair[0].1 - 1).or_default() += 1;
            }
        }
        let monitors: BTreeSet<Asn> = paths.iter().map(Hops::monitor).collect();
        let routes = routes(&site.name, &paths, &monitors, graph);
        model.neighbors.extend(neighbors(site, &paths, &routes, graph));
        model.routes.extend(routes);
    }
    for ((from, to), counts) in prepends {
        let times = most(&counts).unwrap_or(0);
        if times > 0 {
            model.prepends.push(LearntPrepend { from: from.0, to: to.0, times });
        }
    }
    model
}

/// The route of each AS on the paths: the one that most paths show.
fn routes(site: &str, paths: &[Hops], monitors: &BTreeSet<Asn>, graph: &Graph) -> Vec<SeenRoute> {
    let mut seen: BTreeMap<Asn, BTreeMap<(Option<Asn>, u32), usize>> = BTreeMap::new();
    for path in paths {
        let mut length = path.tail;
        let mut next = None;
        for &(asn, times) in &path.ases {
            *seen.entry(asn).or_default().entry((next, length)).or_default() += 1;
            length += times;
            next = Some(asn);
        }
    }
    let route = |(asn, counts): (&Asn, &BTreeMap<(Option<Asn>, u32), usize>)| {
        let (next, length) = most(counts)?;
        // The origin is a customer of whom it announces to, as far as preference goes.
        let from = next.map_or(Some(Side::Customer), |next| side(graph, *asn, next));
        Some(SeenRoute {
            asn: asn.0,
            site: site.to_owned(),
            next: next.map(|next| next.0),
            // A link that no topology has says nothing of its kind: count it as the least liked.
            from: from.unwrap_or(Side::Provider),
            length,
            monitor: monitors.contains(asn),
        })
    };
    seen.iter().filter_map(route).collect()
}

/// What `b` is to `a`.
fn side(graph: &Graph, a: Asn, b: Asn) -> Option<Side> {
    let (a, b) = (graph.index_of(a)?, graph.index_of(b)?);
    if graph.customers(a).contains(&b) {
        Some(Side::Customer)
    } else if graph.peers(a).contains(&b) {
        Some(Side::Peer)
    } else {
        graph.providers(a).contains(&b).then_some(Side::Provider)
    }
}

/// The site's neighbors and their roles: the AS next to the origin on a path is one. Whom it
/// tells beyond its customers is judged for its providers and for its peers apart: all of them
/// where at least as many of those that are seen took the route from it as took a route that
/// they would like less; else only those that are seen to have taken it.
fn neighbors(
    site: &SeenSite,
    paths: &[Hops],
    routes: &[SeenRoute],
    graph: &Graph,
) -> Vec<LearntNeighbor> {
    let by_asn: BTreeMap<u32, &SeenRoute> = routes.iter().map(|it| (it.asn, it)).collect();
    let mut found: BTreeMap<Asn, BTreeMap<u32, usize>> = BTreeMap::new();
    let mut told: BTreeSet<(Asn, Asn)> = BTreeSet::new();
    for path in paths {
        *found.entry(path.ases[0].0).or_default().entry(path.tail).or_default() += 1;
        if let Some(next) = path.ases.get(1) {
            told.insert((path.ases[0].0, next.0));
        }
    }
    for &stated in &site.neighbors {
        found.entry(stated).or_default();
    }
    let mut learnt = Vec::new();
    for (&neighbor, tails) in &found {
        let Some(id) = graph.index_of(neighbor) else { continue };
        let mut not_to = Vec::new();
        let groups = [(graph.providers(id), Side::Customer), (graph.peers(id), Side::Peer)];
        for (group, liked) in groups {
            let heard = |asn: Asn| told.contains(&(neighbor, asn));
            let missed = |asn: Asn| {
                !heard(asn)
                    && by_asn.get(&asn.0).is_some_and(|it| it.next.is_some() && it.from >= liked)
            };
            let group: Vec<Asn> = group.iter().map(|id| graph.asn(*id)).collect();
            let plus = group.iter().filter(|asn| heard(**asn)).count();
            let minus = group.iter().filter(|asn| missed(**asn)).count();
            if plus == 0 || plus < minus {
                not_to.extend(group.iter().filter(|asn| !heard(**asn)).map(|asn| asn.0));
            }
        }
        let all = graph.providers(id).len() + graph.peers(id).len();
        let role = if not_to.len() == all && all > 0 { Role::Peer } else { Role::Transit };
        if role == Role::Peer {
            not_to.clear();
        }
        not_to.sort_unstable();
        learnt.push(LearntNeighbor {
            site: site.name.clone(),
            asn: neighbor.0,
            role,
            prepend: most(tails).unwrap_or(1).saturating_sub(1),
            not_to,
        });
    }
    learnt
}

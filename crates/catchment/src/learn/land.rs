//! What was learnt under one configuration: which of the routes that were seen still hold, and
//! what follows for all other ASes.

use std::collections::{BTreeMap, BTreeSet};

use anycast_bgp::Asn;

use super::elsewhere::Elsewhere;
use super::{Model, SeenRoute, Side};
use crate::configuration::{Announcement, Configuration, Site};
use crate::graph::Graph;

/// How an AS ranks a route: last resort or not, the side, the length; the lower is better.
type Rank = (bool, Side, u32);

/// A route that was seen, as the configuration has it.
#[derive(Clone, Copy, Debug)]
struct Offer {
    site: usize,
    rank: Rank,
    /// The configuration does not tell it any more; the rank is what it was.
    gone: bool,
}

/// All routes that were seen of one AS.
#[derive(Clone, Debug, Default)]
struct Seen {
    monitor: bool,
    offers: Vec<Offer>,
}

/// An AS of which enough is known.
struct Compared {
    shares: Vec<f64>,
    monitor: bool,
    /// A path of it was seen.
    path: bool,
}

impl Model {
    /// The share of each of `sites` at every AS of the graph, one row for each AS in the order of
    /// its ids; a row adds up to 1. The sites announce as when they were seen.
    #[must_use]
    pub fn expect(&self, graph: &Graph, sites: &[&str]) -> Vec<Vec<f64>> {
        let mut seen: BTreeMap<Asn, Seen> = BTreeMap::new();
        for route in &self.routes {
            if let Some(site) = sites.iter().position(|site| *site == route.site) {
                let rank = (false, route.from, route.length);
                seen.entry(Asn(route.asn))
                    .or_default()
                    .add(route, Offer { site, rank, gone: false });
            }
        }
        let up = vec![true; sites.len()];
        self.rows(graph, &compare(&seen, &self.beaten(sites), &up), &up)
    }

    /// The same for the sites of a configuration that are up, as they announce in it: sites may be
    /// down, prepends other than those that were seen, and a route that was seen does not hold if
    /// the neighbor through which it came is not told of it any more. Then the AS keeps what it
    /// liked no less; of others nothing is known but what their providers and the mix say. Orders
    /// hold between sites that announce as they were seen to. A site that is down has no share.
    ///
    /// Neighbors by which no route was seen are not known here, so what they would attract is not
    /// in it.
    #[must_use]
    pub fn land(&self, graph: &Graph, configuration: &Configuration) -> Vec<Vec<f64>> {
        let sites = &configuration.sites;
        let up: Vec<bool> = sites.iter().map(is_up).collect();
        let seen = self.seen_in(configuration, &up);
        let usual: Vec<usize> =
            (0..sites.len()).filter(|at| up[*at] && self.is_usual(&sites[*at])).collect();
        let names: Vec<&str> = usual.iter().map(|at| sites[*at].name.as_str()).collect();
        let places = |worse: BTreeSet<usize>| worse.into_iter().map(|at| usual[at]).collect();
        let beaten = self.beaten(&names).into_iter().map(|(asn, worse)| (asn, places(worse)));
        self.rows(graph, &compare(&seen, &beaten.collect(), &up), &up)
    }

    /// The rows of all ASes: of those that are not compared, the mean of their providers and of
    /// what their orders elsewhere say, one voice for each order and one more; or of the mix, if
    /// they have none.
    fn rows(
        &self,
        graph: &Graph,
        compared: &BTreeMap<Asn, Compared>,
        up: &[bool],
    ) -> Vec<Vec<f64>> {
        let mix = mix(compared, up);
        let elsewhere = Elsewhere::new(&self.orders);
        let paths = compared.iter().filter(|(_, it)| it.path);
        let explained = elsewhere.explain(paths.map(|(asn, it)| (*asn, &it.shares[..])), &mix);
        let said = |asn| {
            let explained = explained.as_ref()?;
            Some((elsewhere.say(asn, explained, &mix)?, 1 + elsewhere.count(asn)))
        };
        let mut rows: Vec<Vec<f64>> = Vec::with_capacity(graph.len());
        // Providers stand before their customers.
        for id in graph.ids() {
            let asn = graph.asn(id);
            if let Some(Compared { shares, .. }) = compared.get(&asn) {
                rows.push(shares.clone());
                continue;
            }
            let (mut row, voices) = said(asn).unwrap_or_else(|| (mix.clone(), 1));
            for share in &mut row {
                *share *= float(voices);
            }
            for provider in graph.providers(id) {
                for (sum, share) in row.iter_mut().zip(&rows[provider.index()]) {
                    *sum += share;
                }
            }
            scale(&mut row);
            rows.push(row);
        }
        rows
    }

    /// Whether something was seen of each site of a configuration that is up.
    #[must_use]
    pub fn knows(&self, configuration: &Configuration) -> bool {
        let seen = |site: &Site| self.routes.iter().any(|route| route.site == site.name);
        let mut up = configuration.sites.iter().filter(|site| is_up(site)).peekable();
        up.peek().is_some() && up.all(seen)
    }

    /// Whether a site tells all neighbors what it was seen to tell them.
    fn is_usual(&self, site: &Site) -> bool {
        self.neighbors.iter().filter(|learnt| learnt.site == site.name).all(|learnt| {
            site.announcements.iter().any(|told| {
                told.neighbor.0 == learnt.asn
                    && told.announced
                    && u32::from(told.prepend) == learnt.prepend
                    && told.poison.is_empty()
                    && !told.no_export
                    && !told.graceful_shutdown
            })
        })
    }

    fn seen_in(&self, configuration: &Configuration, up: &[bool]) -> BTreeMap<Asn, Seen> {
        let prepends: BTreeMap<(&str, u32), u32> =
            self.neighbors.iter().map(|it| ((it.site.as_str(), it.asn), it.prepend)).collect();
        let mut seen: BTreeMap<Asn, Seen> = BTreeMap::new();
        for (at, site) in configuration.sites.iter().enumerate().filter(|(at, _)| up[*at]) {
            let routes: BTreeMap<u32, &SeenRoute> = self
                .routes
                .iter()
                .filter(|route| route.site == site.name)
                .map(|route| (route.asn, route))
                .collect();
            let usual = self.is_usual(site);
            for route in routes.values() {
                let way = way(route, &routes);
                let neighbor = way[way.len() - 1];
                let told = site.announcements.iter().find(|told| told.neighbor.0 == neighbor);
                let told = told.filter(|told| holds(told, &way));
                let before = prepends.get(&(site.name.as_str(), neighbor)).copied().unwrap_or(0);
                let rank = match told {
                    Some(told) if !usual => {
                        let now = u32::try_from(told.path(site.origin).len()).unwrap_or(u32::MAX);
                        let length = (route.length.saturating_add(now)).saturating_sub(before + 1);
                        (told.graceful_shutdown, route.from, length)
                    }
                    _ => (false, route.from, route.length),
                };
                let offer = Offer { site: at, rank, gone: told.is_none() && !usual };
                seen.entry(Asn(route.asn)).or_default().add(route, offer);
            }
        }
        seen
    }
}

fn is_up(site: &Site) -> bool {
    site.up && site.announcements.iter().any(|told| told.announced)
}

/// The ASes from one to the site's neighbor, both included, as far as they were seen.
fn way(route: &SeenRoute, routes: &BTreeMap<u32, &SeenRoute>) -> Vec<u32> {
    let mut way = vec![route.asn];
    let mut next = route.next;
    // What was seen of one AS most often need not be what its neighbor passed on: no circle.
    while let Some(asn) = next.filter(|asn| !way.contains(asn)) {
        way.push(asn);
        next = routes.get(&asn).and_then(|route| route.next);
    }
    way
}

/// Whether what a neighbor is told still goes this way.
fn holds(told: &Announcement, way: &[u32]) -> bool {
    let before = way.len().checked_sub(2).map(|at| way[at]);
    let refused = |asn: &Asn| way.contains(&asn.0);
    let kept = told.no_export && before.is_some();
    let silenced = told.not_to.iter().any(|asn| before == Some(asn.0));
    told.announced && !kept && !silenced && !told.poison.iter().any(refused)
}

impl Seen {
    fn add(&mut self, route: &SeenRoute, offer: Offer) {
        self.monitor |= route.monitor;
        self.offers.push(offer);
    }

    /// The sites of the best offers, in equal parts; `None` if what is gone was better than all
    /// that is left.
    fn shares(&self, worse: &BTreeSet<usize>, width: usize) -> Option<Vec<f64>> {
        let all = || self.offers.iter().filter(|offer| !worse.contains(&offer.site));
        let left = || all().filter(|offer| !offer.gone);
        let best = left().map(|offer| offer.rank).min()?;
        if all().any(|offer| offer.gone && offer.rank < best) {
            return None;
        }
        let winners: BTreeSet<usize> =
            left().filter(|offer| offer.rank == best).map(|offer| offer.site).collect();
        let mut shares = vec![0.0; width];
        for site in &winners {
            shares[*site] = 1.0 / float(winners.len());
        }
        Some(shares)
    }
}

/// Each AS about which orders of the sites that are up, or the paths to them, say enough.
fn compare(
    seen: &BTreeMap<Asn, Seen>,
    beaten: &BTreeMap<Asn, BTreeSet<usize>>,
    up: &[bool],
) -> BTreeMap<Asn, Compared> {
    let count = up.iter().filter(|up| **up).count();
    let mut compared = BTreeMap::new();
    for (asn, worse) in beaten.iter().filter(|(_, worse)| worse.len() + 1 == count) {
        let best = |site: &usize| up[*site] && !worse.contains(site);
        let shares = (0..up.len()).map(|site| f64::from(u8::from(best(&site)))).collect();
        let seen = seen.get(asn);
        let monitor = seen.is_some_and(|seen| seen.monitor);
        compared.insert(*asn, Compared { shares, monitor, path: seen.is_some() });
    }
    let none = BTreeSet::new();
    for (asn, seen) in seen {
        if (seen.offers.len() < count && !seen.monitor) || compared.contains_key(asn) {
            continue;
        }
        let worse = beaten.get(asn).unwrap_or(&none);
        let shares = seen.shares(worse, up.len()).or_else(|| {
            // Only the worse ones were seen.
            let only_worse = seen.offers.iter().all(|offer| worse.contains(&offer.site));
            only_worse.then(|| seen.shares(&none, up.len())).flatten()
        });
        if let Some(shares) = shares {
            compared.insert(*asn, Compared { shares, monitor: seen.monitor, path: true });
        }
    }
    compared
}

/// The mix of sites that monitors say; each share of a site that is up is above 0.
fn mix(compared: &BTreeMap<Asn, Compared>, up: &[bool]) -> Vec<f64> {
    let count = up.iter().filter(|up| **up).count();
    let even = |up: &bool| if *up { 1.0 / float(count) } else { 0.0 };
    let mut mix: Vec<f64> = up.iter().map(even).collect();
    for seen in compared.values().filter(|seen| seen.monitor) {
        for (sum, share) in mix.iter_mut().zip(&seen.shares) {
            *sum += share;
        }
    }
    scale(&mut mix);
    mix
}

pub(super) fn scale(row: &mut [f64]) {
    let total: f64 = row.iter().sum();
    if total > 0.0 {
        for share in row.iter_mut() {
            *share /= total;
        }
    }
}

#[expect(clippy::cast_precision_loss, reason = "small counts")]
fn float(count: usize) -> f64 {
    count as f64
}

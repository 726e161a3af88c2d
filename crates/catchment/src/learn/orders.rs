//! Orders of sites: which of two an AS prefers, from where it was measured to land while both
//! announced, as in pairwise probing (Zhang et al., "AnyOpt", SIGCOMM 2021).
//!
//! Orders chain: who prefers the first to the second and the second to the third prefers the
//! first to the third, as far as an AS ranks routes and not sites.

use std::collections::{BTreeMap, BTreeSet};

use anycast_bgp::Asn;

use super::{LearntOrder, Model};
use crate::observed::Experiment;

/// The orders that the measured outcomes of these experiments say. An AS that was measured at
/// several sites of one experiment says nothing by it; of two sites whose order differs from
/// measurement to measurement, neither is preferred.
#[must_use]
pub fn orders(experiments: &[&Experiment]) -> Vec<LearntOrder> {
    let mut pairs: BTreeMap<(&str, &str), BTreeSet<u32>> = BTreeMap::new();
    for experiment in experiments {
        for (_, landings) in &experiment.measured {
            let mut landed: BTreeMap<Asn, BTreeSet<&str>> = BTreeMap::new();
            for landing in landings.iter().filter(|it| it.weight > 0.0) {
                landed.entry(landing.asn).or_default().insert(&landing.site);
            }
            for (asn, sites) in landed {
                let Some(better) = sites.first().filter(|_| sites.len() == 1) else { continue };
                for worse in experiment.sites.iter().filter(|site| site.name != *better) {
                    pairs.entry((better, &worse.name)).or_default().insert(asn.0);
                }
            }
        }
    }
    let order = |(&(better, worse), asns): (&(&str, &str), &BTreeSet<u32>)| {
        let against = pairs.get(&(worse, better));
        let sure = |asn: &u32| against.is_none_or(|against| !against.contains(asn));
        LearntOrder {
            better: better.to_owned(),
            worse: worse.to_owned(),
            asns: asns.iter().copied().filter(sure).collect(),
        }
    };
    pairs.iter().map(order).filter(|order| !order.asns.is_empty()).collect()
}

impl Model {
    /// For each AS with an order the places of those `sites` to which it prefers another one of
    /// them. Two that it prefers to each other, by way of others, are both not among these.
    pub(super) fn beaten(&self, sites: &[&str]) -> BTreeMap<Asn, BTreeSet<usize>> {
        let mut names = sites.to_vec();
        let mut edges: BTreeMap<Asn, Vec<(usize, usize)>> = BTreeMap::new();
        for order in &self.orders {
            let mut place = |name| {
                names.iter().position(|known| *known == name).unwrap_or_else(|| {
                    names.push(name);
                    names.len() - 1
                })
            };
            let pair = (place(&order.better), place(&order.worse));
            for asn in &order.asns {
                edges.entry(Asn(*asn)).or_default().push(pair);
            }
        }
        let mut beaten = BTreeMap::new();
        for (asn, edges) in edges {
            let below: Vec<BTreeSet<usize>> =
                (0..sites.len()).map(|site| reached(site, &edges)).collect();
            let worse: BTreeSet<usize> = (0..sites.len())
                .filter(|worse| {
                    let better = |site: usize| below[site].contains(worse);
                    (0..sites.len()).any(|site| better(site) && !below[*worse].contains(&site))
                })
                .collect();
            if !worse.is_empty() {
                beaten.insert(asn, worse);
            }
        }
        beaten
    }
}

/// What follows on `from`, itself only if it is in a circle.
fn reached(from: usize, edges: &[(usize, usize)]) -> BTreeSet<usize> {
    let mut found = BTreeSet::new();
    let mut left = vec![from];
    while let Some(at) = left.pop() {
        for &(_, to) in edges.iter().filter(|(better, _)| *better == at) {
            if found.insert(to) {
                left.push(to);
            }
        }
    }
    found
}

//! Calibration: what announcements of single sites reveal about the Internet beyond business
//! relations, by stated rules and without anything picked by hand.

use std::collections::{BTreeMap, BTreeSet};

use anycast_bgp::Asn;

use crate::configuration::{Announcement, Configuration, NeighborKind, Site};
use crate::observed::{SeenPath, SeenSite};
use crate::overrides::Overrides;
use crate::topology::{Link, Relationship, Relationships};

/// What an AS is to another one.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(crate) enum Side {
    Provider,
    Peer,
    Customer,
}

impl Side {
    const fn other(self) -> Self {
        match self {
            Self::Provider => Self::Customer,
            Self::Peer => Self::Peer,
            Self::Customer => Self::Provider,
        }
    }
}

/// Relations by pair.
pub(crate) struct Sides {
    of: BTreeMap<(Asn, Asn), Side>,
    up: BTreeMap<Asn, BTreeSet<Asn>>,
}

impl Sides {
    pub(crate) fn new(relationships: &Relationships) -> Self {
        let mut sides = Self { of: BTreeMap::new(), up: BTreeMap::new() };
        for link in relationships.links() {
            match link.relationship {
                Relationship::ProviderOf => sides.set(link.b, link.a, Side::Provider),
                Relationship::Peer => sides.set(link.a, link.b, Side::Peer),
                Relationship::Sibling => {}
            }
        }
        sides
    }
    /// `b` is `side` to `a`.
    fn set(&mut self, a: Asn, b: Asn, side: Side) {
        self.of.insert((a, b), side);
        self.of.insert((b, a), side.other());
        for (x, y, s) in [(a, b, side), (b, a, side.other())] {
            if s == Side::Provider {
                self.up.entry(x).or_default().insert(y);
            } else if let Some(up) = self.up.get_mut(&x) {
                up.remove(&y);
            }
        }
    }
    pub(crate) fn get(&self, a: Asn, b: Asn) -> Option<Side> {
        self.of.get(&(a, b)).copied()
    }
    /// whether `top` is above `bottom`, the direct link aside.
    fn above(&self, bottom: Asn, top: Asn) -> bool {
        let mut seen = BTreeSet::new();
        let mut todo = vec![bottom];
        while let Some(at) = todo.pop() {
            for &up in self.up.get(&at).into_iter().flatten() {
                if at == bottom && up == top {
                    continue;
                }
                if up == top {
                    return true;
                }
                if seen.insert(up) {
                    todo.push(up);
                }
            }
        }
        false
    }
}

/// learnt
#[derive(Clone, Debug, Default)]
pub struct Model {
    /// links
    pub links: Vec<Link>,
    /// overrides
    pub overrides: Overrides,
    /// sites
    pub sites: Vec<Site>,
    /// not applied
    pub cycles: Vec<(Asn, Asn)>,
}

/// A path without prepends, site side first, with how often each AS stands.
fn hops(path: &SeenPath, origins: &[Asn]) -> (Vec<(Asn, usize)>, usize) {
    let end = path.path.iter().position(|asn| origins.contains(asn)).unwrap_or(path.path.len());
    let tail = path.path.len() - end;
    let mut hops: Vec<(Asn, usize)> = Vec::new();
    for &asn in path.path[..end].iter().rev() {
        match hops.last_mut() {
            Some((last, n)) if *last == asn => *n += 1,
            _ => hops.push((asn, 1)),
        }
    }
    // loops: not usable
    let mut seen = BTreeSet::new();
    if end == path.path.len() || !hops.iter().all(|(a, _)| seen.insert(*a)) {
        hops.clear();
    }
    (hops, tail)
}

fn most<K: Ord + Copy>(counts: &BTreeMap<K, usize>) -> Option<K> {
    counts.iter().max_by(|a, b| a.1.cmp(b.1).then(b.0.cmp(a.0))).map(|(k, _)| *k)
}

/// learn
pub fn learn(sites: &[&SeenSite], origins: &[Asn], relationships: &Relationships) -> Model {
    let mut sides = Sides::new(relationships);
    let mut model = Model::default();
    let all: Vec<(usize, Vec<(Asn, usize)>, usize)> = sites
        .iter()
        .enumerate()
        .flat_map(|(s, site)| site.alone.iter().map(move |p| (s, p)))
        .map(|(s, p)| {
            let (h, t) = hops(p, origins);
            (s, h, t)
        })
        .filter(|(_, h, _)| !h.is_empty())
        .collect();
    let mut changed: BTreeSet<(Asn, Asn)> = BTreeSet::new();
    // 1. missing links
    for (_, hops, _) in &all {
        for i in 1..hops.len() {
            let (y, x) = (hops[i - 1].0, hops[i].0);
            if sides.get(x, y).is_some() {
                continue;
            }
            let later = (i + 1..hops.len()).any(|j| {
                matches!(sides.get(hops[j].0, hops[j - 1].0), Some(Side::Customer | Side::Peer))
            });
            let before =
                (1..i).all(|j| sides.get(hops[j].0, hops[j - 1].0) == Some(Side::Customer));
            let side = if later {
                Side::Customer
            } else if before {
                Side::Peer
            } else {
                Side::Provider
            };
            let cyc = match side {
                Side::Customer => sides.above(x, y),
                Side::Provider => sides.above(y, x),
                Side::Peer => false,
            };
            sides.set(x, y, if cyc { Side::Peer } else { side });
            changed.insert((x.min(y), x.max(y)));
        }
    }
    // 2. valleys
    let mut valleys: BTreeMap<(Asn, Asn), usize> = BTreeMap::new();
    for (_, hops, _) in &all {
        let last = (1..hops.len())
            .rev()
            .find(|&j| sides.get(hops[j].0, hops[j - 1].0) != Some(Side::Provider))
            .unwrap_or(0);
        for i in 1..last {
            if sides.get(hops[i].0, hops[i - 1].0) != Some(Side::Customer) {
                *valleys.entry((hops[i].0, hops[i - 1].0)).or_default() += 1;
            }
        }
    }
    let mut order: Vec<_> = valleys.into_iter().collect();
    order.sort_by(|a, b| b.1.cmp(&a.1).then(a.0.cmp(&b.0)));
    for ((x, y), _) in order {
        if sides.above(x, y) {
            model.cycles.push((x, y));
            continue;
        }
        sides.set(x, y, Side::Customer);
        changed.insert((x.min(y), x.max(y)));
    }
    for (a, b) in changed {
        let (a, b, relationship) = match sides.get(a, b) {
            Some(Side::Provider) => (b, a, Relationship::ProviderOf),
            Some(Side::Customer) => (a, b, Relationship::ProviderOf),
            _ => (a, b, Relationship::Peer),
        };
        model.links.push(Link { a, b, relationship });
    }
    // 3. prepends, via
    let mut prepends: BTreeMap<(Asn, Asn), BTreeMap<usize, usize>> = BTreeMap::new();
    let mut via: BTreeMap<(Asn, usize), BTreeMap<Option<Asn>, usize>> = BTreeMap::new();
    for (s, hops, _) in &all {
        for i in 0..hops.len() {
            *via.entry((hops[i].0, *s))
                .or_default()
                .entry(i.checked_sub(1).map(|j| hops[j].0))
                .or_default() += 1;
            if i > 0 {
                *prepends
                    .entry((hops[i - 1].0, hops[i].0))
                    .or_default()
                    .entry(hops[i - 1].1 - 1)
                    .or_default() += 1;
            }
        }
    }
    for (pair, counts) in &prepends {
        if let Some(n) = most(counts)
            && n > 0
        {
            model.overrides.prepend.insert(*pair, n.try_into().unwrap_or(u8::MAX));
        }
    }
    for ((x, s), counts) in &via {
        if let Some(Some(y)) = most(counts) {
            model.overrides.via.insert((*x, sites[*s].name.clone()), y);
        }
    }
    // 4. sites' neighbors
    let mut near: BTreeMap<Asn, (Vec<Asn>, Vec<Asn>)> = BTreeMap::new();
    for ((a, b), side) in &sides.of {
        let e = near.entry(*a).or_default();
        match side {
            Side::Provider => e.0.push(*b),
            Side::Peer => e.1.push(*b),
            Side::Customer => {}
        }
    }
    for (s, site) in sites.iter().enumerate() {
        // each AS's own route: next hop and side
        let mut neighbors: BTreeMap<Asn, BTreeMap<usize, usize>> = BTreeMap::new();
        for (_, hops, tail) in all.iter().filter(|(at, ..)| at == &s) {
            *neighbors.entry(hops[0].0).or_default().entry(*tail).or_default() += 1;
        }
        let mut announcements = Vec::new();
        for (&n, tails) in &neighbors {
            let empty = (Vec::new(), Vec::new());
            let (providers, peers) = near.get(&n).unwrap_or(&empty);
            let mut not_to = Vec::new();
            for (group, as_side) in [(providers, Side::Customer), (peers, Side::Peer)] {
                let (mut plus, mut minus, mut told) = (0, 0, BTreeSet::new());
                for &x in group {
                    let Some(counts) = via.get(&(x, s)) else { continue };
                    if neighbors.contains_key(&x) && most(counts) == Some(None) {
                        continue;
                    }
                    if counts.contains_key(&Some(n)) {
                        plus += 1;
                        told.insert(x);
                        continue;
                    }
                    let side = most(counts).flatten().and_then(|y| sides.get(x, y));
                    if side.is_some_and(|side| side <= as_side) {
                        minus += 1;
                    }
                }
                if plus == 0 || plus < minus {
                    not_to.extend(group.iter().filter(|x| !told.contains(x)));
                }
            }
            if std::env::var("V").is_ok() {
                eprintln!(
                    "{} {n} providers {} peers {} not_to {}",
                    site.name,
                    providers.len(),
                    peers.len(),
                    not_to.len()
                );
            }
            let all_of = not_to.len() == providers.len() + peers.len();
            announcements.push(Announcement {
                prepend: u8::try_from(most(tails).unwrap_or(1) - 1).unwrap_or(0),
                not_to: if all_of { Vec::new() } else { not_to },
                ..Announcement::new(
                    n,
                    if all_of { NeighborKind::Peer } else { NeighborKind::Transit },
                )
            });
        }
        model.sites.push(Site {
            name: site.name.clone(),
            origin: origins[0],
            up: true,
            announcements,
        });
    }
    model
}

impl Model {
    /// configuration
    pub fn configuration(&self) -> Configuration {
        Configuration { sites: self.sites.clone() }
    }
}

//! Paths as hops, and counting.

use std::collections::{BTreeMap, BTreeSet};

use anycast_bgp::Asn;

/// A path from the site outwards.
pub(super) struct Hops {
    /// Each AS once, with how often it stands there: the site's neighbor first, the monitor last;
    /// never empty.
    pub(super) ases: Vec<(Asn, u32)>,
    /// How many ASes the path has at the origin's end: the length at the neighbor.
    pub(super) tail: u32,
}

impl Hops {
    pub(super) fn monitor(&self) -> Asn {
        self.ases[self.ases.len() - 1].0
    }
}

/// `None` if the path says nothing: no origin, nobody before it, or a loop.
pub(super) fn hops(path: &[Asn], origins: &[Asn]) -> Option<Hops> {
    let end = path.iter().position(|asn| origins.contains(asn))?;
    let mut ases: Vec<(Asn, u32)> = Vec::new();
    for &asn in path[..end].iter().rev() {
        match ases.last_mut() {
            Some((last, times)) if *last == asn => *times += 1,
            _ => ases.push((asn, 1)),
        }
    }
    let mut seen = BTreeSet::new();
    let sound = !ases.is_empty() && ases.iter().all(|(asn, _)| seen.insert(*asn));
    let tail = u32::try_from(path.len() - end).unwrap_or(u32::MAX);
    sound.then_some(Hops { ases, tail })
}

/// What was counted most often; the first of equals.
pub(super) fn most<K: Ord + Copy>(counts: &BTreeMap<K, usize>) -> Option<K> {
    counts.iter().max_by(|a, b| a.1.cmp(b.1).then(b.0.cmp(a.0))).map(|(key, _)| *key)
}

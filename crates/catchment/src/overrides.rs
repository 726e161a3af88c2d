//! What is known of the Internet beyond business relations: how single ASes rank their neighbors,
//! where they prepend, what was seen of their choice. It comes from outside (observations, the
//! operator) and is stated in AS numbers and site names, so that it outlives one graph.

use std::collections::BTreeMap;

use anycast_bgp::Asn;

use crate::configuration::Configuration;
use crate::graph::{AsId, Graph};
use crate::sites::SiteSet;

/// Overrides of the model. Everything that is not named here stays as the relations say.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Overrides {
    /// (AS, its neighbor) → the local preference of routes from that neighbor, on the scale of
    /// `bgp::policy::relation`: by default 200 from customers, 150 from peers, 100 from
    /// providers. An order of preference over neighbors, a pin to one of them, or a provider
    /// treated like a customer are all said with it. What may be exported stays a matter of the
    /// relation.
    pub local_pref: BTreeMap<(Asn, Asn), u32>,
    /// (from, to) → how often `from` prepends its number towards `to`.
    pub prepend: BTreeMap<(Asn, Asn), u8>,
    /// (AS, its neighbor) → weight among tied routes; 1 by default. The share of a tied route is
    /// its weight over the sum of weights. Not negative and finite; others count as 0.
    pub weight: BTreeMap<(Asn, Asn), f64>,
    /// (AS, site) → the only neighbor from which the AS is known to take routes to that site.
    /// Where that neighbor has none, the others count again.
    pub via: BTreeMap<(Asn, String), Asn>,
    /// AS → the site at which it was seen to land: it takes routes to that site alone whenever
    /// it is offered one.
    pub site: BTreeMap<Asn, String>,
}

/// Overrides that were resolved against one graph and the sites of one configuration.
#[derive(Clone, Debug, Default)]
pub struct Resolved {
    local_pref: BTreeMap<(AsId, AsId), u32>,
    /// By (to, from).
    prepend: BTreeMap<(AsId, AsId), u8>,
    weight: BTreeMap<(AsId, AsId), f64>,
    via: BTreeMap<AsId, Vec<(u8, AsId)>>,
    site: BTreeMap<AsId, SiteSet>,
    /// ASes whose candidates or choice differ; sorted.
    special: Vec<AsId>,
    /// ASes that weigh tied routes; sorted.
    weighers: Vec<AsId>,
    /// Those of the special whose choice differs; sorted.
    choosers: Vec<AsId>,
    ignored: usize,
}

impl Overrides {
    /// Resolves numbers and names. What names an AS that the graph does not have, or a site that
    /// the configuration does not have, is left out and counted.
    #[must_use]
    pub fn resolve(&self, graph: &Graph, configuration: &Configuration) -> Resolved {
        let mut resolved = Resolved::default();
        let id = |asn: &Asn| graph.index_of(*asn);
        let pair = |(a, b): &(Asn, Asn)| Some((id(a)?, id(b)?));
        let site = |name: &String| configuration.sites.iter().position(|site| site.name == *name);
        let mut ignored = 0;
        let mut count = |used: bool| ignored += usize::from(!used);
        for (key, value) in &self.local_pref {
            let at = pair(key);
            count(at.is_some());
            resolved.local_pref.extend(at.map(|at| (at, *value)));
        }
        for ((from, to), times) in &self.prepend {
            let at = pair(&(*to, *from));
            count(at.is_some());
            resolved.prepend.extend(at.map(|at| (at, *times)));
        }
        for (key, weight) in &self.weight {
            let at = pair(key);
            count(at.is_some());
            let usable = weight.is_finite() && *weight > 0.0;
            resolved.weight.extend(at.map(|at| (at, if usable { *weight } else { 0.0 })));
        }
        for ((asn, name), neighbor) in &self.via {
            let place = site(name).and_then(|place| u8::try_from(place).ok());
            let (Some(at), Some(place), Some(neighbor)) = (id(asn), place, id(neighbor)) else {
                count(false);
                continue;
            };
            resolved.via.entry(at).or_default().push((place, neighbor));
        }
        for (asn, name) in &self.site {
            let (Some(at), Some(place)) = (id(asn), site(name)) else {
                count(false);
                continue;
            };
            resolved.site.insert(at, SiteSet::one(place));
        }
        resolved.ignored = ignored;
        resolved.index();
        resolved
    }
}

impl Resolved {
    /// How many overrides were left out, as the graph or the configuration lacks what they name.
    #[must_use]
    pub const fn ignored(&self) -> usize {
        self.ignored
    }

    /// Whether nothing is overridden.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.local_pref.is_empty()
            && self.prepend.is_empty()
            && self.weight.is_empty()
            && self.via.is_empty()
            && self.site.is_empty()
    }

    fn index(&mut self) {
        let by_pref = self.local_pref.keys().map(|(at, _)| *at);
        self.choosers =
            by_pref.chain(self.via.keys().copied()).chain(self.site.keys().copied()).collect();
        self.choosers.sort_unstable();
        self.choosers.dedup();
        self.weighers = self.weight.keys().map(|(at, _)| *at).collect();
        self.weighers.dedup();
        self.special = self.prepend.keys().map(|(to, _)| *to).collect();
        self.special.extend(&self.choosers);
        self.special.sort_unstable();
        self.special.dedup();
    }

    /// ASes whose candidates or choice are not as the relations say.
    pub(crate) fn special(&self) -> &[AsId] {
        &self.special
    }

    /// ASes whose choice is not as the relations say.
    pub(crate) fn choosers(&self) -> &[AsId] {
        &self.choosers
    }

    /// Whether anything is known of the candidates, the choice or the ties of an AS.
    pub(crate) fn touches(&self, at: AsId) -> bool {
        let among = |list: &[AsId]| !list.is_empty() && list.binary_search(&at).is_ok();
        among(&self.special) || among(&self.weighers)
    }

    pub(crate) fn overrides_choice(&self, at: AsId) -> bool {
        !self.choosers.is_empty() && self.choosers.binary_search(&at).is_ok()
    }

    pub(crate) fn prepend(&self, from: AsId, to: AsId) -> u8 {
        if self.prepend.is_empty() {
            return 0;
        }
        self.prepend.get(&(to, from)).copied().unwrap_or(0)
    }

    pub(crate) fn local_pref(&self, at: AsId, neighbor: AsId) -> Option<u32> {
        if self.local_pref.is_empty() {
            return None;
        }
        self.local_pref.get(&(at, neighbor)).copied()
    }

    pub(crate) fn weight(&self, at: AsId, neighbor: AsId) -> f64 {
        if self.weight.is_empty() {
            return 1.0;
        }
        self.weight.get(&(at, neighbor)).copied().unwrap_or(1.0)
    }

    pub(crate) fn via_of(&self, at: AsId) -> &[(u8, AsId)] {
        self.via.get(&at).map_or(&[], |rules| &rules[..])
    }

    pub(crate) fn site_of(&self, at: AsId) -> Option<SiteSet> {
        self.site.get(&at).copied()
    }
}

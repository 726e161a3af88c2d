//! What the steering decided, put to the speaker: a prefix is originated while any neighbor is
//! told of it, and how each is told is part of its export policy.

use std::collections::{BTreeMap, HashMap};
use std::net::{IpAddr, Ipv4Addr};

use anycast_bgp::policy::Policy;
use anycast_bgp::{Attributes, IpNet};
use anycast_fleet::{Fleet, Site, Told};
use anycast_speaker::Handle;
use anycast_steer::Manner;

/// What the neighbors are told of the fleet's prefixes.
pub(crate) struct Announcer {
    speaker: Handle,
    /// By prefix that is announced, by neighbor in the file's order.
    told: BTreeMap<IpNet, Vec<Option<Manner>>>,
    /// By neighbor: what its export policy was last made of.
    in_policy: HashMap<String, Told>,
    /// By neighbor: how many prepends an operator has added.
    prepends: HashMap<String, u8>,
}

impl Announcer {
    pub(crate) fn new(speaker: Handle) -> Self {
        Self { speaker, told: BTreeMap::new(), in_policy: HashMap::new(), prepends: HashMap::new() }
    }

    pub(crate) const fn speaker(&self) -> &Handle {
        &self.speaker
    }

    /// The fleet is another: who was told what is carried over by the neighbors' names, and each
    /// that was there before is told by its new policy. Who is new is told nothing until the
    /// steering says so.
    pub(crate) fn adopt(&mut self, before: &Site, fleet: &Fleet, site: &Site) {
        let then = |name: &String| before.neighbors.iter().position(|it| it.name == *name);
        let places: Vec<Option<usize>> =
            site.neighbors.iter().map(|neighbor| then(&neighbor.name)).collect();
        for told in self.told.values_mut() {
            let old = std::mem::take(told);
            let carried = places.iter().map(|place| old.get((*place)?).cloned().flatten());
            *told = carried.collect();
        }
        let stays = |name: &String| site.neighbor(name).is_some();
        self.prepends.retain(|name, _| stays(name));
        for index in 0..site.neighbors.len() {
            self.set_policy(fleet, site, index);
        }
        self.in_policy.retain(|name, _| stays(name));
    }

    /// The export policy of the neighbor of this index.
    pub(crate) fn policy(&self, fleet: &Fleet, site: &Site, index: usize) -> Policy {
        let neighbor = &site.neighbors[index];
        let more = self.prepends(&neighbor.name);
        neighbor.steered_export_policy(fleet, site, more, &self.told_to(index))
    }

    /// The prefixes that any neighbor is told of.
    pub(crate) fn announced(&self) -> Vec<IpNet> {
        self.told.keys().copied().collect()
    }

    pub(crate) fn announces(&self, prefix: &IpNet) -> bool {
        self.told.contains_key(prefix)
    }

    /// How the neighbor of this index is told of the prefix now, an operator's prepends included;
    /// `None`: not at all.
    pub(crate) fn manner(&self, site: &Site, index: usize, prefix: &IpNet) -> Option<Manner> {
        let manner = self.told.get(prefix)?.get(index)?.clone()?;
        let prepend = manner.prepend.saturating_add(self.prepends(&site.neighbors[index].name));
        Some(Manner { prepend, ..manner })
    }

    /// Prepends that an operator has added towards the neighbor.
    pub(crate) fn prepends(&self, neighbor: &str) -> u8 {
        self.prepends.get(neighbor).copied().unwrap_or_default()
    }

    /// From all neighbors, at once.
    pub(crate) fn withdraw(&mut self, prefix: &IpNet) {
        self.speaker.withdraw(*prefix);
        self.told.remove(prefix);
    }

    /// Tells the neighbors of these prefixes as given; the others stay as they are.
    pub(crate) fn tell(
        &mut self,
        fleet: &Fleet,
        site: &Site,
        changes: BTreeMap<IpNet, Vec<Option<Manner>>>,
    ) {
        let mut new = Vec::new();
        for (prefix, told) in changes {
            if self.told.insert(prefix, told).is_none() {
                new.push(prefix);
            }
        }
        // The policies first: nobody is to hear of a prefix for a moment who should not.
        for index in 0..site.neighbors.len() {
            let before = self.in_policy.get(&site.neighbors[index].name);
            if self.told_to(index) != before.cloned().unwrap_or_default() {
                self.set_policy(fleet, site, index);
            }
        }
        for prefix in new {
            // The speaker puts its own address there.
            let nowhere = IpAddr::V4(Ipv4Addr::UNSPECIFIED);
            self.speaker.originate(prefix, Attributes::new(nowhere));
        }
    }

    /// Prepends so many times more towards the neighbor of this index.
    pub(crate) fn prepend(&mut self, fleet: &Fleet, site: &Site, index: usize, count: u8) {
        self.prepends.insert(site.neighbors[index].name.clone(), count);
        self.set_policy(fleet, site, index);
    }

    /// What is told otherwise than plainly to the neighbor of this index.
    fn told_to(&self, index: usize) -> Told {
        let told = self.told.iter().map(|(prefix, told)| (*prefix, told.get(index).cloned()));
        let told = told.map(|(prefix, manner)| (prefix, manner.flatten()));
        told.filter(|(_, manner)| manner.as_ref().is_none_or(|it| !it.is_plain())).collect()
    }

    fn set_policy(&mut self, fleet: &Fleet, site: &Site, index: usize) {
        let name = &site.neighbors[index].name;
        self.speaker.set_export(name, self.policy(fleet, site, index));
        self.in_policy.insert(name.clone(), self.told_to(index));
    }
}

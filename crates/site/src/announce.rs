//! What the steering decided, put to the speaker: a prefix is originated while any neighbor is
//! told of it, and how each is told is part of its export policy.

use std::collections::{BTreeMap, HashMap};
use std::net::{IpAddr, Ipv4Addr};

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

    /// The prefixes that any neighbor is told of.
    pub(crate) fn announced(&self) -> Vec<IpNet> {
        self.told.keys().copied().collect()
    }

    pub(crate) fn announces(&self, prefix: &IpNet) -> bool {
        self.told.contains_key(prefix)
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
        let neighbor = &site.neighbors[index];
        let told = self.told_to(index);
        let policy =
            neighbor.steered_export_policy(fleet, site, self.prepends(&neighbor.name), &told);
        self.speaker.set_export(&neighbor.name, policy);
        self.in_policy.insert(neighbor.name.clone(), told);
    }
}

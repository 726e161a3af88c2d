//! The neighbors of a speaker. Each has a number for as long as it is there, and no other gets it
//! afterwards: what comes late for one that was removed finds nobody.

use std::collections::BTreeMap;
use std::ops::{Index, IndexMut};

use crate::peer::Peer;

/// The neighbors, in the order in which they were added.
#[derive(Default)]
pub(crate) struct Peers {
    by_number: BTreeMap<usize, Peer>,
    next: usize,
}

impl Peers {
    /// The number of the next that is [pushed](Self::push).
    pub(crate) const fn next_number(&self) -> usize {
        self.next
    }

    pub(crate) fn push(&mut self, peer: Peer) {
        self.by_number.insert(self.next, peer);
        self.next += 1;
    }

    pub(crate) fn remove(&mut self, number: usize) {
        self.by_number.remove(&number);
    }

    pub(crate) fn len(&self) -> usize {
        self.by_number.len()
    }

    pub(crate) fn get(&self, number: usize) -> Option<&Peer> {
        self.by_number.get(&number)
    }

    pub(crate) fn get_mut(&mut self, number: usize) -> Option<&mut Peer> {
        self.by_number.get_mut(&number)
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &Peer> {
        self.by_number.values()
    }

    pub(crate) fn iter_mut(&mut self) -> impl Iterator<Item = &mut Peer> {
        self.by_number.values_mut()
    }

    pub(crate) fn numbered(&self) -> impl Iterator<Item = (usize, &Peer)> {
        self.by_number.iter().map(|(number, peer)| (*number, peer))
    }

    /// All numbers, as they are now.
    pub(crate) fn numbers(&self) -> Vec<usize> {
        self.by_number.keys().copied().collect()
    }

    /// The number of the first neighbor for which it holds.
    pub(crate) fn find(&self, holds: impl Fn(&Peer) -> bool) -> Option<usize> {
        self.numbered().find(|(_, peer)| holds(peer)).map(|(number, _)| number)
    }

    pub(crate) fn named(&self, name: &str) -> Option<usize> {
        self.find(|peer| peer.neighbor.name == name)
    }
}

/// The neighbor of this number, which must be there.
impl Index<usize> for Peers {
    type Output = Peer;

    fn index(&self, number: usize) -> &Peer {
        &self.by_number[&number]
    }
}

impl IndexMut<usize> for Peers {
    fn index_mut(&mut self, number: usize) -> &mut Peer {
        self.by_number.get_mut(&number).expect("it was not removed")
    }
}

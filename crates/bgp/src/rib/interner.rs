//! One copy of equal attributes.

use std::collections::HashSet;
use std::sync::Arc;

use crate::Attributes;

/// Below this many there is nothing worth sweeping.
const FEW: usize = 1024;

/// All attributes that the tables hold, each once: a full table has some ten prefixes to each.
#[derive(Clone, Debug, Default)]
pub(super) struct Interner {
    held: HashSet<Arc<Attributes>>,
    /// How many were in use at the last sweep.
    in_use: usize,
}

impl Interner {
    /// The copy that equals `attributes`: this one if it is the first.
    pub(super) fn intern(&mut self, attributes: Arc<Attributes>) -> Arc<Attributes> {
        if let Some(held) = self.held.get(&attributes) {
            return Arc::clone(held);
        }
        if self.held.len() >= FEW.max(2 * self.in_use) {
            self.sweep();
        }
        self.held.insert(Arc::clone(&attributes));
        attributes
    }

    /// Lets go of what no table holds any more. It walks all, so it waits until as many were
    /// added as were in use before, or until a peer's whole table has gone.
    pub(super) fn sweep(&mut self) {
        self.held.retain(|attributes| Arc::strong_count(attributes) > 1);
        self.in_use = self.held.len();
    }
}

#[cfg(test)]
mod tests {
    use std::net::{IpAddr, Ipv4Addr};

    use super::*;

    fn attributes(med: u32) -> Arc<Attributes> {
        let next_hop = IpAddr::V4(Ipv4Addr::LOCALHOST);
        Arc::new(Attributes { med: Some(med), ..Attributes::new(next_hop) })
    }

    #[test]
    fn equal_attributes_are_one_copy() {
        let mut interner = Interner::default();
        let first = interner.intern(attributes(1));
        assert!(Arc::ptr_eq(&first, &interner.intern(attributes(1))));
        assert!(!Arc::ptr_eq(&first, &interner.intern(attributes(2))));
    }

    #[test]
    fn what_is_out_of_use_does_not_pile_up_and_what_is_in_use_stays() {
        let mut interner = Interner::default();
        let kept: Vec<_> = (0..3000).map(|med| interner.intern(attributes(med))).collect();
        for med in 3000..60_000 {
            interner.intern(attributes(med));
        }
        assert!(interner.held.len() <= 2 * kept.len(), "{}", interner.held.len());
        for (med, kept) in (0..).zip(&kept) {
            assert!(Arc::ptr_eq(kept, &interner.intern(attributes(med))));
        }
    }
}

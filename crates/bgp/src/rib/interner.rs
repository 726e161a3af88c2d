//! One copy of equal values, known by a number of four octets.

use std::hash::{BuildHasher, Hash, RandomState};
use std::num::NonZeroU32;
use std::sync::Arc;

use hashbrown::HashTable;

/// The number of an interned value. Equal numbers are equal values as long as each is held.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub(super) struct Id(NonZeroU32);

/// Values, each once: a full table has some ten prefixes to each set of attributes.
///
/// Who keeps an [`Id`] holds it: [`intern`](Self::intern) and [`hold`](Self::hold) take hold,
/// [`release`](Self::release) lets go, and a value that nobody holds is gone.
#[derive(Clone, Debug)]
pub(super) struct Interner<T> {
    slots: Vec<Slot<T>>,
    free: Vec<Id>,
    index: HashTable<Id>,
    hasher: RandomState,
}

#[derive(Clone, Debug)]
struct Slot<T> {
    value: Option<Arc<T>>,
    /// At the greatest number it stays: the value is then never let go.
    holders: u32,
    /// Half of the hash, so that a growing index need not look at the values.
    hash: u32,
}

impl Id {
    /// The greatest number of an id: the bits above are its user's.
    pub(super) const MAX: u32 = (1 << 28) - 1;

    pub(super) const fn new(number: u32) -> Option<Self> {
        match NonZeroU32::new(number) {
            Some(number) => Some(Self(number)),
            None => None,
        }
    }

    pub(super) const fn number(self) -> u32 {
        self.0.get()
    }

    const fn index(self) -> usize {
        self.0.get() as usize - 1
    }
}

impl<T> Default for Interner<T> {
    fn default() -> Self {
        Self {
            slots: Vec::new(),
            free: Vec::new(),
            index: HashTable::new(),
            hasher: RandomState::new(),
        }
    }
}

/// All bits of a table's hash from the half that is kept.
const fn spread(hash: u32) -> u64 {
    (hash as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15)
}

impl<T: Eq + Hash> Interner<T> {
    /// Holds the copy that equals `value`: this one if it is the first.
    pub(super) fn intern(&mut self, value: Arc<T>) -> Id {
        #[expect(clippy::cast_possible_truncation, reason = "half of it is enough")]
        let hash = self.hasher.hash_one(&value) as u32;
        let slots = &mut self.slots;
        let same = |id: &Id| {
            let slot = &slots[id.index()];
            slot.hash == hash && slot.value.as_ref() == Some(&value)
        };
        if let Some(id) = self.index.find(spread(hash), same) {
            let id = *id;
            self.hold(id);
            return id;
        }
        let slot = Slot { value: Some(value), holders: 1, hash };
        let id = if let Some(id) = self.free.pop() {
            slots[id.index()] = slot;
            id
        } else {
            slots.push(slot);
            u32::try_from(slots.len())
                .ok()
                .filter(|number| *number <= Id::MAX)
                .and_then(Id::new)
                .expect("memory ends long before 2^28 values")
        };
        self.index.insert_unique(spread(hash), id, |id| spread(slots[id.index()].hash));
        id
    }

    /// The same for what was made of the value of `from`, which it most often still is: then
    /// nothing is hashed.
    pub(super) fn intern_made_of(&mut self, from: Id, value: Arc<T>) -> Id {
        if Arc::ptr_eq(self.get(from), &value) {
            self.hold(from);
            return from;
        }
        self.intern(value)
    }

    /// Takes hold once more.
    pub(super) fn hold(&mut self, id: Id) {
        let holders = &mut self.slots[id.index()].holders;
        *holders = holders.saturating_add(1);
    }

    /// Lets go.
    pub(super) fn release(&mut self, id: Id) {
        let slot = &mut self.slots[id.index()];
        if slot.holders == u32::MAX {
            return;
        }
        slot.holders -= 1;
        if slot.holders == 0 {
            slot.value = None;
            let entry = self.index.find_entry(spread(slot.hash), |other| *other == id);
            entry.expect("a value is in the index until it is gone").remove();
            self.free.push(id);
        }
    }

    /// The value.
    pub(super) fn get(&self, id: Id) -> &Arc<T> {
        self.slots[id.index()].value.as_ref().expect("who has an id holds it")
    }

    /// The value, if anyone holds what the number stands for.
    pub(super) fn find(&self, id: Id) -> Option<&T> {
        self.slots.get(id.index())?.value.as_deref()
    }

    /// How many values are held.
    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.index.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_made_of_a_value_and_is_still_that_is_held_with_it_and_another_is_found() {
        let mut interner = Interner::default();
        let (a, b) = (interner.intern(Arc::new("a")), interner.intern(Arc::new("b")));
        let same = Arc::clone(interner.get(a));
        assert_eq!(interner.intern_made_of(a, same), a);
        assert_eq!(interner.intern_made_of(a, Arc::new("b")), b);
        assert_eq!(interner.intern_made_of(a, Arc::new("a")), a);
        for (id, holders) in [(a, 3), (b, 2)] {
            for left in (0..holders).rev() {
                assert!(interner.find(id).is_some());
                interner.release(id);
                assert_eq!(interner.find(id).is_some(), left > 0);
            }
        }
    }

    #[test]
    fn equal_values_are_one_copy() {
        let mut interner = Interner::default();
        let first = interner.intern(Arc::new("a"));
        let copy = Arc::clone(interner.get(first));
        assert_eq!(interner.intern(Arc::new("a")), first);
        assert!(Arc::ptr_eq(&copy, interner.get(first)));
        assert_ne!(interner.intern(Arc::new("b")), first);
    }

    #[test]
    fn a_value_goes_with_its_last_holder_and_its_number_is_used_again() {
        let mut interner = Interner::default();
        let (a, b) = (interner.intern(Arc::new("a")), interner.intern(Arc::new("b")));
        interner.hold(a);
        interner.release(a);
        assert_eq!((**interner.get(a), interner.len()), ("a", 2));
        interner.release(a);
        assert_eq!(interner.len(), 1);
        assert_eq!(interner.intern(Arc::new("c")), a);
        assert_eq!((**interner.get(a), **interner.get(b)), ("c", "b"));
    }

    #[test]
    fn what_comes_and_goes_does_not_pile_up_and_what_stays_is_found() {
        let mut interner = Interner::default();
        let kept: Vec<Id> = (0..3000).map(|it| interner.intern(Arc::new(it))).collect();
        for value in 3000..60_000 {
            let id = interner.intern(Arc::new(value));
            interner.release(id);
        }
        assert_eq!((interner.len(), interner.slots.len()), (3000, 3001));
        for (value, kept) in (0..).zip(&kept) {
            assert_eq!(interner.intern(Arc::new(value)), *kept);
        }
    }
}

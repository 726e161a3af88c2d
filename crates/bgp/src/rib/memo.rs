//! What was worked out for one route, for the next that is alike.

use std::collections::HashMap;
use std::hash::Hash;

use super::interner::{Id, Interner};
use crate::Attributes;
use crate::policy::PrefixClass;

/// Attributes before a policy, and what of the prefix the policy sees.
pub(super) type Alike<K> = (K, PrefixClass);

/// Results by key. The last one is looked at first: routes with equal attributes stand together.
#[derive(Debug)]
pub(super) struct Memo<K, V> {
    last: Option<(K, V)>,
    earlier: HashMap<K, V>,
}

impl<K: Copy + Eq + Hash, V: Copy> Memo<K, V> {
    pub(super) fn new() -> Self {
        Self { last: None, earlier: HashMap::new() }
    }

    /// The result for `key`.
    pub(super) fn get(&self, key: K) -> Option<V> {
        match self.last {
            Some((last, result)) if last == key => Some(result),
            _ if self.earlier.is_empty() => None,
            _ => self.earlier.get(&key).copied(),
        }
    }

    /// Puts in a result that was not there.
    pub(super) fn put(&mut self, key: K, result: V) {
        if let Some((key, result)) = self.last.replace((key, result)) {
            self.earlier.insert(key, result);
        }
    }

    /// Lets go of what the results hold.
    pub(super) fn release(self, sets: &mut Interner<Attributes>, held: impl Fn(V) -> Option<Id>) {
        let results = self.last.into_iter().chain(self.earlier);
        for id in results.filter_map(|(_, result)| held(result)) {
            sets.release(id);
        }
    }
}

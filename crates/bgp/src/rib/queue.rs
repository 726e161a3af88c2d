//! A queue in which each item waits once, however often it is put in.

use std::collections::{HashSet, VecDeque};

use ipnet::IpNet;

/// Prefixes to look at again, the longest waiting first.
#[derive(Clone, Debug, Default)]
pub(super) struct PrefixQueue {
    order: VecDeque<IpNet>,
    waiting: HashSet<IpNet>,
}

impl PrefixQueue {
    pub(super) fn push(&mut self, prefix: IpNet) {
        if self.waiting.insert(prefix) {
            self.order.push_back(prefix);
        }
    }

    pub(super) fn pop(&mut self) -> Option<IpNet> {
        let prefix = self.order.pop_front()?;
        self.waiting.remove(&prefix);
        Some(prefix)
    }
}

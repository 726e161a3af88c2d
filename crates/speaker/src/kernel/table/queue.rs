//! Prefixes that wait.

use std::collections::VecDeque;

use anycast_bgp::IpNet;
use ipnet::{Ipv4Net, Ipv6Net};

/// To be looked at. By family, as a prefix of IPv4 takes a third of the room of either.
#[derive(Debug, Default)]
pub(super) struct Queue {
    v4: VecDeque<Ipv4Net>,
    v6: VecDeque<Ipv6Net>,
    /// Whose turn it is: neither family waits for all of the other.
    v6_is_next: bool,
}

impl Queue {
    pub(super) fn push_back(&mut self, prefix: IpNet) {
        match prefix {
            IpNet::V4(prefix) => self.v4.push_back(prefix),
            IpNet::V6(prefix) => self.v6.push_back(prefix),
        }
    }

    pub(super) fn push_front(&mut self, prefix: IpNet) {
        match prefix {
            IpNet::V4(prefix) => self.v4.push_front(prefix),
            IpNet::V6(prefix) => self.v6.push_front(prefix),
        }
    }

    pub(super) fn pop_front(&mut self) -> Option<IpNet> {
        let is_v6 = if self.v6_is_next { !self.v6.is_empty() } else { self.v4.is_empty() };
        self.v6_is_next = !is_v6;
        let next = if is_v6 {
            self.v6.pop_front().map(IpNet::V6)
        } else {
            self.v4.pop_front().map(IpNet::V4)
        };
        if self.len() == 0 {
            // A full table has gone through it.
            *self = Self::default();
        }
        next
    }

    pub(super) fn len(&self) -> usize {
        self.v4.len() + self.v6.len()
    }
}

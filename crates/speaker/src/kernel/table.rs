//! What should be in the kernel's table, what is there, and what must be done about it; without
//! the kernel.

use std::collections::{HashMap, HashSet};
use std::net::IpAddr;
use std::time::Duration;

use anycast_bgp::IpNet;

/// The wait before routes that the kernel refused are tried again; doubled each time.
const FIRST_WAIT: Duration = Duration::from_secs(1);
/// The longest such wait.
const LONGEST_WAIT: Duration = Duration::from_secs(30);

/// The routes of ours.
#[derive(Debug)]
pub(super) struct Table {
    wanted: HashMap<IpNet, IpAddr>,
    present: HashSet<IpNet>,
    /// To be looked at.
    touched: HashSet<IpNet>,
    /// Refused by the kernel, to be tried again.
    refused: HashSet<IpNet>,
    wait: Duration,
}

/// One change to the kernel's table.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(super) struct Change {
    pub(super) prefix: IpNet,
    /// `None`: no route of ours.
    pub(super) gateway: Option<IpAddr>,
    /// Whether a route of ours is there.
    pub(super) present: bool,
}

impl Table {
    pub(super) fn new() -> Self {
        Self {
            wanted: HashMap::new(),
            present: HashSet::new(),
            touched: HashSet::new(),
            refused: HashSet::new(),
            wait: FIRST_WAIT,
        }
    }

    /// A route should be as given; of several orders for one prefix the last counts.
    pub(super) fn want(&mut self, prefix: IpNet, gateway: Option<IpAddr>) {
        match gateway {
            Some(gateway) => self.wanted.insert(prefix, gateway),
            None => self.wanted.remove(&prefix),
        };
        self.touched.insert(prefix);
    }

    /// No route should be there.
    pub(super) fn want_nothing(&mut self) {
        self.wanted.clear();
        self.touched.extend(self.present.iter().copied());
    }

    /// The kernel may have dropped any of the routes: all are put there once more.
    pub(super) fn refresh(&mut self) {
        self.touched.extend(self.wanted.keys().copied());
    }

    /// What was refused is tried again.
    pub(super) fn retry(&mut self) {
        self.touched.extend(self.refused.iter().copied());
        self.wait = (self.wait * 2).min(LONGEST_WAIT);
    }

    /// How long to wait before [`retry`](Self::retry), if anything was refused.
    pub(super) fn retry_after(&self) -> Option<Duration> {
        (!self.refused.is_empty()).then_some(self.wait)
    }

    /// What must be done now.
    pub(super) fn take_changes(&mut self) -> Vec<Change> {
        let (wanted, present) = (&self.wanted, &self.present);
        self.touched
            .drain()
            .map(|prefix| Change {
                prefix,
                gateway: wanted.get(&prefix).copied(),
                present: present.contains(&prefix),
            })
            .filter(|change| change.gateway.is_some() || change.present)
            .collect()
    }

    /// What came of a change: whether a route of ours is there now, and whether it is as wanted.
    pub(super) fn handle_outcome(&mut self, prefix: IpNet, present: bool, done: bool) {
        if present {
            self.present.insert(prefix);
        } else {
            self.present.remove(&prefix);
        }
        if done {
            self.refused.remove(&prefix);
        } else {
            self.refused.insert(prefix);
        }
        if self.refused.is_empty() {
            self.wait = FIRST_WAIT;
        }
    }

    /// A prefix that is neither wanted nor there is nobody's worry any more.
    pub(super) fn forget_settled(&mut self) {
        let (wanted, present) = (&self.wanted, &self.present);
        self.refused.retain(|prefix| wanted.contains_key(prefix) || present.contains(prefix));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: &str = "192.0.2.0/24";
    const B: &str = "2001:db8::/32";

    fn net(text: &str) -> IpNet {
        text.parse().expect("a prefix")
    }

    #[expect(clippy::unnecessary_wraps, reason = "what a change holds")]
    fn via(last: u8) -> Option<IpAddr> {
        Some(IpAddr::from([10, 0, 0, last]))
    }

    fn changes(table: &mut Table) -> Vec<Change> {
        let mut changes = table.take_changes();
        changes.sort();
        changes
    }

    fn change(prefix: &str, gateway: Option<IpAddr>, present: bool) -> Change {
        Change { prefix: net(prefix), gateway, present }
    }

    #[test]
    fn only_the_last_order_for_a_prefix_is_carried_out() {
        let mut table = Table::new();
        table.want(net(A), via(1));
        table.want(net(A), via(2));
        table.want(net(B), via(1));
        table.want(net(B), None);
        assert_eq!(changes(&mut table), [change(A, via(2), false)]);
        table.handle_outcome(net(A), true, true);
        table.want(net(A), via(3));
        table.want(net(A), None);
        assert_eq!(changes(&mut table), [change(A, None, true)]);
        table.handle_outcome(net(A), false, true);
        assert_eq!(changes(&mut table), []);
    }

    #[test]
    fn a_refused_route_is_tried_again_ever_more_rarely_until_it_is_there_or_not_wanted() {
        let mut table = Table::new();
        table.want(net(A), via(1));
        for wait in [1, 2, 4, 8, 16, 30, 30] {
            assert_eq!(changes(&mut table), [change(A, via(1), false)]);
            table.handle_outcome(net(A), false, false);
            assert_eq!(table.retry_after(), Some(Duration::from_secs(wait)));
            table.retry();
        }
        assert_eq!(changes(&mut table), [change(A, via(1), false)]);
        table.handle_outcome(net(A), true, true);
        assert_eq!(table.retry_after(), None);

        table.want(net(B), via(1));
        table.take_changes();
        table.handle_outcome(net(B), false, false);
        assert_eq!(table.retry_after(), Some(Duration::from_secs(1)), "the wait begins anew");
        table.want(net(B), None);
        assert_eq!(changes(&mut table), []);
        table.forget_settled();
        assert_eq!(table.retry_after(), None);
    }

    #[test]
    fn after_a_refresh_all_wanted_routes_are_put_there_once_more() {
        let mut table = Table::new();
        table.want(net(A), via(1));
        table.want(net(B), via(2));
        table.take_changes();
        table.handle_outcome(net(A), true, true);
        table.handle_outcome(net(B), true, true);
        table.refresh();
        assert_eq!(changes(&mut table), [change(A, via(1), true), change(B, via(2), true)]);
    }

    #[test]
    fn at_the_end_nothing_stays_whether_or_not_it_could_be_changed() {
        let mut table = Table::new();
        table.want(net(A), via(1));
        table.want(net(B), via(2));
        table.take_changes();
        table.handle_outcome(net(A), true, true);
        table.handle_outcome(net(B), true, false);
        table.want_nothing();
        assert_eq!(changes(&mut table), [change(A, None, true), change(B, None, true)]);
    }
}

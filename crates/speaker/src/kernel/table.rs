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
    /// Of the few routes over several gateways, those besides the one above.
    others: HashMap<IpNet, Vec<IpAddr>>,
    present: HashSet<IpNet>,
    /// To be looked at.
    touched: HashSet<IpNet>,
    /// Refused by the kernel, to be tried again.
    refused: HashSet<IpNet>,
    wait: Duration,
}

/// One change to the kernel's table.
#[derive(Clone, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(super) struct Change {
    pub(super) prefix: IpNet,
    /// None: no route of ours.
    pub(super) gateways: Vec<IpAddr>,
    /// Whether a route of ours is there.
    pub(super) present: bool,
}

impl Table {
    pub(super) fn new() -> Self {
        Self {
            wanted: HashMap::new(),
            others: HashMap::new(),
            present: HashSet::new(),
            touched: HashSet::new(),
            refused: HashSet::new(),
            wait: FIRST_WAIT,
        }
    }

    /// A route should be as given; of several orders for one prefix the last counts.
    pub(super) fn want(&mut self, prefix: IpNet, gateways: &[IpAddr]) {
        let (first, others) = match gateways {
            [] => (None, &[][..]),
            [first, others @ ..] => (Some(*first), others),
        };
        match first {
            Some(first) => self.wanted.insert(prefix, first),
            None => self.wanted.remove(&prefix),
        };
        if others.is_empty() {
            self.others.remove(&prefix);
        } else {
            self.others.insert(prefix, others.to_vec());
        }
        self.touched.insert(prefix);
    }

    /// The gateways over which a route should lead.
    fn gateways(&self, prefix: &IpNet) -> impl Iterator<Item = IpAddr> + use<'_> {
        let others = self.others.get(prefix).into_iter().flatten();
        self.wanted.get(prefix).into_iter().chain(others).copied()
    }

    /// These routes of ours are there, and no others: what is not as it should be is to be looked
    /// at. How many there are of them.
    pub(super) fn resync(
        &mut self,
        found: impl IntoIterator<Item = (IpNet, Vec<IpAddr>)>,
    ) -> usize {
        let before = self.touched.len();
        let mut missing: HashSet<IpNet> = self.wanted.keys().copied().collect();
        self.present.clear();
        for (prefix, gateways) in found {
            self.present.insert(prefix);
            let there: HashSet<IpAddr> = gateways.into_iter().collect();
            if !missing.remove(&prefix) || self.gateways(&prefix).collect::<HashSet<_>>() != there {
                self.touched.insert(prefix);
            }
        }
        self.touched.extend(missing);
        self.touched.len() - before
    }

    /// No route should be there.
    pub(super) fn want_nothing(&mut self) {
        self.wanted.clear();
        self.others.clear();
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
        let touched = std::mem::take(&mut self.touched);
        touched
            .into_iter()
            .map(|prefix| Change {
                prefix,
                gateways: self.gateways(&prefix).collect(),
                present: self.present.contains(&prefix),
            })
            .filter(|change| !change.gateways.is_empty() || change.present)
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

    fn via(last: u8) -> IpAddr {
        IpAddr::from([10, 0, 0, last])
    }

    fn changes(table: &mut Table) -> Vec<Change> {
        let mut changes = table.take_changes();
        changes.sort();
        changes
    }

    fn change(prefix: &str, gateways: &[IpAddr], present: bool) -> Change {
        Change { prefix: net(prefix), gateways: gateways.to_vec(), present }
    }

    /// Both wanted and there, A over two gateways.
    fn settled() -> Table {
        let mut table = Table::new();
        table.want(net(A), &[via(1), via(2)]);
        table.want(net(B), &[via(3)]);
        table.take_changes();
        table.handle_outcome(net(A), true, true);
        table.handle_outcome(net(B), true, true);
        table
    }

    #[test]
    fn a_resync_puts_right_what_is_not_as_it_should_be_and_nothing_else() {
        const C: &str = "203.0.113.0/24";
        let there = |prefix, gateways: &[u8]| {
            (net(prefix), gateways.iter().map(|last| via(*last)).collect::<Vec<_>>())
        };
        let (a, b) = (there(A, &[2, 1]), there(B, &[3]));
        let set = |prefix, gateways: &[IpAddr], present| vec![change(prefix, gateways, present)];
        // (what is there, what is done)
        for (found, done) in [
            (vec![a.clone(), b.clone()], vec![]),
            (vec![b.clone()], set(A, &[via(1), via(2)], false)),
            (vec![there(A, &[1]), b.clone()], set(A, &[via(1), via(2)], true)),
            (vec![there(A, &[1, 2, 3]), b.clone()], set(A, &[via(1), via(2)], true)),
            (vec![a.clone(), there(B, &[4])], set(B, &[via(3)], true)),
            (vec![a.clone(), b.clone(), there(C, &[1])], set(C, &[], true)),
        ] {
            let mut table = settled();
            assert_eq!(table.resync(found.clone()), done.len(), "{found:?}");
            assert_eq!(changes(&mut table), done, "{found:?}");
        }
    }

    #[test]
    fn gateways_come_and_go_together() {
        let mut table = settled();
        table.want(net(A), &[via(2)]);
        assert_eq!(changes(&mut table), [change(A, &[via(2)], true)]);
        table.want(net(A), &[via(2), via(4)]);
        table.want(net(B), &[via(3), via(4)]);
        let both = [change(A, &[via(2), via(4)], true), change(B, &[via(3), via(4)], true)];
        assert_eq!(changes(&mut table), both);
        table.want(net(A), &[]);
        assert_eq!(changes(&mut table), [change(A, &[], true)]);
    }

    #[test]
    fn only_the_last_order_for_a_prefix_is_carried_out() {
        let mut table = Table::new();
        table.want(net(A), &[via(1)]);
        table.want(net(A), &[via(2)]);
        table.want(net(B), &[via(1)]);
        table.want(net(B), &[]);
        assert_eq!(changes(&mut table), [change(A, &[via(2)], false)]);
        table.handle_outcome(net(A), true, true);
        table.want(net(A), &[via(3)]);
        table.want(net(A), &[]);
        assert_eq!(changes(&mut table), [change(A, &[], true)]);
        table.handle_outcome(net(A), false, true);
        assert_eq!(changes(&mut table), []);
    }

    #[test]
    fn a_refused_route_is_tried_again_ever_more_rarely_until_it_is_there_or_not_wanted() {
        let mut table = Table::new();
        table.want(net(A), &[via(1)]);
        for wait in [1, 2, 4, 8, 16, 30, 30] {
            assert_eq!(changes(&mut table), [change(A, &[via(1)], false)]);
            table.handle_outcome(net(A), false, false);
            assert_eq!(table.retry_after(), Some(Duration::from_secs(wait)));
            table.retry();
        }
        assert_eq!(changes(&mut table), [change(A, &[via(1)], false)]);
        table.handle_outcome(net(A), true, true);
        assert_eq!(table.retry_after(), None);

        table.want(net(B), &[via(1)]);
        table.take_changes();
        table.handle_outcome(net(B), false, false);
        assert_eq!(table.retry_after(), Some(Duration::from_secs(1)), "the wait begins anew");
        table.want(net(B), &[]);
        assert_eq!(changes(&mut table), []);
        table.forget_settled();
        assert_eq!(table.retry_after(), None);
    }

    #[test]
    fn after_a_refresh_all_wanted_routes_are_put_there_once_more() {
        let mut table = Table::new();
        table.want(net(A), &[via(1)]);
        table.want(net(B), &[via(2)]);
        table.take_changes();
        table.handle_outcome(net(A), true, true);
        table.handle_outcome(net(B), true, true);
        table.refresh();
        assert_eq!(changes(&mut table), [change(A, &[via(1)], true), change(B, &[via(2)], true)]);
    }

    #[test]
    fn at_the_end_nothing_stays_whether_or_not_it_could_be_changed() {
        let mut table = Table::new();
        table.want(net(A), &[via(1)]);
        table.want(net(B), &[via(2)]);
        table.take_changes();
        table.handle_outcome(net(A), true, true);
        table.handle_outcome(net(B), true, false);
        table.want_nothing();
        assert_eq!(changes(&mut table), [change(A, &[], true), change(B, &[], true)]);
    }
}

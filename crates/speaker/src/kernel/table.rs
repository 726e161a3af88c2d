//! What should be in the kernel's table, what is there, and what must be done about it; without
//! the kernel.

mod gateways;
mod queue;
#[cfg(test)]
mod tests;

use std::collections::{HashMap, HashSet};
use std::net::IpAddr;
use std::time::Duration;

use anycast_bgp::IpNet;
use ipnet::{Ipv4Net, Ipv6Net};

use gateways::Gateways;
use queue::Queue;

/// The wait before routes that the kernel refused are tried again; doubled each time.
const FIRST_WAIT: Duration = Duration::from_secs(1);
/// The longest such wait.
const LONGEST_WAIT: Duration = Duration::from_secs(30);

/// The routes of ours. A full table may be among them: each is few octets.
#[derive(Debug)]
pub(super) struct Table {
    v4: HashMap<Ipv4Net, Route>,
    v6: HashMap<Ipv6Net, Route>,
    gateways: Gateways,
    queue: Queue,
    /// Refused by the kernel, to be tried again.
    refused: HashSet<IpNet>,
    wait: Duration,
}

/// The number of its gateways, zero if it is not wanted, and flags.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
struct Route(u32);

/// One change to the kernel's table.
#[derive(Clone, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(super) struct Change {
    pub(super) prefix: IpNet,
    /// None: no route of ours.
    pub(super) gateways: Vec<IpAddr>,
    /// Whether a route of ours is there.
    pub(super) present: bool,
}

impl Route {
    /// It is there.
    const PRESENT: u32 = 1 << 31;
    /// It is in the queue.
    const QUEUED: u32 = 1 << 30;
    /// Nobody has asked for it yet: it is there by these gateways, or it is not known by which.
    const UNASKED: u32 = 1 << 29;
    /// The resync that goes on has found it.
    const FOUND: u32 = 1 << 28;
    const FLAGS: u32 = Self::PRESENT | Self::QUEUED | Self::UNASKED | Self::FOUND;

    const fn gateways(self) -> u32 {
        self.0 & !Self::FLAGS
    }

    const fn is_wanted(self) -> bool {
        self.gateways() != 0 && !self.has(Self::UNASKED)
    }

    /// It is neither wanted nor there, nor does it wait.
    const fn is_nobodys(self) -> bool {
        self.0 & !Self::FOUND == 0
    }

    const fn has(self, flag: u32) -> bool {
        self.0 & flag != 0
    }

    const fn set(&mut self, flag: u32, is_set: bool) {
        if is_set {
            self.0 |= flag;
        } else {
            self.0 &= !flag;
        }
    }
}

impl Table {
    pub(super) fn new() -> Self {
        Self {
            v4: HashMap::new(),
            v6: HashMap::new(),
            gateways: Gateways::default(),
            queue: Queue::default(),
            refused: HashSet::new(),
            wait: FIRST_WAIT,
        }
    }

    fn get(&self, prefix: &IpNet) -> Route {
        let route = match prefix {
            IpNet::V4(prefix) => self.v4.get(prefix),
            IpNet::V6(prefix) => self.v6.get(prefix),
        };
        route.copied().unwrap_or_default()
    }

    fn get_mut(&mut self, prefix: &IpNet) -> Option<&mut Route> {
        match prefix {
            IpNet::V4(prefix) => self.v4.get_mut(prefix),
            IpNet::V6(prefix) => self.v6.get_mut(prefix),
        }
    }

    fn slot(&mut self, prefix: IpNet) -> &mut Route {
        match prefix {
            IpNet::V4(prefix) => self.v4.entry(prefix).or_default(),
            IpNet::V6(prefix) => self.v6.entry(prefix).or_default(),
        }
    }

    /// A prefix that is neither wanted nor there nor waits is nobody's worry any more.
    fn tidy(&mut self, prefix: &IpNet) {
        if self.get(prefix).is_nobodys() {
            match prefix {
                IpNet::V4(prefix) => self.v4.remove(prefix),
                IpNet::V6(prefix) => self.v6.remove(prefix),
            };
            self.forget_refusal(prefix);
        }
    }

    fn forget_refusal(&mut self, prefix: &IpNet) {
        // Most often there is none, and that is known at once.
        if !self.refused.is_empty() {
            self.refused.remove(prefix);
        }
        if self.refused.is_empty() {
            self.wait = FIRST_WAIT;
        }
    }

    fn prefixes(&self, which: impl Fn(Route) -> bool) -> Vec<IpNet> {
        let v4 = self.v4.iter().map(|(prefix, route)| (IpNet::V4(*prefix), *route));
        let v6 = self.v6.iter().map(|(prefix, route)| (IpNet::V6(*prefix), *route));
        v4.chain(v6).filter(|(_, route)| which(*route)).map(|(prefix, _)| prefix).collect()
    }

    fn queue(&mut self, prefix: IpNet) {
        let route = self.slot(prefix);
        if !route.has(Route::QUEUED) {
            route.set(Route::QUEUED, true);
            self.queue.push_back(prefix);
        }
    }

    /// A route should be as given; of several orders for one prefix the last counts.
    pub(super) fn want(&mut self, prefix: IpNet, gateways: &[IpAddr]) {
        let number = self.gateways.hold(gateways);
        let route = self.slot(prefix);
        let (old, unasked) = (route.gateways(), route.has(Route::UNASKED));
        let present = route.has(Route::PRESENT);
        route.0 = route.0 & Route::FLAGS & !Route::UNASKED | number;
        // What an earlier run put there may be right as it is.
        let is_right = unasked && present && old == number && number != 0;
        let is_new = !is_right && !route.has(Route::QUEUED);
        route.set(Route::QUEUED, is_new || route.has(Route::QUEUED));
        self.gateways.release(old);
        // If it is refused again, that is worth a word again.
        self.forget_refusal(&prefix);
        match (is_new, present) {
            (false, _) => {}
            // Before all that waits: packets take a way that they should not.
            (true, true) => self.queue.push_front(prefix),
            (true, false) => self.queue.push_back(prefix),
        }
    }

    /// What is there unasked is to go.
    pub(super) fn drop_leftovers(&mut self) {
        for prefix in self.prefixes(|route| route.has(Route::UNASKED)) {
            self.want(prefix, &[]);
        }
    }

    /// From here on all that is there is told by [`found`](Self::found), up to
    /// [`end_resync`](Self::end_resync). If that never comes, what was known before still counts.
    pub(super) fn begin_resync(&mut self) {
        self.v4.values_mut().chain(self.v6.values_mut()).for_each(|it| it.set(Route::FOUND, false));
    }

    /// A route of ours is there; whether it is news that it is not as it should be.
    pub(super) fn found(&mut self, prefix: IpNet, gateways: &[IpAddr]) -> bool {
        let route = self.slot(prefix);
        route.set(Route::PRESENT | Route::FOUND, true);
        let (number, waits) = (route.gateways(), route.has(Route::QUEUED));
        let known = route.has(Route::UNASKED);
        if !route.is_wanted() && waits {
            // It will go.
            return false;
        }
        if !route.is_wanted() {
            let there = self.gateways.hold(gateways);
            self.gateways.release(number);
            *self.slot(prefix) = Route(Route::PRESENT | Route::FOUND | Route::UNASKED | there);
            return !known;
        }
        let (there, wanted) = (HashSet::<&IpAddr>::from_iter(gateways), self.gateways.get(number));
        let is_wrong = there != wanted.iter().collect();
        if is_wrong {
            self.queue(prefix);
        } else {
            // What an earlier run put there and was asked for meanwhile.
            self.slot(prefix).set(Route::QUEUED, false);
        }
        is_wrong && !waits
    }

    /// Nothing else of ours is there. How many routes are missing.
    pub(super) fn end_resync(&mut self) -> usize {
        let before = self.queue.len();
        for prefix in self.prefixes(|route| !route.has(Route::FOUND)) {
            let route = self.slot(prefix);
            route.set(Route::PRESENT, false);
            if route.is_wanted() {
                self.queue(prefix);
            } else if route.has(Route::UNASKED) {
                // Others have removed it before anybody asked for it.
                let number = route.gateways();
                *route = Route::default();
                self.gateways.release(number);
                self.tidy(&prefix);
            }
        }
        self.queue.len() - before
    }

    /// No route should be there.
    pub(super) fn want_nothing(&mut self) {
        for prefix in self.prefixes(|route| route.gateways() != 0) {
            self.want(prefix, &[]);
        }
        for prefix in self.prefixes(|route| route.has(Route::PRESENT)) {
            self.queue(prefix);
        }
    }

    /// The kernel may have dropped any of the routes: all are put there once more.
    pub(super) fn refresh(&mut self) {
        for prefix in self.prefixes(Route::is_wanted) {
            self.queue(prefix);
        }
        // Whether these are there as they were is not known either.
        for prefix in self.prefixes(|route| route.has(Route::UNASKED)) {
            let route = self.slot(prefix);
            let number = route.gateways();
            route.0 &= Route::FLAGS;
            self.gateways.release(number);
        }
    }

    /// What was refused is tried again.
    pub(super) fn retry(&mut self) {
        for prefix in self.refused.clone() {
            self.queue(prefix);
        }
        self.wait = (self.wait * 2).min(LONGEST_WAIT);
    }

    /// How long to wait before [`retry`](Self::retry), if anything was refused.
    pub(super) fn retry_after(&self) -> Option<Duration> {
        (!self.refused.is_empty()).then_some(self.wait)
    }

    /// Whether nothing must be done now.
    pub(super) fn is_settled(&self) -> bool {
        self.queue.len() == 0
    }

    /// How many prefixes wait; some may turn out to be as they should be.
    pub(super) fn waiting(&self) -> usize {
        self.queue.len()
    }

    /// What was taken from those that wait waits again, and a route of ours is, or may be, there.
    pub(super) fn again(&mut self, prefix: IpNet, present: bool) {
        self.slot(prefix).set(Route::PRESENT, present);
        self.queue(prefix);
    }

    /// What must be done now, some of it.
    pub(super) fn take_changes(&mut self, most: usize) -> Vec<Change> {
        let mut changes = Vec::new();
        while changes.len() < most {
            let Some(prefix) = self.queue.pop_front() else { break };
            // Those that do not wait any more turned out to be as they should be.
            let route = self.get_mut(&prefix).filter(|route| route.has(Route::QUEUED));
            let Some(route) = route else { continue };
            route.set(Route::QUEUED, false);
            let (number, present) = (route.gateways(), route.has(Route::PRESENT));
            if number != 0 || present {
                let gateways = self.gateways.get(number).to_vec();
                changes.push(Change { prefix, gateways, present });
            } else {
                self.tidy(&prefix);
            }
        }
        changes
    }

    /// What came of a change: whether a route of ours is there now, and whether it is as wanted.
    /// Whether it is news that it is not.
    pub(super) fn handle_outcome(&mut self, prefix: IpNet, present: bool, done: bool) -> bool {
        let route = self.slot(prefix);
        route.set(Route::PRESENT, present);
        let (is_nobodys, waits) = (route.is_nobodys(), route.has(Route::QUEUED));
        let news = if done {
            self.forget_refusal(&prefix);
            false
        } else {
            // Something else may be asked for by now: what becomes of that counts.
            !waits && self.refused.insert(prefix)
        };
        if is_nobodys {
            self.tidy(&prefix);
        }
        news
    }
}

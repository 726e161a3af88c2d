//! What the forwarding table was told and is still to be told.

use std::collections::VecDeque;
use std::sync::Arc;

use ipnet::IpNet;

use super::interner::{Id, Interner};
use super::peer::PeerId;
use super::table::{EntryId, Table};
use crate::NextHop;

/// A change for the forwarding table.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct FibChange {
    /// The prefix.
    pub prefix: IpNet,
    /// Where its packets go from now on; `None`: remove the prefix.
    pub route: Option<FibRoute>,
}

/// Where the packets of a prefix go. Prefixes that this speaker originates are not in the
/// forwarding table: it delivers them itself.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub struct FibRoute {
    /// Where the best route leads.
    pub best: FibHop,
    /// Where the routes lead that share the packets with it; no two next hops are equal.
    pub others: Vec<FibHop>,
}

/// Where one route leads.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub struct FibHop {
    /// The route's next hop; from an iBGP peer it may be some hops away.
    pub next_hop: NextHop,
    /// The route is from a peer in another AS.
    pub ebgp: bool,
    /// The peer that sent the route.
    pub peer: PeerId,
}

/// The routes are few: each is kept once, and entries know it by number.
#[derive(Clone, Debug, Default)]
pub(super) struct Fib {
    routes: Interner<FibRoute>,
    queue: VecDeque<EntryId>,
    /// The number of the route before, which the next prefix most often has too; it is not held,
    /// so it may be another's by now.
    last: Option<Id>,
    /// There is no forwarding table.
    pub(super) is_absent: bool,
}

impl Fib {
    /// The prefix's packets may go elsewhere than they did.
    pub(super) fn touch(&mut self, table: &mut Table, id: EntryId) {
        if table.entry_mut(id).mark_for_fib() {
            self.queue.push_back(id);
        }
    }

    /// The number of a route, which is now held once more.
    fn hold(&mut self, route: FibRoute) -> Id {
        let last = self.last.filter(|last| self.routes.find(*last) == Some(&route));
        let id = last.inspect(|last| self.routes.hold(*last));
        let id = id.unwrap_or_else(|| self.routes.intern(Arc::new(route)));
        self.last = Some(id);
        id
    }

    /// The next change, given what a prefix should have.
    pub(super) fn poll(
        &mut self,
        table: &mut Table,
        wanted: impl Fn(&Table, EntryId) -> Option<FibRoute>,
    ) -> Option<FibChange> {
        while let Some(id) = self.queue.pop_front() {
            if self.is_absent {
                table.entry_mut(id).unmark_for_fib();
                table.tidy(id);
                continue;
            }
            let prefix = table.prefix(id);
            let route = wanted(table, id);
            let entry = table.entry_mut(id);
            entry.unmark_for_fib();
            let known = entry.installed;
            let changed = known.map(|known| &**self.routes.get(known)) != route.as_ref();
            if changed {
                entry.installed = route.clone().map(|route| self.hold(route));
                if let Some(known) = known {
                    self.routes.release(known);
                }
            }
            table.tidy(id);
            if changed {
                return Some(FibChange { prefix, route });
            }
        }
        self.queue.shrink_to(1024);
        None
    }
}

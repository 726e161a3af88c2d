//! What the forwarding table was told and is still to be told.

use std::collections::HashMap;

use ipnet::IpNet;

use super::peer::PeerId;
use super::queue::PrefixQueue;
use crate::NextHop;

/// A change for the forwarding table.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct FibChange {
    /// The prefix.
    pub prefix: IpNet,
    /// Where its packets go from now on; `None`: remove the prefix.
    pub route: Option<FibRoute>,
}

/// Where the packets of a prefix go. Prefixes that this speaker originates are not in the
/// forwarding table: it delivers them itself.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct FibRoute {
    /// The next hop of the best route; from an iBGP peer it may be some hops away.
    pub next_hop: NextHop,
    /// The route is from a peer in another AS.
    pub ebgp: bool,
    /// The peer that sent the route.
    pub peer: PeerId,
}

#[derive(Clone, Debug, Default)]
pub(super) struct Fib {
    installed: HashMap<IpNet, FibRoute>,
    queue: PrefixQueue,
}

impl Fib {
    /// The prefix's best route is another than it was.
    pub(super) fn touch(&mut self, prefix: IpNet) {
        self.queue.push(prefix);
    }

    /// The next change, given what each prefix should now have.
    pub(super) fn poll(
        &mut self,
        wanted: impl Fn(&IpNet) -> Option<FibRoute>,
    ) -> Option<FibChange> {
        while let Some(prefix) = self.queue.pop() {
            let route = wanted(&prefix);
            let installed = match route {
                Some(route) => self.installed.insert(prefix, route),
                None => self.installed.remove(&prefix),
            };
            if installed != route {
                return Some(FibChange { prefix, route });
            }
        }
        None
    }
}

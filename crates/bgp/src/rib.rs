//! The routing tables of one speaker (RFC 4271 §3.2): what each peer sent (Adj-RIB-In), what of
//! it is best (Loc-RIB) and what each peer was told (Adj-RIB-Out).
//!
//! Input comes by `handle_*` and by the calls that change the configuration; output goes by
//! [`Rib::poll_update`], one piece at a time for each peer's wire, and by [`Rib::poll_fib`] for
//! the forwarding table. Both are worked out only when polled, against what was given out
//! before: a route that flaps between two polls and ends where it began says nothing.
//!
//! Routes are kept as received beside what import policy made of them, so that a changed policy
//! needs no new session (soft reconfiguration), and [`Rib::explain`] can say what was refused
//! and why. The work that a route causes depends on the number of peers, never on the size of
//! the table; only a changed policy, a changed interior or a peer's going up or down walks it.
//!
//! Not here: route reflection (RFC 4456; a received ORIGINATOR_ID is obeyed), confederations
//! (RFC 5065), IPv4 routes with IPv6 next hops (RFC 8950), roles (RFC 9234; the attribute is
//! passed on).
//!
//! | module | what it is |
//! |---|---|
//! | `import` | what a received route is before it may become best |
//! | `export` | what a best route becomes for a peer |
//! | `peer` | a peer, and what it was and is still to be told |
//! | `table` | prefixes, their routes and the best |
//! | `interner` | one copy of equal attributes |
//! | `fib` | what the forwarding table was and is still to be told |
//! | `explain` | why a route is best |

mod explain;
mod export;
mod fib;
mod import;
mod interner;
mod peer;
mod queue;
mod table;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, HashMap};
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

use ipnet::IpNet;

use crate::message::Update;
use crate::policy::Policy;
use crate::{Asn, Attributes, Family};

pub use explain::{ExplainedRoute, Explanation, Outcome};
pub use fib::{FibChange, FibRoute};
pub use import::Ineligible;
use interner::Interner;
use peer::{Advertised, Peer, Session};
pub use peer::{Counts, PeerConfig, PeerId, PeerUp};
use table::{Best, Context, Route, Table};

/// The routing tables of one speaker.
#[derive(Clone, Debug)]
pub struct Rib {
    local_asn: Asn,
    router_id: Ipv4Addr,
    peers: BTreeMap<PeerId, Peer>,
    table: Table,
    interner: Interner,
    igp: Option<HashMap<IpAddr, u32>>,
    fib: fib::Fib,
}

/// A route as the tables hold it.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct RouteView<'a> {
    /// The prefix.
    pub prefix: IpNet,
    /// The attributes: of a received route after import policy, or as received if it is not
    /// eligible; of an advertised route as the peer was told.
    pub attributes: &'a Arc<Attributes>,
    /// The peer that sent it; `None`: this speaker originates it.
    pub peer: Option<PeerId>,
    /// It is the best route for its prefix.
    pub best: bool,
    /// Why it cannot become best, if it cannot.
    pub ineligible: Option<Ineligible>,
}

impl Rib {
    /// Empty tables of the speaker `router_id` in the AS `local_asn`.
    #[must_use]
    pub fn new(local_asn: Asn, router_id: Ipv4Addr) -> Self {
        Self {
            local_asn,
            router_id,
            peers: BTreeMap::new(),
            table: Table::default(),
            interner: Interner::default(),
            igp: None,
            fib: fib::Fib::default(),
        }
    }

    /// Adds a peer, which is down at first; a peer that had the id is removed.
    pub fn add_peer(&mut self, id: PeerId, config: PeerConfig) {
        self.remove_peer(id);
        self.peers.insert(id, Peer::new(config, self.local_asn));
    }

    /// Removes a peer and its routes.
    pub fn remove_peer(&mut self, id: PeerId) {
        self.peer_down(id);
        self.peers.remove(&id);
    }

    /// The session with a peer is Established: it is to be told the whole table of each family,
    /// an End-of-RIB marker behind each (RFC 4724 §2).
    pub fn peer_up(&mut self, id: PeerId, up: PeerUp) {
        self.peer_down(id);
        let Some(peer) = self.peers.get_mut(&id) else { return };
        let mut session = Session::new(up);
        for family in session.up.families.clone() {
            session.queue_family(family, self.table.best_prefixes(), false);
            session.queue_end_of_rib(family);
        }
        peer.session = Some(session);
    }

    /// The session with a peer has ended: its routes are gone (RFC 4271 §8.2.2).
    pub fn peer_down(&mut self, id: PeerId) {
        let Some(peer) = self.peers.get_mut(&id) else { return };
        if peer.session.take().is_none() {
            return;
        }
        peer.counts = Counts::default();
        for prefix in self.table.remove_peer(id) {
            self.decide(&prefix);
        }
        self.interner.sweep();
    }

    /// Takes in what a peer sent. Nothing happens if it is not up; prefixes of families that it
    /// did not negotiate are passed over.
    pub fn handle_update(&mut self, id: PeerId, update: Update) {
        let Some(peer) = self.peers.get(&id) else { return };
        let Some(session) = &peer.session else { return };
        let families = session.up.families.clone();
        let negotiated = |prefix: &IpNet| families.contains(&Family::of(prefix));
        for prefix in update.withdrawn.iter().map(IpNet::trunc).filter(negotiated) {
            self.withdraw(id, &prefix);
        }
        for announcement in update.announced {
            let received = self.sanitized(id, announcement.attributes);
            for prefix in announcement.prefixes.iter().map(IpNet::trunc).filter(negotiated) {
                self.announce(id, prefix, &received);
            }
        }
    }

    /// A peer asks for all of a family again (RFC 2918 §4).
    pub fn handle_refresh(&mut self, id: PeerId, family: Family) {
        let Some(peer) = self.peers.get_mut(&id) else { return };
        let Some(session) = &mut peer.session else { return };
        if session.up.families.contains(&family) {
            session.queue_family(family, self.table.best_prefixes(), true);
        }
    }

    /// Originates a prefix, or changes its attributes. Peers are told our own address for the
    /// next hop, whatever it is in `attributes`.
    pub fn originate(&mut self, prefix: IpNet, attributes: Attributes) {
        let prefix = prefix.trunc();
        let attributes = self.interner.intern(Arc::new(attributes));
        if self.table.set_local(prefix, Some(attributes)) {
            self.decide(&prefix);
        }
    }

    /// Originates a prefix no longer.
    pub fn withdraw_local(&mut self, prefix: &IpNet) {
        let prefix = prefix.trunc();
        if self.table.set_local(prefix, None) {
            self.decide(&prefix);
        }
    }

    /// Replaces a peer's import policy and judges all that it sent anew.
    pub fn set_import(&mut self, id: PeerId, policy: Policy) {
        let Some(peer) = self.peers.get_mut(&id) else { return };
        if peer.config.import == policy {
            return;
        }
        peer.config.import = policy;
        let received: Vec<_> = self
            .table
            .received(id)
            .map(|(prefix, route)| (prefix, Arc::clone(&route.received)))
            .collect();
        for (prefix, attributes) in received {
            self.announce(id, prefix, &attributes);
        }
    }

    /// Replaces a peer's export policy; the peer is told what differs.
    pub fn set_export(&mut self, id: PeerId, policy: Policy) {
        let Some(peer) = self.peers.get_mut(&id) else { return };
        if peer.config.export == policy {
            return;
        }
        peer.config.export = policy;
        let Some(session) = &mut peer.session else { return };
        for family in session.up.families.clone() {
            session.queue_family(family, self.table.best_prefixes(), false);
        }
    }

    /// The interior: the cost to each next hop of routes from iBGP peers. A next hop that is not
    /// in it is unreachable (RFC 4271 §9.1.2); without an interior each is reachable at no cost.
    pub fn set_igp(&mut self, igp: Option<HashMap<IpAddr, u32>>) {
        if self.igp == igp {
            return;
        }
        self.igp = igp;
        for prefix in self.table.prefixes().copied().collect::<Vec<_>>() {
            self.decide(&prefix);
        }
    }

    /// The next piece for a peer's wire: withdrawals first, then announcements packed by equal
    /// attributes, of one family each, then End-of-RIB. `None`: the peer knows all.
    pub fn poll_update(&mut self, id: PeerId) -> Option<Update> {
        let peer = self.peers.get_mut(&id)?;
        let session = peer.session.as_mut()?;
        loop {
            if let Some(update) = session.staged.pop_front() {
                return Some(update);
            }
            if session.queue.is_empty() {
                return None;
            }
            let (table, interner) = (&self.table, &mut self.interner);
            session.stage(|prefix, up| {
                let best = table.best(prefix)?;
                let attributes =
                    export::export(self.local_asn, prefix, best, id, &peer.config, up)?;
                Some(Advertised { attributes: interner.intern(attributes), from: best.peer })
            });
        }
    }

    /// The next change for the forwarding table. `None`: it is as it should be.
    pub fn poll_fib(&mut self) -> Option<FibChange> {
        self.fib.poll(|prefix| {
            let best = self.table.best(prefix)?;
            let next_hop = best.attributes.next_hop;
            Some(FibRoute { next_hop, ebgp: best.ebgp, peer: best.peer? })
        })
    }

    /// The best route for a prefix.
    pub fn best(&self, prefix: &IpNet) -> Option<RouteView<'_>> {
        let prefix = prefix.trunc();
        let Best { peer, attributes, .. } = self.table.best(&prefix)?;
        Some(RouteView { prefix, attributes, peer: *peer, best: true, ineligible: None })
    }

    /// Every route of the table, by prefix, then our own before those of peers by their ids.
    pub fn routes(&self) -> impl Iterator<Item = RouteView<'_>> {
        self.table.views(self.context())
    }

    /// Every route that a peer sent.
    pub fn received(&self, id: PeerId) -> impl Iterator<Item = RouteView<'_>> {
        self.routes().filter(move |route| route.peer == Some(id))
    }

    /// Every route that a peer was told, by prefix, with the attributes that it was told.
    pub fn advertised(&self, id: PeerId) -> impl Iterator<Item = RouteView<'_>> {
        let session = self.peers.get(&id).and_then(|peer| peer.session.as_ref());
        let told = session.into_iter().flat_map(|session| &session.advertised);
        told.map(|(prefix, advertised)| RouteView {
            prefix: *prefix,
            attributes: &advertised.attributes,
            peer: advertised.from,
            best: true,
            ineligible: None,
        })
    }

    /// How many routes a peer sent, how many of them are eligible, how many it was told.
    pub fn counts(&self, id: PeerId) -> Counts {
        self.peers.get(&id).map(Peer::counts).unwrap_or_default()
    }

    /// Every candidate for a prefix and why the best is best; `None` if there is no route.
    pub fn explain(&self, prefix: &IpNet) -> Option<Explanation> {
        let prefix = prefix.trunc();
        let entry = self.table.entry(&prefix)?;
        Some(explain::explain(prefix, entry, self.context()))
    }

    /// What a decision depends on besides the routes.
    const fn context(&self) -> Context<'_> {
        Context { peers: &self.peers, igp: self.igp.as_ref() }
    }

    /// The attributes as they are kept, without what a peer in another AS has no say in.
    fn sanitized(&mut self, id: PeerId, attributes: Arc<Attributes>) -> Arc<Attributes> {
        let ebgp = self.peers.get(&id).is_some_and(|peer| peer.ebgp);
        self.interner.intern(if ebgp { import::without_internal(attributes) } else { attributes })
    }

    fn announce(&mut self, id: PeerId, prefix: IpNet, received: &Arc<Attributes>) {
        let Some(peer) = self.peers.get_mut(&id) else { return };
        let ours = import::Ours { asn: self.local_asn, router_id: self.router_id };
        let verdict = ours.import(&prefix, received, peer).map(|it| self.interner.intern(it));
        peer.counts.accepted += usize::from(verdict.is_ok());
        let route = Route { peer: id, received: Arc::clone(received), verdict };
        match self.table.insert(prefix, route) {
            Some(old) => peer.counts.accepted -= usize::from(old.verdict.is_ok()),
            None => peer.counts.received += 1,
        }
        self.decide(&prefix);
    }

    fn withdraw(&mut self, id: PeerId, prefix: &IpNet) {
        let Some(old) = self.table.remove(prefix, id) else { return };
        if let Some(peer) = self.peers.get_mut(&id) {
            peer.counts.received -= 1;
            peer.counts.accepted -= usize::from(old.verdict.is_ok());
        }
        self.decide(prefix);
    }

    /// Selects the best route anew; if it is another, everyone concerned is to be told.
    fn decide(&mut self, prefix: &IpNet) {
        let context = Context { peers: &self.peers, igp: self.igp.as_ref() };
        if !self.table.decide(prefix, context) {
            return;
        }
        self.fib.touch(*prefix);
        let family = Family::of(prefix);
        for session in self.peers.values_mut().filter_map(|peer| peer.session.as_mut()) {
            if session.up.families.contains(&family) {
                session.queue_prefix(*prefix, false);
            }
        }
    }
}

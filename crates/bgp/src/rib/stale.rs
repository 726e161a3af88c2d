//! Stale routes: those that their peer does not stand by at the moment, because it restarts or
//! sends them anew. They take part as before (RFC 4724 §4.2), until they are sent again or dropped;
//! as a last resort they lose to all others (RFC 9494 §4.2).
//!
//! When that happens is not decided here but in [`retention`](crate::retention).

use std::collections::HashMap;
use std::sync::Arc;

use super::interner::Id;
use super::memo::Memo;
use super::paths::Source;
use super::peer::{Peer, PeerId, PeerUp, Reported};
use super::table::EntryId;
use super::{Rib, Route};
use crate::message::Nlri;
use crate::message::PathId;
use crate::{Community, Family};

impl Rib {
    /// The session with a peer has ended: its routes of the families in `keep` stay, stale; those
    /// of all others are gone (RFC 4271 §8.2.2). So are all if the peer was down before.
    pub fn peer_lost(&mut self, id: PeerId, keep: &[Family]) {
        let Some(peer) = self.peers.get_mut(&id) else { return };
        peer.reported = Reported::default();
        self.events.retain(|event| event.peer() != id);
        let mut keep = keep;
        if let Some(session) = peer.session.take() {
            peer.kept = (!keep.is_empty()).then(|| (*session.up).clone());
            session.forget(id, &mut self.groups, &mut self.table, &mut self.sets);
        } else {
            keep = &[];
        }
        if peer.counts.received > 0 {
            let mut gone = Vec::new();
            for entry in self.table.ids() {
                if keep.contains(&self.table.entry(entry).family()) {
                    self.mark_all(id, entry);
                } else {
                    self.take_out(id, entry, &mut gone, |_| true);
                }
            }
        }
        self.forget_kept(id);
    }

    /// A peer's routes of a family are stale from now on.
    pub fn mark_stale(&mut self, id: PeerId, family: Family) {
        for entry in self.table.ids() {
            if self.table.entry(entry).family() == family {
                self.mark_all(id, entry);
            }
        }
    }

    /// A peer's routes of a family that are stale are gone.
    pub fn drop_stale(&mut self, id: PeerId, family: Family) {
        if self.counts(id).stale > 0 {
            let mut gone = Vec::new();
            for entry in self.table.ids() {
                if self.table.entry(entry).family() == family {
                    self.take_out(id, entry, &mut gone, Route::is_stale);
                }
            }
        }
        self.forget_kept(id);
    }

    /// A peer's routes of a family that are stale become a last resort: they carry LLGR_STALE from
    /// now on, and those that must not be kept so long are gone (NO_LLGR, RFC 9494 §4.2).
    pub fn long_lived_stale(&mut self, id: PeerId, family: Family) {
        let mut marked: HashMap<Id, Id> = HashMap::new();
        let mut verdicts = Memo::new();
        let mut gone = Vec::new();
        for entry in self.table.ids() {
            if self.table.entry(entry).family() != family {
                continue;
            }
            let (sets, no) = (&self.sets, Community::NO_LLGR);
            let unwanted: Vec<Source> = (self.table.routes_of(entry, id))
                .filter(|(_, route)| route.is_stale() && sets.get(route.received).has_community(no))
                .map(|(_, route)| route.source)
                .collect();
            self.take_out(id, entry, &mut gone, |route| unwanted.contains(&route.source));
            let stale: Vec<(PathId, Route)> =
                (self.table.routes_of(entry, id)).filter(|(_, route)| route.is_stale()).collect();
            for (path_id, route) in stale {
                let received = if let Some(known) = marked.get(&route.received) {
                    *known
                } else {
                    let mut attributes = Arc::clone(self.sets.get(route.received));
                    Arc::make_mut(&mut attributes).add_community(Community::LLGR_STALE);
                    // Both are held until all is done: no other value gets the number meanwhile.
                    self.sets.hold(route.received);
                    let received = self.sets.intern(attributes);
                    marked.insert(route.received, received);
                    received
                };
                let source = self.table.sources.hold(id, path_id);
                self.put_in(id, source, entry, received, &mut verdicts);
                self.decide(entry);
                self.mark(id, entry, source);
            }
        }
        verdicts.release(&mut self.sets, |verdict| verdict.get().ok());
        for (before, after) in marked {
            self.sets.release(before);
            self.sets.release(after);
        }
        self.forget_kept(id);
    }

    /// The peer is up again; what was kept of it stays stale, unless the family is spoken no more.
    pub(super) fn resume(&mut self, id: PeerId, before: &PeerUp) {
        let Some(up) = self.peers.get(&id).and_then(Peer::up) else { return };
        let same_id = up.router_id == before.router_id;
        let families = up.families.clone();
        let mut gone = Vec::new();
        for entry in self.table.ids() {
            if self.table.route_of(entry, id).is_none() {
                continue;
            }
            if !families.contains(&self.table.entry(entry).family()) {
                self.take_out(id, entry, &mut gone, |_| true);
            } else if !same_id {
                self.decide(entry);
            }
        }
    }

    /// Marks all that a peer sent for a prefix.
    fn mark_all(&mut self, id: PeerId, entry: EntryId) {
        let mut at = 0;
        while let Some(route) = self.table.entry(entry).routes().get(at).copied() {
            at += 1;
            if self.table.sources.peer(route.source) == id {
                self.mark(id, entry, route.source);
            }
        }
    }

    /// Marks a peer's route.
    pub(super) fn mark(&mut self, id: PeerId, entry: EntryId, source: Source) {
        let routes = self.table.entry(entry).routes();
        let fresh = routes.iter().any(|route| route.source == source && !route.is_stale());
        if fresh && let Some(peer) = self.peers.get_mut(&id) {
            self.table.entry_mut(entry).mark_stale(source);
            peer.counts.stale += 1;
        }
    }

    /// Takes out those of a peer's routes to a prefix that are unwanted; all are out before a
    /// decision looks at what is left. `gone` is empty, before and after.
    fn take_out(
        &mut self,
        id: PeerId,
        entry: EntryId,
        gone: &mut Vec<Route>,
        unwanted: impl Fn(Route) -> bool,
    ) {
        let routes = self.table.routes_of(entry, id).map(|(_, route)| route);
        gone.extend(routes.filter(|route| unwanted(*route)));
        if gone.is_empty() {
            return;
        }
        for route in &*gone {
            self.table.entry_mut(entry).remove(route.source);
            if let Some(peer) = self.peers.get_mut(&id) {
                peer.counts.received -= 1;
                peer.counts.forget(*route);
            }
        }
        // All that it sent goes with a session, without a word of each.
        if self.peers.get(&id).is_some_and(|peer| peer.session.is_some()) {
            for route in &*gone {
                let path_id = self.table.sources.of(route.source).1;
                self.gathered.accepted(id, || Nlri::new(self.table.prefix(entry), path_id));
            }
        }
        self.decide(entry);
        gone.drain(..).for_each(|route| self.release(route));
    }

    /// Of a peer that is down and has no routes left nothing more need be known.
    fn forget_kept(&mut self, id: PeerId) {
        if let Some(peer) = self.peers.get_mut(&id)
            && peer.counts.received == 0
        {
            peer.kept = None;
        }
    }
}

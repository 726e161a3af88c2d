//! What is told to those who look on: the tables, step by step, and which of their routes became
//! others since.
//!
//! Onlookers keep nothing here: a walk is a number that the caller keeps, and changes are
//! gathered, only while somebody wants them, until they are taken.

use std::sync::Arc;

use ipnet::IpNet;

use super::Rib;
use super::interner::Id;
use super::peer::PeerId;
use crate::message::Announcement;
use crate::{Attributes, Family};

/// How many prefixes one step of a walk looks at: it takes about a millisecond.
const PREFIXES_PER_STEP: u32 = 4096;

/// A table that onlookers are told.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum Watched {
    /// What a peer sent, before import policy.
    Received(PeerId),
    /// What import policy made of it.
    Accepted(PeerId),
    /// The best routes: the Loc-RIB.
    Best,
    /// What a peer was told.
    Advertised(PeerId),
}

/// How far a walk has come. What changes while it goes on may be met or not.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Cursor(u32);

/// Which changes are gathered.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Watch {
    /// Those of routes after import policy.
    pub accepted: bool,
    /// Those of best routes.
    pub best: bool,
}

/// Prefixes whose routes may be others than they were, oldest first; a prefix may be there more
/// than once.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Changes {
    /// Of what peers sent, after import policy. That a peer went down is not among them.
    pub accepted: Vec<(PeerId, IpNet)>,
    /// Of the Loc-RIB.
    pub best: Vec<IpNet>,
}

#[derive(Clone, Debug, Default)]
pub(super) struct Gathered {
    watch: Watch,
    changes: Changes,
}

/// All routes to one prefix.
pub type PrefixRoutes = (IpNet, Vec<(Option<PeerId>, Arc<Attributes>)>);

impl Gathered {
    pub(super) fn accepted(&mut self, peer: PeerId, prefix: impl FnOnce() -> IpNet) {
        if self.watch.accepted {
            self.changes.accepted.push((peer, prefix()));
        }
    }

    pub(super) fn best(&mut self, prefix: impl FnOnce() -> IpNet) {
        if self.watch.best {
            self.changes.best.push(prefix());
        }
    }
}

impl Rib {
    /// From now on these changes are gathered, and no others.
    pub fn set_watch(&mut self, watch: Watch) {
        self.gathered.watch = watch;
        if !watch.accepted {
            self.gathered.changes.accepted = Vec::new();
        }
        if !watch.best {
            self.gathered.changes.best = Vec::new();
        }
    }

    /// What was gathered since the last time.
    pub fn take_changes(&mut self) -> Changes {
        std::mem::take(&mut self.gathered.changes)
    }

    /// What import policy made of a peer's route to a prefix, if it took it.
    pub fn accepted(&self, peer: PeerId, prefix: &IpNet) -> Option<&Arc<Attributes>> {
        let route = self.table.entry(self.table.find(prefix)?).route(peer)?;
        Some(self.sets.get(route.verdict.get().ok()?))
    }

    /// The next routes of a walk, those with equal attributes together, and where it goes on, if
    /// it does.
    pub fn walk(&self, view: Watched, from: Cursor) -> (Vec<Announcement>, Option<Cursor>) {
        let advertised = match view {
            Watched::Advertised(peer) => {
                self.peers.get(&peer).and_then(|peer| peer.session.as_ref())
            }
            _ => None,
        };
        let (ids, next) = self.step(from);
        let mut found: Vec<(Id, IpNet)> = ids
            .filter_map(|id| {
                let entry = self.table.entry(id);
                let set = match view {
                    Watched::Received(peer) => entry.route(peer)?.received,
                    Watched::Accepted(peer) => entry.route(peer)?.verdict.get().ok()?,
                    Watched::Best => entry.best()?.set,
                    Watched::Advertised(_) => advertised?.told(id)?,
                };
                Some((set, self.table.prefix(id)))
            })
            .collect();
        found.sort_unstable();
        let alike =
            |a: &(Id, IpNet), b: &(Id, IpNet)| a.0 == b.0 && Family::of(&a.1) == Family::of(&b.1);
        let announcements = found.chunk_by(alike).map(|group| Announcement {
            attributes: Arc::clone(self.sets.get(group[0].0)),
            prefixes: group.iter().map(|(_, prefix)| (*prefix).into()).collect(),
        });
        (announcements.collect(), next)
    }

    /// The next prefixes of a walk with all routes that may become best, our own first; with
    /// `received`, with all that peers sent, before import policy.
    pub fn walk_routes(&self, received: bool, from: Cursor) -> (Vec<PrefixRoutes>, Option<Cursor>) {
        let (ids, next) = self.step(from);
        let routes = ids.filter_map(|id| {
            let entry = self.table.entry(id);
            let local = self.table.local(id).filter(|_| !received).map(|set| (None, set));
            let sent = entry.routes().iter().filter_map(|route| {
                let set = if received {
                    Some(route.received)
                } else {
                    route.candidate(self.context()).ok().and(route.verdict.get().ok())
                };
                Some((Some(route.peer), set?))
            });
            let routes: Vec<_> = local
                .into_iter()
                .chain(sent)
                .map(|(peer, set)| (peer, Arc::clone(self.sets.get(set))))
                .collect();
            (!routes.is_empty()).then(|| (self.table.prefix(id), routes))
        });
        (routes.collect(), next)
    }

    /// How many best routes there are.
    pub fn count_best(&self) -> usize {
        self.table.ids().filter(|id| self.table.entry(*id).best().is_some()).count()
    }

    fn step(&self, Cursor(from): Cursor) -> (std::ops::Range<u32>, Option<Cursor>) {
        let end = self.table.end();
        let until = from.saturating_add(PREFIXES_PER_STEP).min(end);
        (from..until, (until < end).then_some(Cursor(until)))
    }
}

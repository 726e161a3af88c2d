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
use super::table::EntryId;
use crate::Attributes;
use crate::message::{Announcement, Nlri, PathId};

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
    pub accepted: Vec<(PeerId, Nlri)>,
    /// Of the Loc-RIB.
    pub best: Vec<IpNet>,
}

#[derive(Clone, Debug, Default)]
pub(super) struct Gathered {
    watch: Watch,
    changes: Changes,
}

/// All routes to one prefix.
pub type PrefixRoutes = (IpNet, Vec<(Option<PeerId>, PathId, Arc<Attributes>)>);

impl Gathered {
    pub(super) fn accepted(&mut self, peer: PeerId, nlri: impl FnOnce() -> Nlri) {
        if self.watch.accepted {
            self.changes.accepted.push((peer, nlri()));
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

    /// What import policy made of one of a peer's paths to a prefix, if it took it.
    pub fn accepted(&self, peer: PeerId, nlri: &Nlri) -> Option<&Arc<Attributes>> {
        let mut paths = self.accepted_sets(self.table.find(&nlri.prefix)?, peer);
        let (_, set) = paths.find(|(path_id, _)| *path_id == nlri.path_id)?;
        Some(self.sets.get(set))
    }

    /// The attributes of the routes that import policy took from a peer.
    fn accepted_sets(
        &self,
        id: EntryId,
        peer: PeerId,
    ) -> impl Iterator<Item = (PathId, Id)> + use<'_> {
        let routes = self.table.routes_of(id, peer);
        routes.filter_map(|(path_id, route)| Some((path_id, route.verdict.get().ok()?)))
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
        let mut found: Vec<(Id, Nlri)> = Vec::new();
        for id in ids {
            let prefix = self.table.prefix(id);
            let path = |(path_id, set): (PathId, Id)| (set, Nlri::new(prefix, path_id));
            match view {
                Watched::Received(peer) => {
                    let routes = self.table.routes_of(id, peer);
                    found.extend(routes.map(|(path_id, route)| path((path_id, route.received))));
                }
                Watched::Accepted(peer) => found.extend(self.accepted_sets(id, peer).map(path)),
                Watched::Best => {
                    let best = self.table.entry(id).best();
                    found.extend(best.map(|best| (best.set, prefix.into())));
                }
                Watched::Advertised(peer) => {
                    let family = self.table.entry(id).family();
                    let told = advertised
                        .map(|session| session.told(peer, id, family, &self.groups))
                        .unwrap_or_default();
                    found.extend(told.into_iter().map(path));
                }
            }
        }
        found.sort_unstable();
        let alike = |a: &(Id, Nlri), b: &(Id, Nlri)| a.0 == b.0 && a.1.family() == b.1.family();
        let announcements = found.chunk_by(alike).map(|group| Announcement {
            attributes: Arc::clone(self.sets.get(group[0].0)),
            prefixes: group.iter().map(|(_, nlri)| *nlri).collect(),
        });
        (announcements.collect(), next)
    }

    /// The next prefixes of a walk with all routes that may become best, our own first; with
    /// `received`, with all that peers sent, before import policy.
    pub fn walk_routes(&self, received: bool, from: Cursor) -> (Vec<PrefixRoutes>, Option<Cursor>) {
        let (ids, next) = self.step(from);
        let routes = ids.filter_map(|id| {
            let entry = self.table.entry(id);
            let local =
                self.table.local(id).filter(|_| !received).map(|set| (None, PathId::NONE, set));
            let sent = entry.routes().iter().filter_map(|route| {
                let set = if received {
                    Some(route.received)
                } else {
                    route.candidate(self.context()).ok().and(route.verdict.get().ok())
                };
                let (peer, path_id) = self.table.sources.of(route.source);
                Some((Some(peer), path_id, set?))
            });
            let routes: Vec<_> = local
                .into_iter()
                .chain(sent)
                .map(|(peer, path_id, set)| (peer, path_id, Arc::clone(self.sets.get(set))))
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

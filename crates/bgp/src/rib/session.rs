//! What a peer was and is still to be told.
//!
//! What waits goes in this order: prefixes that the peer may have to be told are gone, then those
//! that changed, then the walks through the whole table, which begin where a session, a policy or
//! a ROUTE-REFRESH does. So a whole table on its way never holds up a change.
//!
//! What a peer knows of the families of which it is told one path, it shares with its
//! [`group`](super::group). A peer that takes several paths of a family (RFC 7911) is told of the
//! best of them, each under a number of ours; which, is kept here.

use std::collections::{BTreeMap, HashMap, HashSet, VecDeque};
use std::net::IpAddr;
use std::sync::Arc;

use ipnet::IpNet;

use super::export::{self, Sender};
use super::group::{GroupId, Groups};
use super::interner::{Id, Interner};
use super::memo::{Alike, Memo};
use super::paths::Multipath;
use super::peer::{Peer, PeerConfig, PeerId, PeerUp};
use super::table::{Best, Context, EntryId, From, Table};
use crate::message::{Nlri, Packed, PathId, Update};
use crate::rov::{self, Validity, VrpTable};
use crate::{Attributes, Family, FamilySet};

/// How many prefixes one [`Update`] holds at most.
const PREFIXES_PER_UPDATE: usize = 1000;

/// How many prefixes are looked at in one go: enough to pack them well, few enough to take about
/// a millisecond.
pub(super) const PREFIXES_PER_STAGE: u32 = 4096;

/// What lasts as long as a peer is up.
#[derive(Clone, Debug)]
pub(super) struct Session {
    pub(super) up: Arc<PeerUp>,
    /// With whom it is told of the families of which it is told one path, if there are any.
    pub(super) group: Option<GroupId>,
    walks: VecDeque<Walk>,
    /// Worked out and ready for the wire.
    staged: VecDeque<Staged>,
    /// What the peer was told of the other families.
    paths: HashMap<EntryId, Paths>,
    /// How many paths these are.
    advertised: usize,
    /// Prefixes of the other families that changed.
    changed: VecDeque<EntryId>,
    waits: HashSet<EntryId>,
}

/// What is ready for the wire.
#[derive(Clone, Debug)]
enum Staged {
    Update(Arc<Packed>),
    Mark(RefreshMark),
}

/// Where the answer to a ROUTE-REFRESH begins or ends (RFC 7313 §4).
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum RefreshMark {
    /// All routes of the family follow.
    Beginning(Family),
    /// That were all.
    End(Family),
}

/// The paths that a peer was told of a prefix, with their attributes; at least one.
type Paths = Vec<(PathId, Id)>;

/// A way through the whole table, or its end.
#[derive(Clone, Copy, Debug)]
enum Walk {
    Family {
        family: Family,
        next: EntryId,
        end: EntryId,
        /// The peer is told even what it knows.
        again: bool,
    },
    EndOfRib(Family),
    /// A walk of which the peer is told where it begins and ends.
    Refresh(Family),
    EndOfRefresh(Family),
}

/// What telling a peer takes besides its session.
pub(super) struct Speaker<'a> {
    pub(super) ours: export::Ours,
    pub(super) id: PeerId,
    pub(super) config: &'a PeerConfig,
    pub(super) up: &'a PeerUp,
    pub(super) client: bool,
    pub(super) senders: &'a BTreeMap<PeerId, Sender>,
    pub(super) peers: &'a BTreeMap<PeerId, Peer>,
    pub(super) igp: Option<&'a HashMap<IpAddr, u32>>,
    pub(super) table: &'a mut Table,
    pub(super) sets: &'a mut Interner<Attributes>,
    /// If the export policy asks.
    pub(super) vrps: Option<&'a VrpTable>,
}

/// All of a best route but its prefix.
type Learnt = (Id, From, Option<PeerId>, Family, Validity);

/// What one stage found out.
pub(super) struct Batch {
    /// Packed already, for others too.
    packed: Vec<Arc<Packed>>,
    withdrawn: [Vec<Nlri>; 2],
    announced: Vec<(Id, Vec<Nlri>)>,
    groups: Memo<(Family, Id), usize>,
    exported: Memo<Alike<Learnt>, Option<Id>>,
}

impl Session {
    pub(super) fn new(up: PeerUp, group: Option<GroupId>) -> Self {
        Self {
            up: Arc::new(up),
            group,
            walks: VecDeque::new(),
            staged: VecDeque::new(),
            paths: HashMap::new(),
            advertised: 0,
            changed: VecDeque::new(),
            waits: HashSet::new(),
        }
    }

    /// The families of which a peer is told one path.
    pub(super) fn families_of_one(up: &PeerUp) -> FamilySet {
        let several = up.send_paths.families;
        up.families.iter().copied().filter(|family| !several.contains(*family)).collect()
    }

    /// How many routes the peer was told.
    pub(super) fn advertised(&self, id: PeerId, groups: &Groups) -> usize {
        self.advertised + self.group.map_or(0, |group| groups.get(group).advertised(id))
    }

    /// The paths that the peer was told of a prefix, and their attributes.
    pub(super) fn told(
        &self,
        id: PeerId,
        entry: EntryId,
        family: Family,
        groups: &Groups,
    ) -> Vec<(PathId, Id)> {
        if let Some(paths) = self.paths.get(&entry) {
            return paths.clone();
        }
        let set = self.group.and_then(|group| groups.get(group).known_by(id, entry, family));
        set.map(|set| (PathId::NONE, set)).into_iter().collect()
    }

    /// Whether the peer was told of a prefix.
    pub(super) fn was_told(
        &self,
        id: PeerId,
        entry: EntryId,
        family: Family,
        groups: &Groups,
    ) -> bool {
        self.paths.contains_key(&entry)
            || self
                .group
                .is_some_and(|group| groups.get(group).known_by(id, entry, family).is_some())
    }

    /// Whether the peer is told of several paths of a family.
    pub(super) fn sends_paths(&self, family: Family) -> bool {
        self.up.send_paths.families.contains(family)
    }

    pub(super) fn negotiated(&self, family: Family) -> bool {
        self.up.families.contains(&family)
    }

    /// The paths to a prefix of a family of which the peer is told several are others; `may_tell`:
    /// the peer may be told of them, if policy agrees.
    pub(super) fn touch(&mut self, table: &mut Table, id: EntryId, may_tell: bool) {
        if (may_tell || self.paths.contains_key(&id)) && self.waits.insert(id) {
            table.pin(id);
            if may_tell {
                self.changed.push_back(id);
            } else {
                self.changed.push_front(id);
            }
        }
    }

    /// All prefixes of a family are to be looked at; with `again`, told even if the peer knows.
    pub(super) fn walk(&mut self, wanted: Family, end_of_table: EntryId, again: bool) {
        for walk in &mut self.walks {
            if let Walk::Family { family, next, end, again: also } = walk
                && *family == wanted
            {
                (*next, *end, *also) = (0, end_of_table, *also || again);
                return;
            }
        }
        self.walks.push_back(Walk::Family { family: wanted, next: 0, end: end_of_table, again });
    }

    /// Behind all walks, the End-of-RIB marker.
    pub(super) fn queue_end_of_rib(&mut self, family: Family) {
        self.walks.push_back(Walk::EndOfRib(family));
    }

    /// All of a family is to be told again, between a beginning and an end (RFC 7313 §4). Who asks
    /// again before that has begun asks for the same.
    pub(super) fn refresh(&mut self, wanted: Family) {
        let waits = |walk: &Walk| matches!(walk, Walk::Refresh(family) if *family == wanted);
        if !self.walks.iter().any(waits) {
            self.walks.push_back(Walk::Refresh(wanted));
        }
    }

    /// The next piece that is ready. Until a mark is taken there is nothing to say.
    pub(super) fn pop_staged(&mut self) -> Option<Arc<Packed>> {
        match self.staged.pop_front()? {
            Staged::Update(update) => Some(update),
            mark @ Staged::Mark(_) => {
                self.staged.push_front(mark);
                Some(Arc::default())
            }
        }
    }

    /// The mark that is the next piece, if it is one.
    pub(super) fn pop_mark(&mut self) -> Option<RefreshMark> {
        let Some(Staged::Mark(mark)) = self.staged.front() else { return None };
        let mark = *mark;
        self.staged.pop_front();
        Some(mark)
    }

    /// Nothing is ready and nothing waits.
    pub(super) fn is_settled(&self, id: PeerId, groups: &Groups, end: EntryId) -> bool {
        self.staged.is_empty()
            && self.changed.is_empty()
            && self.walks.is_empty()
            && self.group.is_none_or(|group| groups.get(group).is_settled(id, end))
    }

    /// Looks at some of what waits and stages what the peer does not know yet.
    pub(super) fn stage(&mut self, speaker: &mut Speaker<'_>, groups: &mut Groups) {
        let mut batch = Batch::new();
        let mut looked = 0;
        while looked < PREFIXES_PER_STAGE
            && let Some(id) = self.changed.pop_front()
        {
            looked += 1;
            self.waits.remove(&id);
            self.tell_paths(id, false, &mut batch, speaker);
            speaker.table.unpin(id);
        }
        self.changed.shrink_to(PREFIXES_PER_STAGE as usize);
        let advanced = self
            .group
            .is_some_and(|group| groups.get_mut(group).advance(speaker.id, &mut batch, speaker));
        if looked == 0
            && !advanced
            && let Some(walk) = self.next_walk(speaker, groups)
        {
            self.walk_on(walk, &mut batch, speaker, groups);
        }
        self.staged.extend(batch.finish(speaker.sets).into_iter().map(Staged::Update));
    }

    /// The walk that is to go on; where none is asked for, one through what the peer has missed.
    fn next_walk(&mut self, speaker: &Speaker<'_>, groups: &Groups) -> Option<Walk> {
        if let Some(walk) = self.walks.pop_front() {
            return Some(walk);
        }
        let (group, end) = (groups.get(self.group?), speaker.table.end());
        let missed = |family| {
            let next = group.walks_from(speaker.id, family, end)?;
            Some(Walk::Family { family, next, end, again: false })
        };
        Family::ALL.into_iter().find_map(missed)
    }

    /// One stage of a walk; the entries within it go by prefix.
    fn walk_on(
        &mut self,
        walk: Walk,
        batch: &mut Batch,
        speaker: &mut Speaker<'_>,
        groups: &mut Groups,
    ) {
        let (wanted, next, end, again) = match walk {
            Walk::Family { family, next, end, again } => (family, next, end, again),
            Walk::EndOfRib(family) => {
                let update = Packed::new(Update::end_of_rib(family));
                self.staged.push_back(Staged::Update(Arc::new(update)));
                return;
            }
            Walk::Refresh(family) => {
                self.staged.push_back(Staged::Mark(RefreshMark::Beginning(family)));
                // What comes to the table from here on is told after the mark in any case.
                self.walks.push_front(Walk::EndOfRefresh(family));
                let end = speaker.table.end();
                self.walks.push_front(Walk::Family { family, next: 0, end, again: true });
                return;
            }
            Walk::EndOfRefresh(family) => {
                self.staged.push_back(Staged::Mark(RefreshMark::End(family)));
                return;
            }
        };
        let until = end.min(next + PREFIXES_PER_STAGE);
        if self.sends_paths(wanted) {
            let table = &speaker.table;
            let told_of = |id: &EntryId| {
                let entry = table.entry(*id);
                entry.best().is_some() && entry.family() == wanted
            };
            let mut ids: Vec<(IpNet, EntryId)> =
                (next..until).filter(told_of).map(|id| (table.prefix(id), id)).collect();
            ids.sort_unstable();
            for (_, id) in ids {
                self.tell_paths(id, again, batch, speaker);
            }
        } else if let Some(group) = self.group {
            let group = groups.get_mut(group);
            group.walk(speaker.id, wanted, next..until, again, batch, speaker);
        }
        if until < end {
            self.walks.push_front(Walk::Family { family: wanted, next: until, end, again });
        }
    }

    /// Compares the paths that the peer should know of a prefix with those that it knows.
    fn tell_paths(
        &mut self,
        id: EntryId,
        again: bool,
        batch: &mut Batch,
        speaker: &mut Speaker<'_>,
    ) {
        let prefix = speaker.table.prefix(id);
        let known = self.paths.remove(&id).unwrap_or_default();
        let was_known = !known.is_empty();
        let wanted = batch.wanted_paths(id, speaker);
        self.advertised += wanted.len();
        self.advertised -= known.len();
        for (path_id, set) in &wanted {
            speaker.sets.hold(*set);
            if again || !known.contains(&(*path_id, *set)) {
                batch.announce(Nlri::new(prefix, *path_id), *set);
            }
        }
        for (path_id, set) in known {
            if wanted.iter().all(|(other, _)| *other != path_id) {
                batch.withdraw(Nlri::new(prefix, path_id));
            }
            speaker.sets.release(set);
        }
        match (was_known, wanted.is_empty()) {
            (false, false) => speaker.table.pin(id),
            (true, true) => speaker.table.unpin(id),
            _ => {}
        }
        if !wanted.is_empty() {
            self.paths.insert(id, wanted);
        }
    }

    /// The session has ended: nothing of it holds any prefix or attributes.
    pub(super) fn forget(
        self,
        id: PeerId,
        groups: &mut Groups,
        table: &mut Table,
        sets: &mut Interner<Attributes>,
    ) {
        for (id, paths) in self.paths {
            for (_, set) in paths {
                sets.release(set);
            }
            table.unpin(id);
        }
        for id in self.waits {
            table.unpin(id);
        }
        if let Some(group) = self.group {
            groups.leave(group, id, table, sets);
        }
    }
}

impl Batch {
    pub(super) fn new() -> Self {
        Self {
            packed: Vec::new(),
            withdrawn: Default::default(),
            announced: Vec::new(),
            groups: Memo::new(),
            exported: Memo::new(),
        }
    }

    /// The paths that the peer should know of a prefix, the best first; the batch holds their
    /// attributes. What it sent itself is not told back, nor does it take a place.
    fn wanted_paths(&mut self, id: EntryId, speaker: &mut Speaker<'_>) -> Paths {
        let context = Context {
            peers: speaker.peers,
            igp: speaker.igp,
            sets: speaker.sets,
            sources: &speaker.table.sources,
            multipath: Multipath::default(),
        };
        let ranked = speaker.table.ranked(id, speaker.id, context);
        let (ebgp, most) = (speaker.config.asn != speaker.ours.asn, speaker.up.send_paths.most);
        let told = ranked.into_iter().filter_map(|route| {
            if !export::may_tell(route, ebgp, speaker.client) {
                return None;
            }
            let set = self.exported(route, id, speaker)?;
            Some((route.source.path_id(route.from), set))
        });
        told.take(most).collect()
    }

    /// What a route becomes for the peer, if it goes there at all; the batch holds it.
    pub(super) fn exported(
        &mut self,
        best: Best,
        id: EntryId,
        speaker: &mut Speaker<'_>,
    ) -> Option<Id> {
        let prefix = &speaker.table.prefix(id);
        let Speaker { ours, config, up, sets, .. } = speaker;
        let class = config.export.class(prefix);
        let peer = best.peer(&speaker.table.sources);
        // By the origin that the peer will see (RFC 8893 §3).
        let rpki = speaker.vrps.map_or(Validity::default(), |vrps| {
            vrps.validate(prefix, rov::origin(&sets.get(best.set).as_path, ours.asn))
        });
        let alike = ((best.set, best.from, peer, Family::of(prefix), rpki), class);
        if let Some(known) = self.exported.get(alike) {
            return known;
        }
        let sender = peer.and_then(|peer| speaker.senders.get(&peer)).copied();
        let learnt = sets.get(best.set);
        let attributes =
            export::export(*ours, prefix, (best.from, sender, rpki), learnt, config, up);
        let wanted = attributes.map(|attributes| sets.intern(attributes));
        self.exported.put(alike, wanted);
        wanted
    }

    pub(super) fn withdraw(&mut self, nlri: Nlri) {
        self.withdrawn[nlri.family() as usize].push(nlri);
    }

    pub(super) fn announce(&mut self, nlri: Nlri, set: Id) {
        let key = (nlri.family(), set);
        let index = self.groups.get(key).unwrap_or_else(|| {
            self.announced.push((set, Vec::with_capacity(16)));
            self.groups.put(key, self.announced.len() - 1);
            self.announced.len() - 1
        });
        self.announced[index].1.push(nlri);
    }

    /// Takes what was packed for others too.
    pub(super) fn take_packed(&mut self, packed: &[Arc<Packed>]) {
        self.packed.extend(packed.iter().cloned());
    }

    /// What was found, withdrawals first.
    pub(super) fn finish(self, sets: &mut Interner<Attributes>) -> Vec<Arc<Packed>> {
        let mut packed = self.packed;
        for prefixes in
            self.withdrawn.iter().flat_map(|prefixes| prefixes.chunks(PREFIXES_PER_UPDATE))
        {
            packed.push(Arc::new(Packed::new(Update::withdraw(prefixes.iter().copied()))));
        }
        for (set, prefixes) in self.announced {
            let attributes = sets.get(set);
            if prefixes.len() <= PREFIXES_PER_UPDATE {
                let update = Update::announce(Arc::clone(attributes), prefixes);
                packed.push(Arc::new(Packed::new(update)));
                continue;
            }
            for prefixes in prefixes.chunks(PREFIXES_PER_UPDATE) {
                let update = Update::announce(Arc::clone(attributes), prefixes.iter().copied());
                packed.push(Arc::new(Packed::new(update)));
            }
        }
        self.exported.release(sets, |exported| exported);
        packed
    }
}

//! What a peer was told and is still to be told.
//!
//! For each prefix that concerns the peer there are four octets: which attributes it was told
//! (its Adj-RIB-Out), and whether the prefix waits to be looked at. What waits goes in this
//! order: prefixes that the peer may have to be told are gone, then those that changed, then the
//! walks through the whole table, which begin where a session, a policy or a ROUTE-REFRESH does.
//! So a whole table on its way never holds up a change.
//!
//! A peer that takes several paths of a family (RFC 7911) is told of the best of them, each under
//! a number of ours; which, is kept beside the table and only for such peers.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::net::IpAddr;
use std::sync::Arc;

use ipnet::IpNet;

use super::export::{self, Sender};
use super::interner::{Id, Interner};
use super::memo::{Alike, Memo};
use super::paged::Paged;
use super::paths::Multipath;
use super::peer::{Peer, PeerConfig, PeerId, PeerUp};
use super::table::{Best, Context, EntryId, From, Table};
use crate::message::{Nlri, PathId, Update};
use crate::rov::{self, Validity, VrpTable};
use crate::{Attributes, Family};

/// How many prefixes one [`Update`] holds at most.
const PREFIXES_PER_UPDATE: usize = 1000;

/// How many prefixes are looked at in one go: enough to pack them well, few enough to take about
/// a millisecond.
const PREFIXES_PER_STAGE: u32 = 4096;

/// What lasts as long as a peer is up.
#[derive(Clone, Debug)]
pub(super) struct Session {
    pub(super) up: PeerUp,
    told: Paged<Told>,
    advertised: usize,
    urgent: VecDeque<EntryId>,
    changed: VecDeque<EntryId>,
    walks: VecDeque<Walk>,
    /// Worked out and ready for the wire.
    staged: VecDeque<Staged>,
    /// What the peer was told of the prefixes marked with [`Told::PATHS`].
    paths: HashMap<EntryId, Paths>,
}

/// What is ready for the wire.
#[derive(Clone, Debug)]
enum Staged {
    Update(Update),
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

/// Which attributes a peer was told for a prefix, below; whether the prefix waits, above.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
struct Told(u32);

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
struct Batch {
    withdrawn: [Vec<Nlri>; 2],
    announced: Vec<(Id, Vec<Nlri>)>,
    groups: Memo<(Family, Id), usize>,
    exported: Memo<Alike<Learnt>, Option<Id>>,
}

impl Told {
    const URGENT: u32 = Id::MAX + 1;
    const CHANGED: u32 = Self::URGENT << 1;
    /// The peer was told of paths, which stand beside the table.
    const PATHS: u32 = Self::CHANGED << 1;

    const fn set(self) -> Option<Id> {
        Id::new(self.0 & Id::MAX)
    }

    /// The peer was told of the prefix.
    const fn is_told(self) -> bool {
        self.0 & (Id::MAX | Self::PATHS) != 0
    }

    const fn with_set(self, set: Option<Id>) -> Self {
        let number = match set {
            Some(set) => set.number(),
            None => 0,
        };
        Self(self.0 & !Id::MAX | number)
    }
}

impl Session {
    pub(super) fn new(up: PeerUp) -> Self {
        Self {
            up,
            told: Paged::default(),
            advertised: 0,
            urgent: VecDeque::new(),
            changed: VecDeque::new(),
            walks: VecDeque::new(),
            staged: VecDeque::new(),
            paths: HashMap::new(),
        }
    }

    /// How many routes the peer was told.
    pub(super) const fn advertised(&self) -> usize {
        self.advertised
    }

    /// The paths that the peer was told of a prefix, and their attributes.
    pub(super) fn told(&self, id: EntryId) -> Vec<(PathId, Id)> {
        if let Some(paths) = self.paths.get(&id) {
            return paths.clone();
        }
        let set = self.told.get(id).and_then(|told| told.set());
        set.map(|set| (PathId::NONE, set)).into_iter().collect()
    }

    /// Whether the peer was told of a prefix.
    pub(super) fn was_told(&self, id: EntryId) -> bool {
        self.told.get(id).is_some_and(|told| told.is_told())
    }

    /// Whether the peer is told of several paths of a family.
    pub(super) fn sends_paths(&self, family: Family) -> bool {
        self.up.send_paths.families.contains(family)
    }

    pub(super) fn negotiated(&self, family: Family) -> bool {
        self.up.families.contains(&family)
    }

    /// The best route of a prefix of a negotiated family is another; `may_tell`: the peer may be
    /// told of it, if policy agrees.
    pub(super) fn touch(&mut self, table: &mut Table, id: EntryId, may_tell: bool) {
        let known = self.told.get(id).copied().unwrap_or_default();
        let (flag, queue) = if may_tell {
            (Told::CHANGED, &mut self.changed)
        } else if known.is_told() {
            (Told::URGENT, &mut self.urgent)
        } else {
            // What waits already will be found gone.
            return;
        };
        if known.0 & flag != 0 {
            return;
        }
        if known == Told::default() {
            table.pin(id);
        }
        self.told.slot(id).0 |= flag;
        queue.push_back(id);
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
    pub(super) fn pop_staged(&mut self) -> Option<Update> {
        match self.staged.pop_front()? {
            Staged::Update(update) => Some(update),
            mark @ Staged::Mark(_) => {
                self.staged.push_front(mark);
                Some(Update::default())
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
    pub(super) fn is_settled(&self) -> bool {
        self.staged.is_empty()
            && self.urgent.is_empty()
            && self.changed.is_empty()
            && self.walks.is_empty()
    }

    /// Looks at some of what waits and stages what the peer does not know yet.
    pub(super) fn stage(&mut self, speaker: &mut Speaker<'_>) {
        let mut batch = Batch::new();
        let mut left = PREFIXES_PER_STAGE;
        while left > 0 {
            let (id, flag) = match self.urgent.pop_front() {
                Some(id) => (id, Told::URGENT),
                None => match self.changed.pop_front() {
                    Some(id) => (id, Told::CHANGED),
                    None => break,
                },
            };
            left -= 1;
            self.tell(id, flag, false, &mut batch, speaker);
        }
        self.urgent.shrink_to(PREFIXES_PER_STAGE as usize);
        if self.changed.is_empty() {
            self.changed.shrink_to(PREFIXES_PER_STAGE as usize);
        }
        if left == PREFIXES_PER_STAGE
            && let Some(walk) = self.walks.pop_front()
        {
            self.walk_on(walk, &mut batch, speaker);
        }
        batch.finish(&mut self.staged, speaker.sets);
    }

    /// One stage of a walk; the entries within it go by prefix.
    fn walk_on(&mut self, walk: Walk, batch: &mut Batch, speaker: &mut Speaker<'_>) {
        let (wanted, next, end, again) = match walk {
            Walk::Family { family, next, end, again } => (family, next, end, again),
            Walk::EndOfRib(family) => {
                self.staged.push_back(Staged::Update(Update::end_of_rib(family)));
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
        let table = &speaker.table;
        let told_of = |id: &EntryId| {
            let entry = table.entry(*id);
            entry.best().is_some() && entry.family() == wanted
        };
        let mut ids: Vec<(IpNet, EntryId)> =
            (next..until).filter(told_of).map(|id| (table.prefix(id), id)).collect();
        ids.sort_unstable();
        for (_, id) in ids {
            self.tell(id, 0, again, batch, speaker);
        }
        if until < end {
            self.walks.push_front(Walk::Family { family: wanted, next: until, end, again });
        }
    }

    /// Compares what the peer should know of a prefix with what it knows.
    fn tell(
        &mut self,
        id: EntryId,
        flag: u32,
        again: bool,
        batch: &mut Batch,
        speaker: &mut Speaker<'_>,
    ) {
        let prefix = speaker.table.prefix(id);
        let before = self.told.get(id).copied().unwrap_or_default();
        if self.sends_paths(Family::of(&prefix)) {
            let any = self.tell_paths(id, &prefix, again, batch, speaker);
            let told = if any { Told::PATHS } else { 0 };
            let after = Told(before.0 & !flag & !Told::PATHS | told);
            self.remember(id, before, after, speaker.table);
            return;
        }
        let known = before.set();
        let wanted = batch.wanted(id, &prefix, &self.up, speaker);
        if known != wanted {
            if let Some(set) = wanted {
                speaker.sets.hold(set);
                self.advertised += 1;
            }
            if let Some(set) = known {
                speaker.sets.release(set);
                self.advertised -= 1;
            }
        }
        match wanted {
            Some(set) if again || known != wanted => batch.announce(prefix.into(), set),
            None if known.is_some() => batch.withdraw(prefix.into()),
            _ => {}
        }
        let after = Told(before.0 & !flag).with_set(wanted);
        self.remember(id, before, after, speaker.table);
    }

    fn remember(&mut self, id: EntryId, before: Told, after: Told, table: &mut Table) {
        if after != before {
            *self.told.slot(id) = after;
        }
        match (before == Told::default(), after == Told::default()) {
            (true, false) => table.pin(id),
            (false, true) => table.unpin(id),
            _ => {}
        }
    }

    /// Compares the paths that the peer should know of a prefix with those that it knows; whether
    /// there is any.
    fn tell_paths(
        &mut self,
        id: EntryId,
        prefix: &IpNet,
        again: bool,
        batch: &mut Batch,
        speaker: &mut Speaker<'_>,
    ) -> bool {
        let known = self.paths.remove(&id).unwrap_or_default();
        let wanted = batch.wanted_paths(id, prefix, &self.up, speaker);
        self.advertised += wanted.len();
        self.advertised -= known.len();
        for (path_id, set) in &wanted {
            speaker.sets.hold(*set);
            if again || !known.contains(&(*path_id, *set)) {
                batch.announce(Nlri::new(*prefix, *path_id), *set);
            }
        }
        for (path_id, set) in known {
            if wanted.iter().all(|(other, _)| *other != path_id) {
                batch.withdraw(Nlri::new(*prefix, path_id));
            }
            speaker.sets.release(set);
        }
        let any = !wanted.is_empty();
        if any {
            self.paths.insert(id, wanted);
        }
        any
    }

    /// The session has ended: nothing of it holds any prefix or attributes.
    pub(super) fn forget(self, table: &mut Table, sets: &mut Interner<Attributes>) {
        for (id, told) in self.told.iter().filter(|(_, told)| **told != Told::default()) {
            if let Some(set) = told.set() {
                sets.release(set);
            }
            table.unpin(id);
        }
        for (_, set) in self.paths.into_values().flatten() {
            sets.release(set);
        }
    }
}

impl Batch {
    fn new() -> Self {
        Self {
            withdrawn: Default::default(),
            announced: Vec::new(),
            groups: Memo::new(),
            exported: Memo::new(),
        }
    }

    /// What the peer should know of a prefix of whose paths it is told the best; the batch holds
    /// it.
    fn wanted(
        &mut self,
        id: EntryId,
        prefix: &IpNet,
        up: &PeerUp,
        speaker: &mut Speaker<'_>,
    ) -> Option<Id> {
        let best = speaker.table.entry(id).best()?;
        self.exported(best, prefix, up, speaker)
    }

    /// The paths that the peer should know of a prefix, the best first; the batch holds their
    /// attributes. What it sent itself is not told back, nor does it take a place.
    fn wanted_paths(
        &mut self,
        id: EntryId,
        prefix: &IpNet,
        up: &PeerUp,
        speaker: &mut Speaker<'_>,
    ) -> Paths {
        let context = Context {
            peers: speaker.peers,
            igp: speaker.igp,
            sets: speaker.sets,
            sources: &speaker.table.sources,
            multipath: Multipath::default(),
        };
        let ranked = speaker.table.ranked(id, speaker.id, context);
        let told = ranked.into_iter().filter_map(|route| {
            let set = self.exported(route, prefix, up, speaker)?;
            Some((route.source.path_id(route.from), set))
        });
        told.take(up.send_paths.most).collect()
    }

    /// What a route becomes for the peer; the batch holds it.
    fn exported(
        &mut self,
        best: Best,
        prefix: &IpNet,
        up: &PeerUp,
        speaker: &mut Speaker<'_>,
    ) -> Option<Id> {
        let Speaker { ours, config, sets, .. } = speaker;
        let sources = &speaker.table.sources;
        if !export::may_tell(best, sources, speaker.id, config.asn != ours.asn, speaker.client) {
            return None;
        }
        let class = config.export.class(prefix);
        let peer = best.peer(sources);
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

    fn withdraw(&mut self, nlri: Nlri) {
        self.withdrawn[nlri.family() as usize].push(nlri);
    }

    fn announce(&mut self, nlri: Nlri, set: Id) {
        let key = (nlri.family(), set);
        let index = self.groups.get(key).unwrap_or_else(|| {
            self.announced.push((set, Vec::with_capacity(16)));
            self.groups.put(key, self.announced.len() - 1);
            self.announced.len() - 1
        });
        self.announced[index].1.push(nlri);
    }

    /// Stages what was found, withdrawals first.
    fn finish(self, staged: &mut VecDeque<Staged>, sets: &mut Interner<Attributes>) {
        for prefixes in
            self.withdrawn.iter().flat_map(|prefixes| prefixes.chunks(PREFIXES_PER_UPDATE))
        {
            staged.push_back(Staged::Update(Update::withdraw(prefixes.iter().copied())));
        }
        for (set, prefixes) in self.announced {
            let attributes = sets.get(set);
            if prefixes.len() <= PREFIXES_PER_UPDATE {
                staged
                    .push_back(Staged::Update(Update::announce(Arc::clone(attributes), prefixes)));
                continue;
            }
            for prefixes in prefixes.chunks(PREFIXES_PER_UPDATE) {
                staged.push_back(Staged::Update(Update::announce(
                    Arc::clone(attributes),
                    prefixes.iter().copied(),
                )));
            }
        }
        self.exported.release(sets, |exported| exported);
    }
}

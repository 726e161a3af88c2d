//! Peers that are told the same: what they were told, worked out, packed and encoded once.
//!
//! Peers form a group if all that [`export`](super::export) looks at is the same for them:
//! [`Terms`]. The group has one Adj-RIB-Out, eight octets for each prefix: the attributes, and who
//! sent the route, for the one member to whom it does not go back. What changes in it is written to
//! a log of a few pieces, which the members read each at their own pace; how they keep what of it
//! they were told is in [`member`](super::member). Members at the end of the log make the next
//! piece. One that falls behind the beginning of the log leaves it, and from then on what it knows
//! is kept apart from what the group knows, until they are the same again.
//!
//! The first member's walk through the table is what works the group's routes out; those of later
//! members find them there.

use std::collections::{BTreeMap, VecDeque};
use std::ops::Range;
use std::sync::Arc;

use super::export;
use super::interner::{Id, Interner};
use super::member::Member;
use super::paged::Paged;
use super::peer::{Peer, PeerConfig, PeerId, PeerUp};
use super::session::{Batch, PREFIXES_PER_STAGE, Speaker};
use super::table::{Best, EntryId, From, Table};
use crate::message::{Nlri, Packed};
use crate::{Asn, Attributes, Family, FamilySet};

/// Pieces of the log that wait for members: what a member may be behind before it is on its own.
/// Each takes less than half a megabyte.
const PIECES: usize = if cfg!(test) { 2 } else { 8 };

/// The number of a group.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct GroupId(usize);

/// The groups that have members.
#[derive(Clone, Debug, Default)]
pub(super) struct Groups {
    slots: Vec<Option<Group>>,
}

/// All of a peer on which depends what it is told, but who it is.
#[derive(Clone, Debug)]
#[expect(clippy::struct_excessive_bools, reason = "each is asked by itself")]
pub(super) struct Terms {
    /// Of one of the members; the others' are alike.
    pub(super) config: PeerConfig,
    pub(super) up: PeerUp,
    pub(super) ebgp: bool,
    pub(super) client: bool,
    exports_learnt: bool,
    asks_rpki: bool,
    families: FamilySet,
}

#[derive(Clone, Debug)]
pub(super) struct Group {
    pub(super) terms: Arc<Terms>,
    told: Paged<Told>,
    /// Above every entry of which the group was ever told.
    pub(super) high: EntryId,
    urgent: VecDeque<EntryId>,
    changed: VecDeque<EntryId>,
    pub(super) log: VecDeque<Piece>,
    /// The number of the piece that is the first of the log.
    pub(super) first: u64,
    pub(super) members: BTreeMap<PeerId, Member>,
    /// By family, entries whose routes nobody has looked at by these terms.
    unjudged: [Range<EntryId>; 2],
}

/// What the group's members know of a prefix, below; whether it waits to be looked at, above.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
struct Told {
    word: u32,
    sender: u32,
}

/// What members know of a prefix: attributes, and who sent them and so is told nothing.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(super) struct Seen {
    pub(super) set: Option<Id>,
    sender: Option<PeerId>,
}

/// A change of what members know. Whoever has it holds the attributes before and, if nothing is
/// known after, the entry.
#[derive(Clone, Copy, Debug)]
pub(super) struct Item {
    pub(super) id: EntryId,
    pub(super) before: Seen,
    pub(super) after: Seen,
}

/// Some changes, in the order in which they are told.
#[derive(Clone, Debug)]
pub(super) struct Piece {
    pub(super) items: Vec<Item>,
    /// It is from a walk: who has yet to walk there himself need not be told.
    pub(super) of_walk: bool,
    /// Above every entry of which the group had been told before.
    pub(super) high: EntryId,
    /// For those who take every change, once one of them asks.
    pub(super) packed: Option<Vec<Arc<Packed>>>,
    /// How many routes more such a member knows.
    pub(super) more: isize,
    /// Those who sent a route that is named here.
    pub(super) senders: Vec<PeerId>,
    /// Members that have not read it.
    pub(super) readers: usize,
}

impl Told {
    const URGENT: u32 = Id::MAX + 1;
    const CHANGED: u32 = Self::URGENT << 1;
    const LEARNT: u32 = Self::CHANGED << 1;
    const FLAGS: u32 = Self::URGENT | Self::CHANGED;

    fn seen(self) -> Seen {
        Seen {
            set: Id::new(self.word & Id::MAX),
            sender: (self.word & Self::LEARNT != 0).then_some(PeerId(self.sender)),
        }
    }

    /// The same flags but those of `without`, and what is seen now.
    fn with(self, seen: Seen, without: u32) -> Self {
        let learnt = if seen.sender.is_some() { Self::LEARNT } else { 0 };
        let flags = self.word & Self::FLAGS & !without;
        Self {
            word: flags | learnt | seen.set.map_or(0, Id::number),
            sender: seen.sender.map_or(0, |sender| sender.0),
        }
    }
}

impl Seen {
    /// What a member knows.
    pub(super) fn by(self, member: PeerId) -> Option<Id> {
        self.set.filter(|_| self.sender != Some(member))
    }
}

impl Item {
    fn release(self, table: &mut Table, sets: &mut Interner<Attributes>) {
        if let Some(set) = self.before.set {
            sets.release(set);
        }
        if self.after.set.is_none() {
            table.unpin(self.id);
        }
    }
}

impl Piece {
    /// The piece for those who take every change.
    pub(super) fn packed(&mut self, speaker: &mut Speaker<'_>) -> &[Arc<Packed>] {
        let items = &self.items;
        self.packed.get_or_insert_with(|| {
            let mut batch = Batch::new();
            // Where another sent the same, only the two senders see a change.
            for item in items.iter().filter(|item| item.before.set != item.after.set) {
                let nlri = Nlri::from(speaker.table.prefix(item.id));
                match item.after.set {
                    Some(set) => batch.announce(nlri, set),
                    None => batch.withdraw(nlri),
                }
            }
            batch.finish(speaker.sets)
        })
    }
}

impl Terms {
    /// Those of a peer in its session; `families`: those of which it is told one path.
    pub(super) fn new(peer: &Peer, up: &PeerUp, families: FamilySet) -> Self {
        Self {
            config: peer.config.clone(),
            up: up.clone(),
            ebgp: peer.ebgp,
            client: peer.client,
            exports_learnt: peer.exports_learnt,
            asks_rpki: peer.asks_rpki.1,
            families,
        }
    }

    /// Whether a route becomes the same by both, whatever it is.
    fn are_like(&self, other: &Self, ours: Asn) -> bool {
        let next_hops = |terms: &Self| (terms.up.local_address, terms.up.next_hop_other);
        let agreed = |terms: &Self| (terms.up.agreed.long_lived, terms.up.agreed.extended_next_hop);
        self.families == other.families
            && (self.ebgp, self.client) == (other.ebgp, other.client)
            && next_hops(self) == next_hops(other)
            && agreed(self) == agreed(other)
            && self.config.next_hop_self == other.config.next_hop_self
            && self.config.role_of(ours) == other.config.role_of(ours)
            && self.config.export == other.config.export
    }

    /// Whether a route may concern members at all.
    fn concern(&self, best: Best) -> bool {
        (self.exports_learnt || best.from == From::Local)
            && export::may_tell(best, self.ebgp, self.client)
    }
}

impl Groups {
    pub(super) fn get(&self, id: GroupId) -> &Group {
        self.slots[id.0].as_ref().expect("a group is there as long as it has members")
    }

    pub(super) fn get_mut(&mut self, id: GroupId) -> &mut Group {
        self.slots[id.0].as_mut().expect("a group is there as long as it has members")
    }

    /// A peer is told by these terms from now on, and was told nothing yet. What it has to be told
    /// it finds on a walk through the whole table.
    pub(super) fn join(&mut self, id: PeerId, terms: Terms, ours: Asn, end: EntryId) -> GroupId {
        let like =
            |slot: &Option<Group>| slot.as_ref().is_some_and(|it| it.terms.are_like(&terms, ours));
        let at = self.slots.iter().position(like).unwrap_or_else(|| {
            let free = self.slots.iter().position(Option::is_none).unwrap_or_else(|| {
                self.slots.push(None);
                self.slots.len() - 1
            });
            self.slots[free] = Some(Group::new(terms));
            free
        });
        let group = GroupId(at);
        self.get_mut(group).join(id, end);
        group
    }

    /// A peer is told by these terms no longer.
    pub(super) fn leave(
        &mut self,
        group: GroupId,
        id: PeerId,
        table: &mut Table,
        sets: &mut Interner<Attributes>,
    ) {
        let there = self.get_mut(group);
        if let Some(member) = there.members.remove(&id) {
            if let Some(cursor) = member.cursor() {
                there.skip(cursor, table, sets);
            }
            member.forget(table, sets);
        }
        if there.members.is_empty()
            && let Some(group) = self.slots[group.0].take()
        {
            group.forget(table, sets);
        }
    }

    /// A member is told by other terms from now on. It is to walk through the whole table, to be
    /// told what differs.
    pub(super) fn change(
        &mut self,
        group: GroupId,
        id: PeerId,
        terms: Terms,
        ours: Asn,
        (table, sets): (&mut Table, &mut Interner<Attributes>),
    ) -> GroupId {
        let there = self.get_mut(group);
        if there.terms.are_like(&terms, ours) {
            return group;
        }
        let others = |slot: &Option<Group>| {
            slot.as_ref().is_some_and(|group| group.terms.are_like(&terms, ours))
        };
        if self.get(group).members.len() == 1 && !self.slots.iter().any(others) {
            // What it was told stays where it is.
            self.get_mut(group).judge_all_anew(terms, table.end());
            return group;
        }
        let known = self.get(group).known(id, table);
        for (entry, set) in &known {
            sets.hold(*set);
            table.pin(*entry);
        }
        self.leave(group, id, table, sets);
        let group = self.join(id, terms, ours, table.end());
        if let Some(member) = self.get_mut(group).members.get_mut(&id) {
            member.knows(known);
        }
        group
    }

    /// The best route of a prefix is another, or what is to be told of it may be. `only`: those
    /// whose policy asks what the RPKI says.
    pub(super) fn touch(&mut self, table: &mut Table, id: EntryId, only_rpki: bool) {
        let (family, best) = (table.entry(id).family(), table.entry(id).best());
        for group in self.slots.iter_mut().flatten() {
            if group.terms.families.contains(family) && (!only_rpki || group.terms.asks_rpki) {
                group.touch(table, id, best);
            }
        }
    }
}

impl Group {
    fn new(terms: Terms) -> Self {
        Self {
            terms: Arc::new(terms),
            told: Paged::default(),
            high: 0,
            urgent: VecDeque::new(),
            changed: VecDeque::new(),
            log: VecDeque::new(),
            first: 0,
            members: BTreeMap::new(),
            unjudged: [0..0, 0..0],
        }
    }

    fn join(&mut self, id: PeerId, end: EntryId) {
        if self.members.len() < 2 {
            // Of what its only member sent the group has not heard.
            self.unjudged = [0..end, 0..end];
        }
        self.members.insert(id, Member::new(self.end(), self.terms.families, end));
    }

    fn judge_all_anew(&mut self, terms: Terms, end: EntryId) {
        self.terms = Arc::new(terms);
        self.unjudged = [0..end, 0..end];
    }

    /// The number of the piece that comes next.
    pub(super) fn end(&self) -> u64 {
        self.first + self.log.len() as u64
    }

    fn touch(&mut self, table: &mut Table, id: EntryId, best: Option<Best>) {
        let concerns = best.is_some_and(|best| {
            let alone = || {
                let sender = best.peer(&table.sources);
                self.members.len() == 1 && self.members.keys().next().copied() == sender
            };
            self.terms.concern(best) && !alone()
        });
        let known = self.told.get(id).copied().unwrap_or_default();
        let (flag, queue) = if concerns {
            (Told::CHANGED, &mut self.changed)
        } else if known.seen().set.is_some() {
            (Told::URGENT, &mut self.urgent)
        } else {
            // What waits already will be found gone.
            return;
        };
        if known.word & flag != 0 {
            return;
        }
        if known == Told::default() {
            table.pin(id);
        }
        self.told.slot(id).word |= flag;
        queue.push_back(id);
    }

    /// What the group knows of a prefix.
    pub(super) fn seen(&self, id: EntryId) -> Seen {
        self.told.get(id).copied().unwrap_or_default().seen()
    }

    /// What a member was told of a prefix, or will have been told when it has read the log.
    pub(super) fn known_by(&self, id: PeerId, entry: EntryId, family: Family) -> Option<Id> {
        self.members.get(&id)?.known(id, entry, family, self.seen(entry))
    }

    /// How many prefixes a member was told.
    pub(super) fn advertised(&self, id: PeerId) -> usize {
        self.members.get(&id).map_or(0, Member::advertised)
    }

    /// All that a member was told, pieces that it has not read left out.
    fn known(&self, id: PeerId, table: &Table) -> Vec<(EntryId, Id)> {
        let Some(member) = self.members.get(&id) else { return Vec::new() };
        let unread = member.cursor().map_or(0, |cursor| cursor - self.first);
        let unread = self.log.iter().skip(usize::try_from(unread).unwrap_or(usize::MAX));
        let mut before: BTreeMap<EntryId, Seen> = BTreeMap::new();
        for item in unread.filter(|_| member.cursor().is_some()).flat_map(|piece| &piece.items) {
            before.entry(item.id).or_insert(item.before);
        }
        let known = table.ids().filter_map(|entry| {
            let seen = before.get(&entry).copied().unwrap_or_else(|| self.seen(entry));
            Some((entry, member.known(id, entry, table.entry(entry).family(), seen)?))
        });
        known.collect()
    }

    /// Whether a member knows all.
    pub(super) fn is_settled(&self, id: PeerId, end: EntryId) -> bool {
        self.urgent.is_empty()
            && self.changed.is_empty()
            && self.members.get(&id).is_none_or(|member| member.is_settled(self.end(), end))
    }

    /// Whether prefixes wait to be looked at.
    pub(super) fn has_changes(&self) -> bool {
        !self.urgent.is_empty() || !self.changed.is_empty()
    }

    /// Looks at some of what waits, and writes what became of it to the log.
    pub(super) fn stage(&mut self, batch: &mut Batch, speaker: &mut Speaker<'_>) {
        let high = self.high;
        let mut items = Vec::new();
        for _ in 0..PREFIXES_PER_STAGE {
            let (id, flag) = match self.urgent.pop_front() {
                Some(id) => (id, Told::URGENT),
                None => match self.changed.pop_front() {
                    Some(id) => (id, Told::CHANGED),
                    None => break,
                },
            };
            items.extend(self.judge(id, flag, batch, speaker));
        }
        self.urgent.shrink_to(PREFIXES_PER_STAGE as usize);
        if self.changed.is_empty() {
            self.changed.shrink_to(PREFIXES_PER_STAGE as usize);
        }
        self.write(items, (false, high), None, speaker);
    }

    /// Works out what members are to know of a prefix; what they know now, if that is another.
    pub(super) fn judge(
        &mut self,
        id: EntryId,
        flag: u32,
        batch: &mut Batch,
        speaker: &mut Speaker<'_>,
    ) -> Option<Item> {
        let old = self.told.get(id).copied().unwrap_or_default();
        let best = speaker.table.entry(id).best().filter(|best| self.terms.concern(*best));
        let set = best.and_then(|best| batch.exported(best, id, speaker));
        let sender = set.and(best).and_then(|best| best.peer(&speaker.table.sources));
        let (before, after) = (old.seen(), Seen { set, sender });
        let new = old.with(after, flag);
        if new != old {
            *self.told.slot(id) = new;
        }
        let (was, is) = (old != Told::default(), new != Told::default());
        if before == after {
            match (was, is) {
                (false, true) => speaker.table.pin(id),
                (true, false) => speaker.table.unpin(id),
                _ => {}
            }
            return None;
        }
        if let Some(set) = after.set {
            speaker.sets.hold(set);
            self.high = self.high.max(id + 1);
        }
        // Where nothing is known any more the item takes over the hold of the entry.
        if !was || (is && after.set.is_none()) {
            speaker.table.pin(id);
        }
        Some(Item { id, before, after })
    }

    /// Whether a member's walk has to work a prefix out first.
    pub(super) fn is_unjudged(&self, id: EntryId, family: Family) -> bool {
        self.unjudged[family as usize].contains(&id)
    }

    /// All entries of a family below have been worked out.
    pub(super) fn judged_below(&mut self, until: EntryId, family: Family) {
        let unjudged = &mut self.unjudged[family as usize];
        unjudged.start = unjudged.start.max(until);
    }

    /// Writes changes to the log for all members but one, who knows.
    pub(super) fn write(
        &mut self,
        items: Vec<Item>,
        (of_walk, high): (bool, EntryId),
        but: Option<PeerId>,
        speaker: &mut Speaker<'_>,
    ) {
        if items.is_empty() {
            return;
        }
        let end = self.end();
        let mut readers = 0;
        for (id, member) in &mut self.members {
            match member.cursor() {
                Some(cursor) if Some(*id) == but => {
                    debug_assert_eq!(cursor, end, "who walks has read the log");
                    member.read_to(end + 1);
                }
                Some(_) => readers += 1,
                None if Some(*id) == but => {}
                None => member.note(*id, &items, speaker.table, speaker.sets),
            }
        }
        let is_known = |seen: &Seen| isize::from(seen.set.is_some());
        let more = items.iter().map(|item| is_known(&item.after) - is_known(&item.before)).sum();
        let both = |item: &Item| [item.before.sender, item.after.sender];
        let mut senders: Vec<PeerId> = Vec::new();
        for sender in items.iter().flat_map(both).flatten() {
            if senders.last() != Some(&sender) && !senders.contains(&sender) {
                senders.push(sender);
            }
        }
        self.log.push_back(Piece { items, of_walk, high, packed: None, more, senders, readers });
        self.trim(speaker.table, speaker.sets);
        while self.log.len() > PIECES {
            self.drop_slowest(speaker.table, speaker.sets);
        }
    }

    /// The members that are furthest behind leave the log.
    fn drop_slowest(&mut self, table: &mut Table, sets: &mut Interner<Attributes>) {
        for (id, member) in &mut self.members {
            if member.cursor() == Some(self.first) {
                member.fall_behind(*id, &self.log, (table, sets), |entry| {
                    self.told.get(entry).copied().unwrap_or_default().seen()
                });
                self.log.iter_mut().for_each(|piece| piece.readers -= 1);
            }
        }
        self.trim(table, sets);
    }

    /// A member leaves unread what is in the log from a piece on.
    fn skip(&mut self, cursor: u64, table: &mut Table, sets: &mut Interner<Attributes>) {
        let read = usize::try_from(cursor - self.first).expect("the log is short");
        self.log.iter_mut().skip(read).for_each(|piece| piece.readers -= 1);
        self.trim(table, sets);
    }

    /// Lets go of the pieces that nobody waits for.
    pub(super) fn trim(&mut self, table: &mut Table, sets: &mut Interner<Attributes>) {
        while self.log.front().is_some_and(|piece| piece.readers == 0)
            && let Some(piece) = self.log.pop_front()
        {
            self.first += 1;
            piece.items.into_iter().for_each(|item| item.release(table, sets));
        }
    }

    fn forget(self, table: &mut Table, sets: &mut Interner<Attributes>) {
        for piece in self.log {
            piece.items.into_iter().for_each(|item| item.release(table, sets));
        }
        for (id, told) in self.told.iter().filter(|(_, told)| **told != Told::default()) {
            if let Some(set) = told.seen().set {
                sets.release(set);
            }
            table.unpin(id);
        }
    }
}

//! One of the peers that are told the same: how far it is, and what it knows that differs.
//!
//! What a member knows of a prefix is, in this order:
//!
//! 1. what is [kept](Kept) for it, if anything is;
//! 2. nothing, in that part of the table where it has yet to walk (`untold`);
//! 3. what its group knows: as of the piece of the log that the member reads next, or as of now if
//!    it has left the log.
//!
//! So a member that has read the log and walked through the table costs nothing for each prefix,
//! and one that is far behind four octets for each that changed meanwhile.

use std::collections::VecDeque;
use std::ops::Range;

use super::group::{Group, Item, Piece, Seen};
use super::interner::{Id, Interner};
use super::paged::Paged;
use super::peer::PeerId;
use super::session::{Batch, PREFIXES_PER_STAGE, Speaker};
use super::table::{EntryId, Table};
use crate::message::Nlri;
use crate::{Attributes, Family, FamilySet};

#[derive(Clone, Debug)]
pub(super) struct Member {
    /// The piece of the log that comes next; `None`: it has left the log.
    cursor: Option<u64>,
    kept: Paged<Kept>,
    /// How many are kept.
    keeps: usize,
    /// Nothing is kept below that is not in `untold` too.
    scan: EntryId,
    /// Of what is kept, that which is to be withdrawn.
    urgent: VecDeque<EntryId>,
    /// By family.
    untold: [Range<EntryId>; 2],
    families: FamilySet,
    advertised: usize,
}

/// What a member knows of a prefix, while that is not what it would be otherwise.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
struct Kept(u32);

impl Kept {
    const THERE: u32 = 1 << 31;
    /// It waits in `urgent`.
    const URGENT: u32 = 1 << 30;

    fn new(set: Option<Id>) -> Self {
        Self(Self::THERE | set.map_or(0, Id::number))
    }

    #[expect(clippy::option_option, reason = "nothing is kept, or that nothing is known")]
    fn get(self) -> Option<Option<Id>> {
        (self.0 & Self::THERE != 0).then(|| Id::new(self.0 & Id::MAX))
    }
}

impl Member {
    /// It knows nothing yet, and has read the log up to a piece.
    pub(super) fn new(cursor: u64, families: FamilySet, end: EntryId) -> Self {
        let untold = |family| if families.contains(family) { 0..end } else { 0..0 };
        Self {
            cursor: Some(cursor),
            kept: Paged::default(),
            keeps: 0,
            scan: EntryId::MAX,
            urgent: VecDeque::new(),
            untold: Family::ALL.map(untold),
            families,
            advertised: 0,
        }
    }

    /// It was told this by another group. The attributes and entries are held already.
    pub(super) fn knows(&mut self, known: Vec<(EntryId, Id)>) {
        self.advertised = known.len();
        self.keeps = known.len();
        for (id, set) in known {
            *self.kept.slot(id) = Kept::new(Some(set));
        }
    }

    pub(super) const fn cursor(&self) -> Option<u64> {
        self.cursor
    }

    pub(super) fn read_to(&mut self, cursor: u64) {
        self.cursor = Some(cursor);
    }

    pub(super) const fn advertised(&self) -> usize {
        self.advertised
    }

    #[expect(clippy::option_option, reason = "nothing is kept, or that nothing is known")]
    fn kept(&self, id: EntryId) -> Option<Option<Id>> {
        self.kept.get(id).and_then(|kept| kept.get())
    }

    fn is_untold(&self, id: EntryId, family: Family) -> bool {
        self.untold[family as usize].contains(&id)
    }

    /// What it knows of a prefix, given what its group knows.
    pub(super) fn known(&self, id: PeerId, at: EntryId, family: Family, seen: Seen) -> Option<Id> {
        match self.kept(at) {
            Some(kept) => kept,
            None if self.is_untold(at, family) => None,
            None => seen.by(id),
        }
    }

    /// Whether it knows all that its group knows.
    pub(super) fn is_settled(&self, end_of_log: u64, end: EntryId) -> bool {
        self.cursor == Some(end_of_log) && self.untold.iter().all(|it| it.start >= it.end.min(end))
    }

    /// From where on it has to walk through a family, although nobody has asked for it.
    pub(super) fn walks_from(&self, family: Family, end: EntryId) -> Option<EntryId> {
        let untold = &self.untold[family as usize];
        (untold.start < untold.end.min(end)).then_some(untold.start)
    }

    fn keep(
        &mut self,
        id: EntryId,
        set: Option<Id>,
        table: &mut Table,
        sets: &mut Interner<Attributes>,
    ) {
        if let Some(set) = set {
            sets.hold(set);
        }
        let kept = self.kept.slot(id);
        let old = std::mem::replace(kept, Kept::new(set));
        kept.0 |= old.0 & Kept::URGENT;
        if old.get().is_none() {
            self.keeps += 1;
            table.pin(id);
        }
        if let Some(set) = old.get().flatten() {
            sets.release(set);
        }
        self.scan = self.scan.min(id);
    }

    /// What it knows is what it would be otherwise.
    fn keep_no_more(&mut self, id: EntryId, table: &mut Table, sets: &mut Interner<Attributes>) {
        let Some(old) = self.kept(id) else { return };
        *self.kept.slot(id) = Kept::default();
        self.keeps -= 1;
        if self.keeps == 0 {
            self.kept = Paged::default();
            self.urgent = VecDeque::new();
            self.scan = EntryId::MAX;
        }
        if let Some(old) = old {
            sets.release(old);
        }
        table.unpin(id);
    }

    /// It has left the log: what it knew before these changes is kept.
    pub(super) fn note(
        &mut self,
        id: PeerId,
        items: &[Item],
        table: &mut Table,
        sets: &mut Interner<Attributes>,
    ) {
        for item in items {
            let (before, after) = (item.before.by(id), item.after.by(id));
            if before == after {
                continue;
            }
            if self.kept(item.id).is_none() {
                if self.is_untold(item.id, table.entry(item.id).family()) {
                    continue;
                }
                self.keep(item.id, before, table, sets);
            }
            self.scan = self.scan.min(item.id);
            if after.is_none() {
                self.hurry(item.id);
            }
        }
    }

    /// What is kept of a prefix is to be withdrawn.
    fn hurry(&mut self, id: EntryId) {
        let kept = self.kept.slot(id);
        if kept.get().flatten().is_some() && kept.0 & Kept::URGENT == 0 {
            kept.0 |= Kept::URGENT;
            self.urgent.push_back(id);
        }
    }

    /// It leaves the log, of which it has read nothing. What is above all that it was ever told it
    /// will find on a walk; so a table that loads costs one that is slow nothing.
    pub(super) fn fall_behind(
        &mut self,
        id: PeerId,
        log: &VecDeque<Piece>,
        (table, sets): (&mut Table, &mut Interner<Attributes>),
        now: impl Fn(EntryId) -> Seen,
    ) {
        self.cursor = None;
        let high = log.front().map_or(0, |piece| piece.high);
        for family in Family::ALL.into_iter().filter(|family| self.families.contains(*family)) {
            let untold = &mut self.untold[family as usize];
            if untold.start >= untold.end {
                *untold = high..EntryId::MAX;
            }
        }
        for item in log.iter().flat_map(|piece| &piece.items) {
            let untold = self.is_untold(item.id, table.entry(item.id).family());
            if !untold && self.kept(item.id).is_none() {
                self.keep(item.id, item.before.by(id), table, sets);
            }
            if now(item.id).by(id).is_none() && self.kept(item.id).is_some() {
                self.hurry(item.id);
            }
        }
    }

    /// Nothing of it holds any prefix or attributes.
    pub(super) fn forget(self, table: &mut Table, sets: &mut Interner<Attributes>) {
        for (id, kept) in self.kept.iter() {
            if let Some(kept) = kept.get() {
                if let Some(set) = kept {
                    sets.release(set);
                }
                table.unpin(id);
            }
        }
    }

    /// Compares what it is to know of a prefix with what it knows.
    fn tell(
        &mut self,
        id: EntryId,
        (known, wanted): (Option<Id>, Option<Id>),
        again: bool,
        batch: &mut Batch,
        table: &Table,
    ) {
        if wanted.is_some_and(|_| again) || known != wanted {
            let nlri = Nlri::from(table.prefix(id));
            match wanted {
                Some(set) => batch.announce(nlri, set),
                None => batch.withdraw(nlri),
            }
        }
        self.advertised += usize::from(wanted.is_some());
        self.advertised -= usize::from(known.is_some());
    }

    /// Takes in a piece of the log by its items.
    fn read(&mut self, id: PeerId, piece: &Piece, batch: &mut Batch, speaker: &mut Speaker<'_>) {
        for item in &piece.items {
            let family = speaker.table.entry(item.id).family();
            let untold = self.is_untold(item.id, family);
            let known = self.known(id, item.id, family, item.before);
            // Its own walk will get there.
            if untold && (piece.of_walk || known.is_none()) {
                continue;
            }
            let wanted = item.after.by(id);
            self.tell(item.id, (known, wanted), false, batch, speaker.table);
            if !untold || wanted.is_none() {
                self.keep_no_more(item.id, speaker.table, speaker.sets);
            } else if known != wanted {
                self.keep(item.id, wanted, speaker.table, speaker.sets);
            }
        }
    }

    /// The next prefix of which something else is kept than the group knows.
    fn next_kept(&mut self, urgent: bool) -> Option<EntryId> {
        if urgent {
            while let Some(id) = self.urgent.pop_front() {
                let kept = self.kept.slot(id);
                if kept.0 & Kept::URGENT != 0 {
                    kept.0 &= !Kept::URGENT;
                    return Some(id);
                }
            }
            return None;
        }
        let found = self.kept.find_from(self.scan, |kept| kept.get().is_some());
        self.scan = found.map_or(EntryId::MAX, |id| id + 1);
        found
    }
}

impl Group {
    /// Stages what a member does not know yet, its walks left out; whether there was anything.
    pub(super) fn advance(
        &mut self,
        id: PeerId,
        batch: &mut Batch,
        speaker: &mut Speaker<'_>,
    ) -> bool {
        let Some(member) = self.members.get(&id) else { return false };
        if member.cursor == Some(self.end()) || member.cursor.is_none() {
            if !self.has_changes() {
                return member.cursor.is_none() && self.catch_up(id, batch, speaker);
            }
            self.stage(batch, speaker);
        }
        let Some(member) = self.members.get_mut(&id) else { return false };
        let Some(cursor) = member.cursor else {
            return self.catch_up(id, batch, speaker);
        };
        let Some(at) = cursor.checked_sub(self.first).and_then(|at| usize::try_from(at).ok())
        else {
            return false;
        };
        let Some(piece) = self.log.get_mut(at) else {
            // What waited came to nothing.
            return true;
        };
        member.cursor = Some(cursor + 1);
        piece.readers -= 1;
        let takes_all = member.keeps == 0 && member.untold.iter().all(Range::is_empty);
        if takes_all && !piece.senders.contains(&id) {
            member.advertised = member.advertised.saturating_add_signed(piece.more);
            batch.take_packed(piece.packed(speaker));
        } else {
            member.read(id, piece, batch, speaker);
        }
        self.trim(speaker.table, speaker.sets);
        true
    }

    /// A member that has left the log is told some of what it does not know.
    fn catch_up(&mut self, id: PeerId, batch: &mut Batch, speaker: &mut Speaker<'_>) -> bool {
        let Some(mut member) = self.members.remove(&id) else { return false };
        let mut looked = 0;
        for urgent in [true, false] {
            while looked < PREFIXES_PER_STAGE
                && let Some(entry) = member.next_kept(urgent)
            {
                looked += 1;
                let family = speaker.table.entry(entry).family();
                let untold = member.is_untold(entry, family);
                let known = member.kept(entry).flatten();
                let wanted = self.seen(entry).by(id);
                member.tell(entry, (known, wanted), false, batch, speaker.table);
                if !untold || wanted.is_none() {
                    member.keep_no_more(entry, speaker.table, speaker.sets);
                } else if known != wanted {
                    let scan = member.scan;
                    member.keep(entry, wanted, speaker.table, speaker.sets);
                    member.scan = scan;
                }
            }
        }
        let end = speaker.table.end();
        let walked = member.untold.iter().all(|it| it.start >= it.end.min(end));
        if looked == 0 && walked && !self.has_changes() {
            // It knows what the group knows.
            debug_assert_eq!(member.keeps, 0, "what is kept has been told");
            member.untold = [0..0, 0..0];
            member.cursor = Some(self.end());
            looked += 1;
        }
        self.members.insert(id, member);
        looked > 0
    }

    /// One stage of a member's walk: it is told what it does not know of these entries, with
    /// `again` all.
    pub(super) fn walk(
        &mut self,
        id: PeerId,
        family: Family,
        within: Range<EntryId>,
        again: bool,
        batch: &mut Batch,
        speaker: &mut Speaker<'_>,
    ) {
        let Some(mut member) = self.members.remove(&id) else { return };
        let high = self.high;
        let concerns = |entry: &EntryId| {
            let there = speaker.table.entry(*entry);
            there.family() == family
                && (there.best().is_some()
                    || self.seen(*entry).set.is_some()
                    || member.kept(*entry).is_some())
        };
        let mut entries: Vec<_> = (within.clone().filter(concerns))
            .map(|entry| (speaker.table.prefix(entry), entry))
            .collect();
        entries.sort_unstable();
        let mut items = Vec::new();
        for (_, entry) in entries {
            let known = member.known(id, entry, family, self.seen(entry));
            if self.is_unjudged(entry, family) {
                items.extend(self.judge(entry, 0, batch, speaker));
            }
            let wanted = self.seen(entry).by(id);
            member.tell(entry, (known, wanted), again, batch, speaker.table);
            member.keep_no_more(entry, speaker.table, speaker.sets);
        }
        self.judged_below(within.end, family);
        let untold = &mut member.untold[family as usize];
        untold.start = untold.start.max(within.end);
        self.members.insert(id, member);
        self.write(items, (true, high), Some(id), speaker);
    }

    /// From where on a member has to walk through a family, although nobody has asked for it.
    pub(super) fn walks_from(&self, id: PeerId, family: Family, end: EntryId) -> Option<EntryId> {
        self.members.get(&id)?.walks_from(family, end)
    }
}

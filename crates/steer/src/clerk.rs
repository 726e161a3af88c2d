//! A site's side of the fleet's shared state: it keeps the site's record fresh, knows who else is
//! there, and gets permits into and out of the ledgers. It does no input or output itself.
//!
//! The shared state is a table in which each change gets the next revision of the whole table,
//! a change can be made conditional on an entry's revision, and everybody is told of every change
//! in order. JetStream's key-value buckets are such.
//!
//! # Who is there
//! No clock is compared with another. Each site writes its record at least four times a lease, and
//! says in it the newest revision that it had seen. A record counts while it had seen one of our
//! own records that we wrote less than a lease ago: then it was written less than a lease ago too,
//! however late it came. So a site that has not put together a record that counts for a lease can
//! be sure that nobody counts on it any more.
//!
//! # Who may go
//! A permit begins with the site's name in the prefix's ledger, written on the condition that
//! nobody has changed the ledger since the view that it was judged by. From then on nobody counts
//! on the site. It may go once as many others as the floor needs have shown in their records that
//! they saw the name: should they be cut off later, what they last knew is true of this site. It
//! is given back only after a record has been written that says that the prefix is announced
//! again.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use ipnet::IpNet;

use crate::floor::{FleetView, FloorSpec, Ledger, Member, Record};
use crate::{Answer, Instant, Spec};

/// The longest that an answer of the shared state is waited for.
const PATIENCE: Duration = Duration::from_secs(1);
/// So many records are written in a lease.
const BEATS: u32 = 4;

/// Counts the changes of the shared state; the first is 1.
pub type Revision = u64;

/// An entry of the shared state.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Entry {
    /// What a site tells of itself.
    Record {
        /// The site.
        site: String,
        /// What it tells.
        record: Record,
    },
    /// Who may withdraw a prefix.
    Ledger {
        /// The prefix.
        prefix: IpNet,
        /// Who.
        ledger: Ledger,
    },
}

/// A change to be made; what became of it goes to [`Clerk::handle_written`].
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Write {
    /// Unique among the writes of this clerk.
    pub number: u64,
    /// What is written.
    pub entry: Entry,
    /// The entry's revision before, or the write is refused; 0: there is no entry. `None`:
    /// whatever was there.
    pub expected: Option<Revision>,
}

/// Why a change was not made, or not to our knowledge.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum WriteError {
    /// Somebody has changed the entry.
    Conflict,
    /// In words; the change may have been made all the same.
    Failed(String),
}

/// What the driver must do, in the order given.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Output {
    /// Give the site's record as it is now to [`Clerk::compose`], before anything else happens.
    Compose,
    /// Make a change.
    Write(Write),
    /// Give the answer to [`crate::Steer::handle_permit`].
    Answer {
        /// What was asked about.
        prefix: IpNet,
        /// The answer.
        answer: Answer,
    },
    /// Give the view to [`crate::Steer::handle_fleet`].
    View(Arc<FleetView>),
    /// The shared state can be read and written.
    Reached,
    /// It cannot: the connection is of no use any more, and another is wanted.
    Lost(String),
}

/// A site's side of the shared state.
#[derive(Clone, Debug)]
pub struct Clerk {
    site: String,
    lease: Duration,
    members: Vec<Member>,
    floors: BTreeMap<IpNet, FloorSpec>,
    link: Link,
    /// Others' records and our own, as they were last seen, with their revisions.
    records: BTreeMap<String, (Revision, Record)>,
    ledgers: BTreeMap<IpNet, (Revision, Ledger)>,
    /// The newest revision that we were told of.
    newest: Revision,
    /// Our own records that were written, oldest first, and when they were put together.
    marks: VecDeque<(Revision, Instant)>,
    /// The record that was last put together, and its number.
    last: Record,
    composed: u64,
    /// The number of the last record that was written.
    written: u64,
    /// Whether the record is to be written before it is due.
    changed: bool,
    next_beat: Instant,
    writes: BTreeMap<u64, InFlight>,
    next_number: u64,
    /// When each question is given up.
    asks: BTreeMap<IpNet, Instant>,
    /// What is announced again, and the number of the record that must be written first.
    releases: BTreeMap<IpNet, u64>,
    /// Permits that the steering knows of.
    granted: BTreeSet<IpNet>,
    /// Ledgers with our name in them, and the revision that brought it there.
    entered: BTreeMap<IpNet, Revision>,
    /// Ledgers that somebody has changed since this revision, which we have not been told yet.
    behind: BTreeMap<IpNet, Revision>,
    /// The sites whose records count, and the revision that these must have seen.
    fresh: BTreeSet<String>,
    judged_by: Option<Revision>,
    view: Arc<FleetView>,
    /// Whether the view is to be made anew.
    stale: bool,
    outputs: VecDeque<Output>,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Link {
    Down,
    /// A first record, which counts for nothing, shows whether anything can be written.
    Greeting,
    Up,
}

#[derive(Clone, Debug)]
struct InFlight {
    what: What,
    sent: Instant,
}

#[derive(Clone, Debug)]
enum What {
    Record { composed: u64 },
    Ledger { prefix: IpNet, ledger: Ledger, expected: Revision },
}

impl Clerk {
    /// A clerk who cannot reach anything yet; `None` if the site shares nothing.
    pub fn new(spec: &Spec) -> Option<Self> {
        let lease = spec.lease?;
        Some(Self {
            site: spec.site.clone(),
            lease,
            members: spec.members.clone(),
            floors: floors(spec),
            link: Link::Down,
            records: BTreeMap::new(),
            ledgers: BTreeMap::new(),
            newest: 0,
            marks: VecDeque::new(),
            last: Record::default(),
            composed: 0,
            written: 0,
            changed: false,
            next_beat: Instant::START,
            writes: BTreeMap::new(),
            next_number: 0,
            asks: BTreeMap::new(),
            releases: BTreeMap::new(),
            granted: BTreeSet::new(),
            entered: BTreeMap::new(),
            behind: BTreeMap::new(),
            fresh: BTreeSet::new(),
            judged_by: None,
            view: Arc::default(),
            stale: false,
            outputs: VecDeque::new(),
        })
    }

    /// Judges by another specification from now on.
    pub fn replace(&mut self, spec: &Spec) {
        self.members.clone_from(&spec.members);
        self.floors = floors(spec);
        self.lease = spec.lease.unwrap_or(self.lease);
    }

    /// Whether the shared state can be read and written, as far as is known.
    pub fn reaches(&self) -> bool {
        self.link == Link::Up
    }

    /// The sites that are there, this one too, and all ledgers; as last known, if the state cannot
    /// be reached.
    pub fn view(&self) -> &FleetView {
        &self.view
    }

    /// A connection begins: every entry comes anew, then [`Clerk::handle_connected`].
    pub fn handle_connecting(&mut self) {
        self.records.clear();
        self.ledgers.clear();
        self.behind.clear();
        self.entered.clear();
        self.marks.clear();
        self.newest = 0;
        self.stale = true;
    }

    /// Every entry has come; changes come from now on.
    pub fn handle_connected(&mut self, now: Instant) {
        self.link = Link::Greeting;
        self.next_beat = now;
        self.beat(now);
    }

    /// The connection is gone, or none could be had.
    pub fn handle_disconnected(&mut self, why: String) {
        if self.link != Link::Down {
            self.lose(why);
        }
    }

    /// Takes in an entry, new or changed.
    pub fn handle_entry(&mut self, now: Instant, revision: Revision, entry: &Entry) {
        self.newest = self.newest.max(revision);
        match entry {
            Entry::Record { site, record } => {
                match self.records.get_mut(site) {
                    Some((older, _)) if *older >= revision => return,
                    // Nearly all are such: a sign of life.
                    Some((older, known)) if known.says_the_same(record) => {
                        (*older, known.seen) = (revision, record.seen);
                    }
                    _ => {
                        self.stale |= *site != self.site;
                        self.records.insert(site.clone(), (revision, record.clone()));
                    }
                }
                self.stale |= self.is_fresh(site, record) != self.fresh.contains(site);
            }
            Entry::Ledger { prefix, ledger } => {
                // Who has written there waits until we show that we know.
                self.changed |= self.last.announces.contains(prefix);
                self.learn(*prefix, revision, ledger.clone());
            }
        }
        self.carry_on(now);
    }

    /// The site asks whether it may withdraw the prefix. There is an answer within a second.
    pub fn ask(&mut self, now: Instant, prefix: IpNet) {
        self.releases.remove(&prefix);
        self.stale |= self.granted.remove(&prefix);
        if self.link == Link::Down {
            self.answer(prefix, Answer::Unreachable);
            return;
        }
        self.asks.insert(prefix, now + self.patience());
        self.carry_on(now);
    }

    /// The site announces the prefix again and has no more use for its permit.
    pub fn release(&mut self, now: Instant, prefix: IpNet) {
        self.stale |= self.granted.remove(&prefix);
        self.asks.remove(&prefix);
        self.releases.insert(prefix, self.composed + 1);
        self.note_change(now);
    }

    /// Something about the site's record may have changed; `record` is what it would say now.
    pub fn handle_record(&mut self, now: Instant, record: &Record) {
        if !self.last.says_the_same(record) {
            self.note_change(now);
        }
    }

    /// Writes the site's record. Returns whether others may count on it from now on: the site's
    /// lease begins anew.
    pub fn compose(&mut self, now: Instant, mut record: Record) -> bool {
        if self.link == Link::Down {
            return false;
        }
        let counts = self.link == Link::Up;
        record.seen = if counts { self.newest } else { 0 };
        self.composed += 1;
        self.changed = false;
        self.next_beat = now + self.lease / BEATS;
        self.stale |= !self.last.says_the_same(&record);
        self.last = record.clone();
        let what = What::Record { composed: self.composed };
        self.write(now, what, Entry::Record { site: self.site.clone(), record }, None);
        self.carry_on(now);
        counts
    }

    /// Takes in what became of a write.
    pub fn handle_written(
        &mut self,
        now: Instant,
        number: u64,
        result: Result<Revision, WriteError>,
    ) {
        // Those of a connection that was given up are of no interest.
        let Some(InFlight { what, sent }) = self.writes.remove(&number) else { return };
        match (result, what) {
            (Err(WriteError::Failed(why)), _) => {
                self.lose(why);
                return;
            }
            (Ok(revision), What::Record { composed }) => {
                self.written = composed;
                self.marks.push_back((revision, sent));
                if self.link == Link::Greeting {
                    self.link = Link::Up;
                    self.changed = true;
                    self.outputs.push_back(Output::Reached);
                    self.stale = true;
                }
                self.give_back_strays();
            }
            (Ok(revision), What::Ledger { prefix, ledger, .. }) => {
                if ledger.withdrawn.contains(&self.site) {
                    self.entered.insert(prefix, revision);
                } else {
                    self.entered.remove(&prefix);
                }
                self.learn(prefix, revision, ledger);
            }
            (Err(WriteError::Conflict), What::Ledger { prefix, expected, .. }) => {
                if self.page(&prefix).0 == expected {
                    self.behind.insert(prefix, expected);
                }
            }
            (Err(WriteError::Conflict), What::Record { .. }) => {}
        }
        self.carry_on(now);
    }

    /// When [`Clerk::handle_timeout`] has something to do; `None`: not by time alone.
    pub fn poll_timeout(&self) -> Option<Instant> {
        if self.link == Link::Down {
            return None;
        }
        let writes = self.writes.values().map(|it| it.sent + self.patience());
        let asks = self.asks.values().copied();
        let expiry = self.marks.front().map(|(_, sent)| *sent + self.lease);
        let beat = (!self.record_in_flight()).then_some(self.next_beat);
        writes.chain(asks).chain(expiry).chain(beat).min()
    }

    /// Does what is due by now.
    pub fn handle_timeout(&mut self, now: Instant) {
        let patience = self.patience();
        if self.link == Link::Down {
            return;
        }
        if self.writes.values().any(|it| it.sent + patience <= now) {
            self.lose("no answer to a write".to_owned());
            return;
        }
        self.carry_on(now);
        let over = self.asks.iter().filter(|(_, until)| **until <= now).map(|(prefix, _)| *prefix);
        for prefix in over.collect::<Vec<_>>() {
            let why = match (self.link, self.entered.contains_key(&prefix)) {
                (Link::Up, true) => "too few other sites have confirmed it yet",
                (Link::Up, false) => "other sites ask at the same moment",
                _ => {
                    self.answer(prefix, Answer::Unreachable);
                    continue;
                }
            };
            self.answer(prefix, Answer::Refused(why.to_owned()));
        }
        if now >= self.next_beat {
            self.beat(now);
        }
    }

    /// The next thing to do, oldest first.
    pub fn poll_output(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    fn patience(&self) -> Duration {
        PATIENCE.min(self.lease / BEATS)
    }

    fn record_in_flight(&self) -> bool {
        self.writes.values().any(|it| matches!(it.what, What::Record { .. }))
            || self.outputs.contains(&Output::Compose)
    }

    fn note_change(&mut self, now: Instant) {
        self.changed = true;
        self.carry_on(now);
    }

    fn beat(&mut self, now: Instant) {
        if self.record_in_flight() {
            return;
        }
        let echoed = self.marks.back().is_none_or(|(revision, _)| *revision <= self.newest);
        if !echoed && now >= self.next_beat {
            // We were not even told of our own last record.
            self.lose("changes are no longer told".to_owned());
            return;
        }
        self.outputs.push_back(Output::Compose);
    }

    fn page(&self, prefix: &IpNet) -> (Revision, Ledger) {
        self.ledgers.get(prefix).cloned().unwrap_or_default()
    }

    fn is_in_ledger(&self, prefix: &IpNet) -> bool {
        self.ledgers.get(prefix).is_some_and(|(_, ledger)| ledger.withdrawn.contains(&self.site))
    }

    fn learn(&mut self, prefix: IpNet, revision: Revision, ledger: Ledger) {
        let page = self.ledgers.entry(prefix).or_default();
        if page.0 < revision {
            self.stale |= page.1 != ledger;
            *page = (revision, ledger);
            self.behind.remove(&prefix);
        }
    }

    fn write(&mut self, now: Instant, what: What, entry: Entry, expected: Option<Revision>) {
        self.next_number += 1;
        let number = self.next_number;
        self.writes.insert(number, InFlight { what, sent: now });
        self.outputs.push_back(Output::Write(Write { number, entry, expected }));
    }

    fn write_ledger(&mut self, now: Instant, prefix: IpNet, expected: Revision, ledger: Ledger) {
        let what = What::Ledger { prefix, ledger: ledger.clone(), expected };
        self.write(now, what, Entry::Ledger { prefix, ledger }, Some(expected));
    }

    /// Whether the ledger as we know it may be written.
    fn is_open(&self, prefix: &IpNet) -> bool {
        let in_flight =
            |it: &InFlight| matches!(&it.what, What::Ledger { prefix: of, .. } if of == prefix);
        !self.behind.contains_key(prefix) && !self.writes.values().any(in_flight)
    }

    fn answer(&mut self, prefix: IpNet, answer: Answer) {
        self.asks.remove(&prefix);
        if answer == Answer::Granted {
            self.granted.insert(prefix);
            self.stale = true;
        }
        self.outputs.push_back(Output::Answer { prefix, answer });
    }

    /// Everything that may be possible after something has changed.
    fn carry_on(&mut self, now: Instant) {
        self.refresh(now);
        if self.link != Link::Up {
            return;
        }
        for prefix in self.asks.keys().copied().collect::<Vec<_>>() {
            self.judge(now, prefix);
        }
        let written = self.written;
        let ready = self.releases.iter().filter(|(_, after)| **after <= written);
        for prefix in ready.map(|(prefix, _)| *prefix).collect::<Vec<_>>() {
            self.give_back(now, prefix);
        }
        if self.changed {
            self.beat(now);
        }
    }

    /// Answers a question, or writes the name that answers it.
    fn judge(&mut self, now: Instant, prefix: IpNet) {
        if !self.is_open(&prefix) {
            return;
        }
        if let Some(entered) = self.entered.get(&prefix)
            && self.is_in_ledger(&prefix)
        {
            if self.may_withdraw(&prefix, *entered).is_ok() {
                self.answer(prefix, Answer::Granted);
            }
            return;
        }
        // A name of an earlier connection is written again, lest a late change of then takes it
        // out.
        let may = if self.is_in_ledger(&prefix) { Ok(()) } else { self.may_withdraw(&prefix, 0) };
        match may {
            Ok(()) => {
                let (revision, mut ledger) = self.page(&prefix);
                ledger.withdrawn.insert(self.site.clone());
                self.write_ledger(now, prefix, revision, ledger);
            }
            Err(why) => self.answer(prefix, Answer::Refused(why)),
        }
    }

    /// Whether the floor lets the prefix go, if only those count who have seen the revision.
    fn may_withdraw(&self, prefix: &IpNet, seen: Revision) -> Result<(), String> {
        let Some(floor) = self.floors.get(prefix) else { return Ok(()) };
        let may = |view| floor.may_withdraw(&self.members, &self.site, prefix, view);
        if seen == 0 {
            return may(&self.view);
        }
        let mut view = FleetView::default();
        let ledger = self.view.ledgers.get(prefix).cloned().unwrap_or_default();
        view.ledgers.insert(*prefix, ledger);
        for (site, record) in &self.view.sites {
            let saw = self.records.get(site).is_some_and(|(_, record)| record.seen >= seen);
            if saw && record.announces.contains(prefix) {
                let record = Record { announces: [*prefix].into(), ..Record::default() };
                view.sites.insert(site.clone(), record);
            }
        }
        may(&view)
    }

    fn give_back(&mut self, now: Instant, prefix: IpNet) {
        if !self.is_open(&prefix) {
            return;
        }
        let (revision, mut ledger) = self.page(&prefix);
        if ledger.withdrawn.remove(&self.site) {
            self.write_ledger(now, prefix, revision, ledger);
        } else {
            self.releases.remove(&prefix);
        }
    }

    /// A name that was written without our knowing, and that nobody has asked for any more.
    fn give_back_strays(&mut self) {
        for (prefix, (_, ledger)) in &self.ledgers {
            let wanted = self.granted.contains(prefix) || self.asks.contains_key(prefix);
            let announced = self.last.announces.contains(prefix);
            if ledger.withdrawn.contains(&self.site) && announced && !wanted {
                self.releases.entry(*prefix).or_insert(self.written);
            }
        }
    }

    /// Forgets own records that are too old to prove anything, and tells of another view.
    fn refresh(&mut self, now: Instant) {
        let lease = self.lease;
        while self.marks.front().is_some_and(|(_, sent)| *sent + lease <= now) {
            self.marks.pop_front();
        }
        if self.link != Link::Up {
            return;
        }
        // Of each record that came, it was looked at then whether it counts.
        let proof = self.proof();
        if !self.stale && proof == self.judged_by {
            return;
        }
        self.judged_by = proof;
        let fresh = self.records.iter().filter(|(site, (_, record))| self.is_fresh(site, record));
        let fresh = fresh.map(|(site, _)| site);
        if !self.stale && fresh.clone().eq(&self.fresh) {
            return;
        }
        let fresh: BTreeSet<String> = fresh.cloned().collect();
        let plain = |record: &Record| Record { seen: 0, ..record.clone() };
        let others = fresh.iter().filter(|site| **site != self.site);
        let mut sites: BTreeMap<String, Record> =
            others.map(|site| (site.clone(), plain(&self.records[site].1))).collect();
        sites.insert(self.site.clone(), plain(&self.last));
        let ledgers = self.ledgers.iter().map(|(prefix, (_, ledger))| {
            let mut ledger = ledger.clone();
            if !self.granted.contains(prefix) {
                // Until we may go, those who are cut off may rely on us.
                ledger.withdrawn.remove(&self.site);
            }
            (*prefix, ledger)
        });
        let view = FleetView { sites, ledgers: ledgers.collect() };
        self.fresh = fresh;
        self.stale = false;
        if view != *self.view {
            self.view = Arc::new(view);
            self.outputs.push_back(Output::View(Arc::clone(&self.view)));
        }
    }

    /// What a record must have seen to count.
    fn proof(&self) -> Option<Revision> {
        self.marks.front().map(|(revision, _)| *revision)
    }

    fn is_fresh(&self, site: &str, record: &Record) -> bool {
        site == self.site || self.proof().is_some_and(|proof| record.seen >= proof)
    }

    fn lose(&mut self, why: String) {
        self.link = Link::Down;
        self.writes.clear();
        self.outputs.retain(|it| !matches!(it, Output::Compose | Output::Write(_)));
        self.outputs.push_back(Output::Lost(why));
        for prefix in self.asks.keys().copied().collect::<Vec<_>>() {
            self.answer(prefix, Answer::Unreachable);
        }
    }
}

fn floors(spec: &Spec) -> BTreeMap<IpNet, FloorSpec> {
    let floors = spec.prefixes.iter().filter_map(|it| Some((it.prefix, it.floor.clone()?)));
    floors.collect()
}

#[cfg(test)]
mod tests;

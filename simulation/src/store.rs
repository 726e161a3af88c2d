//! The fleet's shared state: a table with revisions, of whose changes all who watch are told in
//! order, and each site's way to it. A site's side is `steer`'s clerk, driven as the daemon does.
//!
//! The table, the ways and the clerks have a time of their own. Each site shows several times a
//! lease that it is there, and all are told of it; in quiet hours nothing else happens here. So
//! once nothing else has happened for some leases, this time stands still, for all of them at the
//! same moment, until something does. To the clerks it is as if no time had passed.

use std::collections::BTreeMap;
use std::rc::Rc;
use std::time::Duration;

use anycast_steer::clerk::{Entry, Output, Revision, Write, WriteError};
use anycast_steer::{Answer, Clerk, Instant, Record};
use ipnet::IpNet;

use crate::plan::{Sabotage, Way};
use crate::world::{ANY_LIFE, Event, World};

/// The longest that the store's answer to a question is on its way, with what precedes it.
pub(crate) const PATIENCE: Duration = Duration::from_secs(2);

/// The longest that a site waits before it tries to connect again, in milliseconds.
const RECONNECT: u64 = 2_000;

/// Leases in which nothing but signs of life must have come before time stands still here.
const QUIET_LEASES: u32 = 2;
/// Up to so many sites each message is slow with the same chance.
const MANY: usize = 4;

/// What all share.
#[derive(Debug, Default)]
pub(crate) struct Store {
    revision: Revision,
    entries: BTreeMap<Key, (Revision, Rc<Entry>)>,
}

#[derive(Clone, Debug, Eq, Ord, PartialEq, PartialOrd)]
enum Key {
    Record(String),
    Ledger(IpNet),
}

/// What is on its way between a site and the store.
#[derive(Clone, Debug)]
pub(crate) enum Message {
    /// To the store: whatever is there, and all changes from now on.
    Connect,
    /// To the store.
    Write(Write),
    /// To the site: whatever is there.
    Snapshot(Vec<(Revision, Rc<Entry>)>),
    /// To the site: a change.
    Changed(Revision, Rc<Entry>),
    /// To the site: what became of a write.
    Written(u64, Result<Revision, WriteError>),
}

/// A site's way to the store, and its clerk.
#[derive(Debug, Default)]
pub(crate) struct Path {
    pub(crate) partition: u64,
    /// What cannot get through: to the store, and from it.
    lost: [bool; 2],
    mended_at: Duration,
    clerk: Option<Clerk>,
    /// When the clerk's clock began, by the store's time.
    begun: Duration,
    /// Which of its connections is in use; messages of others are not for it.
    connection: u64,
    connected: bool,
    /// The connection by which the store tells of changes.
    watching: Option<u64>,
    /// When what was sent last arrives, by the store's time, to the store and from it: the order
    /// is kept.
    last: [Duration; 2],
    /// What was sent and cannot get through: it comes once it can, however late.
    stuck: Vec<(bool, u64, Event)>,
    timer: Option<Duration>,
    published: Option<Record>,
    /// Whether the site's record may be another than was published.
    pub(crate) to_publish: bool,
    /// Since when others count on the site, by the store's time.
    counted: Duration,
}

impl Store {
    /// Whether the site's name is in the prefix's ledger.
    pub(crate) fn has_permit(&self, prefix: &IpNet, site: &str) -> bool {
        match self.entries.get(&Key::Ledger(*prefix)).map(|(_, entry)| &**entry) {
            Some(Entry::Ledger { ledger, .. }) => ledger.withdrawn.contains(site),
            _ => false,
        }
    }

    /// Writes if the entry is still what it was thought to be.
    fn write(
        &mut self,
        entry: &Rc<Entry>,
        expected: Option<Revision>,
    ) -> Result<Revision, WriteError> {
        let key = match &**entry {
            Entry::Record { site, .. } => Key::Record(site.clone()),
            Entry::Ledger { prefix, .. } => Key::Ledger(*prefix),
        };
        let current = self.entries.get(&key).map_or(0, |(revision, _)| *revision);
        if expected.is_some_and(|expected| expected != current) {
            return Err(WriteError::Conflict);
        }
        self.revision += 1;
        self.entries.insert(key, (self.revision, Rc::clone(entry)));
        Ok(self.revision)
    }
}

impl World<'_> {
    /// The store's time.
    pub(crate) fn store_now(&self) -> Duration {
        self.paused_at.unwrap_or(self.now).saturating_sub(self.skipped)
    }

    /// What the clerk's clock shows.
    fn clerk_clock(&self, site: usize) -> Instant {
        let it = &self.sites[site];
        it.local(self.store_now().saturating_sub(it.path.begun))
    }

    /// Something happens that is not a sign of life: the store's time goes on.
    pub(crate) fn stir(&mut self) {
        self.stirred_at = self.now;
        let Some(at) = self.paused_at.take() else { return };
        self.skipped += self.now.saturating_sub(at);
        let store_now = self.store_now();
        for it in &mut self.sites {
            if it.frozen.is_none() && it.path.clerk.as_ref().is_some_and(Clerk::reaches) {
                // As if signs of life had gone on meanwhile.
                let since = store_now.saturating_sub(it.path.counted);
                let clock = it.clock(self.now.saturating_sub(since));
                if let Some(steer) = &mut it.steer {
                    steer.handle_fleet_alive(clock);
                }
            }
        }
    }

    /// If it has been quiet for long, the store's time stands still.
    pub(crate) fn pause_if_quiet(&mut self) {
        let lease = self.plan.specs[0].lease.unwrap_or_default();
        if self.paused_at.is_none() && self.now > self.stirred_at + lease * QUIET_LEASES {
            self.paused_at = Some(self.now);
        }
    }

    /// The daemon begins.
    pub(crate) fn connect_store(&mut self, site: usize) {
        self.stir();
        let begun = self.store_now();
        let it = &mut self.sites[site];
        let path = &mut it.path;
        *path = Path {
            partition: path.partition,
            lost: path.lost,
            mended_at: path.mended_at,
            clerk: Clerk::new(&it.spec),
            begun,
            connection: path.connection + 1,
            last: path.last,
            stuck: std::mem::take(&mut path.stuck),
            ..Path::default()
        };
        let connection = path.connection;
        if path.clerk.is_some() {
            self.dial_store(site, connection);
        }
    }

    /// The daemon has ended, and the kernel closes its connection.
    pub(crate) fn disconnect_store(&mut self, site: usize) {
        self.stir();
        let path = &mut self.sites[site].path;
        path.clerk = None;
        path.connection += 1;
        path.watching = None;
    }

    /// The way is lost.
    pub(crate) fn part(&mut self, site: usize, way: Way, back_after: Duration) {
        self.stir();
        let path = &mut self.sites[site].path;
        path.lost[0] |= way != Way::Back;
        path.lost[1] |= way != Way::There;
        path.partition += 1;
        path.mended_at = path.mended_at.max(self.now + back_after);
        let (partition, at) = (path.partition, path.mended_at);
        self.lasting(at, site, Event::PathBack { partition });
    }

    pub(crate) fn path_back(&mut self, site: usize, partition: u64) {
        let path = &mut self.sites[site].path;
        if path.partition != partition || path.lost == [false; 2] {
            return;
        }
        path.lost = [false; 2];
        let stuck = std::mem::take(&mut path.stuck);
        self.tell(site, || "has its way to the store back".to_owned());
        self.stir();
        for (to_store, life, event) in stuck {
            let at = self.arrival_at_store(site, to_store);
            self.push_store(at, site, life, event);
        }
        let path = &mut self.sites[site].path;
        if path.clerk.is_some() && !path.connected {
            path.connection += 1;
            self.dial_later(site);
        }
    }

    fn dial_later(&mut self, site: usize) {
        let connection = self.sites[site].path.connection;
        let at = self.store_now() + self.dice.millis(100, RECONNECT);
        let life = self.sites[site].life;
        self.push_store(at, site, life, Event::DialStore { connection });
    }

    pub(crate) fn dial_store(&mut self, site: usize, connection: u64) {
        let path = &self.sites[site].path;
        // Once the way is back it dials again.
        if path.connection == connection && path.lost == [false; 2] {
            self.send(site, true, connection, Message::Connect);
        }
    }

    /// When what is sent now arrives: now and then later, always in order.
    fn arrival_at_store(&mut self, site: usize, to_store: bool) -> Duration {
        // A site of a large fleet is told more often, but its way is not slow more often for that.
        let sites = if to_store { 1 } else { self.sites.len() };
        let is_slow = self.dice.chance(1) && (sites <= MANY || self.dice.below(sites) < MANY);
        let slow = if is_slow { self.dice.millis(0, 1_500) } else { Duration::ZERO };
        let spread = self.dice.millis(0, 5);
        let at = self.store_now() + self.plan.sites[site].to_store + spread + slow;
        let last = &mut self.sites[site].path.last[usize::from(to_store)];
        *last = at.max(*last);
        *last
    }

    fn send(&mut self, site: usize, to_store: bool, connection: u64, message: Message) {
        let message = Box::new(message);
        let it = &mut self.sites[site];
        // What was sent arrives, even if the sender has died.
        let (life, event, lost) = if to_store {
            (ANY_LIFE, Event::AtStore { connection, message }, it.path.lost[0])
        } else {
            (it.life, Event::FromStore { connection, message }, it.path.lost[1])
        };
        if lost {
            if to_store || it.path.connection == connection {
                it.path.stuck.push((to_store, life, event));
            }
            return;
        }
        let at = self.arrival_at_store(site, to_store);
        self.push_store(at, site, life, event);
    }

    pub(crate) fn at_store(&mut self, site: usize, connection: u64, message: Message) {
        match message {
            Message::Connect if self.sites[site].path.connection == connection => {
                self.sites[site].path.watching = Some(connection);
                let entries = self.store.entries.values().cloned().collect();
                self.send(site, false, connection, Message::Snapshot(entries));
            }
            Message::Write(Write { number, entry, expected }) => {
                let entry = Rc::new(entry);
                let entering = match &*entry {
                    Entry::Ledger { prefix, ledger } => {
                        let name = &self.sites[site].name;
                        let is_new = !self.store.has_permit(prefix, name);
                        ledger.withdrawn.contains(name).then_some((*prefix, is_new))
                    }
                    Entry::Record { .. } => None,
                };
                let result = self.store.write(&entry, expected);
                if let (Some((prefix, is_new)), Ok(_)) = (entering, &result) {
                    let in_use = self.sites[site].path.connection == connection;
                    self.judge_entry(site, prefix, is_new, in_use);
                }
                match &result {
                    Ok(revision) => self.spread(*revision, &entry),
                    Err(_) => self.report.conflicts += 1,
                }
                self.send(site, false, connection, Message::Written(number, result));
            }
            _ => {}
        }
    }

    /// All who watch are told.
    fn spread(&mut self, revision: Revision, entry: &Rc<Entry>) {
        for site in 0..self.sites.len() {
            if let Some(connection) = self.sites[site].path.watching {
                let message = Message::Changed(revision, Rc::clone(entry));
                self.send(site, false, connection, message);
            }
        }
    }

    pub(crate) fn hear_store(&mut self, site: usize, connection: u64, message: Message) {
        let clock = self.clerk_clock(site);
        let path = &mut self.sites[site].path;
        let Some(clerk) = path.clerk.as_mut().filter(|_| path.connection == connection) else {
            return;
        };
        match message {
            Message::Snapshot(entries) => {
                clerk.handle_connecting();
                for (revision, entry) in entries {
                    clerk.handle_entry(clock, revision, &entry);
                }
                clerk.handle_connected(clock);
                path.connected = true;
            }
            Message::Changed(revision, entry) => clerk.handle_entry(clock, revision, &entry),
            Message::Written(number, result) => clerk.handle_written(clock, number, result),
            Message::Connect | Message::Write(_) => {}
        }
        self.run_clerk(site);
    }

    pub(crate) fn clerk_timer(&mut self, site: usize) {
        let clock = self.clerk_clock(site);
        let path = &mut self.sites[site].path;
        path.timer = None;
        let Some(clerk) = &mut path.clerk else { return };
        if clerk.poll_timeout().is_some_and(|at| at <= clock) {
            clerk.handle_timeout(clock);
        }
        self.run_clerk(site);
    }

    /// Does what the clerk wants, and comes back when it has something to do by time alone.
    pub(crate) fn run_clerk(&mut self, site: usize) {
        while let Some(output) = self.sites[site].path.clerk.as_mut().and_then(Clerk::poll_output) {
            self.perform_output(site, output);
        }
        let it = &mut self.sites[site];
        let Some(due) = it.path.clerk.as_ref().and_then(Clerk::poll_timeout) else { return };
        let at = it.path.begun + it.lasts(due.0) + Duration::from_nanos(100);
        if it.path.timer.is_none_or(|timer| timer > at) {
            it.path.timer = Some(at);
            let life = it.life;
            self.push_store(at, site, life, Event::ClerkTimer);
        }
    }

    fn perform_output(&mut self, site: usize, output: Output) {
        match output {
            Output::Compose => self.compose(site),
            Output::Write(write) => {
                let connection = self.sites[site].path.connection;
                self.send(site, true, connection, Message::Write(write));
            }
            Output::Answer { prefix, answer } => {
                if answer == Answer::Granted {
                    self.judge_permit(site, prefix);
                }
                self.answer(site, prefix, answer);
                self.settle(site);
            }
            Output::View(view) => {
                self.stir();
                let clock = self.sites[site].clock(self.now);
                if let Some(steer) = &mut self.sites[site].steer {
                    steer.handle_fleet(clock, view);
                }
                self.settle(site);
            }
            Output::Reached => {
                self.stir();
                self.tell(site, || "reaches the store".to_owned());
            }
            Output::Lost(why) => {
                self.stir();
                self.tell(site, || format!("reaches the store no more: {why}"));
                let path = &mut self.sites[site].path;
                path.connection += 1;
                path.connected = false;
                self.dial_later(site);
            }
        }
    }

    fn compose(&mut self, site: usize) {
        let (clock, store_now) = (self.clerk_clock(site), self.store_now());
        let Some(record) = self.record(site) else { return };
        let path = &mut self.sites[site].path;
        if path.clerk.as_mut().is_some_and(|clerk| clerk.compose(clock, record)) {
            path.counted = store_now;
            let clock = self.sites[site].clock(self.now);
            if let Some(steer) = &mut self.sites[site].steer {
                steer.handle_fleet_alive(clock);
            }
        }
    }

    /// What the site tells the others of itself.
    fn record(&self, site: usize) -> Option<Record> {
        let it = &self.sites[site];
        let mut record = it.steer.as_ref()?.record();
        if !it.has_neighbor() {
            record.announces.clear();
        }
        Some(record)
    }

    /// Lets others know if the site's record is another than before.
    pub(crate) fn publish(&mut self, site: usize) {
        let Some(record) = self.record(site) else { return };
        if self.sites[site].path.published.as_ref() == Some(&record) {
            return;
        }
        self.stir();
        let clock = self.clerk_clock(site);
        let path = &mut self.sites[site].path;
        if let Some(clerk) = &mut path.clerk {
            clerk.handle_record(clock, &record);
        }
        path.published = Some(record);
    }

    pub(crate) fn ask(&mut self, site: usize, prefix: IpNet) {
        if self.plan.sabotage == Some(Sabotage::GrantsEverything) {
            self.answer(site, prefix, Answer::Granted);
            return;
        }
        if self.plan.sabotage == Some(Sabotage::TrustsTheLedger)
            && self.store.has_permit(&prefix, &self.sites[site].name)
        {
            self.answer(site, prefix, Answer::Granted);
            return;
        }
        self.stir();
        let clock = self.clerk_clock(site);
        if let Some(clerk) = &mut self.sites[site].path.clerk {
            clerk.ask(clock, prefix);
        }
    }

    pub(crate) fn release(&mut self, site: usize, prefix: IpNet) {
        if self.plan.sabotage == Some(Sabotage::KeepsPermits) {
            return;
        }
        self.stir();
        let clock = self.clerk_clock(site);
        if let Some(clerk) = &mut self.sites[site].path.clerk {
            clerk.release(clock, prefix);
        }
    }

    /// Judges by the site's other file from now on.
    pub(crate) fn replace_clerk(&mut self, site: usize) {
        self.stir();
        let it = &mut self.sites[site];
        if let Some(clerk) = &mut it.path.clerk {
            clerk.replace(&it.spec);
        }
    }

    fn answer(&mut self, site: usize, prefix: IpNet, answer: Answer) {
        self.stir();
        self.tell(site, || format!("is answered about {prefix}: {answer:?}"));
        self.judge.answered(site, prefix, &answer);
        let clock = self.sites[site].clock(self.now);
        if let Some(steer) = &mut self.sites[site].steer {
            steer.handle_permit(clock, &prefix, answer);
        }
    }
}

//! The fleet's shared state: a store with compare-and-set, watched by all sites, and each site's
//! way to it.
//!
//! Beats, by which a site shows that it is there, are not events: when the last one came through
//! follows from when the way was cut.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use anycast_steer::{Answer, FleetView, Ledger, Record};
use ipnet::IpNet;

use crate::plan::{Sabotage, Way};
use crate::world::{Event, World};

/// How long a site waits for the store's answer.
pub(crate) const REQUEST_TIMEOUT: Duration = Duration::from_secs(2);

/// The longest that a site waits after a partition before it is connected again.
const RECONNECT: u64 = 2_000;

/// What all share.
#[derive(Debug, Default)]
pub(crate) struct Store {
    /// By site, and when it was last put.
    records: BTreeMap<usize, (Record, Duration)>,
    /// With how often it was written.
    ledgers: BTreeMap<IpNet, (u64, Ledger)>,
}

/// A change, as watchers are told.
#[derive(Clone, Debug)]
pub(crate) enum Change {
    Record { of: usize, record: Record, put: Duration },
    Ledger { prefix: IpNet, ledger: Ledger },
}

/// The store's answer to a request.
#[derive(Debug)]
pub(crate) enum Reply {
    Done,
    Read {
        revision: u64,
        ledger: Ledger,
    },
    /// Somebody else has written in between.
    Conflict,
}

/// A site's way to the store, and what is under way on it.
#[derive(Debug, Default)]
pub(crate) struct Path {
    pub(crate) partition: u64,
    there_lost: bool,
    back_lost: bool,
    /// Since when beats do not come through; `None`: they do.
    silent_since: Option<Duration>,
    /// Since when they are not acknowledged.
    unheard_since: Option<Duration>,
    connected: Option<Duration>,
    /// Others' records, and when they were put.
    known: BTreeMap<usize, (Record, Duration)>,
    ledgers: BTreeMap<IpNet, Ledger>,
    published: Option<Record>,
    queue: VecDeque<Wish>,
    under_way: Option<(u64, Wish, Stage)>,
    requests: u64,
    /// Watched changes come in order.
    last_change: Duration,
    mended_at: Duration,
    /// Permits of which the steering knows.
    granted: BTreeSet<IpNet>,
}

#[derive(Clone, Debug, PartialEq)]
enum Wish {
    Put(Record),
    Ask(IpNet),
    Release(IpNet),
}

#[derive(Clone, Debug)]
enum Stage {
    Read,
    Write { revision: u64, ledger: Ledger },
}

impl Store {
    /// Whether the site's name is in the prefix's ledger.
    pub(crate) fn has_permit(&self, prefix: &IpNet, site: &str) -> bool {
        self.ledgers.get(prefix).is_some_and(|(_, ledger)| ledger.withdrawn.contains(site))
    }
}

impl World<'_> {
    fn shares(&self, site: usize) -> bool {
        self.sites[site].spec.lease.is_some()
    }

    fn beat(&self, site: usize) -> Duration {
        let lease = self.sites[site].spec.lease.unwrap_or_default();
        self.sites[site].lasts(lease / 3)
    }

    /// The last beat up to `at`.
    fn beat_before(&self, site: usize, at: Duration) -> Option<Duration> {
        let connected = self.sites[site].path.connected?;
        let beat = self.beat(site);
        let gone = at.checked_sub(connected)?;
        let beats = u32::try_from(gone.as_nanos() / beat.as_nanos().max(1)).unwrap_or(u32::MAX);
        Some(connected + beat * beats)
    }

    /// When the store last heard of a site.
    fn last_heard(&self, site: usize) -> Option<Duration> {
        let put = self.store.records.get(&site).map(|(_, at)| *at)?;
        let path = &self.sites[site].path;
        let until = path.silent_since.unwrap_or(self.now).min(self.now);
        // Each beat is the record as it is: before the first after a silence there is none.
        let beat =
            self.beat_before(site, until).filter(|_| path.connected.is_some_and(|at| put >= at));
        Some(beat.map_or(put, |beat| beat.max(put)))
    }

    pub(crate) fn connect_store(&mut self, site: usize) {
        if !self.shares(site) {
            return;
        }
        let path = &mut self.sites[site].path;
        *path = Path {
            partition: path.partition,
            there_lost: path.there_lost,
            back_lost: path.back_lost,
            silent_since: path.there_lost.then_some(self.now),
            unheard_since: (path.there_lost || path.back_lost).then_some(self.now),
            requests: path.requests,
            mended_at: path.mended_at,
            last_change: path.last_change,
            ..Path::default()
        };
        if path.unheard_since.is_none() {
            path.connected = Some(self.now);
            self.take_snapshot(site);
            self.publish(site);
        }
    }

    pub(crate) fn disconnect_store(&mut self, site: usize) {
        let path = &mut self.sites[site].path;
        path.silent_since = Some(path.silent_since.unwrap_or(self.now));
        path.unheard_since = Some(path.unheard_since.unwrap_or(self.now));
        path.queue.clear();
        path.under_way = None;
        self.expire_later(site);
    }

    /// The way is lost.
    pub(crate) fn part(&mut self, site: usize, way: Way, back_after: Duration) {
        if !self.shares(site) {
            return;
        }
        let now = self.now;
        let path = &mut self.sites[site].path;
        path.there_lost |= way != Way::Back;
        path.back_lost |= way != Way::There;
        path.partition += 1;
        path.mended_at = path.mended_at.max(now + back_after);
        if path.there_lost {
            path.silent_since = Some(path.silent_since.unwrap_or(now));
        }
        path.unheard_since = Some(path.unheard_since.unwrap_or(now));
        let (partition, at) = (path.partition, path.mended_at);
        let at = at + self.dice.millis(0, RECONNECT);
        self.lasting(at, site, Event::PathBack { partition });
        self.expire_later(site);
    }

    /// All who watch look again when what was heard of the site will be too old.
    fn expire_later(&mut self, of: usize) {
        let Some(heard) = self.last_heard(of) else { return };
        for watcher in 0..self.sites.len() {
            let Some(lease) = self.sites[watcher].spec.lease else { continue };
            let at = heard + self.sites[watcher].lasts(lease) + Duration::from_millis(1);
            self.schedule(at, watcher, Event::Expiry { of });
        }
    }

    pub(crate) fn path_back(&mut self, site: usize, partition: u64) {
        let path = &mut self.sites[site].path;
        if path.partition != partition || !(path.there_lost || path.back_lost) {
            return;
        }
        path.there_lost = false;
        path.back_lost = false;
        if self.sites[site].steer.is_none() {
            return;
        }
        self.tell(site, || "reaches the store again".to_owned());
        let path = &mut self.sites[site].path;
        path.silent_since = None;
        path.unheard_since = None;
        path.connected = Some(self.now);
        self.take_snapshot(site);
        for prefix in self.strays(site) {
            self.enqueue(site, Wish::Release(prefix));
        }
        self.sites[site].path.published = None;
        self.publish(site);
    }

    /// Where the site's name stands although it announces and has no use for it: a release was
    /// lost, or the answer to a question.
    fn strays(&self, site: usize) -> Vec<IpNet> {
        let it = &self.sites[site];
        let asks = |wish: &Wish, prefix: &IpNet| *wish == Wish::Ask(*prefix);
        let wanted = |prefix: &IpNet| {
            let under_way = it.path.under_way.iter().map(|(_, wish, _)| wish);
            it.path.granted.contains(prefix)
                || it.path.queue.iter().chain(under_way).any(|wish| asks(wish, prefix))
        };
        let ledgers = it.path.ledgers.iter();
        let named = ledgers.filter(|(_, ledger)| ledger.withdrawn.contains(&it.name));
        named
            .map(|(prefix, _)| *prefix)
            .filter(|it| self.sites[site].tells(it) && !wanted(it))
            .collect()
    }

    /// All that the store has, in one piece.
    fn take_snapshot(&mut self, site: usize) {
        let known = self.store.records.clone();
        let ledgers = self.store.ledgers.iter();
        let ledgers = ledgers.map(|(prefix, (_, ledger))| (*prefix, ledger.clone())).collect();
        let path = &mut self.sites[site].path;
        path.known = known;
        path.ledgers = ledgers;
        self.show_fleet(site);
    }

    /// What the site knows of the fleet: those of whom it has heard within the lease.
    fn view(&self, site: usize) -> FleetView {
        let path = &self.sites[site].path;
        let lease = self.sites[site].spec.lease.unwrap_or_default();
        let lease = self.sites[site].lasts(lease);
        let fresh = |of: usize, put: Duration| {
            // Beats are of the record that was put last, which may not be known here yet.
            let newest = self.store.records.get(&of).is_some_and(|(_, at)| *at == put);
            let heard = if newest { self.last_heard(of) } else { Some(put) };
            heard.is_some_and(|at| at + lease > self.now)
        };
        let sites = path.known.iter().filter(|(of, (_, put))| fresh(**of, *put));
        FleetView {
            sites: sites.map(|(of, it)| (self.sites[*of].name.clone(), it.0.clone())).collect(),
            ledgers: path.ledgers.clone(),
        }
    }

    fn show_fleet(&mut self, site: usize) {
        if self.sites[site].path.back_lost || !self.shares(site) {
            return;
        }
        let view = self.view(site);
        let clock = self.sites[site].clock(self.now);
        if let Some(steer) = &mut self.sites[site].steer {
            steer.handle_fleet(clock, view);
        }
    }

    pub(crate) fn expiry(&mut self, site: usize, of: usize) {
        let lease = self.sites[site].spec.lease.unwrap_or_default();
        let lease = self.sites[site].lasts(lease);
        if self.last_heard(of).is_some_and(|at| at + lease <= self.now) {
            self.show_fleet(site);
        }
    }

    pub(crate) fn watched(&mut self, site: usize, change: Change) {
        if self.sites[site].path.back_lost {
            // The snapshot after the partition will have it.
            return;
        }
        let path = &mut self.sites[site].path;
        match change {
            Change::Record { of, record, put } => drop(path.known.insert(of, (record, put))),
            Change::Ledger { prefix, ledger } => drop(path.ledgers.insert(prefix, ledger)),
        }
        self.show_fleet(site);
    }

    /// All who watch are told.
    fn spread(&mut self, change: &Change) {
        for site in 0..self.sites.len() {
            if self.sites[site].steer.is_none() || self.sites[site].path.back_lost {
                continue;
            }
            let slow =
                if self.dice.chance(3) { self.dice.millis(0, 1_500) } else { Duration::ZERO };
            let at = self.now + self.plan.sites[site].to_store + slow;
            let path = &mut self.sites[site].path;
            path.last_change = at.max(path.last_change);
            let at = path.last_change;
            self.schedule(at, site, Event::Watch { change: change.clone() });
        }
    }

    /// Puts the site's record in the store if it is another than before.
    pub(crate) fn publish(&mut self, site: usize) {
        if !self.shares(site) {
            return;
        }
        let Some(steer) = &self.sites[site].steer else { return };
        let record = steer.record();
        let path = &mut self.sites[site].path;
        if path.published.as_ref() != Some(&record) {
            path.published = Some(record.clone());
            path.queue.retain(|it| !matches!(it, Wish::Put(_)));
            self.enqueue(site, Wish::Put(record));
        }
    }

    pub(crate) fn ask(&mut self, site: usize, prefix: IpNet) {
        if self.plan.sabotage == Some(Sabotage::GrantsEverything) {
            self.answer(site, prefix, Answer::Granted);
            return;
        }
        self.sites[site].path.granted.remove(&prefix);
        self.enqueue(site, Wish::Ask(prefix));
    }

    pub(crate) fn release(&mut self, site: usize, prefix: IpNet) {
        if self.plan.sabotage != Some(Sabotage::KeepsPermits) {
            self.sites[site].path.granted.remove(&prefix);
            self.enqueue(site, Wish::Release(prefix));
        }
    }

    /// One thing at a time, in the order in which the steering wants them.
    fn enqueue(&mut self, site: usize, wish: Wish) {
        self.sites[site].path.queue.push_back(wish);
        self.send_next(site);
    }

    fn send_next(&mut self, site: usize) {
        let path = &mut self.sites[site].path;
        if path.under_way.is_none()
            && let Some(wish) = path.queue.pop_front()
        {
            path.requests += 1;
            path.under_way = Some((path.requests, wish, Stage::Read));
            self.send(site);
        }
    }

    fn send(&mut self, site: usize) {
        let path = &self.sites[site].path;
        let Some((request, ..)) = path.under_way else { return };
        if !path.there_lost {
            let at = self.now + self.plan.sites[site].to_store + self.dice.millis(0, 5);
            // What was sent arrives, even if the sender has died.
            self.schedule(at, site, Event::AtStore { request });
        }
        let timeout = self.sites[site].lasts(REQUEST_TIMEOUT);
        self.schedule(self.now + timeout, site, Event::RequestTimesOut { request });
    }

    pub(crate) fn at_store(&mut self, site: usize, request: u64) {
        let Some((of, wish, stage)) = self.sites[site].path.under_way.clone() else { return };
        if of != request {
            return;
        }
        let reply = match (wish, stage) {
            (Wish::Put(record), _) => {
                self.store.records.insert(site, (record.clone(), self.now));
                self.spread(&Change::Record { of: site, record, put: self.now });
                Reply::Done
            }
            (Wish::Ask(prefix) | Wish::Release(prefix), Stage::Read) => {
                let (revision, ledger) = self.store.ledgers.entry(prefix).or_default().clone();
                Reply::Read { revision, ledger }
            }
            (
                wish @ (Wish::Ask(prefix) | Wish::Release(prefix)),
                Stage::Write { revision, ledger },
            ) => {
                let kept = self.store.ledgers.entry(prefix).or_default();
                if kept.0 == revision {
                    *kept = (revision + 1, ledger.clone());
                    if matches!(wish, Wish::Ask(_)) {
                        self.judge_permit(site, prefix);
                    }
                    self.spread(&Change::Ledger { prefix, ledger });
                    Reply::Done
                } else {
                    Reply::Conflict
                }
            }
        };
        if !self.sites[site].path.back_lost {
            let at = self.now + self.plan.sites[site].to_store + self.dice.millis(0, 5);
            self.schedule(at, site, Event::Reply { request, reply });
        }
    }

    pub(crate) fn reply(&mut self, site: usize, request: u64, reply: Reply) {
        let Some((of, wish, stage)) = self.sites[site].path.under_way.clone() else { return };
        if of != request {
            return;
        }
        match (wish, stage, reply) {
            (Wish::Ask(prefix), Stage::Read, Reply::Read { revision, ledger }) => {
                match self.grant(site, prefix, &ledger) {
                    Ok(Some(ledger)) => self.write(site, revision, ledger),
                    Ok(None) => self.answer(site, prefix, Answer::Granted),
                    Err(why) => self.answer(site, prefix, Answer::Refused(why)),
                }
            }
            (Wish::Release(_), Stage::Read, Reply::Read { revision, mut ledger }) => {
                if ledger.withdrawn.remove(&self.sites[site].name) {
                    self.write(site, revision, ledger);
                } else {
                    self.done(site);
                }
            }
            (Wish::Ask(prefix), Stage::Write { .. }, Reply::Done) => {
                self.answer(site, prefix, Answer::Granted);
            }
            (Wish::Ask(_) | Wish::Release(_), _, Reply::Conflict) => {
                self.report.conflicts += 1;
                self.send_again(site, Stage::Read);
            }
            _ => self.done(site),
        }
    }

    fn write(&mut self, site: usize, revision: u64, ledger: Ledger) {
        self.send_again(site, Stage::Write { revision, ledger });
    }

    fn send_again(&mut self, site: usize, stage: Stage) {
        let path = &mut self.sites[site].path;
        path.requests += 1;
        let request = path.requests;
        if let Some((of, _, at)) = &mut path.under_way {
            (*of, *at) = (request, stage);
        }
        self.send(site);
    }

    /// The ledger with the site in it, if it may withdraw; `None`: it is in it already.
    fn grant(&self, site: usize, prefix: IpNet, ledger: &Ledger) -> Result<Option<Ledger>, String> {
        let it = &self.sites[site];
        if ledger.withdrawn.contains(&it.name) {
            return Ok(None);
        }
        let rules = it.spec.prefixes.iter().find(|it| it.prefix == prefix);
        if let Some(floor) = rules.and_then(|it| it.floor.as_ref()) {
            let mut view = self.view(site);
            view.ledgers.insert(prefix, ledger.clone());
            floor.may_withdraw(&it.spec.members, &it.name, &prefix, &view)?;
        }
        let mut ledger = ledger.clone();
        ledger.withdrawn.insert(it.name.clone());
        Ok(Some(ledger))
    }

    pub(crate) fn request_times_out(&mut self, site: usize, request: u64) {
        let Some((of, wish, _)) = self.sites[site].path.under_way.clone() else { return };
        if of != request {
            return;
        }
        match wish {
            Wish::Ask(prefix) => {
                self.note_last_contact(site);
                self.answer(site, prefix, Answer::Unreachable);
            }
            Wish::Release(prefix) => {
                let path = &mut self.sites[site].path;
                let asked = path.queue.contains(&Wish::Ask(prefix));
                if !path.there_lost && !path.back_lost && !asked {
                    path.queue.push_back(Wish::Release(prefix));
                }
                self.done(site);
            }
            Wish::Put(_) => self.done(site),
        }
    }

    /// Beats that came back until the way was cut.
    fn note_last_contact(&mut self, site: usize) {
        let until = self.sites[site].path.unheard_since.unwrap_or(self.now);
        let Some(beat) = self.beat_before(site, until) else { return };
        let clock = self.sites[site].clock(beat);
        if let Some(steer) = &mut self.sites[site].steer {
            steer.handle_fleet_alive(clock);
        }
    }

    fn answer(&mut self, site: usize, prefix: IpNet, answer: Answer) {
        self.tell(site, || format!("is answered about {prefix}: {answer:?}"));
        self.judge.answered(site, prefix, &answer);
        if answer == Answer::Granted {
            self.sites[site].path.granted.insert(prefix);
        }
        let clock = self.sites[site].clock(self.now);
        if let Some(steer) = &mut self.sites[site].steer {
            steer.handle_permit(clock, &prefix, answer);
        }
        self.done(site);
    }

    fn done(&mut self, site: usize) {
        self.sites[site].path.under_way = None;
        self.send_next(site);
    }
}

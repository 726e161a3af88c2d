//! The world: one loop over timed events, the sites, and what befalls them.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::time::Duration;

use anycast_bgp::message::Update;
use anycast_steer::{Drain, Target};

use crate::judge::{Failure, Judge};
use crate::plan::{Fault, Health, Plan, Way};
use crate::random::Dice;
use crate::site::Site;
use crate::store::Store;
use crate::{Report, wire};

/// Everything at one moment.
pub(crate) struct World<'a> {
    pub(crate) plan: &'a Plan,
    /// Since the beginning, by a right clock.
    pub(crate) now: Duration,
    pub(crate) dice: Dice,
    pub(crate) sites: Vec<Site>,
    pub(crate) store: Store,
    pub(crate) judge: Judge,
    pub(crate) report: Report,
    heap: BinaryHeap<Reverse<Timed>>,
    next: u64,
    /// What happened, if it is to be told.
    story: Option<Vec<String>>,
}

/// What happens at a site, or to it; of an earlier life of the daemon, nothing.
#[derive(Debug)]
pub(crate) enum Event {
    Fault(usize),
    Boot,
    /// The daemon that was told to stop has waited long enough.
    StopEnds,
    CheckStarts {
        service: usize,
        check: usize,
        run: u64,
    },
    CheckEnds {
        service: usize,
        check: usize,
        run: u64,
    },
    SteerTimer,
    LinkBack {
        neighbor: usize,
        cut: u64,
    },
    PathBack {
        partition: u64,
    },
    Reading {
        load: u64,
    },
    /// A request of the site reaches the store.
    AtStore {
        request: u64,
    },
    /// The store's word reaches the site.
    Reply {
        request: u64,
        reply: crate::store::Reply,
    },
    RequestTimesOut {
        request: u64,
    },
    /// The store tells what has changed.
    Watch {
        change: crate::store::Change,
    },
    /// The record of another site may be too old by now.
    Expiry {
        of: usize,
    },
    /// What neighbors hold is to be as was told by now.
    Judge,
    Heal,
    Bgp {
        neighbor: usize,
        far: bool,
        what: wire::Arrival,
    },
    BgpTimer {
        neighbor: usize,
        far: bool,
    },
    TablesUp {
        neighbor: usize,
        cut: u64,
    },
    TablesDown {
        neighbor: usize,
        cut: u64,
    },
    Told {
        neighbor: usize,
        cut: u64,
        update: Box<Update>,
    },
}

struct Timed {
    at: Duration,
    order: u64,
    site: usize,
    life: u64,
    event: Event,
}

impl PartialEq for Timed {
    fn eq(&self, other: &Self) -> bool {
        self.order == other.order
    }
}
impl Eq for Timed {}
impl PartialOrd for Timed {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}
impl Ord for Timed {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        (self.at, self.order).cmp(&(other.at, other.order))
    }
}

/// An event that outlives the daemon.
const ANY_LIFE: u64 = u64::MAX;

impl<'a> World<'a> {
    pub(crate) fn new(plan: &'a Plan, tell: bool) -> Self {
        let mut dice = Dice::new(plan.seed ^ 0x005e_ed0f_da11);
        let sites = (0..plan.sites.len()).map(|it| Site::new(plan, it, &mut dice)).collect();
        Self {
            plan,
            now: Duration::ZERO,
            dice,
            sites,
            store: Store::default(),
            judge: Judge::default(),
            report: Report::default(),
            heap: BinaryHeap::new(),
            next: 0,
            story: tell.then(Vec::new),
        }
    }

    /// Lets everything happen.
    pub(crate) fn run(mut self) -> (Report, Option<Failure>, Vec<String>) {
        for site in 0..self.sites.len() {
            let at = self.dice.millis(0, 5_000);
            self.lasting(at, site, Event::Boot);
        }
        for (index, (at, _)) in self.plan.faults.iter().enumerate() {
            self.lasting(*at, 0, Event::Fault(index));
        }
        self.lasting(self.plan.heal_at, 0, Event::Heal);
        while let Some(Reverse(timed)) = self.heap.pop() {
            if timed.at > self.plan.end_at || self.judge.failure.is_some() {
                break;
            }
            self.now = timed.at;
            if timed.life == ANY_LIFE || timed.life == self.sites[timed.site].life {
                self.report.events += 1;
                self.handle(timed.site, timed.event);
                self.settle(timed.site);
            }
        }
        if self.judge.failure.is_none() {
            self.now = self.plan.end_at;
            self.judge_the_end();
        }
        let minutes = self.now.as_secs() / 60;
        self.report.fleet_minutes += minutes;
        self.report.site_minutes += minutes * u64::try_from(self.sites.len()).unwrap_or_default();
        let failure = self.judge.failure.take();
        (self.report, failure, self.story.unwrap_or_default())
    }

    /// At `at`, if the site's daemon lives so long.
    pub(crate) fn schedule(&mut self, at: Duration, site: usize, event: Event) {
        let life = self.sites[site].life;
        self.push(at, site, life, event);
    }

    /// At `at`, whatever becomes of the site's daemon.
    pub(crate) fn lasting(&mut self, at: Duration, site: usize, event: Event) {
        self.push(at, site, ANY_LIFE, event);
    }

    fn push(&mut self, at: Duration, site: usize, life: u64, event: Event) {
        self.next += 1;
        let at = at.max(self.now);
        self.heap.push(Reverse(Timed { at, order: self.next, site, life, event }));
    }

    /// A line of the story.
    pub(crate) fn tell(&mut self, site: usize, line: impl FnOnce() -> String) {
        let (now, name) = (self.now.as_secs_f64(), &self.sites[site].name);
        if let Some(story) = &mut self.story {
            story.push(format!("{now:>12.6} {name:<7} {}", line()));
        }
    }

    fn handle(&mut self, site: usize, event: Event) {
        match event {
            Event::Fault(index) => {
                let fault = self.plan.faults[index].1.clone();
                self.befall(&fault);
            }
            Event::Heal => self.heal(),
            Event::Boot => self.boot(site),
            Event::StopEnds => self.stop_ends(site),
            Event::CheckStarts { service, check, run } => {
                self.check_starts(site, service, check, run);
            }
            Event::CheckEnds { service, check, run } => self.check_ends(site, service, check, run),
            Event::SteerTimer => self.steer_timer(site),
            Event::LinkBack { neighbor, cut } => self.link_back(site, neighbor, cut),
            Event::PathBack { partition } => self.path_back(site, partition),
            Event::Reading { load } => self.reading(site, load),
            Event::AtStore { request } => self.at_store(site, request),
            Event::Reply { request, reply } => self.reply(site, request, reply),
            Event::RequestTimesOut { request } => self.request_times_out(site, request),
            Event::Watch { change } => self.watched(site, change),
            Event::Expiry { of } => self.expiry(site, of),
            Event::Judge => self.judge_site(site),
            Event::Bgp { neighbor, far, what } => self.arrives(site, neighbor, far, what),
            Event::BgpTimer { neighbor, far } => self.bgp_timer(site, neighbor, far),
            Event::TablesUp { neighbor, cut } => self.tables_up(site, neighbor, cut),
            Event::TablesDown { neighbor, cut } => self.tables_down(site, neighbor, cut),
            Event::Told { neighbor, cut, update } => self.told(site, neighbor, cut, *update),
        }
    }

    fn befall(&mut self, fault: &Fault) {
        self.report.faults += 1;
        let site = match fault {
            Fault::Shared { .. } | Fault::StoreGone { .. } => 0,
            Fault::Service { site, .. }
            | Fault::Kill { site, .. }
            | Fault::Stop { site, .. }
            | Fault::Link { site, .. }
            | Fault::Partition { site, .. }
            | Fault::Drain { site, .. }
            | Fault::Undrain { site, .. }
            | Fault::TrafficGone { site, .. }
            | Fault::ClearDamping { site }
            | Fault::Reload { site, .. }
            | Fault::Load { site, .. } => *site,
        };
        self.tell(site, || format!("FAULT   {fault:?}"));
        match fault {
            Fault::Service { service, health, .. } => self.set_health(site, *service, *health),
            Fault::Shared { service, health } => {
                for site in 0..self.sites.len() {
                    self.set_health(site, *service, *health);
                    self.settle(site);
                }
            }
            Fault::Kill { back_after, .. } => self.kill(site, *back_after),
            Fault::Stop { back_after, .. } => self.stop(site, *back_after),
            Fault::Link { neighbor, back_after, .. } => self.cut(site, *neighbor, *back_after),
            Fault::Partition { way, back_after, .. } => self.part(site, *way, *back_after),
            Fault::StoreGone { back_after } => {
                for site in 0..self.sites.len() {
                    self.part(site, Way::Both, *back_after);
                }
            }
            Fault::Drain { target, lasts, now, force, .. } => {
                let until = lasts.map(|it| self.now + it);
                self.drain(site, target, until, *now, *force);
            }
            Fault::Undrain { target, .. } => self.undrain(site, target),
            Fault::TrafficGone { target, .. } => self.traffic_gone(site, target),
            Fault::ClearDamping { .. } => self.clear_damping(site),
            Fault::Reload { spec, .. } => self.reload(site, *spec),
            Fault::Load { reading, .. } => self.set_load(site, *reading),
        }
        self.settle(site);
    }

    /// Everything is mended, and everybody lets go.
    fn heal(&mut self) {
        self.tell(0, || "HEAL    everything".to_owned());
        for site in 0..self.sites.len() {
            for service in 0..self.plan.checks.len() {
                self.set_health(site, service, Health::Well);
            }
            self.sites[site].back_by = None;
            if self.sites[site].steer.is_none() {
                self.boot(site);
            }
            self.reload(site, 0);
            self.set_load(site, 10.0);
            let drains: Vec<Target> =
                self.sites[site].drains.iter().map(|it| it.drain.target.clone()).collect();
            for target in drains {
                self.undrain(site, &target);
            }
            for neighbor in 0..self.sites[site].links.len() {
                let cut = self.sites[site].links[neighbor].cut;
                self.link_back(site, neighbor, cut);
            }
            let partition = self.sites[site].path.partition;
            self.path_back(site, partition);
            self.settle(site);
        }
    }
}

/// A drain that an operator ordered, as it is on disk.
#[derive(Clone, Debug)]
pub(crate) struct Order {
    pub(crate) drain: Drain,
    /// By a right clock.
    pub(crate) until: Option<Duration>,
}

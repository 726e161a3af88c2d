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
    /// What happens by the store's time.
    store_heap: BinaryHeap<Reverse<Timed>>,
    /// Since when the store's time stands still, if it does; for how long it did before; and when
    /// it last had a reason to go on.
    pub(crate) paused_at: Option<Duration>,
    pub(crate) skipped: Duration,
    pub(crate) stirred_at: Duration,
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
    /// The site's word reaches the store.
    AtStore {
        connection: u64,
        message: Box<crate::store::Message>,
    },
    /// The store's word reaches the site.
    FromStore {
        connection: u64,
        message: Box<crate::store::Message>,
    },
    DialStore {
        connection: u64,
    },
    ClerkTimer,
    /// The daemon goes on.
    Thaw {
        freeze: u64,
    },
    /// Neighbors have not heard of the daemon for as long as they agreed on.
    HoldTimesOut {
        freeze: u64,
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

impl Event {
    /// Whether a daemon that is frozen does not see it until it goes on.
    const fn is_the_daemons(&self) -> bool {
        matches!(
            self,
            Self::StopEnds
                | Self::CheckStarts { .. }
                | Self::CheckEnds { .. }
                | Self::SteerTimer
                | Self::Reading { .. }
                | Self::FromStore { .. }
                | Self::DialStore { .. }
                | Self::ClerkTimer
                | Self::Bgp { far: false, .. }
                | Self::BgpTimer { far: false, .. }
                | Self::TablesUp { .. }
        )
    }
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
pub(crate) const ANY_LIFE: u64 = u64::MAX;

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
            store_heap: BinaryHeap::new(),
            paused_at: None,
            skipped: Duration::ZERO,
            stirred_at: Duration::ZERO,
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
        while let Some((at, timed)) = self.next_event() {
            if at > self.plan.end_at || self.judge.failure.is_some() {
                break;
            }
            self.now = at;
            self.happen(timed.site, timed.life, timed.event);
            self.pause_if_quiet();
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

    /// The next event, and when it is to happen by a right clock.
    fn next_event(&mut self) -> Option<(Duration, Timed)> {
        let at = self.heap.peek().map(|Reverse(it)| it.at);
        let by_store = self.store_heap.peek().filter(|_| self.paused_at.is_none());
        let by_store = by_store.map(|Reverse(it)| it.at + self.skipped);
        let at_store = by_store.filter(|by_store| at.is_none_or(|at| *by_store < at));
        let heap = if at_store.is_some() { &mut self.store_heap } else { &mut self.heap };
        let at = at_store.or(at)?;
        heap.pop().map(|Reverse(timed)| (at, timed))
    }

    /// An event happens, unless the daemon that it is for is no more; if that is frozen, later.
    fn happen(&mut self, site: usize, life: u64, event: Event) {
        let it = &mut self.sites[site];
        if life != ANY_LIFE && life != it.life {
            return;
        }
        if it.frozen.is_some() && event.is_the_daemons() {
            it.waiting.push((life, event));
            return;
        }
        self.report.events += 1;
        self.handle(site, event);
        self.settle(site);
    }

    /// SIGSTOP: the daemon does nothing, and what is for it waits.
    fn freeze(&mut self, site: usize, lasts: Duration) {
        let it = &mut self.sites[site];
        if it.steer.is_none() || it.frozen.is_some() {
            return;
        }
        it.frozen = Some(self.now);
        it.freezes += 1;
        self.report.freezes += 1;
        let it = &mut self.sites[site];
        let freeze = it.freezes;
        self.stir();
        self.lasting(self.now + lasts, site, Event::Thaw { freeze });
        if !self.plan.sessions {
            let at = self.now + wire::HOLD_TIME;
            self.lasting(at, site, Event::HoldTimesOut { freeze });
        }
        self.lasting(self.now + wire::HOLD_TIME + wire::CONVERGED * 8, site, Event::Judge);
    }

    /// SIGCONT: all that has waited happens at once, in the order in which it came.
    fn thaw(&mut self, site: usize) {
        let it = &mut self.sites[site];
        if it.frozen.take().is_none() {
            return;
        }
        it.thawed_at = self.now;
        let waiting = std::mem::take(&mut it.waiting);
        self.tell(site, || "goes on".to_owned());
        self.stir();
        for (life, event) in waiting {
            self.happen(site, life, event);
        }
        if self.sites[site].steer.is_some() {
            self.link_again(site);
        }
        for service in 0..self.sites[site].spec.services.len() {
            let latest = self.latest_fall(site, service);
            self.lasting(self.now + latest + wire::CONVERGED * 2, site, Event::Judge);
        }
    }

    /// At `at` of the store's time.
    pub(crate) fn push_store(&mut self, at: Duration, site: usize, life: u64, event: Event) {
        self.next += 1;
        let at = at.max(self.store_now());
        self.store_heap.push(Reverse(Timed { at, order: self.next, site, life, event }));
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
            event @ Event::Fault(index) => {
                let fault = self.plan.faults[index].1.clone();
                match fault.order_to().filter(|site| self.sites[*site].frozen.is_some()) {
                    Some(site) => self.sites[site].waiting.push((ANY_LIFE, event)),
                    None => self.befall(&fault),
                }
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
            Event::AtStore { connection, message } => self.at_store(site, connection, *message),
            Event::FromStore { connection, message } => {
                self.hear_store(site, connection, *message);
            }
            Event::DialStore { connection } => self.dial_store(site, connection),
            Event::ClerkTimer => self.clerk_timer(site),
            Event::Thaw { freeze } => {
                if self.sites[site].freezes == freeze {
                    self.thaw(site);
                }
            }
            Event::HoldTimesOut { freeze } => {
                if self.sites[site].freezes == freeze && self.sites[site].frozen.is_some() {
                    self.hold_times_out(site);
                }
            }
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
        self.stir();
        let site = match fault {
            Fault::Shared { .. } | Fault::StoreGone { .. } => 0,
            Fault::Service { site, .. }
            | Fault::Kill { site, .. }
            | Fault::Stop { site, .. }
            | Fault::Freeze { site, .. }
            | Fault::WallClock { site, .. }
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
            Fault::Freeze { lasts, .. } => self.freeze(site, *lasts),
            Fault::WallClock { by_seconds, .. } => {
                self.sites[site].wall_ahead += by_seconds * 1_000;
            }
            Fault::Stop { back_after, .. } => self.stop(site, *back_after),
            Fault::Link { neighbor, back_after, .. } => self.cut(site, *neighbor, *back_after),
            Fault::Partition { way, back_after, .. } => self.part(site, *way, *back_after),
            Fault::StoreGone { back_after } => {
                for site in 0..self.sites.len() {
                    self.part(site, Way::Both, *back_after);
                }
            }
            Fault::Drain { target, lasts, now, force, .. } => {
                let wall = self.sites[site].wall(self.now);
                let until = lasts.map(|it| wall + millis(it));
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
            self.thaw(site);
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
    /// In milliseconds of the site's wall clock; so is the next.
    pub(crate) begun: i64,
    pub(crate) until: Option<i64>,
}

/// In whole milliseconds.
pub(crate) fn millis(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}

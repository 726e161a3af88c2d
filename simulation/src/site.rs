//! One site: its daemon around a real `Steer`, as the real one drives it.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use anycast_bgp::{Asn, Attributes};
use anycast_steer::{Action, Change, Drain, Instant, Manner, Spec, Steer, Target};
use ipnet::IpNet;

use crate::checks::Service;
use crate::plan::{Plan, Sabotage};
use crate::random::Dice;
use crate::store::Path;
use crate::wire::{self, Link};
use crate::world::{Event, Order, World, millis};

/// How long a daemon that stops goes on serving after it has withdrawn.
const STOP_WAIT: Duration = Duration::from_secs(2);

/// How often a load is read.
const READ_LOAD: Duration = Duration::from_secs(10);

/// One site.
pub(crate) struct Site {
    pub(crate) name: String,
    /// Counts the lives of its daemon.
    pub(crate) life: u64,
    /// `None`: the daemon does not run.
    pub(crate) steer: Option<Steer>,
    pub(crate) spec: Spec,
    /// Which of the plan's.
    pub(crate) variant: usize,
    pub(crate) booted: Duration,
    pub(crate) stopping: bool,
    /// When the daemon was to be back, if it is down for a while.
    pub(crate) back_by: Option<Duration>,
    rate: f64,
    /// How far the clock that tells the time of day is ahead, in milliseconds.
    pub(crate) wall_ahead: i64,
    /// Since when the daemon is frozen; which time it is; and until when it was.
    pub(crate) frozen: Option<Duration>,
    /// Whether any neighbor heard it when its links changed last.
    pub(crate) was_heard: bool,
    pub(crate) freezes: u64,
    pub(crate) thawed_at: Duration,
    /// What is for the daemon once it goes on, and for which life of it.
    pub(crate) waiting: Vec<(u64, Event)>,
    timer: Option<Duration>,
    pub(crate) services: Vec<Service>,
    pub(crate) drains: Vec<Order>,
    pub(crate) rib: anycast_bgp::rib::Rib,
    /// Whether the tables may have something to say.
    pub(crate) to_flush: bool,
    /// What neighbors are told, by prefix that any is told of.
    pub(crate) announced: BTreeMap<IpNet, Vec<Option<Manner>>>,
    pub(crate) links: Vec<Link>,
    pub(crate) path: Path,
    load: f64,
    load_run: u64,
}

impl Site {
    pub(crate) fn new(plan: &Plan, index: usize, dice: &mut Dice) -> Self {
        let site = &plan.sites[index];
        let router_id = wire::router_id(index);
        let links = 0..site.neighbors.len();
        Self {
            name: site.name.clone(),
            life: 0,
            steer: None,
            spec: plan.spec(index, 0),
            variant: 0,
            booted: Duration::ZERO,
            stopping: false,
            back_by: None,
            rate: site.rate,
            wall_ahead: 0,
            frozen: None,
            was_heard: false,
            freezes: 0,
            thawed_at: Duration::ZERO,
            waiting: Vec::new(),
            timer: None,
            services: plan.checks.iter().map(|checks| Service::new(checks.len())).collect(),
            drains: Vec::new(),
            rib: anycast_bgp::rib::Rib::new(Asn(64500), router_id),
            to_flush: false,
            announced: BTreeMap::new(),
            links: links.map(|it| Link::new(plan, index, it, dice)).collect(),
            path: Path::default(),
            load: 10.0,
            load_run: 0,
        }
    }

    /// What the site's clock shows.
    pub(crate) fn clock(&self, now: Duration) -> Instant {
        self.local(now.saturating_sub(self.booted))
    }

    /// So long after it began, by a right clock.
    pub(crate) fn local(&self, passed: Duration) -> Instant {
        Instant(passed.mul_f64(self.rate))
    }

    /// What the clock shows that tells the time of day, in milliseconds.
    pub(crate) fn wall(&self, now: Duration) -> i64 {
        millis(now) + self.wall_ahead
    }

    /// Whether any neighbor hears it, as far as it knows.
    pub(crate) fn has_neighbor(&self) -> bool {
        self.links.iter().any(|it| it.up_since.is_some())
    }

    /// Whether any neighbor hears it.
    pub(crate) fn is_heard(&self) -> bool {
        self.links.iter().any(|it| it.up_since.is_some() && !it.given_up)
    }

    /// Whether a session has just come up at its end: its neighbor hears it within the time that it
    /// takes to hear anything.
    pub(crate) fn comes_up(&self, now: Duration) -> bool {
        self.links.iter().any(|it| it.up_since.is_some_and(|at| now < at + wire::CONVERGED))
    }

    /// The link of the first neighbor in the site's file; the file has all after it.
    pub(crate) const fn first_link(&self) -> usize {
        self.links.len() - self.spec.neighbors.len()
    }

    /// When the site's clock will show it.
    pub(crate) fn at(&self, local: Instant) -> Duration {
        self.booted + local.0.div_f64(self.rate) + Duration::from_nanos(100)
    }

    /// How long something takes by the world's clock that takes so long by the site's.
    pub(crate) fn lasts(&self, local: Duration) -> Duration {
        local.div_f64(self.rate)
    }

    /// Whether any neighbor is told of the prefix.
    pub(crate) fn tells(&self, prefix: &IpNet) -> bool {
        self.announced.contains_key(prefix)
    }
}

impl World<'_> {
    pub(crate) fn boot(&mut self, site: usize) {
        let now = self.now;
        self.stir();
        let it = &mut self.sites[site];
        if it.steer.is_some() || it.back_by.is_some_and(|at| at > now) {
            return;
        }
        it.life += 1;
        it.back_by = None;
        it.booted = now;
        it.stopping = false;
        it.timer = None;
        it.steer = Some(Steer::new(it.spec.clone()).expect("the plan's specifications are sound"));
        self.judge.site_boots(site, now);
        self.tell(site, || "boots".to_owned());
        self.connect_store(site);
        self.connect_neighbors(site);
        // Drains are on disk; those whose time is over meanwhile are not taken up again.
        let wall = self.sites[site].wall(now);
        self.sites[site].drains.retain(|it| it.until.is_none_or(|until| until > wall));
        for order in self.sites[site].drains.clone() {
            self.give_order(site, &order);
        }
        self.start_checks(site);
        if self.sites[site].load > 10.0 {
            self.read_on(site);
        }
    }

    /// SIGKILL: the kernel closes its connections.
    pub(crate) fn kill(&mut self, site: usize, back_after: Duration) {
        let back_at = self.now + back_after;
        self.sites[site].back_by = Some(self.sites[site].back_by.unwrap_or_default().max(back_at));
        if self.sites[site].steer.is_some() {
            self.end_daemon(site);
        }
        let at = self.sites[site].back_by.unwrap_or(back_at);
        self.lasting(at, site, Event::Boot);
    }

    fn end_daemon(&mut self, site: usize) {
        self.lose_announcements(site);
        self.disconnect_store(site);
        self.disconnect_neighbors(site);
        let it = &mut self.sites[site];
        it.steer = None;
        it.life += 1;
        it.frozen = None;
        it.waiting.clear();
        it.announced.clear();
        it.rib = anycast_bgp::rib::Rib::new(Asn(64500), wire::router_id(site));
        for service in &mut it.services {
            service.stop_checks();
        }
        self.judge.site_ends(site, self.now);
    }

    pub(crate) fn lose_announcements(&mut self, site: usize) {
        let prefixes: Vec<IpNet> = self.sites[site].announced.keys().copied().collect();
        for prefix in prefixes {
            self.judge.lost(site, prefix, self.now);
        }
    }

    pub(crate) fn stop(&mut self, site: usize, back_after: Duration) {
        let clock = self.sites[site].clock(self.now);
        let it = &mut self.sites[site];
        let Some(steer) = &mut it.steer else { return };
        if it.stopping {
            return;
        }
        it.stopping = true;
        it.back_by = Some(self.now + STOP_WAIT + back_after);
        steer.handle_stop(clock);
        let at_once = self.plan.sabotage == Some(Sabotage::StopsAtOnce);
        let wait = if at_once { Duration::ZERO } else { STOP_WAIT };
        self.schedule(self.now + wait, site, Event::StopEnds);
    }

    pub(crate) fn stop_ends(&mut self, site: usize) {
        self.judge_stopped(site);
        self.tell(site, || "has stopped".to_owned());
        self.end_daemon(site);
        let at = self.sites[site].back_by.unwrap_or(self.now);
        self.lasting(at, site, Event::Boot);
    }

    pub(crate) fn steer_timer(&mut self, site: usize) {
        let clock = self.sites[site].clock(self.now);
        let it = &mut self.sites[site];
        it.timer = None;
        let Some(steer) = &mut it.steer else { return };
        if steer.poll_timeout().is_some_and(|at| at <= clock) {
            steer.handle_timeout(clock);
            if steer.poll_timeout().is_some_and(|at| at <= clock) {
                self.fail(site, "a timer fired and stands where it stood".to_owned());
            }
        }
    }

    pub(crate) fn drain(
        &mut self,
        site: usize,
        target: &Target,
        until: Option<i64>,
        now: bool,
        force: bool,
    ) {
        if self.sites[site].steer.is_none() {
            return;
        }
        let reason = "works".to_owned();
        let drain = Drain { target: target.clone(), until: None, now, force, reason };
        let order = Order { drain, begun: self.sites[site].wall(self.now), until };
        if self.give_order(site, &order) {
            let drains = &mut self.sites[site].drains;
            drains.retain(|it| it.drain.target != *target);
            drains.push(order);
        }
    }

    /// Whether it was taken.
    fn give_order(&mut self, site: usize, order: &Order) -> bool {
        let clock = self.sites[site].clock(self.now);
        let wall = self.sites[site].wall(self.now);
        // As the daemon does, lest a clock that was set back makes it longer than it was ordered.
        let left = |until: i64| (until - wall).min(until - order.begun);
        let left = |until| Duration::from_millis(u64::try_from(left(until)).unwrap_or(0));
        let until = order.until.map(|at| self.sites[site].clock(self.now + left(at)));
        let Some(steer) = &mut self.sites[site].steer else { return false };
        steer.handle_drain(clock, Drain { until, ..order.drain.clone() }).is_ok()
    }

    pub(crate) fn undrain(&mut self, site: usize, target: &Target) {
        let clock = self.sites[site].clock(self.now);
        self.sites[site].drains.retain(|it| it.drain.target != *target);
        if let Some(steer) = &mut self.sites[site].steer {
            steer.handle_undrain(clock, target);
        }
    }

    pub(crate) fn traffic_gone(&mut self, site: usize, target: &Target) {
        let clock = self.sites[site].clock(self.now);
        if let Some(steer) = &mut self.sites[site].steer {
            steer.handle_traffic(clock, target, 0.0);
            steer.handle_traffic(clock, target, 0.0);
        }
    }

    pub(crate) fn clear_damping(&mut self, site: usize) {
        let clock = self.sites[site].clock(self.now);
        if let Some(steer) = &mut self.sites[site].steer {
            steer.clear_damping(clock, None);
        }
    }

    pub(crate) fn reload(&mut self, site: usize, variant: usize) {
        if self.sites[site].variant == variant || self.sites[site].stopping {
            return;
        }
        let spec = self.plan.spec(site, variant);
        let clock = self.sites[site].clock(self.now);
        let it = &mut self.sites[site];
        let before = it.first_link();
        it.variant = variant;
        it.spec.clone_from(&spec);
        let Some(steer) = &mut it.steer else { return };
        steer.replace(clock, spec).expect("the plan's specifications are sound");
        self.judge.site_reloads(site, self.now);
        self.replace_clerk(site);
        self.other_neighbors(site, before);
        self.restart_checks(site);
    }

    pub(crate) fn set_load(&mut self, site: usize, reading: f64) {
        self.sites[site].load = reading;
        self.read_on(site);
    }

    fn read_on(&mut self, site: usize) {
        self.sites[site].load_run += 1;
        let load = self.sites[site].load_run;
        self.reading(site, load);
    }

    /// The load is read now and again; not, once it has been low for long enough.
    pub(crate) fn reading(&mut self, site: usize, load: u64) {
        let it = &mut self.sites[site];
        if it.load_run != load || it.steer.is_none() {
            return;
        }
        let (clock, reading) = (it.clock(self.now), it.load);
        let steer = it.steer.as_mut().expect("looked at above");
        steer.handle_load(clock, 0, reading);
        if reading > 10.0 || !steer.record().sheds.is_empty() {
            let every = it.lasts(READ_LOAD);
            self.schedule(self.now + every, site, Event::Reading { load });
        }
    }

    /// Carries out what the steering has decided: withdrawals at once, what is told anew after
    /// them; and comes back when it has something to do by time alone.
    pub(crate) fn settle(&mut self, site: usize) {
        let it = &self.sites[site];
        if it.steer.is_none() || it.frozen.is_some() {
            return;
        }
        let mut news = BTreeMap::new();
        let mut acted = false;
        while let Some(action) = self.sites[site].steer.as_mut().and_then(Steer::poll_action) {
            acted |= !matches!(action, Action::Ask { .. });
            self.tell(site, || format!("{action:?}"));
            self.judge_action(site, &action);
            match action {
                Action::Tell { prefix, change: Change::Withdraw, .. } => {
                    news.remove(&prefix);
                    self.withdraw(site, &prefix);
                }
                Action::Tell { prefix, told, .. } => {
                    news.insert(prefix, told);
                }
                Action::Ask { prefix } => self.ask(site, prefix),
                Action::Release { prefix } => self.release(site, prefix),
                Action::Undrain { target, .. } => {
                    self.sites[site].drains.retain(|it| it.drain.target != target);
                }
                _ => {}
            }
        }
        if !news.is_empty() {
            self.announce(site, news);
        }
        if std::mem::take(&mut self.sites[site].path.to_publish) || acted {
            self.publish(site);
        }
        if acted {
            self.judge_site(site);
        }
        self.flush_neighbors(site);
        self.run_clerk(site);
        self.wake_for_steer(site);
    }

    fn withdraw(&mut self, site: usize, prefix: &IpNet) {
        let it = &mut self.sites[site];
        it.announced.remove(prefix);
        if self.plan.sabotage != Some(Sabotage::ForgetsToWithdraw) {
            it.rib.withdraw_local(prefix);
        }
        it.to_flush = true;
        self.note_told(site, *prefix);
    }

    fn announce(&mut self, site: usize, news: BTreeMap<IpNet, Vec<Option<Manner>>>) {
        let mut new = Vec::new();
        for (prefix, told) in news {
            if self.sites[site].announced.insert(prefix, told).is_none() {
                new.push(prefix);
            }
            self.note_told(site, prefix);
        }
        for neighbor in 0..self.sites[site].links.len() {
            self.set_export(site, neighbor);
        }
        for prefix in new {
            let nowhere = IpAddr::V4(Ipv4Addr::UNSPECIFIED);
            self.sites[site].rib.originate(prefix, Attributes::new(nowhere));
        }
        self.sites[site].to_flush = true;
    }

    fn note_told(&mut self, site: usize, prefix: IpNet) {
        self.judge.told(site, prefix, self.now);
        // By then neighbors must hold what they were told.
        self.schedule(self.now + wire::CONVERGED, site, Event::Judge);
    }

    fn wake_for_steer(&mut self, site: usize) {
        let it = &mut self.sites[site];
        let due = it.steer.as_ref().and_then(Steer::poll_timeout).map(|local| it.at(local));
        if let Some(at) = due
            && it.timer.is_none_or(|timer| timer > at)
        {
            it.timer = Some(at);
            self.schedule(at, site, Event::SteerTimer);
        }
    }
}

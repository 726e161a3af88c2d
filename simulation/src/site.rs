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
use crate::world::{Event, Order, World};

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
        Instant(now.saturating_sub(self.booted).mul_f64(self.rate))
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
        self.sites[site].drains.retain(|it| it.until.is_none_or(|until| until > now));
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
        it.announced.clear();
        it.rib = anycast_bgp::rib::Rib::new(Asn(64500), wire::router_id(site));
        for service in &mut it.services {
            service.stop_checks();
        }
        self.judge.site_ends(site, self.now);
    }

    fn lose_announcements(&mut self, site: usize) {
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
        until: Option<Duration>,
        now: bool,
        force: bool,
    ) {
        if self.sites[site].steer.is_none() {
            return;
        }
        let reason = "works".to_owned();
        let drain = Drain { target: target.clone(), until: None, now, force, reason };
        let order = Order { drain, until };
        if self.give_order(site, &order) {
            let drains = &mut self.sites[site].drains;
            drains.retain(|it| it.drain.target != *target);
            drains.push(order);
        }
    }

    /// Whether it was taken.
    fn give_order(&mut self, site: usize, order: &Order) -> bool {
        let clock = self.sites[site].clock(self.now);
        let until = order.until.map(|at| self.sites[site].clock(at));
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
        it.variant = variant;
        it.spec.clone_from(&spec);
        let Some(steer) = &mut it.steer else { return };
        steer.replace(clock, spec).expect("the plan's specifications are sound");
        self.judge.site_reloads(site, self.now);
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
        if self.sites[site].steer.is_none() {
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
        if acted {
            self.publish(site);
            self.judge_site(site);
        }
        self.flush_neighbors(site);
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

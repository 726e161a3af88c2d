//! The state machine: outcomes of checks, operators' wishes, the fleet's state, load and time in;
//! announcements, withdrawals and questions out.

mod asking;
mod drains;

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use ipnet::IpNet;

use crate::drain::{Drain, Draining, Stage, Target};
use crate::floor::{FleetView, Record};
use crate::prefix::{Permit, Prefix, Wish, join};
use crate::service::{Service, Turn};
use crate::status::{DrainStatus, ReasonKind, Status};
use crate::{Instant, Manner, Spec, SpecError, Verdict};

/// What one run of a check found.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Outcome {
    /// As it should be.
    Pass,
    /// Not, and why, in words for an operator.
    Fail(String),
}

/// What the fleet says to a site that wants to withdraw a prefix.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Answer {
    /// It may; its name is in the ledger.
    Granted,
    /// It may not, and why.
    Refused(String),
    /// The fleet's state cannot be reached.
    Unreachable,
}

/// What the driver must now do or record, in the order given: a cause stands before its effect.
#[derive(Clone, Debug, PartialEq)]
pub enum Action {
    /// The service became healthy.
    ServiceUp {
        /// Its index in the specification.
        service: usize,
    },
    /// The service stopped being healthy.
    ServiceDown {
        /// Its index in the specification.
        service: usize,
        /// The first of its checks that is down, or how it went.
        why: String,
    },
    /// From now on each neighbor is told of the prefix like this.
    Tell {
        /// The prefix.
        prefix: IpNet,
        /// By index in the specification's neighbors; `None`: not at all.
        told: Vec<Option<Manner>>,
        /// How it differs from before.
        change: Change,
        /// The causes in one line; empty for a plain announcement.
        why: String,
    },
    /// Ask the fleet whether the prefix may be withdrawn, and give the answer to
    /// [`Steer::handle_permit`].
    Ask {
        /// The prefix.
        prefix: IpNet,
    },
    /// Take this site's name out of the prefix's ledger: it is announced again.
    Release {
        /// The prefix.
        prefix: IpNet,
    },
    /// The prefix stays announced although it should not be: to be said loudly.
    Held {
        /// The prefix.
        prefix: IpNet,
        /// Why it should be withdrawn, and why it may not be.
        why: String,
    },
    /// The prefix is no longer held.
    Freed {
        /// The prefix.
        prefix: IpNet,
    },
    /// What falls too often stays down.
    Damped {
        /// A service's name or a prefix.
        what: String,
        /// For how long.
        rest: Duration,
    },
    /// Its time is over, or an operator has ended it.
    Undamped {
        /// A service's name or a prefix.
        what: String,
    },
    /// A prefix has taken a step of shedding, or has taken one back.
    Shed {
        /// The prefix.
        prefix: IpNet,
        /// Steps taken now.
        level: usize,
        /// The load's reading, and the steps that there are.
        why: String,
    },
    /// The load asks for a step of shedding that is not taken; said once, until it asks no more.
    ShedRefused {
        /// The prefix.
        prefix: IpNet,
        /// The load's reading, the step, and why not.
        why: String,
    },
    /// A drain has begun or has come further.
    Drain {
        /// What is drained.
        target: Target,
        /// How far.
        stage: Stage,
        /// Why it is at that stage.
        why: String,
    },
    /// A drain has ended.
    Undrain {
        /// What was drained.
        target: Target,
        /// Why.
        why: String,
    },
}

/// How what neighbors are told differs from before.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Change {
    /// Nobody was told before.
    Announce,
    /// Nobody is told any more.
    Withdraw,
    /// Some were told and some are.
    Adjust,
}

/// Steering of one site.
#[derive(Clone, Debug)]
pub struct Steer {
    pub(crate) spec: Spec,
    pub(crate) services: Vec<Service>,
    prefixes: Vec<Prefix>,
    /// Where each prefix is among them.
    places: BTreeMap<IpNet, usize>,
    /// How many of them any neighbor is told of.
    announcing: usize,
    pub(crate) drains: Vec<Draining>,
    view: Option<Arc<FleetView>>,
    heard: Option<Instant>,
    pub(crate) stopping: bool,
    actions: VecDeque<Action>,
}

impl Steer {
    /// Starts with everything down and withdrawn: healthy only once proven. Only services
    /// without checks are up from the start, so there may be actions to poll at once.
    ///
    /// # Errors
    /// If two services share a name or a prefix stands for one that does not exist.
    pub fn new(spec: Spec) -> Result<Self, SpecError> {
        Self::drained(spec, Vec::new())
    }

    /// The same while operators' drains go on from before the start: what they are about is not
    /// announced at all. A drain of what does not exist ends.
    ///
    /// # Errors
    /// As [`Steer::new`].
    pub fn drained(spec: Spec, drains: Vec<Drain>) -> Result<Self, SpecError> {
        let mut steer = Self::unproven(spec)?;
        for drain in drains {
            if steer.has(&drain.target) {
                let begun = Draining::new(drain, Stage::Withdrawing, Instant::START);
                steer.drains.push(begun);
            } else {
                let why = "it is not in the fleet file".to_owned();
                steer.actions.push_back(Action::Undrain { target: drain.target, why });
            }
        }
        for service in 0..steer.services.len() {
            steer.judge(Instant::START, service);
        }
        steer.steer_all(Instant::START);
        Ok(steer)
    }

    fn unproven(mut spec: Spec) -> Result<Self, SpecError> {
        let mut by_name = BTreeMap::new();
        for (index, service) in spec.services.iter().enumerate() {
            if by_name.insert(service.name.as_str(), index).is_some() {
                return Err(SpecError::DuplicateService(service.name.clone()));
            }
        }
        let prefixes = std::mem::take(&mut spec.prefixes).into_iter();
        let prefixes: Vec<Prefix> = prefixes
            .map(|prefix| Prefix::new(prefix, &by_name, &spec.neighbors))
            .collect::<Result<_, _>>()?;
        // Of several that are equal the first counts.
        let places = prefixes.iter().enumerate().rev();
        let places = places.map(|(index, it)| (it.spec.prefix, index)).collect();
        let services = spec.services.iter().cloned().map(Service::new).collect();
        Ok(Self {
            spec,
            services,
            prefixes,
            places,
            announcing: 0,
            drains: Vec::new(),
            view: None,
            heard: None,
            stopping: false,
            actions: VecDeque::new(),
        })
    }

    /// Steers by another specification from now on. What is in both, by name, keeps its state: a
    /// service's verdict and its checks' counts, what neighbors were told. A check that is new to
    /// a service that is up must fail before it counts. What is no longer there is withdrawn,
    /// whatever the floor.
    ///
    /// # Errors
    /// As [`Steer::new`]; nothing has changed then.
    pub fn replace(&mut self, now: Instant, spec: Spec) -> Result<(), SpecError> {
        let mut new = Self::unproven(spec)?;
        for service in &mut new.services {
            if let Some(old) = self.services.iter().find(|it| it.spec.name == service.spec.name) {
                service.continue_from(old);
            }
        }
        let then = |name: &String| self.spec.neighbors.iter().position(|it| it == name);
        let neighbors: Vec<Option<usize>> = new.spec.neighbors.iter().map(then).collect();
        for prefix in &mut new.prefixes {
            if let Some(old) = self.places.get(&prefix.spec.prefix) {
                prefix.continue_from(&self.prefixes[*old], &neighbors);
            }
        }
        new.announcing = new.prefixes.iter().filter(|it| it.announced()).count();
        new.actions = std::mem::take(&mut self.actions);
        for old in &self.prefixes {
            let kept = new.places.contains_key(&old.spec.prefix);
            if old.announced() && !kept {
                new.actions.push_back(Action::Tell {
                    prefix: old.spec.prefix,
                    told: vec![None; new.spec.neighbors.len()],
                    change: Change::Withdraw,
                    why: "it is no longer in the fleet file".to_owned(),
                });
            }
        }
        for draining in std::mem::take(&mut self.drains) {
            if new.has(&draining.drain.target) {
                new.drains.push(draining);
            } else {
                let target = draining.drain.target;
                let why = "it is no longer in the fleet file".to_owned();
                new.actions.push_back(Action::Undrain { target, why });
            }
        }
        new.view = self.view.take();
        new.heard = self.heard;
        new.stopping = self.stopping;
        *self = new;
        for service in 0..self.services.len() {
            self.judge(now, service);
        }
        self.steer_all(now);
        Ok(())
    }

    /// What it steers by; the prefixes are in [`Status`].
    pub fn neighbors(&self) -> &[String] {
        &self.spec.neighbors
    }

    /// The loads that prefixes heed, in the order of the indices that readings come with.
    pub fn loads(&self) -> &[String] {
        &self.spec.loads
    }

    /// Takes in what a run of `check` of `service` found.
    ///
    /// # Panics
    /// If there is no such service or check.
    pub fn handle_result(&mut self, now: Instant, service: usize, check: usize, outcome: Outcome) {
        let state = &mut self.services[service];
        match outcome {
            Outcome::Pass => {
                state.tallies[check].pass(now);
                state.gone = None;
            }
            Outcome::Fail(why) => state.tallies[check].fail(now, why),
        }
        self.judge(now, service);
    }

    /// The service's own process died: it is down at once, whatever its thresholds, and every
    /// check must rise again from zero.
    ///
    /// # Panics
    /// If there is no such service.
    pub fn handle_gone(&mut self, now: Instant, service: usize, why: String) {
        let state = &mut self.services[service];
        for tally in &mut state.tallies {
            tally.drop_to_zero(now, &why);
        }
        state.gone = Some(why);
        self.judge(now, service);
    }

    /// The service's own process runs again: one without checks is up at once, one with checks
    /// still has to prove it.
    ///
    /// # Panics
    /// If there is no such service.
    pub fn handle_back(&mut self, now: Instant, service: usize) {
        self.services[service].gone = None;
        self.judge(now, service);
    }

    /// The service was up when this daemon gave way to this program of it, a moment ago: it is up
    /// until a check of it has failed as often as its threshold says.
    ///
    /// # Panics
    /// If there is no such service.
    pub fn handle_inherited(&mut self, now: Instant, service: usize) {
        for tally in &mut self.services[service].tallies {
            tally.excused = tally.verdict == Verdict::Unproven;
        }
        self.judge(now, service);
    }

    /// Takes in a reading of a load.
    pub fn handle_load(&mut self, now: Instant, load: usize, reading: f64) {
        for index in 0..self.prefixes.len() {
            let prefix = &mut self.prefixes[index];
            let Some(spec) = &prefix.spec.shed else { continue };
            if self.spec.loads.get(load) != Some(&spec.load) {
                continue;
            }
            prefix.shedding.reading = Some(reading);
            let (level, steps) = (prefix.shedding.level, spec.steps.len());
            let wanted = prefix.shedding.wanted(spec, now, reading);
            if wanted == level {
                let next = spec.steps.get(level);
                prefix.shedding.is_refused &= next.is_some_and(|step| reading > step.above);
                continue;
            }
            let why = format!("load {} is {reading:.0}; step {wanted} of {steps}", spec.load);
            let can_take = if wanted > level { self.fleet_can_take(index) } else { Ok(()) };
            let prefix = &mut self.prefixes[index];
            if let Err(but) = can_take {
                if !std::mem::replace(&mut prefix.shedding.is_refused, true) {
                    let (prefix, why) = (prefix.spec.prefix, format!("{why} is not taken: {but}"));
                    self.actions.push_back(Action::ShedRefused { prefix, why });
                }
                continue;
            }
            prefix.shedding.set(now, wanted);
            let prefix = prefix.spec.prefix;
            self.actions.push_back(Action::Shed { prefix, level: wanted, why });
            self.steer(now, index, None);
        }
        self.advance_drains();
    }

    /// Ends damping of the service or prefix of this name, or of all; returns how many it freed.
    pub fn clear_damping(&mut self, now: Instant, what: Option<&str>) -> usize {
        let mut freed = 0;
        let named = |name: &str| what.is_none_or(|what| what == name);
        for service in &mut self.services {
            if named(&service.spec.name) {
                let suppressed = std::mem::take(&mut service.penalty).suppressed;
                if suppressed {
                    freed += 1;
                    let what = service.spec.name.clone();
                    self.actions.push_back(Action::Undamped { what });
                }
            }
        }
        for prefix in &mut self.prefixes {
            let name = prefix.spec.prefix.to_string();
            if named(&name) && std::mem::take(&mut prefix.penalty).suppressed {
                freed += 1;
                self.actions.push_back(Action::Undamped { what: name });
            }
        }
        for service in 0..self.services.len() {
            self.judge(now, service);
        }
        self.steer_all(now);
        freed
    }

    /// The site is about to stop: everything is withdrawn, whatever the floor, and nothing is
    /// announced again.
    pub fn handle_stop(&mut self, now: Instant) {
        self.stopping = true;
        self.steer_all(now);
    }

    /// When [`Steer::handle_timeout`] has something to do; `None`: not by time alone.
    pub fn poll_timeout(&self) -> Option<Instant> {
        let services = self.services.iter().filter_map(|it| {
            it.spec.damping.as_ref().and_then(|damping| it.penalty.free_at(damping))
        });
        let prefixes = self.prefixes.iter().filter_map(|it| {
            it.spec.damping.as_ref().and_then(|damping| it.penalty.free_at(damping))
        });
        let permits = self.prefixes.iter().filter_map(|it| match it.permit {
            Permit::Refused { retry } => Some(retry),
            Permit::None | Permit::Asking | Permit::Granted => None,
        });
        let drains = self.drains.iter().filter_map(|it| match it.stage {
            Stage::Leaving { ends } => Some(it.drain.until.map_or(ends, |until| until.min(ends))),
            Stage::Withdrawing | Stage::Drained => it.drain.until,
        });
        services.chain(prefixes).chain(permits).chain(drains).min()
    }

    /// Does what is due by now.
    pub fn handle_timeout(&mut self, now: Instant) {
        for index in 0..self.services.len() {
            let service = &mut self.services[index];
            if let Some(damping) = service.spec.damping
                && service.penalty.free(&damping, now)
            {
                let what = service.spec.name.clone();
                self.actions.push_back(Action::Undamped { what });
                self.judge(now, index);
            }
        }
        for index in 0..self.prefixes.len() {
            let prefix = &mut self.prefixes[index];
            if let Some(damping) = prefix.spec.damping
                && prefix.penalty.free(&damping, now)
            {
                let what = prefix.spec.prefix.to_string();
                self.actions.push_back(Action::Undamped { what });
                self.steer(now, index, None);
            }
            if matches!(self.prefixes[index].permit, Permit::Refused { retry } if retry <= now) {
                self.ask_or_decide(now, index);
            }
        }
        let over = |it: &Draining| it.drain.until.is_some_and(|until| until <= now);
        self.end_drains(now, "its time is over", over);
        for index in 0..self.drains.len() {
            if matches!(self.drains[index].stage, Stage::Leaving { ends } if ends <= now) {
                self.advance(index, Stage::Withdrawing, "the longest wait for traffic is over");
                self.steer_all(now);
            }
        }
        self.advance_drains();
    }

    /// The next thing to do, oldest first.
    pub fn poll_action(&mut self) -> Option<Action> {
        self.actions.pop_front()
    }

    /// What this site tells the others of itself.
    pub fn record(&self) -> Record {
        let which = |wanted: fn(&Prefix) -> bool| {
            let wanted = self.prefixes.iter().filter(|it| wanted(it));
            wanted.map(|it| it.spec.prefix).collect()
        };
        Record {
            announces: which(Prefix::announced),
            held: which(|it| it.held.is_some()),
            sheds: which(|it| it.shedding.level > 0),
            drained: self.drains.iter().any(|it| it.drain.target == Target::Site),
            seen: 0,
        }
    }

    /// How everything stands.
    pub fn status(&self, now: Instant) -> Status {
        let prefix = |it: &Prefix| {
            let name = |(index, _): &(usize, u64)| self.services[*index].spec.name.clone();
            let names = it.services.iter().map(name).collect();
            it.status(names, &self.spec.neighbors, self.wish(it), now)
        };
        let drain = |it: &Draining| DrainStatus {
            drain: it.drain.clone(),
            stage: it.stage,
            since: it.since,
        };
        Status {
            services: self.services.iter().map(|it| it.status(now)).collect(),
            prefixes: self.prefixes.iter().map(prefix).collect(),
            drains: self.drains.iter().map(drain).collect(),
            fleet_heard: self.heard,
        }
    }

    /// Draws the service's verdict from its checks and, if it turned, steers every prefix that
    /// stands for it.
    fn judge(&mut self, now: Instant, service: usize) {
        let state = &mut self.services[service];
        match state.judge(now) {
            None => return,
            Some(Turn::Up) => self.actions.push_back(Action::ServiceUp { service }),
            Some(Turn::Down(why)) => {
                self.actions.push_back(Action::ServiceDown { service, why });
                if let Some(damping) = state.spec.damping
                    && state.penalty.add(&damping, now)
                {
                    let rest =
                        state.penalty.free_at(&damping).map_or(Duration::ZERO, |at| at - now);
                    let what = state.spec.name.clone();
                    self.actions.push_back(Action::Damped { what, rest });
                }
            }
        }
        for prefix in 0..self.prefixes.len() {
            if self.prefixes[prefix].services.iter().any(|(index, _)| *index == service) {
                self.steer(now, prefix, None);
            }
        }
        self.advance_drains();
    }

    fn steer_all(&mut self, now: Instant) {
        for prefix in 0..self.prefixes.len() {
            self.steer(now, prefix, None);
        }
        self.advance_drains();
    }

    /// Moves one prefix to what is now wanted, if that differs from what is. `refusal` is why the
    /// fleet has just said no.
    fn steer(&mut self, now: Instant, index: usize, refusal: Option<String>) {
        let mut wish = self.wish(&self.prefixes[index]);
        let prefix = &self.prefixes[index];
        let leaves = prefix.announced() && !wish.announces();
        if leaves && !wish.forced && prefix.spec.floor.is_some() {
            if prefix.permit == Permit::None {
                self.ask_or_decide(now, index);
                if self.prefixes[index].permit != Permit::Asking {
                    // Decided on the spot, and carried out.
                    return;
                }
            }
            if self.prefixes[index].permit != Permit::Granted {
                self.hold(index, &mut wish, refusal);
            }
        } else if !leaves && matches!(prefix.permit, Permit::Refused { .. }) {
            self.prefixes[index].permit = Permit::None;
        }
        let held = wish.reasons.iter().any(|it| it.kind == ReasonKind::Floor);
        if !held && self.prefixes[index].held.take().is_some() {
            let prefix = self.prefixes[index].spec.prefix;
            self.actions.push_back(Action::Freed { prefix });
        }
        self.tell(now, index, wish);
        let prefix = &mut self.prefixes[index];
        if prefix.announced() && !held && prefix.permit == Permit::Granted {
            prefix.permit = Permit::None;
            if self.spec.lease.is_some() {
                self.actions.push_back(Action::Release { prefix: prefix.spec.prefix });
            }
        }
    }

    /// Tells the neighbors what `wish` says, if that is anything new.
    fn tell(&mut self, now: Instant, index: usize, wish: Wish) {
        let prefix = &mut self.prefixes[index];
        let change = match (prefix.announced(), wish.announces()) {
            (false, true) => Change::Announce,
            (true, false) => Change::Withdraw,
            _ => Change::Adjust,
        };
        let for_health = wish.reasons.iter().any(|it| it.kind == ReasonKind::Services);
        let why = join(&wish.reasons).unwrap_or_default();
        if prefix.told == wish.told {
            return;
        }
        let before = prefix.announced();
        prefix.tell(&wish.told);
        self.announcing = self.announcing + usize::from(prefix.announced()) - usize::from(before);
        if change != Change::Adjust {
            prefix.since = now;
        }
        let (net, told) = (prefix.spec.prefix, wish.told);
        self.actions.push_back(Action::Tell { prefix: net, told, change, why });
        if change == Change::Withdraw
            && for_health
            && let Some(damping) = prefix.spec.damping
            && prefix.penalty.add(&damping, now)
        {
            let rest = prefix.penalty.free_at(&damping).map_or(Duration::ZERO, |at| at - now);
            self.actions.push_back(Action::Damped { what: net.to_string(), rest });
        }
    }
}

#[cfg(test)]
mod tests;

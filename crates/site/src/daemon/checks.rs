//! What is seen of services: checks, the processes of built-in ones, sockets that died.

use std::collections::BTreeSet;

use anycast_steer::Outcome;

use super::{Daemon, Trigger};
use crate::builtin::BuiltinEvent;
use crate::check::{self, Runner};
use crate::translate;
use crate::watch::{self as deaths, Deaths};

impl Daemon {
    /// Starts the checks of services that others serve; a built-in's start when it is ready.
    pub(super) fn start_checks(&mut self) {
        for index in 0..self.fleet.services.len() {
            if self.fleet.services[index].builtin.is_none() {
                self.start_checks_of(index);
            }
        }
    }

    pub(super) fn start_checks_of(&mut self, index: usize) {
        for number in 0..self.fleet.services[index].checks.len() {
            self.start_check(index, number);
        }
    }

    pub(super) fn start_check(&mut self, index: usize, number: usize) {
        let service = &self.fleet.services[index];
        let check = &service.checks[number];
        let runner = Runner {
            service: self.slots.service(index),
            check: self.slots.check(index, number),
            probe: translate::check(service, check),
            interval: check.interval,
            jitter: check.jitter,
            rise: check.thresholds.rise,
            fall: check.thresholds.fall,
        };
        self.runners.insert((index, number), runner.spawn(self.check_events.clone()));
    }

    /// If a checker dies, the announcement dies with it; another one may prove the service anew.
    pub(super) fn replace_dead_checkers(&mut self) {
        let dead = self.runners.iter().filter(|(_, runner)| runner.is_dead());
        let services: BTreeSet<usize> = dead.map(|((service, _), _)| *service).collect();
        for service in services {
            let why = "its checker has died".to_owned();
            let name = &self.fleet.services[service].name;
            let died = self.events.warn("checker-died", name, "");
            self.steer.handle_gone(self.now(), service, why);
            self.steer_on(Trigger::Event(died));
            self.start_checks_of(service);
        }
    }

    pub(super) fn poke(&self, service: usize) {
        for ((of, _), runner) in &self.runners {
            if *of == service {
                runner.poke();
            }
        }
    }

    pub(super) fn watch_deaths(&mut self) -> Option<Deaths> {
        let watched = self.fleet.services.iter().flat_map(translate::sockets).collect();
        match Deaths::open(watched) {
            Ok(deaths) => Some(deaths),
            Err(error) => {
                let words = format!("{error}; a dead service is seen at its next check only");
                self.events.add("watch-unavailable", "sockets", &words);
                None
            }
        }
    }

    pub(super) fn handle_check(&mut self, event: check::Event) {
        // One that a reload ended may have had its outcome on the way.
        let Some((service, check)) = self.slots.check_of(event.check) else { return };
        let ours = self.fleet.services[service].builtin.is_some();
        if ours && !self.pids.contains_key(&service) {
            // Seen before its process died, told after.
            return;
        }
        self.check_times.add(service, check, event.outcome.is_ok(), event.took);
        let reading = event.reading;
        let outcome = match event.outcome {
            Ok(()) => Outcome::Pass,
            Err(failure) => Outcome::Fail(failure.to_string()),
        };
        let trigger = Trigger::Check { service, check, outcome: outcome.clone() };
        self.steer.handle_result(self.now(), service, check, outcome);
        self.steer_on(trigger);
        if let Some(reading) = reading {
            self.handle_printed(service, check, reading);
        }
    }

    pub(super) fn handle_builtin(&mut self, event: BuiltinEvent) {
        let (BuiltinEvent::Ready { service, .. }
        | BuiltinEvent::Quic { service, .. }
        | BuiltinEvent::Gone { service, .. }) = &event;
        // One that a reload ends serves on for a while.
        let Some(service) = self.slots.service_of(*service) else { return };
        let trigger = match event {
            BuiltinEvent::Ready { pid, .. } => {
                self.pids.insert(service, pid);
                let name = self.fleet.services[service].name.clone();
                let started = self.events.add("service-started", &name, &format!("process {pid}"));
                self.steer.handle_back(self.now(), service);
                if self.runners.keys().any(|(of, _)| *of == service) {
                    self.poke(service);
                } else {
                    self.start_checks_of(service);
                }
                started
            }
            BuiltinEvent::Quic { served, .. } => {
                let name = self.fleet.services[service].name.clone();
                match served {
                    Ok(where_it_is) => {
                        self.events.add("quic-served", &name, &where_it_is);
                        self.no_quic.remove(&name);
                    }
                    Err(why) => {
                        self.events.warn("quic-unavailable", &name, &why);
                        self.no_quic.insert(name, why);
                    }
                }
                return;
            }
            BuiltinEvent::Gone { why, .. } => {
                self.pids.remove(&service);
                let name = &self.fleet.services[service].name;
                // What it said of QUIC went with it.
                self.no_quic.remove(name);
                let ended = self.events.add("service-ended", name, &why);
                self.steer.handle_gone(self.now(), service, why);
                ended
            }
        };
        self.steer_on(Trigger::Event(trigger));
    }

    pub(super) fn handle_death(&mut self, event: deaths::Event) {
        match event {
            deaths::Event::Death(death) => {
                for (index, service) in self.fleet.services.iter().enumerate() {
                    let concerned =
                        translate::sockets(service).iter().any(|socket| death.serves(socket));
                    if concerned {
                        self.poke(index);
                    }
                }
            }
            deaths::Event::Overrun => {
                for runner in self.runners.values() {
                    runner.poke();
                }
            }
        }
    }
}

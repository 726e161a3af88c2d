//! What is measured once a second: packets for what is drained, and the loads that prefixes heed.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::net::IpAddr;

use anycast_steer::Target;
use tokio::task::JoinHandle;

use super::{Daemon, Trigger};
use crate::traffic::{Cores, Counter, ESTABLISHED, connections};

/// What is being measured.
#[derive(Default)]
pub(super) struct Meters {
    /// By drain; `None`: packets cannot be counted.
    drains: BTreeMap<Target, Option<Counter>>,
    /// By load.
    loads: BTreeMap<String, Option<Gauge>>,
}

/// One load.
enum Gauge {
    Cores(Cores),
    Packets(Counter),
    /// The counting that is under way, if any.
    Connections(Option<JoinHandle<io::Result<u64>>>),
}

impl Daemon {
    /// Takes a reading of everything that is measured.
    pub(super) fn take_readings(&mut self) {
        self.count_for_drains();
        self.count_connections();
        self.tell_programs();
        self.read_loads();
    }

    /// The addresses that a drain is about; none for a neighbor's: packets do not tell who sent
    /// them this way.
    fn addresses_of(&self, target: &Target) -> Vec<IpAddr> {
        let services = self.fleet.services.iter().filter(|service| match target {
            Target::Site => true,
            Target::Service(name) => service.name == *name,
            Target::Neighbor(_) => false,
        });
        services.flat_map(|service| service.addresses.clone()).collect()
    }

    pub(super) fn count_for_drains(&mut self) {
        let drains = self.steer.status(self.now()).drains;
        let targets: BTreeSet<Target> = drains.into_iter().map(|it| it.drain.target).collect();
        self.meters.drains.retain(|target, _| targets.contains(target));
        for target in targets {
            if !self.meters.drains.contains_key(&target) {
                let counter = self.counter_for(&target);
                self.meters.drains.insert(target.clone(), counter);
            }
            let counter = self.meters.drains.get_mut(&target).and_then(Option::as_mut);
            if let Some(Ok(Some(rate))) = counter.map(Counter::read) {
                self.steer.handle_traffic(self.now(), &target, rate);
                self.steer_on(Trigger::Nothing);
            }
        }
    }

    fn counter_for(&mut self, target: &Target) -> Option<Counter> {
        let addresses = self.addresses_of(target);
        if addresses.is_empty() {
            return None;
        }
        match Counter::open(&addresses) {
            Ok(counter) => Some(counter),
            Err(error) => {
                let words = format!("{error}; a drain waits for its whole time (CAP_NET_RAW?)");
                self.events.warn("packets-not-counted", &target.to_string(), &words);
                None
            }
        }
    }

    /// Packets per second that come for what is drained, if they are counted.
    pub(super) fn rate_of(&self, target: &Target) -> Option<f64> {
        self.meters.drains.get(target)?.as_ref()?.last()
    }

    fn read_loads(&mut self) {
        let names = self.steer.loads().to_vec();
        self.meters.loads.retain(|name, _| names.contains(name));
        for (index, name) in names.iter().enumerate() {
            if !self.meters.loads.contains_key(name) {
                let gauge = self.gauge(name);
                self.meters.loads.insert(name.clone(), gauge);
            }
            let addresses = self.addresses_of(&Target::Site);
            let gauge = self.meters.loads.get_mut(name).and_then(Option::as_mut);
            if let Some(reading) = gauge.and_then(|gauge| gauge.read(addresses)) {
                self.steer.handle_load(self.now(), index, reading);
                self.steer_on(Trigger::Nothing);
            }
        }
    }

    /// A command check has printed a number.
    pub(super) fn handle_printed(&mut self, service: usize, check: usize, reading: f64) {
        let name = format!("check {}", self.fleet.services[service].checks[check].name);
        if let Some(index) = self.steer.loads().iter().position(|load| *load == name) {
            self.steer.handle_load(self.now(), index, reading);
            self.steer_on(Trigger::Nothing);
        }
    }

    fn gauge(&mut self, name: &str) -> Option<Gauge> {
        let gauge = match name {
            "cpu" => Ok(Gauge::Cores(Cores::default())),
            "connections" => Ok(Gauge::Connections(None)),
            "packets" => Counter::open(&self.addresses_of(&Target::Site)).map(Gauge::Packets),
            // Read as its check runs.
            check if check.starts_with("check ") => return None,
            _ => Err(io::Error::other("this daemon does not measure it")),
        };
        gauge
            .inspect_err(|error| {
                let words = format!("{error}; no load is shed for it");
                self.events.warn("load-not-measured", name, &words);
            })
            .ok()
    }
}

impl Gauge {
    /// `None`: there is nothing to say yet.
    fn read(&mut self, addresses: Vec<IpAddr>) -> Option<f64> {
        match self {
            Self::Cores(cores) => cores.read().ok()?,
            Self::Packets(counter) => counter.read().ok()?,
            Self::Connections(counting) => {
                let done = counting.take_if(|counting| counting.is_finished());
                if counting.is_none() {
                    let addresses = addresses.into_iter().collect();
                    // With a million connections it takes longer than the loop may stand still.
                    let count = move || connections(&addresses, ESTABLISHED);
                    *counting = Some(tokio::task::spawn_blocking(count));
                }
                let count = futures_util::FutureExt::now_or_never(done?)?.ok()?.ok()?;
                #[expect(clippy::cast_precision_loss, reason = "fewer than 2^52 connections")]
                Some(count as f64)
            }
        }
    }
}

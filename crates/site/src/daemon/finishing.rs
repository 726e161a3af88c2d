//! What is drained and withdrawn, and still has connections that run on here: they are counted
//! until they have ended, or for as long as the fleet file says.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::net::IpAddr;

use anycast_steer::{Stage, Target};
use futures_util::FutureExt;
use tokio::task::JoinHandle;
use tokio::time::Instant;

use super::Daemon;
use crate::traffic::{self, OPEN};

/// The stage between withdrawn and drained.
pub(super) const FINISHING: &str = "finishing";

/// By drain.
#[derive(Default)]
pub(super) struct Finishing(BTreeMap<Target, Run>);

#[derive(Default)]
struct Run {
    /// The counting that is under way, if any.
    counting: Option<JoinHandle<io::Result<u64>>>,
    /// What was counted last.
    connections: Option<u64>,
    /// Since when nothing is announced.
    withdrawn: Option<Instant>,
    is_over: bool,
}

impl Daemon {
    /// Counts the connections of what is drained, and says when they have ended or are waited for
    /// no longer.
    pub(super) fn count_connections(&mut self) {
        let drains = self.steer.status(self.now()).drains;
        let targets: BTreeSet<Target> = drains.iter().map(|it| it.drain.target.clone()).collect();
        self.finishing.0.retain(|target, _| targets.contains(target));
        for drain in drains {
            let target = drain.drain.target;
            let addresses = self.kept_addresses(&target);
            if addresses.is_empty() {
                self.finishing.0.remove(&target);
                continue;
            }
            let run = self.finishing.0.entry(target.clone()).or_default();
            run.count(addresses);
            if drain.stage != Stage::Drained {
                run.withdrawn = None;
                run.is_over = false;
                continue;
            }
            let since = *run.withdrawn.get_or_insert_with(Instant::now);
            let Some(left) = run.connections.filter(|_| !run.is_over) else { continue };
            if left > 0 && since.elapsed() < self.fleet.finishing {
                continue;
            }
            run.is_over = true;
            let words = match left {
                0 => "all connections have ended".to_owned(),
                left => format!("{left} connections run on and are waited for no longer"),
            };
            self.events.add("drain-finished", &target.to_string(), &words);
        }
    }

    /// The addresses of what is drained whose connections are kept here.
    fn kept_addresses(&self, target: &Target) -> BTreeSet<IpAddr> {
        if !self.keeper.is_loaded() {
            return BTreeSet::new();
        }
        let services = self.fleet.services.iter().filter(|service| match target {
            Target::Site => true,
            Target::Service(name) => service.name == *name,
            // Connections do not tell which neighbor brought them.
            Target::Neighbor(_) => false,
        });
        let kept = services.filter(|service| service.affinity.tcp);
        kept.flat_map(|service| service.addresses.clone()).collect()
    }

    /// How far a drain is, its connections considered.
    pub(super) fn stage_word(&self, target: &Target, stage: Stage) -> &'static str {
        let runs_on = || match self.finishing.0.get(target) {
            Some(run) => !run.is_over,
            // It has just been withdrawn.
            None => !self.kept_addresses(target).is_empty(),
        };
        if stage == Stage::Drained && runs_on() { FINISHING } else { stage.word() }
    }

    /// How many connections run on, and for how many seconds they are waited for.
    pub(super) fn connections_of(&self, target: &Target) -> (Option<u64>, Option<f64>) {
        let Some(run) = self.finishing.0.get(target) else { return (None, None) };
        let left = run.withdrawn.filter(|_| !run.is_over);
        let left = left.map(|since| self.fleet.finishing.saturating_sub(since.elapsed()));
        (run.connections, left.map(|left| left.as_secs_f64()))
    }
}

impl Run {
    /// Takes what was counted, and counts again.
    fn count(&mut self, addresses: BTreeSet<IpAddr>) {
        let done = self.counting.take_if(|counting| counting.is_finished());
        if let Some(Some(Ok(Ok(count)))) = done.map(FutureExt::now_or_never) {
            self.connections = Some(count);
        }
        if self.counting.is_none() {
            // With a million connections it takes longer than the loop may stand still.
            let count = move || traffic::connections(&addresses, OPEN);
            self.counting = Some(tokio::task::spawn_blocking(count));
        }
    }
}

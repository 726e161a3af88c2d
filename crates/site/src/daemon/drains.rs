//! Drains at a running site: ordered, ended, written down and shown.

use std::path::Path;
use std::time::Duration;

use anycast_steer::{Action, Drain, Stage, Steer, Target};

use super::{Daemon, Trigger};
use crate::control::Caller;
use crate::drain::{
    self, ClearOrder, DrainOrder, DrainRow, Drains, Found, Known, UndrainOrder, unix_now,
};
use crate::events::{EventLog, Happening};
use crate::handover::TakenOver;

/// Says what became of the drains that there were before the start.
fn say_what_was_found(found: &Found, events: &mut EventLog) {
    if let Some(why) = &found.unreadable {
        let words = format!("{why}; the site starts drained: `anycast undrain` ends that");
        events.warn("drains-unreadable", "site", &words);
    }
    if let Some(why) = &found.unreachable {
        let words = format!("{why}; whether anything was drained is not known");
        events.warn("drains-unreadable", "site", &words);
    }
    for target in &found.over {
        let words = "its time was over while the daemon did not run";
        events.add("undrained", &target.to_string(), words);
    }
    for drain in &found.drains {
        events.add("drain", &drain.target.to_string(), &found_in_words(drain));
    }
}

fn found_in_words(drain: &Drain) -> String {
    let left = drain.until.map(|until| format!("for another {} s", until.0.as_secs()));
    let reason = Some(drain.reason.clone()).filter(|reason| !reason.is_empty());
    let parts = [Some("from before the start".to_owned()), left, reason];
    parts.into_iter().flatten().collect::<Vec<_>>().join(", ")
}

impl Daemon {
    /// Steers by the drains that an earlier daemon left in `folder`, and by one of the site if it
    /// is to start drained. Nothing may have been announced yet.
    pub(super) fn take_up_drains(
        &mut self,
        folder: &Path,
        start_drained: bool,
        taken_over: Option<&TakenOver>,
    ) {
        let reason = if taken_over.is_some_and(|taken| !taken.drained) {
            // An operator has ended that since the daemon's start.
            None
        } else if start_drained {
            Some("started with --drained")
        } else {
            self.site.start_drained.then_some("start-drained in the fleet file")
        };
        let (drains, found) = Drains::open(folder, reason, unix_now());
        self.drains = drains;
        say_what_was_found(&found, &mut self.events);
        self.steer = Steer::drained(self.fleet.steering(&self.site), found.drains)
            .expect("there was steering by it before");
        self.keep_drains();
    }

    /// Begins a drain; how it stands then.
    pub(super) fn drain(
        &mut self,
        order: &DrainOrder,
        caller: &Caller,
    ) -> Result<DrainRow, String> {
        if self.state == "stopping" {
            return Err("the site is stopping: everything is withdrawn".to_owned());
        }
        let target = drain::target(&order.target, &self.fleet, &self.site)?;
        let lasts = order.lasts()?;
        let (now, unix) = (self.now(), unix_now());
        let known = Known {
            begun: self.drains.get(&target).map_or(unix, |it| it.begun),
            until: lasts.map(|time| unix + time.as_secs_f64()),
            by: caller.name().map(str::to_owned),
            lasting: true,
        };
        let number = self.events.record(Happening {
            kind: "drain",
            subject: &target.to_string(),
            detail: &ordered_in_words(order, lasts),
            by: caller.name(),
            ..Happening::default()
        });
        self.drains.begin(target.clone(), known);
        let drain = Drain {
            target: target.clone(),
            until: lasts.map(|time| now + time),
            now: order.now,
            force: order.force,
            reason: order.reason.clone(),
        };
        self.steer.handle_drain(now, drain)?;
        self.count_for_drains();
        self.steer_on(Trigger::Event(number));
        self.keep_drains();
        let row = self.drain_rows().into_iter().find(|row| row.target == target.to_string());
        Ok(row.expect("it has just begun"))
    }

    /// Ends drains; their targets.
    pub(super) fn undrain(
        &mut self,
        order: &UndrainOrder,
        caller: &Caller,
    ) -> Result<Vec<String>, String> {
        let under_way: Vec<Target> =
            self.steer.status(self.now()).drains.into_iter().map(|it| it.drain.target).collect();
        let targets = if order.all {
            under_way
        } else {
            let target = drain::target(&order.target, &self.fleet, &self.site)?;
            if !under_way.contains(&target) {
                let all: Vec<String> = under_way.iter().map(Target::to_string).collect();
                let there = match all.as_slice() {
                    [] => "nothing is".to_owned(),
                    some => format!("what is: {}", some.join(", ")),
                };
                return Err(format!("{} is not drained; {there}", in_a_sentence(&target)));
            }
            vec![target]
        };
        for target in &targets {
            let subject = target.to_string();
            let (kind, by) = ("undrain", caller.name());
            let what = Happening { kind, subject: &subject, by, ..Happening::default() };
            let number = self.events.record(what);
            self.steer.handle_undrain(self.now(), target);
            self.steer_on(Trigger::Event(number));
        }
        Ok(targets.iter().map(Target::to_string).collect())
    }

    /// Ends damping; what was freed: how many.
    pub(super) fn clear_damping(
        &mut self,
        order: &ClearOrder,
        caller: &Caller,
    ) -> Result<usize, String> {
        if let Some(name) = &order.name {
            let status = self.steer.status(self.now());
            let is_service = status.services.iter().any(|it| it.name == *name);
            if !is_service && !status.prefixes.iter().any(|it| it.prefix.to_string() == *name) {
                return Err(format!("no service or prefix is called {name}"));
            }
        }
        let number = self.events.record(Happening {
            kind: "clear-damping",
            subject: order.name.as_deref().unwrap_or("all"),
            by: caller.name(),
            ..Happening::default()
        });
        let freed = self.steer.clear_damping(self.now(), order.name.as_deref());
        self.steer_on(Trigger::Event(number));
        Ok(freed)
    }

    /// Writes down what is drained, for the next start.
    pub(super) fn keep_drains(&mut self) {
        let under_way = self.steer.status(self.now()).drains;
        if let Err(error) = self.drains.keep(&under_way) {
            let words = format!("{error}; the next start goes by what was written before");
            self.events.warn("drains-not-kept", "drains", &words);
        }
    }

    /// Adds to the end of a drain how long it took, and what still comes.
    pub(super) fn report_end_of_drain(&self, action: &mut Action) {
        let Action::Drain { target, stage: Stage::Drained, why } = action else { return };
        let known = self.drains.get(target);
        let took = known.map(|it| (unix_now() - it.begun).max(0.0));
        let took = took.map(|took| format!("{took:.1} s after the order"));
        let came = self.rate_of(target);
        let came = came.map(|rate| format!("{rate:.0} packets per second still come"));
        let parts = [Some(why.clone()).filter(|why| !why.is_empty()), took, came];
        *why = parts.into_iter().flatten().collect::<Vec<_>>().join("; ");
    }

    /// Everything that is drained, in the order in which it began.
    pub(super) fn drain_rows(&self) -> Vec<DrainRow> {
        let (now, unix) = (self.now(), unix_now());
        let status = self.steer.status(now);
        let rows = status.drains.iter().map(|it| {
            let (drain, stage) = (&it.drain, it.stage);
            let known = self.drains.get(&drain.target);
            let held = status.prefixes.iter().filter(|_| stage == Stage::Withdrawing);
            let held = held.filter_map(|prefix| {
                prefix.held.as_ref().map(|why| format!("{}: {why}", prefix.prefix))
            });
            DrainRow {
                target: drain.target.to_string(),
                stage: self.stage_word(&drain.target, stage).to_owned(),
                leaves_for_seconds: match stage {
                    Stage::Leaving { ends } => Some((ends - now).as_secs_f64()),
                    Stage::Withdrawing | Stage::Drained => None,
                },
                since_seconds: known.map_or(0.0, |known| (unix - known.begun).max(0.0)),
                ends_in_seconds: drain.until.map(|until| (until - now).as_secs_f64()),
                reason: drain.reason.clone(),
                by: known.and_then(|known| known.by.clone()),
                now: drain.now,
                force: drain.force,
                kept: self.drains.is_kept(&drain.target),
                packets_per_second: self.rate_of(&drain.target),
                connections: self.connections_of(&drain.target).0,
                finishes_in_seconds: self.connections_of(&drain.target).1,
                held: held.collect(),
            }
        });
        rows.collect()
    }

    /// How far the drains are that concern a thing, by the furthest.
    pub(super) fn drain_stage(&self, concerns: impl Fn(&Target) -> bool) -> Option<String> {
        let drains = self.steer.status(self.now()).drains;
        let concerned = drains.iter().filter(|it| concerns(&it.drain.target));
        let furthest = concerned.max_by_key(|it| match it.stage {
            Stage::Leaving { .. } => 0,
            Stage::Withdrawing => 1,
            Stage::Drained => 2,
        });
        furthest.map(|it| self.stage_word(&it.drain.target, it.stage).to_owned())
    }
}

fn in_a_sentence(target: &Target) -> String {
    let article = if *target == Target::Site { "the " } else { "" };
    format!("{article}{target}")
}

fn ordered_in_words(order: &DrainOrder, lasts: Option<Duration>) -> String {
    let parts = [
        lasts.map(|time| format!("for {}", drain::in_words(time))),
        order.now.then(|| "at once".to_owned()),
        order.force.then(|| "whatever the floor".to_owned()),
        Some(order.reason.clone()).filter(|reason| !reason.is_empty()),
    ];
    parts.into_iter().flatten().collect::<Vec<_>>().join(", ")
}

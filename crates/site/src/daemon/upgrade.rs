//! `anycast upgrade`: the program's file, which may be a newer one, is tried and then executed in
//! this process, with all sessions.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use tokio::sync::oneshot;

use super::around::Around;
use super::{Daemon, Error};
use crate::control::Caller;
use crate::events::Happening;
use crate::handover::{HandedService, TakenOver, VERSION};
use crate::reload::{Found, read};
use crate::upgrade::{UpgradeOrder, UpgradeReport};

/// For the answer to whoever has ordered it to leave.
const ANSWER: Duration = Duration::from_millis(50);

/// A program that was tried.
pub(super) struct Tried {
    order: UpgradeOrder,
    by: Caller,
    /// Its version, and the fleet as it is in the file now.
    outcome: Result<(String, Found), String>,
    answer: oneshot::Sender<Result<UpgradeReport, String>>,
}

/// What the order came to.
pub(super) enum Go {
    On,
    Upgrade(Caller),
}

impl Daemon {
    /// Tries the program beside the loop; it comes back as [`Tried`].
    pub(super) fn try_program(
        &self,
        order: UpgradeOrder,
        by: Caller,
        answer: oneshot::Sender<Result<UpgradeReport, String>>,
    ) {
        let (program, file) = (self.successor.clone(), self.reload.file().to_owned());
        let tried = self.tried.clone();
        tokio::task::spawn_blocking(move || {
            let outcome = try_program(&program, &file);
            let outcome = outcome.map(|version| (version, read(&file, false)));
            let _ = tried.send(Tried { order, by, outcome, answer });
        });
    }

    pub(super) fn handle_tried(&mut self, tried: Tried) -> Go {
        let Tried { order, by, outcome, answer } = tried;
        let outcome = outcome.and_then(|(version, found)| {
            self.may_upgrade(found)?;
            Ok(self.upgrade_report(version))
        });
        let go = outcome.is_ok() && !order.dry_run;
        if let Err(why) = &outcome {
            let subject = self.successor.display().to_string();
            let (detail, by) = (why.as_str(), by.name());
            let kind = "upgrade-refused";
            let what = Happening { kind, subject: &subject, detail, by, loud: true, cause: None };
            if !order.dry_run {
                self.events.record(what);
            }
        }
        let _ = answer.send(outcome);
        if go { Go::Upgrade(by) } else { Go::On }
    }

    fn upgrade_report(&self, version: String) -> UpgradeReport {
        let (keeps, resets): (Vec<_>, Vec<_>) =
            self.site.neighbors.iter().partition(|it| it.offers.graceful_restart.is_some());
        let names = |of: Vec<&anycast_fleet::Neighbor>| {
            of.into_iter().map(|neighbor| neighbor.name.clone()).collect()
        };
        UpgradeReport {
            program: self.successor.display().to_string(),
            version,
            running: env!("CARGO_PKG_VERSION").to_owned(),
            keeps: names(keeps),
            resets: names(resets),
            after: *self.events.watch().borrow(),
        }
    }

    /// What the next program would read must be what is in force.
    fn may_upgrade(&self, found: Found) -> Result<(), String> {
        if let Some(warning) = self.reload.status().warning() {
            return Err(format!("{warning}: `anycast confirm` or `anycast rollback` comes first"));
        }
        let Some(fleet) = found.fleet else {
            return Err(format!("the fleet file is not sound:\n{}", found.report.rendered));
        };
        let differs = self.differs(fleet)?;
        if !differs.changes.is_empty() || !differs.refused.is_empty() {
            let words = "the fleet file says something else than what is in force";
            return Err(format!("{words}: `anycast reload` comes first"));
        }
        Ok(())
    }

    /// Gives everything to the next program. Nothing is announced or withdrawn any more; what
    /// checks find from here on waits for that program's own checks.
    pub(super) async fn upgrade(mut self, around: &mut Around, by: Caller) -> Error {
        let name = self.successor.display().to_string();
        let (kind, detail, ordered) = ("upgrade", "gives way to this program", by.name());
        let what = Happening { kind, subject: &name, detail, by: ordered, ..Happening::default() };
        self.events.record(what);
        // Time for the answer; the beats of the loop have stopped only now.
        tokio::time::sleep(ANSWER).await;
        let up: Vec<bool> = {
            let status = self.steer.status(self.now());
            let up = |it: &anycast_steer::ServiceStatus| it.verdict == anycast_steer::Verdict::Up;
            status.services.iter().map(up).collect()
        };
        let drained = self.drains.get(&anycast_steer::Target::Site).is_some();
        let mut processes = around.builtins.hand_over().await;
        let services = self.fleet.services.iter().enumerate().map(|(index, service)| {
            let process = processes.remove(&self.slots.service(index));
            let process = process.map(|it| (it.pid, it.lifeline));
            HandedService::new(service.name.clone(), up[index], process)
        });
        let services = services.collect();
        let prepends = self
            .site
            .neighbors
            .iter()
            .map(|neighbor| (neighbor.name.clone(), self.announcer.prepends(&neighbor.name)));
        let prepends = prepends.filter(|(_, count)| *count > 0).collect();
        let Some(speaker) = self.announcer.speaker().hand_over().await else {
            return Error::Speaker("it has ended before it could hand over".to_owned());
        };
        let taken = TakenOver {
            speaker,
            services,
            prepends,
            drained,
            waits: self.hand_over_waits(),
            by: by.name().map(str::to_owned),
            ..TakenOver::default()
        };
        self.events.close(&self.site.name);
        let source = taken.execute(&self.successor);
        Error::Upgrade { program: self.successor, source }
    }

    /// Goes on with what another program has left: its services that were up are up until a check
    /// has failed.
    pub(super) fn inherit(&mut self, taken: &TakenOver, sessions: usize) -> u64 {
        let detail = format!(
            "version {} goes on where version {} was; {sessions} sessions were handed over",
            env!("CARGO_PKG_VERSION"),
            taken.program,
        );
        let (subject, by) = (self.site.name.clone(), taken.by.as_deref());
        let what = Happening {
            kind: "upgraded",
            subject: &subject,
            detail: &detail,
            by,
            ..Happening::default()
        };
        let cause = self.events.record(what);
        let now = self.now();
        for (index, service) in self.fleet.services.iter().enumerate() {
            if taken.services.iter().any(|it| it.name == service.name && it.is_up) {
                self.steer.handle_inherited(now, index);
            }
        }
        self.inherit_waits(&taken.waits);
        for (index, neighbor) in self.site.neighbors.iter().enumerate() {
            if let Some(count) = taken.prepends.get(&neighbor.name) {
                self.announcer.prepend(&self.fleet, &self.site, index, *count);
            }
        }
        cause
    }
}

/// Whether the program runs here, goes on with what this one leaves, and takes the fleet file; its
/// version. It waits for the program.
fn try_program(program: &PathBuf, file: &Path) -> Result<String, String> {
    let shown = program.display();
    let run = |arguments: &[&std::ffi::OsStr]| {
        let output = Command::new(program).args(arguments).output();
        output.map_err(|error| format!("cannot run {shown}: {error}"))
    };
    let words = |octets: &[u8]| String::from_utf8_lossy(octets).trim().to_owned();
    let output = run(&["handover-version".as_ref()])?;
    let understood = words(&output.stdout);
    if !output.status.success() || understood != VERSION.to_string() {
        let ours = format!("this program leaves version {VERSION} of its state");
        let understood = if output.status.success() { understood } else { "none".to_owned() };
        let help = "start the daemon again instead, which resets all sessions";
        return Err(format!("{ours}, and {shown} understands {understood}: {help}"));
    }
    let output = run(&["check".as_ref(), file.as_os_str()])?;
    if !output.status.success() {
        return Err(format!("{shown} does not take the fleet file:\n{}", words(&output.stderr)));
    }
    let output = run(&["--version".as_ref()])?;
    Ok(words(&output.stdout))
}

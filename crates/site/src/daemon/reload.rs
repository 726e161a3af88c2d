//! The fleet file read again: what differs is carried out, confirmed or undone.
//!
//! In this order: all that can fail is opened, or the reload fails and nothing has changed; then
//! neighbors, of which each is put back if a later one cannot be had; then everything else, which
//! cannot fail. What serves goes on serving for `stop-wait` after its withdrawal.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anycast_bgp::IpNet;
use anycast_fleet::difference::Now;
use anycast_fleet::{Change, Difference, Effect, Fleet, Site, Subject, difference};
use anycast_speaker::{ChangeError, Neighbor};
use anycast_steer::Manner;
use tokio::sync::{mpsc, oneshot};
use tokio::time::Instant;

use super::around::{Around, Leaving};
use super::{Daemon, Trigger};
use crate::check;
use crate::confirmed::{BEFORE, Confirmed, Kept};
use crate::control::{Caller, Question};
use crate::events::Happening;
use crate::reload::{
    Found, LONGEST_WAIT, ReloadOrder, ReloadOutcome, ReloadReport, ReloadStatus, read,
};
use crate::translate;

/// A fleet as it was put in force, with the secrets as they were then.
#[derive(Clone)]
pub(super) struct Revision {
    fleet: Fleet,
    neighbors: Vec<Neighbor>,
    /// The text of the file.
    source: String,
}

/// Which fleet is in force, and how it came to that.
pub(super) struct Reload {
    file: PathBuf,
    in_force: Revision,
    /// What was in force before the last reload.
    before: Option<Revision>,
    /// When it is put in force again; without, it waits for an order.
    until: Option<Instant>,
    /// Why the file's is not in force.
    rolled_back: Option<String>,
    /// What a daemon that starts puts in force in the place of the file.
    confirmed: Confirmed,
    /// Files that were read come back here.
    readings: mpsc::UnboundedSender<Reading>,
}

/// A file that was read, and for whom.
pub(super) struct Reading {
    order: ReloadOrder,
    found: Found,
    by: Caller,
    answer: oneshot::Sender<ReloadReport>,
}

impl Revision {
    pub(super) fn new(fleet: &Fleet, neighbors: &[Neighbor], source: String) -> Self {
        Self { fleet: fleet.clone(), neighbors: neighbors.to_vec(), source }
    }

    fn neighbor(&self, name: &str) -> Option<&Neighbor> {
        self.neighbors.iter().find(|it| it.name == name)
    }

    /// What another in its place would change, in view of what neighbors are told `now`. A secret
    /// that is another counts too, although its file has the same name.
    fn difference(&self, new: &Self, site: &str, now: Now<'_>) -> Difference {
        let mut differs = difference(&self.fleet, &new.fleet, site, now);
        for neighbor in &new.neighbors {
            let Some(before) = self.neighbor(&neighbor.name) else { continue };
            if before.password == neighbor.password && before.tcp_ao == neighbor.tcp_ao {
                continue;
            }
            let subject = Subject::Neighbor(neighbor.name.clone());
            let (effect, detail) = (Effect::Reset, "its secret is another".to_owned());
            let known = differs.changes.iter_mut().find(|change| change.subject == subject);
            if let Some(change) = known {
                change.effect = effect;
                change.details.push(detail);
            } else {
                differs.changes.push(Change { subject, effect, details: vec![detail] });
            }
        }
        differs
    }
}

impl Reload {
    pub(super) fn new(
        file: PathBuf,
        in_force: Revision,
        confirmed: Confirmed,
        rolled_back: Option<String>,
    ) -> (Self, mpsc::UnboundedReceiver<Reading>) {
        let (readings, read) = mpsc::unbounded_channel();
        let (before, until) = (None, None);
        (Self { file, in_force, before, until, rolled_back, confirmed, readings }, read)
    }

    /// The file that is read.
    pub(super) fn file(&self) -> &Path {
        &self.file
    }

    pub(super) fn status(&self) -> ReloadStatus {
        let left = |until: Instant| (until - Instant::now()).as_secs_f64();
        ReloadStatus {
            file: self.file.display().to_string(),
            confirm_within_seconds: self.until.map(left),
            rolled_back: self.rolled_back.clone(),
            unconfirmed: self.until.is_none() && self.is_unconfirmed(),
        }
    }

    /// Whether the next start of the daemon would put in force what was before.
    fn is_unconfirmed(&self) -> bool {
        self.confirmed.get().is_some_and(Kept::is_waiting)
    }

    /// Reads the file beside the loop; it comes back as a [`Reading`].
    pub(super) fn start(&self, order: ReloadOrder, by: Caller) -> oneshot::Receiver<ReloadReport> {
        let (answer, answered) = oneshot::channel();
        let (file, readings) = (self.file.clone(), self.readings.clone());
        tokio::task::spawn_blocking(move || {
            let found = read(&file, order.colour);
            let _ = readings.send(Reading { order, found, by, answer });
        });
        answered
    }
}

impl Daemon {
    /// Answers what needs all of the daemon, and hands on the rest.
    pub(super) async fn answer_any(&mut self, question: Question, around: &mut Around) {
        match question {
            Question::Reload(order, by, sender) => {
                let answered = self.reload.start(order, by);
                tokio::spawn(async move {
                    if let Ok(report) = answered.await {
                        let _ = sender.send(report);
                    }
                });
            }
            Question::Upgrade(order, by, sender) => self.try_program(order, by, sender),
            Question::ReloadStatus(sender) => drop(sender.send(self.reload.status())),
            Question::Confirm(by, sender) => drop(sender.send(self.confirm(&by))),
            Question::RollBack(by, sender) => {
                let why = "an operator took it back";
                drop(sender.send(self.roll_back(around, why, &by).await));
            }
            other => self.answer(other),
        }
    }

    /// SIGHUP: as `anycast reload`, with the answer in the log.
    pub(super) fn hang_up(&self) {
        let answered = self.reload.start(ReloadOrder::default(), Caller::named("SIGHUP"));
        tokio::spawn(async move {
            let Ok(report) = answered.await else { return };
            if !report.rendered.is_empty() {
                tracing::warn!("{}", report.rendered);
            }
            let done = matches!(report.outcome, ReloadOutcome::Changed | ReloadOutcome::Same);
            let how = if done { "reloaded, but" } else { "not reloaded" };
            for why in &report.why {
                tracing::error!("{how}: {why}");
            }
            if report.outcome == ReloadOutcome::Same {
                tracing::info!("the file says what is in force already");
            }
        });
    }

    /// Returns when a reload that nobody confirmed is to be undone, or something leaves.
    pub(super) fn next_reload_due(&self, around: &Around) -> impl Future<Output = ()> + use<> {
        let due = self.reload.until.into_iter().chain(around.next_due()).min();
        async move {
            match due {
                Some(at) => tokio::time::sleep_until(at).await,
                None => std::future::pending().await,
            }
        }
    }

    pub(super) async fn handle_reload_due(&mut self, around: &mut Around) {
        if self.reload.until.is_some_and(|until| until <= Instant::now()) {
            let why = "it was not confirmed in time";
            let _ = self.roll_back(around, why, &Caller::default()).await;
        }
        around.let_go(&self.fleet).await;
    }

    /// Carries out what was read, if nothing speaks against it.
    pub(super) async fn handle_reading(&mut self, reading: Reading, around: &mut Around) {
        let Reading { order, found, by, answer } = reading;
        let report = self.reload_as(&order, found, &by, around).await;
        // Whoever asked may have gone.
        let _ = answer.send(report);
    }

    async fn reload_as(
        &mut self,
        order: &ReloadOrder,
        found: Found,
        by: &Caller,
        around: &mut Around,
    ) -> ReloadReport {
        use ReloadOutcome as Is;
        let Found { fleet, source, mut report } = found;
        let Some(fleet) = fleet else { return self.refuse(report, Is::Unsound, by, order) };
        let seconds = order.confirm_within_seconds;
        if seconds.is_some_and(|it| !(it > 0.0 && it <= LONGEST_WAIT.as_secs_f64())) {
            report.why.push("a reload waits for at most a day, and not for nothing".to_owned());
            return self.refuse(report, Is::Refused, by, order);
        }
        if order.digest.as_ref().is_some_and(|digest| *digest != report.digest) {
            let unseen = order.digest.as_ref().is_some_and(String::is_empty);
            let why = if unseen {
                "it could not be looked at first"
            } else {
                "it has changed since it was looked at"
            };
            report.why.push(format!("{}: {why}; order it again", report.file));
            return self.refuse(report, Is::Refused, by, order);
        }
        let (revision, differs) = match self.prepare(fleet, source) {
            Ok(prepared) => prepared,
            Err(why) => {
                report.why.push(why);
                return self.refuse(report, Is::Failed, by, order);
            }
        };
        report.note(&differs);
        if !differs.refused.is_empty() {
            report.why.push("start the daemon again for that".to_owned());
            return self.refuse(report, Is::Refused, by, order);
        }
        if let Some(warning) = self.reload.until.and_then(|_| self.reload.status().warning())
            && !order.dry_run
        {
            let help = "`anycast confirm` or `anycast rollback` comes first";
            report.why.push(format!("{warning}: {help}"));
            return self.refuse(report, Is::Refused, by, order);
        }
        if differs.changes.is_empty() {
            if !order.dry_run {
                self.reload.rolled_back = None;
                // Another text may say the same: it is what could be taken back from now on.
                self.reload.in_force.source = revision.source;
                report.why.extend(self.write_down(None));
            }
            return report.with(Is::Same);
        }
        if order.dry_run {
            return report.with(Is::WouldChange);
        }
        let file = report.file.clone();
        let cause = self.note("reload", &file, &count(&differs), by, false);
        let before = self.reload.in_force.clone();
        let kept = self.reload.confirmed.get().cloned();
        if seconds.is_some() {
            // Before anything is done: nobody knows whether this daemon lives through it.
            let waits = Kept::waiting(&before.source, &revision.source);
            report.why.extend(self.write_down(Some(waits)));
        }
        if let Err(why) = self.put_in_force(revision, &differs, cause, around).await {
            report.why.push(why);
            report.why.extend(self.write_down(kept));
            return self.refuse(report, Is::Failed, by, order);
        }
        if seconds.is_none() {
            report.why.extend(self.write_down(None));
        }
        self.reload.before = Some(before);
        self.reload.rolled_back = None;
        let wait = seconds.map(Duration::from_secs_f64);
        self.reload.until = wait.map(|wait| Instant::now() + wait);
        if let Some(seconds) = seconds {
            let detail = format!("undone in {seconds} s unless confirmed");
            self.events.add_after(Some(cause), "reload-waits", &file, &detail);
        }
        report.confirm_within_seconds = seconds;
        report.with(Is::Changed)
    }

    fn refuse(
        &mut self,
        report: ReloadReport,
        outcome: ReloadOutcome,
        by: &Caller,
        order: &ReloadOrder,
    ) -> ReloadReport {
        if !order.dry_run {
            let why = report.why.join("; ");
            self.note("reload-refused", &report.file, &why, by, true);
        }
        report.with(outcome)
    }

    fn note(&mut self, kind: &str, subject: &str, detail: &str, by: &Caller, loud: bool) -> u64 {
        let by = by.name();
        self.events.record(Happening { kind, subject, detail, by, loud, ..Happening::default() })
    }

    /// Writes down for the next daemon what is confirmed while the file says something else; says
    /// so if it cannot be.
    fn write_down(&mut self, kept: Option<Kept>) -> Option<String> {
        let error = self.reload.confirmed.set(kept).err()?;
        let file = self.reload.file.display().to_string();
        let words = format!(
            "it cannot be written down in the state folder: {error}; a restart of the daemon \
             does not know of it"
        );
        self.events.warn("reload-not-kept", &file, &words);
        Some(words)
    }

    /// What a fleet would be in force as, and what that would change.
    fn prepare(&self, fleet: Fleet, source: String) -> Result<(Revision, Difference), String> {
        let neighbors = match fleet.site(&self.site.name) {
            Some(site) => {
                let config = translate::speaker_config(&fleet, site);
                config.map_err(|error| error.to_string())?.neighbors
            }
            None => Vec::new(),
        };
        let new = Revision { fleet, neighbors, source };
        let differs = self.difference_to(&new);
        Ok((new, differs))
    }

    /// What differs between what is in force and `new`.
    fn difference_to(&self, new: &Revision) -> Difference {
        let now = |neighbor: &str, prefix: &IpNet| {
            // A router passes on what it hears; the steering has no say.
            if self.site.router {
                return Some(Manner::default());
            }
            let index = self.site.neighbors.iter().position(|it| it.name == neighbor)?;
            self.announcer.manner(&self.site, index, prefix)
        };
        self.reload.in_force.difference(new, &self.site.name, &now)
    }

    /// What a fleet would change if it were put in force.
    pub(super) fn differs(&self, fleet: Fleet) -> Result<Difference, String> {
        self.prepare(fleet, String::new()).map(|(_, differs)| differs)
    }

    fn confirm(&mut self, by: &Caller) -> Result<String, String> {
        // One that could not be taken back, or whose confirmation could not be written down, still
        // can be confirmed.
        if self.reload.until.take().is_none() && !self.reload.is_unconfirmed() {
            return Err(self.no_reload("no reload waits to be confirmed"));
        }
        let file = self.reload.file.display().to_string();
        self.note("reload-confirmed", &file, "", by, false);
        let but = self.write_down(None).map(|words| format!("; but {words}")).unwrap_or_default();
        Ok(format!("confirmed: it stays in force{but}"))
    }

    fn no_reload(&self, words: &str) -> String {
        match self.reload.status().warning() {
            Some(warning) => format!("{words}: {warning}"),
            None => words.to_owned(),
        }
    }

    /// Puts in force what was before the last reload.
    async fn roll_back(
        &mut self,
        around: &mut Around,
        why: &str,
        by: &Caller,
    ) -> Result<String, String> {
        self.reload.until = None;
        let Some(before) = self.reload.before.take() else {
            return Err(self.no_reload("there was no reload that could be taken back"));
        };
        let differs = self.difference_to(&before);
        let file = self.reload.file.display().to_string();
        let cause = self.note("rollback", &file, why, by, true);
        let taken_back = self.reload.in_force.source.clone();
        let kept = Kept::taken_back(&before.source, &taken_back, why);
        if let Err(error) = self.put_in_force(before.clone(), &differs, cause, around).await {
            self.reload.before = Some(before);
            self.events.warn("rollback-failed", &file, &error);
            return Err(format!("it cannot be taken back: {error}"));
        }
        self.reload.rolled_back = Some(format!("{why}; {BEFORE}"));
        let but = self.write_down(Some(kept)).map(|words| format!("; but {words}"));
        Ok(format!(
            "taken back ({}): what was before is in force; the file differs{}",
            count(&differs),
            but.unwrap_or_default()
        ))
    }

    /// Makes `new` what is in force. If it cannot be, nothing has changed.
    async fn put_in_force(
        &mut self,
        new: Revision,
        differs: &Difference,
        cause: u64,
        around: &mut Around,
    ) -> Result<(), String> {
        let mut fleet = new.fleet.clone();
        let Some(site) = fleet.site(&self.site.name).cloned() else {
            return Err(format!("[site.{}] is not in the file", self.site.name));
        };
        if site.router {
            fleet.services.clear();
        }
        let words = |error: super::Error| error.to_string();
        let glass = around.glass.open(site.looking_glass).await.map_err(words)?;
        let meter = around.meter.open(site.metrics).await.map_err(words)?;
        let gate = around.gate.plan(site.api.as_ref()).await?;
        let added = around.addresses.add_all(&fleet).await.map_err(words)?;
        self.announcer.adopt(&self.site, &fleet, &site);
        if let Err(error) = self.change_neighbors(&new, differs, &fleet, &site).await {
            let (fleet, before) = (self.fleet.clone(), self.site.clone());
            self.announcer.adopt(&site, &fleet, &before);
            for address in added {
                around.addresses.remove(address).await;
            }
            return Err(error);
        }
        around.glass.serve(site.looking_glass, glass);
        around.meter.serve(site.metrics, meter);
        around.gate.carry_out(gate);
        self.exchange(fleet, site, differs, cause, around);
        for change in &differs.changes {
            let (subject, detail) = (change.subject.to_string(), change.details.join("; "));
            let kind = format!("reload-{}", change.effect.as_str());
            self.events.add_after(Some(cause), &kind, &subject, &detail);
        }
        self.reload.in_force = new;
        Ok(())
    }

    /// Tells the speaker of neighbors that come, change and go. If one of them cannot be had, the
    /// others are put back.
    async fn change_neighbors(
        &self,
        new: &Revision,
        differs: &Difference,
        fleet: &Fleet,
        site: &Site,
    ) -> Result<(), String> {
        let old = &self.reload.in_force;
        let neighbors = differs.changes.iter().filter_map(|change| match &change.subject {
            Subject::Neighbor(name) => Some((name.as_str(), change.effect)),
            _ => None,
        });
        // Those who go first: one who comes may have their address.
        let (go, others): (Vec<_>, Vec<_>) =
            neighbors.partition(|(_, effect)| *effect == Effect::Removed);
        let mut done = Vec::new();
        for (name, effect) in go.into_iter().chain(others) {
            let wanted = new.neighbor(name).map(|it| self.announced_to(it, fleet, site));
            if let Err(error) = self.change_neighbor(name, effect, wanted).await {
                for (name, effect) in done.into_iter().rev() {
                    let back = match effect {
                        Effect::Added => Effect::Removed,
                        Effect::Removed => Effect::Added,
                        same => same,
                    };
                    let before = old.neighbor(name);
                    let before = before.map(|it| self.announced_to(it, &self.fleet, &self.site));
                    if let Err(error) = self.change_neighbor(name, back, before).await {
                        tracing::error!("neighbor {name} cannot be put back: {error}");
                    }
                }
                return Err(format!("neighbor {name}: {error}"));
            }
            done.push((name, effect));
        }
        Ok(())
    }

    /// A neighbor with the export policy that the steering gives it.
    fn announced_to(&self, neighbor: &Neighbor, fleet: &Fleet, site: &Site) -> Neighbor {
        let mut neighbor = neighbor.clone();
        if let Some(index) = site.neighbors.iter().position(|it| it.name == neighbor.name) {
            neighbor.export = self.announcer.policy(fleet, site, index);
        }
        neighbor
    }

    async fn change_neighbor(
        &self,
        name: &str,
        effect: Effect,
        wanted: Option<Neighbor>,
    ) -> Result<(), ChangeError> {
        let speaker = self.announcer.speaker();
        match (effect, wanted) {
            (Effect::Added, Some(wanted)) => speaker.add_neighbor(wanted).await,
            (Effect::Changed, Some(wanted)) => speaker.change_neighbor(wanted).await,
            (Effect::Reset, Some(wanted)) => speaker.replace_neighbor(wanted).await,
            (Effect::Removed, _) | (_, None) => speaker.remove_neighbor(name).await,
        }
    }

    /// Everything that is exchanged at once and cannot fail.
    fn exchange(
        &mut self,
        fleet: Fleet,
        site: Site,
        differs: &Difference,
        cause: u64,
        around: &mut Around,
    ) {
        let has = |subject: &Subject| differs.changes.iter().any(|it| it.subject == *subject);
        let serves_on = Instant::now() + self.site.stop_wait;
        for change in &differs.changes {
            if let (Subject::Address(address), Effect::Removed) = (&change.subject, change.effect) {
                around.leave(serves_on, Leaving::Address(*address));
            }
        }
        let begins_anew = |name: &str| {
            let of = |it: &&Change| it.subject == Subject::Service(name.to_owned());
            let change = differs.changes.iter().find(of);
            change.is_some_and(|it| it.effect == Effect::Reset)
                || self.tells_otherwise(&fleet, &site, name)
        };
        let anew: Vec<String> = fleet
            .services
            .iter()
            .filter(|it| self.fleet.service(&it.name).is_some() && begins_anew(&it.name))
            .map(|it| it.name.clone())
            .collect();
        // By name, as the indices are about to change.
        let old_numbers = self.numbers_of_builtins();
        let old_names = self.names_of_checks();
        let runners = self.runners_by_name();
        let pids: HashMap<String, u32> = std::mem::take(&mut self.pids)
            .into_iter()
            .map(|(index, pid)| (self.fleet.services[index].name.clone(), pid))
            .collect();
        let check_anew = |service: &str, check: &str| {
            has(&Subject::Check { service: service.to_owned(), check: check.to_owned() })
        };
        self.slots.adopt(&fleet, |name| anew.iter().any(|it| it == name), check_anew);
        let was_builtin = |name: &str| old_numbers.get(name).copied();
        for (name, number) in &old_numbers {
            let goes = fleet.service(name).is_none_or(|it| it.builtin.is_none());
            if goes || anew.contains(name) {
                around.leave(serves_on, Leaving::Builtin(*number));
            }
        }
        (self.fleet, self.site) = (fleet, site);
        for (index, service) in self.fleet.services.iter().enumerate() {
            let continues = !anew.contains(&service.name);
            if let Some(pid) = pids.get(&service.name).filter(|_| continues) {
                self.pids.insert(index, *pid);
            }
            let starts =
                service.builtin.is_some() && !(continues && was_builtin(&service.name).is_some());
            let number = self.slots.service(index);
            if starts {
                let after = was_builtin(&service.name);
                around.builtins.start(&self.fleet, &self.site, index, number, after, None);
            } else if service.builtin.is_some() {
                let orders = crate::builtin::orders(&self.fleet, &self.site, service);
                around.builtins.tell(number, orders);
            }
        }
        let mut times = std::mem::take(&mut self.check_times);
        times.move_to(|(service, check)| {
            let (service, check) = old_names.get(&(service, check))?;
            self.indices_of(service, check)
        });
        self.check_times = times;
        for ((service, check), runner) in runners {
            // One of a check that changed, or of a service that begins anew, ends here.
            if check_anew(&service, &check) || anew.contains(&service) {
                continue;
            }
            if let Some(at) = self.indices_of(&service, &check) {
                self.runners.insert(at, runner);
            }
        }
        let spec = self.fleet.steering(&self.site);
        self.fleet_state.replace(&spec);
        if let Err(error) = self.steer.replace(self.now(), spec) {
            // A checked fleet has no two services of one name and no prefix without its services.
            tracing::error!("the steering does not take the new fleet: {error}");
        }
        for name in &anew {
            let index = self.fleet.services.iter().position(|it| it.name == *name);
            let Some(index) = index else { continue };
            let why = "what serves it was changed".to_owned();
            self.steer.handle_gone(self.now(), index, why);
            if self.fleet.services[index].builtin.is_none() {
                self.steer.handle_back(self.now(), index);
            }
        }
        self.exchange_surroundings(has(&Subject::Rpki), around);
        self.keep_connections(Some(cause));
        self.start_missing_checks();
        self.steer_on(Trigger::Event(cause));
    }

    /// Whether the process of a built-in service would be told something else, such as another
    /// name of the fleet.
    fn tells_otherwise(&self, fleet: &Fleet, site: &Site, name: &str) -> bool {
        let (Some(before), Some(after)) = (self.fleet.service(name), fleet.service(name)) else {
            return false;
        };
        crate::builtin::arguments(&self.fleet, &self.site, before)
            != crate::builtin::arguments(fleet, site, after)
    }

    fn numbers_of_builtins(&self) -> HashMap<String, usize> {
        let services = self.fleet.services.iter().enumerate();
        let builtin = services.filter(|(_, service)| service.builtin.is_some());
        builtin.map(|(index, it)| (it.name.clone(), self.slots.service(index))).collect()
    }

    fn runners_by_name(&mut self) -> HashMap<(String, String), check::RunnerHandle> {
        let runners = std::mem::take(&mut self.runners);
        let named = runners.into_iter().map(|((service, check), runner)| {
            let service = &self.fleet.services[service];
            ((service.name.clone(), service.checks[check].name.clone()), runner)
        });
        named.collect()
    }

    /// The names of services and checks by their indices.
    fn names_of_checks(&self) -> HashMap<(usize, usize), (String, String)> {
        let services = self.fleet.services.iter().enumerate();
        let names = services.flat_map(|(index, service)| {
            let checks = service.checks.iter().enumerate();
            checks.map(move |(number, check)| {
                ((index, number), (service.name.clone(), check.name.clone()))
            })
        });
        names.collect()
    }

    fn indices_of(&self, service: &str, check: &str) -> Option<(usize, usize)> {
        let index = self.fleet.services.iter().position(|it| it.name == service)?;
        let check = self.fleet.services[index].checks.iter().position(|it| it.name == check)?;
        Some((index, check))
    }

    fn exchange_surroundings(&mut self, other_rpki: bool, around: &mut Around) {
        let speaker = self.announcer.speaker().clone();
        speaker.set_multipath(translate::multipath(&self.site));
        speaker.set_stations(&self.site.name, translate::stations(&self.fleet));
        speaker.set_updates(translate::updates(&self.fleet));
        if other_rpki {
            around.from_rpki = self.origins.restart(&self.fleet, &self.site, &speaker);
        }
        self.origins.adopt(&self.fleet, &self.site);
        let watched = self.fleet.services.iter().flat_map(translate::sockets).collect();
        if let Some(deaths) = &mut around.deaths
            && let Err(error) = deaths.watch(watched)
        {
            let words = format!("{error}; the death of a new service is seen at its next check");
            self.events.add("watch-unavailable", "sockets", &words);
        }
    }

    /// Starts the checks that have none running, of services that there are.
    fn start_missing_checks(&mut self) {
        for index in 0..self.fleet.services.len() {
            let ready =
                self.fleet.services[index].builtin.is_none() || self.pids.contains_key(&index);
            for number in 0..self.fleet.services[index].checks.len() {
                if ready && !self.runners.contains_key(&(index, number)) {
                    self.start_check(index, number);
                }
            }
        }
    }
}

/// `3 changes`.
fn count(differs: &Difference) -> String {
    match differs.changes.len() {
        1 => "1 change".to_owned(),
        n => format!("{n} changes"),
    }
}

//! The daemon of one site: probes → verdicts → `steer` → `speaker` → wire.
//!
//! One task owns the steering and takes in everything that happens, one thing at a time; the
//! checks, the built-in services, the speaker and the control socket are tasks around it.
//!
//! | module | what it is |
//! |---|---|
//! | `around` | addresses, built-in services and the like, which change when the fleet does |
//! | `drains`, `finishing` | what operators drain, and connections that run on after it |
//! | `keeping` | connections kept at the site that they began at |
//! | `meters` | traffic and loads, once a second |
//! | `reload` | the fleet file read again |
//! | `slots` | numbers of services and checks that outlive a reload |

mod around;
mod drains;
mod finishing;
mod keeping;
mod meters;
mod reload;
mod slots;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use anycast_bgp::IpNet;
use anycast_fleet::{Builtin, Fleet, Relation, Site};
use anycast_speaker::{BindError, Speaker, SpeakerEvent};
use anycast_steer::{Action, Change, Instant, Outcome, Steer, Target, Verdict};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc;

use self::finishing::Finishing;
use self::meters::Meters;
use self::reload::{Reload, Revision};
use crate::address;
use crate::affinity::Keeper;
use crate::announce::Announcer;
use crate::api::{self, Gate, Plan};
use crate::builtin::BuiltinEvent;
use crate::check::{self, Runner, RunnerHandle};
use crate::control::{self, Caller, Question};
use crate::dead_man::{BEAT, DeadMan};
use crate::drain::Drains;
use crate::events::{EventLog, Happening};
use crate::fleet_state::{self, FleetState, Settled};
use crate::metrics::{CheckTimes, SiteMetrics};
use crate::notify::Notifier;
use crate::overview;
use crate::rpki::OwnOrigins;
use crate::state;
use crate::status::{
    CheckRow, NeighborInFile, PrefixRow, PrependOrder, ServiceRow, ServicesReport, SiteRow,
};
use crate::steering;
use crate::translate;
use crate::watch::{self as deaths, Deaths};
use around::{Addresses, Around, Builtins, Server};
use slots::Slots;

/// How long the speaker may take at the end: a second for the NOTIFICATIONs, and what the kernel
/// takes to remove a full table.
const GOODBYE: Duration = Duration::from_secs(30);
/// How often to look whether a checker is still alive, and how much there is to bear.
const CHECKERS: Duration = Duration::from_secs(1);

/// What the daemon is started with.
#[derive(Clone, Debug)]
pub struct Options {
    /// The fleet.
    pub fleet: Fleet,
    /// Where it was read from, to be read again.
    pub file: PathBuf,
    /// Which of its sites this is.
    pub site: String,
    /// Where the control socket goes; `None`: [`control::default_socket`].
    pub control: Option<PathBuf>,
    /// Where to keep what outlives the daemon; `None`: see [`state::folder`].
    pub state_dir: Option<PathBuf>,
    /// Whether it starts drained, whatever the file says.
    pub drained: bool,
    /// This program, to run built-in services with.
    pub program: PathBuf,
}

/// Why the daemon could not start.
#[derive(Debug, thiserror::Error)]
#[expect(missing_docs, reason = "the messages say all")]
pub enum Error {
    #[error("the fleet file has no site called {name}; it has {known}")]
    UnknownSite { name: String, known: String },
    #[error("neighbor {neighbor}: cannot read the password file {path}: {source}")]
    Password { neighbor: String, path: PathBuf, source: io::Error },
    #[error("neighbor {neighbor}: the password in {path} must have 1 to 80 octets")]
    PasswordLength { neighbor: String, path: PathBuf },
    #[error("cannot put {address} on the loopback interface: {source}")]
    Address { address: IpAddr, source: address::Error },
    #[error(transparent)]
    Bind(#[from] BindError),
    #[error("cannot open the control socket {path}: {source}")]
    Control { path: PathBuf, source: io::Error },
    #[error("cannot listen for the looking glass on {address}: {source}")]
    LookingGlass { address: SocketAddr, source: io::Error },
    #[error("cannot listen for metrics on {address}: {source}")]
    Metrics { address: SocketAddr, source: io::Error },
    #[error("cannot open the API on {address}: {words}")]
    Api { address: SocketAddr, words: String },
    #[error("cannot catch signals: {0}")]
    Signals(io::Error),
    #[error("cannot start a thread to watch over the steering: {0}")]
    DeadMan(io::Error),
    #[error("the BGP speaker has ended by itself: {0}")]
    Speaker(String),
}

/// Runs a site until SIGTERM or SIGINT: then withdraws, waits, and stops serving.
///
/// # Errors
/// What kept it from starting; it has then changed nothing that lasts.
pub async fn run(options: Options) -> Result<(), Error> {
    let mut fleet = options.fleet;
    let Some(site) = fleet.site(&options.site).cloned() else {
        let known: Vec<&str> = fleet.sites.iter().map(|site| site.name.as_str()).collect();
        return Err(Error::UnknownSite { name: options.site, known: known.join(", ") });
    };
    let mut terminate = signal(SignalKind::terminate()).map_err(Error::Signals)?;
    let mut interrupt = signal(SignalKind::interrupt()).map_err(Error::Signals)?;
    let mut hang_up = signal(SignalKind::hangup()).map_err(Error::Signals)?;

    // Everything that can fail is opened before anything is announced.
    let path = options.control.unwrap_or_else(|| control::default_socket(&site.name));
    let (listener, _socket_file) = control::open(&path)
        .await
        .map_err(|source| Error::Control { path: path.clone(), source })?;
    let glass_listener = around::listen(site.looking_glass, around::no_looking_glass).await?;
    let meter_listener = around::listen(site.metrics, around::no_metrics).await?;
    let doors = match &site.api {
        Some(file) => match api::open(file).await {
            Ok(doors) => Some(doors),
            Err(words) => return Err(Error::Api { address: file.listen, words }),
        },
        None => None,
    };
    let (speaker_events, mut from_speaker) = mpsc::unbounded_channel();
    let config = translate::speaker_config(&fleet, &site)?;
    let revision = Revision::new(&fleet, &config.neighbors);
    let speaker = Speaker::bind(config, Some(speaker_events)).await?;
    let (question_sender, mut questions) = mpsc::channel(16);
    let mut glass = Server::looking_glass(speaker.handle());
    let mut meter = Server::metrics(question_sender.clone(), speaker.handle());
    if site.router {
        // Other machines of the site serve; this one passes on what they announce.
        fleet.services.clear();
    }
    let addresses = Addresses::add(&fleet).await?;

    let handle = speaker.handle();
    handle.set_multipath(translate::multipath(&site));
    handle.set_stations(&site.name, translate::stations(&fleet));
    handle.set_updates(translate::updates(&fleet));
    let mut speaker_task = tokio::spawn(speaker.run());
    let mut gate = Gate::new(control::router(question_sender.clone(), handle.clone()));
    let control = tokio::spawn(control::serve(listener, question_sender, handle.clone()));
    glass.serve(site.looking_glass, glass_listener);
    meter.serve(site.metrics, meter_listener);
    if let Some(doors) = doors {
        gate.carry_out(Plan::Open(doors));
    }

    let asked = options.state_dir.as_deref();
    let folder = state::folder(asked, site.state_dir.as_deref(), &site.name);
    let events = EventLog::open(&folder);
    let (origins, from_rpki) = OwnOrigins::start(&fleet, &site, handle.clone());
    let (check_events, mut from_checks) = mpsc::channel(256);
    let (reload, mut from_file) = Reload::new(options.file, revision);
    let announcer = Announcer::new(handle.clone());
    let mut daemon = Daemon::new(fleet, site, announcer, origins, events, check_events, reload);
    daemon.events.add("start", &daemon.site.name, concat!("version ", env!("CARGO_PKG_VERSION")));
    // Before anything can be announced.
    daemon.take_up_drains(&folder, options.drained);
    daemon.keep_connections(None);
    daemon.start_checks();
    let (builtin_events, mut from_builtins) = mpsc::channel(16);
    let mut builtins = Builtins::new(options.program, builtin_events);
    for (index, service) in daemon.fleet.services.iter().enumerate() {
        if service.builtin.is_some() {
            let number = daemon.slots.service(index);
            builtins.start(&daemon.fleet, &daemon.site, index, number, None);
        }
    }
    let mut around = Around::new(addresses, builtins, (glass, meter, gate), from_rpki);
    around.deaths = daemon.watch_deaths();
    daemon.steer_on(Trigger::Nothing);

    let notifier = Notifier::of_environment();
    let dead_man = DeadMan::start(handle.clone(), notifier.clone()).map_err(Error::DeadMan)?;
    // By the loop itself: what says that it lives must not live by itself.
    let beat = notifier.watchdog_interval().map_or(BEAT, |interval| interval.min(BEAT));
    let mut beat = tokio::time::interval(beat);
    let mut last_line: Option<String> = None;

    let mut look_after_checkers = tokio::time::interval(CHECKERS);
    let failure = loop {
        let reload_due = daemon.next_reload_due(&around);
        tokio::select! {
            _ = terminate.recv() => {
                daemon.stop("SIGTERM");
                break None;
            }
            _ = interrupt.recv() => {
                daemon.stop("SIGINT");
                break None;
            }
            ended = &mut speaker_task => {
                // Its sockets are closed, so the neighbors have forgotten our routes already.
                let why = ended.map_or_else(|error| error.to_string(), |()| "it returned".into());
                break Some(Error::Speaker(why));
            }
            _ = beat.tick() => {
                dead_man.beat();
                let line = daemon.in_a_line();
                match last_line.as_ref() {
                    None => notifier.ready(&line),
                    Some(last) if *last != line => notifier.status(&line),
                    Some(_) => {}
                }
                last_line = Some(line);
                notifier.alive();
            }
            _ = hang_up.recv() => daemon.hang_up(),
            _ = look_after_checkers.tick() => {
                daemon.replace_dead_checkers();
                daemon.take_readings();
            }
            Some(event) = from_checks.recv() => daemon.handle_check(event),
            Some(event) = from_builtins.recv() => daemon.handle_builtin(event),
            Some(event) = from_speaker.recv() => daemon.handle_speaker(event),
            Some(event) = around.from_rpki.recv() => daemon.origins.handle(event, &mut daemon.events),
            Some(question) = questions.recv() => daemon.answer_any(question, &mut around).await,
            Some(reading) = from_file.recv() => {
                notifier.reloading();
                daemon.handle_reading(reading, &mut around).await;
                notifier.ready(&daemon.in_a_line());
            }
            death = around::next_death(&mut around.deaths) => daemon.handle_death(death),
            () = reload_due => daemon.handle_reload_due(&mut around).await,
            () = daemon.next_timeout() => daemon.handle_timeout(),
            event = daemon.fleet_state.next() => daemon.handle_fleet_state(event),
            loaded = daemon.keeper.loaded() => daemon.handle_loaded(loaded),
        }
    };

    drop(dead_man);
    notifier.stopping("withdraws, waits, then stops serving");
    if failure.is_none() {
        // Withdraw first, then stop serving; a second signal cuts the waiting short.
        let serving_on = async {
            let until = tokio::time::sleep(daemon.site.stop_wait);
            tokio::pin!(until);
            loop {
                tokio::select! {
                    () = &mut until => break,
                    _ = beat.tick() => notifier.alive(),
                    Some(question) = questions.recv() => daemon.answer(question),
                    Some(event) = from_speaker.recv() => daemon.handle_speaker(event),
                    event = daemon.fleet_state.next() => daemon.handle_fleet_state(event),
                    // Nothing is announced again, whatever becomes of the services.
                    Some(_) = from_checks.recv() => {}
                    Some(_) = from_builtins.recv() => {}
                }
            }
        };
        tokio::select! {
            () = serving_on => {}
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
        handle.shutdown("the site is stopping");
        tokio::select! {
            _ = tokio::time::timeout(GOODBYE, speaker_task) => {}
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
    }
    // Who asks or reports from here on is told that nobody listens, and does not wait.
    drop((questions, from_checks, from_builtins));
    around.builtins.stop_all().await;
    around.addresses.remove_all().await;
    daemon.events.close(&daemon.site.name);
    control.abort();
    around.glass.close();
    around.meter.close();
    around.gate.close();
    failure.map_or(Ok(()), Err)
}

/// What the steering was told: what its actions follow from.
enum Trigger {
    /// The start, or time that passed.
    Nothing,
    /// What was an event itself.
    Event(u64),
    /// A check's run.
    Check { service: usize, check: usize, outcome: Outcome },
}

/// What the loop owns.
struct Daemon {
    fleet: Fleet,
    site: Site,
    state: &'static str,
    steer: Steer,
    events: EventLog,
    started: tokio::time::Instant,
    /// By service and check.
    runners: HashMap<(usize, usize), RunnerHandle>,
    /// Built-in services that run.
    pids: HashMap<usize, u32>,
    announcer: Announcer,
    established: usize,
    origins: OwnOrigins,
    fleet_state: FleetState,
    check_times: CheckTimes,
    check_events: mpsc::Sender<check::Event>,
    slots: Slots,
    reload: Reload,
    drains: Drains,
    meters: Meters,
    keeper: Keeper,
    /// For the end of a loading.
    waiting: Vec<keeping::Answer>,
    finishing: Finishing,
}

impl Daemon {
    fn new(
        fleet: Fleet,
        site: Site,
        announcer: Announcer,
        origins: OwnOrigins,
        events: EventLog,
        check_events: mpsc::Sender<check::Event>,
        reload: Reload,
    ) -> Self {
        let steer = fleet.steer_at(&site);
        let started = tokio::time::Instant::now();
        Self {
            state: "running",
            steer,
            events,
            started,
            fleet_state: FleetState::start(&fleet, &site, started),
            runners: HashMap::new(),
            pids: HashMap::new(),
            announcer,
            established: 0,
            origins,
            check_times: CheckTimes::default(),
            check_events,
            slots: Slots::new(&fleet),
            reload,
            drains: Drains::default(),
            meters: Meters::default(),
            keeper: Keeper::default(),
            waiting: Vec::new(),
            finishing: Finishing::default(),
            fleet,
            site,
        }
    }

    fn now(&self) -> Instant {
        Instant(self.started.elapsed())
    }

    /// Returns when the steering has something to do by time alone.
    fn next_timeout(&self) -> impl Future<Output = ()> + use<> {
        let due = self.steer.poll_timeout().map(|at| self.started + at.0);
        async move {
            match due {
                Some(at) => tokio::time::sleep_until(at).await,
                None => std::future::pending().await,
            }
        }
    }

    fn handle_fleet_state(&mut self, event: fleet_state::Event) {
        self.fleet_state.handle(self.now(), event);
        self.settle(false);
    }

    fn handle_timeout(&mut self) {
        self.steer.handle_timeout(self.now());
        self.steer_on(Trigger::Nothing);
    }

    /// Starts the checks of services that others serve; a built-in's start when it is ready.
    fn start_checks(&mut self) {
        for index in 0..self.fleet.services.len() {
            if self.fleet.services[index].builtin.is_none() {
                self.start_checks_of(index);
            }
        }
    }

    fn start_checks_of(&mut self, index: usize) {
        for number in 0..self.fleet.services[index].checks.len() {
            self.start_check(index, number);
        }
    }

    fn start_check(&mut self, index: usize, number: usize) {
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
    fn replace_dead_checkers(&mut self) {
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

    fn poke(&self, service: usize) {
        for ((of, _), runner) in &self.runners {
            if *of == service {
                runner.poke();
            }
        }
    }

    fn watch_deaths(&mut self) -> Option<Deaths> {
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

    fn handle_check(&mut self, event: check::Event) {
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

    fn handle_builtin(&mut self, event: BuiltinEvent) {
        let (BuiltinEvent::Ready { service, .. } | BuiltinEvent::Gone { service, .. }) = &event;
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
            BuiltinEvent::Gone { why, .. } => {
                self.pids.remove(&service);
                let name = &self.fleet.services[service].name;
                let ended = self.events.add("service-ended", name, &why);
                self.steer.handle_gone(self.now(), service, why);
                ended
            }
        };
        self.steer_on(Trigger::Event(trigger));
    }

    fn handle_death(&mut self, event: deaths::Event) {
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

    fn handle_speaker(&mut self, event: SpeakerEvent) {
        match event {
            SpeakerEvent::NeighborUp { name } => {
                self.established += 1;
                self.events.add("neighbor-up", &name, "");
                self.settle(true);
            }
            SpeakerEvent::NeighborDown { name, why } => {
                self.established -= 1;
                self.events.add("neighbor-down", &name, &why);
                self.settle(true);
            }
            SpeakerEvent::NeighborLimit { name, why } => {
                self.events.add("neighbor-limit", &name, &why);
            }
            SpeakerEvent::NeighborUnreachable { name, why } => {
                self.events.add("neighbor-unreachable", &name, &why);
            }
        }
    }

    /// The event that the steering's actions follow from. What a check finds is one only if
    /// something follows from it.
    fn event_of(&mut self, trigger: &Trigger) -> Option<u64> {
        match trigger {
            Trigger::Nothing => None,
            Trigger::Event(number) => Some(*number),
            Trigger::Check { service, check, outcome } => {
                let service = &self.fleet.services[*service];
                let subject = format!("{}/{}", service.name, service.checks[*check].name);
                Some(match outcome {
                    Outcome::Pass => self.events.add("check-passed", &subject, ""),
                    Outcome::Fail(why) => self.events.add("check-failed", &subject, why),
                })
            }
        }
    }

    /// Carries out what the steering decided after what happened, and what follows from that.
    fn steer_on(&mut self, trigger: Trigger) {
        if self.carry_out(trigger) {
            self.settle(true);
        }
    }

    /// Tells the fleet and hears it. `changed` is whether this site's record may differ.
    fn settle(&mut self, mut changed: bool) {
        loop {
            let (now, about) = (self.now(), (changed, self.established));
            let Self { fleet_state, steer, events, .. } = self;
            let Settled::Told(cause) = fleet_state.settle(now, steer, about, events) else {
                return;
            };
            changed = self.carry_out(cause.map_or(Trigger::Nothing, Trigger::Event));
        }
    }

    /// Withdrawals at once, what is told anew after them. Returns whether there was anything.
    fn carry_out(&mut self, trigger: Trigger) -> bool {
        let mut cause: Option<u64> = None;
        let mut trigger = Some(trigger);
        let mut news = BTreeMap::new();
        let mut drains_changed = false;
        while let Some(action) = self.steer.poll_action() {
            if let Some(trigger) = trigger.take() {
                cause = self.event_of(&trigger);
            }
            match action {
                Action::Tell { prefix, change: Change::Withdraw, why, .. } => {
                    news.remove(&prefix);
                    self.announcer.withdraw(&prefix);
                    self.events.add_after(cause, "withdraw", &prefix.to_string(), &why);
                }
                Action::Tell { prefix, told, change, why } => {
                    if change == Change::Announce {
                        self.origins.before_announcing(prefix, &mut self.events);
                    }
                    let detail = steering::told_in_words(&self.site, &told, &why);
                    let kind = if change == Change::Announce { "announce" } else { "adjust" };
                    self.events.add_after(cause, kind, &prefix.to_string(), &detail);
                    news.insert(prefix, told);
                }
                other => {
                    drains_changed |=
                        matches!(other, Action::Drain { .. } | Action::Undrain { .. });
                    let number = steering::record(&other, &self.fleet, &mut self.events, cause);
                    cause = number.or(cause);
                    self.fleet_state.order(self.now(), &other, cause, &mut self.events);
                }
            }
        }
        if !news.is_empty() {
            self.announcer.tell(&self.fleet, &self.site, news);
        }
        if drains_changed {
            self.keep_drains();
        }
        trigger.is_none()
    }

    /// Withdraws everything, before anything is stopped.
    fn stop(&mut self, signal: &str) {
        self.state = "stopping";
        let stop = self.events.add("stop", &self.site.name, signal);
        self.steer.handle_stop(self.now());
        self.steer_on(Trigger::Event(stop));
    }

    fn answer(&mut self, question: Question) {
        // Whoever asked may have gone.
        match question {
            Question::Sites(sender) => drop(sender.send(self.sites())),
            Question::Services(sender) => drop(sender.send(self.services())),
            Question::Metrics(sender) => drop(sender.send(self.metrics())),
            Question::Overview(sender) => drop(sender.send(Box::new(self.overview()))),
            Question::Rpki(sender) => {
                drop(sender.send(self.origins.look(&self.announcer.announced())));
            }
            Question::Events(after, sender) => drop(sender.send(self.events.after(after))),
            Question::WatchEvents(sender) => drop(sender.send(self.events.watch())),
            Question::Prepend(order, caller, sender) => {
                drop(sender.send(self.prepend(&order, &caller)));
            }
            Question::Affinity(sender) => drop(sender.send(self.affinity())),
            Question::OrderAffinity(load, caller, sender) => {
                self.order_keeping(load, &caller, sender);
            }
            Question::Drains(sender) => drop(sender.send(self.drain_rows())),
            Question::Drain(order, caller, sender) => {
                drop(sender.send(self.drain(&order, &caller)));
            }
            Question::Undrain(order, caller, sender) => {
                drop(sender.send(self.undrain(&order, &caller)));
            }
            Question::ClearDamping(order, caller, sender) => {
                drop(sender.send(self.clear_damping(&order, &caller)));
            }
            Question::NeighborsInFile(sender) => drop(sender.send(self.neighbors_in_file())),
            // The daemon is stopping.
            Question::Reload(..)
            | Question::ReloadStatus(_)
            | Question::Confirm(..)
            | Question::RollBack(..) => {}
            Question::Note { kind, subject, detail, by, noted } => {
                let (subject, detail, by) = (&*subject, &*detail, by.name());
                let what = Happening { kind, subject, detail, by, ..Happening::default() };
                self.events.record(what);
                let _ = noted.send(());
            }
        }
    }

    /// How the site is, for `systemctl status`.
    fn in_a_line(&self) -> String {
        let (up, of) = (self.established, self.site.neighbors.len());
        let (announced, all) = (self.announcer.announced().len(), self.fleet.prefixes.len());
        let warning = self.reload.status().warning();
        let warning = warning.map(|words| format!("; {words}")).unwrap_or_default();
        format!("{up} of {of} sessions, {announced} of {all} prefixes announced{warning}")
    }

    fn overview(&self) -> overview::Look {
        let others = self.fleet.sites.iter().map(|site| site.name.clone());
        overview::Look {
            site: self.metrics(),
            others: others.filter(|name| *name != self.site.name).collect(),
            fleet_state: self.fleet_state.look(self.now()),
            floors: steering::floors(&self.fleet),
            in_file: self.neighbors_in_file(),
            events: self.events.list(),
            warning: self.reload.status().warning(),
        }
    }

    fn metrics(&self) -> SiteMetrics {
        SiteMetrics {
            fleet: self.fleet.name.clone(),
            site: self.site.name.clone(),
            city: self.site.city.clone(),
            asn: self.site.asn,
            is_running: self.state == "running",
            uptime: self.started.elapsed(),
            services: self.services(),
            checks: self.check_times.clone(),
            prefixes: self.fleet.prefixes.iter().map(|prefix| prefix.prefix).collect(),
            rpki: self.origins.look(&self.announcer.announced()),
            steering: self.steer.status(self.now()),
            affinity: self.affinity(),
            now: self.now(),
            events: self.events.counts().clone(),
            last_event: *self.events.watch().borrow(),
            unwritten_events: self.events.unwritten(),
        }
    }

    fn sites(&self) -> Vec<SiteRow> {
        let row = |site: &Site| {
            let this = site.name == self.site.name;
            SiteRow {
                name: site.name.clone(),
                city: site.city.clone(),
                asn: site.asn,
                neighbors: site.neighbors.len(),
                this,
                state: this.then(|| self.state.to_owned()),
                drain: this.then(|| self.drain_stage(|it| *it == Target::Site)).flatten(),
                announced: this
                    .then(|| self.announcer.announced().iter().map(IpNet::to_string).collect()),
                established: this.then_some(self.established),
                uptime_seconds: this.then(|| self.started.elapsed().as_secs_f64()),
                warning: self.reload.status().warning().filter(|_| this),
            }
        };
        self.fleet.sites.iter().map(row).collect()
    }

    fn services(&self) -> ServicesReport {
        let now = self.now();
        let status = self.steer.status(now);
        let services = status.services.into_iter().enumerate().map(|(index, service)| {
            let spec = &self.fleet.services[index];
            let checks = service.checks.into_iter().map(|check| CheckRow {
                name: check.name,
                state: words(check.verdict).to_owned(),
                passes: check.passes,
                fails: check.fails,
                last_failure: check.last_failure,
            });
            ServiceRow {
                name: service.name,
                addresses: spec.addresses.clone(),
                served_by: match spec.builtin {
                    Some(Builtin::Whoami { .. }) => "whoami".to_owned(),
                    None => "external".to_owned(),
                },
                pid: self.pids.get(&index).copied(),
                state: words(service.verdict).to_owned(),
                since_seconds: (now - service.since).as_secs_f64(),
                drain: self
                    .drain_stage(|it| matches!(it, Target::Service(name) if *name == spec.name)),
                why: service.why,
                checks: checks.collect(),
            }
        });
        let prefixes = status.prefixes.into_iter().map(|prefix| PrefixRow {
            prefix: prefix.prefix.to_string(),
            services: prefix.services,
            require: prefix.require.to_string(),
            announced: self.announcer.announces(&prefix.prefix),
            since_seconds: (now - prefix.since).as_secs_f64(),
            why: prefix.why,
            rpki: self.origins.state_of(&prefix.prefix),
        });
        ServicesReport {
            services: services.collect(),
            prefixes: prefixes.collect(),
            sessions_up: self.established,
        }
    }

    fn neighbors_in_file(&self) -> HashMap<String, NeighborInFile> {
        let row = |neighbor: &anycast_fleet::Neighbor| {
            let more = self.announcer.prepends(&neighbor.name);
            let file = NeighborInFile {
                relation: neighbor.relation.map(|relation| {
                    let word = match relation {
                        Relation::Customer => "customer",
                        Relation::Peer => "peer",
                        Relation::Provider => "provider",
                    };
                    word.to_owned()
                }),
                import: neighbor.import.to_string(),
                export: neighbor.export.to_string(),
                prepend: neighbor.prepend.saturating_add(more),
                drain: self.drain_stage(|it| match it {
                    Target::Site => true,
                    Target::Neighbor(name) => *name == neighbor.name,
                    Target::Service(_) => false,
                }),
            };
            (neighbor.name.clone(), file)
        };
        self.site.neighbors.iter().map(row).collect()
    }

    fn prepend(&mut self, order: &PrependOrder, caller: &Caller) -> Result<(), String> {
        if let Some(name) = &order.neighbor
            && self.site.neighbor(name).is_none()
        {
            let known: Vec<&str> = self.site.neighbors.iter().map(|n| n.name.as_str()).collect();
            return Err(format!("no neighbor is called {name}; there are {}", known.join(", ")));
        }
        for (index, neighbor) in self.site.neighbors.iter().enumerate() {
            if order.neighbor.as_ref().is_none_or(|name| *name == neighbor.name) {
                self.announcer.prepend(&self.fleet, &self.site, index, order.count);
                let detail = format!("{} more than the file says", order.count);
                self.events.record(Happening {
                    kind: "prepend",
                    subject: &neighbor.name,
                    detail: &detail,
                    by: caller.name(),
                    ..Happening::default()
                });
            }
        }
        Ok(())
    }
}

fn words(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::Unproven => "unproven",
        Verdict::Up => "up",
        Verdict::Down => "down",
    }
}

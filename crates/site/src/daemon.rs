//! The daemon of one site: probes → verdicts → `steer` → `speaker` → wire.
//!
//! One task owns the steering and takes in everything that happens, one thing at a time; the
//! checks, the built-in services, the speaker and the control socket are tasks around it.
//!
//! | module | what it is |
//! |---|---|
//! | `answers` | what the control socket asks |
//! | `around` | addresses, built-in services and the like, which change when the fleet does |
//! | `checks` | what is seen of services |
//! | `first_vrps` | what a site that starts waits for |
//! | `drains`, `finishing` | what operators drain, and connections that run on after it |
//! | `keeping` | connections kept at the site that they began at |
//! | `look` | how the site is |
//! | `meters` | traffic and loads, once a second |
//! | `reload` | the fleet file read again |
//! | `slots` | numbers of services and checks that outlive a reload |
//! | `upgrade` | another program in this one's place |

mod answers;
mod around;
mod checks;
mod drains;
mod finishing;
mod first_vrps;
mod keeping;
mod look;
mod meters;
mod reload;
mod slots;
mod upgrade;

use std::collections::{BTreeMap, HashMap};
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use anycast_fleet::{Fleet, Site};
use anycast_speaker::{BindError, Speaker, SpeakerEvent};
use anycast_steer::{Action, Change, Instant, Outcome, Steer};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc;

use self::finishing::Finishing;
pub(crate) use self::finishing::HandedWait;
use self::meters::Meters;
use self::reload::{Reload, Revision};
use crate::address;
use crate::affinity::Keeper;
use crate::announce::Announcer;
use crate::api::{self, Gate, Plan};
use crate::check::{self, RunnerHandle};
use crate::confirmed::Confirmed;
use crate::control;
use crate::dead_man::{BEAT, DeadMan};
use crate::disabled::Disabled;
use crate::drain::Drains;
use crate::events::EventLog;
use crate::fleet_state::{self, FleetState, Settled};
use crate::handover::TakenOver;
use crate::metrics::CheckTimes;
use crate::notify::Notifier;
use crate::rpki::{self, OwnOrigins};
use crate::state;
use crate::steering;
use crate::translate;
use around::{Addresses, Around, Builtins, Server};
use slots::Slots;
use upgrade::{Go, Tried};

/// How long the speaker may take at the end: a second for the NOTIFICATIONs, and what the kernel
/// takes to remove a full table.
const GOODBYE: Duration = Duration::from_secs(30);
/// How often to look whether a checker is still alive, and how much there is to bear.
const CHECKERS: Duration = Duration::from_secs(1);

/// What the daemon is started with.
#[derive(Debug)]
pub struct Options {
    /// The fleet.
    pub fleet: Fleet,
    /// The text that it was read from.
    pub source: String,
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
    /// The file that is executed by an upgrade.
    pub successor: PathBuf,
    /// What the program before this one has left, if this is one.
    pub taken_over: Option<TakenOver>,
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
    #[error("cannot execute {program} in this process: {source}; all sessions have ended")]
    Upgrade { program: PathBuf, source: io::Error },
}

/// Runs a site until SIGTERM or SIGINT: then withdraws, waits, and stops serving.
///
/// # Errors
/// What kept it from starting; it has then changed nothing that lasts.
pub async fn run(options: Options) -> Result<(), Error> {
    let mut fleet = options.fleet;
    let mut site = site_of(&fleet, &options.site)?;
    let asked = options.state_dir.as_deref();
    let folder = state::folder(asked, site.state_dir.as_deref(), &site.name);
    let mut found = Confirmed::open(&folder, &options.file, options.source);
    if let Some(confirmed) = found.instead.take() {
        fleet = confirmed;
        site = site_of(&fleet, &options.site)?;
    }
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
    let revision = Revision::new(&fleet, &config.neighbors, std::mem::take(&mut found.source));
    let mut taken_over = options.taken_over;
    let handed = taken_over.as_mut().map(|taken| std::mem::take(&mut taken.speaker));
    let sessions = handed.as_ref().map_or(0, |handed| handed.sessions.len());
    let mut speaker = Speaker::take_over(config, Some(speaker_events), handed)?;
    let (disabled, unread) = Disabled::open(&folder, |name| site.neighbor(name).is_some());
    for (name, message) in disabled.iter() {
        speaker.disable(name, message);
    }
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
    // What the program before this one announced and used goes on meanwhile: it has been looked at.
    let patience = Some(rpki::patience(&fleet, &site))
        .filter(|patience| !patience.is_zero() && taken_over.is_none());
    if patience.is_some() {
        handle.await_vrps();
    }
    let mut speaker_task = tokio::spawn(speaker.run());
    let mut gate = Gate::new(control::router(question_sender.clone(), handle.clone()));
    let control = tokio::spawn(control::serve(listener, question_sender, handle.clone()));
    glass.serve(site.looking_glass, glass_listener);
    meter.serve(site.metrics, meter_listener);
    if let Some(doors) = doors {
        gate.carry_out(Plan::Open(doors));
    }

    found.carry_out();
    let events = EventLog::open(&folder);
    let (origins, mut from_rpki) = OwnOrigins::start(&fleet, &site, handle.clone());
    let (check_events, mut from_checks) = mpsc::channel(256);
    let (reload, mut from_file) =
        Reload::new(options.file, revision, found.confirmed, found.rolled_back);
    let announcer = Announcer::new(handle.clone());
    let (tried, mut from_program) = mpsc::unbounded_channel();
    let succession = (options.successor, tried);
    let inputs = (check_events, succession);
    let mut daemon = Daemon::new(fleet, site, announcer, origins, events, inputs, reload);
    daemon.events.add("start", &daemon.site.name, concat!("version ", env!("CARGO_PKG_VERSION")));
    for (kind, words) in found.news.take() {
        let file = daemon.reload.file().display().to_string();
        daemon.events.warn(kind, &file, &words);
    }
    daemon.take_up_disabled(disabled, unread.as_deref());
    // Before anything can be announced.
    daemon.take_up_drains(&folder, options.drained, taken_over.as_ref());
    daemon.keep_connections(None);
    let notifier = Notifier::of_environment();
    let mut early_signal = None;
    if let Some(patience) = patience {
        notifier.status(first_vrps::WAITS);
        tokio::select! {
            () = daemon.await_first_vrps(
                patience,
                &mut from_rpki,
                &mut from_speaker,
                &mut questions,
            ) => {}
            _ = terminate.recv() => early_signal = Some("SIGTERM"),
            _ = interrupt.recv() => early_signal = Some("SIGINT"),
        }
        daemon.end_wait_for_vrps();
        handle.give_up_vrps();
    }
    daemon.start_checks();
    let (builtin_events, mut from_builtins) = mpsc::channel(16);
    let mut builtins = Builtins::new(options.program, builtin_events);
    for (index, service) in daemon.fleet.services.iter().enumerate() {
        if service.builtin.is_some() {
            let number = daemon.slots.service(index);
            let adopted = taken_over.as_mut().and_then(|taken| taken.process_of(&service.name));
            builtins.start(&daemon.fleet, &daemon.site, index, number, None, adopted);
        }
    }
    let mut around = Around::new(addresses, builtins, (glass, meter, gate), from_rpki);
    around.deaths = daemon.watch_deaths();
    match (&taken_over, early_signal) {
        (Some(taken), _) => {
            let cause = daemon.inherit(taken, sessions);
            daemon.steer_on(Trigger::Event(cause));
            handle.finish_taking_over();
        }
        (None, Some(signal)) => daemon.stop(signal),
        (None, None) => daemon.steer_on(Trigger::Nothing),
    }

    let dead_man = DeadMan::start(handle.clone(), notifier.clone()).map_err(Error::DeadMan)?;
    // By the loop itself: what says that it lives must not live by itself.
    let beat = notifier.watchdog_interval().map_or(BEAT, |interval| interval.min(BEAT));
    let mut beat = tokio::time::interval(beat);
    let mut last_line: Option<String> = None;

    let mut look_after_checkers = tokio::time::interval(CHECKERS);
    let mut upgrade = None;
    let failure = loop {
        if early_signal.is_some() {
            break None;
        }
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
            Some(tried) = from_program.recv() => {
                if let Go::Upgrade(by) = daemon.handle_tried(tried) {
                    upgrade = Some(by);
                    break None;
                }
            }
            death = around::next_death(&mut around.deaths) => daemon.handle_death(death),
            () = reload_due => daemon.handle_reload_due(&mut around).await,
            () = daemon.next_timeout() => daemon.handle_timeout(),
            event = daemon.fleet_state.next() => daemon.handle_fleet_state(event),
            loaded = daemon.keeper.loaded() => daemon.handle_loaded(loaded),
        }
    };

    drop(dead_man);
    if let Some(by) = upgrade {
        notifier.upgrading();
        return Err(daemon.upgrade(&mut around, by).await);
    }
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

fn site_of(fleet: &Fleet, name: &str) -> Result<Site, Error> {
    fleet.site(name).cloned().ok_or_else(|| {
        let known: Vec<&str> = fleet.sites.iter().map(|site| site.name.as_str()).collect();
        Error::UnknownSite { name: name.to_owned(), known: known.join(", ") }
    })
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
    /// Built-in services without their QUIC, by name: why.
    no_quic: BTreeMap<String, String>,
    announcer: Announcer,
    established: usize,
    origins: OwnOrigins,
    fleet_state: FleetState,
    check_times: CheckTimes,
    check_events: mpsc::Sender<check::Event>,
    /// The program that an upgrade executes.
    successor: PathBuf,
    tried: mpsc::UnboundedSender<Tried>,
    slots: Slots,
    reload: Reload,
    drains: Drains,
    disabled: Disabled,
    meters: Meters,
    keeper: Keeper,
    /// For the end of a loading.
    waiting: Vec<keeping::Answer>,
    finishing: Finishing,
    /// How long the first VRPs are waited for, while they are.
    vrps_until: Option<tokio::time::Instant>,
}

impl Daemon {
    fn new(
        fleet: Fleet,
        site: Site,
        announcer: Announcer,
        origins: OwnOrigins,
        events: EventLog,
        (check_events, (successor, tried)): (
            mpsc::Sender<check::Event>,
            (PathBuf, mpsc::UnboundedSender<Tried>),
        ),
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
            no_quic: BTreeMap::new(),
            announcer,
            established: 0,
            origins,
            check_times: CheckTimes::default(),
            check_events,
            successor,
            tried,
            slots: Slots::new(&fleet),
            reload,
            drains: Drains::default(),
            disabled: Disabled::default(),
            meters: Meters::default(),
            keeper: Keeper::default(),
            waiting: Vec::new(),
            finishing: Finishing::default(),
            vrps_until: None,
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
        let now = self.now();
        self.fleet_state.handle(now, event, &mut self.events);
        self.settle(false);
    }

    fn handle_timeout(&mut self) {
        self.steer.handle_timeout(self.now());
        self.steer_on(Trigger::Nothing);
    }

    fn handle_speaker(&mut self, event: SpeakerEvent) {
        if self.note_of_speaker(event) {
            self.settle(true);
        }
    }

    /// Notes it; returns whether the number of sessions is another.
    fn note_of_speaker(&mut self, event: SpeakerEvent) -> bool {
        let before = self.established;
        match event {
            SpeakerEvent::NeighborUp { name } => {
                self.established += 1;
                self.events.add("neighbor-up", &name, "");
            }
            SpeakerEvent::NeighborDown { name, why } => {
                self.established -= 1;
                self.events.add("neighbor-down", &name, &why);
            }
            SpeakerEvent::NeighborReset { name, why } => {
                self.events.warn("neighbor-reset", &name, &why);
            }
            SpeakerEvent::NeighborLimit { name, why } => {
                self.events.add("neighbor-limit", &name, &why);
            }
            SpeakerEvent::NeighborUnreachable { name, why } => {
                self.events.add("neighbor-unreachable", &name, &why);
            }
        }
        self.established != before
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
                    let detail = steering::told_in_words(&self.site, &told, change, &why);
                    let kind = if change == Change::Announce { "announce" } else { "adjust" };
                    self.events.add_after(cause, kind, &prefix.to_string(), &detail);
                    news.insert(prefix, told);
                }
                mut other => {
                    drains_changed |=
                        matches!(other, Action::Drain { .. } | Action::Undrain { .. });
                    self.report_end_of_drain(&mut other);
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

    /// Says which neighbors an operator has disabled before the start.
    fn take_up_disabled(&mut self, disabled: Disabled, unread: Option<&str>) {
        if let Some(why) = unread {
            let words = format!("{why}; every neighbor is enabled");
            self.events.warn("disabled-unreadable", &self.site.name, &words);
        }
        for (name, message) in disabled.iter() {
            let words = ["from before the start", message].join(": ");
            self.events.add("neighbor-disable", name, words.trim_end_matches(": "));
        }
        self.disabled = disabled;
    }

    /// Writes down an order that disables or enables a neighbor, for the next daemon.
    fn keep_disabled(&mut self, order: &str, neighbor: &str, message: &str) {
        let kept = match order {
            "neighbor-disable" => self.disabled.set(neighbor, Some(message)),
            "neighbor-enable" => self.disabled.set(neighbor, None),
            _ => return,
        };
        if let Err(error) = kept {
            let words = format!("{error}; a restart of the daemon forgets the order");
            self.events.warn("disabled-not-kept", neighbor, &words);
        }
    }
}

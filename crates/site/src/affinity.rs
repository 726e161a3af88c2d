//! Connections kept at the site that they began at: the packet programs of this site, loaded,
//! changed, shown and taken out. Whatever is missing for them, the site runs on without and says
//! why.
//!
//! | module | what it is |
//! |---|---|
//! | `config` | the fleet file's words as the packet programs take them |
//! | `exits` | by which interface packets leave for other sites |
//! | `host` | what the machine must be set to, looked at |
//! | `report` | how it stands: the JSON of `anycast show affinity` |

mod config;
mod exits;
mod host;
mod report;

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use anycast_affinity::{Affinity, Config, Hook, LoadError, Mode, SiteId};
use anycast_fleet::{Fleet, Site};
use futures_util::FutureExt;
use nix::ifaddrs::getifaddrs;
use nix::net::if_::{InterfaceFlags, if_nameindex};
use tokio::task::JoinHandle;

pub use config::decisions;
pub(crate) use config::signing;
pub use report::{AffinityReport, InterfaceRow, PeerRow};

/// Where links and maps are pinned, a folder for each site, unless `ANYCAST_BPF_DIR` says
/// otherwise.
const BPF_DIR: &str = "/sys/fs/bpf/anycast";

/// How often the programs are told the time: a clock that is set must not make other sites refuse
/// our frames for long.
const TELL_TIME: Duration = Duration::from_secs(10);

/// How often it is looked whether interfaces have come, gone or been made anew.
const LOOK: Duration = Duration::from_secs(2);

/// What becomes of the packet programs.
pub(crate) struct Keeper {
    state: State,
    told_time: Instant,
    /// The interfaces of the machine when the programs were last told which are theirs.
    interfaces: BTreeSet<Interface>,
    looked: Instant,
    /// The looking up of ways to other sites that is under way.
    exits: Option<JoinHandle<Option<BTreeMap<SiteId, u32>>>>,
    /// Why they could not be loaded the last time, if they could not.
    failure: Option<Failure>,
    /// What an operator should know of the machine.
    warnings: Vec<String>,
    /// Why they do not do what the file says, but what it said before.
    not_changed: Option<String>,
}

impl Default for Keeper {
    fn default() -> Self {
        Self {
            state: State::Off,
            told_time: Instant::now(),
            interfaces: BTreeSet::new(),
            looked: Instant::now(),
            exits: None,
            failure: None,
            warnings: Vec::new(),
            not_changed: None,
        }
    }
}

enum State {
    /// The fleet file does not ask for it, or the site serves nothing.
    Off,
    /// They are being loaded.
    Loading(JoinHandle<Loaded>),
    /// They run.
    Loaded(Box<Affinity>),
    /// An operator took them out.
    Unloaded,
    /// They could not be loaded.
    Unavailable(Failure),
}

/// How a loading ended.
pub(crate) type Loaded = Result<Affinity, Failure>;

/// Why the programs were not loaded.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Failure {
    why: String,
    /// Whether it may be otherwise once the interfaces are.
    by_interfaces: bool,
}

/// What happened, for the events.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct News {
    pub(crate) kind: &'static str,
    pub(crate) detail: String,
    /// Whether the log shall show it as a warning.
    pub(crate) loud: bool,
}

fn news(kind: &'static str, detail: impl Into<String>, loud: bool) -> News {
    News { kind, detail: detail.into(), loud }
}

impl Keeper {
    pub(crate) const fn is_loaded(&self) -> bool {
        matches!(self.state, State::Loaded(_))
    }

    /// Whether connections are kept here, or will be in a moment: what an earlier daemon loaded keeps
    /// them while this one takes it over. What has failed and is tried again keeps none.
    pub(crate) const fn is_keeping(&self) -> bool {
        self.is_loaded() || matches!(self.state, State::Loading(_)) && self.failure.is_none()
    }

    /// Does what the fleet file asks for, at the start and after it has changed. What an operator
    /// took out stays out.
    pub(crate) fn follow(&mut self, fleet: &Fleet, site: &Site) -> Vec<News> {
        let wanted = fleet.affinity.is_some() && site.affinity.is_some() && !site.router;
        self.interfaces = interfaces_of_machine();
        match (&mut self.state, wanted) {
            (State::Unloaded | State::Off, false) => {
                self.state = State::Off;
                // What an earlier daemon left, when the file still asked for it.
                match unload_left(&site.name) {
                    Ok(true) => vec![news("affinity-off", "an earlier daemon's programs", false)],
                    Ok(false) => Vec::new(),
                    Err(why) => vec![news("affinity-not-unloaded", why, true)],
                }
            }
            (State::Unavailable(_), false) => {
                (self.state, self.failure) = (State::Off, None);
                vec![news("affinity-off", "the fleet file does not ask for it", false)]
            }
            (State::Loaded(_), false) => {
                let taken_out = self.take_out();
                self.state = State::Off;
                vec![match taken_out {
                    Ok(()) => news("affinity-off", "the fleet file does not ask for it", false),
                    Err(why) => news("affinity-not-unloaded", why, true),
                }]
            }
            (State::Loaded(programs), true) => match config::of(fleet, site) {
                // A program that hangs somewhere stays there: another way needs another place.
                Ok(config) if config.mode != programs.config().mode => {
                    let taken_out = self.take_out();
                    let not = taken_out.err().map(|why| news("affinity-not-unloaded", why, true));
                    self.load(fleet, site);
                    not.into_iter().collect()
                }
                config => self.update(config),
            },
            // Once a loading has ended, what the file says by then is done; what an operator has
            // unloaded stays so.
            (State::Loading(_), _) | (State::Unloaded, true) => Vec::new(),
            (State::Off | State::Unavailable(_), true) => {
                self.load(fleet, site);
                Vec::new()
            }
        }
    }

    /// Does what changed interfaces ask for; all else stays as the programs were told.
    pub(crate) fn follow_interfaces(&mut self, fleet: &Fleet, site: &Site) -> Vec<News> {
        self.interfaces = interfaces_of_machine();
        let State::Loaded(programs) = &self.state else {
            self.load(fleet, site);
            return Vec::new();
        };
        let mut config = programs.config().clone();
        let found = config::interfaces(site);
        self.update(found.map(|found| {
            config.interfaces = found;
            config
        }))
    }

    /// Gives the programs another configuration, if there is one.
    fn update(&mut self, config: Result<Config, String>) -> Vec<News> {
        let State::Loaded(programs) = &mut self.state else { return Vec::new() };
        let before = programs.hooks().to_vec();
        let updated =
            config.and_then(|config| programs.update(&config).map_err(|error| error.to_string()));
        let known = std::mem::replace(&mut self.not_changed, updated.err());
        let mut all = Vec::new();
        if programs.hooks() != before {
            let words = in_words(&interfaces(programs));
            all.push(news("affinity-interfaces", words, false));
        }
        if let Some(why) = self.not_changed.as_ref().filter(|why| known.as_ref() != Some(why)) {
            all.push(news("affinity-not-changed", why.as_str(), true));
        }
        all
    }

    /// Begins to load the programs, or to take over those that an earlier daemon left running. The
    /// kernel looks at each of their instructions, which may take seconds on a busy machine, and the
    /// steering must not stand still for it: [`loaded`](Self::loaded) tells of the end.
    pub(crate) fn load(&mut self, fleet: &Fleet, site: &Site) {
        if matches!(self.state, State::Loaded(_) | State::Loading(_)) {
            return;
        }
        self.interfaces = interfaces_of_machine();
        let config = config::of(fleet, site);
        let pins = pins(&site.name);
        let load = move || {
            let by_interfaces = |why| Failure { why, by_interfaces: true };
            Affinity::load(&config.map_err(by_interfaces)?, &pins).map_err(|error| Failure {
                why: error.to_string(),
                by_interfaces: matches!(
                    error,
                    LoadError::Attach { .. } | LoadError::Stacked { .. }
                ),
            })
        };
        self.state = State::Loading(tokio::task::spawn_blocking(load));
    }

    /// The end of what [`load`](Self::load) began; never, if it did not.
    pub(crate) async fn loaded(&mut self) -> Loaded {
        match &mut self.state {
            State::Loading(task) => {
                let ended = task.await;
                ended.unwrap_or_else(|error| {
                    let why = format!("the loading has died: {error}");
                    Err(Failure { why, by_interfaces: false })
                })
            }
            _ => std::future::pending().await,
        }
    }

    /// Takes in how the loading ended.
    pub(crate) fn handle_loaded(&mut self, loaded: Loaded, site: &Site) -> Vec<News> {
        match loaded {
            Ok(programs) => {
                let interfaces = interfaces(&programs);
                let words = in_words(&interfaces);
                self.state = State::Loaded(Box::new(programs));
                self.failure = None;
                let names: Vec<String> = interfaces.into_iter().map(|it| it.name).collect();
                self.warnings = host::warnings(site, &names);
                let warnings = self.warnings.iter();
                let warnings = warnings.map(|words| news("affinity-host", words.as_str(), true));
                std::iter::once(news("affinity-loaded", words, false)).chain(warnings).collect()
            }
            Err(failure) => {
                let words = format!("{}; a route change breaks connections", failure.why);
                // It is tried again whenever the interfaces change, and said once.
                let known = self.failure.replace(failure.clone()).as_ref() == Some(&failure);
                self.state = State::Unavailable(failure);
                if known { Vec::new() } else { vec![news("affinity-unavailable", words, true)] }
            }
        }
    }

    /// Takes the programs out of the kernel. Connections run on as long as no route changes.
    ///
    /// # Errors
    /// In words.
    pub(crate) fn unload(&mut self) -> Result<Vec<News>, String> {
        match self.state {
            State::Loaded(_) => {
                self.take_out()?;
                let words = "a route change breaks connections until they are loaded again";
                Ok(vec![news("affinity-unloaded", words, false)])
            }
            State::Off => Err("the fleet file asks for no affinity here".to_owned()),
            State::Unloaded => Err("it is unloaded already".to_owned()),
            State::Loading(_) => Err("it is being loaded: ask again in a moment".to_owned()),
            State::Unavailable(ref failure) => Err(format!("it is not loaded: {}", failure.why)),
        }
    }

    pub(crate) fn report(&self, fleet: &Fleet, site: &Site) -> AffinityReport {
        let (state, why) = match &self.state {
            State::Off => ("off", None),
            State::Loading(_) => ("loading", None),
            State::Loaded(_) => ("loaded", None),
            State::Unloaded => ("unloaded", None),
            State::Unavailable(failure) => ("unavailable", Some(failure.why.clone())),
        };
        let mut report = AffinityReport {
            state: state.to_owned(),
            why,
            warnings: self.warnings.clone(),
            id: site.affinity.as_ref().map(|it| it.id),
            ..AffinityReport::default()
        };
        let not_changed = self.not_changed.iter();
        report.warnings.extend(not_changed.map(|why| format!("not as the file says: {why}")));
        let keys = fleet.affinity.iter().flat_map(|it| &it.keys);
        report.epochs = keys.map(|key| key.epoch).collect();
        if let State::Loaded(programs) = &self.state {
            report.interfaces = interfaces(programs);
            match programs.counters() {
                Ok(counters) => report.count(&counters, fleet, site),
                Err(error) => report.warnings.push(error.to_string()),
            }
        }
        report
    }

    /// Tells the programs the time, which frames carry, and by which interfaces other sites are
    /// reached. To be called once a second.
    pub(crate) fn keep_told(&mut self) -> Option<News> {
        let State::Loaded(programs) = &mut self.state else { return None };
        if let Some(looking) = self.exits.take_if(|looking| looking.is_finished())
            && let Some(Ok(Some(exits))) = looking.now_or_never()
            && let Err(failed) = programs.set_exits(exits)
        {
            return Some(news("affinity-not-changed", failed.to_string(), true));
        }
        if self.exits.is_none() {
            self.exits = Some(tokio::spawn(exits::look_up(programs.config().clone())));
        }
        if self.told_time.elapsed() < TELL_TIME {
            return None;
        }
        self.told_time = Instant::now();
        let failed = programs.keep_time().err()?;
        Some(news("affinity-clock", failed.to_string(), true))
    }

    /// Whether interfaces have come, gone or changed since the programs were told, or could not be loaded for
    /// their sake: then [`follow_interfaces`](Self::follow_interfaces) does what is to be done. To be
    /// called once a second.
    pub(crate) fn is_to_look_again(&mut self) -> bool {
        let looks = match &self.state {
            State::Loaded(_) => true,
            State::Unavailable(failure) => failure.by_interfaces,
            State::Off | State::Loading(_) | State::Unloaded => false,
        };
        if !looks || self.looked.elapsed() < LOOK {
            return false;
        }
        self.looked = Instant::now();
        interfaces_of_machine() != self.interfaces
    }

    fn take_out(&mut self) -> Result<(), String> {
        let State::Loaded(programs) = std::mem::replace(&mut self.state, State::Unloaded) else {
            return Ok(());
        };
        self.warnings.clear();
        (self.not_changed, self.exits) = (None, None);
        programs.unload().map_err(|error| error.to_string())
    }
}

/// Takes out what a daemon of this site left running; whether there was anything. No daemon of the
/// site may run.
///
/// # Errors
/// In words, if it cannot be taken out.
pub fn unload_left(site: &str) -> Result<bool, String> {
    let pins = pins(site);
    let there = std::fs::read_dir(&pins).is_ok_and(|mut entries| entries.next().is_some());
    if there {
        Affinity::unload_pinned(&pins).map_err(|error| error.to_string())?;
    }
    Ok(there)
}

/// An interface by its name, with whatever decides whether it is one of ours: its index, or whether it is up
/// and one of its addresses.
type Interface = (String, String);

/// None if the kernel does not tell.
fn interfaces_of_machine() -> BTreeSet<Interface> {
    let (indexes, addresses) = (if_nameindex().ok(), getifaddrs().ok());
    let indexes = indexes.iter().flat_map(|all| all.iter());
    let indexes =
        indexes.map(|it| (it.name().to_string_lossy().into_owned(), it.index().to_string()));
    let each = addresses.into_iter().flatten().map(|it| {
        let is_up = it.flags.contains(InterfaceFlags::IFF_UP);
        let address = it.address.map(|address| address.to_string()).unwrap_or_default();
        (it.interface_name, format!("{is_up} {address}"))
    });
    indexes.chain(each).collect()
}

/// Where packets are taken, and how.
fn interfaces(programs: &Affinity) -> Vec<InterfaceRow> {
    let row = |hook: &Hook| {
        let mode = match hook.mode {
            Mode::XdpNative => "xdp",
            Mode::XdpGeneric => "xdp-generic",
            Mode::Tc | Mode::Auto => "tc",
        };
        InterfaceRow { name: hook.interface.clone(), mode: mode.to_owned() }
    };
    programs.hooks().iter().map(row).collect()
}

fn in_words(interfaces: &[InterfaceRow]) -> String {
    let each = interfaces.iter().map(|it| format!("{} by {}", it.name, it.mode));
    format!("packets are taken at {}", each.collect::<Vec<_>>().join(", "))
}

/// The folder in which the links and maps of a site are pinned. That file system has no names with
/// dots.
fn pins(site: &str) -> PathBuf {
    let folder = std::env::var_os("ANYCAST_BPF_DIR").unwrap_or_else(|| BPF_DIR.into());
    PathBuf::from(folder).join(site.replace('.', "%2e"))
}

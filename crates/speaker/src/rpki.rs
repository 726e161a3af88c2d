//! Where VRPs come from: caches that speak the RPKI to Router protocol, in order of preference,
//! and a file.
//!
//! Each cache has a task of its own, which holds a session as long as it can. A keeper says whose
//! data count: those of the first cache whose data are as new as it promised; else of the first
//! whose data have not expired; else the file's (RFC 8210 §10). What was loaded stays until there
//! is something better or it expires, so a cache that restarts changes nothing.

mod cache;
mod file;
mod keeper;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use anycast_bgp::rov::VrpTable;
use serde::{Deserialize, Serialize};
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinSet;

use crate::config::Place;
use crate::handle::Handle;

/// Where VRPs come from.
#[derive(Clone)]
pub struct RpkiConfig {
    /// Caches, the preferred first.
    pub caches: Vec<SocketAddr>,
    /// A file as validators write it, for when no cache has data.
    pub file: Option<PathBuf>,
    /// Where sockets are opened.
    pub place: Arc<dyn Place>,
}

/// What happens to the sources and their data.
#[derive(Clone, Debug)]
pub enum RpkiEvent {
    /// A source has data that are up to date.
    SourceUp {
        /// The cache's address or the file's path.
        name: String,
        /// How many VRPs, and by which version.
        detail: String,
    },
    /// A source has none, or none that are new; told once, and again when the reason is another.
    SourceDown {
        /// The cache's address or the file's path.
        name: String,
        /// Why, in words.
        why: String,
    },
    /// Other VRPs count from now on; the speaker has them already.
    Vrps {
        /// All of them; `None`: what there was has expired.
        vrps: Option<Arc<VrpTable>>,
        /// Whose they are, how many are new and how many gone.
        detail: String,
    },
}

/// One source, as `show rpki` has it.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub struct RpkiSource {
    /// The cache's address or the file's path.
    pub name: String,
    /// `cache` or `file`.
    pub kind: String,
    /// `down`, `connecting`, `asking`, `loading`, `up to date` or `no data`; of a file `loaded`,
    /// `broken` or `absent`.
    pub state: String,
    /// Whether its data count.
    pub in_use: bool,
    /// The protocol's version.
    pub version: Option<u8>,
    /// The cache's session id.
    pub session: Option<u16>,
    /// What we have of the session.
    pub serial: Option<u32>,
    /// How many VRPs it has given.
    pub vrps: Option<usize>,
    /// Seconds since its data were last known to be the newest.
    pub updated_seconds: Option<f64>,
    /// Seconds until its data are no more used.
    pub expires_seconds: Option<f64>,
    /// What last went wrong, if nothing went well since.
    pub trouble: Option<String>,
}

/// The sources of VRPs of one speaker. They end when this is dropped.
pub struct Rpki {
    questions: mpsc::UnboundedSender<oneshot::Sender<Vec<RpkiSource>>>,
    _tasks: JoinSet<()>,
}

impl Rpki {
    /// Starts to fetch VRPs for `speaker`; must be called within a tokio runtime.
    #[must_use]
    pub fn start(
        config: RpkiConfig,
        speaker: Handle,
        events: mpsc::UnboundedSender<RpkiEvent>,
    ) -> Self {
        let started = tokio::time::Instant::now();
        let (reports, received) = mpsc::unbounded_channel();
        let (questions, asked) = mpsc::unbounded_channel();
        let mut tasks = JoinSet::new();
        let mut names = Vec::new();
        for (index, &address) in config.caches.iter().enumerate() {
            names.push((address.to_string(), "cache"));
            let (place, reports) = (Arc::clone(&config.place), reports.clone());
            tasks.spawn(cache::keep(index, address, place, started, reports));
        }
        if let Some(path) = config.file {
            names.push((path.display().to_string(), "file"));
            tasks.spawn(file::keep(config.caches.len(), path, reports));
        }
        let keeper = keeper::Keeper::new(names, started, speaker, events);
        tasks.spawn(keeper.run(received, asked));
        Self { questions, _tasks: tasks }
    }

    /// Asks for the state of every source, in order of preference.
    #[must_use]
    pub fn sources(&self) -> oneshot::Receiver<Vec<RpkiSource>> {
        let (sender, answer) = oneshot::channel();
        let _ = self.questions.send(sender);
        answer
    }
}

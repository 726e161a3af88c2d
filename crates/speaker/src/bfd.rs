//! BFD sessions with neighbors (RFC 5880 to 5883) on real sockets.
//!
//! All of a speaker's sessions live in one thread of their own that does nothing else: it takes
//! no lock, never waits for the driver and writes no log, so nothing that the process does
//! elsewhere can make a neighbor miss our packets, or us miss its. A speaker without BFD has no
//! such thread.
//!
//! | module | what it is |
//! |---|---|
//! | `engine` | the thread: its loop, and which session a packet is for |
//! | `socket` | the sockets, with ports and TTLs as [`anycast_bfd::udp`] wants them |

mod engine;
mod socket;

use std::collections::HashSet;
use std::hash::{BuildHasher, RandomState};
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::num::NonZeroU32;
use std::sync::{Arc, mpsc};
use std::thread::JoinHandle;
use std::time::Duration;

use anycast_bfd::time::Instant;
use anycast_bfd::{Event, Session};
use nix::sys::eventfd::{EfdFlags, EventFd};
use serde::{Deserialize, Serialize};
use tokio::sync::oneshot;

use crate::config::{Bfd, Neighbor, Place};
use crate::handover::HandedBfd;
use crate::scope;
use engine::{Command, Loop, Served};
use socket::{Receiver, Sender};

/// One row of `show bfd`.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub struct BfdStatus {
    /// The operator's name for the neighbor.
    pub neighbor: String,
    /// Its address.
    pub address: IpAddr,
    /// Our address, if it must be a certain one.
    pub local_address: Option<IpAddr>,
    /// Over several hops (RFC 5883), else over one (RFC 5881).
    pub multihop: bool,
    /// The session's state by RFC 5880's name.
    pub state: String,
    /// Seconds since it is Up, if it is.
    pub up_seconds: Option<f64>,
    /// What the neighbor says of its own state, unless it is silent.
    pub remote_state: Option<String>,
    /// Our packets' interval before jitter, in milliseconds, while they go out periodically.
    pub interval_ms: Option<f64>,
    /// The silence after which the neighbor counts as dead, in milliseconds, once it was heard.
    pub detection_ms: Option<f64>,
    /// Our name for the session.
    pub local_discriminator: u32,
    /// The neighbor's name for it.
    pub remote_discriminator: Option<u32>,
    /// Packets taken.
    pub packets_in: u64,
    /// Packets sent.
    pub packets_out: u64,
    /// Packets that were for this session and were dropped: malformed, or with a TTL that says
    /// that they come from further than the neighbor is.
    pub packets_dropped: u64,
    /// How often the session came Up.
    pub ups: u64,
    /// How often it then failed.
    pub downs: u64,
    /// Why it last failed or was ended after it was Up.
    pub last_down: Option<String>,
    /// Why our last packet could not be sent, if so.
    pub send_error: Option<String>,
}

/// A speaker could not open a socket for BFD.
#[derive(Debug)]
pub(crate) struct OpenError {
    pub(crate) address: SocketAddr,
    pub(crate) source: io::Error,
}

/// The sessions with their sockets, before their thread is started.
pub(crate) struct Engine {
    receivers: Vec<Receiver>,
    sessions: Vec<Served>,
    names: Names,
    place: Arc<dyn Place>,
}

/// Discriminators: no two sessions of a speaker ever have the same, and nobody can guess them
/// (RFC 5880 §6.3).
#[derive(Default)]
struct Names {
    random: RandomState,
    taken: HashSet<NonZeroU32>,
}

impl Engine {
    /// Opens the sockets of those `neighbors`, by their numbers, that have BFD; `None` if there
    /// are none.
    pub(crate) fn open<'a>(
        neighbors: impl IntoIterator<Item = (usize, &'a Neighbor)>,
        place: &Arc<dyn Place>,
        handed: &[HandedBfd],
    ) -> Result<Option<Self>, OpenError> {
        let mut names = Names::default();
        names.taken.extend(handed.iter().map(|it| it.carried().local_discriminator));
        let sessions = neighbors.into_iter().filter_map(|(peer, neighbor)| {
            let bfd = neighbor.bfd?;
            let same = |it: &&HandedBfd| it.name == neighbor.name && it.address == neighbor.address;
            Some(match handed.iter().find(same) {
                Some(handed) => names.go_on(peer, neighbor, bfd, handed, place.as_ref()),
                None => names.serve(peer, neighbor, bfd, place.as_ref()),
            })
        });
        let sessions = sessions.collect::<Result<Vec<_>, _>>()?;
        if sessions.is_empty() {
            return Ok(None);
        }
        let mut receivers = Vec::new();
        socket::listen(&mut receivers, &sessions, place.as_ref())?;
        Ok(Some(Self { receivers, sessions, names, place: Arc::clone(place) }))
    }

    /// Starts the thread; `report` is called in it and must not wait.
    ///
    /// # Errors
    /// The kernel gives no thread or no eventfd.
    pub(crate) fn start(
        self,
        report: impl Fn(usize, Event) + Send + 'static,
    ) -> io::Result<Running> {
        let wake = EventFd::from_flags(EfdFlags::EFD_CLOEXEC | EfdFlags::EFD_NONBLOCK)?;
        let wake = Arc::new(wake);
        let (commands, told) = mpsc::channel();
        let (waker, place) = (Arc::clone(&wake), Arc::clone(&self.place));
        let thread = std::thread::Builder::new().name("bfd".to_owned()).spawn(move || {
            // Without the right to it the kernel's usual fairness must do.
            let _ = crate::sched::prefer_this_thread();
            Loop::new(self.sessions, report).run(self.receivers, &place, &waker, &told);
        })?;
        Ok(Running { commands, wake, thread: Some(thread), names: self.names, place: self.place })
    }
}

/// The running thread. Dropping it tells each neighbor AdminDown and ends the thread.
pub(crate) struct Running {
    commands: mpsc::Sender<Command>,
    wake: Arc<EventFd>,
    thread: Option<JoinHandle<()>>,
    names: Names,
    place: Arc<dyn Place>,
}

impl Running {
    /// The sessions by the index of their neighbor; waiting for the answer is up to the caller.
    pub(crate) fn status(&self) -> oneshot::Receiver<Vec<(usize, BfdStatus)>> {
        let (sender, answer) = oneshot::channel();
        self.tell(Command::Status(sender));
        answer
    }

    /// Begins a session with a neighbor; what comes of its listening socket is up to the caller to
    /// wait for.
    ///
    /// # Errors
    /// Its sending socket cannot be opened.
    pub(crate) fn add(
        &mut self,
        peer: usize,
        neighbor: &Neighbor,
        bfd: Bfd,
    ) -> Result<oneshot::Receiver<Result<(), OpenError>>, OpenError> {
        let served = self.names.serve(peer, neighbor, bfd, self.place.as_ref())?;
        let (sender, answer) = oneshot::channel();
        self.tell(Command::Add(Box::new(served), sender));
        Ok(answer)
    }

    /// Ends the session with a neighbor, if there is one: it is told that this end is meant.
    pub(crate) fn remove(&self, peer: usize) {
        self.tell(Command::Remove(peer));
    }

    /// The sessions that are Up as they can go on elsewhere, and whether their neighbors know our
    /// intervals. `slow_down`: the neighbors are asked for patience first.
    pub(crate) fn carry(&self, slow_down: bool) -> oneshot::Receiver<(Vec<HandedBfd>, bool)> {
        let (sender, answer) = oneshot::channel();
        self.tell(Command::Carry(slow_down, sender));
        answer
    }

    /// Lets the thread go on without being told anything more, until the process ends or executes
    /// another program: so neighbors hear it to the last.
    pub(crate) fn leave_running(self) {
        std::mem::forget(self);
    }

    fn tell(&self, command: Command) {
        // A thread that is gone answers nothing, and the asker sees that.
        let _ = self.commands.send(command);
        let _ = self.wake.write(1);
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.tell(Command::Stop);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

impl Served {
    fn open(
        peer: usize,
        neighbor: &Neighbor,
        bfd: Bfd,
        (local_discriminator, handed): (NonZeroU32, Option<&HandedBfd>),
        seed: u64,
        place: &dyn Place,
    ) -> Result<Self, OpenError> {
        let multihop = neighbor.multihop.is_some();
        let config = anycast_bfd::Config {
            local_discriminator,
            desired_min_tx: bfd.interval,
            required_min_rx: bfd.interval,
            multiplier: bfd.multiplier,
            passive: false,
            multihop,
            seed,
        };
        let session = match handed {
            Some(handed) => Session::resume(Instant::START, config, &handed.carried()),
            None => Session::new(config),
        };
        let port = session.destination_port();
        let failed =
            |source| OpenError { address: SocketAddr::new(neighbor.address, port), source };
        let interface = scope::of(neighbor, place).map_err(failed)?;
        let to = scope::end(neighbor.address, port, interface);
        let first = handed.map(|handed| handed.source_port);
        let sender = Sender::open(to, neighbor.local_address, (first, seed), place);
        let sender = sender.map_err(failed)?;
        let min_ttl = match neighbor.multihop {
            None => Some(anycast_bfd::udp::GTSM_TTL),
            // RFC 5082 §3, if the operator wants it; RFC 5883 §5 does not ask for it.
            Some(hops) => {
                neighbor.ttl_security.then(|| anycast_bfd::udp::GTSM_TTL - hops.saturating_sub(1))
            }
        };
        Ok(Self {
            peer,
            name: neighbor.name.clone(),
            address: neighbor.address,
            local_address: neighbor.local_address,
            interface,
            multihop,
            min_ttl,
            session,
            sender,
            dropped: 0,
            send_error: None,
        })
    }
}

impl Names {
    fn serve(
        &mut self,
        peer: usize,
        neighbor: &Neighbor,
        bfd: Bfd,
        place: &dyn Place,
    ) -> Result<Served, OpenError> {
        let name = self.discriminator();
        let seed = self.random.hash_one(name);
        Served::open(peer, neighbor, bfd, (name, None), seed, place)
    }

    /// A session of the speaker before this one.
    fn go_on(
        &self,
        peer: usize,
        neighbor: &Neighbor,
        bfd: Bfd,
        handed: &HandedBfd,
        place: &dyn Place,
    ) -> Result<Served, OpenError> {
        let name = handed.carried().local_discriminator;
        let seed = self.random.hash_one(name);
        Served::open(peer, neighbor, bfd, (name, Some(handed)), seed, place)
    }

    fn discriminator(&mut self) -> NonZeroU32 {
        (0_u64..)
            .find_map(|attempt| {
                let hash = self.random.hash_one((self.taken.len(), attempt));
                let name = NonZeroU32::new(u32::try_from(hash >> 32).ok()?)?;
                self.taken.insert(name).then_some(name)
            })
            .expect("far fewer sessions than numbers")
    }
}

fn milliseconds(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1e3
}

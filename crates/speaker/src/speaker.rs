//! A speaker from its sockets' opening to its end.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use tokio::sync::mpsc;
use tokio::task::JoinSet;

use crate::bfd::{self, OpenError};
use crate::config::{Config, Igp};
use crate::connection;
use crate::driver::{Driver, EVENT_QUEUE};
use crate::handle::Handle;
use crate::handover::HandedOver;
use crate::kernel::Kernel;
use crate::listeners::Listeners;

/// A speaker could not open its sockets.
#[derive(Debug, thiserror::Error)]
pub enum BindError {
    /// A listening socket.
    #[error("cannot listen for BGP on {address}: {source}{}", advice(.source))]
    Listen {
        /// Where.
        address: SocketAddr,
        /// Why not.
        source: io::Error,
    },
    /// A neighbor's secret, with which its segments must be signed.
    #[error(
        "the kernel does not take the key of neighbor {neighbor}: {source}{}",
        key_advice(.source, *.tcp_ao)
    )]
    Key {
        /// The neighbor.
        neighbor: String,
        /// Whether it is one of TCP-AO, else of TCP MD5.
        tcp_ao: bool,
        /// Why not.
        source: io::Error,
    },
    /// The kernel's routing table.
    #[error("cannot open a netlink socket for the kernel's routes: {0}")]
    Netlink(io::Error),
    /// A socket for BFD.
    #[error("cannot open a socket for BFD at {address}: {source}{}", bfd_advice(.source))]
    Bfd {
        /// Where it listens or sends to.
        address: SocketAddr,
        /// Why not.
        source: io::Error,
    },
}

impl From<OpenError> for BindError {
    fn from(error: OpenError) -> Self {
        Self::Bfd { address: error.address, source: error.source }
    }
}

fn bfd_advice(error: &io::Error) -> &'static str {
    match error.kind() {
        io::ErrorKind::AddrInUse => " (another BFD daemon such as bfdd or BIRD runs here?)",
        _ => "",
    }
}

fn key_advice(error: &io::Error, tcp_ao: bool) -> &'static str {
    match (error.raw_os_error(), tcp_ao) {
        (Some(libc::ENOPROTOOPT), true) => {
            " (it has no TCP-AO: that needs Linux 6.7 or later, built with CONFIG_TCP_AO)"
        }
        (Some(libc::ENOPROTOOPT), false) => " (it has no TCP MD5: CONFIG_TCP_MD5SIG)",
        _ => "",
    }
}

fn advice(error: &io::Error) -> &'static str {
    match error.kind() {
        io::ErrorKind::AddrInUse => " (another BGP daemon such as BIRD or FRR runs here?)",
        io::ErrorKind::PermissionDenied => " (ports below 1024 need CAP_NET_BIND_SERVICE)",
        io::ErrorKind::AddrNotAvailable => " (no interface has this address)",
        _ if error.raw_os_error() == Some(libc::ENODEV) => {
            " (there is no interface of the name that a neighbor is bound to)"
        }
        _ => "",
    }
}

/// What a speaker reports as it happens.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum SpeakerEvent {
    /// A session is Established.
    NeighborUp {
        /// The neighbor's name.
        name: String,
    },
    /// A session is no longer Established.
    NeighborDown {
        /// The neighbor's name.
        name: String,
        /// Why, in words.
        why: String,
    },
    /// A neighbor sends nearly as many prefixes as it may, or more.
    NeighborLimit {
        /// The neighbor's name.
        name: String,
        /// How many, in words.
        why: String,
    },
    /// The session with a neighbor did not go on in this speaker: it begins anew.
    NeighborReset {
        /// The neighbor's name.
        name: String,
        /// Why, in words.
        why: String,
    },
    /// A neighbor cannot be reached; told once, and again when the reason is another.
    NeighborUnreachable {
        /// The neighbor's name.
        name: String,
        /// Why, in words.
        why: String,
    },
}

/// A speaker whose sockets listen but whose sessions have not started.
pub struct Speaker {
    driver: Driver,
    handle: Handle,
}

impl Speaker {
    /// Opens the listening sockets and the kernel's routing table.
    ///
    /// # Errors
    /// The first socket that could not be opened.
    pub fn bind(
        config: Config,
        reports: Option<mpsc::UnboundedSender<SpeakerEvent>>,
    ) -> Result<Self, BindError> {
        Self::take_over(config, reports, None)
    }

    /// The same, and goes on with the sessions that another speaker has
    /// [handed over](Handle::hand_over) as soon as it runs. What cannot go on is ended and begins
    /// anew, which [`SpeakerEvent::NeighborReset`] tells. The kernel's routes stay until
    /// [`Handle::finish_taking_over`].
    ///
    /// # Errors
    /// As [`bind`](Self::bind).
    pub fn take_over(
        mut config: Config,
        reports: Option<mpsc::UnboundedSender<SpeakerEvent>>,
        handed: Option<HandedOver>,
    ) -> Result<Self, BindError> {
        for neighbor in &mut config.neighbors {
            neighbor.fill_in(config.local_asn);
        }
        let (event_sender, events) = mpsc::channel(EVENT_QUEUE);
        let (command_sender, commands) = mpsc::unbounded_channel();
        let mut watchers = JoinSet::new();
        let listeners = Listeners::open(
            config.listen.clone(),
            &config.neighbors,
            Arc::clone(&config.place),
            event_sender.clone(),
            &mut watchers,
        )?;
        let kernel = if config.install_routes {
            let kernel = Kernel::open(config.place.as_ref(), handed.is_some());
            Some(kernel.map_err(BindError::Netlink)?)
        } else {
            None
        };
        let handed = handed.unwrap_or_default();
        let neighbors = config.neighbors.iter().enumerate();
        let bfd = bfd::Engine::open(neighbors, &config.place, &handed.bfd)?;
        let handle = Handle::new(command_sender);
        let events = (events, event_sender);
        let listening = (listeners, watchers);
        let mut driver = Driver::new(config, kernel, bfd, listening, events, commands, reports);
        driver.take_over(handed);
        Ok(Self { driver, handle })
    }

    /// Every local address of both families at `port`, for [`Config::listen`].
    #[must_use]
    pub fn any_address(port: u16) -> [SocketAddr; 2] {
        connection::any_address(port)
    }

    /// What the speaker is told and asked by, once it runs.
    #[must_use]
    pub fn handle(&self) -> Handle {
        self.handle.clone()
    }

    /// Sets the routes inside the AS before any session starts; ready when the kernel has them,
    /// so that iBGP neighbors can be reached at once.
    pub async fn set_igp(&mut self, igp: Igp) {
        self.driver.set_igp(igp);
        self.driver.kernel_settled().await;
    }

    /// A neighbor is disabled from the start, with the message that it was told when it was; it
    /// says nothing to one that there is not.
    pub fn disable(&mut self, neighbor: &str, message: &str) {
        self.driver.disable_from_start(neighbor, message);
    }

    /// Runs the speaker until [`Handle::shutdown`]; must be polled within a tokio runtime.
    pub async fn run(self) {
        self.driver.run().await;
    }
}

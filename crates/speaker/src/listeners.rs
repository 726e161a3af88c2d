//! The listening sockets, and the secrets of those who may connect to them.

use std::net::SocketAddr;
use std::sync::Arc;

use socket2::SockRef;
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio::task::{AbortHandle, JoinSet};

use crate::config::{Neighbor, Place};
use crate::connection;
use crate::driver::Event;
use crate::gtsm;
use crate::speaker::BindError;

/// The listening sockets of a speaker. Their tasks are in the set of whoever opens them.
pub(crate) struct Listeners {
    addresses: Vec<SocketAddr>,
    place: Arc<dyn Place>,
    events: mpsc::Sender<Event>,
    open: Vec<Listening>,
}

struct Listening {
    address: SocketAddr,
    /// The interface to which it is bound.
    via: Option<Arc<str>>,
    socket: Arc<TcpListener>,
    task: AbortHandle,
}

impl Listeners {
    /// Listens at `addresses` for these neighbors; with an address for each interface to which
    /// one of them is bound.
    ///
    /// # Errors
    /// The first socket that cannot be opened, or the first secret that the kernel does not take.
    pub(crate) fn open(
        addresses: Vec<SocketAddr>,
        neighbors: &[Neighbor],
        place: Arc<dyn Place>,
        events: mpsc::Sender<Event>,
        tasks: &mut JoinSet<()>,
    ) -> Result<Self, BindError> {
        let mut listeners = Self { addresses, place, events, open: Vec::new() };
        for neighbor in neighbors {
            listeners.try_keys(neighbor)?;
        }
        let interfaces = connection::interfaces(neighbors);
        let shared = !interfaces.is_empty();
        let all: Vec<&Neighbor> = neighbors.iter().collect();
        for via in [None].into_iter().chain(interfaces.iter().map(Some)) {
            listeners.listen(via.map(String::as_str), shared, &all, tasks)?;
        }
        Ok(listeners)
    }

    fn try_keys(&self, neighbor: &Neighbor) -> Result<(), BindError> {
        connection::try_keys(neighbor, self.place.as_ref()).map_err(|source| key(neighbor, source))
    }

    /// Opens one socket for each address.
    fn listen(
        &mut self,
        via: Option<&str>,
        shared: bool,
        neighbors: &[&Neighbor],
        tasks: &mut JoinSet<()>,
    ) -> Result<(), BindError> {
        for address in self.addresses.clone() {
            let socket = connection::listen(address, via, shared, neighbors, self.place.as_ref())
                .map_err(|source| BindError::Listen { address, source })?;
            let socket = Arc::new(socket);
            let via = via.map(Arc::<str>::from);
            let (events, sender) = (self.events.clone(), via.clone());
            let accepting = connection::accept(Arc::clone(&socket), move |stream, from| {
                let (events, via) = (events.clone(), sender.clone());
                Box::pin(async move {
                    let _ = events.send(Event::Accepted { stream, from, via }).await;
                })
            });
            let task = tasks.spawn(accepting);
            self.open.push(Listening { address, via, socket, task });
        }
        Ok(())
    }

    /// From now on `neighbor` may connect too; `others` are those who may already.
    ///
    /// # Errors
    /// As [`open`](Self::open). Then nothing has changed.
    pub(crate) fn add(
        &mut self,
        neighbor: &Neighbor,
        others: &[&Neighbor],
        tasks: &mut JoinSet<()>,
    ) -> Result<(), BindError> {
        self.try_keys(neighbor)?;
        for listening in self.open.iter().filter(|it| it.hears(neighbor)) {
            connection::expect_neighbor(&SockRef::from(&*listening.socket), neighbor)
                .map_err(|source| key(neighbor, source))?;
            listening
                .guard(others.iter().copied().chain([neighbor]))
                .map_err(|source| BindError::Listen { address: listening.address, source })?;
        }
        let Some(interface) = neighbor.interface.as_deref() else { return Ok(()) };
        if self.open.iter().any(|it| it.via.as_deref() == Some(interface)) {
            return Ok(());
        }
        for listening in &self.open {
            // Two can have one port only if both say so.
            let shared = SockRef::from(&*listening.socket).set_reuse_port(true);
            shared.map_err(|source| BindError::Listen { address: listening.address, source })?;
        }
        let all: Vec<&Neighbor> = others.iter().copied().chain([neighbor]).collect();
        self.listen(Some(interface), true, &all, tasks).inspect_err(|_| {
            self.remove(neighbor, others);
        })
    }

    /// From now on `neighbor` may connect no more; `others` still may.
    pub(crate) fn remove(&mut self, neighbor: &Neighbor, others: &[&Neighbor]) {
        if let Some(interface) = neighbor.interface.as_deref()
            && !others.iter().any(|it| it.interface.as_deref() == Some(interface))
        {
            let unused = |it: &Listening| it.via.as_deref() == Some(interface);
            for listening in self.open.iter().filter(|it| unused(it)) {
                listening.task.abort();
            }
            self.open.retain(|it| !unused(it));
        }
        for listening in self.open.iter().filter(|it| it.hears(neighbor)) {
            let socket = SockRef::from(&*listening.socket);
            connection::forget_keys(&socket, neighbor);
            // Secrets are by address, and another neighbor may have the same one.
            for other in others.iter().filter(|it| it.address == neighbor.address) {
                let _ = connection::expect_neighbor(&socket, other);
            }
            // Less than what the kernel took before.
            let _ = listening.guard(others.iter().copied());
        }
    }
}

impl Listening {
    fn hears(&self, neighbor: &Neighbor) -> bool {
        self.address.is_ipv4() == neighbor.address.is_ipv4()
    }

    /// Hears none of those with GTSM from too far.
    fn guard<'a>(&self, neighbors: impl Iterator<Item = &'a Neighbor>) -> std::io::Result<()> {
        let socket = SockRef::from(&*self.socket);
        gtsm::guard(&socket, self.address, self.via.as_deref(), neighbors)
    }
}

fn key(neighbor: &Neighbor, source: std::io::Error) -> BindError {
    let (neighbor, tcp_ao) = (neighbor.name.clone(), neighbor.tcp_ao.is_some());
    BindError::Key { neighbor, tcp_ao, source }
}

//! One TCP connection: opening it with the right options, and the task that moves its octets.

use std::collections::BTreeSet;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::AsFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use socket2::{Domain, Protocol, SockRef, Socket, Type};
use tokio::io::{AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot, watch};
use tokio::task::JoinSet;
use tracing::warn;

use crate::config::{Neighbor, Place};
use crate::{gtsm, sockopt};

/// How long a TCP handshake may take before the attempt counts as failed: less than the session
/// waits for it, so that what the neighbor did is known and told.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(4);
/// After so long without an octet on a new connection it is worth a word.
pub(crate) const FIRST_WORD: Duration = Duration::from_secs(10);
/// How long a closed connection may take to drain, so that a NOTIFICATION is not lost to a reset.
const LINGER: Duration = Duration::from_secs(1);
/// Octets that may wait for the peer's window before the tables hold back further UPDATEs.
const HIGH_WATER: usize = 256 * 1024;
/// Octets read at a time.
const CHUNK: usize = 16 * 1024;
/// Chunks of one connection that may wait for the driver: little enough that another neighbor's
/// KEEPALIVE does not wait long behind them, enough that the driver does not wait for them.
const CHUNKS: usize = 4;
/// Connections that wait to be accepted; 500 neighbors may dial at once.
const BACKLOG: i32 = 1024;

/// What a connection's task tells the driver.
pub(crate) enum ConnectionEvent {
    /// Octets from the peer; the permit is given back when they have been taken in.
    Octets(Vec<u8>, OwnedSemaphorePermit),
    /// There is room again after [`ConnectionHandle::is_full`].
    Writable,
    /// The peer has said nothing for [`FIRST_WORD`].
    Silent,
    /// All that was read has been told, and nothing more is read: see [`ConnectionHandle::halt`].
    Halted,
    /// The peer closed, or the connection broke.
    Closed,
}

/// The driver's end of a connection's task. Dropping it flushes what was sent and closes; the task
/// ends within [`LINGER`] then, whatever the peer does.
pub(crate) struct ConnectionHandle {
    pub(crate) id: u64,
    pub(crate) local: SocketAddr,
    pub(crate) remote: Option<SocketAddr>,
    outbox: mpsc::UnboundedSender<Vec<u8>>,
    waiting: Arc<AtomicUsize>,
    taken: Arc<AtomicU64>,
    /// `taken` when [`is_stuck`](Self::is_stuck) last looked.
    seen: u64,
    /// Says that nothing more is to be read.
    halt: watch::Sender<bool>,
    /// Dropped, or sent back where the socket is wanted.
    open: oneshot::Sender<oneshot::Sender<TcpStream>>,
}

impl ConnectionHandle {
    /// Starts the task of `stream` among `tasks`; `report` carries its events to the driver.
    pub(crate) fn start(
        id: u64,
        stream: TcpStream,
        tasks: &mut JoinSet<()>,
        report: impl Fn(ConnectionEvent) -> ReportFuture + Send + Sync + 'static,
    ) -> io::Result<Self> {
        stream.set_nodelay(true)?;
        let local = stream.local_addr()?;
        // A peer that is gone already is seen when it is read from.
        let remote = stream.peer_addr().ok();
        let (outbox, outgoing) = mpsc::unbounded_channel();
        let waiting = Arc::new(AtomicUsize::new(0));
        let taken = Arc::new(AtomicU64::new(0));
        let (open, ending) = oneshot::channel();
        let (halt, halted) = watch::channel(false);
        let counts = (Arc::clone(&waiting), Arc::clone(&taken));
        tasks.spawn(run(stream, outgoing, (ending, halted), counts, report));
        Ok(Self { id, local, remote, outbox, waiting, taken, seen: 0, halt, open })
    }

    /// Reads nothing more; [`ConnectionEvent::Halted`] follows what was read.
    pub(crate) fn halt(&self) {
        let _ = self.halt.send(true);
    }

    /// The socket of a connection that was halted, once TCP has taken all that was to be sent;
    /// nothing if it has not within [`LINGER`], or if the connection broke.
    pub(crate) fn take(self) -> impl Future<Output = Option<TcpStream>> {
        let (sender, taken) = oneshot::channel();
        let _ = self.open.send(sender);
        // The end of what is to be sent.
        drop(self.outbox);
        async move { taken.await.ok() }
    }

    /// Queues whole messages.
    pub(crate) fn send(&self, octets: Vec<u8>) {
        self.waiting.fetch_add(octets.len(), Ordering::AcqRel);
        // A task that is gone has already reported `Closed`.
        let _ = self.outbox.send(octets);
    }

    /// Whether UPDATEs should wait for [`ConnectionEvent::Writable`].
    pub(crate) fn is_full(&self) -> bool {
        self.waiting.load(Ordering::Acquire) >= HIGH_WATER
    }

    /// Whether octets wait and TCP has taken none since the last time that this was asked.
    pub(crate) fn is_stuck(&mut self) -> bool {
        let taken = self.taken.load(Ordering::Acquire);
        let before = std::mem::replace(&mut self.seen, taken);
        self.waiting.load(Ordering::Acquire) > 0 && taken == before
    }
}

/// The future that hands one event to the driver.
pub(crate) type ReportFuture = std::pin::Pin<Box<dyn Future<Output = ()> + Send>>;

async fn run(
    stream: TcpStream,
    outgoing: mpsc::UnboundedReceiver<Vec<u8>>,
    (ending, mut halted): (oneshot::Receiver<oneshot::Sender<TcpStream>>, watch::Receiver<bool>),
    counts: (Arc<AtomicUsize>, Arc<AtomicU64>),
    report: impl Fn(ConnectionEvent) -> ReportFuture + Send + Sync + 'static,
) {
    let (mut reader, mut writer) = stream.into_split();
    let halts = halted.clone();
    let mut both = Box::pin(async {
        let read = read(&mut reader, &mut halted, &report);
        let write = write(&mut writer, outgoing, &counts, &halts, &report);
        tokio::join!(read, write)
    });
    let taker = tokio::select! {
        // In this order: who takes the socket ends both directions too.
        biased;
        ended = ending => ended.ok(),
        ((), ()) = &mut both => return,
    };
    // A peer that takes nothing, or never closes, must not keep this for ever.
    let all_is_said = tokio::select! {
        ((), ()) = &mut both => true,
        () = tokio::time::sleep(LINGER) => false,
    };
    drop(both);
    if let Some(taker) = taker.filter(|_| all_is_said)
        && let Ok(stream) = reader.reunite(writer)
    {
        let _ = taker.send(stream);
    }
}

/// Tells what comes in until the peer closes, or nothing more is to be read.
async fn read(
    reader: &mut OwnedReadHalf,
    halted: &mut watch::Receiver<bool>,
    report: &impl Fn(ConnectionEvent) -> ReportFuture,
) {
    let mut buffer = vec![0; CHUNK];
    let first = tokio::select! {
        first = tokio::time::timeout(FIRST_WORD, reader.readable()) => first,
        _ = async { halted.wait_for(|halted| *halted).await.is_ok() } => Ok(Ok(())),
    };
    if first.is_err() {
        report(ConnectionEvent::Silent).await;
    }
    let permits = Arc::new(Semaphore::new(CHUNKS));
    // The semaphore is never closed.
    while let Ok(permit) = Arc::clone(&permits).acquire_owned().await {
        let octets = tokio::select! {
            biased;
            halts = async { halted.wait_for(|halted| *halted).await.is_ok() } => {
                if halts {
                    report(ConnectionEvent::Halted).await;
                    break;
                }
                // Nobody can halt it any more.
                reader.read(&mut buffer).await
            }
            octets = reader.read(&mut buffer) => octets,
        };
        match octets {
            Ok(0) | Err(_) => {
                report(ConnectionEvent::Closed).await;
                break;
            }
            Ok(n) => report(ConnectionEvent::Octets(buffer[..n].to_vec(), permit)).await,
        }
    }
}

/// Sends what is to be sent, then closes this direction unless the connection goes on elsewhere.
async fn write(
    writer: &mut OwnedWriteHalf,
    mut outgoing: mpsc::UnboundedReceiver<Vec<u8>>,
    (waiting, taken): &(Arc<AtomicUsize>, Arc<AtomicU64>),
    halted: &watch::Receiver<bool>,
    report: &impl Fn(ConnectionEvent) -> ReportFuture,
) {
    let mut batch = Vec::new();
    while let Some(first) = outgoing.recv().await {
        batch.clear();
        batch.extend_from_slice(&first);
        while let Ok(more) = outgoing.try_recv() {
            batch.extend_from_slice(&more);
        }
        let sent = write_all(writer, &batch, taken).await;
        let before = waiting.fetch_sub(batch.len(), Ordering::AcqRel);
        if sent.is_err() {
            // The reading side may never see the end.
            report(ConnectionEvent::Closed).await;
            break;
        }
        if before >= HIGH_WATER && before - batch.len() < HIGH_WATER {
            report(ConnectionEvent::Writable).await;
        }
    }
    if !*halted.borrow() {
        let _ = writer.shutdown().await;
    }
}

/// Writes all of `octets` and counts in `taken` what TCP has taken.
async fn write_all(
    writer: &mut (impl AsyncWrite + Unpin),
    mut octets: &[u8],
    taken: &AtomicU64,
) -> io::Result<()> {
    while !octets.is_empty() {
        let written = writer.write(octets).await?;
        if written == 0 {
            return Err(io::ErrorKind::WriteZero.into());
        }
        taken.fetch_add(written as u64, Ordering::AcqRel);
        octets = &octets[written..];
    }
    Ok(())
}

/// Accepts connections for ever; `report` carries them to the driver.
pub(crate) async fn accept(
    listener: Arc<TcpListener>,
    report: impl Fn(TcpStream, SocketAddr) -> ReportFuture + Send,
) {
    loop {
        match listener.accept().await {
            Ok((stream, from)) => report(stream, from).await,
            Err(error) => {
                // Out of descriptors: wait for some to be closed, as there is nothing else to do.
                warn!("cannot accept a BGP connection: {error}");
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }
    }
}

/// Opens a connection to `neighbor` from `place`.
///
/// # Errors
/// What the kernel says, or that the handshake took too long.
pub(crate) async fn dial(neighbor: &Neighbor, place: &dyn Place) -> io::Result<TcpStream> {
    let peer = SocketAddr::new(neighbor.address, neighbor.port);
    let socket = place.run(|| socket_for(peer.ip()))?;
    prepare(&socket, neighbor)?;
    if let Some(interface) = &neighbor.interface {
        socket.bind_device(Some(interface.as_bytes()))?;
    }
    if let Some(local) = neighbor.local_address {
        socket.bind(&SocketAddr::new(local, 0).into())?;
    }
    let connecting = TcpSocket::from_std_stream(socket.into()).connect(peer);
    tokio::time::timeout(CONNECT_TIMEOUT, connecting)
        .await
        .map_err(|_| io::Error::from(io::ErrorKind::TimedOut))?
}

/// Sets on an accepted connection what [`dial`] sets on its own.
///
/// # Errors
/// What the kernel says.
pub(crate) fn prepare_accepted(stream: &TcpStream, neighbor: &Neighbor) -> io::Result<()> {
    let socket = SockRef::from(stream);
    set_ttl(&socket, neighbor)?;
    gtsm::unguard(&socket);
    Ok(())
}

/// The interfaces to which neighbors are bound, each once: each needs listening sockets of its own.
pub(crate) fn interfaces(neighbors: &[Neighbor]) -> BTreeSet<String> {
    neighbors.iter().filter_map(|neighbor| neighbor.interface.clone()).collect()
}

/// Opens a listening socket in `place` that expects the passwords of `neighbors`; with
/// `interface`, one that hears what comes in over that interface, before the others do.
/// `shared`: there are several of one port.
///
/// # Errors
/// What the kernel says.
pub(crate) fn listen(
    address: SocketAddr,
    interface: Option<&str>,
    shared: bool,
    neighbors: &[&Neighbor],
    place: &dyn Place,
) -> io::Result<TcpListener> {
    let socket = place.run(|| socket_for(address.ip()))?;
    if address.is_ipv6() {
        socket.set_only_v6(true)?;
    }
    socket.set_reuse_address(true)?;
    socket.set_reuse_port(shared)?;
    if let Some(interface) = interface {
        socket.bind_device(Some(interface.as_bytes()))?;
    }
    for neighbor in neighbors.iter().filter(|n| n.address.is_ipv4() == address.is_ipv4()) {
        expect_neighbor(&SockRef::from(&socket), neighbor)?;
    }
    let heard = neighbors.iter().copied();
    gtsm::guard(&SockRef::from(&socket), address, interface, heard)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    TcpListener::from_std(socket.into())
}

/// Has a listening socket expect a neighbor of its family.
///
/// # Errors
/// What the kernel says.
pub(crate) fn expect_neighbor(socket: &SockRef<'_>, neighbor: &Neighbor) -> io::Result<()> {
    set_keys(socket, neighbor)?;
    if neighbor.ttl_security {
        // The SYN-ACK must pass the neighbor's check too (RFC 5082 §3).
        match neighbor.address {
            IpAddr::V4(_) => socket.set_ttl_v4(u32::from(u8::MAX))?,
            IpAddr::V6(_) => socket.set_unicast_hops_v6(u32::from(u8::MAX))?,
        }
    }
    Ok(())
}

/// Has a listening socket forget the neighbor's secrets; connections that there are keep them.
pub(crate) fn forget_keys(socket: &SockRef<'_>, neighbor: &Neighbor) {
    // That the kernel has none is as good.
    if neighbor.password.is_some() {
        let _ = sockopt::clear_md5(socket.as_fd(), neighbor.address);
    }
    if let Some(ao) = &neighbor.tcp_ao {
        let _ = sockopt::clear_ao(socket.as_fd(), neighbor.address, ao);
    }
}

fn socket_for(address: IpAddr) -> io::Result<Socket> {
    let domain = if address.is_ipv4() { Domain::IPV4 } else { Domain::IPV6 };
    let socket = Socket::new(domain, Type::STREAM, Some(Protocol::TCP))?;
    socket.set_nonblocking(true)?;
    Ok(socket)
}

/// Tells the kernel the neighbor's secrets, so that no segment passes without them.
fn set_keys(socket: &SockRef<'_>, neighbor: &Neighbor) -> io::Result<()> {
    if let Some(password) = &neighbor.password {
        sockopt::set_md5(socket.as_fd(), neighbor.address, password)?;
    }
    if let Some(ao) = &neighbor.tcp_ao {
        sockopt::set_ao(socket.as_fd(), neighbor.address, ao)?;
    }
    Ok(())
}

/// Whether the kernel takes the neighbor's secrets, before anything depends on it.
///
/// # Errors
/// What the kernel says.
pub(crate) fn try_keys(neighbor: &Neighbor, place: &dyn Place) -> io::Result<()> {
    if neighbor.password.is_none() && neighbor.tcp_ao.is_none() {
        return Ok(());
    }
    set_keys(&SockRef::from(&place.run(|| socket_for(neighbor.address))?), neighbor)
}

fn prepare(socket: &Socket, neighbor: &Neighbor) -> io::Result<()> {
    set_keys(&SockRef::from(socket), neighbor)?;
    set_ttl(&SockRef::from(socket), neighbor)
}

/// A neighbor is reached with just the TTL that it needs; with GTSM with the highest.
fn set_ttl(socket: &SockRef<'_>, neighbor: &Neighbor) -> io::Result<()> {
    let ttl = if neighbor.ttl_security { u8::MAX } else { neighbor.multihop.unwrap_or(1) };
    match neighbor.address {
        IpAddr::V4(_) => socket.set_ttl_v4(u32::from(ttl))?,
        IpAddr::V6(_) => socket.set_unicast_hops_v6(u32::from(ttl))?,
    }
    if neighbor.ttl_security {
        let lowest = gtsm::lowest_ttl(neighbor);
        sockopt::set_min_ttl(socket.as_fd(), neighbor.address, lowest)?;
    }
    Ok(())
}

/// Every local address of both families at `port`.
#[must_use]
pub(crate) fn any_address(port: u16) -> [SocketAddr; 2] {
    [(Ipv4Addr::UNSPECIFIED, port).into(), (Ipv6Addr::UNSPECIFIED, port).into()]
}

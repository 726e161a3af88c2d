//! The task of one station: it connects, writes what the driver puts in the queue, and begins
//! anew when that has ended.

use std::collections::HashMap;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use anycast_bgp::bmp::{PeerHeader, emit_route_monitoring};
use anycast_bgp::message::{Context, Update};
use socket2::{Domain, Protocol, Socket, Type};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::OwnedWriteHalf;
use tokio::net::{TcpSocket, TcpStream};
use tokio::sync::{mpsc, oneshot};
use tokio::time::timeout;

use super::Station;
use super::status::Written;
use crate::config::Place;
use crate::driver::Event;

/// How long a TCP handshake may take.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// The longest wait before connecting again.
const LONGEST_WAIT: Duration = Duration::from_secs(60);
/// A station that takes no octet for so long is taken for dead.
const STALL: Duration = Duration::from_secs(60);
/// Octets of dumps that may wait before the next step.
const DUMP_HIGH_WATER: usize = 1 << 20;
/// Octets written at a time.
const BATCH: usize = 64 * 1024;

/// Something to be written.
pub(super) enum Item {
    /// A whole BMP message.
    Message(Vec<u8>),
    /// An UPDATE as it was on the wire.
    Octets(PeerHeader, Arc<[u8]>),
    /// An UPDATE that is still to be written, as a Route Monitoring for each message it takes.
    Update(PeerHeader, Context, Update),
}

/// What a station's task tells the driver.
pub(crate) enum StationEvent {
    /// It is connected.
    Connected(Link),
    /// It could not be connected.
    Failed(String),
    /// The connection has ended.
    Closed(String),
    /// There is room for more of a dump.
    Room,
}

/// The driver's end of a connection. Dropped, it ends the connection at once.
pub(crate) struct Link {
    queue: mpsc::UnboundedSender<Waiting>,
    sizes: Arc<Sizes>,
    written: Arc<Written>,
    /// Dropped: give up what waits. Fired: write it first.
    finish: oneshot::Sender<()>,
    /// The neighbors that the station was told are up, with their BGP Identifiers.
    pub(super) up: HashMap<usize, Ipv4Addr>,
}

/// An item in the queue, of the size that it was counted with.
struct Waiting {
    item: Item,
    size: usize,
    of_dump: bool,
}

/// Octets that wait. Those of dumps count apart: a dump waits for room, so it must not take that
/// of changes, which cannot.
#[derive(Debug, Default)]
struct Sizes {
    changes: AtomicUsize,
    dumps: AtomicUsize,
}

impl Item {
    /// About as many octets as it takes in memory and on the wire, whichever is more.
    fn size(&self) -> usize {
        let content = match self {
            Self::Message(octets) => octets.len(),
            Self::Octets(_, octets) => octets.len(),
            Self::Update(_, _, update) => {
                let announced = update.announced.iter().map(|it| 128 + 24 * it.prefixes.len());
                24 * update.withdrawn.len() + announced.sum::<usize>()
            }
        };
        content + size_of::<Self>()
    }

    /// Writes it, and says how many messages it took.
    fn emit(&self, out: &mut Vec<u8>) -> u64 {
        match self {
            Self::Message(octets) => {
                out.extend_from_slice(octets);
                1
            }
            Self::Octets(header, octets) => {
                emit_route_monitoring(header, octets, out);
                1
            }
            Self::Update(header, context, update) => {
                let mut messages = 0;
                for octets in update.emit(context) {
                    emit_route_monitoring(header, &octets, out);
                    messages += 1;
                }
                messages
            }
        }
    }
}

impl Link {
    /// Puts something in the queue, unless more than `most` would then wait.
    pub(super) fn push(&mut self, item: Item, most: usize) -> bool {
        let size = item.size();
        if self.sizes.changes.load(Ordering::Acquire).saturating_add(size) > most {
            return false;
        }
        self.sizes.changes.fetch_add(size, Ordering::AcqRel);
        // A task that is gone has already said so.
        let _ = self.queue.send(Waiting { item, size, of_dump: false });
        true
    }

    /// Puts a part of a dump in the queue.
    pub(super) fn push_dump(&mut self, item: Item) {
        let size = item.size();
        self.sizes.dumps.fetch_add(size, Ordering::AcqRel);
        let _ = self.queue.send(Waiting { item, size, of_dump: true });
    }

    /// Octets that wait.
    pub(super) fn waiting(&self) -> usize {
        self.sizes.changes.load(Ordering::Acquire) + self.sizes.dumps.load(Ordering::Acquire)
    }

    /// Whether a dump may go on; if not, [`StationEvent::Room`] will say when.
    pub(super) fn has_room(&self) -> bool {
        self.sizes.dumps.load(Ordering::Acquire) < DUMP_HIGH_WATER
    }

    pub(super) fn written(&self) -> Arc<Written> {
        Arc::clone(&self.written)
    }

    /// Ends the connection after what waits has been written.
    pub(super) fn finish(self) {
        let _ = self.finish.send(());
    }
}

/// Keeps a station connected, for ever.
pub(super) async fn run(
    id: u64,
    station: Station,
    place: Arc<dyn Place>,
    events: mpsc::Sender<Event>,
) {
    let mut wait = station.connect_retry;
    loop {
        let connected = connect(&station, place.as_ref()).await;
        let started = tokio::time::Instant::now();
        let event = match connected {
            Ok(stream) => match serve(id, stream, &events).await {
                Some(why) => StationEvent::Closed(why),
                None => return,
            },
            Err(error) => StationEvent::Failed(format!("cannot connect: {error}")),
        };
        if events.send(Event::Station(id, event)).await.is_err() {
            return;
        }
        // One that held for a while has earned a quick new one.
        if started.elapsed() > LONGEST_WAIT {
            wait = station.connect_retry;
        }
        tokio::time::sleep(wait).await;
        wait = (wait * 2).min(LONGEST_WAIT);
    }
}

async fn connect(station: &Station, place: &dyn Place) -> io::Result<TcpStream> {
    let ipv4 = station.address.is_ipv4();
    let socket = place.run(|| {
        let domain = if ipv4 { Domain::IPV4 } else { Domain::IPV6 };
        Socket::new(domain, Type::STREAM, Some(Protocol::TCP))
    })?;
    socket.set_nonblocking(true)?;
    if let Some(local) = station.local_address {
        socket.bind(&SocketAddr::new(local, 0).into())?;
    }
    let connecting = TcpSocket::from_std_stream(socket.into()).connect(station.address);
    timeout(CONNECT_TIMEOUT, connecting)
        .await
        .map_err(|_| io::Error::from(io::ErrorKind::TimedOut))?
}

/// Writes until the connection ends; why it did, or `None` if the driver wants no other.
async fn serve(id: u64, stream: TcpStream, events: &mpsc::Sender<Event>) -> Option<String> {
    let (queue, items) = mpsc::unbounded_channel();
    let (finish, finished) = oneshot::channel();
    let (sizes, written) = (Arc::new(Sizes::default()), Arc::new(Written::default()));
    let link = Link {
        queue,
        sizes: Arc::clone(&sizes),
        written: Arc::clone(&written),
        finish,
        up: HashMap::new(),
    };
    events.send(Event::Station(id, StationEvent::Connected(link))).await.ok()?;
    let (mut reader, writer) = stream.into_split();
    let read = async {
        let mut ignored = [0; 512];
        loop {
            match reader.read(&mut ignored).await {
                Ok(0) => return "the station closed it".to_owned(),
                // A station has nothing to say (RFC 7854 §3.2).
                Ok(_) => {}
                Err(error) => return error.to_string(),
            }
        }
    };
    let writing = Writing { id, sizes, written, events };
    let write = writing.run(writer, items);
    let mut write = std::pin::pin!(write);
    tokio::select! {
        why = read => Some(why),
        why = &mut write => Some(why),
        told = finished => match told {
            // The farewell is the last in the queue.
            Ok(()) => {
                let _ = timeout(super::FAREWELL, write).await;
                None
            }
            Err(_) => Some("it was cut off".to_owned()),
        },
    }
}

/// What writing needs besides the connection.
struct Writing<'a> {
    id: u64,
    sizes: Arc<Sizes>,
    written: Arc<Written>,
    events: &'a mpsc::Sender<Event>,
}

impl Writing<'_> {
    /// Writes what is in the queue until the driver drops its end, or the connection breaks.
    async fn run(
        self,
        mut writer: OwnedWriteHalf,
        mut items: mpsc::UnboundedReceiver<Waiting>,
    ) -> String {
        let mut batch = Vec::with_capacity(BATCH);
        while let Some(first) = items.recv().await {
            batch.clear();
            let (mut messages, mut changes, mut dumps) = (0, 0, 0);
            let mut next = Some(first);
            while let Some(Waiting { item, size, of_dump }) = next {
                messages += item.emit(&mut batch);
                *(if of_dump { &mut dumps } else { &mut changes }) += size;
                next = if batch.len() < BATCH { items.try_recv().ok() } else { None };
            }
            if let Err(why) = write_all(&mut writer, &batch, &self.written).await {
                return why;
            }
            self.written.messages.fetch_add(messages, Ordering::Relaxed);
            self.sizes.changes.fetch_sub(changes, Ordering::AcqRel);
            let before = self.sizes.dumps.fetch_sub(dumps, Ordering::AcqRel);
            if before >= DUMP_HIGH_WATER && before - dumps < DUMP_HIGH_WATER {
                let _ = self.events.send(Event::Station(self.id, StationEvent::Room)).await;
            }
        }
        let _ = writer.shutdown().await;
        "it was finished".to_owned()
    }
}

async fn write_all(
    writer: &mut OwnedWriteHalf,
    mut octets: &[u8],
    counts: &Written,
) -> Result<(), String> {
    while !octets.is_empty() {
        let taken = timeout(STALL, writer.write(octets))
            .await
            .map_err(|_| format!("it took nothing for {} s", STALL.as_secs()))?
            .map_err(|error| error.to_string())?;
        if taken == 0 {
            return Err("it takes nothing more".to_owned());
        }
        counts.octets.fetch_add(taken as u64, Ordering::Relaxed);
        octets = &octets[taken..];
    }
    Ok(())
}

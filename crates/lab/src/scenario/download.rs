//! A long TCP download from a service address: at each site a sender of the lab's, in a client a
//! receiver.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

use crate::netns::NetNs;

/// The port of the lab's senders; no service of a fleet is likely to have it.
const PORT: u16 = 49_151;
/// What a sender writes at a time: with [`PACE`] about 1 MB/s, so that the download is long.
const PIECE: usize = 10_000;
/// The time between pieces.
const PACE: Duration = Duration::from_millis(10);
/// Without octets for so long a download counts as stalled.
const STALLED: Duration = Duration::from_secs(2);

/// Senders at all sites and one receiver; ends when dropped.
pub(super) struct Transfer {
    senders: Vec<JoinHandle<()>>,
    receiver: JoinHandle<io::Error>,
    received: Arc<AtomicU64>,
    started: Instant,
}

/// How a download stands.
pub(super) enum Standing {
    Alive,
    Broken(String),
}

impl Transfer {
    /// Starts the senders in `sites` and the receiver in `client`.
    ///
    /// # Errors
    /// A sender cannot listen, or the receiver cannot connect.
    pub(super) async fn start(
        address: IpAddr,
        sites: &[NetNs],
        client: &NetNs,
    ) -> io::Result<Self> {
        let target = SocketAddr::new(address, PORT);
        let mut senders = Vec::new();
        for site in sites {
            let listener = site.run(|| std::net::TcpListener::bind(target))?;
            listener.set_nonblocking(true)?;
            senders.push(tokio::spawn(send_to_all(TcpListener::from_std(listener)?)));
        }
        let stream = connect(target, client).await?;
        let received = Arc::new(AtomicU64::new(0));
        let receiver = tokio::spawn(receive(stream, Arc::clone(&received)));
        Ok(Self { senders, receiver, received, started: Instant::now() })
    }

    /// Ends it, after which another one can begin.
    pub(super) async fn end(mut self) {
        for sender in std::mem::take(&mut self.senders) {
            sender.abort();
            // An error says that it was ended.
            let _ = sender.await;
        }
    }

    pub(super) fn received(&self) -> u64 {
        self.received.load(Ordering::Relaxed)
    }

    pub(super) fn age(&self) -> Duration {
        self.started.elapsed()
    }

    /// Watches the download: until it breaks, or for `time`.
    pub(super) async fn watch(&mut self, time: Duration) -> Standing {
        let deadline = Instant::now() + time;
        let mut last = (self.received(), Instant::now());
        while Instant::now() < deadline {
            tokio::time::sleep(Duration::from_millis(10)).await;
            if self.receiver.is_finished() {
                let why = match (&mut self.receiver).await {
                    Ok(error) => error.to_string(),
                    Err(_) => "the receiver was ended".to_owned(),
                };
                return Standing::Broken(why);
            }
            let received = self.received();
            if received > last.0 {
                last = (received, Instant::now());
            } else if last.1.elapsed() >= STALLED {
                return Standing::Broken(format!("no octet for {} s", STALLED.as_secs()));
            }
        }
        Standing::Alive
    }
}

impl Drop for Transfer {
    fn drop(&mut self) {
        self.receiver.abort();
        for sender in &self.senders {
            sender.abort();
        }
    }
}

async fn connect(target: SocketAddr, client: &NetNs) -> io::Result<TcpStream> {
    let socket = client.run(|| {
        if target.is_ipv4() {
            tokio::net::TcpSocket::new_v4()
        } else {
            tokio::net::TcpSocket::new_v6()
        }
    })?;
    let connecting = socket.connect(target);
    tokio::time::timeout(Duration::from_secs(5), connecting)
        .await
        .map_err(|_| io::Error::from(io::ErrorKind::TimedOut))?
}

async fn send_to_all(listener: TcpListener) {
    while let Ok((mut stream, _)) = listener.accept().await {
        tokio::spawn(async move {
            let mut sent = 0;
            while stream.write_all(&octets(sent, PIECE)).await.is_ok() {
                sent += PIECE as u64;
                tokio::time::sleep(PACE).await;
            }
        });
    }
}

/// What is sent from a place in the stream on: each octet says where it is.
fn octets(from: u64, count: usize) -> Vec<u8> {
    // A prime, so that no power of two hides a hole.
    (from..).take(count).map(|at| u8::try_from(at % 251).unwrap_or_default()).collect()
}

/// Receives until the connection breaks; returns how.
async fn receive(mut stream: TcpStream, received: Arc<AtomicU64>) -> io::Error {
    let mut buffer = vec![0; 64 * 1024];
    loop {
        match stream.read(&mut buffer).await {
            Ok(0) => return io::Error::new(io::ErrorKind::UnexpectedEof, "the sender closed"),
            Ok(n) if buffer[..n] != octets(received.load(Ordering::Relaxed), n) => {
                let words = "other octets came than were sent";
                return io::Error::new(io::ErrorKind::InvalidData, words);
            }
            Ok(n) => {
                received.fetch_add(n as u64, Ordering::Relaxed);
            }
            Err(error) => return error,
        }
    }
}

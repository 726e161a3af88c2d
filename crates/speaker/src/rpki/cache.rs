//! The task that holds the session with one cache.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anycast_bgp::rtr::{Action, Client, Phase};
use anycast_bgp::time::Instant;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};
use tokio::sync::mpsc;
use tokio::time::timeout;

use super::keeper::Report;
use crate::config::Place;

/// How long a handshake may take, and a query to be taken.
const PATIENCE: Duration = Duration::from_secs(10);
/// How long a cache may take to hear why it is left.
const LINGER: Duration = Duration::from_secs(1);
const CHUNK: usize = 64 * 1024;

pub(super) async fn keep(
    index: usize,
    address: SocketAddr,
    place: Arc<dyn Place>,
    started: tokio::time::Instant,
    reports: mpsc::UnboundedSender<Report>,
) {
    let now = || Instant::from_start(started.elapsed());
    let mut client = Client::new(now());
    let mut stream: Option<TcpStream> = None;
    let mut buffer = vec![0; CHUNK];
    loop {
        while let Some(action) = client.poll_action() {
            match action {
                Action::Connect => match dial(address, place.as_ref()).await {
                    Ok(opened) => {
                        stream = Some(opened);
                        client.handle_connected(now());
                    }
                    Err(error) => {
                        client.handle_closed(now(), &format!("cannot connect: {error}"));
                    }
                },
                Action::Send(octets) => {
                    let Some(open) = &mut stream else { continue };
                    let sent = timeout(PATIENCE, open.write_all(&octets)).await;
                    if !matches!(sent, Ok(Ok(()))) {
                        stream = None;
                        client.handle_closed(now(), "the cache takes nothing");
                    }
                }
                Action::Close => {
                    if let Some(mut open) = stream.take() {
                        let _ = timeout(LINGER, open.shutdown()).await;
                    }
                }
                Action::Data => {}
            }
        }
        if reports.send(report(index, &client)).is_err() {
            return;
        }
        let wake = client.poll_timeout().map(|at| started + at.since_start());
        let sleep = async {
            match wake {
                Some(at) => tokio::time::sleep_until(at).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            read = read(&mut stream, &mut buffer) => match read {
                Ok(0) => {
                    stream = None;
                    client.handle_closed(now(), "the cache has closed the connection");
                }
                Ok(length) => client.handle_octets(now(), &buffer[..length]),
                Err(error) => {
                    stream = None;
                    client.handle_closed(now(), &format!("the connection broke: {error}"));
                }
            },
            () = sleep => client.handle_timeout(now()),
        }
    }
}

async fn dial(address: SocketAddr, place: &dyn Place) -> io::Result<TcpStream> {
    let socket =
        place.run(|| if address.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() })?;
    let stream = timeout(PATIENCE, socket.connect(address)).await??;
    stream.set_nodelay(true)?;
    Ok(stream)
}

/// Never without a connection.
async fn read(stream: &mut Option<TcpStream>, buffer: &mut [u8]) -> io::Result<usize> {
    match stream {
        Some(stream) => stream.read(buffer).await,
        None => std::future::pending().await,
    }
}

fn report(index: usize, client: &Client) -> Report {
    let state = match client.phase() {
        Phase::Down => "down",
        Phase::Connecting => "connecting",
        Phase::Asking => "asking",
        Phase::Loading => "loading",
        Phase::UpToDate => "up to date",
        Phase::NoData => "no data",
    };
    Report {
        index,
        state,
        is_up: client.phase() == Phase::UpToDate,
        session: client.session(),
        data: client.data().cloned(),
        updated: client.updated().map(Instant::since_start),
        written: None,
        fresh_until: client.fresh_until().map(Instant::since_start),
        expires: client.expires().map(Instant::since_start),
        trouble: client.trouble().map(str::to_owned),
    }
}

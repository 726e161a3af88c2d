//! Connections as applications have them, each with its own way of telling that something broke:
//! servers at every site, clients at the client.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use anycast_lab::netns::NetNs;
use socket2::{Domain, Protocol, Socket, Type};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

/// Where the servers listen.
pub(crate) const PORT: u16 = 49_152;
/// What is written at a time.
pub(crate) const PIECE: usize = 8 * 1024;
/// What a connection may take for one answer, or to be made: retransmissions fit in.
pub(crate) const PATIENCE: Duration = Duration::from_secs(5);

/// What the end of an upload may take.
const DRAIN: Duration = Duration::from_secs(30);

/// What is sent from a place in a stream on.
pub(crate) fn octets(from: u64, count: usize) -> Vec<u8> {
    (from..).take(count).map(|at| (at % 251) as u8).collect()
}

/// The errors of a connection that somebody broke.
fn broken(what: &str) -> impl Fn(io::Error) -> String {
    let what = what.to_owned();
    move |error| format!("{what}: {error}")
}

pub(crate) async fn in_time<T>(
    what: &str,
    doing: impl Future<Output = io::Result<T>>,
) -> Result<T, String> {
    match tokio::time::timeout(PATIENCE, doing).await {
        Ok(done) => done.map_err(broken(what)),
        Err(_) => Err(format!("{what}: nothing for {PATIENCE:?}")),
    }
}

/// Listens at a site for all the flows below, with a congestion control if one is named.
pub(crate) fn serve(site: &NetNs, address: &str, port: u16, control: Option<&str>) {
    listen(site, address, port, control, |stream| async {
        serve_one(stream).await.ok();
    });
}

/// Listens at a site, and does the same with each connection.
pub(crate) fn listen<F>(
    site: &NetNs,
    address: &str,
    port: u16,
    control: Option<&str>,
    each: impl Fn(TcpStream) -> F + Send + 'static,
) where
    F: Future<Output = ()> + Send + 'static,
{
    let address: IpAddr = address.parse().expect("an address");
    let listener = site.run(|| {
        let domain = if address.is_ipv4() { Domain::IPV4 } else { Domain::IPV6 };
        let socket = Socket::new(domain, Type::STREAM, Some(Protocol::TCP)).expect("a socket");
        socket.set_reuse_address(true).expect("an option");
        socket.set_keepalive(false).expect("an option");
        if let Some(control) = control {
            socket.set_tcp_congestion(control.as_bytes()).expect("a congestion control");
        }
        socket.bind(&SocketAddr::new(address, port).into()).expect("the address is there");
        socket.listen(1024).expect("it listens");
        socket.set_nonblocking(true).expect("an option");
        socket
    });
    let listener = TcpListener::from_std(listener.into()).expect("a listener");
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(each(stream));
        }
    });
}

/// The first octet says what is wanted.
pub(crate) async fn serve_one(mut stream: impl AsyncRead + AsyncWrite + Unpin) -> io::Result<()> {
    match stream.read_u8().await? {
        b'd' => {
            let (total, pace) = (stream.read_u64().await?, stream.read_u64().await?);
            let mut sent = 0;
            while sent < total {
                let piece = PIECE.min(usize::try_from(total - sent).unwrap_or(PIECE));
                stream.write_all(&octets(sent, piece)).await?;
                sent += piece as u64;
                if pace > 0 {
                    tokio::time::sleep(Duration::from_micros(pace)).await;
                }
            }
            stream.shutdown().await
        }
        b'u' => {
            let mut received = 0_u64;
            let mut buffer = vec![0; PIECE];
            loop {
                let count = stream.read(&mut buffer).await?;
                if count == 0 {
                    break;
                }
                if buffer[..count] != octets(received, count) {
                    return Err(io::Error::other("other octets than were sent"));
                }
                received += count as u64;
            }
            stream.write_u64(received).await?;
            stream.shutdown().await
        }
        _ => {
            let mut buffer = vec![0; PIECE];
            loop {
                let count = stream.read(&mut buffer).await?;
                if count == 0 {
                    return stream.shutdown().await;
                }
                stream.write_all(&buffer[..count]).await?;
            }
        }
    }
}

/// A connection without keepalives.
pub(crate) async fn connect(client: &NetNs, address: &str, port: u16) -> Result<TcpStream, String> {
    let target = SocketAddr::new(address.parse().expect("an address"), port);
    let socket = client.run(|| {
        if target.is_ipv4() {
            tokio::net::TcpSocket::new_v4()
        } else {
            tokio::net::TcpSocket::new_v6()
        }
    });
    let stream = in_time("connect", socket.expect("a socket").connect(target)).await?;
    stream.set_nodelay(true).map_err(broken("connect"))?;
    Ok(stream)
}

/// Downloads `total` octets, the server pausing `pace` after each piece; checks every octet.
pub(crate) async fn download(
    mut stream: impl AsyncRead + AsyncWrite + Unpin,
    total: u64,
    pace: Duration,
) -> Result<(), String> {
    let mut wish = vec![b'd'];
    wish.extend(total.to_be_bytes());
    wish.extend(u64::try_from(pace.as_micros()).unwrap_or_default().to_be_bytes());
    in_time("download", stream.write_all(&wish)).await?;
    let mut received = 0_u64;
    let mut buffer = vec![0; 4 * PIECE];
    loop {
        let count = in_time("download", stream.read(&mut buffer)).await?;
        if count == 0 {
            break;
        }
        if buffer[..count] != octets(received, count) {
            return Err(format!("download: other octets than were sent, after {received}"));
        }
        received += count as u64;
    }
    if received == total { Ok(()) } else { Err(format!("download: {received} of {total} octets")) }
}

/// Uploads for a time; the server checks every octet and says how many came.
pub(crate) async fn upload(
    mut stream: impl AsyncRead + AsyncWrite + Unpin,
    total: u64,
    pace: Duration,
) -> Result<(), String> {
    in_time("upload", stream.write_all(b"u")).await?;
    let mut sent = 0_u64;
    while sent < total {
        let piece = PIECE.min(usize::try_from(total - sent).unwrap_or(PIECE));
        in_time("upload", stream.write_all(&octets(sent, piece))).await?;
        sent += piece as u64;
        if !pace.is_zero() {
            tokio::time::sleep(pace).await;
        }
    }
    in_time("upload", stream.shutdown()).await?;
    // What the kernel still holds has to go first: on a busy machine that is not done at once.
    let last = tokio::time::timeout(DRAIN, stream.read_u64()).await;
    let received =
        last.map_err(|_| format!("upload: no answer for {DRAIN:?}"))?.map_err(broken("upload"))?;
    if received == total { Ok(()) } else { Err(format!("upload: {received} of {total} octets")) }
}

/// Small questions and answers, as a WebSocket has them.
pub(crate) async fn ping_pong(
    stream: impl AsyncRead + AsyncWrite + Unpin,
    time: Duration,
    pace: Duration,
) -> Result<(), String> {
    let begin = Instant::now();
    talk(stream, pace, || begin.elapsed() >= time).await
}

/// The same until something is over.
pub(crate) async fn talk(
    mut stream: impl AsyncRead + AsyncWrite + Unpin,
    pace: Duration,
    is_over: impl Fn() -> bool,
) -> Result<(), String> {
    in_time("ping-pong", stream.write_all(b"e")).await?;
    let mut number = 0_u64;
    loop {
        let is_last = is_over();
        let said = octets(number, 100);
        in_time("ping-pong", stream.write_all(&said)).await?;
        let mut heard = vec![0; said.len()];
        in_time("ping-pong", stream.read_exact(&mut heard)).await?;
        if heard != said {
            return Err("ping-pong: another answer".to_owned());
        }
        if is_last {
            return Ok(());
        }
        number += 1;
        tokio::time::sleep(pace).await;
    }
}

/// A connection with two questions.
pub(crate) async fn short_one(client: &NetNs, address: &str) -> Result<(), String> {
    let stream = connect(client, address, PORT).await?;
    ping_pong(stream, Duration::from_millis(1), Duration::ZERO).await
}

/// Many connections one after the other, each with one question; how many failed, and how.
pub(crate) async fn short(
    client: NetNs,
    address: &'static str,
    until: Instant,
) -> (usize, Vec<String>) {
    let mut made = 0;
    let mut failed = Vec::new();
    while Instant::now() < until {
        made += 1;
        failed.extend(short_one(&client, address).await.err());
    }
    (made, failed)
}

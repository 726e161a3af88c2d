//! The built-in `whoami` service: a site answers who it is before any server is installed there.
//!
//! DNS over UDP and TCP answers as [`anycast_dns::whoami`] says; HTTP/1.1, and HTTP/3 where it is
//! switched on, answer `GET /` with one JSON object. It is meant to run as a process of its own, so that whatever becomes of it, BGP
//! goes on; it keeps no state.

use std::convert::Infallible;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

pub use anycast_dns::whoami::Identity;
use socket2::{Domain, Protocol, Socket, Type};
use tokio::net::{TcpListener, TcpStream, UdpSocket};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

use quic::Quic;

mod dns;
mod http;
pub mod quic;

/// A client that neither asks nor reads for so long is cut off.
const IDLE: Duration = Duration::from_secs(10);

/// Connections served at a time, DNS and HTTP each; the next one is closed at once.
const CONNECTIONS: usize = 1024;

/// How many connections the kernel keeps until we take them.
const BACKLOG: i32 = 1024;

/// A pause after the kernel refused to accept (out of file descriptors, mostly).
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// What to serve where.
#[derive(Clone, Debug)]
pub struct Config {
    /// Who answers.
    pub identity: Identity,
    /// The addresses to answer at. Each gets sockets of its own, so that the answer leaves from
    /// the address that was asked.
    pub addresses: Vec<IpAddr>,
    /// The port of DNS over UDP and TCP; `None`: no DNS.
    pub dns_port: Option<u16>,
    /// The port of HTTP; `None`: no HTTP.
    pub http_port: Option<u16>,
    /// HTTP/3 over QUIC; `None`: none. Whatever hinders it, the others are served.
    pub quic: Option<Quic>,
}

/// Where the service listens.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Bound {
    /// DNS, over UDP and TCP alike.
    pub dns: Vec<SocketAddr>,
    /// HTTP.
    pub http: Vec<SocketAddr>,
}

/// Why the service cannot start, or why it ended.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Another socket has the port.
    #[error(
        "whoami: {protocol} port {} of {} is in use; find its holder with \
         `ss -l{}np 'sport = :{}'` and stop it, or give whoami another port",
        address.port(), address.ip(), protocol.letter(), address.port()
    )]
    InUse {
        /// What the port is of.
        protocol: Listener,
        /// Where we wanted to listen.
        address: SocketAddr,
    },
    /// The port is below the kernel's `net.ipv4.ip_unprivileged_port_start`.
    #[error(
        "whoami: {protocol} port {} of {} needs the capability CAP_NET_BIND_SERVICE \
         (systemd: AmbientCapabilities=CAP_NET_BIND_SERVICE)",
        address.port(), address.ip()
    )]
    Denied {
        /// What the port is of.
        protocol: Listener,
        /// Where we wanted to listen.
        address: SocketAddr,
    },
    /// The address is not on this machine.
    #[error(
        "whoami: {} is not an address of this machine; add it with \
         `ip address add {0}/{1} dev lo`",
        address.ip(), if address.is_ipv4() { 32 } else { 128 }
    )]
    NoSuchAddress {
        /// Where we wanted to listen.
        address: SocketAddr,
    },
    /// Anything else that the kernel said.
    #[error("whoami: cannot listen on {protocol} {address}: {source}")]
    Listen {
        /// What the port is of.
        protocol: Listener,
        /// Where we wanted to listen.
        address: SocketAddr,
        /// What the kernel said.
        source: io::Error,
    },
    /// Neither DNS nor HTTP nor QUIC, or no address.
    #[error("whoami: nothing to serve: no address or no port is given")]
    Nothing,
    /// A listener's task ended, which only a fault of the program can bring about.
    #[error("whoami: a listener stopped: {0}")]
    Stopped(#[from] tokio::task::JoinError),
}

/// A socket's protocol.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Listener {
    /// Datagrams.
    Udp,
    /// Connections.
    Tcp,
}

impl Listener {
    fn letter(self) -> char {
        match self {
            Self::Udp => 'u',
            Self::Tcp => 't',
        }
    }
}

impl std::fmt::Display for Listener {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Udp => "UDP",
            Self::Tcp => "TCP",
        })
    }
}

/// Serves until the process ends; `ready` is called once, when every socket is bound.
///
/// # Errors
/// The first socket that cannot be had; then none is kept.
pub async fn serve(config: Config, ready: impl FnOnce(&Bound)) -> Result<(), Error> {
    serve_within(config, Limits::default(), ready).await
}

/// How much patience and room clients get.
#[derive(Clone, Copy)]
struct Limits {
    idle: Duration,
    connections: usize,
    quic_connections: usize,
    id_lifetime: Duration,
    look_again: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        let (id_lifetime, look_again) = (quic::ID_LIFETIME, quic::LOOK_AGAIN);
        let quic_connections = quic::CONNECTIONS;
        Self { idle: IDLE, connections: CONNECTIONS, quic_connections, id_lifetime, look_again }
    }
}

async fn serve_within(
    config: Config,
    limits: Limits,
    ready: impl FnOnce(&Bound),
) -> Result<(), Error> {
    let identity = Arc::new(config.identity);
    let sockets = Sockets::bind(&config.addresses, config.dns_port, config.http_port)?;
    let bound_later = config.quic.is_some() && !config.addresses.is_empty();
    if sockets.bound == Bound::default() && !bound_later {
        return Err(Error::Nothing);
    }
    let bound = sockets.bound.clone();

    let mut tasks = JoinSet::new();
    for socket in sockets.udp {
        tasks.spawn(dns::over_udp(socket, identity.clone()));
    }
    let room = Arc::new(Semaphore::new(limits.connections));
    for listener in sockets.dns {
        let identity = identity.clone();
        let serve =
            move |stream, client| dns::over_tcp(stream, client, identity.clone(), limits.idle);
        tasks.spawn(accept(listener, room.clone(), serve));
    }
    let room = Arc::new(Semaphore::new(limits.connections));
    for listener in sockets.http {
        let identity = identity.clone();
        let serve =
            move |stream, client| http::serve(stream, client, identity.clone(), limits.idle);
        tasks.spawn(accept(listener, room.clone(), serve));
    }
    if let Some(quic) = config.quic {
        tasks.spawn(quic::keep(quic, config.addresses, identity, limits));
    }
    ready(&bound);
    match tasks.join_next().await.expect("there is something to serve") {
        Ok(never) => match never {},
        Err(error) => Err(Error::Stopped(error)),
    }
}

/// All sockets of the service, bound before any is served.
#[derive(Default)]
struct Sockets {
    udp: Vec<UdpSocket>,
    dns: Vec<TcpListener>,
    http: Vec<TcpListener>,
    bound: Bound,
}

impl Sockets {
    fn bind(
        addresses: &[IpAddr],
        dns_port: Option<u16>,
        http_port: Option<u16>,
    ) -> Result<Self, Error> {
        let mut sockets = Self::default();
        for &ip in addresses {
            if let Some(port) = dns_port {
                let mut address = SocketAddr::new(ip, port);
                let udp =
                    bind_udp(address).map_err(|error| refuse(Listener::Udp, address, error))?;
                // Port 0 lets the kernel choose; TCP then takes what UDP got.
                address = udp.local_addr().unwrap_or(address);
                let tcp =
                    bind_tcp(address).map_err(|error| refuse(Listener::Tcp, address, error))?;
                sockets.udp.push(udp);
                sockets.dns.push(tcp);
                sockets.bound.dns.push(address);
            }
            if let Some(port) = http_port {
                let address = SocketAddr::new(ip, port);
                let tcp =
                    bind_tcp(address).map_err(|error| refuse(Listener::Tcp, address, error))?;
                sockets.bound.http.push(tcp.local_addr().unwrap_or(address));
                sockets.http.push(tcp);
            }
        }
        Ok(sockets)
    }
}

fn bind_udp(address: SocketAddr) -> io::Result<UdpSocket> {
    let socket = open(address, Type::DGRAM, Protocol::UDP)?;
    socket.bind(&address.into())?;
    UdpSocket::from_std(socket.into())
}

fn bind_tcp(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = open(address, Type::STREAM, Protocol::TCP)?;
    // Connections of a run before this one may still be in TIME-WAIT.
    socket.set_reuse_address(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    TcpListener::from_std(socket.into())
}

fn open(address: SocketAddr, kind: Type, protocol: Protocol) -> io::Result<Socket> {
    let socket = Socket::new(Domain::for_address(address), kind, Some(protocol))?;
    socket.set_nonblocking(true)?;
    if address.is_ipv6() {
        // So that `::` and `0.0.0.0` can stand side by side.
        socket.set_only_v6(true)?;
    }
    Ok(socket)
}

fn refuse(protocol: Listener, address: SocketAddr, source: io::Error) -> Error {
    match source.kind() {
        io::ErrorKind::AddrInUse => Error::InUse { protocol, address },
        io::ErrorKind::PermissionDenied => Error::Denied { protocol, address },
        io::ErrorKind::AddrNotAvailable => Error::NoSuchAddress { address },
        _ => Error::Listen { protocol, address, source },
    }
}

/// Hands each connection to a task of its own while there is room.
async fn accept<F>(
    listener: TcpListener,
    room: Arc<Semaphore>,
    serve: impl Fn(TcpStream, SocketAddr) -> F,
) -> Infallible
where
    F: Future<Output = ()> + Send + 'static,
{
    loop {
        // The client went away meanwhile, or the kernel is out of something.
        let Ok((stream, client)) = listener.accept().await else {
            tokio::time::sleep(ACCEPT_PAUSE).await;
            continue;
        };
        if let Ok(place) = room.clone().try_acquire_owned() {
            let served = serve(stream, client);
            tokio::spawn(async move {
                served.await;
                drop(place);
            });
        }
    }
}

#[cfg(test)]
mod tests;

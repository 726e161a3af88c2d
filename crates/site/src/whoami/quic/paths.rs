//! One socket for quinn, made of one for each address.
//!
//! A connection may begin at any service address and go on at a preferred one, so one endpoint must
//! hear all of them. A socket at the wildcard address would do, but other programs could then not
//! have the port at other addresses of the machine, and this one would hear what is meant for nobody.
//!
//! quinn knows a path by the client's address alone and always answers from where the connection
//! began. To it a client that came to a preferred address is therefore another client: the same
//! address with [`MARK`] in the flow label. So it validates that path as it must (RFC 9000 §9.3), and
//! what it sends there leaves from the preferred address.
//!
//! What goes wrong with one socket is no concern of the others, nor of quinn, which would end.

use std::io::{self, IoSliceMut};
use std::net::{IpAddr, Ipv6Addr, SocketAddr, SocketAddrV6};
use std::pin::Pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use quinn::udp::{RecvMeta, Transmit, UdpSocketState};
use quinn::{AsyncUdpSocket, UdpPoller};
use socket2::{Protocol, Type};
use tokio::io::Interest;
use tokio::net::UdpSocket;
use tokio::time::Sleep;

use crate::whoami::{Listener, open, refuse};

/// In the flow label of a client's address: it came to a preferred address. The kernel puts nothing
/// there.
const MARK: u32 = 1;
/// So many errors in a row may be of the past, as each is told once; then the socket gets a pause.
const ERRORS: usize = 8;
const PAUSE: Duration = Duration::from_millis(50);

/// All sockets of the endpoint.
#[derive(Debug)]
pub(super) struct Paths {
    sockets: Vec<Socket>,
    /// Which is heard first the next time: one under a flood must not deafen the others.
    next: AtomicUsize,
    /// When those are heard again that had only errors.
    pause: Mutex<Option<Pin<Box<Sleep>>>>,
}

#[derive(Debug)]
struct Socket {
    address: SocketAddr,
    preferred: bool,
    io: UdpSocket,
    state: UdpSocketState,
}

impl Paths {
    /// A socket at each service address and at each preferred one.
    pub(super) fn bind(
        addresses: &[IpAddr],
        preferred: &[IpAddr],
        port: u16,
    ) -> Result<Self, String> {
        let all = addresses.iter().map(|it| (*it, false));
        let all = all.chain(preferred.iter().map(|it| (*it, true)));
        let mut sockets = Vec::new();
        for (ip, preferred) in all {
            let address = SocketAddr::new(ip, port);
            let bound = Socket::bind(address, preferred);
            sockets.push(bound.map_err(|error| refuse(Listener::Udp, address, error).to_string())?);
        }
        Ok(Self::new(sockets))
    }

    fn new(sockets: Vec<Socket>) -> Self {
        Self { sockets, next: AtomicUsize::new(0), pause: Mutex::new(None) }
    }

    /// Those that are preferred, or the others.
    pub(super) fn addresses(&self, preferred: bool) -> Vec<SocketAddr> {
        let sockets = self.sockets.iter().filter(|it| it.preferred == preferred);
        sockets.map(|it| it.address).collect()
    }

    /// Wakes the task after a pause.
    fn pause(&self, cx: &mut Context<'_>) {
        let mut pause = self.pause.lock().unwrap_or_else(PoisonError::into_inner);
        let sleep = pause.get_or_insert_with(|| Box::pin(tokio::time::sleep(PAUSE)));
        if sleep.as_mut().poll(cx).is_ready() {
            *pause = None;
            cx.waker().wake_by_ref();
        }
    }
}

impl Socket {
    fn bind(address: SocketAddr, preferred: bool) -> io::Result<Self> {
        let socket = open(address, Type::DGRAM, Protocol::UDP)?;
        socket.bind(&address.into())?;
        Self::new(socket, preferred)
    }

    fn new(socket: socket2::Socket, preferred: bool) -> io::Result<Self> {
        let state = UdpSocketState::new((&socket).into())?;
        let io = UdpSocket::from_std(socket.into())?;
        Ok(Self { address: io.local_addr()?, preferred, io, state })
    }

    fn try_send(&self, transmit: &Transmit<'_>) -> io::Result<()> {
        self.io.try_io(Interest::WRITABLE, || self.state.send((&self.io).into(), transmit))
    }

    fn poll_recv(
        &self,
        cx: &mut Context<'_>,
        buffers: &mut [IoSliceMut<'_>],
        metas: &mut [RecvMeta],
    ) -> Poll<io::Result<usize>> {
        let mut errors = 0;
        loop {
            ready!(self.io.poll_recv_ready(cx))?;
            let received = self
                .io
                .try_io(Interest::READABLE, || self.state.recv((&self.io).into(), buffers, metas));
            match received {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(_) if errors < ERRORS => errors += 1,
                received => return Poll::Ready(received),
            }
        }
    }
}

impl AsyncUdpSocket for Paths {
    fn create_io_poller(self: Arc<Self>) -> Pin<Box<dyn UdpPoller>> {
        Box::pin(AlwaysWritable)
    }

    fn try_send(&self, transmit: &Transmit<'_>) -> io::Result<()> {
        let (client, preferred) = unmark(transmit.destination);
        let from = self.sockets.iter().find(|it| {
            let begun_here = transmit.src_ip.is_none_or(|ip| ip == it.address.ip());
            it.preferred == preferred
                && it.address.is_ipv4() == client.is_ipv4()
                && (preferred || begun_here)
        });
        if let Some(from) = from {
            let transmit = Transmit { destination: client, src_ip: None, ..transmit.clone() };
            // Where the way out is full, what is lost is sent again in time, as after any loss.
            let _ = from.try_send(&transmit);
        }
        Ok(())
    }

    fn poll_recv(
        &self,
        cx: &mut Context<'_>,
        buffers: &mut [IoSliceMut<'_>],
        metas: &mut [RecvMeta],
    ) -> Poll<io::Result<usize>> {
        let first = self.next.fetch_add(1, Ordering::Relaxed);
        let mut failed = false;
        for at in 0..self.sockets.len() {
            let socket = &self.sockets[first.wrapping_add(at) % self.sockets.len()];
            match socket.poll_recv(cx, buffers, metas) {
                Poll::Ready(Ok(received)) => {
                    for meta in metas.iter_mut().take(received) {
                        meta.dst_ip = Some(socket.address.ip());
                        if socket.preferred {
                            meta.addr = mark(meta.addr);
                        }
                    }
                    return Poll::Ready(Ok(received));
                }
                Poll::Ready(Err(_)) => failed = true,
                Poll::Pending => {}
            }
        }
        if failed {
            self.pause(cx);
        }
        Poll::Pending
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.sockets.first().map(|it| it.address).ok_or_else(|| io::ErrorKind::NotConnected.into())
    }

    fn max_transmit_segments(&self) -> usize {
        self.sockets.iter().map(|it| it.state.max_gso_segments()).min().unwrap_or(1)
    }

    fn max_receive_segments(&self) -> usize {
        self.sockets.iter().map(|it| it.state.gro_segments()).max().unwrap_or(1)
    }

    fn may_fragment(&self) -> bool {
        self.sockets.iter().any(|it| it.state.may_fragment())
    }
}

/// Nothing is waited for: what cannot leave at once is lost.
#[derive(Debug)]
struct AlwaysWritable;

impl UdpPoller for AlwaysWritable {
    fn poll_writable(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

/// A client as quinn knows it if it came to a preferred address.
fn mark(client: SocketAddr) -> SocketAddr {
    let (ip, scope): (Ipv6Addr, u32) = match client {
        SocketAddr::V4(v4) => (v4.ip().to_ipv6_mapped(), 0),
        SocketAddr::V6(v6) => (*v6.ip(), v6.scope_id()),
    };
    SocketAddrV6::new(ip, client.port(), MARK, scope).into()
}

/// Whether a client, as quinn knows it, came to a preferred address.
pub(super) fn is_preferred(client: SocketAddr) -> bool {
    matches!(client, SocketAddr::V6(v6) if v6.flowinfo() == MARK)
}

/// The client's own address, and whether it came to a preferred one.
pub(super) fn unmark(client: SocketAddr) -> (SocketAddr, bool) {
    match client {
        SocketAddr::V6(v6) if v6.flowinfo() == MARK => {
            let client = match v6.ip().to_ipv4_mapped() {
                Some(v4) => SocketAddr::new(v4.into(), v6.port()),
                None => SocketAddrV6::new(*v6.ip(), v6.port(), 0, v6.scope_id()).into(),
            };
            (client, true)
        }
        _ => (client, false),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A socket whose every receiving is an error: what it is made of is not connected.
    fn broken() -> Socket {
        let socket = open("127.0.0.1:0".parse().unwrap(), Type::STREAM, Protocol::TCP).unwrap();
        Socket::new(socket, false).unwrap()
    }

    #[tokio::test]
    async fn one_socket_whose_errors_stay_neither_deafens_the_others_nor_keeps_the_program_busy() {
        let whole = Socket::bind("127.0.0.1:0".parse().unwrap(), false).unwrap();
        let address = whole.address;
        let paths = Paths::new(vec![broken(), whole, broken()]);
        let mut octets = [[0; 1500]; 4];
        let mut polls = 0;
        let client = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        let hear = std::future::poll_fn(|cx| {
            polls += 1;
            let mut buffers = octets.each_mut().map(|it| IoSliceMut::new(it));
            let mut metas = [RecvMeta::default(); 4];
            let heard = paths.poll_recv(cx, &mut buffers, &mut metas);
            heard.map(|received| (received.unwrap(), metas[0].len, metas[0].addr))
        });
        let send = async {
            tokio::time::sleep(PAUSE * 4).await;
            client.send_to(b"ping", address).await.unwrap();
        };
        let (heard, ()) = tokio::join!(hear, send);
        assert_eq!(heard, (1, 4, client.local_addr().unwrap()));
        assert!((4..20).contains(&polls), "{polls} times");
    }

    #[test]
    fn a_client_that_came_to_a_preferred_address_is_another_and_keeps_its_own() {
        for client in ["192.0.2.7:4433", "[2001:db8::7]:4433", "[fe80::1%3]:4433"] {
            let client: SocketAddr = client.parse().unwrap();
            assert_eq!(unmark(client), (client, false));
            assert!(!is_preferred(client));
            let marked = mark(client);
            assert_ne!(marked, client);
            assert!(is_preferred(marked));
            assert_eq!(unmark(marked), (client, true));
        }
    }
}

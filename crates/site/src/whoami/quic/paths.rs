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

use std::io::{self, IoSliceMut};
use std::net::{IpAddr, Ipv6Addr, SocketAddr, SocketAddrV6};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};

use quinn::udp::{RecvMeta, Transmit};
use quinn::{AsyncUdpSocket, Runtime, TokioRuntime, UdpPoller};
use socket2::{Protocol, Type};

use crate::whoami::{Listener, open, refuse};

/// In the flow label of a client's address: it came to a preferred address. The kernel puts nothing
/// there.
const MARK: u32 = 1;

/// All sockets of the endpoint.
#[derive(Debug)]
pub(super) struct Paths {
    sockets: Vec<Socket>,
    /// Which is heard first the next time: one under a flood must not deafen the others.
    next: AtomicUsize,
}

#[derive(Debug)]
struct Socket {
    address: SocketAddr,
    preferred: bool,
    inner: Arc<dyn AsyncUdpSocket>,
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
        Ok(Self { sockets, next: AtomicUsize::new(0) })
    }

    /// Those that are preferred, or the others.
    pub(super) fn addresses(&self, preferred: bool) -> Vec<SocketAddr> {
        let sockets = self.sockets.iter().filter(|it| it.preferred == preferred);
        sockets.map(|it| it.address).collect()
    }
}

impl Socket {
    fn bind(address: SocketAddr, preferred: bool) -> io::Result<Self> {
        let socket = open(address, Type::DGRAM, Protocol::UDP)?;
        socket.bind(&address.into())?;
        let socket = TokioRuntime.wrap_udp_socket(socket.into())?;
        Ok(Self { address: socket.local_addr()?, preferred, inner: socket })
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
            let _ = from.inner.try_send(&transmit);
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
        for at in 0..self.sockets.len() {
            let socket = &self.sockets[first.wrapping_add(at) % self.sockets.len()];
            if let Poll::Ready(received) = socket.inner.poll_recv(cx, buffers, metas) {
                let received = received?;
                for meta in metas.iter_mut().take(received) {
                    meta.dst_ip = Some(socket.address.ip());
                    if socket.preferred {
                        meta.addr = mark(meta.addr);
                    }
                }
                return Poll::Ready(Ok(received));
            }
        }
        Poll::Pending
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.sockets.first().map(|it| it.address).ok_or_else(|| io::ErrorKind::NotConnected.into())
    }

    fn max_transmit_segments(&self) -> usize {
        self.sockets.iter().map(|it| it.inner.max_transmit_segments()).min().unwrap_or(1)
    }

    fn max_receive_segments(&self) -> usize {
        self.sockets.iter().map(|it| it.inner.max_receive_segments()).max().unwrap_or(1)
    }

    fn may_fragment(&self) -> bool {
        self.sockets.iter().any(|it| it.inner.may_fragment())
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

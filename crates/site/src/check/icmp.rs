//! An echo request (RFC 792, RFC 4443 §4.1) that a host answers.
//!
//! A datagram socket does where `net.ipv4.ping_group_range` lets our group have one, which takes
//! no privilege; elsewhere a raw socket does, which takes CAP_NET_RAW.

use std::io;
use std::net::{IpAddr, SocketAddr};

use socket2::{Domain, Protocol, Socket, Type};
use tokio::net::UdpSocket;

use super::{Failure, random};

pub(super) mod echo;

use echo::Family;

pub(super) async fn check(target: IpAddr) -> Result<(), Failure> {
    let (family, domain, protocol) = match target {
        IpAddr::V4(_) => (Family::V4, Domain::IPV4, Protocol::ICMPV4),
        IpAddr::V6(_) => (Family::V6, Domain::IPV6, Protocol::ICMPV6),
    };
    let (socket, raw) = match Socket::new(domain, Type::DGRAM.nonblocking(), Some(protocol)) {
        Ok(socket) => (socket, false),
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
            let socket = Socket::new(domain, Type::RAW.nonblocking(), Some(protocol));
            (socket.map_err(|error| denied(&error))?, true)
        }
        Err(error) => return Err(error.into()),
    };
    socket.connect(&SocketAddr::new(target, 0).into())?;
    // Sending and receiving on a connected socket are the same calls for all kinds of datagrams.
    let socket = UdpSocket::from_std(socket.into())?;

    let token = token();
    socket.send(&echo::request(family, &token)).await?;
    let mut octets = [0; 2048];
    loop {
        let len = socket.recv(&mut octets).await?;
        let mut message = Some(&octets[..len]);
        if raw && family == Family::V4 {
            // The other three sorts of sockets leave the IP header out: raw(7), RFC 3542 §3.
            message = message.and_then(echo::without_ip_header);
        }
        // A raw socket hears of everybody's echoes; the token is ours alone.
        if message.is_some_and(|message| echo::is_reply(message, family, &token)) {
            return Ok(());
        }
    }
}

fn token() -> echo::Token {
    let mut token = [0; 16];
    token[..8].copy_from_slice(&random().to_ne_bytes());
    token[8..].copy_from_slice(&random().to_ne_bytes());
    token
}

fn denied(error: &io::Error) -> Failure {
    Failure::Network(format!(
        "may not send echo requests: {error}; give the daemon CAP_NET_RAW, or its group \
         net.ipv4.ping_group_range"
    ))
}

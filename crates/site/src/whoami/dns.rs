//! DNS over UDP and TCP (RFC 7766).

use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anycast_dns::Transport;
use anycast_dns::whoami::{Identity, answer};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpStream, UdpSocket};
use tokio::time::timeout;

/// Longer than any query that gets more than a format error.
const LONGEST_QUERY: usize = 4096;

pub(super) async fn over_udp(socket: UdpSocket, identity: Arc<Identity>) -> Infallible {
    let mut query = [0; LONGEST_QUERY];
    loop {
        // What fails here is an earlier answer that found nobody (ICMP); it is over with.
        let Ok((len, client)) = socket.recv_from(&mut query).await else { continue };
        if let Some(reply) = answer(&query[..len], &identity, client, Transport::Udp) {
            // Where the way out is full, a lost answer is what UDP promises.
            let _ = socket.try_send_to(&reply, client);
        }
    }
}

/// Answers queries in their order until the client goes, falls silent or talks nonsense.
pub(super) async fn over_tcp(
    mut stream: TcpStream,
    client: SocketAddr,
    identity: Arc<Identity>,
    idle: Duration,
) {
    // An answer is one write; waiting for more to send with it only delays it.
    let _ = stream.set_nodelay(true);
    while let Ok(Ok(Some(query))) = timeout(idle, read(&mut stream)).await {
        let Some(reply) = answer(&query, &identity, client, Transport::Tcp) else { return };
        let len = u16::try_from(reply.len()).expect("answers over TCP are at most 65535 octets");
        let octets = [&len.to_be_bytes()[..], &reply].concat();
        if !matches!(timeout(idle, stream.write_all(&octets)).await, Ok(Ok(()))) {
            return;
        }
    }
}

/// The next message without its length; `None` when the client has closed.
async fn read(stream: &mut TcpStream) -> io::Result<Option<Vec<u8>>> {
    let len = match stream.read_u16().await {
        Ok(len) => usize::from(len),
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(None),
        Err(error) => return Err(error),
    };
    if len > LONGEST_QUERY {
        return Ok(None);
    }
    let mut message = vec![0; len];
    stream.read_exact(&mut message).await?;
    Ok(Some(message))
}

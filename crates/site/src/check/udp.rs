//! A datagram that a service answers.

use std::net::SocketAddr;

use socket2::{Domain, Protocol, Socket, Type};
use tokio::net::UdpSocket;

use super::Failure;

/// More than any datagram holds.
const LONGEST: usize = 65_535;

/// How much of an answer that does not pass is told.
const LONGEST_SHOWN: usize = 64;

/// A socket that sends to `target` and hears from it alone: a closed port comes back as an error
/// at once (ICMP port unreachable). Connecting gives it a port of its own; to bind it first would
/// take a call more.
pub(super) fn socket(target: SocketAddr) -> Result<UdpSocket, Failure> {
    let kind = Type::DGRAM.nonblocking();
    let socket = Socket::new(Domain::for_address(target), kind, Some(Protocol::UDP))?;
    socket.connect(&target.into())?;
    Ok(UdpSocket::from_std(socket.into())?)
}

/// Judges the first answer.
pub(super) async fn check(
    target: SocketAddr,
    send: &[u8],
    expect: Option<&[u8]>,
) -> Result<(), Failure> {
    let socket = socket(target)?;
    socket.send(send).await?;
    let mut answer = vec![0; LONGEST];
    let len = socket.recv(&mut answer).await?;
    let answer = &answer[..len];
    match expect {
        Some(want) if !contains(answer, want) => {
            Err(Failure::Unexpected { got: shown(answer), want: shown(want) })
        }
        _ => Ok(()),
    }
}

/// Whether `part` stands anywhere in `all`.
pub(super) fn contains(all: &[u8], part: &[u8]) -> bool {
    part.is_empty() || all.windows(part.len()).any(|window| window == part)
}

/// The octets as text if they are that, else in hexadecimal digits; at most the first few.
fn shown(octets: &[u8]) -> String {
    let start = &octets[..octets.len().min(LONGEST_SHOWN)];
    match std::str::from_utf8(start) {
        Ok(text) if !text.chars().any(char::is_control) => text.to_owned(),
        _ => {
            let digits: Vec<String> = start.iter().map(|octet| format!("{octet:02x}")).collect();
            digits.join(" ")
        }
    }
}

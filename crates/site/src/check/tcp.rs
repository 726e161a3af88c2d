//! A connection that a service accepts, and that ends at once.

use std::io;
use std::net::SocketAddr;

use rustix::io::Errno;
use socket2::{Domain, Protocol, Socket, Type};
use tokio::net::TcpStream;

use super::Failure;

/// Connects and closes.
///
/// A service on this host has answered before `connect` returns, as the kernel carries the
/// handshake over the loopback interface within the call, but only a second call says so. Where
/// it does, the runtime never hears of the socket.
///
/// # Errors
/// Why there is no connection.
pub(super) async fn check(target: SocketAddr) -> Result<(), Failure> {
    let socket =
        Socket::new(Domain::for_address(target), Type::STREAM.nonblocking(), Some(Protocol::TCP))?;
    // The handshake's last acknowledgment then goes out with the end of the connection: one
    // packet less, and the service's accept finds a connection that is already over.
    socket.set_tcp_quickack(false)?;
    let address = target.into();
    if connected(&socket.connect(&address))? || connected(&socket.connect(&address))? {
        return Ok(());
    }
    let stream = TcpStream::from_std(socket.into())?;
    stream.writable().await?;
    match stream.take_error()? {
        None => Ok(()),
        Some(error) => Err(error.into()),
    }
}

/// Whether a call of `connect` has found a connection; `false`: it is still under way.
fn connected(result: &io::Result<()>) -> Result<bool, Failure> {
    let Err(error) = result else { return Ok(true) };
    match Errno::from_io_error(error) {
        Some(Errno::INPROGRESS | Errno::ALREADY) => Ok(false),
        Some(errno) => Err(io::Error::from(errno).into()),
        None => Err(Failure::Network(error.to_string())),
    }
}

#[cfg(test)]
mod tests;

//! A listener with bounds: so many connections, each for so long, none silent for long.

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::serve::Listener;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, Sleep};

/// Connections at a time; others wait in the kernel's queue.
const CONNECTIONS: usize = 64;
/// How long a connection may neither send nor take anything.
const SILENCE: Duration = Duration::from_secs(30);
/// How long a connection may last: a full table to a slow reader takes a while.
const LIFETIME: Duration = Duration::from_secs(600);
/// How long to wait when no connection can be accepted, for want of file descriptors.
const PAUSE: Duration = Duration::from_secs(1);

/// Accepts connections within the bounds.
pub(crate) struct Guarded {
    listener: TcpListener,
    permits: Arc<Semaphore>,
    lifetime: Duration,
}

impl Guarded {
    pub(crate) fn new(listener: TcpListener) -> Self {
        Self { listener, permits: Arc::new(Semaphore::new(CONNECTIONS)), lifetime: LIFETIME }
    }

    /// For callers that are known: a connection may last so long.
    pub(crate) fn with_lifetime(self, lifetime: Duration) -> Self {
        Self { lifetime, ..self }
    }
}

impl Listener for Guarded {
    type Io = GuardedStream;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (GuardedStream, SocketAddr) {
        let permit = Arc::clone(&self.permits).acquire_owned().await;
        let permit = permit.expect("the semaphore is never closed");
        loop {
            match self.listener.accept().await {
                Ok((stream, from)) => {
                    return (GuardedStream::new(stream, permit, self.lifetime), from);
                }
                Err(error) => {
                    tracing::debug!("cannot accept a connection: {error}");
                    tokio::time::sleep(PAUSE).await;
                }
            }
        }
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }
}

/// A connection that fails when its time is over.
pub(crate) struct GuardedStream {
    stream: TcpStream,
    ends_at: Instant,
    alarm: Pin<Box<Sleep>>,
    _permit: OwnedSemaphorePermit,
}

impl GuardedStream {
    fn new(stream: TcpStream, permit: OwnedSemaphorePermit, lifetime: Duration) -> Self {
        let now = Instant::now();
        let alarm = Box::pin(tokio::time::sleep_until(now + SILENCE));
        Self { stream, ends_at: now + lifetime, alarm, _permit: permit }
    }

    /// What reading or writing gave, unless it gave nothing and the time is over.
    fn guard<T>(
        &mut self,
        context: &mut Context<'_>,
        done: Poll<io::Result<T>>,
    ) -> Poll<io::Result<T>> {
        let now = Instant::now();
        if now >= self.ends_at {
            return Poll::Ready(Err(io::ErrorKind::TimedOut.into()));
        }
        if done.is_ready() {
            self.alarm.as_mut().reset((now + SILENCE).min(self.ends_at));
            return done;
        }
        match self.alarm.as_mut().poll(context) {
            Poll::Ready(()) => Poll::Ready(Err(io::ErrorKind::TimedOut.into())),
            Poll::Pending => Poll::Pending,
        }
    }
}

impl AsyncRead for GuardedStream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let done = Pin::new(&mut self.stream).poll_read(context, buffer);
        self.guard(context, done)
    }
}

impl AsyncWrite for GuardedStream {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        octets: &[u8],
    ) -> Poll<io::Result<usize>> {
        let done = Pin::new(&mut self.stream).poll_write(context, octets);
        self.guard(context, done)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::AsyncReadExt;

    use super::*;

    async fn pair() -> (Guarded, TcpStream, GuardedStream) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let mut guarded = Guarded::new(listener);
        let client = TcpStream::connect(address).await.unwrap();
        let (stream, _) = guarded.accept().await;
        (guarded, client, stream)
    }

    #[tokio::test]
    async fn a_silent_connection_ends_and_gives_its_place_back() {
        let (guarded, _client, mut stream) = pair().await;
        assert_eq!(guarded.permits.available_permits(), CONNECTIONS - 1);
        stream.alarm.as_mut().reset(Instant::now() + Duration::from_millis(20));
        let silence = stream.read_u8().await.unwrap_err();
        assert_eq!(silence.kind(), io::ErrorKind::TimedOut);
        drop(stream);
        assert_eq!(guarded.permits.available_permits(), CONNECTIONS);
    }

    #[tokio::test]
    async fn a_talkative_connection_ends_at_its_time() {
        use tokio::io::AsyncWriteExt;
        let (_guarded, mut client, mut stream) = pair().await;
        stream.ends_at = Instant::now() + Duration::from_millis(30);
        client.write_u8(7).await.unwrap();
        assert_eq!(stream.read_u8().await.unwrap(), 7);
        assert_eq!(stream.read_u8().await.unwrap_err().kind(), io::ErrorKind::TimedOut);
    }
}

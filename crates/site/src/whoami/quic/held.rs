//! What h3 keeps of a connection's streams, counted.
//!
//! h3 keeps what it got of a frame until it has all of it, whatever length the client has said, and
//! has no limit to that. Here every piece that it gets counts from then until h3 lets it go, so whoever
//! asks one short question after the other may go on for good.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll, ready};

use h3::error::Code;
use h3::quic::{
    self, ConnectionErrorIncoming, OpenStreams, RecvStream, SendStream, StreamErrorIncoming,
    StreamId, WriteBuf,
};
use hyper::body::{Buf, Bytes};

use super::http3::H3_EXCESSIVE_LOAD;

/// What a piece takes beside its octets: it may be a single one.
const PIECE: usize = 128;

/// A connection that is closed as soon as more than `most` octets of it are kept.
pub(super) struct Connection {
    inner: h3_quinn::Connection,
    room: Room,
}

impl Connection {
    pub(super) fn new(connection: quinn::Connection, most: usize) -> Self {
        let inner = h3_quinn::Connection::new(connection.clone());
        Self { inner, room: Room { connection, held: Arc::default(), most } }
    }
}

/// The room of one connection.
#[derive(Clone)]
struct Room {
    connection: quinn::Connection,
    held: Arc<AtomicUsize>,
    most: usize,
}

impl Room {
    /// The same octets, counted; `None` closes the connection.
    fn keep(&self, octets: &Bytes) -> Option<Bytes> {
        let size = octets.len() + PIECE;
        let before = self.held.fetch_add(size, Ordering::Relaxed);
        // A copy: the datagram that they came in may be far longer.
        let piece = Piece { octets: octets.as_ref().into(), size, held: self.held.clone() };
        if before + size > self.most {
            self.connection.close(H3_EXCESSIVE_LOAD, b"");
            return None;
        }
        Some(Bytes::from_owner(piece))
    }
}

struct Piece {
    octets: Box<[u8]>,
    size: usize,
    held: Arc<AtomicUsize>,
}

impl AsRef<[u8]> for Piece {
    fn as_ref(&self) -> &[u8] {
        &self.octets
    }
}

impl Drop for Piece {
    fn drop(&mut self) {
        self.held.fetch_sub(self.size, Ordering::Relaxed);
    }
}

/// A stream whose pieces are counted.
pub(super) struct Stream<S> {
    inner: S,
    room: Room,
}

impl<S: RecvStream<Buf = Bytes>> RecvStream for Stream<S> {
    type Buf = Bytes;

    fn poll_data(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Result<Option<Bytes>, StreamErrorIncoming>> {
        let piece = ready!(self.inner.poll_data(cx))?;
        // To h3 the stream ends where there is no room: the connection is closed by then.
        Poll::Ready(Ok(piece.and_then(|octets| self.room.keep(&octets))))
    }

    fn stop_sending(&mut self, code: u64) {
        self.inner.stop_sending(code);
    }

    fn recv_id(&self) -> StreamId {
        self.inner.recv_id()
    }
}

impl<B: Buf, S: SendStream<B>> SendStream<B> for Stream<S> {
    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), StreamErrorIncoming>> {
        self.inner.poll_ready(cx)
    }

    fn send_data<T: Into<WriteBuf<B>>>(&mut self, data: T) -> Result<(), StreamErrorIncoming> {
        self.inner.send_data(data)
    }

    fn poll_finish(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), StreamErrorIncoming>> {
        self.inner.poll_finish(cx)
    }

    fn reset(&mut self, code: u64) {
        self.inner.reset(code);
    }

    fn send_id(&self) -> StreamId {
        self.inner.send_id()
    }
}

/// What opens streams.
pub(super) struct Opener {
    inner: h3_quinn::OpenStreams,
    room: Room,
}

/// Both open streams alike.
macro_rules! opens {
    ($of:ty, $inner:ty) => {
        impl<B: Buf> OpenStreams<B> for $of {
            type BidiStream = Stream<<$inner as OpenStreams<B>>::BidiStream>;
            type SendStream = <$inner as OpenStreams<B>>::SendStream;

            fn poll_open_bidi(
                &mut self,
                cx: &mut Context<'_>,
            ) -> Poll<Result<Self::BidiStream, StreamErrorIncoming>> {
                let inner = ready!(OpenStreams::<B>::poll_open_bidi(&mut self.inner, cx))?;
                Poll::Ready(Ok(Stream { inner, room: self.room.clone() }))
            }

            fn poll_open_send(
                &mut self,
                cx: &mut Context<'_>,
            ) -> Poll<Result<Self::SendStream, StreamErrorIncoming>> {
                OpenStreams::<B>::poll_open_send(&mut self.inner, cx)
            }

            fn close(&mut self, code: Code, reason: &[u8]) {
                OpenStreams::<B>::close(&mut self.inner, code, reason);
            }
        }
    };
}

opens!(Connection, h3_quinn::Connection);
opens!(Opener, h3_quinn::OpenStreams);

impl<B: Buf> quic::Connection<B> for Connection {
    type RecvStream = Stream<h3_quinn::RecvStream>;
    type OpenStreams = Opener;

    fn poll_accept_recv(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Result<Self::RecvStream, ConnectionErrorIncoming>> {
        let inner = ready!(quic::Connection::<B>::poll_accept_recv(&mut self.inner, cx))?;
        Poll::Ready(Ok(Stream { inner, room: self.room.clone() }))
    }

    fn poll_accept_bidi(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Result<Self::BidiStream, ConnectionErrorIncoming>> {
        let inner = ready!(quic::Connection::<B>::poll_accept_bidi(&mut self.inner, cx))?;
        Poll::Ready(Ok(Stream { inner, room: self.room.clone() }))
    }

    fn opener(&self) -> Opener {
        let inner = quic::Connection::<B>::opener(&self.inner);
        Opener { inner, room: self.room.clone() }
    }
}

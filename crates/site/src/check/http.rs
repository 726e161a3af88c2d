//! An HTTP/1.1 request of a service.

use std::net::SocketAddr;

use http_body_util::Empty;
use hyper::Request;
use hyper::body::Bytes;
use hyper::client::conn::http1;
use hyper::header::{CONNECTION, HOST, USER_AGENT};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;

use super::Failure;

/// Judges the head of the answer; the body is not read.
pub(super) async fn check(
    target: SocketAddr,
    path: &str,
    host: Option<&str>,
    want: u16,
) -> Result<(), Failure> {
    let target_host = target.to_string();
    let request = Request::get(path)
        .header(HOST, host.unwrap_or(&target_host))
        .header(USER_AGENT, "anycast-check")
        .header(CONNECTION, "close")
        .body(Empty::<Bytes>::new())
        .map_err(|error| Failure::Network(format!("cannot ask for {path}: {error}")))?;

    let stream = TcpStream::connect(target).await?;
    let (mut sender, connection) =
        http1::handshake(TokioIo::new(stream)).await.map_err(|error| failure(&error))?;
    let answered = sender.send_request(request);
    // Both are polled here rather than in tasks: dropping this future drops the connection.
    tokio::pin!(connection);
    tokio::pin!(answered);
    let response = tokio::select! {
        biased;
        response = &mut answered => response,
        _ = &mut connection => answered.await,
    };
    let got = response.map_err(|error| failure(&error))?.status().as_u16();
    if got == want { Ok(()) } else { Err(Failure::Status { got, want }) }
}

fn failure(error: &hyper::Error) -> Failure {
    use std::error::Error;
    if error.is_incomplete_message() || error.is_canceled() || error.is_closed() {
        return Failure::Closed;
    }
    if error.is_parse() {
        return Failure::NotHttp(error.to_string());
    }
    match error.source().and_then(|source| source.downcast_ref::<std::io::Error>()) {
        Some(source) => std::io::Error::from(source.kind()).into(),
        None => Failure::Network(error.to_string()),
    }
}

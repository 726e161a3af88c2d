//! An HTTP/1.1 request of a service, over TLS if asked for.

use std::net::SocketAddr;
use std::ops::RangeInclusive;

use anycast_fleet::check::{Body, Method};
use http_body_util::{BodyExt, Empty};
use hyper::body::{Bytes, Incoming};
use hyper::client::conn::http1;
use hyper::header::{CONNECTION, HOST, USER_AGENT};
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;

use super::tls::Tls;
use super::{Failure, udp};

/// How much of a body is looked at.
const LONGEST_BODY: usize = 1 << 20;

/// What is asked, and which answer passes.
#[derive(Debug)]
pub struct Target {
    /// The request's method.
    pub method: Method,
    /// The request target; starts with `/`.
    pub path: String,
    /// The Host header; `None`: the target.
    pub host: Option<String>,
    /// The statuses that pass.
    pub statuses: Vec<RangeInclusive<u16>>,
    /// A header that the answer must have: its name, and what its value must contain.
    pub header: Option<(String, String)>,
    /// What the body must contain, in its first MiB; without, it is not read.
    pub body: Option<Body>,
    /// `None`: without TLS.
    pub tls: Option<Tls>,
}

pub(super) async fn check(target: SocketAddr, asked: &Target) -> Result<(), Failure> {
    let stream = TcpStream::connect(target).await?;
    match &asked.tls {
        None => talk(stream, target, asked).await,
        Some(tls) => talk(tls.connect(stream, target.ip()).await?, target, asked).await,
    }
}

async fn talk<S>(stream: S, target: SocketAddr, asked: &Target) -> Result<(), Failure>
where
    S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    let request = request(target, asked)?;
    let (mut sender, connection) =
        http1::handshake(TokioIo::new(stream)).await.map_err(|error| failure(&error))?;
    let answered = async {
        let response = sender.send_request(request).await.map_err(|error| failure(&error))?;
        judge_head(&response, asked)?;
        match &asked.body {
            Some(want) => judge_body(&read(response.into_body()).await?, want),
            None => Ok(()),
        }
    };
    // Both are polled here rather than in tasks: dropping this future drops the connection.
    tokio::pin!(connection);
    tokio::pin!(answered);
    tokio::select! {
        biased;
        outcome = &mut answered => outcome,
        _ = &mut connection => answered.await,
    }
}

fn request(target: SocketAddr, asked: &Target) -> Result<Request<Empty<Bytes>>, Failure> {
    let method = match asked.method {
        Method::Get => hyper::Method::GET,
        Method::Head => hyper::Method::HEAD,
        Method::Options => hyper::Method::OPTIONS,
    };
    let target_host = target.to_string();
    Request::builder()
        .method(method)
        .uri(&asked.path)
        .header(HOST, asked.host.as_deref().unwrap_or(&target_host))
        .header(USER_AGENT, "anycast-check")
        .header(CONNECTION, "close")
        .body(Empty::new())
        .map_err(|error| Failure::Network(format!("cannot ask for {}: {error}", asked.path)))
}

fn judge_head(response: &Response<Incoming>, asked: &Target) -> Result<(), Failure> {
    let got = response.status().as_u16();
    if !asked.statuses.iter().any(|range| range.contains(&got)) {
        return Err(Failure::Status { got, want: asked.statuses.clone() });
    }
    let Some((name, content)) = &asked.header else { return Ok(()) };
    let values: Vec<_> = response.headers().get_all(name).iter().collect();
    if values.is_empty() {
        return Err(Failure::Answer(format!("no header {name}")));
    }
    if values.iter().any(|value| udp::contains(value.as_bytes(), content.as_bytes())) {
        return Ok(());
    }
    let values = values.iter().map(|value| String::from_utf8_lossy(value.as_bytes()));
    let got = values.collect::<Vec<_>>().join(", ");
    Err(Failure::Answer(format!("header {name} is '{got}', expected '{content}'")))
}

/// The beginning of the body.
async fn read(mut body: Incoming) -> Result<Vec<u8>, Failure> {
    let mut octets = Vec::new();
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|error| failure(&error))?;
        if let Some(data) = frame.data_ref() {
            let room = LONGEST_BODY - octets.len();
            octets.extend_from_slice(&data[..data.len().min(room)]);
        }
        if octets.len() == LONGEST_BODY {
            break;
        }
    }
    Ok(octets)
}

fn judge_body(body: &[u8], want: &Body) -> Result<(), Failure> {
    let len = body.len();
    match want {
        Body::Text(text) if !udp::contains(body, text.as_bytes()) => {
            Err(Failure::Answer(format!("'{text}' is not in the body ({len} octets)")))
        }
        Body::Pattern(pattern) if !pattern.is_match(body) => {
            Err(Failure::Answer(format!("nothing in the body ({len} octets) matches {pattern}")))
        }
        Body::Text(_) | Body::Pattern(_) => Ok(()),
    }
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

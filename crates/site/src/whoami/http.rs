//! HTTP/1.1, and the answers of HTTP/3 too: `GET /` tells the site as JSON and in a header.

use std::convert::Infallible;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use anycast_dns::whoami::Identity;
use http_body_util::Full;
use hyper::body::Bytes;
use hyper::header::{ALLOW, CACHE_CONTROL, CONTENT_TYPE, HeaderName, HeaderValue, SERVER};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use serde::Serialize;
use tokio::net::TcpStream;

/// Names the site in every answer, for those who look at headers only.
const SITE: HeaderName = HeaderName::from_static("x-anycast-site");

/// A request head longer than this is refused; browsers send a tenth of it.
pub(super) const LONGEST_HEAD: usize = 16 * 1024;

/// The answer of `GET /`.
#[derive(Serialize)]
struct Whoami<'a> {
    site: &'a str,
    fleet: &'a str,
    /// The address that the client reached.
    address: IpAddr,
    /// The address that the client came from.
    client: IpAddr,
    version: &'a str,
}

/// Serves one connection until the client goes or falls silent.
pub(super) async fn serve(
    stream: TcpStream,
    client: SocketAddr,
    identity: Arc<Identity>,
    idle: Duration,
) {
    let Ok(local) = stream.local_addr() else { return };
    let _ = stream.set_nodelay(true);
    let (address, client) = (local.ip().to_canonical(), client.ip().to_canonical());
    let service = service_fn(|request| {
        let response = respond(&request, &identity, address, client).map(Full::new);
        async move { Ok::<_, Infallible>(response) }
    });
    // An error is a client that broke off or spoke no HTTP; hyper has told it so.
    let _ = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(idle)
        .max_header_size(LONGEST_HEAD)
        .serve_connection(TokioIo::new(stream), service)
        .await;
}

pub(super) fn respond<B>(
    request: &Request<B>,
    identity: &Identity,
    address: IpAddr,
    client: IpAddr,
) -> Response<Bytes> {
    const TEXT: HeaderValue = HeaderValue::from_static("text/plain; charset=utf-8");
    const JSON: HeaderValue = HeaderValue::from_static("application/json");
    let get = matches!(*request.method(), Method::GET | Method::HEAD);
    let (status, kind, body) = match request.uri().path() {
        "/" if get => {
            let Identity { site, fleet, version } = identity;
            let whoami = Whoami { site, fleet, address, client, version };
            let mut body = serde_json::to_string(&whoami).expect("strings and addresses are JSON");
            body.push('\n');
            (StatusCode::OK, JSON, body)
        }
        "/" => (StatusCode::METHOD_NOT_ALLOWED, TEXT, "only GET is served here\n".to_owned()),
        _ => (StatusCode::NOT_FOUND, TEXT, "only / is served here\n".to_owned()),
    };
    let mut response = Response::new(Bytes::from(body));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, kind);
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(SERVER, HeaderValue::from_static("anycast"));
    if let Ok(site) = HeaderValue::from_str(&identity.site) {
        headers.insert(SITE, site);
    }
    if status == StatusCode::METHOD_NOT_ALLOWED {
        headers.insert(ALLOW, HeaderValue::from_static("GET, HEAD"));
    }
    response
}

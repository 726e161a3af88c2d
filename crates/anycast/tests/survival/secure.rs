//! TLS, and HTTP/1.1 and HTTP/2 over it: the same servers at every site.

use std::convert::Infallible;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anycast_lab::netns::NetNs;
use futures_util::future::join_all;
use http_body_util::{BodyExt, Full};
use hyper::body::{Bytes, Incoming};
use hyper::client::conn::{http1, http2};
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, RootCertStore, ServerConfig};
use tokio::net::TcpStream;
use tokio_rustls::client::TlsStream;
use tokio_rustls::{TlsAcceptor, TlsConnector};

use crate::flows::{connect, in_time, listen, octets, serve_one};

/// The ports of what is served: streams, HTTP/1.1, HTTP/2.
pub(crate) const TLS_PORT: u16 = 49_443;
pub(crate) const HTTP1_PORT: u16 = 49_444;
pub(crate) const HTTP2_PORT: u16 = 49_445;
pub(crate) const NAME: &str = "anycast.example";
/// Requests under way at once on a connection of HTTP/2.
const STREAMS: u64 = 4;

/// One certificate, which all sites have, and a client that trusts it.
pub(crate) struct Identity {
    pub(crate) certificate: CertificateDer<'static>,
    key: Vec<u8>,
    pem: [String; 2],
}

impl Identity {
    pub(crate) fn new() -> Self {
        let made = rcgen::generate_simple_self_signed([NAME.to_owned()]).expect("a certificate");
        let pem = [made.cert.pem(), made.signing_key.serialize_pem()];
        Self { certificate: made.cert.der().clone(), key: made.signing_key.serialize_der(), pem }
    }

    /// Where certificate and key are, once they are written.
    pub(crate) fn files(folder: &Path) -> (PathBuf, PathBuf) {
        (folder.join("whoami.pem"), folder.join("whoami.key"))
    }

    /// Writes both as files in PEM.
    pub(crate) fn write(&self, folder: &Path) {
        let (certificate, key) = Self::files(folder);
        std::fs::write(certificate, &self.pem[0]).expect("a certificate");
        std::fs::write(key, &self.pem[1]).expect("a key");
    }

    pub(crate) fn key(&self) -> PrivateKeyDer<'static> {
        PrivateKeyDer::Pkcs8(self.key.clone().into())
    }

    pub(crate) fn roots(&self) -> RootCertStore {
        let mut roots = RootCertStore::empty();
        roots.add(self.certificate.clone()).expect("a certificate");
        roots
    }

    fn acceptor(&self, alpn: &[u8]) -> TlsAcceptor {
        let chain = vec![self.certificate.clone()];
        let config = ServerConfig::builder().with_no_client_auth();
        let mut config = config.with_single_cert(chain, self.key()).expect("they fit");
        config.alpn_protocols = vec![alpn.to_vec()];
        TlsAcceptor::from(Arc::new(config))
    }

    /// Serves all three at one address of a site.
    pub(crate) fn serve(&self, site: &NetNs, address: &str) {
        let acceptor = self.acceptor(b"stream");
        listen(site, address, TLS_PORT, None, move |stream| {
            let acceptor = acceptor.clone();
            async move {
                let Ok(stream) = acceptor.accept(stream).await else { return };
                serve_one(stream).await.ok();
            }
        });
        let acceptor = self.acceptor(b"http/1.1");
        listen(site, address, HTTP1_PORT, None, move |stream| {
            let acceptor = acceptor.clone();
            async move {
                let Ok(stream) = acceptor.accept(stream).await else { return };
                let server = hyper::server::conn::http1::Builder::new();
                server.serve_connection(TokioIo::new(stream), service_fn(answer)).await.ok();
            }
        });
        let acceptor = self.acceptor(b"h2");
        listen(site, address, HTTP2_PORT, None, move |stream| {
            let acceptor = acceptor.clone();
            async move {
                let Ok(stream) = acceptor.accept(stream).await else { return };
                let server = hyper::server::conn::http2::Builder::new(TokioExecutor::new());
                server.serve_connection(TokioIo::new(stream), service_fn(answer)).await.ok();
            }
        });
    }

    /// A connection over TLS.
    pub(crate) async fn connect(
        &self,
        client: &NetNs,
        address: &str,
        port: u16,
    ) -> Result<TlsStream<TcpStream>, String> {
        let config = ClientConfig::builder().with_root_certificates(self.roots());
        let mut config = config.with_no_client_auth();
        let alpn: &[u8] = match port {
            TLS_PORT => b"stream",
            HTTP1_PORT => b"http/1.1",
            _ => b"h2",
        };
        config.alpn_protocols = vec![alpn.to_vec()];
        let stream = connect(client, address, port).await?;
        let name = ServerName::try_from(NAME).expect("a name");
        let connector = TlsConnector::from(Arc::new(config));
        in_time("TLS handshake", connector.connect(name, stream)).await
    }
}

/// As many octets as the path says.
async fn answer(request: Request<Incoming>) -> Result<Response<Full<Bytes>>, Infallible> {
    let count = request.uri().path().trim_start_matches('/').parse().unwrap_or(0);
    Ok(Response::new(Full::new(octets(0, count).into())))
}

/// Takes an answer, and checks that it is what was asked for.
async fn check(count: u64, response: Response<Incoming>) -> Result<(), String> {
    let body = response.into_body().collect();
    let body = tokio::time::timeout(crate::flows::PATIENCE, body).await;
    let body = body.map_err(|_| "HTTP: the answer does not end".to_owned())?;
    let body = body.map_err(|error| format!("HTTP: {error}"))?.to_bytes();
    let right = body == octets(0, usize::try_from(count).unwrap_or(0));
    right.then_some(()).ok_or_else(|| format!("HTTP: {} of {count} octets", body.len()))
}

fn request(count: u64) -> Request<Full<Bytes>> {
    let uri = format!("https://{NAME}/{count}");
    Request::builder().uri(uri).header("host", NAME).body(Full::default()).expect("a request")
}

/// How much the request with this number asks for: little and much by turns.
fn size_of(number: u64) -> u64 {
    [100, 40_000, 3_000][usize::try_from(number % 3).unwrap_or(0)]
}

#[expect(clippy::needless_pass_by_value, reason = "as map_err gives it")]
fn http(error: hyper::Error) -> String {
    format!("HTTP: {error}")
}

/// One request after the other on a connection of HTTP/1.1.
pub(crate) async fn keep_alive(stream: TlsStream<TcpStream>, time: Duration) -> Result<(), String> {
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.map_err(http)?;
    let driver = tokio::spawn(connection);
    let begin = Instant::now();
    for number in 0_u64.. {
        sender.ready().await.map_err(http)?;
        let count = size_of(number);
        let response = sender.send_request(request(count));
        let response = tokio::time::timeout(crate::flows::PATIENCE, response).await;
        check(count, response.map_err(|_| "HTTP/1.1: no answer")?.map_err(http)?).await?;
        if begin.elapsed() >= time {
            break;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    drop(sender);
    driver.await.map_err(|error| error.to_string())?.map_err(http)
}

/// Several requests at a time on one connection of HTTP/2.
pub(crate) async fn many_streams(
    stream: TlsStream<TcpStream>,
    time: Duration,
) -> Result<(), String> {
    let (sender, connection) =
        http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await.map_err(http)?;
    let driver = tokio::spawn(connection);
    let begin = Instant::now();
    for number in 0_u64.. {
        let asked = (0..STREAMS).map(|stream| {
            let mut sender = sender.clone();
            async move {
                let count = size_of(number + stream);
                sender.ready().await.map_err(http)?;
                let response = sender.send_request(request(count));
                let response = tokio::time::timeout(crate::flows::PATIENCE, response).await;
                check(count, response.map_err(|_| "HTTP/2: no answer")?.map_err(http)?).await
            }
        });
        join_all(asked).await.into_iter().collect::<Result<(), String>>()?;
        if begin.elapsed() >= time {
            break;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    drop(sender);
    driver.await.map_err(|error| error.to_string())?.map_err(http)
}

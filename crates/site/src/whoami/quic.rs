//! HTTP/3 over QUIC: the same answers as over HTTP/1.1.
//!
//! One endpoint serves all addresses. Its connection ids name the site if its connections are to be
//! kept there, and clients may be told the site's own addresses to go on at
//! (`preferred_address`, RFC 9000 §9.6); nothing begins there.
//!
//! | module | what it is |
//! |---|---|
//! | `ids` | connection ids |
//! | `paths` | one socket made of one for each address |
//! | `http3` | a connection's requests |
//! | `held` | what is kept of them |

use std::convert::Infallible;
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use anycast_dns::whoami::Identity;
use quinn::crypto::rustls::QuicServerConfig;
use quinn::{
    Endpoint, EndpointConfig, IdleTimeout, ServerConfig, TokioRuntime, TransportConfig, VarInt,
};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;
use tokio::time::{MissedTickBehavior, timeout};

use super::Limits;
use ids::Ids;
use paths::Paths;

mod held;
mod http3;
mod ids;
mod paths;

pub use ids::{Named, Orders};

/// HTTP/3's name in TLS (RFC 9114 §3.1).
const ALPN: &[u8] = b"h3";
/// The longest datagram that clients may send: it fits into a frame between sites (docs/affinity.md).
const LARGEST: u16 = 1400;
/// Connections at a time, with those that are closed and whose last packets are awaited (RFC 9000
/// §10.2). One takes a quarter of a MiB at most, whatever its client sends, so all take 32 MiB: up to
/// [`http3::HELD`], [`WINDOW`] and their bookkeeping, the answers that the client does not take, and
/// what TLS keeps.
pub(super) const CONNECTIONS: usize = 128;
/// Clients that wait to be let in.
const QUEUE: usize = 256;
/// Requests of one connection under way at once.
const REQUESTS: u32 = 8;
/// Streams that a client of HTTP/3 opens for itself (RFC 9114 §6.2): three, and one to grease.
const STREAMS: u32 = 4;
/// What may be under way in one stream, in octets, and in all of a connection.
const STREAM_WINDOW: u32 = 16 * 1024;
const WINDOW: u32 = 32 * 1024;
/// What may be kept for a client that is not yet let in, in octets, and for all of them.
const WAITING: u64 = 16 * 1024;
const ALL_WAITING: u64 = 1 << 20;
/// After so long a connection gets new ids in place of those that it has: once a key is exchanged, no
/// connection has an id under the old one for longer.
pub(super) const ID_LIFETIME: Duration = Duration::from_secs(300);
/// How often is looked whether certificate and key have changed, or can be used by now.
pub(super) const LOOK_AGAIN: Duration = Duration::from_secs(2);

/// What to serve over QUIC, beside where whoami answers anyway.
#[derive(Clone, Debug)]
pub struct Quic {
    /// The UDP port.
    pub port: u16,
    /// The certificate and those up to the root, in PEM.
    pub certificate: PathBuf,
    /// Its private key, in PEM.
    pub key: PathBuf,
    /// Addresses of this machine that clients are told to go on at: one of each family at most.
    pub preferred: Vec<IpAddr>,
    /// How connection ids are made; served is once this is there.
    pub orders: watch::Receiver<Option<Orders>>,
    /// Told whenever it begins to serve or turns out that it cannot.
    pub news: mpsc::UnboundedSender<News>,
}

/// What became of QUIC.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum News {
    /// It is served at these addresses; clients are told the others.
    Served {
        /// Where connections begin.
        addresses: Vec<SocketAddr>,
        /// Where they may go on.
        preferred: Vec<SocketAddr>,
    },
    /// It is not served as it should be, for this reason. The rest of whoami goes on.
    Unavailable(String),
}

/// Serves as soon as all that is needed is there, and goes by what changes.
pub(super) async fn keep(
    quic: Quic,
    addresses: Vec<IpAddr>,
    identity: Arc<Identity>,
    limits: Limits,
) -> Infallible {
    let ids = Ids::new(limits.id_lifetime);
    let mut look = tokio::time::interval(limits.look_again);
    look.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut orders = quic.orders.clone();
    let mut orders_come = true;
    let mut keeper = Keeper { quic, addresses, identity, limits, ids, serving: None, said: None };
    loop {
        tokio::select! {
            changed = orders.changed(), if orders_come => orders_come = changed.is_ok(),
            _ = look.tick() => {}
        }
        let Some(orders) = orders.borrow_and_update().clone() else { continue };
        keeper.ids.follow(&orders);
        if let Some(news) = keeper.look() {
            // Who wanted to hear it may be gone.
            let _ = keeper.quic.news.send(news);
        }
    }
}

struct Keeper {
    quic: Quic,
    addresses: Vec<IpAddr>,
    identity: Arc<Identity>,
    limits: Limits,
    ids: Ids,
    serving: Option<Serving>,
    said: Option<News>,
}

impl Keeper {
    /// Does what there is to do; what is new by that.
    fn look(&mut self) -> Option<News> {
        let stamps = self.quic.stamps();
        let well = matches!(self.said, Some(News::Served { .. }));
        let news = match &mut self.serving {
            Some(serving) if serving.accepting.is_finished() => {
                self.serving = None;
                News::Unavailable("it ended by itself; it is begun again".to_owned())
            }
            Some(serving) if well && serving.stamps == stamps => return None,
            Some(serving) => match self.quic.config(&serving.preferred, self.limits.idle) {
                Ok(config) => {
                    serving.endpoint.set_server_config(Some(config));
                    // Only now: what could not be read may become readable as it is.
                    serving.stamps = stamps;
                    serving.news()
                }
                Err(why) => News::Unavailable(format!("{why}; it goes on with what it had")),
            },
            None => match self.open(stamps) {
                Ok(opened) => self.serving.insert(opened).news(),
                Err(why) => News::Unavailable(why),
            },
        };
        let is_new = self.said.as_ref() != Some(&news) || matches!(news, News::Served { .. });
        is_new.then(|| self.said.insert(news).clone())
    }

    fn open(&self, stamps: Stamps) -> Result<Serving, String> {
        let (quic, idle) = (&self.quic, self.limits.idle);
        // What is wrong with the files is said before any socket is opened.
        quic.tls()?;
        let paths = Paths::bind(&self.addresses, &quic.preferred, quic.port)?;
        let (addresses, preferred) = (paths.addresses(false), paths.addresses(true));
        let config = quic.config(&preferred, idle)?;
        let mut endpoint = EndpointConfig::default();
        endpoint.max_udp_payload_size(LARGEST).expect("it is from 1200 to 65527");
        let ids = self.ids.clone();
        endpoint.cid_generator(move || Box::new(ids.clone()));
        let (paths, runtime) = (Arc::new(paths), Arc::new(TokioRuntime));
        let endpoint = Endpoint::new_with_abstract_socket(endpoint, Some(config), paths, runtime)
            .map_err(|error| format!("cannot serve QUIC: {error}"))?;
        let host = Host { identity: self.identity.clone(), preferred: preferred.clone(), idle };
        let accepting = accept(endpoint.clone(), Arc::new(host), self.limits.quic_connections);
        let accepting = tokio::spawn(accepting);
        Ok(Serving { endpoint, accepting, addresses, preferred, stamps })
    }
}

/// Who answers.
struct Host {
    identity: Arc<Identity>,
    preferred: Vec<SocketAddr>,
    /// How long a client may be silent.
    idle: Duration,
}

/// QUIC that is served.
struct Serving {
    endpoint: Endpoint,
    /// Ends if the endpoint does.
    accepting: JoinHandle<()>,
    addresses: Vec<SocketAddr>,
    preferred: Vec<SocketAddr>,
    /// Of the files that it goes by.
    stamps: Stamps,
}

impl Serving {
    fn news(&self) -> News {
        News::Served { addresses: self.addresses.clone(), preferred: self.preferred.clone() }
    }
}

/// When certificate and key were last changed.
type Stamps = [Option<SystemTime>; 2];

impl Quic {
    fn stamps(&self) -> Stamps {
        let stamp = |path: &Path| std::fs::metadata(path).and_then(|it| it.modified()).ok();
        [stamp(&self.certificate), stamp(&self.key)]
    }

    /// How connections are taken that begin from now on.
    fn config(&self, preferred: &[SocketAddr], idle: Duration) -> Result<ServerConfig, String> {
        let mut config = ServerConfig::with_crypto(self.tls()?);
        config
            .transport_config(Arc::new(transport(idle)))
            .max_incoming(QUEUE)
            .incoming_buffer_size(WAITING)
            .incoming_buffer_size_total(ALL_WAITING);
        for address in preferred {
            match *address {
                SocketAddr::V4(v4) => config.preferred_address_v4(Some(v4)),
                SocketAddr::V6(v6) => config.preferred_address_v6(Some(v6)),
            };
        }
        Ok(config)
    }

    fn tls(&self) -> Result<Arc<QuicServerConfig>, String> {
        let (shown, of_key) = (self.certificate.display(), self.key.display());
        let cannot = |error| format!("cannot read the certificate {shown}: {error}");
        let chain = CertificateDer::pem_file_iter(&self.certificate).map_err(cannot)?;
        let chain = chain.collect::<Result<Vec<_>, _>>().map_err(cannot)?;
        if chain.is_empty() {
            return Err(format!("{shown} holds no certificate in PEM"));
        }
        let key = PrivateKeyDer::from_pem_file(&self.key)
            .map_err(|error| format!("cannot read the key {of_key}: {error}"))?;
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let mut config = rustls::ServerConfig::builder_with_provider(provider)
            .with_protocol_versions(&[&rustls::version::TLS13])
            .map_err(|error| error.to_string())?
            .with_no_client_auth()
            .with_single_cert(chain, key)
            .map_err(|error| format!("cannot use {shown} with {of_key}: {error}"))?;
        config.alpn_protocols = vec![ALPN.to_vec()];
        QuicServerConfig::try_from(config).map(Arc::new).map_err(|error| error.to_string())
    }
}

/// Room for requests and their answers, which are short. It bounds what is under way; what has come is
/// bounded by [`held`].
fn transport(idle: Duration) -> TransportConfig {
    let mut transport = TransportConfig::default();
    let idle = IdleTimeout::try_from(idle).expect("it is far below 2^62 ms");
    transport
        .max_idle_timeout(Some(idle))
        .max_concurrent_bidi_streams(VarInt::from_u32(REQUESTS))
        .max_concurrent_uni_streams(VarInt::from_u32(STREAMS))
        .stream_receive_window(VarInt::from_u32(STREAM_WINDOW))
        .receive_window(VarInt::from_u32(WINDOW))
        .send_window(u64::from(WINDOW))
        .datagram_receive_buffer_size(None)
        // Nothing is long enough for it to matter.
        .mtu_discovery_config(None);
    transport
}

/// Lets connections in while there is room. From half of it on a client has to prove first that it has
/// its address (RFC 9000 §8.1.2): those who feign one take no more than the other half.
async fn accept(endpoint: Endpoint, host: Arc<Host>, connections: usize) {
    while let Some(incoming) = endpoint.accept().await {
        if paths::is_preferred(incoming.remote_address()) {
            incoming.refuse();
            continue;
        }
        let open = endpoint.open_connections();
        if open >= connections {
            incoming.refuse();
            continue;
        }
        if open * 2 > connections && !incoming.remote_address_validated() && incoming.may_retry() {
            // It may just have given up.
            let _ = incoming.retry();
            continue;
        }
        // From here on it counts. An error is a client that spoke no QUIC; quinn has told it so.
        let Ok(connecting) = incoming.accept() else { continue };
        let host = host.clone();
        tokio::spawn(async move {
            if let Ok(Ok(connection)) = timeout(host.idle, connecting).await {
                http3::serve(connection, host).await;
            }
        });
    }
}

#[cfg(test)]
mod tests;

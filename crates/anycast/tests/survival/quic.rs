//! QUIC (quinn), with connection ids that name their site.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anycast_affinity::quic_lb::{self, Owner};
use anycast_affinity::{Key, SiteId};
use anycast_lab::netns::NetNs;
use quinn::crypto::rustls::{QuicClientConfig, QuicServerConfig};
use quinn::{
    ClientConfig, ConnectionId, ConnectionIdGenerator, Endpoint, EndpointConfig, IdleTimeout,
    ServerConfig, TokioRuntime, TransportConfig,
};

use crate::flows::{PATIENCE, serve_one};
use crate::secure::{Identity, NAME};

/// The port of the services' QUIC, as the fleet file has it when it says nothing.
const PORT: u16 = 443;
/// What fits into a frame everywhere (docs/affinity.md, QUIC).
const LARGEST: u16 = 1400;
/// The test's own protocol: streams.
pub(crate) const ALPN: &[u8] = b"stream";

/// Makes ids for one site's endpoint.
struct Ids {
    owner: Owner,
    made: u64,
}

impl ConnectionIdGenerator for Ids {
    fn generate_cid(&mut self) -> ConnectionId {
        // The draft lets nonces be counted (section 5.4).
        self.made += 1;
        let mut nonce = [0; quic_lb::NONCE_LENGTH];
        nonce[..8].copy_from_slice(&self.made.to_be_bytes());
        ConnectionId::new(&self.owner.connection_id(&nonce))
    }

    fn cid_len(&self) -> usize {
        quic_lb::LENGTH
    }

    fn cid_lifetime(&self) -> Option<Duration> {
        None
    }
}

fn transport() -> Arc<TransportConfig> {
    let mut transport = TransportConfig::default();
    let idle = IdleTimeout::try_from(PATIENCE).expect("it fits");
    transport.max_idle_timeout(Some(idle)).mtu_discovery_config(None);
    Arc::new(transport)
}

fn socket(node: &NetNs, address: SocketAddr) -> std::net::UdpSocket {
    node.run(|| std::net::UdpSocket::bind(address)).expect("a socket")
}

/// Serves streams at a site whose ids are made with the key of the test's fleet.
pub(crate) fn serve(identity: &Identity, site: &NetNs, address: &str, id: u8, secret: [u8; 32]) {
    let key = Key { epoch: 0, secret };
    let mut endpoint = EndpointConfig::default();
    endpoint.max_udp_payload_size(LARGEST).expect("it is large enough");
    endpoint.cid_generator(move || {
        let me = SiteId::new(id).expect("an id");
        Box::new(Ids { owner: Owner::new(me, &key, 1), made: 0 })
    });
    let tls = rustls::ServerConfig::builder().with_no_client_auth();
    let chain = vec![identity.certificate.clone()];
    let mut tls = tls.with_single_cert(chain, identity.key()).expect("they fit");
    tls.alpn_protocols = vec![ALPN.to_vec()];
    let tls = QuicServerConfig::try_from(tls).expect("TLS 1.3");
    let mut config = ServerConfig::with_crypto(Arc::new(tls));
    config.transport_config(transport());
    let address = SocketAddr::new(address.parse().expect("an address"), PORT);
    let socket = socket(site, address);
    let endpoint =
        Endpoint::new(endpoint, Some(config), socket, Arc::new(TokioRuntime)).expect("an endpoint");
    tokio::spawn(async move {
        while let Some(incoming) = endpoint.accept().await {
            tokio::spawn(async move {
                let Ok(connection) = incoming.await else { return };
                while let Ok((send, receive)) = connection.accept_bi().await {
                    tokio::spawn(serve_one(tokio::io::join(receive, send)));
                }
            });
        }
    });
}

/// A connection from the client.
pub(crate) async fn connect(
    identity: &Identity,
    client: &NetNs,
    address: &str,
    alpn: &[u8],
) -> Result<quinn::Connection, String> {
    let tls = rustls::ClientConfig::builder().with_root_certificates(identity.roots());
    let mut tls = tls.with_no_client_auth();
    tls.alpn_protocols = vec![alpn.to_vec()];
    let tls = QuicClientConfig::try_from(tls).expect("TLS 1.3");
    let mut config = ClientConfig::new(Arc::new(tls));
    config.transport_config(transport());
    let target = SocketAddr::new(address.parse().expect("an address"), PORT);
    let any = if target.is_ipv4() { "0.0.0.0:0" } else { "[::]:0" };
    let socket = socket(client, any.parse().expect("an address"));
    let endpoint = EndpointConfig::default();
    let endpoint =
        Endpoint::new(endpoint, None, socket, Arc::new(TokioRuntime)).expect("an endpoint");
    let connecting = endpoint.connect_with(config, target, NAME);
    connecting.expect("it begins").await.map_err(|error| format!("QUIC: {error}"))
}

//! The API over TCP: what the control socket answers, with TLS, for known callers alone.
//!
//! A caller shows a token or a certificate; each has a role. Certificates, keys and tokens are
//! files, which are read again when they change: whoever renews them need not restart anything.

use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use anycast_fleet::api::{Api, ApiClient, Role};
use axum::Router;
use axum::extract::connect_info::{ConnectInfo, Connected};
use axum::extract::{Request, State};
use axum::http::{StatusCode, header};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use axum::serve::{IncomingStream, Listener};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::server::{ParsedCertificate, WebPkiClientVerifier};
use rustls::{RootCertStore, ServerConfig};
use subtle::ConstantTimeEq;
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio::task::AbortHandle;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use crate::control::Caller;
use crate::guard::{Guarded, GuardedStream};

/// How long TLS may take to come about.
const HANDSHAKE: Duration = Duration::from_secs(10);
/// How long a connection may last: one who follows the events stays for long.
const LIFETIME: Duration = Duration::from_secs(86_400);
/// How long one who is not known waits for the answer: guessing takes its time.
const UNKNOWN: Duration = Duration::from_secs(1);
/// A shorter secret could be guessed.
const SHORTEST_TOKEN: usize = 16;

/// An open API.
pub(crate) struct Doors {
    listener: TcpListener,
    keeper: Arc<Keeper>,
}

/// Opens the socket and reads the files.
///
/// # Errors
/// In words: what cannot be opened, read or used.
pub(crate) async fn open(api: &Api) -> Result<Doors, String> {
    let stamps = stamps(api);
    let loaded = Arc::new(load(api)?);
    let listener = TcpListener::bind(api.listen).await.map_err(|error| error.to_string())?;
    let held = Held { api: api.clone(), stamps, loaded };
    Ok(Doors { listener, keeper: Arc::new(Keeper(Mutex::new(held))) })
}

/// The API of a running site, which may come, change and go.
pub(crate) struct Gate {
    router: Router,
    serving: Option<(Arc<Keeper>, AbortHandle)>,
}

/// What a changed file asks for, ready to be done.
pub(crate) enum Plan {
    /// All stays.
    Keep,
    /// There is to be none.
    Close,
    /// It listens where it did, and lets in others.
    Exchange(Box<Held>),
    /// It listens somewhere else.
    Open(Doors),
}

impl Gate {
    /// None yet, with what it would answer.
    pub(crate) const fn new(router: Router) -> Self {
        Self { router, serving: None }
    }

    /// What there is to do so that the API is as wanted.
    ///
    /// # Errors
    /// In words: it cannot be so.
    pub(crate) async fn plan(&self, wanted: Option<&Api>) -> Result<Plan, String> {
        let is = self.serving.as_ref().map(|(keeper, _)| keeper.held().api.clone());
        Ok(match wanted {
            None => Plan::Close,
            Some(api) if is.as_ref() == Some(api) => Plan::Keep,
            Some(api) if is.is_some_and(|is| is.listen == api.listen) => {
                let stamps = stamps(api);
                let loaded = Arc::new(load(api)?);
                Plan::Exchange(Box::new(Held { api: api.clone(), stamps, loaded }))
            }
            Some(api) => Plan::Open(
                open(api)
                    .await
                    .map_err(|words| format!("cannot open the API on {}: {words}", api.listen))?,
            ),
        })
    }

    /// Does it.
    pub(crate) fn carry_out(&mut self, plan: Plan) {
        match plan {
            Plan::Keep => {}
            Plan::Close => self.close(),
            Plan::Exchange(new) => {
                if let Some((keeper, _)) = &self.serving {
                    *keeper.held() = *new;
                }
            }
            Plan::Open(doors) => {
                self.close();
                let keeper = Arc::clone(&doors.keeper);
                let task = tokio::spawn(serve(doors, self.router.clone()));
                self.serving = Some((keeper, task.abort_handle()));
            }
        }
    }

    pub(crate) fn close(&mut self) {
        if let Some((_, task)) = self.serving.take() {
            task.abort();
        }
    }
}

/// Answers until the task is dropped.
async fn serve(doors: Doors, router: Router) -> io::Result<()> {
    let Doors { listener, keeper } = doors;
    let router = router.layer(from_fn_with_state(Arc::clone(&keeper), authorize));
    let listener = TlsListener::new(listener, keeper)?;
    axum::serve(listener, router.into_make_service_with_connect_info::<Peer>()).await
}

/// What was read from the files.
struct Loaded {
    acceptor: TlsAcceptor,
    /// Name, role and secret.
    tokens: Vec<(String, Role, Vec<u8>)>,
}

/// Knows who may come in.
struct Keeper(Mutex<Held>);

/// What the keeper goes by.
pub(crate) struct Held {
    api: Api,
    /// When the files were last changed.
    stamps: Vec<Option<SystemTime>>,
    loaded: Arc<Loaded>,
}

impl Keeper {
    fn held(&self) -> MutexGuard<'_, Held> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What the files say now; if they have become unusable, what they said before.
    fn loaded(&self) -> Arc<Loaded> {
        let mut held = self.held();
        let now = stamps(&held.api);
        if held.stamps != now {
            match load(&held.api) {
                Ok(loaded) => {
                    tracing::info!("the API's certificates and tokens were read again");
                    held.loaded = Arc::new(loaded);
                }
                Err(words) => tracing::warn!("the API goes on with what it has: {words}"),
            }
            held.stamps = now;
        }
        Arc::clone(&held.loaded)
    }

    /// Whose token this is.
    fn bearer(&self, secret: &[u8]) -> Option<(String, Role)> {
        let loaded = self.loaded();
        let mut found = None;
        // All are compared, so that the time says nothing.
        for (name, role, token) in &loaded.tokens {
            if bool::from(token.as_slice().ct_eq(secret)) {
                found = Some((name.clone(), *role));
            }
        }
        found
    }
}

fn files(api: &Api) -> impl Iterator<Item = &PathBuf> {
    let tokens = api.tokens.iter().map(|token| &token.file);
    [&api.certificate, &api.key].into_iter().chain(&api.client_ca).chain(tokens)
}

fn stamps(api: &Api) -> Vec<Option<SystemTime>> {
    files(api).map(|file| std::fs::metadata(file).and_then(|it| it.modified()).ok()).collect()
}

fn load(api: &Api) -> Result<Loaded, String> {
    let certificates = certificates(&api.certificate)?;
    let key = PrivateKeyDer::from_pem_file(&api.key)
        .map_err(|error| format!("cannot read the key {}: {error}", api.key.display()))?;
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ServerConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .map_err(|error| error.to_string())?;
    let config = match &api.client_ca {
        Some(path) => {
            let verifier =
                WebPkiClientVerifier::builder_with_provider(Arc::new(roots(path)?), provider);
            // Who shows none may still have a token.
            let verifier = verifier.allow_unauthenticated().build();
            let unusable = |error| format!("cannot use {}: {error}", path.display());
            config.with_client_cert_verifier(verifier.map_err(unusable)?)
        }
        None => config.with_no_client_auth(),
    };
    let mut config = config
        .with_single_cert(certificates, key)
        .map_err(|error| format!("cannot use {}: {error}", api.certificate.display()))?;
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    let token = |token: &anycast_fleet::api::ApiToken| {
        let secret =
            read_token(&token.file).map_err(|words| format!("token {}: {words}", token.name))?;
        Ok((token.name.clone(), token.role, secret))
    };
    let tokens = api.tokens.iter().map(token).collect::<Result<_, String>>()?;
    Ok(Loaded { acceptor: TlsAcceptor::from(Arc::new(config)), tokens })
}

/// The certificates of a PEM file.
fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, String> {
    let cannot = |error| format!("cannot read the certificate {}: {error}", path.display());
    let found = CertificateDer::pem_file_iter(path).map_err(cannot)?;
    let found = found.collect::<Result<Vec<_>, _>>().map_err(cannot)?;
    if found.is_empty() {
        return Err(format!("{} holds no certificate in PEM", path.display()));
    }
    Ok(found)
}

/// The authorities of a PEM file.
pub(crate) fn roots(path: &Path) -> Result<RootCertStore, String> {
    let mut roots = RootCertStore::empty();
    for certificate in certificates(path)? {
        let unusable = |error| format!("cannot use {}: {error}", path.display());
        roots.add(certificate).map_err(unusable)?;
    }
    Ok(roots)
}

/// The secret in a file, without white space around it.
///
/// # Errors
/// In words: it cannot be read, or is too short.
pub(crate) fn read_token(path: &Path) -> Result<Vec<u8>, String> {
    let octets =
        std::fs::read(path).map_err(|error| format!("cannot read {}: {error}", path.display()))?;
    let secret = octets.trim_ascii();
    if secret.len() < SHORTEST_TOKEN {
        let words = format!("{} must hold at least {SHORTEST_TOKEN} octets", path.display());
        return Err(words);
    }
    Ok(secret.to_vec())
}

/// One who is connected.
#[derive(Clone, Debug)]
struct Peer {
    from: SocketAddr,
    /// Shown by a certificate: the name and the role.
    certificate: Option<(String, Role)>,
}

impl Connected<IncomingStream<'_, TlsListener>> for Peer {
    fn connect_info(stream: IncomingStream<'_, TlsListener>) -> Self {
        stream.remote_addr().clone()
    }
}

/// Lets in those who are known, as far as their role goes.
async fn authorize(
    State(keeper): State<Arc<Keeper>>,
    ConnectInfo(peer): ConnectInfo<Peer>,
    mut request: Request,
    next: Next,
) -> Response {
    let known = match request.headers().get(header::AUTHORIZATION) {
        Some(value) => {
            let secret = value.as_bytes().strip_prefix(b"Bearer ");
            secret.and_then(|secret| keeper.bearer(secret.trim_ascii()))
        }
        None => peer.certificate,
    };
    let Some((name, role)) = known else {
        tracing::warn!("API: refused {}, who is not known", peer.from);
        tokio::time::sleep(UNKNOWN).await;
        let words = "who are you? Show a token, or a certificate that the fleet file names";
        let ask = [(header::WWW_AUTHENTICATE, "Bearer")];
        return (StatusCode::UNAUTHORIZED, ask, words).into_response();
    };
    if role != Role::Operate && !request.method().is_safe() {
        tracing::warn!("API: refused an order of {name} from {}, who may only read", peer.from);
        let words = format!("{name} may read, but not operate");
        return (StatusCode::FORBIDDEN, words).into_response();
    }
    request.extensions_mut().insert(Caller::named(&name));
    next.run(request).await
}

/// Accepts connections once TLS has come about; one that is slow in it holds up no other.
struct TlsListener {
    address: SocketAddr,
    accepted: mpsc::Receiver<(TlsStream<GuardedStream>, Peer)>,
    task: tokio::task::JoinHandle<()>,
}

impl TlsListener {
    fn new(listener: TcpListener, keeper: Arc<Keeper>) -> io::Result<Self> {
        let address = listener.local_addr()?;
        let (sender, accepted) = mpsc::channel(1);
        let task = tokio::spawn(async move {
            let mut listener = Guarded::new(listener).with_lifetime(LIFETIME);
            loop {
                let (stream, from) = listener.accept().await;
                tokio::spawn(shake_hands(stream, from, Arc::clone(&keeper), sender.clone()));
            }
        });
        Ok(Self { address, accepted, task })
    }
}

impl Drop for TlsListener {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn shake_hands(
    stream: GuardedStream,
    from: SocketAddr,
    keeper: Arc<Keeper>,
    sender: mpsc::Sender<(TlsStream<GuardedStream>, Peer)>,
) {
    let acceptor = keeper.loaded().acceptor.clone();
    match tokio::time::timeout(HANDSHAKE, acceptor.accept(stream)).await {
        Ok(Ok(stream)) => {
            let shown = stream.get_ref().1.peer_certificates();
            let shown = shown.and_then(<[_]>::first);
            let certificate = shown.and_then(|it| name_of(it, &keeper.held().api.clients));
            // Nobody listens any more: the daemon ends.
            let _ = sender.send((stream, Peer { from, certificate })).await;
        }
        Ok(Err(error)) => tracing::debug!("API: no TLS with {from}: {error}"),
        Err(_) => tracing::debug!("API: no TLS with {from} within {HANDSHAKE:?}"),
    }
}

/// Which client a certificate is for; the authority has vouched for it already.
fn name_of(certificate: &CertificateDer<'_>, clients: &[ApiClient]) -> Option<(String, Role)> {
    let parsed = ParsedCertificate::try_from(certificate).ok()?;
    let is_for = |client: &&ApiClient| {
        let name = ServerName::try_from(client.name.as_str());
        name.is_ok_and(|name| rustls::client::verify_server_name(&parsed, &name).is_ok())
    };
    let client = clients.iter().find(is_for)?;
    Some((client.name.clone(), client.role))
}

impl Listener for TlsListener {
    type Io = TlsStream<GuardedStream>;
    type Addr = Peer;

    async fn accept(&mut self) -> (Self::Io, Peer) {
        match self.accepted.recv().await {
            Some(accepted) => accepted,
            None => std::future::pending().await,
        }
    }

    fn local_addr(&self) -> io::Result<Peer> {
        Ok(Peer { from: self.address, certificate: None })
    }
}

#[cfg(test)]
mod tests;

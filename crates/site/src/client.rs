//! Asks a running site over its control socket, or over TCP with TLS.

mod remote;

use std::path::PathBuf;
use std::time::Duration;

use http_body_util::{BodyExt, Full};
use hyper::body::{Bytes, Incoming};
use hyper::http::request;
use hyper::{Method, Request, Response};
use hyper_util::rt::TokioIo;
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::UnixStream;

use crate::control::socket_folder;
pub use remote::{Credentials, Remote};

/// How long a site may take to answer; a full table takes a while.
const PATIENCE: Duration = Duration::from_secs(10);

/// A question to a site had no good answer.
#[derive(Debug, thiserror::Error)]
#[expect(missing_docs, reason = "the messages say all")]
pub enum ClientError {
    #[error("cannot reach a site at {path}: {source} (is `anycast run` running, as this user?)")]
    Unreachable { path: PathBuf, source: std::io::Error },
    #[error("cannot reach a site at {place}: {words}")]
    Away { place: String, words: String },
    #[error("{0}")]
    Unusable(String),
    #[error(
        "no site runs here: no control socket in {0} (start one with `anycast run`, or name its socket with --socket)"
    )]
    NoSite(PathBuf),
    #[error("several sites run here: {0}; choose one with --site")]
    SeveralSites(String),
    #[error("the site at {place} does not answer within {patience:?}: is it stopped or frozen?")]
    Silent { place: String, patience: Duration },
    #[error("{0}")]
    Refused(String),
    #[error("the site's answer cannot be understood: {0} (is it of another version?)")]
    Garbled(String),
    #[error("the site's answer broke off: has its daemon ended?")]
    BrokenOff,
    #[error("cannot write the site's answer: {0}")]
    Unwritten(std::io::Error),
}

/// A running site.
#[derive(Clone, Debug)]
pub struct Client {
    place: Place,
    patience: Duration,
}

/// Where it is asked.
#[derive(Clone, Debug)]
enum Place {
    /// Its control socket.
    Socket(PathBuf),
    /// Its API over TCP.
    Remote(Box<Remote>),
}

impl std::fmt::Display for Place {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Socket(path) => write!(f, "{}", path.display()),
            Self::Remote(remote) => write!(f, "{}", remote.url()),
        }
    }
}

impl Client {
    /// The socket at `path`.
    #[must_use]
    pub fn new(path: PathBuf) -> Self {
        Self { place: Place::Socket(path), patience: PATIENCE }
    }

    /// A site's API over TCP.
    #[must_use]
    pub fn remote(remote: Remote) -> Self {
        Self { place: Place::Remote(Box::new(remote)), patience: PATIENCE }
    }

    /// Waits for answers for at most so long.
    #[must_use]
    pub fn with_patience(self, patience: Duration) -> Self {
        Self { patience, ..self }
    }

    /// The socket of the only site that runs on this machine.
    ///
    /// # Errors
    /// None runs, or several do.
    pub fn only() -> Result<Self, ClientError> {
        let folder = socket_folder();
        let mut sockets: Vec<PathBuf> = std::fs::read_dir(&folder)
            .map(|entries| entries.flatten().map(|entry| entry.path()).collect())
            .unwrap_or_default();
        sockets.retain(|path| path.extension().is_some_and(|extension| extension == "sock"));
        sockets.sort();
        match sockets.as_slice() {
            [] => Err(ClientError::NoSite(folder)),
            [path] => Ok(Self::new(path.clone())),
            several => {
                let names = several.iter().filter_map(|path| path.file_stem()?.to_str());
                Err(ClientError::SeveralSites(names.collect::<Vec<_>>().join(", ")))
            }
        }
    }

    /// The sockets of all sites that run on this machine.
    ///
    /// # Errors
    /// None runs.
    pub fn all() -> Result<Vec<Self>, ClientError> {
        match Self::only() {
            Ok(only) => Ok(vec![only]),
            Err(ClientError::SeveralSites(names)) => {
                let path = |name: &str| socket_folder().join(format!("{name}.sock"));
                Ok(names.split(", ").map(|name| Self::new(path(name))).collect())
            }
            Err(other) => Err(other),
        }
    }

    /// Gets `target` (a path with its query) as text.
    ///
    /// # Errors
    /// The site cannot be reached or refuses.
    pub async fn get_text(&self, target: &str) -> Result<String, ClientError> {
        self.request(Method::GET, target, Bytes::new()).await
    }

    /// Gets `target` (a path with its query) and reads its JSON.
    ///
    /// # Errors
    /// The site cannot be reached, refuses or answers something else.
    pub async fn get<T: DeserializeOwned>(&self, target: &str) -> Result<T, ClientError> {
        let text = self.get_text(target).await?;
        serde_json::from_str(&text).map_err(|error| ClientError::Garbled(error.to_string()))
    }

    /// Posts `order` as JSON.
    ///
    /// # Errors
    /// The site cannot be reached or refuses.
    pub async fn post(&self, target: &str, order: &impl Serialize) -> Result<(), ClientError> {
        let body =
            serde_json::to_vec(order).map_err(|error| ClientError::Garbled(error.to_string()))?;
        self.request(Method::POST, target, body.into()).await.map(|_| ())
    }

    /// Posts `order` as JSON; the answer's text.
    ///
    /// # Errors
    /// The site cannot be reached or refuses.
    pub async fn post_for_text(
        &self,
        target: &str,
        order: &impl Serialize,
    ) -> Result<String, ClientError> {
        let body =
            serde_json::to_vec(order).map_err(|error| ClientError::Garbled(error.to_string()))?;
        self.request(Method::POST, target, body.into()).await
    }

    /// Posts `order` as JSON; the answer's JSON.
    ///
    /// # Errors
    /// The site cannot be reached, refuses or answers something else.
    pub async fn post_for<T: DeserializeOwned>(
        &self,
        target: &str,
        order: &impl Serialize,
    ) -> Result<T, ClientError> {
        let text = self.post_for_text(target, order).await?;
        serde_json::from_str(&text).map_err(|error| ClientError::Garbled(error.to_string()))
    }

    /// Gets `target` (a path with its query) and hands on the answer line by line as it comes,
    /// each without its end: an answer of any length.
    ///
    /// # Errors
    /// The site cannot be reached, refuses, or ends before the answer does.
    pub async fn get_lines(
        &self,
        target: &str,
        mut each: impl FnMut(&str),
    ) -> Result<(), ClientError> {
        let silent = |_| self.silent();
        let asked = self.send(Method::GET, target, Bytes::new());
        let response = tokio::time::timeout(self.patience, asked).await.map_err(silent)??;
        let good = response.status().is_success();
        let mut body = response.into_body();
        let mut rest = Vec::new();
        loop {
            let frame = tokio::time::timeout(self.patience, body.frame()).await.map_err(silent)?;
            let Some(frame) = frame else { break };
            let frame = frame.map_err(|_| ClientError::BrokenOff)?;
            rest.extend_from_slice(&frame.into_data().unwrap_or_default());
            if good {
                let mut begin = 0;
                while let Some(len) = rest[begin..].iter().position(|octet| *octet == b'\n') {
                    each(&String::from_utf8_lossy(&rest[begin..begin + len]));
                    begin += len + 1;
                }
                rest.drain(..begin);
            }
        }
        let rest = String::from_utf8_lossy(&rest);
        if !good {
            return Err(ClientError::Refused(rest.into_owned()));
        }
        if !rest.is_empty() {
            each(&rest);
        }
        Ok(())
    }

    /// Gets `target` (a path with its query) and hands on the answer's octets as they come.
    ///
    /// # Errors
    /// The site cannot be reached, refuses, or ends before the answer does; or `each` does not
    /// take them.
    pub async fn get_octets(
        &self,
        target: &str,
        mut each: impl FnMut(&[u8]) -> std::io::Result<()>,
    ) -> Result<(), ClientError> {
        let silent = |_| self.silent();
        let asked = self.send(Method::GET, target, Bytes::new());
        let response = tokio::time::timeout(self.patience, asked).await.map_err(silent)??;
        let status = response.status();
        let mut body = response.into_body();
        while let Some(frame) =
            tokio::time::timeout(self.patience, body.frame()).await.map_err(silent)?
        {
            let frame = frame.map_err(|_| ClientError::BrokenOff)?;
            let octets = frame.into_data().unwrap_or_default();
            if !status.is_success() {
                return Err(ClientError::Refused(String::from_utf8_lossy(&octets).into_owned()));
            }
            each(&octets).map_err(ClientError::Unwritten)?;
        }
        Ok(())
    }

    async fn request(
        &self,
        method: Method,
        target: &str,
        body: Bytes,
    ) -> Result<String, ClientError> {
        let silent = |_| self.silent();
        tokio::time::timeout(self.patience, self.converse(method, target, body))
            .await
            .map_err(silent)?
    }

    async fn converse(
        &self,
        method: Method,
        target: &str,
        body: Bytes,
    ) -> Result<String, ClientError> {
        let response = self.send(method, target, body).await?;
        let status = response.status();
        let body = response.into_body().collect().await;
        let body = body.map_err(|error| ClientError::Garbled(error.to_string()))?.to_bytes();
        let text = String::from_utf8_lossy(&body).into_owned();
        if status.is_success() { Ok(text) } else { Err(ClientError::Refused(text)) }
    }

    fn silent(&self) -> ClientError {
        ClientError::Silent { place: self.place.to_string(), patience: self.patience }
    }

    /// Sends a request; the answer's body is yet to be read.
    async fn send(
        &self,
        method: Method,
        target: &str,
        body: Bytes,
    ) -> Result<Response<Incoming>, ClientError> {
        let request = Request::builder()
            .method(method)
            .uri(target)
            .header("content-type", "application/json");
        match &self.place {
            Place::Socket(path) => {
                let stream = UnixStream::connect(path)
                    .await
                    .map_err(|source| ClientError::Unreachable { path: path.clone(), source })?;
                converse_over(stream, request.header("host", "anycast"), body).await
            }
            Place::Remote(remote) => {
                let away = |words| ClientError::Away { place: self.place.to_string(), words };
                let stream = remote.connect().await.map_err(away)?;
                let sent = converse_over(stream, remote.introduce(request), body).await;
                // The site may refuse our certificate only after we think that all is well.
                sent.map_err(|error| match error {
                    ClientError::Garbled(words) => away(words),
                    other => other,
                })
            }
        }
    }
}

async fn converse_over(
    stream: impl AsyncRead + AsyncWrite + Send + Unpin + 'static,
    request: request::Builder,
    body: Bytes,
) -> Result<Response<Incoming>, ClientError> {
    let garbled = |error: hyper::Error| ClientError::Garbled(error.to_string());
    let (mut sender, connection) =
        hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.map_err(garbled)?;
    // It ends with the answer: its sender goes when this returns.
    tokio::spawn(connection);
    let request =
        request.body(Full::new(body)).map_err(|error| ClientError::Garbled(error.to_string()))?;
    sender.send_request(request).await.map_err(garbled)
}

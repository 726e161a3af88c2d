//! Asks a running site over its control socket.

use std::path::{Path, PathBuf};
use std::time::Duration;

use http_body_util::{BodyExt, Full};
use hyper::body::Bytes;
use hyper::{Method, Request};
use hyper_util::rt::TokioIo;
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::net::UnixStream;

use crate::control::socket_folder;

/// How long a site may take to answer; a full table takes a while.
const PATIENCE: Duration = Duration::from_secs(10);

/// A question to a site had no good answer.
#[derive(Debug, thiserror::Error)]
#[expect(missing_docs, reason = "the messages say all")]
pub enum ClientError {
    #[error("cannot reach a site at {path}: {source} (is `anycast run` running, as this user?)")]
    Unreachable { path: PathBuf, source: std::io::Error },
    #[error(
        "no site runs here: no control socket in {0} (start one with `anycast run`, or name its socket with --socket)"
    )]
    NoSite(PathBuf),
    #[error("several sites run here: {0}; choose one with --site")]
    SeveralSites(String),
    #[error("the site at {path} does not answer within {patience:?}: is it stopped or frozen?")]
    Silent { path: PathBuf, patience: Duration },
    #[error("the site answered with an error: {0}")]
    Refused(String),
    #[error("the site's answer cannot be understood: {0} (is it of another version?)")]
    Garbled(String),
}

/// A site's control socket.
#[derive(Clone, Debug)]
pub struct Client {
    path: PathBuf,
    patience: Duration,
}

impl Client {
    /// The socket at `path`.
    #[must_use]
    pub fn new(path: PathBuf) -> Self {
        Self { path, patience: PATIENCE }
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

    /// Where the socket is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
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

    async fn request(
        &self,
        method: Method,
        target: &str,
        body: Bytes,
    ) -> Result<String, ClientError> {
        let silent = |_| ClientError::Silent { path: self.path.clone(), patience: self.patience };
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
        let stream = UnixStream::connect(&self.path)
            .await
            .map_err(|source| ClientError::Unreachable { path: self.path.clone(), source })?;
        let garbled = |error: hyper::Error| ClientError::Garbled(error.to_string());
        let (mut sender, connection) =
            hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.map_err(garbled)?;
        let connection = tokio::spawn(connection);
        let request = Request::builder()
            .method(method)
            .uri(target)
            .header("host", "anycast")
            .header("content-type", "application/json")
            .body(Full::new(body))
            .map_err(|error| ClientError::Garbled(error.to_string()))?;
        let response = sender.send_request(request).await.map_err(garbled)?;
        let status = response.status();
        let body = response.into_body().collect().await.map_err(garbled)?.to_bytes();
        drop(sender);
        let _ = connection.await;
        let text = String::from_utf8_lossy(&body).into_owned();
        if status.is_success() { Ok(text) } else { Err(ClientError::Refused(text)) }
    }
}

//! The control socket: HTTP and JSON on a Unix socket that only its owner can open.

mod neighbors;
mod routes;

use std::collections::HashMap;
use std::io;
use std::os::unix::fs::{DirBuilderExt, FileTypeExt, PermissionsExt};
use std::path::{Path, PathBuf};

use anycast_speaker::Handle;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use tokio::net::UnixListener;
use tokio::sync::{mpsc, oneshot};

use crate::events::SiteEvent;
use crate::status::{NeighborInFile, PrependOrder, ServicesReport, SiteRow};

/// A question that the daemon's loop answers.
pub(crate) enum Question {
    Sites(oneshot::Sender<Vec<SiteRow>>),
    Services(oneshot::Sender<ServicesReport>),
    Events(oneshot::Sender<Vec<SiteEvent>>),
    Prepend(PrependOrder, oneshot::Sender<Result<(), String>>),
    /// What the fleet file says of each neighbor.
    NeighborsInFile(oneshot::Sender<HashMap<String, NeighborInFile>>),
    /// Something that an operator did: an event.
    Note {
        kind: &'static str,
        subject: String,
        detail: String,
        noted: oneshot::Sender<()>,
    },
}

/// A socket file that is removed with its owner.
pub(crate) struct SocketFile(PathBuf);

impl Drop for SocketFile {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

/// Where the control socket of `site` is unless told otherwise: in the system's `/run/anycast`
/// for root, else under the user's runtime folder.
#[must_use]
pub fn default_socket(site: &str) -> PathBuf {
    socket_folder().join(format!("{site}.sock"))
}

/// The folder of [`default_socket`].
#[must_use]
pub fn socket_folder() -> PathBuf {
    match std::env::var_os("ANYCAST_RUNTIME_DIR") {
        Some(folder) => folder.into(),
        None if is_root() => "/run/anycast".into(),
        None => std::env::var_os("XDG_RUNTIME_DIR")
            .map_or_else(std::env::temp_dir, PathBuf::from)
            .join("anycast"),
    }
}

fn is_root() -> bool {
    std::fs::metadata("/proc/self").is_ok_and(|own| std::os::unix::fs::MetadataExt::uid(&own) == 0)
}

/// Opens the socket at `path`.
///
/// # Errors
/// In words: another daemon answers there, or the file cannot be made.
pub(crate) async fn open(path: &Path) -> Result<(UnixListener, SocketFile), io::Error> {
    if let Some(folder) = path.parent() {
        std::fs::DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
    }
    if let Ok(there) = std::fs::symlink_metadata(path) {
        if !there.file_type().is_socket() {
            let words = "there is a file of that name, which is no socket";
            return Err(io::Error::new(io::ErrorKind::AlreadyExists, words));
        }
        if tokio::net::UnixStream::connect(path).await.is_ok() {
            let words = "another daemon answers there; is this site already running?";
            return Err(io::Error::new(io::ErrorKind::AddrInUse, words));
        }
        // Left by a daemon that was killed.
        std::fs::remove_file(path)?;
    }
    let listener = UnixListener::bind(path)?;
    let file = SocketFile(path.to_owned());
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600))?;
    Ok((listener, file))
}

/// Serves the API until the task is dropped.
pub(crate) async fn serve(
    listener: UnixListener,
    questions: mpsc::Sender<Question>,
    speaker: Handle,
) -> io::Result<()> {
    let api = Api { questions, speaker };
    let router = Router::new()
        .route("/v1/sites", get(sites))
        .route("/v1/services", get(services))
        .route("/v1/events", get(events))
        .route("/v1/neighbors", get(neighbors::all))
        .route("/v1/neighbors/{name}", get(neighbors::one).post(neighbors::order))
        .route("/v1/bfd", get(bfd))
        .route("/v1/routes", get(routes::list))
        .route("/v1/explain", get(routes::explain))
        .route("/v1/prepend", post(prepend))
        .with_state(api);
    axum::serve(listener, router).await
}

#[derive(Clone)]
struct Api {
    questions: mpsc::Sender<Question>,
    speaker: Handle,
}

impl Api {
    async fn ask<T>(&self, question: impl FnOnce(oneshot::Sender<T>) -> Question) -> Option<T> {
        let (sender, answer) = oneshot::channel();
        self.questions.send(question(sender)).await.ok()?;
        answer.await.ok()
    }
}

fn json<T: serde::Serialize>(answer: Option<T>) -> Response {
    match answer {
        Some(answer) => Json(answer).into_response(),
        None => (StatusCode::SERVICE_UNAVAILABLE, "the daemon is stopping").into_response(),
    }
}

async fn sites(State(api): State<Api>) -> Response {
    json(api.ask(Question::Sites).await)
}

async fn services(State(api): State<Api>) -> Response {
    json(api.ask(Question::Services).await)
}

async fn events(State(api): State<Api>) -> Response {
    json(api.ask(Question::Events).await)
}

async fn bfd(State(api): State<Api>) -> Response {
    Json(api.speaker.bfd().await).into_response()
}

async fn prepend(State(api): State<Api>, Json(order): Json<PrependOrder>) -> Response {
    match api.ask(|sender| Question::Prepend(order, sender)).await {
        Some(Ok(())) => StatusCode::NO_CONTENT.into_response(),
        Some(Err(words)) => (StatusCode::BAD_REQUEST, words).into_response(),
        None => json::<()>(None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::client::{Client, ClientError};

    /// A folder of this test's own, removed with it.
    struct Folder(PathBuf);

    impl Folder {
        fn new(name: &str) -> Self {
            let name = format!("anycast-control-{name}-{}", std::process::id());
            Self(std::env::temp_dir().join(name))
        }
    }

    impl Drop for Folder {
        fn drop(&mut self) {
            let _ = std::fs::remove_dir_all(&self.0);
        }
    }

    fn mode(path: &Path) -> u32 {
        std::fs::metadata(path).unwrap().permissions().mode() & 0o777
    }

    #[tokio::test]
    async fn a_socket_is_its_owners_alone_and_goes_with_the_daemon() {
        let folder = Folder::new("owner");
        let path = folder.0.join("fra.sock");
        let (listener, file) = open(&path).await.unwrap();
        assert_eq!((mode(&folder.0), mode(&path)), (0o700, 0o600));
        let taken = open(&path).await.map(drop).unwrap_err();
        assert_eq!(taken.kind(), io::ErrorKind::AddrInUse, "{taken}");
        drop((listener, file));
        assert!(!path.exists());
    }

    #[tokio::test]
    async fn what_a_killed_daemon_left_is_replaced_and_any_other_file_is_not() {
        let folder = Folder::new("left");
        let path = folder.0.join("fra.sock");
        let (listener, file) = open(&path).await.unwrap();
        // As SIGKILL does: the listener goes, the file stays.
        std::mem::forget(file);
        drop(listener);
        assert!(path.exists());
        open(&path).await.unwrap();

        let precious = folder.0.join("fleet.toml");
        std::fs::write(&precious, "precious").unwrap();
        let refused = open(&precious).await.map(drop).unwrap_err();
        assert!(refused.to_string().contains("no socket"), "{refused}");
        assert_eq!(std::fs::read_to_string(&precious).unwrap(), "precious");
    }

    #[tokio::test]
    async fn a_site_that_does_not_answer_is_not_waited_for_for_ever() {
        let folder = Folder::new("silent");
        let path = folder.0.join("fra.sock");
        let (_listener, _file) = open(&path).await.unwrap();
        let patience = std::time::Duration::from_millis(50);
        let answer = Client::new(path).with_patience(patience).get_text("/v1/sites").await;
        assert!(matches!(answer, Err(ClientError::Silent { .. })), "{answer:?}");
    }
}

//! The control socket: HTTP and JSON on a Unix socket that only its owner can open.

mod affinity;
mod caller;
mod drains;
mod events;
mod monitoring;
mod neighbors;
mod openapi;
mod overview;
mod reload;
mod routes;
mod rpki;

use std::collections::HashMap;
use std::io;
use std::os::unix::fs::{DirBuilderExt, FileTypeExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anycast_speaker::Handle;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use tokio::net::UnixListener;
use tokio::sync::{Semaphore, mpsc, oneshot, watch};

pub(crate) use caller::Caller;
use caller::Peer;

use crate::affinity::AffinityReport;
use crate::events::EventsAfter;
use crate::metrics::{self, SiteMetrics};
use crate::overview as overview_of;
use crate::reload::{ReloadOrder, ReloadReport, ReloadStatus};
use crate::rpki::Look;
use crate::status::{
    ClearOrder, DrainOrder, DrainRow, NeighborInFile, PrependOrder, ServicesReport, SiteRow,
    UndrainOrder,
};
use crate::upgrade::{UpgradeOrder, UpgradeReport};

/// So many may follow the events at a time.
const STREAMS: usize = 32;

/// A question that the daemon's loop answers.
pub(crate) enum Question {
    Sites(oneshot::Sender<Vec<SiteRow>>),
    Services(oneshot::Sender<ServicesReport>),
    /// Those above a number.
    Events(u64, oneshot::Sender<EventsAfter>),
    /// The number of the newest event, as it grows.
    WatchEvents(oneshot::Sender<watch::Receiver<u64>>),
    Rpki(oneshot::Sender<Look>),
    Prepend(PrependOrder, Caller, oneshot::Sender<Result<(), String>>),
    /// Read the fleet file again.
    Reload(ReloadOrder, Caller, oneshot::Sender<ReloadReport>),
    ReloadStatus(oneshot::Sender<ReloadStatus>),
    Confirm(Caller, oneshot::Sender<Result<String, String>>),
    RollBack(Caller, oneshot::Sender<Result<String, String>>),
    /// What is drained.
    Drains(oneshot::Sender<Vec<DrainRow>>),
    Drain(DrainOrder, Caller, oneshot::Sender<Result<DrainRow, String>>),
    Undrain(UndrainOrder, Caller, oneshot::Sender<Result<Vec<String>, String>>),
    /// How connections are kept.
    Affinity(oneshot::Sender<AffinityReport>),
    /// Loads the packet programs, or takes them out.
    OrderAffinity(bool, Caller, oneshot::Sender<Result<AffinityReport, String>>),
    ClearDamping(ClearOrder, Caller, oneshot::Sender<Result<usize, String>>),
    /// What the fleet file says of each neighbor.
    NeighborsInFile(oneshot::Sender<HashMap<String, NeighborInFile>>),
    Metrics(oneshot::Sender<SiteMetrics>),
    Overview(oneshot::Sender<Box<overview_of::Look>>),
    Upgrade(UpgradeOrder, Caller, oneshot::Sender<Result<UpgradeReport, String>>),
    /// Something that an operator did: an event, if it changed anything.
    Note {
        changed: bool,
        kind: &'static str,
        subject: String,
        detail: String,
        by: Caller,
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

pub(crate) fn is_root() -> bool {
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
    let router = router(questions, speaker).layer(axum::middleware::from_fn(caller::of_socket));
    axum::serve(listener, router.into_make_service_with_connect_info::<Peer>()).await
}

/// All that can be asked and ordered; who may is for the caller of this to see to.
pub(crate) fn router(questions: mpsc::Sender<Question>, speaker: Handle) -> Router {
    let streams = Arc::new(Semaphore::new(STREAMS));
    let api = Api { questions, speaker, streams };
    Router::new()
        .route("/v1/sites", get(sites))
        .route("/v1/services", get(services))
        .route("/v1/status", get(overview::status))
        .route("/v1/why", get(overview::why))
        .route("/v1/events", get(events::list))
        .route("/v1/events/stream", get(events::stream))
        .route("/v1/neighbors", get(neighbors::all))
        .route("/v1/neighbors/{name}", get(neighbors::one).post(neighbors::order))
        .route("/v1/bfd", get(bfd))
        .route("/v1/bmp", get(monitoring::stations))
        .route("/v1/mrt/table", get(monitoring::table))
        .route("/v1/routes", get(routes::list))
        .route("/v1/explain", get(routes::explain))
        .route("/v1/rpki", get(rpki::report))
        .route("/v1/prepend", post(prepend))
        .route("/v1/drains", get(drains::list))
        .route("/v1/drain", post(drains::drain))
        .route("/v1/undrain", post(drains::undrain))
        .route("/v1/affinity", get(affinity::report))
        .route("/v1/affinity/load", post(affinity::load))
        .route("/v1/affinity/unload", post(affinity::unload))
        .route("/v1/damping/clear", post(drains::clear_damping))
        .route("/metrics", get(metrics))
        .route("/v1/reload", get(reload::status).post(reload::reload))
        .route("/v1/reload/confirm", post(reload::confirm))
        .route("/v1/reload/rollback", post(reload::roll_back))
        .route("/v1/upgrade", post(upgrade))
        .route("/v1/openapi.json", get(openapi::description))
        .with_state(api)
}

#[derive(Clone)]
struct Api {
    questions: mpsc::Sender<Question>,
    speaker: Handle,
    /// Who may follow the events.
    streams: Arc<Semaphore>,
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

async fn metrics(State(api): State<Api>) -> Response {
    metrics::Sources { questions: api.questions, speaker: api.speaker }.answer().await
}

async fn bfd(State(api): State<Api>) -> Response {
    Json(api.speaker.bfd().await).into_response()
}

async fn prepend(
    State(api): State<Api>,
    caller: Caller,
    Json(order): Json<PrependOrder>,
) -> Response {
    match api.ask(|sender| Question::Prepend(order, caller, sender)).await {
        Some(Ok(())) => StatusCode::NO_CONTENT.into_response(),
        Some(Err(words)) => (StatusCode::BAD_REQUEST, words).into_response(),
        None => json::<()>(None),
    }
}

async fn upgrade(
    State(api): State<Api>,
    caller: Caller,
    Json(order): Json<UpgradeOrder>,
) -> Response {
    match api.ask(|sender| Question::Upgrade(order, caller, sender)).await {
        Some(Ok(report)) => Json(report).into_response(),
        Some(Err(words)) => (StatusCode::CONFLICT, words).into_response(),
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

    /// A speaker alone, with so many routes of its own, and its control socket.
    async fn speaker_with(routes: u32, path: &Path) -> (tokio::task::JoinHandle<()>, SocketFile) {
        let config = anycast_speaker::Config::new(anycast_bgp::Asn(64500), [192, 0, 2, 1].into());
        let speaker = anycast_speaker::Speaker::bind(config, None).unwrap();
        let handle = speaker.handle();
        tokio::spawn(speaker.run());
        for number in 0..routes {
            let address = std::net::Ipv4Addr::from(0x0a00_0000 + number * 256);
            let prefix = anycast_bgp::IpNet::new(address.into(), 24).unwrap();
            let nowhere = std::net::IpAddr::from([0, 0, 0, 0]);
            handle.originate(prefix, anycast_bgp::Attributes::new(nowhere));
        }
        let (listener, file) = open(path).await.unwrap();
        let serving = async {
            let (questions, _nobody_asks) = mpsc::channel(1);
            serve(listener, questions, handle).await.unwrap();
        };
        (tokio::spawn(serving), file)
    }

    #[tokio::test]
    async fn a_table_of_many_pages_is_one_array_with_a_route_a_line() {
        let folder = Folder::new("pages");
        let client = |path: &Path| Client::new(path.to_owned());
        for (routes, lines) in [(0, 2), (1, 3), (1000, 1002), (2001, 2003)] {
            let path = folder.0.join(format!("{routes}.sock"));
            let (task, _file) = speaker_with(routes, &path).await;
            let mut heard = Vec::new();
            let heard_one = |line: &str| heard.push(line.to_owned());
            client(&path).get_lines("/v1/routes", heard_one).await.unwrap();
            assert_eq!(heard.len(), lines, "{routes} routes");
            let array: Vec<serde_json::Value> = client(&path).get("/v1/routes").await.unwrap();
            assert_eq!(array.len(), routes as usize);
            for (line, row) in heard[1..].iter().zip(&array) {
                let line = line.strip_suffix(',').unwrap_or(line);
                assert_eq!(serde_json::from_str::<serde_json::Value>(line).unwrap(), *row);
            }
            let within: Vec<serde_json::Value> =
                client(&path).get("/v1/routes?within=10.0.0.0/16").await.unwrap();
            assert_eq!(within.len(), routes.min(256) as usize);
            task.abort();
        }
    }

    #[tokio::test]
    async fn a_question_that_makes_no_sense_is_refused_in_words() {
        let folder = Folder::new("sense");
        let path = folder.0.join("fra.sock");
        let (task, _file) = speaker_with(1, &path).await;
        for (target, words) in [
            ("/v1/routes?prefix=10.0.0.0/24&address=10.0.0.1", "one of prefix, address and within"),
            ("/v1/routes?received=a&accepted=b", "one of received, accepted and advertised"),
            ("/v1/routes?family=ipv5", "the families are ipv4 and ipv6"),
            ("/v1/routes?received=a", "no neighbor is called a"),
            ("/v1/neighbors/a", "no neighbor is called a"),
            ("/v1/explain", "which prefix?"),
            ("/v1/explain?address=11.0.0.1", "no route to 11.0.0.1"),
        ] {
            let client = Client::new(path.clone());
            let refused = client.get_text(target).await.unwrap_err();
            assert!(refused.to_string().contains(words), "{target}: {refused}");
            let refused = client.get_lines(target, |_| ()).await.unwrap_err();
            assert!(refused.to_string().contains(words), "{target}: {refused}");
        }
        task.abort();
    }
}

//! The lab's control socket: a line of JSON asks, lines of JSON answer.

use std::collections::HashMap;
use std::io;
use std::os::unix::net::UnixListener as StdUnixListener;
use std::os::unix::net::UnixStream as StdUnixStream;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anycast_bgp::IpNet;
use futures_util::stream::{FuturesUnordered, StreamExt};
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::Mutex;

use crate::plan::NodeKind;
use crate::running::{ClientRow, Explained, Lab};
use crate::sandbox::peer_may_control;

/// How long one client may take to answer for `status` and `watch`.
const PATIENCE: Duration = Duration::from_secs(1);
/// The time between two questions of `watch` from one client.
const WATCH_EVERY: Duration = Duration::from_millis(100);

/// What can be asked of a running lab.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case", tag = "ask")]
#[expect(missing_docs, reason = "as the commands of the same names")]
pub enum Request {
    Status,
    Topology,
    Routes { node: String, prefix: Option<IpNet> },
    Node { node: String },
    Stop { node: String },
    Start { node: String },
    Freeze { node: String },
    Thaw { node: String },
    Kill { site: String, service: Option<String> },
    Cut { link: String },
    Mend { link: String },
    Prepend { site: String, count: u8 },
    Watch,
}

/// What a lab answers.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case", tag = "answer", content = "with")]
pub enum Reply {
    /// It was done.
    Done,
    /// To `status`.
    Clients(Vec<ClientRow>),
    /// To `topology`.
    Topology(Topology),
    /// To `routes`.
    Routes(Explained),
    /// To `watch`: again and again.
    Change(Change),
    /// It could not be done.
    Error(String),
}

/// Nodes and links.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct Topology {
    /// Every node.
    pub nodes: Vec<NodeRow>,
    /// Every link.
    pub links: Vec<LinkRow>,
}

/// One node.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct NodeRow {
    /// Its name.
    pub name: String,
    /// `router`, `site` or `client`.
    pub kind: String,
    /// What runs in it: `anycast`, `bird`, … ; of a client nothing.
    pub runs: Option<String>,
    /// Its AS.
    pub asn: Option<u32>,
    /// Where it stands.
    pub city: String,
    /// `running`, `stopped` or `frozen`.
    pub state: String,
    /// Its addresses on links.
    pub addresses: Vec<String>,
}

/// One link.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct LinkRow {
    /// Its name.
    pub name: String,
    /// Milliseconds, one way.
    pub latency_ms: f64,
    /// Whether it is cut.
    pub cut: bool,
}

/// A client reaches another site than before.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct Change {
    /// Seconds since 1970, UTC.
    pub unix_time: f64,
    /// The client.
    pub client: String,
    /// The site before; `None`: nobody answered, or this is the first question.
    pub from: Option<String>,
    /// The site now; `None`: nobody answers.
    pub to: Option<String>,
}

/// Serves the control socket until the task is dropped.
///
/// # Errors
/// The socket cannot be used.
pub async fn serve(listener: StdUnixListener, lab: Arc<Mutex<Lab>>) -> io::Result<()> {
    listener.set_nonblocking(true)?;
    let listener = UnixListener::from_std(listener)?;
    loop {
        let (stream, _) = listener.accept().await?;
        let stream = stream.into_std()?;
        if !peer_may_control(&stream) {
            continue;
        }
        let stream = UnixStream::from_std(stream)?;
        let lab = Arc::clone(&lab);
        tokio::spawn(async move {
            // A client that is gone wants no answer.
            let _ = attend(stream, &lab).await;
        });
    }
}

async fn attend(stream: UnixStream, lab: &Mutex<Lab>) -> io::Result<()> {
    let (reader, mut writer) = stream.into_split();
    let mut line = String::new();
    BufReader::new(reader).read_line(&mut line).await?;
    let request = match serde_json::from_str::<Request>(&line) {
        Ok(request) => request,
        Err(error) => {
            let words = format!("the lab does not understand the question: {error}");
            return send(&mut writer, &Reply::Error(words)).await;
        }
    };
    if let Request::Watch = request {
        return watch(&mut writer, lab).await;
    }
    let reply = answer(request, &mut *lab.lock().await).await;
    send(&mut writer, &reply).await
}

async fn send(writer: &mut (impl AsyncWriteExt + Unpin), reply: &Reply) -> io::Result<()> {
    let mut line = serde_json::to_vec(reply)?;
    line.push(b'\n');
    writer.write_all(&line).await
}

async fn answer(request: Request, lab: &mut Lab) -> Reply {
    lab.notice_the_dead();
    let result = match request {
        Request::Status => return Reply::Clients(lab.status(PATIENCE).await),
        Request::Topology => return Reply::Topology(topology(lab)),
        Request::Routes { node, prefix } => {
            return match lab.explain(&node, prefix).await {
                Ok(explained) => Reply::Routes(explained),
                Err(error) => Reply::Error(error.to_string()),
            };
        }
        Request::Node { node } => lab.node(&node).map(drop),
        Request::Stop { node } => lab.stop(&node).await,
        Request::Start { node } => lab.start(&node).await,
        Request::Freeze { node } => lab.freeze(&node),
        Request::Thaw { node } => lab.thaw(&node),
        Request::Kill { site, service } => lab.kill_service(&site, service.as_deref()).await,
        Request::Cut { link } => lab.cut(&link).await,
        Request::Mend { link } => lab.mend(&link).await,
        Request::Prepend { site, count } => lab.prepend(&site, count).await,
        Request::Watch => Ok(()),
    };
    match result {
        Ok(()) => Reply::Done,
        Err(error) => Reply::Error(error.to_string()),
    }
}

/// The nodes and links of a lab.
#[must_use]
pub fn topology(lab: &Lab) -> Topology {
    let nodes = lab.plan.nodes.iter().enumerate().map(|(index, node)| {
        let ends = lab.plan.links.iter().flat_map(|link| &link.ends);
        let addresses = ends.filter(|end| end.node == index).flat_map(|end| &end.addresses);
        let (kind, runs, asn) = match &node.kind {
            NodeKind::Router(router) => {
                ("router", Some(router.implementation.name()), Some(router.asn.0))
            }
            NodeKind::Site(site) => {
                let asn = lab.fleet.site(&site.site).map(|site| site.asn.0);
                ("site", Some("anycast run"), asn)
            }
            NodeKind::Client(client) => {
                let system = lab.plan.routers().find(|(_, _, r)| r.as_name == client.as_name);
                ("client", None, system.map(|(_, _, router)| router.asn.0))
            }
        };
        NodeRow {
            name: node.name.clone(),
            kind: kind.to_owned(),
            runs: runs.map(ToOwned::to_owned),
            asn,
            city: node.place.city.clone(),
            state: lab.node_state(index).to_owned(),
            addresses: addresses.map(ToString::to_string).collect(),
        }
    });
    let links = lab.plan.links.iter().enumerate().map(|(index, link)| LinkRow {
        name: link.name.clone(),
        latency_ms: link.latency.as_secs_f64() * 1e3,
        cut: lab.cut_links().contains(&index),
    });
    Topology { nodes: nodes.collect(), links: links.collect() }
}

/// Tells each change of a catchment as it is seen.
async fn watch(writer: &mut (impl AsyncWriteExt + Unpin), lab: &Mutex<Lab>) -> io::Result<()> {
    let (prober, names) = {
        let lab = lab.lock().await;
        let names: HashMap<usize, String> =
            lab.plan.clients().map(|(index, node, _)| (index, node.name.clone())).collect();
        (Arc::clone(&lab.prober), names)
    };
    let question = |client: usize, wait: Duration| {
        let prober = Arc::clone(&prober);
        async move {
            tokio::time::sleep(wait).await;
            let answer = prober.ask(client, PATIENCE).await;
            (client, answer.map(|answer| answer.site))
        }
    };
    let mut known: HashMap<usize, Option<String>> = HashMap::new();
    let mut questions: FuturesUnordered<_> =
        names.keys().map(|client| question(*client, Duration::ZERO)).collect();
    while let Some((client, to)) = questions.next().await {
        questions.push(question(client, WATCH_EVERY));
        let before = known.insert(client, to.clone());
        if before.as_ref() == Some(&to) {
            continue;
        }
        let unix_time =
            SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs_f64();
        let change =
            Change { unix_time, client: names[&client].clone(), from: before.flatten(), to };
        send(writer, &Reply::Change(change)).await?;
    }
    Ok(())
}

/// Asks a running lab over `stream`; calls `each` with every reply until it says to stop.
///
/// # Errors
/// The lab ended, or answers what cannot be understood.
pub fn ask(
    stream: &StdUnixStream,
    request: &Request,
    mut each: impl FnMut(Reply) -> bool,
) -> io::Result<()> {
    use std::io::{BufRead, Write};
    let mut line = serde_json::to_vec(request)?;
    line.push(b'\n');
    let mut writer = stream;
    writer.write_all(&line)?;
    for line in std::io::BufReader::new(stream).lines() {
        if !each(serde_json::from_str(&line?)?) {
            break;
        }
    }
    Ok(())
}

//! The built-in service over QUIC, whose connection ids are of its own making.

use std::net::IpAddr;
use std::path::Path;
use std::process::Stdio;
use std::time::{Duration, Instant};

use anycast_site::events::SiteEvent;
use anycast_site::upgrade::{UpgradeOrder, UpgradeReport};
use futures_util::future::poll_fn;
use hyper::Request;
use hyper::body::{Buf, Bytes};
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::task::JoinHandle;

use crate::cases::{Fate, Started, counts, flip, flow};
use crate::flows::PATIENCE;
use crate::quic;
use crate::secure::{Identity, NAME};
use crate::stand::{Fleet, RUN, Stand, V4, V6, own, site};

/// HTTP/3's name in TLS.
const ALPN: &[u8] = b"h3";

fn fleet() -> Fleet {
    Fleet { quic: true, ..Fleet::default() }
}

/// A lab whose sites serve QUIC, with what its client trusts.
async fn build(fleet: Fleet) -> (Stand, Identity) {
    let identity = Identity::new();
    identity.write(Path::new(RUN));
    let stand = Stand::build(fleet).await;
    for at in 0..stand.sites {
        event(at, "/v1/events", "quic-served").await;
    }
    (stand, identity)
}

/// Waits for an event of that kind at a site.
async fn event(at: usize, path: &str, kind: &str) {
    let begin = Instant::now();
    loop {
        let events = Stand::ask(at).get::<Vec<SiteEvent>>(path).await;
        if events.as_ref().is_ok_and(|all| all.iter().any(|event| event.kind == kind)) {
            return;
        }
        assert!(begin.elapsed() < Duration::from_secs(30), "no {kind} at {}: {events:?}", site(at));
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

type Sender = h3::client::SendRequest<h3_quinn::OpenStreams, Bytes>;

/// A connection over HTTP/3 from the client.
async fn connect(stand: &Stand, identity: &Identity, address: &str) -> (Sender, JoinHandle<()>) {
    let connection = quic::connect(identity, &stand.client(), address, ALPN).await.expect("QUIC");
    let connection = h3_quinn::Connection::new(connection);
    let (mut driver, sender) = h3::client::new(connection).await.expect("HTTP/3");
    let driver = tokio::spawn(async move {
        poll_fn(|cx| driver.poll_close(cx)).await;
    });
    (sender, driver)
}

/// The site that answers.
async fn ask(sender: &mut Sender) -> Result<String, String> {
    let words = |error: h3::error::StreamError| format!("HTTP/3: {error}");
    let uri = format!("https://{NAME}/");
    let request = Request::builder().uri(uri).body(()).expect("a request");
    let mut stream = sender.send_request(request).await.map_err(words)?;
    stream.finish().await.map_err(words)?;
    stream.recv_response().await.map_err(words)?;
    let mut body = Vec::new();
    while let Some(mut piece) = stream.recv_data().await.map_err(words)? {
        body.extend(piece.copy_to_bytes(piece.remaining()));
    }
    let answer: serde_json::Value = serde_json::from_slice(&body).map_err(|it| it.to_string())?;
    answer["site"].as_str().map(str::to_owned).ok_or_else(|| answer.to_string())
}

/// One request after the other for so long; all are answered by the same site.
async fn talk((mut sender, driver): (Sender, JoinHandle<()>), time: Duration) -> Fate {
    let begin = Instant::now();
    while begin.elapsed() < time {
        let answer = tokio::time::timeout(PATIENCE, ask(&mut sender)).await;
        let found = answer.map_err(|_| "HTTP/3: no answer")??;
        if found != site(0) {
            return Err(format!("{found} answers"));
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    drop(sender);
    driver.await.map_err(|error| error.to_string())
}

async fn talks(stand: &Stand, identity: &Identity, name: &str, time: Duration) -> Started {
    let mut flows = Vec::new();
    for address in [V4, V6] {
        let connection = connect(stand, identity, address).await;
        flows.push(flow(format!("{name} {address}"), talk(connection, time)));
    }
    Started::start(flows)
}

pub(crate) async fn survives() {
    let (stand, identity) = build(fleet()).await;
    if !stand.keeps().await {
        return;
    }
    let started = talks(&stand, &identity, "HTTP/3", Duration::from_secs(4)).await;
    flip(&stand, 8, Duration::from_millis(400)).await;
    started.all_survive().await;
    let stray = Stand::affinity(1).await;
    assert!(stray.packets.get("forwarded-quic") > Some(&50), "{:?}", counts().await);
}

pub(crate) async fn without() {
    let (stand, identity) = build(Fleet { kept: false, ..fleet() }).await;
    let started = talks(&stand, &identity, "HTTP/3", Duration::from_secs(2)).await;
    tokio::time::sleep(Duration::from_millis(300)).await;
    stand.reroute(1).await;
    let fates = started.fates().await;
    assert!(fates.iter().all(|(_, fate)| fate.is_err()), "these survive without: {fates:?}");
}

/// The daemon is replaced, and its process of the service goes on; then keys are exchanged, of which
/// the process hears.
pub(crate) async fn changed() {
    let (stand, identity) = build(fleet()).await;
    if !stand.keeps().await {
        return;
    }
    let old = talks(&stand, &identity, "before", Duration::from_secs(3)).await;
    let order = UpgradeOrder::default();
    let report: UpgradeReport =
        Stand::ask(0).post_for("/v1/upgrade", &order).await.expect("it is upgraded");
    event(0, &format!("/v1/events?after={}", report.after), "upgraded").await;
    Stand::loaded(0).await;
    for epochs in [&[0, 1], &[1, 0]] {
        for at in 0..stand.sites {
            Stand::reload(at, Fleet { epochs, ..fleet() }).await;
        }
    }
    // Ids under the old key are known still, and new connections have none.
    stand.lead_to(1).await;
    old.all_survive().await;
    stand.lead_to(0).await;
    let new = talks(&stand, &identity, "after", Duration::from_secs(4)).await;
    for at in 0..stand.sites {
        Stand::reload(at, Fleet { epochs: &[1], ..fleet() }).await;
    }
    // Nothing brings the client back: what does not stray to its owner is lost.
    stand.lead_to(1).await;
    new.all_survive().await;
}

/// A client that follows the preferred address: that of ngtcp2.
pub(crate) async fn preferred() {
    const CLIENT: &str = "gtlsclient";
    let (stand, _identity) =
        build(Fleet { preferred: true, protocols: "\"tcp\"", ..fleet() }).await;
    if std::process::Command::new(CLIENT).arg("--help").output().is_err() {
        println!("skipped: {CLIENT} is not installed");
        return;
    }
    for (address, own) in [V4, V6].into_iter().zip(own(0)) {
        // As the client writes it.
        let own = own.parse::<IpAddr>().expect("an address").to_string();
        stand.lead_to(0).await;
        // It moves at once and asks late: after the route change.
        let asks = async |more: &'static [&'static str], moved: &str| {
            let mut command = tokio::process::Command::new(CLIENT);
            command.args(["--exit-on-all-streams-close", "--no-quic-dump", "--timeout=3s"]);
            command.args(["--delay-stream=1500ms", "--no-http-dump"]).args(more);
            command.args([address, "443", &format!("https://{NAME}/")]);
            command.stdout(Stdio::null()).stderr(Stdio::piped()).kill_on_drop(true);
            let mut child = stand.client().run(|| command.spawn()).expect("it starts");
            let mut lines = BufReader::new(child.stderr.take().expect("a pipe")).lines();
            let mut told = String::new();
            let reads = async {
                let mut led = false;
                while let Some(line) = lines.next_line().await.expect("text") {
                    told.push_str(&line);
                    told.push('\n');
                    if !led && line.contains(moved) {
                        led = true;
                        stand.reroute(1).await;
                    }
                }
                assert!(led, "no {moved:?}: {told}");
            };
            tokio::time::timeout(Duration::from_secs(20), reads).await.expect("it ends");
            stand.lead_to(0).await;
            told
        };
        let told = asks(&[], "Path validation against path").await;
        let says = |words: &str| assert!(told.contains(words), "no {words:?}: {told}");
        says(&format!("preferred_address is [{own}]:443"));
        says("[:status: 200]");
        says(&format!("[x-anycast-site: {}]", site(0)));
        let late = told.rfind("submit request headers").expect("it asks");
        let sent: Vec<&str> =
            told[late..].lines().filter(|it| it.starts_with("Sent packet")).collect();
        assert!(!sent.is_empty() && sent.iter().all(|it| it.contains(&own)), "{sent:#?}");
        // One that stays where it was is lost.
        let told = asks(&["--no-preferred-addr"], "handshake has been confirmed").await;
        assert!(!told.contains("[:status: 200]"), "{told}");
    }
}

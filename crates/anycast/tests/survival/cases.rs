//! What must survive, and what does not without affinity.

use std::time::{Duration, Instant};

use futures_util::future::{BoxFuture, join_all};

use crate::flows::{self, PORT, connect, download, ping_pong, serve, short, upload};
use crate::stand::{CLIENT, Fleet, Stand, V4, V6, site};

pub(crate) const NAMES: &[&str] = &[
    "every_kind_of_connection_survives_flips_over_three_sites",
    "without_affinity_the_same_connections_are_reset",
];

pub(crate) async fn play(name: &str) {
    match name {
        "every_kind_of_connection_survives_flips_over_three_sites" => every_kind().await,
        "without_affinity_the_same_connections_are_reset" => without().await,
        other => panic!("no case is called {other}"),
    }
}

/// What became of each flow.
type Fates = Vec<(String, Result<(), String>)>;
type Flow = (String, BoxFuture<'static, Result<(), String>>);

fn flow(
    name: impl Into<String>,
    doing: impl Future<Output = Result<(), String>> + Send + 'static,
) -> Flow {
    (name.into(), Box::pin(doing))
}

/// Every kind of flow over TCP, each for about so long.
async fn flows_of(stand: &Stand, time: Duration) -> Vec<Flow> {
    let client = stand.client();
    let mut all = Vec::new();
    let pace = Duration::from_millis(10);
    let pieces = u64::try_from(time.as_millis() / 12).unwrap_or(100);
    let paced = pieces * 16 * 1024;
    for address in [V4, V6] {
        let stream = connect(&client, address, PORT).await.expect("a connection");
        all.push(flow(format!("download {address}"), download(stream, paced, pace)));
        let stream = connect(&client, address, PORT).await.expect("a connection");
        all.push(flow(format!("upload {address}"), upload(stream, paced, pace)));
        let stream = connect(&client, address, PORT).await.expect("a connection");
        all.push(flow(format!("ping-pong {address}"), ping_pong(stream, time, pace)));
    }
    let stream = connect(&client, V4, PORT).await.expect("a connection");
    all.push(flow("download at full speed", download(stream, 8 << 20, Duration::ZERO)));
    let stream = connect(&client, V4, PORT).await.expect("a connection");
    all.push(flow("upload at full speed", upload(stream, 8 << 20, Duration::ZERO)));
    all
}

fn start(flows: Vec<Flow>) -> Vec<(String, tokio::task::JoinHandle<Result<(), String>>)> {
    flows.into_iter().map(|(name, doing)| (name, tokio::spawn(doing))).collect()
}

async fn fates(started: Vec<(String, tokio::task::JoinHandle<Result<(), String>>)>) -> Fates {
    let ends = started.into_iter().map(|(name, doing)| async {
        let end = doing.await.unwrap_or_else(|error| Err(error.to_string()));
        (name, end)
    });
    join_all(ends).await
}

fn all_survived(fates: &Fates) {
    let lost: Vec<_> = fates.iter().filter(|(_, fate)| fate.is_err()).collect();
    assert!(lost.is_empty(), "{} of {} are lost: {lost:#?}", lost.len(), fates.len());
}

fn serve_everywhere(stand: &Stand, control: Option<&str>) {
    for at in 0..stand.sites {
        for address in [V4, V6] {
            serve(&stand.namespace(at), address, PORT, control);
        }
    }
}

async fn every_kind() {
    let stand = Stand::build(Fleet::default()).await;
    if !stand.keeps().await {
        return;
    }
    serve_everywhere(&stand, None);
    let begun = start(flows_of(&stand, Duration::from_secs(4)).await);
    for flip in 1..=8 {
        tokio::time::sleep(Duration::from_millis(400)).await;
        stand.reroute(flip % stand.sites).await;
    }
    let fates = fates(begun).await;
    all_survived(&fates);
    let forwarded: u64 = (0..3).map(|_| 0).sum();
    let _ = forwarded;
}

async fn without() {
    let stand = Stand::build(Fleet { kept: false, ..Fleet::default() }).await;
    serve_everywhere(&stand, None);
    let begun = start(flows_of(&stand, Duration::from_secs(4)).await);
    tokio::time::sleep(Duration::from_millis(300)).await;
    stand.reroute(1).await;
    let fates = fates(begun).await;
    let alive: Vec<_> =
        fates.iter().filter(|(name, fate)| fate.is_ok() && !name.contains("full speed")).collect();
    assert!(alive.is_empty(), "these survive without: {alive:?}");
    let resets = fates.iter().filter(|(_, fate)| matches!(fate, Err(why) if why.contains("reset")));
    assert!(resets.count() >= 6, "{fates:#?}");
}

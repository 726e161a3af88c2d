//! What must survive, and what does not without affinity.

use std::time::{Duration, Instant};

use anycast_lab::netns::NetNs;
use anycast_site::affinity::AffinityReport;
use anycast_site::status::{DrainOrder, DrainRow};
use futures_util::future::{BoxFuture, join_all};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tokio::task::JoinHandle;

use crate::flows::{PIECE, PORT, connect, download, ping_pong, serve, short, upload};
use crate::hostile::{Attacker, bad_frames, frame};
use crate::quic;
use crate::secure::{HTTP1_PORT, HTTP2_PORT, Identity, TLS_PORT, keep_alive, many_streams};
use crate::stand::{CLIENT, Fleet, Stand, V4, V6, secret, site};

pub(crate) const NAMES: &[&str] = &[
    "every_kind_of_connection_survives_flips_over_three_sites",
    "without_affinity_the_same_connections_are_reset",
    "connections_of_clients_without_timestamps_survive_by_the_ring",
    "cubic_and_bbr_survive_over_eight_sites",
    "a_daemon_that_is_killed_and_started_again_is_not_felt",
    "unloading_and_loading_in_the_middle_is_not_felt",
    "a_drained_site_finishes_its_connections_while_new_ones_go_elsewhere",
    "downloads_through_a_small_link_survive",
    "transfers_at_full_speed_survive",
    "a_thousand_short_connections_survive_flips_each_tenth_of_a_second",
    "tls_and_http_survive",
    "quic_survives",
    "twenty_idle_seconds_survive",
    "frames_of_an_attacker_and_a_flood_harm_nobody",
    "loss_costs_what_it_costs_without",
];

pub(crate) async fn play(name: &str) {
    match NAMES.iter().position(|it| *it == name) {
        Some(0) => every_kind().await,
        Some(1) => without().await,
        Some(2) => without_timestamps().await,
        Some(3) => eight_sites().await,
        Some(4) => killed().await,
        Some(5) => unloaded().await,
        Some(6) => drained().await,
        Some(7) => small_link().await,
        Some(8) => full_speed().await,
        Some(9) => thousand().await,
        Some(10) => tls_and_http().await,
        Some(11) => over_quic().await,
        Some(12) => idle().await,
        Some(13) => hostile().await,
        Some(14) => loss().await,
        _ => panic!("no case is called {name}"),
    }
}

type Fate = Result<(), String>;
type Flow = (String, BoxFuture<'static, Fate>);

/// Flows under way.
struct Started(Vec<(String, JoinHandle<Fate>)>);

fn flow(name: impl Into<String>, doing: impl Future<Output = Fate> + Send + 'static) -> Flow {
    (name.into(), Box::pin(doing))
}

/// Every kind of flow over TCP, each for about so long.
async fn flows_of(client: &NetNs, time: Duration) -> Vec<Flow> {
    let mut all = Vec::new();
    let pace = Duration::from_millis(20);
    let pieces = u64::try_from(time.as_millis() / 22).unwrap_or(100);
    let paced = pieces * PIECE as u64;
    for address in [V4, V6] {
        let stream = connect(client, address, PORT).await.expect("a connection");
        all.push(flow(format!("download {address}"), download(stream, paced, pace)));
        let stream = connect(client, address, PORT).await.expect("a connection");
        all.push(flow(format!("upload {address}"), upload(stream, paced, pace)));
        let stream = connect(client, address, PORT).await.expect("a connection");
        all.push(flow(format!("ping-pong {address}"), ping_pong(stream, time, pace)));
        // Silent but for its first and its last words.
        let stream = connect(client, address, PORT).await.expect("a connection");
        all.push(flow(format!("idle {address}"), ping_pong(stream, time, time)));
    }
    all
}

/// As fast as it goes, both ways: with segmentation and receive offload.
async fn at_full_speed(client: &NetNs, octets: u64) -> Vec<Flow> {
    let down = connect(client, V4, PORT).await.expect("a connection");
    let up = connect(client, V6, PORT).await.expect("a connection");
    vec![
        flow("download at full speed", download(down, octets, Duration::ZERO)),
        flow("upload at full speed", upload(up, octets, Duration::ZERO)),
    ]
}

impl Started {
    fn start(flows: Vec<Flow>) -> Self {
        Self(flows.into_iter().map(|(name, doing)| (name, tokio::spawn(doing))).collect())
    }

    async fn fates(self) -> Vec<(String, Fate)> {
        let ends = self.0.into_iter().map(|(name, doing)| async {
            (name, doing.await.unwrap_or_else(|error| Err(error.to_string())))
        });
        join_all(ends).await
    }

    /// Bytes right, no reset, no timeout, in every one.
    async fn all_survive(self) {
        let fates = self.fates().await;
        let lost: Vec<_> = fates.iter().filter(|(_, fate)| fate.is_err()).collect();
        let counted = if lost.is_empty() { Vec::new() } else { vec![counts().await] };
        assert!(
            lost.is_empty(),
            "{} of {} are lost: {lost:#?}\n{counted:#?}",
            lost.len(),
            fates.len()
        );
    }
}

/// What the first three sites counted, without what is zero.
async fn counts() -> Vec<String> {
    let mut all = Vec::new();
    for at in 0..3 {
        let report = Stand::affinity(at).await;
        let some = report.packets.iter().chain(&report.rejected).filter(|(_, count)| **count > 0);
        let words = some.map(|(what, count)| format!("{what} {count}")).collect::<Vec<_>>();
        all.push(format!("{}: {} {}", site(at), report.state, words.join(", ")));
    }
    all
}

fn serve_everywhere(stand: &Stand, control: Option<&str>) {
    for at in 0..stand.sites {
        for address in [V4, V6] {
            serve(&stand.namespace(at), address, PORT, control);
        }
    }
}

/// Leads the client from site to site.
async fn flip(stand: &Stand, flips: usize, pause: Duration) {
    for at in 1..=flips {
        tokio::time::sleep(pause).await;
        stand.reroute(at % stand.sites).await;
    }
}

fn set_in(node: &NetNs, setting: &'static str, value: &'static str) {
    node.run(|| std::fs::write(format!("/proc/sys/net/{setting}"), value)).expect(setting);
}

fn sum(report: &AffinityReport, of: fn(&anycast_site::affinity::PeerRow) -> u64) -> u64 {
    report.peers.iter().map(of).sum()
}

async fn every_kind() {
    let stand = Stand::build(Fleet::default()).await;
    if !stand.keeps().await {
        return;
    }
    serve_everywhere(&stand, None);
    let started = Started::start(flows_of(&stand.client(), Duration::from_secs(4)).await);
    flip(&stand, 8, Duration::from_millis(400)).await;
    started.all_survive().await;
    let owner = Stand::affinity(0).await;
    let stray = Stand::affinity(1).await;
    assert!(sum(&owner, |it| it.unwrapped) > 100, "{owner:?}");
    assert!(sum(&stray, |it| it.forwarded_by_hint) > 100, "{stray:?}");
    assert_eq!(owner.rejected.values().sum::<u64>(), 0, "{owner:?}");
}

async fn without() {
    let stand = Stand::build(Fleet { kept: false, ..Fleet::default() }).await;
    serve_everywhere(&stand, None);
    let started = Started::start(flows_of(&stand.client(), Duration::from_secs(3)).await);
    tokio::time::sleep(Duration::from_millis(300)).await;
    stand.reroute(1).await;
    let fates = started.fates().await;
    let alive: Vec<_> = fates.iter().filter(|(_, fate)| fate.is_ok()).collect();
    assert!(alive.is_empty(), "these survive without: {alive:?}");
    let is_reset = |fate: &Fate| matches!(fate, Err(why) if why.contains("reset"));
    let resets = fates.iter().filter(|(_, fate)| is_reset(fate)).count();
    assert!(resets >= 6, "{fates:#?}");
}

async fn without_timestamps() {
    let stand = Stand::build(Fleet::default()).await;
    if !stand.keeps().await {
        return;
    }
    set_in(&stand.client(), "ipv4/tcp_timestamps", "0");
    serve_everywhere(&stand, None);
    let started = Started::start(flows_of(&stand.client(), Duration::from_secs(2)).await);
    flip(&stand, 4, Duration::from_millis(400)).await;
    started.all_survive().await;
    let mut by_ring = 0;
    for at in 0..3 {
        by_ring += sum(&Stand::affinity(at).await, |it| it.forwarded_by_ring);
    }
    assert!(by_ring > 50, "{:#?}", counts().await);
}

async fn eight_sites() {
    let stand = Stand::build(Fleet { sites: 8, ..Fleet::default() }).await;
    if !stand.keeps().await {
        return;
    }
    let controls = std::fs::read_to_string("/proc/sys/net/ipv4/tcp_available_congestion_control");
    let controls = controls.unwrap_or_default();
    let mut flows = Vec::new();
    for (port, control) in [(PORT, "cubic"), (PORT + 1, "bbr")] {
        if !controls.split_whitespace().any(|it| it == control) {
            println!("skipped: the kernel has no {control}");
            continue;
        }
        for at in 0..stand.sites {
            serve(&stand.namespace(at), V4, port, Some(control));
        }
        let stream = connect(&stand.client(), V4, port).await.expect("a connection");
        let pace = Duration::from_millis(10);
        flows.push(flow(control, download(stream, 250 * PIECE as u64, pace)));
    }
    let started = Started::start(flows);
    flip(&stand, 8, Duration::from_millis(300)).await;
    started.all_survive().await;
}

/// The daemon of a site of the lab.
fn daemon_of(name: &str) -> Pid {
    let found = std::fs::read_dir("/proc").expect("processes").flatten().find_map(|entry| {
        let pid: i32 = entry.file_name().to_str()?.parse().ok()?;
        let line = std::fs::read(entry.path().join("cmdline")).ok()?;
        let words: Vec<&[u8]> = line.split(|octet| *octet == 0).collect();
        let is_it = words.get(1) == Some(&&b"run"[..]) && words.contains(&name.as_bytes());
        is_it.then(|| Pid::from_raw(pid))
    });
    found.expect("its daemon runs")
}

async fn killed() {
    let mut stand = Stand::build(Fleet::default()).await;
    if !stand.keeps().await {
        return;
    }
    serve_everywhere(&stand, None);
    let started = Started::start(flows_of(&stand.client(), Duration::from_secs(6)).await);
    tokio::time::sleep(Duration::from_millis(300)).await;
    stand.lead_to(1).await;
    // The owner's daemon, then that of the site that passes on.
    for at in [0, 1] {
        let name = site(at);
        kill(daemon_of(&name), Signal::SIGKILL).expect("it can be killed");
        tokio::time::sleep(Duration::from_millis(300)).await;
        stand.lab.notice_the_dead();
        stand.lab.start(&name).await.expect("it starts again");
        tokio::time::sleep(Duration::from_millis(700)).await;
    }
    stand.lead_to(2).await;
    started.all_survive().await;
    let owner = Stand::affinity(0).await;
    assert!(sum(&owner, |it| it.unwrapped) > 50, "the counters went on: {owner:?}");
}

async fn unloaded() {
    let stand = Stand::build(Fleet::default()).await;
    if !stand.keeps().await {
        return;
    }
    serve_everywhere(&stand, None);
    let tell = async |order: &str| {
        for at in 0..stand.sites {
            let report: AffinityReport =
                Stand::ask(at).post_for(&format!("/v1/affinity/{order}"), &()).await.expect(order);
            assert_eq!(report.state, format!("{order}ed"), "{report:?}");
        }
    };
    tell("unload").await;
    // Some begin without the programs, and are brought home by the ring once they are there.
    let started = Started::start(flows_of(&stand.client(), Duration::from_secs(4)).await);
    tokio::time::sleep(Duration::from_millis(300)).await;
    tell("load").await;
    let later = Started::start(flows_of(&stand.client(), Duration::from_secs(4)).await);
    flip(&stand, 3, Duration::from_millis(400)).await;
    stand.lead_to(0).await;
    tell("unload").await;
    tokio::time::sleep(Duration::from_millis(500)).await;
    tell("load").await;
    stand.lead_to(1).await;
    started.all_survive().await;
    later.all_survive().await;
}

async fn drained() {
    let stand = Stand::build(Fleet::default()).await;
    if !stand.keeps().await {
        return;
    }
    serve_everywhere(&stand, None);
    stand.lab.reroute(CLIENT, None).await.expect("its own choice");
    let client = stand.lab.node(CLIENT).expect("the client");
    let first = stand.lab.prober.ask(client, Duration::from_secs(1)).await.expect("an answer").site;
    let at = (0..3).find(|at| site(*at) == first).expect("a site");
    let started = Started::start(flows_of(&stand.client(), Duration::from_secs(5)).await);
    let order = DrainOrder { now: true, ..DrainOrder::default() };
    Stand::ask(at).post("/v1/drain", &order).await.expect("it is drained");
    let row = async || -> DrainRow {
        let rows: Vec<DrainRow> = Stand::ask(at).get("/v1/drains").await.expect("rows");
        rows.into_iter().next().expect("a drain")
    };
    let wait = async |what: &str, holds: fn(&DrainRow) -> bool| {
        let begin = Instant::now();
        loop {
            let row = row().await;
            if holds(&row) {
                return;
            }
            assert!(begin.elapsed() < Duration::from_secs(15), "{what}: {row:?}");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    wait("its connections are counted", |row| row.connections >= Some(8)).await;
    assert_eq!(row().await.stage, "finishing");
    let now = stand.lab.prober.ask(client, Duration::from_secs(1)).await.expect("an answer").site;
    assert_ne!(now, first, "new ones go elsewhere");
    started.all_survive().await;
    wait("it finishes with its last connection", |row| row.stage == "drained").await;
}

async fn small_link() {
    let stand = Stand::build(Fleet::default()).await;
    if !stand.keeps().await {
        return;
    }
    // The client's provider has a link to each site's network that is smaller than full packets.
    let users = stand.lab.namespace(stand.lab.node("users").expect("its router")).clone();
    let done = users.run(|| {
        let mut command = std::process::Command::new("ip");
        command.args(["link", "set", "lan", "mtu", "1300"]).status()
    });
    if !done.is_ok_and(|status| status.success()) {
        println!("skipped: ip is not installed");
        return;
    }
    serve_everywhere(&stand, None);
    let client = stand.client();
    let mut flows = Vec::new();
    for address in [V4, V6] {
        let stream = connect(&client, address, PORT).await.expect("a connection");
        flows.push(flow(address, download(stream, 300 * PIECE as u64, Duration::from_millis(10))));
    }
    // Full packets begin when the route has changed: the messages about them go astray.
    stand.lead_to(1).await;
    let started = Started::start(flows);
    flip(&stand, 4, Duration::from_millis(500)).await;
    started.all_survive().await;
}

async fn full_speed() {
    let stand = Stand::build(Fleet::default()).await;
    if !stand.keeps().await {
        return;
    }
    serve_everywhere(&stand, None);
    let started = Started::start(at_full_speed(&stand.client(), 8 << 20).await);
    flip(&stand, 4, Duration::from_millis(200)).await;
    started.all_survive().await;
}

async fn thousand() {
    let stand = Stand::build(Fleet::default()).await;
    if !stand.keeps().await {
        return;
    }
    serve_everywhere(&stand, None);
    let until = Instant::now() + Duration::from_secs(25);
    let many: Vec<_> = (0..4).map(|_| tokio::spawn(short(stand.client(), V4, until))).collect();
    flip(&stand, 250, Duration::from_millis(100)).await;
    let mut made = 0;
    for one in many {
        let (count, failed) = one.await.expect("it ends");
        assert!(failed.is_empty(), "{} of {count}: {failed:#?}", failed.len());
        made += count;
    }
    assert!(made >= 1000, "{made} connections");
    println!("{made} short connections");
}

async fn tls_and_http() {
    let stand = Stand::build(Fleet::default()).await;
    if !stand.keeps().await {
        return;
    }
    let identity = Identity::new();
    for at in 0..stand.sites {
        for address in [V4, V6] {
            identity.serve(&stand.namespace(at), address);
        }
    }
    let client = stand.client();
    let (time, pace) = (Duration::from_secs(4), Duration::from_millis(20));
    let mut flows = Vec::new();
    for address in [V4, V6] {
        let secure = async |port| identity.connect(&client, address, port).await.expect("TLS");
        let octets = 200 * PIECE as u64;
        let stream = secure(TLS_PORT).await;
        flows.push(flow(format!("TLS download {address}"), download(stream, octets, pace)));
        let stream = secure(TLS_PORT).await;
        flows.push(flow(format!("TLS upload {address}"), upload(stream, octets, pace)));
        let stream = secure(HTTP1_PORT).await;
        flows.push(flow(format!("HTTP/1.1 {address}"), keep_alive(stream, time)));
        let stream = secure(HTTP2_PORT).await;
        flows.push(flow(format!("HTTP/2 {address}"), many_streams(stream, time)));
    }
    let started = Started::start(flows);
    flip(&stand, 8, Duration::from_millis(400)).await;
    started.all_survive().await;
}

async fn over_quic() {
    let stand = Stand::build(Fleet::default()).await;
    if !stand.keeps().await {
        return;
    }
    let identity = Identity::new();
    for at in 0..stand.sites {
        let id = u8::try_from(at + 1).expect("a few sites");
        for address in [V4, V6] {
            quic::serve(&identity, &stand.namespace(at), address, id, secret(0));
        }
    }
    let (time, pace) = (Duration::from_secs(4), Duration::from_millis(20));
    let mut flows = Vec::new();
    let mut connections = Vec::new();
    for address in [V4, V6] {
        let connection = quic::connect(&identity, &stand.client(), address).await.expect("QUIC");
        let stream = async || {
            let (send, receive) = connection.open_bi().await.expect("a stream");
            tokio::io::join(receive, send)
        };
        let octets = 200 * PIECE as u64;
        let stream_of = stream().await;
        flows.push(flow(format!("QUIC download {address}"), download(stream_of, octets, pace)));
        let stream_of = stream().await;
        flows.push(flow(format!("QUIC upload {address}"), upload(stream_of, octets, pace)));
        let stream_of = stream().await;
        flows.push(flow(format!("QUIC ping-pong {address}"), ping_pong(stream_of, time, pace)));
        connections.push(connection);
    }
    let started = Started::start(flows);
    flip(&stand, 8, Duration::from_millis(400)).await;
    started.all_survive().await;
    let stray = Stand::affinity(1).await;
    assert!(stray.packets.get("forwarded-quic") > Some(&100), "{stray:?}");
}

/// Hours in small: nothing is sent, no keepalive, while the routes change again and again.
async fn idle() {
    let stand = Stand::build(Fleet::default()).await;
    if !stand.keeps().await {
        return;
    }
    serve_everywhere(&stand, None);
    let time = Duration::from_secs(20);
    let mut flows = Vec::new();
    for address in [V4, V6] {
        let stream = connect(&stand.client(), address, PORT).await.expect("a connection");
        flows.push(flow(format!("idle {address}"), ping_pong(stream, time, time)));
    }
    let started = Started::start(flows);
    flip(&stand, 10, Duration::from_millis(1_500)).await;
    stand.lead_to(2).await;
    started.all_survive().await;
}

/// Somebody sends frames as if a site had, replays a good one, and floods one site through another with
/// segments that name it, while connections stray from that one to it.
async fn hostile() {
    const LIMIT: u32 = 1_000;
    let fleet = Fleet { packets_of_a_source: Some(LIMIT), ..Fleet::default() };
    let stand = Stand::build(fleet).await;
    if !stand.keeps().await {
        return;
    }
    serve_everywhere(&stand, None);
    let client = stand.client();
    let (time, pace) = (Duration::from_secs(4), Duration::from_millis(20));
    let mut flows = Vec::new();
    for address in [V4, V6] {
        let stream = connect(&client, address, PORT).await.expect("a connection");
        flows.push(flow(format!("ping-pong {address}"), ping_pong(stream, time, pace)));
        let stream = connect(&client, address, PORT).await.expect("a connection");
        flows.push(flow(format!("download {address}"), download(stream, 1 << 20, pace)));
    }
    let started = Started::start(flows);
    stand.lead_to(1).await;

    let attacker = Attacker::new(&client);
    let before = Stand::affinity(0).await;
    let bad = bad_frames();
    for (_, packet) in &bad {
        attacker.send(packet);
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let good = frame(Duration::ZERO);
    for _ in 0..100 {
        attacker.send(&good);
    }
    tokio::time::sleep(Duration::from_millis(300)).await;
    let after = Stand::affinity(0).await;
    for reason in ["format", "source", "epoch", "mac", "age", "hops", "inner"] {
        let sent = bad.iter().filter(|(why, _)| *why == reason).count() as u64;
        let counted = |report: &AffinityReport| report.rejected.get(reason).copied().unwrap_or(0);
        assert_eq!(counted(&after) - counted(&before), sent, "{reason}: {after:#?}");
    }

    // Four sources, each far over what is passed on for one.
    let sources = [1, 2, 3, 4].map(|host| [198, 18, 0, host]);
    let seconds = 2;
    let flood = tokio::task::spawn_blocking(move || {
        attacker.flood(&sources, 1, Duration::from_secs(seconds))
    });
    let until = Instant::now() + Duration::from_secs(seconds);
    let meanwhile = tokio::spawn(short(client, V4, until));
    let sent = flood.await.expect("it ends");
    let (made, failed) = meanwhile.await.expect("they end");
    assert!(failed.is_empty(), "{} of {made}: {failed:?}", failed.len());
    started.all_survive().await;
    let stray = Stand::affinity(1).await;
    let limited = stray.packets.get("limited-source").copied().unwrap_or(0);
    let most = u64::from(LIMIT) * 4 * (seconds + 2);
    println!("flood of {sent}, of which {limited} were limited; {made} connections meanwhile");
    assert!(limited > 1_000 && sent as u64 - limited <= most, "{sent}: {stray:#?}");
}

/// Stamped timestamps change nothing about how TCP gets over loss: 0.3 % at 20 ms, three seeds.
async fn loss() {
    const OCTETS: u64 = 12 << 20;
    let stand = Stand::build(Fleet::default()).await;
    if !stand.keeps().await {
        return;
    }
    serve_everywhere(&stand, None);
    let transfers = async |order: &str| {
        let report: AffinityReport = Stand::ask(0)
            .post_for(&format!("/v1/affinity/{order}"), &())
            .await
            .expect("it is told");
        assert_eq!(report.state, format!("{order}ed"), "{report:?}");
        let mut times = Vec::new();
        for seed in 1..=3 {
            let latency = Duration::from_millis(10);
            stand.lab.impair("as0--users", latency, 0.003, seed).expect("the link is there");
            let stream = connect(&stand.client(), V4, PORT).await.expect("a connection");
            let begin = Instant::now();
            download(stream, OCTETS, Duration::ZERO).await.expect("it ends");
            times.push(begin.elapsed().as_secs_f64());
        }
        times
    };
    let [mut with, mut without] = [0.0, 0.0];
    for _ in 0..2 {
        let (kept, plain) = (transfers("load").await, transfers("unload").await);
        println!("seconds with {kept:.2?}, without {plain:.2?}");
        with += kept.iter().sum::<f64>();
        without += plain.iter().sum::<f64>();
    }
    println!("ratio of the times, with over without: {:.3}", with / without);
    assert!(with < 1.25 * without, "{with} s with, {without} s without");
}

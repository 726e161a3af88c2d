//! What must survive, and what does not without affinity.

use std::io::Read;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anycast_lab::netns::NetNs;
use anycast_site::affinity::AffinityReport;
use anycast_site::status::{DrainOrder, DrainRow};
use futures_util::future::{BoxFuture, LocalBoxFuture, join_all};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use socket2::{Domain, Protocol, Socket, Type};
use tokio::task::JoinHandle;

use crate::flows::{PIECE, PORT, connect, download, ping_pong, serve, upload};
use crate::secure::{HTTP1_PORT, HTTP2_PORT, Identity, TLS_PORT, keep_alive, many_streams};
use crate::stand::{CLIENT, Fleet, RUN, Stand, V4, V6, secret, site};
use crate::{attacks, changes, handshakes, quic, ssh, whoami, xdp};

/// A case, played in a lab of its own.
type Play = fn() -> LocalBoxFuture<'static, ()>;

pub(crate) const CASES: &[(&str, Play)] = &[
    ("every_kind_of_connection_survives_flips_over_three_sites", || Box::pin(every_kind())),
    ("without_affinity_the_same_connections_are_reset", || Box::pin(without())),
    ("connections_of_clients_without_timestamps_survive_by_the_ring", || {
        Box::pin(without_timestamps())
    }),
    ("cubic_and_bbr_survive_over_eight_sites", || Box::pin(eight_sites())),
    ("a_daemon_that_is_killed_and_started_again_is_not_felt", || Box::pin(killed())),
    ("unloading_and_loading_in_the_middle_is_not_felt", || Box::pin(unloaded())),
    ("a_drained_site_finishes_its_connections_while_new_ones_go_elsewhere", || Box::pin(drained())),
    ("a_drain_waits_no_longer_than_it_is_told", || Box::pin(changes::limited_drain())),
    ("keys_that_are_changed_in_the_middle_are_not_felt", || Box::pin(changes::rotated())),
    ("an_upgrade_in_the_middle_is_not_felt", || Box::pin(changes::upgraded())),
    ("an_interface_is_found_when_its_address_comes", || Box::pin(changes::address_late())),
    ("an_interface_that_comes_late_or_anew_is_found", || Box::pin(changes::interface_made_anew())),
    ("transfers_through_a_small_link_survive", || Box::pin(small_link())),
    ("transfers_at_full_speed_survive", || Box::pin(full_speed())),
    ("handshakes_by_syn_cookies_survive", || Box::pin(handshakes::cookies())),
    ("a_thousand_short_connections_survive_flips_each_tenth_of_a_second", || {
        Box::pin(handshakes::thousand())
    }),
    ("short_connections_survive_250_flips", || Box::pin(handshakes::long())),
    ("tls_and_http_survive", || Box::pin(tls_and_http())),
    ("ssh_survives", || Box::pin(ssh::survives())),
    ("quic_survives", || Box::pin(over_quic())),
    ("quic_of_whoami_itself_survives", || Box::pin(whoami::survives())),
    ("without_affinity_quic_of_whoami_itself_breaks", || Box::pin(whoami::without())),
    ("quic_of_whoami_survives_an_upgrade_and_new_keys", || Box::pin(whoami::changed())),
    ("a_client_that_goes_on_at_the_preferred_address_feels_no_route_change", || {
        Box::pin(whoami::preferred())
    }),
    ("without_affinity_tls_http_and_quic_break", || Box::pin(without_secure())),
    ("without_affinity_short_connections_break", || Box::pin(handshakes::without())),
    ("twenty_idle_seconds_survive", || Box::pin(idle())),
    ("frames_of_an_attacker_and_a_flood_harm_nobody", || Box::pin(attacks::frames())),
    ("a_flood_of_many_sources_reaches_its_target_within_the_budget", || Box::pin(attacks::flood())),
    ("a_flood_that_the_lab_just_bears_harms_nobody", || Box::pin(attacks::faster_flood())),
    ("in_the_driver_every_kind_survives", || Box::pin(xdp::in_the_driver())),
    ("by_another_interface_every_kind_survives", || Box::pin(xdp::by_another_interface())),
    ("in_front_of_the_stack_every_kind_survives", || Box::pin(xdp::in_front_of_the_stack())),
    ("loss_costs_what_it_costs_without", || Box::pin(loss())),
];

pub(crate) async fn play(name: &str) {
    let (_, case) = CASES.iter().find(|(its, _)| *its == name).expect("a case of that name");
    case().await;
}

pub(crate) type Fate = Result<(), String>;
pub(crate) type Flow = (String, BoxFuture<'static, Fate>);

/// Flows under way.
pub(crate) struct Started(Vec<(String, JoinHandle<Fate>)>);

pub(crate) fn flow(
    name: impl Into<String>,
    doing: impl Future<Output = Fate> + Send + 'static,
) -> Flow {
    (name.into(), Box::pin(doing))
}

/// Every kind of flow over TCP, each for about so long.
pub(crate) async fn flows_of(client: &NetNs, time: Duration) -> Vec<Flow> {
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

/// Of the lab's links.
const MTU: usize = 1500;

/// Looks for the longest TCP packet that a node sends or gets, at all its links.
struct Longest {
    is_over: Arc<AtomicBool>,
    thread: std::thread::JoinHandle<usize>,
}

impl Longest {
    fn watch(node: &NetNs) -> Self {
        // packet(7): ETH_P_ALL, "cooked".
        let all = Protocol::from(i32::from(3_u16.to_be()));
        let socket = node.run(|| Socket::new(Domain::PACKET, Type::DGRAM, Some(all)));
        let socket = socket.expect("a packet socket");
        socket.set_read_timeout(Some(Duration::from_millis(50))).expect("an option");
        let is_over = Arc::new(AtomicBool::new(false));
        let until = Arc::clone(&is_over);
        let thread = std::thread::spawn(move || {
            let mut longest = 0;
            let mut buffer = vec![0; 1 << 16];
            while !until.load(Ordering::Relaxed) {
                longest = longest.max((&socket).read(&mut buffer).unwrap_or(0));
            }
            longest
        });
        Self { is_over, thread }
    }

    fn found(self) -> usize {
        self.is_over.store(true, Ordering::Relaxed);
        self.thread.join().expect("it ends")
    }
}

/// As fast as it goes, both ways: with segmentation and receive offload.
pub(crate) async fn at_full_speed(client: &NetNs, octets: u64) -> Vec<Flow> {
    let down = connect(client, V4, PORT).await.expect("a connection");
    let up = connect(client, V6, PORT).await.expect("a connection");
    vec![
        flow("download at full speed", download(down, octets, Duration::ZERO)),
        flow("upload at full speed", upload(up, octets, Duration::ZERO)),
    ]
}

impl Started {
    pub(crate) fn start(flows: Vec<Flow>) -> Self {
        Self(flows.into_iter().map(|(name, doing)| (name, tokio::spawn(doing))).collect())
    }

    pub(crate) async fn fates(self) -> Vec<(String, Fate)> {
        let ends = self.0.into_iter().map(|(name, doing)| async {
            (name, doing.await.unwrap_or_else(|error| Err(error.to_string())))
        });
        join_all(ends).await
    }

    /// Bytes right, no reset, no timeout, in every one.
    pub(crate) async fn all_survive(self) {
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
pub(crate) async fn counts() -> Vec<String> {
    let mut all = Vec::new();
    for at in 0..3 {
        let report = Stand::affinity(at).await;
        let some = report.packets.iter().chain(&report.rejected).filter(|(_, count)| **count > 0);
        let words = some.map(|(what, count)| format!("{what} {count}")).collect::<Vec<_>>();
        all.push(format!("{}: {} {}", site(at), report.state, words.join(", ")));
    }
    all
}

pub(crate) fn serve_everywhere(stand: &Stand, control: Option<&str>) {
    for at in 0..stand.sites {
        for address in [V4, V6] {
            serve(&stand.namespace(at), address, PORT, control);
        }
    }
}

/// Leads the client from site to site.
pub(crate) async fn flip(stand: &Stand, flips: usize, pause: Duration) {
    for at in 1..=flips {
        tokio::time::sleep(pause).await;
        stand.reroute(at % stand.sites).await;
    }
}

pub(crate) fn set_in(node: &NetNs, setting: &'static str, value: &'static str) {
    node.run(|| std::fs::write(format!("/proc/sys/net/{setting}"), value)).expect(setting);
}

pub(crate) fn sum(report: &AffinityReport, of: fn(&anycast_site::affinity::PeerRow) -> u64) -> u64 {
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
    shows_its_table(&stray);
}

/// What `anycast show affinity` prints at the second site: a row for each other one, with what was counted.
fn shows_its_table(report: &AffinityReport) {
    let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_anycast"));
    command.args(["show", "affinity", "--socket", &format!("{RUN}/{}.sock", site(1))]);
    let output = command.output().expect("the program starts");
    let shown = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{output:?}");
    let mut lines = shown.lines();
    let first = lines.next().expect("a line");
    let begins = "connections are kept at their sites: packets are taken at ";
    assert!(first.starts_with(begins) && first.ends_with(" by tc, as number 2"), "{shown}");
    let headings = shown.lines().find(|line| line.starts_with("SITE ")).expect("a table");
    for heading in ["ID", "ADDRESS", "SENT BY HINT", "SENT BY RING", "RECEIVED", "OVER LIMIT"] {
        assert!(headings.contains(heading), "{heading}: {shown}");
    }
    for peer in &report.peers {
        let row = shown.lines().find(|line| line.starts_with(&format!("{} ", peer.site)));
        let cells: Vec<&str> = row.expect("a row for each site").split_whitespace().collect();
        let [_, id, address, by_hint, ..] = cells[..] else { panic!("{shown}") };
        assert_eq!(id.parse(), Ok(peer.id), "{shown}");
        assert_eq!(address.parse().ok(), peer.address, "{shown}");
        // More may have strayed since.
        assert!(by_hint.parse::<u64>().is_ok_and(|it| it >= peer.forwarded_by_hint), "{shown}");
    }
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
        for address in [V4, V6] {
            for at in 0..stand.sites {
                serve(&stand.namespace(at), address, port, Some(control));
            }
            let (octets, pace) = (400 * PIECE as u64, Duration::from_millis(10));
            let stream = connect(&stand.client(), address, port).await.expect("a connection");
            flows.push(flow(format!("{control} down {address}"), download(stream, octets, pace)));
            let stream = connect(&stand.client(), address, port).await.expect("a connection");
            flows.push(flow(format!("{control} up {address}"), upload(stream, octets, pace)));
        }
    }
    let started = Started::start(flows);
    flip(&stand, 8, Duration::from_millis(300)).await;
    started.all_survive().await;
    let mut passed_on = Vec::new();
    for at in 1..stand.sites {
        passed_on.push(sum(&Stand::affinity(at).await, |it| it.forwarded_by_hint));
    }
    let many = passed_on.iter().filter(|strays| **strays > 10).count();
    assert!(many >= 3, "what each of the other sites passed on: {passed_on:?}");
    let owner = Stand::affinity(0).await;
    assert!(sum(&owner, |it| it.unwrapped) > 100, "{owner:?}");
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

/// Sets what some links of the client's provider take at most; `false`, said aloud, if that cannot be.
fn set_mtu(router: &NetNs, interfaces: &[String], mtu: usize) -> bool {
    router.run(|| {
        interfaces.iter().all(|name| {
            let mtu = mtu.to_string();
            let mut command = std::process::Command::new("ip");
            match command.args(["link", "set", name, "mtu", &mtu]).status() {
                Ok(status) => {
                    assert!(status.success(), "{name} takes no MTU of {mtu}");
                    true
                }
                Err(error) => {
                    println!("skipped: ip is not installed: {error}");
                    false
                }
            }
        })
    })
}

async fn small_link() {
    const SMALL: usize = 1300;
    let stand = Stand::build(Fleet::default()).await;
    if !stand.keeps().await {
        return;
    }
    // The client's provider has a link to its customers that is smaller than full packets.
    let users = stand.lab.namespace(stand.lab.node("users").expect("its router")).clone();
    let lan = ["lan".to_owned()];
    if !set_mtu(&users, &lan, SMALL) {
        return;
    }
    serve_everywhere(&stand, None);
    let client = stand.client();
    let (octets, pace) = (300 * PIECE as u64, Duration::from_millis(10));
    let mut flows = Vec::new();
    for address in [V4, V6] {
        let stream = connect(&client, address, PORT).await.expect("a connection");
        flows.push(flow(format!("download {address}"), download(stream, octets, pace)));
    }
    // Full packets begin when the route has changed: the messages about them go astray.
    stand.lead_to(1).await;
    let started = Started::start(flows);
    flip(&stand, 4, Duration::from_millis(500)).await;
    started.all_survive().await;
    let stray = Stand::affinity(1).await;
    let errors = stray.packets.get("forwarded-icmp").copied().unwrap_or(0);
    assert!(errors >= 2, "an error for each family strayed: {stray:?}");
    assert!(sum(&stray, |it| it.forwarded_by_hint) > 20, "{stray:?}");

    // The other way it is its links to the sites' networks.
    let names = users.run(nix::net::if_::if_nameindex).expect("its interfaces");
    let names = names.iter().map(|it| it.name().to_string_lossy().into_owned());
    let exits: Vec<String> = names.filter(|it| it != "lo" && it != "lan").collect();
    assert!(exits.len() >= stand.sites, "{exits:?}");
    set_mtu(&users, &lan, MTU);
    stand.lead_to(0).await;
    let mut flows = Vec::new();
    for address in [V4, V6] {
        let stream = connect(&client, address, PORT).await.expect("a connection");
        flows.push(flow(format!("upload {address}"), upload(stream, octets, pace)));
    }
    set_mtu(&users, &exits, SMALL);
    let before = stand.strays().await;
    stand.lead_to(1).await;
    let started = Started::start(flows);
    flip(&stand, 4, Duration::from_millis(500)).await;
    started.all_survive().await;
    assert!(stand.strays().await > before + 20, "{:?}", counts().await);
}

async fn full_speed() {
    let stand = Stand::build(Fleet::default()).await;
    if !stand.keeps().await {
        return;
    }
    serve_everywhere(&stand, None);
    // What leaves the owner, and what strays: packets that the kernel keeps in one are longer than the
    // link takes.
    let (owner, stray) = (Longest::watch(&stand.namespace(0)), Longest::watch(&stand.namespace(1)));
    let flows = at_full_speed(&stand.client(), 8 << 20).await;
    stand.lead_to(1).await;
    let started = Started::start(flows);
    flip(&stand, 4, Duration::from_millis(200)).await;
    started.all_survive().await;
    let (owner, stray) = (owner.found(), stray.found());
    println!("the longest packets: {owner} octets at the owner, {stray} where they stray");
    assert!(owner > 2 * MTU, "TSO is off: {owner}");
    assert!(stray > 2 * MTU, "GRO is off: {stray}");
    let passed_on = stand.strays().await;
    assert!(passed_on > 100, "{passed_on}: {:?}", counts().await);
}

/// TLS, HTTP/1.1 and HTTP/2 at every site, and connections of all three.
async fn secure_flows(stand: &Stand, time: Duration) -> Vec<Flow> {
    let identity = Identity::new();
    for at in 0..stand.sites {
        for address in [V4, V6] {
            identity.serve(&stand.namespace(at), address);
        }
    }
    let client = stand.client();
    let pace = Duration::from_millis(20);
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
    flows
}

async fn tls_and_http() {
    let stand = Stand::build(Fleet::default()).await;
    if !stand.keeps().await {
        return;
    }
    let started = Started::start(secure_flows(&stand, Duration::from_secs(4)).await);
    flip(&stand, 8, Duration::from_millis(400)).await;
    started.all_survive().await;
    let passed_on = stand.strays().await;
    assert!(passed_on > 100, "{passed_on}: {:?}", counts().await);
}

/// QUIC at every site, and streams of one connection for each family; the connections must be held.
async fn quic_flows(stand: &Stand, time: Duration) -> (Vec<Flow>, Vec<quinn::Connection>) {
    let identity = Identity::new();
    for at in 0..stand.sites {
        let id = u8::try_from(at + 1).expect("a few sites");
        for address in [V4, V6] {
            quic::serve(&identity, &stand.namespace(at), address, id, secret(0));
        }
    }
    let pace = Duration::from_millis(20);
    let mut flows = Vec::new();
    let mut connections = Vec::new();
    for address in [V4, V6] {
        let connection =
            quic::connect(&identity, &stand.client(), address, quic::ALPN).await.expect("QUIC");
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
    (flows, connections)
}

async fn over_quic() {
    let stand = Stand::build(Fleet::default()).await;
    if !stand.keeps().await {
        return;
    }
    let (flows, _connections) = quic_flows(&stand, Duration::from_secs(4)).await;
    let started = Started::start(flows);
    flip(&stand, 8, Duration::from_millis(400)).await;
    started.all_survive().await;
    let stray = Stand::affinity(1).await;
    assert!(stray.packets.get("forwarded-quic") > Some(&100), "{stray:?}");
}

async fn without_secure() {
    let stand = Stand::build(Fleet { kept: false, ..Fleet::default() }).await;
    let time = Duration::from_secs(3);
    let mut flows = secure_flows(&stand, time).await;
    let (more, _connections) = quic_flows(&stand, time).await;
    flows.extend(more);
    let started = Started::start(flows);
    tokio::time::sleep(Duration::from_millis(300)).await;
    stand.reroute(1).await;
    let fates = started.fates().await;
    let alive: Vec<_> = fates.iter().filter(|(_, fate)| fate.is_ok()).collect();
    assert!(alive.is_empty(), "these survive without: {alive:?}");
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

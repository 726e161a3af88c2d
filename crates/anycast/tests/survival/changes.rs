//! What operators change while connections are under way: keys, programs, drains.

use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anycast_site::events::SiteEvent;
use anycast_site::status::{DrainOrder, DrainRow};
use anycast_site::upgrade::{UpgradeOrder, UpgradeReport};

use crate::cases::{Started, counts, flip, flow, flows_of, serve_everywhere, sum};
use crate::flows::{PORT, connect, talk};
use crate::stand::{Fleet, Stand, V4, V6, is_able_to_keep, site};

/// Connections that talk until they are told to end, two for each family.
struct Talks {
    is_over: Arc<AtomicBool>,
    started: Started,
}

impl Talks {
    async fn start(stand: &Stand) -> Self {
        let is_over = Arc::new(AtomicBool::new(false));
        let mut flows = Vec::new();
        for address in [V4, V6, V4, V6] {
            let stream = connect(&stand.client(), address, PORT).await.expect("a connection");
            let until = Arc::clone(&is_over);
            let pace = Duration::from_millis(10);
            let words = talk(stream, pace, move || until.load(Ordering::Relaxed));
            flows.push(flow(format!("talk {address}"), words));
        }
        Self { is_over, started: Started::start(flows) }
    }

    async fn all_survive(self) {
        self.is_over.store(true, Ordering::Relaxed);
        self.started.all_survive().await;
    }
}

/// As docs/affinity.md says: the new key second, then first, then alone, each at every site, one site after the
/// other, while the routes change.
pub(crate) async fn rotated() {
    const STEPS: [&[u8]; 3] = [&[0, 1], &[1, 0], &[1]];
    let stand = Stand::build(Fleet::default()).await;
    if !stand.keeps().await {
        return;
    }
    serve_everywhere(&stand, None);
    let started = Started::start(flows_of(&stand.client(), Duration::from_secs(7)).await);
    let talks = Talks::start(&stand).await;
    let mut before = stand.strays().await;
    for epochs in STEPS {
        for at in 0..stand.sites {
            // The client is elsewhere each time, so that both keys are in use between the sites.
            stand.reroute((at + 1) % stand.sites).await;
            tokio::time::sleep(Duration::from_millis(150)).await;
            Stand::reload(at, Fleet { epochs, ..Fleet::default() }).await;
            tokio::time::sleep(Duration::from_millis(150)).await;
        }
        stand.lead_to(1).await;
        tokio::time::sleep(Duration::from_millis(200)).await;
        let now = stand.strays().await;
        assert!(now > before, "with {epochs:?} nothing strays any more: {:?}", counts().await);
        before = now;
    }
    talks.all_survive().await;
    started.all_survive().await;
    for at in 0..stand.sites {
        let report = Stand::affinity(at).await;
        assert_eq!(report.epochs, [1], "{report:?}");
        assert_eq!(report.rejected.values().sum::<u64>(), 0, "{}: {report:?}", site(at));
    }
}

/// Every site's daemon is replaced, the owner's first, while its connections stray.
pub(crate) async fn upgraded() {
    let stand = Stand::build(Fleet::default()).await;
    if !stand.keeps().await {
        return;
    }
    serve_everywhere(&stand, None);
    let started = Started::start(flows_of(&stand.client(), Duration::from_secs(6)).await);
    let talks = Talks::start(&stand).await;
    stand.lead_to(1).await;
    for at in 0..stand.sites {
        let before = sum(&Stand::affinity(0).await, |it| it.unwrapped);
        let order = UpgradeOrder::default();
        let report: UpgradeReport =
            Stand::ask(at).post_for("/v1/upgrade", &order).await.expect("it is upgraded");
        let since = format!("/v1/events?after={}", report.after);
        let begin = Instant::now();
        loop {
            let events = Stand::ask(at).get::<Vec<SiteEvent>>(&since).await;
            if events.is_ok_and(|all| all.iter().any(|event| event.kind == "upgraded")) {
                break;
            }
            assert!(begin.elapsed() < Duration::from_secs(30), "{} is not upgraded", site(at));
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        Stand::loaded(at).await;
        let after = sum(&Stand::affinity(0).await, |it| it.unwrapped);
        let what = "what strays from site1 is passed on all the time";
        assert!(after > before, "{what}; {} was upgraded: {before}, {after}", site(at));
    }
    flip(&stand, 3, Duration::from_millis(300)).await;
    talks.all_survive().await;
    started.all_survive().await;
    let owner = Stand::affinity(0).await;
    assert!(sum(&owner, |it| it.unwrapped) > 50, "{owner:?}");
}

/// Connections that outlast the time that they are waited for end the drain, and live on.
pub(crate) async fn limited_drain() {
    let stand = Stand::build(Fleet { connections_wait: "2s", ..Fleet::default() }).await;
    if !stand.keeps().await {
        return;
    }
    serve_everywhere(&stand, None);
    let talks = Talks::start(&stand).await;
    let order = DrainOrder { now: true, ..DrainOrder::default() };
    let row: DrainRow = Stand::ask(0).post_for("/v1/drain", &order).await.expect("it is drained");
    assert_eq!(row.stage, "finishing", "{row:?}");
    let begin = Instant::now();
    let words = loop {
        let events: Vec<SiteEvent> = Stand::ask(0).get("/v1/events").await.expect("events");
        if let Some(event) = events.iter().find(|event| event.kind == "drain-finished") {
            break event.detail.clone();
        }
        assert!(begin.elapsed() < Duration::from_secs(30), "the drain does not finish");
        tokio::time::sleep(Duration::from_millis(50)).await;
    };
    assert!(words.ends_with("connections run on and are waited for no longer"), "{words}");
    let rows: Vec<DrainRow> = Stand::ask(0).get("/v1/drains").await.expect("rows");
    assert_eq!(rows.iter().map(|row| row.stage.as_str()).collect::<Vec<_>>(), ["drained"]);
    talks.all_survive().await;
}

/// `ip` at the first site.
fn ip_at_first(stand: &Stand, line: &str) {
    let mut command = Command::new("ip");
    command.args(line.split(' '));
    let output = stand.namespace(0).run(|| command.output()).expect("ip is installed");
    assert!(output.status.success(), "{line}: {}", String::from_utf8_lossy(&output.stderr));
}

/// Interfaces are found by their addresses, also by one that comes late or goes.
pub(crate) async fn address_late() {
    let stand = Stand::build(Fleet::default()).await;
    if !stand.keeps().await {
        return;
    }
    let found = |wanted: usize| async move {
        let begin = Instant::now();
        loop {
            let report = Stand::affinity(0).await;
            if report.interfaces.len() == wanted {
                return;
            }
            assert!(begin.elapsed() < Duration::from_secs(20), "not {wanted}: {report:?}");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    let ip = |line: &str| ip_at_first(&stand, line);
    ip("link add late type veth peer name later");
    ip("link set late up");
    tokio::time::sleep(Duration::from_secs(5)).await;
    found(1).await;
    ip("address add 2001:db8:ffff:0::1/128 dev late nodad");
    found(2).await;
    ip("address delete 2001:db8:ffff:0::1/128 dev late");
    found(1).await;
}

/// An interface that is not there when the site starts is waited for, and one that was made anew under its
/// name (as by a restart of the network's configuration) is found.
pub(crate) async fn interface_made_anew() {
    const LATE: &str = "late";
    let stand = Stand::build(Fleet { interfaces: &[LATE], ..Fleet::default() }).await;
    if !is_able_to_keep() {
        return;
    }
    let ip = |line: &str| ip_at_first(&stand, line);
    let state = |wanted: &'static str| async move {
        let begin = Instant::now();
        loop {
            let report = Stand::affinity(0).await;
            if report.state == wanted {
                return report;
            }
            assert!(begin.elapsed() < Duration::from_secs(20), "not {wanted}: {report:?}");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    let count = |kind: &'static str| async move {
        let events: Vec<SiteEvent> = Stand::ask(0).get("/v1/events").await.expect("events");
        events.iter().filter(|it| it.kind == kind).count()
    };
    let why = state("unavailable").await.why.expect("a reason");
    assert!(why.starts_with("late: the programs cannot be attached"), "{why}");
    // Another one that comes changes nothing, and nothing is said again.
    ip("link add other type veth peer name another");
    tokio::time::sleep(Duration::from_secs(5)).await;
    state("unavailable").await;
    assert_eq!(count("affinity-unavailable").await, 1);

    ip("link add late type veth peer name later");
    let report = state("loaded").await;
    assert_eq!(report.interfaces[0].name, LATE, "{report:?}");
    assert_eq!(count("affinity-interfaces").await, 0);
    ip("link delete late");
    ip("link add late type veth peer name later");
    let begin = Instant::now();
    while count("affinity-interfaces").await == 0 {
        assert!(begin.elapsed() < Duration::from_secs(20), "it is not found");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    state("loaded").await;
}

//! Sites' steering around a real nats-server.

mod identities;

use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anycast_steer::{Action, Instant, Outcome, Steer};
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};

use super::{FleetState, Settled};
use crate::events::EventLog;

const FILE: &str = r#"
[fleet]
name = "test"
asn = 64500
[floor]
min-sites = 1
[fleet-state]
servers = ["nats://127.0.0.1:PORT"]
lease = "2s"
[prefix."192.0.2.0/24"]
services = ["dns"]
[service.dns]
addresses = ["192.0.2.53"]
check = [{ type = "tcp", port = 53, rise = 1 }]
damping = false
[site.a]
router-id = "10.0.0.1"
[site.a.neighbor.n]
address = "198.51.100.0"
asn = 64501
export = "fleet"
[site.b]
router-id = "10.0.0.2"
[site.b.neighbor.n]
address = "198.51.100.0"
asn = 64501
export = "fleet"
"#;

/// A nats-server of its own, ended and removed with it.
struct Nats {
    child: Child,
    port: u16,
    folder: PathBuf,
}

impl Nats {
    /// `None` if there is no nats-server here.
    fn start(extra: &[&str]) -> Option<Self> {
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let name = format!("anycast-nats-{}-{port}", std::process::id());
        let folder = std::env::temp_dir().join(name);
        std::fs::create_dir_all(&folder).unwrap();
        match spawn(port, &folder, extra) {
            Ok(child) => Some(Self { child, port, folder }),
            Err(error) => {
                println!("skipped: nats-server cannot be started: {error}");
                None
            }
        }
    }

    fn end(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    fn start_again(&mut self) {
        self.child = spawn(self.port, &self.folder, &[]).unwrap();
    }
}

impl Drop for Nats {
    fn drop(&mut self) {
        self.end();
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

fn spawn(port: u16, folder: &Path, extra: &[&str]) -> std::io::Result<Child> {
    Command::new("nats-server")
        .args(["-js", "-a", "127.0.0.1", "-p", &port.to_string(), "-sd"])
        .arg(folder)
        .args(extra)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
}

/// What a daemon has of steering, with a service that fails when it is told to.
struct Node {
    name: &'static str,
    steer: Steer,
    state: FleetState,
    started: tokio::time::Instant,
    events: EventLog,
}

impl Node {
    fn start(name: &'static str, file: &str) -> Self {
        let report = anycast_fleet::parse("fleet.toml", file);
        let fleet = report.fleet.unwrap_or_else(|| panic!("{:?}", report.problems));
        let site = fleet.site(name).unwrap();
        let started = tokio::time::Instant::now();
        let state = FleetState::start(&fleet, site, started);
        let mut node =
            Self { name, steer: fleet.steer_at(site), state, started, events: EventLog::default() };
        node.recover();
        assert!(node.announces());
        node
    }

    fn now(&self) -> Instant {
        Instant(self.started.elapsed())
    }

    fn settle(&mut self) {
        loop {
            let now = self.now();
            while let Some(action) = self.steer.poll_action() {
                self.state.order(now, &action, None, &mut self.events);
                if let Action::Held { prefix, why } = &action {
                    self.events.warn("held", &prefix.to_string(), why);
                }
            }
            let more = self.state.settle(now, &mut self.steer, (true, 1), &mut self.events);
            if matches!(more, Settled::Done) {
                return;
            }
        }
    }

    async fn step(&mut self) {
        let due = self.steer.poll_timeout().map(|at| self.started + at.0);
        let due = async move {
            match due {
                Some(at) => tokio::time::sleep_until(at).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            event = self.state.next() => {
                let now = Instant(self.started.elapsed());
                self.state.handle(now, event, &mut self.events);
            }
            () = due => self.steer.handle_timeout(Instant(self.started.elapsed())),
        }
        self.settle();
    }

    fn fail(&mut self) {
        self.steer.handle_gone(self.now(), 0, "dead".to_owned());
        self.settle();
    }

    fn recover(&mut self) {
        self.steer.handle_result(self.now(), 0, 0, Outcome::Pass);
        self.settle();
    }

    fn announces(&self) -> bool {
        !self.steer.record().announces.is_empty()
    }

    fn holds(&self) -> bool {
        !self.steer.record().held.is_empty()
    }

    /// Whether it sees that so many sites are there and announce, and no permits.
    fn sees_all(&self, count: usize) -> bool {
        let Some(look) = self.state.look(self.now()) else { return false };
        let plain = |it: &super::FleetSiteRow| !it.announces.is_empty() && it.permits.is_empty();
        look.reached && look.sites.len() == count && look.sites.iter().all(plain)
    }

    fn kinds(&self) -> Vec<String> {
        self.events.list().into_iter().map(|event| event.kind).collect()
    }
}

/// Runs all until it is so, and says how often each looked.
async fn until(nodes: &mut [Node], what: &str, is_so: impl Fn(&[Node]) -> bool) {
    let limit = tokio::time::Instant::now() + Duration::from_secs(20);
    while !is_so(nodes) {
        let steps = nodes.iter_mut().map(|node| Box::pin(node.step()));
        let any = futures_util::future::select_all(steps);
        if tokio::time::timeout_at(limit, any).await.is_err() {
            let each: Vec<_> = nodes
                .iter()
                .map(|it| {
                    (it.name, it.announces(), it.holds(), it.kinds(), it.state.look(it.now()))
                })
                .collect();
            panic!("not in time: {what}: {each:#?}");
        }
    }
}

fn file(port: u16) -> String {
    FILE.replace("PORT", &port.to_string())
}

fn two(port: u16) -> [Node; 2] {
    ["a", "b"].map(|name| Node::start(name, &file(port)))
}

#[tokio::test]
async fn two_that_want_to_go_at_once_never_both_get_the_last_permit() {
    let Some(nats) = Nats::start(&[]) else { return };
    let mut nodes = two(nats.port);
    for _ in 0..50 {
        until(&mut nodes, "both are seen", |nodes| nodes.iter().all(|it| it.sees_all(2))).await;
        for node in &mut nodes {
            node.fail();
        }
        until(&mut nodes, "one goes, one holds", |nodes| {
            let announcing = nodes.iter().filter(|it| it.announces()).count();
            assert_ne!(announcing, 0, "both are gone");
            announcing == 1 && nodes.iter().any(Node::holds)
        })
        .await;
        for node in &mut nodes {
            node.recover();
        }
    }
}

#[tokio::test]
async fn two_daemons_of_one_site_both_say_so_once_and_a_restart_is_none() {
    let Some(nats) = Nats::start(&[]) else { return };
    let twice = |node: &Node| node.kinds().iter().filter(|kind| *kind == "site-twice").count();
    // One that was there before and is no more.
    let mut before = vec![Node::start("a", &file(nats.port))];
    until(&mut before, "it is seen", |nodes| nodes[0].sees_all(1)).await;
    drop(before);
    let mut nodes = vec![Node::start("a", &file(nats.port)), Node::start("b", &file(nats.port))];
    until(&mut nodes, "both are seen", |nodes| nodes.iter().all(|it| it.sees_all(2))).await;
    assert_eq!(nodes.iter().map(twice).sum::<usize>(), 0);
    nodes.push(Node::start("a", &file(nats.port)));
    until(&mut nodes, "both know", |nodes| twice(&nodes[0]) > 0 && twice(&nodes[2]) > 0).await;
    let quiet = tokio::time::Instant::now() + Duration::from_secs(1);
    until(&mut nodes, "it was said once", |_| tokio::time::Instant::now() > quiet).await;
    assert_eq!(nodes.iter().map(twice).collect::<Vec<_>>(), [1, 0, 1]);
}

#[tokio::test]
async fn without_the_server_the_last_knowledge_counts_once_the_lease_is_over() {
    let Some(mut nats) = Nats::start(&[]) else { return };
    let mut nodes = two(nats.port);
    until(&mut nodes, "both are seen", |nodes| nodes.iter().all(|it| it.sees_all(2))).await;
    nats.end();
    until(&mut nodes, "both notice", |nodes| {
        nodes.iter().all(|it| it.kinds().contains(&"fleet-lost".to_owned()))
    })
    .await;
    for node in &mut nodes {
        node.fail();
        assert!(node.announces(), "it cannot ask, so it holds first");
    }
    // The first of the file stays, the second may rely on that.
    until(&mut nodes, "b goes", |nodes| !nodes[1].announces()).await;
    assert!(nodes[0].announces() && nodes[0].holds());
    for node in &mut nodes {
        node.recover();
    }
    nats.start_again();
    until(&mut nodes, "all is well", |nodes| nodes.iter().all(|it| it.sees_all(2))).await;
    assert_eq!(nodes[0].kinds().iter().filter(|it| *it == "fleet-reached").count(), 2);
}

#[tokio::test]
async fn a_site_that_ends_is_no_longer_counted() {
    let Some(nats) = Nats::start(&[]) else { return };
    let [a, b] = two(nats.port);
    let mut nodes = [a, b];
    until(&mut nodes, "both are seen", |nodes| nodes.iter().all(|it| it.sees_all(2))).await;
    let [mut a, b] = nodes;
    drop(b);
    let nodes = std::slice::from_mut(&mut a);
    until(nodes, "b is gone", |nodes| {
        nodes[0].state.look(nodes[0].now()).is_some_and(|look| look.sites.len() == 1)
    })
    .await;
    nodes[0].fail();
    until(nodes, "a holds", |nodes| nodes[0].holds()).await;
    assert!(nodes[0].announces());
}

#[tokio::test]
async fn who_has_no_right_is_told_why_and_comes_in_with_the_password() {
    let Some(nats) = Nats::start(&["--user", "anycast", "--pass", "not told"]) else { return };
    let mut nodes = [Node::start("a", &file(nats.port))];
    let why = |nodes: &[Node]| nodes[0].state.look(nodes[0].now()).and_then(|look| look.why);
    until(&mut nodes, "refused", |nodes| {
        why(nodes).is_some_and(|it| it.to_lowercase().contains("authorization"))
    })
    .await;
    let secret = nats.folder.join("secret");
    std::fs::write(&secret, "not told\n").unwrap();
    let keys = format!("user = \"anycast\"\npassword-file = {secret:?}");
    let mut nodes = [Node::start("a", &file_with(nats.port, "nats", &keys))];
    until(&mut nodes, "let in", |nodes| nodes[0].sees_all(1)).await;
}

/// The file with more keys of the fleet's state, and servers reached by `scheme`.
fn file_with(port: u16, scheme: &str, keys: &str) -> String {
    let file = file(port).replace("nats://", &format!("{scheme}://"));
    file.replacen("[fleet-state]\n", &format!("[fleet-state]\n{keys}\n"), 1)
}

/// A certificate for 127.0.0.1, its key and that of who signed it, as files in `folder`.
fn write_certificates(folder: &Path) -> [String; 3] {
    std::fs::create_dir_all(folder).unwrap();
    let mut signer = CertificateParams::new(Vec::new()).unwrap();
    signer.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let signer_key = KeyPair::generate().unwrap();
    let signer_file = signer.self_signed(&signer_key).unwrap().pem();
    let key = KeyPair::generate().unwrap();
    let params = CertificateParams::new(vec!["127.0.0.1".to_owned()]).unwrap();
    let issuer = Issuer::from_params(&signer, &signer_key);
    let certificate = params.signed_by(&key, &issuer).unwrap().pem();
    [("server.pem", certificate), ("server.key", key.serialize_pem()), ("ca.pem", signer_file)].map(
        |(name, text)| {
            let path = folder.join(name);
            std::fs::write(&path, text).unwrap();
            path.display().to_string()
        },
    )
}

#[tokio::test]
async fn over_tls_who_is_not_trusted_is_not_talked_to_and_a_token_lets_in() {
    let folder = std::env::temp_dir().join(format!("anycast-nats-tls-{}", std::process::id()));
    let [certificate, key, ca] = write_certificates(&folder);
    let tls = ["--tls", "--tlscert", &certificate, "--tlskey", &key, "--auth", "not told"];
    let Some(nats) = Nats::start(&tls) else { return };
    for (name, text) in [("right", "not told\n"), ("wrong", "guessed\n")] {
        std::fs::write(folder.join(name), text).unwrap();
    }
    let token = |name: &str| format!("token-file = {:?}", folder.join(name));
    let trusting = format!("ca-file = {ca:?}");
    let why = |nodes: &[Node]| {
        let look = nodes[0].state.look(nodes[0].now());
        look.and_then(|look| look.why).unwrap_or_default().to_lowercase()
    };
    let table = [
        ("its signer is not known", "tls", token("right"), "certificate"),
        ("the token is wrong", "tls", format!("{}\n{trusting}", token("wrong")), "authorization"),
    ];
    for (name, scheme, keys, words) in table {
        let mut nodes = [Node::start("a", &file_with(nats.port, scheme, &keys))];
        until(&mut nodes, name, |nodes| why(nodes).contains(words)).await;
    }
    let keys = format!("{}\n{trusting}", token("right"));
    for (scheme, keys) in [("tls", keys.clone()), ("nats", format!("{keys}\ntls = true"))] {
        let mut nodes = [Node::start("a", &file_with(nats.port, scheme, &keys))];
        until(&mut nodes, scheme, |nodes| nodes[0].sees_all(1)).await;
    }
    let _ = std::fs::remove_dir_all(&folder);
}

//! Caches and VRP files on the loopback interface, over real TCP: small caches of this test's
//! own, and StayRTR.
#![allow(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    clippy::unwrap_used,
    reason = "tests use real sockets and may panic"
)]

use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anycast_bgp::policy::{Action, Match, Policy, Rule};
use anycast_bgp::rov::{Validity, Vrp};
use anycast_bgp::rtr::{ErrorCode, Pdu, Timing};
use anycast_bgp::{Asn, Attributes, Family, IpNet};
use anycast_speaker::{
    Config, Handle, Here, Neighbor, Rpki, RpkiConfig, RpkiEvent, RpkiSource, Speaker, SpeakerEvent,
};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use crate::setup::until;

const LEFT: Ipv4Addr = Ipv4Addr::LOCALHOST;
const RIGHT: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 2);

fn net(text: &str) -> IpNet {
    text.parse().unwrap()
}

fn vrp(prefix: &str, asn: u32) -> Vrp {
    Vrp::new(net(prefix), net(prefix).prefix_len(), Asn(asn)).unwrap()
}

/// A file of this test's own, removed with it.
struct VrpFile(PathBuf);

impl VrpFile {
    fn new(name: &str) -> Self {
        let name = format!("anycast-vrps-{name}-{}.json", std::process::id());
        Self(std::env::temp_dir().join(name))
    }

    /// Puts another in its place at once, as validators do.
    fn write(&self, text: &str) {
        let beside = self.0.with_extension("new");
        std::fs::write(&beside, text).unwrap();
        std::fs::rename(&beside, &self.0).unwrap();
    }

    fn allow(&self, vrps: &[(&str, u32)]) {
        let roa = |(prefix, asn): &(&str, u32)| {
            format!(
                r#"{{"prefix": "{prefix}", "maxLength": {}, "asn": "AS{asn}", "ta": "test"}}"#,
                net(prefix).prefix_len()
            )
        };
        let roas: Vec<String> = vrps.iter().map(roa).collect();
        self.write(&format!(r#"{{"roas": [{}]}}"#, roas.join(",\n")));
    }
}

impl Drop for VrpFile {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

/// How a cache of ours behaves.
#[derive(Clone)]
struct Behaviour {
    version: u8,
    vrps: Vec<Vrp>,
    timing: Timing,
}

impl Behaviour {
    fn new(version: u8, vrps: &[(&str, u32)]) -> Self {
        let vrps = vrps.iter().map(|(prefix, asn)| vrp(prefix, *asn)).collect();
        Self { version, vrps, timing: Timing::default() }
    }
}

/// Dies when it is dropped, connections and all.
struct Cache {
    address: SocketAddr,
    task: JoinHandle<()>,
}

impl Drop for Cache {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn cache(behaviour: Behaviour) -> Cache {
    let listener = tokio::net::TcpListener::bind((LEFT, 0)).await.unwrap();
    let address = listener.local_addr().unwrap();
    let task = tokio::spawn(async move {
        // A cache serves one router at a time here.
        while let Ok((mut stream, _)) = listener.accept().await {
            let (mut buffer, mut chunk) = (Vec::new(), [0; 1024]);
            while let Ok(length @ 1..) = stream.read(&mut chunk).await {
                buffer.extend_from_slice(&chunk[..length]);
                while let Ok(Some((asked, pdu, length))) = Pdu::parse(&buffer) {
                    buffer.drain(..length);
                    let answer = answer(&behaviour, asked, &pdu);
                    if stream.write_all(&answer).await.is_err() {
                        break;
                    }
                }
            }
        }
    });
    Cache { address, task }
}

fn answer(behaviour: &Behaviour, asked: u8, pdu: &Pdu) -> Vec<u8> {
    let Behaviour { version, vrps, timing } = behaviour;
    let session = 7;
    let pdus = match pdu {
        _ if asked > *version => {
            let code = ErrorCode::UnsupportedProtocolVersion as u16;
            vec![Pdu::ErrorReport { code, about: Vec::new(), text: "older".to_owned() }]
        }
        // It never has news.
        Pdu::SerialQuery { session: 7, serial } => vec![
            Pdu::CacheResponse { session },
            Pdu::EndOfData { session, serial: *serial, timing: Some(*timing) },
        ],
        Pdu::SerialQuery { .. } => vec![Pdu::CacheReset],
        Pdu::ResetQuery => {
            let mut pdus = vec![Pdu::CacheResponse { session }];
            pdus.extend(vrps.iter().map(|vrp| Pdu::Prefix { announced: true, vrp: *vrp }));
            pdus.push(Pdu::EndOfData { session, serial: 1, timing: Some(*timing) });
            pdus
        }
        _ => vec![],
    };
    pdus.iter().flat_map(|pdu| pdu.emit(*version)).collect()
}

fn neighbor(name: &str, local: Ipv4Addr, remote: Ipv4Addr, port: u16, asn: u32) -> Neighbor {
    Neighbor {
        port,
        local_address: Some(IpAddr::V4(local)),
        hold_time: Duration::from_secs(90),
        connect_retry: Duration::from_millis(50),
        families: vec![Family::Ipv4Unicast],
        import: Policy::accept_all(),
        export: Policy::accept_all(),
        ..Neighbor::new(name, remote.into(), Asn(asn))
    }
}

fn start(
    local: Ipv4Addr,
    asn: u32,
    neighbors: Vec<Neighbor>,
) -> (Handle, mpsc::UnboundedReceiver<SpeakerEvent>) {
    let config = Config {
        listen: neighbors.iter().map(|it| SocketAddr::new(local.into(), it.port)).collect(),
        neighbors,
        ..Config::new(Asn(asn), local)
    };
    let (sender, events) = mpsc::unbounded_channel();
    let speaker = Speaker::bind(config, Some(sender)).unwrap();
    let handle = speaker.handle();
    tokio::spawn(speaker.run());
    (handle, events)
}

/// A speaker without neighbors, and where its VRPs come from.
fn fetch(caches: &[SocketAddr], file: Option<&Path>) -> (Rpki, mpsc::UnboundedReceiver<RpkiEvent>) {
    let (speaker, _) = start(LEFT, 64500, Vec::new());
    follow(speaker, caches, file)
}

fn follow(
    speaker: Handle,
    caches: &[SocketAddr],
    file: Option<&Path>,
) -> (Rpki, mpsc::UnboundedReceiver<RpkiEvent>) {
    let (sender, events) = mpsc::unbounded_channel();
    let (caches, file) = (caches.to_vec(), file.map(Path::to_owned));
    (Rpki::start(RpkiConfig { caches, file, place: Arc::new(Here) }, speaker, sender), events)
}

async fn sources(rpki: &Rpki) -> Vec<RpkiSource> {
    rpki.sources().await.unwrap()
}

/// The prefixes of the next set of VRPs; `None`: they have expired.
async fn next_vrps(events: &mut mpsc::UnboundedReceiver<RpkiEvent>) -> Option<Vec<String>> {
    let next = async {
        loop {
            match events.recv().await.unwrap() {
                RpkiEvent::Vrps { vrps, .. } => {
                    let names = |table: &anycast_bgp::rov::VrpTable| {
                        table.iter().map(|vrp| vrp.to_string()).collect()
                    };
                    return vrps.map(|table| names(&table));
                }
                RpkiEvent::SourceUp { .. } | RpkiEvent::SourceDown { .. } => {}
            }
        }
    };
    tokio::time::timeout(Duration::from_secs(10), next).await.expect("other VRPs")
}

#[tokio::test]
async fn a_cache_of_any_version_is_understood() {
    for version in [0, 1, 2] {
        let vrps = [("192.0.2.0/24", 64500), ("2001:db8::/32", 64501)];
        let cache = cache(Behaviour::new(version, &vrps)).await;
        let (rpki, mut events) = fetch(&[cache.address], None);
        let got = next_vrps(&mut events).await.unwrap();
        assert_eq!(got, ["192.0.2.0/24 AS64500", "2001:db8::/32 AS64501"]);
        let source = &sources(&rpki).await[0];
        assert_eq!(source.state, "up to date");
        let numbers = (source.version, source.session, source.serial, source.vrps);
        assert_eq!(numbers, (Some(version), Some(7), Some(1), Some(2)));
        assert!(source.in_use && source.trouble.is_none(), "{source:?}");
        assert!(source.expires_seconds.is_some_and(|left| left > 7100.0), "{source:?}");
    }
}

#[tokio::test]
async fn the_preferred_cache_counts_until_it_is_late_and_its_data_stay_until_there_are_others() {
    let short = Timing {
        refresh: Duration::from_secs(1),
        retry: Duration::from_secs(1),
        expire: Duration::from_secs(600),
    };
    let first = Behaviour { timing: short, ..Behaviour::new(2, &[("192.0.2.0/24", 64500)]) };
    let first = cache(first).await;
    let second = cache(Behaviour::new(1, &[("198.51.100.0/24", 64500)])).await;
    let (rpki, mut events) = fetch(&[first.address, second.address], None);
    until("both are up to date", async || {
        sources(&rpki).await.iter().all(|source| source.state == "up to date")
    })
    .await;
    assert!(sources(&rpki).await[0].in_use);
    // Whichever came first: the preferred one is the last that was chosen.
    let mut got = next_vrps(&mut events).await.unwrap();
    if got == ["198.51.100.0/24 AS64500"] {
        got = next_vrps(&mut events).await.unwrap();
    }
    assert_eq!(got, ["192.0.2.0/24 AS64500"]);
    drop(first);
    until("it is down", async || sources(&rpki).await[0].state == "down").await;
    assert!(sources(&rpki).await[0].in_use, "its data count until they are late");
    assert_eq!(next_vrps(&mut events).await.unwrap(), ["198.51.100.0/24 AS64500"]);
    assert!(sources(&rpki).await[1].in_use);
    drop(second);
    until("it is down too", async || sources(&rpki).await[1].state == "down").await;
    let rows = sources(&rpki).await;
    assert_eq!(rows.iter().filter(|row| row.in_use).count(), 1, "old data are better than none");
    assert!(rows.iter().all(|row| row.trouble.is_some()), "{rows:?}");
}

#[tokio::test]
async fn garbage_and_silence_are_told_and_the_next_source_counts() {
    let garbage = TcpListener::bind((LEFT, 0)).unwrap();
    let garbage_address = garbage.local_addr().unwrap();
    std::thread::spawn(move || {
        let mut open = Vec::new();
        while let Ok((mut stream, _)) = garbage.accept() {
            let _ = std::io::Write::write_all(&mut stream, b"SSH-2.0-OpenSSH_9.9\r\n");
            open.push(stream);
        }
    });
    // Nobody listens where one has just stopped to.
    let closed = TcpListener::bind((LEFT, 0)).unwrap().local_addr().unwrap();
    let file = VrpFile::new("garbage");
    file.allow(&[("192.0.2.0/24", 64500)]);
    let (rpki, mut events) = fetch(&[garbage_address, closed], Some(&file.0));
    let (mut downs, mut vrps) = (std::collections::BTreeMap::new(), None);
    while downs.len() < 2 || vrps.is_none() {
        match events.recv().await.unwrap() {
            RpkiEvent::SourceDown { name, why } => {
                assert_eq!(downs.insert(name, why), None, "each is told once");
            }
            RpkiEvent::Vrps { vrps: got, .. } => vrps = got,
            RpkiEvent::SourceUp { .. } => {}
        }
    }
    let why = &downs[&garbage_address.to_string()];
    assert!(why.starts_with("the cache sent what it should not: "), "{why}");
    assert!(downs[&closed.to_string()].starts_with("cannot connect: "), "{downs:?}");
    assert_eq!(vrps.unwrap().len(), 1);
    let file = sources(&rpki).await.pop().unwrap();
    assert_eq!((file.kind.as_str(), file.state.as_str(), file.in_use), ("file", "loaded", true));
}

#[tokio::test]
async fn a_file_is_read_again_when_it_changes_and_a_broken_one_changes_nothing() {
    let file = VrpFile::new("changes");
    let (rpki, mut events) = fetch(&[], Some(&file.0));
    let state = async || sources(&rpki).await[0].state.clone();
    until("it is missed", async || state().await == "absent").await;
    file.allow(&[("192.0.2.0/24", 64500)]);
    assert_eq!(next_vrps(&mut events).await.unwrap(), ["192.0.2.0/24 AS64500"]);
    file.write(r#"{"roas": [{"prefix": "192.0.2.0/24""#);
    until("it is broken", async || state().await == "broken").await;
    let source = &sources(&rpki).await[0];
    assert_eq!((source.vrps, source.in_use), (Some(1), true));
    let trouble = source.trouble.clone().unwrap();
    assert!(trouble.contains("line 1") && trouble.ends_with("still counts"), "{trouble}");
    file.allow(&[("198.51.100.0/24", 64500)]);
    assert_eq!(next_vrps(&mut events).await.unwrap(), ["198.51.100.0/24 AS64500"]);
    std::fs::remove_file(&file.0).unwrap();
    until("it is gone", async || state().await == "absent").await;
    assert!(sources(&rpki).await[0].in_use);
}

#[tokio::test]
async fn an_invalid_route_is_rejected_and_comes_in_when_the_vrps_change_without_a_reset() {
    let port = {
        let left = TcpListener::bind((LEFT, 0)).unwrap();
        left.local_addr().unwrap().port()
    };
    let mut to_right = neighbor("right", LEFT, RIGHT, port, 64502);
    to_right.import = Policy {
        rules: vec![
            Rule::new(Action::Reject).when(Match::Rpki(Validity::Invalid)),
            Rule::new(Action::Accept),
        ],
    };
    let (left, mut left_events) = start(LEFT, 64501, vec![to_right]);
    let (right, _) = start(RIGHT, 64502, vec![neighbor("left", RIGHT, LEFT, port, 64501)]);
    let file = VrpFile::new("reject");
    file.allow(&[("192.0.2.0/24", 64999), ("198.51.100.0/24", 64502)]);
    let (_rpki, mut events) = follow(left.clone(), &[], Some(&file.0));
    next_vrps(&mut events).await.unwrap();
    let prefixes = ["192.0.2.0/24", "198.51.100.0/24", "203.0.113.0/24"];
    for prefix in prefixes {
        right.originate(net(prefix), Attributes::new(IpAddr::V4(RIGHT)));
    }
    let seen = async || {
        let rows = left.routes(None).await;
        let row = |row: &anycast_speaker::RouteRow| {
            let why = row.ineligible.as_deref().unwrap_or("taken");
            format!("{} {} {why}", row.prefix, row.rpki.as_deref().unwrap_or("-"))
        };
        rows.iter().map(row).collect::<Vec<_>>()
    };
    let want = [
        "192.0.2.0/24 invalid rejected by import policy",
        "198.51.100.0/24 valid taken",
        "203.0.113.0/24 not-found taken",
    ];
    until("they are judged", async || seen().await == want).await;
    let counts = &left.origin_counts().await[0];
    assert_eq!((counts.valid, counts.not_found, counts.invalid), (1, 1, 1));
    let explained = left.explain(net("192.0.2.0/24")).await.unwrap().text;
    assert!(explained.contains("RPKI invalid (AS64502 may not announce it, only AS64999)"));

    file.allow(&[("192.0.2.0/24", 64502), ("203.0.113.0/24", 64999)]);
    let want = [
        "192.0.2.0/24 valid taken",
        "198.51.100.0/24 not-found taken",
        "203.0.113.0/24 invalid rejected by import policy",
    ];
    until("they are judged anew", async || seen().await == want).await;
    left_events.close();
    let mut ups = 0;
    while let Some(event) = left_events.recv().await {
        match event {
            SpeakerEvent::NeighborUp { .. } => ups += 1,
            SpeakerEvent::NeighborDown { why, .. } => panic!("the session was reset: {why}"),
            SpeakerEvent::NeighborUnreachable { .. }
            | SpeakerEvent::NeighborReset { .. }
            | SpeakerEvent::NeighborLimit { .. } => {}
        }
    }
    assert_eq!(ups, 1);
}

#[tokio::test]
async fn stayrtr_serves_us_its_file_and_what_changes_in_it() {
    let program = Path::new("/usr/bin/stayrtr");
    if !program.exists() {
        eprintln!("skipped: StayRTR is not installed (apt-get install stayrtr)");
        return;
    }
    let file = VrpFile::new("stayrtr");
    file.allow(&[("192.0.2.0/24", 64500), ("2001:db8::/32", 64501)]);
    let port = TcpListener::bind((LEFT, 0)).unwrap().local_addr().unwrap().port();
    let address = SocketAddr::new(LEFT.into(), port);
    let mut stayrtr = tokio::process::Command::new(program)
        .args(["-bind", &address.to_string(), "-cache", file.0.to_str().unwrap()])
        .args(["-checktime=false", "-refresh", "1", "-metrics.addr", ""])
        .stdout(std::process::Stdio::null())
        .stderr(std::process::Stdio::null())
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    let (rpki, mut events) = fetch(&[address], None);
    let got = next_vrps(&mut events).await.unwrap();
    assert_eq!(got, ["192.0.2.0/24 AS64500", "2001:db8::/32 AS64501"]);
    let before = sources(&rpki).await[0].clone();
    println!("StayRTR speaks version {:?}", before.version);
    assert!(before.version.is_some_and(|version| version >= 1), "{before:?}");
    file.allow(&[("192.0.2.0/24", 64500), ("198.51.100.0/24", 64502)]);
    let got = next_vrps(&mut events).await.unwrap();
    assert_eq!(got, ["192.0.2.0/24 AS64500", "198.51.100.0/24 AS64502"]);
    let after = sources(&rpki).await[0].clone();
    assert_eq!(after.session, before.session);
    assert_ne!(after.serial, before.serial);
    stayrtr.kill().await.unwrap();
    until("its death is seen", async || sources(&rpki).await[0].state == "down").await;
    let rows = sources(&rpki).await;
    assert!(rows[0].in_use && rows[0].vrps == Some(2), "{rows:?}");
}

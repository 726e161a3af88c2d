//! Limits, policies and keys of running speakers, over real TCP on the loopback interface.
#![allow(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    clippy::unwrap_used,
    reason = "tests use real sockets and may panic"
)]

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

use anycast_bgp::policy::{Action, Match, Policy, PrefixPattern, Rule, Set};
use anycast_bgp::{Asn, Attributes, IpNet};
use anycast_speaker::{
    AoAlgorithm, AtLimit, BindError, Config, Handle, Limits, Neighbor, NeighborOrder, Password,
    Speaker, SpeakerEvent, TcpAo,
};
use tokio::sync::mpsc::UnboundedReceiver;

use crate::setup::{free_port, until};

const ADDRESSES: [Ipv4Addr; 3] =
    [Ipv4Addr::LOCALHOST, Ipv4Addr::new(127, 0, 0, 2), Ipv4Addr::new(127, 0, 0, 3)];

/// The neighbor `other`, called by its number, of which everything is taken and which is told
/// everything.
fn neighbor(us: usize, other: usize, port: u16, asn: u32) -> Neighbor {
    Neighbor {
        port,
        local_address: Some(ADDRESSES[us].into()),
        connect_retry: Duration::from_millis(50),
        hold_time: Duration::from_secs(90),
        import: Policy::accept_all(),
        export: Policy::accept_all(),
        ..Neighbor::new(other.to_string(), ADDRESSES[other].into(), Asn(asn))
    }
}

fn start(
    us: usize,
    asn: u32,
    neighbors: Vec<Neighbor>,
) -> (Handle, UnboundedReceiver<SpeakerEvent>) {
    let port = neighbors[0].port;
    let config = Config {
        listen: vec![SocketAddr::new(ADDRESSES[us].into(), port)],
        neighbors,
        ..Config::new(Asn(asn), ADDRESSES[us])
    };
    let (reports, heard) = tokio::sync::mpsc::unbounded_channel();
    let speaker = Speaker::bind(config, Some(reports)).unwrap();
    let handle = speaker.handle();
    tokio::spawn(speaker.run());
    (handle, heard)
}

fn net(number: u8) -> IpNet {
    IpNet::new(Ipv4Addr::new(10, 0, number, 0).into(), 24).unwrap()
}

fn tell(speaker: &Handle, numbers: std::ops::Range<u8>) {
    for number in numbers {
        speaker.originate(net(number), Attributes::new(IpAddr::from(ADDRESSES[0])));
    }
}

async fn accepted(speaker: &Handle) -> usize {
    speaker.neighbors().await[0].accepted
}

/// Two speakers; the second has a limit of ten prefixes from the first.
fn limited(at_limit: AtLimit) -> (Handle, Handle, UnboundedReceiver<SpeakerEvent>) {
    let port = free_port(&ADDRESSES);
    let limits = Limits { warn_at: Some(8), prefixes: Some(10), as_path_length: None };
    let towards = Neighbor { limits, at_limit, ..neighbor(1, 0, port, 64501) };
    let (sender, _) = start(0, 64501, vec![neighbor(0, 1, port, 64502)]);
    let (taker, heard) = start(1, 64502, vec![towards]);
    (sender, taker, heard)
}

/// The next report of a limit.
async fn limit_report(heard: &mut UnboundedReceiver<SpeakerEvent>) -> String {
    loop {
        let next = tokio::time::timeout(Duration::from_secs(5), heard.recv()).await;
        if let Some(SpeakerEvent::NeighborLimit { why, .. }) = next.expect("a report") {
            return why;
        }
    }
}

#[tokio::test]
async fn at_the_limit_there_is_a_warning_and_beyond_it_the_session_rests_until_it_is_cleared() {
    let (sender, taker, mut heard) = limited(AtLimit::End { restart_after: None });
    tell(&sender, 0..10);
    until("all that is allowed is there", async || accepted(&taker).await == 10).await;
    let why = limit_report(&mut heard).await;
    assert!(why.ends_with("prefixes of 10 allowed"), "{why}");

    tell(&sender, 10..11);
    assert_eq!(limit_report(&mut heard).await, "more than 10 prefixes");
    until("its routes are gone", async || taker.routes(None).await.is_empty()).await;
    let status = taker.neighbors().await.remove(0);
    assert_eq!((status.state.as_str(), status.held_seconds), ("Idle", None));
    let held = status.held.unwrap();
    assert!(
        held.contains("more than 10 prefixes: rests until `anycast neighbor 0 clear`"),
        "{held}"
    );
    let sent = status.last_sent.unwrap();
    assert_eq!((sent.code, sent.subcode), (6, 1));
    let down = status.last_down.unwrap();
    assert!(down.contains("more than 10 prefixes"), "{down}");
    // The neighbor dials, and is refused.
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert_eq!(taker.established().await, (0, 1));

    // With fewer routes the order to start again is the end of it, and so is to disable and enable it.
    let disable = NeighborOrder::Disable { message: String::new() };
    for orders in [vec![NeighborOrder::Clear], vec![disable, NeighborOrder::Enable]] {
        tell(&sender, 10..11);
        until("it rests", async || taker.neighbors().await[0].held.is_some()).await;
        sender.withdraw(net(10));
        for order in orders {
            assert!(taker.order("0", order).await.unwrap().changed);
        }
        until("the session is back", async || accepted(&taker).await == 10).await;
        assert_eq!(taker.neighbors().await[0].held, None);
    }
}

#[tokio::test]
async fn a_session_that_rests_for_a_while_starts_by_itself() {
    let rest = Duration::from_millis(600);
    let (sender, taker, mut heard) = limited(AtLimit::End { restart_after: Some(rest) });
    tell(&sender, 0..11);
    while limit_report(&mut heard).await != "more than 10 prefixes" {}
    let ended = std::time::Instant::now();
    let status = taker.neighbors().await.remove(0);
    assert!(status.held_seconds.is_some_and(|seconds| seconds <= 0.6), "{status:?}");
    sender.withdraw(net(10));
    until("the session is back", async || accepted(&taker).await == 10).await;
    assert!(ended.elapsed() + Duration::from_millis(50) >= rest, "{:?}", ended.elapsed());
}

#[tokio::test]
async fn a_limit_that_only_warns_ends_nothing() {
    let (sender, taker, mut heard) = limited(AtLimit::Warn);
    tell(&sender, 0..20);
    until("all is taken", async || accepted(&taker).await == 20).await;
    while limit_report(&mut heard).await != "more than 10 prefixes" {}
    assert_eq!(taker.established().await, (1, 1));
    let status = taker.neighbors().await.remove(0);
    assert_eq!((status.counters.dropped, status.held), (0, None));
}

#[tokio::test]
async fn limits_and_policies_change_while_the_session_stays() {
    let port = free_port(&ADDRESSES);
    let (left, _) = start(0, 64501, vec![neighbor(0, 1, port, 64502)]);
    let (right, _) = start(1, 64502, vec![neighbor(1, 0, port, 64501)]);
    tell(&left, 0..20);
    until("all is there", async || accepted(&right).await == 20).await;
    let updates = async || right.neighbors().await[0].counters.updates_in;
    let before = updates().await;

    // What is taken: judged anew from what was received, without a word to the neighbor.
    let some = |set: Set| {
        let first = PrefixPattern::exactly(net(0));
        let rule = Rule::new(Action::Accept).when(Match::Prefix(vec![first])).set(set);
        Policy { rules: vec![rule] }
    };
    right.set_import("0", some(Set::LocalPref(7)));
    until("one is left", async || accepted(&right).await == 1).await;
    assert_eq!(right.best(net(0)).await.unwrap().local_pref, Some(7));
    assert_eq!((updates().await, right.neighbors().await[0].received), (before, 20));
    right.set_import("0", Policy::accept_all());
    until("all are back", async || accepted(&right).await == 20).await;
    assert_eq!(updates().await, before);

    // What is told: only the one that differs is sent.
    let mut rules = some(Set::Med(Some(3))).rules;
    rules.push(Rule::new(Action::Accept));
    left.set_export("1", Policy { rules });
    until("the MED is there", async || {
        right.best(net(0)).await.is_some_and(|route| route.med == Some(3))
    })
    .await;
    assert_eq!(updates().await, before + 1);

    // How much: what was received counts.
    let longest = Limits { as_path_length: Some(0), ..Limits::default() };
    right.set_limits("0", longest, AtLimit::Warn);
    until("all paths are too long", async || accepted(&right).await == 0).await;
    right.set_limits("0", Limits::default(), AtLimit::Warn);
    until("none is", async || accepted(&right).await == 20).await;
    assert_eq!(right.neighbors().await[0].counters.dropped, 0);
    let ten = Limits { prefixes: Some(10), ..Limits::default() };
    right.set_limits("0", ten, AtLimit::End { restart_after: None });
    until("it is too much", async || right.neighbors().await[0].held.is_some()).await;
}

#[tokio::test]
async fn a_reflector_tells_its_clients_what_others_say() {
    for client in [false, true] {
        let port = free_port(&ADDRESSES);
        // 1 is between 0 and 2, all in one AS.
        let (first, _) = start(0, 64500, vec![neighbor(0, 1, port, 64500)]);
        let mut to_first = neighbor(1, 0, port, 64500);
        to_first.reflector_client = client;
        let (_between, _) = start(1, 64500, vec![to_first, neighbor(1, 2, port, 64500)]);
        let (last, _) = start(2, 64500, vec![neighbor(2, 1, port, 64500)]);
        tell(&first, 0..1);
        until("both are Established", async || last.established().await == (1, 1)).await;
        if client {
            until("the route arrives", async || last.best(net(0)).await.is_some()).await;
            // What is reflected keeps its next hop (RFC 4456 §10).
            let route = last.best(net(0)).await.unwrap();
            assert_eq!(route.next_hop, Some(ADDRESSES[0].into()));
        } else {
            tokio::time::sleep(Duration::from_millis(500)).await;
            assert!(last.best(net(0)).await.is_none());
        }
    }
}

#[tokio::test]
async fn a_delayed_open_is_sent_after_the_delay_and_sooner_if_the_neighbor_speaks() {
    let port = free_port(&ADDRESSES);
    let patient = |us, other, asn| Neighbor {
        delay_open: Duration::from_secs(60),
        ..neighbor(us, other, port, asn)
    };
    // One of both speaks at once: nobody waits.
    let (left, _) = start(0, 64501, vec![patient(0, 1, 64502)]);
    let (_right, _) = start(1, 64502, vec![neighbor(1, 0, port, 64501)]);
    until("it is Established", async || left.established().await == (1, 1)).await;

    let port = free_port(&ADDRESSES);
    let brief = |us, other, asn| Neighbor {
        delay_open: Duration::from_millis(700),
        ..neighbor(us, other, port, asn)
    };
    let started = std::time::Instant::now();
    let (left, _) = start(0, 64501, vec![brief(0, 1, 64502)]);
    let (_right, _) = start(1, 64502, vec![brief(1, 0, 64501)]);
    until("it is Established", async || left.established().await == (1, 1)).await;
    assert!(started.elapsed() >= Duration::from_millis(700), "{:?}", started.elapsed());
}

fn signed(key: &str, send_id: u8, recv_id: u8) -> Option<TcpAo> {
    let key = Password::new(key.as_bytes().to_vec())?;
    Some(TcpAo { key, send_id, recv_id, algorithm: AoAlgorithm::HmacSha1 })
}

/// With a kernel that has TCP-AO the same key meets and another does not; without, the speaker
/// does not start, and says why.
#[tokio::test]
async fn tcp_ao_signs_the_session_or_there_is_none() {
    let port = free_port(&ADDRESSES);
    let towards = |us, other, asn, tcp_ao| Neighbor { tcp_ao, ..neighbor(us, other, port, asn) };
    let probe = Config {
        neighbors: vec![towards(0, 1, 64502, signed("swordfish", 1, 2))],
        ..Config::new(Asn(64501), ADDRESSES[0])
    };
    if let Err(error) = Speaker::bind(probe, None) {
        assert!(matches!(error, BindError::Key { tcp_ao: true, .. }), "{error}");
        let words = error.to_string();
        assert!(words.contains("neighbor 1") && words.contains("CONFIG_TCP_AO"), "{words}");
        assert!(!format!("{words}{error:?}").contains("swordfish"));
        println!("this kernel has no TCP-AO: only the refusal was tested");
        return;
    }
    let (left, _) = start(0, 64501, vec![towards(0, 1, 64502, signed("swordfish", 1, 2))]);
    let (right, _) = start(1, 64502, vec![towards(1, 0, 64501, signed("swordfish", 2, 1))]);
    until("both are Established", async || {
        left.established().await == (1, 1) && right.established().await == (1, 1)
    })
    .await;
    for (tcp_ao, what) in [(signed("marlin", 2, 1), "another key"), (None, "no key")] {
        let port = free_port(&ADDRESSES);
        let left = Neighbor { tcp_ao: signed("swordfish", 1, 2), ..neighbor(0, 1, port, 64502) };
        let (left, _) = start(0, 64501, vec![left]);
        let right = Neighbor { tcp_ao, ..neighbor(1, 0, port, 64501) };
        let (_right, _) = start(1, 64502, vec![right]);
        tokio::time::sleep(Duration::from_millis(500)).await;
        assert_eq!(left.established().await, (0, 1), "{what}");
    }
}

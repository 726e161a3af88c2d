//! What an operator does with a neighbor and sees of the routes, on two speakers over real TCP.
#![allow(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    clippy::unwrap_used,
    reason = "tests use real sockets and may panic"
)]

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anycast_bgp::policy::{Action, Policy, Rule, Set};
use anycast_bgp::{Asn, Attributes, Family, IpNet};
use anycast_speaker::{
    Config, Handle, Here, Neighbor, NeighborOrder, NeighborStatus, OrderError, RouteLook, RouteRow,
    RouteSubject, RouteTable, Speaker,
};

use crate::setup::{free_port, resident, until};

const LEFT: Ipv4Addr = Ipv4Addr::new(127, 0, 1, 1);
const RIGHT: Ipv4Addr = Ipv4Addr::new(127, 0, 1, 2);

fn start(name: &str, local: Ipv4Addr, remote: Ipv4Addr, port: u16, import: Policy) -> Handle {
    let asn = |address: Ipv4Addr| Asn(64500 + u32::from(address.octets()[3]));
    let config = Config {
        local_asn: asn(local),
        router_id: local,
        listen: vec![SocketAddr::new(local.into(), port)],
        install_routes: false,
        place: Arc::new(Here),
        neighbors: vec![Neighbor {
            port,
            local_address: Some(IpAddr::V4(local)),
            hold_time: Duration::from_secs(90),
            connect_retry: Duration::from_millis(50),
            families: vec![Family::Ipv4Unicast],
            import,
            export: Policy::accept_all(),
            ..Neighbor::new(name, remote.into(), asn(remote))
        }],
        ..Config::new(asn(local), local)
    };
    let speaker = Speaker::bind(config, None).unwrap();
    let handle = speaker.handle();
    tokio::spawn(speaker.run());
    handle
}

/// Left knows its neighbor as `right`, and the other way round; right prefers what left says.
async fn pair() -> (Handle, Handle) {
    let port = free_port(&[LEFT, RIGHT]);
    let prefer = Rule { matches: vec![], sets: vec![Set::LocalPref(200)], action: Action::Accept };
    let left = start("right", LEFT, RIGHT, port, Policy::accept_all());
    let right = start("left", RIGHT, LEFT, port, Policy { rules: vec![prefer] });
    until("both are Established", async || {
        left.established().await == (1, 1) && right.established().await == (1, 1)
    })
    .await;
    (left, right)
}

async fn status(handle: &Handle) -> NeighborStatus {
    handle.neighbors().await.remove(0)
}

async fn rows(handle: &Handle, table: RouteTable, subject: RouteSubject) -> Vec<RouteRow> {
    let look = RouteLook { table, subject, family: None };
    handle.look(look).await.unwrap().rows().await.unwrap()
}

fn net(text: &str) -> IpNet {
    text.parse().unwrap()
}

fn disable(message: &str) -> NeighborOrder {
    NeighborOrder::Disable { message: message.to_owned() }
}

#[tokio::test]
async fn a_disabled_neighbor_stays_away_until_it_is_enabled_and_reads_why() {
    let (left, right) = pair().await;
    let done = async |order| {
        let done = left.order("right", order).await.unwrap();
        (done.words, done.changed)
    };
    let (is_disabled, was_disabled) = ("right is disabled", "right was disabled already");
    assert_eq!(done(disable("back at noon")).await, (is_disabled.into(), true));
    until("the other side was told", async || {
        let received = status(&right).await.last_received;
        received.is_some_and(|it| {
            (it.code, it.subcode, it.message.as_deref()) == (6, 2, Some("back at noon"))
        })
    })
    .await;
    let why = status(&right).await.last_down.unwrap();
    assert!(why.contains("Administrative Shutdown: \"back at noon\""), "{why}");
    // The other side goes on trying every 50 ms.
    tokio::time::sleep(Duration::from_millis(300)).await;
    let ours = status(&left).await;
    assert_eq!((ours.state.as_str(), ours.enabled), ("Idle", false));
    assert_eq!(ours.disabled_message.as_deref(), Some("back at noon"));
    assert_eq!(
        left.order("right", NeighborOrder::Clear).await,
        Err(OrderError::Disabled("right".into()))
    );
    let soft = left.order("right", NeighborOrder::ClearSoft).await.unwrap_err();
    assert!(soft.to_string().contains("not Established (disabled)"), "{soft}");
    assert_eq!(done(disable("back at noon")).await, (was_disabled.into(), false));
    assert_eq!(done(disable("later")).await, (was_disabled.into(), true), "another message");

    assert_eq!(done(NeighborOrder::Enable).await, ("right is enabled".into(), true));
    until("it is back", async || left.established().await == (1, 1)).await;
    let ours = status(&left).await;
    assert_eq!((ours.enabled, ours.disabled_message), (true, None));
    assert_eq!((ours.counters.established, ours.counters.dropped), (2, 1));
    assert_eq!(done(NeighborOrder::Enable).await, ("right was enabled already".into(), false));
    assert_eq!(left.established().await, (1, 1), "that changed nothing");
}

#[tokio::test]
async fn a_soft_clear_sends_everything_both_ways_again_and_keeps_the_session() {
    let (left, right) = pair().await;
    left.originate(net("192.0.2.0/24"), Attributes::new(IpAddr::V4(LEFT)));
    right.originate(net("198.51.100.0/24"), Attributes::new(IpAddr::V4(RIGHT)));
    until("both know both", async || {
        left.routes(None).await.len() == 2 && right.routes(None).await.len() == 2
    })
    .await;
    let before = (status(&left).await.counters, status(&right).await.counters);
    let done = left.order("right", NeighborOrder::ClearSoft).await.unwrap();
    assert_eq!(done.words, "asked right for its routes (ipv4) and tell it all of ours again");
    until("each heard the other once more", async || {
        let after = (status(&left).await.counters, status(&right).await.counters);
        after.0.updates_in > before.0.updates_in && after.1.updates_in > before.1.updates_in
    })
    .await;
    let after = status(&left).await.counters;
    assert_eq!((after.established, after.dropped), (1, 0));
    assert_eq!(left.routes(None).await.len(), 2);
}

#[tokio::test]
async fn everything_of_a_neighbor_is_told() {
    let (left, _right) = pair().await;
    let ours = left.neighbor("right").await.unwrap();
    assert_eq!((ours.asn, ours.local_asn), (Asn(64502), Asn(64501)));
    assert_eq!((ours.router_id, ours.local_router_id), (Some(RIGHT), Some(LEFT)));
    assert_eq!(ours.local_address, Some(IpAddr::V4(LEFT)));
    // One of the two ends is the port on which both listen.
    assert!([ours.local_port, ours.remote_port].contains(&Some(ours.port)), "{ours:?}");
    assert_eq!(ours.hold_time_seconds, Some(90.0));
    let hold = ours.hold_due_seconds.unwrap();
    assert!((60.0..=90.0).contains(&hold), "{hold}");
    let keepalive = ours.keepalive_due_seconds.unwrap();
    assert!((0.0..=30.0).contains(&keepalive), "{keepalive}");
    let words = [
        "ipv4",
        "route refresh",
        "enhanced route refresh",
        "extended messages",
        "four-octet AS numbers",
        "graceful restart (helper only) with NOTIFICATIONs",
        "long-lived graceful restart (helper only)",
    ];
    assert_eq!(ours.capabilities_in_words.ours, words);
    assert_eq!(ours.capabilities_in_words.theirs, words);
    assert_eq!(ours.capabilities_in_words.in_force, words[..5]);
    assert_eq!((ours.md5, ours.ttl_security, ours.multihop), (false, false, None));
    assert_eq!((ours.counters.established, ours.counters.dropped), (1, 0));
    assert!(ours.counters.messages_in >= 2, "{:?}", ours.counters);
    let unknown = left.neighbor("nobody").await.unwrap_err();
    assert_eq!(unknown.to_string(), "no neighbor is called nobody; there are right");
}

#[tokio::test]
async fn a_route_is_found_in_each_table_by_prefix_by_address_and_within() {
    let (left, right) = pair().await;
    for prefix in ["10.0.0.0/8", "10.1.0.0/16", "10.1.2.0/24", "192.0.2.0/24"] {
        left.originate(net(prefix), Attributes::new(IpAddr::V4(LEFT)));
    }
    until("all arrive", async || right.routes(None).await.len() == 4).await;
    let sent = || RouteTable::Received("left".into());
    let taken = || RouteTable::Accepted("left".into());
    let told = || RouteTable::Advertised("right".into());
    let prefix = RouteSubject::Prefix;
    let address = |text: &str| RouteSubject::Address(text.parse().unwrap());
    for (handle, table, subject, want) in [
        (&right, sent(), prefix(net("10.1.0.0/16")), &["10.1.0.0/16"][..]),
        (&right, sent(), prefix(net("10.2.0.0/16")), &[]),
        (&right, RouteTable::All, address("10.1.3.1"), &["10.1.0.0/16"]),
        (&right, taken(), address("10.1.2.255"), &["10.1.2.0/24"]),
        (&right, taken(), address("11.0.0.0"), &[]),
        (
            &right,
            RouteTable::All,
            RouteSubject::Within(net("10.1.0.0/16")),
            &["10.1.0.0/16", "10.1.2.0/24"],
        ),
        (
            &left,
            told(),
            RouteSubject::Any,
            &["10.0.0.0/8", "10.1.0.0/16", "10.1.2.0/24", "192.0.2.0/24"],
        ),
    ] {
        let words = format!("{table:?} {subject:?}");
        let found = rows(handle, table, subject).await;
        let found: Vec<String> = found.iter().map(|row| row.prefix.to_string()).collect();
        assert_eq!(found, want, "{words}");
    }
    let one = prefix(net("192.0.2.0/24"));
    let preferences =
        [rows(&right, sent(), one).await.remove(0), rows(&right, taken(), one).await.remove(0)]
            .map(|row| row.local_pref);
    assert_eq!(preferences, [None, Some(200)], "before policy, and after");
    let row = rows(&left, told(), one).await.remove(0);
    assert_eq!((row.as_path.as_str(), row.next_hop), ("64501", Some(IpAddr::V4(LEFT))));
    let ours = rows(&left, RouteTable::All, one).await.remove(0);
    assert_eq!((ours.as_path.as_str(), ours.next_hop), ("", None));

    assert_eq!(right.preferred().await, [("left".to_owned(), 4)].into());
    let withheld = rows(&right, RouteTable::Withheld("left".into()), RouteSubject::Any).await;
    assert!(withheld.is_empty(), "they are its own: {withheld:?}");

    let look = RouteLook { family: Some(Family::Ipv6Unicast), ..RouteLook::default() };
    assert_eq!(right.look(look).await.unwrap().prefixes_left(), 0);
    let look = RouteLook { table: RouteTable::Received("nobody".into()), ..RouteLook::default() };
    let unknown = right.look(look).await.err().unwrap();
    assert_eq!(unknown.to_string(), "no neighbor is called nobody; there are left");
}

#[tokio::test]
async fn many_routes_come_in_pages_and_in_order() {
    let (left, right) = pair().await;
    // Not in the order of the addresses, and more than one step of each kind.
    for number in 0..40_000_u32 {
        let address = Ipv4Addr::from(0x0a00_0000 + (number * 7919 % 40_000) * 256);
        left.originate(IpNet::new(address.into(), 24).unwrap(), Attributes::new(IpAddr::V4(LEFT)));
    }
    until("all arrive", async || status(&right).await.received == 40_000).await;
    let mut stream = right.look(RouteLook::default()).await.unwrap();
    assert_eq!(stream.prefixes_left(), 40_000);
    let mut found = Vec::new();
    while let Some(page) = stream.next_page().await.unwrap() {
        assert!(page.len() <= 1000, "a page is {} routes", page.len());
        found.extend(page.into_iter().map(|route| route.prefix));
        if found.len() == 1000 {
            // What goes meanwhile is not shown, and nothing else is lost.
            left.withdraw(net("10.156.63.0/24"));
            until("it is gone", async || status(&right).await.received == 39_999).await;
        }
    }
    assert_eq!(found.len(), 39_999);
    assert!(found.is_sorted());
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "a million routes take a minute or more"]
async fn a_look_at_a_million_routes_keeps_nobody_waiting_and_needs_little() {
    let (left, right) = pair().await;
    for number in 0..1_000_000_u32 {
        let prefix = IpNet::new(Ipv4Addr::from(0x0100_0000 + number * 256).into(), 24).unwrap();
        let mut attributes = Attributes::new(IpAddr::V4(LEFT));
        attributes.med = Some(number % 1000);
        left.originate(prefix, attributes);
    }
    for _ in 0..600 {
        if status(&right).await.received == 1_000_000 {
            break;
        }
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
    assert_eq!(status(&right).await.received, 1_000_000);
    let before = resident() >> 20;
    let (other, over) = (right.clone(), Arc::new(AtomicBool::new(false)));
    let told = Arc::clone(&over);
    let waiting = tokio::spawn(async move {
        let mut longest = Duration::ZERO;
        while !told.load(Ordering::Acquire) {
            let begin = std::time::Instant::now();
            assert_eq!(other.established().await, (1, 1));
            longest = longest.max(begin.elapsed());
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        longest
    });
    let begin = std::time::Instant::now();
    let mut stream = right.look(RouteLook::default()).await.unwrap();
    let gathered = begin.elapsed();
    let mut most = resident() >> 20;
    let mut count = 0;
    while let Some(page) = stream.next_page().await.unwrap() {
        count += page.into_iter().map(RouteRow::from).count();
        most = most.max(resident() >> 20);
    }
    let took = begin.elapsed();
    over.store(true, Ordering::Release);
    let longest = waiting.await.unwrap();
    println!(
        "{count} routes in {took:?} ({gathered:?} until the first); another question waited for \
         {longest:?} at most; {} MiB more",
        most.saturating_sub(before)
    );
    assert_eq!(count, 1_000_000);
    assert!(most < before + 100, "{before} MiB before, {most} MiB at most");
}

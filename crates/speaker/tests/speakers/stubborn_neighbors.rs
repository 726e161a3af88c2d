//! Neighbors that do not do their part: that read nothing, never close, never stop talking.
#![allow(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    clippy::unwrap_used,
    reason = "tests use real sockets and may panic"
)]

use std::io::{Read, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anycast_bgp::message::{Context, Message, Update};
use anycast_bgp::policy::Policy;
use anycast_bgp::{Asn, Attributes, Family, IpNet};
use anycast_speaker::{Config, Handle, Neighbor, Speaker};
use tokio::task::JoinHandle;

use crate::setup::{emit, resident, run_alone, shake_hands, until};

const US: Ipv4Addr = Ipv4Addr::LOCALHOST;
const OUR_ASN: Asn = Asn(64501);

fn neighbor(address: Ipv4Addr, port: u16, asn: Asn) -> Neighbor {
    Neighbor {
        port,
        asn,
        hold_time: Duration::from_secs(3),
        connect_retry: Duration::from_millis(50),
        families: vec![Family::Ipv4Unicast],
        import: Policy::accept_all(),
        export: Policy::accept_all(),
        ..Neighbor::new(address.to_string(), address.into(), asn)
    }
}

fn start(
    address: Ipv4Addr,
    asn: Asn,
    port: u16,
    neighbors: Vec<Neighbor>,
) -> (Handle, JoinHandle<()>) {
    let config = Config {
        listen: vec![SocketAddr::new(address.into(), port)],
        neighbors,
        ..Config::new(asn, address)
    };
    let speaker = Speaker::bind(config, None).unwrap();
    let handle = speaker.handle();
    (handle, tokio::spawn(speaker.run()))
}

fn prefix(number: u32) -> IpNet {
    let [_, high, middle, low] = number.to_be_bytes();
    IpNet::new(Ipv4Addr::new(10 + high, middle, low, 0).into(), 24).unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_neighbor_that_reads_nothing_holds_back_nobody_and_nothing_at_the_end() {
    let stuck = TcpListener::bind((Ipv4Addr::new(127, 0, 0, 2), 0)).unwrap();
    let port = stuck.local_addr().unwrap().port();
    let reads_nothing = std::thread::spawn(move || shake_hands(&stuck, Asn(64502), Duration::ZERO));
    let other = Ipv4Addr::new(127, 0, 0, 3);
    let us = vec![
        neighbor(Ipv4Addr::new(127, 0, 0, 2), port, Asn(64502)),
        Neighbor { passive: true, ..neighbor(other, port, Asn(64503)) },
    ];
    let (handle, task) = start(US, OUR_ASN, port, us);
    let mut back = neighbor(US, port, OUR_ASN);
    back.local_address = Some(other.into());
    let (healthy, _) = start(other, Asn(64503), port, vec![back]);
    until("both are Established", async || handle.established().await == (2, 2)).await;
    let open_for_good = reads_nothing.join().unwrap();

    // Far more than fits into the buffers of the one that reads nothing: each route has attributes
    // of its own, so an UPDATE of its own.
    for number in 0..60_000 {
        let mut attributes = Attributes::new(IpAddr::V4(US));
        attributes.med = Some(number);
        handle.originate(prefix(number), attributes);
    }
    // Four seconds are more than the healthy neighbor's hold time.
    tokio::time::sleep(Duration::from_secs(4)).await;
    let status = handle.neighbors().await;
    assert!(status.iter().all(|n| n.last_down.is_none()), "{status:?}");
    until("the healthy one has them all", async || healthy.routes(None).await.len() == 60_000)
        .await;

    handle.withdraw(prefix(7));
    until("the healthy one hears it", async || healthy.best(prefix(7)).await.is_none()).await;

    let before = Instant::now();
    handle.shutdown("enough");
    task.await.unwrap();
    assert!(before.elapsed() < Duration::from_secs(3), "{:?}", before.elapsed());
    drop(open_for_good);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_neighbor_that_never_stops_talking_costs_no_other_its_keepalives() {
    let listener = TcpListener::bind((Ipv4Addr::new(127, 0, 0, 2), 0)).unwrap();
    let port = listener.local_addr().unwrap().port();
    std::thread::spawn(move || {
        let mut stream = shake_hands(&listener, Asn(64502), Duration::ZERO);
        stream.set_read_timeout(Some(Duration::from_millis(1))).unwrap();
        let mut flood = Vec::new();
        for number in 0..2000_u32 {
            let mut attributes = Attributes::new(IpAddr::from([127, 0, 0, 2]));
            attributes.as_path = anycast_bgp::AsPath::sequence(&[64502, number + 1]);
            let update = Update::announce(Arc::new(attributes), vec![prefix(number % 50)]);
            flood.extend(update.emit(&Context::default()).concat());
        }
        while stream.write_all(&flood).is_ok() {}
    });
    let other = Ipv4Addr::new(127, 0, 0, 3);
    let us = vec![
        neighbor(Ipv4Addr::new(127, 0, 0, 2), port, Asn(64502)),
        Neighbor {
            passive: true,
            export: Policy::reject_all(),
            ..neighbor(other, port, Asn(64503))
        },
    ];
    let (handle, _) = start(US, OUR_ASN, port, us);
    let mut back = neighbor(US, port, OUR_ASN);
    back.local_address = Some(other.into());
    let (quiet, _) = start(other, Asn(64503), port, vec![back]);
    until("both are Established", async || handle.established().await == (2, 2)).await;
    // More than the hold time, of three seconds, in which only KEEPALIVEs cross.
    tokio::time::sleep(Duration::from_millis(4500)).await;
    let status = quiet.neighbors().await.remove(0);
    assert_eq!((status.state.as_str(), &status.last_down), ("Established", &None));
    let status = handle.neighbors().await;
    assert!(status.iter().all(|n| n.last_down.is_none()), "{status:?}");
}

#[tokio::test]
async fn when_a_speaker_has_ended_the_next_one_can_listen() {
    let probe = TcpListener::bind((US, 0)).unwrap();
    let port = probe.local_addr().unwrap().port();
    drop(probe);
    for _ in 0..3 {
        let (handle, task) = start(US, OUR_ASN, port, Vec::new());
        handle.shutdown("");
        task.await.unwrap();
    }
}

#[tokio::test]
async fn a_cease_arrives_before_the_speaker_has_ended() {
    let listener = TcpListener::bind((Ipv4Addr::new(127, 0, 0, 2), 0)).unwrap();
    let port = listener.local_addr().unwrap().port();
    let there =
        tokio::task::spawn_blocking(move || shake_hands(&listener, Asn(64502), Duration::ZERO));
    let us = vec![neighbor(Ipv4Addr::new(127, 0, 0, 2), port, Asn(64502))];
    let (handle, task) = start(US, OUR_ASN, port, us);
    let mut stream = there.await.unwrap();
    until("Established", async || handle.established().await == (1, 1)).await;
    handle.shutdown("gone fishing");
    task.await.unwrap();
    stream.set_read_timeout(Some(Duration::from_millis(1))).unwrap();
    let mut octets = Vec::new();
    stream.read_to_end(&mut octets).unwrap();
    assert!(octets.ends_with(b"gone fishing"), "{octets:?}");
}

#[tokio::test]
async fn a_neighbor_that_connects_once_more_is_asked_whether_the_old_connection_lives() {
    let listener = TcpListener::bind((Ipv4Addr::new(127, 0, 0, 2), 0)).unwrap();
    let port = listener.local_addr().unwrap().port();
    let hold = Duration::from_secs(180);
    let there = tokio::task::spawn_blocking(move || shake_hands(&listener, Asn(64502), hold));
    let mut us = neighbor(Ipv4Addr::new(127, 0, 0, 2), port, Asn(64502));
    us.hold_time = hold;
    let (handle, _) = start(US, OUR_ASN, port, vec![us]);
    let mut old = there.await.unwrap();
    until("Established", async || handle.established().await == (1, 1)).await;

    // As if it had started again, from the same address; thrice, but asked once.
    for _ in 0..3 {
        let socket = tokio::net::TcpSocket::new_v4().unwrap();
        socket.bind((Ipv4Addr::new(127, 0, 0, 2), 0).into()).unwrap();
        let new = socket.connect((US, port).into()).await.unwrap();
        tokio::time::sleep(Duration::from_millis(20)).await;
        drop(new);
    }
    old.set_read_timeout(Some(Duration::from_millis(500))).unwrap();
    let mut octets = [0; 100];
    let mut heard = 0;
    while let Ok(len @ 1..) = old.read(&mut octets[heard..]) {
        heard += len;
    }
    let mut said = emit(&Message::Update(Update::end_of_rib(Family::Ipv4Unicast)));
    said.extend(emit(&Message::Keepalive));
    assert_eq!(octets[..heard], said);
    assert_eq!(handle.established().await, (1, 1), "one that answers stays");
}

#[test]
fn a_neighbor_that_flaps_hundreds_of_times_leaves_nothing_and_touches_nobody() {
    run_alone(module_path!(), "flaps");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "runs in a process of its own, by a_neighbor_that_flaps_hundreds_of_times_…"]
async fn flaps() {
    const ROUTES: u32 = 500;
    // A machine with much else to do may take a second or two between two steps, keepalives not.
    const HOLD_TIME: Duration = Duration::from_secs(6);
    let listener = TcpListener::bind((Ipv4Addr::new(127, 0, 0, 2), 0)).unwrap();
    let port = listener.local_addr().unwrap().port();
    // Each time with attributes that nobody has seen before.
    let flaps = std::thread::spawn(move || {
        let (mut settled, began) = (0, std::time::Instant::now());
        // So long that the bystander's session ends if nobody has time for its KEEPALIVEs.
        let lasts = HOLD_TIME + Duration::from_secs(2);
        for flap in (0..).take_while(|flap| *flap < 300 || began.elapsed() < lasts) {
            let mut stream = shake_hands(&listener, Asn(64502), HOLD_TIME);
            let routes = (0..ROUTES).flat_map(|number| {
                let mut attributes = Attributes::new(IpAddr::from([127, 0, 0, 2]));
                let path = [64502, 1 + flap * ROUTES + number];
                attributes.as_path = anycast_bgp::AsPath::sequence(&path);
                let update = Update::announce(Arc::new(attributes), vec![prefix(number)]);
                update.emit(&Context::default()).concat()
            });
            let octets: Vec<u8> = routes.collect();
            // All of a table or the beginning of one, whatever the message it ends in.
            let len = if flap % 2 == 0 { octets.len() } else { octets.len() / 3 };
            stream.write_all(&octets[..len]).unwrap();
            if flap == 100 {
                settled = resident();
            }
        }
        resident().saturating_sub(settled)
    });
    let other = Ipv4Addr::new(127, 0, 0, 3);
    let us = vec![
        Neighbor {
            connect_retry: Duration::from_millis(10),
            hold_time: HOLD_TIME,
            ..neighbor(Ipv4Addr::new(127, 0, 0, 2), port, Asn(64502))
        },
        Neighbor { passive: true, hold_time: HOLD_TIME, ..neighbor(other, port, Asn(64503)) },
    ];
    let (handle, _) = start(US, OUR_ASN, port, us);
    let mut back = neighbor(US, port, OUR_ASN);
    back.local_address = Some(other.into());
    back.hold_time = HOLD_TIME;
    let (healthy, _) = start(other, Asn(64503), port, vec![back]);
    handle.originate(prefix(100_000), Attributes::new(IpAddr::V4(US)));
    let grown = tokio::task::spawn_blocking(|| flaps.join().unwrap()).await.unwrap();
    // 200 flaps of 500 sets each would be some 30 MB.
    assert!(grown < 8_000_000, "{grown} octets more");
    until("what it announced is gone", async || {
        handle.routes(None).await.len() == 1 && healthy.routes(None).await.len() == 1
    })
    .await;
    let status = healthy.neighbors().await.remove(0);
    assert_eq!((status.state.as_str(), &status.last_down), ("Established", &None));
}

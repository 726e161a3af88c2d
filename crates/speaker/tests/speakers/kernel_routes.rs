//! Routes in a real kernel: each test starts this program again in a network namespace of its
//! own, to run one of the tests that are otherwise ignored.
#![allow(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    clippy::unwrap_used,
    reason = "tests use real sockets and may panic"
)]

use std::collections::HashMap;
use std::io::{Read, Write};
use std::net::{IpAddr, Ipv4Addr, TcpListener};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anycast_bgp::message::{Context, Update};
use anycast_bgp::policy::Policy;
use anycast_bgp::{AsPath, Asn, Attributes, Family, IpNet};
use anycast_speaker::{Config, Igp, IgpRoute, Neighbor, Speaker};

use crate::setup::{ip, run_in_namespace, shake_hands, until};

#[test]
fn what_an_earlier_run_left_goes_and_what_is_anothers_stays() {
    run_in_namespace(module_path!(), "leftovers");
}

#[test]
fn routes_come_back_when_the_kernel_has_dropped_or_refused_them() {
    run_in_namespace(module_path!(), "dropped_and_refused");
}

#[test]
fn routes_that_others_remove_come_back_when_the_kernel_told_more_than_we_could_take() {
    run_in_namespace(module_path!(), "overrun");
}

#[test]
fn each_of_ten_thousand_routes_goes_its_own_way_or_is_refused_and_all_go_at_the_end() {
    run_in_namespace(module_path!(), "many");
}

#[test]
fn neighbors_hear_of_a_way_when_packets_take_it() {
    run_in_namespace(module_path!(), "installed_first");
}

/// Our routes, of both families.
fn ours() -> Vec<String> {
    let text = ip("route show proto 179") + &ip("-6 route show proto 179");
    text.lines().map(|line| line.split_whitespace().next().unwrap().to_owned()).collect()
}

/// Waits until our routes are `wanted`; returns how long that took.
async fn until_ours_are(wanted: &[&str]) -> Duration {
    let started = Instant::now();
    while ours() != wanted {
        assert!(started.elapsed() < Duration::from_secs(20), "{:?}, not {wanted:?}", ours());
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    started.elapsed()
}

fn speaker() -> Speaker {
    let config = Config {
        listen: Vec::new(),
        install_routes: true,
        neighbors: Vec::new(),
        ..Config::new(Asn(64501), Ipv4Addr::LOCALHOST)
    };
    Speaker::bind(config, None).unwrap()
}

/// An interface with two prefixes on it, and a router at `.9` and `::9` of them.
fn interface() {
    ip("link set lo up");
    ip("link add d0 type veth peer name d1");
    // Without this, addresses of IPv6 go when the interface is set down.
    std::fs::write("/proc/sys/net/ipv6/conf/d0/keep_addr_on_down", "1").unwrap();
    ip("link set d1 up");
    ip("link set d0 up");
}

fn addresses() {
    ip("address add 198.51.100.1/24 dev d0");
    ip("address add 2001:db8:1::1/64 dev d0 nodad");
}

fn igp() -> Igp {
    let routes = [("192.0.2.0/24", "198.51.100.9"), ("2001:db8:2::/48", "2001:db8:1::9")];
    let routes: HashMap<_, _> = routes
        .into_iter()
        .map(|(prefix, gateway)| {
            let gateway = gateway.parse().unwrap();
            (prefix.parse().unwrap(), IgpRoute { cost: 1, gateway })
        })
        .collect();
    Igp { routes }
}

const BOTH: [&str; 2] = ["192.0.2.0/24", "2001:db8:2::/48"];

#[tokio::test]
#[ignore = "run by what_an_earlier_run_left_goes_and_what_is_anothers_stays"]
async fn leftovers() {
    interface();
    addresses();
    ip("route add default via 198.51.100.9 proto 179 metric 20");
    ip("route add 203.0.113.0/24 via 198.51.100.9 proto 179 metric 20");
    ip("-6 route add default via 2001:db8:1::9 proto 179 metric 20");
    ip("-6 route add 2001:db8:3::/48 via 2001:db8:1::9 proto 179 metric 20");
    ip("route add 203.0.113.0/24 via 198.51.100.8 proto static metric 50");
    ip("-6 route add 2001:db8:3::/48 via 2001:db8:1::8 proto static metric 50");
    ip("route add 192.0.2.0/24 via 198.51.100.9 proto 179 metric 20");
    ip("route add 192.0.2.0/24 via 198.51.100.9 proto 179 metric 30");
    let speaker = speaker();
    let strangers = ip("route show proto static") + &ip("-6 route show proto static");
    assert_eq!(strangers.lines().count(), 2, "{strangers}");

    let handle = speaker.handle();
    let task = tokio::spawn(speaker.run());
    handle.set_igp(igp());
    handle.settled().await;
    let stay = ["192.0.2.0/24", "203.0.113.0/24", "2001:db8:2::/48", "2001:db8:3::/48", "default"];
    assert!(stay.iter().all(|it| ours().iter().any(|ours| ours == it)), "{:?}", ours());
    until_ours_are(&BOTH).await;
    handle.shutdown("");
    task.await.unwrap();
    assert_eq!(ours(), [""; 0]);
    let strangers = ip("route show proto static") + &ip("-6 route show proto static");
    assert_eq!(strangers.lines().count(), 2, "{strangers}");
}

#[tokio::test]
#[ignore = "run by routes_come_back_when_the_kernel_has_dropped_or_refused_them"]
async fn dropped_and_refused() {
    interface();
    let speaker = speaker();
    let handle = speaker.handle();
    let task = tokio::spawn(speaker.run());
    handle.set_igp(igp());
    handle.settled().await;
    assert_eq!(ours(), [""; 0], "no gateway is on a link yet");
    addresses();
    until_ours_are(&BOTH).await;

    ip("link set d0 down");
    assert_eq!(ours(), [""; 0], "the kernel drops them by itself");
    ip("link set d0 up");
    let took = until_ours_are(&BOTH).await;
    assert!(took < Duration::from_millis(900), "put back at once, not tried again: {took:?}");

    handle.shutdown("");
    task.await.unwrap();
    assert_eq!(ours(), [""; 0]);
}

/// One thread runs the speaker and this: while the batch is under way nobody reads from netlink.
#[tokio::test]
#[ignore = "run by routes_that_others_remove_come_back_when_the_kernel_told_more_than_we_could_take"]
async fn overrun() {
    interface();
    addresses();
    ip("link add noise type veth peer name noise1");
    let speaker = speaker();
    let handle = speaker.handle();
    let task = tokio::spawn(speaker.run());
    handle.set_igp(igp());
    handle.settled().await;
    assert_eq!(ours(), BOTH);

    ip("route del 192.0.2.0/24 proto 179");
    ip("-6 route del 2001:db8:2::/48 proto 179");
    ip("route add 203.0.113.0/24 via 198.51.100.9 proto 179 metric 20");
    assert_eq!(ours(), ["203.0.113.0/24"]);
    let noise = "link set noise up\nlink set noise down\n".repeat(2000);
    let file = std::env::temp_dir().join(format!("anycast-noise-{}", std::process::id()));
    std::fs::write(&file, noise).unwrap();
    ip(&format!("-batch {}", file.display()));
    std::fs::remove_file(file).unwrap();
    until_ours_are(&BOTH).await;

    handle.shutdown("");
    task.await.unwrap();
    assert_eq!(ours(), [""; 0]);
}

/// Far more than go to the kernel in one system call.
const MANY: u32 = 10_000;

/// `turn`: where the gateways begin.
fn many_by_turns(turn: u32) -> Igp {
    let gateways = ["198.51.100.9", "203.0.113.9", "198.51.100.7", "233.252.0.9"];
    let routes = (0..MANY).map(|number| {
        let prefix = format!("10.{}.{}.0/24", number >> 8, number & 255).parse().unwrap();
        let gateway = gateways[(number + turn) as usize % 4].parse().unwrap();
        (prefix, IgpRoute { cost: 1, gateway })
    });
    Igp { routes: routes.collect() }
}

/// Prefixes and routers of our routes.
fn ways() -> HashMap<String, String> {
    let text = ip("route show proto 179");
    let way = |line: &str| {
        let words: Vec<&str> = line.split_whitespace().collect();
        (words[0].to_owned(), words[2].to_owned())
    };
    text.lines().map(way).collect()
}

#[tokio::test]
#[ignore = "run by each_of_ten_thousand_routes_goes_its_own_way_or_is_refused_and_all_go_at_the_end"]
async fn many() {
    interface();
    let speaker = speaker();
    let handle = speaker.handle();
    let task = tokio::spawn(speaker.run());
    handle.set_igp(many_by_turns(0));
    handle.settled().await;
    assert_eq!(ways().len(), 0, "the kernel has refused every one");

    addresses();
    ip("route add 203.0.113.0/24 via 198.51.100.8");
    // The last of these leads nowhere, whatever led somewhere before.
    let routers = [Some("198.51.100.9"), Some("198.51.100.8"), Some("198.51.100.7"), None];
    for turn in 0..4 {
        handle.set_igp(many_by_turns(turn));
        handle.settled().await;
        let wanted = (0..MANY).filter_map(|number| {
            let router = routers[(number + turn) as usize % 4]?;
            Some((format!("10.{}.{}.0/24", number >> 8, number & 255), router.to_owned()))
        });
        assert!(ways() == wanted.collect(), "turn {turn}");
    }
    handle.set_igp(Igp { routes: HashMap::new() });
    handle.settled().await;
    assert_eq!(ways().len(), 0);

    handle.set_igp(many_by_turns(0));
    handle.settled().await;
    assert_eq!(ways().len(), MANY as usize * 3 / 4);
    handle.shutdown("");
    task.await.unwrap();
    assert_eq!(ways().len(), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "run by neighbors_hear_of_a_way_when_packets_take_it"]
async fn installed_first() {
    const COUNT: u8 = 250;
    interface();
    addresses();
    let at = |last| Ipv4Addr::new(127, 0, 0, last);
    let listeners = [2, 3].map(|last| TcpListener::bind((at(last), 0)).unwrap());
    let neighbors = listeners.iter().zip([2, 3]).map(|(listener, last)| Neighbor {
        port: listener.local_addr().unwrap().port(),
        connect_retry: Duration::from_millis(50),
        families: vec![Family::Ipv4Unicast],
        import: Policy::accept_all(),
        export: Policy::accept_all(),
        ..Neighbor::new(last.to_string(), at(last).into(), Asn(64500 + u32::from(last)))
    });
    let config = Config {
        listen: Vec::new(),
        install_routes: true,
        neighbors: neighbors.collect(),
        ..Config::new(Asn(64501), Ipv4Addr::LOCALHOST)
    };
    let speaker = Speaker::bind(config, None).unwrap();
    let handle = speaker.handle();
    let task = tokio::spawn(speaker.run());
    let [from, to] = listeners;
    let shake = |listener: TcpListener, asn| {
        tokio::task::spawn_blocking(move || shake_hands(&listener, Asn(asn), Duration::ZERO))
    };
    let (from, to) = (shake(from, 64502), shake(to, 64503));
    let (mut from, mut to) = (from.await.unwrap(), to.await.unwrap());
    until("both are Established", async || handle.established().await == (2, 2)).await;

    // One prefix after the other is announced by the one, and looked for when the other is told.
    let looked = tokio::task::spawn_blocking(move || {
        let mut late = Vec::new();
        for number in 0..COUNT {
            let mut attributes = Attributes::new(IpAddr::from([198, 51, 100, 9]));
            attributes.as_path = AsPath::sequence(&[64502]);
            let prefix = IpNet::new(Ipv4Addr::new(10, number, 0, 0).into(), 24).unwrap();
            let update = Update::announce(Arc::new(attributes), vec![prefix]);
            from.write_all(&update.emit(&Context::default()).concat()).unwrap();
            let nlri = [24, 10, number, 0];
            loop {
                let mut header = [0; 19];
                to.read_exact(&mut header).unwrap();
                let len = u16::from_be_bytes([header[16], header[17]]);
                let mut body = vec![0; usize::from(len) - header.len()];
                to.read_exact(&mut body).unwrap();
                if body.ends_with(&nlri) {
                    break;
                }
            }
            let routes = std::fs::read_to_string("/proc/net/route").unwrap();
            // Octets of the destination, the last one first.
            if !routes.contains(&format!("\t0000{number:02X}0A\t")) {
                late.push(number);
            }
        }
        late
    });
    assert_eq!(looked.await.unwrap(), [0; 0], "told before they were there");
    handle.shutdown("");
    task.await.unwrap();
}

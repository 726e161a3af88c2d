//! Cases inside a lab: what links and nodes do.

use std::io::{ErrorKind, Read, Write};
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::time::{Duration, Instant};

use anycast_lab::netlink::{self, NextHop, Request};
use anycast_lab::netns::{NetNs, Sysctls};
use anycast_lab::wire::{End, Link, LinkSpec, State, Wire};
use ipnet::IpNet;

pub(crate) const MS: Duration = Duration::from_millis(1);

pub(crate) fn net(text: &str) -> IpNet {
    text.parse().expect("a prefix")
}

fn ip(text: &str) -> IpAddr {
    text.parse().expect("an address")
}

pub(crate) fn host(name: &str) -> NetNs {
    NetNs::create(name, Sysctls::Host).expect("a host")
}

pub(crate) fn router(name: &str) -> NetNs {
    NetNs::create(name, Sysctls::Router).expect("a router")
}

pub(crate) fn wire() -> Wire {
    Wire::new(NetNs::create("hub", Sysctls::Hub).expect("a hub")).expect("a wire")
}

pub(crate) fn end(ns: &NetNs, ifname: &str, addresses: &[&str]) -> End {
    let addresses = addresses.iter().map(|address| net(address)).collect();
    End { ns: ns.clone(), ifname: ifname.to_owned(), mac: None, addresses }
}

pub(crate) fn link(latency: Duration, ends: Vec<End>) -> LinkSpec {
    LinkSpec { name: "link".to_owned(), ends, latency, mtu: 1500 }
}

/// Two hosts, 192.0.2.0 and 192.0.2.1 (2001:db8:: and 2001:db8::1), and a cable between.
fn pair(latency: Duration) -> (Wire, NetNs, NetNs, Link) {
    let (wire, a, b) = (wire(), host("a"), host("b"));
    let ends = vec![
        end(&a, "to-b", &["192.0.2.0/31", "2001:db8::/127"]),
        end(&b, "to-a", &["192.0.2.1/31", "2001:db8::1/127"]),
    ];
    let made = wire.add_link(&link(latency, ends)).expect("a link");
    (wire, a, b, made)
}

pub(crate) fn udp(ns: &NetNs, address: &str) -> UdpSocket {
    let socket = ns.run(|| UdpSocket::bind((ip(address), 7))).expect("a socket");
    socket.set_read_timeout(Some(500 * MS)).expect("a timeout");
    socket
}

/// One octet there and back; how long that took, or nothing if it was lost.
fn echo(from: &UdpSocket, to: &UdpSocket) -> Option<Duration> {
    let start = Instant::now();
    from.send_to(b"?", to.local_addr().expect("an address")).ok()?;
    let mut octet = [0];
    let (_, back) = to.recv_from(&mut octet).ok()?;
    to.send_to(b"!", back).ok()?;
    from.recv_from(&mut octet).ok()?;
    Some(start.elapsed())
}

pub(crate) fn latency() {
    let (wire, a, b, link) = pair(20 * MS);
    for (one, other) in [("192.0.2.0", "192.0.2.1"), ("2001:db8::", "2001:db8::1")] {
        let (one, other) = (udp(&a, one), udp(&b, other));
        let rounds: Vec<_> = (0..5).filter_map(|_| echo(&one, &other)).collect();
        assert_eq!(rounds.len(), 5, "each is answered");
        assert!(rounds.iter().all(|took| *took >= 40 * MS), "none is early: {rounds:?}");
        // A busy machine may hold up some, not all.
        assert!(rounds.iter().any(|took| *took < 60 * MS), "they are in time: {rounds:?}");
        println!("  round trip over 2 x 20 ms: {:?}", echo(&one, &other).expect("an answer"));
        wire.set_latency(link.id, Duration::ZERO).expect("the link exists");
        println!("  round trip over 2 x 0 ms: {:?}", echo(&one, &other).expect("an answer"));
        wire.set_latency(link.id, 20 * MS).expect("the link exists");
    }
    let counters = wire.counters(link.id).expect("the link exists");
    // One octet of payload in IPv4 or IPv6, UDP and Ethernet; router discovery may add to it.
    assert!(counters.frames >= 28 && counters.octets >= 28 * 43, "{counters:?}");
    assert_eq!((counters.drops, wire.overruns().expect("a count")), (0, 0));
}

/// 20 MB whose octets tell their place.
fn pattern() -> Vec<u8> {
    (0..5_000_000_u32).flat_map(|word| word.wrapping_mul(2_654_435_761).to_be_bytes()).collect()
}

pub(crate) fn bulk() {
    let sent = pattern();
    let (wire, a, b, link) = pair(Duration::ZERO);
    for (latency, address) in
        [(Duration::ZERO, "192.0.2.1"), (20 * MS, "192.0.2.1"), (20 * MS, "2001:db8::1")]
    {
        wire.set_latency(link.id, latency).expect("the link exists");
        let listener = b.run(|| TcpListener::bind((ip(address), 9))).expect("a listener");
        let server: SocketAddr = listener.local_addr().expect("an address");
        let start = Instant::now();
        let got = std::thread::scope(|scope| {
            scope.spawn(|| {
                let mut stream = a.run(|| TcpStream::connect(server)).expect("a connection");
                stream.write_all(&sent).expect("the connection holds");
            });
            let mut got = Vec::with_capacity(sent.len());
            let (mut stream, _) = listener.accept().expect("a connection");
            stream.read_to_end(&mut got).expect("the connection holds");
            got
        });
        let took = start.elapsed();
        assert!(got == sent, "20 MB to {address} at {latency:?} arrive intact");
        let counters = wire.counters(link.id).expect("the link exists");
        println!("  20 MB to {address} over 2 x {latency:?}: {took:?}, {counters:?}");
    }
    let counters = wire.counters(link.id).expect("the link exists");
    let size = counters.octets / counters.frames;
    assert!(size > 3000, "segments travel joined as GSO packets: {size} octets a frame");
}

pub(crate) fn broadcast() {
    let wire = wire();
    let nodes: Vec<NetNs> = ["a", "b", "c", "d"].map(host).into();
    let ends = (1..)
        .zip(&nodes)
        .map(|(number, ns)| end(ns, "lan", &[&format!("192.0.2.{number}/24")]))
        .collect();
    wire.add_link(&link(MS, ends)).expect("a LAN");
    let sockets: Vec<UdpSocket> = nodes.iter().map(|ns| udp(ns, "0.0.0.0")).collect();
    sockets[1].set_broadcast(true).expect("an option");
    sockets[1].send_to(b"all", ("192.0.2.255", 7)).expect("a broadcast is sent");
    for (node, socket) in sockets.iter().enumerate() {
        socket.set_read_timeout(Some(100 * MS)).expect("a timeout");
        let heard = socket.recv_from(&mut [0; 8]).is_ok();
        // The sender's own kernel delivers a broadcast to itself as well.
        assert!(heard, "node {node} hears it");
        assert!(socket.recv_from(&mut [0; 8]).is_err(), "node {node} hears it once");
    }
    // By unicast the LAN's nodes find each other with ARP.
    let direct = sockets[0].send_to(b"one", ("192.0.2.4", 7));
    assert_eq!(direct.expect("it is sent"), 3);
    assert!(sockets[3].recv_from(&mut [0; 8]).is_ok());
}

fn carrier(ns: &NetNs, ifname: &str) -> bool {
    // sysfs would show the namespace in which it was mounted.
    ns.run(nix::ifaddrs::getifaddrs)
        .expect("interfaces")
        .filter(|interface| interface.interface_name == ifname)
        .any(|interface| interface.flags.contains(nix::net::if_::InterfaceFlags::IFF_LOWER_UP))
}

pub(crate) fn cut() {
    let (wire, a, b, link) = pair(MS);
    let (one, other) = (udp(&a, "192.0.2.0"), udp(&b, "192.0.2.1"));
    assert!(echo(&one, &other).is_some());
    assert!(carrier(&a, "to-b") && carrier(&b, "to-a"));
    for socket in [&one, &other] {
        socket.set_read_timeout(Some(20 * MS)).expect("a timeout");
    }
    for _ in 0..3 {
        wire.set(link.id, State::Cut).expect("the link exists");
        assert!(!carrier(&a, "to-b") && !carrier(&b, "to-a"));
        assert_eq!(echo(&one, &other), None);
        wire.set(link.id, State::Up).expect("the link exists");
        assert!(carrier(&a, "to-b") && carrier(&b, "to-a"));
        assert!(echo(&one, &other).is_some(), "a mended link carries at once");
    }
    // IPv6 comes back, too: the addresses survive.
    assert!(echo(&udp(&a, "2001:db8::"), &udp(&b, "2001:db8::1")).is_some());
}

pub(crate) fn frozen() {
    let (wire, a, b, link) = pair(MS);
    let (one, other) = (udp(&a, "192.0.2.0"), udp(&b, "192.0.2.1"));
    for socket in [&one, &other] {
        socket.set_read_timeout(Some(50 * MS)).expect("a timeout");
    }
    let freezes: [(&str, &dyn Fn(bool)); 3] = [
        ("link", &|frozen| {
            let state = if frozen { State::Frozen } else { State::Up };
            wire.set(link.id, state).expect("the link exists");
        }),
        ("end", &|frozen| wire.freeze_end(link.id, 1, frozen).expect("the end exists")),
        ("node", &|frozen| wire.freeze_node(&b, frozen)),
    ];
    for (what, freeze) in freezes {
        freeze(true);
        assert_eq!(echo(&one, &other), None, "a frozen {what} carries nothing");
        assert!(carrier(&a, "to-b") && carrier(&b, "to-a"), "a frozen {what} keeps its carrier");
        freeze(false);
        assert!(echo(&one, &other).is_some(), "a thawed {what} carries");
    }
    assert!(wire.counters(link.id).expect("the link exists").drops >= 3);
    assert!(wire.freeze_end(link.id, 2, true).is_err());
}

pub(crate) fn routes() {
    let (wire, a, b) = (wire(), host("a"), host("b"));
    let (r, s) = (router("r"), router("s"));
    let cable = |one: End, other: End| link(Duration::ZERO, vec![one, other]);
    let made = wire
        .add_links(&[
            cable(
                end(&a, "up", &["192.0.2.0/31", "2001:db8::/127"]),
                end(&r, "a", &["192.0.2.1/31", "2001:db8::1/127"]),
            ),
            cable(
                end(&r, "s1", &["192.0.2.2/31", "2001:db8::2/127"]),
                end(&s, "r1", &["192.0.2.3/31", "2001:db8::3/127"]),
            ),
            cable(
                end(&r, "s2", &["192.0.2.4/31", "2001:db8::4/127"]),
                end(&s, "r2", &["192.0.2.5/31", "2001:db8::5/127"]),
            ),
            cable(
                end(&s, "b", &["192.0.2.6/31", "2001:db8::6/127"]),
                end(&b, "up", &["192.0.2.7/31", "2001:db8::7/127"]),
            ),
        ])
        .expect("four links");
    let via = |address: &str| NextHop { via: Some(ip(address)), ifindex: None };
    let dev = |address: &str, ns: &NetNs, ifname: &str| NextHop {
        via: Some(ip(address)),
        ifindex: Some(ns.ifindex(ifname).expect("the interface exists")),
    };
    assert_eq!(a.ifindex("up").ok(), Some(made[0].ends[0].ifindex));
    let plan: [(&NetNs, Vec<Request<'_>>); 4] = [
        (
            &a,
            vec![
                Request::AddRoute(net("0.0.0.0/0"), vec![via("192.0.2.1")]),
                Request::AddRoute(net("::/0"), vec![via("2001:db8::1")]),
            ],
        ),
        (
            &b,
            vec![
                Request::AddAddress(1, net("198.51.100.1/32")),
                Request::AddAddress(1, net("2001:db8:53::1/128")),
                Request::AddRoute(net("0.0.0.0/0"), vec![via("192.0.2.6")]),
                Request::AddRoute(net("::/0"), vec![via("2001:db8::6")]),
            ],
        ),
        (
            &r,
            vec![
                Request::AddRoute(
                    net("198.51.100.0/24"),
                    vec![dev("192.0.2.3", &r, "s1"), dev("192.0.2.5", &r, "s2")],
                ),
                // An IPv4 prefix by way of an IPv6 next hop, then something to be replaced.
                Request::AddRoute(net("192.0.2.6/31"), vec![dev("2001:db8::3", &r, "s1")]),
                Request::AddRoute(net("2001:db8:53::/48"), vec![via("2001:db8::")]),
                Request::ReplaceRoute(
                    net("2001:db8:53::/48"),
                    vec![dev("2001:db8::3", &r, "s1"), dev("2001:db8::5", &r, "s2")],
                ),
            ],
        ),
        (
            &s,
            vec![
                Request::AddRoute(net("198.51.100.0/24"), vec![via("192.0.2.7")]),
                Request::AddRoute(net("2001:db8:53::/48"), vec![via("2001:db8::7")]),
                Request::AddRoute(net("192.0.2.0/31"), vec![via("192.0.2.2")]),
                Request::AddRoute(net("2001:db8::/127"), vec![via("2001:db8::2")]),
            ],
        ),
    ];
    for (ns, requests) in &plan {
        netlink::apply(ns, requests).expect("the kernel takes the routes");
    }
    for (one, other) in [
        ("192.0.2.0", "198.51.100.1"),
        ("2001:db8::", "2001:db8:53::1"),
        ("192.0.2.0", "192.0.2.7"),
    ] {
        let (one, other) = (udp(&a, one), udp(&b, other));
        // On a busy machine the answer may be later than anyone waits for it.
        let reaches = (0..5).any(|_| echo(&one, &other).is_some());
        assert!(reaches, "{one:?} reaches {other:?}");
    }
    let served = udp(&b, "198.51.100.1");
    netlink::apply(&r, &[Request::DeleteRoute(net("198.51.100.0/24"))]).expect("it was there");
    assert_eq!(echo(&udp(&a, "192.0.2.0"), &served), None, "no route, no way");
    netlink::apply(&b, &[Request::DeleteAddress(1, net("198.51.100.1/32"))]).expect("it was there");
    let gone = b.run(|| UdpSocket::bind((ip("198.51.100.1"), 8))).expect_err("no such address");
    assert_eq!(gone.kind(), ErrorKind::AddrNotAvailable);
}

pub(crate) fn refused() {
    let a = host("a");
    let good = Request::AddAddress(1, net("192.0.2.1/32"));
    let many = vec![good.clone(); 200];
    for (requests, want) in [
        (&[Request::SetUp(77)][..], "cannot raise interface #77: No such device (os error 19)"),
        (&many[..], "cannot add address 192.0.2.1/32 to interface #1: File exists (os error 17)"),
        (
            &[
                Request::DeleteRoute(net("203.0.113.0/24")),
                Request::AddAddress(1, net("192.0.2.2/32")),
            ],
            "cannot delete route 203.0.113.0/24: No such process (os error 3)",
        ),
    ] {
        let error = netlink::apply(&a, requests).expect_err("the kernel refuses");
        assert_eq!(error.to_string(), want);
    }
    assert!(NetNs::create("a", Sysctls::Host).is_err(), "a name can be given once");
    drop(a);
    host("a");
}

pub(crate) fn large() {
    let start = Instant::now();
    let wire = wire();
    let names: Vec<String> = (0..50).map(|number| format!("n{number}")).collect();
    let wanted: Vec<_> = names.iter().map(|name| (name.as_str(), Sysctls::Router)).collect();
    let nodes = NetNs::create_all(&wanted).expect("fifty nodes");
    let nodes_stand = start.elapsed();
    let specs: Vec<LinkSpec> = (0..100_usize)
        .map(|number| {
            let (one, other) = (&nodes[number % 50], &nodes[(number * 7 + 1 + number / 50) % 50]);
            let (low, high) = (number * 2, number * 2 + 1);
            let ends = vec![
                end(
                    one,
                    &format!("l{number}a"),
                    &[&format!("192.0.2.{low}/31"), &format!("2001:db8::{low:x}/127")],
                ),
                end(
                    other,
                    &format!("l{number}b"),
                    &[&format!("192.0.2.{high}/31"), &format!("2001:db8::{high:x}/127")],
                ),
            ];
            link(MS, ends)
        })
        .collect();
    let links = wire.add_links(&specs).expect("a hundred links");
    let all = start.elapsed();
    println!("  50 namespaces: {nodes_stand:?}; with 100 links: {all:?}");
    let start = Instant::now();
    for _ in 0..1000 {
        nodes[7].run(|| ());
    }
    println!("  entering a namespace and back: {:?}", start.elapsed() / 1000);
    for (number, (spec, _)) in specs.iter().zip(&links).enumerate().step_by(9) {
        let address = |at: usize| spec.ends[at].addresses[1].addr().to_string();
        let one = udp(&spec.ends[0].ns, &address(0));
        let other = udp(&spec.ends[1].ns, &address(1));
        // A busy kernel may take a moment until it believes in the newest carriers.
        let carries = (0..10).any(|_| echo(&one, &other).is_some());
        assert!(carries, "link {number} carries");
    }
    let start = Instant::now();
    drop((wire, specs, nodes));
    println!("  taking all down: {:?}", start.elapsed());
}

pub(crate) fn sysctls() {
    let read = |ns: &NetNs, name: &str| {
        let text = ns.run(|| std::fs::read_to_string(format!("/proc/sys/net/{name}")));
        text.expect("the sysctl exists").trim().to_owned()
    };
    let (h, r) = (host("h"), router("r"));
    for (ns, name, want) in [
        (&h, "ipv4/ip_forward", "0"),
        (&h, "ipv4/conf/all/force_igmp_version", "2"),
        (&r, "ipv4/ip_forward", "1"),
        (&r, "ipv6/conf/all/forwarding", "1"),
        (&r, "ipv6/conf/default/accept_dad", "0"),
        (&r, "ipv4/fib_multipath_hash_policy", "1"),
        (&r, "ipv4/ip_nonlocal_bind", "0"),
    ] {
        assert_eq!(read(ns, name), want, "{name} in {}", ns.name());
    }
    assert_eq!(read(&h, "ipv4/ip_unprivileged_port_start"), "0");
    let (one, other) = (udp(&h, "127.0.0.1"), udp(&h, "127.0.0.2"));
    assert!(echo(&one, &other).is_some(), "the loopback is up");
    assert!(udp(&h, "::1").local_addr().is_ok());
    // A command that a node starts is in the node.
    let output = r.run(|| std::process::Command::new("cat").arg("/proc/net/dev").output());
    let text = String::from_utf8(output.expect("cat runs").stdout).expect("text");
    assert_eq!(text.lines().count(), 3, "two lines of head and the loopback: {text}");
}

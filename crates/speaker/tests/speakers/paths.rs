//! Several paths to one prefix (RFC 7911) between us and BIRD, and the kernel's routes over
//! several gateways. Each test starts this program again in a network namespace of its own, to
//! run one of the tests that are otherwise ignored.
#![allow(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    clippy::unwrap_used,
    reason = "tests use real sockets and may panic"
)]

use std::fmt::Write;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anycast_bgp::policy::Policy;
use anycast_bgp::rib::Multipath;
use anycast_bgp::{Asn, Attributes, Family, IpNet};
use anycast_speaker::{
    Config, Handle, Neighbor, Offer, RouteLook, RouteRow, RouteSubject, RouteTable, Speaker,
};

use crate::setup::{Killed, ip, run_in_namespace, until};

const PORT: u16 = 1790;

#[test]
fn bird_and_we_tell_each_other_several_paths_and_the_kernel_shares_packets_among_them() {
    if !Path::new("/usr/sbin/bird").exists() {
        return println!("skipped: BIRD is not installed");
    }
    run_in_namespace(module_path!(), "bird");
}

fn neighbor(name: &str, address: &str, asn: u32, offer: Offer) -> Neighbor {
    let both = vec![Family::Ipv4Unicast, Family::Ipv6Unicast];
    Neighbor {
        port: PORT,
        hold_time: Duration::from_secs(30),
        connect_retry: Duration::from_millis(100),
        families: both,
        offer,
        next_hop_other: Some("2001:db8:1::1".parse().unwrap()),
        import: Policy::accept_all(),
        export: Policy::accept_all(),
        ..Neighbor::new(name, address.parse().unwrap(), Asn(asn))
    }
}

fn start(asn: u32, listen: &str, install_routes: bool, neighbors: Vec<Neighbor>) -> Handle {
    let config = Config {
        listen: vec![SocketAddr::new(listen.parse().unwrap(), PORT)],
        install_routes,
        neighbors,
        ..Config::new(Asn(asn), Ipv4Addr::from(asn))
    };
    let speaker = Speaker::bind(config, None).unwrap();
    let handle = speaker.handle();
    tokio::spawn(speaker.run());
    handle
}

async fn rows(handle: &Handle, table: RouteTable, prefix: &str) -> Vec<RouteRow> {
    let subject = RouteSubject::Prefix(prefix.parse().unwrap());
    let look = RouteLook { table, subject, family: None };
    handle.look(look).await.unwrap().rows().await.unwrap()
}

/// The gateways of the kernel's route of ours, in order.
fn gateways(prefix: &str) -> Vec<String> {
    let family = if prefix.contains(':') { "-6" } else { "-4" };
    let text = ip(&format!("{family} -j route show {prefix} proto 179"));
    let routes: serde_json::Value = serde_json::from_str(&text).unwrap();
    let mut gateways: Vec<String> = Vec::new();
    for route in routes.as_array().unwrap() {
        let hops = route["nexthops"].as_array().cloned().unwrap_or_else(|| vec![route.clone()]);
        gateways.extend(hops.iter().map(|hop| hop["gateway"].as_str().unwrap().to_owned()));
    }
    gateways.sort();
    gateways
}

/// BIRD with these next hops of one prefix of each family.
fn config(next_hops: &[u8]) -> String {
    let mut config = "log stderr all;\nrouter id 198.51.100.2;\nprotocol device { }\n".to_owned();
    for last in next_hops {
        let preference = 200 - last;
        writeln!(
            config,
            "protocol static {{ ipv4 {{ preference {preference}; }}; \
             route 192.0.2.0/24 via 198.51.100.{last}; }}\n\
             protocol static {{ ipv6 {{ preference {preference}; }}; \
             route 2001:db8:2::/48 via 2001:db8:1::{last}; }}"
        )
        .unwrap();
    }
    config
        + &format!(
            "protocol bgp anycast {{\n  local 198.51.100.2 port {PORT} as 64502;\n  \
             neighbor 198.51.100.1 port {PORT} as 64501;\n  error wait time 1, 2;\n  \
             connect delay time 1;\n  ipv4 {{ import all; export all; add paths on; }};\n  \
             ipv6 {{ import all; export all; add paths on; next hop address 2001:db8:1::2; }};\n}}\n"
        )
}

#[tokio::test]
#[ignore = "run by bird_and_we_tell_each_other_several_paths_and_the_kernel_shares_packets_among_them"]
async fn bird() {
    let folder = std::env::temp_dir().join(format!("anycast-paths-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    let beside = Command::new("unshare").args(["--net", "sleep", "1000"]).spawn().unwrap();
    let beside = Killed(beside);
    let pid = beside.0.id().to_string();
    let own = std::fs::read_link("/proc/self/ns/net").unwrap();
    let theirs = format!("/proc/{pid}/ns/net");
    until("a namespace", async || std::fs::read_link(&theirs).unwrap() != own).await;
    let there = |arguments: &str| {
        let mut command = Command::new("nsenter");
        command.arg(format!("--net={theirs}")).args(arguments.split(' '));
        command
    };
    ip("link set lo up");
    ip(&format!("link add d0 type veth peer name d1 netns {pid}"));
    ip("address add 198.51.100.1/24 dev d0");
    ip("address add 2001:db8:1::1/64 dev d0 nodad");
    ip("link set d0 up");
    for line in [
        "ip link set lo up",
        "ip address add 198.51.100.2/24 dev d1",
        "ip address add 2001:db8:1::2/64 dev d1 nodad",
        "ip link set d1 up",
    ] {
        assert!(there(line).status().unwrap().success(), "{line}");
    }
    let path = |name: &str| folder.join(name).display().to_string();
    std::fs::write(path("bird.conf"), config(&[11, 12, 13])).unwrap();
    let arguments = ["/usr/sbin/bird", "-f", "-c", &path("bird.conf"), "-s", &path("bird.ctl")];
    let bird = there(&[&arguments[..], &["-P", &path("bird.pid")]].concat().join(" ")).spawn();
    let bird = Killed(bird.unwrap());
    let birdc = |words: &str| {
        let mut command = there(&format!("/usr/sbin/birdc -s {} {words}", path("bird.ctl")));
        String::from_utf8(command.output().unwrap().stdout).unwrap()
    };

    // We take several paths from BIRD and send it two; another speaker gives us a second one.
    let several = Offer { receive_paths: true, send_paths: 2, ..Offer::default() };
    let to_bird = neighbor("bird", "198.51.100.2", 64502, several);
    let to_other = neighbor("other", "127.0.0.2", 64503, Offer::default());
    let to_us = neighbor("us", "127.0.0.1", 64501, Offer::default());
    let us = start(64501, "198.51.100.1", true, vec![to_bird, to_other]);
    let other = start(64503, "127.0.0.2", false, vec![Neighbor { passive: true, ..to_us }]);
    us.set_multipath(Multipath { paths: 2, across_as: false });
    let (four, six) = ("192.0.2.0/24", "2001:db8:2::/48");

    // What BIRD sends: three paths, of which two share the packets.
    for prefix in [four, six] {
        until("three paths", async || rows(&us, RouteTable::All, prefix).await.len() == 3).await;
        let found = rows(&us, RouteTable::All, prefix).await;
        let mut ids: Vec<_> = found.iter().map(|row| row.path_id).collect();
        ids.dedup();
        assert_eq!(ids.len(), 3, "{found:?}");
        assert_eq!(found.iter().filter(|row| row.best && row.shares).count(), 1, "{found:?}");
        assert_eq!(found.iter().filter(|row| row.shares).count(), 2, "{found:?}");
        let mut shared: Vec<String> = found
            .iter()
            .filter(|row| row.shares)
            .map(|row| row.next_hop.unwrap().to_string())
            .collect();
        shared.sort();
        until("both in the kernel", async || gateways(prefix) == shared).await;
    }
    let explained = us.explain(four.parse().unwrap()).await.unwrap();
    assert!(explained.text.contains("shares the packets with the best"), "{}", explained.text);

    // What BIRD is told: our own route and the other's.
    let ours: IpNet = "203.0.113.0/24".parse().unwrap();
    let attributes = || Attributes::new(IpAddr::V4(Ipv4Addr::UNSPECIFIED));
    us.originate(ours, attributes());
    other.originate(ours, attributes());
    let told = || birdc("show route 203.0.113.0/24 all");
    until("two paths at BIRD", async || told().matches("BGP.as_path: 64501").count() == 2).await;
    assert!(told().contains("BGP.as_path: 64501 64503"), "{}", told());
    let found = rows(&us, RouteTable::Advertised("bird".into()), "203.0.113.0/24").await;
    assert!(found.len() == 2 && found[0].path_id != found[1].path_id, "{found:?}");
    us.withdraw(ours);
    until("one is left", async || told().matches("BGP.as_path: 64501").count() == 1).await;
    assert!(told().contains("BGP.as_path: 64501 64503"), "{}", told());
    let status = us.neighbors().await;
    let in_force = &status[0].capabilities_in_words.in_force;
    assert!(in_force.contains(&"add-path ipv4 (send and receive)".to_owned()), "{in_force:?}");

    // Paths go one by one, and the kernel follows: two gateways, one, none.
    std::fs::write(path("bird.conf"), config(&[12, 13])).unwrap();
    assert!(birdc("configure").contains("Reconfigur"));
    until("IPv4 over two", async || gateways(four) == ["198.51.100.12", "198.51.100.13"]).await;
    until("IPv6 over two", async || gateways(six) == ["2001:db8:1::12", "2001:db8:1::13"]).await;
    std::fs::write(path("bird.conf"), config(&[13])).unwrap();
    birdc("configure");
    until("IPv4 over one", async || gateways(four) == ["198.51.100.13"]).await;
    until("IPv6 over one", async || gateways(six) == ["2001:db8:1::13"]).await;
    std::fs::write(path("bird.conf"), config(&[11, 13])).unwrap();
    birdc("configure");
    until("IPv4 over two again", async || gateways(four).len() == 2).await;
    until("IPv6 over two again", async || gateways(six).len() == 2).await;
    us.set_multipath(Multipath::default());
    until("IPv4 by the best alone", async || gateways(four).len() == 1).await;
    until("IPv6 by the best alone", async || gateways(six).len() == 1).await;
    us.set_multipath(Multipath { paths: 8, across_as: true });
    until("IPv4 over all", async || gateways(four).len() == 2).await;
    us.shutdown("");
    until("nothing stays", async || gateways(four).is_empty() && gateways(six).is_empty()).await;
    drop((bird, beside));
    let _ = std::fs::remove_dir_all(folder);
}

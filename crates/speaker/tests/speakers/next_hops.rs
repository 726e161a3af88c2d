//! Next hops of another kind than the prefix: IPv4 over IPv6 (RFC 8950), and link-local ones
//! (RFC 2545 §3). Two of our speakers in two network namespaces with a link between them; the
//! routes are looked for in the kernel.
#![allow(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    clippy::unwrap_used,
    reason = "tests use real sockets and may panic"
)]

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::process::Command;
use std::time::{Duration, Instant};

use anycast_bgp::policy::{Action, Match, Policy, Rule, Set};
use anycast_bgp::{Asn, Attributes, Family, IpNet};
use anycast_speaker::{Config, Neighbor, Offer, Speaker};

use crate::setup::{Killed, ip, only, run_in_namespace};

const NEAR: &str = "2001:db8:1::1";
const FAR: &str = "2001:db8:1::9";
const PORT: u16 = 1790;

#[test]
fn ipv4_goes_over_ipv6_next_hops_and_link_local_ones_find_their_interface() {
    run_in_namespace(module_path!(), "near");
}

fn config(asn: u32, local: &str, remote: (&str, u32), export: Policy) -> Config {
    let neighbor = Neighbor {
        port: PORT,
        local_address: Some(local.parse().unwrap()),
        hold_time: Duration::from_secs(90),
        connect_retry: Duration::from_millis(50),
        families: Family::ALL.to_vec(),
        offer: Offer { extended_next_hop: true, ..Offer::default() },
        import: Policy::accept_all(),
        export,
        ..Neighbor::new("other", remote.0.parse().unwrap(), Asn(remote.1))
    };
    Config {
        listen: vec![SocketAddr::new(local.parse().unwrap(), PORT)],
        install_routes: true,
        neighbors: vec![neighbor],
        ..Config::new(Asn(asn), Ipv4Addr::from(asn))
    }
}

#[tokio::test]
#[ignore = "runs in a namespace of its own"]
async fn near() {
    ip("link set lo up");
    ip("link add d0 type veth peer name d1");
    let far = Command::new("unshare")
        .args(["--net"])
        .arg(std::env::current_exe().unwrap())
        .args(only(module_path!(), "far"))
        .spawn()
        .unwrap();
    let far = Killed(far);
    // It must have left our namespace before the link can follow it.
    let theirs = format!("/proc/{}/ns/net", far.0.id());
    let ours = std::fs::read_link("/proc/self/ns/net").unwrap();
    while std::fs::read_link(&theirs).unwrap() == ours {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    ip(&format!("link set d1 netns {}", far.0.id()));
    ip("link set d0 up");
    ip(&format!("address add {NEAR}/64 dev d0 nodad"));
    let speaker =
        Speaker::bind(config(64501, NEAR, (FAR, 64502), Policy::reject_all()), None).unwrap();
    tokio::spawn(speaker.run());
    let started = Instant::now();
    let wanted = [
        format!("10.1.0.0/16 via inet6 {FAR} dev d0 metric 20"),
        "2001:db8:7::/48 via fe80::9 dev d0 metric 20 pref medium".to_owned(),
    ];
    loop {
        let routes = ip("route show proto 179") + &ip("-6 route show proto 179");
        let routes: Vec<&str> = routes.lines().map(str::trim).collect();
        if routes == wanted {
            return;
        }
        assert!(started.elapsed() < Duration::from_secs(8), "{routes:?}, not {wanted:?}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// The other end of the link: announces until it is killed.
#[tokio::test]
#[ignore = "runs in a namespace of its own, for `near`"]
async fn far() {
    let started = Instant::now();
    while !std::fs::exists("/sys/class/net/d1").unwrap()
        && Command::new("ip").args(["link", "show", "d1"]).output().unwrap().stdout.is_empty()
    {
        assert!(started.elapsed() < Duration::from_secs(8), "no link came");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    ip("link set lo up");
    ip("link set d1 up");
    ip(&format!("address add {FAR}/64 dev d1 nodad"));
    ip("address add fe80::9/64 dev d1 nodad");
    let six: IpNet = "2001:db8:7::/48".parse().unwrap();
    let link_local: IpAddr = "fe80::9".parse().unwrap();
    let rule = Rule::new(Action::Accept);
    let rules = vec![
        rule.clone().when(Match::Family(Family::Ipv6Unicast)).set(Set::NextHop(link_local.into())),
        rule,
    ];
    let config = config(64502, FAR, (NEAR, 64501), Policy { rules });
    let speaker = Speaker::bind(config, None).unwrap();
    let handle = speaker.handle();
    for prefix in ["10.1.0.0/16".parse().unwrap(), six] {
        handle.originate(prefix, Attributes::new(IpAddr::V4(Ipv4Addr::LOCALHOST)));
    }
    // Whatever becomes of the test: this ends.
    let _ = tokio::time::timeout(Duration::from_secs(20), speaker.run()).await;
}

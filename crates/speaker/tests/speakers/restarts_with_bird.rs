//! Graceful restart with BIRD: it restarts and finds its routes with us; we die and leave nothing
//! with it, although it would keep what asks for it. In a network namespace of its own.
#![allow(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    clippy::unwrap_used,
    reason = "tests use real sockets and may panic"
)]

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use anycast_bgp::policy::Policy;
use anycast_bgp::{Asn, Attributes, Family};
use anycast_speaker::{Config, Handle, Neighbor, Speaker};

use crate::setup::{Killed, run_in_namespace, until};

const US: Ipv4Addr = Ipv4Addr::LOCALHOST;
const BIRD: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 2);
const PORT: u16 = 1790;

#[test]
fn bird_finds_its_routes_after_a_restart_and_drops_ours_at_our_death() {
    if !Path::new("/usr/sbin/bird").exists() {
        return println!("skipped: BIRD is not installed");
    }
    run_in_namespace(module_path!(), "with_bird");
}

fn config(routes: &[&str]) -> String {
    let routes: Vec<String> = routes.iter().map(|it| format!("route {it} blackhole;")).collect();
    let routes = routes.join(" ");
    format!(
        "router id 127.0.0.2;
         protocol device {{ }}
         protocol static {{ ipv4; {routes} }}
         protocol bgp site {{
             local 127.0.0.2 port {PORT} as 64502;
             neighbor 127.0.0.1 port {PORT} as 64501;
             strict bind;
             multihop;
             connect delay time 1;
             connect retry time 1;
             graceful restart on;
             graceful restart time 60;
             ipv4 {{ import all; export all; next hop self; }};
         }}"
    )
}

fn speaker() -> Speaker {
    let neighbor = Neighbor {
        port: PORT,
        local_address: Some(IpAddr::V4(US)),
        hold_time: Duration::from_secs(30),
        connect_retry: Duration::from_millis(100),
        families: vec![Family::Ipv4Unicast],
        multihop: Some(8),
        import: Policy::accept_all(),
        export: Policy::accept_all(),
        ..Neighbor::new("bird", IpAddr::V4(BIRD), Asn(64502))
    };
    let config = Config {
        listen: vec![SocketAddr::new(US.into(), PORT)],
        neighbors: vec![neighbor],
        ..Config::new(Asn(64501), US)
    };
    Speaker::bind(config, None).unwrap()
}

/// The prefixes that BIRD told us, with a mark at those that are stale.
async fn received(us: &Handle) -> Vec<String> {
    let rows = us.routes(None).await.into_iter().filter(|row| row.neighbor.is_some());
    let words = |stale| if stale { " stale" } else { "" };
    rows.map(|row| format!("{}{}", row.prefix, words(row.stale))).collect()
}

#[tokio::test]
#[ignore = "run by bird_finds_its_routes_after_a_restart_and_drops_ours_at_our_death"]
async fn with_bird() {
    assert!(Command::new("ip").args(["link", "set", "lo", "up"]).status().unwrap().success());
    let folder = std::env::temp_dir().join(format!("anycast-restarts-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    let path = |name: &str| folder.join(name).display().to_string();
    let start_bird = |more: &[&str]| {
        let mut command = Command::new("/usr/sbin/bird");
        command.args(["-f", "-c", &path("bird.conf"), "-s", &path("bird.ctl"), "-P"]);
        Killed(command.arg(path("bird.pid")).args(more).spawn().unwrap())
    };
    let birdc = |words: &str| {
        let mut command = Command::new("/usr/sbin/birdc");
        let output = command.args(["-s", &path("bird.ctl")]).args(words.split(' ')).output();
        String::from_utf8(output.unwrap().stdout).unwrap()
    };
    std::fs::write(path("bird.conf"), config(&["10.1.0.0/16", "10.2.0.0/16"])).unwrap();
    let bird = start_bird(&[]);
    let speaker = speaker();
    let us = speaker.handle();
    let running = tokio::spawn(speaker.run());
    us.originate("192.0.2.0/24".parse().unwrap(), Attributes::new(IpAddr::V4(US)));
    let both = ["10.1.0.0/16", "10.2.0.0/16"];
    until("BIRD's routes", async || received(&us).await == both).await;
    let ours = || birdc("show route 192.0.2.0/24");
    until("our route at BIRD", async || ours().contains("192.0.2.0/24")).await;

    // BIRD is killed: its routes stay, stale. When it is back, it sends one of them alone.
    drop(bird);
    let both_stale = ["10.1.0.0/16 stale", "10.2.0.0/16 stale"];
    until("stale routes", async || received(&us).await == both_stale).await;
    std::fs::write(path("bird.conf"), config(&["10.1.0.0/16"])).unwrap();
    let bird = start_bird(&["-R"]);
    until("the one, fresh", async || received(&us).await == both[..1]).await;
    until("our route at BIRD again", async || ours().contains("192.0.2.0/24")).await;

    // We die without a word: BIRD keeps nothing of ours.
    let died = Instant::now();
    running.abort();
    until("our route is gone at BIRD", async || !ours().contains("192.0.2.0/24")).await;
    assert!(died.elapsed() < Duration::from_secs(5), "{:?}", died.elapsed());
    drop(bird);
    std::fs::remove_dir_all(&folder).unwrap();
}

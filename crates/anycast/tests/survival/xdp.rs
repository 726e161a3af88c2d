//! The same with packets taken by XDP, where the lab's sites take them at tc.

use std::fs::File;
use std::os::fd::AsRawFd;
use std::process::Command;
use std::time::Duration;

use anycast_lab::plan::NodeKind;

use crate::cases::{Started, at_full_speed, flip, flows_of, serve_everywhere, set_in, sum};
use crate::stand::{Fleet, Stand, site};

/// Native XDP: what it sends back over a veth pair arrives if the other end has a program too.
pub(crate) async fn in_the_driver() {
    let stand = Stand::build(Fleet { mode: "xdp", ..Fleet::default() }).await;
    if !stand.keeps().await {
        return;
    }
    let pass = |name: &String| anycast_affinity::pass_program(name).expect("a program that passes");
    let passing = at_the_hub(&stand, |names| names.iter().map(pass).collect::<Vec<_>>());
    every_kind(&stand, "xdp").await;
    drop(passing);
}

/// Native XDP at a site with a way of its own to another: what it passes on leaves by an interface that it
/// did not come in by.
pub(crate) async fn by_another_interface() {
    const WIRE: &str = "wire";
    let fleet = Fleet { mode: "xdp", ..Fleet::default() };
    let stand = Stand::build(fleet).await;
    if !stand.keeps().await {
        return;
    }
    let pass = |name: &String| anycast_affinity::pass_program(name).expect("a program that passes");
    let passing = at_the_hub(&stand, |names| names.iter().map(pass).collect::<Vec<_>>());
    let ip = |at: usize, line: String| {
        let mut command = Command::new("ip");
        command.args(line.split(' '));
        let output = stand.namespace(at).run(|| command.output()).expect("ip is installed");
        assert!(output.status.success(), "{line}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8_lossy(&output.stdout).into_owned()
    };
    // Site 1, from which connections stray to site 0, has a cable to it.
    let there = stand.namespace(0).run(|| File::open("/proc/thread-self/ns/net"));
    let there = there.expect("a namespace");
    let path = format!("/proc/{}/fd/{}", std::process::id(), there.as_raw_fd());
    ip(
        1,
        format!(
            "link add {WIRE} address 02:00:00:00:01:01 type veth peer name {WIRE} netns {path}"
        ),
    );
    ip(0, format!("link set {WIRE} address 02:00:00:00:01:00 up"));
    ip(1, format!("link set {WIRE} up"));
    for address in ["198.51.100.1", "2001:db8:ffff:0::1"] {
        ip(1, format!("neighbor add {address} lladdr 02:00:00:00:01:00 dev {WIRE} nud permanent"));
        ip(1, format!("route add {address} dev {WIRE}"));
    }
    for at in [0, 1] {
        Stand::reload(at, Fleet { interfaces: &["to-as#", WIRE], ..fleet }).await;
        let report = Stand::affinity(at).await;
        assert_eq!(report.interfaces.len(), 2, "{report:?}");
    }
    every_kind(&stand, "xdp").await;
    let told = ip(0, format!("-s -j link show {WIRE}"));
    let told: serde_json::Value = serde_json::from_str(&told).expect("JSON");
    let received = told[0]["stats64"]["rx"]["packets"].as_u64().expect("a number");
    assert!(received > 100, "{received} packets came by the cable");
    drop(passing);
}

/// Generic XDP: packets must be no larger than on a wire, and whole.
pub(crate) async fn in_front_of_the_stack() {
    if Command::new("ethtool").arg("--version").output().is_err() {
        println!("skipped: ethtool is not installed");
        return;
    }
    let stand = Stand::build(Fleet { mode: "xdp-generic", ..Fleet::default() }).await;
    if !stand.keeps().await {
        return;
    }
    for end in stand.lab.plan.links.iter().flat_map(|link| &link.ends) {
        let output = stand.lab.namespace(end.node).run(|| {
            let mut command = Command::new("ethtool");
            command.args(["-K", &end.ifname, "tso", "off", "gso", "off", "tx", "off"]).output()
        });
        let output = output.expect("ethtool is installed");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }
    every_kind(&stand, "xdp-generic").await;
}

/// With the programs in that mode everywhere, and the kernel knowing the way to other sites at one of
/// them (it forwards), as at sites that are routers.
async fn every_kind(stand: &Stand, mode: &str) {
    for at in 0..stand.sites {
        let report = Stand::affinity(at).await;
        assert!(!report.interfaces.is_empty(), "{report:?}");
        assert!(report.interfaces.iter().all(|it| it.mode == mode), "{report:?}");
    }
    for setting in ["ipv4/conf/all/forwarding", "ipv6/conf/all/forwarding"] {
        set_in(&stand.namespace(1), setting, "1");
    }
    serve_everywhere(stand, None);
    let client = stand.client();
    let mut flows = flows_of(&client, Duration::from_secs(4)).await;
    flows.extend(at_full_speed(&client, 4 << 20).await);
    let started = Started::start(flows);
    flip(stand, 8, Duration::from_millis(400)).await;
    started.all_survive().await;
    let owner = Stand::affinity(0).await;
    assert!(sum(&owner, |it| it.unwrapped) > 100, "{owner:?}");
    assert_eq!(owner.rejected.values().sum::<u64>(), 0, "{owner:?}");
    for at in 1..stand.sites {
        let stray = Stand::affinity(at).await;
        assert!(sum(&stray, |it| it.forwarded_by_hint) > 100, "{stray:?}");
    }
}

/// Does something at the other end of every link of a site.
fn at_the_hub<T>(stand: &Stand, mut what: impl FnMut(&[String]) -> T) -> Vec<T> {
    let nodes = &stand.lab.plan.nodes;
    let is_site = |node: usize| matches!(nodes[node].kind, NodeKind::Site(_));
    let links = stand.lab.plan.links.iter().enumerate();
    let of_sites = links.filter(|(_, link)| link.ends.iter().any(|end| is_site(end.node)));
    let all: Vec<T> = of_sites
        .map(|(index, _)| stand.lab.in_hub(index, &mut what).expect("the link has ends"))
        .collect();
    assert_eq!(all.len(), stand.sites, "{} has one link", site(0));
    all
}

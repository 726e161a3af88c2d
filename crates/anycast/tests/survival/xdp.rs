//! The same with packets taken by XDP, where the lab's sites take them at tc.

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

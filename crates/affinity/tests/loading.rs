//! Loading, taking over and unloading, on interfaces of the test's own.

#![allow(
    clippy::unwrap_used,
    clippy::unused_self,
    clippy::disallowed_methods,
    reason = "a test that cannot go on fails; the kernel takes its time"
)]

mod arena;

use std::path::Path;
use std::time::{Duration, Instant};

use anycast_affinity::{
    Affinity, Budgets, Config, Key, LoadError, Mode, Peer, Reason, ServiceAddress, SiteId,
};
use arena::Arena;
use aya::programs::{SchedClassifier, TcAttachType};

fn config(mode: Mode) -> Config {
    Config {
        me: SiteId::new(1).unwrap(),
        id_bits: 6,
        services: vec![ServiceAddress {
            address: "192.0.2.1".parse().unwrap(),
            tcp: true,
            quic: Some(443),
        }],
        tunnel_v4: Some("198.51.100.1".parse().unwrap()),
        tunnel_v6: None,
        port: 5687,
        peers: vec![Peer {
            id: SiteId::new(2).unwrap(),
            name: "paris".to_owned(),
            v4: Some("198.51.100.2".parse().unwrap()),
            v6: None,
            alive: true,
        }],
        key: Key { epoch: 1, secret: [7; 32] },
        other_key: None,
        interfaces: vec!["near".to_owned()],
        mode,
        mtu: 1500,
        budgets: Budgets::default(),
    }
}

fn pins(directory: &Path) -> Vec<String> {
    let mut names: Vec<String> = std::fs::read_dir(directory.join("v1/links"))
        .map(|entries| {
            entries.flatten().map(|entry| entry.file_name().into_string().unwrap()).collect()
        })
        .unwrap_or_default();
    names.sort();
    names
}

#[test]
fn programs_hang_where_they_are_asked_to_and_outlive_their_loader() {
    let Some(arena) = Arena::enter("loading") else { return };
    arena.run("ip link add near type veth peer name far");
    arena.run("ip link set near up");
    arena.run("ip link set far up");
    for (mode, found, link) in [
        // A veth is no device: what XDP sends there can get lost.
        (Mode::Auto, Mode::Tc, "near:ingress"),
        (Mode::XdpNative, Mode::XdpNative, "near:xdp-native"),
        (Mode::XdpGeneric, Mode::XdpGeneric, "near:xdp-generic"),
        (Mode::Tc, Mode::Tc, "near:ingress"),
    ] {
        let affinity = Affinity::load(&config(mode), arena.directory()).unwrap();
        assert_eq!(affinity.mode(), found, "{mode}");
        drop(affinity);
        let expected = if link < "near:egress" {
            vec![link, "near:egress"]
        } else {
            vec!["near:egress", link]
        };
        assert_eq!(pins(arena.directory()), expected, "{mode}: after the loader is gone");
        // Another process takes over, and changes nothing that can be seen.
        let taken = Affinity::load(&config(mode), arena.directory()).unwrap();
        assert_eq!(pins(arena.directory()), expected, "{mode}: after the next loader");
        assert_eq!(taken.counters().unwrap().get(Reason::OwnId), 0);
        taken.unload().unwrap();
        assert!(pins(arena.directory()).is_empty());
        let shown = arena.run("ip link show near");
        assert!(!shown.contains("xdp"), "{shown}");
    }
}

/// How many programs hang at an interface, on the way in and on the way out.
fn programs(arena: &Arena, interface: &str) -> [usize; 2] {
    let at_tc = |at| SchedClassifier::query_tcx(interface, at).unwrap().1.len();
    let shown = arena.run(&format!("ip link show {interface}"));
    let by_xdp = shown.matches("prog/xdp").count();
    [by_xdp + at_tc(TcAttachType::Ingress), at_tc(TcAttachType::Egress)]
}

/// Waits until so many do: the kernel takes a program away some time after its link has gone.
fn expect_programs(arena: &Arena, interface: &str, expected: [usize; 2]) {
    let begin = Instant::now();
    while programs(arena, interface) != expected {
        let found = programs(arena, interface);
        assert!(begin.elapsed() < Duration::from_secs(20), "{interface}: {found:?}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

fn layouts(directory: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(directory).unwrap().flatten();
    let mut names: Vec<String> =
        entries.map(|entry| entry.file_name().into_string().unwrap()).collect();
    // What the kernel puts into each BPF file system.
    names.retain(|name| !["maps.debug", "progs.debug"].contains(&name.as_str()));
    names.sort();
    names
}

#[test]
fn links_of_another_layout_are_taken_over_and_its_maps_removed() {
    let Some(arena) = Arena::enter("layouts") else { return };
    arena.run("ip link add near type veth peer name far");
    let directory = arena.directory();
    for mode in [Mode::XdpNative, Mode::XdpGeneric, Mode::Tc] {
        for earlier in ["v0", "v2"] {
            let mut config = config(mode);
            config.interfaces.push("far".to_owned());
            drop(Affinity::load(&config, directory).unwrap());
            std::fs::rename(directory.join("v1"), directory.join(earlier)).unwrap();
            // One that the next loader leaves alone, and one that is not a layout.
            config.interfaces.pop();
            std::fs::create_dir_all(directory.join("vault")).unwrap();
            let affinity = Affinity::load(&config, directory).unwrap();
            assert_eq!(affinity.mode(), mode, "{earlier}");
            drop(affinity);
            assert_eq!(layouts(directory), ["v1", "vault"], "{mode} {earlier}");
            assert_eq!(pins(directory).len(), 2, "{mode} {earlier}");
            expect_programs(&arena, "near", [1, 1]);
            expect_programs(&arena, "far", [0, 0]);
            Affinity::unload_pinned(directory).unwrap();
            assert_eq!(layouts(directory), ["vault"], "{mode} {earlier}");
            expect_programs(&arena, "near", [0, 0]);
        }
    }
}

#[test]
fn a_load_that_fails_leaves_links_of_another_layout_attached() {
    let Some(arena) = Arena::enter("layouts-failing") else { return };
    arena.run("ip link add near type veth peer name far");
    let directory = arena.directory();
    for mode in [Mode::XdpNative, Mode::Tc] {
        drop(Affinity::load(&config(mode), directory).unwrap());
        std::fs::rename(directory.join("v1"), directory.join("v0")).unwrap();
        // The loopback interface takes no native program.
        let interfaces = vec!["lo".to_owned()];
        let failing = Config { interfaces, ..config(Mode::XdpNative) };
        Affinity::load(&failing, directory).unwrap_err();
        expect_programs(&arena, "near", [1, 1]);
        assert_eq!(pins(directory), [""; 0], "{mode}");
        // What any program has left is unloaded.
        Affinity::unload_pinned(directory).unwrap();
        expect_programs(&arena, "near", [0, 0]);
        assert_eq!(layouts(directory), [""; 0], "{mode}");
    }
}

#[test]
fn an_update_follows_the_interfaces() {
    let Some(arena) = Arena::enter("update") else { return };
    arena.run("ip link add near type veth peer name far");
    let mut config = config(Mode::Auto);
    let mut affinity = Affinity::load(&config, arena.directory()).unwrap();
    config.interfaces.push("far".to_owned());
    affinity.update(&config).unwrap();
    assert_eq!(
        pins(arena.directory()),
        ["far:egress", "far:ingress", "near:egress", "near:ingress"]
    );
    config.interfaces.remove(0);
    affinity.update(&config).unwrap();
    assert_eq!(pins(arena.directory()), ["far:egress", "far:ingress"]);
    // One that was made anew under the same name.
    arena.run("ip link delete near");
    arena.run("ip link add near type veth peer name far");
    affinity.update(&config).unwrap();
    expect_programs(&arena, "far", [1, 1]);
    config.interfaces = vec!["nowhere".to_owned()];
    let error = affinity.update(&config).unwrap_err();
    expect_programs(&arena, "far", [1, 1]);
    assert!(
        matches!(&error, LoadError::Attach { interface, .. } if interface == "nowhere"),
        "{error}"
    );
}

#[test]
fn two_of_which_one_lies_below_the_other_are_refused() {
    let Some(arena) = Arena::enter("stacked") else { return };
    arena.run("ip link add near type veth peer name far");
    arena.run("ip link add over type bridge");
    arena.run("ip link set near master over");
    // This namespace's interfaces, and not those of the machine.
    arena.run("mount -t sysfs sysfs /sys");
    let mut config = config(Mode::Auto);
    config.interfaces.push("over".to_owned());
    let error = Affinity::load(&config, arena.directory()).unwrap_err();
    assert!(error.to_string().starts_with("near lies below over"), "{error}");
    assert!(pins(arena.directory()).is_empty());
    arena.run("ip link set near nomaster");
    Affinity::load(&config, arena.directory()).unwrap();
}

#[test]
fn a_load_that_fails_leaves_nothing_new_and_all_that_was() {
    let Some(arena) = Arena::enter("failing") else { return };
    arena.run("ip link add near type veth peer name far");
    // The loopback interface takes no native program.
    let failing = [(Mode::XdpNative, "lo"), (Mode::Auto, "nowhere")].map(|(mode, interface)| {
        let interfaces = vec![interface.to_owned()];
        Config { interfaces, ..config(mode) }
    });
    for config in &failing {
        Affinity::load(config, arena.directory()).unwrap_err();
        assert!(pins(arena.directory()).is_empty(), "{:?}", pins(arena.directory()));
    }
    drop(Affinity::load(&config(Mode::Auto), arena.directory()).unwrap());
    for config in &failing {
        let error = Affinity::load(config, arena.directory()).unwrap_err();
        assert!(matches!(error, LoadError::Attach { .. }), "{error}");
        assert_eq!(pins(arena.directory()), ["near:egress", "near:ingress"]);
    }
}

#[test]
fn an_interface_that_is_not_there_keeps_no_other_from_its_programs() {
    let Some(arena) = Arena::enter("partly") else { return };
    arena.run("ip link add near type veth peer name far");
    let mut config = config(Mode::Auto);
    config.interfaces = ["nowhere", "near"].map(str::to_owned).to_vec();
    let mut affinity = Affinity::load(&config, arena.directory()).unwrap();
    let told = |affinity: &mut Affinity, wanted: &str| {
        let error = affinity.update(&config).unwrap_err();
        assert!(error.to_string().starts_with(wanted), "{error}");
        let hooks: Vec<_> = affinity.hooks().iter().map(|it| it.interface.clone()).collect();
        assert_eq!(hooks, ["near"]);
    };
    told(&mut affinity, "nowhere: ");
    expect_programs(&arena, "near", [1, 1]);
    arena.run("ip link delete near");
    arena.run("ip link add near type veth peer name far");
    told(&mut affinity, "nowhere: ");
    expect_programs(&arena, "near", [1, 1]);
    arena.run("ip link add nowhere type veth peer name elsewhere");
    affinity.update(&config).unwrap();
    expect_programs(&arena, "nowhere", [1, 1]);
    // All of them gone: what hung at them is gone with them, and is told to be missing.
    arena.run("ip link delete near");
    arena.run("ip link delete nowhere");
    affinity.update(&config).unwrap_err();
}

#[test]
fn a_device_is_taken_at_tc_once_a_vlan_above_it_is() {
    let Some(arena) = Arena::enter("vlan") else { return };
    // This kernel may have no VLANs; what is looked at is what it shows of interfaces.
    arena.run("mount -t tmpfs none /sys/class/net");
    let shown = Path::new("/sys/class/net");
    arena.run("ip link add near type veth peer name far");
    std::fs::create_dir_all(shown.join("near/device")).unwrap();
    let mut config = config(Mode::Auto);
    let mut affinity = Affinity::load(&config, arena.directory()).unwrap();
    assert_eq!(affinity.mode(), Mode::XdpNative);
    arena.run("ip link add near.7 type veth peer name far.7");
    std::fs::create_dir_all(shown.join("near/upper_near.7")).unwrap();
    std::fs::create_dir_all(shown.join("near.7")).unwrap();
    std::fs::write(shown.join("near.7/uevent"), "DEVTYPE=vlan\n").unwrap();
    config.interfaces.push("near.7".to_owned());
    affinity.update(&config).unwrap();
    let modes: Vec<Mode> = affinity.hooks().iter().map(|hook| hook.mode).collect();
    assert_eq!(modes, [Mode::Tc, Mode::Tc]);
    assert_eq!(
        pins(arena.directory()),
        ["near%2e7:egress", "near%2e7:ingress", "near:egress", "near:ingress"]
    );
    expect_programs(&arena, "near", [1, 1]);
    // And back, once it is not.
    config.interfaces.pop();
    affinity.update(&config).unwrap();
    assert_eq!(pins(arena.directory()).len(), 2);
}

#[test]
fn what_is_missing_is_said() {
    let Some(_arena) = Arena::enter("missing") else { return };
    let error = Affinity::load(&config(Mode::Auto), Path::new("/tmp/anycast-no-such-directory"))
        .unwrap_err();
    assert!(matches!(error, LoadError::NoBpffs { .. }), "{error}");
    let mut wrong = config(Mode::Auto);
    wrong.tunnel_v4 = None;
    let error = Affinity::load(&wrong, Path::new("/")).unwrap_err();
    assert!(matches!(error, LoadError::Config(_)), "{error}");
}

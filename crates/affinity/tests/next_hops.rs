//! By which interface, and to which router, XDP sends what it passes on.

#![allow(
    clippy::unwrap_used,
    clippy::unused_self,
    clippy::disallowed_methods,
    reason = "a test that cannot go on fails"
)]

mod arena;

use std::collections::BTreeMap;
use std::os::fd::{AsRawFd, OwnedFd};
use std::time::{Duration, Instant};

use anycast_affinity::testing::{Programs, config};
use anycast_affinity::{Affinity, DEFAULT_PORT, Mode, Reason};
use arena::Arena;
use nix::ifaddrs::getifaddrs;
use nix::net::if_::if_nametoindex;
use nix::sys::socket::{
    self, AddressFamily, LinkAddr, MsgFlags, SockFlag, SockProtocol, SockType, sockopt,
};
use nix::sys::time::TimeVal;

/// `enum xdp_action`.
const XDP_TX: u32 = 3;
const XDP_REDIRECT: u32 = 4;
const ROUTER: [u8; 6] = [2, 0, 0, 0, 0, 0x0b];
const OWN: [u8; 6] = [2, 0, 0, 0, 0, 0x0a];
const NEXT_HOP: [u8; 6] = [2, 0, 0, 0, 0, 0x99];
const NOW: u64 = 1_790_000_000_000_000_000;

/// A segment of TCP from a client to 192.0.2.1 that echoes the number of a site, with tags of these VLANs.
fn stray(site: u8, vlans: &[u8]) -> Vec<u8> {
    let mut frame = [OWN, ROUTER].concat();
    for vlan in vlans {
        // The highest of three bits of priority.
        frame.extend([0x81, 0x00, 0x80, *vlan]);
    }
    frame.extend([0x08, 0x00]);
    frame.extend([0x45, 0, 0, 52, 0, 1, 0x40, 0, 57, 6, 0, 0, 203, 0, 113, 1, 192, 0, 2, 1]);
    // Ports, sequence, acknowledgement; ACK with 32 octets of header; the timestamp option.
    frame.extend([0x9c, 0x40, 0, 80, 0, 0, 0, 1, 0, 0, 0, 1, 0x80, 0x10, 0x20, 0, 0, 0, 0, 0]);
    frame.extend([1, 1, 8, 10, 0, 0, 0, 1, 0, 0, 0, site]);
    frame
}

/// Puts frames on the wire at an interface.
fn send(interface: &str, frames: &[Vec<u8>]) {
    let mut all = getifaddrs().unwrap().filter(|it| it.interface_name == interface);
    let address = all.find_map(|it| it.address?.as_link_addr().copied()).unwrap();
    let (family, kind) = (AddressFamily::Packet, SockType::Raw);
    let socket = socket::socket(family, kind, SockFlag::empty(), None).unwrap();
    for frame in frames {
        socket::sendto(socket.as_raw_fd(), frame, &address, MsgFlags::empty()).unwrap();
    }
}

#[test]
fn what_has_a_tag_is_left_to_the_interface_of_its_vlan_by_tc() {
    let Some(arena) = Arena::enter("tags") else { return };
    arena.run("ip link add near type veth peer name far");
    arena.run("ip link set far up");
    arena.run("ip link set near promisc on up");
    for (mode, seen) in [(Mode::Tc, 4), (Mode::XdpGeneric, 5), (Mode::XdpNative, 5)] {
        let mut config = config();
        (config.interfaces, config.mode) = (vec!["near".to_owned()], mode);
        let programs = Affinity::load(&config, arena.directory()).unwrap();
        // VLAN 0 is none: the tag says how urgent a packet is.
        let vlans: [&[u8]; 5] = [&[], &[0], &[100], &[], &[]];
        send("far", &vlans.map(|vlans| stray(1, vlans)));
        let begin = Instant::now();
        let forwarded = || programs.counters().unwrap().get(Reason::ForwardedHint);
        while forwarded() < seen {
            assert!(begin.elapsed() < Duration::from_secs(10), "{mode}: {}", forwarded());
            std::thread::sleep(Duration::from_millis(10));
        }
        // They come in order, so none is on its way.
        assert_eq!(forwarded(), seen, "{mode}");
        programs.unload().unwrap();
    }
}

/// The next frame for another site, of those that come in at any interface, with the interface's index.
fn next_frame(wire: &OwnedFd) -> (usize, Vec<u8>) {
    let mut frame = vec![0; 2048];
    loop {
        let (length, from) =
            socket::recvfrom::<LinkAddr>(wire.as_raw_fd(), &mut frame).expect("one comes");
        let at = from.expect("an address").ifindex();
        // UDP over IPv4, to the sites' port.
        if frame[23] == 17 && frame[36..38] == DEFAULT_PORT.to_be_bytes() {
            return (at, frame[..length].to_vec());
        }
    }
}

#[test]
fn what_tc_passes_on_leaves_where_the_host_would_send_it() {
    let Some(arena) = Arena::enter("exits") else { return };
    for line in [
        "ip link add near type veth peer name far",
        "ip link add out type veth peer name other",
        "ip link set near up",
        "ip link set far up",
        "ip link set out address 02:00:00:00:00:77 up",
        "ip link set other up",
        "ip address add 198.51.100.3/24 dev out",
        "ip neighbor add 198.51.100.1 lladdr 02:00:00:00:00:99 dev out nud permanent",
    ] {
        arena.run(line);
    }
    let mut config = config();
    (config.interfaces, config.mode) = (vec!["near".to_owned()], Mode::Tc);
    let load = || Affinity::load(&config, arena.directory()).unwrap();
    let mut programs = load();
    let index = |name: &str| usize::try_from(if_nametoindex(name).unwrap()).unwrap();
    let protocol = Some(SockProtocol::EthAll);
    let wire =
        socket::socket(AddressFamily::Packet, SockType::Raw, SockFlag::empty(), protocol).unwrap();
    socket::setsockopt(&wire, sockopt::ReceiveTimeout, &TimeVal::new(10, 0)).unwrap();
    // What leaves an interface is seen there, and where it comes in at the other end of its pair.
    let seen = |from: &str, to: &str| {
        send("far", &[stray(1, &[])]);
        let (left, frame) = next_frame(&wire);
        assert_eq!(left, index(from));
        assert_eq!(next_frame(&wire), (index(to), frame.clone()));
        frame[..12].to_vec()
    };
    assert_eq!(seen("near", "far"), [ROUTER, OWN].concat(), "no route is known");
    let exit = if_nametoindex("out").unwrap();
    programs.set_exits(BTreeMap::from([(config.peers[0].id, exit)])).unwrap();
    assert_eq!(seen("out", "other"), [NEXT_HOP, [2, 0, 0, 0, 0, 0x77]].concat());
    // The time is told now and then; that changes nothing of it.
    programs.keep_time().unwrap();
    assert_eq!(seen("out", "other"), [NEXT_HOP, [2, 0, 0, 0, 0, 0x77]].concat());
    drop(programs);
    let mut programs = load();
    assert_eq!(seen("out", "other"), [NEXT_HOP, [2, 0, 0, 0, 0, 0x77]].concat(), "a new daemon");
    programs.set_exits(BTreeMap::new()).unwrap();
    assert_eq!(seen("near", "far"), [ROUTER, OWN].concat(), "the route is gone");
}

#[test]
fn what_xdp_passes_on_leaves_where_it_can() {
    let Some(arena) = Arena::enter("next-hops") else { return };
    for line in [
        "ip link add out type veth peer name far",
        "ip link set far up",
        "ip link set out address 02:00:00:00:00:77 up",
        "ip address add 198.51.100.3/24 dev out",
        "ip address add 2001:db8:1::3/64 dev out nodad",
        "ip neighbor add 198.51.100.1 lladdr 02:00:00:00:00:99 dev out nud permanent",
        "ip neighbor add 2001:db8:1::2 lladdr 02:00:00:00:00:99 dev out nud permanent",
        "ip neighbor add 198.51.100.5 lladdr 02:00:00:00:00:99 dev out nud failed",
    ] {
        arena.run(line);
    }
    let forward = |family: &str, on: &str| {
        std::fs::write(format!("/proc/sys/net/{family}/conf/all/forwarding"), on).unwrap();
    };
    let out = if_nametoindex("out").unwrap();
    // Where test runs come in.
    let lo = if_nametoindex("lo").unwrap();
    let mut programs = Programs::still().unwrap();
    let mut clock = 5_000_000_000;
    programs.fill(&config(), clock, NOW);
    let native: &[(u32, bool)] = &[(lo, true)];
    let both: &[(u32, bool)] = &[(lo, true), (out, true)];
    let generic: &[(u32, bool)] = &[(lo, false)];
    let generic_there: &[(u32, bool)] = &[(lo, true), (out, false)];
    for (case, ways, forwarding, site, tags, wanted) in [
        ("both are ready", both, true, 1, 0, XDP_REDIRECT),
        ("both are ready, over IPv6", both, true, 2, 0, XDP_REDIRECT),
        ("from the generic hook", generic, true, 1, 0, XDP_REDIRECT),
        ("what is there is not ready", native, true, 1, 0, XDP_TX),
        ("what is there takes only generic", generic_there, true, 1, 0, XDP_TX),
        ("nothing is known of either", &[], true, 1, 0, XDP_TX),
        ("the kernel does not forward", both, false, 1, 0, XDP_TX),
        ("the neighbor is not there", both, true, 5, 0, XDP_TX),
        ("with a tag", both, true, 1, 1, XDP_TX),
        ("with two", both, true, 2, 2, XDP_TX),
    ] {
        forward("ipv4", if forwarding { "1" } else { "0" });
        forward("ipv6", if forwarding { "1" } else { "0" });
        programs.hang_nowhere();
        for &(index, native) in ways {
            programs.hang(index, native);
        }
        // What was asked of the kernel is kept for a while.
        clock += 1_000_000_000;
        programs.set_clock(clock);
        let packet = stray(site, &[100, 100][..tags]);
        let (verdict, sent) = programs.xdp(&packet).unwrap();
        assert_eq!(verdict, wanted, "{case}");
        let (to, from) =
            if wanted == XDP_REDIRECT { (NEXT_HOP, [2, 0, 0, 0, 0, 0x77]) } else { (ROUTER, OWN) };
        assert_eq!((&sent[..6], &sent[6..12]), (&to[..], &from[..]), "{case}");
        // The tags stay, and then comes the frame's own header.
        let l3 = 14 + 4 * tags;
        assert_eq!(sent[12..l3 - 2], packet[12..l3 - 2], "{case}");
        assert_eq!(sent[l3] >> 4, if site == 2 { 6 } else { 4 }, "{case}");
        assert!(sent.len() > packet.len() + 40, "{case}");
    }
}

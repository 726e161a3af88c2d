//! The programs and the model do the same to every packet: the same verdict, the same octets, the same
//! reasons. `AFFINITY_PACKETS` says how many packets, `AFFINITY_SEED` which.

#![allow(
    clippy::unwrap_used,
    clippy::unused_self,
    clippy::disallowed_methods,
    clippy::disallowed_types,
    clippy::format_collect,
    reason = "a test that cannot go on fails"
)]

mod arena;
mod packets;

use std::collections::{BTreeMap, BTreeSet};
use std::io::Read;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::time::{Duration, Instant};

use anycast_affinity::Reason;
use anycast_affinity::model::{Action, Context, World, decide, leave};
use anycast_affinity::testing::{Programs, config};
use arena::Arena;
use packets::{Chance, Maker};

const MONOTONIC: u64 = 5_000_000_000;
const NOW: u64 = 1_790_000_000_000_000_000;

fn number(name: &str, usual: u64) -> u64 {
    std::env::var(name).ok().map_or(usual, |text| text.parse().unwrap())
}

fn hex(octets: &[u8]) -> String {
    octets.iter().map(|octet| format!("{octet:02x}")).collect()
}

/// Connections that this host really has, from clients' addresses to service addresses.
fn connections(arena: &Arena) -> (Vec<TcpStream>, BTreeSet<(SocketAddr, SocketAddr)>) {
    for address in [
        "192.0.2.1/32",
        "203.0.113.1/32",
        "203.0.113.250/32",
        "2001:db8::1/128",
        "2001:db8:2::1/128",
    ] {
        let duplicates = if address.contains(':') { " nodad" } else { "" };
        arena.run(&format!("ip address add {address} dev lo{duplicates}"));
    }
    let (mut kept, mut known) = (Vec::new(), BTreeSet::new());
    for (client, service) in
        [("203.0.113.1:40000", "192.0.2.1:80"), ("[2001:db8:2::1]:40000", "[2001:db8::1]:80")]
    {
        let (client, service): (SocketAddr, SocketAddr) =
            (client.parse().unwrap(), service.parse().unwrap());
        let listener = TcpListener::bind(service).unwrap();
        let socket = connect_from(client, service);
        let (accepted, from) = listener.accept().unwrap();
        assert_eq!(from, client);
        kept.extend([socket, accepted]);
        known.insert((client, service));
    }
    (kept, known)
}

fn connect_from(client: SocketAddr, service: SocketAddr) -> TcpStream {
    let domain = if client.is_ipv4() { socket2::Domain::IPV4 } else { socket2::Domain::IPV6 };
    let socket = socket2::Socket::new(domain, socket2::Type::STREAM, None).unwrap();
    socket.bind(&client.into()).unwrap();
    let begin = Instant::now();
    while let Err(error) = socket.connect(&service.into()) {
        // The kernel takes a moment to have a way to an address of IPv6 that is new.
        let is_early = error.raw_os_error() == Some(nix::libc::ENETUNREACH);
        assert!(is_early && begin.elapsed() < Duration::from_secs(10), "{service}: {error}");
        std::thread::sleep(Duration::from_millis(10));
    }
    socket.into()
}

#[test]
fn the_programs_do_what_the_model_does_with_what_comes_in() {
    let Some(arena) = Arena::enter("equal") else { return };
    let (_kept, known) = connections(&arena);
    let config = config();
    let mut programs = Programs::still().unwrap();
    programs.fill(&config, MONOTONIC, NOW);
    let seed = number("AFFINITY_SEED", 1);
    let mut maker = Maker {
        chance: Chance(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1),
        config: &config,
        now: NOW,
    };
    let mut seen = BTreeMap::new();
    for number in 0..number("AFFINITY_PACKETS", 20_000) {
        let packet = maker.arriving();
        for context in [Context::Xdp, Context::Tc] {
            let has_socket = |client, service| known.contains(&(client, service));
            let expected = decide(
                &packet,
                &World { config: &config, context, has_socket: &has_socket, now: NOW },
            );
            // The kernel makes no packet of what ends in its IP header.
            let Ok(found) = programs.ingress(context, &packet) else {
                assert!(packet.len() < 54, "packet {number} at {context:?}: {}", hex(&packet));
                continue;
            };
            let mut reasons = expected.reasons.clone();
            reasons.sort_unstable();
            assert!(
                found.action == expected.action
                    && found.octets == expected.octets
                    && found.reasons == reasons,
                "packet {number} at {context:?}: {}\nprogram {:?} {:?} {}\nmodel   {:?} {:?} {}",
                hex(&packet),
                found.action,
                found.reasons,
                hex(&found.octets),
                expected.action,
                expected.reasons,
                hex(&expected.octets),
            );
            for reason in expected.reasons {
                *seen.entry(reason).or_insert(0_u32) += 1;
            }
        }
    }
    println!("{seen:?}");
    // What the packets above must have met, or this test says less than it seems to.
    let met: Vec<&str> = seen.keys().map(|reason| reason.name()).collect();
    for reason in anycast_affinity::Reason::ALL {
        let elsewhere = reason.name().starts_with("limited")
            || matches!(reason.name(), "no-peer" | "stamped" | "clamped");
        assert!(elsewhere || met.contains(&reason.name()), "no packet met {}", reason.name());
    }
}

const TCP: u8 = 6;
/// Flags of TCP (RFC 9293 §3.1).
const ACK: u8 = 0x10;
const RST: u8 = 0x04;

/// Where TCP begins in a frame without tags.
fn transport(frame: &[u8]) -> usize {
    if frame[12..14] == [0x86, 0xdd] { 54 } else { 34 }
}

/// The ACK that ended a handshake by SYN cookie, as it was on the wire. No socket of it is left but the
/// listener.
fn ack_with_cookie(client: SocketAddr, service: SocketAddr) -> (TcpListener, Vec<u8>) {
    // ETH_P_ALL of packet(7).
    let all = socket2::Protocol::from(i32::from(3_u16.to_be()));
    let kind = socket2::Type::RAW;
    let wire = socket2::Socket::new(socket2::Domain::PACKET, kind, Some(all)).unwrap();
    wire.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    let listener = TcpListener::bind(service).unwrap();
    let connected = connect_from(client, service);
    let accepted = listener.accept().unwrap();
    // Ended by RST, which leaves nothing behind.
    socket2::SockRef::from(&connected).set_linger(Some(Duration::ZERO)).unwrap();
    drop((connected, accepted));
    let mut frame = vec![0; 2048];
    loop {
        let length = (&wire).read(&mut frame).unwrap();
        let found = &frame[..length];
        let l4 = transport(found);
        let protocol = if l4 == 54 { found[20] } else { found[23] };
        if protocol == TCP
            && length > l4 + 20
            && found[l4..l4 + 2] == client.port().to_be_bytes()
            && found[l4 + 13] == ACK
        {
            return (listener, found.to_vec());
        }
    }
}

#[test]
fn a_handshake_by_syn_cookie_is_known_by_its_ack_alone() {
    let Some(arena) = Arena::enter("cookies") else { return };
    drop(connections(&arena));
    let config = config();
    let mut programs = Programs::still().unwrap();
    programs.fill(&config, MONOTONIC, NOW);
    let cookies = |how: &str| std::fs::write("/proc/sys/net/ipv4/tcp_syncookies", how).unwrap();
    for (client, service) in
        [("203.0.113.1:41000", "192.0.2.1:81"), ("[2001:db8:2::1]:41000", "[2001:db8::1]:81")]
    {
        let (client, service): (SocketAddr, SocketAddr) =
            (client.parse().unwrap(), service.parse().unwrap());
        cookies("2");
        let (_listener, ack) = ack_with_cookie(client, service);
        let l4 = transport(&ack);
        assert_eq!(ack[l4 + 20..l4 + 24], [1, 1, 8, 10], "timestamps: {}", hex(&ack));
        let with = |flags: u8, cookie: u8, named: u8| {
            let mut packet = ack.clone();
            packet[l4 + 13] = flags;
            // The highest bits count minutes, the lowest stand for an MSS and may differ.
            packet[l4 + 8] ^= cookie;
            packet[l4 + 31] = packet[l4 + 31] & !63 | named;
            packet
        };
        let mut check = |name: &str, packet: &[u8], is_known: bool, reason: Reason| {
            for context in [Context::Xdp, Context::Tc] {
                let has_socket = |its, own| is_known && its == client && own == service;
                let world = World { config: &config, context, has_socket: &has_socket, now: NOW };
                let expected = decide(packet, &world);
                let found = programs.ingress(context, packet).unwrap();
                let words = format!("{service} {name} {context:?}: {found:?}");
                assert_eq!(found.action, expected.action, "{words}");
                assert_eq!(hex(&found.octets), hex(&expected.octets), "{words}");
                assert!(found.reasons.contains(&reason), "{words}");
                let action = if is_known { Action::Pass } else { Action::Send };
                assert_eq!(found.action, action, "{words}");
            }
        };
        // What names another site, none and this one by chance.
        check("another cookie", &with(ACK, 0x80, 1), false, Reason::ForwardedHint);
        check("another cookie, mine", &with(ACK, 0x80, 3), false, Reason::ForwardedRing);
        check("a reset", &with(ACK | RST, 0, 1), false, Reason::ForwardedHint);
        check("names another", &with(ACK, 0, 1), true, Reason::OwnSocket);
        check("names nobody", &with(ACK, 0, 0), true, Reason::OwnSocket);
        check("names a dead site", &with(ACK, 0, 9), true, Reason::OwnSocket);
        check("names this site", &with(ACK, 0, 3), true, Reason::OwnId);
        // It was the cookie, and no socket that was left.
        cookies("0");
        check("without cookies", &with(ACK, 0, 1), false, Reason::ForwardedHint);
    }
}

#[test]
fn the_programs_do_what_the_model_does_with_what_leaves() {
    let Some(_arena) = Arena::enter("equal-egress") else { return };
    let config = config();
    let mut programs = Programs::still().unwrap();
    programs.fill(&config, MONOTONIC, NOW);
    let mut maker =
        Maker { chance: Chance(number("AFFINITY_SEED", 1) | 1), config: &config, now: NOW };
    let mut seen = BTreeMap::new();
    for number in 0..number("AFFINITY_PACKETS", 20_000) {
        let packet = maker.leaving();
        let world =
            World { config: &config, context: Context::Tc, has_socket: &|_, _| false, now: NOW };
        let (octets, reasons) = leave(&packet, &world);
        let Ok(found) = programs.egress(&packet) else {
            assert!(packet.len() < 54, "packet {number}: {}", hex(&packet));
            continue;
        };
        assert_eq!(
            (hex(&found.0), &found.1),
            (hex(&octets), &reasons),
            "packet {number}: {}",
            hex(&packet)
        );
        for reason in reasons {
            *seen.entry(reason).or_insert(0_u32) += 1;
        }
    }
    assert!(seen.len() == 2, "{seen:?}");
}

//! The programs and the model do the same to every packet: the same verdict, the same octets, the same
//! reasons. `AFFINITY_PACKETS` says how many packets, `AFFINITY_SEED` which.

mod arena;
mod packets;

use std::collections::{BTreeMap, BTreeSet};
use std::net::{SocketAddr, TcpListener, TcpStream};

use anycast_affinity::model::{Context, World, decide, leave};
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
    socket.connect(&service.into()).unwrap();
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

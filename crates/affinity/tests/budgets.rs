//! Limits hold at their number and not before, refill with time, and are each site's or client's own.

mod arena;
mod packets;

use anycast_affinity::model::{Action, Context, World, decide};
use anycast_affinity::testing::{Programs, config, no_socket};
use anycast_affinity::{Budgets, Config, Rate, Reason, SiteId};
use arena::Arena;
use packets::checksum;

const NOW: u64 = 1_790_000_000_000_000_000;
const START: u64 = 5_000_000_000;

/// A TCP packet of a client whose timestamp names a site (0: none does).
fn packet(client: u8, named: u8) -> Vec<u8> {
    let mut octets = vec![2, 0, 0, 0, 0, 0x0a, 2, 0, 0, 0, 0, 0x0b, 8, 0];
    let mut header =
        vec![0x45, 0, 0, 52, 0, 1, 0x40, 0, 57, 6, 0, 0, 203, 0, 113, client, 192, 0, 2, 1];
    let check = checksum(&header);
    header[10..12].copy_from_slice(&check.to_be_bytes());
    octets.extend(header);
    octets
        .extend([0x9c, 0x40, 0, 81, 0, 0, 0, 1, 0, 0, 0, 1, 0x80, 0x10, 0x20, 0, 0x12, 0x34, 0, 0]);
    octets.extend([1, 1, 8, 10, 0, 0, 0x30, 0x39, 0x12, 0x34, 0x56, named]);
    octets
}

/// The packet in a frame of site 1.
fn framed(here: &Config, packet: &[u8]) -> Vec<u8> {
    let mut there = here.clone();
    let peer = there.peers.iter_mut().find(|peer| peer.id == SiteId::new(1).unwrap()).unwrap();
    std::mem::swap(&mut there.me, &mut peer.id);
    std::mem::swap(&mut there.tunnel_v4, &mut peer.v4);
    std::mem::swap(&mut there.tunnel_v6, &mut peer.v6);
    decide(
        packet,
        &World { config: &there, context: Context::Xdp, has_socket: &no_socket, now: NOW },
    )
    .octets
}

#[test]
fn a_limit_lets_its_burst_through_and_then_its_rate() {
    let Some(_arena) = Arena::enter("budgets") else { return };
    let limit = Some(Rate { per_second: 10, burst: 3 });
    let none = Budgets { source: None, site: None, ring: None, peer: None };
    let mut programs = Programs::still().unwrap();
    let free = config();
    for (name, budgets, limited, used, other) in [
        (
            "source",
            Budgets { source: limit, ..none.clone() },
            Reason::LimitedSource,
            packet(1, 1),
            packet(2, 1),
        ),
        (
            "site",
            Budgets { site: limit, ..none.clone() },
            Reason::LimitedSite,
            packet(1, 1),
            packet(1, 5),
        ),
        (
            "ring",
            Budgets { ring: limit, ..none.clone() },
            Reason::LimitedRing,
            packet(1, 0),
            packet(1, 1),
        ),
        (
            "peer",
            Budgets { peer: limit, ..none.clone() },
            Reason::LimitedPeer,
            framed(&free, &packet(1, 3)),
            packet(1, 3),
        ),
    ] {
        let here = Config { budgets, ..config() };
        for context in [Context::Xdp, Context::Tc] {
            // Each round begins with full buckets: a minute after all that was used.
            let start = START + 60_000_000_000 * if context == Context::Xdp { 1 } else { 2 };
            programs.fill(&here, start, NOW);
            for number in 0..3 {
                let outcome = programs.ingress(context, &used).unwrap();
                assert_eq!(outcome.action, Action::Send, "{name} {context:?}, packet {number}");
            }
            let outcome = programs.ingress(context, &used).unwrap();
            assert_eq!(
                (outcome.action, outcome.reasons),
                (Action::Drop, vec![limited]),
                "{name} {context:?}: over"
            );
            let outcome = programs.ingress(context, &other).unwrap();
            assert_ne!(outcome.action, Action::Drop, "{name} {context:?}: another is not limited");
            // One more each tenth of a second, and not a nanosecond before.
            programs.fill(&here, start + 99_999_999, NOW);
            assert_eq!(
                programs.ingress(context, &used).unwrap().action,
                Action::Drop,
                "{name} {context:?}: too soon"
            );
            programs.fill(&here, start + 100_000_000, NOW);
            assert_eq!(
                programs.ingress(context, &used).unwrap().action,
                Action::Send,
                "{name} {context:?}: refilled"
            );
            assert_eq!(
                programs.ingress(context, &used).unwrap().action,
                Action::Drop,
                "{name} {context:?}: used again"
            );
        }
    }
}

#[test]
fn a_flood_that_names_one_site_leaves_the_others_their_share() {
    let Some(_arena) = Arena::enter("flood") else { return };
    let limit = Some(Rate { per_second: 1_000, burst: 100 });
    let here = Config {
        budgets: Budgets { source: None, site: limit, ring: limit, peer: None },
        ..config()
    };
    let mut programs = Programs::still().unwrap();
    let (mut to_one, mut to_five) = (0, 0);
    // A second of it: ten thousand packets that name site 1, and a hundred that name site 5.
    for step in 0..10_000_u64 {
        programs.fill(&here, START + step * 100_000, NOW);
        let client = u8::try_from(step % 250).unwrap();
        to_one += u32::from(
            programs.ingress(Context::Xdp, &packet(client, 1)).unwrap().action == Action::Send,
        );
        if step % 100 == 0 {
            to_five += u32::from(
                programs.ingress(Context::Xdp, &packet(client, 5)).unwrap().action == Action::Send,
            );
        }
    }
    assert_eq!(to_five, 100);
    assert!((1_050..=1_100).contains(&to_one), "{to_one}");
}

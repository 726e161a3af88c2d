//! The model of the packet programs, on anything that comes in and anything that leaves; what is sent to
//! another site is read there, whole and damaged.
//!
//! `cargo fuzz run affinity_packet` (with a stable compiler: `RUSTC_BOOTSTRAP=1`).
#![no_main]

use std::net::Ipv6Addr;

use anycast_affinity::model::{Action, Context, Outcome, World, decide, leave};
use anycast_affinity::testing::{config, seen_by};
use anycast_affinity::{Config, Reason, SiteId};
use libfuzzer_sys::fuzz_target;

// Which octet of a frame is damaged, by how much, and whether the owner has a socket; then a packet.
fuzz_target!(|octets: &[u8]| {
    let [place, damage, sockets, packet @ ..] = octets else { return };
    let mut packet = packet.to_vec();
    // Nobody needs to guess a service's address.
    if sockets & 2 != 0 && packet.len() >= 54 {
        if sockets & 4 == 0 {
            packet[12..15].copy_from_slice(&[8, 0, 0x45]);
            packet[30..34].copy_from_slice(&[192, 0, 2, 1]);
        } else {
            packet[12..15].copy_from_slice(&[0x86, 0xdd, 0x60]);
            packet[38..54]
                .copy_from_slice(&"2001:db8::1".parse::<Ipv6Addr>().expect("one").octets());
        }
    }
    let packet = &packet[..];
    let here = config();
    for context in [Context::Xdp, Context::Tc] {
        let outcome = at(&here, context, false, packet);
        // What is refused is refused as it came, and nothing grows by more than the headers of a frame.
        assert!(outcome.action != Action::Drop || outcome.octets == packet);
        assert!(outcome.octets.len() <= packet.len() + 68);
        let world = World {
            config: &here,
            context,
            has_socket: &|_, _| false,
            now: 1_790_000_000_000_000_000,
        };
        assert_eq!(leave(packet, &world).0.len(), packet.len());
        if outcome.action != Action::Send || outcome.reasons.contains(&Reason::TooBig) {
            continue;
        }
        let is_as_it_came = !outcome.reasons.contains(&Reason::CompletedChecksum);
        let frame = outcome.octets;
        let mut readers = 0;
        for owner in [1, 2, 5, 9].map(|id| SiteId::new(id).expect("not 0")) {
            let there = seen_by(owner, &here);
            let read = at(&there, context, sockets & 1 != 0, &frame);
            if !read.reasons.contains(&Reason::Unwrapped) {
                continue;
            }
            readers += 1;
            // With a socket it is what came, a hop further.
            if sockets & 1 != 0 && is_as_it_came && read.action == Action::Pass {
                assert_eq!(read.octets.len(), packet.len());
                assert_eq!(read.octets[..12], frame[..12]);
                assert_eq!(read.octets[34..], packet[34..]);
            }
            let mut damaged = frame.clone();
            let place = usize::from(*place) % damaged.len();
            damaged[place] ^= damage;
            let read = at(&there, context, sockets & 1 != 0, &damaged);
            if *damage != 0 && is_signed(&frame, place) {
                assert!(!read.reasons.contains(&Reason::Unwrapped), "{place}: {frame:02x?}");
            }
        }
        assert_eq!(readers, 1, "a frame is for one site: {frame:02x?}");
    }
});

/// Whether the tag covers an octet of a packet with a frame, or it is the tag's own.
fn is_signed(packet: &[u8], place: usize) -> bool {
    let mut outer = 14;
    while matches!(packet[outer - 2..outer], [0x81, 0] | [0x88, 0xa8]) {
        outer += 4;
    }
    let frame = outer + 8 + if packet[outer] >> 4 == 4 { 20 } else { 40 };
    let inner = frame + 20;
    let (addresses, behind) = if packet[inner] >> 4 == 4 {
        (inner + 12..inner + 20, inner + 20)
    } else {
        (inner + 8..inner + 40, inner + 40)
    };
    (frame..inner).contains(&place)
        || addresses.contains(&place)
        || (behind..behind + 4).contains(&place)
}

fn at(config: &Config, context: Context, has_socket: bool, packet: &[u8]) -> Outcome {
    let now = 1_790_000_000_000_000_000;
    decide(packet, &World { config, context, has_socket: &|_, _| has_socket, now })
}

//! The model of the packet programs, on anything that comes in and anything that leaves.
//!
//! `cargo fuzz run affinity_packet` (with a stable compiler: `RUSTC_BOOTSTRAP=1`).
#![no_main]

use anycast_affinity::model::{Action, Context, World, decide, leave};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|packet: &[u8]| {
    let config = anycast_affinity::testing::config();
    for context in [Context::Xdp, Context::Tc] {
        let world = World {
            config: &config,
            context,
            has_socket: &|_, _| false,
            now: 1_790_000_000_000_000_000,
        };
        let outcome = decide(packet, &world);
        // What is refused is refused as it came, and nothing grows by more than the headers of a frame.
        assert!(outcome.action != Action::Drop || outcome.octets == packet);
        assert!(outcome.octets.len() <= packet.len() + 68);
        assert_eq!(leave(packet, &world).0.len(), packet.len());
    }
});

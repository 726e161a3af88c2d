//! Connection ids of QUIC: any scheme reads any octets, and an owner reads any datagram.
//!
//! `cargo fuzz run affinity_quic_id` (with a stable compiler: `RUSTC_BOOTSTRAP=1`).
#![no_main]

use anycast_affinity::quic_lb::{Scheme, owner};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|octets: &[u8]| {
    let _ = owner(octets, &anycast_affinity::testing::config());
    let [shape, server_id, nonce, rest @ ..] = octets else { return };
    let key = (shape & 0x80 != 0).then_some(&[7; 16]);
    let Some(scheme) =
        Scheme::new(shape & 7, usize::from(server_id & 15), usize::from(nonce & 31), key)
    else {
        return;
    };
    let Some(found) = scheme.decode(rest) else { return };
    // Encryption is a permutation: some nonce gives each id, so what was found has the scheme's length.
    assert_eq!(found.len(), usize::from(server_id & 15));
});

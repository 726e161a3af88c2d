//! Any packet as the answer to an echo request: no panic, and nothing passes but the reply with
//! the token.
//!
//! `cargo fuzz run icmp_echo` (with a stable compiler: `RUSTC_BOOTSTRAP=1`).
#![no_main]

use libfuzzer_sys::fuzz_target;

#[path = "../../crates/site/src/check/icmp/echo.rs"]
#[allow(dead_code, unreachable_pub, reason = "the module of a health check, alone")]
mod echo;

use echo::{Family, Token};

fuzz_target!(|input: &[u8]| {
    let Some((token, packet)) = input.split_first_chunk::<16>() else { return };
    let token: &Token = token;
    let inside = echo::without_ip_header(packet);
    for message in [Some(packet), inside].into_iter().flatten() {
        for family in [Family::V4, Family::V6] {
            if echo::is_reply(message, family, token) {
                assert_eq!(message.get(8..), Some(&token[..]));
                assert_ne!(message[0], echo::request(family, token)[0]);
            }
        }
    }
    let request = echo::request(Family::V4, token);
    assert_eq!(echo::checksum(&request), 0);
});

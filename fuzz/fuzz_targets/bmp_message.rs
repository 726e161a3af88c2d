//! Any octets as BMP: no panic, and what parses is written so that it reads the same.
//!
//! `cargo fuzz run bmp_message` (with a stable compiler: `RUSTC_BOOTSTRAP=1`).
#![no_main]

use anycast_bgp::bmp::{Message, frame_len};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| {
    let _ = frame_len(input);
    check(input);
    // The header is hard to guess: give it, so that the rest is what varies.
    let Some((kind, rest)) = input.split_first() else { return };
    let length = u32::try_from(6 + rest.len()).expect("a fuzzer's inputs are short");
    let mut message = vec![3];
    message.extend(length.to_be_bytes());
    message.push(kind & 7);
    message.extend(rest);
    check(&message);
});

fn check(octets: &[u8]) {
    if let Ok(message) = Message::parse(octets) {
        let mut again = Vec::new();
        message.emit(&mut again);
        assert_eq!(Message::parse(&again), Ok(message));
    }
}

//! Any octets as Control packets: no panic, what parses is written as it was read, and a session
//! that is fed with them keeps its timers ahead of the clock.
//!
//! `cargo fuzz run bfd_packet` (with a stable compiler: `RUSTC_BOOTSTRAP=1`).
#![no_main]

use std::num::{NonZeroU8, NonZeroU32};
use std::time::Duration;

use anycast_bfd::{Config, Control, Instant, Session};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| {
    check(input);
    let Some((choice, rest)) = input.split_first() else { return };
    let mut session = Session::new(Config {
        local_discriminator: NonZeroU32::MIN,
        desired_min_tx: Duration::from_millis(10),
        required_min_rx: Duration::from_millis(10),
        multiplier: NonZeroU8::new(choice & 3).unwrap_or(NonZeroU8::MIN),
        passive: choice & 4 == 0,
        multihop: choice & 8 == 0,
        seed: u64::from(*choice),
    });
    let mut now = Instant::START;
    // The octets that are hard to guess are given: version, length, and mostly our discriminator.
    for step in rest.chunks_exact(22) {
        now = now + Duration::from_millis(step[0].into());
        let mut octets = [0; Control::LEN];
        octets[0] = 0x20 | step[1] & 0x1f;
        octets[1] = step[2] & !0x05;
        octets[2] = step[3];
        octets[3] = 24;
        octets[4..].copy_from_slice(&step[2..]);
        if step[0] & 7 != 0 {
            octets[8..12].copy_from_slice(&1_u32.to_be_bytes());
        }
        if let Some(control) = check(&octets) {
            let _ = session.handle_packet(now, &control);
            drain(&mut session, now);
        }
        match step[1] >> 5 {
            0 => session.admin_down(now),
            1 => session.admin_up(now),
            _ => session.handle_timeout(now),
        }
        drain(&mut session, now);
        session.handle_timeout(now);
        assert!(session.poll_timeout().is_none_or(|at| at > now));
        drain(&mut session, now);
    }
});

fn check(octets: &[u8]) -> Option<Control> {
    let control = Control::parse(octets).ok()?;
    assert_eq!(control.emit(), octets);
    Some(control)
}

fn drain(session: &mut Session, now: Instant) {
    let mut burst = 0;
    while let Some(control) = session.poll_transmit(now) {
        burst += 1;
        assert!(burst <= 2, "at one time: an answer and a packet");
        assert_eq!(Control::parse(&control.emit()), Ok(control));
    }
    while session.poll_event().is_some() {}
}

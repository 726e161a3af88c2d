//! Any octets as what a cache sends and as a VRP file: no panic, what parses is written as it
//! means, and a client keeps its timers ahead of the clock whatever it is told.
//!
//! `cargo fuzz run rpki` (with a stable compiler: `RUSTC_BOOTSTRAP=1`).
#![no_main]

use std::time::Duration;

use anycast_bgp::rov::file;
use anycast_bgp::rtr::{Action, Client, Pdu};
use anycast_bgp::time::Instant;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| {
    if let Ok(table) = file::parse(input) {
        let again = table.iter().collect();
        assert_eq!(table, again);
        for vrp in table.iter().take(100) {
            assert!(table.contains(&vrp) && !table.covering(&vrp.prefix()).is_empty());
        }
    }
    if let Ok(Some((version, pdu, length))) = Pdu::parse(input) {
        assert!(length <= input.len());
        let octets = pdu.emit(version);
        let (_, again, _) = Pdu::parse(&octets).expect("it is well").expect("it is whole");
        // Text that is no UTF-8 is replaced; what it was replaced by stays.
        assert_eq!(pdu.emit(version), again.emit(version));
    }
    let Some((&version, rest)) = input.split_first() else { return };
    let mut now = Instant::START;
    let mut client = Client::new(now);
    client.handle_timeout(now);
    drain(&mut client, now);
    // Each step: how much later, which PDU, and its body; the octets hard to guess are given.
    for step in rest.chunks(26) {
        now = now + Duration::from_secs(u64::from(step[0]) * 16);
        let kind = step.get(1).map_or(0, |it| it % 12);
        let length = match kind {
            0 | 1 => 12,
            4 => 20,
            6 => 32,
            7 if version % 3 == 0 => 12,
            7 => 24,
            9 => 40,
            10 | 11 => 16,
            _ => 8,
        };
        let mut octets = vec![version % 3, kind, 0, step[0] & 1, 0, 0, 0, length];
        octets.extend(step.iter().skip(2));
        octets.resize(usize::from(length), 0);
        client.handle_octets(now, &octets);
        drain(&mut client, now);
        client.handle_timeout(now);
        drain(&mut client, now);
        assert!(client.poll_timeout().is_none_or(|at| at > now));
    }
    client.handle_closed(now, "closed");
    drain(&mut client, now);
});

fn drain(client: &mut Client, now: Instant) {
    let mut actions = 0;
    while let Some(action) = client.poll_action() {
        actions += 1;
        assert!(actions < 16, "one event asks for little");
        match action {
            Action::Connect => client.handle_connected(now),
            Action::Send(octets) => {
                let (_, _, length) =
                    Pdu::parse(&octets).expect("ours are well").expect("and whole");
                assert_eq!(length, octets.len());
            }
            Action::Close | Action::Data => {}
        }
    }
}

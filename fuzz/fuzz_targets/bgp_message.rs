//! Any octets, in any context: no panic, and what parses is written as it was read.
//!
//! `cargo fuzz run bgp_message` (with a stable compiler: `RUSTC_BOOTSTRAP=1`).
#![no_main]

use std::collections::BTreeSet;

use anycast_bgp::FamilySet;
use anycast_bgp::message::{Context, EXTENDED_MAX_LEN, MAX_LEN, Message, Update, frame_len};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| {
    let Some((choice, octets)) = input.split_first() else { return };
    // One for both directions: what was read is written again.
    let path_ids = if choice & 64 == 0 { FamilySet::NONE } else { FamilySet::ALL };
    let ctx = Context {
        four_octet_asn: choice & 1 == 0,
        ebgp: choice & 2 == 0,
        max_len: if choice & 4 == 0 { MAX_LEN } else { EXTENDED_MAX_LEN },
        extended_next_hop: choice & 16 == 0,
        enhanced_route_refresh: choice & 32 == 0,
        path_ids_in: path_ids,
        path_ids_out: path_ids,
    };
    let _ = frame_len(octets, ctx.max_len);
    if choice & 8 == 0 {
        check(octets, &ctx);
    } else {
        // The header is hard to guess: give it, so that the body is what varies.
        let mut message = vec![0xff; 16];
        message.extend(u16::try_from(18 + octets.len()).unwrap_or(0).to_be_bytes());
        message.extend(octets);
        check(&message, &ctx);
    }
});

fn check(octets: &[u8], ctx: &Context) {
    let first = match Message::parse(octets, ctx) {
        Ok(message) => message,
        Err(error) => {
            let notification = Message::Notification(error.to_notification());
            assert!(frame_len(&notification.emit(ctx), ctx.max_len).is_ok());
            return;
        }
    };
    if let Message::Notification(notification) = &first {
        let _ = notification.to_string();
    }
    let emitted = first.emit(ctx);
    let mut rest = &emitted[..];
    let mut messages = Vec::new();
    while !rest.is_empty() {
        let len = frame_len(rest, ctx.max_len).expect("a sound header").expect("a whole message");
        messages.push(Message::parse(&rest[..len], ctx).expect("what was emitted parses"));
        rest = &rest[len..];
    }
    match &first {
        // A two-octet AS_PATH has no room for what confederations did.
        Message::Update(update) if !ctx.four_octet_asn && confederate(update) => {}
        // Nor has a full message for an AS4_PATH that grew by merging: such a route is withdrawn.
        Message::Update(_) if octets.len() > MAX_LEN / 2 => {}
        Message::Update(update) => {
            assert_eq!(said(&[first.clone()]), said(&messages), "{update:?}");
        }
        Message::Open(open) => {
            let [Message::Open(again)] = &messages[..] else { panic!("{messages:?}") };
            assert_eq!(
                (open.asn, open.hold_time, open.router_id),
                (again.asn, again.hold_time, again.router_id)
            );
        }
        other => assert_eq!(&messages[..], std::slice::from_ref(other)),
    }
}

fn confederate(update: &Update) -> bool {
    let mut paths = update.announced.iter().map(|announcement| &announcement.attributes.as_path);
    paths.any(|path| path.segments().any(|segment| segment.kind.is_confederation()))
}

/// What UPDATEs say, however they are split.
fn said(messages: &[Message]) -> BTreeSet<String> {
    let mut said = BTreeSet::new();
    for message in messages {
        let Message::Update(Update { withdrawn, announced, end_of_rib, .. }) = message else {
            panic!("{message:?}")
        };
        said.extend(withdrawn.iter().map(|prefix| format!("withdrawn {prefix}")));
        for announcement in announced {
            let mut attributes = (*announcement.attributes).clone();
            for unknown in &mut attributes.unknown {
                unknown.flags |= 0x20;
            }
            said.extend(
                announcement.prefixes.iter().map(|prefix| format!("{prefix} {attributes:?}")),
            );
        }
        said.extend(end_of_rib.iter().map(|family| format!("end of {family}")));
    }
    said
}

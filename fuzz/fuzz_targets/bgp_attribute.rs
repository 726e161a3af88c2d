//! One attribute of any type, flags and value between sound ones: whatever it is, the prefixes of
//! the UPDATE are either announced or withdrawn, and a discarded attribute leaves no trace
//! (RFC 7606).
//!
//! `cargo fuzz run bgp_attribute` (with a stable compiler: `RUSTC_BOOTSTRAP=1`).
#![no_main]

use anycast_bgp::FamilySet;
use anycast_bgp::iana::attribute_type::{MP_REACH_NLRI, MP_UNREACH_NLRI};
use anycast_bgp::message::{
    Context, EXTENDED_MAX_LEN, MAX_LEN, Message, MessageError, Reaction, Update, frame_len,
};
use libfuzzer_sys::fuzz_target;

const ORIGIN: &[u8] = &[0x40, 1, 1, 0];
const PATH: &[u8] = &[0x40, 2, 6, 2, 1, 0, 0, 0xfb, 0xf5];
const OLD_PATH: &[u8] = &[0x40, 2, 4, 2, 1, 0xfb, 0xf5];
const NEXT_HOP: &[u8] = &[0x40, 3, 4, 192, 0, 2, 1];
/// 192.0.2.0/24.
const NLRI: &[u8] = &[24, 192, 0, 2];

fuzz_target!(|input: &[u8]| {
    let [choice, flags, code, value @ ..] = input else { return };
    let ctx = Context {
        four_octet_asn: choice & 1 == 0,
        ebgp: choice & 2 == 0,
        max_len: if choice & 4 == 0 { MAX_LEN } else { EXTENDED_MAX_LEN },
        extended_next_hop: choice & 8 == 0,
        enhanced_route_refresh: false,
        path_ids_in: FamilySet::NONE,
        path_ids_out: FamilySet::NONE,
    };
    let path = if ctx.four_octet_asn { PATH } else { OLD_PATH };
    let sound: Vec<u8> = [ORIGIN, path, NEXT_HOP]
        .into_iter()
        .filter(|attribute| attribute[1] != *code)
        .flatten()
        .copied()
        .collect();
    let Ok(len) = u16::try_from(value.len()) else { return };
    let one = [&[flags | 0x10, *code][..], &len.to_be_bytes(), value].concat();
    // First or last, which must make no difference.
    let before = parse(&[&one[..], &sound].concat(), &ctx);
    let after = parse(&[&sound[..], &one].concat(), &ctx);
    let (Some(before), Some(after)) = (before, after) else { return };
    assert_eq!(before, after);

    let update = match after {
        Ok(update) => update,
        Err(error) => {
            let notification = error.to_notification();
            assert_eq!(notification.code, 3, "an UPDATE Message Error");
            let octets = Message::Notification(notification).emit(&ctx);
            assert_eq!(frame_len(&octets, ctx.max_len), Ok(Some(octets.len())));
            return;
        }
    };
    let route = "192.0.2.0/24";
    let announced = update.announced.iter().flat_map(|announcement| &announcement.prefixes);
    let announced = announced.filter(|nlri| nlri.to_string() == route).count();
    let withdrawn = update.withdrawn.iter().filter(|nlri| nlri.to_string() == route).count();
    let of_mp = *code == MP_REACH_NLRI || *code == MP_UNREACH_NLRI;
    let withdraws = update.faults.iter().any(|fault| fault.reaction == Reaction::TreatAsWithdraw);
    if withdraws {
        assert!(announced == 0 && withdrawn > 0, "{update:?}");
        assert!(update.announced.is_empty(), "{update:?}");
    } else {
        assert!(announced == 1 || of_mp && announced > 0, "{update:?}");
        assert!(withdrawn == 0 || of_mp, "{update:?}");
    }
    if !update.faults.is_empty() && !withdraws {
        let without = parse(&sound, &ctx).expect("it is short").expect("it is sound");
        assert_eq!(without.announced, update.announced, "{:?}", update.faults);
    }
    // What stands in the tables comes out as it went in.
    for announcement in &update.announced {
        let alone = Update { announced: vec![announcement.clone()], ..Update::default() };
        for octets in alone.emit(&ctx) {
            let Ok(Message::Update(again)) = Message::parse(&octets, &ctx) else {
                panic!("{octets:?}");
            };
            assert!(again.faults.is_empty(), "{again:?}");
        }
    }
});

/// `None`: longer than a message may be.
fn parse(attributes: &[u8], ctx: &Context) -> Option<Result<Update, MessageError>> {
    let len = u16::try_from(23 + attributes.len() + NLRI.len()).ok()?;
    if usize::from(len) > ctx.max_len {
        return None;
    }
    let list = u16::try_from(attributes.len()).ok()?.to_be_bytes();
    let header = [&[0xff; 16][..], &len.to_be_bytes(), &[2, 0, 0]].concat();
    let octets = [&header, &list[..], attributes, NLRI].concat();
    Some(match Message::parse(&octets, ctx) {
        Ok(Message::Update(update)) => Ok(update),
        Ok(other) => panic!("{other:?}"),
        Err(error) => Err(error),
    })
}

//! Tests of the codec: samples written by hand, tables of faults, and properties.

mod errors;
mod faults;
mod properties;
mod samples;

use super::{Context, message_type};

pub(super) const EBGP: Context = Context::new(true);
pub(super) const IBGP: Context = Context { ebgp: false, ..EBGP };
pub(super) const OLD: Context = Context { four_octet_asn: false, ..EBGP };

/// Octets from hexadecimal digits; spaces are for the reader.
pub(super) fn hex(text: &str) -> Vec<u8> {
    let digits: Vec<u8> = text
        .chars()
        .filter(|c| !c.is_whitespace())
        .map(|c| u8::try_from(c.to_digit(16).expect("a hexadecimal digit")).unwrap())
        .collect();
    assert!(digits.len().is_multiple_of(2), "half an octet in {text}");
    digits.chunks(2).map(|pair| pair[0] << 4 | pair[1]).collect()
}

/// A whole message around a body.
pub(super) fn message(kind: u8, body: &[u8]) -> Vec<u8> {
    let len = u16::try_from(19 + body.len()).unwrap();
    [&[0xff; 16][..], &len.to_be_bytes(), &[kind], body].concat()
}

/// A whole UPDATE.
pub(super) fn update(withdrawn: &[u8], attributes: &[u8], nlri: &[u8]) -> Vec<u8> {
    let len = |field: &[u8]| u16::try_from(field.len()).unwrap().to_be_bytes();
    let body = [&len(withdrawn)[..], withdrawn, &len(attributes), attributes, nlri].concat();
    message(message_type::UPDATE, &body)
}

//! OPEN (RFC 4271 §4.2) and its Optional Parameters (RFC 5492, RFC 9072).

use std::net::Ipv4Addr;
use std::time::Duration;

use super::MessageError;
use super::capabilities::{Capabilities, Draft};
use crate::Asn;
use crate::iana::open_parameter;

/// The only version there is.
const VERSION: u8 = 4;

/// OPEN (RFC 4271 §4.2) with its capabilities (RFC 5492).
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Open {
    /// The sender's ASN: from the four-octet capability if present, else from My Autonomous System.
    pub asn: Asn,
    /// Whole seconds: zero, or at least three.
    pub hold_time: Duration,
    /// The BGP Identifier; not zero.
    pub router_id: Ipv4Addr,
    /// What the sender can do.
    pub capabilities: Capabilities,
}

impl Open {
    /// The body, from a message that is long enough for the fixed fields. Faults are reported in
    /// the order of RFC 4271 §6.2.
    pub(super) fn parse(body: &[u8]) -> Result<Self, MessageError> {
        let truncated = MessageError::MalformedOpen("it is cut short");
        let Some(([version, asn @ .., h0, h1, i0, i1, i2, i3, params_len], params)) =
            body.split_first_chunk::<10>()
        else {
            return Err(truncated);
        };
        if *version != VERSION {
            return Err(MessageError::UnsupportedVersion(*version));
        }
        let asn = u16::from_be_bytes(*asn);
        if asn == 0 {
            return Err(MessageError::BadPeerAs);
        }
        let hold_time = u16::from_be_bytes([*h0, *h1]);
        let router_id = Ipv4Addr::new(*i0, *i1, *i2, *i3);
        if let 1 | 2 = hold_time {
            return Err(MessageError::UnacceptableHoldTime(hold_time));
        }
        if router_id.is_unspecified() {
            return Err(MessageError::BadBgpIdentifier);
        }
        let mut draft = Draft { asn: Asn(asn.into()), capabilities: Capabilities::default() };
        draft.parameters(*params_len, params)?;
        Ok(Self {
            asn: draft.asn,
            hold_time: Duration::from_secs(hold_time.into()),
            router_id,
            capabilities: draft.capabilities,
        })
    }

    pub(super) fn emit(&self, out: &mut Vec<u8>) {
        let two_octets = u16::try_from(self.asn.0).unwrap_or(Asn::TRANS_TWO_OCTET);
        let hold_time = u16::try_from(self.hold_time.as_secs()).unwrap_or(u16::MAX);
        out.push(VERSION);
        out.extend_from_slice(&two_octets.to_be_bytes());
        out.extend_from_slice(&hold_time.to_be_bytes());
        out.extend_from_slice(&self.router_id.octets());
        let lengths_at = out.len();
        out.extend_from_slice(&[0, open_parameter::CAPABILITIES, 0]);
        self.capabilities.emit(self.asn, out);
        // Every capability with every family: some 80 octets.
        let len = u8::try_from(out.len() - lengths_at - 3).unwrap_or(u8::MAX);
        if len == 0 {
            out.truncate(lengths_at + 1);
        } else {
            out[lengths_at] = len + 2;
            out[lengths_at + 2] = len;
        }
    }
}

impl Draft {
    /// Optional Parameters, with lengths of one octet or, by RFC 9072 §2, of two.
    fn parameters(&mut self, len: u8, octets: &[u8]) -> Result<(), MessageError> {
        let wrong_length = MessageError::MalformedOpen("the optional parameters' length is wrong");
        let extended = len != 0 && octets.first() == Some(&open_parameter::EXTENDED_LENGTH);
        let (len, mut rest) = if extended {
            let Some(([_, high, low], rest)) = octets.split_first_chunk() else {
                return Err(wrong_length);
            };
            (usize::from(u16::from_be_bytes([*high, *low])), rest)
        } else {
            (usize::from(len), octets)
        };
        if rest.len() != len {
            return Err(wrong_length);
        }
        while let Some((kind, after)) = rest.split_first() {
            let value = if extended { split_by_u16(after) } else { split_by_u8(after) };
            let Some((value, after)) = value else {
                return Err(MessageError::MalformedOpen("an optional parameter is cut short"));
            };
            if *kind != open_parameter::CAPABILITIES {
                return Err(MessageError::UnsupportedOptionalParameter(*kind));
            }
            self.capabilities(value)?;
            rest = after;
        }
        Ok(())
    }
}

/// A value behind its length of one octet, and what follows.
fn split_by_u8(octets: &[u8]) -> Option<(&[u8], &[u8])> {
    let (len, rest) = octets.split_first()?;
    rest.split_at_checked(usize::from(*len))
}

/// A value behind its length of two octets, and what follows.
fn split_by_u16(octets: &[u8]) -> Option<(&[u8], &[u8])> {
    let (len, rest) = octets.split_first_chunk()?;
    rest.split_at_checked(usize::from(u16::from_be_bytes(*len)))
}

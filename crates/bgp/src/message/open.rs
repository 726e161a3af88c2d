//! OPEN (RFC 4271 §4.2) and its capabilities (RFC 5492).

use std::net::Ipv4Addr;
use std::time::Duration;

use super::MessageError;
use crate::iana::{capability, open_parameter};
use crate::{Asn, Family};

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

/// The capabilities that this code acts on; others are read over.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Capabilities {
    /// Multiprotocol Extensions (RFC 4760): the families named, each once. `None`: the capability
    /// is absent, which means IPv4 unicast only.
    pub families: Option<Vec<Family>>,
    /// Route Refresh (RFC 2918).
    pub route_refresh: bool,
    /// Four-octet AS numbers (RFC 6793).
    pub four_octet_asn: bool,
    /// Every code that was there, known or not, each once, in the order of the message: for
    /// display. `emit` writes what the other fields say and does not look here.
    pub codes: Vec<u8>,
}

/// A capability that we act on. The value's length is part of what it is.
struct Known {
    code: u8,
    len: usize,
    take: fn(&mut Draft, &[u8]) -> Result<(), MessageError>,
}

/// In the order in which `emit` writes them.
const KNOWN: [Known; 3] = [
    Known {
        code: capability::MULTIPROTOCOL,
        len: 4,
        take: |draft, value| {
            let families = draft.capabilities.families.get_or_insert_default();
            let family = Family::from_codes(u16::from_be_bytes([value[0], value[1]]), value[3]);
            if let Some(family) = family.filter(|family| !families.contains(family)) {
                families.push(family);
            }
            Ok(())
        },
    },
    Known {
        code: capability::ROUTE_REFRESH,
        len: 0,
        take: |draft, _| {
            draft.capabilities.route_refresh = true;
            Ok(())
        },
    },
    Known {
        code: capability::FOUR_OCTET_ASN,
        len: 4,
        take: |draft, value| {
            let asn = u32::from_be_bytes([value[0], value[1], value[2], value[3]]);
            if asn == 0 {
                return Err(MessageError::BadPeerAs);
            }
            // Twice with different numbers is not foreseen (RFC 5492 §4): the first one counts.
            if !draft.capabilities.four_octet_asn {
                draft.capabilities.four_octet_asn = true;
                draft.asn = Asn(asn);
            }
            Ok(())
        },
    },
];

/// What has been read so far.
struct Draft {
    asn: Asn,
    capabilities: Capabilities,
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
        // Two families, Route Refresh and four-octet ASNs: 20 octets at most.
        let len = u8::try_from(out.len() - lengths_at - 3).unwrap_or(u8::MAX);
        if len == 0 {
            out.truncate(lengths_at + 1);
        } else {
            out[lengths_at] = len + 2;
            out[lengths_at + 2] = len;
        }
    }
}

impl Capabilities {
    fn emit(&self, asn: Asn, out: &mut Vec<u8>) {
        let families = self.families.as_deref().unwrap_or_default();
        for (i, family) in families.iter().enumerate() {
            if !families[..i].contains(family) {
                out.extend_from_slice(&[capability::MULTIPROTOCOL, 4]);
                out.extend_from_slice(&family.afi().to_be_bytes());
                out.extend_from_slice(&[0, family.safi()]);
            }
        }
        if self.route_refresh {
            out.extend_from_slice(&[capability::ROUTE_REFRESH, 0]);
        }
        if self.four_octet_asn {
            out.extend_from_slice(&[capability::FOUR_OCTET_ASN, 4]);
            out.extend_from_slice(&asn.0.to_be_bytes());
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

    fn capabilities(&mut self, mut rest: &[u8]) -> Result<(), MessageError> {
        while let Some((code, after)) = rest.split_first() {
            let Some((value, after)) = split_by_u8(after) else {
                return Err(MessageError::MalformedOpen("a capability is cut short"));
            };
            if let Some(known) = KNOWN.iter().find(|known| known.code == *code) {
                if value.len() != known.len {
                    return Err(MessageError::MalformedOpen("a capability has a wrong length"));
                }
                (known.take)(self, value)?;
            }
            if !self.capabilities.codes.contains(code) {
                self.capabilities.codes.push(*code);
            }
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

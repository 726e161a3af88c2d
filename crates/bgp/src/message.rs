//! BGP messages on the wire: octets ↔ [`Message`] (RFC 4271 §4).
//!
//! `emit` is the inverse of `parse`; whatever a neighbor sends, nothing here panics. A fault is
//! either a [`MessageError`], which ends the session with its NOTIFICATION, or an
//! [`AttributeFault`] that stands in the parsed [`Update`] (RFC 7606). What depends on
//! configuration (is this the ASN that we expect?) is left to [`session`](crate::session) and
//! [`policy`](crate::policy).
//!
//! ```text
//! | marker: 16 octets, all ones | length: 2 octets | type: 1 octet | body |
//! ```

mod attributes;
mod capabilities;
mod error;
mod notification;
mod open;
mod packed;
mod prefix;
#[cfg(test)]
mod tests;
mod update;

pub use capabilities::{AddPath, Capabilities, GracefulRestart, LongLived, Preserved};
pub use error::MessageError;
pub use notification::Notification;
pub use open::Open;
pub use packed::Packed;
pub use prefix::{Nlri, PathId};
pub use update::{Announcement, AttributeFault, Reaction, Update};

pub(crate) use attributes::{emit as emit_attributes, emit_attribute};

use crate::iana::message_type;
use crate::{Family, FamilySet};

/// Octets of the header.
pub const HEADER_LEN: usize = 19;
/// Octets of a ROUTE-REFRESH (RFC 2918 §3).
const ROUTE_REFRESH_LEN: usize = 23;
/// The longest message (RFC 4271 §4), unless both sides agreed on Extended Messages.
pub const MAX_LEN: usize = 4096;
/// The longest message with Extended Messages (RFC 8654).
pub const EXTENDED_MAX_LEN: usize = 65535;

/// One BGP message.
#[derive(Clone, Debug, Eq, PartialEq)]
#[expect(missing_docs, reason = "the names are the RFC's own")]
pub enum Message {
    Open(Open),
    Update(Update),
    Notification(Notification),
    Keepalive,
    RouteRefresh(Family),
    /// ROUTE-REFRESH of subtype 1, only after Enhanced Route Refresh was agreed on: all routes of
    /// the family follow (RFC 7313 §4).
    BeginningOfRouteRefresh(Family),
    /// ROUTE-REFRESH of subtype 2: they have all been sent.
    EndOfRouteRefresh(Family),
    /// ROUTE-REFRESH for a family that we do not route (RFC 2918 §4), or of a subtype that does
    /// not exist (RFC 7313 §5): to be ignored.
    UnknownRouteRefresh {
        afi: u16,
        subtype: u8,
        safi: u8,
    },
}

/// What the two sides agreed on: without it an UPDATE cannot be read.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[expect(clippy::struct_excessive_bools, reason = "each is agreed on by itself")]
pub struct Context {
    /// AS numbers in AS_PATH and AGGREGATOR take four octets (RFC 6793).
    pub four_octet_asn: bool,
    /// The neighbor is in another AS: LOCAL_PREF, ORIGINATOR_ID, CLUSTER_LIST and confederation
    /// segments do not cross this border.
    pub ebgp: bool,
    /// The longest message in octets: [`MAX_LEN`], or [`EXTENDED_MAX_LEN`]. Less is not possible.
    pub max_len: usize,
    /// IPv4 prefixes may have an IPv6 next hop (RFC 8950).
    pub extended_next_hop: bool,
    /// The third octet of ROUTE-REFRESH is a subtype (RFC 7313); else it means nothing.
    pub enhanced_route_refresh: bool,
    /// The families whose prefixes carry path identifiers in what we read (RFC 7911 §3).
    pub path_ids_in: FamilySet,
    /// The same in what we write.
    pub path_ids_out: FamilySet,
}

impl Default for Context {
    fn default() -> Self {
        Self::new(true)
    }
}

impl Context {
    /// Four-octet AS numbers, and nothing else that has to be agreed on.
    #[must_use]
    pub const fn new(ebgp: bool) -> Self {
        Self {
            four_octet_asn: true,
            ebgp,
            max_len: MAX_LEN,
            extended_next_hop: false,
            enhanced_route_refresh: false,
            path_ids_in: FamilySet::NONE,
            path_ids_out: FamilySet::NONE,
        }
    }

    fn max_len(self) -> usize {
        self.max_len.clamp(MAX_LEN, EXTENDED_MAX_LEN)
    }
}

/// The length of the first whole message in `buffer`, or `None` if more octets are needed.
///
/// # Errors
/// What RFC 4271 §6.1 refuses, as soon as the header is there, in the order marker, length, type.
pub fn frame_len(buffer: &[u8], max_len: usize) -> Result<Option<usize>, MessageError> {
    frame_len_in(buffer, &Context { max_len, ..Context::default() })
}

/// [`frame_len`] with all that was agreed on: with Enhanced Route Refresh a ROUTE-REFRESH of a
/// wrong length must be read whole, as the error carries it (RFC 7313 §5).
pub(crate) fn frame_len_in(buffer: &[u8], ctx: &Context) -> Result<Option<usize>, MessageError> {
    let Some((header, _)) = buffer.split_first_chunk() else {
        return Ok(None);
    };
    let (_, len) = parse_header(header, ctx)?;
    Ok((len <= buffer.len()).then_some(len))
}

/// Type and length of the message.
fn parse_header(header: &[u8; HEADER_LEN], ctx: &Context) -> Result<(u8, usize), MessageError> {
    let [marker @ .., high, low, kind] = header;
    if *marker != [0xff; 16] {
        return Err(MessageError::ConnectionNotSynchronized);
    }
    let len = u16::from_be_bytes([*high, *low]);
    let bad_length = Err(MessageError::BadMessageLength(len));
    let octets = usize::from(len);
    if !(HEADER_LEN..=ctx.max_len()).contains(&octets) {
        return bad_length;
    }
    // RFC 4271 §§4.2-4.5, RFC 2918 §3; OPEN and KEEPALIVE are never extended (RFC 8654 §4).
    let suits = match *kind {
        message_type::OPEN => (29..=MAX_LEN).contains(&octets),
        message_type::UPDATE => octets >= 23,
        message_type::NOTIFICATION => octets >= 21,
        message_type::KEEPALIVE => octets == HEADER_LEN,
        message_type::ROUTE_REFRESH => octets == ROUTE_REFRESH_LEN || ctx.enhanced_route_refresh,
        other => return Err(MessageError::BadMessageType(other)),
    };
    if suits { Ok((*kind, octets)) } else { bad_length }
}

/// Writes one message: the header, then what `body` writes. The caller sees to the length.
fn framed(kind: u8, capacity: usize, body: impl FnOnce(&mut Vec<u8>)) -> Vec<u8> {
    let mut out = Vec::with_capacity(capacity);
    out.extend_from_slice(&[0xff; 16]);
    out.extend_from_slice(&[0, 0, kind]);
    body(&mut out);
    let len = u16::try_from(out.len()).expect("no body is longer than max_len allows");
    out[16..18].copy_from_slice(&len.to_be_bytes());
    out
}

impl Message {
    /// The number of its type (RFC 4271 §4.1).
    pub(crate) fn type_code(&self) -> u8 {
        match self {
            Self::Open(_) => message_type::OPEN,
            Self::Update(_) => message_type::UPDATE,
            Self::Notification(_) => message_type::NOTIFICATION,
            Self::Keepalive => message_type::KEEPALIVE,
            Self::RouteRefresh(_)
            | Self::BeginningOfRouteRefresh(_)
            | Self::EndOfRouteRefresh(_)
            | Self::UnknownRouteRefresh { .. } => message_type::ROUTE_REFRESH,
        }
    }

    /// Reads exactly one whole message, header included.
    ///
    /// # Errors
    /// The fault that ends the session. If `octets` is less or more than the header's length
    /// says, that is [`MessageError::BadMessageLength`].
    pub fn parse(octets: &[u8], ctx: &Context) -> Result<Self, MessageError> {
        let Some((header, body)) = octets.split_first_chunk() else {
            let len = u16::try_from(octets.len()).unwrap_or(u16::MAX);
            return Err(MessageError::BadMessageLength(len));
        };
        let (kind, len) = parse_header(header, ctx)?;
        let bad_length = MessageError::BadMessageLength(u16::try_from(len).unwrap_or(u16::MAX));
        if len != octets.len() {
            return Err(bad_length);
        }
        match kind {
            message_type::OPEN => Open::parse(body).map(Self::Open),
            message_type::UPDATE => Update::parse(body, ctx).map(Self::Update),
            message_type::NOTIFICATION => {
                Notification::parse(body).map(Self::Notification).ok_or(bad_length)
            }
            message_type::KEEPALIVE => Ok(Self::Keepalive),
            _ => match *body {
                [high, low, subtype, safi] => {
                    let afi = u16::from_be_bytes([high, low]);
                    // Without the capability the octet is reserved and ignored (RFC 2918 §3).
                    let subtype = if ctx.enhanced_route_refresh { subtype } else { 0 };
                    Ok(match (Family::from_codes(afi, safi), subtype) {
                        (Some(family), 0) => Self::RouteRefresh(family),
                        (Some(family), 1) => Self::BeginningOfRouteRefresh(family),
                        (Some(family), 2) => Self::EndOfRouteRefresh(family),
                        _ => Self::UnknownRouteRefresh { afi, subtype, safi },
                    })
                }
                // Only these two subtypes have an error of their own (RFC 7313 §5).
                [_, _, 1 | 2, ..] => Err(MessageError::InvalidRouteRefreshLength(octets.to_vec())),
                _ => Err(bad_length),
            },
        }
    }

    /// Writes the message. An [`Update`] that needs several messages gives all of them, one after
    /// the other; one that says nothing gives none.
    #[must_use]
    pub fn emit(&self, ctx: &Context) -> Vec<u8> {
        let route_refresh = |afi: u16, subtype, safi| {
            framed(message_type::ROUTE_REFRESH, ROUTE_REFRESH_LEN, |out| {
                out.extend_from_slice(&afi.to_be_bytes());
                out.extend_from_slice(&[subtype, safi]);
            })
        };
        match self {
            Self::Open(open) => framed(message_type::OPEN, 64, |out| open.emit(out)),
            Self::Update(update) => update.emit(ctx).concat(),
            Self::Notification(notification) => {
                framed(message_type::NOTIFICATION, 21 + notification.data.len(), |out| {
                    notification.emit(out);
                    // Data may hold an attribute as long as a whole message; a cut one still helps.
                    out.truncate(ctx.max_len());
                })
            }
            Self::Keepalive => framed(message_type::KEEPALIVE, HEADER_LEN, |_| {}),
            Self::RouteRefresh(family) => route_refresh(family.afi(), 0, family.safi()),
            Self::BeginningOfRouteRefresh(family) => route_refresh(family.afi(), 1, family.safi()),
            Self::EndOfRouteRefresh(family) => route_refresh(family.afi(), 2, family.safi()),
            Self::UnknownRouteRefresh { afi, subtype, safi } => {
                route_refresh(*afi, *subtype, *safi)
            }
        }
    }
}

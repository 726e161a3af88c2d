//! Why a message was refused: each case is one NOTIFICATION code and subcode (RFC 4271 §6).

use crate::iana::{
    error_code, header_subcode, open_subcode, route_refresh_subcode, update_subcode,
};

use super::Notification;

/// A fault that ends the session. Milder ones are [`AttributeFault`](super::AttributeFault)s.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum MessageError {
    /// The marker is not all ones (RFC 4271 §6.1).
    #[error("the marker is not all ones")]
    ConnectionNotSynchronized,
    /// The length suits no message, not this type, or not the octets given (RFC 4271 §6.1).
    #[error("length {0} does not suit the message")]
    BadMessageLength(u16),
    /// The type is not one we speak (RFC 4271 §6.1).
    #[error("unknown message type {0}")]
    BadMessageType(u8),

    /// The optional parameters or a capability do not parse (RFC 4271 §6.2, RFC 5492 §5).
    #[error("malformed OPEN: {0}")]
    MalformedOpen(&'static str),
    /// Only version 4 is spoken (RFC 4271 §6.2).
    #[error("unsupported BGP version {0}")]
    UnsupportedVersion(u8),
    /// The autonomous system number is 0 (RFC 7607 §2).
    #[error("autonomous system 0 is no peer")]
    BadPeerAs,
    /// The BGP Identifier is 0 (RFC 6286 §2.2).
    #[error("the BGP Identifier is 0")]
    BadBgpIdentifier,
    /// An optional parameter other than Capabilities (RFC 4271 §6.2).
    #[error("unsupported optional parameter {0}")]
    UnsupportedOptionalParameter(u8),
    /// One or two seconds (RFC 4271 §6.2).
    #[error("unacceptable hold time of {0} s")]
    UnacceptableHoldTime(u16),

    /// The BGP Role capability is there twice, with different values (RFC 9234 §4.2).
    #[error("two BGP roles at once")]
    RoleMismatch,

    /// The whole message, a beginning or end of route refresh (RFC 7313 §5).
    #[error("wrong length of a ROUTE-REFRESH")]
    InvalidRouteRefreshLength(Vec<u8>),

    /// The lengths inside the UPDATE contradict each other, or MP_REACH_NLRI or MP_UNREACH_NLRI
    /// is there twice (RFC 4271 §6.3, RFC 7606 §3 g).
    #[error("malformed attribute list: {0}")]
    MalformedAttributeList(&'static str),
    /// The whole attribute (RFC 4271 §6.3).
    #[error("unrecognized well-known attribute {}", type_code(.0))]
    UnrecognizedWellKnownAttribute(Vec<u8>),
    /// The whole attribute (RFC 4271 §6.3).
    #[error("wrong flags of attribute {}", type_code(.0))]
    AttributeFlags(Vec<u8>),
    /// The whole attribute (RFC 4271 §6.3).
    #[error("wrong length of attribute {}", type_code(.0))]
    AttributeLength(Vec<u8>),
    /// The whole attribute (RFC 4271 §6.3).
    #[error("invalid ORIGIN")]
    InvalidOrigin(Vec<u8>),
    /// The whole attribute (RFC 4271 §6.3).
    #[error("invalid NEXT_HOP")]
    InvalidNextHop(Vec<u8>),
    /// The whole attribute (RFC 4271 §6.3, RFC 4760 §7).
    #[error("malformed optional attribute {}", type_code(.0))]
    OptionalAttribute(Vec<u8>),
    /// A prefix is longer than an address or than what is left of its field (RFC 7606 §5.3).
    #[error("invalid network field")]
    InvalidNetworkField,
    /// RFC 4271 §6.3.
    #[error("malformed AS_PATH")]
    MalformedAsPath,
}

/// The type code in a whole attribute.
fn type_code(attribute: &[u8]) -> u8 {
    attribute.get(1).copied().unwrap_or_default()
}

impl MessageError {
    /// Whether it is the content of an OPEN that is wrong.
    pub(crate) fn is_of_open(&self) -> bool {
        self.to_notification().code == error_code::OPEN_MESSAGE
    }

    /// What to tell the neighbor before closing.
    #[must_use]
    pub fn to_notification(&self) -> Notification {
        use error_code::{MESSAGE_HEADER, OPEN_MESSAGE, ROUTE_REFRESH_MESSAGE, UPDATE_MESSAGE};
        let (code, subcode, data) = match self {
            Self::ConnectionNotSynchronized => {
                (MESSAGE_HEADER, header_subcode::CONNECTION_NOT_SYNCHRONIZED, Vec::new())
            }
            Self::BadMessageLength(length) => {
                (MESSAGE_HEADER, header_subcode::BAD_MESSAGE_LENGTH, length.to_be_bytes().to_vec())
            }
            Self::BadMessageType(kind) => {
                (MESSAGE_HEADER, header_subcode::BAD_MESSAGE_TYPE, vec![*kind])
            }
            Self::MalformedOpen(_) => (OPEN_MESSAGE, open_subcode::UNSPECIFIC, Vec::new()),
            // The data is the version to try instead: 4 is all we have.
            Self::UnsupportedVersion(_) => {
                (OPEN_MESSAGE, open_subcode::UNSUPPORTED_VERSION_NUMBER, vec![0, 4])
            }
            Self::BadPeerAs => (OPEN_MESSAGE, open_subcode::BAD_PEER_AS, Vec::new()),
            Self::BadBgpIdentifier => (OPEN_MESSAGE, open_subcode::BAD_BGP_IDENTIFIER, Vec::new()),
            Self::UnsupportedOptionalParameter(_) => {
                (OPEN_MESSAGE, open_subcode::UNSUPPORTED_OPTIONAL_PARAMETER, Vec::new())
            }
            Self::UnacceptableHoldTime(_) => {
                (OPEN_MESSAGE, open_subcode::UNACCEPTABLE_HOLD_TIME, Vec::new())
            }
            Self::RoleMismatch => (OPEN_MESSAGE, open_subcode::ROLE_MISMATCH, Vec::new()),
            Self::InvalidRouteRefreshLength(message) => (
                ROUTE_REFRESH_MESSAGE,
                route_refresh_subcode::INVALID_MESSAGE_LENGTH,
                message.clone(),
            ),
            Self::MalformedAttributeList(_) => {
                (UPDATE_MESSAGE, update_subcode::MALFORMED_ATTRIBUTE_LIST, Vec::new())
            }
            Self::UnrecognizedWellKnownAttribute(attribute) => (
                UPDATE_MESSAGE,
                update_subcode::UNRECOGNIZED_WELL_KNOWN_ATTRIBUTE,
                attribute.clone(),
            ),
            Self::AttributeFlags(attribute) => {
                (UPDATE_MESSAGE, update_subcode::ATTRIBUTE_FLAGS, attribute.clone())
            }
            Self::AttributeLength(attribute) => {
                (UPDATE_MESSAGE, update_subcode::ATTRIBUTE_LENGTH, attribute.clone())
            }
            Self::InvalidOrigin(attribute) => {
                (UPDATE_MESSAGE, update_subcode::INVALID_ORIGIN, attribute.clone())
            }
            Self::InvalidNextHop(attribute) => {
                (UPDATE_MESSAGE, update_subcode::INVALID_NEXT_HOP, attribute.clone())
            }
            Self::OptionalAttribute(attribute) => {
                (UPDATE_MESSAGE, update_subcode::OPTIONAL_ATTRIBUTE, attribute.clone())
            }
            Self::InvalidNetworkField => {
                (UPDATE_MESSAGE, update_subcode::INVALID_NETWORK_FIELD, Vec::new())
            }
            Self::MalformedAsPath => {
                (UPDATE_MESSAGE, update_subcode::MALFORMED_AS_PATH, Vec::new())
            }
        };
        Notification { code, subcode, data }
    }
}

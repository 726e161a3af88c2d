//! BGP messages on the wire.

use std::net::Ipv4Addr;
use std::sync::Arc;
use std::time::Duration;

use ipnet::IpNet;

use crate::{Asn, Attributes, Family};

/// One BGP message.
#[derive(Clone, Debug, Eq, PartialEq)]
#[expect(missing_docs, reason = "the names are the RFC's own")]
pub enum Message {
    Open(Open),
    Update(Update),
    Notification(Notification),
    Keepalive,
    RouteRefresh(Family),
}

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
    /// Multiprotocol Extensions (RFC 4760): the families named. `None`: the capability is absent,
    /// which means IPv4 unicast only.
    pub families: Option<Vec<Family>>,
    /// Route Refresh (RFC 2918).
    pub route_refresh: bool,
    /// Four-octet AS numbers (RFC 6793).
    pub four_octet_asn: bool,
    /// Every code that was there, in order, known or not: for display.
    pub codes: Vec<u8>,
}

/// What an UPDATE says (RFC 4271 §4.3), whichever attributes carried it.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Update {
    /// Prefixes no longer reachable: Withdrawn Routes and MP_UNREACH_NLRI, and those which a
    /// malformed attribute turned into withdrawals (RFC 7606).
    pub withdrawn: Vec<IpNet>,
    /// Prefixes reachable, by attributes: at most one entry from NLRI and one from MP_REACH_NLRI.
    pub announced: Vec<Announcement>,
    /// The End-of-RIB marker of a family (RFC 4724 §2).
    pub end_of_rib: Option<Family>,
    /// What was wrong but did not end the session (RFC 7606), for the log.
    pub faults: Vec<AttributeFault>,
}

/// Prefixes of one family that share attributes.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Announcement {
    /// The shared attributes.
    pub attributes: Arc<Attributes>,
    /// At least one prefix.
    pub prefixes: Vec<IpNet>,
}

/// A malformed attribute and what RFC 7606 does about it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct AttributeFault {
    /// The type code.
    pub code: u8,
    /// What was done.
    pub reaction: Reaction,
    /// What was wrong, for the log.
    pub what: &'static str,
}

/// The milder reactions of RFC 7606 §2.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[expect(missing_docs, reason = "the names are the RFC's own")]
pub enum Reaction {
    AttributeDiscard,
    TreatAsWithdraw,
}

/// NOTIFICATION (RFC 4271 §4.5).
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Notification {
    /// The error code.
    pub code: u8,
    /// The error subcode.
    pub subcode: u8,
    /// The data: the offending octets, or a shutdown message (RFC 9003).
    pub data: Vec<u8>,
}

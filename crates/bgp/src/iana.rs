//! Numbers from the IANA registries "[Border Gateway Protocol (BGP) Parameters][bgp]",
//! "[Capability Codes][capability]", "[Address Family Numbers][afi]" and "[SAFI Namespace][safi]".
//!
//! [bgp]: https://www.iana.org/assignments/bgp-parameters
//! [capability]: https://www.iana.org/assignments/capability-codes
//! [afi]: https://www.iana.org/assignments/address-family-numbers
//! [safi]: https://www.iana.org/assignments/safi-namespace

use std::fmt;

use ipnet::IpNet;

/// An address family that this code routes: AFI and SAFI of RFC 4760 in one.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
#[expect(missing_docs, reason = "the names say all")]
pub enum Family {
    Ipv4Unicast,
    Ipv6Unicast,
}

impl Family {
    /// Every family that this code routes.
    pub const ALL: [Self; 2] = [Self::Ipv4Unicast, Self::Ipv6Unicast];

    /// The family of a prefix.
    #[must_use]
    pub const fn of(prefix: &IpNet) -> Self {
        match prefix {
            IpNet::V4(_) => Self::Ipv4Unicast,
            IpNet::V6(_) => Self::Ipv6Unicast,
        }
    }

    /// The Address Family Identifier.
    #[must_use]
    pub const fn afi(self) -> u16 {
        match self {
            Self::Ipv4Unicast => 1,
            Self::Ipv6Unicast => 2,
        }
    }

    /// The Subsequent Address Family Identifier: all that is routed here is unicast.
    #[must_use]
    pub const fn safi(self) -> u8 {
        1
    }

    /// The family of these two numbers, if it is one that this code routes.
    #[must_use]
    pub const fn from_codes(afi: u16, safi: u8) -> Option<Self> {
        match (afi, safi) {
            (1, 1) => Some(Self::Ipv4Unicast),
            (2, 1) => Some(Self::Ipv6Unicast),
            _ => None,
        }
    }

    /// Bits of an address.
    #[must_use]
    pub const fn max_prefix_len(self) -> u8 {
        match self {
            Self::Ipv4Unicast => 32,
            Self::Ipv6Unicast => 128,
        }
    }
}

impl fmt::Display for Family {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Ipv4Unicast => "ipv4",
            Self::Ipv6Unicast => "ipv6",
        })
    }
}

/// Some of the families.
#[derive(Clone, Copy, Debug, Default, Eq, Hash, PartialEq)]
pub struct FamilySet(u8);

impl FamilySet {
    /// None of them.
    pub const NONE: Self = Self(0);
    /// All of them.
    pub const ALL: Self = Self::NONE.with(Family::Ipv4Unicast).with(Family::Ipv6Unicast);

    /// These and `family`.
    #[must_use]
    pub const fn with(self, family: Family) -> Self {
        Self(self.0 | 1 << family as u8)
    }

    /// Whether `family` is one of them.
    #[must_use]
    pub const fn contains(self, family: Family) -> bool {
        self.0 & 1 << family as u8 != 0
    }

    /// Whether there is none.
    #[must_use]
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }
}

impl FromIterator<Family> for FamilySet {
    fn from_iter<T: IntoIterator<Item = Family>>(families: T) -> Self {
        families.into_iter().fold(Self::NONE, Self::with)
    }
}

/// The registry "BGP Message Types".
#[expect(missing_docs, reason = "the names are the RFC's own")]
pub mod message_type {
    pub const OPEN: u8 = 1;
    pub const UPDATE: u8 = 2;
    pub const NOTIFICATION: u8 = 3;
    pub const KEEPALIVE: u8 = 4;
    pub const ROUTE_REFRESH: u8 = 5;
}

/// The registry "BGP Path Attributes", as far as this code knows them.
#[expect(missing_docs, reason = "the names are the RFC's own")]
pub mod attribute_type {
    pub const ORIGIN: u8 = 1;
    pub const AS_PATH: u8 = 2;
    pub const NEXT_HOP: u8 = 3;
    pub const MULTI_EXIT_DISC: u8 = 4;
    pub const LOCAL_PREF: u8 = 5;
    pub const ATOMIC_AGGREGATE: u8 = 6;
    pub const AGGREGATOR: u8 = 7;
    pub const COMMUNITIES: u8 = 8;
    pub const ORIGINATOR_ID: u8 = 9;
    pub const CLUSTER_LIST: u8 = 10;
    pub const MP_REACH_NLRI: u8 = 14;
    pub const MP_UNREACH_NLRI: u8 = 15;
    pub const EXTENDED_COMMUNITIES: u8 = 16;
    pub const AS4_PATH: u8 = 17;
    pub const AS4_AGGREGATOR: u8 = 18;
    pub const IPV6_EXTENDED_COMMUNITIES: u8 = 25;
    pub const LARGE_COMMUNITY: u8 = 32;
    pub const ONLY_TO_CUSTOMER: u8 = 35;
}

/// The Attribute Flags octet (RFC 4271 §4.3).
#[expect(missing_docs, reason = "the names are the RFC's own")]
pub mod attribute_flag {
    pub const OPTIONAL: u8 = 0x80;
    pub const TRANSITIVE: u8 = 0x40;
    pub const PARTIAL: u8 = 0x20;
    pub const EXTENDED_LENGTH: u8 = 0x10;
}

/// The registry "BGP OPEN Optional Parameter Types".
#[expect(missing_docs, reason = "the names are the RFC's own")]
pub mod open_parameter {
    pub const CAPABILITIES: u8 = 2;
    pub const EXTENDED_LENGTH: u8 = 255;
}

/// The registry "Capability Codes", as far as this code knows them.
#[expect(missing_docs, reason = "the names are the RFC's own")]
pub mod capability {
    pub const MULTIPROTOCOL: u8 = 1;
    pub const ROUTE_REFRESH: u8 = 2;
    pub const EXTENDED_NEXT_HOP: u8 = 5;
    pub const EXTENDED_MESSAGE: u8 = 6;
    pub const ROLE: u8 = 9;
    pub const GRACEFUL_RESTART: u8 = 64;
    pub const FOUR_OCTET_ASN: u8 = 65;
    pub const ADD_PATH: u8 = 69;
    pub const ENHANCED_ROUTE_REFRESH: u8 = 70;
    pub const LONG_LIVED_GRACEFUL_RESTART: u8 = 71;
    // Others offer these; they mean nothing to us.
    pub const OUTBOUND_ROUTE_FILTERING: u8 = 3;
    pub const BGPSEC: u8 = 7;
    pub const MULTIPLE_LABELS: u8 = 8;
    pub const DYNAMIC_CAPABILITY: u8 = 67;
    pub const MULTISESSION: u8 = 68;
    pub const FQDN: u8 = 73;
    pub const BFD_STRICT_MODE: u8 = 74;
    pub const SOFTWARE_VERSION: u8 = 75;
    pub const PATHS_LIMIT: u8 = 76;
    // Before their standards, and still offered beside them (RFC 8810 §3).
    pub const PRESTANDARD_ROUTE_REFRESH: u8 = 128;
    pub const PRESTANDARD_OUTBOUND_ROUTE_FILTERING: u8 = 130;
    pub const PRESTANDARD_MULTISESSION: u8 = 131;

    /// What operators call a capability, if it has a name here.
    #[must_use]
    pub const fn name(code: u8) -> Option<&'static str> {
        Some(match code {
            MULTIPROTOCOL => "multiprotocol",
            ROUTE_REFRESH => "route-refresh",
            EXTENDED_NEXT_HOP => "extended-next-hop",
            EXTENDED_MESSAGE => "extended-message",
            ROLE => "role",
            GRACEFUL_RESTART => "graceful-restart",
            FOUR_OCTET_ASN => "four-octet-asn",
            ADD_PATH => "add-path",
            ENHANCED_ROUTE_REFRESH => "enhanced-route-refresh",
            LONG_LIVED_GRACEFUL_RESTART => "long-lived-graceful-restart",
            OUTBOUND_ROUTE_FILTERING => "outbound-route-filtering",
            BGPSEC => "bgpsec",
            MULTIPLE_LABELS => "multiple-labels",
            DYNAMIC_CAPABILITY => "dynamic-capability",
            MULTISESSION => "multisession",
            FQDN => "fqdn",
            BFD_STRICT_MODE => "bfd-strict-mode",
            SOFTWARE_VERSION => "software-version",
            PATHS_LIMIT => "paths-limit",
            PRESTANDARD_ROUTE_REFRESH => "prestandard-route-refresh",
            PRESTANDARD_OUTBOUND_ROUTE_FILTERING => "prestandard-outbound-route-filtering",
            PRESTANDARD_MULTISESSION => "prestandard-multisession",
            _ => return None,
        })
    }
}

/// The registry "BGP Error (Notification) Codes".
#[expect(missing_docs, reason = "the names are the RFC's own")]
pub mod error_code {
    pub const MESSAGE_HEADER: u8 = 1;
    pub const OPEN_MESSAGE: u8 = 2;
    pub const UPDATE_MESSAGE: u8 = 3;
    pub const HOLD_TIMER_EXPIRED: u8 = 4;
    pub const FINITE_STATE_MACHINE: u8 = 5;
    pub const CEASE: u8 = 6;
    pub const ROUTE_REFRESH_MESSAGE: u8 = 7;
    pub const SEND_HOLD_TIMER_EXPIRED: u8 = 8;

    /// The registry's name of an error code.
    #[must_use]
    pub const fn name(code: u8) -> Option<&'static str> {
        Some(match code {
            MESSAGE_HEADER => "Message Header Error",
            OPEN_MESSAGE => "OPEN Message Error",
            UPDATE_MESSAGE => "UPDATE Message Error",
            HOLD_TIMER_EXPIRED => "Hold Timer Expired",
            FINITE_STATE_MACHINE => "Finite State Machine Error",
            CEASE => "Cease",
            ROUTE_REFRESH_MESSAGE => "ROUTE-REFRESH Message Error",
            SEND_HOLD_TIMER_EXPIRED => "Send Hold Timer Expired",
            _ => return None,
        })
    }
}

/// The registry "Message Header Error subcodes".
#[expect(missing_docs, reason = "the names are the RFC's own")]
pub mod header_subcode {
    pub const CONNECTION_NOT_SYNCHRONIZED: u8 = 1;
    pub const BAD_MESSAGE_LENGTH: u8 = 2;
    pub const BAD_MESSAGE_TYPE: u8 = 3;
}

/// The registry "OPEN Message Error subcodes".
#[expect(missing_docs, reason = "the names are the RFC's own")]
pub mod open_subcode {
    pub const UNSPECIFIC: u8 = 0;
    pub const UNSUPPORTED_VERSION_NUMBER: u8 = 1;
    pub const BAD_PEER_AS: u8 = 2;
    pub const BAD_BGP_IDENTIFIER: u8 = 3;
    pub const UNSUPPORTED_OPTIONAL_PARAMETER: u8 = 4;
    pub const UNACCEPTABLE_HOLD_TIME: u8 = 6;
    pub const UNSUPPORTED_CAPABILITY: u8 = 7;
    pub const ROLE_MISMATCH: u8 = 11;
}

/// The registry "UPDATE Message Error subcodes".
#[expect(missing_docs, reason = "the names are the RFC's own")]
pub mod update_subcode {
    pub const MALFORMED_ATTRIBUTE_LIST: u8 = 1;
    pub const UNRECOGNIZED_WELL_KNOWN_ATTRIBUTE: u8 = 2;
    pub const MISSING_WELL_KNOWN_ATTRIBUTE: u8 = 3;
    pub const ATTRIBUTE_FLAGS: u8 = 4;
    pub const ATTRIBUTE_LENGTH: u8 = 5;
    pub const INVALID_ORIGIN: u8 = 6;
    pub const INVALID_NEXT_HOP: u8 = 8;
    pub const OPTIONAL_ATTRIBUTE: u8 = 9;
    pub const INVALID_NETWORK_FIELD: u8 = 10;
    pub const MALFORMED_AS_PATH: u8 = 11;
}

/// The registry "BGP Finite State Machine Error Subcodes" (RFC 6608).
#[expect(missing_docs, reason = "the names are the RFC's own")]
pub mod fsm_subcode {
    pub const UNSPECIFIC: u8 = 0;
    pub const UNEXPECTED_MESSAGE_IN_OPEN_SENT: u8 = 1;
    pub const UNEXPECTED_MESSAGE_IN_OPEN_CONFIRM: u8 = 2;
    pub const UNEXPECTED_MESSAGE_IN_ESTABLISHED: u8 = 3;
}

/// The registry "BGP ROUTE-REFRESH Message Error subcodes" (RFC 7313).
#[expect(missing_docs, reason = "the names are the RFC's own")]
pub mod route_refresh_subcode {
    pub const INVALID_MESSAGE_LENGTH: u8 = 1;
}

/// The registry "BGP Cease NOTIFICATION message subcodes" (RFC 4486, RFC 8538, RFC 9384).
#[expect(missing_docs, reason = "the names are the RFC's own")]
pub mod cease_subcode {
    pub const MAXIMUM_NUMBER_OF_PREFIXES_REACHED: u8 = 1;
    pub const ADMINISTRATIVE_SHUTDOWN: u8 = 2;
    pub const PEER_DE_CONFIGURED: u8 = 3;
    pub const ADMINISTRATIVE_RESET: u8 = 4;
    pub const CONNECTION_REJECTED: u8 = 5;
    pub const OTHER_CONFIGURATION_CHANGE: u8 = 6;
    pub const CONNECTION_COLLISION_RESOLUTION: u8 = 7;
    pub const OUT_OF_RESOURCES: u8 = 8;
    pub const HARD_RESET: u8 = 9;
    pub const BFD_DOWN: u8 = 10;
}

/// The registry's name of a NOTIFICATION subcode; none for 0 and for unassigned ones.
#[must_use]
pub fn subcode_name(code: u8, subcode: u8) -> Option<&'static str> {
    let names: &[&str] = match code {
        error_code::MESSAGE_HEADER => {
            &["Connection Not Synchronized", "Bad Message Length", "Bad Message Type"]
        }
        error_code::OPEN_MESSAGE => &[
            "Unsupported Version Number",
            "Bad Peer AS",
            "Bad BGP Identifier",
            "Unsupported Optional Parameter",
            "Authentication Failure",
            "Unacceptable Hold Time",
            "Unsupported Capability",
            "",
            "",
            "",
            "Role Mismatch",
        ],
        error_code::UPDATE_MESSAGE => &[
            "Malformed Attribute List",
            "Unrecognized Well-known Attribute",
            "Missing Well-known Attribute",
            "Attribute Flags Error",
            "Attribute Length Error",
            "Invalid ORIGIN Attribute",
            "AS Routing Loop",
            "Invalid NEXT_HOP Attribute",
            "Optional Attribute Error",
            "Invalid Network Field",
            "Malformed AS_PATH",
        ],
        error_code::FINITE_STATE_MACHINE => &[
            "Receive Unexpected Message in OpenSent State",
            "Receive Unexpected Message in OpenConfirm State",
            "Receive Unexpected Message in Established State",
        ],
        error_code::CEASE => &[
            "Maximum Number of Prefixes Reached",
            "Administrative Shutdown",
            "Peer De-configured",
            "Administrative Reset",
            "Connection Rejected",
            "Other Configuration Change",
            "Connection Collision Resolution",
            "Out of Resources",
            "Hard Reset",
            "BFD Down",
        ],
        error_code::ROUTE_REFRESH_MESSAGE => &["Invalid Message Length"],
        _ => &[],
    };
    let name = names.get(usize::from(subcode).checked_sub(1)?)?;
    (!name.is_empty()).then_some(name)
}

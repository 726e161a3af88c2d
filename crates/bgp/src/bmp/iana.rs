//! Numbers from the IANA registry "[BGP Monitoring Protocol (BMP) Parameters][bmp]".
//!
//! [bmp]: https://www.iana.org/assignments/bmp-parameters

/// The registry "BMP Message Types".
#[expect(missing_docs, reason = "the names are the RFC's own")]
pub mod message_type {
    pub const ROUTE_MONITORING: u8 = 0;
    pub const STATISTICS_REPORT: u8 = 1;
    pub const PEER_DOWN: u8 = 2;
    pub const PEER_UP: u8 = 3;
    pub const INITIATION: u8 = 4;
    pub const TERMINATION: u8 = 5;
    pub const ROUTE_MIRRORING: u8 = 6;
}

/// The registry "BMP Peer Types".
#[expect(missing_docs, reason = "the names are the RFC's own")]
pub mod peer_type {
    pub const GLOBAL_INSTANCE: u8 = 0;
    pub const RD_INSTANCE: u8 = 1;
    pub const LOCAL_INSTANCE: u8 = 2;
    pub const LOC_RIB_INSTANCE: u8 = 3;
}

/// The registries "BMP Peer Flags for Peer Types 0 through 2" and "… for Loc-RIB Instance Peer
/// Type 3".
pub mod peer_flag {
    /// V: the peer's address is of IPv6.
    pub const IPV6: u8 = 0x80;
    /// L: after policy.
    pub const POST_POLICY: u8 = 0x40;
    /// A: AS numbers in AS_PATH take two octets.
    pub const LEGACY_AS_PATH: u8 = 0x20;
    /// O: the Adj-RIB-Out (RFC 8671 §4).
    pub const ADJ_RIB_OUT: u8 = 0x10;
    /// F: the Loc-RIB is not told whole (RFC 9069 §4.2).
    pub const FILTERED: u8 = 0x80;
}

/// The registries of TLVs in Initiation and Peer Up messages, which share their numbers.
#[expect(missing_docs, reason = "the names are the RFC's own")]
pub mod information {
    pub const STRING: u16 = 0;
    pub const SYS_DESCR: u16 = 1;
    pub const SYS_NAME: u16 = 2;
    /// RFC 9069 §4.4.
    pub const TABLE_NAME: u16 = 3;
}

/// The registry "BMP Termination Message TLVs".
#[expect(missing_docs, reason = "the names are the RFC's own")]
pub mod termination {
    pub const STRING: u16 = 0;
    pub const REASON: u16 = 1;
}

/// The registry "BMP Termination Message Reason Codes".
#[expect(missing_docs, reason = "the names are the RFC's own")]
pub mod termination_reason {
    pub const ADMINISTRATIVELY_CLOSED: u16 = 0;
    pub const UNSPECIFIED: u16 = 1;
    pub const OUT_OF_RESOURCES: u16 = 2;
    pub const REDUNDANT_CONNECTION: u16 = 3;
    pub const PERMANENTLY_CLOSED: u16 = 4;
}

/// The registry "BMP Peer Down Reason Codes".
#[expect(missing_docs, reason = "the names are the RFC's own")]
pub mod peer_down {
    pub const LOCAL_NOTIFICATION: u8 = 1;
    pub const LOCAL_NO_NOTIFICATION: u8 = 2;
    pub const REMOTE_NOTIFICATION: u8 = 3;
    pub const REMOTE_NO_DATA: u8 = 4;
    pub const DECONFIGURED: u8 = 5;
    pub const LOCAL_SYSTEM_CLOSED: u8 = 6;
}

/// Events of RFC 4271 §8.1 that a Peer Down of reason 2 names.
#[expect(missing_docs, reason = "the names are the RFC's own")]
pub mod fsm_event {
    pub const TCP_CONNECTION_FAILS: u16 = 18;
}

/// The registry "BMP Statistics Types".
#[expect(missing_docs, reason = "the names are the registry's own, in short")]
pub mod statistic {
    pub const REJECTED_PREFIXES: u16 = 0;
    pub const DUPLICATE_ANNOUNCEMENTS: u16 = 1;
    pub const DUPLICATE_WITHDRAWALS: u16 = 2;
    pub const CLUSTER_LIST_LOOPS: u16 = 3;
    pub const AS_PATH_LOOPS: u16 = 4;
    pub const ORIGINATOR_LOOPS: u16 = 5;
    pub const CONFED_LOOPS: u16 = 6;
    pub const ADJ_RIB_IN_ROUTES: u16 = 7;
    pub const LOC_RIB_ROUTES: u16 = 8;
    pub const FAMILY_ADJ_RIB_IN_ROUTES: u16 = 9;
    pub const FAMILY_LOC_RIB_ROUTES: u16 = 10;
    pub const UPDATES_TREATED_AS_WITHDRAW: u16 = 11;
    pub const PREFIXES_TREATED_AS_WITHDRAW: u16 = 12;
    pub const DUPLICATE_UPDATES: u16 = 13;
    /// RFC 8671 §6.2.
    pub const ADJ_RIB_OUT_PRE_ROUTES: u16 = 14;
    pub const ADJ_RIB_OUT_POST_ROUTES: u16 = 15;
    pub const FAMILY_ADJ_RIB_OUT_PRE_ROUTES: u16 = 16;
    pub const FAMILY_ADJ_RIB_OUT_POST_ROUTES: u16 = 17;
}

/// The registry "BMP Route Mirroring TLVs".
#[expect(missing_docs, reason = "the names are the RFC's own")]
pub mod mirroring {
    pub const BGP_MESSAGE: u16 = 0;
    pub const INFORMATION: u16 = 1;
}

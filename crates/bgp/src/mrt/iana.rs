//! Numbers from the IANA registry "[Multi-threaded Routing Toolkit (MRT)][mrt]".
//!
//! [mrt]: https://www.iana.org/assignments/mrt

/// The registry "MRT Types", as far as this code knows them.
#[expect(missing_docs, reason = "the names are the RFC's own")]
pub mod record_type {
    /// The older form of TABLE_DUMP_V2, with AS numbers of two octets. Its subtypes are AFIs.
    pub const TABLE_DUMP: u16 = 12;
    pub const TABLE_DUMP_V2: u16 = 13;
    pub const BGP4MP: u16 = 16;
    /// The same as BGP4MP (16), with microseconds.
    pub const BGP4MP_ET: u16 = 17;
}

/// The registry "TABLE_DUMP_V2 Subtype Codes".
#[expect(missing_docs, reason = "the names are the RFC's own")]
pub mod table_dump_v2 {
    pub const PEER_INDEX_TABLE: u16 = 1;
    pub const RIB_IPV4_UNICAST: u16 = 2;
    pub const RIB_IPV6_UNICAST: u16 = 4;
    /// RFC 8050 §4.
    pub const RIB_IPV4_UNICAST_ADDPATH: u16 = 8;
    pub const RIB_IPV6_UNICAST_ADDPATH: u16 = 10;
}

/// The registry "BGP4MP Subtype Codes".
#[expect(missing_docs, reason = "the names are the RFC's own")]
pub mod bgp4mp {
    pub const STATE_CHANGE: u16 = 0;
    pub const MESSAGE: u16 = 1;
    pub const MESSAGE_AS4: u16 = 4;
    pub const STATE_CHANGE_AS4: u16 = 5;
    /// RFC 8050 §3.
    pub const MESSAGE_ADDPATH: u16 = 8;
    pub const MESSAGE_AS4_ADDPATH: u16 = 9;
}

/// Bits of a peer's type in PEER_INDEX_TABLE (RFC 6396 §4.3.1).
pub mod peer_type {
    /// Its address is of IPv6.
    pub const IPV6: u8 = 0x01;
    /// Its AS number takes four octets.
    pub const AS4: u8 = 0x02;
}

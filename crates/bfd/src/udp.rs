//! How Control packets travel in UDP: what the driver must set on its sockets and check on what
//! arrives, since a session sees neither ports nor TTLs.
//!
//! - A packet that names a discriminator of ours belongs to that session and to no other. Only one
//!   whose Your Discriminator is zero is matched by its addresses and, over a single hop, by the
//!   interface that it came in on (RFC 5881 §3, RFC 5883 §4).
//! - All packets of a session leave from one source port in [`SOURCE_PORTS`], which no other
//!   session of the machine should use (RFC 5881 §4).

use std::ops::RangeInclusive;

/// Where packets of a single-hop session are sent to (RFC 5881 §4).
pub const SINGLE_HOP_PORT: u16 = 3784;

/// Where packets of a multihop session are sent to (RFC 5883 §5).
pub const MULTIHOP_PORT: u16 = 4784;

/// Where packets may come from (RFC 5881 §4).
pub const SOURCE_PORTS: RangeInclusive<u16> = 49152..=65535;

/// The TTL or Hop Limit of every packet that we send. Over a single hop it is also what every
/// packet must arrive with, or the driver drops it: such a packet crossed a router and can be
/// anyone's (RFC 5881 §5, GTSM). Over several hops there is no such check.
pub const GTSM_TTL: u8 = 255;

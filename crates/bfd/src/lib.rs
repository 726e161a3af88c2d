//! Bidirectional Forwarding Detection (RFC 5880) in asynchronous mode, over a single hop
//! (RFC 5881) or several (RFC 5883), without sockets, tasks, clocks or randomness.
//!
//! | module | what it is |
//! |---|---|
//! | [`packet`] | octets ↔ Control packets, refused as §6.8.6 says |
//! | [`session`] | the state machine of one neighbor, its timers and poll sequences |
//! | [`iana`] | states, diagnostics, authentication types |
//! | [`udp`] | the ports and the TTL that the driver must use and check |
//! | [`time`] | time as an argument |
//!
//! Not here: authentication (§6.7; a packet that carries it is refused), the Echo function (we
//! say that we want none) and Demand mode for ourselves (a neighbor may ask for it and is obeyed).

pub mod iana;
pub mod packet;
pub mod session;
pub mod time;
pub mod udp;

pub use iana::{AuthenticationType, Diagnostic, State};
pub use packet::{Control, Exchange, Interval, PacketError};
pub use session::{Carried, Config, Counters, Event, Refused, Remote, Session, Status};
pub use time::Instant;

//! From verdicts to what is announced, without sockets, tasks, clocks or randomness.
//!
//! | module | what it is |
//! |---|---|
//! | [`spec`] | what there is to steer: services with their checks, prefixes with their rule |
//! | [`verdict`] | one check's run of passes and failures against its thresholds |
//! | [`steer`] | the state machine: outcomes in, announcements and withdrawals out |
//! | [`status`] | the read-only view of it all |
//! | [`time`] | time as a duration since the driver's start |
//!
//! The driver runs the checks, feeds [`Steer::handle_result`] and [`Steer::handle_gone`], and
//! after each drains [`Steer::poll_action`]. Every action has a cause, and none is given twice.

pub mod spec;
pub mod status;
pub mod steer;
pub mod time;
pub mod verdict;

pub use spec::{CheckSpec, PrefixSpec, Require, ServiceSpec, SpecError, Thresholds};
pub use status::{CheckStatus, PrefixStatus, ServiceStatus, Status};
pub use steer::{Action, Outcome, Steer};
pub use time::Instant;
pub use verdict::Verdict;

//! From verdicts to what is announced, without sockets, tasks, clocks or randomness.
//!
//! | module | what it is |
//! |---|---|
//! | [`spec`] | what there is to steer: services with their checks, prefixes with their rules |
//! | [`verdict`] | one check's run of passes and failures against its thresholds |
//! | [`penalty`] | damping: what falls too often stays down for a while |
//! | [`manner`] | what an announcement carries: prepends, MED, communities |
//! | [`drain`] | an operator's drains and their stages |
//! | [`shed`] | load shed by steps |
//! | [`floor`] | how many sites must go on announcing, and who may stop |
//! | [`clerk`] | a site's side of what the fleet's sites share: who is there, and permits |
//! | [`steer`] | the state machine: everything above in, announcements and questions out |
//! | [`status`] | the read-only view of it all |
//! | [`time`] | time as a duration since the driver's start |
//!
//! The driver runs the checks, feeds the `handle_*` functions of [`Steer`], calls
//! [`Steer::handle_timeout`] at [`Steer::poll_timeout`], and after each drains
//! [`Steer::poll_action`]. Every action has a cause, and none is given twice.

pub mod clerk;
pub mod drain;
pub mod floor;
pub mod manner;
pub mod penalty;
mod prefix;
mod service;
pub mod shed;
pub mod spec;
pub mod status;
pub mod steer;
pub mod time;
pub mod verdict;
mod wish;

pub use clerk::Clerk;
pub use drain::{Drain, Stage, Target};
pub use floor::{Bound, FleetView, FloorSpec, Ledger, Member, Record, WhenAlone};
pub use manner::Manner;
pub use penalty::Damping;
pub use shed::{ShedSpec, ShedStep};
pub use spec::{
    CheckSpec, Effect, Leaving, PrefixSpec, Require, Response, ServiceSpec, Spec, SpecError,
    Thresholds,
};
pub use status::{
    CheckStatus, DrainStatus, PrefixStatus, Reason, ReasonKind, ServiceStatus, Status,
};
pub use steer::{Action, Answer, Change, Outcome, Steer};
pub use time::Instant;
pub use verdict::Verdict;

//! The daemon of one site.
//!
//! | module | what it is |
//! |---|---|
//! | [`check`] | health checks, once and again |
//! | [`whoami`] | the built-in service that tells a client which site it reached |

#![allow(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    reason = "floor 3: the daemon is where sockets, tasks and the clock belong"
)]

pub mod check;
pub mod whoami;

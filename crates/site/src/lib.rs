//! The daemon of one site.
//!
//! | module | what it is |
//! |---|---|
//! | [`daemon`] | the loop: probes → verdicts → steering → speaker |
//! | [`check`] | health checks, once and again |
//! | [`watch`] | a local service's death as an event |
//! | [`affinity`] | connections kept at the site that they began at |
//! | [`address`] | service addresses on the loopback interface |
//! | [`builtin`] | built-in services as child processes |
//! | [`whoami`] | the built-in service that tells a client which site it reached |
//! | [`control`], [`client`], [`status`] | the control socket, who asks it, and what it tells |
//! | `api` | the same over TCP, with TLS |
//! | [`fleet_state`] | what the fleet's sites share: who is there, and permits to withdraw |
//! | [`rpki`] | what the RPKI says of the site's own prefixes |
//! | `confirmed` | the fleet that is confirmed while the file says something else, over restarts |
//! | `disabled` | neighbors that operators have disabled, over restarts |
//! | [`drain`] | drains as operators order them, and over restarts |
//! | [`events`] | what happened |
//! | [`handover`] | another program in this one's place |
//! | [`overview`] | the site on one screen, and why a prefix is as it is |
//! | [`state`] | where that and more is kept |

#![allow(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    reason = "floor 3: the daemon is where sockets, tasks and the clock belong"
)]

pub mod address;
pub mod affinity;
mod announce;
mod api;
pub mod builtin;
pub mod check;
pub mod client;
mod confirmed;
pub mod control;
pub mod daemon;
mod dead_man;
mod disabled;
pub mod drain;
pub mod events;
pub mod fleet_state;
mod guard;
pub mod handover;
mod looking_glass;
mod metrics;
mod notify;
pub mod overview;
pub mod reload;
pub mod rpki;
pub mod state;
pub mod status;
mod steering;
mod traffic;
mod translate;
pub mod upgrade;
pub mod watch;
pub mod whoami;

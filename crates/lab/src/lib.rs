//! Placeholder.

#![allow(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    reason = "the lab is floor 3: it has a clock, sockets and threads"
)]

pub mod netlink;
pub mod netns;
pub mod plan;
pub mod sandbox;
mod sys;
pub mod wire;
pub mod world;

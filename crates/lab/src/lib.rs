//! Placeholder.

pub mod plan;
pub mod world;

//! What the benches share: figures, processes, labs, and a world that peers can run too.
//!
//! Each program in `src/bin` measures one thing and prints it beside a peer where there is one,
//! measured in the same run, as a ratio. benches/README.md has the figures. Nothing here is a
//! test: a figure that misses its goal is printed, not failed.

#![allow(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    reason = "measuring is reading clocks and starting processes"
)]

pub mod checkers;
pub mod feeder;
pub mod figures;
pub mod full_table;
pub mod lab;
pub mod processes;
pub mod small_world;
pub mod speakers;

/// What a bench ends with if it cannot measure.
pub type Failure = Box<dyn std::error::Error>;

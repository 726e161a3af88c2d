//! The program as its users start it: files in, processes, exit codes and words out.
//!
//! What needs a lab runs as root and as an ordinary user, see [`program::as_each_user`].
#![allow(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    reason = "these tests are about processes, sockets and time"
)]

mod program;

mod affinity;
mod bfd;
mod check;
mod checks;
mod dead_man;
mod drain;
mod floor;
mod hostile;
mod interop;
mod lab;
mod matrix;
mod operator;
mod order;
mod overload;
mod plan;
mod quic;
mod reload;
mod rpki;
mod see;
mod site;
mod upgrade;
mod wire;

//! Keeps a connection at the site that it was opened at, its *owner*, whatever routes do.
//!
//! A route change in mid-connection makes its packets arrive at a site that has never heard of it.
//! The programs of this crate send such a packet on to its owner, wrapped in UDP; the owner's
//! answer goes straight to the client. There is no flow table and no shared state: a server's TCP
//! timestamps (and the connection ids of QUIC) carry the owner's id, and the client sends it back in
//! each packet.
//!
//! - [`Config`] says what a site needs to know; [`Affinity`] loads the programs and keeps them loaded.
//! - [`model`] is what the programs do, once more, in plain Rust; tests hold one against the other.
//! - [`quic_lb`] makes and reads connection ids that name their owner.
//!
//! The programs lie in `bpf/`, in C, because a stable toolchain builds no packet programs in Rust.
//! What travels between sites is described in `docs/affinity-wire.md`.
//!
//! It is for Linux 6.6 and later.

mod aes_tables;
mod config;
mod counters;
mod interfaces;
mod layout;
mod load;
pub mod model;
pub mod quic_lb;
mod siphash;
mod tables;
#[doc(hidden)]
pub mod testing;

pub use config::{
    Budgets, Config, ConfigError, Key, MAX_SERVICES, Mode, Peer, Rate, ServiceAddress, SiteId,
};
pub use counters::{Counters, Reason, SiteCounters};
pub use interfaces::uppermost;
pub use load::{Affinity, Hook, LoadError, pass_program};

/// The UDP port that frames travel to, unless a fleet chooses another.
pub const DEFAULT_PORT: u16 = 5687;

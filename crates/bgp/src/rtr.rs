//! The RPKI to Router protocol, as the router: RFC 6810 (version 0), RFC 8210 (version 1) and
//! draft-ietf-sidrops-8210bis (version 2).
//!
//! A [`Client`] keeps the VRPs of one cache. It owns no socket and no clock; see its methods.
//! Which of several caches counts is for its owner to say.

mod client;
mod pdu;
#[cfg(test)]
mod tests;

pub use client::{Action, Client, Phase, Session};
pub use pdu::{ErrorCode, Fault, Pdu, Timing, VERSION};

//! BGP-4 (RFC 4271) without sockets, tasks, clocks or randomness.
//!
//! | module | what it is |
//! |---|---|
//! | [`message`] | octets ↔ messages, every fault as its NOTIFICATION code |
//! | [`attribute`], [`as_path`], [`community`], [`list`] | what a route carries |
//! | [`bmp`], [`mrt`] | what monitoring stations and files are told of all this |
//! | [`session`] | the state machine of one neighbor, with collision handling |
//! | [`role`], [`otc`] | what the ends of a session are to each other, and route leaks |
//! | [`policy`] | ordered rules; what no rule accepts is rejected (RFC 8212) |
//! | [`decision`] | which of several routes is best, and why |
//! | [`rov`] | who may originate which prefix, as the RPKI says (RFC 6811) |
//! | [`rtr`] | how VRPs come from a cache (RFC 8210) |
//! | [`rib`] | Adj-RIB-In, Loc-RIB and Adj-RIB-Out of one speaker |

pub mod as_path;
pub mod asn;
pub mod attribute;
pub mod bmp;
pub mod community;
pub mod decision;
pub mod iana;
pub mod list;
pub mod message;
pub mod mrt;
pub mod otc;
pub mod policy;
pub mod retention;
pub mod rib;
pub mod role;
pub mod rov;
pub mod rtr;
pub mod session;
pub mod time;

pub use as_path::AsPath;
pub use asn::Asn;
pub use attribute::{Attributes, NextHop, Origin};
pub use community::{Community, ExtendedCommunity, LargeCommunity};
pub use iana::{Family, FamilySet};
pub use ipnet::IpNet;
pub use list::List;
pub use role::Role;

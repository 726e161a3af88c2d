//! The fleet file: from TOML to checked types.
//!
//! | module | what it is |
//! |---|---|
//! | [`model`] | the checked types: what a sound file says |
//! | [`policy`] | the BGP policies that a neighbor's words stand for |
//! | [`iana`] | DNS numbers that checks name |

pub mod iana;
pub mod model;
pub mod policy;

pub use anycast_bgp::policy::relation::Relation;
pub use model::{
    Builtin, Check, Coordinates, ExportPolicy, Fleet, ImportPolicy, NamedPolicy, Neighbor, Prefix,
    Probe, Service, Site, Transport,
};

//! The fleet file: from TOML to checked types. docs/fleet.md is its reference.
//!
//! | module | what it is |
//! |---|---|
//! | [`model`] | the checked types: what a sound file says |
//! | [`check`] | the health checks of a service |
//! | [`affinity`] | how connections are kept at their sites |
//! | [`api`] | who may ask and order a site over TCP |
//! | [`policy`] | the BGP policies that a neighbor's words stand for |
//! | [`steering`] | the fleet's services and prefixes as `steer` takes them |
//! | [`difference`](mod@difference) | what a changed file changes at a site, in words |
//! | [`report`] | what reading a file gives: a fleet, or what is wrong; as text and as JSON |
//! | [`problem`] | one thing that is wrong |
//! | [`floor`] | where the sites share who announces what |
//! | [`file`](mod@file) | the file on disk, and the secrets that it refers to |
//! | [`city`] | where cities are |
//! | [`iana`] | DNS numbers that checks name |
//! | [`section`], [`value`] | one table and one value of any such file; world files use them too |
//!
//! Inside, `read` walks the file, and `lint` holds the rules across it. Nothing stops at the first
//! problem.

pub mod affinity;
pub mod api;
pub mod check;
pub mod city;
pub mod difference;
pub mod file;
pub mod floor;
pub mod iana;
mod lint;
pub mod model;
pub mod policy;
pub mod problem;
mod read;
pub mod report;
pub mod section;
pub mod steering;
pub mod value;

pub use affinity::{Affinity, AffinityKey, AffinityMode, Kept, SiteAffinity};
pub use anycast_bgp::policy::relation::Relation;
pub use check::{Check, DnsData, Probe, Transport};
pub use city::City;
pub use difference::{Change, Difference, Effect, Subject, difference};
pub use file::{ReadError, read, read_text, read_with_vrps};
pub use floor::{Credentials, FleetState};
pub use model::{
    AoAlgorithm, AtLimit, Bfd, BmpStation, BmpTable, Builtin, Coordinates, ExportPolicy, Fleet,
    ImportPolicy, Limits, MaxPrefixes, Mrt, NamedPolicy, Neighbor, NeighborRef, Offers, PolicyRule,
    Prefix, Quic, Rpki, Service, Site, TcpAo,
};
pub use policy::Told;
pub use problem::{Problem, Severity, Span};
pub use report::{Report, parse, render, to_json};

//! Drives the pure [`anycast_bgp`] on real sockets and puts routes in the kernel.
//!
//! One task owns the sessions and the tables of one speaker; each TCP connection has a task that
//! only moves octets, and BFD has a thread of its own. A site runs one speaker; the lab runs one
//! for each of its routers, each in a network namespace of its own (see [`Place`]).

#![allow(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    reason = "floor 2: this crate is where BGP meets clocks and sockets"
)]

mod addresses;
mod bfd;
mod bmp;
mod config;
mod connection;
mod driver;
mod faults;
mod gtsm;
mod handle;
mod handover;
mod kernel;
mod limits;
mod listeners;
mod monitor;
mod mrt;
mod peer;
mod peers;
mod rpki;
mod sched;
mod scope;
mod sockopt;
mod speaker;

pub use bfd::BfdStatus;
pub use bmp::{Station, StationStatus, Tables};
pub use config::{
    AoAlgorithm, AtLimit, Bfd, Config, Here, Igp, IgpRoute, Limits, Neighbor, Offer, Password,
    Place, TcpAo,
};
pub use handle::{
    CapabilityWords, ChangeError, CounterRow, Done, ExplainReport, ExplainRow, FoundRoute, Handle,
    LimitsRow, LookError, NeighborOrder, NeighborStatus, NotificationRow, OrderError, OriginCounts,
    RouteLook, RouteRow, RouteStream, RouteSubject, RouteTable, Told, UnknownNeighbor,
};
pub use handover::{HandedBfd, HandedOver, HandedSession};
pub use mrt::{TableDump, Updates};
pub use rpki::{Rpki, RpkiConfig, RpkiEvent, RpkiSource};
pub use speaker::{BindError, Speaker, SpeakerEvent};

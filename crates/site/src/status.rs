//! What the control socket tells: the JSON of `anycast show … --json`.

use std::net::IpAddr;

use anycast_bgp::Asn;
pub use anycast_speaker::{NeighborOrder, NeighborStatus, NotificationRow};
use serde::{Deserialize, Serialize};

pub use crate::drain::{ClearOrder, DrainOrder, DrainRow, UndrainOrder};

/// One row of `show sites`.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct SiteRow {
    /// The site's name.
    pub name: String,
    /// Where it is.
    pub city: Option<String>,
    /// The ASN from which it announces.
    pub asn: Asn,
    /// How many neighbors the file gives it.
    pub neighbors: usize,
    /// Whether it is the site that answers; of the others only the file is known.
    pub this: bool,
    /// `starting`, `running` or `stopping`; of other sites `None`.
    pub state: Option<String>,
    /// How far a drain of the site is: `leaving`, `withdrawing` or `drained`; `None`: there is
    /// none, or it is another site.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub drain: Option<String>,
    /// Prefixes announced now; of other sites `None`.
    pub announced: Option<Vec<String>>,
    /// Sessions that are Established; of other sites `None`.
    pub established: Option<usize>,
    /// Seconds since the daemon's start; of other sites `None`.
    pub uptime_seconds: Option<f64>,
    /// What an operator should know: a reload waits for its confirmation, or was taken back.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub warning: Option<String>,
}

/// One row of `show services`.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct ServiceRow {
    /// The service's name.
    pub name: String,
    /// Its addresses.
    pub addresses: Vec<IpAddr>,
    /// What serves it: `whoami`, or `external`.
    pub served_by: String,
    /// The process of a built-in service, while there is one.
    pub pid: Option<u32>,
    /// `unproven`, `up` or `down`.
    pub state: String,
    /// Seconds since it is so.
    pub since_seconds: f64,
    /// How far a drain of it is: `leaving`, `withdrawing` or `drained`; `None`: there is none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub drain: Option<String>,
    /// Why it is not up.
    pub why: Option<String>,
    /// Its checks.
    pub checks: Vec<CheckRow>,
}

/// One check of a service.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct CheckRow {
    /// The check's name.
    pub name: String,
    /// `unproven`, `up` or `down`.
    pub state: String,
    /// Passes in a row.
    pub passes: u32,
    /// Failures in a row.
    pub fails: u32,
    /// The last failure in words, whenever it was.
    pub last_failure: Option<String>,
}

/// One prefix, as part of `show services`.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct PrefixRow {
    /// The prefix.
    pub prefix: String,
    /// What it stands for.
    pub services: Vec<String>,
    /// How many of these must be up.
    pub require: String,
    /// Whether it is announced.
    pub announced: bool,
    /// Seconds since it is so.
    pub since_seconds: f64,
    /// Why it is not announced.
    pub why: Option<String>,
    /// What the RPKI says of it as we announce it: `valid`, `not-found` or `invalid`; `None`:
    /// there are no VRPs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rpki: Option<String>,
}

/// The whole of `show services`.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct ServicesReport {
    /// The services in the file's order.
    pub services: Vec<ServiceRow>,
    /// The prefixes in the file's order.
    pub prefixes: Vec<PrefixRow>,
    /// BGP sessions that are Established: without any, nobody hears what is announced.
    pub sessions_up: usize,
}

/// An instruction to prepend: `POST /v1/prepend`.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct PrependOrder {
    /// Times beyond what the file says.
    pub count: u8,
    /// Towards this neighbor; `None`: all.
    pub neighbor: Option<String>,
}

/// One neighbor: a row of `show neighbors`, and all of `show neighbors NAME`.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct NeighborRow {
    /// What the speaker knows.
    #[serde(flatten)]
    pub session: NeighborStatus,
    /// What the fleet file says besides.
    #[serde(default)]
    pub file: NeighborInFile,
}

/// What the fleet file says of a neighbor, in its words.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
pub struct NeighborInFile {
    /// `provider`, `peer` or `customer`.
    pub relation: Option<String>,
    /// What is taken from it.
    pub import: String,
    /// What it is told.
    pub export: String,
    /// How often our ASN is prepended beyond the usual once, an operator's order included.
    pub prepend: u8,
    /// How far a drain of it or of the site is: `leaving`, `withdrawing` or `drained`; `None`:
    /// there is none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub drain: Option<String>,
}

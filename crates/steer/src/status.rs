//! The read-only view of steering, for `anycast status`, `why` and `show`, metrics and the page.

use ipnet::IpNet;
use serde::Serialize;

use crate::drain::Stage;
use crate::{Drain, Instant, Manner, Require, Verdict};

/// Everything at one moment.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Status {
    /// In the order of the specification.
    pub services: Vec<ServiceStatus>,
    /// In the order of the specification.
    pub prefixes: Vec<PrefixStatus>,
    /// In the order in which operators began them.
    pub drains: Vec<DrainStatus>,
    /// When the fleet's shared state was last heard of.
    pub fleet_heard: Option<Instant>,
}

/// One service.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ServiceStatus {
    /// Its name.
    pub name: String,
    /// What is held of it.
    pub verdict: Verdict,
    /// Since when.
    pub since: Instant,
    /// Why it is not up.
    pub why: Option<String>,
    /// Its penalty for falling; a fall costs 1000.
    pub penalty: f64,
    /// Until when it is kept down although its checks pass.
    pub damped_until: Option<Instant>,
    /// Its checks.
    pub checks: Vec<CheckStatus>,
}

/// One check.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct CheckStatus {
    /// Its name.
    pub name: String,
    /// What is held of it.
    pub verdict: Verdict,
    /// Since when.
    pub since: Instant,
    /// Passes in a row.
    pub passes: u32,
    /// Failures in a row.
    pub fails: u32,
    /// What the last failure said, even if passes followed.
    pub last_failure: Option<String>,
}

/// One prefix.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct PrefixStatus {
    /// The prefix.
    pub prefix: IpNet,
    /// The services that it stands for.
    pub services: Vec<String>,
    /// How many of them must be up.
    pub require: Require,
    /// Whether any neighbor is told of it.
    pub announced: bool,
    /// Since when.
    pub since: Instant,
    /// Why it is not announced, or not plainly: the reasons in one line.
    pub why: Option<String>,
    /// How each neighbor is told, in the order of the specification; `None`: not at all.
    pub told: Vec<(String, Option<Manner>)>,
    /// All that keeps it from being announced plainly to all, the first cause first.
    pub reasons: Vec<Reason>,
    /// Why it is announced although it should not be: the fleet's floor.
    pub held: Option<String>,
    /// Its penalty for being withdrawn; each withdrawal for its services' sake costs 1000.
    pub penalty: f64,
    /// Until when it is kept withdrawn although its services are up.
    pub damped_until: Option<Instant>,
    /// Steps of shedding taken.
    pub shed_level: usize,
}

/// What keeps a prefix from being announced plainly to all.
#[derive(Clone, Debug, Eq, PartialEq, Serialize)]
pub struct Reason {
    /// Of what kind.
    pub kind: ReasonKind,
    /// In words.
    pub text: String,
}

/// The kinds of reasons.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum ReasonKind {
    /// Too few of its services are up.
    Services,
    /// Some of its services are down.
    Degraded,
    /// It was withdrawn too often.
    Damping,
    /// An operator drains.
    Drain,
    /// Load is shed.
    Shed,
    /// The fleet's floor: it is still announced.
    Floor,
    /// The site is stopping.
    Stopping,
    /// It is no longer in the fleet file.
    Removed,
}

/// One drain.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct DrainStatus {
    /// What the operator wants.
    #[serde(flatten)]
    pub drain: Drain,
    /// How far it is.
    #[serde(flatten)]
    pub stage: Stage,
    /// When the operator began it.
    pub since: Instant,
}

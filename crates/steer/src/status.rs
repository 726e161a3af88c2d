//! The read-only view of steering, for `show services`, metrics and the page.

use ipnet::IpNet;
use serde::Serialize;

use crate::{Instant, Require, Verdict};

/// Everything at one moment.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Status {
    /// In the order of the specification.
    pub services: Vec<ServiceStatus>,
    /// In the order of the specification.
    pub prefixes: Vec<PrefixStatus>,
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
    /// Whether neighbors are told of it.
    pub announced: bool,
    /// Since when.
    pub since: Instant,
    /// Why it is not announced.
    pub why: Option<String>,
}

//! The JSON of `anycast upgrade`.

use serde::{Deserialize, Serialize};

/// What is asked of a site.
#[derive(Clone, Copy, Debug, Default, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct UpgradeOrder {
    /// Only try whether the program is fit for it.
    pub dry_run: bool,
}

/// What a site does about it.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
pub struct UpgradeReport {
    /// The program that takes this one's place.
    pub program: String,
    /// What it calls itself.
    pub version: String,
    /// What runs now.
    pub running: String,
    /// Neighbors whose sessions are to go on.
    pub keeps: Vec<String>,
    /// Neighbors whose sessions are reset, as `graceful-restart` is off for them.
    pub resets: Vec<String>,
    /// The last event before it.
    pub after: u64,
}

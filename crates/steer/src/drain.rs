//! An operator's drains: lead traffic away, withdraw, serve on.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::Instant;

/// What is drained.
#[derive(Clone, Debug, Deserialize, Eq, Ord, PartialEq, PartialOrd, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Target {
    /// The whole site: every prefix, from every neighbor.
    Site,
    /// A service: the prefixes that cannot do without it.
    Service(String),
    /// A neighbor: every prefix, from it alone.
    Neighbor(String),
}

/// What an operator wants.
#[derive(Clone, Debug, Eq, PartialEq, Serialize)]
pub struct Drain {
    /// What is drained.
    pub target: Target,
    /// When it ends by itself; `None`: when an operator ends it.
    pub until: Option<Instant>,
    /// Withdraw without leading traffic away first.
    pub now: bool,
    /// Withdraw even if the fleet falls below its floor.
    pub force: bool,
    /// Why, in the operator's words; may be empty.
    pub reason: String,
}

/// How far a drain has come.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case", tag = "stage")]
pub enum Stage {
    /// What is announced is made unattractive, until the traffic has fallen or the time is up.
    Leaving {
        /// The end of the waiting.
        ends: Instant,
    },
    /// To be withdrawn; it is not yet while the fleet's floor forbids it.
    Withdrawing,
    /// Withdrawn; what still comes is served.
    Drained,
}

/// A drain under way.
#[derive(Clone, Debug)]
pub(crate) struct Draining {
    pub(crate) drain: Drain,
    pub(crate) stage: Stage,
    pub(crate) since: Instant,
    traffic: Traffic,
}

/// Traffic has fallen when it is a twentieth of what it was, or less than this.
const QUIET: f64 = 1.0;
const SHARE: f64 = 0.05;
/// So many readings in a row must say so.
const READINGS: u8 = 2;

#[derive(Clone, Copy, Debug, Default)]
struct Traffic {
    first: Option<f64>,
    low: u8,
}

impl Draining {
    pub(crate) fn new(drain: Drain, stage: Stage, now: Instant) -> Self {
        Self { drain, stage, since: now, traffic: Traffic::default() }
    }

    /// Takes in packets per second; returns whether traffic has fallen.
    pub(crate) fn has_fallen(&mut self, reading: f64) -> bool {
        let first = *self.traffic.first.get_or_insert(reading);
        let low = reading < QUIET || reading <= first * SHARE;
        self.traffic.low = if low { self.traffic.low.saturating_add(1) } else { 0 };
        self.traffic.low >= READINGS
    }
}

impl Stage {
    /// Whether traffic has had its time to go.
    pub(crate) const fn is_left(self) -> bool {
        matches!(self, Self::Withdrawing | Self::Drained)
    }

    /// The word for it.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Leaving { .. } => "leaving",
            Self::Withdrawing => "withdrawing",
            Self::Drained => "drained",
        }
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Site => f.write_str("site"),
            Self::Service(name) => write!(f, "service {name}"),
            Self::Neighbor(name) => write!(f, "neighbor {name}"),
        }
    }
}

/// As it is shown.
impl FromStr for Target {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text.split_once(' ') {
            None if text == "site" => Ok(Self::Site),
            Some(("service", name)) => Ok(Self::Service(name.to_owned())),
            Some(("neighbor", name)) => Ok(Self::Neighbor(name.to_owned())),
            _ => Err(format!("{text:?} is neither site nor service NAME nor neighbor NAME")),
        }
    }
}

/// As part of a sentence: `an operator drains the site: new disks`.
impl fmt::Display for Drain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let article = if self.target == Target::Site { "the " } else { "" };
        write!(f, "an operator drains {article}{}", self.target)?;
        if !self.reason.is_empty() {
            write!(f, ": {}", self.reason)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn traffic_has_fallen_after_two_low_readings_in_a_row() {
        // Readings, and after which of them it has fallen.
        let table: &[(&[f64], Option<usize>)] = &[
            (&[0.0, 0.0], Some(1)),
            (&[1000.0, 900.0, 51.0, 51.0], None),
            (&[1000.0, 50.0, 50.0], Some(2)),
            (&[1000.0, 50.0, 400.0, 50.0, 10.0], Some(4)),
            (&[5.0, 0.9, 0.9], Some(2)),
        ];
        for (readings, fallen) in table {
            let drain = Drain {
                target: Target::Site,
                until: None,
                now: false,
                force: false,
                reason: String::new(),
            };
            let mut draining = Draining::new(drain, Stage::Withdrawing, Instant::START);
            let at = readings.iter().position(|&reading| draining.has_fallen(reading));
            assert_eq!(at, *fallen, "{readings:?}");
        }
    }

    #[test]
    fn a_target_is_read_as_it_is_shown() {
        let targets = [
            Target::Site,
            Target::Service("dns".to_owned()),
            Target::Neighbor("transit-a".to_owned()),
        ];
        for target in targets {
            assert_eq!(target.to_string().parse(), Ok(target));
        }
        for bad in ["", "sites", "service", "neighbour x"] {
            assert!(bad.parse::<Target>().is_err(), "{bad}");
        }
    }
}

//! What there is to steer.

use std::fmt;

use ipnet::IpNet;
use serde::Serialize;

/// How many results in a row turn a verdict; zero counts as one.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize)]
pub struct Thresholds {
    /// Passes in a row that raise it.
    pub rise: u32,
    /// Failures in a row that fell it.
    pub fall: u32,
}

/// A check by name.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct CheckSpec {
    /// What operators see.
    pub name: String,
    /// When its verdict turns.
    pub thresholds: Thresholds,
}

/// A service: up while all of its checks are up. Without a check it counts as up until its
/// process is gone.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct ServiceSpec {
    /// Unique among the services.
    pub name: String,
    /// In the order of the indices that results come with.
    pub checks: Vec<CheckSpec>,
}

/// A prefix and the services that it stands for.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct PrefixSpec {
    /// What is announced.
    pub prefix: IpNet,
    /// By name.
    pub services: Vec<String>,
    /// How many of them must be up.
    pub require: Require,
}

/// How many of a prefix's services must be up for it to be announced.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Require {
    /// Every one.
    #[default]
    All,
    /// At least one.
    Any,
    /// At least so many.
    AtLeast(u32),
}

/// Why there can be no steering by a specification.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum SpecError {
    /// Two services have this name.
    DuplicateService(String),
    /// The prefix names a service that does not exist.
    UnknownService {
        /// The prefix.
        prefix: IpNet,
        /// The name.
        service: String,
    },
}

impl Require {
    /// How many of `total` must be up. Never zero: a prefix that stands for nothing is not
    /// announced.
    pub fn needed(self, total: usize) -> usize {
        match self {
            Self::All => total.max(1),
            Self::Any => 1,
            Self::AtLeast(count) => usize::try_from(count).unwrap_or(usize::MAX).max(1),
        }
    }
}

impl fmt::Display for Require {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::All => f.write_str("all"),
            Self::Any => f.write_str("any"),
            Self::AtLeast(count) => write!(f, "at least {count}"),
        }
    }
}

impl fmt::Display for SpecError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::DuplicateService(name) => write!(f, "two services are called {name}"),
            Self::UnknownService { prefix, service } => {
                write!(f, "prefix {prefix} stands for {service}, which is not a service")
            }
        }
    }
}

impl std::error::Error for SpecError {}

//! What there is to steer.

use std::fmt;
use std::time::Duration;

use ipnet::IpNet;
use serde::Serialize;

use crate::floor::{FloorSpec, Member};
use crate::manner::{GRACEFUL_SHUTDOWN, Manner};
use crate::penalty::Damping;
use crate::shed::ShedSpec;

/// All that one site steers.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Spec {
    /// What prefixes stand for.
    pub services: Vec<ServiceSpec>,
    /// What is announced.
    pub prefixes: Vec<PrefixSpec>,
    /// Who is told, by name; announcements come by index in this list.
    pub neighbors: Vec<String>,
    /// How traffic is led away before a withdrawal that is not urgent.
    pub leaving: Leaving,
    /// What is measured of the site's load, by name; readings come by index in this list.
    pub loads: Vec<String>,
    /// The sites of the fleet that announce, in the order of the fleet file, this one too.
    pub members: Vec<Member>,
    /// The name of this site.
    pub site: String,
    /// How long a site that says nothing is still taken to be there, by those who share the
    /// fleet's state; `None`: nothing is shared.
    pub lease: Option<Duration>,
}

/// How many results in a row turn a verdict; zero counts as one.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq, Serialize)]
pub struct Thresholds {
    /// Passes in a row that raise it.
    pub rise: u32,
    /// Failures in a row that fell it.
    pub fall: u32,
    /// How long passes must have gone on to raise what was down.
    pub rise_for: Duration,
}

/// A check by name.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct CheckSpec {
    /// What operators see; unique in its service.
    pub name: String,
    /// When its verdict turns.
    pub thresholds: Thresholds,
}

/// A service: up while all of its checks are up. Without a check it counts as up until its
/// process is gone.
#[derive(Clone, Debug, PartialEq)]
pub struct ServiceSpec {
    /// Unique among the services.
    pub name: String,
    /// In the order of the indices that results come with.
    pub checks: Vec<CheckSpec>,
    /// When flapping keeps it down; `None`: never.
    pub damping: Option<Damping>,
}

/// A prefix and the services that it stands for.
#[derive(Clone, Debug, PartialEq)]
pub struct PrefixSpec {
    /// What is announced.
    pub prefix: IpNet,
    /// By name.
    pub services: Vec<String>,
    /// What each of them counts, in the same order; none: each counts 1.
    pub weights: Vec<u32>,
    /// How many of them must be up.
    pub require: Require,
    /// What is done while some of them are down, but not too many.
    pub degraded: Vec<Response>,
    /// What is done under load.
    pub shed: Option<ShedSpec>,
    /// When flapping keeps it withdrawn; `None`: never.
    pub damping: Option<Damping>,
    /// Below what the fleet must not fall; `None`: it may.
    pub floor: Option<FloorSpec>,
}

impl PrefixSpec {
    /// A prefix that stands for no service yet, with nothing but withdrawal when they fail.
    pub fn new(prefix: IpNet) -> Self {
        Self {
            prefix,
            services: Vec::new(),
            weights: Vec::new(),
            require: Require::All,
            degraded: Vec::new(),
            shed: None,
            damping: None,
            floor: None,
        }
    }
}

/// What is done about a prefix short of withdrawing it everywhere.
#[derive(Clone, Debug, Eq, PartialEq, Serialize)]
pub struct Response {
    /// Towards these neighbors; `None`: all.
    pub neighbors: Option<Vec<String>>,
    /// What.
    pub effect: Effect,
}

/// What is done towards a neighbor.
#[derive(Clone, Debug, Eq, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Effect {
    /// It is told of the prefix no more.
    Withdraw,
    /// It is told in this manner.
    Tell(Manner),
}

/// How traffic is led away before a withdrawal that is not urgent.
#[derive(Clone, Debug, Eq, PartialEq, Serialize)]
pub struct Leaving {
    /// How a prefix is told meanwhile.
    pub manner: Manner,
    /// The longest that is waited for the traffic to go.
    pub wait: Duration,
}

impl Default for Leaving {
    /// GRACEFUL_SHUTDOWN and three prepends, for a minute at most.
    fn default() -> Self {
        Self {
            manner: Manner { prepend: 3, med: None, communities: vec![GRACEFUL_SHUTDOWN] },
            wait: Duration::from_secs(60),
        }
    }
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
    /// At least so many, or as many as weigh so much.
    AtLeast(u32),
    /// At least so many of a hundred, by weight.
    Percent(u8),
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
    /// What must be up of services that weigh `total` together. Never zero: a prefix that stands
    /// for nothing is not announced.
    pub fn needed(self, total: u64) -> u64 {
        let needed = match self {
            Self::All => total,
            Self::Any => 1,
            Self::AtLeast(count) => count.into(),
            Self::Percent(share) => (total * u64::from(share)).div_ceil(100),
        };
        needed.max(1)
    }
}

impl fmt::Display for Require {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::All => f.write_str("all"),
            Self::Any => f.write_str("any"),
            Self::AtLeast(count) => write!(f, "at least {count}"),
            Self::Percent(share) => write!(f, "at least {share} %"),
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

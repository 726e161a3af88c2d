//! A lab that runs: its namespaces, wires, routers, sites and clients, and what can be done to
//! them.

mod boot;
mod failures;
mod process;
mod router;
mod sites;

use std::collections::{HashMap, HashSet};
use std::fmt;
use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anycast_bgp::{Asn, IpNet};
use anycast_fleet::Fleet;
use anycast_speaker::ExplainReport;

use crate::netns::NetNs;
use crate::plan::{NodeKind, Plan};
use crate::probe::{Answer, Prober};
use crate::wire::{LinkId, Wire, WireError};

pub use boot::{BootError, Options, Progress, boot};
use process::NodeProcess;
use router::Router;

/// How long a daemon may take to end after SIGTERM before it is killed.
const STOP_PATIENCE: Duration = Duration::from_secs(10);

/// Why something could not be done to a running lab.
#[derive(Debug, thiserror::Error)]
#[expect(missing_docs, reason = "the messages say all")]
pub enum LabError {
    #[error("there is no node called {name}{}", suggestion(.near.as_deref()))]
    NoSuchNode { name: String, near: Option<String> },
    #[error("there is no link called {name}{}; `anycast lab topology` lists them", suggestion(.near.as_deref()))]
    NoSuchLink { name: String, near: Option<String> },
    #[error("{0} is a client: there is nothing in it to stop (freeze it, or cut its link)")]
    NothingToStop(String),
    #[error("{0} is not a site")]
    NotASite(String),
    #[error("{0} is not a client")]
    NotAClient(String),
    #[error("{0} runs already")]
    Running(String),
    #[error("{0} does not run")]
    NotRunning(String),
    #[error("{0} is frozen: it hears nothing until it is thawed")]
    Frozen(String),
    #[error(
        "{node} runs {implementation}: the lab cannot look into its tables; ask it itself with `anycast lab exec {node} -- …`"
    )]
    Opaque { node: String, implementation: &'static str },
    #[error("{router} has no route to {prefix}")]
    NoRoute { router: String, prefix: IpNet },
    #[error("site {site}: {why}")]
    Site { site: String, why: String },
    #[error("site {site} runs no built-in service{}", .service.as_ref().map(|s| format!(" called {s}")).unwrap_or_default())]
    NoService { site: String, service: Option<String> },
    #[error("{node}: {why}")]
    Failed { node: String, why: String },
}

fn suggestion(near: Option<&str>) -> String {
    near.map(|near| format!("; did you mean {near}?")).unwrap_or_default()
}

/// A lab that runs.
pub struct Lab {
    /// What was built.
    pub plan: Plan,
    /// The fleet that runs in it.
    pub fleet: Fleet,
    fleet_file: PathBuf,
    program: PathBuf,
    affinity_mode: &'static str,
    namespaces: Vec<NetNs>,
    wire: Wire,
    /// By index of the plan's links.
    links: Vec<LinkId>,
    /// By index of the plan's nodes.
    routers: HashMap<usize, Router>,
    /// By index of the plan's nodes: sites, and routers that are other programs.
    processes: HashMap<usize, NodeProcess>,
    cut: HashSet<usize>,
    frozen: HashSet<usize>,
    stopped: HashSet<usize>,
    /// Asks who answers, from each client.
    pub prober: Arc<Prober>,
}

/// How one client fares: a row of `lab status`.
#[derive(Clone, Debug, serde::Serialize, serde::Deserialize)]
pub struct ClientRow {
    /// The client's node.
    pub client: String,
    /// Its AS, by name.
    pub network: String,
    /// The site that answered; `None`: nobody did.
    pub site: Option<String>,
    /// The AS path that its router chose, its own AS first; `None`: no route, or not known.
    pub as_path: Option<String>,
    /// Milliseconds from question to answer.
    pub rtt_ms: Option<f64>,
    /// Great-circle distance to that site.
    pub distance_km: Option<f64>,
}

/// Every route of a node to one prefix, and what became of each.
#[derive(Clone, Debug, serde::Serialize, serde::Deserialize)]
pub struct Explained {
    /// The router or site.
    pub node: String,
    /// Its AS.
    pub asn: Asn,
    /// The routes.
    #[serde(flatten)]
    pub report: ExplainReport,
}

impl fmt::Display for Explained {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} (AS {}) has for {}", self.node, self.asn, self.report.text)
    }
}

impl Lab {
    /// The index of a node.
    ///
    /// # Errors
    /// There is none; the error suggests the nearest name.
    pub fn node(&self, name: &str) -> Result<usize, LabError> {
        self.plan.node(name).ok_or_else(|| LabError::NoSuchNode {
            name: name.to_owned(),
            near: nearest(name, self.plan.nodes.iter().map(|node| node.name.as_str())),
        })
    }

    /// The index of a link.
    ///
    /// # Errors
    /// There is none; the error suggests the nearest name.
    pub fn link(&self, name: &str) -> Result<usize, LabError> {
        self.plan.link(name).ok_or_else(|| LabError::NoSuchLink {
            name: name.to_owned(),
            near: nearest(name, self.plan.links.iter().map(|link| link.name.as_str())),
        })
    }

    /// The namespace of a node.
    #[must_use]
    pub fn namespace(&self, node: usize) -> &NetNs {
        &self.namespaces[node]
    }

    /// Runs `f` where a link's wire is, with the names of the interfaces at the other ends of its nodes'.
    ///
    /// # Errors
    /// [`WireError::NoSuchEnd`]: there is no such link.
    pub fn in_hub<T>(&self, link: usize, f: impl FnOnce(&[String]) -> T) -> Result<T, WireError> {
        self.wire.in_hub(*self.links.get(link).ok_or(WireError::NoSuchEnd)?, f)
    }

    /// Links that are cut now.
    #[must_use]
    pub fn cut_links(&self) -> &HashSet<usize> {
        &self.cut
    }

    /// `frozen`, `stopped`, or `running`.
    #[must_use]
    pub fn node_state(&self, node: usize) -> &'static str {
        if self.frozen.contains(&node) {
            "frozen"
        } else if self.stopped.contains(&node) {
            "stopped"
        } else {
            "running"
        }
    }

    /// Asks once from every client; as long as the slowest answer, at most `patience`.
    pub async fn status(&self, patience: Duration) -> Vec<ClientRow> {
        let answers = self.prober.ask_all(patience).await;
        let mut rows = Vec::new();
        for (index, answer) in answers {
            rows.push(self.client_row(index, answer).await);
        }
        rows
    }

    async fn client_row(&self, client: usize, answer: Option<Answer>) -> ClientRow {
        let node = &self.plan.nodes[client];
        let network = match &node.kind {
            NodeKind::Client(plan) => plan.as_name.clone(),
            NodeKind::Router(_) | NodeKind::Site(_) => String::new(),
        };
        let site = answer.as_ref().map(|answer| answer.site.clone());
        let place = site.as_deref().and_then(|site| self.plan.node(site));
        ClientRow {
            client: node.name.clone(),
            network,
            distance_km: place.map(|at| node.place.distance_km(&self.plan.nodes[at].place)),
            as_path: self.as_path(client).await,
            rtt_ms: answer.map(|answer| answer.rtt.as_secs_f64() * 1e3),
            site,
        }
    }

    /// The router that serves a client.
    #[must_use]
    pub fn router_of(&self, client: usize) -> usize {
        match &self.plan.nodes[client].kind {
            NodeKind::Client(plan) => self.plan.links[plan.segment].ends[0].node,
            NodeKind::Router(_) | NodeKind::Site(_) => client,
        }
    }

    /// The prefix under which the probed address is announced.
    #[must_use]
    pub fn probed_prefix(&self) -> IpNet {
        let target = self.prober.target();
        let covers = |prefix: &&anycast_fleet::Prefix| prefix.prefix.contains(&target);
        self.fleet
            .prefixes
            .iter()
            .find(covers)
            .map_or_else(|| IpNet::from(target), |prefix| prefix.prefix)
    }

    async fn as_path(&self, client: usize) -> Option<String> {
        let router = self.router_of(client);
        let NodeKind::Router(plan) = &self.plan.nodes[router].kind else { return None };
        let best = self.routers.get(&router)?.handle.best(self.probed_prefix()).await?;
        Some(format!("{} {}", plan.asn, best.as_path))
    }

    /// Every candidate route of a router, a site, or the router that serves a client, to `prefix`
    /// (`None`: the one that the clients ask).
    ///
    /// # Errors
    /// No such node, no route, or a router of another make.
    pub async fn explain(&self, node: &str, prefix: Option<IpNet>) -> Result<Explained, LabError> {
        let router = self.router_of(self.node(node)?);
        let name = self.plan.nodes[router].name.clone();
        let prefix = prefix.unwrap_or_else(|| self.probed_prefix());
        match &self.plan.nodes[router].kind {
            NodeKind::Site(site) => {
                let target = format!("/v1/explain?prefix={prefix}");
                let asked = Self::site_client(&site.site).get(&target).await;
                let report = asked.map_err(|error| LabError::Site {
                    site: site.site.clone(),
                    why: error.to_string(),
                })?;
                let asn = self.fleet.site(&site.site).map_or(self.fleet.asn, |site| site.asn);
                Ok(Explained { node: name, asn, report })
            }
            NodeKind::Router(plan) => {
                let Some(running) = self.routers.get(&router) else {
                    return Err(if process::is_foreign(plan) {
                        LabError::Opaque { node: name, implementation: plan.implementation.name() }
                    } else {
                        LabError::NotRunning(name)
                    });
                };
                match running.handle.explain(prefix).await {
                    Some(report) => Ok(Explained { node: name, asn: plan.asn, report }),
                    None => Err(LabError::NoRoute { router: name, prefix }),
                }
            }
            NodeKind::Client(_) => Err(LabError::NoSuchNode { name: node.to_owned(), near: None }),
        }
    }

    /// Makes the router that serves a client prefer what comes over one of its links, for the
    /// fleet's prefixes, or (`None`) prefer by its own policy again: a route change that only BGP
    /// knows of.
    ///
    /// # Errors
    /// No such client or link, or the link is none of that router's sessions.
    pub async fn reroute(&self, client: &str, via: Option<&str>) -> Result<(), LabError> {
        let router = self.router_of(self.node(client)?);
        let name = self.plan.nodes[router].name.clone();
        let via = via.map(|link| self.link(link)).transpose()?;
        let NodeKind::Router(plan) = &self.plan.nodes[router].kind else {
            return Err(LabError::NotAClient(client.to_owned()));
        };
        let failed = |why: String| LabError::Failed { node: name.clone(), why };
        if via.is_some() && plan.neighbors.iter().all(|it| it.link != via) {
            let links: Vec<&str> = plan
                .neighbors
                .iter()
                .filter_map(|it| Some(self.plan.links[it.link?].name.as_str()))
                .collect::<std::collections::BTreeSet<_>>()
                .into_iter()
                .collect();
            let links = links.join(", ");
            return Err(failed(format!("it has no session over that link; there are {links}")));
        }
        let running =
            self.routers.get(&router).ok_or_else(|| LabError::NotRunning(name.clone()))?;
        let prefixes: Vec<IpNet> = self.fleet.prefixes.iter().map(|it| it.prefix).collect();
        running.prefer(via, &prefixes).await.map_err(|error| failed(error.to_string()))
    }

    /// The addresses of a client.
    ///
    /// # Errors
    /// No such client.
    pub fn client_addresses(&self, name: &str) -> Result<Vec<IpAddr>, LabError> {
        match &self.plan.nodes[self.node(name)?].kind {
            NodeKind::Client(client) => Ok(client.addresses.clone()),
            NodeKind::Router(_) | NodeKind::Site(_) => Err(LabError::NotAClient(name.to_owned())),
        }
    }

    /// Resident memory of the lab and all its processes, in octets: proportional set sizes.
    #[must_use]
    pub fn memory(&self) -> u64 {
        process::memory_of_all()
    }
}

/// The name nearest to `name`, if one is near.
fn nearest<'a>(name: &str, names: impl Iterator<Item = &'a str>) -> Option<String> {
    names
        .map(|other| (strsim::jaro_winkler(name, other), other))
        .filter(|(score, _)| *score > 0.8)
        .max_by(|a, b| a.0.total_cmp(&b.0))
        .map(|(_, other)| other.to_owned())
}

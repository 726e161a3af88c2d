//! A lab that runs: its namespaces, wires, routers, sites and clients, and what can be done to
//! them.

mod boot;
mod process;
mod router;

use std::collections::{HashMap, HashSet};
use std::fmt;
use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anycast_bgp::{Asn, IpNet};
use anycast_fleet::Fleet;
use anycast_site::affinity::AffinityReport;
use anycast_site::client::Client as SiteClient;
use anycast_site::status::{DrainOrder, PrependOrder, ServicesReport, UndrainOrder};
use anycast_speaker::ExplainReport;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::netns::NetNs;
use crate::plan::{self, Link, NodeKind, Plan};
use crate::probe::{Answer, Prober};
use crate::wire::{LinkId, State, Wire};

pub use boot::{BootError, Options, Progress, boot};
use process::NodeProcess;
use router::Router;

/// How often to look whether packet programs are loaded.
const LOADING: Duration = Duration::from_millis(20);
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

    /// Has the packet programs loaded or taken out at every site; in words how they run then. Where
    /// the kernel does not have them, the lab's links stand in for them.
    ///
    /// # Errors
    /// A site does not answer, its fleet file asks for no affinity, or a key cannot be read.
    pub async fn keep_connections(&self, keep: bool) -> Result<String, LabError> {
        let mut at = Vec::new();
        for (_, _, site) in self.plan.sites() {
            let client = Self::site_client(&site.site);
            let failed = |why: String| LabError::Site { site: site.site.clone(), why };
            let mut now: AffinityReport =
                client.get("/v1/affinity").await.map_err(|it| failed(it.to_string()))?;
            while now.state == "loading" {
                tokio::time::sleep(LOADING).await;
                now = client.get("/v1/affinity").await.map_err(|it| failed(it.to_string()))?;
            }
            let report = match (now.state.as_str(), keep) {
                ("off", _) => return Err(failed("its fleet file asks for no affinity".to_owned())),
                ("unavailable", _) => return self.stand_in(keep, &now.why.unwrap_or_default()),
                ("loaded", true) | ("unloaded", false) => now,
                (_, keep) => {
                    let order = if keep { "/v1/affinity/load" } else { "/v1/affinity/unload" };
                    let told = client.post_for(order, &()).await;
                    told.map_err(|it| failed(it.to_string()))?
                }
            };
            at.extend(report.interfaces.first().map(|it| format!("{} by {}", site.site, it.mode)));
        }
        let words = if keep {
            format!("the kernel's programs run: {}", at.join(", "))
        } else {
            String::new()
        };
        Ok(words)
    }

    fn stand_in(&self, keep: bool, why: &str) -> Result<String, LabError> {
        let mut sites = Vec::new();
        if keep {
            for (node, _, plan) in self.plan.sites() {
                let failed = |why| LabError::Site { site: plan.site.clone(), why };
                let site = self.fleet.sites.iter().find(|it| it.name == plan.site);
                let site = site.ok_or_else(|| failed("the fleet has no such site".to_owned()))?;
                let config =
                    anycast_site::affinity::decisions(&self.fleet, site).map_err(failed)?;
                sites.push((self.namespace(node).clone(), config));
            }
        }
        self.wire.stand_in(&sites);
        Ok(if keep {
            format!("a stand-in: the lab's links decide, as the programs cannot be loaded ({why})")
        } else {
            String::new()
        })
    }

    fn site_client(site: &str) -> SiteClient {
        SiteClient::new(process::site_socket(site))
    }

    /// Makes a site prepend so many times more than its file says.
    ///
    /// # Errors
    /// No such site, or it does not answer.
    pub async fn prepend(&self, site: &str, count: u8) -> Result<(), LabError> {
        self.site_node(site)?;
        let order = PrependOrder { count, neighbor: None };
        Self::site_client(site)
            .post("/v1/prepend", &order)
            .await
            .map_err(|error| LabError::Site { site: site.to_owned(), why: error.to_string() })
    }

    /// Drains a site, for a scenario's reason.
    ///
    /// # Errors
    /// No such site, or it does not answer.
    pub async fn drain(&self, site: &str) -> Result<(), LabError> {
        self.site_node(site)?;
        let order = DrainOrder { reason: "a scenario".to_owned(), ..DrainOrder::default() };
        Self::site_client(site)
            .post("/v1/drain", &order)
            .await
            .map_err(|error| LabError::Site { site: site.to_owned(), why: error.to_string() })
    }

    /// Ends the drain of a site.
    ///
    /// # Errors
    /// No such site, it does not answer, or it is not drained.
    pub async fn undrain(&self, site: &str) -> Result<(), LabError> {
        self.site_node(site)?;
        Self::site_client(site)
            .post("/v1/undrain", &UndrainOrder::default())
            .await
            .map_err(|error| LabError::Site { site: site.to_owned(), why: error.to_string() })
    }

    fn site_node(&self, name: &str) -> Result<usize, LabError> {
        let node = self.awake(name)?;
        match self.plan.nodes[node].kind {
            NodeKind::Site(_) => Ok(node),
            NodeKind::Router(_) | NodeKind::Client(_) => Err(LabError::NotASite(name.to_owned())),
        }
    }

    /// What a site says of its services.
    ///
    /// # Errors
    /// No such site, or it does not answer.
    pub async fn services(&self, site: &str) -> Result<ServicesReport, LabError> {
        self.site_node(site)?;
        Self::site_client(site)
            .get("/v1/services")
            .await
            .map_err(|error| LabError::Site { site: site.to_owned(), why: error.to_string() })
    }

    /// Kills the processes of a site's built-in services, or of one of them, with SIGKILL.
    ///
    /// # Errors
    /// No such site or service.
    pub async fn kill_service(&self, site: &str, service: Option<&str>) -> Result<(), LabError> {
        let pids = self.service_pids(site, service).await?;
        Self::kill_pids(site, &pids)
    }

    /// The processes that [`kill_service`](Self::kill_service) would kill.
    ///
    /// # Errors
    /// No such site or service.
    pub async fn service_pids(
        &self,
        site: &str,
        service: Option<&str>,
    ) -> Result<Vec<u32>, LabError> {
        let report = self.services(site).await?;
        let wanted =
            report.services.iter().filter(|row| service.is_none_or(|name| row.name == name));
        let pids: Vec<u32> = wanted.filter_map(|row| row.pid).collect();
        if pids.is_empty() {
            return Err(LabError::NoService {
                site: site.to_owned(),
                service: service.map(ToOwned::to_owned),
            });
        }
        Ok(pids)
    }

    /// Sends SIGKILL to processes of a node.
    ///
    /// # Errors
    /// A process that is gone.
    pub fn kill_pids(node: &str, pids: &[u32]) -> Result<(), LabError> {
        for pid in pids {
            let raw = i32::try_from(*pid).map_err(|error| LabError::Failed {
                node: node.to_owned(),
                why: error.to_string(),
            })?;
            kill(Pid::from_raw(raw), Signal::SIGKILL).map_err(|errno| LabError::Failed {
                node: node.to_owned(),
                why: format!("cannot kill process {pid}: {errno}"),
            })?;
        }
        Ok(())
    }

    /// Cuts a link: both ends lose their carrier.
    ///
    /// # Errors
    /// No such link.
    pub async fn cut(&mut self, name: &str) -> Result<(), LabError> {
        let link = self.link(name)?;
        self.cut.insert(link);
        self.set_link(link, State::Cut).await
    }

    /// Mends a cut link.
    ///
    /// # Errors
    /// No such link.
    pub async fn mend(&mut self, name: &str) -> Result<(), LabError> {
        let link = self.link(name)?;
        self.cut.remove(&link);
        self.set_link(link, State::Up).await
    }

    /// Lets a link take this long one way and lose a share of its frames (0 to 1), which ones
    /// depends on the seed alone.
    ///
    /// # Errors
    /// No such link.
    pub fn impair(
        &self,
        name: &str,
        latency: Duration,
        loss: f64,
        seed: u64,
    ) -> Result<(), LabError> {
        let link = self.links[self.link(name)?];
        let done = self.wire.set_latency(link, latency);
        done.and_then(|()| self.wire.set_loss(link, loss, seed))
            .map_err(|error| LabError::Failed { node: name.to_owned(), why: error.to_string() })
    }

    async fn set_link(&mut self, link: usize, state: State) -> Result<(), LabError> {
        self.wire.set(self.links[link], state).map_err(|error| LabError::Failed {
            node: self.plan.links[link].name.clone(),
            why: error.to_string(),
        })?;
        let ends: Vec<usize> = self.plan.links[link].ends.iter().map(|end| end.node).collect();
        self.spread_igp(&ends).await;
        Ok(())
    }

    /// Within an AS the lab is the IGP: tells the routers of the ASes of `nodes` the ways that
    /// there are now.
    async fn spread_igp(&self, nodes: &[usize]) {
        let systems: HashSet<&str> = nodes
            .iter()
            .filter_map(|node| match &self.plan.nodes[*node].kind {
                NodeKind::Router(router) => Some(router.as_name.as_str()),
                NodeKind::Site(_) | NodeKind::Client(_) => None,
            })
            .collect();
        let down = self.igp_down();
        for system in systems {
            for (node, routes) in plan::igp(&self.plan, system, &down) {
                if let Some(router) = self.routers.get(&node) {
                    router.handle.set_igp(router::igp(&routes));
                    router.handle.settled().await;
                }
            }
        }
    }

    /// Links over which no router's IGP speaks: cut, or towards a router that is stopped.
    fn igp_down(&self) -> HashSet<usize> {
        let stopped = |link: &&Link| link.ends.iter().any(|end| self.stopped.contains(&end.node));
        let links = self.plan.links.iter().enumerate();
        let silent = links.filter(|(_, link)| stopped(link)).map(|(index, _)| index);
        self.cut.iter().copied().chain(silent).collect()
    }

    /// Daemons that have ended by themselves count as stopped from now on.
    pub fn notice_the_dead(&mut self) {
        let dead = self
            .processes
            .iter_mut()
            .filter_map(|(node, process)| process.obituary().map(|why| (*node, why)));
        for (node, why) in dead.collect::<Vec<_>>() {
            tracing::error!("{}: {why}", self.plan.nodes[node].name);
            self.processes.remove(&node);
            self.stopped.insert(node);
        }
    }

    /// The index of a node that is not frozen.
    fn awake(&self, name: &str) -> Result<usize, LabError> {
        let node = self.node(name)?;
        if self.frozen.contains(&node) {
            return Err(LabError::Frozen(name.to_owned()));
        }
        Ok(node)
    }

    /// Freezes a node without a word: its processes stop, and no packet passes its interfaces,
    /// which keep their carrier.
    ///
    /// # Errors
    /// No such node.
    pub fn freeze(&mut self, name: &str) -> Result<(), LabError> {
        let node = self.node(name)?;
        self.frozen.insert(node);
        // The packets first: a process that still runs can say nothing then.
        self.hold_ends(node, true)?;
        process::signal_namespace(&self.namespaces[node], Signal::SIGSTOP)
            .map_err(|error| LabError::Failed { node: name.to_owned(), why: error.to_string() })
    }

    /// Thaws a frozen node.
    ///
    /// # Errors
    /// No such node.
    pub fn thaw(&mut self, name: &str) -> Result<(), LabError> {
        let node = self.node(name)?;
        self.frozen.remove(&node);
        self.hold_ends(node, false)?;
        process::signal_namespace(&self.namespaces[node], Signal::SIGCONT)
            .map_err(|error| LabError::Failed { node: name.to_owned(), why: error.to_string() })
    }

    fn hold_ends(&self, node: usize, frozen: bool) -> Result<(), LabError> {
        for (index, link) in self.plan.links.iter().enumerate() {
            for (end, at) in link.ends.iter().enumerate() {
                if at.node == node {
                    self.wire.freeze_end(self.links[index], end, frozen).map_err(|error| {
                        LabError::Failed { node: link.name.clone(), why: error.to_string() }
                    })?;
                }
            }
        }
        Ok(())
    }

    /// Stops a site's daemon (SIGTERM) or a router (its sessions end with a Cease).
    ///
    /// # Errors
    /// No such node, a client, or a node that does not run.
    pub async fn stop(&mut self, name: &str) -> Result<(), LabError> {
        self.notice_the_dead();
        let node = self.awake(name)?;
        if matches!(self.plan.nodes[node].kind, NodeKind::Client(_)) {
            return Err(LabError::NothingToStop(name.to_owned()));
        }
        if let Some(router) = self.routers.remove(&node) {
            router.stop().await;
        } else if let Some(process) = self.processes.remove(&node) {
            process.stop(STOP_PATIENCE).await;
        } else {
            return Err(LabError::NotRunning(name.to_owned()));
        }
        self.stopped.insert(node);
        self.spread_igp(&[node]).await;
        Ok(())
    }

    /// Starts a stopped node.
    ///
    /// # Errors
    /// No such node, or it runs.
    pub async fn start(&mut self, name: &str) -> Result<(), LabError> {
        self.notice_the_dead();
        let node = self.awake(name)?;
        if !self.stopped.remove(&node) {
            return Err(LabError::Running(name.to_owned()));
        }
        let result = self.start_node(node, name).await;
        if result.is_err() {
            self.stopped.insert(node);
        }
        self.spread_igp(&[node]).await;
        result
    }

    async fn start_node(&mut self, node: usize, name: &str) -> Result<(), LabError> {
        let failed = |why: String| LabError::Failed { node: name.to_owned(), why };
        let namespace = &self.namespaces[node];
        match &self.plan.nodes[node].kind {
            NodeKind::Site(site) => {
                let started =
                    process::start_site(&self.program, &self.fleet_file, &site.site, namespace);
                self.processes.insert(node, started.map_err(|e| failed(e.to_string()))?);
            }
            NodeKind::Router(plan) if process::is_foreign(plan) => {
                let started = process::start_foreign(&self.plan, node, namespace).await;
                self.processes.insert(node, started.map_err(failed)?);
            }
            NodeKind::Router(plan) => {
                let router = Router::bind(&self.plan, node, namespace).await;
                let mut router = router.map_err(|error| failed(error.to_string()))?;
                if let Some(routes) =
                    plan::igp(&self.plan, &plan.as_name, &self.igp_down()).get(&node)
                {
                    router.prepare(routes).await;
                }
                router.start();
                self.routers.insert(node, router);
            }
            NodeKind::Client(_) => return Err(LabError::NothingToStop(name.to_owned())),
        }
        Ok(())
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

//! From a plan to a running lab.

use std::collections::{HashMap, HashSet};
use std::io;
use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anycast_fleet::Fleet;
use futures_util::future::join_all;
use ipnet::IpNet;
use nix::mount::{MsFlags, mount};

use super::process::{self, NodeProcess};
use super::router::Router;
use super::{Lab, LabError};
use crate::netlink::{self, NextHop, Request};
use crate::netns::{NetNs, Sysctls};
use crate::plan::{self, NodeKind, Plan, StaticRoute};
use crate::probe::Prober;
use crate::sandbox::BPF_DIR;
use crate::wire::{End, LinkSpec, Wire};

/// The largest IP packet of every link.
const MTU: u32 = 1500;
/// The index of the loopback interface in any namespace.
const LOOPBACK: u32 = 1;
/// Routes that have not changed for so long have settled: packets take no time yet.
const QUIET: Duration = Duration::from_millis(20);
/// How long to wait for that; a session that never comes must not keep the lab from starting.
const QUIET_PATIENCE: Duration = Duration::from_secs(2);
/// How often to look whether a daemon has ended while the routes spread.
const ROUND: Duration = Duration::from_secs(2);

/// What a lab is started with.
pub struct Options {
    /// What to build.
    pub plan: Plan,
    /// The fleet that the plan was made for.
    pub fleet: Fleet,
    /// Its file, which the sites' daemons read themselves.
    pub fleet_file: PathBuf,
    /// This program.
    pub program: PathBuf,
    /// How long the clients may take to be answered.
    pub patience: Duration,
    /// Where in the kernel the sites take packets to keep connections, as `mode` of `[affinity]` says it,
    /// which has no say in a lab: `tc` needs nothing of the links.
    pub affinity_mode: &'static str,
}

/// What is done so far, for a progress display.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Progress {
    /// So many namespaces exist.
    Namespaces(usize),
    /// So many links exist.
    Links(usize),
    /// So many routers and sites have been started.
    Started {
        /// Routers.
        routers: usize,
        /// Sites.
        sites: usize,
    },
    /// So many of all clients have been answered.
    Answered {
        /// Answered.
        clients: usize,
        /// All.
        of: usize,
    },
}

/// Why a lab could not be started.
#[derive(Debug, thiserror::Error)]
#[expect(missing_docs, reason = "the messages say all")]
pub enum BootError {
    #[error(transparent)]
    Namespace(#[from] crate::netns::NetNsError),
    #[error(transparent)]
    Wire(#[from] crate::wire::WireError),
    #[error("{node}: {source}")]
    Netlink { node: String, source: netlink::NetlinkError },
    #[error("router {router}: {source}")]
    Speaker { router: String, source: anycast_speaker::BindError },
    #[error("{node}: {why}")]
    Process { node: String, why: String },
    #[error("the fleet has no service whose address the clients could ask")]
    NothingToAsk,
    #[error("{0}")]
    Io(#[from] io::Error),
}

/// Builds the lab, waits until every client is answered, or `patience` is over (then
/// [`Lab::status`] tells who is not), and only then gives the links their latency.
///
/// # Errors
/// The first thing that could not be made or started.
pub async fn boot(options: Options, mut progress: impl FnMut(Progress)) -> Result<Lab, BootError> {
    let Options { plan, fleet, fleet_file, program, patience, affinity_mode } = options;
    let started = Instant::now();
    let mut wanted = vec![("hub", Sysctls::Hub)];
    wanted.extend(plan.nodes.iter().map(|node| {
        let sysctls = match node.kind {
            NodeKind::Router(_) => Sysctls::Router,
            NodeKind::Site(_) | NodeKind::Client(_) => Sysctls::Host,
        };
        (node.name.as_str(), sysctls)
    }));
    let mut namespaces = NetNs::create_all(&wanted)?;
    let hub = namespaces.remove(0);
    progress(Progress::Namespaces(namespaces.len()));

    let wire = Wire::new(hub)?;
    let specs: Vec<LinkSpec> = plan
        .links
        .iter()
        .map(|link| LinkSpec {
            name: link.name.clone(),
            ends: link
                .ends
                .iter()
                .map(|end| End {
                    ns: namespaces[end.node].clone(),
                    ifname: end.ifname.clone(),
                    mac: None,
                    addresses: end.addresses.clone(),
                })
                .collect(),
            latency: Duration::ZERO,
            mtu: MTU,
        })
        .collect();
    let links = wire.add_links(&specs)?;
    if fleet.affinity.is_some() {
        make_room_for_programs();
    }
    progress(Progress::Links(links.len()));

    for (index, node) in plan.nodes.iter().enumerate() {
        let requests = requests(&plan, index, |ifname| namespaces[index].ifindex(ifname))?;
        netlink::apply(&namespaces[index], &requests)
            .map_err(|source| BootError::Netlink { node: node.name.clone(), source })?;
    }

    let target = probed_address(&fleet).ok_or(BootError::NothingToAsk)?;
    let asked: Vec<(usize, NetNs)> =
        plan.clients().map(|(index, _, _)| (index, namespaces[index].clone())).collect();
    let prober = Arc::new(Prober::open(target, asked)?);
    let mut lab = Lab {
        plan,
        fleet,
        fleet_file,
        program,
        affinity_mode,
        namespaces,
        wire,
        links: links.iter().map(|link| link.id).collect(),
        routers: HashMap::new(),
        processes: HashMap::new(),
        cut: HashSet::new(),
        frozen: HashSet::new(),
        stopped: HashSet::new(),
        prober,
    };
    lab.start_all().await?;
    let (routers, sites) = (lab.plan.routers().count(), lab.plan.sites().count());
    progress(Progress::Started { routers, sites });

    let of = lab.plan.clients().count();
    let mut clients = 0;
    let prober = Arc::clone(&lab.prober);
    let mut left = patience.saturating_sub(started.elapsed());
    while clients < of && !left.is_zero() {
        clients = 0;
        let round = left.min(ROUND);
        prober
            .until_answered(round, |_| {
                clients += 1;
                progress(Progress::Answered { clients, of });
            })
            .await;
        lab.check_processes()?;
        left = patience.saturating_sub(started.elapsed());
    }
    lab.converge(QUIET_PATIENCE).await;
    // Until here packets took no time, so that dozens of sessions across oceans do not have to
    // be waited for. From here on distances count.
    for (link, id) in lab.plan.links.iter().zip(&lab.links) {
        lab.wire.set_latency(*id, link.latency)?;
    }
    Ok(lab)
}

impl Lab {
    /// Waits until the sites have said all that they have to say and the routers have passed it
    /// on: a client may be answered earlier, but by a site that is not its nearest.
    async fn converge(&self, patience: Duration) {
        let deadline = Instant::now() + patience;
        let mut before = None;
        while Instant::now() < deadline {
            let sessions = join_all(self.routers.values().map(|r| r.handle.established())).await;
            let all_up = sessions.iter().all(|(up, of)| up == of);
            let activity: u64 =
                join_all(self.routers.values().map(|r| r.handle.activity())).await.iter().sum();
            if all_up && before == Some(activity) {
                return;
            }
            before = Some(activity);
            tokio::time::sleep(QUIET).await;
        }
    }

    /// Starts the sites, which need a moment to load, then the routers.
    async fn start_all(&mut self) -> Result<(), BootError> {
        let sites: Vec<(usize, String)> =
            self.plan.sites().map(|(index, _, site)| (index, site.site.clone())).collect();
        for (index, site) in sites {
            let process = process::start_site(
                &self.program,
                &self.fleet_file,
                (&site, self.affinity_mode),
                &self.namespaces[index],
            )
            .map_err(|error| BootError::Process { node: site, why: error.to_string() })?;
            self.processes.insert(index, process);
        }
        for (index, node, router) in self.plan.routers() {
            let namespace = &self.namespaces[index];
            if process::is_foreign(router) {
                let process = process::start_foreign(&self.plan, index, namespace)
                    .await
                    .map_err(|why| BootError::Process { node: node.name.clone(), why })?;
                self.processes.insert(index, process);
            } else {
                let router = Router::bind(&self.plan, index, namespace)
                    .map_err(|source| BootError::Speaker { router: node.name.clone(), source })?;
                self.routers.insert(index, router);
            }
        }
        // All listen and all have their IGP's routes before any dials, so that no first attempt
        // fails.
        let systems: HashSet<&str> =
            self.plan.routers().map(|(_, _, router)| router.as_name.as_str()).collect();
        let nothing_cut = HashSet::<usize>::new();
        let routes: HashMap<usize, _> = systems
            .into_iter()
            .flat_map(|system| plan::igp(&self.plan, system, &nothing_cut))
            .collect();
        join_all(self.routers.iter_mut().map(async |(node, router)| {
            if let Some(routes) = routes.get(node) {
                router.prepare(routes).await;
            }
        }))
        .await;
        for router in self.routers.values_mut() {
            router.start();
        }
        Ok(())
    }

    /// Finds a process that ended by itself.
    fn check_processes(&mut self) -> Result<(), BootError> {
        for (index, process) in &mut self.processes {
            if let Some(why) = NodeProcess::obituary(process) {
                let node = self.plan.nodes[*index].name.clone();
                return Err(BootError::Process { node, why });
            }
        }
        Ok(())
    }
}

/// Where the sites' packet programs are pinned. In a user namespace the kernel has none to give,
/// nor does it load programs there, which the sites say themselves.
fn make_room_for_programs() {
    let made = std::fs::create_dir_all(BPF_DIR).and_then(|()| {
        let flags = MsFlags::MS_NOSUID | MsFlags::MS_NODEV | MsFlags::MS_NOEXEC;
        Ok(mount(Some("bpf"), BPF_DIR, Some("bpf"), flags, None::<&str>)?)
    });
    if let Err(error) = made {
        tracing::debug!(%error, "no BPF file system");
    }
}

/// The first address of a service that tells who answers: IPv4 if there is one.
fn probed_address(fleet: &Fleet) -> Option<IpAddr> {
    let whoami = fleet.services.iter().find(|service| service.builtin.is_some());
    let service = whoami.or(fleet.services.first())?;
    let v4 = service.addresses.iter().find(|address| address.is_ipv4());
    v4.or(service.addresses.first()).copied()
}

/// What a node has beside its links: loopbacks and static routes.
fn requests<'a>(
    plan: &Plan,
    index: usize,
    ifindex: impl Fn(&str) -> io::Result<u32>,
) -> io::Result<Vec<Request<'a>>> {
    let mut requests = Vec::new();
    let add_routes = |routes: &[StaticRoute], requests: &mut Vec<Request<'a>>| {
        // Of several to one prefix the first is preferred; the others stand by with their metric,
        // which only matters when the first one's link is down.
        let mut seen: Vec<IpNet> = Vec::new();
        let mut sorted: Vec<&StaticRoute> = routes.iter().collect();
        sorted.sort_by_key(|route| route.metric);
        for route in sorted {
            if seen.contains(&route.prefix) {
                continue;
            }
            seen.push(route.prefix);
            let hop = NextHop { via: route.gateway, ifindex: Some(ifindex(&route.ifname)?) };
            requests.push(Request::AddRoute(route.prefix, vec![hop]));
        }
        io::Result::Ok(())
    };
    match &plan.nodes[index].kind {
        NodeKind::Router(router) => {
            for address in router.loopbacks.iter().chain(&router.extra_addresses) {
                requests.push(Request::AddAddress(LOOPBACK, IpNet::from(*address)));
            }
            add_routes(&router.static_routes, &mut requests)?;
        }
        NodeKind::Site(site) => {
            for address in &site.extra_addresses {
                requests.push(Request::AddAddress(LOOPBACK, IpNet::from(*address)));
            }
            add_routes(&site.routes, &mut requests)?;
        }
        NodeKind::Client(client) => {
            let gateways = [client.gateway_v4.map(IpAddr::V4), client.gateway_v6.map(IpAddr::V6)];
            for gateway in gateways.into_iter().flatten() {
                let any = match gateway {
                    IpAddr::V4(_) => IpNet::V4(ipnet::Ipv4Net::default()),
                    IpAddr::V6(_) => IpNet::V6(ipnet::Ipv6Net::default()),
                };
                let hop = NextHop { via: Some(gateway), ifindex: None };
                requests.push(Request::AddRoute(any, vec![hop]));
            }
        }
    }
    Ok(requests)
}

impl From<BootError> for LabError {
    fn from(error: BootError) -> Self {
        Self::Failed { node: "the lab".to_owned(), why: error.to_string() }
    }
}

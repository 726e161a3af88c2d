//! A router of the lab: our speaker in a namespace of its own, in the lab's process.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use anycast_bgp::IpNet;
use anycast_bgp::policy::relation::{Relation, export_policy, import_policy};
use anycast_bgp::policy::{Action, Match, Policy, PrefixPattern, Rule, Set};
use anycast_bgp::{Asn, Attributes};
use anycast_speaker::{
    Bfd, BindError, ChangeError, Config, Handle, Igp, Neighbor, Offer, Password, Place, Speaker,
};
use tokio::task::JoinHandle;

use crate::netns::NetNs;
use crate::plan::{IgpRoute, Implementation, NeighborPlan, NodeKind, Plan};

/// BGP's port.
const BGP_PORT: u16 = 179;
/// Routers of the lab try again soon: their neighbors are a few milliseconds behind at most.
const CONNECT_RETRY: Duration = Duration::from_millis(250);
/// More than any business relation gives.
const PREFERRED: u32 = 1000;
/// How long a router may take to say goodbye.
const GOODBYE: Duration = Duration::from_secs(2);

/// A namespace as the speaker's place.
pub(super) struct Namespace(pub(super) NetNs);

impl Place for Namespace {
    fn enter(&self, open: Box<dyn FnOnce() + Send + '_>) {
        self.0.run(open);
    }
}

/// A running router.
pub(super) struct Router {
    pub(super) handle: Handle,
    /// As they were bound, each with the link that its session goes over.
    neighbors: Vec<(Option<usize>, Neighbor)>,
    speaker: Option<Speaker>,
    task: Option<JoinHandle<()>>,
}

impl Router {
    /// Opens a router's sockets, so that neighbors can connect.
    pub(super) fn bind(plan: &Plan, index: usize, namespace: &NetNs) -> Result<Self, BindError> {
        let NodeKind::Router(router) = &plan.nodes[index].kind else {
            unreachable!("only routers are bound")
        };
        let ours = |node: usize| {
            matches!(&plan.nodes[node].kind, NodeKind::Router(other)
                if other.implementation == Implementation::Anycast)
        };
        let plan = router;
        let neighbors: Vec<Neighbor> =
            plan.neighbors.iter().map(|n| neighbor(plan.asn, n, ours(n.node))).collect();
        let links = plan.neighbors.iter().map(|it| it.link);
        let kept = links.zip(neighbors.iter().cloned()).collect();
        let config = Config {
            local_asn: plan.asn,
            router_id: plan.router_id,
            listen: Speaker::any_address(BGP_PORT).to_vec(),
            install_routes: true,
            place: Arc::new(Namespace(namespace.clone())),
            neighbors,
            ..Config::new(plan.asn, plan.router_id)
        };
        let speaker = Speaker::bind(config, None)?;
        let handle = speaker.handle();
        for prefix in &plan.originates {
            // Tagged as a customer's, or the AS's other routers would not pass it on.
            let mut attributes = Attributes::new(std::net::IpAddr::V4(plan.router_id));
            attributes.large_communities = vec![Relation::Customer.tag(plan.asn)].into();
            handle.originate(*prefix, attributes);
        }
        Ok(Self { handle, neighbors: kept, speaker: Some(speaker), task: None })
    }

    /// Prefers what comes over one link to all other ways to these prefixes, or, without a link,
    /// prefers as it was bound.
    ///
    /// # Errors
    /// A neighbor that cannot be changed.
    pub(super) async fn prefer(
        &self,
        via: Option<usize>,
        prefixes: &[IpNet],
    ) -> Result<(), ChangeError> {
        for (link, bound) in &self.neighbors {
            let mut neighbor = bound.clone();
            if via.is_some() && *link == via {
                let patterns = prefixes.iter().map(|net| PrefixPattern::from(*net)).collect();
                let rule = Rule::new(Action::Next)
                    .when(Match::Prefix(patterns))
                    .set(Set::LocalPref(PREFERRED));
                // Behind what its relation gives it, and before what a farewell takes away.
                neighbor.import.rules.insert(1, rule);
            }
            self.handle.change_neighbor(neighbor).await?;
        }
        self.handle.settled().await;
        Ok(())
    }

    /// Gives a router that has not started its routes inside the AS; ready when its kernel has
    /// them.
    pub(super) async fn prepare(&mut self, routes: &BTreeMap<IpNet, IgpRoute>) {
        if let Some(speaker) = &mut self.speaker {
            speaker.set_igp(igp(routes)).await;
        }
    }

    /// Starts its sessions.
    pub(super) fn start(&mut self) {
        if let Some(speaker) = self.speaker.take() {
            self.task = Some(tokio::spawn(speaker.run()));
        }
    }

    /// Ends its sessions with a Cease and removes its routes.
    pub(super) async fn stop(mut self) {
        self.handle.shutdown("the router is stopped");
        if let Some(task) = self.task.take() {
            let _ = tokio::time::timeout(GOODBYE, task).await;
        }
    }
}

fn neighbor(asn: Asn, plan: &NeighborPlan, ours: bool) -> Neighbor {
    let (import, export) = match plan.relation {
        Some(relation) => (import_policy(relation, asn), export_policy(relation, asn)),
        None => (Policy::accept_all(), Policy::accept_all()),
    };
    // The secret stays out of the plan; a file that cannot be read leaves the session down, and
    // the site's own daemon says why.
    let password = plan.password_file.as_ref().and_then(|path| {
        let mut octets = std::fs::read(path).ok()?;
        while octets.last().is_some_and(|last| matches!(last, b'\n' | b'\r')) {
            octets.pop();
        }
        Password::new(octets)
    });
    Neighbor {
        name: plan.name.clone(),
        address: plan.address,
        port: plan.port,
        local_address: Some(plan.local_address),
        asn: plan.asn,
        hold_time: plan.hold_time,
        connect_retry: CONNECT_RETRY,
        families: plan.families.clone(),
        next_hop_other: plan.next_hop_other,
        // Of two of our own only one dials: crossing connections would only collide
        // (RFC 4271 §6.8) and cost a second.
        passive: ours && plan.local_address > plan.address,
        offer: Offer::default(),
        multihop: plan.multihop,
        ttl_security: plan.gtsm,
        password,
        import,
        export,
        next_hop_self: plan.next_hop_self,
        bfd: plan.bfd.map(|bfd| Bfd { interval: bfd.interval, multiplier: bfd.multiplier }),
        ..Neighbor::new(&plan.name, plan.address, plan.asn)
    }
}

/// The plan's routes within an AS, as the speaker takes them.
pub(super) fn igp(routes: &BTreeMap<IpNet, IgpRoute>) -> Igp {
    let routes = routes.iter().map(|(prefix, route)| {
        (*prefix, anycast_speaker::IgpRoute { cost: route.cost, gateway: route.gateway })
    });
    Igp { routes: routes.collect() }
}

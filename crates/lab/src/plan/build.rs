//! From world and fleet to a plan.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use anycast_bgp::policy::relation::Relation;
use anycast_bgp::{Asn, Family};
use anycast_fleet::Fleet;
use ipnet::{IpNet, Ipv4Net, Ipv6Net};

use super::addresses::{LinkAddresses, network, nth, split};
use super::names::interface_name;
use super::tenant::Tenant;
use super::{
    ClientPlan, Implementation, Link, LinkEnd, LinkKind, NeighborPlan, Node, NodeKind, Place, Plan,
    PlanError, RouterPlan, SitePlan, StaticRoute, router_name,
};
use crate::world::{System, World};

/// Where BGP listens (RFC 4271 §8.2.1).
pub(super) const BGP_PORT: u16 = 179;

/// Makes the plan, or says everything that stands in its way.
///
/// # Errors
/// All that does not fit together, in no particular order.
pub fn build(world: &World, fleet: &Fleet) -> Result<Plan, Vec<PlanError>> {
    let (tenants, nowhere) = Tenant::of(fleet);
    if !nowhere.is_empty() {
        return Err(nowhere.into_iter().map(PlanError::NoPlace).collect());
    }
    let mut plan = build_for(world, &tenants)?;
    for service in fleet.services.iter().filter(|service| service.builtin.is_none()) {
        plan.notes.push(format!(
            "service `{}` is not built in: nothing serves it in the lab unless you start it \
             (`anycast lab exec SITE -- …`), so prefixes that need it stay withdrawn",
            service.name
        ));
    }
    Ok(plan)
}

/// The same, for sites as the plan needs to know them.
pub(crate) fn build_for(world: &World, tenants: &[Tenant]) -> Result<Plan, Vec<PlanError>> {
    let mut builder = Builder::new(world, tenants);
    builder.add_missing_systems();
    builder.add_routers();
    builder.add_sites_and_clients();
    builder.check_names();
    builder.check_addresses();
    if !builder.errors.is_empty() {
        // What follows relies on unique names and known systems.
        return Err(builder.errors);
    }
    builder.add_internal_links();
    builder.add_links_between_systems();
    builder.attach_sites();
    builder.lead_to_sites();
    builder.add_segments();
    builder.add_internal_sessions();
    builder.add_defaults_of_leaves();
    if builder.errors.is_empty() { Ok(builder.plan) } else { Err(builder.errors) }
}

pub(super) struct Builder<'a> {
    pub(super) world: &'a World,
    pub(super) tenants: &'a [Tenant],
    /// Those of the world, then those made up for the fleet.
    pub(super) systems: Vec<System>,
    /// For each system, the nodes of its routers in the order of its cities.
    pub(super) routers: Vec<Vec<usize>>,
    /// For each tenant, its node.
    pub(super) sites: Vec<usize>,
    /// For each client of the world, its node.
    clients: Vec<usize>,
    /// Interface names in use, by node.
    interfaces: HashMap<usize, HashSet<String>>,
    pub(super) links: LinkAddresses,
    pub(super) plan: Plan,
    pub(super) errors: Vec<PlanError>,
}

impl<'a> Builder<'a> {
    fn new(world: &'a World, tenants: &'a [Tenant]) -> Self {
        let tunnels = tenants.iter().flat_map(|tenant| tenant.tunnel.clone());
        let taken = tenants.iter().flat_map(|tenant| &tenant.neighbors).flat_map(|neighbor| {
            [Some(neighbor.address), neighbor.local_address, neighbor.next_hop_other]
                .into_iter()
                .flatten()
        });
        Self {
            world,
            tenants,
            systems: world.systems.clone(),
            routers: Vec::new(),
            sites: Vec::new(),
            clients: Vec::new(),
            interfaces: HashMap::new(),
            links: LinkAddresses::new(world.link_prefix_v4, world.link_prefix_v6, {
                taken.chain(tunnels).collect()
            }),
            plan: Plan {
                name: world.name.clone(),
                nodes: Vec::new(),
                links: Vec::new(),
                notes: Vec::new(),
            },
            errors: Vec::new(),
        }
    }

    /// An AS that only the fleet knows becomes a transit network with a router at each site that
    /// names it, bought from the two nearest ASes that pay nobody.
    fn add_missing_systems(&mut self) {
        let mut missing: BTreeMap<Asn, Vec<&Place>> = BTreeMap::new();
        for tenant in self.tenants {
            for system in self.systems.iter().filter(|system| system.asn == tenant.asn) {
                self.errors.push(PlanError::AsnTaken {
                    site: tenant.name.clone(),
                    asn: tenant.asn,
                    system: system.name.clone(),
                });
            }
            for neighbor in &tenant.neighbors {
                if neighbor.asn == tenant.asn {
                    self.errors.push(PlanError::OwnNeighbor {
                        site: tenant.name.clone(),
                        asn: tenant.asn,
                        address: neighbor.address,
                    });
                    continue;
                }
                if matches!(neighbor.address, IpAddr::V6(it) if it.is_unicast_link_local()) {
                    let (site, address) = (tenant.name.clone(), neighbor.address);
                    self.errors.push(PlanError::LinkLocal { site, address });
                    continue;
                }
                if self.world.systems.iter().all(|system| system.asn != neighbor.asn) {
                    let places = missing.entry(neighbor.asn).or_default();
                    if places.iter().all(|place| place.city != tenant.place.city) {
                        places.push(&tenant.place);
                    }
                }
            }
        }
        for (asn, places) in missing {
            let mut tops: Vec<usize> = (0..self.world.systems.len())
                .filter(|&index| {
                    let system = &self.world.systems[index];
                    system.providers.is_empty() && system.implementation.forwards()
                })
                .collect();
            let distance = |top: &usize| nearest(&self.world.systems[*top].cities, places[0]).1;
            tops.sort_by(|a, b| distance(a).total_cmp(&distance(b)).then(a.cmp(b)));
            tops.truncate(2);
            if tops.is_empty() {
                self.errors.push(PlanError::NoTransit { asn });
            }
            let of = tops
                .iter()
                .map(|&top| self.world.systems[top].name.as_str())
                .collect::<Vec<_>>()
                .join(" and ");
            self.plan.notes.push(format!(
                "AS {asn} is in the fleet file but not in the world: added as `as{asn}`, a \
                 customer of {of}"
            ));
            self.systems.push(System {
                name: format!("as{asn}"),
                asn,
                cities: places.into_iter().cloned().collect(),
                providers: tops,
                peers: Vec::new(),
                implementation: Implementation::Anycast,
                prefix_v4: None,
                prefix_v6: None,
            });
        }
    }

    fn add_routers(&mut self) {
        let (v4, v6) = (self.world.loopback_prefix_v4, self.world.loopback_prefix_v6);
        for system in &self.systems {
            let mut nodes = Vec::new();
            for place in &system.cities {
                // The first address of a block looks like a network's name: start at one.
                let number = self.plan.nodes.len() + 1;
                let (id, loopback) = (nth(v4.into(), number), nth(v6.into(), number));
                let (Some(IpAddr::V4(id)), Some(loopback)) = (id, loopback) else {
                    self.errors.push(PlanError::PoolTooSmall {
                        key: if id.is_none() { "loopback-prefix-v4" } else { "loopback-prefix-v6" },
                        prefix: if id.is_none() { v4.into() } else { v6.into() },
                        room: format!("{} routers an address", number - 1),
                    });
                    return;
                };
                nodes.push(self.plan.nodes.len());
                self.plan.nodes.push(Node {
                    name: router_name(system, place),
                    kind: NodeKind::Router(RouterPlan {
                        asn: system.asn,
                        as_name: system.name.clone(),
                        implementation: system.implementation,
                        router_id: id,
                        loopbacks: vec![id.into(), loopback],
                        extra_addresses: Vec::new(),
                        listen_ports: vec![BGP_PORT],
                        originates: Vec::new(),
                        static_routes: Vec::new(),
                        neighbors: Vec::new(),
                    }),
                    place: place.clone(),
                });
            }
            self.routers.push(nodes);
        }
    }

    fn add_sites_and_clients(&mut self) {
        for tenant in self.tenants {
            self.sites.push(self.plan.nodes.len());
            self.plan.nodes.push(Node {
                name: tenant.name.clone(),
                kind: NodeKind::Site(SitePlan {
                    site: tenant.name.clone(),
                    routes: Vec::new(),
                    extra_addresses: Vec::new(),
                }),
                place: tenant.place.clone(),
            });
        }
        for client in &self.world.clients {
            let system = &self.systems[client.system];
            self.clients.push(self.plan.nodes.len());
            self.plan.nodes.push(Node {
                name: client.name.clone(),
                kind: NodeKind::Client(ClientPlan {
                    addresses: Vec::new(),
                    gateway_v4: None,
                    gateway_v6: None,
                    as_name: system.name.clone(),
                    segment: usize::MAX,
                }),
                place: system.cities[client.city].clone(),
            });
        }
    }

    fn check_names(&mut self) {
        let mut seen = HashSet::new();
        let twice: BTreeSet<&str> = self
            .plan
            .nodes
            .iter()
            .map(|node| node.name.as_str())
            .filter(|name| !seen.insert(*name))
            .collect();
        self.errors.extend(twice.into_iter().map(|name| PlanError::NameTaken(name.to_owned())));
    }

    /// The world's clients live in their ASes' networks: a site there would be one of them.
    fn check_addresses(&mut self) {
        for tenant in self.tenants {
            for neighbor in &tenant.neighbors {
                for address in neighbor.local_address.into_iter().chain([neighbor.address]) {
                    let taken = self.world.systems.iter().find_map(|system| {
                        let v4 = system.prefix_v4.map(IpNet::from);
                        let networks = v4.into_iter().chain(system.prefix_v6.map(IpNet::from));
                        let prefix = networks.into_iter().find(|net| net.contains(&address))?;
                        Some((prefix, system.name.clone()))
                    });
                    if let Some((prefix, system)) = taken {
                        let site = tenant.name.clone();
                        let error = PlanError::AddressTaken { site, address, prefix, system };
                        if !self.errors.contains(&error) {
                            self.errors.push(error);
                        }
                    }
                }
            }
        }
    }

    /// Within an AS a wire is laid, the shortest first, wherever the way so far is more than
    /// 1.4 times as long: connected, no full mesh, and no silly detours.
    fn add_internal_links(&mut self) {
        const DETOUR: f64 = 1.4;
        for system in 0..self.routers.len() {
            let nodes = self.routers[system].clone();
            let mut pairs: Vec<(f64, usize, usize)> = Vec::new();
            for a in 0..nodes.len() {
                for b in a + 1..nodes.len() {
                    pairs.push((self.distance(nodes[a], nodes[b]), a, b));
                }
            }
            pairs.sort_by(|x, y| x.0.total_cmp(&y.0).then((x.1, x.2).cmp(&(y.1, y.2))));
            let mut known = vec![vec![f64::INFINITY; nodes.len()]; nodes.len()];
            for (i, row) in known.iter_mut().enumerate() {
                row[i] = 0.0;
            }
            for (direct, a, b) in pairs {
                if known[a][b] <= direct * DETOUR {
                    continue;
                }
                for i in 0..nodes.len() {
                    for j in 0..nodes.len() {
                        let through =
                            (known[i][a] + known[b][j]).min(known[i][b] + known[a][j]) + direct;
                        known[i][j] = known[i][j].min(through);
                    }
                }
                self.add_wire(nodes[a], nodes[b]);
            }
        }
    }

    fn add_links_between_systems(&mut self) {
        for customer in 0..self.systems.len() {
            for provider in self.systems[customer].providers.clone() {
                self.connect(provider, customer, Relation::Customer);
            }
            for peer in self.systems[customer].peers.clone() {
                self.connect(customer, peer, Relation::Peer);
            }
        }
    }

    /// Links `a` to `b`, which is `relation` to it: in every city that they share, or if there is
    /// none between their closest routers.
    fn connect(&mut self, a: usize, b: usize, relation: Relation) {
        let mut pairs = Vec::new();
        for &x in &self.routers[a] {
            for &y in &self.routers[b] {
                if self.plan.nodes[x].place.city == self.plan.nodes[y].place.city {
                    pairs.push((x, y));
                }
            }
        }
        if pairs.is_empty() {
            let closest = self.routers[a]
                .iter()
                .flat_map(|&x| self.routers[b].iter().map(move |&y| (x, y)))
                .min_by(|p, q| self.distance(p.0, p.1).total_cmp(&self.distance(q.0, q.1)));
            pairs.extend(closest);
        }
        for (x, y) in pairs {
            let Some(link) = self.add_wire(x, y) else { return };
            for family in 0..2 {
                let ends = &self.plan.links[link].ends;
                let (at_x, at_y) =
                    (ends[0].addresses[family].addr(), ends[1].addresses[family].addr());
                self.add_session(Some(link), (x, at_x), (y, at_y), Some(relation));
            }
        }
    }

    /// A wire with addresses of the pool.
    fn add_wire(&mut self, a: usize, b: usize) -> Option<usize> {
        let Some([at_a, at_b]) = self.links.take() else {
            let (prefix, count) = self.links.room();
            let error = PlanError::PoolTooSmall {
                key: if prefix.addr().is_ipv4() { "link-prefix-v4" } else { "link-prefix-v6" },
                prefix,
                room: format!("{count} links addresses"),
            };
            if !self.errors.contains(&error) {
                self.errors.push(error);
            }
            return None;
        };
        Some(self.add_link(a, at_a, b, at_b))
    }

    pub(super) fn add_link(
        &mut self,
        a: usize,
        at_a: Vec<IpNet>,
        b: usize,
        at_b: Vec<IpNet>,
    ) -> usize {
        let latency =
            self.plan.nodes[a].place.latency(&self.plan.nodes[b].place, self.world.stretch);
        let ends = vec![
            LinkEnd { node: a, ifname: self.interface_towards(a, b), addresses: at_a },
            LinkEnd { node: b, ifname: self.interface_towards(b, a), addresses: at_b },
        ];
        let name = format!("{}--{}", self.plan.nodes[a].name, self.plan.nodes[b].name);
        self.plan.links.push(Link { name, kind: LinkKind::Wire, latency, ends });
        self.plan.links.len() - 1
    }

    fn interface_towards(&mut self, node: usize, other: usize) -> String {
        let Node { name, place, kind } = &self.plan.nodes[other];
        let split = match kind {
            NodeKind::Router(router) if router.as_name != *name => {
                Some((router.as_name.as_str(), place.city.as_str()))
            }
            NodeKind::Router(_) | NodeKind::Site(_) | NodeKind::Client(_) => None,
        };
        interface_name(name, split, self.interfaces.entry(node).or_default())
    }

    /// Sessions at both ends, one family each; `b` is `relation` to `a`.
    fn add_session(
        &mut self,
        link: Option<usize>,
        (a, at_a): (usize, IpAddr),
        (b, at_b): (usize, IpAddr),
        relation: Option<Relation>,
    ) {
        let turned = relation.map(|relation| match relation {
            Relation::Customer => Relation::Provider,
            Relation::Peer => Relation::Peer,
            Relation::Provider => Relation::Customer,
        });
        for (node, local_address, other, address, relation) in
            [(a, at_a, b, at_b, relation), (b, at_b, a, at_a, turned)]
        {
            let neighbor = NeighborPlan {
                name: session_name(&self.plan.nodes[other].name, address),
                node: other,
                address,
                local_address,
                next_hop_other: None,
                port: BGP_PORT,
                asn: self.router(other).asn,
                relation,
                families: vec![family_of(address)],
                hold_time: self.world.hold_time,
                password_file: None,
                multihop: None,
                gtsm: false,
                next_hop_self: relation.is_none(),
                bfd: None,
                link,
            };
            self.router_mut(node).neighbors.push(neighbor);
        }
    }

    pub(super) fn add_address(
        &mut self,
        link: usize,
        node: usize,
        address: IpAddr,
        prefix_len: u8,
    ) {
        let net = network(address, prefix_len);
        let ends = &mut self.plan.links[link].ends;
        let end = ends.iter_mut().find(|end| end.node == node);
        if let Some(end) = end.filter(|end| !end.addresses.contains(&net)) {
            end.addresses.push(net);
        }
    }

    pub(super) fn add_route(
        &mut self,
        link: usize,
        node: usize,
        prefix: IpNet,
        gateway: Option<IpAddr>,
        metric: u32,
    ) {
        let ends = &self.plan.links[link].ends;
        let Some(end) = ends.iter().find(|end| end.node == node) else { return };
        let route = StaticRoute { prefix, gateway, ifname: end.ifname.clone(), metric };
        let routes = match &mut self.plan.nodes[node].kind {
            NodeKind::Router(router) => &mut router.static_routes,
            NodeKind::Site(site) => &mut site.routes,
            NodeKind::Client(_) => return,
        };
        if !routes.contains(&route) {
            routes.push(route);
        }
    }

    /// The clients of one router share a segment; where an AS has several, they share its network
    /// in equal parts.
    fn add_segments(&mut self) {
        let mut by_router: BTreeMap<(usize, usize), Vec<usize>> = BTreeMap::new();
        for (index, client) in self.world.clients.iter().enumerate() {
            by_router.entry((client.system, client.city)).or_default().push(self.clients[index]);
        }
        for system in 0..self.systems.len() {
            let segments: Vec<_> = by_router.iter().filter(|((of, _), _)| *of == system).collect();
            let networks = |prefix: Option<IpNet>| {
                prefix.map(|prefix| (prefix, split(prefix, segments.len().max(1))))
            };
            let networks = [
                networks(self.systems[system].prefix_v4.map(Ipv4Net::into)),
                networks(self.systems[system].prefix_v6.map(Ipv6Net::into)),
            ];
            let prefixes: Vec<IpNet> =
                networks.iter().flatten().map(|(prefix, _)| *prefix).collect();
            if segments.is_empty() {
                let first = self.routers[system][0];
                self.router_mut(first).originates.extend(prefixes);
                continue;
            }
            for (nth_segment, ((_, city), clients)) in segments.into_iter().enumerate() {
                let router = self.routers[system][*city];
                self.router_mut(router).originates.extend(&prefixes);
                let nets: Vec<IpNet> = networks
                    .iter()
                    .flatten()
                    .filter_map(|(_, parts)| parts.as_ref()?.get(nth_segment).copied())
                    .collect();
                let fits = nets.len() == prefixes.len()
                    && nets.iter().all(|net| nth(*net, clients.len() + 1).is_some());
                if !fits {
                    let prefix = prefixes[0];
                    let system = self.systems[system].name.clone();
                    self.errors.push(PlanError::NetworkTooSmall { system, prefix });
                    continue;
                }
                self.add_segment(router, clients, &nets);
            }
        }
    }

    fn add_segment(&mut self, router: usize, clients: &[usize], nets: &[IpNet]) {
        let segment = self.plan.links.len();
        let addresses = |host: usize| -> Vec<IpNet> {
            nets.iter()
                .filter_map(|net| Some(network(nth(*net, host)?, net.prefix_len())))
                .collect()
        };
        let gateways = addresses(1);
        self.interfaces.entry(router).or_default().insert("lan".to_owned());
        let mut ends =
            vec![LinkEnd { node: router, ifname: "lan".to_owned(), addresses: gateways.clone() }];
        for (i, &client) in clients.iter().enumerate() {
            let own = addresses(i + 2);
            if let NodeKind::Client(plan) = &mut self.plan.nodes[client].kind {
                plan.addresses = own.iter().map(IpNet::addr).collect();
                plan.gateway_v4 = gateways.iter().find_map(|net| match net.addr() {
                    IpAddr::V4(address) => Some(address),
                    IpAddr::V6(_) => None,
                });
                plan.gateway_v6 = gateways.iter().find_map(|net| match net.addr() {
                    IpAddr::V4(_) => None,
                    IpAddr::V6(address) => Some(address),
                });
                plan.segment = segment;
            }
            ends.push(LinkEnd { node: client, ifname: "eth0".to_owned(), addresses: own });
        }
        let name = format!("{}--lan", self.plan.nodes[router].name);
        let latency = std::time::Duration::ZERO;
        self.plan.links.push(Link { name, kind: LinkKind::Segment, latency, ends });
    }

    /// Full mesh between the loopbacks of an AS.
    fn add_internal_sessions(&mut self) {
        for nodes in self.routers.clone() {
            for (i, &a) in nodes.iter().enumerate() {
                for &b in &nodes[i + 1..] {
                    for family in 0..2 {
                        let at_a = self.router(a).loopbacks[family];
                        let at_b = self.router(b).loopbacks[family];
                        self.add_session(None, (a, at_a), (b, at_b), None);
                    }
                }
            }
        }
    }

    /// A leaf whose program leaves the kernel alone sends what is not its own to its providers,
    /// else to its peers.
    fn add_defaults_of_leaves(&mut self) {
        for node in self.routers.clone().into_iter().flatten() {
            if self.router(node).implementation.forwards() {
                continue;
            }
            let mut ways: Vec<(bool, usize, IpAddr)> = self
                .router(node)
                .neighbors
                .iter()
                .filter_map(|n| Some((n.relation? != Relation::Provider, n.link?, n.address)))
                .collect();
            ways.sort_by_key(|(not_provider, _, _)| *not_provider);
            for (metric, (_, link, gateway)) in (100..).zip(ways) {
                self.add_route(link, node, default_route(gateway), Some(gateway), metric);
            }
        }
    }

    fn distance(&self, a: usize, b: usize) -> f64 {
        self.plan.nodes[a].place.distance_km(&self.plan.nodes[b].place)
    }

    pub(super) fn router(&self, node: usize) -> &RouterPlan {
        match &self.plan.nodes[node].kind {
            NodeKind::Router(router) => router,
            NodeKind::Site(_) | NodeKind::Client(_) => unreachable!("a node of `routers`"),
        }
    }

    pub(super) fn router_mut(&mut self, node: usize) -> &mut RouterPlan {
        match &mut self.plan.nodes[node].kind {
            NodeKind::Router(router) => router,
            NodeKind::Site(_) | NodeKind::Client(_) => unreachable!("a node of `routers`"),
        }
    }
}

/// The index of the nearest place and how far it is, in kilometres.
pub(super) fn nearest(places: &[Place], to: &Place) -> (usize, f64) {
    places
        .iter()
        .map(|place| place.distance_km(to))
        .enumerate()
        .min_by(|a, b| a.1.total_cmp(&b.1))
        .expect("an AS has at least one city")
}

fn family_of(address: IpAddr) -> Family {
    if address.is_ipv4() { Family::Ipv4Unicast } else { Family::Ipv6Unicast }
}

pub(super) fn session_name(node: &str, address: IpAddr) -> String {
    format!("{node}-{}", if address.is_ipv4() { "v4" } else { "v6" })
}

pub(super) fn default_route(like: IpAddr) -> IpNet {
    match like {
        IpAddr::V4(_) => network(Ipv4Addr::UNSPECIFIED.into(), 0),
        IpAddr::V6(_) => network(Ipv6Addr::UNSPECIFIED.into(), 0),
    }
}

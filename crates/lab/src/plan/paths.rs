//! Shortest paths over the routers by latency: the IGP of each AS, and multicast trees.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, BinaryHeap, HashMap, HashSet};
use std::hash::BuildHasher;
use std::net::IpAddr;

use ipnet::IpNet;
use serde::Serialize;

use super::{LinkKind, NodeKind, Plan};

/// How a router reaches a prefix inside its AS.
#[derive(Clone, Debug, Eq, PartialEq, Serialize)]
pub struct IgpRoute {
    /// The sum over the path of latency in microseconds plus one; the decision process compares
    /// it (RFC 4271 §9.1.2.2 e).
    pub cost: u32,
    /// The next router, on the link of `ifname`.
    pub gateway: IpAddr,
    /// The way out.
    pub ifname: String,
}

/// What one router does with packets of one source and group.
#[derive(Clone, Debug, Eq, PartialEq, Serialize)]
pub struct MulticastHop {
    /// Where they come in.
    pub iif: usize,
    /// Where they go out.
    pub oifs: BTreeSet<usize>,
}

/// The routes inside the AS `as_name` while the links of `down` are cut: for each of its routers
/// (index of the node), the loopbacks and segments of the others, by prefix. What cannot be
/// reached is left out; so is what is the router's own.
pub fn igp<S: BuildHasher>(
    plan: &Plan,
    as_name: &str,
    down: &HashSet<usize, S>,
) -> BTreeMap<usize, BTreeMap<IpNet, IgpRoute>> {
    let members: BTreeSet<usize> = plan
        .routers()
        .filter(|(_, _, router)| router.as_name == as_name)
        .map(|(index, _, _)| index)
        .collect();
    let graph = Graph::new(plan, down, |node| members.contains(&node));
    let prefixes: BTreeMap<usize, Vec<IpNet>> =
        members.iter().map(|&node| (node, inside(plan, node, down))).collect();
    members
        .iter()
        .map(|&from| {
            let mut routes = BTreeMap::new();
            for (to, path) in graph.shortest_paths(from) {
                let Some(first) = path.first else { continue };
                for prefix in &prefixes[&to] {
                    let v4 = prefix.addr().is_ipv4();
                    if let Some(route) = route(plan, from, first, path.cost, v4) {
                        routes.insert(*prefix, route);
                    }
                }
            }
            (from, routes)
        })
        .collect()
}

/// The tree over which packets from the client `source` reach the segments of `receivers`: for
/// each router on it (index of the node), where they come in and go out. Shortest paths by
/// latency over all routers, whatever the business relations; a receiver that cannot be reached
/// is left out, and the source's own segment needs no router.
pub fn multicast_tree<S: BuildHasher>(
    plan: &Plan,
    source: usize,
    receivers: &[usize],
    down: &HashSet<usize, S>,
) -> BTreeMap<usize, MulticastHop> {
    let mut tree: BTreeMap<usize, MulticastHop> = BTreeMap::new();
    let NodeKind::Client(client) = &plan.nodes[source].kind else { return tree };
    let home = client.segment;
    if down.contains(&home) {
        return tree;
    }
    let first_router = plan.links[home].ends[0].node;
    let graph = Graph::new(plan, down, |_| true);
    let paths = graph.shortest_paths(first_router);
    for &segment in receivers {
        let mut router = plan.links[segment].ends[0].node;
        if segment == home || down.contains(&segment) || !paths.contains_key(&router) {
            continue;
        }
        let mut out = segment;
        loop {
            let last = paths[&router].last;
            let iif = last.map_or(home, |(link, _)| link);
            let hop = tree.entry(router).or_insert(MulticastHop { iif, oifs: BTreeSet::new() });
            hop.oifs.insert(out);
            let Some((link, previous)) = last else { break };
            (router, out) = (previous, link);
        }
    }
    tree
}

/// What the IGP says of a router: its loopbacks and the segments that are up.
fn inside<S: BuildHasher>(plan: &Plan, node: usize, down: &HashSet<usize, S>) -> Vec<IpNet> {
    let NodeKind::Router(router) = &plan.nodes[node].kind else { return Vec::new() };
    let segments = plan
        .links
        .iter()
        .enumerate()
        .filter(|(index, link)| link.kind == LinkKind::Segment && !down.contains(index))
        .filter(|(_, link)| link.ends[0].node == node)
        .flat_map(|(_, link)| link.ends[0].addresses.iter().map(IpNet::trunc));
    router.loopbacks.iter().copied().map(IpNet::from).chain(segments).collect()
}

fn route(plan: &Plan, from: usize, link: usize, cost: u32, v4: bool) -> Option<IgpRoute> {
    let ends = &plan.links[link].ends;
    let own = ends.iter().find(|end| end.node == from)?;
    let other = ends.iter().find(|end| end.node != from)?;
    let gateway = other.addresses.iter().map(IpNet::addr).find(|addr| addr.is_ipv4() == v4)?;
    Some(IgpRoute { cost, gateway, ifname: own.ifname.clone() })
}

/// Routers and the wires between them.
struct Graph {
    /// For each router: link, router at its other end, cost.
    edges: HashMap<usize, Vec<(usize, usize, u32)>>,
}

/// A shortest path.
struct Path {
    cost: u32,
    /// The first link; `None` at the start itself.
    first: Option<usize>,
    /// The last link and the router before it; `None` at the start itself.
    last: Option<(usize, usize)>,
}

impl Graph {
    fn new<S: BuildHasher>(
        plan: &Plan,
        down: &HashSet<usize, S>,
        keep: impl Fn(usize) -> bool,
    ) -> Self {
        let is_router =
            |node: usize| matches!(plan.nodes[node].kind, NodeKind::Router(_)) && keep(node);
        let mut edges: HashMap<usize, Vec<(usize, usize, u32)>> = HashMap::new();
        for (index, link) in plan.links.iter().enumerate() {
            let [a, b] = link.ends.as_slice() else { continue };
            if link.kind != LinkKind::Wire || down.contains(&index) {
                continue;
            }
            if is_router(a.node) && is_router(b.node) {
                let micros = u32::try_from(link.latency.as_micros()).unwrap_or(u32::MAX / 1024);
                edges.entry(a.node).or_default().push((index, b.node, micros + 1));
                edges.entry(b.node).or_default().push((index, a.node, micros + 1));
            }
        }
        Self { edges }
    }

    /// Dijkstra. Equal costs are settled by the lower index, so that a plan is always the same.
    fn shortest_paths(&self, start: usize) -> BTreeMap<usize, Path> {
        let mut done: BTreeMap<usize, Path> = BTreeMap::new();
        let mut queue = BinaryHeap::from([Reverse((0, start, None::<usize>, None))]);
        while let Some(Reverse((cost, node, first, last))) = queue.pop() {
            if done.contains_key(&node) {
                continue;
            }
            for &(link, next, edge) in self.edges.get(&node).map_or(&[][..], Vec::as_slice) {
                if !done.contains_key(&next) {
                    let first = first.or(Some(link));
                    queue.push(Reverse((cost + edge, next, first, Some((link, node)))));
                }
            }
            done.insert(node, Path { cost, first, last });
        }
        done
    }
}

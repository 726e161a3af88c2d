//! How good sixteen configurations are.
//!
//! The search counts the heaviest networks only, until 95% of the weight is there, and looks at a
//! part of the graph: these, all networks with customers, the sites' neighbors and members of
//! route servers. A network without customers tells nobody of a route, so leaving it out
//! changes nothing for those that stay. Among tied sites only distance counts here, not by how
//! many neighbors each is heard; what is reported in the end is worked out on the whole graph,
//! with both.

use anycast_bgp::Asn;
use anycast_catchment::{
    AsId, Batch, Configuration, Graph, LANES, LaneRoutes, Link, NeighborKind, Relationship,
    Relationships, Resolved, RouteServer,
};

use super::space::{Genes, Goal, apply};
use crate::scene::Scene;

/// The share of the weight at which the search looks.
const ENOUGH: f64 = 0.95;
/// Milliseconds, one each; the last is for all that is farther or not reached.
const BUCKETS: usize = 640;
/// The farthest that is reached.
const FARTHEST: f64 = 638.0;

/// The part of the graph at which the search looks.
#[derive(Debug)]
pub(super) struct Ground<'s> {
    scene: &'s Scene,
    graph: Graph,
    rows: Vec<Row>,
    /// For each row and site how attractive it is by distance; and the bucket of its round trip.
    near: Vec<f32>,
    bucket: Vec<u16>,
    sites: usize,
}

#[derive(Clone, Copy, Debug)]
struct Row {
    id: AsId,
    weight: f32,
}

/// What is thought of one configuration.
#[derive(Clone, Copy, Debug)]
pub(super) struct Judged {
    /// What must be little, with a little of what breaks ties.
    pub(super) score: f64,
    /// What must be little.
    pub(super) value: f64,
}

impl<'s> Ground<'s> {
    pub(super) fn new(scene: &'s Scene) -> Self {
        let counted = counted(scene);
        let keep = kept(scene, &counted);
        let graph = part(scene, &keep);
        let sites = scene.sites.len();
        let (mut rows, mut near, mut bucket) = (Vec::new(), Vec::new(), Vec::new());
        for id in graph.ids() {
            let old = scene.graph.index_of(graph.asn(id)).expect("it is a part of that graph");
            let weight = scene.network(old).weight / scene.weight.max(f64::MIN_POSITIVE);
            if !counted[old.index()] {
                continue;
            }
            #[expect(clippy::cast_possible_truncation, reason = "a share")]
            rows.push(Row { id, weight: weight as f32 });
            for km in scene.km(old) {
                let known = !km.is_nan();
                let km = f64::from(*km);
                #[expect(clippy::cast_possible_truncation, reason = "a factor of at most 1")]
                let factor = (-km / scene.geography.nearness_km).exp().max(1e-30) as f32;
                near.push(if known { factor } else { 1.0 });
                #[expect(
                    clippy::cast_possible_truncation,
                    clippy::cast_sign_loss,
                    reason = "below BUCKETS"
                )]
                let place = scene.ms(km).min(FARTHEST) as u16;
                bucket.push(if known { place } else { u16::MAX });
            }
        }
        Self { scene, graph, rows, near, bucket, sites }
    }
}

/// Which ASes count: the heaviest, until enough of the weight is there.
fn counted(scene: &Scene) -> Vec<bool> {
    let weight = |id: &AsId| scene.network(*id).weight;
    let mut order: Vec<AsId> = scene.graph.ids().filter(|id| weight(id) > 0.0).collect();
    order.sort_by(|a, b| weight(b).total_cmp(&weight(a)).then(a.cmp(b)));
    let mut counted = vec![false; scene.graph.len()];
    let mut sum = 0.0;
    for id in order {
        if sum >= ENOUGH * scene.weight {
            break;
        }
        sum += weight(&id);
        counted[id.index()] = true;
    }
    counted
}

/// Which ASes the search keeps.
fn kept(scene: &Scene, counted: &[bool]) -> Vec<bool> {
    let graph = &scene.graph;
    let mut keep: Vec<bool> = graph
        .ids()
        .map(|id| !graph.customers(id).is_empty() || !graph.siblings(id).is_empty())
        .collect();
    for (_, members) in graph.route_servers() {
        for id in members {
            keep[id.index()] = true;
        }
    }
    for told in scene.configuration.sites.iter().flat_map(|site| &site.announcements) {
        if let Some(id) = graph.index_of(told.neighbor) {
            keep[id.index()] = true;
            // The peers of an AS that is used as a route server are its members.
            let members =
                if told.kind == NeighborKind::RouteServer { graph.peers(id) } else { &[] };
            for peer in members {
                keep[peer.index()] = true;
            }
        }
    }
    for (keep, counts) in keep.iter_mut().zip(counted) {
        *keep |= *counts;
    }
    keep
}

fn part(scene: &Scene, keep: &[bool]) -> Graph {
    let graph = &scene.graph;
    let mut links = Vec::new();
    for id in graph.ids().filter(|id| keep[id.index()]) {
        let link = |other: &AsId, relationship| Link {
            a: graph.asn(*other),
            b: graph.asn(id),
            relationship,
        };
        let kept = |other: &&AsId| keep[other.index()];
        let once = |other: &&AsId| keep[other.index()] && **other < id;
        links.extend(
            graph.providers(id).iter().filter(kept).map(|it| link(it, Relationship::ProviderOf)),
        );
        links.extend(graph.peers(id).iter().filter(once).map(|it| link(it, Relationship::Peer)));
        links.extend(
            graph.siblings(id).iter().filter(once).map(|it| link(it, Relationship::Sibling)),
        );
    }
    let mut part = Relationships::from_links(links).expect("the whole is without contradiction");
    for (asn, members) in graph.route_servers() {
        let members: Vec<Asn> = members.iter().map(|id| graph.asn(*id)).collect();
        part.add_route_server(RouteServer { asn, members });
    }
    Graph::new(&part).expect("the whole has no cycle, so no part has")
}

/// Judges configurations; its memory is reused.
#[derive(Debug)]
pub(super) struct Judge<'g> {
    ground: &'g Ground<'g>,
    goal: Goal,
    batch: Batch<'g>,
    lanes: LaneRoutes,
    scratch: Configuration,
    /// For each lane the weight in each bucket, and at each site.
    buckets: Vec<f32>,
    loads: Vec<f32>,
}

impl<'g> Judge<'g> {
    pub(super) fn new(ground: &'g Ground<'g>, base: &Configuration, goal: Goal) -> Self {
        // Pins and single networks that a neighbor does not tell cost the lanes. What follows a
        // model is not propagated in the end, so the search goes by relations; the model chooses.
        let scene = ground.scene;
        let mut scratch = base.clone();
        let resolved = if scene.model.is_some() {
            for told in scratch.sites.iter_mut().flat_map(|site| &mut site.announcements) {
                told.not_to.clear();
            }
            Resolved::default()
        } else {
            scene.overrides.resolve(&ground.graph, base)
        };
        Self {
            ground,
            goal,
            batch: Batch::new(&ground.graph, resolved),
            lanes: LaneRoutes::new(),
            scratch,
            buckets: vec![0.0; LANES * BUCKETS],
            loads: vec![0.0; LANES * ground.sites],
        }
    }

    /// How good these are, at most [`LANES`] of them.
    pub(super) fn scores(&mut self, tries: &[Genes]) -> Vec<Judged> {
        let announced: Vec<_> = tries
            .iter()
            .map(|genes| {
                apply(genes, &mut self.scratch);
                // Neighbors are those of the whole configuration, which was resolved; prepends
                // are bounded.
                self.scratch.resolve(&self.ground.graph).unwrap_or_default()
            })
            .collect();
        self.batch.run(&announced, &mut self.lanes);
        self.sum_up(tries.len());
        let up = |genes: &Genes| genes.iter().filter(|(mask, _)| *mask != 0).count();
        let plain = |genes: &Genes| -> f64 {
            genes
                .iter()
                .filter(|(mask, _)| *mask != 0)
                .map(|(_, prepend)| f64::from(*prepend))
                .sum()
        };
        let each = tries.iter().enumerate().map(|(lane, genes)| {
            let mut judged = self.judged(lane, up(genes));
            // Of two that are as good, the one that prepends less.
            judged.score += 1e-3 * self.goal.heat() * plain(genes);
            judged
        });
        each.collect()
    }

    fn sum_up(&mut self, count: usize) {
        self.buckets.fill(0.0);
        self.loads.fill(0.0);
        let width = self.ground.sites;
        for (at, row) in self.ground.rows.iter().enumerate() {
            let near = &self.ground.near[at * width..(at + 1) * width];
            let bucket = &self.ground.bucket[at * width..(at + 1) * width];
            let sets = self.lanes.row(row.id);
            for (lane, set) in sets.into_iter().enumerate().take(count) {
                let mut add = |site: usize, weight: f32| {
                    self.loads[lane * width + site] += weight;
                    if let Some(sum) =
                        self.buckets.get_mut(lane * BUCKETS + usize::from(bucket[site]))
                        && bucket[site] != u16::MAX
                    {
                        *sum += weight;
                    }
                };
                if set == 0 {
                    self.buckets[lane * BUCKETS + BUCKETS - 1] += row.weight;
                } else if set.is_power_of_two() {
                    add(set.trailing_zeros() as usize, row.weight);
                } else {
                    let each = |mut set: u64, act: &mut dyn FnMut(usize)| {
                        while set != 0 {
                            act(set.trailing_zeros() as usize);
                            set &= set - 1;
                        }
                    };
                    let mut sum = 0.0;
                    each(set, &mut |site| sum += near[site]);
                    each(set, &mut |site| add(site, row.weight * near[site] / sum));
                }
            }
        }
    }

    fn judged(&self, lane: usize, up: usize) -> Judged {
        let buckets = &self.buckets[lane * BUCKETS..(lane + 1) * BUCKETS];
        let loads = &self.loads[lane * self.ground.sites..(lane + 1) * self.ground.sites];
        let lost = f64::from(buckets[BUCKETS - 1]);
        let total: f32 = buckets.iter().sum();
        let mean_ms = buckets.iter().zip(0_u16..).map(|(w, ms)| w * f32::from(ms)).sum::<f32>()
            / total.max(f32::MIN_POSITIVE);
        let value = match self.goal {
            Goal::Median => quantile(buckets, total * 0.5),
            Goal::P95 => quantile(buckets, total * 0.95),
            Goal::LoadImbalance => {
                let sum: f32 = loads.iter().sum();
                let highest = loads.iter().copied().fold(0.0, f32::max);
                #[expect(clippy::cast_precision_loss, reason = "a few sites")]
                let mean = sum / up.max(1) as f32;
                if mean > 0.0 { f64::from(highest / mean) } else { f64::INFINITY }
            }
        };
        // What breaks ties is small beside the goal; who is lost counts in any case.
        let score = value + 0.02 * self.goal.heat() * f64::from(mean_ms) + 100.0 * lost;
        Judged { score, value }
    }
}

/// Within which bucket so much of the weight is, and where in it.
fn quantile(buckets: &[f32], wanted: f32) -> f64 {
    let mut sum = 0.0;
    for (ms, weight) in (0_u16..).zip(buckets) {
        if *weight > 0.0 && sum + weight >= wanted {
            return f64::from(ms) + f64::from((wanted - sum) / weight);
        }
        sum += weight;
    }
    f64::INFINITY
}

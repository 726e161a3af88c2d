//! What differs between two configurations: site by site and network by network.

use serde::Serialize;

use crate::outcome::{Latency, Outcome};
use crate::scene::Scene;

/// What differs.
#[derive(Clone, Debug, Serialize)]
pub struct Difference {
    /// Each site.
    pub sites: Vec<SiteDifference>,
    /// Of all users, before.
    pub before: Latency,
    /// And after.
    pub after: Latency,
    /// The share of the weight that moves, in expectation.
    pub moved: f64,
    /// ASes whose likeliest site changes, or who lose or gain their last.
    pub moved_networks: usize,
    /// The share of the weight that loses the prefix altogether.
    pub lost: f64,
    /// The networks that move most weight.
    pub networks: Vec<Moved>,
}

/// One site.
#[derive(Clone, Debug, Serialize)]
pub struct SiteDifference {
    /// Its name.
    pub site: String,
    /// Its share of the weight before.
    pub before: f64,
    /// And after.
    pub after: f64,
    /// The median round trip of those who land there, before.
    pub median_ms_before: Option<f64>,
    /// And after.
    pub median_ms_after: Option<f64>,
    /// From which sites how much of the whole weight comes, and where to it goes (negative).
    pub flows: Vec<(String, f64)>,
}

/// One network that moves.
#[derive(Clone, Debug, Serialize)]
pub struct Moved {
    /// Its number.
    pub asn: u32,
    /// Its name, if known.
    pub name: String,
    /// Its share of the weight.
    pub share: f64,
    /// The likeliest site before, and how likely; `None`: it was not reached.
    pub from: Option<(String, f64)>,
    /// The likeliest site after.
    pub to: Option<(String, f64)>,
    /// What it gains (negative) or loses in estimated round trip, in milliseconds.
    pub ms: Option<f64>,
}

/// What differs from `before` to `after`; `most` networks are listed.
pub fn difference(scene: &Scene, before: &Outcome, after: &Outcome, most: usize) -> Difference {
    let width = scene.sites.len();
    let total = scene.weight.max(f64::MIN_POSITIVE);
    let mut flows = vec![0.0; width * width];
    let mut moved: Vec<(f64, Moved)> = Vec::new();
    let mut found = Difference {
        sites: Vec::new(),
        before: Latency::of(scene, &before.distribution(scene)),
        after: Latency::of(scene, &after.distribution(scene)),
        moved: 0.0,
        moved_networks: 0,
        lost: 0.0,
        networks: Vec::new(),
    };
    for id in scene.graph.ids() {
        let (old, new) = (before.shares(id), after.shares(id));
        let weight = scene.network(id).weight / total;
        let gone: f64 = old.iter().zip(new).map(|(old, new)| f64::from((old - new).max(0.0))).sum();
        let come: f64 = old.iter().zip(new).map(|(old, new)| f64::from((new - old).max(0.0))).sum();
        if gone.max(come) < 1e-6 {
            continue;
        }
        found.moved += weight * gone.max(come);
        if after.tied[id.index()].is_empty() {
            found.lost += weight;
        }
        // What leaves goes to those who gain, by how much they gain.
        for from in (0..width).filter(|at| old[*at] > new[*at] && come > 0.0) {
            for to in (0..width).filter(|at| new[*at] > old[*at]) {
                let part = f64::from(new[to] - old[to]) / come;
                flows[from * width + to] += weight * f64::from(old[from] - new[from]) * part;
            }
        }
        let named = |it: Option<(usize, f32)>| {
            it.map(|(at, likely)| (scene.sites[at].name.clone(), f64::from(likely)))
        };
        let (from, to) = (before.likeliest(id), after.likeliest(id));
        found.moved_networks += usize::from(from.map(|it| it.0) != to.map(|it| it.0));
        let km = before.mean_km(scene, id).zip(after.mean_km(scene, id));
        moved.push((
            weight * gone.max(come),
            Moved {
                asn: scene.graph.asn(id).0,
                name: scene.network(id).name.clone(),
                share: weight,
                from: named(from),
                to: named(to),
                ms: km.map(|(old, new)| scene.ms(new - old)),
            },
        ));
    }
    moved.sort_by(|a, b| b.0.total_cmp(&a.0).then(a.1.asn.cmp(&b.1.asn)));
    found.networks = moved.into_iter().take(most).map(|(_, it)| it).collect();
    let (old, new) = (before.loads(scene), after.loads(scene));
    for (at, site) in scene.sites.iter().enumerate() {
        let of = |outcome: &Outcome| Latency::of(scene, &outcome.distribution_at(scene, at));
        let mut net: Vec<(String, f64)> = (0..width)
            .map(|other| (other, flows[other * width + at] - flows[at * width + other]))
            .filter(|(_, flow)| flow.abs() > 1e-6)
            .map(|(other, flow)| (scene.sites[other].name.clone(), flow))
            .collect();
        net.sort_by(|a, b| b.1.abs().total_cmp(&a.1.abs()));
        found.sites.push(SiteDifference {
            site: site.name.clone(),
            before: old[at],
            after: new[at],
            median_ms_before: of(before).median_ms,
            median_ms_after: of(after).median_ms,
            flows: net,
        });
    }
    found
}

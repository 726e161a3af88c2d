//! The whole plan: each site, the fleet's latency, and who lands far from home.

use anycast_catchment::{AsId, Configuration, ConfigurationError, NeighborKind};
use serde::Serialize;

use crate::change::{Change, What};
use crate::observed;
use crate::outcome::{Latency, Outcome, Planner};
use crate::scene::Scene;

/// Nobody calls a detour of fewer kilometres one.
const FAR_KM: f64 = 1_000.0;
/// A remedy may cut off this share of the weight at most.
const MOST_LOST: f64 = 0.001;

/// The plan of one configuration.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    /// Where the relations are from.
    pub topology: String,
    /// ASes in the graph.
    pub networks: usize,
    /// What weights count; `None`: each AS counts 1.
    pub weighted_by: Option<String>,
    /// Each site, as in the fleet file.
    pub sites: Vec<SiteReport>,
    /// Of all users.
    pub latency: Latency,
    /// The share of the weight within so many milliseconds of round trip.
    pub within_ms: Vec<(u32, f64)>,
    /// The share of the weight whose distance is known.
    pub with_place: f64,
    /// Whether shares follow what was observed, and not propagation.
    pub learnt: bool,
    /// ASes whose tied best routes lead to more than one site; with what was observed, those that may
    /// land at more than one by it.
    pub shared_networks: usize,
    /// Their share of the weight.
    pub shared_weight: f64,
    /// ASes that the prefix does not reach.
    pub unreached_networks: usize,
    /// Their share of the weight.
    pub unreached_weight: f64,
    /// The networks whose detour weighs most.
    pub far: Vec<Far>,
    /// What the user should know.
    pub notes: Vec<String>,
}

/// One site.
#[derive(Clone, Debug, Serialize)]
pub struct SiteReport {
    /// Its name.
    pub site: String,
    /// Whether it announces.
    pub up: bool,
    /// ASes whose best routes all lead there.
    pub networks: usize,
    /// ASes that it shares by tie with others.
    pub shared: usize,
    /// The share of the weight that is expected to land there.
    pub share: f64,
    /// The least: of ASes that can land nowhere else.
    pub share_least: f64,
    /// The most: of all ASes that can land there.
    pub share_most: f64,
    /// Of those who land there.
    pub latency: Latency,
}

/// A network that lands far from home.
#[derive(Clone, Debug, Serialize)]
pub struct Far {
    /// Its number.
    pub asn: u32,
    /// Its name, if known.
    pub name: String,
    /// Where it is, if known.
    pub city: String,
    /// Its share of the weight.
    pub share: f64,
    /// Where it lands, the likeliest.
    pub site: String,
    /// How likely that is.
    pub likely: f64,
    /// The site next to it that announces.
    pub nearest: String,
    /// Expected distance, in kilometres.
    pub km: f64,
    /// Distance to the nearest, in kilometres.
    pub nearest_km: f64,
    /// What the detour costs, in milliseconds of round trip.
    pub extra_ms: f64,
    /// What would bring it nearer, each tried.
    pub remedies: Vec<Remedy>,
}

/// A change that was tried, and what came of it.
#[derive(Clone, Debug, Serialize)]
pub struct Remedy {
    /// In the words of `--what-if`.
    pub change: String,
    /// How much nearer the network then is, in kilometres.
    pub nearer_km: f64,
    /// What the fleet's median round trip becomes, in milliseconds.
    pub median_ms: Option<f64>,
    /// And the 95th percentile.
    pub p95_ms: Option<f64>,
}

/// The plan of a configuration. `far` networks that land far from home are listed, with remedies
/// that were tried if `remedies`.
///
/// # Errors
/// The configuration cannot be resolved.
pub fn report(
    scene: &Scene,
    configuration: &Configuration,
    far: usize,
    progress: &mut dyn FnMut(usize, usize),
) -> Result<(Report, Outcome), ConfigurationError> {
    let mut planner = Planner::new(scene);
    let outcome = planner.run(configuration)?;
    let distribution = outcome.distribution(scene);
    let share_of = |weight: f64| if scene.weight > 0.0 { weight / scene.weight } else { 0.0 };
    let mut report = Report {
        topology: scene.source.clone(),
        networks: scene.graph.len(),
        weighted_by: scene.weighted_by.clone(),
        sites: sites(scene, configuration, &outcome),
        latency: Latency::of(scene, &distribution),
        within_ms: [10, 20, 30, 50, 100, 150, 200, 300]
            .map(|ms| (ms, distribution.within(f64::from(ms) / scene.ms(1.0))))
            .to_vec(),
        with_place: share_of(distribution.weight()),
        learnt: scene.model.as_ref().is_some_and(|model| model.knows(configuration)),
        shared_networks: 0,
        shared_weight: 0.0,
        unreached_networks: 0,
        unreached_weight: 0.0,
        far: Vec::new(),
        notes: scene.notes.clone(),
    };
    if distribution.weight() <= 0.0 {
        report.within_ms.clear();
    }
    let learnt = scene.model.as_ref().filter(|_| report.learnt);
    let unseen = learnt.and_then(|model| observed::never_seen(model, configuration));
    report.notes.extend(unseen.filter(|note| !scene.notes.contains(note)));
    let origin = |id: AsId| configuration.sites.iter().any(|it| it.origin == scene.graph.asn(id));
    for id in scene.graph.ids() {
        let weight = share_of(scene.network(id).weight);
        match outcome.tied[id.index()].len() {
            0 if !origin(id) => {
                report.unreached_networks += 1;
                report.unreached_weight += weight;
            }
            0 | 1 => {}
            _ => {
                report.shared_networks += 1;
                report.shared_weight += weight;
            }
        }
    }
    if outcome.unsettled > 0 {
        report.notes.push(format!(
            "the routes of {} networks do not settle: what is said of them is one of several \
             possible outcomes",
            outcome.unsettled
        ));
    }
    for site in &report.sites {
        if site.up && site.share_most <= 0.0 && site.networks + site.shared == 0 {
            let words = "attracts no network at all: is one of its neighbors told of the prefix?";
            report.notes.push(format!("{} {words}", site.site));
        }
    }
    report.far = far_ones(scene, configuration, &outcome, far, progress);
    Ok((report, outcome))
}

fn sites(scene: &Scene, configuration: &Configuration, outcome: &Outcome) -> Vec<SiteReport> {
    let loads = outcome.loads(scene);
    let each = configuration.sites.iter().enumerate();
    each.map(|(at, site)| {
        let mut line = SiteReport {
            site: site.name.clone(),
            up: site.up,
            networks: 0,
            shared: 0,
            share: loads[at],
            share_least: 0.0,
            share_most: 0.0,
            latency: Latency::of(scene, &outcome.distribution_at(scene, at)),
        };
        for id in scene.graph.ids().filter(|id| outcome.tied[id.index()].contains(at)) {
            let weight = scene.network(id).weight / scene.weight.max(f64::MIN_POSITIVE);
            line.share_most += weight;
            if outcome.tied[id.index()].len() == 1 {
                line.networks += 1;
                line.share_least += weight;
            } else {
                line.shared += 1;
            }
        }
        line
    })
    .collect()
}

/// The nearest site that announces and its distance.
fn home(scene: &Scene, configuration: &Configuration, id: AsId) -> Option<(usize, f64)> {
    let up = |(at, _): &(usize, &f32)| configuration.sites[*at].up;
    let km = scene.km(id).iter().enumerate().filter(up).filter(|(_, km)| !km.is_nan());
    km.map(|(at, km)| (at, f64::from(*km))).min_by(|a, b| a.1.total_cmp(&b.1))
}

fn far_ones(
    scene: &Scene,
    configuration: &Configuration,
    outcome: &Outcome,
    most: usize,
    progress: &mut dyn FnMut(usize, usize),
) -> Vec<Far> {
    let mut found: Vec<(f64, AsId, usize, f64, f64)> = Vec::new();
    for id in scene.graph.ids().filter(|id| scene.network(*id).weight > 0.0) {
        let (Some(km), Some((home, nearest_km))) =
            (outcome.mean_km(scene, id), home(scene, configuration, id))
        else {
            continue;
        };
        if km - nearest_km > FAR_KM {
            found.push(((km - nearest_km) * scene.network(id).weight, id, home, km, nearest_km));
        }
    }
    found.sort_by(|a, b| b.0.total_cmp(&a.0).then(a.1.cmp(&b.1)));
    found.truncate(most);
    let total = found.len();
    let reached: f64 = outcome.loads(scene).iter().sum();
    let mut planner = Planner::new(scene);
    let each = found.into_iter().enumerate().map(|(done, (_, id, nearest, km, nearest_km))| {
        progress(done, total);
        let (site, likely) = outcome.likeliest(id).expect("it has a distance");
        Far {
            asn: scene.graph.asn(id).0,
            name: scene.network(id).name.clone(),
            city: scene.network(id).city.clone(),
            share: scene.network(id).weight / scene.weight,
            site: configuration.sites[site].name.clone(),
            likely: f64::from(likely),
            nearest: configuration.sites[nearest].name.clone(),
            km,
            nearest_km,
            extra_ms: scene.ms(km - nearest_km),
            remedies: remedies(
                &mut planner,
                scene,
                configuration,
                id,
                (site, nearest, km),
                reached,
            ),
        }
    });
    each.collect()
}

/// What may bring a network nearer, tried one by one; the best two, if any.
fn remedies(
    planner: &mut Planner<'_>,
    scene: &Scene,
    configuration: &Configuration,
    id: AsId,
    (site, nearest, km): (usize, usize, f64),
    reached: f64,
) -> Vec<Remedy> {
    let name = |at: usize| configuration.sites[at].name.clone();
    let of_site = |at: usize, what: What| Change { site: name(at), neighbor: None, what };
    let mut tries: Vec<Change> = Vec::new();
    if site != nearest {
        tries.extend([1, 2, 3].map(|n| of_site(site, What::Prepend(n))));
        for told in configuration.sites[site].announcements.iter().filter(|told| told.announced) {
            let (neighbor, what) = (Some(told.neighbor), What::NoExport);
            tries.push(Change { neighbor, ..of_site(site, what) });
        }
    }
    // A session of the nearest site with the network itself, or with those that it pays. Of what a
    // new one attracts nothing was seen.
    if scene.model.is_none() {
        let asn = scene.graph.asn(id);
        tries.push(of_site(nearest, What::Add(asn, NeighborKind::Peer)));
        for provider in scene.graph.providers(id).iter().take(4) {
            let asn = scene.graph.asn(*provider);
            tries.push(of_site(nearest, What::Add(asn, NeighborKind::Transit)));
        }
    }
    let mut found = Vec::new();
    for change in tries {
        let mut tried = configuration.clone();
        // A neighbor that is there already is no remedy.
        if change.apply(&mut tried).is_err() {
            continue;
        }
        let Ok(outcome) = planner.run(&tried) else { continue };
        let nearer_km = km - outcome.mean_km(scene, id).unwrap_or(f64::INFINITY);
        // What cuts others off is no remedy, however near those are that are left.
        let lost = reached - outcome.loads(scene).iter().sum::<f64>();
        if nearer_km > FAR_KM / 2.0 && lost < MOST_LOST {
            let latency = Latency::of(scene, &outcome.distribution(scene));
            found.push(Remedy {
                change: change.to_string(),
                nearer_km,
                median_ms: latency.median_ms,
                p95_ms: latency.p95_ms,
            });
        }
    }
    // What serves all others best goes first: a remedy for one may be a harm to many.
    let cost = |it: &Remedy| it.median_ms.unwrap_or(0.0) + it.p95_ms.unwrap_or(0.0);
    found.sort_by(|a, b| cost(a).total_cmp(&cost(b)).then(b.nearer_km.total_cmp(&a.nearer_km)));
    found.truncate(2);
    found
}

//! How right predictions were: each experiment is predicted from what was seen while its sites
//! announced alone, and compared with where networks were measured to land when they announced
//! together.
//!
//! Nothing of an outcome, this experiment's or another's, reaches a prediction: the model is
//! learnt anew for each experiment from its single-site paths only. The baseline `majority` is
//! the exception, as it has to be: it is told the outcome's most frequent site.

use std::collections::BTreeMap;

use anycast_bgp::Asn;
use serde::Serialize;

use crate::candidates::{Via, View};
use crate::configuration::{Announced, Announcement, Configuration, NeighborKind, Site};
use crate::graph::Graph;
use crate::learn::learn;
use crate::observed::{Experiment, Landing, Observations, SeenSite};
use crate::overrides::Resolved;
use crate::propagate::propagate;
use crate::routes::Routes;

/// How many rows the table of reliability has.
const BINS: usize = 10;

/// Ways to predict, as they are listed.
const METHODS: [&str; 3] = ["calibrated", "majority", "lowest-asn"];

/// All scores.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Report {
    /// Each experiment and way of measuring it.
    pub experiments: Vec<ExperimentScore>,
    /// The mean of experiments' scores, each counting the same, by way of measuring and method.
    pub mean: Vec<MeanScore>,
    /// Experiments that could not be predicted, and why.
    pub left_out: Vec<LeftOut>,
}

/// One measurement of one experiment.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ExperimentScore {
    /// The experiment.
    pub experiment: String,
    /// How it was measured.
    pub measured: String,
    /// How many ASes were compared.
    pub ases: usize,
    /// How many of them the graph does not have; every method but `majority` gives each site
    /// the same share there.
    pub unknown: usize,
    /// By method.
    pub methods: Vec<MethodScore>,
}

/// How well a method did.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct MethodScore {
    /// `calibrated`, `majority` (the outcome's most frequent site, always) or `lowest-asn`
    /// (Gao-Rexford, every neighbor taken for transit, ties to the lowest AS number).
    pub method: &'static str,
    /// The share of ASes whose most likely site is the measured one. An AS measured at several
    /// sites counts in part, and so does one that has several most likely sites.
    pub accuracy: f64,
    /// The same by the weight that the file gives.
    pub weighted: f64,
    /// The mean over sites of the accuracy among ASes that land there.
    pub balanced: f64,
    /// The mean squared distance between shares and outcome, over sites and halved: 0 is
    /// perfect, 1 is sure and wrong.
    pub brier: f64,
    /// How often what was said with a probability came true.
    pub reliability: Vec<Bin>,
}

/// Predictions whose most likely site had a share in one range.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct Bin {
    /// The range begins here; it is a tenth wide.
    pub from: f64,
    /// How many ASes.
    pub ases: usize,
    /// Their mean share.
    pub said: f64,
    /// How many of them, as a share, landed there.
    pub came_true: f64,
}

/// The mean over experiments.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct MeanScore {
    /// How it was measured.
    pub measured: String,
    /// The method.
    pub method: &'static str,
    /// Over how many experiments.
    pub experiments: usize,
    /// See [`MethodScore`].
    pub accuracy: f64,
    /// See [`MethodScore`].
    pub weighted: f64,
    /// See [`MethodScore`].
    pub balanced: f64,
    /// See [`MethodScore`].
    pub brier: f64,
}

/// An experiment without scores.
#[derive(Clone, Debug, Eq, PartialEq, Serialize)]
pub struct LeftOut {
    /// The experiment.
    pub experiment: String,
    /// Why.
    pub why: String,
}

/// Scores every experiment that has a measurement.
#[must_use]
pub fn score(observations: &Observations, graph: &Graph) -> Report {
    let mut report = Report { experiments: Vec::new(), mean: Vec::new(), left_out: Vec::new() };
    for experiment in &observations.experiments {
        let left_out = |why: String| LeftOut { experiment: experiment.name.clone(), why };
        if experiment.measured.iter().all(|(_, landings)| landings.is_empty()) {
            report.left_out.push(left_out("nothing was measured".to_owned()));
            continue;
        }
        let plain = match lowest_asn(experiment, &observations.origins, graph) {
            Ok(rows) => rows,
            Err(why) => {
                report.left_out.push(left_out(why));
                continue;
            }
        };
        let sites: Vec<&SeenSite> = experiment.sites.iter().collect();
        let names: Vec<&str> = sites.iter().map(|site| site.name.as_str()).collect();
        let calibrated = learn(&sites, &observations.origins, graph).expect(graph, &names);
        for (name, landings) in experiment.measured.iter().filter(|(_, it)| !it.is_empty()) {
            report.experiments.push(one(experiment, name, landings, graph, &calibrated, &plain));
        }
    }
    report.mean = means(&report.experiments);
    report
}

/// Where an AS was measured, and its share of each site.
struct Outcome {
    asn: Asn,
    weight: f64,
    shares: Vec<f64>,
}

fn outcomes(landings: &[Landing], names: &[&str]) -> Vec<Outcome> {
    let mut sums: BTreeMap<Asn, Vec<f64>> = BTreeMap::new();
    for landing in landings {
        if let Some(site) = names.iter().position(|name| *name == landing.site) {
            sums.entry(landing.asn).or_insert_with(|| vec![0.0; names.len()])[site] +=
                landing.weight;
        }
    }
    let outcome = |(asn, mut shares): (Asn, Vec<f64>)| {
        let weight: f64 = shares.iter().sum();
        for share in &mut shares {
            *share /= weight;
        }
        Outcome { asn, weight, shares }
    };
    sums.into_iter().map(outcome).filter(|it| it.weight > 0.0).collect()
}

fn one(
    experiment: &Experiment,
    measured: &str,
    landings: &[Landing],
    graph: &Graph,
    calibrated: &[Vec<f64>],
    plain: &[Vec<f64>],
) -> ExperimentScore {
    let names: Vec<&str> = experiment.sites.iter().map(|site| site.name.as_str()).collect();
    let outcomes = outcomes(landings, &names);
    let mut totals = vec![0.0; names.len()];
    for outcome in &outcomes {
        totals.iter_mut().zip(&outcome.shares).for_each(|(sum, share)| *sum += share);
    }
    let most = (0..names.len()).rev().max_by(|a, b| totals[*a].total_cmp(&totals[*b]));
    let mut majority = vec![0.0; names.len()];
    if let Some(site) = most {
        majority[site] = 1.0;
    }
    let even = vec![1.0 / float(names.len()); names.len()];
    let of = |rows: &[Vec<f64>], asn: Asn| match graph.index_of(asn) {
        Some(id) if rows[id.index()].iter().sum::<f64>() > 0.0 => rows[id.index()].clone(),
        _ => even.clone(),
    };
    let methods = METHODS.map(|method| {
        let said = |asn| match method {
            "calibrated" => of(calibrated, asn),
            "majority" => majority.clone(),
            _ => of(plain, asn),
        };
        judge(method, &outcomes, &said, names.len())
    });
    ExperimentScore {
        experiment: experiment.name.clone(),
        measured: measured.to_owned(),
        ases: outcomes.len(),
        unknown: outcomes.iter().filter(|it| graph.index_of(it.asn).is_none()).count(),
        methods: methods.into(),
    }
}

/// Compares what a method said with outcomes.
fn judge(
    method: &'static str,
    outcomes: &[Outcome],
    said: &impl Fn(Asn) -> Vec<f64>,
    sites: usize,
) -> MethodScore {
    let mut score = MethodScore {
        method,
        accuracy: 0.0,
        weighted: 0.0,
        balanced: 0.0,
        brier: 0.0,
        reliability: Vec::new(),
    };
    let mut bins = [(0_usize, 0.0, 0.0); BINS];
    let mut right = vec![0.0; sites];
    let mut landed = vec![0.0; sites];
    let mut weight = 0.0;
    for outcome in outcomes {
        let shares = said(outcome.asn);
        let top = shares.iter().copied().fold(0.0, f64::max);
        let tops = shares.iter().filter(|share| **share >= top).count();
        let mut hit = 0.0;
        for site in 0..sites {
            landed[site] += outcome.shares[site];
            score.brier += (shares[site] - outcome.shares[site]).powi(2) / 2.0;
            if shares[site] >= top {
                hit += outcome.shares[site] / float(tops);
                right[site] += outcome.shares[site] / float(tops);
            }
        }
        score.accuracy += hit;
        score.weighted += hit * outcome.weight;
        weight += outcome.weight;
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "0 to 10")]
        let bin = &mut bins[((top * float(BINS)) as usize).min(BINS - 1)];
        *bin = (bin.0 + 1, bin.1 + top, bin.2 + hit);
    }
    let count = float(outcomes.len().max(1));
    score.accuracy /= count;
    score.brier /= count;
    score.weighted /= if weight > 0.0 { weight } else { 1.0 };
    let reached: Vec<usize> = (0..sites).filter(|site| landed[*site] > 0.0).collect();
    score.balanced = reached.iter().map(|site| right[*site] / landed[*site]).sum::<f64>()
        / float(reached.len().max(1));
    for (at, (ases, said, true_)) in bins.into_iter().enumerate().filter(|(_, bin)| bin.0 > 0) {
        let from = float(at) / float(BINS);
        let (said, came_true) = (said / float(ases), true_ / float(ases));
        score.reliability.push(Bin { from, ases, said, came_true });
    }
    score
}

/// Gao-Rexford without anything learnt: each AS next to the origin on a path, or stated as a
/// neighbor, is a transit, and of tied routes the one from the lowest AS number wins.
fn lowest_asn(
    experiment: &Experiment,
    origins: &[Asn],
    graph: &Graph,
) -> Result<Vec<Vec<f64>>, String> {
    let site = |seen: &SeenSite| {
        let mut neighbors = seen.neighbors.clone();
        for path in &seen.alone {
            let end = path.path.iter().position(|asn| origins.contains(asn)).unwrap_or(0);
            neighbors.extend(end.checked_sub(1).map(|at| path.path[at]));
        }
        neighbors.retain(|asn| graph.index_of(*asn).is_some());
        neighbors.sort_unstable();
        neighbors.dedup();
        let tell = |asn| Announcement::new(asn, NeighborKind::Transit);
        Site {
            name: seen.name.clone(),
            origin: origins.first().copied().unwrap_or(Asn(0)),
            up: true,
            announcements: neighbors.into_iter().map(tell).collect(),
        }
    };
    let configuration = Configuration { sites: experiment.sites.iter().map(site).collect() };
    let silent = |site: &&Site| site.announcements.is_empty();
    if let Some(site) = configuration.sites.iter().find(silent) {
        return Err(format!("no neighbor of site {} is in the topology", site.name));
    }
    let announced = configuration.resolve(graph).map_err(|error| error.to_string())?;
    let routes = propagate(graph, &announced);
    Ok(settle_ties(graph, &announced, &routes))
}

fn settle_ties(graph: &Graph, announced: &Announced, routes: &Routes) -> Vec<Vec<f64>> {
    let overrides = Resolved::default();
    let view = View { graph, announced, overrides: &overrides, routes };
    let mut order: Vec<_> =
        graph.ids().filter_map(|id| Some((routes.of(id)?.length, id))).collect();
    order.sort_unstable();
    let mut site_of: Vec<Option<usize>> = vec![None; graph.len()];
    for (_, id) in order {
        let mut best: Option<(u32, usize)> = None;
        view.winners(id, &mut |candidate| {
            let offer = match candidate.via {
                Via::Seed(_) => candidate.sites.iter().next().map(|site| (0, site)),
                Via::Neighbor(from) | Via::Member(_, from) => {
                    site_of[from.index()].map(|site| (graph.asn(from).0, site))
                }
            };
            best = [best, offer].into_iter().flatten().min();
        });
        site_of[id.index()] = best.map(|(_, site)| site);
    }
    let row = |site: &Option<usize>| {
        let mut row = vec![0.0; announced.sites()];
        if let Some(site) = site {
            row[*site] = 1.0;
        }
        row
    };
    site_of.iter().map(row).collect()
}

fn means(experiments: &[ExperimentScore]) -> Vec<MeanScore> {
    let mut names: Vec<&str> = Vec::new();
    for it in experiments {
        if !names.contains(&it.measured.as_str()) {
            names.push(&it.measured);
        }
    }
    let mut means = Vec::new();
    for name in names {
        for (at, method) in METHODS.into_iter().enumerate() {
            let of: Vec<&MethodScore> = experiments
                .iter()
                .filter(|it| it.measured == name)
                .map(|it| &it.methods[at])
                .collect();
            let mean = |of_one: fn(&MethodScore) -> f64| {
                of.iter().map(|it| of_one(it)).sum::<f64>() / float(of.len())
            };
            means.push(MeanScore {
                measured: name.to_owned(),
                method,
                experiments: of.len(),
                accuracy: mean(|it| it.accuracy),
                weighted: mean(|it| it.weighted),
                balanced: mean(|it| it.balanced),
                brier: mean(|it| it.brier),
            });
        }
    }
    means
}

#[expect(clippy::cast_precision_loss, reason = "counts of ASes")]
fn float(count: usize) -> f64 {
    count as f64
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::observed::SeenPath;
    use crate::topology::Relationships;

    fn observations(landed: &str) -> (Observations, Graph) {
        let text = b"64501|64511|-1\n64502|64512|-1\n64501|64502|0\n";
        let graph = Graph::new(&Relationships::parse(text).unwrap()).unwrap();
        let site = |name: &str, next: u32| SeenSite {
            name: name.to_owned(),
            alone: vec![SeenPath { monitor: Asn(next), path: vec![Asn(next), Asn(64500)] }],
            neighbors: Vec::new(),
        };
        let landing =
            |asn, site: &str| Landing { asn: Asn(asn), site: site.to_owned(), weight: 1.0 };
        let experiment = Experiment {
            name: "e".to_owned(),
            sites: vec![site("ams", 64501), site("nrt", 64502)],
            together: Vec::new(),
            measured: vec![(
                "ping".to_owned(),
                vec![landing(64511, "ams"), landing(64512, landed)],
            )],
        };
        (Observations { origins: vec![Asn(64500)], experiments: vec![experiment] }, graph)
    }

    #[test]
    fn right_predictions_and_the_majority_are_told_apart() {
        let (observations, graph) = observations("nrt");
        let report = score(&observations, &graph);
        let accuracy: Vec<_> = report.mean.iter().map(|it| (it.method, it.accuracy)).collect();
        assert_eq!(accuracy, [("calibrated", 1.0), ("majority", 0.5), ("lowest-asn", 1.0)]);
        // Each is said with 3/4: the provider's 1 and the even mix.
        assert!((report.mean[0].brier - 0.0625).abs() < 1e-9);
        let bin = report.experiments[0].methods[0].reliability[0];
        assert_eq!(bin, Bin { from: 0.7, ases: 2, said: 0.75, came_true: 1.0 });
    }

    #[test]
    fn an_outcome_changes_its_score_and_never_its_prediction() {
        let (right, graph) = observations("nrt");
        let (wrong, _) = observations("ams");
        let said = |of: &Observations| {
            let report = score(of, &graph);
            let method = &report.experiments[0].methods[0];
            (method.reliability[0].said, method.accuracy)
        };
        assert_eq!(said(&right), (0.75, 1.0));
        assert_eq!(said(&wrong), (0.75, 0.5));
    }
}

//! How right predictions were: each experiment is predicted from what was seen while its sites
//! announced alone, and compared with where networks were measured to land when they announced
//! together.
//!
//! Nothing of an outcome reaches its own prediction: the model is learnt anew for each experiment.
//! `calibrated` knows its single-site paths and no outcome at all; `ordered` also knows what was
//! measured in the other experiments, as orders of sites. The baseline `majority` is the
//! exception, as it has to be: it is told the outcome's most frequent site.

use std::collections::BTreeMap;

use anycast_bgp::Asn;
use serde::Serialize;

use crate::candidates::{Via, View};
use crate::configuration::{Announced, Announcement, Configuration, NeighborKind, Site};
use crate::graph::Graph;
use crate::learn::{learn, orders};
use crate::observed::{Experiment, Landing, Observations, SeenSite};
use crate::overrides::Resolved;
use crate::propagate::propagate;
use crate::routes::Routes;

/// How many rows the table of reliability has.
const BINS: usize = 10;

/// Ways to predict, as they are listed.
const METHODS: [&str; 5] = ["calibrated", "ordered", "majority", "nearest", "lowest-asn"];

/// What a method says of an AS: the share of each site.
type Say<'a> = Box<dyn Fn(Asn) -> Vec<f64> + 'a>;

/// The distance of an AS from a place (latitude and longitude in degrees), in kilometres, if it is
/// known where the AS is.
pub type Distance<'a> = &'a dyn Fn(Asn, (f64, f64)) -> Option<f64>;

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
    /// How many of them the graph does not have; every method but `majority` and `nearest` gives
    /// each site the same share there.
    pub unknown: usize,
    /// By method; those that nothing can be said by are left out.
    pub methods: Vec<MethodScore>,
}

/// How well a method did.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct MethodScore {
    /// `calibrated`, `ordered` (the same, and orders from the other experiments, if there are
    /// any), `majority` (the outcome's most frequent site, always), `nearest` (by distance, if it is
    /// known where the sites and ASes are) or `lowest-asn` (Gao-Rexford, every neighbor taken for
    /// transit, ties to the lowest AS number).
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
pub fn score(observations: &Observations, graph: &Graph, distance: Distance<'_>) -> Report {
    let mut report = Report { experiments: Vec::new(), mean: Vec::new(), left_out: Vec::new() };
    let measured =
        |experiment: &Experiment| experiment.measured.iter().any(|(_, it)| !it.is_empty());
    for experiment in &observations.experiments {
        let left_out = |why: String| LeftOut { experiment: experiment.name.clone(), why };
        if !measured(experiment) {
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
        let mut model = learn(&sites, &observations.origins, graph);
        let calibrated = model.expect(graph, &names);
        let others = observations.experiments.iter();
        let others: Vec<&Experiment> =
            others.filter(|other| other.name != experiment.name && measured(other)).collect();
        model.orders = orders(&others);
        let ordered = (!others.is_empty()).then(|| model.expect(graph, &names));
        let even = vec![1.0 / float(names.len()); names.len()];
        for (name, landings) in experiment.measured.iter().filter(|(_, it)| !it.is_empty()) {
            let outcomes = outcomes(landings, &names);
            let majority = majority(&outcomes, names.len());
            let says: [Option<Say<'_>>; METHODS.len()] = [
                Some(rows_say(&calibrated, graph, &even)),
                ordered.as_ref().map(|rows| rows_say(rows, graph, &even)),
                Some(Box::new(|_| majority.clone())),
                nearest(experiment, &outcomes, distance, &even),
                Some(rows_say(&plain, graph, &even)),
            ];
            let known = METHODS.into_iter().zip(says);
            let methods = known.filter_map(|(method, say)| {
                say.map(|say| judge(method, &outcomes, &say, names.len()))
            });
            report.experiments.push(ExperimentScore {
                experiment: experiment.name.clone(),
                measured: name.clone(),
                ases: outcomes.len(),
                unknown: outcomes.iter().filter(|it| graph.index_of(it.asn).is_none()).count(),
                methods: methods.collect(),
            });
        }
    }
    report.mean = means(&report.experiments);
    report
}

/// The row of an AS; even shares where it has none.
fn rows_say<'a>(rows: &'a [Vec<f64>], graph: &'a Graph, even: &'a [f64]) -> Say<'a> {
    Box::new(move |asn| match graph.index_of(asn) {
        Some(id) if rows[id.index()].iter().sum::<f64>() > 0.0 => rows[id.index()].clone(),
        _ => even.to_vec(),
    })
}

/// The site where most land, always.
fn majority(outcomes: &[Outcome], sites: usize) -> Vec<f64> {
    let mut totals = vec![0.0; sites];
    for outcome in outcomes {
        totals.iter_mut().zip(&outcome.shares).for_each(|(sum, share)| *sum += share);
    }
    let most = (0..sites).rev().max_by(|a, b| totals[*a].total_cmp(&totals[*b]));
    let mut majority = vec![0.0; sites];
    if let Some(site) = most {
        majority[site] = 1.0;
    }
    majority
}

/// The nearest site; even shares for an AS of which it is not known where it is. `None` if it is
/// not known of a site, or of no AS.
fn nearest<'a>(
    experiment: &Experiment,
    outcomes: &[Outcome],
    distance: Distance<'a>,
    even: &'a [f64],
) -> Option<Say<'a>> {
    let places: Vec<(f64, f64)> =
        experiment.sites.iter().map(|site| site.place).collect::<Option<_>>()?;
    let known = |outcome: &Outcome| distance(outcome.asn, *places.first()?);
    outcomes.iter().find_map(known)?;
    Some(Box::new(move |asn| {
        let km: Option<Vec<f64>> = places.iter().map(|place| distance(asn, *place)).collect();
        let Some(km) = km else { return even.to_vec() };
        let least = km.iter().copied().fold(f64::INFINITY, f64::min);
        let near = km.iter().filter(|km| **km <= least).count().max(1);
        km.iter().map(|km| if *km <= least { 1.0 / float(near) } else { 0.0 }).collect()
    }))
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
        for method in METHODS {
            let of: Vec<&MethodScore> = experiments
                .iter()
                .filter(|it| it.measured == name)
                .flat_map(|it| it.methods.iter().filter(|it| it.method == method))
                .collect();
            if of.is_empty() {
                continue;
            }
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
            ..SeenSite::default()
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
        let origins = vec![Asn(64500)];
        (Observations { origins, experiments: vec![experiment], passed_over: 0 }, graph)
    }

    #[test]
    fn right_predictions_and_the_majority_are_told_apart() {
        let (observations, graph) = observations("nrt");
        let report = score(&observations, &graph, &|_, _| None);
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
            let report = score(of, &graph, &|_, _| None);
            let method = &report.experiments[0].methods[0];
            (method.reliability[0].said, method.accuracy)
        };
        assert_eq!(said(&right), (0.75, 1.0));
        assert_eq!(said(&wrong), (0.75, 0.5));
    }

    fn accuracy(report: &Report, experiment: &str, method: &str) -> f64 {
        let experiment = report.experiments.iter().find(|it| it.experiment == experiment).unwrap();
        experiment.methods.iter().find(|it| it.method == method).unwrap().accuracy
    }

    #[test]
    fn orders_of_other_experiments_count_and_those_of_its_own_do_not() {
        let (mut observations, graph) = observations("ams");
        // Alone, the paths say that 64512 lands at nrt; it was measured at ams.
        let mut again = observations.experiments[0].clone();
        again.name = "again".to_owned();
        observations.experiments.push(again);
        let report = score(&observations, &graph, &|_, _| None);
        assert!((accuracy(&report, "e", "calibrated") - 0.5).abs() < 1e-9);
        assert!((accuracy(&report, "e", "ordered") - 1.0).abs() < 1e-9);
        // Where the other experiment has measured nothing, nothing is ordered.
        observations.experiments[1].measured.clear();
        let report = score(&observations, &graph, &|_, _| None);
        assert!(report.experiments[0].methods.iter().all(|it| it.method != "ordered"));
    }

    #[test]
    fn the_nearest_site_is_a_baseline_where_places_are_known() {
        let (mut observations, graph) = observations("nrt");
        for (site, longitude) in observations.experiments[0].sites.iter_mut().zip([4.0, 140.0]) {
            site.place = Some((50.0, longitude));
        }
        // 64511 is at 10 degrees east; of 64512 it is not known.
        let distance =
            |asn, (_, longitude): (f64, f64)| (asn == Asn(64511)).then(|| (longitude - 10.0).abs());
        let report = score(&observations, &graph, &distance);
        assert!((accuracy(&report, "e", "nearest") - 0.75).abs() < 1e-9);
        // Where it is known of no AS, there is nothing to say.
        let report = score(&observations, &graph, &|_, _| None);
        assert!(report.experiments[0].methods.iter().all(|it| it.method != "nearest"));
    }
}

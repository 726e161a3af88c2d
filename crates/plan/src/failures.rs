//! What fails: each site, each neighbor, each two of them; where the load goes.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc;

use anycast_catchment::{Configuration, ConfigurationError};
use serde::Serialize;

use crate::change::{Change, What};
use crate::outcome::{Latency, Planner};
use crate::scene::Scene;

/// How much traffic there is, and what each site takes.
#[derive(Clone, Debug, Default)]
pub struct Traffic {
    /// In all, in bits per second; `None`: not said, so nothing is over capacity.
    pub total: Option<f64>,
    /// For sites whose capacity the fleet file does not say.
    pub capacity: Option<u64>,
}

impl Traffic {
    /// What a site takes, in bits per second.
    pub fn capacity(&self, scene: &Scene, site: usize) -> Option<f64> {
        #[expect(clippy::cast_precision_loss, reason = "rates far below 2^52")]
        scene.sites[site].capacity.or(self.capacity).map(|capacity| capacity as f64)
    }

    /// Each site that would pass its capacity, with how many times it.
    pub(crate) fn over(&self, scene: &Scene, loads: &[f64]) -> Vec<(String, f64)> {
        let Some(total) = self.total else { return Vec::new() };
        let each = loads.iter().enumerate().filter_map(|(at, load)| {
            let times = load * total / self.capacity(scene, at)?;
            (times > 1.0).then(|| (scene.sites[at].name.clone(), times))
        });
        each.collect()
    }
}

/// What comes of one failure.
#[derive(Clone, Debug, Serialize)]
pub struct Failure {
    /// What fails, in the words of `--what-if`; two for pairs.
    pub fails: Vec<String>,
    /// Each site's share of the weight then.
    pub loads: Vec<f64>,
    /// The sites that gain most, with what they gain of the whole weight.
    pub gains: Vec<(String, f64)>,
    /// The share of the weight that is no longer reached.
    pub lost: f64,
    /// Of all users.
    pub latency: Latency,
    /// Sites past their capacity, with how many times it.
    pub over: Vec<(String, f64)>,
}

/// All failures.
#[derive(Clone, Debug, Serialize)]
pub struct Failures {
    /// The sites, in the order of `loads`.
    pub sites: Vec<String>,
    /// What each takes, in bits per second.
    pub capacities: Vec<Option<f64>>,
    /// All the traffic, in bits per second.
    pub traffic: Option<f64>,
    /// Nothing fails.
    pub whole: Failure,
    /// Each failure, in the order of the fleet file.
    pub failures: Vec<Failure>,
}

/// Works out every single site and neighbor down, and with `pairs` every two.
///
/// # Errors
/// The configuration cannot be resolved.
pub fn failures(
    scene: &Scene,
    configuration: &Configuration,
    traffic: &Traffic,
    pairs: bool,
    progress: &mut dyn FnMut(usize, usize),
) -> Result<Failures, ConfigurationError> {
    let singles = singles(configuration);
    let mut cases: Vec<Vec<Change>> = singles.iter().map(|it| vec![it.clone()]).collect();
    if pairs {
        for (at, a) in singles.iter().enumerate() {
            for b in &singles[at + 1..] {
                // A neighbor of a site that is down is down.
                if a.site != b.site || (a.neighbor.is_some() && b.neighbor.is_some()) {
                    cases.push(vec![a.clone(), b.clone()]);
                }
            }
        }
    }
    let mut planner = Planner::new(scene);
    let before = planner.run(configuration)?.loads(scene);
    let run = |planner: &mut Planner<'_>, changes: &[Change]| {
        let mut failed = configuration.clone();
        for change in changes {
            change.apply(&mut failed).expect("it is of this configuration");
        }
        // Fewer announcements cannot be too many.
        let outcome = planner.run(&failed).expect("the whole configuration was resolved");
        let loads = outcome.loads(scene);
        let mut gains: Vec<(String, f64)> = loads
            .iter()
            .zip(&before)
            .enumerate()
            .filter(|(_, (after, before))| **after > **before + 1e-6)
            .map(|(at, (after, before))| (scene.sites[at].name.clone(), after - before))
            .collect();
        gains.sort_by(|a, b| b.1.total_cmp(&a.1));
        Failure {
            fails: changes.iter().map(ToString::to_string).collect(),
            lost: (before.iter().sum::<f64>() - loads.iter().sum::<f64>()).max(0.0),
            latency: Latency::of(scene, &outcome.distribution(scene)),
            over: traffic.over(scene, &loads),
            loads,
            gains,
        }
    };
    let whole = run(&mut planner, &[]);
    let failures =
        on_all_cores(&cases, || Planner::new(scene), |planner, it| run(planner, it), progress);
    let capacity = |(at, _)| traffic.capacity(scene, at);
    Ok(Failures {
        sites: scene.sites.iter().map(|site| site.name.clone()).collect(),
        capacities: scene.sites.iter().enumerate().map(capacity).collect(),
        traffic: traffic.total,
        whole,
        failures,
    })
}

/// Each site that announces, and each neighbor of it that is told, where there are others.
fn singles(configuration: &Configuration) -> Vec<Change> {
    let mut singles = Vec::new();
    for site in configuration.sites.iter().filter(|site| site.up) {
        let down = |neighbor| Change { site: site.name.clone(), neighbor, what: What::Down };
        singles.push(down(None));
        let told: Vec<_> = site.announcements.iter().filter(|told| told.announced).collect();
        if told.len() > 1 {
            singles.extend(told.iter().map(|told| down(Some(told.neighbor))));
        }
    }
    singles
}

/// Does `work` for each case, on as many threads as there are cores; results are in order.
pub(crate) fn on_all_cores<C: Sync, R: Send, W>(
    cases: &[C],
    worker: impl Fn() -> W + Sync,
    work: impl Fn(&mut W, &C) -> R + Sync,
    progress: &mut dyn FnMut(usize, usize),
) -> Vec<R> {
    let threads = std::thread::available_parallelism().map_or(1, usize::from).min(cases.len());
    let next = AtomicUsize::new(0);
    let (send, receive) = mpsc::channel();
    let mut found: Vec<Option<R>> = cases.iter().map(|_| None).collect();
    std::thread::scope(|scope| {
        for _ in 0..threads {
            let (send, next, worker, work) = (send.clone(), &next, &worker, &work);
            scope.spawn(move || {
                let mut worker = worker();
                loop {
                    let at = next.fetch_add(1, Ordering::Relaxed);
                    let Some(case) = cases.get(at) else { break };
                    // Nobody listens any more only if the other side is gone.
                    if send.send((at, work(&mut worker, case))).is_err() {
                        break;
                    }
                }
            });
        }
        drop(send);
        for (done, (at, result)) in receive.iter().enumerate() {
            found[at] = Some(result);
            progress(done + 1, cases.len());
        }
    });
    found.into_iter().map(|result| result.expect("each case was worked out")).collect()
}

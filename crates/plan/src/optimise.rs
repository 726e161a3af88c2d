//! The search for a configuration that serves users better: which sites announce, which of their
//! neighbors are told, and how often each site prepends.
//!
//! Chains of simulated annealing walk through configurations, each with a budget of sites of its
//! own, so that the frontier of cost against latency comes of one search. A step tries sixteen
//! neighbors of a configuration in one batch. Each chain has its own random numbers from the
//! seed, and results are gathered in the order of chains: any number of threads finds the same.
//!
//! | module | what it is |
//! |---|---|
//! | `space` | configurations as short lists of choices, and steps between them |
//! | `judge` | how good sixteen of them are |
//! | `state` | what is kept in a file between runs |

mod judge;
mod space;
mod state;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::path::Path;
use std::time::{Duration, Instant};

use anycast_catchment::{Configuration, ConfigurationError, LANES};
use serde::Serialize;

use crate::outcome::{Latency, Planner};
use crate::scene::{Scene, SiteFacts};

use judge::{Ground, Judge};
use space::{Genes, Space};
pub use space::{Goal, Limits, Transits};
pub use state::StateError;
use state::{Chain, State};

/// Chains that walk.
const CHAINS: usize = 8;
/// Batches of one chain before results are gathered.
const STEPS: usize = 16;

/// What is searched for.
#[derive(Clone, Debug)]
pub struct Search {
    /// What must be little.
    pub goal: Goal,
    /// What is allowed.
    pub limits: Limits,
    /// Where random numbers come from.
    pub seed: u64,
    /// How many configurations are tried.
    pub evaluations: u64,
}

/// Where a search stands.
#[derive(Clone, Copy, Debug)]
pub struct Progress {
    /// Configurations that were tried.
    pub evaluated: u64,
    /// Of how many.
    pub of: u64,
    /// The best so far: milliseconds, or how many times the mean load the highest is.
    pub best: f64,
}

/// What was found.
#[derive(Clone, Debug, Serialize)]
pub struct Found {
    /// What must be little.
    pub goal: Goal,
    /// Configurations that were tried, earlier runs included.
    pub evaluated: u64,
    /// Of this run, each second.
    pub per_second: f64,
    /// The fleet file as it is.
    pub now: Candidate,
    /// The best for each number of sites that beats all with fewer; the last is the best of all.
    pub frontier: Vec<Candidate>,
}

/// One configuration with its figures, worked out on the whole graph.
#[derive(Clone, Debug, Serialize)]
pub struct Candidate {
    /// Sites that announce.
    pub sites: usize,
    /// Neighbors that are told.
    pub sessions: usize,
    /// What must be little.
    pub value: f64,
    /// Of all users.
    pub latency: Latency,
    /// How many times the mean load the highest is.
    pub imbalance: f64,
    /// The share of the weight that is not reached.
    pub lost: f64,
    /// What differs from the fleet file, as its keys.
    pub edits: Vec<Edit>,
    #[serde(skip)]
    configuration: Configuration,
}

impl Candidate {
    /// What must be little, and who is lost: as in the search, a hundredth of the users counts as 1.
    fn cost(&self) -> f64 {
        self.value + 100.0 * self.lost
    }

    /// Whether it is better, by more than comes of rounding shares.
    #[must_use]
    pub fn beats(&self, other: &Self) -> bool {
        self.cost() < other.cost() - 1e-4
    }
}

/// A change of the fleet file.
#[derive(Clone, Debug, Eq, PartialEq, Serialize)]
pub struct Edit {
    /// The site.
    pub site: String,
    /// The neighbor's AS; `None`: the site itself.
    pub neighbor: Option<u32>,
    /// The neighbor's name in the fleet file, if it is there.
    pub name: Option<String>,
    /// The key and its value.
    pub set: String,
}

/// Why there was no search.
#[derive(Debug, thiserror::Error)]
pub enum SearchError {
    /// The configuration cannot be resolved.
    #[error(transparent)]
    Configuration(#[from] ConfigurationError),
    /// The file of an earlier run.
    #[error(transparent)]
    State(#[from] StateError),
    /// Nobody is known whose latency could be made less.
    #[error("no network has a place: give a table of networks with `lat` and `lon` (--networks)")]
    NoPlaces,
    /// No session may be used.
    #[error("nothing may be announced: {0}")]
    Nothing(&'static str),
}

/// Searches, going on where `file` ends if it is there; `watch` is told how it stands and says
/// whether to go on.
///
/// # Errors
/// The configuration cannot be resolved, the file is of another search or cannot be read or
/// written, or nothing can be made better.
pub fn optimise(
    scene: &Scene,
    search: &Search,
    file: Option<&Path>,
    watch: &mut dyn FnMut(Progress) -> bool,
) -> Result<Found, SearchError> {
    let base = &scene.configuration;
    base.resolve(&scene.graph)?;
    if search.goal != Goal::LoadImbalance && scene.networks.iter().all(|row| row.place.is_none()) {
        return Err(SearchError::NoPlaces);
    }
    let space = Space::new(base, &search.limits);
    if space.is_empty() {
        return Err(SearchError::Nothing("no site has a neighbor, or --sites allows none"));
    }
    let ground = Ground::new(scene);
    let fingerprint = state::fingerprint(scene, search);
    let mut state = match file.filter(|file| file.exists()) {
        Some(file) => State::read(file, &fingerprint)?,
        None => State::new(fingerprint, &space, search.seed, CHAINS),
    };
    let (start, before) = (Instant::now(), state.evaluated);
    let threads = std::thread::available_parallelism().map_or(1, usize::from).min(CHAINS);
    let mut judges: Vec<Judge<'_>> =
        (0..threads).map(|_| Judge::new(&ground, base, search.goal)).collect();
    while state.evaluated < search.evaluations {
        #[expect(clippy::cast_precision_loss, reason = "a share")]
        let done = state.evaluated as f64 / search.evaluations as f64;
        let heat = search.goal.heat() * (1.0 - done).max(0.02);
        let each = CHAINS.div_ceil(threads);
        std::thread::scope(|scope| {
            for (chains, judge) in state.chains.chunks_mut(each).zip(&mut judges) {
                let space = &space;
                scope.spawn(move || chains.iter_mut().for_each(|it| walk(it, space, judge, heat)));
            }
        });
        state.gather((CHAINS * STEPS * LANES) as u64);
        if let Some(file) = file {
            state.write(file)?;
        }
        let best = state.best.all().map(|it| it.value).fold(f64::INFINITY, f64::min);
        let (evaluated, of) = (state.evaluated, search.evaluations);
        if !watch(Progress { evaluated, of, best }) {
            break;
        }
    }
    let seconds = start.elapsed().max(Duration::from_micros(1)).as_secs_f64();
    #[expect(clippy::cast_precision_loss, reason = "a rate")]
    let per_second = (state.evaluated - before) as f64 / seconds;
    let (now, frontier) = frontier(scene, search.goal, &state)?;
    Ok(Found { goal: search.goal, evaluated: state.evaluated, per_second, now, frontier })
}

/// So many steps of one chain.
fn walk(chain: &mut Chain, space: &Space, judge: &mut Judge<'_>, heat: f64) {
    if chain.score.is_infinite() {
        chain.score = judge.scores(std::slice::from_ref(&chain.genes))[0].score;
    }
    for _ in 0..STEPS {
        let tries: Vec<Genes> =
            (0..LANES).map(|_| space.step(&chain.genes, chain.budget, &mut chain.random)).collect();
        let scores = judge.scores(&tries);
        for (genes, judged) in tries.iter().zip(&scores) {
            chain.keep(genes, *judged);
        }
        let best = (0..LANES).min_by(|a, b| scores[*a].score.total_cmp(&scores[*b].score));
        let best = best.expect("a batch is not empty");
        let worse = scores[best].score - chain.score;
        if worse <= 0.0 || chain.random.unit() < (-worse / heat).exp() {
            chain.genes.clone_from(&tries[best]);
            chain.score = scores[best].score;
        }
    }
}

/// The fleet file's own figures, and the frontier: of the few that the search kept for each number
/// of sites, the best by what every other plan says of it.
fn frontier(
    scene: &Scene,
    goal: Goal,
    state: &State,
) -> Result<(Candidate, Vec<Candidate>), ConfigurationError> {
    let base = &scene.configuration;
    let mut tried = vec![base.clone()];
    for kept in state.best.all() {
        let mut configuration = base.clone();
        space::apply(&kept.genes, &mut configuration);
        tried.push(configuration);
    }
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let each = tried.len().div_ceil(threads);
    let candidates: Result<Vec<Vec<Candidate>>, ConfigurationError> = std::thread::scope(|scope| {
        let judge = |part: &[Configuration]| -> Result<Vec<Candidate>, ConfigurationError> {
            let mut planner = Planner::new(scene);
            part.iter().map(|it| candidate(scene, goal, &mut planner, it)).collect()
        };
        let running: Vec<_> =
            tried.chunks(each).map(|part| scope.spawn(move || judge(part))).collect();
        running.into_iter().map(|it| it.join().expect("nothing in it panics")).collect()
    });
    let mut candidates = candidates?.into_iter().flatten();
    let now = candidates.next().expect("the file itself is the first");
    let mut by_sites: BTreeMap<usize, Candidate> = BTreeMap::new();
    for candidate in candidates {
        if by_sites.get(&candidate.sites).is_none_or(|best| candidate.beats(best)) {
            by_sites.insert(candidate.sites, candidate);
        }
    }
    let mut frontier: Vec<Candidate> = Vec::new();
    for candidate in by_sites.into_values() {
        if frontier.last().is_none_or(|last| candidate.beats(last)) {
            frontier.push(candidate);
        }
    }
    Ok((now, frontier))
}

/// One configuration on the whole graph.
fn candidate(
    scene: &Scene,
    goal: Goal,
    planner: &mut Planner<'_>,
    configuration: &Configuration,
) -> Result<Candidate, ConfigurationError> {
    let outcome = planner.run(configuration)?;
    let loads = outcome.loads(scene);
    let up = configuration.sites.iter().filter(|site| announces(site)).count();
    #[expect(clippy::cast_precision_loss, reason = "a few sites")]
    let mean = loads.iter().sum::<f64>() / up.max(1) as f64;
    let highest = loads.iter().copied().fold(0.0, f64::max);
    let imbalance = if mean > 0.0 { highest / mean } else { f64::INFINITY };
    let latency = Latency::of(scene, &outcome.distribution(scene));
    let value = match goal {
        Goal::Median => latency.median_ms.unwrap_or(f64::INFINITY),
        Goal::P95 => latency.p95_ms.unwrap_or(f64::INFINITY),
        Goal::LoadImbalance => imbalance,
    };
    Ok(Candidate {
        sites: up,
        sessions: sessions(configuration),
        value,
        latency,
        imbalance,
        lost: (1.0 - loads.iter().sum::<f64>()).max(0.0),
        edits: edits(&scene.sites, &scene.configuration, configuration),
        configuration: configuration.clone(),
    })
}

fn announces(site: &anycast_catchment::Site) -> bool {
    site.up && site.announcements.iter().any(|told| told.announced)
}

fn sessions(configuration: &Configuration) -> usize {
    let up = configuration.sites.iter().filter(|site| site.up);
    up.flat_map(|site| &site.announcements).filter(|told| told.announced).count()
}

impl Candidate {
    /// The configuration itself.
    pub fn configuration(&self) -> &Configuration {
        &self.configuration
    }
}

/// What must be written into the fleet file.
fn edits(facts: &[SiteFacts], base: &Configuration, wanted: &Configuration) -> Vec<Edit> {
    let mut edits = Vec::new();
    for ((facts, old), new) in facts.iter().zip(&base.sites).zip(&wanted.sites) {
        let edit = |neighbor, name, set| Edit { site: new.name.clone(), neighbor, name, set };
        if !announces(new) {
            if announces(old) {
                edits.push(edit(None, None, "start-drained = true".to_owned()));
            }
            continue;
        }
        if old.up != new.up {
            edits.push(edit(None, None, "start-drained = false".to_owned()));
        }
        for (was, is) in old.announcements.iter().zip(&new.announcements) {
            let mut set = Vec::new();
            if was.announced != is.announced {
                let word = if is.announced { "fleet" } else { "nothing" };
                set.push(format!("export = \"{word}\""));
            }
            if is.announced && was.prepend != is.prepend {
                set.push(format!("prepend = {}", is.prepend));
            }
            // Several sessions with one network are told the same.
            let of_it = facts.neighbors.iter().filter(|(asn, _)| *asn == is.neighbor);
            let mut names: Vec<Option<String>> =
                of_it.map(|(_, name)| Some(name.clone())).collect();
            if names.is_empty() {
                names.push(None);
            }
            let each =
                names.into_iter().flat_map(|name| set.iter().map(move |set| (name.clone(), set)));
            edits.extend(each.map(|(name, set)| edit(Some(is.neighbor.0), name, set.clone())));
        }
    }
    edits
}

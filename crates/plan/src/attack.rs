//! An attack from many networks: where it lands, which sites it would drown, and what could be
//! done about it.

use std::collections::BTreeMap;
use std::str::FromStr;

use anycast_bgp::Asn;
use anycast_catchment::{Configuration, ConfigurationError};
use anycast_fleet::Coordinates;
use serde::Serialize;

use crate::change::{Change, What};
use crate::failures::{Traffic, on_all_cores};
use crate::outcome::{Latency, Outcome, Planner};
use crate::scene::Scene;
use crate::table::Table;

/// Parts of the world, by rough boxes of latitude and longitude.
const REGIONS: [(&str, [f64; 4]); 8] = [
    // south, north, west, east; the first that fits
    ("oceania", [-50.0, -10.0, 110.0, 180.0]),
    ("south-america", [-60.0, 13.0, -82.0, -34.0]),
    ("north-america", [7.0, 84.0, -170.0, -50.0]),
    ("europe", [36.0, 72.0, -25.0, 40.0]),
    ("africa", [-36.0, 37.5, -20.0, 34.5]),
    ("africa", [-36.0, 12.0, 34.5, 60.0]),
    ("asia", [-12.0, 80.0, 26.0, 180.0]),
    ("oceania", [-50.0, 30.0, -180.0, -130.0]),
];

/// The parts of the world that have names here.
pub const REGION_NAMES: [&str; 6] =
    ["africa", "asia", "europe", "north-america", "oceania", "south-america"];

/// How Mirai's devices were spread in 2016, by part of the world, roughly: most in South America
/// and Asia, few in North America (Antonakakis et al., "Understanding the Mirai Botnet", USENIX
/// Security 2017).
const MIRAI: [(&str, f64); 6] = [
    ("south-america", 0.35),
    ("asia", 0.42),
    ("europe", 0.15),
    ("north-america", 0.04),
    ("africa", 0.03),
    ("oceania", 0.01),
];

/// The part of the world in which a place is.
pub fn region(place: Coordinates) -> Option<&'static str> {
    let within = |[south, north, west, east]: &[f64; 4]| {
        (*south..=*north).contains(&place.lat) && (*west..=*east).contains(&place.lon)
    };
    REGIONS.iter().find(|(_, area)| within(area)).map(|(name, _)| *name)
}

/// Where an attack comes from.
#[derive(Clone, Debug, PartialEq)]
pub enum Sources {
    /// Each network with the same.
    Uniform,
    /// As Mirai's devices were spread over the world; within a part of it by weight.
    MiraiLike,
    /// One part of the world, by weight.
    Region(String),
    /// Each network as a table says.
    Table(BTreeMap<Asn, f64>),
}

impl FromStr for Sources {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text.split_once(':') {
            None if text == "uniform" => Ok(Self::Uniform),
            None if text == "mirai-like" => Ok(Self::MiraiLike),
            Some(("region", name)) if REGION_NAMES.contains(&name) => {
                Ok(Self::Region(name.to_owned()))
            }
            _ => Err(format!(
                "{text:?} is no botnet: write uniform, mirai-like, or region: and one of {}",
                REGION_NAMES.join(", ")
            )),
        }
    }
}

impl From<&Table> for Sources {
    fn from(table: &Table) -> Self {
        Self::Table(table.rows.iter().map(|(asn, row)| (*asn, row.weight)).collect())
    }
}

/// Why there is no attack.
#[derive(Clone, Debug, thiserror::Error)]
pub enum AttackError {
    /// No network of the topology takes part.
    #[error("no network of the topology takes part: {0}")]
    Nobody(&'static str),
    /// The configuration cannot be resolved.
    #[error(transparent)]
    Configuration(#[from] ConfigurationError),
}

/// An attack and what could be done.
#[derive(Clone, Debug, Serialize)]
pub struct Attack {
    /// In bits per second.
    pub size: f64,
    /// Networks that take part.
    pub networks: usize,
    /// The share of the sources that the topology does not have.
    pub outside: f64,
    /// If nothing is done.
    pub landing: Response,
    /// The sites.
    pub sites: Vec<String>,
    /// What each takes, in bits per second.
    pub capacities: Vec<Option<f64>>,
    /// What could be done, the best first.
    pub playbook: Vec<Response>,
}

/// One response.
#[derive(Clone, Debug, Serialize)]
pub struct Response {
    /// What is done, in the words of `--what-if`; empty: nothing.
    pub does: Vec<String>,
    /// What lands at each site, in bits per second: attack and users.
    pub at_sites: Vec<f64>,
    /// Sites past their capacity, with how many times it.
    pub over: Vec<(String, f64)>,
    /// The highest load of any site, as a share of its capacity; without capacities, as a share
    /// of all.
    pub highest: f64,
    /// The share of users that land at a site past its capacity, or nowhere.
    pub users_hurt: f64,
    /// Of users.
    pub latency: Latency,
}

/// Works out an attack of `size` bits per second and a playbook of responses.
///
/// # Errors
/// Nobody takes part, or the configuration cannot be resolved.
pub fn attack(
    scene: &Scene,
    configuration: &Configuration,
    sources: &Sources,
    size: f64,
    traffic: &Traffic,
    progress: &mut dyn FnMut(usize, usize),
) -> Result<Attack, AttackError> {
    let (weights, outside) = weights(scene, sources)?;
    let mut planner = Planner::new(scene);
    let judge =
        |does: &[Change], outcome: &Outcome| judge(scene, does, outcome, &weights, size, traffic);
    let landing = judge(&[], &planner.run(configuration)?);
    let tries = responses(scene, configuration, &landing);
    let work = |planner: &mut Planner<'_>, changes: &Vec<Change>| {
        let mut changed = configuration.clone();
        changes.iter().try_for_each(|it| it.apply(&mut changed)).ok()?;
        let outcome = planner.run(&changed).ok()?;
        Some(judge(changes, &outcome))
    };
    let mut playbook: Vec<Response> = on_all_cores(&tries, || Planner::new(scene), work, progress)
        .into_iter()
        .flatten()
        .collect();
    // Sums of thousands of shares differ in their last digits.
    let rank = |it: &Response| {
        ((it.users_hurt * 1e6).round(), it.highest, it.latency.median_ms.unwrap_or(0.0))
    };
    playbook.retain(|it| {
        it.users_hurt < landing.users_hurt - 1e-6
            || (it.users_hurt <= landing.users_hurt + 1e-6 && it.highest < landing.highest * 0.98)
    });
    playbook.sort_by(|a, b| {
        let (a, b) = (rank(a), rank(b));
        a.0.total_cmp(&b.0).then(a.1.total_cmp(&b.1)).then(a.2.total_cmp(&b.2))
    });
    Ok(Attack {
        size,
        networks: weights.iter().filter(|weight| **weight > 0.0).count(),
        outside,
        landing,
        sites: scene.sites.iter().map(|site| site.name.clone()).collect(),
        capacities: (0..scene.sites.len()).map(|at| traffic.capacity(scene, at)).collect(),
        playbook,
    })
}

/// What each AS sends, and the share of the sources that is not in the topology.
fn weights(scene: &Scene, sources: &Sources) -> Result<(Vec<f64>, f64), AttackError> {
    let at = |id: anycast_catchment::AsId| scene.network(id).place.and_then(region);
    let mut outside = 0.0;
    let weights: Vec<f64> = match sources {
        Sources::Uniform => scene.graph.ids().map(|_| 1.0).collect(),
        Sources::Region(name) => scene
            .graph
            .ids()
            .map(|id| if at(id) == Some(name) { scene.network(id).weight } else { 0.0 })
            .collect(),
        Sources::MiraiLike => {
            let mut totals: BTreeMap<&str, f64> = BTreeMap::new();
            for id in scene.graph.ids() {
                *totals.entry(at(id).unwrap_or("")).or_default() += scene.network(id).weight;
            }
            let share = |name: &str| {
                MIRAI.iter().find(|(it, _)| *it == name).map_or(0.0, |(_, share)| *share)
            };
            scene
                .graph
                .ids()
                .map(|id| {
                    let name = at(id).unwrap_or("");
                    scene.network(id).weight * share(name) / totals[name].max(f64::MIN_POSITIVE)
                })
                .collect()
        }
        Sources::Table(table) => {
            let mut weights = vec![0.0; scene.graph.len()];
            let (mut inside, mut out) = (0.0, 0.0);
            for (asn, weight) in table {
                match scene.graph.index_of(*asn) {
                    Some(id) => {
                        weights[id.index()] += weight;
                        inside += weight;
                    }
                    None => out += weight,
                }
            }
            outside = if inside + out > 0.0 { out / (inside + out) } else { 0.0 };
            weights
        }
    };
    if weights.iter().sum::<f64>() > 0.0 {
        return Ok((weights, outside));
    }
    Err(AttackError::Nobody(match sources {
        Sources::Table(_) => "none of the numbers in the file is in it",
        _ => "parts of the world need a table of networks with `lat` and `lon` (--networks)",
    }))
}

fn judge(
    scene: &Scene,
    does: &[Change],
    outcome: &Outcome,
    weights: &[f64],
    size: f64,
    traffic: &Traffic,
) -> Response {
    let attack = outcome.loads_of(scene, |id| weights[id.index()]);
    let users = outcome.loads(scene);
    let usual = traffic.total.unwrap_or(0.0);
    let at_sites: Vec<f64> =
        attack.iter().zip(&users).map(|(bad, good)| bad * size + good * usual).collect();
    let mut over = Vec::new();
    let mut users_hurt = (1.0 - users.iter().sum::<f64>()).max(0.0);
    let mut highest: f64 = 0.0;
    for (at, load) in at_sites.iter().enumerate() {
        let Some(capacity) = traffic.capacity(scene, at) else {
            highest = highest.max(load / (size + usual));
            continue;
        };
        highest = highest.max(load / capacity);
        if *load > capacity {
            over.push((scene.sites[at].name.clone(), load / capacity));
            users_hurt += users[at];
        }
    }
    Response {
        does: does.iter().map(ToString::to_string).collect(),
        at_sites,
        over,
        highest,
        users_hurt,
        latency: Latency::of(scene, &outcome.distribution(scene)),
    }
}

/// What is worth a try: at each site that suffers, or the most loaded one, to withdraw, prepend,
/// shed single neighbors, and what two of these do together.
fn responses(scene: &Scene, configuration: &Configuration, landing: &Response) -> Vec<Vec<Change>> {
    let mut hurt: Vec<usize> = (0..scene.sites.len())
        .filter(|at| landing.over.iter().any(|(name, _)| *name == scene.sites[*at].name))
        .collect();
    hurt.sort_by(|a, b| landing.at_sites[*b].total_cmp(&landing.at_sites[*a]));
    if hurt.is_empty() {
        let load = |at: &usize| landing.at_sites[*at];
        hurt.extend((0..scene.sites.len()).max_by(|a, b| load(a).total_cmp(&load(b))));
    }
    hurt.truncate(4);
    let mut singles = Vec::new();
    for at in hurt {
        let site = &configuration.sites[at];
        let change = |neighbor, what| Change { site: site.name.clone(), neighbor, what };
        singles.push(change(None, What::Down));
        singles.extend([1, 2, 3].map(|n| change(None, What::Prepend(n))));
        let told: Vec<_> = site.announcements.iter().filter(|told| told.announced).collect();
        if told.len() > 1 {
            for told in told {
                singles.push(change(Some(told.neighbor), What::Down));
                singles.push(change(Some(told.neighbor), What::Prepend(2)));
                singles.push(change(Some(told.neighbor), What::NoExport));
            }
        }
    }
    let mut tries: Vec<Vec<Change>> = singles.iter().map(|it| vec![it.clone()]).collect();
    for (at, a) in singles.iter().enumerate() {
        let others = singles[at + 1..].iter().filter(|b| b.site != a.site);
        tries.extend(others.map(|b| vec![a.clone(), b.clone()]));
    }
    tries
}

#[cfg(test)]
mod tests {
    use anycast_fleet::city;

    use super::*;

    #[test]
    fn cities_are_in_their_parts_of_the_world() {
        for (code, want) in [
            ("fra", "europe"),
            ("lis", "europe"),
            ("ist", "europe"),
            ("nyc", "north-america"),
            ("mex", "north-america"),
            ("gru", "south-america"),
            ("bog", "south-america"),
            ("jnb", "africa"),
            ("cai", "africa"),
            ("nbo", "africa"),
            ("nrt", "asia"),
            ("dxb", "asia"),
            ("sin", "asia"),
            ("syd", "oceania"),
            ("akl", "oceania"),
        ] {
            let city = city::find(code).unwrap();
            assert_eq!(region(city.coordinates()), Some(want), "{code}");
        }
        let all = city::all().iter().filter(|city| region(city.coordinates()).is_none());
        assert_eq!(all.map(|city| city.name).collect::<Vec<_>>(), Vec::<&str>::new());
    }

    #[test]
    fn mirais_parts_add_up() {
        assert!((MIRAI.iter().map(|(_, share)| share).sum::<f64>() - 1.0).abs() < 1e-9);
    }

    #[test]
    fn botnets_have_names() {
        assert_eq!("uniform".parse(), Ok(Sources::Uniform));
        assert_eq!("region:asia".parse(), Ok(Sources::Region("asia".to_owned())));
        for bad in ["", "region", "region:atlantis", "mirai"] {
            assert!(bad.parse::<Sources>().is_err(), "{bad}");
        }
    }
}

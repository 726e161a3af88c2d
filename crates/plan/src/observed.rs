//! Observations and models on disk.

use std::path::Path;

use anycast_bgp::Asn;
use anycast_catchment::learn::{Model, Role, learn, orders};
use anycast_catchment::observed::{Manifest, Observations, SeenSite};
use anycast_catchment::score::{self, Report};
use anycast_catchment::{Configuration, Graph, NeighborKind, Overrides};
use anycast_fleet::Coordinates;
use anycast_fleet::city::distance_km;

use crate::open;
use crate::table::Table;

/// Reads a manifest and the files that it names, which are relative to its folder and may be
/// packed.
///
/// # Errors
/// The first file that cannot be read or used, in words.
pub fn read(path: &Path) -> Result<Observations, String> {
    let folder = path.parent().unwrap_or(Path::new(""));
    let manifest =
        Manifest::parse(&text(path)?).map_err(|error| format!("{}: {error}", path.display()))?;
    Observations::gather(&manifest, |file| {
        open::read(&folder.join(file)).map_err(|error| error.why.to_string())
    })
    .map_err(|error| format!("{}: {error}", path.display()))
}

/// Reads a model that [`learn_all`] made and its user kept.
///
/// # Errors
/// It cannot be read, or is no model, in words.
pub fn read_model(path: &Path) -> Result<Model, String> {
    Model::parse(&text(path)?).map_err(|error| format!("{}: {error}", path.display()))
}

fn text(path: &Path) -> Result<String, String> {
    let octets = open::read(path).map_err(|error| error.to_string())?;
    String::from_utf8(octets).map_err(|_| format!("{} is no UTF-8 text", path.display()))
}

/// Learns from all that was observed of single sites, and the orders of sites that outcomes of
/// several say. A site of several experiments is one, seen several times.
pub fn learn_all(observations: &Observations, graph: &Graph) -> Model {
    let mut sites: Vec<SeenSite> = Vec::new();
    for seen in observations.experiments.iter().flat_map(|it| &it.sites) {
        match sites.iter_mut().find(|site| site.name == seen.name) {
            Some(site) => {
                site.alone.extend(seen.alone.iter().cloned());
                let new = seen.neighbors.iter().filter(|asn| !site.neighbors.contains(asn));
                let new: Vec<Asn> = new.copied().collect();
                site.neighbors.extend(new);
            }
            None => sites.push(seen.clone()),
        }
    }
    let mut model = learn(&sites.iter().collect::<Vec<_>>(), &observations.origins, graph);
    model.orders = orders(&observations.experiments.iter().collect::<Vec<_>>());
    model
}

/// How right predictions were; `table` says where networks are, for the baseline that takes the
/// nearest site.
pub fn score(observations: &Observations, graph: &Graph, table: &Table) -> Report {
    let distance = |asn: Asn, (lat, lon): (f64, f64)| {
        let from = table.rows.get(&asn)?.place?;
        Some(distance_km(from, Coordinates { lat, lon }))
    };
    score::score(observations, graph, &distance)
}

/// Puts what was learnt of the neighbors of its sites into a configuration, and gives what was
/// learnt of all other networks; and what the user should know.
pub(crate) fn use_model(
    model: &Model,
    configuration: &mut Configuration,
) -> (Overrides, Vec<String>) {
    let mut notes = Vec::new();
    let mut known = 0;
    for site in &mut configuration.sites {
        let learnt = model.neighbors.iter().filter(|it| it.site == site.name);
        let mut absent = Vec::new();
        for learnt in learnt {
            let told = site.announcements.iter_mut().find(|told| told.neighbor.0 == learnt.asn);
            let Some(told) = told else {
                absent.push(format!("AS{}", learnt.asn));
                continue;
            };
            known += 1;
            match (learnt.role, told.kind) {
                (Role::Peer, NeighborKind::Transit) => {
                    told.kind = NeighborKind::Peer;
                    notes.push(format!(
                        "AS{} was not seen to give transit to {}: it counts as a peer",
                        learnt.asn, site.name
                    ));
                }
                (Role::Transit, NeighborKind::Transit) => {
                    told.not_to = learnt.not_to.iter().copied().map(Asn).collect();
                }
                _ => {}
            }
        }
        notes.extend(absent_neighbors(&site.name, &absent));
    }
    if known == 0 {
        notes.push(
            "the model says nothing of any site of this fleet: are its sites called the same?"
                .to_owned(),
        );
    }
    (model.overrides(), notes)
}

/// What a site without neighbors that it was seen with means for the figures.
fn absent_neighbors(site: &str, absent: &[String]) -> Option<String> {
    const SHOWN: usize = 5;
    let count = absent.len();
    let words = match count {
        0 => return None,
        1 => absent[0].clone(),
        2..=SHOWN => format!("{} neighbors ({})", count, absent.join(", ")),
        _ => {
            format!("{count} neighbors ({} and {} more)", absent[..SHOWN].join(", "), count - SHOWN)
        }
    };
    Some(format!(
        "the model has seen {words} next to {site} that this fleet does not tell: routes that came \
         by them count as gone, and orders between {site} and other sites as unknown; write them \
         into the fleet file if they are there"
    ))
}

/// What is announced to neighbors with which the model has never seen a site: what these would
/// attract is in no figure that follows the model.
pub(crate) fn never_seen(model: &Model, configuration: &Configuration) -> Option<String> {
    let up = configuration.sites.iter().filter(|site| site.up);
    let told = up.flat_map(|site| {
        let told = site.announcements.iter().filter(|told| told.announced);
        told.map(|told| (site.name.as_str(), told.neighbor.0))
    });
    let seen = |site: &str, asn: u32| {
        model.neighbors.iter().any(|learnt| learnt.site == site && learnt.asn == asn)
    };
    let unseen: Vec<String> = told
        .filter(|(site, asn)| !seen(site, *asn))
        .map(|(site, asn)| format!("AS{asn} at {site}"))
        .collect();
    (!unseen.is_empty()).then(|| {
        format!(
            "the model has never seen {}: what such a neighbor attracts is not in these figures; \
             plan without --model to see it",
            unseen.join(", ")
        )
    })
}

#[cfg(test)]
mod tests;

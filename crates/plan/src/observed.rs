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
        for learnt in learnt {
            let told = site.announcements.iter_mut().find(|told| told.neighbor.0 == learnt.asn);
            let Some(told) = told else {
                notes.push(format!(
                    "the model has seen AS{} next to {}, which has no such neighbor",
                    learnt.asn, site.name
                ));
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
    }
    if known == 0 {
        notes.push(
            "the model says nothing of any site of this fleet: are its sites called the same?"
                .to_owned(),
        );
    }
    (model.overrides(), notes)
}

//! What a plan is made on: the files that the user names, or what comes along.

use std::io::IsTerminal;
use std::path::Path;

use anycast_catchment::{Configuration, Link, Relationship, Relationships};
use anycast_fleet::{Coordinates, Fleet};
use anycast_lab::world::{self, World};
use anycast_plan::change::Change;
use anycast_plan::table::{Row, Table};
use anycast_plan::{Geography, Ingredients, Scene, observed, open};

use crate::cli::GroundArguments;

const DEFAULT_FLEET: &str = include_str!("../../../../examples/fleet.toml");

/// `None`: a file has problems, which were printed.
pub(super) fn scene(arguments: &GroundArguments) -> Result<Option<Scene>, String> {
    let Some(fleet) = read_fleet(arguments.fleet.as_deref())? else { return Ok(None) };
    let mut with = match (&arguments.topology, &arguments.world) {
        (Some(path), _) => {
            let relationships = relationships(path)?;
            let source = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            Ingredients { source, relationships, ..Ingredients::default() }
        }
        (None, Some(path)) => {
            let Some(world) = read_world(path)? else { return Ok(None) };
            of_world(&world)
        }
        (None, None) => {
            eprintln!(
                "note: no --topology: this is a made-up Internet, good for a first look and for \
                 nothing else; docs/plan.md says where real ones are"
            );
            Ingredients::synthetic(&fleet).map_err(|error| error.to_string())?
        }
    };
    if let Some(path) = &arguments.networks {
        with.table = super::table(path)?;
    }
    if let Some(path) = &arguments.model {
        with.model = Some(observed::read_model(path)?);
    }
    with.prefix = arguments.prefix;
    with.skip_unknown = arguments.leave_out_unknown;
    with.geography = Geography { stretch: arguments.stretch, nearness_km: arguments.nearness };
    Scene::new(&fleet, with).map(Some).map_err(|error| {
        let hint = if matches!(error, anycast_plan::SceneError::Neighbors(_)) {
            "\nNothing is planned without them, as the figures would be wrong. Correct `asn`, or \
             add --leave-out-unknown"
        } else {
            ""
        };
        format!("{error}{hint}")
    })
}

/// The relations of a file.
pub(super) fn relationships(path: &Path) -> Result<Relationships, String> {
    let octets = open::read(path).map_err(|error| error.to_string())?;
    Relationships::parse(&octets).map_err(|error| format!("{}: {error}", path.display()))
}

/// The fleet file's configuration with changes.
pub(super) fn changed(scene: &Scene, changes: &[Change]) -> Result<Configuration, String> {
    let mut configuration = scene.configuration.clone();
    for change in changes {
        change.apply(&mut configuration).map_err(|error| error.to_string())?;
    }
    Ok(configuration)
}

fn read_fleet(path: Option<&Path>) -> Result<Option<Fleet>, String> {
    match path {
        Some(path) => crate::check::read_fleet(path),
        None => Ok(anycast_fleet::parse("the built-in fleet", DEFAULT_FLEET).fleet),
    }
}

fn read_world(path: &Path) -> Result<Option<World>, String> {
    let text = if path.as_os_str() == "default" {
        world::DEFAULT.to_owned()
    } else {
        std::fs::read_to_string(path)
            .map_err(|error| format!("cannot read {}: {error}", path.display()))?
    };
    let report = world::parse(&path.display().to_string(), &text);
    eprint!("{}", report.render(std::io::stderr().is_terminal()));
    Ok(report.world)
}

/// A world of the lab as a topology: its ASes, weighted by their clients.
pub(super) fn of_world(world: &World) -> Ingredients {
    let asn = |at: &usize| world.systems[*at].asn;
    let links = world.systems.iter().flat_map(|system| {
        let link = |a, relationship| Link { a, b: system.asn, relationship };
        let providers = system.providers.iter().map(asn);
        let peers = system.peers.iter().map(asn);
        providers
            .map(move |a| link(a, Relationship::ProviderOf))
            .chain(peers.map(move |a| link(a, Relationship::Peer)))
    });
    // A world that was read names each pair once.
    let relationships = Relationships::from_links(links).unwrap_or_default();
    let mut table = Table { weighted_by: Some("clients".to_owned()), ..Table::default() };
    for (at, system) in world.systems.iter().enumerate() {
        let clients: Vec<_> = world.clients.iter().filter(|client| client.system == at).collect();
        // The city of most of its clients, else its first.
        let count = |city: usize| clients.iter().filter(|client| client.city == city).count();
        let city = (0..system.cities.len()).rev().max_by_key(|city| count(*city)).unwrap_or(0);
        let place = &system.cities[city];
        #[expect(clippy::cast_precision_loss, reason = "a few clients")]
        let weight = clients.len() as f64;
        let row = Row {
            weight,
            place: Some(Coordinates { lat: place.latitude, lon: place.longitude }),
            name: system.name.clone(),
            city: place.city.clone(),
            country: String::new(),
        };
        table.rows.insert(system.asn, row);
    }
    Ingredients { source: world.name.clone(), relationships, table, ..Ingredients::default() }
}

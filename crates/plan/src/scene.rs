//! Where a plan plays: the graph, who its networks are, the sites.

use std::collections::BTreeSet;

use anycast_bgp::Asn;
use anycast_bgp::IpNet;
use anycast_catchment::learn::Model;
use anycast_catchment::{
    AsId, Configuration, ConfigurationError, Graph, GraphError, NeighborKind, Overrides,
    Relationships, synthetic,
};
use anycast_fleet::{Coordinates, Fleet, city};

use crate::announce::{AnnounceError, announces, outside};
use crate::geography::{NEARNESS_KM, STRETCH, distances};
use crate::observed;
use crate::table::{Row, Table};

/// A site as the plan knows it.
#[derive(Clone, Debug, PartialEq)]
pub struct SiteFacts {
    /// Its name.
    pub name: String,
    /// Where it is.
    pub place: Option<Coordinates>,
    /// What it can take, in bits per second.
    pub capacity: Option<u64>,
    /// The neighbors of other networks in the fleet file, by AS and name.
    pub neighbors: Vec<(Asn, String)>,
}

/// What is assumed of geography.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Geography {
    /// How many times as long as the great circle fibre is.
    pub stretch: f64,
    /// See [`NEARNESS_KM`].
    pub nearness_km: f64,
}

impl Default for Geography {
    fn default() -> Self {
        Self { stretch: STRETCH, nearness_km: NEARNESS_KM }
    }
}

/// Where a plan plays.
#[derive(Clone, Debug)]
pub struct Scene {
    /// Where the relations are from, for headings.
    pub source: String,
    /// The graph.
    pub graph: Graph,
    /// What is known of each AS, by its place in the graph.
    pub networks: Vec<Row>,
    /// What weights count: `"ipv4"`, `"users"`; `None`: each AS counts 1.
    pub weighted_by: Option<String>,
    /// The sum of all weights.
    pub weight: f64,
    /// The sites, as in the configuration.
    pub sites: Vec<SiteFacts>,
    /// What the fleet file says.
    pub configuration: Configuration,
    /// What was learnt of networks, for propagation.
    pub overrides: Overrides,
    /// What was learnt, if something was seen of each site.
    pub model: Option<Model>,
    /// What is assumed of geography.
    pub geography: Geography,
    /// What the user should know.
    pub notes: Vec<String>,
    /// Kilometres from each AS to each site, a row for each AS; NaN: not known.
    km: Vec<f32>,
}

/// Why there is nothing to plan on.
#[derive(Clone, Debug, thiserror::Error)]
pub enum SceneError {
    /// The relations make no graph.
    #[error(transparent)]
    Graph(#[from] GraphError),
    /// The fleet announces nothing.
    #[error(transparent)]
    Announce(#[from] AnnounceError),
    /// Neighbors that the relations do not have.
    #[error("{0}")]
    Neighbors(String),
    /// Some other thing is wrong with what is announced.
    #[error(transparent)]
    Configuration(ConfigurationError),
}

/// What a scene is made of.
#[derive(Clone, Debug, Default)]
pub struct Ingredients {
    /// Where the relations are from.
    pub source: String,
    /// The relations.
    pub relationships: Relationships,
    /// Who the networks are.
    pub table: Table,
    /// What was learnt.
    pub model: Option<Model>,
    /// What is assumed of geography.
    pub geography: Geography,
    /// What is announced; the first if not given.
    pub prefix: Option<IpNet>,
    /// Whether neighbors that the relations do not have are left out; else they are an error.
    pub skip_unknown: bool,
}

impl Ingredients {
    /// The made-up Internet, into which each neighbor of the fleet is put: a fleet file can be
    /// tried without any other file.
    ///
    /// # Errors
    /// The fleet announces nothing.
    pub fn synthetic(fleet: &Fleet) -> Result<Self, SceneError> {
        let internet = synthetic::internet();
        let mut table = Table { weighted_by: Some("addresses".to_owned()), ..Table::default() };
        for network in &internet.networks {
            #[expect(clippy::cast_precision_loss, reason = "far below 2^52 addresses")]
            let weight = network.addresses as f64;
            let place = Coordinates { lat: network.latitude, lon: network.longitude };
            let row = Row {
                weight,
                place: Some(place),
                name: format!("{} {}", network.city, network.asn),
                city: network.city.to_owned(),
                country: String::new(),
            };
            table.rows.insert(network.asn, row);
        }
        let mut relationships = internet.relationships;
        let known: BTreeSet<Asn> = internet.networks.iter().map(|network| network.asn).collect();
        let announced = announces(fleet, None)?;
        // A neighbor that is made up buys from the three large networks that are next in number,
        // so that the outcome depends on it as on a real one.
        let mut made: BTreeSet<Asn> = BTreeSet::new();
        for told in announced.configuration.sites.iter().flat_map(|site| &site.announcements) {
            if known.contains(&told.neighbor) || !made.insert(told.neighbor) {
                continue;
            }
            for nth in 0..3 {
                let link = anycast_catchment::Link {
                    a: synthetic::large(told.neighbor.0 + nth),
                    b: told.neighbor,
                    relationship: anycast_catchment::Relationship::ProviderOf,
                };
                relationships.set(link).expect("two networks");
            }
        }
        Ok(Self {
            source: "a made-up Internet".to_owned(),
            relationships,
            table,
            ..Self::default()
        })
    }
}

impl Scene {
    /// Puts everything together.
    ///
    /// # Errors
    /// The relations make no graph, the fleet announces nothing, or neighbors are not in the
    /// relations.
    pub fn new(fleet: &Fleet, with: Ingredients) -> Result<Self, SceneError> {
        let graph = Graph::new(&with.relationships)?;
        let mut announced = announces(fleet, with.prefix)?;
        let (known, unknown) = announced.configuration.without_unknown(&graph);
        if !unknown.is_empty() {
            let words = unknown_neighbors(&unknown);
            let some = known.sites.iter().any(|site| !site.announcements.is_empty());
            if !with.skip_unknown || !some {
                return Err(SceneError::Neighbors(words));
            }
            announced.notes.push(format!("left out: {words}"));
            announced.configuration = known;
        }
        let mut overrides = Overrides::default();
        let mut model = None;
        if let Some(learnt) = &with.model {
            let (known, notes) = observed::use_model(learnt, &mut announced.configuration);
            overrides = known;
            announced.notes.extend(notes);
            if learnt.knows(&announced.configuration) {
                model.clone_from(&with.model);
                announced.notes.extend(observed::never_seen(learnt, &announced.configuration));
            } else {
                announced.notes.push(
                    "the model has not seen every site of this fleet, so routes are propagated, \
                     with what it knows of networks: less is right that way than by comparing what \
                     was seen"
                        .to_owned(),
                );
            }
        }
        announced.configuration.resolve(&graph).map_err(SceneError::Configuration)?;
        let sites: Vec<SiteFacts> = announced
            .places
            .iter()
            .map(|place| &fleet.sites[*place])
            .map(|site| SiteFacts {
                name: site.name.clone(),
                place: site.location,
                capacity: site.capacity,
                neighbors: outside(site, announced.prefix)
                    .map(|it| (it.asn, it.name.clone()))
                    .collect(),
            })
            .collect();
        let mut notes = announced.notes;
        let without: Vec<&str> =
            sites.iter().filter(|it| it.place.is_none()).map(|it| it.name.as_str()).collect();
        if !without.is_empty() {
            notes.push(format!(
                "no distances to {}: give `city`, or `latitude` and `longitude`",
                without.join(", ")
            ));
        }
        let scene = Self::assemble(graph, with, sites, announced.configuration, notes);
        Ok(Self { overrides, model, ..scene })
    }

    fn assemble(
        graph: Graph,
        with: Ingredients,
        sites: Vec<SiteFacts>,
        configuration: Configuration,
        mut notes: Vec<String>,
    ) -> Self {
        let mut table = with.table;
        let alone = table.rows.is_empty();
        let origins: BTreeSet<Asn> = configuration.sites.iter().map(|site| site.origin).collect();
        let networks: Vec<Row> = graph
            .ids()
            .map(|id| {
                let mut row = table.rows.remove(&graph.asn(id)).unwrap_or_default();
                if alone {
                    row.weight = 1.0;
                }
                // The fleet is no user of itself.
                if origins.contains(&graph.asn(id)) {
                    row.weight = 0.0;
                }
                row
            })
            .collect();
        let weight: f64 = networks.iter().map(|row| row.weight).sum();
        let outside: f64 = table.rows.values().map(|row| row.weight).sum();
        if outside > 0.0 {
            notes.push(format!(
                "{} networks of the table, with {:.1}% of its weight, are not in the topology and \
                 not in the figures",
                table.rows.len(),
                100.0 * outside / (outside + weight)
            ));
        }
        let places: Vec<_> = sites.iter().map(|site| site.place).collect();
        let km = networks.iter().flat_map(|row| distances(row.place, &places)).collect();
        Self {
            source: with.source,
            graph,
            networks,
            weighted_by: if alone { None } else { table.weighted_by },
            weight,
            sites,
            configuration,
            overrides: Overrides::default(),
            model: None,
            geography: with.geography,
            notes,
            km,
        }
    }

    /// Kilometres from an AS to each site; NaN: not known.
    pub fn km(&self, id: AsId) -> &[f32] {
        let width = self.sites.len();
        &self.km[id.index() * width..(id.index() + 1) * width]
    }

    /// What is known of an AS.
    pub fn network(&self, id: AsId) -> &Row {
        &self.networks[id.index()]
    }

    /// How an AS is shown: its number and, if known, its name.
    pub fn label(&self, id: AsId) -> String {
        match self.network(id).name.as_str() {
            "" => format!("AS{}", self.graph.asn(id)),
            name => format!("AS{} {name}", self.graph.asn(id)),
        }
    }

    /// The round trip over a distance, in milliseconds.
    pub fn ms(&self, km: f64) -> f64 {
        crate::geography::round_trip_ms(km, self.geography.stretch)
    }
}

fn unknown_neighbors(unknown: &[(String, Asn)]) -> String {
    let each: Vec<String> = unknown
        .iter()
        .map(|(site, asn)| {
            let why = if is_private(*asn) {
                "a number for private use, which no topology has: write the provider's public one"
            } else if is_documentation(*asn) {
                "a number for documentation"
            } else {
                "not in the topology"
            };
            format!("AS{asn}, neighbor of {site} ({why})")
        })
        .collect();
    each.join("; ")
}

/// RFC 6996.
fn is_private(asn: Asn) -> bool {
    matches!(asn.0, 64_512..=65_534 | 4_200_000_000..=4_294_967_294)
}

/// RFC 5398.
fn is_documentation(asn: Asn) -> bool {
    matches!(asn.0, 64_496..=64_511 | 65_536..=65_551)
}

/// The words for what a neighbor is to a site.
pub(crate) const KINDS: [(&str, NeighborKind); 4] = [
    ("transit", NeighborKind::Transit),
    ("peer", NeighborKind::Peer),
    ("route-server", NeighborKind::RouteServer),
    ("customer", NeighborKind::Customer),
];

/// The city next to a place, for words.
pub fn nearest_city(place: Coordinates) -> &'static str {
    let km = |city: &&city::City| city::distance_km(city.coordinates(), place);
    city::all().iter().min_by(|a, b| km(a).total_cmp(&km(b))).map_or("", |city| city.name)
}

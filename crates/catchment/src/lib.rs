//! The AS-level Internet: who lands at which site of an anycast network, how sure that is, and
//! why; without sockets, files, threads, clocks or randomness.
//!
//! | module | what it is |
//! |---|---|
//! | [`topology`] | business relations between ASes, as CAIDA's files state them |
//! | [`graph`] | the same as a compact graph, providers before customers |
//! | [`configuration`] | what is announced where: sites, neighbors, prepends, communities |
//! | [`overrides`] | what is known beyond relations: preferences, weights, prepends, pins |
//! | [`propagate`] | the best routes of every AS, ties kept as sets of [`sites`] |
//! | [`batch`] | the same for sixteen configurations at once |
//! | [`shares`] | how likely each site is for each AS |
//! | [`explain`](mod@explain) | every candidate route of one AS, and why the best won |
//! | [`observed`] | what was seen of announcements: paths, measured catchments |
//! | [`learn`](mod@learn) | what announcements of single sites reveal: a model for later plans |
//! | [`score`](mod@score) | how right predictions were, beside simple baselines |
//! | [`synthetic`] | a small made-up Internet with cities |
//!
//! # From a file to shares
//!
//! ```
//! use anycast_bgp::Asn;
//! use anycast_catchment::{
//!     Announcement, Configuration, Graph, NeighborKind, Overrides, Propagator, Relationships,
//!     Routes, Shares, Site, SiteSet, explain,
//! };
//!
//! // Two providers that peer, and a customer of both.
//! let text = b"64501|64510|-1\n64502|64510|-1\n64501|64502|0\n";
//! let graph = Graph::new(&Relationships::parse(text)?)?;
//!
//! let site = |name: &str, neighbor| Site {
//!     name: name.to_owned(),
//!     origin: Asn(64500),
//!     up: true,
//!     announcements: vec![Announcement::new(Asn(neighbor), NeighborKind::Transit)],
//! };
//! let configuration = Configuration { sites: vec![site("ams", 64501), site("nrt", 64502)] };
//! let announced = configuration.resolve(&graph)?;
//!
//! // Overrides are resolved once for a graph and a list of sites; none here.
//! let overrides = Overrides::default().resolve(&graph, &configuration);
//! let mut propagator = Propagator::new(&graph, overrides);
//! let mut routes = Routes::new(graph.len());
//! propagator.run(&announced, &mut routes);
//!
//! let customer = graph.index_of(Asn(64510)).expect("it is in the file");
//! assert_eq!(routes.sites(customer), SiteSet::one(0) | SiteSet::one(1), "a tie");
//!
//! let mut shares = Shares::new();
//! shares.run(&graph, &announced, propagator.overrides(), &routes);
//! assert_eq!(shares.of(customer), [0.5, 0.5]);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # The model
//!
//! An AS compares routes as `bgp`'s decision process does with the import policy of
//! `bgp::policy::relation`: last resort, local preference (customers 200, peers 150, providers
//! 100), AS path length. What is equal in all of these is tied: the steps that follow (MED,
//! interior cost, router id) depend on what no public data says. It tells its customers all that
//! it takes, and providers and peers only what customers told it.
//!
//! **Ties are sets.** Where tied routes differ in what may be done with them (one site is not to
//! be exported, poisons the next AS, or was told by a customer while the other was told by a
//! provider), each AS tells on those of its tied routes that it may: it is as if it chose one of
//! them. What happens if it chose another one is not followed.
//!
//! The AS that originates an announcement lands at its own sites, and its links in the graph
//! carry nothing of it: the configuration alone says who is told.

#![forbid(unsafe_code)]

pub mod batch;
pub(crate) mod candidates;
pub mod configuration;
pub mod explain;
pub mod graph;
pub mod learn;
pub mod observed;
pub mod overrides;
pub mod propagate;
pub mod routes;
pub mod score;
pub mod shares;
pub mod sites;
pub mod synthetic;
pub mod topology;

pub use batch::{Batch, LANES, LaneRoutes};
pub use configuration::{
    Announced, Announcement, Configuration, ConfigurationError, NeighborKind, Site,
};
pub use explain::{Explanation, explain};
pub use graph::{AsId, Graph, GraphError};
pub use overrides::{Overrides, Resolved};
pub use propagate::{Propagator, propagate};
pub use routes::{LearntFrom, Route, Routes};
pub use shares::Shares;
pub use sites::{MAX_SITES, SiteSet};
pub use topology::{Link, Relationship, Relationships, RouteServer, TopologyError};

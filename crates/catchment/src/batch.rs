//! Many configurations at once: the same three stages as [`propagate`](crate::propagate), with a
//! lane for each configuration. What is read of the graph is read once for all lanes, and each
//! step is done for all lanes by the same few instructions on short arrays, which compilers turn
//! into vector instructions.
//!
//! Lanes carry what optimising and failure analysis vary: which sites are up, which neighbors are
//! told, prepends. A batch that holds more than that (poisoning, limited announcements,
//! GRACEFUL_SHUTDOWN, overrides, siblings, more than 32 sites) is propagated one configuration
//! after the other, with the same result.

mod stages;

use crate::configuration::{Announced, NeighborKind};
use crate::graph::{AsId, Graph};
use crate::overrides::Resolved;
use crate::propagate::Propagator;
use crate::routes::{NONE, Routes};
use crate::sites::SiteSet;
use stages::Stages;

/// How many configurations one batch holds.
pub const LANES: usize = 16;

type Lengths = [u8; LANES];

/// What came of a batch: the sites of each AS in each configuration.
#[derive(Clone, Debug, Default)]
pub struct LaneRoutes {
    /// For each AS its row: ASes that cannot differ share one.
    rows: Vec<u32>,
    length: Vec<Lengths>,
    /// Sites as bits, in the narrowest of these that has room for all.
    narrow: Vec<[u16; LANES]>,
    wide: Vec<[u32; LANES]>,
    widest: Vec<[u64; LANES]>,
}

/// Propagates batches over one graph; all its memory is reused.
#[derive(Clone, Debug)]
pub struct Batch<'g> {
    graph: &'g Graph,
    single: Propagator<'g>,
    routes: Routes,
    narrow: Stages<'g, u16>,
    wide: Stages<'g, u32>,
}

impl LaneRoutes {
    /// Room for the routes of batches; it grows with the first use.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// The sites to which the tied best routes of an AS lead in one configuration of the batch;
    /// empty if the prefix does not reach it.
    ///
    /// # Panics
    /// If `lane` is not below [`LANES`], or nothing was propagated for such an AS yet.
    #[must_use]
    pub fn sites(&self, lane: usize, id: AsId) -> SiteSet {
        let row = self.rows[id.index()] as usize;
        SiteSet(if let Some(sites) = self.narrow.get(row) {
            sites[lane].into()
        } else if let Some(sites) = self.wide.get(row) {
            sites[lane].into()
        } else {
            self.widest[row][lane]
        })
    }

    /// The length of the AS path of the best routes of an AS in one configuration; `None` if the
    /// prefix does not reach it.
    ///
    /// # Panics
    /// As [`sites`](Self::sites).
    #[must_use]
    pub fn length(&self, lane: usize, id: AsId) -> Option<u8> {
        let length = self.length[self.rows[id.index()] as usize][lane];
        (length != NONE).then_some(length)
    }

    /// [`sites`](Self::sites) of all configurations of the batch, as bits; 0 where the prefix
    /// does not reach the AS.
    ///
    /// # Panics
    /// If nothing was propagated for such an AS yet.
    #[must_use]
    pub fn row(&self, id: AsId) -> [u64; LANES] {
        let row = self.rows[id.index()] as usize;
        if let Some(sites) = self.narrow.get(row) {
            sites.map(u64::from)
        } else if let Some(sites) = self.wide.get(row) {
            sites.map(u64::from)
        } else {
            self.widest[row]
        }
    }
}

impl<'g> Batch<'g> {
    /// Batches over this graph with these overrides.
    #[must_use]
    pub fn new(graph: &'g Graph, overrides: Resolved) -> Self {
        Self {
            graph,
            single: Propagator::new(graph, overrides),
            routes: Routes::new(graph.len()),
            narrow: Stages::new(graph),
            wide: Stages::new(graph),
        }
    }

    /// Propagates up to [`LANES`] configurations; lanes beyond reach nobody.
    ///
    /// # Panics
    /// If there are more than [`LANES`].
    pub fn run(&mut self, configurations: &[Announced], lanes: &mut LaneRoutes) {
        assert!(configurations.len() <= LANES, "at most LANES configurations in a batch");
        lanes.narrow.clear();
        lanes.wide.clear();
        lanes.widest.clear();
        let sites = configurations.iter().map(|announced| announced.sites).max().unwrap_or(0);
        let simple = self.single.overrides().is_empty()
            && !self.graph.has_siblings()
            && configurations.iter().all(is_simple);
        if simple && sites <= 16 {
            self.narrow.run(configurations, &mut lanes.rows, &mut lanes.length, &mut lanes.narrow);
        } else if simple && sites <= 32 {
            self.wide.run(configurations, &mut lanes.rows, &mut lanes.length, &mut lanes.wide);
        } else {
            self.one_by_one(configurations, lanes);
        }
    }

    fn one_by_one(&mut self, configurations: &[Announced], lanes: &mut LaneRoutes) {
        let n = self.graph.len();
        lanes.rows.clear();
        lanes.rows.extend(self.graph.ids().map(|id| id.0));
        lanes.length.clear();
        lanes.length.resize(n, [NONE; LANES]);
        lanes.widest.resize(n, [0; LANES]);
        for (lane, announced) in configurations.iter().enumerate() {
            self.single.run(announced, &mut self.routes);
            for id in self.graph.ids() {
                let Some(route) = self.routes.of(id) else { continue };
                lanes.length[id.index()][lane] = route.length;
                lanes.widest[id.index()][lane] = route.sites.0;
            }
        }
    }
}

/// Whether a configuration has nothing that lanes do not carry.
fn is_simple(announced: &Announced) -> bool {
    announced.strands.len() == announced.sites
        && announced.origins.is_empty()
        && announced
            .seeds
            .iter()
            .all(|seed| !seed.last_resort && seed.kind != NeighborKind::Customer)
}

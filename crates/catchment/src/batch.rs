//! Many configurations at once: the same three stages as [`propagate`](crate::propagate), with a
//! lane for each configuration. What is read of the graph is read once for all lanes, and each
//! step is done for all lanes by the same few instructions on short arrays, which compilers turn
//! into vector instructions.
//!
//! Lanes carry what optimising and failure analysis vary: which sites are up, which neighbors are
//! told, prepends. A batch that holds more than that (poisoning, limited announcements,
//! GRACEFUL_SHUTDOWN, overrides, siblings, more than 32 sites) is propagated one configuration
//! after the other, with the same result.

use crate::configuration::{Announced, NeighborKind};
use crate::graph::{AsId, Graph};
use crate::overrides::Resolved;
use crate::propagate::Propagator;
use crate::routes::{NONE, Routes};
use crate::sites::SiteSet;

/// How many configurations one batch holds.
pub const LANES: usize = 16;

type Lengths = [u8; LANES];
type Sites = [u32; LANES];

/// What came of a batch: the sites of each AS in each configuration.
#[derive(Clone, Debug, Default)]
pub struct LaneRoutes {
    length: Vec<Lengths>,
    sites: Vec<Sites>,
    /// Sites 32 and up, where there are such.
    high: Vec<Sites>,
}

/// Propagates batches over one graph; all its memory is reused.
#[derive(Clone, Debug)]
pub struct Batch<'g> {
    graph: &'g Graph,
    single: Propagator<'g>,
    routes: Routes,
    pending: Vec<u64>,
    cone: Vec<AsId>,
    /// What customers have told the ASes of the cone.
    own: Vec<(Lengths, Sites)>,
    touched: Vec<Touched>,
    servers: Vec<(Lengths, Sites)>,
    servers_touched: Vec<usize>,
}

/// What has been written of an AS's row.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Touched {
    /// Nothing yet.
    No,
    /// Routes from peers in some lanes.
    Peers,
    /// Routes from customers in some lanes: no others may come into these.
    Customers,
}

impl LaneRoutes {
    /// Room for the routes of batches; it grows with the first use.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// The sites to which the tied best routes of an AS lead in one configuration of the batch;
    /// empty if the prefix does not reach it.
    #[must_use]
    pub fn sites(&self, lane: usize, id: AsId) -> SiteSet {
        if self.length[id.index()][lane] == NONE {
            return SiteSet::EMPTY;
        }
        let high = self.high.get(id.index()).map_or(0, |row| u64::from(row[lane]) << 32);
        SiteSet(high | u64::from(self.sites[id.index()][lane]))
    }

    /// The length of the AS path of the best routes of an AS in one configuration; `None` if the
    /// prefix does not reach it.
    #[must_use]
    pub fn length(&self, lane: usize, id: AsId) -> Option<u8> {
        let length = self.length[id.index()][lane];
        (length != NONE).then_some(length)
    }

    /// [`sites`](Self::sites) of all configurations of the batch, as bits; 0 where the prefix
    /// does not reach the AS. `None` if there are sites beyond the 32nd.
    #[must_use]
    pub fn row(&self, id: AsId) -> Option<&[u32; LANES]> {
        if self.high.is_empty() { Some(&self.sites[id.index()]) } else { None }
    }

    fn resize(&mut self, len: usize) {
        self.length.resize(len, [NONE; LANES]);
        self.sites.resize(len, [0; LANES]);
        self.high.clear();
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
            pending: vec![0; graph.len().div_ceil(64)],
            cone: Vec::new(),
            own: Vec::new(),
            touched: vec![Touched::No; graph.len()],
            servers: vec![([NONE; LANES], [0; LANES]); graph.route_servers.len()],
            servers_touched: Vec::new(),
        }
    }

    /// Propagates up to [`LANES`] configurations; lanes beyond reach nobody.
    ///
    /// # Panics
    /// If there are more than [`LANES`].
    pub fn run(&mut self, configurations: &[Announced], lanes: &mut LaneRoutes) {
        assert!(configurations.len() <= LANES, "at most LANES configurations in a batch");
        lanes.resize(self.graph.len());
        let simple = self.single.overrides().is_empty()
            && !self.graph.has_siblings()
            && configurations.iter().all(is_simple);
        if simple {
            self.touched.fill(Touched::No);
            self.up(configurations, lanes);
            self.across(configurations, lanes);
            self.down(lanes);
        } else {
            self.one_by_one(configurations, lanes);
        }
    }

    fn one_by_one(&mut self, configurations: &[Announced], lanes: &mut LaneRoutes) {
        lanes.length.fill([NONE; LANES]);
        lanes.sites.fill([0; LANES]);
        if configurations.iter().any(|announced| announced.sites() > 32) {
            lanes.high.resize(self.graph.len(), [0; LANES]);
        }
        for (lane, announced) in configurations.iter().enumerate() {
            self.single.run(announced, &mut self.routes);
            for id in self.graph.ids() {
                let Some(route) = self.routes.of(id) else { continue };
                lanes.length[id.index()][lane] = route.length;
                let [low, high] = [route.sites.0 & u64::from(u32::MAX), route.sites.0 >> 32];
                lanes.sites[id.index()][lane] = u32::try_from(low).expect("32 bits are left");
                if let Some(row) = lanes.high.get_mut(id.index()) {
                    row[lane] = u32::try_from(high).expect("32 bits are left");
                }
            }
        }
    }

    fn up(&mut self, configurations: &[Announced], lanes: &mut LaneRoutes) {
        self.cone.clear();
        for (lane, announced) in configurations.iter().enumerate() {
            for seed in announced.seeds.iter().filter(|seed| seed.kind == NeighborKind::Transit) {
                let at = seed.at.index();
                self.open(seed.at, Touched::Customers, lanes);
                meet(
                    &mut lanes.length[at][lane],
                    &mut lanes.sites[at][lane],
                    seed.length,
                    1 << seed.strand,
                );
                self.pending[at / 64] |= 1 << (at % 64);
            }
        }
        for word in (0..self.pending.len()).rev() {
            while self.pending[word] != 0 {
                let bit = 63 - self.pending[word].leading_zeros();
                self.pending[word] &= !(1 << bit);
                let at = AsId(u32::try_from(word).expect("ids are 32 bits") * 64 + bit);
                self.cone.push(at);
                let length = longer(&lanes.length[at.index()]);
                let sites = lanes.sites[at.index()];
                let graph = self.graph;
                for &provider in graph.providers(at) {
                    self.open(provider, Touched::Customers, lanes);
                    let at = provider.index();
                    join(&mut lanes.length[at], &mut lanes.sites[at], &length, &sites);
                    self.pending[at / 64] |= 1 << (at % 64);
                }
            }
        }
    }

    /// Empties a row that nothing was written into yet.
    #[inline]
    fn open(&mut self, id: AsId, by: Touched, lanes: &mut LaneRoutes) {
        let touched = &mut self.touched[id.index()];
        if *touched == Touched::No {
            *touched = by;
            lanes.length[id.index()] = [NONE; LANES];
            lanes.sites[id.index()] = [0; LANES];
        }
    }

    fn across(&mut self, configurations: &[Announced], lanes: &mut LaneRoutes) {
        // What customers have told, before any peer adds to the same rows.
        let mut own = std::mem::take(&mut self.own);
        own.clear();
        own.extend(self.cone.iter().map(|id| (lanes.length[id.index()], lanes.sites[id.index()])));
        for (lane, announced) in configurations.iter().enumerate() {
            for seed in &announced.seeds {
                if matches!(seed.kind, NeighborKind::Peer | NeighborKind::RouteServer) {
                    let (mut length, mut sites) = ([NONE; LANES], [0; LANES]);
                    (length[lane], sites[lane]) = (seed.length, 1 << seed.strand);
                    self.cross(seed.at, &length, &sites, lanes, &own);
                }
            }
        }
        let graph = self.graph;
        for at in 0..self.cone.len() {
            let id = self.cone[at];
            let (length, sites) = (longer(&own[at].0), own[at].1);
            for &peer in graph.peers(id) {
                self.cross(peer, &length, &sites, lanes, &own);
            }
            for &server in graph.memberships.of(id) {
                self.servers_touched.push(server.index());
                let (shortest, to) = &mut self.servers[server.index()];
                join(shortest, to, &length, &sites);
            }
        }
        while let Some(server) = self.servers_touched.pop() {
            let empty = ([NONE; LANES], [0; LANES]);
            let (length, sites) = std::mem::replace(&mut self.servers[server], empty);
            if length == [NONE; LANES] {
                continue;
            }
            for &member in &graph.route_servers[server].members {
                self.cross(member, &length, &sites, lanes, &own);
            }
        }
        self.own = own;
    }

    /// A peer tells `to`, in lanes in which no customer has.
    #[inline]
    fn cross(
        &mut self,
        to: AsId,
        length: &Lengths,
        sites: &Sites,
        lanes: &mut LaneRoutes,
        own: &[(Lengths, Sites)],
    ) {
        let at = to.index();
        if self.touched[at] == Touched::Customers {
            // The cone is sorted, highest first.
            let place = self.cone.partition_point(|id| *id > to);
            let mut left = *length;
            for lane in 0..LANES {
                if own[place].0[lane] != NONE {
                    left[lane] = NONE;
                }
            }
            join(&mut lanes.length[at], &mut lanes.sites[at], &left, sites);
            return;
        }
        self.open(to, Touched::Peers, lanes);
        // Most ASes hear the same or worse from many peers.
        if !is_news(&lanes.length[at], length) {
            return;
        }
        join(&mut lanes.length[at], &mut lanes.sites[at], length, sites);
    }

    fn down(&mut self, lanes: &mut LaneRoutes) {
        let mut heard: (Lengths, Sites) = ([NONE; LANES], [0; LANES]);
        for id in self.graph.ids() {
            let at = id.index();
            if !self.graph.alike[at] {
                heard = self.from_providers(id, lanes);
            }
            if self.touched[at] == Touched::No {
                (lanes.length[at], lanes.sites[at]) = heard;
                continue;
            }
            // Only where neither customers nor peers have told anything.
            for lane in 0..LANES {
                if lanes.length[at][lane] == NONE {
                    lanes.length[at][lane] = heard.0[lane];
                    lanes.sites[at][lane] = heard.1[lane];
                }
            }
        }
    }

    fn from_providers(&self, id: AsId, lanes: &LaneRoutes) -> (Lengths, Sites) {
        let (mut length, mut sites) = ([NONE; LANES], [0; LANES]);
        if let Some((first, rest)) = self.graph.providers(id).split_first() {
            (length, sites) = (lanes.length[first.index()], lanes.sites[first.index()]);
            for provider in rest {
                let (theirs, to) =
                    (&lanes.length[provider.index()], &lanes.sites[provider.index()]);
                join(&mut length, &mut sites, theirs, to);
            }
            length = longer(&length);
            for lane in 0..LANES {
                sites[lane] = if length[lane] == NONE { 0 } else { sites[lane] };
            }
        }
        (length, sites)
    }
}

/// Whether a configuration has nothing that lanes do not carry.
fn is_simple(announced: &Announced) -> bool {
    announced.strands.len() == announced.sites
        && announced.sites <= 32
        && announced.origins.is_empty()
        && announced
            .seeds
            .iter()
            .all(|seed| !seed.last_resort && seed.kind != NeighborKind::Customer)
}

/// One hop on, in each lane.
#[inline]
fn longer(length: &Lengths) -> Lengths {
    length.map(|length| length.saturating_add(1))
}

/// In each lane the shorter one's sites, of equals both.
#[inline]
fn join(best: &mut Lengths, sites: &mut Sites, length: &Lengths, to: &Sites) {
    for lane in 0..LANES {
        let stays = if best[lane] <= length[lane] { sites[lane] } else { 0 };
        let comes = if length[lane] <= best[lane] { to[lane] } else { 0 };
        sites[lane] = stays | comes;
    }
    for lane in 0..LANES {
        best[lane] = best[lane].min(length[lane]);
    }
}

/// Whether any lane of `length` is as short as what is there.
#[inline]
fn is_news(best: &Lengths, length: &Lengths) -> bool {
    let mut news = [0_u8; LANES];
    for lane in 0..LANES {
        news[lane] = u8::from(length[lane] <= best[lane]) & u8::from(length[lane] != NONE);
    }
    u128::from_ne_bytes(news) != 0
}

fn meet(best: &mut u8, sites: &mut u32, length: u8, to: u32) {
    if length < *best {
        (*best, *sites) = (length, to);
    } else if length == *best {
        *sites |= to;
    }
}

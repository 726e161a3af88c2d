//! The three stages in lanes.
//!
//! What a row has as sites in a lane without a route is left over from elsewhere until the last
//! stage: only lengths say whether there is a route.

use std::ops::{BitOr, BitOrAssign};

use super::{LANES, Lengths};
use crate::configuration::{Announced, NeighborKind, Seed};
use crate::graph::{AsId, Graph, bits, set};
use crate::routes::NONE;

/// A set of sites, as narrow as they allow.
pub(super) trait Sites:
    Copy + Default + Ord + BitOr<Output = Self> + BitOrAssign + std::fmt::Debug
{
    /// The set of one site, whose place has room.
    fn one(site: u8) -> Self;
}

impl Sites for u16 {
    fn one(site: u8) -> Self {
        1 << site
    }
}

impl Sites for u32 {
    fn one(site: u8) -> Self {
        1 << site
    }
}

/// What an AS has, or tells, in each lane.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
struct Row<S> {
    length: Lengths,
    sites: [S; LANES],
}

/// What is told to peers and by whom; sorted, the shortest paths come first, and those who tell
/// the same in each lane stand together.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
struct Tell<S> {
    shortest: u8,
    row: Row<S>,
    by: Teller,
}

#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
enum Teller {
    Peer(AsId),
    /// By its place in the graph's list.
    RouteServer(usize),
}

/// The rows of all ASes at work.
struct Table<'t, S> {
    /// For each AS its row.
    rows: &'t mut Vec<u32>,
    length: &'t mut Vec<Lengths>,
    sites: &'t mut Vec<[S; LANES]>,
}

/// Propagates in lanes; all memory is reused.
#[derive(Clone, Debug)]
pub(super) struct Stages<'g, S> {
    graph: &'g Graph,
    /// ASes above a site that wait to be looked at, a bit each.
    pending: Vec<u64>,
    /// ASes with routes from customers in any lane, and what customers have told them.
    cone: Vec<AsId>,
    own: Vec<Row<S>>,
    tells: Vec<Tell<S>>,
    servers: Vec<Row<S>>,
    servers_touched: Vec<usize>,
    told: Vec<u64>,
    /// Quiet neighbors of sites: they have rows of their own.
    apart: Vec<AsId>,
}

impl<'g, S: Sites> Stages<'g, S> {
    pub(super) fn new(graph: &'g Graph) -> Self {
        Self {
            graph,
            pending: Vec::new(),
            cone: Vec::new(),
            own: Vec::new(),
            tells: Vec::new(),
            servers: Vec::new(),
            servers_touched: Vec::new(),
            told: Vec::new(),
            apart: Vec::new(),
        }
    }

    /// Propagates configurations that have nothing special.
    pub(super) fn run(
        &mut self,
        configurations: &[Announced],
        rows: &mut Vec<u32>,
        length: &mut Vec<Lengths>,
        sites: &mut Vec<[S; LANES]>,
    ) {
        let mut table = Table { rows, length, sites };
        self.begin(configurations, &mut table);
        self.up(configurations, &mut table);
        self.across(configurations, &mut table);
        self.down(&mut table);
    }

    fn begin(&mut self, configurations: &[Announced], table: &mut Table<'_, S>) {
        let (shared, mut count) = self.graph.quiet.rows();
        table.rows.clear();
        table.rows.extend_from_slice(shared);
        self.apart.clear();
        for seed in configurations.iter().flat_map(|announced| &announced.seeds) {
            if seed.at >= self.graph.quiet.first() && !self.apart.contains(&seed.at) {
                self.apart.push(seed.at);
                table.rows[seed.at.index()] = u32::try_from(count).expect("no more than ASes");
                count += 1;
            }
        }
        table.length.clear();
        table.length.resize(count, [NONE; LANES]);
        table.sites.resize(count, [S::default(); LANES]);
        self.pending.resize(self.graph.len().div_ceil(64), 0);
        self.told.resize(self.graph.peers.words(), 0);
        self.servers.resize(self.graph.route_servers.len(), Row::nothing());
    }

    fn up(&mut self, configurations: &[Announced], table: &mut Table<'_, S>) {
        self.cone.clear();
        let transit = |kind| kind == NeighborKind::Transit;
        for (lane, seed) in seeds(configurations, transit) {
            table.tell(seed.at, &Row::of(lane, seed));
            set(&[seed.at], &mut self.pending);
        }
        let graph = self.graph;
        for word in (0..self.pending.len()).rev() {
            while self.pending[word] != 0 {
                let bit = self.pending[word].ilog2();
                self.pending[word] &= !(1 << bit);
                let at = AsId(u32::try_from(word).expect("ids are 32 bits") * 64 + bit);
                self.cone.push(at);
                let row = table.row(at).farther();
                for &provider in graph.providers(at) {
                    table.tell(provider, &row);
                }
                set(graph.providers(at), &mut self.pending);
            }
        }
    }

    /// Peers tell into rows that are empty at first, also of ASes with routes from customers; what
    /// these have is put back afterwards.
    fn across(&mut self, configurations: &[Announced], table: &mut Table<'_, S>) {
        self.own.clear();
        for &id in &self.cone {
            self.own.push(table.row(id).tidy());
            table.length[table.rows[id.index()] as usize] = [NONE; LANES];
        }
        let peer = |kind| matches!(kind, NeighborKind::Peer | NeighborKind::RouteServer);
        for (lane, seed) in seeds(configurations, peer) {
            table.tell(seed.at, &Row::of(lane, seed));
        }
        self.gather_tells();
        let mut tells = &self.tells[..];
        while let Some(first) = tells.first() {
            let same = tells.iter().take_while(|tell| tell.row == first.row).count();
            self.told.fill(0);
            for tell in &tells[..same] {
                match tell.by {
                    Teller::Peer(id) => self.graph.peers.join(id, &mut self.told),
                    Teller::RouteServer(at) => {
                        set(&self.graph.route_servers[at].members, &mut self.told);
                    }
                }
            }
            for (word, told) in self.told.iter().enumerate() {
                for at in bits(word, *told) {
                    // Most ASes hear the same or worse from many peers.
                    if is_news(&table.length[at], &first.row.length) {
                        first.row.join_into(&mut table.length[at], &mut table.sites[at]);
                    }
                }
            }
            tells = &tells[same..];
        }
        for (id, own) in self.cone.iter().zip(&self.own) {
            let at = table.rows[id.index()] as usize;
            own.put_before(&mut table.length[at], &mut table.sites[at]);
        }
    }

    fn gather_tells(&mut self) {
        self.tells.clear();
        for (&id, own) in self.cone.iter().zip(&self.own) {
            let row = own.farther();
            if !self.graph.peers(id).is_empty() {
                self.tells.push(Tell::new(row, Teller::Peer(id)));
            }
            for &server in self.graph.memberships.of(id) {
                self.servers_touched.push(server.index());
                let Row { length, sites } = &mut self.servers[server.index()];
                row.join_into(length, sites);
            }
        }
        while let Some(at) = self.servers_touched.pop() {
            let row = std::mem::replace(&mut self.servers[at], Row::nothing());
            self.tells.push(Tell::new(row.tidy(), Teller::RouteServer(at)));
        }
        self.tells.retain(|tell| tell.shortest != NONE);
        self.tells.sort_unstable();
    }

    fn down(&mut self, table: &mut Table<'_, S>) {
        let first = self.graph.quiet.first();
        for id in (0..first.0).map(AsId) {
            let at = id.index();
            let heard = if table.length[at].contains(&NONE) {
                table.heard(self.graph.providers(id))
            } else {
                Row::nothing()
            };
            fill_in(&mut table.length[at], &mut table.sites[at], &heard);
        }
        for (at, (_, providers)) in (first.index()..).zip(self.graph.quiet.iter()) {
            let heard = table.heard(providers).tidy();
            (table.length[at], table.sites[at]) = (heard.length, heard.sites);
        }
        for &id in &self.apart {
            let at = table.rows[id.index()] as usize;
            let heard = table.heard(self.graph.providers(id));
            fill_in(&mut table.length[at], &mut table.sites[at], &heard);
        }
    }
}

/// The seeds of some kinds, with their lanes.
fn seeds(
    configurations: &[Announced],
    kind: impl Fn(NeighborKind) -> bool,
) -> impl Iterator<Item = (usize, &Seed)> {
    let each = configurations.iter().enumerate();
    each.flat_map(|(lane, announced)| announced.seeds.iter().map(move |seed| (lane, seed)))
        .filter(move |(_, seed)| kind(seed.kind))
}

impl<S: Sites> Table<'_, S> {
    #[inline]
    fn row(&self, id: AsId) -> Row<S> {
        let at = self.rows[id.index()] as usize;
        Row { length: self.length[at], sites: self.sites[at] }
    }

    #[inline]
    fn tell(&mut self, to: AsId, row: &Row<S>) {
        let at = self.rows[to.index()] as usize;
        row.join_into(&mut self.length[at], &mut self.sites[at]);
    }

    /// What providers tell, as it arrives. These are never quiet: their rows have their numbers.
    #[inline]
    fn heard(&self, providers: &[AsId]) -> Row<S> {
        let Some((first, rest)) = providers.split_first() else { return Row::nothing() };
        let at = first.index();
        let mut best = Row { length: self.length[at], sites: self.sites[at] };
        for provider in rest {
            let at = provider.index();
            let told = Row { length: self.length[at], sites: self.sites[at] };
            told.join_into(&mut best.length, &mut best.sites);
        }
        best.farther()
    }
}

impl<S: Sites> Row<S> {
    fn nothing() -> Self {
        Self { length: [NONE; LANES], sites: [S::default(); LANES] }
    }

    fn of(lane: usize, seed: &Seed) -> Self {
        let mut row = Self::nothing();
        row.length[lane] = seed.length;
        row.sites[lane] = S::one(seed.strand);
        row
    }

    /// One hop on.
    #[inline]
    fn farther(&self) -> Self {
        Self { length: self.length.map(|length| length.saturating_add(1)), sites: self.sites }
    }

    /// No sites where there is no route.
    #[inline]
    fn tidy(mut self) -> Self {
        for lane in 0..LANES {
            self.sites[lane] =
                if self.length[lane] == NONE { S::default() } else { self.sites[lane] };
        }
        self
    }

    /// In each lane the shorter one's sites, of equals both.
    #[inline]
    fn join_into(&self, best: &mut Lengths, sites: &mut [S; LANES]) {
        for lane in 0..LANES {
            let stays = if best[lane] <= self.length[lane] { sites[lane] } else { S::default() };
            let comes =
                if self.length[lane] <= best[lane] { self.sites[lane] } else { S::default() };
            sites[lane] = stays | comes;
        }
        for (best, length) in best.iter_mut().zip(&self.length) {
            *best = (*best).min(*length);
        }
    }

    /// In each lane this, if it has a route there.
    fn put_before(&self, length: &mut Lengths, sites: &mut [S; LANES]) {
        for lane in 0..LANES {
            if self.length[lane] != NONE {
                (length[lane], sites[lane]) = (self.length[lane], self.sites[lane]);
            }
        }
    }
}

impl<S: Sites> Tell<S> {
    fn new(row: Row<S>, by: Teller) -> Self {
        Self { shortest: row.length.into_iter().min().unwrap_or(NONE), row, by }
    }
}

/// Lanes without a route get what was heard, or no sites.
#[inline]
fn fill_in<S: Sites>(length: &mut Lengths, sites: &mut [S; LANES], heard: &Row<S>) {
    for lane in 0..LANES {
        let comes = if heard.length[lane] == NONE { S::default() } else { heard.sites[lane] };
        sites[lane] = if length[lane] == NONE { comes } else { sites[lane] };
    }
    for (length, heard) in length.iter_mut().zip(&heard.length) {
        *length = if *length == NONE { *heard } else { *length };
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

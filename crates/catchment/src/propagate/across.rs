//! Stage 2: what ASes with routes from customers tell their peers, shortest paths first.
//!
//! Thousands of times an AS hears from one more peer what it has heard already. So ASes that tell
//! the same (a length and a set of sites) are taken together, their peers as rows of bits: one
//! look at each word then finds who hears something new.

use super::Propagator;
use crate::configuration::{Announced, NeighborKind};
use crate::graph::{AsId, bits, set};
use crate::routes::{LearntFrom, NONE, Routes, from};

/// What is told, and by whom; sorted, the shortest paths come first.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
struct Tell {
    length: u8,
    sites: u64,
    by: Teller,
}

#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
enum Teller {
    Peer(AsId),
    /// By its place in the graph's list.
    RouteServer(usize),
}

/// Memory of the stage; rows have a bit for each AS that may be a peer.
#[derive(Clone, Debug, Default)]
pub(super) struct Scratch {
    tells: Vec<Tell>,
    /// What each route server passes on: the shortest length, and to which sites.
    servers: Vec<(u8, u64)>,
    servers_touched: Vec<usize>,
    /// Who cannot take a longer path: it has a shorter one, one from customers, or is decided in
    /// another way.
    settled: Vec<u64>,
    /// Who has got a route of the length at hand.
    reached: Vec<u64>,
    /// Who is told what is being told.
    told: Vec<u64>,
    /// Who was told anything.
    ever: Vec<u64>,
    /// Special ASes that a peer has told something.
    pulls: Vec<AsId>,
}

impl Propagator<'_> {
    /// Routes from peers.
    pub(super) fn across(&mut self, announced: &Announced, routes: &mut Routes) {
        self.gather_tells(routes);
        self.begin_rows(announced);
        let scratch = &mut self.across;
        let mut tells = &scratch.tells[..];
        while let Some(Tell { length, sites, .. }) = tells.first().copied() {
            let count = tells.partition_point(|tell| (tell.length, tell.sites) <= (length, sites));
            scratch.told.fill(0);
            for tell in &tells[..count] {
                match tell.by {
                    Teller::Peer(id) => self.graph.peers.join(id, &mut scratch.told),
                    Teller::RouteServer(at) => {
                        set(&self.graph.route_servers[at].members, &mut scratch.told);
                    }
                }
            }
            tells = &tells[count..];
            let rows = scratch.told.iter().zip(&scratch.settled).zip(&mut scratch.reached);
            for (word, ((told, settled), reached)) in rows.enumerate() {
                let fresh = told & !settled;
                for at in bits(word, fresh & !*reached) {
                    routes.length[at] = length;
                    routes.from[at] = from::PEER;
                    routes.sites[at] = sites;
                }
                for at in bits(word, fresh & *reached) {
                    routes.sites[at] |= sites;
                }
                *reached |= fresh;
            }
            if !self.specials.is_empty() {
                join(&mut scratch.ever, &scratch.told);
            }
            if tells.first().is_none_or(|next| next.length != length) {
                join(&mut scratch.settled, &scratch.reached);
            }
        }
        self.seeds_from_peers(announced, routes);
        self.pull(announced, routes);
    }

    /// Who tells what, sorted.
    fn gather_tells(&mut self, routes: &Routes) {
        let scratch = &mut self.across;
        scratch.tells.clear();
        scratch.servers.resize(self.graph.route_servers.len(), (NONE, 0));
        for &id in &self.cone {
            let length = routes.length[id.index()].saturating_add(1);
            if length == NONE {
                continue;
            }
            let sites = routes.sites[id.index()];
            if !self.graph.peers(id).is_empty() {
                scratch.tells.push(Tell { length, sites, by: Teller::Peer(id) });
            }
            for &server in self.graph.memberships.of(id) {
                let (shortest, to) = &mut scratch.servers[server.index()];
                if *shortest == NONE {
                    scratch.servers_touched.push(server.index());
                }
                match length.cmp(shortest) {
                    std::cmp::Ordering::Less => (*shortest, *to) = (length, sites),
                    std::cmp::Ordering::Equal => *to |= sites,
                    std::cmp::Ordering::Greater => {}
                }
            }
        }
        while let Some(at) = scratch.servers_touched.pop() {
            let (length, sites) = std::mem::replace(&mut scratch.servers[at], (NONE, 0));
            scratch.tells.push(Tell { length, sites, by: Teller::RouteServer(at) });
        }
        scratch.tells.sort_unstable();
    }

    fn begin_rows(&mut self, announced: &Announced) {
        let words = self.graph.peers.words();
        let scratch = &mut self.across;
        for row in
            [&mut scratch.settled, &mut scratch.reached, &mut scratch.told, &mut scratch.ever]
        {
            row.clear();
            row.resize(words, 0);
        }
        let origins = announced.origins.iter().map(|(id, _)| id);
        for id in self.cone.iter().chain(&self.specials).chain(origins) {
            // Those beyond the row have no peers.
            if let Some(word) = scratch.settled.get_mut(id.index() / 64) {
                *word |= 1 << (id.index() % 64);
            }
        }
    }

    /// What sites tell their own peers, who may be any AS.
    fn seeds_from_peers(&mut self, announced: &Announced, routes: &mut Routes) {
        self.across.pulls.clear();
        for seed in &announced.seeds {
            let peer = matches!(seed.kind, NeighborKind::Peer | NeighborKind::RouteServer);
            let code = routes.from[seed.at.index()];
            if !peer || seed.last_resort || (code != from::NOTHING && code != from::PEER) {
                continue;
            }
            if self.special[seed.at.index()] {
                self.across.pulls.push(seed.at);
            } else {
                super::offer(routes, seed.at, from::PEER, seed.length, 1 << seed.strand);
            }
        }
    }

    /// Special ASes that were told something decide.
    fn pull(&mut self, announced: &Announced, routes: &mut Routes) {
        let ever = &self.across.ever;
        let told = |id: &&AsId| {
            let word = ever.get(id.index() / 64).copied().unwrap_or(0);
            let code = routes.from[id.index()];
            word >> (id.index() % 64) & 1 == 1 && (code == from::NOTHING || code == from::PEER)
        };
        self.across.pulls.extend(self.specials.iter().filter(told));
        for at in 0..self.across.pulls.len() {
            let (first, last) = self.graph.sibling_group(self.across.pulls[at]);
            self.decide_group(first, last, LearntFrom::Peer, announced, routes);
        }
    }
}

fn join(row: &mut [u64], with: &[u64]) {
    for (word, with) in row.iter_mut().zip(with) {
        *word |= with;
    }
}

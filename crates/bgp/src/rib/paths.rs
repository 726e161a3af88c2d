//! Several paths to one prefix: whose each of them is, which of them share the prefix's packets,
//! and the numbers by which others know them (RFC 7911).

use std::sync::Arc;

use super::fib::{FibHop, FibRoute};
use super::interner::{Id, Interner};
use super::peer::PeerId;
use super::table::{Best, Context, EntryId, From, Route, Table};
use crate::FamilySet;
use crate::decision::{Candidate, Step, ranked, select};
use crate::message::PathId;

/// Who sent a route and which of its paths it is, in four octets: the number of the peer if it
/// tells no paths apart, else a number of the pair's own.
#[derive(Clone, Copy, Debug, Default, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub(super) struct Source(u32);

/// The pairs of peer and path that have numbers of their own: as long as a route holds them.
#[derive(Clone, Debug, Default)]
pub(super) struct Sources {
    pairs: Interner<(PeerId, PathId)>,
}

/// How many routes may share the packets of a prefix.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Multipath {
    /// At most so many; 1: the best route alone.
    pub paths: usize,
    /// Routes through different neighbor ASes share too, if their paths are equally long.
    pub across_as: bool,
}

/// Of which families, and how many, paths are sent to a peer (RFC 7911 §5).
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct SendPaths {
    /// The families of which the peer takes several paths.
    pub families: FamilySet,
    /// So many of the best at most.
    pub most: usize,
}

impl Default for Multipath {
    /// The best route alone.
    fn default() -> Self {
        Self { paths: 1, across_as: false }
    }
}

impl Source {
    /// Numbers from here on are those of pairs.
    const PAIRS: u32 = 1 << 31;

    const fn pair(self) -> Option<Id> {
        if self.0 < Self::PAIRS { None } else { Id::new(self.0 - Self::PAIRS) }
    }

    /// The path identifier by which peers are told of the route; no other route of a prefix has
    /// it. 0 is left out, as some speakers take it for none.
    pub(super) const fn path_id(self, from: From) -> PathId {
        // Peers are numbered below PAIRS, and pairs from one above it on.
        match from {
            From::Local => PathId(1),
            _ => PathId(self.0 + 2),
        }
    }
}

impl Sources {
    /// The source of a peer's path, which is now held once more.
    pub(super) fn hold(&mut self, peer: PeerId, path: PathId) -> Source {
        if path == PathId::NONE && peer.0 < Source::PAIRS {
            return Source(peer.0);
        }
        Source(Source::PAIRS + self.pairs.intern(Arc::new((peer, path))).number())
    }

    /// Lets go of a source.
    pub(super) fn release(&mut self, source: Source) {
        if let Some(pair) = source.pair() {
            self.pairs.release(pair);
        }
    }

    /// Who sent it, and which path it is.
    pub(super) fn of(&self, source: Source) -> (PeerId, PathId) {
        match source.pair() {
            Some(pair) => **self.pairs.get(pair),
            None => (PeerId(source.0), PathId::NONE),
        }
    }

    /// Who sent it.
    pub(super) fn peer(&self, source: Source) -> PeerId {
        self.of(source).0
    }

    /// How many pairs there are.
    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.pairs.len()
    }
}

impl Table {
    /// A route that a peer sent, the first of several.
    pub(super) fn route_of(&self, id: EntryId, peer: PeerId) -> Option<Route> {
        self.routes_of(id, peer).next().map(|(_, route)| route)
    }

    /// The routes that a peer sent, and what it calls them.
    pub(super) fn routes_of(
        &self,
        id: EntryId,
        peer: PeerId,
    ) -> impl Iterator<Item = (PathId, Route)> + use<'_> {
        self.entry(id).routes().iter().filter_map(move |route| {
            let (sender, path_id) = self.sources.of(route.source);
            (sender == peer).then_some((path_id, *route))
        })
    }

    /// All eligible routes but those of one peer, the best first.
    pub(super) fn ranked(&self, id: EntryId, without: PeerId, context: Context<'_>) -> Vec<Best> {
        let local = self.local(id).into_iter().map(Best::local);
        let others = self.entry(id).routes().iter();
        let others = others.filter(|route| self.sources.peer(route.source) != without);
        let (routes, candidates): (Vec<&Route>, Vec<Candidate<'_>>) =
            others.filter_map(|route| Some((route, route.candidate(context).ok()?))).unzip();
        local.chain(ranked(&candidates).map(|at| context.best_of(routes[at]))).collect()
    }

    /// The routes that share the packets of a prefix, the best first; none if it is alone. They
    /// are equal to the best in all that says how far away the destination is: up to and with the
    /// step [`Step::IgpCost`]. Of routes with one next hop the first counts.
    pub(super) fn sharing(&self, id: EntryId, context: Context<'_>) -> Vec<Route> {
        let Multipath { paths, across_as } = context.multipath;
        let routes = self.entry(id).routes();
        if paths < 2 || routes.len() < 2 || self.local(id).is_some() {
            return Vec::new();
        }
        let (routes, candidates): (Vec<&Route>, Vec<Candidate<'_>>) =
            routes.iter().filter_map(|route| Some((route, route.candidate(context).ok()?))).unzip();
        let Some(selection) = select(&candidates) else { return Vec::new() };
        let best = &candidates[selection.best];
        let also = selection.eliminated.iter().filter(|fallen| fallen.step > Step::IgpCost);
        let equals: Vec<usize> = also
            .map(|fallen| fallen.candidate)
            .filter(|at| across_as || candidates[*at].neighbor_as() == best.neighbor_as())
            .collect();
        let mut sharing = vec![*routes[selection.best]];
        let mut next_hops = vec![best.attributes.next_hop];
        let in_order: Vec<Candidate<'_>> = equals.iter().map(|at| candidates[*at]).collect();
        for at in ranked(&in_order) {
            let next_hop = in_order[at].attributes.next_hop;
            if sharing.len() < paths && !next_hops.contains(&next_hop) {
                sharing.push(*routes[equals[at]]);
                next_hops.push(next_hop);
            }
        }
        if sharing.len() < 2 { Vec::new() } else { sharing }
    }

    /// Where the packets of a prefix go.
    pub(super) fn fib_route(&self, id: EntryId, context: Context<'_>) -> Option<FibRoute> {
        let best = self.hop(self.entry(id).best()?, context)?;
        let sharing = self.sharing(id, context);
        let others = sharing.iter().skip(1).map(|route| context.best_of(route));
        let others = others.filter_map(|other| self.hop(other, context)).collect();
        Some(FibRoute { best, others })
    }

    /// Where packets go that go by a route.
    fn hop(&self, best: Best, context: Context<'_>) -> Option<FibHop> {
        Some(FibHop {
            next_hop: context.sets.get(best.set).next_hop,
            ebgp: best.from == From::Ebgp,
            peer: best.peer(&self.sources)?,
        })
    }
}

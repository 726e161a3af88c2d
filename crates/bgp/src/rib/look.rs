//! What the tables hold, for people to look at: in steps whose length the caller bounds, so that
//! a look at a full table keeps nobody waiting.

use std::collections::BTreeMap;
use std::net::IpAddr;

use ipnet::{IpNet, Ipv4Net, Ipv6Net};

use super::import::Ineligible;
use super::peer::{Limits, PeerId};
use super::table::{Entry, EntryId, Route};
use super::{Rib, RouteView};

/// Which of the tables is looked at.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum View {
    /// Every route: our own and those of all peers, after import policy.
    Table,
    /// What a peer sent, before import policy (Adj-RIB-In). Attributes in which a peer of another
    /// AS has no say, as LOCAL_PREF, are left out already.
    Received(PeerId),
    /// What import policy made of the routes that it took from a peer.
    Accepted(PeerId),
    /// What a peer was told (Adj-RIB-Out).
    Advertised(PeerId),
    /// The best routes of others, and our own, that a peer was not told.
    Withheld(PeerId),
}

/// Some prefixes, and where to look on.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Page {
    /// In no order.
    pub prefixes: Vec<IpNet>,
    /// Where the next look begins; `None`: that was all.
    pub next: Option<u32>,
}

impl Rib {
    /// The prefixes that a view has among `most` entries of the table from `from` on; the first
    /// look begins at 0. What comes or goes between two looks may be there or not.
    #[must_use]
    pub fn prefixes(&self, view: View, from: u32, most: u32) -> Page {
        let end = self.table.end();
        let until = end.min(from.saturating_add(most.max(1)));
        let ids = (from..until).filter(|id| self.has(view, *id, self.table.entry(*id)));
        Page {
            prefixes: ids.map(|id| self.table.prefix(id)).collect(),
            next: (until < end).then_some(until),
        }
    }

    /// The routes that a view has for exactly this prefix, our own first, then by peer.
    #[must_use]
    pub fn look(&self, view: View, prefix: &IpNet) -> Vec<RouteView<'_>> {
        let Some(id) = self.table.find(&prefix.trunc()) else { return Vec::new() };
        match view {
            View::Table => self.table.views(vec![id], self.context()).collect(),
            View::Accepted(peer) => {
                let taken = |route: &RouteView<'_>| {
                    route.ineligible.is_none_or(|why| why == Ineligible::Unreachable)
                };
                let ours = |route: &RouteView<'_>| route.peer == Some(peer) && taken(route);
                let entry = self.table.entry(id);
                if !self.has(view, id, entry) {
                    return Vec::new();
                }
                self.table.views(vec![id], self.context()).filter(ours).collect()
            }
            View::Received(peer) => {
                let entry = self.table.entry(id);
                let best = entry.best();
                let sharing = self.table.sharing(id, self.context());
                let view = |route: Route| {
                    let (sender, path_id) = self.table.sources.of(route.source);
                    (sender == peer).then(|| RouteView {
                        prefix: self.table.prefix(id),
                        attributes: self.sets.get(route.received),
                        peer: Some(peer),
                        path_id,
                        best: best.is_some_and(|best| best.is(&route)),
                        shares: sharing.iter().any(|it| it.source == route.source),
                        ineligible: route.candidate(self.context()).err(),
                        stale: route.is_stale(),
                    })
                };
                self.table.by_peer(entry).into_iter().filter_map(view).collect()
            }
            View::Withheld(_) => {
                let best = |route: &RouteView<'_>| route.best;
                if !self.has(view, id, self.table.entry(id)) {
                    return Vec::new();
                }
                self.table.views(vec![id], self.context()).filter(best).collect()
            }
            View::Advertised(peer) => {
                let session = self.peers.get(&peer).and_then(|peer| peer.session.as_ref());
                session.map(|session| self.told(peer, session, id)).unwrap_or_default()
            }
        }
    }

    /// The longest prefix of a view that holds an address.
    #[must_use]
    pub fn longest_match(&self, view: View, address: IpAddr) -> Option<IpNet> {
        let covering = |length| -> Option<IpNet> {
            Some(match address {
                IpAddr::V4(address) => Ipv4Net::new(address, length).ok()?.trunc().into(),
                IpAddr::V6(address) => Ipv6Net::new(address, length).ok()?.trunc().into(),
            })
        };
        let longest = if address.is_ipv4() { 32 } else { 128 };
        (0..=longest).rev().filter_map(covering).find(|prefix| {
            let found = self.table.find(prefix);
            found.is_some_and(|id| self.has(view, id, self.table.entry(id)))
        })
    }

    /// Adds up whose routes are the best among `most` entries of the table from `from` on; `None`
    /// stands for our own. Where the next step begins, as with [`prefixes`](Self::prefixes).
    #[must_use]
    pub fn count_best_by_peer(
        &self,
        from: u32,
        most: u32,
        counts: &mut BTreeMap<Option<PeerId>, usize>,
    ) -> Option<u32> {
        let end = self.table.end();
        let until = end.min(from.saturating_add(most.max(1)));
        for best in (from..until).filter_map(|id| self.table.entry(id).best()) {
            *counts.entry(best.peer(&self.table.sources)).or_default() += 1;
        }
        (until < end).then_some(until)
    }

    /// The limits of a peer.
    #[must_use]
    pub fn limits(&self, id: PeerId) -> Limits {
        self.peers.get(&id).map(|peer| peer.limits).unwrap_or_default()
    }

    /// Whether a view has anything for the prefix of an entry.
    fn has(&self, view: View, id: EntryId, entry: &Entry) -> bool {
        let sources = &self.table.sources;
        let sent =
            |peer| entry.routes().iter().filter(move |route| sources.peer(route.source) == peer);
        match view {
            View::Table => !entry.routes().is_empty() || self.table.local(id).is_some(),
            View::Received(peer) => sent(peer).next().is_some(),
            View::Accepted(peer) => sent(peer).any(|route| route.verdict.get().is_ok()),
            View::Advertised(peer) => {
                let session = self.peers.get(&peer).and_then(|peer| peer.session.as_ref());
                session
                    .is_some_and(|session| session.was_told(peer, id, entry.family(), &self.groups))
            }
            View::Withheld(peer) => {
                let session = self.peers.get(&peer).and_then(|peer| peer.session.as_ref());
                let untold = |session: &super::session::Session| {
                    let family = entry.family();
                    session.negotiated(family) && !session.was_told(peer, id, family, &self.groups)
                };
                entry.best().is_some_and(|best| best.peer(sources) != Some(peer))
                    && session.is_some_and(untold)
            }
        }
    }
}

//! Prefixes, their routes and the best of them: the Adj-RIBs-In and the Loc-RIB in one.

use std::collections::{BTreeMap, HashMap};
use std::net::IpAddr;
use std::sync::Arc;

use ipnet::IpNet;

use super::RouteView;
use super::import::Ineligible;
use super::peer::{Peer, PeerId};
use crate::Attributes;
use crate::decision::{Candidate, Source, select};

#[derive(Clone, Debug, Default)]
pub(super) struct Table {
    entries: BTreeMap<IpNet, Entry>,
}

/// All that is known of a prefix; at least one route, or a best one that has just gone.
#[derive(Clone, Debug, Default)]
pub(super) struct Entry {
    /// Our own route.
    pub(super) local: Option<Arc<Attributes>>,
    /// By peer; each has at most one.
    pub(super) routes: Vec<Route>,
    pub(super) best: Option<Best>,
}

/// A route that a peer sent.
#[derive(Clone, Debug)]
pub(super) struct Route {
    pub(super) peer: PeerId,
    /// Before import policy.
    pub(super) received: Arc<Attributes>,
    /// After import policy, or why not.
    pub(super) verdict: Result<Arc<Attributes>, Ineligible>,
}

/// The best route for a prefix.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct Best {
    /// Who sent it; `None`: it is our own.
    pub(super) peer: Option<PeerId>,
    /// The peer is in another AS.
    pub(super) ebgp: bool,
    pub(super) attributes: Arc<Attributes>,
}

/// What a decision depends on besides the routes.
#[derive(Clone, Copy)]
pub(super) struct Context<'a> {
    pub(super) peers: &'a BTreeMap<PeerId, Peer>,
    pub(super) igp: Option<&'a HashMap<IpAddr, u32>>,
}

impl Table {
    pub(super) fn entry(&self, prefix: &IpNet) -> Option<&Entry> {
        self.entries.get(prefix)
    }

    pub(super) fn best(&self, prefix: &IpNet) -> Option<&Best> {
        self.entries.get(prefix)?.best.as_ref()
    }

    pub(super) fn prefixes(&self) -> impl Iterator<Item = &IpNet> {
        self.entries.keys()
    }

    /// The prefixes that have a best route.
    pub(super) fn best_prefixes(&self) -> impl Iterator<Item = &IpNet> {
        self.entries.iter().filter(|(_, entry)| entry.best.is_some()).map(|(prefix, _)| prefix)
    }

    /// What a peer sent, as received.
    pub(super) fn received(&self, peer: PeerId) -> impl Iterator<Item = (IpNet, &Route)> {
        self.entries.iter().filter_map(move |(prefix, entry)| {
            entry.place(peer).ok().map(|at| (*prefix, &entry.routes[at]))
        })
    }

    /// Puts in our own route or takes it out; whether that changes anything. The best route is
    /// not selected anew: that is [`decide`](Self::decide), after this and the three below.
    pub(super) fn set_local(&mut self, prefix: IpNet, local: Option<Arc<Attributes>>) -> bool {
        if local.is_none() && !self.entries.contains_key(&prefix) {
            return false;
        }
        let entry = self.entries.entry(prefix).or_default();
        let changes = entry.local != local;
        entry.local = local;
        changes
    }

    /// Puts in a peer's route; the one that it replaces.
    pub(super) fn insert(&mut self, prefix: IpNet, route: Route) -> Option<Route> {
        let entry = self.entries.entry(prefix).or_default();
        match entry.place(route.peer) {
            Ok(at) => Some(std::mem::replace(&mut entry.routes[at], route)),
            Err(at) => {
                entry.routes.insert(at, route);
                None
            }
        }
    }

    /// Takes out a peer's route.
    pub(super) fn remove(&mut self, prefix: &IpNet, peer: PeerId) -> Option<Route> {
        let entry = self.entries.get_mut(prefix)?;
        let at = entry.place(peer).ok()?;
        Some(entry.routes.remove(at))
    }

    /// Takes out all routes of a peer; their prefixes.
    pub(super) fn remove_peer(&mut self, peer: PeerId) -> Vec<IpNet> {
        let mut touched = Vec::new();
        for (prefix, entry) in &mut self.entries {
            if let Ok(at) = entry.place(peer) {
                entry.routes.remove(at);
                touched.push(*prefix);
            }
        }
        touched
    }

    /// Selects the best route of a prefix; whether it is another than before.
    pub(super) fn decide(&mut self, prefix: &IpNet, context: Context<'_>) -> bool {
        let Some(entry) = self.entries.get_mut(prefix) else { return false };
        let best = entry.select(context);
        let changed = best != entry.best;
        entry.best = best;
        if entry.local.is_none() && entry.routes.is_empty() {
            self.entries.remove(prefix);
        }
        changed
    }

    /// Every route, by prefix, our own first, then by peer.
    pub(super) fn views<'a>(&'a self, context: Context<'a>) -> impl Iterator<Item = RouteView<'a>> {
        self.entries.iter().flat_map(move |(prefix, entry)| {
            let best = entry.best.as_ref().map(|best| best.peer);
            let view = move |peer, attributes, ineligible| RouteView {
                prefix: *prefix,
                attributes,
                peer,
                best: best == Some(peer),
                ineligible,
            };
            let local = entry.local.iter().map(move |attributes| view(None, attributes, None));
            local.chain(entry.routes.iter().map(move |route| {
                let ineligible = route.candidate(context).err();
                view(Some(route.peer), route.attributes(), ineligible)
            }))
        })
    }
}

impl Entry {
    /// Where a peer's route is, or would be.
    fn place(&self, peer: PeerId) -> Result<usize, usize> {
        self.routes.binary_search_by_key(&peer, |route| route.peer)
    }

    fn select(&self, context: Context<'_>) -> Option<Best> {
        if let Some(attributes) = &self.local {
            return Some(Best { peer: None, ebgp: false, attributes: Arc::clone(attributes) });
        }
        let (routes, candidates): (Vec<&Route>, Vec<Candidate<'_>>) = self
            .routes
            .iter()
            .filter_map(|route| Some((route, route.candidate(context).ok()?)))
            .unzip();
        let best = routes[select(&candidates)?.best];
        Some(Best {
            peer: Some(best.peer),
            ebgp: context.peers.get(&best.peer).is_some_and(|peer| peer.ebgp),
            attributes: Arc::clone(best.attributes()),
        })
    }
}

impl Route {
    /// After import policy; as received if it did not get that far.
    pub(super) fn attributes(&self) -> &Arc<Attributes> {
        self.verdict.as_ref().unwrap_or(&self.received)
    }

    /// The route as the decision process sees it, or why it does not.
    pub(super) fn candidate(&self, context: Context<'_>) -> Result<Candidate<'_>, Ineligible> {
        let attributes = self.verdict.as_ref().map_err(|why| *why)?;
        let peer = context.peers.get(&self.peer);
        let (peer, session) = peer
            .and_then(|peer| Some((peer, peer.session.as_ref()?)))
            .expect("a peer's routes leave the table when it goes down");
        let igp_cost = match context.igp {
            Some(igp) if !peer.ebgp => {
                *igp.get(&attributes.next_hop.address).ok_or(Ineligible::Unreachable)?
            }
            _ => 0,
        };
        let source = Source::Peer {
            ebgp: peer.ebgp,
            asn: peer.config.asn,
            router_id: session.up.router_id,
            address: peer.config.address,
            igp_cost,
        };
        Ok(Candidate { attributes, source })
    }
}

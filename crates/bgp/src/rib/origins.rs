//! What the RPKI says of routes (RFC 6811), and judging anew those that it changes.
//!
//! The state of a route is not kept but looked up, and by the policies only that ask for it:
//! where none does, VRPs cost nothing here. A changed set of VRPs makes a walk through the table
//! that judges the routes within what changed, some thousand entries at each
//! [`poll_origins`](Rib::poll_origins).

use std::collections::BTreeMap;
use std::sync::Arc;

use ipnet::IpNet;

use super::Rib;
use super::memo::Memo;
use super::peer::PeerId;
use super::table::{EntryId, Route};
use crate::rov::{self, Changes, Finding, Validity, VrpTable};
use crate::{AsPath, Asn};

/// How many entries one poll looks at: about a millisecond.
const ENTRIES_PER_POLL: u32 = 4096;

#[derive(Clone, Debug, Default)]
pub(super) struct Origins {
    vrps: Option<Arc<VrpTable>>,
    /// The first VRPs are on their way.
    awaited: bool,
    walk: Option<Walk>,
}

/// A way through the table for the sake of what changed.
#[derive(Clone, Debug)]
struct Walk {
    changes: Changes,
    /// Everything is to be judged anew, whatever changed.
    everything: bool,
    next: EntryId,
}

impl Origins {
    pub(super) fn vrps(&self) -> Option<&VrpTable> {
        self.vrps.as_deref()
    }

    /// What the RPKI says of a route by what there is; `None`: that is not to be known yet.
    pub(super) fn judgement(
        &self,
        prefix: &IpNet,
        path: &AsPath,
        local_asn: Asn,
    ) -> Option<Validity> {
        match &self.vrps {
            Some(vrps) => Some(vrps.validate(prefix, rov::origin(path, local_asn))),
            None => (!self.awaited).then(Validity::default),
        }
    }
}

impl Rib {
    /// The first VRPs are on their way: a route is not eligible while the import policy asks for
    /// its state, until they are [there](Self::set_vrps) or [given up](Self::give_up_vrps). What
    /// has been judged already stays as it is.
    pub fn await_vrps(&mut self) {
        self.origins.awaited = self.origins.vrps.is_none();
    }

    /// Routes wait for VRPs no longer: without any, every route is NotFound.
    pub fn give_up_vrps(&mut self) {
        if std::mem::take(&mut self.origins.awaited) {
            let changes = Changes::default();
            self.origins.walk = Some(Walk { changes, everything: true, next: 0 });
        }
    }

    /// Replaces the VRPs by which routes are judged; without any, every route is NotFound.
    /// [`poll_origins`](Self::poll_origins) then judges the routes that the change concerns.
    pub fn set_vrps(&mut self, vrps: Option<Arc<VrpTable>>) {
        if vrps.is_some() {
            self.give_up_vrps();
        }
        let empty = VrpTable::default();
        let old = std::mem::replace(&mut self.origins.vrps, vrps);
        let new = self.origins.vrps.as_deref().unwrap_or(&empty);
        if !self.peers.values().any(|peer| peer.asks_rpki != (false, false)) {
            self.origins.walk = None;
            return;
        }
        let mut changes = old.as_deref().unwrap_or(&empty).changes(new);
        let mut everything = false;
        if let Some(walk) = self.origins.walk.take() {
            changes.merge(&walk.changes);
            everything = walk.everything;
        }
        if everything || !changes.is_empty() {
            self.origins.walk = Some(Walk { changes, everything, next: 0 });
        }
    }

    /// The VRPs by which routes are judged.
    #[must_use]
    pub fn vrps(&self) -> Option<&Arc<VrpTable>> {
        self.origins.vrps.as_ref()
    }

    /// What the RPKI says of a route with this path; `None`: there are no VRPs.
    #[must_use]
    pub fn validity(&self, prefix: &IpNet, path: &AsPath) -> Option<Validity> {
        let vrps = self.origins.vrps()?;
        Some(vrps.validate(prefix, rov::origin(path, self.local_asn)))
    }

    /// The same with the VRPs that make it so.
    #[must_use]
    pub fn finding(&self, prefix: &IpNet, path: &AsPath) -> Option<Finding> {
        let vrps = self.origins.vrps()?;
        Some(vrps.explain(prefix, rov::origin(path, self.local_asn)))
    }

    /// Judges some of the routes that changed VRPs concern; whether there are more to look at.
    pub fn poll_origins(&mut self) -> bool {
        let Some(mut walk) = self.origins.walk.take() else { return false };
        let end = self.table.end();
        let until = end.min(walk.next.saturating_add(ENTRIES_PER_POLL));
        // By peer: what is alike to the policy of one need not be so to another's.
        let mut verdicts = BTreeMap::new();
        for entry in walk.next..until {
            let there = self.table.entry(entry);
            if there.routes().is_empty() && there.best().is_none() {
                continue;
            }
            if !walk.everything && !walk.changes.concern(&self.table.prefix(entry)) {
                continue;
            }
            let asks = |id: PeerId| self.peers.get(&id).is_some_and(|peer| peer.asks_rpki.0);
            let sources = &self.table.sources;
            let routes: Vec<Route> = (there.routes().iter())
                .filter(|route| asks(sources.peer(route.source)))
                .copied()
                .collect();
            for route in routes {
                let peer = self.table.sources.peer(route.source);
                self.judge(entry, route, verdicts.entry(peer).or_insert_with(Memo::new));
            }
            self.tell_anew(entry);
        }
        for verdicts in verdicts.into_values() {
            verdicts.release(&mut self.sets, |verdict| verdict.get().ok());
        }
        walk.next = until;
        let more = until < end;
        if more {
            self.origins.walk = Some(walk);
        }
        more
    }

    /// Those whose export policy asks look at the prefix again (RFC 8893).
    fn tell_anew(&mut self, entry: EntryId) {
        self.groups.touch(&mut self.table, entry, true);
        if !self.sends_paths {
            return;
        }
        let family = self.table.entry(entry).family();
        let any = self.table.entry(entry).best().is_some();
        for peer in self.peers.values_mut().filter(|peer| peer.asks_rpki.1) {
            let Some(session) = &mut peer.session else { continue };
            if session.sends_paths(family) && session.negotiated(family) {
                session.touch(&mut self.table, entry, any);
            }
        }
    }

    /// How many routes of each peer are [valid, not found and invalid](Validity::ALL), among
    /// `most` entries from `from` on; and where to look on, if that was not all.
    #[must_use]
    pub fn count_origins(&self, from: u32, most: u32) -> (Vec<(PeerId, [usize; 3])>, Option<u32>) {
        let end = self.table.end();
        let until = end.min(from.saturating_add(most.max(1)));
        let mut counts: std::collections::BTreeMap<PeerId, [usize; 3]> =
            self.peers.keys().map(|id| (*id, [0; 3])).collect();
        for entry in from..until {
            let routes = self.table.entry(entry).routes();
            if routes.is_empty() {
                continue;
            }
            let prefix = self.table.prefix(entry);
            for route in routes {
                let path = &self.sets.get(route.received).as_path;
                let validity = self.validity(&prefix, path).unwrap_or_default();
                if let Some(counts) = counts.get_mut(&self.table.sources.peer(route.source)) {
                    counts[validity as usize] += 1;
                }
            }
        }
        (counts.into_iter().collect(), (until < end).then_some(until))
    }
}

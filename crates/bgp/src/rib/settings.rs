//! What may change about a peer or about all of the tables while sessions last. Routes are judged
//! anew, and peers are told what differs (soft reconfiguration).

use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr};

use ipnet::IpNet;

use super::group::Terms;
use super::memo::Memo;
use super::paths::Multipath;
use super::peer::{Limits, PeerId, Reported};
use super::session::Session;
use super::table::{EntryId, Route};
use super::{Rib, Verdicts};
use crate::policy::Policy;

impl Rib {
    /// Replaces the limits of a peer and holds what it has sent against them.
    pub fn set_limits(&mut self, id: PeerId, limits: Limits) {
        let Some(peer) = self.peers.get_mut(&id) else { return };
        let judge_anew = peer.limits.as_path_length != limits.as_path_length;
        peer.limits = limits;
        peer.reported = Reported::default();
        if judge_anew {
            self.judge_anew(id);
        }
        self.check_limits(id);
    }

    /// Our addresses with their subnets, as interfaces have them: the next hops of a directly
    /// connected eBGP peer have to be on one of these subnets and none of these addresses
    /// (RFC 4271 §6.3). To be said when the peer is up, before its first route; empty: unknown.
    pub fn set_on_link(&mut self, id: PeerId, ours: Vec<IpNet>) {
        if let Some(peer) = self.peers.get_mut(&id) {
            peer.on_link = ours;
        }
    }

    /// Replaces a peer's import policy and judges all that it sent anew.
    pub fn set_import(&mut self, id: PeerId, policy: Policy) {
        let Some(peer) = self.peers.get_mut(&id) else { return };
        if peer.config.import == policy {
            return;
        }
        peer.asks_rpki.0 = policy.asks_rpki();
        peer.config.import = policy;
        self.judge_anew(id);
    }

    /// Judges all that a peer sent anew.
    fn judge_anew(&mut self, id: PeerId) {
        let mut verdicts = Memo::new();
        for entry in self.table.ids() {
            // Each takes its own place again.
            let mut at = 0;
            while let Some(route) = self.table.entry(entry).routes().get(at).copied() {
                at += 1;
                if self.table.sources.peer(route.source) == id {
                    self.judge(entry, route, &mut verdicts);
                }
            }
        }
        verdicts.release(&mut self.sets, |verdict| verdict.get().ok());
    }

    /// Judges a peer's route anew, stale or not.
    pub(super) fn judge(&mut self, entry: EntryId, route: Route, verdicts: &mut Verdicts) {
        let (peer, path_id) = self.table.sources.of(route.source);
        let source = self.table.sources.hold(peer, path_id);
        self.put_in(peer, source, entry, route.received, verdicts);
        self.decide(entry);
        if route.is_stale() {
            self.mark(peer, entry, source);
        }
    }

    /// Replaces a peer's export policy; the peer is told what differs.
    pub fn set_export(&mut self, id: PeerId, policy: Policy) {
        let Some(peer) = self.peers.get_mut(&id) else { return };
        if peer.config.export == policy {
            return;
        }
        peer.exports_learnt = !policy.is_for_local_routes();
        peer.asks_rpki.1 = policy.asks_rpki();
        peer.config.export = policy;
        self.terms_changed(id);
    }

    /// Another policy holds for a peer than for those with whom it was told, or it is another kind
    /// of peer now. It is told what differs.
    fn terms_changed(&mut self, id: PeerId) {
        let Some(peer) = self.peers.get_mut(&id) else { return };
        let Some(mut session) = peer.session.take() else { return };
        if let Some(group) = session.group {
            let terms = Terms::new(peer, &session.up, Session::families_of_one(&session.up));
            let tables = (&mut self.table, &mut self.sets);
            session.group = Some(self.groups.change(group, id, terms, self.local_asn, tables));
        }
        for family in session.up.families.clone() {
            session.walk(family, self.table.end(), false);
        }
        peer.session = Some(session);
    }

    /// Makes an iBGP peer our client in route reflection, or not (RFC 4456 §6): its routes go to
    /// all iBGP peers, and it is told all of theirs. No peer is one at first.
    pub fn set_client(&mut self, id: PeerId, client: bool) {
        let Some(peer) = self.peers.get_mut(&id) else { return };
        if peer.ebgp || peer.client == client {
            return;
        }
        peer.client = client;
        self.terms_changed(id);
        for entry in self.table.ids() {
            if self.table.route_of(entry, id).is_some() {
                self.decide(entry);
            }
        }
    }

    /// Our cluster in route reflection, if it is not called by our own router id (RFC 4456 §7).
    /// To be set before the first peer is up.
    pub fn set_cluster_id(&mut self, cluster_id: Ipv4Addr) {
        self.cluster_id = cluster_id;
    }

    /// Lets routes that are equally good share the packets of their prefix, or no longer.
    pub fn set_multipath(&mut self, multipath: Multipath) {
        if self.multipath == multipath {
            return;
        }
        self.multipath = multipath;
        for entry in self.table.ids() {
            if self.table.entry(entry).routes().len() > 1 {
                self.fib.touch(&mut self.table, entry);
            }
        }
    }

    /// The interior: the cost to each next hop of routes from iBGP peers. A next hop that is not
    /// in it is unreachable (RFC 4271 §9.1.2); without an interior each is reachable at no cost.
    pub fn set_igp(&mut self, igp: Option<HashMap<IpAddr, u32>>) {
        if self.igp == igp {
            return;
        }
        self.igp = igp;
        for entry in self.table.ids() {
            if !self.table.entry(entry).routes().is_empty() {
                self.decide(entry);
            }
        }
    }
}

//! Routes by which their neighbor does not stand at the moment: what [`Retention`] says is done to
//! the tables.
//!
//! [`Retention`]: anycast_bgp::retention::Retention

use anycast_bgp::Family;
use anycast_bgp::retention::Step;
use anycast_bgp::rib::RefreshMark;
use anycast_bgp::session::{DownReason, Established};
use anycast_bgp::time::Instant;
use tracing::info;

use super::Driver;
use crate::peer::peer_id;

impl Driver {
    /// Before the tables hear that the neighbor is up.
    pub(super) fn stale_routes_of_one_that_is_back(&mut self, index: usize, link: &Established) {
        let now = self.now();
        let steps = self.peers[index].retention.handle_established(now, link);
        self.apply(index, steps);
    }

    /// The tables hear that the session is down; `dead`: the neighbor's forwarding is gone too.
    pub(super) fn keep_or_forget(&mut self, index: usize, reason: &DownReason, dead: bool) {
        let now = self.now();
        let loss = self.peers[index].retention.handle_down(now, reason, dead);
        self.apply(index, loss.first);
        let before = self.rib.counts(peer_id(index)).received;
        self.rib.peer_lost(peer_id(index), &loss.keep);
        let kept = self.rib.counts(peer_id(index)).received;
        if kept > 0 {
            let name = &self.peers[index].neighbor.name;
            info!(neighbor = name, "{kept} of its {before} routes are kept while it restarts");
        }
    }

    /// The operator wants nothing more of a neighbor: nobody waits for one that restarts.
    pub(crate) fn give_up(&mut self, index: usize) {
        if !self.peers[index].established {
            self.peers[index].retention.give_up();
            self.rib.peer_down(peer_id(index));
        }
    }

    pub(super) fn end_of_rib(&mut self, index: usize, family: Family) {
        let step = self.peers[index].retention.handle_end_of_rib(family);
        self.apply(index, step);
    }

    pub(super) fn beginning_of_refresh(&mut self, index: usize, family: Family) {
        let now = self.now();
        let step = self.peers[index].retention.handle_beginning_of_refresh(now, family);
        self.apply(index, step);
    }

    pub(super) fn end_of_refresh(&mut self, index: usize, family: Family) {
        let step = self.peers[index].retention.handle_end_of_refresh(family);
        self.apply(index, step);
    }

    /// When a neighbor's time is next up.
    pub(super) fn next_end_of_patience(&self) -> Option<Instant> {
        self.peers.iter().filter_map(|peer| peer.retention.poll_timeout()).min()
    }

    pub(super) fn end_patience(&mut self, now: Instant) {
        for index in self.peers.numbers() {
            let steps = self.peers[index].retention.handle_timeout(now);
            self.apply(index, steps);
        }
    }

    fn apply(&mut self, index: usize, steps: impl IntoIterator<Item = Step>) {
        let id = peer_id(index);
        for step in steps {
            self.activity += 1;
            let before = self.rib.counts(id);
            match step {
                Step::Mark(family) => self.rib.mark_stale(id, family),
                Step::Drop(family) => self.rib.drop_stale(id, family),
                Step::LongLived(family) => self.rib.long_lived_stale(id, family),
            }
            let after = self.rib.counts(id);
            let name = &self.peers[index].neighbor.name;
            match step {
                Step::Drop(family) if before.received > after.received => {
                    let gone = before.received - after.received;
                    info!(neighbor = name, "{gone} stale {family} routes are gone");
                }
                Step::LongLived(family) if after.stale > 0 => {
                    info!(neighbor = name, "its stale {family} routes are a last resort now");
                }
                _ => {}
            }
        }
    }

    /// Sends the marks that come before any UPDATE.
    pub(super) fn send_refresh_marks(&mut self, now: Instant, index: usize) {
        while let Some(mark) = self.rib.poll_refresh_mark(peer_id(index)) {
            let peer = &mut self.peers[index];
            match mark {
                RefreshMark::Beginning(family) => {
                    peer.session.send_beginning_of_route_refresh(now, family);
                }
                RefreshMark::End(family) => peer.session.send_end_of_route_refresh(now, family),
            }
            peer.flush();
        }
    }
}

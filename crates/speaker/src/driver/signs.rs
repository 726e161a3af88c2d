//! What says sooner than the HoldTimer that a neighbor is gone, or back: links and BFD.

use anycast_bfd::Event as BfdEvent;
use anycast_bgp::iana::cease_subcode;
use anycast_bgp::session::Connection;
use tokio::sync::oneshot;
use tracing::{info, warn};

use super::{BfdThread, Driver};
use crate::bfd::BfdStatus;
use crate::handle::ADMINISTRATIVE_RESET;
use crate::handover::HandedBfd;
use crate::monitor::Link;

impl Driver {
    pub(super) fn handle_link(&mut self, link: Link) {
        if !link.passes {
            let keeps_routes = self.down.entry(link.interface).or_insert(true);
            *keeps_routes &= link.keeps_routes;
        }
        let concerned: Vec<usize> = self
            .peers
            .numbers()
            .into_iter()
            .filter(|index| self.peers[*index].interface == Some(link.interface))
            .collect();
        if !link.passes {
            for index in concerned {
                if self.peers[index].established {
                    self.lose_interface(index);
                }
            }
        } else if let Some(keeps_routes) = self.down.remove(&link.interface) {
            if let (Some(kernel), false) = (&self.kernel, keeps_routes) {
                kernel.refresh();
            }
            for index in concerned {
                self.try_again_at_once(index);
            }
        }
    }

    /// The way to a neighbor is there again: attempts while it was not say nothing about now.
    pub(super) fn try_again_at_once(&mut self, index: usize) {
        let now = self.now();
        let peer = &mut self.peers[index];
        if peer.may_start() && !peer.established && peer.is_closed() {
            peer.session.handle_stop(now, ADMINISTRATIVE_RESET, "");
            peer.session.handle_start(now);
            self.perform_actions(index);
        }
    }

    /// The interface towards a directly connected neighbor is down: no need to wait for the hold
    /// timer.
    pub(super) fn lose_interface(&mut self, index: usize) {
        let now = self.now();
        let peer = &mut self.peers[index];
        peer.cause = Some("the interface towards it went down".to_owned());
        for connection in [Connection::Dialled, Connection::Accepted] {
            if peer.slot(connection).take().is_some() {
                peer.session.handle_closed(now, connection);
            }
        }
        self.perform_actions(index);
        self.peers[index].cause = None;
    }

    pub(super) fn start_bfd(&mut self) {
        let BfdThread::Opened(engine) = std::mem::replace(&mut self.bfd, BfdThread::None) else {
            return;
        };
        let sender = self.bfd_sender.clone();
        let started = engine.start(move |peer, event| {
            // A driver that has ended needs to know nothing more.
            let _ = sender.send((peer, event));
        });
        match started {
            Ok(running) => self.bfd = BfdThread::Running(running),
            Err(error) => warn!("BFD does not run, so a dead neighbor is seen late: {error}"),
        }
    }

    /// The BFD sessions by the index of their neighbor, if there are any.
    pub(crate) fn bfd_status(&self) -> Option<oneshot::Receiver<Vec<(usize, BfdStatus)>>> {
        match &self.bfd {
            BfdThread::Running(running) => Some(running.status()),
            BfdThread::Opened(_) | BfdThread::None => None,
        }
    }

    /// The BFD sessions as they can go on elsewhere, and whether all neighbors know how slow they
    /// are.
    pub(crate) fn bfd_carry(
        &self,
        slow_down: bool,
    ) -> Option<oneshot::Receiver<(Vec<HandedBfd>, bool)>> {
        match &self.bfd {
            BfdThread::Running(running) => Some(running.carry(slow_down)),
            BfdThread::Opened(_) | BfdThread::None => None,
        }
    }

    /// A neighbor that BFD calls dead loses its session at once (RFC 5882 §4.2). One whose operator
    /// ended BFD does not: that says nothing of the path (RFC 5882 §3.2).
    pub(super) fn handle_bfd(&mut self, index: usize, event: BfdEvent) {
        let now = self.now();
        // One that was removed says goodbye too.
        let Some(peer) = self.peers.get_mut(index) else { return };
        let name = &peer.neighbor.name;
        match event {
            BfdEvent::Up => {
                info!(neighbor = name, "BFD is Up");
                self.try_again_at_once(index);
            }
            BfdEvent::AdminDown => info!(neighbor = name, "BFD was ended by an operator"),
            BfdEvent::Down(diagnostic) if peer.established => {
                peer.cause = Some(format!("BFD Down: {diagnostic}"));
                // RFC 9384.
                peer.session.handle_stop(now, cease_subcode::BFD_DOWN, "");
                self.perform_actions(index);
                self.peers[index].cause = None;
                self.peers[index].session.handle_start(now);
                self.perform_actions(index);
            }
            BfdEvent::Down(diagnostic) => info!(neighbor = name, "BFD is Down: {diagnostic}"),
        }
    }
}

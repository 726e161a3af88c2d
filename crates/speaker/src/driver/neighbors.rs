//! Neighbors that come, change and go while the speaker runs. The others notice nothing.

use anycast_bgp::iana::cease_subcode;
use anycast_bgp::message::{Nlri, Update};
use anycast_bgp::time::Instant;
use tokio::sync::oneshot;
use tracing::info;

use super::{BfdThread, Driver};
use crate::bfd::{self, OpenError};
use crate::config::{Bfd, Neighbor};
use crate::handle::ChangeError;
use crate::peer::{Peer, peer_id};

/// Prefixes in one UPDATE of withdrawals.
const PREFIXES_PER_UPDATE: usize = 200;

/// What the thread of BFD makes of a new session; `None`: there is nothing to wait for.
pub(crate) type Pending = Option<oneshot::Receiver<Result<(), OpenError>>>;

impl Driver {
    /// Puts a neighbor among the others; its session is not started.
    pub(super) fn insert(&mut self, neighbor: Neighbor, now: Instant) -> usize {
        let number = self.peers.next_number();
        let (client, limits) = (neighbor.reflector_client, neighbor.limits);
        let mut peer = Peer::new(neighbor, &self.config, number, now);
        peer.session.set_tap(self.recorder.is_some() || self.stations.wants_received());
        self.rib.add_peer(peer_id(number), peer.in_tables());
        self.rib.set_client(peer_id(number), client);
        self.rib.set_limits(peer_id(number), limits);
        self.peers.push(peer);
        number
    }

    /// Adds a neighbor and starts its session.
    pub(crate) fn add_neighbor(&mut self, mut neighbor: Neighbor) -> Result<Pending, ChangeError> {
        if self.peers.named(&neighbor.name).is_some() {
            return Err(ChangeError::NameTaken(neighbor.name));
        }
        neighbor.fill_in(self.config.local_asn);
        let others: Vec<&Neighbor> = self.peers.iter().map(|peer| &peer.neighbor).collect();
        self.listeners.add(&neighbor, &others, &mut self.watchers)?;
        let pending = match neighbor.bfd {
            Some(bfd) => self.begin_bfd(self.peers.next_number(), &neighbor, bfd),
            None => Ok(None),
        };
        let pending = match pending {
            Ok(pending) => pending,
            Err(error) => {
                let others: Vec<&Neighbor> = self.peers.iter().map(|it| &it.neighbor).collect();
                self.listeners.remove(&neighbor, &others);
                return Err(error.into());
            }
        };
        info!(neighbor = neighbor.name, "neighbor is added");
        let now = self.now();
        let number = self.insert(neighbor, now);
        self.peers[number].session.handle_start(now);
        self.perform_actions(number);
        self.activity += 1;
        Ok(pending)
    }

    /// A neighbor has no session until it is enabled; before anything has started.
    pub(crate) fn disable_from_start(&mut self, name: &str, message: &str) {
        if let Some(number) = self.peers.named(name) {
            let peer = &mut self.peers[number];
            (peer.enabled, peer.disabled_message) = (false, Some(message.to_owned()));
        }
    }

    /// Removes a neighbor: it is told that all we told it is gone, then that it is no more one of
    /// ours (RFC 4486 §4: Peer De-configured).
    pub(crate) fn remove_neighbor(&mut self, name: &str) -> Result<(), ChangeError> {
        let number = self.peer_named(name)?;
        self.withdraw_from(number);
        self.take_out(number, cease_subcode::PEER_DE_CONFIGURED, "it was removed by its operator");
        info!(neighbor = name, "neighbor is removed");
        Ok(())
    }

    /// Ends a neighbor's session and begins another by new settings (RFC 4486 §4: Other
    /// Configuration Change).
    pub(crate) fn replace_neighbor(&mut self, neighbor: Neighbor) -> Result<Pending, ChangeError> {
        let number = self.peer_named(&neighbor.name)?;
        let old = self.peers[number].neighbor.clone();
        let disabled =
            (!self.peers[number].enabled).then(|| self.peers[number].disabled_message.clone());
        self.take_out(
            number,
            cease_subcode::OTHER_CONFIGURATION_CHANGE,
            "its settings were changed by its operator",
        );
        let name = neighbor.name.clone();
        let pending = self.add_neighbor(neighbor).inspect_err(|_| {
            // It was good enough until now.
            let _ = self.add_neighbor(old);
        });
        // An operator's word stands.
        if let (Some(message), Some(number)) = (disabled, self.peers.named(&name)) {
            let now = self.now();
            let peer = &mut self.peers[number];
            (peer.enabled, peer.disabled_message) = (false, message);
            peer.session.handle_stop(now, cease_subcode::ADMINISTRATIVE_SHUTDOWN, "");
        }
        pending
    }

    /// Takes over of a neighbor's settings what needs no new session: policies, limits, BFD, the
    /// port, whether it is our client.
    pub(crate) fn change_neighbor(&mut self, neighbor: Neighbor) -> Result<Pending, ChangeError> {
        let number = self.peer_named(&neighbor.name)?;
        let id = peer_id(number);
        let pending = if self.peers[number].neighbor.bfd == neighbor.bfd {
            None
        } else {
            if let BfdThread::Running(running) = &self.bfd {
                running.remove(number);
            }
            match neighbor.bfd {
                Some(bfd) => self.begin_bfd(number, &neighbor, bfd)?,
                None => None,
            }
        };
        let Neighbor { import, export, limits, at_limit, port, reflector_client, bfd, .. } =
            neighbor;
        self.rib.set_import(id, import.clone());
        self.rib.set_export(id, export.clone());
        self.rib.set_client(id, reflector_client);
        let ours = &mut self.peers[number].neighbor;
        let limits_differ = ours.limits != limits;
        (ours.import, ours.export) = (import, export);
        (ours.limits, ours.at_limit, ours.port) = (limits, at_limit, port);
        (ours.reflector_client, ours.bfd) = (reflector_client, bfd);
        if limits_differ {
            self.rib.set_limits(id, limits);
            self.heed_limits();
        }
        Ok(pending)
    }

    fn begin_bfd(
        &mut self,
        number: usize,
        neighbor: &Neighbor,
        bfd: Bfd,
    ) -> Result<Pending, OpenError> {
        if let BfdThread::Running(running) = &mut self.bfd {
            return running.add(number, neighbor, bfd).map(Some);
        }
        let first = Some((number, neighbor));
        if let Some(engine) = bfd::Engine::open(first, &self.config.place, &[])? {
            self.bfd = BfdThread::Opened(engine);
            self.start_bfd();
        }
        Ok(None)
    }

    /// Sends a neighbor the withdrawal of all that it was told.
    fn withdraw_from(&mut self, number: usize) {
        if !self.peers[number].established {
            return;
        }
        let told = self.told(number);
        self.withdraw_these(number, &told);
    }

    /// Sends a neighbor the withdrawal of these.
    pub(super) fn withdraw_these(&mut self, number: usize, told: &[Nlri]) {
        let now = self.now();
        let peer = &mut self.peers[number];
        for family in anycast_bgp::Family::ALL {
            let of_family: Vec<Nlri> =
                told.iter().filter(|nlri| nlri.family() == family).copied().collect();
            for some in of_family.chunks(PREFIXES_PER_UPDATE) {
                peer.session.send_update(now, &Update::withdraw(some.iter().copied()));
            }
        }
        peer.flush_past(|peer, octets| self.stations.sent(number, peer, octets));
    }

    fn take_out(&mut self, number: usize, subcode: u8, why: &str) {
        let now = self.now();
        let peer = &mut self.peers[number];
        peer.cause = Some(why.to_owned());
        peer.session.handle_stop(now, subcode, "");
        self.perform_actions(number);
        // Once more for the state that it has come to.
        self.perform_actions(number);
        let neighbor = self.peers[number].neighbor.clone();
        if let BfdThread::Running(running) = &self.bfd {
            running.remove(number);
        }
        if let Some(recorder) = &mut self.recorder {
            recorder.forget(number);
        }
        self.peers.remove(number);
        self.rib.remove_peer(peer_id(number));
        let others: Vec<&Neighbor> = self.peers.iter().map(|peer| &peer.neighbor).collect();
        self.listeners.remove(&neighbor, &others);
        self.activity += 1;
    }
}

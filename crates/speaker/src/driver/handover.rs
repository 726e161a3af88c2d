//! Sessions on their way to the speaker that takes this one's place, and those that came from the
//! one before.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::time::Duration;

use anycast_bgp::iana::{cease_subcode, error_code};
use anycast_bgp::message::Nlri;
use anycast_bgp::message::{Context, Message, Notification, Update};
use anycast_bgp::rib::{Cursor, Watched};
use tokio::net::TcpStream;
use tokio::sync::oneshot;
use tracing::{info, warn};

use super::{BfdThread, Driver, Event};
use crate::connection::{ConnectionEvent, ConnectionHandle};
use crate::handle::ADMINISTRATIVE_RESET;
use crate::handover::{HandedBfd, HandedOver, HandedSession};
use crate::peer::peer_id;
use crate::speaker::SpeakerEvent;

/// How long connections may take until they have handed over what they have read.
const HALT: Duration = Duration::from_secs(2);

/// The order to hand over, with the BFD sessions that go on.
pub(crate) struct HandingOver {
    pub(crate) bfd: Vec<HandedBfd>,
    pub(crate) answer: oneshot::Sender<HandedOver>,
}

impl Driver {
    /// Ends this speaker and gives its sessions away. Neighbors for which graceful restart is off
    /// asked for nothing of the kind: theirs are reset.
    pub(super) async fn hand_over(mut self, order: HandingOver) {
        let mut handed = HandedOver { bfd: order.bfd, ..HandedOver::default() };
        for peer in self.peers.iter().filter(|peer| !peer.enabled) {
            let message = peer.disabled_message.clone().unwrap_or_default();
            handed.disabled.push((peer.neighbor.name.clone(), message));
        }
        let mut wait = BTreeSet::new();
        for index in self.peers.numbers() {
            let peer = &mut self.peers[index];
            if let Some((_, task)) = peer.dial.take() {
                task.abort();
            }
            let asked = peer.neighbor.offer.graceful_restart.is_some();
            let link = peer.session.negotiated().filter(|_| asked && peer.established);
            if let Some(connection) = link.map(|link| link.connection)
                && let Some(handle) = peer.slot(connection)
            {
                handle.halt();
                wait.insert(handle.id);
                continue;
            }
            if peer.established {
                let why = "graceful-restart is off for it";
                handed.ended.push((peer.neighbor.name.clone(), why.to_owned()));
            }
            let now = self.now();
            self.peers[index].session.handle_stop(now, ADMINISTRATIVE_RESET, "");
            self.perform_actions(index);
        }
        self.let_them_halt(&mut wait).await;

        let mut taken = Vec::new();
        for index in self.peers.numbers() {
            let (replay, told) = (self.replay(index), self.told(index));
            let peer = &mut self.peers[index];
            let Some(carried) = peer.session.carry() else { continue };
            let Some(handle) = peer.slot(carried.connection).take() else { continue };
            let name = peer.neighbor.name.clone();
            if wait.contains(&handle.id) {
                handed.ended.push((name, "its connection could not be stopped".to_owned()));
                continue;
            }
            taken.push((name, handle.take(), carried, replay, told));
        }
        for (name, stream, carried, replay, told) in taken {
            let stream = stream.await.and_then(|stream| stream.into_std().ok());
            if let Some(stream) = stream {
                let (socket, parts) = (OwnedFd::from(stream), (replay, told));
                handed.sessions.push(HandedSession::new(name, socket, carried, parts));
            } else {
                let why = "it does not take what it is sent, or its connection broke";
                handed.ended.push((name, why.to_owned()));
            }
        }
        self.watchers.shutdown().await;
        self.stations.close().await;
        // It says no goodbye, and goes on speaking as long as this program runs.
        if let BfdThread::Running(running) = std::mem::replace(&mut self.bfd, BfdThread::None) {
            running.leave_running();
        }
        while self.connections.join_next().await.is_some() {}
        // The kernel keeps its routes.
        let _ = order.answer.send(handed);
    }

    /// Takes in what connections have read, until they have told all of it.
    async fn let_them_halt(&mut self, wait: &mut BTreeSet<u64>) {
        let until = tokio::time::Instant::now() + HALT;
        while !wait.is_empty() {
            let Ok(Some(event)) = tokio::time::timeout_at(until, self.events.recv()).await else {
                return;
            };
            if let Event::Connection {
                id,
                event: ConnectionEvent::Halted | ConnectionEvent::Closed,
                ..
            } = &event
            {
                wait.remove(id);
            }
            self.handle_event(event);
        }
    }

    /// All that a neighbor has sent and that still holds, as it might have sent it.
    fn replay(&self, index: usize) -> Vec<u8> {
        let Some(link) = self.peers[index].session.negotiated() else { return Vec::new() };
        let context = Context { path_ids_out: link.context.path_ids_in, ..link.context };
        let mut octets = Vec::new();
        let mut cursor = Cursor::default();
        loop {
            let (found, next) = self.rib.walk(Watched::Received(peer_id(index)), cursor);
            for announcement in found {
                let update = Update { announced: vec![announcement], ..Update::default() };
                octets.extend(update.emit(&context).into_iter().flatten());
            }
            match next {
                Some(next) => cursor = next,
                None => return octets,
            }
        }
    }

    /// All that a neighbor was told.
    pub(super) fn told(&self, index: usize) -> Vec<Nlri> {
        let told = self.rib.advertised(peer_id(index));
        told.map(|route| Nlri::new(route.prefix, route.path_id)).collect()
    }

    /// Goes on with the sessions that were handed over, and starts the others.
    pub(super) fn start_sessions(&mut self) {
        let handed = std::mem::take(&mut self.handed);
        for (name, message) in handed.disabled {
            if let Some(index) = self.peers.named(&name) {
                let peer = &mut self.peers[index];
                (peer.enabled, peer.disabled_message) = (false, Some(message));
            }
        }
        for session in handed.sessions {
            let name = session.name.clone();
            if let Err(why) = self.go_on(session) {
                warn!(neighbor = name, "its session cannot go on and begins anew: {why}");
                self.report(SpeakerEvent::NeighborReset { name, why });
            }
        }
        for (name, why) in handed.ended {
            self.report(SpeakerEvent::NeighborReset { name, why });
        }
        let now = self.now();
        for peer in self.peers.iter_mut().filter(|peer| peer.enabled && !peer.established) {
            peer.session.handle_start(now);
        }
    }

    /// Goes on with a session, or says goodbye on its connection.
    fn go_on(&mut self, mut session: HandedSession) -> Result<(), String> {
        let now = self.now();
        let socket = session.socket.take().ok_or("its connection was not handed over")?;
        let stream = std::net::TcpStream::from(socket);
        let stream = stream.set_nonblocking(true).and_then(|()| TcpStream::from_std(stream));
        let stream = stream.map_err(|error| error.to_string())?;
        let peer_address = stream.peer_addr().map_err(|error| error.to_string())?;
        let found = self.peers.find(|peer| {
            peer.neighbor.name == session.name && is_address(peer_address, peer.neighbor.address)
        });
        let Some(index) = found else {
            let handle = self.connection(usize::MAX, stream).map_err(|error| error.to_string())?;
            farewell(&handle, cease_subcode::PEER_DE_CONFIGURED);
            return Err("it is no neighbor of this address any more".to_owned());
        };
        let handle = self.connection(index, stream).map_err(|error| error.to_string())?;
        let (carried, told) = session.into_parts();
        let connection = carried.connection;
        let peer = &mut self.peers[index];
        if !peer.enabled {
            farewell(&handle, cease_subcode::ADMINISTRATIVE_SHUTDOWN);
            return Err("it is disabled".to_owned());
        }
        if let Err(why) = peer.session.resume(now, carried) {
            farewell(&handle, cease_subcode::OTHER_CONFIGURATION_CHANGE);
            return Err(why.to_string());
        }
        *peer.slot(connection) = Some(handle);
        peer.inherited = told;
        info!(neighbor = peer.neighbor.name, "its session goes on");
        self.perform_actions(index);
        Ok(())
    }

    /// Everything that neighbors are to be told has been told to the tables: what the speaker
    /// before this one has told besides is to be withdrawn, and kernel routes that it had besides
    /// are to be removed.
    pub(crate) fn finish_taking_over(&mut self) {
        self.finishing = true;
        if let Some(kernel) = &self.kernel {
            kernel.drop_leftovers();
        }
    }

    /// Withdraws from neighbors that know of all that there is what is no more.
    pub(super) fn withdraw_leftovers(&mut self) {
        if !self.finishing {
            return;
        }
        for index in self.peers.numbers() {
            if self.peers[index].inherited.is_empty()
                || !self.peers[index].has_room()
                || !self.rib.is_settled(peer_id(index))
            {
                continue;
            }
            let still: BTreeSet<Nlri> = self.told(index).into_iter().collect();
            let gone = std::mem::take(&mut self.peers[index].inherited).into_iter();
            let gone: Vec<Nlri> = gone.filter(|nlri| !still.contains(nlri)).collect();
            if !gone.is_empty() {
                info!(
                    neighbor = self.peers[index].neighbor.name,
                    "{} routes are withdrawn",
                    gone.len()
                );
            }
            self.withdraw_these(index, &gone);
        }
    }
}

fn is_address(end: SocketAddr, address: std::net::IpAddr) -> bool {
    end.ip().to_canonical() == address
}

/// Tells the other end of a connection that it ends.
fn farewell(handle: &ConnectionHandle, subcode: u8) {
    let cease = Message::Notification(Notification::new(error_code::CEASE, subcode));
    handle.send(cease.emit(&Context::default()));
}

//! Connections on their way to a session.

use std::io;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use anycast_bgp::message::Message;
use anycast_bgp::session::{Connection, DownReason};
use tokio::net::TcpStream;
use tracing::{debug, info, warn};

use super::{Driver, Event};
use crate::connection::{self, ConnectionHandle};
use crate::peer::{CLOSED, refusal};
use crate::speaker::SpeakerEvent;

/// The least time between KEEPALIVEs that only ask for a sign of life.
const KEEPALIVE_PAUSE: Duration = Duration::from_secs(1);

impl Driver {
    pub(super) fn dial(&mut self, index: usize) {
        let attempt = self.new_id();
        let neighbor = self.peers[index].neighbor.clone();
        let place = Arc::clone(&self.config.place);
        let sender = self.event_sender.clone();
        let task = tokio::spawn(async move {
            let result = connection::dial(&neighbor, place.as_ref()).await;
            if let Err(error) = &result {
                debug!(neighbor = neighbor.name, "cannot connect: {error}");
            }
            let _ = sender.send(Event::Dialled { peer: index, attempt, result }).await;
        });
        self.peers[index].dial = Some((attempt, task.abort_handle()));
    }

    /// Notes why a neighbor cannot be reached, and reports it if that is news.
    pub(super) fn unreachable(&mut self, index: usize, why: String) {
        let peer = &mut self.peers[index];
        if peer.unreachable.as_ref() != Some(&why) {
            peer.unreachable = Some(why.clone());
            let name = peer.neighbor.name.clone();
            self.report(SpeakerEvent::NeighborUnreachable { name, why });
        }
    }

    /// Notes why a session did not come about although the neighbor was reached.
    pub(super) fn note_refusal(&mut self, index: usize) {
        let peer = &mut self.peers[index];
        let error = peer.session.last_error();
        if error == peer.last_error.as_ref() {
            return;
        }
        peer.last_error = error.cloned();
        // What ends an Established session, or is ordered, is told elsewhere.
        if peer.established || !peer.may_start() || self.stopping {
            return;
        }
        match &peer.last_error {
            Some(DownReason::ConnectionClosed) => {
                // It may be one of two that crossed: shown, but no event.
                peer.unreachable = Some(CLOSED.to_owned());
            }
            Some(reason) => {
                if let Some(why) = refusal(&peer.neighbor, reason) {
                    info!(neighbor = peer.neighbor.name, "there is no session: {why}");
                    self.unreachable(index, why);
                }
            }
            None => {}
        }
    }

    pub(super) fn accepted(&mut self, stream: TcpStream, from: IpAddr, via: Option<&str>) {
        let found = self.peers.find(|peer| {
            let local = stream.local_addr().map(|address| address.ip().to_canonical());
            peer.neighbor.address == from
                && peer.neighbor.interface.as_deref().is_none_or(|only| via == Some(only))
                && peer.neighbor.local_address.is_none_or(|ours| local.is_ok_and(|l| l == ours))
        });
        if let Some(index) = found {
            self.doubt(index);
        }
        match found {
            Some(index) if self.peers[index].accepted.is_none() => {
                if let Err(error) =
                    connection::prepare_accepted(&stream, &self.peers[index].neighbor)
                {
                    warn!("cannot prepare the connection from {from}: {error}");
                    return;
                }
                self.connected(index, Connection::Accepted, stream);
            }
            Some(index) => {
                debug!(neighbor = self.peers[index].neighbor.name, "a third connection is refused");
            }
            None => info!("a BGP connection from {from}, which is no neighbor, is refused"),
        }
    }

    /// A neighbor that connects although its session is Established may have crashed and started
    /// again. If so, its kernel knows nothing of the old connection and answers anything on it
    /// with a reset: the session starts anew now rather than after the hold time.
    pub(super) fn doubt(&mut self, index: usize) {
        let now = self.now();
        let peer = &mut self.peers[index];
        let Some(link) = peer.session.negotiated() else { return };
        // RFC 4271 §4.4: not more than one KEEPALIVE a second, and none without a hold time.
        if link.hold_time.is_zero() || peer.doubted.is_some_and(|at| now < at + KEEPALIVE_PAUSE) {
            return;
        }
        peer.doubted = Some(now);
        let octets = Message::Keepalive.emit(&link.context);
        let connection = link.connection;
        peer.send(connection, octets);
    }

    /// Starts the task of a connection with the neighbor of this number.
    pub(super) fn connection(
        &mut self,
        index: usize,
        stream: TcpStream,
    ) -> io::Result<ConnectionHandle> {
        let id = self.new_id();
        let sender = self.event_sender.clone();
        ConnectionHandle::start(id, stream, &mut self.connections, move |event| {
            let sender = sender.clone();
            Box::pin(async move {
                let _ = sender.send(Event::Connection { peer: index, id, event }).await;
            })
        })
    }

    pub(super) fn connected(&mut self, index: usize, connection: Connection, stream: TcpStream) {
        let now = self.now();
        let started = self.connection(index, stream);
        let peer = &mut self.peers[index];
        match started {
            Ok(handle) => {
                *peer.slot(connection) = Some(handle);
                peer.session.handle_connected(now, connection);
            }
            // The peer was gone before we looked.
            Err(_) if connection == Connection::Dialled => peer.session.handle_dial_failed(now),
            Err(_) => {}
        }
        self.perform_actions(index);
    }
}

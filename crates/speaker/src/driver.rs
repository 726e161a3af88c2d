//! The loop that owns the sessions and the tables of one speaker.

mod connections;
mod handover;
mod neighbors;
mod routes;
mod signs;
mod stale;

pub(crate) use handover::HandingOver;
pub(crate) use neighbors::Pending;

use std::collections::HashMap;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anycast_bfd::Event as BfdEvent;
use anycast_bgp::rib::{Agreed, PeerUp, Rib, SendPaths};
use anycast_bgp::session::{self, Action, Connection, DownReason};
use anycast_bgp::time::Instant;
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tracing::{info, warn};

use crate::addresses::OwnAddresses;
use crate::bfd;
use crate::bmp;
use crate::config::{Config, Igp};
use crate::connection::ConnectionEvent;
use crate::handle::Command;
use crate::handover::HandedOver;
use crate::kernel::Kernel;
use crate::listeners::Listeners;
use crate::monitor::{self, Sight};
use crate::mrt::{Recorder, Updates};
use crate::peer::{Peer, dial_error, peer_id, silence};
use crate::peers::Peers;
use crate::scope;
use crate::speaker::SpeakerEvent;

/// Events waiting for the driver; a full queue makes the connections' tasks wait.
pub(crate) const EVENT_QUEUE: usize = 256;
/// How long incoming events are taken in before timers and what must be sent have their turn.
const TURN: Duration = Duration::from_millis(20);
/// UPDATEs given to one neighbor before the others, and incoming events, have their turn.
const UPDATES_PER_TURN: usize = 64;

/// What reaches the driver from its tasks.
pub(crate) enum Event {
    Dialled {
        peer: usize,
        attempt: u64,
        result: io::Result<TcpStream>,
    },
    /// `via`: the interface to which the socket is bound that accepted it.
    Accepted {
        stream: TcpStream,
        from: SocketAddr,
        via: Option<Arc<str>>,
    },
    Connection {
        peer: usize,
        id: u64,
        event: ConnectionEvent,
    },
    Sight(Sight),
    Interface {
        peer: usize,
        connection: u64,
        index: u32,
    },
    Station(u64, bmp::StationEvent),
}

/// The thread of BFD.
enum BfdThread {
    /// No neighbor has BFD, or the thread could not be started.
    None,
    Opened(bfd::Engine),
    Running(bfd::Running),
}

/// The state that commands look into.
pub(crate) struct Driver {
    pub(crate) peers: Peers,
    pub(crate) rib: Rib,
    own_addresses: OwnAddresses,
    pub(crate) igp: Option<Igp>,
    pub(crate) stations: bmp::Stations,
    recorder: Option<Recorder>,
    listeners: Listeners,
    /// Without its neighbors, which are in `peers`.
    config: Config,
    kernel: Option<Kernel>,
    bfd: BfdThread,
    bfd_events: mpsc::UnboundedReceiver<(usize, BfdEvent)>,
    /// Its own, unbounded: the thread of BFD must never wait for the driver.
    bfd_sender: mpsc::UnboundedSender<(usize, BfdEvent)>,
    /// Interfaces that are down, and whether the kernel keeps the routes over them.
    down: HashMap<u32, bool>,
    /// Those who accept connections and watch interfaces: ended with the driver.
    watchers: JoinSet<()>,
    /// Those who move octets: waited for at the end.
    connections: JoinSet<()>,
    events: mpsc::Receiver<Event>,
    event_sender: mpsc::Sender<Event>,
    commands: mpsc::UnboundedReceiver<Command>,
    reports: Option<mpsc::UnboundedSender<SpeakerEvent>>,
    started: tokio::time::Instant,
    next_id: u64,
    stopping: bool,
    /// What the speaker before this one has handed over, until the sessions start.
    handed: HandedOver,
    /// This speaker is to hand over.
    handing_over: Option<HandingOver>,
    /// What it told neighbors besides is to be withdrawn.
    finishing: bool,
    /// Counts what changes sessions or routes.
    pub(crate) activity: u64,
}

impl Driver {
    pub(crate) fn new(
        mut config: Config,
        kernel: Option<Kernel>,
        bfd: Option<bfd::Engine>,
        (listeners, watchers): (Listeners, JoinSet<()>),
        (events, event_sender): (mpsc::Receiver<Event>, mpsc::Sender<Event>),
        commands: mpsc::UnboundedReceiver<Command>,
        reports: Option<mpsc::UnboundedSender<SpeakerEvent>>,
    ) -> Self {
        let (bfd_sender, bfd_events) = mpsc::unbounded_channel();
        let mut rib = Rib::new(config.local_asn, config.router_id);
        rib.set_cluster_id(config.cluster_id.unwrap_or(config.router_id));
        if kernel.is_none() {
            rib.without_fib();
        }
        let ours =
            bmp::Ours { asn: config.local_asn, router_id: config.router_id, name: String::new() };
        let place = Arc::clone(&config.place);
        let neighbors = std::mem::take(&mut config.neighbors);
        let mut driver = Self {
            peers: Peers::default(),
            rib,
            listeners,
            own_addresses: OwnAddresses::default(),
            igp: None,
            stations: bmp::Stations::new(ours, place, event_sender.clone()),
            recorder: None,
            config,
            kernel,
            bfd: bfd.map_or(BfdThread::None, BfdThread::Opened),
            bfd_events,
            bfd_sender,
            down: HashMap::new(),
            watchers,
            connections: JoinSet::new(),
            events,
            event_sender,
            commands,
            reports,
            started: tokio::time::Instant::now(),
            next_id: 0,
            stopping: false,
            handed: HandedOver::default(),
            handing_over: None,
            finishing: false,
            activity: 0,
        };
        for neighbor in neighbors {
            driver.insert(neighbor, Instant::START);
        }
        driver
    }

    /// Goes on with these sessions once it runs.
    pub(crate) fn take_over(&mut self, handed: HandedOver) {
        self.handed = handed;
    }

    pub(crate) async fn run(mut self) {
        if self.config.install_routes {
            let sender = self.event_sender.clone();
            monitor::watch(self.config.place.as_ref(), &mut self.watchers, move |sight| {
                let sender = sender.clone();
                Box::pin(async move {
                    let _ = sender.send(Event::Sight(sight)).await;
                })
            });
        }
        self.start_bfd();
        self.start_sessions();
        loop {
            if let Some(order) = self.handing_over.take() {
                return self.hand_over(order).await;
            }
            let busy = self.settle();
            if self.stopping && self.peers.iter().all(Peer::is_closed) {
                break;
            }
            let wake = self.peers.iter().filter_map(Peer::wake);
            let wake = wake.chain(self.next_end_of_patience()).min();
            let wake = wake.map(|at| self.started + at.since_start());
            let wake = wake.into_iter().chain(self.stations.wake()).min();
            let sleep = async {
                match wake {
                    _ if busy => {}
                    Some(at) => tokio::time::sleep_until(at).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                biased;
                Some(command) = self.commands.recv() => command(&mut self),
                Some((index, event)) = self.bfd_events.recv() => self.handle_bfd(index, event),
                Some(event) = self.events.recv() => self.handle_event(event),
                () = sleep => {}
            }
            // What a command asks for comes before what was not yet known when it was given.
            self.perform_all_actions();
            // What else is already here is taken in before anything is sent: a burst of UPDATEs
            // makes one change, not many.
            let turn_ends = self.now() + TURN;
            while self.now() < turn_ends
                && let Ok(event) = self.events.try_recv()
            {
                self.handle_event(event);
                // A table that loads must not hide that a neighbor has died.
                while let Ok((index, event)) = self.bfd_events.try_recv() {
                    self.handle_bfd(index, event);
                }
            }
            // Timers each time, however much there is to do: one neighbor's full table must not
            // cost another its KEEPALIVE. And after the events: who has spoken is not silent.
            let now = self.now();
            for peer in self.peers.iter_mut() {
                peer.note_writes(now);
                if peer.session.poll_timeout().is_some_and(|at| at <= now) {
                    peer.session.handle_timeout(now);
                }
                peer.end_hold(now);
                peer.tell_faults(now);
            }
            self.end_patience(now);
            while self.connections.try_join_next().is_some() {}
        }
        // The sockets are closed when this returns, so that the next speaker can listen.
        self.watchers.shutdown().await;
        drop(self.listeners);
        self.stations.close().await;
        self.bfd = BfdThread::None;
        // What was said last, a Cease, is on its way when this returns.
        while self.connections.join_next().await.is_some() {}
        if let Some(kernel) = self.kernel.take() {
            kernel.close().await;
        }
    }

    pub(crate) const fn config(&self) -> &Config {
        &self.config
    }

    pub(crate) fn now(&self) -> Instant {
        Instant::from_start(self.started.elapsed())
    }

    /// Carries out what sessions and tables ask for, until they ask for nothing more. Returns
    /// whether UPDATEs are left that could be sent at once.
    fn settle(&mut self) -> bool {
        self.perform_all_actions();
        let now = self.now();
        // Routes that changed VRPs concern, some at a time.
        let mut busy = self.rib.poll_origins();
        // Neighbors hear of a way when packets take it: they send theirs here as soon as they do.
        self.install_routes();
        for index in self.peers.numbers() {
            if !self.peers[index].established {
                continue;
            }
            let mut turns = UPDATES_PER_TURN;
            while turns > 0 && self.peers[index].has_room() {
                self.send_refresh_marks(now, index);
                let peer = &mut self.peers[index];
                let Some(update) = self.rib.poll_packed(peer_id(index)) else { break };
                peer.session.send_packed(now, &update);
                // Flushed at each step so that `has_room` sees it.
                if self.stations.wants_sent() {
                    peer.flush_past(|peer, octets| self.stations.sent(index, peer, octets));
                } else {
                    peer.flush();
                }
                turns -= 1;
            }
            busy |= turns == 0;
        }
        self.withdraw_leftovers();
        self.install_routes();
        busy | self.stations.settle(&self.peers, &mut self.rib)
    }

    fn perform_all_actions(&mut self) {
        for index in self.peers.numbers() {
            self.perform_actions(index);
        }
    }

    fn perform_actions(&mut self, index: usize) {
        if let Some(recorder) = &mut self.recorder {
            recorder.note_state(index, &self.peers[index]);
        }
        if self.peers[index].has_notified() {
            let now = self.now();
            self.peers[index].note_notifications(now);
        }
        while let Some(action) = self.peers[index].session.poll_action() {
            match action {
                Action::Dial => self.dial(index),
                Action::CancelDial => {
                    if let Some((_, task)) = self.peers[index].dial.take() {
                        task.abort();
                    }
                }
                Action::Send(connection, octets) => self.peers[index].send(connection, octets),
                Action::Close(connection) => *self.peers[index].slot(connection) = None,
                Action::Established(established) => self.established(index, &established),
                Action::Down(reason) => {
                    self.stations.peer_down(index, &self.peers[index], &reason);
                    self.down(index, &reason);
                }
                Action::Update(update) => {
                    self.activity += 1;
                    if !update.faults.is_empty() {
                        let now = self.now();
                        self.peers[index].note_faults(now, &update.faults);
                    }
                    let end_of_rib = update.end_of_rib;
                    self.rib.handle_update(peer_id(index), update);
                    if let Some(family) = end_of_rib {
                        self.stations.end_of_rib(index, family);
                        self.end_of_rib(index, family);
                    }
                    self.heed_limits();
                }
                Action::RouteRefresh(family) => self.rib.handle_refresh(peer_id(index), family),
                Action::Received(octets) => {
                    self.stations.received(index, &self.peers[index], &octets);
                    if let Some(recorder) = &mut self.recorder {
                        recorder.received(&self.peers[index], &octets);
                    }
                }
                Action::BeginningOfRouteRefresh(family) => {
                    self.beginning_of_refresh(index, family);
                }
                Action::EndOfRouteRefresh(family) => self.end_of_refresh(index, family),
            }
        }
        self.note_refusal(index);
    }

    fn established(&mut self, index: usize, established: &session::Established) {
        let now = self.now();
        let peer = &mut self.peers[index];
        let handle = peer.slot(established.connection).as_ref();
        let Some((local, id)) = handle.map(|handle| (handle.local.ip().to_canonical(), handle.id))
        else {
            return;
        };
        info!(neighbor = peer.neighbor.name, "session is Established");
        self.activity += 1;
        peer.established = true;
        peer.unreachable = None;
        peer.interface = None;
        peer.unplaced.clear();
        peer.since = now;
        let up = PeerUp {
            router_id: established.peer_router_id,
            local_address: local,
            next_hop_other: peer.neighbor.next_hop_other,
            families: established.families.clone(),
            send_paths: SendPaths {
                families: established.context.path_ids_out,
                most: peer.neighbor.offer.send_paths.into(),
            },
            agreed: Agreed {
                long_lived: established.peer_capabilities.long_lived_graceful_restart.is_some(),
                enhanced_route_refresh: established.context.enhanced_route_refresh,
                extended_next_hop: established.context.extended_next_hop,
            },
        };
        let neighbor = &peer.neighbor;
        let link_local = scope::is_link_local(neighbor.address);
        let direct =
            neighbor.multihop.is_none() && (link_local || neighbor.asn != self.config.local_asn);
        // On loopback there are no links.
        let on_link = if direct && !local.is_loopback() {
            self.own_addresses.get(now, self.config.place.as_ref())
        } else {
            Vec::new()
        };
        if let (Some(kernel), true) = (&self.kernel, direct) {
            let lookup = kernel.interface_towards(neighbor.address);
            let known = scope::of(neighbor, self.config.place.as_ref()).ok().flatten();
            let sender = self.event_sender.clone();
            tokio::spawn(async move {
                let found = if known.is_some() { known } else { lookup.await };
                if let Some(interface) = found {
                    let event = Event::Interface { peer: index, connection: id, index: interface };
                    let _ = sender.send(event).await;
                }
            });
        }
        let name = neighbor.name.clone();
        self.stale_routes_of_one_that_is_back(index, established);
        self.rib.peer_up(peer_id(index), up);
        self.rib.set_on_link(peer_id(index), on_link);
        self.stations.peer_up(index, &self.peers[index]);
        self.report(SpeakerEvent::NeighborUp { name });
    }

    fn down(&mut self, index: usize, reason: &DownReason) {
        let now = self.now();
        let peer = &mut self.peers[index];
        let cause = peer.cause.take();
        let dead = cause.is_some();
        let why = cause.unwrap_or_else(|| reason.to_string());
        info!(neighbor = peer.neighbor.name, "session is down: {why}");
        self.activity += 1;
        peer.established = false;
        peer.last_error = peer.session.last_error().cloned();
        peer.inherited.clear();
        peer.since = now;
        peer.last_down = Some(why.clone());
        let name = peer.neighbor.name.clone();
        self.keep_or_forget(index, reason, dead);
        self.report(SpeakerEvent::NeighborDown { name, why });
    }

    pub(crate) fn report(&self, event: SpeakerEvent) {
        if let Some(reports) = &self.reports {
            // Whoever no longer listens does not want to know.
            let _ = reports.send(event);
        }
    }

    fn handle_event(&mut self, event: Event) {
        let now = self.now();
        match event {
            Event::Dialled { peer: index, attempt, result } => {
                let Some(peer) = self.peers.get_mut(index) else { return };
                if peer.dial.as_ref().is_none_or(|(current, _)| *current != attempt) {
                    return;
                }
                peer.dial = None;
                match result {
                    Ok(stream) => self.connected(index, Connection::Dialled, stream),
                    Err(error) => {
                        let why = dial_error(&peer.neighbor, &error);
                        peer.session.handle_dial_failed(now);
                        self.unreachable(index, why);
                    }
                }
                self.perform_actions(index);
            }
            Event::Accepted { stream, from, via } => {
                self.accepted(stream, from.ip().to_canonical(), via.as_deref());
            }
            Event::Connection { peer: index, id, event } => {
                let found = self.peers.get(index).and_then(|peer| peer.connection_of(id));
                let Some(connection) = found else { return };
                match event {
                    ConnectionEvent::Octets(octets, _permit) => {
                        self.peers[index].session.handle_octets(now, connection, &octets);
                    }
                    ConnectionEvent::Writable | ConnectionEvent::Halted => {}
                    ConnectionEvent::Silent => {
                        let why = silence(&self.peers[index].neighbor);
                        self.unreachable(index, why);
                    }
                    ConnectionEvent::Closed => {
                        *self.peers[index].slot(connection) = None;
                        self.peers[index].session.handle_closed(now, connection);
                    }
                }
                // At once, so that routes do not pile up as actions, and that no later event finds
                // a connection that the session has already closed.
                self.perform_actions(index);
            }
            Event::Interface { peer: index, connection, index: interface } => {
                let Some(peer) = self.peers.get_mut(index) else { return };
                if peer.established && peer.connection_of(connection).is_some() {
                    peer.interface = Some(interface);
                    let unplaced = std::mem::take(&mut peer.unplaced);
                    self.place(&unplaced);
                    // It may have gone down before this answer came.
                    if self.down.contains_key(&interface) {
                        self.lose_interface(index);
                    }
                }
            }
            Event::Sight(Sight::Link(link)) => self.handle_link(link),
            Event::Sight(Sight::Overrun) => {
                if let Some(kernel) = &self.kernel {
                    kernel.resync();
                }
            }
            Event::Station(id, event) => {
                self.stations.handle(id, event, &self.peers, &mut self.rib);
            }
        }
    }

    /// Replaces the monitoring stations, which are told that they speak with `name`.
    pub(crate) fn set_stations(&mut self, name: String, stations: Vec<bmp::Station>) {
        self.stations.set(name, stations, &mut self.rib);
        self.set_taps();
    }

    /// From now on what comes in is written there, or nowhere.
    pub(crate) fn set_updates(&mut self, updates: Option<Updates>) {
        if self.recorder.as_ref().map(|recorder| &recorder.updates) == updates.as_ref() {
            return;
        }
        let started = updates.map(|updates| Recorder::start(updates, self.config.local_asn));
        self.recorder = started.transpose().unwrap_or_else(|error| {
            warn!("there is no thread to write MRT files: {error}");
            None
        });
        self.set_taps();
    }

    /// Sessions give out what comes in only while somebody wants it.
    fn set_taps(&mut self) {
        let tap = self.recorder.is_some() || self.stations.wants_received();
        for peer in self.peers.iter_mut() {
            peer.session.set_tap(tap);
        }
    }

    /// Ends every session with `message` and then the speaker.
    pub(crate) fn stop(&mut self, subcode: u8, message: &str) {
        let now = self.now();
        self.stopping = true;
        for peer in self.peers.iter_mut() {
            peer.session.handle_stop(now, subcode, message);
        }
    }

    /// Ends the speaker and gives its sessions to whoever goes on with them.
    pub(crate) fn order_handover(&mut self, order: HandingOver) {
        self.handing_over = Some(order);
    }

    fn new_id(&mut self) -> u64 {
        self.next_id += 1;
        self.next_id
    }
}

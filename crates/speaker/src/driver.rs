//! The loop that owns the sessions and the tables of one speaker.

mod stale;

use std::collections::HashMap;
use std::io;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use anycast_bfd::Event as BfdEvent;
use anycast_bgp::iana::cease_subcode;
use anycast_bgp::message::Message;
use anycast_bgp::retention::Retention;
use anycast_bgp::rib::{Agreed, FibRoute, PeerConfig, PeerId, PeerUp, Rib, SendPaths};
use anycast_bgp::session::{self, Action, Connection, DownReason, Session};
use anycast_bgp::time::Instant;
use anycast_bgp::{IpNet, NextHop};
use tokio::net::TcpStream;
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinSet;
use tracing::{debug, info, warn};

use crate::addresses::OwnAddresses;
use crate::bfd::{self, BfdStatus};
use crate::bmp;
use crate::config::{Config, Igp};
use crate::connection::{self, ConnectionEvent, ConnectionHandle};
use crate::handle::{ADMINISTRATIVE_RESET, Command};
use crate::kernel::{self, Kernel, KernelRoute};
use crate::monitor::{self, Link, Sight};
use crate::mrt::{Recorder, Updates};
use crate::peer::{Notified, Peer, dial_error, peer_id, session_config};
use crate::speaker::SpeakerEvent;

/// Events waiting for the driver; a full queue makes the connections' tasks wait.
pub(crate) const EVENT_QUEUE: usize = 256;
/// How long incoming events are taken in before timers and what must be sent have their turn.
const TURN: Duration = Duration::from_millis(20);
/// UPDATEs given to one neighbor before the others, and incoming events, have their turn.
const UPDATES_PER_TURN: usize = 64;
/// The least time between KEEPALIVEs that only ask for a sign of life.
const KEEPALIVE_PAUSE: Duration = Duration::from_secs(1);

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
    pub(crate) peers: Vec<Peer>,
    pub(crate) rib: Rib,
    own_addresses: OwnAddresses,
    pub(crate) igp: Option<Igp>,
    pub(crate) stations: bmp::Stations,
    recorder: Option<Recorder>,
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
    /// Counts what changes sessions or routes.
    pub(crate) activity: u64,
}

impl Driver {
    pub(crate) fn new(
        config: Config,
        kernel: Option<Kernel>,
        bfd: Option<bfd::Engine>,
        watchers: JoinSet<()>,
        (events, event_sender): (mpsc::Receiver<Event>, mpsc::Sender<Event>),
        commands: mpsc::UnboundedReceiver<Command>,
        reports: Option<mpsc::UnboundedSender<SpeakerEvent>>,
    ) -> Self {
        let (bfd_sender, bfd_events) = mpsc::unbounded_channel();
        let mut rib = Rib::new(config.local_asn, config.router_id);
        rib.set_cluster_id(config.cluster_id.unwrap_or(config.router_id));
        let peers = config.neighbors.iter().enumerate().map(|(index, neighbor)| {
            rib.add_peer(
                peer_id(index),
                PeerConfig {
                    name: neighbor.name.clone(),
                    asn: neighbor.asn,
                    address: neighbor.address,
                    import: neighbor.import.clone(),
                    export: neighbor.export.clone(),
                    next_hop_self: neighbor.next_hop_self,
                    enforce_first_as: !neighbor.is_route_server(),
                    role: neighbor.offer.role,
                },
            );
            rib.set_client(peer_id(index), neighbor.reflector_client);
            rib.set_limits(peer_id(index), neighbor.limits);
            Peer {
                session: Session::new(session_config(&config, neighbor, index)),
                retention: Retention::new(neighbor.offer.graceful_restart),
                neighbor: neighbor.clone(),
                enabled: true,
                disabled_message: None,
                sent: Notified::NEVER,
                received: Notified::NEVER,
                held: None,
                since: Instant::START,
                last_down: None,
                unreachable: None,
                cause: None,
                dial: None,
                dialled: None,
                accepted: None,
                established: false,
                doubted: None,
                interface: None,
                unplaced: Vec::new(),
            }
        });
        let ours =
            bmp::Ours { asn: config.local_asn, router_id: config.router_id, name: String::new() };
        let place = Arc::clone(&config.place);
        Self {
            peers: peers.collect(),
            rib,
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
            activity: 0,
        }
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
        let now = self.now();
        for peer in &mut self.peers {
            peer.session.handle_start(now);
        }
        loop {
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
            for peer in &mut self.peers {
                peer.note_writes(now);
                if peer.session.poll_timeout().is_some_and(|at| at <= now) {
                    peer.session.handle_timeout(now);
                }
                peer.end_hold(now);
            }
            self.end_patience(now);
            while self.connections.try_join_next().is_some() {}
        }
        // The sockets are closed when this returns, so that the next speaker can listen.
        self.watchers.shutdown().await;
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
        for index in 0..self.peers.len() {
            if !self.peers[index].established {
                continue;
            }
            let mut turns = UPDATES_PER_TURN;
            while turns > 0 && self.peers[index].has_room() {
                self.send_refresh_marks(now, index);
                let peer = &mut self.peers[index];
                let Some(update) = self.rib.poll_update(peer_id(index)) else { break };
                peer.session.send_update(now, &update);
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
        self.install_routes();
        busy | self.stations.settle(&self.peers, &mut self.rib)
    }

    fn install_routes(&mut self) {
        let Some(kernel) = &self.kernel else {
            while self.rib.poll_fib().is_some() {}
            return;
        };
        while let Some(change) = self.rib.poll_fib() {
            let peers = &mut self.peers;
            for hop in
                change.route.iter().flat_map(|it| std::iter::once(&it.best).chain(&it.others))
            {
                if let Some(peer) = peers.get_mut(hop.peer.0 as usize)
                    && peer.interface.is_none()
                    && link_local(hop.next_hop).is_some()
                {
                    peer.unplaced.push(change.prefix);
                }
            }
            let interface = |id: PeerId| peers.get(id.0 as usize)?.interface;
            let igp = self.igp.as_ref();
            let gateways =
                change.route.map(|route| gateways(igp, &route, interface)).unwrap_or_default();
            kernel.set(KernelRoute { prefix: change.prefix, gateways });
        }
    }

    /// Puts the routes of these prefixes in the kernel as they are now.
    fn place(&self, prefixes: &[IpNet]) {
        let Some(kernel) = &self.kernel else { return };
        let interface = |id: PeerId| self.peers.get(id.0 as usize)?.interface;
        for prefix in prefixes {
            let route = self.rib.fib_route(prefix);
            let gateways = route.map(|it| gateways(self.igp.as_ref(), &it, interface));
            kernel.set(KernelRoute { prefix: *prefix, gateways: gateways.unwrap_or_default() });
        }
    }

    fn perform_all_actions(&mut self) {
        for index in 0..self.peers.len() {
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
                    for fault in &update.faults {
                        warn!(
                            neighbor = self.peers[index].neighbor.name,
                            attribute = fault.code,
                            reaction = ?fault.reaction,
                            "malformed attribute: {}",
                            fault.what
                        );
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
    }

    fn dial(&mut self, index: usize) {
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
        let direct = neighbor.multihop.is_none() && neighbor.asn != self.config.local_asn;
        // On loopback there are no links.
        let on_link = if direct && !local.is_loopback() {
            self.own_addresses.get(now, self.config.place.as_ref())
        } else {
            Vec::new()
        };
        if let (Some(kernel), true) = (&self.kernel, direct) {
            let lookup = kernel.interface_towards(neighbor.address);
            let sender = self.event_sender.clone();
            tokio::spawn(async move {
                if let Some(interface) = lookup.await {
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
                let peer = &mut self.peers[index];
                if peer.dial.as_ref().is_none_or(|(current, _)| *current != attempt) {
                    return;
                }
                peer.dial = None;
                match result {
                    Ok(stream) => self.connected(index, Connection::Dialled, stream),
                    Err(error) => {
                        let why = dial_error(&peer.neighbor, &error);
                        let news = peer.unreachable.as_ref() != Some(&why);
                        peer.unreachable = Some(why.clone());
                        peer.session.handle_dial_failed(now);
                        if news {
                            let name = peer.neighbor.name.clone();
                            self.report(SpeakerEvent::NeighborUnreachable { name, why });
                        }
                    }
                }
                self.perform_actions(index);
            }
            Event::Accepted { stream, from, via } => {
                self.accepted(stream, from.ip().to_canonical(), via.as_deref());
            }
            Event::Connection { peer: index, id, event } => {
                let Some(connection) = self.peers[index].connection_of(id) else { return };
                match event {
                    ConnectionEvent::Octets(octets, _permit) => {
                        self.peers[index].session.handle_octets(now, connection, &octets);
                    }
                    ConnectionEvent::Writable => {}
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
                let peer = &mut self.peers[index];
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

    fn handle_link(&mut self, link: Link) {
        if !link.passes {
            let keeps_routes = self.down.entry(link.interface).or_insert(true);
            *keeps_routes &= link.keeps_routes;
        }
        let concerned: Vec<usize> = (0..self.peers.len())
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
    fn try_again_at_once(&mut self, index: usize) {
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
    fn lose_interface(&mut self, index: usize) {
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

    fn start_bfd(&mut self) {
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

    /// A neighbor that BFD calls dead loses its session at once (RFC 5882 §4.2). One whose operator
    /// ended BFD does not: that says nothing of the path (RFC 5882 §3.2).
    fn handle_bfd(&mut self, index: usize, event: BfdEvent) {
        let now = self.now();
        let peer = &mut self.peers[index];
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

    fn accepted(&mut self, stream: TcpStream, from: IpAddr, via: Option<&str>) {
        let found = self.peers.iter().position(|peer| {
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
    fn doubt(&mut self, index: usize) {
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

    fn connected(&mut self, index: usize, connection: Connection, stream: TcpStream) {
        let now = self.now();
        let id = self.new_id();
        let sender = self.event_sender.clone();
        let started = ConnectionHandle::start(id, stream, &mut self.connections, move |event| {
            let sender = sender.clone();
            Box::pin(async move {
                let _ = sender.send(Event::Connection { peer: index, id, event }).await;
            })
        });
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
        for peer in &mut self.peers {
            peer.session.set_tap(tap);
        }
    }

    /// Replaces the routes inside the AS.
    pub(crate) fn set_igp(&mut self, igp: Igp) {
        if let Some(kernel) = &self.kernel {
            let old = self.igp.take().unwrap_or_default();
            for prefix in old.routes.keys().filter(|prefix| !igp.routes.contains_key(prefix)) {
                kernel.set(KernelRoute { prefix: *prefix, gateways: Vec::new() });
            }
            for (prefix, route) in &igp.routes {
                kernel.set(KernelRoute { prefix: *prefix, gateways: vec![route.gateway] });
            }
            // A next hop whose gateway moved may keep its cost: the tables see no change then.
            for route in self.rib.routes().filter(|route| route.best && route.peer.is_some()) {
                let Some(fib) = self.rib.fib_route(&route.prefix) else { continue };
                let interface = |id: PeerId| self.peers.get(id.0 as usize)?.interface;
                let gateways = gateways(Some(&igp), &fib, interface);
                if !gateways.is_empty() && gateways != self::gateways(Some(&old), &fib, interface) {
                    kernel.set(KernelRoute { prefix: route.prefix, gateways });
                }
            }
        }
        let host = |prefix: &IpNet| prefix.prefix_len() == prefix.max_prefix_len();
        let costs: HashMap<IpAddr, u32> = igp
            .routes
            .iter()
            .filter(|(prefix, _)| host(prefix))
            .map(|(prefix, route)| (prefix.addr(), route.cost))
            .collect();
        self.rib.set_igp(Some(costs));
        self.igp = Some(igp);
    }

    /// Ends every session with `message` and then the speaker.
    pub(crate) fn stop(&mut self, subcode: u8, message: &str) {
        let now = self.now();
        self.stopping = true;
        for peer in &mut self.peers {
            peer.session.handle_stop(now, subcode, message);
        }
    }

    /// A future that is ready when the kernel has all routes so far.
    pub(crate) fn kernel_settled(&self) -> impl Future<Output = ()> + Send + use<> {
        let settled = self.kernel.as_ref().map(Kernel::settled);
        async move {
            if let Some(settled) = settled {
                settled.await;
            }
        }
    }

    fn new_id(&mut self) -> u64 {
        self.next_id += 1;
        self.next_id
    }
}

/// Where the kernel sends the packets of a route: what is learnt inside the AS goes the interior's
/// way, if there is an interior. Ways that meet count once. Of a next hop that has a link-local
/// address alone (RFC 2545 §3) the peer's interface is the other half; `None`: not known yet.
fn gateways(
    igp: Option<&Igp>,
    route: &FibRoute,
    interface: impl Fn(PeerId) -> Option<u32>,
) -> Vec<IpAddr> {
    let mut gateways = Vec::with_capacity(1 + route.others.len());
    for hop in std::iter::once(&route.best).chain(&route.others) {
        let gateway = match (igp, hop.ebgp) {
            (Some(igp), false) => igp.gateway(hop.next_hop.address),
            _ => match link_local(hop.next_hop) {
                Some(address) => interface(hop.peer).map(|index| kernel::scoped(address, index)),
                None => Some(hop.next_hop.address),
            },
        };
        gateways.extend(gateway.filter(|gateway| !gateways.contains(gateway)));
    }
    gateways
}

/// The link-local address of a next hop that has no other.
fn link_local(next_hop: NextHop) -> Option<Ipv6Addr> {
    match next_hop.address {
        IpAddr::V6(address) if address.is_unicast_link_local() => {
            Some(next_hop.link_local.unwrap_or(address))
        }
        IpAddr::V6(address) if address.is_unspecified() => next_hop.link_local,
        _ => None,
    }
}

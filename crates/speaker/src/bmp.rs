//! Tells monitoring stations by BMP (RFC 7854, 8671, 9069) what the sessions and tables do.
//!
//! Each station has a task of its own that connects and writes; nothing here waits for it. What
//! it has not taken yet is bounded: a station that lets more pile up is cut off, connected anew
//! and told everything from the start. A dump of a table goes in steps, each only when there is
//! room, so it never cuts a station off by itself.
//!
//! UPDATEs that neighbors sent, and those that they are sent, go out as they were on the wire.
//! What import policy made of them, and the Loc-RIB, is written from the tables: once a turn, so
//! what changes twice within a turn is told once.

mod dump;
mod link;
mod status;

use std::collections::VecDeque;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anycast_bgp::bmp::iana::{fsm_event, information, statistic, termination, termination_reason};
use anycast_bgp::bmp::{
    Instance, Message, Monitored, PeerDown, PeerHeader, Statistic, Timestamp, Tlv,
};
use anycast_bgp::iana::message_type;
use anycast_bgp::message::{
    self, Announcement, Capabilities, Context, EXTENDED_MAX_LEN, HEADER_LEN, Nlri, Open, Update,
};
use anycast_bgp::rib::{PeerId, Rib, Watch};
use anycast_bgp::session::DownReason;
use anycast_bgp::{Asn, Family, IpNet};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tracing::{info, warn};

use crate::config::Place;
use crate::driver::Event;
use crate::peer::{Peer, peer_id};
use crate::peers::Peers;
use dump::Dump;
use link::{Item, Link};

pub(crate) use link::StationEvent;
pub use status::StationStatus;

/// What a speaker calls its only Loc-RIB (RFC 9069 §5.2.1).
const TABLE_NAME: &str = "global";
/// Changed prefixes that are told in one turn of the driver.
const CHANGES_PER_TURN: usize = 32 * 1024;
/// Prefixes in one UPDATE of our own: it then fits 4096 octets, unless its attributes are long.
const PREFIXES_PER_UPDATE: usize = 200;
/// How long stations may take to read the farewell.
const FAREWELL: Duration = Duration::from_secs(1);

/// A monitoring station and what it is told.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Station {
    /// What the operator calls it; unique within the speaker.
    pub name: String,
    /// Where it listens.
    pub address: SocketAddr,
    /// Our address towards it, if it must be a certain one.
    pub local_address: Option<IpAddr>,
    /// What it is told of.
    pub tables: Tables,
    /// Between reports of counters and gauges; `None`: none.
    pub statistics: Option<Duration>,
    /// Octets of changes that may wait for it; with more it is cut off. The step of a dump that
    /// waits counts apart.
    pub buffer: usize,
    /// The first wait before connecting again; it doubles up to a minute.
    pub connect_retry: Duration,
}

/// The tables that a station is told of.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
#[expect(clippy::struct_excessive_bools, reason = "each is chosen by itself")]
pub struct Tables {
    /// What neighbors send, before import policy.
    pub adj_rib_in_pre: bool,
    /// What import policy makes of it.
    pub adj_rib_in_post: bool,
    /// The best routes (RFC 9069).
    pub loc_rib: bool,
    /// What neighbors are told, after export policy (RFC 8671).
    pub adj_rib_out: bool,
}

/// Who we are, as stations are told.
#[derive(Clone, Debug)]
pub(crate) struct Ours {
    pub(crate) asn: Asn,
    pub(crate) router_id: Ipv4Addr,
    /// The name of the speaker, for people.
    pub(crate) name: String,
}

/// All stations of a speaker. Without any, every call returns at once.
pub(crate) struct Stations {
    ours: Ours,
    place: Arc<dyn Place>,
    events: mpsc::Sender<Event>,
    running: Vec<Running>,
    tasks: JoinSet<()>,
    next_id: u64,
    /// What some station that is connected is told of.
    wanted: Tables,
    changed: VecDeque<(PeerId, Nlri)>,
    changed_best: VecDeque<IpNet>,
    ended: Vec<(usize, Family)>,
}

/// One station and how things stand with it.
struct Running {
    id: u64,
    station: Station,
    link: Option<Link>,
    dumps: VecDeque<Dump>,
    report_at: Option<tokio::time::Instant>,
    status: status::Counted,
    /// Its task ends with this.
    task: tokio::task::AbortHandle,
}

/// A table of one neighbor, by where it stands among the neighbors.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Table {
    Received(usize),
    Accepted(usize),
    Advertised(usize),
    LocRib,
}

impl Tables {
    const fn has(self, table: Table) -> bool {
        match table {
            Table::Received(_) => self.adj_rib_in_pre,
            Table::Accepted(_) => self.adj_rib_in_post,
            Table::Advertised(_) => self.adj_rib_out,
            Table::LocRib => self.loc_rib,
        }
    }
}

impl Stations {
    pub(crate) fn new(ours: Ours, place: Arc<dyn Place>, events: mpsc::Sender<Event>) -> Self {
        Self {
            ours,
            place,
            events,
            running: Vec::new(),
            tasks: JoinSet::new(),
            next_id: 0,
            wanted: Tables::default(),
            changed: VecDeque::new(),
            changed_best: VecDeque::new(),
            ended: Vec::new(),
        }
    }

    /// Replaces the stations. Those that are the same go on; others are told farewell or begun.
    pub(crate) fn set(&mut self, name: String, stations: Vec<Station>, rib: &mut Rib) {
        self.ours.name = name;
        let (stay, mut go): (Vec<_>, Vec<_>) = std::mem::take(&mut self.running)
            .into_iter()
            .partition(|running| stations.contains(&running.station));
        for running in &mut go {
            running.say_farewell();
        }
        self.running = stay;
        for station in stations {
            if self.running.iter().any(|running| running.station == station) {
                continue;
            }
            self.next_id += 1;
            let id = self.next_id;
            let (place, events) = (Arc::clone(&self.place), self.events.clone());
            let task = self.tasks.spawn(link::run(id, station.clone(), place, events));
            self.running.push(Running {
                id,
                station,
                link: None,
                dumps: VecDeque::new(),
                report_at: None,
                status: status::Counted::new(),
                task,
            });
        }
        self.note_wanted(rib);
    }

    /// Whether sessions are to give out messages as they come.
    pub(crate) fn wants_received(&self) -> bool {
        self.running.iter().any(|running| running.station.tables.adj_rib_in_pre)
    }

    /// Whether [`sent`](Self::sent) does anything now.
    pub(crate) const fn wants_sent(&self) -> bool {
        self.wanted.adj_rib_out
    }

    /// Something happened to a station's connection.
    pub(crate) fn handle(&mut self, id: u64, event: StationEvent, peers: &Peers, rib: &mut Rib) {
        while self.tasks.try_join_next().is_some() {}
        let Some(at) = self.running.iter().position(|running| running.id == id) else { return };
        let running = &mut self.running[at];
        match event {
            StationEvent::Connected(link) => {
                info!(station = running.station.name, "the monitoring station is connected");
                running.status.connected(link.written());
                running.link = Some(link);
                running.report_at =
                    running.station.statistics.map(|it| tokio::time::Instant::now() + it);
                self.greet(at, peers);
            }
            StationEvent::Failed(why) => {
                if running.status.failed(&why) {
                    warn!(station = running.station.name, "no connection to the station: {why}");
                }
            }
            StationEvent::Closed(why) => {
                // One that was cut off is closed already.
                if running.link.is_some() {
                    warn!(station = running.station.name, "the connection to the station: {why}");
                    running.disconnect(&why);
                }
            }
            StationEvent::Room => {}
        }
        self.note_wanted(rib);
    }

    /// What comes first on a connection: who we are, who is up, then all tables.
    fn greet(&mut self, at: usize, peers: &Peers) {
        let version = concat!("anycast ", env!("CARGO_PKG_VERSION"));
        let greeting = Message::Initiation(vec![
            Tlv::text(information::SYS_DESCR, version),
            Tlv::text(information::SYS_NAME, &self.ours.name),
        ]);
        self.running[at].say(&greeting);
        if self.running[at].station.tables.loc_rib {
            let up = self.loc_rib_up();
            self.running[at].say(&up);
            self.running[at].dumps.push_back(Dump::new(Table::LocRib));
        }
        for (index, peer) in peers.numbered() {
            if peer.established {
                let running = &mut self.running[at];
                running.say_peer_up(index, peer);
                running.dump_neighbor(index);
            }
        }
    }

    fn note_wanted(&mut self, rib: &mut Rib) {
        let connected = self.running.iter().filter(|running| running.link.is_some());
        self.wanted = connected.fold(Tables::default(), |all, running| {
            let one = running.station.tables;
            Tables {
                adj_rib_in_pre: all.adj_rib_in_pre || one.adj_rib_in_pre,
                adj_rib_in_post: all.adj_rib_in_post || one.adj_rib_in_post,
                loc_rib: all.loc_rib || one.loc_rib,
                adj_rib_out: all.adj_rib_out || one.adj_rib_out,
            }
        });
        let watch = Watch { accepted: self.wanted.adj_rib_in_post, best: self.wanted.loc_rib };
        rib.set_watch(watch);
        if !watch.accepted {
            (self.changed, self.ended) = (VecDeque::new(), Vec::new());
        }
        if !watch.best {
            self.changed_best = VecDeque::new();
        }
    }

    /// A session is Established.
    pub(crate) fn peer_up(&mut self, index: usize, peer: &Peer) {
        for running in &mut self.running {
            running.say_peer_up(index, peer);
        }
    }

    /// A session is no longer Established.
    pub(crate) fn peer_down(&mut self, index: usize, peer: &Peer, reason: &DownReason) {
        if self.running.is_empty() {
            return;
        }
        let context = Context::new(true);
        let notification =
            |it: &message::Notification| message::Message::Notification(it.clone()).emit(&context);
        let reason = match reason {
            DownReason::Sent(it) => PeerDown::LocalNotification(notification(it)),
            DownReason::Received(it) => PeerDown::RemoteNotification(notification(it)),
            // We know better than the session: an interface is down, and we closed it.
            _ if peer.cause.is_some() => PeerDown::LocalEvent(fsm_event::TCP_CONNECTION_FAILS),
            DownReason::ConnectionClosed | DownReason::DialFailed => PeerDown::RemoteNoData,
        };
        let mut header = identity(peer, now());
        for running in &mut self.running {
            running.dumps.retain(|dump| !dump.is_of(index));
            // The session has forgotten the identifier; the station has not.
            if let Some(link) = &mut running.link
                && let Some(router_id) = link.up.remove(&index)
            {
                header.router_id = router_id;
                running.say(&Message::PeerDown { peer: header, reason: reason.clone() });
            }
        }
    }

    /// A neighbor sent a message.
    pub(crate) fn received(&mut self, index: usize, peer: &Peer, octets: &[u8]) {
        if self.wanted.adj_rib_in_pre && is_update(octets) {
            self.tell_octets(Table::Received(index), peer, octets);
        }
    }

    /// A neighbor's first table has ended: so does what import policy makes of it, once that has
    /// been told.
    pub(crate) fn end_of_rib(&mut self, index: usize, family: Family) {
        if self.wanted.adj_rib_in_post {
            self.ended.push((index, family));
        }
    }

    /// A neighbor was sent whole messages.
    pub(crate) fn sent(&mut self, index: usize, peer: &Peer, mut octets: &[u8]) {
        while let Ok(Some(length)) = message::frame_len(octets, EXTENDED_MAX_LEN) {
            let (message, rest) = octets.split_at(length);
            if is_update(message) {
                self.tell_octets(Table::Advertised(index), peer, message);
            }
            octets = rest;
        }
    }

    fn tell_octets(&mut self, table: Table, peer: &Peer, octets: &[u8]) {
        let header = header(peer, table, now());
        let ends = is_end_of_rib(octets);
        let shared: Arc<[u8]> = octets.into();
        for running in self.running.iter_mut().filter(|it| it.station.tables.has(table)) {
            // A dump that is under way has its own end.
            if !(ends && running.dumps.iter().any(|dump| dump.table == table)) {
                running.push(Item::Octets(header, Arc::clone(&shared)));
            }
        }
    }

    fn tell_update(&mut self, table: Table, peer: &Peer, update: &Update) {
        let (header, context) = (header(peer, table, now()), context(peer, table));
        let ends = update.end_of_rib.is_some();
        for running in self.running.iter_mut().filter(|it| it.station.tables.has(table)) {
            if !(ends && running.dumps.iter().any(|dump| dump.table == table)) {
                running.push(Item::Update(header, context, update.clone()));
            }
        }
    }

    /// Tells what changed in the tables, goes on with dumps and reports; whether there is more to
    /// do at once.
    pub(crate) fn settle(&mut self, peers: &Peers, rib: &mut Rib) -> bool {
        if self.running.is_empty() {
            return false;
        }
        if self.wanted.adj_rib_in_post || self.wanted.loc_rib {
            let changes = rib.take_changes();
            self.changed.extend(changes.accepted);
            self.changed_best.extend(changes.best);
            self.tell_changes(peers, rib);
        }
        let mut busy = !self.changed.is_empty() || !self.changed_best.is_empty();
        for at in 0..self.running.len() {
            busy |= self.dump_on(at, peers, rib);
            self.report(at, peers, rib);
        }
        let mut cut = false;
        for running in &mut self.running {
            cut |= running.status.was_cut_off();
        }
        if cut {
            self.note_wanted(rib);
        }
        busy
    }

    /// When [`settle`](Self::settle) has something to do even if nothing happens.
    pub(crate) fn wake(&self) -> Option<tokio::time::Instant> {
        self.running.iter().filter_map(|running| running.report_at).min()
    }

    fn tell_changes(&mut self, peers: &Peers, rib: &Rib) {
        let many = self.changed.len().min(CHANGES_PER_TURN);
        let mut changed: Vec<_> = self.changed.drain(..many).collect();
        changed.sort_unstable();
        changed.dedup();
        for group in changed.chunk_by(|a, b| a.0 == b.0) {
            let index = group[0].0.0 as usize;
            let Some(peer) = peers.get(index).filter(|peer| peer.established) else { continue };
            let found = group.iter().map(|(id, nlri)| (*nlri, rib.accepted(*id, nlri)));
            let table = Table::Accepted(index);
            for update in dump::updates(found) {
                self.tell_update(table, peer, &update);
            }
        }
        if self.changed.is_empty() {
            for (index, family) in std::mem::take(&mut self.ended) {
                if let Some(peer) = peers.get(index).filter(|peer| peer.established) {
                    let update = Update::end_of_rib(family);
                    self.tell_update(Table::Accepted(index), peer, &update);
                }
            }
        }
        let many = self.changed_best.len().min(CHANGES_PER_TURN);
        let mut changed: Vec<_> = self.changed_best.drain(..many).collect();
        changed.sort_unstable();
        changed.dedup();
        let best = |prefix| rib.best(prefix).map(|route| route.attributes);
        let header = self.loc_rib_header(now());
        for update in dump::updates(changed.iter().map(|prefix| ((*prefix).into(), best(prefix)))) {
            for running in self.running.iter_mut().filter(|it| it.station.tables.loc_rib) {
                running.push(Item::Update(header, loc_rib_context(), update.clone()));
            }
        }
    }

    /// One step of a station's dump, if there is room for it; whether there is another.
    fn dump_on(&mut self, at: usize, peers: &Peers, rib: &Rib) -> bool {
        let loc_rib = self.loc_rib_header(Timestamp::default());
        let running = &mut self.running[at];
        if !running.link.as_ref().is_some_and(Link::has_room) {
            return false;
        }
        let Some(mut dump) = running.dumps.pop_front() else { return false };
        let (header, context, families) = match dump.table {
            Table::LocRib => (loc_rib, loc_rib_context(), Family::ALL.to_vec()),
            Table::Received(index) | Table::Accepted(index) | Table::Advertised(index) => {
                let Some(peer) = peers.get(index) else { return true };
                let families = peer.session.negotiated().map(|link| link.families.clone());
                // When its routes came is not known; zero says so (RFC 7854 §4.2).
                let header = header(peer, dump.table, Timestamp::default());
                (header, context(peer, dump.table), families.unwrap_or_default())
            }
        };
        let Some(link) = &mut running.link else { return false };
        let done = dump.step(rib, |announcement: Announcement| {
            for prefixes in announcement.prefixes.chunks(PREFIXES_PER_UPDATE) {
                let attributes = Arc::clone(&announcement.attributes);
                let update = Update::announce(attributes, prefixes.iter().copied());
                link.push_dump(Item::Update(header, context, update));
            }
        });
        if !done {
            running.dumps.push_front(dump);
            return true;
        }
        for family in families {
            link.push_dump(Item::Update(header, context, Update::end_of_rib(family)));
        }
        if running.dumps.is_empty() {
            running.status.whole();
        }
        !running.dumps.is_empty()
    }

    /// Counters and gauges, when it is time for them (RFC 7854 §4.8).
    fn report(&mut self, at: usize, peers: &Peers, rib: &Rib) {
        let time = tokio::time::Instant::now();
        let running = &self.running[at];
        if running.link.is_none() || running.report_at.is_none_or(|due| due > time) {
            return;
        }
        let tables = running.station.tables;
        let mut reports = Vec::new();
        let count = |number: usize| u64::try_from(number).unwrap_or(u64::MAX);
        for (index, peer) in peers.numbered().filter(|(_, peer)| peer.established) {
            let counts = rib.counts(peer_id(index));
            let gauges = vec![
                Statistic::gauge(statistic::ADJ_RIB_IN_ROUTES, count(counts.received)),
                Statistic::gauge(statistic::ADJ_RIB_OUT_POST_ROUTES, count(counts.advertised)),
            ];
            let peer = identity(peer, now());
            reports.push(Message::StatisticsReport { peer, statistics: gauges });
        }
        if tables.loc_rib {
            let gauge = Statistic::gauge(statistic::LOC_RIB_ROUTES, count(rib.count_best()));
            let peer = self.loc_rib_header(now());
            reports.push(Message::StatisticsReport { peer, statistics: vec![gauge] });
        }
        let running = &mut self.running[at];
        running.report_at = running.station.statistics.map(|interval| time + interval);
        for report in &reports {
            running.say(report);
        }
    }

    fn loc_rib_header(&self, time: Timestamp) -> PeerHeader {
        PeerHeader {
            monitored: Monitored::LocRib { filtered: false },
            distinguisher: 0,
            asn: self.ours.asn,
            router_id: self.ours.router_id,
            time,
        }
    }

    /// The Loc-RIB has OPENs that nobody sent: they tell how its routes are written (RFC 9069
    /// §5.2).
    fn loc_rib_up(&self) -> Message {
        let open = Open {
            asn: self.ours.asn,
            hold_time: Duration::ZERO,
            router_id: self.ours.router_id,
            capabilities: Capabilities {
                families: Some(Family::ALL.to_vec()),
                extended_next_hop: true,
                extended_message: true,
                four_octet_asn: true,
                ..Capabilities::default()
            },
        };
        let open = message::Message::Open(open).emit(&Context::new(false));
        Message::PeerUp {
            peer: self.loc_rib_header(now()),
            local_address: Ipv4Addr::UNSPECIFIED.into(),
            local_port: 0,
            remote_port: 0,
            sent_open: open.clone(),
            received_open: open,
            information: vec![Tlv::text(information::TABLE_NAME, TABLE_NAME)],
        }
    }

    /// Every station, for people to look at.
    pub(crate) fn status(&self) -> Vec<StationStatus> {
        self.running.iter().map(Running::status).collect()
    }

    /// Says farewell and waits until the stations have read it, for a second at most.
    pub(crate) async fn close(mut self) {
        for running in &mut self.running {
            running.say_farewell();
        }
        self.running.clear();
        drop(self.events);
        let all = async { while self.tasks.join_next().await.is_some() {} };
        let _ = tokio::time::timeout(FAREWELL, all).await;
    }
}

impl Running {
    fn say(&mut self, message: &Message) {
        let mut octets = Vec::new();
        message.emit(&mut octets);
        self.push(Item::Message(octets));
    }

    /// The Peer Up of a neighbor, or nothing if its session is gone already.
    fn say_peer_up(&mut self, index: usize, peer: &Peer) {
        let Some(link) = &mut self.link else { return };
        let (Some(opens), Some((local, remote))) = (peer.session.opens(), peer.ends()) else {
            return;
        };
        let header = identity(peer, now());
        link.up.insert(index, header.router_id);
        let local_address = local.ip().to_canonical();
        self.say(&Message::PeerUp {
            peer: header,
            local_address,
            local_port: local.port(),
            remote_port: remote.map_or(0, |remote| remote.port()),
            sent_open: opens.sent.clone(),
            received_open: opens.received.clone(),
            information: Vec::new(),
        });
    }

    fn dump_neighbor(&mut self, index: usize) {
        for table in [Table::Received(index), Table::Accepted(index), Table::Advertised(index)] {
            if self.station.tables.has(table) {
                self.dumps.push_back(Dump::new(table));
            }
        }
    }

    /// Puts something in the queue. If that is too much, the station is cut off.
    fn push(&mut self, item: Item) {
        let Some(link) = &mut self.link else { return };
        if link.push(item, self.station.buffer) {
            return;
        }
        let waiting = link.waiting();
        let name = &self.station.name;
        warn!(station = name, waiting, "the station reads too slowly and is cut off");
        self.status.cut_off();
        self.disconnect("cut off, as it read too slowly");
    }

    fn disconnect(&mut self, why: &str) {
        // Its task sees that nobody writes any more, and closes without writing the rest.
        self.link = None;
        self.dumps.clear();
        self.report_at = None;
        self.status.disconnected(why);
    }

    fn say_farewell(&mut self) {
        let reason = termination_reason::ADMINISTRATIVELY_CLOSED.to_be_bytes().to_vec();
        let farewell = vec![Tlv { kind: termination::REASON, value: reason }];
        if self.link.is_none() {
            self.task.abort();
            return;
        }
        self.say(&Message::Termination(farewell));
        if let Some(link) = self.link.take() {
            link.finish();
        }
    }
}

pub(crate) fn now() -> Timestamp {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let seconds = u32::try_from(since.as_secs()).unwrap_or(u32::MAX);
    Timestamp { seconds, micros: since.subsec_micros() }
}

/// A neighbor by itself, without any of its tables.
fn identity(peer: &Peer, time: Timestamp) -> PeerHeader {
    let router_id = peer.session.negotiated().map(|link| link.peer_router_id);
    PeerHeader {
        monitored: Monitored::Neighbor {
            instance: Instance::Global,
            address: peer.neighbor.address,
            post_policy: false,
            legacy_as_path: false,
            adj_rib_out: false,
        },
        distinguisher: 0,
        asn: peer.neighbor.asn,
        router_id: router_id.unwrap_or(Ipv4Addr::UNSPECIFIED),
        time,
    }
}

fn header(peer: &Peer, table: Table, time: Timestamp) -> PeerHeader {
    let context = peer.session.negotiated().map(|link| link.context);
    let monitored = Monitored::Neighbor {
        instance: Instance::Global,
        address: peer.neighbor.address,
        post_policy: matches!(table, Table::Accepted(_) | Table::Advertised(_)),
        legacy_as_path: context.is_some_and(|context| !context.four_octet_asn),
        adj_rib_out: matches!(table, Table::Advertised(_)),
    };
    PeerHeader { monitored, ..identity(peer, time) }
}

/// How we write what a neighbor sent, so that it can be read by the OPENs of its session.
fn context(peer: &Peer, table: Table) -> Context {
    let agreed = peer.session.negotiated().map_or(Context::new(false), |link| link.context);
    let path_ids_out = match table {
        Table::Advertised(_) => agreed.path_ids_out,
        Table::Received(_) | Table::Accepted(_) | Table::LocRib => agreed.path_ids_in,
    };
    // What stays within an AS on the wire is there in the tables.
    Context { ebgp: false, max_len: EXTENDED_MAX_LEN, path_ids_out, ..agreed }
}

fn loc_rib_context() -> Context {
    Context { max_len: EXTENDED_MAX_LEN, extended_next_hop: true, ..Context::new(false) }
}

fn is_update(message: &[u8]) -> bool {
    message.get(HEADER_LEN - 1) == Some(&message_type::UPDATE)
}

/// Whether an UPDATE is an End-of-RIB marker, which is short.
fn is_end_of_rib(octets: &[u8]) -> bool {
    octets.len() <= 2 * HEADER_LEN
        && matches!(
            message::Message::parse(octets, &Context::new(false)),
            Ok(message::Message::Update(Update { end_of_rib: Some(_), .. }))
        )
}

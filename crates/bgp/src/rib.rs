//! The routing tables of one speaker (RFC 4271 §3.2): what each peer sent (Adj-RIB-In), what of
//! it is best (Loc-RIB) and what each peer was told (Adj-RIB-Out).
//!
//! Input comes by `handle_*` and by the calls that change the configuration; output goes by
//! [`Rib::poll_update`], one piece at a time for each peer's wire, and by [`Rib::poll_fib`] for
//! the forwarding table. Both are worked out only when polled, against what was given out
//! before: a route that flaps between two polls and ends where it began says nothing.
//!
//! Routes are kept as received beside what import policy made of them, so that a changed policy
//! needs no new session (soft reconfiguration), and [`Rib::explain`] can say what was refused
//! and why. The work that a route causes depends on the number of peers, never on the size of
//! the table; only a changed import policy, a changed interior or a peer's going down walks it
//! at once, and a poll looks at a bounded number of prefixes.
//!
//! Not here: confederations (RFC 5065).
//!
//! | module | what it is |
//! |---|---|
//! | `import` | what a received route is before it may become best |
//! | `export` | what a best route becomes for a peer |
//! | `peer` | a peer by configuration |
//! | `settings` | what may change about a peer or the whole while sessions last |
//! | `stale` | routes that their peer does not stand by at the moment |
//! | `session` | what a peer was and is still to be told |
//! | `group` | peers that are told the same |
//! | `member` | how far one of them is |
//! | `table` | prefixes, their routes and the best |
//! | `interner` | one copy of equal attributes, known by number |
//! | `paged` | vectors that grow without moving |
//! | `memo` | results for routes that are alike |
//! | `paths` | several paths to one prefix: whose they are, which share its packets |
//! | `fib` | what the forwarding table was and is still to be told |
//! | `explain` | why a route is best |
//! | `origins` | what the RPKI says of routes, and judging anew those that it changes |
//! | `look` | what the tables hold, in bounded steps |
//! | `monitor` | what onlookers are told |

mod explain;
mod export;
mod fib;
mod group;
mod import;
mod interner;
mod look;
mod member;
mod memo;
mod monitor;
mod origins;
mod paged;
mod paths;
mod peer;
mod semantics;
mod session;
mod settings;
mod stale;
mod table;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

use ipnet::IpNet;

use crate::message::{Nlri, Packed, PathId, Update};
use crate::rov::Validity;
use crate::{Asn, Attributes, Family};

pub use explain::{ExplainedRoute, Explanation, Outcome};
pub use fib::{FibChange, FibHop, FibRoute};
use group::{Groups, Terms};
pub use import::Ineligible;
use interner::{Id, Interner};
pub use look::{Page, View};
use memo::{Alike, Memo};
pub use monitor::{Changes, Cursor, PrefixRoutes, Watch, Watched};
use paths::Source;
pub use paths::{Multipath, SendPaths};
use peer::Peer;
pub use peer::{Agreed, Counts, Event, Limits, PeerConfig, PeerId, PeerUp};
pub use session::RefreshMark;
use session::{Session, Speaker};
use table::{Best, Context, EntryId, From, Route, Table, Verdict};

/// How many prefixes of an UPDATE are looked up before the first is dealt with.
const PREFIXES_FOUND_TOGETHER: usize = 32;

/// After so many stages without anything to tell, a poll comes back.
const STAGES_PER_POLL: usize = 8;

/// What import makes of a peer's routes that are alike: attributes, the RPKI's state, whether the
/// prefix is one of unicast.
type Verdicts = Memo<Alike<(Id, Option<Validity>, bool)>, Verdict>;

/// The routing tables of one speaker.
#[derive(Clone, Debug)]
pub struct Rib {
    local_asn: Asn,
    router_id: Ipv4Addr,
    peers: BTreeMap<PeerId, Peer>,
    /// Of each peer: what an export policy may ask while its own peer is being told.
    senders: BTreeMap<PeerId, export::Sender>,
    table: Table,
    sets: Interner<Attributes>,
    groups: Groups,
    igp: Option<HashMap<IpAddr, u32>>,
    fib: fib::Fib,
    events: VecDeque<Event>,
    cluster_id: Ipv4Addr,
    gathered: monitor::Gathered,
    origins: origins::Origins,
    multipath: Multipath,
    /// Some peer was once told of several paths.
    sends_paths: bool,
}

/// A route as the tables hold it.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct RouteView<'a> {
    /// The prefix.
    pub prefix: IpNet,
    /// The attributes: of a received route after import policy, or as received if it is not
    /// eligible; of an advertised route as the peer was told.
    pub attributes: &'a Arc<Attributes>,
    /// The peer that sent it; `None`: this speaker originates it.
    pub peer: Option<PeerId>,
    /// Which of several paths it is: of a received route as the peer numbers them, of an
    /// advertised one as we do (RFC 7911 §3).
    pub path_id: PathId,
    /// It is the best route for its prefix.
    pub best: bool,
    /// It shares the packets of its prefix with others, by [`Multipath`].
    pub shares: bool,
    /// Why it cannot become best, if it cannot.
    pub ineligible: Option<Ineligible>,
    /// Its peer does not stand by it at the moment: it restarts, or sends its routes anew.
    pub stale: bool,
}

impl Rib {
    /// Empty tables of the speaker `router_id` in the AS `local_asn`.
    #[must_use]
    pub fn new(local_asn: Asn, router_id: Ipv4Addr) -> Self {
        Self {
            local_asn,
            router_id,
            peers: BTreeMap::new(),
            senders: BTreeMap::new(),
            table: Table::default(),
            sets: Interner::default(),
            groups: Groups::default(),
            igp: None,
            fib: fib::Fib::default(),
            events: VecDeque::new(),
            cluster_id: router_id,
            gathered: monitor::Gathered::default(),
            origins: origins::Origins::default(),
            multipath: Multipath::default(),
            sends_paths: false,
        }
    }

    /// Adds a peer, which is down at first; a peer that had the id is removed.
    pub fn add_peer(&mut self, id: PeerId, config: PeerConfig) {
        self.remove_peer(id);
        let sender = export::Sender { address: config.address, router_id: None };
        self.senders.insert(id, sender);
        self.peers.insert(id, Peer::new(config, self.local_asn));
    }

    /// Removes a peer and its routes.
    pub fn remove_peer(&mut self, id: PeerId) {
        self.peer_down(id);
        self.peers.remove(&id);
        self.senders.remove(&id);
    }

    /// The session with a peer is Established: it is to be told the whole table of each family,
    /// an End-of-RIB marker behind each (RFC 4724 §2).
    pub fn peer_up(&mut self, id: PeerId, up: PeerUp) {
        if self.peers.get(&id).is_some_and(|peer| peer.session.is_some()) {
            self.peer_down(id);
        }
        let Some(peer) = self.peers.get_mut(&id) else { return };
        if let Some(sender) = self.senders.get_mut(&id) {
            sender.router_id = Some(up.router_id);
        }
        self.sends_paths |= !up.send_paths.families.is_empty();
        let families = Session::families_of_one(&up);
        let group = (!families.is_empty()).then(|| {
            let terms = Terms::new(peer, &up, families);
            self.groups.join(id, terms, self.local_asn, self.table.end())
        });
        let mut session = Session::new(up, group);
        for family in session.up.families.clone() {
            session.walk(family, self.table.end(), false);
            session.queue_end_of_rib(family);
        }
        peer.session = Some(session);
        if let Some(before) = peer.kept.take() {
            self.resume(id, &before);
        }
    }

    /// The session with a peer has ended: its routes are gone (RFC 4271 §8.2.2).
    pub fn peer_down(&mut self, id: PeerId) {
        self.peer_lost(id, &[]);
    }

    /// Takes in what a peer sent. Nothing happens if it is not up; prefixes of families that it
    /// did not negotiate are passed over.
    pub fn handle_update(&mut self, id: PeerId, update: Update) {
        let Some(peer) = self.peers.get(&id) else { return };
        let Some(session) = &peer.session else { return };
        let negotiated = Family::ALL.map(|family| session.negotiated(family));
        let negotiated = |nlri: &&Nlri| negotiated[nlri.family() as usize];
        // Of several paths to one prefix, which stand together, the last brings the decision.
        let mut undecided = None;
        for nlri in update.withdrawn.iter().filter(negotiated) {
            if let Some(entry) = self.withdraw(id, nlri) {
                self.decide_later(entry, &mut undecided);
            }
        }
        // Before any place is looked up: a decision tidies up a place that nothing is left in.
        if let Some(entry) = undecided.take() {
            self.decide(entry);
        }
        for announcement in update.announced {
            let received = self.sanitized(id, announcement.attributes);
            let mut verdicts = Memo::new();
            for nlris in announcement.prefixes.chunks(PREFIXES_FOUND_TOGETHER) {
                // Their places are all over memory: looked up one right after the other, the waits
                // for them go on at the same time. Whatever is tidied up meanwhile has a route, and stays.
                let mut entries = [0; PREFIXES_FOUND_TOGETHER];
                for (entry, nlri) in entries.iter_mut().zip(nlris) {
                    if negotiated(&nlri) {
                        *entry = self.table.find_or_insert(&nlri.prefix.trunc());
                    }
                }
                for (entry, nlri) in entries.into_iter().zip(nlris).filter(|(_, it)| negotiated(it))
                {
                    let source = self.table.sources.hold(id, nlri.path_id);
                    self.put_in(id, source, entry, received, &mut verdicts);
                    self.decide_later(entry, &mut undecided);
                }
            }
            verdicts.release(&mut self.sets, |verdict| verdict.get().ok());
            self.sets.release(received);
        }
        if let Some(entry) = undecided {
            self.decide(entry);
        }
        self.check_limits(id);
    }

    fn check_limits(&mut self, id: PeerId) {
        if let Some(peer) = self.peers.get_mut(&id) {
            self.events.extend(peer.check_limits(id));
        }
    }

    /// The next event to report.
    pub fn poll_event(&mut self) -> Option<Event> {
        self.events.pop_front()
    }

    /// A peer asks for all of a family again (RFC 2918 §4).
    pub fn handle_refresh(&mut self, id: PeerId, family: Family) {
        let Some(peer) = self.peers.get_mut(&id) else { return };
        let Some(session) = &mut peer.session else { return };
        if !session.negotiated(family) {
            return;
        }
        if session.up.agreed.enhanced_route_refresh {
            session.refresh(family);
        } else {
            session.walk(family, self.table.end(), true);
        }
    }

    /// Originates a prefix, or changes its attributes. Peers are told our own address for the
    /// next hop, whatever it is in `attributes`.
    pub fn originate(&mut self, prefix: IpNet, attributes: Attributes) {
        let prefix = prefix.trunc();
        let set = self.sets.intern(Arc::new(attributes));
        let entry = self.table.find_or_insert(&prefix);
        self.set_local(entry, Some(set));
    }

    /// Originates a prefix no longer.
    pub fn withdraw_local(&mut self, prefix: &IpNet) {
        if let Some(entry) = self.table.find(&prefix.trunc()) {
            self.set_local(entry, None);
        }
    }

    /// The next piece for a peer's wire: withdrawals first, then announcements packed by equal
    /// attributes, of one family each, then End-of-RIB. `None`: the peer knows all.
    ///
    /// A poll takes about as long as a look at some ten thousand prefixes. If there was nothing
    /// to tell in as many, what comes is an [`Update`] that says nothing; poll again.
    pub fn poll_update(&mut self, id: PeerId) -> Option<Update> {
        self.poll_packed(id).map(Packed::into_update)
    }

    /// The same, to be encoded once for all peers that are told it.
    pub fn poll_packed(&mut self, id: PeerId) -> Option<Arc<Packed>> {
        // The session is out of the tables while it looks at them.
        let mut session = self.peers.get_mut(&id)?.session.take()?;
        let update = self.next_update(id, &mut session);
        self.peers.get_mut(&id)?.session = Some(session);
        update
    }

    /// Whether a peer that is up knows of all that there is for it.
    #[must_use]
    pub fn is_settled(&self, id: PeerId) -> bool {
        let session = self.peers.get(&id).and_then(|peer| peer.session.as_ref());
        session.is_some_and(|session| session.is_settled(id, &self.groups, self.table.end()))
    }

    fn next_update(&mut self, id: PeerId, session: &mut Session) -> Option<Arc<Packed>> {
        let peer = self.peers.get(&id)?;
        let up = Arc::clone(&session.up);
        let mut speaker = Speaker {
            ours: export::Ours { asn: self.local_asn, cluster_id: self.cluster_id },
            id,
            config: &peer.config,
            up: &up,
            client: peer.client,
            senders: &self.senders,
            peers: &self.peers,
            igp: self.igp.as_ref(),
            table: &mut self.table,
            sets: &mut self.sets,
            vrps: self.origins.vrps().filter(|_| peer.asks_rpki.1),
        };
        for _ in 0..STAGES_PER_POLL {
            if let Some(update) = session.pop_staged() {
                return Some(update);
            }
            if session.is_settled(id, &self.groups, speaker.table.end()) {
                return None;
            }
            session.stage(&mut speaker, &mut self.groups);
        }
        session.pop_staged().or_else(|| {
            let settled = session.is_settled(id, &self.groups, speaker.table.end());
            (!settled).then(Arc::default)
        })
    }

    /// The mark that is to be sent next, before anything that [`poll_update`](Self::poll_update)
    /// gives: where the answer to a ROUTE-REFRESH begins or ends. There are none unless that was
    /// agreed on (RFC 7313 §4); as long as one is not taken, updates say nothing.
    pub fn poll_refresh_mark(&mut self, id: PeerId) -> Option<RefreshMark> {
        self.peers.get_mut(&id)?.session.as_mut()?.pop_mark()
    }

    /// There is no forwarding table: nothing is worked out for it, and polls only clear up. To be
    /// said before the first route.
    pub fn without_fib(&mut self) {
        self.fib.is_absent = true;
    }

    /// The next change for the forwarding table. `None`: it is as it should be.
    pub fn poll_fib(&mut self) -> Option<FibChange> {
        let (peers, igp, sets) = (&self.peers, self.igp.as_ref(), &self.sets);
        let multipath = self.multipath;
        self.fib.poll(&mut self.table, |table, entry| {
            let context = Context { peers, igp, sets, sources: &table.sources, multipath };
            table.fib_route(entry, context)
        })
    }

    /// What the forwarding table should have for a prefix, polled or not.
    pub fn fib_route(&self, prefix: &IpNet) -> Option<FibRoute> {
        self.table.fib_route(self.table.find(&prefix.trunc())?, self.context())
    }

    /// The best route for a prefix.
    pub fn best(&self, prefix: &IpNet) -> Option<RouteView<'_>> {
        let prefix = prefix.trunc();
        let id = self.table.find(&prefix)?;
        self.table.views(vec![id], self.context()).find(|route| route.best)
    }

    /// Every route of the table, by prefix, then our own before those of peers by their ids, then
    /// by path.
    pub fn routes(&self) -> impl Iterator<Item = RouteView<'_>> {
        let some =
            |id, entry: &table::Entry| !entry.routes().is_empty() || self.table.local(id).is_some();
        self.table.views(self.table.sorted(some), self.context())
    }

    /// Every route that a peer sent.
    pub fn received(&self, id: PeerId) -> impl Iterator<Item = RouteView<'_>> {
        let ids = self.table.sorted(|entry, _| self.table.route_of(entry, id).is_some());
        self.table.views(ids, self.context()).filter(move |route| route.peer == Some(id))
    }

    /// Every route that a peer was told, by prefix, with the attributes that it was told. The
    /// peer named is that of the route which is best now; of several paths, the one that sent it.
    pub fn advertised(&self, id: PeerId) -> impl Iterator<Item = RouteView<'_>> {
        let session = self.peers.get(&id).and_then(|peer| peer.session.as_ref());
        session.into_iter().flat_map(move |session| {
            let ids = self
                .table
                .sorted(|entry, there| session.was_told(id, entry, there.family(), &self.groups));
            ids.into_iter().flat_map(move |entry| self.told(id, session, entry))
        })
    }

    /// What a peer was told of a prefix.
    fn told(&self, peer: PeerId, session: &Session, id: EntryId) -> Vec<RouteView<'_>> {
        let entry = self.table.entry(id);
        let best = entry.best();
        let view = |(path_id, set): (PathId, Id)| {
            let of_path = |best: &Best| best.source.path_id(best.from) == path_id;
            let route = if path_id == PathId::NONE {
                best
            } else {
                let local = self.table.local(id).map(Best::local);
                let mut routes = entry.routes().iter().map(|it| self.context().best_of(it));
                local.filter(of_path).or_else(|| routes.find(of_path))
            };
            RouteView {
                prefix: self.table.prefix(id),
                attributes: self.sets.get(set),
                peer: route.and_then(|route| route.peer(&self.table.sources)),
                path_id,
                best: route.is_some() && route.map(|it| it.source) == best.map(|it| it.source),
                shares: false,
                ineligible: None,
                stale: false,
            }
        };
        let told = session.told(peer, id, entry.family(), &self.groups);
        told.into_iter().map(view).collect()
    }

    /// How many routes a peer sent, how many of them are eligible, how many it was told.
    pub fn counts(&self, id: PeerId) -> Counts {
        self.peers.get(&id).map(|peer| peer.counts(id, &self.groups)).unwrap_or_default()
    }

    /// Every candidate for a prefix and why the best is best; `None` if there is no route.
    pub fn explain(&self, prefix: &IpNet) -> Option<Explanation> {
        let prefix = prefix.trunc();
        let id = self.table.find(&prefix)?;
        let (local, entry) = (self.table.local(id), self.table.entry(id));
        if local.is_none() && entry.routes().is_empty() {
            return None;
        }
        let sharing = self.table.sharing(id, self.context());
        let routes = self.table.by_peer(entry);
        let mut explanation = explain::explain(prefix, local, &routes, &sharing, self.context());
        for route in &mut explanation.routes {
            route.rpki = self.finding(&prefix, &route.received.as_path);
        }
        Some(explanation)
    }

    /// What a decision depends on besides the routes.
    const fn context(&self) -> Context<'_> {
        Context {
            peers: &self.peers,
            igp: self.igp.as_ref(),
            sets: &self.sets,
            sources: &self.table.sources,
            multipath: self.multipath,
        }
    }

    /// The attributes as they are kept, without what a peer in another AS has no say in.
    fn sanitized(&mut self, id: PeerId, attributes: Arc<Attributes>) -> Id {
        let ebgp = self.peers.get(&id).is_some_and(|peer| peer.ebgp);
        self.sets.intern(if ebgp { import::without_internal(attributes) } else { attributes })
    }

    /// Puts in our own route, which is held, or takes it out.
    fn set_local(&mut self, entry: EntryId, local: Option<Id>) {
        let old = self.table.set_local(entry, local);
        self.decide(entry);
        if let Some(old) = old {
            self.sets.release(old);
        }
    }

    /// Takes in a peer's route, or judges it anew, without a decision: what was best is held for
    /// itself until there is one. Its source is held.
    fn put_in(
        &mut self,
        id: PeerId,
        source: Source,
        entry: EntryId,
        received: Id,
        verdicts: &mut Verdicts,
    ) {
        let Some(peer) = self.peers.get_mut(&id) else {
            self.table.sources.release(source);
            return;
        };
        let prefix = self.table.prefix(entry);
        // Whoever does not ask need not wait.
        let rpki = if peer.asks_rpki.0 {
            let path = &self.sets.get(received).as_path;
            self.origins.judgement(&prefix, path, self.local_asn)
        } else {
            Some(Validity::default())
        };
        let unicast = semantics::is_unicast(&prefix);
        let alike = ((received, rpki, unicast), peer.config.import.class(&prefix));
        let verdict = verdicts.get(alike).unwrap_or_else(|| {
            let ours = import::Ours {
                asn: self.local_asn,
                router_id: self.router_id,
                cluster_id: self.cluster_id,
            };
            let attributes = self.sets.get(received);
            let verdict = ours.import(&prefix, attributes, peer, rpki);
            let made = |set| self.sets.intern_made_of(received, set);
            let verdict = Verdict::from(verdict.map(made));
            verdicts.put(alike, verdict);
            verdict
        });
        self.sets.hold(received);
        if let Ok(set) = verdict.get() {
            self.sets.hold(set);
            peer.counts.accepted += 1;
        }
        let old = self.table.entry_mut(entry).insert(Route { source, received, verdict });
        match old {
            Some(old) => peer.counts.forget(old),
            None => peer.counts.received += 1,
        }
        self.gathered.accepted(id, || Nlri::new(prefix, self.table.sources.of(source).1));
        if let Some(old) = old {
            self.release(old);
        }
    }

    /// Takes out what a peer withdraws, without a decision; where it was.
    fn withdraw(&mut self, id: PeerId, nlri: &Nlri) -> Option<EntryId> {
        let entry = self.table.find(&nlri.prefix.trunc())?;
        let source = self.table.sources.hold(id, nlri.path_id);
        let old = self.table.entry_mut(entry).remove(source);
        self.table.sources.release(source);
        let old = old?;
        if let Some(peer) = self.peers.get_mut(&id) {
            peer.counts.received -= 1;
            peer.counts.forget(old);
        }
        self.gathered.accepted(id, || Nlri::new(nlri.prefix.trunc(), nlri.path_id));
        self.release(old);
        Some(entry)
    }

    /// A decision is due on an entry; the one that was due is made if it is on another.
    fn decide_later(&mut self, entry: EntryId, undecided: &mut Option<EntryId>) {
        let before = undecided.replace(entry);
        if let Some(before) = before.filter(|before| *before != entry) {
            self.decide(before);
        }
    }

    /// Lets go of what a route that is no more in the table held.
    fn release(&mut self, route: Route) {
        self.table.sources.release(route.source);
        self.sets.release(route.received);
        if let Ok(set) = route.verdict.get() {
            self.sets.release(set);
        }
    }

    /// Selects the best route anew; if it is another, everyone concerned is to be told.
    fn decide(&mut self, id: EntryId) {
        let best = self.table.select(id, self.context());
        let entry = self.table.entry_mut(id);
        let family = entry.family();
        let old = entry.replace_best(best);
        if self.multipath.paths > 1 {
            self.fib.touch(&mut self.table, id);
        }
        if best != old {
            if let Some(best) = best {
                self.sets.hold(best.set);
            }
            if let Some(old) = old {
                self.sets.release(old.set);
            }
            self.fib.touch(&mut self.table, id);
            self.gathered.best(|| self.table.prefix(id));
        }
        if best != old {
            self.groups.touch(&mut self.table, id, false);
        }
        if self.sends_paths {
            for peer in self.peers.values_mut() {
                let Some(session) = &mut peer.session else { continue };
                // Any of several paths may have come or gone.
                if session.sends_paths(family) && session.negotiated(family) {
                    let may_tell =
                        best.is_some_and(|best| peer.exports_learnt || best.from == From::Local);
                    session.touch(&mut self.table, id, may_tell);
                }
            }
        }
        self.table.tidy(id);
    }
}

//! Neighbors: real tables on both ends, and in a part of the runs real sessions whose octets cross
//! a link with latency. What the far end holds is what is judged.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::Duration;

use anycast_bgp::message::Update;
use anycast_bgp::policy::{Action as Verdict, Match, Policy, PrefixPattern, Rule, Set};
use anycast_bgp::rib::{Agreed, PeerConfig, PeerId, PeerUp, Rib, SendPaths};
use anycast_bgp::session::{Action, Config, Connection, Offer, Session};
use anycast_bgp::time::Instant;
use anycast_bgp::{Asn, Community, Family};
use anycast_steer::Manner;
use ipnet::IpNet;

use crate::plan::Plan;
use crate::random::Dice;
use crate::world::{Event, World};

/// A neighbor has heard within this time: latency, its spread, and a message behind another.
pub(crate) const CONVERGED: Duration = Duration::from_millis(250);

/// Without a word for so long, a neighbor takes the site for dead.
pub(crate) const HOLD_TIME: Duration = Duration::from_secs(90);

const OURS: Asn = Asn(64500);
const THEIRS: Asn = Asn(64510);
const NEXT_HOP_V6: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1);

/// A link to one neighbor, and the neighbor.
pub(crate) struct Link {
    /// Counts how often it was cut or its daemon ended: what was under way is lost.
    pub(crate) cut: u64,
    broken: bool,
    back_at: Duration,
    latency: Duration,
    far: Rib,
    ends: Option<[End; 2]>,
    /// Since when both ends know each other, as the site sees it.
    pub(crate) up_since: Option<Duration>,
    /// The neighbor has ended the session, whether the site knows yet or not.
    pub(crate) given_up: bool,
    connections: u64,
    /// What was last to arrive at each end: TCP keeps the order.
    last: [Duration; 2],
    exported: BTreeMap<IpNet, Option<Manner>>,
}

/// A session and what its driver holds.
struct End {
    session: Session,
    attempt: Option<u64>,
    dialled: Option<u64>,
    accepted: Option<u64>,
    timer: Option<Duration>,
}

/// What reaches an end of a link; the number is the connection's.
#[derive(Debug)]
pub(crate) enum Arrival {
    Start,
    SynAck(u64),
    Refused(u64),
    Accept(u64),
    Octets(u64, Vec<u8>),
    Closed(u64),
}

pub(crate) fn router_id(site: usize) -> Ipv4Addr {
    Ipv4Addr::from(0xc633_6400 + u32::try_from(site).unwrap_or_default())
}

fn far_id(neighbor: usize) -> Ipv4Addr {
    Ipv4Addr::from(0xc612_0001 + u32::try_from(neighbor).unwrap_or_default())
}

const fn peer(neighbor: usize) -> PeerId {
    #[expect(clippy::cast_possible_truncation, reason = "there are at most three")]
    PeerId(neighbor as u32)
}

fn peer_config(asn: Asn, address: Ipv4Addr, import: Policy, export: Policy) -> PeerConfig {
    PeerConfig {
        name: address.to_string(),
        asn,
        address: IpAddr::V4(address),
        import,
        export,
        next_hop_self: false,
        enforce_first_as: true,
        role: None,
    }
}

fn peer_up(of: Ipv4Addr, local: Ipv4Addr) -> PeerUp {
    PeerUp {
        router_id: of,
        local_address: IpAddr::V4(local),
        next_hop_other: Some(IpAddr::V6(NEXT_HOP_V6)),
        families: Family::ALL.to_vec(),
        send_paths: SendPaths::default(),
        agreed: Agreed::default(),
    }
}

impl End {
    fn new(site: usize, neighbor: usize, ours: bool, seed: u64) -> Self {
        let config = Config {
            local_asn: if ours { OURS } else { THEIRS },
            peer_asn: if ours { THEIRS } else { OURS },
            router_id: if ours { router_id(site) } else { far_id(neighbor) },
            hold_time: HOLD_TIME,
            families: Family::ALL.to_vec(),
            connect_retry: Duration::from_secs(5),
            delay_open: Duration::ZERO,
            passive: !ours && neighbor.is_multiple_of(2),
            offer: Offer { graceful_restart: None, ..Offer::default() },
            seed,
        };
        Self {
            session: Session::new(config),
            attempt: None,
            dialled: None,
            accepted: None,
            timer: None,
        }
    }
}

impl Link {
    pub(crate) fn new(plan: &Plan, site: usize, neighbor: usize, dice: &mut Dice) -> Self {
        let mut far = Rib::new(THEIRS, far_id(neighbor));
        let config = peer_config(OURS, router_id(site), Policy::accept_all(), Policy::reject_all());
        far.add_peer(PeerId(0), config);
        let mut end = |ours| End::new(site, neighbor, ours, dice.roll());
        let ends = plan.sessions.then(|| [end(true), end(false)]);
        Self {
            cut: 0,
            broken: false,
            back_at: Duration::ZERO,
            latency: plan.sites[site].neighbors[neighbor],
            far,
            ends,
            up_since: None,
            given_up: false,
            connections: 0,
            last: [Duration::ZERO; 2],
            exported: BTreeMap::new(),
        }
    }

    /// How the neighbor was told of the prefix, by what it holds; `None`: it has no route.
    pub(crate) fn holds(&self, prefix: &IpNet) -> Option<Manner> {
        let route = self.far.best(prefix)?;
        let length = route.attributes.as_path.length();
        let communities = route.attributes.communities.iter().map(|it| it.0).collect();
        Some(Manner {
            prepend: u8::try_from(length - 1).unwrap_or(u8::MAX),
            med: route.attributes.med,
            communities,
        })
    }
}

/// Plainly but for what is listed.
fn export_policy(told: &BTreeMap<IpNet, Option<Manner>>) -> Policy {
    let mut rules = Vec::new();
    for (prefix, manner) in told {
        let own = [Match::Local, Match::Prefix(vec![PrefixPattern::exactly(*prefix)])];
        let action = if manner.is_some() { Verdict::Accept } else { Verdict::Reject };
        let mut rule = Rule { matches: own.to_vec(), ..Rule::new(action) };
        if let Some(manner) = manner {
            rule.sets.extend(manner.med.map(|med| Set::Med(Some(med))));
            let communities = manner.communities.iter();
            rule.sets.extend(communities.map(|&it| Set::AddCommunity(Community(it))));
            rule.sets.extend((manner.prepend > 0).then_some(Set::Prepend(manner.prepend)));
        }
        rules.push(rule);
    }
    rules.push(Rule::new(Verdict::Accept).when(Match::Local));
    Policy { rules }
}

impl World<'_> {
    pub(crate) fn set_export(&mut self, site: usize, neighbor: usize) {
        let it = &mut self.sites[site];
        let Some(place) = neighbor.checked_sub(it.first_link()) else { return };
        let told = it.announced.iter();
        let told = told.map(|(prefix, told)| (*prefix, told.get(place).cloned().flatten()));
        let told: BTreeMap<_, _> =
            told.filter(|(_, manner)| manner.as_ref().is_none_or(|it| !it.is_plain())).collect();
        if it.links[neighbor].exported != told {
            it.rib.set_export(peer(neighbor), export_policy(&told));
            it.links[neighbor].exported = told;
        }
    }

    /// The daemon begins.
    pub(crate) fn connect_neighbors(&mut self, site: usize) {
        for neighbor in self.sites[site].first_link()..self.sites[site].links.len() {
            self.connect_neighbor(site, neighbor);
        }
    }

    fn connect_neighbor(&mut self, site: usize, neighbor: usize) {
        let it = &mut self.sites[site];
        let export = export_policy(&BTreeMap::new());
        let config = peer_config(THEIRS, far_id(neighbor), Policy::reject_all(), export);
        it.rib.add_peer(peer(neighbor), config);
        let link = &mut it.links[neighbor];
        link.exported.clear();
        let cut = link.cut;
        if let Some([near, _]) = &mut link.ends {
            *near = End::new(site, neighbor, true, self.dice.roll());
            let start = |far| Event::Bgp { neighbor, far, what: Arrival::Start };
            self.schedule(self.now, site, start(false));
            self.lasting(self.now, site, start(true));
        } else if !link.broken {
            let at = self.now + link.latency * 4;
            self.schedule(at, site, Event::TablesUp { neighbor, cut });
        }
    }

    /// A reload has taken neighbors out of the file, or put them into it; `before` is the first
    /// that it had.
    pub(crate) fn other_neighbors(&mut self, site: usize, before: usize) {
        let first = self.sites[site].first_link();
        for neighbor in before..first {
            self.lose_link(site, neighbor, false);
            let it = &mut self.sites[site];
            it.rib.peer_down(peer(neighbor));
            it.rib.remove_peer(peer(neighbor));
            let link = &mut it.links[neighbor];
            if let Some([near, _]) = &mut link.ends {
                *near = End::new(site, neighbor, true, self.dice.roll());
            }
        }
        if first == before {
            return;
        }
        // What is told keeps its neighbor, though that has another place now.
        let places: Vec<Option<usize>> =
            (first..self.sites[site].links.len()).map(|it| it.checked_sub(before)).collect();
        let moved = |told: &[Option<Manner>]| -> Vec<Option<Manner>> {
            places.iter().map(|it| it.and_then(|it| told.get(it).cloned().flatten())).collect()
        };
        self.judge.neighbors_move(site, moved);
        let announced: Vec<IpNet> = self.sites[site].announced.keys().copied().collect();
        for prefix in announced {
            let it = &mut self.sites[site];
            let told = moved(&it.announced[&prefix]);
            if told.iter().any(Option::is_some) {
                it.announced.insert(prefix, told);
            } else {
                // Nobody is left who was told.
                it.announced.remove(&prefix);
                it.rib.withdraw_local(&prefix);
                it.to_flush = true;
                self.judge.lost(site, prefix, self.now);
            }
        }
        for neighbor in first..before {
            self.connect_neighbor(site, neighbor);
        }
        for neighbor in first..self.sites[site].links.len() {
            self.set_export(site, neighbor);
        }
    }

    /// Nothing was heard of the daemon for too long: every neighbor has taken out what it said.
    pub(crate) fn hold_times_out(&mut self, site: usize) {
        for neighbor in self.sites[site].first_link()..self.sites[site].links.len() {
            if self.sites[site].links[neighbor].up_since.is_some() {
                self.lose_link(site, neighbor, true);
            }
        }
    }

    /// A daemon that goes on connects to those neighbors who have given it up.
    pub(crate) fn link_again(&mut self, site: usize) {
        for neighbor in self.sites[site].first_link()..self.sites[site].links.len() {
            let link = &self.sites[site].links[neighbor];
            if link.ends.is_none() && link.up_since.is_none() && !link.broken {
                let (cut, at) = (link.cut, self.now + link.latency * 4);
                self.schedule(at, site, Event::TablesUp { neighbor, cut });
            }
        }
    }

    /// After links have changed: whether anybody hears the site.
    fn note_links(&mut self, site: usize) {
        self.sites[site].path.to_publish = true;
        self.note_unheard(site);
    }

    /// If nobody hears the site any more, what it announced is lost from here on.
    fn note_unheard(&mut self, site: usize) {
        let it = &mut self.sites[site];
        let is_heard = it.is_heard();
        if std::mem::replace(&mut it.was_heard, is_heard) && !is_heard {
            self.lose_announcements(site);
        }
    }

    /// The daemon has ended, and the kernel closes what it had open.
    pub(crate) fn disconnect_neighbors(&mut self, site: usize) {
        for neighbor in 0..self.sites[site].links.len() {
            self.lose_link(site, neighbor, false);
        }
    }

    /// The link is cut; both ends see their connection break.
    pub(crate) fn cut(&mut self, site: usize, neighbor: usize, back_after: Duration) {
        let back_at = self.now + back_after;
        let link = &mut self.sites[site].links[neighbor];
        link.back_at = link.back_at.max(back_at);
        let back_at = link.back_at;
        link.broken = true;
        self.lose_link(site, neighbor, true);
        let cut = self.sites[site].links[neighbor].cut;
        self.lasting(back_at, site, Event::LinkBack { neighbor, cut });
    }

    fn lose_link(&mut self, site: usize, neighbor: usize, near_too: bool) {
        let now = self.now;
        let link = &mut self.sites[site].links[neighbor];
        link.cut += 1;
        link.up_since = None;
        let (cut, at) = (link.cut, now + link.latency);
        if let Some([near, far]) = &link.ends {
            let of_near = [near.dialled, near.accepted].into_iter().flatten().filter(|_| near_too);
            let of_far = [far.dialled, far.accepted].into_iter().flatten();
            let lost: Vec<(bool, u64)> =
                of_near.map(|id| (false, id)).chain(of_far.map(|id| (true, id))).collect();
            for (far, id) in lost {
                self.lasting(at, site, Event::Bgp { neighbor, far, what: Arrival::Closed(id) });
            }
        } else {
            self.lasting(at, site, Event::TablesDown { neighbor, cut });
            if near_too {
                self.sites[site].rib.peer_down(peer(neighbor));
            }
        }
        self.note_links(site);
    }

    pub(crate) fn link_back(&mut self, site: usize, neighbor: usize, cut: u64) {
        let alive = self.sites[site].steer.is_some();
        let link = &mut self.sites[site].links[neighbor];
        // The daemon may have ended and begun meanwhile, or somebody cut it for longer.
        if !link.broken || (link.cut != cut && link.back_at > self.now) {
            return;
        }
        link.broken = false;
        if link.ends.is_none() && alive && neighbor >= self.sites[site].first_link() {
            let link = &self.sites[site].links[neighbor];
            let (cut, at) = (link.cut, self.now + link.latency * 4);
            self.schedule(at, site, Event::TablesUp { neighbor, cut });
        }
    }

    pub(crate) fn tables_up(&mut self, site: usize, neighbor: usize, cut: u64) {
        let it = &mut self.sites[site];
        let link = &mut it.links[neighbor];
        if link.cut != cut || link.broken || link.up_since.is_some() {
            return;
        }
        link.up_since = Some(self.now);
        it.was_heard = true;
        link.far.peer_up(PeerId(0), peer_up(router_id(site), far_id(neighbor)));
        it.rib.peer_up(peer(neighbor), peer_up(far_id(neighbor), router_id(site)));
        it.to_flush = true;
        it.path.to_publish = true;
        self.schedule(self.now + CONVERGED, site, Event::Judge);
    }

    pub(crate) fn tables_down(&mut self, site: usize, neighbor: usize, cut: u64) {
        let link = &mut self.sites[site].links[neighbor];
        if link.cut == cut {
            link.far.peer_down(PeerId(0));
        }
    }

    pub(crate) fn told(&mut self, site: usize, neighbor: usize, cut: u64, update: Update) {
        let link = &mut self.sites[site].links[neighbor];
        if link.cut == cut {
            link.far.handle_update(PeerId(0), update);
            self.judge_site(site);
        }
    }

    /// What the tables have to say goes out.
    pub(crate) fn flush_neighbors(&mut self, site: usize) {
        if !std::mem::take(&mut self.sites[site].to_flush) {
            return;
        }
        for neighbor in 0..self.sites[site].links.len() {
            if self.sites[site].links[neighbor].up_since.is_none() {
                continue;
            }
            let clock = Instant::from_start(self.sites[site].clock(self.now).0);
            while let Some(update) = self.sites[site].rib.poll_update(peer(neighbor)) {
                let link = &mut self.sites[site].links[neighbor];
                if let Some([near, _]) = &mut link.ends {
                    near.session.send_update(clock, &update);
                } else {
                    let cut = link.cut;
                    let at = self.arrival(site, neighbor, true);
                    let update = Box::new(update);
                    self.lasting(at, site, Event::Told { neighbor, cut, update });
                }
            }
            if self.plan.sessions {
                self.perform(site, neighbor, false);
            }
        }
    }

    /// When what is sent now arrives: in the order in which it was sent.
    fn arrival(&mut self, site: usize, neighbor: usize, far: bool) -> Duration {
        let spread = self.dice.millis(0, 20);
        let link = &mut self.sites[site].links[neighbor];
        let last = &mut link.last[usize::from(far)];
        *last = (self.now + link.latency + spread).max(*last);
        *last
    }

    fn end(&mut self, site: usize, neighbor: usize, far: bool) -> Option<(&mut End, Instant)> {
        let alive = far || self.sites[site].steer.is_some();
        let clock = if far { self.now } else { self.sites[site].clock(self.now).0 };
        let ends = self.sites[site].links[neighbor].ends.as_mut()?;
        alive.then_some((&mut ends[usize::from(far)], Instant::from_start(clock)))
    }

    pub(crate) fn bgp_timer(&mut self, site: usize, neighbor: usize, far: bool) {
        let Some((end, clock)) = self.end(site, neighbor, far) else { return };
        end.timer = None;
        if end.session.poll_timeout().is_some_and(|at| at <= clock) {
            end.session.handle_timeout(clock);
        }
        self.perform(site, neighbor, far);
    }

    pub(crate) fn arrives(&mut self, site: usize, neighbor: usize, far: bool, what: Arrival) {
        let broken = self.sites[site].links[neighbor].broken;
        let Some((end, clock)) = self.end(site, neighbor, far) else {
            if let Arrival::Accept(id) | Arrival::Octets(id, _) = what {
                self.transmit(site, neighbor, !far, Arrival::Closed(id));
            }
            return;
        };
        let of = |end: &End, id| match id {
            id if end.dialled == Some(id) => Some(Connection::Dialled),
            id if end.accepted == Some(id) => Some(Connection::Accepted),
            _ => None,
        };
        match what {
            Arrival::Start => end.session.handle_start(clock),
            Arrival::SynAck(id) if end.attempt == Some(id) && !broken => {
                end.attempt = None;
                end.dialled = Some(id);
                end.session.handle_connected(clock, Connection::Dialled);
                self.transmit(site, neighbor, !far, Arrival::Accept(id));
            }
            Arrival::SynAck(id) | Arrival::Refused(id) => {
                if end.attempt == Some(id) {
                    end.attempt = None;
                    end.session.handle_dial_failed(clock);
                }
            }
            Arrival::Accept(id) => {
                if end.accepted.is_some() {
                    self.transmit(site, neighbor, !far, Arrival::Closed(id));
                } else {
                    end.accepted = Some(id);
                    end.session.handle_connected(clock, Connection::Accepted);
                }
            }
            Arrival::Octets(id, octets) => match of(end, id) {
                Some(connection) => end.session.handle_octets(clock, connection, &octets),
                None => self.transmit(site, neighbor, !far, Arrival::Closed(id)),
            },
            Arrival::Closed(id) => {
                if let Some(connection) = of(end, id) {
                    match connection {
                        Connection::Dialled => end.dialled = None,
                        Connection::Accepted => end.accepted = None,
                    }
                    end.session.handle_closed(clock, connection);
                }
            }
        }
        self.perform(site, neighbor, far);
    }

    /// To the end given, unless the link is cut: then the sender's connection breaks.
    fn transmit(&mut self, site: usize, neighbor: usize, far: bool, what: Arrival) {
        let at = self.arrival(site, neighbor, far);
        if !self.sites[site].links[neighbor].broken {
            self.lasting(at, site, Event::Bgp { neighbor, far, what });
        } else if let Arrival::Accept(id) | Arrival::Octets(id, _) = what {
            let back = Event::Bgp { neighbor, far: !far, what: Arrival::Closed(id) };
            self.lasting(at, site, back);
        }
    }

    fn perform(&mut self, site: usize, neighbor: usize, far: bool) {
        loop {
            let Some((end, _)) = self.end(site, neighbor, far) else { return };
            let Some(action) = end.session.poll_action() else { break };
            match action {
                Action::Dial => self.dial(site, neighbor, far),
                Action::CancelDial => end.attempt = None,
                Action::Send(connection, octets) => {
                    let id = match connection {
                        Connection::Dialled => end.dialled,
                        Connection::Accepted => end.accepted,
                    };
                    let id = id.expect("it sends on what is open");
                    self.transmit(site, neighbor, !far, Arrival::Octets(id, octets));
                }
                Action::Close(connection) => {
                    let id = match connection {
                        Connection::Dialled => end.dialled.take(),
                        Connection::Accepted => end.accepted.take(),
                    };
                    let id = id.expect("it closes what is open");
                    self.transmit(site, neighbor, !far, Arrival::Closed(id));
                }
                Action::Established(_) => self.established(site, neighbor, far),
                Action::Down(_) => self.session_down(site, neighbor, far),
                Action::Update(update) => {
                    if far {
                        self.sites[site].links[neighbor].far.handle_update(PeerId(0), update);
                        self.judge_site(site);
                    }
                }
                Action::RouteRefresh(family) => {
                    if !far {
                        self.sites[site].rib.handle_refresh(peer(neighbor), family);
                        self.sites[site].to_flush = true;
                    }
                }
                Action::Received(_)
                | Action::BeginningOfRouteRefresh(_)
                | Action::EndOfRouteRefresh(_) => {}
            }
        }
        self.wake_for_bgp(site, neighbor, far);
    }

    fn dial(&mut self, site: usize, neighbor: usize, far: bool) {
        let alive = self.sites[site].steer.is_some();
        let round_trip = self.sites[site].links[neighbor].latency * 2;
        let link = &mut self.sites[site].links[neighbor];
        link.connections += 1;
        let id = link.connections;
        let reached = !link.broken && (alive || !far);
        if let Some(ends) = &mut link.ends {
            ends[usize::from(far)].attempt = Some(id);
        }
        let what = if reached { Arrival::SynAck(id) } else { Arrival::Refused(id) };
        self.lasting(self.now + round_trip, site, Event::Bgp { neighbor, far, what });
    }

    fn established(&mut self, site: usize, neighbor: usize, far: bool) {
        let now = self.now;
        let it = &mut self.sites[site];
        let link = &mut it.links[neighbor];
        if far {
            link.given_up = false;
            it.was_heard |= link.up_since.is_some();
            link.far.peer_up(PeerId(0), peer_up(router_id(site), far_id(neighbor)));
        } else {
            link.up_since = Some(now);
            it.was_heard |= !link.given_up;
            it.rib.peer_up(peer(neighbor), peer_up(far_id(neighbor), router_id(site)));
            it.to_flush = true;
            it.path.to_publish = true;
            self.report.sessions += 1;
            self.schedule(now + CONVERGED, site, Event::Judge);
        }
    }

    fn session_down(&mut self, site: usize, neighbor: usize, far: bool) {
        let it = &mut self.sites[site];
        let link = &mut it.links[neighbor];
        if far {
            link.given_up = true;
            link.far.peer_down(PeerId(0));
            self.note_unheard(site);
        } else {
            link.up_since = None;
            it.rib.peer_down(peer(neighbor));
            self.note_links(site);
        }
    }

    fn wake_for_bgp(&mut self, site: usize, neighbor: usize, far: bool) {
        let Some((end, _)) = self.end(site, neighbor, far) else { return };
        let due = end.session.poll_timeout().map(Instant::since_start);
        let before = end.timer;
        let Some(due) = due else { return };
        let at = if far { due } else { self.sites[site].at(anycast_steer::Instant(due)) };
        if before.is_none_or(|timer| timer > at) {
            let Some((end, _)) = self.end(site, neighbor, far) else { return };
            end.timer = Some(at);
            let event = Event::BgpTimer { neighbor, far };
            if far { self.lasting(at, site, event) } else { self.schedule(at, site, event) }
        }
    }
}

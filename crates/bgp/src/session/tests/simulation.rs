//! Two sessions wired together through a network with delay, stepped through virtual time.

mod loss;

use std::collections::BTreeMap;

use super::*;

use Connection::{Accepted, Dialled};

/// Two speakers and the network between them.
struct Simulation {
    now: Instant,
    /// One way.
    delay: Duration,
    /// How much longer than `delay` octets may take, and the state of that dice.
    jitter: Duration,
    dice: u64,
    /// Whether octets may arrive together with those sent later on the same connection.
    coalesce: bool,
    /// Whether SYNs get lost.
    lossy: bool,
    /// When the last octets of a connection reach a speaker: TCP keeps their order.
    last: BTreeMap<(u64, usize), Instant>,
    speakers: [Speaker; 2],
    /// What is under way, by time and then by order of sending.
    events: BTreeMap<(Instant, u64), (usize, Event)>,
    next: u64,
}

/// A session and what its driver holds.
struct Speaker {
    session: Session,
    /// Hears nothing and does nothing, as a machine that hangs.
    frozen: bool,
    attempt: Option<u64>,
    dialled: Option<u64>,
    accepted: Option<u64>,
    /// Established and Down, with their times.
    log: Vec<(Instant, Option<Established>)>,
    updates: Vec<Update>,
}

/// What reaches a speaker; the number is that of the TCP connection.
#[derive(Debug)]
enum Event {
    Start,
    SynAck(u64),
    Accept(u64),
    Octets(u64, Vec<u8>),
    Closed(u64),
}

impl Speaker {
    fn slot(&mut self, connection: Connection) -> &mut Option<u64> {
        match connection {
            Dialled => &mut self.dialled,
            Accepted => &mut self.accepted,
        }
    }

    fn connection(&self, id: u64) -> Option<Connection> {
        if self.dialled == Some(id) {
            Some(Dialled)
        } else if self.accepted == Some(id) {
            Some(Accepted)
        } else {
            None
        }
    }
}

impl Simulation {
    fn new(configs: [Config; 2], delay: Duration) -> Self {
        let speakers = configs.map(|config| Speaker {
            session: Session::new(config),
            frozen: false,
            attempt: None,
            dialled: None,
            accepted: None,
            log: Vec::new(),
            updates: Vec::new(),
        });
        Self {
            now: Instant::START,
            delay,
            jitter: Duration::ZERO,
            dice: 0,
            coalesce: false,
            lossy: false,
            last: BTreeMap::new(),
            speakers,
            events: BTreeMap::new(),
            next: 0,
        }
    }

    /// Two sessions that fit together; the first speaker has the higher BGP Identifier.
    fn pair(delay: Duration) -> Self {
        Self::new(pair(), delay)
    }

    /// 0 to 65535.
    fn roll(&mut self) -> u32 {
        self.dice = self.dice.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        u32::try_from(self.dice >> 48).unwrap()
    }

    /// Sends `event` of connection `id` to a speaker.
    fn transmit(&mut self, id: u64, to: usize, event: Event) {
        let share = self.roll();
        let at = self.now + self.delay + self.jitter * share / 0xffff;
        let last = self.last.entry((id, to)).or_insert(at);
        *last = at.max(*last);
        let at = *last;
        self.schedule(at, to, event);
    }

    fn schedule(&mut self, at: Instant, to: usize, event: Event) {
        self.next += 1;
        self.events.insert((at, self.next), (to, event));
    }

    fn start(&mut self, speaker: usize, at: Instant) {
        self.schedule(at, speaker, Event::Start);
    }

    /// Lets everything happen up to `until`.
    fn run(&mut self, until: Instant) {
        loop {
            let timer = (0..2)
                .filter(|who| !self.speakers[*who].frozen)
                .filter_map(|who| Some((self.speakers[who].session.poll_timeout()?, who)))
                .min();
            let event = self.events.first_key_value().map(|((at, _), _)| *at);
            match (timer, event) {
                (Some((at, who)), event) if at <= until && event.is_none_or(|event| at < event) => {
                    assert!(at >= self.now, "a timer of the past");
                    self.now = at;
                    self.speakers[who].session.handle_timeout(at);
                    assert!(
                        self.speakers[who].session.poll_timeout().is_none_or(|next| next > at),
                        "a timer fired and stands where it stood"
                    );
                    self.perform(who);
                }
                (_, Some(at)) if at <= until => {
                    let (_, (who, mut event)) = self.events.pop_first().unwrap();
                    self.now = at;
                    if let (Event::Octets(id, octets), true) = (&mut event, self.coalesce)
                        && self.roll() & 1 == 0
                    {
                        octets.extend(self.octets_under_way(*id, who));
                    }
                    if !self.speakers[who].frozen {
                        self.deliver(who, event);
                        self.perform(who);
                    }
                }
                _ => break,
            }
        }
        self.now = until;
    }

    /// Takes from the network all octets of a connection up to its end: they arrive in one read.
    fn octets_under_way(&mut self, id: u64, to: usize) -> Vec<u8> {
        let mut taken = Vec::new();
        let mut ended = false;
        self.events.retain(|_, (who, event)| match event {
            Event::Octets(of, octets) if *who == to && *of == id && !ended => {
                taken.append(octets);
                false
            }
            Event::Closed(of) if *who == to && *of == id => {
                ended = true;
                true
            }
            _ => true,
        });
        taken
    }

    fn deliver(&mut self, who: usize, event: Event) {
        let now = self.now;
        let speaker = &mut self.speakers[who];
        match event {
            Event::Start => speaker.session.handle_start(now),
            Event::SynAck(id) => {
                if speaker.attempt == Some(id) {
                    speaker.attempt = None;
                    speaker.dialled = Some(id);
                    speaker.session.handle_connected(now, Dialled);
                    self.transmit(id, 1 - who, Event::Accept(id));
                }
            }
            Event::Accept(id) => {
                if speaker.accepted.is_some() {
                    self.transmit(id, 1 - who, Event::Closed(id));
                } else {
                    speaker.accepted = Some(id);
                    speaker.session.handle_connected(now, Accepted);
                }
            }
            Event::Octets(id, octets) => {
                if let Some(connection) = speaker.connection(id) {
                    speaker.session.handle_octets(now, connection, &octets);
                } else {
                    // TCP answers with a reset what is for no connection.
                    self.transmit(id, 1 - who, Event::Closed(id));
                }
            }
            Event::Closed(id) => {
                if let Some(connection) = speaker.connection(id) {
                    *speaker.slot(connection) = None;
                    speaker.session.handle_closed(now, connection);
                }
            }
        }
    }

    fn perform(&mut self, who: usize) {
        let now = self.now;
        while let Some(action) = self.speakers[who].session.poll_action() {
            let speaker = &mut self.speakers[who];
            match action {
                Action::Dial => {
                    assert_eq!(speaker.attempt, None, "one attempt at a time");
                    assert_eq!(speaker.dialled, None, "one dialled connection at a time");
                    self.next += 1;
                    let id = self.next;
                    self.speakers[who].attempt = Some(id);
                    let share = self.roll();
                    let round_trip = (self.delay + self.jitter * share / 0xffff) * 2;
                    if !self.lossy || !self.roll().is_multiple_of(4) {
                        self.schedule(now + round_trip, who, Event::SynAck(id));
                    }
                }
                Action::CancelDial => assert!(speaker.attempt.take().is_some()),
                Action::Send(connection, octets) => {
                    let id = speaker.slot(connection).expect("sends on what is open");
                    self.transmit(id, 1 - who, Event::Octets(id, octets));
                }
                Action::Close(connection) => {
                    let id = speaker.slot(connection).take().expect("closes what is open");
                    self.transmit(id, 1 - who, Event::Closed(id));
                }
                Action::Established(link) => speaker.log.push((now, Some(link))),
                Action::Down(_) => speaker.log.push((now, None)),
                Action::Update(update) => speaker.updates.push(update),
                Action::Received(_)
                | Action::RouteRefresh(_)
                | Action::BeginningOfRouteRefresh(_)
                | Action::EndOfRouteRefresh(_) => {}
            }
        }
    }

    fn states(&self) -> [StateName; 2] {
        [0, 1].map(|who| self.speakers[who].session.state())
    }

    /// Both are Established over the same connection, and there is no other.
    fn assert_one_connection(&self, what: &str) {
        assert_eq!(self.states(), [StateName::Established; 2], "{what}");
        let [a, b] = &self.speakers;
        assert_eq!((a.dialled, a.accepted), (b.accepted, b.dialled), "{what}");
        assert!(a.dialled.is_some() != a.accepted.is_some(), "{what}");
    }
}

fn pair() -> [Config; 2] {
    let peer = Config {
        local_asn: PEER,
        peer_asn: LOCAL,
        router_id: Ipv4Addr::new(192, 0, 2, 1),
        seed: 2,
        ..config()
    };
    [config(), peer]
}

#[test]
fn two_speakers_become_established_and_agree() {
    let mut net = Simulation::pair(Duration::from_millis(30));
    net.start(0, at(0));
    net.start(1, at(2000));
    net.run(at(4000));
    net.assert_one_connection("after the start");
    for (who, other) in [(0, 1), (1, 0)] {
        let session = &net.speakers[who].session;
        let link = session.negotiated().unwrap();
        assert_eq!(link.peer_router_id, pair()[other].router_id);
        assert_eq!(link.families, Family::ALL);
        assert_eq!(link.hold_time, HOLD_TIME);
        assert!(link.route_refresh && link.context.four_octet_asn && link.context.ebgp);
        assert_eq!(net.speakers[who].log.len(), 1, "up once and never down");
    }
}

#[test]
fn an_update_arrives_as_it_was_sent() {
    let mut net = Simulation::pair(Duration::from_millis(30));
    net.start(0, at(0));
    net.start(1, at(0));
    net.run(at(5000));
    net.speakers[0].session.send_update(at(5000), &update());
    net.perform(0);
    net.run(at(6000));
    assert_eq!(net.speakers[1].updates, [update()]);
    assert_eq!(net.speakers[0].session.counters().updates_out, 1);
    assert_eq!(net.speakers[1].session.counters().updates_in, 1);
}

/// Whichever speaker starts first, by however little, and whichever BGP Identifier is higher.
#[test]
fn dials_that_cross_leave_one_connection_at_once() {
    let delay = Duration::from_millis(10);
    let [a, b] = pair();
    for (order, configs) in [("first higher", [a.clone(), b.clone()]), ("second higher", [b, a])] {
        for lag in 0..60 {
            let mut net = Simulation::new(configs.clone(), delay);
            net.start(0, at(0));
            net.start(1, at(lag));
            net.run(at(250));
            let what = format!("{order}, {lag} ms apart");
            net.assert_one_connection(&what);
            for speaker in &net.speakers {
                assert_eq!(speaker.log.len(), 1, "{what}");
            }
            net.run(at(60_000));
            net.assert_one_connection(&what);
        }
    }
}

/// With a delay on one side or on both, whose ends fall before, on and after the other's OPEN.
#[test]
fn dials_that_cross_leave_one_connection_whoever_delays_its_open() {
    let delay = Duration::from_millis(10);
    for (ours, theirs) in [(0, 3000), (3000, 0), (3000, 3000), (3000, 3005), (20, 20)] {
        for lag in 0..60 {
            let mut configs = pair();
            configs[0].delay_open = Duration::from_millis(ours);
            configs[1].delay_open = Duration::from_millis(theirs);
            let mut net = Simulation::new(configs, delay);
            net.start(0, at(0));
            net.start(1, at(lag));
            net.run(at(60_000));
            let what = format!("{ours} ms and {theirs} ms, {lag} ms apart");
            net.assert_one_connection(&what);
            for speaker in &net.speakers {
                assert_eq!(speaker.log.len(), 1, "{what}");
            }
        }
    }
}

/// Octets take up to twice as long as they could, each time anew.
#[test]
fn dials_that_cross_on_an_uneven_path_leave_one_connection_at_once() {
    for dice in 0..4000u64 {
        let mut net = Simulation::pair(Duration::from_millis(10));
        net.jitter = Duration::from_millis(10);
        net.dice = dice << 32;
        net.start(0, at(0));
        net.start(1, at(dice % 41));
        net.run(at(400));
        let what = format!("dice {dice}");
        net.assert_one_connection(&what);
        assert!(net.speakers.iter().all(|speaker| speaker.log.len() == 1), "{what}");
    }
}

/// On one machine and in one rack there is no latency to speak of: what crosses arrives in any
/// order, and an OPEN and the KEEPALIVE after it in one read.
#[test]
fn dials_that_cross_without_latency_leave_one_connection_and_it_stays() {
    let [a, b] = pair();
    for dice in 0..40_000u64 {
        let configs = if dice % 2 == 0 { [a.clone(), b.clone()] } else { [b.clone(), a.clone()] };
        let mut net = Simulation::new(configs, Duration::ZERO);
        net.jitter = Duration::from_micros(100);
        net.coalesce = dice % 3 != 0;
        net.dice = dice << 32;
        net.start(0, Instant::START);
        net.start(1, Instant::START + Duration::from_micros(dice % 350));
        net.run(at(100));
        let what = format!("dice {dice}");
        net.assert_one_connection(&what);
        assert!(net.speakers.iter().all(|speaker| speaker.log.len() == 1), "{what}");
    }
}

/// A neighbor whose kernel takes connections that its BGP never answers, and whose own ones work.
#[test]
fn a_connection_that_nobody_answers_holds_the_other_back_for_five_seconds_at_most() {
    for (hold_time, wait) in [(90, 5000), (0, 5000), (15, 5000), (9, 3000), (3, 1000)] {
        let hold_time = Duration::from_secs(hold_time);
        let mut session = Session::new(Config { hold_time, ..config() });
        session.handle_start(at(0));
        session.handle_connected(at(0), Dialled);
        session.handle_connected(at(0), Accepted);
        let calm = [emit(&Message::Open(open())), emit(&Message::Keepalive)].concat();
        session.handle_octets(at(0), Accepted, &calm);
        assert_eq!(session.state(), StateName::OpenSent, "{hold_time:?}");
        assert_eq!(session.poll_timeout(), Some(at(wait)), "{hold_time:?}");
        session.handle_timeout(at(wait - 1));
        assert_eq!(session.state(), StateName::OpenSent, "{hold_time:?}");
        session.handle_timeout(at(wait));
        assert_eq!(session.negotiated().unwrap().connection, Accepted, "{hold_time:?}");
    }
}

/// Octets take up to six times as long as they could.
#[test]
fn dials_that_cross_on_a_wild_path_leave_one_connection_and_it_stays() {
    for dice in 0..4000u64 {
        let mut net = Simulation::pair(Duration::from_millis(10));
        net.jitter = Duration::from_millis(50);
        net.coalesce = dice % 3 != 0;
        net.dice = dice << 32;
        net.start(0, at(0));
        net.start(1, at(dice % 141));
        net.run(at(10_000));
        let what = format!("dice {dice}");
        net.assert_one_connection(&what);
        assert!(net.speakers.iter().all(|speaker| speaker.log.len() == 1), "{what}");
    }
}

#[test]
fn a_collision_leaves_the_connection_of_the_higher_identifier() {
    for (higher, configs) in [
        (0, pair()),
        (1, {
            let [a, b] = pair();
            [b, a]
        }),
    ] {
        let mut net = Simulation::new(configs, Duration::from_millis(10));
        net.start(0, at(0));
        net.start(1, at(0));
        net.run(at(1000));
        net.assert_one_connection("same start");
        assert!(net.speakers[higher].dialled.is_some());
    }
}

#[test]
fn with_equal_identifiers_the_higher_asn_keeps_its_connection() {
    let [a, b] = pair();
    let b = Config { router_id: a.router_id, ..b };
    let mut net = Simulation::new([a, b], Duration::from_millis(10));
    net.start(0, at(0));
    net.start(1, at(0));
    net.run(at(1000));
    net.assert_one_connection("same identifier");
    assert!(net.speakers[1].dialled.is_some(), "64501 is higher than 64500");
}

#[test]
fn a_silent_peer_is_dropped_at_the_hold_time_and_not_before() {
    let mut net = Simulation::pair(Duration::from_millis(10));
    net.start(0, at(0));
    net.start(1, at(0));
    net.run(at(100_000));
    net.speakers[1].frozen = true;
    // Keepalives under way when it froze were its last words.
    let last_words = net
        .events
        .iter()
        .filter(|(_, (to, event))| *to == 0 && matches!(event, Event::Octets(..)))
        .map(|((at, _), _)| *at)
        .max();
    assert_eq!(last_words, None, "nothing is under way at this moment");
    let up = net.speakers[0].log[0].0;
    // The peer sends a KEEPALIVE each 30 s from its first one on, which brought us up.
    let heard = up + Duration::from_secs(90);
    let tick = Duration::from_nanos(1);
    net.run(heard + HOLD_TIME.saturating_sub(tick));
    assert_eq!(net.speakers[0].session.state(), StateName::Established);
    net.run(heard + HOLD_TIME);
    assert_eq!(net.speakers[0].session.state(), StateName::Idle);
    let expired = Notification::new(error_code::HOLD_TIMER_EXPIRED, 0);
    assert_eq!(net.speakers[0].session.last_error(), Some(&DownReason::Sent(expired)));
}

#[test]
fn keepalives_alone_hold_a_session_for_an_hour() {
    for hold_time in [3, 90] {
        let hold_time = Duration::from_secs(hold_time);
        let configs = pair().map(|config| Config { hold_time, ..config });
        let mut net = Simulation::new(configs, Duration::from_millis(300));
        net.start(0, at(0));
        net.start(1, at(0));
        net.run(at(3_600_000));
        net.assert_one_connection("after an hour");
        for speaker in &net.speakers {
            assert_eq!(speaker.log.len(), 1, "up once and never down");
            let keepalives = 3600 / (hold_time.as_secs() / 3);
            let sent = speaker.session.counters().messages_out;
            assert!((keepalives - 3..=keepalives + 6).contains(&sent), "{sent} of {keepalives}");
        }
    }
}

#[test]
fn the_lower_hold_time_counts_and_zero_stops_the_timers() {
    for (ours, theirs, want) in [(90, 9, 9), (9, 90, 9), (0, 90, 0), (90, 0, 0)] {
        let [a, b] = pair();
        let a = Config { hold_time: Duration::from_secs(ours), ..a };
        let b = Config { hold_time: Duration::from_secs(theirs), ..b };
        let mut net = Simulation::new([a, b], Duration::from_millis(10));
        net.start(0, at(0));
        net.start(1, at(0));
        net.run(at(5000));
        net.assert_one_connection("hold times differ");
        for speaker in &net.speakers {
            let session = &speaker.session;
            assert_eq!(session.negotiated().unwrap().hold_time, Duration::from_secs(want));
            assert_eq!(session.poll_timeout().is_none(), want == 0);
        }
        let sent = net.speakers[0].session.counters().messages_out;
        net.speakers[1].frozen = want == 0;
        net.run(at(86_400_000));
        assert_eq!(net.speakers[0].session.state(), StateName::Established);
        assert_eq!(net.speakers[0].session.counters().messages_out == sent, want == 0);
    }
}

#[test]
fn a_peer_that_comes_back_is_taken_within_the_first_back_off() {
    let mut net = Simulation::pair(Duration::from_millis(10));
    net.start(0, at(0));
    net.start(1, at(0));
    net.run(at(10_000));
    // The peer's process dies and starts anew; its kernel closes the connection.
    let [_, fresh] = pair();
    let peer = &mut net.speakers[1];
    peer.session = Session::new(fresh);
    let gone = peer.dialled.take().or(peer.accepted.take()).unwrap();
    net.schedule(at(10_010), 0, Event::Closed(gone));
    net.start(1, at(10_200));
    net.run(at(11_200));
    net.assert_one_connection("after the restart");
    let ups: Vec<bool> = net.speakers[0].log.iter().map(|(_, link)| link.is_some()).collect();
    assert_eq!(ups, [true, false, true]);
}

#[test]
fn after_a_stop_nothing_happens_until_a_start() {
    let mut net = Simulation::pair(Duration::from_millis(10));
    net.start(0, at(0));
    net.start(1, at(0));
    net.run(at(5000));
    net.speakers[0].session.handle_stop(at(5000), 2, "back at noon");
    net.perform(0);
    net.run(at(600_000));
    assert_eq!(net.speakers[0].session.state(), StateName::Idle);
    assert_eq!(net.speakers[0].session.poll_timeout(), None);
    assert_eq!(net.speakers[0].log.len(), 2);
    assert_eq!(net.speakers[1].log.len(), 2);
    // The last words on the matter are the refusals of what the peer has tried since.
    let refused = DownReason::Received(cease(cease_subcode::CONNECTION_REJECTED));
    assert_eq!(net.speakers[1].session.last_error(), Some(&refused));
    net.start(0, at(600_000));
    net.run(at(602_000));
    net.assert_one_connection("started anew");
}

#[test]
fn two_passive_speakers_wait_for_ever() {
    let configs = pair().map(|config| Config { passive: true, ..config });
    let mut net = Simulation::new(configs, Duration::from_millis(10));
    net.start(0, at(0));
    net.start(1, at(0));
    net.run(at(3_600_000));
    assert_eq!(net.states(), [StateName::Active; 2]);
}

#[test]
fn a_passive_speaker_is_dialled() {
    for passive in [0, 1] {
        let mut configs = pair();
        configs[passive].passive = true;
        let mut net = Simulation::new(configs, Duration::from_millis(10));
        net.start(0, at(0));
        net.start(1, at(0));
        net.run(at(100));
        net.assert_one_connection("one is passive");
        assert!(net.speakers[passive].accepted.is_some());
    }
}

#[test]
fn two_speakers_that_do_not_fit_try_less_and_less() {
    let [a, b] = pair();
    let b = Config { peer_asn: Asn(64510), ..b };
    let mut net = Simulation::new([a, b], Duration::from_millis(10));
    net.start(0, at(0));
    net.start(1, at(0));
    net.run(at(3_600_000));
    for speaker in &net.speakers {
        assert!(speaker.log.is_empty(), "never up");
        let sent = speaker.session.counters().messages_out;
        assert!((60..500).contains(&sent), "{sent} messages in an hour");
    }
}

//! Whatever happens, in whatever order: what must always be true of a session.

use proptest::collection::vec;
use proptest::prelude::*;

use super::*;

use Connection::{Accepted, Dialled};

#[derive(Clone, Debug)]
enum Event {
    Start,
    Stop,
    Connected(Connection),
    DialFailed,
    Closed(Connection),
    Octets(Connection, Vec<u8>),
    SendUpdate,
    /// Time goes on, but not beyond the next timer.
    Wait(u64),
    Timeout,
}

fn messages() -> Vec<Vec<u8>> {
    let higher = Open { router_id: Ipv4Addr::new(192, 0, 2, 9), ..open() };
    let no_timers = Open { hold_time: Duration::ZERO, ..open() };
    let stranger = Open { asn: Asn(64510), ..open() };
    let mut messages: Vec<Vec<u8>> = [
        Message::Open(open()),
        Message::Open(higher),
        Message::Open(no_timers),
        Message::Open(stranger),
        Message::Keepalive,
        Message::Keepalive,
        Message::Update(update()),
        Message::RouteRefresh(Family::Ipv4Unicast),
        Message::Notification(cease(7)),
        Message::Notification(Notification::new(error_code::UPDATE_MESSAGE, 1)),
    ]
    .iter()
    .map(emit)
    .collect();
    // The usual beginning in one piece, and one that is cut short.
    let calm = [emit(&Message::Open(open())), emit(&Message::Keepalive)].concat();
    messages.push(calm[..calm.len() - 1].to_vec());
    messages.push(calm);
    messages
}

fn event() -> impl Strategy<Value = Event> {
    let connection = || prop_oneof![Just(Dialled), Just(Accepted)];
    prop_oneof![
        2 => Just(Event::Start),
        1 => Just(Event::Stop),
        4 => connection().prop_map(Event::Connected),
        1 => Just(Event::DialFailed),
        1 => connection().prop_map(Event::Closed),
        12 => (connection(), prop::sample::select(messages()))
            .prop_map(|(on, octets)| Event::Octets(on, octets)),
        1 => (connection(), vec(any::<u8>(), 0..40)).prop_map(|(on, octets)| Event::Octets(on, octets)),
        1 => Just(Event::SendUpdate),
        1 => (0..100_000u64).prop_map(Event::Wait),
        3 => Just(Event::Timeout),
    ]
}

/// What a driver and the tables hold, checked against each action.
#[derive(Debug, Default)]
struct Driver {
    dialling: bool,
    dialled: bool,
    accepted: bool,
    established: Option<Connection>,
    ups: u64,
    downs: u64,
}

impl Driver {
    fn open(&mut self, connection: Connection) -> &mut bool {
        match connection {
            Dialled => &mut self.dialled,
            Accepted => &mut self.accepted,
        }
    }

    fn perform(&mut self, action: Action) {
        match action {
            Action::Dial => {
                assert!(!self.dialling, "a second attempt at the same time");
                assert!(!self.dialled, "dials although a dialled connection is open");
                self.dialling = true;
            }
            Action::CancelDial => {
                assert!(self.dialling, "cancels what is not");
                self.dialling = false;
            }
            Action::Send(on, octets) => {
                assert!(*self.open(on), "sends on {on:?}, which is not open");
                assert!(Message::parse(&octets, &context()).is_ok(), "sends one whole message");
            }
            Action::Close(on) => {
                assert!(*self.open(on), "closes {on:?}, which is not open");
                *self.open(on) = false;
                assert_ne!(self.established, Some(on), "closes without Down");
            }
            Action::Established(link) => {
                assert_eq!(self.established, None, "Established twice");
                assert!(*self.open(link.connection));
                assert!(!*self.open(link.connection.other()), "two connections");
                assert!(!self.dialling, "Established and dialling");
                self.established = Some(link.connection);
                self.ups += 1;
            }
            Action::Down(_) => {
                assert!(self.established.take().is_some(), "Down without Established");
                self.downs += 1;
            }
            Action::Received(octets) => {
                let whole = crate::message::frame_len(&octets, crate::message::MAX_LEN);
                assert_eq!(whole, Ok(Some(octets.len())), "one whole message came in");
            }
            Action::Update(_)
            | Action::RouteRefresh(_)
            | Action::BeginningOfRouteRefresh(_)
            | Action::EndOfRouteRefresh(_) => {
                assert!(self.established.is_some(), "routes while not Established");
            }
        }
    }
}

/// Plays `events`, those that a driver can cause and stale ones, and checks each step.
fn play(config: Config, events: Vec<Event>) {
    let mut session = Session::new(config);
    session.set_tap(true);
    let mut driver = Driver::default();
    let mut now = Instant::START;
    let mut stopped = true;
    for event in events {
        match event {
            Event::Start => {
                stopped = false;
                session.handle_start(now);
            }
            Event::Stop => {
                stopped = true;
                session.handle_stop(now, 2, "bye");
            }
            Event::Connected(Dialled) => {
                if !driver.dialling {
                    continue;
                }
                driver.dialling = false;
                driver.dialled = true;
                session.handle_connected(now, Dialled);
            }
            Event::Connected(Accepted) => {
                if driver.accepted {
                    continue;
                }
                driver.accepted = true;
                session.handle_connected(now, Accepted);
            }
            Event::DialFailed => {
                driver.dialling = false;
                session.handle_dial_failed(now);
            }
            Event::Closed(on) => {
                *driver.open(on) = false;
                session.handle_closed(now, on);
            }
            Event::Octets(on, octets) => session.handle_octets(now, on, &octets),
            Event::SendUpdate => session.send_update(now, &update()),
            Event::Wait(millis) => {
                let later = now + Duration::from_millis(millis);
                now = session.poll_timeout().map_or(later, |timer| timer.min(later));
            }
            Event::Timeout => {
                if let Some(timer) = session.poll_timeout() {
                    now = timer;
                    session.handle_timeout(now);
                    assert!(session.poll_timeout().is_none_or(|next| next > now), "it spins");
                }
            }
        }
        while let Some(action) = session.poll_action() {
            driver.perform(action);
        }
        assert!(session.poll_timeout().is_none_or(|next| next >= now), "a timer of the past");
        let state = session.state();
        assert_eq!(driver.established.is_some(), state == StateName::Established);
        assert_eq!(driver.established, session.negotiated().map(|link| link.connection));
        assert_eq!(session.established_since().is_some(), state == StateName::Established);
        assert!(!(driver.dialling && driver.established.is_some()));
        assert_eq!(
            (driver.ups, driver.downs),
            (session.counters().established, session.counters().dropped)
        );
        if stopped {
            assert_eq!((state, session.poll_timeout()), (StateName::Idle, None));
            assert!(!driver.dialling && !driver.dialled && !driver.accepted);
        }
        if state == StateName::Connect {
            // Or what was dialled waits for the neighbor's OPEN.
            let waits = !session.config.delay_open.is_zero() && driver.dialled;
            assert!(driver.dialling || waits);
        }
        // Nothing is left behind: a session that is up or under way has a connection, an attempt,
        // or a time at which it tries again.
        if !stopped && !session.config.passive {
            let alive = driver.dialling || driver.dialled || driver.accepted;
            assert!(alive || session.poll_timeout().is_some(), "stuck in {state}");
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn no_sequence_of_events_confuses_a_session(
        passive in prop::bool::weighted(0.2),
        delayed in prop::bool::weighted(0.2),
        seed: u64,
        events in vec(event(), 0..120),
    ) {
        let delay_open = Duration::from_secs(if delayed { 20 } else { 0 });
        play(Config { delay_open, passive, seed, ..config() }, events);
    }

    #[test]
    fn no_octets_make_a_session_panic(
        before in 0..3usize,
        pieces in vec(vec(any::<u8>(), 0..60), 0..6),
        framed: bool,
    ) {
        let mut session = Session::new(config());
        session.handle_start(Instant::START);
        session.handle_connected(Instant::START, Dialled);
        let calm = [Message::Open(open()), Message::Keepalive];
        for message in &calm[..before] {
            session.handle_octets(Instant::START, Dialled, &emit(message));
        }
        for piece in pieces {
            // With a good header around them the octets reach the parsers of the bodies.
            let mut octets = Vec::new();
            if framed {
                octets.extend_from_slice(&[0xff; 16]);
                let len = u16::try_from(19 + piece.len()).unwrap();
                octets.extend_from_slice(&len.to_be_bytes());
                octets.push(piece.len().to_le_bytes()[0] % 6);
            }
            octets.extend_from_slice(&piece);
            session.handle_octets(Instant::START, Dialled, &octets);
        }
        // Nothing is said after the end.
        let actions = drain(&mut session);
        if let Some(end) = actions.iter().position(|action| *action == Action::Close(Dialled)) {
            prop_assert_eq!(end, actions.len() - 1);
            prop_assert!(matches!(session.state(), StateName::Idle | StateName::Active));
        }
    }
}

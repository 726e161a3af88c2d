//! The whole transition table: each state, each event, all actions in order, the state after and
//! the next timer. `transitions.txt` holds it; a change there is a change of behaviour. With
//! `UPDATE_SNAPSHOTS=1` in the environment the test writes the file anew, for a person to read.

use std::fmt::Write;

use super::*;

use Connection::{Accepted, Dialled};

/// Something that can happen to a session.
#[derive(Clone, Debug)]
enum Event {
    Start,
    Stop,
    Connected(Connection),
    DialFailed,
    Closed(Connection),
    Received(Connection, &'static str, Message),
    Garbage(Connection),
    /// An OPEN of version 3.
    BadOpen(Connection),
    /// TCP takes nothing more, and takes some again.
    WriteBlocked,
    WriteProgress,
    Timeout,
}

/// How each state is reached, one step after the other.
fn paths() -> Vec<(&'static str, Config, Vec<Event>)> {
    use Event::{Connected, DialFailed, Received, Start, Stop};
    let opened = |on| Received(on, "OPEN", Message::Open(open()));
    let kept = |on| Received(on, "KEEPALIVE", Message::Keepalive);
    let passive = Config { passive: true, ..config() };
    let confused = Received(Dialled, "UPDATE", Message::Update(update()));
    let fail = [Connected(Dialled), confused.clone(), Event::Timeout];
    let mut often = [vec![Start], [fail.clone(), fail.clone(), fail].concat()].concat();
    often.pop();
    vec![
        ("Idle, stopped", config(), vec![Start, Stop]),
        ("Idle after an error", config(), vec![Start, Connected(Dialled), confused.clone()]),
        ("Idle after three errors", config(), often),
        (
            "Idle after an error, the neighbor waits",
            config(),
            vec![Start, Connected(Dialled), confused, Connected(Accepted), opened(Accepted)],
        ),
        ("Connect", config(), vec![Start]),
        ("Active", config(), vec![Start, DialFailed]),
        ("Active, passive", passive.clone(), vec![Start]),
        ("Connect, our OPEN waits", patient(), vec![Start, Connected(Dialled)]),
        ("Active, our OPEN waits", patient(), vec![Start, DialFailed, Connected(Accepted)]),
        (
            "Active, our OPEN waits on both",
            patient(),
            vec![Start, Connected(Accepted), Connected(Dialled)],
        ),
        (
            "OpenSent, dialled; our OPEN waits on the accepted one",
            patient(),
            vec![Start, Connected(Dialled), Event::Timeout, Connected(Accepted)],
        ),
        ("OpenSent, dialled", config(), vec![Start, Connected(Dialled)]),
        ("OpenSent, accepted", config(), vec![Start, DialFailed, Connected(Accepted)]),
        ("OpenSent, accepted, still dialling", config(), vec![Start, Connected(Accepted)]),
        ("OpenSent, both", config(), vec![Start, Connected(Accepted), Connected(Dialled)]),
        ("OpenConfirm, dialled", config(), vec![Start, Connected(Dialled), opened(Dialled)]),
        (
            "OpenConfirm, dialled; OpenSent, accepted",
            config(),
            vec![Start, Connected(Dialled), Connected(Accepted), opened(Dialled)],
        ),
        (
            "OpenSent, both; the answer on the accepted one waits",
            config(),
            vec![Start, Connected(Dialled), Connected(Accepted), opened(Accepted)],
        ),
        (
            "OpenSent, both; the answer on the accepted one waits, the neighbor's is there",
            config(),
            vec![Start, Connected(Dialled), Connected(Accepted), opened(Accepted), kept(Accepted)],
        ),
        (
            "Established, dialled",
            config(),
            vec![Start, Connected(Dialled), opened(Dialled), kept(Dialled)],
        ),
        (
            "Established without keepalives, nothing is taken",
            Config { hold_time: Duration::ZERO, ..config() },
            vec![Start, Connected(Dialled), opened(Dialled), kept(Dialled), Event::WriteBlocked],
        ),
        (
            "Established, accepted",
            passive,
            vec![Start, Connected(Accepted), opened(Accepted), kept(Accepted)],
        ),
    ]
}

fn patient() -> Config {
    Config { delay_open: Duration::from_secs(10), ..config() }
}

fn events() -> Vec<Event> {
    let mut events = vec![
        Event::Start,
        Event::Stop,
        Event::Connected(Dialled),
        Event::Connected(Accepted),
        Event::DialFailed,
        Event::WriteBlocked,
        Event::WriteProgress,
        Event::Timeout,
    ];
    let error = Notification::new(error_code::UPDATE_MESSAGE, 3);
    for on in [Dialled, Accepted] {
        events.extend([
            Event::Closed(on),
            Event::Received(on, "OPEN", Message::Open(open())),
            Event::Received(on, "KEEPALIVE", Message::Keepalive),
            Event::Received(on, "UPDATE", Message::Update(update())),
            Event::Received(on, "ROUTE-REFRESH", Message::RouteRefresh(Family::Ipv6Unicast)),
            Event::Received(on, "Cease", Message::Notification(cease(6))),
            Event::Received(on, "NOTIFICATION", Message::Notification(error.clone())),
            Event::Garbage(on),
            Event::BadOpen(on),
        ]);
    }
    events
}

fn apply(session: &mut Session, now: Instant, event: &Event) -> Instant {
    match event {
        Event::Start => session.handle_start(now),
        Event::Stop => session.handle_stop(now, 2, "bye"),
        Event::Connected(on) => session.handle_connected(now, *on),
        Event::DialFailed => session.handle_dial_failed(now),
        Event::Closed(on) => session.handle_closed(now, *on),
        Event::Received(on, _, message) => session.handle_octets(now, *on, &emit(message)),
        Event::Garbage(on) => session.handle_octets(now, *on, &[0; 19]),
        Event::BadOpen(on) => {
            let mut octets = emit(&Message::Open(open()));
            octets[19] = 3;
            session.handle_octets(now, *on, &octets);
        }
        Event::WriteBlocked => session.handle_write_blocked(now),
        Event::WriteProgress => session.handle_write_progress(),
        Event::Timeout => {
            let now = session.poll_timeout().unwrap_or(now);
            session.handle_timeout(now);
            return now;
        }
    }
    now
}

fn event_in_words(event: &Event) -> String {
    match event {
        Event::Received(on, what, _) => format!("{what} ({on:?})"),
        Event::Connected(on) => format!("connected ({on:?})"),
        Event::Closed(on) => format!("closed ({on:?})"),
        Event::Garbage(on) => format!("garbage ({on:?})"),
        Event::BadOpen(on) => format!("bad OPEN ({on:?})"),
        Event::WriteBlocked => "write blocked".into(),
        Event::WriteProgress => "write progress".into(),
        Event::Start => "start".into(),
        Event::Stop => "stop".into(),
        Event::DialFailed => "dial failed".into(),
        Event::Timeout => "timeout".into(),
    }
}

fn action_in_words(action: &Action) -> String {
    match action {
        Action::Send(on, octets) => match Message::parse(octets, &context()).unwrap() {
            Message::Open(_) => format!("send OPEN ({on:?})"),
            Message::Keepalive => format!("send KEEPALIVE ({on:?})"),
            Message::Notification(n) => format!("send {}/{} ({on:?})", n.code, n.subcode),
            other => panic!("the machine does not send {other:?} by itself"),
        },
        Action::Dial => "dial".into(),
        Action::CancelDial => "cancel dial".into(),
        Action::Close(on) => format!("close ({on:?})"),
        Action::Established(link) => format!("ESTABLISHED ({:?})", link.connection),
        Action::Down(_) => "DOWN".into(),
        Action::Received(_) => "received".into(),
        Action::Update(_) => "update".into(),
        Action::RouteRefresh(family) => format!("refresh {family}"),
        Action::BeginningOfRouteRefresh(family) => format!("refresh of {family} begins"),
        Action::EndOfRouteRefresh(family) => format!("refresh of {family} ends"),
    }
}

/// Each step of a path is 100 ms after the one before, so that timers started at different steps
/// differ.
fn table() -> String {
    let mut table = String::new();
    for (name, config, path) in paths() {
        writeln!(table, "{name}").unwrap();
        for event in events() {
            let mut session = Session::new(config.clone());
            let mut now = Instant::START;
            for step in &path {
                now = now + Duration::from_millis(100);
                now = apply(&mut session, now, step);
            }
            drain(&mut session);
            let before = session.poll_timeout();
            now = now + Duration::from_millis(100);
            let now = apply(&mut session, now, &event);
            let actions: Vec<String> = drain(&mut session).iter().map(action_in_words).collect();
            let actions = if actions.is_empty() { "-".into() } else { actions.join(", ") };
            let timer = match session.poll_timeout() {
                None => "no timer".into(),
                unchanged if unchanged == before => "timer as before".into(),
                Some(at) => format!("timer in {:?}", at - now),
            };
            let event = event_in_words(&event);
            writeln!(table, "    {event:<26}{actions} → {}, {timer}", session.state()).unwrap();
        }
    }
    table
}

#[test]
fn each_event_in_each_state_does_what_the_table_says() {
    let got = table();
    if std::env::var_os("UPDATE_SNAPSHOTS").is_some() {
        let file = concat!(env!("CARGO_MANIFEST_DIR"), "/src/session/tests/transitions.txt");
        std::fs::write(file, &got).unwrap();
        return;
    }
    let want = include_str!("transitions.txt");
    let mut state = "";
    for (got, want) in got.lines().zip(want.lines()) {
        if !want.starts_with(' ') {
            state = want;
        }
        assert_eq!(got, want, "in {state}");
    }
    assert_eq!(got.len(), want.len(), "the table has as many rows as there are states and events");
}

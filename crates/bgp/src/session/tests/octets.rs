//! Octets cut anywhere, and octets that are no BGP.

use super::*;

use Connection::Dialled;

#[test]
fn how_tcp_cuts_the_octets_does_not_matter() {
    let script: Vec<u8> = [
        Message::Open(open()),
        Message::Keepalive,
        Message::Update(update()),
        Message::Keepalive,
        Message::RouteRefresh(Family::Ipv4Unicast),
        Message::Update(Update { end_of_rib: Some(Family::Ipv6Unicast), ..Update::default() }),
        Message::Notification(cease(2)),
        // What comes after the end is not read.
        Message::Update(update()),
    ]
    .iter()
    .flat_map(emit)
    .collect();
    let replay = |step: usize| {
        let mut session = Session::new(config());
        session.handle_start(Instant::START);
        session.handle_connected(Instant::START, Dialled);
        for octets in script.chunks(step) {
            session.handle_octets(Instant::START, Dialled, octets);
        }
        (drain(&mut session), *session.counters())
    };
    let (whole, counters) = replay(script.len());
    assert_eq!(whole.iter().filter(|action| matches!(action, Action::Update(_))).count(), 2);
    assert_eq!(whole.last(), Some(&Action::Close(Dialled)));
    assert_eq!((counters.messages_in, counters.updates_in), (7, 2));
    for step in 1..script.len() {
        assert_eq!(replay(step), (whole.clone(), counters), "{step} octets at a time");
    }
}

#[test]
fn faults_are_answered_by_their_notification() {
    let keepalive = emit(&Message::Keepalive);
    let with = |at: usize, octet: u8| {
        let mut wire = keepalive.clone();
        wire[at] = octet;
        wire
    };
    let unknown_version = {
        let mut wire = emit(&Message::Open(open()));
        wire[19] = 3;
        wire
    };
    // (what it shows, calm messages before, octets, code and subcode)
    let table = [
        ("marker before the OPEN", 0, with(0, 0), (1, 1)),
        ("length before the OPEN", 0, with(17, 18), (1, 2)),
        ("type before the OPEN", 0, with(18, 77), (1, 3)),
        ("BGP-3", 0, unknown_version, (2, 1)),
        ("KEEPALIVE for an OPEN", 0, keepalive.clone(), (5, 1)),
        ("marker in OpenConfirm", 1, with(15, 0xfe), (1, 1)),
        ("length in OpenConfirm", 1, with(17, 20), (1, 2)),
        ("UPDATE in OpenConfirm", 1, emit(&Message::Update(update())), (5, 2)),
        ("OPEN in OpenConfirm", 1, emit(&Message::Open(open())), (5, 2)),
        ("marker in Established", 2, with(7, 0), (1, 1)),
        ("more than 4096 octets", 2, with(16, 0x10), (1, 2)),
        ("type in Established", 2, with(18, 0), (1, 3)),
        ("OPEN in Established", 2, emit(&Message::Open(open())), (5, 3)),
    ];
    for (name, before, octets, (code, subcode)) in table {
        let mut session = Session::new(config());
        session.handle_start(Instant::START);
        session.handle_connected(Instant::START, Dialled);
        let calm = [Message::Open(open()), Message::Keepalive];
        for message in &calm[..before] {
            session.handle_octets(Instant::START, Dialled, &emit(message));
        }
        drain(&mut session);
        session.handle_octets(Instant::START, Dialled, &octets);
        let Some(DownReason::Sent(sent)) = session.last_error().cloned() else {
            panic!("{name}: {:?}", session.last_error());
        };
        assert_eq!((sent.code, sent.subcode), (code, subcode), "{name}");
        let mut want = vec![Action::Send(Dialled, emit(&Message::Notification(sent.clone())))];
        if before == 2 {
            want.push(Action::Down(DownReason::Sent(sent)));
        }
        want.push(Action::Close(Dialled));
        assert_eq!(drain(&mut session), want, "{name}");
        assert_eq!(session.state(), StateName::Idle, "{name}");
    }
}

#[test]
fn a_neighbor_that_waits_for_the_restart_cannot_fill_the_memory() {
    let mut session = established(config(), &open());
    session.handle_octets(at(1), Dialled, &[0; 19]);
    session.handle_connected(at(2), Connection::Accepted);
    drain(&mut session);
    session.handle_octets(at(3), Connection::Accepted, &[0xff; MAX_LEN]);
    assert_eq!(drain(&mut session), []);
    session.handle_octets(at(3), Connection::Accepted, &[0xff]);
    let refusal = Message::Notification(cease(cease_subcode::CONNECTION_REJECTED));
    let want =
        [Action::Send(Connection::Accepted, emit(&refusal)), Action::Close(Connection::Accepted)];
    assert_eq!(drain(&mut session), want);
}

//! What onlookers are given: messages and OPENs as they went over the wire.

use super::*;

use Connection::Dialled;

/// Everything until Established and one UPDATE, and what was received of it.
fn play(tap: bool) -> (Session, Vec<Vec<u8>>) {
    let mut session = Session::new(config());
    session.set_tap(tap);
    session.handle_start(Instant::START);
    session.handle_connected(Instant::START, Dialled);
    for message in script() {
        session.handle_octets(Instant::START, Dialled, &message);
    }
    let received = drain(&mut session).into_iter().filter_map(|action| match action {
        Action::Received(octets) => Some(octets),
        _ => None,
    });
    let received = received.collect();
    (session, received)
}

fn script() -> [Vec<u8>; 3] {
    [Message::Open(open()), Message::Keepalive, Message::Update(update())].map(|it| emit(&it))
}

#[test]
fn with_a_tap_each_message_is_given_out_as_it_came_and_without_one_none_is() {
    assert_eq!(play(true).1, script());
    assert_eq!(play(false).1, [[0_u8; 0]; 0]);
}

#[test]
fn the_opens_are_kept_as_they_were_while_the_session_is_established() {
    let (mut session, _) = play(false);
    let opens = session.opens().unwrap().clone();
    assert_eq!(opens.received, script()[0]);
    let Ok(Message::Open(sent)) = Message::parse(&opens.sent, &context()) else { panic!() };
    assert_eq!((sent.asn, sent.router_id), (LOCAL, config().router_id));
    session.handle_closed(at(1), Dialled);
    assert_eq!(session.opens(), None);
}

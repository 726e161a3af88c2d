//! What a session says of itself when it is asked.

use super::*;
use crate::message::Notification;

#[test]
fn timers_are_told_where_they_run() {
    let mut session = Session::new(config());
    assert_eq!(session.due(), Due::default(), "nothing runs before the start");
    session.handle_start(Instant::START);
    assert_eq!(session.due(), Due::default(), "an attempt to connect is on");
    session.handle_dial_failed(at(100));
    let retry = session.due().connect_retry.expect("another attempt is to come");
    assert!((at(850)..=at(1100)).contains(&retry), "{retry:?}");

    let session = established(config(), &open());
    let due = Due { hold: Some(at(90_000)), keepalive: Some(at(30_000)), connect_retry: None };
    assert_eq!(session.due(), due);
    let without = Config { hold_time: Duration::ZERO, ..config() };
    assert_eq!(established(without, &open()).due(), Due::default(), "no hold time, no timers");
}

#[test]
fn the_last_notification_each_way_is_kept_beyond_the_session() {
    let mut session = established(config(), &open());
    assert_eq!((session.last_sent(), session.last_received()), (None, None));
    let theirs = Notification::cease_with_message(cease_subcode::ADMINISTRATIVE_SHUTDOWN, "noon");
    let octets = emit(&Message::Notification(theirs.clone()));
    session.handle_octets(at(1000), Connection::Dialled, &octets);
    session.handle_stop(at(2000), cease_subcode::ADMINISTRATIVE_SHUTDOWN, "nobody hears this");
    assert_eq!((session.last_sent(), session.last_received()), (None, Some(&theirs)));

    let mut session = established(config(), &open());
    session.handle_stop(at(1000), cease_subcode::ADMINISTRATIVE_SHUTDOWN, "back at noon");
    let ours =
        Notification::cease_with_message(cease_subcode::ADMINISTRATIVE_SHUTDOWN, "back at noon");
    assert_eq!((session.last_sent(), session.last_received()), (Some(&ours), None));
    session.handle_start(at(2000));
    assert_eq!(session.last_sent(), Some(&ours));
}

#[test]
fn what_is_offered_and_what_is_in_force_is_told_in_words() {
    let session = established(config(), &open());
    let flags = ["route refresh", "extended messages", "four-octet AS numbers"];
    assert_eq!(session.offered().words(), [&["ipv4", "ipv6"][..], &flags].concat());
    let link = session.negotiated().expect("it is Established");
    assert_eq!(link.peer_capabilities.words(), ["ipv4", "ipv6", flags[0], flags[2]]);
    assert_eq!(link.words(), ["ipv4", "ipv6", flags[0], flags[2]]);
}

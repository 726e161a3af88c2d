//! A session that goes on in another process.

use super::*;

/// Two sessions that hear each other at once, `step` by `step`.
fn talk(left: &mut Session, right: &mut Session, from: u64, to: u64) -> Vec<Event> {
    let mut events = Vec::new();
    for now in (from..to).map(at) {
        for packet in transmissions(left, now) {
            let _ = right.handle_packet(now, &packet);
        }
        for packet in transmissions(right, now) {
            let _ = left.handle_packet(now, &packet);
        }
        left.handle_timeout(now);
        right.handle_timeout(now);
        events.extend(std::iter::from_fn(|| right.poll_event()));
    }
    events
}

fn two_that_are_up() -> (Session, Session) {
    let mut left = Session::new(config());
    let mut right = Session::new(Config { local_discriminator: THEIRS, ..config() });
    assert_eq!(talk(&mut left, &mut right, 0, 3000), [Event::Up]);
    while left.poll_event().is_some() {}
    (left, right)
}

#[test]
fn a_session_that_slowed_down_goes_on_elsewhere_after_two_seconds_of_silence() {
    let (mut left, mut right) = two_that_are_up();
    assert_eq!(right.status().detection_time, Some(ms(30)));
    left.slow_down(at(3000));
    assert!(!left.is_confirmed(), "the neighbor has not heard of it");
    assert_eq!(talk(&mut left, &mut right, 3000, 3200), []);
    assert!(left.is_confirmed());
    assert_eq!(right.status().detection_time, Some(ms(3000)));
    let carried = left.carry().expect("it is Up");
    drop(left);
    // Nobody is there, and the neighbor goes on speaking.
    for now in (3200..5200).map(at) {
        transmissions(&mut right, now);
        right.handle_timeout(now);
    }
    let fresh = Config { local_discriminator: NonZeroU32::new(77).unwrap(), ..config() };
    let mut left = Session::resume(at(5200), fresh, &carried);
    assert_eq!(left.local_discriminator(), OURS);
    assert_eq!(talk(&mut left, &mut right, 5200, 9000), [], "the neighbor notices nothing");
    assert_eq!((left.state(), right.state()), (State::Up, State::Up));
    assert_eq!(left.poll_event(), None, "nor does this end call it news");
    assert_eq!(right.status().detection_time, Some(ms(30)), "and is as quick as before");
    assert_eq!(left.status().detection_time, Some(ms(30)));
}

#[test]
fn one_that_goes_on_with_a_neighbor_that_has_died_meanwhile_notices_in_its_detection_time() {
    let (left, _) = two_that_are_up();
    let carried = left.carry().expect("it is Up");
    let mut left = Session::resume(at(4000), config(), &carried);
    left.handle_timeout(at(4029));
    assert_eq!(left.poll_event(), None);
    left.handle_timeout(at(4030));
    let why = Diagnostic::CONTROL_DETECTION_TIME_EXPIRED;
    assert_eq!(left.poll_event(), Some(Event::Down(why)));
}

#[test]
fn what_is_not_up_cannot_be_carried_over() {
    assert_eq!(Session::new(config()).carry(), None);
    assert!(Session::new(config()).is_confirmed(), "there is nobody to confirm anything");
}

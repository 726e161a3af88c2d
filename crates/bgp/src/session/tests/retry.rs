//! When a session tries again.

use super::*;

use Connection::{Accepted, Dialled};

/// How long the session waits now, in milliseconds.
fn wait(session: &Session, now: Instant) -> u128 {
    (session.poll_timeout().unwrap() - now).as_millis()
}

#[test]
fn waits_double_while_nobody_listens_and_start_anew_once_established() {
    let mut session = Session::new(config());
    let mut now = Instant::START;
    session.handle_start(now);
    for seconds in [1, 2, 4, 8, 16, 32, 64, 120, 120] {
        assert_eq!(session.state(), StateName::Connect);
        session.handle_dial_failed(now);
        assert_eq!(session.state(), StateName::Active);
        assert_eq!(session.last_error(), Some(&DownReason::DialFailed));
        assert!((750 * seconds..=1000 * seconds).contains(&wait(&session, now)));
        now = session.poll_timeout().unwrap();
        session.handle_timeout(now);
    }
    session.handle_connected(now, Dialled);
    for message in [Message::Open(open()), Message::Keepalive] {
        session.handle_octets(now, Dialled, &emit(&message));
    }
    session.handle_closed(now, Dialled);
    assert_eq!(session.state(), StateName::Idle);
    assert!((750..=1000).contains(&wait(&session, now)));
}

#[test]
fn an_attempt_without_an_answer_is_given_up_and_made_again() {
    let mut session = Session::new(config());
    let mut now = Instant::START;
    session.handle_start(now);
    assert_eq!(drain(&mut session), [Action::Dial]);
    for seconds in [5, 5, 5, 8, 16, 32, 64, 120, 120] {
        assert_eq!(wait(&session, now), 1000 * seconds);
        now = session.poll_timeout().unwrap();
        session.handle_timeout(now);
        assert_eq!(drain(&mut session), [Action::CancelDial, Action::Dial]);
        assert_eq!(session.state(), StateName::Connect);
    }
}

#[test]
fn a_neighbor_that_connects_while_the_session_rests_waits_for_the_first_back_off_at_most() {
    let mut session = Session::new(config());
    let mut now = Instant::START;
    session.handle_start(now);
    // Errors until the session rests for long.
    for _ in 0..8 {
        session.handle_connected(now, Dialled);
        session.handle_octets(now, Dialled, &emit(&Message::Keepalive));
        assert_eq!(session.state(), StateName::Idle);
        if wait(&session, now) > 60_000 {
            break;
        }
        now = session.poll_timeout().unwrap();
        session.handle_timeout(now);
    }
    assert!(wait(&session, now) > 60_000);
    drain(&mut session);
    session.handle_connected(now, Accepted);
    session.handle_octets(now, Accepted, &emit(&Message::Open(open())));
    assert_eq!(drain(&mut session), []);
    assert_eq!(wait(&session, now), 1000);
    session.handle_timeout(session.poll_timeout().unwrap());
    let want = [Message::Open(session.config.open(false)), Message::Keepalive];
    assert_eq!(drain(&mut session), want.map(|message| Action::Send(Accepted, emit(&message))));
    assert_eq!(session.state(), StateName::OpenConfirm);
}

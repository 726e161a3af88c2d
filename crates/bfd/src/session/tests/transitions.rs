//! The state machine in full (RFC 5880 §6.2, §6.8.6): each state, and all that can happen in it.

use super::*;
use State::*;

/// What a neighbor or the operator does.
#[derive(Clone, Copy, Debug)]
enum Input {
    Hears(State),
    DetectionTimePasses,
    Disables,
    Enables,
}

use Input::*;

/// State, diagnostic and exchange of a packet.
type Said = (State, Diagnostic, Exchange);

/// State, input; then the state after, the events, and the packets sent at once.
type Case = (State, Input, State, &'static [Event], &'static [Said]);

const NONE: Diagnostic = Diagnostic::NONE;
const EXPIRED: Diagnostic = Diagnostic::CONTROL_DETECTION_TIME_EXPIRED;
const SIGNALED: Diagnostic = Diagnostic::NEIGHBOR_SIGNALED_SESSION_DOWN;
const ADMIN: Diagnostic = Diagnostic::ADMINISTRATIVELY_DOWN;

#[test]
fn transitions() {
    use Exchange::{Plain, Poll};
    // While it was coming Up, or going down from it, our Desired Min TX Interval changed: hence the
    // Poll bit. At the detection time the neighbor is forgotten, and with it the poll; that we no
    // longer know its name is news in every state.
    #[rustfmt::skip]
    let table: &[Case] = &[
        (AdminDown, Hears(AdminDown), AdminDown, &[], &[]),
        (AdminDown, Hears(Down), AdminDown, &[], &[]),
        (AdminDown, Hears(Init), AdminDown, &[], &[]),
        (AdminDown, Hears(Up), AdminDown, &[], &[]),
        (AdminDown, DetectionTimePasses, AdminDown, &[], &[(AdminDown, ADMIN, Plain)]),
        (AdminDown, Disables, AdminDown, &[], &[]),
        (AdminDown, Enables, Down, &[], &[(Down, ADMIN, Plain)]),
        (Down, Hears(AdminDown), Down, &[], &[]),
        (Down, Hears(Down), Init, &[], &[(Init, NONE, Plain)]),
        (Down, Hears(Init), Up, &[Event::Up], &[(Up, NONE, Poll)]),
        (Down, Hears(Up), Down, &[], &[]),
        (Down, DetectionTimePasses, Down, &[], &[(Down, NONE, Plain)]),
        (Down, Disables, AdminDown, &[], &[(AdminDown, ADMIN, Plain)]),
        (Down, Enables, Down, &[], &[]),
        (Init, Hears(AdminDown), Down, &[], &[(Down, SIGNALED, Plain)]),
        (Init, Hears(Down), Init, &[], &[]),
        (Init, Hears(Init), Up, &[Event::Up], &[(Up, NONE, Poll)]),
        (Init, Hears(Up), Up, &[Event::Up], &[(Up, NONE, Poll)]),
        (Init, DetectionTimePasses, Down, &[], &[(Down, EXPIRED, Plain)]),
        (Init, Disables, AdminDown, &[], &[(AdminDown, ADMIN, Plain)]),
        (Init, Enables, Init, &[], &[]),
        (Up, Hears(AdminDown), Down, &[Event::AdminDown], &[(Down, SIGNALED, Poll)]),
        (Up, Hears(Down), Down, &[Event::Down(SIGNALED)], &[(Down, SIGNALED, Poll)]),
        (Up, Hears(Init), Up, &[], &[]),
        (Up, Hears(Up), Up, &[], &[]),
        (Up, DetectionTimePasses, Down, &[Event::Down(EXPIRED)], &[(Down, EXPIRED, Plain)]),
        (Up, Disables, AdminDown, &[Event::AdminDown], &[(AdminDown, ADMIN, Poll)]),
        (Up, Enables, Up, &[], &[]),
    ];
    assert_eq!(table.len(), 4 * 7, "every state × every input");
    for (before, input, after, want_events, want_said) in table {
        let name = format!("{before} × {input:?}");
        let mut session = session_in(config(), *before);
        let mut now = at(2);
        match input {
            Hears(state) => session.handle_packet(now, &from_neighbor(*state)).unwrap(),
            DetectionTimePasses => {
                now = at(31);
                session.handle_timeout(now);
            }
            Disables => session.admin_down(now),
            Enables => session.admin_up(now),
        }
        let sent = transmissions(&mut session, now);
        let said: Vec<Said> =
            sent.iter().map(|sent| (sent.state, sent.diagnostic, sent.exchange)).collect();
        assert_eq!(
            (session.state(), &events(&mut session)[..], &said[..]),
            (*after, *want_events, *want_said),
            "{name}"
        );
        let silent = matches!(input, DetectionTimePasses);
        assert_eq!(session.status().remote.is_none(), silent, "{name}");
        let heard = (!silent).then_some(THEIRS);
        for sent in sent {
            assert_eq!(sent.your_discriminator, heard, "{name}");
            assert_eq!(Control::parse(&sent.emit()), Ok(sent), "{name}");
        }
    }
}

#[test]
fn a_poll_is_answered_at_once_in_every_state_but_admin_down() {
    for state in State::ALL {
        let mut session = session_in(config(), state);
        let calm = match state {
            Up => Up,
            Init => Down,
            AdminDown | Down => AdminDown,
        };
        let poll = Control { exchange: Exchange::Poll, ..from_neighbor(calm) };
        session.handle_packet(at(2), &poll).unwrap();
        let answers: Vec<_> =
            transmissions(&mut session, at(2)).iter().map(|sent| sent.exchange).collect();
        let want: &[_] = if state == AdminDown { &[] } else { &[Exchange::Final] };
        assert_eq!(answers, want, "{state}");
    }
}

#[test]
fn a_packet_for_another_session_changes_nothing() {
    for state in State::ALL {
        let mut session = session_in(config(), state);
        let before = session.status();
        let stray = Control { your_discriminator: NonZeroU32::new(77), ..from_neighbor(Down) };
        let refused = session.handle_packet(at(2), &stray);
        assert_eq!(
            refused,
            Err(super::super::Refused::Discriminator(NonZeroU32::new(77).unwrap()))
        );
        let mut after = session.status();
        assert_eq!(after.counters.packets_refused, 1);
        after.counters.packets_refused = 0;
        assert_eq!(after, before, "{state}");
        assert_eq!(transmissions(&mut session, at(2)), [], "{state}");
        assert_eq!(events(&mut session), [], "{state}");
    }
}

#[test]
fn a_neighbor_that_has_not_heard_us_restarted() {
    let mut session = session_in(config(), Up);
    let name = NonZeroU32::new(99).unwrap();
    let born = Control { my_discriminator: name, your_discriminator: None, ..from_neighbor(Down) };
    session.handle_packet(at(2), &born).unwrap();
    assert_eq!(events(&mut session), [Event::Down(SIGNALED)]);
    assert_eq!(transmissions(&mut session, at(2))[0].your_discriminator, Some(name));
}

//! DelayOpenTime: who waits for the neighbor's OPEN before sending one (RFC 4271 §8.2.1.3).

use super::*;

use Connection::{Accepted, Dialled};

fn patient() -> Config {
    Config { delay_open: Duration::from_secs(10), ..config() }
}

/// The messages that were sent, by type, and what was closed.
fn said(session: &mut Session) -> Vec<String> {
    drain(session)
        .iter()
        .filter_map(|action| match action {
            Action::Send(on, octets) => Some(format!("{on:?} sends {}", octets[18])),
            Action::Close(on) => Some(format!("{on:?} closed")),
            _ => None,
        })
        .collect()
}

#[test]
fn our_open_waits_for_the_delay_and_no_longer() {
    let mut session = Session::new(patient());
    session.handle_start(at(0));
    session.handle_connected(at(100), Dialled);
    assert_eq!((session.state(), said(&mut session).len()), (StateName::Connect, 0));
    assert_eq!(session.poll_timeout(), Some(at(10_100)));
    session.handle_timeout(at(10_099));
    assert_eq!((session.state(), said(&mut session).len()), (StateName::Connect, 0));
    session.handle_timeout(at(10_100));
    assert_eq!(said(&mut session), ["Dialled sends 1"]);
    assert_eq!(session.state(), StateName::OpenSent);
}

#[test]
fn the_neighbors_open_ends_the_delay_at_once() {
    for on in [Dialled, Accepted] {
        let mut session = Session::new(patient());
        session.handle_start(at(0));
        if on == Accepted {
            session.handle_dial_failed(at(50));
        }
        session.handle_connected(at(100), on);
        let waits = if on == Dialled { StateName::Connect } else { StateName::Active };
        assert_eq!(session.state(), waits);
        drain(&mut session);
        session.handle_octets(at(200), on, &emit(&Message::Open(open())));
        assert_eq!(said(&mut session), [1, 4].map(|kind| format!("{on:?} sends {kind}")));
        assert_eq!(session.state(), StateName::OpenConfirm);
        session.handle_octets(at(300), on, &emit(&Message::Keepalive));
        assert_eq!(session.state(), StateName::Established);
    }
}

#[test]
fn a_connection_that_waits_is_closed_when_the_other_is_agreed_on() {
    let mut session = Session::new(patient());
    session.handle_start(at(0));
    session.handle_connected(at(100), Accepted);
    session.handle_connected(at(200), Dialled);
    drain(&mut session);
    session.handle_octets(at(300), Accepted, &emit(&Message::Open(open())));
    assert_eq!(said(&mut session), ["Accepted sends 1", "Dialled closed", "Accepted sends 4"]);
}

#[test]
fn without_a_delay_the_open_goes_out_with_the_connection() {
    let mut session = Session::new(config());
    session.handle_start(at(0));
    session.handle_connected(at(100), Dialled);
    assert_eq!(said(&mut session), ["Dialled sends 1"]);
}

//! What the tests of a session have in common.

mod properties;
mod resume;
mod rules;
mod simulation;
mod transitions;

use std::num::{NonZeroU8, NonZeroU32};
use std::time::Duration;

use super::{Config, Event, Session};
use crate::iana::{Diagnostic, State};
use crate::packet::{Control, Exchange, Interval};
use crate::time::Instant;

const OURS: NonZeroU32 = NonZeroU32::new(1).unwrap();
const THEIRS: NonZeroU32 = NonZeroU32::new(2).unwrap();
const THREE: NonZeroU8 = NonZeroU8::new(3).unwrap();

fn at(millis: u64) -> Instant {
    Instant::from_start(ms(millis))
}

fn ms(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

/// Three times 10 ms, active, single hop.
fn config() -> Config {
    Config {
        local_discriminator: OURS,
        desired_min_tx: ms(10),
        required_min_rx: ms(10),
        multiplier: THREE,
        passive: false,
        multihop: false,
        seed: 1,
    }
}

/// What a neighbor with the same wishes says in `state`, having heard us.
fn from_neighbor(state: State) -> Control {
    Control {
        diagnostic: Diagnostic::NONE,
        state,
        exchange: Exchange::Plain,
        control_plane_independent: false,
        demand: false,
        detect_mult: THREE,
        my_discriminator: THEIRS,
        your_discriminator: Some(OURS),
        desired_min_tx: Interval(10_000),
        required_min_rx: Interval(10_000),
        required_min_echo_rx: Interval::ZERO,
    }
}

/// All that is to be sent at `now`.
fn transmissions(session: &mut Session, now: Instant) -> Vec<Control> {
    std::iter::from_fn(|| session.poll_transmit(now)).collect()
}

fn events(session: &mut Session) -> Vec<Event> {
    std::iter::from_fn(|| session.poll_event()).collect()
}

/// A session that the neighbor brought into `state` at 1 ms, everything drained.
fn session_in(config: Config, state: State) -> Session {
    let mut session = Session::new(config);
    let before: &[State] = match state {
        State::AdminDown | State::Down => &[State::AdminDown],
        State::Init => &[State::Down],
        State::Up => &[State::Down, State::Up],
    };
    for state in before {
        session.handle_packet(at(1), &from_neighbor(*state)).unwrap();
    }
    if state == State::AdminDown {
        session.admin_down(at(1));
    }
    transmissions(&mut session, at(1));
    events(&mut session);
    assert_eq!(session.state(), state);
    session
}

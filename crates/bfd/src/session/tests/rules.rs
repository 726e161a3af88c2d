//! Rules of RFC 5880 §6.8 that one session shows by itself.

use super::*;

/// Sleeps and wakes as a driver does until `end`; what is sent, and when.
fn run(session: &mut Session, end: Instant) -> Vec<(Instant, Control)> {
    let mut sent = Vec::new();
    while let Some(now) = session.poll_timeout().filter(|at| *at <= end) {
        session.handle_timeout(now);
        sent.extend(transmissions(session, now).into_iter().map(|control| (now, control)));
    }
    sent
}

#[test]
fn a_session_that_is_not_up_sends_once_a_second_less_jitter() {
    let mut session = Session::new(config());
    assert_eq!(transmissions(&mut session, at(0)).len(), 1);
    let mut last = at(0);
    let sent = run(&mut session, at(60_000));
    assert!(sent.len() >= 60);
    for (now, control) in sent {
        assert!((ms(750)..=ms(1000)).contains(&(now - last)), "{last:?} {now:?}");
        assert_eq!(control.desired_min_tx, Interval(1_000_000));
        assert_eq!(control.required_min_rx, Interval(10_000));
        assert_eq!(control.your_discriminator, None);
        last = now;
    }
}

#[test]
fn an_operator_may_be_slower_than_slow() {
    let mut session = Session::new(Config { desired_min_tx: ms(5000), ..config() });
    assert_eq!(transmissions(&mut session, at(0))[0].desired_min_tx, Interval(5_000_000));
    assert_eq!(session.status().tx_interval, Some(ms(5000)));
}

#[test]
fn a_multiplier_of_one_leaves_a_tenth_of_the_interval_free() {
    let mut session = Session::new(Config { multiplier: NonZeroU8::MIN, ..config() });
    transmissions(&mut session, at(0));
    let mut last = at(0);
    for (now, _) in run(&mut session, at(600_000)) {
        assert!((ms(750)..=ms(900)).contains(&(now - last)));
        last = now;
    }
}

#[test]
fn the_slower_side_sets_the_pace_in_each_direction() {
    // (our desired, our required, their desired, their required, our interval, detection time)
    for (ours, theirs, interval, detection_time) in [
        ((10, 10), (10, 10), 10, 30),
        ((10, 10), (10, 200), 200, 30),
        ((50, 10), (10, 20), 50, 30),
        ((10, 40), (10, 10), 10, 120),
        ((10, 40), (70, 10), 10, 210),
    ] {
        let mut session = session_in(
            Config { desired_min_tx: ms(ours.0), required_min_rx: ms(ours.1), ..config() },
            State::Up,
        );
        let packet = Control {
            desired_min_tx: Interval::saturating_from(ms(theirs.0)),
            required_min_rx: Interval::saturating_from(ms(theirs.1)),
            ..from_neighbor(State::Up)
        };
        session.handle_packet(at(2), &packet).unwrap();
        let status = session.status();
        assert_eq!(
            (status.tx_interval, status.detection_time),
            (Some(ms(interval)), Some(ms(detection_time))),
            "{ours:?} {theirs:?}"
        );
    }
}

#[test]
fn the_detection_time_expires_on_the_nanosecond() {
    let mut session = session_in(config(), State::Up);
    let expiry = at(1) + ms(30);
    session.handle_timeout(at(1) + Duration::from_nanos(29_999_999));
    assert_eq!(events(&mut session), []);
    session.handle_timeout(expiry);
    let expired = Diagnostic::CONTROL_DETECTION_TIME_EXPIRED;
    assert_eq!(events(&mut session), [Event::Down(expired)]);
    assert_eq!(session.status().last_down, Some(expired));
}

#[test]
fn a_packet_that_the_driver_brings_late_still_counts() {
    let mut session = session_in(config(), State::Up);
    session.handle_packet(at(50), &from_neighbor(State::Up)).unwrap();
    session.handle_timeout(at(50));
    assert_eq!((session.state(), events(&mut session)), (State::Up, vec![]));
}

#[test]
fn a_neighbor_that_wants_no_packets_gets_none_but_answers_and_news() {
    let mut session = session_in(config(), State::Up);
    let quiet = Control { required_min_rx: Interval::ZERO, ..from_neighbor(State::Up) };
    session.handle_packet(at(2), &quiet).unwrap();
    assert_eq!(run(&mut session, at(30)), []);
    let poll = Control { exchange: Exchange::Poll, ..quiet };
    session.handle_packet(at(30), &poll).unwrap();
    assert_eq!(transmissions(&mut session, at(30))[0].exchange, Exchange::Final);
    assert_eq!(run(&mut session, at(59)), []);
    // Forgotten, it is spoken to again.
    session.handle_timeout(at(60));
    assert_eq!(transmissions(&mut session, at(60))[0].state, State::Down);
    assert!(!run(&mut session, at(2000)).is_empty());
}

#[test]
fn a_shorter_interval_of_the_neighbor_is_honored_at_once() {
    let mut session = session_in(config(), State::Up);
    let slow = Control {
        required_min_rx: Interval(500_000),
        desired_min_tx: Interval(500_000),
        ..from_neighbor(State::Up)
    };
    session.handle_packet(at(2), &slow).unwrap();
    assert_eq!(run(&mut session, at(300)), []);
    session.handle_packet(at(300), &from_neighbor(State::Up)).unwrap();
    assert_eq!(transmissions(&mut session, at(300)).len(), 1, "10 ms have long passed");
}

#[test]
fn demand_mode_stops_periodic_packets_while_both_are_up_and_nothing_is_polled() {
    let mut session = session_in(config(), State::Up);
    let demand = Control { demand: true, ..from_neighbor(State::Up) };
    session.handle_packet(at(2), &demand).unwrap();
    let polls = run(&mut session, at(31));
    assert!(polls.len() >= 2, "our poll still goes out periodically");
    assert!(polls.iter().all(|(_, control)| control.exchange == Exchange::Poll));
    session.handle_packet(at(31), &Control { exchange: Exchange::Final, ..demand }).unwrap();
    assert_eq!(transmissions(&mut session, at(31)), []);
    assert_eq!(run(&mut session, at(60)), []);
    assert_eq!(session.status().tx_interval, None);
    session.handle_packet(at(60), &from_neighbor(State::Up)).unwrap();
    assert_eq!(transmissions(&mut session, at(60)).len(), 1);
    // Not Up on its side: not in force.
    session.handle_packet(at(61), &Control { demand: true, ..from_neighbor(State::Init) }).unwrap();
    assert_eq!(session.status().tx_interval, Some(ms(10)));
}

#[test]
fn the_passive_side_speaks_when_spoken_to_and_falls_silent_with_the_neighbor() {
    let mut session = Session::new(Config { passive: true, ..config() });
    assert_eq!(transmissions(&mut session, at(0)), []);
    assert_eq!(session.poll_timeout(), None);
    session.handle_packet(at(5), &from_neighbor(State::Down)).unwrap();
    let [first] = transmissions(&mut session, at(5))[..] else { panic!("one packet") };
    assert_eq!((first.state, first.your_discriminator), (State::Init, Some(THEIRS)));
    session.handle_timeout(at(35));
    assert_eq!(session.state(), State::Down);
    assert_eq!(transmissions(&mut session, at(35)), []);
    assert_eq!(session.poll_timeout(), None);
}

#[test]
fn admin_down_is_told_for_three_slow_intervals_and_then_there_is_silence() {
    let mut session = session_in(config(), State::Up);
    session.admin_down(at(10));
    let mut sent: Vec<_> =
        transmissions(&mut session, at(10)).into_iter().map(|control| (at(10), control)).collect();
    sent.extend(run(&mut session, at(100_000)));
    assert!((4..=5).contains(&sent.len()), "{}", sent.len());
    assert!(sent.iter().all(|(now, control)| {
        control.state == State::AdminDown
            && control.diagnostic == Diagnostic::ADMINISTRATIVELY_DOWN
            && *now <= at(3010)
    }));
    assert_eq!(session.poll_timeout(), None);
    assert_eq!(events(&mut session), [Event::AdminDown]);
    session.admin_up(at(200_000));
    assert_eq!(transmissions(&mut session, at(200_000))[0].state, State::Down);
    assert!(session.poll_timeout().is_some());
}

#[test]
fn a_longer_interval_of_ours_waits_for_the_final_and_a_shorter_one_does_not() {
    let mut session = session_in(config(), State::Up);
    let last = Control { exchange: Exchange::Final, ..from_neighbor(State::Up) };
    session.handle_packet(at(2), &last).unwrap();
    session.handle_packet(at(5), &from_neighbor(State::Up)).unwrap();
    assert!(!session.status().polling);

    session.set_timing(at(6), ms(100), ms(5), THREE);
    let [told] = transmissions(&mut session, at(6))[..] else { panic!("one packet") };
    assert_eq!(
        (told.exchange, told.desired_min_tx, told.required_min_rx),
        (Exchange::Poll, Interval(100_000), Interval(5_000))
    );
    let status = session.status();
    assert_eq!((status.tx_interval, status.detection_time), (Some(ms(10)), Some(ms(30))));
    let fast = Control { desired_min_tx: Interval(5_000), ..from_neighbor(State::Up) };
    session.handle_packet(at(8), &fast).unwrap();
    assert_eq!(session.status().detection_time, Some(ms(30)), "not before the Final");
    session.handle_packet(at(9), &Control { exchange: Exchange::Final, ..fast }).unwrap();
    let status = session.status();
    assert_eq!((status.tx_interval, status.detection_time), (Some(ms(100)), Some(ms(15))));
    assert!(!status.polling);

    session.handle_packet(at(13), &fast).unwrap();
    session.set_timing(at(14), ms(10), ms(50), THREE);
    let status = session.status();
    assert_eq!((status.tx_interval, status.detection_time), (Some(ms(10)), Some(ms(150))));
    assert!(status.polling);
}

#[test]
fn a_driver_that_wakes_late_does_not_slow_the_session_down() {
    let mut session = session_in(config(), State::Up);
    let mut now = at(1);
    let mut sent = 0;
    while now < at(10_001) {
        now = session.poll_timeout().unwrap() + Duration::from_micros(900);
        session.handle_packet(now, &from_neighbor(State::Up)).unwrap();
        session.handle_timeout(now);
        sent += transmissions(&mut session, now).len();
    }
    // 10 s at 8.75 ms on the average.
    assert!((1100..=1180).contains(&sent), "{sent}");
}

#[test]
fn wishes_that_the_wire_cannot_carry_become_the_nearest_that_it_can() {
    let extreme =
        Config { desired_min_tx: Duration::MAX, required_min_rx: Duration::ZERO, ..config() };
    let told = transmissions(&mut Session::new(extreme), at(0))[0];
    assert_eq!((told.desired_min_tx, told.required_min_rx), (Interval(u32::MAX), Interval(1)));
}

#[test]
fn hops_decide_the_port() {
    for (multihop, port) in [(false, 3784), (true, 4784)] {
        assert_eq!(Session::new(Config { multihop, ..config() }).destination_port(), port);
    }
}

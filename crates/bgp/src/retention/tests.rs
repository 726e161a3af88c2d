//! A neighbor that goes and comes, in virtual time: all that is to be done, on both sides of each
//! threshold.

use std::net::Ipv4Addr;

use Family::{Ipv4Unicast as V4, Ipv6Unicast as V6};
use Step::{Drop, LongLived as Last, Mark};

use super::*;
use crate::message::{Capabilities, Context, GracefulRestart, LongLived, Preserved};
use crate::session::Connection;

const LIMITS: Limits =
    Limits { stale: Duration::from_secs(60), long_lived: Duration::from_secs(1000) };

fn at(seconds: u64) -> Instant {
    Instant::from_start(Duration::from_secs(seconds))
}

/// Families, and of each whether its forwarding was preserved.
type Families = &'static [(Family, bool)];

/// What a neighbor offers: seconds and families for each kind.
#[derive(Clone, Copy)]
struct Offered {
    restart: Option<(u64, Families)>,
    notification: bool,
    long_lived: Option<(u64, Families)>,
}

const PLAIN: Offered = Offered {
    restart: Some((30, &[(V4, true), (V6, true)])),
    notification: false,
    long_lived: None,
};

fn link(offered: Offered) -> Established {
    let restart = offered.restart.map(|(seconds, families)| GracefulRestart {
        restarted: false,
        notification: offered.notification,
        restart_time: Duration::from_secs(seconds),
        families: families
            .iter()
            .map(|(family, forwarding)| Preserved { family: *family, forwarding: *forwarding })
            .collect(),
    });
    let long_lived = offered.long_lived.map(|(seconds, families)| {
        let one = |(family, forwarding): &(Family, bool)| LongLived {
            family: *family,
            forwarding: *forwarding,
            stale_time: Duration::from_secs(seconds),
        };
        families.iter().map(one).collect()
    });
    Established {
        connection: Connection::Dialled,
        peer_router_id: Ipv4Addr::new(192, 0, 2, 1),
        hold_time: Duration::from_secs(90),
        families: vec![V4, V6],
        route_refresh: true,
        peer_role: None,
        peer_capabilities: Capabilities {
            graceful_restart: restart,
            long_lived_graceful_restart: long_lived,
            ..Capabilities::default()
        },
        context: Context::new(true),
    }
}

/// One that was Established at the start with a neighbor that offered this.
fn met(offered: Offered) -> Retention {
    let mut retention = Retention::new(Some(LIMITS));
    assert_eq!(retention.handle_established(at(0), &link(offered)), []);
    retention
}

fn lose(retention: &mut Retention, now: Instant) -> Loss {
    retention.handle_down(now, &DownReason::ConnectionClosed, false)
}

fn keep(families: &[Family]) -> Loss {
    Loss { first: Vec::new(), keep: families.to_vec() }
}

/// What is done at each of these times, `handle_timeout` called whenever it asks for it.
fn pass(retention: &mut Retention, until: Instant) -> Vec<(u64, Step)> {
    let mut done = Vec::new();
    while let Some(now) = retention.poll_timeout().filter(|due| *due <= until) {
        let steps = retention.handle_timeout(now);
        assert!(!steps.is_empty(), "it asks for a call that does nothing");
        done.extend(steps.into_iter().map(|step| (now.since_start().as_secs(), step)));
    }
    assert_eq!(retention.handle_timeout(until), []);
    done
}

#[test]
fn routes_stay_for_the_restart_time_and_no_longer() {
    // (what it asks for in seconds, what it gets)
    for (asked, gets) in [(1, 1), (30, 30), (60, 60), (61, 60), (4095, 60)] {
        let mut retention = met(Offered { restart: Some((asked, &[(V4, true)])), ..PLAIN });
        assert_eq!(lose(&mut retention, at(5)), keep(&[V4]), "IPv6 is not preserved");
        assert_eq!(pass(&mut retention, at(5 + gets - 1)), []);
        assert_eq!(pass(&mut retention, at(5000)), [(5 + gets, Drop(V4))], "{asked}");
    }
}

#[test]
fn who_asks_for_nothing_or_gets_nothing_loses_its_routes_at_once() {
    let helper = Offered { restart: Some((30, &[])), ..PLAIN };
    let none = Offered { restart: None, ..PLAIN };
    let at_once = Offered { restart: Some((0, &[(V4, true)])), ..PLAIN };
    let orphan = Offered { restart: None, long_lived: Some((99, &[(V4, true)])), ..PLAIN };
    for offered in [helper, none, at_once, orphan] {
        let mut retention = met(offered);
        assert_eq!(lose(&mut retention, at(5)), Loss::default());
        assert_eq!(retention.poll_timeout(), None);
    }
    let mut off = Retention::new(None);
    assert_eq!(off.handle_established(at(0), &link(PLAIN)), []);
    assert_eq!(lose(&mut off, at(5)), Loss::default());
}

/// RFC 4724 §4, RFC 8538 §4, and what we keep less than those.
#[test]
fn how_it_ended_decides_whether_anything_is_kept() {
    use cease_subcode::*;
    let cease = |subcode| Notification::new(error_code::CEASE, subcode);
    let expired = Notification::new(error_code::HOLD_TIMER_EXPIRED, 0);
    let update = Notification::new(error_code::UPDATE_MESSAGE, 1);
    let received = DownReason::Received;
    let sent = DownReason::Sent;
    // (how, kept without the N bit, kept with it)
    let table = [
        (DownReason::ConnectionClosed, true, true),
        (received(expired.clone()), false, true),
        (sent(expired), false, true),
        (received(update.clone()), false, true),
        (sent(update), false, true),
        (received(cease(ADMINISTRATIVE_RESET)), false, true),
        (received(cease(OUT_OF_RESOURCES)), false, true),
        (received(cease(HARD_RESET)), false, false),
        (received(cease(ADMINISTRATIVE_SHUTDOWN)), false, false),
        (received(cease(PEER_DE_CONFIGURED)), false, false),
        (received(cease(MAXIMUM_NUMBER_OF_PREFIXES_REACHED)), false, false),
        (received(cease(BFD_DOWN)), false, false),
        (sent(cease(ADMINISTRATIVE_RESET)), false, false),
        (sent(cease(HARD_RESET)), false, false),
        (sent(cease(BFD_DOWN)), false, false),
    ];
    for (reason, without, with) in table {
        for (notification, kept) in [(false, without), (true, with)] {
            let mut retention = met(Offered { notification, ..PLAIN });
            let want = if kept { keep(&[V4, V6]) } else { Loss::default() };
            assert_eq!(retention.handle_down(at(5), &reason, false), want, "{reason}");
            let mut retention = met(Offered { notification, ..PLAIN });
            let dead = retention.handle_down(at(5), &reason, true);
            assert_eq!(dead, Loss::default(), "{reason}, its forwarding gone");
        }
    }
}

#[test]
fn what_is_not_sent_again_goes_with_the_end_of_rib_or_when_that_does_not_come() {
    let mut retention = met(PLAIN);
    lose(&mut retention, at(5));
    assert_eq!(retention.handle_established(at(34), &link(PLAIN)), []);
    assert_eq!(retention.handle_end_of_rib(V4), Some(Drop(V4)));
    assert_eq!(retention.handle_end_of_rib(V4), None, "once");
    assert_eq!(pass(&mut retention, at(34 + 59)), []);
    assert_eq!(pass(&mut retention, at(5000)), [(34 + 60, Drop(V6))]);
}

#[test]
fn a_family_whose_forwarding_was_not_preserved_goes_when_the_neighbor_is_back() {
    /// (what it offers when it is back, what goes)
    type Row = (Option<(u64, Families)>, &'static [Step]);
    let both: &[_] = &[(V4, true), (V6, true)];
    let table: [Row; 4] = [
        (Some((30, both)), &[]),
        (Some((30, &[(V4, true), (V6, false)])), &[Drop(V6)]),
        (Some((30, &[(V6, true)])), &[Drop(V4)]),
        (None, &[Drop(V4), Drop(V6)]),
    ];
    for (restart, steps) in table {
        let mut retention = met(PLAIN);
        lose(&mut retention, at(5));
        let back = link(Offered { restart, ..PLAIN });
        assert_eq!(retention.handle_established(at(10), &back), steps, "{restart:?}");
    }
}

#[test]
fn a_second_loss_takes_what_was_stale_already() {
    let mut retention = met(PLAIN);
    lose(&mut retention, at(5));
    retention.handle_established(at(10), &link(PLAIN));
    retention.handle_end_of_rib(V6);
    let loss = Loss { first: vec![Drop(V4)], keep: vec![V4, V6] };
    assert_eq!(lose(&mut retention, at(12)), loss);
    assert_eq!(pass(&mut retention, at(5000)), [(42, Drop(V4)), (42, Drop(V6))]);
}

const LONG: Offered = Offered { long_lived: Some((500, &[(V4, true)])), ..PLAIN };

#[test]
fn after_the_restart_time_routes_are_a_last_resort_for_the_long_lived_time() {
    // (what it asks for, what it gets)
    for (asked, gets) in [(1, 1), (500, 500), (1000, 1000), (1001, 1000), (1 << 20, 1000)] {
        let mut retention = met(Offered { long_lived: Some((asked, &[(V4, true)])), ..PLAIN });
        assert_eq!(lose(&mut retention, at(5)), keep(&[V4, V6]));
        assert_eq!(
            pass(&mut retention, at(100_000)),
            [(35, Last(V4)), (35, Drop(V6)), (35 + gets, Drop(V4))]
        );
    }
}

#[test]
fn without_a_restart_time_they_are_a_last_resort_at_once() {
    for restart in [Some((0, &[(V4, true)][..])), Some((30, &[][..]))] {
        let mut retention = met(Offered { restart, ..LONG });
        assert_eq!(lose(&mut retention, at(5)), keep(&[V4]));
        assert_eq!(pass(&mut retention, at(5000)), [(5, Last(V4)), (505, Drop(V4))]);
    }
}

#[test]
fn a_neighbor_that_is_back_after_long_must_have_preserved_its_forwarding_and_then_sends_all() {
    let gone = Offered { long_lived: Some((500, &[(V4, false)])), ..PLAIN };
    for (back, steps) in [(LONG, &[][..]), (gone, &[Drop(V4)]), (PLAIN, &[Drop(V4)])] {
        let mut retention = met(LONG);
        lose(&mut retention, at(5));
        pass(&mut retention, at(100));
        assert_eq!(retention.handle_established(at(100), &link(back)), steps);
        let end = retention.handle_end_of_rib(V4);
        assert_eq!(end, steps.is_empty().then_some(Drop(V4)));
        assert_eq!(retention.poll_timeout(), None);
    }
}

/// RFC 9494 §4.2: the time does not begin anew until all was sent.
#[test]
fn a_loss_while_a_last_resort_does_not_begin_the_time_anew() {
    let mut retention = met(LONG);
    lose(&mut retention, at(5));
    pass(&mut retention, at(100));
    retention.handle_established(at(100), &link(LONG));
    assert_eq!(lose(&mut retention, at(200)), keep(&[V4, V6]));
    assert_eq!(pass(&mut retention, at(5000)), [(230, Last(V4)), (230, Drop(V6)), (535, Drop(V4))]);

    // And one that outlasts it leaves nothing.
    retention.handle_established(at(5000), &link(LONG));
    lose(&mut retention, at(5000));
    pass(&mut retention, at(5100));
    retention.handle_established(at(5100), &link(LONG));
    lose(&mut retention, at(5520));
    assert_eq!(pass(&mut retention, at(9999)), [(5530, Drop(V4)), (5550, Drop(V6))]);
}

#[test]
fn a_refresh_takes_what_is_not_sent_again_at_its_end_or_after_six_minutes() {
    let mut retention = met(PLAIN);
    assert_eq!(retention.handle_end_of_refresh(V4), None, "no end without a beginning");
    for family in [V4, V6] {
        assert_eq!(retention.handle_beginning_of_refresh(at(5), family), Some(Mark(family)));
    }
    assert_eq!(retention.handle_end_of_rib(V4), None);
    assert_eq!(retention.handle_end_of_refresh(V4), Some(Drop(V4)));
    assert_eq!(pass(&mut retention, at(364)), []);
    assert_eq!(pass(&mut retention, at(5000)), [(365, Drop(V6))]);
    // A second beginning marks all once more.
    retention.handle_beginning_of_refresh(at(5000), V4);
    assert_eq!(retention.handle_beginning_of_refresh(at(5001), V4), Some(Mark(V4)));
}

#[test]
fn a_refresh_before_the_end_of_rib_changes_nothing() {
    let mut retention = met(PLAIN);
    lose(&mut retention, at(5));
    retention.handle_established(at(10), &link(PLAIN));
    assert_eq!(retention.handle_beginning_of_refresh(at(11), V4), None);
    assert_eq!(retention.handle_end_of_refresh(V4), None);
    assert_eq!(retention.handle_end_of_rib(V4), Some(Drop(V4)));
}

#[test]
fn a_loss_within_a_refresh_keeps_what_was_not_refreshed_yet() {
    let mut retention = met(PLAIN);
    retention.handle_beginning_of_refresh(at(5), V4);
    assert_eq!(lose(&mut retention, at(6)), keep(&[V4, V6]));
}

#[test]
fn nobody_waits_for_a_neighbor_that_was_given_up() {
    let mut retention = met(LONG);
    lose(&mut retention, at(5));
    retention.give_up();
    assert_eq!((retention.poll_timeout(), retention.state(V4)), (None, None));
}

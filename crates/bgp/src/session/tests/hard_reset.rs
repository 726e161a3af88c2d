//! How an operator's end is told to a neighbor that asks us to keep its routes (RFC 8538 §3).

use super::*;
use crate::message::{GracefulRestart, Preserved};
use crate::retention::Limits;

#[test]
fn a_neighbor_whose_routes_would_be_kept_is_told_by_a_hard_reset() {
    let preserved = vec![Preserved { family: Family::Ipv4Unicast, forwarding: true }];
    let asks = |notification, families| {
        let restart_time = Duration::from_secs(60);
        Some(GracefulRestart { restarted: false, notification, restart_time, families })
    };
    // (what it offers, whether we help, whether the Cease is within a Hard Reset)
    for (restart, helps, hard) in [
        (asks(true, preserved.clone()), true, true),
        (asks(true, preserved.clone()), false, false),
        (asks(false, preserved), true, false),
        (asks(true, vec![]), true, false),
        (None, true, false),
    ] {
        let mut open = open();
        open.capabilities.graceful_restart = restart;
        let offer = Offer { graceful_restart: helps.then(Limits::default), ..PLAIN };
        let mut session = established(Config { offer, ..config() }, &open);
        session.handle_stop(at(1), cease_subcode::ADMINISTRATIVE_SHUTDOWN, "back at noon");
        let sent = session.last_sent().expect("a Cease").clone();
        assert_eq!(sent.subcode == cease_subcode::HARD_RESET, hard, "{sent}");
        assert_eq!(sent.shutdown_message().as_deref(), Some("back at noon"));
        let words = "Administrative Shutdown: \"back at noon\"";
        assert!(sent.to_string().ends_with(words), "{sent}");
        assert_eq!(
            Message::parse(&emit(&Message::Notification(sent.clone())), &context()),
            Ok(Message::Notification(sent))
        );
    }
}

#[test]
fn hard_resets_within_hard_resets_are_no_way_to_go_on_for_ever() {
    let mut notification = cease(cease_subcode::ADMINISTRATIVE_RESET);
    for _ in 0..1000 {
        notification = Notification::hard_reset(&notification);
    }
    assert_eq!(notification.to_string(), "Cease: Hard Reset");
    assert_eq!(notification.shutdown_message(), None);
}

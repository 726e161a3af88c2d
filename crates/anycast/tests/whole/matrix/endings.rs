//! How sessions end, and what both ends say of it.

use std::sync::atomic::Ordering;

use nix::sys::signal::Signal;
use serde_json::{Value, json};

use super::peers::{ALL, only};
use super::stand::{Knobs, Peer, Session, Stand, both_families};

/// The last NOTIFICATION that was sent or received: code, subcode, message.
fn notification(peer: &Peer<'_>, session: &Session, which: &str) -> (u64, u64, Option<String>) {
    let status = peer.status(session);
    let row = &status[which];
    let number = |key: &str| row[key].as_u64().unwrap_or_default();
    (number("code"), number("subcode"), row["message"].as_str().map(str::to_owned))
}

/// ExaBGP 4.2 has no message of its own, and its parser of others' raises an exception.
pub(super) fn a_shutdown_message_is_read_at_both_ends() {
    let programs = only(&["bird", "frr", "gobgp", "openbgpd"]);
    Stand::new(Knobs::default()).beside(&programs, both_families, |peer| {
        peer.meets();
        for session in &peer.sessions {
            let message = format!("moved house {}", session.name);
            peer.order(session, &json!({"order": "disable", "message": message}));
            peer.until("it shows our message", || {
                peer.program.tells(peer, session).contains(&message)
            });
            peer.order(session, &json!({"order": "enable"}));
        }
        peer.meets();
        for session in &peer.sessions {
            let message = format!("back at noon {}", session.name);
            peer.program.shuts_down(peer, session, &message);
            peer.until("we show its message", || {
                notification(peer, session, "last_received") == (6, 2, Some(message.clone()))
            });
        }
    });
}

pub(super) fn a_frozen_peer_is_dropped_at_the_hold_time_and_comes_back() {
    let knobs = Knobs { hold_time: 3, ..Knobs::default() };
    Stand::new(knobs).beside(ALL, both_families, |peer| {
        peer.meets();
        peer.signal(Signal::SIGSTOP);
        for session in &peer.sessions {
            peer.until("the HoldTimer fires", || {
                notification(peer, session, "last_sent").0 == 4 && !peer.is_up(session)
            });
            let prefix = &peer.prefixes(session.v6)[0];
            assert_eq!(peer.routes(prefix), [Value::Null; 0], "its route goes with it");
        }
        peer.signal(Signal::SIGCONT);
        peer.meets();
    });
}

pub(super) fn a_cleared_session_comes_back() {
    Stand::new(Knobs::default()).beside(ALL, both_families, |peer| {
        peer.meets();
        for session in &peer.sessions {
            let before = peer.counter(session, "established");
            peer.order(session, &json!({"order": "clear"}));
            assert_eq!(notification(peer, session, "last_sent"), (6, 4, None));
            peer.until("it comes back", || {
                peer.counter(session, "established") > before && peer.is_up(session)
            });
        }
        peer.meets();
    });
}

/// ExaBGP has no such limit. FRR counts what came before the prefix that it looks at, and so ends
/// the session at the second one too many.
pub(super) fn a_peer_with_too_many_of_our_prefixes_says_so() {
    let fleet = "[prefix.\"198.18.0.0/24\"]\nservices = [\"more\"]\n\
                 [prefix.\"2001:db8:ad::/48\"]\nservices = [\"more\"]\n\
                 [prefix.\"198.18.1.0/24\"]\nservices = [\"more\"]\n\
                 [prefix.\"2001:db8:ae::/48\"]\nservices = [\"more\"]\n\
                 [service.more]\naddresses = [\"198.18.0.1\", \"198.18.1.1\", \"2001:db8:ad::1\", \"2001:db8:ae::1\"]\n";
    let knobs = Knobs { limit: Some(1), fleet: fleet.to_owned(), ..Knobs::default() };
    let programs = only(&["bird", "frr", "gobgp", "openbgpd"]);
    Stand::new(knobs).beside(&programs, both_families, |peer| {
        for session in &peer.sessions {
            peer.until("we show its Cease", || {
                let (code, subcode, _) = notification(peer, session, "last_received");
                (code, subcode) == (6, 1)
            });
        }
    });
}

/// Ours is the limit; it rests for two seconds, and goes on doing so as long as it sends too many.
pub(super) fn a_peer_that_sends_too_many_prefixes_rests_and_comes_back() {
    let mut knobs = Knobs::with("max-prefixes = { limit = 2, restart-after = \"2s\" }");
    knobs.prefixes = 3;
    Stand::new(knobs).beside(ALL, both_families, |peer| {
        for session in &peer.sessions {
            peer.until("we send a Cease", || {
                let (code, subcode, _) = notification(peer, session, "last_sent");
                (code, subcode) == (6, 1)
            });
            peer.until("it tells our Cease", || {
                let text = peer.program.tells(peer, session);
                let words = peer.program.too_many_prefixes();
                text.to_lowercase().contains(words)
            });
            peer.until("it was let in again", || peer.counter(session, "established") > 1);
        }
        // The last prefix is away from now on: the session stays.
        peer.kill();
        peer.one_less.store(true, Ordering::Relaxed);
        peer.start();
        peer.meets();
        for session in &peer.sessions {
            let status = peer.status(session);
            assert_eq!(status["received"], 2, "{status:#}");
            assert_eq!(status["held"], Value::Null, "{status:#}");
        }
    });
}

/// GoBGP 3.10, ExaBGP 4.2 and OpenBGPD 7.7 have no BFD.
pub(super) fn bfd_notices_a_frozen_peer_long_before_the_hold_time() {
    let mut knobs = Knobs::with("bfd = { interval = \"200ms\", multiplier = 3 }");
    knobs.bfd = Some(200);
    Stand::new(knobs).beside(&only(&["bird", "frr"]), both_families, |peer| {
        peer.meets();
        let is_watched = |session| peer.status(session)["bfd"] == "Up";
        for session in &peer.sessions {
            peer.until("BFD is up", || is_watched(session));
        }
        peer.signal(Signal::SIGSTOP);
        for session in &peer.sessions {
            // The hold time is 90 s, and this is less.
            peer.until("the session is down", || !peer.is_up(session));
            let (code, subcode, _) = notification(peer, session, "last_sent");
            assert_eq!((code, subcode), (6, 10), "BFD Down (RFC 9384)");
            let status = peer.status(session);
            assert!(
                status["last_down"].as_str().is_some_and(|it| it.contains("BFD")),
                "{status:#}"
            );
        }
        peer.signal(Signal::SIGCONT);
        peer.meets();
        for session in &peer.sessions {
            peer.until("BFD is up again", || is_watched(session));
        }
    });
}

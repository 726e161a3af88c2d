//! Graceful restart (RFC 4724): who restarts is waited for, and we never are.

use std::sync::atomic::Ordering;
use std::time::Duration;

use serde_json::{Value, json};

use super::peers::only;
use super::stand::{Knobs, OURS, Peer, Session, Stand, both_families};
use crate::program::until;

/// Long before what keeps our routes would let them go: it is asked for 60 s.
const SOON: Duration = Duration::from_secs(20);

/// The routes of the session that the daemon has, each with whether it is stale.
fn stale(peer: &Peer<'_>, session: &Session, prefixes: &[String]) -> Vec<Option<bool>> {
    let look = |prefix: &String| peer.received(session, prefix)?["stale"].as_bool();
    prefixes.iter().map(look).collect()
}

pub(super) fn who_restarts_is_waited_for_and_we_never_are() {
    for name in ["bird", "frr"] {
        let knobs = Knobs {
            restarts: true,
            prefixes: 2,
            ours: "export = \"fleet\"\n".to_owned(),
            ..Knobs::default()
        };
        let stand = Stand::new(knobs);
        stand.beside(&only(&[name]), both_families, |peer| {
            peer.meets();
            let prefixes: Vec<_> = peer.sessions.iter().map(|it| peer.prefixes(it.v6)).collect();
            let all = |wanted: [Option<bool>; 2]| {
                let mut each = peer.sessions.iter().zip(&prefixes);
                each.all(|(session, prefixes)| stale(peer, session, prefixes) == wanted)
            };
            peer.until("its routes are there", || all([Some(false); 2]));

            // It dies, its routes stay; it comes back and sends one of the two again.
            peer.kill();
            peer.until("its routes are stale", || all([Some(true); 2]));
            peer.one_less.store(true, Ordering::Relaxed);
            peer.start();
            peer.until("one is fresh, the other gone", || all([Some(false), None]));
            peer.meets();
            for session in &peer.sessions {
                assert_eq!(peer.status(session)["stale_families"], Value::Array(Vec::new()));
            }

            // We die: it offers to keep our routes, and does not.
            stand.kill();
            for session in &peer.sessions {
                let ours = OURS[usize::from(session.v6)];
                until("our route is gone", SOON, || {
                    peer.program.route(peer, session, ours).map_or(Ok(()), Err)
                });
            }
        });
    }
}

/// FRR wraps what ends a session for good in a Hard Reset (RFC 8538 §3) once both ends have
/// offered that a NOTIFICATION keeps routes; so do we. The message is read at both ends, and
/// nothing is kept.
pub(super) fn an_end_for_good_is_a_hard_reset_and_its_message_is_read() {
    let knobs = Knobs {
        restarts: true,
        ours: "export = \"fleet\"\n".to_owned(),
        fleet: "[mrt]\nupdates = \"updates\"\n".to_owned(),
        ..Knobs::default()
    };
    let stand = Stand::new(knobs);
    stand.beside(&only(&["frr"]), both_families, |peer| {
        peer.meets();
        for session in &peer.sessions {
            let message = format!("moved house {}", session.name);
            peer.order(session, &json!({"order": "disable", "message": message}));
            peer.until("it shows our message", || {
                peer.program.tells(peer, session).contains(&message)
            });
            let sent = &peer.status(session)["last_sent"];
            assert_eq!((&sent["code"], &sent["subcode"]), (&json!(6), &json!(9)), "{sent}");
            peer.order(session, &json!({"order": "enable"}));
        }
        peer.meets();
        for session in &peer.sessions {
            let message = format!("back at noon {}", session.name);
            peer.program.shuts_down(peer, session, &message);
            peer.until("we show its message", || {
                peer.status(session)["last_received"]["message"] == message.as_str()
            });
            let received = &peer.status(session)["last_received"];
            let hard = (&json!(6), &json!(9));
            assert_eq!((&received["code"], &received["subcode"]), hard, "{received}");
            // A Cease, Hard Reset, and in it a Cease, Administrative Shutdown, as they came.
            let length = u8::try_from(message.len()).expect("it is short");
            let octets = [&[3, 6, 9, 6, 2, length], message.as_bytes()].concat();
            peer.until("it is in the file of what came in", || {
                let file = std::fs::read(stand.path("updates")).unwrap_or_default();
                file.windows(octets.len()).any(|it| it == octets)
            });
            assert_eq!(peer.routes(&peer.prefixes(session.v6)[0]), [Value::Null; 0]);
        }
    });
}

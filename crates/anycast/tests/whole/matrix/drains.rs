//! What the others see of a neighbor that is drained.

use serde_json::json;

use super::peers::{ALL, Community};
use super::stand::{Knobs, OUR_ASN, OURS, Stand, both_families};

/// GRACEFUL_SHUTDOWN and the prepends first, then nothing, then all again.
pub(super) fn a_drained_neighbor_hears_the_last_choice_then_nothing_then_all_again() {
    let knobs =
        Knobs { fleet: "[drain]\nwait = \"10s\"\nprepend = 2\n".to_owned(), ..Knobs::default() };
    Stand::new(knobs).beside(ALL, both_families, |peer| {
        peer.meets();
        for session in &peer.sessions {
            let ours = OURS[usize::from(session.v6)];
            let target = format!("neighbor {}", session.name);
            let dropped = peer.counter(session, "dropped");
            peer.post("/v1/drain", &json!({"target": target, "reason": "new disks"}));
            let words = peer.program.words(Community::GracefulShutdown);
            peer.until("it hears that we are leaving", || {
                peer.program.route(peer, session, ours).is_some_and(|it| it.contains(words))
            });
            let text = peer.program.route(peer, session, ours).unwrap_or_default();
            let path = format!("{OUR_ASN} {OUR_ASN} {OUR_ASN}");
            // GoBGP writes lists of JSON.
            let path_too = format!("{OUR_ASN},{OUR_ASN},{OUR_ASN}");
            let plain: String = text.split([' ', '\n']).collect();
            assert!(text.contains(&path) || plain.contains(&path_too), "{text}");
            peer.until("it hears the withdrawal", || {
                peer.program.route(peer, session, ours).is_none()
            });
            peer.post("/v1/undrain", &json!({"target": target}));
            peer.until("it hears us again", || {
                peer.program.route(peer, session, ours).is_some_and(|it| !it.contains(words))
            });
            assert_eq!(peer.counter(session, "dropped"), dropped, "no session is reset for it");
        }
    });
}

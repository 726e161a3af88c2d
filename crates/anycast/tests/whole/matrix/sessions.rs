//! How sessions come up.

use super::peers::{ALL, only};
use super::stand::{Knobs, Stand, both_families};

pub(super) fn sessions_over_ipv4_and_ipv6_exchange_routes() {
    Stand::new(Knobs::default()).beside(ALL, both_families, |peer| {
        peer.meets();
        for session in &peer.sessions {
            let status = peer.status(session);
            assert_eq!(status["local_address"], session.ours.as_str());
            assert_eq!(status["router_id"], peer.router_id.as_str());
            assert_eq!(status["hold_time_seconds"], 90.0);
            let route = peer.received(session, &peer.prefixes(session.v6)[0]).expect("it is there");
            assert_eq!(route["as_path"], peer.asn.to_string());
            assert_eq!(route["next_hop"], session.theirs.as_str());
        }
    });
}

pub(super) fn the_same_md5_password_meets_and_another_does_not() {
    Stand::new(Knobs { password: Some("s3cret"), ..Knobs::default() }).beside(
        ALL,
        both_families,
        |peer| {
            peer.meets();
            for session in &peer.sessions {
                assert_eq!(peer.status(session)["md5"], true);
            }
        },
    );
    let knobs = Knobs { password: Some("another"), ..Knobs::default() };
    Stand::new(knobs).beside(ALL, both_families, |peer| {
        peer.until("one end hears the other", || peer.wrongly_signed() > 1);
        for session in &peer.sessions {
            assert_eq!(peer.counter(session, "messages_in"), 0);
            assert!(!peer.is_up(session));
        }
    });
}

pub(super) fn with_ttl_security_at_both_ends_they_meet() {
    Stand::new(Knobs { gtsm: true, ..Knobs::default() }).beside(ALL, both_families, |peer| {
        peer.meets();
        for session in &peer.sessions {
            assert_eq!(peer.status(session)["ttl_security"], true);
        }
    });
}

/// GoBGP 3.10 and ExaBGP 4.2 do not know the capability.
pub(super) fn roles_that_fit_are_told_and_others_are_a_role_mismatch() {
    let programs = only(&["bird", "frr", "openbgpd"]);
    let mut knobs = Knobs::with("role = \"customer\"\nstrict-role = true");
    knobs.role = Some("provider");
    Stand::new(knobs).beside(&programs, both_families, |peer| {
        peer.meets();
        for session in &peer.sessions {
            assert_eq!(peer.status(session)["role"], "provider");
        }
    });
    let mut knobs = Knobs::with("role = \"customer\"");
    knobs.role = Some("customer");
    Stand::new(knobs).beside(&programs, both_families, |peer| {
        for session in &peer.sessions {
            // Whichever end reads the other's OPEN first says so.
            peer.until("one end says Role Mismatch", || {
                let status = peer.status(session);
                ["last_sent", "last_received"].iter().any(|which| {
                    (&status[which]["code"], &status[which]["subcode"]) == (&2.into(), &11.into())
                })
            });
            assert_eq!(peer.counter(session, "established"), 0);
        }
    });
}

//! How sessions come up.

use std::process::Command;
use std::sync::atomic::Ordering;

use nix::sys::signal::Signal;
use serde_json::json;

use super::peers::{ALL, only};
use super::stand::{Knobs, Peer, Stand, both_families, dropped_for_ttl, link_local, many};

pub(super) fn sessions_over_ipv4_and_ipv6_exchange_routes() {
    Stand::new(Knobs::default()).beside(ALL, both_families, |peer| {
        peer.meets();
        for session in &peer.sessions {
            let status = peer.status(session);
            assert_eq!(status["local_address"], session.ours.as_str());
            assert_eq!(status["router_id"], peer.router_id());
            assert_eq!(status["hold_time_seconds"], 90.0);
            let route = peer.received(session, &peer.prefixes(session.v6)[0]).expect("it is there");
            assert_eq!(route["as_path"], peer.asn.to_string());
            assert_eq!(route["next_hop"], session.theirs.as_str());
        }
    });
}

/// Every peer has the same address, each on its own link, and nothing else to be reached by. With
/// GTSM and BFD, which know a neighbor by its address too.
pub(super) fn sessions_over_link_local_addresses_exchange_routes() {
    let mut knobs = Knobs::with("bfd = { interval = \"200ms\" }");
    knobs.bfd = Some(200);
    knobs.gtsm = true;
    Stand::new(knobs).beside(&only(&["bird", "frr"]), link_local, |peer| {
        peer.meets();
        let session = &peer.sessions[0];
        // FRR takes who has ttl-security for one over several hops, and speaks RFC 5883.
        if peer.program.name() == "bird" {
            peer.until("BFD is up", || peer.status(session)["bfd"] == "Up");
        }
        let prefix = &peer.prefixes(true)[0];
        let way = format!("via fe80::2 dev to-{}", peer.program.name());
        peer.until("its route is in the kernel", || {
            let show = ["-6", "route", "show", prefix];
            let output = Command::new("ip").args(show).output().expect("ip is installed");
            String::from_utf8_lossy(&output.stdout).contains(&way)
        });
        assert_eq!(peer.status(session)["local_address"], "fe80::1");
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

/// The peers send with a TTL of 1, or of 64, as if routers were between.
pub(super) fn what_comes_from_too_far_is_not_heard_and_we_say_so() {
    let knobs = Knobs::with("ttl-security = true");
    Stand::new(knobs).beside(ALL, both_families, |peer| {
        for session in &peer.sessions {
            peer.until("we say why", || {
                let status = peer.status(session);
                status["last_down"].as_str().is_some_and(|it| it.contains("ttl-security"))
            });
            let status = peer.status(session);
            assert_eq!(status["counters"]["messages_in"], 0, "{status:#}");
        }
        assert!(dropped_for_ttl() > 0);
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

/// How collisions are made with a program.
struct Crossing {
    name: &'static str,
    /// How many neighbors it has: no more than its backlog of connections, which is eight in BIRD
    /// and five in OpenBGPD.
    sessions: u8,
    /// How many of them it dials at the same time, at least.
    dials: usize,
    rounds: usize,
    /// It looks at both connections, and closes that of the lower identifier.
    by_identifier: bool,
}

/// About three hundred collisions.
const CROSSINGS: [Crossing; 4] = [
    Crossing { name: "bird", sessions: 7, dials: 7, rounds: 10, by_identifier: true },
    Crossing { name: "frr", sessions: 25, dials: 25, rounds: 6, by_identifier: false },
    Crossing { name: "gobgp", sessions: 25, dials: 5, rounds: 3, by_identifier: false },
    Crossing { name: "openbgpd", sessions: 5, dials: 5, rounds: 10, by_identifier: false },
];

/// ExaBGP does not listen. The others are started while nothing that they send arrives, stopped
/// once they have dialled, and go on once both connections are there and our OPEN waits on both
/// (RFC 4271 §6.8).
pub(super) fn dials_that_cross_leave_one_session_each_time() {
    let programs = only(&CROSSINGS.map(|it| it.name));
    let sessions = |index: usize| many(index, CROSSINGS[index].sessions);
    Stand::new(Knobs::default()).beside(&programs, sessions, |peer| {
        let found = CROSSINGS.iter().find(|it| it.name == peer.program.name());
        let crossing = found.expect("it is one of them");
        for session in &peer.sessions {
            peer.until("the session is up", || peer.is_up(session));
        }
        for round in 1..=crossing.rounds {
            let below = round % 2 == 1;
            peer.below_us.store(below, Ordering::Relaxed);
            let before = dial_at_once(peer, crossing.dials);
            for (session, before) in peer.sessions.iter().zip(before) {
                peer.until("the session is up", || peer.is_up(session));
                if crossing.by_identifier {
                    let status = peer.status(session);
                    assert_eq!(status["counters"]["established"], before + 1, "{status:#}");
                    // The end that dialled has a port of its own choice.
                    assert_eq!(status["remote_port"] == 179, below, "round {round}: {status:#}");
                }
            }
            peer.until("there is one connection each, and all sessions are up", || {
                peer.connections("established") == peer.sessions.len()
                    && peer.sessions.iter().all(|session| peer.is_up(session))
            });
        }
    });
}

/// Starts the program anew so that its dials cross ours; how often each session was Established
/// before.
fn dial_at_once(peer: &Peer<'_>, least: usize) -> Vec<u64> {
    peer.kill();
    for session in &peer.sessions {
        peer.until("the session is down", || !peer.is_up(session));
    }
    let before = peer.sessions.iter().map(|it| peer.counter(it, "established")).collect();
    peer.cut();
    peer.start();
    peer.until("it dials", || peer.connections("syn-sent") >= least);
    peer.signal(Signal::SIGSTOP);
    let dialled = peer.connections("syn-sent");
    for session in &peer.sessions {
        peer.order(session, &json!({"order": "clear"}));
    }
    peer.mend();
    peer.until("there are two connections", || {
        peer.connections("established") >= peer.sessions.len() + dialled
    });
    peer.signal(Signal::SIGCONT);
    before
}

//! What sessions carry.

use serde_json::json;

use super::peers::{ALL, Community, only};
use super::stand::{Knobs, OUR_ASN, OURS, Peer, Session, Stand, both_families};

/// The words for what a peer shows of our route.
fn ours_as_seen(peer: &Peer<'_>, session: &Session) -> String {
    peer.program.route(peer, session, OURS[usize::from(session.v6)]).unwrap_or_default()
}

pub(super) fn communities_of_all_kinds_arrive_at_both_ends() {
    let mut knobs = Knobs::with(&format!(
        "communities = [\"{OUR_ASN}:120\"]\nlarge-communities = [\"{OUR_ASN}:1:2\"]"
    ));
    knobs.communities = true;
    knobs.ours = knobs.ours.replace("\"fleet\"", "\"tagged\"");
    knobs.fleet = format!(
        "[policy.tagged]\nrules = [\n  \
         {{ add-extended-community = [\"rt:{OUR_ASN}:7\"], action = \"accept\" }},\n]\n"
    );
    Stand::new(knobs).beside(ALL, both_families, |peer| {
        peer.meets();
        for session in &peer.sessions {
            let text = ours_as_seen(peer, session);
            for kind in [Community::Standard, Community::Large, Community::RouteTarget] {
                let words = peer.program.words(kind);
                assert!(text.contains(words), "{kind:?} is {words:?}: {text}");
            }
            let route = peer.received(session, &peer.prefixes(session.v6)[0]).expect("it is there");
            let asn = peer.asn;
            let wanted = json!([format!("{asn}:120"), format!("rt:{asn}:7"), format!("{asn}:1:2")]);
            assert_eq!(route["communities"], wanted);
        }
    });
}

pub(super) fn a_route_that_is_leaving_is_our_last_choice_and_is_marked_for_them() {
    let mut knobs = Knobs::with("communities = [\"graceful-shutdown\"]");
    knobs.leaving = true;
    Stand::new(knobs).beside(ALL, both_families, |peer| {
        peer.meets();
        for session in &peer.sessions {
            let text = ours_as_seen(peer, session);
            let words = peer.program.words(Community::GracefulShutdown);
            assert!(text.contains(words), "{words:?}: {text}");
            let prefix = &peer.prefixes(session.v6)[0];
            assert_eq!(peer.routes(prefix)[0]["local_pref"], 0);
        }
    });
}

/// GoBGP keeps what it has received and never asks. OpenBGPD 7.7 takes the families that were
/// agreed on for those that were not (its issue 46): it hears us and does nothing. ExaBGP 4.2, which
/// offers Enhanced Route Refresh too (RFC 7313), raises an exception, and starts anew.
pub(super) fn routes_are_sent_again_when_either_end_asks() {
    Stand::new(Knobs::default()).beside(ALL, both_families, |peer| {
        peer.meets();
        for session in &peer.sessions {
            let before = peer.counter(session, "updates_in");
            peer.order(session, &json!({"order": "clear-soft"}));
            if peer.program.name() == "openbgpd" {
                let family = if session.v6 { "IPv6" } else { "IPv4" };
                let words = format!("{}: route refresh: AID {family} unicast", session.ours);
                peer.until("it hears us", || peer.log().contains(&words));
                continue;
            }
            if peer.program.name() == "exabgp" {
                let words = "'RouteRefresh' object is not iterable";
                peer.until("it hears us", || peer.log().contains(words));
            }
            peer.until("it sends its routes again", || {
                peer.counter(session, "updates_in") > before
            });
        }
        if peer.program.name() == "gobgp" {
            return;
        }
        peer.meets();
        for session in &peer.sessions {
            let [before, dropped] =
                ["updates_out", "dropped"].map(|name| peer.counter(session, name));
            peer.program.asks_again(peer, session);
            peer.until("we send our routes again", || {
                peer.counter(session, "updates_out") > before
            });
            assert_eq!(peer.counter(session, "dropped"), dropped);
        }
    });
}

/// BIRD and FRR have the capability (RFC 8654); the routes of either end carry so many communities
/// that they fit no shorter message.
pub(super) fn an_update_of_more_than_4096_octets_passes_both_ways() {
    const CROWD: u16 = 1100;
    let list: Vec<String> = (0..CROWD).map(|it| format!("\"{OUR_ASN}:{it}\"")).collect();
    let mut knobs = Knobs::with(&format!("communities = [{}]", list.join(", ")));
    knobs.crowd = CROWD;
    Stand::new(knobs).beside(&only(&["bird", "frr"]), both_families, |peer| {
        peer.meets();
        for session in &peer.sessions {
            let status = peer.status(session);
            let in_force = &status["capabilities_in_words"]["in_force"];
            let in_force = in_force.as_array().expect("a list");
            assert!(in_force.contains(&"extended messages".into()), "{in_force:?}");
            let route = peer.received(session, &peer.prefixes(session.v6)[0]).expect("it is there");
            let found = route["communities"].as_array().expect("a list");
            assert_eq!(found.len(), usize::from(CROWD));
            let text = ours_as_seen(peer, session);
            // BIRD has a comma there.
            let theirs = text.matches(&format!("{OUR_ASN},")).count();
            let theirs = theirs + text.matches(&format!("{OUR_ASN}:")).count();
            // FRR shows no longer line; a message is taken whole or not at all.
            let shown = if peer.program.name() == "frr" { 800 } else { usize::from(CROWD) };
            assert!(theirs >= shown, "{theirs}: {text}");
        }
    });
}

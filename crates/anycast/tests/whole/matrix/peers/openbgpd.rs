//! OpenBGPD, the portable release.

use std::fmt::Write;

use anycast_lab::peers::Command;

use super::super::stand::{OUR_ASN, Peer, Session};
use super::{Community, Program, daemon, shown};

pub(super) struct OpenBgpd;

const PROGRAM: &str = "/usr/sbin/bgpd";
const CLIENT: &str = "/usr/sbin/bgpctl";

impl Program for OpenBgpd {
    fn name(&self) -> &'static str {
        "openbgpd"
    }

    fn tools(&self) -> &'static [&'static str] {
        &[PROGRAM, CLIENT]
    }

    fn configure(&self, peer: &Peer<'_>) -> Vec<Command> {
        let socket = peer.folder.join("bgpd.sock");
        let mut text = format!(
            "AS {}\nrouter-id {}\nsocket \"{}\"\nfib-update no\nlog updates\nconnect-retry 1\n",
            peer.asn,
            peer.router_id(),
            shown(&socket)
        );
        for prefix in [peer.prefixes(false), peer.prefixes(true)].concat() {
            let _ = write!(text, "network {prefix} set {{ origin igp");
            for community in peer.communities() {
                let _ = write!(text, " community {community}");
            }
            if let Some((large, target)) = peer.other_communities() {
                let _ = write!(text, " large-community {large} ext-community rt {target}");
            }
            text.push_str(" }\n");
        }
        for session in &peer.sessions {
            write_session(&mut text, peer, session);
        }
        text.push_str("allow from any\nallow to any\n");
        let config = peer.write("bgpd.conf", &text);
        let mut command = daemon(&[PROGRAM, "-d", "-v", "-f", shown(&config)], Some(socket));
        command.keep_user = true;
        vec![command]
    }

    fn route(&self, peer: &Peer<'_>, session: &Session, prefix: &str) -> Option<String> {
        let question = ["show", "rib", "neighbor", &session.ours, "detail", prefix];
        let text = ask(peer, &question);
        text.contains("Nexthop").then_some(text)
    }

    fn words(&self, community: Community) -> &'static str {
        match community {
            Community::Standard => "Communities: 64500:120",
            Community::Large => "Large Communities: 64500:1:2",
            Community::RouteTarget => "rt 64500:7",
            Community::GracefulShutdown => "GRACEFUL_SHUTDOWN",
        }
    }

    fn asks_again(&self, peer: &Peer<'_>, session: &Session) {
        ask(peer, &["neighbor", &session.ours, "refresh"]);
    }

    fn shuts_down(&self, peer: &Peer<'_>, session: &Session, message: &str) {
        ask(peer, &["neighbor", &session.ours, "down", message]);
    }

    fn too_many_prefixes(&self) -> &'static str {
        "received max-prefix exceeded"
    }

    fn tells(&self, peer: &Peer<'_>, session: &Session) -> String {
        ask(peer, &["show", "neighbor", &session.ours]) + &peer.log()
    }
}

fn ask(peer: &Peer<'_>, question: &[&str]) -> String {
    peer.within(&[CLIENT, "-s", shown(&peer.folder.join("bgpd.sock"))], question)
}

fn write_session(text: &mut String, peer: &Peer<'_>, session: &Session) {
    let knobs = peer.knobs;
    let _ = write!(
        text,
        "neighbor {} {{\n  remote-as {OUR_ASN}\n  local-address {}\n  holdtime {}\n",
        session.ours, session.theirs, knobs.hold_time,
    );
    for (v6, family) in [(false, "IPv4"), (true, "IPv6")] {
        let what = if session.v6 == v6 { "unicast" } else { "none" };
        let _ = writeln!(text, "  announce {family} {what}");
    }
    if let Some(password) = knobs.password {
        let _ = writeln!(text, "  tcp md5sig password \"{password}\"");
    }
    if knobs.gtsm {
        text.push_str("  ttl-security yes\n");
    }
    if let Some(role) = knobs.role {
        let _ = writeln!(text, "  announce policy {role}");
    }
    if let Some(limit) = knobs.limit {
        let _ = writeln!(text, "  max-prefix {limit}");
    }
    text.push_str("}\n");
}

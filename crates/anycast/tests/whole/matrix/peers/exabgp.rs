//! ExaBGP 4: it only dials, keeps no table, and is talked to through the standard input and output
//! of a process that it starts.

use std::fmt::Write;
use std::fs;

use anycast_lab::peers::Command;
use serde_json::Value;

use super::super::stand::{OUR_ASN, Peer, Session};
use super::{Community, Program, daemon, shown};

pub(super) struct ExaBgp;

const PROGRAM: &str = "/usr/sbin/exabgp";

impl Program for ExaBgp {
    fn name(&self) -> &'static str {
        "exabgp"
    }

    fn tools(&self) -> &'static [&'static str] {
        &[PROGRAM]
    }

    fn configure(&self, peer: &Peer<'_>) -> Vec<Command> {
        let folder = shown(&peer.folder);
        peer.write("orders", "");
        let script = peer.write(
            "talk",
            &format!("#!/bin/sh\ntail -n +1 -f {folder}/orders &\nexec cat >>{folder}/heard\n"),
        );
        let mut text = format!("process talk {{ run {}; encoder json; }}\n", shown(&script));
        for session in &peer.sessions {
            write_session(&mut text, peer, session);
        }
        let config = peer.write("exabgp.conf", &text);
        let mut command = daemon(&[PROGRAM, shown(&config)], None);
        command.env = [
            // It would change to `nobody`, which the namespace does not have.
            ("exabgp_daemon_drop", "false"),
            ("exabgp_daemon_user", "root"),
            ("exabgp_api_cli", "false"),
            ("exabgp_api_ack", "false"),
            ("exabgp_log_destination", "stderr"),
            ("exabgp_log_level", "DEBUG"),
            ("exabgp_log_all", "true"),
            ("PYTHONUNBUFFERED", "1"),
            ("exabgp_tcp_delay", "0"),
        ]
        .map(|(key, value)| (key, value.to_owned()))
        .to_vec();
        vec![command]
    }

    fn route(&self, peer: &Peer<'_>, session: &Session, prefix: &str) -> Option<String> {
        let quoted = format!("\"{prefix}\"");
        let mut last = None;
        for message in heard(peer, session) {
            let text = message.to_string();
            let update = &message["neighbor"]["message"]["update"];
            if message["type"] == "state" && message["neighbor"]["state"] != "up" {
                last = None;
            } else if update["announce"].to_string().contains(&quoted) {
                last = Some(text);
            } else if update["withdraw"].to_string().contains(&quoted) {
                last = None;
            }
        }
        last
    }

    fn words(&self, community: Community) -> &'static str {
        match community {
            Community::Standard => "\"community\":[[64500,120]]",
            Community::Large => "\"large-community\":[[64500,1,2]]",
            Community::RouteTarget => "target:64500:7",
            Community::GracefulShutdown => "[65535,0]",
        }
    }

    fn asks_again(&self, peer: &Peer<'_>, session: &Session) {
        let family = if session.v6 { "ipv6" } else { "ipv4" };
        order(peer, &format!("neighbor {} announce route-refresh {family} unicast", session.ours));
    }

    fn shuts_down(&self, _: &Peer<'_>, _: &Session, _: &str) {
        unreachable!("it has no word for it: teardown takes a subcode only");
    }

    fn tells(&self, peer: &Peer<'_>, session: &Session) -> String {
        let heard: Vec<String> = heard(peer, session).iter().map(Value::to_string).collect();
        heard.join("\n") + &peer.log()
    }
}

/// What it told its process of the session.
fn heard(peer: &Peer<'_>, session: &Session) -> Vec<Value> {
    let text = fs::read_to_string(peer.folder.join("heard")).unwrap_or_default();
    let messages = text.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    messages.filter(|it| it["neighbor"]["address"]["peer"] == session.ours.as_str()).collect()
}

/// Its process says this to it.
fn order(peer: &Peer<'_>, line: &str) {
    use std::io::Write as _;
    let orders = fs::File::options().append(true).open(peer.folder.join("orders"));
    writeln!(orders.expect("the test's file"), "{line}").expect("the test's file");
}

fn write_session(text: &mut String, peer: &Peer<'_>, session: &Session) {
    let knobs = peer.knobs;
    let _ = write!(
        text,
        "neighbor {} {{\n  router-id {};\n  local-address {};\n  local-as {};\n  \
         peer-as {OUR_ASN};\n  hold-time {};\n",
        session.ours,
        peer.router_id(),
        session.theirs,
        peer.asn,
        knobs.hold_time,
    );
    if let Some(password) = knobs.password {
        let _ = writeln!(text, "  md5-password \"{password}\";");
    }
    if knobs.gtsm {
        text.push_str("  outgoing-ttl 255;\n  incoming-ttl 255;\n");
    }
    text.push_str(
        "  capability { route-refresh enable; extended-message enable; }\n  \
         api { processes [ talk ]; neighbor-changes; \
         receive { parsed; update; notification; refresh; } }\n",
    );
    let family = if session.v6 { "ipv6" } else { "ipv4" };
    let mut with = String::new();
    let communities = peer.communities().join(" ");
    if !communities.is_empty() {
        let _ = write!(with, " community [ {communities} ]");
    }
    if let Some((large, target)) = peer.other_communities() {
        let _ = write!(with, " large-community [ {large} ] extended-community [ target:{target} ]");
    }
    let _ = write!(text, "  family {{ {family} unicast; }}\n  announce {{ {family} {{\n");
    for prefix in peer.prefixes(session.v6) {
        let _ = writeln!(text, "    unicast {prefix} next-hop self{with};");
    }
    text.push_str("  } }\n}\n");
}

//! BIRD 2.

use std::fmt::Write;

use anycast_lab::peers::Command;

use super::super::stand::{OUR_ASN, Peer, Session};
use super::{Community, Program, daemon, shown};

pub(super) struct Bird;

const PROGRAM: &str = "/usr/sbin/bird";
const CLIENT: &str = "/usr/sbin/birdc";

impl Program for Bird {
    fn name(&self) -> &'static str {
        "bird"
    }

    fn tools(&self) -> &'static [&'static str] {
        &[PROGRAM, CLIENT]
    }

    fn configure(&self, peer: &Peer<'_>) -> Vec<Command> {
        let mut text = format!(
            "log stderr all;\nrouter id {};\nprotocol device {{ }}\n{}",
            peer.router_id(),
            own(peer)
        );
        for session in &peer.sessions {
            write_session(&mut text, peer, session);
        }
        let config = peer.write("bird.conf", &text);
        let socket = peer.folder.join("bird.ctl");
        let argv = [PROGRAM, "-f", "-c", shown(&config), "-s", shown(&socket)];
        vec![daemon(&argv, Some(socket.clone()))]
    }

    fn route(&self, peer: &Peer<'_>, session: &Session, prefix: &str) -> Option<String> {
        let text = ask(peer, &["show", "route", prefix, "all", "protocol", &session.name]);
        text.contains("BGP.as_path").then_some(text)
    }

    fn words(&self, community: Community) -> &'static str {
        match community {
            Community::Standard => "(64500,120)",
            Community::Large => "(64500, 1, 2)",
            Community::RouteTarget => "(rt, 64500, 7)",
            Community::GracefulShutdown => "(65535,0)",
        }
    }

    fn asks_again(&self, peer: &Peer<'_>, session: &Session) {
        ask(peer, &["reload", "in", &session.name]);
    }

    fn shuts_down(&self, peer: &Peer<'_>, session: &Session, message: &str) {
        ask(peer, &["disable", &session.name, &format!("\"{message}\"")]);
    }

    fn tells(&self, peer: &Peer<'_>, session: &Session) -> String {
        ask(peer, &["show", "protocols", "all", &session.name]) + &peer.log()
    }
}

fn ask(peer: &Peer<'_>, question: &[&str]) -> String {
    let socket = peer.folder.join("bird.ctl");
    // The whole question is one argument for its parser.
    peer.within(&[CLIENT, "-s", shown(&socket)], question)
}

/// Its own networks.
fn own(peer: &Peer<'_>) -> String {
    let mut adds = String::new();
    for community in peer.communities() {
        let pair = community.replace(':', ",");
        let _ = write!(adds, " bgp_community.add(({pair}));");
    }
    if let Some((large, target)) = peer.other_communities() {
        let (large, target) = (large.replace(':', ","), target.replace(':', ","));
        let _ = write!(adds, " bgp_large_community.add(({large}));");
        let _ = write!(adds, " bgp_ext_community.add((rt,{target}));");
    }
    let mut text =
        format!("filter tell {{ if source != RTS_STATIC then reject;{adds} accept; }}\n");
    for (v6, family) in [(false, "ipv4"), (true, "ipv6")] {
        let _ = write!(text, "protocol static own_{family} {{ {family}; ");
        for prefix in peer.prefixes(v6) {
            let _ = write!(text, "route {prefix} unreachable; ");
        }
        text.push_str("}\n");
        if peer.knobs.paths {
            let _ =
                write!(text, "protocol static more_{family} {{ {family} {{ preference 99; }}; ");
            for prefix in peer.prefixes(v6) {
                let _ = write!(text, "route {prefix} unreachable; ");
            }
            text.push_str("}\n");
        }
    }
    if peer.knobs.bfd.is_some() {
        text.push_str("protocol bfd { }\n");
    }
    text
}

fn write_session(text: &mut String, peer: &Peer<'_>, session: &Session) {
    let knobs = peer.knobs;
    let _ = write!(
        text,
        "protocol bgp {} {{\n  local {} as {};\n  neighbor {} as {OUR_ASN};\n  \
         hold time {};\n  connect delay time 1;\n  connect retry time 1;\n  \
         error wait time 1, 1;\n  enable extended messages on;\n",
        session.name, session.theirs, peer.asn, session.ours, knobs.hold_time,
    );
    if session.is_link_local() {
        text.push_str("  interface \"up0\";\n");
    }
    if let Some(password) = knobs.password {
        let _ = writeln!(text, "  password \"{password}\";");
    }
    if knobs.gtsm {
        text.push_str("  ttl security on;\n");
    }
    if let Some(role) = knobs.role {
        let _ = writeln!(text, "  local role {};", role.replace('-', "_"));
    }
    if knobs.restarts {
        text.push_str("  graceful restart on;\n  graceful restart time 60;\n");
    }
    if let Some(interval) = knobs.bfd {
        let _ = writeln!(text, "  bfd {{ interval {interval} ms; multiplier 3; }};");
    }
    let paths = if knobs.paths { " add paths on;" } else { "" };
    let limit =
        knobs.limit.map_or(String::new(), |it| format!(" import limit {it} action disable;"));
    let family = if session.v6 { "ipv6" } else { "ipv4" };
    let _ = write!(text, "  {family} {{ import all; export filter tell;{limit}{paths} }};\n}}\n");
}

//! FRRouting: zebra, without which bgpd knows no next hop, bgpd, and bfdd where it is wanted.

use std::fmt::Write;

use anycast_lab::peers::Command;

use super::super::stand::{OUR_ASN, Peer, Session};
use super::{Community, Program, daemon, shown};

pub(super) struct Frr;

const ZEBRA: &str = "/usr/lib/frr/zebra";
const PROGRAM: &str = "/usr/lib/frr/bgpd";
const BFD: &str = "/usr/lib/frr/bfdd";
const CLIENT: &str = "/usr/bin/vtysh";

impl Program for Frr {
    fn name(&self) -> &'static str {
        "frr"
    }

    fn tools(&self) -> &'static [&'static str] {
        &[ZEBRA, PROGRAM, BFD, CLIENT]
    }

    fn configure(&self, peer: &Peer<'_>) -> Vec<Command> {
        let zserv = peer.folder.join("zserv.api");
        let start = |program, name: &str, text: &str, ready| {
            let config = peer.write(&format!("{name}.conf"), text);
            let pid = peer.folder.join(format!("{name}.pid"));
            let argv = [program, "-f", shown(&config), "-i", shown(&pid), "-z", shown(&zserv)];
            let more = ["--vty_socket", shown(&peer.folder), "-P", "0", "--log", "stdout"];
            let mut command = daemon(&[&argv[..], &more].concat(), Some(ready));
            command.keep_user = true;
            command
        };
        if peer.knobs.paths {
            // A second path to each, besides that of `network`.
            for (v6, option) in [(false, "-4"), (true, "-6")] {
                for prefix in peer.prefixes(v6) {
                    peer.ip(&format!("{option} route replace blackhole {prefix}"));
                }
            }
        }
        let mut commands = vec![start(ZEBRA, "zebra", "hostname frr\n", zserv.clone())];
        if let Some(interval) = peer.knobs.bfd {
            let text = format!(
                "hostname frr\nbfd\n profile fast\n  detect-multiplier 3\n  \
                 receive-interval {interval}\n  transmit-interval {interval}\n exit\nexit\n"
            );
            let mut bfd = start(BFD, "bfdd", &text, peer.folder.join("bfdd.vty"));
            let socket = peer.folder.join("bfdd.sock");
            bfd.argv.extend(["--bfdctl".to_owned(), shown(&socket).to_owned()]);
            commands.push(bfd);
        }
        commands.push(start(PROGRAM, "bgpd", &text(peer), peer.folder.join("bgpd.vty")));
        commands
    }

    fn route(&self, peer: &Peer<'_>, session: &Session, prefix: &str) -> Option<String> {
        let question = format!("show bgp {} unicast {prefix}", family(session.v6));
        let text = ask(peer, &question);
        text.contains(&format!("from {} ", session.ours)).then_some(text)
    }

    fn words(&self, community: Community) -> &'static str {
        match community {
            Community::Standard => "Community: 64500:120",
            Community::Large => "Large Community: 64500:1:2",
            Community::RouteTarget => "RT:64500:7",
            Community::GracefulShutdown => "graceful-shutdown",
        }
    }

    fn asks_again(&self, peer: &Peer<'_>, session: &Session) {
        let family = family(session.v6);
        ask(peer, &format!("clear bgp {family} unicast {} soft in", session.ours));
    }

    fn shuts_down(&self, peer: &Peer<'_>, session: &Session, message: &str) {
        let line = format!("neighbor {} shutdown message {message}", session.ours);
        let lines = ["configure terminal", &format!("router bgp {}", peer.asn), &line];
        let lines: Vec<&str> = lines.into_iter().flat_map(|line| ["-c", line]).collect();
        peer.within(&[CLIENT, "--vty_socket", shown(&peer.folder)], &lines);
    }

    fn tells(&self, peer: &Peer<'_>, session: &Session) -> String {
        ask(peer, &format!("show bgp neighbors {}", session.ours)) + &peer.log()
    }
}

fn family(v6: bool) -> &'static str {
    if v6 { "ipv6" } else { "ipv4" }
}

fn ask(peer: &Peer<'_>, question: &str) -> String {
    peer.within(&[CLIENT, "--vty_socket", shown(&peer.folder)], &["-c", question])
}

fn text(peer: &Peer<'_>) -> String {
    // bgpd takes a policy for absent until some seconds after it appeared: it comes first.
    // It would send a route back to whom it has it from.
    let mut text = "hostname frr\nlog stdout\nbgp as-path access-list OWN permit ^$\n\
                    route-map OWN permit 10\n match as-path OWN\n"
        .to_owned();
    // Its lines hold some hundred words.
    for (index, communities) in peer.communities().chunks(100).enumerate() {
        let _ = writeln!(
            text,
            "route-map OUT permit {}\n set community {} additive\n on-match next",
            10 + index,
            communities.join(" ")
        );
    }
    text.push_str("route-map OUT permit 100\n");
    if let Some((large, target)) = peer.other_communities() {
        let _ = writeln!(text, " set large-community {large} additive");
        let _ = writeln!(text, " set extcommunity rt {target}");
    }
    let _ = write!(
        text,
        "router bgp {}\n bgp router-id {}\n bgp log-neighbor-changes\n \
         no bgp default ipv4-unicast\n no bgp network import-check\n \
         no bgp ebgp-requires-policy\n",
        peer.asn,
        peer.router_id()
    );
    if peer.knobs.restarts {
        text.push_str(
            " bgp graceful-restart\n bgp graceful-restart preserve-fw-state\n \
             bgp graceful-restart restart-time 60\n",
        );
    }
    for session in &peer.sessions {
        write_session(&mut text, peer, session);
    }
    for v6 in [false, true] {
        let _ = writeln!(text, " address-family {} unicast", family(v6));
        for prefix in peer.prefixes(v6) {
            let _ = writeln!(text, "  network {prefix} route-map OUT");
        }
        if peer.knobs.paths {
            text.push_str("  redistribute kernel route-map OUT\n");
        }
        for session in peer.sessions.iter().filter(|session| session.v6 == v6) {
            let at = &session.ours;
            let _ = writeln!(text, "  neighbor {at} activate");
            // What it hears is not sent on, so that each session is for itself.
            let _ = writeln!(text, "  neighbor {at} route-map OWN out");
            if peer.knobs.paths {
                let _ = writeln!(text, "  neighbor {at} addpath-tx-all-paths");
            }
            if let Some(limit) = peer.knobs.limit {
                let _ = writeln!(text, "  neighbor {at} maximum-prefix {limit}");
            }
        }
        text.push_str(" exit-address-family\n");
    }
    text
}

fn write_session(text: &mut String, peer: &Peer<'_>, session: &Session) {
    let (at, knobs) = (&session.ours, peer.knobs);
    let _ = write!(
        text,
        " neighbor {at} remote-as {OUR_ASN}\n neighbor {at} {}\n \
         neighbor {at} advertisement-interval 0\n neighbor {at} timers {} {}\n \
         neighbor {at} timers connect 1\n",
        if session.is_link_local() {
            "interface up0".to_owned()
        } else {
            format!("update-source {}", session.theirs)
        },
        knobs.hold_time / 3,
        knobs.hold_time,
    );
    if let Some(password) = knobs.password {
        let _ = writeln!(text, " neighbor {at} password {password}");
    }
    if knobs.gtsm {
        let _ = writeln!(text, " neighbor {at} ttl-security hops 1");
    }
    if let Some(role) = knobs.role {
        let _ = writeln!(text, " neighbor {at} local-role {role}");
    }
    if knobs.bfd.is_some() {
        let _ = writeln!(text, " neighbor {at} bfd\n neighbor {at} bfd profile fast");
    }
}

//! GoBGP.

use std::fmt::Write;

use anycast_lab::peers::Command;

use super::super::stand::{OUR_ASN, Peer, Session};
use super::{Community, Program, daemon, once, shown};

pub(super) struct GoBgp;

const PROGRAM: &str = "/usr/bin/gobgpd";
const CLIENT: &str = "/usr/bin/gobgp";

impl Program for GoBgp {
    fn name(&self) -> &'static str {
        "gobgp"
    }

    fn tools(&self) -> &'static [&'static str] {
        &[PROGRAM, CLIENT]
    }

    fn configure(&self, peer: &Peer<'_>) -> Vec<Command> {
        let mut text =
            format!("[global.config]\nas = {}\nrouter-id = \"{}\"\n", peer.asn, peer.router_id());
        for session in &peer.sessions {
            write_session(&mut text, peer, session);
        }
        let config = peer.write("gobgpd.toml", &text);
        let socket = peer.folder.join("gobgpd.sock");
        let target = target(peer);
        let more = ["--pprof-disable", "--log-plain", "--log-level", "debug"];
        let argv = [PROGRAM, "-f", shown(&config), "--api-hosts", &target];
        let mut commands = vec![daemon(&[&argv[..], &more].concat(), Some(socket))];
        let communities = peer.communities().join(",");
        let paths: &[&str] = if peer.knobs.paths { &["1", "2"] } else { &["0"] };
        for (v6, family) in [(false, "ipv4"), (true, "ipv6")] {
            for (prefix, path) in
                peer.prefixes(v6).iter().flat_map(|it| paths.iter().map(move |path| (it, path)))
            {
                let argv = [CLIENT, "--target", &target, "global", "rib", "add", "-a", family];
                let mut argv = [&argv[..], &[prefix, "identifier", path]].concat();
                if !communities.is_empty() {
                    argv.extend(["community", &communities]);
                }
                let others = peer.other_communities();
                if let Some((large, target)) = &others {
                    argv.extend(["large-community", large, "rt", target]);
                }
                commands.push(once(&argv));
            }
        }
        commands
    }

    fn route(&self, peer: &Peer<'_>, session: &Session, prefix: &str) -> Option<String> {
        let family = if session.v6 { "ipv6" } else { "ipv4" };
        let argv = ["neighbor", &session.ours, "adj-in", prefix, "-a", family];
        let text = ask(peer, &argv);
        text.contains(prefix).then_some(text)
    }

    fn words(&self, community: Community) -> &'static str {
        match community {
            Community::Standard => "64500:120",
            Community::Large => "64500:1:2",
            Community::RouteTarget => "[64500:7]",
            Community::GracefulShutdown => "planned-shut",
        }
    }

    fn asks_again(&self, peer: &Peer<'_>, session: &Session) {
        ask(peer, &["neighbor", &session.ours, "softresetin"]);
    }

    fn shuts_down(&self, peer: &Peer<'_>, session: &Session, message: &str) {
        ask(peer, &["neighbor", &session.ours, "shutdown", "--reason", message]);
    }

    fn tells(&self, peer: &Peer<'_>, session: &Session) -> String {
        ask(peer, &["neighbor", &session.ours]) + &peer.log()
    }
}

fn target(peer: &Peer<'_>) -> String {
    format!("unix://{}", shown(&peer.folder.join("gobgpd.sock")))
}

fn ask(peer: &Peer<'_>, question: &[&str]) -> String {
    peer.within(&[CLIENT, "--target", &target(peer)], question)
}

fn write_session(text: &mut String, peer: &Peer<'_>, session: &Session) {
    let knobs = peer.knobs;
    let _ = write!(
        text,
        "[[neighbors]]\n[neighbors.config]\nneighbor-address = \"{}\"\npeer-as = {OUR_ASN}\n",
        session.ours
    );
    if let Some(password) = knobs.password {
        let _ = writeln!(text, "auth-password = \"{password}\"");
    }
    let _ = write!(
        text,
        "[neighbors.transport.config]\nlocal-address = \"{}\"\n\
         [neighbors.timers.config]\nhold-time = {}\nkeepalive-interval = {}\n\
         connect-retry = 1\nidle-hold-time-after-reset = 1\n",
        session.theirs,
        knobs.hold_time,
        knobs.hold_time / 3,
    );
    if knobs.gtsm {
        text.push_str("[neighbors.ttl-security.config]\nenabled = true\nttl-min = 255\n");
    }
    let family = if session.v6 { "ipv6-unicast" } else { "ipv4-unicast" };
    let _ = write!(
        text,
        "[[neighbors.afi-safis]]\n[neighbors.afi-safis.config]\nafi-safi-name = \"{family}\"\n"
    );
    if knobs.paths {
        text.push_str("[neighbors.afi-safis.add-paths.config]\nreceive = true\nsend-max = 8\n");
    }
    if let Some(limit) = knobs.limit {
        let _ = write!(text, "[neighbors.afi-safis.prefix-limit.config]\nmax-prefixes = {limit}\n");
    }
}

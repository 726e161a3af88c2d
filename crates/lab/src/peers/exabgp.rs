//! ExaBGP 4 (https://github.com/Exa-Networks/exabgp): a leaf. It only dials, and forgets what it
//! hears.

use std::fmt::Write;
use std::path::Path;

use anycast_bgp::Family;

use super::{File, Peer, Run, Session, View, command, shown};

pub(super) const PROGRAM: &str = "/usr/sbin/exabgp";

pub(super) fn configure(view: &View<'_>, dir: &Path) -> Peer {
    let config = dir.join("exabgp.conf");
    let mut daemon = command(&[PROGRAM, &shown(&config)], Run::Daemon { ready: None });
    daemon.env = [
        // It would change to `nobody`, which a namespace of our own may not have.
        ("exabgp_daemon_drop", "false"),
        ("exabgp_daemon_user", "root"),
        ("exabgp_api_cli", "false"),
        ("exabgp_log_destination", "stderr"),
        ("exabgp_log_level", "DEBUG"),
        ("exabgp_log_all", "true"),
        ("PYTHONUNBUFFERED", "1"),
        ("exabgp_tcp_delay", "0"),
    ]
    .map(|(key, value)| (key, value.to_owned()))
    .to_vec();
    Peer { files: vec![File { path: config, content: text(view) }], commands: vec![daemon] }
}

fn text(view: &View<'_>) -> String {
    let mut out = String::new();
    for session in &view.sessions {
        write_session(&mut out, view, session);
    }
    out
}

fn write_session(out: &mut String, view: &View<'_>, session: &Session<'_>) {
    let (router, neighbor) = (view.router, session.neighbor);
    let _ = write!(
        out,
        "neighbor {} {{\n  \
           description \"{}\";\n  \
           router-id {};\n  \
           local-address {};\n  \
           local-as {};\n  \
           peer-as {};\n  \
           hold-time {};\n",
        neighbor.address,
        neighbor.name,
        router.router_id,
        neighbor.local_address,
        router.asn,
        neighbor.asn,
        neighbor.hold_time.as_secs(),
    );
    if neighbor.gtsm {
        let least = 256 - u16::from(session.multihop().unwrap_or(1));
        let _ = write!(out, "  outgoing-ttl 255;\n  incoming-ttl {least};\n");
    } else if let Some(hops) = session.multihop() {
        let _ = writeln!(out, "  outgoing-ttl {hops};");
    }
    if let Some(password) = &session.password {
        let _ = writeln!(out, "  md5-password \"{password}\";");
    }
    out.push_str("  family {\n");
    for family in &neighbor.families {
        let _ = writeln!(out, "    {} unicast;", name(*family));
    }
    out.push_str("  }\n  announce {\n");
    for family in &neighbor.families {
        let next_hop = session
            .next_hop_other(*family)
            .map_or("self".to_owned(), |address| address.to_string());
        let _ = writeln!(out, "    {} {{", name(*family));
        for net in view.originates(*family) {
            let _ = writeln!(out, "      unicast {net} next-hop {next_hop};");
        }
        out.push_str("    }\n");
    }
    out.push_str("  }\n}\n");
}

fn name(family: Family) -> &'static str {
    match family {
        Family::Ipv4Unicast => "ipv4",
        Family::Ipv6Unicast => "ipv6",
    }
}

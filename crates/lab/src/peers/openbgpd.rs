//! OpenBGPD (https://www.openbgpd.org), the portable release: a leaf, since on Linux it puts no
//! routes into the kernel. It changes to a user of its own and has to be kept from it.

use std::fmt::Write;
use std::path::Path;

use anycast_bgp::Family;

use super::{File, Peer, Run, Session, View, command, shown};

pub(super) const PROGRAM: &str = "/usr/sbin/bgpd";

pub(super) fn configure(view: &View<'_>, dir: &Path) -> Peer {
    let (config, socket) = (dir.join("bgpd.conf"), dir.join("bgpd.sock"));
    let content = text(view, &shown(&socket));
    let argv = [PROGRAM, "-d", "-f", &shown(&config)];
    let mut daemon = command(&argv, Run::Daemon { ready: Some(socket) });
    daemon.keep_user = true;
    Peer { files: vec![File { path: config, content }], commands: vec![daemon] }
}

fn text(view: &View<'_>, socket: &str) -> String {
    let router = view.router;
    let mut out = format!(
        "AS {}\n\
         router-id {}\n\
         socket \"{socket}\"\n\
         fib-update no\n\
         connect-retry 1\n",
        router.asn, router.router_id
    );
    let nets: Vec<String> = router.originates.iter().map(ToString::to_string).collect();
    for net in &nets {
        let _ = writeln!(out, "network {net}");
    }
    for session in &view.sessions {
        write_session(&mut out, session);
    }
    // Its own networks and nothing else, so that a leaf with two providers is no transit.
    out.push_str("allow from any\ndeny to any\n");
    for net in &nets {
        let _ = writeln!(out, "allow to any prefix {net}");
    }
    out
}

fn write_session(out: &mut String, session: &Session<'_>) {
    let neighbor = session.neighbor;
    let _ = write!(
        out,
        "neighbor {} {{\n  \
           remote-as {}\n  \
           descr \"{}\"\n  \
           local-address {}\n  \
           port {}\n  \
           holdtime {}\n",
        neighbor.address,
        neighbor.asn,
        neighbor.name,
        neighbor.local_address,
        neighbor.port,
        neighbor.hold_time.as_secs(),
    );
    for (family, name) in [(Family::Ipv4Unicast, "IPv4"), (Family::Ipv6Unicast, "IPv6")] {
        let what = if neighbor.families.contains(&family) { "unicast" } else { "none" };
        let _ = writeln!(out, "  announce {name} {what}");
    }
    if neighbor.gtsm {
        out.push_str("  ttl-security yes\n");
    } else if let Some(hops) = session.multihop() {
        let _ = writeln!(out, "  multihop {hops}");
    }
    if let Some(password) = &session.password {
        let _ = writeln!(out, "  tcp md5sig password \"{password}\"");
    }
    out.push_str("}\n");
}

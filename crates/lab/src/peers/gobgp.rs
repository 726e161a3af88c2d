//! GoBGP (https://github.com/osrg/gobgp): a leaf. Its file cannot say what to originate, so its
//! client tells it when it runs.

use std::fmt::Write;
use std::path::Path;

use anycast_bgp::Family;

use super::{File, Peer, Run, Session, View, command, shown};

pub(super) const PROGRAM: &str = "/usr/bin/gobgpd";
const CLIENT: &str = "/usr/bin/gobgp";

pub(super) fn configure(view: &View<'_>, dir: &Path) -> Peer {
    let (config, socket) = (dir.join("gobgpd.toml"), dir.join("gobgpd.sock"));
    let target = format!("unix://{}", shown(&socket));
    let daemon = [
        PROGRAM,
        "-f",
        &shown(&config),
        "--api-hosts",
        &target,
        "--pprof-disable",
        "--log-plain",
        "--log-level",
        "warn",
    ];
    let mut commands = vec![command(&daemon, Run::Daemon { ready: Some(socket) })];
    for (family, name) in [(Family::Ipv4Unicast, "ipv4"), (Family::Ipv6Unicast, "ipv6")] {
        for net in view.originates(family) {
            let argv = [CLIENT, "--target", &target, "global", "rib", "add", "-a", name, &net];
            commands.push(command(&argv, Run::Once));
        }
    }
    Peer { files: vec![File { path: config, content: text(view) }], commands }
}

fn text(view: &View<'_>) -> String {
    let router = view.router;
    // Its own networks and nothing else, so that a leaf with two providers is no transit.
    let mut out = format!(
        "[global.config]\n\
         as = {}\n\
         router-id = \"{}\"\n\
         [global.apply-policy.config]\n\
         default-import-policy = \"accept-route\"\n\
         export-policy-list = [\"own\"]\n\
         default-export-policy = \"reject-route\"\n\
         [[policy-definitions]]\n\
         name = \"own\"\n",
        router.asn, router.router_id
    );
    let mut sets = String::new();
    for (family, name) in [(Family::Ipv4Unicast, "ipv4"), (Family::Ipv6Unicast, "ipv6")] {
        let nets: Vec<String> = view.originates(family).collect();
        if nets.is_empty() {
            continue;
        }
        let _ = write!(
            out,
            "[[policy-definitions.statements]]\n\
             name = \"own-{name}\"\n\
             [policy-definitions.statements.conditions.match-prefix-set]\n\
             prefix-set = \"own-{name}\"\n\
             [policy-definitions.statements.actions]\n\
             route-disposition = \"accept-route\"\n"
        );
        let _ = write!(
            sets,
            "[[defined-sets.prefix-sets]]\n\
             prefix-set-name = \"own-{name}\"\n"
        );
        for net in nets {
            let _ = write!(
                sets,
                "[[defined-sets.prefix-sets.prefix-list]]\n\
                 ip-prefix = \"{net}\"\n"
            );
        }
    }
    out.push_str(&sets);
    for session in &view.sessions {
        write_session(&mut out, session);
    }
    out
}

fn write_session(out: &mut String, session: &Session<'_>) {
    let neighbor = session.neighbor;
    let hold_time = neighbor.hold_time.as_secs();
    let _ = write!(
        out,
        "[[neighbors]]\n\
         [neighbors.config]\n\
         neighbor-address = \"{}\"\n\
         peer-as = {}\n\
         description = \"{}\"\n",
        neighbor.address, neighbor.asn, neighbor.name
    );
    if let Some(password) = &session.password {
        let _ = writeln!(out, "auth-password = \"{password}\"");
    }
    let _ = write!(
        out,
        "[neighbors.transport.config]\n\
         local-address = \"{}\"\n\
         remote-port = {}\n\
         [neighbors.timers.config]\n\
         hold-time = {hold_time}\n\
         keepalive-interval = {}\n\
         connect-retry = 1\n\
         idle-hold-time-after-reset = 1\n",
        neighbor.local_address,
        neighbor.port,
        hold_time / 3,
    );
    if neighbor.gtsm {
        let least = 256 - u16::from(session.multihop().unwrap_or(1));
        let _ = write!(out, "[neighbors.ttl-security.config]\nenabled = true\nttl-min = {least}\n");
    } else if let Some(hops) = session.multihop() {
        let _ = write!(
            out,
            "[neighbors.ebgp-multihop.config]\nenabled = true\nmultihop-ttl = {hops}\n"
        );
    }
    for family in &neighbor.families {
        let name = match family {
            Family::Ipv4Unicast => "ipv4-unicast",
            Family::Ipv6Unicast => "ipv6-unicast",
        };
        let _ = write!(
            out,
            "[[neighbors.afi-safis]]\n[neighbors.afi-safis.config]\nafi-safi-name = \"{name}\"\n"
        );
    }
}

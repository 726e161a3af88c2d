//! FRRouting (https://docs.frrouting.org): zebra puts routes into the kernel, bgpd speaks BGP, and
//! bfdd BFD where a site wants it.
//!
//! All change to a user of their own and have to be kept from it.

use std::fmt::Write;
use std::path::Path;

use anycast_bgp::Family;
use anycast_bgp::policy::relation::Relation;

use super::{File, Peer, Run, Session, View, command, shown};

pub(super) const PROGRAM: &str = "/usr/lib/frr/bgpd";
const ZEBRA: &str = "/usr/lib/frr/zebra";
const BFDD: &str = "/usr/lib/frr/bfdd";

pub(super) fn configure(view: &View<'_>, dir: &Path) -> Peer {
    let socket = dir.join("zserv.api");
    let mut peer = Peer { files: Vec::new(), commands: Vec::new() };
    let bfd = view.sessions.iter().any(|session| session.neighbor.bfd.is_some());
    let bfdd = || (BFDD, "bfdd", hostname(view), dir.join("bfdd.vty"));
    let daemons = [
        Some((ZEBRA, "zebra", zebra(view), socket.clone())),
        bfd.then(bfdd),
        Some((PROGRAM, "bgpd", bgpd(view), dir.join("bgpd.vty"))),
    ];
    for (program, name, content, ready) in daemons.into_iter().flatten() {
        let config = dir.join(format!("{name}.conf"));
        let control = shown(&dir.join("bfdd.sock"));
        let argv = [
            program,
            "-f",
            &shown(&config),
            "-i",
            &shown(&dir.join(format!("{name}.pid"))),
            "-z",
            &shown(&socket),
            "--vty_socket",
            &shown(dir),
            // No terminal over TCP.
            "-P",
            "0",
            "--log",
            "stdout",
            "--log-level",
            "warnings",
        ];
        let more: &[&str] = if program == BFDD { &["--bfdctl", &control] } else { &[] };
        let argv = [&argv, more].concat();
        let mut daemon = command(&argv, Run::Daemon { ready: Some(ready) });
        daemon.keep_user = true;
        peer.commands.push(daemon);
        peer.files.push(File { path: config, content });
    }
    peer
}

fn zebra(view: &View<'_>) -> String {
    // The lab has set the addresses and turned forwarding on.
    hostname(view) + "ip nht resolve-via-default\nipv6 nht resolve-via-default\n"
}

fn hostname(view: &View<'_>) -> String {
    format!("hostname {}\n", view.node.name)
}

fn bgpd(view: &View<'_>) -> String {
    let router = view.router;
    // bgpd takes a policy for absent, and so refuses all, until some seconds after it appeared:
    // they come first.
    let mut out = hostname(view);
    write_policies(&mut out, router.asn.0);
    let _ = write!(
        out,
        "router bgp {}\n \
         bgp router-id {}\n \
         no bgp default ipv4-unicast\n \
         no bgp network import-check\n",
        router.asn, router.router_id
    );
    for session in &view.sessions {
        write_session(&mut out, session);
    }
    for (family, name) in [(Family::Ipv4Unicast, "ipv4"), (Family::Ipv6Unicast, "ipv6")] {
        let _ = writeln!(out, " address-family {name} unicast");
        for net in view.originates(family) {
            let _ = writeln!(out, "  network {net}");
        }
        for session in &view.sessions {
            if session.neighbor.families.contains(&family) {
                activate(&mut out, session);
            }
        }
        out.push_str(" exit-address-family\n");
    }
    out
}

fn write_session(out: &mut String, session: &Session<'_>) {
    let neighbor = session.neighbor;
    let hold_time = neighbor.hold_time.as_secs();
    let at = neighbor.address;
    let _ = write!(
        out,
        " neighbor {at} remote-as {}\n \
         neighbor {at} description {}\n \
         neighbor {at} update-source {}\n \
         neighbor {at} port {}\n \
         neighbor {at} advertisement-interval 0\n \
         neighbor {at} timers {} {hold_time}\n \
         neighbor {at} timers connect 1\n",
        neighbor.asn,
        neighbor.name,
        neighbor.local_address,
        neighbor.port,
        hold_time / 3,
    );
    if neighbor.gtsm {
        let _ =
            writeln!(out, " neighbor {at} ttl-security hops {}", session.multihop().unwrap_or(1));
    } else if let Some(hops) = session.multihop() {
        let _ = writeln!(out, " neighbor {at} ebgp-multihop {hops}");
    }
    if let Some(bfd) = neighbor.bfd {
        // What bgpd takes; of the two ends the slower decides.
        let interval = bfd.interval.as_millis().clamp(50, 60_000);
        let multiplier = bfd.multiplier.get().max(2);
        let _ = writeln!(out, " neighbor {at} bfd {multiplier} {interval} {interval}");
    }
    if let Some(password) = &session.password {
        let _ = writeln!(out, " neighbor {at} password {password}");
    }
}

fn activate(out: &mut String, session: &Session<'_>) {
    // For IPv6 prefixes over an IPv4 session, bgpd finds the next hop at the interface.
    let at = session.neighbor.address;
    let _ = writeln!(out, "  neighbor {at} activate");
    let (import, export) = match session.neighbor.relation {
        Some(Relation::Customer) => ("FROM-CUSTOMER", "TO-CUSTOMER"),
        Some(Relation::Peer) => ("FROM-PEER", "TO-OTHERS"),
        Some(Relation::Provider) => ("FROM-PROVIDER", "TO-OTHERS"),
        // An AS of one router has no others.
        None => return,
    };
    let _ = writeln!(out, "  neighbor {at} route-map {import} in");
    let _ = writeln!(out, "  neighbor {at} route-map {export} out");
}

/// `anycast_bgp::policy::relation` in FRR's words.
fn write_policies(out: &mut String, asn: u32) {
    let _ = write!(
        out,
        "bgp large-community-list standard CUSTOMERS permit {asn}:1:1\n\
         bgp large-community-list expanded TAGS permit ^{asn}:1:\n\
         bgp community-list standard SHUTDOWN permit graceful-shutdown\n\
         bgp as-path access-list LOCAL permit ^$\n"
    );
    for (name, tag, preference) in
        [("FROM-CUSTOMER", 1, 200), ("FROM-PEER", 2, 150), ("FROM-PROVIDER", 3, 100)]
    {
        let _ = write!(
            out,
            "route-map {name} permit 10\n \
             set large-comm-list TAGS delete\n \
             on-match next\n\
             route-map {name} permit 20\n \
             match community SHUTDOWN\n \
             set large-community {asn}:1:{tag} additive\n \
             set local-preference 0\n\
             route-map {name} permit 30\n \
             set large-community {asn}:1:{tag} additive\n \
             set local-preference {preference}\n"
        );
    }
    out.push_str(
        "route-map TO-CUSTOMER permit 10\n \
         set large-comm-list TAGS delete\n\
         route-map TO-OTHERS permit 10\n \
         match as-path LOCAL\n\
         route-map TO-OTHERS permit 20\n \
         match large-community CUSTOMERS\n \
         set large-comm-list TAGS delete\n",
    );
}

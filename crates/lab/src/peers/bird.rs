//! BIRD 2 (https://bird.network.cz/?get_doc&f=bird.html): one process for both families.

use std::fmt::Write;
use std::path::Path;

use anycast_bgp::Family;
use anycast_bgp::policy::relation::Relation;

use super::{File, Peer, Run, Session, View, command, shown};

pub(super) const PROGRAM: &str = "/usr/sbin/bird";

pub(super) fn configure(view: &View<'_>, dir: &Path) -> Peer {
    let (config, socket) = (dir.join("bird.conf"), dir.join("bird.ctl"));
    let argv = [
        PROGRAM,
        "-f",
        "-c",
        &shown(&config),
        "-s",
        &shown(&socket),
        "-P",
        &shown(&dir.join("bird.pid")),
    ];
    let daemon = command(&argv, Run::Daemon { ready: Some(socket) });
    Peer { files: vec![File { path: config, content: text(view) }], commands: vec![daemon] }
}

fn text(view: &View<'_>) -> String {
    let router = view.router;
    let mut out = format!(
        "# {}, AS {}\n\
         log stderr all;\n\
         router id {};\n\
         define OWN = {};\n\
         protocol device {{ scan time 5; }}\n",
        view.node.name, router.asn, router.router_id, router.asn
    );
    for family in [Family::Ipv4Unicast, Family::Ipv6Unicast] {
        let table = table(family);
        let _ = write!(
            out,
            "protocol kernel kernel_{table} {{\n  \
               scan time 60;\n  \
               {table} {{ import none; export where source = RTS_BGP; }};\n\
             }}\n\
             protocol static originate_{table} {{\n  {table};\n"
        );
        for net in view.originates(family) {
            let _ = writeln!(out, "  route {net} unreachable;");
        }
        // What the kernel knows already; here only so that next hops behind it resolve.
        let _ = write!(out, "}}\nprotocol static ways_{table} {{\n  {table};\n");
        for route in router.static_routes.iter().filter(|route| Family::of(&route.prefix) == family)
        {
            let via = route.gateway.map_or(format!("\"{}\"", route.ifname), |at| at.to_string());
            let _ = writeln!(out, "  route {} via {via};", route.prefix);
        }
        out.push_str("}\n");
    }
    if view.sessions.iter().any(|session| session.neighbor.bfd.is_some()) {
        out.push_str("protocol bfd { }\n");
    }
    out.push_str(FILTERS);
    for session in &view.sessions {
        write_session(&mut out, session);
    }
    out
}

/// `anycast_bgp::policy::relation` in BIRD's words.
const FILTERS: &str = "\
function take(int mark; int pref) {
  bgp_large_community.delete([(OWN, 1, *)]);
  bgp_large_community.add((OWN, 1, mark));
  bgp_local_pref = pref;
  if (65535, 0) ~ bgp_community then bgp_local_pref = 0;
  accept;
}
filter from_customer { take(1, 200); }
filter from_peer { take(2, 150); }
filter from_provider { take(3, 100); }
filter to_customer {
  if proto ~ \"ways_*\" then reject;
  bgp_large_community.delete([(OWN, 1, *)]);
  accept;
}
filter to_others {
  if proto ~ \"originate_*\" then accept;
  if source != RTS_BGP then reject;
  if !((OWN, 1, 1) ~ bgp_large_community) then reject;
  bgp_large_community.delete([(OWN, 1, *)]);
  accept;
}
";

fn write_session(out: &mut String, session: &Session<'_>) {
    let neighbor = session.neighbor;
    let _ = write!(
        out,
        "protocol bgp {} {{\n  \
           local {} port 179 as OWN;\n  \
           neighbor {} port {} as {};\n  \
           hold time {};\n  \
           connect delay time 1;\n  \
           connect retry time 1;\n  \
           error wait time 1, 2;\n",
        session.symbol,
        neighbor.local_address,
        neighbor.address,
        neighbor.port,
        neighbor.asn,
        neighbor.hold_time.as_secs(),
    );
    if let Some(hops) = session.multihop() {
        let _ = writeln!(out, "  multihop {hops};");
    }
    if neighbor.gtsm {
        out.push_str("  ttl security on;\n");
    }
    if let Some(bfd) = neighbor.bfd {
        let _ = writeln!(
            out,
            "  bfd {{ interval {} ms; multiplier {}; }};",
            bfd.interval.as_millis(),
            bfd.multiplier
        );
    }
    if let Some(password) = &session.password {
        let _ = writeln!(out, "  password \"{password}\";");
    }
    let (import, export) = match neighbor.relation {
        Some(Relation::Customer) => ("filter from_customer", "filter to_customer"),
        Some(Relation::Peer) => ("filter from_peer", "filter to_others"),
        Some(Relation::Provider) => ("filter from_provider", "filter to_others"),
        None => ("all", "where source = RTS_BGP"),
    };
    for family in &neighbor.families {
        let next_hop = session
            .next_hop_other(*family)
            .map_or(String::new(), |address| format!(" next hop address {address};"));
        let self_hop = if neighbor.next_hop_self { " next hop self;" } else { "" };
        let _ = writeln!(
            out,
            "  {} {{ import {import}; export {export};{self_hop}{next_hop} }};",
            table(*family)
        );
    }
    out.push_str("}\n");
}

fn table(family: Family) -> &'static str {
    match family {
        Family::Ipv4Unicast => "ipv4",
        Family::Ipv6Unicast => "ipv6",
    }
}

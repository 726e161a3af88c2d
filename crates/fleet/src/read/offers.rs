//! What is offered to a neighbor in its OPEN besides families: words of
//! `[site.NAME.neighbor.NAME]`.

use anycast_bgp::Role;
use anycast_bgp::retention::Limits;

use crate::Offers;
use crate::section::Section;
use crate::value;

const ROLES: &[(&str, Role)] = &[
    ("provider", Role::Provider),
    ("rs", Role::RouteServer),
    ("rs-client", Role::RouteServerClient),
    ("customer", Role::Customer),
    ("peer", Role::Peer),
];

const RESTARTS: &[(&str, bool)] = &[("helper", true), ("off", false)];
/// (paths are received, paths are sent)
const ADD_PATH: &[(&str, (bool, bool))] =
    &[("receive", (true, false)), ("send", (false, true)), ("both", (true, true))];
/// How many paths are sent if the file does not say.
const SEND_PATHS: u8 = 4;

pub(super) fn read(section: &mut Section<'_>) -> Offers {
    let (receive_paths, send) =
        section.get("add-path", value::word(ADD_PATH)).unwrap_or((false, false));
    let most = section.get("send-paths", value::number(1..=u8::MAX)).unwrap_or(SEND_PATHS);
    Offers {
        receive_paths,
        send_paths: if send { most } else { 0 },
        role: section.get("role", value::word(ROLES)),
        strict_role: section.get("strict-role", value::boolean).unwrap_or(false),
        extended_next_hop: section.get("extended-next-hop", value::boolean).unwrap_or(false),
        graceful_restart: read_restart(section),
    }
}

fn read_restart(section: &mut Section<'_>) -> Option<Limits> {
    let helps = section.get("graceful-restart", value::word(RESTARTS)).unwrap_or(true);
    let defaults = Limits::default();
    let stale = section.get("stale-time", value::some_duration).unwrap_or(defaults.stale);
    let long_lived = section.get("long-lived-stale-time", value::duration);
    let long_lived = long_lived.unwrap_or(defaults.long_lived);
    helps.then_some(Limits { stale, long_lived })
}

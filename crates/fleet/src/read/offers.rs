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

pub(super) fn read(section: &mut Section<'_>) -> Offers {
    Offers {
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

//! What is offered to a neighbor in its OPEN besides families: words of
//! `[site.NAME.neighbor.NAME]`.

use anycast_bgp::Role;

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

pub(super) fn read(section: &mut Section<'_>) -> Offers {
    Offers {
        role: section.get("role", value::word(ROLES)),
        strict_role: section.get("strict-role", value::boolean).unwrap_or(false),
    }
}

//! Rules about what is offered to a neighbor.

use anycast_bgp::policy::relation::Relation;
use anycast_bgp::{Family, Role};

use crate::Neighbor;
use crate::problem::{Problem, Problems};
use crate::read::{Placed, SiteDraft};

pub(super) fn lint(neighbor: &Placed<Neighbor>, site: &SiteDraft, problems: &Problems) {
    roles_are_between_networks(neighbor, site, problems);
    the_role_fits_the_relation(neighbor, problems);
    a_strict_role_is_a_role(neighbor, problems);
    paths_are_sent_if_they_are_counted(neighbor, problems);
    times_are_of_a_helper(neighbor, problems);
    other_next_hops_are_for_ipv4(neighbor, problems);
}

fn paths_are_sent_if_they_are_counted(neighbor: &Placed<Neighbor>, problems: &Problems) {
    let Placed { value, at } = neighbor;
    if at.has("send-paths") && value.offers.send_paths == 0 {
        let message = format!("`{}` is not sent several paths", value.name);
        problems.add(
            Problem::warning("paths-without-add-path", at.of("send-paths"), message)
                .help("Add `add-path = \"send\"` or `\"both\"`, or remove `send-paths`."),
        );
    }
}

/// Roles are of eBGP only (RFC 9234 §4).
fn roles_are_between_networks(neighbor: &Placed<Neighbor>, site: &SiteDraft, problems: &Problems) {
    let Placed { value, at } = neighbor;
    if value.offers.role.is_some() && value.asn == site.site.asn {
        let message = format!("`{}` is of the same AS: we have no role towards it", value.name);
        problems.add(
            Problem::warning("role-of-ibgp", at.of("role"), message)
                .also(at.of("asn"), "our own number")
                .help("Remove `role`, or correct `asn`."),
        );
    }
}

/// `relation` is what the neighbor is to us, `role` what we are to it.
fn the_role_fits_the_relation(neighbor: &Placed<Neighbor>, problems: &Problems) {
    let Placed { value, at } = neighbor;
    let (Some(role), Some(relation)) = (value.offers.role, value.relation) else { return };
    let (fits, wanted) = match relation {
        Relation::Provider => (role == Role::Customer, "\"customer\""),
        Relation::Customer => (role == Role::Provider, "\"provider\""),
        // A route server's client and its server exchange as peers do.
        Relation::Peer => (!matches!(role, Role::Customer | Role::Provider), "\"peer\""),
    };
    if !fits {
        let message = format!("our role towards `{}` contradicts its relation to us", value.name);
        problems.add(
            Problem::error("role-relation", at.of("role"), message)
                .also(at.of("relation"), "what the neighbor is to us")
                .help(format!("`role` is what we are to it: write {wanted}, or correct one.")),
        );
    }
}

fn a_strict_role_is_a_role(neighbor: &Placed<Neighbor>, problems: &Problems) {
    let Placed { value, at } = neighbor;
    if value.offers.strict_role && value.offers.role.is_none() {
        let message = format!("`{}` is to tell its role, but has none of ours", value.name);
        problems.add(
            Problem::warning("strict-without-role", at.of("strict-role"), message)
                .help("Add `role`: what we are to it. Without that `strict-role` does nothing."),
        );
    }
}

/// Without graceful restart nothing is stale.
fn times_are_of_a_helper(neighbor: &Placed<Neighbor>, problems: &Problems) {
    let Placed { value, at } = neighbor;
    let times = ["stale-time", "long-lived-stale-time"];
    if value.offers.graceful_restart.is_none()
        && let Some(key) = times.into_iter().find(|key| at.has(key))
    {
        let message = format!("nothing that `{}` sent is kept when it restarts", value.name);
        problems.add(
            Problem::warning("stale-time-unused", at.of(key), message)
                .also(at.of("graceful-restart"), "turned off here")
                .help(format!("Remove `{key}`, or write `graceful-restart = \"helper\"`.")),
        );
    }
}

fn other_next_hops_are_for_ipv4(neighbor: &Placed<Neighbor>, problems: &Problems) {
    let Placed { value, at } = neighbor;
    if value.offers.extended_next_hop && !value.families.contains(&Family::Ipv4Unicast) {
        let message = format!("nothing of IPv4 is spoken with `{}`", value.name);
        problems.add(
            Problem::warning("extended-next-hop-unused", at.of("extended-next-hop"), message)
                .help("Add \"ipv4\" to `families`: this is for IPv4 prefixes alone."),
        );
    }
}

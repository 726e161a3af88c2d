//! Rules about sites and their neighbors.

use std::net::IpAddr;
use std::num::NonZeroU8;
use std::time::Duration;

use anycast_bgp::Family;

use crate::problem::{Problem, Problems};
use crate::read::{Draft, Placed, SiteDraft, family_of};
use crate::{ExportPolicy, Neighbor};

/// Above this, BFD is no longer about noticing fast.
const BFD_INTERVAL_MAX: Duration = Duration::from_secs(10);

pub(super) fn lint(draft: &Draft, problems: &Problems) {
    for site in &draft.sites {
        it_has_neighbors(site, problems);
        it_has_a_location(site, problems);
        every_family_is_spoken(site, draft, problems);
        for (index, neighbor) in site.neighbors.iter().enumerate() {
            no_other_has_its_address(neighbor, &site.neighbors[..index], problems);
            both_ends_fit(neighbor, problems);
            the_session_stays_out_of_anycast(neighbor, draft, problems);
            it_is_told_something(neighbor, problems);
            its_families_have_prefixes(neighbor, draft, problems);
            it_knows_the_next_hop(neighbor, problems);
            someone_dials(neighbor, site, problems);
            relations_are_between_networks(neighbor, site, problems);
            bfd_is_worth_having(neighbor, problems);
            super::offers::lint(neighbor, site, problems);
            super::internal::lint(neighbor, site, problems);
            super::transport::lint(neighbor, problems);
        }
    }
}

fn it_has_neighbors(site: &SiteDraft, problems: &Problems) {
    if site.neighbors.is_empty() && !site.has_bad_neighbors {
        let name = &site.site.name;
        problems.add(
            Problem::error(
                "site-without-neighbors",
                site.at.name(),
                format!("site `{name}` has no neighbor"),
            )
            .label("nobody to announce to")
            .help(format!("Add `[site.{name}.neighbor.NAME]` with an `address` and an `asn`.")),
        );
    }
}

fn it_has_a_location(site: &SiteDraft, problems: &Problems) {
    let tried = ["city", "latitude", "longitude"].iter().any(|key| site.at.has(key));
    if site.site.location.is_none() && !tried {
        problems.add(
            Problem::warning(
                "no-location",
                site.at.name(),
                format!("it is not said where site `{}` is", site.site.name),
            )
            .help("Add `city = \"…\"`, or `latitude` and `longitude`: the lab and maps need it."),
        );
    }
}

fn no_other_has_its_address(
    neighbor: &Placed<Neighbor>,
    earlier: &[Placed<Neighbor>],
    problems: &Problems,
) {
    let address = neighbor.value.address;
    // A link-local address is another one on another link.
    let link = |of: &Neighbor| match of.address {
        IpAddr::V6(address) if address.is_unicast_link_local() => of.interface.clone(),
        _ => None,
    };
    let same = |other: &&Placed<Neighbor>| {
        other.value.address == address && link(&other.value) == link(&neighbor.value)
    };
    if let Some(other) = earlier.iter().find(same) {
        let message = format!(
            "neighbors `{}` and `{}` have the same address",
            other.value.name, neighbor.value.name
        );
        problems.add(
            Problem::error("duplicate-neighbor", neighbor.at.of("address"), message)
                .also(other.at.of("address"), "the same here")
                .help("A neighbor is known by its address: remove one, or correct the address."),
        );
    }
}

fn both_ends_fit(neighbor: &Placed<Neighbor>, problems: &Problems) {
    let Placed { value, at } = neighbor;
    let Some(local) = value.local_address else { return };
    if local == value.address {
        problems.add(
            Problem::error(
                "neighbor-is-self",
                at.of("address"),
                format!("neighbor `{}` has the site's own address", value.name),
            )
            .also(at.of("local-address"), "the same here")
            .help("`address` is the neighbor's end of the session, `local-address` ours."),
        );
    } else if family_of(local) != family_of(value.address) {
        let message = format!("{local} and {} are not of one family", value.address);
        problems.add(
            Problem::error("family-mismatch", at.of("local-address"), message)
                .also(at.of("address"), "the other end")
                .help("Use two IPv4 or two IPv6 addresses; `families` says what is announced."),
        );
    }
}

/// A session from or to an anycast address would end at whatever site is nearest.
fn the_session_stays_out_of_anycast(
    neighbor: &Placed<Neighbor>,
    draft: &Draft,
    problems: &Problems,
) {
    let ends = [
        ("address", Some(neighbor.value.address)),
        ("local-address", neighbor.value.local_address),
    ];
    for (key, address) in ends {
        let inside = |address: IpAddr| {
            draft.prefixes.iter().find(|prefix| {
                // The default route holds everything, and is refused for that already.
                let net = prefix.value.prefix;
                net.prefix_len() > 0 && net.contains(&address)
            })
        };
        if let Some((address, prefix)) = address.and_then(|a| Some((a, inside(a)?))) {
            let message = format!("{address} is in the anycast prefix {}", prefix.value.prefix);
            problems.add(
                Problem::warning("session-in-anycast", neighbor.at.of(key), message)
                    .label("is reached at any site")
                    .also(prefix.at.name(), "announced everywhere")
                    .help("Use the unicast addresses of the link for the session."),
            );
        }
    }
}

fn it_is_told_something(neighbor: &Placed<Neighbor>, problems: &Problems) {
    if !neighbor.at.has("export") {
        problems.add(
            Problem::warning(
                "no-export",
                neighbor.at.name(),
                format!("neighbor `{}` is told nothing", neighbor.value.name),
            )
            .label("has no `export`")
            .help(
                "Add `export = \"fleet\"` to announce the fleet's prefixes, or `\"nothing\"` if \
                 that is meant: without a policy nothing is announced (RFC 8212).",
            ),
        );
    }
}

fn announces(neighbor: &Neighbor) -> bool {
    neighbor.export != ExportPolicy::Nothing
}

fn has_prefix_of(draft: &Draft, family: Family) -> bool {
    draft.prefixes.iter().any(|prefix| Family::of(&prefix.value.prefix) == family)
}

fn its_families_have_prefixes(neighbor: &Placed<Neighbor>, draft: &Draft, problems: &Problems) {
    let Placed { value, at } = neighbor;
    if draft.prefixes.is_empty() || !announces(value) {
        return;
    }
    for (index, family) in value.families.iter().enumerate() {
        if !has_prefix_of(draft, *family) {
            let span =
                if at.has("families") { at.item("families", index) } else { at.of("address") };
            let message = format!("the fleet has no {family} prefix to tell `{}` of", value.name);
            problems.add(Problem::warning("family-without-prefix", span, message).help(format!(
                "Add an {family} prefix, choose other `families`, or write `export = \
                     \"nothing\"`."
            )));
        }
    }
}

/// Each family that the fleet has prefixes of is spoken with a neighbor of the site.
fn every_family_is_spoken(site: &SiteDraft, draft: &Draft, problems: &Problems) {
    let mut tellers =
        site.neighbors.iter().filter(|neighbor| announces(&neighbor.value)).peekable();
    if tellers.peek().is_none() || site.has_bad_neighbors {
        return;
    }
    let spoken: Vec<Family> =
        tellers.flat_map(|neighbor| neighbor.value.families.iter().copied()).collect();
    for family in [Family::Ipv4Unicast, Family::Ipv6Unicast] {
        if has_prefix_of(draft, family) && !spoken.contains(&family) {
            let name = &site.site.name;
            problems.add(
                Problem::warning(
                    "family-without-neighbor",
                    site.at.name(),
                    format!("site `{name}` announces no {family}: no neighbor speaks it"),
                )
                .help(format!(
                    "Add \"{family}\" to the `families` of a neighbor, or a neighbor with an \
                     {family} address."
                )),
            );
        }
    }
}

/// A session's own address is the next hop of its family; for the other one the file must say.
fn it_knows_the_next_hop(neighbor: &Placed<Neighbor>, problems: &Problems) {
    let Placed { value, at } = neighbor;
    if !announces(value) {
        return;
    }
    for family in &value.families {
        let (key, known) = match family {
            Family::Ipv4Unicast => {
                ("next-hop-v4", value.next_hop_v4.is_some() || value.offers.extended_next_hop)
            }
            Family::Ipv6Unicast => ("next-hop-v6", value.next_hop_v6.is_some()),
        };
        if *family != family_of(value.address) && !known && !at.has(key) {
            let message = format!(
                "`{}` is told of {family} over a session that has no {family} address",
                value.name
            );
            problems.add(
                Problem::error("next-hop-missing", at.of("families"), message)
                    .help(format!("Add `{key}`: the site's own {family} address on this link.")),
            );
        }
    }
}

fn someone_dials(neighbor: &Placed<Neighbor>, site: &SiteDraft, problems: &Problems) {
    if neighbor.value.passive && !site.site.listen {
        let message = format!("no session with `{}` can ever start", neighbor.value.name);
        problems.add(
            Problem::error("never-connects", neighbor.at.of("passive"), message)
                .label("we never dial")
                .also(site.at.of("listen"), "and never listen")
                .help("Remove one of the two."),
        );
    }
}

/// Roles are of eBGP only (RFC 9234 §4).
fn relations_are_between_networks(
    neighbor: &Placed<Neighbor>,
    site: &SiteDraft,
    problems: &Problems,
) {
    if neighbor.value.relation.is_some() && neighbor.value.asn == site.site.asn {
        problems.add(
            Problem::warning(
                "relation-of-ibgp",
                neighbor.at.of("relation"),
                format!("`{}` is of the same AS: it has no relation to us", neighbor.value.name),
            )
            .also(neighbor.at.of("asn"), "our own number")
            .help("Remove `relation`, or correct `asn`."),
        );
    }
}

fn bfd_is_worth_having(neighbor: &Placed<Neighbor>, problems: &Problems) {
    let Placed { value, at } = neighbor;
    let Some(bfd) = value.bfd else { return };
    let detection = bfd.detection_time();
    if bfd.interval > BFD_INTERVAL_MAX
        || (!value.hold_time.is_zero() && detection >= value.hold_time)
    {
        let message = format!(
            "BFD finds `{}` dead after {} s, the hold timer after {} s",
            value.name,
            detection.as_secs_f64(),
            value.hold_time.as_secs(),
        );
        problems.add(
            Problem::warning("bfd-slow", at.of("bfd"), message)
                .help("Choose a shorter `interval`; 300 ms × 3 is usual, 50 ms × 3 is fast."),
        );
    }
    if bfd.multiplier == NonZeroU8::MIN {
        let message = format!("one lost packet ends the session with `{}`", value.name);
        problems.add(
            Problem::warning("bfd-one-packet", at.of("bfd"), message)
                .help("Choose a `multiplier` of 3, and a shorter `interval` if need be."),
        );
    }
}

//! Rules about what a session runs over.

use std::net::{IpAddr, Ipv6Addr};

use crate::Neighbor;
use crate::problem::{Problem, Problems};
use crate::read::Placed;

pub(super) fn lint(neighbor: &Placed<Neighbor>, problems: &Problems) {
    one_kind_of_secret(neighbor, problems);
    a_link_is_named_with_its_addresses(neighbor, problems);
    the_delay_is_shorter_than_patience(neighbor, problems);
    a_warning_comes_before_the_limit(neighbor, problems);
}

/// The kernel refuses to sign one connection in two ways.
fn one_kind_of_secret(neighbor: &Placed<Neighbor>, problems: &Problems) {
    let Placed { value, at } = neighbor;
    if value.password_file.is_some() && at.has("tcp-ao") {
        let message = format!("`{}` has two kinds of secret", value.name);
        problems.add(
            Problem::error("two-secrets", at.of("tcp-ao"), message)
                .also(at.of("password-file"), "TCP MD5")
                .help("TCP-AO is meant to replace TCP MD5 (RFC 5925): remove one of the two."),
        );
    }
}

/// A link-local address is an address only together with its link, and is never routed.
fn a_link_is_named_with_its_addresses(neighbor: &Placed<Neighbor>, problems: &Problems) {
    let Placed { value, at } = neighbor;
    let link_local =
        |address| matches!(address, IpAddr::V6(it) if Ipv6Addr::is_unicast_link_local(&it));
    let other = |key, message: String, help: &str| {
        problems.add(Problem::error("link-local", at.of(key), message).help(help));
    };
    if !link_local(value.address) {
        if let Some(local) = value.local_address.filter(|local| link_local(*local)) {
            let message = format!("{local} is a link-local address, and {} is not", value.address);
            let help = "Both ends of a session are link-local, or neither is.";
            other("local-address", message, help);
        }
        return;
    }
    if value.interface.is_none() {
        let message = format!("it is not said on which link {} is", value.address);
        let help =
            "A link-local address is there on every link: add `interface`, such as \"eth0\".";
        other("address", message, help);
    }
    if let Some(local) = value.local_address.filter(|local| local.is_ipv6() && !link_local(*local))
    {
        let message = format!("{} is a link-local address, and {local} is not", value.address);
        let help = "Leave `local-address` out, or write this end's own link-local address.";
        other("local-address", message, help);
    }
    if at.has("multihop") {
        let message = format!("{} cannot be behind a router", value.address);
        other("multihop", message, "Link-local packets are never forwarded: remove `multihop`.");
    }
}

/// A neighbor gives a new connection some time for its OPEN: four minutes by RFC 4271 §8.2.2.
fn the_delay_is_shorter_than_patience(neighbor: &Placed<Neighbor>, problems: &Problems) {
    let Placed { value, at } = neighbor;
    if value.delay_open.as_secs() >= 240 {
        let message = format!("`{}` will not wait so long for our OPEN", value.name);
        problems.add(
            Problem::warning("delay-open", at.of("delay-open"), message)
                .help("Write less than \"240s\"; a few seconds are enough to let it speak first."),
        );
    }
}

fn a_warning_comes_before_the_limit(neighbor: &Placed<Neighbor>, problems: &Problems) {
    let Placed { value, at } = neighbor;
    let Some(limit) = value.limits.prefixes else { return };
    if limit.warn_at > limit.limit {
        let message = format!(
            "the warning at {} prefixes of `{}` never comes before the limit of {}",
            limit.warn_at, value.name, limit.limit
        );
        problems.add(
            Problem::warning("warn-over-limit", at.of("max-prefixes"), message)
                .help("Choose a `warn-at` of at most `limit`."),
        );
    }
}

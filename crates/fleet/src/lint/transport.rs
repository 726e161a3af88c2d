//! Rules about what a session runs over.

use std::net::IpAddr;

use crate::Neighbor;
use crate::problem::{Problem, Problems};
use crate::read::Placed;

pub(super) fn lint(neighbor: &Placed<Neighbor>, problems: &Problems) {
    one_kind_of_secret(neighbor, problems);
    addresses_are_not_of_one_link(neighbor, problems);
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

fn addresses_are_not_of_one_link(neighbor: &Placed<Neighbor>, problems: &Problems) {
    let Placed { value, at } = neighbor;
    let ends = [("address", Some(value.address)), ("local-address", value.local_address)];
    for (key, address) in ends {
        let Some(IpAddr::V6(address)) = address else { continue };
        if address.is_unicast_link_local() {
            let message = format!("{address} is a link-local address");
            problems.add(
                Problem::error("link-local", at.of(key), message)
                    .help("Sessions between link-local addresses are not there yet: use a global or unique local one (fd00::/8)."),
            );
        }
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

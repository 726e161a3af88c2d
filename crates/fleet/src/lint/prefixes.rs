//! Rules about prefixes.

use std::net::{Ipv4Addr, Ipv6Addr};

use anycast_bgp::Asn;
use anycast_steer::Require;
use ipnet::{IpNet, Ipv4Net, Ipv6Net};

use crate::problem::{Problem, Problems, suggestion};
use crate::read::{Draft, Placed};
use crate::{Prefix, Probe};

/// The longest prefixes that networks accept from each other (RFC 7454 §6.1.3).
const LONGEST_V4: u8 = 24;
const LONGEST_V6: u8 = 48;

pub(super) fn lint(draft: &Draft, problems: &Problems) {
    for (index, prefix) in draft.prefixes.iter().enumerate() {
        it_overlaps_no_other(prefix, &draft.prefixes[..index], problems);
        it_stands_for_services(prefix, draft, problems);
        it_can_be_satisfied(prefix, problems);
        its_load_is_measured(prefix, draft, problems);
        if is_public(draft) {
            the_internet_takes_its_length(prefix, problems);
        }
        it_may_be_announced(prefix, draft, problems);
    }
}

/// Whether any session leads to a network with a public or documentation number: then what is
/// announced is meant for the Internet, or for a rehearsal of it.
fn is_public(draft: &Draft) -> bool {
    draft.sites.iter().any(|site| {
        site.neighbors.iter().any(|neighbor| {
            let asn = neighbor.value.asn;
            asn != site.site.asn && !asn.is_private()
        })
    })
}

fn it_overlaps_no_other(prefix: &Placed<Prefix>, earlier: &[Placed<Prefix>], problems: &Problems) {
    let new = prefix.value.prefix;
    for other in earlier {
        let old = other.value.prefix;
        if old.contains(&new) || new.contains(&old) {
            let message = format!("{new} overlaps {old}");
            problems.add(
                Problem::error("prefix-overlap", prefix.at.name(), message)
                    .also(other.at.name(), "the other prefix")
                    .help(
                        "Packets follow the longer prefix only: keep one of the two and name all \
                         services there.",
                    ),
            );
        }
    }
}

fn it_stands_for_services(prefix: &Placed<Prefix>, draft: &Draft, problems: &Problems) {
    let Placed { value, at } = prefix;
    if value.services.is_empty() && !has_bad_items(prefix) {
        problems.add(
            Problem::error(
                "prefix-without-services",
                at.of("services"),
                format!("{} stands for no service", value.prefix),
            )
            .label("nothing could ever make it healthy")
            .help("Add `services = [\"…\"]` with the services behind the prefix."),
        );
    }
    let known: Vec<&str> =
        draft.services.iter().map(|service| service.value.name.as_str()).collect();
    for (index, name) in value.services.iter().enumerate() {
        if !known.contains(&name.as_str()) {
            let message = format!("there is no service called {name:?}");
            let help = suggestion(name, &known, "Add `[service.NAME]`, or name one of");
            let span = at.item("services", index);
            problems.add(Problem::error("unknown-service", span, message).help(help));
        }
    }
}

/// An item that could not be read has been reported already.
fn has_bad_items(prefix: &Placed<Prefix>) -> bool {
    prefix.at.has("services") && !prefix.at.is_empty_list("services")
}

fn it_can_be_satisfied(prefix: &Placed<Prefix>, problems: &Problems) {
    let Placed { value, at } = prefix;
    let Require::AtLeast(count) = value.require else { return };
    let total: u64 = value.weights.iter().map(|&weight| u64::from(weight)).sum();
    if total > 0 && u64::from(count) > total {
        let message = if value.weights.iter().any(|&weight| weight != 1) {
            format!(
                "{} needs services that weigh {count} but all weigh {total}: it would never be \
                 announced",
                value.prefix
            )
        } else {
            format!(
                "{} needs {count} services but stands for {total}: it would never be announced",
                value.prefix
            )
        };
        problems.add(
            Problem::error("require-too-many", at.of("require"), message)
                .also(at.of("services"), "the services")
                .help(format!("Write at most {total}, or `\"all\"`.")),
        );
    }
}

/// `check NAME` prints the number: it is a command.
fn its_load_is_measured(prefix: &Placed<Prefix>, draft: &Draft, problems: &Problems) {
    let shed = prefix.value.shed.as_ref();
    let Some(name) = shed.and_then(|shed| shed.load.strip_prefix("check ")) else { return };
    let checks = || draft.services.iter().flat_map(|service| &service.value.checks);
    let printing: Vec<&str> = checks()
        .filter(|check| matches!(check.probe, Probe::Command { .. }))
        .map(|check| check.name.as_str())
        .collect();
    if printing.contains(&name) {
        return;
    }
    let message = if checks().any(|check| check.name == name) {
        format!("the check {name:?} is no command: it prints no number")
    } else {
        format!("there is no check called {name:?}")
    };
    let help = if printing.is_empty() {
        "Add a `[[service.NAME.check]]` with `type = \"command\"` that prints the number."
            .to_owned()
    } else {
        suggestion(name, &printing, "Write")
    };
    problems.add(Problem::error("unknown-load", prefix.at.of("shed"), message).help(help));
}

fn the_internet_takes_its_length(prefix: &Placed<Prefix>, problems: &Problems) {
    let net = prefix.value.prefix;
    let longest = if matches!(net, IpNet::V4(_)) { LONGEST_V4 } else { LONGEST_V6 };
    if net.prefix_len() > longest {
        problems.add(
            Problem::warning(
                "prefix-too-long",
                prefix.at.name(),
                format!("{net} is longer than /{longest}"),
            )
            .label("most networks drop it")
            .help(format!("Announce a whole /{longest}.")),
        );
    }
}

fn it_may_be_announced(prefix: &Placed<Prefix>, draft: &Draft, problems: &Problems) {
    let net = prefix.value.prefix;
    let span = prefix.at.name();
    if let Some(what) = never_routed(&net) {
        let message = format!("{net} can never be announced: {what}");
        problems.add(
            Problem::error("bogon-prefix", span, message)
                .help("Announce addresses that a registry assigned to you."),
        );
    } else if let Some(what) = private(&net) {
        if is_public(draft) {
            problems.add(
                Problem::warning("private-prefix", span, format!("{net} is {what}"))
                    .label("the Internet drops it")
                    .help(
                        "Announce addresses that a registry assigned to you. Between networks of \
                         your own, give the neighbors private ASNs.",
                    ),
            );
        }
    } else if is_documentation(&net) && is_assigned(draft.asn) {
        let message = format!("{net} is for documentation, but AS{} is not", draft.asn);
        problems.add(
            Problem::warning("documentation-mixed", span, message)
                .label("the Internet drops it")
                .also(draft.at.of("asn"), "the number that it is announced from")
                .help("Replace what is left of an example by your own prefix."),
        );
    } else if !is_documentation(&net) && draft.asn.is_documentation() {
        let message = format!("AS{} is for documentation, but {net} is not", draft.asn);
        problems.add(
            Problem::warning("documentation-mixed", draft.at.of("asn"), message)
                .also(span, "announced from it")
                .help("Replace what is left of an example by your own number."),
        );
    }
}

/// Assigned to a network by a registry, as far as the number tells.
pub(super) fn is_assigned(asn: Asn) -> bool {
    asn != Asn(0) && !asn.is_documentation() && !asn.is_private()
}

const fn v4(a: u8, b: u8, c: u8, d: u8, len: u8) -> IpNet {
    IpNet::V4(Ipv4Net::new_assert(Ipv4Addr::new(a, b, c, d), len))
}

const fn v6(a: u16, b: u16, len: u8) -> IpNet {
    IpNet::V6(Ipv6Net::new_assert(Ipv6Addr::new(a, b, 0, 0, 0, 0, 0, 0), len))
}

/// From the IANA registries of special-purpose addresses (RFC 6890).
const NEVER_ROUTED: [(IpNet, &str); 8] = [
    (v4(0, 0, 0, 0, 8), "it is \"this network\" (RFC 791)"),
    (v4(127, 0, 0, 0, 8), "it is loopback (RFC 1122)"),
    (v4(169, 254, 0, 0, 16), "it is link-local (RFC 3927)"),
    (v4(192, 0, 0, 0, 24), "it is kept for protocols (RFC 6890)"),
    (v4(224, 0, 0, 0, 4), "it is multicast (RFC 5771)"),
    (v4(240, 0, 0, 0, 4), "it is reserved (RFC 1112)"),
    (v6(0xfe80, 0, 10), "it is link-local (RFC 4291)"),
    (v6(0xff00, 0, 8), "it is multicast (RFC 4291)"),
];

const PRIVATE: [(IpNet, &str); 6] = [
    (v4(10, 0, 0, 0, 8), "private (RFC 1918)"),
    (v4(172, 16, 0, 0, 12), "private (RFC 1918)"),
    (v4(192, 168, 0, 0, 16), "private (RFC 1918)"),
    (v4(100, 64, 0, 0, 10), "shared by carriers (RFC 6598)"),
    (v4(198, 18, 0, 0, 15), "for benchmarks (RFC 2544)"),
    (v6(0xfc00, 0, 7), "unique local (RFC 4193)"),
];

/// RFC 5737, RFC 3849 and RFC 9637.
const DOCUMENTATION: [IpNet; 5] = [
    v4(192, 0, 2, 0, 24),
    v4(198, 51, 100, 0, 24),
    v4(203, 0, 113, 0, 24),
    v6(0x2001, 0x0db8, 32),
    v6(0x3fff, 0, 20),
];

/// All that is global unicast so far (RFC 4291 §2.4) beside unique local addresses.
const GLOBAL_V6: IpNet = v6(0x2000, 0, 3);

fn never_routed(net: &IpNet) -> Option<&'static str> {
    if net.prefix_len() == 0 {
        return Some("it is the default route, all addresses at once");
    }
    let overlaps = |special: &IpNet| special.contains(net) || net.contains(special);
    if let Some((_, what)) = NEVER_ROUTED.iter().find(|(special, _)| overlaps(special)) {
        return Some(what);
    }
    let beyond = matches!(net, IpNet::V6(_)) && !GLOBAL_V6.contains(net) && private(net).is_none();
    beyond.then_some("it is not of the global unicast addresses, 2000::/3 (RFC 4291)")
}

fn private(net: &IpNet) -> Option<&'static str> {
    PRIVATE.iter().find(|(special, _)| special.contains(net)).map(|(_, what)| *what)
}

fn is_documentation(net: &IpNet) -> bool {
    DOCUMENTATION.iter().any(|special| special.contains(net))
}

//! Rules about services.

use std::net::IpAddr;

use crate::problem::{Problem, Problems};
use crate::read::{Draft, Placed};
use crate::{Builtin, Service};

pub(super) fn lint(draft: &Draft, problems: &Problems) {
    for (index, service) in draft.services.iter().enumerate() {
        its_addresses_are_announced(service, draft, problems);
        no_two_serve_one_port(service, &draft.services[..index], problems);
        no_two_speak_quic_at_one_port(service, &draft.services[..index], problems);
        what_is_told_to_clients_is_there(service, draft, problems);
    }
}

/// Every address is in a prefix that stands for the service: else it is either never reached, or
/// reached whether the service is healthy or not.
fn its_addresses_are_announced(service: &Placed<Service>, draft: &Draft, problems: &Problems) {
    let Placed { value: Service { name, addresses, .. }, at } = service;
    let listing = || draft.prefixes.iter().filter(|prefix| prefix.value.services.contains(name));
    if listing().next().is_none() {
        let message = format!("no prefix stands for service `{name}`");
        problems.add(
            Problem::warning("unused-service", at.name(), message)
                .label("is never announced")
                .help(format!("Add {name:?} to the `services` of the prefix that it is in.")),
        );
        return;
    }
    for (index, address) in addresses.iter().enumerate() {
        if listing().any(|prefix| prefix.value.prefix.contains(address)) {
            continue;
        }
        let span = at.item("addresses", index);
        let message = format!("{address} is in no prefix that stands for service `{name}`");
        let problem = Problem::error("address-outside-prefix", span, message);
        let around = draft.prefixes.iter().find(|prefix| prefix.value.prefix.contains(address));
        let problem = if let Some(prefix) = around {
            problem
                .also(prefix.at.of("services"), format!("does not name `{name}`"))
                .help(format!("Add {name:?} to the `services` of {}.", prefix.value.prefix))
        } else {
            let prefixes: Vec<String> =
                listing().map(|prefix| prefix.value.prefix.to_string()).collect();
            problem.label("no client would get there").help(format!(
                "Choose an address in {}, or announce the prefix that this one is in.",
                prefixes.join(" or ")
            ))
        };
        problems.add(problem);
    }
}

/// Two services may share an address, but not a port of it.
fn no_two_serve_one_port(
    service: &Placed<Service>,
    earlier: &[Placed<Service>],
    problems: &Problems,
) {
    for (index, address) in service.value.addresses.iter().enumerate() {
        for other in earlier {
            let theirs = ports(&other.value, *address);
            // Neither is the site's own: two programs may well know what they do.
            let strangers = service.value.builtin.is_none() && other.value.builtin.is_none();
            let clash =
                ports(&service.value, *address).into_iter().find(|port| theirs.contains(port));
            let (Some(port), false) = (clash, strangers) else { continue };
            let there = other.value.addresses.iter().position(|theirs| theirs == address);
            let (mine, other_name) = (&service.value.name, &other.value.name);
            let message =
                format!("services `{mine}` and `{other_name}` both serve port {port} of {address}");
            let related = there.map_or_else(|| other.at.name(), |i| other.at.item("addresses", i));
            problems.add(
                Problem::error("port-clash", service.at.item("addresses", index), message)
                    .also(related, format!("already served by `{other_name}`"))
                    .help(
                        "Give one of them another address, or move or switch off the port with \
                         `dns-port` or `http-port`.",
                    ),
            );
        }
    }
}

/// The same for UDP, where QUIC may meet QUIC or DNS; at the sites' own addresses too, if clients are
/// told of them.
fn no_two_speak_quic_at_one_port(
    service: &Placed<Service>,
    earlier: &[Placed<Service>],
    problems: &Problems,
) {
    let udp = |it: &Service| {
        let dns = it.builtin.as_ref().and_then(|Builtin::Whoami { dns_port, .. }| *dns_port);
        [dns, it.quic().map(|quic| quic.port)]
    };
    let told = |it: &Service| it.quic().filter(|it| it.preferred_address).map(|it| it.port);
    for other in earlier {
        let (mine, theirs) = (&service.value, &other.value);
        if mine.quic().is_none() && theirs.quic().is_none() {
            continue;
        }
        let shared = mine.addresses.iter().position(|it| theirs.addresses.contains(it));
        let port = udp(mine).into_iter().flatten().find(|it| udp(theirs).contains(&Some(*it)));
        let (span, message) = if let (Some(index), Some(port)) = (shared, port) {
            let words = format!("both serve UDP port {port} of {}", mine.addresses[index]);
            (service.at.item("addresses", index), words)
        } else if let Some(port) = told(mine).filter(|_| told(mine) == told(theirs)) {
            let words = format!("both serve UDP port {port} of the sites' own addresses");
            (service.at.of("preferred-address"), words)
        } else {
            continue;
        };
        let message = format!("services `{}` and `{}` {message}", mine.name, theirs.name);
        problems.add(
            Problem::error("port-clash", span, message)
                .also(other.at.name(), "the first")
                .help("Give one of them another port by `quic-port`."),
        );
    }
}

/// Clients can be told of addresses that the sites have, and where nothing else listens.
fn what_is_told_to_clients_is_there(service: &Placed<Service>, draft: &Draft, problems: &Problems) {
    let Some(quic) = service.value.quic().filter(|it| it.preferred_address) else { return };
    let span = service.at.of("preferred-address");
    match &draft.affinity {
        None => problems.add(
            Problem::warning("unused-key", span, "no site has an address of its own to tell")
                .label("has no effect")
                .help(
                    "Add `[affinity]`, and `[site.NAME.affinity]` with `v4` or `v6`; or remove it.",
                ),
        ),
        Some(affinity) if affinity.port() == quic.port => problems.add(
            Problem::error("port-clash", span, "`[affinity]` has the same port")
                .help("Give the service another port by `quic-port`."),
        ),
        Some(_) => {}
    }
}

/// Ports of `address` that the service is known to serve: its own, or else those that its checks
/// probe.
fn ports(service: &Service, address: IpAddr) -> Vec<u16> {
    if !service.addresses.contains(&address) {
        return Vec::new();
    }
    if service.builtin.is_some() {
        return service.builtin_ports();
    }
    service
        .checks
        .iter()
        .filter(|check| check.address == Some(address))
        .filter_map(|check| check.probe.port())
        .map(|(_, port)| port)
        .collect()
}

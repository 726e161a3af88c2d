//! Rules about keeping connections at their sites.

use std::collections::BTreeMap;
use std::net::IpAddr;

use crate::affinity::MOST_IDS;
use crate::problem::{Problem, Problems};
use crate::read::{Draft, SiteAffinityDraft, SiteDraft};

pub(super) fn lint(draft: &Draft, problems: &Problems) {
    if draft.affinity.is_none() {
        nothing_of_it_is_said_without_it(draft, problems);
        return;
    }
    every_site_that_serves_has_a_number(draft, problems);
    a_number_is_one_sites(draft, problems);
    an_address_is_one_sites(draft, problems);
    every_two_sites_can_reach_each_other(draft, problems);
    some_service_keeps_connections(draft, problems);
}

fn serving(draft: &Draft) -> impl Iterator<Item = &SiteDraft> {
    draft.sites.iter().filter(|site| !site.site.router)
}

fn tables(draft: &Draft) -> impl Iterator<Item = (&SiteDraft, &SiteAffinityDraft)> {
    serving(draft).filter_map(|site| Some((site, site.affinity.as_ref()?)))
}

fn nothing_of_it_is_said_without_it(draft: &Draft, problems: &Problems) {
    let of_sites = draft.sites.iter().filter_map(|site| Some(site.affinity.as_ref()?.at.name()));
    let services = draft.services.iter().filter(|it| it.at.has("affinity"));
    for span in of_sites.chain(services.map(|it| it.at.of("affinity"))) {
        problems.add(
            Problem::warning("affinity-unused", span, "no connection is kept: there is no key")
                .label("has no effect")
                .help("Add `[affinity]` with an `[[affinity.key]]`, or remove this."),
        );
    }
}

/// The lowest number that no site has.
fn free_id(draft: &Draft) -> Option<u8> {
    let taken: Vec<u8> = draft.sites.iter().filter_map(|site| site.affinity.as_ref()?.id).collect();
    (1..=MOST_IDS).find(|id| !taken.contains(id))
}

fn id_to_write(draft: &Draft) -> String {
    match free_id(draft) {
        Some(id) => format!("`id = {id}` is free: it is written once and kept for good."),
        None => format!("All of 1 to {MOST_IDS} are taken: a fleet can have no more such sites."),
    }
}

fn every_site_that_serves_has_a_number(draft: &Draft, problems: &Problems) {
    for site in &draft.sites {
        match (&site.affinity, site.site.router) {
            (None, true) => {}
            (Some(its), true) => problems.add(
                Problem::warning("affinity-unused", its.at.name(), "a router has no connections")
                    .label("has no effect")
                    .help("Remove it: the machines behind the router keep theirs."),
            ),
            (None, false) => {
                let name = &site.site.name;
                let message = format!("{name} has no `[site.{name}.affinity]`");
                problems.add(
                    Problem::error("missing-key", site.at.name(), message)
                        .label("nobody could bring it what it owns")
                        .help(format!(
                            "Add `[site.{name}.affinity]` with an `id`, and `v4` or `v6`, an \
                             address of this site alone. {}",
                            id_to_write(draft)
                        )),
                );
            }
            (Some(its), false) => {
                if !its.at.has("id") {
                    problems.add(
                        Problem::error("missing-key", its.at.name(), "this site has no `id`")
                            .label("`id` is missing")
                            .help(id_to_write(draft)),
                    );
                }
                if !its.at.has("v4") && !its.at.has("v6") {
                    let message = "this site has no address for what it owns";
                    problems.add(
                        Problem::error("missing-key", its.at.name(), message)
                            .label("`v4` or `v6` is missing")
                            .help("Add one of its own addresses, which is no anycast one."),
                    );
                }
            }
        }
    }
}

fn a_number_is_one_sites(draft: &Draft, problems: &Problems) {
    let mut seen: BTreeMap<u8, (&SiteDraft, &SiteAffinityDraft)> = BTreeMap::new();
    for (site, its) in tables(draft) {
        let Some(id) = its.id else { continue };
        let Some((other, first)) = seen.get(&id) else {
            seen.insert(id, (site, its));
            continue;
        };
        let message = format!("{} and {} have the same `id`", other.site.name, site.site.name);
        problems.add(
            Problem::error("duplicate-id", its.at.of("id"), message)
                .label("the second")
                .also(first.at.of("id"), "the first")
                .help(id_to_write(draft)),
        );
    }
}

fn an_address_is_one_sites(draft: &Draft, problems: &Problems) {
    let mut seen: BTreeMap<IpAddr, (&SiteDraft, &SiteAffinityDraft, &'static str)> =
        BTreeMap::new();
    for (site, its) in tables(draft) {
        let both = [("v4", its.v4.map(IpAddr::V4)), ("v6", its.v6.map(IpAddr::V6))];
        for (key, address) in both {
            let Some(address) = address else { continue };
            let inside = draft.prefixes.iter().find(|prefix| {
                let net = prefix.value.prefix;
                net.prefix_len() > 0 && net.contains(&address)
            });
            if let Some(prefix) = inside {
                let message = format!("{address} is in the anycast prefix {}", prefix.value.prefix);
                problems.add(
                    Problem::error("affinity-in-anycast", its.at.of(key), message)
                        .label("is reached at any site")
                        .also(prefix.at.name(), "announced everywhere")
                        .help("Write an address that leads to this site alone."),
                );
            }
            if address.is_unspecified() || address.is_multicast() || address.is_loopback() {
                problems.add(
                    Problem::error(
                        "bad-value",
                        its.at.of(key),
                        format!("{address} leads other sites nowhere"),
                    )
                    .help("Write the address at which the other sites reach this one."),
                );
            } else if let Some((other, first, at)) = seen.get(&address) {
                let message =
                    format!("{} and {} have the same address", other.site.name, site.site.name);
                problems.add(
                    Problem::error("duplicate-affinity-address", its.at.of(key), message)
                        .label("the second")
                        .also(first.at.of(at), "the first")
                        .help("Write for each site an address that leads to it alone."),
                );
            } else {
                seen.insert(address, (site, its, key));
            }
        }
    }
}

fn every_two_sites_can_reach_each_other(draft: &Draft, problems: &Problems) {
    let only_v4 = tables(draft).find(|(_, its)| its.v4.is_some() && !its.at.has("v6"));
    let only_v6 = tables(draft).find(|(_, its)| its.v6.is_some() && !its.at.has("v4"));
    if let (Some((four, of_four)), Some((six, of_six))) = (only_v4, only_v6) {
        let message = format!(
            "{} has an IPv4 address alone and {} an IPv6 address alone",
            four.site.name, six.site.name
        );
        problems.add(
            Problem::error("affinity-families", of_six.at.of("v6"), message)
                .label("cannot be reached by the other")
                .also(of_four.at.of("v4"), "the other")
                .help("Give all sites an address of one family."),
        );
    }
}

fn some_service_keeps_connections(draft: &Draft, problems: &Problems) {
    let at = draft.affinity.as_ref().map(|it| it.at.name()).unwrap_or_default();
    if !draft.services.is_empty() && !draft.services.iter().any(|it| it.value.affinity.any()) {
        problems.add(
            Problem::warning("affinity-unused", at, "no service keeps connections")
                .label("has no effect")
                .help("Write `affinity = [\"tcp\"]` at a service, or remove its empty list."),
        );
    }
}

//! Rules about floors and what the sites share.

use std::collections::BTreeMap;

use crate::problem::{Problem, Problems};
use crate::read::{Draft, FloorDraft, SiteDraft};

pub(super) fn lint(draft: &Draft, problems: &Problems) {
    let own = draft.prefixes.iter().zip(&draft.floors).filter_map(|(_, floor)| floor.as_ref());
    let floors: Vec<&FloorDraft> = draft.floor.iter().chain(own).collect();
    for floor in &floors {
        it_has_a_bound(floor, problems);
        the_fleet_can_satisfy_it(floor, draft, problems);
        its_regions_can_satisfy_it(floor, draft, problems);
    }
    who_has_a_floor_shares(&floors, draft, problems);
    what_is_shared_is_outside_of_the_fleet(draft, problems);
}

fn announcing(draft: &Draft) -> impl Iterator<Item = &SiteDraft> {
    draft.sites.iter().filter(|site| !site.site.router)
}

fn it_has_a_bound(floor: &FloorDraft, problems: &Problems) {
    if !floor.has_bound() && !floor.at.has("when-alone") {
        problems.add(
            Problem::error("missing-key", floor.at.name(), "this floor has no bound")
                .help("Add `min-sites`, `max-withdrawn-share` or `min-sites-per-region`."),
        );
    }
}

fn the_fleet_can_satisfy_it(floor: &FloorDraft, draft: &Draft, problems: &Problems) {
    let sites = announcing(draft).count();
    let Some(min) = floor.min_sites else { return };
    let min = usize::try_from(min).unwrap_or(usize::MAX);
    let span = || floor.at.of("min-sites");
    if min > sites {
        let message = format!("`min-sites` is {min}, but only {sites} sites announce");
        problems.add(
            Problem::error("floor-too-high", span(), message)
                .label("can never be satisfied")
                .help(format!("Write less than {sites}, or add sites.")),
        );
    } else if min == sites && sites > 0 {
        let message = format!("`min-sites` is {min}, as many as there are: no site may ever go");
        problems.add(
            Problem::warning("floor-never-lets-go", span(), message)
                .label("a failed service stays announced")
                .help("Write less, so that a site that fails can withdraw."),
        );
    }
}

fn its_regions_can_satisfy_it(floor: &FloorDraft, draft: &Draft, problems: &Problems) {
    let Some(min) = floor.min_per_region.filter(|min| *min > 0) else { return };
    let min = usize::try_from(min).unwrap_or(usize::MAX);
    let mut regions: BTreeMap<&str, usize> = BTreeMap::new();
    for site in announcing(draft) {
        match &site.site.region {
            Some(region) => *regions.entry(region).or_default() += 1,
            None => problems.add(
                Problem::warning(
                    "site-without-region",
                    site.at.name(),
                    format!("{} has no `region`", site.site.name),
                )
                .label("the floor of regions does not hold for it")
                .also(floor.at.of("min-sites-per-region"), "the floor")
                .help("Add `region = \"…\"`."),
            ),
        }
    }
    for (region, sites) in regions.into_iter().filter(|(_, sites)| *sites <= min) {
        let span = floor.at.of("min-sites-per-region");
        let problem = if sites < min {
            let message = format!("region {region} has {sites} of the {min} sites that it needs");
            Problem::error("floor-too-high", span, message).label("can never be satisfied")
        } else {
            let message = format!("region {region} has {sites} sites: none of them may ever go");
            Problem::warning("floor-never-lets-go", span, message)
                .label("a failed service stays announced")
        };
        problems.add(problem.help("Write less, or add sites to the region."));
    }
}

fn who_has_a_floor_shares(floors: &[&FloorDraft], draft: &Draft, problems: &Problems) {
    match (floors.first(), &draft.fleet_state) {
        (Some(floor), None) if announcing(draft).count() > 1 && !draft.has_bad_fleet_state => {
            let says = floors.iter().find(|it| it.at.has("when-alone"));
            if says.is_none() {
                let message = "the sites share nothing: `when-alone` decides at each of them";
                problems.add(
                    Problem::warning("floor-alone", floor.at.name(), message)
                        .label("by default no site ever withdraws for its services' sake")
                        .help(
                            "Add `[fleet-state]` with the `servers` of a NATS cluster, or say \
                             `when-alone = \"hold\"` or `\"withdraw\"`.",
                        ),
                );
            }
        }
        (None, Some(state)) => problems.add(
            Problem::warning("fleet-state-unused", state.at.name(), "there is no floor")
                .label("nothing is asked there")
                .help("Add `[floor]` with `min-sites = 1`, for instance."),
        ),
        _ => {}
    }
}

fn what_is_shared_is_outside_of_the_fleet(draft: &Draft, problems: &Problems) {
    let Some(state) = &draft.fleet_state else { return };
    for (index, server) in state.value.servers.iter().enumerate() {
        let host = server.split_once("://").map_or("", |(_, rest)| rest);
        let address = host.parse::<std::net::SocketAddr>().map(|it| it.ip());
        let Ok(address) = address.or_else(|_| host.parse()) else { continue };
        let own = draft.prefixes.iter().find(|own| own.value.prefix.contains(&address));
        let Some(own) = own else { continue };
        let message = format!("the server {address} is in a prefix that the fleet announces");
        problems.add(
            Problem::warning("fleet-state-in-anycast", state.at.item("servers", index), message)
                .also(own.at.name(), "the prefix")
                .help("Write an address of one host: any site could answer at this one."),
        );
    }
}

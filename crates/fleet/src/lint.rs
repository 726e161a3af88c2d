//! Checks across the file: what no single value shows. Each function states one rule.

mod affinity;
mod api;
mod floor;
mod internal;
mod listen;
mod monitoring;
mod numbers;
mod offers;
mod policies;
mod prefixes;
pub(crate) mod rpki;
mod services;
mod sessions;
mod transport;

use crate::problem::{Problem, Problems};
use crate::read::Draft;

/// Finds everything that is wrong between the parts of a file whose syntax is sound.
pub(crate) fn lint(draft: &Draft, problems: &Problems) {
    a_fleet_has_prefixes_and_sites(draft, problems);
    prefixes::lint(draft, problems);
    services::lint(draft, problems);
    numbers::lint(draft, problems);
    sessions::lint(draft, problems);
    listen::lint(draft, problems);
    api::lint(draft, problems);
    policies::lint(draft, problems);
    rpki::lint(draft, problems);
    monitoring::lint(draft, problems);
    floor::lint(draft, problems);
    affinity::lint(draft, problems);
}

fn a_fleet_has_prefixes_and_sites(draft: &Draft, problems: &Problems) {
    let span = draft.at.name();
    if draft.prefixes.is_empty() && !draft.has_bad_prefixes {
        problems.add(
            Problem::error("no-prefixes", span.clone(), "the fleet announces no prefix")
                .help("Add `[prefix.\"192.0.2.0/24\"]` with the `services` that it stands for."),
        );
    }
    match draft.sites.as_slice() {
        [] => problems.add(
            Problem::error("no-sites", span, "the fleet has no site")
                .help("Add `[site.NAME]` with at least one `[site.NAME.neighbor.NAME]`."),
        ),
        [only] => problems.add(
            Problem::warning("single-site", only.at.name(), "this is the fleet's only site")
                .label("one site is not anycast yet")
                .help("Add a second `[site.NAME]`: when this one fails, no other takes over."),
        ),
        _ => {}
    }
}

//! Rules about the API over TCP.

use super::listen::it_stays_out_of_anycast;
use crate::problem::{Problem, Problems};
use crate::read::{ApiDraft, Draft, Placed};

pub(super) fn lint(draft: &Draft, problems: &Problems) {
    let fleet = draft.api.as_ref();
    let of_sites = draft.sites.iter().filter_map(|site| site.api.as_ref());
    for api in of_sites.clone().chain(fleet) {
        if let Some(value) = api.listen {
            let placed = Placed { value, at: api.at.clone() };
            it_stays_out_of_anycast("api-in-anycast", &placed, draft, problems);
        }
    }
    // The fleet's table says all that a site's does not.
    let every: Vec<&ApiDraft> = of_sites.collect();
    if let (Some(fleet), true) = (fleet, every.is_empty()) {
        it_is_whole(fleet, None, problems);
    }
    for site in every {
        it_is_whole(site, fleet, problems);
    }
}

fn it_is_whole(own: &ApiDraft, fleet: Option<&ApiDraft>, problems: &Problems) {
    let says = |key: &str| own.at.has(key) || fleet.is_some_and(|fleet| fleet.at.has(key));
    for (key, example) in [
        ("listen", "\"198.51.100.67:8443\""),
        ("certificate", "\"secrets/site.pem\""),
        ("key", "\"secrets/site.key\""),
    ] {
        if !says(key) {
            let message = format!("the API has no `{key}`");
            problems.add(
                Problem::error("missing-key", own.at.name(), message)
                    .label(format!("`{key}` is missing"))
                    .help(format!("Add `{key} = {example}`, here or in `[api]`.")),
            );
        }
    }
    let callers = fleet.unwrap_or(own);
    if !callers.at.has("token") && !callers.at.has("client") {
        let message = "nobody may use the API: it knows no caller";
        problems.add(Problem::error("api-without-callers", own.at.name(), message).help(
            "Add `[api.token.NAME]` with a `file`, or `client-ca` and `[api.client.\"NAME\"]`.",
        ));
    }
    if callers.at.has("client") && !says("client-ca") {
        let message = "no authority vouches for the certificates of clients";
        problems.add(
            Problem::error("client-without-ca", own.at.name(), message)
                .help("Add `client-ca = \"secrets/operators-ca.pem\"`, here or in `[api]`."),
        );
    }
}

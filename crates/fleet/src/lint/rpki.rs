//! Rules about the RPKI: its sources, who asks for it, and what it says of our own prefixes.

use std::collections::BTreeMap;

use anycast_bgp::Asn;
use anycast_bgp::policy::Match;
use anycast_bgp::rov::VrpTable;

use crate::problem::{Problem, Problems};
use crate::read::{Draft, RpkiDraft};

pub(super) fn lint(draft: &Draft, problems: &Problems) {
    for rpki in all(draft) {
        it_has_a_source(rpki, draft, problems);
        its_caches_are_outside_of_the_fleet(rpki, draft, problems);
    }
    who_asks_is_answered(draft, problems);
}

fn all(draft: &Draft) -> impl Iterator<Item = &RpkiDraft> {
    let of_sites = draft.sites.iter().filter_map(|site| site.rpki.as_ref());
    draft.rpki.iter().chain(of_sites)
}

fn is_bad(rpki: &RpkiDraft) -> bool {
    (rpki.at.has("caches") && !rpki.at.is_empty_list("caches")) || rpki.at.has("vrp-file")
}

/// The fleet's own table may be without, if each site has a table of its own.
fn it_has_a_source(rpki: &RpkiDraft, draft: &Draft, problems: &Problems) {
    let of_fleet = draft.rpki.as_ref().is_some_and(|fleet| std::ptr::eq(fleet, rpki));
    let needed = !of_fleet || draft.sites.iter().any(|site| site.rpki.is_none());
    if rpki.is_empty() && !is_bad(rpki) && needed {
        problems.add(
            Problem::warning(
                "rpki-without-source",
                rpki.at.name(),
                "nothing says which origins are valid",
            )
            .help("Add `caches = [\"192.0.2.10:323\"]` or `vrp-file = \"vrps.json\"`."),
        );
    }
}

fn its_caches_are_outside_of_the_fleet(rpki: &RpkiDraft, draft: &Draft, problems: &Problems) {
    for (index, cache) in rpki.caches.iter().enumerate() {
        let own = draft.prefixes.iter().find(|own| own.value.prefix.contains(&cache.ip()));
        let Some(own) = own else { continue };
        let message = format!("the cache {cache} is in a prefix that the fleet announces");
        problems.add(
            Problem::warning("rpki-cache-in-anycast", rpki.at.item("caches", index), message)
                .also(own.at.name(), "the prefix")
                .help("Write an address of one host: any site could answer at this one."),
        );
    }
}

fn who_asks_is_answered(draft: &Draft, problems: &Problems) {
    if all(draft).any(|rpki| !rpki.is_empty() || is_bad(rpki)) || draft.rpki.is_some() {
        return;
    }
    for policy in &draft.policies {
        let mut matches = policy.value.rules.iter().flat_map(|rule| &rule.rule.matches);
        if matches.any(|condition| matches!(condition, Match::Rpki(_))) {
            let message = format!(
                "policy `{}` asks for the RPKI, and there is no `[rpki]`",
                policy.value.name
            );
            problems.add(
                Problem::warning("rpki-without-source", policy.at.name(), message)
                    .label("every route is `not-found`")
                    .help("Add `[rpki]` with `caches` or `vrp-file`."),
            );
        }
    }
}

/// What the RPKI calls invalid of that which the fleet is to announce: others will drop it.
pub(crate) fn own_prefixes(draft: &Draft, vrps: &VrpTable) -> Vec<Problem> {
    let mut problems = Vec::new();
    for own in &draft.prefixes {
        let prefix = own.value.prefix;
        // The sites at which each origin is seen, and where one of them says so.
        let mut origins: BTreeMap<Asn, Vec<&str>> = BTreeMap::new();
        for site in &draft.sites {
            let told = site.neighbors.iter().filter(|it| it.value.is_told_of(&prefix));
            for neighbor in told {
                let sites = origins.entry(neighbor.value.seen_origin(site.site.asn)).or_default();
                if !sites.contains(&site.site.name.as_str()) {
                    sites.push(&site.site.name);
                }
            }
        }
        for (origin, sites) in origins {
            let finding = vrps.explain(&prefix, Some(origin));
            let Some(why) = finding.why_invalid(&prefix) else { continue };
            let message = format!(
                "the RPKI calls {prefix} from AS{origin} invalid (announced at {}): {why}",
                sites.join(", ")
            );
            let help = format!(
                "Have a ROA made that allows AS{origin} to announce {prefix}: most networks drop \
                 what is invalid."
            );
            problems.push(Problem::warning("rpki-invalid", own.at.name(), message).help(help));
        }
    }
    problems
}

//! Rules about autonomous system numbers and router ids.

use anycast_bgp::Asn;

use super::prefixes::is_assigned;
use crate::problem::{Problem, Problems, Span};
use crate::read::{Draft, SiteDraft};

pub(super) fn lint(draft: &Draft, problems: &Problems) {
    for (index, site) in draft.sites.iter().enumerate() {
        neighbors_take_our_number(site, draft, problems);
        it_has_a_router_id(site, problems);
        routes_that_share_are_several(site, problems);
        no_other_has_its_router_id(site, &draft.sites[..index], problems);
    }
}

fn routes_that_share_are_several(site: &SiteDraft, problems: &Problems) {
    if site.site.multipath_across_as && site.site.multipath == 1 {
        let message = "no routes share packets, so none do across networks";
        problems.add(
            Problem::warning(
                "across-without-multipath",
                site.at.of("multipath-across-as"),
                message,
            )
            .help("Add `multipath = 2` or more, or remove `multipath-across-as`."),
        );
    }
}

/// Where the number that the site announces from is written.
fn asn_span(site: &SiteDraft, draft: &Draft) -> Span {
    if site.at.has("asn") { site.at.of("asn") } else { draft.at.of("asn") }
}

fn neighbors_take_our_number(site: &SiteDraft, draft: &Draft, problems: &Problems) {
    let own = site.site.asn;
    for neighbor in &site.neighbors {
        let theirs = neighbor.value.asn;
        let span = neighbor.at.of("asn");
        if own.is_private() && is_assigned(theirs) {
            let message = format!("private AS{own} is announced to public AS{theirs}");
            problems.add(
                Problem::warning("private-asn", span, message)
                    .label("must replace our number by its own")
                    .also(asn_span(site, draft), "the private number")
                    .help(format!(
                        "Make sure that AS{theirs} strips private numbers and announces your \
                         prefixes as its own, as hosting providers do; else use your own number."
                    )),
            );
        } else if mixed(own, theirs) {
            let (documentation, other) =
                if own.is_documentation() { (own, theirs) } else { (theirs, own) };
            let message = format!("AS{documentation} is for documentation, but AS{other} is not");
            problems.add(
                Problem::warning("documentation-mixed", span, message)
                    .also(asn_span(site, draft), "our number")
                    .help("Replace what is left of an example by real numbers."),
            );
        }
    }
}

fn mixed(own: Asn, theirs: Asn) -> bool {
    (own.is_documentation() && is_assigned(theirs))
        || (theirs.is_documentation() && is_assigned(own))
}

fn it_has_a_router_id(site: &SiteDraft, problems: &Problems) {
    let known = !site.site.router_id.is_unspecified() || site.at.has("router-id");
    if known || site.has_bad_neighbors || site.neighbors.is_empty() {
        return;
    }
    let message = format!("no router id can be found for site `{}`", site.site.name);
    problems.add(
        Problem::error("no-router-id", site.at.name(), message)
            .label("no neighbor has an IPv4 `local-address`")
            .help(
                "Add `router-id = \"…\"`, written as an IPv4 address and unique among your sites; \
                 the site's own unicast address does well.",
            ),
    );
}

/// Sites with one number whose router ids are equal look like one router to their neighbors
/// (RFC 6286 §2.1).
fn no_other_has_its_router_id(site: &SiteDraft, earlier: &[SiteDraft], problems: &Problems) {
    let id = site.site.router_id;
    let same = |other: &&SiteDraft| !id.is_unspecified() && other.site.router_id == id;
    let Some(other) = earlier.iter().find(same) else { return };
    let message = format!(
        "sites `{}` and `{}` have the same router id {id}",
        other.site.name, site.site.name
    );
    problems.add(
        Problem::error("duplicate-router-id", site.at.of("router-id"), message)
            .also(other.at.of("router-id"), "the same here")
            .help("Give each site a `router-id` of its own."),
    );
}

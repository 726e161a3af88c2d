//! Rules about iBGP: the neighbors of a site of several machines.

use crate::problem::{Problem, Problems};
use crate::read::{Placed, SiteDraft};
use crate::{ImportPolicy, Neighbor};

pub(super) fn lint(neighbor: &Placed<Neighbor>, site: &SiteDraft, problems: &Problems) {
    if neighbor.value.asn == site.site.asn {
        return;
    }
    let Placed { value, at } = neighbor;
    let words = [
        ("route-reflector-client", value.reflector_client),
        ("next-hop-self", at.has("next-hop-self")),
    ];
    for (key, said) in words {
        if said {
            let message = format!("`{key}` is for iBGP, but `{}` is of another AS", value.name);
            problems.add(
                Problem::warning("ibgp-only", at.of(key), message)
                    .also(at.of("asn"), "not the site's own")
                    .help(format!("Remove `{key}`, or correct `asn`.")),
            );
        }
    }
    if value.import == ImportPolicy::Fleet {
        let message = format!("our own prefixes from `{}`, another AS, are never used", value.name);
        problems.add(
            Problem::warning("own-prefixes-from-outside", at.of("import"), message)
                .also(at.of("asn"), "not the site's own")
                .help("`import = \"fleet\"` is for iBGP neighbors: write what is taken from this one."),
        );
    }
}

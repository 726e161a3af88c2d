//! What a neighbor is told of our prefixes, found out by its export policy itself.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

use anycast_bgp::policy::RouteFacts;
use anycast_bgp::{AsPath, Attributes, Community, ExtendedCommunity, LargeCommunity, Origin};
use ipnet::IpNet;

use crate::{Fleet, Neighbor, Site};

/// What distinguishes the route that a neighbor is told.
#[derive(Eq, PartialEq)]
struct Heard {
    origin: Origin,
    as_path: AsPath,
    med: Option<u32>,
    communities: Vec<Community>,
    large_communities: Vec<LargeCommunity>,
    extended_communities: Vec<ExtendedCommunity>,
    /// Unless it is ours.
    next_hop: Option<IpAddr>,
}

/// What a neighbor that is in both files hears otherwise, a line for each prefix.
pub(super) fn otherwise(
    old: (&Fleet, &Site, &Neighbor),
    new: (&Fleet, &Site, &Neighbor),
) -> Vec<String> {
    let added = new.0.prefixes.iter().filter(|it| !has(old.0, &it.prefix));
    let prefixes = old.0.prefixes.iter().chain(added).map(|it| it.prefix);
    let lines = prefixes.filter_map(|prefix| match (heard(old, prefix), heard(new, prefix)) {
        (before, after) if before == after => None,
        (_, None) => Some(format!("it no longer hears {prefix}")),
        (None, Some(after)) => Some(format!("it hears {prefix}: {after}")),
        (Some(before), Some(after)) => {
            Some(format!("it hears {prefix} otherwise: {after}; before {before}"))
        }
    });
    lines.collect()
}

/// What a neighbor hears that is new.
pub(super) fn by_new(fleet: &Fleet, site: &Site, neighbor: &Neighbor) -> Vec<String> {
    let prefixes = fleet.prefixes.iter().map(|it| it.prefix);
    let lines: Vec<String> = prefixes
        .filter_map(|prefix| {
            let heard = heard((fleet, site, neighbor), prefix)?;
            Some(format!("it hears {prefix}: {heard}"))
        })
        .collect();
    if lines.is_empty() { vec!["it hears nothing".to_owned()] } else { lines }
}

fn has(fleet: &Fleet, prefix: &IpNet) -> bool {
    fleet.prefixes.iter().any(|it| it.prefix == *prefix)
}

fn heard((fleet, site, neighbor): (&Fleet, &Site, &Neighbor), prefix: IpNet) -> Option<Heard> {
    if !has(fleet, &prefix) || !neighbor.is_told_of(&prefix) {
        return None;
    }
    let ours = IpAddr::V4(Ipv4Addr::UNSPECIFIED);
    let facts = RouteFacts { local: !site.router, internal: true, ..RouteFacts::default() };
    let route = Arc::new(Attributes::new(ours));
    let policy = neighbor.export_policy(fleet, site, 0);
    let told = policy.evaluate(&prefix, &facts, &route, site.asn)?;
    let mut as_path = told.as_path.clone();
    if neighbor.asn != site.asn {
        as_path.prepend(site.asn, 1);
    }
    Some(Heard {
        origin: told.origin,
        as_path,
        med: told.med,
        communities: told.communities.clone(),
        large_communities: told.large_communities.clone(),
        extended_communities: told.extended_communities.clone(),
        next_hop: Some(told.next_hop.address).filter(|it| *it != ours),
    })
}

impl fmt::Display for Heard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut parts = Vec::new();
        match self.as_path.length() {
            0 => parts.push("AS path empty".to_owned()),
            _ => parts.push(format!("AS path {}", self.as_path)),
        }
        if self.origin != Origin::Igp {
            parts.push(format!("origin {}", self.origin));
        }
        parts.extend(self.med.map(|med| format!("MED {med}")));
        let communities = self.communities.iter().map(ToString::to_string);
        let large = self.large_communities.iter().map(ToString::to_string);
        let extended = self.extended_communities.iter().map(ToString::to_string);
        let all: Vec<String> = communities.chain(large).chain(extended).collect();
        if !all.is_empty() {
            parts.push(format!("communities {}", all.join(" ")));
        }
        parts.extend(self.next_hop.map(|it| format!("next hop {it}")));
        f.write_str(&parts.join(", "))
    }
}

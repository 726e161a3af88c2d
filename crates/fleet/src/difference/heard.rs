//! What a neighbor is told of our prefixes, found out by its export policy itself.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

use anycast_bgp::policy::RouteFacts;
use anycast_bgp::{AsPath, Attributes, Community, ExtendedCommunity, LargeCommunity, Origin};
use anycast_steer::Manner;
use ipnet::IpNet;

use super::Now;
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
    now: Now<'_>,
) -> Vec<String> {
    let added = new.0.prefixes.iter().filter(|it| !has(old.0, &it.prefix));
    let prefixes = old.0.prefixes.iter().chain(added).map(|it| it.prefix);
    let lines = prefixes.filter_map(|prefix| {
        let (before, after) = (heard(old, prefix), heard(new, prefix));
        // One that is new is announced once its services are healthy.
        let is_new = !has(old.0, &prefix);
        let told = if is_new { Some(Manner::default()) } else { now(&new.2.name, &prefix) };
        let Words { hears, no_longer, also } = words(told.as_ref());
        match (before, after) {
            (before, after) if before == after => None,
            (_, None) if told.is_some() => Some(format!("{no_longer} {prefix}")),
            (_, None) => Some(format!("{no_longer} {prefix}{also}")),
            (None, Some(after)) => Some(format!("{hears} {prefix}{also}: {after}")),
            (Some(before), Some(after)) => {
                Some(format!("{hears} {prefix} otherwise{also}: {after}; before {before}"))
            }
        }
    });
    lines.collect()
}

/// What a neighbor hears that is new; `hindrance`: why it may not hear a prefix now.
pub(super) fn by_new(
    fleet: &Fleet,
    site: &Site,
    neighbor: &Neighbor,
    hindrance: impl Fn(&IpNet) -> Option<&'static str>,
) -> Vec<String> {
    let prefixes = fleet.prefixes.iter().map(|it| it.prefix);
    let lines: Vec<String> = prefixes
        .filter_map(|prefix| {
            let heard = heard((fleet, site, neighbor), prefix)?;
            Some(match hindrance(&prefix) {
                None => format!("it hears {prefix}: {heard}"),
                Some(why) => format!("it would hear {prefix} ({why}): {heard}"),
            })
        })
        .collect();
    if lines.is_empty() { vec!["it hears nothing".to_owned()] } else { lines }
}

/// How it is said of a prefix that a neighbor is told in this manner now, or not at all.
struct Words {
    hears: &'static str,
    no_longer: &'static str,
    also: String,
}

fn words(told: Option<&Manner>) -> Words {
    let (hears, no_longer) = match told {
        Some(_) => ("it hears", "it no longer hears"),
        None => ("it would hear", "it would no longer hear"),
    };
    let also = match told {
        None => " (withdrawn now)".to_owned(),
        Some(manner) if manner.is_plain() => String::new(),
        Some(manner) => format!(" (now also {manner})"),
    };
    Words { hears, no_longer, also }
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
        large_communities: told.large_communities.to_vec(),
        extended_communities: told.extended_communities.to_vec(),
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

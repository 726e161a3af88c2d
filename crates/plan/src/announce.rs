//! From a fleet file to a configuration: what each neighbor would be told, by the very policies
//! that a running site would use.

use std::sync::Arc;

use anycast_bgp::policy::RouteFacts;
use anycast_bgp::{Attributes, Community, IpNet, Role};
use anycast_catchment::{Announcement, Configuration, NeighborKind, Site};
use anycast_fleet::{Fleet, Neighbor, Relation};

/// What a fleet file comes to.
#[derive(Clone, Debug)]
pub struct Announces {
    /// Which prefix it is about.
    pub prefix: IpNet,
    /// The configuration: only sites with a neighbor outside.
    pub configuration: Configuration,
    /// For each site of the configuration its place in the fleet.
    pub places: Vec<usize>,
    /// What the user should know.
    pub notes: Vec<String>,
}

/// Why a fleet cannot be planned.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum AnnounceError {
    /// No such prefix.
    #[error("the fleet does not announce {asked}; it announces {}", list(there))]
    NoPrefix {
        /// What was asked for.
        asked: IpNet,
        /// What there is.
        there: Vec<IpNet>,
    },
    /// Nobody outside is told of it.
    #[error("no site tells a neighbor in another AS of {0}: check `export` and `families`")]
    Silent(IpNet),
}

fn list(prefixes: &[IpNet]) -> String {
    prefixes.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}

/// What the fleet announces of `prefix`, by default its first, when all is healthy and
/// undrained.
///
/// Prepends, NO_EXPORT and GRACEFUL_SHUTDOWN count wherever the neighbor's export policy, or the
/// neighbor itself, sets them. A site that starts drained announces nothing.
///
/// # Errors
/// There is no such prefix, or nobody would hear of it.
pub fn announces(fleet: &Fleet, prefix: Option<IpNet>) -> Result<Announces, AnnounceError> {
    let there: Vec<IpNet> = fleet.prefixes.iter().map(|it| it.prefix).collect();
    let first = there.iter().copied().find(|it| matches!(it, IpNet::V4(_)));
    let prefix = match prefix {
        Some(asked) if !there.contains(&asked) => {
            return Err(AnnounceError::NoPrefix { asked, there });
        }
        asked => asked.or(first).or(there.first().copied()),
    };
    let prefix = prefix.expect("a checked fleet has a prefix");
    let mut found = Announces {
        prefix,
        configuration: Configuration::default(),
        places: Vec::new(),
        notes: Vec::new(),
    };
    for (place, site) in fleet.sites.iter().enumerate() {
        if site.neighbors.iter().all(|it| it.asn == site.asn) {
            found.notes.push(format!(
                "{} has no neighbor in another AS: packets reach it through other machines, and it \
                 is left out",
                site.name
            ));
            continue;
        }
        let mut announcements: Vec<Announcement> = Vec::new();
        for neighbor in outside(site, prefix) {
            let told = announcement(fleet, site, neighbor, prefix, &mut found.notes);
            // Two sessions with one network: it is told if either is, and hears the shorter path.
            match announcements.iter_mut().find(|it| it.neighbor == told.neighbor) {
                Some(other) if better(&told, other) => *other = told,
                Some(_) => {}
                None => announcements.push(told),
            }
        }
        if site.start_drained {
            found.notes.push(format!("{} starts drained: it announces nothing here", site.name));
        }
        found.places.push(place);
        found.configuration.sites.push(Site {
            name: site.name.clone(),
            origin: site.asn,
            up: !site.start_drained,
            announcements,
        });
    }
    let heard = |site: &Site| site.announcements.iter().any(|told| told.announced);
    if found.configuration.sites.iter().any(heard) {
        Ok(found)
    } else {
        Err(AnnounceError::Silent(prefix))
    }
}

fn better(a: &Announcement, b: &Announcement) -> bool {
    let rank = |it: &Announcement| (!it.announced, it.graceful_shutdown, it.no_export, it.prepend);
    rank(a) < rank(b)
}

/// The neighbors in other ASes with whom the prefix's family is spoken.
pub(crate) fn outside(
    site: &anycast_fleet::Site,
    prefix: IpNet,
) -> impl Iterator<Item = &Neighbor> {
    let family = match prefix {
        IpNet::V4(_) => anycast_bgp::Family::Ipv4Unicast,
        IpNet::V6(_) => anycast_bgp::Family::Ipv6Unicast,
    };
    let outside = site.neighbors.iter().filter(|it| it.asn != site.asn);
    outside.filter(move |it| it.families.contains(&family))
}

fn announcement(
    fleet: &Fleet,
    site: &anycast_fleet::Site,
    neighbor: &Neighbor,
    prefix: IpNet,
    notes: &mut Vec<String>,
) -> Announcement {
    let kind = kind(neighbor);
    if kind.is_none() {
        notes.push(format!(
            "{} does not say what AS{} is to it: taken as a provider; add `relation`",
            site.name, neighbor.asn
        ));
    }
    let mut told = Announcement::new(neighbor.asn, kind.unwrap_or(NeighborKind::Transit));
    let facts = RouteFacts { local: !site.router, internal: true, ..RouteFacts::default() };
    let plain = Arc::new(Attributes::new(neighbor.address));
    let sent = neighbor.export_policy(fleet, site, 0).evaluate(&prefix, &facts, &plain, site.asn);
    match sent {
        None => told.announced = false,
        Some(sent) => {
            let has = |community| sent.communities.contains(&community);
            told.prepend = u8::try_from(sent.as_path.length()).unwrap_or(u8::MAX);
            told.no_export = has(Community::NO_EXPORT);
            told.graceful_shutdown = has(Community::GRACEFUL_SHUTDOWN);
            told.announced =
                !has(Community::NO_ADVERTISE) || kind == Some(NeighborKind::RouteServer);
            let known =
                [Community::NO_EXPORT, Community::GRACEFUL_SHUTDOWN, Community::NO_ADVERTISE];
            let others = sent.communities.iter().filter(|it| !known.contains(it)).count();
            if others + sent.large_communities.len() + sent.extended_communities.len() > 0 {
                notes.push(format!(
                    "{} tells AS{} communities whose meaning only AS{} knows: not in the figures",
                    site.name, neighbor.asn, neighbor.asn
                ));
            }
        }
    }
    told
}

/// What the neighbor is to the site: a route server by `role = "rs-client"`, else by `relation`,
/// else by the other roles.
fn kind(neighbor: &Neighbor) -> Option<NeighborKind> {
    let by_relation = neighbor.relation.map(|relation| match relation {
        Relation::Provider => NeighborKind::Transit,
        Relation::Peer => NeighborKind::Peer,
        Relation::Customer => NeighborKind::Customer,
    });
    match neighbor.offers.role {
        Some(Role::RouteServerClient) => Some(NeighborKind::RouteServer),
        Some(Role::Customer) => by_relation.or(Some(NeighborKind::Transit)),
        Some(Role::Peer) => by_relation.or(Some(NeighborKind::Peer)),
        Some(Role::Provider | Role::RouteServer) => by_relation.or(Some(NeighborKind::Customer)),
        None => by_relation,
    }
}

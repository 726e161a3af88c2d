//! What is announced where: sites, their neighbors, and what each neighbor is told.

use std::collections::BTreeMap;

use anycast_bgp::Asn;

use crate::graph::{AsId, Graph};
use crate::sites::{MAX_SITES, SiteSet};

/// The longest path, in ASes, that a site may announce: its number, prepends and poisoned ASes.
pub const MAX_ANNOUNCED_LENGTH: usize = 100;

/// One way to announce one prefix.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Configuration {
    /// The sites; a site's place here is its bit in a [`SiteSet`].
    pub sites: Vec<Site>,
}

/// One site.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Site {
    /// Its name.
    pub name: String,
    /// The AS that originates its announcement: the fleet's, or its own.
    pub origin: Asn,
    /// Whether it announces at all.
    pub up: bool,
    /// What each neighbor is told.
    pub announcements: Vec<Announcement>,
}

/// What one neighbor of a site is told.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Announcement {
    /// The neighbor, or the route server.
    pub neighbor: Asn,
    /// What it is to the site.
    pub kind: NeighborKind,
    /// Whether it is told anything (selective announcement).
    pub announced: bool,
    /// How often the origin's number is put in front once more.
    pub prepend: u8,
    /// ASes put into the path so that they refuse it (poisoning). The origin's number stands on
    /// both sides of them.
    pub poison: Vec<Asn>,
    /// The neighbor keeps the route to itself (NO_EXPORT, RFC 1997). A route server takes the
    /// community as meant for its members.
    pub no_export: bool,
    /// ASes that the neighbor, or the route server, is asked not to tell.
    pub not_to: Vec<Asn>,
    /// GRACEFUL_SHUTDOWN (RFC 8326) is attached: local preference 0 wherever the route arrives,
    /// as `bgp::policy::relation` has it. The community travels on.
    pub graceful_shutdown: bool,
}

/// What a neighbor is to a site.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub enum NeighborKind {
    /// The site pays it and is heard everywhere through it.
    Transit,
    /// It gives the route to its customers only.
    Peer,
    /// Its members are peers. Its number is that of a route server of the graph, or of an AS,
    /// whose peers in the graph then count as the members.
    RouteServer,
    /// It pays the site.
    Customer,
}

/// Why a configuration cannot be used.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum ConfigurationError {
    /// Neighbors that the graph does not have.
    #[error(
        "not in the topology: {}; correct their numbers, or leave them out",
        unknown_text(neighbors)
    )]
    UnknownNeighbors {
        /// Each with the site's name.
        neighbors: Vec<(String, Asn)>,
    },
    /// Too many sites, or too many announcements that poison, are limited or not exported: each
    /// of these counts like another site.
    #[error(
        "{0} sites and special announcements (poisoning, no-export, not-to), but at most {MAX_SITES} can be told apart"
    )]
    TooManySites(usize),
    /// The announced path is longer than any network would take.
    #[error(
        "site {site} announces a path of {length} ASes to AS{neighbor}; at most {MAX_ANNOUNCED_LENGTH} are allowed: prepend or poison less"
    )]
    TooLong {
        /// The site's name.
        site: String,
        /// The neighbor.
        neighbor: Asn,
        /// The path's length.
        length: usize,
    },
}

fn unknown_text(neighbors: &[(String, Asn)]) -> String {
    let each: Vec<String> =
        neighbors.iter().map(|(site, asn)| format!("AS{asn} (neighbor of {site})")).collect();
    each.join(", ")
}

/// A configuration that was resolved against one graph.
#[derive(Clone, Debug, Default)]
pub struct Announced {
    pub(crate) sites: usize,
    /// The site of each strand: what is told alike by one site is one strand, and the sets that
    /// travel are sets of strands. The first are the sites themselves, in order; an announcement
    /// with a path or with limits of its own adds one.
    pub(crate) strands: Vec<u8>,
    /// Sorted by AS.
    pub(crate) seeds: Vec<Seed>,
    /// ASes that refuse strands, as their own number is in the path; sorted.
    pub(crate) refusals: Vec<(AsId, SiteSet)>,
    /// ASes of the graph that originate sites' announcements; sorted.
    pub(crate) origins: Vec<(AsId, SiteSet)>,
    /// (from, to, strands that are not told on that way); sorted.
    pub(crate) silences: Vec<(AsId, AsId, SiteSet)>,
}

/// A site's route at one of its neighbors.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Seed {
    pub(crate) at: AsId,
    pub(crate) site: u8,
    pub(crate) strand: u8,
    pub(crate) kind: NeighborKind,
    /// Through which route server.
    pub(crate) route_server: Option<Asn>,
    /// Length of the path as the neighbor gets it.
    pub(crate) length: u8,
    pub(crate) no_export: bool,
    pub(crate) last_resort: bool,
    /// What the path says: the origin's number, how often in front, and the poisoned ASes.
    pub(crate) path: Vec<Asn>,
}

impl Announcement {
    /// Tells a neighbor of this kind, without anything special.
    #[must_use]
    pub const fn new(neighbor: Asn, kind: NeighborKind) -> Self {
        Self {
            neighbor,
            kind,
            announced: true,
            prepend: 0,
            poison: Vec::new(),
            no_export: false,
            not_to: Vec::new(),
            graceful_shutdown: false,
        }
    }

    /// Whether something of it must be remembered on its way.
    fn is_special(&self) -> bool {
        self.no_export || !self.poison.is_empty() || !self.not_to.is_empty()
    }

    /// The AS path that the neighbor gets.
    #[must_use]
    pub fn path(&self, origin: Asn) -> Vec<Asn> {
        let mut path = vec![origin; usize::from(self.prepend) + 1];
        if !self.poison.is_empty() {
            path.extend(&self.poison);
            path.push(origin);
        }
        path
    }
}

impl Configuration {
    /// Resolves the numbers of neighbors against the graph.
    ///
    /// # Errors
    /// Neighbors that the graph does not have (all of them; see
    /// [`without_unknown`](Self::without_unknown)), too many sites, a path that is too long.
    pub fn resolve(&self, graph: &Graph) -> Result<Announced, ConfigurationError> {
        if self.sites.len() > MAX_SITES {
            return Err(ConfigurationError::TooManySites(self.sites.len()));
        }
        let unknown = self.unknown(graph);
        if !unknown.is_empty() {
            return Err(ConfigurationError::UnknownNeighbors { neighbors: unknown });
        }
        let mut announced = Announced { sites: self.sites.len(), ..Announced::default() };
        announced.strands = (0..self.sites.len()).map(narrow).collect();
        let mut refusals: BTreeMap<AsId, SiteSet> = BTreeMap::new();
        for (at, site) in self.sites.iter().enumerate().filter(|(_, site)| site.up) {
            if let Some(id) = graph.index_of(site.origin) {
                merge(&mut announced.origins, id, SiteSet::one(at));
            }
            for announcement in site.announcements.iter().filter(|told| told.announced) {
                let path = announcement.path(site.origin);
                if path.len() > MAX_ANNOUNCED_LENGTH {
                    return Err(ConfigurationError::TooLong {
                        site: site.name.clone(),
                        neighbor: announcement.neighbor,
                        length: path.len(),
                    });
                }
                let mut strand = at;
                if announcement.is_special() {
                    strand = announced.strands.len();
                    announced.strands.push(narrow(at));
                    if strand >= MAX_SITES {
                        return Err(ConfigurationError::TooManySites(self.count()));
                    }
                }
                let poisoned = announcement.poison.iter().filter_map(|asn| graph.index_of(*asn));
                for id in poisoned {
                    *refusals.entry(id).or_default() |= SiteSet::one(strand);
                }
                announced.announce(graph, at, strand, announcement, &path);
            }
        }
        announced.refusals = refusals.into_iter().collect();
        announced.origins.sort_unstable();
        announced.silences.sort_unstable();
        announced.seeds.sort_by_key(|seed| seed.at);
        Ok(announced)
    }

    /// The configuration without the neighbors that the graph does not have, and these.
    #[must_use]
    pub fn without_unknown(&self, graph: &Graph) -> (Self, Vec<(String, Asn)>) {
        let mut known = self.clone();
        for site in &mut known.sites {
            site.announcements.retain(|told| receivers(graph, told).is_some());
        }
        (known, self.unknown(graph))
    }

    /// Sites and special announcements.
    fn count(&self) -> usize {
        let special = |site: &Site| {
            site.announcements.iter().filter(|told| told.announced && told.is_special()).count()
        };
        self.sites.len() + self.sites.iter().map(special).sum::<usize>()
    }

    fn unknown(&self, graph: &Graph) -> Vec<(String, Asn)> {
        let each = |site: &Site| -> Vec<(String, Asn)> {
            site.announcements
                .iter()
                .filter(|told| receivers(graph, told).is_none())
                .map(|told| (site.name.clone(), told.neighbor))
                .collect()
        };
        self.sites.iter().flat_map(each).collect()
    }
}

/// Who hears an announcement directly; `None` if the graph does not know the neighbor.
fn receivers(graph: &Graph, told: &Announcement) -> Option<Vec<AsId>> {
    if told.kind == NeighborKind::RouteServer {
        let server = graph.route_servers().find(|(asn, _)| *asn == told.neighbor);
        if let Some((_, members)) = server {
            return Some(members.to_vec());
        }
        return Some(graph.peers(graph.index_of(told.neighbor)?).to_vec());
    }
    graph.index_of(told.neighbor).map(|id| vec![id])
}

impl Announced {
    /// How many sites the configuration has, down or up.
    #[must_use]
    pub const fn sites(&self) -> usize {
        self.sites
    }

    /// The strands of the sites in `sites`.
    pub(crate) fn strands_of(&self, sites: SiteSet) -> SiteSet {
        if self.strands.len() == self.sites {
            return sites;
        }
        let of_them = |(_, site): &(usize, &u8)| sites.contains(usize::from(**site));
        self.strands.iter().enumerate().filter(of_them).map(|(strand, _)| strand).collect()
    }

    /// The sites of these strands.
    pub(crate) fn sites_of(&self, strands: SiteSet) -> SiteSet {
        if self.strands.len() == self.sites {
            return strands;
        }
        strands.iter().map(|strand| usize::from(self.strands[strand])).collect()
    }

    /// The strands that `at` refuses, as its number is in their path.
    pub(crate) fn refused(&self, at: AsId) -> SiteSet {
        if self.refusals.is_empty() {
            return SiteSet::EMPTY;
        }
        let place = self.refusals.binary_search_by_key(&at, |(id, _)| *id);
        place.map_or(SiteSet::EMPTY, |place| self.refusals[place].1)
    }

    /// The strands that `from` was asked not to tell `to`.
    pub(crate) fn silenced(&self, from: AsId, to: AsId) -> SiteSet {
        let first = self.silences.partition_point(|(a, b, _)| (*a, *b) < (from, to));
        let these = self.silences[first..].iter().take_while(|(a, b, _)| (*a, *b) == (from, to));
        these.fold(SiteSet::EMPTY, |set, (_, _, sites)| set | *sites)
    }

    /// The places of the seeds at an AS.
    pub(crate) fn seeds_at(&self, at: AsId) -> std::ops::Range<usize> {
        let first = self.seeds.partition_point(|seed| seed.at < at);
        let count = self.seeds[first..].iter().take_while(|seed| seed.at == at).count();
        first..first + count
    }

    fn announce(
        &mut self,
        graph: &Graph,
        site: usize,
        strand: usize,
        told: &Announcement,
        path: &[Asn],
    ) {
        let by_server = told.kind == NeighborKind::RouteServer;
        let not_to: Vec<AsId> = told.not_to.iter().filter_map(|asn| graph.index_of(*asn)).collect();
        for at in receivers(graph, told).unwrap_or_default() {
            if by_server && not_to.contains(&at) {
                continue;
            }
            self.seeds.push(Seed {
                at,
                site: narrow(site),
                strand: narrow(strand),
                kind: told.kind,
                route_server: by_server.then_some(told.neighbor),
                length: u8::try_from(path.len()).expect("at most MAX_ANNOUNCED_LENGTH"),
                no_export: told.no_export,
                last_resort: told.graceful_shutdown,
                path: path.to_vec(),
            });
            if !by_server {
                let silences = not_to.iter().map(|to| (at, *to, SiteSet::one(strand)));
                self.silences.extend(silences);
            }
        }
    }
}

fn narrow(place: usize) -> u8 {
    u8::try_from(place).expect("at most MAX_SITES")
}

fn merge(list: &mut Vec<(AsId, SiteSet)>, id: AsId, sites: SiteSet) {
    match list.iter_mut().find(|(other, _)| *other == id) {
        Some((_, set)) => *set |= sites,
        None => list.push((id, sites)),
    }
}

#[cfg(test)]
mod tests;

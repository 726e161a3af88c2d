//! The Internet as a graph of ASes: compact, and numbered so that providers stand before their
//! customers.

mod order;
mod peers;

use anycast_bgp::Asn;

use crate::topology::{Relationship, Relationships};
use order::Order;
pub(crate) use peers::{Peers, bits, set};

/// The place of an AS in a [`Graph`]: providers have lower numbers than their customers.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct AsId(pub u32);

impl AsId {
    /// For use as an index into a table with a row for each AS of the graph.
    #[must_use]
    pub const fn index(self) -> usize {
        self.0 as usize
    }
}

/// Why relationships make no graph.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum GraphError {
    /// Some AS is, by way of others, its own provider. Nothing is predicted from such a
    /// hierarchy; the caller decides which link is wrong.
    #[error("providers form a cycle: {}; remove or correct one of these links", cycle_text(cycle))]
    ProviderCycle {
        /// The ASes of the cycle, each a provider (or a sibling) of the next, the last of the
        /// first.
        cycle: Vec<Asn>,
    },
    /// There is no link and no route server.
    #[error("the topology has no links")]
    Empty,
}

fn cycle_text(cycle: &[Asn]) -> String {
    let names: Vec<String> =
        cycle.iter().chain(cycle.first()).map(|asn| format!("AS{asn}")).collect();
    names.join(" > ")
}

/// For each AS a list of others, in one block of memory.
#[derive(Clone, Debug, Default)]
pub(crate) struct Lists {
    starts: Vec<u32>,
    items: Vec<AsId>,
}

impl Lists {
    /// Lists of `n` ASes from pairs (whose, what); each list is sorted.
    fn new(n: usize, pairs: impl Iterator<Item = (AsId, AsId)> + Clone) -> Self {
        let mut starts = vec![0_u32; n + 1];
        for (whose, _) in pairs.clone() {
            starts[whose.index() + 1] += 1;
        }
        for i in 0..n {
            starts[i + 1] += starts[i];
        }
        let mut next = starts.clone();
        let mut items = vec![AsId(0); starts[n] as usize];
        for (whose, what) in pairs {
            let at = &mut next[whose.index()];
            items[*at as usize] = what;
            *at += 1;
        }
        for i in 0..n {
            items[starts[i] as usize..starts[i + 1] as usize].sort_unstable();
        }
        Self { starts, items }
    }

    #[inline]
    pub(crate) fn of(&self, id: AsId) -> &[AsId] {
        let at = id.index();
        &self.items[self.starts[at] as usize..self.starts[at + 1] as usize]
    }
}

/// The graph. It does not change; what configurations and overrides say stays outside.
///
/// ASes are numbered in three parts: those with customers or siblings, providers first; those
/// with neither, but with peers; and the *quiet*, who have nothing but providers.
#[derive(Clone, Debug)]
pub struct Graph {
    asns: Vec<Asn>,
    /// Sorted by number.
    ids: Vec<(Asn, AsId)>,
    pub(crate) providers: Lists,
    pub(crate) customers: Lists,
    pub(crate) peers: Peers,
    pub(crate) siblings: Lists,
    pub(crate) route_servers: Vec<Exchange>,
    /// For each AS the route servers that it is a member of, as indices of `route_servers`.
    pub(crate) memberships: Lists,
    /// The quiet.
    pub(crate) quiet: Runs,
    /// First and last of each group of siblings; sorted.
    pub(crate) sibling_groups: Vec<(AsId, AsId)>,
}

/// ASes with nothing but providers: those with the same ones are a run, and what one of them
/// hears, all hear.
#[derive(Clone, Debug)]
pub(crate) struct Runs {
    /// Where each run begins, and where the last one ends.
    starts: Vec<u32>,
    /// The providers of each run, which is numbered like an AS.
    providers: Lists,
    /// For each AS a row: its own number, or a number of its run that follows on these.
    rows: Vec<u32>,
}

/// A route server in the graph.
#[derive(Clone, Debug)]
pub(crate) struct Exchange {
    pub(crate) asn: Asn,
    pub(crate) members: Vec<AsId>,
}

impl Runs {
    fn new(starts: Vec<u32>, providers: &Lists) -> Self {
        let each = (0..).map(AsId).zip(&starts[..starts.len() - 1]);
        let pairs = each.flat_map(|(run, at)| {
            providers.of(AsId(*at)).iter().map(move |provider| (run, *provider))
        });
        let providers = Lists::new(starts.len() - 1, pairs);
        let mut rows: Vec<u32> = (0..starts[0]).collect();
        for (row, run) in (starts[0]..).zip(starts.windows(2)) {
            rows.resize(run[1] as usize, row);
        }
        Self { starts, providers, rows }
    }

    /// For each AS the row that it shares with the others of its run, and how many rows there are.
    pub(crate) fn rows(&self) -> (&[u32], usize) {
        (&self.rows, self.first().index() + self.starts.len() - 1)
    }

    /// The first of the quiet, or the number of ASes if there are none.
    #[inline]
    pub(crate) fn first(&self) -> AsId {
        AsId(self.starts[0])
    }

    /// The members of each run, from and to, and its providers.
    #[inline]
    pub(crate) fn iter(&self) -> impl Iterator<Item = (std::ops::Range<usize>, &[AsId])> {
        let members = self.starts.windows(2).map(|run| run[0] as usize..run[1] as usize);
        let lists = self.providers.starts.windows(2);
        let providers = lists.map(|list| &self.providers.items[list[0] as usize..list[1] as usize]);
        members.zip(providers)
    }
}

impl Graph {
    /// Builds the graph.
    ///
    /// # Errors
    /// A cycle of providers, in which siblings count as one AS; or nothing to build from.
    pub fn new(relationships: &Relationships) -> Result<Self, GraphError> {
        let places = Places::new(relationships);
        if places.asns.is_empty() {
            return Err(GraphError::Empty);
        }
        let n = places.asns.len();
        let (mut transit, mut peer, mut sibling) = (Vec::new(), Vec::new(), Vec::new());
        let mut meets = vec![false; n];
        for link in relationships.links() {
            let (a, b) = (places.of(link.a), places.of(link.b));
            match link.relationship {
                Relationship::ProviderOf => transit.push((a, b)),
                Relationship::Peer => {
                    (meets[a as usize], meets[b as usize]) = (true, true);
                    peer.push((a, b));
                }
                Relationship::Sibling => sibling.push((a, b)),
            }
        }
        for asn in relationships.route_servers().iter().flat_map(|rs| &rs.members) {
            meets[places.of(*asn) as usize] = true;
        }
        let order = Order::new(&places.asns, &transit, &sibling, &meets)?;
        let mut id_of = vec![AsId(0); n];
        for (id, place) in (0..).map(AsId).zip(&order.places) {
            id_of[*place as usize] = id;
        }
        let ids = |&(a, b): &(u32, u32)| (id_of[a as usize], id_of[b as usize]);
        let both = |pair: &(u32, u32)| {
            let (a, b) = ids(pair);
            [(a, b), (b, a)]
        };
        let (route_servers, memberships) =
            exchanges(relationships, |asn| id_of[places.of(asn) as usize]);
        let providers = Lists::new(n, transit.iter().map(ids).map(|(above, id)| (id, above)));
        let peers = Lists::new(n, peer.iter().flat_map(both));
        Ok(Self {
            sibling_groups: sibling_groups(&order),
            quiet: Runs::new(order.runs, &providers),
            providers,
            customers: Lists::new(n, transit.iter().map(ids)),
            peers: Peers::new(peers, n, order.quiet),
            siblings: Lists::new(n, sibling.iter().flat_map(both)),
            memberships: Lists::new(n, memberships.iter().copied()),
            route_servers,
            asns: order.places.iter().map(|place| places.asns[*place as usize]).collect(),
            ids: places.asns.into_iter().zip(id_of).collect(),
        })
    }

    /// How many ASes there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.asns.len()
    }

    /// Whether there is no AS: never, but asked for beside `len`.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.asns.is_empty()
    }

    /// The place of an AS, if the graph has it.
    #[must_use]
    pub fn index_of(&self, asn: Asn) -> Option<AsId> {
        let at = self.ids.binary_search_by_key(&asn, |(asn, _)| *asn).ok()?;
        Some(self.ids[at].1)
    }

    /// The number of an AS.
    ///
    /// # Panics
    /// If `id` is of a larger graph.
    #[must_use]
    pub fn asn(&self, id: AsId) -> Asn {
        self.asns[id.index()]
    }

    /// Every AS, providers before their customers.
    pub fn ids(&self) -> impl DoubleEndedIterator<Item = AsId> + ExactSizeIterator + use<> {
        (0..u32::try_from(self.asns.len()).expect("ids are 32 bits")).map(AsId)
    }

    /// Those that `id` pays.
    #[must_use]
    pub fn providers(&self, id: AsId) -> &[AsId] {
        self.providers.of(id)
    }

    /// Those that pay `id`.
    #[must_use]
    pub fn customers(&self, id: AsId) -> &[AsId] {
        self.customers.of(id)
    }

    /// Those with which `id` peers directly.
    #[must_use]
    pub fn peers(&self, id: AsId) -> &[AsId] {
        self.peers.lists.of(id)
    }

    /// Those of the same organisation.
    #[must_use]
    pub fn siblings(&self, id: AsId) -> &[AsId] {
        self.siblings.of(id)
    }

    /// The route servers' numbers and members.
    pub fn route_servers(&self) -> impl Iterator<Item = (Asn, &[AsId])> {
        self.route_servers.iter().map(|exchange| (exchange.asn, &exchange.members[..]))
    }

    /// The first and the last of the siblings of an AS: itself if it has none.
    pub(crate) fn sibling_group(&self, id: AsId) -> (AsId, AsId) {
        let at = self.sibling_groups.partition_point(|(_, last)| *last < id);
        match self.sibling_groups.get(at) {
            Some(&(first, last)) if first <= id => (first, last),
            _ => (id, id),
        }
    }

    /// Whether any AS has siblings.
    #[must_use]
    pub fn has_siblings(&self) -> bool {
        !self.siblings.items.is_empty()
    }
}

/// Numbers below this have a place in a table, others are searched for: nearly all numbers that
/// are in use are below 500,000.
const TABLE: u32 = 1 << 20;

/// All AS numbers, sorted, and where each of them stands.
struct Places {
    asns: Vec<Asn>,
    low: Vec<u32>,
    /// How many numbers are in the table.
    lows: usize,
}

impl Places {
    fn new(relationships: &Relationships) -> Self {
        let ends = || {
            let links = relationships.links().iter().flat_map(|link| [link.a.0, link.b.0]);
            let members = relationships.route_servers().iter().flat_map(|rs| &rs.members);
            links.chain(members.map(|asn| asn.0))
        };
        let highest = ends().filter(|asn| *asn < TABLE).max();
        let mut low = vec![0; highest.map_or(0, |highest| highest as usize + 1)];
        let mut high = Vec::new();
        for asn in ends() {
            match low.get_mut(asn as usize) {
                Some(here) => *here = 1,
                None => high.push(Asn(asn)),
            }
        }
        high.sort_unstable();
        high.dedup();
        let mut asns = Vec::new();
        for (asn, place) in (0..).map(Asn).zip(&mut low).filter(|(_, place)| **place == 1) {
            *place = u32::try_from(asns.len()).expect("ids are 32 bits");
            asns.push(asn);
        }
        let lows = asns.len();
        asns.append(&mut high);
        Self { asns, low, lows }
    }

    /// The place of a number that is among those it was made from.
    #[inline]
    fn of(&self, asn: Asn) -> u32 {
        if let Some(place) = self.low.get(asn.0 as usize) {
            return *place;
        }
        let place = self.asns[self.lows..].partition_point(|other| *other < asn) + self.lows;
        u32::try_from(place).expect("ids are 32 bits")
    }
}

/// Route servers, and who is a member of which.
fn exchanges(
    relationships: &Relationships,
    id: impl Fn(Asn) -> AsId,
) -> (Vec<Exchange>, Vec<(AsId, AsId)>) {
    let mut route_servers = Vec::new();
    let mut memberships = Vec::new();
    for (at, rs) in (0..).map(AsId).zip(relationships.route_servers()) {
        let mut members: Vec<AsId> = rs.members.iter().map(|asn| id(*asn)).collect();
        members.sort_unstable();
        members.dedup();
        memberships.extend(members.iter().map(|member| (*member, at)));
        route_servers.push(Exchange { asn: rs.asn, members });
    }
    (route_servers, memberships)
}

/// The first and the last of each group of siblings, which stand beside each other.
fn sibling_groups(order: &Order) -> Vec<(AsId, AsId)> {
    let group = |place: u32| order.group[place as usize];
    let mut groups: Vec<(AsId, AsId)> = Vec::new();
    for (id, pair) in (0..).zip(order.places.windows(2)) {
        if group(pair[0]) != group(pair[1]) {
            continue;
        }
        match groups.last_mut() {
            Some((_, last)) if last.0 == id => last.0 += 1,
            _ => groups.push((AsId(id), AsId(id + 1))),
        }
    }
    groups
}

#[cfg(test)]
mod tests;

//! The Internet as a graph of ASes: compact, and numbered so that providers stand before their
//! customers.

use anycast_bgp::Asn;

use crate::topology::{Relationship, Relationships};

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
    let mut text: String = cycle.iter().map(|asn| format!("AS{asn} > ")).collect();
    if let Some(first) = cycle.first() {
        text.push_str(&format!("AS{first}"));
    }
    text
}

/// For each AS a list of others, in one block of memory.
#[derive(Clone, Debug, Default)]
pub(crate) struct Lists {
    starts: Vec<u32>,
    items: Vec<AsId>,
}

impl Lists {
    /// Lists of `n` ASes from pairs (whose, what); each list is sorted.
    fn new(n: usize, pairs: &[(AsId, AsId)]) -> Self {
        let mut starts = vec![0_u32; n + 1];
        for (whose, _) in pairs {
            starts[whose.index() + 1] += 1;
        }
        for i in 0..n {
            starts[i + 1] += starts[i];
        }
        let mut next = starts.clone();
        let mut items = vec![AsId(0); pairs.len()];
        for (whose, what) in pairs {
            let at = &mut next[whose.index()];
            items[*at as usize] = *what;
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
#[derive(Clone, Debug)]
pub struct Graph {
    asns: Vec<Asn>,
    /// Sorted by number.
    ids: Vec<(Asn, AsId)>,
    pub(crate) providers: Lists,
    pub(crate) customers: Lists,
    pub(crate) peers: Lists,
    pub(crate) siblings: Lists,
    pub(crate) route_servers: Vec<Exchange>,
    /// For each AS the route servers that it is a member of, as indices of `route_servers`.
    pub(crate) memberships: Lists,
    /// Whether an AS has the providers of the AS before it.
    pub(crate) alike: Vec<bool>,
    /// First and last of each group of siblings; sorted.
    pub(crate) sibling_groups: Vec<(AsId, AsId)>,
}

/// A route server in the graph.
#[derive(Clone, Debug)]
pub(crate) struct Exchange {
    pub(crate) asn: Asn,
    pub(crate) members: Vec<AsId>,
}

impl Graph {
    /// Builds the graph.
    ///
    /// # Errors
    /// A cycle of providers, in which siblings count as one AS; or nothing to build from.
    pub fn new(relationships: &Relationships) -> Result<Self, GraphError> {
        let mut asns: Vec<Asn> = relationships
            .links()
            .iter()
            .flat_map(|link| [link.a, link.b])
            .chain(relationships.route_servers().iter().flat_map(|rs| rs.members.iter().copied()))
            .collect();
        asns.sort_unstable();
        asns.dedup();
        if asns.is_empty() {
            return Err(GraphError::Empty);
        }
        let place = |asn: Asn| asns.binary_search(&asn).expect("collected from the same links");
        // (provider, customer) and so on as places in `asns`.
        let (mut transit, mut peer, mut sibling) = (Vec::new(), Vec::new(), Vec::new());
        for link in relationships.links() {
            let pair = (place(link.a), place(link.b));
            match link.relationship {
                Relationship::ProviderOf => transit.push(pair),
                Relationship::Peer => peer.push(pair),
                Relationship::Sibling => sibling.push(pair),
            }
        }
        let group = groups(asns.len(), &sibling);
        let order = edge_last(order(&asns, &transit, &sibling)?, &group, &transit);
        let mut id_of = vec![AsId(0); asns.len()];
        for (id, &place) in order.iter().enumerate() {
            id_of[place] = AsId(u32::try_from(id).expect("fewer ASes than numbers"));
        }
        let n = asns.len();
        let one_way = |pairs: &[(usize, usize)]| -> Vec<(AsId, AsId)> {
            pairs.iter().map(|&(a, b)| (id_of[a], id_of[b])).collect()
        };
        let both_ways = |pairs: &[(usize, usize)]| -> Vec<(AsId, AsId)> {
            pairs.iter().flat_map(|&(a, b)| [(id_of[a], id_of[b]), (id_of[b], id_of[a])]).collect()
        };
        let down = one_way(&transit);
        let up: Vec<_> = down.iter().map(|&(provider, customer)| (customer, provider)).collect();
        let mut route_servers = Vec::new();
        let mut memberships = Vec::new();
        for (at, rs) in relationships.route_servers().iter().enumerate() {
            let mut members: Vec<AsId> = rs.members.iter().map(|asn| id_of[place(*asn)]).collect();
            members.sort_unstable();
            members.dedup();
            let at = AsId(u32::try_from(at).expect("fewer route servers than numbers"));
            memberships.extend(members.iter().map(|member| (*member, at)));
            route_servers.push(Exchange { asn: rs.asn, members });
        }
        let mut sibling_groups: Vec<(AsId, AsId)> = Vec::new();
        for pair in order.windows(2).filter(|pair| group[pair[0]] == group[pair[1]]) {
            let (id, next) = (id_of[pair[0]], id_of[pair[1]]);
            match sibling_groups.last_mut() {
                Some((_, last)) if *last == id => *last = next,
                _ => sibling_groups.push((id, next)),
            }
        }
        let providers = Lists::new(n, &up);
        let mut alike = vec![false; n];
        for at in 1..n {
            let id = |at: usize| AsId(u32::try_from(at).expect("ids are 32 bits"));
            alike[at] = providers.of(id(at)) == providers.of(id(at - 1));
        }
        Ok(Self {
            sibling_groups,
            alike,
            providers,
            customers: Lists::new(n, &down),
            peers: Lists::new(n, &both_ways(&peer)),
            siblings: Lists::new(n, &both_ways(&sibling)),
            memberships: Lists::new(n, &memberships),
            route_servers,
            ids: asns.iter().enumerate().map(|(place, asn)| (*asn, id_of[place])).collect(),
            asns: order.iter().map(|&place| asns[place]).collect(),
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
        self.peers.of(id)
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

/// The places of all ASes in an order in which providers stand before their customers, and
/// siblings beside each other.
fn order(
    asns: &[Asn],
    transit: &[(usize, usize)],
    sibling: &[(usize, usize)],
) -> Result<Vec<usize>, GraphError> {
    let n = asns.len();
    let group = groups(n, sibling);
    let mut members: Vec<Vec<usize>> = vec![Vec::new(); if sibling.is_empty() { 0 } else { n }];
    if !sibling.is_empty() {
        for place in 0..n {
            members[group[place]].push(place);
        }
    }
    let mut providers_left = vec![0_u32; n];
    let mut starts = vec![0_usize; n + 1];
    let inner = |&&(a, b): &&(usize, usize)| group[a] != group[b];
    for &(provider, customer) in transit.iter().filter(inner) {
        providers_left[group[customer]] += 1;
        starts[group[provider] + 1] += 1;
    }
    for i in 0..n {
        starts[i + 1] += starts[i];
    }
    let mut next = starts.clone();
    let mut customers = vec![0_usize; starts[n]];
    for &(provider, customer) in transit.iter().filter(inner) {
        let at = &mut next[group[provider]];
        customers[*at] = group[customer];
        *at += 1;
    }
    let mut ready: Vec<usize> =
        (0..n).filter(|&place| group[place] == place && providers_left[place] == 0).collect();
    let mut done = 0;
    while done < ready.len() {
        let at = ready[done];
        done += 1;
        for &customer in &customers[starts[at]..starts[at + 1]] {
            providers_left[customer] -= 1;
            if providers_left[customer] == 0 {
                ready.push(customer);
            }
        }
    }
    let heads = (0..n).filter(|&place| group[place] == place).count();
    if ready.len() < heads {
        let cycle = cycle(&group, transit, &providers_left);
        return Err(GraphError::ProviderCycle {
            cycle: cycle.into_iter().map(|place| asns[place]).collect(),
        });
    }
    if sibling.is_empty() {
        return Ok(ready);
    }
    Ok(ready.into_iter().flat_map(|head| members[head].iter().copied()).collect())
}

/// Puts ASes without customers and siblings behind all others, and those with the same providers
/// beside each other: what one hears from providers, its likes hear too.
fn edge_last(order: Vec<usize>, group: &[usize], transit: &[(usize, usize)]) -> Vec<usize> {
    let n = order.len();
    let mut inner = vec![false; n];
    for (place, head) in group.iter().enumerate() {
        if *head != place {
            (inner[place], inner[*head]) = (true, true);
        }
    }
    for (provider, _) in transit {
        inner[*provider] = true;
    }
    let (mut first, mut edge): (Vec<usize>, Vec<usize>) =
        order.into_iter().partition(|place| inner[*place]);
    let mut rank = vec![0_usize; n];
    for (at, place) in first.iter().enumerate() {
        rank[*place] = at;
    }
    let mut starts = vec![0_usize; n + 1];
    for (_, customer) in transit {
        starts[customer + 1] += 1;
    }
    for i in 0..n {
        starts[i + 1] += starts[i];
    }
    let mut next = starts.clone();
    let mut providers = vec![0_usize; transit.len()];
    for (provider, customer) in transit {
        providers[next[*customer]] = rank[*provider];
        next[*customer] += 1;
    }
    for place in &edge {
        providers[starts[*place]..starts[place + 1]].sort_unstable();
    }
    edge.sort_unstable_by(|a, b| {
        let list = |place: usize| &providers[starts[place]..starts[place + 1]];
        list(*a).cmp(list(*b)).then(a.cmp(b))
    });
    first.append(&mut edge);
    first
}

/// For each place the lowest place of its sibling group.
fn groups(n: usize, sibling: &[(usize, usize)]) -> Vec<usize> {
    let mut parent: Vec<usize> = (0..n).collect();
    fn find(parent: &mut [usize], mut at: usize) -> usize {
        while parent[at] != at {
            parent[at] = parent[parent[at]];
            at = parent[at];
        }
        at
    }
    for &(a, b) in sibling {
        let (a, b) = (find(&mut parent, a), find(&mut parent, b));
        parent[a.max(b)] = a.min(b);
    }
    (0..n).map(|place| find(&mut parent, place)).collect()
}

/// A cycle among the groups that still wait for a provider: each listed AS is a provider of some
/// member of the next one's group.
fn cycle(group: &[usize], transit: &[(usize, usize)], left: &[u32]) -> Vec<usize> {
    // Every group left has a provider left: walk up until one is met again.
    let mut provider_of = vec![None; group.len()];
    for &(provider, customer) in transit {
        let (above, below) = (group[provider], group[customer]);
        if above != below && left[above] > 0 && left[below] > 0 {
            provider_of[below] = Some(provider);
        }
    }
    let Some(mut at) = (0..group.len()).find(|&place| provider_of[place].is_some()) else {
        return Vec::new();
    };
    let mut steps = Vec::new();
    let mut met = vec![None; group.len()];
    while let Some(provider) = provider_of[at] {
        if let Some(first) = met[at] {
            steps.drain(..first);
            break;
        }
        met[at] = Some(steps.len());
        steps.push(provider);
        at = group[provider];
    }
    steps.reverse();
    steps
}

#[cfg(test)]
mod tests;

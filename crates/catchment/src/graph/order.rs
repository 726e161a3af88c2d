//! In which order ASes are numbered: providers before customers, and what is alike beside each
//! other, so that one pass over the numbers settles everything.

use anycast_bgp::Asn;

use super::GraphError;

/// The order of ASes; a *place* is where an AS stands in the list of all numbers, sorted.
pub(super) struct Order {
    /// The places in their new order.
    pub(super) places: Vec<u32>,
    /// For each place the lowest place of its sibling group.
    pub(super) group: Vec<u32>,
    /// Where in the order the quiet begin: those who have providers and nobody else.
    pub(super) quiet: usize,
    /// Where each run of quiet ASes with the same providers begins, and where the last one ends.
    pub(super) runs: Vec<u32>,
}

impl Order {
    /// Puts ASes without customers and siblings behind all others, and behind these those without
    /// peers too (`meets` says who has such, or is a member of a route server). What one of the
    /// last hears, all with the same providers hear: these stand beside each other.
    pub(super) fn new(
        asns: &[Asn],
        transit: &[(u32, u32)],
        sibling: &[(u32, u32)],
        meets: &[bool],
    ) -> Result<Self, GraphError> {
        let group = groups(asns.len(), sibling);
        let order = providers_first(asns, transit, sibling, &group)?;
        let mut inner = vec![false; asns.len()];
        for (place, head) in (0..).zip(&group) {
            if *head != place {
                (inner[place as usize], inner[*head as usize]) = (true, true);
            }
        }
        for (provider, _) in transit {
            inner[*provider as usize] = true;
        }
        let (mut places, edge): (Vec<u32>, Vec<u32>) =
            order.into_iter().partition(|place| inner[*place as usize]);
        let providers = ranked_providers(&places, transit, asns.len());
        let (mut meeting, quiet): (Vec<u32>, Vec<u32>) =
            edge.into_iter().partition(|place| meets[*place as usize]);
        meeting.sort_unstable_by(|a, b| providers.of(*a).cmp(providers.of(*b)).then(a.cmp(b)));
        places.append(&mut meeting);
        let begin = places.len();
        let runs = append_runs(&mut places, quiet, &providers);
        Ok(Self { places, group, quiet: begin, runs })
    }
}

/// For each place the ranks of its providers, sorted.
struct Ranked {
    starts: Vec<u32>,
    ranks: Vec<u32>,
}

impl Ranked {
    fn of(&self, place: u32) -> &[u32] {
        let at = place as usize;
        &self.ranks[self.starts[at] as usize..self.starts[at + 1] as usize]
    }
}

/// Where the providers of each place stand among `first`, which has all who are a provider.
fn ranked_providers(first: &[u32], transit: &[(u32, u32)], n: usize) -> Ranked {
    let mut rank = vec![0; n];
    for (at, place) in (0..).zip(first) {
        rank[*place as usize] = at;
    }
    let mut starts = vec![0; n + 1];
    for (_, customer) in transit {
        starts[*customer as usize + 1] += 1;
    }
    for i in 0..n {
        starts[i + 1] += starts[i];
    }
    let mut next = starts.clone();
    let mut ranks = vec![0; transit.len()];
    for (provider, customer) in transit {
        let at = &mut next[*customer as usize];
        ranks[*at as usize] = rank[*provider as usize];
        *at += 1;
    }
    for pair in starts.windows(2) {
        ranks[pair[0] as usize..pair[1] as usize].sort_unstable();
    }
    Ranked { starts, ranks }
}

/// Appends the quiet, those with the same providers beside each other; returns where these runs
/// begin, and where the last one ends. Runs with as many providers and as many members stand
/// together too: loops over them then take as many turns as the time before, which processors
/// foresee.
fn append_runs(places: &mut Vec<u32>, mut quiet: Vec<u32>, providers: &Ranked) -> Vec<u32> {
    quiet.sort_unstable_by(|a, b| providers.of(*a).cmp(providers.of(*b)).then(a.cmp(b)));
    let mut alike: Vec<&[u32]> =
        quiet.chunk_by(|a, b| providers.of(*a) == providers.of(*b)).collect();
    alike.sort_by_key(|run| (providers.of(run[0]).len(), run.len()));
    let here = |places: &[u32]| u32::try_from(places.len()).expect("ids are 32 bits");
    let mut runs = Vec::with_capacity(alike.len() + 1);
    for run in alike {
        runs.push(here(places));
        places.extend(run);
    }
    runs.push(here(places));
    runs
}

/// All places in an order in which providers stand before their customers, and siblings beside
/// each other.
fn providers_first(
    asns: &[Asn],
    transit: &[(u32, u32)],
    sibling: &[(u32, u32)],
    group: &[u32],
) -> Result<Vec<u32>, GraphError> {
    let n = asns.len();
    let mut providers_left = vec![0_u32; n];
    let mut starts = vec![0_usize; n + 1];
    let groups_of = |&(a, b): &(u32, u32)| (group[a as usize] as usize, group[b as usize]);
    let between = || transit.iter().map(groups_of).filter(|(a, b)| *a != *b as usize);
    for (provider, customer) in between() {
        providers_left[customer as usize] += 1;
        starts[provider + 1] += 1;
    }
    for i in 0..n {
        starts[i + 1] += starts[i];
    }
    let mut next = starts.clone();
    let mut customers = vec![0; starts[n]];
    for (provider, customer) in between() {
        customers[next[provider]] = customer;
        next[provider] += 1;
    }
    let heads = || (0..).zip(group).filter(|(place, head)| place == *head).map(|(place, _)| place);
    let mut ready: Vec<u32> =
        heads().filter(|place: &u32| providers_left[*place as usize] == 0).collect();
    let mut done = 0;
    while done < ready.len() {
        let at = ready[done] as usize;
        done += 1;
        for &customer in &customers[starts[at]..starts[at + 1]] {
            let left = &mut providers_left[customer as usize];
            *left -= 1;
            if *left == 0 {
                ready.push(customer);
            }
        }
    }
    if ready.len() < heads().count() {
        let cycle = cycle(group, transit, &providers_left);
        return Err(GraphError::ProviderCycle {
            cycle: cycle.into_iter().map(|place| asns[place as usize]).collect(),
        });
    }
    if sibling.is_empty() {
        return Ok(ready);
    }
    let mut members: Vec<Vec<u32>> = vec![Vec::new(); n];
    for (place, head) in (0..).zip(group) {
        members[*head as usize].push(place);
    }
    Ok(ready.into_iter().flat_map(|head| std::mem::take(&mut members[head as usize])).collect())
}

/// For each place the lowest place of its sibling group.
fn groups(n: usize, sibling: &[(u32, u32)]) -> Vec<u32> {
    fn find(parent: &mut [u32], mut at: u32) -> u32 {
        while parent[at as usize] != at {
            parent[at as usize] = parent[parent[at as usize] as usize];
            at = parent[at as usize];
        }
        at
    }
    let n = u32::try_from(n).expect("ids are 32 bits");
    let mut parent: Vec<u32> = (0..n).collect();
    for &(a, b) in sibling {
        let (a, b) = (find(&mut parent, a), find(&mut parent, b));
        parent[a.max(b) as usize] = a.min(b);
    }
    (0..n).map(|place| find(&mut parent, place)).collect()
}

/// A cycle among the groups that still wait for a provider: each listed AS is a provider of some
/// member of the next one's group.
fn cycle(group: &[u32], transit: &[(u32, u32)], left: &[u32]) -> Vec<u32> {
    // Every group left has a provider left: walk up until one is met again.
    let mut provider_of = vec![None; group.len()];
    for &(provider, customer) in transit {
        let (above, below) = (group[provider as usize], group[customer as usize]);
        if above != below && left[above as usize] > 0 && left[below as usize] > 0 {
            provider_of[below as usize] = Some(provider);
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
        at = group[provider as usize] as usize;
    }
    steps.reverse();
    steps
}

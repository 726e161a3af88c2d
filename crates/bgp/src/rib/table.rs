//! Prefixes, their routes and the best of them: the Adj-RIBs-In and the Loc-RIB in one.
//!
//! Each prefix has one entry of forty octets, known by a number as long as anyone remembers the
//! prefix. Routes name their attributes by number too. Entries stand in the order of arrival;
//! what is to be read by people is sorted when it is asked for.

use std::collections::{BTreeMap, HashMap};
use std::hash::{BuildHasher, RandomState};
use std::net::{IpAddr, Ipv4Addr};

use hashbrown::HashTable;
use hashbrown::hash_table::Entry as Slot;
use ipnet::{IpNet, Ipv4Net};

use super::RouteView;
use super::import::Ineligible;
use super::interner::{Id, Interner};
use super::paged::Paged;
use super::paths::{Multipath, Source, Sources};
use super::peer::{Peer, PeerId};
use crate::decision::{self, Candidate, select};
use crate::message::PathId;
use crate::{Attributes, Family};

/// Each part of the index grows on its own and at its own time, and so in short steps.
const SHARDS: usize = 64;

/// The number of an entry.
pub(super) type EntryId = u32;

/// Where an entry is, and half of its prefix's hash: a growing index need not look at entries
/// all over the table.
#[derive(Clone, Copy, Debug)]
struct Place {
    hash: u32,
    id: EntryId,
}

#[derive(Clone, Debug)]
pub(super) struct Table {
    entries: Paged<Entry>,
    /// How many entries there are and were at most.
    end: EntryId,
    free: Vec<EntryId>,
    shards: Box<[HashTable<Place>]>,
    seed: u64,
    /// The few prefixes that do not fit into a [`Key`].
    wide: Paged<Option<IpNet>>,
    wide_end: u32,
    wide_free: Vec<u32>,
    /// Our own routes.
    local: HashMap<EntryId, Id>,
    /// Who sent the routes.
    pub(super) sources: Sources,
}

/// All that is known of a prefix: routes, or what someone still believes.
#[derive(Clone, Debug, Default)]
pub(super) struct Entry {
    key: Key,
    routes: Routes,
    best: Option<Id>,
    best_source: Source,
    best_from: From,
    flags: u8,
    /// How many peers have something to do with the prefix besides sending it: they were told
    /// of it, or are to look at it.
    pins: u16,
    /// What the forwarding table was told.
    pub(super) installed: Option<Id>,
}

/// This speaker originates the prefix.
const LOCAL: u8 = 1;
/// The forwarding table is to look at the prefix.
const FIB_WAITS: u8 = 2;
/// The entry stands for no prefix.
const FREE: u8 = 4;

/// An IPv4 prefix, or the number of any other.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
struct Key(u64);

/// Routes by source; each has at most one. Most prefixes have one route, at least at a site.
#[derive(Clone, Debug, Default)]
enum Routes {
    #[default]
    None,
    One(Route),
    #[expect(clippy::box_collection, reason = "entries are small: it is 8 octets instead of 24")]
    Many(Box<Vec<Route>>),
}

/// A route that a peer sent.
#[derive(Clone, Copy, Debug)]
pub(super) struct Route {
    pub(super) source: Source,
    /// Before import policy.
    pub(super) received: Id,
    /// After import policy, or why not.
    pub(super) verdict: Verdict,
}

/// The attributes of an eligible route, or why it is not, and whether it is stale, in four octets.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Verdict(u32);

/// The best route for a prefix.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Best {
    /// Who sent it, unless it is our own.
    pub(super) source: Source,
    pub(super) from: From,
    pub(super) set: Id,
}

/// Whose a route is.
#[derive(Clone, Copy, Debug, Default, Eq, Hash, PartialEq)]
pub(super) enum From {
    #[default]
    Local,
    Ebgp,
    Ibgp,
    /// An iBGP peer whose routes we reflect to all others (RFC 4456 §6).
    Client,
}

/// What a decision depends on besides the routes.
#[derive(Clone, Copy)]
pub(super) struct Context<'a> {
    pub(super) peers: &'a BTreeMap<PeerId, Peer>,
    pub(super) igp: Option<&'a HashMap<IpAddr, u32>>,
    pub(super) sets: &'a Interner<Attributes>,
    pub(super) sources: &'a Sources,
    pub(super) multipath: Multipath,
}

impl Context<'_> {
    /// An eligible route as that which is best, or may be told.
    pub(super) fn best_of(&self, route: &Route) -> Best {
        let from = match self.peers.get(&self.sources.peer(route.source)) {
            Some(peer) if peer.ebgp => From::Ebgp,
            Some(peer) if peer.client => From::Client,
            _ => From::Ibgp,
        };
        Best { source: route.source, from, set: route.set() }
    }
}

impl Default for Table {
    fn default() -> Self {
        Self {
            entries: Paged::default(),
            end: 0,
            free: Vec::new(),
            shards: vec![HashTable::new(); SHARDS].into_boxed_slice(),
            seed: RandomState::new().hash_one(0),
            wide: Paged::default(),
            wide_end: 0,
            wide_free: Vec::new(),
            local: HashMap::new(),
            sources: Sources::default(),
        }
    }
}

impl Key {
    const WIDE: u64 = 1 << 63;

    fn narrow(prefix: &IpNet) -> Option<Self> {
        let IpNet::V4(prefix) = prefix else { return None };
        Some(Self(u64::from(prefix.addr().to_bits()) << 8 | u64::from(prefix.prefix_len())))
    }

    const fn wide(number: u32) -> Self {
        Self(Self::WIDE | number as u64)
    }

    const fn number(self) -> Option<u32> {
        #[expect(clippy::cast_possible_truncation, reason = "it was one of 32 bits")]
        if self.0 & Self::WIDE == 0 { None } else { Some(self.0 as u32) }
    }

    const fn family(self) -> Family {
        if self.0 & Self::WIDE == 0 { Family::Ipv4Unicast } else { Family::Ipv6Unicast }
    }

    #[expect(clippy::cast_possible_truncation, reason = "takes it apart as it was put together")]
    fn prefix(self, wide: &Paged<Option<IpNet>>) -> IpNet {
        if let Some(number) = self.number() {
            return wide.get(number).copied().flatten().expect("an entry's prefix is kept");
        }
        let address = Ipv4Addr::from_bits((self.0 >> 8) as u32);
        Ipv4Net::new(address, self.0 as u8).expect("it was the length of a prefix").into()
    }
}

/// Both halves of the product of two numbers, one over the other.
#[expect(clippy::cast_possible_truncation, reason = "the halves are wanted")]
fn fold(a: u64, b: u64) -> u64 {
    let product = u128::from(a) * u128::from(b);
    product as u64 ^ (product >> 64) as u64
}

/// Nobody but us knows the seed, so that nobody can choose prefixes that collide.
#[expect(clippy::cast_possible_truncation, reason = "the halves are wanted")]
fn hash(seed: u64, prefix: &IpNet) -> u64 {
    const ODD: u64 = 0x9e37_79b9_7f4a_7c15;
    match prefix {
        IpNet::V4(prefix) => {
            let bits = u64::from(prefix.addr().to_bits()) << 8 | u64::from(prefix.prefix_len());
            fold(bits ^ seed, ODD ^ seed.rotate_left(32))
        }
        IpNet::V6(prefix) => {
            let bits = prefix.addr().to_bits();
            let high = fold((bits >> 64) as u64 ^ seed, ODD);
            fold(bits as u64 ^ high ^ seed.rotate_left(17), ODD ^ u64::from(prefix.prefix_len()))
        }
    }
}

/// Some parts get more prefixes than others, up to twice as many: so at any number of prefixes a few
/// are about to double and a few just have, and never all at once.
const fn shard(hash: u64) -> usize {
    const ONE: usize = 1 << 16;
    let even = (hash >> 40) as usize % ONE;
    // About the logarithm of 1 to 2.
    let bent = even + even * (ONE - even) / ONE * 11 / 32;
    bent * SHARDS / ONE
}

/// The half of the hash that is kept.
#[expect(clippy::cast_possible_truncation, reason = "half of it is enough")]
const fn half(hash: u64) -> u32 {
    hash as u32
}

/// All bits of an index's hash from the half that is kept.
const fn spread(half: u32) -> u64 {
    (half as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15)
}

impl Table {
    /// The entry of a prefix.
    pub(super) fn find(&self, prefix: &IpNet) -> Option<EntryId> {
        let hash = hash(self.seed, prefix);
        let (shard, hash) = (&self.shards[shard(hash)], half(hash));
        let narrow = Key::narrow(prefix);
        let same = |place: &Place| {
            place.hash == hash
                && match narrow {
                    Some(key) => self.entry(place.id).key == key,
                    None => self.prefix(place.id) == *prefix,
                }
        };
        shard.find(spread(hash), same).map(|place| place.id)
    }

    /// The entry of a prefix; it is made if need be, and stays only if something is put in.
    pub(super) fn find_or_insert(&mut self, prefix: &IpNet) -> EntryId {
        let hash = hash(self.seed, prefix);
        let narrow = Key::narrow(prefix);
        let (shard, hash) = (&mut self.shards[shard(hash)], half(hash));
        let (entries, wide) = (&self.entries, &self.wide);
        let same = |place: &Place| {
            let key_of = |id| entries.get(id).expect("what is in the index is in the table").key;
            place.hash == hash
                && match narrow {
                    Some(key) => key_of(place.id) == key,
                    None => key_of(place.id).prefix(wide) == *prefix,
                }
        };
        let vacant = match shard.entry(spread(hash), same, |place| spread(place.hash)) {
            Slot::Occupied(found) => return found.get().id,
            Slot::Vacant(vacant) => vacant,
        };
        let id = self.free.pop().unwrap_or_else(|| {
            self.end += 1;
            self.end - 1
        });
        vacant.insert(Place { hash, id });
        let key = narrow.unwrap_or_else(|| {
            let number = self.wide_free.pop().unwrap_or_else(|| {
                self.wide_end += 1;
                self.wide_end - 1
            });
            *self.wide.slot(number) = Some(*prefix);
            Key::wide(number)
        });
        *self.entries.slot(id) = Entry { key, ..Entry::default() };
        id
    }

    pub(super) fn entry(&self, id: EntryId) -> &Entry {
        self.entries.get(id).expect("only numbers of entries go about")
    }

    pub(super) fn entry_mut(&mut self, id: EntryId) -> &mut Entry {
        self.entries.slot(id)
    }

    pub(super) fn prefix(&self, id: EntryId) -> IpNet {
        self.entry(id).key.prefix(&self.wide)
    }

    /// How many prefixes there are.
    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.shards.iter().map(HashTable::len).sum()
    }

    /// Every number of an entry is below this one.
    pub(super) const fn end(&self) -> EntryId {
        self.end
    }

    /// Every number; the entries of some are empty.
    pub(super) const fn ids(&self) -> std::ops::Range<EntryId> {
        0..self.end
    }

    /// The entries that hold for `wanted`, by prefix.
    pub(super) fn sorted(&self, wanted: impl Fn(EntryId, &Entry) -> bool) -> Vec<EntryId> {
        let mut ids: Vec<(IpNet, EntryId)> = self
            .ids()
            .filter(|id| wanted(*id, self.entry(*id)))
            .map(|id| (self.prefix(id), id))
            .collect();
        ids.sort_unstable();
        ids.into_iter().map(|(_, id)| id).collect()
    }

    /// Our own route.
    pub(super) fn local(&self, id: EntryId) -> Option<Id> {
        if self.entry(id).flags & LOCAL == 0 { None } else { self.local.get(&id).copied() }
    }

    /// Puts in our own route or takes it out; the one that was there.
    pub(super) fn set_local(&mut self, id: EntryId, local: Option<Id>) -> Option<Id> {
        let entry = self.entries.slot(id);
        if let Some(set) = local {
            entry.flags |= LOCAL;
            self.local.insert(id, set)
        } else {
            entry.flags &= !LOCAL;
            self.local.remove(&id)
        }
    }

    /// A peer has something to do with the prefix.
    pub(super) fn pin(&mut self, id: EntryId) {
        let pins = &mut self.entries.slot(id).pins;
        *pins = pins.saturating_add(1);
    }

    /// A peer has nothing to do with the prefix any more.
    pub(super) fn unpin(&mut self, id: EntryId) {
        let pins = &mut self.entries.slot(id).pins;
        if *pins < u16::MAX {
            *pins -= 1;
        }
        self.tidy(id);
    }

    /// Takes the entry away if there is nothing in it and nobody remembers it.
    pub(super) fn tidy(&mut self, id: EntryId) {
        let entry = self.entry(id);
        if !entry.is_forgotten() {
            return;
        }
        let (key, prefix) = (entry.key, self.prefix(id));
        let hash = hash(self.seed, &prefix);
        let shard = &mut self.shards[shard(hash)];
        if let Ok(found) = shard.find_entry(spread(half(hash)), |place| place.id == id) {
            found.remove();
            if let Some(number) = key.number() {
                *self.wide.slot(number) = None;
                self.wide_free.push(number);
            }
            self.entries.slot(id).flags = FREE;
            self.free.push(id);
        }
    }

    /// The best of an entry's routes.
    pub(super) fn select(&self, id: EntryId, context: Context<'_>) -> Option<Best> {
        if let Some(set) = self.local(id) {
            return Some(Best::local(set));
        }
        let best = match self.entry(id).routes() {
            [] => return None,
            [route] => route.candidate(context).ok().map(|_| route)?,
            routes => {
                let (routes, candidates): (Vec<&Route>, Vec<Candidate<'_>>) = routes
                    .iter()
                    .filter_map(|route| Some((route, route.candidate(context).ok()?)))
                    .unzip();
                routes[select(&candidates)?.best]
            }
        };
        Some(context.best_of(best))
    }

    /// An entry's routes by peer and path.
    pub(super) fn by_peer(&self, entry: &Entry) -> Vec<Route> {
        let mut routes = entry.routes().to_vec();
        routes.sort_by_key(|route| self.sources.of(route.source));
        routes
    }

    /// Every route, by prefix, our own first, then by peer and path.
    pub(super) fn views<'a>(
        &'a self,
        ids: Vec<EntryId>,
        context: Context<'a>,
    ) -> impl Iterator<Item = RouteView<'a>> {
        ids.into_iter().flat_map(move |id| {
            let (prefix, entry) = (self.prefix(id), self.entry(id));
            let best = entry.best();
            let sharing = self.sharing(id, context);
            let local = self.local(id).into_iter().map(move |set| RouteView {
                prefix,
                attributes: context.sets.get(set),
                peer: None,
                path_id: PathId::NONE,
                best: best == Some(Best::local(set)),
                shares: false,
                ineligible: None,
                stale: false,
            });
            local.chain(self.by_peer(entry).into_iter().map(move |route| {
                let (peer, path_id) = self.sources.of(route.source);
                RouteView {
                    prefix,
                    attributes: context.sets.get(route.set()),
                    peer: Some(peer),
                    path_id,
                    best: best.is_some_and(|best| best.is(&route)),
                    shares: sharing.iter().any(|it| it.source == route.source),
                    ineligible: route.candidate(context).err(),
                    stale: route.is_stale(),
                }
            }))
        })
    }
}

impl Best {
    /// Our own route.
    pub(super) fn local(set: Id) -> Self {
        Self { source: Source::default(), from: From::Local, set }
    }

    /// Who sent it; `None`: it is our own.
    pub(super) fn peer(self, sources: &Sources) -> Option<PeerId> {
        (self.from != From::Local).then(|| sources.peer(self.source))
    }

    /// Whether it is this route of a peer.
    pub(super) fn is(self, route: &Route) -> bool {
        self.from != From::Local && self.source == route.source
    }
}

impl Entry {
    pub(super) const fn family(&self) -> Family {
        self.key.family()
    }

    pub(super) fn best(&self) -> Option<Best> {
        self.best.map(|set| Best { source: self.best_source, from: self.best_from, set })
    }

    /// Puts another in the place of the best; the one that was there.
    pub(super) fn replace_best(&mut self, best: Option<Best>) -> Option<Best> {
        let old = self.best();
        self.best = best.map(|best| best.set);
        if let Some(best) = best {
            (self.best_source, self.best_from) = (best.source, best.from);
        }
        old
    }

    /// Whether it was not marked before.
    pub(super) fn mark_for_fib(&mut self) -> bool {
        let new = self.flags & FIB_WAITS == 0;
        self.flags |= FIB_WAITS;
        new
    }

    pub(super) fn unmark_for_fib(&mut self) {
        self.flags &= !FIB_WAITS;
    }

    fn is_forgotten(&self) -> bool {
        self.pins == 0
            && self.flags == 0
            && self.installed.is_none()
            && matches!(self.routes, Routes::None)
    }

    /// By source.
    pub(super) fn routes(&self) -> &[Route] {
        match &self.routes {
            Routes::None => &[],
            Routes::One(route) => std::slice::from_ref(route),
            Routes::Many(routes) => routes,
        }
    }

    /// Puts in a route; the one that it replaces.
    pub(super) fn insert(&mut self, route: Route) -> Option<Route> {
        match &mut self.routes {
            Routes::None => {
                self.routes = Routes::One(route);
                None
            }
            Routes::One(other) if other.source == route.source => {
                Some(std::mem::replace(other, route))
            }
            Routes::One(other) => {
                let mut routes = vec![*other, route];
                routes.sort_unstable_by_key(|route| route.source);
                self.routes = Routes::Many(Box::new(routes));
                None
            }
            Routes::Many(routes) => {
                match routes.binary_search_by_key(&route.source, |route| route.source) {
                    Ok(at) => Some(std::mem::replace(&mut routes[at], route)),
                    Err(at) => {
                        routes.insert(at, route);
                        None
                    }
                }
            }
        }
    }

    /// Marks the route of a source.
    pub(super) fn mark_stale(&mut self, source: Source) {
        let routes = match &mut self.routes {
            Routes::None => &mut [],
            Routes::One(route) => std::slice::from_mut(route),
            Routes::Many(routes) => routes.as_mut_slice(),
        };
        for route in routes.iter_mut().filter(|route| route.source == source) {
            route.verdict.0 |= Verdict::STALE;
        }
    }

    /// Takes out the route of a source.
    pub(super) fn remove(&mut self, source: Source) -> Option<Route> {
        match &mut self.routes {
            Routes::None => None,
            Routes::One(route) => {
                let route = *route;
                (route.source == source).then(|| {
                    self.routes = Routes::None;
                    route
                })
            }
            Routes::Many(routes) => {
                let at = routes.binary_search_by_key(&source, |route| route.source).ok()?;
                let route = routes.remove(at);
                if let [last] = routes[..] {
                    self.routes = Routes::One(last);
                }
                Some(route)
            }
        }
    }
}

impl Verdict {
    /// Numbers from here on are reasons.
    const REASONS: u32 = Id::MAX + 1;
    /// The mark of a stale route, whatever else is said.
    const STALE: u32 = 1 << 31;

    /// The attributes' number, or why there are none.
    pub(super) fn get(self) -> Result<Id, Ineligible> {
        let number = self.0 & !Self::STALE;
        match Id::new(number).filter(|_| number < Self::REASONS) {
            Some(set) => Ok(set),
            None => Err(Ineligible::ALL[(number - Self::REASONS) as usize]),
        }
    }
}

impl std::convert::From<Result<Id, Ineligible>> for Verdict {
    fn from(verdict: Result<Id, Ineligible>) -> Self {
        Self(match verdict {
            Ok(set) => set.number(),
            Err(why) => Self::REASONS + why as u32,
        })
    }
}

impl Route {
    /// After import policy; as received if it did not get that far.
    pub(super) fn set(&self) -> Id {
        self.verdict.get().unwrap_or(self.received)
    }

    /// Whether the peer does not stand by it at the moment.
    pub(super) const fn is_stale(self) -> bool {
        self.verdict.0 & Verdict::STALE != 0
    }

    /// The route as the decision process sees it, or why it does not.
    pub(super) fn candidate<'a>(&self, context: Context<'a>) -> Result<Candidate<'a>, Ineligible> {
        let attributes = context.sets.get(self.verdict.get()?);
        let (peer, path_id) = context.sources.of(self.source);
        let peer = context.peers.get(&peer);
        let (peer, up) = peer
            .and_then(|peer| Some((peer, peer.up()?)))
            .expect("a peer's routes leave the table when it goes down, or what it was is kept");
        let igp_cost = match context.igp {
            Some(igp) if !peer.ebgp => {
                *igp.get(&attributes.next_hop.address).ok_or(Ineligible::Unreachable)?
            }
            _ => 0,
        };
        let source = decision::Source::Peer {
            ebgp: peer.ebgp,
            asn: peer.config.asn,
            router_id: up.router_id,
            address: peer.config.address,
            igp_cost,
            path_id,
        };
        Ok(Candidate { attributes, source })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_entry_takes_forty_octets() {
        assert_eq!((size_of::<Route>(), size_of::<Entry>()), (12, 40));
    }

    #[test]
    fn each_prefix_has_one_entry_until_nobody_remembers_it() {
        let mut table = Table::default();
        let prefixes: Vec<IpNet> = [
            "0.0.0.0/0",
            "10.0.0.0/8",
            "10.0.0.0/9",
            "255.255.255.255/32",
            "::/0",
            "2001:db8::/32",
        ]
        .map(|prefix| prefix.parse().unwrap())
        .to_vec();
        let ids: Vec<EntryId> = prefixes.iter().map(|it| table.find_or_insert(it)).collect();
        for (prefix, id) in prefixes.iter().zip(&ids) {
            assert_eq!((table.find(prefix), table.prefix(*id)), (Some(*id), *prefix));
            assert_eq!(table.entry(*id).family(), Family::of(prefix));
            assert_eq!(table.find_or_insert(prefix), *id);
            table.pin(*id);
            table.pin(*id);
            table.unpin(*id);
            assert_eq!(table.find(prefix), Some(*id));
            table.unpin(*id);
            assert_eq!(table.find(prefix), None);
            table.tidy(*id);
        }
        let again: std::collections::BTreeSet<EntryId> =
            prefixes.iter().map(|it| table.find_or_insert(it)).collect();
        assert_eq!(again, ids.into_iter().collect(), "their places are used again, each once");
    }

    #[test]
    fn the_largest_part_of_the_index_gets_twice_as_much_as_the_smallest() {
        let mut got = [0_u32; SHARDS];
        for even in 0..1 << 16 {
            got[shard(even << 40)] += 1;
        }
        let (most, least) = (got.iter().max().unwrap(), got.iter().min().unwrap());
        assert!((1.9..2.2).contains(&(f64::from(*most) / f64::from(*least))), "{least} to {most}");
    }

    #[test]
    fn a_verdict_says_what_was_put_in() {
        let all = Ineligible::ALL.map(Err).into_iter();
        for verdict in all.chain([1, 2, Id::MAX].map(|number| Ok(Id::new(number).unwrap()))) {
            assert_eq!(Verdict::from(verdict).get(), verdict);
        }
    }
}

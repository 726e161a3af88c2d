//! A peer, and what it was and is still to be told.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

use ipnet::IpNet;

use crate::message::{Announcement, Update};
use crate::policy::Policy;
use crate::{Asn, Attributes, Family, NextHop};

/// How many prefixes one [`Update`] holds at most.
const PREFIXES_PER_UPDATE: usize = 1000;

/// How many prefixes are looked at in one go: enough to pack them well, few enough that what
/// changes meanwhile need not wait behind a whole table.
const PREFIXES_PER_STAGE: usize = 16_384;

/// A peer's name within the tables; the caller chooses it.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct PeerId(pub u32);

/// What a peer is by configuration. It is an iBGP peer if its ASN is ours.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct PeerConfig {
    /// The operator's name for it.
    pub name: String,
    /// Its AS.
    pub asn: Asn,
    /// Its address.
    pub address: IpAddr,
    /// What is taken from it; the default policy takes nothing (RFC 8212).
    pub import: Policy,
    /// What it is sent; the default policy sends nothing (RFC 8212).
    pub export: Policy,
    /// Towards an iBGP peer: put our own address in place of a learnt next hop. An eBGP peer is
    /// always told our own.
    pub next_hop_self: bool,
    /// From an eBGP peer: refuse routes whose path does not start with its AS. Off for route
    /// servers (RFC 7947 §2.2.2.1).
    pub enforce_first_as: bool,
}

/// What a session that is Established says of the peer and of our end.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct PeerUp {
    /// The peer's BGP Identifier.
    pub router_id: Ipv4Addr,
    /// Our end of the session: the next hop that we announce for its own family.
    pub local_address: IpAddr,
    /// The next hop that we announce for the other family; without it, routes that need it are
    /// not announced.
    pub next_hop_other: Option<IpAddr>,
    /// The families that both ends negotiated.
    pub families: Vec<Family>,
}

/// How many routes a peer sent and was told.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Counts {
    /// Routes that it sent.
    pub received: usize,
    /// Those of them that passed the checks and the import policy.
    pub accepted: usize,
    /// Routes that it was told.
    pub advertised: usize,
}

#[derive(Clone, Debug)]
pub(super) struct Peer {
    pub(super) config: PeerConfig,
    pub(super) ebgp: bool,
    /// `None` while the peer is down.
    pub(super) session: Option<Session>,
    /// Of what it sent; what it was told is counted in the session.
    pub(super) counts: Counts,
}

/// What lasts as long as a peer is up.
#[derive(Clone, Debug)]
pub(super) struct Session {
    pub(super) up: PeerUp,
    /// The Adj-RIB-Out: what the peer knows once it has read all that is staged.
    pub(super) advertised: BTreeMap<IpNet, Advertised>,
    pub(super) queue: VecDeque<Item>,
    /// The prefixes in the queue; true: the peer is to be told even what it knows.
    waiting: HashMap<IpNet, bool>,
    /// Worked out and ready for the wire.
    pub(super) staged: VecDeque<Update>,
}

/// Something to look at before the peer knows all.
#[derive(Clone, Copy, Debug)]
pub(super) enum Item {
    Prefix(IpNet),
    EndOfRib(Family),
}

/// What a peer was told about a prefix.
#[derive(Clone, Debug)]
pub(super) struct Advertised {
    pub(super) attributes: Arc<Attributes>,
    pub(super) from: Option<PeerId>,
}

impl Peer {
    pub(super) fn new(config: PeerConfig, local_asn: Asn) -> Self {
        let ebgp = config.asn != local_asn;
        Self { config, ebgp, session: None, counts: Counts::default() }
    }

    pub(super) fn counts(&self) -> Counts {
        let advertised = self.session.as_ref().map_or(0, |session| session.advertised.len());
        Counts { advertised, ..self.counts }
    }
}

impl PeerUp {
    /// Whether `address` is one that we announce as next hop ourselves.
    pub(super) fn is_ours(&self, address: IpAddr) -> bool {
        address == self.local_address || Some(address) == self.next_hop_other
    }

    /// The next hop that we announce for a family.
    pub(super) fn next_hop_self(&self, family: Family) -> Option<NextHop> {
        let of_family = |address: &IpAddr| address.is_ipv4() == (family == Family::Ipv4Unicast);
        Some(self.local_address)
            .filter(of_family)
            .or(self.next_hop_other.filter(of_family))
            .map(NextHop::from)
    }
}

impl Session {
    pub(super) fn new(up: PeerUp) -> Self {
        Self {
            up,
            advertised: BTreeMap::new(),
            queue: VecDeque::new(),
            waiting: HashMap::new(),
            staged: VecDeque::new(),
        }
    }

    /// The prefix is to be looked at; with `again`, told even if the peer knows.
    pub(super) fn queue_prefix(&mut self, prefix: IpNet, again: bool) {
        if let Some(waiting) = self.waiting.get_mut(&prefix) {
            *waiting |= again;
        } else {
            self.waiting.insert(prefix, again);
            self.queue.push_back(Item::Prefix(prefix));
        }
    }

    /// All prefixes of a family are to be looked at.
    pub(super) fn queue_family<'a>(
        &mut self,
        family: Family,
        prefixes: impl Iterator<Item = &'a IpNet>,
        again: bool,
    ) {
        for prefix in prefixes.filter(|prefix| Family::of(prefix) == family) {
            self.queue_prefix(*prefix, again);
        }
    }

    /// Behind all that is queued now, the End-of-RIB marker.
    pub(super) fn queue_end_of_rib(&mut self, family: Family) {
        self.queue.push_back(Item::EndOfRib(family));
    }

    /// Looks at what is queued, up to a marker or a stage's fill, and stages what the peer does
    /// not know yet. `wanted` says what it should know about a prefix,
    /// in interned attributes.
    pub(super) fn stage(&mut self, mut wanted: impl FnMut(&IpNet, &PeerUp) -> Option<Advertised>) {
        let mut withdrawn: [Vec<IpNet>; 2] = Default::default();
        let mut announced: Vec<(Arc<Attributes>, Vec<IpNet>)> = Vec::new();
        let mut groups: HashMap<(Family, *const Attributes), usize> = HashMap::new();
        let mut end_of_rib = None;
        for _ in 0..PREFIXES_PER_STAGE {
            let prefix = match self.queue.pop_front() {
                Some(Item::Prefix(prefix)) => prefix,
                Some(Item::EndOfRib(family)) => {
                    end_of_rib = Some(family);
                    break;
                }
                None => break,
            };
            let again = self.waiting.remove(&prefix).unwrap_or(false);
            let family = Family::of(&prefix);
            let Some(told) = wanted(&prefix, &self.up) else {
                if self.advertised.remove(&prefix).is_some() {
                    withdrawn[family as usize].push(prefix);
                }
                continue;
            };
            let attributes = Arc::clone(&told.attributes);
            let known = self.advertised.insert(prefix, told);
            if !again && known.is_some_and(|known| known.attributes == attributes) {
                continue;
            }
            let index = *groups.entry((family, Arc::as_ptr(&attributes))).or_insert_with(|| {
                announced.push((attributes, Vec::new()));
                announced.len() - 1
            });
            announced[index].1.push(prefix);
        }
        for prefixes in withdrawn.iter().flat_map(|prefixes| prefixes.chunks(PREFIXES_PER_UPDATE)) {
            self.staged.push_back(Update { withdrawn: prefixes.to_vec(), ..Update::default() });
        }
        for (attributes, prefixes) in announced {
            for prefixes in prefixes.chunks(PREFIXES_PER_UPDATE) {
                let attributes = Arc::clone(&attributes);
                let announcement = Announcement { attributes, prefixes: prefixes.to_vec() };
                self.staged
                    .push_back(Update { announced: vec![announcement], ..Update::default() });
            }
        }
        if end_of_rib.is_some() {
            self.staged.push_back(Update { end_of_rib, ..Update::default() });
        }
    }
}

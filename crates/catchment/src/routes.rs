//! What came of one propagation: the best routes of each AS, ties included.

use crate::candidates::Via;
use crate::graph::AsId;
use crate::sites::SiteSet;

/// The length that stands for "no route"; a path that would be as long is dropped.
pub(crate) const NONE: u8 = u8::MAX;

/// From whom an AS has its best routes, best first.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub enum LearntFrom {
    /// It originates the prefix itself: it is the AS of a site.
    Origin,
    /// From customers.
    Customer,
    /// From peers, directly or through a route server.
    Peer,
    /// From providers.
    Provider,
}

/// The best routes of one AS: all that are equal in what this model compares.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Route {
    /// From whom. Routes of a sibling keep what they were at the sibling. Where a local preference
    /// makes routes from different sides equal, the first of them.
    pub learnt_from: LearntFrom,
    /// The length of the AS path, prepends and poisoned ASes counted.
    pub length: u8,
    /// The sites to which they lead.
    pub sites: SiteSet,
    /// They carry GRACEFUL_SHUTDOWN, and there was nothing better.
    pub last_resort: bool,
}

/// The best routes of every AS of a graph. Made once and reused for many propagations.
#[derive(Clone, Debug)]
pub struct Routes {
    pub(crate) length: Vec<u8>,
    pub(crate) from: Vec<u8>,
    /// Stale where there is no route.
    pub(crate) sites: Vec<u64>,
    /// ASes that do not tell on all that they take; sorted.
    pub(crate) deviations: Vec<Deviation>,
    pub(crate) unsettled: Vec<AsId>,
    /// By what ASes with a choice of their own have their routes, and which strands; sorted by AS.
    pub(crate) chosen: Vec<(AsId, Via, SiteSet)>,
    /// The site of each strand, where these differ; else empty.
    pub(crate) strands: Vec<u8>,
}

/// What an AS tells others, where that does not follow from what it takes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Deviation {
    pub(crate) at: AsId,
    /// Told to customers and siblings.
    pub(crate) down: SiteSet,
    /// Told to providers and peers too.
    pub(crate) up: SiteSet,
}

/// What is in a byte of [`Routes::from`].
pub(crate) mod from {
    pub(crate) const NOTHING: u8 = 0;
    pub(crate) const CUSTOMER: u8 = 1;
    pub(crate) const PEER: u8 = 2;
    pub(crate) const PROVIDER: u8 = 3;
    pub(crate) const ORIGIN: u8 = 4;
    pub(crate) const SIDE: u8 = 0x0f;
    pub(crate) const LAST_RESORT: u8 = 0x40;
    pub(crate) const DEVIATES: u8 = 0x80;
}

impl LearntFrom {
    pub(crate) const fn from_code(code: u8) -> Option<Self> {
        match code & from::SIDE {
            from::CUSTOMER => Some(Self::Customer),
            from::PEER => Some(Self::Peer),
            from::PROVIDER => Some(Self::Provider),
            from::ORIGIN => Some(Self::Origin),
            _ => None,
        }
    }

    pub(crate) const fn code(self) -> u8 {
        match self {
            Self::Customer => from::CUSTOMER,
            Self::Peer => from::PEER,
            Self::Provider => from::PROVIDER,
            Self::Origin => from::ORIGIN,
        }
    }
}

impl Routes {
    /// Room for the routes of `len` ASes: as many as the graph has.
    #[must_use]
    pub fn new(len: usize) -> Self {
        Self {
            length: vec![NONE; len],
            from: vec![from::NOTHING; len],
            sites: vec![0; len],
            deviations: Vec::new(),
            unsettled: Vec::new(),
            chosen: Vec::new(),
            strands: Vec::new(),
        }
    }

    /// The best routes of an AS; `None` if the prefix does not reach it.
    #[must_use]
    pub fn of(&self, id: AsId) -> Option<Route> {
        let code = self.from[id.index()];
        Some(Route {
            learnt_from: LearntFrom::from_code(code)?,
            length: self.length[id.index()],
            sites: self.sites(id),
            last_resort: code & from::LAST_RESORT != 0,
        })
    }

    /// The sites to which the tied best routes of an AS lead; empty if the prefix does not reach
    /// it.
    #[must_use]
    pub fn sites(&self, id: AsId) -> SiteSet {
        if self.from[id.index()] == from::NOTHING {
            SiteSet::EMPTY
        } else {
            self.sites_of(SiteSet(self.sites[id.index()]))
        }
    }

    #[inline]
    fn sites_of(&self, strands: SiteSet) -> SiteSet {
        if self.strands.is_empty() {
            return strands;
        }
        strands.iter().map(|strand| usize::from(self.strands[strand])).collect()
    }

    /// How many ASes there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.from.len()
    }

    /// Whether there is no AS.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.from.is_empty()
    }

    /// ASes whose routes did not settle, as overridden preferences chase each other (RFC 4264).
    /// What is said of them, and of those behind them, is one of several possible outcomes.
    #[must_use]
    pub fn unsettled(&self) -> &[AsId] {
        &self.unsettled
    }

    /// What an AS with a choice of its own has chosen, once it was asked.
    pub(crate) fn chosen(&self, id: AsId) -> Option<&[(AsId, Via, SiteSet)]> {
        let first = self.chosen.partition_point(|(at, _, _)| *at < id);
        let count = self.chosen[first..].iter().take_while(|(at, _, _)| *at == id).count();
        (count > 0).then(|| &self.chosen[first..first + count])
    }

    /// What an AS tells its customers and siblings, and the part that it tells all others.
    pub(crate) fn told(&self, id: AsId) -> (SiteSet, SiteSet) {
        let code = self.from[id.index()];
        if code & from::DEVIATES != 0 {
            let at = self.deviations.binary_search_by_key(&id, |deviation| deviation.at);
            return at.map_or((SiteSet::EMPTY, SiteSet::EMPTY), |at| {
                (self.deviations[at].down, self.deviations[at].up)
            });
        }
        let sites = SiteSet(self.sites[id.index()]);
        match code & from::SIDE {
            _ if self.length[id.index()] == NONE => (SiteSet::EMPTY, SiteSet::EMPTY),
            from::CUSTOMER => (sites, sites),
            from::PEER | from::PROVIDER => (sites, SiteSet::EMPTY),
            _ => (SiteSet::EMPTY, SiteSet::EMPTY),
        }
    }
}

//! Path attributes as the tables hold them (RFC 4271 §5 and later RFCs).
//!
//! The wire form is in [`message`](crate::message); here NEXT_HOP and the next hop of
//! MP_REACH_NLRI are one field, and AS4_PATH is merged into the path (RFC 6793 §4.2.3).

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crate::list::List;
use crate::{AsPath, Asn, Community, ExtendedCommunity, LargeCommunity};

/// The attributes that a set of prefixes shares.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub struct Attributes {
    /// ORIGIN (RFC 4271 §5.1.1).
    pub origin: Origin,
    /// AS_PATH (RFC 4271 §5.1.2).
    pub as_path: AsPath,
    /// NEXT_HOP, or the next hop of MP_REACH_NLRI (RFC 4271 §5.1.3, RFC 4760 §3).
    pub next_hop: NextHop,
    /// MULTI_EXIT_DISC (RFC 4271 §5.1.4).
    pub med: Option<u32>,
    /// LOCAL_PREF (RFC 4271 §5.1.5).
    pub local_pref: Option<u32>,
    /// ATOMIC_AGGREGATE (RFC 4271 §5.1.6).
    pub atomic_aggregate: bool,
    /// AGGREGATOR (RFC 4271 §5.1.7).
    pub aggregator: Option<(Asn, Ipv4Addr)>,
    /// COMMUNITIES (RFC 1997), sorted, each once.
    pub communities: Vec<Community>,
    /// EXTENDED COMMUNITIES (RFC 4360), sorted, each once.
    pub extended_communities: List<ExtendedCommunity>,
    /// LARGE_COMMUNITY (RFC 8092), sorted, each once.
    pub large_communities: List<LargeCommunity>,
    /// ORIGINATOR_ID (RFC 4456 §8).
    pub originator_id: Option<Ipv4Addr>,
    /// CLUSTER_LIST (RFC 4456 §8).
    pub cluster_list: List<Ipv4Addr>,
    /// Only to Customer (RFC 9234 §5).
    pub otc: Option<Asn>,
    /// Optional transitive attributes that we do not know, by rising type code; they are passed
    /// on with the Partial bit set (RFC 4271 §9).
    pub unknown: List<UnknownAttribute>,
}

/// Where a route was first learnt (RFC 4271 §5.1.1); the lower is preferred.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
#[expect(missing_docs, reason = "the names are the RFC's own")]
pub enum Origin {
    Igp = 0,
    Egp = 1,
    Incomplete = 2,
}

/// Where packets for the prefix go next.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct NextHop {
    /// The address; for IPv6 the global one if there is one.
    pub address: IpAddr,
    /// The link-local address that may stand beside a global IPv6 one (RFC 2545 §3).
    pub link_local: Option<Ipv6Addr>,
}

/// An attribute that this code does not know.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub struct UnknownAttribute {
    /// The flags octet as received, without the Extended Length bit.
    pub flags: u8,
    /// The type code.
    pub code: u8,
    /// The value.
    pub value: Vec<u8>,
}

impl Attributes {
    /// The least that a route has: IGP origin, an empty path and a next hop.
    #[must_use]
    pub fn new(next_hop: impl Into<NextHop>) -> Self {
        Self {
            origin: Origin::Igp,
            as_path: AsPath::default(),
            next_hop: next_hop.into(),
            med: None,
            local_pref: None,
            atomic_aggregate: false,
            aggregator: None,
            communities: Vec::new(),
            extended_communities: List::new(),
            large_communities: List::new(),
            originator_id: None,
            cluster_list: List::new(),
            otc: None,
            unknown: List::new(),
        }
    }

    /// Whether the route carries `community`.
    #[must_use]
    pub fn has_community(&self, community: Community) -> bool {
        self.communities.binary_search(&community).is_ok()
    }
}

impl Attributes {
    /// Adds a community, if the route does not carry it.
    pub fn add_community(&mut self, community: Community) {
        if let Err(at) = self.communities.binary_search(&community) {
            self.communities.insert(at, community);
        }
    }
}

impl From<IpAddr> for NextHop {
    fn from(address: IpAddr) -> Self {
        Self { address, link_local: None }
    }
}

impl fmt::Display for NextHop {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.address.fmt(f)
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Igp => "IGP",
            Self::Egp => "EGP",
            Self::Incomplete => "incomplete",
        })
    }
}

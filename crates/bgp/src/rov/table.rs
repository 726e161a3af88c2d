//! VRPs by prefix, each knowing the next that covers it.
//!
//! Sorted by address and then by length, a prefix stands before all that lies within it. So of
//! the VRPs that cover a prefix, the longest is the last that does not stand behind the prefix,
//! or covers that one; the others follow by the links. One binary search among those of the same
//! first octets, and as many steps as there are VRPs to compare with. A VRP takes 16 octets
//! (IPv4) or 32 (IPv6).

use std::cmp::Ordering;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::IpNet;

use super::{Finding, Validity, Vrp};
use crate::Asn;

/// A set of VRPs.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct VrpTable {
    v4: Tree<u32>,
    v6: Tree<[u64; 2]>,
}

/// What differs between two sets.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Changes {
    /// How many are new.
    pub added: usize,
    /// How many are gone.
    pub removed: usize,
    /// The VRPs of either kind: what they cover may have another state.
    pub(super) touched: VrpTable,
}

/// The VRPs of one family, sorted, each once.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
struct Tree<A> {
    nodes: Vec<Node<A>>,
    /// By the first 16 bits of an address: where those of fewer end. Empty in a small tree.
    first: Vec<u32>,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
struct Node<A> {
    address: A,
    asn: u32,
    /// The next that covers this one, plus one; zero: there is none.
    parent: u32,
    length: u8,
    max_length: u8,
}

/// An address as the tree compares it.
trait Address: Copy + Ord {
    /// Whether the first `length` bits are those of `other`.
    fn shares(self, length: u8, other: Self) -> bool;
    /// The first 16 bits.
    fn top(self) -> usize;
}

/// From so many VRPs on, their place is looked up by the first bits.
const LARGE: usize = 1 << 14;

impl Address for u32 {
    fn shares(self, length: u8, other: Self) -> bool {
        (self ^ other).checked_shr(32 - u32::from(length)).unwrap_or(0) == 0
    }

    fn top(self) -> usize {
        (self >> 16) as usize
    }
}

impl Address for [u64; 2] {
    fn shares(self, length: u8, other: Self) -> bool {
        let first = (self[0] ^ other[0]).checked_shr(64 - u32::from(length.min(64)));
        let second = (self[1] ^ other[1]).checked_shr(64 - u32::from(length.saturating_sub(64)));
        first.unwrap_or(0) == 0 && second.unwrap_or(0) == 0
    }

    /// Of what the registries give out, 2000::/3, so that the bits tell apart.
    fn top(self) -> usize {
        (self[0] >> 45) as usize & 0xffff
    }
}

impl<A: Address> Node<A> {
    /// Where it stands.
    fn order(&self, other: &Self) -> Ordering {
        let key = |node: &Self| (node.address, node.length, node.max_length, node.asn);
        key(self).cmp(&key(other))
    }

    fn covers(&self, address: A, length: u8) -> bool {
        self.length <= length && self.address.shares(self.length, address)
    }
}

impl<A: Address> Tree<A> {
    fn build(mut nodes: Vec<Node<A>>, sorted_by_top: impl Fn(A) -> bool) -> Self {
        nodes.sort_unstable_by(Node::order);
        nodes.dedup_by(|one, other| one.order(other).is_eq());
        nodes.shrink_to_fit();
        for index in 0..nodes.len() {
            let Node { address, length, .. } = nodes[index];
            // The one before, or whatever covers it: nothing else can cover this one.
            let mut candidate = u32::try_from(index).expect("fewer than 2^32 VRPs");
            while let Some(at) = candidate.checked_sub(1)
                && !nodes[at as usize].covers(address, length)
            {
                candidate = nodes[at as usize].parent;
            }
            nodes[index].parent = candidate;
        }
        let mut first = Vec::new();
        if nodes.len() >= LARGE && nodes.iter().all(|node| sorted_by_top(node.address)) {
            first = vec![0_u32; (1 << 16) + 1];
            for node in &nodes {
                first[node.address.top() + 1] += 1;
            }
            for top in 0..1 << 16 {
                first[top + 1] += first[top];
            }
        }
        Self { nodes, first }
    }

    /// The VRPs that cover a prefix, the longest first.
    fn covering(&self, address: A, length: u8, indexed: bool) -> impl Iterator<Item = &Node<A>> {
        let (from, to) = match (self.first.is_empty(), indexed) {
            (true, _) | (_, false) => (0, self.nodes.len()),
            (false, true) => {
                let top = address.top();
                (self.first[top] as usize, self.first[top + 1] as usize)
            }
        };
        let not_behind = |node: &Node<A>| (node.address, node.length) <= (address, length);
        let last = from + self.nodes[from..to].partition_point(not_behind);
        let mut next = u32::try_from(last).unwrap_or(0);
        std::iter::from_fn(move || {
            loop {
                let node = &self.nodes[next.checked_sub(1)? as usize];
                next = node.parent;
                if node.covers(address, length) {
                    return Some(node);
                }
            }
        })
    }

    /// Those that are in one of the two trees only: how many are new, how many gone, and all.
    fn changes(&self, newer: &Self) -> (usize, usize, Vec<Node<A>>) {
        let (mut olds, mut news) = (self.nodes.iter().peekable(), newer.nodes.iter().peekable());
        let (mut added, mut removed, mut touched) = (0, 0, Vec::new());
        loop {
            let order = match (olds.peek(), news.peek()) {
                (Some(old), Some(new)) => old.order(new),
                (Some(_), None) => Ordering::Less,
                (None, Some(_)) => Ordering::Greater,
                (None, None) => return (added, removed, touched),
            };
            if order.is_le() {
                let old = olds.next();
                if order.is_lt() {
                    removed += 1;
                    touched.extend(old);
                }
            }
            if order.is_ge() {
                let new = news.next();
                if order.is_gt() {
                    added += 1;
                    touched.extend(new);
                }
            }
        }
    }
}

fn tree_v4(nodes: Vec<Node<u32>>) -> Tree<u32> {
    Tree::build(nodes, |_| true)
}

/// Whether the index can tell an address apart: it is within 2000::/3.
const fn is_global(address: [u64; 2]) -> bool {
    address[0] >> 61 == 1
}

fn tree_v6(nodes: Vec<Node<[u64; 2]>>) -> Tree<[u64; 2]> {
    Tree::build(nodes, is_global)
}

#[expect(clippy::cast_possible_truncation, reason = "the halves are wanted")]
fn halves(address: Ipv6Addr) -> [u64; 2] {
    let bits = address.to_bits();
    [(bits >> 64) as u64, bits as u64]
}

impl Node<u32> {
    fn vrp(&self) -> Vrp {
        vrp(Ipv4Addr::from_bits(self.address).into(), self.length, self.max_length, self.asn)
    }
}

impl Node<[u64; 2]> {
    fn vrp(&self) -> Vrp {
        let bits = u128::from(self.address[0]) << 64 | u128::from(self.address[1]);
        vrp(Ipv6Addr::from_bits(bits).into(), self.length, self.max_length, self.asn)
    }
}

fn vrp(address: IpAddr, length: u8, max_length: u8, asn: u32) -> Vrp {
    let prefix = IpNet::new(address, length).expect("it was the length of a prefix");
    Vrp { prefix, max_length, asn: Asn(asn) }
}

impl VrpTable {
    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.v4.nodes.len() + self.v6.nodes.len()
    }

    /// How many of IPv4 and of IPv6.
    #[must_use]
    pub fn lens(&self) -> (usize, usize) {
        (self.v4.nodes.len(), self.v6.nodes.len())
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Every VRP, IPv4 first, by prefix.
    pub fn iter(&self) -> impl Iterator<Item = Vrp> + '_ {
        self.v4
            .nodes
            .iter()
            .map(Node::<u32>::vrp)
            .chain(self.v6.nodes.iter().map(Node::<[u64; 2]>::vrp))
    }

    /// Whether it is among them.
    #[must_use]
    pub fn contains(&self, vrp: &Vrp) -> bool {
        match vrp.prefix {
            IpNet::V4(_) => {
                let node = node_v4(vrp);
                self.v4.nodes.binary_search_by(|other| other.order(&node)).is_ok()
            }
            IpNet::V6(_) => {
                let node = node_v6(vrp);
                self.v6.nodes.binary_search_by(|other| other.order(&node)).is_ok()
            }
        }
    }

    /// The VRPs that cover a prefix, the longest first.
    #[must_use]
    pub fn covering(&self, prefix: &IpNet) -> Vec<Vrp> {
        let length = prefix.prefix_len();
        match prefix.trunc() {
            IpNet::V4(net) => {
                let address = net.addr().to_bits();
                self.v4.covering(address, length, true).map(Node::<u32>::vrp).collect()
            }
            IpNet::V6(net) => {
                let address = halves(net.addr());
                let indexed = is_global(address);
                self.v6.covering(address, length, indexed).map(Node::<[u64; 2]>::vrp).collect()
            }
        }
    }

    /// The state of a route (RFC 6811 §2); `origin` as [`origin`](super::origin) finds it.
    #[must_use]
    pub fn validate(&self, prefix: &IpNet, origin: Option<Asn>) -> Validity {
        let length = prefix.prefix_len();
        // No route can match AS 0 (RFC 6483 §4, RFC 7607 §2).
        let origin = origin.map(|asn| asn.0).filter(|asn| *asn != 0);
        match prefix.trunc() {
            IpNet::V4(net) => {
                state(self.v4.covering(net.addr().to_bits(), length, true), length, origin)
            }
            IpNet::V6(net) => {
                let address = halves(net.addr());
                state(self.v6.covering(address, length, is_global(address)), length, origin)
            }
        }
    }

    /// The same with the VRPs that make it so.
    #[must_use]
    pub fn explain(&self, prefix: &IpNet, origin: Option<Asn>) -> Finding {
        let prefix = prefix.trunc();
        let covering = self.covering(&prefix);
        let validity = match covering.as_slice() {
            [] => Validity::NotFound,
            covering if covering.iter().any(|vrp| vrp.allows(&prefix, origin)) => Validity::Valid,
            _ => Validity::Invalid,
        };
        Finding { origin, validity, covering }
    }

    /// What differs in `newer`.
    #[must_use]
    pub fn changes(&self, newer: &Self) -> Changes {
        let (added4, removed4, touched4) = self.v4.changes(&newer.v4);
        let (added6, removed6, touched6) = self.v6.changes(&newer.v6);
        Changes {
            added: added4 + added6,
            removed: removed4 + removed6,
            touched: Self { v4: tree_v4(touched4), v6: tree_v6(touched6) },
        }
    }
}

fn state<'a, A: Address + 'a>(
    covering: impl Iterator<Item = &'a Node<A>>,
    length: u8,
    origin: Option<u32>,
) -> Validity {
    let mut state = Validity::NotFound;
    for node in covering {
        if Some(node.asn) == origin && length <= node.max_length {
            return Validity::Valid;
        }
        state = Validity::Invalid;
    }
    state
}

fn node_v4(vrp: &Vrp) -> Node<u32> {
    let IpNet::V4(net) = vrp.prefix else { unreachable!("the caller has looked") };
    let (address, length) = (net.addr().to_bits(), net.prefix_len());
    Node { address, asn: vrp.asn.0, parent: 0, length, max_length: vrp.max_length }
}

fn node_v6(vrp: &Vrp) -> Node<[u64; 2]> {
    let IpNet::V6(net) = vrp.prefix else { unreachable!("the caller has looked") };
    let (address, length) = (halves(net.addr()), net.prefix_len());
    Node { address, asn: vrp.asn.0, parent: 0, length, max_length: vrp.max_length }
}

impl FromIterator<Vrp> for VrpTable {
    fn from_iter<T: IntoIterator<Item = Vrp>>(vrps: T) -> Self {
        let (mut v4, mut v6) = (Vec::new(), Vec::new());
        for vrp in vrps {
            match vrp.prefix {
                IpNet::V4(_) => v4.push(node_v4(&vrp)),
                IpNet::V6(_) => v6.push(node_v6(&vrp)),
            }
        }
        Self { v4: tree_v4(v4), v6: tree_v6(v6) }
    }
}

impl Changes {
    /// Whether the sets are the same.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.touched.is_empty()
    }

    /// Whether routes to `prefix` may have another state than before.
    #[must_use]
    pub fn concern(&self, prefix: &IpNet) -> bool {
        self.touched.validate(prefix, None) != Validity::NotFound
    }

    /// Adds what another change touched.
    pub fn merge(&mut self, other: &Self) {
        self.added += other.added;
        self.removed += other.removed;
        self.touched = self.touched.iter().chain(other.touched.iter()).collect();
    }
}

#[cfg(test)]
mod size {
    use super::Node;

    #[test]
    fn a_vrp_takes_sixteen_octets_or_thirty_two() {
        assert_eq!((size_of::<Node<u32>>(), size_of::<Node<[u64; 2]>>()), (16, 32));
    }
}

//! Collectors' files in MRT (RFC 6396, RFC 8050): tables, and the updates that follow on them.
//!
//! Read is what a path needs: who told the collector of which prefix by which AS path. A table
//! replaces nothing and updates change what files before them said, so a table and the updates
//! after it, in this order, give what the collector had at the end. Faults of the file are
//! errors; a BGP message with a fault is passed over and counted, as the file tells it as it came.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use anycast_bgp::Asn;
use anycast_bgp::iana::{attribute_flag, attribute_type};
use anycast_bgp::mrt::iana::{bgp4mp, peer_type, record_type, table_dump_v2};
use ipnet::IpNet;

use super::SeenPath;

/// Why a file cannot be used.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error("MRT record at octet {at}: {what}; is the file whole?")]
pub struct MrtError {
    /// Where the record begins.
    pub at: usize,
    /// What is wrong.
    pub what: &'static str,
}

/// What collectors had, gathered from files in the order of time.
#[derive(Clone, Debug, Default)]
pub struct Collected {
    origins: Vec<Asn>,
    prefixes: Vec<IpNet>,
    routes: BTreeMap<(IpAddr, IpNet, u32), SeenPath>,
    passed_over: usize,
}

/// Who told a collector. The address alone says who it is: his number is AS_TRANS in a record of
/// two octets and another one in the next of four (RFC 6793 §4.2.3), and an address has only one
/// session at a time.
#[derive(Clone, Copy, Debug)]
struct Peer {
    asn: Asn,
    address: IpAddr,
}

/// Whether a file is MRT: the type, which no text has in its fifth and sixth octets.
#[must_use]
pub fn is_mrt(octets: &[u8]) -> bool {
    let known = [
        record_type::TABLE_DUMP,
        record_type::TABLE_DUMP_V2,
        record_type::BGP4MP,
        record_type::BGP4MP_ET,
    ];
    octets.get(4..6).is_some_and(|it| known.contains(&u16::from_be_bytes([it[0], it[1]])))
}

impl Collected {
    /// Nothing yet. Kept will be paths with one of `origins` in them, to one of `prefixes`, or to
    /// any if there are none.
    #[must_use]
    pub fn new(origins: &[Asn], prefixes: &[IpNet]) -> Self {
        Self { origins: origins.to_vec(), prefixes: prefixes.to_vec(), ..Self::default() }
    }

    /// How many BGP messages had a fault, and were passed over.
    #[must_use]
    pub const fn passed_over(&self) -> usize {
        self.passed_over
    }

    /// The paths at the end.
    #[must_use]
    pub fn into_paths(self) -> Vec<SeenPath> {
        self.routes.into_values().collect()
    }

    /// Reads a file, already decompressed.
    ///
    /// # Errors
    /// The first record that is cut off or contradicts itself. Records of other types are passed
    /// over.
    pub fn read(&mut self, octets: &[u8]) -> Result<(), MrtError> {
        let mut rest = Octets(octets);
        let mut peers = Vec::new();
        while !rest.0.is_empty() {
            let at = octets.len() - rest.0.len();
            let wrong = |what| MrtError { at, what };
            let record = rest.record().ok_or_else(|| wrong("it is cut off"))?;
            let mut body = Octets(record.body);
            let read = match record.kind {
                record_type::TABLE_DUMP => self.table_dump(&mut body, record.subtype),
                record_type::TABLE_DUMP_V2 => {
                    self.table_dump_v2(&mut body, record.subtype, &mut peers)
                }
                record_type::BGP4MP => self.bgp4mp(&mut body, record.subtype),
                record_type::BGP4MP_ET => {
                    body.take(4).and_then(|_| self.bgp4mp(&mut body, record.subtype))
                }
                _ => Some(()),
            };
            read.ok_or_else(|| wrong("its lengths do not fit"))?;
        }
        Ok(())
    }

    /// RFC 6396 §4.2.
    fn table_dump(&mut self, body: &mut Octets<'_>, afi: u16) -> Option<()> {
        if !matches!(afi, 1 | 2) {
            return Some(());
        }
        let wide = afi == 2;
        body.take(4)?;
        let prefix = body.address(wide)?;
        let prefix = IpNet::new(prefix, body.u8()?).ok()?.trunc();
        body.take(5)?;
        let address = body.address(wide)?;
        let peer = Peer { address, asn: Asn(body.u16()?.into()) };
        let length = body.u16()?.into();
        let path = Attributes::of_table(body.take(length)?, false)?.path();
        self.announce(peer, prefix, 0, path.as_deref());
        Some(())
    }

    /// RFC 6396 §4.3, RFC 8050 §4. `peers` are those of the last PEER_INDEX_TABLE.
    fn table_dump_v2(
        &mut self,
        body: &mut Octets<'_>,
        subtype: u16,
        peers: &mut Vec<Peer>,
    ) -> Option<()> {
        use table_dump_v2::{
            PEER_INDEX_TABLE, RIB_IPV4_UNICAST, RIB_IPV4_UNICAST_ADDPATH, RIB_IPV6_UNICAST,
            RIB_IPV6_UNICAST_ADDPATH,
        };
        let (wide, path_ids) = match subtype {
            PEER_INDEX_TABLE => {
                *peers = body.peer_index_table()?;
                return Some(());
            }
            RIB_IPV4_UNICAST => (false, false),
            RIB_IPV6_UNICAST => (true, false),
            RIB_IPV4_UNICAST_ADDPATH => (false, true),
            RIB_IPV6_UNICAST_ADDPATH => (true, true),
            _ => return Some(()),
        };
        body.take(4)?;
        let prefix = body.prefix(wide)?;
        for _ in 0..body.u16()? {
            let peer = *peers.get(usize::from(body.u16()?))?;
            body.take(4)?;
            let path_id = if path_ids { body.u32()? } else { 0 };
            let length = body.u16()?.into();
            let attributes = body.take(length)?;
            if self.is_wanted(&prefix) {
                let path = Attributes::of_table(attributes, true)?.path();
                self.announce(peer, prefix, path_id, path.as_deref());
            }
        }
        Some(())
    }

    /// RFC 6396 §4.4, RFC 8050 §3.
    fn bgp4mp(&mut self, body: &mut Octets<'_>, subtype: u16) -> Option<()> {
        let (four, path_ids, state) = match subtype {
            bgp4mp::STATE_CHANGE => (false, false, true),
            bgp4mp::STATE_CHANGE_AS4 => (true, false, true),
            bgp4mp::MESSAGE => (false, false, false),
            bgp4mp::MESSAGE_AS4 => (true, false, false),
            bgp4mp::MESSAGE_ADDPATH => (false, true, false),
            bgp4mp::MESSAGE_AS4_ADDPATH => (true, true, false),
            _ => return Some(()),
        };
        let asn = if four { body.u32()? } else { body.u16()?.into() };
        body.take(if four { 4 } else { 2 })?;
        body.take(2)?;
        let wide = match body.u16()? {
            1 => false,
            2 => true,
            _ => return Some(()),
        };
        let peer = Peer { asn: Asn(asn), address: body.address(wide)? };
        body.address(wide)?;
        if state {
            // Established is 6; whoever leaves it takes his routes along.
            if body.u16()? == 6 {
                self.routes.retain(|(by, _, _), _| *by != peer.address);
            }
        } else if self.message(peer, body, four, path_ids).is_none() {
            self.passed_over += 1;
        }
        Some(())
    }

    /// A BGP message (RFC 4271 §4); of these only UPDATE says something.
    fn message(
        &mut self,
        peer: Peer,
        body: &mut Octets<'_>,
        four: bool,
        path_ids: bool,
    ) -> Option<()> {
        const UPDATE: u8 = 2;
        body.take(16)?;
        let length = usize::from(body.u16()?);
        let kind = body.u8()?;
        let mut update = Octets(body.take(length.checked_sub(19)?)?);
        if kind != UPDATE {
            return Some(());
        }
        let length = update.u16()?.into();
        let mut gone = Octets(update.take(length)?).prefixes(false, path_ids)?;
        let length = update.u16()?.into();
        let attributes = Attributes::of_update(update.take(length)?, four, path_ids)?;
        let mut come = update.prefixes(false, path_ids)?;
        gone.extend(&attributes.unreachable);
        come.extend(&attributes.reachable);
        for (prefix, path_id) in gone {
            self.routes.remove(&(peer.address, prefix, path_id));
        }
        if !come.is_empty() {
            let path = attributes.path();
            for (prefix, path_id) in come {
                self.announce(peer, prefix, path_id, path.as_deref());
            }
        }
        Some(())
    }

    fn is_wanted(&self, prefix: &IpNet) -> bool {
        self.prefixes.is_empty() || self.prefixes.contains(prefix)
    }

    /// A route takes the place of what the peer told of the prefix before, also if it leads
    /// elsewhere.
    fn announce(&mut self, peer: Peer, prefix: IpNet, path_id: u32, path: Option<&[Asn]>) {
        let ours = path.filter(|path| {
            self.is_wanted(&prefix) && path.iter().any(|asn| self.origins.contains(asn))
        });
        let key = (peer.address, prefix, path_id);
        match ours {
            Some(path) => {
                // The path has the number that a record of two octets cannot have.
                let hidden = peer.asn == Asn::TRANS;
                let monitor = if hidden { path.first().copied() } else { None };
                let seen = SeenPath { monitor: monitor.unwrap_or(peer.asn), path: path.to_vec() };
                self.routes.insert(key, seen);
            }
            None => drop(self.routes.remove(&key)),
        }
    }
}

/// What is read of path attributes.
#[derive(Debug, Default)]
struct Attributes {
    path: Option<Vec<Asn>>,
    /// The path in numbers of four octets, from a session of two (RFC 6793 §4.2.3).
    as4_path: Option<Vec<Asn>>,
    reachable: Vec<(IpNet, u32)>,
    unreachable: Vec<(IpNet, u32)>,
}

impl Attributes {
    /// Of a table's entry: the prefix stands beside them, and MP_REACH_NLRI has the next hop alone
    /// (RFC 6396 §4.3.4) or, as many write it, the whole of an UPDATE. It says nothing of paths.
    fn of_table(octets: &[u8], four: bool) -> Option<Self> {
        Self::parse(octets, four, |_, _, _| Some(()))
    }

    /// Of an UPDATE (RFC 4271 §4.3, RFC 4760), each of the multiprotocol ones once at most
    /// (RFC 7606 §3).
    fn of_update(octets: &[u8], four: bool, path_ids: bool) -> Option<Self> {
        let mut seen = (false, false);
        Self::parse(octets, four, |found, kind, value| {
            let (twice, prefixes) = match kind {
                attribute_type::MP_REACH_NLRI => (&mut seen.0, &mut found.reachable),
                attribute_type::MP_UNREACH_NLRI => (&mut seen.1, &mut found.unreachable),
                _ => return Some(()),
            };
            if std::mem::replace(twice, true) {
                return None;
            }
            let family = (value.u16()?, value.u8()?);
            if kind == attribute_type::MP_REACH_NLRI {
                let next_hop = value.u8()?.into();
                value.take(next_hop)?;
                value.take(1)?;
            }
            // Unicast alone; other families have prefixes of other forms.
            *prefixes = match family {
                (1, 1) => value.prefixes(false, path_ids)?,
                (2, 1) => value.prefixes(true, path_ids)?,
                _ => Vec::new(),
            };
            Some(())
        })
    }

    fn parse(
        octets: &[u8],
        four: bool,
        mut other: impl FnMut(&mut Self, u8, &mut Octets<'_>) -> Option<()>,
    ) -> Option<Self> {
        let mut found = Self::default();
        let mut rest = Octets(octets);
        while !rest.0.is_empty() {
            let (flags, kind) = (rest.u8()?, rest.u8()?);
            let long = flags & attribute_flag::EXTENDED_LENGTH != 0;
            let length = if long { rest.u16()?.into() } else { rest.u8()?.into() };
            let mut value = Octets(rest.take(length)?);
            // Of two that are the same the first counts (RFC 7606 §3).
            match kind {
                attribute_type::AS_PATH if found.path.is_none() => {
                    found.path = Some(value.as_path(four)?);
                }
                // One with a fault is left out alone (RFC 6793 §6), as is one that came from a
                // speaker of four octets (§4.1).
                attribute_type::AS4_PATH if !four && found.as4_path.is_none() => {
                    found.as4_path = value.as_path(true);
                }
                _ => other(&mut found, kind, &mut value)?,
            }
        }
        Some(found)
    }

    /// The AS path; `None` if there is none.
    fn path(&self) -> Option<Vec<Asn>> {
        let path = self.path.as_ref()?;
        match &self.as4_path {
            Some(four) if four.len() <= path.len() => {
                let first = path[..path.len() - four.len()].iter();
                Some(first.chain(four).copied().collect())
            }
            _ => Some(path.clone()),
        }
    }
}

/// Octets that are left to read; `None` where there are too few.
struct Octets<'a>(&'a [u8]);

struct Record<'a> {
    kind: u16,
    subtype: u16,
    body: &'a [u8],
}

impl<'a> Octets<'a> {
    fn take(&mut self, count: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(count)?;
        self.0 = rest;
        Some(taken)
    }

    fn u8(&mut self) -> Option<u8> {
        Some(self.take(1)?[0])
    }

    fn u16(&mut self) -> Option<u16> {
        self.take(2)?.try_into().ok().map(u16::from_be_bytes)
    }

    fn u32(&mut self) -> Option<u32> {
        self.take(4)?.try_into().ok().map(u32::from_be_bytes)
    }

    fn record(&mut self) -> Option<Record<'a>> {
        self.take(4)?;
        let (kind, subtype) = (self.u16()?, self.u16()?);
        let length = usize::try_from(self.u32()?).ok()?;
        Some(Record { kind, subtype, body: self.take(length)? })
    }

    fn address(&mut self, wide: bool) -> Option<IpAddr> {
        if wide {
            let octets: [u8; 16] = self.take(16)?.try_into().ok()?;
            return Some(Ipv6Addr::from(octets).into());
        }
        let octets: [u8; 4] = self.take(4)?.try_into().ok()?;
        Some(Ipv4Addr::from(octets).into())
    }

    fn peer_index_table(&mut self) -> Option<Vec<Peer>> {
        self.take(4)?;
        let length = self.u16()?.into();
        self.take(length)?;
        let count = self.u16()?;
        let mut peers = Vec::new();
        for _ in 0..count {
            let kind = self.u8()?;
            self.take(4)?;
            let address = self.address(kind & peer_type::IPV6 != 0)?;
            let four = kind & peer_type::AS4 != 0;
            let asn = if four { self.u32()? } else { self.u16()?.into() };
            peers.push(Peer { asn: Asn(asn), address });
        }
        Some(peers)
    }

    /// A length in bits and as many octets as it needs (RFC 4271 §4.3).
    fn prefix(&mut self, wide: bool) -> Option<IpNet> {
        let bits = self.u8()?;
        let octets = self.take(usize::from(bits).div_ceil(8))?;
        let mut whole = [0; 16];
        whole.get_mut(..octets.len())?.copy_from_slice(octets);
        let address = Octets(&whole).address(wide)?;
        Some(IpNet::new(address, bits).ok()?.trunc())
    }

    /// All prefixes that are left, with path identifiers or 0.
    fn prefixes(&mut self, wide: bool, path_ids: bool) -> Option<Vec<(IpNet, u32)>> {
        let mut all = Vec::new();
        while !self.0.is_empty() {
            let path_id = if path_ids { self.u32()? } else { 0 };
            all.push((self.prefix(wide)?, path_id));
        }
        Some(all)
    }

    /// The path up to an AS_SET, without confederations' own numbers.
    fn as_path(&mut self, four: bool) -> Option<Vec<Asn>> {
        const AS_SET: u8 = 1;
        const AS_SEQUENCE: u8 = 2;
        let mut path = Vec::new();
        let mut ended = false;
        while !self.0.is_empty() {
            let (kind, count) = (self.u8()?, self.u8()?);
            ended |= kind == AS_SET;
            for _ in 0..count {
                let asn = if four { self.u32()? } else { self.u16()?.into() };
                if kind == AS_SEQUENCE && !ended {
                    path.push(Asn(asn));
                }
            }
        }
        Some(path)
    }
}

#[cfg(test)]
mod tests;

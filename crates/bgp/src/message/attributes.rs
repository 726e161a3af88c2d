//! Path attributes ↔ octets, as a table: one row says all about one attribute.
//!
//! Sources: RFC 4271 §4.3, RFC 7606 §7 (what a fault leads to), RFC 4760 (MP_REACH_NLRI,
//! MP_UNREACH_NLRI), RFC 6793 (AS4_PATH, AS4_AGGREGATOR), RFC 1997, RFC 4360, RFC 4456, RFC 8092,
//! RFC 9234.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::{Context, MessageError, Nlri, prefix};
use crate::as_path::{Building, Segment, SegmentKind};
use crate::attribute::UnknownAttribute;
use crate::iana::attribute_flag::{EXTENDED_LENGTH, OPTIONAL, PARTIAL, TRANSITIVE};
use crate::iana::attribute_type as code;
use crate::{
    AsPath, Asn, Attributes, Community, ExtendedCommunity, Family, LargeCommunity, NextHop, Origin,
};

/// All about one attribute.
pub(super) struct Known {
    code: u8,
    /// The Optional and Transitive bits that it must have.
    pub(super) flags: u8,
    /// Discarded if it comes from another AS (RFC 7606 §§7.5, 7.9, 7.10), and not sent there.
    pub(super) internal_only: bool,
    pub(super) parse: fn(&mut Draft, &[u8], &Context) -> Result<(), Malformed>,
    /// Writes the value, if the route has the attribute.
    emit: fn(&Route, &mut Vec<u8>) -> bool,
}

/// What a fault in an attribute leads to (RFC 7606 §2), and what is wrong.
pub(super) enum Malformed {
    Discard(&'static str),
    /// Treat-as-withdraw. The error is for an UPDATE in which the prefixes cannot be trusted to
    /// have been found (RFC 7606 §5.2); it is made from the whole attribute.
    Withdraw(ToError, &'static str),
    Reset(ToError),
}

pub(super) type ToError = fn(Vec<u8>) -> MessageError;

/// What an UPDATE's attributes have said so far.
pub(super) struct Draft {
    /// All but the next hop, which depends on the prefix's family.
    pub(super) attributes: Attributes,
    /// NEXT_HOP.
    pub(super) next_hop: Option<Ipv4Addr>,
    /// MP_REACH_NLRI of a family that we route.
    pub(super) reach: Option<(NextHop, Vec<Nlri>)>,
    /// The family of MP_UNREACH_NLRI, if we route it.
    pub(super) unreach: Option<Family>,
    /// Withdrawn Routes and those of MP_UNREACH_NLRI.
    pub(super) withdrawn: Vec<Nlri>,
    as4_path: Option<AsPath>,
    as4_aggregator: Option<(Asn, Ipv4Addr)>,
}

/// What is to be written.
struct Route<'a> {
    attributes: &'a Attributes,
    ctx: &'a Context,
    /// NEXT_HOP goes only with prefixes in the NLRI field.
    nlri: bool,
}

/// By rising code, the order in which they are written (RFC 4271 §5).
static KNOWN: [Known; 17] = [
    Known {
        code: code::ORIGIN,
        flags: TRANSITIVE,
        internal_only: false,
        parse: |draft, value, _| {
            let [octet] = exactly(value)?;
            draft.attributes.origin = match octet {
                0 => Origin::Igp,
                1 => Origin::Egp,
                2 => Origin::Incomplete,
                _ => {
                    return Err(Malformed::Withdraw(
                        MessageError::InvalidOrigin,
                        "ORIGIN is none of the three",
                    ));
                }
            };
            Ok(())
        },
        emit: |route, out| {
            out.push(route.attributes.origin as u8);
            true
        },
    },
    Known {
        code: code::AS_PATH,
        flags: TRANSITIVE,
        internal_only: false,
        parse: |draft, value, ctx| {
            let malformed = |what| Malformed::Withdraw(|_| MessageError::MalformedAsPath, what);
            let path = parse_as_path(value, ctx.four_octet_asn).map_err(malformed)?;
            // RFC 5065 §5: such a segment from outside the confederation is an error.
            if ctx.ebgp && path.segments().any(|segment| segment.kind.is_confederation()) {
                return Err(malformed("a confederation segment from another AS"));
            }
            draft.attributes.as_path = path;
            Ok(())
        },
        emit: |route, out| {
            emit_as_path(route.attributes.as_path.segments(), route.ctx.four_octet_asn, out);
            true
        },
    },
    Known {
        code: code::NEXT_HOP,
        flags: TRANSITIVE,
        internal_only: false,
        parse: |draft, value, _| {
            draft.next_hop = Some(Ipv4Addr::from(*exactly(value)?));
            Ok(())
        },
        emit: |route, out| match route.attributes.next_hop.address {
            IpAddr::V4(address) if route.nlri => {
                out.extend_from_slice(&address.octets());
                true
            }
            _ => false,
        },
    },
    Known {
        code: code::MULTI_EXIT_DISC,
        flags: OPTIONAL,
        internal_only: false,
        parse: |draft, value, _| {
            draft.attributes.med = Some(u32::from_be_bytes(*exactly(value)?));
            Ok(())
        },
        emit: |route, out| emit_u32(route.attributes.med, out),
    },
    Known {
        code: code::LOCAL_PREF,
        flags: TRANSITIVE,
        internal_only: true,
        parse: |draft, value, _| {
            draft.attributes.local_pref = Some(u32::from_be_bytes(*exactly(value)?));
            Ok(())
        },
        emit: |route, out| emit_u32(route.attributes.local_pref, out),
    },
    Known {
        code: code::ATOMIC_AGGREGATE,
        flags: TRANSITIVE,
        internal_only: false,
        parse: |draft, value, _| {
            if !value.is_empty() {
                return Err(Malformed::Discard("ATOMIC_AGGREGATE has a value"));
            }
            draft.attributes.atomic_aggregate = true;
            Ok(())
        },
        emit: |route, _| route.attributes.atomic_aggregate,
    },
    Known {
        code: code::AGGREGATOR,
        flags: OPTIONAL | TRANSITIVE,
        internal_only: false,
        parse: |draft, value, ctx| {
            draft.attributes.aggregator = Some(parse_aggregator(value, ctx.four_octet_asn)?);
            Ok(())
        },
        emit: |route, out| {
            let Some((asn, address)) = route.attributes.aggregator else { return false };
            emit_asn(asn, route.ctx.four_octet_asn, out);
            out.extend_from_slice(&address.octets());
            true
        },
    },
    Known {
        code: code::COMMUNITIES,
        flags: OPTIONAL | TRANSITIVE,
        internal_only: false,
        parse: |draft, value, _| {
            draft.attributes.communities =
                set_of(value, |octets| Community(u32::from_be_bytes(octets)))?;
            Ok(())
        },
        emit: |route, out| {
            emit_each(&route.attributes.communities, |community| community.0.to_be_bytes(), out)
        },
    },
    Known {
        code: code::ORIGINATOR_ID,
        flags: OPTIONAL,
        internal_only: true,
        parse: |draft, value, _| {
            draft.attributes.originator_id = Some(Ipv4Addr::from(*exactly(value)?));
            Ok(())
        },
        emit: |route, out| emit_u32(route.attributes.originator_id.map(u32::from), out),
    },
    Known {
        code: code::CLUSTER_LIST,
        flags: OPTIONAL,
        internal_only: true,
        parse: |draft, value, _| {
            draft.attributes.cluster_list = list_of(value, Ipv4Addr::from)?.into();
            Ok(())
        },
        emit: |route, out| emit_each(&route.attributes.cluster_list, Ipv4Addr::octets, out),
    },
    Known {
        code: code::MP_REACH_NLRI,
        flags: OPTIONAL,
        internal_only: false,
        parse: parse_mp_reach,
        emit: |_, _| false,
    },
    Known {
        code: code::MP_UNREACH_NLRI,
        flags: OPTIONAL,
        internal_only: false,
        parse: |draft, value, ctx| {
            let Some(([high, low, safi], prefixes)) = value.split_first_chunk() else {
                return Err(Malformed::Reset(MessageError::OptionalAttribute));
            };
            let family = Family::from_codes(u16::from_be_bytes([*high, *low]), *safi)
                .ok_or(Malformed::Discard("MP_UNREACH_NLRI of a family that we do not route"))?;
            let path_ids = ctx.path_ids_in.contains(family);
            prefix::parse(family, path_ids, prefixes, &mut draft.withdrawn)
                .ok_or(Malformed::Reset(MessageError::OptionalAttribute))?;
            draft.unreach = Some(family);
            Ok(())
        },
        emit: |_, _| false,
    },
    Known {
        code: code::EXTENDED_COMMUNITIES,
        flags: OPTIONAL | TRANSITIVE,
        internal_only: false,
        parse: |draft, value, _| {
            draft.attributes.extended_communities = set_of(value, ExtendedCommunity)?.into();
            Ok(())
        },
        emit: |route, out| {
            emit_each(&route.attributes.extended_communities, |community| community.0, out)
        },
    },
    Known {
        code: code::AS4_PATH,
        flags: OPTIONAL | TRANSITIVE,
        internal_only: false,
        parse: |draft, value, ctx| {
            if ctx.four_octet_asn {
                return Err(Malformed::Discard("AS4_PATH from a four-octet speaker"));
            }
            if value.is_empty() {
                return Err(Malformed::Discard("AS4_PATH is empty"));
            }
            let mut path = parse_as_path(value, true).map_err(Malformed::Discard)?;
            path = AsPath::of(path.segments().filter(|it| !it.kind.is_confederation()));
            draft.as4_path = Some(path);
            Ok(())
        },
        emit: |route, out| {
            let path = &route.attributes.as_path;
            let segments = || path.segments().filter(|one| !one.kind.is_confederation());
            if route.ctx.four_octet_asn
                || segments().flat_map(|segment| segment.asns).all(|asn| asn.is_two_octet())
            {
                return false;
            }
            emit_as_path(segments(), true, out);
            true
        },
    },
    Known {
        code: code::AS4_AGGREGATOR,
        flags: OPTIONAL | TRANSITIVE,
        internal_only: false,
        parse: |draft, value, ctx| {
            if ctx.four_octet_asn {
                return Err(Malformed::Discard("AS4_AGGREGATOR from a four-octet speaker"));
            }
            draft.as4_aggregator = Some(parse_aggregator(value, true)?);
            Ok(())
        },
        emit: |route, out| match route.attributes.aggregator {
            Some((asn, address)) if !route.ctx.four_octet_asn && !asn.is_two_octet() => {
                emit_asn(asn, true, out);
                out.extend_from_slice(&address.octets());
                true
            }
            _ => false,
        },
    },
    Known {
        code: code::LARGE_COMMUNITY,
        flags: OPTIONAL | TRANSITIVE,
        internal_only: false,
        parse: |draft, value, _| {
            draft.attributes.large_communities = set_of(value, large_community)?.into();
            Ok(())
        },
        emit: |route, out| {
            for LargeCommunity { global, local1, local2 } in &route.attributes.large_communities {
                for part in [global, local1, local2] {
                    out.extend_from_slice(&part.to_be_bytes());
                }
            }
            !route.attributes.large_communities.is_empty()
        },
    },
    Known {
        code: code::ONLY_TO_CUSTOMER,
        flags: OPTIONAL | TRANSITIVE,
        internal_only: false,
        parse: |draft, value, _| {
            draft.attributes.otc = Some(Asn(u32::from_be_bytes(*exactly(value)?)));
            Ok(())
        },
        emit: |route, out| emit_u32(route.attributes.otc.map(|asn| asn.0), out),
    },
];

/// The row of a type code.
pub(super) fn known(code: u8) -> Option<&'static Known> {
    const ROWS: [u8; 256] = {
        let mut rows = [u8::MAX; 256];
        let mut row = 0;
        while row < KNOWN.len() {
            #[expect(clippy::cast_possible_truncation, reason = "there are 17 rows")]
            {
                rows[KNOWN[row].code as usize] = row as u8;
            }
            row += 1;
        }
        rows
    };
    KNOWN.get(usize::from(ROWS[usize::from(code)]))
}

impl Draft {
    pub(super) fn new(withdrawn: Vec<Nlri>) -> Self {
        Self {
            attributes: Attributes::new(IpAddr::V4(Ipv4Addr::UNSPECIFIED)),
            next_hop: None,
            reach: None,
            unreach: None,
            withdrawn,
            as4_path: None,
            as4_aggregator: None,
        }
    }

    /// Takes in an optional attribute that no row describes: passed on if it is transitive, else
    /// quietly ignored (RFC 4271 §9).
    pub(super) fn unknown(&mut self, flags: u8, code: u8, value: &[u8]) {
        if flags & TRANSITIVE != 0 {
            let flags = flags & (OPTIONAL | TRANSITIVE | PARTIAL);
            self.attributes.unknown.push(UnknownAttribute { flags, code, value: value.to_vec() });
        }
    }

    /// After the last attribute: merges AS4_PATH and AS4_AGGREGATOR (RFC 6793 §4.2.3) and puts
    /// the unknown ones in order.
    pub(super) fn finish(&mut self) {
        if let (Some(as4), Some(aggregator)) =
            (self.as4_aggregator, &mut self.attributes.aggregator)
        {
            if aggregator.0 == Asn::TRANS {
                *aggregator = as4;
            } else {
                // A two-octet speaker aggregated since: both AS4 attributes are stale.
                self.as4_path = None;
            }
        }
        if let Some(as4) = self.as4_path.take() {
            self.attributes.as_path.merge_as4(&as4);
        }
        self.attributes.unknown.sort_unstable_by_key(|unknown| unknown.code);
    }
}

/// Writes all attributes but MP_REACH_NLRI and MP_UNREACH_NLRI.
pub(crate) fn emit(attributes: &Attributes, nlri: bool, ctx: &Context, out: &mut Vec<u8>) {
    let route = Route { attributes, ctx, nlri };
    let mut unknown =
        attributes.unknown.iter().filter(|unknown| known(unknown.code).is_none()).peekable();
    let emit_unknown = |unknown: &UnknownAttribute, out: &mut Vec<u8>| {
        // Whoever passes on what it does not know says so (RFC 4271 §9).
        emit_attribute(unknown.flags & !EXTENDED_LENGTH | PARTIAL, unknown.code, out, |out| {
            out.extend_from_slice(&unknown.value);
            true
        });
    };
    for known in &KNOWN {
        while let Some(unknown) = unknown.next_if(|unknown| unknown.code < known.code) {
            emit_unknown(unknown, out);
        }
        if !(known.internal_only && ctx.ebgp) {
            emit_attribute(known.flags, known.code, out, |out| (known.emit)(&route, out));
        }
    }
    for unknown in unknown {
        emit_unknown(unknown, out);
    }
}

/// Writes one attribute around the value that `value` writes, or nothing if it says `false`.
pub(crate) fn emit_attribute(
    flags: u8,
    code: u8,
    out: &mut Vec<u8>,
    value: impl FnOnce(&mut Vec<u8>) -> bool,
) {
    let at = out.len();
    out.extend_from_slice(&[flags, code, 0]);
    if !value(out) {
        out.truncate(at);
        return;
    }
    let len = out.len() - at - 3;
    if let Ok(len) = u8::try_from(len) {
        out[at + 2] = len;
    } else {
        // Longer than any message: the caller sees that the whole does not fit.
        let [high, low] = u16::try_from(len).unwrap_or(u16::MAX).to_be_bytes();
        out[at] |= EXTENDED_LENGTH;
        out[at + 2] = low;
        out.insert(at + 2, high);
    }
}

/// The value, if it has the one length it may have.
fn exactly<const N: usize>(value: &[u8]) -> Result<&[u8; N], Malformed> {
    value
        .try_into()
        .map_err(|_| Malformed::Withdraw(MessageError::AttributeLength, "its length is wrong"))
}

/// A list of at least one item of `N` octets (RFC 7606 §§7.8, 7.10, 7.14, RFC 8092 §5).
fn list_of<const N: usize, T>(value: &[u8], item: fn([u8; N]) -> T) -> Result<Vec<T>, Malformed> {
    let (items, rest) = value.as_chunks();
    if items.is_empty() || !rest.is_empty() {
        return Err(Malformed::Withdraw(
            MessageError::OptionalAttribute,
            "its length is not a multiple of its items'",
        ));
    }
    Ok(items.iter().copied().map(item).collect())
}

/// Like [`list_of`], but the order and repetitions mean nothing.
fn set_of<const N: usize, T: Ord>(
    value: &[u8],
    item: fn([u8; N]) -> T,
) -> Result<Vec<T>, Malformed> {
    let mut set = list_of(value, item)?;
    set.sort_unstable();
    set.dedup();
    Ok(set)
}

fn large_community(octets: [u8; 12]) -> LargeCommunity {
    let part = |at: usize| u32::from_be_bytes(std::array::from_fn(|i| octets[at + i]));
    LargeCommunity { global: part(0), local1: part(4), local2: part(8) }
}

/// MP_REACH_NLRI (RFC 4760 §3); what cannot be read to the end loses prefixes, so the session
/// ends (RFC 7606 §§5.3, 7.11).
fn parse_mp_reach(draft: &mut Draft, value: &[u8], ctx: &Context) -> Result<(), Malformed> {
    let reset = || Malformed::Reset(MessageError::OptionalAttribute);
    let ([high, low, safi, len], rest) = value.split_first_chunk().ok_or_else(reset)?;
    let (next_hop, rest) = rest.split_at_checked(usize::from(*len)).ok_or_else(reset)?;
    // The octet between is reserved and ignored (RFC 4760 §3).
    let (_, nlri) = rest.split_first().ok_or_else(reset)?;
    let family = Family::from_codes(u16::from_be_bytes([*high, *low]), *safi)
        .ok_or(Malformed::Discard("MP_REACH_NLRI of a family that we do not route"))?;
    let next_hop = match (family, next_hop) {
        (Family::Ipv4Unicast, [a, b, c, d]) => IpAddr::V4([*a, *b, *c, *d].into()).into(),
        (Family::Ipv4Unicast, _) if !ctx.extended_next_hop => return Err(reset()),
        (Family::Ipv4Unicast | Family::Ipv6Unicast, octets) => {
            parse_ipv6_next_hop(octets).ok_or_else(reset)?
        }
    };
    let mut prefixes = Vec::new();
    let path_ids = ctx.path_ids_in.contains(family);
    prefix::parse(family, path_ids, nlri, &mut prefixes).ok_or_else(reset)?;
    draft.reach = Some((next_hop, prefixes));
    if is_host(next_hop.address) {
        Ok(())
    } else {
        Err(Malformed::Withdraw(MessageError::OptionalAttribute, "the next hop is no host"))
    }
}

/// One IPv6 address, or a global and a link-local one (RFC 2545 §3, RFC 8950 §3).
fn parse_ipv6_next_hop(octets: &[u8]) -> Option<NextHop> {
    let (first, second) = octets.split_first_chunk::<16>()?;
    let first = Ipv6Addr::from(*first);
    if second.is_empty() {
        return Some(IpAddr::V6(first).into());
    }
    let second: [u8; 16] = second.try_into().ok()?;
    let second = Some(Ipv6Addr::from(second))
        .filter(|second| second.is_unicast_link_local() && *second != first);
    // Some speakers without a global address leave its place empty.
    Some(match second {
        Some(second) if first.is_unspecified() => IpAddr::V6(second).into(),
        link_local => NextHop { address: IpAddr::V6(first), link_local },
    })
}

/// Whether packets can be sent to the address (RFC 4271 §6.3 "valid IP host address").
pub(super) fn is_host(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => !matches!(address.octets()[0], 0 | 224..),
        IpAddr::V6(address) => !address.is_unspecified() && !address.is_multicast(),
    }
}

/// AS_PATH and AS4_PATH (RFC 4271 §4.3 b, RFC 7606 §7.2, RFC 7607 §2).
fn parse_as_path(mut value: &[u8], four_octet: bool) -> Result<AsPath, &'static str> {
    // All of it that a path of one segment takes; most are.
    let mut path = Building::with_room(1 + value.len() / if four_octet { 4 } else { 2 });
    while let Some((kind, rest)) = value.split_first() {
        let kind = SegmentKind::from_code(*kind).ok_or("unknown kind of path segment")?;
        let (count, rest) = rest.split_first().ok_or("a path segment is cut short")?;
        if *count == 0 {
            return Err("a path segment is empty");
        }
        let len = usize::from(*count) * if four_octet { 4 } else { 2 };
        let (asns, rest) = rest.split_at_checked(len).ok_or("a path segment is cut short")?;
        if four_octet {
            let asns = asns.as_chunks().0.iter();
            path.push(kind, asns.map(|asn| Asn(u32::from_be_bytes(*asn))));
        } else {
            let asns = asns.as_chunks().0.iter();
            path.push(kind, asns.map(|asn| Asn(u16::from_be_bytes(*asn).into())));
        }
        value = rest;
    }
    let path = path.finish();
    if path.contains(Asn(0)) {
        return Err("autonomous system 0 is in the path");
    }
    Ok(path)
}

fn emit_as_path<'a>(
    segments: impl Iterator<Item = Segment<'a>>,
    four_octet: bool,
    out: &mut Vec<u8>,
) {
    for segment in segments {
        for asns in segment.asns.chunks(255) {
            out.push(segment.kind as u8);
            out.push(u8::try_from(asns.len()).expect("a chunk is no longer than 255"));
            for asn in asns {
                emit_asn(*asn, four_octet, out);
            }
        }
    }
}

fn emit_asn(asn: Asn, four_octet: bool, out: &mut Vec<u8>) {
    if four_octet {
        out.extend_from_slice(&asn.0.to_be_bytes());
    } else {
        let asn = u16::try_from(asn.0).unwrap_or(Asn::TRANS_TWO_OCTET);
        out.extend_from_slice(&asn.to_be_bytes());
    }
}

/// AGGREGATOR and AS4_AGGREGATOR (RFC 7606 §7.7, RFC 7607 §2).
fn parse_aggregator(value: &[u8], four_octet: bool) -> Result<(Asn, Ipv4Addr), Malformed> {
    let (asn, address) = match *value {
        [a, b, c, d, ref address @ ..] if four_octet => (u32::from_be_bytes([a, b, c, d]), address),
        [a, b, ref address @ ..] if !four_octet => (u16::from_be_bytes([a, b]).into(), address),
        _ => return Err(Malformed::Discard("its length is wrong")),
    };
    let address: [u8; 4] =
        address.try_into().map_err(|_| Malformed::Discard("its length is wrong"))?;
    if asn == 0 {
        return Err(Malformed::Discard("autonomous system 0 aggregated"));
    }
    Ok((Asn(asn), address.into()))
}

fn emit_u32(value: Option<u32>, out: &mut Vec<u8>) -> bool {
    out.extend(value.into_iter().flat_map(u32::to_be_bytes));
    value.is_some()
}

fn emit_each<const N: usize, T>(items: &[T], octets: fn(&T) -> [u8; N], out: &mut Vec<u8>) -> bool {
    out.extend(items.iter().flat_map(octets));
    !items.is_empty()
}

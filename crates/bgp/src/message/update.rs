//! UPDATE (RFC 4271 §4.3), with the milder error handling of RFC 7606.

use std::net::IpAddr;
use std::sync::Arc;

use super::attributes::{self, Draft, Malformed, ToError};
use super::{Context, HEADER_LEN, MessageError, Nlri, framed, prefix};
use crate::iana::attribute_flag::{EXTENDED_LENGTH, OPTIONAL, TRANSITIVE};
use crate::iana::{attribute_type, message_type};
use crate::{Attributes, Family, NextHop};

/// Octets of an UPDATE that says nothing: header and the two lengths.
const EMPTY_LEN: usize = HEADER_LEN + 4;

/// What an UPDATE says (RFC 4271 §4.3), whichever attributes carried it.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Update {
    /// Prefixes no longer reachable: Withdrawn Routes and MP_UNREACH_NLRI, and those which a
    /// malformed attribute turned into withdrawals (RFC 7606).
    pub withdrawn: Vec<Nlri>,
    /// Prefixes reachable, by attributes: at most one entry from NLRI and one from MP_REACH_NLRI.
    pub announced: Vec<Announcement>,
    /// The End-of-RIB marker of a family (RFC 4724 §2).
    pub end_of_rib: Option<Family>,
    /// What was wrong but did not end the session (RFC 7606), for the log.
    pub faults: Vec<AttributeFault>,
}

/// Prefixes of one family that share attributes.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Announcement {
    /// The shared attributes.
    pub attributes: Arc<Attributes>,
    /// At least one prefix.
    pub prefixes: Vec<Nlri>,
}

/// A malformed attribute and what RFC 7606 does about it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct AttributeFault {
    /// The type code; 0 if the list of attributes ends within one.
    pub code: u8,
    /// What was done.
    pub reaction: Reaction,
    /// What was wrong, for the log.
    pub what: &'static str,
}

/// The milder reactions of RFC 7606 §2.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[expect(missing_docs, reason = "the names are the RFC's own")]
pub enum Reaction {
    AttributeDiscard,
    TreatAsWithdraw,
}

impl Update {
    /// An UPDATE that only withdraws.
    #[must_use]
    pub fn withdraw(prefixes: impl IntoIterator<Item: Into<Nlri>>) -> Self {
        let withdrawn = prefixes.into_iter().map(Into::into).collect();
        Self { withdrawn, ..Self::default() }
    }

    /// An UPDATE that only announces.
    #[must_use]
    pub fn announce(
        attributes: Arc<Attributes>,
        prefixes: impl IntoIterator<Item: Into<Nlri>>,
    ) -> Self {
        let prefixes = prefixes.into_iter().map(Into::into).collect();
        Self { announced: vec![Announcement { attributes, prefixes }], ..Self::default() }
    }

    /// The End-of-RIB marker of a family (RFC 4724 §2).
    #[must_use]
    pub fn end_of_rib(family: Family) -> Self {
        Self { end_of_rib: Some(family), ..Self::default() }
    }

    /// Reads the body of an UPDATE, in these steps:
    ///
    /// 1. The lengths must fit the body (RFC 4271 §6.3).
    /// 2. Withdrawn Routes and NLRI must be whole prefixes (RFC 7606 §5.3).
    /// 3. Each attribute is read; its faults are collected (RFC 7606 §§3, 4, 7).
    /// 4. What must be there is (RFC 7606 §3 d).
    /// 5. The strongest reaction wins (RFC 7606 §3 h): if it is treat-as-withdraw, and no
    ///    reachable prefix was found, the session ends after all (RFC 7606 §5.2).
    pub(super) fn parse(body: &[u8], ctx: &Context) -> Result<Self, MessageError> {
        let (withdrawn_octets, rest) = split_by_u16(body).ok_or(
            MessageError::MalformedAttributeList("Withdrawn Routes are longer than the message"),
        )?;
        let (list, nlri_octets) = split_by_u16(rest).ok_or(
            MessageError::MalformedAttributeList("the attributes are longer than the message"),
        )?;
        if body.len() == 4 {
            return Ok(Self::end_of_rib(Family::Ipv4Unicast));
        }
        let mut withdrawn = Vec::new();
        let mut nlri = Vec::new();
        let path_ids = ctx.path_ids_in.contains(Family::Ipv4Unicast);
        for (octets, prefixes) in [(withdrawn_octets, &mut withdrawn), (nlri_octets, &mut nlri)] {
            prefix::parse(Family::Ipv4Unicast, path_ids, octets, prefixes)
                .ok_or(MessageError::InvalidNetworkField)?;
        }
        let mut reading = Reading {
            draft: Draft::new(withdrawn),
            seen: [0; 4],
            faults: Vec::new(),
            fatal_without_prefixes: None,
        };
        reading.attributes(list, ctx)?;
        reading.finish(nlri, withdrawn_octets.is_empty())
    }

    /// As many messages as needed, each no longer than `ctx.max_len` and each of one kind only
    /// (RFC 7606 §5.1): withdrawals, announcements, End-of-RIB.
    ///
    /// A route whose attributes leave no room for a prefix cannot be announced (RFC 4271 §9.2):
    /// it is withdrawn, lest the neighbor keep an older one. Prefixes of IPv4 with an IPv6 next
    /// hop take the form of RFC 8950 if the neighbor agreed to that, and are withdrawn otherwise;
    /// those of IPv6 with an IPv4 next hop get it as an IPv4-mapped address.
    #[must_use]
    pub fn emit(&self, ctx: &Context) -> Vec<Vec<u8>> {
        let mut messages = Vec::new();
        emit_withdrawals(&self.withdrawn, ctx, &mut messages);
        for announcement in &self.announced {
            for family in Family::ALL {
                emit_announcement(announcement, family, ctx, &mut messages);
            }
        }
        match self.end_of_rib {
            Some(Family::Ipv4Unicast) => messages.push(update(EMPTY_LEN, |out| {
                out.extend_from_slice(&[0; 4]);
            })),
            Some(family) => messages.push(update(EMPTY_LEN + 6, |out| {
                with_attributes(out, |out| emit_mp_unreach(family, out, |_| {}));
            })),
            None => {}
        }
        messages
    }
}

/// An UPDATE on its way from octets.
struct Reading {
    draft: Draft,
    /// The type codes that were there, as a bit map.
    seen: [u64; 4],
    faults: Vec<AttributeFault>,
    /// The first fault that asks for treat-as-withdraw, should there be nothing to withdraw.
    fatal_without_prefixes: Option<MessageError>,
}

impl Reading {
    fn attributes(&mut self, mut list: &[u8], ctx: &Context) -> Result<(), MessageError> {
        while !list.is_empty() {
            let Some((flags, code, value, rest)) = split_attribute(list) else {
                return self.cut_short(list);
            };
            let whole = &list[..list.len() - rest.len()];
            list = rest;
            self.attribute(flags, code, value, whole, ctx)?;
        }
        Ok(())
    }

    /// The last attribute runs past the list (RFC 7606 §4). If it could have held prefixes, they
    /// are lost, and so is the session (RFC 7606 §3 j).
    fn cut_short(&mut self, rest: &[u8]) -> Result<(), MessageError> {
        let code = rest.get(1).copied().unwrap_or_default();
        if let attribute_type::MP_REACH_NLRI | attribute_type::MP_UNREACH_NLRI = code {
            return Err(MessageError::OptionalAttribute(rest.to_vec()));
        }
        self.see(code);
        self.withdraw(
            code,
            |_| MessageError::MalformedAttributeList("an attribute runs past the list"),
            "it runs past the list of attributes",
            rest,
        );
        Ok(())
    }

    fn attribute(
        &mut self,
        flags: u8,
        code: u8,
        value: &[u8],
        whole: &[u8],
        ctx: &Context,
    ) -> Result<(), MessageError> {
        if !self.see(code) {
            if let attribute_type::MP_REACH_NLRI | attribute_type::MP_UNREACH_NLRI = code {
                return Err(MessageError::MalformedAttributeList("prefixes in two attributes"));
            }
            self.discard(code, "it is there twice");
            return Ok(());
        }
        let Some(known) = attributes::known(code) else {
            if code == attribute_type::IPV6_EXTENDED_COMMUNITIES {
                self.passed_on(flags, code, value, whole);
                return Ok(());
            }
            if flags & OPTIONAL == 0 {
                return Err(MessageError::UnrecognizedWellKnownAttribute(whole.to_vec()));
            }
            self.draft.unknown(flags, code, value);
            return Ok(());
        };
        if known.internal_only && ctx.ebgp {
            self.discard(code, "it comes from another AS");
            return Ok(());
        }
        if flags & (OPTIONAL | TRANSITIVE) != known.flags {
            self.withdraw(code, MessageError::AttributeFlags, "its flags are wrong", whole);
        }
        // Read even with wrong flags: prefixes that it holds must be found to be withdrawn.
        match (known.parse)(&mut self.draft, value, ctx) {
            Ok(()) => {}
            Err(Malformed::Discard(what)) => self.discard(code, what),
            Err(Malformed::Withdraw(error, what)) => self.withdraw(code, error, what, whole),
            Err(Malformed::Reset(error)) => return Err(error(whole.to_vec())),
        }
        Ok(())
    }

    /// IPv6 Address Specific Extended Communities mean nothing to us, but the next speaker should
    /// not have to suffer from a malformed one (RFC 7606 §7.15).
    fn passed_on(&mut self, flags: u8, code: u8, value: &[u8], whole: &[u8]) {
        if flags & (OPTIONAL | TRANSITIVE) != OPTIONAL | TRANSITIVE {
            self.withdraw(code, MessageError::AttributeFlags, "its flags are wrong", whole);
        } else if value.is_empty() || !value.len().is_multiple_of(20) {
            let what = "its length is not a multiple of its items'";
            self.withdraw(code, MessageError::OptionalAttribute, what, whole);
        } else {
            self.draft.unknown(flags, code, value);
        }
    }

    fn finish(
        mut self,
        nlri: Vec<Nlri>,
        no_withdrawn_routes: bool,
    ) -> Result<Update, MessageError> {
        self.draft.finish();
        let only_unreach = self.seen_only(attribute_type::MP_UNREACH_NLRI);
        let end_of_rib = self.draft.unreach.filter(|_| {
            only_unreach
                && no_withdrawn_routes
                && nlri.is_empty()
                && self.draft.withdrawn.is_empty()
        });
        let (mp_next_hop, mp_prefixes) = self.draft.reach.take().unzip();
        let mp_prefixes: Vec<Nlri> = mp_prefixes.unwrap_or_default();
        let any_reachable = !nlri.is_empty() || !mp_prefixes.is_empty();

        if any_reachable {
            self.must_be_there(attribute_type::ORIGIN);
            self.must_be_there(attribute_type::AS_PATH);
        }
        let next_hop = self.draft.next_hop.map(IpAddr::V4);
        if !nlri.is_empty() {
            self.must_be_there(attribute_type::NEXT_HOP);
            // Beside MP_REACH_NLRI alone it is ignored (RFC 4760 §3), whatever it says.
            if next_hop.is_some_and(|address| !attributes::is_host(address)) {
                let what = "the next hop is no host";
                self.withdraw(attribute_type::NEXT_HOP, MessageError::InvalidNextHop, what, &[]);
            }
        }

        let mut update =
            Update { withdrawn: self.draft.withdrawn, end_of_rib, ..Update::default() };
        let treat_as_withdraw =
            self.faults.iter().any(|fault| fault.reaction == Reaction::TreatAsWithdraw);
        update.faults = self.faults;
        if treat_as_withdraw {
            if let (false, false, Some(error)) =
                (any_reachable, only_unreach, self.fatal_without_prefixes)
            {
                return Err(error);
            }
            update.withdrawn.extend(nlri);
            update.withdrawn.extend(mp_prefixes);
            return Ok(update);
        }
        let parts = [(next_hop.map(NextHop::from), nlri), (mp_next_hop, mp_prefixes)];
        let both = parts.iter().all(|(_, prefixes)| !prefixes.is_empty());
        let mut attributes = Some(self.draft.attributes);
        for (next_hop, prefixes) in parts {
            if let (Some(next_hop), false) = (next_hop, prefixes.is_empty()) {
                let shared = if both && update.announced.is_empty() {
                    attributes.clone()
                } else {
                    attributes.take()
                };
                let Some(mut shared) = shared else { continue };
                shared.next_hop = next_hop;
                update.announced.push(Announcement { attributes: Arc::new(shared), prefixes });
            }
        }
        Ok(update)
    }

    /// Notes that the attribute was there; `false` if it was before.
    fn see(&mut self, code: u8) -> bool {
        let (word, bit) = (usize::from(code / 64), 1 << (code % 64));
        let first = self.seen[word] & bit == 0;
        self.seen[word] |= bit;
        first
    }

    fn seen_only(&self, code: u8) -> bool {
        let mut only = [0; 4];
        only[usize::from(code / 64)] = 1 << (code % 64);
        self.seen == only
    }

    fn must_be_there(&mut self, code: u8) {
        if self.see(code) {
            let (reaction, what) = (Reaction::TreatAsWithdraw, "it is missing");
            self.faults.push(AttributeFault { code, reaction, what });
        }
    }

    fn discard(&mut self, code: u8, what: &'static str) {
        self.faults.push(AttributeFault { code, reaction: Reaction::AttributeDiscard, what });
    }

    fn withdraw(&mut self, code: u8, error: ToError, what: &'static str, whole: &[u8]) {
        self.faults.push(AttributeFault { code, reaction: Reaction::TreatAsWithdraw, what });
        self.fatal_without_prefixes.get_or_insert_with(|| error(whole.to_vec()));
    }
}

/// Flags, type code and value of the first attribute, and what follows.
fn split_attribute(list: &[u8]) -> Option<(u8, u8, &[u8], &[u8])> {
    let ([flags, code], rest) = list.split_first_chunk()?;
    let (value, rest) = if flags & EXTENDED_LENGTH == 0 {
        let (len, rest) = rest.split_first()?;
        rest.split_at_checked(usize::from(*len))?
    } else {
        split_by_u16(rest)?
    };
    Some((*flags, *code, value, rest))
}

/// A field behind its length of two octets, and what follows.
fn split_by_u16(octets: &[u8]) -> Option<(&[u8], &[u8])> {
    let (len, rest) = octets.split_first_chunk()?;
    rest.split_at_checked(usize::from(u16::from_be_bytes(*len)))
}

fn update(capacity: usize, body: impl FnOnce(&mut Vec<u8>)) -> Vec<u8> {
    framed(message_type::UPDATE, capacity, body)
}

/// Writes a field behind its length of two octets.
fn behind_u16(out: &mut Vec<u8>, field: impl FnOnce(&mut Vec<u8>)) {
    let at = out.len();
    out.extend_from_slice(&[0; 2]);
    field(out);
    let len = u16::try_from(out.len() - at - 2).expect("no field is longer than max_len allows");
    out[at..at + 2].copy_from_slice(&len.to_be_bytes());
}

/// Writes a body without Withdrawn Routes and NLRI.
fn with_attributes(out: &mut Vec<u8>, list: impl FnOnce(&mut Vec<u8>)) {
    out.extend_from_slice(&[0; 2]);
    behind_u16(out, list);
}

fn emit_mp_unreach(family: Family, out: &mut Vec<u8>, prefixes: impl FnOnce(&mut Vec<u8>)) {
    attributes::emit_attribute(OPTIONAL, attribute_type::MP_UNREACH_NLRI, out, |out| {
        out.extend_from_slice(&family.afi().to_be_bytes());
        out.push(family.safi());
        prefixes(out);
        true
    });
}

/// The longest that so many prefixes of the family can be.
fn longest(family: Family, ctx: &Context, prefixes: usize) -> usize {
    let path_id = if ctx.path_ids_out.contains(family) { prefix::PATH_ID_LEN } else { 0 };
    prefixes.saturating_mul(path_id + 1 + usize::from(family.max_prefix_len()) / 8)
}

fn emit_withdrawals(prefixes: &[Nlri], ctx: &Context, messages: &mut Vec<Vec<u8>>) {
    let max_len = ctx.max_len();
    for family in Family::ALL {
        let path_ids = ctx.path_ids_out.contains(family);
        let mut rest = prefixes.iter().filter(|nlri| nlri.family() == family).peekable();
        while rest.peek().is_some() {
            let capacity = max_len.min(EMPTY_LEN + 7 + longest(family, ctx, prefixes.len()));
            messages.push(update(capacity, |out| match family {
                Family::Ipv4Unicast => {
                    behind_u16(out, |out| {
                        prefix::emit(&mut rest, path_ids, max_len - EMPTY_LEN, out);
                    });
                    out.extend_from_slice(&[0; 2]);
                }
                Family::Ipv6Unicast => with_attributes(out, |out| {
                    emit_mp_unreach(family, out, |out| {
                        prefix::emit(&mut rest, path_ids, max_len - EMPTY_LEN - 7, out);
                    });
                }),
            }));
        }
    }
}

fn emit_announcement(
    announcement: &Announcement,
    family: Family,
    ctx: &Context,
    messages: &mut Vec<Vec<u8>>,
) {
    let Announcement { attributes, prefixes } = announcement;
    let mut rest = prefixes.iter().filter(|nlri| nlri.family() == family).peekable();
    if rest.peek().is_none() {
        return;
    }
    let nlri = family == Family::Ipv4Unicast && attributes.next_hop.address.is_ipv4();
    if family == Family::Ipv4Unicast && !nlri && !ctx.extended_next_hop {
        let withdrawn: Vec<Nlri> = rest.copied().collect();
        emit_withdrawals(&withdrawn, ctx, messages);
        return;
    }
    let path_ids = ctx.path_ids_out.contains(family);
    let mut list = Vec::with_capacity(128);
    attributes::emit(attributes, nlri, ctx, &mut list);
    let mut mp_head = Vec::new();
    if !nlri {
        emit_mp_reach_head(family, &attributes.next_hop, &mut mp_head);
    }
    let mp_len = if nlri { 0 } else { 4 + mp_head.len() };
    let fixed = EMPTY_LEN + list.len() + mp_len;
    let max_len = ctx.max_len();
    let Some(room) = max_len.checked_sub(fixed).filter(|room| *room >= longest(family, ctx, 1))
    else {
        let withdrawn: Vec<Nlri> = rest.copied().collect();
        emit_withdrawals(&withdrawn, ctx, messages);
        return;
    };
    while rest.peek().is_some() {
        let capacity = max_len.min(fixed + longest(family, ctx, prefixes.len()));
        messages.push(update(capacity, |out| {
            with_attributes(out, |out| {
                if !nlri {
                    // First of all, so that a reader with trouble later has the prefixes
                    // (RFC 7606 §5.1).
                    let code = attribute_type::MP_REACH_NLRI;
                    attributes::emit_attribute(OPTIONAL, code, out, |out| {
                        out.extend_from_slice(&mp_head);
                        prefix::emit(&mut rest, path_ids, room, out);
                        true
                    });
                }
                out.extend_from_slice(&list);
            });
            if nlri {
                prefix::emit(&mut rest, path_ids, room, out);
            }
        }));
    }
}

/// The value of MP_REACH_NLRI before its prefixes (RFC 4760 §3, RFC 2545 §3).
fn emit_mp_reach_head(family: Family, next_hop: &NextHop, out: &mut Vec<u8>) {
    let address = match next_hop.address {
        IpAddr::V4(address) => address.to_ipv6_mapped(),
        IpAddr::V6(address) => address,
    };
    let link_local = next_hop.link_local.filter(|link_local| *link_local != address);
    out.extend_from_slice(&family.afi().to_be_bytes());
    out.push(family.safi());
    out.push(if link_local.is_some() { 32 } else { 16 });
    out.extend_from_slice(&address.octets());
    out.extend(link_local.into_iter().flat_map(|address| address.octets()));
    out.push(0);
}

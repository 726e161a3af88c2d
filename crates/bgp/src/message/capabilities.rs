//! Capabilities in an OPEN (RFC 5492): a table, one row says all about one capability.
//!
//! Sources: RFC 4760 §8, RFC 2918 §2, RFC 8950 §4, RFC 8654 §3, RFC 9234 §4.1, RFC 4724 §3,
//! RFC 8538 §2, RFC 6793 §3, RFC 7911 §4, RFC 7313 §3.1, RFC 9494 §3.1.

mod words;

use std::time::Duration;

use super::MessageError;
use crate::iana::capability as code;
use crate::{Asn, Family};

/// The capabilities that this code knows; of others the code alone is kept.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
#[expect(clippy::struct_excessive_bools, reason = "each capability is there or not")]
pub struct Capabilities {
    /// Multiprotocol Extensions (RFC 4760): the families named, each once. `None`: the capability
    /// is absent, which means IPv4 unicast only.
    pub families: Option<Vec<Family>>,
    /// Route Refresh (RFC 2918).
    pub route_refresh: bool,
    /// IPv4 unicast prefixes may have an IPv6 next hop (RFC 8950).
    pub extended_next_hop: bool,
    /// Messages may be longer than 4096 octets (RFC 8654).
    pub extended_message: bool,
    /// BGP Role (RFC 9234): the sender's, as [`Role::code`](crate::role::Role::code) has it, or a
    /// value that is not assigned.
    pub role: Option<u8>,
    /// Graceful Restart (RFC 4724).
    pub graceful_restart: Option<GracefulRestart>,
    /// Four-octet AS numbers (RFC 6793).
    pub four_octet_asn: bool,
    /// Advertisement of multiple paths (RFC 7911): each family once.
    pub add_path: Vec<AddPath>,
    /// Enhanced Route Refresh (RFC 7313).
    pub enhanced_route_refresh: bool,
    /// Long-Lived Graceful Restart (RFC 9494): each family once. `None`: the capability is absent.
    pub long_lived_graceful_restart: Option<Vec<LongLived>>,
    /// Every code that was there, known or not, each once, in the order of the message: for
    /// display. `emit` writes what the other fields say and does not look here.
    pub codes: Vec<u8>,
}

/// The Graceful Restart capability (RFC 4724 §3).
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct GracefulRestart {
    /// The sender has restarted: it is not to be waited for with the End-of-RIB.
    pub restarted: bool,
    /// NOTIFICATIONs too keep routes, unless they are a Hard Reset (RFC 8538 §2).
    pub notification: bool,
    /// How long the sender takes to come back: whole seconds, at most 4095.
    pub restart_time: Duration,
    /// The families whose forwarding outlives a restart, each once; none: the sender helps others
    /// only.
    pub families: Vec<Preserved>,
}

/// One family of the Graceful Restart capability.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Preserved {
    /// The family.
    pub family: Family,
    /// The forwarding state has been preserved in the restart before.
    pub forwarding: bool,
}

/// One family of the Long-Lived Graceful Restart capability (RFC 9494 §3.1).
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct LongLived {
    /// The family.
    pub family: Family,
    /// The forwarding state has been preserved in the restart before.
    pub forwarding: bool,
    /// How long stale routes may be kept: whole seconds, at most 2^24 - 1.
    pub stale_time: Duration,
}

/// One family of the ADD-PATH capability (RFC 7911 §4); at least one of the two is true.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct AddPath {
    /// The family.
    pub family: Family,
    /// The sender can receive several paths.
    pub receive: bool,
    /// The sender would send several paths.
    pub send: bool,
}

/// Takes one value and writes the capability around it.
type Write<'a> = dyn FnMut(&[u8]) + 'a;

/// All about one capability.
struct Known {
    code: u8,
    /// Octets of the value: so many, and any number of groups of so many more.
    len: usize,
    group: usize,
    take: fn(&mut Draft, &[u8]) -> Result<(), MessageError>,
    /// Writes each value; the function given puts code and length before it.
    emit: fn(&Capabilities, Asn, &mut Write<'_>),
}

/// By rising code, the order in which they are written.
static KNOWN: [Known; 10] = [
    Known {
        code: code::MULTIPROTOCOL,
        len: 4,
        group: 0,
        take: |draft, value| {
            let families = draft.capabilities.families.get_or_insert_default();
            // The octet between is reserved (RFC 4760 §8).
            if let [high, low, _, safi] = *value
                && let Some(family) = family(high, low, safi)
                && !families.contains(&family)
            {
                families.push(family);
            }
            Ok(())
        },
        emit: |capabilities, _, write| {
            let families = capabilities.families.as_deref().unwrap_or_default();
            for (i, family) in families.iter().enumerate() {
                if !families[..i].contains(family) {
                    let [high, low] = family.afi().to_be_bytes();
                    write(&[high, low, 0, family.safi()]);
                }
            }
        },
    },
    Known {
        code: code::ROUTE_REFRESH,
        len: 0,
        group: 0,
        take: |draft, _| {
            draft.capabilities.route_refresh = true;
            Ok(())
        },
        emit: |capabilities, _, write| flag(capabilities.route_refresh, write),
    },
    Known {
        code: code::EXTENDED_NEXT_HOP,
        len: 0,
        group: 6,
        take: |draft, value| {
            // AFI and SAFI of the prefixes, AFI of the next hop: two octets each.
            draft.capabilities.extended_next_hop |=
                value.as_chunks::<6>().0.contains(&[0, 1, 0, 1, 0, 2]);
            Ok(())
        },
        emit: |capabilities, _, write| {
            if capabilities.extended_next_hop {
                write(&[0, 1, 0, 1, 0, 2]);
            }
        },
    },
    Known {
        code: code::EXTENDED_MESSAGE,
        len: 0,
        group: 0,
        take: |draft, _| {
            draft.capabilities.extended_message = true;
            Ok(())
        },
        emit: |capabilities, _, write| flag(capabilities.extended_message, write),
    },
    Known {
        code: code::ROLE,
        len: 1,
        group: 0,
        take: |draft, value| {
            // Twice with different values: RFC 9234 §4.2.
            let role = value.first().copied();
            if draft.capabilities.role.is_some_and(|before| role != Some(before)) {
                return Err(MessageError::RoleMismatch);
            }
            draft.capabilities.role = role;
            Ok(())
        },
        emit: |capabilities, _, write| {
            if let Some(role) = capabilities.role {
                write(&[role]);
            }
        },
    },
    Known {
        code: code::GRACEFUL_RESTART,
        len: 2,
        group: 4,
        // Of several the last one counts (RFC 4724 §3).
        take: |draft, value| {
            draft.capabilities.graceful_restart = value.split_first_chunk().map(parse_restart);
            Ok(())
        },
        emit: |capabilities, _, write| {
            if let Some(restart) = &capabilities.graceful_restart {
                write(&emit_restart(restart));
            }
        },
    },
    Known {
        code: code::FOUR_OCTET_ASN,
        len: 4,
        group: 0,
        take: |draft, value| {
            let asn = value.first_chunk().copied().map(u32::from_be_bytes).unwrap_or_default();
            if asn == 0 {
                return Err(MessageError::BadPeerAs);
            }
            // Twice with different numbers is not foreseen (RFC 5492 §4): the first one counts.
            if !draft.capabilities.four_octet_asn {
                draft.capabilities.four_octet_asn = true;
                draft.asn = Asn(asn);
            }
            Ok(())
        },
        emit: |capabilities, asn, write| {
            if capabilities.four_octet_asn {
                write(&asn.0.to_be_bytes());
            }
        },
    },
    Known {
        code: code::ADD_PATH,
        len: 0,
        group: 4,
        take: |draft, value| {
            for &[high, low, safi, mode] in value.as_chunks().0 {
                // Other values are ignored (RFC 7911 §4); of one family the first counts.
                if let (Some(family), 1..=3) = (family(high, low, safi), mode)
                    && draft.capabilities.add_path.iter().all(|known| known.family != family)
                {
                    let one = AddPath { family, receive: mode & 1 != 0, send: mode & 2 != 0 };
                    draft.capabilities.add_path.push(one);
                }
            }
            Ok(())
        },
        emit: |capabilities, _, write| {
            let families = capabilities.add_path.iter().filter(|one| one.receive || one.send);
            let value: Vec<u8> = families
                .flat_map(|one| {
                    let [high, low] = one.family.afi().to_be_bytes();
                    let mode = u8::from(one.receive) | u8::from(one.send) << 1;
                    [high, low, one.family.safi(), mode]
                })
                .collect();
            if !value.is_empty() {
                write(&value);
            }
        },
    },
    Known {
        code: code::ENHANCED_ROUTE_REFRESH,
        len: 0,
        group: 0,
        take: |draft, _| {
            draft.capabilities.enhanced_route_refresh = true;
            Ok(())
        },
        emit: |capabilities, _, write| flag(capabilities.enhanced_route_refresh, write),
    },
    Known {
        code: code::LONG_LIVED_GRACEFUL_RESTART,
        len: 0,
        group: 7,
        take: |draft, value| {
            draft.capabilities.long_lived_graceful_restart = Some(parse_long_lived(value));
            Ok(())
        },
        emit: |capabilities, _, write| {
            if let Some(families) = &capabilities.long_lived_graceful_restart {
                write(&emit_long_lived(families));
            }
        },
    },
];

/// In the flags of a family: the forwarding state has been preserved.
const FORWARDING: u8 = 0x80;
/// In the flags of Graceful Restart (RFC 4724 §3, RFC 8538 §2).
const RESTARTED: u8 = 0x80;
const NOTIFICATION: u8 = 0x40;
/// The Restart Time has twelve bits.
const MOST_RESTART_TIME: u64 = 0x0fff;
/// The Long-Lived Stale Time has 24 bits.
const MOST_STALE_TIME: u64 = 0x00ff_ffff;

fn family(high: u8, low: u8, safi: u8) -> Option<Family> {
    Family::from_codes(u16::from_be_bytes([high, low]), safi)
}

fn flag(there: bool, write: &mut Write<'_>) {
    if there {
        write(&[]);
    }
}

fn parse_restart((head, rest): (&[u8; 2], &[u8])) -> GracefulRestart {
    let seconds = u64::from(u16::from_be_bytes(*head)) & MOST_RESTART_TIME;
    let mut families: Vec<Preserved> = Vec::new();
    for &[high, low, safi, flags] in rest.as_chunks().0 {
        if let Some(family) = family(high, low, safi)
            && families.iter().all(|known| known.family != family)
        {
            families.push(Preserved { family, forwarding: flags & FORWARDING != 0 });
        }
    }
    GracefulRestart {
        restarted: head[0] & RESTARTED != 0,
        notification: head[0] & NOTIFICATION != 0,
        restart_time: Duration::from_secs(seconds),
        families,
    }
}

fn emit_restart(restart: &GracefulRestart) -> Vec<u8> {
    let seconds = restart.restart_time.as_secs().min(MOST_RESTART_TIME);
    let [.., high, low] = seconds.to_be_bytes();
    let restarted = if restart.restarted { RESTARTED } else { 0 };
    let notification = if restart.notification { NOTIFICATION } else { 0 };
    let mut value = vec![high | restarted | notification, low];
    for one in &restart.families {
        value.extend_from_slice(&one.family.afi().to_be_bytes());
        value.extend_from_slice(&[one.family.safi(), if one.forwarding { FORWARDING } else { 0 }]);
    }
    value
}

fn parse_long_lived(value: &[u8]) -> Vec<LongLived> {
    let mut families: Vec<LongLived> = Vec::new();
    for &[high, low, safi, flags, a, b, c] in value.as_chunks().0 {
        if let Some(family) = family(high, low, safi)
            && families.iter().all(|known| known.family != family)
        {
            let stale_time = Duration::from_secs(u32::from_be_bytes([0, a, b, c]).into());
            families.push(LongLived { family, forwarding: flags & FORWARDING != 0, stale_time });
        }
    }
    families
}

fn emit_long_lived(families: &[LongLived]) -> Vec<u8> {
    let mut value = Vec::with_capacity(7 * families.len());
    for one in families {
        let [.., a, b, c] = one.stale_time.as_secs().min(MOST_STALE_TIME).to_be_bytes();
        value.extend_from_slice(&one.family.afi().to_be_bytes());
        value.extend_from_slice(&[one.family.safi(), if one.forwarding { FORWARDING } else { 0 }]);
        value.extend_from_slice(&[a, b, c]);
    }
    value
}

/// What the capabilities have said so far.
pub(super) struct Draft {
    pub(super) asn: Asn,
    pub(super) capabilities: Capabilities,
}

impl Draft {
    /// The value of one Capabilities parameter.
    pub(super) fn capabilities(&mut self, mut rest: &[u8]) -> Result<(), MessageError> {
        while let Some((code, after)) = rest.split_first() {
            let value = after.split_first();
            let value = value.and_then(|(len, after)| after.split_at_checked(usize::from(*len)));
            let Some((value, after)) = value else {
                return Err(MessageError::MalformedOpen("a capability is cut short"));
            };
            if let Some(known) = KNOWN.iter().find(|known| known.code == *code) {
                let suits = match value.len().checked_sub(known.len) {
                    Some(0) => true,
                    Some(more) => known.group != 0 && more % known.group == 0,
                    None => false,
                };
                if !suits {
                    return Err(MessageError::MalformedOpen("a capability has a wrong length"));
                }
                (known.take)(self, value)?;
            }
            if !self.capabilities.codes.contains(code) {
                self.capabilities.codes.push(*code);
            }
            rest = after;
        }
        Ok(())
    }
}

impl Capabilities {
    /// What operators call each capability that was there, or its code.
    #[must_use]
    pub fn names(&self) -> Vec<String> {
        let name = |code: &u8| code::name(*code).map_or_else(|| code.to_string(), str::to_owned);
        self.codes.iter().map(name).collect()
    }

    pub(super) fn emit(&self, asn: Asn, out: &mut Vec<u8>) {
        for known in &KNOWN {
            (known.emit)(self, asn, &mut |value| {
                // Each family once: no value of ours is longer than a few families.
                if let Ok(len) = u8::try_from(value.len()) {
                    out.extend_from_slice(&[known.code, len]);
                    out.extend_from_slice(value);
                }
            });
        }
    }
}

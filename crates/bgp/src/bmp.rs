//! BMP messages (RFC 7854, with the Adj-RIB-Out of RFC 8671 and the Loc-RIB of RFC 9069): octets
//! ↔ [`Message`].
//!
//! What a station is told of one speaker: which sessions are up, what came in by them, what was
//! made of it and what went out. `emit` is the inverse of `parse`. The BGP messages within are
//! kept as octets, checked for their frame alone: how they are to be read depends on the OPENs of
//! the Peer Up before.
//!
//! ```text
//! | version 3: 1 octet | length: 4 octets | type: 1 octet | per-peer header: 42 octets | body |
//! ```
//! Initiation and Termination have no per-peer header.

pub mod iana;
mod peer;
#[cfg(test)]
mod tests;

use std::net::IpAddr;

use iana::{message_type, peer_down, statistic};
pub use peer::{Instance, Monitored, PeerHeader, Timestamp};

use crate::iana::message_type as bgp_type;
use crate::message::{self as bgp, EXTENDED_MAX_LEN};

/// The version that RFC 7854 gives to the protocol.
pub const VERSION: u8 = 3;
/// Octets of the common header (RFC 7854 §4.1).
pub const HEADER_LEN: usize = 6;
/// Octets of the longest message that is read. The RFC sets no limit; nothing that a speaker has
/// to say is longer than a few BGP messages.
pub const MAX_LEN: usize = 1 << 20;

/// One BMP message (RFC 7854 §4).
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Message {
    /// What one table has for one peer (§4.6): a whole UPDATE.
    RouteMonitoring {
        /// Which table of which peer.
        peer: PeerHeader,
        /// The UPDATE, with its header.
        update: Vec<u8>,
    },
    /// Counters and gauges of a peer (§4.8).
    StatisticsReport {
        /// Whose.
        peer: PeerHeader,
        /// Each of another type.
        statistics: Vec<Statistic>,
    },
    /// A session has ended, and all that was told of it is void (§4.9).
    PeerDown {
        /// Whose.
        peer: PeerHeader,
        /// Why.
        reason: PeerDown,
    },
    /// A session is Established (§4.10).
    PeerUp {
        /// Whose.
        peer: PeerHeader,
        /// Our address on it; of the Loc-RIB, zero. Of the same family as the peer's.
        local_address: IpAddr,
        /// Our port.
        local_port: u16,
        /// The peer's port.
        remote_port: u16,
        /// The OPEN that we sent, with its header.
        sent_open: Vec<u8>,
        /// The OPEN that the peer sent, with its header.
        received_open: Vec<u8>,
        /// More in words.
        information: Vec<Tlv>,
    },
    /// The first message on a connection (§4.3).
    Initiation(Vec<Tlv>),
    /// The last one (§4.5).
    Termination(Vec<Tlv>),
    /// Messages as they came in, whatever is wrong with them (§4.7).
    RouteMirroring {
        /// From whom.
        peer: PeerHeader,
        /// The messages, and what befell them.
        items: Vec<Tlv>,
    },
}

/// A value behind its type and length.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Tlv {
    /// By the registry of its message.
    pub kind: u16,
    /// At most 65535 octets; more are cut.
    pub value: Vec<u8>,
}

/// One counter or gauge; its width goes by its type (RFC 7854 §4.8, RFC 8671 §6.2).
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Statistic {
    /// By the registry "BMP Statistics Types".
    pub kind: u16,
    /// How much.
    pub value: Value,
}

/// The value of a [`Statistic`].
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Value {
    /// A counter of 32 bits.
    Counter(u32),
    /// A gauge of 64 bits.
    Gauge(u64),
    /// A gauge of 64 bits for one address family.
    FamilyGauge {
        /// Address Family Identifier.
        afi: u16,
        /// Subsequent Address Family Identifier.
        safi: u8,
        /// How much.
        value: u64,
    },
    /// Of a type that this code does not know.
    Unknown(Vec<u8>),
}

/// Why a session ended (RFC 7854 §4.9).
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum PeerDown {
    /// We ended it, with this NOTIFICATION (with its header).
    LocalNotification(Vec<u8>),
    /// We ended it without a word, because of this event of RFC 4271 §8.1; 0: none fits.
    LocalEvent(u16),
    /// The peer ended it, with this NOTIFICATION (with its header).
    RemoteNotification(Vec<u8>),
    /// The peer ended it without a word.
    RemoteNoData,
    /// It goes on, but nothing more is told of it.
    Deconfigured,
    /// The Loc-RIB is told no more (RFC 9069 §5.3).
    LocalSystemClosed(Vec<Tlv>),
}

/// Why octets are no BMP message.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum Error {
    /// Another version of BMP, or no BMP.
    #[error("version {0} is not 3")]
    Version(u8),
    /// The length suits no message, not this type, or not the octets given.
    #[error("length {0} does not suit the message")]
    Length(u32),
    /// A type that is not assigned.
    #[error("unknown message type {0}")]
    Type(u8),
    /// A peer type that is not assigned.
    #[error("unknown peer type {0}")]
    PeerType(u8),
    /// Flags or address of a per-peer header contradict each other.
    #[error("contradictory per-peer header")]
    PeerHeader,
    /// A field runs past the message.
    #[error("the message is cut short")]
    Short,
    /// A BGP message within is none, or of the wrong type.
    #[error("what should be a BGP message of type {0} is none")]
    Bgp(u8),
    /// A statistic of a known type has the wrong length.
    #[error("statistic {0} has a wrong length")]
    Statistic(u16),
    /// A Peer Down reason that is not assigned.
    #[error("unknown Peer Down reason {0}")]
    Reason(u8),
    /// There is more behind the last field.
    #[error("octets behind the last field")]
    Trailing,
}

/// The length of the first whole message in `buffer`, or `None` if more octets are needed.
///
/// # Errors
/// The version is wrong, or the length is that of no message.
pub fn frame_len(buffer: &[u8]) -> Result<Option<usize>, Error> {
    let Some(([version, length @ .., _kind], _)) = buffer.split_first_chunk::<HEADER_LEN>() else {
        return Ok(None);
    };
    if *version != VERSION {
        return Err(Error::Version(*version));
    }
    let length = u32::from_be_bytes(*length);
    let octets = usize::try_from(length).map_err(|_| Error::Length(length))?;
    if !(HEADER_LEN..=MAX_LEN).contains(&octets) {
        return Err(Error::Length(length));
    }
    Ok((octets <= buffer.len()).then_some(octets))
}

/// Writes a Route Monitoring message around an UPDATE that is there already.
pub fn emit_route_monitoring(peer: &PeerHeader, update: &[u8], out: &mut Vec<u8>) {
    framed(message_type::ROUTE_MONITORING, out, |out| {
        peer.emit(out);
        out.extend_from_slice(update);
    });
}

fn framed(kind: u8, out: &mut Vec<u8>, body: impl FnOnce(&mut Vec<u8>)) {
    let at = out.len();
    out.extend_from_slice(&[VERSION, 0, 0, 0, 0, kind]);
    body(out);
    let length = u32::try_from(out.len() - at).unwrap_or(u32::MAX);
    out[at + 1..at + 5].copy_from_slice(&length.to_be_bytes());
}

impl Message {
    /// Reads exactly one whole message.
    ///
    /// # Errors
    /// The first thing that is wrong.
    pub fn parse(octets: &[u8]) -> Result<Self, Error> {
        let length = frame_len(octets)?.ok_or(Error::Short)?;
        if length != octets.len() {
            return Err(Error::Length(u32::try_from(length).unwrap_or(u32::MAX)));
        }
        let mut rest = &octets[HEADER_LEN..];
        let kind = octets[HEADER_LEN - 1];
        match kind {
            message_type::INITIATION => return Ok(Self::Initiation(Tlv::parse_all(rest)?)),
            message_type::TERMINATION => return Ok(Self::Termination(Tlv::parse_all(rest)?)),
            other if other > message_type::ROUTE_MIRRORING => return Err(Error::Type(other)),
            _ => {}
        }
        let peer = PeerHeader::parse(&mut rest)?;
        Ok(match kind {
            message_type::ROUTE_MONITORING => {
                let update = bgp_message(&mut rest, bgp_type::UPDATE)?;
                nothing_more(rest)?;
                Self::RouteMonitoring { peer, update }
            }
            message_type::STATISTICS_REPORT => {
                let count = u32::from_be_bytes(*take(&mut rest)?);
                let statistics: Vec<_> = Tlv::parse_all(rest)?
                    .into_iter()
                    .map(Statistic::read)
                    .collect::<Result<_, _>>()?;
                if statistics.len() != count as usize {
                    return Err(Error::Short);
                }
                Self::StatisticsReport { peer, statistics }
            }
            message_type::PEER_DOWN => Self::PeerDown { peer, reason: PeerDown::parse(rest)? },
            message_type::PEER_UP => {
                let address: &[u8; 16] = take(&mut rest)?;
                let local_address = peer.address_of_family(*address)?;
                let local_port = u16::from_be_bytes(*take(&mut rest)?);
                let remote_port = u16::from_be_bytes(*take(&mut rest)?);
                Self::PeerUp {
                    local_address,
                    local_port,
                    remote_port,
                    sent_open: bgp_message(&mut rest, bgp_type::OPEN)?,
                    received_open: bgp_message(&mut rest, bgp_type::OPEN)?,
                    information: Tlv::parse_all(rest)?,
                    peer,
                }
            }
            _ => Self::RouteMirroring { peer, items: Tlv::parse_all(rest)? },
        })
    }

    /// Writes the message behind what is in `out`.
    pub fn emit(&self, out: &mut Vec<u8>) {
        match self {
            Self::RouteMonitoring { peer, update } => emit_route_monitoring(peer, update, out),
            Self::StatisticsReport { peer, statistics } => {
                framed(message_type::STATISTICS_REPORT, out, |out| {
                    peer.emit(out);
                    let count = u32::try_from(statistics.len()).unwrap_or(u32::MAX);
                    out.extend_from_slice(&count.to_be_bytes());
                    for statistic in statistics {
                        statistic.emit(out);
                    }
                });
            }
            Self::PeerDown { peer, reason } => framed(message_type::PEER_DOWN, out, |out| {
                peer.emit(out);
                reason.emit(out);
            }),
            Self::PeerUp {
                peer,
                local_address,
                local_port,
                remote_port,
                sent_open,
                received_open,
                information,
            } => framed(message_type::PEER_UP, out, |out| {
                peer.emit(out);
                out.extend_from_slice(&peer::sixteen_octets(*local_address));
                out.extend_from_slice(&local_port.to_be_bytes());
                out.extend_from_slice(&remote_port.to_be_bytes());
                out.extend_from_slice(sent_open);
                out.extend_from_slice(received_open);
                Tlv::emit_all(information, out);
            }),
            Self::Initiation(information) => {
                framed(message_type::INITIATION, out, |out| Tlv::emit_all(information, out));
            }
            Self::Termination(information) => {
                framed(message_type::TERMINATION, out, |out| Tlv::emit_all(information, out));
            }
            Self::RouteMirroring { peer, items } => {
                framed(message_type::ROUTE_MIRRORING, out, |out| {
                    peer.emit(out);
                    Tlv::emit_all(items, out);
                });
            }
        }
    }
}

/// The next `N` octets.
fn take<'a, const N: usize>(rest: &mut &'a [u8]) -> Result<&'a [u8; N], Error> {
    let (taken, after) = rest.split_first_chunk().ok_or(Error::Short)?;
    *rest = after;
    Ok(taken)
}

/// The BGP message that comes next, header included.
fn bgp_message(rest: &mut &[u8], kind: u8) -> Result<Vec<u8>, Error> {
    let length = bgp::frame_len(rest, EXTENDED_MAX_LEN).map_err(|_| Error::Bgp(kind))?;
    let length = length.ok_or(Error::Bgp(kind))?;
    let (message, after) = rest.split_at_checked(length).ok_or(Error::Bgp(kind))?;
    if message.get(bgp::HEADER_LEN - 1) != Some(&kind) {
        return Err(Error::Bgp(kind));
    }
    *rest = after;
    Ok(message.to_vec())
}

fn nothing_more(rest: &[u8]) -> Result<(), Error> {
    if rest.is_empty() { Ok(()) } else { Err(Error::Trailing) }
}

impl Tlv {
    /// A text. Those of the protocol are UTF-8 and not terminated.
    #[must_use]
    pub fn text(kind: u16, text: &str) -> Self {
        Self { kind, value: text.as_bytes().to_vec() }
    }

    fn parse_all(mut rest: &[u8]) -> Result<Vec<Self>, Error> {
        let mut all = Vec::new();
        while !rest.is_empty() {
            let kind = u16::from_be_bytes(*take(&mut rest)?);
            let length = u16::from_be_bytes(*take(&mut rest)?);
            let (value, after) = rest.split_at_checked(length.into()).ok_or(Error::Short)?;
            all.push(Self { kind, value: value.to_vec() });
            rest = after;
        }
        Ok(all)
    }

    fn emit_all(all: &[Self], out: &mut Vec<u8>) {
        for tlv in all {
            tlv.emit(out);
        }
    }

    fn emit(&self, out: &mut Vec<u8>) {
        let length = u16::try_from(self.value.len()).unwrap_or(u16::MAX);
        out.extend_from_slice(&self.kind.to_be_bytes());
        out.extend_from_slice(&length.to_be_bytes());
        out.extend_from_slice(&self.value[..usize::from(length)]);
    }
}

impl Statistic {
    /// A gauge of 64 bits.
    #[must_use]
    pub const fn gauge(kind: u16, value: u64) -> Self {
        Self { kind, value: Value::Gauge(value) }
    }

    /// A counter of 32 bits.
    #[must_use]
    pub const fn counter(kind: u16, value: u32) -> Self {
        Self { kind, value: Value::Counter(value) }
    }

    fn read(Tlv { kind, value }: Tlv) -> Result<Self, Error> {
        let wrong = Error::Statistic(kind);
        let octets = value.as_slice();
        let value = match kind {
            0..=6 | 11..=13 => {
                Value::Counter(u32::from_be_bytes(octets.try_into().map_err(|_| wrong)?))
            }
            statistic::ADJ_RIB_IN_ROUTES
            | statistic::LOC_RIB_ROUTES
            | statistic::ADJ_RIB_OUT_PRE_ROUTES
            | statistic::ADJ_RIB_OUT_POST_ROUTES => {
                Value::Gauge(u64::from_be_bytes(octets.try_into().map_err(|_| wrong)?))
            }
            statistic::FAMILY_ADJ_RIB_IN_ROUTES
            | statistic::FAMILY_LOC_RIB_ROUTES
            | statistic::FAMILY_ADJ_RIB_OUT_PRE_ROUTES
            | statistic::FAMILY_ADJ_RIB_OUT_POST_ROUTES => {
                let [a0, a1, safi, value @ ..]: [u8; 11] = octets.try_into().map_err(|_| wrong)?;
                let afi = u16::from_be_bytes([a0, a1]);
                Value::FamilyGauge { afi, safi, value: u64::from_be_bytes(value) }
            }
            _ => Value::Unknown(value),
        };
        Ok(Self { kind, value })
    }

    fn emit(&self, out: &mut Vec<u8>) {
        let value = match &self.value {
            Value::Counter(value) => value.to_be_bytes().to_vec(),
            Value::Gauge(value) => value.to_be_bytes().to_vec(),
            Value::FamilyGauge { afi, safi, value } => {
                let [a0, a1] = afi.to_be_bytes();
                [&[a0, a1, *safi][..], &value.to_be_bytes()].concat()
            }
            Value::Unknown(value) => value.clone(),
        };
        Tlv { kind: self.kind, value }.emit(out);
    }
}

impl PeerDown {
    fn parse(mut rest: &[u8]) -> Result<Self, Error> {
        let [reason] = *take(&mut rest)?;
        let parsed = match reason {
            peer_down::LOCAL_NOTIFICATION => {
                Self::LocalNotification(bgp_message(&mut rest, bgp_type::NOTIFICATION)?)
            }
            peer_down::LOCAL_NO_NOTIFICATION => {
                Self::LocalEvent(u16::from_be_bytes(*take(&mut rest)?))
            }
            peer_down::REMOTE_NOTIFICATION => {
                Self::RemoteNotification(bgp_message(&mut rest, bgp_type::NOTIFICATION)?)
            }
            peer_down::REMOTE_NO_DATA => Self::RemoteNoData,
            peer_down::DECONFIGURED => Self::Deconfigured,
            peer_down::LOCAL_SYSTEM_CLOSED => {
                return Ok(Self::LocalSystemClosed(Tlv::parse_all(rest)?));
            }
            other => return Err(Error::Reason(other)),
        };
        nothing_more(rest)?;
        Ok(parsed)
    }

    fn emit(&self, out: &mut Vec<u8>) {
        match self {
            Self::LocalNotification(notification) => {
                out.push(peer_down::LOCAL_NOTIFICATION);
                out.extend_from_slice(notification);
            }
            Self::LocalEvent(event) => {
                out.push(peer_down::LOCAL_NO_NOTIFICATION);
                out.extend_from_slice(&event.to_be_bytes());
            }
            Self::RemoteNotification(notification) => {
                out.push(peer_down::REMOTE_NOTIFICATION);
                out.extend_from_slice(notification);
            }
            Self::RemoteNoData => out.push(peer_down::REMOTE_NO_DATA),
            Self::Deconfigured => out.push(peer_down::DECONFIGURED),
            Self::LocalSystemClosed(information) => {
                out.push(peer_down::LOCAL_SYSTEM_CLOSED);
                Tlv::emit_all(information, out);
            }
        }
    }
}

//! Octets ↔ PDUs of the RPKI to Router protocol (RFC 8210 §5).

use std::net::{Ipv4Addr, Ipv6Addr};
use std::time::Duration;

use ipnet::IpNet;

use crate::Asn;
use crate::rov::Vrp;

/// The newest version that is spoken here.
pub const VERSION: u8 = 2;

const HEADER: usize = 8;
/// No PDU that a cache has reason to send is longer.
const LONGEST: usize = 1 << 17;

/// One PDU; the version stands beside it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Pdu {
    /// The cache has news (§5.2).
    SerialNotify {
        /// The cache's session.
        session: u16,
        /// Its newest serial.
        serial: u32,
    },
    /// What is new since a serial? (§5.3)
    SerialQuery {
        /// The session of the serial.
        session: u16,
        /// What the router has.
        serial: u32,
    },
    /// Everything, please (§5.4).
    ResetQuery,
    /// The answer begins (§5.5).
    CacheResponse {
        /// The cache's session.
        session: u16,
    },
    /// A VRP comes or goes (§§5.6, 5.7).
    Prefix {
        /// Whether it comes.
        announced: bool,
        /// Which.
        vrp: Vrp,
    },
    /// The answer is complete (§5.8).
    EndOfData {
        /// The cache's session.
        session: u16,
        /// The serial that the answer leads to.
        serial: u32,
        /// How long things last; version 0 does not say.
        timing: Option<Timing>,
    },
    /// The cache cannot tell the difference: ask for everything (§5.9).
    CacheReset,
    /// A router key (§5.10) or, in version 2, an ASPA: nothing here uses them.
    Other {
        /// The PDU type.
        kind: u8,
        /// The third and fourth octet.
        field: u16,
        /// All behind the header.
        body: Vec<u8>,
    },
    /// Something is wrong (§5.11).
    ErrorReport {
        /// An [`ErrorCode`], or one that we do not know.
        code: u16,
        /// The PDU that was wrong, or its beginning.
        about: Vec<u8>,
        /// In words.
        text: String,
    },
}

/// How long data and attempts last, by the cache (RFC 8210 §6).
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Timing {
    /// Between two queries.
    pub refresh: Duration,
    /// From a failed query to the next.
    pub retry: Duration,
    /// From the last answer to the end of the data.
    pub expire: Duration,
}

/// The registry "rpki-rtr-error".
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[expect(missing_docs, reason = "the names are the registry's own")]
pub enum ErrorCode {
    CorruptData = 0,
    InternalError = 1,
    NoDataAvailable = 2,
    InvalidRequest = 3,
    UnsupportedProtocolVersion = 4,
    UnsupportedPduType = 5,
    WithdrawalOfUnknownRecord = 6,
    DuplicateAnnouncementReceived = 7,
    UnexpectedProtocolVersion = 8,
}

/// What is wrong with what a cache sent.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("{what}")]
pub struct Fault {
    /// What the cache is told.
    pub code: ErrorCode,
    /// In words.
    pub what: &'static str,
}

const fn corrupt(what: &'static str) -> Fault {
    Fault { code: ErrorCode::CorruptData, what }
}

impl Default for Timing {
    /// The defaults of RFC 8210 §6.
    fn default() -> Self {
        let seconds = Duration::from_secs;
        Self { refresh: seconds(3600), retry: seconds(600), expire: seconds(7200) }
    }
}

impl Timing {
    /// Within the bounds of RFC 8210 §6; data must outlast a query and the one after it failed.
    #[must_use]
    pub fn bounded(self) -> Self {
        let within = |time: Duration, from, to| {
            time.clamp(Duration::from_secs(from), Duration::from_secs(to))
        };
        let (refresh, retry) = (within(self.refresh, 1, 86_400), within(self.retry, 1, 7200));
        let expire = within(self.expire, 600, 172_800).max(refresh.max(retry));
        Self { refresh, retry, expire }
    }
}

fn be16(octets: &[u8], at: usize) -> u16 {
    u16::from_be_bytes([octets[at], octets[at + 1]])
}

fn be32(octets: &[u8], at: usize) -> u32 {
    u32::from_be_bytes([octets[at], octets[at + 1], octets[at + 2], octets[at + 3]])
}

fn seconds(octets: &[u8], at: usize) -> Duration {
    Duration::from_secs(be32(octets, at).into())
}

impl Pdu {
    /// The first PDU in `octets`: its version, itself and its length; `None` if it is not
    /// complete yet.
    ///
    /// # Errors
    /// What is wrong with it. The stream cannot be read any further.
    pub fn parse(octets: &[u8]) -> Result<Option<(u8, Self, usize)>, Fault> {
        if octets.len() < HEADER {
            return Ok(None);
        }
        let (version, kind, field) = (octets[0], octets[1], be16(octets, 2));
        let length = be32(octets, 4) as usize;
        if !(HEADER..=LONGEST).contains(&length) {
            return Err(corrupt("the length of a PDU cannot be"));
        }
        let fits = match kind {
            0 | 1 => length == 12,
            2 | 3 | 8 => length == HEADER,
            4 => length == 20,
            6 => length == 32,
            7 => length == if version == 0 { 12 } else { 24 },
            9 if version >= 1 => length > 32,
            10 => length >= 16,
            11 if version >= 2 => length >= 12 && length.is_multiple_of(4),
            _ => {
                let what = "a PDU is of a type that the version does not know";
                return Err(Fault { code: ErrorCode::UnsupportedPduType, what });
            }
        };
        if !fits {
            return Err(corrupt("the length of a PDU does not fit its type"));
        }
        let Some(octets) = octets.get(..length) else { return Ok(None) };
        let pdu = match kind {
            0 => Self::SerialNotify { session: field, serial: be32(octets, 8) },
            1 => Self::SerialQuery { session: field, serial: be32(octets, 8) },
            2 => Self::ResetQuery,
            3 => Self::CacheResponse { session: field },
            4 | 6 => prefix(octets)?,
            7 => {
                let timing = (version > 0).then(|| Timing {
                    refresh: seconds(octets, 12),
                    retry: seconds(octets, 16),
                    expire: seconds(octets, 20),
                });
                Self::EndOfData { session: field, serial: be32(octets, 8), timing }
            }
            8 => Self::CacheReset,
            10 => error_report(field, &octets[HEADER..])?,
            _ => Self::Other { kind, field, body: octets[HEADER..].to_vec() },
        };
        Ok(Some((version, pdu, length)))
    }

    /// Its octets.
    #[must_use]
    pub fn emit(&self, version: u8) -> Vec<u8> {
        let (kind, field, body) = match self {
            Self::SerialNotify { session, serial } => (0, *session, serial.to_be_bytes().to_vec()),
            Self::SerialQuery { session, serial } => (1, *session, serial.to_be_bytes().to_vec()),
            Self::ResetQuery => (2, 0, Vec::new()),
            Self::CacheResponse { session } => (3, *session, Vec::new()),
            Self::Prefix { announced, vrp } => {
                let (prefix, max_length) = (vrp.prefix(), vrp.max_length());
                let mut body = vec![u8::from(*announced), prefix.prefix_len(), max_length, 0];
                let kind = match prefix {
                    IpNet::V4(net) => {
                        body.extend(net.addr().octets());
                        4
                    }
                    IpNet::V6(net) => {
                        body.extend(net.addr().octets());
                        6
                    }
                };
                body.extend(vrp.asn().0.to_be_bytes());
                (kind, 0, body)
            }
            Self::EndOfData { session, serial, timing } => {
                let mut body = serial.to_be_bytes().to_vec();
                if version > 0 {
                    let Timing { refresh, retry, expire } = timing.unwrap_or_default();
                    for time in [refresh, retry, expire] {
                        let seconds = u32::try_from(time.as_secs()).unwrap_or(u32::MAX);
                        body.extend(seconds.to_be_bytes());
                    }
                }
                (7, *session, body)
            }
            Self::CacheReset => (8, 0, Vec::new()),
            Self::Other { kind, field, body } => (*kind, *field, body.clone()),
            Self::ErrorReport { code, about, text } => {
                let mut body = Vec::new();
                for part in [about.as_slice(), text.as_bytes()] {
                    body.extend(length_of(part).to_be_bytes());
                    body.extend(part);
                }
                (10, *code, body)
            }
        };
        let mut octets = vec![version, kind];
        octets.extend(field.to_be_bytes());
        octets.extend((length_of(&body) + 8).to_be_bytes());
        octets.extend(body);
        octets
    }
}

fn length_of(octets: &[u8]) -> u32 {
    u32::try_from(octets.len()).expect("a PDU is shorter than 4 GiB")
}

fn prefix(octets: &[u8]) -> Result<Pdu, Fault> {
    let (announced, length, max_length) = (octets[8] & 1 == 1, octets[9], octets[10]);
    let (address, asn) = if octets.len() == 20 {
        (Ipv4Addr::from_bits(be32(octets, 12)).into(), be32(octets, 16))
    } else {
        let mut address = [0; 16];
        address.copy_from_slice(&octets[12..28]);
        (Ipv6Addr::from(address).into(), be32(octets, 28))
    };
    let vrp = IpNet::new(address, length)
        .ok()
        .and_then(|prefix| Vrp::new(prefix, max_length, Asn(asn)).ok());
    let vrp = vrp.ok_or(corrupt("a prefix has host bits set or lengths that cannot be"))?;
    Ok(Pdu::Prefix { announced, vrp })
}

fn error_report(code: u16, body: &[u8]) -> Result<Pdu, Fault> {
    let part = |from: usize| {
        let length = body.get(from..from + 4).map(|octets| be32(octets, 0) as usize)?;
        body.get(from + 4..(from + 4).checked_add(length)?)
    };
    let parts = part(0).and_then(|about| Some((about, part(4 + about.len())?)));
    match parts {
        Some((about, text)) if 8 + about.len() + text.len() == body.len() => {
            let text = String::from_utf8_lossy(text).into_owned();
            Ok(Pdu::ErrorReport { code, about: about.to_vec(), text })
        }
        _ => Err(corrupt("the parts of an Error Report do not fit its length")),
    }
}

impl ErrorCode {
    /// What the registry calls a code.
    #[must_use]
    pub const fn name(code: u16) -> &'static str {
        match code {
            0 => "Corrupt Data",
            1 => "Internal Error",
            2 => "No Data Available",
            3 => "Invalid Request",
            4 => "Unsupported Protocol Version",
            5 => "Unsupported PDU Type",
            6 => "Withdrawal of Unknown Record",
            7 => "Duplicate Announcement Received",
            8 => "Unexpected Protocol Version",
            _ => "an error of a kind that we do not know",
        }
    }
}

//! Numbers from the IANA registry "Domain Name System (DNS) Parameters" that checks name.

use std::fmt;

/// A record type: "Resource Record (RR) TYPEs".
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub struct RecordType(pub u16);

/// A response code: "DNS RCODEs".
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub struct Rcode(pub u8);

/// A class: "DNS CLASSes".
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum Class {
    /// Internet.
    In = 1,
    /// Chaos, where servers say who they are (RFC 4892).
    Ch = 3,
}

impl RecordType {
    /// A.
    pub const A: Self = Self(1);
    /// TXT.
    pub const TXT: Self = Self(16);
    /// AAAA.
    pub const AAAA: Self = Self(28);

    pub(crate) const NAMES: [(&'static str, u16); 22] = [
        ("A", 1),
        ("NS", 2),
        ("CNAME", 5),
        ("SOA", 6),
        ("PTR", 12),
        ("HINFO", 13),
        ("MX", 15),
        ("TXT", 16),
        ("AAAA", 28),
        ("LOC", 29),
        ("SRV", 33),
        ("NAPTR", 35),
        ("DS", 43),
        ("SSHFP", 44),
        ("RRSIG", 46),
        ("DNSKEY", 48),
        ("TLSA", 52),
        ("CDS", 59),
        ("SVCB", 64),
        ("HTTPS", 65),
        ("ANY", 255),
        ("CAA", 257),
    ];

    /// Reads `TXT`, in any case, or `TYPE65` (RFC 3597 §5).
    pub fn from_name(name: &str) -> Option<Self> {
        let name = name.to_ascii_uppercase();
        let known = Self::NAMES.iter().find(|(known, _)| *known == name).map(|(_, code)| *code);
        known.or_else(|| name.strip_prefix("TYPE")?.parse().ok()).map(Self)
    }
}

impl fmt::Display for RecordType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match Self::NAMES.iter().find(|(_, code)| *code == self.0) {
            Some((name, _)) => f.write_str(name),
            None => write!(f, "TYPE{}", self.0),
        }
    }
}

impl Rcode {
    /// No error.
    pub const NOERROR: Self = Self(0);

    pub(crate) const NAMES: [(&'static str, u8); 11] = [
        ("NOERROR", 0),
        ("FORMERR", 1),
        ("SERVFAIL", 2),
        ("NXDOMAIN", 3),
        ("NOTIMP", 4),
        ("REFUSED", 5),
        ("YXDOMAIN", 6),
        ("YXRRSET", 7),
        ("NXRRSET", 8),
        ("NOTAUTH", 9),
        ("NOTZONE", 10),
    ];

    /// Reads `NOERROR`, in any case.
    pub fn from_name(name: &str) -> Option<Self> {
        let known = Self::NAMES.iter().find(|(known, _)| known.eq_ignore_ascii_case(name));
        known.map(|(_, code)| Self(*code))
    }
}

impl fmt::Display for Rcode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match Self::NAMES.iter().find(|(_, code)| *code == self.0) {
            Some((name, _)) => f.write_str(name),
            None => write!(f, "RCODE{}", self.0),
        }
    }
}

impl fmt::Display for Class {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::In => "IN",
            Self::Ch => "CH",
        })
    }
}

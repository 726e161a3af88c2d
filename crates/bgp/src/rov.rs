//! Origin validation (RFC 6811): which AS may originate which prefix, as the RPKI says.
//!
//! A [`VrpTable`] is made whole and never changes; a new one takes its place. What lies between
//! two of them is a [`Changes`], by which the routing tables know the routes to judge anew.
//!
//! Not here: how VRPs come (`rtr`, [`file`](mod@file)), and what becomes of an invalid route,
//! which is a matter of policy (RFC 6811 §3).
//!
//! | module | what it is |
//! |---|---|
//! | `table` | VRPs by prefix, each knowing the next that covers it |
//! | [`file`](mod@file) | the JSON that validators write |

pub mod file;
mod table;
#[cfg(test)]
mod tests;

use std::fmt;

use ipnet::IpNet;

use crate::as_path::SegmentKind;
use crate::{AsPath, Asn};

pub use table::{Changes, VrpTable};

/// A Validated ROA Payload (RFC 6811 §2): the AS may originate the prefix and what lies within it
/// up to a length.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct Vrp {
    prefix: IpNet,
    max_length: u8,
    asn: Asn,
}

/// Why something is no VRP.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum NotAVrp {
    /// A host bit of the prefix is set.
    #[error("{0} has host bits set")]
    HostBits(IpNet),
    /// The maximum length is shorter than the prefix, or longer than an address.
    #[error("the maximum length of {prefix} cannot be {max_length}")]
    MaxLength {
        /// The prefix.
        prefix: IpNet,
        /// What it cannot be.
        max_length: u8,
    },
}

/// What the RPKI says of a route (RFC 6811 §2).
#[derive(Clone, Copy, Debug, Default, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub enum Validity {
    /// A VRP allows the origin to announce the prefix.
    Valid,
    /// No VRP covers the prefix. So it is of every route while there are no VRPs.
    #[default]
    NotFound,
    /// VRPs cover the prefix, and none allows the origin to announce it.
    Invalid,
}

/// The state of a prefix and an origin, and the VRPs that make it so.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Finding {
    /// The AS that was asked for; `None`: the path names no single one.
    pub origin: Option<Asn>,
    /// The state.
    pub validity: Validity,
    /// Every VRP that covers the prefix, the longest first.
    pub covering: Vec<Vrp>,
}

impl Vrp {
    /// A VRP.
    ///
    /// # Errors
    /// Host bits in the prefix, or a maximum length that no prefix within it can have.
    pub fn new(prefix: IpNet, max_length: u8, asn: Asn) -> Result<Self, NotAVrp> {
        if prefix != prefix.trunc() {
            return Err(NotAVrp::HostBits(prefix));
        }
        if !(prefix.prefix_len()..=prefix.max_prefix_len()).contains(&max_length) {
            return Err(NotAVrp::MaxLength { prefix, max_length });
        }
        Ok(Self { prefix, max_length, asn })
    }

    /// What it is about.
    #[must_use]
    pub const fn prefix(&self) -> IpNet {
        self.prefix
    }

    /// The longest prefix that it allows.
    #[must_use]
    pub const fn max_length(&self) -> u8 {
        self.max_length
    }

    /// Who may originate it; 0: nobody (RFC 6483 §4).
    #[must_use]
    pub const fn asn(&self) -> Asn {
        self.asn
    }

    /// Whether it covers `prefix` (RFC 6811 §2).
    #[must_use]
    pub fn covers(&self, prefix: &IpNet) -> bool {
        self.prefix.contains(prefix)
    }

    /// Whether it allows `origin` to announce `prefix`, which it covers.
    fn allows(&self, prefix: &IpNet, origin: Option<Asn>) -> bool {
        // No route can match AS 0 (RFC 6483 §4, RFC 7607 §2).
        self.asn != Asn(0) && origin == Some(self.asn) && prefix.prefix_len() <= self.max_length
    }
}

impl fmt::Display for Vrp {
    /// `192.0.2.0/24-28 AS64500`; without the second length if it is the first.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.prefix.fmt(f)?;
        if self.max_length > self.prefix.prefix_len() {
            write!(f, "-{}", self.max_length)?;
        }
        write!(f, " AS{}", self.asn)
    }
}

/// The origin of a path (RFC 6811 §2, "Route Origin ASN"): its last AS; our own where the path is
/// empty or ends within our confederation; none where it ends with an AS_SET.
#[must_use]
pub fn origin(path: &AsPath, own: Asn) -> Option<Asn> {
    match path.segments().last() {
        None => Some(own),
        Some(segment) if segment.kind.is_confederation() => Some(own),
        Some(segment) if segment.kind == SegmentKind::AsSequence => segment.asns.last().copied(),
        Some(_) => None,
    }
}

impl Validity {
    /// Every state.
    pub const ALL: [Self; 3] = [Self::Valid, Self::NotFound, Self::Invalid];

    /// `valid`, `not-found` or `invalid`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Valid => "valid",
            Self::NotFound => "not-found",
            Self::Invalid => "invalid",
        }
    }
}

impl fmt::Display for Validity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl Finding {
    /// Why a prefix is invalid, in words; `None` if it is not.
    #[must_use]
    pub fn why_invalid(&self, prefix: &IpNet) -> Option<String> {
        if self.validity != Validity::Invalid {
            return None;
        }
        let Some(origin) = self.origin else {
            return Some("its path ends with a set, so nobody vouches for its origin".to_owned());
        };
        let ours: Vec<&Vrp> = self.covering.iter().filter(|vrp| vrp.asn == origin).collect();
        let longest = ours.iter().map(|vrp| vrp.max_length).max();
        Some(match longest {
            Some(longest) if origin != Asn(0) => format!(
                "AS{origin} may announce prefixes of at most /{longest} there, and this is a /{}",
                prefix.prefix_len()
            ),
            _ => {
                let mut others: Vec<Asn> = self.covering.iter().map(|vrp| vrp.asn).collect();
                others.sort_unstable();
                others.dedup();
                let named: Vec<String> =
                    others.iter().filter(|asn| asn.0 != 0).map(|asn| format!("AS{asn}")).collect();
                match named.as_slice() {
                    [] => "its holder says that nobody may announce it (AS 0)".to_owned(),
                    named => format!("AS{origin} may not announce it, only {}", named.join(", ")),
                }
            }
        })
    }
}

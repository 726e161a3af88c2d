//! Autonomous system numbers (RFC 6793), written in asplain (RFC 5396).

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// A four-octet autonomous system number.
#[derive(
    Clone, Copy, Debug, Default, Deserialize, Eq, Hash, Ord, PartialEq, PartialOrd, Serialize,
)]
#[serde(transparent)]
pub struct Asn(pub u32);

impl Asn {
    /// Stands in for a four-octet number towards a two-octet speaker (RFC 6793 §9).
    pub const TRANS: Self = Self(23456);
    /// [`TRANS`](Self::TRANS) as the two octets in which it travels.
    pub(crate) const TRANS_TWO_OCTET: u16 = 23456;

    /// Whether two octets can hold the number (RFC 6793 §3).
    #[must_use]
    pub const fn is_two_octet(self) -> bool {
        self.0 <= u16::MAX as u32
    }

    /// Whether the number is for private use (RFC 6996).
    #[must_use]
    pub const fn is_private(self) -> bool {
        matches!(self.0, 64512..=65534 | 4_200_000_000..=4_294_967_294)
    }

    /// Whether the number is for documentation (RFC 5398).
    #[must_use]
    pub const fn is_documentation(self) -> bool {
        matches!(self.0, 64496..=64511 | 65536..=65551)
    }

    /// Whether the number may never name a speaker: 0 (RFC 7607), AS_TRANS (RFC 6793) and the
    /// last of each range (RFC 7300).
    #[must_use]
    pub const fn is_reserved(self) -> bool {
        matches!(self.0, 0 | 23456 | 65535 | u32::MAX)
    }
}

impl fmt::Display for Asn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl FromStr for Asn {
    type Err = std::num::ParseIntError;

    /// Reads `64500` or `AS64500`.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let digits = text.strip_prefix("AS").or_else(|| text.strip_prefix("as")).unwrap_or(text);
        digits.parse().map(Self)
    }
}

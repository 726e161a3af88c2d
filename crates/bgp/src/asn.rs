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
        // A sign is no digit, though the standard library reads one.
        digits.strip_prefix('+').map_or(digits, |_| "+").parse().map(Self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_read_with_or_without_as() {
        for (text, want) in [
            ("64500", Some(64500)),
            ("AS64500", Some(64500)),
            ("as4294967295", Some(u32::MAX)),
            ("4294967296", None),
            ("1.0", None),
            ("+1", None),
            ("-1", None),
            ("AS", None),
            ("", None),
        ] {
            assert_eq!(text.parse().ok(), want.map(Asn), "{text}");
        }
    }

    #[test]
    fn ranges_end_where_the_registry_says() {
        // (number, private, documentation, reserved)
        for (number, private, documentation, reserved) in [
            (0, false, false, true),
            (1, false, false, false),
            (23456, false, false, true),
            (64495, false, false, false),
            (64496, false, true, false),
            (64511, false, true, false),
            (64512, true, false, false),
            (65534, true, false, false),
            (65535, false, false, true),
            (65536, false, true, false),
            (65551, false, true, false),
            (65552, false, false, false),
            (4_199_999_999, false, false, false),
            (4_200_000_000, true, false, false),
            (4_294_967_294, true, false, false),
            (4_294_967_295, false, false, true),
        ] {
            let asn = Asn(number);
            let got = (asn.is_private(), asn.is_documentation(), asn.is_reserved());
            assert_eq!(got, (private, documentation, reserved), "{asn}");
            assert_eq!(asn.is_two_octet(), number < 65536, "{asn}");
        }
    }
}

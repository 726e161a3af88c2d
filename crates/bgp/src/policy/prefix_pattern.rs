//! Prefix patterns as text and their meaning.

use std::fmt;
use std::str::FromStr;

use ipnet::IpNet;

use super::PrefixPattern;

/// Why a text is not a prefix pattern.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum NotAPrefixPattern {
    /// No prefix where one was expected.
    #[error("`{0}` is not a prefix: write 192.0.2.0/24 or 2001:db8::/32")]
    Prefix(String),
    /// Octets behind the prefix length are not zero.
    #[error("{given} has host bits set: the prefix is {prefix}")]
    HostBits {
        /// What was written.
        given: IpNet,
        /// The prefix that it is in.
        prefix: IpNet,
    },
    /// Something else than `ge N`, `le N` or `+` after the prefix.
    #[error("expected `ge N`, `le N` or `+` after the prefix, not `{0}`")]
    Suffix(String),
    /// The lengths do not rise from the prefix's own to that of an address.
    #[error("lengths must rise: {length} (the prefix's) ≤ ge {ge} ≤ le {le} ≤ {max}")]
    Lengths {
        /// The prefix's own length.
        length: u8,
        /// The shortest length wanted.
        ge: u8,
        /// The longest length wanted.
        le: u8,
        /// The length of an address.
        max: u8,
    },
}

impl PrefixPattern {
    /// The prefix alone.
    #[must_use]
    pub fn exactly(net: IpNet) -> Self {
        Self { net, ge: net.prefix_len(), le: net.prefix_len() }
    }

    /// The prefix and all within it.
    #[must_use]
    pub fn within(net: IpNet) -> Self {
        Self { net, ge: net.prefix_len(), le: net.max_prefix_len() }
    }

    /// Whether `prefix` is in the pattern's prefix and of a length that it covers.
    #[must_use]
    pub fn matches(&self, prefix: &IpNet) -> bool {
        (self.ge..=self.le).contains(&prefix.prefix_len()) && self.net.contains(prefix)
    }
}

impl From<IpNet> for PrefixPattern {
    fn from(net: IpNet) -> Self {
        Self::exactly(net)
    }
}

impl FromStr for PrefixPattern {
    type Err = NotAPrefixPattern;

    fn from_str(text: &str) -> Result<Self, NotAPrefixPattern> {
        let text = text.trim();
        if let Some(prefix) = text.strip_suffix('+') {
            return parse_prefix(prefix.trim_end()).map(Self::within);
        }
        let mut words = text.split_whitespace();
        let net = parse_prefix(words.next().unwrap_or_default())?;
        let (mut ge, mut le) = (None, None);
        while let Some(word) = words.next() {
            let bound = match word {
                "ge" => &mut ge,
                "le" => &mut le,
                _ => return Err(NotAPrefixPattern::Suffix(word.to_owned())),
            };
            let digits = words.next().unwrap_or_default();
            match digits.parse::<u8>() {
                Ok(length) if bound.is_none() => *bound = Some(length),
                _ => return Err(NotAPrefixPattern::Suffix(format!("{word} {digits}"))),
            }
        }
        let (length, max) = (net.prefix_len(), net.max_prefix_len());
        let longest = if ge.is_some() { max } else { length };
        let (ge, le) = (ge.unwrap_or(length), le.unwrap_or(longest));
        if length <= ge && ge <= le && le <= max {
            Ok(Self { net, ge, le })
        } else {
            Err(NotAPrefixPattern::Lengths { length, ge, le, max })
        }
    }
}

fn parse_prefix(text: &str) -> Result<IpNet, NotAPrefixPattern> {
    let given: IpNet = text.parse().map_err(|_| NotAPrefixPattern::Prefix(text.to_owned()))?;
    let prefix = given.trunc();
    if prefix == given { Ok(prefix) } else { Err(NotAPrefixPattern::HostBits { given, prefix }) }
}

impl fmt::Display for PrefixPattern {
    /// The shortest text that is read as this pattern.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (length, max) = (self.net.prefix_len(), self.net.max_prefix_len());
        write!(f, "{}", self.net)?;
        match (self.ge, self.le) {
            (ge, le) if ge == length && le == length => Ok(()),
            (ge, le) if ge == length && le == max => f.write_str("+"),
            (ge, le) if ge == length => write!(f, " le {le}"),
            (ge, le) if le == max => write!(f, " ge {ge}"),
            (ge, le) => write!(f, " ge {ge} le {le}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_are_read_and_written_shortest() {
        // (text, ge, le, shortest text)
        for (text, ge, le, shortest) in [
            ("10.0.0.0/8", 8, 8, "10.0.0.0/8"),
            ("10.0.0.0/8 ge 16 le 24", 16, 24, "10.0.0.0/8 ge 16 le 24"),
            ("10.0.0.0/8 le 24 ge 16", 16, 24, "10.0.0.0/8 ge 16 le 24"),
            ("10.0.0.0/8 ge 16", 16, 32, "10.0.0.0/8 ge 16"),
            ("10.0.0.0/8 le 24", 8, 24, "10.0.0.0/8 le 24"),
            ("10.0.0.0/8+", 8, 32, "10.0.0.0/8+"),
            ("10.0.0.0/8 le 32", 8, 32, "10.0.0.0/8+"),
            ("10.0.0.0/8 ge 8", 8, 32, "10.0.0.0/8+"),
            ("192.0.2.1/32+", 32, 32, "192.0.2.1/32"),
            (" 2001:db8::/32 ge 48 le 48 ", 48, 48, "2001:db8::/32 ge 48 le 48"),
            ("::/0+", 0, 128, "::/0+"),
        ] {
            let pattern: PrefixPattern = text.parse().unwrap();
            assert_eq!((pattern.ge, pattern.le), (ge, le), "{text}");
            assert_eq!(pattern.to_string(), shortest, "{text}");
            assert_eq!(shortest.parse(), Ok(pattern), "{text}");
        }
    }

    #[test]
    fn what_is_no_pattern_is_refused_and_says_why() {
        for (text, why) in [
            ("", "`` is not a prefix: write 192.0.2.0/24 or 2001:db8::/32"),
            ("10.0.0.0", "`10.0.0.0` is not a prefix: write 192.0.2.0/24 or 2001:db8::/32"),
            ("10.0.0.0/33", "`10.0.0.0/33` is not a prefix: write 192.0.2.0/24 or 2001:db8::/32"),
            ("10.1.0.0/8", "10.1.0.0/8 has host bits set: the prefix is 10.0.0.0/8"),
            ("10.0.0.0/8 gt 9", "expected `ge N`, `le N` or `+` after the prefix, not `gt`"),
            ("10.0.0.0/8 ge", "expected `ge N`, `le N` or `+` after the prefix, not `ge `"),
            ("10.0.0.0/8 ge x", "expected `ge N`, `le N` or `+` after the prefix, not `ge x`"),
            ("10.0.0.0/8 ge 9 ge 9", "expected `ge N`, `le N` or `+` after the prefix, not `ge 9`"),
            ("10.0.0.0/8 ge 7", "lengths must rise: 8 (the prefix's) ≤ ge 7 ≤ le 32 ≤ 32"),
            ("10.0.0.0/8 le 33", "lengths must rise: 8 (the prefix's) ≤ ge 8 ≤ le 33 ≤ 32"),
            ("10.0.0.0/8 ge 24 le 16", "lengths must rise: 8 (the prefix's) ≤ ge 24 ≤ le 16 ≤ 32"),
        ] {
            let error = text.parse::<PrefixPattern>().unwrap_err();
            assert_eq!(error.to_string(), why, "{text}");
        }
    }

    #[test]
    fn a_pattern_covers_both_its_ends_and_nothing_beyond() {
        for (pattern, prefix, covers) in [
            ("10.0.0.0/8", "10.0.0.0/8", true),
            ("10.0.0.0/8", "10.0.0.0/9", false),
            ("10.0.0.0/8", "0.0.0.0/7", false),
            ("10.0.0.0/8", "11.0.0.0/8", false),
            ("10.0.0.0/8 ge 16 le 24", "10.0.0.0/15", false),
            ("10.0.0.0/8 ge 16 le 24", "10.2.0.0/16", true),
            ("10.0.0.0/8 ge 16 le 24", "10.2.3.0/24", true),
            ("10.0.0.0/8 ge 16 le 24", "10.2.3.0/25", false),
            ("10.0.0.0/8 ge 16 le 24", "11.2.3.0/24", false),
            ("10.0.0.0/8+", "10.2.3.4/32", true),
            ("0.0.0.0/0+", "2001:db8::/32", false),
            ("::/0+", "2001:db8::/32", true),
        ] {
            let parsed: PrefixPattern = pattern.parse().unwrap();
            assert_eq!(parsed.matches(&prefix.parse().unwrap()), covers, "{pattern}: {prefix}");
        }
    }
}

//! Patterns of plain and large communities: any part may be `*`.

use std::fmt;
use std::str::FromStr;

use crate::community::{NotACommunity, number};
use crate::{Community, LargeCommunity};

/// A plain community with parts that may be anything: `64500:120`, `64500:*`, `*:666`.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub struct CommunityPattern {
    /// The first part; `None`: any.
    pub high: Option<u16>,
    /// The second part; `None`: any.
    pub low: Option<u16>,
}

/// A large community with parts that may be anything: `64500:1:*`.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub struct LargeCommunityPattern {
    /// The global administrator; `None`: any.
    pub global: Option<u32>,
    /// Local data, part 1; `None`: any.
    pub local1: Option<u32>,
    /// Local data, part 2; `None`: any.
    pub local2: Option<u32>,
}

impl CommunityPattern {
    /// Whether the community fits.
    #[must_use]
    pub fn matches(self, community: Community) -> bool {
        let [high, low] = [community.0 >> 16, community.0 & 0xffff];
        fits(self.high.map(u32::from), high) && fits(self.low.map(u32::from), low)
    }

    /// Whether one of the sorted communities fits.
    pub(super) fn is_in(self, sorted: &[Community]) -> bool {
        match (self.high, self.low) {
            (Some(high), Some(low)) => {
                let exactly = Community(u32::from(high) << 16 | u32::from(low));
                sorted.binary_search(&exactly).is_ok()
            }
            _ => sorted.iter().any(|community| self.matches(*community)),
        }
    }
}

impl LargeCommunityPattern {
    /// Whether the community fits.
    #[must_use]
    pub fn matches(&self, community: LargeCommunity) -> bool {
        fits(self.global, community.global)
            && fits(self.local1, community.local1)
            && fits(self.local2, community.local2)
    }

    /// Whether one of the communities fits.
    pub(super) fn is_in(&self, communities: &[LargeCommunity]) -> bool {
        communities.iter().any(|community| self.matches(*community))
    }
}

fn fits(wanted: Option<u32>, part: u32) -> bool {
    wanted.is_none_or(|wanted| wanted == part)
}

impl From<Community> for CommunityPattern {
    fn from(Community(number): Community) -> Self {
        let [a, b, c, d] = number.to_be_bytes();
        Self { high: Some(u16::from_be_bytes([a, b])), low: Some(u16::from_be_bytes([c, d])) }
    }
}

impl From<LargeCommunity> for LargeCommunityPattern {
    fn from(LargeCommunity { global, local1, local2 }: LargeCommunity) -> Self {
        Self { global: Some(global), local1: Some(local1), local2: Some(local2) }
    }
}

/// A part of a pattern.
fn part<T: FromStr>(text: &str) -> Result<Option<T>, NotACommunity> {
    if text == "*" { Ok(None) } else { number(text).map(Some) }
}

impl FromStr for CommunityPattern {
    type Err = NotACommunity;

    fn from_str(text: &str) -> Result<Self, NotACommunity> {
        if let Ok(community) = text.parse::<Community>() {
            return Ok(community.into());
        }
        let (high, low) = text.split_once(':').ok_or(NotACommunity)?;
        Ok(Self { high: part(high)?, low: part(low)? })
    }
}

impl FromStr for LargeCommunityPattern {
    type Err = NotACommunity;

    fn from_str(text: &str) -> Result<Self, NotACommunity> {
        let mut parts = text.split(':').map(part);
        let mut next = || parts.next().ok_or(NotACommunity)?;
        let pattern = Self { global: next()?, local1: next()?, local2: next()? };
        if parts.next().is_some() { Err(NotACommunity) } else { Ok(pattern) }
    }
}

/// `*` for any.
struct Part<T>(Option<T>);

impl<T: fmt::Display> fmt::Display for Part<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Some(number) => number.fmt(f),
            None => f.write_str("*"),
        }
    }
}

impl fmt::Display for CommunityPattern {
    /// The well-known name if there is one, else `high:low`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.high, self.low) {
            (Some(high), Some(low)) => Community(u32::from(high) << 16 | u32::from(low)).fmt(f),
            (high, low) => write!(f, "{}:{}", Part(high), Part(low)),
        }
    }
}

impl fmt::Display for LargeCommunityPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}:{}", Part(self.global), Part(self.local1), Part(self.local2))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_star_is_any_number_in_its_part_alone() {
        let communities = ["64500:120", "64500:0", "64501:120", "no-export"];
        for (pattern, fitting) in [
            ("64500:120", &["64500:120"][..]),
            ("64500:*", &["64500:120", "64500:0"]),
            ("*:120", &["64500:120", "64501:120"]),
            ("*:*", &communities),
            ("no-export", &["no-export"]),
            ("65535:*", &["no-export"]),
            ("64500:1", &[]),
        ] {
            let parsed: CommunityPattern = pattern.parse().unwrap();
            assert_eq!(parsed.to_string(), pattern);
            for text in communities {
                let community: Community = text.parse().unwrap();
                let fits = fitting.contains(&text);
                assert_eq!(parsed.matches(community), fits, "{pattern}: {text}");
                assert_eq!(parsed.is_in(&[community]), fits, "{pattern}: {text}");
            }
        }
        let communities = ["64500:1:2", "64500:1:3", "64500:2:2", "64501:1:2"];
        for (pattern, fitting) in [
            ("64500:1:2", &["64500:1:2"][..]),
            ("64500:1:*", &["64500:1:2", "64500:1:3"]),
            ("64500:*:2", &["64500:1:2", "64500:2:2"]),
            ("*:1:2", &["64500:1:2", "64501:1:2"]),
            ("*:*:*", &communities),
        ] {
            let parsed: LargeCommunityPattern = pattern.parse().unwrap();
            assert_eq!(parsed.to_string(), pattern);
            for text in communities {
                let fits = fitting.contains(&text);
                assert_eq!(parsed.matches(text.parse().unwrap()), fits, "{pattern}: {text}");
            }
        }
    }

    #[test]
    fn what_is_no_pattern_is_refused() {
        for text in ["", "*", "64500:", "64500:**", "64500:1*", "65536:*", "*:*:*", "+1:*"] {
            assert_eq!(text.parse::<CommunityPattern>(), Err(NotACommunity), "{text}");
        }
        for text in ["", "*", "64500:*", "64500:*:", "*:*:*:*", "4294967296:*:*", "1:+2:*"] {
            assert_eq!(text.parse::<LargeCommunityPattern>(), Err(NotACommunity), "{text}");
        }
    }
}

//! Patterns of AS paths: as text, and whether a path fits.
//!
//! An AS is one symbol, so that `64500` never fits a part of `645001`. A pattern is matched in
//! time proportional to the path, whatever the pattern: all its places are tried at once.

use std::fmt;
use std::ops::RangeInclusive;
use std::str::FromStr;

use crate::AsPath;
use crate::as_path::SegmentKind;

/// The longest pattern: its places are the bits of one number.
const MOST_SYMBOLS: usize = 127;

/// A pattern of AS paths, as `^64500 .* [64512-65534]$`.
///
/// | text | what it fits |
/// |---|---|
/// | `64500` | this AS |
/// | `.` | any one AS |
/// | `[64500 64512-65534]` | any one of these ASes |
/// | `?`, `*`, `+` behind one of the above | at most one of it, any number, at least one |
/// | `^` at the start, `$` at the end | the path's start, its end; without them the pattern may stand anywhere |
///
/// An AS_SET is one symbol, which any of its members fits; confederation segments are passed over.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct PathPattern {
    text: String,
    symbols: Vec<Symbol>,
    from_start: bool,
    to_end: bool,
}

#[derive(Clone, Debug, Eq, PartialEq)]
struct Symbol {
    /// Any AS, if there are none.
    asns: Vec<RangeInclusive<u32>>,
    may_be_absent: bool,
    may_repeat: bool,
}

/// Why a text is not a path pattern.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum NotAPathPattern {
    /// Something else than an AS number where one must be.
    #[error("`{0}` is not an AS number")]
    Asn(String),
    /// A range from the greater to the lesser.
    #[error("the range `{0}` is empty: the lower number goes first")]
    EmptyRange(String),
    /// `[` without `]`, or nothing between them.
    #[error("`[` needs AS numbers and a `]` behind them")]
    Brackets,
    /// `?`, `*` or `+` behind nothing that could be repeated.
    #[error("`{0}` must stand directly behind an AS, `.` or `]`")]
    NothingToRepeat(char),
    /// A character that has no meaning here.
    #[error(
        "`{0}` has no meaning here: write AS numbers, `.`, `[64512-65534]`, `?`, `*`, `+`; `^` first, `$` last"
    )]
    Character(char),
    /// More symbols than 127.
    #[error("the pattern has more than {MOST_SYMBOLS} symbols")]
    TooLong,
}

impl PathPattern {
    /// Whether the path fits.
    #[must_use]
    pub fn matches(&self, path: &AsPath) -> bool {
        let end = 1_u128 << self.symbols.len();
        // A bit for each place in the pattern that has been reached.
        let mut places = self.passed_over(1);
        let mut found = !self.to_end && places & end != 0;
        for members in elements(path) {
            if found {
                return true;
            }
            let mut next = u128::from(!self.from_start);
            for (at, symbol) in self.symbols.iter().enumerate() {
                let place = 1 << at;
                if places & place != 0 && symbol.fits(members) {
                    next |= if symbol.may_repeat { place | place << 1 } else { place << 1 };
                }
            }
            places = self.passed_over(next);
            found = !self.to_end && places & end != 0;
        }
        places & end != 0
    }

    /// The places, and those behind symbols that may be absent.
    fn passed_over(&self, mut places: u128) -> u128 {
        for (at, symbol) in self.symbols.iter().enumerate() {
            if symbol.may_be_absent {
                places |= (places & 1 << at) << 1;
            }
        }
        places
    }
}

/// The path as symbols: the numbers that each may stand for.
fn elements(path: &AsPath) -> impl Iterator<Item = &[crate::Asn]> {
    path.segments().filter(|segment| !segment.kind.is_confederation()).flat_map(|segment| {
        let size = if segment.kind == SegmentKind::AsSet { segment.asns.len() } else { 1 };
        segment.asns.chunks(size.max(1))
    })
}

impl Symbol {
    fn fits(&self, members: &[crate::Asn]) -> bool {
        let within = |asn: u32| self.asns.iter().any(|range| range.contains(&asn));
        self.asns.is_empty() || members.iter().any(|asn| within(asn.0))
    }
}

impl FromStr for PathPattern {
    type Err = NotAPathPattern;

    fn from_str(text: &str) -> Result<Self, NotAPathPattern> {
        let trimmed = text.trim();
        let (from_start, rest) = match trimmed.strip_prefix('^') {
            Some(rest) => (true, rest),
            None => (false, trimmed),
        };
        let (to_end, mut rest) = match rest.strip_suffix('$') {
            Some(rest) => (true, rest),
            None => (false, rest),
        };
        let mut symbols: Vec<Symbol> = Vec::new();
        // Whether the character before ends a symbol that is not yet repeated.
        let mut repeatable = false;
        while let Some(first) = rest.chars().next() {
            let taken = match first {
                ' ' | '_' => {
                    repeatable = false;
                    rest = &rest[1..];
                    continue;
                }
                '?' | '*' | '+' => {
                    let last = symbols.last_mut().filter(|_| repeatable);
                    let last = last.ok_or(NotAPathPattern::NothingToRepeat(first))?;
                    last.may_be_absent = first != '+';
                    last.may_repeat = first != '?';
                    repeatable = false;
                    rest = &rest[1..];
                    continue;
                }
                '.' => (Vec::new(), 1),
                '[' => {
                    let end = rest.find(']').ok_or(NotAPathPattern::Brackets)?;
                    let ranges = rest[1..end]
                        .split([' ', ','])
                        .filter(|it| !it.is_empty())
                        .map(range)
                        .collect::<Result<Vec<_>, _>>()?;
                    if ranges.is_empty() {
                        return Err(NotAPathPattern::Brackets);
                    }
                    (ranges, end + 1)
                }
                '0'..='9' => {
                    let end = rest.find(|it: char| !it.is_ascii_digit()).unwrap_or(rest.len());
                    (vec![range(&rest[..end])?], end)
                }
                other => return Err(NotAPathPattern::Character(other)),
            };
            let (asns, len) = taken;
            symbols.push(Symbol { asns, may_be_absent: false, may_repeat: false });
            repeatable = true;
            rest = &rest[len..];
        }
        if symbols.len() > MOST_SYMBOLS {
            return Err(NotAPathPattern::TooLong);
        }
        Ok(Self { text: trimmed.to_owned(), symbols, from_start, to_end })
    }
}

fn range(text: &str) -> Result<RangeInclusive<u32>, NotAPathPattern> {
    let number =
        |digits: &str| digits.parse::<u32>().map_err(|_| NotAPathPattern::Asn(digits.to_owned()));
    let (low, high) = match text.split_once('-') {
        Some((low, high)) => (number(low)?, number(high)?),
        None => (number(text)?, number(text)?),
    };
    if low <= high { Ok(low..=high) } else { Err(NotAPathPattern::EmptyRange(text.to_owned())) }
}

impl fmt::Display for PathPattern {
    /// As it was written.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Asn;
    use crate::as_path::Building;

    fn path(segments: &[(SegmentKind, &[u32])]) -> AsPath {
        let mut path = Building::with_room(0);
        for (kind, asns) in segments {
            path.push(*kind, asns.iter().copied().map(Asn));
        }
        path.finish()
    }

    #[test]
    fn a_path_fits_or_not() {
        type Row<'a> = (&'a str, &'a [&'a [u32]], &'a [&'a [u32]]);
        let table: &[Row] = &[
            ("", &[&[], &[1]], &[]),
            ("^$", &[&[]], &[&[1]]),
            ("^1$", &[&[1]], &[&[], &[2], &[1, 1], &[11]]),
            ("1", &[&[1], &[2, 1, 3]], &[&[], &[11], &[2]]),
            ("^1", &[&[1], &[1, 2]], &[&[2, 1]]),
            ("1$", &[&[1], &[2, 1], &[1, 1]], &[&[1, 2]]),
            ("1 2", &[&[1, 2], &[0, 1, 1, 2, 3]], &[&[1, 3, 2], &[2, 1], &[12]]),
            ("^1 .* 3$", &[&[1, 3], &[1, 2, 3], &[1, 3, 2, 3]], &[&[1], &[1, 3, 2], &[0, 1, 3]]),
            ("^1+ 2?$", &[&[1], &[1, 1, 1], &[1, 1, 2]], &[&[], &[2], &[1, 2, 2]]),
            ("^.$", &[&[7]], &[&[], &[7, 7]]),
            ("^. . .+$", &[&[1, 2, 3], &[1, 2, 3, 4]], &[&[1, 2]]),
            ("[64512-65534 4200000000-4294967294]", &[&[1, 64512], &[4_294_967_294]], &[&[64511]]),
            ("^[1,3]*$", &[&[], &[1, 3, 3, 1]], &[&[1, 2]]),
            ("1* 2", &[&[2], &[1, 1, 2]], &[&[1, 1]]),
        ];
        for &(pattern, fitting, others) in table {
            let parsed: PathPattern = pattern.parse().unwrap();
            assert_eq!(parsed.to_string(), pattern);
            for asns in fitting {
                assert!(parsed.matches(&AsPath::sequence(asns)), "{pattern}: {asns:?}");
            }
            for asns in others {
                assert!(!parsed.matches(&AsPath::sequence(asns)), "{pattern}: {asns:?}");
            }
        }
    }

    #[test]
    fn a_set_is_one_symbol_and_confederations_are_none() {
        use SegmentKind::{AsConfedSequence, AsSequence, AsSet};
        let path = path(&[(AsConfedSequence, &[9]), (AsSequence, &[1]), (AsSet, &[2, 3])]);
        for (pattern, fits) in [("^1 2$", true), ("^1 3$", true), ("^1 2 3$", false), ("9", false)]
        {
            assert_eq!(pattern.parse::<PathPattern>().unwrap().matches(&path), fits, "{pattern}");
        }
    }

    #[test]
    fn what_is_no_pattern_is_refused_and_says_why() {
        for (text, why) in [
            (
                "x",
                "`x` has no meaning here: write AS numbers, `.`, `[64512-65534]`, `?`, `*`, `+`; `^` first, `$` last",
            ),
            (
                "1 ^2",
                "`^` has no meaning here: write AS numbers, `.`, `[64512-65534]`, `?`, `*`, `+`; `^` first, `$` last",
            ),
            ("4294967296", "`4294967296` is not an AS number"),
            ("[1-x]", "`x` is not an AS number"),
            ("[2-1]", "the range `2-1` is empty: the lower number goes first"),
            ("[1", "`[` needs AS numbers and a `]` behind them"),
            ("[]", "`[` needs AS numbers and a `]` behind them"),
            ("* 1", "`*` must stand directly behind an AS, `.` or `]`"),
            ("1 *", "`*` must stand directly behind an AS, `.` or `]`"),
            ("1**", "`*` must stand directly behind an AS, `.` or `]`"),
        ] {
            assert_eq!(text.parse::<PathPattern>().unwrap_err().to_string(), why, "{text}");
        }
        let symbols = |count| ". ".repeat(count).parse::<PathPattern>();
        assert!(symbols(127).unwrap().matches(&AsPath::sequence(&[1; 127])));
        assert_eq!(symbols(128), Err(NotAPathPattern::TooLong));
    }
}

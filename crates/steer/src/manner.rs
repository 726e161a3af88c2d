//! How a prefix is told to a neighbor.

use std::fmt;

use serde::Serialize;

/// GRACEFUL_SHUTDOWN (RFC 8326): who hears it prefers every other route.
pub const GRACEFUL_SHUTDOWN: u32 = 0xffff_0000;

/// What an announcement carries beyond what the operator's policy gives it. The default is
/// nothing: a plain announcement.
#[derive(Clone, Debug, Default, Eq, Hash, PartialEq, Serialize)]
pub struct Manner {
    /// So many times more our number.
    pub prepend: u8,
    /// MULTI_EXIT_DISC in place of the file's.
    pub med: Option<u32>,
    /// Communities (RFC 1997) to add, ascending and each once.
    pub communities: Vec<u32>,
}

impl Manner {
    /// Whether it adds nothing.
    pub fn is_plain(&self) -> bool {
        *self == Self::default()
    }

    /// Both at once: the more prepends, the higher MED, all communities.
    #[must_use]
    pub fn and(&self, other: &Self) -> Self {
        let mut communities = [&self.communities[..], &other.communities[..]].concat();
        communities.sort_unstable();
        communities.dedup();
        Self { prepend: self.prepend.max(other.prepend), med: self.med.max(other.med), communities }
    }
}

/// As part of a sentence: `plainly`, or `with 3 prepends and community 65535:0`.
impl fmt::Display for Manner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut parts = Vec::new();
        match self.prepend {
            0 => {}
            1 => parts.push("1 prepend".to_owned()),
            many => parts.push(format!("{many} prepends")),
        }
        parts.extend(self.med.map(|med| format!("MED {med}")));
        let communities = self.communities.iter();
        parts.extend(communities.map(|it| format!("community {}:{}", it >> 16, it & 0xffff)));
        match parts.split_last() {
            None => f.write_str("plainly"),
            Some((last, [])) => write!(f, "with {last}"),
            Some((last, before)) => write!(f, "with {} and {last}", before.join(", ")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_manners_at_once_are_the_stronger_of_each() {
        let table = [
            (Manner::default(), Manner::default(), "plainly"),
            (Manner { prepend: 1, ..Manner::default() }, Manner::default(), "with 1 prepend"),
            (
                Manner { prepend: 2, med: Some(10), communities: vec![GRACEFUL_SHUTDOWN] },
                Manner { prepend: 3, med: None, communities: vec![0xfbf4_0001, GRACEFUL_SHUTDOWN] },
                "with 3 prepends, MED 10, community 64500:1 and community 65535:0",
            ),
        ];
        for (one, other, words) in table {
            assert_eq!(one.and(&other).to_string(), words);
            assert_eq!(other.and(&one), one.and(&other));
        }
    }
}

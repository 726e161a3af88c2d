//! Business relations between ASes, as CAIDA's files state them.
//!
//! Two formats are read, alone or mixed, one link a line (CAIDA, "AS Relationships"):
//!
//! ```text
//! # a comment
//! 64500|64501|-1        serial-1: 64500 is a provider of 64501
//! 64500|64502|0         the two are peers
//! 64500|64502|0|bgp     serial-2: the same, and where it was seen
//! 64500|64503|2         the two are siblings (not in today's files; their format before 2013)
//! ```
//!
//! What a line may not say: a number that names no AS, a link of an AS to itself, a relation that
//! contradicts an earlier line. Saying the same twice is harmless and counted. Provider cycles
//! are found when the links become a [`Graph`](crate::Graph), where they matter.

use anycast_bgp::Asn;

/// What the first AS of a link is to the second.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub enum Relationship {
    /// The second pays the first.
    ProviderOf,
    /// Each gives the other its own and its customers' routes.
    Peer,
    /// One organisation: each gives the other all its routes.
    Sibling,
}

/// One link between two ASes.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct Link {
    /// The first AS.
    pub a: Asn,
    /// The second AS.
    pub b: Asn,
    /// What the first is to the second.
    pub relationship: Relationship,
}

/// A route server: its members peer with each other through it, and its own number is not in the
/// paths (RFC 7947 §2.2.2.1).
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct RouteServer {
    /// The route server's number.
    pub asn: Asn,
    /// Its members.
    pub members: Vec<Asn>,
}

/// Links without contradiction.
#[derive(Clone, Debug, Default)]
pub struct Relationships {
    links: Vec<Link>,
    duplicates: usize,
    route_servers: Vec<RouteServer>,
}

/// Why relationships cannot be used.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum TopologyError {
    /// A line has too few or too many fields.
    #[error(
        "line {line}: {fields} fields instead of 3 or 4: expected AS|AS|relation or AS|AS|relation|source"
    )]
    Fields {
        /// Counted from 1.
        line: usize,
        /// How many there are.
        fields: usize,
    },
    /// A field that should be an AS number is none.
    #[error("line {line}: `{text}` is not an AS number (1 to 4294967294)")]
    Asn {
        /// Counted from 1.
        line: usize,
        /// The field, at most 40 characters of it.
        text: String,
    },
    /// The relation is not one of the known.
    #[error(
        "line {line}: `{text}` is not a relation: -1 (first is provider of second), 0 (peers) or 2 (siblings)"
    )]
    Relation {
        /// Counted from 1.
        line: usize,
        /// The field, at most 40 characters of it.
        text: String,
    },
    /// A link of an AS to itself.
    #[error("line {line}: AS{asn} is linked to itself; remove the line")]
    SelfLink {
        /// Counted from 1; 0 if the link did not come from a file.
        line: usize,
        /// The AS.
        asn: Asn,
    },
    /// Two lines contradict each other.
    #[error(
        "line {line} says that {second}, but line {first_line} says that {first}; remove one of them"
    )]
    Contradiction {
        /// The later line, counted from 1.
        line: usize,
        /// The earlier line.
        first_line: usize,
        /// What the later line says.
        second: Says,
        /// What the earlier line says.
        first: Says,
    },
}

/// A link in words.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Says(pub Link);

impl std::fmt::Display for Says {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Link { a, b, relationship } = self.0;
        match relationship {
            Relationship::ProviderOf => write!(f, "AS{a} is a provider of AS{b}"),
            Relationship::Peer => write!(f, "AS{a} and AS{b} are peers"),
            Relationship::Sibling => write!(f, "AS{a} and AS{b} are siblings"),
        }
    }
}

impl Relationships {
    /// Reads a file of serial-1 or serial-2 lines, already decompressed.
    ///
    /// # Errors
    /// The first line that cannot be used, with its number.
    pub fn parse(text: &[u8]) -> Result<Self, TopologyError> {
        let mut links = Vec::with_capacity(text.len() / 16);
        let mut lines = Vec::with_capacity(text.len() / 16);
        for (at, line) in text.split(|octet| *octet == b'\n').enumerate() {
            let line = line.strip_suffix(b"\r").unwrap_or(line);
            if line.is_empty() || line[0] == b'#' {
                continue;
            }
            links.push(link(at + 1, line)?);
            lines.push(at + 1);
        }
        Self::checked(links, &lines)
    }

    /// Takes links that are made elsewhere; the "line" of an error is the place in the list,
    /// counted from 1.
    ///
    /// # Errors
    /// A link of an AS to itself, two links that contradict each other.
    pub fn from_links(links: impl IntoIterator<Item = Link>) -> Result<Self, TopologyError> {
        let links: Vec<Link> = links.into_iter().collect();
        for (at, link) in links.iter().enumerate() {
            if link.a == link.b {
                return Err(TopologyError::SelfLink { line: at + 1, asn: link.a });
            }
        }
        let lines: Vec<usize> = (1..=links.len()).collect();
        Self::checked(links, &lines)
    }

    fn checked(links: Vec<Link>, lines: &[usize]) -> Result<Self, TopologyError> {
        let mut pairs: Vec<(u64, u32)> = Vec::with_capacity(links.len());
        for (at, link) in links.iter().enumerate() {
            let (low, high) = (link.a.min(link.b), link.a.max(link.b));
            let at = u32::try_from(at).expect("fewer lines than numbers");
            pairs.push((u64::from(low.0) << 32 | u64::from(high.0), at));
        }
        pairs.sort_unstable();
        let mut again = Vec::new();
        for pair in pairs.windows(2).filter(|pair| pair[0].0 == pair[1].0) {
            let (first, second) = (pair[0].1 as usize, pair[1].1 as usize);
            if links[first].normal() != links[second].normal() {
                return Err(TopologyError::Contradiction {
                    line: lines[second],
                    first_line: lines[first],
                    second: Says(links[second]),
                    first: Says(links[first]),
                });
            }
            again.push(second);
        }
        let duplicates = again.len();
        let mut links = links;
        if duplicates > 0 {
            again.sort_unstable();
            let mut at = 0;
            links.retain(|_| {
                at += 1;
                again.binary_search(&(at - 1)).is_err()
            });
        }
        Ok(Self { links, duplicates, route_servers: Vec::new() })
    }

    /// The links, in the order in which they were read.
    #[must_use]
    pub fn links(&self) -> &[Link] {
        &self.links
    }

    /// How many lines said again what another line had said.
    #[must_use]
    pub const fn duplicates(&self) -> usize {
        self.duplicates
    }

    /// The route servers, as they were added.
    #[must_use]
    pub fn route_servers(&self) -> &[RouteServer] {
        &self.route_servers
    }

    /// Adds a route server; members that no link names become ASes too.
    pub fn add_route_server(&mut self, route_server: RouteServer) {
        self.route_servers.push(route_server);
    }

    /// Makes `link` hold between its two ASes, whatever was said of them before.
    ///
    /// # Errors
    /// A link of an AS to itself.
    pub fn set(&mut self, link: Link) -> Result<(), TopologyError> {
        if link.a == link.b {
            return Err(TopologyError::SelfLink { line: 0, asn: link.a });
        }
        self.remove(link.a, link.b);
        self.links.push(link);
        Ok(())
    }

    /// Removes the link between two ASes; whether there was one.
    pub fn remove(&mut self, a: Asn, b: Asn) -> bool {
        let before = self.links.len();
        self.links.retain(|link| (link.a, link.b) != (a, b) && (link.a, link.b) != (b, a));
        before != self.links.len()
    }
}

impl Link {
    /// The same for links that say the same.
    fn normal(self) -> (Asn, Asn, Relationship) {
        if self.relationship != Relationship::ProviderOf && self.b < self.a {
            (self.b, self.a, self.relationship)
        } else {
            (self.a, self.b, self.relationship)
        }
    }
}

fn link(line: usize, text: &[u8]) -> Result<Link, TopologyError> {
    let mut fields = text.split(|octet| *octet == b'|');
    let (Some(a), Some(b), Some(relation)) = (fields.next(), fields.next(), fields.next()) else {
        let fields = text.split(|octet| *octet == b'|').count();
        return Err(TopologyError::Fields { line, fields });
    };
    let _source = fields.next();
    if fields.next().is_some() {
        let fields = text.split(|octet| *octet == b'|').count();
        return Err(TopologyError::Fields { line, fields });
    }
    let number =
        |text: &[u8]| asn(text).ok_or_else(|| TopologyError::Asn { line, text: shown(text) });
    let (a, b) = (number(a)?, number(b)?);
    let relationship = match relation {
        b"-1" => Relationship::ProviderOf,
        b"0" => Relationship::Peer,
        b"2" => Relationship::Sibling,
        _ => return Err(TopologyError::Relation { line, text: shown(relation) }),
    };
    if a == b {
        return Err(TopologyError::SelfLink { line, asn: a });
    }
    Ok(Link { a, b, relationship })
}

/// Digits that name an AS; 0 and the last number never do (RFC 7607, RFC 7300).
fn asn(text: &[u8]) -> Option<Asn> {
    if text.is_empty() || text.len() > 10 {
        return None;
    }
    let mut number = 0_u64;
    for octet in text {
        if !octet.is_ascii_digit() {
            return None;
        }
        number = number * 10 + u64::from(octet - b'0');
    }
    u32::try_from(number).ok().filter(|number| !matches!(*number, 0 | u32::MAX)).map(Asn)
}

fn shown(text: &[u8]) -> String {
    String::from_utf8_lossy(text).chars().take(40).collect()
}

#[cfg(test)]
mod tests;

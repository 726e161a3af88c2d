//! AS paths (RFC 4271 §4.3, §5.1.2; confederations RFC 5065).

use std::fmt;

use crate::Asn;

/// A path of autonomous systems, the nearest first. An own, empty path is the default.
///
/// A full table has a hundred thousand of them, so that each is one piece of memory: for each
/// segment its head, the kind over how many numbers, and then the numbers.
#[derive(Clone, Default, Eq, Hash, PartialEq)]
pub struct AsPath(Box<[Asn]>);

/// One segment of a path.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub struct Segment<'a> {
    /// What the numbers mean.
    pub kind: SegmentKind,
    /// One to 255 numbers.
    pub asns: &'a [Asn],
}

/// A path while it is put together, without copies if its room is known.
#[derive(Debug)]
pub(crate) struct Building(Vec<Asn>);

/// The registry "BGP AS_PATH Segment Types".
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
#[expect(missing_docs, reason = "the names are the RFC's own")]
pub enum SegmentKind {
    AsSet = 1,
    AsSequence = 2,
    AsConfedSequence = 3,
    AsConfedSet = 4,
}

impl SegmentKind {
    /// Whether the segment names members of a confederation (RFC 5065 §3).
    #[must_use]
    pub const fn is_confederation(self) -> bool {
        matches!(self, Self::AsConfedSequence | Self::AsConfedSet)
    }

    /// The kind of this number.
    #[must_use]
    pub const fn from_code(code: u8) -> Option<Self> {
        Some(match code {
            1 => Self::AsSet,
            2 => Self::AsSequence,
            3 => Self::AsConfedSequence,
            4 => Self::AsConfedSet,
            _ => return None,
        })
    }
}

/// Of a head, how many bits say how many numbers follow.
const COUNT_BITS: u32 = 16;

impl Building {
    /// With room for so many numbers and heads of segments.
    pub(crate) fn with_room(words: usize) -> Self {
        Self(Vec::with_capacity(words))
    }

    /// Adds a segment behind the others, if it has any numbers.
    ///
    /// # Panics
    /// If there are more than 255 numbers.
    pub(crate) fn push(&mut self, kind: SegmentKind, asns: impl ExactSizeIterator<Item = Asn>) {
        self.begin(kind, asns.len());
        self.0.extend(asns);
    }

    /// Begins a segment of so many numbers, if there are any.
    fn begin(&mut self, kind: SegmentKind, count: usize) {
        let count = u8::try_from(count).expect("one segment holds at most 255 numbers");
        if count > 0 {
            self.0.push(Asn((kind as u32) << COUNT_BITS | u32::from(count)));
        }
    }

    pub(crate) fn finish(self) -> AsPath {
        AsPath(self.0.into_boxed_slice())
    }
}

impl AsPath {
    /// A path that is one sequence; empty if `asns` is.
    ///
    /// # Panics
    /// If there are more than 255 numbers.
    #[must_use]
    pub fn sequence(asns: &[u32]) -> Self {
        let mut path = Building::with_room(1 + asns.len());
        path.push(SegmentKind::AsSequence, asns.iter().copied().map(Asn));
        path.finish()
    }

    /// The path of these segments; those without numbers are left out.
    ///
    /// # Panics
    /// If one has more than 255 numbers.
    pub fn of<'a>(segments: impl IntoIterator<Item = Segment<'a>>) -> Self {
        let mut path = Building::with_room(0);
        for segment in segments {
            path.push(segment.kind, segment.asns.iter().copied());
        }
        path.finish()
    }

    /// The segments as on the wire; none is empty.
    pub fn segments(&self) -> impl Iterator<Item = Segment<'_>> + Clone {
        let mut rest = &*self.0;
        std::iter::from_fn(move || {
            let (head, behind) = rest.split_first()?;
            let (kind, count) = (head.0 >> COUNT_BITS, head.0 & ((1 << COUNT_BITS) - 1));
            let (asns, behind) = behind.split_at(count as usize);
            rest = behind;
            let kind = u8::try_from(kind).ok().and_then(SegmentKind::from_code);
            Some(Segment { kind: kind.expect("a head has the code of a kind"), asns })
        })
    }

    /// Whether there is nothing in it.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The length that the decision process compares: a set counts one, confederation segments
    /// none (RFC 4271 §9.1.2.2 a, RFC 5065 §5.3).
    #[must_use]
    pub fn length(&self) -> usize {
        self.segments()
            .map(|segment| match segment.kind {
                SegmentKind::AsSequence => segment.asns.len(),
                SegmentKind::AsSet => 1,
                SegmentKind::AsConfedSequence | SegmentKind::AsConfedSet => 0,
            })
            .sum()
    }

    /// Every number, in the order of the wire.
    pub fn asns(&self) -> impl Iterator<Item = Asn> + '_ {
        self.segments().flat_map(|segment| segment.asns.iter().copied())
    }

    /// Whether `asn` is anywhere in the path (loop detection, RFC 4271 §9.1.2).
    #[must_use]
    pub fn contains(&self, asn: Asn) -> bool {
        self.asns().any(|other| other == asn)
    }

    /// Whether any of its segments is a set, an AS_SET or AS_CONFED_SET.
    #[must_use]
    pub fn has_set(&self) -> bool {
        let is_set = |kind| matches!(kind, SegmentKind::AsSet | SegmentKind::AsConfedSet);
        self.segments().any(|segment| is_set(segment.kind))
    }

    /// The neighbor AS from which the path came, if the path starts with a sequence.
    #[must_use]
    pub fn first(&self) -> Option<Asn> {
        let segment = self
            .segments()
            .find(|segment| matches!(segment.kind, SegmentKind::AsSequence | SegmentKind::AsSet))?;
        (segment.kind == SegmentKind::AsSequence).then(|| segment.asns[0])
    }

    /// The AS that originated the route, if the path ends with a sequence.
    #[must_use]
    pub fn origin(&self) -> Option<Asn> {
        let segment = self.segments().last()?;
        (segment.kind == SegmentKind::AsSequence).then(|| *segment.asns.last().expect("not empty"))
    }

    /// Rebuilds the path that came through a two-octet speaker: this is its AS_PATH, `as4` its
    /// AS4_PATH (RFC 6793 §4.2.3). What two-octet speakers put in front since the last four-octet
    /// one is kept, the rest is taken from `as4`.
    pub(crate) fn merge_as4(&mut self, as4: &Self) {
        let Some(mut surplus) = self.length().checked_sub(as4.length()) else {
            return;
        };
        let mut merged: Vec<(SegmentKind, Vec<Asn>)> = Vec::new();
        for Segment { kind, mut asns } in self.segments() {
            match kind {
                // Not counted; kept where it leads or adjoins what is kept.
                SegmentKind::AsConfedSequence | SegmentKind::AsConfedSet => {}
                _ if surplus == 0 => break,
                SegmentKind::AsSet => surplus -= 1,
                SegmentKind::AsSequence => {
                    asns = &asns[..asns.len().min(surplus)];
                    surplus -= asns.len();
                }
            }
            merged.push((kind, asns.to_vec()));
        }
        let mut rest = as4.segments().peekable();
        if let (Some((last, asns)), Some(next)) = (merged.last_mut(), rest.peek()) {
            let sequences =
                *last == SegmentKind::AsSequence && next.kind == SegmentKind::AsSequence;
            if sequences && asns.len() + next.asns.len() <= 255 {
                asns.extend(next.asns);
                rest.next();
            }
        }
        let merged = merged.iter().map(|(kind, asns)| Segment { kind: *kind, asns });
        *self = Self::of(merged.chain(rest));
    }

    /// Puts `asn` in front `times` times (RFC 4271 §5.1.2 b); a full segment gets a new one
    /// before it.
    pub fn prepend(&mut self, asn: Asn, times: u8) {
        let asns = vec![asn; times.into()];
        let first = self.segments().next().filter(|it| it.kind == SegmentKind::AsSequence);
        let before = first.map_or(&[][..], |segment| segment.asns);
        // What fits is in the segment that there is.
        let (apart, with) = asns.split_at(asns.len() - asns.len().min(255 - before.len()));
        let heads =
            usize::from(!apart.is_empty()) + usize::from(first.is_none() && !with.is_empty());
        let mut path = Building::with_room(heads + asns.len() + self.0.len());
        path.push(SegmentKind::AsSequence, apart.iter().copied());
        path.begin(SegmentKind::AsSequence, with.len() + before.len());
        path.0.extend(with.iter().chain(before));
        for segment in self.segments().skip(usize::from(first.is_some())) {
            path.push(segment.kind, segment.asns.iter().copied());
        }
        *self = path.finish();
    }
}

impl fmt::Debug for AsPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.segments()).finish()
    }
}

impl fmt::Display for AsPath {
    /// As looking glasses write it: `64500 64501 {64502 64503}`, confederations in `()` and `[]`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, segment) in self.segments().enumerate() {
            let (open, close) = match segment.kind {
                SegmentKind::AsSequence => ("", ""),
                SegmentKind::AsSet => ("{", "}"),
                SegmentKind::AsConfedSequence => ("(", ")"),
                SegmentKind::AsConfedSet => ("[", "]"),
            };
            if i > 0 {
                f.write_str(" ")?;
            }
            f.write_str(open)?;
            for (j, asn) in segment.asns.iter().enumerate() {
                if j > 0 {
                    f.write_str(" ")?;
                }
                write!(f, "{asn}")?;
            }
            f.write_str(close)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use SegmentKind::{AsConfedSequence, AsConfedSet, AsSequence, AsSet};

    fn path(segments: &[(SegmentKind, &[u32])]) -> AsPath {
        let mut path = Building::with_room(0);
        for (kind, asns) in segments {
            path.push(*kind, asns.iter().copied().map(Asn));
        }
        path.finish()
    }

    #[test]
    fn what_a_path_says() {
        // (text, segments, length, neighbor, origin)
        type Row<'a> = (&'a str, &'a [(SegmentKind, &'a [u32])], usize, Option<u32>, Option<u32>);
        let table: &[Row] = &[
            ("", &[], 0, None, None),
            ("1", &[(AsSequence, &[1])], 1, Some(1), Some(1)),
            ("1 2 2", &[(AsSequence, &[1, 2, 2])], 3, Some(1), Some(2)),
            ("1 {2 3}", &[(AsSequence, &[1]), (AsSet, &[2, 3])], 2, Some(1), None),
            ("{2 3} 1", &[(AsSet, &[2, 3]), (AsSequence, &[1])], 2, None, Some(1)),
            ("(8 9) 1", &[(AsConfedSequence, &[8, 9]), (AsSequence, &[1])], 1, Some(1), Some(1)),
            ("[8 9]", &[(AsConfedSet, &[8, 9])], 0, None, None),
        ];
        for (text, segments, length, first, origin) in table {
            let path = path(segments);
            let got = (path.to_string(), path.length(), path.first(), path.origin());
            let want = ((*text).to_owned(), *length, first.map(Asn), origin.map(Asn));
            assert_eq!(got, want);
            assert_eq!(path.contains(Asn(2)), text.contains('2'), "{text}");
        }
    }

    #[test]
    fn prepending_fills_a_sequence_and_then_begins_another() {
        let mut full = AsPath::sequence(&[2; 254]);
        full.prepend(Asn(1), 2);
        let lens: Vec<usize> = full.segments().map(|segment| segment.asns.len()).collect();
        assert_eq!((lens, full.first()), (vec![1, 255], Some(Asn(1))));
        let mut set = path(&[(AsSet, &[2])]);
        set.prepend(Asn(1), 1);
        assert_eq!(set, path(&[(AsSequence, &[1]), (AsSet, &[2])]));
        set.prepend(Asn(1), 0);
        assert_eq!(set.length(), 2);
    }

    #[test]
    fn kinds_and_their_codes_are_one_to_one() {
        for code in 0..=u8::MAX {
            let kind = SegmentKind::from_code(code);
            assert_eq!(kind.map(|kind| kind as u8), (1..=4).contains(&code).then_some(code));
        }
    }
}

//! What is said of a neighbor's malformed attributes: little, however many they are.
//!
//! The first of a kind is told at once, the others are counted and told in one line each while.
//! This is for the log only: each is dealt with as RFC 7606 asks.

use std::time::Duration;

use anycast_bgp::message::{AttributeFault, Reaction};
use anycast_bgp::time::Instant;
use tracing::warn;

/// The time between two lines about faults of one kind.
const BETWEEN: Duration = Duration::from_secs(10);
/// Kinds that are told apart. A neighbor may invent many: attributes that we do not know have faults
/// too.
const KINDS: usize = 16;

/// The malformed attributes of one neighbor. They outlast its sessions: who begins a new one is not
/// given new lines.
#[derive(Debug, Default)]
pub(crate) struct Faults {
    kinds: Vec<Kind>,
}

/// `fault`: `None` if it is of none of the other kinds.
#[derive(Debug)]
struct Kind {
    fault: Option<AttributeFault>,
    /// When it was last told.
    told: Instant,
    /// How many there were since.
    more: u64,
}

/// A line for the log.
#[derive(Debug, Eq, PartialEq)]
pub(crate) struct Line {
    fault: Option<AttributeFault>,
    /// How many this line is about, if not just one that came now.
    more: Option<u64>,
}

impl Faults {
    /// Takes in a fault; what is to be said of it at once.
    pub(crate) fn note(&mut self, now: Instant, fault: &AttributeFault) -> Option<Line> {
        let known = self.kinds.iter().position(|kind| kind.fault.as_ref() == Some(fault));
        let known = known.or_else(|| {
            let others = self.kinds.iter().position(|kind| kind.fault.is_none());
            others.filter(|_| self.kinds.len() >= KINDS)
        });
        if let Some(at) = known {
            self.kinds[at].more += 1;
            return None;
        }
        let fault = (self.kinds.len() < KINDS).then(|| fault.clone());
        self.kinds.push(Kind { fault: fault.clone(), told: now, more: 0 });
        Some(Line { fault, more: None })
    }

    /// When [`handle_timeout`](Self::handle_timeout) has something to do, if ever.
    pub(crate) fn poll_timeout(&self) -> Option<Instant> {
        self.kinds.iter().map(|kind| kind.told + BETWEEN).min()
    }

    /// What is to be said by now of those that were counted. A kind of which there was none is
    /// forgotten: the next is a first one.
    pub(crate) fn handle_timeout(&mut self, now: Instant) -> Vec<Line> {
        let mut lines = Vec::new();
        self.kinds.retain_mut(|kind| {
            if now < kind.told + BETWEEN {
                return true;
            }
            kind.told = now;
            let more = std::mem::take(&mut kind.more);
            if more > 0 {
                lines.push(Line { fault: kind.fault.clone(), more: Some(more) });
            }
            more > 0
        });
        lines
    }
}

impl Line {
    /// Writes it to the log.
    pub(crate) fn log(&self, neighbor: &str) {
        let times = self.more.map_or_else(String::new, |more| {
            format!(" ({more} more, told together after {} s)", BETWEEN.as_secs())
        });
        let Some(AttributeFault { code, reaction, what }) = &self.fault else {
            warn!(neighbor, "malformed attribute: of more kinds than are told apart{times}");
            return;
        };
        let reaction = match reaction {
            Reaction::AttributeDiscard => "attribute-discard",
            Reaction::TreatAsWithdraw => "treat-as-withdraw",
        };
        warn!(neighbor, attribute = code, reaction, "malformed attribute: {what}{times}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64) -> Instant {
        Instant::from_start(Duration::from_secs(seconds))
    }

    fn fault(code: u8) -> AttributeFault {
        AttributeFault { code, reaction: Reaction::AttributeDiscard, what: "wrong" }
    }

    fn first(code: u8) -> Line {
        Line { fault: Some(fault(code)), more: None }
    }

    #[test]
    fn the_first_of_a_kind_is_told_at_once_and_the_others_together_each_ten_seconds() {
        let mut faults = Faults::default();
        assert_eq!((faults.poll_timeout(), faults.handle_timeout(at(0))), (None, vec![]));
        assert_eq!(faults.note(at(1), &fault(4)), Some(first(4)));
        for _ in 0..1_000_000 {
            assert_eq!(faults.note(at(2), &fault(4)), None);
        }
        assert_eq!(faults.note(at(3), &fault(8)), Some(first(8)), "another kind");
        assert_eq!((faults.poll_timeout(), faults.handle_timeout(at(10))), (Some(at(11)), vec![]));
        let together = |more| Line { fault: Some(fault(4)), more: Some(more) };
        assert_eq!(faults.handle_timeout(at(11)), [together(1_000_000)]);
        assert_eq!(faults.note(at(12), &fault(4)), None, "not anew within the next ten seconds");
        assert_eq!((faults.poll_timeout(), faults.handle_timeout(at(13))), (Some(at(13)), vec![]));
        assert_eq!(
            faults.note(at(14), &fault(8)),
            Some(first(8)),
            "there was none for ten seconds"
        );
        assert_eq!(faults.handle_timeout(at(21)), [together(1)]);
        assert_eq!((faults.handle_timeout(at(40)), faults.poll_timeout()), (vec![], None));
        assert_eq!(faults.note(at(40), &fault(4)), Some(first(4)));
    }

    #[test]
    fn whoever_invents_kinds_has_no_more_lines_for_it() {
        let mut faults = Faults::default();
        let told =
            (0..=u8::MAX).filter_map(|code| faults.note(at(0), &fault(code))).collect::<Vec<_>>();
        let of_others = Line { fault: None, more: None };
        assert_eq!(told.len(), KINDS + 1);
        assert_eq!(told.last(), Some(&of_others));
        let more = Some(u64::from(u8::MAX) - 16);
        assert_eq!(faults.handle_timeout(at(10)), [Line { fault: None, more }]);
        assert_eq!(faults.note(at(11), &fault(0)), Some(first(0)), "there is room again");
        assert_eq!(faults.note(at(11), &fault(200)), Some(first(200)));
        let told = (1..=u8::MAX).filter_map(|code| faults.note(at(12), &fault(code))).count();
        assert_eq!(told, KINDS - 3, "those that were without a kind still are one");
    }
}

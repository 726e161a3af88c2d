//! The Poll Sequence (RFC 5880 §6.5): how a system learns that its neighbor knows its new timers.

use std::time::Duration;

use crate::packet::Exchange;
use crate::time::Instant;

/// Where our Poll Sequences stand.
///
/// A Final does not say which Poll it answers. So timers that change during a sequence need a
/// second one, and between the two a round trip must pass and a packet without Final be seen. Of
/// the choices in §6.8.3 these are the second and the third: the third alone fails where a round
/// trip is longer than the interval, since Finals and other packets then arrive in turn.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Poll {
    /// The neighbor knows our timers, and no Final of it can still be on its way.
    Idle,
    /// The next packet will carry the Poll bit.
    Wanted,
    /// Our packets carry the Poll bit until a Final comes.
    Active {
        /// When the first of them went out.
        since: Instant,
        /// The timers changed after that.
        again: bool,
    },
    /// A Final came; others can still be on their way.
    Settling {
        /// Not after this: the sequence took a round trip or longer.
        until: Instant,
        /// The timers changed meanwhile.
        again: bool,
    },
}

impl Poll {
    /// The timers changed: the neighbor must confirm that it knows.
    pub(super) fn request(&mut self) {
        match self {
            Self::Idle => *self = Self::Wanted,
            Self::Wanted => {}
            Self::Active { again, .. } | Self::Settling { again, .. } => *again = true,
        }
    }

    /// Our packets must carry the Poll bit.
    pub(super) fn is_on(self) -> bool {
        matches!(self, Self::Wanted | Self::Active { .. })
    }

    /// A packet with the Poll bit went out.
    pub(super) fn handle_transmit(&mut self, now: Instant) {
        if *self == Self::Wanted {
            *self = Self::Active { since: now, again: false };
        }
    }

    /// A packet of the neighbor came in. True if with it the neighbor confirms all that we last
    /// told it.
    pub(super) fn handle_packet(&mut self, now: Instant, exchange: Exchange) -> bool {
        match (*self, exchange) {
            (Self::Active { since, again }, Exchange::Final) => {
                let took: Duration = now - since;
                *self = Self::Settling { until: now + took, again };
                return !again;
            }
            (Self::Settling { until, again }, Exchange::Plain | Exchange::Poll) if now > until => {
                *self = if again { Self::Wanted } else { Self::Idle };
            }
            _ => {}
        }
        false
    }
}

#[cfg(test)]
mod tests {
    use super::Poll::*;
    use super::*;
    use Exchange::*;

    #[test]
    fn transitions() {
        let at = |millis| Instant::from_start(Duration::from_millis(millis));
        let (first, again) =
            (Active { since: at(5), again: false }, Active { since: at(5), again: true });
        let settling = |again| Settling { until: at(15), again };
        // (before; then after a request; after a transmission at 7 ms; after a Final at 10 ms and
        // whether that confirms; after another packet at 15 ms, and at 16 ms)
        #[rustfmt::skip]
        let table = [
            (Idle, Wanted, Idle, (Idle, false), Idle, Idle),
            (Wanted, Wanted, Active { since: at(7), again: false }, (Wanted, false), Wanted, Wanted),
            (first, again, first, (settling(false), true), first, first),
            (again, again, again, (settling(true), false), again, again),
            (settling(false), settling(true), settling(false), (settling(false), false), settling(false), Idle),
            (settling(true), settling(true), settling(true), (settling(true), false), settling(true), Wanted),
        ];
        for (before, requested, sent, answered, early, late) in table {
            let mut poll = before;
            poll.request();
            assert_eq!(poll, requested, "{before:?}, request");
            let mut poll = before;
            poll.handle_transmit(at(7));
            assert_eq!(poll, sent, "{before:?}, transmission");
            let mut poll = before;
            let confirmed = poll.handle_packet(at(10), Final);
            assert_eq!((poll, confirmed), answered, "{before:?}, Final");
            for exchange in [Plain, Exchange::Poll] {
                for (now, want) in [(at(15), early), (at(16), late)] {
                    let mut poll = before;
                    assert!(!poll.handle_packet(now, exchange));
                    assert_eq!(poll, want, "{before:?}, {exchange:?} at {now:?}");
                }
            }
        }
    }
}

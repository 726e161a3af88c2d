//! The jitter of periodic packets (RFC 5880 §6.8.7): the only chance in a session, from a seed.

use std::num::NonZeroU8;
use std::time::Duration;

/// A row of numbers that a seed begins, and the one that is in force.
#[derive(Debug)]
pub(super) struct Jitter {
    row: u64,
    drawn: u64,
}

impl Jitter {
    pub(super) fn new(seed: u64) -> Self {
        let mut jitter = Self { row: seed, drawn: 0 };
        jitter.draw();
        jitter
    }

    /// Once for each packet sent. The generator is SplitMix64.
    pub(super) fn draw(&mut self) {
        self.row = self.row.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.row ^ self.row >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        self.drawn = mixed ^ mixed >> 31;
    }

    /// 75 to 100 % of the interval that was negotiated, 75 to 90 % when a single packet that is
    /// late would already be the neighbor's Detection Time.
    pub(super) fn apply(&self, interval: Duration, detect_mult: NonZeroU8) -> Duration {
        const WHOLE: u64 = 1_000_000;
        let at_most = if detect_mult == NonZeroU8::MIN { 900_000 } else { WHOLE };
        let least = shortest(interval);
        let part = 750_000 + self.drawn % (at_most - 750_000 + 1);
        // An interval is at most 2^32 µs: 4.3e12 ns, times a million still less than 2^64.
        let nanos = u64::try_from(interval.as_nanos()).unwrap_or(u64::MAX);
        Duration::from_nanos(nanos.saturating_mul(part) / WHOLE).max(least)
    }
}

/// What is left of an interval after the most jitter that is allowed.
pub(super) fn shortest(interval: Duration) -> Duration {
    interval * 3 / 4
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn jitter_fills_its_range_and_stays_in_it() {
        for (detect_mult, most) in [(1, 90), (2, 100), (3, 100)] {
            let detect_mult = NonZeroU8::new(detect_mult).unwrap();
            for interval in [Duration::from_millis(10), Duration::from_micros(u32::MAX.into())] {
                let mut jitter = Jitter::new(1);
                let drawn: Vec<_> = (0..10_000)
                    .map(|_| {
                        jitter.draw();
                        jitter.apply(interval, detect_mult)
                    })
                    .collect();
                let (least, most) = (interval * 75 / 100, interval * most / 100);
                let (min, max) = (*drawn.iter().min().unwrap(), *drawn.iter().max().unwrap());
                let near = interval / 500;
                assert!(least <= min && min < least + near, "{min:?} {interval:?}");
                assert!(most < max + near && max <= most, "{max:?} {interval:?}");
            }
        }
    }

    #[test]
    fn two_seeds_do_not_march_in_step() {
        let (one, other) = (Jitter::new(1), Jitter::new(2));
        assert_ne!(one.drawn, other.drawn);
    }
}

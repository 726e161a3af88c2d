//! What is under way on the lab's links: pure bookkeeping, time is an argument.
//!
//! A frame that leaves one end of a link is due at all its other ends after the link's latency.
//! On one link frames never overtake each other, not even when the latency has been shortened
//! while some were under way.

use std::cmp::{Ordering, Reverse};
use std::collections::BinaryHeap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::{Counters, State};

/// Octets that one end may have under way; more is dropped at the tail. A window of 16 MiB fills
/// 1 Gbit/s at 130 ms.
const QUEUE_LIMIT: usize = 16 << 20;

/// The links, by number, and the frames under way on them.
#[derive(Debug)]
pub(super) struct Lines {
    links: Vec<Line>,
    /// Link and end of each interface of the hub, by its index less `first_ifindex`.
    ports: Vec<(usize, usize)>,
    first_ifindex: u32,
    under_way: BinaryHeap<Reverse<Flight>>,
    flights: u64,
}

#[derive(Debug)]
struct Line {
    latency: Duration,
    state: State,
    /// Of 2^32 frames so many are lost.
    loss: u32,
    chance: Chance,
    ends: Vec<End>,
    /// Counts the cuts: a frame that was under way during one is lost.
    cuts: u32,
    counters: Counters,
}

#[derive(Debug)]
struct End {
    ifindex: u32,
    frozen: bool,
    last_due: Option<Instant>,
    octets_under_way: usize,
}

#[derive(Debug)]
struct Flight {
    due: Instant,
    number: u64,
    line: usize,
    from: usize,
    cuts: u32,
    frame: Arc<[u8]>,
}

/// Which frames a lossy line loses: xorshift64* (Vigna 2016), the same for each seed.
#[derive(Debug)]
struct Chance(u64);

impl Chance {
    fn next(&mut self) -> u32 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 32) as u32
    }
}

/// Octets before each frame: the virtio header.
pub(super) const PREAMBLE: usize = 10;

impl Lines {
    pub(super) fn new(first_ifindex: u32) -> Self {
        Self {
            links: Vec::new(),
            ports: Vec::new(),
            first_ifindex,
            under_way: BinaryHeap::new(),
            flights: 0,
        }
    }

    /// How many links there are, which is the number of the next one.
    pub(super) fn len(&self) -> usize {
        self.links.len()
    }

    /// Adds a link between interfaces of the hub, whose indexes must follow those given before.
    pub(super) fn add(&mut self, latency: Duration, ifindexes: &[u32]) {
        for (end, &ifindex) in ifindexes.iter().enumerate() {
            debug_assert_eq!(self.port(ifindex), Err(self.ports.len()));
            self.ports.push((self.links.len(), end));
        }
        let end = |&ifindex| End { ifindex, frozen: false, last_due: None, octets_under_way: 0 };
        self.links.push(Line {
            latency,
            state: State::Up,
            loss: 0,
            chance: Chance(1),
            ends: ifindexes.iter().map(end).collect(),
            cuts: 0,
            counters: Counters::default(),
        });
    }

    /// Link and end of an interface, or its place in `ports` if it has none.
    fn port(&self, ifindex: u32) -> Result<(usize, usize), usize> {
        let at = ifindex.wrapping_sub(self.first_ifindex) as usize;
        self.ports.get(at).copied().ok_or(at)
    }

    /// Takes a frame that a node has sent, as it came out of the hub's interface.
    pub(super) fn handle_frame(&mut self, now: Instant, ifindex: u32, frame: &[u8]) {
        let Ok((number, from)) = self.port(ifindex) else { return };
        let line = &mut self.links[number];
        let end = &mut line.ends[from];
        let full = end.octets_under_way + frame.len() > QUEUE_LIMIT;
        let lost = line.loss > 0 && line.chance.next() < line.loss;
        if line.state != State::Up || end.frozen || full || lost {
            line.counters.drops += 1;
            return;
        }
        let due = end.last_due.map_or(now + line.latency, |last| last.max(now + line.latency));
        end.last_due = Some(due);
        end.octets_under_way += frame.len();
        self.flights += 1;
        self.under_way.push(Reverse(Flight {
            due,
            number: self.flights,
            line: number,
            from,
            cuts: line.cuts,
            frame: Arc::from(frame),
        }));
    }

    /// When [`poll_frames`](Self::poll_frames) must next be called, if ever.
    pub(super) fn poll_timeout(&self) -> Option<Instant> {
        self.under_way.peek().map(|Reverse(flight)| flight.due)
    }

    /// The frames that arrive by `now`, in order, with the hub's interface to send each out of.
    pub(super) fn poll_frames(&mut self, now: Instant, out: &mut Vec<(u32, Arc<[u8]>)>) {
        while self.poll_timeout().is_some_and(|due| due <= now) {
            let Some(Reverse(flight)) = self.under_way.pop() else { return };
            let line = &mut self.links[flight.line];
            line.ends[flight.from].octets_under_way -= flight.frame.len();
            let lost = line.state != State::Up || line.cuts != flight.cuts;
            for (number, end) in line.ends.iter().enumerate() {
                if number == flight.from {
                    continue;
                }
                if lost || end.frozen {
                    line.counters.drops += 1;
                } else {
                    line.counters.frames += 1;
                    line.counters.octets += (flight.frame.len() - PREAMBLE) as u64;
                    out.push((end.ifindex, Arc::clone(&flight.frame)));
                }
            }
        }
    }

    /// Changes a link's state; the one before, or nothing if there is no such link.
    pub(super) fn set(&mut self, line: usize, state: State) -> Option<State> {
        let line = self.links.get_mut(line)?;
        line.cuts += u32::from(state == State::Cut);
        Some(std::mem::replace(&mut line.state, state))
    }

    /// Lets all frames from and to one end fall; false if there is no such end.
    pub(super) fn freeze_end(&mut self, line: usize, end: usize, frozen: bool) -> bool {
        let end = self.links.get_mut(line).and_then(|line| line.ends.get_mut(end));
        end.map(|end| end.frozen = frozen).is_some()
    }

    /// Changes the latency for frames yet to be sent; false if there is no such link.
    pub(super) fn set_latency(&mut self, line: usize, latency: Duration) -> bool {
        self.links.get_mut(line).map(|line| line.latency = latency).is_some()
    }

    /// Loses a share of the frames that are sent from now on; false if there is no such link.
    pub(super) fn set_loss(&mut self, line: usize, share: f64, seed: u64) -> bool {
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "0 to 2^32 - 1"
        )]
        let loss = (share.clamp(0.0, 1.0) * f64::from(u32::MAX)) as u32;
        let chance = Chance(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1);
        let line = self.links.get_mut(line);
        line.map(|line| (line.loss, line.chance) = (loss, chance)).is_some()
    }

    /// What went over a link.
    pub(super) fn counters(&self, line: usize) -> Option<Counters> {
        self.links.get(line).map(|line| line.counters)
    }

    /// The hub's interfaces of a link.
    pub(super) fn ifindexes(&self, line: usize) -> Vec<u32> {
        let ends = self.links.get(line).map_or(&[][..], |line| &line.ends);
        ends.iter().map(|end| end.ifindex).collect()
    }
}

impl Flight {
    fn key(&self) -> (Instant, u64) {
        (self.due, self.number)
    }
}

impl Ord for Flight {
    fn cmp(&self, other: &Self) -> Ordering {
        self.key().cmp(&other.key())
    }
}

impl PartialOrd for Flight {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Flight {
    fn eq(&self, other: &Self) -> bool {
        self.key() == other.key()
    }
}

impl Eq for Flight {}

#[cfg(test)]
mod tests {
    use super::*;

    const LATENCY: Duration = Duration::from_millis(20);
    const MS: Duration = Duration::from_millis(1);

    /// A link between the interfaces 1000 and 1001, and a LAN of 1002 to 1004.
    fn lines() -> (Lines, Instant) {
        let mut lines = Lines::new(1000);
        lines.add(LATENCY, &[1000, 1001]);
        lines.add(Duration::ZERO, &[1002, 1003, 1004]);
        (lines, Instant::now())
    }

    fn frame(tag: u8) -> Vec<u8> {
        [vec![0; PREAMBLE], vec![tag; 64]].concat()
    }

    /// What arrives by `now`: interface and tag.
    fn arrivals(lines: &mut Lines, now: Instant) -> Vec<(u32, u8)> {
        let mut out = Vec::new();
        lines.poll_frames(now, &mut out);
        out.iter().map(|(ifindex, frame)| (*ifindex, frame[PREAMBLE])).collect()
    }

    #[test]
    fn a_frame_arrives_at_the_latency_and_not_before() {
        let (mut lines, now) = lines();
        lines.handle_frame(now, 1001, &frame(1));
        assert_eq!(lines.poll_timeout(), Some(now + LATENCY));
        let before = LATENCY.saturating_sub(Duration::from_nanos(1));
        assert_eq!(arrivals(&mut lines, now + before), []);
        assert_eq!(arrivals(&mut lines, now + LATENCY), [(1000, 1)]);
        assert_eq!(lines.poll_timeout(), None);
        assert_eq!(lines.counters(0), Some(Counters { frames: 1, octets: 64, drops: 0 }));
    }

    #[test]
    fn on_a_lan_all_others_hear() {
        let (mut lines, now) = lines();
        lines.handle_frame(now, 1003, &frame(1));
        assert_eq!(arrivals(&mut lines, now), [(1002, 1), (1004, 1)]);
    }

    #[test]
    fn a_shorter_latency_lets_no_frame_overtake() {
        let (mut lines, now) = lines();
        lines.handle_frame(now, 1000, &frame(1));
        assert!(lines.set_latency(0, MS));
        lines.handle_frame(now + MS, 1000, &frame(2));
        lines.handle_frame(now + MS, 1001, &frame(3));
        assert_eq!(arrivals(&mut lines, now + 2 * MS), [(1000, 3)], "the other way is free");
        assert_eq!(arrivals(&mut lines, now + LATENCY), [(1001, 1), (1001, 2)]);
    }

    #[test]
    fn a_cut_loses_what_is_under_way_even_if_it_is_mended_in_time() {
        let (mut lines, now) = lines();
        lines.handle_frame(now, 1000, &frame(1));
        assert_eq!(lines.set(0, State::Cut), Some(State::Up));
        lines.handle_frame(now, 1000, &frame(2));
        assert_eq!(lines.set(0, State::Up), Some(State::Cut));
        lines.handle_frame(now, 1000, &frame(3));
        assert_eq!(arrivals(&mut lines, now + LATENCY), [(1001, 3)]);
        assert_eq!(lines.counters(0), Some(Counters { frames: 1, octets: 64, drops: 2 }));
    }

    #[test]
    fn a_frozen_end_neither_sends_nor_hears() {
        let (mut lines, now) = lines();
        assert!(lines.freeze_end(1, 0, true));
        lines.handle_frame(now, 1002, &frame(1));
        lines.handle_frame(now, 1003, &frame(2));
        assert_eq!(arrivals(&mut lines, now), [(1004, 2)]);
        assert!(lines.freeze_end(1, 0, false));
        lines.handle_frame(now, 1002, &frame(3));
        assert_eq!(arrivals(&mut lines, now), [(1003, 3), (1004, 3)]);
    }

    #[test]
    fn a_lossy_line_loses_its_share_and_the_same_frames_for_a_seed() {
        let arrived = |share, seed| {
            let (mut lines, now) = lines();
            assert!(lines.set_loss(0, share, seed));
            for number in 0..10_000_u16 {
                let tag = number.to_be_bytes();
                lines.handle_frame(now, 1000, &[&[0; PREAMBLE][..], &tag].concat());
            }
            let mut out = Vec::new();
            lines.poll_frames(now + LATENCY, &mut out);
            out.iter().map(|(_, frame)| frame[PREAMBLE..].to_vec()).collect::<Vec<_>>()
        };
        assert_eq!((arrived(0.0, 1).len(), arrived(1.0, 1).len()), (10_000, 0));
        assert_eq!(arrived(0.03, 7), arrived(0.03, 7));
        assert_ne!(arrived(0.03, 7), arrived(0.03, 8));
        for seed in 1..=3 {
            let lost = 10_000 - arrived(0.03, seed).len();
            assert!((250..350).contains(&lost), "{lost} for {seed}");
        }
    }

    #[test]
    fn a_full_line_drops_at_the_tail() {
        let (mut lines, now) = lines();
        let large = vec![0; 64 << 10];
        let fit = QUEUE_LIMIT / large.len();
        for _ in 0..=fit {
            lines.handle_frame(now, 1000, &large);
        }
        assert_eq!(arrivals(&mut lines, now + LATENCY).len(), fit);
        assert_eq!(lines.counters(0).map(|counters| counters.drops), Some(1));
        lines.handle_frame(now + LATENCY, 1000, &large);
        assert_eq!(arrivals(&mut lines, now + 2 * LATENCY).len(), 1, "there is room again");
    }

    #[test]
    fn what_does_not_exist_is_said_so() {
        let (mut lines, now) = lines();
        lines.handle_frame(now, 999, &frame(1));
        lines.handle_frame(now, 1005, &frame(1));
        assert_eq!(lines.poll_timeout(), None);
        assert_eq!(lines.set(2, State::Cut), None);
        assert!(!lines.set_latency(2, MS));
        assert!(!lines.freeze_end(0, 2, true));
        assert_eq!(lines.counters(2), None);
    }
}

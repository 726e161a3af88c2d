//! Two sessions over a wire that delays and loses, in virtual time.

use super::*;
use crate::session::SLOW_INTERVAL;

/// Which packets the wire loses.
#[derive(Clone, Copy, Debug)]
enum Loss {
    Nothing,
    /// All that this side, or either, sends.
    All(Option<usize>),
    /// So many in a row, then one comes through; in each direction by itself.
    InARow(u32),
    /// As chance has it, but never so many in a row.
    ByChance(u32),
}

struct World {
    now: Instant,
    sides: [Session; 2],
    delay: Duration,
    loss: Loss,
    /// Lost since the last that came through, by sender.
    lost: [u32; 2],
    chance: u64,
    /// (arrival, receiver, octets), in the order sent.
    wire: Vec<(Instant, usize, [u8; Control::LEN])>,
    log: Vec<(Instant, usize, Event)>,
    sent: Vec<(Instant, usize, Control)>,
    heard: [Option<Instant>; 2],
}

impl World {
    fn new(configs: [Config; 2], delay: Duration) -> Self {
        let mut world = Self {
            now: Instant::START,
            sides: configs.map(Session::new),
            delay,
            loss: Loss::Nothing,
            lost: [0; 2],
            chance: 1,
            wire: Vec::new(),
            log: Vec::new(),
            sent: Vec::new(),
            heard: [None; 2],
        };
        world.drain(0);
        world.drain(1);
        world
    }

    /// Both sides as given by `config`, with names and jitter of their own.
    fn twins(config: &Config, delay: Duration, seed: u64) -> Self {
        let one = Config { seed, ..config.clone() };
        let other = Config { local_discriminator: THEIRS, seed: !seed, ..config.clone() };
        Self::new([one, other], delay)
    }

    /// The same, after three seconds: long enough to come Up.
    fn up(config: &Config, delay: Duration, seed: u64) -> Self {
        let mut world = Self::twins(config, delay, seed);
        world.run_for(ms(3000) + delay * 4);
        assert_eq!(world.events(), [(0, Event::Up), (1, Event::Up)]);
        world.log.clear();
        world.sent.clear();
        world
    }

    /// Arrivals go before timers, as the driver must do it.
    fn run_for(&mut self, duration: Duration) {
        let end = self.now + duration;
        loop {
            let arrival = self.wire.iter().map(|(at, ..)| *at).min();
            let timeouts = self.sides.iter().filter_map(Session::poll_timeout);
            let Some(next) = timeouts.chain(arrival).min().filter(|at| *at <= end) else { break };
            assert!(next >= self.now, "time went back");
            self.now = next;
            while let Some(index) = self.wire.iter().position(|(at, ..)| *at <= next) {
                let (_, to, octets) = self.wire.remove(index);
                let packet = Control::parse(&octets).expect("what a session sends is sound");
                if self.sides[to].handle_packet(next, &packet).is_ok() {
                    self.heard[to] = Some(next);
                }
                self.drain(to);
            }
            for side in 0..2 {
                self.sides[side].handle_timeout(next);
                self.drain(side);
            }
        }
        self.now = end;
    }

    fn drain(&mut self, side: usize) {
        while let Some(packet) = self.sides[side].poll_transmit(self.now) {
            self.sent.push((self.now, side, packet));
            if self.loses(side) {
                self.lost[side] += 1;
            } else {
                self.lost[side] = 0;
                self.wire.push((self.now + self.delay, 1 - side, packet.emit()));
            }
        }
        while let Some(event) = self.sides[side].poll_event() {
            self.log.push((self.now, side, event));
        }
    }

    fn loses(&mut self, side: usize) -> bool {
        match self.loss {
            Loss::Nothing => false,
            Loss::All(from) => from.is_none_or(|from| from == side),
            Loss::InARow(most) => self.lost[side] < most,
            Loss::ByChance(most) => {
                self.chance = self.chance.wrapping_mul(0x5851_f42d_4c95_7f2d).wrapping_add(1);
                self.lost[side] < most && self.chance >> 62 != 0
            }
        }
    }

    /// Who saw what, by side and then in order.
    fn events(&self) -> Vec<(usize, Event)> {
        let mut events: Vec<_> = self.log.iter().map(|(_, side, event)| (*side, *event)).collect();
        events.sort_by_key(|(side, _)| *side);
        events
    }

    fn set_timing(&mut self, side: usize, desired_min_tx: Duration, required_min_rx: Duration) {
        self.sides[side].set_timing(self.now, desired_min_tx, required_min_rx, THREE);
        self.drain(side);
    }

    fn intervals(&self) -> [Option<Duration>; 2] {
        [0, 1].map(|side| self.sides[side].status().tx_interval)
    }

    fn detection_times(&self) -> [Option<Duration>; 2] {
        [0, 1].map(|side| self.sides[side].status().detection_time)
    }
}

#[test]
fn two_sessions_come_up_at_slow_speed_and_then_run_at_the_speed_agreed() {
    for seed in 0..50 {
        for passive in [[false, false], [true, false], [false, true]] {
            let configs =
                [(OURS, passive[0]), (THEIRS, passive[1])].map(|(name, passive)| Config {
                    local_discriminator: name,
                    passive,
                    seed: seed ^ u64::from(name.get()),
                    ..config()
                });
            let mut world = World::new(configs, ms(2));
            world.run_for(SLOW_INTERVAL * 3);
            assert_eq!(world.events(), [(0, Event::Up), (1, Event::Up)]);
            assert_eq!(world.intervals(), [Some(ms(10)); 2]);
            assert_eq!(world.detection_times(), [Some(ms(30)); 2]);
            assert!(world.sides.iter().all(|side| !side.status().polling));
        }
    }
}

#[test]
fn two_passive_sides_never_speak() {
    let mut world = World::twins(&Config { passive: true, ..config() }, ms(1), 1);
    world.run_for(ms(100_000));
    assert_eq!(world.sent, []);
}

#[test]
fn a_dead_wire_is_noticed_three_intervals_after_the_last_packet_and_never_before() {
    for (interval, delay) in [(10, 0), (10, 1), (50, 20), (300, 5)] {
        let config =
            Config { desired_min_tx: ms(interval), required_min_rx: ms(interval), ..config() };
        for seed in 0..50 {
            let mut world = World::up(&config, ms(delay), seed);
            world.run_for(ms(seed * 7));
            let cut_at = world.now;
            world.loss = Loss::All(None);
            world.run_for(ms(delay));
            world.wire.clear();
            let heard = world.heard;
            world.run_for(ms(interval * 4));
            let expired = Event::Down(Diagnostic::CONTROL_DETECTION_TIME_EXPIRED);
            assert_eq!(world.events(), [(0, expired), (1, expired)]);
            for (now, side, _) in &world.log {
                assert_eq!(*now - heard[*side].unwrap(), ms(interval * 3));
                // The last packet was sent at most one interval before the cut.
                assert!(*now - cut_at >= ms(interval * 2));
                assert!(*now - cut_at <= ms(interval * 3 + delay));
            }
        }
    }
}

#[test]
fn three_times_ten_milliseconds_notice_a_dead_wire_within_thirty() {
    let mut world = World::up(&config(), Duration::from_micros(100), 7);
    world.loss = Loss::All(None);
    let cut_at = world.now;
    world.run_for(ms(1000));
    let took: Vec<_> = world.log.iter().map(|(now, ..)| *now - cut_at).collect();
    assert_eq!(took.len(), 2);
    assert!(took.iter().all(|took| (ms(20)..=Duration::from_micros(30_100)).contains(took)));
}

#[test]
fn a_wire_dead_in_one_direction_takes_both_sides_down() {
    let mut world = World::up(&config(), ms(1), 3);
    world.loss = Loss::All(Some(0));
    world.run_for(ms(100));
    assert_eq!(
        world.events(),
        [
            (0, Event::Down(Diagnostic::NEIGHBOR_SIGNALED_SESSION_DOWN)),
            (1, Event::Down(Diagnostic::CONTROL_DETECTION_TIME_EXPIRED)),
        ]
    );
    // It does not come back while it is so.
    world.log.clear();
    world.run_for(ms(60_000));
    assert_eq!(world.events(), []);
    world.loss = Loss::Nothing;
    world.run_for(ms(3000));
    assert_eq!(world.events(), [(0, Event::Up), (1, Event::Up)]);
}

#[test]
fn one_packet_less_than_the_multiplier_lost_in_a_row_never_brings_it_down() {
    for multiplier in 2..=5 {
        for seed in 0..2 {
            for loss in [Loss::InARow(multiplier - 1), Loss::ByChance(multiplier - 1)] {
                let multiplier = NonZeroU8::new(u8::try_from(multiplier).unwrap()).unwrap();
                let mut world = World::twins(&Config { multiplier, ..config() }, ms(3), seed);
                world.loss = loss;
                world.run_for(ms(120_000));
                assert_eq!(world.events(), [(0, Event::Up), (1, Event::Up)], "{loss:?}");
            }
        }
    }
}

#[test]
fn as_many_packets_lost_in_a_row_as_the_multiplier_says_can_bring_it_down() {
    let mut world = World::up(&config(), ms(3), 1);
    world.loss = Loss::InARow(3);
    world.run_for(ms(1000));
    assert!(!world.log.is_empty());
}

#[test]
fn new_timers_are_polled_for_and_taken_over_without_a_flap() {
    let mut world = World::up(&config(), ms(5), 11);
    // (side, desired, required; then the intervals and detection times of both)
    for (side, desired, required, intervals, detection_times) in [
        (0, 100, 10, [100, 10], [30, 300]),
        (0, 10, 200, [10, 200], [600, 30]),
        (0, 10, 10, [10, 10], [30, 30]),
        (1, 1000, 1000, [1000, 1000], [3000, 3000]),
        (1, 20, 30, [30, 20], [60, 90]),
    ] {
        world.sent.clear();
        world.set_timing(side, ms(desired), ms(required));
        world.run_for(ms(2500));
        assert_eq!(world.intervals(), intervals.map(|interval| Some(ms(interval))));
        assert_eq!(world.detection_times(), detection_times.map(|time| Some(ms(time))));
        let said = |from: usize, exchange| {
            world.sent.iter().any(|(_, side, packet)| *side == from && packet.exchange == exchange)
        };
        assert!(said(side, Exchange::Poll) && said(1 - side, Exchange::Final));
        assert!(!said(1 - side, Exchange::Poll) && !said(side, Exchange::Final));
    }
    assert_eq!(world.events(), []);
}

#[test]
fn any_row_of_changes_on_a_bad_long_wire_brings_nothing_down() {
    let mut chance = 5_u64;
    let mut pick = move |choices: &[u64]| {
        chance = chance.wrapping_mul(0x5851_f42d_4c95_7f2d).wrapping_add(0x1405_7b7e_f767_814f);
        ms(choices[usize::try_from(chance >> 33).unwrap() % choices.len()])
    };
    for seed in 0..40 {
        // A round trip of up to twelve intervals, so that several Polls are under way at once.
        let mut world = World::up(&config(), ms(seed * 3 / 2), seed);
        world.loss = Loss::ByChance(2);
        for _ in 0..200 {
            let side = usize::from(pick(&[0, 1]) == ms(1));
            let (desired, required) = (pick(&[10, 20, 70, 500]), pick(&[10, 20, 70, 500]));
            world.set_timing(side, desired, required);
            world.run_for(pick(&[0, 1, 5, 20, 100, 300, 2000]));
        }
        assert_eq!(world.events(), [], "seed {seed}");
    }
}

#[test]
fn an_operator_who_disables_one_side_is_no_failure_on_either() {
    let mut world = World::up(&config(), ms(1), 5);
    world.sides[0].admin_down(world.now);
    world.drain(0);
    world.run_for(ms(60_000));
    assert_eq!(world.events(), [(0, Event::AdminDown), (1, Event::AdminDown)]);
    let states = [0, 1].map(|side| world.sides[side].state());
    assert_eq!(states, [State::AdminDown, State::Down]);
    assert_eq!(world.sides.each_ref().map(|side| side.status().counters.downs), [0, 0]);
    world.log.clear();
    world.sides[0].admin_up(world.now);
    world.drain(0);
    world.run_for(ms(3000));
    assert_eq!(world.events(), [(0, Event::Up), (1, Event::Up)]);
}

#[test]
fn a_side_that_restarts_under_a_new_name_is_noticed_at_once_and_comes_back() {
    for (name, took) in [(99, 2), (2, 30)] {
        let mut world = World::up(&config(), ms(1), 5);
        let restart_at = world.now;
        let name = NonZeroU32::new(name).unwrap();
        world.sides[1] = Session::new(Config { local_discriminator: name, seed: 77, ..config() });
        world.drain(1);
        world.run_for(ms(5000));
        let down = Event::Down(Diagnostic::NEIGHBOR_SIGNALED_SESSION_DOWN);
        assert_eq!(world.events(), [(0, down), (0, Event::Up), (1, Event::Up)], "{name}");
        assert!(world.log[0].0 - restart_at <= ms(took));
        assert_eq!(world.sides[0].status().remote.unwrap().discriminator, name);
        assert_eq!(world.intervals(), [Some(ms(10)); 2]);
    }
}

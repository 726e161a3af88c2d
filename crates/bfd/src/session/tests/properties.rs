//! What holds whatever a neighbor, an operator and a driver do.

use proptest::prelude::*;

use super::*;

#[derive(Clone, Debug)]
enum Step {
    /// Time passes, in microseconds, with or without a wake-up at each timeout.
    Sleep(u64, bool),
    Packet(Control),
    AdminDown,
    AdminUp,
    SetTiming(Duration, Duration, NonZeroU8),
}

fn any_interval() -> impl Strategy<Value = u32> {
    prop_oneof![Just(0), Just(1), 1_000..50_000_u32, Just(1_000_000), any::<u32>()]
}

fn any_packet() -> impl Strategy<Value = Control> {
    let exchange = prop_oneof![
        3 => Just(Exchange::Plain), 1 => Just(Exchange::Poll), 1 => Just(Exchange::Final)
    ];
    let bits = (0..4_usize, exchange, any::<bool>(), 0..32_u8, 1..=u8::MAX);
    let names = (1..4_u32, prop_oneof![4 => Just(1), 1 => 0..4_u32]);
    (bits, names, [any_interval(), any_interval(), any_interval()]).prop_map(
        |((state, exchange, demand, diagnostic, multiplier), (my, your), times)| Control {
            diagnostic: Diagnostic::from_code(diagnostic).unwrap(),
            state: State::ALL[state],
            exchange,
            control_plane_independent: false,
            demand,
            detect_mult: NonZeroU8::new(multiplier).unwrap(),
            my_discriminator: NonZeroU32::new(my).unwrap(),
            your_discriminator: NonZeroU32::new(your),
            desired_min_tx: Interval(times[0]),
            required_min_rx: Interval(times[1]),
            required_min_echo_rx: Interval(times[2]),
        },
    )
}

fn any_step() -> impl Strategy<Value = Step> {
    let micros = |interval| Duration::from_micros(u64::from(interval));
    prop_oneof![
        6 => (prop_oneof![0..100_u64, 0..30_000_u64, 0..3_000_000_u64], any::<bool>())
            .prop_map(|(micros, wakes)| Step::Sleep(micros, wakes)),
        6 => any_packet().prop_map(Step::Packet),
        4 => (2..4_usize).prop_map(|state| Step::Packet(from_neighbor(State::ALL[state]))),
        1 => Just(Step::AdminDown),
        1 => Just(Step::AdminUp),
        1 => (any_interval(), any_interval(), 1..=u8::MAX).prop_map(move |(tx, rx, multiplier)| {
            Step::SetTiming(micros(tx), micros(rx), NonZeroU8::new(multiplier).unwrap())
        }),
    ]
}

/// A driver that checks what it gets.
struct Driver {
    session: Session,
    now: Instant,
    /// The last packet that was not a Final, and the last of all without its exchange.
    sent: Option<Instant>,
    told: Option<Control>,
    up: bool,
}

impl Driver {
    fn drain(&mut self) {
        let mut burst = 0;
        loop {
            // What is in force when the packet leaves.
            let interval = self.session.status().tx_interval;
            let Some(packet) = self.session.poll_transmit(self.now) else { break };
            burst += 1;
            assert!(burst <= 2, "at one time: an answer and a packet");
            assert_eq!(Control::parse(&packet.emit()), Ok(packet));
            assert_eq!(packet.state, self.session.state());
            let content = Control { exchange: Exchange::Plain, ..packet };
            if packet.exchange != Exchange::Final {
                if self.told == Some(content) {
                    let interval = interval.expect("no periodic packets where none may be sent");
                    let gap = self.now - self.sent.expect("not the first");
                    assert!(gap >= interval * 3 / 4, "{gap:?} of {interval:?}");
                }
                self.sent = Some(self.now);
            } else if self.sent.is_none() {
                self.sent = Some(self.now);
            }
            self.told = Some(content);
        }
        while let Some(event) = self.session.poll_event() {
            assert_eq!(self.up, event != Event::Up, "Up and its end come in turn");
            self.up = event == Event::Up;
        }
        assert_eq!(self.up, self.session.state() == State::Up);
    }

    fn wake(&mut self) {
        self.session.handle_timeout(self.now);
        if let Some(at) = self.session.poll_timeout() {
            assert!(at > self.now, "{at:?} is not after {:?}", self.now);
        }
        self.drain();
        if let Some(at) = self.session.poll_timeout() {
            assert!(at > self.now, "{at:?} is not after {:?}", self.now);
        }
    }

    fn step(&mut self, step: &Step) {
        match step {
            Step::Sleep(micros, wakes) => {
                let end = self.now + Duration::from_micros(*micros);
                // A microsecond's interval over seconds of sleep proves no more than this.
                for _ in 0..200 {
                    let Some(at) = self.session.poll_timeout() else { break };
                    if !wakes || at > end {
                        break;
                    }
                    self.now = at;
                    self.wake();
                }
                self.now = end.max(self.now);
                self.wake();
            }
            Step::Packet(packet) => {
                let _ = self.session.handle_packet(self.now, packet);
            }
            Step::AdminDown => self.session.admin_down(self.now),
            Step::AdminUp => self.session.admin_up(self.now),
            Step::SetTiming(desired_min_tx, required_min_rx, multiplier) => {
                self.session.set_timing(self.now, *desired_min_tx, *required_min_rx, *multiplier);
            }
        }
        self.drain();
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn no_row_of_steps_breaks_a_session(
        steps in proptest::collection::vec(any_step(), 1..60),
        passive in any::<bool>(),
        multiplier in 1..4_u8,
        seed in any::<u64>(),
    ) {
        let multiplier = NonZeroU8::new(multiplier).unwrap();
        let session = Session::new(Config { multiplier, passive, seed, ..config() });
        let mut driver =
            Driver { session, now: Instant::START, sent: None, told: None, up: false };
        driver.drain();
        for step in &steps {
            driver.step(step);
        }
    }
}

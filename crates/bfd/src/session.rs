//! The session with one neighbor (RFC 5880 §6.8), without sockets, tasks, clocks or randomness.
//!
//! The driver calls the `handle_*` functions, [`Session::admin_down`], [`Session::admin_up`] and
//! [`Session::set_timing`]; after each of them, and once after [`Session::new`], it drains
//! [`Session::poll_transmit`] and [`Session::poll_event`] and sleeps until
//! [`Session::poll_timeout`].
//!
//! What the driver owes the session, besides [`crate::udp`]:
//! - After it slept it hands over every packet that has arrived before it calls
//!   [`Session::handle_timeout`]; else a delay of its own would look like the neighbor's silence.
//! - `now` never goes back.
//!
//! What differs from the letter of RFC 5880, and why:
//! - When the neighbor was silent for a Detection Time, not only bfd.RemoteDiscr is forgotten
//!   (§6.8.1) but all that it said: a neighbor that wanted no packets (Required Min RX Interval 0)
//!   and then restarted would else wait forever.
//! - A Poll Sequence is begun only if a neighbor is known, for nobody else can end it.
//! - In AdminDown a Poll is not answered: §6.8.6 discards the packet before it comes to that.
//! - The session that a neighbor's AdminDown ends is told apart from one that failed
//!   ([`Event::AdminDown`]), as RFC 5882 §3.2 wants.

mod jitter;
mod poll;
mod resume;
#[cfg(test)]
mod tests;

use std::collections::VecDeque;
use std::num::{NonZeroU8, NonZeroU32};
use std::time::Duration;

use crate::iana::{Diagnostic, State};
use crate::packet::{Control, Exchange, Interval};
use crate::time::Instant;
use crate::udp::{MULTIHOP_PORT, SINGLE_HOP_PORT};

use jitter::{Jitter, shortest};
use poll::Poll;

pub use resume::Carried;

/// The least Desired Min TX Interval of a session that is not Up (RFC 5880 §6.8.3).
pub const SLOW_INTERVAL: Duration = Duration::from_secs(1);

/// What the operator wants of a session.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Config {
    /// Our name for the session: unique among all sessions of this machine.
    pub local_discriminator: NonZeroU32,
    /// The shortest interval in which we are ready to send; at least a microsecond.
    pub desired_min_tx: Duration,
    /// The shortest interval in which we are ready to receive; at least a microsecond, since zero
    /// would ask the neighbor for the silence that this session exists to notice.
    pub required_min_rx: Duration,
    /// Packets in a row that the neighbor must miss to call us dead.
    pub multiplier: NonZeroU8,
    /// Say nothing until the neighbor has spoken; one of the two must not be passive.
    pub passive: bool,
    /// The neighbor is several hops away (RFC 5883).
    pub multihop: bool,
    /// The seed of the jitter.
    pub seed: u64,
}

/// What became of the session.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Event {
    /// Both sides hear each other.
    Up,
    /// The session was Up and failed: what relies on the path must leave it.
    Down(Diagnostic),
    /// The session was Up and an operator ended it, here or there. This says nothing of the path,
    /// and nothing that relies on it may fall for it (RFC 5882 §3.2).
    AdminDown,
}

/// Why a packet was not taken; it has then changed nothing.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum Refused {
    /// Your Discriminator names another session, or one that a predecessor of this process had.
    #[error("the packet is for discriminator {0}")]
    Discriminator(NonZeroU32),
}

/// What the session has counted since it was made.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Counters {
    /// Packets taken.
    pub packets_in: u64,
    /// Packets refused by the session; those that do not parse never reach it.
    pub packets_refused: u64,
    /// Packets sent.
    pub packets_out: u64,
    /// How often the session came Up.
    pub ups: u64,
    /// How often it then failed; an operator's wish is no failure.
    pub downs: u64,
}

/// A view of the session for people and metrics.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Status {
    /// bfd.SessionState.
    pub state: State,
    /// Since when it is Up, if it is.
    pub up_since: Option<Instant>,
    /// bfd.LocalDiscr.
    pub local_discriminator: NonZeroU32,
    /// bfd.LocalDiag: what we say of our last change of state.
    pub local_diagnostic: Diagnostic,
    /// Why the session last failed or was ended after it was Up.
    pub last_down: Option<Diagnostic>,
    /// What the neighbor says, unless it is silent.
    pub remote: Option<Remote>,
    /// The interval at which packets go out, before jitter; `None` if none go out periodically.
    pub tx_interval: Option<Duration>,
    /// The silence after which the neighbor is dead; `None` while nothing is heard.
    pub detection_time: Option<Duration>,
    /// A Poll Sequence of ours is on.
    pub polling: bool,
    /// Over several hops.
    pub multihop: bool,
    /// See there.
    pub counters: Counters,
}

/// What the neighbor last said.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Remote {
    /// bfd.RemoteDiscr.
    pub discriminator: NonZeroU32,
    /// bfd.RemoteSessionState.
    pub state: State,
    /// Why it last changed its state.
    pub diagnostic: Diagnostic,
    /// bfd.RemoteDemandMode.
    pub demand: bool,
    /// Its Detect Mult.
    pub multiplier: NonZeroU8,
    /// Its Desired Min TX Interval.
    pub desired_min_tx: Interval,
    /// bfd.RemoteMinRxInterval.
    pub required_min_rx: Interval,
    /// When it said so.
    pub heard_at: Instant,
}

/// The session with one neighbor.
#[derive(Debug)]
pub struct Session {
    config: Config,
    phase: Phase,
    local_diagnostic: Diagnostic,
    remote: Option<Remote>,
    timing: Timing,
    poll: Poll,
    /// The neighbor polled and has no answer yet.
    owes_final: bool,
    /// The last packet without its part in a Poll Sequence: while this is still what we would say,
    /// the next one has time.
    told: Option<Control>,
    sent: Option<Sent>,
    jitter: Jitter,
    /// Until here the timers were looked at.
    seen: Instant,
    last_down: Option<Diagnostic>,
    counters: Counters,
    events: VecDeque<Event>,
}

/// bfd.SessionState with what exists only in it.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Phase {
    /// AdminDown, and the neighbor is still being told so.
    Leaving {
        until: Instant,
    },
    /// AdminDown, and silent.
    Left,
    Down,
    Init,
    Up {
        since: Instant,
    },
}

/// Our intervals: what we say, and what we go by until the neighbor has confirmed it (§6.8.3).
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
struct Timing {
    desired_min_tx: Interval,
    required_min_rx: Interval,
    tx_in_use: Interval,
    rx_in_use: Interval,
}

/// The last packet that was not an answer to a Poll.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
struct Sent {
    at: Instant,
    /// How much later than planned; the next one makes up for it.
    late: Duration,
}

impl Session {
    /// A session in the state Down. Intervals that the wire cannot carry become the nearest that it
    /// can.
    #[must_use]
    pub fn new(config: Config) -> Self {
        let slow = slow(at_least_a_microsecond(config.desired_min_tx));
        let required = at_least_a_microsecond(config.required_min_rx);
        Self {
            phase: Phase::Down,
            local_diagnostic: Diagnostic::NONE,
            remote: None,
            timing: Timing {
                desired_min_tx: slow,
                required_min_rx: required,
                tx_in_use: slow,
                rx_in_use: required,
            },
            poll: Poll::Idle,
            owes_final: false,
            told: None,
            sent: None,
            jitter: Jitter::new(config.seed),
            seen: Instant::START,
            last_down: None,
            counters: Counters::default(),
            events: VecDeque::new(),
            config,
        }
    }

    /// Takes a packet that the driver found to be this session's, in the order of §6.8.6:
    ///
    /// 1. Your Discriminator, if there is one, must be ours.
    /// 2. What the neighbor says of itself is noted, and that it was heard.
    /// 3. A Final ends our Poll Sequence, and what waited for that takes effect.
    /// 4. In AdminDown that is all.
    /// 5. Our state changes by the neighbor's.
    /// 6. A Poll is owed a Final.
    ///
    /// # Errors
    /// The packet is not for this session.
    pub fn handle_packet(&mut self, now: Instant, packet: &Control) -> Result<(), Refused> {
        self.seen = self.seen.max(now);
        if let Some(name) = packet.your_discriminator
            && name != self.config.local_discriminator
        {
            self.counters.packets_refused += 1;
            return Err(Refused::Discriminator(name));
        }
        self.counters.packets_in += 1;
        self.remote = Some(Remote {
            discriminator: packet.my_discriminator,
            state: packet.state,
            diagnostic: packet.diagnostic,
            demand: packet.demand,
            multiplier: packet.detect_mult,
            desired_min_tx: packet.desired_min_tx,
            required_min_rx: packet.required_min_rx,
            heard_at: now,
        });
        if self.poll.handle_packet(now, packet.exchange) {
            self.timing.confirm();
        }
        match (self.phase, packet.state) {
            (Phase::Leaving { .. } | Phase::Left, _) => return Ok(()),
            (Phase::Init | Phase::Up { .. }, State::AdminDown) => {
                self.fall(Diagnostic::NEIGHBOR_SIGNALED_SESSION_DOWN, Event::AdminDown);
            }
            (Phase::Down, State::Down) => self.phase = Phase::Init,
            (Phase::Down, State::Init) | (Phase::Init, State::Init | State::Up) => {
                self.phase = Phase::Up { since: now };
                self.local_diagnostic = Diagnostic::NONE;
                self.counters.ups += 1;
                self.events.push_back(Event::Up);
            }
            (Phase::Up { .. }, State::Down) => {
                let diagnostic = Diagnostic::NEIGHBOR_SIGNALED_SESSION_DOWN;
                self.fall(diagnostic, Event::Down(diagnostic));
            }
            (Phase::Down, State::AdminDown | State::Up)
            | (Phase::Init, State::Down)
            | (Phase::Up { .. }, State::Init | State::Up) => {}
        }
        self.adopt();
        if packet.exchange == Exchange::Poll {
            self.owes_final = true;
        }
        Ok(())
    }

    /// Fires the timers due at `now`: first the Detection Time, then the end of the time in which
    /// an AdminDown is told.
    pub fn handle_timeout(&mut self, now: Instant) {
        self.seen = self.seen.max(now);
        if self.detect_at().is_some_and(|at| at <= now) {
            self.remote = None;
            self.poll = Poll::Idle;
            self.owes_final = false;
            if let Phase::Init | Phase::Up { .. } = self.phase {
                let diagnostic = Diagnostic::CONTROL_DETECTION_TIME_EXPIRED;
                self.fall(diagnostic, Event::Down(diagnostic));
            }
            self.adopt();
        }
        if let Phase::Leaving { until } = self.phase
            && until <= now
        {
            self.phase = Phase::Left;
        }
    }

    /// The operator ends the session (§6.8.16). The neighbor is told for as long as it could need
    /// to notice, then there is silence until [`Session::admin_up`].
    pub fn admin_down(&mut self, now: Instant) {
        self.seen = self.seen.max(now);
        if self.state() == State::AdminDown {
            return;
        }
        self.fall(Diagnostic::ADMINISTRATIVELY_DOWN, Event::AdminDown);
        self.adopt();
        let told_in = self.tx_interval() * u32::from(self.config.multiplier.get());
        let until = now + told_in.max(self.detection_time().unwrap_or_default());
        self.phase = Phase::Leaving { until };
    }

    /// The operator allows the session again.
    pub fn admin_up(&mut self, now: Instant) {
        self.seen = self.seen.max(now);
        if self.state() == State::AdminDown {
            self.phase = Phase::Down;
        }
    }

    /// Changes what [`Config`] says of the timers, by a Poll Sequence and without a flap
    /// (§6.8.3, §6.8.12).
    pub fn set_timing(
        &mut self,
        now: Instant,
        desired_min_tx: Duration,
        required_min_rx: Duration,
        multiplier: NonZeroU8,
    ) {
        self.seen = self.seen.max(now);
        self.config.desired_min_tx = desired_min_tx;
        self.config.required_min_rx = required_min_rx;
        self.config.multiplier = multiplier;
        self.adopt();
    }

    /// When [`Session::handle_timeout`] must next be called, if ever. A packet that is already due
    /// is not counted: it waits in [`Session::poll_transmit`].
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Instant> {
        let until = match self.phase {
            Phase::Leaving { until } => Some(until),
            _ => None,
        };
        let transmit_at = self.transmit_at().filter(|at| *at > self.seen);
        [self.detect_at(), transmit_at, until].into_iter().flatten().min()
    }

    /// The next packet to send, if one is due at `now`. In this order: the answer to a Poll, news
    /// that the neighbor should not have to wait for, the periodic packet (§6.8.7).
    pub fn poll_transmit(&mut self, now: Instant) -> Option<Control> {
        self.seen = self.seen.max(now);
        if !self.may_speak() {
            return None;
        }
        let news = self.contents();
        let urgent = self.told != Some(news);
        let exchange = if self.owes_final {
            self.owes_final = false;
            // It comes on top of the periodic packets and does not move them.
            self.sent.get_or_insert(Sent { at: now, late: Duration::ZERO });
            Exchange::Final
        } else {
            let planned = self.transmit_at().filter(|at| *at <= now);
            if !urgent && planned.is_none() {
                return None;
            }
            let late = planned.filter(|_| !urgent).map_or(Duration::ZERO, |at| now - at);
            self.sent = Some(Sent { at: now, late });
            self.jitter.draw();
            if self.poll.is_on() {
                self.poll.handle_transmit(now);
                Exchange::Poll
            } else {
                Exchange::Plain
            }
        };
        self.told = Some(news);
        self.counters.packets_out += 1;
        Some(Control { exchange, ..news })
    }

    /// What became of the session, oldest first.
    pub fn poll_event(&mut self) -> Option<Event> {
        self.events.pop_front()
    }

    /// bfd.SessionState.
    #[must_use]
    pub fn state(&self) -> State {
        match self.phase {
            Phase::Leaving { .. } | Phase::Left => State::AdminDown,
            Phase::Down => State::Down,
            Phase::Init => State::Init,
            Phase::Up { .. } => State::Up,
        }
    }

    /// Our name for the session, by which the driver finds it.
    #[must_use]
    pub fn local_discriminator(&self) -> NonZeroU32 {
        self.config.local_discriminator
    }

    /// The UDP port that packets are sent to.
    #[must_use]
    pub fn destination_port(&self) -> u16 {
        if self.config.multihop { MULTIHOP_PORT } else { SINGLE_HOP_PORT }
    }

    /// All that there is to show.
    #[must_use]
    pub fn status(&self) -> Status {
        Status {
            state: self.state(),
            up_since: match self.phase {
                Phase::Up { since } => Some(since),
                _ => None,
            },
            local_discriminator: self.config.local_discriminator,
            local_diagnostic: self.local_diagnostic,
            last_down: self.last_down,
            remote: self.remote,
            tx_interval: self.speaks_periodically().then(|| self.tx_interval()),
            detection_time: self.detection_time(),
            polling: self.poll.is_on(),
            multihop: self.config.multihop,
            counters: self.counters,
        }
    }

    /// To Down, from wherever; only the end of Up is an event.
    fn fall(&mut self, diagnostic: Diagnostic, event: Event) {
        if let Phase::Up { .. } = self.phase {
            self.last_down = Some(diagnostic);
            self.counters.downs += u64::from(event != Event::AdminDown);
            self.events.push_back(event);
        }
        self.local_diagnostic = diagnostic;
        self.phase = Phase::Down;
    }

    /// Brings the intervals in line with the state and the operator's wish. A change is confirmed
    /// by a Poll Sequence; while Up, one that the neighbor must know of first waits for its end.
    fn adopt(&mut self) {
        let up = self.state() == State::Up;
        let wanted = at_least_a_microsecond(self.config.desired_min_tx);
        let desired = if up { wanted } else { slow(wanted) };
        let required = at_least_a_microsecond(self.config.required_min_rx);
        let timing = &mut self.timing;
        if (desired, required) != (timing.desired_min_tx, timing.required_min_rx) {
            timing.desired_min_tx = desired;
            timing.required_min_rx = required;
            if self.remote.is_some() {
                self.poll.request();
            }
        }
        if !up || desired <= timing.tx_in_use {
            timing.tx_in_use = desired;
        }
        if !up || required >= timing.rx_in_use {
            timing.rx_in_use = required;
        }
    }

    /// The interval of our packets before jitter (§6.8.2).
    fn tx_interval(&self) -> Duration {
        let theirs = self.remote.map_or(Interval::ZERO, |remote| remote.required_min_rx);
        self.timing.tx_in_use.max(theirs).duration()
    }

    /// The silence that is too long (§6.8.4).
    fn detection_time(&self) -> Option<Duration> {
        let remote = self.remote?;
        let interval = self.timing.rx_in_use.max(remote.desired_min_tx).duration();
        Some(interval * u32::from(remote.multiplier.get()))
    }

    fn detect_at(&self) -> Option<Instant> {
        Some(self.remote?.heard_at + self.detection_time()?)
    }

    /// When the next periodic packet goes out. One that went out late does not make the next one
    /// late, as long as they are not closer than jitter could bring them.
    fn transmit_at(&self) -> Option<Instant> {
        let sent = self.sent.filter(|_| self.speaks_periodically())?;
        let interval = self.tx_interval();
        let jittered = self.jitter.apply(interval, self.config.multiplier);
        Some(sent.at + jittered.saturating_sub(sent.late).max(shortest(interval)))
    }

    /// The passive side waits for the other; who has left is silent.
    fn may_speak(&self) -> bool {
        let waits = self.config.passive && self.remote.is_none();
        !waits && self.phase != Phase::Left
    }

    /// Packets go out even without news.
    fn speaks_periodically(&self) -> bool {
        let unwanted = self.remote.is_some_and(|remote| {
            let in_demand_mode =
                remote.demand && remote.state == State::Up && self.state() == State::Up;
            remote.required_min_rx == Interval::ZERO || (in_demand_mode && !self.poll.is_on())
        });
        self.may_speak() && !unwanted
    }

    /// What we have to say, whatever the occasion (§6.8.7).
    fn contents(&self) -> Control {
        Control {
            diagnostic: self.local_diagnostic,
            state: self.state(),
            exchange: Exchange::Plain,
            // We live in the process that is the control plane.
            control_plane_independent: false,
            demand: false,
            detect_mult: self.config.multiplier,
            my_discriminator: self.config.local_discriminator,
            your_discriminator: self.remote.map(|remote| remote.discriminator),
            desired_min_tx: self.timing.desired_min_tx,
            required_min_rx: self.timing.required_min_rx,
            required_min_echo_rx: Interval::ZERO,
        }
    }
}

impl Timing {
    /// The neighbor knows what we said: from now on we go by it.
    fn confirm(&mut self) {
        self.tx_in_use = self.desired_min_tx;
        self.rx_in_use = self.required_min_rx;
    }
}

fn at_least_a_microsecond(duration: Duration) -> Interval {
    Interval::saturating_from(duration).max(Interval(1))
}

fn slow(wanted: Interval) -> Interval {
    wanted.max(Interval::saturating_from(SLOW_INTERVAL))
}

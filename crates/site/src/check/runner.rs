//! Repeats a check: fall fast, rise slowly.
//!
//! - At the start, until the service was first up, passes follow each other without a pause: a
//!   fresh daemon announces within milliseconds. After a failure the pause begins at 50 ms and
//!   doubles up to the interval.
//! - From then on checks start at the interval, some percent of it more or less, so that the
//!   checks of many sites do not fall into step. Within one daemon those that are due within a
//!   hundredth of their interval do: see [`in_step`].
//! - Poked, because something happened to the service, it checks at once, and after a failure
//!   again every millisecond until `fall` failures have confirmed it or one check has passed.
//!   Whoever holds the handle pokes; so does the host, when a process that is checked ends, say.

use std::sync::{Arc, LazyLock};
use std::time::Duration;

use tokio::sync::{Notify, mpsc};
use tokio::task::AbortHandle;
use tokio::time::{Instant, sleep_until};

use super::{Check, Failure, random, read, watch};

/// The pause after a first failure at the start.
const FIRST_PAUSE: Duration = Duration::from_millis(50);

/// The pause between the checks that confirm a failure.
const CONFIRM_PAUSE: Duration = Duration::from_millis(1);

/// The longest time that checks are drawn together over.
const LONGEST_STEP: Duration = Duration::from_millis(10);

/// A check to repeat.
#[derive(Clone, Debug)]
pub struct Runner {
    /// The service's number, given back with each event.
    pub service: usize,
    /// The check's number, given back with each event.
    pub check: usize,
    /// The check.
    pub probe: Check,
    /// From one start to the next.
    pub interval: Duration,
    /// So many percent of the interval, at most 50, a start may come sooner or later.
    pub jitter: u8,
    /// Passes in a row that make the service up; at the start they come without a pause.
    pub rise: u32,
    /// Failures in a row that make the service down; after a poke they come without a pause.
    pub fall: u32,
}

/// One check's outcome.
#[derive(Clone, Debug, PartialEq)]
pub struct Event {
    /// The service's number.
    pub service: usize,
    /// The check's number.
    pub check: usize,
    /// The pass or why not.
    pub outcome: Result<(), Failure>,
    /// The number that a command printed last, if it passed.
    pub reading: Option<f64>,
    /// From the check's start to its outcome.
    pub took: Duration,
}

/// A running [`Runner`]; dropping it stops it.
#[derive(Debug)]
pub struct RunnerHandle {
    poke: Arc<Notify>,
    task: AbortHandle,
}

impl RunnerHandle {
    /// Checks at once: a check under way is abandoned, for it may be waiting for one who is no
    /// more.
    pub fn poke(&self) {
        self.poke.notify_one();
    }

    /// Whether it checks no more, although it was not told to stop.
    #[must_use]
    pub fn is_dead(&self) -> bool {
        self.task.is_finished()
    }
}

impl Drop for RunnerHandle {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Runner {
    /// Checks from now on, sending each outcome to `events`, until the handle is dropped or
    /// nobody listens.
    pub fn spawn(self, events: mpsc::Sender<Event>) -> RunnerHandle {
        let poke = Arc::new(Notify::new());
        let task = tokio::spawn(self.run(poke.clone(), events)).abort_handle();
        RunnerHandle { poke, task }
    }

    async fn run(self, poke: Arc<Notify>, events: mpsc::Sender<Event>) {
        let changed = || poke.notify_one();
        tokio::select! {
            () = self.repeat(&poke, events) => {}
            never = watch(&self.probe.kind, &changed) => match never {},
        }
    }

    async fn repeat(&self, poke: &Notify, events: mpsc::Sender<Event>) {
        let mut pace = Pace::new(self.interval, self.rise, self.fall);
        loop {
            let (outcome, started) = self.check_once(&mut pace, poke).await;
            let ended = Instant::now();
            let passed = outcome.is_ok();
            let (service, check) = (self.service, self.check);
            let reading = outcome.as_ref().ok().copied().flatten();
            let outcome = outcome.map(drop);
            let event = Event { service, check, outcome, reading, took: ended - started };
            if events.send(event).await.is_err() {
                return;
            }
            let next = match pace.next(passed) {
                Next::AfterEnd(pause) => ended + pause,
                Next::AfterStart(interval) => {
                    in_step(started + jitter(interval, self.jitter, random()), interval)
                }
            };
            tokio::select! {
                biased;
                () = poke.notified() => pace.poked(),
                () = sleep_until(next) => {}
            }
        }
    }

    /// Checks until there is an outcome; a poke meanwhile starts anew. Pokes that go on for
    /// longer than the timeout stop doing so, or there would never be one.
    async fn check_once(
        &self,
        pace: &mut Pace,
        poke: &Notify,
    ) -> (Result<Option<f64>, Failure>, Instant) {
        let first_start = Instant::now();
        loop {
            let started = Instant::now();
            let may_restart = started - first_start < self.probe.timeout;
            tokio::select! {
                biased;
                () = poke.notified(), if may_restart => pace.poked(),
                outcome = read(&self.probe) => return (outcome, started),
            }
        }
    }
}

/// Spreads `interval` by up to so many percent to both sides.
fn jitter(interval: Duration, percent: u8, random: u64) -> Duration {
    let most = 10 * u32::from(percent.min(50));
    let random = u32::try_from(random % u64::from(2 * most + 1)).unwrap_or_default();
    interval * (1000 - most + random) / 1000
}

/// The latest moment up to `at` that is a step; there are a hundred steps in an interval, but at
/// least one each [`LONGEST_STEP`]. Who starts at a step starts together with others, so that the
/// daemon wakes up once for all of them: waking up costs about as much as a check.
fn in_step(at: Instant, interval: Duration) -> Instant {
    static FIRST: LazyLock<Instant> = LazyLock::new(Instant::now);
    let step = (interval / 100).min(LONGEST_STEP).as_nanos();
    // A remainder of no step at all cannot be had: such an interval is below 100 ns.
    let late = at.saturating_duration_since(*FIRST).as_nanos().checked_rem(step).unwrap_or(0);
    at - Duration::from_nanos(u64::try_from(late).unwrap_or(0))
}

/// When to check next: the part that needs no clock.
#[derive(Clone, Debug)]
struct Pace {
    interval: Duration,
    rise: u32,
    fall: u32,
    mode: Mode,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Mode {
    /// Not yet up since the start.
    Proving { passes: u32, pause: Duration },
    /// As the interval says.
    Steady,
    /// Poked: is it really down?
    Confirming { fails: u32 },
}

/// When the next check starts.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Next {
    /// So long after the end of the one before.
    AfterEnd(Duration),
    /// So long after the start of the one before.
    AfterStart(Duration),
}

impl Pace {
    fn new(interval: Duration, rise: u32, fall: u32) -> Self {
        let pause = FIRST_PAUSE.min(interval);
        Self { interval, rise, fall, mode: Mode::Proving { passes: 0, pause } }
    }

    /// Something happened to the service.
    fn poked(&mut self) {
        self.mode = match self.mode {
            // It may just have started: begin with the shortest pause again.
            Mode::Proving { passes, .. } => {
                Mode::Proving { passes, pause: FIRST_PAUSE.min(self.interval) }
            }
            Mode::Steady => Mode::Confirming { fails: 0 },
            confirming @ Mode::Confirming { .. } => confirming,
        };
    }

    /// Takes in an outcome.
    fn next(&mut self, passed: bool) -> Next {
        let steady = (Mode::Steady, Next::AfterStart(self.interval));
        let (mode, next) = match (self.mode, passed) {
            (Mode::Proving { passes, .. }, true) if passes + 1 >= self.rise => steady,
            (Mode::Proving { passes, pause }, true) => {
                (Mode::Proving { passes: passes + 1, pause }, Next::AfterEnd(Duration::ZERO))
            }
            (Mode::Proving { pause, .. }, false) => {
                let longer = (pause * 2).min(self.interval);
                (Mode::Proving { passes: 0, pause: longer }, Next::AfterEnd(pause))
            }
            (Mode::Confirming { fails }, false) if fails + 1 < self.fall => {
                (Mode::Confirming { fails: fails + 1 }, Next::AfterEnd(CONFIRM_PAUSE))
            }
            (Mode::Steady | Mode::Confirming { .. }, _) => steady,
        };
        self.mode = mode;
        next
    }
}

#[cfg(test)]
mod tests;

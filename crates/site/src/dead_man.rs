//! If the steering dies, the announcements die with it: a thread that notices when the daemon's
//! loop stands still, and ends the process.
//!
//! The thread is of the standard library's: it shares nothing with the runtime that may be stuck.
//! It counts its own looks, not time: a process that was frozen and thawed, or a machine that was
//! suspended, is not one that stands still. Why it ends the process is in decision 0018.

use std::io;
use std::os::fd::AsFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use anycast_speaker::Handle;

use crate::notify::Notifier;

/// Between two looks.
const LOOK: Duration = Duration::from_millis(250);
/// Looks without a sign of life that are too many: five seconds.
const MOST_MISSED: u32 = 20;
/// How long the speaker, if it still runs, may take to tell the neighbors.
const FAREWELL: Duration = Duration::from_secs(1);
/// How often the loop is to give a sign of life at least.
pub(crate) const BEAT: Duration = Duration::from_secs(1);

/// The watch over the loop. Dropping it ends the watch.
pub(crate) struct DeadMan {
    beats: Arc<AtomicU64>,
    over: Arc<AtomicBool>,
}

impl DeadMan {
    /// Watches from now on.
    ///
    /// # Errors
    /// The kernel gives no thread.
    pub(crate) fn start(speaker: Handle, notifier: Notifier) -> io::Result<Self> {
        let beats = Arc::new(AtomicU64::new(0));
        let over = Arc::new(AtomicBool::new(false));
        let (seen, ended) = (Arc::clone(&beats), Arc::clone(&over));
        std::thread::Builder::new().name("dead-man".to_owned()).spawn(move || {
            let mut watch = Watch::default();
            while !ended.load(Ordering::Relaxed) {
                std::thread::sleep(LOOK);
                if watch.is_too_long(seen.load(Ordering::Relaxed)) {
                    end(&speaker, &notifier);
                }
            }
        })?;
        Ok(Self { beats, over })
    }

    /// The loop's sign of life.
    pub(crate) fn beat(&self) {
        self.beats.fetch_add(1, Ordering::Relaxed);
    }
}

impl Drop for DeadMan {
    fn drop(&mut self) {
        self.over.store(true, Ordering::Relaxed);
    }
}

/// What was seen of the beats.
#[derive(Debug, Default)]
struct Watch {
    beats: u64,
    missed: u32,
}

impl Watch {
    /// Takes a look; whether there was no beat for too long.
    fn is_too_long(&mut self, beats: u64) -> bool {
        if beats == self.beats {
            self.missed += 1;
        } else {
            (self.beats, self.missed) = (beats, 0);
        }
        self.missed >= MOST_MISSED
    }
}

/// Ends the sessions in order, if the speaker still can, and then the process, whatever is stuck.
fn end(speaker: &Handle, notifier: &Notifier) -> ! {
    let words = "the steering stands still: the announcements end with it";
    speaker.shutdown("the steering stands still");
    notifier.status(words);
    // Whoever reads the log may be what is stuck, and its lock held: so not by the logger, and
    // not in this thread.
    let shout = std::thread::Builder::new().name("dead-man-shout".to_owned()).spawn(move || {
        let seconds = LOOK.as_secs_f64() * f64::from(MOST_MISSED);
        let line = format!("anycast: no sign of life for {seconds} s: {words}\n");
        let _ = nix::unistd::write(io::stderr().as_fd(), line.as_bytes());
    });
    drop(shout);
    std::thread::sleep(FAREWELL);
    std::process::abort();
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_loop_that_stands_still_is_noticed_after_five_seconds_and_one_that_is_slow_is_not() {
        let mut watch = Watch::default();
        let mut looks = |beats: u64, times: u32| {
            (0..times).map(|_| watch.is_too_long(beats)).collect::<Vec<_>>()
        };
        assert_eq!(looks(0, MOST_MISSED - 1), [false; MOST_MISSED as usize - 1]);
        assert_eq!(looks(1, MOST_MISSED), [false; MOST_MISSED as usize], "one beat just in time");
        assert_eq!(looks(1, 1), [true]);
        assert_eq!(LOOK * MOST_MISSED, Duration::from_secs(5));
    }
}

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
    use std::io::{Read, Write};
    use std::net::TcpListener;
    use std::os::unix::process::ExitStatusExt;
    use std::process::{Command, Stdio};
    use std::time::Instant;

    use anycast_speaker::Speaker;

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

    /// The environment variable with the port of the neighbor.
    const PORT: &str = "ANYCAST_TEST_NEIGHBOR";

    #[test]
    fn a_speaker_that_still_runs_takes_leave_before_the_process_ends() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let mut command = Command::new(std::env::current_exe().unwrap());
        command.args(["--exact", "--ignored", "dead_man::tests::stands_still_inside"]);
        command.env(PORT, listener.local_addr().unwrap().port().to_string());
        command.stdout(Stdio::null()).stderr(Stdio::piped());
        let child = command.spawn().unwrap();
        listener.set_nonblocking(true).unwrap();
        let begin = Instant::now();
        let mut neighbor = loop {
            match listener.accept() {
                Ok((neighbor, _)) => break neighbor,
                Err(error) => assert!(begin.elapsed() < Duration::from_secs(60), "{error}"),
            }
            std::thread::sleep(Duration::from_millis(10));
        };
        neighbor.set_nonblocking(false).unwrap();
        neighbor.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
        // RFC 4271 §4.2: version 4, AS 64501, a hold time of 90 s, an identifier, no parameters.
        neighbor.write_all(&message(1, &[4, 0xfb, 0xf5, 0, 90, 198, 51, 100, 1, 0])).unwrap();
        neighbor.write_all(&message(4, &[])).unwrap();
        let mut octets = Vec::new();
        neighbor.read_to_end(&mut octets).unwrap();
        let mut messages = Vec::new();
        let mut rest = &octets[..];
        while !rest.is_empty() {
            let len = usize::from(u16::from_be_bytes([rest[16], rest[17]]));
            messages.push(&rest[18..len]);
            rest = &rest[len..];
        }
        assert_eq!((messages[0][0], messages[1]), (1, &[4][..]), "OPEN, KEEPALIVE");
        // Cease (6), Administrative Shutdown (2), with words (RFC 9003).
        let words = "the steering stands still";
        let cease = [&[3, 6, 2, 25][..], words.as_bytes()].concat();
        assert_eq!(messages.last(), Some(&&cease[..]), "{messages:?}");
        let ended = child.wait_with_output().unwrap();
        assert_eq!(ended.status.signal(), Some(6), "it aborts: {ended:?}");
        let said = String::from_utf8_lossy(&ended.stderr);
        assert!(said.contains("no sign of life for 5 s"), "{said}");
    }

    fn message(kind: u8, body: &[u8]) -> Vec<u8> {
        let len = u16::try_from(19 + body.len()).unwrap().to_be_bytes();
        [&[255; 16][..], &len, &[kind], body].concat()
    }

    #[test]
    #[ignore = "ends its process: run by the test of the like name"]
    fn stands_still_inside() {
        let port = std::env::var(PORT).unwrap();
        let text = format!(
            "[fleet]\nname = \"x\"\nasn = 64500\n[prefix.\"192.0.2.0/24\"]\n\
             services = [\"web\"]\n[service.web]\naddresses = [\"192.0.2.1\"]\n\
             builtin = \"whoami\"\n[site.fra]\nrouter-id = \"198.51.100.2\"\nlisten = false\n\
             kernel-routes = false\n[site.fra.neighbor.left]\naddress = \"127.0.0.1\"\n\
             asn = 64501\nport = {port}\nmultihop = 2\nexport = \"fleet\"\n"
        );
        let report = anycast_fleet::parse("fleet.toml", &text);
        let fleet = report.fleet.as_ref().unwrap_or_else(|| panic!("{}", report.render(false)));
        let site = fleet.site("fra").unwrap();
        let config = crate::translate::speaker_config(fleet, site).unwrap();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let speaker = Speaker::take_over(config, None, None).unwrap();
            let _watch = DeadMan::start(speaker.handle(), Notifier::of_environment()).unwrap();
            // The rest of the daemon runs, and its loop gives no sign of life.
            speaker.run().await;
            std::future::pending::<()>().await;
        });
    }
}

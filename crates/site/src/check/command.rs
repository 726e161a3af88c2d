//! A program that judges a service by its exit code.

use std::net::SocketAddr;
use std::os::unix::process::ExitStatusExt;
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;
use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::process::Command;
use tokio::time::timeout;

use super::Failure;

/// How much of the end of the standard error is kept.
const TAIL: usize = 2048;

/// How much of the last line is told.
const LONGEST_WORDS: usize = 200;

/// How long to wait for what an ended command wrote, should a child of it hold the pipe open.
const LAST_WORDS: Duration = Duration::from_millis(5);

/// Runs `argv` in a process group of its own; the number that is alone on the last line of its
/// standard output, if there is one, is its reading. When this future is dropped before the end,
/// the whole group is killed.
pub(super) async fn check(
    argv: &[String],
    env: &[(String, String)],
    target: SocketAddr,
) -> Result<Option<f64>, Failure> {
    let not_started =
        |program: &str, why: String| Failure::NotStarted { program: program.to_owned(), why };
    let [program, arguments @ ..] = argv else {
        return Err(not_started("nothing", "no program is given".to_owned()));
    };
    let mut child = Command::new(program)
        .args(arguments)
        .env("ANYCAST_ADDRESS", target.ip().to_string())
        .envs((target.port() != 0).then(|| ("ANYCAST_PORT", target.port().to_string())))
        .envs(env.iter().map(|(name, value)| (name, value)))
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .process_group(0)
        // The runtime then also reaps it, so that no zombie stays.
        .kill_on_drop(true)
        .spawn()
        .map_err(|error| not_started(program, error.to_string()))?;
    let mut group = Group::of(child.id());
    let mut output = Tail { pipe: child.stdout.take(), octets: Vec::new() };
    let mut tail = Tail { pipe: child.stderr.take(), octets: Vec::new() };

    let ended = tokio::select! {
        ended = child.wait() => ended,
        never = tail.read_on() => match never {},
        never = output.read_on() => match never {},
    };
    group.disarm();
    let status = ended.map_err(Failure::from)?;
    if status.success() {
        let _ = timeout(LAST_WORDS, output.read_rest()).await;
        return Ok(reading(&output.octets));
    }
    let _ = timeout(LAST_WORDS, tail.read_rest()).await;
    Err(failure(status, &tail.octets))
}

/// What a load is read from.
fn reading(stdout: &[u8]) -> Option<f64> {
    last_line(stdout).parse().ok().filter(|number: &f64| number.is_finite())
}

fn failure(status: ExitStatus, stderr: &[u8]) -> Failure {
    match (status.code(), status.signal()) {
        (Some(code), _) => Failure::Exit { code, words: last_line(stderr) },
        (None, signal) => Failure::Signal(signal.unwrap_or_default()),
    }
}

/// The last line with anything in it, fit to be shown.
fn last_line(octets: &[u8]) -> String {
    let text = String::from_utf8_lossy(octets);
    let line = text.lines().map(str::trim).rfind(|line| !line.is_empty()).unwrap_or_default();
    line.chars().filter(|char| !char.is_control()).take(LONGEST_WORDS).collect()
}

/// Kills a process group unless it is disarmed first.
struct Group(Option<Pid>);

impl Group {
    fn of(leader: Option<u32>) -> Self {
        Self(leader.and_then(|id| i32::try_from(id).ok()).map(Pid::from_raw))
    }

    /// The leader is gone: its number may soon be another's.
    fn disarm(&mut self) {
        self.0 = None;
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        if let Some(group) = self.0 {
            // An error means that it has just ended by itself.
            let _ = killpg(group, Signal::SIGKILL);
        }
    }
}

/// Reads what the command writes so that it never waits for us, and keeps the end.
struct Tail<P> {
    pipe: Option<P>,
    octets: Vec<u8>,
}

impl<P: AsyncRead + Unpin> Tail<P> {
    /// Reads for as long as it is polled.
    async fn read_on(&mut self) -> std::convert::Infallible {
        self.read_rest().await;
        std::future::pending().await
    }

    /// Reads until all writers have closed.
    async fn read_rest(&mut self) {
        let Some(pipe) = &mut self.pipe else { return };
        let mut chunk = [0; TAIL];
        while let Ok(len @ 1..) = pipe.read(&mut chunk).await {
            self.octets.extend_from_slice(&chunk[..len]);
            let surplus = self.octets.len().saturating_sub(TAIL);
            self.octets.drain(..surplus);
        }
        self.pipe = None;
    }
}

//! Runs the built-in services as child processes, so that one that crashes or is killed takes
//! nothing else along; starts them again.

use std::ffi::OsString;
use std::io;
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use anycast_fleet::{Builtin, Fleet, Service, Site};
use nix::sys::signal::Signal;
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::Pid;
use rustix::process::PidfdFlags;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, ChildStdin, Command};
use tokio::sync::{mpsc, oneshot, watch};

/// The first wait before a dead service is started again; doubled up to [`MAX_RESTART_WAIT`].
const RESTART_WAIT: Duration = Duration::from_secs(1);
/// The longest wait before a dead service is started again.
const MAX_RESTART_WAIT: Duration = Duration::from_secs(30);
/// A service that ran so long starts again after the first wait.
const STABLE_AFTER: Duration = Duration::from_secs(60);
/// The line by which a child says that its sockets are open. Any other is why it ends.
pub const READY: &str = "ready";

/// What became of a built-in service.
#[derive(Debug)]
pub enum BuiltinEvent {
    /// Its sockets are open.
    Ready {
        /// Its number.
        service: usize,
        /// The process.
        pid: u32,
    },
    /// Its process is no more.
    Gone {
        /// Its number.
        service: usize,
        /// How it ended, in words.
        why: String,
    },
}

/// The command line that serves one service, as the program understands it.
pub(crate) fn arguments(fleet: &Fleet, site: &Site, service: &Service) -> Vec<OsString> {
    let Some(Builtin::Whoami { dns_port, http_port }) = service.builtin else { return Vec::new() };
    let mut arguments: Vec<OsString> = ["whoami", "--fleet", &fleet.name, "--site", &site.name]
        .into_iter()
        .map(Into::into)
        .collect();
    arguments.push("--until-stdin-closes".into());
    for (option, port) in [("--dns-port", dns_port), ("--http-port", http_port)] {
        arguments.push(option.into());
        arguments.push(port.unwrap_or(0).to_string().into());
    }
    arguments.extend(service.addresses.iter().map(|address| address.to_string().into()));
    arguments
}

/// What becomes of a service's process.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Wish {
    /// It runs, and is started again when it has ended.
    Run,
    /// It ends.
    End,
    /// It runs on, and belongs to the program that takes this one's place.
    HandOver,
}

/// A process that was started by a program before this one in the same process, so that it is a
/// child of ours.
#[derive(Debug)]
pub(crate) struct Adopted {
    pub(crate) pid: i32,
    /// Its standard input, whose closing ends it.
    pub(crate) lifeline: OwnedFd,
}

/// Keeps the child of the service of this number running until `wish` says otherwise; reports to
/// `events`. `adopted`: one that runs already. If it is handed over, it goes to `given`.
pub(crate) async fn keep(
    (program, arguments): (PathBuf, Vec<OsString>),
    service: usize,
    events: mpsc::Sender<BuiltinEvent>,
    mut wish: watch::Receiver<Wish>,
    adopted: Option<Adopted>,
    given: oneshot::Sender<Adopted>,
) {
    let mut wait = RESTART_WAIT;
    if let Some(adopted) = adopted {
        let pid = u32::try_from(adopted.pid).unwrap_or_default();
        let _ = events.send(BuiltinEvent::Ready { service, pid }).await;
        let why = tokio::select! {
            why = adopted.ends() => why,
            wish = other_than_run(&mut wish) => {
                match wish {
                    Wish::HandOver => drop(given.send(adopted)),
                    Wish::Run | Wish::End => adopted.end().await,
                }
                return;
            }
        };
        if events.send(BuiltinEvent::Gone { service, why }).await.is_err() {
            return;
        }
    }
    loop {
        let started = tokio::time::Instant::now();
        let spawned = Command::new(&program)
            .args(&arguments)
            // The child ends when this closes, so it never outlives us.
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn();
        let why = match spawned {
            Ok(mut child) => {
                // Held until the child is gone: its closing would end the child.
                let lifeline = child.stdin.take();
                let mut is_ready = false;
                tokio::select! {
                    why = watch_child(&mut child, &mut is_ready, service, &events) => why,
                    wish = other_than_run(&mut wish) => {
                        if wish == Wish::HandOver && is_ready
                            && let Some(Ok(lifeline)) = lifeline.map(ChildStdin::into_owned_fd)
                            && let Some(pid) = child.id().and_then(|pid| i32::try_from(pid).ok())
                        {
                            // It is not killed with its handle.
                            std::mem::forget(child);
                            let _ = given.send(Adopted { pid, lifeline });
                        }
                        return;
                    }
                }
            }
            Err(error) => format!("cannot be started: {error}"),
        };
        if events.send(BuiltinEvent::Gone { service, why }).await.is_err() {
            return;
        }
        if started.elapsed() >= STABLE_AFTER {
            wait = RESTART_WAIT;
        }
        tokio::select! {
            () = tokio::time::sleep(wait) => {}
            _ = other_than_run(&mut wish) => return,
        }
        wait = (wait * 2).min(MAX_RESTART_WAIT);
    }
}

/// The wish, once it is another.
async fn other_than_run(wish: &mut watch::Receiver<Wish>) -> Wish {
    wish.wait_for(|wish| *wish != Wish::Run).await.map_or(Wish::End, |wish| *wish)
}

impl Adopted {
    /// Waits for its end; how it ended, in words.
    async fn ends(&self) -> String {
        let pid = rustix::process::Pid::from_raw(self.pid);
        let opened = pid.ok_or(io::ErrorKind::NotFound.into()).and_then(|pid| {
            let process = rustix::process::pidfd_open(pid, PidfdFlags::empty())?;
            crate::check::sys::readable(process)
        });
        match opened {
            Ok(process) => drop(process.readable().await),
            Err(error) => return format!("its process cannot be watched: {error}"),
        }
        match waitpid(Pid::from_raw(self.pid), Some(WaitPidFlag::WNOHANG)) {
            Ok(WaitStatus::Exited(_, code)) => format!("its process ended with exit code {code}"),
            Ok(WaitStatus::Signaled(_, signal, _)) => {
                format!("its process was killed by signal {}", signal as i32)
            }
            _ => "its process ended".to_owned(),
        }
    }

    /// Ends it and waits for that.
    async fn end(self) {
        // It is a child that nobody has waited for, so the number is its own still.
        let _ = nix::sys::signal::kill(Pid::from_raw(self.pid), Signal::SIGKILL);
        self.ends().await;
    }
}

/// Waits for the child's end; tells when it is ready. What it says last is why it ended.
async fn watch_child(
    child: &mut Child,
    is_ready: &mut bool,
    service: usize,
    events: &mpsc::Sender<BuiltinEvent>,
) -> String {
    let pid = child.id().unwrap_or_default();
    let mut last_words = String::new();
    // Its output ends with it.
    if let Some(output) = child.stdout.take() {
        let mut lines = BufReader::new(output).lines();
        while let Ok(Some(line)) = lines.next_line().await {
            if line == READY {
                *is_ready = true;
                let _ = events.send(BuiltinEvent::Ready { service, pid }).await;
            } else {
                last_words = format!(": {line}");
            }
        }
    }
    match child.wait().await {
        Ok(status) => describe(status) + &last_words,
        Err(error) => format!("cannot be waited for: {error}"),
    }
}

fn describe(status: ExitStatus) -> String {
    use std::os::unix::process::ExitStatusExt;
    match (status.code(), status.signal()) {
        (_, Some(signal)) => format!("its process was killed by signal {signal}"),
        (Some(code), None) => format!("its process ended with exit code {code}"),
        (None, None) => "its process ended".to_owned(),
    }
}

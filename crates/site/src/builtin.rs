//! Runs the built-in services as child processes, so that one that crashes or is killed takes
//! nothing else along; starts them again.

use std::convert::Infallible;
use std::ffi::OsString;
use std::io;
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use anycast_fleet::{Builtin, Fleet, Quic, Service, Site};
use nix::sys::signal::Signal;
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::Pid;
use rustix::process::PidfdFlags;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::net::unix::pipe;
use tokio::process::{Child, Command};
use tokio::sync::{mpsc, oneshot, watch};

use crate::affinity;
use crate::whoami::quic::{Named, Orders};

/// The first wait before a dead service is started again; doubled up to [`MAX_RESTART_WAIT`].
const RESTART_WAIT: Duration = Duration::from_secs(1);
/// The longest wait before a dead service is started again.
const MAX_RESTART_WAIT: Duration = Duration::from_secs(30);
/// A service that ran so long starts again after the first wait.
const STABLE_AFTER: Duration = Duration::from_secs(60);
/// The line by which a child says that its sockets are open. Any other is why it ends, but for those
/// that begin with [`QUIC`] or [`NO_QUIC`].
pub const READY: &str = "ready";
/// How a line begins that says where QUIC is served.
pub const QUIC: &str = "quic: ";
/// How a line begins that says why it is not.
pub const NO_QUIC: &str = "no quic: ";

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
    /// QUIC is served by it, or is not although it should be.
    Quic {
        /// Its number.
        service: usize,
        /// Where, in words; or why not.
        served: Result<String, String>,
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
    let Some(Builtin::Whoami { dns_port, http_port, quic }) = &service.builtin else {
        return Vec::new();
    };
    let mut arguments: Vec<OsString> = ["whoami", "--fleet", &fleet.name, "--site", &site.name]
        .into_iter()
        .map(Into::into)
        .collect();
    arguments.push("--until-stdin-closes".into());
    for (option, port) in [("--dns-port", dns_port), ("--http-port", http_port)] {
        arguments.push(option.into());
        arguments.push(port.unwrap_or(0).to_string().into());
    }
    if let Some(Quic { port, certificate, key, preferred_address }) = quic {
        let own = site.affinity.as_ref().filter(|_| *preferred_address && fleet.affinity.is_some());
        let v4 = own.and_then(|own| own.v4).map(|it| it.to_string().into());
        let v6 = own.and_then(|own| own.v6).map(|it| it.to_string().into());
        let told = [v4, v6].into_iter().flatten().map(|it| ("--preferred-address", it));
        let options = [
            ("--quic-port", port.to_string().into()),
            ("--quic-certificate", certificate.into()),
            ("--quic-key", key.into()),
        ];
        for (option, value) in options.into_iter().chain(told) {
            arguments.extend([option.into(), value]);
        }
    }
    arguments.extend(service.addresses.iter().map(|address| address.to_string().into()));
    arguments
}

/// What a service's process is told while it runs, a line each time; `None`: nothing. Unlike the rest
/// it may change without that the process begins anew, and it has a secret, which is for no command
/// line.
pub(crate) fn orders(fleet: &Fleet, site: &Site, service: &Service) -> Option<Orders> {
    service.quic()?;
    // A key that cannot be read is told as an event of affinity.
    let signing = affinity::signing(fleet, site).ok();
    let kept = signing.filter(|_| service.affinity.quic.is_some());
    let owner = kept.map(|(me, key)| Named { site: me, epoch: key.epoch, secret: key.secret });
    Some(Orders { owner })
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

/// The standard input of a service's process: its closing ends the process.
struct Lifeline(pipe::Sender);

impl Lifeline {
    fn new(end: OwnedFd) -> io::Result<Self> {
        pipe::Sender::from_owned_fd(end).map(Self)
    }

    /// Tells the process what is ordered, if anything is.
    async fn tell(&self, orders: &mut watch::Receiver<Option<Orders>>) -> io::Result<()> {
        loop {
            self.0.writable().await?;
            let Some(orders) = orders.borrow_and_update().clone() else { return Ok(()) };
            let line = serde_json::to_string(&orders).expect("numbers are JSON") + "\n";
            // A pipe takes a line that is so short as a whole or not at all.
            match self.0.try_write(line.as_bytes()) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                written => return written.map(|_| ()),
            }
        }
    }
}

/// A process that was started by a program before this one in the same process, so that it is a
/// child of ours.
#[derive(Debug)]
pub(crate) struct Adopted {
    pub(crate) pid: i32,
    /// Its standard input, whose closing ends it.
    pub(crate) lifeline: OwnedFd,
}

/// Keeps the child of the service of this number running until `wish` says otherwise, and tells it its
/// `orders`; reports to `events`. `adopted`: one that runs already. If it is handed over, it goes to
/// `given`.
pub(crate) async fn keep(
    (program, arguments): (PathBuf, Vec<OsString>),
    service: usize,
    events: mpsc::Sender<BuiltinEvent>,
    (mut wish, mut orders): (watch::Receiver<Wish>, watch::Receiver<Option<Orders>>),
    adopted: Option<Adopted>,
    given: oneshot::Sender<Adopted>,
) {
    let mut wait = RESTART_WAIT;
    if let Some(adopted) = adopted {
        let pid = u32::try_from(adopted.pid).unwrap_or_default();
        let _ = events.send(BuiltinEvent::Ready { service, pid }).await;
        let Adopted { pid, lifeline } = adopted;
        let process = Process(pid);
        let why = match Lifeline::new(lifeline) {
            Ok(lifeline) => tokio::select! {
                why = process.ends() => why,
                never = tell_orders(&lifeline, &mut orders) => match never {},
                wish = other_than_run(&mut wish) => {
                    match wish {
                        Wish::HandOver => hand_over(pid, lifeline, given),
                        Wish::Run | Wish::End => process.end().await,
                    }
                    return;
                }
            },
            // Its standard input is closed with that, so it ends.
            Err(error) => {
                process.end().await;
                format!("its standard input is not what it was: {error}")
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
                let mut is_ready = false;
                // Held until the child is gone: its closing would end the child.
                match lifeline_of(&mut child) {
                    Ok(lifeline) => tokio::select! {
                        why = watch_child(&mut child, &mut is_ready, service, &events) => why,
                        never = tell_orders(&lifeline, &mut orders) => match never {},
                        wish = other_than_run(&mut wish) => {
                            if wish == Wish::HandOver && is_ready
                                && let Some(pid) =
                                    child.id().and_then(|pid| i32::try_from(pid).ok())
                            {
                                // It is not killed with its handle.
                                std::mem::forget(child);
                                hand_over(pid, lifeline, given);
                            }
                            return;
                        }
                    },
                    Err(error) => format!("has no standard input: {error}"),
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

fn lifeline_of(child: &mut Child) -> io::Result<Lifeline> {
    let end = child.stdin.take().ok_or(io::ErrorKind::BrokenPipe)?;
    Lifeline::new(end.into_owned_fd()?)
}

/// Tells what is ordered at once, and again whenever it is another.
async fn tell_orders(
    lifeline: &Lifeline,
    orders: &mut watch::Receiver<Option<Orders>>,
) -> Infallible {
    loop {
        if let Err(error) = lifeline.tell(orders).await {
            tracing::warn!("cannot tell a built-in service how to make connection ids: {error}");
        }
        if orders.changed().await.is_err() {
            // Nobody orders anything any more.
            std::future::pending::<()>().await;
        }
    }
}

fn hand_over(pid: i32, lifeline: Lifeline, given: oneshot::Sender<Adopted>) {
    if let Ok(lifeline) = lifeline.0.into_blocking_fd() {
        let _ = given.send(Adopted { pid, lifeline });
    }
}

/// A child that somebody else has started in this process.
struct Process(i32);

impl Process {
    /// Waits for its end; how it ended, in words.
    async fn ends(&self) -> String {
        let pid = rustix::process::Pid::from_raw(self.0);
        let opened = pid.ok_or(io::ErrorKind::NotFound.into()).and_then(|pid| {
            let process = rustix::process::pidfd_open(pid, PidfdFlags::empty())?;
            crate::check::sys::readable(process)
        });
        match opened {
            Ok(process) => drop(process.readable().await),
            Err(error) => return format!("its process cannot be watched: {error}"),
        }
        match waitpid(Pid::from_raw(self.0), Some(WaitPidFlag::WNOHANG)) {
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
        let _ = nix::sys::signal::kill(Pid::from_raw(self.0), Signal::SIGKILL);
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
            } else if let Some(served) = quic_of(&line) {
                let _ = events.send(BuiltinEvent::Quic { service, served }).await;
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

/// What a line says of QUIC, if it does.
fn quic_of(line: &str) -> Option<Result<String, String>> {
    let where_it_is = line.strip_prefix(QUIC).map(|words| Ok(words.to_owned()));
    where_it_is.or_else(|| line.strip_prefix(NO_QUIC).map(|why| Err(why.to_owned())))
}

fn describe(status: ExitStatus) -> String {
    use std::os::unix::process::ExitStatusExt;
    match (status.code(), status.signal()) {
        (_, Some(signal)) => format!("its process was killed by signal {signal}"),
        (Some(code), None) => format!("its process ended with exit code {code}"),
        (None, None) => "its process ended".to_owned(),
    }
}

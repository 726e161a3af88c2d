//! Runs the built-in services as child processes, so that one that crashes or is killed takes
//! nothing else along; starts them again.

use std::ffi::OsString;
use std::path::PathBuf;
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use anycast_fleet::{Builtin, Fleet, Service, Site};
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, Command};
use tokio::sync::{mpsc, watch};

/// The first wait before a dead service is started again; doubled up to [`MAX_RESTART_WAIT`].
const RESTART_WAIT: Duration = Duration::from_secs(1);
/// The longest wait before a dead service is started again.
const MAX_RESTART_WAIT: Duration = Duration::from_secs(30);
/// A service that ran so long starts again after the first wait.
const STABLE_AFTER: Duration = Duration::from_secs(60);
/// The line by which a child says that its sockets are open.
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

/// Keeps the child of the service of this number running until `stop` says so; reports to
/// `events`.
pub(crate) async fn keep(
    program: PathBuf,
    arguments: Vec<OsString>,
    service: usize,
    events: mpsc::Sender<BuiltinEvent>,
    mut stop: watch::Receiver<bool>,
) {
    let mut wait = RESTART_WAIT;
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
            Ok(child) => tokio::select! {
                why = watch_child(child, service, &events) => why,
                _ = stop.wait_for(|stop| *stop) => return,
            },
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
            _ = stop.wait_for(|stop| *stop) => return,
        }
        wait = (wait * 2).min(MAX_RESTART_WAIT);
    }
}

/// Waits for the child's end; tells when it is ready.
async fn watch_child(
    mut child: Child,
    service: usize,
    events: &mpsc::Sender<BuiltinEvent>,
) -> String {
    // Held until the child is gone: its closing would end the child.
    let _stdin = child.stdin.take();
    let pid = child.id().unwrap_or_default();
    let output = child.stdout.take();
    let ready = async {
        let Some(output) = output else { return std::future::pending().await };
        let mut lines = BufReader::new(output).lines();
        while let Ok(Some(line)) = lines.next_line().await {
            if line == READY {
                let _ = events.send(BuiltinEvent::Ready { service, pid }).await;
            }
        }
        std::future::pending::<()>().await;
    };
    tokio::select! {
        ended = child.wait() => match ended {
            Ok(status) => describe(status),
            Err(error) => format!("cannot be waited for: {error}"),
        },
        () = ready => unreachable!("never ends"),
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

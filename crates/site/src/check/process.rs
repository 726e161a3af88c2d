//! A process that runs, found by a pid file or by what it runs.
//!
//! Once found it is held by a file descriptor (pidfd_open(2)), which becomes readable when it
//! ends: its death is an event, its number cannot become another's unnoticed, and looking again
//! costs one system call. Another process of the same program may then be found in its place.

use std::fs;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::inotify::{ReadFlags, WatchFlags};
use rustix::process::{Pid, PidfdFlags, pidfd_open};
use tokio::sync::watch;

use super::inotify::{Inotify, follow};
use super::{Failure, sys};

/// From the opening of a program's file until a process runs it.
const UNTIL_IT_RUNS: Duration = Duration::from_millis(2);

/// How often to look whether a program is there whose file is not.
const UNTIL_INSTALLED: Duration = Duration::from_secs(1);

/// Which process.
#[derive(Debug)]
pub struct Target {
    pid_file: Option<PathBuf>,
    program: Option<String>,
    /// The one that was found last, until it ends.
    held: watch::Sender<Option<Arc<OwnedFd>>>,
}

impl Target {
    /// The process whose number is in the file and that runs the program, as far as they are
    /// given: an absolute path, or the name that the kernel keeps (15 octets).
    pub fn new(pid_file: Option<PathBuf>, program: Option<String>) -> Self {
        Self { pid_file, program, held: watch::Sender::new(None) }
    }

    fn no_such_process(&self) -> Failure {
        Failure::Local(match &self.program {
            Some(program) => format!("no process runs {program}"),
            None => "no process is looked for".to_owned(),
        })
    }
}

pub(super) async fn check(target: &Target) -> Result<(), Failure> {
    if let Some(path) = &target.pid_file {
        let pid = read_pid(path)?;
        let process = open(pid)?
            .ok_or_else(|| Failure::Local(format!("process {} has ended", pid.as_raw_pid())))?;
        if let Some(program) = &target.program
            && !runs(pid, program)
        {
            let pid = pid.as_raw_pid();
            return Err(Failure::Local(format!("process {pid} does not run {program}")));
        }
        hold(target, process, true);
        return Ok(());
    }
    let held = target.held.borrow().clone();
    if held.is_some_and(|process| lives(process.as_fd())) {
        return Ok(());
    }
    let Some(program) = target.program.clone() else { return Err(target.no_such_process()) };
    let found = tokio::task::spawn_blocking(move || find(&program)).await;
    let found = found.map_err(|error| Failure::Local(error.to_string()))??;
    hold(target, found.ok_or_else(|| target.no_such_process())?, false);
    Ok(())
}

/// The number in a pid file is opened at each check; only another process is news.
fn hold(target: &Target, process: OwnedFd, may_be_known: bool) {
    target.held.send_if_modified(|held| {
        let known = may_be_known
            && held.as_ref().is_some_and(|held| {
                lives(held.as_fd()) && same_process(held.as_fd(), process.as_fd())
            });
        if !known {
            *held = Some(Arc::new(process));
        }
        !known
    });
}

/// Since Linux 6.9 each process has an inode of its own; before, all looked the same here, and so
/// the one held would be taken for the new one: then only its own death is told.
fn same_process(one: BorrowedFd<'_>, other: BorrowedFd<'_>) -> bool {
    match (rustix::fs::fstat(one), rustix::fs::fstat(other)) {
        (Ok(one), Ok(other)) => (one.st_dev, one.st_ino) == (other.st_dev, other.st_ino),
        _ => false,
    }
}

fn read_pid(path: &Path) -> Result<Pid, Failure> {
    let shown = path.display();
    let text = fs::read_to_string(path).map_err(|error| {
        let why = match error.kind() {
            io::ErrorKind::NotFound => format!("{shown} is not there"),
            _ => format!("cannot read {shown}: {error}"),
        };
        Failure::Local(why)
    })?;
    let number = text.split_whitespace().next().and_then(|word| word.parse().ok());
    number.and_then(pid).ok_or_else(|| Failure::Local(format!("{shown} holds no process number")))
}

fn pid(number: i32) -> Option<Pid> {
    if number > 0 { Pid::from_raw(number) } else { None }
}

/// The process, unless it has ended; a zombie has.
fn open(pid: Pid) -> Result<Option<OwnedFd>, Failure> {
    match pidfd_open(pid, PidfdFlags::empty()) {
        Ok(process) => Ok(lives(process.as_fd()).then_some(process)),
        // The number of a thread, which is no process, gives EINVAL.
        Err(rustix::io::Errno::SRCH | rustix::io::Errno::INVAL) => Ok(None),
        Err(error) => Err(io::Error::from(error).into()),
    }
}

fn lives(process: BorrowedFd<'_>) -> bool {
    let mut polled = [PollFd::new(&process, PollFlags::IN)];
    matches!(poll(&mut polled, Some(&Timespec::default())), Ok(0))
}

/// Any process that runs the program.
fn find(program: &str) -> Result<Option<OwnedFd>, Failure> {
    let numbers = fs::read_dir("/proc")?
        .filter_map(|entry| pid(entry.ok()?.file_name().to_str()?.parse().ok()?));
    for pid in numbers.filter(|pid| runs(*pid, program)) {
        // Held first, then looked at again: the number may have become another's.
        if let Some(process) = open(pid)?
            && runs(pid, program)
        {
            return Ok(Some(process));
        }
    }
    Ok(None)
}

fn runs(pid: Pid, program: &str) -> bool {
    let entry = |name: &str| format!("/proc/{}/{name}", pid.as_raw_pid());
    if !program.starts_with('/') {
        return fs::read(entry("comm"))
            .is_ok_and(|name| name.trim_ascii_end() == program.as_bytes());
    }
    match fs::read_link(entry("exe")) {
        // A file that was replaced since is the program all the same.
        Ok(file) => file.to_str().is_some_and(|file| {
            file == program || file.strip_suffix(" (deleted)").is_some_and(|file| file == program)
        }),
        // Only its owner and root may see what it runs; anybody, what it was called as.
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
            let called = fs::read(entry("cmdline")).unwrap_or_default();
            called.split(|octet| *octet == 0).next() == Some(program.as_bytes())
        }
        Err(_) => false,
    }
}

/// Says `changed` when the process has ended, and when one may have come.
pub(super) async fn watch(target: &Target, changed: &(dyn Fn() + Sync)) -> io::Error {
    let death = async {
        let mut held = target.held.subscribe();
        loop {
            let process = held.borrow_and_update().clone();
            let ended = async {
                match process {
                    Some(process) => ends(&process).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                ended = ended => {
                    if let Err(error) = ended {
                        return error;
                    }
                    target.held.send_replace(None);
                    changed();
                }
                // The sender is the target's.
                _ = held.changed() => {}
            }
        }
    };
    let coming = async {
        match (&target.pid_file, &target.program) {
            (Some(path), _) => follow(path, changed).await,
            (None, Some(program)) if program.starts_with('/') => {
                started(Path::new(program), changed).await
            }
            // Of a name alone the kernel tells nothing.
            _ => std::future::pending().await,
        }
    };
    tokio::select! {
        error = death => error,
        error = coming => error,
    }
}

async fn ends(process: &OwnedFd) -> io::Result<()> {
    sys::readable(process.try_clone()?)?.readable().await.map(drop)
}

/// Says `changed` when the program may have been started: to run a file the kernel opens it.
async fn started(program: &Path, changed: &(dyn Fn() + Sync)) -> io::Error {
    let flags =
        WatchFlags::OPEN | WatchFlags::ATTRIB | WatchFlags::DELETE_SELF | WatchFlags::MOVE_SELF;
    let inotify = match Inotify::new() {
        Ok(inotify) => inotify,
        Err(error) => return error,
    };
    loop {
        let Ok(watch) = inotify.watch(program, flags) else {
            tokio::time::sleep(UNTIL_INSTALLED).await;
            continue;
        };
        loop {
            let seen = match inotify.next().await {
                Ok(seen) => seen,
                Err(error) => return error,
            };
            tokio::time::sleep(UNTIL_IT_RUNS).await;
            changed();
            // Its attributes change too when it is replaced while somebody runs it.
            if seen.iter().any(|seen| seen.is_the_end() || seen.flags.contains(ReadFlags::ATTRIB)) {
                break;
            }
        }
        inotify.unwatch(watch);
    }
}

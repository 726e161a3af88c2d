//! A lab that runs as a user starts it: the release binary, a child of the bench.

use std::io::{BufRead, BufReader};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::{Pid, Uid};

use crate::Failure;
use crate::processes::{self, Process};

/// The user that stands for everybody without privileges.
pub const NOBODY: u32 = 65534;
/// How long a lab may take to end.
const PATIENCE: Duration = Duration::from_secs(20);

/// What is measured, and where files for it lie: a folder that every user can read, removed at
/// the end.
pub struct Workshop {
    folder: PathBuf,
}

impl Workshop {
    /// Copies the release binary, which lies beside the bench's own, where every user can run it.
    ///
    /// # Errors
    /// It is not built, or cannot be copied.
    pub fn open() -> Result<Self, Failure> {
        let built = std::env::current_exe()?.with_file_name("anycast");
        if !built.is_file() {
            return Err(format!("{} is missing: make build", built.display()).into());
        }
        let folder = std::env::temp_dir().join(format!("anycast-bench-{}", std::process::id()));
        std::fs::create_dir(&folder)?;
        let workshop = Self { folder };
        std::fs::copy(built, workshop.program())?;
        Ok(workshop)
    }

    /// The release binary.
    #[must_use]
    pub fn program(&self) -> PathBuf {
        self.folder.join("anycast")
    }

    /// Writes a file.
    ///
    /// # Errors
    /// Of the file system.
    pub fn write(&self, name: &str, text: &str) -> Result<PathBuf, Failure> {
        let path = self.folder.join(name);
        std::fs::write(&path, text)?;
        Ok(path)
    }
}

impl Drop for Workshop {
    fn drop(&mut self) {
        // It lies in the folder for temporary files: leaving it is no harm.
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

/// What a lab is started with.
#[derive(Clone, Copy, Default)]
pub struct Files<'a> {
    /// The fleet and the world; `None`: the built-in ones.
    pub fleet_and_world: Option<(&'a Path, &'a Path)>,
}

/// A lab in which every client has been answered.
pub struct Lab {
    child: Child,
    program: PathBuf,
    name: String,
    /// From before the start of the program until it said that every client is answered.
    pub start: Duration,
    /// Its own word on its size: `53 routers, 5 sites, …`.
    pub size: String,
}

impl Lab {
    /// Starts a lab as the caller, or without privileges, and waits until every client is
    /// answered.
    ///
    /// # Errors
    /// It does not come up: with what it said.
    pub fn start(
        workshop: &Workshop,
        files: Files<'_>,
        unprivileged: bool,
    ) -> Result<Self, Failure> {
        let name = format!("bench-{}", std::process::id());
        let mut command = Command::new(workshop.program());
        command.args(["lab", "--name", &name]);
        if let Some((fleet, world)) = files.fleet_and_world {
            command.arg(fleet).arg("--world").arg(world);
        }
        if unprivileged && Uid::effective().is_root() {
            command.uid(NOBODY).gid(NOBODY);
        }
        command.current_dir("/").stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
        let began = Instant::now();
        let mut child = command.spawn()?;
        let mut said = String::new();
        let mut start = None;
        let mut lines =
            BufReader::new(child.stderr.take().ok_or("standard error is a pipe")?).lines();
        for line in lines.by_ref() {
            let line = line?;
            if all_answered(&line) {
                start = Some(began.elapsed());
            }
            said += &line;
            said.push('\n');
            if let (Some(start), Some((size, _))) = (start, line.split_once(", up after ")) {
                let size = size.to_owned();
                // What it says later is nobody's, but the pipe must not fill up or break.
                std::thread::spawn(move || lines.for_each(drop));
                return Ok(Self { child, program: workshop.program(), name, start, size });
            }
        }
        let status = child.wait()?;
        Err(format!("the lab ended ({status}) before every client was answered:\n{said}").into())
    }

    /// All its processes.
    #[must_use]
    pub fn processes(&self) -> Vec<Process> {
        i32::try_from(self.child.id()).map(processes::tree).unwrap_or_default()
    }

    /// The proportional set sizes of all its processes, in megabytes.
    #[must_use]
    pub fn megabytes(&self) -> f64 {
        self.processes().iter().map(Process::megabytes).sum()
    }

    /// A command that runs in a node.
    #[must_use]
    pub fn exec(&self, node: &str) -> Command {
        let mut command = Command::new(&self.program);
        command.args(["lab", "--name", &self.name, "exec", node, "--"]);
        command
    }

    /// The process that serves a built-in service at a site.
    ///
    /// # Errors
    /// There is none.
    pub fn service(&self, site: &str) -> Result<Process, Failure> {
        let words = format!(" whoami --fleet example --site {site} ");
        let found = self.processes().into_iter().find(|it| it.command_line().contains(&words));
        found.ok_or_else(|| format!("site {site} runs no service").into())
    }

    /// Stops it as Ctrl-C does. Returns the time until no process of it lives.
    ///
    /// # Errors
    /// It lives on.
    pub fn stop(mut self) -> Result<Duration, Failure> {
        let all = self.processes();
        let began = Instant::now();
        kill(Pid::from_raw(i32::try_from(self.child.id())?), Signal::SIGINT)?;
        self.child.wait()?;
        if !processes::wait_until_gone(&all, PATIENCE) {
            return Err("processes of the lab outlive it".into());
        }
        Ok(began.elapsed())
    }
}

impl Drop for Lab {
    /// For a bench that fails: the lab's processes end with this one.
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Whether a line of progress says that nobody is missing: `28 of 28 clients answered`.
fn all_answered(line: &str) -> bool {
    let words: Vec<&str> = line.split_whitespace().collect();
    matches!(words.as_slice(), [.., answered, "of", of, "clients", "answered"] if answered == of)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_line_that_nobody_is_missing_is_known() {
        for (line, want) in [
            ("  0.41 s  28 of 28 clients answered", true),
            ("  0.31 s  2 of 28 clients answered", false),
            ("  0.25 s  53 routers and 5 sites started", false),
            ("", false),
        ] {
            assert_eq!(all_answered(line), want, "{line}");
        }
    }
}

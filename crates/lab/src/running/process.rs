//! Processes of nodes: the sites' daemons, and routers that are other programs.

use std::fs::File;
use std::io::{self, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tokio::process::{Child, Command};

use crate::netns::NetNs;
use crate::peers::{self, Run};
use crate::plan::{Implementation, Plan, RouterPlan};
use crate::sandbox::{BPF_DIR, NETNS_DIR, RUN_DIR, STATE_DIR};

/// How long a program may take until it is ready for the next one.
const READY: Duration = Duration::from_secs(10);

/// What runs in a node: one process, or several that belong together.
pub(super) struct NodeProcess {
    children: Vec<Child>,
    log: PathBuf,
}

impl NodeProcess {
    /// Ends it: SIGTERM, and SIGKILL for what has not ended within `patience`.
    pub(super) async fn stop(mut self, patience: Duration) {
        for child in &self.children {
            if let Some(pid) = child.id().and_then(|pid| i32::try_from(pid).ok()) {
                // One that has just ended is as good.
                let _ = kill(Pid::from_raw(pid), Signal::SIGTERM);
            }
        }
        let deadline = tokio::time::Instant::now() + patience;
        for child in &mut self.children {
            if tokio::time::timeout_at(deadline, child.wait()).await.is_err() {
                let _ = child.kill().await;
            }
        }
    }

    /// The end of its log, if it has ended by itself.
    pub(super) fn obituary(&mut self) -> Option<String> {
        let ended = self.children.iter_mut().find_map(|child| child.try_wait().ok().flatten())?;
        let log = std::fs::read_to_string(&self.log).unwrap_or_default();
        // Our own programs end with one line that says all; others with a few.
        let words = log.rfind("anycast: ").map(|at| &log[at + "anycast: ".len()..]);
        let tail: Vec<&str> = words.unwrap_or(&log).lines().rev().take(5).collect();
        let last: Vec<&str> = tail.into_iter().rev().collect();
        Some(format!("its daemon ended ({ended}):\n  {}", last.join("\n  ")))
    }
}

/// The control socket of a site of the lab.
pub(super) fn site_socket(site: &str) -> PathBuf {
    Path::new(RUN_DIR).join(format!("{site}.sock"))
}

fn log_file(node: &str) -> io::Result<(PathBuf, File)> {
    let path = Path::new(RUN_DIR).join(format!("{node}.log"));
    let file = File::options().create(true).append(true).open(&path)?;
    Ok((path, file))
}

/// Starts the daemon of a site in its namespace.
pub(super) fn start_site(
    program: &Path,
    fleet: &Path,
    (site, affinity_mode): (&str, &str),
    namespace: &NetNs,
) -> io::Result<NodeProcess> {
    let (log, output) = log_file(site)?;
    let mut command = Command::new(program);
    command
        .arg("run")
        .arg(fleet)
        .args(["--site", site, "--socket"])
        .arg(site_socket(site))
        .args(["--state-dir", STATE_DIR])
        .env("ANYCAST_BPF_DIR", BPF_DIR)
        .env("ANYCAST_AFFINITY_MODE", affinity_mode)
        .stdin(Stdio::null())
        .stdout(output.try_clone()?)
        .stderr(output)
        .kill_on_drop(true);
    let child = namespace.run(|| command.spawn())?;
    Ok(NodeProcess { children: vec![child], log })
}

/// Whether a router is another program than ours.
pub(super) fn is_foreign(plan: &RouterPlan) -> bool {
    plan.implementation != Implementation::Anycast
}

/// Writes the configuration of a router that is another program, and starts it.
pub(super) async fn start_foreign(
    plan: &Plan,
    node: usize,
    namespace: &NetNs,
) -> Result<NodeProcess, String> {
    let name = &plan.nodes[node].name;
    let folder = Path::new(RUN_DIR).join(name);
    std::fs::create_dir_all(&folder).map_err(|error| format!("{}: {error}", folder.display()))?;
    let peer = peers::configure(plan, node, &folder).map_err(|error| error.to_string())?;
    for file in &peer.files {
        write_secret(&file.path, &file.content)
            .map_err(|error| format!("cannot write {}: {error}", file.path.display()))?;
    }
    let (log, output) = log_file(name).map_err(|error| error.to_string())?;
    let mut children = Vec::new();
    for line in &peer.commands {
        let start = || {
            let mut command = Command::from(line.to_process());
            command
                .current_dir(&folder)
                .stdin(Stdio::null())
                .stdout(output.try_clone()?)
                .stderr(output.try_clone()?)
                .kill_on_drop(true);
            namespace.run(|| command.spawn())
        };
        let failed = |error: io::Error| format!("cannot start {}: {error}", line.argv[0]);
        match &line.run {
            Run::Daemon { ready } => {
                children.push(start().map_err(failed)?);
                if let Some(ready) = ready {
                    wait_for(ready).await.map_err(failed)?;
                }
            }
            Run::Once => {
                let deadline = Instant::now() + READY;
                while !start().map_err(failed)?.wait().await.map_err(failed)?.success() {
                    if Instant::now() >= deadline {
                        return Err(format!(
                            "{} fails: see {}",
                            line.argv.join(" "),
                            log.display()
                        ));
                    }
                    tokio::time::sleep(Duration::from_millis(50)).await;
                }
            }
        }
    }
    Ok(NodeProcess { children, log })
}

/// Writes a file that only its owner can read: it may hold a password.
fn write_secret(path: &Path, content: &str) -> io::Result<()> {
    let mut file =
        File::options().create(true).write(true).truncate(true).mode(0o600).open(path)?;
    file.write_all(content.as_bytes())
}

/// Waits until a daemon has made its socket.
async fn wait_for(socket: &Path) -> io::Result<()> {
    let deadline = Instant::now() + READY;
    while !socket.exists() {
        if Instant::now() >= deadline {
            let words = format!("{} does not appear", socket.display());
            return Err(io::Error::new(io::ErrorKind::TimedOut, words));
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    Ok(())
}

/// Sends a signal to every process in a namespace.
pub(super) fn signal_namespace(namespace: &NetNs, signal: Signal) -> io::Result<()> {
    let wanted = std::fs::metadata(Path::new(NETNS_DIR).join(namespace.name()))?.ino();
    for pid in pids() {
        let at = std::fs::metadata(format!("/proc/{pid}/ns/net"));
        if at.is_ok_and(|at| at.ino() == wanted) {
            // One that has just ended needs no signal.
            let _ = kill(Pid::from_raw(pid), signal);
        }
    }
    Ok(())
}

fn pids() -> impl Iterator<Item = i32> {
    std::fs::read_dir("/proc")
        .into_iter()
        .flatten()
        .flatten()
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
}

/// The proportional set sizes of every process of the lab, in octets.
pub(super) fn memory_of_all() -> u64 {
    let kilobytes = |pid: i32| {
        let rollup = std::fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).ok()?;
        let line = rollup.lines().find_map(|line| line.strip_prefix("Pss:"))?;
        line.trim().trim_end_matches("kB").trim().parse::<u64>().ok()
    };
    pids().filter_map(kilobytes).sum::<u64>() * 1024
}

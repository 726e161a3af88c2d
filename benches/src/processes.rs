//! Processes as /proc shows them.

use std::collections::HashMap;
use std::fs;
use std::time::{Duration, Instant};

/// A process and when it began, so that a pid that is used again is not mistaken for it.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Process {
    /// Its number in this PID namespace.
    pub pid: i32,
    parent: i32,
    /// Clock ticks after the machine's start.
    began: u64,
    /// Clock ticks of CPU time, of user and system.
    ticks: u64,
}

impl Process {
    /// Reads /proc/PID/stat; `None`: there is no such process, or it has ended and waits for its
    /// parent to notice.
    #[must_use]
    pub fn of(pid: i32) -> Option<Self> {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        // The name stands in parentheses and may hold anything; state is the third field.
        let fields: Vec<&str> = stat.rsplit_once(')')?.1.split_whitespace().collect();
        let number = |index: usize| fields.get(index - 3)?.parse::<u64>().ok();
        let state = *fields.first()?;
        let parent = fields.get(1)?.parse().ok()?;
        let process = Self { pid, parent, began: number(22)?, ticks: number(14)? + number(15)? };
        (state != "Z" && state != "X").then_some(process)
    }

    /// Whether it runs still.
    #[must_use]
    pub fn lives(&self) -> bool {
        Self::of(self.pid).is_some_and(|now| now.began == self.began)
    }

    /// Seconds of CPU time until now, or until it was read if it has ended.
    #[must_use]
    pub fn cpu_seconds(&self) -> f64 {
        let now = Self::of(self.pid).filter(|now| now.began == self.began);
        // USER_HZ is 100 on every architecture that this runs on.
        precise(now.unwrap_or(*self).ticks) / 100.0
    }

    /// Its command line, with spaces between the words.
    #[must_use]
    pub fn command_line(&self) -> String {
        let octets = fs::read(format!("/proc/{}/cmdline", self.pid)).unwrap_or_default();
        String::from_utf8_lossy(&octets).replace('\0', " ")
    }

    /// The largest that its resident set has been, in megabytes (10⁶ octets).
    #[must_use]
    pub fn peak_megabytes(&self) -> f64 {
        kilobytes(&format!("/proc/{}/status", self.pid), "VmHWM:") * 1.024e-3
    }

    /// Its proportional set size, in megabytes: shared pages count in part.
    #[must_use]
    pub fn megabytes(&self) -> f64 {
        kilobytes(&format!("/proc/{}/smaps_rollup", self.pid), "Pss:") * 1.024e-3
    }
}

#[expect(clippy::cast_precision_loss, reason = "far below 2^52")]
fn precise(number: u64) -> f64 {
    number as f64
}

fn kilobytes(file: &str, key: &str) -> f64 {
    let text = fs::read_to_string(file).unwrap_or_default();
    let line = text.lines().find_map(|line| line.strip_prefix(key));
    let number = line.and_then(|line| line.split_whitespace().next()?.parse().ok());
    number.unwrap_or(f64::NAN)
}

/// `root` and everything that descends from it.
#[must_use]
pub fn tree(root: i32) -> Vec<Process> {
    let mut children: HashMap<i32, Vec<Process>> = HashMap::new();
    for entry in fs::read_dir("/proc").into_iter().flatten().flatten() {
        let pid = entry.file_name().to_str().and_then(|name| name.parse().ok());
        if let Some(process) = pid.and_then(Process::of) {
            children.entry(process.parent).or_default().push(process);
        }
    }
    let mut found: Vec<Process> = Process::of(root).into_iter().collect();
    let mut next = 0;
    while let Some(process) = found.get(next) {
        found.extend(children.remove(&process.pid).unwrap_or_default());
        next += 1;
    }
    found
}

/// Waits until none of `processes` lives. `false`: some still do after `patience`.
#[must_use]
pub fn wait_until_gone(processes: &[Process], patience: Duration) -> bool {
    let deadline = Instant::now() + patience;
    while processes.iter().any(Process::lives) {
        if Instant::now() >= deadline {
            return false;
        }
        std::thread::sleep(Duration::from_micros(200));
    }
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_has_its_children_below_it_until_they_end() {
        let mut child = std::process::Command::new("sleep").arg("60").spawn().expect("sleep");
        let me = i32::try_from(std::process::id()).expect("a pid");
        let pid = i32::try_from(child.id()).expect("a pid");
        let below = tree(me);
        let found = *below.iter().find(|process| process.pid == pid).expect("the child");
        assert!(found.lives() && found.parent == me);
        assert!(!wait_until_gone(&[found], Duration::from_millis(1)));
        child.kill().expect("it can be killed");
        assert!(wait_until_gone(&[found], Duration::from_secs(10)), "also before it is waited for");
        child.wait().expect("it ends");
    }
}

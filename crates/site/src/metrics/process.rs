//! This process, as the kernel sees it (proc(5)). What cannot be read is left out.

use std::fs;

use nix::sys::resource::{Resource, getrlimit};
use nix::unistd::{SysconfVar, sysconf};

use super::families as f;
use super::text::Exposition;

/// Adds what is known of this process.
pub(super) fn add(into: &mut Exposition) {
    if let Some(stat) = fs::read_to_string("/proc/self/stat").ok().as_deref().and_then(Stat::read) {
        let ticks = configured(SysconfVar::CLK_TCK);
        let page = configured(SysconfVar::PAGE_SIZE);
        into.add(&f::CPU, &[], stat.cpu_ticks / ticks);
        into.add(&f::THREADS, &[], stat.threads);
        into.add(&f::VIRTUAL, &[], stat.virtual_octets);
        into.add(&f::RESIDENT, &[], stat.resident_pages * page);
        let boot = fs::read_to_string("/proc/stat").ok().as_deref().and_then(boot_time);
        if let Some(boot) = boot {
            into.add(&f::START_TIME, &[], boot + stat.start_ticks / ticks);
        }
    }
    if let Ok(entries) = fs::read_dir("/proc/self/fd") {
        // One of them is the folder itself.
        into.count(&f::OPEN_FDS, &[], entries.count().saturating_sub(1) as u64);
    }
    if let Ok((soft, _)) = getrlimit(Resource::RLIMIT_NOFILE) {
        into.count(&f::MAX_FDS, &[], soft);
    }
}

#[expect(clippy::cast_precision_loss, reason = "small numbers")]
fn configured(variable: SysconfVar) -> f64 {
    sysconf(variable).ok().flatten().map_or(1.0, |value| value as f64)
}

/// What of /proc/PID/stat is told.
#[derive(Debug, PartialEq)]
struct Stat {
    /// User and system time.
    cpu_ticks: f64,
    threads: f64,
    /// After the machine's start.
    start_ticks: f64,
    virtual_octets: f64,
    resident_pages: f64,
}

impl Stat {
    fn read(line: &str) -> Option<Self> {
        // The name, in brackets, may hold brackets and spaces itself.
        let (_, rest) = line.rsplit_once(')')?;
        // The first of these is field 3 of proc_pid_stat(5).
        let fields: Vec<&str> = rest.split_whitespace().collect();
        let field = |number: usize| fields.get(number - 3)?.parse::<f64>().ok();
        Some(Self {
            cpu_ticks: field(14)? + field(15)?,
            threads: field(20)?,
            start_ticks: field(22)?,
            virtual_octets: field(23)?,
            resident_pages: field(24)?,
        })
    }
}

fn boot_time(stat: &str) -> Option<f64> {
    stat.lines().find_map(|line| line.strip_prefix("btime "))?.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_counted_after_a_name_with_brackets_and_spaces() {
        let numbers: Vec<String> = (4..=52).map(|number| number.to_string()).collect();
        let line = format!("7 (a) b (c) S {}", numbers.join(" "));
        let read = Stat::read(&line);
        let wanted = Stat {
            cpu_ticks: 29.0,
            threads: 20.0,
            start_ticks: 22.0,
            virtual_octets: 23.0,
            resident_pages: 24.0,
        };
        assert_eq!(read, Some(wanted));
        assert_eq!(Stat::read("7 (a) S 1 2"), None);
        assert_eq!(boot_time("cpu 1\nbtime 1795376684\n"), Some(1_795_376_684.0));
    }
}

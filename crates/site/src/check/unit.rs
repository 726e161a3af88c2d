//! A systemd unit that has processes, as its control group says (cgroups(7)).
//!
//! systemd gives each unit a control group of its name; the kernel keeps whether there is a
//! process in it and tells when that changes. docs/decisions says why systemd itself is not asked.

use std::ffi::OsStr;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use rustix::fs::inotify::WatchFlags;

use super::Failure;
use super::inotify::{Inotify, Seen};

/// Where version 2 of control groups is mounted: alone, or beside version 1.
const ROOTS: [&str; 2] = ["/sys/fs/cgroup", "/sys/fs/cgroup/unified"];

/// Slices lie in slices, but never this deep.
const DEEPEST: u8 = 8;

/// Where systemd puts services that do not say otherwise.
const SYSTEM_SLICE: &str = "system.slice";

/// Which unit.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Target {
    unit: String,
    root: PathBuf,
}

impl Target {
    /// The unit of that name, with its type: `nsd.service`.
    pub fn new(unit: String) -> Self {
        let is_mounted = |root: &&str| Path::new(root).join("cgroup.controllers").exists();
        let root = ROOTS.into_iter().find(is_mounted).unwrap_or(ROOTS[0]);
        Self { unit, root: root.into() }
    }

    /// The same, of a tree that is mounted elsewhere.
    #[cfg(test)]
    pub(super) fn below(root: PathBuf, unit: &str) -> Self {
        Self { unit: unit.to_owned(), root }
    }

    /// Its control group, which goes when its last process does.
    fn find(&self) -> Option<PathBuf> {
        let usual = self.root.join(SYSTEM_SLICE).join(&self.unit);
        if usual.is_dir() { Some(usual) } else { find(&self.root, OsStr::new(&self.unit), DEEPEST) }
    }
}

fn find(slice: &Path, unit: &OsStr, depth: u8) -> Option<PathBuf> {
    let here = slice.join(unit);
    if here.is_dir() {
        return Some(here);
    }
    let deeper = depth.checked_sub(1)?;
    let below = fs::read_dir(slice).ok()?.filter_map(|entry| Some(entry.ok()?.path()));
    let mut slices = below.filter(|path| path.extension() == Some(OsStr::new("slice")));
    slices.find_map(|slice| find(&slice, unit, deeper))
}

pub(super) fn check(target: &Target) -> Result<(), Failure> {
    let unit = &target.unit;
    let not_running = || Failure::Local(format!("{unit} has no process"));
    let Some(group) = target.find() else { return Err(not_running()) };
    let events = match fs::read_to_string(group.join("cgroup.events")) {
        Ok(events) => events,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Err(not_running()),
        Err(error) => return Err(error.into()),
    };
    if !events.lines().any(|line| line == "populated 1") {
        return Err(not_running());
    }
    if events.lines().any(|line| line == "frozen 1") {
        return Err(Failure::Local(format!("{unit} is frozen")));
    }
    Ok(())
}

/// Says `changed` when the unit's first process has come, its last has gone, or it was frozen.
pub(super) async fn watch(target: &Target, mut changed: impl FnMut()) -> io::Error {
    let inotify = match Inotify::new() {
        Ok(inotify) => inotify,
        Err(error) => return error,
    };
    // Where it was last is where it will most likely be again.
    let mut slice = target.root.join(SYSTEM_SLICE);
    loop {
        let group = target.find();
        if let Some(parent) = group.as_deref().and_then(Path::parent) {
            parent.clone_into(&mut slice);
        }
        let above = inotify.watch(&slice, WatchFlags::CREATE | WatchFlags::DELETE);
        let events = group.as_ref().map(|group| group.join("cgroup.events"));
        let inside = events.map(|events| inotify.watch(&events, WatchFlags::MODIFY));
        if let (Err(error), None | Some(Err(_))) = (&above, &inside) {
            return io::Error::from(error.kind());
        }
        changed();
        loop {
            let seen = match inotify.next().await {
                Ok(seen) => seen,
                Err(error) => return error,
            };
            // Another group of that name is another group.
            if seen.iter().any(|seen| seen.name.as_deref() == Some(OsStr::new(&target.unit)))
                || seen.iter().any(Seen::is_the_end)
            {
                break;
            }
            if seen.iter().any(|seen| seen.name.is_none()) {
                changed();
            }
        }
        for watch in [above.ok(), inside.and_then(Result::ok)].into_iter().flatten() {
            inotify.unwatch(watch);
        }
    }
}

//! Drains over restarts of the daemon: a file in the state folder, by the wall clock.
//!
//! A daemon that cannot read what its predecessor left starts drained: whoever drained a site is
//! worse served by packets that come than by packets that do not.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anycast_steer::{Drain, DrainStatus, Instant, Target};
use serde::{Deserialize, Serialize};

use crate::state;

const NAME: &str = "drains.json";
/// Far more than there can be things to drain.
const LARGEST: u64 = 1 << 20;

/// What the steering does not know of a drain.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Known {
    /// Seconds since 1970.
    pub(crate) begun: f64,
    /// When it ends by itself, in seconds since 1970.
    pub(crate) until: Option<f64>,
    /// Who ordered it.
    pub(crate) by: Option<String>,
    /// Whether it is to be kept: what the start itself brought along comes again by itself.
    pub(crate) lasting: bool,
}

/// The drains that are under way, and their file.
#[derive(Debug, Default)]
pub(crate) struct Drains {
    folder: PathBuf,
    known: BTreeMap<Target, Known>,
    /// Whether the file says what is.
    written: bool,
}

/// What there was at the start.
#[derive(Debug, Default)]
pub(crate) struct Found {
    /// The drains that go on.
    pub(crate) drains: Vec<Drain>,
    /// Those whose time was over while no daemon ran.
    pub(crate) over: Vec<Target>,
    /// Why the file, which is there, could not be read: the site starts drained.
    pub(crate) unreadable: Option<String>,
    /// Why it could not be seen whether there is one.
    pub(crate) unreachable: Option<String>,
}

/// One drain in the file.
#[derive(Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
struct Kept {
    target: Target,
    begun: f64,
    until: Option<f64>,
    by: Option<String>,
    now: bool,
    force: bool,
    reason: String,
}

#[derive(Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
struct Contents {
    drains: Vec<Kept>,
}

/// Seconds since 1970.
pub(crate) fn unix_now() -> f64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs_f64()
}

impl Drains {
    /// The drains that an earlier daemon left in `folder`, at the start of this one, and one of the
    /// site if there is a `reason` to start drained.
    pub(crate) fn open(folder: &Path, start_drained: Option<&str>, now: f64) -> (Self, Found) {
        let mut drains = Self { folder: folder.to_owned(), known: BTreeMap::new(), written: true };
        let mut found = Found::default();
        match read(&folder.join(NAME)) {
            Ok(kept) => {
                for kept in kept {
                    drains.take_up(kept, now, &mut found);
                }
            }
            Err(Unread::Nowhere(error)) => found.unreachable = Some(error.to_string()),
            Err(Unread::There(error)) => {
                let aside = folder.join(format!("{NAME}.unreadable"));
                let moved = std::fs::rename(folder.join(NAME), &aside);
                let whither = match moved {
                    Ok(()) => format!("; it is now {}", aside.display()),
                    Err(_) => String::new(),
                };
                found.unreadable =
                    Some(format!("{}: {error}{whither}", folder.join(NAME).display()));
                drains.begin_at_start(
                    "the file of drains could not be read",
                    now,
                    &mut found,
                    true,
                );
            }
        }
        if let Some(reason) = start_drained {
            drains.begin_at_start(reason, now, &mut found, false);
        }
        (drains, found)
    }

    fn take_up(&mut self, kept: Kept, now: f64, found: &mut Found) {
        let Kept { target, begun, until, by, now: straight, force, reason } = kept;
        // A clock that was set back makes no drain longer than it was meant to be.
        let left = until.map(|until| (until - now).min(until - begun));
        if left.is_some_and(|left| left <= 0.0) {
            found.over.push(target);
            self.written = false;
            return;
        }
        let until_here = left.map(|left| {
            Instant::START + Duration::try_from_secs_f64(left).unwrap_or(super::LONGEST)
        });
        let known = Known { begun, until: left.map(|left| now + left), by, lasting: true };
        self.known.insert(target.clone(), known);
        found.drains.push(Drain { target, until: until_here, now: straight, force, reason });
    }

    /// The site starts drained, until an operator says otherwise.
    fn begin_at_start(&mut self, reason: &str, now: f64, found: &mut Found, lasting: bool) {
        if let Some(known) = self.known.get_mut(&Target::Site) {
            // Both hold, so the one with an end does not end it.
            known.until = None;
            for drain in found.drains.iter_mut().filter(|it| it.target == Target::Site) {
                drain.until = None;
            }
            return;
        }
        self.known.insert(Target::Site, Known { begun: now, until: None, by: None, lasting });
        let (target, reason) = (Target::Site, reason.to_owned());
        found.drains.push(Drain { target, until: None, now: true, force: false, reason });
    }

    pub(crate) fn get(&self, target: &Target) -> Option<&Known> {
        self.known.get(target)
    }

    pub(crate) fn begin(&mut self, target: Target, known: Known) {
        self.known.insert(target, known);
    }

    pub(crate) fn is_kept(&self, target: &Target) -> bool {
        self.written && self.known.get(target).is_some_and(|it| it.lasting)
    }

    /// Writes down those that are under way, in place of what was there.
    ///
    /// # Errors
    /// They could not be written; the file is as it was.
    pub(crate) fn keep(&mut self, under_way: &[DrainStatus]) -> io::Result<()> {
        self.known.retain(|target, _| under_way.iter().any(|it| it.drain.target == *target));
        let kept = |status: &DrainStatus| {
            let drain = &status.drain;
            let known = self.known.get(&drain.target).filter(|it| it.lasting)?;
            Some(Kept {
                target: drain.target.clone(),
                begun: known.begun,
                until: known.until,
                by: known.by.clone(),
                now: drain.now,
                force: drain.force,
                reason: drain.reason.clone(),
            })
        };
        let contents = Contents { drains: under_way.iter().filter_map(kept).collect() };
        let result = write(&self.folder, &contents);
        self.written = result.is_ok();
        result
    }
}

/// Why a file could not be read.
enum Unread {
    /// It is there.
    There(io::Error),
    /// Nobody knows: its folder cannot be looked into.
    Nowhere(io::Error),
}

fn read(path: &Path) -> Result<Vec<Kept>, Unread> {
    let there = match std::fs::metadata(path) {
        Ok(there) => there,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(Unread::Nowhere(error)),
    };
    if there.len() > LARGEST {
        let words = "it is too large";
        return Err(Unread::There(io::Error::new(io::ErrorKind::InvalidData, words)));
    }
    let text = std::fs::read_to_string(path).map_err(Unread::There)?;
    let contents: Contents = serde_json::from_str(&text).map_err(|it| Unread::There(it.into()))?;
    Ok(contents.drains)
}

/// Another file takes the place of the old one, so that there is always a whole one.
fn write(folder: &Path, contents: &Contents) -> io::Result<()> {
    if contents.drains.is_empty() {
        return state::remove(folder, NAME);
    }
    state::replace(folder, NAME, contents)
}

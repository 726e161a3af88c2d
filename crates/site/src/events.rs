//! What happened at a site, newest last: each event with a number and, where there is one, the
//! number of the event that it follows from. Kept in memory and on disk (`file`), shown by
//! `anycast show events`, streamed by the API.

mod file;

use std::collections::{BTreeMap, VecDeque};
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};
use tokio::sync::watch;

use file::EventFile;
pub(crate) use file::read_folder;

/// Events kept in memory; the oldest go first.
const KEPT: usize = 1000;
/// The last event of a daemon that ended as it should.
const END: &str = "end";

/// One thing that happened.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub struct SiteEvent {
    /// Counts from 1 in order, over restarts of the daemon too. After a crash it skips some, so
    /// that none is given twice.
    pub number: u64,
    /// Seconds since 1970, UTC.
    pub unix_time: f64,
    /// What kind of thing: `service-up`, `announce`, `neighbor-down`, …
    pub kind: String,
    /// What it happened to: a service, prefix or neighbor.
    pub subject: String,
    /// In words; may be empty.
    pub detail: String,
    /// The event that it follows from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cause: Option<u64>,
    /// Who ordered it, if someone did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub by: Option<String>,
}

/// Something to be written down.
#[derive(Clone, Copy, Debug, Default)]
pub struct Happening<'a> {
    /// As in [`SiteEvent`].
    pub kind: &'a str,
    /// As in [`SiteEvent`].
    pub subject: &'a str,
    /// As in [`SiteEvent`].
    pub detail: &'a str,
    /// As in [`SiteEvent`].
    pub cause: Option<u64>,
    /// As in [`SiteEvent`].
    pub by: Option<&'a str>,
    /// An operator should look at it: logged as a warning.
    pub loud: bool,
}

/// The log of a site.
#[derive(Debug)]
pub struct EventLog {
    events: VecDeque<SiteEvent>,
    last: watch::Sender<u64>,
    counts: BTreeMap<String, u64>,
    file: Option<EventFile>,
}

impl Default for EventLog {
    fn default() -> Self {
        Self {
            events: VecDeque::new(),
            last: watch::Sender::new(0),
            counts: BTreeMap::new(),
            file: None,
        }
    }
}

impl EventLog {
    /// The log that is kept in `folder`, with what an earlier daemon left there. If it cannot be
    /// kept, that is its first event, and it lives in memory alone.
    #[must_use]
    pub fn open(folder: &Path) -> Self {
        let mut log = Self::default();
        match EventFile::open(folder) {
            Ok((file, found)) => {
                let last = found.last().map_or(0, |event| event.number);
                let is_whole = found.last().is_none_or(|event| event.kind == END);
                log.last.send_replace(if is_whole { last } else { last + file::MOST_LOST });
                log.events = found.into_iter().rev().take(KEPT).rev().collect();
                log.file = Some(file);
            }
            Err(error) => {
                let words = format!("{error}; events are in memory alone and end with the daemon");
                log.warn("events-not-kept", &folder.display().to_string(), &words);
            }
        }
        log
    }

    /// Adds an event that happens now, and logs it; its number.
    pub fn add(&mut self, kind: &str, subject: &str, detail: &str) -> u64 {
        self.record(Happening { kind, subject, detail, ..Happening::default() })
    }

    /// The same for what an operator should look at: logged as a warning.
    pub fn warn(&mut self, kind: &str, subject: &str, detail: &str) -> u64 {
        self.record(Happening { kind, subject, detail, loud: true, ..Happening::default() })
    }

    /// The same for what follows from an earlier event.
    pub fn add_after(
        &mut self,
        cause: Option<u64>,
        kind: &str,
        subject: &str,
        detail: &str,
    ) -> u64 {
        self.record(Happening { kind, subject, detail, cause, ..Happening::default() })
    }

    /// The same with all that can be said of it.
    pub fn record(&mut self, happening: Happening<'_>) -> u64 {
        let Happening { kind, subject, detail, cause, by, loud } = happening;
        let colon = if detail.is_empty() { "" } else { ": " };
        let ordered = by.map(|by| format!(" (ordered by {by})")).unwrap_or_default();
        let number = *self.last.borrow() + 1;
        if loud {
            tracing::warn!(
                event = kind,
                subject,
                number,
                cause,
                by,
                "{kind} {subject}{colon}{detail}{ordered}"
            );
        } else {
            tracing::info!(
                event = kind,
                subject,
                number,
                cause,
                by,
                "{kind} {subject}{colon}{detail}{ordered}"
            );
        }
        let unix_time =
            SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs_f64();
        let event = SiteEvent {
            number,
            unix_time,
            kind: kind.to_owned(),
            subject: subject.to_owned(),
            detail: detail.to_owned(),
            cause,
            by: by.map(str::to_owned),
        };
        if let Some(file) = &self.file {
            file.write(&event);
        }
        if self.events.len() == KEPT {
            self.events.pop_front();
        }
        self.events.push_back(event);
        match self.counts.get_mut(kind) {
            Some(count) => *count += 1,
            None => drop(self.counts.insert(kind.to_owned(), 1)),
        }
        self.last.send_replace(number);
        number
    }

    /// The events in memory, oldest first.
    #[must_use]
    pub fn list(&self) -> Vec<SiteEvent> {
        self.events.iter().cloned().collect()
    }

    /// Those of them whose number is above `after`, and whether there are older ones on disk only.
    pub(crate) fn after(&self, after: u64) -> EventsAfter {
        let from = self.events.partition_point(|event| event.number <= after);
        let oldest = self.events.front().map_or(0, |event| event.number);
        let folder = self.file.as_ref().filter(|_| from == 0 && after + 1 < oldest);
        EventsAfter {
            events: self.events.range(from..).cloned().collect(),
            older: folder.map(|file| file.folder().to_owned()),
        }
    }

    /// The newest event's number, as it grows.
    pub(crate) fn watch(&self) -> watch::Receiver<u64> {
        self.last.subscribe()
    }

    /// How many events of each kind there were since the daemon's start.
    #[must_use]
    pub const fn counts(&self) -> &BTreeMap<String, u64> {
        &self.counts
    }

    /// How many events could not be written to disk; `None`: the log lives in memory alone.
    #[must_use]
    pub fn unwritten(&self) -> Option<u64> {
        self.file.as_ref().map(EventFile::unwritten)
    }

    /// Writes down that the daemon ends, and waits a while until all is on disk.
    pub fn close(mut self, site: &str) {
        self.add(END, site, "");
        if let Some(file) = self.file {
            file.close();
        }
    }
}

/// The events from a number on.
#[derive(Debug)]
pub(crate) struct EventsAfter {
    pub(crate) events: Vec<SiteEvent>,
    /// The folder to look in for older ones.
    pub(crate) older: Option<PathBuf>,
}

impl EventsAfter {
    /// With those on disk, whose number is above `after`. It reads files.
    pub(crate) fn with_older(self, after: u64) -> Vec<SiteEvent> {
        let Some(folder) = self.older else { return self.events };
        let first = self.events.first().map_or(u64::MAX, |event| event.number);
        let mut events = read_folder(&folder).unwrap_or_default();
        events.retain(|event| after < event.number && event.number < first);
        events.extend(self.events);
        events
    }
}

#[cfg(test)]
mod tests;

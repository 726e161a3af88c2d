//! What happened at a site, newest last: kept in memory, shown by `anycast show events`.

use std::collections::VecDeque;
use std::time::{SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};

/// Events kept; the oldest go first.
const KEPT: usize = 1000;

/// One thing that happened.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct SiteEvent {
    /// Counts from 1 in order; gaps mean that the log is read too late.
    pub number: u64,
    /// Seconds since 1970, UTC.
    pub unix_time: f64,
    /// What kind of thing: `service-up`, `announce`, `neighbor-down`, …
    pub kind: String,
    /// What it happened to: a service, prefix or neighbor.
    pub subject: String,
    /// In words; may be empty.
    pub detail: String,
}

/// The log of a site.
#[derive(Debug, Default)]
pub struct EventLog {
    events: VecDeque<SiteEvent>,
    last: u64,
}

impl EventLog {
    /// Adds an event that happens now, and logs it.
    pub fn add(&mut self, kind: &str, subject: &str, detail: &str) {
        if detail.is_empty() {
            tracing::info!("{kind} {subject}");
        } else {
            tracing::info!("{kind} {subject}: {detail}");
        }
        self.keep(kind, subject, detail);
    }

    /// The same for what an operator should look at: logged as a warning.
    pub fn warn(&mut self, kind: &str, subject: &str, detail: &str) {
        tracing::warn!("{kind} {subject}: {detail}");
        self.keep(kind, subject, detail);
    }

    fn keep(&mut self, kind: &str, subject: &str, detail: &str) {
        let unix_time =
            SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs_f64();
        self.last += 1;
        if self.events.len() == KEPT {
            self.events.pop_front();
        }
        self.events.push_back(SiteEvent {
            number: self.last,
            unix_time,
            kind: kind.to_owned(),
            subject: subject.to_owned(),
            detail: detail.to_owned(),
        });
    }

    /// The kept events, oldest first.
    #[must_use]
    pub fn list(&self) -> Vec<SiteEvent> {
        self.events.iter().cloned().collect()
    }
}

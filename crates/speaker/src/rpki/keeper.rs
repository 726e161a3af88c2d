//! The task that says whose data count.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use anycast_bgp::rov::VrpTable;
use anycast_bgp::rtr::Session;
use tokio::sync::{mpsc, oneshot};

use super::{RpkiEvent, RpkiSource};
use crate::handle::Handle;

/// What a source's task says of it; times count from the start.
#[derive(Clone, Debug)]
pub(super) struct Report {
    pub(super) index: usize,
    pub(super) state: &'static str,
    pub(super) is_up: bool,
    pub(super) session: Option<Session>,
    pub(super) data: Option<Arc<VrpTable>>,
    pub(super) updated: Option<Duration>,
    /// When a file was written.
    pub(super) written: Option<SystemTime>,
    /// `None`: not to be preferred for being new. So it is of a file.
    pub(super) fresh_until: Option<Duration>,
    /// `None`: never.
    pub(super) expires: Option<Duration>,
    pub(super) trouble: Option<String>,
}

struct Source {
    name: String,
    kind: &'static str,
    last: Option<Report>,
    /// What was last told of it: that it is up, or why not.
    told: Option<Result<(), String>>,
}

pub(super) struct Keeper {
    sources: Vec<Source>,
    started: tokio::time::Instant,
    speaker: Handle,
    events: mpsc::UnboundedSender<RpkiEvent>,
    in_use: Option<usize>,
    vrps: Option<Arc<VrpTable>>,
}

impl Keeper {
    pub(super) fn new(
        names: Vec<(String, &'static str)>,
        started: tokio::time::Instant,
        speaker: Handle,
        events: mpsc::UnboundedSender<RpkiEvent>,
    ) -> Self {
        let source = |(name, kind)| Source { name, kind, last: None, told: None };
        let sources = names.into_iter().map(source).collect();
        Self { sources, started, speaker, events, in_use: None, vrps: None }
    }

    pub(super) async fn run(
        mut self,
        mut reports: mpsc::UnboundedReceiver<Report>,
        mut questions: mpsc::UnboundedReceiver<oneshot::Sender<Vec<RpkiSource>>>,
    ) {
        loop {
            let wake = self.next_change();
            let sleep = async {
                match wake {
                    Some(at) => tokio::time::sleep_until(self.started + at).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                Some(report) = reports.recv() => self.take_in(report),
                Some(question) = questions.recv() => drop(question.send(self.status())),
                () = sleep => {}
                else => return,
            }
            self.choose();
        }
    }

    /// When the data of a source are no more new, or expire.
    fn next_change(&self) -> Option<Duration> {
        let now = self.started.elapsed();
        let last = self.sources.iter().filter_map(|source| source.last.as_ref());
        let times = last.flat_map(|report| [report.fresh_until, report.expires]);
        times.flatten().filter(|at| *at > now).min()
    }

    fn take_in(&mut self, report: Report) {
        let source = &mut self.sources[report.index];
        let says = match (&report.trouble, report.is_up) {
            (Some(why), _) => Some(Err(why.clone())),
            (None, true) => Some(Ok(())),
            (None, false) => None,
        };
        if let Some(says) = says.filter(|says| source.told.as_ref() != Some(says)) {
            let name = source.name.clone();
            let event = if let Err(why) = &says {
                RpkiEvent::SourceDown { name, why: why.clone() }
            } else {
                let count = report.data.as_ref().map_or(0, |table| table.len());
                let by = report.session.map(|it| format!(" by version {}", it.version));
                let detail = format!("{count} VRPs{}", by.unwrap_or_default());
                RpkiEvent::SourceUp { name, detail }
            };
            self.say(event);
            self.sources[report.index].told = Some(says);
        }
        let index = report.index;
        self.sources[index].last = Some(report);
    }

    /// Whose data count, by the order of preference.
    fn best(&self) -> Option<usize> {
        let now = self.started.elapsed();
        let usable = |source: &Source| {
            let report = source.last.as_ref()?;
            report.data.as_ref().filter(|_| report.expires.is_none_or(|at| at > now))?;
            Some(report.fresh_until.is_some_and(|at| at > now))
        };
        let fresh = self.sources.iter().position(|source| usable(source) == Some(true));
        fresh.or_else(|| self.sources.iter().position(|source| usable(source).is_some()))
    }

    fn choose(&mut self) {
        let best = self.best();
        let vrps = best.and_then(|index| self.sources[index].last.as_ref()?.data.clone());
        let before = std::mem::replace(&mut self.in_use, best);
        let same = match (&vrps, &self.vrps) {
            (Some(new), Some(old)) => Arc::ptr_eq(new, old),
            (None, None) => true,
            _ => false,
        };
        if same {
            return;
        }
        let empty = VrpTable::default();
        let changes =
            self.vrps.as_deref().unwrap_or(&empty).changes(vrps.as_deref().unwrap_or(&empty));
        let quiet = changes.is_empty() && before == best && self.vrps.is_some();
        self.vrps.clone_from(&vrps);
        self.speaker.set_vrps(vrps.clone());
        if quiet {
            return;
        }
        let detail = match best {
            Some(index) => format!(
                "{} VRPs of {}: {} new, {} gone",
                vrps.as_ref().map_or(0, |table| table.len()),
                self.sources[index].name,
                changes.added,
                changes.removed
            ),
            None => "all that was known has expired: every route is not-found".to_owned(),
        };
        self.say(RpkiEvent::Vrps { vrps, detail });
    }

    fn say(&self, event: RpkiEvent) {
        // Whoever no longer listens does not want to know.
        let _ = self.events.send(event);
    }

    fn status(&self) -> Vec<RpkiSource> {
        let now = self.started.elapsed();
        let row = |(index, source): (usize, &Source)| {
            let last = source.last.as_ref();
            let session = last.and_then(|report| report.session);
            let data = last.and_then(|report| report.data.as_ref());
            RpkiSource {
                name: source.name.clone(),
                kind: source.kind.to_owned(),
                state: last.map_or("starting", |report| report.state).to_owned(),
                in_use: self.in_use == Some(index),
                version: session.map(|session| session.version),
                session: session.map(|session| session.id),
                serial: session.map(|session| session.serial),
                vrps: data.map(|table| table.len()),
                updated_seconds: last.and_then(|report| {
                    let age = match (report.updated, report.written) {
                        (Some(at), _) => now.saturating_sub(at),
                        // A clock that was set back makes it new.
                        (None, written) => written?.elapsed().unwrap_or_default(),
                    };
                    Some(age.as_secs_f64())
                }),
                expires_seconds: last
                    .and_then(|report| report.expires)
                    .map(|at| at.saturating_sub(now).as_secs_f64()),
                trouble: last.and_then(|report| report.trouble.clone()),
            }
        };
        self.sources.iter().enumerate().map(row).collect()
    }
}

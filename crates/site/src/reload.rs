//! Orders to read the fleet file again, and what is answered to them: the JSON of
//! `anycast reload --json`. What is then done is in `daemon::reload`.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::Path;
use std::time::Duration;

use anycast_fleet::{Change, Difference, Fleet};
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// The longest time that a reload may wait for its confirmation: a day.
pub const LONGEST_WAIT: Duration = Duration::from_secs(86_400);

/// An order to read the file again: `POST /v1/reload`.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
pub struct ReloadOrder {
    /// Only say what would change.
    #[serde(default)]
    pub dry_run: bool,
    /// Go back by itself unless confirmed within so many seconds.
    #[serde(default)]
    pub confirm_within_seconds: Option<f64>,
    /// The problems may be shown in colours.
    #[serde(default)]
    pub colour: bool,
    /// Nothing is done if the file is not the one that an earlier report was about.
    #[serde(default)]
    pub digest: Option<String>,
}

/// What became of the order.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum ReloadOutcome {
    /// The file has errors; nothing has changed.
    Unsound,
    /// Something in it cannot be done by a running daemon; nothing has changed.
    Refused,
    /// It could not be carried out; nothing has changed.
    Failed,
    /// The file says what is in force already.
    Same,
    /// This would change.
    WouldChange,
    /// This has changed.
    Changed,
}

/// The answer.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct ReloadReport {
    /// What became of it.
    pub outcome: ReloadOutcome,
    /// The file.
    pub file: String,
    /// Stands for what was read.
    pub digest: String,
    /// What is wrong with it, as of `anycast check --json`; warnings too.
    pub problems: Value,
    /// The same for people.
    pub rendered: String,
    /// Why it was refused or could not be done, or what of it could not.
    pub why: Vec<String>,
    /// What changes.
    pub changes: Vec<ChangeRow>,
    /// Within so many seconds it has to be confirmed, or it is undone.
    pub confirm_within_seconds: Option<f64>,
}

/// One thing that changes.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct ChangeRow {
    /// `neighbor`, `prefix`, `service`, `check`, `address`, `site`, …
    pub kind: String,
    /// What it is about, in words.
    pub subject: String,
    /// `added`, `removed`, `changed` or `reset`.
    pub effect: String,
    /// All of it in a sentence.
    pub sentence: String,
    /// What differs and what follows.
    pub details: Vec<String>,
}

impl From<&Change> for ChangeRow {
    fn from(change: &Change) -> Self {
        Self {
            kind: change.subject.kind().to_owned(),
            subject: change.subject.to_string(),
            effect: change.effect.as_str().to_owned(),
            sentence: change.to_string(),
            details: change.details.clone(),
        }
    }
}

/// Which fleet is in force, beside the file: `GET /v1/reload`.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct ReloadStatus {
    /// The file.
    pub file: String,
    /// In how many seconds the last reload is undone, unless it is confirmed before.
    pub confirm_within_seconds: Option<f64>,
    /// Why what is in force is not what the file said when it was last read.
    pub rolled_back: Option<String>,
    /// Whether what is in force was never confirmed although it should be, and nothing waits for that
    /// any more.
    #[serde(default)]
    pub unconfirmed: bool,
}

impl ReloadStatus {
    /// Something that whoever looks at the site should know, in words.
    #[must_use]
    pub fn warning(&self) -> Option<String> {
        if let Some(seconds) = self.confirm_within_seconds {
            return Some(format!(
                "a reload waits for `anycast confirm`; it is undone in {} s",
                seconds.ceil()
            ));
        }
        if self.unconfirmed {
            return Some(format!(
                "{} is in force and not confirmed: a restart of the daemon puts what was before in \
                 force",
                self.file
            ));
        }
        let why = self.rolled_back.as_ref()?;
        Some(format!("{} is not in force: {why}", self.file))
    }
}

/// A file that was read.
pub(crate) struct Found {
    /// If there are no errors in it.
    pub(crate) fleet: Option<Fleet>,
    /// Its text.
    pub(crate) source: String,
    /// What is known of it so far; the outcome is still open.
    pub(crate) report: ReloadReport,
}

/// Reads the file, which takes a while.
pub(crate) fn read(path: &Path, colour: bool) -> Found {
    let mut report = ReloadReport::empty(ReloadOutcome::Unsound, path);
    match anycast_fleet::read(path) {
        Ok(found) => {
            report.digest = digest(&found.source);
            report.problems = found.to_json();
            report.rendered = found.render(colour);
            if found.errors() > 0 {
                let errors = if found.errors() == 1 { "error" } else { "errors" };
                report.why.push(format!("{} has {} {errors}", report.file, found.errors()));
            }
            Found { fleet: found.fleet, source: found.source, report }
        }
        Err(error) => {
            report.why.push(error.to_string());
            Found { fleet: None, source: String::new(), report }
        }
    }
}

/// Tells files apart; it is no proof against malice.
fn digest(source: &str) -> String {
    let mut hasher = DefaultHasher::new();
    source.hash(&mut hasher);
    format!("{:016x}", hasher.finish())
}

impl ReloadReport {
    /// The file was not even read.
    pub(crate) fn refused(file: &Path, why: String) -> Self {
        Self { why: vec![why], ..Self::empty(ReloadOutcome::Refused, file) }
    }

    fn empty(outcome: ReloadOutcome, file: &Path) -> Self {
        Self {
            outcome,
            file: file.display().to_string(),
            digest: String::new(),
            problems: Value::Array(Vec::new()),
            rendered: String::new(),
            why: Vec::new(),
            changes: Vec::new(),
            confirm_within_seconds: None,
        }
    }

    pub(crate) fn note(&mut self, difference: &Difference) {
        self.why.extend(difference.refused.iter().cloned());
        self.changes = difference.changes.iter().map(ChangeRow::from).collect();
    }

    pub(crate) fn with(mut self, outcome: ReloadOutcome) -> Self {
        self.outcome = outcome;
        self
    }
}

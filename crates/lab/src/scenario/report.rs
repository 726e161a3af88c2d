//! What became of a scenario's steps, for people and for programs.

use serde::Serialize;

/// What became of one step.
#[derive(Clone, Debug, Eq, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case", tag = "outcome", content = "detail")]
pub enum Outcome {
    /// It was done; there was nothing to expect.
    Done(String),
    /// What was expected came true.
    Held(String),
    /// What was expected did not come true, or the step could not be done.
    Failed(String),
}

/// One step and what became of it.
#[derive(Clone, Debug, Eq, PartialEq, Serialize)]
pub struct StepReport {
    /// Counts from 1.
    pub number: usize,
    /// What the step is.
    pub step: String,
    /// What became of it.
    #[serde(flatten)]
    pub outcome: Outcome,
    /// How long it took, in milliseconds.
    pub took_ms: u64,
}

/// A whole scenario.
#[derive(Clone, Debug, Eq, PartialEq, Serialize)]
pub struct Report {
    /// Its name.
    pub scenario: String,
    /// Its steps, in order; after a step that could not be done there are none.
    pub steps: Vec<StepReport>,
}

impl Report {
    /// Expectations that held.
    #[must_use]
    pub fn held(&self) -> usize {
        self.steps.iter().filter(|step| matches!(step.outcome, Outcome::Held(_))).count()
    }

    /// Steps that failed.
    #[must_use]
    pub fn failed(&self) -> usize {
        self.steps.iter().filter(|step| matches!(step.outcome, Outcome::Failed(_))).count()
    }
}

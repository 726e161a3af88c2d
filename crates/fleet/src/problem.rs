//! What is wrong with a file: where, what, and what to do about it.

use std::cell::RefCell;
use std::ops::Range;

/// A range of bytes in the source.
pub type Span = Range<usize>;

/// How bad it is.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub enum Severity {
    /// The file cannot be used.
    Error,
    /// The file can be used, but hardly does what is wanted.
    Warning,
}

/// One thing that is wrong.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Problem {
    /// How bad it is.
    pub severity: Severity,
    /// A word that stays the same across releases; docs/fleet.md lists them.
    pub code: &'static str,
    /// What is wrong, in one sentence.
    pub message: String,
    /// The offending text.
    pub span: Span,
    /// What stands under the offending text; may be empty.
    pub label: String,
    /// What to do.
    pub help: String,
    /// Other places that belong to it, each with what it is.
    pub related: Vec<(Span, String)>,
}

impl Problem {
    /// An error at `span`.
    pub fn error(code: &'static str, span: Span, message: impl Into<String>) -> Self {
        Self::new(Severity::Error, code, span, message.into())
    }

    /// A warning at `span`.
    pub fn warning(code: &'static str, span: Span, message: impl Into<String>) -> Self {
        Self::new(Severity::Warning, code, span, message.into())
    }

    fn new(severity: Severity, code: &'static str, span: Span, message: String) -> Self {
        let (label, help, related) = (String::new(), String::new(), Vec::new());
        Self { severity, code, message, span, label, help, related }
    }

    /// With words under the offending text.
    #[must_use]
    pub fn label(mut self, label: impl Into<String>) -> Self {
        self.label = label.into();
        self
    }

    /// With what to do.
    #[must_use]
    pub fn help(mut self, help: impl Into<String>) -> Self {
        self.help = help.into();
        self
    }

    /// With another place that belongs to it.
    #[must_use]
    pub fn also(mut self, span: Span, label: impl Into<String>) -> Self {
        self.related.push((span, label.into()));
        self
    }
}

impl Severity {
    /// `error` or `warning`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Error => "error",
            Self::Warning => "warning",
        }
    }
}

/// Where every part of the reader puts what it finds.
#[derive(Debug, Default)]
pub struct Problems(RefCell<Vec<Problem>>);

impl Problems {
    /// Adds one; the order does not matter.
    pub fn add(&self, problem: Problem) {
        self.0.borrow_mut().push(problem);
    }

    /// All of them in the order of the file.
    pub fn into_sorted(self) -> Vec<Problem> {
        let mut problems = self.0.into_inner();
        problems.sort_by_key(|problem| (problem.span.start, problem.span.end, problem.severity));
        // What stands once and counts for many is wrong once.
        problems.dedup();
        problems
    }
}

/// The word among `known` that `given` was probably meant to be.
pub fn closest<'a>(given: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let fold = |word: &str| word.to_lowercase().replace('_', "-");
    let given = fold(given);
    let far = given.chars().count().div_ceil(3).clamp(1, 4);
    known
        .into_iter()
        .map(|word| (strsim::damerau_levenshtein(&given, &fold(word)), word))
        .filter(|(distance, _)| *distance <= far)
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, word)| word)
}

/// "Did you mean …?", or else all that there is to choose from.
pub fn suggestion(given: &str, known: &[&str], otherwise: &str) -> String {
    match closest(given, known.iter().copied()) {
        Some(word) => format!("Did you mean `{word}`?"),
        None if known.is_empty() => otherwise.to_owned(),
        None => format!("{otherwise} {}.", list(known)),
    }
}

/// `a`, `b` or `c`.
pub fn list(words: &[&str]) -> String {
    let quoted: Vec<String> = words.iter().map(|word| format!("`{word}`")).collect();
    match quoted.split_last() {
        Some((last, rest)) if !rest.is_empty() => format!("{} or {last}", rest.join(", ")),
        Some((only, _)) => only.clone(),
        None => String::new(),
    }
}

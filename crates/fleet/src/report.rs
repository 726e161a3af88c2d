//! What reading a fleet file gives: a fleet if nothing is an error, and everything that is wrong,
//! for people and for programs.

use std::fmt;
use std::path::Path;

use miette::{
    Diagnostic, GraphicalReportHandler, GraphicalTheme, LabeledSpan, NamedSource, SourceCode,
};
use serde_json::{Value, json};
use toml::de::DeTable;

use crate::Fleet;
use crate::lint::lint;
use crate::problem::{Problem, Problems, Severity, Span};
use crate::read::Draft;

/// All that is known of a file after reading it.
#[derive(Clone, Debug)]
pub struct Report {
    /// The file's name as the user gave it.
    pub file: String,
    /// Its text.
    pub source: String,
    /// The fleet; `None` if there are errors.
    pub fleet: Option<Fleet>,
    /// Everything that is wrong, in the order of the file.
    pub problems: Vec<Problem>,
}

/// Reads the text of a fleet file. `file` is its name as the user gave it: paths in the text are
/// taken from its folder. Whatever the text is, this does not panic. Nothing on disk is touched.
pub fn parse(file: &str, source: &str) -> Report {
    parse_with(file, source, |_| Vec::new())
}

/// The same with further checks of what was read.
pub(crate) fn parse_with(
    file: &str,
    source: &str,
    further: impl FnOnce(&Draft) -> Vec<Problem>,
) -> Report {
    let (draft, problems) = read_toml(source, |table, problems, whole| {
        let draft = Draft::read(problems, table);
        if whole {
            lint(&draft, problems);
            for problem in further(&draft) {
                problems.add(problem);
            }
        }
        draft
    });
    let sound = !problems.iter().any(|problem| problem.severity == Severity::Error);
    let folder = Path::new(file).parent().unwrap_or(Path::new(""));
    let fleet = sound.then(|| draft.into_fleet(folder));
    Report { file: file.to_owned(), source: source.to_owned(), fleet, problems }
}

/// Reads a file of any kind in the same way: `walk` is given the table, a place for what it finds
/// wrong, and whether the text is TOML throughout, so that checks across it make sense. Gives
/// back what `walk` does and the problems in the order of the file, those of syntax among them.
pub fn read_toml<T>(
    source: &str,
    walk: impl FnOnce(&DeTable<'_>, &Problems, bool) -> T,
) -> (T, Vec<Problem>) {
    let problems = Problems::default();
    let (table, faults) = DeTable::parse_recoverable(source);
    let read = walk(table.get_ref(), &problems, faults.is_empty());
    let mut problems = problems.into_sorted();
    if !faults.is_empty() {
        problems = beside_syntax(source, &faults, problems);
    }
    (read, problems)
}

/// The faults of syntax and those problems that are none of their consequences: a wrong value or
/// an unknown key on another line is worth telling at once; that something is missing is not, as
/// it may be what the parser skipped.
fn beside_syntax(source: &str, faults: &[toml::de::Error], found: Vec<Problem>) -> Vec<Problem> {
    let syntax: Vec<Problem> = faults
        .iter()
        .map(|fault| {
            let span = visible(source, fault.span().unwrap_or(0..0));
            Problem::error("syntax", span, format!("this is not TOML: {}", fault.message()))
                .help("Values are `key = \"text\"`, `key = 1`, `key = [1, 2]`; tables `[a.b]`.")
        })
        .collect();
    let line_of = |span: &Span| position(source, span.start).0;
    let broken: Vec<usize> = syntax.iter().map(|problem| line_of(&problem.span)).collect();
    let independent = |problem: &Problem| {
        ["unknown-key", "wrong-type", "bad-value", "missing-unit"].contains(&problem.code)
            && !broken.contains(&line_of(&problem.span))
    };
    let mut problems = syntax;
    problems.extend(found.into_iter().filter(independent));
    problems.sort_by_key(|problem| problem.span.start);
    problems
}

/// The span on character boundaries of the source and, where there is a character, not empty.
fn visible(source: &str, span: Span) -> Span {
    let mut start = floor_boundary(source, span.start);
    let mut end = span.end.clamp(start, source.len());
    while !source.is_char_boundary(end) {
        end += 1;
    }
    if start == end {
        match source[start..].chars().next() {
            Some(next) if next != '\n' => end += next.len_utf8(),
            // At the end of a line: underline what stands before.
            _ => start -= source[..start].chars().next_back().map_or(0, char::len_utf8),
        }
    }
    start..end
}

/// Line and column of a byte, both from 1; the column in characters.
fn position(source: &str, offset: usize) -> (usize, usize) {
    let before = &source[..floor_boundary(source, offset)];
    let line = before.matches('\n').count() + 1;
    let column = before.rsplit('\n').next().map_or(0, |rest| rest.chars().count()) + 1;
    (line, column)
}

/// The last character boundary that is not after `offset`.
fn floor_boundary(source: &str, offset: usize) -> usize {
    (0..=offset.min(source.len())).rev().find(|at| source.is_char_boundary(*at)).unwrap_or(0)
}

impl Report {
    /// How many problems are errors.
    pub fn errors(&self) -> usize {
        self.count(Severity::Error)
    }

    /// How many problems are warnings.
    pub fn warnings(&self) -> usize {
        self.count(Severity::Warning)
    }

    /// Everything that is wrong, for people; empty if nothing is.
    pub fn render(&self, colour: bool) -> String {
        render(&self.problems, &self.file, &self.source, colour)
    }

    /// Everything that is wrong, for programs.
    pub fn to_json(&self) -> Value {
        to_json(&self.problems, &self.file, &self.source)
    }

    fn count(&self, severity: Severity) -> usize {
        self.problems.iter().filter(|problem| problem.severity == severity).count()
    }
}

/// The problems for people: each with file, line, the offending text underlined, what is wrong
/// and what to do.
pub fn render(problems: &[Problem], file: &str, source: &str, colour: bool) -> String {
    let theme = if colour { GraphicalTheme::unicode() } else { GraphicalTheme::unicode_nocolor() };
    let handler = GraphicalReportHandler::new_themed(theme).with_links(false).with_width(100);
    let mut text = String::new();
    for problem in problems {
        let source = NamedSource::new(file, source.to_owned());
        let shown = Shown { problem, source };
        handler.render_report(&mut text, &shown).expect("a String takes all that is written to it");
        text.push('\n');
    }
    text
}

/// The problems for programs: a list of objects with `file`, `line`, `column` (both from 1),
/// `severity`, `code`, `message`, `help` and `related`.
pub fn to_json(problems: &[Problem], file: &str, source: &str) -> Value {
    let object = |problem: &Problem| {
        let (line, column) = position(source, problem.span.start);
        let related: Vec<Value> = problem
            .related
            .iter()
            .map(|(span, what)| {
                let (line, column) = position(source, span.start);
                json!({ "line": line, "column": column, "message": what })
            })
            .collect();
        json!({
            "file": file,
            "line": line,
            "column": column,
            "severity": problem.severity.as_str(),
            "code": problem.code,
            "message": problem.message,
            "help": problem.help,
            "related": related,
        })
    };
    problems.iter().map(object).collect()
}

/// A problem as miette draws it.
#[derive(Debug)]
struct Shown<'a> {
    problem: &'a Problem,
    source: NamedSource<String>,
}

impl fmt::Display for Shown<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.problem.message)
    }
}

impl std::error::Error for Shown<'_> {}

impl Diagnostic for Shown<'_> {
    fn code<'a>(&'a self) -> Option<Box<dyn fmt::Display + 'a>> {
        Some(Box::new(self.problem.code))
    }

    fn severity(&self) -> Option<miette::Severity> {
        Some(match self.problem.severity {
            Severity::Error => miette::Severity::Error,
            Severity::Warning => miette::Severity::Warning,
        })
    }

    fn help<'a>(&'a self) -> Option<Box<dyn fmt::Display + 'a>> {
        (!self.problem.help.is_empty()).then(|| Box::new(&self.problem.help) as Box<_>)
    }

    fn source_code(&self) -> Option<&dyn SourceCode> {
        Some(&self.source)
    }

    fn labels(&self) -> Option<Box<dyn Iterator<Item = LabeledSpan> + '_>> {
        let label = |text: &String| (!text.is_empty()).then(|| text.clone());
        let at = |span: &Span| visible(self.source.inner(), span.clone());
        let main = LabeledSpan::new_primary_with_span(
            Some(label(&self.problem.label).unwrap_or_else(|| "here".to_owned())),
            at(&self.problem.span),
        );
        let related = self.problem.related.iter();
        let related =
            related.map(move |(span, text)| LabeledSpan::new_with_span(label(text), at(span)));
        Some(Box::new(std::iter::once(main).chain(related)))
    }
}

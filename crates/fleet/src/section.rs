//! One table of the file, read key by key: it remembers which keys it was asked for, so that the
//! rest can be called unknown, and where each value stands, so that later checks can point at it.

use std::collections::BTreeMap;

use toml::Spanned;
use toml::de::{DeString, DeTable, DeValue};

use crate::problem::{Problem, Problems, Span, closest, list, suggestion};

/// Why a value is not what it should be.
#[derive(Debug)]
pub struct Fault {
    /// As in [`Problem`].
    pub code: &'static str,
    /// Goes on after the key's name: "must be …".
    pub message: String,
    /// What to do.
    pub help: String,
}

/// Where things of one table stand.
#[derive(Clone, Debug, Default)]
pub struct Places {
    /// The table's own name.
    name: Span,
    values: BTreeMap<&'static str, Span>,
    items: BTreeMap<&'static str, Vec<Span>>,
    empty_lists: Vec<&'static str>,
}

/// A table being read.
pub struct Section<'a> {
    problems: &'a Problems,
    /// As in a header: `site.fra`; empty for the whole file.
    path: String,
    table: &'a DeTable<'a>,
    /// Where keys are looked for that the table does not have.
    defaults: Option<&'a DeTable<'a>>,
    known: Vec<&'static str>,
    /// Keys that exist but belong elsewhere, with the words that say where.
    elsewhere: Vec<(&'static str, String)>,
    missing: Vec<(&'static str, String)>,
    places: Places,
}

impl Places {
    /// The value of `key`, or the table's name where the key is absent.
    pub fn of(&self, key: &str) -> Span {
        self.values.get(key).unwrap_or(&self.name).clone()
    }

    /// The `index`th good item of the list at `key`.
    pub fn item(&self, key: &str, index: usize) -> Span {
        let item = self.items.get(key).and_then(|items| items.get(index));
        item.cloned().unwrap_or_else(|| self.of(key))
    }

    /// Whether the key is there, well or badly.
    pub fn has(&self, key: &str) -> bool {
        self.values.contains_key(key)
    }

    /// Whether the list at `key` was written without items.
    pub fn is_empty_list(&self, key: &str) -> bool {
        self.empty_lists.contains(&key)
    }

    /// The table's own name, or the header.
    pub fn name(&self) -> Span {
        self.name.clone()
    }
}

impl<'a> Section<'a> {
    /// The whole file.
    pub fn root(problems: &'a Problems, table: &'a DeTable<'a>) -> Self {
        Self::new(problems, String::new(), 0..0, table)
    }

    /// A table that is called `path` in messages and whose name stands at `name`.
    pub fn new(problems: &'a Problems, path: String, name: Span, table: &'a DeTable<'a>) -> Self {
        let places = Places { name, ..Places::default() };
        Self {
            problems,
            path,
            table,
            defaults: None,
            known: Vec::new(),
            elsewhere: Vec::new(),
            missing: Vec::new(),
            places,
        }
    }

    /// The same, with the values of keys that the table does not have from another one. Which
    /// keys that has is not looked at here.
    #[must_use]
    pub fn with_defaults(self, defaults: Option<&'a DeTable<'a>>) -> Self {
        Self { defaults, ..self }
    }

    /// The table itself.
    pub const fn raw_table(&self) -> &'a DeTable<'a> {
        self.table
    }

    /// Where what was read so far stands.
    pub fn places(&self) -> &Places {
        &self.places
    }

    /// Adds a problem.
    pub fn problem(&self, problem: Problem) {
        self.problems.add(problem);
    }

    /// The value of `key`, if it is there and `convert` takes it; a value that it does not take
    /// is a problem.
    pub fn get<T>(
        &mut self,
        key: &'static str,
        convert: impl FnOnce(&DeValue<'a>) -> Result<T, Fault>,
    ) -> Option<T> {
        let value = self.raw(key)?;
        self.convert(key, value, convert)
    }

    /// The same; its absence is a problem too.
    pub fn require<T>(
        &mut self,
        key: &'static str,
        example: &str,
        convert: impl FnOnce(&DeValue<'a>) -> Result<T, Fault>,
    ) -> Option<T> {
        let value = self.get(key, convert);
        if !self.places.has(key) {
            self.missing(key, example);
        }
        value
    }

    /// The good items of the list at `key`; `None` if there is no list.
    pub fn get_list<T>(
        &mut self,
        key: &'static str,
        convert: impl Fn(&DeValue<'a>) -> Result<T, Fault>,
    ) -> Option<Vec<T>> {
        let value = self.raw(key)?;
        let Some(array) = value.get_ref().as_array() else {
            let fault = Fault::wrong_type("a list", value.get_ref());
            self.fault(key, value.span(), fault);
            return None;
        };
        if array.is_empty() {
            self.places.empty_lists.push(key);
        }
        let mut items = Vec::new();
        let mut spans = Vec::new();
        for item in array {
            if let Some(good) = self.convert(key, item, &convert) {
                items.push(good);
                spans.push(item.span());
            }
        }
        self.places.items.insert(key, spans);
        Some(items)
    }

    /// The tables `[path.key.NAME]` in the order of the file.
    pub fn tables(&mut self, key: &'static str) -> Vec<(String, Section<'a>)> {
        let Some(value) = self.raw(key) else { return Vec::new() };
        let Some(table) = value.get_ref().as_table() else {
            let fault = Fault::wrong_type("a table of tables", value.get_ref());
            self.fault(key, value.span(), fault);
            return Vec::new();
        };
        let mut entries: Vec<_> = table.iter().collect();
        entries.sort_by_key(|(name, _)| name.span().start);
        let mut sections = Vec::new();
        for (name, value) in entries {
            let path = self.path_of(&format!("{key}.{}", name.get_ref().escape_debug()));
            match value.get_ref().as_table() {
                Some(table) => {
                    let section = Section::new(self.problems, path, name.span(), table);
                    sections.push((name.get_ref().to_string(), section));
                }
                None => self.problem(
                    Problem::error(
                        "wrong-type",
                        value.span(),
                        format!("`{path}` must be a table, not {}", kind(value.get_ref())),
                    )
                    .help(format!(
                        "Each {key} has a name and a table of its own: `[{}]`.",
                        self.path_of(&format!("{key}.NAME"))
                    )),
                ),
            }
        }
        sections
    }

    /// The tables of the list at `key`: `[[path.key]]`, or inline.
    pub fn list_of_tables(&mut self, key: &'static str) -> Vec<Section<'a>> {
        let Some(value) = self.raw(key) else { return Vec::new() };
        let path = self.path_of(key);
        let Some(array) = value.get_ref().as_array() else {
            let fault =
                Fault::wrong_type(&format!("a list of tables (`[[{path}]]`)"), value.get_ref());
            self.fault(key, value.span(), fault);
            return Vec::new();
        };
        let mut sections = Vec::new();
        for item in array {
            match item.get_ref().as_table() {
                Some(table) => {
                    sections.push(Section::new(self.problems, path.clone(), item.span(), table));
                }
                None => self.fault(key, item.span(), Fault::wrong_type("a table", item.get_ref())),
            }
        }
        sections
    }

    /// The table at `key`.
    pub fn table(&mut self, key: &'static str) -> Option<Section<'a>> {
        let name = self.entry(key).map(|(name, _)| name.span());
        let value = self.raw(key)?;
        if let Some(table) = value.get_ref().as_table() {
            return Some(Section::new(self.problems, self.path_of(key), name?, table));
        }
        self.fault(key, value.span(), Fault::wrong_type("a table", value.get_ref()));
        None
    }

    /// Names a key that this table does not take although others do.
    pub fn belongs_elsewhere(&mut self, key: &'static str, where_to: String) {
        if !self.known.contains(&key) {
            self.elsewhere.push((key, where_to));
        }
    }

    /// Records that a key should be there. It is a problem, unless an unknown key turns out to be
    /// that one misspelt.
    pub fn missing(&mut self, key: &'static str, example: &str) {
        self.missing.push((key, example.to_owned()));
    }

    /// Calls every key that was not asked for unknown, and tells where the others stand. A key
    /// that is probably a misspelt one counts as there, so that nobody is told that it is missing.
    pub fn finish(mut self) -> Places {
        let free: Vec<&'static str> =
            self.known.iter().copied().filter(|key| !self.table.contains_key(*key)).collect();
        for (key, _) in self.table {
            let name = key.get_ref().as_ref();
            if self.known.contains(&name) {
                continue;
            }
            let what = if self.path.is_empty() {
                format!("unknown section `{}`", name.escape_debug())
            } else {
                format!("unknown key `{}` in `{}`", name.escape_debug(), self.path)
            };
            let problem = Problem::error("unknown-key", key.span(), what);
            let elsewhere = self.elsewhere.iter().find(|(key, _)| *key == name);
            let problem = match (elsewhere, closest(name, free.iter().copied())) {
                (Some((_, place)), _) => problem.label("does not belong here").help(place),
                (None, Some(meant)) => {
                    let meant = free.iter().find(|key| **key == meant);
                    self.places.values.extend(meant.map(|meant| (*meant, key.span())));
                    problem.label("not known").help(suggestion(name, &free, ""))
                }
                (None, None) if free.is_empty() => problem.label("not known").help("Remove it."),
                (None, None) => {
                    problem.label("not known").help(format!("Remove it, or use {}.", list(&free)))
                }
            };
            self.problem(problem);
        }
        for (key, example) in &self.missing {
            if self.places.has(key) {
                continue;
            }
            let message = format!("`{}` has no `{key}`", self.path);
            let problem = Problem::error("missing-key", self.places.name(), message);
            self.problem(
                problem
                    .label(format!("`{key}` is missing"))
                    .help(format!("Add `{key} = {example}`.")),
            );
        }
        self.places
    }

    fn path_of(&self, key: &str) -> String {
        if self.path.is_empty() { key.to_owned() } else { format!("{}.{key}", self.path) }
    }

    fn entry(&self, key: &str) -> Option<(&'a Spanned<DeString<'a>>, &'a Spanned<DeValue<'a>>)> {
        let defaults = || self.defaults.and_then(|defaults| defaults.get_key_value(key));
        self.table.get_key_value(key).or_else(defaults)
    }

    fn raw(&mut self, key: &'static str) -> Option<&'a Spanned<DeValue<'a>>> {
        self.known.push(key);
        let (_, value) = self.entry(key)?;
        self.places.values.insert(key, value.span());
        Some(value)
    }

    fn convert<T>(
        &self,
        key: &str,
        value: &Spanned<DeValue<'a>>,
        convert: impl FnOnce(&DeValue<'a>) -> Result<T, Fault>,
    ) -> Option<T> {
        convert(value.get_ref()).map_err(|fault| self.fault(key, value.span(), fault)).ok()
    }

    fn fault(&self, key: &str, span: Span, fault: Fault) {
        let message = format!("`{key}` {}", fault.message);
        self.problem(Problem::error(fault.code, span, message).help(fault.help));
    }
}

impl Fault {
    /// `message` goes on after the key's name: "must be …".
    pub fn value(message: impl Into<String>, help: impl Into<String>) -> Self {
        Self { code: "bad-value", message: message.into(), help: help.into() }
    }

    /// The value is of another type than `wanted`, a noun with its article.
    pub fn wrong_type(wanted: &str, got: &DeValue<'_>) -> Self {
        let message = format!("must be {wanted}, not {}", kind(got));
        let help = match (wanted, got) {
            ("a string", DeValue::Integer(_) | DeValue::Float(_) | DeValue::Boolean(_)) => {
                "Put it in quotes.".to_owned()
            }
            ("a number", DeValue::String(_)) => "Write it without quotes.".to_owned(),
            ("a list", DeValue::String(_) | DeValue::Integer(_)) => {
                "Put it in brackets: `[ … ]`.".to_owned()
            }
            _ => format!("Write {wanted}."),
        };
        Self { code: "wrong-type", message, help }
    }
}

fn kind(value: &DeValue<'_>) -> &'static str {
    match value {
        DeValue::String(_) => "a string",
        DeValue::Integer(_) => "a number",
        DeValue::Float(_) => "a number with a point",
        DeValue::Boolean(_) => "true or false",
        DeValue::Datetime(_) => "a date",
        DeValue::Array(_) => "a list",
        DeValue::Table(_) => "a table",
    }
}

//! `[policy.NAME]`, and the `[prefix-list.NAME]` that its rules refer to.

mod reach;
mod rule;

use std::cell::{Cell, RefCell};

use anycast_bgp::Family;
use anycast_bgp::policy::{Action, PrefixPattern};
use toml::de::DeValue;

use super::{Placed, without_repeats};
use crate::problem::{Problem, Span};
use crate::section::{Fault, Section};
use crate::{NamedPolicy, NeighborRef, PolicyRule};

/// Words that a neighbor's `import` and `export` understand by themselves.
const TAKEN: [&str; 4] = ["nothing", "fleet", "default-route", "everything"];

pub(crate) const FAMILIES: &[(&str, Family)] =
    &[("ipv4", Family::Ipv4Unicast), ("ipv6", Family::Ipv6Unicast)];

/// A list of patterns that rules refer to.
#[derive(Debug)]
pub(crate) struct PrefixList {
    pub(crate) name: String,
    pub(crate) patterns: Vec<PrefixPattern>,
    /// Whether a rule refers to it.
    pub(crate) is_used: Cell<bool>,
}

/// What rules refer to, and are found to refer to.
#[derive(Debug, Default)]
pub(crate) struct References {
    pub(crate) lists: Vec<Placed<PrefixList>>,
    /// The neighbors that rules name, and where.
    pub(crate) neighbors: RefCell<Vec<(NeighborRef, Span)>>,
}

pub(super) fn read_list(name: String, mut section: Section<'_>) -> Placed<PrefixList> {
    let patterns = section.get_list("prefixes", pattern).unwrap_or_default();
    if !section.places().has("prefixes") {
        section.missing("prefixes", "[ \"192.0.2.0/24\" ]");
    }
    let patterns = without_repeats(&section, "prefixes", patterns);
    let list = PrefixList { name, patterns, is_used: Cell::new(false) };
    Placed { value: list, at: section.finish() }
}

pub(super) fn read(
    name: String,
    mut section: Section<'_>,
    references: &References,
) -> Placed<NamedPolicy> {
    if TAKEN.contains(&name.as_str()) {
        let message = format!("`{name}` is a built-in policy");
        let problem = Problem::error("bad-name", section.places().name(), message);
        section.problem(problem.help("Choose another name for this one."));
    }
    let sections = section.list_of_tables("rules");
    if !section.places().has("rules") {
        section.missing("rules", "[ { action = \"accept\" } ]");
    }
    let mut rules: Vec<PolicyRule> = Vec::new();
    for rule in sections {
        let span = rule.places().name();
        let rule = rule::read(rule, references);
        rules.push(rule);
        if let Some(earlier) = reach::taken_by(&rules) {
            let (label, help) = if earlier.rule.matches.is_empty() {
                (
                    "the rule before it matches everything",
                    "Move the rule without matches to the end.",
                )
            } else {
                (
                    "a rule before it decides on all that this one matches",
                    "Move this rule before that one, or remove it.",
                )
            };
            let catch_all = is_catch_all(earlier);
            let message = "no route ever gets to this rule";
            let problem = Problem::warning("unreachable-rule", span, message);
            section.problem(problem.label(label).help(help));
            // The rules after it are not worth a warning each.
            if catch_all {
                rules.pop();
                break;
            }
        }
    }
    Placed { value: NamedPolicy { name, rules }, at: section.finish() }
}

fn is_catch_all(rule: &PolicyRule) -> bool {
    rule.neighbors.is_none() && rule.rule.matches.is_empty() && rule.rule.action != Action::Next
}

fn pattern(value: &DeValue<'_>) -> Result<PrefixPattern, Fault> {
    let text = value.as_str().ok_or_else(|| Fault::wrong_type("a string", value))?;
    text.parse().map_err(|why| {
        Fault::value(
            format!("is no prefix or pattern: {why}"),
            "Write a prefix, or one with the lengths it covers: \"10.0.0.0/8 ge 16 le 24\", \
             \"10.0.0.0/8+\".",
        )
    })
}

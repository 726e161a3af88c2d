//! `[policy.NAME]`.

use anycast_bgp::policy::{Action, Match, Policy, PrefixPattern, Rule, Set};
use anycast_bgp::{Community, Family, LargeCommunity};
use toml::de::DeValue;

use super::Placed;
use crate::NamedPolicy;
use crate::problem::Problem;
use crate::section::{Fault, Section};
use crate::value;

/// Words that a neighbor's `import` and `export` understand by themselves.
const TAKEN: [&str; 4] = ["nothing", "fleet", "default-route", "everything"];

pub(crate) const FAMILIES: &[(&str, Family)] =
    &[("ipv4", Family::Ipv4Unicast), ("ipv6", Family::Ipv6Unicast)];

const ACTIONS: &[(&str, Action)] =
    &[("accept", Action::Accept), ("reject", Action::Reject), ("next", Action::Next)];

pub(super) fn read(name: String, mut section: Section<'_>) -> Placed<NamedPolicy> {
    if TAKEN.contains(&name.as_str()) {
        let message = format!("`{name}` is a built-in policy");
        let problem = Problem::error("bad-name", section.places().name(), message);
        section.problem(problem.help("Choose another name for this one."));
    }
    let sections = section.list_of_tables("rules");
    if !section.places().has("rules") {
        section.missing("rules", "[ { action = \"accept\" } ]");
    }
    let mut rules: Vec<Rule> = Vec::new();
    for rule in sections {
        let span = rule.places().name();
        let rule = read_rule(rule);
        let decided = rules.last().is_some_and(|last| {
            last.matches.is_empty() && matches!(last.action, Action::Accept | Action::Reject)
        });
        if decided {
            section.problem(
                Problem::warning("unreachable-rule", span, "no route ever gets to this rule")
                    .label("the rule before it matches everything")
                    .help("Move the rule without matches to the end."),
            );
            // The rules after it are not worth a warning each.
            break;
        }
        rules.push(rule);
    }
    let policy = NamedPolicy { name, policy: Policy { rules } };
    Placed { value: policy, at: section.finish() }
}

fn read_rule(mut section: Section<'_>) -> Rule {
    let community = value::parsed::<Community>("a community", "64500:120");
    let large = value::parsed::<LargeCommunity>("a large community", "64500:1:2");

    let mut matches = Vec::new();
    matches.extend(section.get_list("prefix", pattern).map(Match::Prefix));
    matches.extend(section.get("family", value::word(FAMILIES)).map(Match::Family));
    matches.extend(section.get_list("community", &community).map(Match::Community));
    matches.extend(section.get_list("large-community", &large).map(Match::LargeCommunity));
    matches.extend(section.get("as-path-contains", value::asn).map(Match::AsPathContains));
    matches.extend(section.get("origin-as", value::asn).map(Match::OriginAs));

    let any = || value::number(0..=u32::MAX);
    let mut sets = Vec::new();
    sets.extend(section.get("local-pref", any()).map(Set::LocalPref));
    sets.extend(section.get("med", any()).map(|med| Set::Med(Some(med))));
    let deleted = section.get_list("delete-community", &community).unwrap_or_default();
    sets.extend(deleted.into_iter().map(Set::DeleteCommunity));
    let added = section.get_list("add-community", &community).unwrap_or_default();
    sets.extend(added.into_iter().map(Set::AddCommunity));
    let added = section.get_list("add-large-community", &large).unwrap_or_default();
    sets.extend(added.into_iter().map(Set::AddLargeCommunity));
    sets.extend(section.get("prepend", value::number(0..=u8::MAX)).map(Set::Prepend));

    let action = section.require("action", "\"accept\"", value::word(ACTIONS));
    section.finish();
    Rule { matches, sets, action: action.unwrap_or(Action::Reject) }
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

//! One rule of a policy: what it matches, what it changes, what becomes of the route.

use std::fmt::Display;
use std::net::IpAddr;
use std::ops::RangeInclusive;

use anycast_bgp::policy::{
    Action, CommunityPattern, LargeCommunityPattern, Match, PathPattern, Rule, Set,
};
use anycast_bgp::rov::Validity;
use anycast_bgp::{Community, ExtendedCommunity, Family, LargeCommunity, NextHop, Origin};
use ipnet::IpNet;
use toml::de::DeValue;

use super::{FAMILIES, References, pattern};
use crate::problem::{Problem, suggestion};
use crate::section::{Fault, Section};
use crate::{NeighborRef, PolicyRule, value};

const ACTIONS: &[(&str, Action)] =
    &[("accept", Action::Accept), ("reject", Action::Reject), ("next", Action::Next)];

const VALIDITIES: &[(&str, Validity)] = &[
    ("valid", Validity::Valid),
    ("not-found", Validity::NotFound),
    ("invalid", Validity::Invalid),
];

const ORIGINS: &[(&str, Origin)] =
    &[("igp", Origin::Igp), ("egp", Origin::Egp), ("incomplete", Origin::Incomplete)];

/// Longer than any path that a message can carry.
const LONGEST_PATH: u32 = 65535;

pub(super) fn read(mut section: Section<'_>, references: &References) -> PolicyRule {
    let neighbors = read_neighbors(&mut section, references);
    let matches = read_matches(&mut section, references);
    let sets = read_sets(&mut section);
    let action = section.require("action", "\"accept\"", value::word(ACTIONS));
    section.finish();
    let rule = Rule { matches, sets, action: action.unwrap_or(Action::Reject) };
    PolicyRule { neighbors, rule }
}

/// The sessions that the rule is for; `None`: all.
fn read_neighbors(section: &mut Section<'_>, references: &References) -> Option<Vec<NeighborRef>> {
    let names = match_list(section, "neighbor", value::text)?;
    let refer = |name: String| match name.parse::<IpAddr>() {
        Ok(address) => NeighborRef::Address(address),
        Err(_) => NeighborRef::Name(name),
    };
    let neighbors: Vec<NeighborRef> = names.into_iter().map(refer).collect();
    let mut named = references.neighbors.borrow_mut();
    for (index, neighbor) in neighbors.iter().enumerate() {
        named.push((neighbor.clone(), section.places().item("neighbor", index)));
    }
    Some(neighbors)
}

fn read_matches(section: &mut Section<'_>, references: &References) -> Vec<Match> {
    let community = value::parsed::<CommunityPattern>("a community", "64500:120");
    let large = value::parsed::<LargeCommunityPattern>("a large community", "64500:1:2");

    let mut matches = Vec::new();
    matches.extend(match_list(section, "prefix", pattern).map(Match::Prefix));
    matches.extend(read_lists(section, references));
    matches.extend(section.get("family", value::word(FAMILIES)).map(Match::Family));
    matches.extend(match_list(section, "community", community).map(Match::Community));
    matches.extend(match_list(section, "large-community", large).map(Match::LargeCommunity));
    matches
        .extend(match_list(section, "extended-community", extended).map(Match::ExtendedCommunity));
    matches.extend(match_list(section, "as-path", path_pattern).map(Match::AsPath));
    let length = section.get("as-path-length", bounds(LONGEST_PATH));
    matches.extend(
        length.map(|bounds| Match::AsPathLength(*bounds.start() as usize..=*bounds.end() as usize)),
    );
    matches.extend(section.get("as-path-contains", value::asn).map(Match::AsPathContains));
    matches.extend(section.get("origin-as", value::asn).map(Match::OriginAs));
    matches.extend(section.get("if-origin", value::word(ORIGINS)).map(Match::Origin));
    matches.extend(section.get("if-local-pref", bounds(u32::MAX)).map(Match::LocalPref));
    matches.extend(section.get("if-med", bounds(u32::MAX)).map(Match::Med));
    matches.extend(match_list(section, "if-next-hop", net).map(Match::NextHop));
    matches.extend(section.get("rpki", value::word(VALIDITIES)).map(Match::Rpki));
    no_family_is_without_patterns(section, &matches);
    matches
}

/// A list of which one item must fit; an empty one never does.
fn match_list<'a, T>(
    section: &mut Section<'a>,
    key: &'static str,
    convert: impl Fn(&DeValue<'a>) -> Result<T, Fault>,
) -> Option<Vec<T>> {
    let items = section.get_list(key, convert)?;
    if section.places().is_empty_list(key) {
        let message = format!("`{key}` is empty: the rule matches no route");
        let problem = Problem::warning("never-matches", section.places().of(key), message);
        section.problem(problem.help("Leave the key out to match whatever the route has."));
    }
    Some(items)
}

/// The patterns of the lists that `prefix-list` names.
fn read_lists(section: &mut Section<'_>, references: &References) -> Option<Match> {
    let names = match_list(section, "prefix-list", value::text)?;
    let mut patterns = Vec::new();
    for (index, name) in names.iter().enumerate() {
        if let Some(list) = references.lists.iter().find(|list| list.value.name == *name) {
            list.value.is_used.set(true);
            patterns.extend_from_slice(&list.value.patterns);
            continue;
        }
        let known: Vec<&str> =
            references.lists.iter().map(|list| list.value.name.as_str()).collect();
        let span = section.places().item("prefix-list", index);
        let message = format!("there is no prefix list called {name:?}");
        let help = suggestion(name, &known, "Add `[prefix-list.NAME]`, or write");
        let help = if help.ends_with(['.', '?']) { help } else { help + "." };
        section.problem(Problem::error("unknown-prefix-list", span, message).help(help));
    }
    Some(Match::Prefix(patterns))
}

/// A rule for one family whose patterns are all of the other is for nothing.
fn no_family_is_without_patterns(section: &Section<'_>, matches: &[Match]) {
    let families: Vec<Family> = matches
        .iter()
        .filter_map(|it| match it {
            Match::Family(family) => Some(vec![*family]),
            Match::Prefix(patterns) if !patterns.is_empty() => {
                Some(patterns.iter().map(|pattern| Family::of(&pattern.net)).collect())
            }
            _ => None,
        })
        .reduce(|some, others| some.into_iter().filter(|it| others.contains(it)).collect())
        .unwrap_or_else(|| Family::ALL.to_vec());
    if families.is_empty() {
        let message = "no prefix is of the families of all that this rule asks for";
        section.problem(
            Problem::warning("never-matches", section.places().name(), message)
                .help("Split the rule in two, or remove one of the conditions."),
        );
    }
}

/// In the order in which they are done, which docs/fleet.md tells: what is put in place of all,
/// what is deleted, what is added.
fn read_sets(section: &mut Section<'_>) -> Vec<Set> {
    let community = value::parsed::<Community>("a community", "64500:120");
    let some_community = value::parsed::<CommunityPattern>("a community", "64500:120");
    let large = value::parsed::<LargeCommunity>("a large community", "64500:1:2");
    let some_large = value::parsed::<LargeCommunityPattern>("a large community", "64500:1:2");

    let mut sets = Vec::new();
    sets.extend(section.get("origin", value::word(ORIGINS)).map(Set::Origin));
    let local_pref = value::number(0..=u32::MAX);
    sets.extend(section.get("local-pref", local_pref).map(Set::LocalPref));
    sets.extend(section.get("med", med).map(Set::Med));
    let next_hop = section.get("next-hop", value::address);
    sets.extend(next_hop.map(|address| Set::NextHop(NextHop::from(address))));

    let replaced = section.get_list("replace-communities", &community);
    sets.extend(replaced.map(Set::ReplaceCommunities));
    let replaced = section.get_list("replace-large-communities", &large);
    sets.extend(replaced.map(Set::ReplaceLargeCommunities));
    let replaced = section.get_list("replace-extended-communities", extended);
    sets.extend(replaced.map(Set::ReplaceExtendedCommunities));

    let deleted = section.get_list("delete-community", some_community).unwrap_or_default();
    sets.extend(deleted.into_iter().map(Set::DeleteCommunity));
    let deleted = section.get_list("delete-large-community", some_large).unwrap_or_default();
    sets.extend(deleted.into_iter().map(Set::DeleteLargeCommunity));
    let deleted = section.get_list("delete-extended-community", extended).unwrap_or_default();
    sets.extend(deleted.into_iter().map(Set::DeleteExtendedCommunity));

    let added = section.get_list("add-community", &community).unwrap_or_default();
    sets.extend(added.into_iter().map(Set::AddCommunity));
    let added = section.get_list("add-large-community", &large).unwrap_or_default();
    sets.extend(added.into_iter().map(Set::AddLargeCommunity));
    let added = section.get_list("add-extended-community", extended).unwrap_or_default();
    sets.extend(added.into_iter().map(Set::AddExtendedCommunity));

    sets.extend(section.get("prepend", value::number(0..=u8::MAX)).map(Set::Prepend));
    sets
}

fn extended(value: &DeValue<'_>) -> Result<ExtendedCommunity, Fault> {
    value::parsed("an extended community", "rt:64500:1")(value)
}

fn net(value: &DeValue<'_>) -> Result<IpNet, Fault> {
    let text = value.as_str().ok_or_else(|| Fault::wrong_type("a string", value))?;
    let net = text.parse::<IpNet>().or_else(|_| text.parse::<IpAddr>().map(IpNet::from));
    net.map_err(|_| {
        Fault::value(
            format!("must be an address or a prefix, not {text:?}"),
            "Write \"192.0.2.1\", or \"192.0.2.0/24\" for any address in it.",
        )
    })
}

fn path_pattern(value: &DeValue<'_>) -> Result<PathPattern, Fault> {
    let text = value.as_str().ok_or_else(|| Fault::wrong_type("a string", value))?;
    text.parse().map_err(|why| {
        Fault::value(
            format!("is no pattern of AS paths: {why}"),
            "Write AS numbers with spaces between: \"^64501 .* 64510$\" begins and ends so, \
             \"64501\" has it anywhere.",
        )
    })
}

/// MULTI_EXIT_DISC, or none.
fn med(value: &DeValue<'_>) -> Result<Option<u32>, Fault> {
    match value.as_str() {
        Some("none") => Ok(None),
        Some(text) => Err(Fault::value(
            format!("cannot be {text:?}"),
            "Write a number without quotes, or \"none\" to remove it.",
        )),
        None => value::number(0..=u32::MAX)(value).map(Some),
    }
}

/// A number, or bounds as prefix patterns have them: `"ge 3"`, `"le 5"`, `"ge 3 le 5"`.
fn bounds(most: u32) -> impl Fn(&DeValue<'_>) -> Result<RangeInclusive<u32>, Fault> {
    move |value| {
        let Some(text) = value.as_str() else {
            return value::number(0..=most)(value).map(|number| number..=number);
        };
        let fault = |what: &dyn Display| {
            Fault::value(
                format!("must be a number or bounds, not {what}"),
                "Write 3 for just that, \"ge 3\", \"le 5\" or \"ge 3 le 5\".",
            )
        };
        let words: Vec<&str> = text.split_whitespace().collect();
        let (ge, le) = match words.as_slice() {
            ["ge", ge] => (Some(ge), None),
            ["le", le] => (None, Some(le)),
            ["ge", ge, "le", le] => (Some(ge), Some(le)),
            _ => return Err(fault(&format_args!("{text:?}"))),
        };
        let number = |digits: Option<&&str>, otherwise| match digits {
            Some(digits) => digits.parse::<u32>().ok().filter(|number| *number <= most),
            None => Some(otherwise),
        };
        match (number(ge, 0), number(le, most)) {
            (Some(ge), Some(le)) if ge <= le => Ok(ge..=le),
            (Some(_), Some(_)) => Err(fault(&"bounds with nothing between")),
            _ => Err(fault(&format_args!("{text:?}"))),
        }
    }
}

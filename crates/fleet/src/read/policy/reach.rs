//! Which rules no route ever gets to, as far as it shows easily.

use anycast_bgp::policy::{Action, Match, PrefixPattern};

use crate::PolicyRule;

/// The earlier rule that decides on every route which the last one matches.
///
/// What a route carries may be changed by a rule between the two that goes on, so only conditions
/// that no rule can change are compared then.
pub(super) fn taken_by(rules: &[PolicyRule]) -> Option<&PolicyRule> {
    let (last, earlier) = rules.split_last()?;
    let changes =
        |rule: &PolicyRule| rule.rule.action == Action::Next && !rule.rule.sets.is_empty();
    earlier.iter().enumerate().find_map(|(index, rule)| {
        let changed = earlier[index..].iter().any(changes);
        let decides = rule.rule.action != Action::Next;
        (decides && is_within(last, rule, changed)).then_some(rule)
    })
}

/// Whether every route that `narrow` matches is matched by `wide` before it.
fn is_within(narrow: &PolicyRule, wide: &PolicyRule, changed: bool) -> bool {
    let same_sessions = match (&narrow.neighbors, &wide.neighbors) {
        (_, None) => true,
        (None, Some(_)) => false,
        (Some(some), Some(all)) => some.iter().all(|neighbor| all.contains(neighbor)),
    };
    same_sessions
        && wide
            .rule
            .matches
            .iter()
            .all(|wanted| narrow.rule.matches.iter().any(|given| implies(given, wanted, changed)))
}

/// Whether a route for which `given` holds is one for which `wanted` held.
fn implies(given: &Match, wanted: &Match, changed: bool) -> bool {
    match (given, wanted) {
        (Match::Prefix(some), Match::Prefix(all)) => {
            some.iter().all(|pattern| all.iter().any(|other| covers(other, pattern)))
        }
        (Match::Family(one), Match::Family(other)) => one == other,
        _ if changed => false,
        (Match::Community(some), Match::Community(all)) => subset(some, all),
        (Match::LargeCommunity(some), Match::LargeCommunity(all)) => subset(some, all),
        (Match::ExtendedCommunity(some), Match::ExtendedCommunity(all)) => subset(some, all),
        (Match::AsPath(some), Match::AsPath(all)) => subset(some, all),
        (given, wanted) => given == wanted,
    }
}

fn subset<T: PartialEq>(some: &[T], all: &[T]) -> bool {
    some.iter().all(|one| all.contains(one))
}

fn covers(wide: &PrefixPattern, narrow: &PrefixPattern) -> bool {
    wide.net.contains(&narrow.net) && wide.ge <= narrow.ge && narrow.le <= wide.le
}

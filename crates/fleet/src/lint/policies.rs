//! Rules about policies, and what they and neighbors name.

use crate::problem::{Problem, Problems, suggestion};
use crate::read::{Draft, Placed};
use crate::{ExportPolicy, ImportPolicy, Neighbor, NeighborRef};

pub(super) fn lint(draft: &Draft, problems: &Problems) {
    for neighbor in draft.sites.iter().flat_map(|site| &site.neighbors) {
        its_policies_exist(neighbor, draft, problems);
    }
    every_policy_is_used(draft, problems);
    every_prefix_list_is_used(draft, problems);
    rules_name_neighbors_that_exist(draft, problems);
}

fn its_policies_exist(neighbor: &Placed<Neighbor>, draft: &Draft, problems: &Problems) {
    let import = match &neighbor.value.import {
        ImportPolicy::Named(name) => Some(name),
        ImportPolicy::Nothing
        | ImportPolicy::DefaultRoute
        | ImportPolicy::Everything
        | ImportPolicy::Fleet => None,
    };
    let export = match &neighbor.value.export {
        ExportPolicy::Named(name) => Some(name),
        ExportPolicy::Nothing | ExportPolicy::Fleet => None,
    };
    let builtin: [(_, _, &[&str]); 2] = [
        ("import", import, &["nothing", "default-route", "everything", "fleet"]),
        ("export", export, &["fleet", "nothing"]),
    ];
    for (key, name, builtin) in builtin {
        let Some(name) = name else { continue };
        if draft.policies.iter().any(|policy| policy.value.name == *name) {
            continue;
        }
        let named = draft.policies.iter().map(|policy| policy.value.name.as_str());
        let known: Vec<&str> = builtin.iter().copied().chain(named).collect();
        let help = suggestion(name, &known, "Add `[policy.NAME]`, or write");
        let message = format!("there is no policy called {name:?}");
        problems.add(Problem::error("unknown-policy", neighbor.at.of(key), message).help(help));
    }
}

fn every_policy_is_used(draft: &Draft, problems: &Problems) {
    for policy in &draft.policies {
        let name = &policy.value.name;
        let uses = |neighbor: &Neighbor| {
            neighbor.import == ImportPolicy::Named(name.clone())
                || neighbor.export == ExportPolicy::Named(name.clone())
        };
        let mut neighbors = draft.sites.iter().flat_map(|site| &site.neighbors);
        if !neighbors.any(|neighbor| uses(&neighbor.value)) {
            problems.add(
                Problem::warning(
                    "unused-policy",
                    policy.at.name(),
                    format!("no neighbor uses policy `{name}`"),
                )
                .help("Name it in a neighbor's `import` or `export`, or remove it."),
            );
        }
    }
}

fn every_prefix_list_is_used(draft: &Draft, problems: &Problems) {
    for Placed { value: list, at } in &draft.references.lists {
        if !list.is_used.get() {
            let message = format!("no rule uses prefix list `{}`", list.name);
            problems.add(
                Problem::warning("unused-prefix-list", at.name(), message)
                    .help("Name it in the `prefix-list` of a rule, or remove it."),
            );
        }
    }
}

fn rules_name_neighbors_that_exist(draft: &Draft, problems: &Problems) {
    if draft.sites.iter().any(|site| site.has_bad_neighbors) {
        return;
    }
    let all = || draft.sites.iter().flat_map(|site| &site.neighbors).map(|placed| &placed.value);
    for (wanted, span) in draft.references.neighbors.borrow().iter() {
        if all().any(|neighbor| wanted.is(neighbor)) {
            continue;
        }
        let (message, help) = match wanted {
            NeighborRef::Name(name) => {
                let mut known: Vec<&str> = all().map(|neighbor| neighbor.name.as_str()).collect();
                known.sort_unstable();
                known.dedup();
                let help = suggestion(name, &known, "Write the name or the address of one:");
                (format!("no site has a neighbor called {name:?}"), help)
            }
            NeighborRef::Address(address) => (
                format!("no site has a neighbor with the address {address}"),
                "Correct the address, or write the neighbor's name.".to_owned(),
            ),
        };
        problems.add(Problem::error("unknown-neighbor", span.clone(), message).help(help));
    }
}

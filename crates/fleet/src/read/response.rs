//! What is done about a prefix that is degraded or under load: `degraded` and `shed` of
//! `[prefix."…"]`, and `[damping]`.

use std::time::Duration;

use anycast_bgp::Community;
use anycast_steer::{Damping, Effect, Manner, Response, ShedSpec, ShedStep};
use toml::de::DeValue;

use super::References;
use crate::problem::Problem;
use crate::section::{Fault, Section};
use crate::{NeighborRef, value};

/// What was done must show before more is done.
const PAUSE: Duration = Duration::from_secs(30);
/// Higher penalties than these say nothing more.
const MOST_PENALTY: u32 = 1_000_000;
/// More is of no use: paths get longer than any that the Internet has.
const MOST_PREPENDS: u8 = 32;

/// `degraded = [ … ]`.
pub(super) fn read_degraded(section: &mut Section<'_>, references: &References) -> Vec<Response> {
    let tables = section.list_of_tables("degraded").into_iter();
    tables
        .map(|mut table| {
            let response = read(&mut table, references);
            table.finish();
            response
        })
        .collect()
}

/// `[prefix."…".shed]`.
pub(super) fn read_shed(section: &mut Section<'_>, references: &References) -> Option<ShedSpec> {
    let mut shed = section.table("shed")?;
    let load = shed.require("load", "\"cpu\"", load);
    let pause = shed.get("pause", value::duration).unwrap_or(PAUSE);
    let mut steps: Vec<ShedStep> = Vec::new();
    for mut table in shed.list_of_tables("step") {
        let above = table.require("above", "80", amount);
        let below = table.get("below", amount);
        let response = read(&mut table, references);
        let at = table.finish();
        let Some(above) = above else { continue };
        let below = below.unwrap_or(above * 0.8);
        if below > above {
            shed.problem(
                Problem::error("bad-value", at.of("below"), "`below` is more than `above`")
                    .label("the step would be taken back at once")
                    .help("Write a number that the load falls below when it is over."),
            );
        }
        if steps.last().is_some_and(|last| last.above >= above) {
            shed.problem(
                Problem::error(
                    "bad-value",
                    at.of("above"),
                    "this step does not come after the last",
                )
                .help("Write the steps in order, the mildest first, each above a higher load."),
            );
        }
        steps.push(ShedStep { above, below, response });
    }
    if !shed.places().has("step") {
        shed.missing("step", "[{ above = 80, prepend = 2 }]");
    }
    shed.finish();
    Some(ShedSpec { load: load?, steps, pause })
}

/// `[damping]`.
pub(super) fn read_damping(mut section: Section<'_>) -> Damping {
    let default = Damping::default();
    let penalty = value::number(1..=MOST_PENALTY);
    let half_life = section.get("half-life", value::some_duration).unwrap_or(default.half_life);
    let suppress = section.get("suppress", penalty.clone()).unwrap_or(default.suppress);
    let reuse = section.get("reuse", penalty).unwrap_or(default.reuse);
    let max = section.get("max", value::some_duration).unwrap_or(default.max);
    let at = section.places();
    if reuse >= suppress {
        let key = if at.has("reuse") { "reuse" } else { "suppress" };
        let message = format!("`reuse` ({reuse}) is not less than `suppress` ({suppress})");
        section.problem(
            Problem::error("bad-value", at.of(key), message)
                .label("what is suppressed would be free at once")
                .help("Each fall counts 1000: suppress = 4500 and reuse = 1500, for instance."),
        );
    }
    section.finish();
    Damping { half_life, suppress, reuse, max }
}

fn read(section: &mut Section<'_>, references: &References) -> Response {
    let neighbors = section.get_list("neighbor", value::text);
    let mut named = references.neighbors.borrow_mut();
    for (index, name) in neighbors.iter().flatten().enumerate() {
        let span = section.places().item("neighbor", index);
        named.push((NeighborRef::Name(name.clone()), span));
    }
    let withdraw = section.get("withdraw", value::boolean).unwrap_or(false);
    let manner = Manner {
        prepend: section.get("prepend", value::number(0..=MOST_PREPENDS)).unwrap_or(0),
        med: section.get("med", value::number(0..=u32::MAX)),
        communities: read_communities(section),
    };
    let at = section.places();
    if !withdraw && manner.is_plain() {
        let message = "this says nothing to do";
        section.problem(
            Problem::error("missing-key", at.name(), message)
                .help("Add `prepend`, `med`, `community` or `withdraw = true`."),
        );
    }
    for key in ["prepend", "med", "community"] {
        if withdraw && at.has(key) {
            let message = format!("`{key}` has no effect beside `withdraw = true`");
            let problem = Problem::warning("unused-key", at.of(key), message);
            section.problem(problem.help("Remove one of the two."));
        }
    }
    let effect = if withdraw { Effect::Withdraw } else { Effect::Tell(manner) };
    Response { neighbors, effect }
}

fn read_communities(section: &mut Section<'_>) -> Vec<u32> {
    let community = value::parsed::<Community>("a community", "64500:120");
    let communities = section.get_list("community", community).unwrap_or_default();
    let mut communities: Vec<u32> = communities.into_iter().map(|it| it.0).collect();
    communities.sort_unstable();
    communities.dedup();
    communities
}

/// `cpu`, `connections`, `packets`, or `check NAME`.
fn load(value: &DeValue<'_>) -> Result<String, Fault> {
    let text = value::text(value)?;
    let check = text.strip_prefix("check ").is_some_and(|name| !name.trim().is_empty());
    if check || ["cpu", "connections", "packets"].contains(&text.as_str()) {
        return Ok(text);
    }
    Err(Fault::value(
        format!("cannot be {text:?}"),
        "Write \"cpu\" (percent of all cores), \"connections\", \"packets\" (per second), or \
         \"check NAME\": the number that this command check prints.",
    ))
}

/// A number, with or without a point, that is not negative.
fn amount(value: &DeValue<'_>) -> Result<f64, Fault> {
    let text = match value {
        DeValue::Float(float) => float.as_str(),
        DeValue::Integer(integer) if integer.radix() == 10 => integer.as_str(),
        _ => return Err(Fault::wrong_type("a number", value)),
    };
    let amount = text.replace('_', "").parse::<f64>().ok();
    amount.filter(|it| it.is_finite() && *it >= 0.0).ok_or_else(|| {
        Fault::value("must not be negative or endless", "Write a number like 80 or 12.5.")
    })
}

//! `[prefix."192.0.2.0/24"]`.

use std::net::IpAddr;

use anycast_steer::Require;
use ipnet::IpNet;
use toml::de::DeValue;

use super::{FloorDraft, Placed, References, floor, response, without_repeats};
use crate::Prefix;
use crate::problem::{Problem, suggestion};
use crate::section::{Fault, Section};
use crate::value;

/// Beyond, the sum for many services could be no number any more.
const MOST_WEIGHT: u32 = 1_000_000;

/// `None` if the name is no prefix.
pub(super) fn read(
    (name, mut section): (String, Section<'_>),
    references: &References,
) -> Option<(Placed<Prefix>, Option<FloorDraft>)> {
    let prefix = parse_name(&name, &section);
    let services = section.get_list("services", value::text).unwrap_or_default();
    let services = without_repeats(&section, "services", services);
    let require = section.get("require", require).unwrap_or_default();
    let weights = read_weights(&mut section, &services);
    let degraded = response::read_degraded(&mut section, references);
    let shed = response::read_shed(&mut section, references);
    let damping = section.get("damping", value::boolean).unwrap_or(false);
    let own_floor = section.table("floor").map(floor::read);
    let at = section.finish();
    let value = Prefix {
        prefix: prefix?,
        services,
        weights,
        require,
        degraded,
        shed,
        damping,
        // Known once the fleet's is.
        floor: None,
    };
    Some((Placed { value, at }, own_floor))
}

/// `weights = { dns = 3 }`: by service, in the order of `services`.
fn read_weights(section: &mut Section<'_>, services: &[String]) -> Vec<u32> {
    let mut weights = vec![1; services.len()];
    let Some(table) = section.table("weights") else { return weights };
    for (name, value) in table.raw_table() {
        let Some(index) = services.iter().position(|it| it == name.get_ref().as_ref()) else {
            let known: Vec<&str> = services.iter().map(String::as_str).collect();
            let message = format!("{:?} is none of the prefix's services", name.get_ref());
            let problem = Problem::error("unknown-service", name.span(), message);
            section.problem(problem.help(suggestion(name.get_ref(), &known, "Write")));
            continue;
        };
        match value::number(0..=MOST_WEIGHT)(value.get_ref()) {
            Ok(weight) => weights[index] = weight,
            Err(fault) => {
                let message = format!("the weight of {:?} {}", name.get_ref(), fault.message);
                let problem = Problem::error(fault.code, value.span(), message);
                section.problem(problem.help(fault.help));
            }
        }
    }
    weights
}

fn parse_name(name: &str, section: &Section<'_>) -> Option<IpNet> {
    let span = section.places().name();
    let bad = |message: String, help: String| {
        section.problem(Problem::error("bad-value", span.clone(), message).help(help));
    };
    let Ok(prefix) = name.parse::<IpNet>() else {
        match name.parse::<IpAddr>() {
            Ok(address) => {
                let length = if address.is_ipv4() { 24 } else { 48 };
                bad(
                    format!("the prefix {name} has no length"),
                    format!("Write the whole prefix: `[prefix.\"{name}/{length}\"]`."),
                );
            }
            Err(_) => bad(
                format!("{name:?} is not a prefix"),
                "Write it like `[prefix.\"192.0.2.0/24\"]` or `[prefix.\"2001:db8::/48\"]`."
                    .to_owned(),
            ),
        }
        return None;
    };
    if prefix != prefix.trunc() {
        section.problem(
            Problem::error("host-bits", span, format!("{prefix} has host bits set"))
                .label("not the first address of the prefix")
                .help(format!("Write the prefix that it is in: \"{}\".", prefix.trunc())),
        );
    }
    Some(prefix.trunc())
}

fn require(value: &DeValue<'_>) -> Result<Require, Fault> {
    match value {
        DeValue::Integer(_) => value::number(1..=u32::MAX)(value).map(Require::AtLeast),
        DeValue::String(text) => match text.strip_suffix('%').map(str::parse) {
            Some(Ok(share @ 1..=100)) => Ok(Require::Percent(share)),
            Some(_) => Err(Fault::value(
                format!("must be a share of the services, not {text:?}"),
                "Write from \"1%\" to \"100%\".",
            )),
            None => value::word(&[("all", Require::All), ("any", Require::Any)])(value),
        },
        _ => Err(Fault::wrong_type(
            "\"all\", \"any\", how many services at least, or a share of them",
            value,
        )),
    }
}

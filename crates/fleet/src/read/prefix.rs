//! `[prefix."192.0.2.0/24"]`.

use std::net::IpAddr;

use anycast_steer::Require;
use ipnet::IpNet;
use toml::de::DeValue;

use super::{Placed, without_repeats};
use crate::Prefix;
use crate::problem::Problem;
use crate::section::{Fault, Section};
use crate::value;

/// `None` if the name is no prefix.
pub(super) fn read((name, mut section): (String, Section<'_>)) -> Option<Placed<Prefix>> {
    let prefix = parse_name(&name, &section);
    let services = section.get_list("services", value::text).unwrap_or_default();
    let services = without_repeats(&section, "services", services);
    let require = section.get("require", require).unwrap_or_default();
    let at = section.finish();
    Some(Placed { value: Prefix { prefix: prefix?, services, require }, at })
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
        DeValue::String(_) => value::word(&[("all", Require::All), ("any", Require::Any)])(value),
        _ => Err(Fault::wrong_type("\"all\", \"any\" or how many services at least", value)),
    }
}

//! `[service.NAME]`.

use toml::de::DeValue;

use super::check::read_checks;
use super::{Placed, without_repeats};
use crate::problem::Problem;
use crate::section::{Fault, Section};
use crate::value;
use crate::{Builtin, Service};

const DNS_PORT: u16 = 53;
const HTTP_PORT: u16 = 80;

/// `kept` is whether connections are kept at all, so by default those over TCP of this one.
pub(super) fn read(name: String, mut section: Section<'_>, kept: bool) -> Placed<Service> {
    let addresses = section.require("addresses", "[\"192.0.2.53\"]", list_marker);
    let addresses = match addresses {
        Some(()) => section.get_list("addresses", value::address).unwrap_or_default(),
        None => Vec::new(),
    };
    let addresses = without_repeats(&section, "addresses", addresses);
    let builtin = read_builtin(&mut section);
    let checks = read_checks(&mut section, &addresses, builtin);
    let damping = section.get("damping", value::boolean).unwrap_or(true);
    let affinity = super::affinity::read_of_service(&mut section, kept);
    let at = section.finish();
    Placed { value: Service { name, addresses, builtin, checks, damping, affinity }, at }
}

/// Takes a list that is not empty.
fn list_marker(value: &DeValue<'_>) -> Result<(), Fault> {
    match value.as_array() {
        None => Err(Fault::wrong_type("a list", value)),
        Some(array) if array.is_empty() => {
            Err(Fault::value("must not be empty", "Give the service at least one address."))
        }
        Some(_) => Ok(()),
    }
}

fn read_builtin(section: &mut Section<'_>) -> Option<Builtin> {
    let whoami = section.get("builtin", value::word(&[("whoami", ())])).is_some();
    let dns_port = section.get("dns-port", value::port_or_off).unwrap_or(Some(DNS_PORT));
    let http_port = section.get("http-port", value::port_or_off).unwrap_or(Some(HTTP_PORT));
    let at = section.places();
    if !at.has("builtin") {
        for key in ["dns-port", "http-port"].into_iter().filter(|key| at.has(key)) {
            section.problem(
                Problem::warning("unused-key", at.of(key), format!("`{key}` has no effect here"))
                    .label("only a built-in service has it")
                    .help("Add `builtin = \"whoami\"`, or remove the key."),
            );
        }
    }
    if !whoami {
        return None;
    }
    if dns_port.is_none() && http_port.is_none() {
        section.problem(
            Problem::error("bad-value", at.of("http-port"), "this service serves nothing")
                .label("DNS and HTTP are both switched off")
                .help("Leave at least one of `dns-port` and `http-port` on."),
        );
    }
    if dns_port.is_some() && dns_port == http_port {
        section.problem(
            Problem::error("port-clash", at.of("http-port"), "DNS and HTTP have the same port")
                .help("DNS is served over TCP too: give each a port of its own."),
        );
    }
    Some(Builtin::Whoami { dns_port, http_port })
}

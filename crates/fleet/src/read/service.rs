//! `[service.NAME]`.

use std::path::PathBuf;

use toml::de::DeValue;

use super::check::read_checks;
use super::{Placed, without_repeats};
use crate::problem::Problem;
use crate::section::{Fault, Section};
use crate::value;
use crate::{Builtin, Kept, Quic, Service};

const DNS_PORT: u16 = 53;
const HTTP_PORT: u16 = 80;
/// What QUIC is found at, unless the file says otherwise (RFC 9114 §3.1).
const QUIC_PORT: u16 = 443;

/// `kept` is whether connections are kept at all, so by default those of this one that are known to be
/// such as can be kept: those over TCP, and those over QUIC to our own server.
pub(super) fn read(name: String, mut section: Section<'_>, kept: bool) -> Placed<Service> {
    let addresses = section.require("addresses", "[\"192.0.2.53\"]", list_marker);
    let addresses = match addresses {
        Some(()) => section.get_list("addresses", value::address).unwrap_or_default(),
        None => Vec::new(),
    };
    let addresses = without_repeats(&section, "addresses", addresses);
    let quic_port = section.get("quic-port", value::port).unwrap_or(QUIC_PORT);
    let builtin = read_builtin(&mut section, quic_port);
    let checks = read_checks(&mut section, &addresses, builtin.as_ref());
    let damping = section.get("damping", value::boolean).unwrap_or(true);
    let own_quic = matches!(&builtin, Some(Builtin::Whoami { quic: Some(_), .. }));
    let by_default = Kept { tcp: kept, quic: (kept && own_quic).then_some(quic_port) };
    let affinity = super::affinity::read_of_service(&mut section, by_default, quic_port);
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

fn read_builtin(section: &mut Section<'_>, quic_port: u16) -> Option<Builtin> {
    let whoami = section.get("builtin", value::word(&[("whoami", ())])).is_some();
    let dns_port = section.get("dns-port", value::port_or_off).unwrap_or(Some(DNS_PORT));
    let http_port = section.get("http-port", value::port_or_off).unwrap_or(Some(HTTP_PORT));
    let quic = read_quic(section, quic_port);
    let at = section.places();
    if !at.has("builtin") {
        let keys = ["dns-port", "http-port", "quic-certificate", "quic-key", "preferred-address"];
        for key in keys.into_iter().filter(|key| at.has(key)) {
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
    if quic.is_some() && dns_port == Some(quic_port) {
        let at = if at.has("quic-port") { at.of("quic-port") } else { at.of("dns-port") };
        section.problem(
            Problem::error("port-clash", at, "DNS and QUIC have the same port")
                .help("DNS is served over UDP too: give each a port of its own."),
        );
    }
    Some(Builtin::Whoami { dns_port, http_port, quic })
}

/// QUIC is on if there is a certificate and its key.
fn read_quic(section: &mut Section<'_>, port: u16) -> Option<Quic> {
    let mut file = |key| section.get(key, value::text).map(PathBuf::from);
    let (certificate, key) = (file("quic-certificate"), file("quic-key"));
    let preferred = section.get("preferred-address", value::boolean);
    let at = section.places();
    for (has, lacks, example) in [
        ("quic-certificate", "quic-key", "secrets/whoami.key"),
        ("quic-key", "quic-certificate", "secrets/whoami.pem"),
    ] {
        if at.has(has) && !at.has(lacks) {
            section.problem(
                Problem::error("missing-key", at.of(has), format!("`{lacks}` is missing"))
                    .label("goes with it")
                    .help(format!("Add `{lacks} = \"{example}\"`: QUIC needs both.")),
            );
        }
    }
    if at.has("builtin")
        && at.has("preferred-address")
        && !at.has("quic-certificate")
        && !at.has("quic-key")
    {
        let message = "`preferred-address` has no effect here";
        section.problem(
            Problem::warning("unused-key", at.of("preferred-address"), message)
                .label("the service does not speak QUIC")
                .help("Add `quic-certificate` and `quic-key`, or remove it."),
        );
    }
    let (certificate, key) = (certificate?, key?);
    Some(Quic { port, certificate, key, preferred_address: preferred.unwrap_or(false) })
}

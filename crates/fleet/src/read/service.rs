//! `[service.NAME]` and its `[[service.NAME.check]]`.

use std::net::IpAddr;
use std::time::Duration;

use anycast_steer::Thresholds;
use toml::de::DeValue;

use super::{Placed, bad_name, without_repeats};
use crate::iana::{Class, Rcode, RecordType};
use crate::problem::{Problem, suggestion};
use crate::section::{Fault, Section};
use crate::value;
use crate::{Builtin, Check, Probe, Service, Transport};

const INTERVAL: Duration = Duration::from_secs(1);
const TIMEOUT: Duration = Duration::from_millis(500);
const THRESHOLDS: Thresholds = Thresholds { rise: 2, fall: 2, rise_for: Duration::ZERO };
const DNS_PORT: u16 = 53;
const HTTP_PORT: u16 = 80;

/// The `type` of a check.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Kind {
    Tcp,
    Http,
    Dns,
    Command,
}

const KINDS: &[(&str, Kind)] =
    &[("tcp", Kind::Tcp), ("http", Kind::Http), ("dns", Kind::Dns), ("command", Kind::Command)];

/// Keys that only some kinds of checks have.
const KEYS_OF: [(&str, &[&str]); 11] = [
    ("port", &["tcp", "http", "dns"]),
    ("path", &["http"]),
    ("host", &["http"]),
    ("status", &["http"]),
    ("query", &["dns"]),
    ("qtype", &["dns"]),
    ("class", &["dns"]),
    ("transport", &["dns"]),
    ("rcode", &["dns"]),
    ("expect", &["dns"]),
    ("command", &["command"]),
];

pub(super) fn read(name: String, mut section: Section<'_>) -> Placed<Service> {
    let addresses = section.require("addresses", "[\"192.0.2.53\"]", list_marker);
    let addresses = match addresses {
        Some(()) => section.get_list("addresses", value::address).unwrap_or_default(),
        None => Vec::new(),
    };
    let addresses = without_repeats(&section, "addresses", addresses);
    let builtin = read_builtin(&mut section);
    let checks = read_checks(&mut section, &addresses, builtin);
    let at = section.finish();
    Placed { value: Service { name, addresses, builtin, checks }, at }
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

fn read_checks(
    section: &mut Section<'_>,
    addresses: &[IpAddr],
    builtin: Option<Builtin>,
) -> Vec<Check> {
    let sections = section.list_of_tables("check");
    let mut checks: Vec<Check> = Vec::new();
    let mut stems: Vec<String> = Vec::new();
    let unchecked = sections.is_empty();
    for check in sections {
        read_check(check, addresses, &mut stems, &mut checks);
    }
    if unchecked {
        match builtin {
            Some(builtin) => checks = builtin_checks(builtin, addresses),
            None => section.problem(
                Problem::warning(
                    "unchecked-service",
                    section.places().name(),
                    "nothing checks this service",
                )
                .label("counts as healthy, always")
                .help(
                    "Add a `[[service.NAME.check]]`, or let the site serve it: \
                       `builtin = \"whoami\"`.",
                ),
            ),
        }
    }
    checks
}

/// What a built-in service is checked by if the file does not say.
fn builtin_checks(Builtin::Whoami { dns_port, http_port }: Builtin, on: &[IpAddr]) -> Vec<Check> {
    let (name, probe) = match (dns_port, http_port) {
        (Some(port), _) => ("dns", id_server(port)),
        (None, Some(port)) => {
            ("http", Probe::Http { port, path: "/".to_owned(), host: None, status: 200 })
        }
        (None, None) => return Vec::new(),
    };
    let check = |address: &IpAddr| Check {
        name: name_on(name, *address, on.len()),
        address: *address,
        probe: probe.clone(),
        interval: INTERVAL,
        timeout: TIMEOUT,
        thresholds: THRESHOLDS,
    };
    on.iter().map(check).collect()
}

/// Asks a server who it is (RFC 4892).
fn id_server(port: u16) -> Probe {
    Probe::Dns {
        port,
        query: "id.server.".to_owned(),
        qtype: RecordType::TXT,
        class: Class::Ch,
        transport: Transport::Udp,
        rcode: Rcode::NOERROR,
        expect: None,
    }
}

/// A check's name, with the address if there are several.
fn name_on(stem: &str, address: IpAddr, addresses: usize) -> String {
    if addresses > 1 { format!("{stem} {address}") } else { stem.to_owned() }
}

fn read_check(
    mut section: Section<'_>,
    addresses: &[IpAddr],
    stems: &mut Vec<String>,
    checks: &mut Vec<Check>,
) {
    let kind = section.require("type", "\"tcp\"", value::word(KINDS));
    let name = section.get("name", value::text);
    let interval = section.get("interval", value::some_duration).unwrap_or(INTERVAL);
    let timeout = section.get("timeout", value::some_duration);
    let thresholds = Thresholds {
        rise: section.get("rise", threshold).unwrap_or(THRESHOLDS.rise),
        fall: section.get("fall", threshold).unwrap_or(THRESHOLDS.fall),
        rise_for: THRESHOLDS.rise_for,
    };
    let address = section.get("address", value::address);
    if kind.is_none() {
        // Without the type, none of these can be called wrong.
        for (key, _) in KEYS_OF {
            section.get(key, |_| Ok(()));
        }
    }
    let probe = kind.and_then(|kind| read_probe(kind, &mut section));
    for (key, kinds) in KEYS_OF {
        section.belongs_elsewhere(key, format!("Only {} checks have it.", kinds.join(", ")));
    }
    if timeout.is_some_and(|timeout| timeout > interval) {
        section.problem(
            Problem::error(
                "timeout-over-interval",
                section.places().of("timeout"),
                "this check may still be waiting when the next one starts",
            )
            .label("longer than the interval")
            .help(format!("Make `timeout` at most {}.", in_words(interval)))
            .also(section.places().of("interval"), "the interval"),
        );
    }

    let stem = match name {
        Some(name) => {
            if let Some(problem) = bad_name("check", &name, section.places().of("name")) {
                section.problem(problem);
            }
            if stems.contains(&name) {
                let message = format!("two checks of this service are called {name:?}");
                let problem =
                    Problem::error("duplicate-name", section.places().of("name"), message);
                section.problem(problem.help("Give each a name of its own."));
            }
            name
        }
        None => free_name(kind, stems),
    };
    stems.push(stem.clone());
    section.finish();

    let Some(probe) = probe else { return };
    let one = address.map(|address| [address]);
    let targets = one.as_ref().map_or(addresses, |one| one.as_slice());
    checks.extend(targets.iter().map(|target| Check {
        name: name_on(&stem, *target, targets.len()),
        address: *target,
        probe: probe.clone(),
        interval,
        timeout: timeout.unwrap_or(TIMEOUT.min(interval)),
        thresholds,
    }));
}

/// The check's type, numbered if another check has that name.
fn free_name(kind: Option<Kind>, taken: &[String]) -> String {
    let word =
        KINDS.iter().find(|(_, other)| Some(*other) == kind).map_or("check", |(word, _)| word);
    let numbered = (2..).map(|number| format!("{word}-{number}"));
    std::iter::once(word.to_owned())
        .chain(numbered)
        .find(|name| !taken.contains(name))
        .unwrap_or_default()
}

fn read_probe(kind: Kind, section: &mut Section<'_>) -> Option<Probe> {
    Some(match kind {
        Kind::Tcp => Probe::Tcp { port: section.require("port", "443", value::port)? },
        Kind::Http => Probe::Http {
            port: section.get("port", value::port).unwrap_or(HTTP_PORT),
            path: section.get("path", path).unwrap_or_else(|| "/".to_owned()),
            host: section.get("host", host),
            status: section.get("status", value::number(100..=599)).unwrap_or(200),
        },
        Kind::Dns => {
            let port = section.get("port", value::port).unwrap_or(DNS_PORT);
            let query = section.require("query", "\"id.server.\"", value::domain_name);
            let qtype = section.get("qtype", record_type);
            let class = section.get("class", value::word(&[("IN", Class::In), ("CH", Class::Ch)]));
            let transports = &[("udp", Transport::Udp), ("tcp", Transport::Tcp)];
            let transport = section.get("transport", value::word(transports));
            let rcode = section.get("rcode", rcode);
            let expect = section.get("expect", value::text);
            Probe::Dns {
                port,
                query: query?,
                qtype: qtype.unwrap_or(RecordType(1)),
                class: class.unwrap_or(Class::In),
                transport: transport.unwrap_or(Transport::Udp),
                rcode: rcode.unwrap_or(Rcode::NOERROR),
                expect,
            }
        }
        Kind::Command => {
            let argv = section.get_list("command", argument);
            if !section.places().has("command") {
                section.missing("command", "[\"/usr/local/bin/check\", \"argument\"]");
            }
            let argv = argv?;
            if !argv.first().is_some_and(|program| program.starts_with('/')) {
                let span = section.places().item("command", 0);
                let message = "`command` does not start with the path of a program";
                let help = "Write its absolute path: the daemon has no search path of its own.";
                section.problem(Problem::error("bad-value", span, message).help(help));
                return None;
            }
            Probe::Command { argv }
        }
    })
}

fn threshold(value: &DeValue<'_>) -> Result<u32, Fault> {
    match value::number(0..=1000)(value)? {
        0 => Err(Fault {
            code: "zero-threshold",
            message: "must not be 0".to_owned(),
            help: "Write 1 to act on a single result.".to_owned(),
        }),
        count => Ok(count),
    }
}

/// An argument may be empty, but cannot hold a NUL.
fn argument(value: &DeValue<'_>) -> Result<String, Fault> {
    let text = value.as_str().ok_or_else(|| Fault::wrong_type("a string", value))?;
    if text.contains('\0') {
        return Err(Fault::value("has a NUL in it", "No argument can hold one."));
    }
    Ok(text.to_owned())
}

fn path(value: &DeValue<'_>) -> Result<String, Fault> {
    let path = value::text(value)?;
    if path.starts_with('/') && path.chars().all(|c| c.is_ascii_graphic()) {
        return Ok(path);
    }
    Err(Fault::value(
        format!("must be a path, not {path:?}"),
        "Start it with `/`, without spaces: \"/healthz\".",
    ))
}

fn host(value: &DeValue<'_>) -> Result<String, Fault> {
    let host = value::text(value)?;
    if host.chars().all(|c| c.is_ascii_alphanumeric() || "-._:[]".contains(c)) {
        return Ok(host);
    }
    Err(Fault::value(format!("must be a host name, not {host:?}"), "Write \"www.example.net\"."))
}

fn record_type(value: &DeValue<'_>) -> Result<RecordType, Fault> {
    let name = value::text(value)?;
    RecordType::from_name(&name).ok_or_else(|| {
        let known: Vec<&str> = RecordType::NAMES.iter().map(|(name, _)| *name).collect();
        Fault::value(
            format!("must be a record type, not {name:?}"),
            format!(
                "{} Any other is written by its number: \"TYPE65\".",
                suggestion(&name, &known, "There are")
            ),
        )
    })
}

fn rcode(value: &DeValue<'_>) -> Result<Rcode, Fault> {
    let name = value::text(value)?;
    Rcode::from_name(&name).ok_or_else(|| {
        let known: Vec<&str> = Rcode::NAMES.iter().map(|(name, _)| *name).collect();
        let message = format!("must be a response code, not {name:?}");
        Fault::value(message, suggestion(&name, &known, "There are"))
    })
}

fn in_words(duration: Duration) -> String {
    let millis = duration.as_millis();
    if millis.is_multiple_of(1000) {
        format!("\"{}s\"", millis / 1000)
    } else {
        format!("\"{millis}ms\"")
    }
}

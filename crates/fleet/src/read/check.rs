//! `[[service.NAME.check]]`: what every check has; what only one kind has is read in `probe`.

use std::net::IpAddr;
use std::time::Duration;

use anycast_steer::Thresholds;
use toml::de::DeValue;

use super::bad_name;
use super::http::plain_http;
use super::probe::{KEYS_OF, KINDS, Kind, OF_ADDRESSES, read_probe};
use crate::iana::{Class, Rcode, RecordType};
use crate::problem::Problem;
use crate::section::{Fault, Section};
use crate::value;
use crate::{Builtin, Check, Probe, Transport};

const INTERVAL: Duration = Duration::from_secs(1);
const TIMEOUT: Duration = Duration::from_millis(500);
/// In percent of the interval.
const JITTER: u8 = 10;
const THRESHOLDS: Thresholds = Thresholds { rise: 2, fall: 2, rise_for: Duration::ZERO };

pub(super) fn read_checks(
    section: &mut Section<'_>,
    addresses: &[IpAddr],
    builtin: Option<&Builtin>,
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
            // What it was meant to be is asked already.
            None if section.places().has("builtin") => {}
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
fn builtin_checks(builtin: &Builtin, on: &[IpAddr]) -> Vec<Check> {
    let Builtin::Whoami { dns_port, http_port, .. } = builtin;
    let (name, probe) = match (*dns_port, *http_port) {
        (Some(port), _) => ("dns", id_server(port)),
        (None, Some(port)) => ("http", Probe::Http(Box::new(plain_http(port)))),
        (None, None) => return Vec::new(),
    };
    let check = |address: &IpAddr| Check {
        name: name_on(name, *address, on.len()),
        address: Some(*address),
        probe: probe.clone(),
        interval: INTERVAL,
        jitter: JITTER,
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
        recursion: false,
        authentic: false,
        cache_busting: false,
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
        rise_for: section.get("rise-for", value::duration).unwrap_or(THRESHOLDS.rise_for),
    };
    let jitter = section.get("jitter", value::percent(50)).unwrap_or(JITTER);
    if kind.is_none() {
        // Without the type, none of these can be called wrong.
        for (key, _) in KEYS_OF {
            section.get(key, |_| Ok(()));
        }
    }
    let has_address = kind.is_some_and(|kind| OF_ADDRESSES.contains(&kind));
    let address = if has_address { section.get("address", value::address) } else { None };
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
    let targets: Vec<Option<IpAddr>> = match address {
        None if has_address => addresses.iter().copied().map(Some).collect(),
        one => vec![one],
    };
    checks.extend(targets.iter().map(|&target| Check {
        name: target.map_or_else(|| stem.clone(), |it| name_on(&stem, it, targets.len())),
        address: target,
        probe: probe.clone(),
        interval,
        jitter,
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

fn in_words(duration: Duration) -> String {
    let millis = duration.as_millis();
    if millis.is_multiple_of(1000) {
        format!("\"{}s\"", millis / 1000)
    } else {
        format!("\"{millis}ms\"")
    }
}

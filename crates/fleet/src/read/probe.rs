//! What only some kinds of checks have: what is asked, and what passes.

use std::net::{Ipv4Addr, Ipv6Addr};
use std::path::PathBuf;

use toml::de::DeValue;

use super::http;
use crate::iana::{Class, Rcode, RecordType};
use crate::problem::{Problem, suggestion};
use crate::section::{Fault, Section};
use crate::value;
use crate::{DnsData, Probe, Transport};

const DNS_PORT: u16 = 53;

/// More than fits in a datagram of the Internet without fragments.
const LONGEST_PAYLOAD: usize = 1200;

/// The longest domain name in text, with its final dot (RFC 1035 §2.3.4).
const LONGEST_NAME: usize = 254;

/// What a random label before a name takes, with its dot.
const RANDOM_LABEL: usize = 17;

/// The longest name that the kernel keeps of what a process runs (TASK_COMM_LEN without NUL).
const LONGEST_COMM: usize = 15;

/// The `type` of a check.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Kind {
    Tcp,
    Udp,
    Http,
    Https,
    Dns,
    Icmp,
    Command,
    Process,
    Systemd,
    File,
}

pub(super) const KINDS: &[(&str, Kind)] = &[
    ("tcp", Kind::Tcp),
    ("udp", Kind::Udp),
    ("http", Kind::Http),
    ("https", Kind::Https),
    ("dns", Kind::Dns),
    ("icmp", Kind::Icmp),
    ("command", Kind::Command),
    ("process", Kind::Process),
    ("systemd", Kind::Systemd),
    ("file", Kind::File),
];

/// The kinds that probe each address; the others look at something of the host.
pub(super) const OF_ADDRESSES: [Kind; 7] =
    [Kind::Tcp, Kind::Udp, Kind::Http, Kind::Https, Kind::Dns, Kind::Icmp, Kind::Command];

/// Keys that only some kinds of checks have.
pub(super) const KEYS_OF: [(&str, &[&str]); 32] = [
    ("address", &["tcp", "udp", "http", "https", "dns", "icmp", "command"]),
    ("port", &["tcp", "udp", "http", "https", "dns"]),
    ("send", &["udp"]),
    ("send-hex", &["udp"]),
    ("path", &["http", "https", "file"]),
    ("host", &["http", "https"]),
    ("method", &["http", "https"]),
    ("status", &["http", "https"]),
    ("header", &["http", "https"]),
    ("body", &["http", "https"]),
    ("body-pattern", &["http", "https"]),
    ("server-name", &["https"]),
    ("verify", &["https"]),
    ("ca-file", &["https"]),
    ("tls-expires-in", &["https"]),
    ("query", &["dns"]),
    ("qtype", &["dns"]),
    ("class", &["dns"]),
    ("transport", &["dns"]),
    ("rcode", &["dns"]),
    ("expect", &["udp", "dns"]),
    ("expect-part", &["dns"]),
    ("recursion", &["dns"]),
    ("ad", &["dns"]),
    ("cache-busting", &["dns"]),
    ("expect-hex", &["udp"]),
    ("command", &["command"]),
    ("pid-file", &["process"]),
    ("process", &["process"]),
    ("unit", &["systemd"]),
    ("absent", &["file"]),
    ("max-age", &["file"]),
];

pub(super) fn read_probe(kind: Kind, section: &mut Section<'_>) -> Option<Probe> {
    match kind {
        Kind::Tcp => Some(Probe::Tcp { port: section.require("port", "443", value::port)? }),
        Kind::Udp => read_udp(section),
        Kind::Http | Kind::Https => {
            Some(Probe::Http(Box::new(http::read(section, kind == Kind::Https))))
        }
        Kind::Dns => read_dns(section),
        Kind::Icmp => Some(Probe::Icmp),
        Kind::Command => read_command(section),
        Kind::Process => read_process(section),
        Kind::Systemd => {
            let unit = section.require("unit", "\"nsd.service\"", unit);
            Some(Probe::Unit { unit: unit? })
        }
        Kind::File => {
            let path = section.require("path", "\"/run/example/healthy\"", absolute_path);
            let absent = section.get("absent", value::boolean).unwrap_or_default();
            let max_age = section.get("max-age", value::some_duration);
            if absent && max_age.is_some() {
                let span = section.places().of("max-age");
                let message = "`max-age` of a file that must not be there";
                let help = "Leave out `absent`, or `max-age`.";
                section.problem(Problem::error("bad-value", span, message).help(help));
            }
            Some(Probe::File { path: path?, absent, max_age })
        }
    }
}

fn read_udp(section: &mut Section<'_>) -> Option<Probe> {
    let port = section.require("port", "123", value::port);
    let send = payload(section, "send", "send-hex");
    let places = section.places();
    if !places.has("send") && !places.has("send-hex") {
        section.missing("send", "\"ping\"");
    }
    let expect = payload(section, "expect", "expect-hex");
    Some(Probe::Udp { port: port?, send: send?, expect })
}

/// Octets, written as text under one key or as hexadecimal digits under another.
fn payload(
    section: &mut Section<'_>,
    as_text: &'static str,
    as_hex: &'static str,
) -> Option<Vec<u8>> {
    let text = section.get(as_text, octets_of_text);
    let octets = section.get(as_hex, hex);
    if section.places().has(as_text) && section.places().has(as_hex) {
        let span = section.places().of(as_hex);
        let message = format!("`{as_text}` and `{as_hex}` say the same thing twice");
        section.problem(Problem::error("bad-value", span, message).help("Leave one of them out."));
    }
    text.or(octets)
}

/// Any text, line breaks and all.
fn octets_of_text(value: &DeValue<'_>) -> Result<Vec<u8>, Fault> {
    let text = value.as_str().ok_or_else(|| Fault::wrong_type("a string", value))?;
    match text.len() {
        0 => Err(Fault::value("must not be empty", "Write something, or leave the key out.")),
        1..=LONGEST_PAYLOAD => Ok(text.as_bytes().to_vec()),
        _ => Err(too_long()),
    }
}

fn too_long() -> Fault {
    let limit = format!("Write at most {LONGEST_PAYLOAD} octets.");
    Fault::value("is too long for a datagram", limit)
}

fn hex(value: &DeValue<'_>) -> Result<Vec<u8>, Fault> {
    let text: String = value::text(value)?.chars().filter(|c| !c.is_whitespace()).collect();
    let digits: Option<Vec<u8>> =
        text.chars().map(|c| c.to_digit(16).and_then(|digit| u8::try_from(digit).ok())).collect();
    match digits {
        Some(digits) if digits.len() > 2 * LONGEST_PAYLOAD => Err(too_long()),
        Some(digits) if digits.len().is_multiple_of(2) => {
            Ok(digits.chunks(2).map(|pair| pair[0] << 4 | pair[1]).collect())
        }
        _ => Err(Fault::value(
            format!("must be octets in hexadecimal digits, not {text:?}"),
            "Write two digits for each octet: \"00 2a ff\".",
        )),
    }
}

fn read_dns(section: &mut Section<'_>) -> Option<Probe> {
    let port = section.get("port", value::port).unwrap_or(DNS_PORT);
    let query = section.require("query", "\"id.server.\"", value::domain_name);
    let qtype = section.get("qtype", record_type);
    let class = section.get("class", value::word(&[("IN", Class::In), ("CH", Class::Ch)]));
    let transports = &[("udp", Transport::Udp), ("tcp", Transport::Tcp)];
    let transport = section.get("transport", value::word(transports));
    let rcode = section.get("rcode", rcode);
    let expect = read_data(section, qtype.unwrap_or(RecordType::A));
    let authentic = section.get("ad", value::boolean).unwrap_or_default();
    // Only who resolves can call an answer authentic (RFC 6840 §5.8).
    let recursion = section.get("recursion", value::boolean).unwrap_or(authentic);
    let cache_busting = section.get("cache-busting", value::boolean).unwrap_or_default();
    let query = query?;
    if cache_busting && query.len() + RANDOM_LABEL > LONGEST_NAME {
        let span = section.places().of("query");
        let message = "`query` is too long for another label before it";
        let help = format!("A name has at most {LONGEST_NAME} characters with its dots.");
        section.problem(Problem::error("bad-value", span, message).help(help));
    }
    Some(Probe::Dns {
        port,
        query,
        qtype: qtype.unwrap_or(RecordType::A),
        class: class.unwrap_or(Class::In),
        transport: transport.unwrap_or(Transport::Udp),
        rcode: rcode.unwrap_or(Rcode::NOERROR),
        expect,
        recursion,
        authentic,
        cache_busting,
    })
}

fn read_data(section: &mut Section<'_>, qtype: RecordType) -> Option<DnsData> {
    let data = section.get("expect", |value| data(value, qtype));
    let part = section.get("expect-part", value::text);
    if section.places().has("expect") && section.places().has("expect-part") {
        let span = section.places().of("expect-part");
        let message = "`expect-part` beside `expect`, which says all of the data";
        section.problem(Problem::error("bad-value", span, message).help("Leave one of them out."));
    }
    data.map(DnsData::Exactly).or(part.map(DnsData::Part))
}

/// The data of one record, or a list of them.
fn data(value: &DeValue<'_>, qtype: RecordType) -> Result<Vec<String>, Fault> {
    let Some(list) = value.as_array() else { return Ok(vec![datum(value, qtype)?]) };
    if list.is_empty() {
        return Err(Fault::value("is empty", "Write the data of one record, or leave it out."));
    }
    list.iter().map(|item| datum(item.get_ref(), qtype)).collect()
}

fn datum(value: &DeValue<'_>, qtype: RecordType) -> Result<String, Fault> {
    let text = value::text(value)?;
    let (fits, what) = match qtype {
        RecordType::A => (text.parse::<Ipv4Addr>().is_ok(), "an IPv4 address"),
        RecordType::AAAA => (text.parse::<Ipv6Addr>().is_ok(), "an IPv6 address"),
        _ => return Ok(text),
    };
    if fits {
        return Ok(text);
    }
    let message = format!("must be {what}, as records of type {qtype} have, not {text:?}");
    Err(Fault::value(
        message,
        "For a part of the data write `expect-part`; for other data `qtype`.",
    ))
}

fn read_command(section: &mut Section<'_>) -> Option<Probe> {
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
    Some(Probe::Command { argv })
}

fn read_process(section: &mut Section<'_>) -> Option<Probe> {
    let pid_file = section.get("pid-file", absolute_path);
    let program = section.get("process", program);
    if !section.places().has("pid-file") && !section.places().has("process") {
        section.missing("process", "\"/usr/sbin/nsd\"");
        return None;
    }
    Some(Probe::Process { pid_file, program })
}

/// What a process runs: a path, or a name as the kernel keeps it.
fn program(value: &DeValue<'_>) -> Result<String, Fault> {
    let program = value::text(value)?;
    let fault = |message: String, help: &str| Err(Fault::value(message, help));
    if program.starts_with('/') {
        return Ok(program);
    }
    if program.contains('/') {
        return fault(
            format!("must be an absolute path or a name, not {program:?}"),
            "Write \"/usr/sbin/nsd\" or \"nsd\".",
        );
    }
    if program.len() > LONGEST_COMM {
        return fault(
            format!("is longer than the {LONGEST_COMM} characters that the kernel keeps of a name"),
            "Write the program's absolute path.",
        );
    }
    Ok(program)
}

/// A unit's name, with the type that systemd would otherwise guess.
fn unit(value: &DeValue<'_>) -> Result<String, Fault> {
    // Those that have processes of their own; systemd.unit(5).
    const TYPES: [&str; 3] = ["service", "scope", "slice"];
    let unit = value::text(value)?;
    let fits = |c: char| c.is_ascii_alphanumeric() || ":-_.\\@".contains(c);
    match unit.rsplit_once('.') {
        Some((stem, kind))
            if !stem.is_empty() && stem.chars().all(fits) && TYPES.contains(&kind) =>
        {
            Ok(unit)
        }
        _ => Err(Fault::value(
            format!("must be a systemd unit, not {unit:?}"),
            "Write its name with its type: \"nsd.service\".",
        )),
    }
}

/// The path of a file on the host; the daemon may be started anywhere.
fn absolute_path(value: &DeValue<'_>) -> Result<PathBuf, Fault> {
    let path = value::text(value)?;
    if path.starts_with('/') && !path.ends_with('/') {
        return Ok(path.into());
    }
    Err(Fault::value(
        format!("must be the absolute path of a file, not {path:?}"),
        "Write it like \"/run/nsd/nsd.pid\".",
    ))
}

/// An argument may be empty, but cannot hold a NUL.
fn argument(value: &DeValue<'_>) -> Result<String, Fault> {
    let text = value.as_str().ok_or_else(|| Fault::wrong_type("a string", value))?;
    if text.contains('\0') {
        return Err(Fault::value("has a NUL in it", "No argument can hold one."));
    }
    Ok(text.to_owned())
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

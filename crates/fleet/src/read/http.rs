//! What only checks of type `http` and `https` have.

use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::time::Duration;

use toml::de::DeValue;

use crate::check::{Body, Http, Method, Pattern, Tls};
use crate::problem::Problem;
use crate::section::{Fault, Section};
use crate::value;

const PORT: u16 = 80;
const TLS_PORT: u16 = 443;

const METHODS: &[(&str, Method)] =
    &[("GET", Method::Get), ("HEAD", Method::Head), ("OPTIONS", Method::Options)];

/// More than any certificate is valid.
const LONGEST_VALIDITY: Duration = Duration::from_secs(10 * 366 * 86_400);

/// A GET for `/` that is answered with 200.
pub(super) fn plain_http(port: u16) -> Http {
    Http {
        port,
        method: Method::Get,
        path: "/".to_owned(),
        host: None,
        statuses: vec![200..=200],
        header: None,
        body: None,
        tls: None,
    }
}

pub(super) fn read(section: &mut Section<'_>, over_tls: bool) -> Http {
    let plain = plain_http(if over_tls { TLS_PORT } else { PORT });
    let method = section.get("method", value::word(METHODS)).unwrap_or(plain.method);
    Http {
        port: section.get("port", value::port).unwrap_or(plain.port),
        method,
        path: section.get("path", path).unwrap_or(plain.path),
        host: section.get("host", host),
        statuses: section.get("status", statuses).unwrap_or(plain.statuses),
        header: section.get("header", header),
        body: read_body(section, method),
        tls: over_tls.then(|| read_tls(section)),
    }
}

fn read_body(section: &mut Section<'_>, method: Method) -> Option<Body> {
    let text = section.get("body", value::text).map(Body::Text);
    let pattern = section.get("body-pattern", pattern).map(Body::Pattern);
    let places = section.places();
    let key = if places.has("body-pattern") { "body-pattern" } else { "body" };
    if places.has("body") && places.has("body-pattern") {
        let message = "`body` and `body-pattern` of one check";
        let problem = Problem::error("bad-value", places.of(key), message);
        section.problem(problem.help("Leave one of them out, or add another check."));
    } else if places.has(key) && method == Method::Head {
        let message = format!("`{key}` of an answer that has no body");
        let problem = Problem::error("bad-value", places.of(key), message);
        section.problem(problem.help("Use another `method` than HEAD, or leave it out."));
    }
    text.or(pattern)
}

fn read_tls(section: &mut Section<'_>) -> Tls {
    let tls = Tls {
        server_name: section.get("server-name", host),
        verify: section.get("verify", value::boolean).unwrap_or(true),
        ca_file: section.get("ca-file", value::text).map(PathBuf::from),
        expires_in: section.get("tls-expires-in", validity),
    };
    if !tls.verify {
        for key in ["ca-file", "tls-expires-in"] {
            if section.places().has(key) {
                let span = section.places().of(key);
                let message = format!("`{key}` beside `verify = false`, which looks at nothing");
                let problem = Problem::error("bad-value", span, message);
                section.problem(problem.help("Leave out one of the two."));
            }
        }
    }
    tls
}

/// A status, a range of them (`"200-299"`), or a list of both.
fn statuses(value: &DeValue<'_>) -> Result<Vec<RangeInclusive<u16>>, Fault> {
    let Some(list) = value.as_array() else { return Ok(vec![status(value)?]) };
    if list.is_empty() {
        return Err(Fault::value(
            "must not be empty",
            "Name at least one status, or leave it out.",
        ));
    }
    list.iter().map(|item| status(item.get_ref())).collect()
}

fn status(value: &DeValue<'_>) -> Result<RangeInclusive<u16>, Fault> {
    let Some(text) = value.as_str() else {
        return value::number(100..=599)(value).map(|status| status..=status);
    };
    let range = text
        .split_once('-')
        .and_then(|(first, last)| Some(first.parse().ok()?..=last.parse().ok()?));
    range
        .filter(|range: &RangeInclusive<u16>| {
            !range.is_empty() && *range.start() >= 100 && *range.end() <= 599
        })
        .ok_or_else(|| {
            Fault::value(
                format!("must be statuses, not {text:?}"),
                "Write 200, \"200-299\", or a list of these: [200, \"300-399\"].",
            )
        })
}

/// A header's name, and what its value must contain.
fn header(value: &DeValue<'_>) -> Result<(String, String), Fault> {
    // RFC 9110 §5.6.2.
    let is_token = |c: char| c.is_ascii_alphanumeric() || "!#$%&'*+-.^_`|~".contains(c);
    let text = value::text(value)?;
    let (name, content) = text.split_once(':').unwrap_or((&text, ""));
    if name.is_empty() || !name.chars().all(is_token) {
        return Err(Fault::value(
            format!("must be a header, not {text:?}"),
            "Write \"Server: example\", or \"Server\" alone if any value will do.",
        ));
    }
    Ok((name.to_owned(), content.trim().to_owned()))
}

fn pattern(value: &DeValue<'_>) -> Result<Pattern, Fault> {
    let text = value::text(value)?;
    Pattern::new(&text).map_err(|why| {
        // The last line of several says what is wrong, the others show where.
        let why = why.lines().last().unwrap_or_default().trim_start_matches("error: ").to_owned();
        Fault::value(
            format!("is no regular expression: {why}"),
            "Write one as in docs.rs/regex, or `body` for plain text.",
        )
    })
}

fn validity(value: &DeValue<'_>) -> Result<Duration, Fault> {
    value::long_duration(LONGEST_VALIDITY)(value)
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

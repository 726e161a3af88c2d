//! `anycast show`, `anycast neighbor` and `anycast prepend`: a running site over its control
//! socket.

mod bmp;
mod events;
pub(crate) mod neighbors;
mod routes;
mod rpki;
pub(crate) mod status;

use std::process::ExitCode;

use anycast_site::client::{Client, ClientError, Credentials, Remote};
use anycast_site::control::default_socket;
use anycast_site::status::{DrainRow, PrependOrder, ServicesReport, SiteRow};
use serde_json::Value;

use crate::affinity;
use crate::cli::{PrependArguments, ShowArguments, Shown, TargetArguments};
use crate::drain;
use crate::run::runtime;
use crate::table::{self, span};

pub(crate) fn client(target: &TargetArguments) -> Result<Client, ClientError> {
    if let Some(url) = &target.api {
        let credentials = Credentials {
            token: target.token_file.as_deref(),
            ca: target.ca.as_deref(),
            certificate: target.certificate.as_deref(),
            key: target.certificate_key.as_deref(),
        };
        return Ok(Client::remote(Remote::new(url, &credentials).map_err(ClientError::Unusable)?));
    }
    match (&target.site, &target.socket) {
        (Some(site), _) => Ok(Client::new(default_socket(site))),
        (None, Some(path)) => Ok(Client::new(path.clone())),
        (None, None) => Client::only(),
    }
}

/// The same, or all that run here if none is named.
fn clients(target: &TargetArguments) -> Result<Vec<Client>, ClientError> {
    match (&target.site, &target.socket, &target.api) {
        (None, None, None) => Client::all(),
        _ => Ok(vec![client(target)?]),
    }
}

pub(crate) fn show(arguments: &ShowArguments) -> Result<ExitCode, String> {
    let client = client(&arguments.target).map_err(|error| error.to_string())?;
    runtime()?.block_on(fetch(arguments, &client)).map_err(|error| error.to_string())?;
    Ok(ExitCode::SUCCESS)
}

async fn fetch(arguments: &ShowArguments, client: &Client) -> Result<(), ClientError> {
    let target = match &arguments.what {
        Shown::Sites => "/v1/sites".to_owned(),
        Shown::Neighbors { name: None } => "/v1/neighbors".to_owned(),
        Shown::Neighbors { name: Some(name) } => format!("/v1/neighbors/{}", encoded(name)),
        Shown::Bfd => "/v1/bfd".to_owned(),
        Shown::Bmp => "/v1/bmp".to_owned(),
        Shown::Routes(wanted) => return routes::fetch(wanted, arguments.json, client).await,
        Shown::Services => "/v1/services".to_owned(),
        Shown::Damping => return status::damping(arguments.json, client).await,
        Shown::Floor => return status::floor(arguments.json, client).await,
        Shown::Drains => "/v1/drains".to_owned(),
        Shown::Affinity => "/v1/affinity".to_owned(),
        Shown::Rpki => "/v1/rpki".to_owned(),
        Shown::Events(wanted) => return events::fetch(wanted, arguments.json, client).await,
    };
    if arguments.json {
        println!("{:#}", client.get::<Value>(&target).await?);
        return Ok(());
    }
    match &arguments.what {
        Shown::Sites => sites(&client.get::<Vec<SiteRow>>(&target).await?),
        Shown::Neighbors { name: None } => {
            neighbors::table(&client.get::<Vec<Value>>(&target).await?);
        }
        Shown::Neighbors { name: Some(_) } => {
            println!("{}", neighbors::block(&client.get(&target).await?));
        }
        Shown::Bmp => bmp::stations(&client.get::<Vec<Value>>(&target).await?),
        Shown::Bfd => bfd(&client.get::<Vec<Value>>(&target).await?),
        Shown::Routes(_) | Shown::Events(_) | Shown::Damping | Shown::Floor => {}
        Shown::Services => services(&client.get::<ServicesReport>(&target).await?),
        Shown::Drains => drain::table(&client.get::<Vec<DrainRow>>(&target).await?),
        Shown::Affinity => affinity::print(&client.get(&target).await?),
        Shown::Rpki => print!("{}", rpki::text(&client.get(&target).await?)),
    }
    Ok(())
}

/// A name as part of a URL (RFC 3986 §2.1).
fn encoded(name: &str) -> String {
    let octet = |octet: u8| match octet {
        b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'.' => {
            char::from(octet).to_string()
        }
        other => format!("%{other:02X}"),
    };
    name.bytes().map(octet).collect()
}

fn sites(sites: &[SiteRow]) {
    let rows = sites.iter().map(|site| {
        vec![
            if site.this { format!("{} *", site.name) } else { site.name.clone() },
            site.city.clone().unwrap_or_default(),
            site.asn.to_string(),
            drain::with_stage(site.state.as_deref().unwrap_or_default(), site.drain.as_deref()),
            site.uptime_seconds.map(span).unwrap_or_default(),
            match site.established {
                Some(up) => format!("{up}/{}", site.neighbors),
                None => format!("-/{}", site.neighbors),
            },
            site.announced.as_ref().map(|prefixes| prefixes.join(" ")).unwrap_or_default(),
        ]
    });
    table::print(
        &["SITE", "CITY", "ASN", "STATE", "UPTIME", "NEIGHBORS UP", "ANNOUNCED"],
        rows.collect(),
    );
    println!("\n* this site; of the others only the fleet file is known here");
    for warning in sites.iter().filter_map(|site| site.warning.as_ref()) {
        println!("{warning}");
    }
}

/// A field of a JSON row as text: no quotes, nothing for null, lists with spaces.
fn text(row: &Value, field: &str) -> String {
    match &row[field] {
        Value::Null => String::new(),
        Value::String(text) => text.clone(),
        Value::Array(items) => {
            let items = items.iter().map(|item| match item {
                Value::String(text) => text.clone(),
                other => other.to_string(),
            });
            items.collect::<Vec<_>>().join(" ")
        }
        other => other.to_string(),
    }
}

fn bfd(sessions: &[Value]) {
    let time = |row: &Value, field: &str| match row[field].as_f64() {
        Some(milliseconds) => format!("{milliseconds} ms"),
        None => String::new(),
    };
    let rows = sessions.iter().map(|row| {
        vec![
            text(row, "neighbor"),
            text(row, "address"),
            if row["multihop"] == true { "multi" } else { "single" }.to_owned(),
            text(row, "state"),
            row["up_seconds"].as_f64().map(span).unwrap_or_default(),
            text(row, "remote_state"),
            time(row, "interval_ms"),
            time(row, "detection_ms"),
            text(row, "packets_in"),
            text(row, "packets_out"),
            text(row, "packets_dropped"),
            text(row, "downs"),
            match text(row, "send_error") {
                error if error.is_empty() => text(row, "last_down"),
                error => format!("cannot send: {error}"),
            },
        ]
    });
    table::print(
        &[
            "NEIGHBOR",
            "ADDRESS",
            "HOPS",
            "STATE",
            "UP FOR",
            "NEIGHBOR SAYS",
            "INTERVAL",
            "DEAD AFTER",
            "IN",
            "OUT",
            "DROPPED",
            "FAILED",
            "LAST ERROR",
        ],
        rows.collect(),
    );
}

fn services(report: &ServicesReport) {
    let rows = report.services.iter().flat_map(|service| {
        let addresses = service.addresses.iter().map(ToString::to_string).collect::<Vec<_>>();
        let first = vec![
            service.name.clone(),
            drain::with_stage(&service.state, service.drain.as_deref()),
            span(service.since_seconds),
            service.served_by.clone(),
            service.pid.map(|pid| pid.to_string()).unwrap_or_default(),
            addresses.join(" "),
            String::new(),
            service.why.clone().unwrap_or_default(),
        ];
        let checks = service.checks.iter().map(|check| {
            let in_a_row = match (check.passes, check.fails) {
                (0, 0) => "not run yet".to_owned(),
                (0, fails) => format!("{fails} failed"),
                (passes, _) => format!("{passes} passed"),
            };
            vec![
                format!("  {}", check.name),
                check.state.clone(),
                String::new(),
                String::new(),
                String::new(),
                String::new(),
                in_a_row,
                check.last_failure.clone().unwrap_or_default(),
            ]
        });
        std::iter::once(first).chain(checks).collect::<Vec<_>>()
    });
    table::print(
        &[
            "SERVICE / CHECK",
            "STATE",
            "SINCE",
            "SERVED BY",
            "PID",
            "ADDRESSES",
            "IN A ROW",
            "WHY / LAST FAILURE",
        ],
        rows.collect(),
    );
    println!();
    let with_rpki = report.prefixes.iter().any(|prefix| prefix.rpki.is_some());
    let rows = report.prefixes.iter().map(|prefix| {
        let mut row = vec![
            prefix.prefix.clone(),
            if prefix.announced { "announced" } else { "withdrawn" }.to_owned(),
            span(prefix.since_seconds),
            format!("{} of {}", prefix.require, prefix.services.join(", ")),
            prefix.why.clone().unwrap_or_default(),
        ];
        if with_rpki {
            row.insert(4, prefix.rpki.clone().unwrap_or_default());
        }
        row
    });
    let mut headings = vec!["PREFIX", "STATE", "SINCE", "STANDS FOR", "WHY"];
    if with_rpki {
        headings.insert(4, "RPKI");
    }
    table::print(&headings, rows.collect());
    if report.sessions_up == 0 && report.prefixes.iter().any(|prefix| prefix.announced) {
        println!("\nNo BGP session is up: nobody hears this. `anycast show neighbors` says why.");
    }
}

/// The time of day in UTC to the millisecond.
pub(crate) fn utc(unix_time: f64) -> String {
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "times after 1970 and before the year 292 million"
    )]
    let millis = (unix_time * 1e3) as u64 % 86_400_000;
    let (seconds, millis) = (millis / 1000, millis % 1000);
    format!("{:02}:{:02}:{:02}.{millis:03}", seconds / 3600, seconds / 60 % 60, seconds % 60)
}

pub(crate) fn prepend(arguments: &PrependArguments) -> Result<ExitCode, String> {
    let client = client(&arguments.target).map_err(|error| error.to_string())?;
    let order = PrependOrder { count: arguments.count, neighbor: arguments.neighbor.clone() };
    runtime()?.block_on(client.post("/v1/prepend", &order)).map_err(|error| error.to_string())?;
    let whom = arguments.neighbor.as_deref().unwrap_or("every neighbor");
    println!("{whom} now hears our ASN {} times more than the file says", arguments.count);
    Ok(ExitCode::SUCCESS)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_of_day_is_utc_to_the_millisecond() {
        assert_eq!(utc(0.0), "00:00:00.000");
        assert_eq!(utc(1_795_376_684.5), "19:44:44.500");
    }

    #[test]
    fn a_name_in_a_url_is_letters_and_numbers() {
        assert_eq!(encoded("transit-a_1.x"), "transit-a_1.x");
        assert_eq!(encoded("a/b?c d&\u{e9}"), "a%2Fb%3Fc%20d%26%C3%A9");
    }

    #[test]
    fn json_fields_become_plain_text() {
        let row = serde_json::json!({ "a": "x", "b": null, "c": ["1:2", "3:4"], "d": 7 });
        let texts = ["a", "b", "c", "d", "e"].map(|field| text(&row, field));
        assert_eq!(texts, ["x", "", "1:2 3:4", "7", ""]);
    }
}

//! `anycast status`, `anycast why`, and what of them is worth a table of its own.

use std::fmt::Write;
use std::process::ExitCode;

use anycast_site::client::{Client, ClientError};
use anycast_site::overview::{DampingRow, Overview, PrefixOverview, Why};
use anycast_site::status::ServiceRow;
use serde_json::Value;

use super::{clients, events};
use crate::cli::{Destination, StatusArguments, WhyArguments};
use crate::run::runtime;
use crate::table::{plain, render, span};

/// Something is not as it should be.
const NOT_WELL: u8 = 1;
/// A site does not answer.
const SILENT: u8 = 2;

pub(crate) fn status(arguments: &StatusArguments) -> Result<ExitCode, String> {
    let clients = clients(&arguments.target).map_err(|error| error.to_string())?;
    runtime()?.block_on(async {
        let mut code = 0;
        let mut answers = Vec::new();
        for client in &clients {
            match client.get::<Value>("/v1/status").await {
                Ok(answer) => answers.push(answer),
                Err(error) => {
                    eprintln!("anycast: {error}");
                    code = SILENT;
                }
            }
        }
        let read = |answer: &Value| serde_json::from_value::<Overview>(answer.clone());
        let sites: Result<Vec<Overview>, _> = answers.iter().map(read).collect();
        let sites = sites.map_err(|error| ClientError::Garbled(error.to_string()).to_string())?;
        if sites.iter().any(|site| !site.troubles.is_empty()) {
            code = code.max(NOT_WELL);
        }
        if arguments.json {
            println!("{:#}", Value::Array(answers));
        } else {
            let screens: Vec<String> = sites.iter().map(screen).collect();
            print!("{}", screens.join("\n\n"));
        }
        Ok(ExitCode::from(code))
    })
}

pub(crate) fn why(arguments: &WhyArguments) -> Result<ExitCode, String> {
    let client = super::client(&arguments.target).map_err(|error| error.to_string())?;
    let target = match arguments.to {
        Destination::Prefix(prefix) => format!("/v1/why?prefix={prefix}"),
        Destination::Address(address) => format!("/v1/why?address={address}"),
    };
    let answer = runtime()?.block_on(client.get::<Value>(&target));
    let answer = answer.map_err(|error| error.to_string())?;
    let why = serde_json::from_value::<Why>(answer.clone());
    let why = why.map_err(|error| ClientError::Garbled(error.to_string()).to_string())?;
    if arguments.json {
        println!("{answer:#}");
    } else {
        print!("{}", story(&why));
    }
    let plain = why.prefix.announced && why.prefix.reasons.is_empty() && why.prefix.held.is_none();
    Ok(ExitCode::from(if plain { 0 } else { NOT_WELL }))
}

/// One site on one screen.
fn screen(site: &Overview) -> String {
    let mut text = String::new();
    let place = site.city.as_ref().map(|city| format!(" ({city})")).unwrap_or_default();
    let _ = writeln!(
        text,
        "{}{place} of {}: {} for {}, version {}",
        site.site,
        site.fleet,
        site.state,
        span(site.uptime_seconds),
        site.version
    );
    let up = site.neighbors.iter().filter(|row| row.why.is_none()).count();
    let _ = writeln!(text, "{up} of {} BGP sessions up", site.neighbors.len());
    if !site.others.is_empty() {
        let heard = match site.fleet_heard_seconds {
            Some(seconds) => format!("last heard of {} ago", span(seconds)),
            None => "not heard of: this site stands alone".to_owned(),
        };
        let _ = writeln!(text, "other sites: {}; {heard}", site.others.join(", "));
    }
    let services = site.services.iter().map(|row| {
        vec![
            row.name.clone(),
            row.state.clone(),
            span(row.since_seconds),
            plain(row.why.as_deref().unwrap_or_default()),
        ]
    });
    let _ =
        writeln!(text, "\n{}", render(&["SERVICE", "STATE", "SINCE", "WHY"], services.collect()));
    let prefixes = site.prefixes.iter().flat_map(|row| {
        let state = match (&row.held, row.announced) {
            (Some(_), _) => "HELD",
            (None, true) => "announced",
            (None, false) => "withdrawn",
        };
        let reasons: Vec<&str> = row.reasons.iter().map(|reason| &*reason.text).collect();
        let why = row.held.as_deref().map_or_else(|| reasons.join("; "), str::to_owned);
        let head = vec![row.prefix.clone(), state.to_owned(), span(row.since_seconds), plain(&why)];
        let neighbors = row.neighbors.iter().map(|told| {
            let state = if told.told { "told" } else { "not told" };
            let name = format!("  {}", told.neighbor);
            // What keeps it from all is said above.
            let how = if !told.told && !row.announced { "" } else { &told.how };
            vec![name, state.to_owned(), String::new(), plain(how)]
        });
        std::iter::once(head).chain(neighbors).collect::<Vec<_>>()
    });
    let head = ["PREFIX / NEIGHBOR", "STATE", "SINCE", "WHY / HOW"];
    let _ = writeln!(text, "\n{}", render(&head, prefixes.collect()));
    if !site.drains.is_empty() {
        let rows = site.drains.iter().map(|row| {
            vec![
                row.target.clone(),
                row.stage.clone(),
                span(row.since_seconds),
                row.seconds_left
                    .map_or_else(|| "undrain".to_owned(), |left| format!("in {}", span(left))),
                plain(&row.reason),
            ]
        });
        let head = ["DRAIN", "STAGE", "SINCE", "ENDS", "REASON"];
        let _ = writeln!(text, "\n{}", render(&head, rows.collect()));
    }
    if site.troubles.is_empty() {
        let _ = writeln!(text, "\nAll is well.");
    } else {
        let _ = writeln!(text, "\nNot as it should be:");
        for trouble in &site.troubles {
            let _ = writeln!(text, "  {}", plain(trouble));
        }
    }
    text
}

/// Why a prefix is as it is, from the checks to the neighbors.
fn story(why: &Why) -> String {
    let mut text = String::new();
    let row = &why.prefix;
    let told = row.neighbors.iter().filter(|told| told.told).count();
    let state = match (&row.held, row.announced) {
        (Some(_), _) => "HELD: announced although it should not be",
        (None, true) => "announced",
        (None, false) => "withdrawn",
    };
    let _ = writeln!(
        text,
        "{} is {state}, for {}; {told} of {} neighbors were told",
        row.prefix,
        span(row.since_seconds),
        row.neighbors.len()
    );
    if let Some(held) = &row.held {
        let _ = writeln!(text, "  {}", plain(held));
    }
    let _ = writeln!(text, "\nIt stands for {} of {}", row.require, row.services.join(", "));
    for service in &why.services {
        text.push_str(&of_service(service));
    }
    if !row.reasons.is_empty() {
        let _ = writeln!(text, "\nWhat keeps it from being announced plainly to all");
        for reason in &row.reasons {
            let _ = writeln!(text, "  {}: {}", reason.kind, plain(&reason.text));
        }
    }
    let _ = writeln!(text, "\nWhat its neighbors were told");
    let width = row.neighbors.iter().map(|told| told.neighbor.len()).max().unwrap_or_default();
    for told in &row.neighbors {
        let state = if told.told { "" } else { "not told: " };
        let _ = writeln!(text, "  {:width$}  {state}{}", told.neighbor, plain(&told.how));
    }
    if !why.chain.is_empty() {
        let _ = writeln!(text, "\nWhat happened");
        for event in &why.chain {
            let _ = writeln!(text, "  {}", events::line_of(event));
        }
    }
    text
}

fn of_service(service: &ServiceRow) -> String {
    let why = service.why.as_ref().map(|why| format!(": {why}")).unwrap_or_default();
    let since = span(service.since_seconds);
    let mut text = format!("  {} is {}, for {since}{}\n", service.name, service.state, plain(&why));
    for check in &service.checks {
        let in_a_row = match (check.passes, check.fails) {
            (0, 0) => "not run yet".to_owned(),
            (0, fails) => format!("{fails} failed in a row"),
            (passes, _) => format!("{passes} passed in a row"),
        };
        let last = match (&check.last_failure, check.fails) {
            (Some(words), 1..) => format!(": {words}"),
            _ => String::new(),
        };
        let _ = writeln!(
            text,
            "    check {} is {}, {in_a_row}{}",
            check.name,
            check.state,
            plain(&last)
        );
    }
    text
}

/// `anycast show damping`.
pub(super) async fn damping(json: bool, client: &Client) -> Result<(), ClientError> {
    let site = client.get::<Overview>("/v1/status").await?;
    if json {
        println!("{:#}", serde_json::json!(site.damping));
        return Ok(());
    }
    let row = |row: &DampingRow| {
        vec![
            row.what.clone(),
            format!("{:.0}", row.penalty),
            row.seconds_left.map(span).unwrap_or_default(),
        ]
    };
    let rows: Vec<_> = site.damping.iter().map(row).collect();
    if rows.is_empty() {
        println!("Nothing fell lately.");
    } else {
        println!("{}", render(&["SERVICE / PREFIX", "PENALTY", "KEPT DOWN FOR"], rows));
    }
    Ok(())
}

/// `anycast show floor`.
pub(super) async fn floor(json: bool, client: &Client) -> Result<(), ClientError> {
    let site = client.get::<Overview>("/v1/status").await?;
    if json {
        let row = |row: &PrefixOverview| serde_json::json!({ "prefix": row.prefix, "announced": row.announced, "floor": row.floor, "held": row.held });
        let prefixes: Vec<Value> = site.prefixes.iter().map(row).collect();
        let heard = site.fleet_heard_seconds;
        let all = serde_json::json!({
            "fleet_heard_seconds": heard,
            "fleet_state": site.fleet_state,
            "prefixes": prefixes,
        });
        println!("{all:#}");
        return Ok(());
    }
    let rows = site.prefixes.iter().map(|row| {
        let state = if row.announced { "announced" } else { "withdrawn" };
        let held = if row.held.is_some() { "yes" } else { "no" };
        let why = row.held.as_deref().unwrap_or_default();
        let floor = row.floor.as_deref().unwrap_or("none");
        vec![row.prefix.clone(), floor.to_owned(), state.to_owned(), held.to_owned(), plain(why)]
    });
    println!("{}", render(&["PREFIX", "FLOOR", "STATE", "HELD", "WHY"], rows.collect()));
    let Some(state) = &site.fleet_state else {
        println!("\nNothing is shared with the other sites: this one stands alone.");
        return Ok(());
    };
    let rows = state.sites.iter().map(|row| {
        let drained = if row.drained { "drained" } else { "" };
        let lists = [&row.announces, &row.held, &row.permits].map(|list| list.join(" "));
        let mut cells = vec![row.name.clone()];
        cells.extend(lists);
        cells.push(drained.to_owned());
        cells
    });
    let names = ["SITE", "ANNOUNCES", "HELD", "MAY WITHDRAW", ""];
    println!("\n{}", render(&names, rows.collect()));
    let since = span(state.since_seconds);
    match &state.why {
        None => println!("\nThe fleet's shared state is reached since {since}."),
        Some(why) => println!(
            "\nThe fleet's shared state is NOT reached since {since}: {}. The sites above are \
             those that were last known.",
            plain(why)
        ),
    }
    Ok(())
}

//! Routes: printed as they come, however many there are.

use anycast_site::client::{Client, ClientError};
use serde_json::Value;

use super::{encoded, text};
use crate::cli::{Destination, FamilyName, RoutesArguments};
use crate::table::Growing;

const HEADINGS: &[&str] = &[
    " ",
    "PREFIX",
    "NEXT HOP",
    "FROM",
    "LOCAL PREF",
    "MED",
    "AS PATH",
    "ORIGIN",
    "COMMUNITIES",
    "NOT ELIGIBLE",
];

pub(super) async fn fetch(
    wanted: &RoutesArguments,
    json: bool,
    client: &Client,
) -> Result<(), ClientError> {
    let query = query(wanted);
    if wanted.explain {
        let report: Value = client.get(&format!("/v1/explain{query}")).await?;
        if json {
            println!("{report:#}");
        } else {
            println!("{}", text(&report, "text"));
        }
        return Ok(());
    }
    let target = format!("/v1/routes{query}");
    if json {
        return client.get_lines(&target, |line| println!("{line}")).await;
    }
    // Whether there is a column for the RPKI shows at the first route.
    let mut table: Option<(bool, Growing)> = None;
    let mut hidden = 0;
    let mut garbled = None;
    let all = wanted.all || wanted.received.is_some();
    let print = |line: &str| {
        let line = line.strip_suffix(',').unwrap_or(line);
        if matches!(line, "[" | "]" | "" | "[]") {
            return;
        }
        match serde_json::from_str::<Value>(line) {
            Ok(row) if all || row["ineligible"].is_null() => {
                let with_rpki = !row["rpki"].is_null();
                let (with_rpki, table) =
                    table.get_or_insert_with(|| (with_rpki, Growing::new(&headings(with_rpki))));
                table.add(cells(&row, *with_rpki));
            }
            Ok(_) => hidden += 1,
            Err(error) => garbled = Some(error.to_string()),
        }
    };
    client.get_lines(&target, print).await?;
    match table {
        Some((_, table)) => table.end(),
        // A failure has its own words.
        None if garbled.is_some() => {}
        None if hidden > 0 => {
            println!("{hidden} were received but are not eligible; --all shows them");
            return Ok(());
        }
        None => println!("no routes"),
    }
    if let Some(words) = garbled {
        return Err(ClientError::Garbled(words));
    }
    if hidden > 0 {
        println!("\n{hidden} more were received but are not eligible; --all shows them");
    }
    Ok(())
}

fn query(wanted: &RoutesArguments) -> String {
    let mut parts = Vec::new();
    parts.extend(wanted.to.map(|to| match to {
        Destination::Prefix(prefix) if wanted.within => format!("within={prefix}"),
        Destination::Prefix(prefix) => format!("prefix={prefix}"),
        // What is within an address is the address.
        Destination::Address(address) => format!("address={address}"),
    }));
    for (table, neighbor) in [
        ("received", &wanted.received),
        ("accepted", &wanted.accepted),
        ("advertised", &wanted.advertised),
    ] {
        parts.extend(neighbor.as_ref().map(|name| format!("{table}={}", encoded(name))));
    }
    parts.extend(wanted.family.map(|family| match family {
        FamilyName::Ipv4 => "family=ipv4".to_owned(),
        FamilyName::Ipv6 => "family=ipv6".to_owned(),
    }));
    if parts.is_empty() { String::new() } else { format!("?{}", parts.join("&")) }
}

/// Where the column for the RPKI stands.
const RPKI: usize = 8;

fn headings(with_rpki: bool) -> Vec<&'static str> {
    let mut headings = HEADINGS.to_vec();
    if with_rpki {
        headings.insert(RPKI, "RPKI");
    }
    headings
}

fn cells(row: &Value, with_rpki: bool) -> Vec<String> {
    let local = row["neighbor"].is_null();
    let mark = match (row["best"] == true, row["shares"] == true, row["ineligible"].is_null()) {
        (true, ..) => "*>",
        (false, true, _) => "*=",
        (false, false, true) => "*",
        (false, false, false) => "x",
    };
    // Its neighbor restarts, or sends its routes anew.
    let stale = if row["stale"] == true { "s" } else { "" };
    let mut cells = vec![
        format!("{mark}{stale}"),
        text(row, "prefix"),
        text(row, "next_hop"),
        if local { "(this site)".to_owned() } else { text(row, "neighbor") },
        text(row, "local_pref"),
        text(row, "med"),
        text(row, "as_path"),
        text(row, "origin"),
        text(row, "communities"),
        text(row, "ineligible"),
    ];
    if with_rpki {
        cells.insert(RPKI, text(row, "rpki"));
    }
    cells
}

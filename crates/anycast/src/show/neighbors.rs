//! Neighbors: the table, the block with everything of one, and orders.

use std::fmt::Write;
use std::process::ExitCode;

use anycast_site::status::{NeighborOrder, NeighborRow, NotificationRow};
use serde_json::Value;

use super::{client, encoded, text};
use crate::cli::{ClearHow, NeighborArguments, NeighborCommand};
use crate::drain::with_stage;
use crate::run::runtime;
use crate::table::{self, span};

fn state(row: &Value) -> String {
    let state = if row["enabled"] == false { "disabled".to_owned() } else { text(row, "state") };
    with_stage(&state, row["file"]["drain"].as_str())
}

pub(super) fn table(neighbors: &[Value]) {
    let rows = neighbors.iter().map(|row| {
        vec![
            text(row, "name"),
            text(row, "address"),
            text(row, "asn"),
            state(row),
            text(row, "bfd"),
            span(row["since_seconds"].as_f64().unwrap_or_default()),
            match row["stale"].as_u64() {
                None | Some(0) => text(row, "received"),
                Some(stale) => format!("{} ({stale} stale)", text(row, "received")),
            },
            text(row, "accepted"),
            text(row, "advertised"),
            text(row, "last_down"),
        ]
    });
    table::print(
        &[
            "NEIGHBOR",
            "ADDRESS",
            "ASN",
            "STATE",
            "BFD",
            "SINCE",
            "RECEIVED",
            "ACCEPTED",
            "ADVERTISED",
            "LAST ERROR",
        ],
        rows.collect(),
    );
}

/// Everything of one neighbor, a line for each thing.
pub(super) fn block(row: &NeighborRow) -> String {
    let NeighborRow { session, file } = row;
    let state = if session.enabled { session.state.as_str() } else { "disabled" };
    let mut block = format!("{}: {state} for {}\n", session.name, span(session.since_seconds));
    let mut line = |label: &str, value: String| {
        // Writing to a string cannot fail.
        let _ = writeln!(block, "  {label:<15} {value}");
    };
    if let Some(message) = &session.disabled_message {
        let told =
            if message.is_empty() { "without a message".to_owned() } else { quoted(message) };
        line("disabled", format!("{told}, until it is enabled"));
    }
    if let Some(stage) = &file.drain {
        line("drain", format!("{stage}; `anycast show drains` says more"));
    }
    line("address", ends(row));
    line("AS", format!("{} (ours: {})", session.asn, session.local_asn));
    line(
        "router id",
        format!("{} (ours: {})", or_dash(session.router_id), or_dash(session.local_router_id)),
    );
    line("hold time", hold_time(row));
    if let Some(due) = session.connect_retry_due_seconds {
        line("next attempt", format!("in {}", span(due)));
    }
    let families = &session.families_offered;
    line("families", format!("{} (we offer: {})", list(&session.families), list(families)));
    let words = &session.capabilities_in_words;
    line("we offer", list(&words.ours));
    line("it offered", list(&words.theirs));
    line("in force", list(&words.in_force));
    line("relation", or_dash(file.relation.as_ref()));
    line(
        "roles",
        format!(
            "ours: {}, its: {}",
            or_dash(session.local_role.as_ref()),
            or_dash(session.role.as_ref())
        ),
    );
    line(
        "import",
        format!("{}: {} received, {} accepted", file.import, session.received, session.accepted),
    );
    for stale in &session.stale_families {
        let left = span(stale.ends_in_seconds);
        line("stale", format!("{}: {}, for {left} more", stale.family, stale.state));
    }
    let prepend = match file.prepend {
        0 => String::new(),
        more => format!(", our AS {} more", times(more.into())),
    };
    line("export", format!("{}: {} advertised{prepend}", file.export, session.advertised));
    line("limits", limits(row));
    let counters = &session.counters;
    line(
        "messages",
        format!(
            "{} in, {} out; UPDATEs {} in, {} out; NOTIFICATIONs {} in, {} out",
            counters.messages_in,
            counters.messages_out,
            counters.updates_in,
            counters.updates_out,
            counters.notifications_in,
            counters.notifications_out,
        ),
    );
    line(
        "sessions",
        format!("Established {}, lost {}", times(counters.established), times(counters.dropped)),
    );
    line("last error", or_dash(session.last_down.as_ref()));
    line("last sent", notification(session.last_sent.as_ref()));
    line("last received", notification(session.last_received.as_ref()));
    line("BFD", session.bfd.clone().unwrap_or_else(|| "off".to_owned()));
    line("security", security(row));
    block.pop();
    block
}

/// `198.51.100.0 port 179 from 198.51.100.1 port 40000`, as far as it is known.
fn ends(row: &NeighborRow) -> String {
    let session = &row.session;
    let port = session.remote_port.unwrap_or(session.port);
    let mut ends = format!("{} port {port}", session.address);
    if let (Some(address), Some(port)) = (session.local_address, session.local_port) {
        let _ = write!(ends, " (ours: {address} port {port})");
    }
    if session.passive {
        ends.push_str(", we only wait for it");
    }
    ends
}

fn hold_time(row: &NeighborRow) -> String {
    let session = &row.session;
    let offered = session.hold_time_offered_seconds;
    let mut words = match session.hold_time_seconds {
        None => format!("we offer {offered} s"),
        Some(0.0) => "none: no timers".to_owned(),
        Some(seconds) => format!("{seconds} s (we offer {offered} s)"),
    };
    if let (Some(hold), Some(keepalive)) = (session.hold_due_seconds, session.keepalive_due_seconds)
    {
        let (hold, keepalive) = (span(hold), span(keepalive));
        let _ = write!(words, ", over in {hold} of silence; our KEEPALIVE is due in {keepalive}");
    }
    words
}

fn limits(row: &NeighborRow) -> String {
    let limits = &row.session.limits;
    let words = [
        limits.warn_at.map(|at| format!("warning from {at} prefixes on")),
        limits.prefixes.map(|most| format!("the session ends beyond {most} prefixes")),
        limits.as_path_length.map(|most| format!("AS paths of at most {most}")),
    ];
    let words: Vec<String> = words.into_iter().flatten().collect();
    if words.is_empty() { "none".to_owned() } else { words.join("; ") }
}

fn security(row: &NeighborRow) -> String {
    let session = &row.session;
    let yes = |holds: bool| if holds { "yes" } else { "no" };
    let distance = match session.multihop {
        None => "directly connected".to_owned(),
        Some(u8::MAX) => "any number of hops away".to_owned(),
        Some(hops) => format!("up to {hops} hops away"),
    };
    format!("MD5: {}, TTL security: {}, {distance}", yes(session.md5), yes(session.ttl_security))
}

fn notification(row: Option<&NotificationRow>) -> String {
    match row {
        Some(row) => format!("{} ago: {}", span(row.seconds_ago), row.text),
        None => "-".to_owned(),
    }
}

/// In quotes, with nothing in it that a terminal would obey.
fn quoted(text: &str) -> String {
    format!("{text:?}")
}

fn times(count: u64) -> String {
    match count {
        0 => "never".to_owned(),
        1 => "once".to_owned(),
        _ => format!("{count} times"),
    }
}

fn list(items: &[String]) -> String {
    if items.is_empty() { "-".to_owned() } else { items.join(", ") }
}

fn or_dash(value: Option<impl ToString>) -> String {
    value.map_or_else(|| "-".to_owned(), |value| value.to_string())
}

pub(crate) fn order(arguments: NeighborArguments) -> Result<ExitCode, String> {
    let NeighborArguments { name, order, target } = arguments;
    let order = match order {
        NeighborCommand::Clear { how: None } => NeighborOrder::Clear,
        NeighborCommand::Clear { how: Some(ClearHow::Soft) } => NeighborOrder::ClearSoft,
        NeighborCommand::Disable { message } => NeighborOrder::Disable { message },
        NeighborCommand::Enable => NeighborOrder::Enable,
    };
    let client = client(&target).map_err(|error| error.to_string())?;
    let path = format!("/v1/neighbors/{}", encoded(&name));
    let done = runtime()?.block_on(client.post_for_text(&path, &order));
    println!("{}", done.map_err(|error| error.to_string())?);
    Ok(ExitCode::SUCCESS)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A neighbor with something to say on every line; `change` alters its JSON.
    fn row(change: impl FnOnce(&mut Value)) -> NeighborRow {
        let row = r#"{
            "name": "transit", "address": "198.51.100.0", "port": 179,
            "local_address": "198.51.100.1", "local_port": 40000, "remote_port": 179,
            "asn": 64501, "local_asn": 64500,
            "router_id": "192.0.2.251", "local_router_id": "192.0.2.201",
            "state": "Established", "since_seconds": 192.0,
            "hold_time_seconds": 90.0, "hold_time_offered_seconds": 180.0,
            "hold_due_seconds": 71.0, "keepalive_due_seconds": 12.34,
            "connect_retry_due_seconds": null,
            "families": ["ipv4"], "families_offered": ["ipv4", "ipv6"],
            "capabilities": ["route-refresh"],
            "capabilities_in_words": {
                "ours": ["ipv4", "ipv6", "route refresh"], "theirs": ["ipv4"], "in_force": ["ipv4"]
            },
            "role": "provider", "local_role": "customer",
            "received": 4, "accepted": 3, "advertised": 2,
            "limits": { "warn_at": 900, "prefixes": 1000, "as_path_length": null },
            "enabled": true, "disabled_message": null, "last_down": "the interface went down",
            "last_sent": {
                "seconds_ago": 7200.0, "code": 6, "subcode": 4, "text": "Cease: x", "message": null
            },
            "last_received": null,
            "counters": {
                "messages_in": 12, "messages_out": 13, "updates_in": 4, "updates_out": 3,
                "notifications_in": 0, "notifications_out": 1, "established": 2, "dropped": 1
            },
            "bfd": "Up", "md5": true, "ttl_security": false, "multihop": 2, "passive": false,
            "file": {
                "relation": "provider", "import": "default-route", "export": "fleet", "prepend": 1
            }
        }"#;
        let mut row = serde_json::from_str(row).expect("JSON");
        change(&mut row);
        serde_json::from_value(row).expect("a row")
    }

    #[test]
    fn a_neighbor_is_told_line_by_line() {
        assert_eq!(
            block(&row(|_| ())),
            "\
transit: Established for 3m12s
  address         198.51.100.0 port 179 (ours: 198.51.100.1 port 40000)
  AS              64501 (ours: 64500)
  router id       192.0.2.251 (ours: 192.0.2.201)
  hold time       90 s (we offer 180 s), over in 1m11s of silence; our KEEPALIVE is due in 12.3s
  families        ipv4 (we offer: ipv4, ipv6)
  we offer        ipv4, ipv6, route refresh
  it offered      ipv4
  in force        ipv4
  relation        provider
  roles           ours: customer, its: provider
  import          default-route: 4 received, 3 accepted
  export          fleet: 2 advertised, our AS once more
  limits          warning from 900 prefixes on; the session ends beyond 1000 prefixes
  messages        12 in, 13 out; UPDATEs 4 in, 3 out; NOTIFICATIONs 0 in, 1 out
  sessions        Established 2 times, lost once
  last error      the interface went down
  last sent       2h00m ago: Cease: x
  last received   -
  BFD             Up
  security        MD5: yes, TTL security: no, up to 2 hops away"
        );
    }

    #[test]
    fn a_disabled_neighbor_says_so_first_and_its_message_cannot_command_a_terminal() {
        let disabled = row(|row| {
            row["state"] = "Idle".into();
            row["enabled"] = false.into();
            row["disabled_message"] = "noon \u{1b}[2J".into();
            for field in ["local_address", "local_port", "hold_time_seconds", "hold_due_seconds"] {
                row[field] = Value::Null;
            }
        });
        let block = block(&disabled);
        let lines: Vec<&str> = block.lines().take(3).collect();
        assert_eq!(
            lines,
            [
                "transit: disabled for 3m12s",
                "  disabled        \"noon \\u{1b}[2J\", until it is enabled",
                "  address         198.51.100.0 port 179",
            ]
        );
        assert!(block.contains("\n  hold time       we offer 180 s\n"), "{block}");
    }

    #[test]
    fn a_row_of_an_older_daemon_is_read_too() {
        let fields = ["capabilities_in_words", "counters", "limits", "file", "md5", "port"];
        let old = row(|row| {
            let row = row.as_object_mut().expect("it is one");
            for field in fields {
                row.remove(field);
            }
        });
        assert!(block(&old).starts_with("transit: Established"));
    }
}

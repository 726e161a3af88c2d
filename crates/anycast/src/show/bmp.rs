//! `anycast show bmp`: the monitoring stations.

use serde_json::Value;

use super::text;
use crate::table::{self, span};

pub(super) fn stations(stations: &[Value]) {
    let mib = |row: &Value, field: &str| {
        #[expect(clippy::cast_precision_loss, reason = "for people")]
        let octets = row[field].as_u64().unwrap_or_default() as f64;
        format!("{:.1} MiB", octets / 1_048_576.0)
    };
    let rows = stations.iter().map(|row| {
        vec![
            text(row, "name"),
            text(row, "address"),
            text(row, "state"),
            row["since_seconds"].as_f64().map(span).unwrap_or_default(),
            text(row, "tables"),
            text(row, "messages"),
            mib(row, "octets"),
            mib(row, "queue"),
            text(row, "cut_off"),
            text(row, "last_down"),
        ]
    });
    table::print(
        &[
            "STATION",
            "ADDRESS",
            "STATE",
            "SINCE",
            "TABLES",
            "MESSAGES",
            "SENT",
            "QUEUE",
            "CUT OFF",
            "LAST DOWN",
        ],
        rows.collect(),
    );
}

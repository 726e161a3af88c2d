//! Monitoring stations, and the whole table as MRT, over the control socket.

use std::io;

use anycast_speaker::TableDump;
use axum::Json;
use axum::body::Body;
use axum::extract::{Query, State};
use axum::http::header;
use axum::response::{IntoResponse, Response};
use futures_util::stream;
use serde::Deserialize;

use super::Api;

pub(super) async fn stations(State(api): State<Api>) -> Response {
    let mut stations = api.speaker.stations().await;
    stations.sort_by(|a, b| a.name.cmp(&b.name));
    Json(stations).into_response()
}

#[derive(Deserialize)]
pub(super) struct TableQuery {
    #[serde(default)]
    received: bool,
}

/// The table in steps, as it is walked: neither end holds more than one.
pub(super) async fn table(State(api): State<Api>, Query(query): Query<TableQuery>) -> Response {
    let records = stream::try_unfold(api.speaker.table_dump(query.received), step);
    ([(header::CONTENT_TYPE, "application/octet-stream")], Body::from_stream(records))
        .into_response()
}

async fn step(mut dump: TableDump) -> io::Result<Option<(Vec<u8>, TableDump)>> {
    match dump.next().await {
        Some(records) => Ok(Some((records, dump))),
        None if dump.is_whole() => Ok(None),
        // The one who asked sees that the answer has no end.
        None => Err(io::ErrorKind::UnexpectedEof.into()),
    }
}

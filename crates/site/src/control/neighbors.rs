//! Neighbors over the control socket: shown and told.

use std::collections::HashMap;

use anycast_speaker::{Done, NeighborOrder, NeighborStatus, OrderError};
use axum::Json;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};

use super::{Api, Caller, Question};
use crate::status::{NeighborInFile, NeighborRow};

/// RFC 9003 §2: the length of a shutdown message is one octet.
const LONGEST_MESSAGE: usize = 255;

pub(super) async fn all(State(api): State<Api>) -> Response {
    let mut file = in_file(&api).await;
    let sessions = api.speaker.neighbors().await;
    let rows: Vec<NeighborRow> =
        sessions.into_iter().map(|session| row(session, &mut file)).collect();
    Json(rows).into_response()
}

pub(super) async fn one(State(api): State<Api>, Path(name): Path<String>) -> Response {
    match api.speaker.neighbor(&name).await {
        Ok(session) => Json(row(session, &mut in_file(&api).await)).into_response(),
        Err(error) => refusal(&error),
    }
}

/// Answers with what was done in words.
pub(super) async fn order(
    State(api): State<Api>,
    Path(name): Path<String>,
    caller: Caller,
    Json(order): Json<NeighborOrder>,
) -> Response {
    let (kind, detail) = match &order {
        NeighborOrder::Clear => ("neighbor-clear", String::new()),
        NeighborOrder::ClearSoft => ("neighbor-refresh", String::new()),
        NeighborOrder::Disable { message } if message.len() > LONGEST_MESSAGE => {
            let words = format!(
                "a shutdown message has at most {LONGEST_MESSAGE} octets (RFC 9003); this one has \
                 {}",
                message.len()
            );
            return (StatusCode::BAD_REQUEST, words).into_response();
        }
        NeighborOrder::Disable { message } => ("neighbor-disable", message.clone()),
        NeighborOrder::Enable => ("neighbor-enable", String::new()),
    };
    match api.speaker.order(&name, order).await {
        Ok(Done { words, changed }) => {
            // When the answer is there, so is the event.
            let note = |noted| {
                let (subject, by) = (name, caller);
                Question::Note { changed, kind, subject, detail, by, noted }
            };
            let _ = api.ask(note).await;
            words.into_response()
        }
        Err(error) => refusal(&error),
    }
}

async fn in_file(api: &Api) -> HashMap<String, NeighborInFile> {
    api.ask(Question::NeighborsInFile).await.unwrap_or_default()
}

fn row(session: NeighborStatus, file: &mut HashMap<String, NeighborInFile>) -> NeighborRow {
    let file = file.remove(&session.name).unwrap_or_default();
    NeighborRow { session, file }
}

fn refusal(error: &OrderError) -> Response {
    let status = match error {
        OrderError::Unknown(_) => StatusCode::NOT_FOUND,
        OrderError::NotEstablished { .. } | OrderError::Disabled(_) => StatusCode::CONFLICT,
        OrderError::Ended => StatusCode::SERVICE_UNAVAILABLE,
    };
    (status, error.to_string()).into_response()
}

//! Drains over the control socket: shown, ordered, ended.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde::Serialize;

use super::{Api, Caller, Question, json};
use crate::drain::{ClearOrder, DrainOrder, UndrainOrder};

pub(super) async fn list(State(api): State<Api>) -> Response {
    json(api.ask(Question::Drains).await)
}

/// Answers with how the drain stands.
pub(super) async fn drain(
    State(api): State<Api>,
    caller: Caller,
    Json(order): Json<DrainOrder>,
) -> Response {
    done(api.ask(|sender| Question::Drain(order, caller, sender)).await)
}

/// Answers with what is drained no more.
pub(super) async fn undrain(
    State(api): State<Api>,
    caller: Caller,
    Json(order): Json<UndrainOrder>,
) -> Response {
    done(api.ask(|sender| Question::Undrain(order, caller, sender)).await)
}

/// Answers with how many were freed.
pub(super) async fn clear_damping(
    State(api): State<Api>,
    caller: Caller,
    Json(order): Json<ClearOrder>,
) -> Response {
    done(api.ask(|sender| Question::ClearDamping(order, caller, sender)).await)
}

fn done<T: Serialize>(answer: Option<Result<T, String>>) -> Response {
    match answer {
        Some(Ok(done)) => Json(done).into_response(),
        Some(Err(words)) => (StatusCode::BAD_REQUEST, words).into_response(),
        None => json::<()>(None),
    }
}

//! `/v1/reload`: the fleet file read again, confirmed, or taken back.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};

use super::{Api, Caller, Question, json};
use crate::reload::ReloadOrder;

pub(super) async fn status(State(api): State<Api>) -> Response {
    json(api.ask(Question::ReloadStatus).await)
}

pub(super) async fn reload(
    State(api): State<Api>,
    by: Caller,
    Json(order): Json<ReloadOrder>,
) -> Response {
    json(api.ask(|sender| Question::Reload(order, by, sender)).await)
}

pub(super) async fn confirm(State(api): State<Api>, by: Caller) -> Response {
    words(api.ask(|sender| Question::Confirm(by, sender)).await)
}

pub(super) async fn roll_back(State(api): State<Api>, by: Caller) -> Response {
    words(api.ask(|sender| Question::RollBack(by, sender)).await)
}

fn words(answer: Option<Result<String, String>>) -> Response {
    match answer {
        Some(Ok(words)) => words.into_response(),
        Some(Err(words)) => (StatusCode::CONFLICT, words).into_response(),
        None => json::<()>(None),
    }
}

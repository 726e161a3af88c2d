//! How connections are kept, over the control socket: shown, loaded, taken out.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};

use super::{Api, Caller, Question, json};

pub(super) async fn report(State(api): State<Api>) -> Response {
    json(api.ask(Question::Affinity).await)
}

/// Answers with how it stands then.
pub(super) async fn load(State(api): State<Api>, caller: Caller) -> Response {
    order(&api, true, caller).await
}

/// Answers with how it stands then.
pub(super) async fn unload(State(api): State<Api>, caller: Caller) -> Response {
    order(&api, false, caller).await
}

async fn order(api: &Api, load: bool, caller: Caller) -> Response {
    match api.ask(|sender| Question::OrderAffinity(load, caller, sender)).await {
        Some(Ok(report)) => Json(report).into_response(),
        Some(Err(words)) => (StatusCode::BAD_REQUEST, words).into_response(),
        None => json::<()>(None),
    }
}

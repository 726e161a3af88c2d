//! The RPKI over the control socket.

use axum::Json;
use axum::extract::State;
use axum::response::{IntoResponse, Response};

use super::{Api, Question, json};
use crate::rpki::{Look, RpkiReport};

pub(super) async fn report(State(api): State<Api>) -> Response {
    let Some(look) = api.ask(Question::Rpki).await else { return json::<()>(None) };
    let Look { configured, sources, lens, prefixes } = look;
    let sources = match sources {
        Some(answer) => answer.await.unwrap_or_default(),
        None => Vec::new(),
    };
    let neighbors = if lens.is_some() { api.speaker.origin_counts().await } else { Vec::new() };
    let (vrps_v4, vrps_v6) = lens.unzip();
    let report = RpkiReport { configured, sources, vrps_v4, vrps_v6, prefixes, neighbors };
    Json(report).into_response()
}

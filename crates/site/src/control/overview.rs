//! The site on one screen, and why a prefix is as it is.

use std::net::IpAddr;

use anycast_bgp::IpNet;
use axum::Json;
use axum::extract::{Query, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde::Deserialize;

use super::{Api, Question, json};
use crate::overview;

pub(super) async fn status(State(api): State<Api>) -> Response {
    match api.ask(Question::Overview).await {
        Some(look) => Json(overview::overview(*look, &api.speaker).await).into_response(),
        None => json::<()>(None),
    }
}

#[derive(Deserialize)]
pub(super) struct WhyQuery {
    prefix: Option<IpNet>,
    /// Within a prefix of the fleet: the longest.
    address: Option<IpAddr>,
}

pub(super) async fn why(State(api): State<Api>, Query(query): Query<WhyQuery>) -> Response {
    let Some(look) = api.ask(Question::Overview).await else { return json::<()>(None) };
    let own = &look.site.prefixes;
    let (wanted, words) = match (query.prefix, query.address) {
        (Some(prefix), None) => (Some(prefix), prefix.to_string()),
        (None, Some(address)) => {
            let holding = own.iter().filter(|prefix| prefix.contains(&address));
            (holding.max_by_key(|prefix| prefix.prefix_len()).copied(), address.to_string())
        }
        _ => {
            let words = "one of prefix and address";
            return (StatusCode::BAD_REQUEST, words).into_response();
        }
    };
    let known = own.iter().map(IpNet::to_string).collect::<Vec<_>>().join(", ");
    let answer = match wanted {
        Some(prefix) => overview::why(&prefix.to_string(), *look, &api.speaker).await,
        None => None,
    };
    let no = || format!("{words} is no prefix of the fleet; there are {known}");
    answer.map_or_else(
        || (StatusCode::NOT_FOUND, no()).into_response(),
        |answer| Json(answer).into_response(),
    )
}

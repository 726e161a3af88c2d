//! Routes over the control socket. An answer with many routes is written as they are found, so
//! that neither the daemon nor the one who asks holds more than a page of them.

use std::net::IpAddr;

use anycast_bgp::{Family, IpNet};
use anycast_speaker::{LookError, RouteLook, RouteRow, RouteStream, RouteSubject, RouteTable};
use axum::Json;
use axum::body::Body;
use axum::extract::{Query, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use futures_util::stream;
use serde::Deserialize;

use super::Api;

/// Which routes are wanted.
#[derive(Deserialize)]
pub(super) struct RoutesQuery {
    prefix: Option<IpNet>,
    address: Option<IpAddr>,
    within: Option<IpNet>,
    received: Option<String>,
    accepted: Option<String>,
    advertised: Option<String>,
    family: Option<String>,
}

impl RoutesQuery {
    fn look(self) -> Result<RouteLook, &'static str> {
        let subject = match (self.prefix, self.address, self.within) {
            (None, None, None) => RouteSubject::Any,
            (Some(prefix), None, None) => RouteSubject::Prefix(prefix),
            (None, Some(address), None) => RouteSubject::Address(address),
            (None, None, Some(prefix)) => RouteSubject::Within(prefix),
            _ => return Err("one of prefix, address and within at most"),
        };
        let table = match (self.received, self.accepted, self.advertised) {
            (None, None, None) => RouteTable::All,
            (Some(neighbor), None, None) => RouteTable::Received(neighbor),
            (None, Some(neighbor), None) => RouteTable::Accepted(neighbor),
            (None, None, Some(neighbor)) => RouteTable::Advertised(neighbor),
            _ => return Err("one of received, accepted and advertised at most"),
        };
        let family = match self.family.as_deref() {
            None => None,
            Some("ipv4") => Some(Family::Ipv4Unicast),
            Some("ipv6") => Some(Family::Ipv6Unicast),
            Some(_) => return Err("the families are ipv4 and ipv6"),
        };
        Ok(RouteLook { table, subject, family })
    }
}

/// A JSON array, each route on a line of its own.
pub(super) async fn list(State(api): State<Api>, Query(query): Query<RoutesQuery>) -> Response {
    let look = match query.look() {
        Ok(look) => look,
        Err(words) => return (StatusCode::BAD_REQUEST, words).into_response(),
    };
    let routes = match api.speaker.look(look).await {
        Ok(routes) => routes,
        Err(error) => return refusal(&error),
    };
    let lines = stream::try_unfold((routes, Lines::Begin), |(mut routes, lines)| async move {
        let step = lines.next(&mut routes).await?;
        Ok::<_, LookError>(step.map(|(text, lines)| (text, (routes, lines))))
    });
    ([(header::CONTENT_TYPE, "application/json")], Body::from_stream(lines)).into_response()
}

/// How far an array has been written.
#[derive(Clone, Copy)]
enum Lines {
    Begin,
    First,
    Rest,
    Done,
}

impl Lines {
    /// The next piece of text, and what is left.
    async fn next(self, routes: &mut RouteStream) -> Result<Option<(String, Self)>, LookError> {
        let mut first = match self {
            Self::Begin => return Ok(Some(("[".to_owned(), Self::First))),
            Self::First => true,
            Self::Rest => false,
            Self::Done => return Ok(None),
        };
        let Some(page) = routes.next_page().await? else {
            return Ok(Some(("\n]\n".to_owned(), Self::Done)));
        };
        let mut text = String::new();
        for route in page {
            text.push_str(if first { "\n" } else { ",\n" });
            first = false;
            let row = serde_json::to_string(&RouteRow::from(route));
            text.push_str(&row.expect("a row is plain data"));
        }
        Ok(Some((text, if first { Self::First } else { Self::Rest })))
    }
}

pub(super) async fn explain(State(api): State<Api>, Query(query): Query<RoutesQuery>) -> Response {
    let (prefix, subject) = match (query.prefix, query.address) {
        (Some(prefix), _) => (Some(prefix), prefix.to_string()),
        (None, Some(address)) => {
            let subject = RouteSubject::Address(address);
            let look = RouteLook { subject, ..RouteLook::default() };
            let found = match api.speaker.look(look).await {
                Ok(routes) => routes.rows().await,
                Err(error) => Err(error),
            };
            match found {
                Ok(rows) => (rows.first().map(|row| row.prefix), address.to_string()),
                Err(error) => return refusal(&error),
            }
        }
        (None, None) => return (StatusCode::BAD_REQUEST, "which prefix?").into_response(),
    };
    let explanation = match prefix {
        Some(prefix) => api.speaker.explain(prefix).await,
        None => None,
    };
    match explanation {
        Some(explanation) => Json(explanation).into_response(),
        None => (StatusCode::NOT_FOUND, format!("no route to {subject}")).into_response(),
    }
}

fn refusal(error: &LookError) -> Response {
    let status = match error {
        LookError::Unknown(_) => StatusCode::NOT_FOUND,
        LookError::Ended => StatusCode::SERVICE_UNAVAILABLE,
    };
    (status, error.to_string()).into_response()
}

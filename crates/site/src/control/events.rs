//! Events over the API: a list, and a stream of server-sent events
//! (<https://html.spec.whatwg.org/multipage/server-sent-events.html>).

use std::collections::VecDeque;
use std::convert::Infallible;
use std::time::Duration;

use axum::extract::{Query, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::sse::{Event, KeepAlive, Sse};
use axum::response::{IntoResponse, Response};
use futures_util::stream;
use serde::Deserialize;
use tokio::sync::{OwnedSemaphorePermit, watch};

use super::{Api, Question, json};
use crate::events::SiteEvent;

/// A sign of life in a stream without events: clients wait twice as long and more.
const SIGN_OF_LIFE: Duration = Duration::from_secs(3);

#[derive(Deserialize)]
pub(super) struct EventsQuery {
    after: Option<u64>,
}

/// Without a number: those in memory.
pub(super) async fn list(State(api): State<Api>, Query(query): Query<EventsQuery>) -> Response {
    match query.after {
        Some(after) => json(events_after(&api, after).await),
        None => json(api.ask(|sender| Question::Events(0, sender)).await.map(|found| found.events)),
    }
}

/// Those above `after`, also from disk; `None`: the daemon is stopping.
async fn events_after(api: &Api, after: u64) -> Option<Vec<SiteEvent>> {
    let found = api.ask(|sender| Question::Events(after, sender)).await?;
    if found.older.is_none() {
        return Some(found.events);
    }
    tokio::task::spawn_blocking(move || found.with_older(after)).await.ok()
}

/// Those above `after`, or above what the header `Last-Event-ID` names, then each as it happens.
/// Without a number: only those that happen from now on. A number that was not given yet comes
/// from another site or another life of this one: then all.
pub(super) async fn stream(
    State(api): State<Api>,
    Query(query): Query<EventsQuery>,
    headers: HeaderMap,
) -> Response {
    let Ok(permit) = api.streams.clone().try_acquire_owned() else {
        return (StatusCode::SERVICE_UNAVAILABLE, "too many follow the events").into_response();
    };
    let Some(newest) = api.ask(Question::WatchEvents).await else { return json::<()>(None) };
    let header = headers.get("last-event-id").and_then(|id| id.to_str().ok()?.parse().ok());
    let last = *newest.borrow();
    let sent = match query.after.or(header) {
        Some(after) if after > last => 0,
        Some(after) => after,
        None => last,
    };
    let follower = Follower { api, newest, sent, waiting: VecDeque::new(), _permit: permit };
    let events = stream::unfold(follower, |mut follower| async move {
        let event = follower.next().await?;
        Some((Ok::<_, Infallible>(event), follower))
    });
    Sse::new(events).keep_alive(KeepAlive::new().interval(SIGN_OF_LIFE)).into_response()
}

/// One who follows the events.
struct Follower {
    api: Api,
    newest: watch::Receiver<u64>,
    sent: u64,
    waiting: VecDeque<SiteEvent>,
    _permit: OwnedSemaphorePermit,
}

impl Follower {
    /// The next event; `None`: the daemon is stopping.
    async fn next(&mut self) -> Option<Event> {
        loop {
            if let Some(event) = self.waiting.pop_front() {
                self.sent = event.number;
                let data = serde_json::to_string(&event).expect("an event is plain data");
                let number = event.number.to_string();
                return Some(Event::default().id(number).event(event.kind).data(data));
            }
            let sent = self.sent;
            self.newest.wait_for(|newest| *newest > sent).await.ok()?;
            self.waiting = events_after(&self.api, sent).await?.into();
        }
    }
}

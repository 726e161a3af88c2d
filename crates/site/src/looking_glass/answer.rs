//! Which question gets which answer.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use anycast_bgp::Family;
use anycast_bgp::rib::Ineligible;
use anycast_speaker::{
    FoundRoute, Handle, LookError, NeighborStatus, RouteLook, RouteStream, RouteSubject, RouteTable,
};
use axum::Json;
use axum::body::Body;
use axum::extract::{Path, Query, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use futures_util::stream;
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::shape::{self, TABLES, unix_now};

/// How long to wait for others who walk the table.
const PATIENCE: Duration = Duration::from_secs(10);

/// What every answer is made from.
#[derive(Clone)]
pub(super) struct Glass {
    pub(super) speaker: Handle,
    /// Seconds since 1970.
    pub(super) started: f64,
    pub(super) walks: Arc<Semaphore>,
}

impl Glass {
    /// The neighbor at an address.
    async fn at(&self, address: IpAddr) -> Result<NeighborStatus, Refusal> {
        let neighbors = self.speaker.neighbors().await;
        let found = neighbors.into_iter().find(|neighbor| neighbor.address == address);
        found.ok_or_else(|| Refusal::no_neighbor_at(address))
    }

    /// Leave to walk the table, or why not.
    async fn permit(&self) -> Result<OwnedSemaphorePermit, Refusal> {
        let permit = Arc::clone(&self.walks).acquire_owned();
        let busy = || {
            let words = "too many ask at once; ask later";
            Refusal::new(StatusCode::SERVICE_UNAVAILABLE, words)
        };
        let permit = tokio::time::timeout(PATIENCE, permit).await.map_err(|_| busy())?;
        permit.map_err(|_| busy())
    }

    /// The routes that `wanted` holds for, as they are found.
    async fn routes(&self, look: RouteLook, wanted: fn(&FoundRoute) -> bool) -> Answer {
        let permit = self.permit().await?;
        let routes = self.speaker.look(look).await?;
        let step = Step { routes, wanted, now: unix_now(), place: Place::Begin, _permit: permit };
        let text = stream::try_unfold(step, Step::next);
        let kind = [(header::CONTENT_TYPE, "application/json")];
        Ok((kind, Body::from_stream(text)).into_response())
    }

    /// How many routes `wanted` holds for.
    async fn count(&self, look: RouteLook, wanted: fn(&FoundRoute) -> bool) -> Answer {
        let _permit = self.permit().await?;
        let mut routes = self.speaker.look(look).await?;
        let mut count = 0;
        while let Some(page) = routes.next_page().await? {
            count += page.iter().filter(|route| wanted(route)).count();
        }
        Ok(answer("routes", json!(count)))
    }
}

/// How far an answer with routes is written.
struct Step {
    routes: RouteStream,
    wanted: fn(&FoundRoute) -> bool,
    now: f64,
    place: Place,
    _permit: OwnedSemaphorePermit,
}

enum Place {
    Begin,
    First,
    Rest,
    Done,
}

impl Step {
    /// The next piece of text.
    async fn next(mut self) -> Result<Option<(String, Self)>, LookError> {
        let mut text = String::new();
        match self.place {
            Place::Begin => {
                let envelope = Value::Object(shape::envelope(self.now)).to_string();
                text.push_str(envelope.strip_suffix('}').unwrap_or_default());
                text.push_str(",\"routes\":[");
                self.place = Place::First;
            }
            Place::First | Place::Rest => {
                let page = self.routes.next_page().await?;
                for route in page.iter().flatten().filter(|route| (self.wanted)(route)) {
                    if matches!(self.place, Place::Rest) {
                        text.push(',');
                    }
                    text.push_str(&shape::route(route, self.now).to_string());
                    self.place = Place::Rest;
                }
                if page.is_none() {
                    text.push_str("]}");
                    self.place = Place::Done;
                }
            }
            Place::Done => return Ok(None),
        }
        Ok(Some((text, self)))
    }
}

/// A whole answer: the envelope and one thing in it.
fn answer(name: &str, value: Value) -> Response {
    let mut envelope = shape::envelope(unix_now());
    envelope.insert(name.to_owned(), value);
    Json(Value::Object(envelope)).into_response()
}

/// A question that has no answer; Alice-LG shows the words.
pub(super) struct Refusal(StatusCode, String);

impl Refusal {
    fn new(status: StatusCode, words: impl Into<String>) -> Self {
        Self(status, words.into())
    }

    fn no_neighbor_at(address: IpAddr) -> Self {
        Self::new(StatusCode::NOT_FOUND, format!("no neighbor has the address {address}"))
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        (self.0, Json(json!({ "error": self.1 }))).into_response()
    }
}

impl From<LookError> for Refusal {
    fn from(why: LookError) -> Self {
        match why {
            LookError::Unknown(unknown) => {
                Self::new(StatusCode::NOT_FOUND, format!("no protocol is called {}", unknown.name))
            }
            LookError::Ended => Self::new(StatusCode::SERVICE_UNAVAILABLE, "the site is stopping"),
        }
    }
}

type Answer = Result<Response, Refusal>;

/// Whatever the table that is looked at has.
fn any(_: &FoundRoute) -> bool {
    true
}

/// Refused on receipt; one whose next hop is unreachable just now was not.
fn filtered(route: &FoundRoute) -> bool {
    route.ineligible.is_some_and(|why| why != Ineligible::Unreachable)
}

fn primary(route: &FoundRoute) -> bool {
    route.best
}

/// In a table are the routes that were not refused.
fn in_table(route: &FoundRoute) -> bool {
    !filtered(route)
}

fn look(table: RouteTable) -> RouteLook {
    RouteLook { table, ..RouteLook::default() }
}

/// The family of a table; `None`: both.
fn family(table: &str) -> Result<Option<Family>, Refusal> {
    match table {
        "master" => Ok(None),
        "master4" => Ok(Some(Family::Ipv4Unicast)),
        "master6" => Ok(Some(Family::Ipv6Unicast)),
        _ => {
            let words = format!("the tables are {}", TABLES.join(", "));
            Err(Refusal::new(StatusCode::NOT_FOUND, words))
        }
    }
}

pub(super) async fn unknown() -> Refusal {
    Refusal::new(StatusCode::NOT_FOUND, "there is no such question")
}

pub(super) async fn version() -> &'static str {
    concat!("anycast ", env!("CARGO_PKG_VERSION"))
}

pub(super) async fn status(State(glass): State<Glass>) -> Response {
    let neighbors = glass.speaker.neighbors().await;
    let router_id = neighbors.first().and_then(|neighbor| neighbor.local_router_id);
    answer("status", shape::status(router_id, glass.started, unix_now()))
}

pub(super) async fn protocols(State(glass): State<Glass>) -> Answer {
    let _permit = glass.permit().await?;
    let preferred = glass.speaker.preferred().await;
    let neighbors = glass.speaker.neighbors().await;
    Ok(answer("protocols", shape::protocols(&neighbors, &preferred, unix_now())))
}

pub(super) async fn protocols_short(State(glass): State<Glass>) -> Response {
    let neighbors = glass.speaker.neighbors().await;
    answer("protocols", shape::protocols_short(&neighbors, unix_now()))
}

pub(super) async fn symbols(State(glass): State<Glass>) -> Response {
    let names = names(&glass).await;
    answer("symbols", json!({ "protocol": names, "routing table": TABLES }))
}

pub(super) async fn symbol_tables() -> Response {
    answer("symbols", json!(TABLES))
}

pub(super) async fn symbol_protocols(State(glass): State<Glass>) -> Response {
    answer("symbols", json!(names(&glass).await))
}

async fn names(glass: &Glass) -> Vec<String> {
    glass.speaker.neighbors().await.into_iter().map(|neighbor| neighbor.name).collect()
}

pub(super) async fn routes_protocol(
    State(glass): State<Glass>,
    Path(protocol): Path<String>,
) -> Answer {
    glass.routes(look(RouteTable::Accepted(protocol)), any).await
}

pub(super) async fn routes_filtered(
    State(glass): State<Glass>,
    Path(protocol): Path<String>,
) -> Answer {
    glass.routes(look(RouteTable::Received(protocol)), filtered).await
}

pub(super) async fn routes_export(
    State(glass): State<Glass>,
    Path(protocol): Path<String>,
) -> Answer {
    glass.routes(look(RouteTable::Advertised(protocol)), any).await
}

pub(super) async fn routes_noexport(
    State(glass): State<Glass>,
    Path(protocol): Path<String>,
) -> Answer {
    glass.routes(look(RouteTable::Withheld(protocol)), any).await
}

pub(super) async fn routes_peer(State(glass): State<Glass>, Path(address): Path<IpAddr>) -> Answer {
    let neighbor = glass.at(address).await?;
    glass.routes(look(RouteTable::Accepted(neighbor.name)), any).await
}

pub(super) async fn routes_table(State(glass): State<Glass>, Path(table): Path<String>) -> Answer {
    let family = family(&table)?;
    glass.routes(RouteLook { family, ..RouteLook::default() }, in_table).await
}

pub(super) async fn routes_table_filtered(
    State(glass): State<Glass>,
    Path(table): Path<String>,
) -> Answer {
    let family = family(&table)?;
    glass.routes(RouteLook { family, ..RouteLook::default() }, filtered).await
}

pub(super) async fn routes_table_peer(
    State(glass): State<Glass>,
    Path((table, address)): Path<(String, IpAddr)>,
) -> Answer {
    let family = family(&table)?;
    let neighbor = glass.at(address).await?;
    glass.routes(RouteLook { family, ..look(RouteTable::Accepted(neighbor.name)) }, any).await
}

#[derive(Deserialize)]
pub(super) struct PrefixQuery {
    prefix: String,
}

/// The routes to exactly this prefix; to the longest that holds an address.
pub(super) async fn routes_prefix(
    State(glass): State<Glass>,
    Query(query): Query<PrefixQuery>,
) -> Answer {
    let subject = subject(&query.prefix)?;
    glass.routes(RouteLook { subject, ..RouteLook::default() }, in_table).await
}

/// The routes by which an address is reached.
pub(super) async fn route_net(State(glass): State<Glass>, Path(net): Path<String>) -> Answer {
    let subject = subject(&net)?;
    glass.routes(RouteLook { subject, ..RouteLook::default() }, in_table).await
}

fn subject(text: &str) -> Result<RouteSubject, Refusal> {
    let address = text.parse().map(RouteSubject::Address);
    let subject = address.or_else(|_| text.parse().map(RouteSubject::Prefix));
    subject.map_err(|_| Refusal::new(StatusCode::BAD_REQUEST, "neither a prefix nor an address"))
}

pub(super) async fn count_protocol(
    State(glass): State<Glass>,
    Path(protocol): Path<String>,
) -> Answer {
    let unknown = |_| {
        let words = format!("no protocol is called {protocol}");
        Refusal::new(StatusCode::NOT_FOUND, words)
    };
    let neighbor = glass.speaker.neighbor(&protocol).await.map_err(unknown)?;
    Ok(answer("routes", json!(neighbor.accepted)))
}

pub(super) async fn count_primary(
    State(glass): State<Glass>,
    Path(protocol): Path<String>,
) -> Answer {
    glass.count(look(RouteTable::Accepted(protocol)), primary).await
}

pub(super) async fn count_table(State(glass): State<Glass>, Path(table): Path<String>) -> Answer {
    let family = family(&table)?;
    glass.count(RouteLook { family, ..RouteLook::default() }, in_table).await
}

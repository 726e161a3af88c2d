//! Which question gets which answer.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use anycast_bgp::rib::Ineligible;
use anycast_bgp::{Family, IpNet};
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
    async fn at(&self, address: IpAddr) -> Option<NeighborStatus> {
        self.speaker.neighbors().await.into_iter().find(|neighbor| neighbor.address == address)
    }

    /// Leave to walk the table, or why not.
    async fn permit(&self) -> Result<OwnedSemaphorePermit, Response> {
        let permit = Arc::clone(&self.walks).acquire_owned();
        match tokio::time::timeout(PATIENCE, permit).await {
            Ok(Ok(permit)) => Ok(permit),
            _ => Err(error(StatusCode::SERVICE_UNAVAILABLE, "too many ask at once; ask later")),
        }
    }

    /// The routes that `wanted` holds for, as they are found.
    async fn routes(&self, look: RouteLook, wanted: fn(&FoundRoute) -> bool) -> Response {
        let permit = match self.permit().await {
            Ok(permit) => permit,
            Err(busy) => return busy,
        };
        let routes = match self.speaker.look(look).await {
            Ok(routes) => routes,
            Err(why) => return refusal(&why),
        };
        let step = Step { routes, wanted, now: unix_now(), place: Place::Begin, _permit: permit };
        let text = stream::try_unfold(step, Step::next);
        ([(header::CONTENT_TYPE, "application/json")], Body::from_stream(text)).into_response()
    }

    /// How many routes `wanted` holds for.
    async fn count(&self, look: RouteLook, wanted: fn(&FoundRoute) -> bool) -> Response {
        let _permit = match self.permit().await {
            Ok(permit) => permit,
            Err(busy) => return busy,
        };
        let count = async {
            let mut routes = self.speaker.look(look).await?;
            let mut count = 0;
            while let Some(page) = routes.next_page().await? {
                count += page.iter().filter(|route| wanted(route)).count();
            }
            Ok(count)
        };
        match count.await {
            Ok(count) => answer("routes", json!(count)),
            Err(why) => refusal(&why),
        }
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
            Place::First | Place::Rest => match self.routes.next_page().await? {
                Some(page) => {
                    for route in page.iter().filter(|route| (self.wanted)(route)) {
                        if matches!(self.place, Place::Rest) {
                            text.push(',');
                        }
                        text.push_str(&shape::route(route, self.now).to_string());
                        self.place = Place::Rest;
                    }
                }
                None => {
                    text.push_str("]}");
                    self.place = Place::Done;
                }
            },
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

/// What Alice-LG shows of a question that went wrong.
fn error(status: StatusCode, words: &str) -> Response {
    (status, Json(json!({ "error": words }))).into_response()
}

fn refusal(why: &LookError) -> Response {
    match why {
        LookError::Unknown(unknown) => {
            error(StatusCode::NOT_FOUND, &format!("no protocol is called {}", unknown.name))
        }
        LookError::Ended => error(StatusCode::SERVICE_UNAVAILABLE, "the site is stopping"),
    }
}

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

/// The family of a table; `Ok(None)`: both.
fn family(table: &str) -> Result<Option<Family>, Response> {
    match table {
        "master" => Ok(None),
        "master4" => Ok(Some(Family::Ipv4Unicast)),
        "master6" => Ok(Some(Family::Ipv6Unicast)),
        _ => Err(error(StatusCode::NOT_FOUND, "the tables are master, master4 and master6")),
    }
}

pub(super) async fn unknown() -> Response {
    error(StatusCode::NOT_FOUND, "there is no such question")
}

pub(super) async fn version() -> &'static str {
    concat!("anycast ", env!("CARGO_PKG_VERSION"))
}

pub(super) async fn status(State(glass): State<Glass>) -> Response {
    let neighbors = glass.speaker.neighbors().await;
    let router_id = neighbors.first().and_then(|neighbor| neighbor.local_router_id);
    let router_id = router_id.map(|id| id.to_string());
    answer("status", shape::status(router_id, glass.started, unix_now()))
}

pub(super) async fn protocols(State(glass): State<Glass>) -> Response {
    let _permit = match glass.permit().await {
        Ok(permit) => permit,
        Err(busy) => return busy,
    };
    let preferred = glass.speaker.preferred().await;
    let neighbors = glass.speaker.neighbors().await;
    answer("protocols", shape::protocols(&neighbors, &preferred, unix_now()))
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
) -> Response {
    glass.routes(look(RouteTable::Accepted(protocol)), any).await
}

pub(super) async fn routes_filtered(
    State(glass): State<Glass>,
    Path(protocol): Path<String>,
) -> Response {
    glass.routes(look(RouteTable::Received(protocol)), filtered).await
}

pub(super) async fn routes_export(
    State(glass): State<Glass>,
    Path(protocol): Path<String>,
) -> Response {
    glass.routes(look(RouteTable::Advertised(protocol)), any).await
}

pub(super) async fn routes_noexport(
    State(glass): State<Glass>,
    Path(protocol): Path<String>,
) -> Response {
    glass.routes(look(RouteTable::Withheld(protocol)), any).await
}

pub(super) async fn routes_peer(
    State(glass): State<Glass>,
    Path(address): Path<IpAddr>,
) -> Response {
    match glass.at(address).await {
        Some(neighbor) => glass.routes(look(RouteTable::Accepted(neighbor.name)), any).await,
        None => error(StatusCode::NOT_FOUND, &format!("no neighbor has the address {address}")),
    }
}

pub(super) async fn routes_table(
    State(glass): State<Glass>,
    Path(table): Path<String>,
) -> Response {
    match family(&table) {
        Ok(family) => glass.routes(RouteLook { family, ..RouteLook::default() }, in_table).await,
        Err(unknown) => unknown,
    }
}

pub(super) async fn routes_table_filtered(
    State(glass): State<Glass>,
    Path(table): Path<String>,
) -> Response {
    match family(&table) {
        Ok(family) => glass.routes(RouteLook { family, ..RouteLook::default() }, filtered).await,
        Err(unknown) => unknown,
    }
}

pub(super) async fn routes_table_peer(
    State(glass): State<Glass>,
    Path((table, address)): Path<(String, IpAddr)>,
) -> Response {
    let family = match family(&table) {
        Ok(family) => family,
        Err(unknown) => return unknown,
    };
    match glass.at(address).await {
        Some(neighbor) => {
            let look = RouteLook { family, ..look(RouteTable::Accepted(neighbor.name)) };
            glass.routes(look, any).await
        }
        None => error(StatusCode::NOT_FOUND, &format!("no neighbor has the address {address}")),
    }
}

#[derive(Deserialize)]
pub(super) struct PrefixQuery {
    prefix: String,
}

/// The routes to exactly this prefix; to the longest that holds an address.
pub(super) async fn routes_prefix(
    State(glass): State<Glass>,
    Query(query): Query<PrefixQuery>,
) -> Response {
    match subject(&query.prefix) {
        Some(subject) => {
            glass.routes(RouteLook { subject, ..RouteLook::default() }, in_table).await
        }
        None => error(StatusCode::BAD_REQUEST, "neither a prefix nor an address"),
    }
}

/// The routes by which an address is reached.
pub(super) async fn route_net(State(glass): State<Glass>, Path(net): Path<String>) -> Response {
    match subject(&net) {
        Some(subject) => {
            glass.routes(RouteLook { subject, ..RouteLook::default() }, in_table).await
        }
        None => error(StatusCode::BAD_REQUEST, "not an address"),
    }
}

fn subject(text: &str) -> Option<RouteSubject> {
    let prefix = || text.parse::<IpNet>().ok().map(RouteSubject::Prefix);
    text.parse().ok().map(RouteSubject::Address).or_else(prefix)
}

pub(super) async fn count_protocol(
    State(glass): State<Glass>,
    Path(protocol): Path<String>,
) -> Response {
    match glass.speaker.neighbor(&protocol).await {
        Ok(neighbor) => answer("routes", json!(neighbor.accepted)),
        Err(_) => error(StatusCode::NOT_FOUND, &format!("no protocol is called {protocol}")),
    }
}

pub(super) async fn count_primary(
    State(glass): State<Glass>,
    Path(protocol): Path<String>,
) -> Response {
    glass.count(look(RouteTable::Accepted(protocol)), primary).await
}

pub(super) async fn count_table(State(glass): State<Glass>, Path(table): Path<String>) -> Response {
    match family(&table) {
        Ok(family) => glass.count(RouteLook { family, ..RouteLook::default() }, in_table).await,
        Err(unknown) => unknown,
    }
}

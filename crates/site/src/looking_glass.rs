//! The looking glass: who the neighbors are and which routes there are, over HTTP, in the form of
//! birdwatcher (<https://github.com/alice-lg/birdwatcher>), so that Alice-LG can read it.
//!
//! It answers GET and changes nothing. Anybody who reaches its address may ask, so everything is
//! bounded: connections, how long each may last and be silent, and how many walk the table at a
//! time. Routes are written as they are found.
//!
//! | module | what it is |
//! |---|---|
//! | `shape` | the JSON, field by field, from what the speaker tells |
//! | `answer` | which question gets which answer |

mod answer;
mod shape;
#[cfg(test)]
mod tests;

use std::io;
use std::sync::Arc;

use anycast_speaker::Handle;
use axum::Router;
use axum::routing::get;
use tokio::net::TcpListener;
use tokio::sync::Semaphore;

use answer::Glass;

use crate::guard::Guarded;

/// So many walk the table at a time; others wait for a while.
const WALKS: usize = 2;

/// Answers until the task is dropped.
pub(crate) async fn serve(listener: TcpListener, speaker: Handle) -> io::Result<()> {
    let now = shape::unix_now();
    let glass = Glass { speaker, started: now, walks: Arc::new(Semaphore::new(WALKS)) };
    axum::serve(Guarded::new(listener), router(glass)).await
}

fn router(glass: Glass) -> Router {
    Router::new()
        .route("/version", get(answer::version))
        .route("/status", get(answer::status))
        .route("/protocols", get(answer::protocols))
        .route("/protocols/bgp", get(answer::protocols))
        .route("/protocols/short", get(answer::protocols_short))
        .route("/symbols", get(answer::symbols))
        .route("/symbols/tables", get(answer::symbol_tables))
        .route("/symbols/protocols", get(answer::symbol_protocols))
        .route("/routes/protocol/{protocol}", get(answer::routes_protocol))
        .route("/routes/peer/{address}", get(answer::routes_peer))
        .route("/routes/table/{table}", get(answer::routes_table))
        .route("/routes/table/{table}/filtered", get(answer::routes_table_filtered))
        .route("/routes/table/{table}/peer/{address}", get(answer::routes_table_peer))
        .route("/routes/filtered/{protocol}", get(answer::routes_filtered))
        .route("/routes/export/{protocol}", get(answer::routes_export))
        .route("/routes/noexport/{protocol}", get(answer::routes_noexport))
        .route("/routes/prefix", get(answer::routes_prefix))
        .route("/route/net/{net}", get(answer::route_net))
        .route("/routes/count/protocol/{protocol}", get(answer::count_protocol))
        .route("/routes/count/primary/{protocol}", get(answer::count_primary))
        .route("/routes/count/table/{table}", get(answer::count_table))
        .fallback(answer::unknown)
        .with_state(glass)
}

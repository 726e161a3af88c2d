//! What a site measures of itself, in Prometheus' text format
//! (<https://prometheus.io/docs/instrumenting/exposition_formats/>).
//!
//! Every value is read from a status when it is asked for; nothing is counted twice. The families
//! are one table (`families`), which docs/metrics.md, the dashboard and the alert rules are held to.
//!
//! | module | what it is |
//! |---|---|
//! | `families` | what there is: names, types, labels, meanings |
//! | `text` | the format |
//! | `collect` | from statuses to samples |
//! | `process` | this process, as the kernel sees it |

mod collect;
mod families;
mod process;
#[cfg(test)]
mod tests;
mod text;

use std::io;

use anycast_speaker::Handle;
use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use tokio::net::TcpListener;
use tokio::sync::{mpsc, oneshot};

pub(crate) use collect::{CheckTimes, SiteMetrics};

use crate::control::Question;
use crate::guard::Guarded;

/// The type of the text format.
const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// Who is asked for the values.
#[derive(Clone)]
pub(crate) struct Sources {
    pub(crate) questions: mpsc::Sender<Question>,
    pub(crate) speaker: Handle,
}

/// Answers until the task is dropped.
pub(crate) async fn serve(listener: TcpListener, sources: Sources) -> io::Result<()> {
    let answer = |State(sources): State<Sources>| async move { sources.answer().await };
    let hint = || async { "The metrics are at /metrics.\n" };
    let router =
        Router::new().route("/metrics", get(answer)).route("/", get(hint)).with_state(sources);
    axum::serve(Guarded::new(listener), router).await
}

impl Sources {
    /// All metrics.
    pub(crate) async fn answer(&self) -> Response {
        let (sender, answer) = oneshot::channel();
        let asked = self.questions.send(Question::Metrics(sender)).await;
        let site = match asked {
            Ok(()) => answer.await.ok(),
            Err(_) => None,
        };
        let Some(site) = site else {
            return (StatusCode::SERVICE_UNAVAILABLE, "the daemon is stopping").into_response();
        };
        let text = collect::text(site, &self.speaker).await;
        ([(header::CONTENT_TYPE, CONTENT_TYPE)], text).into_response()
    }
}

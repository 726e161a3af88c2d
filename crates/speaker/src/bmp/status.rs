//! What is counted of a station, for people to look at.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use serde::{Deserialize, Serialize};
use tokio::time::Instant;

use super::{Link, Running, Tables};

/// One row of `show bmp`.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct StationStatus {
    /// The operator's name for it.
    pub name: String,
    /// Where it listens.
    pub address: SocketAddr,
    /// `connecting`, `dumping` while it is told the tables from the start, or `up`.
    pub state: String,
    /// Seconds since that last changed.
    pub since_seconds: f64,
    /// The tables that it is told of.
    pub tables: Vec<String>,
    /// Messages written to it, since the speaker's start.
    pub messages: u64,
    /// Octets written to it.
    pub octets: u64,
    /// Octets of memory that wait for it.
    pub queue: usize,
    /// How many of changes may; the step of a dump that waits counts apart.
    pub buffer: usize,
    /// How often it was connected.
    pub connects: u64,
    /// How often it was cut off because it read too slowly.
    pub cut_off: u64,
    /// Why the last connection, or the last attempt, ended.
    pub last_down: Option<String>,
}

/// What its task has written.
#[derive(Debug, Default)]
pub(super) struct Written {
    pub(super) messages: AtomicU64,
    pub(super) octets: AtomicU64,
}

pub(super) struct Counted {
    state: &'static str,
    since: Instant,
    /// Of connections before the current one.
    messages: u64,
    octets: u64,
    written: Arc<Written>,
    connects: u64,
    cut_off: u64,
    fresh_cut: bool,
    last_down: Option<String>,
}

impl Counted {
    pub(super) fn new() -> Self {
        Self {
            state: "connecting",
            since: Instant::now(),
            messages: 0,
            octets: 0,
            written: Arc::default(),
            connects: 0,
            cut_off: 0,
            fresh_cut: false,
            last_down: None,
        }
    }

    fn turn(&mut self, state: &'static str) {
        if self.state != state {
            (self.state, self.since) = (state, Instant::now());
        }
    }

    pub(super) fn connected(&mut self, written: Arc<Written>) {
        let before = std::mem::replace(&mut self.written, written);
        self.messages += before.messages.load(Ordering::Relaxed);
        self.octets += before.octets.load(Ordering::Relaxed);
        self.connects += 1;
        self.turn("dumping");
    }

    /// All that there is to tell from the start has been told.
    pub(super) fn whole(&mut self) {
        self.turn("up");
    }

    pub(super) fn disconnected(&mut self, why: &str) {
        self.last_down = Some(why.to_owned());
        self.turn("connecting");
    }

    /// Whether the reason is another than that of the last time.
    pub(super) fn failed(&mut self, why: &str) -> bool {
        let news = self.last_down.as_deref() != Some(why);
        self.last_down = Some(why.to_owned());
        news
    }

    pub(super) fn cut_off(&mut self) {
        self.cut_off += 1;
        self.fresh_cut = true;
    }

    /// Whether it was cut off since this was last asked.
    pub(super) fn was_cut_off(&mut self) -> bool {
        std::mem::take(&mut self.fresh_cut)
    }
}

impl Tables {
    /// The tables by the names that the fleet file has for them.
    #[must_use]
    pub fn names(self) -> Vec<&'static str> {
        let all = [
            (self.adj_rib_in_pre, "adj-rib-in-pre"),
            (self.adj_rib_in_post, "adj-rib-in-post"),
            (self.loc_rib, "loc-rib"),
            (self.adj_rib_out, "adj-rib-out"),
        ];
        all.into_iter().filter(|(on, _)| *on).map(|(_, name)| name).collect()
    }
}

impl Running {
    pub(super) fn status(&self) -> StationStatus {
        let counted = &self.status;
        let written = &counted.written;
        StationStatus {
            name: self.station.name.clone(),
            address: self.station.address,
            state: counted.state.to_owned(),
            since_seconds: counted.since.elapsed().as_secs_f64(),
            tables: self.station.tables.names().into_iter().map(str::to_owned).collect(),
            messages: counted.messages + written.messages.load(Ordering::Relaxed),
            octets: counted.octets + written.octets.load(Ordering::Relaxed),
            queue: self.link.as_ref().map_or(0, Link::waiting),
            buffer: self.station.buffer,
            connects: counted.connects,
            cut_off: counted.cut_off,
            last_down: counted.last_down.clone(),
        }
    }
}

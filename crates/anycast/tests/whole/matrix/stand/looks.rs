//! What the daemon says of its end, and how it is waited for.

use std::time::{Duration, Instant};

use serde_json::Value;

use super::{OURS, PATIENCE, Peer, Session};

/// How often to look: each look is a process or a question of HTTP, of five threads.
const LOOK: Duration = Duration::from_millis(50);

impl Peer<'_> {
    /// Waits until `holds`.
    pub(in crate::matrix) fn until(&self, what: &str, mut holds: impl FnMut() -> bool) {
        self.until_it_is(what, || if holds() { Ok(()) } else { Err("not yet") });
    }

    /// Waits until there is a value; what was seen instead is told if there never is.
    pub(in crate::matrix) fn until_it_is<T>(
        &self,
        what: &str,
        mut look: impl FnMut() -> Result<T, &'static str>,
    ) -> T {
        let begin = Instant::now();
        loop {
            match look() {
                Ok(seen) => return seen,
                Err(why) if begin.elapsed() > PATIENCE => panic!(
                    "{}: not within {PATIENCE:?}: {what}: {why}\n{:#?}",
                    self.program.name(),
                    self.sessions.iter().map(|it| self.status(it)).collect::<Vec<_>>()
                ),
                Err(_) => std::thread::sleep(LOOK),
            }
        }
    }

    fn get(&self, target: &str) -> Value {
        let answer = self.runtime.block_on(self.client.get(target));
        answer.unwrap_or_else(|error| panic!("{target}: {error}"))
    }

    /// What the daemon says of the session.
    pub(in crate::matrix) fn status(&self, session: &Session) -> Value {
        self.get(&format!("/v1/neighbors/{}", session.name))
    }

    /// One of the session's counters at the daemon.
    pub(in crate::matrix) fn counter(&self, session: &Session, name: &str) -> u64 {
        self.status(session)["counters"][name].as_u64().expect("a number")
    }

    pub(in crate::matrix) fn is_up(&self, session: &Session) -> bool {
        self.status(session)["state"] == "Established"
    }

    /// Gives the daemon an order about the session.
    pub(in crate::matrix) fn order(&self, session: &Session, order: &Value) {
        self.post(&format!("/v1/neighbors/{}", session.name), order);
    }

    /// Gives the daemon an order.
    pub(in crate::matrix) fn post(&self, target: &str, order: &Value) {
        let done = self.runtime.block_on(self.client.post_for_text(target, order));
        done.unwrap_or_else(|error| panic!("{target} {order}: {error}"));
    }

    /// The route that the daemon has had of the session, before policy.
    pub(in crate::matrix) fn received(&self, session: &Session, prefix: &str) -> Option<Value> {
        let rows = self.get(&format!("/v1/routes?received={}&prefix={prefix}", session.name));
        rows.as_array().expect("a list").first().cloned()
    }

    /// The routes that the daemon has to a prefix, after policy.
    pub(in crate::matrix) fn routes(&self, prefix: &str) -> Vec<Value> {
        self.get(&format!("/v1/routes?prefix={prefix}")).as_array().expect("a list").clone()
    }

    /// Waits until all sessions are up and each end has the other's routes.
    pub(in crate::matrix) fn meets(&self) {
        for session in &self.sessions {
            self.exchanges(session);
        }
    }

    /// Waits until the session is up and each end has the other's routes.
    pub(in crate::matrix) fn exchanges(&self, session: &Session) {
        self.until("the session is up", || self.is_up(session));
        for prefix in self.prefixes(session.v6) {
            self.until("the daemon has its route", || self.received(session, &prefix).is_some());
        }
        let ours = OURS[usize::from(session.v6)];
        self.until("it has the daemon's route", || {
            self.program.route(self, session, ours).is_some()
        });
    }
}

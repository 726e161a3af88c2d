//! Drains as operators order them and as they are shown: the JSON of `anycast drain` and
//! `anycast show drains`. What the steering makes of them is in `anycast_steer::drain`; `file`
//! keeps them over restarts.

mod file;

use std::time::Duration;

use anycast_fleet::{Fleet, Site};
use anycast_steer::Target;
use serde::{Deserialize, Serialize};

pub(crate) use file::{Drains, Found, Known, unix_now};

/// Longer drains are for ever: an end beyond it is a mistake.
const LONGEST: Duration = Duration::from_secs(366 * 24 * 3600);

/// An order to drain: `POST /v1/drain`.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct DrainOrder {
    /// `site`, `service NAME`, `neighbor NAME`, or a name alone if only one of these has it;
    /// empty: the site.
    #[serde(default)]
    pub target: String,
    /// It ends by itself after so many seconds; `None`: when an operator ends it.
    #[serde(default)]
    pub for_seconds: Option<f64>,
    /// Why, in the operator's words.
    #[serde(default)]
    pub reason: String,
    /// Withdraw at once, without leading traffic away first.
    #[serde(default)]
    pub now: bool,
    /// Withdraw even if the fleet falls below its floor.
    #[serde(default)]
    pub force: bool,
}

/// An order to end a drain: `POST /v1/undrain`.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct UndrainOrder {
    /// As of [`DrainOrder`].
    #[serde(default)]
    pub target: String,
    /// End all there are; the target has no say then.
    #[serde(default)]
    pub all: bool,
}

/// An order to end damping: `POST /v1/damping/clear`.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct ClearOrder {
    /// Of this service or prefix; `None`: of all.
    #[serde(default)]
    pub name: Option<String>,
}

/// One drain under way: a row of `GET /v1/drains`.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub struct DrainRow {
    /// `site`, `service NAME` or `neighbor NAME`.
    pub target: String,
    /// `leaving`, `withdrawing`, `finishing` (connections run on) or `drained`.
    pub stage: String,
    /// While leaving: it is withdrawn after so many seconds at the latest.
    pub leaves_for_seconds: Option<f64>,
    /// Seconds since it was ordered.
    pub since_seconds: f64,
    /// Seconds until it ends by itself; `None`: when an operator ends it.
    pub ends_in_seconds: Option<f64>,
    /// Why, in the operator's words; may be empty.
    pub reason: String,
    /// Who ordered it, if that is known.
    pub by: Option<String>,
    /// Whether traffic is not led away first.
    pub now: bool,
    /// Whether the fleet's floor has no say.
    pub force: bool,
    /// Whether it will be there again when the daemon starts anew.
    pub kept: bool,
    /// Packets per second that come for what is drained; `None`: they are not counted.
    pub packets_per_second: Option<f64>,
    /// TCP connections that run on here; `None`: none are kept, or they are not counted yet.
    pub connections: Option<u64>,
    /// While finishing: they are waited for so many seconds at the longest.
    pub finishes_in_seconds: Option<f64>,
    /// Prefixes that should be withdrawn by now and are not, each with the reason.
    pub held: Vec<String>,
}

impl DrainOrder {
    /// When it ends by itself, from now.
    ///
    /// # Errors
    /// In words, if that is no time or too long.
    pub(crate) fn lasts(&self) -> Result<Option<Duration>, String> {
        let Some(seconds) = self.for_seconds else { return Ok(None) };
        match Duration::try_from_secs_f64(seconds) {
            Ok(time) if time > LONGEST => Err("a drain with an end lasts 366 days at most".into()),
            Ok(time) if !time.is_zero() => Ok(Some(time)),
            _ => Err("a drain lasts longer than no time".into()),
        }
    }
}

/// As an operator could write it: `1h30m`, `1m30s`. Less than a second is `0s`.
pub(crate) fn in_words(time: Duration) -> String {
    let seconds = time.as_secs();
    let parts = [(seconds / 3600, 'h'), (seconds / 60 % 60, 'm'), (seconds % 60, 's')];
    let parts = parts.iter().filter(|(number, _)| *number > 0);
    let words: Vec<String> = parts.map(|(number, unit)| format!("{number}{unit}")).collect();
    if words.is_empty() { "0s".to_owned() } else { words.concat() }
}

/// What an operator means at this site.
///
/// # Errors
/// In words: nothing has that name, or several things have.
pub(crate) fn target(text: &str, fleet: &Fleet, site: &Site) -> Result<Target, String> {
    if site.router {
        return Err(format!(
            "{} is a router, which announces nothing of its own: drain the machines behind it",
            site.name
        ));
    }
    let words: Vec<&str> = text.split_whitespace().collect();
    let service = |name: &str| fleet.services.iter().any(|it| it.name == name);
    let neighbor = |name: &str| site.neighbor(name).is_some();
    match words[..] {
        [] | ["site"] => Ok(Target::Site),
        ["site", name] if name == site.name => Ok(Target::Site),
        ["service", name] if service(name) => Ok(Target::Service(name.to_owned())),
        ["neighbor", name] if neighbor(name) => Ok(Target::Neighbor(name.to_owned())),
        ["service" | "neighbor", name] => {
            Err(format!("no {} is called {name}; {}", words[0], known(fleet, site)))
        }
        [kind @ ("service" | "neighbor")] if !service(kind) && !neighbor(kind) => {
            Err(format!("which {kind}? {}", known(fleet, site)))
        }
        ["site", name] => Err(elsewhere(name, fleet, site)),
        [name] => {
            let all = [
                (name == site.name).then_some(Target::Site),
                service(name).then(|| Target::Service(name.to_owned())),
                neighbor(name).then(|| Target::Neighbor(name.to_owned())),
            ];
            let mut found = all.into_iter().flatten();
            match (found.next(), found.next()) {
                (Some(one), None) => Ok(one),
                (Some(one), Some(other)) => {
                    Err(format!("{name} is several things: say `{one}` or `{other}`"))
                }
                (None, _) => Err(elsewhere(name, fleet, site)),
            }
        }
        _ => Err(format!("{text:?} is neither a name nor `service NAME` nor `neighbor NAME`")),
    }
}

fn elsewhere(name: &str, fleet: &Fleet, site: &Site) -> String {
    if fleet.site(name).is_some() {
        let here = &site.name;
        format!("{name} is another site, and this is {here}: tell the daemon of {name}")
    } else {
        format!("nothing here is called {name}; {}", known(fleet, site))
    }
}

fn known(fleet: &Fleet, site: &Site) -> String {
    let services: Vec<&str> = fleet.services.iter().map(|it| it.name.as_str()).collect();
    let neighbors: Vec<&str> = site.neighbors.iter().map(|it| it.name.as_str()).collect();
    format!(
        "there are the site {}, services {}, neighbors {}",
        site.name,
        services.join(", "),
        neighbors.join(", ")
    )
}

#[cfg(test)]
mod tests;

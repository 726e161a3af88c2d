//! A site on one screen, and why a prefix is announced as it is: `anycast status`, `anycast why`.
//!
//! What is wanted comes from the steering, what neighbors were really told from the speaker. What
//! is not as it should be is gathered in `troubles`, so that everybody judges alike.

use std::collections::HashMap;

use anycast_bgp::{Attributes, Family, IpNet};
use anycast_speaker::{Handle, NeighborStatus};
use anycast_steer::{Instant, PrefixStatus, Stage};
use serde::{Deserialize, Serialize};

use crate::events::SiteEvent;
use crate::fleet_state::FleetStateRow;
use crate::metrics::SiteMetrics;
use crate::status::{NeighborInFile, ServiceRow};

/// All of `anycast status` of one site.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct Overview {
    /// The fleet's name.
    pub fleet: String,
    /// The site's name.
    pub site: String,
    /// Where it is.
    pub city: Option<String>,
    /// The daemon's version.
    pub version: String,
    /// `starting`, `running` or `stopping`.
    pub state: String,
    /// Seconds since the daemon's start.
    pub uptime_seconds: f64,
    /// The fleet's other sites, by the file.
    pub others: Vec<String>,
    /// Seconds since the fleet's shared state was last heard of; `None`: never.
    pub fleet_heard_seconds: Option<f64>,
    /// What the sites share; `None`: nothing.
    #[serde(default)]
    pub fleet_state: Option<FleetStateRow>,
    /// In the file's order.
    pub neighbors: Vec<NeighborOverview>,
    /// In the file's order.
    pub services: Vec<ServiceRow>,
    /// In the file's order.
    pub prefixes: Vec<PrefixOverview>,
    /// What falls, or fell, too often.
    pub damping: Vec<DampingRow>,
    /// In the order in which they began.
    pub drains: Vec<DrainRow>,
    /// How connections are kept: `off`, `loading`, `loaded`, `unloaded` or `unavailable`.
    #[serde(default)]
    pub affinity: String,
    /// Why they are not.
    #[serde(default)]
    pub affinity_why: Option<String>,
    /// What is not as it should be, in words; empty: all is well.
    pub troubles: Vec<String>,
}

/// A neighbor in one line.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct NeighborOverview {
    /// Its name.
    pub name: String,
    /// The session's state by RFC 4271's name, or `disabled`.
    pub state: String,
    /// Seconds since it last went up or down.
    pub since_seconds: f64,
    /// Why there is no session.
    pub why: Option<String>,
}

/// A prefix, and what becomes of it at each neighbor.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct PrefixOverview {
    /// The prefix.
    pub prefix: String,
    /// Whether any neighbor is to be told of it.
    pub announced: bool,
    /// Seconds since it is so.
    pub since_seconds: f64,
    /// The services that it stands for.
    pub services: Vec<String>,
    /// How many of them must be up.
    pub require: String,
    /// What keeps it from being announced plainly to all, the first cause first.
    pub reasons: Vec<ReasonRow>,
    /// Why it is announced although it should not be.
    pub held: Option<String>,
    /// Below what the fleet must not fall.
    #[serde(default)]
    pub floor: Option<String>,
    /// What the RPKI says of it, if there are VRPs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rpki: Option<String>,
    /// In the file's order.
    pub neighbors: Vec<ToldRow>,
}

/// A reason in words.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct ReasonRow {
    /// `services`, `degraded`, `damping`, `drain`, `shed`, `floor`, `stopping` or `removed`.
    pub kind: String,
    /// In words.
    pub text: String,
}

/// What a neighbor is told of a prefix.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct ToldRow {
    /// The neighbor.
    pub neighbor: String,
    /// Whether it was told.
    pub told: bool,
    /// Whether the steering wants it told.
    pub wanted: bool,
    /// What it was told: the AS path, and more where there is more. If it was not told: why.
    pub how: String,
}

/// A service or prefix with a penalty.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct DampingRow {
    /// The service or the prefix.
    pub what: String,
    /// A fall costs 1000; it decays.
    pub penalty: f64,
    /// For how long yet it is kept down; `None`: it is not.
    pub seconds_left: Option<f64>,
}

/// A drain.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct DrainRow {
    /// `site`, `service NAME` or `neighbor NAME`.
    pub target: String,
    /// `leaving`, `withdrawing` or `drained`.
    pub stage: String,
    /// Seconds since it began.
    pub since_seconds: f64,
    /// Seconds until it ends by itself; `None`: when an operator ends it.
    pub seconds_left: Option<f64>,
    /// The operator's words.
    pub reason: String,
}

/// All of `anycast why`.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct Why {
    /// The prefix.
    pub prefix: PrefixOverview,
    /// The services that it stands for.
    pub services: Vec<ServiceRow>,
    /// The last event of the prefix, and what it follows from: the first cause first. Empty if
    /// nothing happened to it yet, or too long ago.
    pub chain: Vec<SiteEvent>,
}

/// What the daemon's loop tells for an overview.
pub(crate) struct Look {
    pub(crate) site: SiteMetrics,
    pub(crate) others: Vec<String>,
    pub(crate) fleet_state: Option<FleetStateRow>,
    /// By prefix.
    pub(crate) floors: HashMap<String, String>,
    pub(crate) in_file: HashMap<String, NeighborInFile>,
    pub(crate) events: Vec<SiteEvent>,
    /// What is to be said of QUIC, and of the fleet in force and the file.
    pub(crate) warnings: Vec<String>,
}

/// The overview of a site.
pub(crate) async fn overview(look: Look, speaker: &Handle) -> Overview {
    let neighbors = speaker.neighbors().await;
    let prefixes = prefixes(&look, &neighbors, speaker).await;
    let Look { site, others, fleet_state, warnings, .. } = look;
    let (now, steering) = (site.now, &site.steering);
    let left = |until: Option<Instant>| until.map(|until| (until - now).as_secs_f64());
    let of_services =
        steering.services.iter().map(|row| (row.name.clone(), row.penalty, row.damped_until));
    let of_prefixes =
        steering.prefixes.iter().map(|row| (row.prefix.to_string(), row.penalty, row.damped_until));
    let damping = of_services
        .chain(of_prefixes)
        .filter(|(_, penalty, until)| *penalty >= 1.0 || until.is_some())
        .map(|(what, penalty, until)| DampingRow { what, penalty, seconds_left: left(until) });
    let drains = steering.drains.iter().map(|row| DrainRow {
        target: row.drain.target.to_string(),
        stage: row.stage.word().to_owned(),
        since_seconds: (now - row.since).as_secs_f64(),
        seconds_left: left(row.drain.until),
        reason: row.drain.reason.clone(),
    });
    let mut overview = Overview {
        damping: damping.collect(),
        drains: drains.collect(),
        fleet_heard_seconds: steering.fleet_heard.map(|heard| (now - heard).as_secs_f64()),
        fleet_state,
        fleet: site.fleet,
        site: site.site,
        city: site.city,
        version: env!("CARGO_PKG_VERSION").to_owned(),
        state: site.state.to_owned(),
        uptime_seconds: site.uptime.as_secs_f64(),
        others,
        neighbors: neighbors.iter().map(neighbor).collect(),
        services: site.services.services,
        prefixes,
        affinity: site.affinity.state,
        affinity_why: site.affinity.why,
        troubles: Vec::new(),
    };
    overview.troubles = troubles(&overview);
    overview.troubles.extend(warnings);
    overview
}

/// Why `prefix` is as it is; `None`: the fleet has no such prefix.
pub(crate) async fn why(prefix: &str, look: Look, speaker: &Handle) -> Option<Why> {
    let neighbors = speaker.neighbors().await;
    let all = prefixes(&look, &neighbors, speaker).await;
    let prefix = all.into_iter().find(|row| row.prefix == prefix)?;
    let services = look.site.services.services.into_iter();
    Some(Why {
        services: services.filter(|row| prefix.services.contains(&row.name)).collect(),
        chain: chain(&look.events, &prefix.prefix),
        prefix,
    })
}

fn neighbor(row: &NeighborStatus) -> NeighborOverview {
    let up = row.state == "Established";
    NeighborOverview {
        name: row.name.clone(),
        state: if row.enabled { row.state.clone() } else { "disabled".to_owned() },
        since_seconds: row.since_seconds,
        why: (!up).then(|| no_session(row)),
    }
}

/// Why there is no session, in words.
fn no_session(row: &NeighborStatus) -> String {
    match (row.enabled, &row.held, &row.last_down) {
        (false, ..) => "disabled by an operator".to_owned(),
        (true, Some(held), _) => held.clone(),
        (true, None, Some(why)) => why.clone(),
        (true, None, None) => "not yet connected".to_owned(),
    }
}

async fn prefixes(
    look: &Look,
    neighbors: &[NeighborStatus],
    speaker: &Handle,
) -> Vec<PrefixOverview> {
    let told = speaker.told(look.site.prefixes.clone()).await;
    let mut rows = Vec::new();
    for status in &look.site.steering.prefixes {
        let heard = told.iter().find(|row| row.prefix == status.prefix);
        let heard = |name: &str| {
            let mut of_prefix = heard.iter().flat_map(|row| &row.neighbors);
            of_prefix.find(|(neighbor, _)| neighbor == name)?.1.as_deref()
        };
        let name = status.prefix.to_string();
        let row = look.site.services.prefixes.iter().find(|row| row.prefix == name);
        rows.push(PrefixOverview {
            announced: status.announced,
            since_seconds: (look.site.now - status.since).as_secs_f64(),
            services: status.services.clone(),
            require: status.require.to_string(),
            reasons: status.reasons.iter().map(reason).collect(),
            held: status.held.clone(),
            floor: look.floors.get(&name).cloned(),
            rpki: row.and_then(|row| row.rpki.clone()),
            neighbors: neighbors
                .iter()
                .map(|row| told_row(row, status, heard(&row.name), &look.in_file))
                .collect(),
            prefix: name,
        });
    }
    rows
}

fn reason(reason: &anycast_steer::Reason) -> ReasonRow {
    let kind = serde_json::to_value(reason.kind).ok();
    let kind = kind.and_then(|kind| kind.as_str().map(str::to_owned)).unwrap_or_default();
    ReasonRow { kind, text: reason.text.clone() }
}

/// Whether a session that is up carries routes of a prefix's family.
fn carries(row: &NeighborStatus, prefix: &IpNet) -> bool {
    let family = Family::of(prefix).to_string();
    row.families.contains(&family)
}

fn told_row(
    row: &NeighborStatus,
    status: &PrefixStatus,
    heard: Option<&Attributes>,
    in_file: &HashMap<String, NeighborInFile>,
) -> ToldRow {
    let wanted = status.told.iter().find(|(name, _)| *name == row.name);
    let wanted = wanted.is_some_and(|(_, manner)| manner.is_some());
    let how = match heard {
        Some(attributes) => announcement(attributes),
        None if !wanted => {
            let words = status.why.as_deref().unwrap_or("the steering does not want it told");
            words.to_owned()
        }
        None if row.state != "Established" => format!("no session: {}", no_session(row)),
        None if !carries(row, &status.prefix) => {
            let family = Family::of(&status.prefix);
            format!("the session does not carry {family}: see `families` of both ends")
        }
        None => {
            let export = in_file.get(&row.name).map_or("", |file| file.export.as_str());
            format!("the export policy ({export}) does not let it out, or it is being sent")
        }
    };
    ToldRow { neighbor: row.name.clone(), told: heard.is_some(), wanted, how }
}

/// What a neighbor was told, in words.
fn announcement(attributes: &Attributes) -> String {
    let path = match attributes.as_path.to_string() {
        path if path.is_empty() => "with an empty AS path".to_owned(),
        path => format!("AS path {path}"),
    };
    let med = attributes.med.map(|med| format!("MED {med}"));
    let communities: Vec<String> = attributes.communities.iter().map(ToString::to_string).collect();
    let communities =
        (!communities.is_empty()).then(|| format!("communities {}", communities.join(" ")));
    [Some(path), med, communities].into_iter().flatten().collect::<Vec<_>>().join(", ")
}

/// The last event of `prefix` and what it follows from, the first cause first.
fn chain(events: &[SiteEvent], prefix: &str) -> Vec<SiteEvent> {
    let mut chain = Vec::new();
    let mut next = events.iter().rfind(|event| event.subject == prefix);
    while let Some(event) = next {
        chain.push(event.clone());
        // A cause is older than its effect, so this ends.
        next = event.cause.and_then(|cause| {
            events.iter().find(|older| older.number == cause && cause < event.number)
        });
    }
    chain.reverse();
    chain
}

/// What is not as it should be.
fn troubles(site: &Overview) -> Vec<String> {
    let mut troubles = Vec::new();
    if site.state == "stopping" {
        troubles.push("the site is stopping".to_owned());
    }
    // While it starts it has not tried.
    let state = site.fleet_state.as_ref().filter(|_| site.state != "starting");
    if let Some(why) = state.and_then(|state| state.why.as_ref()) {
        troubles.push(format!("the fleet's shared state cannot be reached: {why}"));
    }
    match (site.affinity.as_str(), &site.affinity_why) {
        ("unavailable", Some(why)) => {
            troubles.push(format!("connections are not kept when routes change: {why}"));
        }
        ("unloaded", _) => troubles.push(
            "connections are not kept when routes change: the programs are unloaded".to_owned(),
        ),
        _ => {}
    }
    for drain in &site.drains {
        let stage = match drain.stage.as_str() {
            stage if stage == Stage::Drained.word() => "is drained",
            stage if stage == Stage::Withdrawing.word() => {
                "is being drained: it is being withdrawn"
            }
            _ => "is being drained: traffic is leaving",
        };
        let the = if drain.target == "site" { "the " } else { "" };
        troubles.push(format!("{the}{} {stage}", drain.target));
    }
    for service in site.services.iter().filter(|service| service.state != "up") {
        let why = service.why.as_ref().map(|why| format!(": {why}")).unwrap_or_default();
        troubles.push(format!("service {} is {}{why}", service.name, service.state));
    }
    for row in &site.damping {
        if row.seconds_left.is_some() {
            troubles.push(format!("{} falls too often and is kept down", row.what));
        }
    }
    for prefix in &site.prefixes {
        troubles.extend(trouble_of(prefix));
    }
    for neighbor in &site.neighbors {
        if let Some(why) = &neighbor.why {
            troubles.push(format!("neighbor {} is {}: {why}", neighbor.name, neighbor.state));
        }
    }
    troubles
}

fn trouble_of(prefix: &PrefixOverview) -> Vec<String> {
    let mut troubles = Vec::new();
    let name = &prefix.prefix;
    let reasons: Vec<&str> = prefix.reasons.iter().map(|reason| reason.text.as_str()).collect();
    let why = if reasons.is_empty() { String::new() } else { format!(": {}", reasons.join("; ")) };
    if let Some(held) = &prefix.held {
        troubles.push(format!("{name} is HELD: announced although it should not be: {held}"));
    } else if !prefix.announced {
        troubles.push(format!("{name} is not announced{why}"));
    } else if !reasons.is_empty() {
        troubles.push(format!("{name} is not announced plainly to all{why}"));
    }
    if prefix.announced && !prefix.neighbors.iter().any(|row| row.told) {
        troubles.push(format!("{name} is announced, but no neighbor was told of it"));
    }
    if prefix.rpki.as_deref() == Some("invalid") {
        troubles.push(format!("{name} is invalid by the RPKI: other networks will drop it"));
    }
    troubles
}

#[cfg(test)]
mod tests;

//! From statuses to samples.

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use anycast_bgp::{Asn, IpNet};
use anycast_speaker::{Handle, NeighborStatus};
use anycast_steer::{Instant, ReasonKind, Stage, Status};

use super::families as f;
use super::process;
use super::text::{Exposition, Histogram};
use crate::affinity::AffinityReport;
use crate::rpki::Look;
use crate::status::ServicesReport;

/// The states of RFC 4271 §8.2.2.
const STATES: [&str; 6] = ["Idle", "Connect", "Active", "OpenSent", "OpenConfirm", "Established"];

/// How the runs of checks went, by service and check.
#[derive(Clone, Debug, Default)]
pub(crate) struct CheckTimes(HashMap<(usize, usize), Runs>);

#[derive(Clone, Copy, Debug, Default)]
struct Runs {
    passed: u64,
    failed: u64,
    took: Histogram,
}

impl CheckTimes {
    /// Takes in one run.
    pub(crate) fn add(&mut self, service: usize, check: usize, passed: bool, took: Duration) {
        let runs = self.0.entry((service, check)).or_default();
        if passed {
            runs.passed += 1;
        } else {
            runs.failed += 1;
        }
        runs.took.add(took.as_secs_f64());
    }

    /// The services and checks have other indices now, or none.
    pub(crate) fn move_to(&mut self, to: impl Fn((usize, usize)) -> Option<(usize, usize)>) {
        let moved = self.0.drain().filter_map(|(at, runs)| Some((to(at)?, runs)));
        self.0 = moved.collect::<Vec<_>>().into_iter().collect();
    }
}

/// What the daemon's loop knows.
pub(crate) struct SiteMetrics {
    pub(crate) fleet: String,
    pub(crate) site: String,
    pub(crate) city: Option<String>,
    pub(crate) asn: Asn,
    pub(crate) state: &'static str,
    pub(crate) uptime: Duration,
    pub(crate) services: ServicesReport,
    pub(crate) checks: CheckTimes,
    pub(crate) prefixes: Vec<IpNet>,
    pub(crate) rpki: Look,
    pub(crate) steering: Status,
    /// Whether the fleet's shared state is; `None`: nothing is shared.
    pub(crate) fleet_reached: Option<bool>,
    pub(crate) affinity: AffinityReport,
    /// When `steering` was so.
    pub(crate) now: Instant,
    pub(crate) events: BTreeMap<String, u64>,
    pub(crate) last_event: u64,
    pub(crate) unwritten_events: Option<u64>,
}

/// All metrics as text.
pub(super) async fn text(site: SiteMetrics, speaker: &Handle) -> String {
    let mut into = Exposition::default();
    of_site(&mut into, &site);
    of_services(&mut into, &site);
    of_prefixes(&mut into, &site, speaker).await;
    of_steering(&mut into, &site.steering, site.now);
    if let Some(reached) = site.fleet_reached {
        into.flag(&f::FLEET_REACHED, &[], reached);
    }
    of_affinity(&mut into, &site.affinity);
    for neighbor in speaker.neighbors().await {
        of_neighbor(&mut into, &neighbor);
    }
    of_bfd(&mut into, speaker).await;
    of_rpki(&mut into, site.rpki).await;
    of_stations(&mut into, speaker).await;
    process::add(&mut into);
    into.text()
}

fn of_site(into: &mut Exposition, site: &SiteMetrics) {
    into.flag(&f::BUILD, &[env!("CARGO_PKG_VERSION")], true);
    let city = site.city.as_deref().unwrap_or_default();
    into.flag(&f::SITE, &[&site.fleet, &site.site, city, &site.asn.to_string()], true);
    into.flag(&f::RUNNING, &[], site.state == "running");
    into.add(&f::UPTIME, &[], site.uptime.as_secs_f64());
    for (kind, count) in &site.events {
        into.count(&f::EVENTS, &[kind], *count);
    }
    into.count(&f::EVENTS_LAST, &[], site.last_event);
    if let Some(count) = site.unwritten_events {
        into.count(&f::EVENTS_UNWRITTEN, &[], count);
    }
}

fn of_services(into: &mut Exposition, site: &SiteMetrics) {
    for (index, service) in site.services.services.iter().enumerate() {
        into.flag(&f::SERVICE_UP, &[&service.name], service.state == "up");
        into.add(&f::SERVICE_SINCE, &[&service.name], service.since_seconds);
        for (number, check) in service.checks.iter().enumerate() {
            let labels = [service.name.as_str(), check.name.as_str()];
            into.flag(&f::CHECK_UP, &labels, check.state == "up");
            let runs = site.checks.0.get(&(index, number)).copied().unwrap_or_default();
            for (result, count) in [("pass", runs.passed), ("fail", runs.failed)] {
                into.count(&f::CHECK_RUNS, &[labels[0], labels[1], result], count);
            }
            into.histogram(&f::CHECK_TIME, &labels, &runs.took);
        }
    }
}

async fn of_prefixes(into: &mut Exposition, site: &SiteMetrics, speaker: &Handle) {
    for row in &site.services.prefixes {
        into.flag(&f::PREFIX_ANNOUNCED, &[&row.prefix], row.announced);
        into.add(&f::PREFIX_SINCE, &[&row.prefix], row.since_seconds);
    }
    for told in speaker.told(site.prefixes.clone()).await {
        let prefix = told.prefix.to_string();
        for (neighbor, attributes) in told.neighbors {
            into.flag(&f::PREFIX_TOLD, &[&prefix, &neighbor], attributes.is_some());
            if let Some(attributes) = attributes {
                let length = attributes.as_path.length() as u64;
                into.count(&f::PREFIX_LENGTH, &[&prefix, &neighbor], length);
            }
        }
    }
}

/// What may keep a prefix from being announced plainly, with its label.
const REASONS: [(ReasonKind, &str); 8] = [
    (ReasonKind::Services, "services"),
    (ReasonKind::Degraded, "degraded"),
    (ReasonKind::Damping, "damping"),
    (ReasonKind::Drain, "drain"),
    (ReasonKind::Shed, "shed"),
    (ReasonKind::Floor, "floor"),
    (ReasonKind::Stopping, "stopping"),
    (ReasonKind::Removed, "removed"),
];

/// What steering does beyond up and down.
fn of_steering(into: &mut Exposition, status: &Status, now: Instant) {
    let left = |until: Option<Instant>| until.map_or(0.0, |until| (until - now).as_secs_f64());
    for service in &status.services {
        into.add(&f::SERVICE_PENALTY, &[&service.name], service.penalty);
        into.add(&f::SERVICE_DAMPED, &[&service.name], left(service.damped_until));
    }
    for row in &status.prefixes {
        let prefix = row.prefix.to_string();
        into.flag(&f::PREFIX_HELD, &[&prefix], row.held.is_some());
        for (kind, label) in REASONS {
            let is_there = row.reasons.iter().any(|reason| reason.kind == kind);
            into.flag(&f::PREFIX_REASON, &[&prefix, label], is_there);
        }
        into.count(&f::PREFIX_SHED, &[&prefix], row.shed_level as u64);
        into.add(&f::PREFIX_PENALTY, &[&prefix], row.penalty);
        into.add(&f::PREFIX_DAMPED, &[&prefix], left(row.damped_until));
    }
    into.count(&f::DRAINS, &[], status.drains.len() as u64);
    for drain in &status.drains {
        let drained = drain.stage == Stage::Drained;
        into.flag(&f::DRAIN_DONE, &[&drain.drain.target.to_string()], drained);
        if drain.drain.until.is_some() {
            let seconds = left(drain.drain.until);
            into.add(&f::DRAIN_LEFT, &[&drain.drain.target.to_string()], seconds);
        }
    }
    if let Some(heard) = status.fleet_heard {
        into.add(&f::FLEET_HEARD, &[], (now - heard).as_secs_f64());
    }
}

fn of_affinity(into: &mut Exposition, report: &AffinityReport) {
    if report.state == "off" {
        return;
    }
    into.flag(&f::AFFINITY_LOADED, &[], report.state == "loaded");
    for (what, packets) in &report.packets {
        into.count(&f::AFFINITY_PACKETS, &[what], *packets);
    }
    for (reason, packets) in &report.rejected {
        into.count(&f::AFFINITY_REJECTED, &[reason], *packets);
    }
    for peer in &report.peers {
        into.count(&f::AFFINITY_FORWARDED, &[&peer.site, "hint"], peer.forwarded_by_hint);
        into.count(&f::AFFINITY_FORWARDED, &[&peer.site, "ring"], peer.forwarded_by_ring);
        into.count(&f::AFFINITY_UNWRAPPED, &[&peer.site], peer.unwrapped);
        into.count(&f::AFFINITY_LIMITED, &[&peer.site], peer.limited);
    }
}

fn of_neighbor(into: &mut Exposition, row: &NeighborStatus) {
    let name = row.name.as_str();
    let up = row.state == "Established";
    into.flag(&f::NEIGHBOR_UP, &[name, &row.address.to_string(), &row.asn.to_string()], up);
    for state in STATES {
        into.flag(&f::NEIGHBOR_STATE, &[name, state], row.state == state);
    }
    into.flag(&f::NEIGHBOR_ENABLED, &[name], row.enabled);
    into.add(&f::NEIGHBOR_SINCE, &[name], row.since_seconds);
    if let Some(seconds) = row.hold_time_seconds.filter(|_| up) {
        into.add(&f::NEIGHBOR_HOLD, &[name], seconds);
    }
    for (family, count) in [
        (&f::NEIGHBOR_RECEIVED, row.received),
        (&f::NEIGHBOR_ACCEPTED, row.accepted),
        (&f::NEIGHBOR_ADVERTISED, row.advertised),
        (&f::NEIGHBOR_STALE, row.stale),
    ] {
        into.count(family, &[name], count as u64);
    }
    if let Some(limit) = row.limits.prefixes {
        into.count(&f::NEIGHBOR_LIMIT, &[name], limit as u64);
    }
    let counters = &row.counters;
    for (family, received, sent) in [
        (&f::NEIGHBOR_MESSAGES, counters.messages_in, counters.messages_out),
        (&f::NEIGHBOR_UPDATES, counters.updates_in, counters.updates_out),
        (&f::NEIGHBOR_NOTIFICATIONS, counters.notifications_in, counters.notifications_out),
    ] {
        into.count(family, &[name, "in"], received);
        into.count(family, &[name, "out"], sent);
    }
    into.count(&f::NEIGHBOR_ESTABLISHED, &[name], counters.established);
    into.count(&f::NEIGHBOR_DROPPED, &[name], counters.dropped);
}

async fn of_bfd(into: &mut Exposition, speaker: &Handle) {
    for row in speaker.bfd().await {
        let name = row.neighbor.as_str();
        into.flag(&f::BFD_UP, &[name], row.state == "Up");
        if let Some(milliseconds) = row.detection_ms {
            into.add(&f::BFD_DETECTION, &[name], milliseconds / 1e3);
        }
        for (direction, count) in
            [("in", row.packets_in), ("out", row.packets_out), ("dropped", row.packets_dropped)]
        {
            into.count(&f::BFD_PACKETS, &[name, direction], count);
        }
        into.count(&f::BFD_DOWNS, &[name], row.downs);
    }
}

async fn of_rpki(into: &mut Exposition, look: Look) {
    if let Some(sources) = look.sources {
        for source in sources.await.unwrap_or_default() {
            into.flag(&f::RPKI_SOURCE_UP, &[&source.name], source.in_use);
            if let Some(seconds) = source.updated_seconds {
                into.add(&f::RPKI_SOURCE_AGE, &[&source.name], seconds);
            }
        }
    }
    if let Some((v4, v6)) = look.lens {
        into.count(&f::RPKI_VRPS, &["ipv4"], v4 as u64);
        into.count(&f::RPKI_VRPS, &["ipv6"], v6 as u64);
    }
    for own in &look.prefixes {
        if let Some(state) = &own.state {
            let labels = [own.prefix.to_string(), own.origin.to_string()];
            into.flag(&f::RPKI_OWN, &[&labels[0], &labels[1], state], true);
        }
    }
}

async fn of_stations(into: &mut Exposition, speaker: &Handle) {
    for row in speaker.stations().await {
        let name = row.name.as_str();
        into.flag(&f::BMP_UP, &[name], row.state == "up");
        into.count(&f::BMP_MESSAGES, &[name], row.messages);
        into.count(&f::BMP_OCTETS, &[name], row.octets);
        into.count(&f::BMP_QUEUE, &[name], row.queue as u64);
        into.count(&f::BMP_CUT_OFF, &[name], row.cut_off);
    }
}

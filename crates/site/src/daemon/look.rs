//! How the site is, in the shapes that the control socket and the metrics give away.

use std::collections::HashMap;

use anycast_bgp::IpNet;
use anycast_fleet::{Builtin, Relation, Site};
use anycast_steer::{Target, Verdict};

use super::Daemon;
use crate::metrics::SiteMetrics;
use crate::overview;
use crate::status::{CheckRow, NeighborInFile, PrefixRow, ServiceRow, ServicesReport, SiteRow};
use crate::steering;

impl Daemon {
    /// How the site is, for `systemctl status`.
    pub(super) fn in_a_line(&self) -> String {
        let (up, of) = (self.established, self.site.neighbors.len());
        let (announced, all) = (self.announcer.announced().len(), self.fleet.prefixes.len());
        let warning = self.warning().map(|words| format!("; {words}")).unwrap_or_default();
        format!("{up} of {of} sessions, {announced} of {all} prefixes announced{warning}")
    }

    /// Something that whoever looks at the site should know, in words.
    fn warning(&self) -> Option<String> {
        self.waits_in_words().or_else(|| self.reload.status().warning())
    }

    fn quic_warnings(&self) -> impl Iterator<Item = String> {
        let there = |name: &str| {
            self.fleet.services.iter().any(|it| it.name == name && it.quic().is_some())
        };
        let each = self.no_quic.iter().filter(move |(name, _)| there(name));
        each.map(|(name, why)| format!("service {name} over QUIC: {why}"))
    }

    pub(super) fn overview(&self) -> overview::Look {
        let others = self.fleet.sites.iter().map(|site| site.name.clone());
        overview::Look {
            site: self.metrics(),
            others: others.filter(|name| *name != self.site.name).collect(),
            fleet_state: self.fleet_state.look(self.now()),
            floors: steering::floors(&self.fleet),
            in_file: self.neighbors_in_file(),
            events: self.events.list(),
            warnings: self.quic_warnings().chain(self.warning()).collect(),
        }
    }

    pub(super) fn metrics(&self) -> SiteMetrics {
        SiteMetrics {
            fleet: self.fleet.name.clone(),
            site: self.site.name.clone(),
            city: self.site.city.clone(),
            asn: self.site.asn,
            state: self.state,
            uptime: self.started.elapsed(),
            services: self.services(),
            checks: self.check_times.clone(),
            prefixes: self.fleet.prefixes.iter().map(|prefix| prefix.prefix).collect(),
            rpki: self.origins.look(&self.announcer.announced()),
            steering: self.steer.status(self.now()),
            fleet_reached: self.fleet_state.is_reached(),
            affinity: self.affinity(),
            now: self.now(),
            events: self.events.counts().clone(),
            last_event: *self.events.watch().borrow(),
            unwritten_events: self.events.unwritten(),
        }
    }

    pub(super) fn sites(&self) -> Vec<SiteRow> {
        let row = |site: &Site| {
            let this = site.name == self.site.name;
            SiteRow {
                name: site.name.clone(),
                city: site.city.clone(),
                asn: site.asn,
                neighbors: site.neighbors.len(),
                this,
                state: this.then(|| self.state.to_owned()),
                drain: this.then(|| self.drain_stage(|it| *it == Target::Site)).flatten(),
                announced: this
                    .then(|| self.announcer.announced().iter().map(IpNet::to_string).collect()),
                established: this.then_some(self.established),
                uptime_seconds: this.then(|| self.started.elapsed().as_secs_f64()),
                warning: self.warning().filter(|_| this),
            }
        };
        self.fleet.sites.iter().map(row).collect()
    }

    pub(super) fn services(&self) -> ServicesReport {
        let now = self.now();
        let status = self.steer.status(now);
        let services = status.services.into_iter().enumerate().map(|(index, service)| {
            let spec = &self.fleet.services[index];
            let checks = service.checks.into_iter().map(|check| CheckRow {
                name: check.name,
                state: words(check.verdict).to_owned(),
                passes: check.passes,
                fails: check.fails,
                last_failure: check.last_failure,
            });
            ServiceRow {
                name: service.name,
                addresses: spec.addresses.clone(),
                served_by: match spec.builtin {
                    Some(Builtin::Whoami { .. }) => "whoami".to_owned(),
                    None => "external".to_owned(),
                },
                pid: self.pids.get(&index).copied(),
                state: words(service.verdict).to_owned(),
                since_seconds: (now - service.since).as_secs_f64(),
                drain: self
                    .drain_stage(|it| matches!(it, Target::Service(name) if *name == spec.name)),
                why: service.why,
                checks: checks.collect(),
            }
        });
        let prefixes = status.prefixes.into_iter().map(|prefix| PrefixRow {
            prefix: prefix.prefix.to_string(),
            services: prefix.services,
            require: prefix.require.to_string(),
            announced: self.announcer.announces(&prefix.prefix),
            since_seconds: (now - prefix.since).as_secs_f64(),
            why: prefix.why,
            rpki: self.origins.state_of(&prefix.prefix),
        });
        ServicesReport {
            services: services.collect(),
            prefixes: prefixes.collect(),
            sessions_up: self.established,
        }
    }

    pub(super) fn neighbors_in_file(&self) -> HashMap<String, NeighborInFile> {
        let row = |neighbor: &anycast_fleet::Neighbor| {
            let more = self.announcer.prepends(&neighbor.name);
            let file = NeighborInFile {
                relation: neighbor.relation.map(|relation| {
                    let word = match relation {
                        Relation::Customer => "customer",
                        Relation::Peer => "peer",
                        Relation::Provider => "provider",
                    };
                    word.to_owned()
                }),
                import: neighbor.import.to_string(),
                export: neighbor.export.to_string(),
                prepend: neighbor.prepend.saturating_add(more),
                drain: self.drain_stage(|it| match it {
                    Target::Site => true,
                    Target::Neighbor(name) => *name == neighbor.name,
                    Target::Service(_) => false,
                }),
            };
            (neighbor.name.clone(), file)
        };
        self.site.neighbors.iter().map(row).collect()
    }
}

fn words(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::Unproven => "unproven",
        Verdict::Up => "up",
        Verdict::Down => "down",
    }
}

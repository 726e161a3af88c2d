//! What a changed fleet file changes at one site: in words for whoever reads it before it is
//! done, and typed for whoever does it.
//!
//! Nothing is listed that is the same in both. A setting that no table here knows counts as the
//! most careful kind: of a neighbor it resets the session, of a site it is refused until the
//! daemon is started again.
//!
//! | module | what it is |
//! |---|---|
//! | `keys` | the tables: which key takes effect how |
//! | `words` | values as the file would have them |
//! | `affinity` | how connections are kept |
//! | `heard` | what a neighbor is told of our prefixes |

mod affinity;
mod heard;
mod keys;
mod words;

use std::collections::BTreeSet;
use std::fmt;
use std::net::IpAddr;

use anycast_steer::{Damping, Leaving, Manner, Require};
use ipnet::IpNet;

use crate::{Fleet, Neighbor, Prefix, Service, Site};
use keys::{NEIGHBOR, SITE};

/// All that a new file changes at a site.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Difference {
    /// What a running daemon cannot do, in words that name the key; if there is any, nothing of
    /// the file is to take effect.
    pub refused: Vec<String>,
    /// What differs, by subject.
    pub changes: Vec<Change>,
}

/// One thing that differs.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Change {
    /// What it is about.
    pub subject: Subject,
    /// What becomes of it.
    pub effect: Effect,
    /// Which of its keys differ and what follows, a line for each.
    pub details: Vec<String>,
}

/// What a change is about.
#[derive(Clone, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub enum Subject {
    /// The fleet itself.
    Fleet,
    /// The site itself, beside all that follows.
    Site,
    /// A neighbor of the site.
    Neighbor(String),
    /// A prefix of the fleet.
    Prefix(IpNet),
    /// A service.
    Service(String),
    /// A check of a service.
    Check {
        /// The service.
        service: String,
        /// The check.
        check: String,
    },
    /// An address on the loopback interface.
    Address(IpAddr),
    /// Where VRPs come from.
    Rpki,
    /// A monitoring station.
    Station(String),
    /// The files of what comes in.
    Mrt,
    /// When what falls too often is kept down.
    Damping,
    /// How connections are kept at their sites.
    Affinity,
    /// Another site of the fleet: nothing to do here.
    OtherSite(String),
}

/// What becomes of a subject.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Effect {
    /// It is new.
    Added,
    /// It is no more.
    Removed,
    /// It goes on, otherwise.
    Changed,
    /// It ends and begins anew: the session of a neighbor, the process of a service.
    Reset,
}

impl Difference {
    /// Whether nothing at all differs.
    pub fn is_empty(&self) -> bool {
        self.refused.is_empty() && self.changes.is_empty()
    }

    /// What becomes of a neighbor, if anything.
    pub fn neighbor(&self, name: &str) -> Option<&Change> {
        self.changes.iter().find(|it| matches!(&it.subject, Subject::Neighbor(its) if its == name))
    }
}

impl Effect {
    /// As a word: `added`, `removed`, `changed` or `reset`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Added => "added",
            Self::Removed => "removed",
            Self::Changed => "changed",
            Self::Reset => "reset",
        }
    }
}

impl Subject {
    /// Its kind as a word.
    pub const fn kind(&self) -> &'static str {
        match self {
            Self::Fleet => "fleet",
            Self::Site => "site",
            Self::Neighbor(_) => "neighbor",
            Self::Prefix(_) => "prefix",
            Self::Service(_) => "service",
            Self::Check { .. } => "check",
            Self::Address(_) => "address",
            Self::Rpki => "rpki",
            Self::Station(_) => "bmp",
            Self::Mrt => "mrt",
            Self::Damping => "damping",
            Self::Affinity => "affinity",
            Self::OtherSite(_) => "other-site",
        }
    }
}

impl fmt::Display for Subject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Fleet => write!(f, "the fleet"),
            Self::Site => write!(f, "this site"),
            Self::Neighbor(name) => write!(f, "neighbor {name}"),
            Self::Prefix(prefix) => write!(f, "prefix {prefix}"),
            Self::Service(name) => write!(f, "service {name}"),
            Self::Check { service, check } => write!(f, "check {check} of service {service}"),
            Self::Address(address) => write!(f, "address {address}"),
            Self::Rpki => write!(f, "the RPKI"),
            Self::Station(name) => write!(f, "monitoring station {name}"),
            Self::Mrt => write!(f, "MRT files"),
            Self::Damping => write!(f, "damping"),
            Self::Affinity => write!(f, "affinity"),
            Self::OtherSite(name) => write!(f, "site {name}"),
        }
    }
}

/// A sentence.
impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        use {Effect as E, Subject as S};
        let becomes = match (&self.subject, self.effect) {
            (S::Neighbor(_), E::Added) => "is added: a session is made",
            (S::Neighbor(_), E::Removed) => "is removed: it hears the withdrawals, then a Cease",
            (S::Neighbor(_), E::Changed) => "changes; its session stays",
            (S::Neighbor(_), E::Reset) => "changes; its session is reset",
            (S::Prefix(_), E::Added) => "is added: announced once its services are healthy",
            (S::Prefix(_), E::Removed) => "is removed: withdrawn from all neighbors",
            (S::Service(_), E::Added) => "is added: it counts once its checks have passed",
            (S::Service(_), E::Reset) => {
                "changes; it is down until what serves it has started anew"
            }
            (S::Check { .. }, E::Changed | E::Reset) => {
                "changes; what was found so far stands until it says otherwise"
            }
            (S::Address(_), E::Added) => "is put on the loopback interface",
            (S::Address(_), E::Removed) => {
                "is taken off the loopback interface, after the withdrawal and stop-wait"
            }
            (S::Affinity, E::Added) => "is added: connections are kept from now on",
            (S::Affinity, E::Removed) => "is removed: a route change breaks connections again",
            (S::Affinity, _) => "changes; the packet programs stay where they are",
            (S::OtherSite(_), E::Added) => "is added to the fleet; nothing to do here",
            (S::OtherSite(_), E::Removed) => "is no more in the fleet; nothing to do here",
            (S::OtherSite(_), _) => "changes; nothing to do here",
            (_, E::Added) => "is added",
            (_, E::Removed) => "is removed",
            (_, E::Changed | E::Reset) => "changes",
        };
        write!(f, "{} {becomes}", self.subject)
    }
}

/// How a neighbor, by its name, is told of a prefix at this moment, beyond what the file says;
/// `None`: not at all.
pub type Now<'a> = &'a dyn Fn(&str, &IpNet) -> Option<Manner>;

/// What differs between two files for the site of that name. Of a site that is not in both, only
/// that is said. What a neighbor hears is said in view of what it is told `now`.
pub fn difference(old: &Fleet, new: &Fleet, site: &str, now: Now<'_>) -> Difference {
    let mut found = Difference::default();
    let (Some(before), Some(after)) = (old.site(site), new.site(site)) else {
        found.refused.push(format!("[site.{site}] is not in the file any more"));
        return found;
    };
    found.of_site(before, after);
    if !found.refused.is_empty() {
        return found;
    }
    found.of_fleet(old, new);
    found.of_neighbors((old, before), (new, after), now);
    if !after.router {
        found.of_prefixes((old, before), (new, after));
        found.of_services((old, before), (new, after));
    }
    found.of_surroundings((old, before), (new, after));
    found.of_other_sites(old, new, site);
    found
}

impl Difference {
    fn add(&mut self, subject: Subject, effect: Effect, details: Vec<String>) {
        self.changes.push(Change { subject, effect, details });
    }

    fn of_site(&mut self, before: &Site, after: &Site) {
        let mut details = Vec::new();
        for key in SITE.iter().filter(|key| !key.same(before, after)) {
            if key.resets {
                let words = key.words(before, after);
                self.refused.push(format!("[site.{}] {words}", after.name));
            } else {
                details.push(key.words(before, after));
            }
        }
        if !keys::rest_is_same(SITE, before, after) {
            self.refused.push(format!("[site.{}] has other settings too that differ", after.name));
        }
        if !details.is_empty() {
            self.add(Subject::Site, Effect::Changed, details);
        }
    }

    /// What is the fleet's and in no part that is looked at by itself.
    #[allow(clippy::needless_update, reason = "a field of tomorrow is not yet looked at")]
    fn of_fleet(&mut self, old: &Fleet, new: &Fleet) {
        let taken = Fleet {
            name: new.name.clone(),
            asn: new.asn,
            prefixes: new.prefixes.clone(),
            services: new.services.clone(),
            policies: new.policies.clone(),
            sites: new.sites.clone(),
            rpki: new.rpki.clone(),
            bmp: new.bmp.clone(),
            mrt: new.mrt.clone(),
            reject_invalid: new.reject_invalid,
            fleet_state: new.fleet_state.clone(),
            affinity: new.affinity.clone(),
            damping: new.damping,
            leaving: new.leaving.clone(),
            finishing: new.finishing,
            ..old.clone()
        };
        let (before, after) = (&old.leaving, &new.leaving);
        if before != after {
            let words = |it: &Leaving| format!("{} for at most {:?}", it.manner, it.wait);
            let details = vec![format!("drain: {} → {}", words(before), words(after))];
            self.add(Subject::Site, Effect::Changed, details);
        }
        if old.finishing != new.finishing {
            let (before, after) = (old.finishing, new.finishing);
            let details = vec![format!("drain: connections-wait {before:?} → {after:?}")];
            self.add(Subject::Site, Effect::Changed, details);
        }
        if old.fleet_state != new.fleet_state {
            self.refused.push("[fleet-state] differs".to_owned());
        }
        if taken != *new {
            self.refused.push("a setting of the whole fleet differs".to_owned());
        }
        if old.name != new.name {
            let details = vec![format!("its name {} → {}", old.name, new.name)];
            self.add(Subject::Fleet, Effect::Changed, details);
        }
    }

    fn of_neighbors(&mut self, old: (&Fleet, &Site), new: (&Fleet, &Site), now: Now<'_>) {
        for before in &old.1.neighbors {
            let Some(after) = new.1.neighbor(&before.name) else {
                let subject = Subject::Neighbor(before.name.clone());
                self.add(subject, Effect::Removed, Vec::new());
                continue;
            };
            self.of_neighbor((old.0, old.1, before), (new.0, new.1, after), now);
        }
        for after in &new.1.neighbors {
            if old.1.neighbor(&after.name).is_none() {
                let mut details = vec![format!("{}, AS {}", after.address, after.asn)];
                // What the steering will make of it is not known: how others are told hints at it.
                let hindrance = |prefix: &IpNet| {
                    if !old.0.prefixes.iter().any(|it| it.prefix == *prefix) {
                        return None;
                    }
                    let told = old.1.neighbors.iter().map(|it| now(&it.name, prefix));
                    let told: Vec<_> = told.collect();
                    if told.iter().all(|it| it.as_ref().is_some_and(Manner::is_plain)) {
                        None
                    } else if told.iter().all(Option::is_none) {
                        Some("withdrawn now")
                    } else {
                        Some("others are not all told plainly now")
                    }
                };
                details.extend(heard::by_new(new.0, new.1, after, hindrance));
                let subject = Subject::Neighbor(after.name.clone());
                self.add(subject, Effect::Added, details);
            }
        }
    }

    fn of_neighbor(
        &mut self,
        old: (&Fleet, &Site, &Neighbor),
        new: (&Fleet, &Site, &Neighbor),
        now: Now<'_>,
    ) {
        let (before, after) = (old.2, new.2);
        let differing = || NEIGHBOR.iter().filter(|key| !key.same(before, after));
        let mut details: Vec<String> = differing().map(|key| key.words(before, after)).collect();
        let mut resets = differing().any(|key| key.resets);
        if !keys::rest_is_same(NEIGHBOR, before, after) {
            details.push("other settings differ".to_owned());
            resets = true;
        }
        let heard = heard::otherwise(old, new, now);
        let export_differs =
            before.export_policy(old.0, old.1, 0) != after.export_policy(new.0, new.1, 0);
        if heard.is_empty() && export_differs {
            details.push("its export policy is another, and it hears the same".to_owned());
        }
        if before.import_policy(old.0) != after.import_policy(new.0) {
            details.push("what it sent is judged anew by another import policy".to_owned());
        }
        details.extend(heard);
        if !details.is_empty() {
            let effect = if resets { Effect::Reset } else { Effect::Changed };
            self.add(Subject::Neighbor(after.name.clone()), effect, details);
        }
    }

    fn of_prefixes(&mut self, old: (&Fleet, &Site), new: (&Fleet, &Site)) {
        if old.0.damping != new.0.damping {
            let words = |it: &Fleet| {
                let Damping { half_life, suppress, reuse, max } = it.damping;
                format!("half-life {half_life:?}, suppress {suppress}, reuse {reuse}, max {max:?}")
            };
            let details = vec![format!("{} → {}", words(old.0), words(new.0))];
            self.add(Subject::Damping, Effect::Changed, details);
        }
        let find = |fleet: &Fleet, of: &Prefix| -> Option<Prefix> {
            fleet.prefixes.iter().find(|it| it.prefix == of.prefix).cloned()
        };
        for before in &old.0.prefixes {
            let subject = Subject::Prefix(before.prefix);
            match find(new.0, before) {
                None => self.add(subject, Effect::Removed, Vec::new()),
                Some(after) if after != *before => {
                    let details = vec![
                        (before.services != after.services).then(|| {
                            let list = |it: &Prefix| words::Words::words(&it.services);
                            format!("services {} → {}", list(before), list(&after))
                        }),
                        (before.require != after.require)
                            .then(|| format!("require {} → {}", before.require, after.require)),
                        (before.services == after.services && before.weights != after.weights)
                            .then(|| {
                                let list = |it: &Prefix| words::Words::words(&it.weights);
                                format!("weights {} → {}", list(before), list(&after))
                            }),
                        (before.degraded != after.degraded)
                            .then(|| "what is done while services are down".to_owned()),
                        (before.floor != after.floor)
                            .then(|| "below what the fleet must not fall".to_owned()),
                        (before.shed != after.shed).then(|| "what is done under load".to_owned()),
                        (before.damping != after.damping).then(|| {
                            let words = words::Words::words;
                            format!(
                                "damping {} → {}",
                                words(&before.damping),
                                words(&after.damping)
                            )
                        }),
                    ];
                    let unproven: Vec<&str> = after
                        .services
                        .iter()
                        .filter(|name| old.0.service(name).is_none())
                        .map(String::as_str)
                        .collect();
                    let waits =
                        (after.require == Require::All && !unproven.is_empty()).then(|| {
                            format!("it is withdrawn until {} is healthy", unproven.join(", "))
                        });
                    let rest = Prefix {
                        services: after.services.clone(),
                        require: after.require,
                        weights: after.weights.clone(),
                        degraded: after.degraded.clone(),
                        shed: after.shed.clone(),
                        damping: after.damping,
                        ..before.clone()
                    };
                    let others = (rest != after).then(|| "its other rules differ".to_owned());
                    let details =
                        details.into_iter().flatten().chain(waits).chain(others).collect();
                    self.add(subject, Effect::Changed, details);
                }
                Some(_) => {}
            }
        }
        for after in &new.0.prefixes {
            if find(old.0, after).is_none() {
                let stands = words::Words::words(&after.services);
                let details = vec![format!("it stands for {stands}")];
                self.add(Subject::Prefix(after.prefix), Effect::Added, details);
            }
        }
    }

    fn of_services(&mut self, (old, old_site): (&Fleet, &Site), (new, new_site): (&Fleet, &Site)) {
        let own = |site: &Site| site.affinity.as_ref().map(|it| (it.v4, it.v6));
        let other_own = own(old_site) != own(new_site);
        for before in &old.services {
            let subject = Subject::Service(before.name.clone());
            let Some(after) = new.service(&before.name) else {
                self.add(subject, Effect::Removed, Vec::new());
                continue;
            };
            // It tells whoever asks the fleet's name.
            let restarts = before.builtin != after.builtin
                || (after.builtin.is_some() && old.name != new.name)
                || (after.builtin.is_some() && before.addresses != after.addresses)
                || (after.quic().is_some_and(|it| it.preferred_address) && other_own);
            if restarts {
                self.add(subject, Effect::Reset, Vec::new());
            } else if !same_beside_checks(before, after) {
                self.add(subject, Effect::Changed, Vec::new());
            }
            self.of_checks(before, after);
        }
        for after in new.services.iter().filter(|it| old.service(&it.name).is_none()) {
            self.add(Subject::Service(after.name.clone()), Effect::Added, Vec::new());
        }
        let addresses = |fleet: &Fleet| -> BTreeSet<IpAddr> {
            fleet.services.iter().flat_map(|it| &it.addresses).copied().collect()
        };
        let (before, after) = (addresses(old), addresses(new));
        for address in after.difference(&before) {
            self.add(Subject::Address(*address), Effect::Added, Vec::new());
        }
        for address in before.difference(&after) {
            self.add(Subject::Address(*address), Effect::Removed, Vec::new());
        }
    }

    fn of_checks(&mut self, before: &Service, after: &Service) {
        let subject =
            |name: &str| Subject::Check { service: after.name.clone(), check: name.to_owned() };
        for check in &before.checks {
            match after.checks.iter().find(|it| it.name == check.name) {
                None => self.add(subject(&check.name), Effect::Removed, Vec::new()),
                Some(other) if other != check => {
                    self.add(subject(&check.name), Effect::Changed, Vec::new());
                }
                Some(_) => {}
            }
        }
        for check in &after.checks {
            if !before.checks.iter().any(|it| it.name == check.name) {
                self.add(subject(&check.name), Effect::Added, Vec::new());
            }
        }
    }

    /// What the site asks and whom it tells, beside its neighbors.
    fn of_surroundings(&mut self, old: (&Fleet, &Site), new: (&Fleet, &Site)) {
        match (old.1.rpki(old.0), new.1.rpki(new.0)) {
            (before, after) if before == after => {}
            (None, _) => self.add(Subject::Rpki, Effect::Added, Vec::new()),
            (_, None) => self.add(Subject::Rpki, Effect::Removed, Vec::new()),
            _ => self.add(Subject::Rpki, Effect::Changed, Vec::new()),
        }
        for before in &old.0.bmp {
            let subject = Subject::Station(before.name.clone());
            match new.0.bmp.iter().find(|it| it.name == before.name) {
                None => self.add(subject, Effect::Removed, Vec::new()),
                Some(after) if after != before => self.add(subject, Effect::Changed, Vec::new()),
                Some(_) => {}
            }
        }
        for after in &new.0.bmp {
            if !old.0.bmp.iter().any(|it| it.name == after.name) {
                self.add(Subject::Station(after.name.clone()), Effect::Added, Vec::new());
            }
        }
        self.of_affinity(old, new);
        match (&old.0.mrt, &new.0.mrt) {
            (before, after) if before == after => {}
            (None, _) => self.add(Subject::Mrt, Effect::Added, Vec::new()),
            (_, None) => self.add(Subject::Mrt, Effect::Removed, Vec::new()),
            _ => self.add(Subject::Mrt, Effect::Changed, Vec::new()),
        }
    }

    fn of_other_sites(&mut self, old: &Fleet, new: &Fleet, site: &str) {
        let others = |fleet: &Fleet| -> Vec<Site> {
            fleet.sites.iter().filter(|it| it.name != site).cloned().collect()
        };
        for before in others(old) {
            let subject = Subject::OtherSite(before.name.clone());
            match new.site(&before.name) {
                None => self.add(subject, Effect::Removed, Vec::new()),
                Some(after) if *after != before => {
                    self.add(subject, Effect::Changed, Vec::new());
                }
                Some(_) => {}
            }
        }
        for after in others(new).iter().filter(|it| old.site(&it.name).is_none()) {
            self.add(Subject::OtherSite(after.name.clone()), Effect::Added, Vec::new());
        }
    }
}

/// Whether a service is the same but for its checks, addresses and what it keeps, which are
/// looked at by themselves.
fn same_beside_checks(before: &Service, after: &Service) -> bool {
    let taken = Service {
        checks: after.checks.clone(),
        addresses: after.addresses.clone(),
        affinity: after.affinity,
        ..before.clone()
    };
    taken == *after
}

//! The RPKI at a site: where VRPs come from, and what they say of the site's own prefixes.
//!
//! What others will drop is announced all the same: it may be that the VRPs are wrong, and it is
//! for the operator to say. But it is said loudly, and before: a site that starts announces nothing
//! until the first VRPs are there, or have been waited for long enough.

use std::sync::Arc;
use std::time::Duration;

use anycast_bgp::rov::{Validity, VrpTable};
use anycast_bgp::{Asn, IpNet};
use anycast_fleet::{Fleet, Site};
use anycast_speaker::{Handle, Here, Rpki, RpkiConfig, RpkiEvent};
pub use anycast_speaker::{OriginCounts, RpkiSource};
use serde::{Deserialize, Serialize};
use tokio::sync::{mpsc, oneshot};
use tokio::time::Instant;

use crate::events::{EventLog, Happening};

/// The whole of `show rpki`.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct RpkiReport {
    /// Whether the fleet file has sources for this site.
    pub configured: bool,
    /// The sources, the preferred first.
    pub sources: Vec<RpkiSource>,
    /// VRPs of IPv4 that count now; `None`: there are none yet, or they have expired.
    pub vrps_v4: Option<usize>,
    /// VRPs of IPv6 that count now.
    pub vrps_v6: Option<usize>,
    /// The site's own prefixes, with each origin that others see.
    pub prefixes: Vec<OwnPrefix>,
    /// Received routes by state.
    pub neighbors: Vec<OriginCounts>,
}

/// What others will make of a prefix of ours.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct OwnPrefix {
    /// The prefix.
    pub prefix: IpNet,
    /// The origin that others see.
    pub origin: Asn,
    /// Whether it is announced now.
    pub announced: bool,
    /// `valid`, `not-found` or `invalid`; `None`: there are no VRPs.
    pub state: Option<String>,
    /// Why it is invalid.
    pub why: Option<String>,
    /// The VRPs that cover it, the longest first.
    pub covering: Vec<String>,
}

/// What the daemon knows at once; the rest has to be asked for.
pub(crate) struct Look {
    pub(crate) configured: bool,
    pub(crate) sources: Option<oneshot::Receiver<Vec<RpkiSource>>>,
    pub(crate) lens: Option<(usize, usize)>,
    pub(crate) prefixes: Vec<OwnPrefix>,
}

/// Watches over the site's own prefixes.
pub(crate) struct OwnOrigins {
    sources: Option<Rpki>,
    vrps: Option<Arc<VrpTable>>,
    own: Vec<Own>,
}

/// How long a site that starts waits for the first VRPs; zero: not at all, or there are none to
/// come.
pub(crate) fn patience(fleet: &Fleet, site: &Site) -> Duration {
    site.rpki(fleet).filter(|rpki| has_sources(rpki)).map_or(Duration::ZERO, |rpki| rpki.wait)
}

struct Own {
    prefix: IpNet,
    origin: Asn,
    /// It was last called invalid.
    is_invalid: bool,
}

impl OwnOrigins {
    /// Starts to fetch VRPs, if the file says from where; what comes of it is to be
    /// [handled](Self::handle).
    pub(crate) fn start(
        fleet: &Fleet,
        site: &Site,
        speaker: Handle,
    ) -> (Self, mpsc::UnboundedReceiver<RpkiEvent>) {
        let (sources, events) = start_sources(fleet, site, speaker);
        (Self { sources, vrps: None, own: own_origins(fleet, site) }, events)
    }

    /// Fetches VRPs from elsewhere from now on; those that there are count until others are there,
    /// or until there is nowhere to get any.
    pub(crate) fn restart(
        &mut self,
        fleet: &Fleet,
        site: &Site,
        speaker: &Handle,
    ) -> mpsc::UnboundedReceiver<RpkiEvent> {
        // The old ones first: they must not speak after the new ones.
        self.sources = None;
        let (sources, events) = start_sources(fleet, site, speaker.clone());
        if sources.is_none() {
            self.vrps = None;
            speaker.set_vrps(None);
        }
        self.sources = sources;
        events
    }

    /// The fleet is another: of the prefixes and origins in both, what was said stands.
    pub(crate) fn adopt(&mut self, fleet: &Fleet, site: &Site) {
        let old = std::mem::replace(&mut self.own, own_origins(fleet, site));
        for own in &mut self.own {
            let same = |it: &&Own| (it.prefix, it.origin) == (own.prefix, own.origin);
            own.is_invalid = old.iter().find(same).is_some_and(|it| it.is_invalid);
        }
    }

    /// Takes in what comes until the first VRPs are there, or `patience` has passed since `began`.
    /// It may be dropped and begun again.
    pub(crate) async fn await_first(
        &mut self,
        (began, patience): (Instant, Duration),
        events: &mut mpsc::UnboundedReceiver<RpkiEvent>,
        log: &mut EventLog,
    ) {
        while self.vrps.is_none() {
            tokio::select! {
                Some(event) = events.recv() => self.handle(event, log),
                () = tokio::time::sleep_until(began + patience) => {
                    let words = format!(
                        "no data within {patience:?}: routes are taken as not-found, and our own \
                         prefixes are announced without a look at what others make of them"
                    );
                    log.warn("rpki-late", "all sources", &words);
                    return;
                }
            }
        }
    }

    pub(crate) fn handle(&mut self, event: RpkiEvent, log: &mut EventLog) {
        match event {
            RpkiEvent::SourceUp { name, detail } => {
                log.add("rpki-source-up", &name, &detail);
            }
            RpkiEvent::SourceDown { name, why } => {
                log.warn("rpki-source-down", &name, &why);
            }
            RpkiEvent::Vrps { vrps, detail } => {
                let what = if vrps.is_some() { "rpki-vrps" } else { "rpki-expired" };
                let cause = log.add(what, "all sources", &detail);
                self.vrps = vrps;
                self.look_at_own(cause, log);
            }
        }
    }

    /// Says which of our prefixes are invalid now and were not, or the other way round.
    fn look_at_own(&mut self, cause: u64, log: &mut EventLog) {
        for index in 0..self.own.len() {
            let why = self.why_invalid(&self.own[index]);
            let own = &mut self.own[index];
            let was = std::mem::replace(&mut own.is_invalid, why.is_some());
            match why {
                Some(why) if !was => warn(own, &why, Some(cause), log),
                None if was => {
                    let detail = format!("from AS{}: no more invalid", own.origin);
                    log.add_after(Some(cause), "rpki-cleared", &own.prefix.to_string(), &detail);
                }
                _ => {}
            }
        }
    }

    /// To be called before a prefix is announced.
    pub(crate) fn before_announcing(&self, prefix: IpNet, log: &mut EventLog) {
        for own in self.own.iter().filter(|own| own.prefix == prefix) {
            if let Some(why) = self.why_invalid(own) {
                warn(own, &why, None, log);
            }
        }
    }

    fn why_invalid(&self, own: &Own) -> Option<String> {
        self.vrps.as_ref()?.explain(&own.prefix, Some(own.origin)).why_invalid(&own.prefix)
    }

    /// The worst state of a prefix's origins; `None`: there are no VRPs.
    pub(crate) fn state_of(&self, prefix: &IpNet) -> Option<String> {
        let vrps = self.vrps.as_ref()?;
        let origins = self.own.iter().filter(|own| own.prefix == *prefix);
        let states = origins.map(|own| vrps.validate(prefix, Some(own.origin)));
        states.max().map(|state: Validity| state.to_string())
    }

    pub(crate) fn look(&self, announced: &[IpNet]) -> Look {
        let row = |own: &Own| {
            let finding =
                self.vrps.as_ref().map(|vrps| vrps.explain(&own.prefix, Some(own.origin)));
            let covering = finding.iter().flat_map(|finding| &finding.covering);
            OwnPrefix {
                prefix: own.prefix,
                origin: own.origin,
                announced: announced.contains(&own.prefix),
                state: finding.as_ref().map(|finding| finding.validity.to_string()),
                why: finding.as_ref().and_then(|finding| finding.why_invalid(&own.prefix)),
                covering: covering.map(ToString::to_string).collect(),
            }
        };
        Look {
            configured: self.sources.is_some(),
            sources: self.sources.as_ref().map(Rpki::sources),
            lens: self.vrps.as_ref().map(|vrps| vrps.lens()),
            prefixes: self.own.iter().map(row).collect(),
        }
    }
}

fn start_sources(
    fleet: &Fleet,
    site: &Site,
    speaker: Handle,
) -> (Option<Rpki>, mpsc::UnboundedReceiver<RpkiEvent>) {
    let (sender, events) = mpsc::unbounded_channel();
    let sources = site.rpki(fleet).filter(|rpki| has_sources(rpki)).map(|rpki| {
        let (caches, file) = (rpki.caches.clone(), rpki.vrp_file.clone());
        Rpki::start(RpkiConfig { caches, file, place: Arc::new(Here) }, speaker, sender)
    });
    (sources, events)
}

fn has_sources(rpki: &anycast_fleet::Rpki) -> bool {
    !rpki.caches.is_empty() || rpki.vrp_file.is_some()
}

fn own_origins(fleet: &Fleet, site: &Site) -> Vec<Own> {
    let prefixes = fleet.prefixes.iter().map(|own| own.prefix);
    let own = prefixes.flat_map(|prefix| {
        let own = move |origin| Own { prefix, origin, is_invalid: false };
        site.seen_origins(&prefix).into_iter().map(own)
    });
    own.collect()
}

fn warn(own: &Own, why: &str, cause: Option<u64>, log: &mut EventLog) {
    let detail = format!("from AS{}: {why}; other networks will drop it", own.origin);
    let (kind, subject) = ("rpki-invalid", &*own.prefix.to_string());
    let detail = &*detail;
    log.record(Happening { kind, subject, detail, cause, loud: true, ..Happening::default() });
}

#[cfg(test)]
mod tests;

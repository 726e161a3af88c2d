//! How the keeping of connections stands: the JSON of `anycast show affinity`.

use std::collections::BTreeMap;
use std::net::IpAddr;

use anycast_affinity::{Counters, SiteId};
use anycast_fleet::{Fleet, Site};
use serde::{Deserialize, Serialize};

/// All of it: `GET /v1/affinity`.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
pub struct AffinityReport {
    /// `off` (the fleet file asks for none), `loading`, `loaded`, `unloaded` (by an operator) or
    /// `unavailable`.
    pub state: String,
    /// Why it is unavailable, with what to do.
    pub why: Option<String>,
    /// The site's number.
    pub id: Option<u8>,
    /// Where packets are taken, while loaded.
    pub interfaces: Vec<InterfaceRow>,
    /// The epochs of the keys; the first is used for what is sent.
    pub epochs: Vec<u8>,
    /// What of the machine's settings stands in the way, with what to do.
    pub warnings: Vec<String>,
    /// Packets by what became of them, since the programs were loaded.
    pub packets: BTreeMap<String, u64>,
    /// Frames that claimed to be passed on by another site and were not unwrapped, by reason.
    pub rejected: BTreeMap<String, u64>,
    /// The other sites, in the order of the file.
    pub peers: Vec<PeerRow>,
}

/// An interface.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct InterfaceRow {
    /// Its name.
    pub name: String,
    /// The way in force there: `xdp`, `xdp-generic` or `tc`.
    pub mode: String,
}

/// Another site.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct PeerRow {
    /// Its name.
    pub site: String,
    /// Its number.
    pub id: u8,
    /// Where it is reached.
    pub address: Option<IpAddr>,
    /// Packets of its connections that strayed here and were passed on to it.
    pub forwarded_by_hint: u64,
    /// Packets that it was asked about because nothing told whose they are.
    pub forwarded_by_ring: u64,
    /// Packets of our connections that it passed on to us.
    pub unwrapped: u64,
    /// Packets that were not passed on to it, because they were too many.
    pub limited: u64,
}

impl AffinityReport {
    /// Fills in what was counted.
    pub(super) fn count(&mut self, counters: &Counters, fleet: &Fleet, site: &Site) {
        for (reason, packets) in &counters.of {
            match reason.name().strip_prefix("rejected-") {
                Some(reason) => self.rejected.insert(reason.to_owned(), *packets),
                None => self.packets.insert(reason.name().to_owned(), *packets),
            };
        }
        let by_v4 = site.affinity.as_ref().is_some_and(|it| it.v4.is_some());
        for other in fleet.sites.iter().filter(|it| it.name != site.name) {
            let Some(its) = &other.affinity else { continue };
            let id = SiteId::new(its.id);
            let of = id.and_then(|id| counters.sites.get(&id)).copied().unwrap_or_default();
            let v4 = its.v4.filter(|_| by_v4).map(IpAddr::V4);
            self.peers.push(PeerRow {
                site: other.name.clone(),
                id: its.id,
                address: v4.or(its.v6.map(IpAddr::V6)),
                forwarded_by_hint: of.hint,
                forwarded_by_ring: of.ring,
                unwrapped: of.received,
                limited: of.limited,
            });
        }
    }
}

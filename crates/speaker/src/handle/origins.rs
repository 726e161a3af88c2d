//! VRPs to judge routes by, and how many routes are in which state.

use std::collections::BTreeMap;
use std::sync::Arc;

use anycast_bgp::rib::PeerId;
use anycast_bgp::rov::VrpTable;
use serde::{Deserialize, Serialize};

use super::Handle;

/// Entries of the table that are looked at in one go: about a millisecond.
const ENTRIES: u32 = 4096;

/// What the RPKI says of the routes that a neighbor sent.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
pub struct OriginCounts {
    /// The neighbor's name.
    pub neighbor: String,
    /// Routes whose origin a VRP allows.
    pub valid: usize,
    /// Routes that no VRP covers.
    pub not_found: usize,
    /// Routes that VRPs cover, and none allows.
    pub invalid: usize,
}

impl Handle {
    /// The first VRPs are on their way: who asks for the state of routes waits for them, until they
    /// are [there](Self::set_vrps) or [given up](Self::give_up_vrps). To be called before the
    /// speaker runs.
    pub fn await_vrps(&self) {
        self.tell(|driver| driver.rib.await_vrps());
    }

    /// Routes wait for VRPs no longer.
    pub fn give_up_vrps(&self) {
        self.tell(|driver| driver.rib.give_up_vrps());
    }

    /// Replaces the VRPs by which routes are judged.
    pub fn set_vrps(&self, vrps: Option<Arc<VrpTable>>) {
        self.tell(move |driver| driver.rib.set_vrps(vrps));
    }

    /// How many received routes of each neighbor are in which state, in the order of the
    /// configuration. It takes many short looks at a full table.
    pub async fn origin_counts(&self) -> Vec<OriginCounts> {
        let mut sums: BTreeMap<PeerId, [usize; 3]> = BTreeMap::new();
        let mut next = Some(0);
        while let Some(from) = next {
            let page = self.ask(move |driver| driver.rib.count_origins(from, ENTRIES)).await;
            let Some((counts, more)) = page else { return Vec::new() };
            for (peer, counts) in counts {
                let sum = sums.entry(peer).or_default();
                for (sum, count) in sum.iter_mut().zip(counts) {
                    *sum += count;
                }
            }
            next = more;
        }
        self.ask(move |driver| {
            let row = |(peer, [valid, not_found, invalid]): (PeerId, [usize; 3])| {
                let neighbor = driver.peers.get(peer.0 as usize)?.neighbor.name.clone();
                Some(OriginCounts { neighbor, valid, not_found, invalid })
            };
            sums.into_iter().filter_map(row).collect()
        })
        .await
        .unwrap_or_default()
    }
}

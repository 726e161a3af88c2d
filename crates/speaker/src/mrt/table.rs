//! The whole table of a running speaker as TABLE_DUMP_V2, in steps.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr};

use anycast_bgp::mrt::{Entry, Peer, emit_peer_index_table, emit_rib};
use anycast_bgp::rib::{Cursor, PeerId, PrefixRoutes};

use crate::bmp::now;
use crate::driver::Driver;
use crate::handle::Handle;
use crate::peer::peer_id;

/// A table on its way out. Between two steps the speaker goes on with its work, so what changes
/// meanwhile may be there or not.
pub struct TableDump {
    speaker: Handle,
    received: bool,
    /// When it began, in seconds since 1970. When a route came is not known: this stands for it.
    seconds: u32,
    /// Where the next step begins; at first only the peers are written.
    next: Option<Step>,
    /// Where PEER_INDEX_TABLE has each neighbor.
    places: HashMap<PeerId, u16>,
    sequence: u32,
    whole: bool,
}

enum Step {
    Peers,
    Routes(Cursor),
}

impl TableDump {
    pub(crate) fn new(speaker: Handle, received: bool) -> Self {
        Self {
            speaker,
            received,
            seconds: now().seconds,
            next: Some(Step::Peers),
            places: HashMap::new(),
            sequence: 0,
            whole: false,
        }
    }

    /// The next records, whole; `None` behind the last, or when the speaker has ended.
    pub async fn next(&mut self) -> Option<Vec<u8>> {
        let mut out = Vec::new();
        match self.next.take()? {
            Step::Peers => {
                let (collector, peers, places) = self.speaker.ask(index).await?;
                self.places = places;
                emit_peer_index_table(self.seconds, collector, "", &peers, &mut out);
                self.next = Some(Step::Routes(Cursor::default()));
            }
            Step::Routes(from) => {
                let received = self.received;
                let (routes, next) =
                    self.speaker.ask(move |driver| driver.rib.walk_routes(received, from)).await?;
                self.whole = next.is_none();
                self.next = next.map(Step::Routes);
                self.emit(&routes, &mut out);
            }
        }
        Some(out)
    }

    /// Whether all of it was given out; if not, the speaker has ended before.
    #[must_use]
    pub const fn is_whole(&self) -> bool {
        self.whole
    }

    fn emit(&mut self, routes: &[PrefixRoutes], out: &mut Vec<u8>) {
        for (prefix, routes) in routes {
            let entries: Vec<Entry<'_>> = routes
                .iter()
                .filter_map(|(peer, path_id, attributes)| {
                    // What PEER_INDEX_TABLE does not name cannot be written.
                    let peer = match peer {
                        Some(peer) => *self.places.get(peer)?,
                        None => 0,
                    };
                    Some(Entry { peer, originated: self.seconds, path_id: path_id.0, attributes })
                })
                .collect();
            // RFC 8050 §4: only who has paths to tell apart needs the other form.
            let path_ids = entries.iter().any(|entry| entry.path_id != 0);
            emit_rib(self.seconds, self.sequence, prefix, &entries, path_ids, out);
            self.sequence = self.sequence.wrapping_add(1);
        }
    }
}

/// Ourselves first, with the address zero, then the neighbors in their order; and where each of
/// these stands.
fn index(driver: &mut Driver) -> (Ipv4Addr, Vec<Peer>, HashMap<PeerId, u16>) {
    let config = driver.config();
    let ours = Peer {
        router_id: config.router_id,
        address: IpAddr::V4(Ipv4Addr::UNSPECIFIED),
        asn: config.local_asn,
    };
    let router_id = config.router_id;
    let peers = driver.peers.iter().map(|peer| Peer {
        router_id: peer
            .session
            .negotiated()
            .map_or(Ipv4Addr::UNSPECIFIED, |link| link.peer_router_id),
        address: peer.neighbor.address,
        asn: peer.neighbor.asn,
    });
    let ids = driver.peers.numbers().into_iter().map(peer_id);
    let places = ids.zip(1..).collect();
    (router_id, std::iter::once(ours).chain(peers).collect(), places)
}

//! What each neighbor was told of certain prefixes.

use std::sync::Arc;

use anycast_bgp::rib::View;
use anycast_bgp::{Attributes, IpNet};

use super::Handle;
use crate::peer::peer_id;

/// Looks into the table in one go, so that no session waits: about a millisecond.
const LOOKS: usize = 1024;

/// What the neighbors were told of one prefix.
#[derive(Clone, Debug)]
pub struct Told {
    /// The prefix.
    pub prefix: IpNet,
    /// Each neighbor's name, in the order of the configuration, with the attributes that it was
    /// told; `None`: it was not told of the prefix, or its session is not Established.
    pub neighbors: Vec<(String, Option<Arc<Attributes>>)>,
}

impl Handle {
    /// What each neighbor was told of these prefixes.
    pub async fn told(&self, prefixes: Vec<IpNet>) -> Vec<Told> {
        let neighbors = self.established().await.1.max(1);
        let mut told = Vec::with_capacity(prefixes.len());
        for some in prefixes.chunks((LOOKS / neighbors).max(1)) {
            let some = some.to_vec();
            let found = self.ask(move |driver| {
                let of_prefix = |prefix: IpNet| {
                    let neighbors = driver.peers.numbered().map(|(number, peer)| {
                        let routes = driver.rib.look(View::Advertised(peer_id(number)), &prefix);
                        let told = routes.first().map(|route| Arc::clone(route.attributes));
                        (peer.neighbor.name.clone(), told)
                    });
                    let neighbors = neighbors.collect();
                    Told { prefix, neighbors }
                };
                some.into_iter().map(of_prefix).collect::<Vec<_>>()
            });
            told.extend(found.await.unwrap_or_default());
        }
        told
    }
}

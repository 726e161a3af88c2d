//! By which interface packets of this host leave for other sites: what the kernel's routes say.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::Duration;

use anycast_affinity::{Config, SiteId};
use futures_util::TryStreamExt;
use netlink_packet_route::route::RouteAttribute;
use rtnetlink::{Handle, RouteMessageBuilder};
use tokio::time::timeout;

/// An answer that is lost never comes.
const PATIENCE: Duration = Duration::from_secs(2);

/// Indexes of interfaces, for each site that there is a route to. `None`: the kernel did not say.
pub(super) async fn look_up(config: Config) -> Option<BTreeMap<SiteId, u32>> {
    let (connection, handle, _) = rtnetlink::new_connection().ok()?;
    let connection = tokio::spawn(connection);
    let found = timeout(PATIENCE, all(&handle, &config)).await.ok();
    connection.abort();
    found
}

async fn all(handle: &Handle, config: &Config) -> BTreeMap<SiteId, u32> {
    let mut found = BTreeMap::new();
    for peer in &config.peers {
        let Some((from, to)) = config.outer(peer) else { continue };
        // An address of ours that is not here yet is no source of a route.
        let by_source = route(handle, to, Some(from)).await;
        let exit = if by_source.is_some() { by_source } else { route(handle, to, None).await };
        found.extend(exit.map(|exit| (peer.id, exit)));
    }
    found
}

async fn route(handle: &Handle, to: IpAddr, from: Option<IpAddr>) -> Option<u32> {
    let length = |address: IpAddr| if address.is_ipv4() { 32 } else { 128 };
    let mut query = RouteMessageBuilder::<IpAddr>::new().destination_prefix(to, length(to)).ok()?;
    if let Some(from) = from {
        query = query.source_prefix(from, length(from)).ok()?;
    }
    let mut answers = std::pin::pin!(handle.route().get(query.build()).execute());
    let route = answers.try_next().await.ok()??;
    route.attributes.iter().find_map(|attribute| match attribute {
        RouteAttribute::Oif(index) => Some(*index),
        _ => None,
    })
}

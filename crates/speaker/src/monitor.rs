//! Watches interfaces go down and come up, so that a session over one ends at once rather than at
//! its hold time, starts again without waiting, and no route is missing afterwards. If the kernel
//! told more than we could take, all interfaces are looked at.

use std::pin::Pin;

use futures_util::{StreamExt, TryStreamExt};
use netlink_packet_route::RouteNetlinkMessage;
use netlink_packet_route::link::{LinkFlags, LinkMessage};
use rtnetlink::packet_core::NetlinkPayload;
use rtnetlink::{MulticastGroup, new_multicast_connection};
use tokio::task::JoinSet;
use tracing::warn;

use crate::config::Place;

/// How an interface is; told whenever anything about it changes.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Link {
    pub(crate) interface: u32,
    /// Packets can pass.
    pub(crate) passes: bool,
    /// Not set down, nor removed. The kernel forgets the routes over one that is set down, but
    /// keeps those over one that has lost its carrier.
    pub(crate) keeps_routes: bool,
}

/// What is seen.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Sight {
    /// An interface is so.
    Link(Link),
    /// Messages were lost: every interface is told anew behind this, and routes may have gone
    /// with interfaces that came and went.
    Overrun,
}

/// Calls `report` for each interface of `place` that changes, until it is dropped.
pub(crate) fn watch(
    place: &dyn Place,
    tasks: &mut JoinSet<()>,
    report: impl Fn(Sight) -> Pin<Box<dyn Future<Output = ()> + Send>> + Send + 'static,
) {
    let runtime = tokio::runtime::Handle::current();
    let opened = place.run(|| {
        let _context = runtime.enter();
        new_multicast_connection(&[MulticastGroup::Link])
    });
    let (connection, handle, mut messages) = match opened {
        Ok(opened) => opened,
        Err(error) => {
            warn!("cannot watch interfaces, so a lost link is seen at the hold time: {error}");
            return;
        }
    };
    tasks.spawn(connection);
    tasks.spawn(async move {
        // The connection lives as long as its handle.
        while let Some((message, _)) = messages.next().await {
            let link = match message.payload {
                NetlinkPayload::InnerMessage(RouteNetlinkMessage::NewLink(link)) => seen(&link),
                NetlinkPayload::InnerMessage(RouteNetlinkMessage::DelLink(link)) => {
                    Link { interface: link.header.index, passes: false, keeps_routes: false }
                }
                NetlinkPayload::Overrun(_) => {
                    report(Sight::Overrun).await;
                    let mut links = std::pin::pin!(handle.link().get().execute());
                    while let Ok(Some(link)) = links.try_next().await {
                        report(Sight::Link(seen(&link))).await;
                    }
                    continue;
                }
                _ => continue,
            };
            report(Sight::Link(link)).await;
        }
    });
}

fn seen(link: &LinkMessage) -> Link {
    Link {
        interface: link.header.index,
        passes: link.header.flags.contains(LinkFlags::LowerUp),
        keeps_routes: link.header.flags.contains(LinkFlags::Up),
    }
}

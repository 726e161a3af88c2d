//! Watches for interfaces that go down, so that a session over one ends at once rather than at
//! its hold time.

use std::pin::Pin;

use futures_util::StreamExt;
use netlink_packet_route::RouteNetlinkMessage;
use netlink_packet_route::link::LinkFlags;
use rtnetlink::packet_core::NetlinkPayload;
use rtnetlink::{MulticastGroup, new_multicast_connection};
use tracing::warn;

use crate::config::Place;

/// An interface lost its carrier, was set down or was removed.
pub(crate) struct LinkDown {
    pub(crate) interface: u32,
}

/// Calls `report` for each interface of `place` that goes down, as long as the runtime lives.
pub(crate) fn watch(
    place: &dyn Place,
    report: impl Fn(LinkDown) -> Pin<Box<dyn Future<Output = ()> + Send>> + Send + 'static,
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
    tokio::spawn(connection);
    tokio::spawn(async move {
        // The connection lives as long as its handle.
        let _open = handle;
        while let Some((message, _)) = messages.next().await {
            let NetlinkPayload::InnerMessage(message) = message.payload else { continue };
            let down = match message {
                RouteNetlinkMessage::NewLink(link) => {
                    (!link.header.flags.contains(LinkFlags::LowerUp)).then_some(link.header.index)
                }
                RouteNetlinkMessage::DelLink(link) => Some(link.header.index),
                _ => None,
            };
            if let Some(interface) = down {
                report(LinkDown { interface }).await;
            }
        }
    });
}

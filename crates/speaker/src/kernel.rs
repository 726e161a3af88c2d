//! Best routes in the kernel's main table, by rtnetlink.
//!
//! One task applies changes in the order in which they were told, many in flight at once. Of
//! several changes to one prefix that wait together only the last is applied.

use std::collections::{HashMap, HashSet};
use std::io;
use std::net::IpAddr;

use anycast_bgp::IpNet;
use futures_util::{StreamExt, TryStreamExt, stream};
use netlink_packet_route::route::{
    RouteAddress, RouteAttribute, RouteMessage, RouteProtocol, RouteScope,
};
use rtnetlink::{RouteMessageBuilder, new_connection};
use tokio::sync::{mpsc, oneshot};
use tracing::warn;

use crate::config::Place;

/// What marks a route as ours: a number of no other daemon's in rt_protos, after BGP's port.
pub(crate) const PROTOCOL: RouteProtocol = RouteProtocol::Other(179);
/// Preferred to a default route that the system's network manager put there (100 and above).
const METRIC: u32 = 20;
/// Requests to the kernel in flight at once.
const PIPELINE: usize = 128;

/// What the kernel should do with packets for a prefix.
#[derive(Clone, Copy, Debug)]
pub(crate) struct KernelRoute {
    pub(crate) prefix: IpNet,
    /// `None`: no route of ours.
    pub(crate) gateway: Option<IpAddr>,
}

enum Order {
    Set(KernelRoute),
    Settled(oneshot::Sender<()>),
    Close(oneshot::Sender<()>),
}

/// The kernel's main table of one namespace.
pub(crate) struct Kernel {
    orders: mpsc::UnboundedSender<Order>,
    handle: rtnetlink::Handle,
}

impl Kernel {
    /// Opens the table in `place` and removes what an earlier run left in it.
    ///
    /// # Errors
    /// The netlink socket could not be opened.
    pub(crate) async fn open(place: &dyn Place) -> io::Result<Self> {
        let runtime = tokio::runtime::Handle::current();
        let (connection, handle, _) = place.run(|| {
            let _context = runtime.enter();
            new_connection()
        })?;
        tokio::spawn(connection);
        remove_leftovers(&handle).await;
        let (orders, inbox) = mpsc::unbounded_channel();
        tokio::spawn(apply(handle.clone(), inbox));
        Ok(Self { orders, handle })
    }

    /// Asks for a route to be as given.
    pub(crate) fn set(&self, route: KernelRoute) {
        let _ = self.orders.send(Order::Set(route));
    }

    /// A future that is ready once all routes asked for so far are in the table.
    pub(crate) fn settled(&self) -> impl Future<Output = ()> + Send + use<> {
        let (sender, done) = oneshot::channel();
        let _ = self.orders.send(Order::Settled(sender));
        async move {
            let _ = done.await;
        }
    }

    /// The interface through which the kernel reaches `address`.
    pub(crate) fn interface_towards(
        &self,
        address: IpAddr,
    ) -> impl Future<Output = Option<u32>> + Send + use<> {
        let handle = self.handle.clone();
        async move {
            let route = lookup(&handle, address).await?;
            route.attributes.iter().find_map(|attribute| match attribute {
                RouteAttribute::Oif(index) => Some(*index),
                _ => None,
            })
        }
    }

    /// Removes every route of ours and ends.
    pub(crate) async fn close(self) {
        let (sender, done) = oneshot::channel();
        if self.orders.send(Order::Close(sender)).is_ok() {
            let _ = done.await;
        }
    }
}

async fn apply(handle: rtnetlink::Handle, mut inbox: mpsc::UnboundedReceiver<Order>) {
    let mut installed = HashSet::new();
    while let Some(first) = inbox.recv().await {
        let mut batch: HashMap<IpNet, Option<IpAddr>> = HashMap::new();
        let mut settled = Vec::new();
        let mut close = None;
        let mut next = Some(first);
        while let Some(order) = next {
            match order {
                Order::Set(route) => {
                    batch.insert(route.prefix, route.gateway);
                }
                Order::Settled(sender) => settled.push(sender),
                Order::Close(sender) => {
                    batch.extend(installed.iter().map(|prefix| (*prefix, None)));
                    close = Some(sender);
                    break;
                }
            }
            next = inbox.try_recv().ok();
        }
        let handle = &handle;
        let done: Vec<(IpNet, bool)> = stream::iter(batch)
            .map(|(prefix, gateway)| {
                let known = installed.contains(&prefix);
                async move { (prefix, set_route(handle, prefix, gateway, known).await) }
            })
            .buffered(PIPELINE)
            .collect()
            .await;
        for (prefix, present) in done {
            if present {
                installed.insert(prefix);
            } else {
                installed.remove(&prefix);
            }
        }
        for sender in settled {
            let _ = sender.send(());
        }
        if let Some(sender) = close {
            let _ = sender.send(());
            return;
        }
    }
}

/// Makes one route be as asked; returns whether a route of ours is there afterwards.
async fn set_route(
    handle: &rtnetlink::Handle,
    prefix: IpNet,
    gateway: Option<IpAddr>,
    known: bool,
) -> bool {
    match gateway {
        Some(gateway) => {
            let Err(error) = replace(handle, prefix, gateway).await else { return true };
            // The next hop of a neighbor some hops away is on no link
            // of ours: the route takes the way that leads to it (RFC 4271 §9.1.2.1, route
            // resolvability), as it is now.
            let error = match next_router(handle, gateway).await {
                Some(router) if is_unreachable(&error) && router != gateway => {
                    match replace(handle, prefix, router).await {
                        Ok(()) => return true,
                        Err(error) => error,
                    }
                }
                _ => error,
            };
            warn!("cannot put the route {prefix} via {gateway} in the kernel: {error}");
            known
        }
        None if known => {
            let Some(message) = message(prefix, None) else { return known };
            if let Err(error) = handle.route().del(message).execute().await {
                // The kernel drops routes by itself when their interface goes down.
                if !is_gone(&error) {
                    warn!("cannot remove the route {prefix} from the kernel: {error}");
                }
            }
            false
        }
        None => false,
    }
}

async fn replace(
    handle: &rtnetlink::Handle,
    prefix: IpNet,
    gateway: IpAddr,
) -> Result<(), rtnetlink::Error> {
    // Both are of one family, or there is no such route.
    let Some(message) = message(prefix, Some(gateway)) else {
        return Err(rtnetlink::Error::RequestFailed);
    };
    handle.route().add(message).replace().execute().await
}

/// The router on a link of ours through which the kernel reaches `address`.
async fn next_router(handle: &rtnetlink::Handle, address: IpAddr) -> Option<IpAddr> {
    let route = lookup(handle, address).await?;
    route.attributes.iter().find_map(|attribute| match attribute {
        RouteAttribute::Gateway(RouteAddress::Inet(v4)) => Some(IpAddr::V4(*v4)),
        RouteAttribute::Gateway(RouteAddress::Inet6(v6)) => Some(IpAddr::V6(*v6)),
        _ => None,
    })
}

/// What the kernel does with packets to `address`.
async fn lookup(handle: &rtnetlink::Handle, address: IpAddr) -> Option<RouteMessage> {
    let query = RouteMessageBuilder::<IpAddr>::new()
        .destination_prefix(address, if address.is_ipv4() { 32 } else { 128 })
        .ok()?
        .build();
    let mut answers = std::pin::pin!(handle.route().get(query).execute());
    answers.try_next().await.ok()?
}

/// What the kernel says of a gateway that is on no link; of IPv6 the second, or the third.
fn is_unreachable(error: &rtnetlink::Error) -> bool {
    let rtnetlink::Error::NetlinkError(message) = error else { return false };
    matches!(-message.raw_code(), libc::ENETUNREACH | libc::EHOSTUNREACH | libc::EINVAL)
}

fn is_gone(error: &rtnetlink::Error) -> bool {
    let rtnetlink::Error::NetlinkError(message) = error else { return false };
    matches!(-message.raw_code(), libc::ESRCH | libc::ENOENT | libc::ENODEV)
}

fn message(prefix: IpNet, gateway: Option<IpAddr>) -> Option<RouteMessage> {
    let mut builder = RouteMessageBuilder::<IpAddr>::new()
        .destination_prefix(prefix.network(), prefix.prefix_len())
        .ok()?
        .protocol(PROTOCOL)
        .priority(METRIC);
    match gateway {
        Some(gateway) => builder = builder.gateway(gateway).ok()?,
        // A deletion matches any scope only if it names none.
        None => builder = builder.scope(RouteScope::NoWhere),
    }
    Some(builder.build())
}

async fn remove_leftovers(handle: &rtnetlink::Handle) {
    let mut leftovers = Vec::new();
    for any in [IpNet::V4(ipnet::Ipv4Net::default()), IpNet::V6(ipnet::Ipv6Net::default())] {
        let Ok(query) = RouteMessageBuilder::<IpAddr>::new().destination_prefix(any.network(), 0)
        else {
            continue;
        };
        let mut routes = std::pin::pin!(handle.route().get(query.build()).execute());
        while let Ok(Some(route)) = routes.try_next().await {
            if route.header.protocol == PROTOCOL && destination(&route).is_some() {
                leftovers.push(route);
            }
        }
    }
    if !leftovers.is_empty() {
        warn!("removing {} kernel routes that an earlier run left", leftovers.len());
    }
    for route in leftovers {
        let _ = handle.route().del(route).execute().await;
    }
}

/// The destination of a kernel route, the default route included.
fn destination(route: &RouteMessage) -> Option<IpNet> {
    let len = route.header.destination_prefix_length;
    let address = route.attributes.iter().find_map(|attribute| match attribute {
        RouteAttribute::Destination(RouteAddress::Inet(v4)) => Some(IpAddr::V4(*v4)),
        RouteAttribute::Destination(RouteAddress::Inet6(v6)) => Some(IpAddr::V6(*v6)),
        _ => None,
    });
    IpNet::new(address.or_else(|| (len == 0).then_some(IpAddr::from([0, 0, 0, 0])))?, len).ok()
}

//! Best routes in the kernel's main table, by rtnetlink.
//!
//! One task applies changes in the order in which they were told, many in flight at once. Of
//! several changes to one prefix that wait together only the last is applied. What the kernel
//! refuses, because a gateway is not on a link yet, is tried again. When messages from the kernel
//! were lost (a netlink overrun), what is there is read and compared with what should be.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::Duration;

use anycast_bgp::IpNet;
use futures_util::{StreamExt, TryStreamExt, stream};
use netlink_packet_route::AddressFamily;
use netlink_packet_route::route::{
    RouteAddress, RouteAttribute, RouteMessage, RouteProtocol, RouteScope, RouteVia,
};
use rtnetlink::packet_core::NetlinkPayload;
use rtnetlink::{RouteMessageBuilder, RouteNextHopBuilder, new_connection};
use tokio::sync::{mpsc, oneshot};
use tokio::time::timeout;
use tracing::warn;

use crate::config::Place;

mod table;

use table::{Change, Table};

/// What marks a route as ours: a number of no other daemon's in rt_protos, after BGP's port.
pub(crate) const PROTOCOL: RouteProtocol = RouteProtocol::Other(179);
/// Preferred to a default route that the system's network manager put there (100 and above).
const METRIC: u32 = 20;
/// Requests to the kernel in flight at once.
const PIPELINE: usize = 128;
/// How long the kernel's answer may take: one that was lost never comes.
const PATIENCE: Duration = Duration::from_secs(10);

/// What the kernel should do with packets for a prefix.
#[derive(Clone, Debug)]
pub(crate) struct KernelRoute {
    pub(crate) prefix: IpNet,
    /// Several share the packets; none: no route of ours.
    pub(crate) gateways: Vec<IpAddr>,
}

enum Order {
    Set(KernelRoute),
    Refresh,
    Resync,
    DropLeftovers,
    Settled(oneshot::Sender<()>),
    Close(oneshot::Sender<()>),
}

/// The kernel's main table of one namespace.
pub(crate) struct Kernel {
    orders: mpsc::UnboundedSender<Order>,
    handle: rtnetlink::Handle,
}

impl Kernel {
    /// Opens the table in `place` and removes what an earlier run left in it, unless that is taken
    /// over.
    ///
    /// # Errors
    /// The netlink socket could not be opened.
    pub(crate) async fn open(place: &dyn Place, take_over: bool) -> io::Result<Self> {
        let runtime = tokio::runtime::Handle::current();
        let (connection, handle, mut messages) = place.run(|| {
            let _context = runtime.enter();
            new_connection()
        })?;
        tokio::spawn(connection);
        if !take_over {
            remove_leftovers(&handle).await;
        }
        let (orders, inbox) = mpsc::unbounded_channel();
        let lost = mpsc::UnboundedSender::downgrade(&orders);
        tokio::spawn(async move {
            // Answers go where they are waited for; this is the rest.
            while let Some((message, _)) = messages.next().await {
                if let (NetlinkPayload::Overrun(_), Some(orders)) =
                    (message.payload, lost.upgrade())
                {
                    let _ = orders.send(Order::Resync);
                }
            }
        });
        tokio::spawn(apply(handle.clone(), inbox));
        Ok(Self { orders, handle })
    }

    /// Asks for a route to be as given.
    pub(crate) fn set(&self, route: KernelRoute) {
        let _ = self.orders.send(Order::Set(route));
    }

    /// Puts all routes there once more, because the kernel may have dropped some.
    pub(crate) fn refresh(&self) {
        let _ = self.orders.send(Order::Refresh);
    }

    /// Reads which routes are there and puts right what is not as it should be.
    pub(crate) fn resync(&self) {
        let _ = self.orders.send(Order::Resync);
    }

    /// Removes routes of ours that are not asked for: what was asked for so far is all.
    pub(crate) fn drop_leftovers(&self) {
        let _ = self.orders.send(Order::DropLeftovers);
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
    let mut table = Table::new();
    loop {
        let retry = async {
            match table.retry_after() {
                Some(wait) => tokio::time::sleep(wait).await,
                None => std::future::pending().await,
            }
        };
        let mut next = tokio::select! {
            biased;
            order = inbox.recv() => match order {
                Some(order) => Some(order),
                None => return,
            },
            () = retry => None,
        };
        let is_retry = next.is_none();
        if is_retry {
            table.retry();
        }
        let mut settled = Vec::new();
        let (mut resync, mut leftovers) = (false, false);
        let mut close = None;
        while let Some(order) = next {
            match order {
                Order::Set(route) => table.want(route.prefix, &route.gateways),
                Order::Refresh => table.refresh(),
                Order::Resync => resync = true,
                Order::DropLeftovers => leftovers = true,
                Order::Settled(sender) => settled.push(sender),
                Order::Close(sender) => {
                    table.want_nothing();
                    close = Some(sender);
                    break;
                }
            }
            next = inbox.try_recv().ok();
        }
        if (resync || leftovers) && close.is_none() {
            match timeout(PATIENCE, dump(&handle)).await {
                Ok(found) => {
                    let wrong = table.resync(found);
                    if resync {
                        warn!("messages from the kernel were lost; {wrong} routes are put right");
                    }
                }
                Err(_) => table.refresh(),
            }
        }
        carry_out(&handle, &mut table, is_retry).await;
        for sender in settled {
            let _ = sender.send(());
        }
        if let Some(sender) = close {
            let _ = sender.send(());
            return;
        }
    }
}

/// Makes the kernel's table as wanted, as far as the kernel lets it.
async fn carry_out(handle: &rtnetlink::Handle, table: &mut Table, is_retry: bool) {
    let changes = table.take_changes();
    let mut outcomes = stream::iter(changes)
        .map(async |change| {
            let outcome = timeout(PATIENCE, set_route(handle, &change)).await;
            (change, outcome.unwrap_or_else(|_| Outcome::unknown()))
        })
        .buffered(PIPELINE);
    let mut first_refusal = None;
    let mut refusals = 0;
    while let Some((change, outcome)) = outcomes.next().await {
        table.handle_outcome(change.prefix, outcome.present, outcome.refusal.is_none());
        if let Some(error) = outcome.refusal {
            refusals += 1;
            first_refusal.get_or_insert((change, error));
        }
    }
    table.forget_settled();
    // One line for all of them, and none for each new attempt: a full table would fill the log.
    if let Some((Change { prefix, gateways, .. }, error)) = first_refusal
        && !is_retry
    {
        let advice = match &error {
            rtnetlink::Error::NetlinkError(message) if -message.raw_code() == libc::EPERM => {
                " (that needs the capability CAP_NET_ADMIN)"
            }
            _ => "",
        };
        let what = if gateways.is_empty() {
            format!("remove the route {prefix} from")
        } else {
            let gateways: Vec<String> = gateways.iter().map(|it| words(*it)).collect();
            format!("put the route {prefix} via {} in", gateways.join(" and "))
        };
        let others = match refusals - 1 {
            0 => String::new(),
            n => format!(", nor do so with {n} others"),
        };
        warn!("cannot {what} the kernel{others}: {error}{advice}; trying again from time to time");
    }
}

/// What came of a change.
struct Outcome {
    /// Whether a route of ours is there afterwards.
    present: bool,
    /// Why it is not as asked.
    refusal: Option<rtnetlink::Error>,
}

impl Outcome {
    /// The kernel has not answered: the route may be there, and is set once more.
    const fn unknown() -> Self {
        Self { present: true, refusal: Some(rtnetlink::Error::RequestFailed) }
    }
}

/// Makes one route be as asked.
async fn set_route(handle: &rtnetlink::Handle, change: &Change) -> Outcome {
    let Change { prefix, gateways, present } = change;
    let (prefix, present) = (*prefix, *present);
    if gateways.is_empty() {
        return remove(handle, prefix).await;
    }
    let Err(error) = replace(handle, prefix, gateways).await else {
        return Outcome { present: true, refusal: None };
    };
    // The next hop of a neighbor some hops away is on no link of ours: the route takes the way
    // that leads to it (RFC 4271 §9.1.2.1, route resolvability), as it is now.
    let routers = if is_unreachable(&error) { routers(handle, gateways).await } else { Vec::new() };
    let error = if routers.is_empty() || routers == *gateways {
        error
    } else {
        match replace(handle, prefix, &routers).await {
            Ok(()) => return Outcome { present: true, refusal: None },
            Err(error) => error,
        }
    };
    // What is there leads where BGP no longer says: worse than no route.
    let present = present && remove(handle, prefix).await.present;
    Outcome { present, refusal: Some(error) }
}

async fn remove(handle: &rtnetlink::Handle, prefix: IpNet) -> Outcome {
    let Some(message) = message(prefix, &[]) else {
        return Outcome { present: false, refusal: None };
    };
    match handle.route().del(message).execute().await {
        // The kernel drops routes by itself when their interface goes down.
        Err(error) if !is_gone(&error) => Outcome { present: true, refusal: Some(error) },
        _ => Outcome { present: false, refusal: None },
    }
}

async fn replace(
    handle: &rtnetlink::Handle,
    prefix: IpNet,
    gateways: &[IpAddr],
) -> Result<(), rtnetlink::Error> {
    // All are of one family, or there is no such route.
    let Some(message) = message(prefix, gateways) else {
        return Err(rtnetlink::Error::RequestFailed);
    };
    handle.route().add(message).replace().execute().await
}

/// The routers on links of ours through which the kernel reaches `addresses`, each once.
async fn routers(handle: &rtnetlink::Handle, addresses: &[IpAddr]) -> Vec<IpAddr> {
    let mut routers = Vec::new();
    for address in addresses {
        if let Some(router) = next_router(handle, *address).await
            && !routers.contains(&router)
        {
            routers.push(router);
        }
    }
    routers
}

/// The router on a link of ours through which the kernel reaches `address`, which may be itself.
async fn next_router(handle: &rtnetlink::Handle, address: IpAddr) -> Option<IpAddr> {
    let route = lookup(handle, address).await?;
    let gateway = gateway_of(&route.attributes).unwrap_or(address);
    Some(with_interface(gateway, interface_of(&route.attributes)))
}

fn gateway_of(attributes: &[RouteAttribute]) -> Option<IpAddr> {
    attributes.iter().find_map(|attribute| match attribute {
        RouteAttribute::Gateway(RouteAddress::Inet(v4)) => Some(IpAddr::V4(*v4)),
        RouteAttribute::Gateway(RouteAddress::Inet6(v6))
        | RouteAttribute::Via(RouteVia::Inet6(v6)) => Some(IpAddr::V6(*v6)),
        _ => None,
    })
}

/// A link-local gateway with its interface, in one address: bits 16 to 47, which are zero in every
/// link-local address (RFC 4291 §2.5.6), hold the interface. So a gateway takes no more room where
/// there are none of these. Only this module looks into such an address.
pub(crate) fn scoped(gateway: Ipv6Addr, interface: u32) -> IpAddr {
    IpAddr::V6(Ipv6Addr::from_bits(gateway.to_bits() | u128::from(interface) << SCOPE))
}

/// Where the interface begins.
const SCOPE: u32 = 128 - 48;

/// The gateway and, of a link-local one, its interface.
fn unscoped(gateway: IpAddr) -> (IpAddr, Option<u32>) {
    match gateway {
        IpAddr::V6(v6) if v6.is_unicast_link_local() => {
            let bits = v6.to_bits();
            #[expect(clippy::cast_possible_truncation, reason = "the bits of the interface")]
            let interface = (bits >> SCOPE) as u32;
            let gateway = Ipv6Addr::from_bits(bits & !(u128::from(u32::MAX) << SCOPE));
            (IpAddr::V6(gateway), (interface != 0).then_some(interface))
        }
        other => (other, None),
    }
}

/// A gateway as operators write it.
fn words(gateway: IpAddr) -> String {
    match unscoped(gateway) {
        (gateway, Some(interface)) => format!("{gateway}%{interface}"),
        (gateway, None) => gateway.to_string(),
    }
}

/// The interface that a route or one of its hops names.
fn with_interface(gateway: IpAddr, interface: Option<u32>) -> IpAddr {
    match (gateway, interface) {
        (IpAddr::V6(v6), Some(interface)) if v6.is_unicast_link_local() => scoped(v6, interface),
        _ => gateway,
    }
}

fn interface_of(attributes: &[RouteAttribute]) -> Option<u32> {
    attributes.iter().find_map(|attribute| match attribute {
        RouteAttribute::Oif(index) => Some(*index),
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

fn message(prefix: IpNet, gateways: &[IpAddr]) -> Option<RouteMessage> {
    let mut builder = RouteMessageBuilder::<IpAddr>::new()
        .destination_prefix(prefix.network(), prefix.prefix_len())
        .ok()?
        .protocol(PROTOCOL)
        .priority(METRIC);
    match gateways {
        [gateway] => match unscoped(*gateway) {
            // RTA_VIA: a gateway of the other family (RFC 8950).
            (IpAddr::V6(gateway), interface) if prefix.addr().is_ipv4() => {
                let message = builder.get_mut();
                message.attributes.push(RouteAttribute::Via(RouteVia::Inet6(gateway)));
                message.attributes.extend(interface.map(RouteAttribute::Oif));
            }
            (gateway, interface) => {
                builder = builder.gateway(gateway).ok()?;
                builder.get_mut().attributes.extend(interface.map(RouteAttribute::Oif));
            }
        },
        // A deletion matches any scope only if it names none.
        [] => builder = builder.scope(RouteScope::NoWhere),
        gateways => {
            let hop = |gateway: &IpAddr| {
                let hop = if prefix.addr().is_ipv4() {
                    RouteNextHopBuilder::new_ipv4()
                } else {
                    RouteNextHopBuilder::new_ipv6()
                };
                let (gateway, interface) = unscoped(*gateway);
                let hop = hop.via(gateway).ok()?;
                Some(interface.map_or_else(|| hop.clone(), |it| hop.clone().interface(it)).build())
            };
            builder = builder.multipath(gateways.iter().map(hop).collect::<Option<_>>()?);
        }
    }
    Some(builder.build())
}

/// Every route of ours that is there, and its gateways.
async fn dump(handle: &rtnetlink::Handle) -> Vec<(IpNet, Vec<IpAddr>)> {
    our_routes(handle).await.iter().filter_map(read_route).collect()
}

fn read_route(route: &RouteMessage) -> Option<(IpNet, Vec<IpAddr>)> {
    let mut gateways: Vec<IpAddr> = gateway_of(&route.attributes)
        .map(|gateway| with_interface(gateway, interface_of(&route.attributes)))
        .into_iter()
        .collect();
    let mut destination = None;
    for attribute in &route.attributes {
        match attribute {
            RouteAttribute::Destination(RouteAddress::Inet(v4)) => destination = Some((*v4).into()),
            RouteAttribute::Destination(RouteAddress::Inet6(v6)) => {
                destination = Some((*v6).into());
            }
            RouteAttribute::MultiPath(hops) => {
                gateways.extend(hops.iter().filter_map(|hop| {
                    let gateway = gateway_of(&hop.attributes)?;
                    Some(with_interface(gateway, Some(hop.interface_index)))
                }));
            }
            _ => {}
        }
    }
    let unspecified: IpAddr = match route.header.address_family {
        AddressFamily::Inet => Ipv4Addr::UNSPECIFIED.into(),
        _ => Ipv6Addr::UNSPECIFIED.into(),
    };
    let length = route.header.destination_prefix_length;
    let prefix = IpNet::new(destination.unwrap_or(unspecified), length).ok()?;
    Some((prefix, gateways))
}

/// Every route that is marked as ours.
async fn our_routes(handle: &rtnetlink::Handle) -> Vec<RouteMessage> {
    // Without a destination the kernel tells all routes of the family, not the one to there.
    let queries = [
        RouteMessageBuilder::<Ipv4Addr>::new().build(),
        RouteMessageBuilder::<Ipv6Addr>::new().build(),
    ];
    let mut ours = Vec::new();
    for query in queries {
        let mut routes = std::pin::pin!(handle.route().get(query).execute());
        while let Ok(Some(route)) = routes.try_next().await {
            if route.header.protocol == PROTOCOL {
                ours.push(route);
            }
        }
    }
    ours
}

async fn remove_leftovers(handle: &rtnetlink::Handle) {
    let leftovers = our_routes(handle).await;
    if !leftovers.is_empty() {
        warn!("removing {} kernel routes that an earlier run left", leftovers.len());
    }
    for route in leftovers {
        match handle.route().del(route).execute().await {
            Err(error) if !is_gone(&error) => {
                warn!("cannot remove a kernel route that an earlier run left: {error}");
            }
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_link_local_gateway_keeps_its_interface_and_others_have_none() {
        let gateway: Ipv6Addr = "fe80::a:b:c:d".parse().expect("an address");
        for interface in [1, 7, u32::MAX] {
            let scoped = scoped(gateway, interface);
            assert_eq!(unscoped(scoped), (IpAddr::V6(gateway), Some(interface)));
            assert_eq!(words(scoped), format!("fe80::a:b:c:d%{interface}"));
        }
        for other in ["192.0.2.1", "2001:db8::1", "fe80::1"] {
            let other: IpAddr = other.parse().expect("an address");
            assert_eq!(unscoped(other), (other, None));
        }
    }
}

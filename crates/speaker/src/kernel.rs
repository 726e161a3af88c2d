//! Best routes in the kernel's main table, by rtnetlink.
//!
//! What should be there is noted at once, so of several changes to one prefix that wait together
//! only the last is left. A few are carried out at once; of a flood one task carries many out in one
//! system call. What an earlier run
//! left is taken over if it is asked for soon, else removed. What the kernel refuses, because a
//! gateway is not on a link yet, is tried again. When messages from the kernel were lost (a netlink
//! overrun), what is there is read and compared with what should be.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use anycast_bgp::IpNet;
use futures_util::{StreamExt, TryStreamExt};
use netlink_packet_route::AddressFamily;
use netlink_packet_route::route::{
    RouteAddress, RouteAttribute, RouteHeader, RouteMessage, RouteProtocol, RouteScope, RouteVia,
};
use rtnetlink::packet_core::NetlinkPayload;
use rtnetlink::{RouteMessageBuilder, RouteNextHopBuilder, new_connection};
use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, timeout};
use tracing::warn;

use crate::config::Place;

mod batch;
mod changes;
mod table;

use batch::{Answer, BATCH, Batches};
use changes::Refusals;
use table::Table;

/// What marks a route as ours: a number of no other daemon's in rt_protos, after BGP's port.
pub(crate) const PROTOCOL: RouteProtocol = RouteProtocol::Other(179);
/// Preferred to a default route that the system's network manager put there (100 and above).
const METRIC: u32 = 20;
/// How long routes of an earlier run that ended without a word stay although nobody asks for them:
/// what neighbors say once their sessions are up is mostly the same.
const LEFTOVERS_STAY: Duration = Duration::from_secs(5);
/// How long the kernel's answer may take: one that was lost never comes.
const PATIENCE: Duration = Duration::from_secs(10);

enum Order {
    /// There are changes to carry out.
    Change,
    Refresh,
    Resync,
    DropLeftovers,
    Settled(oneshot::Sender<()>),
    Close(oneshot::Sender<()>),
}

/// The kernel's main table of one namespace.
pub(crate) struct Kernel {
    table: Arc<Shared>,
    orders: mpsc::UnboundedSender<Order>,
    handle: rtnetlink::Handle,
    shortcut: Shortcut,
}

/// What should be and what is there: orders go in directly, and what is done about it too.
struct Shared(Mutex<Table>);

/// The way by which a few changes go past the task.
struct Shortcut {
    batches: Mutex<Batches>,
    /// Whether the task is about something: it would undo what is done meanwhile.
    is_closed: Arc<AtomicBool>,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Table> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Kernel {
    /// Opens the table in `place`. What an earlier run left in it is removed after a while, but for
    /// what is asked for meanwhile; with `take_over` it stays until
    /// [`drop_leftovers`](Self::drop_leftovers).
    ///
    /// # Errors
    /// The netlink socket could not be opened.
    pub(crate) fn open(place: &dyn Place, take_over: bool) -> io::Result<Self> {
        let runtime = tokio::runtime::Handle::current();
        let ((connection, handle, mut messages), batches, few) = place.run(|| {
            let _context = runtime.enter();
            io::Result::Ok((new_connection()?, Batches::open()?, Batches::open()?))
        })?;
        tokio::spawn(connection);
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
        let table = Arc::new(Shared(Mutex::new(Table::new())));
        let is_closed = Arc::new(AtomicBool::new(true));
        let netlink = Netlink { handle: handle.clone(), batches, is_busy: Arc::clone(&is_closed) };
        tokio::spawn(apply(netlink, Arc::clone(&table), inbox, take_over));
        let shortcut = Shortcut { batches: Mutex::new(few), is_closed };
        Ok(Self { table, orders, handle, shortcut })
    }

    /// Asks for packets for a prefix to go to these gateways, which share them; with none, for no
    /// route of ours.
    pub(crate) fn set(&self, prefix: IpNet, gateways: &[IpAddr]) {
        let mut table = self.table.lock();
        let rests = table.is_settled();
        table.want(prefix, gateways);
        if rests && !table.is_settled() {
            let _ = self.orders.send(Order::Change);
        }
    }

    /// The same, and [`place`](Self::place) sees to it.
    pub(crate) fn note(&self, prefix: IpNet, gateways: &[IpAddr]) {
        self.table.lock().want(prefix, gateways);
    }

    /// Carries out what waits: at once, if that is little and the task rests. What the kernel refuses (a next hop
    /// some hops away, for one) is left to the task.
    ///
    /// So that neighbors are told only of ways that packets take (RFC 4271 §3: routes "that it itself uses"):
    /// they send theirs here as soon as they hear of one, and back those would go.
    pub(crate) fn place(&self) {
        let mut table = self.table.lock();
        if table.is_settled() {
            return;
        }
        if table.waiting() <= BATCH && !self.shortcut.is_closed.load(Ordering::Relaxed) {
            self.place_few(&mut table);
        }
        if !table.is_settled() {
            let _ = self.orders.send(Order::Change);
        }
    }

    fn place_few(&self, table: &mut Table) {
        let changes = table.take_changes(BATCH);
        let wanted = changes.iter().map(|change| (change.prefix, change.gateways.as_slice()));
        let mut batches = self.shortcut.batches.lock().unwrap_or_else(PoisonError::into_inner);
        let answers = batches.ask(wanted);
        for (change, answer) in changes.into_iter().zip(answers) {
            match changes::of(&change, answer) {
                Answer::Done => {
                    table.handle_outcome(change.prefix, !change.gateways.is_empty(), true);
                }
                Answer::Refused(_) => table.again(change.prefix, change.present),
                Answer::Lost(_) => table.again(change.prefix, true),
            }
        }
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
        async move { interface_of(&lookup(&handle, address).await?.attributes) }
    }

    /// Removes every route of ours and ends.
    pub(crate) async fn close(self) {
        let (sender, done) = oneshot::channel();
        if self.orders.send(Order::Close(sender)).is_ok() {
            let _ = done.await;
        }
    }
}

/// What becomes of routes that an earlier run left and nobody has asked for yet.
#[derive(Clone, Copy, Eq, PartialEq)]
enum Leftovers {
    /// They stay until it is said that all has been asked for.
    Stay,
    StayUntil(Instant),
    Go,
}

impl Leftovers {
    /// Reads what there is.
    async fn look(handle: &rtnetlink::Handle, table: &Shared, take_over: bool) -> Self {
        let found = resync(handle, table).await;
        if let Err(error) = &found {
            warn!("cannot see which kernel routes an earlier run left: {error}");
        }
        if take_over {
            return Self::Stay;
        }
        if let Ok(left @ 1..) = found {
            warn!(
                "there are {left} kernel routes that an earlier run left; what nobody asks for \
                 within {} s is removed",
                LEFTOVERS_STAY.as_secs()
            );
        }
        Self::StayUntil(Instant::now() + LEFTOVERS_STAY)
    }

    fn go_at(self) -> Option<Instant> {
        if let Self::StayUntil(time) = self { Some(time) } else { None }
    }
}

/// The two ways to the kernel.
struct Netlink {
    /// For questions.
    handle: rtnetlink::Handle,
    /// For what is to be changed.
    batches: Batches,
    is_busy: Arc<AtomicBool>,
}

async fn apply(
    mut netlink: Netlink,
    table: Arc<Shared>,
    mut inbox: mpsc::UnboundedReceiver<Order>,
    take_over: bool,
) {
    let mut leftovers = Leftovers::look(&netlink.handle, &table, take_over).await;
    let (mut settled, mut close, mut refusals) = (Vec::new(), None, Refusals::default());
    let mut retry_at = None;
    loop {
        let (is_settled, retry_after) = {
            let table = table.lock();
            (table.is_settled(), table.retry_after())
        };
        retry_at = retry_after.map(|wait| retry_at.unwrap_or(Instant::now() + wait));
        // Whether to read what is there, and whether messages were lost.
        let mut look = None;
        let mut next = if is_settled {
            netlink.is_busy.store(false, Ordering::Relaxed);
            tokio::select! {
                biased;
                () = at(leftovers.go_at()) => {
                    leftovers = Leftovers::Go;
                    look = Some(false);
                    None
                }
                () = at(retry_at) => {
                    retry_at = None;
                    table.lock().retry();
                    None
                }
                order = inbox.recv() => match order {
                    Some(order) => Some(order),
                    None => return,
                },
            }
        } else if close.is_none() {
            inbox.try_recv().ok()
        } else {
            None
        };
        {
            // Whatever goes past this task right now has ended.
            let _table = table.lock();
            netlink.is_busy.store(true, Ordering::Relaxed);
        }
        while let Some(order) = next {
            match order {
                Order::Change => {}
                Order::Refresh => table.lock().refresh(),
                Order::Resync => look = Some(true),
                Order::DropLeftovers => {
                    leftovers = Leftovers::Go;
                    look = look.or(Some(false));
                }
                Order::Settled(sender) => settled.push(sender),
                Order::Close(sender) => {
                    table.lock().want_nothing();
                    close = Some(sender);
                    break;
                }
            }
            next = inbox.try_recv().ok();
        }
        if let Some(were_lost) = look.filter(|_| close.is_none()) {
            match resync(&netlink.handle, &table).await {
                Ok(wrong) if were_lost => {
                    warn!("messages from the kernel were lost; {wrong} routes are put right");
                }
                Ok(_) => {}
                Err(_) => table.lock().refresh(),
            }
            if leftovers == Leftovers::Go {
                table.lock().drop_leftovers();
            }
        }
        changes::carry_out(&mut netlink, &table, &mut refusals).await;
        if table.lock().is_settled() {
            std::mem::take(&mut refusals).log();
            for sender in settled.drain(..) {
                let _ = sender.send(());
            }
            if let Some(sender) = close {
                let _ = sender.send(());
                return;
            }
        } else {
            // A full table takes many seconds: others have their turn.
            tokio::task::yield_now().await;
        }
    }
}

async fn at(time: Option<Instant>) {
    match time {
        Some(time) => tokio::time::sleep_until(time).await,
        None => std::future::pending().await,
    }
}

/// Reads which routes of ours are there; how many are not as they should be.
async fn resync(handle: &rtnetlink::Handle, table: &Shared) -> Result<usize, io::Error> {
    table.lock().begin_resync();
    let (mut wrong, mut others) = (0, Vec::new());
    // Without a destination the kernel tells all routes of the family, not the one to there.
    let queries = [
        RouteMessageBuilder::<Ipv4Addr>::new().build(),
        RouteMessageBuilder::<Ipv6Addr>::new().build(),
    ];
    for query in queries {
        let mut routes = std::pin::pin!(handle.route().get(query).execute());
        let mut next = async || timeout(PATIENCE, routes.try_next()).await;
        while let Some(route) = next().await?.map_err(io::Error::other)? {
            if route.header.protocol != PROTOCOL {
                continue;
            }
            match read_route(&route) {
                Some((prefix, gateways)) if is_as_we_make_them(&route) => {
                    wrong += usize::from(table.lock().found(prefix, &gateways));
                }
                _ => others.push(route),
            }
        }
    }
    // What bears our mark and is not as we write it, another version's perhaps, is in nobody's way
    // but ours.
    wrong += others.len();
    for route in others {
        match timeout(PATIENCE, handle.route().del(route).execute()).await {
            Ok(Err(rtnetlink::Error::NetlinkError(error))) if is_gone(&error.to_io()) => {}
            Ok(Err(error)) => {
                warn!("cannot remove a kernel route that an earlier run left: {error}");
            }
            Ok(Ok(())) | Err(_) => {}
        }
    }
    Ok(wrong + table.lock().end_resync())
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

fn is_gone(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::ESRCH | libc::ENOENT | libc::ENODEV))
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

/// Whether a route of ours is where [`message`] puts it.
fn is_as_we_make_them(route: &RouteMessage) -> bool {
    route.header.table == RouteHeader::RT_TABLE_MAIN
        && route.attributes.contains(&RouteAttribute::Priority(METRIC))
}

/// A route that is there, and its gateways.
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

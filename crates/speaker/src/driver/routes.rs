//! Routes on their way to the kernel, and the interior that some of them go through.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};

use anycast_bgp::rib::{FibRoute, PeerId};
use anycast_bgp::{IpNet, NextHop};

use super::Driver;
use crate::config::Igp;
use crate::kernel::{self, Kernel};

impl Driver {
    pub(super) fn install_routes(&mut self) {
        let Some(kernel) = &self.kernel else {
            while self.rib.poll_fib().is_some() {}
            return;
        };
        while let Some(change) = self.rib.poll_fib() {
            let peers = &mut self.peers;
            for hop in
                change.route.iter().flat_map(|it| std::iter::once(&it.best).chain(&it.others))
            {
                if let Some(peer) = peers.get_mut(hop.peer.0 as usize)
                    && peer.interface.is_none()
                    && link_local(hop.next_hop).is_some()
                {
                    peer.unplaced.push(change.prefix);
                }
            }
            let interface = |id: PeerId| peers.get(id.0 as usize)?.interface;
            let igp = self.igp.as_ref();
            let gateways =
                change.route.map(|route| gateways(igp, &route, interface)).unwrap_or_default();
            kernel.note(change.prefix, &gateways);
        }
        kernel.place();
    }

    /// Puts the routes of these prefixes in the kernel as they are now.
    pub(super) fn place(&self, prefixes: &[IpNet]) {
        let Some(kernel) = &self.kernel else { return };
        let interface = |id: PeerId| self.peers.get(id.0 as usize)?.interface;
        for prefix in prefixes {
            let route = self.rib.fib_route(prefix);
            let gateways = route.map(|it| gateways(self.igp.as_ref(), &it, interface));
            kernel.set(*prefix, &gateways.unwrap_or_default());
        }
    }

    /// Replaces the routes inside the AS.
    pub(crate) fn set_igp(&mut self, igp: Igp) {
        if let Some(kernel) = &self.kernel {
            let old = self.igp.take().unwrap_or_default();
            for prefix in old.routes.keys().filter(|prefix| !igp.routes.contains_key(prefix)) {
                kernel.set(*prefix, &[]);
            }
            for (prefix, route) in &igp.routes {
                kernel.set(*prefix, &[route.gateway]);
            }
            // A next hop whose gateway moved may keep its cost: the tables see no change then.
            for route in self.rib.routes().filter(|route| route.best && route.peer.is_some()) {
                let Some(fib) = self.rib.fib_route(&route.prefix) else { continue };
                let interface = |id: PeerId| self.peers.get(id.0 as usize)?.interface;
                let gateways = gateways(Some(&igp), &fib, interface);
                if !gateways.is_empty() && gateways != self::gateways(Some(&old), &fib, interface) {
                    kernel.set(route.prefix, &gateways);
                }
            }
        }
        let host = |prefix: &IpNet| prefix.prefix_len() == prefix.max_prefix_len();
        let costs: HashMap<IpAddr, u32> = igp
            .routes
            .iter()
            .filter(|(prefix, _)| host(prefix))
            .map(|(prefix, route)| (prefix.addr(), route.cost))
            .collect();
        self.rib.set_igp(Some(costs));
        self.igp = Some(igp);
    }

    /// A future that is ready when the kernel has all routes so far.
    pub(crate) fn kernel_settled(&self) -> impl Future<Output = ()> + Send + use<> {
        let settled = self.kernel.as_ref().map(Kernel::settled);
        async move {
            if let Some(settled) = settled {
                settled.await;
            }
        }
    }
}

/// Where the kernel sends the packets of a route: what is learnt inside the AS goes the interior's
/// way, if there is an interior. Ways that meet count once. Of a next hop that has a link-local
/// address alone (RFC 2545 §3) the peer's interface is the other half; `None`: not known yet.
fn gateways(
    igp: Option<&Igp>,
    route: &FibRoute,
    interface: impl Fn(PeerId) -> Option<u32>,
) -> Vec<IpAddr> {
    let mut gateways = Vec::with_capacity(1 + route.others.len());
    for hop in std::iter::once(&route.best).chain(&route.others) {
        let gateway = match (igp, hop.ebgp) {
            (Some(igp), false) => igp.gateway(hop.next_hop.address),
            _ => match link_local(hop.next_hop) {
                Some(address) => interface(hop.peer).map(|index| kernel::scoped(address, index)),
                None => Some(hop.next_hop.address),
            },
        };
        gateways.extend(gateway.filter(|gateway| !gateways.contains(gateway)));
    }
    gateways
}

/// The link-local address of a next hop that has no other.
fn link_local(next_hop: NextHop) -> Option<Ipv6Addr> {
    match next_hop.address {
        IpAddr::V6(address) if address.is_unicast_link_local() => {
            Some(next_hop.link_local.unwrap_or(address))
        }
        IpAddr::V6(address) if address.is_unspecified() => next_hop.link_local,
        _ => None,
    }
}

//! Sites at the routers of their neighbors: links and sessions with the fleet file's numbers.

use std::collections::BTreeMap;
use std::net::IpAddr;

use ipnet::IpNet;

use super::addresses::{Between, between, other_of_pair};
use super::build::{BGP_PORT, Builder, default_route, nearest, session_name};
use super::tenant::{Tenant, TenantNeighbor};
use super::{BfdPlan, Implementation, Link, NeighborPlan, NodeKind, PlanError};

impl Builder<'_> {
    pub(super) fn attach_sites(&mut self) {
        for (index, tenant) in self.tenants.iter().enumerate() {
            // All neighbors at one router share a link.
            let mut by_router: BTreeMap<usize, usize> = BTreeMap::new();
            let mut networks: Vec<(usize, IpNet)> = Vec::new();
            for neighbor in &tenant.neighbors {
                let Some(system) = self.systems.iter().position(|s| s.asn == neighbor.asn) else {
                    continue;
                };
                if !self.systems[system].implementation.forwards() {
                    self.errors.push(PlanError::CannotForward {
                        site: tenant.name.clone(),
                        asn: neighbor.asn,
                        system: self.systems[system].name.clone(),
                        implementation: self.systems[system].implementation.name(),
                    });
                    continue;
                }
                let (city, _) = nearest(&self.systems[system].cities, &tenant.place);
                let router = self.routers[system][city];
                let site = self.sites[index];
                let link = *by_router
                    .entry(router)
                    .or_insert_with(|| self.add_link(router, Vec::new(), site, Vec::new()));
                self.attach(tenant, neighbor, router, site, link, &mut networks);
            }
        }
    }

    /// The addresses at which the other sites reach a site alone are known everywhere, as their
    /// provider's networks are on the Internet: the router beside the address announces it.
    pub(super) fn lead_to_sites(&mut self) {
        for (index, tenant) in self.tenants.iter().enumerate() {
            let site = self.sites[index];
            for address in &tenant.tunnel {
                let of_site = |link: &&Link| link.ends.iter().any(|end| end.node == site);
                let at_link = |link: &&Link| {
                    let own = link.ends.iter().filter(|end| end.node == site);
                    own.flat_map(|end| &end.addresses).any(|net| net.addr() == *address)
                };
                let net = IpNet::from(*address);
                let links = self.plan.links.iter().filter(of_site);
                let beside: Vec<usize> =
                    links.filter(at_link).filter_map(|link| router_of(link, site)).collect();
                if !beside.is_empty() {
                    for router in beside {
                        self.router_mut(router).originates.push(net);
                    }
                    continue;
                }
                self.lead_to_loopback(site, *address);
            }
        }
    }

    /// An address on no link: on the site's loopback, by way of each of its links.
    fn lead_to_loopback(&mut self, site: usize, address: IpAddr) {
        let net = IpNet::from(address);
        if let NodeKind::Site(plan) = &mut self.plan.nodes[site].kind {
            plan.extra_addresses.push(address);
        }
        let ways: Vec<(usize, usize, IpAddr)> = self
            .plan
            .links
            .iter()
            .enumerate()
            .filter_map(|(number, link)| {
                let own = link.ends.iter().find(|end| end.node == site)?;
                let mut gateways = own.addresses.iter().map(IpNet::addr);
                let gateway = gateways.find(|it| it.is_ipv4() == address.is_ipv4())?;
                Some((number, router_of(link, site)?, gateway))
            })
            .collect();
        for (link, router, gateway) in ways {
            self.add_route(link, router, net, Some(gateway), 100);
            self.router_mut(router).originates.push(net);
        }
    }

    /// Numbers one neighbor of a site and gives the router its side of the session.
    fn attach(
        &mut self,
        tenant: &Tenant,
        neighbor: &TenantNeighbor,
        router: usize,
        site: usize,
        link: usize,
        networks: &mut Vec<(usize, IpNet)>,
    ) {
        let multihop = neighbor.multihop.is_some();
        let Some((at_site, gateway)) = self.face(
            link,
            router,
            site,
            (neighbor.address, neighbor.local_address),
            multihop,
            networks,
        ) else {
            return;
        };
        let mut gateways = vec![gateway];
        let mut next_hop_other = None;
        if let Some(at_site) = neighbor.next_hop_other {
            // The session carries another family too: the site says its own address of it, so
            // the router has the one beside it.
            let at_router = other_of_pair(at_site);
            let ends = (at_router, Some(at_site));
            if let Some((_, gateway)) = self.face(link, router, site, ends, false, networks) {
                gateways.push(gateway);
                next_hop_other = Some(at_router);
            }
        }
        for gateway in gateways.into_iter().filter(|_| tenant.needs_default_route) {
            let default = default_route(gateway);
            let NodeKind::Site(plan) = &self.plan.nodes[site].kind else { return };
            let before = plan.routes.iter().filter(|route| route.prefix == default).count();
            let metric = 100 + u32::try_from(before).unwrap_or(u32::MAX - 100);
            self.add_route(link, site, default, Some(gateway), metric);
        }
        let side = NeighborPlan {
            name: self.free_session_name(router, &session_name(&tenant.name, at_site)),
            node: site,
            address: at_site,
            local_address: neighbor.address,
            next_hop_other,
            port: tenant.port,
            asn: tenant.asn,
            relation: Some(neighbor.relation),
            families: neighbor.families.clone(),
            hold_time: self.world.hold_time,
            password_file: neighbor.password_file.clone(),
            multihop: neighbor.multihop,
            gtsm: neighbor.gtsm,
            next_hop_self: false,
            bfd: neighbor
                .bfd
                .map(|bfd| BfdPlan { interval: bfd.interval, multiplier: bfd.multiplier }),
            link: Some(link),
        };
        let implementation = self.router(router).implementation;
        if neighbor.port != BGP_PORT && implementation != Implementation::Anycast {
            self.errors.push(PlanError::Port {
                site: tenant.name.clone(),
                asn: neighbor.asn,
                port: neighbor.port,
                implementation: implementation.name(),
            });
        }
        let plan = self.router_mut(router);
        plan.neighbors.push(side);
        if !plan.listen_ports.contains(&neighbor.port) {
            plan.listen_ports.push(neighbor.port);
        }
    }

    /// Numbers the two ends of a session or next hop: `at_router`, and what the fleet file says
    /// of the site's end. Gives the site's address and its gateway.
    fn face(
        &mut self,
        link: usize,
        router: usize,
        site: usize,
        (at_router, at_site): (IpAddr, Option<IpAddr>),
        multihop: bool,
        networks: &mut Vec<(usize, IpNet)>,
    ) -> Option<(IpAddr, IpAddr)> {
        let way = match between(at_router, at_site, multihop) {
            // Two links of one site with one network (an exchange): the kernel could not tell
            // them apart.
            Between::Network { site, network, .. }
                if networks.iter().any(|(at, other)| *at != link && overlap(*other, network)) =>
            {
                Between::OnLink { site }
            }
            other => other,
        };
        Some(match way {
            Between::Network { site: at_site, network, prefix_len } => {
                networks.push((link, network));
                self.add_address(link, router, at_router, prefix_len);
                self.add_address(link, site, at_site, prefix_len);
                (at_site, at_router)
            }
            Between::OnLink { site: at_site } => {
                self.add_host_route(link, router, at_router, site, at_site);
                (at_site, at_router)
            }
            Between::Loopback { site: local } => {
                let (router_side, site_side) = self.transfer(link, router, site, at_router)?;
                let extra = &mut self.router_mut(router).extra_addresses;
                if !extra.contains(&at_router) {
                    extra.push(at_router);
                }
                self.add_route(link, site, IpNet::from(at_router), Some(router_side), 10);
                if let Some(local) = local {
                    self.add_address(link, site, local, IpNet::from(local).prefix_len());
                    self.add_route(link, router, IpNet::from(local), Some(site_side), 10);
                }
                (local.unwrap_or(site_side), router_side)
            }
        })
    }

    /// A site may have two sessions of one family with one router.
    fn free_session_name(&self, router: usize, name: &str) -> String {
        let taken = |name: &str| self.router(router).neighbors.iter().any(|n| n.name == name);
        let mut free = name.to_owned();
        let mut number = 2;
        while taken(&free) {
            free = format!("{name}-{number}");
            number += 1;
        }
        free
    }

    /// Addresses of the pool on the link to a site, of the family of `like`: the router's and the
    /// site's.
    fn transfer(
        &mut self,
        link: usize,
        router: usize,
        site: usize,
        like: IpAddr,
    ) -> Option<(IpAddr, IpAddr)> {
        let Some([a, b]) = self.links.take() else {
            let (prefix, count) = self.links.room();
            self.errors.push(PlanError::PoolTooSmall {
                key: if prefix.addr().is_ipv4() { "link-prefix-v4" } else { "link-prefix-v6" },
                prefix,
                room: format!("{count} links addresses"),
            });
            return None;
        };
        let at = usize::from(like.is_ipv6());
        self.add_address(link, router, a[at].addr(), a[at].prefix_len());
        self.add_address(link, site, b[at].addr(), b[at].prefix_len());
        Some((a[at].addr(), b[at].addr()))
    }

    /// Two addresses without a common network face each other over a link.
    fn add_host_route(&mut self, link: usize, a: usize, at_a: IpAddr, b: usize, at_b: IpAddr) {
        for (node, own, other) in [(a, at_a, at_b), (b, at_b, at_a)] {
            self.add_address(link, node, own, IpNet::from(own).prefix_len());
            self.add_route(link, node, IpNet::from(other), None, 10);
        }
    }
}

fn overlap(a: IpNet, b: IpNet) -> bool {
    a.contains(&b) || b.contains(&a)
}

/// The other end of a site's link.
fn router_of(link: &Link, site: usize) -> Option<usize> {
    link.ends.iter().map(|end| end.node).find(|node| *node != site)
}

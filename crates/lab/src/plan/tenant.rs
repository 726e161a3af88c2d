//! The fleet's sites as the plan needs to know them.

use std::net::IpAddr;
use std::path::PathBuf;

use anycast_bgp::policy::relation::Relation;
use anycast_bgp::{Asn, Family};
use anycast_fleet::{Bfd, Fleet, ImportPolicy, SiteAffinity};

use super::Place;

/// A site as the plan needs to know it.
#[derive(Clone, Debug)]
pub struct Tenant {
    /// Its name.
    pub name: String,
    /// Where it is.
    pub place: Place,
    /// The AS that it announces from.
    pub asn: Asn,
    /// Where it listens for BGP.
    pub port: u16,
    /// Its neighbors, in the order of the fleet file.
    pub neighbors: Vec<TenantNeighbor>,
    /// Whether no neighbor's whole table is imported, so that a default route is needed.
    pub needs_default_route: bool,
    /// Where other sites send it the connections that it owns.
    pub tunnel: Vec<IpAddr>,
}

/// A neighbor of a site, from the site's view.
#[derive(Clone, Debug)]
pub struct TenantNeighbor {
    /// The neighbor's AS.
    pub asn: Asn,
    /// The neighbor's address.
    pub address: IpAddr,
    /// Where the site looks for it.
    pub port: u16,
    /// The site's own address towards it.
    pub local_address: Option<IpAddr>,
    /// What the session carries.
    pub families: Vec<Family>,
    /// The site's address for the family that the session's own addresses are not of.
    pub next_hop_other: Option<IpAddr>,
    /// Hops allowed.
    pub multihop: Option<u8>,
    /// RFC 5082.
    pub gtsm: bool,
    /// RFC 2385.
    pub password_file: Option<PathBuf>,
    /// What the site is to the neighbor.
    pub relation: Relation,
    /// RFC 5880.
    pub bfd: Option<Bfd>,
}

impl Tenant {
    /// The sites of a fleet, and the names of those of which nobody knows where they are.
    pub(super) fn of(fleet: &Fleet) -> (Vec<Self>, Vec<String>) {
        let mut tenants = Vec::new();
        let mut nowhere = Vec::new();
        for site in &fleet.sites {
            let Some(location) = site.location else {
                nowhere.push(site.name.clone());
                continue;
            };
            let neighbors = site.neighbors.iter().map(|neighbor| TenantNeighbor {
                asn: neighbor.asn,
                address: neighbor.address,
                port: neighbor.port,
                local_address: neighbor.local_address,
                families: neighbor.families.clone(),
                next_hop_other: if neighbor.address.is_ipv4() {
                    neighbor.next_hop_v6.map(IpAddr::from)
                } else {
                    neighbor.next_hop_v4.map(IpAddr::from)
                },
                multihop: (neighbor.hops > 1).then_some(neighbor.hops),
                gtsm: neighbor.ttl_security,
                password_file: neighbor.password_file.clone(),
                relation: match neighbor.relation {
                    // What the site calls its customer or peer calls it provider or peer.
                    Some(Relation::Customer) => Relation::Provider,
                    Some(Relation::Peer) => Relation::Peer,
                    Some(Relation::Provider) | None => Relation::Customer,
                },
                bfd: neighbor.bfd,
            });
            let affinity = site.affinity.as_ref();
            tenants.push(Self {
                tunnel: affinity.map(tunnel_of).unwrap_or_default(),
                name: site.name.clone(),
                place: Place {
                    city: site.city.clone().unwrap_or_else(|| site.name.clone()),
                    latitude: location.lat,
                    longitude: location.lon,
                },
                asn: site.asn,
                port: site.bgp_port,
                neighbors: neighbors.collect(),
                needs_default_route: site
                    .neighbors
                    .iter()
                    .all(|neighbor| neighbor.import != ImportPolicy::Everything),
            });
        }
        (tenants, nowhere)
    }
}

fn tunnel_of(affinity: &SiteAffinity) -> Vec<IpAddr> {
    let (v4, v6) = (affinity.v4.map(IpAddr::V4), affinity.v6.map(IpAddr::V6));
    v4.into_iter().chain(v6).collect()
}

//! The world: the ASes around the fleet, their cities, their business, and the clients.
//!
//! A [`World`] is checked: every name resolves, every number is unique, every AS has a way up to
//! one that needs no provider. It is read from TOML by [`parse`]; docs/world.md is the reference.

mod read;
#[cfg(test)]
mod tests;

use std::time::Duration;

use anycast_bgp::Asn;
use ipnet::{Ipv4Net, Ipv6Net};

use crate::plan::{Implementation, Place};

pub use read::{Report, parse};

/// The world that the lab starts if it is given none.
pub const DEFAULT: &str = include_str!("../../../../examples/world.toml");

/// The world without the fleet.
#[derive(Clone, Debug)]
pub struct World {
    /// For headings.
    pub name: String,
    /// Where links get their IPv4 addresses from, a /31 each.
    pub link_prefix_v4: Ipv4Net,
    /// Where links get their IPv6 addresses from, a /64 each if there is room, else a /127.
    pub link_prefix_v6: Ipv6Net,
    /// Where routers get their IPv4 loopback and BGP Identifier from.
    pub loopback_prefix_v4: Ipv4Net,
    /// Where routers get their IPv6 loopback from.
    pub loopback_prefix_v6: Ipv6Net,
    /// What every router proposes in OPEN; never under three seconds (RFC 4271 §4.2).
    pub hold_time: Duration,
    /// Length of the fibre over that of the great circle.
    pub stretch: f64,
    /// The ASes, in the order of the file; other parts point here by index.
    pub systems: Vec<System>,
    /// The clients, in the order of the file.
    pub clients: Vec<Client>,
}

/// One AS.
#[derive(Clone, Debug)]
pub struct System {
    /// Its name.
    pub name: String,
    /// Its number.
    pub asn: Asn,
    /// One router in each.
    pub cities: Vec<Place>,
    /// Whom it pays: indices of systems.
    pub providers: Vec<usize>,
    /// With whom it exchanges: indices of systems; each pair stands at one of the two only.
    pub peers: Vec<usize>,
    /// What its routers are.
    pub implementation: Implementation,
    /// Its own IPv4 network, in which its clients live.
    pub prefix_v4: Option<Ipv4Net>,
    /// Its own IPv6 network.
    pub prefix_v6: Option<Ipv6Net>,
}

/// One client.
#[derive(Clone, Debug)]
pub struct Client {
    /// Its name.
    pub name: String,
    /// Its AS: index into [`World::systems`].
    pub system: usize,
    /// Its city: index into [`System::cities`].
    pub city: usize,
}

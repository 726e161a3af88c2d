//! Why world and fleet do not fit together.

use std::net::IpAddr;

use anycast_bgp::Asn;
use ipnet::IpNet;

/// Why world and fleet do not fit together.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum PlanError {
    /// Two nodes would have one name.
    #[error(
        "the name `{0}` stands for two nodes: rename the site, the client or the AS (a router is \
         called after its AS, or `as-city` where the AS has several)"
    )]
    NameTaken(String),
    /// A site's session uses an address of a network of the world.
    #[error(
        "{address}, which site `{site}` uses for BGP, is in {prefix}, the network of `{system}` in \
         this world: change one of them"
    )]
    AddressTaken {
        /// The site.
        site: String,
        /// Its own address, or its neighbor's.
        address: IpAddr,
        /// The network.
        prefix: IpNet,
        /// The AS of the world.
        system: String,
    },
    /// The fleet announces from an AS of the world.
    #[error("site `{site}` announces from AS {asn}, which the world gives to `{system}`")]
    AsnTaken {
        /// The site.
        site: String,
        /// The number.
        asn: Asn,
        /// The AS of the world.
        system: String,
    },
    /// A site has a neighbor of its own AS.
    #[error(
        "site `{site}` has neighbor {address} in its own AS {asn}: the lab has no routers of the \
         fleet's own beside the sites, so rehearse it without that neighbor"
    )]
    OwnNeighbor {
        /// The site.
        site: String,
        /// Its number.
        asn: Asn,
        /// The neighbor.
        address: IpAddr,
    },
    /// A site has a neighbor whose address is of one link alone.
    #[error(
        "site `{site}` has neighbor {address} on a link of its own (link-local): the lab's links have \
         other addresses, so rehearse it without that neighbor"
    )]
    LinkLocal {
        /// The site.
        site: String,
        /// The neighbor.
        address: IpAddr,
    },
    /// A site is nowhere.
    #[error(
        "nothing is known of where site `{0}` is: give it a `city`, or `latitude` and `longitude`"
    )]
    NoPlace(String),
    /// A router cannot listen where the fleet file says.
    #[error(
        "site `{site}` dials port {port} of AS {asn}, whose router is {implementation}: in the \
         lab, only our own routers listen elsewhere than at 179"
    )]
    Port {
        /// The site.
        site: String,
        /// The neighbor's number.
        asn: Asn,
        /// The port.
        port: u16,
        /// The neighbor's program.
        implementation: &'static str,
    },
    /// A site is attached to a router that cannot carry its packets.
    #[error(
        "site `{site}` has AS {asn} (`{system}`) as neighbor, whose router is {implementation}: \
         it puts no routes into the kernel and can only be a leaf; use anycast, bird or frr"
    )]
    CannotForward {
        /// The site.
        site: String,
        /// The neighbor's number.
        asn: Asn,
        /// The neighbor's name.
        system: String,
        /// Its program.
        implementation: &'static str,
    },
    /// There is nobody from whom an AS that the fleet names could buy transit.
    #[error(
        "the fleet names AS {asn}, which the world lacks, and the world has no transit to offer"
    )]
    NoTransit {
        /// The number.
        asn: Asn,
    },
    /// A pool is empty.
    #[error("`{key}` is too small for this world: {prefix} gives {room}; make it wider")]
    PoolTooSmall {
        /// The key of the world file.
        key: &'static str,
        /// Its value.
        prefix: IpNet,
        /// How many it has.
        room: String,
    },
    /// An AS has no network for its clients, or it is too small.
    #[error("the network {prefix} of `{system}` is too small for its clients: make it wider")]
    NetworkTooSmall {
        /// The AS.
        system: String,
        /// Its network.
        prefix: IpNet,
    },
}

//! The per-peer header (RFC 7854 §4.2, RFC 8671 §4, RFC 9069 §4).

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::iana::{peer_flag, peer_type};
use super::{Error, take};
use crate::Asn;

/// Which table of which peer a message is about, and when.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub struct PeerHeader {
    /// The table.
    pub monitored: Monitored,
    /// Tells apart peers of one address in several instances; zero in the global one.
    pub distinguisher: u64,
    /// The peer's AS; of the Loc-RIB, our own.
    pub asn: Asn,
    /// The peer's BGP Identifier; of the Loc-RIB, our own.
    pub router_id: Ipv4Addr,
    /// When what is told came to be.
    pub time: Timestamp,
}

/// A table that is told.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum Monitored {
    /// Of a neighbor.
    Neighbor {
        /// The instance that the session is in.
        instance: Instance,
        /// The neighbor's address.
        address: IpAddr,
        /// After policy.
        post_policy: bool,
        /// AS_PATH has AS numbers of two octets, as the neighbor knows no others.
        legacy_as_path: bool,
        /// What the neighbor is told rather than what it tells.
        adj_rib_out: bool,
    },
    /// The Loc-RIB (RFC 9069).
    LocRib {
        /// It is not told whole.
        filtered: bool,
    },
}

/// The instance that a session is in.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum Instance {
    /// The global one, which the Internet is in.
    Global,
    /// One that has a Route Distinguisher.
    RouteDistinguisher,
    /// One that has a number of local meaning.
    Local,
}

/// Since the beginning of 1970 (UTC). Zero: not known.
#[derive(Clone, Copy, Debug, Default, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct Timestamp {
    /// Seconds.
    pub seconds: u32,
    /// And microseconds.
    pub micros: u32,
}

/// An IPv4 address stands behind twelve octets of zero.
pub(super) fn sixteen_octets(address: IpAddr) -> [u8; 16] {
    match address {
        IpAddr::V4(address) => u128::from(address.to_bits()).to_be_bytes(),
        IpAddr::V6(address) => address.octets(),
    }
}

fn ipv4(octets: [u8; 16]) -> Result<IpAddr, Error> {
    let bits = u32::try_from(u128::from_be_bytes(octets)).map_err(|_| Error::PeerHeader)?;
    Ok(Ipv4Addr::from_bits(bits).into())
}

impl PeerHeader {
    pub(super) fn parse(rest: &mut &[u8]) -> Result<Self, Error> {
        let [kind, flags] = *take(rest)?;
        let distinguisher = u64::from_be_bytes(*take(rest)?);
        let address: [u8; 16] = *take(rest)?;
        let asn = Asn(u32::from_be_bytes(*take(rest)?));
        let router_id = Ipv4Addr::from(*take::<4>(rest)?);
        let seconds = u32::from_be_bytes(*take(rest)?);
        let micros = u32::from_be_bytes(*take(rest)?);
        let instance = match kind {
            peer_type::GLOBAL_INSTANCE => Some(Instance::Global),
            peer_type::RD_INSTANCE => Some(Instance::RouteDistinguisher),
            peer_type::LOCAL_INSTANCE => Some(Instance::Local),
            peer_type::LOC_RIB_INSTANCE => None,
            other => return Err(Error::PeerType(other)),
        };
        let monitored = match instance {
            None if address != [0; 16] => return Err(Error::PeerHeader),
            None => Monitored::LocRib { filtered: flags & peer_flag::FILTERED != 0 },
            Some(instance) => Monitored::Neighbor {
                instance,
                address: if flags & peer_flag::IPV6 == 0 {
                    ipv4(address)?
                } else {
                    Ipv6Addr::from(address).into()
                },
                post_policy: flags & peer_flag::POST_POLICY != 0,
                legacy_as_path: flags & peer_flag::LEGACY_AS_PATH != 0,
                adj_rib_out: flags & peer_flag::ADJ_RIB_OUT != 0,
            },
        };
        let time = Timestamp { seconds, micros };
        Ok(Self { monitored, distinguisher, asn, router_id, time })
    }

    pub(super) fn emit(&self, out: &mut Vec<u8>) {
        let (kind, flags, address) = match self.monitored {
            Monitored::LocRib { filtered } => {
                let flags = if filtered { peer_flag::FILTERED } else { 0 };
                (peer_type::LOC_RIB_INSTANCE, flags, [0; 16])
            }
            Monitored::Neighbor { instance, address, post_policy, legacy_as_path, adj_rib_out } => {
                let kind = match instance {
                    Instance::Global => peer_type::GLOBAL_INSTANCE,
                    Instance::RouteDistinguisher => peer_type::RD_INSTANCE,
                    Instance::Local => peer_type::LOCAL_INSTANCE,
                };
                let flags = [
                    (address.is_ipv6(), peer_flag::IPV6),
                    (post_policy, peer_flag::POST_POLICY),
                    (legacy_as_path, peer_flag::LEGACY_AS_PATH),
                    (adj_rib_out, peer_flag::ADJ_RIB_OUT),
                ];
                let flags =
                    flags.iter().filter(|(set, _)| *set).fold(0, |all, (_, flag)| all | flag);
                (kind, flags, sixteen_octets(address))
            }
        };
        out.extend_from_slice(&[kind, flags]);
        out.extend_from_slice(&self.distinguisher.to_be_bytes());
        out.extend_from_slice(&address);
        out.extend_from_slice(&self.asn.0.to_be_bytes());
        out.extend_from_slice(&self.router_id.octets());
        out.extend_from_slice(&self.time.seconds.to_be_bytes());
        out.extend_from_slice(&self.time.micros.to_be_bytes());
    }

    /// Our own address in a Peer Up is of the peer's family; that of the Loc-RIB is zero.
    pub(super) fn address_of_family(&self, octets: [u8; 16]) -> Result<IpAddr, Error> {
        match self.monitored {
            Monitored::LocRib { .. } if octets != [0; 16] => Err(Error::PeerHeader),
            Monitored::Neighbor { address: IpAddr::V6(_), .. } => Ok(Ipv6Addr::from(octets).into()),
            Monitored::LocRib { .. } | Monitored::Neighbor { .. } => ipv4(octets),
        }
    }
}

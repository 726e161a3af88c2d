//! What a site's programs have to know, checked at the door.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::num::NonZeroU8;

use thiserror::Error;

/// How many service addresses (with the tunnel addresses) the programs can hold.
pub const MAX_SERVICES: usize = 255;

/// A site's number. It is given once and never to another site: clients hold it in their packets.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SiteId(NonZeroU8);

impl SiteId {
    /// The id of a number from 1 to 255, `None` for 0. [`Config::id_bits`] may allow fewer.
    pub const fn new(number: u8) -> Option<Self> {
        match NonZeroU8::new(number) {
            Some(number) => Some(Self(number)),
            None => None,
        }
    }

    /// Its number.
    pub const fn get(self) -> u8 {
        self.0.get()
    }
}

/// An address that clients use, and what of it is to be kept at its owner.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServiceAddress {
    /// The address.
    pub address: IpAddr,
    /// Whether TCP connections are, on all ports.
    pub tcp: bool,
    /// The UDP port of QUIC connections that are.
    pub quic: Option<u16>,
}

/// Another site.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Peer {
    /// Its number.
    pub id: SiteId,
    /// Its name, for messages.
    pub name: String,
    /// Its unicast addresses: where frames are sent, and the only ones that they are taken from.
    pub v4: Option<Ipv4Addr>,
    /// See `v4`. Frames travel over IPv4 where both sites have it.
    pub v6: Option<Ipv6Addr>,
    /// Whether packets are sent to it. Frames from it are taken either way, so a site that is
    /// thought dead wrongly can still send.
    pub alive: bool,
}

/// A secret that all sites share, and its number.
#[derive(Clone, PartialEq, Eq)]
pub struct Key {
    /// Which key it is. The next one has the number after it, modulo 256.
    pub epoch: u8,
    /// 32 octets of good randomness: the first 16 are SipHash's key, the others AES-128's.
    pub secret: [u8; 32],
}

impl std::fmt::Debug for Key {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Key").field("epoch", &self.epoch).finish_non_exhaustive()
    }
}

/// How the programs are attached.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// Native XDP where the driver has it, else tc.
    Auto,
    /// XDP in the driver, or nothing.
    XdpNative,
    /// XDP in the kernel's stack. It sees packets after GRO has made large ones of them, so GRO must
    /// be off on the interface; [`Mode::Tc`] has no such need.
    XdpGeneric,
    /// The traffic control hook, on ingress.
    Tc,
}

impl std::fmt::Display for Mode {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Auto => "auto",
            Self::XdpNative => "xdp-native",
            Self::XdpGeneric => "xdp-generic",
            Self::Tc => "tc",
        })
    }
}

/// A token bucket.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rate {
    /// Packets per second in the long run.
    pub per_second: u32,
    /// Packets at once.
    pub burst: u32,
}

/// How much is carried at most, so that nobody can aim a flood at one site through the others.
/// `None` is no limit. A packet over a limit is dropped and counted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Budgets {
    /// Forwarded for one client (an IPv4 address, an IPv6 /64; some share a bucket by chance).
    pub source: Option<Rate>,
    /// Forwarded to one site by hint.
    pub site: Option<Rate>,
    /// Forwarded to one site because nobody knows whose the packet is.
    pub ring: Option<Rate>,
    /// Unwrapped from one site.
    pub peer: Option<Rate>,
}

impl Default for Budgets {
    fn default() -> Self {
        let rate = |per_second, burst| Some(Rate { per_second, burst });
        Self {
            source: rate(20_000, 4_000),
            site: rate(200_000, 20_000),
            ring: rate(20_000, 2_000),
            peer: rate(400_000, 40_000),
        }
    }
}

/// All that one site's programs need.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    /// This site.
    pub me: SiteId,
    /// How many of the lowest bits of TSval name the owner: 4 to 8, the same at all sites. Six
    /// are for 63 sites and move a timestamp by at most 63 units, usually milliseconds.
    pub id_bits: u8,
    /// The addresses that clients use.
    pub services: Vec<ServiceAddress>,
    /// This site's own unicast addresses, between which frames travel.
    pub tunnel_v4: Option<Ipv4Addr>,
    /// See `tunnel_v4`.
    pub tunnel_v6: Option<Ipv6Addr>,
    /// The UDP port of frames, the same at all sites.
    pub port: u16,
    /// The other sites.
    pub peers: Vec<Peer>,
    /// The key that signs.
    pub key: Key,
    /// The one before it or after it, which is taken too while keys are exchanged.
    pub other_key: Option<Key>,
    /// The interfaces that clients' packets and frames come in by, and answers leave by.
    pub interfaces: Vec<String>,
    /// How to attach.
    pub mode: Mode,
    /// The longest IP packet, in octets, that the way between sites carries.
    pub mtu: u16,
    /// Limits.
    pub budgets: Budgets,
}

/// Why a [`Config`] cannot be.
#[derive(Debug, Error, PartialEq, Eq)]
pub enum ConfigError {
    /// `id_bits` is out of range.
    #[error("the id takes 4 to 8 bits of the timestamp, not {0}")]
    IdBits(u8),
    /// An id needs more bits.
    #[error("site {id} does not fit into {bits} bits: ids go from 1 to {}", (1u16 << bits) - 1)]
    IdTooLarge {
        /// The id.
        id: u8,
        /// [`Config::id_bits`].
        bits: u8,
    },
    /// Two sites have one id.
    #[error("two sites have the id {0}")]
    SameId(u8),
    /// A site can be reached neither by IPv4 nor by IPv6 from here.
    #[error("site {0} and this site have no tunnel address of one family in common")]
    NoWay(String),
    /// No own address.
    #[error("this site has no tunnel address")]
    NoTunnel,
    /// An address stands there twice, or is a tunnel address as well.
    #[error("{0} stands there twice")]
    SameAddress(IpAddr),
    /// Too many addresses.
    #[error("{0} addresses are more than the {MAX_SERVICES} that the programs hold")]
    TooManyServices(usize),
    /// Both keys could be meant by one frame.
    #[error("the epochs of the two keys must follow one another: {0} and {1} do not")]
    Epochs(u8, u8),
    /// A packet of IPv6's least MTU must fit into a frame.
    #[error("an MTU of {0} is too small: IPv6 needs 1348")]
    Mtu(u16),
    /// Nothing to attach to.
    #[error("no interface is named")]
    NoInterface,
    /// A rate of nothing.
    #[error("a limit of 0 packets would stop all: leave it out for none")]
    Rate,
}

impl Config {
    /// Whether the parts fit together.
    ///
    /// # Errors
    ///
    /// The first thing that does not.
    pub fn check(&self) -> Result<(), ConfigError> {
        if !(4..=8).contains(&self.id_bits) {
            return Err(ConfigError::IdBits(self.id_bits));
        }
        let mut ids = BTreeSet::new();
        for id in std::iter::once(self.me).chain(self.peers.iter().map(|peer| peer.id)) {
            if u16::from(id.get()) >= 1 << self.id_bits {
                return Err(ConfigError::IdTooLarge { id: id.get(), bits: self.id_bits });
            }
            if !ids.insert(id) {
                return Err(ConfigError::SameId(id.get()));
            }
        }
        if self.tunnel_v4.is_none() && self.tunnel_v6.is_none() {
            return Err(ConfigError::NoTunnel);
        }
        for peer in &self.peers {
            if self.outer_is_v6(peer).is_none() {
                return Err(ConfigError::NoWay(peer.name.clone()));
            }
        }
        let mut addresses = BTreeSet::new();
        for address in self.addresses() {
            if !addresses.insert(address) {
                return Err(ConfigError::SameAddress(address));
            }
        }
        if addresses.len() > MAX_SERVICES {
            return Err(ConfigError::TooManyServices(addresses.len()));
        }
        if let Some(other) = &self.other_key {
            let (a, b) = (self.key.epoch, other.epoch);
            if a.wrapping_sub(b) != 1 && b.wrapping_sub(a) != 1 {
                return Err(ConfigError::Epochs(a, b));
            }
        }
        if self.mtu < 1280 + 68 {
            return Err(ConfigError::Mtu(self.mtu));
        }
        if self.interfaces.is_empty() {
            return Err(ConfigError::NoInterface);
        }
        let Budgets { source, site, ring, peer } = &self.budgets;
        if [source, site, ring, peer]
            .iter()
            .filter_map(|rate| rate.as_ref())
            .any(|rate| rate.per_second == 0 || rate.burst == 0)
        {
            return Err(ConfigError::Rate);
        }
        Ok(())
    }

    /// Services and tunnel addresses.
    pub(crate) fn addresses(&self) -> impl Iterator<Item = IpAddr> {
        let own = [self.tunnel_v4.map(IpAddr::V4), self.tunnel_v6.map(IpAddr::V6)];
        self.services.iter().map(|service| service.address).chain(own.into_iter().flatten())
    }

    /// From and to which addresses frames for a peer travel; `None` if there is no way.
    #[must_use]
    pub fn outer(&self, peer: &Peer) -> Option<(IpAddr, IpAddr)> {
        Some(if self.outer_is_v6(peer)? {
            (self.tunnel_v6?.into(), peer.v6?.into())
        } else {
            (self.tunnel_v4?.into(), peer.v4?.into())
        })
    }

    /// Whether frames to a peer travel over IPv6; `None` if there is no way.
    pub(crate) fn outer_is_v6(&self, peer: &Peer) -> Option<bool> {
        if self.tunnel_v4.is_some() && peer.v4.is_some() {
            Some(false)
        } else if self.tunnel_v6.is_some() && peer.v6.is_some() {
            Some(true)
        } else {
            None
        }
    }

    /// Live sites with this one, in the ring's order, which is that of their ids.
    pub(crate) fn ring(&self) -> Vec<SiteId> {
        let mut ring: Vec<SiteId> =
            self.peers.iter().filter(|peer| peer.alive).map(|peer| peer.id).collect();
        ring.push(self.me);
        ring.sort_unstable();
        ring
    }

    /// The next live site after `id` (which need not be live itself).
    pub(crate) fn after(&self, id: SiteId) -> SiteId {
        let ring = self.ring();
        *ring.iter().find(|site| **site > id).or_else(|| ring.first()).expect("this site is in it")
    }
}

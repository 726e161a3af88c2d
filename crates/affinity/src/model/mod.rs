//! What the packet programs do with a packet, in plain Rust: octets in, octets out.
//!
//! It is written from the rules of `docs/affinity-wire.md`, not from the programs, and tests hold the
//! two against each other: the same verdict, the same octets, the same reason. Budgets are not in it
//! (a test of their own looks at them), nor is where the kernel's routes lead: a packet that is sent
//! goes back to the router that it came from, as the programs do where the kernel has no answer.
//!
//! Nothing here panics, whatever it is given.

mod decide;
mod frame;
mod leave;
mod octets;
mod wrap;

use std::net::{IpAddr, SocketAddr};

pub use leave::leave;

use crate::config::{Config, SiteId};
use crate::counters::Reason;

/// Which of the two kinds of hook looks at the packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Context {
    /// XDP, native or generic.
    Xdp,
    /// tc, where the kernel may hold several segments as one packet.
    Tc,
}

/// What is done with it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// The kernel gets it.
    Pass,
    /// Nobody does.
    Drop,
    /// It goes out again.
    Send,
}

/// What became of a packet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outcome {
    /// What is done with it.
    pub action: Action,
    /// Its octets then, from the Ethernet header on. Of a dropped packet: as it came.
    pub octets: Vec<u8>,
    /// What was counted.
    pub reasons: Vec<Reason>,
}

/// What a decision depends on beside the packet.
pub struct World<'a> {
    /// What the programs were told.
    pub config: &'a Config,
    /// The hook.
    pub context: Context,
    /// Whether this host has the connection between a client and a service address.
    pub has_socket: &'a dyn Fn(SocketAddr, SocketAddr) -> bool,
    /// The wall clock, ns since 1970.
    pub now: u64,
}

/// What is done with a packet that comes in.
pub fn decide(packet: &[u8], world: &World<'_>) -> Outcome {
    let mut course = Course { world, octets: packet.to_vec(), reasons: Vec::new() };
    let action = course.ingress();
    let octets = if action == Action::Drop { packet.to_vec() } else { course.octets };
    Outcome { action, octets, reasons: course.reasons }
}

/// One packet on its way through the decisions.
struct Course<'a> {
    world: &'a World<'a>,
    octets: Vec<u8>,
    reasons: Vec<Reason>,
}

/// How a packet came here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum From {
    Wire,
    Hint { origin: SiteId },
    Ring { origin: SiteId, asked: Option<SiteId>, hops: u8 },
}

/// Where it goes from here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Verdict {
    Here,
    Refuse,
    Forward(Plan),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Plan {
    to: SiteId,
    ring: bool,
    origin: SiteId,
    asked: Option<SiteId>,
    hops: u8,
    reason: Reason,
}

/// What an address stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Purpose {
    Tunnel,
    Service { tcp: bool, quic: Option<u16> },
}

/// A TSval as the owner sends it: the smallest value not below it whose low bits are the id.
pub fn stamp(value: u32, me: SiteId, id_bits: u8) -> u32 {
    let modulus = 1_u32 << id_bits;
    let ahead = u32::from(me.get()).wrapping_sub(value) % modulus;
    value.wrapping_add(ahead)
}

impl World<'_> {
    fn purpose(&self, address: IpAddr) -> Option<Purpose> {
        let config = self.config;
        if config.tunnel_v4.map(IpAddr::V4) == Some(address)
            || config.tunnel_v6.map(IpAddr::V6) == Some(address)
        {
            return Some(Purpose::Tunnel);
        }
        let service = config.services.iter().find(|service| service.address == address)?;
        Some(Purpose::Service { tcp: service.tcp, quic: service.quic })
    }

    /// Time as frames have it: units of 2^30 ns.
    fn frame_time(&self) -> u32 {
        u32::try_from((self.now >> 30) & u64::from(u32::MAX)).expect("masked")
    }
}

//! The values of the programs' maps, octet for octet as `bpf/shared.h` has them. The assertions
//! below stand there as well.
#![expect(unsafe_code, reason = "aya takes values that are marked as plain data")]

use std::mem::{offset_of, size_of};

/// As `LAYOUT_VERSION`: pinned maps of another version are never taken over.
pub(crate) const VERSION: u32 = 1;
pub(crate) const MAX_SITES: usize = 256;
/// How XDP hangs at an interface, in the map `WAYS`.
pub(crate) const WAY_NATIVE: u32 = 1;
pub(crate) const WAY_GENERIC: u32 = 2;
pub(crate) const SERVICE_SLOTS: usize = 2048;
pub(crate) const SERVICE_TCP: u16 = 1;
pub(crate) const SERVICE_QUIC: u16 = 2;
pub(crate) const SERVICE_TUNNEL: u16 = 4;

/// `struct key`
#[repr(C)]
#[derive(Clone, Copy)]
pub(crate) struct Key {
    pub(crate) mac: [u64; 2],
    pub(crate) aes: [u32; 44],
    pub(crate) valid: u8,
    pub(crate) epoch: u8,
    pub(crate) pad: [u8; 6],
}

/// `struct config`
#[repr(C)]
#[derive(Clone, Copy)]
pub(crate) struct Config {
    pub(crate) wall_offset: u64,
    pub(crate) test_now: u64,
    pub(crate) slot_hi: u64,
    pub(crate) slot_lo: u64,
    pub(crate) source_cost: u64,
    pub(crate) source_burst: u64,
    pub(crate) site_cost: u64,
    pub(crate) site_burst: u64,
    pub(crate) ring_cost: u64,
    pub(crate) ring_burst: u64,
    pub(crate) peer_cost: u64,
    pub(crate) peer_burst: u64,
    pub(crate) seed: u64,
    pub(crate) id_mask: u32,
    pub(crate) me: u8,
    pub(crate) next: u8,
    pub(crate) ring_size: u8,
    pub(crate) signing: u8,
    pub(crate) port_be: u16,
    pub(crate) mtu: u16,
    pub(crate) mss4: u16,
    pub(crate) mss6: u16,
    pub(crate) tunnel6: [u8; 16],
    pub(crate) tunnel4: [u8; 4],
    pub(crate) pad: [u8; 4],
    pub(crate) keys: [Key; 2],
}

/// `struct peer`
#[repr(C)]
#[derive(Clone, Copy, Default)]
pub(crate) struct Peer {
    pub(crate) known: u8,
    pub(crate) alive: u8,
    pub(crate) next: u8,
    pub(crate) outer6: u8,
    pub(crate) has4: u8,
    pub(crate) has6: u8,
    pub(crate) pad: [u8; 2],
    pub(crate) v4: [u8; 4],
    pub(crate) exit: u32,
    pub(crate) v6: [u8; 16],
}

/// `struct service`
#[repr(C)]
#[derive(Clone, Copy, Default)]
pub(crate) struct Service {
    pub(crate) address: [u8; 16],
    pub(crate) quic_port_be: u16,
    pub(crate) flags: u16,
    pub(crate) pad: [u8; 4],
}

/// `struct services`
#[repr(C)]
#[derive(Clone, Copy)]
pub(crate) struct Services {
    pub(crate) slot: [u8; SERVICE_SLOTS],
    pub(crate) list: [Service; 256],
}

/// `struct next_hop`
#[repr(C)]
#[derive(Clone, Copy, Default)]
pub(crate) struct NextHop {
    pub(crate) until: u64,
    pub(crate) ifindex: u32,
    pub(crate) resolved: u8,
    pub(crate) pad: u8,
    pub(crate) destination: [u8; 6],
    pub(crate) source: [u8; 6],
    pub(crate) pad2: [u8; 6],
}

/// `struct aes_tables`
#[repr(C)]
#[derive(Clone, Copy)]
pub(crate) struct AesTables {
    pub(crate) round: [[u32; 256]; 4],
    pub(crate) last: [u8; 256],
}

/// `struct counters`
pub(crate) const REASONS: usize = 32;
#[repr(C)]
#[derive(Clone, Copy)]
pub(crate) struct Counters {
    pub(crate) of: [u64; REASONS],
}

/// `struct site_counters`
#[repr(C)]
#[derive(Clone, Copy)]
pub(crate) struct SiteCounters {
    pub(crate) hint: u64,
    pub(crate) ring: u64,
    pub(crate) received: u64,
    pub(crate) limited: u64,
}

const _: () = {
    assert!(size_of::<Key>() == 200);
    assert!(size_of::<Config>() == 544);
    assert!(offset_of!(Config, id_mask) == 104);
    assert!(offset_of!(Config, port_be) == 112);
    assert!(offset_of!(Config, tunnel6) == 120);
    assert!(offset_of!(Config, keys) == 144);
    assert!(size_of::<Peer>() == 32);
    assert!(offset_of!(Peer, v4) == 8);
    assert!(offset_of!(Peer, v6) == 16);
    assert!(size_of::<Service>() == 24);
    assert!(size_of::<Services>() == 8192);
    assert!(size_of::<NextHop>() == 32);
    assert!(offset_of!(NextHop, destination) == 14);
    assert!(size_of::<AesTables>() == 4352);
    assert!(size_of::<SiteCounters>() == 32);
    assert!(crate::counters::Reason::ALL.len() == REASONS);
};

// SAFETY: all of them are `repr(C)`, made of integers and arrays of integers, without padding (each
// gap is a field, and the sizes are asserted above), and every pattern of bits is a value.
unsafe impl aya::Pod for Config {}
// SAFETY: as above.
unsafe impl aya::Pod for Peer {}
// SAFETY: as above.
unsafe impl aya::Pod for Services {}
// SAFETY: as above.
unsafe impl aya::Pod for NextHop {}
// SAFETY: as above.
unsafe impl aya::Pod for AesTables {}
// SAFETY: as above.
unsafe impl aya::Pod for Counters {}
// SAFETY: as above.
unsafe impl aya::Pod for SiteCounters {}

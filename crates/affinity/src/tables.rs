//! From a [`Config`] to the values of the programs' maps.

use std::net::IpAddr;

use crate::config::{Config, ConfigError, Key, Rate};
use crate::layout;

/// The values of the maps that a configuration fills.
pub(crate) struct Tables {
    pub(crate) config: layout::Config,
    pub(crate) services: Box<layout::Services>,
    pub(crate) peers: Vec<layout::Peer>,
}

/// Octets of the headers before the inner packet.
pub(crate) const fn overhead(outer6: bool) -> u16 {
    if outer6 { 40 + 8 + 20 } else { 20 + 8 + 20 }
}

/// The tables of a configuration. `seed` is any number that outsiders do not know: it decides which
/// clients share a budget.
pub(crate) fn tables(from: &Config, wall_offset: u64, seed: u64) -> Result<Tables, ConfigError> {
    from.check()?;
    let (services, slot_hi, slot_lo) = services(from);
    let outer6 = from.peers.iter().any(|peer| from.outer_is_v6(peer) == Some(true));
    let room = from.mtu - overhead(outer6);
    let mut keys = [no_key(); 2];
    for key in std::iter::once(&from.key).chain(&from.other_key) {
        keys[usize::from(key.epoch & 1)] = key_value(key);
    }
    let budget = |rate: Option<Rate>| {
        rate.map_or((0, 0), |rate| {
            let cost = 1_000_000_000 / u64::from(rate.per_second);
            (cost, cost * u64::from(rate.burst))
        })
    };
    let (source_cost, source_burst) = budget(from.budgets.source);
    let (site_cost, site_burst) = budget(from.budgets.site);
    let (ring_cost, ring_burst) = budget(from.budgets.ring);
    let (peer_cost, peer_burst) = budget(from.budgets.peer);
    let config = layout::Config {
        wall_offset,
        test_now: 0,
        slot_hi,
        slot_lo,
        source_cost,
        source_burst,
        site_cost,
        site_burst,
        ring_cost,
        ring_burst,
        peer_cost,
        peer_burst,
        seed,
        id_mask: (1 << from.id_bits) - 1,
        me: from.me.get(),
        next: from.after(from.me).get(),
        ring_size: u8::try_from(from.ring().len()).expect("ids are a u8, and 0 is none"),
        signing: from.key.epoch & 1,
        port_be: from.port.to_be(),
        mtu: from.mtu,
        // Without other sites nothing is ever wrapped.
        mss4: if from.peers.is_empty() { 0 } else { room - 40 },
        mss6: if from.peers.is_empty() { 0 } else { room - 60 },
        tunnel6: from.tunnel_v6.map_or([0; 16], |address| address.octets()),
        tunnel4: from.tunnel_v4.map_or([0; 4], |address| address.octets()),
        pad: [0; 4],
        keys,
    };
    let mut peers = vec![layout::Peer::default(); layout::MAX_SITES];
    for peer in &from.peers {
        peers[usize::from(peer.id.get())] = layout::Peer {
            known: 1,
            alive: u8::from(peer.alive),
            next: from.after(peer.id).get(),
            outer6: u8::from(from.outer_is_v6(peer) == Some(true)),
            has4: u8::from(peer.v4.is_some()),
            has6: u8::from(peer.v6.is_some()),
            pad: [0; 2],
            v4: peer.v4.map_or([0; 4], |address| address.octets()),
            exit: 0,
            v6: peer.v6.map_or([0; 16], |address| address.octets()),
        };
    }
    Ok(Tables { config, services, peers })
}

fn no_key() -> layout::Key {
    layout::Key { mac: [0; 2], aes: [0; 44], valid: 0, epoch: 0, pad: [0; 6] }
}

fn key_value(key: &Key) -> layout::Key {
    layout::Key {
        mac: mac_key(key),
        aes: crate::aes_tables::decryption_keys(&aes_key(key)),
        valid: 1,
        epoch: key.epoch,
        pad: [0; 6],
    }
}

/// The half of the secret that signs frames.
pub(crate) fn mac_key(key: &Key) -> [u64; 2] {
    let half =
        |at: usize| u64::from_le_bytes(key.secret[at..at + 8].try_into().expect("eight octets"));
    [half(0), half(8)]
}

/// The half that hides the owner in QUIC's connection ids.
pub(crate) fn aes_key(key: &Key) -> [u8; 16] {
    key.secret[16..].try_into().expect("the other sixteen")
}

/// An address in sixteen octets: IPv4 as `::ffff:a.b.c.d`.
fn octets(address: IpAddr) -> [u8; 16] {
    match address {
        IpAddr::V4(address) => address.to_ipv6_mapped().octets(),
        IpAddr::V6(address) => address.octets(),
    }
}

/// The table of addresses, and the multipliers under which no two share a slot.
fn services(from: &Config) -> (Box<layout::Services>, u64, u64) {
    let mut list = vec![layout::Service::default()];
    for service in &from.services {
        list.push(layout::Service {
            address: octets(service.address),
            quic_port_be: service.quic.unwrap_or_default().to_be(),
            flags: if service.tcp { layout::SERVICE_TCP } else { 0 }
                | if service.quic.is_some() { layout::SERVICE_QUIC } else { 0 },
            pad: [0; 4],
        });
    }
    for address in from.addresses().skip(from.services.len()) {
        list.push(layout::Service {
            address: octets(address),
            flags: layout::SERVICE_TUNNEL,
            ..layout::Service::default()
        });
    }
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    loop {
        let (hi, lo) = (split_mix(&mut state) | 1, split_mix(&mut state) | 1);
        if let Some(slot) = place(&list, hi, lo) {
            let mut all = [layout::Service::default(); 256];
            all[..list.len()].copy_from_slice(&list);
            return (Box::new(layout::Services { slot, list: all }), hi, lo);
        }
    }
}

/// A slot for each, or nothing if two want the same. With all 255 addresses one try in four million
/// would do for random slots, so tables that full take noticeable time; a hundred take none.
fn place(list: &[layout::Service], hi: u64, lo: u64) -> Option<[u8; layout::SERVICE_SLOTS]> {
    let mut slot = [0; layout::SERVICE_SLOTS];
    for (index, service) in list.iter().enumerate().skip(1) {
        let word = |at: usize| {
            u64::from_ne_bytes(service.address[at..at + 8].try_into().expect("eight octets"))
        };
        let at = word(0).wrapping_mul(hi).wrapping_add(word(8).wrapping_mul(lo)) >> 53;
        let place = &mut slot[usize::try_from(at).expect("eleven bits")];
        if *place != 0 {
            return None;
        }
        *place = u8::try_from(index).expect("the configuration was checked");
    }
    Some(slot)
}

/// Steele, Lea and Flood, "Fast splittable pseudorandom number generators", 2014.
fn split_mix(state: &mut u64) -> u64 {
    *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mut z = *state;
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

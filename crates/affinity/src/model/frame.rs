//! The frame: twenty octets between a UDP header and the packet of a connection.

use super::octets::{be16, be32, octet};
use crate::config::{Config, Key, SiteId};
use crate::siphash::siphash;
use crate::tables::mac_key;

pub(super) const LENGTH: usize = 20;
const VERSION: u8 = 0x40;
const FIXED: u8 = 0xf8;
const RING: u8 = 1;
const INNER6: u8 = 2;
const LOOSE: u8 = 4;

/// A frame's fields, without its tag.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Frame {
    pub(super) ring: bool,
    pub(super) inner6: bool,
    /// Its sender cannot know how the kernel cuts the packet up: neither length nor sequence number is
    /// signed.
    pub(super) loose: bool,
    pub(super) epoch: u8,
    pub(super) sender: u8,
    pub(super) origin: u8,
    pub(super) asked: u8,
    pub(super) hops: u8,
    pub(super) length: u16,
    pub(super) time: u32,
}

impl Frame {
    /// The frame at the beginning of `octets` and its tag; `None` if it is of another version.
    pub(super) fn parse(octets: &[u8]) -> Option<(Self, u64)> {
        let kind = octet(octets, 0)?;
        let tag = u64::from_le_bytes(octets.get(12..LENGTH)?.try_into().ok()?);
        if kind & FIXED != VERSION {
            return None;
        }
        let frame = Self {
            ring: kind & RING != 0,
            inner6: kind & INNER6 != 0,
            loose: kind & LOOSE != 0,
            epoch: octet(octets, 1)?,
            sender: octet(octets, 2)?,
            origin: octet(octets, 3)?,
            asked: octet(octets, 4)?,
            hops: octet(octets, 5)?,
            length: be16(octets, 6)?,
            time: be32(octets, 8)?,
        };
        Some((frame, tag))
    }

    /// The twelve octets before the tag.
    fn head(&self) -> [u8; 12] {
        let kind = VERSION
            | if self.ring { RING } else { 0 }
            | if self.inner6 { INNER6 } else { 0 }
            | if self.loose { LOOSE } else { 0 };
        let [l0, l1] = self.length.to_be_bytes();
        let [t0, t1, t2, t3] = self.time.to_be_bytes();
        [kind, self.epoch, self.sender, self.origin, self.asked, self.hops, l0, l1, t0, t1, t2, t3]
    }

    /// The frame's octets before a packet that goes to `receiver`. `None` if the packet is too short to
    /// be signed.
    pub(super) fn emit(&self, key: &Key, packet: &[u8], receiver: SiteId) -> Option<[u8; LENGTH]> {
        let mut octets = [0; LENGTH];
        octets[..12].copy_from_slice(&self.head());
        octets[12..].copy_from_slice(&self.tag(key, packet, receiver)?.to_le_bytes());
        Some(octets)
    }

    /// The tag: SipHash-2-4 of the frame, the packet's ports, what stands behind them, protocol, TCP
    /// flags, receiver and addresses.
    pub(super) fn tag(&self, key: &Key, packet: &[u8], receiver: SiteId) -> Option<u64> {
        let (l4, protocol) =
            if self.inner6 { (40, octet(packet, 6)?) } else { (20, octet(packet, 9)?) };
        let addresses = if self.inner6 { packet.get(8..40)? } else { packet.get(12..20)? };
        let head = packet.get(l4..l4 + 20)?;
        let mut message = self.head().to_vec();
        message.extend_from_slice(&head[..4]);
        message.extend_from_slice(if self.loose { &[0; 4] } else { &head[4..8] });
        let flags = if protocol == 6 && !self.loose { head[13] } else { 0 };
        message.extend_from_slice(&[protocol, flags, receiver.get(), 0]);
        message.extend_from_slice(addresses);
        let words: Vec<u64> = message
            .chunks_exact(8)
            .map(|word| u64::from_le_bytes(word.try_into().expect("eight octets")))
            .collect();
        Some(siphash(mac_key(key), &words))
    }
}

/// The key of an epoch, if it is one of the two.
pub(super) fn key(config: &Config, epoch: u8) -> Option<&Key> {
    std::iter::once(&config.key).chain(&config.other_key).find(|key| key.epoch == epoch)
}

//! Connection ids of QUIC that name their owner to those who have the key, and look random to all
//! others: draft-ietf-quic-load-balancers-19.
//!
//! Of the draft, [`Scheme`] has all: configuration rotation, the self-encoded length, plaintext ids,
//! and AES-128 in one pass (a server id and nonce of 16 octets together) or in four. The packet
//! programs read one scheme only, the one that [`Owner`] makes: 17 octets in one pass, with a server id
//! of four. They decrypt one block a packet; four passes would cost four. See docs/decisions/0042.

use aes::Aes128;
use aes::cipher::{BlockCipherDecrypt, BlockCipherEncrypt, KeyInit};

use crate::config::{Config, Key, SiteId};
use crate::tables::aes_key;

/// The length of the ids that the programs can read, in octets.
pub const LENGTH: usize = 17;
/// Octets of the nonce that [`Owner::connection_id`] takes.
pub const NONCE_LENGTH: usize = 12;

/// One configuration of the draft (section 3): how ids with one value of the three highest bits of their
/// first octet are made.
#[derive(Clone)]
pub struct Scheme {
    rotation: u8,
    server_id: usize,
    nonce: usize,
    cipher: Option<Box<Aes128>>,
}

impl Scheme {
    /// A scheme with server ids and nonces of so many octets; without a key they are not encrypted.
    /// `None` if the draft has no such scheme: `rotation` goes from 0 to 6, a server id has 1 to 15
    /// octets, a nonce at least 4, both together at most 19.
    pub fn new(
        rotation: u8,
        server_id: usize,
        nonce: usize,
        key: Option<&[u8; 16]>,
    ) -> Option<Self> {
        let fits =
            rotation <= 6 && (1..=15).contains(&server_id) && nonce >= 4 && server_id + nonce <= 19;
        fits.then(|| Self {
            rotation,
            server_id,
            nonce,
            cipher: key.map(|key| Box::new(Aes128::new(&(*key).into()))),
        })
    }

    /// The length of an id, in octets.
    pub fn length(&self) -> usize {
        1 + self.server_id + self.nonce
    }

    /// An id. The nonce must never be used twice with one key: count, or draw at random (section 5.4).
    /// `None` if either is not as long as the scheme says.
    pub fn encode(&self, server_id: &[u8], nonce: &[u8]) -> Option<Vec<u8>> {
        if server_id.len() != self.server_id || nonce.len() != self.nonce {
            return None;
        }
        let mut id = vec![self.rotation << 5 | u8::try_from(self.server_id + self.nonce).ok()?];
        let plain = [server_id, nonce].concat();
        match &self.cipher {
            None => id.extend(plain),
            Some(cipher) if plain.len() == 16 => id.extend(one_pass(cipher, &plain, true)?),
            Some(cipher) => id.extend(four_passes(cipher, &plain, &[1, 2, 3, 4])),
        }
        Some(id)
    }

    /// The server id of an id that may be longer than it is (in a short header nothing says where it
    /// ends). `None` if it is too short or of another configuration.
    pub fn decode(&self, id: &[u8]) -> Option<Vec<u8>> {
        let hidden = id.get(1..self.length())?;
        if id[0] >> 5 != self.rotation {
            return None;
        }
        let mut plain = match &self.cipher {
            None => hidden.to_vec(),
            Some(cipher) if hidden.len() == 16 => one_pass(cipher, hidden, false)?,
            Some(cipher) => four_passes(cipher, hidden, &[4, 3, 2, 1]),
        };
        plain.truncate(self.server_id);
        Some(plain)
    }
}

/// Section 5.4.1: where server id and nonce make a block.
fn one_pass(cipher: &Aes128, octets: &[u8], encrypt: bool) -> Option<Vec<u8>> {
    let octets: [u8; 16] = octets.try_into().ok()?;
    let mut block = octets.into();
    if encrypt {
        cipher.encrypt_block(&mut block);
    } else {
        cipher.decrypt_block(&mut block);
    }
    Some(block.to_vec())
}

/// Section 5.4.2: a Feistel network of four rounds over two halves, which share an octet (four bits each)
/// where their sum is odd. Decryption takes the passes in the opposite order.
fn four_passes(cipher: &Aes128, octets: &[u8], passes: &[u8]) -> Vec<u8> {
    let (length, half) = (octets.len(), octets.len().div_ceil(2));
    let odd = length % 2 == 1;
    let mut left = octets[..half].to_vec();
    let mut right = octets[length - half..].to_vec();
    if odd {
        left[half - 1] &= 0xf0;
        right[0] &= 0x0f;
    }
    for pass in passes {
        let (from, to) = if pass % 2 == 1 { (&left, &mut right) } else { (&right, &mut left) };
        let mut block = [0; 16];
        block[..half].copy_from_slice(from);
        block[14] = u8::try_from(length).expect("at most 19");
        block[15] = *pass;
        let mut block = block.into();
        cipher.encrypt_block(&mut block);
        for (octet, with) in to.iter_mut().zip(block) {
            *octet ^= with;
        }
        if odd {
            left[half - 1] &= 0xf0;
            right[0] &= 0x0f;
        }
    }
    let mut all = left;
    if odd {
        all[half - 1] |= right[0];
        all.extend_from_slice(&right[1..]);
    } else {
        all.extend_from_slice(&right);
    }
    all
}

/// What makes a site's connection ids: for a server's `ConnectionIdGenerator` or the like.
#[derive(Clone)]
pub struct Owner {
    scheme: Scheme,
    server_id: [u8; 4],
}

impl Owner {
    /// Ids of a site under a key. `server` may tell the servers of a site apart; the programs leave it
    /// for a later step inside the site.
    pub fn new(me: SiteId, key: &Key, server: u16) -> Self {
        let [high, low] = server.to_be_bytes();
        Self { scheme: scheme(key), server_id: [me.get(), 0, high, low] }
    }

    /// An id. `nonce` must be new each time: twelve random octets are.
    pub fn connection_id(&self, nonce: &[u8; NONCE_LENGTH]) -> [u8; LENGTH] {
        self.scheme
            .encode(&self.server_id, nonce)
            .and_then(|id| id.try_into().ok())
            .expect("the lengths are the scheme's")
    }

    /// Whether an id is one of this site's, and for which server.
    pub fn server(&self, id: &[u8]) -> Option<u16> {
        match *self.scheme.decode(id)? {
            [site, 0, high, low] if site == self.server_id[0] => {
                Some(u16::from_be_bytes([high, low]))
            }
            _ => None,
        }
    }
}

/// The programs' scheme under a key. The key's epoch, modulo 4, is the configuration's number.
fn scheme(key: &Key) -> Scheme {
    Scheme::new(key.epoch & 3, 4, NONCE_LENGTH, Some(&aes_key(key))).expect("the draft has it")
}

/// The site that a UDP datagram to a service names, as the programs see it: by the destination
/// connection id of a long header if it has 17 octets, or by the first octets of a short one (RFC 9000,
/// sections 17.2 and 17.3; RFC 8999).
pub fn owner(datagram: &[u8], config: &Config) -> Option<SiteId> {
    let id = if datagram.first()? & 0x80 == 0 {
        datagram.get(1..1 + LENGTH)?
    } else {
        if datagram.get(1..5)? == [0; 4] || usize::from(*datagram.get(5)?) != LENGTH {
            return None;
        }
        datagram.get(6..6 + LENGTH)?
    };
    // Which key: epochs that follow one another differ in their lowest bit.
    let key = std::iter::once(&config.key)
        .chain(&config.other_key)
        .find(|key| key.epoch & 1 == id[0] >> 5 & 1)?;
    match *scheme(key).decode(id)? {
        [site, 0, _, _] => SiteId::new(site),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// The draft's key and ids (appendix B).
    const KEY: [u8; 16] = [
        0x8f, 0x95, 0xf0, 0x92, 0x45, 0x76, 0x5f, 0x80, 0x25, 0x69, 0x34, 0xe5, 0x0c, 0x66, 0x20,
        0x7f,
    ];

    fn hex(text: &str) -> Vec<u8> {
        (0..text.len())
            .step_by(2)
            .map(|at| u8::from_str_radix(&text[at..at + 2], 16).unwrap())
            .collect()
    }

    #[test]
    fn ids_are_the_drafts() {
        for (rotation, server_id, nonce, id) in [
            (0, "ed793a", "ee080dbf", "0720b1d07b359d3c"),
            (1, "ed793a51d49b8f5fab65", "ee080dbf48", "2fcc381bc74cb4fbad2823a3d1f8fed2"),
            (2, "ed793a51d49b8f5f", "ee080dbf48c0d1e5", "504dd2d05a7b0de9b2b9907afb5ecf8cc3"),
            (
                0,
                "ed793a51d49b8f5fab",
                "ee080dbf48c0d1e55d",
                "125779c9cc86beb3a3a4a3ca96fce4bfe0cdbc",
            ),
        ] {
            let (server_id, nonce) = (hex(server_id), hex(nonce));
            let scheme = Scheme::new(rotation, server_id.len(), nonce.len(), Some(&KEY)).unwrap();
            assert_eq!(scheme.encode(&server_id, &nonce), Some(hex(id)), "{id}");
            assert_eq!(scheme.decode(&hex(id)), Some(server_id), "{id}");
        }
    }

    #[test]
    fn schemes_that_the_draft_does_not_have_are_none() {
        for (rotation, server_id, nonce) in
            [(7, 4, 12), (0, 0, 12), (0, 16, 4), (0, 4, 3), (0, 10, 10)]
        {
            assert!(Scheme::new(rotation, server_id, nonce, None).is_none());
        }
    }

    proptest! {
        #[test]
        fn what_was_encoded_is_decoded(
            rotation in 0_u8..=6,
            (server_id, nonce) in (1_usize..=15).prop_flat_map(|server| (
                proptest::collection::vec(any::<u8>(), server),
                proptest::collection::vec(any::<u8>(), 4..=19 - server.min(15)),
            )),
            key in proptest::option::of(any::<[u8; 16]>()),
            behind in proptest::collection::vec(any::<u8>(), 0..8),
        ) {
            let scheme = Scheme::new(rotation, server_id.len(), nonce.len(), key.as_ref()).unwrap();
            let mut id = scheme.encode(&server_id, &nonce).unwrap();
            prop_assert_eq!(id.len(), scheme.length());
            prop_assert_eq!(usize::from(id[0] & 0x1f) + 1, id.len());
            id.extend(behind);
            prop_assert_eq!(scheme.decode(&id), Some(server_id));
        }

        #[test]
        fn owner_reads_anything(datagram in proptest::collection::vec(any::<u8>(), 0..64)) {
            let _ = owner(&datagram, &crate::testing::config());
        }
    }
}

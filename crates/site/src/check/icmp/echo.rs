//! Echo messages of ICMP (RFC 792) and ICMPv6 (RFC 4443 §4): octets out and in.
//!
//! ```text
//! | type | code | checksum: 2 | identifier: 2 | sequence number: 2 | data … |
//! ```
//!
//! Requests are told from each other by a random token in the data, for the kernel may put an
//! identifier of its own.

/// Random octets of one request.
pub(crate) type Token = [u8; 16];

/// Which of the two protocols; their numbers differ.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Family {
    /// ICMP.
    V4,
    /// ICMPv6.
    V6,
}

const HEADER: usize = 8;

impl Family {
    /// The types of request and reply: IANA "ICMP Type Numbers", "ICMPv6 type Numbers".
    const fn types(self) -> (u8, u8) {
        match self {
            Self::V4 => (8, 0),
            Self::V6 => (128, 129),
        }
    }
}

/// An echo request with the token as its data. The checksum of ICMPv6 has the addresses in it and
/// is left to the kernel.
pub(crate) fn request(family: Family, token: &Token) -> Vec<u8> {
    let (request, _) = family.types();
    let mut octets = vec![request, 0, 0, 0];
    octets.extend_from_slice(&token[..2]);
    octets.extend_from_slice(&[0, 1]);
    octets.extend_from_slice(token);
    if family == Family::V4 {
        let checksum = checksum(&octets);
        octets[2..4].copy_from_slice(&checksum.to_be_bytes());
    }
    octets
}

/// Whether the ICMP message is the reply to the request with that token. The kernel has looked at
/// its checksum.
pub(crate) fn is_reply(octets: &[u8], family: Family, token: &Token) -> bool {
    let (_, reply) = family.types();
    octets.starts_with(&[reply, 0]) && octets.get(HEADER..) == Some(token.as_slice())
}

/// What is in an IPv4 packet; `None` if it is none (RFC 791 §3.1).
pub(crate) fn without_ip_header(packet: &[u8]) -> Option<&[u8]> {
    let first = packet.first()?;
    let words = usize::from(first & 0x0f);
    if first >> 4 != 4 || words < 5 {
        return None;
    }
    packet.get(words * 4..)
}

/// The Internet checksum (RFC 1071) of octets whose checksum is zero; of others it is zero if
/// their checksum is right.
pub(crate) fn checksum(octets: &[u8]) -> u16 {
    let pairs = octets.chunks(2).map(|pair| {
        u32::from(u16::from_be_bytes([pair[0], pair.get(1).copied().unwrap_or_default()]))
    });
    let mut sum: u32 = pairs.sum();
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !u16::try_from(sum).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const TOKEN: Token = *b"0123456789abcdef";

    #[test]
    fn a_request_is_written_as_the_rfcs_say() {
        let v4 = request(Family::V4, &TOKEN);
        assert_eq!(v4[..2], [8, 0]);
        assert_eq!(checksum(&v4), 0, "its checksum is right");
        assert_eq!(v4[4..], *b"01\x00\x010123456789abcdef");
        let v6 = request(Family::V6, &TOKEN);
        assert_eq!(v6[..4], [128, 0, 0, 0]);
        assert_eq!(v6[4..], v4[4..]);
    }

    #[test]
    fn the_header_of_ip_is_as_long_as_it_says() {
        for (packet, inside) in [
            (&[&[0x45][..], &[0; 19], b"icmp"].concat()[..], Some(&b"icmp"[..])),
            (&[&[0x46][..], &[0; 23], b"icmp"].concat(), Some(b"icmp")),
            (&[&[0x45][..], &[0; 19]].concat(), Some(b"")),
            (&[&[0x45][..], &[0; 18]].concat(), None),
            (&[&[0x44][..], &[0; 19], b"icmp"].concat(), None),
            (&[&[0x65][..], &[0; 39]].concat(), None),
            (b"", None),
        ] {
            assert_eq!(without_ip_header(packet), inside, "{packet:02x?}");
        }
    }

    proptest! {
        #[test]
        fn only_the_reply_with_the_token_is_one(
            token: Token,
            identifier: [u8; 2],
            other in prop::collection::vec(any::<u8>(), 0..64),
        ) {
            for (family, number) in [(Family::V4, 0), (Family::V6, 129)] {
                let request = request(family, &token);
                prop_assert!(!is_reply(&request, family, &token), "one's own request is none");
                let mut reply = request;
                reply[0] = number;
                reply[4..6].copy_from_slice(&identifier);
                prop_assert!(is_reply(&reply, family, &token));
                for len in 0..reply.len() {
                    prop_assert!(!is_reply(&reply[..len], family, &token));
                }
                reply[8] ^= 1;
                prop_assert!(!is_reply(&reply, family, &token));
                prop_assert!(!is_reply(&other, family, &token));
            }
            let _ = without_ip_header(&other);
        }
    }
}

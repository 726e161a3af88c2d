//! Communities: plain (RFC 1997), extended (RFC 4360) and large (RFC 8092).

use std::fmt;
use std::net::Ipv4Addr;
use std::str::FromStr;

/// A plain community, written `64500:120`.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct Community(pub u32);

/// An extended community, as its eight octets; written `rt:64500:1`, or `0x…` if it has no name.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct ExtendedCommunity(pub [u8; 8]);

/// A large community, written `64500:1:2`.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct LargeCommunity {
    /// The global administrator: an autonomous system number.
    pub global: u32,
    /// Local data, part 1.
    pub local1: u32,
    /// Local data, part 2.
    pub local2: u32,
}

impl Community {
    /// Ask the neighbor to make this route its last choice (RFC 8326).
    pub const GRACEFUL_SHUTDOWN: Self = Self(0xffff_0000);
    /// A last resort: its neighbor has been away for long (RFC 9494).
    pub const LLGR_STALE: Self = Self(0xffff_0006);
    /// Not to be kept for long when its neighbor is away (RFC 9494).
    pub const NO_LLGR: Self = Self(0xffff_0007);
    /// Ask the neighbor to drop traffic to the prefix (RFC 7999).
    pub const BLACKHOLE: Self = Self(0xffff_029a);
    /// Not beyond the AS (or confederation) that receives it (RFC 1997).
    pub const NO_EXPORT: Self = Self(0xffff_ff01);
    /// Not to any other speaker (RFC 1997).
    pub const NO_ADVERTISE: Self = Self(0xffff_ff02);
    /// Not beyond the AS that receives it, confederation members included (RFC 1997).
    pub const NO_EXPORT_SUBCONFED: Self = Self(0xffff_ff03);

    const NAMES: [(Self, &str); 7] = [
        (Self::GRACEFUL_SHUTDOWN, "graceful-shutdown"),
        (Self::LLGR_STALE, "llgr-stale"),
        (Self::NO_LLGR, "no-llgr"),
        (Self::BLACKHOLE, "blackhole"),
        (Self::NO_EXPORT, "no-export"),
        (Self::NO_ADVERTISE, "no-advertise"),
        (Self::NO_EXPORT_SUBCONFED, "no-export-subconfed"),
    ];
}

/// The text is not a community.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("not a community: write 64500:120, 64500:1:2, or a name such as no-export")]
pub struct NotACommunity;

impl fmt::Display for Community {
    /// The well-known name if there is one, else `high:low`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match Self::NAMES.iter().find(|(community, _)| community == self) {
            Some((_, name)) => f.write_str(name),
            None => write!(f, "{}:{}", self.0 >> 16, self.0 & 0xffff),
        }
    }
}

impl FromStr for Community {
    type Err = NotACommunity;

    fn from_str(text: &str) -> Result<Self, NotACommunity> {
        if let Some((community, _)) = Self::NAMES.iter().find(|(_, name)| *name == text) {
            return Ok(*community);
        }
        let (high, low) = text.split_once(':').ok_or(NotACommunity)?;
        let part = |digits| number::<u16>(digits);
        Ok(Self(u32::from(part(high)?) << 16 | u32::from(part(low)?)))
    }
}

/// Digits only: the standard library would also read a sign.
pub(crate) fn number<T: FromStr>(digits: &str) -> Result<T, NotACommunity> {
    let number = if digits.starts_with('+') { None } else { digits.parse().ok() };
    number.ok_or(NotACommunity)
}

/// The sub-types that have names (RFC 4360 §§4, 5), for each of the three types of an AS number
/// or address.
const EXTENDED_NAMES: [(&str, u8); 2] = [("rt", 2), ("ro", 3)];
/// The transitive types with a two-octet AS number (RFC 4360 §3.1), an IPv4 address (§3.2) and a
/// four-octet AS number (RFC 5668 §2).
const TWO_OCTET_AS: u8 = 0;
const IPV4_ADDRESS: u8 = 1;
const FOUR_OCTET_AS: u8 = 2;

impl fmt::Display for ExtendedCommunity {
    /// `rt:64500:1` for a route target, `ro:…` for a route origin, else all octets: `0x…`. The
    /// administrator may be an IPv4 address. What is written is read as the same octets.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [kind, subtype, value @ ..] = self.0;
        let name = EXTENDED_NAMES.iter().find(|(_, number)| *number == subtype);
        let administrator = u32::from_be_bytes([value[0], value[1], value[2], value[3]]);
        let assigned = u16::from_be_bytes([value[4], value[5]]);
        match (name, kind) {
            (Some((name, _)), TWO_OCTET_AS) => {
                let assigned = administrator << 16 | u32::from(assigned);
                write!(f, "{name}:{}:{assigned}", administrator >> 16)
            }
            (Some((name, _)), IPV4_ADDRESS) => {
                write!(f, "{name}:{}:{assigned}", Ipv4Addr::from(administrator))
            }
            (Some((name, _)), FOUR_OCTET_AS) if administrator > u32::from(u16::MAX) => {
                write!(f, "{name}:{administrator}:{assigned}")
            }
            _ => write!(f, "0x{:016x}", u64::from_be_bytes(self.0)),
        }
    }
}

impl FromStr for ExtendedCommunity {
    type Err = NotACommunity;

    fn from_str(text: &str) -> Result<Self, NotACommunity> {
        if let Some(digits) = text.strip_prefix("0x") {
            let all = digits.len() == 16 && digits.bytes().all(|digit| digit.is_ascii_hexdigit());
            let octets = u64::from_str_radix(digits, 16).ok().filter(|_| all);
            return octets.map(|octets| Self(octets.to_be_bytes())).ok_or(NotACommunity);
        }
        let (name, rest) = text.split_once(':').ok_or(NotACommunity)?;
        let subtype = EXTENDED_NAMES.iter().find(|(known, _)| *known == name);
        let (_, subtype) = subtype.ok_or(NotACommunity)?;
        let (administrator, assigned) = rest.split_once(':').ok_or(NotACommunity)?;
        let mut octets = [0; 8];
        octets[1] = *subtype;
        if let Ok(address) = administrator.parse::<Ipv4Addr>() {
            octets[0] = IPV4_ADDRESS;
            octets[2..6].copy_from_slice(&address.octets());
            octets[6..].copy_from_slice(&number::<u16>(assigned)?.to_be_bytes());
        } else if let Ok(asn) = number::<u16>(administrator) {
            octets[0] = TWO_OCTET_AS;
            octets[2..4].copy_from_slice(&asn.to_be_bytes());
            octets[4..].copy_from_slice(&number::<u32>(assigned)?.to_be_bytes());
        } else {
            octets[0] = FOUR_OCTET_AS;
            octets[2..6].copy_from_slice(&number::<u32>(administrator)?.to_be_bytes());
            octets[6..].copy_from_slice(&number::<u16>(assigned)?.to_be_bytes());
        }
        Ok(Self(octets))
    }
}

impl fmt::Display for LargeCommunity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}:{}", self.global, self.local1, self.local2)
    }
}

impl FromStr for LargeCommunity {
    type Err = NotACommunity;

    fn from_str(text: &str) -> Result<Self, NotACommunity> {
        let mut parts = text.split(':').map(number);
        let mut part = || parts.next().ok_or(NotACommunity)?;
        let community = Self { global: part()?, local1: part()?, local2: part()? };
        if parts.next().is_some() { Err(NotACommunity) } else { Ok(community) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn communities_are_read_as_they_are_written() {
        for (text, want) in [
            ("64500:120", Community(0xfbf4_0078)),
            ("0:0", Community(0)),
            ("65535:65535", Community(u32::MAX)),
            ("no-export", Community::NO_EXPORT),
            ("no-advertise", Community::NO_ADVERTISE),
            ("no-export-subconfed", Community::NO_EXPORT_SUBCONFED),
            ("graceful-shutdown", Community::GRACEFUL_SHUTDOWN),
            ("blackhole", Community::BLACKHOLE),
        ] {
            assert_eq!((text.parse(), want.to_string()), (Ok(want), text.to_owned()));
        }
        assert_eq!("65535:666".parse(), Ok(Community::BLACKHOLE));
        let large = LargeCommunity { global: 4_200_000_000, local1: 0, local2: u32::MAX };
        let text = "4200000000:0:4294967295";
        assert_eq!((text.parse(), large.to_string()), (Ok(large), text.to_owned()));
    }

    #[test]
    fn extended_communities_are_read_as_they_are_written() {
        for (text, octets) in [
            ("rt:64500:1", [0, 2, 0xfb, 0xf4, 0, 0, 0, 1]),
            ("ro:64500:4294967295", [0, 3, 0xfb, 0xf4, 255, 255, 255, 255]),
            ("rt:192.0.2.1:7", [1, 2, 192, 0, 2, 1, 0, 7]),
            ("rt:65536:7", [2, 2, 0, 1, 0, 0, 0, 7]),
            // Read as of a two-octet AS if it were written with its number.
            ("0x0202000000010007", [2, 2, 0, 0, 0, 1, 0, 7]),
            ("0x4302000000000000", [0x43, 2, 0, 0, 0, 0, 0, 0]),
            ("0x0004fbf400000001", [0, 4, 0xfb, 0xf4, 0, 0, 0, 1]),
        ] {
            let community = ExtendedCommunity(octets);
            assert_eq!((text.parse(), community.to_string()), (Ok(community), text.to_owned()));
        }
    }

    #[test]
    fn what_is_no_community_is_refused() {
        for text in ["", ":", "1", "1:", ":1", "65536:0", "0:65536", "1:2:3", "+1:2", "NO-EXPORT"] {
            assert_eq!(text.parse::<Community>(), Err(NotACommunity), "{text}");
        }
        for text in ["", "::", "1:2", "1:2:", "1:2:3:4", "4294967296:0:0", "1:2:-3", "1:+2:3"] {
            assert_eq!(text.parse::<LargeCommunity>(), Err(NotACommunity), "{text}");
        }
        for text in [
            "",
            "rt",
            "rt:1",
            "rt:1:",
            "xx:1:1",
            "rt:1:4294967296",
            "rt:65536:65536",
            "rt:::1",
            "rt:192.0.2.1:65536",
            "rt:4294967296:1",
            "0x",
            "0x1",
            "0x+002fbf400000001",
            "rt:1:1:1",
        ] {
            assert_eq!(text.parse::<ExtendedCommunity>(), Err(NotACommunity), "{text}");
        }
    }
}

//! The checked types of `[affinity]`: how connections are kept at the site that they began at.

use std::fmt;
use std::fs::File;
use std::io::{self, Read};
use std::net::{Ipv4Addr, Ipv6Addr};
use std::path::{Path, PathBuf};

/// The highest number that a site can have: as many fit in the bits that a connection carries.
pub const MOST_IDS: u8 = 63;

/// What holds at every site.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Affinity {
    /// One or two; the first is the one that is used for what is sent, both are taken. The secrets
    /// themselves are never kept here.
    pub keys: Vec<AffinityKey>,
    /// The way in which packets are taken, of sites that do not say so themselves.
    pub mode: AffinityMode,
    /// The UDP port that sites pass packets on to.
    pub port: u16,
    /// The longest IP packet, in octets, that the way between any two sites carries.
    pub mtu: u16,
    /// How many packets a second a site passes on to any one other site; `None`: as many as the
    /// packet programs do by default.
    pub most_to_a_site: Option<u32>,
    /// How many packets a second a site passes on for any one source address; `None`: as above.
    pub most_of_a_source: Option<u32>,
}

/// A key with which sites prove to each other that a packet was passed on by one of them.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct AffinityKey {
    /// What it is called in packets.
    pub epoch: u8,
    /// The file of the secret, resolved against the fleet file's folder.
    pub file: PathBuf,
}

/// Where in the kernel packets are taken.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum AffinityMode {
    /// The best that works.
    #[default]
    Auto,
    /// By XDP in the driver.
    Xdp,
    /// By XDP in front of the network stack.
    XdpGeneric,
    /// By traffic control on the way in.
    Tc,
}

impl AffinityMode {
    /// As the file has it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Auto => "auto",
            Self::Xdp => "xdp",
            Self::XdpGeneric => "xdp-generic",
            Self::Tc => "tc",
        }
    }
}

/// What is one site's.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct SiteAffinity {
    /// What connections carry of the site that owns them: 1 to [`MOST_IDS`], each site's own.
    pub id: u8,
    /// Where other sites send it what it owns; one of the two at least.
    pub v4: Option<Ipv4Addr>,
    /// The same over IPv6.
    pub v6: Option<Ipv6Addr>,
    /// On which interfaces packets are taken; none: on those that lead to its neighbors.
    pub interfaces: Vec<String>,
    /// The way in which packets are taken; `None`: the fleet's.
    pub mode: Option<AffinityMode>,
}

/// Which connections of a service are kept.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Kept {
    /// Those over TCP.
    pub tcp: bool,
    /// Those over QUIC to this UDP port, if the server puts the site's number into its connection
    /// IDs; `None`: none.
    pub quic: Option<u16>,
}

impl Kept {
    /// Whether any are.
    pub const fn any(self) -> bool {
        self.tcp || self.quic.is_some()
    }
}

/// What a key's file holds: octets that only the fleet's sites know. They are never shown.
#[derive(Clone, Eq, PartialEq)]
pub struct Secret([u8; 32]);

/// Why a key's file is no key.
#[derive(Debug, thiserror::Error)]
pub enum SecretError {
    /// The system said no.
    #[error("cannot be read: {0}")]
    Io(#[from] io::Error),
    /// It is something else.
    #[error("does not hold 64 hexadecimal digits")]
    Form,
}

impl Secret {
    /// Reads a key's file: 64 hexadecimal digits on one line.
    ///
    /// # Errors
    /// If it cannot be read, or holds anything else.
    pub fn read(path: &Path) -> Result<Self, SecretError> {
        let mut octets = Vec::new();
        File::open(path)?.take(1024).read_to_end(&mut octets)?;
        Self::parse(&octets)
    }

    /// What a key's file holds.
    ///
    /// # Errors
    /// If it is anything but 64 hexadecimal digits, with white space around them.
    pub fn parse(octets: &[u8]) -> Result<Self, SecretError> {
        let digits = octets.trim_ascii();
        if digits.len() != 64 {
            return Err(SecretError::Form);
        }
        let mut secret = [0; 32];
        for (octet, pair) in secret.iter_mut().zip(digits.chunks_exact(2)) {
            let digit = |at: u8| char::from(at).to_digit(16).ok_or(SecretError::Form);
            let value = digit(pair[0])? << 4 | digit(pair[1])?;
            *octet = u8::try_from(value).map_err(|_| SecretError::Form)?;
        }
        Ok(Self(secret))
    }

    /// The octets.
    pub const fn octets(&self) -> &[u8; 32] {
        &self.0
    }
}

/// Without the secret.
impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(…)")
    }
}

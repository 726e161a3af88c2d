//! Health checks as the fleet file asks for them: what is probed, how often, and what passes.

use std::fmt;
use std::net::IpAddr;
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anycast_steer::Thresholds;
use regex::bytes::{Regex, RegexBuilder};

use crate::iana::{Class, Rcode, RecordType};

/// One probe of one address, or of something of the host that has none.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Check {
    /// Unique in its service.
    pub name: String,
    /// What is probed; a probe without address has none.
    pub address: Option<IpAddr>,
    /// How.
    pub probe: Probe,
    /// From one start to the next.
    pub interval: Duration,
    /// So many percent of the interval, at most 50, the next start may come sooner or later.
    pub jitter: u8,
    /// After which a probe without result has failed; at most the interval.
    pub timeout: Duration,
    /// When its verdict turns; none is zero.
    pub thresholds: Thresholds,
}

/// How a check probes.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Probe {
    /// A TCP connection is accepted.
    Tcp {
        /// The port.
        port: u16,
    },
    /// A datagram is answered.
    Udp {
        /// The port.
        port: u16,
        /// The datagram's payload.
        send: Vec<u8>,
        /// Octets that the answer must contain; `None`: any answer passes.
        expect: Option<Vec<u8>>,
    },
    /// An HTTP/1.1 request is answered as it should be.
    Http(Box<Http>),
    /// A DNS query is answered with the response code and, if asked for, the data.
    Dns {
        /// The port.
        port: u16,
        /// The name asked for, with its final dot.
        query: String,
        /// QTYPE.
        qtype: RecordType,
        /// QCLASS.
        class: Class,
        /// What carries it.
        transport: Transport,
        /// The only response code that passes.
        rcode: Rcode,
        /// What the data of the answer must be.
        expect: Option<DnsData>,
        /// Whether to ask for recursion (RD).
        recursion: bool,
        /// Whether the answer must be called authentic (AD).
        authentic: bool,
        /// Whether a random label is put before the name.
        cache_busting: bool,
    },
    /// An echo request (ICMP or ICMPv6) is answered.
    Icmp,
    /// A program exits with 0.
    Command {
        /// The program and its arguments; at least the program, by absolute path.
        argv: Vec<String>,
    },
    /// A process runs; at least one of the two is there.
    Process {
        /// Holds its number.
        pid_file: Option<PathBuf>,
        /// What it runs: an absolute path, or the name that the kernel shows.
        program: Option<String>,
    },
    /// A systemd unit has processes.
    Unit {
        /// Its name with its type: `nsd.service`.
        unit: String,
    },
    /// A file is there, or is not.
    File {
        /// By absolute path.
        path: PathBuf,
        /// Whether its absence passes, and not its presence.
        absent: bool,
        /// For so long after it was last changed it passes.
        max_age: Option<Duration>,
    },
}

/// What the data of a DNS answer must be.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum DnsData {
    /// Of the records of the type that is asked for, just these; at least one.
    Exactly(Vec<String>),
    /// Text that the data of one record hold.
    Part(String),
}

/// An HTTP/1.1 request, and which answer passes.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Http {
    /// The port.
    pub port: u16,
    /// What is asked.
    pub method: Method,
    /// The request target; starts with `/`.
    pub path: String,
    /// The Host header; `None`: the address.
    pub host: Option<String>,
    /// The statuses that pass; at least one.
    pub statuses: Vec<RangeInclusive<u16>>,
    /// A header that the answer must have: its name, and what its value must contain.
    pub header: Option<(String, String)>,
    /// What the body must contain.
    pub body: Option<Body>,
    /// `None`: without TLS.
    pub tls: Option<Tls>,
}

/// A request method.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[expect(missing_docs, reason = "the names say all")]
pub enum Method {
    Get,
    Head,
    Options,
}

/// What the body of an answer must contain.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Body {
    /// These octets.
    Text(String),
    /// A match.
    Pattern(Pattern),
}

/// A regular expression for octets, whose classes are those of ASCII.
#[derive(Clone, Debug)]
pub struct Pattern(Regex);

/// TLS around HTTP.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Tls {
    /// The name that the server is asked for and that its certificate must have; `None`: the
    /// host, or else the address.
    pub server_name: Option<String>,
    /// Whether the certificate is looked at.
    pub verify: bool,
    /// Who may have signed it; `None`: whom the system trusts.
    pub ca_file: Option<PathBuf>,
    /// For so long yet the certificate must be valid.
    pub expires_in: Option<Duration>,
}

impl Pattern {
    /// Patterns that take more memory than this when ready to match are refused.
    const LARGEST: usize = 1 << 20;

    /// Reads a regular expression.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn new(pattern: &str) -> Result<Self, String> {
        let built = RegexBuilder::new(pattern).unicode(false).size_limit(Self::LARGEST).build();
        built.map(Self).map_err(|error| error.to_string())
    }

    /// Whether any part of the octets matches.
    pub fn is_match(&self, octets: &[u8]) -> bool {
        self.0.is_match(octets)
    }
}

impl fmt::Display for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0.as_str())
    }
}

impl PartialEq for Pattern {
    fn eq(&self, other: &Self) -> bool {
        self.0.as_str() == other.0.as_str()
    }
}

impl Eq for Pattern {}

/// What carries a DNS query.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[expect(missing_docs, reason = "the names say all")]
pub enum Transport {
    Udp,
    Tcp,
}

impl Probe {
    /// The TLS that it speaks.
    pub(crate) fn tls_mut(&mut self) -> Option<&mut Tls> {
        match self {
            Self::Http(http) => http.tls.as_mut(),
            _ => None,
        }
    }

    /// The file of those who may have signed the server's certificate.
    pub(crate) fn ca_file(&self) -> Option<&Path> {
        match self {
            Self::Http(http) => http.tls.as_ref()?.ca_file.as_deref(),
            _ => None,
        }
    }

    /// The port that it probes, and what carries the probe.
    pub fn port(&self) -> Option<(Transport, u16)> {
        match self {
            Self::Tcp { port } => Some((Transport::Tcp, *port)),
            Self::Http(http) => Some((Transport::Tcp, http.port)),
            Self::Udp { port, .. } => Some((Transport::Udp, *port)),
            Self::Dns { port, transport, .. } => Some((*transport, *port)),
            Self::Icmp
            | Self::Command { .. }
            | Self::Process { .. }
            | Self::Unit { .. }
            | Self::File { .. } => None,
        }
    }
}

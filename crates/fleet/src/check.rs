//! Health checks as the fleet file asks for them: what is probed, how often, and what passes.

use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

use anycast_steer::Thresholds;

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
    /// An HTTP/1.1 GET is answered with the status.
    Http {
        /// The port.
        port: u16,
        /// The request target; starts with `/`.
        path: String,
        /// The Host header; `None`: the address.
        host: Option<String>,
        /// The only status that passes.
        status: u16,
    },
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
        /// Text that the data of one answer must contain.
        expect: Option<String>,
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

/// What carries a DNS query.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[expect(missing_docs, reason = "the names say all")]
pub enum Transport {
    Udp,
    Tcp,
}

impl Probe {
    /// The port that it probes, and what carries the probe.
    pub fn port(&self) -> Option<(Transport, u16)> {
        match self {
            Self::Tcp { port } | Self::Http { port, .. } => Some((Transport::Tcp, *port)),
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

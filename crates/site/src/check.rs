//! Health checks: one question to one service, answered by a pass or by why not.
//!
//! [`run`] asks once. A [`Runner`] asks again and again, and at once when something has happened
//! to the service. What follows from the outcomes is not decided here.

use std::convert::Infallible;
use std::fmt;
use std::future::pending;
use std::hash::{BuildHasher, RandomState};
use std::io;
use std::net::SocketAddr;
use std::ops::RangeInclusive;
use std::sync::Arc;
use std::time::Duration;

use anycast_dns::probe::{Expected, Query};
use anycast_dns::{Rcode, Transport};

mod command;
mod dns;
pub mod file;
pub mod http;
mod icmp;
mod inotify;
pub mod process;
mod runner;
pub(crate) mod sys;
mod tcp;
pub mod tls;
mod udp;
pub mod unit;

pub use runner::{Event, Runner, RunnerHandle};

/// One check of one service.
#[derive(Clone, Debug)]
pub struct Check {
    /// What is asked.
    pub kind: Kind,
    /// Where the service answers. The port is 0 where the kind has none; a command gets it in its
    /// environment, and a process, unit or file is looked for without.
    pub target: SocketAddr,
    /// A check without outcome by then has failed.
    pub timeout: Duration,
}

/// What a check asks, and which answer passes.
#[derive(Clone, Debug)]
pub enum Kind {
    /// A TCP connection is accepted.
    Tcp,
    /// A datagram is answered.
    Udp {
        /// The datagram's payload.
        send: Vec<u8>,
        /// Octets that the answer must contain; `None`: any answer passes.
        expect: Option<Vec<u8>>,
    },
    /// An echo request is answered.
    Icmp,
    /// An HTTP/1.1 request is answered as it should be.
    Http(Arc<http::Target>),
    /// A DNS query is answered with the response code and, if asked for, the data.
    Dns {
        /// The question; each check takes an id of its own.
        query: Query,
        /// What carries it.
        transport: Transport,
        /// The only response code that passes.
        rcode: Rcode,
        /// What the data of the answer must be.
        expect: Option<Expected>,
        /// Whether each check puts a label of its own before the name, so that no cache can answer.
        cache_busting: bool,
    },
    /// A program exits with 0. It finds the target in `ANYCAST_ADDRESS` and, unless the port
    /// is 0, `ANYCAST_PORT`.
    Command {
        /// The program and its arguments; at least the program.
        argv: Vec<String>,
        /// Variables besides those of the daemon.
        env: Vec<(String, String)>,
    },
    /// A process runs.
    Process(Arc<process::Target>),
    /// A systemd unit has processes.
    Unit(unit::Target),
    /// A file is there, or is not.
    File(file::Target),
}

/// Why a check did not pass.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Failure {
    /// Nobody listens there.
    Refused,
    /// No outcome in time.
    Timeout(Duration),
    /// The other side closed before it answered.
    Closed,
    /// The network or the kernel said otherwise.
    Network(String),
    /// An HTTP answer, but not the one.
    Status {
        /// What came.
        got: u16,
        /// What would have passed.
        want: Vec<RangeInclusive<u16>>,
    },
    /// An answer that is no HTTP.
    NotHttp(String),
    /// A DNS answer, but not the one.
    Rcode {
        /// What came.
        got: Rcode,
        /// What would have passed.
        want: Rcode,
    },
    /// No answer contains what it should.
    Unexpected {
        /// The data of all answers.
        got: String,
        /// What would have passed.
        want: String,
    },
    /// An answer that is otherwise not what it should be: in words.
    Answer(String),
    /// An answer that is no DNS message.
    NotDns,
    /// The command ended with another code than 0.
    Exit {
        /// Its code.
        code: i32,
        /// The last line that it wrote to its standard error; may be empty.
        words: String,
    },
    /// The command was ended by a signal that was not ours.
    Signal(i32),
    /// The command could not be started.
    NotStarted {
        /// The program.
        program: String,
        /// What the kernel said.
        why: String,
    },
    /// A process, unit or file of this host is not as it should be.
    Local(String),
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Refused => write!(f, "connection refused"),
            Self::Timeout(limit) => write!(f, "no answer within {} ms", limit.as_millis()),
            Self::Closed => write!(f, "connection closed without an answer"),
            Self::Network(why) | Self::Local(why) | Self::Answer(why) => write!(f, "{why}"),
            Self::Status { got, want } => {
                let want = want.iter().map(|range| match (range.start(), range.end()) {
                    (first, last) if first == last => first.to_string(),
                    (first, last) => format!("{first}-{last}"),
                });
                let want = want.collect::<Vec<_>>().join(" or ");
                write!(f, "status {got}, expected {want}")
            }
            Self::NotHttp(why) => write!(f, "not an HTTP answer: {why}"),
            Self::Rcode { got, want } => write!(f, "response code {got}, expected {want}"),
            Self::Unexpected { got, want } if got.is_empty() => {
                write!(f, "no data in the answer, expected '{want}'")
            }
            Self::Unexpected { got, want } => write!(f, "answer '{got}', expected '{want}'"),
            Self::NotDns => write!(f, "not a DNS answer"),
            Self::Exit { code, words } if words.is_empty() => write!(f, "exit code {code}"),
            Self::Exit { code, words } => write!(f, "exit code {code}: {words}"),
            Self::Signal(signal) => write!(f, "ended by signal {signal}"),
            Self::NotStarted { program, why } => write!(f, "cannot start {program}: {why}"),
        }
    }
}

impl std::error::Error for Failure {}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::ConnectionRefused => Self::Refused,
            io::ErrorKind::ConnectionReset
            | io::ErrorKind::ConnectionAborted
            | io::ErrorKind::BrokenPipe
            | io::ErrorKind::UnexpectedEof => Self::Closed,
            _ => Self::Network(error.to_string()),
        }
    }
}

/// Runs one check; dropping the future abandons it and ends its command.
///
/// # Errors
/// Why it did not pass.
pub async fn run(check: &Check) -> Result<(), Failure> {
    read(check).await.map(drop)
}

/// The same; returns the number that a command printed last, if any.
async fn read(check: &Check) -> Result<Option<f64>, Failure> {
    let Check { kind, target, timeout } = check;
    let outcome = async {
        let passed = match kind {
            Kind::Command { argv, env } => return command::check(argv, env, *target).await,
            Kind::Tcp => tcp::check(*target).await,
            Kind::Udp { send, expect } => udp::check(*target, send, expect.as_deref()).await,
            Kind::Icmp => icmp::check(target.ip()).await,
            Kind::Http(asked) => http::check(*target, asked).await,
            Kind::Dns { query, transport, rcode, expect, cache_busting } => {
                let query = dns::of_its_own(query, *cache_busting);
                let response = dns::ask(*target, &query, *transport).await?;
                dns::judge(&response, &query, *rcode, expect.as_ref())
            }
            Kind::Process(target) => process::check(target).await,
            Kind::Unit(target) => unit::check(target),
            Kind::File(target) => file::check(target).await,
        };
        passed.map(|()| None)
    };
    tokio::time::timeout(*timeout, outcome).await.unwrap_or(Err(Failure::Timeout(*timeout)))
}

/// Says `changed` each time the host tells that something may have become of what the check looks
/// at; of most kinds it tells nothing (but see [`crate::watch`]). Never ends.
async fn watch(kind: &Kind, changed: &(dyn Fn() + Sync)) -> Infallible {
    let error = match kind {
        Kind::Process(target) => process::watch(target, changed).await,
        Kind::Unit(target) => unit::watch(target, changed).await,
        Kind::File(target) => file::watch(target, changed).await,
        Kind::Tcp
        | Kind::Udp { .. }
        | Kind::Http(_)
        | Kind::Dns { .. }
        | Kind::Icmp
        | Kind::Command { .. } => pending().await,
    };
    tracing::warn!("a change is seen at the next check only: {error}");
    pending().await
}

/// A number that others cannot foresee: the standard library's hash keys are random.
fn random() -> u64 {
    RandomState::new().hash_one(())
}

#[cfg(test)]
mod tests;

//! DNS without sockets, tasks, clocks or randomness: octets in, octets out.
//!
//! | module | what it is |
//! |---|---|
//! | [`request`] | a query as it arrived, with every fault as its RCODE |
//! | [`reply`] | an answer that fits the transport (RFC 1035 §4.2, RFC 6891 §6.2) |
//! | [`whoami`] | the answers that tell a client which site it reached |
//! | [`probe`] | the other side: a query to send and the answer read back |
//!
//! The wire format itself is the `domain` crate's.

pub mod probe;
pub mod reply;
pub mod request;
pub mod whoami;

pub use domain::base::iana::{Class, OptRcode as Rcode, Rtype as Type};
pub use domain::base::name::Name;

/// What carried a message; it decides how long an answer may be.
#[derive(Clone, Copy, Debug, Default, Eq, Hash, PartialEq)]
pub enum Transport {
    /// One message per datagram.
    #[default]
    Udp,
    /// Messages with two octets of length in front (RFC 1035 §4.2.2); the prefix is not part
    /// of what this crate reads and writes.
    Tcp,
}

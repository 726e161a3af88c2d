//! Service addresses on the loopback interface, where an anycast address belongs: it stays up
//! whatever the links do, nobody is asked whether it is taken, and no neighbor discovers it.
//!
//! An address that was there before us is the operator's and stays when we go. One that a crash
//! of ours left behind is adopted: ours carry a mark, the address protocol (IFA_PROTO, Linux
//! 5.18) and, for IPv4 on older kernels, the label.
//!
//! IPv6 service addresses are added as deprecated (RFC 4862 §5.5.4): they serve as any other,
//! but this machine does not choose them for connections of its own, whose answers would reach
//! another site.

use std::io;
use std::net::IpAddr;

use futures_util::TryStreamExt;
use netlink_packet_route::AddressFamily;
use netlink_packet_route::address::{
    AddressAttribute, AddressFlags, AddressHeaderFlags, AddressMessage, AddressProtocol,
    AddressScope, CacheInfo,
};
use rtnetlink::Handle;

/// The loopback interface has this index in every network namespace (LOOPBACK_IFINDEX).
const LOOPBACK: u32 = 1;

/// Marks what is ours; the kernel keeps 1 to 3 for itself and leaves the rest to programs.
const PROTOCOL: AddressProtocol = AddressProtocol::Other(0xac);

/// Marks what is ours on kernels that forget the protocol; IPv4 only.
const LABEL: &str = "lo:anycast";

/// What became of an address.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Added {
    /// It is ours: new, or left behind by a run of ours that ended badly.
    New,
    /// Somebody else put it there and shall keep it.
    AlreadyThere,
}

/// Why an address cannot be added or removed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// We may not change interfaces.
    #[error(
        "{0} cannot be changed on lo without the capability CAP_NET_ADMIN \
         (systemd: AmbientCapabilities=CAP_NET_ADMIN); or add it yourself with \
         `ip address add {0}/{len} dev lo`", len = if .0.is_ipv4() { 32 } else { 128 }
    )]
    Denied(IpAddr),
    /// The kernel does no IPv6, or not on the loopback interface.
    #[error("{0} cannot be on lo: IPv6 is disabled there (sysctl net.ipv6.conf.lo.disable_ipv6)")]
    NoIpv6(IpAddr),
    /// Anything else that the kernel said.
    #[error("{address} on lo: {source}")]
    Kernel {
        /// The address.
        address: IpAddr,
        /// What the kernel said.
        source: io::Error,
    },
}

/// Puts `address` on the loopback interface of the calling thread's network namespace.
///
/// # Errors
/// Why that is impossible.
pub async fn add(address: IpAddr) -> Result<Added, Error> {
    let netlink = Netlink::open(address)?;
    let mut request = netlink.handle.address().add(LOOPBACK, address, prefix_len(address));
    let message = request.message_mut();
    message.header.scope = AddressScope::Universe;
    message.attributes.push(AddressAttribute::Protocol(PROTOCOL));
    if address.is_ipv4() {
        message.attributes.push(AddressAttribute::Label(LABEL.to_owned()));
    } else {
        message.header.flags |= AddressHeaderFlags::Nodad;
        message.attributes.push(AddressAttribute::Flags(AddressFlags::Nodad));
        let mut lifetimes = CacheInfo::default();
        (lifetimes.ifa_preferred, lifetimes.ifa_valid) = (0, u32::MAX);
        message.attributes.push(AddressAttribute::CacheInfo(lifetimes));
    }
    match request.execute().await.map_err(io_error) {
        Ok(()) => Ok(Added::New),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            let ours = netlink.find(address).await?.is_some_and(|found| is_ours(&found));
            Ok(if ours { Added::New } else { Added::AlreadyThere })
        }
        // Without the right to add it: an operator may have put it there.
        Err(error) => match netlink.find(address).await {
            Ok(Some(_)) => Ok(Added::AlreadyThere),
            Ok(None) | Err(_) => Err(refusal(address, error)),
        },
    }
}

/// Takes `address` off the loopback interface; that it is not there is no error.
///
/// # Errors
/// Why that is impossible.
pub async fn remove(address: IpAddr) -> Result<(), Error> {
    let netlink = Netlink::open(address)?;
    let mut message = AddressMessage::default();
    message.header.family =
        if address.is_ipv4() { AddressFamily::Inet } else { AddressFamily::Inet6 };
    message.header.prefix_len = prefix_len(address);
    message.header.index = LOOPBACK;
    message.attributes.push(AddressAttribute::Local(address));
    match netlink.handle.address().del(message).execute().await.map_err(io_error) {
        Err(error) if error.kind() != io::ErrorKind::AddrNotAvailable => {
            Err(refusal(address, error))
        }
        _ => Ok(()),
    }
}

/// A netlink connection whose task ends with it.
struct Netlink {
    handle: Handle,
    task: tokio::task::JoinHandle<()>,
}

impl Netlink {
    fn open(address: IpAddr) -> Result<Self, Error> {
        let (connection, handle, _) =
            rtnetlink::new_connection().map_err(|source| Error::Kernel { address, source })?;
        Ok(Self { handle, task: tokio::spawn(connection) })
    }

    /// The address as the kernel has it on the loopback interface.
    async fn find(&self, address: IpAddr) -> Result<Option<AddressMessage>, Error> {
        let request = self.handle.address().get().set_link_index_filter(LOOPBACK);
        let mut found = std::pin::pin!(request.set_address_filter(address).execute());
        found.try_next().await.map_err(|error| refusal(address, io_error(error)))
    }
}

impl Drop for Netlink {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Whether we put it there. A kernel that knows protocols shows ours; one that does not shows
/// our label, and what is IPv6 there is taken for the operator's: better an address too many at
/// the end than one too few.
fn is_ours(found: &AddressMessage) -> bool {
    let is_mark = |attribute: &AddressAttribute| match attribute {
        AddressAttribute::Protocol(protocol) => *protocol == PROTOCOL,
        AddressAttribute::Label(label) => label == LABEL,
        _ => false,
    };
    found.attributes.iter().any(is_mark)
}

fn prefix_len(address: IpAddr) -> u8 {
    if address.is_ipv4() { 32 } else { 128 }
}

fn io_error(error: rtnetlink::Error) -> io::Error {
    match error {
        rtnetlink::Error::NetlinkError(message) => message.to_io(),
        other => io::Error::other(other.to_string()),
    }
}

fn refusal(address: IpAddr, source: io::Error) -> Error {
    match source.raw_os_error() {
        Some(libc::EPERM) => Error::Denied(address),
        // What the kernel says of a sysctl, and of a kernel without IPv6.
        Some(libc::EACCES | libc::EOPNOTSUPP | libc::EAFNOSUPPORT) if address.is_ipv6() => {
            Error::NoIpv6(address)
        }
        _ => Error::Kernel { address, source },
    }
}

#[cfg(test)]
mod tests;

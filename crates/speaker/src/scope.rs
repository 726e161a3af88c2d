//! Link-local addresses (RFC 4291 §2.5.6): each means something on one link alone, so a neighbor
//! that has one is known together with its interface.
//!
//! TCP sockets are bound to the neighbor's interface and need no more; here is what the others
//! need.

use std::io;
use std::net::{IpAddr, SocketAddr, SocketAddrV6};

use nix::net::if_::if_nametoindex;

use crate::config::{Neighbor, Place};

/// Whether the address is for one link alone.
pub(crate) fn is_link_local(address: IpAddr) -> bool {
    matches!(address, IpAddr::V6(address) if address.is_unicast_link_local())
}

/// The index of the interface over which a neighbor with a link-local address is; `None` with any
/// other address.
///
/// # Errors
/// The interface is not named, or there is none of the name.
pub(crate) fn of(neighbor: &Neighbor, place: &dyn Place) -> io::Result<Option<u32>> {
    if !is_link_local(neighbor.address) {
        return Ok(None);
    }
    let name = neighbor.interface.as_deref().ok_or_else(|| {
        io::Error::new(io::ErrorKind::InvalidInput, "a link-local address without an interface")
    })?;
    Ok(Some(place.run(|| if_nametoindex(name))?))
}

/// An end of a session over the interface of this index.
pub(crate) fn end(address: IpAddr, port: u16, interface: Option<u32>) -> SocketAddr {
    match address {
        IpAddr::V6(v6) if v6.is_unicast_link_local() => {
            SocketAddrV6::new(v6, port, 0, interface.unwrap_or(0)).into()
        }
        _ => SocketAddr::new(address, port),
    }
}

//! The machine's own addresses, against which next hops are held (RFC 4271 §6.3).

use std::time::Duration;

use anycast_bgp::IpNet;
use anycast_bgp::time::Instant;
use nix::ifaddrs::getifaddrs;
use nix::net::if_::InterfaceFlags;
use nix::sys::socket::SockaddrStorage;

use crate::config::Place;

/// What was read is good for so long: hundreds of sessions may come up at once.
const FRESH: Duration = Duration::from_secs(1);

/// Our addresses with their subnets, but those of the loopback interface without: behind them is
/// no neighbor.
#[derive(Debug, Default)]
pub(crate) struct OwnAddresses {
    read: Option<(Instant, Vec<IpNet>)>,
}

impl OwnAddresses {
    /// The addresses as they are, or were a moment ago; empty if the kernel does not tell.
    pub(crate) fn get(&mut self, now: Instant, place: &dyn Place) -> Vec<IpNet> {
        if let Some((at, nets)) = &self.read
            && now < *at + FRESH
        {
            return nets.clone();
        }
        let nets = place.run(read);
        self.read = Some((now, nets.clone()));
        nets
    }
}

fn read() -> Vec<IpNet> {
    let Ok(interfaces) = getifaddrs() else { return Vec::new() };
    interfaces
        .filter_map(|interface| {
            let address = ip(&interface.address?)?;
            let whole = if address.is_ipv4() { 32 } else { 128 };
            let loopback = interface.flags.contains(InterfaceFlags::IFF_LOOPBACK);
            let mask = interface.netmask.as_ref().and_then(ip).filter(|_| !loopback);
            match mask {
                Some(mask) => IpNet::with_netmask(address, mask).ok(),
                None => IpNet::new(address, whole).ok(),
            }
        })
        .collect()
}

fn ip(address: &SockaddrStorage) -> Option<std::net::IpAddr> {
    match (address.as_sockaddr_in(), address.as_sockaddr_in6()) {
        (Some(v4), _) => Some(v4.ip().into()),
        (_, Some(v6)) => Some(v6.ip().into()),
        _ => None,
    }
}

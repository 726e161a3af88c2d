//! Numbering: pools of links, parts of networks, and the two ends of a fleet's neighbor.

use std::net::IpAddr;

use ipnet::{IpNet, Ipv4Net, Ipv6Net};

/// Hands out a pair of networks for each link, the same for the same world, and never an address
/// that the fleet uses.
#[derive(Debug)]
pub(super) struct LinkAddresses {
    v4: Ipv4Net,
    v6: Ipv6Net,
    taken: Vec<IpAddr>,
    next_v4: usize,
    next_v6: usize,
}

impl LinkAddresses {
    pub(super) fn new(v4: Ipv4Net, v6: Ipv6Net, taken: Vec<IpAddr>) -> Self {
        Self { v4, v6, taken, next_v4: 0, next_v6: 0 }
    }

    /// IPv4 and IPv6 address of either end, or nothing if a prefix is used up; then
    /// [`room`](Self::room) says which.
    pub(super) fn take(&mut self) -> Option<[Vec<IpNet>; 2]> {
        // A /31 has no spare addresses (RFC 3021); a /64 each keeps IPv6 readable, with ::1 and
        // ::2, where there is room for it; else /127 (RFC 6164).
        let long = if self.v6.prefix_len() <= 56 { 64 } else { 127 };
        let v4 = Self::free(self.v4.into(), 31, &mut self.next_v4, &self.taken)?;
        let v6 = Self::free(self.v6.into(), long, &mut self.next_v6, &self.taken)?;
        let first = usize::from(long == 64);
        let at = |index: usize| {
            Some(vec![network(nth(v4, index)?, 31), network(nth(v6, index + first)?, long)])
        };
        Some([at(0)?, at(1)?])
    }

    /// The prefix that has run out, and how many links it was enough for.
    pub(super) fn room(&self) -> (IpNet, usize) {
        let v4_is_out = part(self.v4.into(), 31, self.next_v4).is_none();
        let count = self.next_v4.max(self.next_v6);
        (if v4_is_out { self.v4.into() } else { self.v6.into() }, count)
    }

    fn free(pool: IpNet, len: u8, next: &mut usize, taken: &[IpAddr]) -> Option<IpNet> {
        loop {
            let net = part(pool, len, *next)?;
            *next += 1;
            if !taken.iter().any(|address| net.contains(address)) {
                return Some(net);
            }
        }
    }
}

/// How a site and its neighbor reach each other.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Between {
    /// In one network on their link.
    Network {
        /// The site's address.
        site: IpAddr,
        /// The network.
        network: IpNet,
        /// Its length.
        prefix_len: u8,
    },
    /// On their link, without a common network.
    OnLink {
        /// The site's address.
        site: IpAddr,
    },
    /// The neighbor's address is on its loopback.
    Loopback {
        /// The site's address, if the fleet file says it.
        site: Option<IpAddr>,
    },
}

/// Finds out how `neighbor` of the fleet file and the site's `local` address are meant.
pub(super) fn between(neighbor: IpAddr, local: Option<IpAddr>, multihop: bool) -> Between {
    let lens: &[u8] = if neighbor.is_ipv4() {
        &[31, 30, 29, 28, 27, 26, 25, 24]
    } else {
        &[127, 126, 125, 124, 120, 112, 64]
    };
    if multihop {
        return Between::Loopback { site: local };
    }
    // The other address of the smallest network: a /31 or /127.
    let site = local.unwrap_or_else(|| other_of_pair(neighbor));
    let fits = lens.iter().find_map(|&len| {
        let net = network(neighbor, len).trunc();
        let usable = |address: &IpAddr| {
            net.contains(address)
                && (len >= 31 && neighbor.is_ipv4()
                    || neighbor.is_ipv6()
                    || (*address != net.network() && *address != net.broadcast()))
        };
        (usable(&neighbor) && usable(&site)).then_some((net, len))
    });
    match fits {
        Some((network, prefix_len)) => Between::Network { site, network, prefix_len },
        None => Between::OnLink { site },
    }
}

/// The other address of a /31 or /127 (RFC 3021, RFC 6164).
pub(super) fn other_of_pair(address: IpAddr) -> IpAddr {
    match address {
        IpAddr::V4(address) => IpAddr::from((u32::from(address) ^ 1).to_be_bytes()),
        // ::0 is every router's address (RFC 4291 §2.6.1): ::1 is paired with ::2.
        IpAddr::V6(address) => {
            let number = u128::from(address);
            let low = number & u128::from(u64::MAX);
            let other = match low {
                1 => number + 1,
                2 => number - 1,
                _ => number ^ 1,
            };
            IpAddr::from(other.to_be_bytes())
        }
    }
}

/// The address with the length.
///
/// # Panics
/// If the length is longer than the address.
pub(super) fn network(address: IpAddr, prefix_len: u8) -> IpNet {
    IpNet::new(address, prefix_len).expect("the length is of the address's family")
}

/// The `n`th address of a network, its own number being the zeroth.
pub(super) fn nth(net: IpNet, n: usize) -> Option<IpAddr> {
    match net {
        IpNet::V4(net) => {
            let address = u32::from(net.network()).checked_add(u32::try_from(n).ok()?)?;
            let address = std::net::Ipv4Addr::from(address);
            // The last address of a broadcast network is no host's.
            let usable = net.prefix_len() >= 31 || n == 0 || address != net.broadcast();
            (net.contains(&address) && usable).then_some(address.into())
        }
        IpNet::V6(net) => {
            let address = u128::from(net.network()).checked_add(u128::try_from(n).ok()?)?;
            let address = std::net::Ipv6Addr::from(address);
            net.contains(&address).then_some(address.into())
        }
    }
}

/// The `n`th network of length `len` in `pool`.
fn part(pool: IpNet, len: u8, n: usize) -> Option<IpNet> {
    let free = u32::from(len.checked_sub(pool.prefix_len())?);
    if free < usize::BITS && n >> free != 0 {
        return None;
    }
    match pool {
        IpNet::V4(pool) => {
            let step = u32::try_from(n).ok()? << (32 - len);
            Some(network(IpAddr::from((u32::from(pool.network()) + step).to_be_bytes()), len))
        }
        IpNet::V6(pool) => {
            let step = u128::try_from(n).ok()? << (128 - len);
            Some(network(IpAddr::from((u128::from(pool.network()) + step).to_be_bytes()), len))
        }
    }
}

/// `prefix` in `count` equal parts, as few bits longer as it takes; IPv6 parts are /64 where there
/// is room.
pub(super) fn split(prefix: IpNet, count: usize) -> Option<Vec<IpNet>> {
    let bits = u8::try_from(count.next_power_of_two().trailing_zeros()).ok()?;
    let len = prefix.prefix_len().checked_add(bits)?;
    let len = if prefix.addr().is_ipv6() && len < 64 { 64 } else { len };
    if len > prefix.max_prefix_len() {
        return None;
    }
    (0..count).map(|n| part(prefix.trunc(), len, n)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn links_skip_what_the_fleet_uses_and_end_with_the_prefix() {
        let mut pool = LinkAddresses::new(
            "198.51.100.0/29".parse().unwrap(),
            "2001:db8:ffff::/48".parse().unwrap(),
            vec!["198.51.100.3".parse().unwrap(), "2001:db8:ffff::77".parse().unwrap()],
        );
        let mut text = Vec::new();
        while let Some([a, b]) = pool.take() {
            text.push(format!("{} {} {} {}", a[0], b[0], a[1], b[1]));
        }
        assert_eq!(
            text,
            [
                "198.51.100.0/31 198.51.100.1/31 2001:db8:ffff:1::1/64 2001:db8:ffff:1::2/64",
                "198.51.100.4/31 198.51.100.5/31 2001:db8:ffff:2::1/64 2001:db8:ffff:2::2/64",
                "198.51.100.6/31 198.51.100.7/31 2001:db8:ffff:3::1/64 2001:db8:ffff:3::2/64",
            ]
        );
        assert_eq!(pool.room().0, "198.51.100.0/29".parse::<IpNet>().unwrap());
    }

    #[test]
    fn a_neighbor_and_a_local_address_say_how_they_are_linked() {
        for (name, neighbor, local, multihop, want) in [
            ("the pair of a /31", "192.0.2.1", None, false, "192.0.2.0/31"),
            ("a written /31", "192.0.2.6", Some("192.0.2.7"), false, "192.0.2.7/31"),
            ("a /30", "192.0.2.1", Some("192.0.2.2"), false, "192.0.2.2/30"),
            ("a /30 without local", "192.0.2.2", None, false, "192.0.2.3/31"),
            ("an exchange", "192.0.2.1", Some("192.0.2.200"), false, "192.0.2.200/24"),
            ("elsewhere", "192.0.2.1", Some("203.0.113.9"), false, "on link 203.0.113.9"),
            ("the pair of a /126", "2001:db8::1", None, false, "2001:db8::2/126"),
            ("a /127", "2001:db8::10", None, false, "2001:db8::11/127"),
            ("a /64", "2001:db8::1", Some("2001:db8::f00:2"), false, "2001:db8::f00:2/64"),
            ("multihop", "169.254.169.254", None, true, "loopback"),
            ("multihop, local", "169.254.169.254", Some("192.0.2.9"), true, "loopback 192.0.2.9"),
        ] {
            let neighbor = neighbor.parse().unwrap();
            let local = local.map(|local: &str| local.parse().unwrap());
            let got = match between(neighbor, local, multihop) {
                Between::Network { site, prefix_len, .. } => format!("{site}/{prefix_len}"),
                Between::OnLink { site } => format!("on link {site}"),
                Between::Loopback { site: None } => "loopback".to_owned(),
                Between::Loopback { site: Some(site) } => format!("loopback {site}"),
            };
            assert_eq!(got, want, "{name}");
        }
    }

    #[test]
    fn networks_are_split_in_equal_parts() {
        for (prefix, count, want) in [
            ("203.0.113.0/29", 1, Some("203.0.113.0/29")),
            ("203.0.113.0/28", 2, Some("203.0.113.0/29 203.0.113.8/29")),
            ("203.0.113.0/28", 3, Some("203.0.113.0/30 203.0.113.4/30 203.0.113.8/30")),
            ("203.0.113.0/32", 2, None),
            ("2001:db8::/48", 1, Some("2001:db8::/64")),
            ("2001:db8::/48", 2, Some("2001:db8::/64 2001:db8:0:1::/64")),
            ("2001:db8::/64", 2, Some("2001:db8::/65 2001:db8:0:0:8000::/65")),
        ] {
            let parts = split(prefix.parse().unwrap(), count)
                .map(|parts| parts.iter().map(ToString::to_string).collect::<Vec<_>>().join(" "));
            assert_eq!(parts.as_deref(), want, "{prefix} in {count}");
        }
    }
}

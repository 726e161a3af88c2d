//! What RFC 4271 §6.3 calls semantically incorrect: prefixes and next hops that can be read and
//! cannot be meant. Such a route is ignored; the session goes on.

use std::net::IpAddr;

use ipnet::IpNet;

use crate::NextHop;

/// Whether packets can be routed to the prefix at all: it is not within what is multicast, a
/// host's own (loopback, link-local) or no address (0.0.0.0/8, broadcast, IPv4-mapped).
pub(super) fn is_unicast(prefix: &IpNet) -> bool {
    let len = prefix.prefix_len();
    match prefix {
        IpNet::V4(net) => match net.addr().octets() {
            [0 | 127, ..] => len < 8,
            [224..=239, ..] => len < 3,
            [255, 255, 255, 255] => len < 32,
            _ => true,
        },
        IpNet::V6(net) => match net.addr().segments() {
            [0, 0, 0, 0, 0, 0xffff, _, _] => len < 96,
            [0, 0, 0, 0, 0, 0, 0, 0 | 1] => len < 128,
            [0xfe80..=0xfebf, ..] => len < 10,
            [0xff00..=0xffff, ..] => len < 8,
            _ => true,
        },
    }
}

/// Whether a directly connected peer can be meant to name this next hop: it is on a subnet that
/// an interface of ours is on (RFC 4271 §5.1.3). Nothing is known of families in which we have no
/// address.
pub(super) fn is_on_link(next_hop: &NextHop, ours: &[IpNet]) -> bool {
    let address = next_hop.address;
    let link_local = match address {
        IpAddr::V4(_) => false,
        IpAddr::V6(address) => next_hop.link_local.is_some() || address.is_unicast_link_local(),
    };
    let mut same_family =
        ours.iter().filter(|net| net.addr().is_ipv4() == address.is_ipv4()).peekable();
    link_local || same_family.peek().is_none() || same_family.any(|net| net.contains(&address))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prefixes_that_are_no_unicast() {
        // (what is, what is not though it looks like it)
        let table = [
            ("0.0.0.0/8", "0.0.0.0/0"),
            ("0.1.0.0/16", "1.0.0.0/8"),
            ("127.0.0.0/8", "126.0.0.0/7"),
            ("127.0.0.1/32", "128.0.0.0/1"),
            ("224.0.0.0/4", "223.255.255.0/24"),
            ("224.0.0.0/3", "192.0.0.0/2"),
            ("239.255.255.255/32", "240.0.0.0/4"),
            ("255.255.255.255/32", "255.255.255.254/32"),
            ("::/128", "::/0"),
            ("::1/128", "::2/128"),
            ("::ffff:0:0/96", "::fffe:0:0/96"),
            ("::ffff:192.0.2.0/120", "64:ff9b::/96"),
            ("fe80::/10", "fe00::/9"),
            ("fe80::1/128", "fec0::/10"),
            ("ff00::/8", "fe00::/7"),
            ("ff02::/16", "fc00::/7"),
        ];
        for (bad, good) in table {
            assert!(!is_unicast(&bad.parse().unwrap()), "{bad}");
            assert!(is_unicast(&good.parse().unwrap()), "{good}");
        }
    }

    #[test]
    fn next_hops_that_share_a_subnet_with_us() {
        let ours: Vec<IpNet> =
            ["198.51.100.1/24", "2001:db8::1/64"].map(|net| net.parse().unwrap()).to_vec();
        let hop = |address: &str| NextHop::from(address.parse::<IpAddr>().unwrap());
        for (address, wanted) in [
            ("198.51.100.9", true),
            ("198.51.101.9", false),
            ("2001:db8::9", true),
            ("2001:db8:0:1::9", false),
            ("::ffff:198.51.100.9", false),
            ("fe80::9", true),
        ] {
            assert_eq!(is_on_link(&hop(address), &ours), wanted, "{address}");
        }
        let both = NextHop { link_local: "fe80::9".parse().ok(), ..hop("2001:db8:0:1::9") };
        assert!(is_on_link(&both, &ours), "it is reached by its link-local address");
        assert!(is_on_link(&hop("2001:db8:0:1::9"), &ours[..1]), "we have no address to compare");
    }
}

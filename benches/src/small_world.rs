//! A world that a peer can run too: twenty ASes of one city each, five sites, twenty clients.
//!
//! The built-in world has ASes of several cities, whose routers speak an IGP of the lab's own;
//! other programs can only be the one router of an AS. Numbers are those of the documentation.

use std::fmt::Write;

/// The tier 1: all peers of each other.
const TOP: [&str; 4] = ["London", "New York", "Tokyo", "São Paulo"];
/// Regional networks, each with a site, and the two of the tier 1 that they pay.
const REGIONAL: [(&str, &str, [usize; 2]); 5] = [
    ("fra", "Frankfurt", [0, 1]),
    ("chi", "Chicago", [1, 2]),
    ("eze", "Buenos Aires", [3, 1]),
    ("sin", "Singapore", [2, 0]),
    ("jnb", "Johannesburg", [0, 3]),
];
/// Access networks, and the regional ones that they pay.
const ACCESS: [(&str, &[usize]); 11] = [
    ("Paris", &[0]),
    ("Warsaw", &[0, 3]),
    ("Madrid", &[0, 2]),
    ("Toronto", &[1]),
    ("Dallas", &[1, 2]),
    ("Lima", &[2]),
    ("Santiago", &[2, 1]),
    ("Mumbai", &[3]),
    ("Sydney", &[3, 1]),
    ("Cape Town", &[4]),
    ("Nairobi", &[4, 0]),
];
/// How many clients there are in all; the first access networks have two.
const CLIENTS: usize = 20;

/// The fleet file: each site has one provider.
#[must_use]
pub fn fleet() -> String {
    let mut text = String::from(
        "[fleet]\nname = \"example\"\nasn = 64500\n\
         [prefix.\"192.0.2.0/24\"]\nservices = [\"whoami\"]\n\
         [prefix.\"2001:db8:ac::/48\"]\nservices = [\"whoami\"]\n\
         [service.whoami]\naddresses = [\"192.0.2.1\", \"2001:db8:ac::1\"]\nbuiltin = \"whoami\"\n",
    );
    for (index, (site, city, _)) in REGIONAL.iter().enumerate() {
        let _ = write!(
            text,
            "[site.{site}]\ncity = \"{city}\"\n\
             [site.{site}.neighbor.transit]\n\
             address = \"198.51.100.{}\"\nlocal-address = \"198.51.100.{}\"\nasn = {}\n\
             relation = \"provider\"\nfamilies = [\"ipv4\", \"ipv6\"]\n\
             next-hop-v6 = \"2001:db8:ffff:{index}::1\"\n\
             import = \"everything\"\nexport = \"fleet\"\n",
            2 * index,
            2 * index + 1,
            64501 + index,
        );
    }
    text
}

/// The world file, all of whose routers are `router`.
#[must_use]
pub fn world(router: &str) -> String {
    let mut text = String::from("[world]\nname = \"A world of single routers\"\n");
    for (index, city) in TOP.iter().enumerate() {
        let peers: Vec<String> = (index + 1..TOP.len()).map(|i| format!("\"top-{i}\"")).collect();
        let _ = write!(
            text,
            "[as.top-{index}]\nasn = {}\ncities = [\"{city}\"]\nrouter = \"{router}\"\n\
             peers = [{}]\n",
            65536 + index,
            peers.join(", "),
        );
    }
    for (index, (_, city, providers)) in REGIONAL.iter().enumerate() {
        let _ = write!(
            text,
            "[as.regional-{index}]\nasn = {}\ncities = [\"{city}\"]\nrouter = \"{router}\"\n\
             providers = [\"top-{}\", \"top-{}\"]\n",
            64501 + index,
            providers[0],
            providers[1],
        );
    }
    for (index, (city, providers)) in ACCESS.iter().enumerate() {
        let providers: Vec<String> =
            providers.iter().map(|i| format!("\"regional-{i}\"")).collect();
        let _ = write!(
            text,
            "[as.access-{index}]\nasn = {}\ncities = [\"{city}\"]\nrouter = \"{router}\"\n\
             providers = [{}]\nprefix-v4 = \"203.0.113.{}/29\"\n\
             prefix-v6 = \"2001:db8:{:x}::/48\"\n",
            65540 + index,
            providers.join(", "),
            8 * index,
            0x101 + index,
        );
    }
    for client in 0..CLIENTS {
        let access = client % ACCESS.len();
        let _ = write!(text, "[client.client-{client}]\nas = \"access-{access}\"\n");
    }
    text
}

//! Any octets, as a query and as an answer: no panic, every reply within its limit and itself
//! never answered.
//!
//! `cargo fuzz run dns_whoami` (with a stable compiler: `RUSTC_BOOTSTRAP=1`).
#![no_main]

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use anycast_dns::Transport;
use anycast_dns::probe::{Query, Response};
use anycast_dns::reply::PAYLOAD_SIZE;
use anycast_dns::whoami::{Identity, answer};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| {
    let Some((choice, octets)) = input.split_first() else { return };
    let transport = if choice & 1 == 0 { Transport::Udp } else { Transport::Tcp };
    let client: IpAddr =
        if choice & 2 == 0 { Ipv4Addr::LOCALHOST.into() } else { Ipv6Addr::LOCALHOST.into() };
    let client = SocketAddr::new(client, 53);
    // A name longer than a datagram now and then, so that answers are cut.
    let site = "x".repeat(usize::from(choice >> 2) * 30);
    let identity = Identity { site, fleet: "fleet".into(), version: "1".into() };

    if let Some(reply) = answer(octets, &identity, client, transport) {
        assert!(reply.len() >= 12 && reply[..2] == octets[..2]);
        assert!(transport == Transport::Tcp || reply.len() <= usize::from(PAYLOAD_SIZE));
        assert_eq!(answer(&reply, &identity, client, transport), None);
    }

    let id = octets.get(..2).map_or(0, |id| u16::from_be_bytes([id[0], id[1]]));
    if let Ok(response) = Response::parse(octets, &Query::id_server(id)) {
        assert!(response.texts().count() == response.answers.len());
    }
});

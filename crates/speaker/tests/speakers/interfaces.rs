//! Neighbors that are bound to an interface. The test starts this program again in network
//! namespaces of its own, to run the test that is otherwise ignored.
#![allow(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    clippy::unwrap_used,
    reason = "tests use real sockets and may panic"
)]

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use anycast_bgp::Asn;
use anycast_speaker::{BindError, Config, Handle, Neighbor, Speaker};

use crate::setup::{ip, run_in_namespace};

const PORT: u16 = 1790;

#[test]
fn a_neighbor_is_dialled_and_heard_over_its_interface_alone() {
    run_in_namespace(module_path!(), "bound");
}

fn address(text: &str) -> IpAddr {
    text.parse().unwrap()
}

fn start(asn: u32, listen: &str, neighbor: Neighbor) -> Result<Handle, BindError> {
    let config = Config {
        listen: vec![SocketAddr::new(address(listen), PORT)],
        neighbors: vec![neighbor],
        ..Config::new(Asn(asn), std::net::Ipv4Addr::from(asn))
    };
    let speaker = Speaker::bind(config, None)?;
    let handle = speaker.handle();
    tokio::spawn(speaker.run());
    Ok(handle)
}

async fn meet(one: &Handle, other: &Handle) -> bool {
    for _ in 0..150 {
        if one.established().await == (1, 1) && other.established().await == (1, 1) {
            return true;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    false
}

/// Two addresses of the loopback interface reach each other over `lo` alone: so a session that is
/// bound to `lo` comes up, and one that is bound to `d0` does not, whoever dials.
#[tokio::test]
#[ignore = "needs a network namespace of its own"]
async fn bound() {
    ip("link set lo up");
    ip("link add d0 type veth peer name d1");
    ip("link set d1 up");
    ip("link set d0 up");
    let neighbor = |name: &str, asn, own: &str, its: &str| Neighbor {
        port: PORT,
        local_address: Some(address(own)),
        connect_retry: Duration::from_millis(50),
        ..Neighbor::new(name, address(its), Asn(asn))
    };
    for (interface, passive, meets) in
        [("lo", false, true), ("lo", true, true), ("d0", false, false), ("d0", true, false)]
    {
        let bound = Neighbor {
            interface: Some(interface.to_owned()),
            passive,
            ..neighbor("other", 64502, "127.0.0.1", "127.0.0.2")
        };
        let free =
            Neighbor { passive: !passive, ..neighbor("bound", 64501, "127.0.0.2", "127.0.0.1") };
        // A listener for the interface stands beside the one for all.
        let one = start(64501, "127.0.0.1", bound).unwrap();
        let other = start(64502, "127.0.0.2", free).unwrap();
        assert_eq!(meet(&one, &other).await, meets, "{interface}, passive: {passive}");
        one.shutdown("enough");
        other.shutdown("enough");
        tokio::time::sleep(Duration::from_millis(200)).await;
    }

    let nowhere = Neighbor {
        interface: Some("d9".to_owned()),
        ..neighbor("other", 64502, "127.0.0.1", "127.0.0.2")
    };
    let Err(error) = start(64501, "127.0.0.1", nowhere) else {
        panic!("bound to an interface that is not there")
    };
    assert!(error.to_string().contains("there is no interface"), "{error}");
}

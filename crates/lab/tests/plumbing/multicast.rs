//! Cases about multicast: two routers in a row, receivers behind the second.
#![expect(clippy::many_single_char_names, reason = "nodes are called so on paper")]

use std::net::{Ipv4Addr, UdpSocket};
use std::time::{Duration, Instant};

use anycast_lab::mroute::{Event, MulticastRouter};
use anycast_lab::netlink::{self, NextHop, Request};
use anycast_lab::netns::NetNs;

use super::links::{MS, end, host, link, net, router, wire};

const GROUP: Ipv4Addr = Ipv4Addr::new(239, 1, 1, 1);
const SOURCE: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 0);

fn receiver(ns: &NetNs, subscribed: bool) -> UdpSocket {
    let socket = ns.run(|| UdpSocket::bind(("0.0.0.0", 7))).expect("a socket");
    if subscribed {
        ns.run(|| socket.join_multicast_v4(&GROUP, &Ipv4Addr::UNSPECIFIED)).expect("a member");
    }
    socket.set_read_timeout(Some(200 * MS)).expect("a timeout");
    socket
}

/// Waits until the router has heard something for which `f` has an answer.
async fn heard<T>(router: &MulticastRouter, f: impl Fn(&Event) -> Option<T>) -> T {
    let deadline = Instant::now() + Duration::from_secs(10);
    loop {
        let wait = deadline.saturating_duration_since(Instant::now());
        let events = tokio::time::timeout(wait, router.next_events()).await;
        let events = events.expect("the router hears it in time").expect("the socket works");
        if let Some(found) = events.iter().find_map(&f) {
            return found;
        }
    }
}

pub(crate) fn subscribed() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.expect("a runtime").block_on(forward());
}

async fn forward() {
    let wire = wire();
    let [a, b, c, d] = ["a", "b", "c", "d"].map(host);
    let [r, s] = ["r", "s"].map(router);
    wire.add_links(&[
        link(MS, vec![end(&a, "up", &["192.0.2.0/31"]), end(&r, "a", &["192.0.2.1/31"])]),
        link(MS, vec![end(&r, "s", &["192.0.2.2/31"]), end(&s, "r", &["192.0.2.3/31"])]),
        // b and c share a LAN, d has one of its own.
        link(
            MS,
            vec![
                end(&s, "lan1", &["198.51.100.1/24"]),
                end(&b, "up", &["198.51.100.2/24"]),
                end(&c, "up", &["198.51.100.3/24"]),
            ],
        ),
        link(MS, vec![end(&s, "lan2", &["203.0.113.1/24"]), end(&d, "up", &["203.0.113.2/24"])]),
    ])
    .expect("four links");
    for (ns, via) in
        [(&a, "192.0.2.1"), (&b, "198.51.100.1"), (&c, "198.51.100.1"), (&d, "203.0.113.1")]
    {
        let hop = NextHop { via: via.parse().ok(), ifindex: None };
        let route = Request::AddRoute(net("0.0.0.0/0"), vec![hop]);
        netlink::apply(ns, &[route]).expect("a default route");
    }
    let back = NextHop { via: "192.0.2.2".parse().ok(), ifindex: None };
    let back = Request::AddRoute(net("192.0.2.0/31"), vec![back]);
    netlink::apply(&s, &[back]).expect("a way back, or the packets come from nowhere");

    let near = match MulticastRouter::open(&r, &["a", "s"]) {
        Err(error) if error.kind() == std::io::ErrorKind::Unsupported => {
            return println!("skipped: this kernel has no multicast routing ({error})");
        }
        near => near.expect("a multicast router"),
    };
    let far = MulticastRouter::open(&s, &["r", "lan1", "lan2"]).expect("a multicast router");
    assert!(MulticastRouter::open(&s, &["r"]).is_err(), "a namespace has one at a time");

    let (at_b, at_c, at_d) = (receiver(&b, true), receiver(&c, false), receiver(&d, false));
    let joined = heard(&far, |event| match event {
        Event::Joined { ifname, group: GROUP } => Some(ifname.clone()),
        _ => None,
    });
    assert_eq!(joined.await, "lan1");

    let sender = a.run(|| UdpSocket::bind((SOURCE, 0))).expect("a socket");
    sender.set_multicast_ttl_v4(8).expect("an option");
    sender.send_to(b"first", (GROUP, 7)).expect("it is sent");
    let unrouted = |event: &Event| match event {
        Event::Unrouted { ifname, source: SOURCE, group: GROUP } => Some(ifname.clone()),
        _ => None,
    };
    assert_eq!(heard(&near, unrouted).await, "a");
    near.set_route(SOURCE, GROUP, "a", &["s"]).expect("a route");
    assert_eq!(heard(&far, unrouted).await, "r", "the kernel had kept the packet");
    far.set_route(SOURCE, GROUP, "r", &["lan1"]).expect("a route");
    let mut text = [0; 8];
    let (len, from) = at_b.recv_from(&mut text).expect("the subscriber hears the first packet");
    assert_eq!((&text[..len], from.ip()), (&b"first"[..], SOURCE.into()));

    sender.send_to(b"second", (GROUP, 7)).expect("it is sent");
    assert_eq!(at_b.recv_from(&mut text).expect("the subscriber hears it").0, 6);
    assert!(at_c.recv_from(&mut text).is_err(), "its neighbor has not subscribed");
    assert!(at_d.recv_from(&mut text).is_err(), "no one on the other LAN has");

    // A route without the LAN, then none at all.
    far.set_route(SOURCE, GROUP, "r", &[]).expect("a route");
    sender.send_to(b"third", (GROUP, 7)).expect("it is sent");
    assert!(at_b.recv_from(&mut text).is_err());
    far.clear().expect("the routes go");
    near.delete_route(SOURCE, GROUP).expect("the route was there");
    assert!(near.delete_route(SOURCE, GROUP).is_err());
    assert!(far.set_route(SOURCE, GROUP, "r", &["lan3"]).is_err());

    drop(at_b);
    let left = heard(&far, |event| match event {
        Event::Left { ifname, group: GROUP } => Some(ifname.clone()),
        _ => None,
    });
    assert_eq!(left.await, "lan1");
}

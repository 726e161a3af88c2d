//! Two speakers on the loopback interface, over real TCP.
#![allow(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    clippy::unwrap_used,
    reason = "tests use real sockets and may panic"
)]

use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener};
use std::time::Duration;

use anycast_bgp::policy::Policy;
use anycast_bgp::{Asn, Attributes, Community, Family, IpNet, Role};
use anycast_speaker::{
    Config, Handle, Neighbor, NeighborOrder, Offer, Password, Speaker, SpeakerEvent,
};

use crate::setup::{free_port, until};

const LEFT: Ipv4Addr = Ipv4Addr::LOCALHOST;
const RIGHT: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 2);

fn neighbor(name: &str, local: Ipv4Addr, remote: Ipv4Addr, port: u16, asn: u32) -> Neighbor {
    Neighbor {
        port,
        local_address: Some(IpAddr::V4(local)),
        hold_time: Duration::from_secs(90),
        connect_retry: Duration::from_millis(50),
        families: vec![Family::Ipv4Unicast],
        import: Policy::accept_all(),
        export: Policy::accept_all(),
        ..Neighbor::new(name, remote.into(), Asn(asn))
    }
}

fn start(local: Ipv4Addr, asn: u32, neighbor: Neighbor) -> Handle {
    let config = Config {
        listen: vec![SocketAddr::new(local.into(), neighbor.port)],
        neighbors: vec![neighbor],
        ..Config::new(Asn(asn), local)
    };
    let speaker = Speaker::bind(config, None).unwrap();
    let handle = speaker.handle();
    tokio::spawn(speaker.run());
    handle
}

async fn established(handle: &Handle) -> bool {
    handle.established().await == (1, 1)
}

fn prefix(text: &str) -> IpNet {
    text.parse().unwrap()
}

fn pair(change: impl Fn(&mut Neighbor)) -> (Handle, Handle) {
    let port = free_port(&[LEFT, RIGHT]);
    let mut to_right = neighbor("right", LEFT, RIGHT, port, 64502);
    let mut to_left = neighbor("left", RIGHT, LEFT, port, 64501);
    change(&mut to_right);
    change(&mut to_left);
    (start(LEFT, 64501, to_right), start(RIGHT, 64502, to_left))
}

#[tokio::test]
async fn a_prefix_is_announced_changed_and_withdrawn() {
    let (left, right) = pair(|_| ());
    until("both are Established", async || established(&left).await && established(&right).await)
        .await;
    let net = prefix("192.0.2.0/24");
    let mut attributes = Attributes::new(IpAddr::V4(LEFT));
    attributes.communities = vec!["64501:80".parse::<Community>().unwrap()];
    left.originate(net, attributes);
    until("the route arrives", async || right.best(net).await.is_some()).await;
    let route = right.best(net).await.unwrap();
    assert_eq!(route.as_path, "64501");
    assert_eq!(route.next_hop, Some(IpAddr::V4(LEFT)));
    assert_eq!(route.communities, ["64501:80"]);
    left.originate(net, Attributes::new(IpAddr::V4(LEFT)));
    until("the community goes", async || {
        right.best(net).await.is_some_and(|route| route.communities.is_empty())
    })
    .await;
    left.withdraw(net);
    until("the route goes", async || right.best(net).await.is_none()).await;
}

#[tokio::test]
async fn ten_thousand_prefixes_cross_and_go_with_the_session() {
    let (left, right) = pair(|_| ());
    for high in 0..40_u8 {
        for low in 0..250_u8 {
            let net = IpNet::new(Ipv4Addr::new(10, high, low, 0).into(), 24).unwrap();
            left.originate(net, Attributes::new(IpAddr::V4(LEFT)));
        }
    }
    until("all arrive", async || right.routes(None).await.len() == 10_000).await;
    left.shutdown("that was all");
    until("all go", async || right.routes(None).await.is_empty()).await;
    let status = right.neighbors().await.remove(0);
    let why = status.last_down.unwrap();
    assert!(why.contains("that was all"), "the shutdown message is shown: {why}");
}

#[tokio::test]
async fn a_cleared_session_comes_back() {
    let (left, right) = pair(|_| ());
    until("Established", async || established(&left).await && established(&right).await).await;
    left.order("right", NeighborOrder::Clear).await.unwrap();
    let unknown = left.order("nobody", NeighborOrder::Clear).await.unwrap_err();
    assert_eq!(unknown.to_string(), "no neighbor is called nobody; there are right");
    until("the other side was told", async || {
        right.neighbors().await.remove(0).last_down.is_some()
    })
    .await;
    until("Established again", async || established(&left).await && established(&right).await)
        .await;
}

#[tokio::test]
async fn with_ttl_security_both_ends_still_meet() {
    let (left, right) = pair(|neighbor| neighbor.ttl_security = true);
    until("Established", async || established(&left).await && established(&right).await).await;
}

#[tokio::test]
async fn the_same_md5_password_meets_and_another_does_not() {
    let password = |text: &str| Password::new(text.as_bytes().to_vec());
    let (left, right) = pair(|neighbor| neighbor.password = password("swordfish"));
    until("Established", async || established(&left).await && established(&right).await).await;

    let (left, right) = pair(|neighbor| neighbor.password = password(&neighbor.name));
    tokio::time::sleep(Duration::from_millis(500)).await;
    assert!(!established(&left).await && !established(&right).await);
}

#[tokio::test]
async fn a_wrong_asn_is_refused_with_bad_peer_as() {
    let port = free_port(&[LEFT, RIGHT]);
    let left = start(LEFT, 64501, neighbor("right", LEFT, RIGHT, port, 64999));
    let right = start(RIGHT, 64502, neighbor("left", RIGHT, LEFT, port, 64501));
    let says = async |handle: &Handle, name: &str, words: &str| {
        let row = handle.neighbor(name).await.unwrap();
        row.last_down.is_some_and(|why| why.ends_with(words))
    };
    let ours = "we sent: OPEN Message Error: Bad Peer AS (it is not in AS 64999)";
    until("we say so", async || says(&left, "right", ours).await).await;
    let its = "neighbor sent: OPEN Message Error: Bad Peer AS (it expects us in another AS)";
    until("it hears so", async || says(&right, "left", its).await).await;
    assert!(!established(&left).await && !established(&right).await);
}

#[tokio::test]
async fn a_neighbor_that_closes_each_connection_is_shown_with_that() {
    let listener = TcpListener::bind((RIGHT, 0)).unwrap();
    let port = listener.local_addr().unwrap().port();
    std::thread::spawn(move || listener.incoming().for_each(drop));
    let config = Config {
        listen: Vec::new(),
        neighbors: vec![neighbor("right", LEFT, RIGHT, port, 64502)],
        ..Config::new(Asn(64501), LEFT)
    };
    let speaker = Speaker::bind(config, None).unwrap();
    let handle = speaker.handle();
    tokio::spawn(speaker.run());
    until("it is shown", async || {
        let why = handle.neighbor("right").await.unwrap().last_down;
        why.is_some_and(|why| why.contains("closed the connection before there was a session"))
    })
    .await;
}

#[tokio::test]
async fn a_neighbor_that_cannot_be_reached_is_reported_once() {
    let port = free_port(&[LEFT, RIGHT]);
    let config = Config {
        listen: Vec::new(),
        neighbors: vec![neighbor("right", LEFT, RIGHT, port, 64502)],
        ..Config::new(Asn(64501), LEFT)
    };
    let (reports, mut heard) = tokio::sync::mpsc::unbounded_channel();
    let speaker = Speaker::bind(config, Some(reports)).unwrap();
    tokio::spawn(speaker.run());
    let first = tokio::time::timeout(Duration::from_secs(5), heard.recv()).await.unwrap();
    let Some(SpeakerEvent::NeighborUnreachable { name, why }) = first else {
        panic!("{first:?}");
    };
    assert_eq!(name, "right");
    assert!(why.contains("Connection refused (no BGP daemon listens there)"), "{why}");
    // Several attempts later there is nothing new to say.
    tokio::time::sleep(Duration::from_millis(500)).await;
    assert!(heard.try_recv().is_err());
}

#[tokio::test]
async fn a_port_in_use_is_an_error_that_says_so() {
    let taken = TcpListener::bind((LEFT, 0)).unwrap();
    let config = Config {
        listen: vec![taken.local_addr().unwrap()],
        neighbors: Vec::new(),
        ..Config::new(Asn(64501), LEFT)
    };
    let Err(error) = Speaker::bind(config, None) else { panic!("bound a taken port") };
    assert!(error.to_string().contains("another BGP daemon"), "{error}");
}

#[tokio::test]
async fn roles_are_told_and_what_is_for_customers_stays_in() {
    let (left, right) = pair(|neighbor| {
        let (role, asn) = match neighbor.name.as_str() {
            "right" => (Role::Provider, Asn(64502)),
            _ => (Role::Customer, Asn(64501)),
        };
        neighbor.asn = asn;
        neighbor.offer = Offer { role: Some(role), strict_role: true, ..Offer::default() };
    });
    until("both are Established", async || established(&left).await && established(&right).await)
        .await;
    let status = left.neighbors().await.remove(0);
    assert_eq!(
        (status.local_role.as_deref(), status.role.as_deref()),
        (Some("provider"), Some("customer"))
    );
    // What came from a provider, and so is for customers only, does not go back up. What has no
    // such mark goes.
    let marked = Attributes { otc: Some(Asn(64509)), ..Attributes::new(IpAddr::V4(RIGHT)) };
    let (leak, own) = (prefix("192.0.2.0/24"), prefix("198.51.100.0/24"));
    right.originate(leak, marked);
    right.originate(own, Attributes::new(IpAddr::V4(RIGHT)));
    until("the route arrives", async || left.best(own).await.is_some()).await;
    assert!(left.best(leak).await.is_none(), "a customer keeps in what is for customers only");
}

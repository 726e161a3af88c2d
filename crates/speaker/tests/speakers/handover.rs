//! A speaker that gives its sessions to another one, on the loopback interface.
#![allow(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    clippy::unwrap_used,
    reason = "tests use real sockets and may panic"
)]

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

use anycast_bgp::policy::Policy;
use anycast_bgp::{Asn, Attributes, IpNet};
use anycast_speaker::{Config, HandedOver, Handle, Neighbor, Speaker, SpeakerEvent};
use tokio::sync::mpsc;

use crate::setup::{free_port, until};

const LEFT: Ipv4Addr = Ipv4Addr::LOCALHOST;
const RIGHT: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 2);

fn config(local: Ipv4Addr, remote: Ipv4Addr, port: u16, asns: (u32, u32)) -> Config {
    let neighbor = Neighbor {
        port,
        local_address: Some(local.into()),
        connect_retry: Duration::from_millis(50),
        import: Policy::accept_all(),
        export: Policy::accept_all(),
        ..Neighbor::new("other", remote.into(), Asn(asns.1))
    };
    Config {
        listen: vec![SocketAddr::new(local.into(), port)],
        neighbors: vec![neighbor],
        ..Config::new(Asn(asns.0), local)
    }
}

fn left(port: u16) -> Config {
    config(LEFT, RIGHT, port, (64501, 64502))
}

fn right(port: u16) -> Config {
    config(RIGHT, LEFT, port, (64502, 64501))
}

type Reports = mpsc::UnboundedReceiver<SpeakerEvent>;

fn start(config: Config, handed: Option<HandedOver>) -> (Handle, Reports) {
    let (reports, reported) = mpsc::unbounded_channel();
    let speaker = Speaker::take_over(config, Some(reports), handed).unwrap();
    let handle = speaker.handle();
    tokio::spawn(speaker.run());
    (handle, reported)
}

fn net(number: u8) -> IpNet {
    IpNet::new(Ipv4Addr::new(10, 0, number, 0).into(), 24).unwrap()
}

fn originate(handle: &Handle, number: u8) {
    handle.originate(net(number), Attributes::new(IpAddr::V4(LEFT)));
}

/// What the next speaker makes of it, as it comes over `execve(2)`: words and sockets apart.
fn carried(mut handed: HandedOver) -> HandedOver {
    let words = serde_json::to_string(&handed).unwrap();
    let mut read: HandedOver = serde_json::from_str(&words).unwrap();
    for (to, from) in read.sessions.iter_mut().zip(&mut handed.sessions) {
        to.socket = from.socket.take();
    }
    read
}

#[tokio::test]
async fn a_session_goes_on_with_both_tables_and_what_is_no_more_is_withdrawn() {
    let port = free_port(&[LEFT, RIGHT]);
    let ((before, _), (other, mut reports)) = (start(left(port), None), start(right(port), None));
    for number in 1..=3 {
        originate(&before, number);
    }
    originate(&other, 200);
    until("routes cross", async || {
        before.best(net(200)).await.is_some() && other.best(net(3)).await.is_some()
    })
    .await;
    let handed = before.hand_over().await.unwrap();
    assert_eq!((handed.sessions.len(), handed.ended.len()), (1, 0));
    assert!(before.hand_over().await.is_none(), "it has ended");

    let (after, mut news) = start(left(port), Some(carried(handed)));
    until("the neighbor's route is there", async || after.best(net(200)).await.is_some()).await;
    for number in [1, 2, 4] {
        originate(&after, number);
    }
    until("the session carries news", async || other.best(net(4)).await.is_some()).await;
    assert!(other.best(net(3)).await.is_some(), "until all is said, nothing is taken back");
    after.finish_taking_over();
    until("what is no more is withdrawn", async || other.best(net(3)).await.is_none()).await;
    assert!(other.best(net(1)).await.is_some() && other.best(net(2)).await.is_some());
    let name = "other".to_owned();
    assert_eq!(news.recv().await, Some(SpeakerEvent::NeighborUp { name: name.clone() }));
    assert_eq!(reports.recv().await, Some(SpeakerEvent::NeighborUp { name }));
    assert!(reports.try_recv().is_err(), "the neighbor noticed nothing");
}

#[tokio::test]
async fn a_session_by_other_settings_or_without_graceful_restart_begins_anew_and_says_so() {
    let port = free_port(&[LEFT, RIGHT]);
    let ((before, _), (other, _reports)) = (start(left(port), None), start(right(port), None));
    until("it is up", async || {
        before.established().await == (1, 1) && other.established().await == (1, 1)
    })
    .await;
    let handed = before.hand_over().await.unwrap();
    let mut changed = left(port);
    changed.neighbors[0].hold_time = Duration::from_secs(33);
    changed.neighbors[0].offer.graceful_restart = None;
    let (after, mut news) = start(changed.clone(), Some(carried(handed)));
    let Some(SpeakerEvent::NeighborReset { name, why }) = news.recv().await else {
        panic!("nothing is said of it");
    };
    assert_eq!((name.as_str(), why.as_str()), ("other", "our OPEN would now be another one"));
    until("it is up anew", async || after.established().await == (1, 1)).await;

    let handed = after.hand_over().await.unwrap();
    assert_eq!(handed.sessions.len(), 0);
    assert_eq!(handed.ended.len(), 1);
    assert!(handed.ended[0].1.contains("graceful-restart is off"), "{:?}", handed.ended);
    let (again, mut news) = start(changed, Some(carried(handed)));
    assert!(matches!(news.recv().await, Some(SpeakerEvent::NeighborReset { .. })));
    until("it comes back", async || again.established().await == (1, 1)).await;
}

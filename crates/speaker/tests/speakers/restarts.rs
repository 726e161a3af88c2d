//! A neighbor that restarts and one that sends its routes anew, over real TCP: a small speaker
//! that says on the wire exactly what a test wants.
#![allow(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    clippy::unwrap_used,
    reason = "tests use real sockets and may panic"
)]

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use anycast_bgp::iana::{cease_subcode, error_code};
use anycast_bgp::message::{
    Capabilities, Context, GracefulRestart, LongLived, Message, Notification, Open, Preserved,
    Update, frame_len,
};
use anycast_bgp::policy::Policy;
use anycast_bgp::retention::Limits;
use anycast_bgp::{AsPath, Asn, Attributes, Family, IpNet};
use anycast_speaker::{Config, Handle, Neighbor, NeighborOrder, Offer, Speaker};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

const US: Ipv4Addr = Ipv4Addr::LOCALHOST;
const THEM: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 2);
const FAMILY: Family = Family::Ipv4Unicast;

/// Ours, which dials the neighbor, and where the neighbor listens.
async fn speaker(limits: Option<Limits>) -> (Handle, TcpListener) {
    let listener = TcpListener::bind((THEM, 0)).await.unwrap();
    let neighbor = Neighbor {
        port: listener.local_addr().unwrap().port(),
        local_address: Some(IpAddr::V4(US)),
        hold_time: Duration::from_secs(90),
        connect_retry: Duration::from_millis(50),
        families: vec![FAMILY],
        offer: Offer { graceful_restart: limits, ..Offer::default() },
        import: Policy::accept_all(),
        export: Policy::accept_all(),
        ..Neighbor::new("them", THEM.into(), Asn(64502))
    };
    let config = Config {
        listen: Vec::<SocketAddr>::new(),
        neighbors: vec![neighbor],
        ..Config::new(Asn(64501), US)
    };
    let speaker = Speaker::bind(config, None).unwrap();
    let handle = speaker.handle();
    tokio::spawn(speaker.run());
    (handle, listener)
}

/// The neighbor's end of an Established session.
struct Them {
    stream: TcpStream,
    inbox: Vec<u8>,
    context: Context,
}

fn restart(seconds: u64, notification: bool) -> GracefulRestart {
    let families = vec![Preserved { family: FAMILY, forwarding: true }];
    let restart_time = Duration::from_secs(seconds);
    GracefulRestart { restarted: false, notification, restart_time, families }
}

fn offer(graceful_restart: Option<GracefulRestart>) -> Capabilities {
    Capabilities {
        families: Some(vec![FAMILY]),
        route_refresh: true,
        four_octet_asn: true,
        enhanced_route_refresh: true,
        graceful_restart,
        ..Capabilities::default()
    }
}

impl Them {
    async fn meet(listener: &TcpListener, capabilities: Capabilities) -> Self {
        let (stream, _) = listener.accept().await.unwrap();
        let context = Context::new(true);
        let mut them = Self { stream, inbox: Vec::new(), context };
        assert!(matches!(them.hear().await, Message::Open(_)));
        them.say(&Message::Open(Open {
            asn: Asn(64502),
            hold_time: Duration::from_secs(90),
            router_id: THEM,
            capabilities,
        }))
        .await;
        them.say(&Message::Keepalive).await;
        them.context.four_octet_asn = true;
        them.context.enhanced_route_refresh = true;
        them
    }

    async fn say(&mut self, message: &Message) {
        self.stream.write_all(&message.emit(&self.context)).await.unwrap();
    }

    async fn send(&mut self, update: Update) {
        for octets in update.emit(&self.context) {
            self.stream.write_all(&octets).await.unwrap();
        }
    }

    async fn announce(&mut self, prefixes: &[&str]) {
        let mut attributes = Attributes::new(IpAddr::V4(THEM));
        attributes.as_path = AsPath::sequence(&[64502]);
        let prefixes: Vec<IpNet> = prefixes.iter().map(|it| it.parse().unwrap()).collect();
        self.send(Update::announce(Arc::new(attributes), prefixes)).await;
    }

    async fn hear(&mut self) -> Message {
        loop {
            if let Some(len) = frame_len(&self.inbox, self.context.max_len).unwrap()
                && self.inbox.len() >= len
            {
                let frame: Vec<u8> = self.inbox.drain(..len).collect();
                return Message::parse(&frame, &self.context).unwrap();
            }
            let read =
                tokio::time::timeout(Duration::from_secs(5), self.stream.read_buf(&mut self.inbox));
            assert_ne!(read.await.unwrap().unwrap(), 0, "the session ended");
        }
    }

    /// The next message that says something.
    async fn hear_news(&mut self) -> Message {
        loop {
            match self.hear().await {
                Message::Keepalive => {}
                message => return message,
            }
        }
    }
}

/// The prefixes that are there, with a mark at those that are stale.
async fn routes(us: &Handle) -> Vec<String> {
    let rows = us.routes(None).await;
    let words = |stale| if stale { " stale" } else { "" };
    rows.iter().map(|row| format!("{}{}", row.prefix, words(row.stale))).collect()
}

async fn until_routes(us: &Handle, wanted: &[&str]) {
    let mut last = Vec::new();
    for _ in 0..500 {
        last = routes(us).await;
        if last == wanted {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("not within five seconds: {wanted:?}, but {last:?}");
}

const BOTH: [&str; 2] = ["10.1.0.0/16", "10.2.0.0/16"];
const BOTH_STALE: [&str; 2] = ["10.1.0.0/16 stale", "10.2.0.0/16 stale"];

fn limits(stale: u64, long_lived: u64) -> Limits {
    let seconds = Duration::from_secs;
    Limits { stale: seconds(stale), long_lived: seconds(long_lived) }
}

#[tokio::test]
async fn a_neighbor_that_restarts_finds_its_routes_and_what_it_does_not_send_again_goes() {
    let (us, listener) = speaker(Some(Limits::default())).await;
    let mut them = Them::meet(&listener, offer(Some(restart(30, false)))).await;
    them.announce(&BOTH).await;
    until_routes(&us, &BOTH).await;
    drop(them);
    until_routes(&us, &BOTH_STALE).await;
    let status = us.neighbors().await.remove(0);
    assert_eq!((status.received, status.stale), (2, 2));
    assert_eq!(status.stale_families[0].state, "kept while it restarts");
    assert!(status.stale_families[0].ends_in_seconds <= 30.0);

    let mut them = Them::meet(&listener, offer(Some(restart(30, false)))).await;
    them.announce(&BOTH[..1]).await;
    until_routes(&us, &[BOTH[0], BOTH_STALE[1]]).await;
    them.send(Update::end_of_rib(FAMILY)).await;
    until_routes(&us, &BOTH[..1]).await;
    assert_eq!(us.neighbors().await[0].stale, 0);
}

#[tokio::test]
async fn a_neighbor_that_does_not_come_back_is_waited_for_no_longer_than_it_asked() {
    let (us, listener) = speaker(Some(Limits::default())).await;
    let mut them = Them::meet(&listener, offer(Some(restart(1, false)))).await;
    them.announce(&BOTH).await;
    until_routes(&us, &BOTH).await;
    let lost = std::time::Instant::now();
    drop((them, listener));
    until_routes(&us, &BOTH_STALE).await;
    until_routes(&us, &[]).await;
    let waited = lost.elapsed();
    assert!((900..2000).contains(&waited.as_millis()), "{waited:?}");
}

#[tokio::test]
async fn what_is_kept_for_long_is_a_last_resort_and_goes_in_the_end() {
    let (us, listener) = speaker(Some(limits(1, 1))).await;
    let stale_time = Duration::from_secs(3600);
    let mut capabilities = offer(Some(restart(120, false)));
    capabilities.long_lived_graceful_restart =
        Some(vec![LongLived { family: FAMILY, forwarding: true, stale_time }]);
    let mut them = Them::meet(&listener, capabilities).await;
    them.announce(&BOTH).await;
    until_routes(&us, &BOTH).await;
    drop((them, listener));
    until_routes(&us, &BOTH_STALE).await;
    let net: IpNet = BOTH[0].parse().unwrap();
    assert_eq!(us.best(net).await.unwrap().communities, Vec::<String>::new());
    let mut communities = Vec::new();
    for _ in 0..300 {
        communities = us.best(net).await.map(|it| it.communities).unwrap_or_default();
        if !communities.is_empty() {
            break;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    assert_eq!(communities, ["llgr-stale"]);
    until_routes(&us, &[]).await;
}

/// Each way of going after which nothing is waited for, though all else asks for it.
#[tokio::test]
async fn nothing_is_kept_of_a_neighbor_that_left_for_good() {
    let cease = |subcode| Message::Notification(Notification::new(error_code::CEASE, subcode));
    let shutdown = cease(cease_subcode::ADMINISTRATIVE_SHUTDOWN);
    let hard = cease(cease_subcode::HARD_RESET);
    let reset = cease(cease_subcode::ADMINISTRATIVE_RESET);
    // (our limits, its N bit, what it says at the end)
    for (limits, notification, last) in [
        (Some(Limits::default()), true, &shutdown),
        (Some(Limits::default()), true, &hard),
        (Some(Limits::default()), false, &reset),
        (None, true, &reset),
    ] {
        let (us, listener) = speaker(limits).await;
        let mut them = Them::meet(&listener, offer(Some(restart(30, notification)))).await;
        them.announce(&BOTH).await;
        until_routes(&us, &BOTH).await;
        them.say(last).await;
        until_routes(&us, &[]).await;
    }
    // With the N bit a reset alone is no farewell.
    let (us, listener) = speaker(Some(Limits::default())).await;
    let mut them = Them::meet(&listener, offer(Some(restart(30, true)))).await;
    them.announce(&BOTH).await;
    until_routes(&us, &BOTH).await;
    them.say(&reset).await;
    until_routes(&us, &BOTH_STALE).await;
    // Until our operator gives it up.
    us.order("them", NeighborOrder::Disable { message: String::new() }).await.unwrap();
    until_routes(&us, &[]).await;
}

#[tokio::test]
async fn an_operator_who_ends_the_session_says_so_beyond_doubt_and_keeps_nothing() {
    let (us, listener) = speaker(Some(Limits::default())).await;
    let mut them = Them::meet(&listener, offer(Some(restart(30, true)))).await;
    them.announce(&BOTH).await;
    until_routes(&us, &BOTH).await;
    us.order("them", NeighborOrder::Disable { message: "noon".into() }).await.unwrap();
    until_routes(&us, &[]).await;
    let farewell = loop {
        if let Message::Notification(notification) = them.hear().await {
            break notification;
        }
    };
    assert_eq!(farewell.subcode, cease_subcode::HARD_RESET);
    assert_eq!(farewell.shutdown_message().as_deref(), Some("noon"));
}

/// RFC 7313, both ways.
#[tokio::test]
async fn a_refresh_takes_what_is_not_sent_again_and_ours_has_a_beginning_and_an_end() {
    let (us, listener) = speaker(Some(Limits::default())).await;
    let mut them = Them::meet(&listener, offer(None)).await;
    them.announce(&BOTH).await;
    until_routes(&us, &BOTH).await;
    them.say(&Message::BeginningOfRouteRefresh(FAMILY)).await;
    until_routes(&us, &BOTH_STALE).await;
    them.announce(&BOTH[..1]).await;
    until_routes(&us, &[BOTH[0], BOTH_STALE[1]]).await;
    them.say(&Message::EndOfRouteRefresh(FAMILY)).await;
    until_routes(&us, &BOTH[..1]).await;

    us.originate("192.0.2.0/24".parse().unwrap(), Attributes::new(IpAddr::V4(US)));
    let announces = |message: &Message| matches!(message, Message::Update(update) if !update.announced.is_empty());
    while !announces(&them.hear_news().await) {}
    let asked = std::time::Instant::now();
    them.say(&Message::RouteRefresh(FAMILY)).await;
    assert_eq!(them.hear_news().await, Message::BeginningOfRouteRefresh(FAMILY));
    assert!(announces(&them.hear_news().await));
    assert_eq!(them.hear_news().await, Message::EndOfRouteRefresh(FAMILY));
    assert!(asked.elapsed() < Duration::from_secs(1), "no timer had to wake us for it");
}

//! Neighbors that come, change and go while the speaker runs, and one beside them, played by hand,
//! that must not notice.
#![allow(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    clippy::unwrap_used,
    reason = "tests use real sockets and may panic"
)]

use std::io::{Read, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use anycast_bgp::message::{Capabilities, Context, Message, Open};
use anycast_bgp::policy::{Action, Match, Policy, Rule, Set};
use anycast_bgp::{Asn, Attributes, Family, IpNet};
use anycast_speaker::{
    AoAlgorithm, BindError, ChangeError, Config, Handle, Limits, Neighbor, NeighborOrder, Password,
    Speaker, TcpAo,
};

use crate::setup::{free_port, until};

const US: Ipv4Addr = Ipv4Addr::LOCALHOST;
const QUIET: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 2);
const OTHER: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 3);
const OUR_ASN: Asn = Asn(64501);

fn neighbor(name: &str, address: Ipv4Addr, port: u16, asn: u32) -> Neighbor {
    Neighbor {
        port,
        hold_time: Duration::from_secs(3),
        connect_retry: Duration::from_millis(50),
        families: vec![Family::Ipv4Unicast],
        export: Policy::accept_all(),
        import: Policy::accept_all(),
        ..Neighbor::new(name, address.into(), Asn(asn))
    }
}

fn start(address: Ipv4Addr, asn: Asn, port: u16, neighbors: Vec<Neighbor>) -> Handle {
    let listen = vec![SocketAddr::new(address.into(), port)];
    let config = Config { listen, neighbors, ..Config::new(asn, address) };
    let speaker = Speaker::bind(config, None).unwrap();
    let handle = speaker.handle();
    tokio::spawn(speaker.run());
    handle
}

fn net(text: &str) -> IpNet {
    text.parse().unwrap()
}

fn ours() -> Attributes {
    Attributes::new(IpAddr::V4(US))
}

/// A neighbor that writes down each message that it is sent after the handshake.
#[derive(Clone, Default)]
struct Scribe(Arc<Mutex<Vec<Message>>>);

impl Scribe {
    /// Plays the neighbor of `asn` at `address`: waits to be dialled and speaks KEEPALIVEs.
    fn play(address: Ipv4Addr, port: u16, asn: u32) -> Self {
        let listener = TcpListener::bind((address, port)).unwrap();
        let scribe = Self::default();
        let told = scribe.clone();
        std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let open = Message::Open(Open {
                asn: Asn(asn),
                hold_time: Duration::from_secs(3),
                router_id: address,
                capabilities: Capabilities {
                    families: Some(vec![Family::Ipv4Unicast]),
                    four_octet_asn: true,
                    ..Capabilities::default()
                },
            });
            let mut writer = stream.try_clone().unwrap();
            writer.write_all(&open.emit(&Context::default())).unwrap();
            std::thread::spawn(move || {
                let keepalive = Message::Keepalive.emit(&Context::default());
                while writer.write_all(&keepalive).is_ok() {
                    std::thread::sleep(Duration::from_millis(500));
                }
            });
            while let Some(message) = read(&mut stream) {
                told.0.lock().unwrap().push(message);
            }
        });
        scribe
    }

    /// All but OPEN and KEEPALIVEs since the last time.
    fn news(&self) -> Vec<Message> {
        let mut told = std::mem::take(&mut *self.0.lock().unwrap());
        told.retain(|message| !matches!(message, Message::Open(_) | Message::Keepalive));
        told
    }

    fn keepalives(&self) -> usize {
        let told = self.0.lock().unwrap();
        told.iter().filter(|message| matches!(message, Message::Keepalive)).count()
    }
}

fn read(stream: &mut TcpStream) -> Option<Message> {
    let mut header = [0; 19];
    stream.read_exact(&mut header).ok()?;
    let length = usize::from(u16::from_be_bytes([header[16], header[17]]));
    let mut octets = header.to_vec();
    octets.resize(length, 0);
    stream.read_exact(&mut octets[19..]).ok()?;
    let context = Context { four_octet_asn: true, ..Context::default() };
    Some(Message::parse(&octets, &context).unwrap())
}

async fn is_up(speaker: &Handle, name: &str) -> bool {
    speaker.neighbor(name).await.is_ok_and(|it| it.state == "Established")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn neighbors_come_change_and_go_and_another_hears_nothing_but_keepalives() {
    let port = free_port(&[US, QUIET, OTHER]);
    let quiet = Scribe::play(QUIET, port, 64502);
    let us = start(US, OUR_ASN, port, vec![neighbor("quiet", QUIET, port, 64502)]);
    us.originate(net("192.0.2.0/24"), ours());
    until("the quiet one is up", async || is_up(&us, "quiet").await).await;
    until("and is told", async || us.neighbor("quiet").await.unwrap().advertised == 1).await;
    let told = async || quiet.0.lock().unwrap().len() >= 4;
    until("the route, an End-of-RIB and a KEEPALIVE arrive", told).await;
    quiet.news();
    let before = us.neighbor("quiet").await.unwrap();

    // One comes.
    let back = Neighbor { local_address: Some(OTHER.into()), ..neighbor("us", US, port, 64501) };
    let other = start(OTHER, Asn(64503), port, vec![back]);
    let new = Neighbor { passive: true, ..neighbor("new", OTHER, port, 64503) };
    us.add_neighbor(new.clone()).await.unwrap();
    until("the new one has the route", async || other.best(net("192.0.2.0/24")).await.is_some())
        .await;
    assert!(matches!(us.add_neighbor(new.clone()).await, Err(ChangeError::NameTaken(_))));

    // It changes: what it is told, then how much is taken from it.
    let med = Rule::new(Action::Accept).when(Match::Local).set(Set::Med(Some(7)));
    let changed = Neighbor { export: Policy { rules: vec![med] }, ..new.clone() };
    us.change_neighbor(changed.clone()).await.unwrap();
    until("it hears the MED", async || {
        other.best(net("192.0.2.0/24")).await.is_some_and(|route| route.med == Some(7))
    })
    .await;
    let limits = Limits { warn_at: None, prefixes: Some(1), as_path_length: None };
    us.change_neighbor(Neighbor { limits, ..changed.clone() }).await.unwrap();
    let row = us.neighbor("new").await.unwrap();
    assert_eq!((row.limits.prefixes, row.counters.established), (Some(1), 1), "no new session");

    // It begins anew by another hold time.
    let replaced = Neighbor { hold_time: Duration::from_secs(4), ..changed };
    us.replace_neighbor(replaced.clone()).await.unwrap();
    until("it is up again", async || {
        let row = us.neighbor("new").await.unwrap();
        row.state == "Established" && row.hold_time_offered_seconds > 3.5
    })
    .await;
    let down = other.neighbor("us").await.unwrap().last_down.unwrap();
    assert!(down.contains("Other Configuration Change"), "{down}");

    // It is disabled, begins anew all the same, and stays disabled.
    let stay_away = NeighborOrder::Disable { message: "tea".into() };
    us.order("new", stay_away).await.unwrap();
    us.replace_neighbor(replaced).await.unwrap();
    let row = us.neighbor("new").await.unwrap();
    assert_eq!((row.enabled, row.disabled_message.as_deref()), (false, Some("tea")));
    us.order("new", NeighborOrder::Enable).await.unwrap();
    until("it is up once more", async || is_up(&us, "new").await).await;

    // It goes.
    us.remove_neighbor("new").await.unwrap();
    assert!(matches!(us.remove_neighbor("new").await, Err(ChangeError::Unknown(_))));
    until("it has no route left", async || other.best(net("192.0.2.0/24")).await.is_none()).await;
    let names: Vec<String> = us.neighbors().await.into_iter().map(|it| it.name).collect();
    assert_eq!(names, ["quiet"]);

    // Meanwhile, and for longer than its hold time, nothing but KEEPALIVEs.
    let keepalives = async || quiet.keepalives() >= 3;
    until("the quiet one is spoken to", keepalives).await;
    assert_eq!(quiet.news(), []);
    let after = us.neighbor("quiet").await.unwrap();
    assert_eq!(after.counters.established, 1);
    assert!(after.since_seconds > before.since_seconds);
    assert_eq!(after.counters.updates_out, before.counters.updates_out);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_is_removed_hears_the_withdrawal_and_then_the_cease() {
    let port = free_port(&[US, QUIET, OTHER]);
    let us = start(US, OUR_ASN, port, Vec::new());
    us.originate(net("192.0.2.0/24"), ours());
    us.originate(net("198.51.100.0/24"), ours());
    let scribe = Scribe::play(QUIET, port, 64502);
    us.add_neighbor(neighbor("it", QUIET, port, 64502)).await.unwrap();
    until("it is told", async || us.neighbor("it").await.unwrap().advertised == 2).await;
    until("it has heard", async || scribe.0.lock().unwrap().len() >= 4).await;
    scribe.news();
    us.remove_neighbor("it").await.unwrap();
    until("it has heard the end", async || {
        matches!(scribe.0.lock().unwrap().last(), Some(Message::Notification(_)))
    })
    .await;
    let news = scribe.news();
    let [Message::Update(update), Message::Notification(cease)] = news.as_slice() else {
        panic!("{news:?}");
    };
    assert_eq!((update.withdrawn.len(), update.announced.len()), (2, 0), "{update:?}");
    assert_eq!((cease.code, cease.subcode), (6, 3), "Peer De-configured: {cease:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_secret_of_one_who_comes_is_asked_for_and_of_one_who_goes_forgotten() {
    for ao in [false, true] {
        let port = free_port(&[US, QUIET, OTHER]);
        let us = start(US, OUR_ASN, port, Vec::new());
        let sign = |neighbor: Neighbor, ours: bool| {
            let key = Password::new(b"a secret".to_vec()).unwrap();
            let (send_id, recv_id) = if ours { (1, 2) } else { (2, 1) };
            let algorithm = AoAlgorithm::HmacSha1;
            if ao {
                let tcp_ao = Some(TcpAo { key, send_id, recv_id, algorithm });
                Neighbor { tcp_ao, ..neighbor }
            } else {
                Neighbor { password: Some(key), ..neighbor }
            }
        };
        // Only it dials: what counts is the secret of our listening socket.
        let waits = Neighbor { passive: true, ..neighbor("it", OTHER, port, 64503) };
        match us.add_neighbor(sign(waits.clone(), true)).await {
            Err(ChangeError::Bind(BindError::Key { source, .. })) => {
                println!("skipped: no {}: {source}", if ao { "TCP-AO" } else { "TCP MD5" });
                assert_eq!(us.neighbors().await.len(), 0, "nothing has changed");
                continue;
            }
            other => other.unwrap(),
        }
        let dials =
            Neighbor { local_address: Some(OTHER.into()), ..neighbor("us", US, port, 64501) };
        let other = start(OTHER, Asn(64503), port, vec![sign(dials.clone(), false)]);
        until("the secret fits", async || is_up(&us, "it").await).await;

        us.remove_neighbor("it").await.unwrap();
        us.add_neighbor(waits).await.unwrap();
        tokio::time::sleep(Duration::from_millis(300)).await;
        assert!(!is_up(&us, "it").await, "the other still signs");
        other.replace_neighbor(dials).await.unwrap();
        until("nobody asks for a secret", async || is_up(&us, "it").await).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_neighbor_of_an_interface_gets_a_listening_socket_and_takes_it_along() {
    let port = free_port(&[US, QUIET, OTHER]);
    let us = start(US, OUR_ASN, port, Vec::new());
    let waits = Neighbor {
        passive: true,
        interface: Some("lo".into()),
        ..neighbor("it", OTHER, port, 64503)
    };
    match us.add_neighbor(waits.clone()).await {
        Err(ChangeError::Bind(BindError::Listen { source, .. })) => {
            return println!("skipped: a socket cannot be bound to lo: {source}");
        }
        other => other.unwrap(),
    }
    let dials = Neighbor { local_address: Some(OTHER.into()), ..neighbor("us", US, port, 64501) };
    let _other = start(OTHER, Asn(64503), port, vec![dials]);
    until("it comes over lo", async || is_up(&us, "it").await).await;
    us.remove_neighbor("it").await.unwrap();
    let nowhere = Neighbor { interface: Some("no-such-interface".into()), ..waits.clone() };
    assert!(matches!(us.add_neighbor(nowhere).await, Err(ChangeError::Bind(_))));
    assert_eq!(us.neighbors().await.len(), 0, "nothing has changed");
    us.add_neighbor(Neighbor { interface: None, ..waits }).await.unwrap();
    until("it comes over the socket of all", async || is_up(&us, "it").await).await;
}

/// What a neighbor of ours sees when our process is killed: the kernel resets the connection.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_routes_of_a_neighbor_that_was_killed_go_with_its_connection() {
    let mut took = Vec::new();
    for _ in 0..20 {
        let port = free_port(&[US, QUIET, OTHER]);
        let listener = TcpListener::bind((QUIET, port)).unwrap();
        let route = std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let open = Message::Open(Open {
                asn: Asn(64502),
                hold_time: Duration::from_secs(90),
                router_id: QUIET,
                capabilities: Capabilities {
                    families: Some(vec![Family::Ipv4Unicast]),
                    four_octet_asn: true,
                    ..Capabilities::default()
                },
            });
            let mut attributes = Attributes::new(IpAddr::V4(QUIET));
            attributes.as_path = anycast_bgp::AsPath::sequence(&[64502]);
            let context = Context { four_octet_asn: true, ..Context::default() };
            let prefix = net("192.0.2.0/24");
            let update = anycast_bgp::message::Update::announce(Arc::new(attributes), vec![prefix]);
            stream.write_all(&open.emit(&Context::default())).unwrap();
            stream.write_all(&Message::Keepalive.emit(&Context::default())).unwrap();
            stream.write_all(&update.emit(&context).concat()).unwrap();
            stream
        });
        let us = start(US, OUR_ASN, port, vec![neighbor("it", QUIET, port, 64502)]);
        until("its route is there", async || us.best(net("192.0.2.0/24")).await.is_some()).await;
        let stream = socket2::Socket::from(route.join().unwrap());
        // As the kernel does with what a killed process leaves unread.
        stream.set_linger(Some(Duration::ZERO)).unwrap();
        let killed = std::time::Instant::now();
        drop(stream);
        while us.best(net("192.0.2.0/24")).await.is_some() {
            assert!(killed.elapsed() < Duration::from_secs(5));
        }
        took.push(killed.elapsed());
        us.shutdown("");
    }
    took.sort();
    println!("from reset to withdrawal: median {:?}, worst {:?}", took[10], took[19]);
    // Two milliseconds are meant; this machine may be busy with anything.
    assert!(took[10] < Duration::from_millis(100), "{took:?}");
}

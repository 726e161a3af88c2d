use std::io::{BufRead, BufReader};
use std::net::{TcpListener, TcpStream, UdpSocket};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use Protocol::{Tcp, Udp};

use super::*;

/// How long an event may take at most, even on a busy machine.
const SOON: Duration = Duration::from_secs(2);
/// How long nothing must come to say that nothing comes.
const QUIET: Duration = Duration::from_millis(150);

fn at(protocol: Protocol, local: &str) -> Socket {
    Socket { protocol, local: local.parse().unwrap() }
}

/// Opens, or says why this machine cannot.
fn open(watched: Vec<Socket>) -> Option<Deaths> {
    match Deaths::open(watched) {
        Err(error @ Error::Unsupported(_)) => {
            println!("skipped: {error}");
            None
        }
        opened => Some(opened.unwrap()),
    }
}

async fn quiet(deaths: &mut Deaths) -> bool {
    tokio::time::timeout(QUIET, deaths.next()).await.is_err()
}

async fn soon(deaths: &mut Deaths) -> Event {
    tokio::time::timeout(SOON, deaths.next()).await.expect("an event within two seconds")
}

/// Not a test: the process that another test kills.
#[test]
#[ignore = "run as a child of a_killed_service_is_an_event"]
fn serve_until_killed() {
    let bind = std::env::var("ANYCAST_TEST_BIND").unwrap();
    let (protocol, address) = bind.split_once(' ').unwrap();
    let kind = if protocol == "tcp" { socket2::Type::STREAM } else { socket2::Type::DGRAM };
    let address: SocketAddr = address.parse().unwrap();
    let socket = socket2::Socket::new(socket2::Domain::for_address(address), kind, None).unwrap();
    socket.bind(&address.into()).unwrap();
    if protocol == "tcp" {
        socket.listen(1).unwrap();
    }
    let bound = socket.local_addr().unwrap().as_socket().unwrap();
    println!("\nready {bound}");
    std::thread::sleep(Duration::from_secs(60));
}

/// A child process with a socket bound to `address`, and the port that it got.
fn serve(protocol: &str, address: &str) -> (Child, u16) {
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "--ignored", "--nocapture", "watch::tests::serve_until_killed"])
        .env("ANYCAST_TEST_BIND", format!("{protocol} {address}"))
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let ready = lines.map(Result::unwrap).find_map(|line| {
        line.strip_prefix("ready ").map(|bound| bound.parse::<SocketAddr>().unwrap().port())
    });
    (child, ready.unwrap())
}

#[tokio::test]
async fn a_killed_service_is_an_event() {
    for (protocol, bind, target) in [
        ("tcp", "127.0.0.1:0", "127.0.0.1"),
        ("tcp", "0.0.0.0:0", "192.0.2.53"),
        ("tcp", "[::]:0", "2001:db8::53"),
        ("tcp", "[::]:0", "192.0.2.53"),
        ("tcp", "[::1]:0", "::1"),
        ("udp", "127.0.0.1:0", "127.0.0.1"),
        ("udp", "[::]:0", "192.0.2.53"),
        ("udp", "[::1]:0", "::1"),
    ] {
        let (mut child, port) = serve(protocol, bind);
        let protocol = if protocol == "tcp" { Tcp } else { Udp };
        let local = SocketAddr::new(target.parse().unwrap(), port);
        let Some(mut deaths) = open(vec![Socket { protocol, local }]) else {
            child.kill().unwrap();
            child.wait().unwrap();
            return;
        };
        assert!(quiet(&mut deaths).await, "{bind}: it still lives");
        child.kill().unwrap();
        let killed = Instant::now();
        let event = soon(&mut deaths).await;
        println!("{protocol:?} {bind}: known after {:?}", killed.elapsed());
        let mut local: SocketAddr = bind.parse().unwrap();
        local.set_port(port);
        assert_eq!(event, Event::Death(Socket { protocol, local }));
        child.wait().unwrap();
    }
}

#[tokio::test]
async fn connections_and_other_sockets_are_no_events() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let local = listener.local_addr().unwrap();
    let Some(mut deaths) = open(vec![Socket { protocol: Tcp, local }]) else { return };

    let client = TcpStream::connect(local).unwrap();
    let (server, _) = listener.accept().unwrap();
    drop((server, client));
    assert!(quiet(&mut deaths).await, "a connection ended");

    drop(TcpListener::bind("127.0.0.1:0").unwrap());
    drop(TcpListener::bind(SocketAddr::new([127, 0, 0, 2].into(), local.port())).unwrap());
    drop(UdpSocket::bind(local).unwrap());
    assert!(quiet(&mut deaths).await, "another port, address and protocol");

    let _never_accepted = TcpStream::connect(local).unwrap();
    drop(listener);
    assert_eq!(soon(&mut deaths).await, Event::Death(Socket { protocol: Tcp, local }));
    assert!(quiet(&mut deaths).await, "one listener is one death");
}

#[tokio::test]
async fn another_set_can_be_watched() {
    let [first, second] = [(); 2].map(|()| UdpSocket::bind("127.0.0.1:0").unwrap());
    let [of_first, of_second] = [&first, &second]
        .map(|socket| Socket { protocol: Udp, local: socket.local_addr().unwrap() });
    let Some(mut deaths) = open(vec![of_first]) else { return };
    deaths.watch(vec![of_second]).unwrap();
    drop(first);
    assert!(quiet(&mut deaths).await);
    drop(second);
    assert_eq!(soon(&mut deaths).await, Event::Death(of_second));
}

#[tokio::test]
async fn too_many_deaths_are_an_overrun_and_then_it_goes_on() {
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    let local = socket.local_addr().unwrap();
    let watched = Socket { protocol: Udp, local };
    let Some(mut deaths) = open(vec![watched]) else { return };
    SockRef::from(deaths.netlink.socket_ref()).set_recv_buffer_size(1).unwrap();
    drop(socket);
    for _ in 0..200 {
        drop(UdpSocket::bind(local).unwrap());
    }
    // The kernel tells from a work queue of its own; let it finish before anybody reads.
    std::thread::sleep(QUIET);
    let mut events = Vec::new();
    while let Ok(event) = tokio::time::timeout(QUIET, deaths.next()).await {
        events.push(event);
    }
    assert!(events.contains(&Event::Overrun), "{} events", events.len());
    drop(UdpSocket::bind(local).unwrap());
    assert_eq!(soon(&mut deaths).await, Event::Death(watched));
}

#[test]
fn a_wildcard_serves_every_address_of_its_family_and_ipv6s_all() {
    for (bound, wanted, want) in [
        (at(Tcp, "192.0.2.1:80"), at(Tcp, "192.0.2.1:80"), true),
        (at(Tcp, "192.0.2.2:80"), at(Tcp, "192.0.2.1:80"), false),
        (at(Tcp, "192.0.2.1:81"), at(Tcp, "192.0.2.1:80"), false),
        (at(Udp, "192.0.2.1:80"), at(Tcp, "192.0.2.1:80"), false),
        (at(Tcp, "0.0.0.0:80"), at(Tcp, "192.0.2.1:80"), true),
        (at(Tcp, "0.0.0.0:80"), at(Tcp, "[2001:db8::1]:80"), false),
        (at(Tcp, "[::]:80"), at(Tcp, "[2001:db8::1]:80"), true),
        (at(Tcp, "[::]:80"), at(Tcp, "192.0.2.1:80"), true),
        (at(Tcp, "[::]:81"), at(Tcp, "192.0.2.1:80"), false),
    ] {
        assert_eq!(bound.serves(&wanted), want, "{bound:?} {wanted:?}");
    }
}

/// A message as the kernel wrote it when a UDP socket at 127.0.0.1:5000 closed.
fn message() -> Vec<u8> {
    let mut octets = Vec::from(96_u32.to_ne_bytes());
    octets.extend(20_u16.to_ne_bytes());
    octets.resize(16, 0);
    octets.extend([2, 7, 0, 0, 0x13, 0x88, 0, 0, 127, 0, 0, 1]);
    octets.resize(16 + 72, 0);
    octets.extend(5_u16.to_ne_bytes());
    octets.extend(10_u16.to_ne_bytes());
    octets.extend([17, 0, 0, 0]);
    octets
}

#[test]
fn messages_are_read_and_others_passed_over() {
    let changed = |at: usize, octet: u8| {
        let mut octets = message();
        octets[at] = octet;
        octets
    };
    let dead = at(Udp, "127.0.0.1:5000");
    let two = [message(), changed(92, 6)].concat();
    for (name, octets, want) in [
        ("one", message(), vec![dead]),
        ("two", two, vec![dead, at(Tcp, "127.0.0.1:5000")]),
        ("nothing", vec![], vec![]),
        ("another type after which one comes", [changed(4, 3), message()].concat(), vec![dead]),
        ("another family", changed(16, 1), vec![]),
        ("another protocol", changed(92, 132), vec![]),
        ("with a remote port", changed(23, 80), vec![]),
        ("with a remote address", changed(40, 127), vec![]),
        ("no protocol", changed(90, 9), vec![]),
        ("cut", message()[..95].to_vec(), vec![]),
        ("a length of zero", changed(0, 0), vec![]),
    ] {
        assert_eq!(wire::parse(&octets).collect::<Vec<_>>(), want, "{name}");
    }
}

#[tokio::test]
async fn more_ports_than_a_filter_holds_are_still_watched() {
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    let dead = Socket { protocol: Udp, local: socket.local_addr().unwrap() };
    let mut watched: Vec<_> = (1..5000)
        .map(|port| Socket { local: SocketAddr::new(dead.local.ip(), port), ..dead })
        .collect();
    watched.push(dead);
    let Some(mut deaths) = open(watched) else { return };
    drop(socket);
    assert_eq!(soon(&mut deaths).await, Event::Death(dead));
}

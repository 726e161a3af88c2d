//! The order in which a service goes, seen in a packet capture: first the withdrawal is on the
//! wire, and the service's address still takes connections after it.
//!
//! BIRD, the daemon and a client live on the loopback interface of one network namespace; one
//! packet socket sees all that passes there, in its order.

use std::fmt::Write as _;
use std::fs;
use std::io::{ErrorKind, Read};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, ScopedJoinHandle};
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use socket2::{Domain, Protocol, Socket, Type};

use crate::floor::ip;
use crate::matrix::stand::run_in_namespace;
use crate::program::{Desk, Process, User, finish, installed, until};

/// Far more than anything takes on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);
/// All protocols, in the order of octets that the kernel wants (packet(7)).
const ALL: u16 = 3_u16.to_be();
pub(crate) const TCP: u8 = 6;
const STAYS: &str = "192.0.2.53";
const GOES: &str = "203.0.113.53";

#[test]
fn the_withdrawal_is_on_the_wire_before_the_address_goes_and_the_service_ends() {
    if installed(&["bird", "birdc"]) {
        run_in_namespace("order::the_withdrawal_inside");
    }
}

/// What passed, as far as it matters here.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Passed {
    /// An UPDATE that withdraws the /24 of this address, and does nothing else.
    Withdrawal,
    /// This address has taken a connection: SYN and ACK.
    Taken,
    /// It has refused one: RST to a SYN.
    Refused,
}

/// The addresses and what follows the header of an IPv4 packet (RFC 791 §3.1) of this protocol in an
/// Ethernet frame.
pub(crate) fn packet(frame: &[u8], protocol: u8) -> Option<(Ipv4Addr, Ipv4Addr, &[u8])> {
    let packet = frame.get(14..).filter(|_| frame[12..14] == [8, 0])?;
    let header = usize::from(packet.first()? & 15) * 4;
    let rest = packet.get(header..).filter(|_| packet.get(9) == Some(&protocol))?;
    let address = |at: usize| {
        let octets: [u8; 4] = packet.get(at..at + 4)?.try_into().ok()?;
        Some(Ipv4Addr::from(octets))
    };
    Some((address(12)?, address(16)?, rest))
}

/// What a TCP segment (RFC 9293 §3.1) carries.
pub(crate) fn payload(segment: &[u8]) -> Option<&[u8]> {
    segment.get(usize::from(segment.get(12)? >> 4) * 4..)
}

/// Whether the octets hold an UPDATE that withdraws the /24 of the address, and does nothing else.
pub(crate) fn withdraws(octets: &[u8], address: Ipv4Addr) -> bool {
    // RFC 4271 §4.3: the marker, 27 octets, an UPDATE, 4 octets of withdrawn routes, no attributes.
    let [a, b, c, _] = address.octets();
    let update = [&[255; 16][..], &[0, 27, 2, 0, 4, 24, a, b, c, 0, 0]].concat();
    octets.windows(update.len()).any(|it| it == update)
}

/// What a frame is for this address.
fn judge(frame: &[u8], address: Ipv4Addr) -> Option<Passed> {
    let (from, _, segment) = packet(frame, TCP)?;
    let flags = segment.get(13)?;
    if from == address {
        return match flags & 0b1_0111 {
            0b1_0010 => Some(Passed::Taken),
            // In answer to a SYN it has no sequence number of its own.
            0b1_0100 if segment[4..8] == [0; 4] => Some(Passed::Refused),
            _ => None,
        };
    }
    withdraws(payload(segment)?, address).then_some(Passed::Withdrawal)
}

/// What passed, and when it was read.
pub(crate) type Frame = (Instant, Vec<u8>);

/// What passes the loopback interface, until it is told to stop.
pub(crate) fn capture<'s>(
    scope: &'s thread::Scope<'s, '_>,
    stop: &'s AtomicBool,
) -> ScopedJoinHandle<'s, Vec<Frame>> {
    let socket = Socket::new(Domain::PACKET, Type::RAW, Some(Protocol::from(i32::from(ALL))));
    let mut socket = socket.expect("root in this namespace may capture");
    socket.set_recv_buffer_size(4 << 20).expect("the kernel takes what it can");
    socket.set_read_timeout(Some(Duration::from_millis(50))).expect("a socket takes a timeout");
    scope.spawn(move || {
        let (mut frames, mut buffer) = (Vec::new(), vec![0; 65536]);
        loop {
            match socket.read(&mut buffer) {
                Ok(len) => frames.push((Instant::now(), buffer[..len].to_vec())),
                Err(error) if error.kind() != ErrorKind::WouldBlock => panic!("{error}"),
                // Only once all that had passed was read.
                Err(_) if stop.load(Ordering::Relaxed) => return frames,
                Err(_) => {}
            }
        }
    })
}

/// Connects to the address again and again.
fn connect<'s>(scope: &'s thread::Scope<'s, '_>, stop: &'s AtomicBool, address: Ipv4Addr) {
    scope.spawn(move || {
        while !stop.load(Ordering::Relaxed) {
            // Whether it works is in the capture.
            let at = SocketAddr::from((address, 80));
            drop(TcpStream::connect_timeout(&at, Duration::from_millis(500)));
            thread::sleep(Duration::from_millis(5));
        }
    });
}

/// Does something after which the address is there no more, and looks at the order.
fn goes_in_order(address: &str, order: impl FnOnce()) {
    let address: Ipv4Addr = address.parse().expect("an address");
    let is_there = || {
        let table = fs::read_to_string("/proc/net/fib_trie").expect("/proc is there");
        table.contains(&format!("{address}\n"))
    };
    assert!(is_there());
    let stop = AtomicBool::new(false);
    let frames = thread::scope(|scope| {
        let capture = capture(scope, &stop);
        connect(scope, &stop, address);
        thread::sleep(Duration::from_millis(200));
        order();
        until("the address is gone", PATIENCE, || if is_there() { Err(()) } else { Ok(()) });
        stop.store(true, Ordering::Relaxed);
        capture.join().expect("it only reads")
    });
    let passed: Vec<Passed> = frames.iter().filter_map(|(_, it)| judge(it, address)).collect();
    let at = passed.iter().position(|it| *it == Passed::Withdrawal);
    let (before, after) = passed.split_at(at.expect("the withdrawal was on the wire"));
    let count = |passed: &[Passed], what| passed.iter().filter(|it| **it == what).count();
    println!(
        "{address}: {} frames; taken before the withdrawal {}, after it {}; refused {}, {}",
        frames.len(),
        count(before, Passed::Taken),
        count(after, Passed::Taken),
        count(before, Passed::Refused),
        count(after, Passed::Refused),
    );
    assert!(count(before, Passed::Taken) > 0 && count(before, Passed::Refused) == 0, "{passed:?}");
    // Neither the address nor the listener comes back: who takes a connection now had both then.
    assert!(count(after, Passed::Taken) > 0, "it has served on: {passed:?}");
}

fn fleet(with: &[&str]) -> String {
    let mut text = String::from(
        "[fleet]\nname = \"test\"\nasn = 64500\n[site.fra]\nrouter-id = \"198.51.100.2\"\n\
         listen = false\nkernel-routes = false\nstop-wait = \"1s\"\n[site.fra.neighbor.bird]\n\
         address = \"198.51.100.1\"\nlocal-address = \"198.51.100.2\"\nasn = 64501\n\
         port = 1790\nmultihop = 2\nexport = \"fleet\"\n",
    );
    for address in with {
        let (net, name) = (address.replace(".53", ".0/24"), address.replace('.', "-"));
        let _ = write!(
            text,
            "[prefix.\"{net}\"]\nservices = [\"s{name}\"]\n[service.s{name}]\n\
             addresses = [\"{address}\"]\nbuiltin = \"whoami\"\n"
        );
    }
    text
}

fn bird(desk: &Desk) -> Command {
    let config = desk.write(
        "bird.conf",
        "log stderr all;\nrouter id 198.51.100.1;\nprotocol device { }\n\
         protocol bgp fra { local 198.51.100.1 port 1790 as 64501; multihop 2; passive; \
         strict bind; neighbor 198.51.100.2 as 64500; ipv4 { import all; export none; }; }\n",
    );
    let mut command = Command::new("bird");
    command.args(["-f", "-c", &config, "-s"]).arg(desk.path("bird.ctl"));
    command
}

#[test]
#[ignore = "runs in a namespace, by the test of the like name"]
fn the_withdrawal_inside() {
    let desk = Desk::new(User::Root);
    ip("link set lo up");
    ip("address add 198.51.100.1/32 dev lo");
    ip("address add 198.51.100.2/32 dev lo");
    let _bird = Process::start(bird(&desk));
    let path = desk.write("fleet.toml", fleet(&[STAYS, GOES]));
    let socket = desk.path("fra.sock").display().to_string();
    let daemon =
        Process::start(desk.anycast(&["run", &path, "--site", "fra", "--socket", &socket]));
    until("BIRD has both routes", PATIENCE, || {
        let mut command = Command::new("birdc");
        command.arg("-s").arg(desk.path("bird.ctl")).args(["show", "route"]);
        let routes = finish(command, b"");
        let holds = routes.out.contains("192.0.2.0/24") && routes.out.contains("203.0.113.0/24");
        if holds { Ok(()) } else { Err((routes, daemon.words())) }
    });

    goes_in_order(GOES, || {
        desk.write("fleet.toml", fleet(&[STAYS]));
        let done = desk.run(&["reload", "--socket", &socket]);
        assert_eq!(done.code, Some(0), "{done:?}");
    });
    goes_in_order(STAYS, || daemon.signal(Signal::SIGTERM));
    assert_eq!(daemon.wait().code(), Some(0), "{}", daemon.words());
}

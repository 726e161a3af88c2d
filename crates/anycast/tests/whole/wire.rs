//! What real neighbors hear of a site: the daemon and BIRD on the loopback interface of one network
//! namespace.

use std::fmt::Write as _;
use std::fs;
use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use serde_json::Value;

use crate::floor::ip;
use crate::matrix::stand::run_in_namespace;
use crate::order::{Frame, TCP, capture, packet, payload, withdraws};
use crate::program::{Desk, Output, Process, User, finish, installed, send, until};

/// Far more than anything takes on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);
const UDP: u8 = 17;
/// BIRD as the neighbor left, the site there, and BIRD behind left. BIRD as the neighbor right is
/// 198.51.100.3, and the site there 198.51.100.5: BIRD has one session with an address.
const LEFT: Ipv4Addr = Ipv4Addr::new(198, 51, 100, 1);
const SITE: Ipv4Addr = Ipv4Addr::new(198, 51, 100, 2);
const BEHIND: Ipv4Addr = Ipv4Addr::new(198, 51, 100, 4);
const SERVICE: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 53);

macro_rules! in_a_namespace {
    ($($case:ident $inside:ident)*) => {$(
        #[test]
        fn $case() {
            if installed(&["bird", "birdc"]) {
                run_in_namespace(concat!("wire::", stringify!($inside)));
            }
        }
    )*};
}

in_a_namespace! {
    each_neighbor_hears_of_a_degraded_prefix_what_the_file_says degraded_inside
    what_answers_wrongly_is_withdrawn wrong_data_inside
    what_is_frozen_is_withdrawn_at_the_timeout_of_its_check frozen_inside
    the_route_goes_when_the_neighbor_sees_that_the_daemon_was_killed killed_inside
    what_is_damped_is_announced_again_once_an_operator_says_so damped_inside
}

/// The site, and who hears it.
struct World<'d> {
    desk: &'d Desk,
    daemon: Process,
    birds: Vec<Process>,
}

/// What a neighbor hears of the prefix.
#[derive(Debug, Default, Eq, PartialEq)]
struct Heard {
    path: String,
    med: Option<String>,
    communities: Option<String>,
}

impl<'d> World<'d> {
    /// The site with these prefixes and services.
    fn start(desk: &'d Desk, services: &str) -> Self {
        ip("link set lo up");
        for last in 1..=5 {
            ip(&format!("address add 198.51.100.{last}/32 dev lo"));
        }
        let begins = "log stderr all;\nprotocol device { }\n\
                      template bgp peer { multihop 2; strict bind; connect delay time 1; \
                      error wait time 1, 2; ipv4 { import all; export none; }; }\n";
        let near = format!(
            "router id {LEFT};\n{begins}\
             protocol bgp left from peer {{ local {LEFT} port 1790 as 64501; passive; \
             neighbor {SITE} as 64500; }}\n\
             protocol bgp right from peer {{ local 198.51.100.3 port 1790 as 64502; passive; \
             neighbor 198.51.100.5 as 64500; }}\n\
             protocol bgp behind from peer {{ local {LEFT} port 1791 as 64501; \
             neighbor {BEHIND} port 1791 as 64510; ipv4 {{ import none; export all; \
             next hop self; }}; }}\n"
        );
        let far = format!(
            "router id {BEHIND};\n{begins}\
             protocol bgp near from peer {{ local {BEHIND} port 1791 as 64510; passive; \
             neighbor {LEFT} as 64501; }}\n"
        );
        let birds = [("near", near), ("far", far)].map(|(name, text)| {
            let config = desk.write(&format!("{name}.conf"), text);
            let mut command = Command::new("bird");
            let socket = desk.path(&format!("{name}.ctl"));
            command.args(["-f", "-c", &config, "-s"]).arg(socket);
            Process::start(command)
        });
        let mut fleet = format!(
            "[fleet]\nname = \"test\"\nasn = 64500\n{services}\n[site.fra]\nlisten = false\n\
             router-id = \"{SITE}\"\nkernel-routes = false\nstop-wait = \"10ms\"\n"
        );
        for (neighbor, last, own, asn) in [("left", 1, 2, 64501), ("right", 3, 5, 64502)] {
            let _ = write!(
                fleet,
                "[site.fra.neighbor.{neighbor}]\naddress = \"198.51.100.{last}\"\n\
                 local-address = \"198.51.100.{own}\"\nasn = {asn}\nport = 1790\nmultihop = 2\n\
                 export = \"fleet\"\n"
            );
        }
        let fleet = desk.write("fleet.toml", fleet);
        let socket = desk.path("fra.sock").display().to_string();
        let arguments = ["run", &fleet, "--site", "fra", "--socket", &socket];
        let daemon = Process::start(desk.anycast(&arguments));
        Self { desk, daemon, birds: birds.into() }
    }

    fn show(&self, what: &[&str]) -> Output {
        let socket = self.desk.path("fra.sock").display().to_string();
        self.desk.run(&[&["show"], what, &["--socket", &socket]].concat())
    }

    fn tell(&self, what: &[&str]) -> Output {
        let socket = self.desk.path("fra.sock").display().to_string();
        self.desk.run(&[what, &["--socket", &socket]].concat())
    }

    fn services(&self) -> Value {
        serde_json::from_str(&self.show(&["services", "--json"]).out).unwrap_or_default()
    }

    /// What the protocol of one BIRD has of the prefix.
    fn ask(&self, bird: &str, protocol: &str) -> Option<Heard> {
        let mut command = Command::new("birdc");
        command.arg("-s").arg(self.desk.path(&format!("{bird}.ctl")));
        command.args(["show", "route", "192.0.2.0/24", "all", "protocol", protocol]);
        let text = finish(command, b"").out;
        let of = |key: &str| {
            let mut lines = text.lines().filter_map(|it| it.trim().strip_prefix(key));
            lines.next().map(|it| it.trim().to_owned())
        };
        let path = of("BGP.as_path:")?;
        Some(Heard { path, med: of("BGP.med:"), communities: of("BGP.community:") })
    }

    fn heard(&self) -> [Option<Heard>; 2] {
        ["left", "right"].map(|neighbor| self.ask("near", neighbor))
    }

    fn hears(&self, what: &str, wanted: &[Option<Heard>; 2]) {
        until(what, PATIENCE, || {
            let heard = self.heard();
            if heard == *wanted {
                return Ok(());
            }
            let birds: Vec<String> = self.birds.iter().map(Process::words).collect();
            let sessions = self.show(&["neighbors"]).out;
            Err(format!(
                "{heard:?} {sessions} {} {} {birds:?}",
                self.services(),
                self.daemon.words()
            ))
        });
    }

    fn announces(&self, what: &str) {
        self.hears(what, &[Some(plain()), Some(plain())]);
    }

    fn is_silent(&self, what: &str) {
        self.hears(what, &[None, None]);
    }
}

fn plain() -> Heard {
    Heard { path: "64500".to_owned(), ..Heard::default() }
}

/// Captures what passes while `order` is carried out.
fn captured(order: impl FnOnce()) -> Vec<Frame> {
    let stop = AtomicBool::new(false);
    thread::scope(|scope| {
        let capture = capture(scope, &stop);
        order();
        stop.store(true, Ordering::Relaxed);
        capture.join().expect("it only reads")
    })
}

/// When an UPDATE with the withdrawal of the prefix went from one to the other.
fn withdrawal(frames: &[Frame], [from, to]: [Ipv4Addr; 2]) -> Option<(usize, Instant)> {
    let is_it = |(_, frame): &Frame| {
        packet(frame, TCP).is_some_and(|(source, target, segment)| {
            let octets = payload(segment).unwrap_or_default();
            [source, target] == [from, to] && withdraws(octets, SERVICE)
        })
    };
    let at = frames.iter().position(is_it)?;
    Some((at, frames[at].0))
}

#[test]
#[ignore = "runs in a namespace, by the test of the like name"]
fn degraded_inside() {
    let desk = Desk::new(User::Root);
    let flag = |name: &str| desk.path(name);
    let mut services = String::from(
        "[prefix.\"192.0.2.0/24\"]\nservices = [\"a\", \"b\", \"c\"]\nweights = { a = 3 }\n\
         require = \"60%\"\ndegraded = [{ prepend = 2, community = [\"64500:77\"] }, \
         { neighbor = [\"left\"], med = 50 }, { neighbor = [\"right\"], withdraw = true }]\n",
    );
    for (number, name) in ["a", "b", "c"].iter().enumerate() {
        let _ = write!(
            services,
            "[service.{name}]\naddresses = [\"192.0.2.{number}\"]\ndamping = false\n\
             check = [{{ type = \"file\", path = \"{}\", interval = \"200ms\", \
             timeout = \"200ms\", rise = 1 }}]\n",
            flag(name).display()
        );
        fs::write(flag(name), "").expect("a file of the test");
    }
    let world = World::start(&desk, &services);
    world.announces("all are up");
    let degraded = || {
        Some(Heard {
            path: "64500 64500 64500".to_owned(),
            med: Some("50".to_owned()),
            communities: Some("(64500,77)".to_owned()),
        })
    };
    let falls = |name: &str| fs::remove_file(flag(name)).expect("it is there");
    let stands = |name: &str| fs::write(flag(name), "").expect("a file of the test");
    falls("b");
    world.hears("four of five are up", &[degraded(), None]);
    falls("c");
    until("c is down", PATIENCE, || {
        let services = world.services();
        if services["services"][2]["state"] == "down" { Ok(()) } else { Err(services) }
    });
    world.hears("three of five, which is 60 %", &[degraded(), None]);
    stands("b");
    stands("c");
    world.announces("all are up again");
    falls("a");
    world.is_silent("two of five are too few");
    stands("a");
    world.announces("all are up once more");
    let neighbors: Value =
        serde_json::from_str(&world.show(&["neighbors", "--json"]).out).expect("JSON");
    for neighbor in neighbors.as_array().expect("a list") {
        assert_eq!(neighbor["counters"]["established"], 1, "no session was reset: {neighbor:#}");
    }
}

/// Answers DNS queries with these addresses, as `mode` says.
fn dns_server(answers: &'static [&'static [[u8; 4]]], mode: &Arc<AtomicUsize>) {
    let socket = UdpSocket::bind(SocketAddr::from((SERVICE, 53))).expect("the address is there");
    let mode = Arc::clone(mode);
    thread::spawn(move || {
        let mut query = [0; 512];
        while let Ok((len, client)) = socket.recv_from(&mut query) {
            // RFC 1035 §4.1: the header, then the question: a name, a type and a class.
            let end = 12 + query[12..len].iter().position(|it| *it == 0).expect("a name") + 5;
            let addresses = answers[mode.load(Ordering::Relaxed)];
            let mut answer = query[..end].to_vec();
            answer[2..4].copy_from_slice(&[0x84, 0]);
            let count = u8::try_from(addresses.len()).expect("few");
            answer[4..12].copy_from_slice(&[0, 1, 0, count, 0, 0, 0, 0]);
            for address in addresses {
                answer.extend([0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 60, 0, 4]);
                answer.extend(address);
            }
            socket.send_to(&answer, client).expect("it can be answered");
        }
    });
}

#[test]
#[ignore = "runs in a namespace, by the test of the like name"]
fn wrong_data_inside() {
    const RIGHT: [u8; 4] = [192, 0, 2, 1];
    let desk = Desk::new(User::Root);
    ip("link set lo up");
    ip(&format!("address add {SERVICE}/32 dev lo"));
    let mode = Arc::new(AtomicUsize::new(0));
    // The first of the wrong ones begins like the right one.
    dns_server(
        &[&[RIGHT], &[[192, 0, 2, 10]], &[RIGHT, [192, 0, 2, 2]], &[], &[RIGHT, RIGHT]],
        &mode,
    );
    let world = World::start(
        &desk,
        "[prefix.\"192.0.2.0/24\"]\nservices = [\"dns\"]\n[service.dns]\n\
         addresses = [\"192.0.2.53\"]\ndamping = false\n[[service.dns.check]]\ntype = \"dns\"\n\
         query = \"www.example.net.\"\nexpect = \"192.0.2.1\"\ninterval = \"1s\"\n\
         timeout = \"1s\"\nrise = 1\n",
    );
    world.announces("the answer is right");
    for (wrong, words) in [
        (1, "answer '192.0.2.10', expected '192.0.2.1'"),
        (2, "answer '192.0.2.1, 192.0.2.2', expected '192.0.2.1'"),
        (3, "expected '192.0.2.1'"),
    ] {
        mode.store(wrong, Ordering::Relaxed);
        world.is_silent(words);
        let services = world.services();
        let why = services["services"][0]["checks"][0]["last_failure"].as_str();
        assert!(why.is_some_and(|why| why.contains(words)), "{words}: {services:#}");
        // The right one once, or twice.
        mode.store(if wrong == 1 { 4 } else { 0 }, Ordering::Relaxed);
        world.announces("the answer is right again");
    }
}

#[test]
#[ignore = "runs in a namespace, by the test of the like name"]
fn frozen_inside() {
    let desk = Desk::new(User::Root);
    // One failure is enough; the check that never ends by itself takes its timeout.
    let timeout = Duration::from_millis(500);
    let world = World::start(
        &desk,
        "[prefix.\"192.0.2.0/24\"]\nservices = [\"dns\"]\n[service.dns]\n\
         addresses = [\"192.0.2.53\"]\nbuiltin = \"whoami\"\ndamping = false\n\
         [[service.dns.check]]\ntype = \"dns\"\nquery = \"id.server\"\nqtype = \"TXT\"\n\
         class = \"CH\"\nexpect = \"fra\"\ninterval = \"500ms\"\ntimeout = \"500ms\"\nrise = 1\n\
         fall = 1\n",
    );
    for round in 0..3 {
        world.announces("it is up");
        let pid = world.services()["services"][0]["pid"].as_u64().expect("it runs");
        let pid = u32::try_from(pid).expect("a pid");
        let frames = captured(|| {
            send(pid, Signal::SIGSTOP);
            world.is_silent("it is frozen");
        });
        // Queries to the service, and answers of it, until the withdrawal.
        let (end, withdrawn) = withdrawal(&frames, [SITE, LEFT]).expect("it was withdrawn");
        let mut asked = Vec::new();
        for (at, frame) in &frames[..end] {
            match packet(frame, UDP) {
                Some((_, target, datagram)) if target == SERVICE && datagram[2..4] == [0, 53] => {
                    asked.push((*at, datagram[..2].to_vec()));
                }
                // It has answered what was asked from that port.
                Some((source, _, datagram)) if source == SERVICE && datagram[..2] == [0, 53] => {
                    asked.retain(|(_, port)| *port != datagram[2..4]);
                }
                _ => {}
            }
        }
        let (began, _) = asked.first().expect("a check that was not answered");
        let took = withdrawn - *began;
        println!(
            "round {round}: withdrawn {:.1} ms after the check began, {:.1} ms after its timeout",
            took.as_secs_f64() * 1e3,
            took.as_secs_f64() * 1e3 - timeout.as_secs_f64() * 1e3
        );
        // Not before: less a little, for the clock of the capture is read a little late.
        assert!(took + Duration::from_millis(50) > timeout, "{took:?}");
        let why = world.services()["services"][0]["checks"][0]["last_failure"].clone();
        assert_eq!(why, "no answer within 500 ms");
        send(pid, Signal::SIGCONT);
    }
    world.announces("it is thawed");
}

#[test]
#[ignore = "runs in a namespace, by the test of the like name"]
fn killed_inside() {
    let desk = Desk::new(User::Root);
    let world = World::start(
        &desk,
        "[prefix.\"192.0.2.0/24\"]\nservices = [\"dns\"]\n[service.dns]\n\
         addresses = [\"192.0.2.53\"]\nbuiltin = \"whoami\"\n",
    );
    world.announces("it is up");
    let behind = |wanted: bool| {
        until("who is behind left hears it", PATIENCE, || {
            let heard = world.ask("far", "near");
            if heard.is_some() == wanted { Ok(()) } else { Err(heard) }
        });
    };
    behind(true);
    let killed = Instant::now();
    let frames = captured(|| {
        world.daemon.signal(Signal::SIGKILL);
        behind(false);
    });
    world.is_silent("both sessions are gone");
    // The daemon itself says nothing more: it is its kernel that ends the connection.
    assert_eq!(withdrawal(&frames, [SITE, LEFT]), None);
    let is_end = |(_, frame): &Frame| {
        packet(frame, TCP).is_some_and(|(source, target, segment)| {
            // FIN or RST, to the port of BGP.
            (source, target) == (SITE, LEFT)
                && segment.get(2..4) == Some(&1790_u16.to_be_bytes()[..])
                && segment[13] & 5 != 0
        })
    };
    let end = frames.iter().position(is_end).expect("the connection has ended");
    let (gone, at) = withdrawal(&frames, [LEFT, BEHIND]).expect("left has passed it on");
    assert!(end < gone, "the route goes after the connection: {end} {gone}");
    println!(
        "killed, {:.2} ms later the end of the connection is on the wire, {:.2} ms after that \
         left's withdrawal",
        (frames[end].0 - killed).as_secs_f64() * 1e3,
        (at - frames[end].0).as_secs_f64() * 1e3
    );
}

#[test]
#[ignore = "runs in a namespace, by the test of the like name"]
fn damped_inside() {
    let desk = Desk::new(User::Root);
    let flag = desk.path("works");
    fs::write(&flag, "").expect("a file of the test");
    let world = World::start(
        &desk,
        &format!(
            "[damping]\nhalf-life = \"1h\"\nsuppress = 1500\nreuse = 500\nmax = \"3h\"\n\
             [prefix.\"192.0.2.0/24\"]\nservices = [\"dns\"]\n[service.dns]\n\
             addresses = [\"192.0.2.53\"]\ncheck = [{{ type = \"file\", path = \"{}\", \
             interval = \"200ms\", timeout = \"200ms\", rise = 1 }}]\n",
            flag.display()
        ),
    );
    let falls = || {
        fs::remove_file(&flag).expect("it is there");
        world.is_silent("it has fallen");
        fs::write(&flag, "").expect("a file of the test");
    };
    world.announces("it is up");
    falls();
    world.announces("the first fall is borne");
    falls();
    until("it is kept down although its check passes", PATIENCE, || {
        let services = world.services();
        let row = &services["services"][0];
        let damped = row["state"] == "down" && row["checks"][0]["state"] == "up";
        if damped { Ok(()) } else { Err(services) }
    });
    let shown = world.show(&["damping"]).out;
    assert!(shown.contains("dns"), "{shown}");
    world.is_silent("nobody hears of it");
    assert_eq!(world.tell(&["clear", "damping", "dns"]).out, "1 is damped no more\n");
    world.announces("an operator has ended it");
    let events = world.show(&["events"]).out;
    assert!(events.contains("damped") && events.contains("undamped"), "{events}");
    // The penalty is forgotten: the next fall is a first one.
    falls();
    world.announces("the next fall is borne");
}

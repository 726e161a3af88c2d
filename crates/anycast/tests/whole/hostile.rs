//! A neighbor that says everything that is wrong, on Established sessions of the real daemon: each
//! case of [`cases`] is answered as its RFC says, and nobody else notices.
//!
//! The test starts itself again in a network namespace of its own; the daemon has another one
//! behind a link, and all that it knows of its neighbors is what they send.

mod cases;
mod routers;

use std::collections::BTreeMap;
use std::io::{ErrorKind, Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpStream};
use std::process::Command;
use std::time::{Duration, Instant};

use cases::{Case, Ending, Then, all};
use routers::Router;

use crate::program::{skip, until};

/// Our end of the link, on which the daemon is [`SITE`].
const SITE: Ipv4Addr = Ipv4Addr::new(198, 51, 100, 1);
/// Far more than anything takes on a busy machine.
const PATIENCE: Duration = Duration::from_secs(20);

/// Runs one of the ignored tests below in a namespace of its own.
fn run_in_namespace(name: &str) {
    let unshare = ["--user", "--map-root-user", "--net", "--mount", "--pid", "--fork"];
    match Command::new("unshare").args(unshare).arg("true").output() {
        Ok(output) if output.status.success() => {}
        Ok(output) => {
            let why = String::from_utf8_lossy(&output.stderr).trim().to_owned();
            return skip(&format!("unshare: {why}"));
        }
        Err(error) => return skip(&format!("unshare: {error}")),
    }
    let program = std::env::current_exe().expect("this program");
    let output = Command::new("unshare")
        .args(unshare)
        // What a failed test leaves running ends with it.
        .args(["--kill-child", "--mount-proc"])
        .arg(program)
        .args(["--exact", "--ignored", "--nocapture", &format!("hostile::{name}")])
        .output()
        .expect("it starts");
    let text = String::from_utf8_lossy(&output.stdout);
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && text.contains("1 passed"), "{text}{errors}");
    println!("{text}");
}

#[test]
fn each_hostile_message_has_the_reaction_of_its_rfc() {
    run_in_namespace("all_cases_against_the_daemon");
}

#[test]
#[ignore = "runs in a namespace, by each_hostile_message_has_the_reaction_of_its_rfc"]
fn all_cases_against_the_daemon() {
    let faults = run(&Router::daemon());
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

/// Prints where BIRD differs: `cargo nextest run -p anycast --run-ignored all hostile --no-capture`.
#[test]
#[ignore = "a comparison, to be read"]
fn what_bird_does_differently() {
    run_in_namespace("all_cases_against_bird");
}

#[test]
#[ignore = "runs in a namespace, by what_bird_does_differently"]
fn all_cases_against_bird() {
    let differences = run(&Router::bird());
    println!("{} cases\n{}", all().len(), differences.join("\n"));
}

/// What came instead of what should, for each case that fails.
fn run(router: &Router) -> Vec<String> {
    let begin = Instant::now();
    let mut bystander = Peer::connect(router, Who::Bystander);
    bystander.says(&update("", &good(BYSTANDER_PATH, 9), "18 c612c8"));
    let bystander_route = ("198.18.200.0/24".to_owned(), "9".to_owned());
    until("the bystander's route is there", PATIENCE, || {
        let routes = router.routes();
        if routes.get(&bystander_route.0) == Some(&bystander_route.1) {
            Ok(())
        } else {
            Err(routes)
        }
    });
    // Three seconds are the least hold time there is: it runs beside all other cases.
    let mut silent = Peer::connect(router, Who::Silent);
    silent.says(&cases::half_a_message());
    let fell_silent = Instant::now();

    let mut faults = Vec::new();
    let mut open: Option<Peer> = None;
    for (number, case) in all().iter().enumerate() {
        let peer = open.take().filter(|peer| peer.who == case.who);
        let mut peer = peer.unwrap_or_else(|| Peer::connect(router, case.who));
        match judge(case, &mut peer, router, u32::try_from(number).expect("few") + 1000) {
            Ok(()) => {}
            Err(instead) => faults.push(format!(
                "{} ({})\n    wanted {:?}\n    but {instead}",
                case.name, case.section, case.then
            )),
        }
        open = (!peer.is_over()).then_some(peer);
    }

    match silent.ending() {
        Some(Ending::Notification(4, 0, _)) if fell_silent.elapsed() > Duration::from_secs(3) => {}
        other => faults.push(format!(
            "half a message, then nothing (RFC 4271 §6.5): {other:?} after {:?}",
            fell_silent.elapsed()
        )),
    }
    drop(open);
    until("all that is left are the bystander's routes", PATIENCE, || {
        let routes = router.routes();
        let only = BTreeMap::from([bystander_route.clone()]);
        if routes == only { Ok(()) } else { Err(routes) }
    });
    assert!(!bystander.is_over(), "the bystander's session is as it was");
    assert!(router.lives(), "the daemon lives");
    println!("{} cases in {:.1} s", all().len() + 1, begin.elapsed().as_secs_f64());
    faults
}

/// Puts the routes to their beginning, says what the case says, and looks at what comes of it.
fn judge(case: &Case, peer: &mut Peer, router: &Router, number: u32) -> Result<(), String> {
    // MED 1 is what was there before; the case's own announcements carry 2.
    peer.says(&cases::clean_slate(case.who));
    peer.says(&cases::beginning(case.who, 1));
    for piece in &case.pieces {
        if !peer.says(piece) {
            break;
        }
    }
    match &case.then {
        Then::Ends(wanted) => {
            let ending = peer.ending();
            if ending.as_ref() != Some(wanted) {
                return Err(format!("{ending:?}"));
            }
            until("the routes of a session that has ended go", PATIENCE, || {
                let routes = router.routes();
                if routes.len() == 1 { Ok(()) } else { Err(routes) }
            });
            Ok(())
        }
        Then::Left(wanted) => {
            // Once this is there, so is all that was said before.
            let marker = case.who.numbered("18c612ff");
            peer.says(&update("", &good(case.who.path(), number), &marker));
            let begin = Instant::now();
            let mut routes = loop {
                let routes = router.routes();
                if routes.get("198.18.255.0/24").is_some_and(|med| *med == number.to_string()) {
                    // A look at the tables takes several steps: this one may have begun before.
                    break router.routes();
                }
                if let Some(ending) = peer.has_ended() {
                    return Err(format!("{ending:?}"));
                }
                if begin.elapsed() > PATIENCE {
                    return Err(format!("nothing for {PATIENCE:?}: {routes:?}"));
                }
            };
            routes.remove("198.18.255.0/24");
            routes.remove("198.18.200.0/24");
            let name = |prefix: String| match prefix.as_str() {
                "198.18.0.0/24" => "a".to_owned(),
                "2001:db8:bad::/48" => "b".to_owned(),
                "198.18.1.0/24" => "c".to_owned(),
                "198.18.2.0/24" => "d".to_owned(),
                _ => prefix,
            };
            let left: Vec<String> = routes
                .into_iter()
                .map(|(prefix, rest)| format!("{}{rest}", name(prefix)))
                .collect();
            if left.join(" ") == *wanted { Ok(()) } else { Err(left.join(" ")) }
        }
    }
}

const BYSTANDER_PATH: &str = "4002060201 0000fbf6";

/// Which neighbor of the daemon the test is.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Who {
    /// AS 64501, with every capability that the cases need but the long messages.
    Hostile,
    /// The same, with long messages (RFC 8654).
    Long,
    /// The same, with Enhanced Route Refresh (RFC 7313).
    Refresher,
    /// The same, with two-octet AS numbers.
    Old,
    /// The same, for IPv4 alone.
    Ipv4Only,
    /// The same, with several paths to a prefix (RFC 7911).
    Several,
    /// In the daemon's own AS.
    Inside,
    /// AS 64502, sound and untouched.
    Bystander,
    /// AS 64501 with a hold time of three seconds.
    Silent,
}

impl Who {
    fn address(self) -> Ipv4Addr {
        let host = match self {
            Self::Hostile
            | Self::Long
            | Self::Refresher
            | Self::Old
            | Self::Ipv4Only
            | Self::Several => 2,
            Self::Inside => 3,
            Self::Bystander => 4,
            Self::Silent => 5,
        };
        Ipv4Addr::new(198, 51, 100, host)
    }

    fn asn(self) -> u16 {
        match self {
            Self::Inside => 64500,
            Self::Bystander => 64502,
            _ => 64501,
        }
    }

    fn speaks_ipv6(self) -> bool {
        self != Self::Ipv4Only
    }

    /// A prefix as the neighbor writes it: behind a path identifier if it has agreed to that.
    fn numbered(self, prefix: &str) -> String {
        let number = if self == Self::Several { "00000000" } else { "" };
        format!("{number}{prefix}")
    }

    /// The AS_PATH of a sound route.
    fn path(self) -> &'static str {
        match self {
            Self::Inside => "4002 06 0201 0000fbf7 40050400000064",
            Self::Old => "4002 04 0201 fbf5",
            _ => "4002 06 0201 0000fbf5",
        }
    }

    /// OPEN and KEEPALIVE.
    fn greeting(self) -> Vec<u8> {
        let mut capabilities = "0104 0001 0001 0200".to_owned();
        if self.speaks_ipv6() {
            capabilities += "0104 0002 0001";
        }
        if self != Self::Old {
            capabilities = format!("{capabilities} 4104 0000 {:04x}", self.asn());
        }
        if self == Self::Refresher {
            capabilities += "4600";
        }
        if self == Self::Long {
            capabilities += "0600";
        }
        if self == Self::Several {
            capabilities += "4508 0001 01 02 0002 01 02";
        }
        let capabilities = hex(&capabilities);
        let len = u8::try_from(capabilities.len()).expect("few");
        let hold_time: u16 = if self == Self::Silent { 3 } else { 0 };
        let fixed = hex(&format!("04 {:04x} {hold_time:04x}", self.asn()));
        let lengths = [len + 2, 2, len];
        let open = [&fixed[..], &self.address().octets(), &lengths, &capabilities].concat();
        [message(1, &open), message(4, &[])].concat()
    }
}

/// One Established session in the hands of the test.
struct Peer {
    who: Who,
    stream: TcpStream,
    heard: Vec<u8>,
    closed: bool,
}

impl Peer {
    fn connect(router: &Router, who: Who) -> Self {
        until("the daemon answers an OPEN with its own", PATIENCE, || {
            assert!(router.lives(), "{}", router.words());
            let Some(stream) = dial(who.address()) else { return Err("no connection") };
            stream.set_nodelay(true).expect("a socket");
            let mut peer = Self { who, stream, heard: Vec::new(), closed: false };
            peer.says(&who.greeting());
            // A KEEPALIVE after the OPEN: it is Established there, too.
            while !peer.closed && !peer.messages().iter().any(|(kind, _)| *kind == 4) {
                peer.listen(Duration::from_secs(2));
                if peer.messages().is_empty() {
                    break;
                }
            }
            let refused = peer.messages().iter().any(|(kind, _)| *kind == 3);
            if refused || peer.closed || peer.heard.is_empty() { Err("refused") } else { Ok(peer) }
        })
    }

    /// Whether it could be said.
    fn says(&mut self, octets: &[u8]) -> bool {
        if octets == cases::HALF_CLOSE {
            return self.stream.shutdown(Shutdown::Write).is_ok();
        }
        self.stream.write_all(octets).is_ok()
    }

    /// Hears what comes within `patience`.
    fn listen(&mut self, patience: Duration) {
        self.stream.set_read_timeout(Some(patience)).expect("a socket");
        let mut buffer = [0; 4096];
        match self.stream.read(&mut buffer) {
            Ok(0) => self.closed = true,
            Ok(len) => self.heard.extend(&buffer[..len]),
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {}
            Err(_) => self.closed = true,
        }
    }

    fn messages(&self) -> Vec<(u8, Vec<u8>)> {
        let mut rest = &self.heard[..];
        let mut found = Vec::new();
        while rest.len() >= 19 {
            assert_eq!(rest[..16], [0xff; 16], "every message has its marker");
            let len = usize::from(u16::from_be_bytes([rest[16], rest[17]]));
            let Some((whole, after)) = rest.split_at_checked(len) else { break };
            found.push((whole[18], whole[19..].to_vec()));
            rest = after;
        }
        found
    }

    fn is_over(&mut self) -> bool {
        self.has_ended().is_some()
    }

    /// How it has ended, if it has.
    fn has_ended(&mut self) -> Option<Ending> {
        self.listen(Duration::from_millis(1));
        let last = self.messages().pop();
        match last {
            Some((3, body)) if self.closed => {
                Some(Ending::Notification(body[0], body[1], Some(hex_of(&body[2..]))))
            }
            _ => self.closed.then_some(Ending::Silently),
        }
    }

    /// How it ends, if it does.
    fn ending(&mut self) -> Option<Ending> {
        let begin = Instant::now();
        while begin.elapsed() < PATIENCE {
            if let Some(ending) = self.has_ended() {
                return Some(ending);
            }
        }
        None
    }
}

/// A connection to the daemon from one of our addresses.
fn dial(from: Ipv4Addr) -> Option<TcpStream> {
    let socket = tokio::runtime::Builder::new_current_thread().enable_io().build().ok()?;
    socket.block_on(async {
        let socket = tokio::net::TcpSocket::new_v4().ok()?;
        socket.set_reuseaddr(true).ok()?;
        socket.bind((from, 0).into()).ok()?;
        let stream = socket.connect(SocketAddr::new(SITE.into(), 179)).await.ok()?;
        let stream = stream.into_std().ok()?;
        stream.set_nonblocking(false).ok()?;
        Some(stream)
    })
}

/// Octets from hexadecimal digits; spaces are for the reader.
fn hex(text: &str) -> Vec<u8> {
    let digits: Vec<u32> = text.chars().filter_map(|c| c.to_digit(16)).collect();
    assert!(digits.len().is_multiple_of(2), "half an octet in {text}");
    let octet = |pair: &[u32]| u8::try_from(pair[0] << 4 | pair[1]).expect("two digits");
    digits.chunks(2).map(octet).collect()
}

fn hex_of(octets: &[u8]) -> String {
    octets.iter().map(|octet| format!("{octet:02x}")).collect::<Vec<_>>().concat()
}

/// A whole message around a body.
fn message(kind: u8, body: &[u8]) -> Vec<u8> {
    let len = u16::try_from(19 + body.len()).expect("a message");
    [&[0xff; 16][..], &len.to_be_bytes(), &[kind], body].concat()
}

/// A whole UPDATE: Withdrawn Routes, path attributes, NLRI.
fn update(withdrawn: &str, attributes: &str, nlri: &str) -> Vec<u8> {
    let field = |text: &str| {
        let octets = hex(text);
        let len = u16::try_from(octets.len()).expect("a field").to_be_bytes();
        [&len[..], &octets].concat()
    };
    message(2, &[field(withdrawn), field(attributes), hex(nlri)].concat())
}

/// ORIGIN, the AS_PATH, NEXT_HOP and MED of a sound IPv4 route.
fn good(path: &str, med: u32) -> String {
    format!("{} 4003 04 c6336402", cases::without_hop(path, med))
}

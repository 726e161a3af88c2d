//! BFD between speakers, with a neighbor made by hand, and with BIRD. Each test starts this
//! program again in a network namespace of its own, to run one of the tests that are otherwise
//! ignored.
#![allow(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    clippy::unwrap_used,
    reason = "tests use real sockets and may panic"
)]

use std::net::{IpAddr, Ipv4Addr, SocketAddr, UdpSocket};
use std::num::{NonZeroU8, NonZeroU32};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anycast_bfd::{Control, Diagnostic, Exchange, Interval, State};
use anycast_bgp::policy::Policy;
use anycast_bgp::{Asn, Attributes, Family, IpNet};
use anycast_speaker::{Bfd, BfdStatus, BindError, ChangeError, Config, Handle, Neighbor, Speaker};

use crate::setup::{Killed, ip, only, run_in_namespace, until};

const LEFT: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);
const RIGHT: IpAddr = IpAddr::V4(Ipv4Addr::new(127, 0, 0, 2));
const PORT: u16 = 1790;
const INTERVAL: Duration = Duration::from_millis(50);
const DETECTION_TIME: Duration = Duration::from_millis(150);

#[test]
fn a_frozen_neighbor_is_dropped_after_three_intervals_and_comes_back() {
    run_in_namespace(module_path!(), "frozen");
}

#[test]
fn a_process_without_time_for_anything_else_keeps_bfd_up() {
    run_in_namespace(module_path!(), "busy");
}

#[test]
fn sessions_come_up_over_both_families_and_over_one_hop_and_several() {
    run_in_namespace(module_path!(), "kinds");
}

#[test]
fn an_operator_who_ends_bfd_does_not_end_bgp_and_a_failure_does() {
    run_in_namespace(module_path!(), "by_hand");
}

#[test]
fn bird_and_we_notice_each_others_death() {
    if !Path::new("/usr/sbin/bird").exists() {
        return println!("skipped: BIRD is not installed");
    }
    run_in_namespace(module_path!(), "bird");
}

#[test]
fn bfd_of_one_neighbor_comes_and_goes_and_anothers_goes_on() {
    run_in_namespace(module_path!(), "comes_and_goes");
}

fn bfd() -> Bfd {
    Bfd { interval: INTERVAL, multiplier: NonZeroU8::new(3).unwrap() }
}

fn neighbor(name: &str, local: IpAddr, remote: IpAddr, asn: u32) -> Neighbor {
    Neighbor {
        port: PORT,
        local_address: Some(local),
        hold_time: Duration::from_secs(30),
        connect_retry: Duration::from_millis(100),
        families: vec![if local.is_ipv4() { Family::Ipv4Unicast } else { Family::Ipv6Unicast }],
        import: Policy::accept_all(),
        export: Policy::accept_all(),
        bfd: Some(bfd()),
        ..Neighbor::new(name, remote, Asn(asn))
    }
}

fn start(asn: u32, neighbor: Neighbor) -> Handle {
    let config = Config {
        listen: neighbor.local_address.map(|ip| SocketAddr::new(ip, PORT)).into_iter().collect(),
        neighbors: vec![neighbor],
        ..Config::new(Asn(asn), Ipv4Addr::from(asn))
    };
    let speaker = Speaker::bind(config, None).unwrap();
    let handle = speaker.handle();
    tokio::spawn(speaker.run());
    handle
}

async fn established(handle: &Handle) -> bool {
    handle.established().await == (1, 1)
}

async fn status(handle: &Handle) -> BfdStatus {
    handle.bfd().await.remove(0)
}

/// Up, and at the operator's interval: the slow start is over.
async fn is_up(handle: &Handle) -> bool {
    let status = status(handle).await;
    status.state == "Up" && status.detection_ms == Some(DETECTION_TIME.as_secs_f64() * 1e3)
}

async fn last_down(handle: &Handle) -> String {
    handle.neighbors().await.remove(0).last_down.unwrap_or_default()
}

fn signal(child: &Killed, name: &str) {
    let pid = child.0.id().to_string();
    assert!(Command::new("kill").args([name, &pid]).status().unwrap().success());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "run by a_frozen_neighbor_is_dropped_after_three_intervals_and_comes_back"]
async fn frozen() {
    ip("link set lo up");
    let mut right = Command::new(std::env::current_exe().unwrap());
    right.args(only(module_path!(), "right_side")).stdout(Stdio::null());
    let right = Killed(right.spawn().unwrap());
    let left = start(64501, neighbor("right", LEFT, RIGHT, 64502));
    let net: IpNet = "192.0.2.0/24".parse().unwrap();
    until("a route, and BFD", async || left.best(net).await.is_some() && is_up(&left).await).await;
    assert_eq!(left.neighbors().await[0].bfd.as_deref(), Some("Up"));

    signal(&right, "-STOP");
    let took = until("the session falls", async || !established(&left).await).await;
    // Its last packet came up to one interval before it froze.
    let margin = Duration::from_millis(50);
    assert!(took + INTERVAL + margin > DETECTION_TIME, "{took:?}");
    assert!(took < DETECTION_TIME + margin, "{took:?}");
    assert!(left.best(net).await.is_none(), "its routes go with it");
    let why = last_down(&left).await;
    assert!(why.contains("BFD Down: Control Detection Time Expired"), "{why}");
    assert_eq!(status(&left).await.downs, 1);

    signal(&right, "-CONT");
    until("it is back", async || left.best(net).await.is_some() && is_up(&left).await).await;
}

#[tokio::test]
#[ignore = "the neighbor of `frozen`"]
async fn right_side() {
    let right = start(64502, neighbor("left", RIGHT, LEFT, 64501));
    right.originate("192.0.2.0/24".parse().unwrap(), Attributes::new(RIGHT));
    std::future::pending::<()>().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "run by a_process_without_time_for_anything_else_keeps_bfd_up"]
async fn busy() {
    ip("link set lo up");
    // Other processes may be busy too, and without CAP_SYS_NICE they are as good as we are.
    let patient = |neighbor: Neighbor| {
        let bfd = neighbor.bfd.map(|bfd| Bfd { interval: Duration::from_millis(200), ..bfd });
        Neighbor { bfd, ..neighbor }
    };
    let left = start(64501, patient(neighbor("right", LEFT, RIGHT, 64502)));
    let right = start(64502, patient(neighbor("left", RIGHT, LEFT, 64501)));
    // Both at the operators' interval: the slow start is over.
    let fast = async |handle| status(handle).await.detection_ms == Some(600.0);
    until("Up", async || fast(&left).await && fast(&right).await).await;

    // Each thread of the runtime, and as many more as there are processors.
    let stop = Arc::new(AtomicBool::new(false));
    let spin = |stop: Arc<AtomicBool>| {
        move || {
            while !stop.load(Ordering::Relaxed) {
                std::hint::spin_loop();
            }
        }
    };
    let outside: Vec<_> = (0..4).map(|_| std::thread::spawn(spin(Arc::clone(&stop)))).collect();
    let inside: Vec<_> = (0..4)
        .map(|_| {
            let spin = spin(Arc::clone(&stop));
            tokio::spawn(async move { spin() })
        })
        .collect();
    // Not the runtime's own sleep: the runtime is what has no time.
    std::thread::sleep(Duration::from_secs(5));
    stop.store(true, Ordering::Relaxed);
    for thread in outside {
        thread.join().unwrap();
    }
    for task in inside {
        task.await.unwrap();
    }
    for handle in [&left, &right] {
        let status = status(handle).await;
        assert_eq!((status.ups, status.downs), (1, 0), "{status:?}");
        assert!(status.packets_in > 20, "five seconds of packets: {status:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "run by sessions_come_up_over_both_families_and_over_one_hop_and_several"]
async fn kinds() {
    ip("link set lo up");
    let v6 = ["2001:db8::1", "2001:db8::2"].map(|text| text.parse::<IpAddr>().unwrap());
    for address in v6 {
        ip(&format!("address add {address}/128 dev lo nodad"));
    }
    for [a, b] in [[LEFT, RIGHT], v6] {
        for hops in [None, Some(5)] {
            let with_hops = |mut neighbor: Neighbor| {
                neighbor.multihop = hops;
                neighbor.ttl_security = true;
                neighbor
            };
            let left = start(64501, with_hops(neighbor("b", a, b, 64502)));
            let right = start(64502, with_hops(neighbor("a", b, a, 64501)));
            let what = format!("{a} and {b}, hops {hops:?}");
            until(&what, async || {
                is_up(&left).await && is_up(&right).await && established(&left).await
            })
            .await;
            let status = status(&left).await;
            assert_eq!(status.multihop, hops.is_some(), "{what}");
            assert_eq!(status.packets_dropped, 0, "{what}");
            for handle in [left, right] {
                handle.shutdown("");
                until("the end", async || handle.neighbors().await.is_empty()).await;
            }
        }
    }
}

/// A neighbor whose every packet the test writes.
struct Puppet {
    listening: UdpSocket,
    sending: UdpSocket,
}

impl Puppet {
    fn new() -> Self {
        let listening = UdpSocket::bind((RIGHT, 3784)).unwrap();
        listening.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
        let sending = UdpSocket::bind((RIGHT, 50_000)).unwrap();
        sending.set_ttl(255).unwrap();
        Self { listening, sending }
    }

    fn hear(&self) -> Control {
        let mut octets = [0; 64];
        let (length, from) = self.listening.recv_from(&mut octets).unwrap();
        assert_eq!(from.ip(), LEFT);
        assert!(anycast_bfd::udp::SOURCE_PORTS.contains(&from.port()), "{from}");
        Control::parse(&octets[..length]).unwrap()
    }

    fn say(&self, state: State, yours: NonZeroU32) {
        let control = Control {
            diagnostic: Diagnostic::NONE,
            state,
            exchange: Exchange::Plain,
            control_plane_independent: false,
            demand: false,
            // Long silence is no failure here.
            detect_mult: NonZeroU8::MAX,
            my_discriminator: NonZeroU32::MIN,
            your_discriminator: Some(yours),
            desired_min_tx: Interval(1_000_000),
            required_min_rx: Interval(50_000),
            required_min_echo_rx: Interval::ZERO,
        };
        self.sending.send_to(&control.emit(), (LEFT, 3784)).unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "run by an_operator_who_ends_bfd_does_not_end_bgp_and_a_failure_does"]
async fn by_hand() {
    ip("link set lo up");
    let puppet = Puppet::new();
    let left = start(64501, neighbor("right", LEFT, RIGHT, 64502));
    let mut without = neighbor("left", RIGHT, LEFT, 64501);
    without.bfd = None;
    let right = start(64502, without);
    until("BGP does not wait for BFD", async || established(&left).await).await;
    assert!(right.bfd().await.is_empty());
    let state_is = async |wanted: &str| status(&left).await.state == wanted;

    let name = puppet.hear().my_discriminator;
    // From further away than a neighbor on the link can be.
    puppet.sending.set_ttl(254).unwrap();
    puppet.say(State::Down, name);
    until("it is dropped", async || status(&left).await.packets_dropped == 1).await;
    assert!(state_is("Down").await);
    puppet.sending.set_ttl(255).unwrap();

    puppet.say(State::Down, name);
    until("Init", async || state_is("Init").await).await;
    puppet.say(State::Up, name);
    until("Up", async || state_is("Up").await).await;
    puppet.say(State::AdminDown, name);
    until("Down", async || state_is("Down").await).await;
    tokio::time::sleep(Duration::from_millis(200)).await;
    assert!(established(&left).await, "{}", last_down(&left).await);

    puppet.say(State::Down, name);
    until("Init", async || state_is("Init").await).await;
    puppet.say(State::Up, name);
    until("Up", async || state_is("Up").await).await;
    puppet.say(State::Down, name);
    until("BGP falls", async || !last_down(&left).await.is_empty()).await;
    let why = last_down(&left).await;
    assert!(why.contains("Neighbor Signaled Session Down"), "{why}");
    let told = last_down(&right).await;
    assert!(told.contains("BFD Down"), "the other side is told: {told}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "run by bird_and_we_notice_each_others_death"]
async fn bird() {
    let folder = std::env::temp_dir().join(format!("anycast-bfd-bird-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    let beside = Command::new("unshare").args(["--net", "sleep", "1000"]).spawn().unwrap();
    let beside = Killed(beside);
    let pid = beside.0.id().to_string();
    let own = std::fs::read_link("/proc/self/ns/net").unwrap();
    let theirs = format!("/proc/{pid}/ns/net");
    until("a namespace", async || std::fs::read_link(&theirs).unwrap() != own).await;
    let there = |arguments: &str| {
        let mut command = Command::new("nsenter");
        command.arg(format!("--net={theirs}")).args(arguments.split(' '));
        command
    };
    ip("link set lo up");
    ip(&format!("link add d0 type veth peer name d1 netns {pid}"));
    ip("address add 198.51.100.0/31 dev d0");
    ip("link set d0 up");
    for line in ["ip link set lo up", "ip address add 198.51.100.1/31 dev d1", "ip link set d1 up"]
    {
        assert!(there(line).status().unwrap().success(), "{line}");
    }
    let path = |name: &str| folder.join(name).display().to_string();
    let config = format!(
        "log stderr all;\nrouter id 198.51.100.1;\nprotocol device {{ }}\nprotocol bfd {{ }}\n\
         protocol static {{ ipv4; route 192.0.2.0/24 unreachable; }}\n\
         protocol bgp left {{\n  local 198.51.100.1 port {PORT} as 64502;\n  \
           neighbor 198.51.100.0 port {PORT} as 64501;\n  \
           bfd {{ interval 50 ms; multiplier 3; }};\n  \
           error wait time 1, 2;\n  connect delay time 1;\n  \
           ipv4 {{ import all; export all; }};\n}}\n"
    );
    std::fs::write(path("bird.conf"), config).unwrap();
    let arguments = ["/usr/sbin/bird", "-f", "-c", &path("bird.conf"), "-s", &path("bird.ctl")];
    let bird = there(&[&arguments[..], &["-P", &path("bird.pid")]].concat().join(" ")).spawn();
    let bird = Killed(bird.unwrap());
    let ends = ["198.51.100.0", "198.51.100.1"].map(|text| text.parse::<IpAddr>().unwrap());
    // Our address is left to the kernel, as most fleet files do.
    let to_bird = Neighbor { local_address: None, ..neighbor("bird", ends[0], ends[1], 64502) };
    let left = start(64501, to_bird);
    let net: IpNet = "192.0.2.0/24".parse().unwrap();
    until("a route, and BFD", async || left.best(net).await.is_some() && is_up(&left).await).await;
    let told = || {
        let output = there(&format!("/usr/sbin/birdc -s {} show bfd sessions", path("bird.ctl")));
        String::from_utf8({ output }.output().unwrap().stdout).unwrap()
    };
    assert!(told().contains("Up"), "{}", told());

    signal(&bird, "-STOP");
    let took = until("the session falls", async || !established(&left).await).await;
    assert!(took < DETECTION_TIME + Duration::from_millis(60), "{took:?}");
    assert!(last_down(&left).await.contains("BFD Down"), "{}", last_down(&left).await);
    signal(&bird, "-CONT");
    until("it is back", async || left.best(net).await.is_some() && is_up(&left).await).await;

    left.shutdown("");
    until("BIRD is told", async || !told().contains("Up")).await;
    drop((bird, beside));
    let _ = std::fs::remove_dir_all(folder);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "run by bfd_of_one_neighbor_comes_and_goes_and_anothers_goes_on"]
async fn comes_and_goes() {
    const THIRD: IpAddr = IpAddr::V4(Ipv4Addr::new(127, 0, 0, 3));
    ip("link set lo up");
    let config = Config {
        listen: vec![SocketAddr::new(LEFT, PORT)],
        ..Config::new(Asn(64501), Ipv4Addr::from(64501))
    };
    let speaker = Speaker::bind(config, None).unwrap();
    let left = speaker.handle();
    tokio::spawn(speaker.run());
    let _right = start(64502, neighbor("left", RIGHT, LEFT, 64501));
    let _third = start(64503, neighbor("left", THIRD, LEFT, 64501));
    let row = async |name: &str| left.bfd().await.into_iter().find(|it| it.neighbor == name);
    let up = async |name: &str| row(name).await.is_some_and(|it| it.state == "Up");

    // The first of all starts the thread; the second joins at the same listening socket.
    left.add_neighbor(neighbor("right", LEFT, RIGHT, 64502)).await.unwrap();
    until("BFD with the first", async || up("right").await).await;
    left.add_neighbor(neighbor("third", LEFT, THIRD, 64503)).await.unwrap();
    until("BFD with the second", async || up("third").await).await;
    until("BGP with both", async || left.established().await == (2, 2)).await;

    // Without BFD, and with another: the BGP session stays.
    let without = Neighbor { bfd: None, ..neighbor("third", LEFT, THIRD, 64503) };
    left.change_neighbor(without.clone()).await.unwrap();
    until("BFD has ended", async || row("third").await.is_none()).await;
    let slower = Bfd { interval: Duration::from_millis(80), ..bfd() };
    left.change_neighbor(Neighbor { bfd: Some(slower), ..without }).await.unwrap();
    until("BFD is there again", async || {
        let row = row("third").await;
        row.is_some_and(|it| it.state == "Up" && it.detection_ms == Some(240.0))
    })
    .await;
    assert_eq!(left.neighbor("third").await.unwrap().counters.established, 1);

    // A socket for all addresses cannot be had beside the others' sockets: all stays as it was.
    let anywhere = IpAddr::V4(Ipv4Addr::new(127, 0, 0, 9));
    let nobody = Neighbor { local_address: None, ..neighbor("nobody", LEFT, anywhere, 64509) };
    let refused = left.add_neighbor(nobody).await;
    assert!(matches!(refused, Err(ChangeError::Bind(BindError::Bfd { .. }))), "{refused:?}");
    assert!(left.neighbor("nobody").await.is_err());
    left.remove_neighbor("third").await.unwrap();
    assert!(row("third").await.is_none());
    tokio::time::sleep(DETECTION_TIME * 3).await;
    let first = row("right").await.unwrap();
    assert_eq!((first.state.as_str(), first.ups, first.downs), ("Up", 1, 0));
    assert_eq!(left.neighbor("right").await.unwrap().counters.established, 1);
}

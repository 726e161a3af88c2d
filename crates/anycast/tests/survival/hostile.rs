//! What somebody sends who wants to break connections of others: packets with any source, made by hand.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anycast_affinity::model::{Action, Context, World, decide};
use anycast_affinity::{Budgets, Config, Key, Mode, Peer, ServiceAddress, SiteId};
use anycast_lab::netns::NetNs;
use socket2::{Domain, Protocol, SockAddr, Socket, Type};

use crate::stand::{V4, secret};

const ETHERNET: usize = 14;
/// Where a frame lies in an IP packet over IPv4, and what is in it.
const FRAME: usize = 28;
const INNER: usize = FRAME + 20;

/// Sends whole IP packets.
pub(crate) struct Attacker {
    socket: Socket,
}

impl Attacker {
    pub(crate) fn new(node: &NetNs) -> Self {
        let kind = Type::RAW;
        // IPPROTO_RAW: the header is ours (raw(7)).
        let socket = node.run(|| Socket::new(Domain::IPV4, kind, Some(Protocol::from(255))));
        Self { socket: socket.expect("a raw socket") }
    }

    pub(crate) fn send(&self, packet: &[u8]) {
        assert!(self.is_sent(packet), "there is room for it");
    }

    /// Whether there was room for it.
    fn is_sent(&self, packet: &[u8]) -> bool {
        let to = Ipv4Addr::new(packet[16], packet[17], packet[18], packet[19]);
        let to = SockAddr::from(SocketAddr::new(IpAddr::V4(to), 0));
        match self.socket.send_to(packet, &to) {
            Ok(_) => true,
            Err(error) if error.raw_os_error() == Some(nix::libc::ENOBUFS) => false,
            Err(error) => panic!("it is not sent: {error}"),
        }
    }

    /// Segments with an echo that names `site`, of ports that come and go, from these sources by turns; with
    /// a pause after every fourth.
    pub(crate) fn flood(
        &self,
        sources: &[[u8; 4]],
        site: u8,
        time: Duration,
        pause: Duration,
    ) -> usize {
        let begin = Instant::now();
        let mut sent = 0;
        while begin.elapsed() < time {
            for _ in 0..4 {
                let port = u16::try_from(1024 + sent % 60_000).expect("a port");
                let packet = segment(sources[sent % sources.len()], port, site);
                sent += usize::from(self.is_sent(&packet));
            }
            std::thread::sleep(pause);
        }
        sent
    }
}

fn address(text: &str) -> [u8; 4] {
    text.parse::<Ipv4Addr>().expect("an address").octets()
}

fn checksum(octets: &[u8]) -> [u8; 2] {
    let words = octets
        .chunks(2)
        .map(|pair| u32::from(u16::from_be_bytes([pair[0], pair.get(1).copied().unwrap_or(0)])));
    let sum: u32 = words.sum();
    let sum = (sum & 0xffff) + (sum >> 16);
    let sum = u16::try_from((sum & 0xffff) + (sum >> 16)).expect("folded");
    (!sum).to_be_bytes()
}

/// A TCP segment to the service that names a site; its payload is 20 octets.
pub(crate) fn segment(source: [u8; 4], port: u16, site: u8) -> Vec<u8> {
    let to = address(V4);
    let mut tcp = port.to_be_bytes().to_vec();
    tcp.extend(crate::flows::PORT.to_be_bytes());
    tcp.extend([0, 0, 0, 1, 0, 0, 0, 1, 0x80, 0x10, 0x20, 0, 0, 0, 0, 0]);
    tcp.extend([1, 1, 8, 10, 0, 0, 0, 1, 0x12, 0x34, 0x40, site]);
    tcp.extend([0x55; 20]);
    let length = u16::try_from(tcp.len()).expect("short").to_be_bytes();
    let pseudo = [&source[..], &to, &[0, 6], &length, &tcp].concat();
    tcp[16..18].copy_from_slice(&checksum(&pseudo));
    let mut ip = vec![0x45, 0, 0, 0, 0, 1, 0x40, 0, 57, 6, 0, 0];
    ip[2..4].copy_from_slice(&u16::try_from(20 + tcp.len()).expect("short").to_be_bytes());
    ip.extend(source);
    ip.extend(to);
    let check = checksum(&ip);
    ip[10..12].copy_from_slice(&check);
    [ip, tcp].concat()
}

/// The frame that the site with id 2 would send to that with id 1 about a segment, `age` ago.
pub(crate) fn frame(age: Duration) -> Vec<u8> {
    let site = |id| SiteId::new(id).expect("an id");
    let tunnel = |id: u8| Ipv4Addr::new(198, 51, 100, 2 * (id - 1) + 1);
    let peer = |id: u8| Peer {
        id: site(id),
        name: format!("site{}", id - 1),
        v4: Some(tunnel(id)),
        v6: None,
        alive: true,
    };
    let config = Config {
        me: site(2),
        id_bits: 6,
        services: vec![ServiceAddress { address: address(V4).into(), tcp: true, quic: None }],
        tunnel_v4: Some(tunnel(2)),
        tunnel_v6: None,
        port: 5687,
        peers: vec![peer(1), peer(3)],
        key: Key { epoch: 0, secret: secret(0) },
        other_key: None,
        interfaces: vec!["any".to_owned()],
        mode: Mode::Tc,
        mtu: 1500,
        budgets: Budgets::default(),
    };
    let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970");
    let now = now.saturating_sub(age);
    let now = u64::try_from(now.as_nanos()).expect("before 2554");
    let packet = [&[0; 12][..], &[8, 0], &segment([198, 18, 0, 9], 50_000, 1)].concat();
    let world = World { config: &config, context: Context::Tc, has_socket: &|_, _| false, now };
    let outcome = decide(&packet, &world);
    assert_eq!(outcome.action, Action::Send);
    outcome.octets[ETHERNET..].to_vec()
}

/// Frames that no site may take, with the reason that each is counted by.
pub(crate) fn bad_frames() -> Vec<(&'static str, Vec<u8>)> {
    let good = frame(Duration::ZERO);
    let with = |change: &dyn Fn(&mut Vec<u8>)| {
        let mut other = good.clone();
        change(&mut other);
        let length = u16::try_from(other.len()).expect("short");
        other[2..4].copy_from_slice(&length.to_be_bytes());
        other[24..26].copy_from_slice(&(length - 20).to_be_bytes());
        other[10..12].fill(0);
        let check = checksum(&other[..20]);
        other[10..12].copy_from_slice(&check);
        other
    };
    vec![
        ("format", with(&|it| it.truncate(FRAME + 7))),
        ("format", with(&|it| it.truncate(INNER + 41))),
        ("format", with(&|it| it[FRAME] = 0x80)),
        // From where no site is, and from a site that it does not name.
        ("source", with(&|it| it[12..16].copy_from_slice(&[198, 18, 0, 1]))),
        ("source", with(&|it| it[FRAME + 2] = 3)),
        ("source", with(&|it| it[FRAME + 2] = 60)),
        ("epoch", with(&|it| it[FRAME + 1] = 9)),
        ("mac", with(&|it| it[FRAME + 12] ^= 1)),
        ("mac", with(&|it| it[INNER + 21] ^= 1)),
        ("age", frame(Duration::from_secs(60))),
        // One that has been everywhere, and one that comes home.
        ("hops", with(&|it| it[FRAME + 5] = 9)),
        ("hops", with(&|it| it[FRAME + 3] = 1)),
        // A frame in a frame, and a connection's beginning.
        (
            "inner",
            with(&|it| {
                it[INNER + 9] = 17;
                it[INNER + 16..INNER + 20].copy_from_slice(&[198, 51, 100, 1]);
            }),
        ),
        ("inner", with(&|it| it[INNER + 33] = 0x02)),
    ]
}

//! A stand-in for the packet programs of the sites, where the kernel does not allow them (without root).
//!
//! The links decide instead, by the same decisions in Rust ([`anycast_affinity::model`]): what a site's
//! node sends gets the site's number on the way out, and what arrives at it is let in, dropped, or goes
//! back out in a frame for another site. Which connections a site has is learnt from what it sends, as
//! its sockets cannot be asked from here. It shows the effect and takes no part in any measurement.

use std::collections::{HashMap, HashSet};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use anycast_affinity::Config;
use anycast_affinity::model::{Action, Context, World, decide, leave};

use super::lines::PREAMBLE;
use super::segment;

const ETHERNET: usize = 14;
const TCP: u8 = 6;
const RST: u8 = 0x04;
/// Connections of one site that are remembered. When there are more, all are forgotten: those that live
/// are learnt again with their next packet.
const MOST: usize = 65_536;

/// The sites, and which of the hub's interfaces lead to which.
#[derive(Debug)]
pub(super) struct StandIn {
    sites: Vec<Site>,
    ports: HashMap<u32, usize>,
}

#[derive(Debug)]
struct Site {
    config: Config,
    /// Client and service address of what it sent segments of.
    connections: HashSet<(SocketAddr, SocketAddr)>,
}

/// What becomes of a frame that arrives at a site.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Fate {
    /// Frames that go on to its node.
    pub(super) in_: Vec<Vec<u8>>,
    /// Frames that leave again.
    pub(super) out: Vec<Vec<u8>>,
}

impl StandIn {
    /// Sites, each with all the interfaces of the hub that lead to it.
    pub(super) fn new(sites: impl IntoIterator<Item = (Vec<u32>, Config)>) -> Self {
        let mut new = Self { sites: Vec::new(), ports: HashMap::new() };
        for (ports, config) in sites {
            new.ports.extend(ports.into_iter().map(|port| (port, new.sites.len())));
            new.sites.push(Site { config, connections: HashSet::new() });
        }
        new
    }

    /// What a site's node sends (with its virtio header), as it leaves; nothing if unchanged.
    pub(super) fn leaving(&mut self, now: u64, port: u32, frame: &[u8]) -> Option<Vec<u8>> {
        let site = &mut self.sites[*self.ports.get(&port)?];
        let (virtio, packet) = frame.split_at_checked(PREAMBLE)?;
        let (from, to, flags) = segment_of(packet)?;
        if flags & RST == 0 {
            if site.connections.len() >= MOST {
                site.connections.clear();
            }
            site.connections.insert((to, from));
        }
        let none = |_: SocketAddr, _: SocketAddr| false;
        let world = World { config: &site.config, context: Context::Tc, has_socket: &none, now };
        let (mut octets, _) = leave(packet, &world);
        if let Some(field) = segment::unfinished_checksum(virtio) {
            // It covers the addresses alone so far, which are as they were.
            let was = packet.get(field.clone())?;
            octets.get_mut(field)?.copy_from_slice(was);
        }
        (octets != packet).then(|| [virtio, &octets].concat())
    }

    /// What becomes of a frame (with its virtio header) that arrives; nothing if it goes on as it is.
    pub(super) fn arriving(&self, now: u64, port: u32, frame: &[u8]) -> Option<Fate> {
        let site = &self.sites[*self.ports.get(&port)?];
        if site.passes(now, frame)? {
            return None;
        }
        let parts = segment::cut_any(frame).unwrap_or_else(|| vec![frame.to_vec()]);
        let mut fate = Fate::default();
        for part in parts {
            let packet = &part[PREAMBLE..];
            let outcome = site.decide(now, packet);
            // The decisions finish checksums before they wrap, so there is nothing left to be done.
            let whole = || [&[0; PREAMBLE][..], &outcome.octets].concat();
            match outcome.action {
                Action::Pass if outcome.octets == packet => fate.in_.push(part),
                Action::Pass => fate.in_.push(whole()),
                Action::Send => fate.out.push(whole()),
                Action::Drop => {}
            }
        }
        Some(fate)
    }
}

impl Site {
    fn decide(&self, now: u64, packet: &[u8]) -> anycast_affinity::model::Outcome {
        let has_socket = |client, service| self.connections.contains(&(client, service));
        let (config, context) = (&self.config, Context::Xdp);
        decide(packet, &World { config, context, has_socket: &has_socket, now })
    }

    fn passes(&self, now: u64, frame: &[u8]) -> Option<bool> {
        let packet = frame.get(PREAMBLE..)?;
        let outcome = self.decide(now, packet);
        Some(outcome.action == Action::Pass && outcome.octets == packet)
    }
}

/// Source, destination and flags of a TCP segment without IP options.
fn segment_of(packet: &[u8]) -> Option<(SocketAddr, SocketAddr, u8)> {
    let address = |at: usize, is_v6: bool| -> Option<IpAddr> {
        Some(if is_v6 {
            Ipv6Addr::from(<[u8; 16]>::try_from(packet.get(at..at + 16)?).ok()?).into()
        } else {
            Ipv4Addr::from(<[u8; 4]>::try_from(packet.get(at..at + 4)?).ok()?).into()
        })
    };
    let (is_v6, tcp) = match packet.get(12..ETHERNET)? {
        [0x08, 0x00] if packet.get(ETHERNET)? == &0x45 => (false, ETHERNET + 20),
        [0x86, 0xdd] => (true, ETHERNET + 40),
        _ => return None,
    };
    let protocol = packet.get(ETHERNET + if is_v6 { 6 } else { 9 })?;
    let first = ETHERNET + if is_v6 { 8 } else { 12 };
    let second = first + if is_v6 { 16 } else { 4 };
    let port = |at: usize| Some(u16::from_be_bytes([*packet.get(at)?, *packet.get(at + 1)?]));
    let from = SocketAddr::new(address(first, is_v6)?, port(tcp)?);
    let to = SocketAddr::new(address(second, is_v6)?, port(tcp + 2)?);
    (*protocol == TCP).then_some((from, to, *packet.get(tcp + 13)?))
}

#[cfg(test)]
mod tests {
    use anycast_affinity::{Budgets, Key, Mode, Peer, ServiceAddress, SiteId};

    use super::*;

    const NOW: u64 = 1_800_000_000_000_000_000;
    const CLIENT: [u8; 4] = [203, 0, 113, 1];
    const SERVICE: [u8; 4] = [192, 0, 2, 1];

    fn config(me: u8) -> Config {
        let tunnel = |id: u8| Ipv4Addr::new(198, 51, 100, id);
        let id = |id| SiteId::new(id).expect("not 0");
        let peer = |at: u8| Peer {
            id: id(at),
            name: format!("site-{at}"),
            v4: Some(tunnel(at)),
            v6: None,
            alive: true,
        };
        Config {
            me: id(me),
            id_bits: 6,
            services: vec![ServiceAddress { address: SERVICE.into(), tcp: true, quic: None }],
            tunnel_v4: Some(tunnel(me)),
            tunnel_v6: None,
            port: anycast_affinity::DEFAULT_PORT,
            peers: [1, 2].into_iter().filter(|at| *at != me).map(peer).collect(),
            key: Key { epoch: 0, secret: [7; 32] },
            other_key: None,
            interfaces: Vec::new(),
            mode: Mode::Auto,
            mtu: 1500,
            budgets: Budgets::default(),
        }
    }

    /// A frame with a TCP segment; the checksum is left to be finished, as a node of the lab does.
    fn segment(from: ([u8; 4], u16), to: ([u8; 4], u16), tsecr: u32, payload: &[u8]) -> Vec<u8> {
        let gso = payload.len() > 1000;
        let mut frame = vec![1, u8::from(gso), 0, 0];
        frame.extend(if gso { 1000_u16 } else { 0 }.to_ne_bytes());
        frame.extend(34_u16.to_ne_bytes());
        frame.extend(16_u16.to_ne_bytes());
        frame.extend([2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2, 8, 0, 0x45, 0]);
        frame.extend(u16::try_from(52 + payload.len()).expect("short").to_be_bytes());
        frame.extend([0, 0, 0x40, 0, 64, TCP, 0, 0]);
        frame.extend([from.0, to.0].concat());
        frame.extend(from.1.to_be_bytes());
        frame.extend(to.1.to_be_bytes());
        frame.extend([0, 0, 0, 1, 0, 0, 0, 1, 0x80, 0x10, 0x20, 0]);
        // What is begun with the addresses: 192.0.2.1, 203.0.113.1, the protocol, the length.
        let length = u32::try_from(32 + payload.len()).expect("short");
        let sum = 0xc000 + 0x0201 + 0xcb00 + 0x7101 + u32::from(TCP) + length;
        let sum = (sum & 0xffff) + (sum >> 16);
        frame.extend(u16::try_from((sum & 0xffff) + (sum >> 16)).expect("folded").to_be_bytes());
        frame.extend([0, 0, 1, 1, 8, 10]);
        frame.extend(0x0100_0000_u32.to_be_bytes());
        frame.extend(tsecr.to_be_bytes());
        frame.extend(payload);
        frame
    }

    /// Sites 1 and 2 at the interfaces 1 and 2, site 1 also at 11; it has the connection of the client.
    fn stand_in() -> (StandIn, u32) {
        let mut stand_in = StandIn::new([(vec![1, 11], config(1)), (vec![2], config(2))]);
        let said = segment((SERVICE, 80), (CLIENT, 40_000), 5, b"");
        let sent = stand_in.leaving(NOW, 1, &said).expect("it is stamped");
        let value = u32::from_be_bytes(sent[68..72].try_into().expect("four octets"));
        assert_eq!((value & 63, value >> 6), (1, 0x0100_0000 >> 6));
        assert_eq!(sent[60..62], said[60..62], "a checksum that is to be finished");
        (stand_in, value)
    }

    #[test]
    fn a_strayed_segment_comes_to_its_site_whole() {
        let (stand_in, value) = stand_in();
        let segment = segment((CLIENT, 40_000), (SERVICE, 80), value, b"some words");
        assert_eq!(stand_in.arriving(NOW, 1, &segment), None, "at home it goes on as it is");
        assert_eq!(stand_in.arriving(NOW, 11, &segment), None, "by whichever link");
        let fate = stand_in.arriving(NOW, 2, &segment).expect("it is wrapped");
        assert_eq!((fate.in_.len(), fate.out.len()), (0, 1));
        let home = stand_in.arriving(NOW, 1, &fate.out[0]).expect("it is unwrapped");
        assert_eq!((home.in_.len(), home.out.len()), (1, 0));
        let (got, sent) = (&home.in_[0], &segment);
        assert_eq!(got[..PREAMBLE], [0; PREAMBLE], "its checksum is finished");
        assert_eq!(got[PREAMBLE + 12..PREAMBLE + 22], sent[PREAMBLE + 12..PREAMBLE + 22]);
        assert_eq!(got[PREAMBLE + 22], sent[PREAMBLE + 22] - 1, "one hop more");
        assert_eq!(got[PREAMBLE + 54..], sent[PREAMBLE + 54..]);
    }

    #[test]
    fn a_large_packet_strays_in_segments() {
        let (stand_in, value) = stand_in();
        let segment = segment((CLIENT, 40_000), (SERVICE, 80), value, &[0x55; 2500]);
        assert_eq!(stand_in.arriving(NOW, 1, &segment), None, "at home it stays one");
        let fate = stand_in.arriving(NOW, 2, &segment).expect("it is wrapped");
        assert_eq!((fate.in_.len(), fate.out.len()), (0, 3));
    }

    #[test]
    fn what_is_no_business_of_sites_goes_on() {
        let (mut stand_in, value) = stand_in();
        let other = segment((CLIENT, 40_000), ([198, 51, 100, 9], 80), value, b"");
        assert_eq!(stand_in.arriving(NOW, 2, &other), None);
        assert_eq!(stand_in.arriving(NOW, 3, &other), None, "no site");
        assert_eq!(stand_in.leaving(NOW, 2, &other), None, "from no service address");
        for length in 0..other.len() {
            assert_eq!(stand_in.arriving(NOW, 2, &other[..length]), None);
            assert_eq!(stand_in.leaving(NOW, 2, &other[..length]), None);
        }
    }
}

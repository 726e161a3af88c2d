//! Packets of all kinds, good and bad, from a seed.
#![allow(dead_code, reason = "not every test needs all")]

use anycast_affinity::model::{Action, Context, World, decide};
use anycast_affinity::{Config, SiteId, quic_lb};

/// xorshift64* (Vigna, 2016): enough to choose packets by, and the same on every machine.
pub(crate) struct Chance(pub(crate) u64);

impl Chance {
    pub(crate) fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    pub(crate) fn below(&mut self, end: usize) -> usize {
        usize::try_from(self.next() >> 33).unwrap() % end
    }

    pub(crate) fn one_in(&mut self, n: usize) -> bool {
        self.below(n) == 0
    }

    pub(crate) fn pick<T: Copy>(&mut self, from: &[T]) -> T {
        from[self.below(from.len())]
    }

    pub(crate) fn octet(&mut self) -> u8 {
        self.next().to_be_bytes()[0]
    }

    fn octets(&mut self, count: usize) -> Vec<u8> {
        (0..count).map(|_| self.octet()).collect()
    }
}

/// RFC 1071, complemented.
pub(crate) fn checksum(octets: &[u8]) -> u16 {
    let mut sum = 0_u32;
    for pair in octets.chunks(2) {
        sum += u32::from(pair[0]) << 8 | u32::from(pair.get(1).copied().unwrap_or(0));
    }
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !u16::try_from(sum).unwrap()
}

/// What a packet is made of.
pub(crate) struct Maker<'a> {
    pub(crate) chance: Chance,
    pub(crate) config: &'a Config,
    pub(crate) now: u64,
}

const CLIENTS: [[u8; 4]; 3] = [[203, 0, 113, 1], [203, 0, 113, 2], [203, 0, 113, 250]];
const CLIENTS6: [&str; 2] = ["2001:db8:2::1", "2001:db8:2::2"];

impl Maker<'_> {
    /// One packet that comes in, from the Ethernet header on.
    pub(crate) fn arriving(&mut self) -> Vec<u8> {
        let mut packet = match self.chance.below(10) {
            0..=3 => self.to_service(),
            4..=6 => self.framed(),
            7 => self.icmp(),
            8 => self.quic(),
            _ => self.stray(),
        };
        if self.chance.one_in(4) {
            self.tag(&mut packet);
        }
        self.spoil(&mut packet);
        packet
    }

    /// One packet that a server sends.
    pub(crate) fn leaving(&mut self) -> Vec<u8> {
        let v6 = self.chance.one_in(2);
        let flags = self.chance.pick(&[0x10, 0x18, 0x12, 0x12, 0x02, 0x11, 0x04]);
        let options = self.options(flags & 2 != 0);
        let segment = self.segment(80, 40000, flags, &options);
        let mut packet = if v6 {
            self.ip6("2001:db8::1", CLIENTS6[0], 6, segment)
        } else {
            let from = self.chance.pick(&[[192, 0, 2, 1], [192, 0, 2, 2], [192, 0, 2, 3]]);
            self.ip4(from, CLIENTS[0], 6, segment)
        };
        if self.chance.one_in(5) {
            self.tag(&mut packet);
        }
        self.spoil(&mut packet);
        packet
    }

    fn ethernet(&self, kind: u16) -> Vec<u8> {
        let mut octets = vec![2, 0, 0, 0, 0, 0x0a, 2, 0, 0, 0, 0, 0x0b];
        octets.extend(kind.to_be_bytes());
        octets
    }

    pub(crate) fn ip4(
        &mut self,
        from: [u8; 4],
        to: [u8; 4],
        protocol: u8,
        mut body: Vec<u8>,
    ) -> Vec<u8> {
        let length = u16::try_from(20 + body.len()).unwrap();
        let ttl = if self.chance.one_in(20) { self.chance.pick(&[0, 1, 2]) } else { 57 };
        let class = self.chance.pick(&[0, 0, 1, 2, 3, 0xb8]);
        let fragment: u16 =
            if self.chance.one_in(30) { self.chance.pick(&[0x2000, 1, 0x3fff]) } else { 0x4000 };
        let mut header = vec![0x45, class];
        header.extend(length.to_be_bytes());
        header.extend([0x12, 0x34]);
        header.extend(fragment.to_be_bytes());
        header.extend([ttl, protocol, 0, 0]);
        header.extend(from);
        header.extend(to);
        let check = checksum(&header);
        header[10..12].copy_from_slice(&check.to_be_bytes());
        self.finish(&[&from[..], &to[..]].concat(), protocol, &mut body);
        [self.ethernet(0x0800), header, body].concat()
    }

    pub(crate) fn ip6(&mut self, from: &str, to: &str, protocol: u8, mut body: Vec<u8>) -> Vec<u8> {
        let octets = |text: &str| text.parse::<std::net::Ipv6Addr>().unwrap().octets();
        let limit = if self.chance.one_in(20) { self.chance.pick(&[0, 1, 2]) } else { 57 };
        let class = self.chance.pick(&[0_u8, 0, 1, 2, 3, 0xb8]);
        let mut header = vec![0x60 | class >> 4, class << 4, 0x12, 0x34];
        header.extend(u16::try_from(body.len()).unwrap().to_be_bytes());
        header.extend([protocol, limit]);
        header.extend(octets(from));
        header.extend(octets(to));
        self.finish(&[octets(from), octets(to)].concat(), protocol, &mut body);
        [self.ethernet(0x86dd), header, body].concat()
    }

    /// The checksum of what is behind an IP header: whole, or left to a network card, or wrong.
    fn finish(&mut self, addresses: &[u8], protocol: u8, body: &mut [u8]) {
        let at = match protocol {
            6 => 16,
            17 => 6,
            1 | 58 => 2,
            _ => return,
        };
        if body.len() < at + 2 {
            return;
        }
        let length = u16::try_from(body.len()).unwrap();
        let mut pseudo = addresses.to_vec();
        pseudo.extend([0, protocol]);
        pseudo.extend(length.to_be_bytes());
        let check = match self.chance.below(8) {
            0 if protocol != 1 => !checksum(&pseudo),
            1 => 0x1234,
            _ => {
                if protocol == 1 {
                    pseudo.clear();
                }
                pseudo.extend_from_slice(body);
                checksum(&pseudo)
            }
        };
        body[at..at + 2].copy_from_slice(&check.to_be_bytes());
    }

    fn timestamp(&mut self) -> u32 {
        let any = u32::try_from(self.chance.next() >> 32).unwrap();
        match self.chance.below(12) {
            0 => 0,
            1 => any,
            _ => any & !63 | u32::from(self.chance.pick(&[1_u8, 2, 3, 3, 3, 5, 9, 11, 0])),
        }
    }

    fn options(&mut self, syn: bool) -> Vec<u8> {
        let (value, echo) = (self.timestamp(), self.timestamp());
        let stamp = [&[8, 10][..], &value.to_be_bytes(), &echo.to_be_bytes()].concat();
        let mut options = match self.chance.below(8) {
            0 => Vec::new(),
            1 => [&[1, 1, 5, 10, 0, 0, 0, 1, 0, 0, 0, 2][..], &stamp, &[1, 1]].concat(),
            2 => [&stamp[..], &[0, 0]].concat(),
            3 => [&[1][..], &stamp, &[1]].concat(),
            4 => {
                let count = 4 * self.chance.below(11);
                self.chance.octets(count)
            }
            _ => [&[1, 1][..], &stamp].concat(),
        };
        if syn {
            let mss = self.chance.pick(&[1460_u16, 1440, 1392, 1372, 1373, 536, 8960]);
            let mss = [&[2, 4][..], &mss.to_be_bytes()].concat();
            options = match self.chance.below(4) {
                0 => [&[1, 1, 1][..], &mss, &[1], &stamp, &[1, 1]].concat(),
                1 => [&options[..], &mss].concat(),
                _ => [&mss[..], &options].concat(),
            };
        }
        options.truncate(40);
        options.resize(options.len().next_multiple_of(4).min(40), 0);
        options
    }

    pub(crate) fn segment(&mut self, from: u16, to: u16, flags: u8, options: &[u8]) -> Vec<u8> {
        let mut segment = Vec::new();
        segment.extend(from.to_be_bytes());
        segment.extend(to.to_be_bytes());
        segment.extend(self.chance.octets(8));
        let mut offset = u8::try_from(5 + options.len() / 4).unwrap();
        if self.chance.one_in(40) {
            offset = self.chance.octet() & 15;
        }
        segment.extend([offset << 4, flags, 0x20, 0, 0, 0, 0, 0]);
        segment.extend_from_slice(options);
        let length = match self.chance.below(12) {
            0 => 1400 + self.chance.below(60),
            1 => self.chance.below(500),
            _ => self.chance.below(9),
        };
        segment.extend(self.chance.octets(length));
        segment
    }

    fn addresses(&mut self, protocol: u8, body: Vec<u8>) -> Vec<u8> {
        if self.chance.one_in(2) {
            let from = self.chance.pick(&CLIENTS6);
            return self.ip6(from, "2001:db8::1", protocol, body);
        }
        let from = self.chance.pick(&CLIENTS);
        let to = self.chance.pick(&[
            [192, 0, 2, 1],
            [192, 0, 2, 1],
            [192, 0, 2, 2],
            [192, 0, 2, 3],
            [192, 0, 2, 9],
        ]);
        self.ip4(from, to, protocol, body)
    }

    fn to_service(&mut self) -> Vec<u8> {
        let flags = self.chance.pick(&[0x10, 0x10, 0x18, 0x11, 0x02, 0x12, 0x04, 0x14, 0]);
        let options = self.options(flags & 2 != 0);
        let from = self.chance.pick(&[40000, 40001, 50000]);
        let to = self.chance.pick(&[80, 443]);
        let segment = self.segment(from, to, flags, &options);
        self.addresses(6, segment)
    }

    fn quic(&mut self) -> Vec<u8> {
        let site = SiteId::new(self.chance.pick(&[1, 2, 3, 5, 9, 11])).unwrap();
        let key = if self.chance.one_in(2) {
            &self.config.key
        } else {
            self.config.other_key.as_ref().unwrap()
        };
        let nonce: [u8; 12] = self.chance.octets(12).try_into().unwrap();
        let mut id = quic_lb::Owner::new(site, key, 7).connection_id(&nonce).to_vec();
        if self.chance.one_in(6) {
            let at = self.chance.below(17);
            id[at] ^= 1 << self.chance.below(8);
        }
        let mut datagram = if self.chance.one_in(2) {
            let version = self.chance.pick(&[[0, 0, 0, 1], [0, 0, 0, 0], [0x6b, 0x33, 0x43, 0xcf]]);
            let length = self.chance.pick(&[17, 17, 17, 8]);
            [&[0xc3][..], &version, &[length], &id].concat()
        } else {
            [&[0x43][..], &id].concat()
        };
        let more = self.chance.below(60);
        datagram.extend(self.chance.octets(more));
        let to = self.chance.pick(&[443_u16, 443, 443, 8443, 53]);
        let mut udp = Vec::new();
        udp.extend(50123_u16.to_be_bytes());
        udp.extend(to.to_be_bytes());
        udp.extend(u16::try_from(8 + datagram.len()).unwrap().to_be_bytes());
        udp.extend([0, 0]);
        udp.extend(datagram);
        self.addresses(17, udp)
    }

    fn icmp(&mut self) -> Vec<u8> {
        let options = self.options(false);
        let client = self.chance.pick(&[40000, 40001]);
        let segment = self.segment(80, client, 0x10, &options);
        let v6 = self.chance.one_in(2);
        let quoted = if v6 {
            self.ip6("2001:db8::1", CLIENTS6[0], 6, segment)
        } else {
            self.ip4([192, 0, 2, 1], CLIENTS[0], 6, segment)
        };
        let quoted = &quoted[14..];
        let cut = if self.chance.one_in(3) { 28 + self.chance.below(40) } else { quoted.len() };
        let kind = if v6 {
            self.chance.pick(&[2, 2, 1, 3, 128])
        } else {
            self.chance.pick(&[3, 3, 11, 12, 8])
        };
        let mut icmp = vec![kind, 4, 0, 0, 0, 0, 0x05, 0x00];
        icmp.extend_from_slice(&quoted[..cut.min(quoted.len())]);
        if v6 {
            let to = self.chance.pick(&["2001:db8::1", "2001:db8::1", "2001:db8:1::3"]);
            self.ip6("2001:db8:3::1", to, 58, icmp)
        } else {
            let to = self.chance.pick(&[[192, 0, 2, 1], [192, 0, 2, 1], [192, 0, 2, 2]]);
            self.ip4([203, 0, 113, 99], to, 1, icmp)
        }
    }

    /// What another site would send us (or a third one), sometimes changed on its way.
    fn framed(&mut self) -> Vec<u8> {
        let mut view = self.config.clone();
        let other = self.chance.pick(&[1, 2, 5, 9]);
        let other = SiteId::new(other).unwrap();
        let Some(at) = view.peers.iter().position(|peer| peer.id == other) else { unreachable!() };
        let me = anycast_affinity::Peer {
            id: view.me,
            name: "me".to_owned(),
            v4: view.tunnel_v4,
            v6: view.tunnel_v6,
            alive: true,
        };
        let them = std::mem::replace(&mut view.peers[at], me);
        (view.me, view.tunnel_v4, view.tunnel_v6) = (other, them.v4, them.v6);
        // Frames to us alone, so that the ring leads here as well.
        if self.chance.one_in(2) {
            let id = self.config.me;
            view.peers.retain(|peer| peer.id == id);
        } else {
            view.peers.retain(|peer| {
                view.tunnel_v4.is_some() && peer.v4.is_some()
                    || view.tunnel_v6.is_some() && peer.v6.is_some()
            });
        }
        if self.chance.one_in(3) {
            std::mem::swap(&mut view.key, view.other_key.as_mut().unwrap());
        }
        let drift = self.chance.pick(&[0, 0, 0, 0, 3, 4, 5, 8, 9, 20, -3_i64, -8, -9, -30]);
        let world = World {
            config: &view,
            context: self.chance.pick(&[Context::Xdp, Context::Tc]),
            has_socket: &|_, _| false,
            now: self.now.wrapping_add_signed(drift << 30),
        };
        let inner = match self.chance.below(8) {
            0 => self.icmp(),
            1 => self.quic(),
            _ => self.to_service(),
        };
        let mut packet = decide(&inner, &world);
        // Sometimes over another site, so that the ring's rules are seen.
        if packet.action == Action::Send && self.chance.one_in(6) {
            packet = decide(&packet.octets, &world);
        }
        let mut packet = packet.octets;
        let l4 = if packet[12..14] == [0x86, 0xdd] { 54 } else { 34 };
        if self.chance.one_in(4) && packet.len() > l4 + 28 {
            // Any octet of the outer headers and the frame.
            let at = self.chance.below(l4 + 28);
            packet[at] ^= 1 << self.chance.below(8);
        }
        if self.chance.one_in(8) {
            // Congestion on the way.
            if l4 == 34 { packet[15] |= 3 } else { packet[15] |= 0x30 }
        }
        packet
    }

    /// Neither here nor there.
    fn stray(&mut self) -> Vec<u8> {
        match self.chance.below(4) {
            0 => {
                let length = 14 + self.chance.below(120);
                self.chance.octets(length)
            }
            1 => {
                let protocol = self.chance.pick(&[17, 47, 132, 44, 0, 60, 43, 51, 58, 1, 6]);
                let length = self.chance.below(60);
                let body = self.chance.octets(length);
                self.addresses(protocol, body)
            }
            2 => {
                let length = self.chance.below(80);
                let mut udp = vec![0xc0, 1];
                udp.extend(self.config.port.to_be_bytes());
                udp.extend(u16::try_from(8 + length).unwrap().to_be_bytes());
                udp.extend([0, 0]);
                udp.extend(self.chance.octets(length));
                if self.chance.one_in(2) {
                    self.ip6("2001:db8:1::1", "2001:db8:1::3", 17, udp)
                } else {
                    self.ip4([198, 51, 100, 1], [198, 51, 100, 3], 17, udp)
                }
            }
            _ => {
                let segment = self.segment(40000, 22, 0x10, &[]);
                self.ip4(CLIENTS[0], [198, 51, 100, 3], 6, segment)
            }
        }
    }

    fn tag(&mut self, packet: &mut Vec<u8>) {
        for _ in 0..1 + self.chance.below(3) {
            let kind = self.chance.pick(&[[0x81, 0x00], [0x88, 0xa8]]);
            packet.splice(12..12, [kind[0], kind[1], 0, 100]);
        }
    }

    fn spoil(&mut self, packet: &mut Vec<u8>) {
        if self.chance.one_in(12) {
            for _ in 0..1 + self.chance.below(3) {
                let at = self.chance.below(packet.len());
                packet[at] = self.chance.octet();
            }
        }
        if self.chance.one_in(16) {
            packet.truncate(14 + self.chance.below(packet.len()));
        }
        if self.chance.one_in(16) {
            let more = self.chance.below(20);
            packet.extend(self.chance.octets(more));
        }
    }
}

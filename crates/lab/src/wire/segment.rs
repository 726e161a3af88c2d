//! Cuts large packets that travel inside UDP, as a network card would on its way out.
//!
//! A node may send many TCP segments or UDP datagrams as one packet (GSO). The virtio header of a
//! packet socket says so, but cannot say that the packet was wrapped into UDP meanwhile, as sites do
//! with what strayed: the kernel would refuse such a frame at the other end of the link.

use super::lines::PREAMBLE;

/// Fields of `struct virtio_net_hdr` (virtio 1.2, §5.1.6), in the machine's order.
const FLAGS: usize = 0;
const GSO_TYPE: usize = 1;
const GSO_SIZE: usize = 4;
const CSUM_START: usize = 6;
const CSUM_OFFSET: usize = 8;
const NEEDS_CSUM: u8 = 1;
const GSO_TCPV4: u8 = 1;
const GSO_TCPV6: u8 = 4;
const GSO_UDP_L4: u8 = 5;
const GSO_ECN: u8 = 0x80;

const ETHERNET: usize = 14;
const TCP: u8 = 6;
const UDP: u8 = 17;
const FIN_AND_PUSH: u8 = 0x09;
const CWR: u8 = 0x80;
/// Where the headers have their checksums.
const TCP_CHECKSUM: usize = 16;
const UDP_CHECKSUM: usize = 6;

/// Where the headers of a packet lie, in octets from the Ethernet header.
struct Layout {
    /// If it is inside UDP: whether that is over IPv6, and where its header is.
    outer: Option<(bool, usize)>,
    inner_is_v6: bool,
    inner: usize,
    /// The inner TCP or UDP header.
    l4: usize,
    protocol: u8,
    payload: usize,
    segment: usize,
}

/// The segments of a frame (with its virtio header), each a whole frame; nothing if it can go as
/// it is.
pub(super) fn cut(frame: &[u8]) -> Option<Vec<Vec<u8>>> {
    let (virtio, packet) = frame.split_at_checked(PREAMBLE)?;
    let layout = Layout::of(virtio, packet)?;
    layout.outer.is_some().then(|| layout.cut(virtio, packet))
}

/// The same, also of a frame that could go as it is.
pub(super) fn cut_any(frame: &[u8]) -> Option<Vec<Vec<u8>>> {
    let (virtio, packet) = frame.split_at_checked(PREAMBLE)?;
    Some(Layout::of(virtio, packet)?.cut(virtio, packet))
}

/// Where the checksum is that a frame's sender left to be finished, in octets from the Ethernet header.
pub(super) fn unfinished_checksum(virtio: &[u8]) -> Option<std::ops::Range<usize>> {
    let native = |at: usize| usize::from(u16::from_ne_bytes([virtio[at], virtio[at + 1]]));
    let at = native(CSUM_START) + native(CSUM_OFFSET);
    (virtio[FLAGS] & NEEDS_CSUM != 0).then_some(at..at + 2)
}

impl Layout {
    fn cut(&self, virtio: &[u8], packet: &[u8]) -> Vec<Vec<u8>> {
        let headers = &packet[..self.payload];
        let pieces = packet[self.payload..].chunks(self.segment);
        let last = pieces.len() - 1;
        let made = pieces.enumerate().map(|(number, piece)| {
            let mut new = Vec::with_capacity(PREAMBLE + headers.len() + piece.len());
            new.extend([0; PREAMBLE]);
            new[FLAGS] = NEEDS_CSUM;
            new[CSUM_START..PREAMBLE].copy_from_slice(&virtio[CSUM_START..PREAMBLE]);
            new.extend(headers);
            new.extend(piece);
            self.mend(&mut new[PREAMBLE..], number * self.segment, number == 0, number == last);
            new
        });
        made.collect()
    }

    /// Of a packet for segmentation, plain or inside UDP without a checksum; nothing of any other.
    fn of(virtio: &[u8], packet: &[u8]) -> Option<Self> {
        let native = |at: usize| usize::from(u16::from_ne_bytes([virtio[at], virtio[at + 1]]));
        let protocol = match virtio[GSO_TYPE] & !GSO_ECN {
            GSO_TCPV4 | GSO_TCPV6 => TCP,
            GSO_UDP_L4 => UDP,
            _ => return None,
        };
        let field = if protocol == TCP { TCP_CHECKSUM } else { UDP_CHECKSUM };
        let is_partial = virtio[FLAGS] & NEEDS_CSUM != 0 && native(CSUM_OFFSET) == field;
        let (l4, segment) = (native(CSUM_START), native(GSO_SIZE));
        let inner_is_v6 = !is_ip(packet, l4.checked_sub(20)?, false, protocol);
        let inner = l4.checked_sub(if inner_is_v6 { 40 } else { 20 })?;
        if inner_is_v6 && !is_ip(packet, inner, true, protocol) {
            return None;
        }
        let outer = if inner == ETHERNET { None } else { Some(outer(packet, inner)?) };
        let payload =
            if protocol == TCP { l4 + usize::from(packet.get(l4 + 12)? >> 4) * 4 } else { l4 + 8 };
        let is_whole = payload >= l4 + field + 2 && payload < packet.len();
        (is_partial && is_whole && segment > 0).then_some(Self {
            outer,
            inner_is_v6,
            inner,
            l4,
            protocol,
            payload,
            segment,
        })
    }

    /// Makes one segment's headers right: the headers of all, and the payload from `offset` on.
    fn mend(&self, packet: &mut [u8], offset: usize, is_first: bool, is_last: bool) {
        if let Some((is_v6, udp)) = self.outer {
            set_length(packet, ETHERNET, is_v6);
            let length = length16(packet.len() - udp);
            packet[udp + 4..udp + 6].copy_from_slice(&length);
        }
        set_length(packet, self.inner, self.inner_is_v6);

        let length = length16(packet.len() - self.l4);
        let addresses = self.inner + if self.inner_is_v6 { 8 } else { 12 }..self.l4;
        let pseudo = sum(&packet[addresses]) + u32::from(self.protocol) + sum(&length);
        let header = &mut packet[self.l4..];
        let field = if self.protocol == TCP {
            let sequence = u32::from_be_bytes([header[4], header[5], header[6], header[7]]);
            let ahead = u32::try_from(offset).unwrap_or(0);
            header[4..8].copy_from_slice(&sequence.wrapping_add(ahead).to_be_bytes());
            if !is_first {
                header[13] &= !CWR;
            }
            if !is_last {
                header[13] &= !FIN_AND_PUSH;
            }
            TCP_CHECKSUM
        } else {
            header[4..6].copy_from_slice(&length);
            UDP_CHECKSUM
        };
        header[field..field + 2].copy_from_slice(&fold(pseudo).to_be_bytes());
    }
}

/// Whether the UDP that a packet at `inner` is in goes over IPv6, and where its header is.
fn outer(packet: &[u8], inner: usize) -> Option<(bool, usize)> {
    let (is_v6, protocol, udp) = match packet.get(12..ETHERNET)? {
        [0x08, 0x00] => (false, packet.get(ETHERNET + 9)?, ETHERNET + 20),
        [0x86, 0xdd] => (true, packet.get(ETHERNET + 6)?, ETHERNET + 40),
        _ => return None,
    };
    let is_udp = *protocol == UDP && (is_v6 || packet[ETHERNET] == 0x45);
    let fits = inner >= udp + 8 && packet.get(udp + 6..udp + 8)? == [0, 0];
    (is_udp && fits).then_some((is_v6, udp))
}

/// Whether an IP packet without options begins at `at` and goes on to the end.
fn is_ip(packet: &[u8], at: usize, is_v6: bool, protocol: u8) -> bool {
    let Some(header) = packet.get(at..) else { return false };
    let all = header.len();
    match header {
        [first, _, a, b, _, _, _, _, _, carried, ..] if !is_v6 => {
            *first == 0x45 && *carried == protocol && length16(all) == [*a, *b]
        }
        [first, _, _, _, a, b, next, ..] if is_v6 && all >= 40 => {
            first >> 4 == 6 && *next == protocol && length16(all - 40) == [*a, *b]
        }
        _ => false,
    }
}

/// Sets the length in the IP header at `at`, for a packet that goes on to the end.
fn set_length(packet: &mut [u8], at: usize, is_v6: bool) {
    let all = packet.len() - at;
    if is_v6 {
        packet[at + 4..at + 6].copy_from_slice(&length16(all - 40));
        return;
    }
    packet[at + 2..at + 4].copy_from_slice(&length16(all));
    packet[at + 10..at + 12].fill(0);
    let checksum = !fold(sum(&packet[at..at + 20]));
    packet[at + 10..at + 12].copy_from_slice(&checksum.to_be_bytes());
}

/// Packets of a virtio header are at most 64 KiB long.
fn length16(length: usize) -> [u8; 2] {
    u16::try_from(length).unwrap_or(u16::MAX).to_be_bytes()
}

/// The sum of RFC 1071, of an even number of octets.
fn sum(octets: &[u8]) -> u32 {
    octets.chunks_exact(2).map(|pair| u32::from(u16::from_be_bytes([pair[0], pair[1]]))).sum()
}

fn fold(sum: u32) -> u16 {
    let once = (sum & 0xffff) + (sum >> 16);
    #[expect(clippy::cast_possible_truncation, reason = "a folded sum")]
    let twice = ((once & 0xffff) + (once >> 16)) as u16;
    twice
}

#[cfg(test)]
mod tests {
    use super::*;

    const TIMESTAMPS: [u8; 12] = [1, 1, 8, 10, 0, 0, 0, 1, 0, 0, 0, 2];
    const WRAPPING: usize = 20;

    /// An IP header; lengths and checksum are as of a packet with `behind` octets behind it.
    fn ip(is_v6: bool, protocol: u8, behind: usize) -> Vec<u8> {
        let header = if is_v6 {
            let mut header = vec![0x60, 0, 0, 0, 0, 0, protocol, 64];
            header.extend([0x20, 0x01, 0x0d, 0xb8]);
            header.extend([0; 11]);
            header.push(1);
            header.extend([0x20, 0x01, 0x0d, 0xb8, 0, 1]);
            header.extend([0; 9]);
            header.push(2);
            header
        } else {
            let mut header = vec![0x45, 0, 0, 0, 0, 0, 0x40, 0, 64, protocol, 0, 0];
            header.extend([192, 0, 2, 1, 198, 51, 100, 2]);
            header
        };
        let mut whole = header.clone();
        whole.resize(header.len() + behind, 0);
        set_length(&mut whole, 0, is_v6);
        whole.truncate(header.len());
        whole
    }

    fn tcp(flags: u8) -> Vec<u8> {
        let mut header = vec![0x30, 0x39, 0, 80, 0xff, 0xff, 0xff, 0xf0, 0, 0, 0, 1, 0x80, flags];
        header.extend([1, 0, 0, 0, 0, 0]);
        header.extend(TIMESTAMPS);
        header
    }

    /// A TCP packet with `payload` behind an IP and a UDP header and the wrapping's own octets.
    fn wrapped(outer_is_v6: bool, inner_is_v6: bool, payload: &[u8], segment: u16) -> Vec<u8> {
        let tcp = tcp(CWR | FIN_AND_PUSH | 0x10);
        let inner = ip(inner_is_v6, TCP, tcp.len() + payload.len());
        let udp_length = 8 + WRAPPING + inner.len() + tcp.len() + payload.len();
        let outer = ip(outer_is_v6, UDP, udp_length);
        let start = ETHERNET + outer.len() + 8 + WRAPPING + inner.len();
        let mut frame = vec![NEEDS_CSUM, if inner_is_v6 { GSO_TCPV6 } else { GSO_TCPV4 }, 0, 0];
        frame.extend(segment.to_ne_bytes());
        frame.extend(u16::try_from(start).expect("small").to_ne_bytes());
        frame.extend(16_u16.to_ne_bytes());
        frame.extend([2; 12]);
        frame.extend(if outer_is_v6 { [0x86, 0xdd] } else { [0x08, 0x00] });
        frame.extend(outer);
        frame.extend([0xc0, 0, 0x16, 0x37]);
        frame.extend(length16(udp_length));
        frame.extend([0, 0]);
        frame.extend([7; WRAPPING]);
        frame.extend(inner);
        frame.extend(tcp);
        frame.extend(payload);
        frame
    }

    #[test]
    fn the_segments_are_the_packet_again() {
        let payload: Vec<u8> = (0..2500_u32).map(|at| (at % 251) as u8).collect();
        for (outer_is_v6, inner_is_v6) in
            [(false, false), (false, true), (true, false), (true, true)]
        {
            let whole = wrapped(outer_is_v6, inner_is_v6, &payload, 1000);
            let parts = cut(&whole).expect("it is cut");
            assert_eq!(parts.len(), 3);
            let mut expected = 0xffff_fff0_u32;
            let mut got: Vec<u8> = Vec::new();
            for (number, part) in parts.iter().enumerate() {
                let count = if number == 2 { 500 } else { 1000 };
                // What a packet of this size looks like when it is made whole.
                let mut alike = wrapped(outer_is_v6, inner_is_v6, &payload[..count], 1000);
                let tcp = alike.len() - count - 32;
                alike[FLAGS..GSO_SIZE + 2].copy_from_slice(&[NEEDS_CSUM, 0, 0, 0, 0, 0]);
                alike[tcp + 4..tcp + 8].copy_from_slice(&expected.to_be_bytes());
                alike[tcp + 13] = [CWR | 0x10, 0x10, FIN_AND_PUSH | 0x10][number];
                let length = alike.len();
                alike[length - count..].copy_from_slice(&payload[number * 1000..][..count]);
                let field = tcp + TCP_CHECKSUM..tcp + TCP_CHECKSUM + 2;
                alike[field.clone()].copy_from_slice(&part[field]);
                assert_eq!(*part, alike, "segment {number} of {outer_is_v6} {inner_is_v6}");
                got.extend(&part[length - count..]);
                expected = expected.wrapping_add(1000);
            }
            assert_eq!(got, payload);
        }
    }

    /// UDP datagrams as one packet, wrapped: IPv6 in IPv4.
    fn datagrams(payload: &[u8], segment: u16) -> Vec<u8> {
        let length = 8 + payload.len();
        let inner = ip(true, UDP, length);
        let udp_length = 8 + WRAPPING + inner.len() + length;
        let outer = ip(false, UDP, udp_length);
        let start = ETHERNET + 20 + 8 + WRAPPING + 40;
        let mut frame = vec![NEEDS_CSUM, GSO_UDP_L4, 0, 0];
        frame.extend(segment.to_ne_bytes());
        frame.extend(u16::try_from(start).expect("small").to_ne_bytes());
        frame.extend(6_u16.to_ne_bytes());
        frame.extend([2; 12]);
        frame.extend([0x08, 0x00]);
        frame.extend(outer);
        frame.extend([0xc0, 0, 0x16, 0x37]);
        frame.extend(length16(udp_length));
        frame.extend([0, 0]);
        frame.extend([7; WRAPPING]);
        frame.extend(inner);
        frame.extend([0x30, 0x39, 1, 187]);
        frame.extend(length16(length));
        frame.extend([0, 0]);
        frame.extend(payload);
        frame
    }

    #[test]
    fn datagrams_are_cut_too() {
        let payload: Vec<u8> = (0..2500_u32).map(|at| (at % 251) as u8).collect();
        let parts = cut(&datagrams(&payload, 1200)).expect("they are cut");
        assert_eq!(parts.len(), 3);
        for (part, piece) in parts.iter().zip(payload.chunks(1200)) {
            let mut alike = datagrams(piece, 1200);
            alike[..GSO_SIZE + 2].copy_from_slice(&[NEEDS_CSUM, 0, 0, 0, 0, 0]);
            let field = alike.len() - piece.len() - 2..alike.len() - piece.len();
            alike[field.clone()].copy_from_slice(&part[field]);
            assert_eq!(*part, alike);
        }
        // The same not wrapped goes as it is.
        let mut plain = datagrams(&payload, 1200);
        plain.drain(PREAMBLE + 14..PREAMBLE + 14 + 28 + WRAPPING);
        plain[CSUM_START..CSUM_START + 2].copy_from_slice(&54_u16.to_ne_bytes());
        plain[PREAMBLE + 12..PREAMBLE + 14].copy_from_slice(&[0x86, 0xdd]);
        assert_eq!(cut(&plain), None);
        assert_eq!(cut_any(&plain).map(|parts| parts.len()), Some(3));
    }

    #[test]
    fn a_segments_checksum_is_begun_with_its_pseudo_header() {
        // The words of the addresses, the protocol and the length, folded (RFC 9293, section 3.1;
        // RFC 8200, section 8.1): 192.0.2.1 and 198.51.100.2, 2001:db8::1 and 2001:db8:1::2.
        let v4 = 0xc000 + 0x0201 + 0xc633 + 0x6402_u32;
        let v6 = 0x2001 + 0x0db8 + 1 + 0x2001 + 0x0db8 + 1 + 2_u32;
        let (tcp, udp) = (32, 8);
        for (name, whole, begun, header) in [
            ("TCP over IPv4", wrapped(true, false, &[0; 1500], 1000), v4 + 6, tcp),
            ("TCP over IPv6", wrapped(false, true, &[0; 1500], 1000), v6 + 6, tcp),
            ("UDP over IPv6", datagrams(&[0; 1500], 1000), v6 + 17, udp),
        ] {
            let parts = cut(&whole).expect("it is cut");
            let at = if header == tcp { TCP_CHECKSUM } else { UDP_CHECKSUM };
            for (part, payload) in parts.iter().zip([1000, 500]) {
                let length = header + payload;
                let l4 = &part[part.len() - length..];
                let expected = fold(begun + u32::try_from(length).expect("small"));
                assert_eq!(l4[at..at + 2], expected.to_be_bytes(), "{name}, {payload} octets");
            }
        }
    }

    #[test]
    fn other_frames_go_as_they_are() {
        let whole = wrapped(false, true, &[0; 1500], 1000);
        let with = |at: usize, octet: u8| {
            let mut other = whole.clone();
            other[at] = octet;
            other
        };
        assert!(cut(&whole).is_some());
        assert_eq!(cut(&with(GSO_TYPE, 0)), None, "one packet");
        assert_eq!(cut(&with(FLAGS, 0)), None, "a finished checksum");
        assert_eq!(cut(&with(PREAMBLE + ETHERNET + 9, TCP)), None, "plain TCP");
        assert_eq!(cut(&with(PREAMBLE + ETHERNET + 27, 1)), None, "UDP with a checksum");
        assert_eq!(cut(&with(PREAMBLE + 12, 0x81)), None, "no IP");
        for length in 0..whole.len() - 1500 {
            assert_eq!(cut(&whole[..length]), None, "{length} octets");
        }
    }
}

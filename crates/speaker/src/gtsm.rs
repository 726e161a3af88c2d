//! GTSM (RFC 5082) before there is a connection.
//!
//! A listening socket serves many neighbors, of which each is so far away at most, so no one lowest
//! TTL fits it: a filter in the kernel looks at who sends (classic BPF). Without it whatever
//! arrives before a connection is accepted would be heard from any distance. A connection itself
//! has its neighbor's own lowest TTL: [`sockopt::set_min_ttl`](crate::sockopt::set_min_ttl).

use std::io;
use std::net::{IpAddr, SocketAddr};

use socket2::{SockFilter, SockRef};
use tracing::warn;

use crate::config::Neighbor;

/// BPF_MAXINSNS of linux/bpf_common.h.
const MOST_INSTRUCTIONS: usize = 4096;
/// SKF_NET_OFF of linux/filter.h: offsets from here on count from the network header.
const NETWORK_HEADER: u32 = (-0x10_0000_i32).cast_unsigned();
/// A packet is let through whole.
const PASS: u32 = u32::MAX;
const DROP: u32 = 0;

/// Where a header has what the filter looks at, in octets.
struct Header {
    source: u32,
    ttl: u32,
}

const IPV4: Header = Header { source: 12, ttl: 8 };
const IPV6: Header = Header { source: 8, ttl: 7 };

/// One instruction.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Step {
    /// Four octets of the network header.
    LoadWord(u32),
    /// One octet of it.
    LoadOctet(u32),
    /// Skips so many instructions unless what was loaded is this.
    UnlessEqual(u32, u8),
    /// Skips so many unless it is at least this.
    UnlessAtLeast(u32, u8),
    /// Lets so many octets of the packet through.
    Return(u32),
}

impl Step {
    /// As `struct sock_filter` has it: code, jump if true, jump if false, operand.
    fn encode(self) -> (u32, u8, u8, u32) {
        const LOAD: u32 = libc::BPF_LD | libc::BPF_ABS;
        const JUMP: u32 = libc::BPF_JMP | libc::BPF_K;
        match self {
            Self::LoadWord(at) => (LOAD | libc::BPF_W, 0, 0, NETWORK_HEADER + at),
            Self::LoadOctet(at) => (LOAD | libc::BPF_B, 0, 0, NETWORK_HEADER + at),
            Self::UnlessEqual(value, skip) => (JUMP | libc::BPF_JEQ, 0, skip, value),
            Self::UnlessAtLeast(value, skip) => (JUMP | libc::BPF_JGE, 0, skip, value),
            Self::Return(octets) => (libc::BPF_RET | libc::BPF_K, 0, 0, octets),
        }
    }
}

/// The lowest TTL that a packet of the neighbor can arrive with.
pub(crate) fn lowest_ttl(neighbor: &Neighbor) -> u8 {
    u8::MAX - (neighbor.multihop.unwrap_or(1) - 1)
}

/// Has the listening socket at `address`, bound to `interface` if that is given, hear none of
/// these neighbors with `ttl_security` from too far. In place of what it was told before.
///
/// # Errors
/// What the kernel says.
pub(crate) fn guard<'a>(
    socket: &SockRef<'_>,
    address: SocketAddr,
    interface: Option<&str>,
    neighbors: impl IntoIterator<Item = &'a Neighbor>,
) -> io::Result<()> {
    let hears = |it: &&Neighbor| {
        it.address.is_ipv4() == address.is_ipv4()
            && (it.interface.is_none() || it.interface.as_deref() == interface)
    };
    let mut steps = steps(neighbors.into_iter().filter(hears));
    if steps.len() > MOST_INSTRUCTIONS {
        warn!("more neighbors with ttl-security than a filter of the kernel holds");
        steps = vec![Step::Return(PASS)];
    }
    if steps.len() == 1 {
        // There is none: no filter, and that there was none before is as good.
        let _ = socket.detach_filter();
        return Ok(());
    }
    let instruction = |step: Step| {
        let (code, jump_true, jump_false, operand) = step.encode();
        let code = u16::try_from(code).expect("codes have 16 bits");
        SockFilter::new(code, jump_true, jump_false, operand)
    };
    let filter: Vec<SockFilter> = steps.into_iter().map(instruction).collect();
    socket.attach_filter(&filter)
}

/// A connection inherits the filter; it has no need of it.
pub(crate) fn unguard(socket: &SockRef<'_>) {
    // There may be none.
    let _ = socket.detach_filter();
}

/// For each neighbor: if the packet is of it, it passes if its TTL is high enough. All else passes.
fn steps<'a>(neighbors: impl IntoIterator<Item = &'a Neighbor>) -> Vec<Step> {
    let mut steps = Vec::new();
    for neighbor in neighbors.into_iter().filter(|it| it.ttl_security) {
        let (header, words) = match neighbor.address {
            IpAddr::V4(address) => (IPV4, vec![u32::from(address)]),
            IpAddr::V6(address) => {
                let word = |octets: &[u8]| u32::from_be_bytes(octets.try_into().expect("four"));
                (IPV6, address.octets().chunks(4).map(word).collect())
            }
        };
        let verdict = [
            Step::LoadOctet(header.ttl),
            Step::UnlessAtLeast(lowest_ttl(neighbor).into(), 1),
            Step::Return(PASS),
            Step::Return(DROP),
        ];
        // At most 11 instructions: far less than a jump can skip.
        let mut left = u8::try_from(2 * words.len() + verdict.len()).expect("it is small");
        for (index, word) in words.into_iter().enumerate() {
            left -= 2;
            let at = u32::try_from(4 * index).expect("it is small");
            steps.push(Step::LoadWord(header.source + at));
            steps.push(Step::UnlessEqual(word, left));
        }
        steps.extend(verdict);
    }
    steps.push(Step::Return(PASS));
    steps
}

#[cfg(test)]
mod tests {
    use anycast_bgp::Asn;

    use super::*;

    /// What the kernel does with a packet that begins with this header.
    fn run(steps: &[Step], header: &[u8]) -> u32 {
        let (mut at, mut loaded) = (0, 0);
        loop {
            match steps[at] {
                Step::LoadWord(offset) => {
                    let octets = &header[offset as usize..][..4];
                    loaded = u32::from_be_bytes(octets.try_into().expect("four octets"));
                }
                Step::LoadOctet(offset) => loaded = header[offset as usize].into(),
                Step::UnlessEqual(value, skip) if loaded != value => at += usize::from(skip),
                Step::UnlessAtLeast(value, skip) if loaded < value => at += usize::from(skip),
                Step::UnlessEqual(..) | Step::UnlessAtLeast(..) => {}
                Step::Return(octets) => return octets,
            }
            at += 1;
        }
    }

    fn header(source: &str, ttl: u8) -> Vec<u8> {
        let mut header = vec![0; 40];
        let (place, from) = match source.parse().expect("an address") {
            IpAddr::V4(address) => (IPV4, address.octets().to_vec()),
            IpAddr::V6(address) => (IPV6, address.octets().to_vec()),
        };
        header[place.ttl as usize] = ttl;
        header[place.source as usize..][..from.len()].copy_from_slice(&from);
        header
    }

    fn neighbor(address: &str, multihop: Option<u8>, ttl_security: bool) -> Neighbor {
        let address = address.parse().expect("an address");
        Neighbor { multihop, ttl_security, ..Neighbor::new("n", address, Asn(64501)) }
    }

    #[test]
    fn each_neighbor_has_its_own_bound_and_others_none() {
        let families = [
            ["198.51.100.1", "198.51.100.2", "198.51.100.3", "198.51.101.1"],
            ["2001:db8::1", "2001:db8::2", "2001:db8::3", "2001:db8:1::1"],
        ];
        for [near, far, plain, stranger] in families {
            let neighbors = [
                neighbor(near, None, true),
                neighbor(plain, None, false),
                neighbor(far, Some(3), true),
            ];
            let steps = steps(&neighbors);
            // (who sends, with which TTL, whether it passes): both sides of each bound.
            for (from, ttl, passes) in [
                (near, 255, true),
                (near, 254, false),
                (near, 1, false),
                (far, 253, true),
                (far, 252, false),
                (plain, 1, true),
                (stranger, 1, true),
            ] {
                let verdict = run(&steps, &header(from, ttl));
                assert_eq!(verdict, if passes { PASS } else { DROP }, "{from} with {ttl}");
            }
        }
    }

    #[test]
    fn nobody_to_guard_against_is_no_filter() {
        assert_eq!(steps(&[neighbor("198.51.100.1", None, false)]), [Step::Return(PASS)]);
    }

    #[test]
    fn instructions_are_as_the_kernel_reads_them() {
        assert_eq!(Step::LoadWord(12).encode(), (0x20, 0, 0, 0xfff0_000c));
        assert_eq!(Step::LoadOctet(8).encode(), (0x30, 0, 0, 0xfff0_0008));
        assert_eq!(Step::UnlessEqual(7, 4).encode(), (0x15, 0, 4, 7));
        assert_eq!(Step::UnlessAtLeast(255, 1).encode(), (0x35, 0, 1, 255));
        assert_eq!(Step::Return(PASS).encode(), (0x06, 0, 0, PASS));
    }
}

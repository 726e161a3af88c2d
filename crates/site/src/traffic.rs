//! How many packets come in for some addresses, and what else the machine bears.
//!
//! Packets are counted by the kernel at packet sockets (packet(7)) that nobody reads: a filter
//! lets pass what is for the addresses, the socket takes a few and drops the others, and the
//! kernel's statistics hold both. There is one socket for each family, bound to its protocol, so
//! that a packet counts once however many devices it passes on its way up, and what leaves does
//! not count. What the machine sends itself over the loopback interface, such as health checks,
//! does not count either. Segments that the network card or the kernel has merged (LRO, GRO) are
//! one packet.

mod connections;
mod sys;

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::os::fd::AsFd;
use std::time::{Duration, Instant};

pub(crate) use connections::{ESTABLISHED, OPEN, connections};
use socket2::{Domain, Protocol, SockFilter, Socket, Type};

/// A reading over less than this says little.
const LEAST: Duration = Duration::from_millis(900);

/// Counts packets for some addresses.
pub(crate) struct Counter {
    sockets: Vec<Socket>,
    since: Instant,
    /// What was read last, in packets per second.
    rate: Option<f64>,
}

impl Counter {
    /// Starts to count.
    ///
    /// # Errors
    /// What the kernel says: without CAP_NET_RAW it gives no such socket.
    pub(crate) fn open(addresses: &[IpAddr]) -> io::Result<Self> {
        let v4: Vec<Ipv4Addr> = addresses.iter().filter_map(v4_of).collect();
        let v6: Vec<Ipv6Addr> = addresses.iter().filter_map(v6_of).collect();
        let mut sockets = Vec::new();
        if !v4.is_empty() {
            sockets.push(socket(libc::ETH_P_IP, &filter_v4(&v4))?);
        }
        if !v6.is_empty() {
            sockets.push(socket(libc::ETH_P_IPV6, &filter_v6(&v6))?);
        }
        Ok(Self { sockets, since: Instant::now(), rate: None })
    }

    /// Packets per second since the last reading; `None`: it is too soon to say.
    ///
    /// # Errors
    /// What the kernel says.
    pub(crate) fn read(&mut self) -> io::Result<Option<f64>> {
        let passed = self.since.elapsed();
        if passed < LEAST {
            return Ok(None);
        }
        let mut packets = 0_u64;
        for socket in &self.sockets {
            packets += u64::from(sys::packets(socket.as_fd())?);
        }
        self.since = Instant::now();
        #[expect(clippy::cast_precision_loss, reason = "far fewer than 2^52 packets a second")]
        let rate = packets as f64 / passed.as_secs_f64();
        self.rate = Some(rate);
        Ok(self.rate)
    }

    pub(crate) fn last(&self) -> Option<f64> {
        self.rate
    }
}

fn v4_of(address: &IpAddr) -> Option<Ipv4Addr> {
    if let IpAddr::V4(address) = address { Some(*address) } else { None }
}

fn v6_of(address: &IpAddr) -> Option<Ipv6Addr> {
    if let IpAddr::V6(address) = address { Some(*address) } else { None }
}

fn socket(protocol: libc::c_int, filter: &[Instruction]) -> io::Result<Socket> {
    let in_network_order = u16::try_from(protocol).expect("an EtherType has 16 bits").to_be();
    let protocol = Protocol::from(i32::from(in_network_order));
    // "Cooked": a packet begins with its IP header, whatever the link is.
    let socket = Socket::new(Domain::PACKET, Type::DGRAM, Some(protocol))?;
    let of_kernel = |&(code, jt, jf, k): &Instruction| SockFilter::new(code, jt, jf, k);
    let filter: Vec<SockFilter> = filter.iter().map(of_kernel).collect();
    socket.attach_filter(&filter)?;
    socket.set_recv_buffer_size(0)?;
    // What came before the filter was there is forgotten.
    sys::packets(socket.as_fd())?;
    Ok(socket)
}

/// Of bpf(4): what to do, by how much to jump if it is so and if not, with what.
type Instruction = (u16, u8, u8, u32);

const LOAD_WORD: u16 = 0x20;
const JUMP_IF_EQUAL: u16 = 0x15;
const RETURN: u16 = 0x06;
/// SKF_AD_OFF and what is behind it (linux/filter.h).
const PACKET_TYPE: u32 = 0xffff_f000 + 4;
const DEVICE_TYPE: u32 = 0xffff_f000 + 28;
/// linux/if_packet.h and linux/if_arp.h.
const PACKET_HOST: u32 = 0;
const ARPHRD_LOOPBACK: u32 = 772;
const DROP: Instruction = (RETURN, 0, 0, 0);
/// One octet of it is enough.
const PASS: Instruction = (RETURN, 0, 0, 1);

fn load(offset: u32) -> Instruction {
    (LOAD_WORD, 0, 0, offset)
}

/// What is for this machine and has not come over the loopback interface goes on.
fn beginning() -> Vec<Instruction> {
    vec![
        load(PACKET_TYPE),
        (JUMP_IF_EQUAL, 1, 0, PACKET_HOST),
        DROP,
        load(DEVICE_TYPE),
        (JUMP_IF_EQUAL, 0, 1, ARPHRD_LOOPBACK),
        DROP,
    ]
}

fn filter_v4(addresses: &[Ipv4Addr]) -> Vec<Instruction> {
    let mut program = beginning();
    program.push(load(16));
    for address in addresses {
        program.extend([(JUMP_IF_EQUAL, 0, 1, address.to_bits()), PASS]);
    }
    program.push(DROP);
    program
}

fn filter_v6(addresses: &[Ipv6Addr]) -> Vec<Instruction> {
    let mut program = beginning();
    for address in addresses {
        let words = address.octets();
        for (word, beyond) in words.chunks_exact(4).zip([7, 5, 3, 1]) {
            let offset = 24 + 2 * u32::from(7_u8 - beyond);
            let word = u32::from_be_bytes([word[0], word[1], word[2], word[3]]);
            program.extend([load(offset), (JUMP_IF_EQUAL, 0, beyond, word)]);
        }
        program.push(PASS);
    }
    program.push(DROP);
    program
}

/// How busy the processor cores are, between two readings.
#[derive(Debug, Default)]
pub(crate) struct Cores(Option<(u64, u64)>);

impl Cores {
    /// Percent of all cores since the last reading; `None`: there was none before.
    ///
    /// # Errors
    /// `/proc/stat` cannot be read or is of another form.
    pub(crate) fn read(&mut self) -> io::Result<Option<f64>> {
        let text = std::fs::read_to_string("/proc/stat")?;
        let now = cores(&text)
            .ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, "/proc/stat is strange"))?;
        let before = self.0.replace(now);
        Ok(before.and_then(|(busy, all)| {
            let (busy, all) = (now.0.saturating_sub(busy), now.1.saturating_sub(all));
            #[expect(clippy::cast_precision_loss, reason = "ticks of some seconds")]
            (all > 0).then(|| busy as f64 / all as f64 * 100.0)
        }))
    }
}

/// Ticks that all cores were busy, and all ticks (proc_stat(5)).
fn cores(text: &str) -> Option<(u64, u64)> {
    let line = text.lines().next()?.strip_prefix("cpu ")?;
    // user, nice, system, idle, iowait, irq, softirq, steal; guests are in the first two.
    let ticks: Result<Vec<u64>, _> = line.split_whitespace().take(8).map(str::parse).collect();
    let ticks = ticks.ok().filter(|ticks| ticks.len() >= 4)?;
    let all: u64 = ticks.iter().sum();
    let idle = ticks[3] + ticks.get(4).copied().unwrap_or_default();
    Some((all - idle, all))
}

#[cfg(test)]
mod tests;

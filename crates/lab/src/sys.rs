//! The system calls that no safe crate wraps; beside the filter in `peers`, the only unsafe code.
//!
//! Each function is the thinnest safe shape around one call. What the calls are for is told by
//! the modules that use them.
#![expect(unsafe_code, reason = "fork, pre_exec and batched packet sockets have no safe wrapper")]

use std::io;
use std::mem::{size_of, zeroed};
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::os::unix::process::CommandExt;
use std::process::Command;
use std::sync::Arc;

use nix::errno::Errno;
use nix::unistd::{ForkResult, Pid};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

/// The largest frame a packet socket hands over: a GSO packet of 64 KiB with its Ethernet header
/// and the virtio header before it.
const MAX_FRAME: usize = 65_536 + 64;

/// Splits the process; only allowed while it has one thread.
pub(crate) fn fork() -> io::Result<ForkResult> {
    let threads = std::fs::read_dir("/proc/self/task")?.count();
    if threads != 1 {
        return Err(io::Error::other(format!("{threads} threads exist before the fork")));
    }
    // SAFETY: with a single thread no lock can be held by a thread that the child lacks.
    Ok(unsafe { nix::unistd::fork() }?)
}

/// A descriptor that becomes readable when the process `pid` ends (pidfd_open(2)).
pub(crate) fn pidfd(pid: Pid) -> io::Result<OwnedFd> {
    // SAFETY: the call takes two integers and returns a descriptor that nobody else owns.
    let fd = Errno::result(unsafe { libc::syscall(libc::SYS_pidfd_open, pid.as_raw(), 0) })?;
    let fd = RawFd::try_from(fd).map_err(io::Error::other)?;
    // SAFETY: as above.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// Runs `f` in the child of `command` between fork and exec.
///
/// `f` may only make system calls: no allocation, no locks (signal-safety(7)).
pub(crate) fn before_exec(
    command: &mut Command,
    f: impl FnMut() -> io::Result<()> + Send + Sync + 'static,
) -> &mut Command {
    // SAFETY: the callers' closures make bare system calls only, as the contract above demands.
    unsafe { command.pre_exec(f) }
}

/// Sets a socket option whose value is a plain C struct or integer.
pub(crate) fn set_option<T: Copy>(
    socket: BorrowedFd<'_>,
    level: libc::c_int,
    name: libc::c_int,
    value: &T,
) -> io::Result<()> {
    let len = libc::socklen_t::try_from(size_of::<T>()).map_err(io::Error::other)?;
    // SAFETY: the pointer and length describe `value`, which outlives the call.
    let done = unsafe {
        libc::setsockopt(socket.as_raw_fd(), level, name, std::ptr::from_ref(value).cast(), len)
    };
    Errno::result(done)?;
    Ok(())
}

/// Lets the current tokio runtime wait until `fd` is readable.
pub(crate) fn watch(fd: BorrowedFd<'_>) -> io::Result<AsyncFd<BorrowedFd<'_>>> {
    // SAFETY: the borrow keeps the descriptor open for as long as the AsyncFd lives.
    Ok(unsafe { AsyncFd::register_with_interest(fd, Interest::READABLE) }?)
}

/// A raw socket on every interface of one namespace, which reads and writes frames in batches.
///
/// Frames travel with their virtio header, so that an unfinished checksum or a GSO packet leaves
/// one interface as it came out of the other.
#[derive(Debug)]
pub(crate) struct PacketSocket {
    fd: OwnedFd,
}

/// Room for one batch of received frames.
pub(crate) struct Inbox {
    frames: Vec<u8>,
    got: Vec<(u32, usize)>,
}

impl Inbox {
    /// Room for `count` frames.
    pub(crate) fn new(count: usize) -> Self {
        Self { frames: vec![0; count * MAX_FRAME], got: Vec::with_capacity(count) }
    }

    /// The frames of the last batch: the interface's index, and the frame behind its virtio
    /// header.
    pub(crate) fn frames(&self) -> impl Iterator<Item = (u32, &[u8])> {
        let slots = self.frames.chunks(MAX_FRAME);
        self.got.iter().zip(slots).map(|(&(ifindex, len), slot)| (ifindex, &slot[..len]))
    }
}

impl PacketSocket {
    /// Opens the socket in the namespace of the calling thread.
    pub(crate) fn open() -> io::Result<Self> {
        // A protocol of zero receives nothing until `listen`, when all options are set.
        let kind = libc::SOCK_RAW | libc::SOCK_CLOEXEC | libc::SOCK_NONBLOCK;
        // SAFETY: plain integers in, a fresh descriptor out.
        let fd = Errno::result(unsafe { libc::socket(libc::AF_PACKET, kind, 0) })?;
        // SAFETY: the descriptor was just made and has no other owner.
        let fd = unsafe { OwnedFd::from_raw_fd(fd) };
        let socket = Self { fd };
        let on: libc::c_int = 1;
        socket.set(libc::SOL_PACKET, libc::PACKET_VNET_HDR, on)?;
        socket.set(libc::SOL_PACKET, libc::PACKET_IGNORE_OUTGOING, on)?;
        let room: libc::c_int = 64 << 20;
        for (force, plain) in
            [(libc::SO_RCVBUFFORCE, libc::SO_RCVBUF), (libc::SO_SNDBUFFORCE, libc::SO_SNDBUF)]
        {
            // Past net.core.rmem_max only for root of the machine; others get what it allows.
            socket
                .set(libc::SOL_SOCKET, force, room)
                .or_else(|_| socket.set(libc::SOL_SOCKET, plain, room))?;
        }
        socket.listen()?;
        Ok(socket)
    }

    fn set(&self, level: libc::c_int, name: libc::c_int, value: libc::c_int) -> io::Result<()> {
        use std::os::fd::AsFd;
        set_option(self.fd.as_fd(), level, name, &value)
    }

    fn listen(&self) -> io::Result<()> {
        let address = link_address(0);
        // SAFETY: `address` is a complete sockaddr_ll and its size is given.
        let done =
            unsafe { libc::bind(self.fd.as_raw_fd(), (&raw const address).cast(), ADDRESS_LEN) };
        Errno::result(done)?;
        Ok(())
    }

    /// Reads what has arrived, up to the inbox's room; how many frames that was.
    pub(crate) fn receive(&self, inbox: &mut Inbox) -> io::Result<usize> {
        inbox.got.clear();
        let room = inbox.got.capacity();
        // SAFETY: all-zero is a valid value of these C structs.
        let mut addresses = vec![unsafe { zeroed::<libc::sockaddr_ll>() }; room];
        let mut parts: Vec<libc::iovec> = inbox
            .frames
            .chunks_mut(MAX_FRAME)
            .map(|slot| libc::iovec { iov_base: slot.as_mut_ptr().cast(), iov_len: slot.len() })
            .collect();
        let mut headers: Vec<libc::mmsghdr> = parts
            .iter_mut()
            .zip(&mut addresses)
            .map(|(part, address)| header(part, address))
            .collect();
        let count = libc::c_uint::try_from(headers.len()).map_err(io::Error::other)?;
        // SAFETY: each header points at one slot of the inbox and one address, all alive and
        // apart from each other.
        let got = Errno::result(unsafe {
            libc::recvmmsg(
                self.fd.as_raw_fd(),
                headers.as_mut_ptr(),
                count,
                libc::MSG_DONTWAIT,
                std::ptr::null_mut(),
            )
        });
        let got = match got {
            Ok(got) => usize::try_from(got).unwrap_or(0),
            Err(Errno::EAGAIN | Errno::EINTR) => 0,
            Err(other) => return Err(other.into()),
        };
        inbox.got.extend(headers.iter().zip(&addresses).take(got).map(|(header, address)| {
            (u32::try_from(address.sll_ifindex).unwrap_or(0), header.msg_len as usize)
        }));
        Ok(got)
    }

    /// Frames that came in faster than they were read, since this was last asked.
    pub(crate) fn overruns(&self) -> io::Result<u32> {
        // SAFETY: all-zero is a valid value of this C struct.
        let mut stats: libc::tpacket_stats = unsafe { zeroed() };
        let mut len = libc::socklen_t::try_from(size_of_val(&stats)).map_err(io::Error::other)?;
        // SAFETY: the pointer and length describe `stats`, which the kernel fills in.
        let done = unsafe {
            libc::getsockopt(
                self.fd.as_raw_fd(),
                libc::SOL_PACKET,
                libc::PACKET_STATISTICS,
                (&raw mut stats).cast(),
                &raw mut len,
            )
        };
        Errno::result(done)?;
        Ok(stats.tp_drops)
    }

    /// Sends frames, each behind its virtio header, out of the interfaces given; how many could
    /// not be sent.
    pub(crate) fn send(&self, frames: &[(u32, Arc<[u8]>)]) -> usize {
        let mut addresses: Vec<_> =
            frames.iter().map(|(ifindex, _)| link_address(*ifindex)).collect();
        let mut parts: Vec<libc::iovec> = frames
            .iter()
            .map(|(_, frame)| libc::iovec {
                iov_base: frame.as_ptr().cast_mut().cast(),
                iov_len: frame.len(),
            })
            .collect();
        let mut headers: Vec<libc::mmsghdr> = parts
            .iter_mut()
            .zip(&mut addresses)
            .map(|(part, address)| header(part, address))
            .collect();
        let mut lost = 0;
        let mut at = 0;
        while at < headers.len() {
            let rest = &mut headers[at..];
            let count = libc::c_uint::try_from(rest.len()).unwrap_or(libc::c_uint::MAX);
            // SAFETY: each header points at one frame and one address that outlive the call; the
            // kernel only reads the frames.
            let sent = unsafe {
                libc::sendmmsg(self.fd.as_raw_fd(), rest.as_mut_ptr(), count, libc::MSG_DONTWAIT)
            };
            match Errno::result(sent) {
                Ok(sent) => at += usize::try_from(sent).unwrap_or(0),
                Err(Errno::EINTR) => {}
                // The first frame of the rest is refused (no carrier, no room): drop that one.
                Err(_) => {
                    lost += 1;
                    at += 1;
                }
            }
        }
        lost
    }
}

impl std::os::fd::AsFd for PacketSocket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

#[expect(clippy::cast_possible_truncation, reason = "the size of a small struct")]
const ADDRESS_LEN: libc::socklen_t = size_of::<libc::sockaddr_ll>() as libc::socklen_t;

#[expect(clippy::cast_possible_wrap, reason = "interface indexes are positive C ints")]
#[expect(clippy::cast_possible_truncation, reason = "16-bit constants")]
fn link_address(ifindex: u32) -> libc::sockaddr_ll {
    // SAFETY: all-zero is a valid sockaddr_ll.
    let mut address: libc::sockaddr_ll = unsafe { zeroed() };
    address.sll_family = libc::AF_PACKET as u16;
    address.sll_protocol = (libc::ETH_P_ALL as u16).to_be();
    address.sll_ifindex = ifindex as i32;
    address
}

fn header(part: &mut libc::iovec, address: &mut libc::sockaddr_ll) -> libc::mmsghdr {
    // SAFETY: all-zero is a valid mmsghdr.
    let mut header: libc::mmsghdr = unsafe { zeroed() };
    header.msg_hdr.msg_iov = part;
    header.msg_hdr.msg_iovlen = 1;
    header.msg_hdr.msg_name = std::ptr::from_mut(address).cast();
    header.msg_hdr.msg_namelen = ADDRESS_LEN;
    header
}

/// The options of a multicast routing socket (linux/mroute.h); plain structs, no unsafe code.
pub(crate) mod mroute {
    use std::collections::BTreeSet;
    use std::io;
    use std::net::Ipv4Addr;
    use std::os::fd::BorrowedFd;

    use super::set_option;

    /// The interfaces that one router can have (MAXVIFS).
    pub(crate) const MAX_INTERFACES: usize = 32;
    /// The kernel's message about a packet without a route (IGMPMSG_NOCACHE).
    pub(crate) const NO_CACHE: u8 = 1;

    const MRT_INIT: libc::c_int = 200;
    const MRT_ADD_VIF: libc::c_int = 202;
    const MRT_ADD_MFC: libc::c_int = 204;
    const MRT_DEL_MFC: libc::c_int = 205;
    const MRT_FLUSH: libc::c_int = 212;
    const MRT_FLUSH_MFC: libc::c_int = 1;
    const VIFF_USE_IFINDEX: u8 = 8;

    #[repr(C)]
    #[derive(Clone, Copy)]
    struct Vifctl {
        vif: u16,
        flags: u8,
        threshold: u8,
        rate_limit: u32,
        ifindex: u32,
        remote: [u8; 4],
    }

    #[repr(C)]
    #[derive(Clone, Copy)]
    struct Mfcctl {
        origin: [u8; 4],
        group: [u8; 4],
        parent: u16,
        /// Per interface the TTL that a packet must exceed to leave by it; 0 is never.
        ttls: [u8; MAX_INTERFACES],
        packets: u32,
        octets: u32,
        wrong_interface: u32,
        expire: libc::c_int,
    }

    pub(crate) fn init(socket: BorrowedFd<'_>) -> io::Result<()> {
        let version: libc::c_int = 1;
        set_option(socket, libc::IPPROTO_IP, MRT_INIT, &version)
    }

    pub(crate) fn add_interface(socket: BorrowedFd<'_>, vif: u16, ifindex: u32) -> io::Result<()> {
        let flags = VIFF_USE_IFINDEX;
        let vif = Vifctl { vif, flags, threshold: 1, rate_limit: 0, ifindex, remote: [0; 4] };
        set_option(socket, libc::IPPROTO_IP, MRT_ADD_VIF, &vif)
    }

    pub(crate) fn add_route(
        socket: BorrowedFd<'_>,
        source: Ipv4Addr,
        group: Ipv4Addr,
        iif: u16,
        oifs: &BTreeSet<u16>,
    ) -> io::Result<()> {
        let mut route = mfcctl(source, group);
        route.parent = iif;
        for oif in oifs {
            route.ttls[usize::from(*oif)] = 1;
        }
        set_option(socket, libc::IPPROTO_IP, MRT_ADD_MFC, &route)
    }

    pub(crate) fn delete_route(
        socket: BorrowedFd<'_>,
        source: Ipv4Addr,
        group: Ipv4Addr,
    ) -> io::Result<()> {
        set_option(socket, libc::IPPROTO_IP, MRT_DEL_MFC, &mfcctl(source, group))
    }

    pub(crate) fn flush(socket: BorrowedFd<'_>) -> io::Result<()> {
        set_option(socket, libc::IPPROTO_IP, MRT_FLUSH, &MRT_FLUSH_MFC)
    }

    fn mfcctl(source: Ipv4Addr, group: Ipv4Addr) -> Mfcctl {
        Mfcctl {
            origin: source.octets(),
            group: group.octets(),
            parent: 0,
            ttls: [0; MAX_INTERFACES],
            packets: 0,
            octets: 0,
            wrong_interface: 0,
            expire: 0,
        }
    }
}

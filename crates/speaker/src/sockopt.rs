//! The socket options that no safe crate offers: TCP MD5, TCP-AO and minimum TTL.
#![expect(unsafe_code, reason = "setsockopt(2) with structures of the kernel's")]

use std::io;
use std::mem;
use std::net::IpAddr;
use std::os::fd::{AsRawFd, BorrowedFd};

use crate::config::{AoAlgorithm, Password, TcpAo};

/// The option IPV6_MINHOPCOUNT of linux/in6.h.
const IPV6_MINHOPCOUNT: libc::c_int = 73;
/// The option TCP_MD5SIG of linux/tcp.h.
const TCP_MD5SIG: libc::c_int = 14;

/// `struct tcp_md5sig` of linux/tcp.h.
#[repr(C)]
struct TcpMd5Sig {
    address: libc::sockaddr_storage,
    flags: u8,
    prefix_len: u8,
    key_len: u16,
    ifindex: libc::c_int,
    key: [u8; 80],
}

/// Requires segments to and from `peer` to be signed with `password` (RFC 2385).
///
/// # Errors
/// What the kernel says; `ENOPROTOOPT` if it was built without MD5.
pub(crate) fn set_md5(socket: BorrowedFd<'_>, peer: IpAddr, password: &Password) -> io::Result<()> {
    let key = password.octets();
    // SAFETY: all-zero octets are a valid value of this plain C structure.
    let mut option: TcpMd5Sig = unsafe { mem::zeroed() };
    option.address = storage(peer);
    option.key_len = u16::try_from(key.len()).expect("a password has at most 80 octets");
    option.key[..key.len()].copy_from_slice(key);
    set(socket, libc::IPPROTO_TCP, TCP_MD5SIG, &option)
}

/// Requires nothing of segments to and from `peer` any more.
///
/// # Errors
/// What the kernel says; `ENOENT` if nothing was required.
pub(crate) fn clear_md5(socket: BorrowedFd<'_>, peer: IpAddr) -> io::Result<()> {
    // SAFETY: all-zero octets are a valid value of this plain C structure; a key without octets
    // means that there is to be none.
    let mut option: TcpMd5Sig = unsafe { mem::zeroed() };
    option.address = storage(peer);
    set(socket, libc::IPPROTO_TCP, TCP_MD5SIG, &option)
}

fn storage(peer: IpAddr) -> libc::sockaddr_storage {
    let address = socket2::SockAddr::from(std::net::SocketAddr::new(peer, 0));
    // SAFETY: `SockAddr` holds a whole sockaddr_storage, initialised beyond its length to zero.
    unsafe { mem::transmute_copy(&address.as_storage()) }
}

/// The option TCP_AO_ADD_KEY of linux/tcp.h, since Linux 6.7.
const TCP_AO_ADD_KEY: libc::c_int = 38;

/// `struct tcp_ao_add` of linux/tcp.h. Its two flags and their reserved bits are `flags`.
#[repr(C, align(8))]
struct TcpAoAdd {
    address: libc::sockaddr_storage,
    algorithm: [u8; 64],
    ifindex: i32,
    flags: u32,
    reserved: u16,
    prefix: u8,
    send_id: u8,
    recv_id: u8,
    /// Zero: the 12 octets of RFC 5926.
    code_len: u8,
    key_flags: u8,
    key_len: u8,
    key: [u8; 80],
}

/// Requires segments to and from `peer` to carry codes made with `ao` (RFC 5925). A connection
/// that is accepted takes the key from the listening socket.
///
/// # Errors
/// What the kernel says; `ENOPROTOOPT` if it was built without TCP-AO.
pub(crate) fn set_ao(socket: BorrowedFd<'_>, peer: IpAddr, ao: &TcpAo) -> io::Result<()> {
    let key = ao.key.octets();
    // SAFETY: all-zero octets are a valid value of this plain C structure.
    let mut option: TcpAoAdd = unsafe { mem::zeroed() };
    option.address = storage(peer);
    // As the kernel's own crypto calls them.
    let algorithm: &[u8] = match ao.algorithm {
        AoAlgorithm::HmacSha1 => b"hmac(sha1)",
        AoAlgorithm::AesCmac => b"cmac(aes128)",
        AoAlgorithm::HmacSha256 => b"hmac(sha256)",
    };
    option.algorithm[..algorithm.len()].copy_from_slice(algorithm);
    option.prefix = if peer.is_ipv4() { 32 } else { 128 };
    (option.send_id, option.recv_id) = (ao.send_id, ao.recv_id);
    option.key_len = u8::try_from(key.len()).expect("a password has at most 80 octets");
    option.key[..key.len()].copy_from_slice(key);
    set(socket, libc::IPPROTO_TCP, TCP_AO_ADD_KEY, &option)
}

/// The option TCP_AO_DEL_KEY of linux/tcp.h.
const TCP_AO_DEL_KEY: libc::c_int = 39;

/// `struct tcp_ao_del` of linux/tcp.h. Its three flags and their reserved bits are `flags`.
#[repr(C, align(8))]
struct TcpAoDel {
    address: libc::sockaddr_storage,
    ifindex: i32,
    flags: u32,
    reserved: u16,
    prefix: u8,
    send_id: u8,
    recv_id: u8,
    current_key: u8,
    next_key: u8,
    key_flags: u8,
}

/// Takes a key of [`set_ao`] away from a listening socket.
///
/// # Errors
/// What the kernel says; `ENOENT` if it has no such key.
pub(crate) fn clear_ao(socket: BorrowedFd<'_>, peer: IpAddr, ao: &TcpAo) -> io::Result<()> {
    let option = TcpAoDel {
        address: storage(peer),
        ifindex: 0,
        flags: 0,
        reserved: 0,
        prefix: if peer.is_ipv4() { 32 } else { 128 },
        send_id: ao.send_id,
        recv_id: ao.recv_id,
        current_key: 0,
        next_key: 0,
        key_flags: 0,
    };
    set(socket, libc::IPPROTO_TCP, TCP_AO_DEL_KEY, &option)
}

/// Drops packets that arrive with a TTL or hop limit below `min` (RFC 5082).
///
/// # Errors
/// What the kernel says.
pub(crate) fn set_min_ttl(socket: BorrowedFd<'_>, peer: IpAddr, min: u8) -> io::Result<()> {
    let min = libc::c_int::from(min);
    match peer {
        IpAddr::V4(_) => set(socket, libc::IPPROTO_IP, libc::IP_MINTTL, &min),
        IpAddr::V6(_) => set(socket, libc::IPPROTO_IPV6, IPV6_MINHOPCOUNT, &min),
    }
}

fn set<T>(
    socket: BorrowedFd<'_>,
    level: libc::c_int,
    name: libc::c_int,
    value: &T,
) -> io::Result<()> {
    let len = libc::socklen_t::try_from(mem::size_of::<T>()).expect("options are small");
    // SAFETY: `value` points to `len` readable octets for the length of the call, and the
    // descriptor is borrowed, so open.
    let result = unsafe {
        libc::setsockopt(socket.as_raw_fd(), level, name, std::ptr::from_ref(value).cast(), len)
    };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As linux/tcp.h has them.
    #[test]
    fn structures_are_laid_out_as_the_kernels() {
        assert_eq!((mem::size_of::<TcpMd5Sig>(), mem::offset_of!(TcpMd5Sig, key)), (216, 136));
        assert_eq!((mem::size_of::<TcpAoAdd>(), mem::align_of::<TcpAoAdd>()), (288, 8));
        assert_eq!((mem::size_of::<TcpAoDel>(), mem::offset_of!(TcpAoDel, send_id)), (144, 139));
        let offsets = [
            mem::offset_of!(TcpAoAdd, algorithm),
            mem::offset_of!(TcpAoAdd, ifindex),
            mem::offset_of!(TcpAoAdd, flags),
            mem::offset_of!(TcpAoAdd, reserved),
            mem::offset_of!(TcpAoAdd, prefix),
            mem::offset_of!(TcpAoAdd, key_len),
            mem::offset_of!(TcpAoAdd, key),
        ];
        assert_eq!(offsets, [128, 192, 196, 200, 202, 207, 208]);
    }
}

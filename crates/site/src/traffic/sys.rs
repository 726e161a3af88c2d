//! What no safe crate offers of packet sockets.
#![expect(unsafe_code, reason = "getsockopt(2) with a structure of the kernel's")]

use std::io;
use std::mem::{size_of, zeroed};
use std::os::fd::{AsRawFd, BorrowedFd};

/// Packets that passed the socket's filter since this was asked last, those that it had no room
/// for too (packet(7), PACKET_STATISTICS).
///
/// # Errors
/// What the kernel says: it is no packet socket.
pub(super) fn packets(socket: BorrowedFd<'_>) -> io::Result<u32> {
    // SAFETY: all-zero octets are a valid value of this plain C structure.
    let mut statistics: libc::tpacket_stats = unsafe { zeroed() };
    let mut len = libc::socklen_t::try_from(size_of::<libc::tpacket_stats>())
        .expect("a structure of two words");
    // SAFETY: `statistics` and `len` live for the call, and `len` is the size of the first.
    let result = unsafe {
        libc::getsockopt(
            socket.as_raw_fd(),
            libc::SOL_PACKET,
            libc::PACKET_STATISTICS,
            (&raw mut statistics).cast(),
            &raw mut len,
        )
    };
    if result == 0 { Ok(statistics.tp_packets) } else { Err(io::Error::last_os_error()) }
}

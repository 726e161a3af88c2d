//! Descriptors that came over `execve(2)`.
#![expect(unsafe_code, reason = "whose a descriptor is stands in another program's words")]

use std::io;
use std::os::fd::{BorrowedFd, FromRawFd, OwnedFd, RawFd};

/// Takes a descriptor that the program before has left open.
///
/// # Errors
/// There is no such descriptor, or it is one of the three standard ones.
pub(super) fn inherited(descriptor: RawFd) -> io::Result<OwnedFd> {
    if descriptor <= 2 {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    // SAFETY: the borrow ends in this statement, in which nothing closes a descriptor; that there
    // is none of this number is an error of the call, which changes nothing.
    let there = nix::fcntl::fcntl(
        unsafe { BorrowedFd::borrow_raw(descriptor) },
        nix::fcntl::FcntlArg::F_GETFD,
    )?;
    if nix::fcntl::FdFlag::from_bits_truncate(there).contains(nix::fcntl::FdFlag::FD_CLOEXEC) {
        // This program has opened it by itself: nobody has left it to us.
        return Err(io::ErrorKind::InvalidInput.into());
    }
    // SAFETY: it is open, and without FD_CLOEXEC, which everything that this program opens has: so
    // it was left to it, and by its number alone, so that nobody else here owns it.
    Ok(unsafe { OwnedFd::from_raw_fd(descriptor) })
}

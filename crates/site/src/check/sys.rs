//! Descriptors of the kernel as the runtime's.
#![expect(unsafe_code, reason = "the runtime cannot know that a descriptor stays open")]

use std::io;
use std::os::fd::OwnedFd;

use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

/// Tells when there is something to read.
pub(crate) fn readable(fd: OwnedFd) -> io::Result<AsyncFd<OwnedFd>> {
    // SAFETY: the AsyncFd owns the descriptor, gives out no more than a reference to it, and takes
    // it out of the runtime before it closes it.
    Ok(unsafe { AsyncFd::register_with_interest(fd, Interest::READABLE) }?)
}

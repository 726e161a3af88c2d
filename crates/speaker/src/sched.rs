//! What no safe crate offers of the scheduler.
#![expect(unsafe_code, reason = "sched_setscheduler(2)")]

use std::io;

/// Runs this thread before all that are not real-time ones (SCHED_RR): for one that sleeps most
/// of the time and must wake when it is due, whatever else the machine does.
///
/// # Errors
/// What the kernel says; `EPERM` without CAP_SYS_NICE.
pub(crate) fn prefer_this_thread() -> io::Result<()> {
    let parameters = libc::sched_param { sched_priority: 1 };
    let policy = libc::SCHED_RR | libc::SCHED_RESET_ON_FORK;
    // SAFETY: `parameters` lives for the call, and 0 is the calling thread.
    let result = unsafe { libc::sched_setscheduler(0, policy, &raw const parameters) };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

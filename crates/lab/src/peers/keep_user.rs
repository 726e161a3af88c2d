//! Programs that insist on changing to a user of their own, kept from it.
//!
//! FRR's zebra and OpenBGPD drop root for a user of theirs, and OpenBGPD shuts itself into an
//! empty directory. In a user namespace made without privileges there is one user only, so the
//! calls would fail and the program give up. A seccomp filter (seccomp(2)) answers them with
//! success and does nothing: the program stays who it is, which in the namespace is nobody more
//! than the user who started the lab.
#![expect(unsafe_code, reason = "seccomp has no safe wrapper")]

use std::io;
use std::mem::offset_of;
use std::process;

use libc::{c_long, sock_filter};

use crate::sys::before_exec;

/// What is answered and not done.
const NOT_DONE: [c_long; 8] = [
    libc::SYS_setgroups,
    libc::SYS_setuid,
    libc::SYS_setgid,
    libc::SYS_setreuid,
    libc::SYS_setregid,
    libc::SYS_setresuid,
    libc::SYS_setresgid,
    libc::SYS_chroot,
];

/// Puts the filter before the program of `command`, and so before all that it starts.
pub(super) fn keep_user(command: &mut process::Command) {
    let filter = filter();
    before_exec(command, move || install(&filter));
}

/// Load the call's number; jump to the end if it is one of those; else allow it.
fn filter() -> Vec<sock_filter> {
    let statement = |code: u32, k: u32| jump(code, k, 0);
    let number = u32::try_from(offset_of!(libc::seccomp_data, nr)).expect("a small struct");
    let mut filter = vec![statement(libc::BPF_LD | libc::BPF_W | libc::BPF_ABS, number)];
    for (left, call) in (1..=8).rev().zip(NOT_DONE) {
        let call = u32::try_from(call).expect("numbers of calls are small");
        filter.push(jump(libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K, call, left));
    }
    filter.push(statement(libc::BPF_RET | libc::BPF_K, libc::SECCOMP_RET_ALLOW));
    // An error of number zero is success.
    filter.push(statement(libc::BPF_RET | libc::BPF_K, libc::SECCOMP_RET_ERRNO));
    filter
}

fn jump(code: u32, k: u32, if_true: u8) -> sock_filter {
    let code = u16::try_from(code).expect("codes have 16 bits");
    sock_filter { code, jt: if_true, jf: 0, k }
}

fn install(filter: &[sock_filter]) -> io::Result<()> {
    let program = libc::sock_fprog {
        len: u16::try_from(filter.len()).map_err(io::Error::other)?,
        filter: filter.as_ptr().cast_mut(),
    };
    // SAFETY: the first call takes integers only; the second reads `program` and the filter that
    // it points to, which live until it returns, and writes to neither. Both are bare system
    // calls, as a child between fork and exec must keep to.
    let done = unsafe {
        libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0
            && libc::prctl(libc::PR_SET_SECCOMP, libc::SECCOMP_MODE_FILTER, &raw const program) == 0
    };
    if done { Ok(()) } else { Err(io::Error::last_os_error()) }
}

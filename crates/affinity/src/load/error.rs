//! What can hinder the programs, in words.

use std::io;
use std::path::PathBuf;

use aya::EbpfError;
use aya::programs::ProgramError;
use thiserror::Error;

use crate::config::{ConfigError, Mode};

/// Why the programs do not run. A site goes on without them: connections then break when routes
/// change, as they do elsewhere.
#[derive(Debug, Error)]
pub enum LoadError {
    /// The program was built without them.
    #[error(
        "this build has no packet programs: {why}. Build it where clang and libbpf-dev are installed"
    )]
    NotBuilt {
        /// What the build said.
        why: String,
    },
    /// The configuration does not hold together.
    #[error("the configuration of affinity does not hold together: {0}")]
    Config(#[from] ConfigError),
    /// The kernel lacks pinned links at tc.
    #[error("the kernel is Linux {found}, and affinity needs 6.6 or later")]
    Kernel {
        /// Its release.
        found: String,
    },
    /// Not root, or in a user namespace.
    #[error(
        "the kernel does not allow it ({doing}): packet programs need CAP_BPF, CAP_NET_ADMIN and CAP_PERFMON in the first user namespace. Run as root, or give the unit these"
    )]
    Privilege {
        /// What was being done.
        doing: String,
    },
    /// The directory for pins is not on a BPF file system.
    #[error("{} is not on a BPF file system, which keeps the programs over a restart. Mount one: mount -t bpf bpf /sys/fs/bpf", path.display())]
    NoBpffs {
        /// The directory.
        path: PathBuf,
    },
    /// The verifier refused a program.
    #[error("the kernel's verifier refuses the program {program}: {log}")]
    Verifier {
        /// Which.
        program: String,
        /// The end of its log.
        log: String,
    },
    /// No interface of that name, or it takes no program.
    #[error("{interface}: the programs cannot be attached ({mode}): {why}")]
    Attach {
        /// The interface.
        interface: String,
        /// How it was tried.
        mode: Mode,
        /// What the kernel said.
        why: String,
    },
    /// Two of the interfaces would both see the same packets.
    #[error(
        "{lower} lies below {upper}, and packets would be looked at twice: name one of them in `interfaces`, or take tc at {lower} if {upper} is a VLAN"
    )]
    Stacked {
        /// The one below.
        lower: String,
        /// The one above it.
        upper: String,
    },
    /// Anything else that the kernel refused.
    #[error("{doing}: {why}")]
    Refused {
        /// What was being done.
        doing: String,
        /// What the kernel said.
        why: String,
    },
}

/// An error with its causes, in one line.
pub(super) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let next = error.to_string();
        if !text.contains(&next) {
            text = format!("{text}: {next}");
        }
        cause = error.source();
    }
    text
}

fn is_privilege(error: &(dyn std::error::Error + 'static)) -> bool {
    let mut cause = Some(error);
    while let Some(error) = cause {
        if let Some(error) = error.downcast_ref::<io::Error>()
            && error.raw_os_error() == Some(nix::libc::EPERM)
        {
            return true;
        }
        cause = error.source();
    }
    false
}

pub(super) fn trouble(doing: &str, error: &(dyn std::error::Error + 'static)) -> LoadError {
    if is_privilege(error) {
        return LoadError::Privilege { doing: doing.to_owned() };
    }
    LoadError::Refused { doing: doing.to_owned(), why: chain(error) }
}

pub(super) fn of_io(doing: &str, error: &io::Error) -> LoadError {
    if matches!(error.kind(), io::ErrorKind::PermissionDenied) {
        return LoadError::Privilege { doing: doing.to_owned() };
    }
    LoadError::Refused { doing: doing.to_owned(), why: error.to_string() }
}

pub(super) fn of_ebpf(doing: &str, error: &EbpfError) -> LoadError {
    trouble(doing, error)
}

pub(super) fn of_program(name: &str, error: &ProgramError) -> LoadError {
    match error {
        ProgramError::LoadError { verifier_log, .. } if !is_privilege(error) => {
            LoadError::Verifier {
                program: name.to_owned(),
                log: tail(&verifier_log.to_string(), 20),
            }
        }
        other => trouble(&format!("loading {name}"), other),
    }
}

/// The last lines of a log.
fn tail(log: &str, lines: usize) -> String {
    let all: Vec<&str> = log.lines().collect();
    all[all.len().saturating_sub(lines)..].join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_log_is_cut_to_its_end() {
        assert_eq!(tail("a\nb\nc", 2), "b\nc");
        assert_eq!(tail("a", 5), "a");
    }
}

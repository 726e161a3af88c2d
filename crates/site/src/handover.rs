//! The daemon replaced by another program in the same process: `anycast upgrade`.
//!
//! What is handed over is written to a file in memory, which stays open over `execve(2)` as the
//! sockets of sessions and the lifelines of built-in services do; the number of its descriptor is
//! an argument of the new program. Addresses, kernel routes, drains and events outlive the daemon
//! anyway. Decision 0021 says why it is done so.

mod sys;

use std::collections::BTreeMap;
use std::ffi::{CString, OsString};
use std::fs::File;
use std::io::{self, Read, Seek, Write};
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::Path;

use crate::builtin::Adopted;
use crate::daemon::HandedWait;
use anycast_speaker::HandedOver;
use nix::fcntl::{FcntlArg, FdFlag, fcntl};
use serde::{Deserialize, Serialize};

/// What the shape of [`TakenOver`] is called. A program with another one cannot go on with it.
pub const VERSION: u32 = 1;
/// The option that names the descriptor.
pub const OPTION: &str = "--take-over";

/// What one program leaves to the next.
#[derive(Debug, Default, Deserialize, Serialize)]
pub struct TakenOver {
    pub(crate) version: u32,
    /// Which version of the program this comes from.
    pub(crate) program: String,
    /// Who ordered it, if it is known.
    pub(crate) by: Option<String>,
    pub(crate) speaker: HandedOver,
    /// Descriptors of the speaker's sessions, in their order.
    pub(crate) sockets: Vec<RawFd>,
    pub(crate) services: Vec<HandedService>,
    /// Whether the site is drained.
    pub(crate) drained: bool,
    /// How long connections of what is drained were waited for. An earlier program does not tell.
    #[serde(default)]
    pub(crate) waits: Vec<HandedWait>,
    /// Prepends that an operator has added, by neighbor.
    pub(crate) prepends: BTreeMap<String, u8>,
}

/// What is known of a service.
#[derive(Debug, Deserialize, Serialize)]
pub(crate) struct HandedService {
    pub(crate) name: String,
    pub(crate) is_up: bool,
    /// Its process, if it is a built-in one and runs.
    pub(crate) pid: Option<i32>,
    /// The descriptor whose closing ends the process.
    lifeline_number: Option<RawFd>,
    #[serde(skip)]
    pub(crate) lifeline: Option<OwnedFd>,
}

impl HandedService {
    pub(crate) fn new(name: String, is_up: bool, process: Option<(i32, OwnedFd)>) -> Self {
        let (pid, lifeline) = process.unzip();
        Self { name, is_up, pid, lifeline_number: None, lifeline }
    }
}

impl TakenOver {
    /// Reads what the program before has left at this descriptor.
    ///
    /// # Errors
    /// There is nothing of the kind.
    pub fn read(descriptor: RawFd) -> io::Result<Self> {
        let mut file = File::from(sys::inherited(descriptor)?);
        let mut text = String::new();
        file.rewind()?;
        file.read_to_string(&mut text)?;
        let mut taken: Self = serde_json::from_str(&text)?;
        if taken.version != VERSION {
            let words = format!("it has version {}, not {VERSION}", taken.version);
            return Err(io::Error::new(io::ErrorKind::InvalidData, words));
        }
        for (session, socket) in taken.speaker.sessions.iter_mut().zip(&taken.sockets) {
            session.socket = Some(inherit(*socket)?);
        }
        for service in &mut taken.services {
            service.lifeline = service.lifeline_number.map(inherit).transpose()?;
        }
        Ok(taken)
    }

    /// The process of a built-in service, if it was left.
    pub(crate) fn process_of(&mut self, service: &str) -> Option<Adopted> {
        let service = self.services.iter_mut().find(|it| it.name == service)?;
        Some(Adopted { pid: service.pid?, lifeline: service.lifeline.take()? })
    }

    /// Executes `program` in this process with all of this. It returns only if that fails.
    pub(crate) fn execute(mut self, program: &Path) -> io::Error {
        match self.try_execute(program) {
            Ok(never) => match never {},
            Err(error) => error,
        }
    }

    fn try_execute(&mut self, program: &Path) -> io::Result<std::convert::Infallible> {
        self.version = VERSION;
        env!("CARGO_PKG_VERSION").clone_into(&mut self.program);
        self.sockets.clear();
        for session in &self.speaker.sessions {
            let socket = session.socket.as_ref().ok_or(io::ErrorKind::NotConnected)?;
            self.sockets.push(keep_open(socket)?);
        }
        for service in &mut self.services {
            service.lifeline_number = service.lifeline.as_ref().map(keep_open).transpose()?;
        }
        let flags = nix::sys::memfd::MFdFlags::MFD_CLOEXEC;
        let mut file = File::from(nix::sys::memfd::memfd_create("anycast", flags)?);
        file.write_all(serde_json::to_string(self)?.as_bytes())?;
        let descriptor = keep_open(&file)?;
        let arguments = arguments(std::env::args_os(), descriptor);
        let arguments: Vec<CString> = arguments
            .into_iter()
            .map(|it| CString::new(it.into_vec()))
            .collect::<Result<_, _>>()?;
        let program = CString::new(program.as_os_str().as_bytes())?;
        Ok(nix::unistd::execv(&program, &arguments)?)
    }
}

/// A descriptor that the program before has left, which no child of this one is to have.
fn inherit(descriptor: RawFd) -> io::Result<OwnedFd> {
    let descriptor = sys::inherited(descriptor)?;
    fcntl(&descriptor, FcntlArg::F_SETFD(FdFlag::FD_CLOEXEC))?;
    Ok(descriptor)
}

/// Lets a descriptor outlive this program.
fn keep_open(descriptor: &(impl AsRawFd + std::os::fd::AsFd)) -> io::Result<RawFd> {
    fcntl(descriptor, FcntlArg::F_SETFD(FdFlag::empty()))?;
    Ok(descriptor.as_raw_fd())
}

/// The arguments of this program with the descriptor in place of one that it was given itself.
fn arguments(ours: impl Iterator<Item = OsString>, descriptor: RawFd) -> Vec<OsString> {
    let mut arguments = Vec::new();
    let mut ours = ours;
    while let Some(argument) = ours.next() {
        if argument == OPTION {
            ours.next();
        } else {
            arguments.push(argument);
        }
    }
    arguments.push(OPTION.into());
    arguments.push(descriptor.to_string().into());
    arguments
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_next_program_has_the_same_arguments_and_its_own_descriptor() {
        let words = |text: &str| text.split(' ').map(OsString::from).collect::<Vec<_>>();
        for (ours, next) in [
            ("anycast run fleet.toml", "anycast run fleet.toml --take-over 9"),
            ("anycast run f --take-over 7 --site fra", "anycast run f --site fra --take-over 9"),
        ] {
            assert_eq!(arguments(words(ours).into_iter(), 9), words(next), "{ours}");
        }
    }

    #[test]
    fn a_descriptor_that_is_none_is_refused() {
        for descriptor in [-1, 0, 2, 9999] {
            assert!(TakenOver::read(descriptor).is_err(), "{descriptor}");
        }
    }
}

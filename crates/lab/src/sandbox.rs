//! The walls around a lab: namespaces of its own, entered without any privilege.
//!
//! Three processes stand behind one another, so that a lab cannot outlive its command however
//! that ends:
//!
//! ```text
//! outer   what the shell started; waits, passes signals on, returns the exit code
//!   init  PID 1 of the lab's PID namespace; reaps orphans; killed by the kernel with the outer
//!     lab PID 2; gets the Sandbox; ends with init, as do all processes in the namespace
//! ```
//!
//! Init dies with the outer process by PR_SET_PDEATHSIG, and when PID 1 of a PID namespace dies
//! the kernel kills the rest (pid_namespaces(7)). Network namespaces, mounts and the control
//! socket are held by those processes alone, so nothing is left to clean up.
//!
//! The control socket is abstract (unix(7)): it lies in the network namespace of the caller, needs
//! no file, and vanishes with the lab.

use std::fs::{self, File};
use std::io::{self, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::fs::MetadataExt;
use std::os::unix::net::{SocketAddr, UnixListener, UnixStream};
use std::path::Path;
use std::process::{Command, ExitStatus};

use nix::errno::Errno;
use nix::mount::{MsFlags, mount};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sched::{CloneFlags, setns, unshare};
use nix::sys::prctl;
use nix::sys::signal::{SigSet, SigmaskHow, Signal, kill, sigprocmask};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use nix::sys::socket::{getsockopt, sockopt};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::{ForkResult, Gid, Pid, Uid};

use crate::sys;

/// Where each network namespace of the lab is mounted, by its name; `ip netns` looks there too.
pub const NETNS_DIR: &str = "/run/netns";
/// Where the lab's processes keep their sockets and files; a small file system in memory.
pub const RUN_DIR: &str = "/run/anycast";
/// Where the packet programs of the lab's sites are pinned: a BPF file system of the lab's own, if
/// the kernel gives it one.
pub const BPF_DIR: &str = "/run/anycast/bpf";
/// Where the lab's sites keep what outlives their daemons, but not the lab.
pub const STATE_DIR: &str = "/run/anycast/state";

/// Why a lab's walls could not be raised, or not be entered.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SandboxError {
    /// Another lab of this user has this name.
    #[error(
        "a lab with this name is already running (its socket is @{0}); stop it, or give this one a \
         name of its own (--name)"
    )]
    AlreadyRunning(String),
    /// No lab of this user has this name.
    #[error("no lab is running (nothing listens on @{0}); start one with `anycast lab`")]
    NotRunning(String),
    /// Someone else listens on the lab's socket.
    #[error("the process behind @{socket} belongs to uid {uid}, not to you: it is not your lab")]
    NotYours {
        /// The abstract socket's name.
        socket: String,
        /// Whose process listens there.
        uid: u32,
    },
    /// The kernel refuses namespaces to ordinary users.
    #[error("this machine gives ordinary users no namespaces: {0}")]
    Refused(Refusal),
    /// No node has this name.
    #[error("the lab has no node named {0:?}")]
    NoSuchNode(String),
    /// The command to run in a node did not start.
    #[error("cannot run {program:?} in the lab: {source}")]
    Command {
        /// What was to be run.
        program: String,
        /// Why it was not.
        source: io::Error,
    },
    /// Any other system call that failed.
    #[error("cannot {doing}: {source}")]
    System {
        /// What was being done, in words.
        doing: &'static str,
        /// What the kernel said.
        source: io::Error,
    },
}

/// What stands between an ordinary user and a user namespace, and what to do about it.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum Refusal {
    /// Debian's switch.
    #[error(
        "kernel.unprivileged_userns_clone is 0; run the lab as root, or \
         `sudo sysctl kernel.unprivileged_userns_clone=1`"
    )]
    UsernsClone,
    /// The limit on user namespaces is zero, or used up.
    #[error(
        "user.max_user_namespaces is {0}, which is too few; run the lab as root, or \
         `sudo sysctl user.max_user_namespaces=10000`"
    )]
    MaxUserNamespaces(u64),
    /// Ubuntu's AppArmor restriction: the namespace is given, but no power in it.
    #[error(
        "AppArmor restricts them (kernel.apparmor_restrict_unprivileged_userns is 1); run the lab \
         as root, or `sudo sysctl kernel.apparmor_restrict_unprivileged_userns=0`"
    )]
    AppArmor,
    /// The kernel was built without user namespaces.
    #[error("the kernel has no user namespaces; run the lab as root")]
    Missing,
    /// None of the known switches: most often a container's seccomp filter.
    #[error(
        "the kernel denies it, as in a container with a seccomp filter; run the lab as root \
         outside the container, or give the container CAP_SYS_ADMIN (docker run --privileged)"
    )]
    Denied,
}

/// Where `Sandbox::enter` returns.
#[derive(Debug)]
pub enum Entered {
    /// In the lab: go on and build it.
    Inside(Sandbox),
    /// In the process that the shell started, when the lab is over: exit with this code.
    Ended(u8),
}

/// The lab's process inside its walls.
#[derive(Debug)]
pub struct Sandbox {
    /// The control socket, listening; see [`peer_may_control`].
    pub listener: UnixListener,
    /// Whether a user namespace of ours was needed (the caller is not root).
    pub rootless: bool,
}

impl Sandbox {
    /// Splits the calling process in three and raises the walls.
    ///
    /// To be called before the process has a second thread. The lab's process returns
    /// [`Entered::Inside`] as PID 2 with uid 0, a network namespace of its own without any
    /// interface up, and empty [`NETNS_DIR`] and [`RUN_DIR`]. The calling process returns
    /// [`Entered::Ended`] when that one has ended.
    ///
    /// # Errors
    /// In the calling process only, before anything was split off.
    pub fn enter(name: Option<&str>) -> Result<Entered, SandboxError> {
        let listener = listen(name)?;
        let rootless = unshare_all()?;
        raise_walls()?;

        // From here on signals are read, not acted upon, until the lab's process undoes this.
        let signals = Signals::take().map_err(system("read signals"))?;
        let outer = sys::pidfd(Pid::this()).map_err(system("watch the own process"))?;
        io::stdout().flush().ok();
        match sys::fork().map_err(system("start the lab's process"))? {
            ForkResult::Parent { child } => {
                drop(listener);
                let code = signals.attend(child, || reaped(child, Some(child)));
                signals.give_back().map_err(system("restore signals"))?;
                Ok(Entered::Ended(code.map_err(system("wait for the lab"))?))
            }
            ForkResult::Child => match init(&outer, &signals) {
                Ok(()) => {
                    signals.give_back().map_err(system("restore signals"))?;
                    Ok(Entered::Inside(Sandbox { listener, rootless }))
                }
                Err(error) => {
                    eprintln!("error: cannot start the lab's first process: {error}");
                    std::process::exit(EXIT_SOFTWARE);
                }
            },
        }
    }
}

/// sysexits.h EX_SOFTWARE.
const EXIT_SOFTWARE: i32 = 70;

/// PID 1 of the lab: returns in its only child and never in itself.
fn init(outer: &OwnedFd, signals: &Signals) -> io::Result<()> {
    die_with(outer)?;
    prctl::set_name(c"anycast-init")?;
    // In a container whose /proc is masked this is denied; the old one then serves as well, but
    // for numbers of processes.
    if let Err(error) = mount_proc() {
        tracing::warn!(%error, "the lab sees the machine's /proc");
    }
    match sys::fork()? {
        ForkResult::Child => {
            prctl::set_name(c"anycast-lab")?;
            Ok(())
        }
        ForkResult::Parent { child } => {
            let code = signals.attend(child, || reaped(child, None));
            std::process::exit(code.map_or(EXIT_SOFTWARE, i32::from));
        }
    }
}

/// Asks the kernel to kill this process when its parent dies, and dies if that has happened.
///
/// The parent is outside the PID namespace, where getppid(2) says 0 whether it lives or not.
fn die_with(parent: &OwnedFd) -> io::Result<()> {
    prctl::set_pdeathsig(Signal::SIGKILL)?;
    let mut watch = [PollFd::new(parent.as_fd(), PollFlags::POLLIN)];
    if poll(&mut watch, PollTimeout::ZERO)? > 0 {
        return Err(io::Error::other("the calling process is gone"));
    }
    Ok(())
}

/// Moves the process into namespaces of its own; whether a user namespace was among them.
fn unshare_all() -> Result<bool, SandboxError> {
    let spaces = CloneFlags::CLONE_NEWNS | CloneFlags::CLONE_NEWPID | CloneFlags::CLONE_NEWNET;
    let (uid, gid) = (Uid::effective(), Gid::effective());
    if uid.is_root() {
        match unshare(spaces) {
            Ok(()) => return Ok(false),
            // Root in a container, without the power to do so; it may still have a user namespace.
            Err(Errno::EPERM) => {}
            Err(errno) => return Err(system("make namespaces")(errno.into())),
        }
    }
    let refused = |errno| SandboxError::Refused(Refusal::find(errno));
    unshare(CloneFlags::CLONE_NEWUSER).map_err(refused)?;
    for (file, text) in [
        // Without this an ordinary user may not map a group (user_namespaces(7)).
        ("/proc/self/setgroups", "deny".to_owned()),
        ("/proc/self/uid_map", format!("0 {uid} 1")),
        ("/proc/self/gid_map", format!("0 {gid} 1")),
    ] {
        fs::write(file, text).map_err(|error| match Errno::try_from(error) {
            Ok(Errno::EPERM | Errno::EACCES) => refused(Errno::EPERM),
            Ok(errno) => system("map the user to root of the lab")(errno.into()),
            Err(error) => system("map the user to root of the lab")(error),
        })?;
    }
    unshare(spaces).map_err(refused)?;
    Ok(true)
}

impl Refusal {
    /// Looks for the switch that made the kernel say `errno`.
    fn find(errno: Errno) -> Self {
        let sysctl = |path: &str| fs::read_to_string(path).ok()?.trim().parse().ok();
        Self::judge(
            errno,
            sysctl("/proc/sys/kernel/unprivileged_userns_clone"),
            sysctl("/proc/sys/user/max_user_namespaces"),
            sysctl("/proc/sys/kernel/apparmor_restrict_unprivileged_userns"),
        )
    }

    fn judge(errno: Errno, clone: Option<u64>, max: Option<u64>, apparmor: Option<u64>) -> Self {
        match (errno, clone, max, apparmor) {
            (Errno::ENOSPC | Errno::EUSERS, _, max, _) => Self::MaxUserNamespaces(max.unwrap_or(0)),
            (_, _, Some(0), _) => Self::MaxUserNamespaces(0),
            (_, Some(0), _, _) => Self::UsernsClone,
            (_, _, _, Some(1)) => Self::AppArmor,
            (Errno::EINVAL | Errno::ENOSYS, ..) => Self::Missing,
            _ => Self::Denied,
        }
    }
}

/// Makes the mounts private and gives the lab a /run of its own.
fn raise_walls() -> Result<(), SandboxError> {
    let nothing = None::<&str>;
    mount(nothing, "/", nothing, MsFlags::MS_REC | MsFlags::MS_PRIVATE, nothing)
        .map_err(|errno| system("make the mounts private")(errno.into()))?;
    let flags = MsFlags::MS_NOSUID | MsFlags::MS_NODEV;
    mount(Some("lab"), "/run", Some("tmpfs"), flags, Some("mode=0755,size=64m"))
        .map_err(|errno| system("mount a /run for the lab")(errno.into()))?;
    for dir in [NETNS_DIR, RUN_DIR] {
        fs::create_dir(dir).map_err(system("make the lab's directories"))?;
    }
    Ok(())
}

fn mount_proc() -> nix::Result<()> {
    let flags = MsFlags::MS_NOSUID | MsFlags::MS_NODEV | MsFlags::MS_NOEXEC;
    mount(Some("proc"), "/proc", Some("proc"), flags, None::<&str>)
}

/// The signals that a waiting process reads instead of suffering them.
struct Signals {
    before: SigSet,
    queue: SignalFd,
}

impl Signals {
    fn take() -> io::Result<Self> {
        let mask = SigSet::from_iter([
            Signal::SIGCHLD,
            Signal::SIGHUP,
            Signal::SIGINT,
            Signal::SIGQUIT,
            Signal::SIGTERM,
        ]);
        let mut before = SigSet::empty();
        sigprocmask(SigmaskHow::SIG_BLOCK, Some(&mask), Some(&mut before))?;
        Ok(Self { before, queue: SignalFd::with_flags(&mask, SfdFlags::SFD_CLOEXEC)? })
    }

    fn give_back(&self) -> io::Result<()> {
        Ok(sigprocmask(SigmaskHow::SIG_SETMASK, Some(&self.before), None)?)
    }

    /// Waits until `ended` says so, and passes on to `child` each signal that it has not got.
    ///
    /// Ctrl-C comes from the terminal to all processes of the foreground, so to the child too;
    /// what a process sent came to us alone.
    fn attend<T>(
        &self,
        child: Pid,
        mut ended: impl FnMut() -> io::Result<Option<T>>,
    ) -> io::Result<T> {
        loop {
            if let Some(result) = ended()? {
                return Ok(result);
            }
            let Some(info) = self.queue.read_signal()? else { continue };
            let signal = i32::try_from(info.ssi_signo).ok().and_then(|n| Signal::try_from(n).ok());
            let from_a_process = info.ssi_code <= 0;
            match signal {
                Some(Signal::SIGCHLD) | None => {}
                Some(_) if !from_a_process => {}
                Some(signal) => match kill(child, signal) {
                    Ok(()) | Err(Errno::ESRCH) => {}
                    Err(errno) => return Err(errno.into()),
                },
            }
        }
    }
}

/// Reaps `which` (any child if none); the exit code of `main` once it has ended, as a shell would
/// give it.
fn reaped(main: Pid, which: Option<Pid>) -> io::Result<Option<u8>> {
    loop {
        let (pid, code) = match waitpid(which, Some(WaitPidFlag::WNOHANG)) {
            Ok(WaitStatus::Exited(pid, code)) => (pid, code),
            Ok(WaitStatus::Signaled(pid, signal, _)) => (pid, 128 + signal as i32),
            Ok(WaitStatus::StillAlive) => return Ok(None),
            Ok(_) | Err(Errno::EINTR) => continue,
            Err(errno) => return Err(errno.into()),
        };
        if pid == main {
            return Ok(Some(u8::try_from(code).unwrap_or(u8::MAX)));
        }
    }
}

/// The abstract name of the control socket of `owner`'s lab.
fn socket_name(owner: Uid, name: Option<&str>) -> String {
    match name {
        None => format!("anycast-lab-{owner}"),
        Some(name) => format!("anycast-lab-{owner}-{name}"),
    }
}

fn listen(name: Option<&str>) -> Result<UnixListener, SandboxError> {
    let socket = socket_name(Uid::effective(), name);
    SocketAddr::from_abstract_name(&socket)
        .and_then(|address| UnixListener::bind_addr(&address))
        .map_err(|error| match error.kind() {
            io::ErrorKind::AddrInUse => SandboxError::AlreadyRunning(socket),
            _ => system("open the control socket")(error),
        })
}

/// Connects to the control socket of the running lab of `owner`, or of the caller.
///
/// Root reaches every user's lab: it connects in that user's name, because to a lab in a user
/// namespace every other uid looks alike.
///
/// # Errors
/// [`SandboxError::NotRunning`]; [`SandboxError::NotYours`] when someone else took the name.
pub fn connect(owner: Option<u32>, name: Option<&str>) -> Result<UnixStream, SandboxError> {
    let caller = Uid::effective();
    let owner = owner.map_or(caller, Uid::from_raw);
    let socket = socket_name(owner, name);
    let address =
        SocketAddr::from_abstract_name(&socket).map_err(system("name the control socket"))?;
    let in_the_name_of = |uid| {
        nix::unistd::seteuid(uid).map_err(|errno| system("act for the lab's owner")(errno.into()))
    };
    if owner != caller {
        in_the_name_of(owner)?;
    }
    let connected = UnixStream::connect_addr(&address);
    if owner != caller {
        in_the_name_of(caller)?;
    }
    let stream = connected.map_err(|error| match error.kind() {
        io::ErrorKind::ConnectionRefused => SandboxError::NotRunning(socket.clone()),
        _ => system("connect to the lab")(error),
    })?;
    let uid = peer_uid(&stream).map_err(system("ask who listens"))?;
    if uid != owner.as_raw() {
        return Err(SandboxError::NotYours { socket, uid });
    }
    Ok(stream)
}

/// The uid of the process at the other end, as seen in the caller's user namespace.
///
/// # Errors
/// Of getsockopt(2).
pub fn peer_uid(stream: &UnixStream) -> io::Result<u32> {
    Ok(getsockopt(stream, sockopt::PeerCredentials)?.uid())
}

/// The process that opened the other end: for a stream from [`connect`] the lab's outer process,
/// which [`exec_in`] takes.
///
/// # Errors
/// Of getsockopt(2).
pub fn peer_pid(stream: &UnixStream) -> io::Result<u32> {
    let pid = getsockopt(stream, sockopt::PeerCredentials)?.pid();
    u32::try_from(pid).map_err(io::Error::other)
}

/// Whether the client of the control socket is the lab's owner (or root, see [`connect`]).
pub fn peer_may_control(stream: &UnixStream) -> bool {
    // Inside, the owner is uid 0 either way; a uid that is not mapped shows as 65534.
    peer_uid(stream).is_ok_and(|uid| uid == Uid::effective().as_raw())
}

/// Runs a command in a node of the running lab, on the caller's terminal, and waits for it.
///
/// `lab_pid` is any process of the lab as the caller sees it, see [`peer_pid`]. `env` is added to
/// the caller's environment. The working directory stays if the lab sees it. Ctrl-C goes to the
/// command; it dies with the caller. The calling process must have one thread, and is of no use
/// for anything else after this: it is in the lab then.
///
/// # Errors
/// [`SandboxError::NoSuchNode`], [`SandboxError::Command`] if it could not be started.
pub fn exec_in(
    lab_pid: u32,
    node: &str,
    argv: &[String],
    env: &[(String, String)],
) -> Result<ExitStatus, SandboxError> {
    let Some((program, args)) = argv.split_first() else {
        let source = io::Error::new(io::ErrorKind::InvalidInput, "no command is given");
        return Err(SandboxError::Command { program: String::new(), source });
    };
    let caller = sys::pidfd(Pid::this()).map_err(system("watch the own process"))?;
    join(lab_pid, node)?;

    let signals = Signals::take().map_err(system("read signals"))?;
    let before = signals.before;
    let mut command = Command::new(program);
    command.args(args).envs(env.iter().map(|(key, value)| (key, value)));
    sys::before_exec(&mut command, move || {
        die_with(&caller)?;
        Ok(sigprocmask(SigmaskHow::SIG_SETMASK, Some(&before), None)?)
    });
    let mut child = command
        .spawn()
        .map_err(|source| SandboxError::Command { program: program.clone(), source })?;
    let pid = i32::try_from(child.id()).map_or(Pid::this(), Pid::from_raw);
    let status = signals.attend(pid, || child.try_wait());
    signals.give_back().map_err(system("restore signals"))?;
    status.map_err(system("wait for the command"))
}

/// Moves the calling process into the lab of the process `lab_pid`, at the place of `node`; its
/// next child will be in the lab's PID namespace.
fn join(lab_pid: u32, node: &str) -> Result<(), SandboxError> {
    let doing = "enter the lab";
    let here = std::env::current_dir().ok();
    let open = |space| File::open(format!("/proc/{lab_pid}/ns/{space}")).map_err(system(doing));
    // The outer process is not in the PID namespace itself, but its children are.
    let [user, mounts, pids] = [open("user")?, open("mnt")?, open("pid_for_children")?];
    let ours = fs::metadata("/proc/self/ns/user").map_err(system(doing))?;
    let theirs = user.metadata().map_err(system(doing))?;
    let set =
        |space: &File, kind| setns(space, kind).map_err(|errno: Errno| system(doing)(errno.into()));
    // To enter the namespace that one is in is an error (setns(2)).
    let other_user = (ours.dev(), ours.ino()) != (theirs.dev(), theirs.ino());
    if other_user {
        set(&user, CloneFlags::CLONE_NEWUSER)?;
    }
    set(&mounts, CloneFlags::CLONE_NEWNS)?;
    set(&pids, CloneFlags::CLONE_NEWPID)?;
    if node.is_empty() || node.contains('/') || node.starts_with('.') {
        return Err(SandboxError::NoSuchNode(node.to_owned()));
    }
    let net = File::open(Path::new(NETNS_DIR).join(node)).map_err(|error| match error.kind() {
        io::ErrorKind::NotFound => SandboxError::NoSuchNode(node.to_owned()),
        _ => system(doing)(error),
    })?;
    set(&net, CloneFlags::CLONE_NEWNET)?;
    if other_user {
        // Root of the machine is nobody in an ordinary user's lab until it takes that user's uid.
        nix::unistd::setresgid(Gid::from_raw(0), Gid::from_raw(0), Gid::from_raw(0))
            .and_then(|()| {
                nix::unistd::setresuid(Uid::from_raw(0), Uid::from_raw(0), Uid::from_raw(0))
            })
            .map_err(|errno| system(doing)(errno.into()))?;
    }
    // Entering another mount namespace has moved us to its root.
    if here.is_none_or(|dir| std::env::set_current_dir(dir).is_err()) {
        std::env::set_current_dir("/").map_err(system(doing))?;
    }
    Ok(())
}

fn system(doing: &'static str) -> impl Fn(io::Error) -> SandboxError + Copy {
    move |source| SandboxError::System { doing, source }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_names_the_switch_that_is_off() {
        // (what it shows, errno, unprivileged_userns_clone, max_user_namespaces, AppArmor, refusal)
        for (name, errno, clone, max, apparmor, want) in [
            ("Debian's switch", Errno::EPERM, Some(0), Some(9000), None, Refusal::UsernsClone),
            (
                "no namespace left",
                Errno::ENOSPC,
                None,
                Some(4),
                None,
                Refusal::MaxUserNamespaces(4),
            ),
            ("none allowed", Errno::EPERM, Some(1), Some(0), None, Refusal::MaxUserNamespaces(0)),
            ("Ubuntu", Errno::EPERM, Some(1), Some(9000), Some(1), Refusal::AppArmor),
            ("not built in", Errno::EINVAL, None, None, None, Refusal::Missing),
            ("a container", Errno::EPERM, None, Some(9000), Some(0), Refusal::Denied),
        ] {
            assert_eq!(Refusal::judge(errno, clone, max, apparmor), want, "{name}");
        }
    }
}

//! Routers that are other people's programs: their configurations and command lines.
//!
//! A world file says `router = "bird"` and the like. All of them follow the same business rules
//! as our own routers (`anycast_bgp::policy::relation`): local preference by relation and a
//! large community `ASN:1:N` that remembers it. Those that put no routes into the kernel are
//! leaves: they announce their network, tell nobody else's routes, and have a default route.
//!
//! This module writes no file and starts no process: it says which.

mod bird;
mod exabgp;
mod frr;
mod gobgp;
mod keep_user;
mod openbgpd;

#[cfg(test)]
mod tests;

use std::fs;
use std::io;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::process;

use anycast_bgp::Family;

use crate::plan::{Implementation, NeighborPlan, Node, NodeKind, Plan, RouterPlan};

/// All that a router needs to run.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Peer {
    /// To be written first, readable by the owner alone: they may hold passwords.
    pub files: Vec<File>,
    /// To be started in this order, in the node's namespace.
    pub commands: Vec<Command>,
}

/// A file to write.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct File {
    /// Where, inside the directory that was given.
    pub path: PathBuf,
    /// What.
    pub content: String,
}

/// A process to start.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Command {
    /// The program by absolute path, and its arguments.
    pub argv: Vec<String>,
    /// To be added to the environment.
    pub env: Vec<(&'static str, String)>,
    /// It wants to change to a user of its own and is to be kept from it.
    pub keep_user: bool,
    /// How it runs.
    pub run: Run,
}

/// How a process runs.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Run {
    /// It stays in the foreground until it is told to end by SIGTERM.
    Daemon {
        /// A socket that is there once the program is ready for the next command.
        ready: Option<PathBuf>,
    },
    /// It ends by itself; where it fails it is tried again, since the daemon before it may not be
    /// ready.
    Once,
}

impl Command {
    /// The process, ready to be spawned in the node's namespace.
    pub fn to_process(&self) -> process::Command {
        let (program, args) = self.argv.split_first().expect("a command has a program");
        let mut process = process::Command::new(program);
        process.args(args).envs(self.env.iter().map(|(key, value)| (key, value)));
        if self.keep_user {
            keep_user::keep_user(&mut process);
        }
        process
    }
}

/// Why a router cannot be configured.
#[derive(Debug, thiserror::Error)]
pub enum PeerError {
    /// The program is not on this machine.
    #[error("`{node}` is to run {program}, which is not installed: `apt-get install {package}`")]
    NotInstalled {
        /// The router.
        node: String,
        /// The program's path.
        program: &'static str,
        /// Debian's name for it.
        package: &'static str,
    },
    /// The secret of a session cannot be read.
    #[error("cannot read the password of `{neighbor}`, {path}: {source}")]
    Password {
        /// The neighbor.
        neighbor: String,
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The secret has a character that the program's configuration cannot hold.
    #[error("the password of `{neighbor}`, {path}, has {odd:?} in it, which {program} cannot take")]
    PasswordCharacter {
        /// The neighbor.
        neighbor: String,
        /// The file.
        path: PathBuf,
        /// The character.
        odd: char,
        /// The program.
        program: &'static str,
    },
    /// The node needs none: it is a site, a client or one of our own routers.
    #[error("`{0}` runs no program of others")]
    NotAPeer(String),
}

/// The program of an implementation, and the Debian package that has it; `None` for our own.
pub fn program(implementation: Implementation) -> Option<(&'static str, &'static str)> {
    Some(match implementation {
        Implementation::Anycast => return None,
        Implementation::Bird => (bird::PROGRAM, "bird2"),
        Implementation::Frr => (frr::PROGRAM, "frr"),
        Implementation::Gobgp => (gobgp::PROGRAM, "gobgpd"),
        Implementation::Exabgp => (exabgp::PROGRAM, "exabgp"),
        Implementation::Openbgpd => (openbgpd::PROGRAM, "openbgpd"),
    })
}

/// Says what to write into `dir`, which exists and belongs to the router alone, and what to
/// start. Reads the password files that the plan names, and looks whether the program is there.
///
/// # Errors
/// If the program is not installed, or a password cannot be read or written down.
pub fn configure(plan: &Plan, node: usize, dir: &Path) -> Result<Peer, PeerError> {
    let view = View::new(plan, node)?;
    if let Some((program, package)) = program(view.router.implementation)
        && !Path::new(program).exists()
    {
        let node = view.node.name.clone();
        return Err(PeerError::NotInstalled { node, program, package });
    }
    match view.router.implementation {
        Implementation::Anycast => Err(PeerError::NotAPeer(view.node.name.clone())),
        Implementation::Bird => Ok(bird::configure(&view, dir)),
        Implementation::Frr => Ok(frr::configure(&view, dir)),
        Implementation::Gobgp => Ok(gobgp::configure(&view, dir)),
        Implementation::Exabgp => Ok(exabgp::configure(&view, dir)),
        Implementation::Openbgpd => Ok(openbgpd::configure(&view, dir)),
    }
}

/// One router as the writers see it.
struct View<'a> {
    node: &'a Node,
    router: &'a RouterPlan,
    sessions: Vec<Session<'a>>,
}

/// One of its sessions.
struct Session<'a> {
    neighbor: &'a NeighborPlan,
    /// Letters, digits and `_` only, unique in the router.
    symbol: String,
    password: Option<String>,
    /// The two ends share a network on their link.
    on_link: bool,
    /// Next hop for families that the session's own addresses are not of.
    next_hop_other: Option<IpAddr>,
}

impl<'a> View<'a> {
    fn new(plan: &'a Plan, index: usize) -> Result<Self, PeerError> {
        let node = &plan.nodes[index];
        let NodeKind::Router(router) = &node.kind else {
            return Err(PeerError::NotAPeer(node.name.clone()));
        };
        let sessions = router
            .neighbors
            .iter()
            .map(|neighbor| Session::new(plan, index, router, neighbor))
            .collect::<Result<_, _>>()?;
        Ok(Self { node, router, sessions })
    }

    /// The networks of one family that the router originates.
    fn originates(&self, family: Family) -> impl Iterator<Item = String> {
        self.router
            .originates
            .iter()
            .filter(move |net| Family::of(net) == family)
            .map(ToString::to_string)
    }
}

impl<'a> Session<'a> {
    fn new(
        plan: &'a Plan,
        index: usize,
        router: &'a RouterPlan,
        neighbor: &'a NeighborPlan,
    ) -> Result<Self, PeerError> {
        let own = neighbor
            .link
            .and_then(|link| plan.links[link].ends.iter().find(|end| end.node == index));
        let addresses = own.map_or(&[][..], |end| &end.addresses[..]);
        let v4 = neighbor.address.is_ipv4();
        let other = |address: &IpAddr| address.is_ipv4() != v4;
        let password = match &neighbor.password_file {
            None => None,
            Some(path) => Some(read_password(neighbor, path, router.implementation.name())?),
        };
        Ok(Self {
            neighbor,
            symbol: neighbor
                .name
                .chars()
                .map(|c| if c.is_ascii_alphanumeric() { c } else { '_' })
                .collect(),
            password,
            on_link: addresses.iter().any(|net| net.contains(&neighbor.address)),
            next_hop_other: neighbor.next_hop_other.or_else(|| {
                let on_link = addresses.iter().map(ipnet::IpNet::addr);
                on_link.chain(router.loopbacks.iter().copied()).find(other)
            }),
        })
    }

    /// The next hop to announce for `family`, if the session's own address will not do.
    fn next_hop_other(&self, family: Family) -> Option<IpAddr> {
        let own = (family == Family::Ipv4Unicast) == self.neighbor.address.is_ipv4();
        self.next_hop_other.filter(|_| !own)
    }

    /// Hops that the packets of the session may take, if it must be said.
    fn multihop(&self) -> Option<u8> {
        self.neighbor.multihop.or((!self.on_link).then_some(2))
    }
}

/// The first line, as the site reads it too; every program takes printable ASCII but quotes.
fn read_password(
    neighbor: &NeighborPlan,
    path: &Path,
    program: &'static str,
) -> Result<String, PeerError> {
    let failed = |source| PeerError::Password {
        neighbor: neighbor.name.clone(),
        path: path.to_owned(),
        source,
    };
    let text = fs::read_to_string(path).map_err(failed)?;
    let password = text.trim_end_matches(['\r', '\n']).to_owned();
    if password.is_empty() {
        return Err(failed(io::Error::new(io::ErrorKind::InvalidData, "the file is empty")));
    }
    match password.chars().find(|c| !c.is_ascii_graphic() || "\"'\\;{}#".contains(*c)) {
        Some(odd) => Err(PeerError::PasswordCharacter {
            neighbor: neighbor.name.clone(),
            path: path.to_owned(),
            odd,
            program,
        }),
        None => Ok(password),
    }
}

fn command(argv: &[&str], run: Run) -> Command {
    let argv = argv.iter().map(|&arg| arg.to_owned()).collect();
    Command { argv, env: Vec::new(), keep_user: false, run }
}

fn shown(path: &Path) -> String {
    path.display().to_string()
}

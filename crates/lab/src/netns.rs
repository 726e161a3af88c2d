//! Network namespaces: one for each node of the lab.
//!
//! A namespace lives as long as a [`NetNs`] holds it, and is mounted under its name where
//! `ip netns` looks. Code runs in it by lending it the calling thread for a moment
//! ([`NetNs::run`]); a socket belongs for ever to the namespace in which it was opened, and may
//! then be used from any thread.

use std::fs::{self, File};
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sched::{CloneFlags, setns, unshare};

use crate::netlink::{self, NetlinkError, Request};
use crate::sandbox::NETNS_DIR;

/// Why a namespace could not be made.
#[derive(Debug, thiserror::Error)]
#[error("cannot {doing} of node {node:?}: {source}")]
pub struct NetNsError {
    node: String,
    doing: &'static str,
    source: io::Error,
}

/// What a namespace is for; this decides its sysctls.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Sysctls {
    /// A node that sends and receives for itself.
    Host,
    /// A node that forwards packets.
    Router,
    /// A place for the lab's own ends of wires, whose kernel says nothing by itself.
    Hub,
}

/// A network namespace; clones are the same one.
#[derive(Clone, Debug)]
pub struct NetNs(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    name: String,
    file: File,
    mounted: PathBuf,
    next_ifindex: AtomicU32,
}

/// The first interface index that the lab gives out in a node. The kernel counts up from 1 for
/// interfaces that it numbers itself: the loopback, fallback tunnels, what a user makes in a node.
const FIRST_IFINDEX: u32 = 1000;

/// The same for a hub. To the kernel a veth whose peer has the same index looks like one without a
/// peer, and it tells such an interface of a lost carrier up to a second late (link_watch).
pub(crate) const FIRST_HUB_IFINDEX: u32 = 100_000;

/// The loopback interface, the first of each namespace.
const LOOPBACK: u32 = 1;

impl NetNs {
    /// Makes a namespace with its loopback interface up.
    ///
    /// # Errors
    /// If the name is taken, or the kernel refuses; the sandbox must have been entered.
    pub fn create(name: &str, sysctls: Sysctls) -> Result<Self, NetNsError> {
        let failed = |doing| move |source| NetNsError { node: name.to_owned(), doing, source };
        let mounted = PathBuf::from(NETNS_DIR).join(name);
        // The mount point also says whether the name is taken.
        File::create_new(&mounted).map_err(failed("name the namespace"))?;
        let _visit = Visit::begin(|| Ok(unshare(CloneFlags::CLONE_NEWNET)?))
            .map_err(failed("make the namespace"))?;
        let file = File::open(OWN_NAMESPACE).map_err(failed("open the namespace"))?;
        let nothing = None::<&str>;
        mount(Some(OWN_NAMESPACE), &mounted, nothing, MsFlags::MS_BIND, nothing)
            .map_err(|errno| failed("mount the namespace")(errno.into()))?;
        sysctls.set().map_err(failed("set the sysctls"))?;
        let ns = Self(Arc::new(Inner {
            name: name.to_owned(),
            file,
            mounted,
            next_ifindex: AtomicU32::new(match sysctls {
                Sysctls::Host | Sysctls::Router => FIRST_IFINDEX,
                Sysctls::Hub => FIRST_HUB_IFINDEX,
            }),
        }));
        netlink::apply_here(&[Request::SetUp(LOOPBACK)]).map_err(|error| match error {
            NetlinkError::Socket(source) | NetlinkError::Refused { source, .. } => {
                failed("raise the loopback interface")(source)
            }
        })?;
        Ok(ns)
    }

    /// Makes many namespaces, with as many threads as there are processors.
    ///
    /// # Errors
    /// The first of [`create`](Self::create)'s.
    pub fn create_all(nodes: &[(&str, Sysctls)]) -> Result<Vec<Self>, NetNsError> {
        let threads = std::thread::available_parallelism().map_or(1, usize::from);
        let share = nodes.len().div_ceil(threads).max(1);
        std::thread::scope(|scope| {
            let workers: Vec<_> = nodes
                .chunks(share)
                .map(|nodes| {
                    scope.spawn(|| {
                        nodes.iter().map(|&(name, sysctls)| Self::create(name, sysctls)).collect()
                    })
                })
                .collect();
            let made: Vec<Result<Vec<Self>, NetNsError>> = workers
                .into_iter()
                .map(|worker| worker.join().expect("making a namespace does not panic"))
                .collect();
            made.into_iter().collect::<Result<Vec<_>, _>>().map(|all| all.concat())
        })
    }

    /// The node's name.
    pub fn name(&self) -> &str {
        &self.0.name
    }

    /// Runs `f` in the namespace, on the calling thread.
    ///
    /// Sockets that `f` opens and processes that it starts belong to the namespace. It takes a few
    /// microseconds, so is fit for an async task as long as `f` does not block; `f` cannot await,
    /// and thus never moves to another thread half-way. A panic of `f` passes through.
    ///
    /// # Panics
    /// If the thread may not enter the namespace: the process has given up its powers.
    pub fn run<T>(&self, f: impl FnOnce() -> T) -> T {
        let _visit = Visit::begin(|| Ok(setns(&self.0.file, CloneFlags::CLONE_NEWNET)?))
            .expect("root of the lab may enter the lab's namespaces");
        f()
    }

    /// The index of an interface, by its name.
    ///
    /// # Errors
    /// If there is none.
    pub fn ifindex(&self, ifname: &str) -> io::Result<u32> {
        Ok(self.run(|| nix::net::if_::if_nametoindex(ifname))?)
    }

    /// The namespace's descriptor, to hand to the kernel.
    pub(crate) fn file(&self) -> &File {
        &self.0.file
    }

    /// An interface index that no interface of the namespace has yet.
    pub(crate) fn next_ifindex(&self) -> u32 {
        self.0.next_ifindex.fetch_add(1, Ordering::Relaxed)
    }

    /// Whether both are the same namespace.
    pub(crate) fn is(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        // Whoever is still in it (a process, a socket) keeps the namespace itself alive.
        if umount2(&self.mounted, MntFlags::MNT_DETACH).is_ok() {
            fs::remove_file(&self.mounted).ok();
        }
    }
}

const OWN_NAMESPACE: &str = "/proc/thread-self/ns/net";

/// The calling thread's stay in another namespace; the end of it brings the thread back.
struct Visit {
    home: File,
}

impl Visit {
    fn begin(go: impl FnOnce() -> io::Result<()>) -> io::Result<Self> {
        let home = File::open(OWN_NAMESPACE)?;
        go()?;
        Ok(Self { home })
    }
}

impl Drop for Visit {
    fn drop(&mut self) {
        // A thread that stays in the wrong namespace would open the wrong sockets from then on.
        setns(&self.home, CloneFlags::CLONE_NEWNET).expect("the way back was open a moment ago");
    }
}

/// A sysctl below net/, and its value.
type Sysctl = (&'static str, &'static str);

/// What every node has: addresses work at once and only as configured; nothing is hidden by a
/// limit meant for the Internet's dangers.
const NODE: &[Sysctl] = &[
    ("ipv6/conf/all/accept_dad", "0"),
    ("ipv6/conf/default/accept_dad", "0"),
    ("ipv6/conf/default/dad_transmits", "0"),
    ("ipv6/conf/default/router_solicitations", "0"),
    ("ipv6/conf/all/accept_ra", "0"),
    ("ipv6/conf/default/accept_ra", "0"),
    ("ipv6/conf/default/autoconf", "0"),
    ("ipv4/conf/all/rp_filter", "0"),
    ("ipv4/conf/default/rp_filter", "0"),
    // A cut cable takes its connected routes out of use, as in a real router.
    ("ipv4/conf/all/ignore_routes_with_linkdown", "1"),
    ("ipv4/conf/default/ignore_routes_with_linkdown", "1"),
    ("ipv6/conf/all/ignore_routes_with_linkdown", "1"),
    ("ipv6/conf/default/ignore_routes_with_linkdown", "1"),
    ("ipv4/conf/all/accept_redirects", "0"),
    ("ipv4/conf/default/accept_redirects", "0"),
    ("ipv4/ip_unprivileged_port_start", "0"),
    ("ipv4/fib_multipath_hash_policy", "1"),
    ("ipv6/fib_multipath_hash_policy", "1"),
    ("ipv4/icmp_ratelimit", "0"),
    ("ipv6/icmp/ratelimit", "0"),
];

/// What a router has besides. `ip_forward` comes first: setting it resets others (ip-sysctl).
const ROUTER: &[Sysctl] = &[
    ("ipv4/ip_forward", "1"),
    ("ipv6/conf/all/forwarding", "1"),
    ("ipv6/conf/default/forwarding", "1"),
    ("ipv4/conf/all/send_redirects", "0"),
    ("ipv4/conf/default/send_redirects", "0"),
    // A multicast router hears reports by two memberships on each interface.
    ("ipv4/igmp_max_memberships", "4096"),
];

/// What a host has besides: multicast routers of the lab read IGMPv2 reports.
const HOST: &[Sysctl] =
    &[("ipv4/conf/all/force_igmp_version", "2"), ("ipv4/conf/default/force_igmp_version", "2")];

const HUB: &[Sysctl] =
    &[("ipv6/conf/all/disable_ipv6", "1"), ("ipv6/conf/default/disable_ipv6", "1")];

impl Sysctls {
    /// Sets them in the namespace of the calling thread.
    fn set(self) -> io::Result<()> {
        let tables: &[&[Sysctl]] = match self {
            Self::Host => &[HOST, NODE],
            Self::Router => &[ROUTER, NODE],
            Self::Hub => &[HUB],
        };
        for (name, value) in tables.iter().copied().flatten() {
            write(name, value)?;
        }
        // ping without privileges, for every group that the lab's user namespace knows.
        write("ipv4/ping_group_range", "0 2147483647")
            .or_else(|_| write("ipv4/ping_group_range", "0 0"))
    }
}

fn write(name: &str, value: &str) -> io::Result<()> {
    match fs::write(format!("/proc/sys/net/{name}"), value) {
        // A kernel built without it (IPv6, multipath) has nothing to set.
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(io::Error::new(error.kind(), format!("net/{name} = {value}: {error}"))),
        Ok(()) => Ok(()),
    }
}

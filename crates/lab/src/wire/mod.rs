//! The lab's cables: links with latency, carried by user space.
//!
//! ```text
//! node A ══ veth pair ══ hub ── packet socket ── mover ── packet socket ── hub ══ veth pair ══ node B
//! ```
//!
//! Each end of a link is a pair of interfaces, one in the node and one in the hub, a namespace
//! whose kernel has no address and says nothing. One packet socket reads what the nodes send; the
//! mover, a thread, holds each frame for the link's latency and sends it to the other ends. With
//! more than two ends a link is a LAN: all others hear each frame. This needs no netem in the
//! kernel and no privilege, and one socket for all links closes in no time.
//!
//! Frames keep their virtio header, so checksum and segmentation offload work as on any veth. What it
//! cannot say is cut into segments here.

mod lines;
mod segment;
mod stand_in;

use std::io;
use std::net::IpAddr;
use std::os::fd::AsFd;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant, SystemTime};

use anycast_affinity::Config;
use ipnet::IpNet;
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, ppoll};
use nix::sys::eventfd::{EfdFlags, EventFd};
use nix::sys::prctl;
use nix::sys::time::TimeSpec;

use self::lines::Lines;
use self::stand_in::StandIn;
use crate::netlink::{self, Mac, NetlinkError, Request, VethEnd};
use crate::netns::{FIRST_HUB_IFINDEX, NetNs};
use crate::sys::{Inbox, PacketSocket};

/// Why a link could not be made or changed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum WireError {
    /// The kernel refused an interface or an address.
    #[error(transparent)]
    Netlink(#[from] NetlinkError),
    /// The socket or thread that carries the frames could not be made.
    #[error("cannot carry frames: {0}")]
    Carry(#[from] io::Error),
    /// The link does not exist, or has no such end.
    #[error("there is no such end of a link")]
    NoSuchEnd,
}

/// A link to be made.
#[derive(Clone, Debug)]
pub struct LinkSpec {
    /// Its name, for people.
    pub name: String,
    /// Two ends make a cable, more make a LAN.
    pub ends: Vec<End>,
    /// How long a frame takes, one way.
    pub latency: Duration,
    /// The largest IP packet, in octets.
    pub mtu: u32,
}

/// One end of a link to be made.
#[derive(Clone, Debug)]
pub struct End {
    /// The node.
    pub ns: NetNs,
    /// The interface's name in the node, at most 15 octets.
    pub ifname: String,
    /// Its Ethernet address; the lab chooses one if there is none.
    pub mac: Option<Mac>,
    /// Its IP addresses. On a cable the two ends know each other's Ethernet addresses from the
    /// start, so that no first packet waits a round trip for ARP or ND.
    pub addresses: Vec<IpNet>,
}

/// The number of a link.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct LinkId(usize);

/// A link that was made.
#[derive(Clone, Debug)]
pub struct Link {
    /// Its number.
    pub id: LinkId,
    /// Its ends' interfaces in the nodes, in the order asked for.
    pub ends: Vec<Port>,
}

/// An interface of a node.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Port {
    /// Its index in the node's namespace.
    pub ifindex: u32,
    /// Its Ethernet address.
    pub mac: Mac,
}

/// How a link is.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum State {
    /// It carries frames.
    Up,
    /// The cable is cut: no end has a carrier, and what was under way is lost.
    Cut,
    /// Nothing arrives, and nothing tells the nodes so.
    Frozen,
}

/// What went over a link, all directions together. A LAN counts a frame once for each hearer.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Counters {
    /// Frames that arrived; a GSO packet is one.
    pub frames: u64,
    /// Their octets.
    pub octets: u64,
    /// Frames that did not.
    pub drops: u64,
}

/// All links of a lab, and the thread that carries their frames.
#[derive(Debug)]
pub struct Wire {
    shared: Arc<Shared>,
    places: Mutex<Vec<Place>>,
    mover: Option<JoinHandle<()>>,
}

/// Where an end of a link is.
#[derive(Debug)]
struct Place {
    link: LinkId,
    end: usize,
    ns: NetNs,
    ifindex: u32,
}

#[derive(Debug)]
struct Shared {
    hub: NetNs,
    socket: PacketSocket,
    lines: Mutex<Lines>,
    stand_in: Mutex<Option<StandIn>>,
    stop: EventFd,
}

impl Wire {
    /// Starts the mover in `hub`, a namespace of [`Sysctls::Hub`](crate::netns::Sysctls::Hub) that
    /// is used for nothing else.
    ///
    /// # Errors
    /// If the packet socket or the thread cannot be made.
    pub fn new(hub: NetNs) -> Result<Self, WireError> {
        let socket = hub.run(PacketSocket::open)?;
        let stop = EventFd::from_flags(EfdFlags::EFD_CLOEXEC | EfdFlags::EFD_NONBLOCK)
            .map_err(io::Error::from)?;
        let lines = Mutex::new(Lines::new(FIRST_HUB_IFINDEX));
        let stand_in = Mutex::new(None);
        let shared = Arc::new(Shared { hub, socket, lines, stand_in, stop });
        let mover = std::thread::Builder::new().name("wire".to_owned()).spawn({
            let shared = Arc::clone(&shared);
            move || shared.carry()
        })?;
        Ok(Self { shared, places: Mutex::default(), mover: Some(mover) })
    }

    /// Makes one link; see [`add_links`](Self::add_links).
    ///
    /// # Errors
    /// As there.
    pub fn add_link(&self, spec: &LinkSpec) -> Result<Link, WireError> {
        let mut links = self.add_links(std::slice::from_ref(spec))?;
        links.pop().ok_or(WireError::NoSuchEnd)
    }

    /// Makes links, in one batch: their interfaces are up and have their addresses on return.
    ///
    /// # Errors
    /// If the kernel refuses something, as for a name that the node has already; some of the links
    /// may then exist.
    pub fn add_links(&self, specs: &[LinkSpec]) -> Result<Vec<Link>, WireError> {
        let mut places = lock(&self.places);
        let mut lines = lock(&self.shared.lines);
        let hub = &self.shared.hub;
        let mut links = Vec::with_capacity(specs.len());
        let mut hub_names = Vec::new();
        for (spec, number) in specs.iter().zip(lines.len()..) {
            let hub_ends: Vec<u32> = spec.ends.iter().map(|_| hub.next_ifindex()).collect();
            hub_names.extend(hub_ends.iter().map(|ifindex| (hub_name(*ifindex), *ifindex)));
            lines.add(spec.latency, &hub_ends);
            let ends = spec.ends.iter().enumerate().map(|(at, end)| Port {
                ifindex: end.ns.next_ifindex(),
                mac: end.mac.unwrap_or_else(|| made_up(number, at)),
            });
            links.push(Link { id: LinkId(number), ends: ends.collect() });
        }
        drop(lines);

        // Every end with its spec, in the order of `hub_names`.
        let ends = || {
            specs.iter().zip(&links).flat_map(|(spec, link)| {
                spec.ends.iter().zip(&link.ends).map(move |(end, port)| (spec, link, end, port))
            })
        };
        let pairs: Vec<Request<'_>> = ends()
            .zip(&hub_names)
            .map(|((spec, _, end, port), (hub_name, hub_ifindex))| Request::AddVeth {
                ends: [
                    VethEnd { ns: hub, ifname: hub_name, ifindex: *hub_ifindex, mac: None },
                    VethEnd {
                        ns: &end.ns,
                        ifname: &end.ifname,
                        ifindex: port.ifindex,
                        mac: Some(port.mac),
                    },
                ],
                mtu: spec.mtu,
            })
            .collect();
        netlink::apply(hub, &pairs)?;

        let mut of_node: Vec<(&NetNs, Vec<Request<'_>>)> = Vec::new();
        for (spec, link, end, port) in ends() {
            let at = of_node.iter().position(|(ns, _)| ns.is(&end.ns)).unwrap_or_else(|| {
                of_node.push((&end.ns, Vec::new()));
                of_node.len() - 1
            });
            of_node[at].1.extend(settings(spec, link, end, port));
        }
        for (ns, requests) in &of_node {
            netlink::apply(ns, requests)?;
        }
        // A node's end got its carrier with its being raised, the hub's by that from afar.
        let settle: Vec<_> = hub_names.iter().map(|(_, at)| Request::Settle(*at)).collect();
        netlink::apply(hub, &settle)?;
        for (spec, link) in specs.iter().zip(&links) {
            places.extend(spec.ends.iter().zip(&link.ends).enumerate().map(
                |(end, (spec, port))| Place {
                    link: link.id,
                    end,
                    ns: spec.ns.clone(),
                    ifindex: port.ifindex,
                },
            ));
        }
        Ok(links)
    }

    /// Runs `f` in the hub's namespace, with the names of its ends of a link's veth pairs, in the
    /// order of the link's ends.
    ///
    /// # Errors
    /// [`WireError::NoSuchEnd`].
    pub fn in_hub<T>(&self, link: LinkId, f: impl FnOnce(&[String]) -> T) -> Result<T, WireError> {
        let ifindexes = lock(&self.shared.lines).ifindexes(link.0);
        if ifindexes.is_empty() {
            return Err(WireError::NoSuchEnd);
        }
        let names: Vec<String> = ifindexes.into_iter().map(hub_name).collect();
        Ok(self.shared.hub.run(|| f(&names)))
    }

    /// Cuts, freezes or mends a link. On return the nodes know that a cut link has no carrier, or
    /// that a mended one has it.
    ///
    /// # Errors
    /// [`WireError::NoSuchEnd`]; if the kernel refuses.
    pub fn set(&self, link: LinkId, state: State) -> Result<(), WireError> {
        let (before, ifindexes) = {
            let mut lines = lock(&self.shared.lines);
            let before = lines.set(link.0, state).ok_or(WireError::NoSuchEnd)?;
            (before, lines.ifindexes(link.0))
        };
        // A node's interface has a carrier while its peer in the hub is up.
        let request: fn(u32) -> Request<'static> = match (before == State::Cut, state == State::Cut)
        {
            (false, true) => Request::SetDown,
            (true, false) => Request::SetUp,
            (false, false) | (true, true) => return Ok(()),
        };
        let requests: Vec<_> = ifindexes.into_iter().map(request).collect();
        netlink::apply(&self.shared.hub, &requests)?;
        for place in lock(&self.places).iter().filter(|place| place.link == link) {
            netlink::apply(&place.ns, &[Request::Settle(place.ifindex)])?;
        }
        Ok(())
    }

    /// Freezes or thaws one end of a link: frames from and to it are dropped, its carrier stays.
    ///
    /// # Errors
    /// [`WireError::NoSuchEnd`].
    pub fn freeze_end(&self, link: LinkId, end: usize, frozen: bool) -> Result<(), WireError> {
        let known = lock(&self.shared.lines).freeze_end(link.0, end, frozen);
        known.then_some(()).ok_or(WireError::NoSuchEnd)
    }

    /// Freezes or thaws all ends of links in a node: it vanishes without a word.
    pub fn freeze_node(&self, node: &NetNs, frozen: bool) {
        let places = lock(&self.places);
        let mut lines = lock(&self.shared.lines);
        for place in places.iter().filter(|place| place.ns.is(node)) {
            lines.freeze_end(place.link.0, place.end, frozen);
        }
    }

    /// Changes the one-way latency for frames that are sent from now on.
    ///
    /// # Errors
    /// [`WireError::NoSuchEnd`].
    pub fn set_latency(&self, link: LinkId, latency: Duration) -> Result<(), WireError> {
        let known = lock(&self.shared.lines).set_latency(link.0, latency);
        known.then_some(()).ok_or(WireError::NoSuchEnd)
    }

    /// Loses a share of the frames (0 to 1) that are sent from now on, in both directions. Which ones
    /// depends on the seed alone.
    ///
    /// # Errors
    /// [`WireError::NoSuchEnd`].
    pub fn set_loss(&self, link: LinkId, share: f64, seed: u64) -> Result<(), WireError> {
        let known = lock(&self.shared.lines).set_loss(link.0, share, seed);
        known.then_some(()).ok_or(WireError::NoSuchEnd)
    }

    /// Has the links decide for the packet programs of these nodes from now on, or (without any) no
    /// longer: see [`stand_in`].
    pub fn stand_in(&self, sites: &[(NetNs, Config)]) {
        let places = lock(&self.places);
        let lines = lock(&self.shared.lines);
        let sites = sites.iter().map(|(ns, config)| {
            let ends = places.iter().filter(|place| place.ns.is(ns));
            let ports = ends.map(|place| lines.ifindexes(place.link.0)[place.end]);
            (ports.collect(), config.clone())
        });
        let new = (sites.len() > 0).then(|| StandIn::new(sites));
        *lock(&self.shared.stand_in) = new;
    }

    /// Frames that the lab itself lost since this was last asked, because the mover did not keep
    /// up; the machine is too slow for what is sent.
    ///
    /// # Errors
    /// Of the socket.
    pub fn overruns(&self) -> Result<u32, WireError> {
        Ok(self.shared.socket.overruns()?)
    }

    /// What went over a link so far.
    ///
    /// # Errors
    /// [`WireError::NoSuchEnd`].
    pub fn counters(&self, link: LinkId) -> Result<Counters, WireError> {
        lock(&self.shared.lines).counters(link.0).ok_or(WireError::NoSuchEnd)
    }
}

impl Drop for Wire {
    fn drop(&mut self) {
        if self.shared.stop.write(1).is_ok()
            && let Some(mover) = self.mover.take()
        {
            mover.join().ok();
        }
    }
}

/// What makes an end usable once its interface exists.
fn settings<'a>(
    spec: &'a LinkSpec,
    link: &Link,
    end: &'a End,
    port: &Port,
) -> impl Iterator<Item = Request<'a>> {
    let ifindex = port.ifindex;
    let mut requests = vec![Request::SetUp(ifindex)];
    requests.extend(end.addresses.iter().map(|address| Request::AddAddress(ifindex, *address)));
    if let ([_, _], [one, other]) = (&link.ends[..], &spec.ends[..]) {
        let (peer, peer_port) =
            if std::ptr::eq(end, one) { (other, link.ends[1]) } else { (one, link.ends[0]) };
        let mut addresses: Vec<IpAddr> = peer.addresses.iter().map(IpNet::addr).collect();
        if addresses.iter().any(IpAddr::is_ipv6) {
            addresses.push(peer_port.mac.link_local().into());
        }
        requests.extend(
            addresses
                .into_iter()
                .map(|address| Request::AddNeighbor(ifindex, address, peer_port.mac)),
        );
    }
    requests.into_iter()
}

fn hub_name(ifindex: u32) -> String {
    format!("hub{ifindex}")
}

/// A locally administered Ethernet address (IEEE 802-2014 §8.4), alike in every run of the lab.
fn made_up(link: usize, end: usize) -> Mac {
    #[expect(clippy::cast_possible_truncation, reason = "the low octets are what is wanted")]
    let octet = |number: usize, shift: u32| (number >> shift) as u8;
    Mac([2, octet(link, 16), octet(link, 8), octet(link, 0), octet(end, 8), octet(end, 0)])
}

/// Frames read at once.
const BATCH: usize = 32;

impl Shared {
    /// The mover's work, until it is told to stop.
    fn carry(&self) {
        // The default slack of 50 us would add to every latency (prctl(2)).
        prctl::set_timerslack(1).ok();
        let mut inbox = Inbox::new(BATCH);
        let mut out = Vec::new();
        loop {
            let due = lock(&self.lines).poll_timeout();
            let wait = due.map(|due| due.saturating_duration_since(Instant::now()));
            let mut watch = [
                PollFd::new(self.socket.as_fd(), PollFlags::POLLIN),
                PollFd::new(self.stop.as_fd(), PollFlags::POLLIN),
            ];
            match ppoll(&mut watch, wait.map(TimeSpec::from_duration), None) {
                Ok(_) | Err(Errno::EINTR) => {}
                Err(error) => {
                    tracing::error!(%error, "the lab's links are dead");
                    return;
                }
            }
            if watch[1].any() == Some(true) {
                return;
            }
            loop {
                let got = self.socket.receive(&mut inbox).unwrap_or(0);
                let now = Instant::now();
                let mut lines = lock(&self.lines);
                let mut stand_in = lock(&self.stand_in);
                for (ifindex, frame) in inbox.frames() {
                    let stamped =
                        stand_in.as_mut().and_then(|it| it.leaving(wall(), ifindex, frame));
                    let frame = stamped.as_deref().unwrap_or(frame);
                    match segment::cut(frame) {
                        None => lines.handle_frame(now, ifindex, frame),
                        Some(segments) => segments
                            .iter()
                            .for_each(|segment| lines.handle_frame(now, ifindex, segment)),
                    }
                }
                lines.poll_frames(now, &mut out);
                if let Some(stand_in) = &*stand_in {
                    decide(stand_in, now, &mut lines, &mut out);
                }
                drop((lines, stand_in));
                if !out.is_empty() {
                    let lost = self.socket.send(&out);
                    if lost > 0 {
                        tracing::debug!(lost, "frames that an interface did not take");
                    }
                    out.clear();
                }
                if got < BATCH {
                    break;
                }
            }
        }
    }
}

/// Has the stand-in decide about what arrives at sites.
fn decide(stand_in: &StandIn, now: Instant, lines: &mut Lines, out: &mut Vec<(u32, Arc<[u8]>)>) {
    let arrived = std::mem::take(out);
    for (ifindex, frame) in arrived {
        let Some(fate) = stand_in.arriving(wall(), ifindex, &frame) else {
            out.push((ifindex, frame));
            continue;
        };
        out.extend(fate.in_.into_iter().map(|frame| (ifindex, frame.into())));
        for frame in fate.out {
            lines.handle_frame(now, ifindex, &frame);
        }
    }
}

/// The wall clock in ns, as frames between sites carry it.
fn wall() -> u64 {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    u64::try_from(now.as_nanos()).unwrap_or(0)
}

/// No panic happens while the lock is held, and the bookkeeping is whole between frames anyway.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

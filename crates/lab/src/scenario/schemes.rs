//! One message, four ways: unicast, broadcast, multicast and anycast, and who received it.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, SocketAddrV4};
use std::time::Duration;

use socket2::{Domain, Protocol, SockRef, Socket, Type};
use tokio::net::UdpSocket;
use tokio::sync::mpsc;

use super::Schemes;
use crate::mroute::{Event, MulticastRouter};
use crate::netns::NetNs;
use crate::plan::{self, LinkKind, NodeKind};
use crate::running::Lab;

/// The port of the message; no service of a fleet is likely to have it.
const PORT: u16 = 49_150;
/// An address for use within an organisation (RFC 2365 §6.2).
const GROUP: Ipv4Addr = Ipv4Addr::new(239, 192, 0, 1);
/// Enough for any path of the lab.
const TTL: u32 = 64;
/// Longer than any path of the lab takes.
const PATIENCE: Duration = Duration::from_secs(1);
/// How long routers may take to hear who subscribes.
const SUBSCRIBE: Duration = Duration::from_millis(1500);

/// Sends the message all four ways. Returns a table of who received it, and whether each way
/// reached exactly whom it should (in words either way).
///
/// # Errors
/// The lab is not made for it: an unknown client, a segment with one host only.
pub(super) async fn show(
    lab: &Lab,
    schemes: &Schemes,
) -> Result<(String, Result<String, String>), String> {
    let stage = Stage::set(lab, schemes).await?;
    let mut table = String::new();
    let mut wrong = Vec::new();
    for scheme in stage.schemes()? {
        let received = stage.send(scheme.to).await.map_err(|e| format!("{}: {e}", scheme.name))?;
        let names: Vec<&str> =
            received.iter().map(|node| lab.plan.nodes[*node].name.as_str()).collect();
        let _ = writeln!(
            table,
            "{:<10} to {:<16} {:<33} received by: {}",
            scheme.name,
            scheme.to.to_string(),
            scheme.meaning,
            if names.is_empty() { "nobody".to_owned() } else { names.join(", ") },
        );
        let holds = match &scheme.expect {
            Expect::Exactly(nodes) => received == *nodes,
            Expect::OneOf(nodes) => received.len() == 1 && received.is_subset(nodes),
        };
        if !holds {
            wrong.push(format!("{} reached {}", scheme.name, names.join(", ")));
        }
    }
    let verdict = if wrong.is_empty() {
        Ok("unicast one host, broadcast every host of the segment, multicast the subscribers, \
            anycast one site"
            .to_owned())
    } else {
        Err(wrong.join("; "))
    };
    Ok((table, verdict))
}

/// One way to send.
struct Scheme {
    name: &'static str,
    meaning: &'static str,
    to: Ipv4Addr,
    expect: Expect,
}

/// Who should receive it.
enum Expect {
    Exactly(BTreeSet<usize>),
    OneOf(BTreeSet<usize>),
}

/// Listeners in every client and site, and multicast routing to the subscribers.
struct Stage<'a> {
    lab: &'a Lab,
    from: usize,
    unicast: usize,
    subscribers: BTreeSet<usize>,
    heard: tokio::sync::Mutex<mpsc::UnboundedReceiver<(usize, u32)>>,
    sender: UdpSocket,
    listeners: Vec<tokio::task::JoinHandle<()>>,
    /// Kept, because their routes go with them.
    _routers: BTreeMap<usize, MulticastRouter>,
}

impl Drop for Stage<'_> {
    fn drop(&mut self) {
        for listener in &self.listeners {
            listener.abort();
        }
    }
}

/// The number of the next message, so that late copies of an earlier one do not count.
static NUMBER: std::sync::atomic::AtomicU32 = std::sync::atomic::AtomicU32::new(1);

impl<'a> Stage<'a> {
    async fn set(lab: &'a Lab, schemes: &Schemes) -> Result<Self, String> {
        let node = |name: &String| lab.node(name).map_err(|error| error.to_string());
        let from = node(&schemes.from)?;
        let unicast = node(&schemes.unicast)?;
        let subscribers: BTreeSet<usize> =
            schemes.subscribers.iter().map(node).collect::<Result<_, _>>()?;
        let failed = |error: io::Error| format!("cannot listen: {error}");

        // Routers first: a host says that it subscribes at the moment when it does.
        let routers = open_routers(lab).map_err(|e| format!("multicast routing: {e}"))?;
        let (report, heard) = mpsc::unbounded_channel();
        let mut listeners = Vec::new();
        let hosts = lab.plan.clients().map(|(index, _, _)| index);
        for index in hosts.chain(lab.plan.sites().map(|(index, _, _)| index)) {
            let group = subscribers.contains(&index);
            let socket = listen(lab.namespace(index), group).map_err(failed)?;
            let report = report.clone();
            listeners.push(tokio::spawn(async move {
                let mut buffer = [0; 64];
                while let Ok(len) = socket.recv(&mut buffer).await {
                    let Ok(octets) = <[u8; 4]>::try_from(&buffer[..len]) else { continue };
                    let _ = report.send((index, u32::from_be_bytes(octets)));
                }
            }));
        }
        let sender = speak(lab.namespace(from)).map_err(failed)?;
        let segments = subscribed(lab, &routers, subscribers.len()).await;
        let routers = route(lab, from, &segments, routers)
            .map_err(|error| format!("multicast routes: {error}"))?;
        let heard = tokio::sync::Mutex::new(heard);
        Ok(Self { lab, from, unicast, subscribers, heard, sender, listeners, _routers: routers })
    }

    fn schemes(&self) -> Result<[Scheme; 4], String> {
        let NodeKind::Client(client) = &self.lab.plan.nodes[self.from].kind else {
            return Err("the sender is not a client".into());
        };
        let segment = &self.lab.plan.links[client.segment];
        let broadcast = segment.ends.iter().find(|end| end.node == self.from).and_then(|end| {
            end.addresses.iter().find_map(|address| match address {
                ipnet::IpNet::V4(address) => Some(address.broadcast()),
                ipnet::IpNet::V6(_) => None,
            })
        });
        let neighbors: BTreeSet<usize> = segment
            .ends
            .iter()
            .map(|end| end.node)
            .filter(|node| *node != self.from)
            .filter(|node| matches!(self.lab.plan.nodes[*node].kind, NodeKind::Client(_)))
            .collect();
        if neighbors.is_empty() {
            return Err("the sender has no neighbor on its segment to broadcast to".into());
        }
        let address = |node: usize| match &self.lab.plan.nodes[node].kind {
            NodeKind::Client(client) => client.addresses.iter().find_map(v4),
            NodeKind::Router(_) | NodeKind::Site(_) => None,
        };
        let anycast = v4(&self.lab.prober.target());
        let no_v4 = || "needs IPv4 addresses".to_owned();
        Ok([
            Scheme {
                name: "unicast",
                meaning: "(one host)",
                to: address(self.unicast).ok_or_else(no_v4)?,
                expect: Expect::Exactly(BTreeSet::from([self.unicast])),
            },
            Scheme {
                name: "broadcast",
                meaning: "(every host of one segment)",
                to: broadcast.ok_or_else(no_v4)?,
                expect: Expect::Exactly(neighbors),
            },
            Scheme {
                name: "multicast",
                meaning: "(the subscribers, wherever they are)",
                to: GROUP,
                expect: Expect::Exactly(self.subscribers.clone()),
            },
            Scheme {
                name: "anycast",
                meaning: "(the nearest of many)",
                to: anycast.ok_or_else(no_v4)?,
                expect: Expect::OneOf(self.lab.plan.sites().map(|(index, _, _)| index).collect()),
            },
        ])
    }

    /// Sends one message and waits for all who receive it.
    async fn send(&self, to: Ipv4Addr) -> io::Result<BTreeSet<usize>> {
        let number = NUMBER.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        self.sender.send_to(&number.to_be_bytes(), (to, PORT)).await?;
        let mut received = BTreeSet::new();
        let mut heard = self.heard.lock().await;
        let deadline = tokio::time::Instant::now() + PATIENCE;
        while let Ok(Some((node, which))) = tokio::time::timeout_at(deadline, heard.recv()).await {
            // A broadcast comes back to its sender, which is no receiver.
            if which == number && node != self.from {
                received.insert(node);
            }
        }
        Ok(received)
    }
}

fn v4(address: &IpAddr) -> Option<Ipv4Addr> {
    match address {
        IpAddr::V4(address) => Some(*address),
        IpAddr::V6(_) => None,
    }
}

fn listen(namespace: &NetNs, subscribe: bool) -> io::Result<UdpSocket> {
    let socket = namespace.run(|| {
        let socket = Socket::new(Domain::IPV4, Type::DGRAM, Some(Protocol::UDP))?;
        socket.bind(&SocketAddr::from(SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, PORT)).into())?;
        if subscribe {
            // The interface of the default route: a client has only one.
            socket.join_multicast_v4(&GROUP, &Ipv4Addr::UNSPECIFIED)?;
        }
        io::Result::Ok(socket)
    })?;
    socket.set_nonblocking(true)?;
    UdpSocket::from_std(socket.into())
}

fn speak(namespace: &NetNs) -> io::Result<UdpSocket> {
    let socket = namespace.run(|| std::net::UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)))?;
    socket.set_nonblocking(true)?;
    socket.set_broadcast(true)?;
    SockRef::from(&socket).set_multicast_ttl_v4(TTL)?;
    UdpSocket::from_std(socket)
}

fn open_routers(lab: &Lab) -> io::Result<BTreeMap<usize, MulticastRouter>> {
    let mut routers = BTreeMap::new();
    for (index, _, _) in lab.plan.routers() {
        let interfaces: Vec<&str> = lab
            .plan
            .links
            .iter()
            .flat_map(|link| &link.ends)
            .filter(|end| end.node == index)
            .map(|end| end.ifname.as_str())
            .collect();
        routers.insert(index, MulticastRouter::open(lab.namespace(index), &interfaces)?);
    }
    Ok(routers)
}

/// The segments (index of the link) whose router has heard a subscriber, once `wanted` have, or
/// after a while.
async fn subscribed(
    lab: &Lab,
    routers: &BTreeMap<usize, MulticastRouter>,
    wanted: usize,
) -> Vec<usize> {
    let deadline = tokio::time::Instant::now() + SUBSCRIBE;
    let mut segments = BTreeSet::new();
    loop {
        for (index, router) in routers {
            for event in router.poll_events().unwrap_or_default() {
                let Event::Joined { ifname, group } = event else { continue };
                let segment = lab.plan.links.iter().position(|link| {
                    link.kind == LinkKind::Segment
                        && link.ends.iter().any(|e| e.node == *index && e.ifname == ifname)
                });
                if group == GROUP {
                    segments.extend(segment);
                }
            }
        }
        if segments.len() >= wanted || tokio::time::Instant::now() >= deadline {
            return segments.into_iter().collect();
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// Sets the tree from the sender to the subscribed segments; keeps the routers that are on it.
fn route(
    lab: &Lab,
    from: usize,
    segments: &[usize],
    mut routers: BTreeMap<usize, MulticastRouter>,
) -> io::Result<BTreeMap<usize, MulticastRouter>> {
    let NodeKind::Client(client) = &lab.plan.nodes[from].kind else { return Ok(routers) };
    let Some(source) = client.addresses.iter().find_map(v4) else { return Ok(routers) };
    let tree = plan::multicast_tree(&lab.plan, from, segments, lab.cut_links());
    let ifname = |link: usize, node: usize| {
        lab.plan.links[link].ends.iter().find(|end| end.node == node).map(|end| &end.ifname)
    };
    routers.retain(|index, _| tree.contains_key(index));
    for (node, hop) in &tree {
        let (Some(router), Some(iif)) = (routers.get(node), ifname(hop.iif, *node)) else {
            continue;
        };
        let oifs: Vec<&str> =
            hop.oifs.iter().filter_map(|link| ifname(*link, *node)).map(String::as_str).collect();
        router.set_route(source, GROUP, iif, &oifs)?;
    }
    Ok(routers)
}

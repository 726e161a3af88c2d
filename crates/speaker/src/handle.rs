//! Telling and asking a running speaker.

mod changes;
mod monitoring;
mod neighbors;
mod origins;
mod routes;
mod told;

use std::collections::BTreeMap;
use std::time::Duration;

use anycast_bgp::policy::Policy;
use anycast_bgp::rib::Multipath;
use anycast_bgp::session::StateName;
use anycast_bgp::{Attributes, IpNet};
use tokio::sync::{mpsc, oneshot};

use crate::bfd::BfdStatus;
use crate::config::{AtLimit, Igp, Limits};
use crate::driver::{Driver, HandingOver};
use crate::handover::{HandedBfd, HandedOver};
use crate::peer::{Peer, peer_id};

pub use changes::ChangeError;
pub use neighbors::{
    CapabilityWords, CounterRow, Done, LimitsRow, NeighborOrder, NeighborStatus, NotificationRow,
    OrderError, UnknownNeighbor,
};
pub use origins::OriginCounts;
pub use routes::{
    ExplainReport, ExplainRow, FoundRoute, LookError, RouteLook, RouteRow, RouteStream,
    RouteSubject, RouteTable,
};
pub use told::Told;

/// Cease: Administrative Shutdown (RFC 4486 §3).
const ADMINISTRATIVE_SHUTDOWN: u8 = 2;
/// Cease: Administrative Reset (RFC 4486 §3).
pub(crate) const ADMINISTRATIVE_RESET: u8 = 4;

/// How long neighbors may take to agree to slower BFD.
const AGREEMENT: Duration = Duration::from_secs(2);

pub(crate) type Command = Box<dyn FnOnce(&mut Driver) + Send>;

/// A running speaker, to be told and asked; cheap to clone. A speaker that has ended takes every
/// instruction silently and answers with nothing.
#[derive(Clone)]
pub struct Handle {
    commands: mpsc::UnboundedSender<Command>,
}

impl Handle {
    pub(crate) fn new(commands: mpsc::UnboundedSender<Command>) -> Self {
        Self { commands }
    }

    fn tell(&self, command: impl FnOnce(&mut Driver) + Send + 'static) {
        let _ = self.commands.send(Box::new(command));
    }

    pub(crate) async fn ask<T: Send + 'static>(
        &self,
        question: impl FnOnce(&mut Driver) -> T + Send + 'static,
    ) -> Option<T> {
        let (sender, answer) = oneshot::channel();
        self.tell(move |driver| {
            let _ = sender.send(question(driver));
        });
        answer.await.ok()
    }

    /// Announces a prefix of our own; the next hop in `attributes` is not used.
    pub fn originate(&self, prefix: IpNet, attributes: Attributes) {
        self.tell(move |driver| driver.rib.originate(prefix, attributes));
    }

    /// Withdraws a prefix of our own.
    pub fn withdraw(&self, prefix: IpNet) {
        self.tell(move |driver| driver.rib.withdraw_local(&prefix));
    }

    /// Replaces what is taken from a neighbor; what it has sent is judged anew, the session stays.
    pub fn set_import(&self, neighbor: &str, policy: Policy) {
        let name = neighbor.to_owned();
        self.tell(move |driver| {
            if let Some(index) = driver.peers.named(&name) {
                driver.rib.set_import(peer_id(index), policy);
            }
        });
    }

    /// Replaces how much is taken from a neighbor and what follows when it sends more; what it
    /// has sent counts.
    pub fn set_limits(&self, neighbor: &str, limits: Limits, at_limit: AtLimit) {
        let name = neighbor.to_owned();
        self.tell(move |driver| {
            if let Some(index) = driver.peers.named(&name) {
                driver.peers[index].neighbor.limits = limits;
                driver.peers[index].neighbor.at_limit = at_limit;
                driver.rib.set_limits(peer_id(index), limits);
                driver.heed_limits();
            }
        });
    }

    /// Replaces what a neighbor is told; only differences are sent.
    pub fn set_export(&self, neighbor: &str, policy: Policy) {
        let name = neighbor.to_owned();
        self.tell(move |driver| {
            if let Some(index) = driver.peers.named(&name) {
                driver.rib.set_export(peer_id(index), policy);
            }
        });
    }

    /// Replaces the routes inside the AS.
    pub fn set_igp(&self, igp: Igp) {
        self.tell(move |driver| driver.set_igp(igp));
    }

    /// Lets routes that are equally good share the packets of their prefix; at first none do.
    pub fn set_multipath(&self, multipath: Multipath) {
        self.tell(move |driver| driver.rib.set_multipath(multipath));
    }

    /// Every BFD session, in the order of the neighbors.
    pub async fn bfd(&self) -> Vec<BfdStatus> {
        self.bfd_by_neighbor().await.into_values().collect()
    }

    /// The BFD sessions by the index of their neighbor.
    async fn bfd_by_neighbor(&self) -> BTreeMap<usize, BfdStatus> {
        match self.ask(|driver| driver.bfd_status()).await.flatten() {
            Some(answer) => answer.await.unwrap_or_default().into_iter().collect(),
            None => BTreeMap::new(),
        }
    }

    /// How many sessions are Established, of how many.
    pub async fn established(&self) -> (usize, usize) {
        self.ask(|driver| {
            let up = |p: &&Peer| p.session.state() == StateName::Established;
            (driver.peers.iter().filter(up).count(), driver.peers.len())
        })
        .await
        .unwrap_or((0, 0))
    }

    /// A number that grows with each session that comes or goes and each UPDATE from a neighbor:
    /// while it stands still, nothing changes.
    pub async fn activity(&self) -> u64 {
        self.ask(|driver| driver.activity).await.unwrap_or_default()
    }

    /// Waits until everything told so far has reached the kernel's tables.
    pub async fn settled(&self) {
        if let Some(settled) = self.ask(|driver| driver.kernel_settled()).await {
            settled.await;
        }
    }

    /// Ends the speaker so that another can go on in its place (`Speaker::take_over`): no
    /// neighbor is told anything, and the kernel's routes stay. Neighbors with BFD are first asked
    /// to bear some seconds of silence; the BFD thread then goes on until this process executes
    /// another program.
    ///
    /// `None`: the speaker has ended already.
    pub async fn hand_over(&self) -> Option<HandedOver> {
        let bfd = self.slow_down_bfd().await;
        let (answer, handed) = oneshot::channel();
        self.tell(move |driver| driver.order_handover(HandingOver { bfd, answer }));
        handed.await.ok()
    }

    /// The BFD sessions as they can go on, once each neighbor has agreed to more patience.
    async fn slow_down_bfd(&self) -> Vec<HandedBfd> {
        let until = tokio::time::Instant::now() + AGREEMENT;
        let mut slow_down = true;
        loop {
            let asked = self.ask(move |driver| driver.bfd_carry(slow_down)).await.flatten();
            let Some(answer) = asked else { return Vec::new() };
            let (sessions, agreed) = answer.await.unwrap_or_default();
            if agreed || tokio::time::Instant::now() >= until {
                return sessions;
            }
            slow_down = false;
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// After [`Speaker::take_over`](crate::Speaker::take_over): all that neighbors are to be told
    /// was said. What the speaker before has told them besides is withdrawn, and its kernel routes
    /// that no neighbor's routes call for are removed.
    pub fn finish_taking_over(&self) {
        self.tell(Driver::finish_taking_over);
    }

    /// Ends every session with a Cease that carries `message` (RFC 9003), then the speaker. The
    /// kernel's routes that it put in are removed.
    pub fn shutdown(&self, message: &str) {
        let message = message.to_owned();
        self.tell(move |driver| driver.stop(ADMINISTRATIVE_SHUTDOWN, &message));
    }
}

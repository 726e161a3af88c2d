//! What stands around the loop of the daemon and changes when the fleet does: addresses, built-in
//! services, servers, who watches sockets.

use std::collections::{BTreeSet, HashMap};
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;

use anycast_fleet::{Fleet, Site};
use anycast_speaker::{Handle, RpkiEvent};
use tokio::net::TcpListener;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::AbortHandle;
use tokio::time::Instant;

use super::Error;
use crate::address::{self, Added};
use crate::api::Gate;
use crate::builtin::{self, Adopted, BuiltinEvent, Wish};
use crate::control::Question;
use crate::watch::{self as deaths, Deaths};
use crate::whoami::quic::Orders;
use crate::{looking_glass, metrics};

/// All of it.
pub(super) struct Around {
    pub(super) addresses: Addresses,
    pub(super) builtins: Builtins,
    pub(super) glass: Server,
    pub(super) meter: Server,
    pub(super) gate: Gate,
    pub(super) deaths: Option<Deaths>,
    pub(super) from_rpki: mpsc::UnboundedReceiver<RpkiEvent>,
    leaving: Vec<(Instant, Leaving)>,
}

/// What serves on until those who still send here have heard of the withdrawal.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Leaving {
    Address(IpAddr),
    /// A built-in service, by its number.
    Builtin(usize),
}

impl Around {
    pub(super) fn new(
        addresses: Addresses,
        builtins: Builtins,
        (glass, meter, gate): (Server, Server, Gate),
        from_rpki: mpsc::UnboundedReceiver<RpkiEvent>,
    ) -> Self {
        Self {
            addresses,
            builtins,
            glass,
            meter,
            gate,
            deaths: None,
            from_rpki,
            leaving: Vec::new(),
        }
    }

    /// Takes leave of something at `due`.
    pub(super) fn leave(&mut self, due: Instant, what: Leaving) {
        self.leaving.push((due, what));
    }

    /// When something leaves next.
    pub(super) fn next_due(&self) -> Option<Instant> {
        self.leaving.iter().map(|(due, _)| *due).min()
    }

    /// Lets go what is due. An address that is wanted again stays.
    pub(super) async fn let_go(&mut self, fleet: &Fleet) {
        let now = Instant::now();
        let (due, rest) = self.leaving.drain(..).partition(|(due, _)| *due <= now);
        self.leaving = rest;
        let due: Vec<(Instant, Leaving)> = due;
        for (_, what) in due {
            match what {
                Leaving::Address(address) => {
                    let wanted =
                        fleet.services.iter().any(|service| service.addresses.contains(&address));
                    if !wanted {
                        self.addresses.remove(address).await;
                    }
                }
                Leaving::Builtin(number) => self.builtins.stop(number),
            }
        }
    }
}

/// The next socket that died, if anybody watches.
pub(super) async fn next_death(deaths: &mut Option<Deaths>) -> deaths::Event {
    match deaths {
        Some(deaths) => deaths.next().await,
        None => std::future::pending().await,
    }
}

/// The service addresses that this daemon put on the loopback interface.
pub(super) struct Addresses(BTreeSet<IpAddr>);

impl Addresses {
    pub(super) async fn add(fleet: &Fleet) -> Result<Self, Error> {
        let mut ours = Self(BTreeSet::new());
        match ours.add_all(fleet).await {
            Ok(_) => Ok(ours),
            Err(error) => {
                ours.remove_all().await;
                Err(error)
            }
        }
    }

    /// Adds those that are not ours yet, and says which these were; if one cannot be added, none
    /// are.
    pub(super) async fn add_all(&mut self, fleet: &Fleet) -> Result<Vec<IpAddr>, Error> {
        let mut added = Vec::new();
        for &address in fleet.services.iter().flat_map(|service| &service.addresses) {
            if self.0.contains(&address) {
                continue;
            }
            match address::add(address).await {
                Ok(Added::New) => {
                    self.0.insert(address);
                    added.push(address);
                }
                Ok(Added::AlreadyThere) => {}
                Err(source) => {
                    for address in added {
                        self.remove(address).await;
                    }
                    return Err(Error::Address { address, source });
                }
            }
        }
        Ok(added)
    }

    /// Takes one off, if it is ours.
    pub(super) async fn remove(&mut self, address: IpAddr) {
        if !self.0.remove(&address) {
            return;
        }
        if let Err(error) = address::remove(address).await {
            tracing::warn!("cannot remove {address} from the loopback interface: {error}");
        }
    }

    pub(super) async fn remove_all(&mut self) {
        for address in self.0.clone() {
            self.remove(address).await;
        }
    }
}

/// The processes of built-in services, by the services' numbers.
pub(super) struct Builtins {
    program: PathBuf,
    events: mpsc::Sender<BuiltinEvent>,
    running: HashMap<usize, Running>,
}

struct Running {
    wish: watch::Sender<Wish>,
    orders: watch::Sender<Option<Orders>>,
    /// The process, if it is handed over.
    given: Option<oneshot::Receiver<Adopted>>,
    /// Closed when it has ended.
    ended: watch::Receiver<()>,
}

impl Builtins {
    pub(super) fn new(program: PathBuf, events: mpsc::Sender<BuiltinEvent>) -> Self {
        Self { program, events, running: HashMap::new() }
    }

    /// Keeps the service at this index running, under its number; begins when the one of the
    /// number `after` has ended.
    pub(super) fn start(
        &mut self,
        fleet: &Fleet,
        site: &Site,
        index: usize,
        number: usize,
        after: Option<usize>,
        adopted: Option<Adopted>,
    ) {
        let arguments = builtin::arguments(fleet, site, &fleet.services[index]);
        let orders = builtin::orders(fleet, site, &fleet.services[index]);
        let (orders, ordered) = watch::channel(orders);
        let (wish, mut wished) = watch::channel(Wish::Run);
        let (give, given) = oneshot::channel();
        let (ends, ended) = watch::channel(());
        let before = after.and_then(|number| self.running.get(&number));
        let before = before.map(|running| running.ended.clone());
        let (program, events) = (self.program.clone(), self.events.clone());
        tokio::spawn(async move {
            // Dropped at the end, however that comes.
            let _ends = ends;
            if let Some(mut before) = before {
                tokio::select! {
                    () = async { while before.changed().await.is_ok() {} } => {}
                    _ = wished.wait_for(|wish| *wish != Wish::Run) => return,
                }
            }
            let command = (program, arguments);
            builtin::keep(command, number, events, (wished, ordered), adopted, give).await;
        });
        self.running.insert(number, Running { wish, orders, given: Some(given), ended });
    }

    /// Tells the one of this number what it is ordered now, if that is another thing.
    pub(super) fn tell(&self, number: usize, orders: Option<Orders>) {
        if let Some(running) = self.running.get(&number) {
            running.orders.send_if_modified(|before| {
                let differs = *before != orders;
                *before = orders;
                differs
            });
        }
    }

    /// Ends one; it may take a moment.
    pub(super) fn stop(&mut self, number: usize) {
        if let Some(running) = self.running.remove(&number) {
            let _ = running.wish.send(Wish::End);
        }
    }

    /// Lets all run on without us; the processes by the services' numbers.
    pub(super) async fn hand_over(&mut self) -> HashMap<usize, Adopted> {
        let mut handed = HashMap::new();
        for (number, mut running) in self.running.drain() {
            let _ = running.wish.send(Wish::HandOver);
            if let Some(given) = running.given.take()
                && let Ok(process) = given.await
            {
                handed.insert(number, process);
            }
        }
        handed
    }

    /// Ends all and waits for it.
    pub(super) async fn stop_all(&mut self) {
        for running in self.running.values() {
            let _ = running.wish.send(Wish::End);
        }
        for (_, mut running) in self.running.drain() {
            while running.ended.changed().await.is_ok() {}
        }
    }
}

pub(super) const fn no_looking_glass(address: SocketAddr, source: io::Error) -> Error {
    Error::LookingGlass { address, source }
}

pub(super) const fn no_metrics(address: SocketAddr, source: io::Error) -> Error {
    Error::Metrics { address, source }
}

/// Opens the socket of a server, if there is to be one.
pub(super) async fn listen(
    wanted: Option<SocketAddr>,
    refused: fn(SocketAddr, io::Error) -> Error,
) -> Result<Option<TcpListener>, Error> {
    let Some(address) = wanted else { return Ok(None) };
    let listener = TcpListener::bind(address).await;
    listener.map(Some).map_err(|source| refused(address, source))
}

/// A server of the site that may listen somewhere else, or not at all.
pub(super) struct Server {
    start: Box<dyn Fn(TcpListener) -> AbortHandle + Send>,
    refused: fn(SocketAddr, io::Error) -> Error,
    serving: Option<(SocketAddr, AbortHandle)>,
}

impl Server {
    pub(super) fn looking_glass(speaker: Handle) -> Self {
        let start = move |listener| {
            tokio::spawn(looking_glass::serve(listener, speaker.clone())).abort_handle()
        };
        Self { start: Box::new(start), refused: no_looking_glass, serving: None }
    }

    pub(super) fn metrics(questions: mpsc::Sender<Question>, speaker: Handle) -> Self {
        let start = move |listener| {
            let sources =
                metrics::Sources { questions: questions.clone(), speaker: speaker.clone() };
            tokio::spawn(metrics::serve(listener, sources)).abort_handle()
        };
        Self { start: Box::new(start), refused: no_metrics, serving: None }
    }

    /// Opens the socket that is wanted, unless it is open; `None`: there is nothing to open.
    pub(super) async fn open(
        &self,
        wanted: Option<SocketAddr>,
    ) -> Result<Option<TcpListener>, Error> {
        listen(wanted.filter(|it| Some(*it) != self.address()), self.refused).await
    }

    fn address(&self) -> Option<SocketAddr> {
        self.serving.as_ref().map(|(address, _)| *address)
    }

    /// Serves where it is wanted, by the listener that was opened for it, and nowhere else.
    pub(super) fn serve(&mut self, wanted: Option<SocketAddr>, listener: Option<TcpListener>) {
        if wanted == self.address() {
            return;
        }
        self.close();
        if let (Some(address), Some(listener)) = (wanted, listener) {
            self.serving = Some((address, (self.start)(listener)));
        }
    }

    pub(super) fn close(&mut self) {
        if let Some((_, task)) = self.serving.take() {
            task.abort();
        }
    }
}

//! Asks who answers: DNS queries for `id.server` (RFC 4892) from the clients' namespaces.

use std::collections::HashMap;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anycast_dns::probe::{Query, Response};
use futures_util::future::join_all;
use futures_util::stream::{FuturesUnordered, StreamExt};
use tokio::net::UdpSocket;
use tokio::task::JoinHandle;

use crate::netns::NetNs;

/// The port that is asked.
const DNS_PORT: u16 = 53;
/// When a question without an answer is asked again: often, because a route that was missing a
/// moment ago may be there now. The first answer to any of them counts.
const AGAIN: Duration = Duration::from_millis(20);
/// A question of the continuous probing that has no answer after so long is lost.
pub const LOST_AFTER: Duration = Duration::from_secs(1);

/// Who answered, and how soon.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Answer {
    /// The site by its own word.
    pub site: String,
    /// From question to answer.
    pub rtt: Duration,
}

/// Asks one address from many clients.
pub struct Prober {
    target: IpAddr,
    clients: Vec<(usize, NetNs)>,
}

impl Prober {
    /// Will ask `target` from `clients` (index of the node and its namespace).
    ///
    /// # Errors
    /// A socket cannot be opened in a client's namespace.
    pub fn open(target: IpAddr, clients: Vec<(usize, NetNs)>) -> io::Result<Self> {
        Ok(Self { target, clients })
    }

    /// The address that is asked.
    #[must_use]
    pub fn target(&self) -> IpAddr {
        self.target
    }

    /// Asks from every client, all at once; a question that may be lost is asked again.
    pub async fn ask_all(&self, patience: Duration) -> Vec<(usize, Option<Answer>)> {
        join_all(self.clients.iter().map(async |(index, ns)| {
            (*index, ask(ns, self.target, patience, AGAIN).await.ok().flatten())
        }))
        .await
    }

    /// Asks from every client again and again, until each has been answered or `patience` is
    /// over; `each` is called for every client when it is answered for the first time.
    pub async fn until_answered(&self, patience: Duration, mut each: impl FnMut(usize)) {
        let mut questions: FuturesUnordered<_> = self
            .clients
            .iter()
            .map(async |(index, ns)| {
                (*index, ask(ns, self.target, patience, AGAIN).await.ok().flatten())
            })
            .collect();
        while let Some((index, answer)) = questions.next().await {
            if answer.is_some() {
                each(index);
            }
        }
    }

    /// Asks from one client.
    pub async fn ask(&self, client: usize, patience: Duration) -> Option<Answer> {
        let (_, ns) = self.clients.iter().find(|(index, _)| *index == client)?;
        ask(ns, self.target, patience, AGAIN).await.ok().flatten()
    }

    /// Asks from `clients` again and again, every `every`, until the result is stopped.
    ///
    /// # Errors
    /// A socket cannot be opened in a client's namespace.
    pub fn stream(&self, clients: &[usize], every: Duration) -> io::Result<Streams> {
        let chosen = self.clients.iter().filter(|(index, _)| clients.contains(index));
        let streams =
            chosen.map(|(index, ns)| Ok((*index, Stream::start(open(ns, self.target)?, every))));
        Ok(Streams(streams.collect::<io::Result<_>>()?))
    }
}

fn open(ns: &NetNs, target: IpAddr) -> io::Result<Arc<UdpSocket>> {
    let any: SocketAddr =
        if target.is_ipv4() { ([0, 0, 0, 0], 0).into() } else { ([0_u16; 8], 0).into() };
    let socket = ns.run(|| std::net::UdpSocket::bind(any))?;
    socket.set_nonblocking(true)?;
    ns.run(|| socket.connect((target, DNS_PORT)))?;
    Ok(Arc::new(UdpSocket::from_std(socket)?))
}

fn question(id: u16) -> Vec<u8> {
    Query::id_server(id).emit()
}

/// Asks until there is an answer or `patience` is over, anew every `again`.
async fn ask(
    ns: &NetNs,
    target: IpAddr,
    patience: Duration,
    again: Duration,
) -> io::Result<Option<Answer>> {
    let socket = open(ns, target)?;
    let deadline = tokio::time::Instant::now() + patience;
    let mut asked: Vec<Instant> = Vec::new();
    let mut buffer = [0; 1500];
    while tokio::time::Instant::now() < deadline {
        let id = u16::try_from(asked.len()).map_err(io::Error::other)?;
        asked.push(Instant::now());
        let wait = (tokio::time::Instant::now() + again).min(deadline);
        let answer = async {
            // An error may be an ICMP message about an earlier question: a route was not there yet.
            // A second one is about this question, which is asked anew in time.
            if socket.send(&question(id)).await.is_err() {
                let _ = socket.send(&question(id)).await;
            }
            loop {
                let Ok(len) = socket.recv(&mut buffer).await else { continue };
                let Some((id, site)) = site_of(&buffer[..len]) else { continue };
                if let Some(asked) = asked.get(usize::from(id)) {
                    return Answer { site, rtt: asked.elapsed() };
                }
            }
        };
        if let Ok(answer) = tokio::time::timeout_at(wait, answer).await {
            return Ok(Some(answer));
        }
    }
    Ok(None)
}

/// The site that an answer names, and the identifier of its question.
fn site_of(octets: &[u8]) -> Option<(u16, String)> {
    let id = u16::from_be_bytes(*octets.first_chunk()?);
    let response = Response::parse(octets, &Query::id_server(id)).ok()?;
    let site = response.texts().next()?.to_owned();
    Some((id, site))
}

/// Continuous probing from several clients.
pub struct Streams(HashMap<usize, Stream>);

struct Stream {
    log: Arc<Mutex<Vec<Shot>>>,
    task: JoinHandle<()>,
}

/// One question of a stream.
#[derive(Clone, Debug)]
struct Shot {
    asked: Instant,
    answer: Option<Answer>,
}

/// What a stream found.
#[derive(Clone, Debug, Default, serde::Serialize)]
pub struct Loss {
    /// Questions asked (and old enough to be answered).
    pub asked: usize,
    /// Questions without an answer.
    pub lost: usize,
    /// The longest time without a question that was answered, in milliseconds: from the first
    /// lost question of a row to the first one after it that was answered.
    pub longest_gap_ms: f64,
    /// The sites that answered, in the order in which they first did.
    pub sites: Vec<String>,
}

impl Streams {
    /// How many questions have been asked so far, by all clients together.
    #[must_use]
    pub fn asked(&self) -> usize {
        let each = self.0.values();
        each.map(|it| it.log.lock().unwrap_or_else(PoisonError::into_inner).len()).sum()
    }

    /// Stops asking, waits for late answers and counts.
    pub async fn finish(self, late: Duration) -> HashMap<usize, Loss> {
        let stop = Instant::now();
        tokio::time::sleep(late.min(LOST_AFTER)).await;
        self.0.into_iter().map(|(client, stream)| (client, stream.count(stop))).collect()
    }
}

impl Stream {
    fn start(socket: Arc<UdpSocket>, every: Duration) -> Self {
        let log = Arc::new(Mutex::new(Vec::<Shot>::new()));
        let shared = Arc::clone(&log);
        let task = tokio::spawn(async move {
            let receive = async {
                let mut buffer = [0; 1500];
                loop {
                    match socket.recv(&mut buffer).await {
                        Ok(len) => note(&shared, &buffer[..len]),
                        // ICMP errors count as no answer.
                        Err(_) => tokio::task::yield_now().await,
                    }
                }
            };
            let send = async {
                let mut clock = tokio::time::interval(every);
                clock.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
                loop {
                    clock.tick().await;
                    let number = {
                        let mut log = shared.lock().unwrap_or_else(PoisonError::into_inner);
                        log.push(Shot { asked: Instant::now(), answer: None });
                        log.len() - 1
                    };
                    // The identifier wraps; an answer belongs to the latest question with it.
                    let id = u16::try_from(number % (1 << 16)).expect("reduced to 16 bits");
                    let _ = socket.send(&question(id)).await;
                }
            };
            tokio::join!(receive, send);
        });
        Self { log, task }
    }

    fn count(self, until: Instant) -> Loss {
        self.task.abort();
        let log = self.log.lock().unwrap_or_else(PoisonError::into_inner);
        let mut loss = Loss::default();
        let mut gap_began: Option<Instant> = None;
        for shot in log.iter().filter(|shot| shot.asked <= until) {
            loss.asked += 1;
            let Some(answer) = &shot.answer else {
                loss.lost += 1;
                gap_began.get_or_insert(shot.asked);
                continue;
            };
            if let Some(began) = gap_began.take() {
                let gap = (shot.asked - began).as_secs_f64() * 1e3;
                loss.longest_gap_ms = loss.longest_gap_ms.max(gap);
            }
            if !loss.sites.contains(&answer.site) {
                loss.sites.push(answer.site.clone());
            }
        }
        if let Some(began) = gap_began {
            let gap = (until - began).as_secs_f64() * 1e3;
            loss.longest_gap_ms = loss.longest_gap_ms.max(gap);
        }
        loss
    }
}

fn note(log: &Mutex<Vec<Shot>>, octets: &[u8]) {
    let Some((id, site)) = site_of(octets) else { return };
    let mut log = log.lock().unwrap_or_else(PoisonError::into_inner);
    let Some(last) = log.len().checked_sub(1) else { return };
    let id = usize::from(id);
    // The latest question with this identifier.
    let behind = (last % (1 << 16) + (1 << 16) - id) % (1 << 16);
    if let Some(shot) = last.checked_sub(behind).and_then(|number| log.get_mut(number)) {
        let rtt = shot.asked.elapsed();
        if rtt <= LOST_AFTER && shot.answer.is_none() {
            shot.answer = Some(Answer { site, rtt });
        }
    }
}

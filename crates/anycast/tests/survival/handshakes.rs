//! Connections that begin while the routes change: by SYN cookies, and very many short ones.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use anycast_lab::netns::NetNs;

use crate::cases::{Flow, Started, counts, flip, flow, serve_everywhere, set_in, sum};
use crate::flows::{PORT, connect, ping_pong, short_one};
use crate::stand::{Fleet, Stand, V4, V6};

/// A counter of TCP in a namespace (`TcpExt` of netstat(8)).
fn counter(node: &NetNs, name: &str) -> u64 {
    let text = node.run(|| std::fs::read_to_string("/proc/thread-self/net/netstat"));
    let text = text.expect("the kernel counts");
    let mut lines = text.lines().filter(|line| line.starts_with("TcpExt:"));
    let names = lines.next().expect("names").split_whitespace();
    let values = lines.next().expect("values").split_whitespace();
    let found = names.zip(values).find(|(its, _)| *its == name).expect(name);
    found.1.parse().expect("a number")
}

/// The owner answers by SYN cookies, so that it knows nothing of a connection before the client's first ACK. The
/// route changes while the SYN-ACK is under way, and that ACK comes to another site.
pub(crate) async fn cookies() {
    const LINK: &str = "as0--users";
    let stand = Stand::build(Fleet::default()).await;
    if !stand.keeps().await {
        return;
    }
    let (owner, other) = (stand.namespace(0), stand.namespace(1));
    // Namespaces of one kernel share the cookies' secret, as machines do not: the others take none.
    set_in(&owner, "ipv4/tcp_syncookies", "2");
    for at in 1..stand.sites {
        set_in(&stand.namespace(at), "ipv4/tcp_syncookies", "0");
    }
    serve_everywhere(&stand, None);
    let usual = Duration::from_millis(5);
    let mut flows: Vec<Flow> = Vec::new();
    for address in [V4, V6] {
        let mut latency = Duration::from_millis(200);
        loop {
            stand.lead_to(0).await;
            let sent = counter(&owner, "SyncookiesSent");
            let taken = counter(&owner, "SyncookiesRecv");
            let unwrapped = sum(&Stand::affinity(0).await, |it| it.unwrapped);
            stand.lab.impair(LINK, latency, 0.0, 1).expect("the link is there");
            let client = stand.client();
            let connecting = tokio::spawn(async move { connect(&client, address, PORT).await });
            while counter(&owner, "SyncookiesSent") == sent {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
            stand.reroute(1).await;
            let stream = connecting.await.expect("it ends").expect("a connection");
            while counter(&owner, "SyncookiesRecv") == taken {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
            let strayed = sum(&Stand::affinity(0).await, |it| it.unwrapped) - unwrapped;
            stand.lab.impair(LINK, usual, 0.0, 1).expect("the link is there");
            let time = Duration::from_secs(2);
            let talk = ping_pong(stream, time, Duration::from_millis(20));
            flows.push(flow(format!("by cookie {address}, {latency:?}"), talk));
            // Nothing but the ACK has come from the client so far.
            if strayed > 0 {
                break;
            }
            // The machine is so busy that the ACK was quicker than the route.
            latency *= 2;
            assert!(latency < Duration::from_secs(2), "no ACK of {address} strays");
        }
    }
    let started = Started::start(flows);
    flip(&stand, 4, Duration::from_millis(300)).await;
    started.all_survive().await;
    assert_eq!(counter(&other, "SyncookiesSent"), 0);
}

/// Workers that make short connections one after the other until they are told, some for each family; what
/// they made, and what failed.
struct Many {
    made: Arc<AtomicUsize>,
    is_over: Arc<AtomicBool>,
    workers: Vec<tokio::task::JoinHandle<Vec<String>>>,
}

impl Many {
    fn start(stand: &Stand, workers: usize) -> Self {
        let (made, is_over) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicBool::new(false)));
        let work = |number: usize| {
            let address = if number.is_multiple_of(2) { V4 } else { V6 };
            let (client, made, is_over) = (stand.client(), Arc::clone(&made), Arc::clone(&is_over));
            tokio::spawn(async move {
                let mut failed = Vec::new();
                while !is_over.load(Ordering::Relaxed) {
                    failed.extend(short_one(&client, address).await.err());
                    made.fetch_add(1, Ordering::Relaxed);
                }
                failed
            })
        };
        let workers = (0..workers).map(work).collect();
        Self { made, is_over, workers }
    }

    fn made(&self) -> usize {
        self.made.load(Ordering::Relaxed)
    }

    async fn end(self) -> (usize, Vec<String>) {
        self.is_over.store(true, Ordering::Relaxed);
        let mut failed = Vec::new();
        for worker in self.workers {
            failed.extend(worker.await.expect("it ends"));
        }
        (self.made.load(Ordering::Relaxed), failed)
    }
}

/// Flips ten times a second, at least so often, until at least so many connections were made.
async fn short_connections(flips: usize, least: usize) {
    let stand = Stand::build(Fleet::default()).await;
    if !stand.keeps().await {
        return;
    }
    serve_everywhere(&stand, None);
    let many = Many::start(&stand, 8);
    let mut at = 0;
    while at < flips || many.made() < least {
        at += 1;
        tokio::time::sleep(Duration::from_millis(100)).await;
        stand.reroute(at % stand.sites).await;
    }
    let (made, failed) = many.end().await;
    println!("{made} short connections under {at} route changes");
    assert!(failed.is_empty(), "{} of {made}: {failed:#?} {:?}", failed.len(), counts().await);
    let passed_on = stand.strays().await;
    assert!(passed_on > 100, "{passed_on}: {:?}", counts().await);
}

pub(crate) async fn thousand() {
    short_connections(50, 1_000).await;
}

pub(crate) async fn long() {
    short_connections(250, 1_000).await;
}

pub(crate) async fn without() {
    let stand = Stand::build(Fleet { kept: false, ..Fleet::default() }).await;
    serve_everywhere(&stand, None);
    let many = Many::start(&stand, 8);
    let mut at = 0;
    while many.made() < 300 {
        at += 1;
        tokio::time::sleep(Duration::from_millis(100)).await;
        stand.reroute(at % stand.sites).await;
    }
    let (made, failed) = many.end().await;
    println!("{} of {made} short connections failed without", failed.len());
    let resets = failed.iter().filter(|why| why.contains("reset")).count();
    assert!(resets > 0, "no reset among {made}: {failed:?}");
}

//! What attackers may not achieve, and what they cost.

use std::time::{Duration, Instant};

use anycast_lab::netns::NetNs;
use anycast_site::affinity::AffinityReport;

use crate::cases::{Started, flow, serve_everywhere, sum};
use crate::flows::{PORT, connect, download, ping_pong, short};
use crate::hostile::{Attacker, bad_frames, frame};
use crate::stand::{Fleet, Stand, V4, V6, site};

/// Between two rounds of a flood that leaves the machine some time for the rest.
const PAUSE: Duration = Duration::from_micros(200);

/// Somebody sends frames as if a site had, replays a good one, and floods one site through another with
/// segments that name it, while connections stray from that one to it.
pub(crate) async fn frames() {
    const LIMIT: u32 = 1_000;
    let fleet = Fleet { packets_of_a_source: Some(LIMIT), ..Fleet::default() };
    let stand = Stand::build(fleet).await;
    if !stand.keeps().await {
        return;
    }
    serve_everywhere(&stand, None);
    let client = stand.client();
    let (time, pace) = (Duration::from_secs(4), Duration::from_millis(20));
    let mut flows = Vec::new();
    for address in [V4, V6] {
        let stream = connect(&client, address, PORT).await.expect("a connection");
        flows.push(flow(format!("ping-pong {address}"), ping_pong(stream, time, pace)));
        let stream = connect(&client, address, PORT).await.expect("a connection");
        flows.push(flow(format!("download {address}"), download(stream, 1 << 20, pace)));
    }
    let started = Started::start(flows);
    stand.lead_to(1).await;

    let attacker = Attacker::new(&client);
    let before = Stand::affinity(0).await;
    let bad = bad_frames();
    for (_, packet) in &bad {
        attacker.send(packet);
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let rejected = |report: &AffinityReport| report.rejected.values().sum::<u64>();
    let begin = Instant::now();
    while rejected(&Stand::affinity(0).await) - rejected(&before) < bad.len() as u64
        && begin.elapsed() < Duration::from_secs(10)
    {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let after = Stand::affinity(0).await;
    for reason in ["format", "source", "epoch", "mac", "age", "hops", "inner"] {
        let sent = bad.iter().filter(|(why, _)| *why == reason).count() as u64;
        let counted = |report: &AffinityReport| report.rejected.get(reason).copied().unwrap_or(0);
        assert_eq!(counted(&after) - counted(&before), sent, "{reason}: {after:#?}");
    }

    replays(&attacker).await;

    // Four sources, each far over what is passed on for one.
    let sources = [1, 2, 3, 4].map(|host| [198, 18, 0, host]);
    let seconds = 2;
    let flood = tokio::task::spawn_blocking(move || {
        attacker.flood(&sources, 1, Duration::from_secs(seconds), PAUSE)
    });
    let until = Instant::now() + Duration::from_secs(seconds);
    let meanwhile = tokio::spawn(short(client, V4, until));
    let sent = flood.await.expect("it ends");
    let (made, failed) = meanwhile.await.expect("they end");
    assert!(failed.is_empty(), "{} of {made}: {failed:?}", failed.len());
    started.all_survive().await;
    let stray = Stand::affinity(1).await;
    let limited = stray.packets.get("limited-source").copied().unwrap_or(0);
    let most = u64::from(LIMIT) * 4 * (seconds + 2);
    println!("flood of {sent}, of which {limited} were limited; {made} connections meanwhile");
    assert!(limited > 1_000 && sent as u64 - limited <= most, "{sent}: {stray:#?}");
}

/// A good frame a hundred times: each copy is taken in, asks the other sites for a connection that there is not,
/// and ends with the last of the ring. So each costs the fleet one packet on each way between two of its sites,
/// and is within what the site that it claims to be from may pass on.
async fn replays(attacker: &Attacker) {
    const COPIES: u64 = 100;
    let asked = |report: &AffinityReport| -> Vec<u64> {
        report.peers.iter().map(|peer| peer.forwarded_by_ring).collect()
    };
    let last = |report: &AffinityReport| report.packets.get("last-of-ring").copied().unwrap_or(0);
    let before = [Stand::affinity(0).await, Stand::affinity(1).await, Stand::affinity(2).await];
    let good = frame(Duration::ZERO);
    for _ in 0..COPIES {
        attacker.send(&good);
    }
    let begin = Instant::now();
    while last(&Stand::affinity(2).await) - last(&before[2]) < COPIES
        && begin.elapsed() < Duration::from_secs(10)
    {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    // All of them are read after the last of the ring has seen all.
    let after = [Stand::affinity(0).await, Stand::affinity(1).await, Stand::affinity(2).await];
    let more: Vec<Vec<u64>> = before
        .iter()
        .zip(&after)
        .map(|(old, new)| asked(new).iter().zip(asked(old)).map(|(new, old)| new - old).collect())
        .collect();
    // Site 0 asks site 2; nobody asks site 1, which the frame says it has come to.
    assert_eq!(more, [vec![0, COPIES], vec![0, 0], vec![0, 0]], "what the ring was asked");
    assert_eq!(last(&after[2]) - last(&before[2]), COPIES, "the last one lets its kernel answer");
}

/// A client of one site, and connections that it has while a flood goes on.
struct Served {
    site: String,
    client: NetNs,
    started: Started,
}

impl Served {
    async fn start(site: String, client: NetNs, time: Duration) -> Self {
        let mut flows = Vec::new();
        for address in [V4, V6] {
            let pace = Duration::from_millis(20);
            let stream = connect(&client, address, PORT).await.expect("a connection");
            flows.push(flow(format!("{site}: talk {address}"), ping_pong(stream, time, pace)));
            let stream = connect(&client, address, PORT).await.expect("a connection");
            flows
                .push(flow(format!("{site}: download {address}"), download(stream, 1 << 20, pace)));
        }
        Self { site, client, started: Started::start(flows) }
    }
}

/// Very many sources, each within what is passed on for one, name one site at another. What all three sites have
/// goes on, old and new.
async fn flood_of_many(seconds: u64, pause: Duration) {
    const LIMIT: u32 = 500;
    let fleet = Fleet { packets_to_a_site: Some(LIMIT), ..Fleet::default() };
    let stand = Stand::build(fleet).await;
    if !stand.keeps().await {
        return;
    }
    serve_everywhere(&stand, None);
    stand.lead_to(1).await;
    let time = Duration::from_secs(seconds);
    let mut all = vec![Served::start(site(1), stand.client(), time).await];
    for at in [0, 2] {
        // The router beside a site is a client that is always led to it.
        let router = stand.lab.node(&format!("as{at}")).expect("a router");
        let client = stand.lab.namespace(router).clone();
        all.push(Served::start(site(at), client, time).await);
    }
    let before = Stand::affinity(0).await;
    let attacker = Attacker::new(&stand.client());
    // 198.18.0.0/19 of RFC 2544.
    let sources: Vec<[u8; 4]> =
        (0..32).flat_map(|net| (0..=255).map(move |host| [198, 18, net, host])).collect();
    let begin = Instant::now();
    let flood = tokio::task::spawn_blocking(move || attacker.flood(&sources, 1, time, pause));
    let until = begin + time;
    let served = all.into_iter().map(|it| async move {
        let news = tokio::spawn(short(it.client, V4, until)).await.expect("they end");
        (it.site, news, it.started.fates().await)
    });
    let served = futures_util::future::join_all(served).await;
    let sent = flood.await.expect("it ends") as u64;
    let took = u64::try_from(begin.elapsed().as_millis()).expect("some seconds");
    let (owner, stray) = (Stand::affinity(0).await, Stand::affinity(1).await);
    let limited = stray.packets.get("limited-site").copied().unwrap_or(0);
    let reached = sum(&owner, |it| it.unwrapped) - sum(&before, |it| it.unwrapped);
    println!(
        "flood of {sent} in {seconds} s ({} a second): {reached} reached the target, {limited} were over \
         the budget",
        sent / seconds
    );
    for (site, (made, failed), fates) in served {
        let lost = fates.iter().filter(|(_, fate)| fate.is_err()).count();
        println!(
            "{site}: {made} new connections, {} failed; {lost} of {} old ones lost",
            failed.len(),
            fates.len()
        );
        assert!(failed.is_empty() && made > 0, "{site}: {failed:?}");
        assert_eq!(lost, 0, "{site}: {fates:#?}");
    }
    // What is passed on in that time, and what may come at once.
    let most = u64::from(LIMIT) * (took + 1_000) / 1_000;
    assert!(reached <= most, "{reached} of {sent}, and not {most}: {stray:#?}");
    assert!(limited > 1_000, "{stray:#?}");
}

pub(crate) async fn flood() {
    flood_of_many(3, PAUSE).await;
}

/// Three times as many, which is what the lab's links bear on two cores: without any pause the flood fills
/// them, and nobody has an answer, whatever the packet programs do.
pub(crate) async fn faster_flood() {
    flood_of_many(10, Duration::from_micros(20)).await;
}

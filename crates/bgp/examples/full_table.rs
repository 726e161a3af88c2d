//! How long a full table takes to go in and out again, and how much memory it holds.
//!
//! `full_table [PREFIXES [ATTRIBUTE_SETS [FEEDERS [RECEIVERS]]]]`, by default 1,000,000, 100,000,
//! 1 and 1. The table is as the Internet's: most prefixes are /24, and some ten share their
//! attributes. Time is that of the tables alone: nothing is parsed, written or sent.

#![allow(
    clippy::disallowed_methods,
    clippy::unwrap_used,
    reason = "it measures time, and stops at the first surprise"
)]

use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anycast_bgp::message::Update;
use anycast_bgp::policy::Policy;
use anycast_bgp::rib::{Agreed, PeerConfig, PeerId, PeerUp, Rib, SendPaths};
use anycast_bgp::{AsPath, Asn, Attributes, Community, Family, IpNet};

/// Of a thousand prefixes, how many have which length; roughly the table of 2024.
const LENGTHS: [(u8, u32); 12] = [
    (24, 600),
    (23, 100),
    (22, 110),
    (21, 50),
    (20, 45),
    (19, 27),
    (18, 15),
    (17, 10),
    (16, 14),
    (15, 2),
    (14, 2),
    (13, 25),
];

/// xorshift64*: the same table in each run.
struct Random(u64);

impl Random {
    fn below(&mut self, bound: u32) -> u32 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        let high = (self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 32) as u32;
        ((u64::from(high) * u64::from(bound)) >> 32) as u32
    }
}

/// Prefixes without repetition, in the order of a table walked by address, lengths mixed.
fn prefixes(count: usize, random: &mut Random) -> Vec<IpNet> {
    let mut prefixes = Vec::with_capacity(count);
    let mut next: u32 = 0x0100_0000;
    while prefixes.len() < count {
        let mut lot = random.below(1000);
        let length = LENGTHS
            .iter()
            .find(|(_, share)| {
                let hit = lot < *share;
                lot = lot.saturating_sub(*share);
                hit
            })
            .map_or(24, |(length, _)| *length);
        // Long blocks overlap what follows them, as aggregates and their parts do.
        let net = IpNet::new(IpAddr::V4(Ipv4Addr::from_bits(next)), length).unwrap().trunc();
        let more = prefixes.last() != Some(&net);
        if more {
            prefixes.push(net);
        }
        next = next.wrapping_add(256 * (1 + random.below(22) / 10));
    }
    prefixes.sort_unstable();
    prefixes.dedup();
    prefixes
}

fn attributes(set: usize, feeder: u32, random: &mut Random) -> Attributes {
    let mut path = vec![feeder];
    path.extend((0..2 + random.below(4)).map(|_| 1 + random.below(60_000)));
    path.push(1_000_000 + u32::try_from(set).unwrap());
    let communities = (0..random.below(8)).map(|at| Community((feeder << 16) | (at * 7))).collect();
    Attributes {
        as_path: AsPath::sequence(&path),
        communities,
        med: set.is_multiple_of(3).then_some(10),
        ..Attributes::new(IpAddr::V4(address(feeder)))
    }
}

fn address(asn: u32) -> Ipv4Addr {
    Ipv4Addr::from_bits(0x0a00_0000 | asn)
}

fn add_peer(rib: &mut Rib, asn: u32) {
    let id = PeerId(asn);
    let config = PeerConfig {
        name: asn.to_string(),
        asn: Asn(asn),
        address: address(asn).into(),
        import: Policy::accept_all(),
        export: Policy::accept_all(),
        next_hop_self: false,
        enforce_first_as: true,
        role: None,
    };
    rib.add_peer(id, config);
    let up = PeerUp {
        router_id: address(asn),
        local_address: address(1).into(),
        next_hop_other: None,
        families: vec![Family::Ipv4Unicast],
        send_paths: SendPaths::default(),
        agreed: Agreed::default(),
    };
    rib.peer_up(id, up);
}

/// A line of `/proc/self/status` in MB.
fn megabytes(name: &str) -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with(name)).unwrap();
    line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap() / 1024
}

/// Peak memory, and how much of it is more than `before`.
fn memory(before: u64) -> String {
    let peak = megabytes("VmHWM");
    format!("peak {peak} MB, tables {} MB", peak.saturating_sub(before))
}

/// The time that this process has run: other processes do not count.
fn cpu() -> Duration {
    let schedstat = std::fs::read_to_string("/proc/self/schedstat").unwrap();
    Duration::from_nanos(schedstat.split_whitespace().next().unwrap().parse().unwrap())
}

/// Polls a peer dry: updates, prefixes, the longest single poll.
fn drain(rib: &mut Rib, id: PeerId) -> (usize, usize, Duration) {
    let (mut updates, mut prefixes, mut longest) = (0, 0, Duration::ZERO);
    loop {
        let before = Instant::now();
        let update = rib.poll_update(id);
        longest = longest.max(before.elapsed());
        let Some(update) = update else { return (updates, prefixes, longest) };
        updates += 1;
        prefixes += update.withdrawn.len();
        prefixes += update.announced.iter().map(|it| it.prefixes.len()).sum::<usize>();
    }
}

fn main() {
    let mut arguments =
        std::env::args().skip(1).map(|it| it.parse::<usize>().expect("a number is expected"));
    let mut argument = |default| arguments.next().unwrap_or(default);
    let (count, sets, feeders, receivers) =
        (argument(1_000_000), argument(100_000), argument(1), argument(1));
    let mut random = Random(0x9e37_79b9_7f4a_7c15);
    let feeder = |at: usize| 100 + u32::try_from(at).unwrap();
    let receiver = |at: usize| 50_000 + u32::try_from(at).unwrap();

    let table = prefixes(count, &mut random);
    let per_set = table.len().div_ceil(sets);
    let mut updates: Vec<(PeerId, Attributes, Vec<IpNet>)> = table
        .chunks(per_set)
        .enumerate()
        .map(|(set, prefixes)| {
            let feeder = feeder(set % feeders);
            (PeerId(feeder), attributes(set, feeder, &mut random), prefixes.to_vec())
        })
        .collect();
    for at in (1..updates.len()).rev() {
        updates.swap(at, random.below(u32::try_from(at + 1).unwrap()) as usize);
    }
    let total = table.len();
    drop(table);
    let before = megabytes("VmRSS");
    println!("{total} prefixes, {} attribute sets, {feeders} feeders", updates.len());

    let mut rib = Rib::new(Asn(1), address(1));
    (0..feeders).for_each(|at| add_peer(&mut rib, feeder(at)));
    (0..feeders).for_each(|at| while rib.poll_update(PeerId(feeder(at))).is_some() {});

    let (mut handled, mut longest) = (Duration::ZERO, Duration::ZERO);
    let started = cpu();
    for (id, attributes, prefixes) in &updates {
        // The copies stand for what the parser hands over; they are not counted.
        let update = Update::announce(Arc::new(attributes.clone()), prefixes.clone());
        let start = Instant::now();
        rib.handle_update(*id, update);
        let took = start.elapsed();
        handled += took;
        longest = longest.max(took);
    }
    println!(
        "in:       {handled:.2?}, longest call {longest:.1?}; {}; CPU with copies {:.2?}",
        memory(before),
        cpu().saturating_sub(started)
    );
    let started = cpu();
    let start = Instant::now();
    let mut changes = 0;
    while rib.poll_fib().is_some() {
        changes += 1;
    }
    println!(
        "fib:      {:.2?}, {changes} changes; CPU {:.2?}",
        start.elapsed(),
        cpu().saturating_sub(started)
    );

    for at in 0..receivers {
        let id = PeerId(receiver(at));
        let (start, started) = (Instant::now(), cpu());
        add_peer(&mut rib, receiver(at));
        let up = start.elapsed();
        let (updates, prefixes, longest) = drain(&mut rib, id);
        println!(
            "out {at}:    {:.2?}, of which peer up {up:.1?}; {updates} updates, {prefixes} \
             prefixes, longest poll {longest:.1?}; {}; CPU {:.2?}",
            start.elapsed(),
            memory(before),
            cpu().saturating_sub(started)
        );
    }

    let (start, started) = (Instant::now(), cpu());
    (0..feeders).for_each(|at| rib.peer_down(PeerId(feeder(at))));
    let down = start.elapsed();
    while rib.poll_fib().is_some() {}
    let (mut prefixes, mut longest) = (0, Duration::ZERO);
    for at in 0..receivers {
        let (_, more, poll) = drain(&mut rib, PeerId(receiver(at)));
        prefixes += more;
        longest = longest.max(poll);
    }
    println!(
        "gone:     {:.2?}, of which peers down {down:.1?}; {prefixes} withdrawn, longest poll \
         {longest:.1?}; {}; CPU {:.2?}",
        start.elapsed(),
        memory(before),
        cpu().saturating_sub(started)
    );
}

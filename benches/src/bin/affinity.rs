//! What a packet costs in the packet programs: nanoseconds of one run by `BPF_PROG_TEST_RUN`, without
//! the harness (an XDP program that only passes) and without what puts the packet back between runs.
//!
//! As root, in a network namespace of its own, which has no routes and one connection of each family. A
//! packet that is forwarded was looked up first, and not found. One that names this site, on the wire or
//! in a frame, was looked up in the first run, which left a note for the others.

#![allow(clippy::disallowed_methods, clippy::disallowed_types, reason = "measuring")]

use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::Command;
use std::time::{SystemTime, UNIX_EPOCH};

use anycast_affinity::model::{Context, World, decide};
use anycast_affinity::testing::{Programs, config};
use anycast_affinity::{Budgets, Config, Rate, SiteId, quic_lb};
use anycast_benches::Failure;
use anycast_benches::figures::Samples;
use nix::sched::{CloneFlags, unshare};
use nix::time::{ClockId, clock_gettime};

const ROUNDS: usize = 15;
const REPEAT: u32 = 300_000;

fn main() -> Result<(), Failure> {
    if !nix::unistd::Uid::effective().is_root() {
        println!("skipped: packet programs need root");
        return Ok(());
    }
    unshare(CloneFlags::CLONE_NEWNET)?;
    let _connections = [
        connect("203.0.113.1:40000", "192.0.2.1:80")?,
        connect("[2001:db8:2::1]:40000", "[2001:db8::1]:80")?,
    ];
    let mut here = config();
    // Limits that are looked at, and never reached.
    let limit = Some(Rate { per_second: 1_000_000_000, burst: u32::MAX });
    here.budgets = Budgets { source: limit, site: limit, ring: limit, peer: limit };
    let mut programs = Programs::bench()?;
    programs.fill(&here, monotonic()?, wall()?);

    let cases: [(&str, &str, f64, u32); 9] = [
        ("not anycast: passed", "other", 6.0, 2),
        ("names this site: passed", "mine", 20.0, 2),
        ("the same over IPv6", "mine6", 20.0, 2),
        ("names no site: lookup, socket found, passed", "lookup", f64::NAN, 2),
        ("names another site: lookup, MAC, forwarded", "forward", 250.0, 3),
        ("the same over IPv6", "forward6", 250.0, 3),
        ("QUIC of another site: AES, MAC, forwarded", "quic", f64::NAN, 3),
        ("a frame: MAC, unwrapped, names this site", "unwrap", 140.0, 2),
        ("a frame: MAC, unwrapped, none, next site asked", "ring", f64::NAN, 3),
    ];
    let mut samples: Vec<Samples> = cases.iter().map(|_| Samples::default()).collect();
    let mut harness = [Samples::default(), Samples::default(), Samples::default()];
    for _ in 0..ROUNDS {
        for (program, samples) in
            ["bench_nothing", "bench_copy", "bench_move"].iter().zip(&mut harness)
        {
            samples.add(programs.time(program, &packet("other", &here)?, REPEAT)?.0);
        }
        for ((name, case, _, expected), samples) in cases.iter().zip(&mut samples) {
            let (time, verdict) = programs.time("bench_anycast", &packet(case, &here)?, REPEAT)?;
            if verdict != *expected {
                return Err(
                    format!("{name}: the program returned {verdict}, not {expected}").into()
                );
            }
            samples.add(time);
        }
    }
    let [nothing, copy, moved] = harness.each_ref().map(Samples::median);
    println!(
        "harness {nothing:.1} ns, keeping the packet {:.1} ns, moving its beginning once {:.1} ns",
        copy - nothing,
        (moved - copy) / 2.0
    );
    for ((name, case, goal, _), samples) in cases.iter().zip(&samples) {
        // Whose length changes must be moved back: that is the bench's, not the program's.
        let back = if matches!(*case, "other" | "mine" | "mine6" | "lookup") {
            0.0
        } else {
            (moved - copy) / 2.0
        };
        let net = |time: f64| time - copy - back;
        println!(
            "{name:<52} {:>6.1} ns (best {:.1}, of {})  wanted {goal}",
            net(samples.median()),
            net(samples.percentile(0)),
            samples.len()
        );
    }
    Ok(())
}

/// A connection of a client, from end to end in this namespace.
fn connect(client: &str, service: &str) -> Result<(TcpStream, TcpStream), Failure> {
    let (client, service): (SocketAddr, SocketAddr) = (client.parse()?, service.parse()?);
    let (mask, flags) = if client.is_ipv4() { (32, "") } else { (128, " nodad") };
    let mut lines = vec!["link set lo up".to_owned()];
    for end in [client, service] {
        lines.push(format!("address add {}/{mask} dev lo{flags}", end.ip()));
    }
    for line in lines {
        if !Command::new("ip").args(line.split(' ')).status()?.success() {
            return Err(format!("ip {line} failed").into());
        }
    }
    let listener = TcpListener::bind(service)?;
    let domain = socket2::Domain::for_address(client);
    let socket = socket2::Socket::new(domain, socket2::Type::STREAM, None)?;
    socket.bind(&client.into())?;
    socket.connect(&service.into())?;
    Ok((socket.into(), listener.accept()?.0))
}

fn monotonic() -> Result<u64, Failure> {
    let time = clock_gettime(ClockId::CLOCK_MONOTONIC)?;
    Ok(u64::try_from(time.tv_sec() * 1_000_000_000 + time.tv_nsec())?)
}

fn wall() -> Result<u64, Failure> {
    Ok(u64::try_from(SystemTime::now().duration_since(UNIX_EPOCH)?.as_nanos())?)
}

fn packet(case: &str, here: &Config) -> Result<Vec<u8>, Failure> {
    let (me, other) = (here.me, SiteId::new(1).ok_or("an id")?);
    Ok(match case {
        "other" => tcp(false, [203, 0, 113, 80], 81, me.get()),
        "mine" => tcp(false, [192, 0, 2, 1], 80, me.get()),
        "mine6" => tcp(true, [0; 4], 80, me.get()),
        "lookup" => tcp(false, [192, 0, 2, 1], 80, 0),
        "forward" => tcp(false, [192, 0, 2, 1], 81, other.get()),
        "forward6" => tcp(true, [0; 4], 81, other.get()),
        "quic" => quic(here, other),
        "ring" => framed(here, &tcp(false, [192, 0, 2, 1], 81, me.get()))?,
        _ => framed(here, &tcp(false, [192, 0, 2, 1], 80, me.get()))?,
    })
}

/// What site 1 makes of a packet.
fn framed(here: &Config, packet: &[u8]) -> Result<Vec<u8>, Failure> {
    let there = anycast_affinity::testing::seen_by(SiteId::new(1).ok_or("an id")?, here);
    let has_socket = anycast_affinity::testing::no_socket;
    Ok(decide(
        packet,
        &World { config: &there, context: Context::Xdp, has_socket: &has_socket, now: wall()? },
    )
    .octets)
}

fn tcp(v6: bool, to: [u8; 4], port: u8, named: u8) -> Vec<u8> {
    let mut segment =
        vec![0x9c, 0x40, 0, port, 0, 0, 0, 1, 0, 0, 0, 1, 0x80, 0x10, 0x20, 0, 0x12, 0x34, 0, 0];
    segment.extend([1, 1, 8, 10, 0, 0, 0x30, 0x39, 0x12, 0x34, 0x40, named]);
    segment.extend([0x55; 100]);
    if v6 { ip6(6, &segment) } else { ip4(to, 6, &segment) }
}

fn quic(here: &Config, owner: SiteId) -> Vec<u8> {
    let id = quic_lb::Owner::new(owner, &here.key, 0).connection_id(&[9; 12]);
    let mut datagram = vec![0x9c, 0x40, 1, 0xbb, 0, 126, 0x12, 0x34, 0x43];
    datagram.extend(id);
    datagram.extend([0x55; 100]);
    ip4([192, 0, 2, 1], 17, &datagram)
}

fn ip4(to: [u8; 4], protocol: u8, body: &[u8]) -> Vec<u8> {
    let mut packet = vec![2, 0, 0, 0, 0, 0x0a, 2, 0, 0, 0, 0, 0x0b, 8, 0, 0x45, 0];
    packet.extend(u16::try_from(20 + body.len()).expect("short").to_be_bytes());
    packet.extend([0, 1, 0x40, 0, 57, protocol, 0, 0, 203, 0, 113, 1]);
    packet.extend(to);
    packet.extend(body);
    packet
}

fn ip6(protocol: u8, body: &[u8]) -> Vec<u8> {
    let mut packet = vec![2, 0, 0, 0, 0, 0x0a, 2, 0, 0, 0, 0, 0x0b, 0x86, 0xdd, 0x60, 0, 0, 0];
    packet.extend(u16::try_from(body.len()).expect("short").to_be_bytes());
    packet.extend([protocol, 57]);
    packet.extend([0x20, 1, 0x0d, 0xb8, 0, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1]);
    packet.extend([0x20, 1, 0x0d, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1]);
    packet.extend(body);
    packet
}

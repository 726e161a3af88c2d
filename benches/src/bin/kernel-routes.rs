//! A full table in the kernel: our speaker, and BIRD, in turn, in a network namespace of their own.
//!
//! Measured from the first octet of the first UPDATE until the kernel counts all routes. Then the
//! speaker is killed by SIGKILL and started again, and is told the first half of the table: until
//! the kernel counts just that half, what the killed one left is in the way.

#![allow(clippy::disallowed_methods, clippy::disallowed_types, reason = "measuring")]

use std::net::Ipv4Addr;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use anycast_benches::Failure;
use anycast_benches::feeder::Feeder;
use anycast_benches::figures::{Samples, print, print_ratio};
use anycast_benches::full_table;
use anycast_benches::speakers::{
    Folder, PATIENCE, Program, Running, Setup, enter, neighbor, speak,
};

const ROUTES: usize = 1_000_000;
const SETS: usize = 100_000;
const RUNS: &str = "1";
/// On a link of the namespace.
const NEXT_HOP: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 9);

fn main() -> Result<(), Failure> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match arguments.iter().map(String::as_str).collect::<Vec<_>>().as_slice() {
        ["speak", neighbors, told, bfd, installs] => speak([neighbors, told, bfd, installs]),
        ["inside", runs] => measure(runs.parse()?),
        [] => enter(&[RUNS]),
        [runs] if runs.parse::<usize>().is_ok() => enter(&[runs]),
        _ => Err("usage: kernel-routes [RUNS]".into()),
    }
}

#[derive(Default)]
struct Figures {
    seconds: Samples,
    cpu_seconds: Samples,
    megabytes: Samples,
    again: Samples,
}

fn ip(arguments: &str) -> Result<(), Failure> {
    if Command::new("ip").args(arguments.split(' ')).status()?.success() {
        return Ok(());
    }
    Err(format!("ip {arguments} failed").into())
}

/// How many prefixes the kernel's main table has, which is the first that it tells of.
fn routes() -> Result<usize, Failure> {
    let text = std::fs::read_to_string("/proc/net/fib_triestat")?;
    let line = text.lines().find_map(|line| line.trim().strip_prefix("Prefixes:"));
    Ok(line.ok_or("the kernel does not count routes")?.trim().parse()?)
}

fn wait_for(wanted: usize) -> Result<(), Failure> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let asked = Instant::now();
        let counted = routes()?;
        if counted == wanted {
            return Ok(());
        }
        if Instant::now() >= deadline {
            return Err(format!("the kernel has {counted} routes, not {wanted}").into());
        }
        // The kernel walks its whole table to count: at most a fifth of one core's time goes there.
        std::thread::sleep((asked.elapsed() * 4).max(Duration::from_millis(20)));
    }
}

impl Figures {
    fn add(&mut self, program: Program, folder: &Path) -> Result<(), Failure> {
        let setup = Setup { installs: true, ..Setup::listens(1) };
        let asn = neighbor(0).1;
        let all = full_table::part((0, 1), (ROUTES, SETS), asn, NEXT_HOP);
        let half = full_table::part((0, 2), (ROUTES, SETS), asn, NEXT_HOP);
        let mut speaker = Running::start(program, setup, folder)?;
        let feeder = Feeder::dial(0)?;
        // Now that the link's own routes are there for sure.
        let none = routes()?;
        let began = Instant::now();
        feeder.send(&all)?;
        wait_for(none + ROUTES)?;
        self.seconds.add(began.elapsed().as_secs_f64());
        let process = speaker.process()?;
        self.cpu_seconds.add(process.cpu_seconds());
        self.megabytes.add(process.peak_megabytes());
        // That is SIGKILL.
        drop(speaker);
        drop(feeder);
        let began = Instant::now();
        speaker = Running::start(program, setup, folder)?;
        let feeder = Feeder::dial(0)?;
        feeder.send(&half)?;
        wait_for(none + ROUTES / 2)?;
        self.again.add(began.elapsed().as_secs_f64());
        drop(speaker);
        ip("route flush proto 179")?;
        ip("route flush proto bird")
    }

    fn show(&self, title: &str) {
        println!("{title}");
        print("first UPDATE until all are in the kernel", &self.seconds, "s", 2);
        print("CPU time", &self.cpu_seconds, "s", 2);
        print("largest resident set", &self.megabytes, "MB", 0);
        print("killed, until just a half is there", &self.again, "s", 2);
    }
}

fn measure(runs: usize) -> Result<(), Failure> {
    println!("{ROUTES} IPv4 routes, {SETS} attribute sets");
    ip("link add d0 type veth peer name d1")?;
    ip("address add 192.0.2.1/24 dev d0")?;
    ip("link set d1 up")?;
    ip("link set d0 up")?;
    let folder = Folder::new()?;
    let programs = Program::installed();
    let mut figures: Vec<Figures> = programs.iter().map(|_| Figures::default()).collect();
    for _ in 0..runs {
        for (program, figures) in programs.iter().zip(&mut figures) {
            figures.add(*program, folder.path())?;
        }
    }
    for (program, figures) in programs.iter().zip(&figures) {
        figures.show(program.name());
    }
    if let [ours, bird] = figures.as_slice() {
        println!("BIRD over ours");
        print_ratio("time", &bird.seconds, &ours.seconds);
        print_ratio("CPU time", &bird.cpu_seconds, &ours.cpu_seconds);
        print_ratio("memory", &bird.megabytes, &ours.megabytes);
        print_ratio("killed, until just a half is there", &bird.again, &ours.again);
    }
    Ok(())
}

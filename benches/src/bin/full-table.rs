//! A full table over TCP sessions: into our speaker, and into BIRD, in turn. From one neighbor,
//! from ten, in from one and out to another, and out to ten.
//!
//! Both in a network namespace of their own, neither putting routes into the kernel. Measured
//! from the first octet of the first UPDATE until the speaker counts all routes, or until the
//! neighbor that is told them has them all; its CPU time from start to then, and the largest
//! resident set until then.

#![allow(clippy::disallowed_methods, clippy::disallowed_types, reason = "measuring")]

use std::path::Path;
use std::time::Instant;

use anycast_benches::Failure;
use anycast_benches::feeder::Feeder;
use anycast_benches::figures::{Samples, print, print_ratio};
use anycast_benches::full_table;
use anycast_benches::speakers::{Folder, Program, Running, Setup, enter, neighbor, speak};

const ROUTES: usize = 1_000_000;
const SETS: usize = 100_000;
const RUNS: &str = "5";

/// What is measured, by the word that asks for it.
const CASES: [Case; 4] = [
    Case { word: "one", title: "From one neighbor", feeders: 1, told: 0 },
    Case { word: "ten", title: "From ten neighbors, a tenth each", feeders: 10, told: 0 },
    Case { word: "through", title: "In from one neighbor and out to another", feeders: 1, told: 1 },
    Case { word: "fan", title: "In from one neighbor and out to ten", feeders: 1, told: 10 },
];

struct Case {
    word: &'static str,
    title: &'static str,
    feeders: usize,
    told: usize,
}

fn main() -> Result<(), Failure> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match arguments.iter().map(String::as_str).collect::<Vec<_>>().as_slice() {
        ["speak", neighbors, told, bfd, installs] => speak([neighbors, told, bfd, installs]),
        ["inside", runs, words @ ..] => measure(runs.parse()?, words),
        [] => enter(&[RUNS]),
        [runs, words @ ..] if runs.parse::<usize>().is_ok() => enter(&[&[*runs], words].concat()),
        _ => Err("usage: full-table [RUNS [one|ten|through|fan]…]".into()),
    }
}

#[derive(Default)]
struct Figures {
    seconds: Samples,
    cpu_seconds: Samples,
    megabytes: Samples,
}

impl Figures {
    fn add(
        &mut self,
        program: Program,
        case: &Case,
        tables: &[Vec<u8>],
        folder: &Path,
    ) -> Result<(), Failure> {
        let neighbors = case.feeders + case.told;
        let setup = Setup { told: case.told, ..Setup::listens(neighbors) };
        let mut speaker = Running::start(program, setup, folder)?;
        let feeders: Vec<Feeder> = (0..neighbors).map(Feeder::dial).collect::<Result<_, _>>()?;
        let began = Instant::now();
        std::thread::scope(|scope| {
            let senders: Vec<_> = feeders
                .iter()
                .zip(tables)
                .map(|(feeder, table)| {
                    scope.spawn(|| feeder.send(table).map_err(|error| error.to_string()))
                })
                .collect();
            if case.told == 0 {
                speaker.wait_for(ROUTES)?;
            }
            let sinks: Vec<_> = feeders[case.feeders..]
                .iter()
                .map(|sink| scope.spawn(|| sink.receive(ROUTES).map_err(|error| error.to_string())))
                .collect();
            for sink in sinks {
                sink.join().map_err(|_| "a sink panicked")??;
            }
            for sender in senders {
                sender.join().map_err(|_| "a feeder panicked")??;
            }
            Ok::<(), Failure>(())
        })?;
        self.seconds.add(began.elapsed().as_secs_f64());
        let process = speaker.process()?;
        self.cpu_seconds.add(process.cpu_seconds());
        self.megabytes.add(process.peak_megabytes());
        Ok(())
    }

    fn show(&self, title: &str) {
        println!("{title}");
        print("first UPDATE until all are there", &self.seconds, "s", 2);
        print("CPU time", &self.cpu_seconds, "s", 2);
        print("largest resident set", &self.megabytes, "MB", 0);
    }
}

fn measure(runs: usize, words: &[&str]) -> Result<(), Failure> {
    println!("{ROUTES} IPv4 routes, {SETS} attribute sets");
    let folder = Folder::new()?;
    let programs = Program::installed();
    for case in CASES.iter().filter(|case| words.is_empty() || words.contains(&case.word)) {
        println!("\n{}", case.title);
        let tables: Vec<Vec<u8>> = (0..case.feeders)
            .map(|index| {
                let (address, asn) = neighbor(index);
                full_table::part((index, case.feeders), (ROUTES, SETS), asn, address)
            })
            .collect();
        let mut figures: Vec<Figures> = programs.iter().map(|_| Figures::default()).collect();
        for _ in 0..runs {
            for (program, figures) in programs.iter().zip(&mut figures) {
                figures.add(*program, case, &tables, folder.path())?;
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
        }
    }
    Ok(())
}

//! How soon a lab is up and down: the built-in one, as root and without privileges; and one world
//! with our routers and with BIRD's, in turn.
//!
//! Up: from the start of the program until it says that every client is answered. Down: from
//! SIGINT until none of its processes lives.

#![allow(clippy::disallowed_methods, clippy::disallowed_types, reason = "measuring")]

use std::path::Path;
use std::time::Duration;

use anycast_benches::figures::{Samples, print, print_ratio};
use anycast_benches::lab::{Files, Lab, Workshop};
use anycast_benches::{Failure, small_world};
use nix::unistd::Uid;

/// Runs of each kind.
const RUNS: usize = 10;
/// The kernel takes namespaces apart after their processes are gone, and slows what starts then.
const PAUSE: Duration = Duration::from_secs(1);

#[derive(Default)]
struct Figures {
    start_ms: Samples,
    stop_ms: Samples,
    megabytes: Samples,
    size: String,
}

impl Figures {
    fn measure(
        &mut self,
        workshop: &Workshop,
        files: Files<'_>,
        unprivileged: bool,
    ) -> Result<(), Failure> {
        std::thread::sleep(PAUSE);
        let lab = Lab::start(workshop, files, unprivileged)?;
        self.start_ms.add(lab.start.as_secs_f64() * 1e3);
        self.size.clone_from(&lab.size);
        // Late routes and sessions belong to its memory.
        std::thread::sleep(PAUSE);
        self.megabytes.add(lab.megabytes());
        self.stop_ms.add(lab.stop()?.as_secs_f64() * 1e3);
        Ok(())
    }

    fn show(&self, title: &str) {
        println!("{title}: {}", self.size);
        print("start until every client is answered", &self.start_ms, "ms", 0);
        print("SIGINT until no process is left", &self.stop_ms, "ms", 0);
        print("memory of all processes", &self.megabytes, "MB", 1);
    }
}

fn main() -> Result<(), Failure> {
    let runs = std::env::args().nth(1).map_or(Ok(RUNS), |runs| runs.parse())?;
    let workshop = Workshop::open()?;

    let root = Uid::effective().is_root();
    let (mut privileged, mut unprivileged) = (Figures::default(), Figures::default());
    for _ in 0..runs {
        if root {
            privileged.measure(&workshop, Files::default(), false)?;
        }
        unprivileged.measure(&workshop, Files::default(), true)?;
    }
    if root {
        privileged.show("As root");
    } else {
        println!("skipped: the figures of root, as this is not root");
    }
    unprivileged.show("Without privileges");

    if !Path::new("/usr/sbin/bird").exists() {
        println!("skipped: the same world with BIRD, which is not installed (apt install bird2)");
        return Ok(());
    }
    let fleet = workshop.write("fleet.toml", &small_world::fleet())?;
    let with_ours = workshop.write("ours.toml", &small_world::world("anycast"))?;
    let with_bird = workshop.write("bird.toml", &small_world::world("bird"))?;
    let (mut ours, mut bird) = (Figures::default(), Figures::default());
    for _ in 0..runs {
        ours.measure(&workshop, Files { fleet_and_world: Some((&fleet, &with_ours)) }, false)?;
        bird.measure(&workshop, Files { fleet_and_world: Some((&fleet, &with_bird)) }, false)?;
    }
    ours.show("Our routers");
    bird.show("BIRD's routers");
    println!("BIRD over ours");
    print_ratio("start", &bird.start_ms, &ours.start_ms);
    print_ratio("stop", &bird.stop_ms, &ours.stop_ms);
    print_ratio("memory", &bird.megabytes, &ours.megabytes);
    Ok(())
}

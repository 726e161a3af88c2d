//! Connections that live through route changes: real programs in the kernel, real TCP and QUIC,
//! and routes that BGP changes, in a lab of its own for each case.
//!
//! A lab can only be entered by a process with one thread, so each case is this program, started
//! again. It speaks as much of libtest's command line as cargo and nextest use. The packet programs
//! need root; without, the cases say that they are skipped.
#![allow(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    reason = "these tests are about sockets, namespaces and time"
)]

#[path = "survival/attacks.rs"]
mod attacks;
#[path = "survival/cases.rs"]
mod cases;
#[path = "survival/changes.rs"]
mod changes;
#[path = "survival/flows.rs"]
mod flows;
#[path = "survival/handshakes.rs"]
mod handshakes;
#[path = "survival/hostile.rs"]
mod hostile;
#[path = "survival/powers.rs"]
mod powers;
#[path = "survival/quic.rs"]
mod quic;
#[path = "survival/secure.rs"]
mod secure;
#[path = "survival/ssh.rs"]
mod ssh;
#[path = "survival/stand.rs"]
mod stand;
#[path = "survival/whoami.rs"]
mod whoami;
#[path = "survival/xdp.rs"]
mod xdp;

use std::process::{Command, ExitCode};
use std::time::{Duration, Instant};

use anycast_lab::sandbox::{Entered, Sandbox};

/// A case that takes longer than this hangs.
const PATIENCE: Duration = Duration::from_secs(120);
/// Says to this program, started again, what to do.
const ROLE: &str = "SURVIVAL_ROLE";

/// By hand: `cargo test --test survival -- --ignored`. The 250 flips take half a minute; figures of a flood and
/// times under loss say something on a quiet machine alone.
const SLOW: &[&str] = &[
    "short_connections_survive_250_flips",
    "a_flood_that_the_lab_just_bears_harms_nobody",
    "loss_costs_what_it_costs_without",
];

fn main() -> ExitCode {
    if let Ok(role) = std::env::var(ROLE) {
        return inside(&role);
    }
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let has = |flag: &str| arguments.iter().any(|it| it == flag);
    let values = ["terse", "pretty", "1", "2"];
    let words =
        arguments.iter().filter(|it| !it.starts_with('-') && !values.contains(&it.as_str()));
    let filters: Vec<&String> = words.collect();
    let fits = |name: &str| {
        filters.is_empty()
            || filters
                .iter()
                .any(|it| if has("--exact") { name == **it } else { name.contains(*it) })
    };
    let asked = |name: &str| SLOW.contains(&name) == has("--ignored") || has("--include-ignored");
    let chosen: Vec<&str> =
        cases::CASES.iter().map(|(name, _)| *name).filter(|it| fits(it) && asked(it)).collect();
    if has("--list") {
        for name in &chosen {
            println!("{name}: test");
        }
        return ExitCode::SUCCESS;
    }
    let mut failed = 0;
    for name in &chosen {
        let passed = run(name);
        println!("test {name} ... {}", if passed { "ok" } else { "FAILED" });
        failed += usize::from(!passed);
    }
    println!("\ntest result: {} passed; {failed} failed", chosen.len() - failed);
    ExitCode::from(u8::from(failed > 0))
}

/// This program again, for one case.
fn run(name: &str) -> bool {
    // Where they may run, a case that cannot be played has failed.
    if let Err(why) = powers::has_all() {
        println!("skipped: {why}");
        return true;
    }
    let mut command = Command::new("/proc/self/exe");
    let mut child = command.env(ROLE, name).spawn().expect("this program starts again");
    let begin = Instant::now();
    loop {
        match child.try_wait().expect("the case can be waited for") {
            Some(status) => return status.success(),
            None if begin.elapsed() > PATIENCE => {
                eprintln!("{name} hangs");
                child.kill().expect("the case can be killed");
                child.wait().expect("the case can be waited for");
                return false;
            }
            None => std::thread::sleep(Duration::from_millis(5)),
        }
    }
}

/// A case in a lab; a panic makes the exit code 101.
fn inside(name: &str) -> ExitCode {
    let lab = format!("survival-{}", std::process::id());
    match Sandbox::enter(Some(&lab)) {
        Ok(Entered::Ended(code)) => ExitCode::from(code),
        Ok(Entered::Inside(_)) => {
            let runtime = tokio::runtime::Builder::new_multi_thread()
                .worker_threads(2)
                .enable_all()
                .build()
                .expect("a runtime");
            runtime.block_on(cases::play(name));
            runtime.shutdown_background();
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("{name}: no lab: {error}");
            ExitCode::FAILURE
        }
    }
}

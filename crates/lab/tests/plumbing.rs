//! The lab's plumbing on the real kernel: walls, namespaces, links, multicast.
//!
//! A lab can only be entered by a process with one thread, so each case runs in a process of its
//! own: this program, started again. As root every case runs twice, as root and as nobody. It
//! speaks as much of libtest's command line as cargo and nextest use.
#![allow(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    reason = "these tests are about sockets, threads and time"
)]

#[path = "plumbing/links.rs"]
mod links;
#[path = "plumbing/multicast.rs"]
mod multicast;
#[path = "plumbing/walls.rs"]
mod walls;

use std::os::unix::process::CommandExt;
use std::process::{Command, ExitCode};
use std::time::{Duration, Instant};

use anycast_lab::sandbox::{Entered, Sandbox, SandboxError};

/// A case, and where it runs.
#[derive(Clone, Copy)]
enum Case {
    /// In a lab of its own.
    Inside(fn()),
    /// Beside labs that it starts.
    Outside(fn()),
}

const CASES: &[(&str, Case)] = &[
    ("a_datagram_takes_the_latency_both_ways", Case::Inside(links::latency)),
    ("a_bulk_transfer_arrives_intact_with_offloads", Case::Inside(links::bulk)),
    ("a_broadcast_reaches_all_others_of_a_lan", Case::Inside(links::broadcast)),
    ("a_cut_takes_the_carrier_and_a_mend_brings_it_back", Case::Inside(links::cut)),
    ("a_frozen_link_or_node_keeps_its_carrier", Case::Inside(links::frozen)),
    ("packets_follow_the_routes_through_a_router", Case::Inside(links::routes)),
    ("a_refused_request_is_named", Case::Inside(links::refused)),
    ("fifty_nodes_and_a_hundred_links_stand", Case::Inside(links::large)),
    ("multicast_goes_to_the_subscribed_lan_alone", Case::Inside(multicast::subscribed)),
    ("sysctls_and_loopback_are_set", Case::Inside(links::sysctls)),
    ("orphans_are_reaped", Case::Inside(walls::orphans)),
    ("a_killed_lab_leaves_nothing", Case::Outside(walls::killed)),
    ("a_terminated_lab_gets_the_signal_and_its_code_comes_back", Case::Outside(walls::terminated)),
    ("a_command_runs_in_a_node", Case::Outside(walls::exec)),
    ("a_second_lab_of_the_same_name_is_refused", Case::Outside(walls::second)),
    ("a_machine_without_user_namespaces_is_told_so", Case::Outside(walls::forbidden)),
    ("only_the_owner_may_control", Case::Outside(walls::control)),
];

/// The user that "unprivileged" means when the tests run as root.
const NOBODY: u32 = 65534;
/// A case that takes longer than this hangs.
const PATIENCE: Duration = Duration::from_secs(60);
/// Says to this program, started again, what to be.
const ROLE: &str = "PLUMBING_ROLE";

fn main() -> ExitCode {
    if let Ok(role) = std::env::var(ROLE) {
        return play(&role);
    }
    let args: Vec<String> = std::env::args().skip(1).collect();
    let has = |flag: &str| args.iter().any(|arg| arg == flag);
    let mut filters: Vec<&String> = args.iter().filter(|arg| !arg.starts_with('-')).collect();
    // The values of libtest's options are no filters.
    filters.retain(|word| !["terse", "pretty", "1", "2"].contains(&word.as_str()));
    let who: &[(&str, Option<u32>)] = if nix::unistd::geteuid().is_root() {
        &[("root", None), ("nobody", Some(NOBODY))]
    } else {
        &[("user", None)]
    };
    let chosen: Vec<_> = who
        .iter()
        .flat_map(|(prefix, uid)| {
            CASES.iter().map(move |(name, _)| (format!("{prefix}::{name}"), *name, *uid))
        })
        .filter(|(full, ..)| {
            filters.is_empty()
                || filters.iter().any(|filter| {
                    if has("--exact") { full == *filter } else { full.contains(filter.as_str()) }
                })
        })
        .filter(|_| !has("--ignored"))
        .collect();
    if has("--list") {
        for (full, ..) in chosen {
            println!("{full}: test");
        }
        return ExitCode::SUCCESS;
    }
    let mut failed = 0;
    for (full, name, uid) in &chosen {
        let passed = run(name, *uid);
        println!("test {full} ... {}", if passed { "ok" } else { "FAILED" });
        failed += usize::from(!passed);
    }
    println!("\ntest result: {} passed; {failed} failed", chosen.len() - failed);
    ExitCode::from(u8::from(failed > 0))
}

/// This program again, in the part of `role`.
fn again(role: &str) -> Command {
    // By this name it can be started even where its path may not be walked by another user.
    let mut command = Command::new("/proc/self/exe");
    command.env(ROLE, role).env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin");
    command
}

fn run(name: &str, uid: Option<u32>) -> bool {
    let mut command = again(name);
    if let Some(uid) = uid {
        command.uid(uid).gid(uid).current_dir("/");
    }
    let mut child = command.spawn().expect("this program starts again");
    let start = Instant::now();
    loop {
        match child.try_wait().expect("the case can be waited for") {
            Some(status) => return status.success(),
            None if start.elapsed() > PATIENCE => {
                eprintln!("{name} hangs");
                child.kill().expect("the case can be killed");
                child.wait().expect("the case can be waited for");
                return false;
            }
            None => std::thread::sleep(Duration::from_millis(2)),
        }
    }
}

/// What the program does when started again. A panic makes the exit code 101.
fn play(role: &str) -> ExitCode {
    if let Some((_, case)) = CASES.iter().find(|(name, _)| *name == role) {
        return match case {
            Case::Outside(case) => {
                case();
                ExitCode::SUCCESS
            }
            Case::Inside(case) => inside(&format!("test-{}", std::process::id()), |_| case()),
        };
    }
    match role.split_once(' ') {
        Some(("hold", name)) => inside(name, walls::hold),
        Some(("exec", name)) => walls::exec_role(name),
        Some(("ask", name)) => walls::ask_role(name),
        _ => panic!("no role named {role}"),
    }
}

/// Enters a lab and runs `f` in it.
fn inside(name: &str, f: impl FnOnce(Sandbox)) -> ExitCode {
    match Sandbox::enter(Some(name)) {
        Ok(Entered::Inside(sandbox)) => {
            f(sandbox);
            ExitCode::SUCCESS
        }
        Ok(Entered::Ended(code)) => ExitCode::from(code),
        Err(error @ SandboxError::Refused(_)) => {
            println!("skipped: {error}");
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

//! Another program in the daemon's place: what its neighbors notice, which is nothing, and when it
//! is refused.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;

use nix::sys::signal::Signal;
use serde_json::Value;

use crate::lab::{AT_HOME, FLEET, WORLD};
use crate::program::{Desk, Lab, Output, Process, SETTLED, User, as_each_user, installed, until};
use crate::reload::{Bird, lab_with_bird};
use crate::site::{Daemon, kinds, lab_without_fra};

as_each_user! {
    bird_and_a_neighbor_with_bfd_notice_nothing_and_a_kill_is_noticed_at_once
    frr_notices_nothing
    a_session_with_a_password_goes_on
    a_program_or_a_file_that_is_not_fit_changes_nothing
}

/// The program under a name of its own, so that it can be replaced.
fn install(desk: &Desk) -> PathBuf {
    let (new, path) = (desk.path("new"), desk.path("installed"));
    fs::copy(env!("CARGO_BIN_EXE_anycast"), &new).expect("a copy of the program");
    fs::set_permissions(&new, fs::Permissions::from_mode(0o755)).expect("it is ours");
    fs::rename(new, &path).expect("in the same folder");
    path
}

fn start<'l, 'd>(lab: &'l Lab<'d>, program: &str) -> Daemon<'l, 'd> {
    let fleet = lab.desk.path("mine.toml");
    let fleet = fleet.to_str().expect("a path of letters");
    let socket = ["--socket", "/run/anycast/fra.sock", "--state-dir", "/run/anycast/test"];
    let command = [&[program, "run", fleet, "--site", "fra"], &socket[..]].concat();
    Daemon { lab, process: Process::start(lab.in_node("fra", &command)) }
}

fn upgrade(daemon: &Daemon<'_, '_>, arguments: &[&str]) -> Output {
    daemon.lab.exec("fra", &[&["anycast", "upgrade"], arguments].concat())
}

/// What a neighbor of the lab's own kind says of its sessions with the site: since when each is up.
fn file_of(pid: u32) -> PathBuf {
    fs::read_link(format!("/proc/{pid}/exe")).expect("it runs")
}

fn pid_of_service(daemon: &Daemon<'_, '_>) -> Value {
    daemon.show(&["services", "--json"]).json()["services"][0]["pid"].clone()
}

fn bird_and_a_neighbor_with_bfd_notice_nothing_and_a_kill_is_noticed_at_once(user: User) {
    if !installed(&["bird", "birdc"]) {
        return;
    }
    let desk = Desk::new(user);
    let right = "next-hop-v6 = \"2001:db8:ffff:1::1\"\n";
    assert_eq!(FLEET.matches(right).count(), 1);
    let fleet = FLEET.replace(right, &format!("{right}bfd = true\n"));
    desk.write("mine.toml", &fleet);
    let program = install(&desk);
    let Some(lab) = lab_with_bird(&desk, &fleet) else { return };
    let daemon = start(&lab, program.to_str().expect("letters"));
    daemon.announces();
    until("BFD is Up", SETTLED, || {
        let shown = daemon.show(&["bfd", "--json"]).out;
        if shown.contains("\"Up\"") { Ok(()) } else { Err(shown) }
    });
    let bird = Bird(&lab);
    bird.hears(None);
    let (since, _) = bird.session();
    let withdrawn = bird.withdrawn();
    let (pid, service) = (daemon.pid(), pid_of_service(&daemon));

    // An older program has the name no more: the new one runs from a file of its own.
    install(&desk);
    for round in 1..=2 {
        let done = upgrade(&daemon, &[]);
        assert_eq!(done.code, Some(0), "{done:?} {}", daemon.process.words());
        assert!(done.out.contains("sessions that go on: left, right\n"), "{done:?}");
        assert_eq!(file_of(pid), program, "the same process, from the new file");
        let events = daemon.show(&["events", "--json"]).json();
        let kinds = kinds(&events);
        let count = |kind: &str| kinds.iter().filter(|it| **it == kind).count();
        assert_eq!(count("upgraded"), round);
        assert_eq!(count("withdraw") + count("neighbor-down") + count("neighbor-reset"), 0);
        let up = daemon.show(&["neighbors", "--json"]).out.matches("\"Established\"").count();
        assert_eq!(up, 2);
        assert_eq!(pid_of_service(&daemon), service, "the built-in service runs on");
    }
    until("BFD is at its old pace", SETTLED, || {
        let shown = daemon.show(&["bfd", "--json"]).json();
        let row = &shown[0];
        let quick = row["detection_ms"].as_f64().is_some_and(|ms| ms < 2000.0);
        if quick && row["downs"] == 0 && row["state"] == "Up" { Ok(()) } else { Err(shown) }
    });
    // More than the patience that neighbors with BFD were asked for.
    std::thread::sleep(std::time::Duration::from_secs(4));
    assert_eq!(bird.session().0, since, "the session is the same");
    assert_eq!(bird.withdrawn(), withdrawn, "and no route was withdrawn");
    lab.settles("everybody is at home still", AT_HOME);
    // Sessions go on for good: what changes is told, and a service that dies is noticed.
    desk.write("mine.toml", fleet.replace("prepend = 1", "prepend = 2"));
    assert_eq!(lab.exec("fra", &["anycast", "reload"]).code, Some(0));

    crate::program::send(pid, Signal::SIGKILL);
    lab.settles("a killed daemon's routes are gone", &[("paris", "nyc"), ("toronto", "nyc")]);
}

fn frr_notices_nothing(user: User) {
    if !installed(&["bgpd"]) {
        return;
    }
    let desk = Desk::new(user);
    let world = WORLD.replace("[as.left]\n", "[as.left]\nrouter = \"frr\"\n");
    desk.write("world.toml", world);
    desk.write("fleet.toml", FLEET);
    desk.write("mine.toml", FLEET);
    let program = install(&desk);
    let Some(lab) = desk.lab(&["fleet.toml", "--world", "world.toml"]) else { return };
    lab.settles("everybody is at home", AT_HOME);
    lab.does(&["stop", "fra"]);
    lab.settles("the lab's own daemon is gone", &[("paris", "nyc"), ("toronto", "nyc")]);
    let daemon = start(&lab, program.to_str().expect("letters"));
    daemon.announces();
    install(&desk);
    let done = upgrade(&daemon, &["--json"]);
    assert_eq!(done.code, Some(0), "{done:?} {}", daemon.process.words());
    assert_eq!(done.json()["reset"], serde_json::json!([]));
    std::thread::sleep(std::time::Duration::from_secs(2));
    let left = daemon.show(&["neighbors", "left", "--json"]).json();
    assert_eq!(left["counters"]["established"], 1, "{left}");
    assert_eq!(left["counters"]["dropped"], 0, "{left}");
    lab.settles("everybody is at home still", AT_HOME);
}

/// TCP MD5 (RFC 2385): its key goes on with the socket, and the new program listens with it.
fn a_session_with_a_password_goes_on(user: User) {
    if !installed(&["bird", "birdc"]) {
        return;
    }
    let desk = Desk::new(user);
    let left = "next-hop-v6 = \"2001:db8:ffff:0::1\"\n";
    assert_eq!(FLEET.matches(left).count(), 1);
    let with =
        |more: &str| FLEET.replace(left, &format!("{left}password-file = \"secret\"\n{more}"));
    desk.write("secret", "s3cret\n");
    desk.write("mine.toml", with(""));
    let program = install(&desk);
    let Some(lab) = lab_with_bird(&desk, &with("")) else { return };
    let passwords = lab.exec("left", &["sh", "-c", "grep -rh password /run/anycast/left"]);
    assert_eq!(passwords.out.trim(), "password \"s3cret\";", "BIRD has it: {passwords:?}");
    let daemon = start(&lab, program.to_str().expect("letters"));
    daemon.announces();
    let bird = Bird(&lab);
    bird.hears(None);
    let (since, withdrawn) = (bird.session().0, bird.withdrawn());

    install(&desk);
    let done = upgrade(&daemon, &[]);
    assert_eq!(done.code, Some(0), "{done:?} {}", daemon.process.words());
    assert!(done.out.contains("sessions that go on: left, right\n"), "{done:?}");
    // What is said on it from now on is signed: BIRD would not hear it otherwise.
    desk.write("mine.toml", with("med = 7\n"));
    assert_eq!(lab.exec("fra", &["anycast", "reload"]).code, Some(0));
    bird.hears(Some(7));
    assert_eq!((bird.session().0, bird.withdrawn()), (since, withdrawn), "nothing was noticed");
    // A new connection works as well.
    assert_eq!(lab.exec("fra", &["anycast", "neighbor", "left", "clear"]).code, Some(0));
    daemon.announces();
    bird.hears(Some(7));
}

fn a_program_or_a_file_that_is_not_fit_changes_nothing(user: User) {
    let desk = Desk::new(user);
    desk.write("mine.toml", FLEET);
    let program = install(&desk);
    let Some(lab) = lab_without_fra(&desk) else { return };
    let daemon = start(&lab, program.to_str().expect("letters"));
    daemon.announces();
    let pid = daemon.pid();
    let good = upgrade(&daemon, &["--dry-run"]);
    assert_eq!(good.code, Some(0), "{good:?}");
    assert!(good.out.ends_with("nothing was done (--dry-run)\n"), "{good:?}");

    desk.write("mine.toml", FLEET.replace("prepend = 1", "prepend = 2"));
    upgrade(&daemon, &[]).failed_with(2, &["says something else", "anycast reload"]);
    desk.write("mine.toml", "nonsense");
    upgrade(&daemon, &[]).failed_with(2, &["does not take the fleet file"]);
    desk.write("mine.toml", FLEET);
    for (script, words) in [("exit 2", "understands none"), ("echo 77", "understands 77")] {
        let other = desk.write("other", format!("#!/bin/sh\n{script}\n"));
        fs::set_permissions(&other, fs::Permissions::from_mode(0o755)).expect("it is ours");
        fs::rename(other, &program).expect("in the same folder");
        upgrade(&daemon, &[]).failed_with(2, &[words, "start the daemon again"]);
    }
    let events = daemon.show(&["events", "--json"]).json();
    let refused = kinds(&events).iter().filter(|kind| **kind == "upgrade-refused").count();
    assert_eq!(refused, 4, "a dry run leaves none");
    assert_eq!(daemon.pid(), pid);
    daemon.announces();
}

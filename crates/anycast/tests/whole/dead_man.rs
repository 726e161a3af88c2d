//! A daemon that stands still or dies, and what systemd is told of one that does not.

use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;

use crate::lab::FLEET;
use crate::program::{Desk, Process, SETTLED, User, as_each_user, finish, skip, until};
use crate::site::{Daemon, lab_without_fra};

as_each_user! {
    a_daemon_whose_log_nobody_reads_takes_its_announcements_along
    a_daemon_that_was_frozen_for_longer_goes_on
    systemd_is_told_when_the_site_is_ready_lives_and_stops
}

const RUN: &str = "--site fra --socket /run/anycast/fra.sock";

fn a_daemon_whose_log_nobody_reads_takes_its_announcements_along(user: User) {
    let desk = Desk::new(user);
    let Some(lab) = lab_without_fra(&desk) else { return };
    // Where an ordinary user of the lab may write.
    let (fleet, log) = (desk.path("fleet.toml"), "/run/anycast/log");
    // A pipe of 64 KiB that is nearly full, of which nobody reads.
    let script = format!(
        "mkfifo {log} && {{ sleep 60 <{log} & }} && exec 2>{log} && head -c 61000 /dev/zero >&2 \
         && exec anycast run {} {RUN}",
        fleet.display(),
    );
    let daemon =
        Daemon { lab: &lab, process: Process::start(lab.in_node("fra", &["sh", "-c", &script])) };
    daemon.announces();
    let full = Instant::now();
    let refresh = ["timeout", "1", "anycast", "neighbor", "left", "clear", "soft"];
    while lab.exec("fra", &refresh).code == Some(0) {
        assert!(full.elapsed() < SETTLED, "the pipe is never full");
    }
    // The hold time is 90 s: it is the end of the process that tells the neighbors.
    lab.settles("its neighbors drop the routes", &[("paris", "nyc"), ("toronto", "nyc")]);
    assert_eq!(daemon.process.wait().code(), Some(128 + 6), "it aborts itself");
}

fn a_daemon_that_was_frozen_for_longer_goes_on(user: User) {
    let desk = Desk::new(user);
    let Some(lab) = lab_without_fra(&desk) else { return };
    let daemon = Daemon::start(&lab, "fleet.toml");
    daemon.announces();
    let pid = daemon.pid();
    crate::program::send(pid, Signal::SIGSTOP);
    std::thread::sleep(Duration::from_secs(7));
    crate::program::send(pid, Signal::SIGCONT);
    std::thread::sleep(Duration::from_secs(2));
    daemon.announces();
    assert!(!daemon.process.ended(), "{}", daemon.process.words());
}

fn systemd_is_told_when_the_site_is_ready_lives_and_stops(user: User) {
    if !Path::new("/usr/bin/python3").exists() {
        return skip("python3 is not installed");
    }
    let desk = Desk::new(user);
    let Some(lab) = lab_without_fra(&desk) else { return };
    desk.write("mine.toml", FLEET);
    let (fleet, socket, told) =
        (desk.path("mine.toml"), "/run/anycast/notify", "/run/anycast/told");
    let listen = format!(
        "import socket\ns = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)\n\
         s.bind('{socket}')\nf = open('{told}', 'w')\n\
         while True: f.write(s.recv(4096).decode() + '\\n\\n'); f.flush()\n",
    );
    let listener = desk.write("listen.py", listen);
    let _listener = Process::start(lab.in_node("fra", &["python3", &listener]));
    until("somebody listens", SETTLED, || {
        let there = lab.exec("fra", &["ls", socket, told]);
        if there.code == Some(0) { Ok(()) } else { Err(there) }
    });
    let script = format!(
        "NOTIFY_SOCKET={socket} WATCHDOG_USEC=600000 exec anycast run {} {RUN}",
        fleet.display()
    );
    let daemon =
        Daemon { lab: &lab, process: Process::start(lab.in_node("fra", &["sh", "-c", &script])) };
    daemon.announces();
    let heard = |what: &str| {
        until(what, SETTLED, || {
            let told = lab.exec("fra", &["cat", told]).out;
            if told.contains(what) { Ok(told) } else { Err((told, daemon.process.words())) }
        })
    };
    let first = heard("WATCHDOG=1");
    assert!(first.starts_with("READY=1\nSTATUS="), "{first}");
    heard("STATUS=2 of 2 sessions, 2 of 2 prefixes announced");
    desk.write("mine.toml", FLEET.replace("prepend = 1", "prepend = 2"));
    daemon.process.signal(Signal::SIGHUP);
    heard("RELOADING=1");
    until("it is ready again", SETTLED, || {
        let told = lab.exec("fra", &["cat", told]).out;
        let after = told.split("RELOADING=1").nth(1).unwrap_or_default();
        if after.contains("READY=1") { Ok(()) } else { Err(told.clone()) }
    });
    daemon.process.signal(Signal::SIGTERM);
    heard("STOPPING=1");
    assert_eq!(daemon.process.wait().code(), Some(0), "{}", daemon.process.words());
}

fn unit() -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../dist/anycast@.service");
    std::fs::read_to_string(path).expect("the unit is there")
}

/// The value of a key of the unit.
fn value(unit: &str, key: &str) -> String {
    let lines = unit.lines().filter_map(|line| line.strip_prefix(key)?.strip_prefix('='));
    let lines: Vec<&str> = lines.collect();
    let [one] = lines[..] else { panic!("{key} stands once: {lines:?}") };
    one.to_owned()
}

#[test]
fn the_unit_gives_what_the_program_needs_and_no_more() {
    let unit = unit();
    let documented = include_str!("../../../../docs/site.md");
    let (ambient, bounding) =
        (value(&unit, "AmbientCapabilities"), value(&unit, "CapabilityBoundingSet"));
    assert_eq!(ambient, bounding);
    for capability in ambient.split(' ') {
        let row = format!("| `{capability}` |");
        assert!(documented.contains(&row), "{capability} has no row in docs/site.md");
    }
    let rows = documented.lines().filter_map(|line| line.strip_prefix("| `CAP_"));
    for row in rows {
        let name = format!("CAP_{}", row.split('`').next().expect("a name"));
        assert!(ambient.split(' ').any(|it| it == name), "{name} is not in the unit");
    }
    // What this program does with sockets, and the groups of calls that it makes.
    let families = value(&unit, "RestrictAddressFamilies");
    assert_eq!(families, "AF_UNIX AF_INET AF_INET6 AF_NETLINK AF_PACKET");
    assert_eq!(value(&unit, "Type"), "notify");
    for command in ["ExecStart", "ExecReload"] {
        let line = value(&unit, command).replace("%i", "fra");
        let mut words = line.split(' ');
        assert_eq!(words.next(), Some("/usr/local/bin/anycast"));
        let mut program = Command::new(env!("CARGO_BIN_EXE_anycast"));
        program.args(words.clone().next()).arg("--help");
        let help = finish(program, b"");
        assert_eq!(help.code, Some(0), "{help:?}");
        for option in words.filter(|word| word.starts_with("--")) {
            assert!(help.out.contains(option), "{option}: {help:?}");
        }
    }
}

#[test]
fn systemd_finds_nothing_wrong_with_the_unit() {
    let analyze = Path::new("/usr/bin/systemd-analyze");
    if !analyze.exists() {
        return skip("systemd-analyze is not installed");
    }
    let desk = Desk::new(User::Root);
    // The program need not be installed for the check: it wants a file that can be run.
    let unit = unit().replace("/usr/local/bin/anycast", env!("CARGO_BIN_EXE_anycast"));
    let file = desk.write("anycast@fra.service", unit);
    let mut verify = Command::new(analyze);
    verify.args(["verify", "--man=no", &file]);
    let verified = finish(verify, b"");
    if verified.err.contains("Failed to initialize manager") {
        return skip(&verified.err);
    }
    assert_eq!(
        (verified.code, verified.err.contains("anycast@fra")),
        (Some(0), false),
        "{verified:?}"
    );
    let mut security = Command::new(analyze);
    // An exposure of 10 is a program that may do everything, 0 one that may do nothing.
    security.args(["security", "--offline=true", "--threshold=30", "--no-pager", &file]);
    let secure = finish(security, b"");
    assert_eq!(secure.code, Some(0), "{secure:?}");
}

//! The built-in service as a process: it outlives the signals of its group, as the daemon withdraws
//! first.
#![allow(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    clippy::unwrap_used,
    reason = "tests start processes and may panic"
)]

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

fn start(port: u16) -> Child {
    let mut child = Command::new(env!("CARGO_BIN_EXE_anycast"))
        .args(["whoami", "--fleet", "f", "--site", "s", "--until-stdin-closes"])
        // Address 127.0.0.77 and such ports: nobody else's, it is hoped.
        .args(["--dns-port", &port.to_string(), "--http-port", "0", "127.0.0.77"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut line = String::new();
    BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
    assert_eq!(line, "ready\n");
    child
}

#[test]
fn a_signal_to_the_whole_group_does_not_end_it_but_its_closed_input_does() {
    let mut child = start(5377);
    for signal in ["-INT", "-TERM"] {
        let pid = child.id().to_string();
        assert!(Command::new("kill").args([signal, &pid]).status().unwrap().success());
        std::thread::sleep(Duration::from_millis(100));
        assert!(child.try_wait().unwrap().is_none(), "{signal} ended it");
    }
    drop(child.stdin.take());
    assert!(child.wait().unwrap().success());
}

#[test]
fn the_kernel_ends_it_before_its_parent_where_memory_runs_out() {
    let score = |of: &str| {
        let text = std::fs::read_to_string(format!("/proc/{of}/oom_score_adj")).unwrap();
        text.trim().parse::<i32>().unwrap()
    };
    let mut child = start(5378);
    let (own, its) = (score("self"), score(&child.id().to_string()));
    assert_eq!(its, (own + 500).min(1000));
    drop(child.stdin.take());
    assert!(child.wait().unwrap().success());
}

#[test]
fn quic_alone_is_enough_to_serve() {
    // That there are no such files is told, and looked at again.
    let mut child = Command::new(env!("CARGO_BIN_EXE_anycast"))
        .args(["whoami", "--fleet", "f", "--site", "s", "--dns-port", "0", "--http-port", "0"])
        .args(["--quic-certificate", "/nonexistent/c", "--quic-key", "/nonexistent/k"])
        .arg("127.0.0.77")
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut line = String::new();
    BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
    child.kill().unwrap();
    child.wait().unwrap();
    assert!(line.contains("cannot read the certificate /nonexistent/c"), "{line}");
}

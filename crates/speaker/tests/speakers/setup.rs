//! What the tests of running speakers share: ports, patience, namespaces and other programs.
#![allow(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    clippy::unwrap_used,
    reason = "tests use real sockets and may panic"
)]

use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::process::{Child, Command};
use std::time::{Duration, Instant};

use anycast_bgp::message::{Capabilities, Context, Message, Open};
use anycast_bgp::{Asn, Family};

/// Far more than anything takes on a busy machine.
const PATIENCE: Duration = Duration::from_secs(20);

/// A port that is free on all addresses; tests run beside each other.
pub(crate) fn free_port(addresses: &[Ipv4Addr]) -> u16 {
    let (first, others) = addresses.split_first().expect("an address");
    loop {
        let listener = TcpListener::bind((*first, 0)).unwrap();
        let port = listener.local_addr().unwrap().port();
        if others.iter().all(|address| TcpListener::bind((*address, port)).is_ok()) {
            return port;
        }
    }
}

/// Waits until it is so, and says how long that took.
pub(crate) async fn until(what: &str, wanted: impl AsyncFn() -> bool) -> Duration {
    let started = Instant::now();
    while !wanted().await {
        assert!(started.elapsed() < PATIENCE, "not within {PATIENCE:?}: {what}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    started.elapsed()
}

/// What runs one ignored test of a module, alone.
pub(crate) fn only(module: &str, name: &str) -> [String; 4] {
    let (_, path) = module.split_once("::").expect("a module of this program");
    ["--exact", "--ignored", "--nocapture", &format!("{path}::{name}")].map(String::from)
}

/// Runs one of a module's ignored tests as root of namespaces of its own, where it may do as
/// it likes; whether it ran. Whatever it leaves running ends with it.
pub(crate) fn run_in_namespace(module: &str, name: &str) -> bool {
    let unshare = ["--user", "--map-root-user", "--net", "--mount", "--pid", "--fork"];
    match Command::new("unshare").args(unshare).arg("true").output() {
        Ok(output) if output.status.success() => {}
        Ok(output) => {
            println!("skipped: unshare: {}", String::from_utf8_lossy(&output.stderr).trim());
            return false;
        }
        Err(error) => {
            println!("skipped: unshare: {error}");
            return false;
        }
    }
    let mut command = Command::new("unshare");
    command.args(unshare).args(["--kill-child", "--mount-proc"]);
    run(command.arg(std::env::current_exe().unwrap()), module, name);
    true
}

/// Runs one of a module's ignored tests in a process of its own, in which no other test
/// takes memory.
pub(crate) fn run_alone(module: &str, name: &str) {
    run(&mut Command::new(std::env::current_exe().unwrap()), module, name);
}

fn run(program: &mut Command, module: &str, name: &str) {
    let output = program.args(only(module, name)).output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && text.contains("1 passed"), "{text}{errors}");
}

/// What this process has in memory, in octets.
pub(crate) fn resident() -> u64 {
    let text = std::fs::read_to_string("/proc/self/statm").unwrap();
    text.split(' ').nth(1).unwrap().parse::<u64>().unwrap() * 4096
}

/// `ip` with these arguments; what it says.
pub(crate) fn ip(arguments: &str) -> String {
    let output = Command::new("ip").args(arguments.split(' ')).output().unwrap();
    assert!(output.status.success(), "ip {arguments}: {output:?}");
    String::from_utf8(output.stdout).unwrap()
}

/// A program that ends by SIGKILL when it goes out of use.
pub(crate) struct Killed(pub(crate) Child);

impl Drop for Killed {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// The octets of a message.
pub(crate) fn emit(message: &Message) -> Vec<u8> {
    message.emit(&Context::default())
}

/// Accepts a connection of a speaker and makes it Established, as a neighbor of `asn` would; with
/// `hold_time` zero nobody has to speak again.
pub(crate) fn shake_hands(listener: &TcpListener, asn: Asn, hold_time: Duration) -> TcpStream {
    let (mut stream, _) = listener.accept().unwrap();
    let open = Open {
        asn,
        hold_time,
        router_id: Ipv4Addr::new(10, 0, 0, 9),
        capabilities: Capabilities {
            families: Some(vec![Family::Ipv4Unicast]),
            four_octet_asn: true,
            ..Capabilities::default()
        },
    };
    stream.write_all(&emit(&Message::Open(open))).unwrap();
    stream.write_all(&emit(&Message::Keepalive)).unwrap();
    // Their OPEN, whose length the header tells, and their KEEPALIVE.
    for _ in 0..2 {
        let mut header = [0; 19];
        stream.read_exact(&mut header).unwrap();
        let len = u16::from_be_bytes([header[16], header[17]]);
        stream.read_exact(&mut vec![0; usize::from(len) - header.len()]).unwrap();
    }
    stream
}

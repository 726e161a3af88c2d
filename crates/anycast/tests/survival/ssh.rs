//! SSH, by OpenSSH's own server and client.

use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::Duration;

use anycast_lab::netns::NetNs;

use crate::cases::{Started, counts, flip, flow};
use crate::flows::ping_pong;
use crate::stand::{Fleet, Stand, V4, V6, site};

const PORT: u16 = 49_222;
const SERVER: &str = "/usr/sbin/sshd";

/// What the servers and the client share: keys of their own, in a folder that goes with it.
struct Desk(PathBuf);

impl Desk {
    fn new() -> Self {
        let folder = std::env::temp_dir().join(format!("anycast-ssh-{}", std::process::id()));
        std::fs::create_dir_all(&folder).expect("a folder");
        let desk = Self(folder);
        for key in ["host", "user"] {
            let mut make = Command::new("ssh-keygen");
            make.args(["-q", "-t", "ed25519", "-N", "", "-f", &desk.path(key)]);
            assert!(make.status().is_ok_and(|status| status.success()), "a key is made");
        }
        std::fs::copy(desk.path("user.pub"), desk.path("authorized")).expect("a copy");
        let host = std::fs::read_to_string(desk.path("host.pub")).expect("a key");
        std::fs::write(desk.path("known"), format!("anycast {host}")).expect("a file");
        // Where the server wants to be shut in before it knows who asks.
        std::fs::create_dir_all("/run/sshd").expect("a folder of the lab's own");
        desk
    }

    fn path(&self, name: &str) -> String {
        self.0.join(name).to_string_lossy().into_owned()
    }

    /// A server at a site, at both addresses.
    fn serve(&self, site: &NetNs) -> Server {
        let option = |text: String| ["-o".to_owned(), text];
        let options = [
            format!("ListenAddress [{V6}]:{PORT}"),
            format!("ListenAddress {V4}:{PORT}"),
            format!("HostKey {}", self.path("host")),
            format!("AuthorizedKeysFile {}", self.path("authorized")),
            "StrictModes no".to_owned(),
            "PermitRootLogin yes".to_owned(),
            "PasswordAuthentication no".to_owned(),
            "UsePAM no".to_owned(),
            "PidFile none".to_owned(),
        ];
        let mut command = Command::new(SERVER);
        command.args(["-D", "-e", "-f", "/dev/null"]);
        command.args(options.into_iter().flat_map(option)).stderr(Stdio::null());
        Server(site.run(|| command.spawn()).expect("it starts"))
    }

    /// A client with a command that says what it is told.
    fn connect(&self, client: &NetNs, address: &str) -> tokio::process::Child {
        let known = format!("UserKnownHostsFile={}", self.path("known"));
        let mut command = tokio::process::Command::new("ssh");
        command.args(["-T", "-F", "/dev/null", "-p", &PORT.to_string(), "-i", &self.path("user")]);
        for option in [&known, "HostKeyAlias=anycast", "StrictHostKeyChecking=yes", "BatchMode=yes"]
        {
            command.args(["-o", option]);
        }
        command.arg(format!("root@{address}"));
        command.arg("dd bs=1 count=1 of=/dev/null 2>/dev/null; exec cat");
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).kill_on_drop(true);
        client.run(|| command.spawn()).expect("ssh starts")
    }
}

impl Drop for Desk {
    fn drop(&mut self) {
        // What is left over is in a folder for such things.
        std::fs::remove_dir_all(&self.0).ok();
    }
}

struct Server(std::process::Child);

impl Drop for Server {
    fn drop(&mut self) {
        // It may have ended.
        self.0.kill().ok();
        self.0.wait().ok();
    }
}

pub(crate) async fn survives() {
    let stand = Stand::build(Fleet::default()).await;
    if !stand.keeps().await {
        return;
    }
    let is_there = |program: &str| Command::new(program).arg("-V").output().is_ok();
    if !std::path::Path::new(SERVER).exists() || !is_there("ssh") {
        println!("skipped: OpenSSH's server and client are not installed");
        return;
    }
    let desk = Desk::new();
    let _servers: Vec<Server> =
        (0..stand.sites).map(|at| desk.serve(&stand.namespace(at))).collect();
    for at in 0..stand.sites {
        let is_up = || std::net::TcpStream::connect((V4, PORT)).is_ok();
        let begin = std::time::Instant::now();
        while !stand.namespace(at).run(is_up) {
            assert!(begin.elapsed() < Duration::from_secs(20), "{} serves SSH", site(at));
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
    let mut sessions = Vec::new();
    let mut flows = Vec::new();
    for address in [V4, V6] {
        let mut session = desk.connect(&stand.client(), address);
        let (said, heard) = (session.stdin.take(), session.stdout.take());
        let stream = tokio::io::join(heard.expect("a pipe"), said.expect("a pipe"));
        let (time, pace) = (Duration::from_secs(4), Duration::from_millis(20));
        flows.push(flow(format!("SSH {address}"), ping_pong(stream, time, pace)));
        sessions.push(session);
    }
    let started = Started::start(flows);
    tokio::time::sleep(Duration::from_secs(1)).await;
    flip(&stand, 8, Duration::from_millis(350)).await;
    started.all_survive().await;
    let passed_on = stand.strays().await;
    assert!(passed_on > 50, "{passed_on}: {:?}", counts().await);
}

//! What the hostile neighbor talks to: the daemon, or BIRD to compare.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::Command;

use anycast_site::client::Client;
use serde_json::Value;

use super::SITE;
use crate::program::{Desk, Process, User, finish};

const FLEET: &str = include_str!("fleet.toml");
const BIRD: &str = include_str!("bird.conf");

/// A router that runs at the other end of our link.
pub(super) struct Router {
    kind: Kind,
    process: Process,
    socket: PathBuf,
    _desk: Desk,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Kind {
    Daemon,
    Bird,
}

fn ip(arguments: &str) {
    let output = Command::new("ip").args(arguments.split(' ')).output().expect("ip is installed");
    assert!(output.status.success(), "ip {arguments}: {output:?}");
}

impl Router {
    /// `anycast run`.
    pub(super) fn daemon() -> Self {
        let desk = Desk::new(User::Root);
        let fleet = desk.write("fleet.toml", FLEET);
        let socket = desk.path("control.sock");
        let program = env!("CARGO_BIN_EXE_anycast");
        let command =
            format!("{program} run {fleet} --site test --socket {}", socket.to_string_lossy());
        Self::start(Kind::Daemon, &command, socket, desk)
    }

    /// BIRD with neighbors of the same kind.
    pub(super) fn bird() -> Self {
        let desk = Desk::new(User::Root);
        let config = desk.write("bird.conf", BIRD);
        let socket = desk.path("bird.ctl");
        let command = format!("bird -f -c {config} -s {}", socket.to_string_lossy());
        Self::start(Kind::Bird, &command, socket, desk)
    }

    /// Starts it in a namespace of its own behind a link to ours.
    fn start(kind: Kind, command: &str, socket: PathBuf, desk: Desk) -> Self {
        ip("link set lo up");
        ip("link add here type veth peer name there");
        for host in 2..=5 {
            ip(&format!("address add 198.51.100.{host}/24 dev here"));
        }
        let script = format!(
            "read go; ip link set lo up; ip address add {SITE}/24 dev there; \
             ip -6 address add 2001:db8:ffff::1/64 dev there nodad; ip link set there up; \
             exec {command}"
        );
        let mut unshare = Command::new("unshare");
        unshare.args(["--net", "sh", "-c", &script]);
        let process = Process::start(unshare);
        let ours = std::fs::read_link("/proc/self/ns/net").expect("a namespace");
        let theirs = format!("/proc/{}/ns/net", process.pid);
        crate::program::until("it has a namespace of its own", super::PATIENCE, || {
            match std::fs::read_link(&theirs) {
                Ok(other) if other != ours => Ok(()),
                other => Err(other),
            }
        });
        ip(&format!("link set there netns {}", process.pid));
        ip("link set here up");
        assert!(process.write(b"go\n"), "{}", process.words());
        Self { kind, process, socket, _desk: desk }
    }

    pub(super) fn lives(&self) -> bool {
        !self.process.ended()
    }

    pub(super) fn words(&self) -> String {
        self.process.words()
    }

    /// The routes that may be used, by prefix, with what the cases look at; several paths to one
    /// prefix by their numbers.
    pub(super) fn routes(&self) -> BTreeMap<String, String> {
        match self.kind {
            Kind::Daemon => self.routes_of_daemon(),
            Kind::Bird => self.routes_of_bird(),
        }
    }

    fn routes_of_daemon(&self) -> BTreeMap<String, String> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let client = Client::new(self.socket.clone());
        let rows: Value = runtime
            .expect("a runtime")
            .block_on(client.get("/v1/routes"))
            .unwrap_or_else(|error| panic!("{error}: {}", self.words()));
        let rows = rows.as_array().expect("a list").iter();
        let usable = rows.filter(|row| !row["neighbor"].is_null() && row["ineligible"].is_null());
        let mut paths: BTreeMap<String, BTreeMap<u64, String>> = BTreeMap::new();
        for row in usable {
            let prefix = row["prefix"].as_str().expect("a word").to_owned();
            let number = row["path_id"].as_u64().unwrap_or_default();
            paths.entry(prefix).or_default().insert(number, path_of_daemon(row));
        }
        let joined = |paths: BTreeMap<u64, String>| {
            let numbered = |(number, path)| match number {
                0 => path,
                _ => format!("{path}@{number}"),
            };
            paths.into_iter().map(numbered).collect::<Vec<_>>().join("+")
        };
        paths.into_iter().map(|(prefix, paths)| (prefix, joined(paths))).collect()
    }

    fn routes_of_bird(&self) -> BTreeMap<String, String> {
        let mut command = Command::new("birdc");
        command.arg("-s").arg(&self.socket).args(["show", "route", "all"]);
        let text = finish(command, b"").out;
        let mut routes = BTreeMap::new();
        let mut prefix = String::new();
        for line in text.lines() {
            if let Some((first, _)) = line.split_once(' ')
                && first.contains('/')
            {
                first.clone_into(&mut prefix);
            } else if let Some(med) = line.trim().strip_prefix("BGP.med: ") {
                // BIRD does not show the numbers of paths.
                let paths: &mut String = routes.entry(prefix.clone()).or_default();
                if !paths.is_empty() {
                    paths.push('+');
                }
                paths.push_str(med);
            }
        }
        routes
    }
}

/// One path: MED, and LOCAL_PREF and communities if there are any.
fn path_of_daemon(row: &Value) -> String {
    let mut path = row["med"].as_u64().map(|med| med.to_string()).unwrap_or_default();
    // From inside, 100 is what the neighbor says.
    if let Some(preference) = row["local_pref"].as_u64().filter(|it| *it != 100) {
        path = format!("{path},lp{preference}");
    }
    for community in row["communities"].as_array().expect("a list") {
        path = [&path, ",", community.as_str().expect("a word")].concat();
    }
    path
}

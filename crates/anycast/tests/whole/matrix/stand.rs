//! What one test of the matrix runs on: the daemon in the test's network namespace, and each other
//! implementation in one of its own, at the other end of a link.

mod looks;

use std::fmt::Write;
use std::fs::{self, File};
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::{Child, Command};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anycast_lab::peers::Run;
use anycast_site::client::Client;
use nix::sys::signal::Signal;
use tokio::runtime::Runtime;

use super::peers::Program;
use crate::program::{Desk, Process, User, finish, skip, until};

/// Far more than anything takes on a busy machine.
pub(super) const PATIENCE: Duration = Duration::from_secs(60);
pub(super) const OUR_ASN: u32 = 64500;
/// What the site announces.
pub(super) const OURS: [&str; 2] = ["192.0.2.0/24", "2001:db8:ac::/48"];

/// Runs one of the ignored tests in namespaces of its own.
pub(crate) fn run_in_namespace(name: &str) {
    let unshare = ["--user", "--map-root-user", "--net", "--mount", "--pid", "--fork"];
    match Command::new("unshare").args(unshare).arg("true").output() {
        Ok(output) if output.status.success() => {}
        Ok(output) => {
            let why = String::from_utf8_lossy(&output.stderr).trim().to_owned();
            return skip(&format!("unshare: {why}"));
        }
        Err(error) => return skip(&format!("unshare: {error}")),
    }
    // Inside, every test is process 1, and would name its folder alike.
    let desk = Desk::new(User::Root);
    let output = Command::new("unshare")
        .env("TMPDIR", desk.path("."))
        .args(unshare)
        // Whatever a failed test leaves running ends with it.
        .args(["--kill-child", "--mount-proc"])
        .arg(std::env::current_exe().expect("this program"))
        .args(["--exact", "--ignored", "--nocapture", name])
        .output()
        .expect("it starts");
    let text = String::from_utf8_lossy(&output.stdout);
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && text.contains("1 passed"), "{text}{errors}");
    println!("{text}{errors}");
}

/// How the two ends of a test's sessions are configured.
#[derive(Clone, Debug)]
#[expect(clippy::struct_excessive_bools, reason = "each is a feature of its own")]
pub(super) struct Knobs {
    /// What the peer has as secret; ours is always `s3cret` if there is one.
    pub(super) password: Option<&'static str>,
    pub(super) gtsm: bool,
    /// Both ends offer it, in seconds.
    pub(super) hold_time: u16,
    /// What the peer is to us, in the words of RFC 9234.
    pub(super) role: Option<&'static str>,
    /// How many prefixes the peer takes of us.
    pub(super) limit: Option<u32>,
    /// The peer's routes carry communities of all kinds.
    pub(super) communities: bool,
    /// The peer's routes carry GRACEFUL_SHUTDOWN.
    pub(super) leaving: bool,
    /// The peer's routes carry so many more communities.
    pub(super) crowd: u16,
    /// How many prefixes the peer announces in each family.
    pub(super) prefixes: u8,
    /// The peer offers ADD-PATH both ways, and has two paths to each of its prefixes.
    pub(super) paths: bool,
    /// The peer asks for its routes to be kept while it restarts, and would keep ours.
    pub(super) restarts: bool,
    /// The peer watches us by BFD, with three packets of so many milliseconds.
    pub(super) bfd: Option<u16>,
    /// Lines in our site.
    pub(super) site: String,
    /// Lines in each of our neighbors.
    pub(super) ours: String,
    /// Lines at the end of our fleet file.
    pub(super) fleet: String,
}

impl Default for Knobs {
    fn default() -> Self {
        Self {
            password: None,
            gtsm: false,
            hold_time: 90,
            role: None,
            limit: None,
            communities: false,
            leaving: false,
            crowd: 0,
            prefixes: 1,
            paths: false,
            restarts: false,
            bfd: None,
            site: String::new(),
            ours: base(""),
            fleet: String::new(),
        }
    }
}

/// What all of our neighbors have, and more lines. Restarts are a matter of their own: with the
/// capability FRR wraps every Cease in a Hard Reset (RFC 8538).
fn base(lines: &str) -> String {
    format!("export = \"fleet\"\ngraceful-restart = \"off\"\n{lines}\n")
}

impl Knobs {
    /// These lines in each of our neighbors, besides what we announce.
    pub(super) fn with(lines: &str) -> Self {
        Self { ours: base(lines), ..Self::default() }
    }
}

/// One session between the daemon and a peer.
#[derive(Clone, Debug)]
pub(super) struct Session {
    /// What both ends call it: letters, digits and `_`.
    pub(super) name: String,
    pub(super) v6: bool,
    /// The daemon's address.
    pub(super) ours: String,
    /// The peer's address.
    pub(super) theirs: String,
    /// Of the subnet of IPv4 addresses.
    len: u8,
}

/// Another implementation at the other end of its link.
pub(super) struct Peer<'s> {
    pub(super) program: &'static dyn Program,
    pub(super) asn: u32,
    /// Whether its identifier is to be below the daemon's at the next start.
    pub(super) below_us: AtomicBool,
    /// Whether the last of its prefixes is missing at the next start.
    pub(super) one_less: AtomicBool,
    pub(super) knobs: &'s Knobs,
    pub(super) sessions: Vec<Session>,
    /// Its own files.
    pub(super) folder: PathBuf,
    index: usize,
    namespace: Process,
    /// Its processes, of which each leads a group.
    processes: Mutex<Vec<Child>>,
    client: Client,
    runtime: &'s Runtime,
}

/// Everything; it ends with the test.
pub(super) struct Stand {
    desk: Desk,
    daemon: Mutex<Option<Process>>,
    /// Our ends of the links.
    links: Mutex<Vec<String>>,
    runtime: Runtime,
    knobs: Knobs,
}

fn ip(arguments: &str) {
    let output = Command::new("ip").args(arguments.split(' ')).output().expect("ip is installed");
    assert!(output.status.success(), "ip {arguments}: {output:?}");
}

impl Session {
    /// Whether its addresses are of the link alone.
    pub(super) fn is_link_local(&self) -> bool {
        self.ours.starts_with("fe80:")
    }
}

impl Stand {
    pub(super) fn new(knobs: Knobs) -> Self {
        ip("link set lo up");
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .enable_all()
            .build()
            .expect("a runtime");
        Self {
            desk: Desk::new(User::Root),
            daemon: Mutex::default(),
            links: Mutex::default(),
            runtime,
            knobs,
        }
    }

    fn socket(&self) -> PathBuf {
        self.desk.path("control.sock")
    }

    /// Starts the daemon beside all of these implementations that are installed, runs `test` with
    /// each in a thread of its own, and fails with what went wrong with any.
    pub(super) fn beside(
        &self,
        programs: &[&'static dyn Program],
        sessions: impl Fn(usize) -> Vec<Session>,
        test: impl Fn(&Peer<'_>) + Sync,
    ) {
        let begin = Instant::now();
        let there = programs.iter().copied().enumerate();
        let there = there.filter(|(_, program)| {
            let there = program.tools().iter().all(|tool| PathBuf::from(tool).exists());
            if !there {
                skip(&format!("{} is not installed", program.name()));
            }
            there
        });
        let peers: Vec<Peer<'_>> =
            there.map(|(index, program)| self.peer(index, program, sessions(index))).collect();
        self.start_daemon(&peers);
        let failed = std::thread::scope(|scope| {
            let runs: Vec<_> = peers
                .iter()
                .map(|peer| {
                    scope.spawn(move || {
                        peer.start();
                        peer
                    })
                })
                .map(|start| {
                    let test = &test;
                    scope.spawn(move || test(start.join().expect("it started")))
                })
                .collect();
            let names = peers.iter().map(|peer| peer.program.name());
            let ends: Vec<_> =
                runs.into_iter().zip(names).map(|(run, name)| (name, run.join())).collect();
            ends.into_iter().filter(|(_, end)| end.is_err()).map(|(name, _)| name).collect()
        });
        let failed: Vec<&str> = failed;
        if !failed.is_empty() {
            for peer in &peers {
                if failed.contains(&peer.program.name()) {
                    eprintln!("--- {}\n{}", peer.program.name(), peer.log());
                }
            }
            let daemon = self.daemon.lock().expect("nobody panics with it");
            eprintln!(
                "--- the daemon\n{}",
                daemon.as_ref().map_or_else(String::new, Process::words)
            );
            panic!("failed beside {}", failed.join(", "));
        }
        let names: Vec<&str> = peers.iter().map(|peer| peer.program.name()).collect();
        println!("{}: {:.1} s", names.join(", "), begin.elapsed().as_secs_f64());
    }

    fn peer(
        &self,
        index: usize,
        program: &'static dyn Program,
        sessions: Vec<Session>,
    ) -> Peer<'_> {
        let name = program.name();
        let folder = self.desk.path(name);
        fs::create_dir(&folder).expect("a folder for the peer");
        let mut unshare = Command::new("unshare");
        unshare.args(["--net", "sleep", "infinity"]);
        let namespace = Process::start(unshare);
        let ours = fs::read_link("/proc/self/ns/net").expect("a namespace");
        let theirs = format!("/proc/{}/ns/net", namespace.pid);
        until("it has a namespace of its own", PATIENCE, || match fs::read_link(&theirs) {
            Ok(other) if other != ours => Ok(()),
            other => Err(other),
        });
        ip(&format!("link add to-{name} type veth peer name up0 netns {}", namespace.pid));
        self.links.lock().expect("nobody panics with it").push(format!("to-{name}"));
        let peer = Peer {
            program,
            asn: OUR_ASN + 1 + u32::try_from(index).expect("few"),
            below_us: AtomicBool::new(false),
            one_less: AtomicBool::new(false),
            knobs: &self.knobs,
            sessions,
            folder,
            index,
            namespace,
            processes: Mutex::default(),
            client: Client::new(self.socket()),
            runtime: &self.runtime,
        };
        for session in &peer.sessions {
            let (len, nodad) = if session.v6 { (64, " nodad") } else { (session.len, "") };
            ip(&format!("address add {}/{len} dev to-{name}{nodad}", session.ours));
            let address = format!("address add {}/{len} dev up0{nodad}", session.theirs);
            peer.ip(&address);
        }
        peer.ip("link set lo up");
        peer.ip("link set up0 up");
        ip(&format!("link set to-{name} up"));
        peer
    }

    fn start_daemon(&self, peers: &[Peer<'_>]) {
        let knobs = &self.knobs;
        let mut fleet = format!(
            "[fleet]\nname = \"matrix\"\nasn = {OUR_ASN}\n\
             [prefix.\"{}\"]\nservices = [\"any\"]\n\
             [prefix.\"{}\"]\nservices = [\"any\"]\n\
             [service.any]\naddresses = [\"192.0.2.1\", \"2001:db8:ac::1\"]\n\
             [site.here]\ncity = \"Frankfurt\"\nrouter-id = \"192.0.2.200\"\n\
             stop-wait = \"1ms\"\n{}",
            OURS[0], OURS[1], knobs.site
        );
        self.desk.write("password", "s3cret\n");
        for peer in peers {
            for session in &peer.sessions {
                let _ = write!(
                    fleet,
                    "[site.here.neighbor.{}]\naddress = \"{}\"\nlocal-address = \"{}\"\n\
                     asn = {}\nimport = \"everything\"\nhold-time = \"{}s\"\n\
                     connect-retry = \"500ms\"\n{}",
                    session.name,
                    session.theirs,
                    session.ours,
                    peer.asn,
                    knobs.hold_time,
                    knobs.ours,
                );
                if session.is_link_local() {
                    let _ = writeln!(fleet, "interface = \"to-{}\"", peer.program.name());
                }
                if knobs.password.is_some() {
                    fleet += "password-file = \"password\"\n";
                }
                if knobs.gtsm {
                    fleet += "ttl-security = true\n";
                }
            }
        }
        fleet += &knobs.fleet;
        self.desk.write("fleet.toml", &fleet);
        let socket = self.socket();
        let arguments =
            ["run", "fleet.toml", "--site", "here", "--socket", socket.to_str().expect("letters")];
        let daemon = Process::start(self.desk.anycast(&arguments));
        let client = Client::new(socket);
        until("the daemon answers", PATIENCE, || {
            assert!(!daemon.ended(), "{}\n{fleet}", daemon.words());
            self.runtime.block_on(client.get_text("/v1/sites")).map(drop).map_err(|e| e.to_string())
        });
        *self.daemon.lock().expect("nobody panics with it") = Some(daemon);
    }

    /// The daemon dies without a word.
    pub(super) fn kill(&self) {
        drop(self.daemon.lock().expect("nobody panics with it").take());
    }

    /// A file in the folder of the fleet file.
    pub(super) fn path(&self, name: &str) -> PathBuf {
        self.desk.path(name)
    }

    /// What runs things beside the daemon.
    pub(super) const fn runtime(&self) -> &Runtime {
        &self.runtime
    }
}

impl Drop for Stand {
    fn drop(&mut self) {
        for link in self.links.lock().expect("nobody panics with it").drain(..) {
            ip(&format!("link del {link}"));
        }
    }
}

/// A counter of /proc/net/netstat, which has a line of names above each line of numbers.
fn counter(netstat: &str, name: &str) -> u64 {
    let lines: Vec<&str> = netstat.lines().collect();
    let mut found = lines.chunks(2).filter_map(|pair| {
        let at = pair[0].split(' ').position(|word| word == name)?;
        pair.get(1)?.split(' ').nth(at)?.parse().ok()
    });
    found.next().unwrap_or_else(|| panic!("{name} is not in {netstat}"))
}

/// How many segments came to our ends with a TTL that is too low.
pub(super) fn dropped_for_ttl() -> u64 {
    let ours = fs::read_to_string("/proc/net/netstat").expect("the kernel counts");
    counter(&ours, "TCPMinTTLDrop")
}

/// A session over each of IPv4 and IPv6, for its own family.
pub(super) fn both_families(index: usize) -> Vec<Session> {
    [false, true]
        .map(|v6| {
            let end = |host: usize| {
                if v6 {
                    format!("2001:db8:ff{index}::{host}")
                } else {
                    format!("198.51.100.{}", 16 * index + host)
                }
            };
            let name = format!("s{index}_{}", if v6 { "v6" } else { "v4" });
            Session { name, v6, ours: end(1), theirs: end(2), len: 28 }
        })
        .to_vec()
}

/// A session over link-local addresses, on every link the same.
pub(super) fn link_local(index: usize) -> Vec<Session> {
    let (ours, theirs) = ("fe80::1".to_owned(), "fe80::2".to_owned());
    vec![Session { name: format!("s{index}_link"), v6: true, ours, theirs, len: 64 }]
}

/// So many sessions over IPv4.
pub(super) fn many(index: usize, count: u8) -> Vec<Session> {
    let session = |number: u8| Session {
        name: format!("s{index}_{number}"),
        v6: false,
        ours: format!("198.18.{index}.{}", 1 + number),
        theirs: format!("198.18.{index}.{}", 101 + number),
        len: 24,
    };
    (0..count).map(session).collect()
}

impl Peer<'_> {
    /// Its BGP Identifier; the daemon's is 192.0.2.200.
    pub(super) fn router_id(&self) -> String {
        let network = if self.below_us.load(Ordering::Relaxed) { "192.0.2" } else { "203.0.113" };
        format!("{network}.{}", 16 * self.index + 1)
    }

    /// Ends its programs without a word.
    pub(super) fn kill(&self) {
        self.signal(Signal::SIGKILL);
        for mut child in self.processes.lock().expect("nobody panics with it").drain(..) {
            child.wait().expect("it has ended");
        }
    }

    /// From now on, what it sends over the link gets nowhere.
    pub(super) fn cut(&self) {
        // To a hardware address that nobody has.
        self.batch(|session| {
            format!("neigh replace {} lladdr 02:00:00:00:00:99 dev up0 nud permanent", session.ours)
        });
    }

    /// Takes a cut back.
    pub(super) fn mend(&self) {
        self.batch(|session| format!("neigh del {} dev up0", session.ours));
    }

    /// A line for `ip` for each session.
    fn batch(&self, line: impl Fn(&Session) -> String) {
        let lines: Vec<String> = self.sessions.iter().map(line).collect();
        let file = self.write("batch", &lines.join("\n"));
        self.ip(&format!("-batch {}", file.to_str().expect("letters")));
    }

    /// How many TCP connections of its namespace are in this state, in the words of `ss`.
    pub(super) fn connections(&self, state: &str) -> usize {
        self.within(&["ss"], &["-Htn", "state", state]).lines().count()
    }

    /// `ip` in its namespace.
    pub(super) fn ip(&self, arguments: &str) {
        let said = self.within(&["ip"], &arguments.split(' ').collect::<Vec<_>>());
        assert!(said.is_empty(), "ip {arguments}: {said}");
    }

    /// Writes its files and starts its programs.
    pub(super) fn start(&self) {
        for command in self.program.configure(self) {
            let nsenter = ["/usr/bin/nsenter", "--net", "--target"].map(str::to_owned);
            let mut command = command;
            let target = [self.namespace.pid.to_string(), "--".to_owned()];
            command.argv = [&nsenter[..], &target, &command.argv].concat();
            let start = || {
                use std::os::unix::process::CommandExt;
                let mut process = command.to_process();
                let log =
                    || File::options().create(true).append(true).open(self.folder.join("log"));
                process.stdin(std::process::Stdio::null());
                process.stdout(log().expect("a log")).stderr(log().expect("a log"));
                process.current_dir(&self.folder).process_group(0).spawn().expect("it starts")
            };
            match &command.run {
                Run::Daemon { ready } => {
                    if let Some(left) = ready.as_ref().filter(|file| file.exists()) {
                        fs::remove_file(left).expect("what it left when it was killed");
                    }
                    self.processes.lock().expect("nobody panics with it").push(start());
                    self.until("ready", || ready.as_ref().is_none_or(|file| file.exists()));
                }
                Run::Once => self.until("told", || start().wait().expect("it ends").success()),
            }
        }
    }

    /// The prefixes that it announces in the session's family.
    pub(super) fn prefixes(&self, v6: bool) -> Vec<String> {
        let index = self.index;
        let missing = u8::from(self.one_less.load(Ordering::Relaxed));
        (0..self.knobs.prefixes - missing)
            .map(|number| {
                if v6 {
                    format!("2001:db8:{}:{number:x}::/64", 10 + index)
                } else {
                    format!("198.19.{}.0/24", 16 * index + usize::from(number))
                }
            })
            .collect()
    }

    /// The communities of its routes.
    pub(super) fn communities(&self) -> Vec<String> {
        let mut found = Vec::new();
        if self.knobs.communities {
            found.push(format!("{}:120", self.asn));
        }
        if self.knobs.leaving {
            found.push("65535:0".to_owned());
        }
        found.extend((0..self.knobs.crowd).map(|number| format!("{}:{number}", self.asn)));
        found
    }

    /// The large and the extended community of its routes.
    pub(super) fn other_communities(&self) -> Option<(String, String)> {
        let (asn, here) = (self.asn, self.knobs.communities);
        here.then(|| (format!("{asn}:1:2"), format!("{asn}:7")))
    }

    /// Writes a file of its own.
    pub(super) fn write(&self, name: &str, content: &str) -> PathBuf {
        let path = self.folder.join(name);
        fs::write(&path, content).expect("a file of the test");
        // OpenBGPD refuses a file that others can read.
        fs::set_permissions(&path, fs::Permissions::from_mode(0o700)).expect("the test's own file");
        path
    }

    /// Runs a tool to its end in the peer's namespace; what it printed.
    pub(super) fn within(&self, tool: &[&str], arguments: &[&str]) -> String {
        let mut command = Command::new("nsenter");
        command.args(["--net", "--target", &self.namespace.pid.to_string(), "--"]);
        let output = finish(
            {
                command.args(tool).args(arguments);
                command
            },
            b"",
        );
        output.out + &output.err
    }

    /// All that it logged.
    pub(super) fn log(&self) -> String {
        String::from_utf8_lossy(&fs::read(self.folder.join("log")).unwrap_or_default()).into_owned()
    }

    /// Sends a signal to all of its processes.
    pub(super) fn signal(&self, signal: Signal) {
        for leader in self.processes.lock().expect("nobody panics with it").iter() {
            let group = nix::unistd::Pid::from_raw(leader.id().try_into().expect("a pid"));
            nix::sys::signal::killpg(group, signal).expect("it lives");
        }
    }

    /// How many segments came to either end of the link signed with another secret.
    pub(super) fn wrongly_signed(&self) -> u64 {
        let ours = fs::read_to_string("/proc/net/netstat").expect("the kernel counts");
        let theirs = self.within(&["cat"], &["/proc/net/netstat"]);
        [ours, theirs].iter().map(|text| counter(text, "TCPMD5Failure")).sum()
    }
}

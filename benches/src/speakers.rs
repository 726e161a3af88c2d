//! A BGP speaker under test, ours or BIRD, on the loopback interface of a network namespace of
//! its own. Neither puts routes into the kernel unless asked to.

use std::fmt::Write as _;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::Ipv4Addr;
use std::num::NonZeroU8;
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anycast_bgp::policy::Policy;
use anycast_bgp::{Asn, Family};
use anycast_speaker::{Bfd, Config, Here, Neighbor, Offer, Speaker, SpeakerEvent};
use nix::unistd::Uid;
use tokio::sync::mpsc;

use crate::Failure;
use crate::processes::Process;

/// Where the speaker is, and its ASN.
pub const SPEAKER: (Ipv4Addr, u32) = (Ipv4Addr::LOCALHOST, 64_501);
/// Where it listens.
pub const PORT: u16 = 1790;
/// No session may end for its hold time while a slow machine loads.
pub const HOLD_TIME: Duration = Duration::from_secs(240);
/// How long one measurement may take.
pub const PATIENCE: Duration = Duration::from_secs(200);
/// The time between two looks at how far a speaker is.
const LOOK: Duration = Duration::from_millis(3);
/// The ends of the link to the neighbor that BFD watches, which lies in another namespace: the
/// port of BFD is one for all addresses.
pub const LINK: [Ipv4Addr; 2] = [Ipv4Addr::new(192, 0, 2, 0), Ipv4Addr::new(192, 0, 2, 1)];
/// Its first neighbor's ASN; the others' follow.
const FIRST_NEIGHBOR: u32 = 64_600;

/// The neighbor at `index`: its address and ASN.
#[must_use]
pub fn neighbor(index: usize) -> (Ipv4Addr, u32) {
    let index = u32::try_from(index).expect("few neighbors");
    let first = u32::from(Ipv4Addr::new(127, 1, 0, 1));
    (Ipv4Addr::from(first + index), FIRST_NEIGHBOR + index)
}

/// Which program speaks.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[expect(missing_docs, reason = "the names say all")]
pub enum Program {
    Ours,
    Bird,
}

impl Program {
    /// Those that are installed, ours first; says which is not.
    #[must_use]
    pub fn installed() -> Vec<Self> {
        if Path::new("/usr/sbin/bird").exists() {
            return vec![Self::Ours, Self::Bird];
        }
        println!("skipped: BIRD, which is not installed (apt install bird2)");
        vec![Self::Ours]
    }

    /// What people call it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Ours => "Our speaker",
            Self::Bird => "BIRD",
        }
    }
}

/// What the speaker under test does. Every neighbor dials; the speaker takes all that it is told.
#[derive(Clone, Copy, Debug)]
pub struct Setup {
    /// How many neighbors it has.
    pub neighbors: usize,
    /// So many of them, the last ones, are told all routes.
    pub told: usize,
    /// The first of them is watched by BFD, three packets of so many milliseconds.
    pub bfd: Option<u32>,
    /// It puts routes into the kernel.
    pub installs: bool,
}

impl Setup {
    fn tells(self, index: usize) -> bool {
        index + self.told >= self.neighbors
    }

    /// So many neighbors that are told nothing.
    #[must_use]
    pub const fn listens(neighbors: usize) -> Self {
        Self { neighbors, told: 0, bfd: None, installs: false }
    }

    fn arguments(self) -> [String; 4] {
        let bfd = self.bfd.unwrap_or(0);
        let [neighbors, told] = [self.neighbors, self.told].map(|it| it.to_string());
        [neighbors, told, bfd.to_string(), self.installs.to_string()]
    }

    fn parse([neighbors, told, bfd, installs]: [&str; 4]) -> Result<Self, Failure> {
        let bfd = Some(bfd.parse()?).filter(|interval| *interval > 0);
        let (neighbors, told, installs) = (neighbors.parse()?, told.parse()?, installs.parse()?);
        Ok(Self { neighbors, told, bfd, installs })
    }
}

/// BFD with three packets of so many milliseconds.
fn bfd(milliseconds: u32) -> Bfd {
    let multiplier = NonZeroU8::new(3).expect("three is not zero");
    Bfd { interval: Duration::from_millis(milliseconds.into()), multiplier }
}

/// Runs this program again with `arguments` in a network namespace of its own, whose loopback
/// interface is up.
///
/// # Errors
/// `unshare` cannot be started.
pub fn enter(arguments: &[&str]) -> Result<(), Failure> {
    // As root without a user namespace, so that the thread of BFD may run before others.
    let user: &[&str] =
        if Uid::effective().is_root() { &[] } else { &["--user", "--map-root-user"] };
    let error = Command::new("unshare")
        .args(user)
        .args(["--net", "sh", "-c"])
        .args(["ip link set lo up && exec \"$0\" inside \"$@\""])
        .arg(std::env::current_exe()?)
        .args(arguments)
        .exec();
    Err(format!("cannot start unshare (util-linux): {error}").into())
}

/// Is our speaker until standard input closes: what a bench's `speak` does. For a line of input,
/// a number of routes, it prints one once it has accepted so many; and one for each session that
/// goes up or down.
///
/// # Errors
/// The speaker cannot be started.
pub fn speak(arguments: [&str; 4]) -> Result<(), Failure> {
    let setup = Setup::parse(arguments)?;
    let addresses = [Some(SPEAKER.0), setup.bfd.map(|_| LINK[0])];
    run(Config {
        local_asn: Asn(SPEAKER.1),
        router_id: SPEAKER.0,
        listen: addresses.into_iter().flatten().map(|own| (own, PORT).into()).collect(),
        install_routes: setup.installs,
        place: Arc::new(Here),
        neighbors: (0..setup.neighbors).map(|index| configured(setup, index)).collect(),
        ..Config::new(Asn(SPEAKER.1), SPEAKER.0)
    })
}

/// Is the first neighbor of the speaker under test, with BFD: what a bench's `answer` does. It
/// starts at a line of input.
///
/// # Errors
/// The speaker cannot be started.
pub fn answer(milliseconds: &str) -> Result<(), Failure> {
    std::io::stdin().read_line(&mut String::new())?;
    let setup = Setup { bfd: Some(milliseconds.parse()?), ..Setup::listens(1) };
    let mut towards = configured(setup, 0);
    (towards.address, towards.local_address) = (LINK[0].into(), Some(LINK[1].into()));
    towards.asn = Asn(SPEAKER.1);
    towards.passive = false;
    run(Config {
        local_asn: Asn(neighbor(0).1),
        router_id: LINK[1],
        listen: Vec::new(),
        install_routes: false,
        place: Arc::new(Here),
        neighbors: vec![towards],
        ..Config::new(Asn(neighbor(0).1), LINK[1])
    })
}

fn run(config: Config) -> Result<(), Failure> {
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    runtime.block_on(async {
        let (sender, mut events) = mpsc::unbounded_channel();
        let speaker = Speaker::bind(config, Some(sender))?;
        let handle = speaker.handle();
        let running = tokio::spawn(speaker.run());
        tokio::spawn(async move {
            while let Some(event) = events.recv().await {
                match event {
                    SpeakerEvent::NeighborUp { name } => println!("up {name}"),
                    SpeakerEvent::NeighborDown { name, why } => println!("down {name}: {why}"),
                    SpeakerEvent::NeighborUnreachable { .. }
                    | SpeakerEvent::NeighborLimit { .. }
                    | SpeakerEvent::NeighborReset { .. } => {}
                }
            }
        });
        let wanted = tokio::task::spawn_blocking(|| {
            let mut line = String::new();
            std::io::stdin().read_line(&mut line).map(|_| line)
        });
        if let Ok(wanted) = wanted.await??.trim().parse::<usize>() {
            let accepted = async || {
                handle.neighbors().await.iter().map(|neighbor| neighbor.accepted).sum::<usize>()
            };
            while accepted().await < wanted {
                tokio::time::sleep(LOOK).await;
            }
            println!("all {wanted} routes");
            tokio::task::spawn_blocking(|| std::io::stdin().read_to_end(&mut Vec::new())).await??;
        }
        running.abort();
        Ok(())
    })
}

fn configured(setup: Setup, index: usize) -> Neighbor {
    let (mut address, asn) = neighbor(index);
    let mut local = SPEAKER.0;
    let watched = setup.bfd.filter(|_| index == 0).map(bfd);
    if watched.is_some() {
        [local, address] = LINK;
    }
    Neighbor {
        name: format!("n{index}"),
        address: address.into(),
        port: PORT,
        local_address: Some(local.into()),
        asn: Asn(asn),
        hold_time: HOLD_TIME,
        connect_retry: Duration::from_secs(1),
        families: vec![Family::Ipv4Unicast],
        next_hop_other: None,
        passive: true,
        offer: Offer::default(),
        // BFD over a single hop and over several are two protocols; the former is measured.
        multihop: if watched.is_some() { None } else { Some(2) },
        ttl_security: false,
        password: None,
        import: Policy::accept_all(),
        export: if setup.tells(index) { Policy::accept_all() } else { Policy::reject_all() },
        next_hop_self: false,
        bfd: watched,
        ..Neighbor::new(format!("n{index}"), address.into(), Asn(asn))
    }
}

/// A speaker that runs. Dropped, it ends.
pub struct Running {
    child: Child,
    /// What it says.
    lines: BufReader<Box<dyn Read + Send>>,
    /// Where a daemon can be asked.
    control: Option<(Program, PathBuf)>,
}

impl Running {
    /// Starts a speaker; its files go into `folder`. It may not listen yet when this returns.
    ///
    /// # Errors
    /// It cannot be started.
    pub fn start(program: Program, setup: Setup, folder: &Path) -> Result<Self, Failure> {
        match program {
            // A site tells nobody of what others say, and what BFD finds is seen from outside late.
            Program::Ours if setup.told == 0 && setup.bfd.is_none() && !setup.installs => {
                Self::daemon(setup, folder)
            }
            Program::Ours => Self::ours(setup),
            Program::Bird => Self::bird(setup, folder),
        }
    }

    fn ours(setup: Setup) -> Result<Self, Failure> {
        let mut command = Command::new(std::env::current_exe()?);
        command.arg("speak").args(setup.arguments());
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
        let pipe = child.stdout.take().ok_or("standard output is a pipe")?;
        Ok(Self { child, lines: BufReader::new(Box::new(pipe)), control: None })
    }

    /// The daemon of a site, as an operator runs it.
    fn daemon(setup: Setup, folder: &Path) -> Result<Self, Failure> {
        let mut text = format!(
            "[fleet]\nname = \"bench\"\nasn = {}\n[prefix.\"192.0.2.0/24\"]\n\
             services = [\"any\"]\n[service.any]\naddresses = [\"192.0.2.1\"]\n[site.here]\n\
             router-id = \"{}\"\nbgp-port = {PORT}\nkernel-routes = false\n",
            SPEAKER.1, SPEAKER.0,
        );
        for index in 0..setup.neighbors {
            let (address, asn) = neighbor(index);
            write!(
                text,
                "[site.here.neighbor.n{index}]\naddress = \"{address}\"\nasn = {asn}\n\
                 local-address = \"{}\"\nmultihop = 2\npassive = true\nhold-time = \"{}s\"\n\
                 import = \"everything\"\nexport = \"nothing\"\n",
                SPEAKER.0,
                HOLD_TIME.as_secs(),
            )?;
        }
        let fleet = folder.join("table.toml");
        std::fs::write(&fleet, text)?;
        let control = folder.join("here.sock");
        let _ = std::fs::remove_file(&control);
        let program = std::env::current_exe()?.with_file_name("anycast");
        let mut command = Command::new(program);
        command.arg("run").arg(fleet).args(["--site", "here"]).env("ANYCAST_RUNTIME_DIR", folder);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let lines = BufReader::new(Box::new(std::io::empty()) as Box<dyn Read + Send>);
        Ok(Self { child: command.spawn()?, lines, control: Some((Program::Ours, control)) })
    }

    fn bird(setup: Setup, folder: &Path) -> Result<Self, Failure> {
        let (config, control) = (folder.join("bird.conf"), folder.join("bird.ctl"));
        let mut text =
            format!("log stderr all;\nrouter id {};\nprotocol device {{ }}\n", SPEAKER.0);
        if let Some(interval) = setup.bfd {
            write!(
                text,
                "debug protocols {{ states, events }};\nprotocol bfd {{ accept direct; \
                 interface \"*\" {{ interval {interval} ms; multiplier 3; }}; \
                 neighbor {} local {}; }}\n",
                LINK[1], LINK[0],
            )?;
        }
        if setup.installs {
            text.push_str("protocol direct { ipv4; }\nprotocol kernel { ipv4 { export all; }; }\n");
        }
        for index in 0..setup.neighbors {
            let (mut address, asn) = neighbor(index);
            let export = if setup.tells(index) { "all" } else { "none" };
            let (mut local, mut hops) = (SPEAKER.0, "multihop 2");
            if setup.bfd.is_some() && index == 0 {
                ([local, address], hops) = (LINK, "direct; bfd on");
            }
            write!(
                text,
                "protocol bgp n{index} {{\n  local {local} port {PORT} as {};\n  \
                 neighbor {address} as {asn};\n  {hops};\n  passive on;\n  hold time {};\n  \
                 ipv4 {{ import all; export {export}; }};\n}}\n",
                SPEAKER.1,
                HOLD_TIME.as_secs(),
            )?;
        }
        std::fs::write(&config, text)?;
        // One that ended before left its socket; this one is ready when there is one again.
        let _ = std::fs::remove_file(&control);
        let mut command = Command::new("/usr/sbin/bird");
        command.arg("-f").arg("-c").arg(&config).arg("-s").arg(&control);
        command.arg("-P").arg(folder.join("bird.pid"));
        let mut child = command.stdin(Stdio::null()).stderr(Stdio::piped()).spawn()?;
        let pipe = child.stderr.take().ok_or("standard error is a pipe")?;
        Ok(Self {
            child,
            lines: BufReader::new(Box::new(pipe)),
            control: Some((Program::Bird, control)),
        })
    }

    /// Waits until it prints a line that has these words in it.
    ///
    /// # Errors
    /// It ends before.
    pub fn wait_for_line(&mut self, words: &str) -> Result<(), Failure> {
        let mut line = String::new();
        loop {
            line.clear();
            if self.lines.read_line(&mut line)? == 0 {
                return Err(format!("the speaker ended before it said {words:?}").into());
            }
            if line.contains(words) {
                return Ok(());
            }
        }
    }

    /// Waits until it counts so many routes; once.
    ///
    /// # Errors
    /// It ends, or does not get there.
    pub fn wait_for(&mut self, routes: usize) -> Result<(), Failure> {
        let Some((program, control)) = &self.control else {
            writeln!(self.child.stdin.as_mut().ok_or("standard input is a pipe")?, "{routes}")?;
            return self.wait_for_line("all");
        };
        let deadline = Instant::now() + PATIENCE;
        while Instant::now() < deadline {
            let counted = match program {
                Program::Ours => count_of_ours(control)?,
                Program::Bird => count_of_bird(control)?,
            };
            if counted >= routes {
                return Ok(());
            }
            std::thread::sleep(LOOK);
        }
        Err("it does not get all routes".into())
    }

    /// Its process.
    ///
    /// # Errors
    /// It has ended.
    pub fn process(&self) -> Result<Process, Failure> {
        Ok(Process::of(i32::try_from(self.child.id())?).ok_or("the speaker has ended")?)
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Routes that our daemon has accepted, by its control socket.
fn count_of_ours(control: &Path) -> Result<usize, Failure> {
    let mut stream = UnixStream::connect(control)?;
    stream.write_all(b"GET /v1/neighbors HTTP/1.1\r\nhost: bench\r\nconnection: close\r\n\r\n")?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    let (_, body) = answer.split_once("\r\n\r\n").ok_or("the daemon's answer has no body")?;
    let start = body.find('[').ok_or("the daemon's answer is no list")?;
    let end = body.rfind(']').ok_or("the daemon's answer is no list")?;
    let rows: Vec<serde_json::Value> = serde_json::from_str(&body[start..=end])?;
    let accepted = rows.iter().filter_map(|row| row["accepted"].as_u64()).sum::<u64>();
    Ok(usize::try_from(accepted)?)
}

/// Routes that BIRD has imported, by its counters: `show route count` would walk the table.
fn count_of_bird(control: &Path) -> Result<usize, Failure> {
    let mut stream = BufReader::new(UnixStream::connect(control)?);
    let mut line = String::new();
    stream.read_line(&mut line)?;
    stream.get_mut().write_all(b"show protocols all\n")?;
    let mut counted = 0;
    loop {
        line.clear();
        if stream.read_line(&mut line)? == 0 {
            return Err("BIRD ended".into());
        }
        let rest = line.split_once("Routes:").map(|(_, rest)| rest.split_whitespace());
        let number = rest.and_then(|mut rest| rest.next()?.parse::<usize>().ok());
        counted += number.unwrap_or(0);
        // The reply ends with a code and nothing.
        if line.starts_with("0000") {
            return Ok(counted);
        }
    }
}

/// A folder for a speaker's files, removed at the end.
pub struct Folder(PathBuf);

impl Folder {
    /// Makes it.
    ///
    /// # Errors
    /// Of the file system.
    pub fn new() -> Result<Self, Failure> {
        let folder = std::env::temp_dir().join(format!("anycast-bench-{}", std::process::id()));
        std::fs::create_dir(&folder)?;
        Ok(Self(folder))
    }

    /// Where it is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

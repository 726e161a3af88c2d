//! A BGP speaker under test, ours or BIRD, on the loopback interface of a network namespace of
//! its own. Neither puts routes into the kernel.

use std::fmt::Write as _;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, SocketAddr};
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anycast_bgp::policy::Policy;
use anycast_bgp::{Asn, Family};
use anycast_speaker::{Config, Here, Neighbor, Offer, Speaker};

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
    /// The last of them is told all routes.
    pub tells_last: bool,
}

impl Setup {
    fn tells(self, index: usize) -> bool {
        self.tells_last && index + 1 == self.neighbors
    }
}

/// Runs this program again with `arguments` in a network namespace of its own, whose loopback
/// interface is up.
///
/// # Errors
/// `unshare` cannot be started.
pub fn enter(arguments: &[&str]) -> Result<(), Failure> {
    let error = Command::new("unshare")
        .args(["--user", "--map-root-user", "--net", "sh", "-c"])
        .args(["ip link set lo up && exec \"$0\" inside \"$@\""])
        .arg(std::env::current_exe()?)
        .args(arguments)
        .exec();
    Err(format!("cannot start unshare (util-linux): {error}").into())
}

/// Is our speaker until standard input closes: what a bench's `speak NEIGHBORS TELLS` does. For
/// each line of input, a number of routes, prints one once it has accepted so many.
///
/// # Errors
/// The speaker cannot be started.
pub fn speak(neighbors: &str, tells_last: &str) -> Result<(), Failure> {
    let setup = Setup { neighbors: neighbors.parse()?, tells_last: tells_last.parse()? };
    let config = Config {
        local_asn: Asn(SPEAKER.1),
        router_id: SPEAKER.0,
        listen: vec![SocketAddr::from((SPEAKER.0, PORT))],
        install_routes: false,
        place: Arc::new(Here),
        neighbors: (0..setup.neighbors).map(|index| configured(setup, index)).collect(),
    };
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    runtime.block_on(async {
        let speaker = Speaker::bind(config, None).await?;
        let handle = speaker.handle();
        let running = tokio::spawn(speaker.run());
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
    let (address, asn) = neighbor(index);
    Neighbor {
        name: format!("n{index}"),
        address: address.into(),
        port: PORT,
        local_address: Some(SPEAKER.0.into()),
        asn: Asn(asn),
        hold_time: HOLD_TIME,
        connect_retry: Duration::from_secs(1),
        families: vec![Family::Ipv4Unicast],
        next_hop_other: None,
        passive: true,
        offer: Offer::default(),
        multihop: Some(2),
        ttl_security: false,
        password: None,
        import: Policy::accept_all(),
        export: if setup.tells(index) { Policy::accept_all() } else { Policy::reject_all() },
        next_hop_self: false,
        bfd: None,
    }
}

/// A speaker that runs. Dropped, it ends.
pub struct Running {
    child: Child,
    /// Where BIRD listens for commands.
    control: Option<PathBuf>,
}

impl Running {
    /// Starts a speaker; its files go into `folder`. It may not listen yet when this returns.
    ///
    /// # Errors
    /// It cannot be started.
    pub fn start(program: Program, setup: Setup, folder: &Path) -> Result<Self, Failure> {
        match program {
            Program::Ours => Self::ours(setup),
            Program::Bird => Self::bird(setup, folder),
        }
    }

    fn ours(setup: Setup) -> Result<Self, Failure> {
        let mut command = Command::new(std::env::current_exe()?);
        command.args(["speak", &setup.neighbors.to_string(), &setup.tells_last.to_string()]);
        let child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
        Ok(Self { child, control: None })
    }

    fn bird(setup: Setup, folder: &Path) -> Result<Self, Failure> {
        let (config, control) = (folder.join("bird.conf"), folder.join("bird.ctl"));
        let mut text =
            format!("log stderr all;\nrouter id {};\nprotocol device {{ }}\n", SPEAKER.0);
        for index in 0..setup.neighbors {
            let (address, asn) = neighbor(index);
            let export = if setup.tells(index) { "all" } else { "none" };
            write!(
                text,
                "protocol bgp n{index} {{\n  local {} port {PORT} as {};\n  \
                 neighbor {address} as {asn};\n  multihop 2;\n  passive on;\n  hold time {};\n  \
                 ipv4 {{ import all; export {export}; }};\n}}\n",
                SPEAKER.0,
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
        let child = command.stdin(Stdio::null()).stderr(Stdio::null()).spawn()?;
        Ok(Self { child, control: Some(control) })
    }

    /// Waits until it counts so many routes; once.
    ///
    /// # Errors
    /// It ends, or does not get there.
    pub fn wait_for(&mut self, routes: usize) -> Result<(), Failure> {
        let Some(control) = &self.control else {
            writeln!(self.child.stdin.as_mut().ok_or("standard input is a pipe")?, "{routes}")?;
            let pipe = self.child.stdout.take().ok_or("standard output is a pipe")?;
            let mut line = String::new();
            BufReader::new(pipe).read_line(&mut line)?;
            return if line.is_empty() { Err("our speaker ended".into()) } else { Ok(()) };
        };
        let deadline = Instant::now() + PATIENCE;
        let mut stream = BufReader::new(UnixStream::connect(control)?);
        let mut line = String::new();
        stream.read_line(&mut line)?;
        while Instant::now() < deadline {
            // Counters of the protocols: `show route count` would walk the table.
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
                // The reply ends with a code, a space and nothing.
                if line.starts_with("0000") {
                    break;
                }
            }
            if counted >= routes {
                return Ok(());
            }
            std::thread::sleep(LOOK);
        }
        Err("BIRD does not get all routes".into())
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

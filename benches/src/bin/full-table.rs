//! A full table over one TCP session: into our speaker, and into BIRD, in turn.
//!
//! Both in a network namespace of their own, neither putting routes into the kernel. Measured
//! from the first octet of the first UPDATE until the speaker counts all routes; its CPU time
//! from start to then, and the largest resident set until then.

#![allow(clippy::disallowed_methods, clippy::disallowed_types, reason = "measuring")]

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, SocketAddr};
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anycast_benches::figures::{Samples, print, print_ratio};
use anycast_benches::processes::Process;
use anycast_benches::{Failure, full_table};
use anycast_bgp::message::{Capabilities, Context, Message, Open};
use anycast_bgp::policy::Policy;
use anycast_bgp::{Asn, Family};
use anycast_speaker::{Config, Here, Neighbor, Offer, Speaker};
use socket2::{Domain, Socket, Type};

const ROUTES: usize = 1_000_000;
const SETS: usize = 100_000;
const RUNS: usize = 5;
const SPEAKER: (Ipv4Addr, u32) = (Ipv4Addr::LOCALHOST, 64_501);
const FEEDER: (Ipv4Addr, u32) = (Ipv4Addr::new(127, 0, 0, 2), 64_502);
const PORT: u16 = 1790;
/// No session may end for its hold time while a slow machine loads.
const HOLD_TIME: Duration = Duration::from_secs(240);
/// How long one load may take.
const PATIENCE: Duration = Duration::from_secs(200);
/// The time between two looks at how far a speaker is.
const LOOK: Duration = Duration::from_millis(3);

fn main() -> Result<(), Failure> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match arguments.iter().map(String::as_str).collect::<Vec<_>>().as_slice() {
        ["speak", routes] => speak(routes.parse()?),
        ["inside", runs] => measure(runs.parse()?),
        [] => enter(&RUNS.to_string()),
        [runs] => enter(runs),
        _ => Err("usage: full-table [RUNS]".into()),
    }
}

/// Runs this again in a network namespace of its own, whose loopback interface is up.
fn enter(runs: &str) -> Result<(), Failure> {
    let me = std::env::current_exe()?;
    let error = Command::new("unshare")
        .args(["--user", "--map-root-user", "--net", "sh", "-c"])
        .args(["ip link set lo up && exec \"$0\" inside \"$1\""])
        .arg(me)
        .arg(runs)
        .exec();
    Err(format!("cannot start unshare (util-linux): {error}").into())
}

/// Our speaker, until standard input closes; prints a line when it has accepted all routes.
fn speak(routes: usize) -> Result<(), Failure> {
    let neighbor = Neighbor {
        name: "feeder".into(),
        address: FEEDER.0.into(),
        port: PORT,
        local_address: Some(SPEAKER.0.into()),
        asn: Asn(FEEDER.1),
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
        export: Policy::reject_all(),
        next_hop_self: false,
        bfd: None,
    };
    let config = Config {
        local_asn: Asn(SPEAKER.1),
        router_id: SPEAKER.0,
        listen: vec![SocketAddr::from((SPEAKER.0, PORT))],
        install_routes: false,
        place: Arc::new(Here),
        neighbors: vec![neighbor],
    };
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    runtime.block_on(async {
        let speaker = Speaker::bind(config, None).await?;
        let handle = speaker.handle();
        let running = tokio::spawn(speaker.run());
        while handle.neighbors().await.first().is_none_or(|feeder| feeder.accepted < routes) {
            tokio::time::sleep(LOOK).await;
        }
        println!("all {routes} routes");
        tokio::task::spawn_blocking(|| std::io::stdin().read_to_end(&mut Vec::new())).await??;
        running.abort();
        Ok(())
    })
}

/// A speaker under load. Dropped, it ends.
struct Loaded {
    child: Child,
    /// Where BIRD listens for commands.
    control: Option<PathBuf>,
}

impl Loaded {
    fn ours(routes: usize) -> Result<Self, Failure> {
        let mut command = Command::new(std::env::current_exe()?);
        command.args(["speak", &routes.to_string()]);
        let child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
        Ok(Self { child, control: None })
    }

    fn bird(folder: &Path) -> Result<Self, Failure> {
        let (config, control) = (folder.join("bird.conf"), folder.join("bird.ctl"));
        let text = format!(
            "log stderr all;\nrouter id {local};\nprotocol device {{ }}\n\
             protocol bgp feeder {{\n  local {local} port {PORT} as {};\n  neighbor {} as {};\n  \
             multihop 2;\n  passive on;\n  hold time {};\n  \
             ipv4 {{ import all; export none; }};\n}}\n",
            SPEAKER.1,
            FEEDER.0,
            FEEDER.1,
            HOLD_TIME.as_secs(),
            local = SPEAKER.0,
        );
        std::fs::write(&config, text)?;
        let mut command = Command::new("/usr/sbin/bird");
        command.arg("-f").arg("-c").arg(&config).arg("-s").arg(&control);
        command.arg("-P").arg(folder.join("bird.pid"));
        let child = command.stdin(Stdio::null()).stderr(Stdio::null()).spawn()?;
        Ok(Self { child, control: Some(control) })
    }

    /// Waits until it counts all routes.
    fn wait_for(&mut self, routes: usize) -> Result<(), Failure> {
        let Some(control) = &self.control else {
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
            stream.get_mut().write_all(b"show route count\n")?;
            // One line a table, then one that begins with 0014 and a space instead of a dash.
            let mut counted = 0;
            loop {
                line.clear();
                if stream.read_line(&mut line)? == 0 {
                    return Err("BIRD ended".into());
                }
                let number = line.get(5..).and_then(|rest| rest.split(' ').next()?.parse().ok());
                counted = counted.max(number.unwrap_or(0));
                if line.get(4..5) == Some(" ") {
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
}

impl Drop for Loaded {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Dials until somebody listens, and opens the session.
fn dial() -> Result<Socket, Failure> {
    let deadline = Instant::now() + Duration::from_secs(20);
    let socket = loop {
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None)?;
        socket.set_reuse_address(true)?;
        socket.bind(&SocketAddr::from((FEEDER.0, 0)).into())?;
        socket.set_read_timeout(Some(PATIENCE))?;
        match socket.connect(&SocketAddr::from((SPEAKER.0, PORT)).into()) {
            Ok(()) => break socket,
            Err(error) if Instant::now() >= deadline => return Err(error.into()),
            Err(_) => std::thread::sleep(Duration::from_millis(10)),
        }
    };
    let open = Message::Open(Open {
        asn: Asn(FEEDER.1),
        hold_time: HOLD_TIME,
        router_id: FEEDER.0,
        capabilities: Capabilities {
            families: Some(vec![Family::Ipv4Unicast]),
            four_octet_asn: true,
            ..Capabilities::default()
        },
    });
    let context = Context::default();
    (&socket).write_all(&open.emit(&context))?;
    // Its OPEN, then our KEEPALIVE, then its own: Established.
    read_message(&socket)?;
    (&socket).write_all(&Message::Keepalive.emit(&context))?;
    read_message(&socket)?;
    Ok(socket)
}

fn read_message(mut socket: &Socket) -> Result<(), Failure> {
    let mut header = [0; 19];
    socket.read_exact(&mut header)?;
    let len = usize::from(u16::from_be_bytes([header[16], header[17]]));
    let mut body = vec![0; len.saturating_sub(header.len())];
    socket.read_exact(&mut body)?;
    // 3 is NOTIFICATION (RFC 4271 §4.1).
    if header[18] == 3 {
        return Err(format!("the speaker refuses the session: {body:?}").into());
    }
    Ok(())
}

#[derive(Default)]
struct Figures {
    seconds: Samples,
    cpu_seconds: Samples,
    megabytes: Samples,
}

impl Figures {
    fn measure(&mut self, mut loaded: Loaded, table: &[u8]) -> Result<(), Failure> {
        let socket = dial()?;
        let began = Instant::now();
        std::thread::scope(|scope| {
            let sender = scope.spawn(|| (&socket).write_all(table));
            loaded.wait_for(ROUTES)?;
            sender.join().map_err(|_| "the feeder panicked")??;
            Ok::<(), Failure>(())
        })?;
        self.seconds.add(began.elapsed().as_secs_f64());
        let process =
            Process::of(i32::try_from(loaded.child.id())?).ok_or("the speaker has ended")?;
        self.cpu_seconds.add(process.cpu_seconds());
        self.megabytes.add(process.peak_megabytes());
        Ok(())
    }

    fn show(&self, title: &str) {
        println!("{title}");
        print("first UPDATE until all are counted", &self.seconds, "s", 2);
        print("CPU time", &self.cpu_seconds, "s", 2);
        print("largest resident set", &self.megabytes, "MB", 0);
    }
}

fn measure(runs: usize) -> Result<(), Failure> {
    let table = full_table::updates(ROUTES, SETS, FEEDER.1, FEEDER.0);
    println!("{ROUTES} IPv4 routes, {SETS} attribute sets, {} octets of UPDATE", table.len());
    let folder = std::env::temp_dir().join(format!("anycast-bench-table-{}", std::process::id()));
    std::fs::create_dir(&folder)?;
    let has_bird = Path::new("/usr/sbin/bird").exists();
    let (mut ours, mut bird) = (Figures::default(), Figures::default());
    for _ in 0..runs {
        ours.measure(Loaded::ours(ROUTES)?, &table)?;
        if has_bird {
            bird.measure(Loaded::bird(&folder)?, &table)?;
        }
    }
    std::fs::remove_dir_all(&folder)?;
    ours.show("Our speaker");
    if !has_bird {
        println!("skipped: BIRD, which is not installed (apt install bird2)");
        return Ok(());
    }
    bird.show("BIRD");
    println!("BIRD over ours");
    print_ratio("time", &bird.seconds, &ours.seconds);
    print_ratio("CPU time", &bird.cpu_seconds, &ours.cpu_seconds);
    print_ratio("memory", &bird.megabytes, &ours.megabytes);
    Ok(())
}

//! How soon sessions are there: 500 neighbors that dial at once, and one that is dialled, from
//! the start of the program until it is told a prefix.
//!
//! Ours and BIRD, in turn, on the loopback interface of a network namespace of its own.

#![allow(clippy::disallowed_methods, clippy::disallowed_types, reason = "measuring")]

use std::io::Read;
use std::net::{Ipv4Addr, TcpListener};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anycast_benches::Failure;
use anycast_benches::feeder::{announced, length, open};
use anycast_benches::figures::{Samples, print, print_ratio};
use anycast_benches::speakers::{
    Folder, PATIENCE, PORT, Program, Running, SPEAKER, Setup, enter, neighbor, speak,
};
use anycast_bgp::message::{Context, Message};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};

const DIALLERS: usize = 500;
const RUNS: &str = "5";
/// How long a neighbor waits for the next message before it dials again.
const ATTEMPT: Duration = Duration::from_secs(2);
/// The service's address, and the port where it is asked.
const SERVICE: (&str, u16) = ("192.0.2.1", 53);

fn main() -> Result<(), Failure> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match arguments.iter().map(String::as_str).collect::<Vec<_>>().as_slice() {
        ["speak", neighbors, told, bfd, installs] => speak([neighbors, told, bfd, installs]),
        ["inside", runs] => measure(runs.parse()?),
        [] => enter(&[RUNS]),
        [runs] if runs.parse::<usize>().is_ok() => enter(&[runs]),
        _ => Err("usage: sessions [RUNS]".into()),
    }
}

fn measure(runs: usize) -> Result<(), Failure> {
    let folder = Folder::new()?;
    let dial = |program| dial_at_once(program, folder.path());
    let title = format!("{DIALLERS} neighbors dial at once: until all are Established");
    compare(&title, ("s", 3), runs, dial)?;
    let first = |program| first_update(program, folder.path()).map(|seconds| seconds * 1e3);
    let title = "From its start until a neighbor that accepts is told the prefix";
    compare(title, ("ms", 1), runs, first)
}

/// Measures each program in turn, and prints what was found.
fn compare(
    title: &str,
    (unit, decimals): (&str, usize),
    runs: usize,
    measure: impl Fn(Program) -> Result<f64, Failure>,
) -> Result<(), Failure> {
    let programs = Program::installed();
    let mut samples: Vec<Samples> = programs.iter().map(|_| Samples::default()).collect();
    for _ in 0..runs {
        for (program, samples) in programs.iter().zip(&mut samples) {
            samples.add(measure(*program)?);
        }
    }
    println!("\n{title}");
    for (program, samples) in programs.iter().zip(&samples) {
        print(program.name(), samples, unit, decimals);
    }
    if let [ours, bird] = samples.as_slice() {
        print_ratio("BIRD over ours", bird, ours);
    }
    Ok(())
}

/// Seconds from the first attempt to connect until the last session is Established.
fn dial_at_once(program: Program, folder: &Path) -> Result<f64, Failure> {
    let setup = Setup::listens(DIALLERS);
    let _speaker = Running::start(program, setup, folder)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let deadline = Instant::now() + Duration::from_secs(20);
        // From an address that is no neighbor's: it is refused, but there is somebody.
        while TcpStream::connect((SPEAKER.0, PORT)).await.is_err() {
            if Instant::now() > deadline {
                return Err("the speaker does not listen".into());
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        tokio::time::sleep(Duration::from_millis(200)).await;
        let began = Instant::now();
        let tasks: Vec<_> = (0..DIALLERS).map(|index| tokio::spawn(establish(index))).collect();
        let mut streams = Vec::new();
        for task in tasks {
            streams.push(tokio::time::timeout(PATIENCE, task).await???);
        }
        Ok(began.elapsed().as_secs_f64())
    })
}

/// The session of one neighbor; tries again at once when it is refused.
async fn establish(index: usize) -> std::io::Result<TcpStream> {
    let (address, asn) = neighbor(index);
    loop {
        let socket = TcpSocket::new_v4()?;
        socket.set_reuseaddr(true)?;
        socket.bind((address, 0).into())?;
        let attempt = async {
            let mut stream = socket.connect((SPEAKER.0, PORT).into()).await?;
            stream.write_all(&open(address, asn)).await?;
            read(&mut stream).await?;
            stream.write_all(&Message::Keepalive.emit(&Context::default())).await?;
            read(&mut stream).await?;
            Ok::<_, std::io::Error>(stream)
        };
        if let Ok(Ok(stream)) = tokio::time::timeout(ATTEMPT, attempt).await {
            return Ok(stream);
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

/// Reads a message, which is to be an OPEN or a KEEPALIVE.
async fn read(stream: &mut TcpStream) -> std::io::Result<()> {
    let mut header = [0; 19];
    stream.read_exact(&mut header).await?;
    let mut body = vec![0; length(&header).saturating_sub(header.len())];
    stream.read_exact(&mut body).await?;
    if header[18] == 3 { Err(std::io::ErrorKind::ConnectionRefused.into()) } else { Ok(()) }
}

/// Seconds from the start of a program until its neighbor, which waits, is told a prefix. Ours is
/// the whole daemon of a site, whose service must be healthy first; BIRD has a static route.
fn first_update(program: Program, folder: &Path) -> Result<f64, Failure> {
    let (address, asn) = neighbor(0);
    let listener = TcpListener::bind((address, PORT))?;
    let began = Instant::now();
    let _daemon = Daemon(match program {
        Program::Ours => our_daemon(folder, address, asn)?,
        Program::Bird => bird_daemon(folder, address, asn)?,
    });
    loop {
        let (mut stream, _) = listener.accept()?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(Duration::from_secs(30)))?;
        std::io::Write::write_all(&mut stream, &open(address, asn))?;
        std::io::Write::write_all(&mut stream, &Message::Keepalive.emit(&Context::default()))?;
        loop {
            let mut header = [0; 19];
            if stream.read_exact(&mut header).is_err() {
                break;
            }
            let mut message = header.to_vec();
            message.resize(length(&header).max(header.len()), 0);
            stream.read_exact(&mut message[header.len()..])?;
            if header[18] == 2 && announced(&message) > 0 {
                return Ok(began.elapsed().as_secs_f64());
            }
        }
    }
}

/// A daemon that is ended with this.
struct Daemon(Child);

impl Drop for Daemon {
    fn drop(&mut self) {
        // Built-in services end when their daemon does.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn our_daemon(folder: &Path, address: Ipv4Addr, asn: u32) -> Result<Child, Failure> {
    let fleet = folder.join("fleet.toml");
    let (service, port) = SERVICE;
    std::fs::write(
        &fleet,
        format!(
            "[fleet]\nname = \"bench\"\nasn = {}\n[prefix.\"192.0.2.0/24\"]\n\
             services = [\"whoami\"]\n[service.whoami]\naddresses = [\"{service}\"]\n\
             builtin = \"whoami\"\ndns-port = {port}\n[site.here]\n\
             listen = false\nrouter-id = \"192.0.2.200\"\n[site.here.neighbor.peer]\n\
             address = \"{address}\"\nport = {PORT}\nlocal-address = \"{}\"\nmultihop = 2\n\
             asn = {asn}\nimport = \"nothing\"\nexport = \"fleet\"\n",
            SPEAKER.1, SPEAKER.0,
        ),
    )?;
    let program = std::env::current_exe()?.with_file_name("anycast");
    let mut command = Command::new(program);
    command.arg("run").arg(fleet).args(["--site", "here"]).env("ANYCAST_RUNTIME_DIR", folder);
    Ok(command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn()?)
}

fn bird_daemon(folder: &Path, address: Ipv4Addr, asn: u32) -> Result<Child, Failure> {
    let (config, control) = (folder.join("first.conf"), folder.join("first.ctl"));
    std::fs::write(
        &config,
        format!(
            "log stderr all;\nrouter id {local};\nprotocol device {{ }}\n\
             protocol static {{ ipv4; route 192.0.2.0/24 blackhole; }}\nprotocol bgp peer {{\n  \
             local {local} port 1791 as {};\n  neighbor {address} port {PORT} as {asn};\n  \
             multihop 2;\n  ipv4 {{ import none; export all; }};\n}}\n",
            SPEAKER.1,
            local = SPEAKER.0,
        ),
    )?;
    let mut command = Command::new("/usr/sbin/bird");
    command.arg("-f").arg("-c").arg(&config).arg("-s").arg(&control);
    command.arg("-P").arg(folder.join("first.pid"));
    Ok(command.stdin(Stdio::null()).stderr(Stdio::null()).spawn()?)
}

//! What the packet programs cost a transfer over a veth pair: octets in a second with them and without,
//! in turn, as a ratio. As root, in namespaces of its own.
//!
//! At tc the pair has all its offloads. For native XDP both ends have a program in either case (one that
//! only passes), without which a veth gives XDP nothing to send with.

#![allow(clippy::disallowed_methods, clippy::disallowed_types, reason = "measuring")]

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::process::Command;
use std::sync::mpsc;
use std::time::{Duration, Instant};

use anycast_affinity::testing::config;
use anycast_affinity::{Affinity, Mode, pass_program};
use anycast_benches::Failure;
use anycast_benches::figures::Samples;
use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};

const ROUNDS: usize = 15;
const TIME: Duration = Duration::from_secs(1);
const SERVICE: &str = "192.0.2.1:5001";
const PIECE: usize = 256 << 10;

fn main() -> Result<(), Failure> {
    if !nix::unistd::Uid::effective().is_root() {
        println!("skipped: packet programs need root");
        return Ok(());
    }
    unshare(CloneFlags::CLONE_NEWNET | CloneFlags::CLONE_NEWNS)?;
    let none: Option<&str> = None;
    mount(none, "/", none, MsFlags::MS_REC | MsFlags::MS_PRIVATE, none)?;
    let directory = std::env::temp_dir();
    mount(Some("bpf"), &directory, Some("bpf"), MsFlags::empty(), none)?;
    let orders = client()?;
    ip("link set lo up")?;
    ip("address add 192.0.2.1/32 dev lo")?;
    ip("address add 203.0.113.2/30 dev near")?;
    ip("link set near up")?;
    serve()?;
    for (name, mode, down) in [
        ("tc, download", Mode::Tc, true),
        ("tc, upload", Mode::Tc, false),
        ("XDP native, download", Mode::XdpNative, true),
        ("XDP native, upload", Mode::XdpNative, false),
    ] {
        let native = mode == Mode::XdpNative;
        orders.ask(Order::Passing(native))?;
        let [mut with, mut without, mut ratios] = [(); 3].map(|()| Samples::default());
        for _ in 0..ROUNDS {
            let bare = native.then(|| pass_program("near")).transpose()?;
            let plain = orders.ask(Order::Transfer { down })?;
            drop(bare);
            let loaded = load(mode, &directory)?;
            let kept = orders.ask(Order::Transfer { down })?;
            loaded.unload()?;
            without.add(plain);
            with.add(kept);
            ratios.add(kept / plain);
        }
        println!(
            "{name:<22} with {:.2} Gbit/s, without {:.2}; ratio {:.3}  wanted 0.98",
            with.median(),
            without.median(),
            ratios
        );
    }
    Ok(())
}

fn load(mode: Mode, directory: &Path) -> Result<Affinity, Failure> {
    let mut config = config();
    config.interfaces = vec!["near".to_owned()];
    config.mode = mode;
    Ok(Affinity::load(&config, directory)?)
}

fn ip(line: &str) -> Result<(), Failure> {
    let done = Command::new("ip").args(line.split(' ')).status()?;
    done.success().then_some(()).ok_or_else(|| format!("ip {line} failed").into())
}

/// The first octet says whether the client wants to send (`u`) or to be sent to.
fn serve() -> Result<(), Failure> {
    let listener = TcpListener::bind(SERVICE)?;
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            std::thread::spawn(move || serve_one(stream).ok());
        }
    });
    Ok(())
}

fn serve_one(mut stream: TcpStream) -> std::io::Result<()> {
    let mut buffer = vec![0x55; PIECE];
    stream.read_exact(&mut buffer[..1])?;
    if buffer[0] == b'u' {
        while stream.read(&mut buffer)? > 0 {}
        return Ok(());
    }
    loop {
        stream.write_all(&buffer)?;
    }
}

enum Order {
    /// Puts a program that passes everything at the client's end, or takes it away.
    Passing(bool),
    /// Transfers for a time; Gbit/s.
    Transfer { down: bool },
}

/// The thread that is the client, in a namespace of its own.
struct Client {
    orders: mpsc::Sender<Order>,
    answers: mpsc::Receiver<Result<f64, String>>,
}

impl Client {
    fn ask(&self, order: Order) -> Result<f64, Failure> {
        self.orders.send(order)?;
        Ok(self.answers.recv()??)
    }
}

fn client() -> Result<Client, Failure> {
    let (orders, todo) = mpsc::channel::<Order>();
    let (done, answers) = mpsc::channel();
    let (ready, begun) = mpsc::channel();
    std::thread::spawn(move || {
        let entered = unshare(CloneFlags::CLONE_NEWNET);
        ready.send(entered.map(|()| nix::unistd::gettid())).ok();
        // Ends when the bench is done with it.
        let mut passing = None;
        for order in todo {
            let outcome = match order {
                Order::Passing(true) if passing.is_some() => Ok(0.0),
                Order::Passing(true) => match pass_program("far") {
                    Ok(program) => {
                        passing = Some(program);
                        Ok(0.0)
                    }
                    Err(error) => Err(error.to_string()),
                },
                Order::Passing(false) => {
                    passing = None;
                    Ok(0.0)
                }
                Order::Transfer { down } => transfer(down).map_err(|error| error.to_string()),
            };
            if done.send(outcome).is_err() {
                break;
            }
        }
        drop(passing);
    });
    let thread = begun.recv()??;
    ip(&format!("link add near type veth peer name far netns {thread}"))?;
    let client = format!("--net=/proc/{thread}/ns/net");
    for line in [
        "ip address add 203.0.113.1/30 dev far",
        "ip link set far up",
        "ip route add 192.0.2.1/32 via 203.0.113.2",
    ] {
        let done = Command::new("nsenter").arg(&client).args(line.split(' ')).status()?;
        if !done.success() {
            return Err(format!("{line} failed").into());
        }
    }
    Ok(Client { orders, answers })
}

fn transfer(down: bool) -> std::io::Result<f64> {
    let address: SocketAddr = SERVICE.parse().map_err(std::io::Error::other)?;
    let mut stream = TcpStream::connect_timeout(&address, Duration::from_secs(5))?;
    stream.write_all(if down { b"d" } else { b"u" })?;
    let mut buffer = vec![0x55; PIECE];
    let mut octets = 0;
    let begin = Instant::now();
    while begin.elapsed() < TIME {
        octets += if down { stream.read(&mut buffer)? } else { stream.write(&buffer)? };
    }
    #[expect(clippy::cast_precision_loss, reason = "a figure to look at")]
    let rate = octets as f64 * 8.0 / begin.elapsed().as_secs_f64() / 1e9;
    Ok(rate)
}

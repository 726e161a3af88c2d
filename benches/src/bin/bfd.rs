//! How soon BFD notices that a neighbor has died while the speaker loads a full table, and
//! whether it keeps its nerve while every core is busy.
//!
//! The neighbor is frozen by SIGSTOP; measured is the time from then until the speaker says that
//! the neighbor is gone. Ours and BIRD, in turn, in a network namespace of their own; the neighbor
//! is in another, at the other end of a veth.

#![allow(clippy::disallowed_methods, clippy::disallowed_types, reason = "measuring")]

use std::io::Write;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anycast_benches::Failure;
use anycast_benches::feeder::Feeder;
use anycast_benches::figures::{Samples, print, print_ratio};
use anycast_benches::full_table;
use anycast_benches::speakers::{
    Folder, LINK, Program, Running, Setup, answer, enter, neighbor, speak,
};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

const ROUTES: usize = 1_000_000;
const SETS: usize = 100_000;
const RUNS: &str = "10";
/// Three packets of so many milliseconds.
const INTERVAL: u32 = 10;
/// The same when every core is busy.
const BUSY_INTERVAL: u32 = 50;
/// How far the table is when the neighbor freezes: in the middle of its loading.
const LOADING: Duration = Duration::from_millis(150);

fn main() -> Result<(), Failure> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match arguments.iter().map(String::as_str).collect::<Vec<_>>().as_slice() {
        ["speak", neighbors, told, bfd, installs] => speak([neighbors, told, bfd, installs]),
        ["answer", interval] => answer(interval),
        ["spin"] => loop {
            std::hint::spin_loop();
        },
        ["inside", "soak", minutes] => soak(minutes.parse()?),
        ["inside", runs] => measure(runs.parse()?),
        [] => enter(&[RUNS]),
        ["soak", minutes] => enter(&["soak", minutes]),
        [runs] if runs.parse::<usize>().is_ok() => enter(&[runs]),
        _ => Err("usage: bfd [RUNS | soak MINUTES]".into()),
    }
}

/// A process of this program. Dropped, it ends.
struct Other(Child);

impl Other {
    fn start(command: &mut Command, arguments: &[&str]) -> Result<Self, Failure> {
        command.args(arguments).stdin(Stdio::piped()).stdout(Stdio::null());
        Ok(Self(command.spawn()?))
    }

    /// A busy loop.
    fn busy() -> Result<Self, Failure> {
        Self::start(&mut Command::new(std::env::current_exe()?), &["spin"])
    }

    /// The neighbor, in a namespace of its own, with a link to here; it waits for
    /// [`go`](Self::go).
    fn answering(interval: u32) -> Result<Self, Failure> {
        let mut command = Command::new("unshare");
        command.arg("--net").arg(std::env::current_exe()?);
        let other = Self::start(&mut command, &["answer", &interval.to_string()])?;
        let pid = other.0.id();
        let [here, there] = LINK;
        let script = format!(
            "until [ \"$(readlink /proc/{pid}/ns/net)\" != \"$(readlink /proc/self/ns/net)\" ]; do \
             sleep 0.01; done; \
             ip link add link{pid} type veth peer name eth0 netns {pid} && \
             ip address add {here}/31 dev link{pid} && ip link set link{pid} up && \
             nsenter --net=/proc/{pid}/ns/net sh -c \
             'ip link set lo up; ip address add {there}/31 dev eth0; ip link set eth0 up'"
        );
        let made = Command::new("sh").arg("-c").arg(script).status()?.success();
        made.then_some(other)
            .ok_or_else(|| "cannot make the link to the neighbor (iproute2, nsenter)".into())
    }

    fn go(&mut self) -> Result<(), Failure> {
        Ok(writeln!(self.0.stdin.as_mut().ok_or("standard input is a pipe")?)?)
    }

    fn freeze(&self) -> Result<(), Failure> {
        Ok(kill(Pid::from_raw(i32::try_from(self.0.id())?), Signal::SIGSTOP)?)
    }
}

impl Drop for Other {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// The line by which a speaker says that BFD is up, and that the neighbor is gone.
const fn lines(program: Program) -> [&'static str; 2] {
    match program {
        Program::Ours => ["up n0", "down n0: BFD"],
        Program::Bird => ["from Init to Up", "from Up to Down"],
    }
}

fn measure(runs: usize) -> Result<(), Failure> {
    let folder = Folder::new()?;
    let programs = Program::installed();
    let (address, asn) = neighbor(1);
    let table = full_table::part((0, 1), (ROUTES, SETS), asn, address);
    let setup = Setup { bfd: Some(INTERVAL), ..Setup::listens(2) };
    let mut samples: Vec<Samples> = programs.iter().map(|_| Samples::default()).collect();
    for _ in 0..runs {
        for (program, samples) in programs.iter().zip(&mut samples) {
            let [up, down] = lines(*program);
            let mut answering = Other::answering(INTERVAL)?;
            let mut speaker = Running::start(*program, setup, folder.path())?;
            let feeder = Feeder::dial(1)?;
            answering.go()?;
            speaker.wait_for_line(up)?;
            // BFD begins slowly (RFC 5880 §6.8.3): a second until the fast intervals hold.
            std::thread::sleep(Duration::from_secs(2));
            let seconds = std::thread::scope(|scope| {
                scope.spawn(|| feeder.send(&table).map_err(|error| error.to_string()));
                std::thread::sleep(LOADING);
                let frozen = Instant::now();
                answering.freeze()?;
                speaker.wait_for_line(down)?;
                let seconds = frozen.elapsed().as_secs_f64();
                // Ends the feeder too, however much is left.
                drop(speaker);
                Ok::<f64, Failure>(seconds)
            })?;
            samples.add(seconds * 1e3);
        }
    }
    println!("A neighbor freezes while a full table loads: BFD 3 × {INTERVAL} ms says so after");
    for (program, samples) in programs.iter().zip(&samples) {
        print(program.name(), samples, "ms", 1);
    }
    if let [ours, bird] = samples.as_slice() {
        print_ratio("BIRD over ours", bird, ours);
    }
    Ok(())
}

/// Two of our speakers with BFD between them, and twice as many busy loops as there are cores.
fn soak(minutes: u64) -> Result<(), Failure> {
    let folder = Folder::new()?;
    let setup = Setup { bfd: Some(BUSY_INTERVAL), ..Setup::listens(1) };
    let mut answering = Other::answering(BUSY_INTERVAL)?;
    let mut speaker = Running::start(Program::Ours, setup, folder.path())?;
    answering.go()?;
    let [up, down] = lines(Program::Ours);
    speaker.wait_for_line(up)?;
    let cores = std::thread::available_parallelism()?.get();
    let _busy: Vec<Other> = (0..2 * cores).map(|_| Other::busy()).collect::<Result<_, _>>()?;
    let (sender, falls) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        while speaker.wait_for_line(down).is_ok() && sender.send(Instant::now()).is_ok() {}
    });
    let began = Instant::now();
    let end = Duration::from_secs(60 * minutes);
    let mut count = 0;
    while let Ok(fell) = falls.recv_timeout(end.saturating_sub(began.elapsed())) {
        count += 1;
        println!("fell after {:.1} s", (fell - began).as_secs_f64());
    }
    println!(
        "BFD 3 × {BUSY_INTERVAL} ms for {minutes} minutes beside {} busy loops on {cores} cores: \
         {count} false alarms",
        2 * cores,
    );
    Ok(())
}

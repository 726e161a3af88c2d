//! A service is killed: how long until the route is gone, and until the next site answers? Ours
//! beside what people use today, each as it comes and as fast as it can.

#![allow(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    reason = "measuring is reading clocks, opening sockets and starting processes"
)]

use std::io::Read;
use std::net::{Ipv4Addr, TcpListener, UdpSocket};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use anycast_benches::Failure;
use anycast_benches::checkers::{
    ADDRESS, Contender, End, LINK, NEXT, PORT, Program, Running, Timers, inside, next_site, router,
    spawn,
};
use anycast_benches::figures::{Samples, print, print_ratio};
use anycast_benches::speakers::Folder;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use socket2::{Domain, Protocol, Socket, Type};

const CONTENDERS: [Contender; 7] = [
    Contender { program: Program::Ours, timers: Timers::Default, end: End::Killed, kills: 100 },
    Contender { program: Program::Ours, timers: Timers::Fast, end: End::Killed, kills: 100 },
    Contender { program: Program::Ours, timers: Timers::Fast, end: End::Frozen, kills: 100 },
    Contender { program: Program::ExaBgp, timers: Timers::Fast, end: End::Killed, kills: 100 },
    Contender {
        program: Program::Healthchecker,
        timers: Timers::Fast,
        end: End::Killed,
        kills: 100,
    },
    Contender { program: Program::ExaBgp, timers: Timers::Default, end: End::Killed, kills: 5 },
    Contender {
        program: Program::Healthchecker,
        timers: Timers::Default,
        end: End::Killed,
        kills: 5,
    },
];
/// What becomes of the route when the speaker itself dies. Fewer kills: each begins a session anew.
const SPEAKERS: [Contender; 3] = {
    let (timers, end, kills) = (Timers::Default, End::SpeakerKilled, 20);
    [
        Contender { program: Program::Ours, timers, end, kills },
        Contender { program: Program::Bird, timers, end, kills },
        Contender { program: Program::Frr, timers, end, kills },
    ]
};
/// What people use today, each as it comes, as often as ours: it takes an hour.
const PATIENT: [Contender; 3] = {
    let (timers, end, kills) = (Timers::Default, End::Killed, 100);
    [
        Contender { program: Program::Ours, timers, end, kills },
        Contender { program: Program::ExaBgp, timers, end, kills },
        Contender { program: Program::Healthchecker, timers, end, kills },
    ]
};
/// How long a program may take to withdraw, or to announce again.
const PATIENCE: Duration = Duration::from_secs(120);
/// A question of somebody who waits that is not answered by then is lost.
const LATE: Duration = Duration::from_millis(1);
/// The time between two questions of who asks without waiting.
const EVERY: Duration = Duration::from_millis(1);
/// After the next site's first answer: for how long one to an earlier question may still come.
const EARLIER: Duration = Duration::from_millis(20);

fn main() -> Result<(), Failure> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match arguments.iter().map(String::as_str).collect::<Vec<_>>().as_slice() {
        ["serve", name] => serve(name),
        ["inside"] => measure(usize::MAX, &[&CONTENDERS[..], &SPEAKERS]),
        ["inside", "speakers"] => measure(usize::MAX, &[&SPEAKERS]),
        ["inside", "patient"] => measure(usize::MAX, &[&PATIENT]),
        ["inside", "patient", most] => measure(most.parse()?, &[&PATIENT]),
        ["inside", most] => measure(most.parse()?, &[&CONTENDERS, &SPEAKERS]),
        some @ ([] | [_] | ["patient", _]) => enter(some),
        _ => Err("usage: checkers [MOST-KILLS | speakers | patient [MOST-KILLS]]".into()),
    }
}

/// Runs this program again in namespaces that vanish with it.
fn enter(arguments: &[&str]) -> Result<(), Failure> {
    let script = "mount --make-rprivate / && mkdir -p /run/netns && mount -t tmpfs tmpfs /run/netns \
                  && ip link set lo up && exec \"$0\" inside \"$@\"";
    let error = Command::new("unshare")
        .args(["--net", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc"])
        .args(["sh", "-c", script])
        .arg(std::env::current_exe()?)
        .args(arguments)
        .exec();
    Err(format!("cannot start unshare (util-linux; as root): {error}").into())
}

/// The service: says its name and what it was asked to whoever asks by UDP, takes TCP connections.
fn serve(name: &str) -> Result<(), Failure> {
    let tcp = TcpListener::bind((ADDRESS, PORT))?;
    let udp = UdpSocket::bind((ADDRESS, PORT))?;
    std::thread::spawn(move || tcp.incoming().for_each(drop));
    let mut buffer = [0; 64];
    loop {
        let (len, from) = udp.recv_from(&mut buffer)?;
        udp.send_to(&[name.as_bytes(), b" ", &buffer[..len]].concat(), from)?;
    }
}

fn ip(arguments: &str) -> Result<(), Failure> {
    let status = Command::new("ip").args(arguments.split(' ')).status()?;
    if status.success() { Ok(()) } else { Err(format!("ip {arguments}: {status}").into()) }
}

fn build() -> Result<(), Failure> {
    for (name, [near, far]) in [("a", LINK), ("b", NEXT)] {
        ip(&format!("netns add {name}"))?;
        ip(&format!("link add dev {name} type veth peer name up netns {name}"))?;
        ip(&format!("addr add {near}/31 dev {name}"))?;
        ip(&format!("link set dev {name} up"))?;
        for command in [
            "link set dev lo up".to_owned(),
            format!("addr add {ADDRESS}/32 dev lo"),
            format!("addr add {far}/31 dev up"),
            "link set dev up up".to_owned(),
        ] {
            ip(&format!("-n {name} {command}"))?;
        }
    }
    Ok(())
}

/// The service's process at a site.
fn service(site: &str, folder: &Path) -> Result<Child, Failure> {
    let program = std::env::current_exe()?;
    let mut command = inside(site, &program.to_string_lossy());
    spawn(command.args(["serve", site]), folder, &format!("service-{site}"))
}

fn end(child: &mut Child) -> Result<(), Failure> {
    child.kill()?;
    child.wait()?;
    Ok(())
}

/// Who answers now.
fn ask() -> Result<Option<String>, Failure> {
    // A socket of its own for each question: its route is looked up anew.
    let socket = UdpSocket::bind("0.0.0.0:0")?;
    socket.set_read_timeout(Some(LATE))?;
    let mut buffer = [0; 64];
    let sent = socket.send_to(b"?", (ADDRESS, PORT));
    let answer = sent.and_then(|_| socket.recv(&mut buffer)).ok();
    let text = answer.map(|len| String::from_utf8_lossy(&buffer[..len]).into_owned());
    Ok(text.and_then(|text| Some(text.split(' ').next()?.to_owned())))
}

/// Questions each millisecond, whether they are answered or not.
struct Asking {
    socket: UdpSocket,
    asked: Arc<Mutex<Vec<Instant>>>,
    stop: Arc<AtomicBool>,
}

impl Asking {
    /// Asks from now on, until it is dropped.
    fn start() -> Result<Self, Failure> {
        // It is not connected: the kernel looks its route up for each question.
        let socket = UdpSocket::bind("0.0.0.0:0")?;
        socket.set_read_timeout(Some(EARLIER))?;
        let (asked, stop) = (Arc::<Mutex<Vec<Instant>>>::default(), Arc::<AtomicBool>::default());
        let sender = socket.try_clone()?;
        let (times, over) = (Arc::clone(&asked), Arc::clone(&stop));
        std::thread::spawn(move || {
            let began = Instant::now();
            for number in 0_u32.. {
                if over.load(Ordering::Relaxed) {
                    return;
                }
                std::thread::sleep((EVERY * number).saturating_sub(began.elapsed()));
                times.lock().expect("nobody panics with it").push(Instant::now());
                // Where no route leads, the question is lost as any other.
                let _ = sender.send_to(number.to_string().as_bytes(), (ADDRESS, PORT));
            }
        });
        Ok(Self { socket, asked, stop })
    }

    /// Waits for the site's first answer; when the earliest question was asked that it answers.
    fn first_of(&self, site: &str) -> Result<Instant, Failure> {
        let began = Instant::now();
        let mut first: Option<(usize, Instant)> = None;
        let mut buffer = [0; 64];
        loop {
            let enough = first.is_some_and(|(_, at)| at.elapsed() > EARLIER);
            if let (true, Some((number, _))) = (enough, first) {
                let asked = self.asked.lock().expect("nobody panics with it");
                return Ok(*asked.get(number).ok_or("an answer to what was never asked")?);
            }
            if began.elapsed() > PATIENCE {
                return Err(format!("{site} never answered").into());
            }
            let Ok(len) = self.socket.recv(&mut buffer) else { continue };
            let text = String::from_utf8_lossy(&buffer[..len]).into_owned();
            let Some(number) = text.strip_prefix(site).and_then(|it| it.trim().parse().ok()) else {
                continue;
            };
            first =
                Some(first.map_or((number, Instant::now()), |(least, at)| (least.min(number), at)));
        }
    }
}

impl Drop for Asking {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
    }
}

/// Waits until three questions in a row are answered by `site`.
fn wait_for(site: &str) -> Result<(), Failure> {
    let began = Instant::now();
    let mut streak = 0;
    while streak < 3 {
        if began.elapsed() > PATIENCE {
            return Err(format!("{site} does not answer within {PATIENCE:?}").into());
        }
        let answered = ask()?.as_deref() == Some(site);
        streak = if answered { streak + 1 } else { 0 };
        std::thread::sleep(Duration::from_millis(1));
    }
    Ok(())
}

/// Whether the kernel's route to the service leads to the site under test.
fn leads_to_a() -> bool {
    let table = std::fs::read_to_string("/proc/net/route").unwrap_or_default();
    let address: std::net::Ipv4Addr = ADDRESS.parse().expect("an address");
    let wanted = format!("{:08X}", u32::from_le_bytes(address.octets()));
    table.lines().any(|line| {
        let mut words = line.split_whitespace();
        words.next() == Some("a") && words.next() == Some(&wanted)
    })
}

#[derive(Default)]
struct Figures {
    route: Samples,
    answer: Samples,
    /// Where the speaker itself is killed: until the router's kernel has the end of the session's
    /// connection, and from then until the route is gone.
    reset: Samples,
    since_reset: Samples,
}

/// Sees what comes to this namespace's interfaces, from before it is waited for.
struct Capture(Socket);

impl Capture {
    fn new() -> Result<Self, Failure> {
        // `ETH_P_IP`, without the frame's own header.
        let protocol = Protocol::from(i32::from(0x0800_u16.to_be()));
        let socket = Socket::new(Domain::PACKET, Type::DGRAM, Some(protocol))?;
        socket.set_read_timeout(Some(PATIENCE))?;
        Ok(Self(socket))
    }

    /// Returns when the site under test has closed or reset a TCP connection, and when that was.
    fn end_of_connection(mut self) -> Result<Instant, Failure> {
        let from: Ipv4Addr = LINK[1].parse()?;
        let mut packet = [0; 128];
        loop {
            let len = self.0.read(&mut packet)?;
            let at = Instant::now();
            let header = usize::from(packet[0] & 15) * 4;
            let is_tcp = len > header + 13 && packet[9] == 6 && packet[12..16] == from.octets();
            // FIN and RST.
            if is_tcp && packet[header + 13] & 5 != 0 {
                return Ok(at);
            }
        }
    }
}

fn one_end(
    figures: &mut Figures,
    how: End,
    running: &Running,
    folder: &Path,
    service_a: &mut Child,
) -> Result<(), Failure> {
    let stop = Arc::new(AtomicBool::new(false));
    let capture = match how {
        End::SpeakerKilled => Some(Capture::new()?),
        End::Killed | End::Frozen => None,
    };
    let reset = capture.map(|it| {
        std::thread::spawn(move || it.end_of_connection().map_err(|error| error.to_string()))
    });
    let asking = Asking::start()?;
    // So that questions are under way.
    std::thread::sleep(10 * EVERY);
    let killed = Instant::now();
    let route = {
        let stop = Arc::clone(&stop);
        std::thread::spawn(move || {
            while leads_to_a() && !stop.load(Ordering::Relaxed) {
                std::thread::sleep(Duration::from_micros(200));
            }
            killed.elapsed()
        })
    };
    match how {
        End::Killed => end(service_a)?,
        End::Frozen => kill(Pid::from_raw(i32::try_from(service_a.id())?), Signal::SIGSTOP)?,
        End::SpeakerKilled => running.kill(),
    }
    let answered = asking.first_of("b");
    if answered.is_err() {
        stop.store(true, Ordering::Relaxed);
    }
    let answered = answered?.saturating_duration_since(killed);
    drop(asking);
    let route = route.join().map_err(|_| "the watcher of the route died")?;
    figures.route.add(route.as_secs_f64() * 1e3);
    if let Some(reset) = reset {
        let reset = reset.join().map_err(|_| "the capture died")??.duration_since(killed);
        figures.reset.add(reset.as_secs_f64() * 1e3);
        figures.since_reset.add(route.saturating_sub(reset).as_secs_f64() * 1e3);
    }
    figures.answer.add(answered.as_secs_f64() * 1e3);
    match how {
        End::SpeakerKilled => return Ok(()),
        End::Frozen => end(service_a)?,
        End::Killed => {}
    }
    *service_a = service("a", folder)?;
    Ok(())
}

fn contend(contender: Contender, folder: &Path, kills: usize) -> Result<Figures, Failure> {
    let mut figures = Figures::default();
    let mut service_a = service("a", folder)?;
    let outcome = (|| {
        let mut running = contender.start("a", folder)?;
        for kill in 0..kills {
            wait_for("a")?;
            // Not at the same phase of any timer every time.
            let phase = u64::try_from(kill * 37 % 100)?;
            std::thread::sleep(Duration::from_millis(300 + phase));
            one_end(&mut figures, contender.end, &running, folder, &mut service_a)?;
            if contender.end == End::SpeakerKilled {
                drop(running);
                running = contender.start("a", folder)?;
            }
        }
        Ok::<(), Failure>(())
    })();
    end(&mut service_a)?;
    outcome.map_err(|error| format!("{}: {error}", contender.program.name()))?;
    Ok(figures)
}

fn measure(most: usize, parts: &[&[Contender]]) -> Result<(), Failure> {
    let folder = Folder::new()?;
    build()?;
    let mut processes = Vec::new();
    for (namespace, name, config) in [(None, "router", router()), (Some("b"), "next", next_site())]
    {
        let file = folder.path().join(format!("{name}.conf"));
        std::fs::write(&file, config)?;
        let mut command = match namespace {
            Some(namespace) => inside(namespace, "/usr/sbin/bird"),
            None => Command::new("/usr/sbin/bird"),
        };
        command.arg("-f").arg("-c").arg(&file);
        command.arg("-s").arg(folder.path().join(format!("{name}.ctl")));
        processes.push(spawn(&mut command, folder.path(), name)?);
    }
    processes.push(service("b", folder.path())?);
    wait_for("b")?;
    println!("A service that is checked by TCP ends; a question each millisecond");
    for part in parts {
        measure_part(most, part, folder.path())?;
    }
    for mut process in processes {
        end(&mut process)?;
    }
    Ok(())
}

/// All that are compared with the first of them.
fn measure_part(most: usize, contenders: &[Contender], folder: &Path) -> Result<(), Failure> {
    let mut ours: Option<Figures> = None;
    for contender in contenders.iter().copied() {
        let Contender { program, timers, end, kills } = contender;
        let how = match timers {
            _ if end == End::SpeakerKilled => "the speaker itself",
            Timers::Default => "as it comes",
            Timers::Fast => "ten checks a second, one failure",
        };
        if let Some(why) = program.missing() {
            println!("skipped: {}: {why}", program.name());
            continue;
        }
        let figures = contend(contender, folder, kills.min(most))?;
        let what = if end == End::Frozen { "frozen" } else { "killed" };
        println!("{}, {how}, {what}", program.name());
        print("until the route is gone", &figures.route, "ms", 1);
        if end == End::SpeakerKilled {
            print("  until the router's kernel has FIN or RST", &figures.reset, "ms", 2);
            print("  and from then until the route is gone", &figures.since_reset, "ms", 2);
        }
        print("until asked what the next site answers", &figures.answer, "ms", 1);
        match &ours {
            Some(ours) => {
                print_ratio("route gone, over ours as it comes", &figures.route, &ours.route);
            }
            None => ours = Some(figures),
        }
        wait_for("b")?;
    }
    Ok(())
}

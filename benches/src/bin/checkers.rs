//! A service is killed: how long until the route is gone, and until the next site answers? Ours
//! beside what people use today, each as it comes and as fast as it can.

#![allow(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    reason = "measuring is reading clocks, opening sockets and starting processes"
)]

use std::net::{TcpListener, UdpSocket};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anycast_benches::Failure;
use anycast_benches::checkers::{
    ADDRESS, Contender, End, LINK, NEXT, PORT, Program, Timers, inside, next_site, router, spawn,
};
use anycast_benches::figures::{Samples, print, print_ratio};
use anycast_benches::speakers::Folder;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

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
/// How long a program may take to withdraw, or to announce again.
const PATIENCE: Duration = Duration::from_secs(120);
/// A question that is not answered by then is lost.
const LATE: Duration = Duration::from_millis(1);

fn main() -> Result<(), Failure> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match arguments.iter().map(String::as_str).collect::<Vec<_>>().as_slice() {
        ["serve", name] => serve(name),
        ["inside"] => measure(usize::MAX),
        ["inside", most] => measure(most.parse()?),
        some @ ([] | [_]) => enter(some),
        _ => Err("usage: checkers [MOST-KILLS]".into()),
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

/// The service: says its name to whoever asks by UDP, takes TCP connections.
fn serve(name: &str) -> Result<(), Failure> {
    let tcp = TcpListener::bind((ADDRESS, PORT))?;
    let udp = UdpSocket::bind((ADDRESS, PORT))?;
    std::thread::spawn(move || tcp.incoming().for_each(drop));
    let mut buffer = [0; 64];
    loop {
        let (_, from) = udp.recv_from(&mut buffer)?;
        udp.send_to(name.as_bytes(), from)?;
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
    Ok(answer.map(|len| String::from_utf8_lossy(&buffer[..len]).into_owned()))
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
}

fn one_end(
    figures: &mut Figures,
    how: End,
    folder: &Path,
    service_a: &mut Child,
) -> Result<(), Failure> {
    let stop = Arc::new(AtomicBool::new(false));
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
    }
    let answered = loop {
        let asked = killed.elapsed();
        if ask()?.as_deref() == Some("b") {
            break asked;
        }
        if asked > PATIENCE {
            stop.store(true, Ordering::Relaxed);
            return Err("the next site never answered".into());
        }
    };
    let route = route.join().map_err(|_| "the watcher of the route died")?;
    figures.route.add(route.as_secs_f64() * 1e3);
    figures.answer.add(answered.as_secs_f64() * 1e3);
    if how == End::Frozen {
        end(service_a)?;
    }
    *service_a = service("a", folder)?;
    Ok(())
}

fn contend(contender: Contender, folder: &Path, kills: usize) -> Result<Figures, Failure> {
    let mut figures = Figures::default();
    let mut service_a = service("a", folder)?;
    let outcome = (|| {
        let _running = contender.start("a", folder)?;
        for kill in 0..kills {
            wait_for("a")?;
            // Not at the same phase of any timer every time.
            let phase = u64::try_from(kill * 37 % 100)?;
            std::thread::sleep(Duration::from_millis(300 + phase));
            one_end(&mut figures, contender.end, folder, &mut service_a)?;
        }
        Ok::<(), Failure>(())
    })();
    end(&mut service_a)?;
    outcome.map_err(|error| format!("{}: {error}", contender.program.name()))?;
    Ok(figures)
}

fn measure(most: usize) -> Result<(), Failure> {
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
    println!("A service that is checked by TCP ends; a question as soon as the last one is lost");
    let mut ours: Option<Figures> = None;
    for contender in CONTENDERS {
        let Contender { program, timers, end, kills } = contender;
        let how = match timers {
            Timers::Default => "as it comes",
            Timers::Fast => "ten checks a second, one failure",
        };
        if let Some(why) = program.missing() {
            println!("skipped: {}: {why}", program.name());
            continue;
        }
        let figures = contend(contender, folder.path(), kills.min(most))?;
        let what = if end == End::Frozen { "frozen" } else { "killed" };
        println!("{}, {how}, {what}", program.name());
        print("until the route is gone", &figures.route, "ms", 1);
        print("until asked what the next site answers", &figures.answer, "ms", 1);
        match &ours {
            Some(ours) => {
                print_ratio("route gone, over ours as it comes", &figures.route, &ours.route);
            }
            None => ours = Some(figures),
        }
        wait_for("b")?;
    }
    for mut process in processes {
        end(&mut process)?;
    }
    Ok(())
}

//! What health checks cost: a thousand a second, by the very runners that a site has, of services
//! that another process serves on the loopback interface. `checks SECONDS`.

#![allow(clippy::disallowed_methods, clippy::disallowed_types, reason = "measuring")]

use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpListener, UdpSocket};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anycast_benches::Failure;
use anycast_dns::probe::{Expected, Query};
use anycast_dns::whoami::{Identity, answer};
use anycast_dns::{Rcode, Transport};
use anycast_site::check::{Check, Event, Kind, Runner};
use nix::sys::resource::{UsageWho, getrusage};
use tokio::sync::mpsc;

/// One a second each.
const CHECKS: usize = 1000;
const INTERVAL: Duration = Duration::from_secs(1);
const TIMEOUT: Duration = Duration::from_millis(500);
/// Until all are past their first passes and spread over the second by their jitter.
const SETTLING: Duration = Duration::from_secs(3);
const SECONDS: &str = "10";

fn main() -> Result<(), Failure> {
    let argument = std::env::args().nth(1).unwrap_or_else(|| SECONDS.to_owned());
    if argument == "serve" {
        return serve();
    }
    let window = Duration::from_secs(argument.parse().map_err(|_| "checks SECONDS")?);
    let (server, tcp, dns) = Server::start()?;
    // As the daemon's: one thread.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let query = Query::id_server(0);
    let dns_kind = Kind::Dns {
        query,
        transport: Transport::Udp,
        rcode: Rcode::NOERROR,
        expect: Some(Expected::Exactly(vec!["here".to_owned()])),
        cache_busting: false,
    };
    println!(
        "| {CHECKS} checks a second | share of a core | of it in the kernel | each | failed |"
    );
    println!("|---|---|---|---|---|");
    for (name, kind, target) in [("tcp", Kind::Tcp, tcp), ("dns over UDP", dns_kind, dns)] {
        let cost = runtime.block_on(measure(&kind, target, window))?;
        cost.print(name);
    }
    drop(server);
    Ok(())
}

/// What was used while checks ran.
struct Cost {
    checks: u32,
    failed: u32,
    window: Duration,
    user: Duration,
    kernel: Duration,
}

impl Cost {
    fn print(&self, name: &str) {
        let Self { checks, failed, window, user, kernel } = self;
        let used = *user + *kernel;
        let share = 100.0 * used.as_secs_f64() / window.as_secs_f64();
        let kernel = 100.0 * kernel.as_secs_f64() / used.as_secs_f64();
        let each = used.as_secs_f64() * 1e6 / f64::from(*checks);
        let rate = f64::from(*checks) / window.as_secs_f64();
        println!("| {name} ({rate:.0}) | {share:.1} % | {kernel:.0} % | {each:.1} µs | {failed} |");
    }
}

async fn measure(kind: &Kind, target: SocketAddr, window: Duration) -> Result<Cost, Failure> {
    let (sender, mut events) = mpsc::channel(256);
    let mut handles = Vec::new();
    for number in 0..CHECKS {
        let probe = Check { kind: kind.clone(), target, timeout: TIMEOUT };
        let runner = Runner {
            service: number,
            check: 0,
            probe,
            interval: INTERVAL,
            jitter: 10,
            rise: 2,
            fall: 2,
        };
        handles.push(runner.spawn(sender.clone()));
        // Over the first second, as they would be after a while.
        tokio::time::sleep(INTERVAL / 1000).await;
        while events.try_recv().is_ok() {}
    }
    count(&mut events, SETTLING).await;
    let (user, kernel) = used()?;
    let (checks, failed) = count(&mut events, window).await;
    let (user_then, kernel_then) = used()?;
    let (user, kernel) = (user_then.saturating_sub(user), kernel_then.saturating_sub(kernel));
    Ok(Cost { checks, failed, window, user, kernel })
}

async fn count(events: &mut mpsc::Receiver<Event>, window: Duration) -> (u32, u32) {
    let until = tokio::time::Instant::now() + window;
    let (mut checks, mut failed) = (0, 0);
    while let Ok(Some(event)) = tokio::time::timeout_at(until, events.recv()).await {
        checks += 1;
        failed += u32::from(event.outcome.is_err());
    }
    (checks, failed)
}

/// Time of this process in user mode and in the kernel.
fn used() -> Result<(Duration, Duration), Failure> {
    let usage = getrusage(UsageWho::RUSAGE_SELF)?;
    let duration = |seconds, micros| -> Result<Duration, Failure> {
        Ok(Duration::from_secs(u64::try_from(seconds)?)
            + Duration::from_micros(u64::try_from(micros)?))
    };
    let (user, kernel) = (usage.user_time(), usage.system_time());
    Ok((duration(user.tv_sec(), user.tv_usec())?, duration(kernel.tv_sec(), kernel.tv_usec())?))
}

/// The other process, ended with this one.
struct Server(Child);

impl Server {
    fn start() -> Result<(Self, SocketAddr, SocketAddr), Failure> {
        let mut child = Command::new(std::env::current_exe()?)
            .arg("serve")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        let mut lines = BufReader::new(child.stdout.take().ok_or("no pipe")?).lines();
        let server = Self(child);
        let mut address = || -> Result<SocketAddr, Failure> {
            Ok(lines.next().ok_or("the server has ended")??.parse()?)
        };
        Ok((server, address()?, address()?))
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Accepts connections and answers questions until standard input closes.
fn serve() -> Result<(), Failure> {
    let tcp = TcpListener::bind("127.0.0.1:0")?;
    let dns = UdpSocket::bind("127.0.0.1:0")?;
    println!("{}\n{}", tcp.local_addr()?, dns.local_addr()?);
    std::io::stdout().flush()?;
    std::thread::spawn(move || tcp.incoming().for_each(drop));
    std::thread::spawn(move || {
        let identity =
            Identity { site: "here".into(), fleet: "bench".into(), version: String::new() };
        let mut octets = [0; 1500];
        while let Ok((len, client)) = dns.recv_from(&mut octets) {
            if let Some(reply) = answer(&octets[..len], &identity, client, Transport::Udp) {
                let _ = dns.send_to(&reply, client);
            }
        }
    });
    std::io::stdin().lines().for_each(drop);
    Ok(())
}

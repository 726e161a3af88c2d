//! A service is killed at its site: how long until the next site answers its clients?
//!
//! The built-in lab with default settings; the client in Paris, whom Frankfurt answers. It asks
//! every millisecond, by itself: `failover probe` is what runs in its node. The service's process
//! gets SIGKILL from outside; what the site noticed and when is in its events.

#![allow(clippy::disallowed_methods, clippy::disallowed_types, reason = "measuring")]

use std::fmt::Write;
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::process::{Command, Stdio};
use std::sync::Mutex;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anycast_benches::Failure;
use anycast_benches::figures::{Samples, print};
use anycast_benches::lab::{Files, Lab, Workshop};
use anycast_dns::probe::{Query, Response};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

/// Services killed.
const KILLS: usize = 20;
/// Services killed in one lab: a site waits longer each time before it starts its service again.
const KILLS_PER_LAB: usize = 3;
/// A new lab settles before anything is killed in it.
const SETTLE: Duration = Duration::from_secs(1);
const CLIENT: &str = "paris";
const SITE: &str = "fra";
const ADDRESS: &str = "192.0.2.1";
/// The time between two questions.
const EVERY: Duration = Duration::from_millis(1);
/// How long is asked before and after the death.
const BEFORE: Duration = Duration::from_millis(300);
const AFTER: Duration = Duration::from_millis(1200);
/// How long late answers are waited for.
const LATE: Duration = Duration::from_millis(600);
/// How long the site may take to be back.
const BACK: Duration = Duration::from_secs(30);

/// One question.
#[derive(Clone, Debug)]
struct Shot {
    asked_ms: f64,
    /// `None`: nobody answered.
    site: Option<String>,
    rtt_ms: f64,
}

fn unix_ms() -> f64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs_f64() * 1e3
}

fn main() -> Result<(), Failure> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match arguments.iter().map(String::as_str).collect::<Vec<_>>().as_slice() {
        ["probe", address, milliseconds] => {
            probe(address.parse()?, Duration::from_millis(milliseconds.parse()?))
        }
        [] => measure(KILLS),
        [kills] => measure(kills.parse()?),
        _ => Err("usage: failover [KILLS]".into()),
    }
}

/// Asks `address` who it is for a while, then prints a line for each question: when it was asked,
/// the round trip, the site; `-` for what is not there.
fn probe(address: IpAddr, during: Duration) -> Result<(), Failure> {
    let any: SocketAddr =
        if address.is_ipv4() { ([0, 0, 0, 0], 0).into() } else { ([0_u16; 8], 0).into() };
    let socket = UdpSocket::bind(any)?;
    socket.connect((address, 53))?;
    socket.set_read_timeout(Some(LATE))?;
    let count = during.as_millis() / EVERY.as_millis();
    let count = usize::from(u16::try_from(count)?);
    let shots = Mutex::new(Vec::<Shot>::with_capacity(count));
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let began = std::time::Instant::now();
            for (id, number) in (0..=u16::MAX).zip(0_u32..).take(count) {
                std::thread::sleep((EVERY * number).saturating_sub(began.elapsed()));
                let question = Query::id_server(id).emit();
                let shot = Shot { asked_ms: unix_ms(), site: None, rtt_ms: f64::NAN };
                shots.lock().expect("nobody panics with it").push(shot);
                // An error is an ICMP message about an earlier question, and is gone then.
                if socket.send(&question).is_err() {
                    let _ = socket.send(&question);
                }
            }
        });
        let mut buffer = [0; 1500];
        let mut quiet = false;
        // Until nothing came for so long after the last question.
        while !(quiet && shots.lock().expect("nobody panics with it").len() == count) {
            let received = socket.recv(&mut buffer);
            let now = unix_ms();
            quiet =
                matches!(&received, Err(error) if error.kind() == std::io::ErrorKind::WouldBlock);
            let Some(octets) = received.ok().and_then(|len| buffer.get(..len)) else { continue };
            let Some(id) = octets.first_chunk().map(|id| u16::from_be_bytes(*id)) else { continue };
            let Ok(response) = Response::parse(octets, &Query::id_server(id)) else { continue };
            let mut shots = shots.lock().expect("nobody panics with it");
            if let (Some(shot), Some(site)) =
                (shots.get_mut(usize::from(id)), response.texts().next())
            {
                shot.rtt_ms = now - shot.asked_ms;
                shot.site = Some(site.to_owned());
            }
        }
    });
    let mut text = String::new();
    for shot in shots.into_inner()? {
        let site = shot.site.as_deref().unwrap_or("-");
        let _ = writeln!(text, "{:.3} {:.3} {site}", shot.asked_ms, shot.rtt_ms);
    }
    print!("{text}");
    Ok(())
}

/// What `probe` prints.
fn shots(text: &str) -> Result<Vec<Shot>, Failure> {
    text.lines()
        .map(|line| {
            let mut words = line.split(' ');
            let mut word = || words.next().ok_or_else(|| format!("what is {line:?}?"));
            let (asked, rtt, site) = (word()?, word()?, word()?);
            let site = (site != "-").then(|| site.to_owned());
            Ok(Shot { asked_ms: asked.parse()?, rtt_ms: rtt.parse()?, site })
        })
        .collect()
}

/// Starts asking in the client's node.
fn asking(lab: &Lab, during: Duration) -> Result<std::process::Child, Failure> {
    let mut command: Command = lab.exec(CLIENT);
    command.arg(std::env::current_exe()?).args(["probe", ADDRESS]);
    command.arg(during.as_millis().to_string()).stdin(Stdio::null()).stdout(Stdio::piped());
    Ok(command.spawn()?)
}

fn answers(child: std::process::Child) -> Result<Vec<Shot>, Failure> {
    let output = child.wait_with_output()?;
    if !output.status.success() {
        return Err(format!("the client cannot ask: {}", output.status).into());
    }
    shots(&String::from_utf8(output.stdout)?)
}

/// Waits until the site answers its client again.
fn wait_until_back(lab: &Lab) -> Result<(), Failure> {
    let began = std::time::Instant::now();
    while began.elapsed() < BACK {
        let shots = answers(asking(lab, Duration::from_millis(50))?)?;
        if shots.iter().all(|shot| shot.site.as_deref() == Some(SITE)) {
            return Ok(());
        }
    }
    Err(format!("{SITE} does not answer {CLIENT} for {} s", BACK.as_secs()).into())
}

/// The first event of a kind at the site after a time, both in milliseconds since 1970.
fn event_after(lab: &Lab, kind: &str, after_ms: f64) -> Result<Option<f64>, Failure> {
    let output = lab
        .exec(SITE)
        .args(["anycast", "show", "events", "--json"])
        .stdin(Stdio::null())
        .output()?;
    let events: Vec<serde_json::Value> = serde_json::from_slice(&output.stdout)?;
    let times = events.iter().filter(|event| event["kind"] == kind).filter_map(|event| {
        let time = event["unix_time"].as_f64()? * 1e3;
        (time >= after_ms).then_some(time)
    });
    Ok(times.reduce(f64::min))
}

#[derive(Default)]
struct Figures {
    noticed: Samples,
    withdrawn: Samples,
    gap: Samples,
    answer: Samples,
    lost: Samples,
    rtt_before: Samples,
    rtt_after: Samples,
}

fn measure(kills: usize) -> Result<(), Failure> {
    let workshop = Workshop::open()?;
    let mut figures = Figures::default();
    let mut next_sites: Vec<String> = Vec::new();
    let mut left = kills;
    while left > 0 {
        let lab = Lab::start(&workshop, Files::default(), false)?;
        std::thread::sleep(SETTLE);
        for _ in 0..left.min(KILLS_PER_LAB) {
            wait_until_back(&lab)?;
            let service = lab.service(SITE)?;
            let probe = asking(&lab, BEFORE + AFTER)?;
            // Not at the same phase of any timer every time.
            std::thread::sleep(BEFORE + Duration::from_millis(u64::try_from(left * 37 % 100)?));
            let killed_ms = unix_ms();
            kill(Pid::from_raw(service.pid), Signal::SIGKILL)?;
            let shots = answers(probe)?;
            figures.take(&lab, killed_ms, &shots, &mut next_sites)?;
            left -= 1;
        }
        lab.stop()?;
    }

    println!(
        "{kills} kills (SIGKILL) of the service at {SITE}, seen by {CLIENT}, a question each ms"
    );
    println!("then answered by {}", next_sites.join(", "));
    print("killed → noticed by the site", &figures.noticed, "ms", 2);
    print("killed → withdrawn by the site", &figures.withdrawn, "ms", 2);
    print("killed → asked what the next site answers", &figures.gap, "ms", 1);
    print("killed → first answer of the next site", &figures.answer, "ms", 1);
    print("questions lost", &figures.lost, "", 0);
    print("round trip before", &figures.rtt_before, "ms", 1);
    print("round trip after", &figures.rtt_after, "ms", 1);
    Ok(())
}

impl Figures {
    fn take(
        &mut self,
        lab: &Lab,
        killed_ms: f64,
        shots: &[Shot],
        next_sites: &mut Vec<String>,
    ) -> Result<(), Failure> {
        let elsewhere = |shot: &&Shot| shot.site.as_deref().is_some_and(|site| site != SITE);
        let first = shots.iter().find(elsewhere).ok_or("no other site answered")?;
        let site = first.site.clone().unwrap_or_default();
        if !next_sites.contains(&site) {
            next_sites.push(site);
        }
        self.gap.add(first.asked_ms - killed_ms);
        let soonest = shots.iter().filter(elsewhere).map(|shot| shot.asked_ms + shot.rtt_ms);
        self.answer.add(soonest.fold(f64::INFINITY, f64::min) - killed_ms);
        let lost = shots.iter().filter(|shot| shot.site.is_none()).count();
        self.lost.add(f64::from(u32::try_from(lost)?));
        let rtt = |wanted: bool| {
            let of = shots.iter().filter(move |shot| elsewhere(shot) == wanted);
            let mut rtts = Samples::default();
            rtts.extend(of.filter(|shot| shot.site.is_some()).map(|shot| shot.rtt_ms));
            rtts.median()
        };
        self.rtt_before.add(rtt(false));
        self.rtt_after.add(rtt(true));
        let noticed = event_after(lab, "service-down", killed_ms)?.ok_or("no service-down")?;
        self.noticed.add(noticed - killed_ms);
        let withdrawn = event_after(lab, "withdraw", killed_ms)?.ok_or("no withdraw")?;
        self.withdrawn.add(withdrawn - killed_ms);
        Ok(())
    }
}

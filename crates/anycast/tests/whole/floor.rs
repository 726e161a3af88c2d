//! The fleet's floor with everything real: three daemons, a cluster of three NATS servers, and
//! BIRD, which hears what each site announces. All of them live on the loopback interface of one
//! network namespace.

use std::fmt::Write;
use std::fs;
use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use serde_json::Value;

use crate::matrix::stand::run_in_namespace;
use crate::program::{Desk, Output, Process, User, finish, installed, until};

/// Far more than anything takes on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);
const SITES: [&str; 3] = ["fra", "lon", "nyc"];
const PREFIX: &str = "192.0.2.0/24";

#[test]
fn a_shared_dependency_never_takes_the_last_sites() {
    if installed(&["nats-server", "bird", "birdc"]) {
        run_in_namespace("floor::a_shared_dependency_inside");
    }
}

/// One of three servers.
fn start_nats(desk: &Desk, number: usize) -> Process {
    let routes = (0..3).map(|it| format!("nats://127.0.0.1:{}", 6220 + it));
    let mut command = Command::new("nats-server");
    command
        .args(["-js", "-a", "127.0.0.1", "-p", &(4220 + number).to_string()])
        .args(["--server_name", &format!("n{number}"), "--cluster_name", "test"])
        .args(["--cluster", &format!("nats://127.0.0.1:{}", 6220 + number)])
        .args(["--routes", &routes.collect::<Vec<_>>().join(",")])
        .arg("-sd")
        .arg(desk.path(&format!("nats{number}")));
    Process::start(command)
}

pub(crate) fn ip(arguments: &str) {
    let mut command = Command::new("ip");
    command.args(arguments.split(' '));
    let output = finish(command, b"");
    assert_eq!(output.code, Some(0), "ip {arguments}: {output:?}");
}

/// The sites, who hears them, and what they share.
struct World<'d> {
    desk: &'d Desk,
    fleet: String,
    /// What all sites depend on.
    flag: PathBuf,
    nats: Vec<Process>,
    sites: Vec<Process>,
    bird: Process,
}

impl<'d> World<'d> {
    fn start(desk: &'d Desk) -> Self {
        ip("link set lo up");
        for last in 1..=4 {
            ip(&format!("address add 198.51.100.{last}/32 dev lo"));
        }
        let flag = desk.path("works");
        fs::write(&flag, "").expect("a file of the test");
        let fleet = desk.write("fleet.toml", fleet(&flag.display().to_string()));
        let bird = Process::start(bird(desk));
        let nats = (0..3).map(|number| start_nats(desk, number)).collect();
        let mut world = Self { desk, fleet, flag, nats, sites: Vec::new(), bird };
        world.sites = SITES.map(|site| world.start_site(site)).into();
        world
    }

    fn start_site(&self, site: &str) -> Process {
        let socket = self.socket(site);
        let state = self.desk.path(&format!("state-{site}")).display().to_string();
        let arguments =
            ["run", &self.fleet, "--site", site, "--socket", &socket, "--state-dir", &state];
        Process::start(self.desk.anycast(&arguments))
    }

    fn socket(&self, site: &str) -> String {
        self.desk.path(&format!("{site}.sock")).display().to_string()
    }

    fn ask(&self, site: &str, what: &[&str]) -> Output {
        self.desk.run(&[what, &["--socket", &self.socket(site)]].concat())
    }

    fn floor(&self, site: &str) -> Value {
        let output = self.ask(site, &["show", "floor", "--json"]);
        serde_json::from_str(&output.out).unwrap_or(Value::Null)
    }

    /// Who announces, and whether as the last choice, as BIRD hears it.
    fn heard(&self) -> Vec<(&'static str, bool)> {
        let mut command = Command::new("birdc");
        command.arg("-s").arg(self.desk.path("bird.ctl"));
        command.args(["show", "route", PREFIX, "all"]);
        let text = finish(command, b"").out;
        // A route begins with a line that has its protocol's name in brackets.
        let mut heard: Vec<(&str, bool)> = Vec::new();
        for line in text.lines() {
            if let Some(site) = SITES.into_iter().find(|site| line.contains(&format!("[{site} "))) {
                heard.push((site, false));
            } else if let Some(last) = heard.last_mut() {
                last.1 |= line.contains("(65535,0)");
            }
        }
        heard.sort_unstable();
        heard
    }

    /// Waits until BIRD hears as is wanted, and at every look enough.
    fn becomes(&self, what: &str, least: usize, wanted: impl Fn(&[(&str, bool)]) -> bool) {
        let begin = Instant::now();
        until(what, PATIENCE, || {
            let heard = self.heard();
            assert!(heard.len() >= least, "{what}: only {heard:?} after {:?}", begin.elapsed());
            if wanted(&heard) {
                return Ok(());
            }
            let floors: Vec<Value> = SITES.iter().map(|site| self.floor(site)).collect();
            Err((
                heard,
                floors,
                self.bird.words(),
                self.sites.iter().map(Process::words).collect::<Vec<_>>(),
            ))
        });
    }

    /// Waits until all announce plainly and know of each other.
    fn is_well(&self, what: &str, least: usize) {
        let plain = SITES.map(|site| (site, false));
        self.becomes(what, least, |heard| heard == plain);
        until(what, PATIENCE, || {
            let floors = SITES.map(|site| self.floor(site));
            let is_well = |it: &Value| {
                let state = &it["fleet_state"];
                let sites = state["sites"].as_array().map_or(&[][..], Vec::as_slice);
                state["reached"] == true
                    && sites.len() == SITES.len()
                    && sites.iter().all(|site| {
                        site["announces"] == serde_json::json!([PREFIX])
                            && site["permits"] == serde_json::json!([])
                    })
            };
            if floors.iter().all(is_well) { Ok(()) } else { Err(floors) }
        });
    }

    fn breaks(&self) {
        fs::remove_file(&self.flag).expect("it is there");
    }

    fn works(&self) {
        fs::write(&self.flag, "").expect("a file of the test");
    }

    /// What all depend on breaks and works again: two sites stay, as the last choice, and say so.
    fn bears_an_outage(&self, what: &str) {
        self.breaks();
        self.becomes(what, 2, |heard| heard.len() == 2 && heard.iter().all(|it| it.1));
        let held: Vec<&str> = self.heard().iter().map(|it| it.0).collect();
        for site in &held {
            until("it says that it holds", PATIENCE, || {
                let shown = self.floor(site);
                let why = shown["prefixes"][0]["held"].as_str().unwrap_or_default().to_owned();
                if why.contains("the fleet's floor is 2 of 3") { Ok(()) } else { Err(shown) }
            });
            let status = self.ask(site, &["status"]);
            assert_eq!(status.code, Some(1), "{status:?}");
            assert!(status.out.contains("HELD"), "{status:?}");
            let events = self.ask(site, &["show", "events"]).out;
            assert!(events.contains("held") && events.contains("asked"), "{events}");
            assert!(self.ask(site, &["show", "services"]).out.contains("held by the floor"));
        }
        // A while later nothing else has happened.
        std::thread::sleep(Duration::from_millis(1500));
        let still: Vec<&str> = self.heard().iter().map(|it| it.0).collect();
        assert_eq!(still, held);
        self.works();
        self.is_well("it works again", 2);
    }
}

fn fleet(flag: &str) -> String {
    let mut text = format!(
        "[fleet]\nname = \"test\"\nasn = 64500\n[floor]\nmin-sites = 2\n[fleet-state]\n\
         servers = [\"nats://127.0.0.1:4220\", \"nats://127.0.0.1:4221\", \
         \"nats://127.0.0.1:4222\"]\nlease = \"4s\"\n[prefix.\"{PREFIX}\"]\nservices = [\"dns\"]\n\
         [service.dns]\naddresses = [\"192.0.2.53\"]\n\
         check = [{{ type = \"file\", path = \"{flag}\", interval = \"200ms\", \
         timeout = \"200ms\", rise = 1 }}]\ndamping = false\n"
    );
    for (number, site) in SITES.iter().enumerate() {
        let own = 2 + number;
        let _ = write!(
            text,
            "[site.{site}]\nrouter-id = \"198.51.100.{own}\"\nlisten = false\n\
             kernel-routes = false\nstop-wait = \"10ms\"\n[site.{site}.neighbor.bird]\n\
             address = \"198.51.100.1\"\nlocal-address = \"198.51.100.{own}\"\nasn = 64501\n\
             port = 1790\nmultihop = 2\nexport = \"fleet\"\n"
        );
    }
    text
}

fn bird(desk: &Desk) -> Command {
    let mut text = String::from(
        "log stderr all;\nrouter id 198.51.100.1;\nprotocol device { }\n\
         template bgp site { local 198.51.100.1 port 1790 as 64501; multihop 2; passive; \
         strict bind; ipv4 { import all; export none; }; }\n",
    );
    for (number, site) in SITES.iter().enumerate() {
        let address = 2 + number;
        let _ = writeln!(
            text,
            "protocol bgp {site} from site {{ neighbor 198.51.100.{address} as 64500; }}"
        );
    }
    let config = desk.write("bird.conf", text);
    let mut command = Command::new("bird");
    command.args(["-f", "-c", &config, "-s"]).arg(desk.path("bird.ctl"));
    command
}

#[test]
#[ignore = "runs in a namespace, by the test of the like name"]
fn a_shared_dependency_inside() {
    let desk = Desk::new(User::Root);
    let mut world = World::start(&desk);
    world.is_well("all sites announce", 0);
    assert!(!world.bird.ended(), "{}", world.bird.words());
    world.bears_an_outage("with three servers");

    world.nats[1].signal(Signal::SIGKILL);
    world.nats[1].wait();
    world.bears_an_outage("with two of three servers");

    for number in [0, 2] {
        world.nats[number].signal(Signal::SIGKILL);
    }
    until("all notice", PATIENCE, || {
        let floors = SITES.map(|site| world.floor(site));
        let lost = |it: &Value| it["fleet_state"]["reached"] == false;
        if floors.iter().all(lost) { Ok(()) } else { Err(floors) }
    });
    world.breaks();
    let begin = Instant::now();
    world.becomes("without servers all hold as the last choice", 3, |heard| {
        heard.len() == 3 && heard.iter().all(|it| it.1)
    });
    let stay = [("fra", true), ("lon", true)];
    world.becomes("after the lease the first two stay", 2, |heard| heard == stay);
    // A lease begins with a record, which may be a second old and more when the servers die.
    assert!(begin.elapsed() > Duration::from_secs(1), "{:?}", begin.elapsed());
    let status = world.ask("lon", &["status"]);
    assert!(status.out.contains("one of those who stay"), "{status:?}");
    assert!(status.out.contains("shared state cannot be reached"), "{status:?}");
    world.works();
    let plain = SITES.map(|site| (site, false));
    world.becomes("without servers all come back", 2, |heard| heard == plain);
    world.nats = (0..3).map(|number| start_nats(&desk, number)).collect();
    world.is_well("the servers are back", 3);
    for site in &world.sites {
        site.signal(Signal::SIGTERM);
    }
    world.becomes("a site that stops asks nobody", 0, |heard| matches!(heard, []));
}

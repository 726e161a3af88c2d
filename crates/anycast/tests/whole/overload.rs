//! Overload with everything real: two sites that share a NATS server, each with two sessions with
//! BIRD. A site sheds by steps, and only while the other can take what it sheds.

use std::fmt::Write;
use std::fs;
use std::process::Command;
use std::time::Duration;

use serde_json::Value;

use crate::floor::ip;
use crate::matrix::stand::run_in_namespace;
use crate::program::{Desk, Process, User, finish, installed, until};

/// Far more than anything takes on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);
const SITES: [&str; 2] = ["fra", "nyc"];

#[test]
fn a_site_sheds_by_steps_while_the_other_can_take_it() {
    if installed(&["nats-server", "bird", "birdc"]) {
        run_in_namespace("overload::steps_inside");
    }
}

/// What one of a site's neighbors hears: how often our number is in the path.
type Told = Option<usize>;

struct World<'d> {
    desk: &'d Desk,
    fleet: String,
    _nats: Process,
    sites: Vec<Process>,
    bird: Process,
}

impl<'d> World<'d> {
    fn start(desk: &'d Desk) -> Self {
        ip("link set lo up");
        for last in [1, 2, 10, 11, 20, 21] {
            ip(&format!("address add 198.51.100.{last}/32 dev lo"));
        }
        let fleet = desk.write("fleet.toml", fleet());
        let bird = Process::start(bird(desk));
        let mut nats = Command::new("nats-server");
        nats.args(["-js", "-a", "127.0.0.1", "-p", "4220", "-sd"]).arg(desk.path("nats"));
        let mut world = Self { desk, fleet, _nats: Process::start(nats), sites: Vec::new(), bird };
        world.sites = SITES.map(|site| world.start_site(site)).into();
        world
    }

    fn start_site(&self, site: &str) -> Process {
        self.load(site, 1);
        let (socket, state) = (self.socket(site), self.desk.path(&format!("state-{site}")));
        let state = state.display().to_string();
        let mut command = self.desk.anycast(&[
            "run",
            &self.fleet,
            "--site",
            site,
            "--socket",
            &socket,
            "--state-dir",
            &state,
        ]);
        // The checks of both sites are the same, and each reads a load of its own.
        command.env("LOAD", self.desk.path(site));
        Process::start(command)
    }

    fn socket(&self, site: &str) -> String {
        self.desk.path(&format!("{site}.sock")).display().to_string()
    }

    /// So much is there to do at a site from now on. Never half a number is read.
    fn load(&self, site: &str, load: u32) {
        let new = self.desk.write(&format!("{site}.new"), format!("{load}\n"));
        fs::rename(new, self.desk.path(site)).expect("a file of the test");
    }

    fn show(&self, site: &str, what: &str) -> Value {
        let output = self.desk.run(&["show", what, "--json", "--socket", &self.socket(site)]);
        serde_json::from_str(&output.out).unwrap_or_default()
    }

    /// What left and right hear of a site.
    fn heard(&self, site: &str) -> [Told; 2] {
        ["left", "right"].map(|neighbor| {
            let mut command = Command::new("birdc");
            command.arg("-s").arg(self.desk.path("bird.ctl"));
            let protocol = format!("{site}_{neighbor}");
            command.args(["show", "route", "192.0.2.0/24", "all", "protocol", &protocol]);
            let text = finish(command, b"").out;
            let path = text.lines().find_map(|it| it.trim().strip_prefix("BGP.as_path:"))?;
            Some(path.split_whitespace().count())
        })
    }

    fn hear(&self, what: &str, wanted: [[Told; 2]; 2]) {
        until(what, PATIENCE, || {
            let heard = SITES.map(|site| self.heard(site));
            if heard == wanted {
                return Ok(());
            }
            let words: Vec<String> = self.sites.iter().map(Process::words).collect();
            let floor = self.show("fra", "floor");
            Err(format!("{heard:?} {floor} {words:?} {}", self.bird.words()))
        });
    }

    /// Waits until a site knows what the other says of itself.
    fn knows(&self, site: &str, what: &str, holds: impl Fn(&Value) -> bool) {
        until(what, PATIENCE, || {
            let floor = self.show(site, "floor");
            let sites = floor["fleet_state"]["sites"].as_array().cloned().unwrap_or_default();
            let other = sites.iter().find(|it| it["name"] != site);
            if other.is_some_and(&holds) { Ok(()) } else { Err(floor) }
        });
    }

    /// How often the check that reads the load of a site has passed.
    fn passes(&self, site: &str) -> u64 {
        let services = self.show(site, "services");
        services["services"][0]["checks"][0]["passes"].as_u64().unwrap_or_default()
    }

    /// Waits until a site has read its load several times more.
    fn has_read(&self, site: &str) {
        let before = self.passes(site);
        until("the load is read", PATIENCE, || {
            let now = self.passes(site);
            if now > before + 3 { Ok(()) } else { Err((before, now)) }
        });
    }
}

fn fleet() -> String {
    let mut text = String::from(
        "[fleet]\nname = \"test\"\nasn = 64500\n[floor]\nmin-sites = 1\n[fleet-state]\n\
         servers = [\"nats://127.0.0.1:4220\"]\nlease = \"4s\"\n[prefix.\"192.0.2.0/24\"]\n\
         services = [\"dns\"]\n[prefix.\"192.0.2.0/24\".shed]\nload = \"check load\"\n\
         pause = \"0s\"\nstep = [{ above = 10, prepend = 2 }, \
         { above = 20, neighbor = [\"right\"], withdraw = true }, \
         { above = 30, withdraw = true }]\n[service.dns]\naddresses = [\"192.0.2.53\"]\n\
         damping = false\n[[service.dns.check]]\ntype = \"command\"\nname = \"load\"\n\
         command = [\"/bin/sh\", \"-c\", \"cat $LOAD\"]\naddress = \"127.0.0.1\"\n\
         interval = \"200ms\"\ntimeout = \"200ms\"\nrise = 1\nfall = 50\n",
    );
    for (number, site) in SITES.iter().enumerate() {
        let own = 10 + number;
        let _ = write!(
            text,
            "[site.{site}]\nrouter-id = \"198.51.100.{own}\"\nlisten = false\n\
             kernel-routes = false\nstop-wait = \"10ms\"\n"
        );
        for (last, neighbor) in [(1, "left"), (2, "right")] {
            let (asn, port, own) = (64500 + last, 1790 + number, 10 * last + number);
            let _ = write!(
                text,
                "[site.{site}.neighbor.{neighbor}]\naddress = \"198.51.100.{last}\"\n\
                 local-address = \"198.51.100.{own}\"\nasn = {asn}\nport = {port}\n\
                 multihop = 2\nexport = \"fleet\"\n"
            );
        }
    }
    text
}

fn bird(desk: &Desk) -> Command {
    let mut text = String::from(
        "log stderr all;\nrouter id 198.51.100.1;\nprotocol device { }\n\
         template bgp site { multihop 2; passive; strict bind; \
         ipv4 { import all; export none; }; }\n",
    );
    for (number, site) in SITES.iter().enumerate() {
        for (last, neighbor) in [(1, "left"), (2, "right")] {
            let (asn, port, own) = (64500 + last, 1790 + number, 10 * last + number);
            let _ = writeln!(
                text,
                "protocol bgp {site}_{neighbor} from site {{ \
                 local 198.51.100.{last} port {port} as {asn}; \
                 neighbor 198.51.100.{own} as 64500; }}"
            );
        }
    }
    let config = desk.write("bird.conf", text);
    let mut command = Command::new("bird");
    command.args(["-f", "-c", &config, "-s"]).arg(desk.path("bird.ctl"));
    command
}

#[test]
#[ignore = "runs in a namespace, by the test of the like name"]
fn steps_inside() {
    const PLAIN: [Told; 2] = [Some(1); 2];
    let desk = Desk::new(User::Root);
    let world = World::start(&desk);
    world.hear("both announce plainly", [PLAIN, PLAIN]);
    let announces = |it: &Value| {
        it["announces"] == serde_json::json!(["192.0.2.0/24"])
            && it["permits"] == serde_json::json!([])
    };
    for site in SITES {
        world.knows(site, "each knows that the other announces", announces);
    }
    world.load("fra", 15);
    world.hear("the first step: prepends", [[Some(3); 2], PLAIN]);
    world.load("fra", 25);
    world.hear("the second: withdrawn from right", [[Some(3), None], PLAIN]);

    // The other is busy too, but fra sheds already: somebody has to take it.
    world.load("nyc", 35);
    world.has_read("nyc");
    world.hear("nyc sheds nothing while fra does", [[Some(3), None], PLAIN]);
    world.load("nyc", 1);
    world.has_read("nyc");

    world.load("fra", 35);
    world.hear("the third: withdrawn from all", [[None; 2], PLAIN]);
    world.load("nyc", 35);
    world.has_read("nyc");
    world.hear("nyc is the last and sheds nothing", [[None; 2], PLAIN]);
    let events = world.show("nyc", "events").to_string();
    assert!(!events.contains("\"shed\""), "{events}");

    // The load of fra falls, and it takes again what there is; then nyc may shed.
    world.load("fra", 1);
    world.knows("nyc", "fra announces again", announces);
    world.hear("nyc sheds all, and fra has it", [PLAIN, [None; 2]]);
    world.load("nyc", 1);
    world.hear("both are back", [PLAIN, PLAIN]);
}

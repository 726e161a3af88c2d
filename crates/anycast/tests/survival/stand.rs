//! A lab with so many sites that one client can be led to each of them by a route change, and
//! what the test has running in its nodes.

use std::fmt::Write as _;
use std::path::Path;
use std::time::{Duration, Instant};

use anycast_lab::netns::NetNs;
use anycast_lab::plan;
use anycast_lab::running::{self, Lab, Options};
use anycast_lab::world;
use anycast_site::affinity::AffinityReport;
use anycast_site::client::Client;
use anycast_site::reload::{ReloadOrder, ReloadOutcome, ReloadReport};

use crate::secure::Identity;

/// The client whose routes change.
pub(crate) const CLIENT: &str = "paris";
/// Where its connections go.
pub(crate) const V4: &str = "192.0.2.1";
pub(crate) const V6: &str = "2001:db8:ac::1";
/// Where the program keeps what outlives it in a lab.
pub(crate) const RUN: &str = "/run/anycast";
const FLEET_FILE: &str = "fleet.toml";
/// Cities, so that packets take some time.
const CITIES: [&str; 8] =
    ["Frankfurt", "London", "Amsterdam", "Madrid", "Vienna", "Milan", "Oslo", "Warsaw"];

/// How the fleet differs from the usual one.
#[derive(Clone, Copy)]
pub(crate) struct Fleet {
    pub(crate) sites: usize,
    pub(crate) kept: bool,
    /// Which connections are kept, as the file lists them.
    pub(crate) protocols: &'static str,
    /// Whether `whoami` speaks QUIC, with the files that an identity has written.
    pub(crate) quic: bool,
    /// Whether it tells clients the sites' own addresses.
    pub(crate) preferred: bool,
    pub(crate) packets_of_a_source: Option<u32>,
    pub(crate) packets_to_a_site: Option<u32>,
    /// How long a drain waits for connections.
    pub(crate) connections_wait: &'static str,
    /// The epochs of the keys, the one that signs first.
    pub(crate) epochs: &'static [u8],
    /// Where the sites take packets.
    pub(crate) mode: &'static str,
    /// The interfaces at which they take them, `#` for the site's number; none: they find them.
    pub(crate) interfaces: &'static [&'static str],
}

impl Default for Fleet {
    fn default() -> Self {
        Self {
            sites: 3,
            kept: true,
            protocols: "\"tcp\", \"quic\"",
            quic: false,
            preferred: false,
            packets_of_a_source: None,
            packets_to_a_site: None,
            connections_wait: "30s",
            epochs: &[0],
            mode: "tc",
            interfaces: &[],
        }
    }
}

fn world_text(sites: usize) -> String {
    let mut text = "[world]\nname = \"survival\"\nhold-time = \"90s\"\n".to_owned();
    for (at, city) in CITIES.iter().enumerate().take(sites) {
        let peers: Vec<String> = (at + 1..sites).map(|other| format!("\"as{other}\"")).collect();
        let asn = 64501 + at;
        let peers = peers.join(", ");
        let _ =
            write!(text, "[as.as{at}]\nasn = {asn}\ncities = [\"{city}\"]\npeers = [{peers}]\n");
    }
    let providers: Vec<String> = (0..sites).map(|at| format!("\"as{at}\"")).collect();
    let _ = write!(
        text,
        "[as.users]\nasn = 65540\ncities = [\"Paris\"]\nproviders = [{}]\n\
         prefix-v4 = \"203.0.113.0/29\"\nprefix-v6 = \"2001:db8:101::/48\"\n\
         [client.{CLIENT}]\nas = \"users\"\n",
        providers.join(", ")
    );
    text
}

fn fleet_text(fleet: Fleet) -> String {
    let mut text = format!(
        "[fleet]\nname = \"survival\"\nasn = 64500\n\
         [prefix.\"192.0.2.0/24\"]\nservices = [\"whoami\"]\n\
         [prefix.\"2001:db8:ac::/48\"]\nservices = [\"whoami\"]\n\
         [service.whoami]\naddresses = [\"{V4}\", \"{V6}\"]\nbuiltin = \"whoami\"\n"
    );
    if fleet.quic {
        let (certificate, key) = Identity::files(Path::new(RUN));
        let (certificate, key) = (certificate.display(), key.display());
        let _ = write!(text, "quic-certificate = \"{certificate}\"\nquic-key = \"{key}\"\n");
        let _ = writeln!(text, "preferred-address = {}", fleet.preferred);
    }
    if fleet.kept {
        let _ = write!(text, "affinity = [{}]\n[affinity]\n", fleet.protocols);
        if let Some(limit) = fleet.packets_of_a_source {
            let _ = writeln!(text, "packets-of-a-source = {limit}");
        }
        if let Some(limit) = fleet.packets_to_a_site {
            let _ = writeln!(text, "packets-to-a-site = {limit}");
        }
        for epoch in fleet.epochs {
            let file = format!("{RUN}/key-{epoch}");
            let _ = write!(text, "[[affinity.key]]\nepoch = {epoch}\nfile = \"{file}\"\n");
        }
    }
    let wait = fleet.connections_wait;
    let _ = write!(text, "[drain]\nwait = \"1s\"\nconnections-wait = \"{wait}\"\n");
    for (at, city) in CITIES.iter().enumerate().take(fleet.sites) {
        let (name, asn, id) = (site(at), 64501 + at, at + 1);
        let (theirs, [v4, v6]) = (2 * at, own(at));
        let _ = write!(text, "[site.{name}]\ncity = \"{city}\"\nstop-wait = \"10ms\"\n");
        if fleet.kept {
            let _ =
                write!(text, "[site.{name}.affinity]\nid = {id}\nv4 = \"{v4}\"\nv6 = \"{v6}\"\n");
            if !fleet.interfaces.is_empty() {
                let names = fleet.interfaces.iter();
                let names: Vec<String> = names.map(|it| it.replace('#', &at.to_string())).collect();
                let _ = writeln!(text, "interfaces = {names:?}");
            }
        }
        let _ = write!(
            text,
            "[site.{name}.neighbor.up]\naddress = \"198.51.100.{theirs}\"\n\
             local-address = \"{v4}\"\nasn = {asn}\nrelation = \"provider\"\n\
             families = [\"ipv4\", \"ipv6\"]\nnext-hop-v6 = \"{v6}\"\n\
             import = \"everything\"\nexport = \"fleet\"\n"
        );
    }
    text
}

/// A site's own addresses.
pub(crate) fn own(at: usize) -> [String; 2] {
    [format!("198.51.100.{}", 2 * at + 1), format!("2001:db8:ffff:{at}::1")]
}

/// The name of a site.
pub(crate) fn site(at: usize) -> String {
    format!("site{at}")
}

/// The key of an epoch.
pub(crate) fn secret(epoch: u8) -> [u8; 32] {
    [epoch << 4 | 1; 32]
}

/// The lab, up, with the client at its first site.
pub(crate) struct Stand {
    pub(crate) lab: Lab,
    pub(crate) sites: usize,
}

impl Stand {
    pub(crate) async fn build(fleet: Fleet) -> Self {
        let folder = Path::new(RUN);
        for epoch in 0..2 {
            let octets = secret(epoch).map(|octet| format!("{octet:02x}")).concat();
            std::fs::write(folder.join(format!("key-{epoch}")), octets).expect("a key");
        }
        let fleet_file = folder.join(FLEET_FILE);
        let text = fleet_text(fleet);
        std::fs::write(&fleet_file, &text).expect("a fleet file");
        let report = anycast_fleet::parse("fleet.toml", &text);
        let read = report.fleet.clone().unwrap_or_else(|| panic!("{}", report.render(false)));
        let world = world::parse("world.toml", &world_text(fleet.sites));
        let world = world.world.clone().unwrap_or_else(|| panic!("{}", world.render(false)));
        let options = Options {
            plan: plan::build(&world, &read).expect("they fit"),
            fleet: read,
            fleet_file,
            program: env!("CARGO_BIN_EXE_anycast").into(),
            patience: Duration::from_secs(30),
            affinity_mode: fleet.mode,
        };
        let lab = running::boot(options, |_| ()).await.expect("a lab");
        let stand = Self { lab, sites: fleet.sites };
        stand.lead_to(0).await;
        stand
    }

    /// Writes another fleet file, and has a site read it.
    pub(crate) async fn reload(at: usize, fleet: Fleet) {
        std::fs::write(Path::new(RUN).join(FLEET_FILE), fleet_text(fleet)).expect("a fleet file");
        let order = ReloadOrder::default();
        let report: ReloadReport =
            Self::ask(at).post_for("/v1/reload", &order).await.expect("a report");
        assert_eq!(report.outcome, ReloadOutcome::Changed, "{}: {report:?}", site(at));
    }

    /// Changes the client's route, by BGP, until that site answers it.
    pub(crate) async fn lead_to(&self, at: usize) {
        self.reroute(at).await;
        self.answers(&site(at)).await;
    }

    /// The same without waiting for the answer.
    pub(crate) async fn reroute(&self, at: usize) {
        let link = format!("as{at}--users");
        self.lab.reroute(CLIENT, Some(&link)).await.expect("a route change");
    }

    /// Waits until that site answers the client.
    pub(crate) async fn answers(&self, name: &str) {
        let client = self.lab.node(CLIENT).expect("the client");
        let begin = Instant::now();
        loop {
            let answer = self.lab.prober.ask(client, Duration::from_millis(500)).await;
            let found = answer.map(|answer| answer.site);
            if found.as_deref() == Some(name) {
                return;
            }
            assert!(begin.elapsed() < Duration::from_secs(10), "{found:?} and not {name} answers");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    pub(crate) fn client(&self) -> NetNs {
        self.lab.namespace(self.lab.node(CLIENT).expect("the client")).clone()
    }

    pub(crate) fn namespace(&self, at: usize) -> NetNs {
        self.lab.namespace(self.lab.node(&site(at)).expect("a site")).clone()
    }

    pub(crate) fn ask(at: usize) -> Client {
        Client::new(format!("{RUN}/{}.sock", site(at)).into())
    }

    pub(crate) async fn affinity(at: usize) -> AffinityReport {
        Self::ask(at).get("/v1/affinity").await.expect("how it stands")
    }

    /// Waits until the programs run at every site. `false`, said aloud, if this machine cannot have
    /// them; where it can, they must run.
    pub(crate) async fn keeps(&self) -> bool {
        if !is_able_to_keep() {
            return false;
        }
        for at in 0..self.sites {
            Self::loaded(at).await;
        }
        true
    }

    /// Waits until the programs of a site run.
    pub(crate) async fn loaded(at: usize) {
        let begin = Instant::now();
        let mut report = Self::affinity(at).await;
        while report.state == "loading" && begin.elapsed() < Duration::from_secs(30) {
            tokio::time::sleep(Duration::from_millis(20)).await;
            report = Self::affinity(at).await;
        }
        assert_eq!(report.state, "loaded", "{}: {:?}", site(at), report.why);
    }

    /// What was forwarded because of a hint, by the sites together.
    pub(crate) async fn strays(&self) -> u64 {
        let mut all = 0;
        for at in 0..self.sites {
            all +=
                Self::affinity(at).await.peers.iter().map(|it| it.forwarded_by_hint).sum::<u64>();
        }
        all
    }
}

/// Whether this machine can run the packet programs; says why not.
pub(crate) fn is_able_to_keep() -> bool {
    let able = able_to_keep();
    if let Err(why) = &able {
        println!("skipped: connections cannot be kept here: {why}");
    }
    able.is_ok()
}

/// Whether this machine can run the packet programs, and if not, why.
fn able_to_keep() -> Result<(), String> {
    if !anycast_affinity::Affinity::is_built_in() {
        return Err("this build has no packet programs (no clang)".to_owned());
    }
    let release = std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    let mut numbers = release.split(['.', '-']).map_while(|it| it.trim().parse::<u32>().ok());
    let version = (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0));
    if version < (6, 6) {
        return Err(format!("the kernel is Linux {}", release.trim()));
    }
    crate::powers::has_all()
}

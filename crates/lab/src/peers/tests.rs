//! Each configuration is checked by the program that it is for, and run against another's. Where
//! a program is not installed, the test says `skipped` and why.

use std::fs;
use std::path::PathBuf;
use std::process::{self, Child, Stdio};
use std::time::{Duration, Instant};

use super::*;
use crate::plan::{build, build_for};
use crate::world;

const FLEET: &str = r#"
    [fleet]
    name = "peers"
    asn = 64500
    [prefix."192.0.2.0/24"]
    services = ["whoami"]
    [prefix."2001:db8:ac::/48"]
    services = ["whoami"]
    [service.whoami]
    addresses = ["192.0.2.1", "2001:db8:ac::1"]
    builtin = "whoami"
    [site.fra]
    city = "Frankfurt"
    router-id = "192.0.2.200"
    [site.fra.neighbor.direct]
    address = "198.51.100.0"
    local-address = "198.51.100.1"
    families = ["ipv4", "ipv6"]
    next-hop-v6 = "2001:db8:ffff::1"
    asn = 64497
    relation = "provider"
    export = "fleet"
    ttl-security = true
    password-file = "PASSWORD"
    bfd = { interval = "50ms", multiplier = 4 }
    [site.fra.neighbor.far]
    address = "198.51.100.200"
    local-address = "198.51.100.201"
    multihop = 3
    asn = 64497
    relation = "provider"
    export = "fleet"
    bfd = true
"#;

/// A transit AS `middle` with a provider, a peer, a customer and a site, and a customer `leaf`
/// of the provider.
fn world_file(middle: &str, leaf: &str) -> String {
    format!(
        r#"
        [as.top]
        asn = 64496
        cities = ["London"]
        [as.middle]
        asn = 64497
        cities = ["Frankfurt"]
        providers = ["top"]
        peers = ["beside"]
        router = "{middle}"
        [as.beside]
        asn = 64498
        cities = ["Paris"]
        providers = ["top"]
        [as.leaf]
        asn = 65550
        cities = ["Berlin"]
        providers = ["middle", "top"]
        router = "{leaf}"
        prefix-v4 = "203.0.113.0/29"
        prefix-v6 = "2001:db8:1::/48"
        [client.berlin]
        as = "leaf"
        "#
    )
}

struct Setup {
    plan: Plan,
    dir: PathBuf,
}

/// A folder of this test alone.
fn folder(name: &str) -> PathBuf {
    let dir = std::env::temp_dir().join(format!("anycast-peers-{name}-{}", process::id()));
    fs::create_dir_all(&dir).unwrap();
    dir
}

fn world_of(source: &str) -> world::World {
    let report = world::parse("world.toml", source);
    report.world.clone().unwrap_or_else(|| panic!("{}", report.render(false)))
}

impl Setup {
    fn new(name: &str, middle: &str, leaf: &str) -> Self {
        let dir = folder(name);
        let password = dir.join("password");
        fs::write(&password, "s3cret\n").unwrap();
        let fleet = FLEET.replace("PASSWORD", password.to_str().unwrap());
        let fleet = anycast_fleet::parse("fleet.toml", &fleet);
        let fleet = fleet.fleet.clone().unwrap_or_else(|| panic!("{}", fleet.render(false)));
        let world = world_of(&world_file(middle, leaf));
        Self { plan: build(&world, &fleet).unwrap(), dir }
    }

    /// The node's files are written; what is to be started, unless the program is not there.
    fn peer(&self, node: &str) -> Option<Peer> {
        let index = self.plan.node(node).unwrap();
        fs::create_dir_all(self.dir.join(node)).unwrap();
        let peer = match configure(&self.plan, index, &self.dir.join(node)) {
            Ok(peer) => peer,
            Err(error @ PeerError::NotInstalled { .. }) => {
                eprintln!("skipped: {error}");
                return None;
            }
            Err(error) => panic!("{error}"),
        };
        for file in &peer.files {
            fs::write(&file.path, &file.content).unwrap();
            // OpenBGPD refuses a file that others can read.
            fs::set_permissions(&file.path, std::os::unix::fs::PermissionsExt::from_mode(0o600))
                .unwrap();
        }
        Some(peer)
    }
}

impl Drop for Setup {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            let _ = fs::remove_dir_all(&self.dir);
        }
    }
}

/// How a program is asked whether it understands its file.
fn check_command(command: &Command) -> Vec<String> {
    let (program, args) = command.argv.split_first().unwrap();
    let arg = |at: usize| args[at].clone();
    let (flags, config) = match program.as_str() {
        bird::PROGRAM => (vec!["-p", "-c"], arg(2)),
        gobgp::PROGRAM => (vec!["-d", "-f"], arg(1)),
        exabgp::PROGRAM => (vec!["--validate"], arg(0)),
        openbgpd::PROGRAM => (vec!["-n", "-f"], arg(2)),
        // FRR's.
        _ => (vec!["-C", "-f"], arg(1)),
    };
    let flags = flags.into_iter().map(str::to_owned);
    std::iter::once(program.clone()).chain(flags).chain([config]).collect()
}

fn namespaces_are_there() -> bool {
    let there = process::Command::new("unshare").args(["-Urn", "true"]).status();
    if !there.is_ok_and(|status| status.success()) {
        eprintln!("skipped: this kernel lets nobody make a user namespace");
        return false;
    }
    true
}

#[test]
fn each_program_understands_what_is_written_for_it() {
    if !namespaces_are_there() {
        return;
    }
    for (name, middle, leaf) in [
        ("bird", "bird", "bird"),
        ("frr", "frr", "frr"),
        ("gobgp", "anycast", "gobgp"),
        ("exabgp", "anycast", "exabgp"),
        ("openbgpd", "anycast", "openbgpd"),
    ] {
        let setup = Setup::new(&format!("check-{name}"), middle, leaf);
        for node in ["middle", "leaf"] {
            let NodeKind::Router(router) = &setup.plan.nodes[setup.plan.node(node).unwrap()].kind
            else {
                panic!("{node} is no router")
            };
            if router.implementation == Implementation::Anycast {
                continue;
            }
            let Some(peer) = setup.peer(node) else { continue };
            for command in peer.commands.iter().filter(|command| command.run != Run::Once) {
                let argv = check_command(command);
                // As root of a namespace, which some ask for even here.
                let within = ["/usr/bin/unshare", "-Urn", "--"].map(str::to_owned).into_iter();
                let check =
                    Command { argv: within.chain(argv.clone()).collect(), ..command.clone() };
                let output = check.to_process().output().unwrap();
                let said = format!(
                    "{}{}",
                    String::from_utf8_lossy(&output.stdout),
                    String::from_utf8_lossy(&output.stderr)
                );
                let complains = ["nknown command", "% "].iter().any(|sign| said.contains(sign));
                assert!(
                    output.status.success() && !complains,
                    "{argv:?}: {}\n{said}",
                    output.status
                );
            }
        }
    }
}

/// Two routers with a network each; the first is the second's provider.
fn pair(provider: &str, customer: &str) -> String {
    format!(
        r#"
        [as.up]
        asn = 65550
        cities = ["London"]
        router = "{provider}"
        prefix-v4 = "203.0.113.8/29"
        prefix-v6 = "2001:db8:2::/64"
        [as.down]
        asn = 65551
        cities = ["London"]
        providers = ["up"]
        router = "{customer}"
        prefix-v4 = "203.0.113.0/29"
        prefix-v6 = "2001:db8:1::/64"
        "#
    )
}

/// Processes that end with the test.
#[derive(Default)]
struct Processes(Vec<Child>);

impl Drop for Processes {
    fn drop(&mut self) {
        for child in self.0.iter_mut().rev() {
            let pid = nix::unistd::Pid::from_raw(i32::try_from(child.id()).unwrap());
            let _ = nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGTERM);
        }
        let deadline = Instant::now() + Duration::from_secs(2);
        for child in self.0.iter_mut().rev() {
            while Instant::now() < deadline && child.try_wait().is_ok_and(|end| end.is_none()) {
                std::thread::sleep(Duration::from_millis(10));
            }
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// A network namespace in the test's own user namespace, held by a process that sleeps.
fn namespace(processes: &mut Processes, beside: Option<u32>) -> u32 {
    let mut command = match beside {
        None => process::Command::new("unshare"),
        Some(pid) => inside(pid, &["unshare"], &["-U"]),
    };
    command.args(if beside.is_none() { &["-Urn"][..] } else { &["-n"] });
    let child = command.args(["sleep", "60"]).spawn().unwrap();
    let pid = child.id();
    processes.0.push(child);
    // Once it sleeps, it has made the namespaces and written who is root in them.
    let deadline = Instant::now() + Duration::from_secs(5);
    while fs::read_to_string(format!("/proc/{pid}/comm")).is_ok_and(|name| name != "sleep\n") {
        assert!(Instant::now() < deadline, "no namespace");
        std::thread::sleep(Duration::from_millis(5));
    }
    pid
}

/// A command in the user namespace, and with `-n` the network namespace, of a process.
fn inside(pid: u32, argv: &[&str], which: &[&str]) -> process::Command {
    let mut command = process::Command::new("nsenter");
    command.args(which).args(["--preserve-credentials", "-t", &pid.to_string(), "--"]).args(argv);
    command
}

fn say(pid: u32, argv: &[&str]) -> String {
    let output = inside(pid, argv, &["-U", "-n"]).output().unwrap();
    assert!(output.status.success(), "{argv:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

/// Runs the two routers on a link until the provider's kernel has the customer's networks, and
/// the other way round if the customer puts routes into the kernel.
fn run_pair(provider: &str, customer: &str) {
    let name = format!("{provider}-{customer}");
    let plan = build_for(&world_of(&pair(provider, customer)), &[]).unwrap();
    let setup = Setup { plan, dir: folder(&name) };
    let [Some(up), Some(down)] = ["up", "down"].map(|node| setup.peer(node)) else { return };
    if !namespaces_are_there() {
        return;
    }
    let mut processes = Processes::default();
    let first = namespace(&mut processes, None);
    let pids = [first, namespace(&mut processes, Some(first))];
    let link = &setup.plan.links[0];
    let other = pids[1].to_string();
    let names = [&link.ends[0].ifname[..], &link.ends[1].ifname];
    say(
        first,
        &["ip", "link", "add", names[0], "type", "veth", "peer", "name", names[1], "netns", &other],
    );
    for ((pid, end), router) in pids.into_iter().zip(&link.ends).zip(["up", "down"]) {
        for interface in ["lo", &end.ifname] {
            say(pid, &["ip", "link", "set", interface, "up"]);
        }
        for address in &end.addresses {
            say(pid, &["ip", "address", "add", &address.to_string(), "dev", &end.ifname, "nodad"]);
        }
        assert_eq!(setup.plan.nodes[end.node].name, router);
    }
    for (pid, peer, node) in [(pids[0], &up, "up"), (pids[1], &down, "down")] {
        let log = fs::File::create(setup.dir.join(node).join("log")).unwrap();
        for command in &peer.commands {
            let mut argv: Vec<String> =
                ["/usr/bin/nsenter", "-U", "-n", "--preserve-credentials", "-t"]
                    .map(str::to_owned)
                    .to_vec();
            argv.extend([pid.to_string(), "--".to_owned()]);
            argv.extend(command.argv.iter().cloned());
            let command = Command { argv, ..command.clone() };
            let start = || {
                let mut process = command.to_process();
                process.stdin(Stdio::null()).current_dir(setup.dir.join(node));
                process.stdout(log.try_clone().unwrap()).stderr(log.try_clone().unwrap());
                process.spawn().unwrap()
            };
            match &command.run {
                Run::Daemon { ready } => {
                    processes.0.push(start());
                    wait(&setup, || ready.as_ref().is_none_or(|socket| socket.exists()), "ready");
                }
                Run::Once => wait(&setup, || start().wait().unwrap().success(), "told"),
            }
        }
    }
    let mut wanted = vec![
        (pids[0], vec!["ip", "-4", "route", "show", "203.0.113.0/29"]),
        (pids[0], vec!["ip", "-6", "route", "show", "2001:db8:1::/64"]),
    ];
    let customer = Implementation::NAMES.iter().find(|(name, _)| *name == customer).unwrap().1;
    if customer.forwards() {
        wanted.push((pids[1], vec!["ip", "-4", "route", "show", "203.0.113.8/29"]));
        wanted.push((pids[1], vec!["ip", "-6", "route", "show", "2001:db8:2::/64"]));
    }
    for (pid, argv) in wanted {
        wait(&setup, || say(pid, &argv).contains("via"), &argv.join(" "));
    }
}

fn wait(setup: &Setup, mut done: impl FnMut() -> bool, what: &str) {
    let deadline = Instant::now() + Duration::from_secs(20);
    while !done() {
        if Instant::now() >= deadline {
            let logs = ["up", "down"].map(|node| {
                fs::read_to_string(setup.dir.join(node).join("log")).unwrap_or_default()
            });
            panic!("never {what}\nup: {}\ndown: {}", logs[0], logs[1]);
        }
        std::thread::sleep(Duration::from_millis(50));
    }
}

#[test]
fn the_shipped_interop_files_fit_together() {
    let fleet = include_str!("../../../../examples/interop-fleet.toml");
    let fleet = anycast_fleet::parse("interop-fleet.toml", fleet);
    let world = include_str!("../../../../examples/interop-world.toml");
    let world = world::parse("interop-world.toml", world);
    assert!(world.problems.is_empty(), "{}", world.render(false));
    assert!(fleet.problems.is_empty(), "{}", fleet.render(false));
    let plan = build(&world.world.unwrap(), &fleet.fleet.unwrap()).unwrap();
    assert_eq!(plan.notes, [""; 0]);
    assert_eq!((plan.sites().count(), plan.clients().count()), (2, 3));
    for (_, program) in Implementation::NAMES {
        assert!(plan.routers().any(|(_, _, router)| router.implementation == program));
    }
}

#[test]
fn bird_and_frr_exchange_routes() {
    run_pair("bird", "frr");
}

#[test]
fn frr_and_bird_exchange_routes() {
    run_pair("frr", "bird");
}

#[test]
fn gobgp_announces_its_network() {
    run_pair("bird", "gobgp");
}

#[test]
fn exabgp_announces_its_network() {
    run_pair("frr", "exabgp");
}

#[test]
fn openbgpd_announces_its_network() {
    run_pair("bird", "openbgpd");
}

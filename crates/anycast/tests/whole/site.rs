//! `anycast run`, the real daemon, in a node of a lab whose own daemon is stopped: its neighbors
//! are routers, its clients are elsewhere, and the test has it in its hands.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::time::Duration;

use nix::sys::signal::Signal;
use serde_json::Value;

use crate::lab::{AT_HOME, FLEET, small_lab};
use crate::program::{Desk, Lab, Output, Process, SETTLED, User, as_each_user, send, until};

as_each_user! {
    it_announces_once_its_checks_pass
    it_withdraws_first_and_then_stops_serving
    a_second_signal_cuts_the_waiting_short
    a_dead_service_is_withdrawn_and_announced_again
    a_killed_daemon_takes_its_sessions_and_services_along
    what_it_cannot_have_it_names_and_leaves_nothing_behind
    each_table_shows_what_is
}

/// A daemon that the test started in the node of its site.
pub(crate) struct Daemon<'l, 'd> {
    pub(crate) lab: &'l Lab<'d>,
    pub(crate) process: Process,
}

impl<'l, 'd> Daemon<'l, 'd> {
    /// Starts the daemon of fra with this fleet file.
    pub(crate) fn start(lab: &'l Lab<'d>, fleet: &str) -> Self {
        Self::start_with(lab, fleet, &[])
    }

    /// The same with more arguments.
    pub(crate) fn start_with(lab: &'l Lab<'d>, fleet: &str, more: &[&str]) -> Self {
        let fleet = lab.desk.path(fleet);
        let fleet = fleet.to_str().expect("a path of letters");
        let socket = ["--socket", "/run/anycast/fra.sock"];
        // What the lab's own daemon has left is none of its business.
        let state = ["--state-dir", "/run/anycast/test"];
        let command =
            [&["anycast", "run", fleet, "--site", "fra"], &socket[..], &state, more].concat();
        Self { lab, process: Process::start(lab.in_node("fra", &command)) }
    }

    /// The process of the daemon itself, not of the one that brought it into the node.
    pub(crate) fn pid(&self) -> u32 {
        until("the daemon is there", SETTLED, || {
            let pid = self.process.pid;
            let path = format!("/proc/{pid}/task/{pid}/children");
            let children = fs::read_to_string(path).unwrap_or_default();
            children.trim().parse().map_err(|_| self.process.words())
        })
    }

    pub(crate) fn show(&self, what: &[&str]) -> Output {
        self.lab.exec("fra", &[&["anycast", "show"], what].concat())
    }

    /// Waits until both sessions are up and everybody is answered by the nearer site.
    pub(crate) fn announces(&self) {
        until("both sessions are up", SETTLED, || {
            let neighbors = self.show(&["neighbors", "--json"]).out;
            let up = neighbors.matches("\"Established\"").count();
            if up == 2 { Ok(()) } else { Err((neighbors, self.process.words())) }
        });
        self.lab.settles("its neighbors know the prefix", AT_HOME);
    }
}

/// The small lab with nobody at fra: paris is answered by nyc.
pub(crate) fn lab_without_fra(desk: &Desk) -> Option<Lab<'_>> {
    let lab = small_lab(desk)?;
    lab.does(&["stop", "fra"]);
    lab.settles("the lab's own daemon is gone", &[("paris", "nyc"), ("toronto", "nyc")]);
    assert_eq!(addresses(&lab), [""; 0]);
    Some(lab)
}

/// Service addresses on the loopback interface of fra.
fn addresses(lab: &Lab<'_>) -> Vec<&'static str> {
    let v4 = lab.exec("fra", &["cat", "/proc/net/fib_trie"]).out;
    let v6 = lab.exec("fra", &["cat", "/proc/net/if_inet6"]).out;
    let mut found = Vec::new();
    found.extend(v4.contains("192.0.2.1\n").then_some("192.0.2.1"));
    found.extend(v6.contains("20010db800ac00000000000000000001").then_some("2001:db8:ac::1"));
    found
}

/// What runs in the lab as `whoami` of fra.
fn services(lab: &Lab<'_>) -> Vec<String> {
    let script = "for p in /proc/[0-9]*; do tr '\\0' ' ' < $p/cmdline; echo; done 2>/dev/null";
    let all = lab.exec("nyc", &["sh", "-c", script]).out;
    let ours = |line: &&str| line.contains(" whoami ") && line.contains("--site fra");
    all.lines().filter(ours).map(str::to_owned).collect()
}

pub(crate) fn kinds(events: &Value) -> Vec<&str> {
    let events = events.as_array().expect("a list").iter();
    events.map(|event| event["kind"].as_str().expect("a word")).collect()
}

fn it_announces_once_its_checks_pass(user: User) {
    let desk = Desk::new(user);
    // The service is there at once; what decides is a file that is not.
    let flag = desk.path("healthy");
    let check = format!(
        "builtin = \"whoami\"\n[[service.whoami.check]]\ntype = \"command\"\n\
         command = [\"/usr/bin/test\", \"-e\", \"{}\"]\naddress = \"127.0.0.1\"\n\
         interval = \"300ms\"\ntimeout = \"300ms\"\nrise = 2\n",
        flag.display(),
    );
    desk.write("careful.toml", FLEET.replace("builtin = \"whoami\"\n", &check));
    let Some(lab) = lab_without_fra(&desk) else { return };
    let daemon = Daemon::start(&lab, "careful.toml");
    until("the sessions are up and the check has failed", SETTLED, || {
        let neighbors = daemon.show(&["neighbors", "--json"]).out;
        let services = daemon.show(&["services", "--json"]).out;
        let holds = neighbors.matches("\"Established\"").count() == 2
            && services.contains("\"fails\": ")
            && !services.contains("\"fails\": 0");
        if holds { Ok(()) } else { Err((neighbors, services, daemon.process.words())) }
    });
    assert_eq!(lab.catchment()["paris"].as_deref(), Some("nyc"), "nothing is announced yet");
    assert_eq!(lab.ask_http("fra", "192.0.2.1").as_deref(), Some("fra"), "but it is served");
    desk.write("healthy", "");
    daemon.announces();
    fs::remove_file(flag).expect("it was written");
    lab.settles("what fails is withdrawn", &[("paris", "nyc"), ("toronto", "nyc")]);
}

fn it_withdraws_first_and_then_stops_serving(user: User) {
    let desk = Desk::new(user);
    desk.write("unhurried.toml", FLEET.replace("stop-wait = \"10ms\"", "stop-wait = \"3s\""));
    let Some(lab) = lab_without_fra(&desk) else { return };
    let daemon = Daemon::start(&lab, "unhurried.toml");
    daemon.announces();
    assert_eq!(addresses(&lab), ["192.0.2.1", "2001:db8:ac::1"]);

    daemon.process.signal(Signal::SIGTERM);
    lab.settles("the withdrawal reaches the neighbors", &[("paris", "nyc"), ("toronto", "nyc")]);
    // For 3 s: whoever still sends packets here is answered.
    for address in ["192.0.2.1", "2001:db8:ac::1"] {
        assert_eq!(lab.ask_http("fra", address).as_deref(), Some("fra"), "{address}");
    }
    let site = daemon.show(&["sites", "--json"]).json();
    assert_eq!((&site[0]["state"], &site[0]["established"]), (&"stopping".into(), &2.into()));
    assert!(!daemon.process.ended(), "it serves on");

    assert_eq!(daemon.process.wait().code(), Some(0), "{}", daemon.process.words());
    assert_eq!(addresses(&lab), [""; 0]);
    assert_eq!(services(&lab), [""; 0]);
    assert_eq!(lab.exec("fra", &["ls", "/run/anycast/fra.sock"]).code, Some(2), "no socket");
}

fn a_second_signal_cuts_the_waiting_short(user: User) {
    let desk = Desk::new(user);
    desk.write("patient.toml", FLEET.replace("stop-wait = \"10ms\"", "stop-wait = \"10m\""));
    let Some(lab) = lab_without_fra(&desk) else { return };
    let daemon = Daemon::start(&lab, "patient.toml");
    daemon.announces();
    daemon.process.signal(Signal::SIGINT);
    lab.settles("it withdraws", &[("paris", "nyc")]);
    daemon.process.signal(Signal::SIGTERM);
    assert_eq!(daemon.process.wait().code(), Some(0), "{}", daemon.process.words());
    assert_eq!(addresses(&lab), [""; 0]);
}

fn a_dead_service_is_withdrawn_and_announced_again(user: User) {
    let desk = Desk::new(user);
    let Some(lab) = lab_without_fra(&desk) else { return };
    let daemon = Daemon::start(&lab, "fleet.toml");
    daemon.announces();
    let pid = || {
        let services = daemon.show(&["services", "--json"]).json();
        services["services"][0]["pid"].as_u64()
    };
    let first = pid().expect("it runs");
    let killed = lab.exec("fra", &["sh", "-c", &format!("kill -KILL {first}")]);
    assert_eq!(killed.code, Some(0), "{killed:?}");
    lab.settles("the clients of a dead service move", &[("paris", "nyc")]);
    daemon.announces();
    assert_ne!(pid().expect("it runs again"), first);
    let events = daemon.show(&["events", "--json"]).json();
    let kinds = kinds(&events);
    let after = kinds.iter().skip_while(|kind| **kind != "service-down");
    // The socket's death and the process's are told by different parts, in any order.
    let after: Vec<&str> = after.copied().filter(|kind| *kind != "service-ended").collect();
    assert_eq!(
        after,
        [
            "service-down",
            "withdraw",
            "withdraw",
            "service-started",
            "check-passed",
            "service-up",
            "announce",
            "announce"
        ],
        "{events:#}"
    );
    assert!(!kinds.contains(&"neighbor-down"), "no session is reset for it");
}

fn a_killed_daemon_takes_its_sessions_and_services_along(user: User) {
    let desk = Desk::new(user);
    let Some(lab) = lab_without_fra(&desk) else { return };
    let daemon = Daemon::start(&lab, "fleet.toml");
    daemon.announces();
    assert_eq!(services(&lab).len(), 1);
    send(daemon.pid(), Signal::SIGKILL);
    assert_eq!(daemon.process.wait().code(), Some(137));
    // The hold time is 90 s: it is the connection's end that tells the neighbors.
    lab.settles("its neighbors drop the routes", &[("paris", "nyc"), ("toronto", "nyc")]);
    until("its service ends with it", Duration::from_secs(5), || {
        let left = services(&lab);
        if left.is_empty() { Ok(()) } else { Err(left) }
    });
    // A crash leaves these, for the next run to adopt.
    assert_eq!(addresses(&lab), ["192.0.2.1", "2001:db8:ac::1"]);
    assert_eq!(lab.exec("fra", &["ls", "/run/anycast/fra.sock"]).code, Some(0));

    let daemon = Daemon::start(&lab, "fleet.toml");
    daemon.announces();
    let sites = daemon.show(&["sites", "--json"]).json();
    assert_eq!(sites[0]["state"], "running");
    daemon.process.signal(Signal::SIGTERM);
    assert_eq!(daemon.process.wait().code(), Some(0), "{}", daemon.process.words());
    assert_eq!(addresses(&lab), [""; 0], "what was adopted goes too");
}

fn what_it_cannot_have_it_names_and_leaves_nothing_behind(user: User) {
    let desk = Desk::new(user);
    let with_password = |file: &str| {
        FLEET.replacen("asn = 64501\n", &format!("asn = 64501\npassword-file = \"{file}\"\n"), 1)
    };
    desk.write("no-password.toml", with_password("nowhere"));
    desk.write("empty-password.toml", with_password("empty"));
    desk.write("empty", "\n");
    desk.write("broken.toml", FLEET.replace("asn = 64502", "asn = 0"));
    let Some(lab) = lab_without_fra(&desk) else { return };
    let run = |fleet: &str, site: &str, socket: &str| {
        let fleet = desk.path(fleet);
        let fleet = fleet.to_str().expect("a path of letters");
        lab.exec("fra", &["anycast", "run", fleet, "--site", site, "--socket", socket])
    };
    let own = "/run/anycast/fra.sock";
    for (fleet, site, socket, words) in [
        ("fleet.toml", "fr", own, &["no site called fr", "fra, nyc"][..]),
        ("no-password.toml", "fra", own, &["neighbor left", "password file", "nowhere"]),
        ("empty-password.toml", "fra", own, &["neighbor left", "1 to 80 octets"]),
        ("nowhere.toml", "fra", own, &["cannot read", "nowhere.toml"]),
        ("broken.toml", "fra", own, &["has 2 errors", "help: "]),
        ("fleet.toml", "fra", "/proc/no/fra.sock", &["control socket /proc/no/fra.sock"]),
    ] {
        run(fleet, site, socket).failed_with(2, words);
        assert_eq!(addresses(&lab), [""; 0], "{fleet}");
        assert_eq!(services(&lab), [""; 0], "{fleet}");
        assert_ne!(lab.exec("fra", &["ls", own]).code, Some(0), "{fleet}: no socket");
    }

    let daemon = Daemon::start(&lab, "fleet.toml");
    daemon.announces();
    run("fleet.toml", "fra", own).failed_with(2, &[own, "is this site already running?"]);
    run("fleet.toml", "fra", "/run/anycast/second.sock")
        .failed_with(2, &["cannot listen for BGP", ":179", "Address already in use"]);
    assert_ne!(lab.exec("fra", &["ls", "/run/anycast/second.sock"]).code, Some(0));
    assert_eq!(addresses(&lab), ["192.0.2.1", "2001:db8:ac::1"], "the first is none the worse");
    daemon.announces();
}

#[test]
fn without_the_privilege_it_says_which_one_it_needs() {
    let desk = Desk::new(User::Ordinary);
    if desk.user.uid() == 0 {
        return crate::program::skip("root cannot become an ordinary user here");
    }
    let socket = std::env::temp_dir().join(format!("{}.sock", desk.name));
    let socket = socket.to_str().expect("a path of letters");
    desk.write("listens.toml", FLEET);
    // It only dials, so port 179 is not what it lacks.
    desk.write("dials.toml", FLEET.replace("stop-wait = \"10ms\"", "listen = false"));
    for (fleet, words) in [
        ("dials.toml", &["192.0.2.1", "CAP_NET_ADMIN", "ip address add 192.0.2.1/32 dev lo"][..]),
        ("listens.toml", &["CAP_NET_"]),
    ] {
        let output = desk.run(&["run", fleet, "--site", "fra", "--socket", socket]);
        output.failed_with(2, words);
        assert!(!std::path::Path::new(socket).exists(), "{fleet}: no socket is left");
    }
    let table = fs::read_to_string("/proc/net/fib_trie").expect("/proc is readable");
    assert!(!table.contains(" 192.0.2.1\n"), "no address is left");
}

fn each_table_shows_what_is(user: User) {
    let desk = Desk::new(user);
    let Some(lab) = lab_without_fra(&desk) else { return };
    // A station that nobody has started.
    let station = "\n[bmp.collector]\naddress = \"127.0.0.1\"\nport = 11019\n";
    desk.write("watched.toml", format!("{FLEET}{station}"));
    let daemon = Daemon::start(&lab, "watched.toml");
    daemon.announces();
    let table = |what: &[&str]| {
        let output = daemon.show(what);
        assert_eq!((output.code, output.err.as_str()), (Some(0), ""), "{what:?}");
        output.out
    };
    let rows = |what: &[&str]| daemon.show(&[what, &["--json"]].concat()).json();
    until("both neighbors have told their two networks of either family", SETTLED, || {
        let neighbors = rows(&["neighbors"]);
        let told = neighbors.as_array().expect("a list").iter().map(|row| &row["accepted"]);
        if told.collect::<Vec<_>>() == [4, 4] { Ok(()) } else { Err(neighbors) }
    });

    for (what, words) in [
        (&["sites"][..], &["fra *", "64500", "running", "2/2", "2001:db8:ac::/48"][..]),
        (&["neighbors"], &["left", "198.51.100.0", "64501", "Established"]),
        (&["routes"], &["*>  192.0.2.0/24", "(this site)", "64501 64503"]),
        (&["routes", "203.0.113.0/29"], &["203.0.113.0/29", "64502 64501 64503"]),
        (&["routes", "203.0.113.0/29", "--explain"], &["2 routes", "lost to", "AS path length"]),
        (&["services"], &["whoami", "up", " passed", "announced", "all of whoami"]),
        (&["bmp"], &["collector", "127.0.0.1:11019", "connecting", "adj-rib-in-pre", "refused"]),
        (&["events"], &["neighbor-up", "announce", "192.0.2.0/24"]),
    ] {
        let shown = table(what);
        for word in words {
            assert!(shown.contains(word), "{word} is not in {what:?}: {shown}");
        }
    }
    assert!(!table(&["routes", "203.0.113.0/29"]).contains("203.0.113.8/29"));

    let sites = rows(&["sites"]);
    assert_eq!(sites[0]["announced"], serde_json::json!(["192.0.2.0/24", "2001:db8:ac::/48"]));
    assert_eq!((&sites[1]["name"], &sites[1]["state"]), (&"nyc".into(), &Value::Null));
    let neighbors = rows(&["neighbors"]);
    assert_eq!(neighbors.as_array().map(Vec::len), Some(2));
    for neighbor in neighbors.as_array().expect("a list") {
        assert_eq!(
            (&neighbor["state"], &neighbor["advertised"]),
            (&"Established".into(), &2.into())
        );
    }
    let routes = rows(&["routes", "203.0.113.0/29"]);
    let best: Vec<_> = routes.as_array().expect("a list").iter().map(|row| &row["best"]).collect();
    assert_eq!(best, [true, false]);
    let explained = rows(&["routes", "203.0.113.0/29", "--explain"]);
    assert_eq!(explained["routes"].as_array().map(Vec::len), Some(2), "{explained}");
    assert_eq!(rows(&["services"])["services"][0]["state"], "up");
    assert!(kinds(&rows(&["events"])).contains(&"service-started"));

    // A folder that any user may write in.
    let folder = desk.path("out");
    fs::create_dir(&folder).expect("the desk is ours");
    fs::set_permissions(&folder, fs::Permissions::from_mode(0o777)).expect("it is ours too");
    let file = folder.join("rib.mrt");
    let path = file.to_str().expect("a path of letters");
    let dumped = lab.exec("fra", &["anycast", "mrt", "dump", path]);
    assert_eq!((dumped.code, dumped.err.as_str()), (Some(0), ""));
    let octets = fs::read(&file).expect("the file is there");
    assert_eq!(dumped.out, format!("{} octets in {path}\n", octets.len()));
    // TABLE_DUMP_V2, and the peers first (RFC 6396 §4.3).
    assert_eq!(octets.get(4..8), Some(&[0, 13, 0, 1][..]));
    let piped = lab.exec("fra", &["sh", "-c", "anycast mrt dump - | wc -c"]);
    assert_eq!(piped.out.trim(), octets.len().to_string());
    lab.exec("fra", &["anycast", "mrt", "dump", "/nowhere/rib.mrt"])
        .failed_with(2, &["cannot write /nowhere/rib.mrt"]);

    for (command, words) in [
        (&["show", "routes", "10.0.0.0/8", "--explain"][..], "no route to 10.0.0.0/8"),
        (&["show", "routes", "10.0.0"], "invalid value '10.0.0'"),
        (&["show", "routes", "10.0.0.1", "--explain"], "no route to 10.0.0.1"),
        (
            &["show", "routes", "--received", "lefft"],
            "no neighbor is called lefft; there are left, right",
        ),
        (&["show", "neighbors", "lefft"], "no neighbor is called lefft; there are left, right"),
        (&["neighbor", "le/ft", "clear"], "no neighbor is called le/ft; there are left, right"),
        (&["neighbor", "left"], "clear"),
        (&["show", "sites", "10.0.0.0/8"], "unexpected argument '10.0.0.0/8'"),
        (&["show", "routers"], "routes"),
        (
            &["prepend", "1", "--neighbor", "lefft"],
            "no neighbor is called lefft; there are left, right",
        ),
        (&["prepend", "51"], "0..=50"),
        (&["prepend"], "<COUNT>"),
    ] {
        lab.exec("fra", &[&["anycast"], command].concat()).failed_with(2, &[words]);
    }

    let prepend = |arguments: &[&str]| {
        let output = lab.exec("fra", &[&["anycast", "prepend"], arguments].concat());
        assert_eq!(output.code, Some(0), "{output:?}");
    };
    prepend(&["3", "--neighbor", "left"]);
    lab.settles("left finds the other site nearer", &[("paris", "nyc"), ("toronto", "nyc")]);
    prepend(&["0"]);
    daemon.announces();
    assert!(!kinds(&rows(&["events"])).contains(&"neighbor-down"), "no session is reset for it");
}

#[test]
fn without_a_site_its_commands_say_how_to_start_one() {
    let desk = Desk::new(User::Ordinary);
    let nowhere = desk.path("run");
    let nowhere = nowhere.to_str().expect("a path of letters");
    for command in [&["show", "sites"][..], &["show", "routes", "--json"], &["prepend", "1"]] {
        desk.run(command).failed_with(2, &["no site runs here", nowhere, "anycast run"]);
    }
    desk.run(&["show", "sites", "--site", "fra"])
        .failed_with(2, &["cannot reach a site", "fra.sock"]);
    desk.write("run/fra.sock", "");
    desk.write("run/nyc.sock", "");
    desk.run(&["show", "sites"]).failed_with(2, &["several sites run here: fra, nyc", "--site"]);
}

//! `anycast lab`: what it shows, what can be done to it, how it ends, and scenarios.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use serde_json::Value;

use crate::program::{Desk, Lab, Process, SETTLED, User, as_each_user, finish, send, until};

/// Two networks with two sites, see the file.
pub(crate) const WORLD: &str = include_str!("world.toml");
/// Its fleet.
pub(crate) const FLEET: &str = include_str!("fleet.toml");
/// Who is where in that world when all is well.
pub(crate) const AT_HOME: &[(&str, &str)] = &[("paris", "fra"), ("toronto", "nyc")];

as_each_user! {
    every_client_of_the_built_in_world_is_answered
    each_command_does_what_it_says
    a_command_runs_in_a_node_as_it_would_at_home
    a_wrong_name_is_answered_with_the_right_one
    a_second_lab_of_the_same_name_is_refused
    a_signal_ends_it_at_once_and_leaves_nothing
    a_killed_lab_leaves_nothing
    a_fleet_of_ones_own_comes_up
    a_site_that_cannot_start_is_told_with_its_own_words
    a_failed_expectation_fails_the_scenario
    the_tour_holds
}

/// A lab of the small world, with everybody at home.
pub(crate) fn small_lab(desk: &Desk) -> Option<Lab<'_>> {
    let (fleet, world) = (desk.write("fleet.toml", FLEET), desk.write("world.toml", WORLD));
    let lab = desk.lab(&[&fleet, "--world", &world])?;
    lab.settles("everybody is at home", AT_HOME);
    Some(lab)
}

fn every_client_of_the_built_in_world_is_answered(user: User) {
    let desk = Desk::new(user);
    let output = desk.run(&["lab", "--once", "--json"]);
    if output.refused() {
        return;
    }
    let rows = output.json();
    let rows = rows.as_array().expect("a list");
    assert!(rows.len() >= 20, "{} clients", rows.len());
    let mut sites = BTreeSet::new();
    for row in rows {
        sites.insert(row["site"].as_str().unwrap_or_else(|| panic!("nobody answers: {row}")));
        let path = row["as_path"].as_str().expect("a path");
        assert!(path.split(' ').count() >= 2 && path.ends_with(" 64500"), "{row}");
        let (rtt, km) = (row["rtt_ms"].as_f64(), row["distance_km"].as_f64());
        // Light in fibre goes 200 km in a millisecond, there and back 100.
        assert!(rtt.expect("a time") >= km.expect("a distance") / 100.0, "{row}");
    }
    assert!(sites.len() >= 5, "{sites:?}");

    let output = desk.run(&["lab", "--once"]);
    assert_eq!(output.code, Some(0), "{output:?}");
    assert_eq!(output.out.trim().lines().count(), rows.len() + 1, "a heading and the clients");
    assert!(output.err.contains(&format!("{} of {} clients answered", rows.len(), rows.len())));
}

/// What `topology` says of a node or a link.
fn entry(lab: &Lab<'_>, list: &str, name: &str) -> Value {
    let topology = lab.tell(&["topology", "--json"]).json();
    let rows = topology[list].as_array().expect("a list");
    rows.iter().find(|row| row["name"] == name).expect("it is there").clone()
}

fn each_command_does_what_it_says(user: User) {
    let desk = Desk::new(user);
    let Some(lab) = small_lab(&desk) else { return };

    assert!(lab.does(&["status"]).contains("CLIENT"));
    let path = |client: &str| {
        let rows = lab.status();
        let row = rows.iter().find(|row| row["client"] == client).expect("a row");
        row["as_path"].as_str().unwrap_or_default().to_owned()
    };
    assert_eq!(path("paris"), "64503 64501 64500");
    let fra = entry(&lab, "nodes", "fra");
    assert_eq!((&fra["kind"], &fra["state"]), (&"site".into(), &"running".into()), "{fra}");
    let left = entry(&lab, "nodes", "left");
    assert_eq!((&left["runs"], &left["asn"]), (&"anycast".into(), &64501.into()), "{left}");
    assert!(lab.does(&["topology"]).contains("left--fra"));
    let routes = lab.does(&["routes", "left"]);
    assert!(routes.starts_with("left (AS 64501)") && routes.contains("lost to"), "{routes}");
    let routes = lab.does(&["routes", "paris", "2001:db8:ac::/48"]);
    assert!(routes.starts_with("users (AS 64503) has for 2001:db8:ac::/48"), "{routes}");

    // Changes are told while the rest happens.
    let watch = Process::start(desk.anycast(&["lab", "watch", "--json"]));
    let changed = |client: &str, from: Option<&str>, to: Option<&str>| {
        until("the change is told", SETTLED, || {
            let told = watch.words();
            let changes = told.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
            let mut wanted = changes.filter(|change| {
                (change["client"].as_str(), change["from"].as_str(), change["to"].as_str())
                    == (Some(client), from, to)
            });
            wanted.next().ok_or_else(|| told.clone())
        });
    };
    changed("paris", None, Some("fra"));

    lab.does(&["stop", "fra"]);
    lab.settles("paris goes to the other site", &[("paris", "nyc"), ("toronto", "nyc")]);
    changed("paris", Some("fra"), Some("nyc"));
    assert_eq!(entry(&lab, "nodes", "fra")["state"], "stopped");
    lab.tell(&["stop", "fra"]).failed_with(2, &["fra does not run"]);
    lab.does(&["start", "fra"]);
    lab.settles("fra is back", AT_HOME);
    assert_eq!(entry(&lab, "nodes", "fra")["state"], "running");
    lab.tell(&["start", "fra"]).failed_with(2, &["fra runs already"]);

    lab.does(&["stop", "right"]);
    lab.settles("a stopped router forwards nothing", &[("paris", "fra"), ("toronto", "")]);
    lab.does(&["start", "right"]);
    lab.settles("the router is back", AT_HOME);

    // The hold time is long: nobody notices.
    lab.does(&["freeze", "fra"]);
    assert_eq!(entry(&lab, "nodes", "fra")["state"], "frozen");
    lab.settles("a frozen site keeps its clients", &[("paris", ""), ("toronto", "nyc")]);
    lab.does(&["thaw", "fra"]);
    lab.settles("a thawed site answers", AT_HOME);

    lab.does(&["cut", "left--users"]);
    assert_eq!(entry(&lab, "links", "left--users")["cut"], true);
    lab.settles("who is cut off is not answered", &[("paris", ""), ("toronto", "nyc")]);
    lab.does(&["mend", "left--users"]);
    lab.settles("what is mended works", AT_HOME);
    assert_eq!(entry(&lab, "links", "left--users")["cut"], false);

    lab.does(&["kill", "fra"]);
    lab.settles("the clients of a dead service move", &[("paris", "nyc")]);
    lab.settles("the service returns, and so do they", AT_HOME);
    lab.tell(&["kill", "fra", "web"]).failed_with(2, &["no built-in service called web"]);

    lab.does(&["prepend", "fra", "3"]);
    lab.settles("a long path attracts nobody", &[("paris", "nyc"), ("toronto", "nyc")]);
    lab.does(&["prepend", "fra", "0"]);
    lab.settles("the path is short again", AT_HOME);

    watch.signal(Signal::SIGINT);
    watch.wait();
}

fn a_command_runs_in_a_node_as_it_would_at_home(user: User) {
    let desk = Desk::new(user);
    let Some(lab) = small_lab(&desk) else { return };
    for (command, code, out) in [
        (&["sh", "-c", "exit 7"][..], 7, ""),
        (&["sh", "-c", "kill -KILL $$"], 137, ""),
        (&["true"], 0, ""),
        (&["echo", "--json", "a b"], 0, "--json a b\n"),
        (&["id", "-u"], 0, "0\n"),
        (&["sh", "-c", "ls /sys/class/net >&2; exit 1"], 1, ""),
    ] {
        let output = lab.exec("paris", command);
        assert_eq!(
            (output.code, output.out.as_str()),
            (Some(code), out),
            "{command:?}: {output:?}"
        );
    }
    let output = finish(lab.in_node("paris", &["rev"]), b"level up\n");
    assert_eq!(output.out, "pu level\n", "{output:?}");
    lab.exec("paris", &["no-such-program"]).failed_with(2, &["no-such-program", "No such file"]);
    assert!(lab.exec("paris", &["cat", "/proc/net/dev"]).out.contains("eth0:"));

    // In a site's node this very program is at hand, and finds its site.
    let output = lab.exec("nyc", &["anycast", "show", "sites", "--json"]);
    let sites = output.json();
    let this = sites.as_array().expect("a list").iter().find(|site| site["this"] == true);
    assert_eq!(this.expect("one of them")["name"], "nyc");

    assert_eq!(lab.ask_http("paris", "192.0.2.1").as_deref(), Some("fra"));
    assert_eq!(lab.ask_http("toronto", "2001:db8:ac::1").as_deref(), Some("nyc"));
}

fn a_wrong_name_is_answered_with_the_right_one(user: User) {
    let desk = Desk::new(user);
    let Some(lab) = small_lab(&desk) else { return };
    for (arguments, words) in [
        (&["stop", "parris"][..], "there is no node called parris; did you mean paris?"),
        (&["exec", "torontoo", "--", "true"], "did you mean toronto?"),
        (&["routes", "lefft"], "did you mean left?"),
        (&["freeze", "qqq"], "there is no node called qqq"),
        (&["cut", "left-fra"], "did you mean left--fra?"),
        (&["cut", "fra"], "`anycast lab topology` lists them"),
        (&["stop", "paris"], "paris is a client"),
        (&["kill", "left"], "left is not a site"),
        (&["prepend", "paris", "1"], "paris is not a site"),
        (&["routes", "left", "192.0.2"], "invalid value '192.0.2'"),
        (&["routes", "left", "10.0.0.0/8"], "left has no route to 10.0.0.0/8"),
        (&["prepend", "fra", "300"], "300"),
        (&["explode"], "explode is no file, nor a command of `anycast lab`"),
    ] {
        lab.tell(arguments).failed_with(2, &[words]);
    }
    lab.settles("nothing has happened", AT_HOME);
}

#[test]
fn without_a_lab_its_commands_say_how_to_start_one() {
    let desk = Desk::new(User::Ordinary);
    for command in [&["status"][..], &["exec", "paris", "--", "true"], &["watch"], &["stop", "x"]] {
        let output = desk.run(&[&["lab"], command].concat());
        output.failed_with(2, &["no lab is running", "start one with `anycast lab`"]);
    }
}

fn a_second_lab_of_the_same_name_is_refused(user: User) {
    let desk = Desk::new(user);
    let Some(lab) = small_lab(&desk) else { return };
    let begin = Instant::now();
    desk.run(&["lab", "--once"]).failed_with(2, &["a lab with this name is already running"]);
    desk.run(&["lab", "run", "tour"]).failed_with(2, &["already running"]);
    assert!(begin.elapsed() < Duration::from_secs(10), "it says so at once");
    lab.settles("the first is none the worse", AT_HOME);
    let other = Desk::new(user);
    assert!(small_lab(&other).is_some(), "one of another name starts beside it");
}

/// What a machine shows of the lab with this name, its processes in the PID namespace `space`.
fn traces(space: &Path, name: &str) -> Vec<String> {
    let mut found = Vec::new();
    for entry in fs::read_dir("/proc").expect("/proc").flatten() {
        let status = fs::read_to_string(entry.path().join("status")).unwrap_or_default();
        // Whoever is to reap a killed lab's first process is not the lab's business.
        let lives = !status.contains("State:\tZ") && !status.contains("State:\tX");
        if lives && fs::read_link(entry.path().join("ns/pid")).is_ok_and(|at| at == space) {
            found.push(format!("process {}", entry.file_name().to_string_lossy()));
        }
    }
    let read = |path| fs::read_to_string(path).expect("/proc is readable");
    let mounts = read("/proc/self/mountinfo");
    found.extend(mounts.lines().filter(|line| line.contains(" lab ")).map(str::to_owned));
    let unix = read("/proc/net/unix");
    found.extend(unix.lines().filter(|line| line.ends_with(name)).map(str::to_owned));
    // Of the lab's links no end may appear here.
    let links = read("/proc/net/dev");
    let ours = |line: &&str| line.contains("to-left") || line.contains("hub");
    found.extend(links.lines().filter(ours).map(str::to_owned));
    found
}

fn space_of(lab: &Lab<'_>) -> PathBuf {
    fs::read_link(format!("/proc/{}/ns/pid_for_children", lab.process.pid)).expect("a lab")
}

fn a_signal_ends_it_at_once_and_leaves_nothing(user: User) {
    for (arguments, signal) in [
        // The large world for Ctrl-C, as users do.
        (&[][..], Signal::SIGINT),
        (&["fleet.toml", "--world", "world.toml"], Signal::SIGTERM),
    ] {
        let desk = Desk::new(user);
        desk.write("fleet.toml", FLEET);
        desk.write("world.toml", WORLD);
        let Some(lab) = desk.lab(arguments) else { return };
        let space = space_of(&lab);
        assert!(traces(&space, &desk.name).len() > 3, "it can be seen while it runs");
        let begin = Instant::now();
        lab.process.signal(signal);
        let status = lab.process.wait();
        let took = begin.elapsed();
        assert_eq!(status.code(), Some(0), "{signal}: {}", lab.process.words());
        println!("{signal} ended the lab in {took:?}");
        assert!(took < Duration::from_secs(1), "{signal} took {took:?}");
        assert_eq!(traces(&space, &desk.name), [""; 0], "{signal}");
    }
}

fn a_killed_lab_leaves_nothing(user: User) {
    let desk = Desk::new(user);
    let Some(lab) = small_lab(&desk) else { return };
    let space = space_of(&lab);
    // A command in a node does not hold it up.
    let sleep = Process::start(lab.in_node("paris", &["sleep", "1000"]));
    lab.process.signal(Signal::SIGKILL);
    lab.process.wait();
    until("the kernel has cleaned up", Duration::from_secs(5), || {
        let left = traces(&space, &desk.name);
        if left.is_empty() { Ok(()) } else { Err(left) }
    });
    sleep.wait();
    let again = small_lab(&desk);
    assert!(again.is_some(), "the name is free");
}

fn example(file: &str) -> String {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples");
    fs::read_to_string(folder.join(file)).expect("an example")
}

/// The hobby network, with a service that the lab can run: servers of its operator's own are
/// not installed here.
fn hobby_network() -> String {
    let vps = example("vps.toml");
    let (before, rest) = vps.split_once("[service.dns]").expect("its services");
    let (_, after) = rest.split_once("[policy.backup-default]").expect("then its policy");
    let services = "[service.dns]\naddresses = [\"192.0.2.53\", \"2001:db8:ac::53\"]\n\
                    builtin = \"whoami\"\nhttp-port = 0\n\
                    [service.web]\naddresses = [\"192.0.2.80\", \"2001:db8:ac::80\"]\n\
                    builtin = \"whoami\"\ndns-port = 0\n";
    format!("{before}{services}[policy.backup-default]{after}")
}

fn a_fleet_of_ones_own_comes_up(user: User) {
    let desk = Desk::new(user);
    let fleet = desk.write("vps.toml", hobby_network());
    desk.write("secrets/ams-host", "a secret of the host's\n");
    let Some(lab) = desk.lab(&[&fleet]) else { return };
    // Its neighbor's number is in no world.
    assert!(lab.process.said("note: AS 64512 is in the fleet file but not"));
    until("everybody is answered by one of both sites", SETTLED, || {
        let now = lab.catchment();
        let sites: BTreeSet<_> = now.values().map(Option::as_deref).collect();
        if sites == BTreeSet::from([Some("ams"), Some("sgp")]) { Ok(()) } else { Err(now) }
    });
}

fn a_site_that_cannot_start_is_told_with_its_own_words(user: User) {
    let desk = Desk::new(user);
    let fleet = desk.write("vps.toml", hobby_network());
    let begin = Instant::now();
    let output = desk.run(&["lab", &fleet, "--once"]);
    if output.refused() {
        return;
    }
    output.failed_with(2, &["ams: its daemon ended", "cannot read the password file", "ams-host"]);
    assert!(begin.elapsed() < Duration::from_secs(20), "it does not wait for the clients");
}

#[test]
fn a_bad_world_or_fleet_is_shown_as_check_shows_it() {
    let desk = Desk::new(User::Ordinary);
    desk.write("fleet.toml", FLEET);
    desk.write("world.toml", WORLD);
    desk.write("bad-fleet.toml", FLEET.replace("stop-wait", "stop-weight"));
    let bad = WORLD.replace("hold-time", "hold-tome").replace("providers = [\"left\"]", "");
    desk.write("bad-world.toml", bad.replace("as = \"others\"", "as = \"otters\""));
    for (arguments, words) in [
        (
            &["fleet.toml", "--world", "bad-world.toml"][..],
            &["[bad-world.toml:5:1]", "hold-tome", "otters", "help: "][..],
        ),
        (&["bad-fleet.toml", "--world", "world.toml"], &["[bad-fleet.toml:18:1]", "stop-wait"]),
        (&["fleet.toml", "--world", "nowhere.toml"], &["cannot read nowhere.toml"]),
        (&["nowhere.toml"], &["cannot read nowhere.toml"]),
        (&["world.toml", "--world", "fleet.toml"], &["[world.toml:", "unknown section"]),
    ] {
        desk.run(&[&["lab"], arguments].concat()).failed_with(2, words);
    }
}

#[test]
fn a_bad_scenario_is_refused_with_the_line_of_its_step() {
    let desk = Desk::new(User::Ordinary);
    for (content, words) in [
        ("name = 'x'\n\n[[step]]\nexplode = 'fra'\n", &["line 4", "explode"][..]),
        ("name = 'x'\n[[step]]\nwait = '5'\n", &["line 2", "a number and a unit"]),
        ("name = 'x'\n[[step]]\nexpect-site = { client = 'a' }\n", &["line 3", "site"]),
        ("name = ", &["line 1"]),
        ("[[step]]\nwait = '1s'\n", &["name"]),
    ] {
        desk.write("scenario.toml", content);
        let output = desk.run(&["lab", "run", "scenario.toml"]);
        output.failed_with(2, &["anycast: scenario.toml: "]);
        output.failed_with(2, words);
    }
    desk.run(&["lab", "run", "tuor"]).failed_with(2, &["cannot read the scenario tuor", "`tour`"]);
}

const SCENARIO: &str = r#"
name = "Half of it is true"
fleet = "fleet.toml"
world = "world.toml"

[[step]]
expect-site = { client = "paris", site = "fra", within = "20s" }
[[step]]
stop = "fra"
[[step]]
expect-empty = { site = "fra", within = "20s" }
[[step]]
expect-site = { client = "toronto", site = "fra", within = "300ms" }
[[step]]
start = "fra"
[[step]]
expect-site = { client = "paris", site = "fra", within = "20s" }
"#;

fn a_failed_expectation_fails_the_scenario(user: User) {
    let desk = Desk::new(user);
    // Files are named from the folder of the scenario.
    desk.write("there/fleet.toml", FLEET);
    desk.write("there/world.toml", WORLD);
    let scenario = desk.write("there/scenario.toml", SCENARIO);
    let output = desk.run(&["lab", "run", &scenario]);
    if output.refused() {
        return;
    }
    assert_eq!(output.code, Some(1), "{output:?}");
    let failed: Vec<&str> = output.out.lines().filter(|line| line.starts_with('✗')).collect();
    assert!(
        matches!(failed[..], [line] if line.contains("toronto is answered by fra within 300 ms")),
        "{}",
        output.out,
    );
    assert!(output.out.contains("toronto is answered by nyc (waited 300 ms)"), "{}", output.out);
    let end = output.out.trim_end().lines().next_back().expect("a summary");
    assert!(end.contains("3 expectations held, 1 steps failed"), "{end}");

    let output = desk.run(&["lab", "run", &scenario, "--json"]);
    assert_eq!(output.code, Some(1), "{output:?}");
    let report: Value = serde_json::from_str(&output.out).expect("JSON and nothing else");
    let outcomes: Vec<&str> = report["steps"]
        .as_array()
        .expect("a list")
        .iter()
        .map(|step| step["outcome"].as_str().expect("a word"))
        .collect();
    assert_eq!(outcomes, ["held", "done", "held", "failed", "done", "held"]);

    // What cannot be done ends it.
    let impossible = SCENARIO.replace("stop = \"fra\"", "stop = \"frra\"");
    let scenario = desk.write("there/impossible.toml", impossible);
    let output = desk.run(&["lab", "run", &scenario]);
    assert_eq!(output.code, Some(1), "{output:?}");
    assert!(output.out.contains("cannot be done: there is no node called frra"), "{output:?}");

    // While it runs it can be looked at, and a signal ends it.
    let waiting = format!("{SCENARIO}\n[[step]]\nwait = \"5m\"\n");
    let scenario = desk.write("there/waiting.toml", waiting);
    let run = Process::start(desk.anycast(&["lab", "run", &scenario]));
    until("the scenario is under way", SETTLED, || {
        if run.said("✓") { Ok(()) } else { Err(run.words()) }
    });
    send(run.pid, Signal::SIGINT);
    let begin = Instant::now();
    assert_eq!(run.wait().code(), Some(130));
    assert!(begin.elapsed() < Duration::from_secs(5), "it ends when told to");
}

fn the_tour_holds(user: User) {
    let desk = Desk::new(user);
    let output = desk.run(&["lab", "run", "tour"]);
    if output.refused() {
        return;
    }
    assert_eq!(output.code, Some(0), "{}\n{}", output.out, output.err);
    assert!(output.out.contains("6. The weakness"), "{}", output.out);
    // By the kernel's programs or by the stand-in, and never skipped.
    assert!(output.out.contains("✓ the connection survived"), "{}", output.out);
    assert!(!output.out.contains("skipped"), "{}", output.out);
    assert!(output.out.contains(" 0 steps failed"), "{}", output.out);
}

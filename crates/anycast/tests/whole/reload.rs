//! A fleet file that changes under a running daemon: what its neighbors notice, and what they do
//! not.

use std::time::Duration;

use nix::sys::signal::Signal;
use serde_json::Value;

use crate::lab::{AT_HOME, FLEET, WORLD};
use crate::program::{Desk, Lab, Output, SETTLED, User, as_each_user, installed, send, until};
use crate::site::{Daemon, kinds, lab_without_fra};

as_each_user! {
    bird_sees_just_the_difference_and_keeps_its_session
    what_is_not_confirmed_is_undone_and_what_is_stays
    what_nobody_confirmed_does_not_outlive_the_daemon
    a_file_that_is_wrong_changes_nothing
    a_neighbor_goes_and_comes_and_the_other_does_not_notice
    services_come_and_go_and_a_check_that_changes_withdraws_nothing
    a_scenario_sees_clients_leave_and_come_back_as_a_reload_is_undone
}

/// The line after which the settings of fra's session with left stand.
const LEFT: &str = "next-hop-v6 = \"2001:db8:ffff:0::1\"\n";

fn anycast(daemon: &Daemon<'_, '_>, arguments: &[&str]) -> Output {
    daemon.lab.exec("fra", &[&["anycast"], arguments].concat())
}

/// The fleet with more settings of fra's session with left.
fn with_left(settings: &str) -> String {
    assert_eq!(FLEET.matches(LEFT).count(), 1);
    FLEET.replace(LEFT, &format!("{LEFT}{settings}\n"))
}

fn reloads(daemon: &Daemon<'_, '_>, arguments: &[&str]) -> String {
    let done = anycast(daemon, &[&["reload"], arguments].concat());
    assert_eq!(done.code, Some(0), "{done:?} {}", daemon.process.words());
    done.out
}

fn neighbor(daemon: &Daemon<'_, '_>, name: &str) -> Value {
    daemon.show(&["neighbors", name, "--json"]).json()
}

fn events(daemon: &Daemon<'_, '_>) -> Value {
    daemon.show(&["events", "--json"]).json()
}

/// BIRD, which is the router called left.
pub(crate) struct Bird<'l, 'd>(pub(crate) &'l Lab<'d>);

impl Bird<'_, '_> {
    fn ask(&self, question: &str) -> String {
        let script = format!(
            "for p in /proc/[0-9]*; do tr '\\0' '\\n' <$p/cmdline; done 2>/dev/null \
             | grep -m1 bird.ctl$ | {{ read -r socket && birdc -s $socket {question}; }}"
        );
        self.0.exec("left", &["sh", "-c", &script]).out
    }

    /// The MED of the site's route, as BIRD has it from fra.
    fn med(&self) -> Option<u32> {
        let routes = self.ask("show route all 192.0.2.0/24");
        let med = routes.split("BGP.med: ").nth(1)?;
        med.split_whitespace().next()?.parse().ok()
    }

    pub(crate) fn hears(&self, med: Option<u32>) {
        until(&format!("BIRD hears MED {med:?}"), SETTLED, || {
            if self.med() == med { Ok(()) } else { Err(self.ask("show route all 192.0.2.0/24")) }
        });
    }

    /// How many withdrawals came on all sessions.
    pub(crate) fn withdrawn(&self) -> u32 {
        let all = self.ask("show protocols all");
        let lines = all.lines().filter_map(|it| it.trim().strip_prefix("Import withdraws:"));
        lines.filter_map(|it| it.split_whitespace().next()?.parse::<u32>().ok()).sum()
    }

    /// Since when the session with fra is up, and how many UPDATEs of routes came on it.
    pub(crate) fn session(&self) -> (Since, u32) {
        let all = self.ask("show protocols all");
        let is_fra = |line: &str| {
            let address = line.trim().strip_prefix("Neighbor address:");
            address.is_some_and(|it| it.trim() == "198.51.100.1")
        };
        let from_fra = all.split("\n\n").find(|it| it.lines().any(is_fra));
        let text = from_fra.unwrap_or_else(|| panic!("no session with fra: {all}"));
        let since = Since::read(text.lines().next().expect("a line"));
        let updates = text.lines().filter_map(|line| line.trim().strip_prefix("Import updates:"));
        let received = updates.map(|counts| {
            let first = counts.split_whitespace().next().expect("a number");
            first.parse::<u32>().expect("a number")
        });
        (since, received.sum())
    }
}

/// Since when a session is up, and what BIRD says of it beside that.
#[derive(Clone, Debug)]
pub(crate) struct Since {
    milliseconds: u32,
    words: Vec<String>,
}

impl Since {
    fn read(line: &str) -> Self {
        let mut words: Vec<String> = line.split_whitespace().map(String::from).collect();
        let at = words.iter().position(|it| it.matches(':').count() == 2);
        let time = words.remove(at.unwrap_or_else(|| panic!("no time of day: {line}")));
        let milliseconds = time
            .split([':', '.'])
            .zip([3_600_000, 60_000, 1000, 1])
            .map(|(part, unit)| part.parse::<u32>().expect("digits") * unit)
            .sum();
        Self { milliseconds, words }
    }
}

/// BIRD works out the time of day anew each time, and is a millisecond off now and then.
impl PartialEq for Since {
    fn eq(&self, other: &Self) -> bool {
        self.milliseconds.abs_diff(other.milliseconds) < 100 && self.words == other.words
    }
}

/// The small lab with BIRD for left and nobody at fra.
pub(crate) fn lab_with_bird<'d>(desk: &'d Desk, fleet: &str) -> Option<Lab<'d>> {
    desk.write("world.toml", WORLD.replace("[as.left]\n", "[as.left]\nrouter = \"bird\"\n"));
    desk.write("fleet.toml", fleet);
    let lab = desk.lab(&["fleet.toml", "--world", "world.toml"])?;
    lab.settles("everybody is at home", AT_HOME);
    lab.does(&["stop", "fra"]);
    lab.settles("the lab's own daemon is gone", &[("paris", "nyc"), ("toronto", "nyc")]);
    Some(lab)
}

fn bird_sees_just_the_difference_and_keeps_its_session(user: User) {
    if !installed(&["bird", "birdc"]) {
        return;
    }
    let desk = Desk::new(user);
    let Some(lab) = lab_with_bird(&desk, FLEET) else { return };
    desk.write("mine.toml", FLEET);
    let daemon = Daemon::start(&lab, "mine.toml");
    daemon.announces();
    let bird = Bird(&lab);
    bird.hears(None);
    let (since, updates) = bird.session();
    let before = neighbor(&daemon, "left");

    assert!(reloads(&daemon, &[]).ends_with("says what is in force already\n"));
    desk.write("mine.toml", with_left("med = 7"));
    let words = reloads(&daemon, &["--dry-run"]);
    let wanted = [
        "neighbor left changes; its session stays",
        "    med none → 7",
        "    it hears 192.0.2.0/24 otherwise: AS path 64500, MED 7; before AS path 64500",
        "    it hears 2001:db8:ac::/48 otherwise: AS path 64500, MED 7; before AS path 64500",
    ];
    assert_eq!(words.lines().take(4).collect::<Vec<_>>(), wanted, "{words}");
    assert!(words.ends_with("nothing was done (--dry-run)\n"), "{words}");
    assert_eq!(bird.med(), None);

    let words = reloads(&daemon, &[]);
    assert!(words.starts_with(wanted[0]) && words.ends_with("in force\n"), "{words}");
    bird.hears(Some(7));
    until("and of both prefixes", SETTLED, || {
        let now = bird.session();
        if now == (since.clone(), updates + 2) {
            Ok(())
        } else {
            Err((now, since.clone(), updates))
        }
    });

    desk.write("mine.toml", with_left("med = 8"));
    send(daemon.pid(), Signal::SIGHUP);
    bird.hears(Some(8));
    let after = neighbor(&daemon, "left");
    assert_eq!(after["counters"]["established"], 1);
    let up = |row: &Value| row["since_seconds"].as_f64().expect("a number");
    assert!(up(&after) > up(&before), "the session is the same");
    let told = events(&daemon);
    let kinds = kinds(&told);
    assert_eq!(kinds.iter().filter(|kind| **kind == "reload").count(), 2, "{told:#}");
    assert!(!kinds.contains(&"neighbor-down") && !kinds.contains(&"withdraw"), "{told:#}");
}

fn what_is_not_confirmed_is_undone_and_what_is_stays(user: User) {
    let desk = Desk::new(user);
    desk.write("mine.toml", FLEET);
    let Some(lab) = lab_without_fra(&desk) else { return };
    let daemon = Daemon::start(&lab, "mine.toml");
    daemon.announces();
    anycast(&daemon, &["confirm"]).failed_with(2, &["no reload waits"]);
    anycast(&daemon, &["rollback"]).failed_with(2, &["there was no reload"]);
    let med = || {
        let routes = daemon.show(&["routes", "--advertised", "left", "--json"]).json();
        routes[0]["med"].as_u64()
    };

    desk.write("mine.toml", with_left("med = 7"));
    let words = reloads(&daemon, &["--confirm-within", "4s"]);
    assert!(words.contains("undone in 4 s unless `anycast confirm`"), "{words}");
    let sites = daemon.show(&["sites"]).out;
    assert!(sites.contains("a reload waits for `anycast confirm`"), "{sites}");
    let status = anycast(&daemon, &["status"]).out;
    assert!(status.contains("a reload waits for `anycast confirm`"), "{status}");
    let again = anycast(&daemon, &["reload"]);
    again.failed_with(2, &["a reload waits for `anycast confirm`", "comes first"]);
    until("it is undone by itself", SETTLED, || match med() {
        None => Ok(()),
        other => Err((other, daemon.process.words())),
    });
    let sites = daemon.show(&["sites"]).out;
    assert!(sites.contains("mine.toml is not in force: it was not confirmed in time"), "{sites}");
    let told = events(&daemon);
    assert!(kinds(&told).contains(&"rollback"), "{told:#}");
    assert!(!kinds(&told).contains(&"neighbor-down"), "{told:#}");

    reloads(&daemon, &["--confirm-within", "4s"]);
    let words = anycast(&daemon, &["confirm"]).out;
    assert_eq!(words, "confirmed: it stays in force\n");
    std::thread::sleep(Duration::from_secs(5));
    assert_eq!(med(), Some(7));
    assert!(!daemon.show(&["sites"]).out.contains("in force"));

    let words = anycast(&daemon, &["rollback"]).out;
    assert!(words.starts_with("taken back (1 change)"), "{words}");
    assert_eq!(med(), None);
    let sites = daemon.show(&["sites"]).out;
    assert!(sites.contains("mine.toml is not in force: an operator took it back"), "{sites}");
}

/// The MED that left is told.
fn told_med(daemon: &Daemon<'_, '_>) -> Option<u64> {
    let routes = daemon.show(&["routes", "--advertised", "left", "--json"]).json();
    routes[0]["med"].as_u64()
}

fn what_nobody_confirmed_does_not_outlive_the_daemon(user: User) {
    let desk = Desk::new(user);
    desk.write("mine.toml", FLEET);
    let Some(lab) = lab_without_fra(&desk) else { return };
    let start = || {
        let daemon = Daemon::start(&lab, "mine.toml");
        daemon.announces();
        daemon
    };
    let end = |daemon: Daemon<'_, '_>, signal: Signal| {
        send(daemon.pid(), signal);
        daemon.process.wait();
    };
    let daemon = start();
    desk.write("mine.toml", with_left("med = 7"));
    reloads(&daemon, &["--confirm-within", "1h"]);
    assert_eq!(told_med(&daemon), Some(7));
    end(daemon, Signal::SIGKILL);

    // Killed or stopped, once or twice: what was confirmed is in force.
    for signal in [Signal::SIGKILL, Signal::SIGTERM] {
        let daemon = start();
        assert_eq!(told_med(&daemon), None);
        let warning = "mine.toml is not in force: the daemon ended before it was confirmed";
        for shown in [daemon.show(&["sites"]).out, anycast(&daemon, &["status"]).out] {
            assert!(shown.contains(warning), "{shown}");
        }
        let told = events(&daemon);
        let told = told.as_array().expect("a list");
        let last = told.iter().rev().find(|it| it["kind"] == "start" || it["kind"] == "rollback");
        assert_eq!(last.expect("it started")["kind"], "rollback", "{told:#?}");
        for order in ["confirm", "rollback"] {
            anycast(&daemon, &[order]).failed_with(2, &["no reload", warning]);
        }
        end(daemon, signal);
    }

    // Ordered again and confirmed, it stays.
    let daemon = start();
    let words = reloads(&daemon, &["--confirm-within", "1h"]);
    assert!(words.contains("    med none → 7\n"), "{words}");
    assert_eq!(anycast(&daemon, &["confirm"]).out, "confirmed: it stays in force\n");
    end(daemon, Signal::SIGKILL);
    let daemon = start();
    assert_eq!(told_med(&daemon), Some(7));
    assert!(!daemon.show(&["sites"]).out.contains("in force"));

    // What an operator took back stays taken back until the file changes.
    desk.write("mine.toml", with_left("med = 8"));
    reloads(&daemon, &[]);
    // In other words, too.
    desk.write("mine.toml", with_left("med = 8") + "\n# As agreed.\n");
    let words = "says what is in force already";
    assert!(reloads(&daemon, &[]).contains(words));
    anycast(&daemon, &["rollback"]);
    end(daemon, Signal::SIGTERM);
    let daemon = start();
    assert_eq!(told_med(&daemon), Some(7));
    let sites = daemon.show(&["sites"]).out;
    assert!(sites.contains("mine.toml is not in force: an operator took it back"), "{sites}");
    end(daemon, Signal::SIGTERM);
    desk.write("mine.toml", with_left("med = 9"));
    let daemon = start();
    assert_eq!(told_med(&daemon), Some(9));
    assert!(!daemon.show(&["sites"]).out.contains("in force"));

    // A daemon that cannot start, as there is one, has changed nothing of it.
    desk.write("mine.toml", with_left("med = 10"));
    reloads(&daemon, &["--confirm-within", "1h"]);
    let kept = ["cat", "/run/anycast/test/fra/confirmed-fleet.json"];
    let before = lab.exec("fra", &kept);
    assert_eq!(before.code, Some(0), "{before:?}");
    let second = Daemon::start(&lab, "mine.toml");
    until("a second daemon finds the first", SETTLED, || {
        if second.process.ended() { Ok(()) } else { Err(second.process.words()) }
    });
    assert_eq!(lab.exec("fra", &kept).out, before.out);
    anycast(&daemon, &["confirm"]);

    // Where nothing can be kept it says so.
    let script = "rm -r /run/anycast/test && touch /run/anycast/test";
    assert_eq!(lab.exec("fra", &["sh", "-c", script]).code, Some(0));
    desk.write("mine.toml", FLEET);
    let done = anycast(&daemon, &["reload", "--confirm-within", "1h"]);
    assert_eq!(done.code, Some(0), "{done:?}");
    assert!(done.err.contains("it cannot be written down in the state folder"), "{done:?}");
    assert!(kinds(&events(&daemon)).contains(&"reload-not-kept"));
}

fn a_file_that_is_wrong_changes_nothing(user: User) {
    let desk = Desk::new(user);
    desk.write("mine.toml", FLEET);
    let Some(lab) = lab_without_fra(&desk) else { return };
    let daemon = Daemon::start(&lab, "mine.toml");
    daemon.announces();
    let path = desk.path("mine.toml").display().to_string();

    desk.write("mine.toml", with_left("medd = 7"));
    let checked = anycast(&daemon, &["check", &path]);
    let refused = anycast(&daemon, &["reload"]);
    refused.failed_with(2, &["Did you mean `med`?", "has 1 error", "nothing has changed"]);
    let problems = checked.out.rsplit_once("\n\n").expect("a summary behind").0;
    assert!(refused.err.starts_with(problems), "as `check` has it: {refused:?} {checked:?}");

    desk.write("mine.toml", FLEET.replace("[site.fra]\n", "[site.fra]\nbgp-port = 1790\n"));
    let refused = anycast(&daemon, &["reload"]);
    refused.failed_with(2, &["[site.fra] bgp-port 179 → 1790", "start the daemon again"]);

    // A secret that is not there, and an address that the new looking glass cannot have: found out
    // before anything is done.
    desk.write("mine.toml", with_left("password-file = \"none\""));
    anycast(&daemon, &["reload"]).failed_with(2, &["neighbor left", "password file"]);
    let glass = "[site.fra.looking-glass]\nlisten = \"203.0.113.99:8080\"\n";
    desk.write("mine.toml", format!("{FLEET}\n{glass}"));
    anycast(&daemon, &["reload"]).failed_with(2, &["cannot listen for the looking glass"]);

    // An interface that is not there: the neighbor that came before it is put back.
    let without = FLEET.replace("[site.fra.neighbor.right]", "[site.fra.neighbor.other]");
    let broken = without.replace(LEFT, &format!("{LEFT}interface = \"no-such-one\"\n"));
    desk.write("mine.toml", broken);
    anycast(&daemon, &["reload"]).failed_with(2, &["neighbor left", "nothing has changed"]);
    daemon.announces();
    let names = daemon.show(&["neighbors", "--json"]).json();
    let names: Vec<&str> =
        names.as_array().expect("a list").iter().filter_map(|it| it["name"].as_str()).collect();
    assert!(names.contains(&"left") && names.contains(&"right"), "{names:?}");
    let report = anycast(&daemon, &["reload", "--dry-run", "--json"]).json();
    assert_eq!(report["outcome"], "would-change", "{report:#}");
}

fn a_neighbor_goes_and_comes_and_the_other_does_not_notice(user: User) {
    let desk = Desk::new(user);
    desk.write("mine.toml", FLEET);
    let Some(lab) = lab_without_fra(&desk) else { return };
    let daemon = Daemon::start(&lab, "mine.toml");
    daemon.announces();
    let messages = |row: &Value| row["counters"]["updates_out"].as_u64().expect("a number");
    let before = neighbor(&daemon, "left");

    let at = FLEET.find("[site.fra.neighbor.right]").expect("it is there");
    let end = at + FLEET[at..].find("[site.nyc]").expect("it is there");
    desk.write("mine.toml", [&FLEET[..at], &FLEET[end..]].concat());
    let words = reloads(&daemon, &[]);
    assert!(words.contains("neighbor right is removed"), "{words}");
    lab.settles("paris is still at home", &[("paris", "fra"), ("toronto", "nyc")]);
    assert_eq!(daemon.show(&["neighbors", "--json"]).json().as_array().map(Vec::len), Some(1));
    let told = events(&daemon);
    let down = told.as_array().expect("a list").iter().find(|it| it["kind"] == "neighbor-down");
    assert_eq!(down.expect("it went down")["subject"], "right");

    // Whatever left heard for it, it heard of another route through right.
    desk.write("mine.toml", FLEET);
    let words = reloads(&daemon, &[]);
    assert!(words.contains("neighbor right is added: a session is made"), "{words}");
    daemon.announces();
    let after = neighbor(&daemon, "left");
    assert_eq!(after["counters"]["established"], 1);
    assert_eq!(messages(&after), messages(&before), "nothing was said to left");
    lab.does(&["stop", "nyc"]);
    lab.settles("right hears fra again", &[("paris", "fra"), ("toronto", "fra")]);
}

fn services_come_and_go_and_a_check_that_changes_withdraws_nothing(user: User) {
    let desk = Desk::new(user);
    let patient = FLEET.replace("stop-wait = \"10ms\"", "stop-wait = \"3s\"");
    desk.write("mine.toml", &patient);
    let Some(lab) = lab_without_fra(&desk) else { return };
    let daemon = Daemon::start(&lab, "mine.toml");
    daemon.announces();
    let pid = || daemon.show(&["services", "--json"]).json()["services"][0]["pid"].as_u64();
    let first = pid();

    // A check of the service's own, and then another interval for it.
    let check = |interval: &str| {
        format!(
            "builtin = \"whoami\"\n[[service.whoami.check]]\nname = \"port\"\ntype = \"tcp\"\n\
             port = 80\ninterval = \"{interval}\"\ntimeout = \"200ms\"\n"
        )
    };
    for interval in ["1s", "300ms"] {
        desk.write("mine.toml", patient.replace("builtin = \"whoami\"\n", &check(interval)));
        let words = reloads(&daemon, &[]);
        assert!(words.contains("of service whoami"), "{words}");
    }
    let row = daemon.show(&["services", "--json"]).json();
    until("the check has passed", SETTLED, || {
        let row = daemon.show(&["services", "--json"]).json();
        let checks = row["services"][0]["checks"].as_array().expect("a list");
        if checks.iter().all(|it| it["state"] == "up") { Ok(()) } else { Err(row.clone()) }
    });
    assert_eq!(pid(), first, "the process is the same: {row:#}");
    assert!(!kinds(&events(&daemon)).contains(&"withdraw"));

    // Another service with a prefix of its own, before the one that there is.
    let more = "[prefix.\"2001:db8:ad::/48\"]\nservices = [\"another\"]\n\
                [service.another]\naddresses = [\"2001:db8:ad::1\"]\nbuiltin = \"whoami\"\n";
    let more =
        patient.replace("[prefix.\"192.0.2.0/24\"]", &format!("{more}\n[prefix.\"192.0.2.0/24\"]"));
    desk.write("mine.toml", &more);
    let words = reloads(&daemon, &[]);
    for line in [
        "    it hears 2001:db8:ad::/48: AS path 64500",
        "prefix 2001:db8:ad::/48 is added",
        "address 2001:db8:ad::1 is put on the loopback interface",
        "check port 192.0.2.1 of service whoami is removed",
    ] {
        assert!(words.contains(line), "{line}: {words}");
    }
    until("it is announced", SETTLED, || {
        let services = daemon.show(&["services", "--json"]).json();
        let prefixes = services["prefixes"].as_array().expect("a list");
        if prefixes.iter().all(|it| it["announced"] == true) {
            Ok(())
        } else {
            Err(services.clone())
        }
    });
    assert_eq!(lab.ask_http("paris", "2001:db8:ad::1").as_deref(), Some("fra"));
    assert_eq!(lab.ask_http("paris", "192.0.2.1").as_deref(), Some("fra"));

    // It goes: first the announcement, then, after stop-wait, the address and the process.
    desk.write("mine.toml", &patient);
    reloads(&daemon, &[]);
    let shown = daemon.show(&["routes", "--advertised", "left", "--json"]).out;
    assert!(!shown.contains("2001:db8:ad::/48"), "{shown}");
    assert_eq!(lab.ask_http("fra", "2001:db8:ad::1").as_deref(), Some("fra"), "it serves on");
    until("it serves no longer", SETTLED, || {
        let there = lab.exec("fra", &["cat", "/proc/net/if_inet6"]).out;
        if there.contains("20010db800ad") { Err(there) } else { Ok(()) }
    });
    let told = events(&daemon);
    let withdrawn = told.as_array().expect("a list").iter().filter(|it| it["kind"] == "withdraw");
    let subjects: Vec<_> = withdrawn.map(|it| it["subject"].clone()).collect();
    assert_eq!(subjects, ["2001:db8:ad::/48"], "{told:#}");
    assert_eq!(pid(), daemon.show(&["services", "--json"]).json()["services"][0]["pid"].as_u64());
    daemon.process.signal(Signal::SIGTERM);
    assert_eq!(daemon.process.wait().code(), Some(0), "{}", daemon.process.words());
}

fn a_scenario_sees_clients_leave_and_come_back_as_a_reload_is_undone(user: User) {
    let desk = Desk::new(user);
    let scenario = include_str!("../../../../examples/reload-scenario.toml");
    let path = desk.write("reload-scenario.toml", scenario);
    let output = desk.run(&["lab", "run", &path]);
    if output.refused() {
        return;
    }
    assert_eq!(output.code, Some(0), "{}\n{}", output.out, output.err);
    for words in [
        "· nrt reloads, to be confirmed within 5 s",
        "    neighbor transit-a changes; its session stays",
        "· nrt's reload is confirmed",
        "    taken back (2 changes)",
    ] {
        assert!(output.out.contains(words), "{words}: {}", output.out);
    }
    // What cannot be done ends a scenario.
    desk.write("fleet.toml", FLEET);
    desk.write("world.toml", WORLD);
    for (edit, words) in [
        ("{ replace = 'no such text', with = '' }", "has no \"no such text\" to replace"),
        (
            "{ replace = 'next-hop-v6 = \"2001:db8:ffff:0::1\"', with = 'medd = 7' }",
            "Did you mean `med`?",
        ),
    ] {
        let step = format!("[[step]]\nreload = {{ site = 'fra', edit = [{edit}] }}\n");
        let text = format!("name = 'one'\nfleet = 'fleet.toml'\nworld = 'world.toml'\n{step}");
        let output = desk.run(&["lab", "run", &desk.write("one.toml", text)]);
        assert_eq!(output.code, Some(1), "{output:?}");
        let refused = output.out.contains("cannot be done: site fra: ");
        assert!(refused && output.out.contains(words), "{output:?}");
    }
}

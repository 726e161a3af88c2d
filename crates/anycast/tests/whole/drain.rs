//! Draining a running site: what neighbors and clients see of it, and what outlives the daemon.

use nix::sys::signal::Signal;
use serde_json::Value;

use crate::lab::FLEET;
use crate::program::{Desk, Output, SETTLED, User, as_each_user, send, until};
use crate::site::{Daemon, kinds, lab_without_fra};

as_each_user! {
    a_drained_site_leads_traffic_away_withdraws_and_serves_on
    a_drain_outlives_the_daemon_and_ends_at_its_time
    a_site_may_start_drained
    one_neighbor_is_drained_and_what_is_not_there_is_not
    a_site_is_drained_under_load_and_no_answer_is_lost
    a_scenario_sees_whether_a_drain_is_over
    overload_sheds_a_step_and_takes_it_back
    a_number_that_a_check_prints_is_a_load
}

/// A fleet that waits so long for traffic to go.
fn waits(desk: &Desk, wait: &str) -> String {
    desk.write("drain.toml", format!("{FLEET}\n[drain]\nwait = \"{wait}\"\n"));
    "drain.toml".to_owned()
}

fn tell(daemon: &Daemon<'_, '_>, words: &[&str]) -> Output {
    daemon.lab.exec("fra", &[&["anycast"], words].concat())
}

fn does(daemon: &Daemon<'_, '_>, words: &[&str]) -> String {
    let output = tell(daemon, words);
    assert_eq!((output.code, output.err.as_str()), (Some(0), ""), "{words:?}: {output:?}");
    output.out
}

fn drains(daemon: &Daemon<'_, '_>) -> Value {
    daemon.show(&["drains", "--json"]).json()
}

/// Both sessions are up, and nothing is announced in them.
fn is_silent(daemon: &Daemon<'_, '_>) {
    until("both sessions are up", SETTLED, || {
        let rows = daemon.show(&["neighbors", "--json"]).out;
        let up = rows.matches("\"Established\"").count();
        if up == 2 { Ok(()) } else { Err((rows, daemon.process.words())) }
    });
    until("the service is up", SETTLED, || {
        let rows = daemon.show(&["services", "--json"]).json();
        if rows["services"][0]["state"] == "up" { Ok(()) } else { Err(rows) }
    });
    let rows = daemon.show(&["neighbors", "--json"]).json();
    let told: Vec<_> =
        rows.as_array().expect("a list").iter().map(|it| &it["advertised"]).collect();
    assert_eq!(told, [0, 0], "{rows}");
    daemon.lab.settles("fra is silent", &[("paris", "nyc"), ("toronto", "nyc")]);
}

fn events(daemon: &Daemon<'_, '_>) -> Value {
    daemon.show(&["events", "--json"]).json()
}

fn a_drained_site_leads_traffic_away_withdraws_and_serves_on(user: User) {
    let desk = Desk::new(user);
    let fleet = waits(&desk, "2s");
    let Some(lab) = lab_without_fra(&desk) else { return };
    let daemon = Daemon::start(&lab, &fleet);
    daemon.announces();
    let said = does(&daemon, &["drain", "fra", "--reason", "new disks", "--wait"]);
    assert!(said.starts_with("the site is being left: announced as the last choice"), "{said}");
    let last = said.lines().last().unwrap_or_default();
    assert!(last.starts_with("the site is drained") && last.contains("; it took "), "{said}");
    is_silent(&daemon);
    assert_eq!(lab.ask_http("fra", "192.0.2.1").as_deref(), Some("fra"), "it serves on");

    let events = events(&daemon);
    let list = events.as_array().expect("a list");
    let order = list.iter().position(|it| it["kind"] == "drain").expect("the order");
    assert_eq!(
        (&list[order]["by"], &list[order]["detail"]),
        (&"root".into(), &"new disks".into()),
        "{events:#}"
    );
    let after: Vec<&str> =
        kinds(&events)[order..].iter().copied().filter(|it| !it.starts_with("neighbor-")).collect();
    let wanted =
        ["drain", "leaving", "adjust", "adjust", "withdrawing", "withdraw", "withdraw", "drained"];
    assert_eq!(after, wanted, "{events:#}");
    let adjusted = list[order..].iter().find(|it| it["kind"] == "adjust").expect("one");
    let detail = adjusted["detail"].as_str().expect("words");
    assert!(detail.starts_with("with 3 prepends and community 65535:0: "), "{detail}");
    let report = list[order..].iter().find(|it| it["kind"] == "drained").expect("its end");
    let report = report["detail"].as_str().expect("words");
    assert!(report.starts_with("nothing is announced any more; "), "{report}");
    assert!(report.contains(" s after the order"), "{report}");
    for (table, words) in [
        (&["sites"][..], &["running, drained"][..]),
        (&["services"], &["an operator drains the site: new disks"]),
        (&["neighbors"], &["Established, drained"]),
        (&["neighbors", "left"], &["drained; `anycast show drains`"]),
        (&["drains"], &["site", "drained", "root", "new disks"]),
    ] {
        let shown = does(&daemon, &[&["show"], table].concat());
        for word in words {
            assert!(shown.contains(word), "{word} is not in {table:?}: {shown}");
        }
    }
    until("packets are counted", SETTLED, || {
        let row = drains(&daemon)[0].clone();
        if row["packets_per_second"].is_number() { Ok(()) } else { Err(row) }
    });
    assert_eq!(does(&daemon, &["undrain"]), "the site is drained no more\n");
    daemon.announces();
    assert_eq!(drains(&daemon), Value::Array(Vec::new()));
    let left = daemon.show(&["neighbors", "left", "--json"]).json();
    assert_eq!(left["counters"]["dropped"], 0, "no session was reset: {left}");
}

fn a_drain_outlives_the_daemon_and_ends_at_its_time(user: User) {
    let desk = Desk::new(user);
    let fleet = waits(&desk, "30s");
    let Some(lab) = lab_without_fra(&desk) else { return };
    let daemon = Daemon::start(&lab, &fleet);
    daemon.announces();
    let begun = does(&daemon, &["drain", "--reason", "new disks", "--json"]);
    let begun: Value = serde_json::from_str(&begun).expect("JSON");
    assert_eq!((&begun["stage"], &begun["kept"]), (&"leaving".into(), &true.into()), "{begun}");
    // Told and written down: a crash changes nothing.
    send(daemon.pid(), Signal::SIGKILL);
    daemon.process.wait();
    let daemon = Daemon::start(&lab, &fleet);
    is_silent(&daemon);
    let again = drains(&daemon)[0].clone();
    assert_eq!(
        (&again["target"], &again["stage"], &again["reason"], &again["by"]),
        (&"site".into(), &"drained".into(), &"new disks".into(), &"root".into())
    );
    let list = events(&daemon);
    let mut since = list.as_array().expect("a list").iter().rev();
    let started = since.find(|it| it["kind"] == "start").expect("the start").clone();
    let number = started["number"].to_string();
    let after = daemon.show(&["events", "--json", "--after", &number]).json();
    assert!(!kinds(&after).contains(&"announce"), "not for a moment: {after:#}");

    does(&daemon, &["undrain"]);
    daemon.announces();
    let drained = does(&daemon, &["drain", "--for", "15s", "--now", "--wait"]);
    assert!(drained.starts_with("the site is drained"), "{drained}");
    daemon.process.signal(Signal::SIGTERM);
    assert_eq!(daemon.process.wait().code(), Some(0), "{}", daemon.process.words());
    let daemon = Daemon::start(&lab, &fleet);
    daemon.announces();
    let ended = events(&daemon);
    let ended = ended.as_array().expect("a list").iter().rev();
    let ended = ended.clone().find(|it| it["kind"] == "undrained").expect("its end");
    let words = ended["detail"].as_str().expect("words");
    assert!(words.starts_with("its time "), "{words}");
    assert_eq!(drains(&daemon), Value::Array(Vec::new()));
}

fn a_site_may_start_drained(user: User) {
    let desk = Desk::new(user);
    let fleet = FLEET.replacen("stop-wait = ", "start-drained = true\nstop-wait = ", 1);
    assert_ne!(fleet, FLEET);
    desk.write("maintenance.toml", fleet);
    let Some(lab) = lab_without_fra(&desk) else { return };
    let daemon = Daemon::start(&lab, "maintenance.toml");
    is_silent(&daemon);
    assert_eq!(drains(&daemon)[0]["reason"], "start-drained in the fleet file");
    does(&daemon, &["undrain"]);
    daemon.announces();
    daemon.process.signal(Signal::SIGTERM);
    daemon.process.wait();

    let daemon = Daemon::start_with(&lab, "fleet.toml", &["--drained"]);
    is_silent(&daemon);
    assert_eq!(drains(&daemon)[0]["reason"], "started with --drained");
    daemon.process.signal(Signal::SIGTERM);
    daemon.process.wait();
    // It was for that start only.
    let daemon = Daemon::start(&lab, "fleet.toml");
    daemon.announces();
    daemon.process.signal(Signal::SIGTERM);
    daemon.process.wait();

    let spoil = "echo '{\"drains' > /run/anycast/test/fra/drains.json";
    assert_eq!(lab.exec("fra", &["sh", "-c", spoil]).code, Some(0));
    let daemon = Daemon::start(&lab, "fleet.toml");
    is_silent(&daemon);
    assert!(kinds(&events(&daemon)).contains(&"drains-unreadable"));
    assert!(daemon.process.said("the site starts drained"), "{}", daemon.process.words());
    does(&daemon, &["undrain", "--all"]);
    daemon.announces();
}

fn one_neighbor_is_drained_and_what_is_not_there_is_not(user: User) {
    let desk = Desk::new(user);
    let fleet = waits(&desk, "1s");
    let Some(lab) = lab_without_fra(&desk) else { return };
    let daemon = Daemon::start(&lab, &fleet);
    daemon.announces();
    let said = does(&daemon, &["drain", "left", "--wait"]);
    assert!(said.contains("neighbor left is drained"), "{said}");
    until("only left hears nothing", SETTLED, || {
        let rows = daemon.show(&["neighbors", "--json"]).json();
        let told = [&rows[0]["advertised"], &rows[1]["advertised"]];
        if told == [0, 2] { Ok(()) } else { Err(rows) }
    });
    for (words, answer) in [
        (&["drain", "lefft"][..], "nothing here is called lefft; there are the site fra, "),
        (&["drain", "service", "left"], "no service is called left; "),
        (&["drain", "nyc"], "nyc is another site, and this is fra"),
        (&["drain", "service"], "which service? there are "),
        (&["drain", "--for", "5"], "write it like 90s"),
        (&["drain", "--for", "0s"], "must be longer than zero"),
        (&["undrain"], "the site is not drained; what is: neighbor left"),
        (&["undrain", "left", "--all"], "cannot be used with"),
    ] {
        tell(&daemon, words).failed_with(2, &[answer]);
    }
    assert_eq!(
        does(&daemon, &["undrain", "neighbor", "left"]),
        "neighbor left is drained no more\n"
    );
    daemon.announces();
    let said = does(&daemon, &["drain", "service", "whoami", "--now"]);
    assert!(said.starts_with("service whoami is drained"), "{said}");
    is_silent(&daemon);
    assert!(does(&daemon, &["show", "services"]).contains("up, drained"));
    tell(&daemon, &["undrain"]).failed_with(2, &["what is: service whoami"]);
    does(&daemon, &["undrain", "whoami"]);
    daemon.announces();
}

fn a_site_is_drained_under_load_and_no_answer_is_lost(user: User) {
    let desk = Desk::new(user);
    let scenario = include_str!("../../../../examples/drain-scenario.toml");
    let scenario = desk.write("drain-scenario.toml", scenario);
    let output = desk.run(&["lab", "run", &scenario]);
    if output.refused() {
        return;
    }
    assert_eq!(output.code, Some(0), "{}\n{}", output.out, output.err);
    assert!(output.out.contains(" 0 steps failed"), "{}", output.out);
    let drained = "nrt is drained within 30 s";
    assert!(output.out.contains(drained), "{}", output.out);
    let mut lines = output.out.lines().filter_map(|it| it.trim().strip_suffix(" lost in all"));
    let (lost, asked) = lines.next().and_then(|it| it.split_once(" of ")).expect("the sum");
    assert_eq!(lost, "0", "{}", output.out);
    assert!(asked.parse::<usize>().is_ok_and(|it| it >= 10_000), "{}", output.out);
}

fn a_scenario_sees_whether_a_drain_is_over(user: User) {
    let desk = Desk::new(user);
    desk.write("fleet.toml", FLEET);
    desk.write("world.toml", crate::lab::WORLD);
    let text = "name = 'one'\nfleet = 'fleet.toml'\nworld = 'world.toml'\n\
                [[step]]\nexpect-drained = { site = 'fra', within = '1s' }\n\
                [[step]]\ndrain = 'fra'\n\
                [[step]]\nexpect-drained = { site = 'fra', within = '80s' }\n\
                [[step]]\nexpect-drained = { site = 'paris', within = '1s' }\n";
    let output = desk.run(&["lab", "run", &desk.write("one.toml", text)]);
    if output.refused() {
        return;
    }
    assert_eq!(output.code, Some(1), "{output:?}");
    for words in [
        "✗ fra is drained within 1 s",
        "    nobody drains fra (waited 1 s)",
        "✓ fra is drained within 80 s",
        "    fra is drained and announces nothing",
        "cannot be done: ",
    ] {
        assert!(output.out.contains(words), "{words}: {}", output.out);
    }
}

/// IPv4 heeds packets, IPv6 connections.
fn overload_sheds_a_step_and_takes_it_back(user: User) {
    let desk = Desk::new(user);
    let shed = |load: &str, above: u32| {
        format!(
            "shed = {{ load = \"{load}\", pause = \"1s\", \
             step = [{{ above = {above}, prepend = 2 }}] }}\n"
        )
    };
    let fleet = FLEET
        .replacen("[prefix.\"2001", &(shed("packets", 30) + "\n[prefix.\"2001"), 1)
        .replacen("[service.", &(shed("connections", 2) + "\n[service."), 1);
    desk.write("busy.toml", fleet);
    let Some(lab) = lab_without_fra(&desk) else { return };
    let daemon = Daemon::start(&lab, "busy.toml");
    daemon.announces();
    let sheds = |prefix: &str, words: &str| {
        until("the step is taken, or taken back", SETTLED, || {
            let events = events(&daemon);
            let list = events.as_array().expect("a list").iter();
            let mut its = list.filter(|it| it["kind"] == "shed" && it["subject"] == prefix);
            let found = its.any(|it| it["detail"].as_str().is_some_and(|it| it.ends_with(words)));
            if found { Ok(()) } else { Err((events, daemon.process.words())) }
        });
    };
    let clients: Vec<_> = (0..4).map(|_| lab.connect("paris", "2001:db8:ac::1", 80)).collect();
    sheds("2001:db8:ac::/48", "step 1 of 1");
    drop(clients);
    sheds("2001:db8:ac::/48", "step 0 of 1");

    let flood = ["ping", "-q", "-i", "0.01", "-c", "1000", "192.0.2.1"];
    let flood = crate::program::Process::start(lab.in_node("paris", &flood));
    sheds("192.0.2.0/24", "step 1 of 1");
    // It goes to the other site now.
    sheds("192.0.2.0/24", "step 0 of 1");
    drop(flood);

    assert!(does(&daemon, &["clear", "damping"]).starts_with("nothing was damped"));
    tell(&daemon, &["clear", "damping", "wohami"])
        .failed_with(2, &["no service or prefix is called wohami"]);
    assert!(kinds(&events(&daemon)).contains(&"clear-damping"));
}

fn a_number_that_a_check_prints_is_a_load(user: User) {
    let desk = Desk::new(user);
    let queue = desk.write("queue", "7 waiting\n3\n");
    let shed =
        "shed = { load = \"check queue\", pause = \"0s\", step = [{ above = 10, med = 9 }] }\n";
    let check = format!(
        "[[service.whoami.check]]\ntype = \"command\"\nname = \"queue\"\n\
         command = [\"/bin/cat\", \"{queue}\"]\ninterval = \"200ms\"\n\
         timeout = \"200ms\"\naddress = \"192.0.2.1\"\n\n"
    );
    let fleet = FLEET.replacen("[prefix.\"2001", &format!("{shed}\n[prefix.\"2001"), 1).replacen(
        "[site.",
        &format!("{check}[site."),
        1,
    );
    desk.write("queue.toml", fleet);
    let Some(lab) = lab_without_fra(&desk) else { return };
    let daemon = Daemon::start(&lab, "queue.toml");
    daemon.announces();
    let says = |words: &str| {
        until("the step is taken, or taken back", SETTLED, || {
            let events = events(&daemon);
            let found = events.to_string().contains(words);
            if found { Ok(()) } else { Err((events, daemon.process.words())) }
        });
    };
    desk.write("queue", "11\n");
    says("load check queue is 11; step 1 of 1");
    desk.write("queue", "none\n8\nnot a number\n");
    desk.write("queue", "2");
    says("load check queue is 2; step 0 of 1");
}

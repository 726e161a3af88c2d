//! What an operator sees and does with the BGP of a running site: one neighbor, the routes of each
//! table, and orders.

use nix::sys::signal::Signal;
use serde_json::Value;

use crate::lab::{AT_HOME, FLEET};
use crate::program::{Desk, Output, Process, SETTLED, User, as_each_user, send, until};
use crate::site::{Daemon, kinds, lab_without_fra};

as_each_user! {
    a_neighbor_is_disabled_and_enabled
    a_session_is_refreshed_and_reset
    each_table_of_routes_can_be_looked_at
    the_looking_glass_is_there_if_the_file_says_so
    why_a_built_in_service_does_not_start_is_among_the_events
}

fn tell(daemon: &Daemon<'_, '_>, order: &[&str]) -> Output {
    daemon.lab.exec("fra", &[&["anycast", "neighbor"], order].concat())
}

/// Everything of one neighbor.
fn neighbor(daemon: &Daemon<'_, '_>, name: &str) -> Value {
    daemon.show(&["neighbors", name, "--json"]).json()
}

fn events(daemon: &Daemon<'_, '_>) -> Value {
    daemon.show(&["events", "--json"]).json()
}

fn a_neighbor_is_disabled_and_enabled(user: User) {
    let desk = Desk::new(user);
    let Some(lab) = lab_without_fra(&desk) else { return };
    let daemon = Daemon::start(&lab, "fleet.toml");
    daemon.announces();

    let done = tell(&daemon, &["left", "disable", "--message", "back at noon"]);
    assert_eq!((done.code, done.out.as_str()), (Some(0), "left is disabled\n"), "{done:?}");
    // Now paris is nearer to nyc: left reaches fra through right only.
    lab.settles("left no longer hears it", &[("paris", "nyc"), ("toronto", "nyc")]);
    let left = neighbor(&daemon, "left");
    assert_eq!(
        (&left["state"], &left["enabled"], &left["disabled_message"]),
        (&"Idle".into(), &false.into(), &"back at noon".into())
    );
    // It may have dialled since and been refused, which is what was sent last then.
    let ended = "we sent: Cease: Administrative Shutdown: \"back at noon\"";
    assert_eq!(left["last_down"], ended, "{left}");
    let shown = daemon.show(&["neighbors", "left"]).out;
    for words in [
        "left: disabled for ",
        "\"back at noon\", until it is enabled",
        ended,
        "import          everything: 0 received, 0 accepted",
        "export          fleet: 0 advertised",
    ] {
        assert!(shown.contains(words), "{words}: {shown}");
    }
    assert!(daemon.show(&["neighbors"]).out.contains("disabled"));
    let done = tell(&daemon, &["left", "disable", "--message", "back at noon"]);
    assert_eq!(done.out, "left was disabled already\n");
    let noted = events(&daemon);
    let times = kinds(&noted).into_iter().filter(|kind| *kind == "neighbor-disable").count();
    assert_eq!(times, 1, "what changes nothing is no event");
    tell(&daemon, &["left", "clear"]).failed_with(2, &["left is disabled", "neighbor left enable"]);
    tell(&daemon, &["left", "clear", "soft"]).failed_with(2, &["not Established (disabled)"]);
    let long = "x".repeat(256);
    tell(&daemon, &["left", "disable", "--message", &long]).failed_with(2, &["at most 255 octets"]);

    // Told and written down: a crash changes nothing.
    send(daemon.pid(), Signal::SIGKILL);
    daemon.process.wait();
    let daemon = Daemon::start(&lab, "fleet.toml");
    until("right is told", SETTLED, || {
        let seen = daemon.show(&["neighbors", "right", "--json"]);
        let is_told = seen.code == Some(0) && seen.json()["advertised"] == 2;
        if is_told { Ok(()) } else { Err(seen) }
    });
    let left = neighbor(&daemon, "left");
    assert_eq!((&left["state"], &left["enabled"]), (&"Idle".into(), &false.into()));
    assert_eq!(left["disabled_message"], "back at noon");

    let done = tell(&daemon, &["left", "enable"]);
    assert_eq!((done.code, done.out.as_str()), (Some(0), "left is enabled\n"), "{done:?}");
    daemon.announces();
    let left = neighbor(&daemon, "left");
    assert_eq!((&left["enabled"], &left["disabled_message"]), (&true.into(), &Value::Null));
    assert_eq!(left["counters"]["established"], 1);
    let events = events(&daemon);
    let kinds = kinds(&events);
    let ours: Vec<&str> = kinds.into_iter().filter(|kind| kind.starts_with("neighbor-")).collect();
    let of_left = ["neighbor-disable", "neighbor-down", "neighbor-enable", "neighbor-up"];
    for kind in of_left {
        assert!(ours.contains(&kind), "{kind} is not in {ours:?}");
    }
}

fn a_session_is_refreshed_and_reset(user: User) {
    let desk = Desk::new(user);
    let Some(lab) = lab_without_fra(&desk) else { return };
    let daemon = Daemon::start(&lab, "fleet.toml");
    daemon.announces();
    until("left has told its networks", SETTLED, || {
        let left = neighbor(&daemon, "left");
        if left["accepted"] == 4 { Ok(()) } else { Err(left) }
    });
    let before = neighbor(&daemon, "left")["counters"].clone();
    let done = tell(&daemon, &["left", "clear", "soft"]);
    let words = "asked left for its routes (ipv4, ipv6) and tell it all of ours again\n";
    assert_eq!((done.code, done.out.as_str()), (Some(0), words), "{done:?}");
    until("both have told everything again", SETTLED, || {
        let after = neighbor(&daemon, "left");
        let more = |field: &str| {
            after["counters"][field].as_u64().expect("a number")
                >= before[field].as_u64().expect("a number") + 2
        };
        if more("updates_in") && more("updates_out") { Ok(()) } else { Err(after) }
    });
    let left = neighbor(&daemon, "left");
    assert_eq!((&left["counters"]["dropped"], &left["accepted"]), (&0.into(), &4.into()));

    let done = tell(&daemon, &["left", "clear"]);
    assert_eq!((done.code, done.out.as_str()), (Some(0), "the session with left is reset\n"));
    lab.settles("it comes back by itself", AT_HOME);
    daemon.announces();
    let left = neighbor(&daemon, "left");
    assert_eq!(
        (&left["last_sent"]["code"], &left["last_sent"]["subcode"]),
        (&6.into(), &4.into()),
        "Cease, Administrative Reset"
    );
    assert_eq!(neighbor(&daemon, "right")["counters"]["dropped"], 0, "the other goes on");
    let events = events(&daemon);
    let kinds = kinds(&events);
    assert!(kinds.contains(&"neighbor-refresh") && kinds.contains(&"neighbor-clear"), "{kinds:?}");
}

fn each_table_of_routes_can_be_looked_at(user: User) {
    let desk = Desk::new(user);
    let Some(lab) = lab_without_fra(&desk) else { return };
    let daemon = Daemon::start(&lab, "fleet.toml");
    daemon.announces();
    until("both have told their networks", SETTLED, || {
        let rows = daemon.show(&["neighbors", "--json"]).json();
        let told = rows.as_array().expect("a list").iter().map(|row| &row["accepted"]);
        if told.collect::<Vec<_>>() == [4, 4] { Ok(()) } else { Err(rows) }
    });
    let prefixes = |arguments: &[&str]| -> Vec<String> {
        let rows = daemon.show(&[&["routes"], arguments, &["--json"]].concat()).json();
        let rows = rows.as_array().expect("a list").iter();
        rows.map(|row| row["prefix"].as_str().expect("a prefix").to_owned()).collect()
    };
    let own = ["192.0.2.0/24", "2001:db8:ac::/48"];
    for (arguments, want) in [
        (&["--advertised", "left"][..], &own[..]),
        (&["--advertised", "left", "--family", "ipv6"], &own[1..]),
        (&["203.0.113.1", "--received", "left"], &["203.0.113.0/29"]),
        (&["203.0.113.9"], &["203.0.113.8/29", "203.0.113.8/29"]),
        (
            &["203.0.113.0/24", "--within", "--accepted", "right"],
            &["203.0.113.0/29", "203.0.113.8/29"],
        ),
        (&["203.0.113.0/24"], &[]),
        (&["10.0.0.1"], &[]),
    ] {
        assert_eq!(prefixes(arguments), want, "{arguments:?}");
    }
    let told = daemon.show(&["routes", "--advertised", "right"]);
    assert_eq!((told.code, told.err.as_str()), (Some(0), ""));
    // The neighbor has one prepend in the file.
    assert!(told.out.contains("64500 64500"), "{}", told.out);
    assert!(told.out.contains("198.51.100.3"), "the next hop: {}", told.out);
    let explained = daemon.show(&["routes", "203.0.113.1", "--explain"]).out;
    assert!(explained.starts_with("203.0.113.0/29: 2 routes"), "{explained}");
}

fn why_a_built_in_service_does_not_start_is_among_the_events(user: User) {
    let desk = Desk::new(user);
    let Some(lab) = lab_without_fra(&desk) else { return };
    let other = ["anycast", "whoami", "--fleet", "x", "--site", "x", "--http-port", "0", "0.0.0.0"];
    let _other = Process::start(lab.in_node("fra", &other));
    until("the other one has the port", SETTLED, || {
        let has = lab.exec("fra", &["ss", "-Hltn", "sport = :53"]);
        if has.out.is_empty() { Err(has) } else { Ok(()) }
    });
    let daemon = Daemon::start(&lab, "fleet.toml");
    until("the service's end is told with its reason", SETTLED, || {
        let events = daemon.show(&["events"]);
        let why = ["ended with exit code 2: whoami: ", " port 53 of 192.0.2.1 is in use"];
        if why.iter().all(|it| events.out.contains(it)) { Ok(()) } else { Err(events) }
    });
}

/// The status line and the body of what the looking glass of fra answers.
fn glass(daemon: &Daemon<'_, '_>, target: &str) -> Option<(String, String)> {
    // HTTP/1.0: the answer ends when the connection does.
    let script = format!(
        "exec 3<>/dev/tcp/127.0.0.1/29184 && printf 'GET {target} HTTP/1.0\\r\\n\\r\\n' >&3 && cat <&3"
    );
    let output = daemon.lab.exec("fra", &["timeout", "5", "bash", "-c", &script]);
    let (head, body) = output.out.split_once("\r\n\r\n")?;
    Some((head.lines().next()?.to_owned(), body.to_owned()))
}

fn the_looking_glass_is_there_if_the_file_says_so(user: User) {
    let desk = Desk::new(user);
    desk.write("open.toml", format!("{FLEET}\n[looking-glass]\nlisten = \"127.0.0.1:29184\"\n"));
    let Some(lab) = lab_without_fra(&desk) else { return };
    let daemon = Daemon::start(&lab, "open.toml");
    daemon.announces();
    let (status, body) = glass(&daemon, "/protocols/bgp").expect("it answers");
    assert_eq!(status, "HTTP/1.0 200 OK", "{body}");
    let answer: Value = serde_json::from_str(&body).expect("JSON");
    assert_eq!(answer["protocols"]["left"]["state"], "up", "{body}");
    assert_eq!(answer["protocols"]["right"]["neighbor_as"], 64502, "{body}");
    let (_, body) = glass(&daemon, "/routes/export/left").expect("it answers");
    let answer: Value = serde_json::from_str(&body).expect("JSON");
    assert_eq!(answer["routes"][0]["network"], "192.0.2.0/24", "{body}");

    // A second one on its port is told what is wrong before it has changed anything.
    let path = desk.path("open.toml");
    let path = path.to_str().expect("a path of letters");
    let socket = "/run/anycast/second.sock";
    let run = ["anycast", "run", path, "--site", "fra", "--socket", socket];
    lab.exec("fra", &run).failed_with(2, &["looking glass on 127.0.0.1:29184", "in use"]);

    daemon.process.signal(nix::sys::signal::Signal::SIGTERM);
    assert_eq!(daemon.process.wait().code(), Some(0), "{}", daemon.process.words());
    let daemon = Daemon::start(&lab, "fleet.toml");
    daemon.announces();
    assert_eq!(glass(&daemon, "/status"), None, "without a word in the file there is none");
}

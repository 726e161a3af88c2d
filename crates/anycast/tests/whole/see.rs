//! What a running site tells of itself: events with their causes, on disk and as they happen.

use std::collections::HashMap;
use std::time::Duration;

use nix::sys::signal::Signal;
use serde_json::Value;

use crate::lab::FLEET;
use crate::program::{Desk, Process, SETTLED, User, as_each_user, until};
use crate::site::{Daemon, lab_without_fra};

as_each_user! {
    events_name_their_causes_and_outlive_a_crash
    who_comes_back_to_the_stream_goes_on_where_it_was
    prometheus_is_told_what_is
    one_screen_says_how_a_site_is_and_one_command_why
    logs_are_text_or_json_or_go_to_journald
    over_tcp_known_callers_do_what_their_role_allows
}

/// The events of a stream so far.
fn followed(follower: &Process) -> Vec<Value> {
    let output = follower.output();
    let whole = output.iter().rposition(|octet| *octet == b'\n').map_or(0, |at| at + 1);
    let text = std::str::from_utf8(&output[..whole]).expect("the program writes text");
    text.lines().map(|line| serde_json::from_str(line).expect("an event a line")).collect()
}

/// The kinds of events from the first of this kind's effects back to where it began.
fn chain(events: &[Value], of: &Value) -> Vec<String> {
    let by_number: HashMap<u64, &Value> =
        events.iter().map(|event| (event["number"].as_u64().expect("a number"), event)).collect();
    let mut chain = vec![of["kind"].as_str().expect("a word").to_owned()];
    let mut at = of;
    while let Some(cause) = at["cause"].as_u64() {
        assert!(cause < at["number"].as_u64().expect("a number"), "a cause comes first: {at}");
        at = by_number[&cause];
        chain.push(at["kind"].as_str().expect("a word").to_owned());
    }
    chain
}

fn events_name_their_causes_and_outlive_a_crash(user: User) {
    let desk = Desk::new(user);
    let Some(lab) = lab_without_fra(&desk) else { return };
    let state = ["show", "events", "--json", "--follow", "--after", "0"];
    let follow = || Process::start(lab.in_node("fra", &[&["anycast"], &state[..]].concat()));
    let daemon = Daemon::start(&lab, "fleet.toml");
    daemon.announces();
    let follower = follow();
    let pid = daemon.show(&["services", "--json"]).json()["services"][0]["pid"].to_string();
    assert_eq!(lab.exec("fra", &["sh", "-c", &format!("kill -KILL {pid}")]).code, Some(0));
    let told = until("the stream tells of the withdrawal", SETTLED, || {
        let told = followed(&follower);
        let withdrawn = told.iter().any(|event| event["kind"] == "withdraw");
        if withdrawn { Ok(told) } else { Err((told, follower.words())) }
    });
    let first_of = |kind: &str| told.iter().find(|event| event["kind"] == kind).expect("one");
    let withdrawn = chain(&told, first_of("withdraw"));
    assert_eq!(withdrawn[..2], ["withdraw", "service-down"]);
    // Its sockets die just before the process does.
    assert!(["service-ended", "check-failed"].contains(&&*withdrawn[2]), "{withdrawn:?}");
    assert_eq!(withdrawn.len(), 3, "{withdrawn:?}");
    assert_eq!(chain(&told, first_of("announce")), ["announce", "service-up", "check-passed"]);
    let subject = first_of("check-passed")["subject"].as_str().expect("a word");
    assert!(subject.starts_with("whoami/"), "the service and the check: {subject}");

    daemon.announces();
    let done = lab.exec("fra", &["anycast", "neighbor", "left", "clear", "soft"]);
    assert_eq!(done.code, Some(0), "{done:?}");
    let events = daemon.show(&["events", "--json"]).json();
    let events = events.as_array().expect("a list");
    let order = events.iter().find(|event| event["kind"] == "neighbor-refresh").expect("the order");
    assert_eq!(order["by"], "root", "who gave it, as the lab calls us");
    let number = order["number"].as_u64().expect("a number");
    let later = daemon.show(&["events", "--json", "--after", &number.to_string()]).json();
    let all_later = later.as_array().expect("a list").iter();
    assert!(all_later.into_iter().all(|event| event["number"].as_u64() > Some(number)));
    let table = daemon.show(&["events"]).out;
    assert!(table.contains("AFTER") && table.contains("by root"), "{table}");

    crate::program::send(daemon.pid(), Signal::SIGKILL);
    assert_eq!(daemon.process.wait().code(), Some(137));
    assert_eq!(follower.wait().code(), Some(2), "{}", follower.words());
    assert!(follower.said("broke off"), "{}", follower.words());
    std::thread::sleep(Duration::from_millis(10));

    let daemon = Daemon::start(&lab, "fleet.toml");
    daemon.announces();
    let again = follow();
    let (begun, before) = until("the new daemon tells it all", SETTLED, || {
        let told = followed(&again);
        let starts: Vec<_> = told.iter().filter(|event| event["kind"] == "start").collect();
        match starts[..] {
            // The one that was killed, and this one.
            [_, last] => Ok((last["number"].as_u64().expect("a number"), told.clone())),
            _ => Err((told, again.words())),
        }
    });
    assert!(begun > number + 100, "a crash skips some numbers: {begun} after {number}");
    assert!(before.iter().any(|event| event["number"] == number), "what was before is there");
    daemon.process.signal(Signal::SIGTERM);
    assert_eq!(daemon.process.wait().code(), Some(0), "{}", daemon.process.words());
}

/// A GET by HTTP/1.0 from a node: the head and the body.
fn get(daemon: &Daemon<'_, '_>, address: &str, port: u16, path: &str) -> (String, String) {
    let script = format!(
        "exec 3<>/dev/tcp/{address}/{port} && printf 'GET {path} HTTP/1.0\\r\\n\\r\\n' >&3 && cat <&3"
    );
    let output = daemon.lab.exec("fra", &["timeout", "20", "bash", "-c", &script]);
    let (head, body) = output.out.split_once("\r\n\r\n").unwrap_or_else(|| panic!("{output:?}"));
    (head.to_owned(), body.to_owned())
}

/// The value of a sample.
fn sample(metrics: &str, name: &str) -> f64 {
    let line = metrics.lines().find_map(|line| line.strip_prefix(&format!("{name} ")));
    let value = line.unwrap_or_else(|| panic!("{name} is not in {metrics}"));
    value.parse().expect("a number")
}

fn who_comes_back_to_the_stream_goes_on_where_it_was(user: User) {
    if !crate::program::installed(&["curl"]) {
        return;
    }
    let desk = Desk::new(user);
    let Some(lab) = lab_without_fra(&desk) else { return };
    let daemon = Daemon::start(&lab, "fleet.toml");
    daemon.announces();
    let known = daemon.show(&["events", "--json"]).json();
    let known: Vec<String> =
        known.as_array().expect("a list").iter().map(|event| event["number"].to_string()).collect();
    let follow = |query: &str, header: &str| {
        let address = format!("http://site/v1/events/stream{query}");
        let socket = "/run/anycast/fra.sock";
        let command = ["curl", "-sN", "--unix-socket", socket, "-H", header, address.as_str()];
        Process::start(lab.in_node("fra", &command))
    };
    // The numbers in a stream, once there are so many.
    let numbers = |stream: &Process, count: usize| {
        until("the stream tells", SETTLED, || {
            let words = stream.words();
            let ids: Vec<String> = words
                .lines()
                .filter_map(|it| it.strip_prefix("id:"))
                .map(|it| it.trim().to_owned())
                .collect();
            if ids.len() >= count { Ok(ids) } else { Err(words) }
        })
    };
    assert!(known.len() > 4, "{known:?}");
    let (last, one_more) = (known.len() - 3, known.len() - 2);
    let comes_back = follow("", &format!("Last-Event-ID: {}", known[last]));
    assert_eq!(numbers(&comes_back, 2), known[one_more..]);
    // What the address says goes before the header.
    let after = format!("?after={}", known[one_more]);
    let asks = follow(&after, &format!("Last-Event-ID: {}", known[0]));
    assert_eq!(numbers(&asks, 1), known[one_more + 1..]);
    // A number of another life: all that there are.
    let elsewhere = follow("", "Last-Event-ID: 999999999");
    assert_eq!(numbers(&elsewhere, known.len()), known);
    // Who knows nothing hears what happens from now on, as do the others.
    let new = follow("", "Last-Event-ID: none");
    let first = until("who knows nothing hears something", SETTLED, || {
        // Until it listens, what happens is not for it.
        assert_eq!(
            lab.exec("fra", &["anycast", "neighbor", "left", "clear", "soft"]).code,
            Some(0)
        );
        let words = new.words();
        words.lines().find_map(|it| it.strip_prefix("id:")).map(str::to_owned).ok_or(words)
    });
    let first = first.trim().to_owned();
    assert!(!known.contains(&first), "{first}");
    until("so do the others", SETTLED, || {
        let all = numbers(&comes_back, 3);
        if all.contains(&first) { Ok(()) } else { Err(all) }
    });
}

fn prometheus_is_told_what_is(user: User) {
    let desk = Desk::new(user);
    desk.write("measured.toml", format!("{FLEET}\n[metrics]\nlisten = \"127.0.0.1:9179\"\n"));
    let Some(lab) = lab_without_fra(&desk) else { return };
    let daemon = Daemon::start(&lab, "measured.toml");
    daemon.announces();
    let (head, metrics) = get(&daemon, "127.0.0.1", 9179, "/metrics");
    assert!(
        head.starts_with("HTTP/1.0 200") && head.contains("text/plain; version=0.0.4"),
        "{head}"
    );
    let prefix = "anycast_prefix_announced{prefix=\"192.0.2.0/24\"}";
    let told = "anycast_prefix_advertised{prefix=\"192.0.2.0/24\",neighbor=\"right\"}";
    let length =
        "anycast_prefix_advertised_path_length{prefix=\"192.0.2.0/24\",neighbor=\"right\"}";
    for (name, value) in [
        ("anycast_site_running", 1.0),
        (prefix, 1.0),
        (told, 1.0),
        // Its own number and the file's prepend.
        (length, 2.0),
        ("anycast_prefix_held{prefix=\"192.0.2.0/24\"}", 0.0),
        ("anycast_service_up{service=\"whoami\"}", 1.0),
        ("anycast_bgp_neighbor_state{neighbor=\"left\",state=\"Established\"}", 1.0),
        ("anycast_bgp_neighbor_prefixes_advertised{neighbor=\"left\"}", 2.0),
        ("anycast_events_total{kind=\"announce\"}", 2.0),
        ("anycast_events_unwritten_total", 0.0),
        ("anycast_drains", 0.0),
    ] {
        assert!((sample(&metrics, name) - value).abs() < 1e-9, "{name} is not {value}: {metrics}");
    }
    assert!(sample(&metrics, "process_cpu_seconds_total") > 0.0);
    let (head, _) = get(&daemon, "127.0.0.1", 9179, "/v1/neighbors");
    assert!(head.starts_with("HTTP/1.0 404"), "nothing else is there: {head}");

    assert_eq!(lab.exec("fra", &["anycast", "neighbor", "left", "disable"]).code, Some(0));
    until("the metrics say so", SETTLED, || {
        let (_, metrics) = get(&daemon, "127.0.0.1", 9179, "/metrics");
        let up =
            "anycast_bgp_neighbor_up{neighbor=\"left\",address=\"198.51.100.0\",asn=\"64501\"}";
        let left = "anycast_prefix_advertised{prefix=\"192.0.2.0/24\",neighbor=\"left\"}";
        let said = [up, left, "anycast_bgp_neighbor_enabled{neighbor=\"left\"}"];
        let said = said.map(|name| sample(&metrics, name));
        let dropped = sample(&metrics, "anycast_bgp_neighbor_dropped_total{neighbor=\"left\"}");
        if said.iter().sum::<f64>() < 1.0 && dropped >= 1.0 { Ok(()) } else { Err((said, dropped)) }
    });
}

fn one_screen_says_how_a_site_is_and_one_command_why(user: User) {
    let desk = Desk::new(user);
    let flag = desk.write("healthy", "");
    let check = format!(
        "builtin = \"whoami\"\n[[service.whoami.check]]\ntype = \"command\"\nname = \"flag\"\n\
         command = [\"/usr/bin/test\", \"-e\", \"{flag}\"]\naddress = \"127.0.0.1\"\n\
         interval = \"300ms\"\ntimeout = \"300ms\"\nrise = 1\nfall = 2\n",
    );
    desk.write("flagged.toml", FLEET.replace("builtin = \"whoami\"\n", &check));
    let Some(lab) = lab_without_fra(&desk) else { return };
    let ask = |arguments: &[&str]| lab.exec("fra", &[&["anycast"], arguments].concat());
    ask(&["status"]).failed_with(2, &["cannot reach a site"]);
    let daemon = Daemon::start(&lab, "flagged.toml");
    daemon.announces();

    let well = until("all is well", SETTLED, || {
        let status = ask(&["status"]);
        if status.code == Some(0) { Ok(status.out) } else { Err(status) }
    });
    for words in [
        "fra (Frankfurt) of test: running for ",
        "2 of 2 BGP sessions up",
        "other sites: nyc; not heard of",
        "whoami",
        "192.0.2.0/24       announced",
        "  right            told       -      AS path 64500 64500",
        "All is well.",
    ] {
        assert!(well.contains(words), "{words:?} is not in {well}");
    }
    let json = ask(&["status", "--json"]).json();
    assert_eq!(json[0]["troubles"], serde_json::json!([]));
    assert_eq!(json[0]["prefixes"][1]["neighbors"][0]["told"], true);
    let why = ask(&["why", "192.0.2.1"]);
    assert_eq!(why.code, Some(0), "{why:?}");
    for words in [
        "192.0.2.0/24 is announced, for ",
        "; 2 of 2 neighbors were told",
        "It stands for all of whoami",
        "    check flag is up, ",
        "  left   AS path 64500\n",
        "check-passed",
        "announce ",
    ] {
        assert!(why.out.contains(words), "{words:?} is not in {}", why.out);
    }

    assert_eq!(ask(&["neighbor", "left", "disable"]).code, Some(0));
    let shown = ask(&["status"]);
    assert_eq!(shown.code, Some(1), "{shown:?}");
    assert!(shown.out.contains("neighbor left is disabled: disabled by an operator"), "{shown:?}");
    let why = ask(&["why", "192.0.2.0/24"]).out;
    assert!(why.contains("left   not told: no session: disabled by an operator"), "{why}");
    assert_eq!(ask(&["neighbor", "left", "enable"]).code, Some(0));
    daemon.announces();

    std::fs::remove_file(&flag).expect("it was written");
    lab.settles("what fails is withdrawn", &[("paris", "nyc"), ("toronto", "nyc")]);
    let shown = ask(&["status"]);
    assert_eq!(shown.code, Some(1), "{shown:?}");
    for words in ["192.0.2.0/24       withdrawn", "service whoami is down: check flag"] {
        assert!(shown.out.contains(words), "{words:?} is not in {}", shown.out);
    }
    let why = ask(&["why", "192.0.2.0/24"]);
    assert_eq!(why.code, Some(1), "{why:?}");
    for words in [
        "192.0.2.0/24 is withdrawn, for ",
        "; 0 of 2 neighbors were told",
        "  services: ",
        "  right  not told: ",
        "check-failed       whoami/flag",
        "service-down       whoami",
        "withdraw           192.0.2.0/24",
    ] {
        assert!(why.out.contains(words), "{words:?} is not in {}", why.out);
    }
    let json = ask(&["why", "192.0.2.0/24", "--json"]);
    let json: Value = serde_json::from_str(&json.out).expect("JSON");
    let chain = json["chain"].as_array().expect("a list").iter().map(|event| &event["kind"]);
    assert_eq!(chain.collect::<Vec<_>>(), ["check-failed", "service-down", "withdraw"]);
    ask(&["why", "198.51.100.0/24"]).failed_with(2, &["no prefix of the fleet", "192.0.2.0/24"]);
    let damping = ask(&["show", "damping"]).out;
    assert!(damping.contains("PENALTY") && damping.contains("whoami"), "it fell: {damping}");
    let floor = ask(&["show", "floor"]);
    assert!(floor.out.contains("HELD") && floor.out.contains("stands alone"), "{floor:?}");
}

/// Takes what comes to journald's socket and prints it.
const JOURNALD: &str = "
import os, socket, sys
os.makedirs('/run/systemd/journal', exist_ok=True)
journal = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
journal.bind('/run/systemd/journal/socket')
print('ready', flush=True)
while True:
    sys.stdout.write(journal.recv(65536).decode() + '\\n')
    sys.stdout.flush()
";

fn logs_are_text_or_json_or_go_to_journald(user: User) {
    let desk = Desk::new(user);
    let Some(lab) = lab_without_fra(&desk) else { return };
    let no_journal = Daemon::start_with(&lab, "fleet.toml", &["--log-format", "journald"]).process;
    assert_eq!(no_journal.wait().code(), Some(2), "{}", no_journal.words());
    assert!(no_journal.said("cannot reach journald"), "{}", no_journal.words());

    let daemon = Daemon::start_with(&lab, "fleet.toml", &["--log-format", "json"]);
    daemon.announces();
    let words = daemon.process.words();
    let lines = words.lines().map(|line| serde_json::from_str::<Value>(line).expect(line));
    let announced = lines.into_iter().find(|line| line["event"] == "announce").expect("a line");
    assert_eq!(
        (&announced["level"], &announced["subject"]),
        (&"INFO".into(), &"192.0.2.0/24".into())
    );
    assert!(announced["number"].as_u64() > announced["cause"].as_u64(), "{announced}");
    assert_eq!(announced["message"], "announce 192.0.2.0/24");
    daemon.process.signal(Signal::SIGTERM);
    daemon.process.wait();

    let daemon = Daemon::start_with(&lab, "fleet.toml", &["--log-format", "text"]);
    daemon.announces();
    let words = daemon.process.words();
    assert!(words.contains("INFO announce 192.0.2.0/24\n"), "{words}");
    daemon.process.signal(Signal::SIGTERM);
    daemon.process.wait();

    if !crate::program::installed(&["python3"]) {
        return;
    }
    let journald = Process::start(lab.in_node("fra", &["python3", "-c", JOURNALD]));
    until("there is a journal", SETTLED, || {
        if journald.said("ready") { Ok(()) } else { Err(journald.words()) }
    });
    let daemon = Daemon::start_with(&lab, "fleet.toml", &["--log-format", "journald"]);
    daemon.announces();
    // Each value with its length before it, in eight octets.
    let words = [
        "\0announce 192.0.2.0/24\nANYCAST_EVENT\n",
        "\0announce\nANYCAST_SUBJECT\n",
        "PRIORITY\n\u{1}\0\0\0\0\0\0\x006\n",
    ];
    until("the journal is told", SETTLED, || {
        let told = journald.words();
        if words.iter().all(|word| told.contains(word)) { Ok(()) } else { Err(told) }
    });
    assert_eq!(daemon.process.words(), "", "nothing on standard error");
}

fn over_tcp_known_callers_do_what_their_role_allows(user: User) {
    let desk = Desk::new(user);
    let authority = Authority::new();
    desk.write("ca.pem", authority.pem());
    for name in ["127.0.0.1", "noc.example.net", "stranger.example.net"] {
        let (certificate, key) = authority.vouch(name);
        desk.write(&format!("{name}.pem"), certificate);
        desk.write(&format!("{name}.key"), key);
    }
    desk.write("reader.token", "read-read-read-read\n");
    desk.write("operator.token", "operate-operate-operate\n");
    desk.write("guess.token", "guess-guess-guess-guess\n");
    let api = "\n[api]\nlisten = \"127.0.0.1:8443\"\ncertificate = \"127.0.0.1.pem\"\n\
               key = \"127.0.0.1.key\"\nclient-ca = \"ca.pem\"\n\
               [api.token.dashboard]\nfile = \"reader.token\"\n\
               [api.token.deploy]\nfile = \"operator.token\"\nrole = \"operate\"\n\
               [api.client.\"noc.example.net\"]\nrole = \"operate\"\n";
    desk.write("open.toml", format!("{FLEET}{api}"));
    let Some(lab) = lab_without_fra(&desk) else { return };
    let daemon = Daemon::start(&lab, "open.toml");
    daemon.announces();
    let file = |name: &str| desk.path(name).into_os_string().into_string().expect("letters");
    let ask = |command: &[&str], credentials: &[(&str, &str)]| {
        let mut line = vec!["anycast".to_owned()];
        line.extend(command.iter().map(|word| (*word).to_owned()));
        line.extend(["--api", "https://127.0.0.1:8443", "--ca"].map(str::to_owned));
        line.push(file("ca.pem"));
        for (option, name) in credentials {
            line.extend([(*option).to_owned(), file(name)]);
        }
        let line: Vec<&str> = line.iter().map(String::as_str).collect();
        lab.exec("fra", &line)
    };
    let reader = [("--token-file", "reader.token")];
    let operator = [("--token-file", "operator.token")];
    let noc =
        [("--certificate", "noc.example.net.pem"), ("--certificate-key", "noc.example.net.key")];
    let stranger = [
        ("--certificate", "stranger.example.net.pem"),
        ("--certificate-key", "stranger.example.net.key"),
    ];

    for credentials in [&reader[..], &operator, &noc] {
        let status = ask(&["status"], credentials);
        assert_eq!(status.code, Some(0), "{status:?}");
        assert!(status.out.contains("All is well."), "{status:?}");
    }
    for unknown in [&[][..], &[("--token-file", "guess.token")], &stranger] {
        ask(&["status"], unknown).failed_with(2, &["who are you?"]);
    }
    ask(&["prepend", "1"], &reader).failed_with(2, &["dashboard may read, but not operate"]);
    for (credentials, name) in [(&operator[..], "deploy"), (&noc, "noc.example.net")] {
        let done = ask(&["neighbor", "right", "clear", "soft"], credentials);
        assert_eq!(done.code, Some(0), "{done:?}");
        let events = ask(&["show", "events", "--json"], &reader).json();
        let mut last = events.as_array().expect("a list").iter();
        let last = last.rfind(|event| event["kind"] == "neighbor-refresh").expect("the order");
        assert_eq!(last["by"], name);
    }

    // Without TLS, or without trust in its authority, there is nothing.
    let plain = lab.exec(
        "fra",
        &[
            "timeout",
            "5",
            "bash",
            "-c",
            "exec 3<>/dev/tcp/127.0.0.1/8443 && \
        printf 'GET /v1/status HTTP/1.0\\r\\n\\r\\n' >&3 && cat <&3",
        ],
    );
    assert!(!plain.out.contains("HTTP/1"), "{plain:?}");
    let mistrusted = lab.exec(
        "fra",
        &[
            "anycast",
            "status",
            "--api",
            "https://127.0.0.1:8443",
            "--ca",
            &file("stranger.example.net.pem"),
        ],
    );
    mistrusted.failed_with(2, &["cannot reach a site at https://127.0.0.1:8443"]);

    // A renewed token counts at once, and the old one does not.
    std::thread::sleep(Duration::from_millis(20));
    desk.write("reader.token", "renewed-renewed-renewed\n");
    assert_eq!(ask(&["status"], &reader).code, Some(0));
    desk.write("guess.token", "read-read-read-read\n");
    ask(&["status"], &[("--token-file", "guess.token")]).failed_with(2, &["who are you?"]);

    // A caller that is no more in the file is not known after a reload; nobody else notices.
    let follower = [&["show", "events", "--follow"][..], &["--api", "https://127.0.0.1:8443"]];
    let (ca, token) = (file("ca.pem"), file("reader.token"));
    let credentials = ["--ca", &ca, "--token-file", &token];
    let line = [&["anycast"], &follower.concat()[..], &credentials].concat();
    let follower = Process::start(lab.in_node("fra", &line));
    let gone = "[api.token.deploy]\nfile = \"operator.token\"\nrole = \"operate\"\n";
    desk.write("open.toml", format!("{FLEET}{}", api.replace(gone, "")));
    let reloaded = lab.exec("fra", &["anycast", "reload"]);
    assert_eq!(reloaded.code, Some(0), "{reloaded:?}");
    assert!(reloaded.out.contains("api"), "{reloaded:?}");
    ask(&["status"], &operator).failed_with(2, &["who are you?"]);
    assert_eq!(ask(&["status"], &reader).code, Some(0));
    assert_eq!(ask(&["neighbor", "right", "clear", "soft"], &noc).code, Some(0));
    until("who follows is told", SETTLED, || {
        if follower.said("neighbor-refresh") { Ok(()) } else { Err(follower.words()) }
    });
}

/// Vouches for names.
struct Authority {
    issuer: rcgen::Issuer<'static, rcgen::KeyPair>,
    pem: String,
}

impl Authority {
    fn new() -> Self {
        let key = rcgen::KeyPair::generate().expect("a key");
        let mut own = rcgen::CertificateParams::new(Vec::new()).expect("no names");
        own.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        let pem = own.self_signed(&key).expect("a certificate").pem();
        Self { issuer: rcgen::Issuer::new(own, key), pem }
    }

    fn pem(&self) -> &str {
        &self.pem
    }

    /// A certificate for this name or address, and its key.
    fn vouch(&self, name: &str) -> (String, String) {
        let key = rcgen::KeyPair::generate().expect("a key");
        let certificate = rcgen::CertificateParams::new(vec![name.to_owned()]).expect("a name");
        let certificate = certificate.signed_by(&key, &self.issuer).expect("a certificate");
        (certificate.pem(), key.serialize_pem())
    }
}

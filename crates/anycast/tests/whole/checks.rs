//! Health checks of every kind: what fails is withdrawn, what passes again is announced.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;

use nix::sys::signal::Signal;
use serde_json::Value;

use crate::lab::FLEET;
use crate::program::{Desk, Lab, SETTLED, User, as_each_user, installed, until};
use crate::site::{Daemon, lab_without_fra};

as_each_user! {
    each_kind_of_check_withdraws_and_announces
    a_certificate_that_ends_too_soon_is_not_announced
    a_check_in_flight_does_not_wait_for_one_who_is_dead
}

/// An address that only the test puts on the loopback interface.
const ELSEWHERE: &str = "203.0.113.77";

/// One way to be unhealthy.
struct Fault {
    /// The check that must say so.
    check: &'static str,
    /// What it must say.
    words: &'static str,
    /// Commands of a shell in the site's node.
    breaks: String,
    mends: String,
}

/// A file that processes of the site's node write.
fn state(desk: &Desk, name: &str) -> PathBuf {
    desk.path("state").join(name)
}

/// A server of each protocol, on a port of its own, that writes its number into a file.
fn server(desk: &Desk, name: &str, dns_port: u16, http_port: u16) -> (String, String) {
    let pid = state(desk, name);
    let pid = pid.display();
    let start = format!(
        "anycast whoami --fleet f --site fra --dns-port {dns_port} --http-port {http_port} \
         127.0.0.1 >/dev/null 2>&1 & echo $! >{pid}"
    );
    (format!("kill -KILL $(cat {pid})"), start)
}

/// All checks of the service, as its fleet file has them.
fn checks(desk: &Desk) -> String {
    let [flag, pid, full] = ["flag", "pid", "full"].map(|name| state(desk, name));
    let [flag, pid, full] = [&flag, &pid, &full].map(|path| path.display());
    // id.server. CH TXT
    let query = "0a0a 0000 0001 0000 0000 0000 02 6964 06 736572766572 00 0010 0003";
    let each = [
        format!("type = \"file\"\npath = \"{flag}\""),
        format!("type = \"process\"\npid-file = \"{pid}\""),
        "type = \"tcp\"\naddress = \"127.0.0.1\"\nport = 1080".to_owned(),
        "type = \"http\"\naddress = \"127.0.0.1\"\nport = 2080".to_owned(),
        "type = \"dns\"\naddress = \"127.0.0.1\"\nport = 1053\nquery = \"id.server\"\n\
         qtype = \"TXT\"\nclass = \"CH\"\nexpect = \"fra\""
            .to_owned(),
        format!(
            "type = \"udp\"\naddress = \"127.0.0.1\"\nport = 2053\nsend-hex = \"{query}\"\n\
             expect = \"fra\""
        ),
        format!("type = \"icmp\"\naddress = \"{ELSEWHERE}\""),
        format!(
            "type = \"command\"\naddress = \"127.0.0.1\"\n\
             command = [\"/usr/bin/test\", \"-s\", \"{full}\"]"
        ),
    ];
    let common = "interval = \"400ms\"\ntimeout = \"400ms\"\nrise = 1\n";
    each.map(|check| format!("[[service.whoami.check]]\n{check}\n{common}")).concat()
}

fn in_a_shell(lab: &Lab<'_>, script: &str) {
    let done = lab.exec("fra", &["sh", "-c", script]);
    assert_eq!(done.code, Some(0), "{script}: {done:?}");
}

/// What the daemon says of a check.
fn row(services: &Value, name: &str) -> Value {
    let mut checks = services["services"][0]["checks"].as_array().expect("a list").iter();
    let found = checks.find(|check| check["name"] == name);
    found.cloned().unwrap_or_else(|| panic!("{services:#}"))
}

fn each_kind_of_check_withdraws_and_announces(user: User) {
    let desk = Desk::new(user);
    let folder = desk.path("state");
    fs::create_dir(&folder).expect("the desk is ours");
    fs::set_permissions(&folder, fs::Permissions::from_mode(0o777)).expect("it is ours too");
    let builtin = "builtin = \"whoami\"\n";
    // It falls more often than a service may that is trusted.
    let service = format!("{builtin}damping = false\n{}", checks(&desk));
    desk.write("checks.toml", FLEET.replace(builtin, &service));
    let Some(lab) = lab_without_fra(&desk) else { return };
    let [flag, pid, full] =
        ["flag", "pid", "full"].map(|name| state(&desk, name).display().to_string());
    let fault = |check, words, breaks: String, mends: String| Fault { check, words, breaks, mends };
    let refused = "connection refused";
    let [tcp, http, dns, udp] =
        [("tcp", 0, 1080), ("http", 0, 2080), ("dns", 1053, 0), ("udp", 2053, 0)].map(
            |(check, dns_port, http_port)| {
                let (breaks, mends) = server(&desk, &format!("{check}.pid"), dns_port, http_port);
                fault(check, refused, breaks, mends)
            },
        );
    let faults = [
        fault("file", "is not there", format!("rm {flag}"), format!("touch {flag}")),
        fault(
            "process",
            "has ended",
            format!("kill -KILL $(cat {pid})"),
            format!("sleep 600 >/dev/null 2>&1 & echo $! >{pid}"),
        ),
        tcp,
        http,
        dns,
        udp,
        fault(
            "icmp",
            "",
            format!("ip address del {ELSEWHERE}/32 dev lo"),
            format!("ip address add {ELSEWHERE}/32 dev lo"),
        ),
        fault("command", "exit code 1", format!(": >{full}"), format!("echo >{full}")),
    ];
    for fault in &faults {
        in_a_shell(&lab, &fault.mends);
    }
    let daemon = Daemon::start(&lab, "checks.toml");
    daemon.announces();

    for Fault { check, words, breaks, mends } in &faults {
        in_a_shell(&lab, breaks);
        lab.settles(check, &[("paris", "nyc"), ("toronto", "nyc")]);
        let services = daemon.show(&["services", "--json"]).json();
        let row = row(&services, check);
        assert_eq!(row["state"], "down", "{check}: {services:#}");
        let why = row["last_failure"].as_str().expect("words");
        assert!(why.contains(words), "{check}: {why}");
        in_a_shell(&lab, mends);
        daemon.announces();
    }
    until("nobody waits for anything", SETTLED, || {
        let services = daemon.show(&["services", "--json"]).json();
        if services["services"][0]["state"] == "up" { Ok(()) } else { Err(services) }
    });
    for file in ["tcp.pid", "http.pid", "dns.pid", "udp.pid", "pid"] {
        in_a_shell(&lab, &format!("kill -KILL $(cat {})", state(&desk, file).display()));
    }
    assert!(fs::metadata(state(&desk, "flag")).is_ok());
}

/// Makes a certificate for so many days and serves it, until the file `pid` is asked to end.
fn https_server(folder: &str, days: u32) -> String {
    format!(
        "cd {folder} && openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes \
         -keyout key.pem -out cert.pem -days {days} -subj /CN=www.example.net \
         -addext subjectAltName=DNS:www.example.net -addext basicConstraints=CA:FALSE 2>&1 && \
         {{ openssl s_server -accept 127.0.0.1:4433 -cert cert.pem -key key.pem -www \
         >/dev/null 2>&1 & echo $! >pid; }}"
    )
}

fn a_certificate_that_ends_too_soon_is_not_announced(user: User) {
    if !installed(&["openssl"]) {
        return;
    }
    let desk = Desk::new(user);
    let folder = desk.path("state");
    fs::create_dir(&folder).expect("the desk is ours");
    fs::set_permissions(&folder, fs::Permissions::from_mode(0o777)).expect("it is ours too");
    let folder = folder.display().to_string();
    let check = format!(
        "builtin = \"whoami\"\n[[service.whoami.check]]\ntype = \"https\"\n\
         address = \"127.0.0.1\"\nport = 4433\nhost = \"www.example.net\"\n\
         ca-file = \"{folder}/cert.pem\"\ntls-expires-in = \"7d\"\nbody-pattern = \"[Cc]ipher\"\n\
         interval = \"400ms\"\ntimeout = \"400ms\"\nrise = 1\n"
    );
    desk.write("https.toml", FLEET.replace("builtin = \"whoami\"\n", &check));
    let Some(lab) = lab_without_fra(&desk) else { return };
    in_a_shell(&lab, &https_server(&folder, 3));
    let daemon = Daemon::start(&lab, "https.toml");
    until("the check has looked at the certificate", SETTLED, || {
        let services = daemon.show(&["services", "--json"]);
        if services.out.contains("expected at least 7 days") { Ok(()) } else { Err(services) }
    });
    assert_eq!(lab.catchment()["paris"].as_deref(), Some("nyc"), "nothing is announced");
    daemon.process.signal(Signal::SIGTERM);
    assert_eq!(daemon.process.wait().code(), Some(0), "{}", daemon.process.words());

    in_a_shell(&lab, &format!("kill -KILL $(cat {folder}/pid)"));
    in_a_shell(&lab, &https_server(&folder, 30));
    let daemon = Daemon::start(&lab, "https.toml");
    daemon.announces();
    in_a_shell(&lab, &format!("kill -KILL $(cat {folder}/pid)"));
    lab.settles("the server is gone", &[("paris", "nyc"), ("toronto", "nyc")]);
}

fn a_check_in_flight_does_not_wait_for_one_who_is_dead(user: User) {
    let desk = Desk::new(user);
    let folder = desk.path("state");
    fs::create_dir(&folder).expect("the desk is ours");
    fs::set_permissions(&folder, fs::Permissions::from_mode(0o777)).expect("it is ours too");
    // The test would give up long before the check does.
    let check = "builtin = \"whoami\"\n[[service.whoami.check]]\ntype = \"dns\"\n\
                 address = \"127.0.0.1\"\nport = 1053\nquery = \"id.server\"\nqtype = \"TXT\"\n\
                 class = \"CH\"\ninterval = \"10m\"\ntimeout = \"10m\"\nrise = 1\nfall = 1\n";
    desk.write("patient.toml", FLEET.replace("builtin = \"whoami\"\n", check));
    let Some(lab) = lab_without_fra(&desk) else { return };
    let (kill, start) = server(&desk, "dns.pid", 1053, 0);
    in_a_shell(&lab, &start);
    let pid = state(&desk, "dns.pid").display().to_string();
    until("the server answers", SETTLED, || {
        let listening = lab.exec("fra", &["cat", "/proc/net/udp"]).out;
        // 127.0.0.1:1053
        if listening.contains("0100007F:041D") { Ok(()) } else { Err(listening) }
    });
    in_a_shell(&lab, &format!("kill -STOP $(cat {pid})"));
    let daemon = Daemon::start(&lab, "patient.toml");
    until("it has started to check", SETTLED, || {
        let events = daemon.show(&["events", "--json"]).out;
        if events.contains("service-started") { Ok(()) } else { Err(events) }
    });
    let failure =
        || row(&daemon.show(&["services", "--json"]).json(), "dns")["last_failure"].clone();
    assert_eq!(failure(), Value::Null, "no outcome yet");
    in_a_shell(&lab, &kill);
    until("the check has noticed", SETTLED, || {
        if failure() == "connection refused" { Ok(()) } else { Err(failure()) }
    });
    in_a_shell(&lab, &start);
    daemon.announces();
    in_a_shell(&lab, &format!("kill -KILL $(cat {pid})"));
    lab.settles("what dies between two checks is withdrawn too", &[("paris", "nyc")]);
}

use std::collections::{BTreeMap, BTreeSet};

use super::families::{FAMILIES, Family, Kind};
use super::text::{BUCKETS, Exposition, Histogram};
use super::*;
use crate::rpki::Look;
use crate::status::{CheckRow, PrefixRow, ServiceRow, ServicesReport};

fn file(path: &str) -> String {
    let root = concat!(env!("CARGO_MANIFEST_DIR"), "/../../");
    std::fs::read_to_string(format!("{root}{path}")).unwrap()
}

fn family(name: &str) -> Option<&'static Family> {
    FAMILIES.iter().find(|family| family.name == name)
}

#[test]
fn names_are_as_prometheus_wants_them() {
    let mut names = BTreeSet::new();
    for Family { name, kind, labels, help } in FAMILIES {
        assert!(names.insert(*name), "{name} twice");
        let is_word = |text: &str| {
            !text.is_empty() && text.chars().all(|it| it.is_ascii_lowercase() || it == '_')
        };
        assert!(is_word(name) && labels.iter().all(|label| is_word(label)), "{name}");
        assert!(name.starts_with("anycast_") || name.starts_with("process_"), "{name}");
        assert_eq!(name.ends_with("_total"), *kind == Kind::Counter, "{name}");
        assert!(help.ends_with('.') && !help.contains('\n'), "{name}");
    }
}

#[test]
fn the_page_names_exactly_what_there_is() {
    let page = file("docs/metrics.md");
    let rows: Vec<&str> = page.lines().filter(|line| line.starts_with("| `")).collect();
    let wanted = FAMILIES.iter().map(|family| {
        let kind = match family.kind {
            Kind::Counter => "counter",
            Kind::Gauge => "gauge",
            Kind::Histogram => "histogram",
        };
        let labels: Vec<String> = family.labels.iter().map(|label| format!("`{label}`")).collect();
        format!("| `{}` | {kind} | {} | {} |", family.name, labels.join(", "), family.help)
            .replace("|  |", "| |")
    });
    let wanted: Vec<String> = wanted.collect();
    assert_eq!(rows, wanted, "the page should say:\n{}\n", wanted.join("\n"));
}

/// The words of an expression that look like names of metrics.
fn names(expression: &str) -> Vec<&str> {
    let words = expression.split(|it: char| !it.is_ascii_alphanumeric() && it != '_');
    words.filter(|word| word.starts_with("anycast_") || word.starts_with("process_")).collect()
}

/// Whether there are such samples; a histogram has three kinds.
fn is_told(name: &str) -> bool {
    let of_histogram = ["_bucket", "_sum", "_count"].iter().any(|suffix| {
        let family = name.strip_suffix(suffix).and_then(family);
        family.is_some_and(|family| family.kind == Kind::Histogram)
    });
    of_histogram || family(name).is_some_and(|family| family.kind != Kind::Histogram)
}

#[test]
fn the_alert_rules_and_the_dashboard_ask_for_what_there_is() {
    let rules = file("examples/monitoring/alerts.yml");
    let mut expressions: Vec<String> = rules
        .lines()
        .filter_map(|line| line.trim_start().strip_prefix("expr: "))
        .map(str::to_owned)
        .collect();
    let alerts = rules.lines().filter(|line| line.trim_start().starts_with("- alert: ")).count();
    assert_eq!(expressions.len(), alerts, "each has its expression on one line");
    assert!(alerts >= 8);
    let dashboard: serde_json::Value =
        serde_json::from_str(&file("examples/monitoring/dashboard.json")).unwrap();
    let panels = dashboard["panels"].as_array().unwrap();
    for panel in panels.iter().filter(|panel| panel["type"] != "row") {
        let targets = panel["targets"].as_array().unwrap();
        assert!(!targets.is_empty(), "{}", panel["title"]);
        expressions.extend(targets.iter().map(|it| it["expr"].as_str().unwrap().to_owned()));
    }
    let variables = dashboard["templating"]["list"].as_array().unwrap().iter();
    expressions.extend(variables.filter_map(|it| Some(it["definition"].as_str()?.to_owned())));
    for expression in &expressions {
        let names = names(expression);
        // `up` is Prometheus' own.
        assert!(!names.is_empty() || expression.starts_with("up{"), "{expression}");
        for name in names {
            assert!(is_told(name), "{name} in {expression}");
        }
    }
}

#[test]
fn the_format_escapes_and_counts_as_prometheus_reads_it() {
    let mut times = Histogram::default();
    for seconds in [0.0004, 0.0005, 0.3, 60.0] {
        times.add(seconds);
    }
    let mut into = Exposition::default();
    into.histogram(&families::CHECK_TIME, &["a\"b\\c\nd", "tcp"], &times);
    into.flag(&families::RUNNING, &[], true);
    let text = into.text();
    let labels = "service=\"a\\\"b\\\\c\\nd\",check=\"tcp\"";
    let lines: Vec<&str> = text.lines().collect();
    assert_eq!(lines[1..3], ["# TYPE anycast_site_running gauge", "anycast_site_running 1"]);
    assert_eq!(lines[4], "# TYPE anycast_check_duration_seconds histogram");
    let bucket = |bound: &str, count: u64| {
        format!("anycast_check_duration_seconds_bucket{{{labels},le=\"{bound}\"}} {count}")
    };
    assert_eq!(lines[5], bucket("0.0005", 2));
    assert_eq!(lines[13], bucket("0.25", 2));
    assert_eq!(lines[14], bucket("0.5", 3));
    assert_eq!(lines[5 + BUCKETS.len()], bucket("+Inf", 4));
    assert_eq!(
        lines.last().unwrap(),
        &format!("anycast_check_duration_seconds_count{{{labels}}} 4")
    );
    assert!(text.ends_with('\n'));
}

fn at(seconds: u64) -> anycast_steer::Instant {
    anycast_steer::Instant::START + std::time::Duration::from_secs(seconds)
}

/// What a site tells that has one of everything that needs no network.
fn site() -> SiteMetrics {
    let mut checks = CheckTimes::default();
    checks.add(0, 0, true, std::time::Duration::from_millis(2));
    let service = ServiceRow {
        name: "web".to_owned(),
        addresses: Vec::new(),
        served_by: "external".to_owned(),
        pid: None,
        state: "up".to_owned(),
        since_seconds: 3.5,
        drain: None,
        why: None,
        checks: vec![CheckRow {
            name: "http".to_owned(),
            state: "up".to_owned(),
            passes: 1,
            fails: 0,
            last_failure: None,
        }],
    };
    let prefix = PrefixRow {
        prefix: "192.0.2.0/24".to_owned(),
        services: vec!["web".to_owned()],
        require: "all".to_owned(),
        announced: true,
        since_seconds: 1.0,
        why: None,
        rpki: None,
    };
    SiteMetrics {
        fleet: "example".to_owned(),
        site: "fra".to_owned(),
        city: Some("Frankfurt".to_owned()),
        asn: anycast_bgp::Asn(64500),
        state: "running",
        uptime: std::time::Duration::from_secs(9),
        services: ServicesReport {
            services: vec![service],
            prefixes: vec![prefix],
            sessions_up: 0,
        },
        checks,
        prefixes: vec!["192.0.2.0/24".parse().unwrap()],
        rpki: Look { configured: false, sources: None, lens: Some((7, 8)), prefixes: Vec::new() },
        steering: anycast_steer::Status {
            services: Vec::new(),
            prefixes: vec![anycast_steer::PrefixStatus {
                prefix: "192.0.2.0/24".parse().unwrap(),
                services: vec!["web".to_owned()],
                require: anycast_steer::Require::All,
                announced: true,
                since: at(0),
                why: None,
                told: Vec::new(),
                reasons: vec![anycast_steer::Reason {
                    kind: anycast_steer::ReasonKind::Floor,
                    text: String::new(),
                }],
                held: Some("too few".to_owned()),
                penalty: 1500.5,
                damped_until: Some(at(70)),
                shed_level: 2,
            }],
            drains: vec![anycast_steer::DrainStatus {
                drain: anycast_steer::Drain {
                    target: anycast_steer::Target::Site,
                    until: Some(at(110)),
                    now: false,
                    force: false,
                    reason: String::new(),
                },
                stage: anycast_steer::Stage::Drained,
                since: at(0),
            }],
            fleet_heard: Some(at(8)),
        },
        fleet_reached: Some(false),
        affinity: crate::affinity::AffinityReport {
            state: "loaded".to_owned(),
            packets: BTreeMap::from([("here".to_owned(), 9)]),
            rejected: BTreeMap::from([("mac".to_owned(), 1)]),
            peers: vec![crate::affinity::PeerRow {
                site: "nyc".to_owned(),
                id: 2,
                address: None,
                forwarded_by_hint: 3,
                forwarded_by_ring: 4,
                unwrapped: 5,
                limited: 6,
            }],
            ..crate::affinity::AffinityReport::default()
        },
        now: at(10),
        events: BTreeMap::from([("announce".to_owned(), 2)]),
        last_event: 12,
        unwritten_events: Some(0),
    }
}

#[tokio::test]
async fn a_site_tells_its_state() {
    let config = anycast_speaker::Config::new(anycast_bgp::Asn(64500), [192, 0, 2, 1].into());
    let speaker = anycast_speaker::Speaker::bind(config, None).unwrap();
    let handle = speaker.handle();
    tokio::spawn(speaker.run());
    let text = collect::text(site(), &handle).await;
    for line in [
        "anycast_site_info{fleet=\"example\",site=\"fra\",city=\"Frankfurt\",asn=\"64500\"} 1",
        "anycast_uptime_seconds 9",
        "anycast_service_up{service=\"web\"} 1",
        "anycast_service_state_seconds{service=\"web\"} 3.5",
        "anycast_check_runs_total{service=\"web\",check=\"http\",result=\"pass\"} 1",
        "anycast_check_runs_total{service=\"web\",check=\"http\",result=\"fail\"} 0",
        "anycast_check_duration_seconds_bucket{service=\"web\",check=\"http\",le=\"0.0025\"} 1",
        "anycast_prefix_announced{prefix=\"192.0.2.0/24\"} 1",
        "anycast_prefix_held{prefix=\"192.0.2.0/24\"} 1",
        "anycast_prefix_reason{prefix=\"192.0.2.0/24\",reason=\"floor\"} 1",
        "anycast_prefix_reason{prefix=\"192.0.2.0/24\",reason=\"drain\"} 0",
        "anycast_prefix_shed_level{prefix=\"192.0.2.0/24\"} 2",
        "anycast_prefix_damping_penalty{prefix=\"192.0.2.0/24\"} 1500.5",
        "anycast_prefix_damped_seconds{prefix=\"192.0.2.0/24\"} 60",
        "anycast_drains 1",
        "anycast_drain_complete{target=\"site\"} 1",
        "anycast_drain_remaining_seconds{target=\"site\"} 100",
        "anycast_affinity_loaded 1",
        "anycast_affinity_packets_total{what=\"here\"} 9",
        "anycast_affinity_rejected_total{reason=\"mac\"} 1",
        "anycast_affinity_forwarded_total{site=\"nyc\",by=\"hint\"} 3",
        "anycast_affinity_forwarded_total{site=\"nyc\",by=\"ring\"} 4",
        "anycast_affinity_unwrapped_total{site=\"nyc\"} 5",
        "anycast_affinity_limited_total{site=\"nyc\"} 6",
        "anycast_fleet_reached 0",
        "anycast_fleet_heard_seconds 2",
        "anycast_rpki_vrps{family=\"ipv6\"} 8",
        "anycast_events_total{kind=\"announce\"} 2",
        "anycast_events_last_number 12",
        "anycast_events_unwritten_total 0",
    ] {
        assert!(text.lines().any(|found| found == line), "{line} is not in:\n{text}");
    }
    for name in ["process_open_fds", "process_start_time_seconds", "process_resident_memory_bytes"]
    {
        let line = text.lines().find(|line| line.starts_with(&format!("{name} "))).unwrap();
        let value: f64 = line.split(' ').nth(1).unwrap().parse().unwrap();
        assert!(value > 0.0, "{line}");
    }
    if let Some((taken, words)) = promtool(&["check", "metrics"], &text) {
        assert!(taken, "{words}\n{text}");
    }
}

/// What Prometheus itself says of it; nothing, if it is not installed.
fn promtool(arguments: &[&str], input: &str) -> Option<(bool, String)> {
    use std::io::Write;
    use std::process::{Command, Stdio};
    let piped = || Stdio::piped();
    let mut command = Command::new("promtool");
    command.args(arguments).stdin(piped()).stdout(piped()).stderr(piped());
    let mut child = match command.spawn() {
        Ok(child) => child,
        Err(error) => {
            println!("skipped: promtool (Debian package prometheus) cannot be started: {error}");
            return None;
        }
    };
    child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    let words = [output.stdout, output.stderr].concat();
    Some((output.status.success(), String::from_utf8_lossy(&words).into_owned()))
}

#[test]
fn the_alerts_fire_when_they_should_and_not_before() {
    let stories = concat!(env!("CARGO_MANIFEST_DIR"), "/../../examples/monitoring/alerts-test.yml");
    let Some((hold, words)) = promtool(&["test", "rules", stories], "") else { return };
    assert!(hold, "{words}");
}

#[test]
fn prometheus_takes_the_alert_rules_and_the_format() {
    let rules = concat!(env!("CARGO_MANIFEST_DIR"), "/../../examples/monitoring/alerts.yml");
    let Some((taken, words)) = promtool(&["check", "rules", rules], "") else { return };
    assert!(taken, "{words}");
    let mut into = Exposition::default();
    let mut times = Histogram::default();
    times.add(0.3);
    into.histogram(&families::CHECK_TIME, &["a\"b\\c\nd", "tcp"], &times);
    into.flag(&families::RUNNING, &[], true);
    let text = into.text();
    let (taken, words) = promtool(&["check", "metrics"], &text).expect("it was there before");
    assert!(taken, "{words}\n{text}");
    let broken = text.replace(" gauge", " gouge");
    let (taken, _) = promtool(&["check", "metrics"], &broken).expect("it was there before");
    assert!(!taken, "it tells what is wrong from what is not");
}

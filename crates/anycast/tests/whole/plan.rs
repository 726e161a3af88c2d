//! `anycast plan`: every subcommand on small data of its own, bad input, and the lab.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::{Command, Output};

use serde_json::Value;

use crate::program::{Desk, User};

/// A folder of one test, which goes with it.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("anycast-plan-{name}-{}", std::process::id()));
        std::fs::create_dir_all(&path).expect("a folder for the test");
        let folder = Self(path);
        folder.write("fleet.toml", &fleet());
        folder.write("rel.txt", RELATIONS);
        folder.write("networks.csv", NETWORKS);
        folder
    }

    fn write(&self, name: &str, text: &str) {
        std::fs::write(self.0.join(name), text).expect("a file of the test");
    }

    fn run(&self, arguments: &[&str]) -> Output {
        Command::new(env!("CARGO_BIN_EXE_anycast"))
            .current_dir(&self.0)
            .arg("plan")
            .args(arguments)
            .output()
            .expect("the program starts")
    }

    /// With the fleet, the topology and the networks of this folder.
    fn on_data(&self, before: &[&str], after: &[&str]) -> Output {
        let data = ["fleet.toml", "--topology", "rel.txt", "--networks", "networks.csv"];
        self.run(&[before, &data, after].concat())
    }

    fn json(&self, before: &[&str], after: &[&str], code: i32) -> Value {
        let output = self.on_data(before, &[after, &["--json"]].concat());
        assert_eq!(output.status.code(), Some(code), "{}", words(&output));
        serde_json::from_slice(&output.stdout).expect("JSON")
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

fn words(output: &Output) -> String {
    String::from_utf8_lossy(&[output.stdout.clone(), output.stderr.clone()].concat()).into_owned()
}

/// Two regions with a transit each, which peer; a network of both (65538) is tied.
const RELATIONS: &str = "# made up\n64501|64502|0|bgp\n64501|65536|-1|bgp\n64502|65537|-1|bgp\n\
                         64501|65538|-1|bgp\n64502|65538|-1|bgp\n";
const NETWORKS: &str = "asn,lat,lon,weight,name,city\n65536,50.1,8.7,40,rhine,Frankfurt\n\
                        65537,35.7,139.7,40,kanto,Tokyo\n65538,48.9,2.4,20,seine,Paris\n";

fn fleet() -> String {
    let site = |name: &str, city: &str, asn: u32, octet: u8| {
        format!(
            "[site.{name}]\ncity = \"{city}\"\ncapacity = \"10Gbps\"\n[site.{name}.neighbor.t]\n\
             address = \"198.51.100.{octet}\"\nlocal-address = \"198.51.100.{}\"\nasn = {asn}\n\
             relation = \"provider\"\nexport = \"fleet\"\nimport = \"everything\"\n",
            octet + 1
        )
    };
    [
        "[fleet]\nname = \"test\"\nasn = 64500\n[prefix.\"192.0.2.0/24\"]\nservices = [\"w\"]\n\
         [service.w]\naddresses = [\"192.0.2.1\"]\nbuiltin = \"whoami\"\n"
            .to_owned(),
        site("fra", "Frankfurt", 64501, 0),
        site("nrt", "Tokyo", 64502, 2),
    ]
    .concat()
}

fn near(value: &Value, want: f64) {
    let got = value.as_f64().unwrap_or(f64::NAN);
    assert!((got - want).abs() < 0.002, "{got} instead of {want}");
}

#[test]
fn a_plan_has_each_sites_share_and_what_it_shares() {
    let folder = Folder::new("whole");
    let plan = folder.json(&[], &[], 0);
    let [fra, nrt] = plan["sites"].as_array().unwrap().as_slice() else { panic!("two sites") };
    assert_eq!(
        (&fra["site"], &fra["networks"], &fra["shared"]),
        (&"fra".into(), &2.into(), &1.into())
    );
    // Paris is 470 km from Frankfurt and 9,700 km from Tokyo: e^-4.6 is 1%.
    near(&fra["share"], 0.598);
    near(&nrt["share"], 0.402);
    near(&fra["share_least"], 0.4);
    near(&fra["share_most"], 0.6);
    assert_eq!(plan["shared_networks"], 1);
    let text = words(&folder.on_data(&[], &[]));
    assert!(text.contains("SITE") && text.contains("1 networks (20.0% of the weight)"), "{text}");
    let csv = words(&folder.on_data(&[], &["--csv"]));
    assert!(csv.contains("65536,\"rhine\",40,false,\"fra\",1.0000,0.0000"), "{csv}");
}

#[test]
fn packed_files_are_read_like_plain_ones() {
    let folder = Folder::new("packed");
    for (program, ending) in [("gzip", "gz"), ("bzip2", "bz2"), ("xz", "xz")] {
        let packed = Command::new(program).arg("-kf").arg(folder.0.join("rel.txt")).status();
        if !packed.is_ok_and(|status| status.success()) {
            crate::program::skip(&format!("{program} is not installed"));
            continue;
        }
        let file = format!("rel.txt.{ending}");
        let output = folder.run(&["fleet.toml", "--topology", &file, "--json"]);
        assert_eq!(output.status.code(), Some(0), "{program}: {}", words(&output));
    }
}

#[test]
fn what_if_says_who_moves_where() {
    let folder = Folder::new("what-if");
    let plan = folder.json(&[], &["--what-if", "site fra down"], 0);
    let differs = &plan["difference"];
    near(&differs["sites"][0]["after"], 0.0);
    near(&differs["sites"][1]["after"], 1.0);
    near(&differs["moved"], 0.598);
    assert_eq!(differs["networks"][0]["name"], "rhine");
    let both = folder.json(&[], &["--what-if", "prepend fra 1", "--what-if", "prepend nrt 1"], 0);
    near(&both["difference"]["moved"], 0.0);
    let one = folder.json(&[], &["--what-if", "prepend fra 1"], 0);
    // The customer of both now has one best route.
    near(&one["difference"]["sites"][1]["after"], 0.6);
}

#[test]
fn explain_shows_every_route_and_why_one_won() {
    let folder = Folder::new("explain");
    let why = folder.json(&["explain", "AS65538"], &["--what-if", "prepend nrt 2"], 0);
    assert_eq!(why["tied"], false);
    let offers = why["offers"].as_array().unwrap();
    assert_eq!(offers.len(), 2);
    assert_eq!(offers[0]["paths"][0][1], serde_json::json!([64501, 64500]));
    assert_eq!(offers[1]["verdict"], "lost by AS path length: 4 against 2");
    let tied = folder.json(&["explain", "65538"], &[], 0);
    assert_eq!(tied["tied"], true);
    let missing = folder.on_data(&["explain", "65551"], &[]);
    assert_eq!(missing.status.code(), Some(2));
    assert!(words(&missing).contains("AS65551 is not in the topology"));
}

#[test]
fn failures_find_the_site_that_passes_its_capacity() {
    let folder = Folder::new("failures");
    let found = folder.json(&["failures"], &["--load", "15Gbps"], 1);
    let failures = found["failures"].as_array().unwrap();
    assert_eq!(failures.len(), 2, "a site with one neighbor fails with it");
    assert_eq!(failures[0]["fails"][0], "site fra down");
    assert_eq!(failures[0]["over"][0][0], "nrt");
    near(&failures[0]["over"][0][1], 1.5);
    assert!(found["whole"]["over"].as_array().unwrap().is_empty());
    folder.json(&["failures"], &["--load", "5Gbps"], 0);
    let pairs = folder.json(&["failures"], &["--pairs"], 0);
    near(&pairs["failures"][2]["lost"], 1.0);
}

#[test]
fn an_attack_has_a_playbook() {
    let folder = Folder::new("attack");
    folder.write("sources.csv", "asn,weight\n65536,1\n65551,1\n");
    let found = folder.json(
        &["attack"],
        &["--sources", "sources.csv", "--size", "20Gbps", "--load", "4Gbps"],
        1,
    );
    near(&found["outside"], 0.5);
    assert_eq!(found["landing"]["over"][0][0], "fra");
    assert!(!found["playbook"].as_array().unwrap().is_empty());
    for botnet in ["uniform", "mirai-like", "region:asia"] {
        folder.json(&["attack"], &["--botnet", botnet, "--size", "1Gbps"], 0);
    }
}

#[test]
fn optimise_finds_the_better_configuration_and_says_what_to_write() {
    let folder = Folder::new("optimise");
    let options = ["--minimise", "load-imbalance", "--sites", "at-most", "2", "--prepend", "0..2"];
    let more = ["--evaluations", "3000", "--state", "state.json"];
    let found = folder.json(&["optimise"], &[&options[..], &more[..]].concat(), 0);
    let best = found["frontier"].as_array().unwrap().last().unwrap();
    assert!(best["value"].as_f64() <= found["now"]["value"].as_f64());
    assert!(folder.0.join("state.json").exists());
    let text = words(&folder.on_data(&["optimise"], &["--evaluations", "3000"]));
    assert!(text.contains("configurations tried"), "{text}");
}

#[test]
fn a_map_is_drawn_as_svg_and_png() {
    let folder = Folder::new("map");
    for (name, start) in [("map.svg", &b"<svg"[..]), ("map.png", &b"\x89PNG"[..])] {
        let output = folder.on_data(&[], &["--map", name]);
        assert_eq!(output.status.code(), Some(0), "{}", words(&output));
        let drawn = std::fs::read(folder.0.join(name)).unwrap();
        assert!(drawn.starts_with(start) && drawn.len() > 20_000, "{name}: {}", drawn.len());
    }
    let wrong = folder.on_data(&[], &["--map", "map.jpg"]);
    assert!(words(&wrong).contains("ends in .svg or .png"));
}

#[test]
fn without_any_file_there_is_a_made_up_internet_and_it_says_so() {
    let folder = Folder::new("made-up");
    let output = folder.run(&[]);
    assert_eq!(output.status.code(), Some(0), "{}", words(&output));
    assert!(words(&output).contains("this is a made-up Internet"), "{}", words(&output));
}

#[test]
fn bad_input_ends_with_what_to_do() {
    let folder = Folder::new("bad");
    folder.write("bad.txt", "64501|64502|0\n64501|x|0\n");
    folder.write("cycle.txt", "64501|64502|-1\n64502|64503|-1\n64503|64501|-1\n");
    folder.write("bad.csv", "asn,weight\n65536,much\n");
    folder.write("private.toml", &fleet().replace("asn = 64502", "asn = 64512"));
    folder.write("strange.toml", &fleet().replace("asn = 64502", "asn = 3320"));
    folder.write("silent.toml", &fleet().replace("export = \"fleet\"", "export = \"nothing\""));
    let table: &[(&[&str], &str)] = &[
        (&["fleet.toml", "--topology", "none.txt"], "cannot read none.txt"),
        (&["fleet.toml", "--topology", "bad.txt"], "bad.txt: line 2"),
        (&["fleet.toml", "--topology", "cycle.txt"], "AS64501"),
        (&["fleet.toml", "--topology", "rel.txt", "--networks", "bad.csv"], "bad.csv: line 2"),
        (&["private.toml", "--topology", "rel.txt"], "for private use"),
        (
            &["strange.toml", "--topology", "rel.txt"],
            "AS3320, neighbor of nrt (not in the topology)",
        ),
        (&["silent.toml", "--topology", "rel.txt"], "no site tells a neighbor"),
        (&["none.toml"], "none.toml"),
        (
            &["fleet.toml", "--topology", "rel.txt", "--what-if", "site far down"],
            "did you mean \"fra\"?",
        ),
        (&["fleet.toml", "--topology", "rel.txt", "--what-if", "explode"], "is no change"),
        (
            &["fleet.toml", "--topology", "rel.txt", "--prefix", "203.0.113.0/24"],
            "it announces 192.0.2.0/24",
        ),
        (&["fleet.toml", "--topology", "rel.txt", "--map", "x.svg"], "no network has a place"),
        (&["optimise", "fleet.toml", "--topology", "rel.txt"], "no network has a place"),
        (&["optimise", "fleet.toml", "--sites", "most", "3"], "--sites at-most 8"),
        (&["attack", "fleet.toml", "--size", "1Gbps"], "--sources <FILE>"),
        (&["attack", "fleet.toml", "--size", "1", "--botnet", "uniform"], "a number and a unit"),
        (
            &[
                "attack",
                "fleet.toml",
                "--topology",
                "rel.txt",
                "--size",
                "1Gbps",
                "--botnet",
                "region:asia",
            ],
            "no network of the topology takes part",
        ),
    ];
    for (arguments, want) in table {
        let output = folder.run(arguments);
        assert_eq!(output.status.code(), Some(2), "{arguments:?}: {}", words(&output));
        assert!(words(&output).contains(want), "{arguments:?}: {}", words(&output));
    }
    // What is unknown may be left out, and it is said.
    let output = folder.run(&["strange.toml", "--topology", "rel.txt", "--leave-out-unknown"]);
    assert_eq!(output.status.code(), Some(0), "{}", words(&output));
    assert!(words(&output).contains("left out: AS3320"), "{}", words(&output));
}

crate::program::as_each_user!(each_client_of_the_lab_lands_where_the_plan_has_it_or_at_a_tied_site);

/// The shipped world and fleet: real speakers on real sockets, beside the plan on the same ASes.
///
/// The plan knows an AS as one; the lab's ASes have routers in several cities, each of which
/// prefers what it hears itself (hot potato). So clients of one AS may land at different sites:
/// each must be at one that the plan has among the AS's tied best.
fn each_client_of_the_lab_lands_where_the_plan_has_it_or_at_a_tied_site(user: User) {
    let desk = Desk::new(user);
    let Some(lab) = desk.lab(&[]) else { return };
    let csv = desk.run(&["plan", "--world", "default", "--csv"]);
    assert_eq!(csv.code, Some(0), "{csv:?}");
    let mut lines = csv.out.lines();
    let heading: Vec<String> = lines
        .next()
        .expect("a heading")
        .split(',')
        .map(|it| it.trim_matches('"').to_owned())
        .collect();
    let sites = &heading[5..];
    let mut planned: BTreeMap<String, (bool, Vec<String>)> = BTreeMap::new();
    for line in lines {
        let cells: Vec<&str> = line.split(',').map(|it| it.trim_matches('"')).collect();
        let likely = cells[5..].iter().zip(sites);
        let possible = likely.filter(|(share, _)| share.parse::<f64>().expect("a number") > 0.0);
        let possible = possible.map(|(_, site)| site.clone()).collect();
        planned.insert(cells[1].to_owned(), (cells[3] == "true", possible));
    }
    let (mut sure, mut tied) = (0, 0);
    for row in lab.status() {
        let text = |key: &str| row[key].as_str().unwrap_or_default().to_owned();
        let (is_tied, possible) = &planned[&text("network")];
        assert!(possible.contains(&text("site")), "{row}: the plan has {possible:?}");
        assert_eq!(*is_tied, possible.len() > 1, "{row}");
        if *is_tied { tied += 1 } else { sure += 1 }
    }
    assert!(sure > 0 && tied > 0, "{sure} clients are sure, {tied} are tied");
    println!("{sure} clients land where the plan is sure, {tied} at one of the tied sites");
}

#[test]
fn what_was_observed_is_learnt_used_and_scored() {
    let folder = Folder::new("learn");
    folder.write(
        "observed.toml",
        "version = 1\norigins = [64500]\n[[experiment]]\nname = \"one\"\n[[experiment.site]]\nname = \
         \"fra\"\nalone = [\"fra.csv\"]\n[[experiment.site]]\nname = \"nrt\"\nalone = \
         [\"nrt.csv\"]\n[[experiment.measured]]\nname = \"ping\"\nfile = \"ping.csv\"\n",
    );
    // Towards the customer of both, 64501 is seen to prepend its number: the tie is none.
    folder.write("fra.csv", "collector,monitor,path\nc,65538,65538 64501 64501 64500\n");
    folder.write("nrt.csv", "collector,monitor,path\nc,65538,65538 64502 64500\n");
    folder.write("ping.csv", "asn,site\n65538,nrt\n65536,fra\n65537,nrt\n");
    let observed = ["--topology", "rel.txt", "--observed", "observed.toml"];
    let learnt = folder.run(&[&["learn"], &observed[..], &["--output", "model.toml"]].concat());
    assert_eq!(learnt.status.code(), Some(0), "{}", words(&learnt));
    let before = folder.json(&["explain", "65538"], &[], 0);
    assert_eq!(before["tied"], true);
    let after = folder.json(&["explain", "65538"], &["--model", "model.toml"], 0);
    assert_eq!(
        (&after["tied"], &after["lands"][0]["site"]),
        (&false.into(), &"nrt".into()),
        "{after}"
    );
    let scored = folder.run(&[&["score"], &observed[..], &["--json"]].concat());
    assert_eq!(scored.status.code(), Some(0), "{}", words(&scored));
    let scored: Value = serde_json::from_slice(&scored.stdout).unwrap();
    assert_eq!(scored["experiments"][0]["ases"], 3);
    let text = words(&folder.run(&[&["score"], &observed[..]].concat()));
    assert!(text.contains("calibrated") && text.contains("CAME TRUE"), "{text}");
    // Bad input.
    for (name, arguments, want) in [
        ("no manifest", ["--observed", "none.toml"], "cannot read none.toml"),
        ("no model", ["--observed", "rel.txt"], "rel.txt"),
    ] {
        let output = folder.run(&[&["learn", "--topology", "rel.txt"], &arguments[..]].concat());
        assert_eq!(output.status.code(), Some(2), "{name}");
        assert!(words(&output).contains(want), "{name}: {}", words(&output));
    }
    let wrong = folder.on_data(&[], &["--model", "rel.txt"]);
    assert_eq!(wrong.status.code(), Some(2), "{}", words(&wrong));
}

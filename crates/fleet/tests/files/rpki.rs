//! What the RPKI says of a fleet's own prefixes, and VRP files on disk.
#![expect(clippy::unwrap_used, reason = "a test may fail so")]

use std::path::PathBuf;
use std::time::Duration;

use anycast_bgp::policy::{Action, Match};
use anycast_bgp::rov::{Validity, VrpTable, file};
use anycast_fleet::{parse, read, read_with_vrps};

/// Fra announces from the fleet's number, lon from its own, ham from a private one that its
/// provider AS 64503 replaces.
const FLEET: &str = r#"
[fleet]
name = "example"
asn = 64500
[rpki]
vrp-file = "vrps.json"
[prefix."192.0.2.0/24"]
services = ["dns"]
[service.dns]
addresses = ["192.0.2.53"]
builtin = "whoami"
[site.fra]
city = "Frankfurt"
[site.fra.neighbor.a]
address = "198.51.100.0"
local-address = "198.51.100.1"
asn = 64501
export = "fleet"
[site.lon]
city = "London"
asn = 64510
[site.lon.neighbor.b]
address = "198.51.100.2"
local-address = "198.51.100.3"
asn = 64502
export = "fleet"
[site.ham]
city = "Hamburg"
asn = 64512
[site.ham.neighbor.c]
address = "198.51.100.4"
local-address = "198.51.100.5"
asn = 64503
export = "fleet"
"#;

/// A folder of this test's own, removed with it.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Self {
        let name = format!("anycast-fleet-rpki-{name}-{}", std::process::id());
        let folder = Self(std::env::temp_dir().join(name));
        std::fs::create_dir_all(&folder.0).unwrap();
        std::fs::write(folder.0.join("fleet.toml"), FLEET).unwrap();
        folder
    }

    fn fleet(&self) -> PathBuf {
        self.0.join("fleet.toml")
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

fn vrps(asns: &[u32], prefix: &str, max_length: u8) -> VrpTable {
    let roa = |asn| format!(r#"{{"prefix":"{prefix}","maxLength":{max_length},"asn":{asn}}}"#);
    let roas: Vec<String> = asns.iter().map(roa).collect();
    file::parse(format!(r#"{{"roas":[{}]}}"#, roas.join(",")).as_bytes()).unwrap()
}

#[test]
fn each_origin_that_others_will_call_invalid_is_named_with_its_sites_and_line() {
    let folder = Folder::new("origins");
    let found = |vrps: &VrpTable| -> Vec<String> {
        let report = read_with_vrps(&folder.fleet(), vrps).unwrap();
        let json = report.to_json();
        let problems = json.as_array().unwrap().iter().filter(|it| it["code"] == "rpki-invalid");
        problems.map(|it| format!("{}: {}", it["line"], it["message"].as_str().unwrap())).collect()
    };
    let nothing: [&str; 0] = [];
    assert_eq!(found(&VrpTable::default()), nothing, "not-found is no reason to warn");
    assert_eq!(found(&vrps(&[64500, 64510, 64503], "192.0.2.0/24", 24)), nothing);
    assert_eq!(
        found(&vrps(&[64500, 64512], "192.0.2.0/24", 24)),
        [
            "7: the RPKI calls 192.0.2.0/24 from AS64503 invalid (announced at ham): AS64503 may \
             not announce it, only AS64500, AS64512",
            "7: the RPKI calls 192.0.2.0/24 from AS64510 invalid (announced at lon): AS64510 may \
             not announce it, only AS64500, AS64512",
        ]
    );
    let found = found(&vrps(&[64500, 64510, 64503], "192.0.0.0/16", 16));
    assert_eq!(found.len(), 3);
    let want = "AS64510 may announce prefixes of at most /16 there, and this is a /24";
    assert!(found[2].ends_with(want), "{found:?}");
}

#[test]
fn a_vrp_file_that_is_not_there_is_a_warning_and_its_path_is_from_the_fleets_folder() {
    let folder = Folder::new("file");
    let report = read(&folder.fleet()).unwrap();
    assert!(report.problems.iter().any(|problem| problem.code == "vrp-file"));
    std::fs::write(folder.0.join("vrps.json"), "").unwrap();
    let report = read(&folder.fleet()).unwrap();
    assert!(!report.problems.iter().any(|problem| problem.code == "vrp-file"));
    let fleet = report.fleet.unwrap();
    let site = fleet.site("fra").unwrap();
    assert_eq!(site.rpki(&fleet).unwrap().vrp_file, Some(folder.0.join("vrps.json")));
}

#[test]
fn invalid_routes_are_refused_by_one_word_or_a_rule_and_by_default_not() {
    let first = |source: &str| {
        let fleet = parse("x", source).fleet.unwrap();
        let neighbor = fleet.site("fra").unwrap().neighbor("a").unwrap();
        neighbor.import_policy(&fleet).rules.into_iter().next()
    };
    let told = "asn = 64501\n";
    let everything = FLEET.replace(told, "asn = 64501\nimport = \"everything\"\n");
    assert_ne!(first(&everything).unwrap().action, Action::Reject);
    let word = everything.replace("[rpki]\n", "[rpki]\nreject-invalid = true\n");
    let policy = "[policy.p]\nrules = [{ action = \"accept\" }]\n[site.fra]\n";
    let named =
        FLEET.replace(told, "asn = 64501\nimport = \"p\"\n").replace("[site.fra]\n", policy);
    let both = named.replace("[rpki]\n", "[rpki]\nreject-invalid = true\n");
    let rule = "[{ rpki = \"invalid\", action = \"reject\" }, { action";
    let rule = named.replace("[{ action", rule);
    for source in [word, both, rule] {
        let rule = first(&source).unwrap();
        assert_eq!(rule.matches, [Match::Rpki(Validity::Invalid)]);
        assert_eq!(rule.action, Action::Reject);
    }
}

#[test]
fn a_site_waits_three_seconds_for_the_first_vrps_unless_the_file_says_otherwise() {
    let wait = |words: &str| {
        let source = FLEET.replace("[rpki]\n", &format!("[rpki]\n{words}"));
        let fleet = parse("x", &source).fleet.unwrap();
        fleet.site("fra").unwrap().rpki(&fleet).unwrap().wait
    };
    assert_eq!(wait(""), Duration::from_secs(3));
    assert_eq!(wait("wait = \"250ms\"\n"), Duration::from_millis(250));
    assert_eq!(wait("wait = \"0s\"\n"), Duration::ZERO);
}

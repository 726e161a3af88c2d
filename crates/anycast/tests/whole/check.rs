//! `anycast check`: exit codes, and what people and programs are told.

use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::program::{Desk, Output, User};

/// Sound.
const SOUND: &str = r#"
[fleet]
name = "test"
asn = 64500

[prefix."192.0.2.0/24"]
services = ["whoami"]

[service.whoami]
addresses = ["192.0.2.1"]
builtin = "whoami"

[site.fra]
city = "Frankfurt"

[site.fra.neighbor.left]
address = "198.51.100.0"
local-address = "198.51.100.1"
asn = 64501
relation = "provider"
import = "everything"
export = "fleet"

[site.nyc]
city = "New York"

[site.nyc.neighbor.right]
address = "198.51.100.2"
local-address = "198.51.100.3"
asn = 64502
relation = "provider"
import = "everything"
export = "fleet"
"#;

fn examples() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples")
}

/// Checks a file with this content.
fn check(content: impl AsRef<[u8]>, options: &[&str]) -> Output {
    let desk = Desk::new(User::Ordinary);
    desk.write("fleet.toml", content);
    desk.run(&[&["check", "fleet.toml"], options].concat())
}

/// Where a text stands in another: line and column, both from 1.
fn place(text: &str, part: &str) -> (u64, u64) {
    let before = &text[..text.find(part).expect("it is there")];
    let line = before.matches('\n').count() + 1;
    let column = before.rsplit('\n').next().expect("a line").chars().count() + 1;
    (line as u64, column as u64)
}

#[test]
fn every_shipped_fleet_is_without_errors() {
    let desk = Desk::new(User::Root);
    let mut seen = 0;
    for entry in std::fs::read_dir(examples()).expect("the examples").flatten() {
        let text = std::fs::read_to_string(entry.path()).unwrap_or_default();
        if !text.contains("\n[fleet]\n") {
            continue;
        }
        seen += 1;
        let path = entry.path();
        let output = desk.run(&["check", path.to_str().expect("a path of letters")]);
        assert_eq!(output.code, Some(0), "{}: {output:?}", path.display());
        assert_eq!(output.err, "", "{}", path.display());
    }
    assert!(seen >= 3, "there are {seen} fleets among the examples");
}

#[test]
fn a_sound_file_says_so_in_one_line() {
    let output = check(SOUND, &["--strict"]);
    assert_eq!(output.code, Some(0), "{output:?}");
    assert_eq!(output.out, "fleet.toml: sound: 2 sites, 1 prefix, 1 service\n");
}

#[test]
fn every_problem_is_shown_with_its_place_and_what_to_do() {
    let broken = SOUND
        .replace("builtin = \"whoami\"", "buildin = \"whoami\"")
        .replace("192.0.2.1", "203.0.113.1")
        .replace("asn = 64502", "asn = \"many\"");
    let output = check(&broken, &[]);
    assert_eq!(output.code, Some(2), "{output:?}");
    for (wrong, said) in
        [("buildin", "did you mean"), ("\"203.0.113.1\"", "help: "), ("\"many\"", "help: ")]
    {
        let (line, column) = place(&broken, wrong);
        // A wrong string may be underlined with its quotes or without.
        let at = [column, column + 1].map(|column| format!("fleet.toml:{line}:{column}"));
        let shown = output
            .out
            .split("╭─[")
            .find(|shown| at.iter().any(|at| shown.starts_with(&format!("{at}]"))));
        let shown = shown.unwrap_or_else(|| panic!("{at:?} is not in {}", output.out));
        assert!(shown.contains(&format!("{line} │ ")), "its line is shown: {shown}");
        assert!(shown.contains('┬'), "it is underlined: {shown}");
        assert!(shown.to_lowercase().contains(said), "{said} is in {shown}");
    }
    assert!(output.out.contains("\nfleet.toml: 3 errors, "), "{}", output.out);
    assert!(!output.out.contains('\x1b'), "no colour in a file");
}

#[test]
fn json_names_line_and_column_of_each_problem() {
    let broken = SOUND.replace("city = \"Frankfurt\"", "citi = \"Frankfurt\"");
    let broken = broken.replace("asn = 64501", "asn = 0");
    let output = check(&broken, &["--json"]);
    assert_eq!(output.code, Some(2), "{output:?}");
    let problems: Value = serde_json::from_str(&output.out).expect("JSON and nothing else");
    let found: Vec<_> = problems
        .as_array()
        .expect("a list")
        .iter()
        .map(|problem| {
            assert_eq!(problem["file"], "fleet.toml");
            assert_eq!(problem["severity"], "error");
            assert!(!problem["help"].as_str().expect("help").is_empty(), "{problem}");
            (problem["line"].as_u64().expect("a line"), problem["column"].as_u64().expect("one"))
        })
        .collect();
    let (line, column) = place(&broken, "asn = 0");
    assert_eq!(found, [place(&broken, "citi"), (line, column + 6)]);
}

#[test]
fn json_of_a_sound_file_is_an_empty_list() {
    assert_eq!(check(SOUND, &["--json"]).json(), Value::Array(Vec::new()));
}

#[test]
fn warnings_fail_only_when_strict() {
    // Nobody checks the service.
    let doubtful = SOUND.replace("builtin = \"whoami\"\n", "");
    for (options, code) in [(&[][..], 0), (&["--strict"], 1), (&["--strict", "--json"], 1)] {
        let output = check(&doubtful, options);
        assert_eq!(output.code, Some(code), "{options:?}: {output:?}");
        assert!(output.out.contains("warning"), "{output:?}");
    }
}

#[test]
fn what_is_no_text_file_is_refused_in_a_sentence() {
    let desk = Desk::new(User::Ordinary);
    desk.write("latin1.toml", b"name = \"S\xe3o Paulo\"\n");
    for (file, words) in [
        ("missing.toml", "No such file or directory"),
        (".", "Is a directory"),
        ("latin1.toml", "byte 9 is not UTF-8"),
    ] {
        for options in [&[][..], &["--json"]] {
            let output = desk.run(&[&["check", file], options].concat());
            output.failed_with(2, &["anycast: ", file, words]);
            assert_eq!(output.out, "", "{file}");
            assert_eq!(output.err.lines().count(), 1, "{}", output.err);
        }
    }
}

#[test]
fn an_empty_file_and_one_of_noise_are_refused_with_a_place() {
    for content in ["", "\0\0\0", "]]]]", "fleet = 1", "[fleet", "\u{feff}"] {
        let output = check(content, &[]);
        assert_eq!(output.code, Some(2), "{content:?}: {output:?}");
        assert!(output.out.contains("fleet.toml:1:"), "{content:?}: {output:?}");
    }
}

#[test]
fn a_reader_that_has_seen_enough_ends_it_without_a_word() {
    let desk = Desk::new(User::Ordinary);
    desk.write("fleet.toml", SOUND);
    let (reader, writer) = std::io::pipe().expect("a pipe");
    drop(reader);
    let mut command = desk.anycast(&["check", "fleet.toml"]);
    let output = command.stdout(writer).output().expect("it starts");
    // 128 + SIGPIPE.
    assert_eq!(output.status.code(), Some(141));
    assert_eq!(String::from_utf8_lossy(&output.stderr), "");
}

#[test]
fn what_others_will_drop_is_a_warning_with_file_and_line() {
    let desk = Desk::new(User::Ordinary);
    desk.write("fleet.toml", SOUND);
    let roas = |asn: u32| format!(r#"{{"roas": [{{"prefix": "192.0.2.0/24", "asn": {asn}}}]}}"#);
    desk.write("vrps.json", roas(64500));
    let good = desk.run(&["check", "fleet.toml", "--strict", "--vrps", "vrps.json"]);
    assert_eq!(good.code, Some(0), "{good:?}");
    desk.write("vrps.json", roas(64999));
    let bad = desk.run(&["check", "fleet.toml", "--strict", "--vrps", "vrps.json"]);
    assert_eq!(bad.code, Some(1), "{bad:?}");
    for words in ["fleet.toml:6:", "rpki-invalid", "from AS64500 invalid", "AS64999"] {
        assert!(bad.out.contains(words), "{words}: {}", bad.out);
    }
    desk.write("vrps.json", "{");
    desk.run(&["check", "fleet.toml", "--vrps", "vrps.json"])
        .failed_with(2, &["vrps.json is no VRP file: EOF", "line 1"]);
    desk.run(&["check", "fleet.toml", "--vrps", "none.json"])
        .failed_with(2, &["cannot read none.json"]);
}

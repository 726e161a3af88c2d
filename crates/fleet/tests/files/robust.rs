//! Whatever the text is, reading it and showing what is wrong with it does not panic, and every
//! problem points into the text.

use anycast_fleet::{Severity, parse};
use proptest::prelude::*;

const EXAMPLES: [&str; 3] = [
    include_str!("../../../../examples/fleet.toml"),
    include_str!("../../../../examples/vps.toml"),
    include_str!("../../../../examples/minimal.toml"),
];

/// Pieces that mean something somewhere in the file.
const PIECES: [&str; 38] = [
    "",
    "\"",
    "'",
    "\"\"\"",
    "[",
    "]",
    "[[",
    "]]",
    "{",
    "}",
    "=",
    ",",
    ".",
    "#",
    "\n",
    "\0",
    "\u{feff}",
    "ü",
    "0",
    "-1",
    "1e999",
    "nan",
    "0x7fffffffffffffff",
    "9999999999999999999999",
    "true",
    "[]",
    "{}",
    "\"\"",
    "\"1\"",
    "\"0s\"",
    "\"99999999h\"",
    "\"::/0\"",
    "\"0.0.0.0/0\"",
    "1979-05-27",
    "[fleet]\n",
    "[site.fra]\n",
    "check = 1\n",
    "\u{1b}[31m",
];

/// Reads, shows in every form, and holds the report to what it promises.
fn read_and_show(source: &str) {
    let report = parse("some/fleet.toml", source);
    for problem in &report.problems {
        assert!(problem.span.start <= problem.span.end && problem.span.end <= source.len());
        assert!(!problem.message.is_empty() && !problem.help.is_empty(), "{problem:?}");
    }
    let has_error = report.problems.iter().any(|problem| problem.severity == Severity::Error);
    assert_ne!(report.fleet.is_some(), has_error);
    let shown = report.render(false);
    assert_eq!(shown.is_empty(), report.problems.is_empty());
    let json = report.to_json();
    let lines = source.matches('\n').count() as u64 + 1;
    for problem in json.as_array().into_iter().flatten() {
        assert!((1..=lines).contains(&problem["line"].as_u64().unwrap_or(0)), "{problem}");
    }
    if let Some(fleet) = report.fleet {
        for site in &fleet.sites {
            fleet.steer_at(site);
            for neighbor in &site.neighbors {
                neighbor.import_policy(&fleet);
                neighbor.export_policy(&fleet, site, u8::MAX);
                assert!(neighbor.hops >= 1 && neighbor.min_ttl().is_none_or(|ttl| ttl >= 1));
            }
        }
    }
}

/// The nearest character boundary at or before `at`.
fn boundary(text: &str, at: usize) -> usize {
    (0..=at.min(text.len())).rev().find(|at| text.is_char_boundary(*at)).unwrap_or(0)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn arbitrary_text_never_panics(source in "\\PC{0,200}") {
        read_and_show(&source);
    }

    #[test]
    fn arbitrary_pieces_of_toml_never_panic(
        pieces in prop::collection::vec(prop::sample::select(&PIECES[..]), 0..40)
    ) {
        read_and_show(&pieces.concat());
    }

    #[test]
    fn a_mutated_fleet_never_panics(
        example in prop::sample::select(&EXAMPLES[..]),
        cuts in prop::collection::vec(
            (any::<prop::sample::Index>(), 0_usize..30, prop::sample::select(&PIECES[..])),
            1..6
        ),
    ) {
        let mut source = example.to_owned();
        for (at, length, piece) in cuts {
            let start = boundary(&source, at.index(source.len() + 1));
            let end = boundary(&source, start + length).max(start);
            source.replace_range(start..end, piece);
        }
        read_and_show(&source);
    }

    #[test]
    fn a_fleet_with_any_value_in_any_place_never_panics(
        example in prop::sample::select(&EXAMPLES[..]),
        line in any::<prop::sample::Index>(),
        value in prop::sample::select(&PIECES[..]),
    ) {
        let lines: Vec<&str> = example.lines().collect();
        let line = line.index(lines.len());
        let changed = lines[line].split_once('=').map(|(key, _)| format!("{key}= {value}"));
        let mut lines: Vec<String> = lines.into_iter().map(str::to_owned).collect();
        lines[line] = changed.unwrap_or_else(|| value.to_owned());
        read_and_show(&lines.join("\n"));
    }
}

#[test]
fn deep_nesting_and_long_lines_never_panic() {
    for source in ["[", "{a=", "[[a.", "a.", "'", "[fleet]\nname=["] {
        read_and_show(&source.repeat(5000));
    }
    read_and_show(&format!("[fleet]\nname = \"{}\"", "x".repeat(100_000)));
}

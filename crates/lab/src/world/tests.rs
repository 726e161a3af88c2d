//! Everything that can be wrong with a world file, each said once and at its place.

use super::*;

/// A sound world, from which the cases differ.
const SOUND: &str = r#"
[world]
name = "test"

[as.top]
asn = 64496
cities = ["London", "New York"]

[as.other]
asn = 64497
cities = ["Paris"]
peers = ["top"]

[as.access]
asn = 65536
cities = ["Madrid"]
providers = ["top"]
prefix-v4 = "203.0.113.0/29"

[client.madrid]
as = "access"
"#;

/// What it shows, the file, and the line and code of each problem.
type Case<'a> = (&'a str, String, &'a [(usize, &'a str)]);

/// The line of each problem, counted from one, with its code.
fn problems(source: &str) -> Vec<(usize, &'static str)> {
    let report = parse("world.toml", source);
    let line = |at: usize| source[..at].matches('\n').count() + 1;
    report.problems.iter().map(|problem| (line(problem.span.start), problem.code)).collect()
}

#[test]
fn a_sound_world_is_read_whole() {
    let report = parse("world.toml", SOUND);
    assert!(report.problems.is_empty(), "{}", report.render(false));
    let world = report.world.unwrap();
    assert_eq!((world.name.as_str(), world.hold_time, world.stretch), ("test", HOLD_TIME, 1.5));
    let names: Vec<&str> = world.systems.iter().map(|system| system.name.as_str()).collect();
    assert_eq!(names, ["top", "other", "access"]);
    assert_eq!(world.systems[1].peers, [0]);
    assert_eq!(world.systems[2].providers, [0]);
    assert_eq!((world.clients[0].system, world.clients[0].city), (2, 0));
}

const HOLD_TIME: Duration = Duration::from_secs(3);

#[test]
fn each_fault_is_told_at_its_place() {
    let edit = |from: &str, to: &str| {
        assert_eq!(SOUND.matches(from).count(), 1, "{from}");
        SOUND.replace(from, to)
    };
    let add = |text: &str| format!("{SOUND}{text}");
    let table: [Case<'_>; 29] = [
        ("unknown section", add("[cleint.x]\n"), &[(22, "unknown-key")]),
        ("unknown key", edit("providers", "provider"), &[(17, "unknown-key")]),
        ("no number", edit("asn = 64497\n", ""), &[(9, "missing-key")]),
        ("no cities", edit("cities = [\"Paris\"]\n", ""), &[(9, "missing-key")]),
        ("empty cities", edit("[\"Paris\"]", "[]"), &[(11, "missing-key")]),
        ("unknown city", edit("Paris", "Pariss"), &[(11, "unknown-city")]),
        ("a city twice", edit("New York", "london"), &[(7, "duplicate")]),
        ("a number twice", edit("65536", "64496"), &[(15, "duplicate")]),
        ("reserved number", edit("65536", "65535"), &[(15, "reserved-asn")]),
        (
            "unknown provider",
            edit("providers = [\"top\"]", "providers = [\"tpo\"]"),
            &[(17, "unknown-name")],
        ),
        (
            "own provider",
            edit("providers = [\"top\"]", "providers = [\"access\"]"),
            &[(17, "bad-value")],
        ),
        (
            "provider twice",
            edit("providers = [\"top\"]", "providers = [\"top\", \"top\"]"),
            &[(17, "duplicate")],
        ),
        (
            "peer and provider",
            edit("peers = [\"top\"]", "peers = [\"top\"]\nproviders = [\"top\"]"),
            &[(12, "contradiction")],
        ),
        (
            "a circle",
            edit(
                "cities = [\"London\", \"New York\"]",
                "cities = [\"London\"]\nproviders = [\"access\"]",
            ),
            &[(8, "contradiction")],
        ),
        ("two islands", edit("peers = [\"top\"]\n", ""), &[(9, "unreachable")]),
        (
            "unknown router",
            edit("asn = 65536", "asn = 65536\nrouter = \"brid\""),
            &[(16, "bad-value")],
        ),
        (
            "another program in two cities",
            edit("asn = 64496", "asn = 64496\nrouter = \"bird\""),
            &[(7, "bad-router")],
        ),
        (
            "a leaf's program with customers",
            edit(
                "asn = 64497\ncities = [\"Paris\"]",
                "asn = 64497\ncities = [\"Paris\"]\nrouter = \"gobgp\"",
            )
            .replace("providers = [\"top\"]", "providers = [\"other\"]"),
            &[(12, "bad-router")],
        ),
        ("host bits", edit("203.0.113.0/29", "203.0.113.1/29"), &[(18, "bad-value")]),
        ("not a prefix", edit("203.0.113.0/29", "203.0.113.0"), &[(18, "bad-value")]),
        ("overlaps links", edit("203.0.113.0/29", "198.51.100.0/29"), &[(18, "overlap")]),
        (
            "overlaps another",
            edit("peers = [\"top\"]", "peers = [\"top\"]\nprefix-v4 = \"203.0.113.0/28\""),
            &[(19, "overlap")],
        ),
        (
            "client without network",
            edit("prefix-v4 = \"203.0.113.0/29\"\n", ""),
            &[(20, "missing-key")],
        ),
        ("client of nobody", edit("as = \"access\"", "as = \"acces\""), &[(21, "unknown-name")]),
        ("client elsewhere", add("city = \"Paris\"\n"), &[(22, "unknown-name")]),
        (
            "which city",
            add("[client.x]\nas = \"top\"\n"),
            &[(23, "missing-key"), (22, "missing-key")],
        ),
        ("a name twice", add("[client.access]\nas = \"access\"\n"), &[(22, "duplicate")]),
        (
            "hold time of two seconds",
            edit("name = \"test\"", "hold-time = \"2s\""),
            &[(3, "bad-value")],
        ),
        ("backwards stretch", edit("name = \"test\"", "stretch = -1"), &[(3, "bad-value")]),
    ];
    for (name, source, want) in table {
        let mut got = problems(&source);
        let mut want = want.to_vec();
        got.sort_unstable();
        want.sort_unstable();
        assert_eq!(got, want, "{name}\n{}", parse("world.toml", &source).render(false));
    }
}

#[test]
fn all_problems_are_told_at_once() {
    let source = SOUND
        .replace("64497", "64496")
        .replace("Madrid\"]", "Madridd\"]")
        .replace("= \"access\"", "= \"x\"");
    assert_eq!(problems(&source), [(10, "duplicate"), (16, "unknown-city"), (21, "unknown-name")]);
}

#[test]
fn no_text_makes_the_reader_panic() {
    for end in 0..SOUND.len() {
        if let Some(part) = SOUND.get(..end) {
            let _ = parse("world.toml", part).render(false);
        }
    }
    for text in [
        "as = 1",
        "as.x = 1",
        "[as]\nx = []",
        "[[as]]",
        "[as.x]\ncities = 3\nasn = []",
        "world = 1",
        "\u{0}",
        "client.x.as = \"y\"",
    ] {
        assert!(parse("world.toml", text).world.is_none(), "{text}");
    }
}

//! docs/fleet.md against the code: its file is sound, and it names every key.
#![expect(clippy::unwrap_used, reason = "a test may fail so")]

use std::collections::BTreeSet;

use anycast_fleet::parse;

fn document(name: &str) -> String {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/");
    std::fs::read_to_string(format!("{path}{name}")).unwrap()
}

fn reference() -> String {
    document("fleet.md")
}

#[test]
fn the_whole_files_of_the_documents_are_sound() {
    for name in ["fleet.md", "floor.md", "looking-glass.md", "metrics.md", "api.md"] {
        its_files_are_sound(name);
    }
}

fn its_files_are_sound(name: &str) {
    let document = document(name);
    let blocks: Vec<&str> =
        document.split("```toml\n").skip(1).map(|rest| rest.split("```").next().unwrap()).collect();
    assert!(!blocks.is_empty());
    for block in blocks {
        let report = parse(name, block);
        assert!(report.problems.is_empty(), "{}", report.render(false));
    }
}

/// A key that is like no other, in every kind of table: what is printed then is all the others.
const EVERY_TABLE: &str = "
[fleet]
zzzzzzzzzzzz = 1
[damping]
zzzzzzzzzzzz = 1
[prefix.\"192.0.2.0/24\"]
zzzzzzzzzzzz = 1
floor = { zzzzzzzzzzzz = 1 }
degraded = [{ zzzzzzzzzzzz = 1 }]
shed = { step = [{ zzzzzzzzzzzz = 1 }], zzzzzzzzzzzz = 1 }
[service.a]
zzzzzzzzzzzz = 1
check = [
    { type = 'tcp', zzzzzzzzzzzz = 1 },
    { type = 'http', zzzzzzzzzzzz = 1 },
    { type = 'https', zzzzzzzzzzzz = 1 },
    { type = 'dns', zzzzzzzzzzzz = 1 },
    { type = 'command', zzzzzzzzzzzz = 1 },
    { type = 'udp', zzzzzzzzzzzz = 1 },
    { type = 'icmp', zzzzzzzzzzzz = 1 },
    { type = 'process', zzzzzzzzzzzz = 1 },
    { type = 'systemd', zzzzzzzzzzzz = 1 },
    { type = 'file', zzzzzzzzzzzz = 1 },
]
[floor]
zzzzzzzzzzzz = 1
[fleet-state]
zzzzzzzzzzzz = 1
[rpki]
zzzzzzzzzzzz = 1
[bmp.b]
zzzzzzzzzzzz = 1
[mrt]
zzzzzzzzzzzz = 1
[drain]
zzzzzzzzzzzz = 1
[affinity]
zzzzzzzzzzzz = 1
key = [{ zzzzzzzzzzzz = 1 }]
[prefix-list.l]
zzzzzzzzzzzz = 1
[policy.p]
zzzzzzzzzzzz = 1
rules = [{ zzzzzzzzzzzz = 1 }]
[looking-glass]
zzzzzzzzzzzz = 1
[metrics]
zzzzzzzzzzzz = 1
[api]
zzzzzzzzzzzz = 1
[api.token.t]
zzzzzzzzzzzz = 1
[api.client.c]
zzzzzzzzzzzz = 1
[site.s]
zzzzzzzzzzzz = 1
rpki = { zzzzzzzzzzzz = 1 }
looking-glass = { zzzzzzzzzzzz = 1 }
metrics = { zzzzzzzzzzzz = 1 }
affinity = { zzzzzzzzzzzz = 1 }
api = { zzzzzzzzzzzz = 1 }
[site.s.neighbor.n]
zzzzzzzzzzzz = 1
bfd = { zzzzzzzzzzzz = 1 }
tcp-ao = { zzzzzzzzzzzz = 1 }
max-prefixes = { zzzzzzzzzzzz = 1 }
";

#[test]
fn the_reference_names_exactly_the_keys_that_there_are() {
    let tables = [
        "affinity",
        "check",
        "key",
        "rules",
        "neighbor",
        "bfd",
        "rpki",
        "looking-glass",
        "metrics",
        "api",
        "token",
        "client",
        "tcp-ao",
        "max-prefixes",
        "floor",
        "degraded",
        "shed",
        "step",
    ];
    let mut keys: BTreeSet<String> = tables.map(str::to_owned).into();
    keys.insert("type".to_owned());
    let mut tables = 0;
    for problem in parse("x", EVERY_TABLE).problems {
        if problem.code == "unknown-key" {
            keys.extend(problem.help.split('`').skip(1).step_by(2).map(str::to_owned));
            tables += 1;
        }
    }
    assert_eq!(tables, EVERY_TABLE.matches("zzzzzzzzzzzz").count());
    let reference = reference();
    let (tables, _) = reference.split_once("\n## Problems\n").unwrap();
    let (_, tables) = tables.split_once("\n## fleet\n").unwrap();
    let named: BTreeSet<String> = tables
        .lines()
        .filter_map(|line| line.strip_prefix("| `")?.split('`').next())
        .map(str::to_owned)
        .collect();
    assert_eq!(named, keys);
}

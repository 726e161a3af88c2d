//! `[affinity]` and what belongs to it in a fleet file, and a key's file.
//!
//! `cargo fuzz run affinity_file` (with a stable compiler: `RUSTC_BOOTSTRAP=1`).
#![no_main]

use std::collections::BTreeSet;

use anycast_fleet::affinity::{MOST_IDS, Secret};
use libfuzzer_sys::fuzz_target;

/// A fleet of two sites that lacks nothing but what is fuzzed.
const FLEET: &str = r#"
[fleet]
name = "x"
asn = 64500
[prefix."192.0.2.0/24"]
services = ["web"]
[service.web]
addresses = ["192.0.2.1"]
[site.fra.neighbor.a]
address = "198.51.100.2"
local-address = "198.51.100.1"
asn = 64510
export = "fleet"
[site.nyc.neighbor.a]
address = "198.51.100.4"
local-address = "198.51.100.3"
asn = 64511
export = "fleet"
"#;

fuzz_target!(|octets: &[u8]| {
    key(octets);
    let Ok(text) = std::str::from_utf8(octets) else { return };
    let report = anycast_fleet::parse("fleet.toml", &format!("{FLEET}{text}"));
    // Every problem has its place, and can be shown.
    let _ = report.render(false);
    let Some(fleet) = &report.fleet else { return };
    let Some(affinity) = &fleet.affinity else { return };
    assert!(affinity.mtu >= 1280 + 68);
    match affinity.keys.as_slice() {
        [_] => {}
        [first, second] => {
            assert!([1, u8::MAX].contains(&first.epoch.wrapping_sub(second.epoch)));
        }
        keys => panic!("{} keys", keys.len()),
    }
    let sites = fleet.sites.iter().filter_map(|site| site.affinity.as_ref());
    let mut ids = BTreeSet::new();
    for site in sites {
        assert!((1..=MOST_IDS).contains(&site.id) && ids.insert(site.id));
        assert!(site.v4.is_some() || site.v6.is_some());
    }
});

/// What is taken for a key is what its digits say.
fn key(octets: &[u8]) {
    let Ok(secret) = Secret::parse(octets) else { return };
    let digits: String = secret.octets().iter().map(|octet| format!("{octet:02x}")).collect();
    assert_eq!(octets.trim_ascii().to_ascii_lowercase(), digits.as_bytes());
}

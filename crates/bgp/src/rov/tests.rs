//! Origin validation by tables, and against a model that looks at every VRP.

use proptest::prelude::*;

use super::*;
use crate::as_path::Segment;

fn net(text: &str) -> IpNet {
    text.parse().unwrap()
}

/// `192.0.2.0/24-28 AS64500`, as VRPs are shown.
fn vrp(text: &str) -> Vrp {
    let (prefix, asn) = text.split_once(' ').unwrap();
    let (prefix, max_length) = match prefix.split_once('-') {
        Some((prefix, length)) => (net(prefix), length.parse().unwrap()),
        None => (net(prefix), net(prefix).prefix_len()),
    };
    Vrp::new(prefix, max_length, asn.parse().unwrap()).unwrap()
}

fn table(vrps: &[&str]) -> VrpTable {
    vrps.iter().map(|text| vrp(text)).collect()
}

#[test]
fn a_route_is_valid_by_one_vrp_and_invalid_only_if_all_that_cover_it_say_no() {
    let vrps = table(&[
        "10.0.0.0/8-16 AS64500",
        "10.1.0.0/16-24 AS64501",
        "10.1.0.0/16 AS64502",
        "10.1.2.0/24 AS0",
        "192.0.2.0/24 AS0",
        "198.51.100.0/24 AS0",
        "198.51.100.0/24 AS64500",
        "2001:db8::/32-48 AS64500",
        "2001:db8:1::/48-64 AS64501",
        "2001:db8:1:2:8000::/65-128 AS64502",
        "0.0.0.0/0 AS64509",
    ]);
    let some = |asn| Some(Asn(asn));
    for (prefix, origin, want) in [
        ("10.0.0.0/8", some(64500), Validity::Valid),
        ("10.0.0.0/8", some(64501), Validity::Invalid),
        ("10.2.0.0/16", some(64500), Validity::Valid),
        ("10.2.0.0/17", some(64500), Validity::Invalid),
        ("10.1.0.0/16", some(64500), Validity::Valid),
        ("10.1.0.0/16", some(64502), Validity::Valid),
        ("10.1.0.0/17", some(64502), Validity::Invalid),
        ("10.1.255.0/24", some(64501), Validity::Valid),
        ("10.1.255.0/25", some(64501), Validity::Invalid),
        // AS 0 says no, and takes nothing from what others say.
        ("10.1.2.0/24", some(64501), Validity::Valid),
        ("10.1.2.0/24", some(64500), Validity::Invalid),
        ("192.0.2.0/24", some(64500), Validity::Invalid),
        ("192.0.2.0/24", some(0), Validity::Invalid),
        ("198.51.100.0/24", some(64500), Validity::Valid),
        ("198.51.100.0/24", some(0), Validity::Invalid),
        // A path that ends with a set matches nothing.
        ("10.0.0.0/8", None, Validity::Invalid),
        ("2001:db9::/32", None, Validity::NotFound),
        ("0.0.0.0/0", some(64509), Validity::Valid),
        ("203.0.113.0/24", some(64509), Validity::Invalid),
        ("2001:db8::/32", some(64500), Validity::Valid),
        ("2001:db8::/31", some(64500), Validity::NotFound),
        ("2001:db8:ffff::/48", some(64500), Validity::Valid),
        ("2001:db8:ffff::/49", some(64500), Validity::Invalid),
        ("2001:db8:1::/48", some(64500), Validity::Valid),
        ("2001:db8:1:2::/64", some(64501), Validity::Valid),
        ("2001:db8:1:2:8000::1/128", some(64502), Validity::Valid),
        ("2001:db8:1:2:7fff::1/128", some(64502), Validity::Invalid),
        ("::/0", some(64500), Validity::NotFound),
    ] {
        let prefix = net(prefix);
        assert_eq!(vrps.validate(&prefix, origin), want, "{prefix} {origin:?}");
        assert_eq!(vrps.explain(&prefix, origin).validity, want, "{prefix} {origin:?}");
    }
    let shown: Vec<String> =
        vrps.covering(&net("10.1.2.0/24")).iter().map(ToString::to_string).collect();
    assert_eq!(
        shown,
        [
            "10.1.2.0/24 AS0",
            "10.1.0.0/16-24 AS64501",
            "10.1.0.0/16 AS64502",
            "10.0.0.0/8-16 AS64500",
            "0.0.0.0/0 AS64509",
        ]
    );
}

#[test]
fn why_a_prefix_is_invalid_is_said_in_words() {
    let vrps = table(&["192.0.2.0/24 AS64500", "198.51.100.0/24 AS0", "192.0.2.0/24-25 AS64501"]);
    for (prefix, origin, want) in [
        ("192.0.2.0/24", Some(64500), None),
        ("203.0.113.0/24", Some(64500), None),
        (
            "192.0.2.0/25",
            Some(64500),
            Some("AS64500 may announce prefixes of at most /24 there, and this is a /25"),
        ),
        ("192.0.2.0/24", Some(64502), Some("AS64502 may not announce it, only AS64500, AS64501")),
        (
            "198.51.100.0/24",
            Some(64500),
            Some("its holder says that nobody may announce it (AS 0)"),
        ),
        ("192.0.2.0/24", None, Some("its path ends with a set, so nobody vouches for its origin")),
    ] {
        let prefix = net(prefix);
        let finding = vrps.explain(&prefix, origin.map(Asn));
        assert_eq!(finding.why_invalid(&prefix).as_deref(), want, "{prefix} {origin:?}");
    }
}

#[test]
fn the_origin_is_the_last_of_the_path_our_own_or_nobody() {
    let sequence = Segment { kind: SegmentKind::AsSequence, asns: &[Asn(64500), Asn(64501)] };
    let set = Segment { kind: SegmentKind::AsSet, asns: &[Asn(64502), Asn(64503)] };
    let confed_sequence = Segment { kind: SegmentKind::AsConfedSequence, asns: &[Asn(65001)] };
    let confed_set = Segment { kind: SegmentKind::AsConfedSet, asns: &[Asn(65001)] };
    for (segments, want) in [
        (vec![], Some(64999)),
        (vec![sequence], Some(64501)),
        (vec![sequence, set], None),
        (vec![set, sequence], Some(64501)),
        (vec![confed_sequence, sequence], Some(64501)),
        (vec![confed_sequence], Some(64999)),
        (vec![confed_set], Some(64999)),
    ] {
        let path = AsPath::of(segments);
        assert_eq!(origin(&path, Asn(64999)), want.map(Asn), "{path}");
    }
}

#[test]
fn what_is_no_vrp_is_refused() {
    for (prefix, max_length, want) in [
        ("192.0.2.0/24", 24, Ok(())),
        ("192.0.2.0/24", 32, Ok(())),
        ("192.0.2.0/24", 23, Err("the maximum length of 192.0.2.0/24 cannot be 23")),
        ("192.0.2.0/24", 33, Err("the maximum length of 192.0.2.0/24 cannot be 33")),
        ("192.0.2.1/24", 24, Err("192.0.2.1/24 has host bits set")),
        ("2001:db8::/32", 128, Ok(())),
        ("2001:db8::/32", 129, Err("the maximum length of 2001:db8::/32 cannot be 129")),
    ] {
        let got = Vrp::new(net(prefix), max_length, Asn(1)).map(drop);
        assert_eq!(got.map_err(|why| why.to_string()), want.map_err(str::to_owned));
    }
}

#[test]
fn files_of_all_validators_are_read_and_a_bad_entry_spoils_the_whole() {
    let good = r#"{
        "metadata": {"buildmachine": "x", "vrps": 3},
        "roas": [
            {"prefix": "192.0.2.0/24", "maxLength": 24, "asn": "AS64500", "ta": "ripe"},
            {"asn": 64501, "prefix": "2001:db8::/32", "maxLength": 48, "ta": "arin", "expires": 1},
            {"asn": "64502", "prefix": "198.51.100.0/24"},
            {"asn": "AS64502", "prefix": "198.51.100.0/24", "maxLength": 24}
        ],
        "bgpsec_keys": [], "aspas": [{"customer_asid": 1, "providers": [2]}]
    }"#;
    let want =
        table(&["192.0.2.0/24 AS64500", "198.51.100.0/24 AS64502", "2001:db8::/32-48 AS64501"]);
    assert_eq!(file::parse(good.as_bytes()).unwrap(), want);
    assert!(file::parse(br#"{"roas": []}"#).unwrap().is_empty());
    for (bad, want) in [
        ("", "EOF while parsing a value at line 1"),
        ("{}", "missing field `roas` at line 1"),
        (
            "{\"roas\": [\n{\"prefix\": \"192.0.2.1/24\", \"asn\": 1}]}",
            "192.0.2.1/24 has host bits set at line 2",
        ),
        (
            r#"{"roas": [{"prefix": "192.0.2.0/24", "maxLength": 8, "asn": 1}]}"#,
            "the maximum length of 192.0.2.0/24 cannot be 8 at line 1",
        ),
        (
            r#"{"roas": [{"prefix": "192.0.2.0/24", "asn": "ASx"}]}"#,
            "\"ASx\" is no AS number at line 1",
        ),
        (
            r#"{"roas": [{"prefix": "192.0.2.0/24", "asn": 4294967296}]}"#,
            "an AS number has 32 bits at line 1",
        ),
        (r#"{"roas": [{"prefix": "192.0.2.0/24"}]}"#, "missing field `asn` at line 1"),
        (r#"{"roas": []} x"#, "trailing characters at line 1"),
    ] {
        let why = file::parse(bad.as_bytes()).unwrap_err().to_string();
        assert_eq!(why.rsplit_once(" column ").unwrap().0, want, "{bad}");
    }
}

/// Prefixes that often cover each other.
fn prefixes() -> impl Strategy<Value = IpNet> {
    let v4 = (0_u32..8, 0_u32..4, 0_u8..=32).prop_map(|(high, low, length)| {
        let address = std::net::Ipv4Addr::from_bits(high << 28 | low << 8 | low);
        IpNet::new(address.into(), length).unwrap().trunc()
    });
    let v6 = (0_u128..8, 0_u128..4, 0_u8..=128).prop_map(|(high, low, length)| {
        let bits = 0x2000_u128 << 112 | high << 80 | low << 64 | low << 16 | low;
        IpNet::new(std::net::Ipv6Addr::from_bits(bits).into(), length).unwrap().trunc()
    });
    prop_oneof![v4, v6]
}

fn vrps() -> impl Strategy<Value = Vec<Vrp>> {
    let one = (prefixes(), any::<u8>(), 0_u32..3).prop_map(|(prefix, more, asn)| {
        let room = prefix.max_prefix_len() - prefix.prefix_len();
        Vrp::new(prefix, prefix.prefix_len() + more % (room + 1), Asn(asn)).unwrap()
    });
    prop::collection::vec(one, 0..40)
}

fn model(vrps: &[Vrp], prefix: &IpNet, origin: Option<Asn>) -> Validity {
    let covering: Vec<&Vrp> = vrps.iter().filter(|vrp| vrp.prefix.contains(prefix)).collect();
    let matches = |vrp: &&Vrp| {
        prefix.prefix_len() <= vrp.max_length && Some(vrp.asn) == origin && vrp.asn != Asn(0)
    };
    match (covering.is_empty(), covering.iter().any(matches)) {
        (true, _) => Validity::NotFound,
        (false, true) => Validity::Valid,
        (false, false) => Validity::Invalid,
    }
}

/// Large enough for the index by first bits.
fn large() -> Vec<Vrp> {
    let v4 = (0_u32..20_000).map(|n| {
        let address = std::net::Ipv4Addr::from_bits(n.wrapping_mul(0x9e37_79b9) & 0xffff_ff00);
        let length = 8 + u8::try_from(n % 17).unwrap();
        (IpNet::new(address.into(), length).unwrap().trunc(), n)
    });
    let v6 = (0_u32..20_000).map(|n| {
        let bits = 1_u128 << 125 | u128::from(n.wrapping_mul(0x9e37_79b9)) << 80;
        let length = 16 + u8::try_from(n % 33).unwrap();
        (IpNet::new(std::net::Ipv6Addr::from_bits(bits).into(), length).unwrap().trunc(), n)
    });
    v4.chain(v6).map(|(net, n)| Vrp::new(net, net.prefix_len(), Asn(n % 5)).unwrap()).collect()
}

#[test]
fn a_large_table_finds_what_a_look_at_every_vrp_finds() {
    let vrps = large();
    let table: VrpTable = vrps.iter().copied().collect();
    let (mut states, step) = (std::collections::BTreeMap::new(), 97);
    for (index, vrp) in vrps.iter().step_by(step).enumerate() {
        let prefix = match vrp.prefix.subnets(vrp.prefix.prefix_len() + u8::from(index % 3 != 0)) {
            Ok(subnets) => subnets.last().unwrap(),
            Err(_) => vrp.prefix,
        };
        let origin = Some(Asn(u32::try_from(index % 5).unwrap()));
        let got = table.validate(&prefix, origin);
        assert_eq!(got, model(&vrps, &prefix, origin), "{prefix}");
        *states.entry(got).or_insert(0) += 1;
    }
    for prefix in ["255.255.255.255/32", "0.0.0.0/0", "::/0", "ff00::/8", "3fff::/16"] {
        let prefix = net(prefix);
        assert_eq!(table.validate(&prefix, None), model(&vrps, &prefix, None), "{prefix}");
    }
    assert!(states.len() >= 2, "{states:?}");
}

proptest! {
    #[test]
    fn validation_is_that_of_a_look_at_every_vrp(
        vrps in vrps(),
        prefix in prefixes(),
        origin in prop::option::of(0_u32..3),
    ) {
        let table: VrpTable = vrps.iter().copied().collect();
        let origin = origin.map(Asn);
        let want = model(&vrps, &prefix, origin);
        prop_assert_eq!(table.validate(&prefix, origin), want);
        let finding = table.explain(&prefix, origin);
        prop_assert_eq!(finding.validity, want);
        prop_assert_eq!(finding.why_invalid(&prefix).is_some(), want == Validity::Invalid);
        let mut covering: Vec<Vrp> = vrps.iter().copied().filter(|vrp| vrp.covers(&prefix)).collect();
        covering.sort_unstable();
        covering.dedup();
        let mut found = finding.covering;
        prop_assert!(found.is_sorted_by_key(|vrp| std::cmp::Reverse(vrp.prefix.prefix_len())));
        found.sort_unstable();
        prop_assert_eq!(found, covering);
    }

    #[test]
    fn only_what_changes_concern_can_have_another_state(
        before in vrps(),
        after in vrps(),
        prefix in prefixes(),
        origin in prop::option::of(0_u32..3),
    ) {
        let (old, new): (VrpTable, VrpTable) =
            (before.iter().copied().collect(), after.iter().copied().collect());
        let changes = old.changes(&new);
        let origin = origin.map(Asn);
        if old.validate(&prefix, origin) != new.validate(&prefix, origin) {
            prop_assert!(changes.concern(&prefix));
        }
        prop_assert_eq!(changes.is_empty(), old == new);
        let set = |table: &VrpTable| table.iter().collect::<std::collections::BTreeSet<_>>();
        prop_assert_eq!(changes.added, set(&new).difference(&set(&old)).count());
        prop_assert_eq!(changes.removed, set(&old).difference(&set(&new)).count());
        prop_assert!(after.iter().all(|vrp| new.contains(vrp)));
        let mut both = changes.clone();
        both.merge(&new.changes(&old));
        prop_assert_eq!(both.touched, changes.touched);
    }

    #[test]
    fn any_octets_are_safe_to_read_as_a_file(octets in prop::collection::vec(any::<u8>(), 0..200)) {
        let _ = file::parse(&octets);
    }
}

use proptest::prelude::*;

use super::*;

fn links(text: &str) -> Vec<(u32, u32, Relationship)> {
    let read = Relationships::parse(text.as_bytes()).unwrap();
    read.links().iter().map(|link| (link.a.0, link.b.0, link.relationship)).collect()
}

#[test]
fn both_formats_are_read() {
    use Relationship::{Peer, ProviderOf, Sibling};
    let text = "# source:topology|BGP|20240801\n\n64500|64501|-1\n64500|64502|0|bgp,mlp\r\n\
                64500|64503|-1|bgp\n64500|64504|2\n4200000000|64500|0|mlp";
    let want = vec![
        (64500, 64501, ProviderOf),
        (64500, 64502, Peer),
        (64500, 64503, ProviderOf),
        (64500, 64504, Sibling),
        (4_200_000_000, 64500, Peer),
    ];
    assert_eq!(links(text), want);
}

#[test]
fn a_line_that_cannot_be_used_is_named() {
    for (name, text, want) in [
        (
            "too few fields",
            "64500|64501\n",
            "line 1: 2 fields instead of 3 or 4: expected AS|AS|relation or AS|AS|relation|source",
        ),
        (
            "too many",
            "#\n1|2|0|bgp|x\n",
            "line 2: 5 fields instead of 3 or 4: expected AS|AS|relation or AS|AS|relation|source",
        ),
        ("no number", "1|2|0\n1|x|0\n", "line 2: `x` is not an AS number (1 to 4294967294)"),
        ("a sign", "+1|2|0", "line 1: `+1` is not an AS number (1 to 4294967294)"),
        ("a space", "1 |2|0", "line 1: `1 ` is not an AS number (1 to 4294967294)"),
        ("AS 0", "0|2|0", "line 1: `0` is not an AS number (1 to 4294967294)"),
        (
            "the last number",
            "4294967295|2|0",
            "line 1: `4294967295` is not an AS number (1 to 4294967294)",
        ),
        ("beyond", "4294967296|2|0", "line 1: `4294967296` is not an AS number (1 to 4294967294)"),
        (
            "relation",
            "1|2|1",
            "line 1: `1` is not a relation: -1 (first is provider of second), 0 (peers) or 2 (siblings)",
        ),
        (
            "no relation",
            "1|2|",
            "line 1: `` is not a relation: -1 (first is provider of second), 0 (peers) or 2 (siblings)",
        ),
        ("itself", "1|2|0\n7|7|-1\n", "line 2: AS7 is linked to itself; remove the line"),
        (
            "both providers",
            "1|2|-1\n#\n2|1|-1\n",
            "line 3 says that AS2 is a provider of AS1, but line 1 says that AS1 is a provider of AS2; remove one of them",
        ),
        (
            "provider and peer",
            "1|2|0\n2|1|-1|bgp\n",
            "line 2 says that AS2 is a provider of AS1, but line 1 says that AS1 and AS2 are peers; remove one of them",
        ),
    ] {
        let error = Relationships::parse(text.as_bytes()).unwrap_err();
        assert_eq!(error.to_string(), want, "{name}");
    }
}

#[test]
fn saying_the_same_twice_is_harmless_and_counted() {
    let read = Relationships::parse(b"1|2|0\n2|1|0\n3|1|-1\n3|1|-1|bgp\n").unwrap();
    assert_eq!((read.links().len(), read.duplicates()), (2, 2));
    assert_eq!(read.links()[0].a, Asn(1), "the first one stays");
}

#[test]
fn a_link_can_be_set_anew_and_removed() {
    let mut read = Relationships::parse(b"1|2|0\n3|1|-1\n").unwrap();
    let anew = Link { a: Asn(2), b: Asn(1), relationship: Relationship::ProviderOf };
    read.set(anew).unwrap();
    assert_eq!(read.links().len(), 2);
    assert!(read.links().contains(&anew));
    assert!(read.remove(Asn(1), Asn(3)) && !read.remove(Asn(1), Asn(3)));
    let own = Link { a: Asn(1), b: Asn(1), relationship: Relationship::Peer };
    assert!(matches!(read.set(own), Err(TopologyError::SelfLink { .. })));
}

/// A line as the files have it.
fn line(link: &Link) -> String {
    let relation = match link.relationship {
        Relationship::ProviderOf => -1,
        Relationship::Peer => 0,
        Relationship::Sibling => 2,
    };
    format!("{}|{}|{relation}\n", link.a, link.b)
}

proptest! {
    #[test]
    fn what_is_written_is_read_again(pairs in proptest::collection::btree_map(
        (1_u32..5000, 5000_u32..9000), 0..3_u8, 0..60)
    ) {
        let kinds = [Relationship::ProviderOf, Relationship::Peer, Relationship::Sibling];
        let links: Vec<Link> = pairs
            .iter()
            .map(|((a, b), kind)| Link { a: Asn(*a), b: Asn(*b), relationship: kinds[*kind as usize] })
            .collect();
        let text: String = links.iter().map(line).collect();
        let read = Relationships::parse(text.as_bytes()).unwrap();
        prop_assert_eq!(read.links(), &links[..]);
    }

    #[test]
    fn octets_never_panic_and_what_is_read_is_written_the_same(
        text in proptest::collection::vec(prop_oneof![
            Just(b'|'), Just(b'\n'), Just(b'1'), Just(b'2'), Just(b'0'), Just(b'-'), any::<u8>()
        ], 0..200)
    ) {
        if let Ok(read) = Relationships::parse(&text) {
            let again: String = read.links().iter().map(line).collect();
            let again = Relationships::parse(again.as_bytes()).unwrap();
            prop_assert_eq!(again.links(), read.links());
            prop_assert_eq!(again.duplicates(), 0);
        }
    }
}

//! Whole queries and whole answers of the whoami service, octet by octet.

#![expect(clippy::unwrap_used, reason = "a test may fail by panicking")]

use std::net::SocketAddr;

use anycast_dns::Transport::{self, Tcp, Udp};
use anycast_dns::probe::{NotAnAnswer, Query, Response};
use anycast_dns::whoami::{Identity, answer};
use anycast_dns::{Class, Rcode};
use proptest::prelude::*;

const A: u16 = 1;
const TXT: u16 = 16;
const AAAA: u16 = 28;
const AXFR: u16 = 252;
const ANY: u16 = 255;
const IN: u16 = 1;
const CH: u16 = 3;

/// QR and AA.
const AUTHORITATIVE: u16 = 0x8400;
const RESPONSE: u16 = 0x8000;
const FORMERR: u16 = 1;
const NOTIMP: u16 = 4;
const REFUSED: u16 = 5;

const V4: &str = "192.0.2.7:5353";
const V6: &str = "[2001:db8::7]:5353";

fn identity() -> Identity {
    Identity { site: "fra".into(), fleet: "example".into(), version: "0.1.0".into() }
}

fn ask(query: &[u8], client: &str, transport: Transport) -> Option<Vec<u8>> {
    answer(query, &identity(), client.parse().unwrap(), transport)
}

fn header(flags: u16, counts: [u16; 4]) -> Vec<u8> {
    [0xabcd, flags].into_iter().chain(counts).flat_map(u16::to_be_bytes).collect()
}

fn question(name: &str, qtype: u16, class: u16) -> Vec<u8> {
    let mut octets = Vec::new();
    for label in name.split('.').filter(|label| !label.is_empty()) {
        octets.push(u8::try_from(label.len()).unwrap());
        octets.extend(label.as_bytes());
    }
    octets.push(0);
    octets.extend(qtype.to_be_bytes());
    octets.extend(class.to_be_bytes());
    octets
}

/// A record at the question's name, with TTL 0.
fn record(rtype: u16, class: u16, data: &[u8]) -> Vec<u8> {
    let mut octets = vec![0xc0, 12];
    octets.extend(rtype.to_be_bytes());
    octets.extend(class.to_be_bytes());
    octets.extend([0; 4]);
    octets.extend(u16::try_from(data.len()).unwrap().to_be_bytes());
    octets.extend(data);
    octets
}

fn opt(size: u16, ttl: [u8; 4], options: &[u8]) -> Vec<u8> {
    let mut octets = vec![0, 0, 41];
    octets.extend(size.to_be_bytes());
    octets.extend(ttl);
    octets.extend(u16::try_from(options.len()).unwrap().to_be_bytes());
    octets.extend(options);
    octets
}

fn strings(strings: &[&str]) -> Vec<u8> {
    strings
        .iter()
        .flat_map(|string| [&[u8::try_from(string.len()).unwrap()], string.as_bytes()].concat())
        .collect()
}

#[test]
fn each_question_gets_its_whole_answer() {
    let site = || Some((TXT, strings(&["fra"])));
    let version = || Some((TXT, strings(&["anycast 0.1.0"])));
    let whoami = || Some((TXT, strings(&["site=fra", "client=192.0.2.7"])));
    let v4 = || Some((A, vec![192, 0, 2, 7]));
    let v6 = || Some((AAAA, "2001:db8::7".parse::<std::net::Ipv6Addr>().unwrap().octets().into()));
    let yes = AUTHORITATIVE;
    let no = RESPONSE | REFUSED;
    for (name, qtype, class, client, flags, want) in [
        ("id.server", TXT, CH, V4, yes, site()),
        ("hostname.bind", TXT, CH, V4, yes, site()),
        ("version.server", TXT, CH, V4, yes, version()),
        ("version.bind", TXT, CH, V4, yes, version()),
        ("ID.Server", TXT, CH, V4, yes, site()),
        ("id.server", ANY, CH, V4, yes, site()),
        ("id.server", A, CH, V4, yes, None),
        ("id.server", TXT, IN, V4, no, None),
        ("id.server.example", TXT, CH, V4, no, None),
        ("server", TXT, CH, V4, no, None),
        ("authors.bind", TXT, CH, V4, no, None),
        ("whoami", TXT, IN, V4, yes, whoami()),
        ("WhoAmI.example.net", TXT, IN, V4, yes, whoami()),
        ("whoami.example.net", ANY, IN, V4, yes, whoami()),
        ("whoami.example.net", A, IN, V4, yes, v4()),
        ("whoami.example.net", AAAA, IN, V4, yes, None),
        ("whoami.example.net", AAAA, IN, V6, yes, v6()),
        ("whoami.example.net", A, IN, V6, yes, None),
        ("whoami.example.net", A, IN, "[::ffff:192.0.2.7]:53", yes, v4()),
        ("whoami.example.net", 15, IN, V4, yes, None),
        ("whoami.example.net", AXFR, IN, V4, no, None),
        ("whoami", TXT, CH, V4, no, None),
        ("whoami", TXT, 255, V4, no, None),
        ("www.whoami", A, IN, V4, no, None),
        ("whoamix", A, IN, V4, no, None),
        ("", 2, IN, V4, no, None),
    ] {
        let question = question(name, qtype, class);
        let query = [header(0, [1, 0, 0, 0]), question.clone()].concat();
        let (count, records) = match want {
            Some((rtype, data)) => (1, record(rtype, class, &data)),
            None => (0, Vec::new()),
        };
        let whole = [header(flags, [1, count, 0, 0]), question, records].concat();
        for transport in [Udp, Tcp] {
            let got = ask(&query, client, transport);
            assert_eq!(got, Some(whole.clone()), "{name} {qtype} {class} from {client}");
        }
    }
}

#[test]
fn edns_is_answered_with_edns() {
    const SIZE: u16 = 1232;
    let question = question("id.server", TXT, CH);
    let site = record(TXT, CH, &strings(&["fra"]));
    let with_answer = |opt: Vec<u8>| {
        [header(AUTHORITATIVE, [1, 1, 0, 1]), question.clone(), site.clone(), opt].concat()
    };
    let without = |opt: Vec<u8>| [header(RESPONSE, [1, 0, 0, 1]), question.clone(), opt].concat();
    for (name, asked, want) in [
        ("plain", opt(4096, [0; 4], &[]), with_answer(opt(SIZE, [0; 4], &[]))),
        (
            "DO is copied, the other flags are not",
            opt(4096, [0, 0, 0xff, 0xff], &[]),
            with_answer(opt(SIZE, [0, 0, 0x80, 0], &[])),
        ),
        (
            "NSID",
            opt(512, [0; 4], &[0, 3, 0, 0]),
            with_answer(opt(SIZE, [0; 4], b"\x00\x03\x00\x03fra")),
        ),
        (
            "NSID with data that it should not have, after an option that nobody knows",
            opt(0, [0; 4], b"\xfd\xe9\x00\x01x\x00\x03\x00\x01?"),
            with_answer(opt(SIZE, [0; 4], b"\x00\x03\x00\x03fra")),
        ),
        (
            "a version from the future is BADVERS, and says which one we speak",
            opt(1232, [0, 1, 0, 0], &[]),
            without(opt(SIZE, [1, 0, 0, 0], &[])),
        ),
    ] {
        let query = [header(0, [1, 0, 0, 1]), question.clone(), asked].concat();
        assert_eq!(ask(&query, V4, Udp), Some(want), "{name}");
    }
}

#[test]
fn what_is_no_proper_query_gets_a_header_or_nothing() {
    let id_server = || question("id.server", TXT, CH);
    let plain = || opt(1232, [0; 4], &[]);
    let formerr = Some(header(RESPONSE | FORMERR, [0; 4]));
    for (name, query, want) in [
        ("nothing", vec![], None),
        ("eleven octets", header(0, [0; 4])[..11].to_vec(), None),
        ("an answer", [header(0x8000, [1, 0, 0, 0]), id_server()].concat(), None),
        ("only a header", header(0, [0; 4]), formerr.clone()),
        ("a count without a question", header(0, [1, 0, 0, 0]), formerr.clone()),
        (
            "two questions",
            [header(0, [2, 0, 0, 0]), id_server(), id_server()].concat(),
            formerr.clone(),
        ),
        (
            "octets after the end",
            [header(0, [1, 0, 0, 0]), id_server(), vec![0]].concat(),
            formerr.clone(),
        ),
        (
            "a name that points at itself",
            [header(0, [1, 0, 0, 0]), vec![0xc0, 12, 0, 16, 0, 3]].concat(),
            formerr.clone(),
        ),
        (
            "a record that is cut short",
            [header(0, [1, 0, 0, 1]), id_server(), plain()[..8].to_vec()].concat(),
            formerr.clone(),
        ),
        (
            "two OPT records",
            [header(0, [1, 0, 0, 2]), id_server(), plain(), plain()].concat(),
            formerr.clone(),
        ),
        (
            "an OPT record among the answers",
            [header(0, [1, 1, 0, 0]), id_server(), plain()].concat(),
            formerr.clone(),
        ),
        (
            "an OPT record that is not at the root",
            [header(0, [1, 0, 0, 1]), id_server(), record(41, 1232, &[])].concat(),
            formerr.clone(),
        ),
        (
            "an option longer than its record",
            [header(0, [1, 0, 0, 1]), id_server(), opt(1232, [0; 4], &[0, 3, 0, 1])].concat(),
            formerr.clone(),
        ),
        (
            "an update",
            [header(5 << 11, [1, 0, 0, 0]), id_server()].concat(),
            Some(header(RESPONSE | 5 << 11 | NOTIMP, [0; 4])),
        ),
    ] {
        assert_eq!(ask(&query, V4, Udp), want, "{name}");
    }
}

#[test]
fn of_the_flags_only_rd_and_cd_come_back() {
    let question = question("id.server", TXT, CH);
    // All but QR and the opcode: AA, TC, RD, RA, Z, AD, CD and an RCODE.
    let query = [header(0x07ff, [1, 0, 0, 0]), question.clone()].concat();
    let site = record(TXT, CH, &strings(&["fra"]));
    let want = [header(AUTHORITATIVE | 0x0110, [1, 1, 0, 0]), question, site].concat();
    assert_eq!(ask(&query, V4, Udp), Some(want));
}

#[test]
fn a_long_answer_is_cut_over_udp_and_whole_over_tcp() {
    let client: SocketAddr = V4.parse().unwrap();
    // Header 12, question 15 and OPT 11 octets; the record takes 12 and the strings' lengths.
    let plain = 512 - 12 - 15 - 12;
    let edns = 1232 - 12 - 15 - 12 - 11;
    let lengths = |octets: usize| octets.div_ceil(256);
    for (name, limit, with_edns) in [("plain", plain, false), ("EDNS", edns, true)] {
        for (site_len, fits) in
            [(limit - lengths(limit), true), (limit - lengths(limit) + 1, false)]
        {
            let identity = Identity { site: "x".repeat(site_len), ..identity() };
            let question = question("id.server", TXT, CH);
            let opt = opt(1232, [0; 4], &[]);
            let query = if with_edns {
                [header(0, [1, 0, 0, 1]), question, opt].concat()
            } else {
                [header(0, [1, 0, 0, 0]), question].concat()
            };
            let over_udp = answer(&query, &identity, client, Udp).unwrap();
            let over_tcp = answer(&query, &identity, client, Tcp).unwrap();
            let truncated = over_udp[2] & 2 != 0;
            assert_eq!(truncated, !fits, "{name}, {site_len} octets");
            assert_eq!(over_udp == over_tcp, fits, "{name}, {site_len} octets");
            assert_eq!(u16::from_be_bytes([over_udp[6], over_udp[7]]), u16::from(fits));
            assert_eq!(over_tcp[2] & 2, 0);
        }
    }
}

#[test]
fn an_identifier_that_fits_nowhere_is_left_out() {
    let identity = Identity { site: "x".repeat(70_000), ..identity() };
    let query = Query::id_server(7);
    let octets = answer(&query.emit(), &identity, V4.parse().unwrap(), Udp).unwrap();
    let response = Response::parse(&octets, &query).unwrap();
    assert_eq!((response.rcode, response.nsid), (Rcode::REFUSED, None));
}

#[test]
fn no_version_is_told_where_none_is_given() {
    let identity = Identity { version: String::new(), ..identity() };
    let query = Query::from_text(7, "version.server", "TXT", "CH").unwrap();
    let octets = answer(&query.emit(), &identity, V4.parse().unwrap(), Udp).unwrap();
    assert_eq!(Response::parse(&octets, &query).unwrap().rcode, Rcode::REFUSED);
}

#[test]
fn a_probe_reads_what_whoami_answers() {
    for (name, qtype, class, client, want) in [
        ("id.server", "TXT", "CH", V4, "fra"),
        ("id.server.", "txt", "chaos", V4, "fra"),
        ("whoami.example.net", "TXT", "IN", V4, "site=fra client=192.0.2.7"),
        ("whoami", "A", "IN", V4, "192.0.2.7"),
        ("whoami", "AAAA", "IN", V6, "2001:db8::7"),
    ] {
        let query = Query { nsid: true, ..Query::from_text(9, name, qtype, class).unwrap() };
        let octets = ask(&query.emit(), client, Udp).unwrap();
        let response = Response::parse(&octets, &query).unwrap();
        assert_eq!(response.rcode, Rcode::NOERROR, "{name}");
        assert_eq!(response.texts().collect::<Vec<_>>(), [want], "{name}");
        assert_eq!(response.nsid_text().as_deref(), Some("fra"), "{name}");
        assert!(response.authoritative && !response.truncated, "{name}");
    }
}

#[test]
fn a_probe_takes_only_the_answer_to_its_own_query() {
    let query = Query::id_server(9);
    let octets = ask(&query.emit(), V4, Udp).unwrap();
    let another = Err(NotAnAnswer::Another);
    let other_name = Query::from_text(9, "hostname.bind", "TXT", "CH").unwrap();
    for (name, octets, query, want) in [
        ("another id", octets.clone(), Query { id: 8, ..query.clone() }, another.clone()),
        ("another name", octets.clone(), other_name, another.clone()),
        ("another class", octets.clone(), Query { class: Class::IN, ..query.clone() }, another),
        ("a query", query.emit(), query.clone(), Err(NotAnAnswer::Query)),
        ("too short", octets[..11].to_vec(), query.clone(), Err(NotAnAnswer::Malformed)),
        ("cut", octets[..40].to_vec(), query, Err(NotAnAnswer::Malformed)),
    ] {
        assert_eq!(Response::parse(&octets, &query), want, "{name}");
    }
}

#[test]
fn a_bare_format_error_is_an_answer() {
    let query = Query::id_server(0xabcd);
    let octets = header(RESPONSE | FORMERR, [0; 4]);
    assert_eq!(Response::parse(&octets, &query).unwrap().rcode, Rcode::FORMERR);
}

#[test]
fn words_and_numbers_make_the_same_query() {
    let words = Query::from_text(5, "id.server", "TXT", "CH").unwrap();
    assert_eq!(Query::from_codes(5, "id.server.", TXT, CH), Ok(words.clone()));
    assert_eq!(Query { nsid: true, ..words }, Query::id_server(5));
}

#[test]
fn what_cannot_be_asked_is_named() {
    for (name, qtype, class, want) in [
        ("a..b", "A", "IN", "'a..b' is not a domain name"),
        ("a.b", "AA", "IN", "'AA' is not a record type"),
        ("a.b", "A", "XX", "'XX' is not a class"),
    ] {
        let error = Query::from_text(0, name, qtype, class).unwrap_err();
        assert_eq!(error.to_string(), want);
    }
}

/// Octets that look like a query more often than noise does.
fn messages() -> impl Strategy<Value = Vec<u8>> {
    let noise = prop::collection::vec(any::<u8>(), 0..600);
    let bent =
        (any::<bool>(), prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..6))
            .prop_map(|(nsid, changes)| {
                let mut octets = Query { nsid, ..Query::id_server(0xabcd) }.emit();
                for (at, octet) in changes {
                    let at = at.index(octets.len());
                    octets[at] = octet;
                }
                octets
            });
    let bent_answer = bent.clone().prop_map(|query| ask(&query, V6, Tcp).unwrap_or(query));
    prop_oneof![noise, bent, bent_answer]
}

proptest! {
    #[test]
    fn any_octets_get_an_answer_within_bounds_or_none(octets in messages(), tcp: bool) {
        let transport = if tcp { Tcp } else { Udp };
        if let Some(reply) = ask(&octets, V6, transport) {
            prop_assert!((12..=1232).contains(&reply.len()));
            prop_assert_eq!(&reply[..2], &octets[..2]);
            prop_assert!(reply[2] & 0x80 != 0, "QR");
            // No answer is answered: two servers cannot keep each other busy.
            prop_assert_eq!(ask(&reply, V4, transport), None);
        }
    }

    #[test]
    fn any_octets_are_read_as_an_answer_or_refused(mut octets in messages(), own_id: bool) {
        let query = Query::id_server(0xabcd);
        if own_id && octets.len() > 3 {
            octets[..2].copy_from_slice(&[0xab, 0xcd]);
            octets[2] |= 0x80;
        }
        let _ = Response::parse(&octets, &query);
    }
}

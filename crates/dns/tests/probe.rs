//! The asking side, octet by octet.
#![expect(clippy::unwrap_used, reason = "a test may fail so")]

use anycast_dns::Rcode;
use anycast_dns::probe::{NotAnAnswer, Query, Response};

fn query() -> Query {
    Query { id: 0x1234, ..Query::from_text(0, "www.example", "A", "IN").unwrap() }
}

/// AD of the header, and DO of the OPT record at the end (RFC 6891 §6.1.3).
fn flags(octets: &[u8]) -> (bool, bool) {
    (octets[3] & 0x20 != 0, octets[octets.len() - 4] & 0x80 != 0)
}

#[test]
fn a_query_for_authenticity_carries_ad_and_do() {
    assert_eq!(flags(&query().emit()), (false, false));
    assert_eq!(flags(&Query { authentic: true, ..query() }.emit()), (true, true));
}

#[test]
fn ad_of_an_answer_is_told() {
    let query = query();
    for (bits, authentic) in [(0x00, false), (0x20, true)] {
        let mut answer = query.emit();
        answer[2] |= 0x80;
        answer[3] |= bits;
        let response = Response::parse(&answer, &query).unwrap();
        assert_eq!((response.rcode, response.authentic), (Rcode::NOERROR, authentic));
    }
}

#[test]
fn a_label_more_is_another_question() {
    let query = query();
    let below = query.below("0123abcd").unwrap();
    assert_eq!(below.name.to_string(), "0123abcd.www.example");
    assert_eq!(Query { name: query.name.clone(), ..below.clone() }, query);
    let mut answer = query.emit();
    answer[2] |= 0x80;
    assert_eq!(Response::parse(&answer, &below), Err(NotAnAnswer::Another));

    let long = [["a"; 59].concat(), ["b"; 59].concat(), ["c"; 59].concat(), ["d"; 59].concat()];
    let long = Query::from_text(0, &long.join("."), "A", "IN").unwrap();
    assert!(long.below(&"x".repeat(16)).is_err(), "longer than a name may be");
    assert!(query.below(&"x".repeat(64)).is_err(), "longer than a label may be");
}

//! Faults that do not end the session (RFC 7606): what becomes of the prefixes, and the log.

use std::net::IpAddr;

use super::super::*;
use super::{EBGP, IBGP, OLD, hex, update};
use crate::{AsPath, Attributes};
use Reaction::{AttributeDiscard, TreatAsWithdraw};

const ORIGIN: &str = "40 01 01 00";
const AS_PATH: &str = "40 02 06 02 01 0000fbf4";
const OLD_PATH: &str = "40 02 04 02 01 fbf4";
const NEXT_HOP: &str = "40 03 04 c0000201";
const REACH: &str = "80 0e 1a 0002 01 10 20010db8000000000000000000000001 00 20 20010db8";

/// What is left of an UPDATE: prefixes withdrawn and announced, and (code, reaction) of the faults.
type Left = (Vec<String>, Vec<String>, Vec<(u8, Reaction)>);

fn left(name: &str, octets: &[u8], ctx: &Context) -> (Left, Update) {
    let parsed = Message::parse(octets, ctx);
    let Ok(Message::Update(update)) = parsed else { panic!("{name}: {parsed:?}") };
    let words = |prefixes: &[Nlri]| prefixes.iter().map(ToString::to_string).collect();
    let announced: Vec<Nlri> =
        update.announced.iter().flat_map(|announcement| announcement.prefixes.clone()).collect();
    let faults = update.faults.iter().map(|fault| (fault.code, fault.reaction)).collect();
    ((words(&update.withdrawn), words(&announced), faults), update)
}

#[test]
fn a_malformed_attribute_withdraws_the_prefixes() {
    let base = [ORIGIN, AS_PATH, NEXT_HOP];
    let without = |code: usize| {
        base.iter().enumerate().filter(|(i, _)| i + 1 != code).map(|(_, a)| *a).collect::<String>()
    };
    let instead = |code: usize, attribute: &str| without(code) + attribute;
    let beside = |attribute: &str| base.concat() + attribute;
    // (what is wrong, context, attributes, code of the fault)
    let table = [
        ("ORIGIN of two octets", EBGP, instead(1, "40 01 02 0000"), 1),
        ("ORIGIN of none", EBGP, instead(1, "40 01 00"), 1),
        ("ORIGIN 3", EBGP, instead(1, "40 01 01 03"), 1),
        ("ORIGIN is optional", EBGP, instead(1, "c0 01 01 00"), 1),
        ("ORIGIN is not transitive", EBGP, instead(1, "00 01 01 00"), 1),
        ("ORIGIN is missing", EBGP, without(1), 1),
        ("AS_PATH, kind 0", EBGP, instead(2, "40 02 06 00 01 0000fbf4"), 2),
        ("AS_PATH, kind 5", EBGP, instead(2, "40 02 06 05 01 0000fbf4"), 2),
        ("AS_PATH overruns", EBGP, instead(2, "40 02 06 02 02 0000fbf4"), 2),
        ("AS_PATH underruns", EBGP, instead(2, "40 02 07 02 01 0000fbf4 02"), 2),
        ("AS_PATH, empty segment", EBGP, instead(2, "40 02 08 02 01 0000fbf4 02 00"), 2),
        ("AS_PATH with AS 0", EBGP, instead(2, "40 02 0a 02 02 0000fbf4 00000000"), 2),
        ("AS_PATH with AS 0 in two octets", OLD, instead(2, "40 02 04 02 01 0000"), 2),
        ("AS_PATH, confederation outside", EBGP, instead(2, "40 02 06 03 01 0000fbf4"), 2),
        ("AS_PATH, confederation set outside", EBGP, instead(2, "40 02 06 04 01 0000fbf4"), 2),
        ("AS_PATH of two-octet numbers", EBGP, instead(2, OLD_PATH), 2),
        ("AS_PATH is missing", EBGP, without(2), 2),
        ("NEXT_HOP of five octets", EBGP, instead(3, "40 03 05 c000020100"), 3),
        ("NEXT_HOP of none", EBGP, instead(3, "40 03 00"), 3),
        ("NEXT_HOP 0.0.0.0", EBGP, instead(3, "40 03 04 00000000"), 3),
        ("NEXT_HOP multicast", EBGP, instead(3, "40 03 04 e0000001"), 3),
        ("NEXT_HOP broadcast", EBGP, instead(3, "40 03 04 ffffffff"), 3),
        ("NEXT_HOP is missing", EBGP, without(3), 3),
        ("MED of three octets", EBGP, beside("80 04 03 000000"), 4),
        ("MED is transitive", EBGP, beside("c0 04 04 00000000"), 4),
        ("LOCAL_PREF of five octets", IBGP, beside("40 05 05 0000000000"), 5),
        ("LOCAL_PREF is optional", IBGP, beside("c0 05 04 00000000"), 5),
        ("ATOMIC_AGGREGATE is optional", EBGP, beside("c0 06 00"), 6),
        ("AGGREGATOR is well-known", EBGP, beside("40 07 08 0000fbf4 c0000201"), 7),
        ("COMMUNITIES of five octets", EBGP, beside("c0 08 05 0000000000"), 8),
        ("COMMUNITIES of none", EBGP, beside("c0 08 00"), 8),
        ("ORIGINATOR_ID of three octets", IBGP, beside("80 09 03 000000"), 9),
        ("CLUSTER_LIST of five octets", IBGP, beside("80 0a 05 0000000000"), 10),
        ("CLUSTER_LIST of none", IBGP, beside("80 0a 00"), 10),
        ("EXTENDED COMMUNITIES of seven octets", EBGP, beside("c0 10 07 00000000000000"), 16),
        ("EXTENDED COMMUNITIES of none", EBGP, beside("c0 10 00"), 16),
        ("LARGE_COMMUNITY of 13 octets", EBGP, beside("c0 20 0d 00000000000000000000000000"), 32),
        (
            "IPv6 EXTENDED COMMUNITIES of ten octets",
            EBGP,
            beside("c0 19 0a 00000000000000000000"),
            25,
        ),
        ("IPv6 EXTENDED COMMUNITIES of none", EBGP, beside("c0 19 00"), 25),
        ("LARGE_COMMUNITY of none", EBGP, beside("c0 20 00"), 32),
        ("OTC of two octets", EBGP, beside("c0 23 02 0000"), 35),
        ("an attribute runs past the list", EBGP, beside("c0 63 02 00"), 99),
        ("a lone flags octet", EBGP, beside("c0"), 0),
        ("no length", EBGP, beside("c0 63"), 99),
        ("half an extended length", EBGP, beside("d0 63 00"), 99),
    ];
    for (name, ctx, attributes, code) in table {
        let attributes =
            if ctx == OLD { attributes.replace(AS_PATH, OLD_PATH) } else { attributes };
        let octets = update(&hex("080a"), &hex(&attributes), &hex("080b"));
        let (left, _) = left(name, &octets, &ctx);
        let withdrawn = vec!["10.0.0.0/8".to_owned(), "11.0.0.0/8".to_owned()];
        assert_eq!(left, (withdrawn, vec![], vec![(code, TreatAsWithdraw)]), "{name}");
    }
}

#[test]
fn treat_as_withdraw_takes_the_prefixes_of_mp_reach_too() {
    for (name, attributes, faults) in [
        ("ORIGIN 3", "40 01 01 03".to_owned() + AS_PATH + REACH, vec![(1, TreatAsWithdraw)]),
        (
            "flags of MP_REACH_NLRI",
            [ORIGIN, AS_PATH, "c", &REACH[1..]].concat(),
            vec![(14, TreatAsWithdraw)],
        ),
        (
            "next hop ::",
            [ORIGIN, AS_PATH, &REACH.replace("20010db8000000000000000000000001", &"0".repeat(32))]
                .concat(),
            vec![(14, TreatAsWithdraw)],
        ),
        (
            "next hop ff02::1",
            [
                ORIGIN,
                AS_PATH,
                &REACH.replace(
                    "20010db8000000000000000000000001 00",
                    "ff020000000000000000000000000001 00",
                ),
            ]
            .concat(),
            vec![(14, TreatAsWithdraw)],
        ),
        ("all is missing", REACH.to_owned(), vec![(1, TreatAsWithdraw), (2, TreatAsWithdraw)]),
    ] {
        let (left, _) = left(name, &update(&[], &hex(&attributes), &[]), &EBGP);
        assert_eq!(left, (vec!["2001:db8::/32".to_owned()], vec![], faults), "{name}");
    }
}

#[test]
fn a_discarded_attribute_leaves_the_route() {
    // (what is wrong, context, the attribute, code of the fault, if it is logged)
    let table = [
        ("ATOMIC_AGGREGATE with a value", EBGP, "40 06 01 00", Some(6)),
        ("AGGREGATOR of six octets", EBGP, "c0 07 06 fbf4 c0000201", Some(7)),
        ("AGGREGATOR of eight octets", OLD, "c0 07 08 0000fbf4 c0000201", Some(7)),
        ("AGGREGATOR of none", EBGP, "c0 07 00", Some(7)),
        ("AGGREGATOR AS 0", EBGP, "c0 07 08 00000000 c0000201", Some(7)),
        ("LOCAL_PREF from outside", EBGP, "40 05 04 00000064", Some(5)),
        ("even malformed", EBGP, "c0 05 01 00", Some(5)),
        ("ORIGINATOR_ID from outside", EBGP, "80 09 04 c0000201", Some(9)),
        ("CLUSTER_LIST from outside", EBGP, "80 0a 03 c00002", Some(10)),
        ("AS4_PATH from a four-octet speaker", EBGP, "c0 11 06 02 01 0000fbf4", Some(17)),
        ("AS4_AGGREGATOR from one", EBGP, "c0 12 08 0000fbf4 c0000201", Some(18)),
        ("AS4_PATH of none", OLD, "c0 11 00", Some(17)),
        ("AS4_PATH overruns", OLD, "c0 11 06 02 02 0000fbf4", Some(17)),
        ("AS4_PATH, empty segment", OLD, "c0 11 02 02 00", Some(17)),
        ("AS4_PATH, kind 9", OLD, "c0 11 06 09 01 0000fbf4", Some(17)),
        ("AS4_PATH with AS 0", OLD, "c0 11 06 02 01 00000000", Some(17)),
        ("AS4_AGGREGATOR of six octets", OLD, "c0 12 06 fbf4 c0000201", Some(18)),
        ("AS4_AGGREGATOR with AS 0", OLD, "c0 12 08 00000000 c0000201", Some(18)),
        ("ORIGIN twice", EBGP, "40 01 01 02", Some(1)),
        ("AS_PATH twice", EBGP, "40 02 00", Some(2)),
        ("NEXT_HOP twice, once malformed", EBGP, "40 03 00", Some(3)),
        ("MP_REACH_NLRI of VPNs", EBGP, "80 0e 05 0001 80 00 00", Some(14)),
        ("MP_UNREACH_NLRI of multicast", EBGP, "80 0f 03 0001 02", Some(15)),
        ("unknown, not transitive", EBGP, "80 63 01 00", None),
    ];
    for (name, ctx, attribute, code) in table {
        let path = if ctx == OLD { OLD_PATH } else { AS_PATH };
        let attributes = hex(&[ORIGIN, path, NEXT_HOP, attribute].concat());
        let (left, update) = left(name, &update(&[], &attributes, &hex("080b")), &ctx);
        let faults = code.map(|code| (code, AttributeDiscard)).into_iter().collect();
        assert_eq!(left, (vec![], vec!["11.0.0.0/8".to_owned()], faults), "{name}");
        let next_hop: IpAddr = "192.0.2.1".parse().unwrap();
        let want = Attributes { as_path: AsPath::sequence(&[64500]), ..Attributes::new(next_hop) };
        assert_eq!(*update.announced[0].attributes, want, "{name}");
    }
}

#[test]
fn of_two_unknown_attributes_the_first_is_kept() {
    let attributes = [ORIGIN, AS_PATH, NEXT_HOP, "c0 63 01 07 c0 63 01 08"].concat();
    let (left, update) = left("", &update(&[], &hex(&attributes), &hex("080b")), &EBGP);
    assert_eq!(left.2, [(99, AttributeDiscard)]);
    assert_eq!(update.announced[0].attributes.unknown[0].value, [7]);
}

#[test]
fn next_hop_beside_mp_reach_alone_is_ignored() {
    for next_hop in [NEXT_HOP, "40 03 04 00000000", ""] {
        let attributes = [REACH, ORIGIN, AS_PATH, next_hop].concat();
        let (left, update) = left(next_hop, &update(&[], &hex(&attributes), &[]), &EBGP);
        assert_eq!(left, (vec![], vec!["2001:db8::/32".to_owned()], vec![]), "{next_hop}");
        let hop: IpAddr = "2001:db8::1".parse().unwrap();
        assert_eq!(update.announced[0].attributes.next_hop, hop.into(), "{next_hop}");
    }
}

#[test]
fn the_second_next_hop_counts_only_if_it_is_link_local() {
    let global = "20010db8000000000000000000000001";
    let local = "fe800000000000000000000000000001";
    let unspecified = "00000000000000000000000000000000";
    for (first, second, address, link_local) in [
        (global, local, "2001:db8::1", Some("fe80::1")),
        (global, global, "2001:db8::1", None),
        (global, unspecified, "2001:db8::1", None),
        (unspecified, local, "fe80::1", None),
        (local, local, "fe80::1", None),
    ] {
        let reach = format!("80 0e 2a 0002 01 20 {first} {second} 00 20 20010db8");
        let attributes = hex(&[&reach, ORIGIN, AS_PATH].concat());
        let (_, update) = left(&reach, &update(&[], &attributes, &[]), &EBGP);
        let next_hop = update.announced[0].attributes.next_hop;
        let words = |address: std::net::Ipv6Addr| address.to_string();
        assert_eq!(
            (next_hop.address.to_string(), next_hop.link_local.map(words)),
            (address.to_owned(), link_local.map(str::to_owned)),
            "{reach}"
        );
    }
}

#[test]
fn confederations_speak_within_the_as() {
    let path = "40 02 0c 03 01 00000001 02 01 0000fbf4";
    let attributes = [ORIGIN, path, NEXT_HOP].concat();
    let (left, _) = left("", &update(&[], &hex(&attributes), &hex("080b")), &IBGP);
    assert_eq!(left, (vec![], vec!["11.0.0.0/8".to_owned()], vec![]));
}

#[test]
fn only_an_otherwise_empty_update_marks_the_end_of_rib() {
    use Family::{Ipv4Unicast, Ipv6Unicast};
    for (name, withdrawn, attributes, nlri, family) in [
        ("nothing at all", "", String::new(), "", Some(Ipv4Unicast)),
        ("empty MP_UNREACH_NLRI", "", "80 0f 03 0002 01".to_owned(), "", Some(Ipv6Unicast)),
        ("of IPv4", "", "80 0f 03 0001 01".to_owned(), "", Some(Ipv4Unicast)),
        ("extended length", "", "90 0f 0003 0002 01".to_owned(), "", Some(Ipv6Unicast)),
        ("of VPNs", "", "80 0f 03 0001 80".to_owned(), "", None),
        ("with a prefix", "", "80 0f 05 0002 01 08 20".to_owned(), "", None),
        ("with Withdrawn Routes", "080a", "80 0f 03 0002 01".to_owned(), "", None),
        ("with an attribute", "", "80 0f 03 0002 01".to_owned() + ORIGIN, "", None),
        ("with NLRI", "", ["80 0f 03 0002 01", ORIGIN, AS_PATH, NEXT_HOP].concat(), "080a", None),
        ("only Withdrawn Routes", "080a", String::new(), "", None),
    ] {
        let octets = update(&hex(withdrawn), &hex(&attributes), &hex(nlri));
        assert_eq!(left(name, &octets, &EBGP).1.end_of_rib, family, "{name}");
    }
}

#[test]
fn wrong_flags_of_mp_unreach_do_not_end_the_session() {
    let (left, _) = left("", &update(&[], &hex("c0 0f 08 0002 01 20 20010db8"), &[]), &EBGP);
    assert_eq!(left, (vec!["2001:db8::/32".to_owned()], vec![], vec![(15, TreatAsWithdraw)]));
}

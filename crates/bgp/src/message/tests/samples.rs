//! One message of each kind, octet by octet, in both directions.

use std::net::Ipv4Addr;
use std::sync::Arc;
use std::time::Duration;

use super::super::*;
use super::{EBGP, IBGP, OLD, hex, message, update};
use crate::as_path::{Segment, SegmentKind};
use crate::attribute::UnknownAttribute;
use crate::iana::cease_subcode;
use crate::{
    AsPath, Asn, Attributes, Community, ExtendedCommunity, FamilySet, IpNet, LargeCommunity,
    NextHop, Origin,
};
use SegmentKind::{AsConfedSequence, AsSequence, AsSet};

const MARKER: &str = "ffffffffffffffffffffffffffffffff";

fn nets(texts: &[&str]) -> Vec<Nlri> {
    texts.iter().map(|text| text.parse::<IpNet>().unwrap().into()).collect()
}

fn to(next_hop: &str, path: &[u32]) -> Attributes {
    let next_hop: std::net::IpAddr = next_hop.parse().unwrap();
    Attributes { as_path: AsPath::sequence(path), ..Attributes::new(next_hop) }
}

fn announce(attributes: Attributes, prefixes: &[&str]) -> Message {
    Message::Update(Update::announce(Arc::new(attributes), nets(prefixes)))
}

#[test]
fn every_capability_is_written_and_read_octet_by_octet() {
    use Family::{Ipv4Unicast, Ipv6Unicast};
    let capabilities = Capabilities {
        families: Some(vec![Ipv6Unicast]),
        route_refresh: true,
        extended_next_hop: true,
        extended_message: true,
        role: Some(3),
        graceful_restart: Some(GracefulRestart {
            restarted: true,
            notification: true,
            restart_time: Duration::from_secs(0x123),
            families: vec![
                Preserved { family: Ipv4Unicast, forwarding: true },
                Preserved { family: Ipv6Unicast, forwarding: false },
            ],
        }),
        four_octet_asn: true,
        add_path: vec![
            AddPath { family: Ipv4Unicast, receive: true, send: false },
            AddPath { family: Ipv6Unicast, receive: true, send: true },
        ],
        enhanced_route_refresh: true,
        long_lived_graceful_restart: Some(vec![LongLived {
            family: Ipv4Unicast,
            forwarding: true,
            stale_time: Duration::from_secs(0x01_0203),
        }]),
        codes: vec![1, 2, 5, 6, 9, 64, 65, 69, 70, 71],
    };
    let open = Message::Open(Open {
        asn: Asn(64500),
        hold_time: Duration::from_secs(90),
        router_id: Ipv4Addr::new(192, 0, 2, 1),
        capabilities,
    });
    let body = hex("04 fbf4 005a c0000201 3e 02 3c
         01 04 0002 00 01
         02 00
         05 06 0001 0001 0002
         06 00
         09 01 03
         40 0a c123 0001 01 80 0002 01 00
         41 04 0000fbf4
         45 08 0001 01 01 0002 01 03
         46 00
         47 07 0001 01 80 010203");
    let octets = message(1, &body);
    assert_eq!(open.emit(&EBGP), octets);
    assert_eq!(Message::parse(&octets, &EBGP), Ok(open));
}

#[test]
fn every_kind_of_message_is_written_and_read_octet_by_octet() {
    let open = Open {
        asn: Asn(4_200_000_001),
        hold_time: Duration::from_secs(90),
        router_id: Ipv4Addr::new(192, 0, 2, 1),
        capabilities: Capabilities {
            families: Some(vec![Family::Ipv4Unicast, Family::Ipv6Unicast]),
            route_refresh: true,
            four_octet_asn: true,
            codes: vec![1, 2, 65],
            ..Capabilities::default()
        },
    };
    let plain_open = Open {
        asn: Asn(64500),
        hold_time: Duration::ZERO,
        router_id: Ipv4Addr::new(192, 0, 2, 1),
        capabilities: Capabilities::default(),
    };
    let everything = Attributes {
        origin: Origin::Incomplete,
        med: Some(5),
        local_pref: Some(200),
        atomic_aggregate: true,
        aggregator: Some((Asn(64501), Ipv4Addr::new(192, 0, 2, 9))),
        communities: vec!["64500:120".parse().unwrap(), Community::NO_EXPORT],
        extended_communities: vec![ExtendedCommunity([0, 2, 0xfb, 0xf4, 0, 0, 0, 1])].into(),
        large_communities: vec![LargeCommunity { global: 64500, local1: 1, local2: 2 }].into(),
        originator_id: Some(Ipv4Addr::new(192, 0, 2, 7)),
        cluster_list: vec![Ipv4Addr::new(192, 0, 2, 8)].into(),
        otc: Some(Asn(64502)),
        unknown: vec![
            UnknownAttribute { flags: 0xe0, code: 20, value: vec![1] },
            UnknownAttribute { flags: 0xe0, code: 99, value: vec![2, 3] },
        ]
        .into(),
        ..to("192.0.2.1", &[64501])
    };
    let both_hops = NextHop {
        address: "2001:db8::1".parse().unwrap(),
        link_local: Some("fe80::1".parse().unwrap()),
    };

    let table: &[(&str, Context, Message, &str)] = &[
        ("KEEPALIVE", EBGP, Message::Keepalive, "0013 04"),
        (
            "OPEN",
            EBGP,
            Message::Open(open),
            "0033 01  04 5ba0 005a c0000201 16  02 14
             01 04 0001 00 01  01 04 0002 00 01  02 00  41 04 fa56ea01",
        ),
        (
            "OPEN without capabilities",
            EBGP,
            Message::Open(plain_open),
            "001d 01 04 fbf4 0000 c0000201 00",
        ),
        (
            "NOTIFICATION",
            EBGP,
            Message::Notification(Notification { code: 2, subcode: 1, data: vec![0, 4] }),
            "0017 03 02 01 0004",
        ),
        (
            "NOTIFICATION with a shutdown message",
            EBGP,
            Message::Notification(Notification::cease_with_message(
                cease_subcode::ADMINISTRATIVE_SHUTDOWN,
                "noon",
            )),
            "001a 03 06 02 04 6e6f6f6e",
        ),
        ("ROUTE-REFRESH", EBGP, Message::RouteRefresh(Family::Ipv6Unicast), "0017 05 0002 00 01"),
        (
            "ROUTE-REFRESH of VPNs",
            EBGP,
            Message::UnknownRouteRefresh { afi: 1, subtype: 0, safi: 128 },
            "0017 05 0001 00 80",
        ),
        (
            "withdrawal of IPv4",
            EBGP,
            Message::Update(Update::withdraw(nets(&[
                "192.0.2.0/24",
                "0.0.0.0/0",
                "192.0.2.128/25",
            ]))),
            "0021 02 000a 18 c00002 00 19 c0000280 0000",
        ),
        (
            "withdrawal of IPv6",
            EBGP,
            Message::Update(Update::withdraw(nets(&["2001:db8::/32"]))),
            "0022 02 0000 000b 80 0f 08 0002 01 20 20010db8",
        ),
        (
            "End-of-RIB of IPv4",
            EBGP,
            Message::Update(Update::end_of_rib(Family::Ipv4Unicast)),
            "0017 02 0000 0000",
        ),
        (
            "End-of-RIB of IPv6",
            EBGP,
            Message::Update(Update::end_of_rib(Family::Ipv6Unicast)),
            "001d 02 0000 0006 80 0f 03 0002 01",
        ),
        (
            "an anycast /24 of a four-octet AS",
            EBGP,
            announce(to("192.0.2.1", &[4_200_000_001]), &["198.51.100.0/24"]),
            "002f 02 0000 0014
             40 01 01 00  40 02 06 02 01 fa56ea01  40 03 04 c0000201
             18 c63364",
        ),
        (
            "the same to a two-octet speaker",
            OLD,
            announce(to("192.0.2.1", &[4_200_000_001]), &["198.51.100.0/24"]),
            "0036 02 0000 001b
             40 01 01 00  40 02 04 02 01 5ba0  40 03 04 c0000201  c0 11 06 02 01 fa56ea01
             18 c63364",
        ),
        (
            "an IPv6 /48 with both next hops",
            EBGP,
            announce(
                Attributes { next_hop: both_hops, ..to("::1", &[64500]) },
                &["2001:db8:a::/48"],
            ),
            "0053 02 0000 003c
             80 0e 2c 0002 01 20 20010db8000000000000000000000001 fe800000000000000000000000000001
             00 30 20010db8000a
             40 01 01 00  40 02 06 02 01 0000fbf4",
        ),
        (
            "every attribute, within the AS",
            IBGP,
            announce(everything, &["198.51.100.0/24"]),
            "008e 02 0000 0073
             40 01 01 02
             40 02 06 02 01 0000fbf5
             40 03 04 c0000201
             80 04 04 00000005
             40 05 04 000000c8
             40 06 00
             c0 07 08 0000fbf5 c0000209
             c0 08 08 fbf40078 ffffff01
             80 09 04 c0000207
             80 0a 04 c0000208
             c0 10 08 0002fbf400000001
             e0 14 01 01
             c0 20 0c 0000fbf4 00000001 00000002
             c0 23 04 0000fbf6
             e0 63 02 0203
             18 c63364",
        ),
    ];
    for (name, ctx, message, octets) in table {
        let octets = hex(&format!("{MARKER}{octets}"));
        assert_eq!(message.emit(ctx), octets, "emit: {name}");
        assert_eq!(Message::parse(&octets, ctx), Ok(message.clone()), "parse: {name}");
        assert_eq!(frame_len(&octets, MAX_LEN), Ok(Some(octets.len())), "frame: {name}");
    }
}

#[test]
fn what_belongs_within_an_as_is_not_sent_out_of_it() {
    let inside = Attributes {
        local_pref: Some(200),
        originator_id: Some(Ipv4Addr::LOCALHOST),
        cluster_list: vec![Ipv4Addr::LOCALHOST].into(),
        ..to("192.0.2.1", &[64500])
    };
    let outside = to("192.0.2.1", &[64500]);
    let prefix = &["198.51.100.0/24"];
    assert_eq!(announce(inside, prefix).emit(&EBGP), announce(outside, prefix).emit(&EBGP));
}

#[test]
fn an_unknown_transitive_attribute_is_passed_on_with_the_partial_bit() {
    let attributes = hex("40010100 4002 00 400304c0000201 c0 63 01 07  80 64 01 08");
    let wire = update(&[], &attributes, &hex("18c63364"));
    let parsed = Message::parse(&wire, &EBGP).unwrap();
    let Message::Update(Update { announced, faults, .. }) = &parsed else { panic!("{parsed:?}") };
    let kept = [UnknownAttribute { flags: 0xc0, code: 0x63, value: vec![7] }];
    assert_eq!((&announced[0].attributes.unknown[..], &faults[..]), (&kept[..], &[][..]));
    let passed_on = hex("40010100 4002 00 400304c0000201 e0 63 01 07");
    assert_eq!(parsed.emit(&EBGP), update(&[], &passed_on, &hex("18c63364")));
}

#[test]
fn two_octet_speakers_between_four_octet_ones_lose_nothing() {
    type Segments = Vec<(SegmentKind, Vec<Asn>)>;
    let tail = "400304c0000201";
    let set = |kind, asns: &[u32]| (kind, asns.iter().copied().map(Asn).collect());
    // (what it shows, AS_PATH, AS4_PATH, the merged path)
    let table: &[(&str, &str, &str, Segments)] = &[
        ("no AS4_PATH", "40020602020001 5ba0", "", vec![set(AsSequence, &[1, 23456])]),
        (
            "one old speaker in front",
            "4002080203 0001 5ba0 5ba0",
            "c0110a0202 00010000 00010001",
            vec![set(AsSequence, &[1, 65536, 65537])],
        ),
        ("as long", "4002040201 5ba0", "c011060201 00010000", vec![set(AsSequence, &[65536])]),
        (
            "an AS4_PATH that is longer is stale",
            "4002040201 5ba0",
            "c0110a0202 00010000 00010001",
            vec![set(AsSequence, &[23456])],
        ),
        (
            "a set counts one",
            "40020a 0201 0001 0102 5ba0 5ba0",
            "c0110a 0102 00010000 00010001",
            vec![set(AsSequence, &[1]), set(AsSet, &[65536, 65537])],
        ),
        (
            "leading confederation segments are kept, those in AS4_PATH are not",
            "400208 0301 0009 0201 5ba0",
            "c0110c 0301 00000008 0201 00010000",
            vec![set(AsConfedSequence, &[9]), set(AsSequence, &[65536])],
        ),
    ];
    for (name, as_path, as4_path, segments) in table {
        let ctx = Context { ebgp: false, ..OLD };
        let attributes = hex(&format!("40010100 {as_path} {tail} {as4_path}"));
        let parsed = Message::parse(&update(&[], &attributes, &hex("18c63364")), &ctx);
        let as_path = AsPath::of(segments.iter().map(|(kind, asns)| Segment { kind: *kind, asns }));
        let want = announce(Attributes { as_path, ..to("192.0.2.1", &[]) }, &["198.51.100.0/24"]);
        assert_eq!(parsed, Ok(want), "{name}");
    }
}

#[test]
fn as4_aggregator_counts_only_beside_as_trans() {
    let path = "4002040201 5ba0";
    let as4_path = "c011060201 00010000";
    let at = |asn| Some((Asn(asn), Ipv4Addr::new(192, 0, 2, asn.to_be_bytes()[3])));
    for (name, aggregator, as4, want, want_path) in [
        ("AS_TRANS", "c00706 5ba0 c0000205", "c01208 00010007 c0000207", at(65543), 65536),
        ("a real number", "c00706 0005 c0000205", "c01208 00010007 c0000207", at(5), 23456),
        ("alone", "", "c01208 00010007 c0000207", None, 65536),
        ("none", "c00706 0005 c0000205", "", at(5), 65536),
    ] {
        let attributes = hex(&format!("40010100{path}400304c0000201{aggregator}{as4_path}{as4}"));
        let parsed = Message::parse(&update(&[], &attributes, &hex("18c63364")), &OLD);
        let want = Attributes { aggregator: want, ..to("192.0.2.1", &[want_path]) };
        assert_eq!(parsed, Ok(announce(want, &["198.51.100.0/24"])), "{name}");
    }
}

#[test]
fn nlri_and_mp_reach_in_one_update_become_two_announcements() {
    let attributes = hex("80 0e 1a 0002 01 10 20010db8000000000000000000000001 00 20 20010db8
         80 0f 09 0001 01 08 0a 10 0a0a 00
         40010100 4002060201 0000fbf4 400304c0000201");
    let parsed = Message::parse(&update(&hex("08 0b"), &attributes, &hex("18c63364")), &EBGP);
    let want = Update {
        withdrawn: nets(&["11.0.0.0/8", "10.0.0.0/8", "10.10.0.0/16", "0.0.0.0/0"]),
        announced: [("192.0.2.1", "198.51.100.0/24"), ("2001:db8::1", "2001:db8::/32")]
            .map(|(next_hop, prefix)| Announcement {
                attributes: Arc::new(to(next_hop, &[64500])),
                prefixes: nets(&[prefix]),
            })
            .to_vec(),
        ..Update::default()
    };
    assert_eq!(parsed, Ok(Message::Update(want)));
}

#[test]
fn ipv4_is_also_taken_from_mp_reach() {
    let attributes = hex("80 0e 0d 0001 01 04 c0000201 00 18 c63364 40010100 4002060201 0000fbf4");
    let parsed = Message::parse(&update(&[], &attributes, &[]), &EBGP);
    assert_eq!(parsed, Ok(announce(to("192.0.2.1", &[64500]), &["198.51.100.0/24"])));
}

#[test]
fn bits_beyond_the_prefix_length_do_not_matter() {
    let parsed = Message::parse(&update(&hex("09 0aff"), &[], &[]), &EBGP);
    assert_eq!(parsed, Ok(Message::Update(Update::withdraw(nets(&["10.128.0.0/9"])))));
}

#[test]
fn communities_are_sorted_and_each_once() {
    let attributes = hex("40010100 4002060201 0000fbf4 400304c0000201
         c0 08 0c 00020001 00010002 00020001");
    let parsed = Message::parse(&update(&[], &attributes, &hex("18c63364")), &EBGP);
    let communities = vec![Community(0x1_0002), Community(0x2_0001)];
    let want = Attributes { communities, ..to("192.0.2.1", &[64500]) };
    assert_eq!(parsed, Ok(announce(want, &["198.51.100.0/24"])));
}

/// Two octets, a /32 each: 5 octets.
fn host_routes(count: u32) -> Vec<Nlri> {
    (0..count)
        .map(|i| IpNet::from(std::net::IpAddr::from((0x0a00_0000 + i).to_be_bytes())).into())
        .collect()
}

#[test]
fn a_long_update_becomes_as_many_full_messages_as_it_needs() {
    let attributes = Arc::new(to("192.0.2.1", &[64500]));
    // (prefixes, withdrawn: 4096 - 23 octets hold 814 of 5; announced: 20 less hold 810)
    for (count, withdrawals, announcements) in
        [(0, 0, 0), (1, 1, 1), (810, 1, 1), (811, 1, 2), (814, 1, 2), (815, 2, 2), (5000, 7, 7)]
    {
        let withdrawal = Update::withdraw(host_routes(count)).emit(&EBGP);
        let announcement = Update::announce(attributes.clone(), host_routes(count)).emit(&EBGP);
        assert_eq!(
            (withdrawal.len(), announcement.len()),
            (withdrawals, announcements),
            "{count} prefixes"
        );
        let mut withdrawn = Vec::new();
        let mut announced = Vec::new();
        for octets in withdrawal.into_iter().chain(announcement) {
            assert!(octets.len() <= MAX_LEN);
            let Ok(Message::Update(update)) = Message::parse(&octets, &EBGP) else { panic!() };
            withdrawn.extend(update.withdrawn);
            announced.extend(update.announced.into_iter().flat_map(|a| a.prefixes));
        }
        assert_eq!((withdrawn, announced), (host_routes(count), host_routes(count)));
    }
}

#[test]
fn withdrawals_go_first_and_end_of_rib_last() {
    let update = Update {
        withdrawn: nets(&["2001:db8::/32", "10.0.0.0/8"]),
        announced: Update::announce(Arc::new(to("192.0.2.1", &[1])), nets(&["11.0.0.0/8"]))
            .announced,
        end_of_rib: Some(Family::Ipv4Unicast),
        faults: Vec::new(),
    };
    let got: Vec<Message> =
        update.emit(&EBGP).iter().map(|octets| Message::parse(octets, &EBGP).unwrap()).collect();
    let want = [
        Message::Update(Update::withdraw(nets(&["10.0.0.0/8"]))),
        Message::Update(Update::withdraw(nets(&["2001:db8::/32"]))),
        announce(to("192.0.2.1", &[1]), &["11.0.0.0/8"]),
        Message::Update(Update::end_of_rib(Family::Ipv4Unicast)),
    ];
    assert_eq!(got, want);
}

#[test]
fn a_route_whose_attributes_fill_the_message_is_withdrawn_instead() {
    let long = |octets| {
        let unknown = vec![UnknownAttribute { flags: 0xe0, code: 99, value: vec![0; octets] }];
        Attributes { unknown: unknown.into(), ..to("192.0.2.1", &[1]) }
    };
    // 4096 less 23, less 20 for the three mandatory ones, less 4 of header, less 5 for any prefix.
    let fits = announce(long(4044), &["10.0.0.0/8"]);
    assert_eq!(Message::parse(&fits.emit(&EBGP), &EBGP), Ok(fits));
    let withdrawal = Message::Update(Update::withdraw(nets(&["10.0.0.0/8"])));
    for octets in [4045, 70_000] {
        let too_long = announce(long(octets), &["10.0.0.0/8"]);
        assert_eq!(
            Message::parse(&too_long.emit(&EBGP), &EBGP),
            Ok(withdrawal.clone()),
            "{octets}"
        );
    }
    let extended = Context { max_len: EXTENDED_MAX_LEN, ..EBGP };
    let fits = announce(long(4045), &["10.0.0.0/8"]);
    assert_eq!(Message::parse(&fits.emit(&extended), &extended), Ok(fits));
}

#[test]
fn ipv4_over_an_ipv6_next_hop_takes_the_form_of_rfc_8950() {
    let agreed = Context { extended_next_hop: true, ..EBGP };
    let sent = announce(to("2001:db8::1", &[64500]), &["198.51.100.0/24"]);
    let got = sent.emit(&agreed);
    let attributes = hex("80 0e 19 0001 01 10 20010db8000000000000000000000001 00 18 c63364
         40010100 4002060201 0000fbf4");
    assert_eq!(got, update(&[], &attributes, &[]));
    assert_eq!(Message::parse(&got, &agreed), Ok(sent.clone()));
    // Who did not agree to it ends the session, and is not sent it.
    assert!(Message::parse(&got, &EBGP).is_err());
    let Message::Update(Update { announced, .. }) = &sent else { panic!("{sent:?}") };
    let withdrawn = Message::Update(Update::withdraw(announced[0].prefixes.clone()));
    assert_eq!(Message::parse(&sent.emit(&EBGP), &EBGP), Ok(withdrawn));
}

/// RFC 7911 §3: in each of the four places where prefixes stand, and per family and direction.
#[test]
fn path_identifiers_stand_before_the_prefixes_of_the_families_agreed_on() {
    use Family::{Ipv4Unicast, Ipv6Unicast};
    let path = |id, prefix: &str| Nlri::new(prefix.parse().unwrap(), PathId(id));
    let both = |families| Context { path_ids_in: families, path_ids_out: families, ..EBGP };
    let (ipv4, ipv6) = (FamilySet::NONE.with(Ipv4Unicast), FamilySet::NONE.with(Ipv6Unicast));
    let announced =
        |to, prefixes: [Nlri; 2]| Message::Update(Update::announce(Arc::new(to), prefixes));
    let withdrawn = |prefixes: [Nlri; 2]| Message::Update(Update::withdraw(prefixes));
    let two = [path(1, "198.51.100.0/24"), path(0xffff_fffe, "198.51.100.0/24")];
    let two6 = [path(7, "2001:db8::/32"), path(8, "::/0")];
    let list = hex("40010100 4002060201 0000fbf4 400304 c0000201");
    let nlri = hex("00000001 18 c63364 fffffffe 18 c63364");
    let reach = hex("80 0e 23 0002 01 10 20010db8000000000000000000000001 00
         00000007 20 20010db8 00000008 00 40010100 4002060201 0000fbf4");
    let unreach = hex("80 0f 11 0002 01 00000007 20 20010db8 00000008 00");
    let (old, new) = (to("192.0.2.1", &[64500]), to("2001:db8::1", &[64500]));
    for (name, families, message, octets) in [
        ("NLRI", ipv4, announced(old.clone(), two), update(&[], &list, &nlri)),
        ("Withdrawn Routes", ipv4, withdrawn(two), update(&nlri, &[], &[])),
        ("MP_REACH_NLRI", ipv6, announced(new.clone(), two6), update(&[], &reach, &[])),
        ("MP_UNREACH_NLRI", ipv6, withdrawn(two6), update(&[], &unreach, &[])),
    ] {
        for families in [families, FamilySet::ALL] {
            let ctx = both(families);
            assert_eq!(message.emit(&ctx), octets, "{name}");
            assert_eq!(Message::parse(&octets, &ctx), Ok(message.clone()), "{name}");
        }
        // What is agreed on for the one direction or the other family does not count.
        let other = if families == ipv4 { ipv6 } else { ipv4 };
        let read_only = Context { path_ids_in: families, path_ids_out: other, ..EBGP };
        assert_eq!(Message::parse(&octets, &read_only), Ok(message.clone()), "{name}");
        let plain = message.emit(&read_only);
        assert_eq!(plain, message.emit(&EBGP), "{name}");
        assert_eq!(plain.len(), octets.len() - 8, "{name}");
    }
    // The end of a table has no prefix, and so no path.
    for family in Family::ALL {
        let end = Message::Update(Update::end_of_rib(family));
        assert_eq!(end.emit(&both(FamilySet::ALL)), end.emit(&EBGP));
    }
}

#[test]
fn messages_with_path_identifiers_are_filled_and_never_overfull() {
    let ctx = Context { path_ids_in: FamilySet::ALL, path_ids_out: FamilySet::ALL, ..EBGP };
    let paths = |count| (0..count).map(|id| Nlri::new("10.0.0.1/32".parse().unwrap(), PathId(id)));
    let attributes = Arc::new(to("192.0.2.1", &[64500]));
    // 4096 - 23 octets hold 452 of 9; announced: 20 less hold 450.
    for (count, withdrawals, announcements) in [(450, 1, 1), (451, 1, 2), (452, 1, 2), (453, 2, 2)]
    {
        let withdrawal = Update::withdraw(paths(count)).emit(&ctx);
        let announcement = Update::announce(attributes.clone(), paths(count)).emit(&ctx);
        let lens = (withdrawal.len(), announcement.len());
        assert_eq!(lens, (withdrawals, announcements), "{count} paths");
        let mut got = Vec::new();
        for octets in withdrawal {
            assert!(octets.len() <= MAX_LEN);
            let Ok(Message::Update(update)) = Message::parse(&octets, &ctx) else { panic!() };
            got.extend(update.withdrawn);
        }
        assert_eq!(got, paths(count).collect::<Vec<_>>());
    }
}

#[test]
fn a_sequence_of_256_takes_two_segments() {
    let mut path = AsPath::sequence(&[64500; 255]);
    path.prepend(Asn(64500), 1);
    let sent = announce(Attributes { as_path: path, ..to("192.0.2.1", &[]) }, &["10.0.0.0/8"]);
    assert_eq!(Message::parse(&sent.emit(&EBGP), &EBGP), Ok(sent));
}

#[test]
fn a_notification_speaks_in_words() {
    let with = |code, subcode, data: &[u8]| Notification { code, subcode, data: data.to_vec() };
    for (notification, words) in [
        (Notification::new(4, 0), "Hold Timer Expired"),
        (Notification::new(6, 2), "Cease: Administrative Shutdown"),
        (
            Notification::cease_with_message(2, "back \"soon\"\n\u{1b}[2J"),
            r#"Cease: Administrative Shutdown: "back \"soon\"\n\u{1b}[2J""#,
        ),
        (Notification::cease_with_message(4, ""), "Cease: Administrative Reset"),
        (with(6, 2, b"\x09short"), "Cease: Administrative Shutdown"),
        (with(6, 2, b"\x02\xff\xfe"), "Cease: Administrative Shutdown"),
        (with(6, 5, b"\x02no"), "Cease: Connection Rejected"),
        (with(3, 4, b"\x02no"), "UPDATE Message Error: Attribute Flags Error"),
        (Notification::new(2, 11), "OPEN Message Error: Role Mismatch"),
        (Notification::new(2, 8), "OPEN Message Error: subcode 8"),
        (Notification::new(99, 1), "error 99: subcode 1"),
    ] {
        assert_eq!(notification.to_string(), words);
    }
}

#[test]
fn a_shutdown_message_is_cut_between_characters_at_255_octets() {
    for (text, octets) in [
        ("a".repeat(255), 255),
        ("a".repeat(256), 255),
        ("é".repeat(128), 254),
        ("a".to_owned() + &"é".repeat(127), 255),
    ] {
        let notification = Notification::cease_with_message(2, &text);
        assert_eq!(notification.shutdown_message().as_deref(), Some(&text[..octets]));
        assert_eq!(usize::from(notification.data[0]), octets);
    }
}

#[test]
fn frames_are_cut_where_the_header_says() {
    let two = [message(4, &[]), message(2, &[0; 4])].concat();
    for (len, want) in [(0, None), (18, None), (19, Some(19)), (20, Some(19)), (42, Some(19))] {
        assert_eq!(frame_len(&two[..len], MAX_LEN), Ok(want), "{len}");
    }
    for (len, want) in [(18, None), (19, None), (22, None), (23, Some(23))] {
        assert_eq!(frame_len(&two[19..][..len], MAX_LEN), Ok(want), "{len}");
    }
}

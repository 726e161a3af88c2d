//! Faults that end the session: input, error, and the NOTIFICATION's code, subcode and data.

use super::super::*;
use super::{EBGP, OLD, hex, message, update};
use MessageError::{BadMessageLength, BadMessageType, ConnectionNotSynchronized};

/// What is wrong, octets, error, subcode, data.
type Row<'a> = (&'a str, Vec<u8>, MessageError, u8, Vec<u8>);
/// The same for UPDATE, whose rows are made by functions.
type UpdateRow<'a> = (&'a str, (Vec<u8>, MessageError, u8, Vec<u8>));

/// The sound OPEN that the faults are made from: AS 64500, 90 s, 192.0.2.1.
const OPEN: &str = "04 fbf4 005a c0000201";
const MANDATORY: &str = "40010100 4002060201 0000fbf4 400304c0000201";

#[test]
fn header_faults_are_found_as_soon_as_the_header_is_there() {
    let header = |marker: u8, len: u16, kind: u8| {
        let mut header = vec![0xff; 19];
        header[15] = marker;
        header[16..18].copy_from_slice(&len.to_be_bytes());
        header[18] = kind;
        header
    };
    for (name, marker, len, kind, error, notification) in [
        ("marker", 0xfe, 19, 4, ConnectionNotSynchronized, (1, vec![])),
        ("marker before all else", 0, 0, 0, ConnectionNotSynchronized, (1, vec![])),
        ("shorter than a header", 0xff, 18, 4, BadMessageLength(18), (2, vec![0, 18])),
        ("beyond 4096", 0xff, 4097, 2, BadMessageLength(4097), (2, vec![0x10, 1])),
        ("length before type", 0xff, 0, 9, BadMessageLength(0), (2, vec![0, 0])),
        ("OPEN of 28", 0xff, 28, 1, BadMessageLength(28), (2, vec![0, 28])),
        ("UPDATE of 22", 0xff, 22, 2, BadMessageLength(22), (2, vec![0, 22])),
        ("NOTIFICATION of 20", 0xff, 20, 3, BadMessageLength(20), (2, vec![0, 20])),
        ("KEEPALIVE of 20", 0xff, 20, 4, BadMessageLength(20), (2, vec![0, 20])),
        ("ROUTE-REFRESH of 22", 0xff, 22, 5, BadMessageLength(22), (2, vec![0, 22])),
        ("ROUTE-REFRESH of 24", 0xff, 24, 5, BadMessageLength(24), (2, vec![0, 24])),
        ("type 0", 0xff, 19, 0, BadMessageType(0), (3, vec![0])),
        ("type 6", 0xff, 19, 6, BadMessageType(6), (3, vec![6])),
    ] {
        let header = header(marker, len, kind);
        assert_eq!(frame_len(&header, MAX_LEN), Err(error.clone()), "{name}");
        assert_eq!(frame_len(&header[..18], MAX_LEN), Ok(None), "{name}");
        let (subcode, data) = notification;
        assert_eq!(error.to_notification(), Notification { code: 1, subcode, data }, "{name}");
    }
}

#[test]
fn extended_messages_are_only_for_those_who_agreed_and_never_an_open_or_keepalive() {
    for (kind, len, max_len, sound) in [
        (1, 4096, EXTENDED_MAX_LEN, true),
        (1, 4097, EXTENDED_MAX_LEN, false),
        (2, 4096, MAX_LEN, true),
        (2, 4097, MAX_LEN, false),
        (2, 4097, EXTENDED_MAX_LEN, true),
        (2, 65535, EXTENDED_MAX_LEN, true),
        (3, 65535, EXTENDED_MAX_LEN, true),
        (4, 4097, EXTENDED_MAX_LEN, false),
    ] {
        let mut header = [0xff; 19];
        header[16..18].copy_from_slice(&u16::to_be_bytes(len));
        header[18] = kind;
        assert_eq!(frame_len(&header, max_len).is_ok(), sound, "type {kind}, {len} of {max_len}");
    }
}

#[test]
fn parse_takes_one_whole_message_and_nothing_else() {
    let keepalive = message(4, &[]);
    for (octets, len) in [
        (keepalive[..5].to_vec(), 5),
        ([&keepalive[..], &[0]].concat(), 19),
        ([&keepalive[..], &keepalive[..]].concat(), 19),
        (message(2, &[0; 4])[..22].to_vec(), 23),
    ] {
        let error = Err(MessageError::BadMessageLength(len));
        assert_eq!(Message::parse(&octets, &EBGP), error, "{octets:?}");
    }
}

#[test]
fn open_faults() {
    use MessageError as E;
    let fields = |fields: &str, params: &str| {
        let params = hex(params);
        [hex(fields), vec![u8::try_from(params.len()).unwrap()], params].concat()
    };
    let with = |params: &str| fields(OPEN, params);
    let extended = |params: &str| {
        let params = hex(params);
        let len = u16::try_from(params.len()).unwrap().to_be_bytes();
        [&hex(OPEN)[..], &[255, 255], &len, &params].concat()
    };
    let table: Vec<Row> = vec![
        ("version 3", fields("03 fbf4 005a c0000201", ""), E::UnsupportedVersion(3), 1, vec![0, 4]),
        ("version 5", fields("05 fbf4 005a c0000201", ""), E::UnsupportedVersion(5), 1, vec![0, 4]),
        ("AS 0", fields("04 0000 005a c0000201", ""), E::BadPeerAs, 2, vec![]),
        ("AS 0 in the capability", with("02 06 41 04 00000000"), E::BadPeerAs, 2, vec![]),
        ("router id 0", fields("04 fbf4 005a 00000000", ""), E::BadBgpIdentifier, 3, vec![]),
        ("hold time 1", fields("04 fbf4 0001 c0000201", ""), E::UnacceptableHoldTime(1), 6, vec![]),
        ("hold time 2", fields("04 fbf4 0002 c0000201", ""), E::UnacceptableHoldTime(2), 6, vec![]),
        ("parameter 1", with("01 01 00"), E::UnsupportedOptionalParameter(1), 4, vec![]),
        (
            "an unknown parameter after a good one",
            with("02 00 07 00"),
            E::UnsupportedOptionalParameter(7),
            4,
            vec![],
        ),
        (
            "too few parameters",
            [&hex(OPEN)[..], &[3, 2, 0]].concat(),
            E::MalformedOpen("the optional parameters' length is wrong"),
            0,
            vec![],
        ),
        (
            "octets after the parameters",
            [&hex(OPEN)[..], &[0, 2, 0]].concat(),
            E::MalformedOpen("the optional parameters' length is wrong"),
            0,
            vec![],
        ),
        (
            "a parameter runs out",
            with("02 03 02 00"),
            E::MalformedOpen("an optional parameter is cut short"),
            0,
            vec![],
        ),
        (
            "a capability runs out",
            with("02 03 41 04 00"),
            E::MalformedOpen("a capability is cut short"),
            0,
            vec![],
        ),
        (
            "a capability without length",
            with("02 01 41"),
            E::MalformedOpen("a capability is cut short"),
            0,
            vec![],
        ),
        (
            "a two-octet four-octet ASN",
            with("02 04 41 02 fbf4"),
            E::MalformedOpen("a capability has a wrong length"),
            0,
            vec![],
        ),
        (
            "a multiprotocol capability of three octets",
            with("02 05 01 03 000100"),
            E::MalformedOpen("a capability has a wrong length"),
            0,
            vec![],
        ),
        (
            "extended: no length",
            [&hex(OPEN)[..], &[255, 255, 0]].concat(),
            E::MalformedOpen("the optional parameters' length is wrong"),
            0,
            vec![],
        ),
        (
            "extended: a parameter with a short length",
            extended("02 06 41 04 0000fbf4"),
            E::MalformedOpen("an optional parameter is cut short"),
            0,
            vec![],
        ),
        (
            "extended: parameter 1",
            extended("01 0000"),
            E::UnsupportedOptionalParameter(1),
            4,
            vec![],
        ),
    ];
    for (name, body, error, subcode, data) in table {
        assert_eq!(Message::parse(&message(1, &body), &EBGP), Err(error.clone()), "{name}");
        assert_eq!(error.to_notification(), Notification { code: 2, subcode, data }, "{name}");
    }
}

#[test]
fn capabilities_have_the_lengths_that_their_rfcs_give_them() {
    let open = |capability: &[u8]| {
        let len = u8::try_from(capability.len()).unwrap();
        let body = [&hex(OPEN)[..], &[len + 2, 2, len], capability].concat();
        Message::parse(&message(1, &body), &EBGP)
    };
    // (code, lengths that are right among those up to 16)
    let table: [(u8, &[u8]); 11] = [
        (1, &[4]),
        (2, &[0]),
        (5, &[0, 6, 12]),
        (6, &[0]),
        (9, &[1]),
        (64, &[2, 6, 10, 14]),
        (65, &[4]),
        (69, &[0, 4, 8, 12, 16]),
        (70, &[0]),
        (71, &[0, 7, 14]),
        (73, &[0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16]),
    ];
    for (code, lengths) in table {
        for len in 0..=16_u8 {
            let value = vec![1; usize::from(len)];
            let got = open(&[&[code, len], &value[..]].concat());
            let right = lengths.contains(&len);
            assert_eq!(got.is_ok(), right, "{code} of {len}: {got:?}");
            if !right {
                assert!(matches!(got, Err(MessageError::MalformedOpen(_))), "{code} of {len}");
            }
        }
    }
}

#[test]
fn two_roles_at_once_are_a_mismatch_and_one_role_twice_is_not() {
    let open = |roles: &str| Message::parse(&message(1, &hex(&format!("{OPEN} {roles}"))), &EBGP);
    let Ok(Message::Open(same)) = open("08 0206 090103 090103") else { panic!("the same role") };
    assert_eq!(same.capabilities.role, Some(3));
    let error = MessageError::RoleMismatch;
    assert_eq!(open("08 0206 090103 090104"), Err(error.clone()));
    assert_eq!(error.to_notification(), Notification::new(2, 11));
}

#[test]
fn capabilities_may_come_in_many_ways() {
    use Family::{Ipv4Unicast, Ipv6Unicast};
    let caps = |families: Option<&[Family]>, route_refresh, four_octet_asn, codes: &[u8]| {
        let families = families.map(<[Family]>::to_vec);
        Capabilities {
            families,
            route_refresh,
            four_octet_asn,
            codes: codes.to_vec(),
            ..Capabilities::default()
        }
    };
    // (what it shows, optional parameters with their length, ASN, capabilities)
    let table: &[(&str, &str, u32, Capabilities)] = &[
        ("none", "00", 64500, caps(None, false, false, &[])),
        ("an empty parameter", "02 02 00", 64500, caps(None, false, false, &[])),
        (
            "one parameter each",
            "0c 02 02 02 00 02 06 41 04 00010000",
            65536,
            caps(None, true, true, &[2, 65]),
        ),
        (
            "repeated families count once",
            "14 02 12 01 04 00020001 01 04 00010001 01 04 00020001",
            64500,
            caps(Some(&[Ipv6Unicast, Ipv4Unicast]), false, false, &[1]),
        ),
        (
            "families that we do not route are left out",
            "08 02 06 01 04 00010080",
            64500,
            caps(Some(&[]), false, false, &[1]),
        ),
        (
            "unknown capabilities are read over",
            "0a 02 08 ee 02 ffff 02 00 80 00",
            64500,
            caps(None, true, false, &[0xee, 2, 0x80]),
        ),
        (
            "of two ASNs the first counts",
            "0e 02 0c 41 04 00010000 41 04 00010001",
            65536,
            caps(None, false, true, &[65]),
        ),
        (
            "lengths of two octets (RFC 9072)",
            "ff ff 0009 02 0006 41 04 00010000",
            65536,
            caps(None, false, true, &[65]),
        ),
        (
            "the same behind another legacy length",
            "01 ff 0009 02 0006 41 04 00010000",
            65536,
            caps(None, false, true, &[65]),
        ),
        ("extended, but empty", "ff ff 0000", 64500, caps(None, false, false, &[])),
    ];
    for (name, params, asn, capabilities) in table {
        let body = hex(&format!("{OPEN}{params}"));
        let Ok(Message::Open(open)) = Message::parse(&message(1, &body), &EBGP) else {
            panic!("{name}: {:?}", Message::parse(&message(1, &body), &EBGP));
        };
        assert_eq!((open.asn.0, &open.capabilities), (*asn, capabilities), "{name}");
    }
}

#[test]
fn update_faults_that_end_the_session() {
    use MessageError as E;
    let mp_reach = |value: &str| {
        let value = hex(value);
        [&[0x80, 14, u8::try_from(value.len()).unwrap()][..], &value].concat()
    };
    let mp_unreach = |value: &str| {
        let value = hex(value);
        [&[0x80, 15, u8::try_from(value.len()).unwrap()][..], &value].concat()
    };
    let optional = |attribute: Vec<u8>| {
        let error = E::OptionalAttribute(attribute.clone());
        (update(&[], &[&attribute[..], &hex(MANDATORY)].concat(), &[]), error, 9, attribute)
    };
    // An attribute fault in an UPDATE without reachable prefixes (RFC 7606 §5.2).
    let alone = |attribute: &str, error: fn(Vec<u8>) -> E, subcode| {
        let octets = hex(attribute);
        (update(&hex("080a"), &octets, &[]), error(octets.clone()), subcode, octets)
    };
    let unreach = "80 0f 03 000201";
    let hop = "20010db8000000000000000000000001";
    let table: Vec<UpdateRow> = vec![
        (
            "Withdrawn Routes beyond the message",
            (
                message(2, &hex("0003 080a 0000")),
                E::MalformedAttributeList("the attributes are longer than the message"),
                1,
                vec![],
            ),
        ),
        (
            "Withdrawn Routes far beyond the message",
            (
                message(2, &hex("ffff 080a 0000")),
                E::MalformedAttributeList("Withdrawn Routes are longer than the message"),
                1,
                vec![],
            ),
        ),
        (
            "attributes beyond the message",
            (
                message(2, &hex("0000 0001")),
                E::MalformedAttributeList("the attributes are longer than the message"),
                1,
                vec![],
            ),
        ),
        (
            "NLRI of /33",
            (
                update(&[], &hex(MANDATORY), &hex("21 0a00000000")),
                E::InvalidNetworkField,
                10,
                vec![],
            ),
        ),
        (
            "NLRI cut short",
            (
                update(&[], &hex(MANDATORY), &hex("08 0a 18 0a00")),
                E::InvalidNetworkField,
                10,
                vec![],
            ),
        ),
        (
            "withdrawn /33",
            (update(&hex("21 0a00000000"), &[], &[]), E::InvalidNetworkField, 10, vec![]),
        ),
        (
            "withdrawn cut short",
            (update(&hex("10 0a"), &[], &[]), E::InvalidNetworkField, 10, vec![]),
        ),
        (
            "an unknown well-known attribute",
            (
                update(&[], &hex(&format!("{MANDATORY} 40 63 01 07")), &hex("080a")),
                E::UnrecognizedWellKnownAttribute(hex("40630107")),
                2,
                hex("40630107"),
            ),
        ),
        (
            "MP_REACH_NLRI twice",
            (
                update(
                    &[],
                    &[mp_reach(&format!("0002 01 10 {hop} 00")), mp_reach("00"), hex(MANDATORY)]
                        .concat(),
                    &[],
                ),
                E::MalformedAttributeList("prefixes in two attributes"),
                1,
                vec![],
            ),
        ),
        (
            "MP_UNREACH_NLRI twice",
            (
                update(&[], &hex(&[unreach, unreach].concat()), &[]),
                E::MalformedAttributeList("prefixes in two attributes"),
                1,
                vec![],
            ),
        ),
        ("MP_REACH_NLRI of nothing", optional(mp_reach(""))),
        ("MP_REACH_NLRI of four octets", optional(mp_reach("0002 01 00"))),
        ("MP_REACH_NLRI, next hop of 0", optional(mp_reach("0002 01 00 00"))),
        ("MP_REACH_NLRI, next hop of 4 for IPv6", optional(mp_reach("0002 01 04 c0000201 00"))),
        ("MP_REACH_NLRI, next hop of 17", optional(mp_reach(&format!("0002 01 11 {hop}01 00")))),
        (
            "MP_REACH_NLRI, next hop of 16 for IPv4",
            optional(mp_reach(&format!("0001 01 10 {hop} 00"))),
        ),
        ("MP_REACH_NLRI, next hop cut short", optional(mp_reach("0002 01 10 2001"))),
        ("MP_REACH_NLRI of /129", optional(mp_reach(&format!("0002 01 10 {hop} 00 81 {hop}00")))),
        (
            "MP_REACH_NLRI, prefix cut short",
            optional(mp_reach(&format!("0002 01 10 {hop} 00 20 2001"))),
        ),
        ("MP_UNREACH_NLRI of two octets", optional(mp_unreach("0002"))),
        ("MP_UNREACH_NLRI of /129", optional(mp_unreach(&format!("0002 01 81 {hop}00")))),
        ("MP_UNREACH_NLRI, prefix cut short", optional(mp_unreach("0002 01 20 2001"))),
        (
            "MP_REACH_NLRI runs past the list",
            (
                update(&[], &hex("40010100 4002060201 0000fbf4 80 0e ff 0002 01"), &hex("080a")),
                E::OptionalAttribute(hex("800eff000201")),
                9,
                hex("800eff000201"),
            ),
        ),
        ("wrong flags, no prefix", alone("c0 01 01 00", E::AttributeFlags, 4)),
        ("wrong length, no prefix", alone("40 01 02 0000", E::AttributeLength, 5)),
        ("wrong ORIGIN, no prefix", alone("40 01 01 03", E::InvalidOrigin, 6)),
        ("wrong community, no prefix", alone("c0 08 03 000000", E::OptionalAttribute, 9)),
        ("wrong AS_PATH, no prefix", {
            let (octets, error, ..) = alone("40 02 01 02", |_| E::MalformedAsPath, 11);
            (octets, error, 11, vec![])
        }),
        ("an attribute runs past the list, no prefix", {
            let error = |_| E::MalformedAttributeList("an attribute runs past the list");
            let (octets, error, ..) = alone("40 01 01", error, 1);
            (octets, error, 1, vec![])
        }),
    ];
    for (name, (octets, error, subcode, data)) in table {
        assert_eq!(Message::parse(&octets, &EBGP), Err(error.clone()), "{name}");
        assert_eq!(error.to_notification(), Notification { code: 3, subcode, data }, "{name}");
    }
}

/// RFC 7606 §5.3, where a path identifier stands before each prefix.
#[test]
fn prefixes_with_path_identifiers_must_be_whole() {
    let ctx = Context { path_ids_in: FamilySet::ALL, ..EBGP };
    let reach = |nlri: &str| {
        let value = hex(&format!("0002 01 10 20010db8000000000000000000000001 00 {nlri}"));
        let attribute = [&[0x80, 14, u8::try_from(value.len()).unwrap()], &value[..]].concat();
        (update(&[], &[&hex(MANDATORY)[..], &attribute].concat(), &[]), 9)
    };
    let unreach = |nlri: &str| {
        let value = hex(&format!("0002 01 {nlri}"));
        let attribute = [&[0x80, 15, u8::try_from(value.len()).unwrap()], &value[..]].concat();
        (update(&[], &attribute, &[]), 9)
    };
    let nlri = |nlri: &str| (update(&[], &hex(MANDATORY), &hex(nlri)), 10);
    let withdrawn = |nlri: &str| (update(&hex(nlri), &[], &[]), 10);
    for (name, octets) in [
        ("a prefix without an identifier", "08 0a"),
        ("half an identifier", "00000001 08 0a 0000"),
        ("an identifier alone", "00000001"),
        ("a prefix cut short", "00000001 10 0a"),
        ("a length that no prefix has", "00000001 ff 0a000000"),
    ] {
        for (message, subcode) in [nlri(octets), withdrawn(octets), reach(octets), unreach(octets)]
        {
            let error = Message::parse(&message, &ctx).expect_err(name).to_notification();
            assert_eq!((error.code, error.subcode), (3, subcode), "{name}");
        }
    }
}

#[test]
fn a_notification_about_a_huge_attribute_fits_a_message() {
    let extended = Context { max_len: EXTENDED_MAX_LEN, ..OLD };
    let huge = MessageError::OptionalAttribute(vec![7; 65_000]).to_notification();
    for (ctx, len) in [(EBGP, 4096), (extended, 65_021)] {
        let octets = Message::Notification(huge.clone()).emit(&ctx);
        assert_eq!(frame_len(&octets, ctx.max_len), Ok(Some(len)));
    }
}

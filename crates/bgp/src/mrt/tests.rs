use super::*;

const TIME: Timestamp = Timestamp { seconds: 1, micros: 2 };

fn octets(of: impl FnOnce(&mut Vec<u8>)) -> Vec<u8> {
    let mut out = Vec::new();
    of(&mut out);
    out
}

fn ends(four: bool) -> Ends {
    Ends {
        peer_asn: Asn(if four { 70_000 } else { 64_501 }),
        local_asn: Asn(70_001),
        peer: [192, 0, 2, 1].into(),
        local: [192, 0, 2, 2].into(),
    }
}

#[test]
fn the_peers_of_a_table_come_first_and_each_takes_four_octets_for_its_number() {
    let peers = [
        Peer { router_id: [1, 2, 3, 4].into(), address: [192, 0, 2, 1].into(), asn: Asn(64_501) },
        Peer {
            router_id: [5, 6, 7, 8].into(),
            address: "2001:db8::1".parse().unwrap(),
            asn: Asn(70_000),
        },
    ];
    #[rustfmt::skip]
    let want = [
        0, 0, 0, 9, 0, 13, 0, 1, 0, 0, 0, 48,
        9, 9, 9, 9, 0, 2, b'a', b'b', 0, 2,
        2, 1, 2, 3, 4, 192, 0, 2, 1, 0, 0, 0xfb, 0xf5,
        3, 5, 6, 7, 8, 0x20, 1, 0xd, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 1, 0x11, 0x70,
    ];
    let collector = [9, 9, 9, 9].into();
    assert_eq!(octets(|out| emit_peer_index_table(9, collector, "ab", &peers, out)), want);
}

#[test]
fn a_prefix_has_all_its_routes_and_of_mp_reach_only_the_next_hop() {
    let v4 = Attributes::new(IpAddr::from([192, 0, 2, 1]));
    let v6 = Attributes::new("2001:db8::1".parse::<IpAddr>().unwrap());
    let entry = |attributes, path_id| Entry { peer: 3, originated: 7, path_id, attributes };
    let written = octets(|out| {
        emit_rib(
            9,
            8,
            &"10.32.0.0/11".parse().unwrap(),
            &[entry(&v4, 0), entry(&v4, 0)],
            false,
            out,
        );
    });
    #[rustfmt::skip]
    let route = [
        0, 3, 0, 0, 0, 7, 0, 14,
        0x40, 1, 1, 0, 0x40, 2, 0, 0x40, 3, 4, 192, 0, 2, 1,
    ];
    let head = [0, 0, 0, 9, 0, 13, 0, 2, 0, 0, 0, 53, 0, 0, 0, 8, 11, 10, 32, 0, 2];
    assert_eq!(written, [&head[..], &route, &route].concat());

    let written = octets(|out| {
        emit_rib(9, 8, &"2001:db8::/32".parse().unwrap(), &[entry(&v6, 5)], true, out);
    });
    #[rustfmt::skip]
    let want = [
        0, 0, 0, 9, 0, 13, 0, 10, 0, 0, 0, 50, 0, 0, 0, 8, 32, 0x20, 1, 0xd, 0xb8, 0, 1,
        0, 3, 0, 0, 0, 7, 0, 0, 0, 5, 0, 27,
        0x40, 1, 1, 0, 0x40, 2, 0,
        0x80, 14, 17, 16, 0x20, 1, 0xd, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1,
    ];
    assert_eq!(written, want);
}

#[test]
fn messages_and_states_tell_their_time_to_the_microsecond() {
    let keepalive = crate::message::Message::Keepalive.emit(&Context::new(true));
    let asns = [0, 1, 0x11, 0x70, 0, 1, 0x11, 0x71];
    let rest = [0, 0, 0, 1, 192, 0, 2, 1, 192, 0, 2, 2];
    let head = |subtype, length| [0, 0, 0, 1, 0, 17, 0, subtype, 0, 0, 0, length, 0, 0, 0, 2];

    for (path_ids, subtype) in [(false, 4), (true, 9)] {
        let encoding = Encoding { four_octet_asn: true, path_ids };
        let written = octets(|out| emit_message(TIME, &ends(true), encoding, &keepalive, out));
        assert_eq!(written, [&head(subtype, 43)[..], &asns, &rest, &keepalive].concat());
    }
    for (path_ids, subtype) in [(false, 1), (true, 8)] {
        let encoding = Encoding { four_octet_asn: false, path_ids };
        let written = octets(|out| emit_message(TIME, &ends(false), encoding, &keepalive, out));
        let asns = [0xfb, 0xf5, 0x5b, 0xa0];
        assert_eq!(written, [&head(subtype, 39)[..], &asns, &rest, &keepalive].concat());
    }
    let written = octets(|out| {
        emit_state_change(TIME, &ends(true), StateName::OpenConfirm, StateName::Established, out);
    });
    assert_eq!(written, [&head(5, 28)[..], &asns, &rest, &[0, 5, 0, 6]].concat());
}

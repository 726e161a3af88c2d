//! The messages octet by octet, what is refused, and what holds for any.

use std::net::Ipv4Addr;

use proptest::collection::vec;
use proptest::prelude::*;

use super::iana::{fsm_event, information, mirroring, termination, termination_reason};
use super::*;
use crate::message::{Context, Message as Bgp, Notification, Open, Update};
use crate::{Asn, Family};

const LOC_RIB: Monitored = Monitored::LocRib { filtered: true };

fn neighbor(address: IpAddr, flags: [bool; 3]) -> Monitored {
    let [post_policy, legacy_as_path, adj_rib_out] = flags;
    let instance = Instance::Global;
    Monitored::Neighbor { instance, address, post_policy, legacy_as_path, adj_rib_out }
}

fn header(monitored: Monitored) -> PeerHeader {
    PeerHeader {
        monitored,
        distinguisher: 0,
        asn: Asn(70_000),
        router_id: [10, 0, 0, 1].into(),
        time: Timestamp { seconds: 1, micros: 2 },
    }
}

fn open() -> Vec<u8> {
    let open = Open {
        asn: Asn(64_500),
        hold_time: std::time::Duration::from_secs(90),
        router_id: [10, 0, 0, 1].into(),
        capabilities: crate::message::Capabilities::default(),
    };
    Bgp::Open(open).emit(&Context::new(true))
}

fn cease() -> Vec<u8> {
    Bgp::Notification(Notification::new(6, 2)).emit(&Context::new(true))
}

fn end_of_rib() -> Vec<u8> {
    Bgp::Update(Update::end_of_rib(Family::Ipv4Unicast)).emit(&Context::new(true))
}

fn emit(message: &Message) -> Vec<u8> {
    let mut out = Vec::new();
    message.emit(&mut out);
    out
}

#[test]
fn every_kind_of_message_is_written_and_read_octet_by_octet() {
    let v4: IpAddr = [192, 0, 2, 1].into();
    let v6: IpAddr = "2001:db8::1".parse().unwrap();
    let tail = [0, 1, 0x11, 0x70, 10, 0, 0, 1, 0, 0, 0, 1, 0, 0, 0, 2];
    let peer = |kind: u8, flags: u8, address: [u8; 16]| {
        [&[kind, flags, 0, 0, 0, 0, 0, 0, 0, 0][..], &address, &tail].concat()
    };
    let four = [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 192, 0, 2, 1];
    let six = [0x20, 1, 0xd, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1];
    let table = [
        (
            Message::Initiation(vec![
                Tlv::text(information::SYS_NAME, "fra"),
                Tlv::text(information::SYS_DESCR, ""),
            ]),
            4,
            vec![0, 2, 0, 3, b'f', b'r', b'a', 0, 1, 0, 0],
        ),
        (
            Message::Termination(vec![Tlv {
                kind: termination::REASON,
                value: termination_reason::ADMINISTRATIVELY_CLOSED.to_be_bytes().to_vec(),
            }]),
            5,
            vec![0, 1, 0, 2, 0, 0],
        ),
        (
            Message::RouteMonitoring {
                peer: header(neighbor(v4, [false, true, false])),
                update: end_of_rib(),
            },
            0,
            [peer(0, 0x20, four), end_of_rib()].concat(),
        ),
        (
            Message::RouteMonitoring {
                peer: header(neighbor(v6, [true, false, true])),
                update: end_of_rib(),
            },
            0,
            [peer(0, 0xd0, six), end_of_rib()].concat(),
        ),
        (
            Message::RouteMonitoring { peer: header(LOC_RIB), update: end_of_rib() },
            0,
            [peer(3, 0x80, [0; 16]), end_of_rib()].concat(),
        ),
        (
            Message::StatisticsReport {
                peer: header(neighbor(v4, [false; 3])),
                statistics: vec![
                    Statistic::counter(statistic::UPDATES_TREATED_AS_WITHDRAW, 5),
                    Statistic::gauge(statistic::ADJ_RIB_IN_ROUTES, 6),
                    Statistic {
                        kind: statistic::FAMILY_ADJ_RIB_IN_ROUTES,
                        value: Value::FamilyGauge { afi: 1, safi: 1, value: 7 },
                    },
                    Statistic { kind: 999, value: Value::Unknown(vec![8]) },
                ],
            },
            1,
            [
                &peer(0, 0, four)[..],
                &[0, 0, 0, 4],
                &[0, 11, 0, 4, 0, 0, 0, 5],
                &[0, 7, 0, 8, 0, 0, 0, 0, 0, 0, 0, 6],
                &[0, 9, 0, 11, 0, 1, 1, 0, 0, 0, 0, 0, 0, 0, 7],
                &[0x3, 0xe7, 0, 1, 8],
            ]
            .concat(),
        ),
        (
            Message::PeerUp {
                peer: header(neighbor(v6, [false; 3])),
                local_address: v6,
                local_port: 179,
                remote_port: 40_000,
                sent_open: open(),
                received_open: open(),
                information: vec![Tlv::text(information::STRING, "x")],
            },
            3,
            [
                &peer(0, 0x80, six)[..],
                &six,
                &[0, 179, 0x9c, 0x40],
                &open(),
                &open(),
                &[0, 0, 0, 1, b'x'],
            ]
            .concat(),
        ),
        (
            Message::PeerUp {
                peer: header(LOC_RIB),
                local_address: Ipv4Addr::UNSPECIFIED.into(),
                local_port: 0,
                remote_port: 0,
                sent_open: open(),
                received_open: open(),
                information: vec![Tlv::text(information::TABLE_NAME, "main")],
            },
            3,
            [
                &peer(3, 0x80, [0; 16])[..],
                &[0; 20],
                &open(),
                &open(),
                &[0, 3, 0, 4, b'm', b'a', b'i', b'n'],
            ]
            .concat(),
        ),
        (
            Message::RouteMirroring {
                peer: header(neighbor(v4, [false; 3])),
                items: vec![
                    Tlv { kind: mirroring::INFORMATION, value: vec![0, 0] },
                    Tlv { kind: mirroring::BGP_MESSAGE, value: cease() },
                ],
            },
            6,
            [&peer(0, 0, four)[..], &[0, 1, 0, 2, 0, 0, 0, 0, 0, 21], &cease()].concat(),
        ),
    ];
    let downs = [
        (PeerDown::LocalNotification(cease()), [&[1][..], &cease()].concat()),
        (PeerDown::LocalEvent(fsm_event::TCP_CONNECTION_FAILS), vec![2, 0, 18]),
        (PeerDown::RemoteNotification(cease()), [&[3][..], &cease()].concat()),
        (PeerDown::RemoteNoData, vec![4]),
        (PeerDown::Deconfigured, vec![5]),
        (
            PeerDown::LocalSystemClosed(vec![Tlv::text(information::TABLE_NAME, "m")]),
            vec![6, 0, 3, 0, 1, b'm'],
        ),
    ];
    let downs = downs.map(|(reason, body)| {
        let peer_header = header(neighbor(v4, [false; 3]));
        let message = Message::PeerDown { peer: peer_header, reason };
        (message, 2, [peer(0, 0, four), body].concat())
    });
    for (message, kind, body) in table.into_iter().chain(downs) {
        let length = u8::try_from(6 + body.len()).unwrap();
        let want = [&[3, 0, 0, 0, length, kind][..], &body].concat();
        assert_eq!(emit(&message), want, "{message:?}");
        assert_eq!(Message::parse(&want).as_ref(), Ok(&message));
        for end in 0..want.len() {
            assert_eq!(frame_len(&want[..end]), Ok(None), "{message:?}, {end} octets");
        }
        let two = [&want[..], &want].concat();
        assert_eq!(frame_len(&two), Ok(Some(want.len())));
        assert_eq!(Message::parse(&two), Err(Error::Length(length.into())));
    }
}

#[test]
fn what_is_wrong_is_named() {
    let v4 = header(neighbor([192, 0, 2, 1].into(), [false; 3]));
    let monitoring = emit(&Message::RouteMonitoring { peer: v4, update: end_of_rib() });
    let down = emit(&Message::PeerDown { peer: v4, reason: PeerDown::RemoteNoData });
    let statistics = vec![Statistic::counter(0, 1)];
    let report = emit(&Message::StatisticsReport { peer: v4, statistics });
    let loc_rib = emit(&Message::RouteMonitoring { peer: header(LOC_RIB), update: end_of_rib() });
    let with = |octets: &[u8], at: usize, octet: u8| {
        let mut changed = octets.to_vec();
        changed[at] = octet;
        changed
    };
    let longer = |octets: &[u8]| {
        let octets = [octets, &[0]].concat();
        with(&octets, 4, u8::try_from(octets.len()).unwrap())
    };
    let table = [
        (with(&down, 0, 4), Error::Version(4)),
        (with(&down, 4, 5), Error::Length(5)),
        (with(&down, 1, 1), Error::Length(0x0100_0000 + u32::try_from(down.len()).unwrap())),
        (with(&down, 4, 200), Error::Short),
        (with(&down, 5, 7), Error::Type(7)),
        (with(&down, 6, 4), Error::PeerType(4)),
        (with(&down, 16, 1), Error::PeerHeader),
        (with(&loc_rib, 31, 1), Error::PeerHeader),
        (with(&down, 48, 7), Error::Reason(7)),
        (with(&down, 48, 1), Error::Bgp(3)),
        (longer(&down), Error::Trailing),
        (longer(&monitoring), Error::Trailing),
        (with(&monitoring, 48, 0), Error::Bgp(2)),
        (with(&monitoring, 48 + 18, 4), Error::Bgp(2)),
        (with(&report, 51, 2), Error::Short),
        (with(&report, 53, 7), Error::Statistic(7)),
        (longer(&report), Error::Short),
    ];
    for (octets, want) in table {
        assert_eq!(Message::parse(&octets), Err(want), "{octets:?}");
    }
}

fn some_peer() -> impl Strategy<Value = PeerHeader> {
    let address = prop_oneof![
        any::<Ipv4Addr>().prop_map(IpAddr::V4),
        any::<std::net::Ipv6Addr>().prop_map(IpAddr::V6)
    ];
    let instance =
        prop::sample::select(vec![Instance::Global, Instance::RouteDistinguisher, Instance::Local]);
    let monitored = prop_oneof![
        any::<bool>().prop_map(|filtered| Monitored::LocRib { filtered }),
        (instance, address, any::<[bool; 3]>()).prop_map(
            |(instance, address, [post_policy, legacy_as_path, adj_rib_out])| {
                Monitored::Neighbor { instance, address, post_policy, legacy_as_path, adj_rib_out }
            }
        ),
    ];
    (monitored, any::<(u64, u32, Ipv4Addr, u32, u32)>()).prop_map(
        |(monitored, (distinguisher, asn, router_id, seconds, micros))| PeerHeader {
            monitored,
            distinguisher,
            asn: Asn(asn),
            router_id,
            time: Timestamp { seconds, micros },
        },
    )
}

fn tlvs() -> impl Strategy<Value = Vec<Tlv>> {
    let tlv =
        (any::<u16>(), vec(any::<u8>(), 0..300)).prop_map(|(kind, value)| Tlv { kind, value });
    vec(tlv, 0..4)
}

fn some_statistic() -> impl Strategy<Value = Statistic> {
    prop_oneof![
        (prop_oneof![0..=6_u16, 11..=13_u16], any::<u32>())
            .prop_map(|(kind, value)| Statistic::counter(kind, value)),
        (prop_oneof![7..=8_u16, 14..=15_u16], any::<u64>())
            .prop_map(|(kind, value)| Statistic::gauge(kind, value)),
        (prop_oneof![9..=10_u16, 16..=17_u16], any::<(u16, u8, u64)>()).prop_map(
            |(kind, (afi, safi, value))| {
                Statistic { kind, value: Value::FamilyGauge { afi, safi, value } }
            }
        ),
        (18..=u16::MAX, vec(any::<u8>(), 0..9))
            .prop_map(|(kind, value)| Statistic { kind, value: Value::Unknown(value) }),
    ]
}

fn some_message() -> impl Strategy<Value = Message> {
    let reason = prop_oneof![
        Just(PeerDown::LocalNotification(cease())),
        any::<u16>().prop_map(PeerDown::LocalEvent),
        Just(PeerDown::RemoteNotification(cease())),
        Just(PeerDown::RemoteNoData),
        Just(PeerDown::Deconfigured),
        tlvs().prop_map(PeerDown::LocalSystemClosed),
    ];
    prop_oneof![
        tlvs().prop_map(Message::Initiation),
        tlvs().prop_map(Message::Termination),
        some_peer().prop_map(|peer| Message::RouteMonitoring { peer, update: end_of_rib() }),
        (some_peer(), vec(some_statistic(), 0..5))
            .prop_map(|(peer, statistics)| Message::StatisticsReport { peer, statistics }),
        (some_peer(), reason).prop_map(|(peer, reason)| Message::PeerDown { peer, reason }),
        (some_peer(), tlvs()).prop_map(|(peer, items)| Message::RouteMirroring { peer, items }),
        (some_peer(), any::<(u128, u16, u16)>(), tlvs()).prop_map(
            |(peer, (address, local_port, remote_port), information)| {
                let local_address = match peer.monitored {
                    Monitored::LocRib { .. } => Ipv4Addr::UNSPECIFIED.into(),
                    Monitored::Neighbor { address: IpAddr::V6(_), .. } => {
                        std::net::Ipv6Addr::from_bits(address).into()
                    }
                    #[expect(clippy::cast_possible_truncation, reason = "any will do")]
                    Monitored::Neighbor { .. } => Ipv4Addr::from_bits(address as u32).into(),
                };
                Message::PeerUp {
                    peer,
                    local_address,
                    local_port,
                    remote_port,
                    sent_open: open(),
                    received_open: open(),
                    information,
                }
            }
        ),
    ]
}

proptest! {
    #[test]
    fn emit_is_the_inverse_of_parse(message in some_message()) {
        let octets = emit(&message);
        prop_assert_eq!(frame_len(&octets), Ok(Some(octets.len())));
        prop_assert_eq!(Message::parse(&octets), Ok(message));
    }

    #[test]
    fn any_octets_are_safe_to_read(octets in vec(any::<u8>(), 0..200)) {
        let _ = Message::parse(&octets);
    }

    #[test]
    fn a_changed_octet_is_safe_to_read(message in some_message(), at: usize, octet: u8) {
        let mut octets = emit(&message);
        let at = at % octets.len();
        octets[at] = octet;
        if let Ok(read) = Message::parse(&octets) {
            prop_assert_eq!(Message::parse(&emit(&read)), Ok(read));
        }
    }
}

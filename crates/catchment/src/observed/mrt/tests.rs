use std::sync::Arc;

use anycast_bgp::bmp::Timestamp;
use anycast_bgp::message::{Context, Message, Update};
use anycast_bgp::mrt::{self, Encoding, Ends, Entry};
use anycast_bgp::session::StateName;
use anycast_bgp::{AsPath, Attributes as Carried};
use proptest::prelude::*;

use super::*;

const ORIGIN: u32 = 64_500;
const TIME: Timestamp = Timestamp { seconds: 1, micros: 2 };

fn carried(path: &[u32]) -> Carried {
    Carried { as_path: AsPath::sequence(path), ..Carried::new(IpAddr::from([192, 0, 2, 1])) }
}

fn peer(nth: u8, asn: u32) -> mrt::Peer {
    mrt::Peer {
        router_id: [192, 0, 2, nth].into(),
        address: [192, 0, 2, nth].into(),
        asn: Asn(asn),
    }
}

fn table(peers: &[mrt::Peer], prefix: &str, paths: &[(u16, Vec<u32>)], path_ids: bool) -> Vec<u8> {
    let mut out = Vec::new();
    mrt::emit_peer_index_table(1, [192, 0, 2, 9].into(), "", peers, &mut out);
    let carried: Vec<Carried> = paths.iter().map(|(_, path)| carried(path)).collect();
    let entries: Vec<Entry<'_>> = (0..)
        .zip(paths)
        .zip(&carried)
        .map(|((path_id, (peer, _)), attributes)| Entry {
            peer: *peer,
            originated: 1,
            path_id,
            attributes,
        })
        .collect();
    mrt::emit_rib(1, 0, &prefix.parse().unwrap(), &entries, path_ids, &mut out);
    out
}

/// The update as 192.0.2.1, AS64501, told it.
fn update(update: Update, four: bool) -> Vec<u8> {
    let context = Context { four_octet_asn: four, ..Context::new(true) };
    let ends = Ends {
        peer_asn: Asn(64_501),
        local_asn: Asn(64_502),
        peer: [192, 0, 2, 1].into(),
        local: [192, 0, 2, 9].into(),
    };
    let encoding = Encoding { four_octet_asn: four, path_ids: false };
    let mut out = Vec::new();
    mrt::emit_message(TIME, &ends, encoding, &Message::Update(update).emit(&context), &mut out);
    out
}

fn announce(prefix: &str, path: &[u32], four: bool) -> Vec<u8> {
    let prefix: IpNet = prefix.parse().unwrap();
    let mut carried = carried(path);
    if prefix.addr().is_ipv6() {
        carried.next_hop = "2001:db8::1".parse::<IpAddr>().unwrap().into();
    }
    update(Update::announce(Arc::new(carried), [prefix]), four)
}

/// An UPDATE of attributes alone as 192.0.2.1, `asn`, told it.
fn raw(asn: u32, four: bool, attributes: &[u8]) -> Vec<u8> {
    let ends = Ends {
        peer_asn: Asn(asn),
        local_asn: Asn(64_502),
        peer: [192, 0, 2, 1].into(),
        local: [192, 0, 2, 9].into(),
    };
    let length = |of: usize| u16::try_from(of).unwrap().to_be_bytes();
    let mut message = vec![0xff; 16];
    message.extend(length(23 + attributes.len()));
    message.extend([2, 0, 0]);
    message.extend(length(attributes.len()));
    message.extend(attributes);
    let encoding = Encoding { four_octet_asn: four, path_ids: false };
    let mut out = Vec::new();
    mrt::emit_message(TIME, &ends, encoding, &message, &mut out);
    out
}

/// AS_PATH in four octets: 64501 64500.
const PATH: [u8; 13] = [0x40, 2, 10, 2, 2, 0, 0, 0xfb, 0xf5, 0, 0, 0xfb, 0xf4];

fn read(prefixes: &[&str], files: &[&[u8]]) -> Vec<Vec<u32>> {
    let prefixes: Vec<IpNet> = prefixes.iter().map(|it| it.parse().unwrap()).collect();
    let mut collected = Collected::new(&[Asn(ORIGIN)], &prefixes);
    for file in files {
        assert!(is_mrt(file));
        collected.read(file).unwrap();
    }
    assert_eq!(collected.passed_over(), 0);
    let numbers = |it: SeenPath| it.path.iter().map(|asn| asn.0).collect();
    collected.into_paths().into_iter().map(numbers).collect()
}

#[test]
fn updates_after_a_table_change_what_it_said() {
    let peers = [peer(1, 64_501), peer(2, 64_502)];
    let paths = [(0, vec![64_501, ORIGIN]), (1, vec![64_502, 64_503, ORIGIN])];
    let first = table(&peers, "192.0.2.0/24", &paths, false);
    assert_eq!(read(&[], &[&first]), [vec![64_501, ORIGIN], vec![64_502, 64_503, ORIGIN]]);
    // Another way, then one to elsewhere, then none.
    let longer = announce("192.0.2.0/24", &[64_501, 70_000, ORIGIN], true);
    let other = [64_502, 64_503, ORIGIN].to_vec();
    assert_eq!(read(&[], &[&first, &longer]), [vec![64_501, 70_000, ORIGIN], other.clone()]);
    let elsewhere = announce("192.0.2.0/24", &[64_501, 64_511], true);
    assert_eq!(read(&[], &[&first, &elsewhere]), std::slice::from_ref(&other));
    let gone = update(Update::withdraw(["192.0.2.0/24".parse::<IpNet>().unwrap()]), true);
    assert_eq!(read(&[], &[&first, &longer, &gone]), std::slice::from_ref(&other));
    let mut down = Vec::new();
    let ends = Ends {
        peer_asn: Asn(64_501),
        local_asn: Asn(64_502),
        peer: [192, 0, 2, 1].into(),
        local: [192, 0, 2, 9].into(),
    };
    mrt::emit_state_change(TIME, &ends, StateName::Established, StateName::Idle, &mut down);
    assert_eq!(read(&[], &[&first, &down]), [other]);
}

#[test]
fn sessions_of_two_octets_have_the_whole_numbers_beside_them() {
    let told = announce("192.0.2.0/24", &[64_501, 70_000, ORIGIN], false);
    assert_eq!(read(&[], &[&told]), [[64_501, 70_000, ORIGIN]]);
}

#[test]
fn only_the_wanted_prefixes_count_in_both_families() {
    let v6 = announce("2001:db8::/32", &[64_501, ORIGIN], true);
    let v4 = announce("192.0.2.0/24", &[64_501, 64_501, ORIGIN], true);
    assert_eq!(read(&["2001:db8::/32"], &[&v6, &v4]), [[64_501, ORIGIN]]);
    assert_eq!(read(&["192.0.2.0/24"], &[&v6, &v4]), [[64_501, 64_501, ORIGIN]]);
    assert_eq!(read(&[], &[&v6, &v4]).len(), 2);
}

#[test]
fn the_older_form_of_tables_is_read() {
    #[rustfmt::skip]
    let attributes = [0x40, 2, 6, 2, 2, 0xfb, 0xf5, 0xfb, 0xf4];
    let mut file = vec![0, 0, 0, 1, 0, 12, 0, 1, 0, 0, 0, 31];
    file.extend([0, 0, 0, 1, 192, 0, 2, 0, 24, 1, 0, 0, 0, 1, 192, 0, 2, 1, 0xfb, 0xf5, 0, 9]);
    file.extend(attributes);
    assert_eq!(read(&[], &[&file]), [[64_501, ORIGIN]]);
}

#[test]
fn a_faulty_file_is_refused_with_the_place_and_a_faulty_message_is_passed_over() {
    let whole = announce("192.0.2.0/24", &[64_501, ORIGIN], true);
    let mut twice = [whole.clone(), whole.clone()].concat();
    twice.pop();
    let mut collected = Collected::new(&[Asn(ORIGIN)], &[]);
    let error = collected.read(&twice).unwrap_err();
    assert_eq!((error.at, error.what), (whole.len(), "it is cut off"));
    // A peer that the index lacks.
    let table = table(&[peer(1, 64_501)], "192.0.2.0/24", &[(1, vec![ORIGIN])], false);
    assert_eq!(collected.read(&table).unwrap_err().what, "its lengths do not fit");
    // The last octet of a message belongs to its prefix, which then claims more bits.
    let mut faulty = whole;
    let at = faulty.len() - 4;
    assert_eq!(faulty[at], 24);
    faulty[at] = 200;
    let mut collected = Collected::new(&[Asn(ORIGIN)], &[]);
    collected.read(&faulty).unwrap();
    assert_eq!((collected.passed_over(), collected.into_paths().len()), (1, 0));
}

#[test]
fn a_faulty_multiprotocol_attribute_is_counted_and_its_message_changes_nothing() {
    let faulty: [&[u8]; 6] = [
        // MP_REACH_NLRI: too short for a family; a next hop longer than it; a prefix of 129 bits.
        &[0x80, 14, 2, 0, 2],
        &[0x80, 14, 5, 0, 1, 1, 9, 0],
        &[0x80, 14, 7, 0, 2, 1, 0, 0, 129, 0],
        // MP_UNREACH_NLRI: too short; a prefix of which octets lack.
        &[0x80, 15, 1, 0],
        &[0x80, 15, 5, 0, 1, 1, 24, 192],
        // Twice.
        &[0x80, 15, 3, 0, 2, 1, 0x80, 15, 3, 0, 2, 1],
    ];
    for attribute in faulty {
        let mut collected = Collected::new(&[Asn(ORIGIN)], &[]);
        collected.read(&announce("192.0.2.0/24", &[64_501, ORIGIN], true)).unwrap();
        let attributes = [&PATH[..], attribute].concat();
        collected.read(&raw(64_501, true, &attributes)).unwrap();
        assert_eq!(collected.passed_over(), 1, "{attribute:?}");
        assert_eq!(collected.into_paths().len(), 1, "{attribute:?}");
    }
    // Families whose prefixes have another form are none of ours, and no fault.
    for family in [[0, 1, 128], [0, 25, 70]] {
        let attribute = [&[0x80, 14, 7][..], &family, &[0, 0, 255, 255]].concat();
        let mut collected = Collected::new(&[Asn(ORIGIN)], &[]);
        collected.read(&raw(64_501, true, &[&PATH[..], &attribute].concat())).unwrap();
        assert_eq!((collected.passed_over(), collected.into_paths().len()), (0, 0));
    }
}

#[test]
fn an_entry_of_a_table_may_have_any_mp_reach_nlri() {
    // The next hop alone, as the RFC wants it, and the whole as many write it.
    let short = [&[0x80, 14, 17, 16][..], &[0; 16]].concat();
    let whole = [&[0x80, 14, 21, 0, 2, 1, 16][..], &[0; 17]].concat();
    for reach in [short, whole] {
        let mut file = Vec::new();
        mrt::emit_peer_index_table(1, [192, 0, 2, 9].into(), "", &[peer(1, 64_501)], &mut file);
        let attributes = [&PATH[..], &reach].concat();
        let mut body = vec![0, 0, 0, 0, 32, 0x20, 1, 0x0d, 0xb8, 0, 1, 0, 0, 0, 0, 0, 1, 0];
        body.push(u8::try_from(attributes.len()).unwrap());
        body.extend(&attributes);
        file.extend([0, 0, 0, 1, 0, 13, 0, 4, 0, 0, 0]);
        file.push(u8::try_from(body.len()).unwrap());
        file.extend(body);
        assert_eq!(read(&["2001:db8::/32"], &[&file]), [[64_501, ORIGIN]]);
    }
}

#[test]
fn ipv4_is_announced_and_withdrawn_by_multiprotocol_attributes_too() {
    let reach = [0x80, 14, 13, 0, 1, 1, 4, 192, 0, 2, 1, 0, 24, 192, 0, 2];
    let come = raw(64_501, true, &[&PATH[..], &reach].concat());
    assert_eq!(read(&["192.0.2.0/24"], &[&come]), [[64_501, ORIGIN]]);
    let gone = raw(64_501, true, &[0x80, 15, 7, 0, 1, 1, 24, 192, 0, 2]);
    assert_eq!(read(&[], &[&come, &gone]).len(), 0);
}

#[test]
fn a_peer_is_the_same_whether_its_number_fits_into_two_octets_or_not() {
    let told = |four| {
        let number = if four { 70_000 } else { Asn::TRANS.0 };
        // AS_PATH of two octets, 23456 64500, and AS4_PATH, 70000 64500.
        let narrow = [
            &[0x40, 2, 6, 2, 2, 0x5b, 0xa0, 0xfb, 0xf4][..],
            &[0xc0, 17, 10, 2, 2, 0, 1, 0x11, 0x70, 0, 0, 0xfb, 0xf4],
        ];
        let wide = [0x40, 2, 10, 2, 2, 0, 1, 0x11, 0x70, 0, 0, 0xfb, 0xf4];
        let path = if four { wide.to_vec() } else { narrow.concat() };
        let reach = [0x80, 14, 13, 0, 1, 1, 4, 192, 0, 2, 1, 0, 24, 192, 0, 2];
        raw(number, four, &[&path[..], &reach].concat())
    };
    let want = SeenPath { monitor: Asn(70_000), path: vec![Asn(70_000), Asn(ORIGIN)] };
    for order in [[true, false], [false, true]] {
        let mut collected = Collected::new(&[Asn(ORIGIN)], &[]);
        for four in order {
            collected.read(&told(four)).unwrap();
        }
        assert_eq!(collected.clone().into_paths(), std::slice::from_ref(&want));
        // What goes in the other form takes it away.
        let gone = [0x80, 15, 7, 0, 1, 1, 24, 192, 0, 2];
        collected.read(&raw(Asn::TRANS.0, false, &gone)).unwrap();
        assert_eq!(collected.into_paths(), []);
    }
}

proptest! {
    #[test]
    fn tables_that_are_written_are_read(
        paths in prop::collection::vec((0..4_u16, prop::collection::vec(1..u32::MAX, 0..9)), 0..12),
        path_ids: bool,
    ) {
        let peers: Vec<mrt::Peer> = (0..4).map(|nth| peer(nth, 64_501 + u32::from(nth))).collect();
        let paths: Vec<(u16, Vec<u32>)> =
            paths.into_iter().map(|(peer, path)| (peer, [path, vec![ORIGIN]].concat())).collect();
        let file = table(&peers, "192.0.2.0/24", &paths, path_ids);
        let mut want: BTreeMap<(u16, usize), Vec<u32>> = BTreeMap::new();
        for (path_id, (peer, path)) in paths.into_iter().enumerate() {
            want.insert((peer, if path_ids { path_id } else { 0 }), path);
        }
        prop_assert_eq!(read(&[], &[&file]), want.into_values().collect::<Vec<_>>());
    }

    #[test]
    fn files_that_are_cut_and_changed_never_panic(
        cut in 0..200_usize, at in 0..200_usize, octet: u8
    ) {
        let peers = [peer(1, 64_501)];
        let mut file = table(&peers, "192.0.2.0/24", &[(0, vec![64_501, ORIGIN])], false);
        file.extend(announce("2001:db8::/32", &[64_501, ORIGIN], true));
        let len = file.len();
        file[at % len] = octet;
        file.truncate(len - cut % len);
        let _ = Collected::new(&[Asn(ORIGIN)], &[]).read(&file);
    }
}

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
